//! Settings that hold for the ops of one thread while a function runs.

use burn_backend::StreamId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Values by the stream, which is to say the thread, whose ops they are for; inner ones last.
pub(super) struct Scopes<T: 'static> {
    /// How many there are; none, nearly always, and then nothing else is looked at.
    active: AtomicUsize,
    open: LazyLock<Mutex<HashMap<u64, Vec<T>>>>,
}

/// A scope that ends when this is dropped, also if a panic does it.
pub(super) struct Open<T: 'static> {
    scopes: &'static Scopes<T>,
    stream: u64,
    taken: bool,
}

impl<T: 'static> Scopes<T> {
    pub const fn new() -> Self {
        Self { active: AtomicUsize::new(0), open: LazyLock::new(Mutex::default) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<T>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a scope for this stream.
    pub fn open(&'static self, value: T) -> Open<T> {
        let stream = StreamId::current().value;
        self.lock().entry(stream).or_default().push(value);
        self.active.fetch_add(1, Ordering::SeqCst);
        Open { scopes: self, stream, taken: false }
    }

    /// The result of `f` for the scopes of this stream, if there are any.
    pub fn with<R>(&self, f: impl FnOnce(&mut [T]) -> R) -> Option<R> {
        if self.active.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut open = self.lock();
        open.get_mut(&StreamId::current().value).filter(|values| !values.is_empty()).map(|values| f(values))
    }
}

impl<T: 'static> Open<T> {
    /// Ends the scope.
    pub fn take(mut self) -> Option<T> {
        self.taken = true;
        self.pop()
    }

    fn pop(&self) -> Option<T> {
        self.scopes.active.fetch_sub(1, Ordering::SeqCst);
        let mut open = self.scopes.lock();
        let values = open.get_mut(&self.stream)?;
        let value = values.pop();
        if values.is_empty() {
            open.remove(&self.stream);
        }
        value
    }
}

impl<T: 'static> Drop for Open<T> {
    fn drop(&mut self) {
        if !self.taken {
            self.pop();
        }
    }
}
