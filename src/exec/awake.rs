//! Keeps the threads of a pool awake from step to step.
//!
//! A step that is cut among threads takes some tens of microseconds, and so may one between two of them that is not.
//! rayon's threads go to sleep in the meantime, and to wake one takes as long again, longer still on a virtual machine.

use rayon::Yield;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a thread looks for work in vain before it may sleep after all. As it never looks for longer, it holds up
/// no job for good that it was put on top of while that waited.
const PATIENCE: Duration = Duration::from_micros(300);

/// Pauses between two looks: some microseconds, in which a thread on the same core has it to itself.
const SPINS: usize = 32;

/// Runs `run`, on this thread of a pool, while its other threads stay awake. Allocates nothing.
pub(super) fn awake<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    match rayon::current_thread_index() {
        Some(this) => beside(rayon::current_num_threads() - 1, this, &AtomicBool::new(false), run),
        None => run(),
    }
}

/// Runs `run` beside as many lookouts.
fn beside<R: Send>(lookouts: usize, this: usize, done: &AtomicBool, run: impl FnOnce() -> R + Send) -> R {
    if lookouts == 0 {
        let result = run();
        done.store(true, Ordering::Release);
        return result;
    }
    rayon::join(|| beside(lookouts - 1, this, done, run), || look_out(this, done)).0
}

/// Does whatever jobs of the pool there are until `done`.
fn look_out(this: usize, done: &AtomicBool) {
    // Nobody else came for it: they are awake anyway.
    if rayon::current_thread_index() == Some(this) {
        return;
    }
    let mut idle = Instant::now();
    while !done.load(Ordering::Acquire) {
        if rayon::yield_now() == Some(Yield::Executed) {
            idle = Instant::now();
        } else if idle.elapsed() > PATIENCE {
            return;
        } else {
            (0..SPINS).for_each(|_| spin_loop());
            // Whoever shares this CPU goes on: it may be the thread that runs the plan.
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
    }

    fn work(n: usize) -> usize {
        (0..n).into_par_iter().with_max_len(1).map(|i| i * i).sum()
    }

    #[test]
    fn the_result_is_that_of_what_was_run() {
        assert_eq!(awake(|| 7), 7, "outside of a pool");
        for threads in [1, 2, 5] {
            pool(threads).install(|| assert_eq!(awake(|| work(100)), 328_350, "{threads} threads"));
        }
    }

    /// Runs on top of each other's waiting threads, with work in them that waits, too: nobody waits for good.
    #[test]
    fn many_at_once_end() {
        for threads in [2, 4] {
            let sums: Vec<usize> = pool(threads)
                .install(|| (0..64).into_par_iter().map(|_| awake(|| work(50) + awake(|| work(50)))).collect());
            assert!(sums.iter().all(|&s| s == 2 * 40_425), "{sums:?}");
        }
    }

    #[test]
    fn a_panic_comes_through() {
        let caught = pool(2).install(|| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                awake(|| std::panic::resume_unwind(Box::new("no")))
            }))
        });
        assert!(caught.is_err());
    }
}
