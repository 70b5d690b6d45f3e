//! Memory a kernel needs while it runs: buffers of each thread, grown once.

use crate::memory::Line;
use bgz_passes::memory::obtainable;
use std::alloc::{Layout, handle_alloc_error};
use std::cell::RefCell;
use std::thread::LocalKey;

thread_local! {
    static OWN: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    static SHARED: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// More working memory than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes of working memory are needed, which memory does not suffice for")]
pub struct NoMemory {
    /// So much, on one thread.
    pub bytes: usize,
}

/// Calls `f` with at least `bytes` bytes aligned to a cache line, of arbitrary
/// content. The buffer stays with the thread, so a second call of that size
/// allocates nothing; a call from within `f` gets memory of its own. For little: what grows with an operand is asked for
/// by [`try_with`].
pub(super) fn with<T>(bytes: usize, f: impl FnOnce(*mut u8) -> T) -> T {
    try_with(bytes, f).unwrap_or_else(|_| handle_alloc_error(Layout::new::<Line>()))
}

/// [`with`], unless memory does not suffice.
pub(super) fn try_with<T>(bytes: usize, f: impl FnOnce(*mut u8) -> T) -> Result<T, NoMemory> {
    borrow(&OWN, bytes, f)
}

/// [`try_with`] for memory that threads share meanwhile, each of which may call it.
pub(super) fn shared<T>(bytes: usize, f: impl FnOnce(*mut u8) -> T) -> Result<T, NoMemory> {
    borrow(&SHARED, bytes, f)
}

fn borrow<T>(
    buffer: &'static LocalKey<RefCell<Vec<Line>>>,
    bytes: usize,
    f: impl FnOnce(*mut u8) -> T,
) -> Result<T, NoMemory> {
    let lines = bytes.div_ceil(64);
    let grow = |b: &mut Vec<Line>| {
        let more = lines.saturating_sub(b.len());
        if more > 0 {
            // The old contents are not needed: they make room first.
            b.clear();
            b.shrink_to_fit();
            if !obtainable(bytes) || b.try_reserve_exact(lines).is_err() {
                return Err(NoMemory { bytes });
            }
            b.resize(lines, Line([0; 64]));
        }
        Ok(())
    };
    buffer.with(|cell| match cell.try_borrow_mut() {
        Ok(mut b) => {
            grow(&mut b)?;
            Ok(f(b.as_mut_ptr().cast()))
        }
        Err(_) => {
            let mut b = Vec::new();
            grow(&mut b)?;
            Ok(f(b.as_mut_ptr().cast()))
        }
    })
}
