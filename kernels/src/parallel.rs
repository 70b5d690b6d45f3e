//! When and how work is cut for the threads of the current rayon pool.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

/// Vector instructions (16 elements each) that are worth a thread. Measured by
/// medians of one and two threads over 2^12 to 2^20 elements (Zen 5, two quiet
/// cores): two are faster from 7 microseconds of work on, which exp has between
/// 65536 and 98304 elements and floor at 131072. By this count exp is cut from
/// 59000, where that costs 0.6 microseconds, and floor, which waits for
/// memory more than it computes, from 400000 only.
const MIN_WORK: usize = 50_000;

thread_local! {
    /// True if this thread is one of many that each have work of their own.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `run` with kernels of this thread not cut: for work that is cut among threads already.
pub fn alone<R>(run: impl FnOnce() -> R) -> R {
    /// Puts it back, also where `run` panics.
    struct Before(bool);

    impl Drop for Before {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }

    let _before = Before(ALONE.replace(true));
    run()
}

/// Calls `f(start, end)` on ranges that cover `0..len`, in parallel if there is
/// enough work at `cost` vector instructions per 16 elements. Bounds are multiples of `grain`.
pub(super) fn ranges(len: usize, grain: usize, cost: usize, f: impl Fn(usize, usize) + Sync) {
    if len == 0 {
        return;
    }
    let work = (len / 16).saturating_mul(cost.saturating_add(2));
    let parts = pieces(work);
    let grains = len.div_ceil(grain.max(1));
    if parts <= 1 || grains == 1 {
        return f(0, len);
    }
    split(0, grains, parts.min(grains), &|a, b| f(a * grain, (b * grain).min(len)));
}

/// Into how many pieces work of that many vector instructions is worth cutting.
pub(super) fn pieces(work: usize) -> usize {
    if work < 2 * MIN_WORK || ALONE.get() {
        return 1;
    }
    let threads = rayon::current_num_threads();
    // A few pieces a thread, for threads that are late.
    if threads == 1 { 1 } else { (work / MIN_WORK).min(threads * 4) }
}

/// `f` on `pieces` ranges of `a..b`, by halves. What cuts and joins is compiled once, not for every kernel.
pub(super) fn split(a: usize, b: usize, pieces: usize, f: &(dyn Fn(usize, usize) + Sync)) {
    if pieces <= 1 || b - a <= 1 {
        return f(a, b);
    }
    let left = pieces / 2;
    // In wide numbers, for ranges may be of bytes.
    let mid = a + ((b - a) as u128 * left as u128 / pieces as u128) as usize;
    let mid = mid.max(a + 1);
    rayon::join(|| split(a, mid, left, f), || split(mid, b, pieces - left, f));
}

/// Pieces of work that moves so many bytes: 64 of them are read and written by two instructions, and waited for.
pub(super) fn pieces_of_bytes(bytes: usize) -> usize {
    pieces(bytes / 64 * 4)
}

/// Calls `f` with parts of `out`, of whole rows of `row` elements, and the number of the first row of each, in parallel
/// where there are several `pieces`. The error is that of the first part that has one.
pub(super) fn try_parts<T: Send, E: Send>(
    out: &mut [T],
    row: usize,
    pieces: usize,
    f: &(impl Fn(usize, &mut [T]) -> Result<(), E> + Sync),
) -> Result<(), E> {
    if out.is_empty() || row == 0 {
        return Ok(());
    }
    let (len, rows) = (out.len(), (out.len() / row).max(1));
    let cells = Cells::new(out);
    let failed: Mutex<Option<(usize, E)>> = Mutex::new(None);
    split(0, rows, pieces, &|a, b| {
        let (start, end) = (a * row, if b == rows { len } else { b * row });
        // SAFETY: ranges are within the slice and disjoint, and it outlives `split`.
        let part = unsafe { cells.part(start, end - start) };
        if let Err(e) = f(a, part) {
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.as_ref().is_none_or(|(first, _)| a < *first) {
                *failed = Some((a, e));
            }
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, e)| Err(e))
}

/// [`try_parts`] of what cannot fail.
pub(super) fn parts<T: Send>(out: &mut [T], row: usize, pieces: usize, f: &(impl Fn(usize, &mut [T]) + Sync)) {
    let Ok(()) = try_parts(out, row, pieces, &|first, part| {
        f(first, part);
        Ok::<(), std::convert::Infallible>(())
    });
}

/// Copies bytes, of which there are as many on both sides, by several threads if they are many.
pub(super) fn copy(from: &[u8], to: &mut [u8]) {
    parts(to, 1, pieces_of_bytes(from.len()), &|first, part| part.copy_from_slice(&from[first..][..part.len()]));
}

/// Elements that threads write, each its own.
#[derive(Clone, Copy)]
pub(super) struct Cells<T> {
    first: *mut T,
    len: usize,
}

// SAFETY: made of a slice that lives while the threads run; `set` asks that no element is written by two of them.
unsafe impl<T: Send> Sync for Cells<T> {}

impl<T> Cells<T> {
    pub(super) fn new(out: &mut [T]) -> Self {
        Self { first: out.as_mut_ptr(), len: out.len() }
    }

    /// Elements `at..at + n`.
    ///
    /// # Safety
    /// They are in the slice that this was made of, which lives, and nobody else has them meanwhile.
    #[inline(always)]
    pub(super) unsafe fn part<'a>(&self, at: usize, n: usize) -> &'a mut [T] {
        debug_assert!(at + n <= self.len);
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(at), n) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_rows_and_cover_all() {
        for (rows, row, pieces) in [(0, 3, 4), (1, 3, 4), (5, 3, 1), (5, 3, 4), (7, 1, 20), (3, 0, 2)] {
            let mut out = vec![usize::MAX; rows * row];
            parts(&mut out, row, pieces, &|first, part| {
                assert_eq!(part.len() % row, 0);
                part.iter_mut().enumerate().for_each(|(i, v)| *v = first * row + i);
            });
            assert!(out.into_iter().eq(0..rows * row));
        }
    }

    #[test]
    fn the_first_error_is_kept() {
        let fail = |first: usize, _: &mut [u8]| if first > 3 { Err(first) } else { Ok(()) };
        assert_eq!(try_parts(&mut [0; 10], 1, 10, &fail), Err(4));
    }
}
