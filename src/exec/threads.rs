//! The threads that work is shared among.

use super::ExecError;
use bgz_passes::memory::obtainable;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::error::Error;
use std::sync::OnceLock;

/// Bytes of a thread's stack, by default.
const STACK: usize = 2 << 20;

/// The threads of a model: its own, or those of the rayon pool that it is called in.
#[derive(Default)]
pub(crate) struct Threads(Option<ThreadPool>);

impl Threads {
    /// So many of its own; 0 is one for each CPU.
    ///
    /// # Errors
    /// The system has no more threads, or no memory for their stacks.
    pub fn own(count: usize) -> Result<Self, ExecError> {
        if !obtainable(count.saturating_mul(STACK)) {
            return Err(ExecError::Threads("there is not enough memory for their stacks".into()));
        }
        let pool = ThreadPoolBuilder::new().num_threads(count).thread_name(|i| format!("bgz-{i}")).build();
        pool.map(|pool| Self(Some(pool))).map_err(|e| ExecError::Threads(e.to_string()))
    }

    /// Runs `run` on one of its own, or on this thread if it has none.
    pub fn on<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(run),
            None => run(),
        }
    }
}

/// Starts them, unless there are some: rayon does so itself when it is first used, and panics where it cannot.
///
/// # Errors
/// The system has no more threads, or no memory for their stacks.
pub(crate) fn start() -> Result<(), ExecError> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    if rayon::current_thread_index().is_some() {
        return Ok(());
    }
    let started = STARTED.get_or_init(|| match ThreadPoolBuilder::new().build_global() {
        // No failure of the system's: they are there already.
        Err(e) if e.source().is_none() => Ok(()),
        other => other.map_err(|e| e.to_string()),
    });
    started.clone().map_err(ExecError::Threads)
}
