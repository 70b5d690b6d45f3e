//! Memory a kernel needs while it runs: buffers of each thread, grown once.

use crate::memory::Line;
use std::cell::RefCell;
use std::thread::LocalKey;

thread_local! {
    static OWN: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    static SHARED: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with at least `bytes` bytes aligned to a cache line, of arbitrary
/// content. The buffer stays with the thread, so a second call of that size
/// allocates nothing; a call from within `f` gets memory of its own.
pub(super) fn with<T>(bytes: usize, f: impl FnOnce(*mut u8) -> T) -> T {
    borrow(&OWN, bytes, f)
}

/// [`with`] for memory that threads share meanwhile, each of which may call `with`.
pub(super) fn shared<T>(bytes: usize, f: impl FnOnce(*mut u8) -> T) -> T {
    borrow(&SHARED, bytes, f)
}

fn borrow<T>(buffer: &'static LocalKey<RefCell<Vec<Line>>>, bytes: usize, f: impl FnOnce(*mut u8) -> T) -> T {
    let lines = bytes.div_ceil(64);
    let grow = |b: &mut Vec<Line>| {
        if b.len() < lines {
            b.resize(lines, Line([0; 64]));
        }
    };
    buffer.with(|cell| match cell.try_borrow_mut() {
        Ok(mut b) => {
            grow(&mut b);
            f(b.as_mut_ptr().cast())
        }
        Err(_) => {
            let mut b = Vec::new();
            grow(&mut b);
            f(b.as_mut_ptr().cast())
        }
    })
}
