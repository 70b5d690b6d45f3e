//! Memory a kernel needs while it runs: one buffer a thread, grown once.

use std::cell::RefCell;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static BUFFER: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with at least `bytes` bytes aligned to a cache line, of arbitrary
/// content. The buffer stays with the thread, so a second call of that size
/// allocates nothing; a call from within `f` gets memory of its own.
pub(super) fn with<T>(bytes: usize, f: impl FnOnce(*mut u8) -> T) -> T {
    let lines = bytes.div_ceil(64);
    let grow = |b: &mut Vec<Line>| {
        if b.len() < lines {
            b.resize(lines, Line([0; 64]));
        }
    };
    BUFFER.with(|cell| match cell.try_borrow_mut() {
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
