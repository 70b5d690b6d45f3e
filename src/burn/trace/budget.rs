//! How many patterns of ops burn-fusion is given to keep.
//!
//! burn-fusion keeps every optimization it is handed for good, and holds each recorded op against all that begin alike, in a
//! time that grows with the square of their number (`Policy::check_candidates` of its 0.21). A program whose ops never come
//! in the same order twice must not fill it. So there is a budget: a new pattern takes from it, one that comes again gives
//! back more than it took, and ops that were done one by one because nothing was left pay for a new try now and then, so
//! that a loop which begins late is still found.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Patterns that may be new at a time.
const MOST: i64 = 64;

/// Given back for a pattern that comes again.
const REFUND: i64 = 2;

/// Ops done one by one that pay for a new pattern.
const OPS_A_PATTERN: u64 = 512;

/// The time that is left, and the ops that were done one by one.
pub(super) struct Budget {
    left: AtomicI64,
    single: AtomicU64,
}

/// That of the process.
pub(super) static BUDGET: Budget = Budget::new();

impl Budget {
    const fn new() -> Self {
        Self { left: AtomicI64::new(MOST), single: AtomicU64::new(0) }
    }

    /// True if the ops from here on may be a new pattern; if not, one of them is done alone.
    pub fn allows(&self) -> bool {
        if self.left.load(Ordering::Relaxed) > 0 {
            return true;
        }
        if self.single.fetch_add(1, Ordering::Relaxed) % OPS_A_PATTERN == OPS_A_PATTERN - 1 {
            self.give_back(1);
        }
        false
    }

    /// A new pattern is kept.
    pub fn take(&self) {
        self.left.fetch_sub(1, Ordering::Relaxed);
    }

    /// A pattern came again for the first time.
    pub fn came_again(&self) {
        self.give_back(REFUND);
    }

    fn give_back(&self, n: i64) {
        // Two at a time may go beyond by as many: no harm.
        if self.left.load(Ordering::Relaxed) < MOST {
            self.left.fetch_add(n, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_never_come_again_use_it_up() {
        let budget = Budget::new();
        for _ in 0..MOST {
            assert!(budget.allows());
            budget.take();
        }
        // One more now and then.
        let mut allowed = 0;
        for _ in 0..10 * OPS_A_PATTERN {
            if budget.allows() {
                allowed += 1;
                budget.take();
            }
        }
        assert_eq!(allowed, 9);
    }

    #[test]
    fn patterns_that_come_again_never_do() {
        let budget = Budget::new();
        for _ in 0..10 * MOST {
            assert!(budget.allows());
            budget.take();
            budget.came_again();
        }
    }
}
