//! When and how work is cut for the threads of the current rayon pool.

use std::cell::Cell;

/// Vector instructions (16 elements each) that are worth a thread. Measured by
/// medians of one and two threads over 2^12 to 2^20 elements (Zen 5, two quiet
/// cores): two are faster from 7 microseconds of work on, which exp has between
/// 65536 and 98304 elements and floor at 131072. By this count exp is cut from
/// 59000, where that costs 0.6 microseconds, and floor, which waits for
/// memory more than it computes, from 400000 only.
const MIN_WORK: usize = 50_000;

thread_local! {
    /// Whether this thread is one of many that each have work of their own.
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

/// `f` on `pieces` ranges of `a..b`, by halves.
pub(super) fn split(a: usize, b: usize, pieces: usize, f: &(impl Fn(usize, usize) + Sync)) {
    if pieces <= 1 || b - a <= 1 {
        return f(a, b);
    }
    let left = pieces / 2;
    let mid = (a + (b - a) * left / pieces).max(a + 1);
    rayon::join(|| split(a, mid, left, f), || split(mid, b, pieces - left, f));
}
