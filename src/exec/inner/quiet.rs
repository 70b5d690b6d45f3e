//! Panics of code that is not ours, which come back as errors: what they say is part of the error and not also printed.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread runs what [`caught`] was given.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `run`; a panic in it is its message. Whatever panic hook there was when this was first called goes on to be
/// called for every other panic.
///
/// # Errors
/// What the panic said.
pub fn caught<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            // It cannot be asked while the thread ends, when it is not within `run` either.
            if !QUIET.try_with(Cell::get).unwrap_or(false) {
                before(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(before);
    result.map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
