//! The threads that work is shared among.

use super::ExecError;
use std::error::Error;
use std::sync::OnceLock;

/// Starts them, unless there are some: rayon does so itself when it is first used, and panics where it cannot.
///
/// # Errors
/// The system has no more threads, or no memory for their stacks.
pub(crate) fn start() -> Result<(), ExecError> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    if rayon::current_thread_index().is_some() {
        return Ok(());
    }
    let started = STARTED.get_or_init(|| match rayon::ThreadPoolBuilder::new().build_global() {
        // No failure of the system's: they are there already.
        Err(e) if e.source().is_none() => Ok(()),
        other => other.map_err(|e| e.to_string()),
    });
    started.clone().map_err(ExecError::Threads)
}
