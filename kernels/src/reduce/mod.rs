//! Reductions over any axes, extremes, running sums and the first of an order along one.
//!
//! Operands are bytes in memory at multiples of the size of an element, of a dtype that a kernel says it takes: others have
//! the same results by way of one of these. Floats are added up and multiplied in f64, integers in i64 that wraps, and
//! rounded once. Numbers are compared by integers in their order, in which NaN is above all. Results do not depend on the
//! number of threads.

mod arg;
mod cumulative;
mod fold;
#[cfg(test)]
mod tests;
mod top_k;

pub use super::rows::Reduction;
pub use arg::arg_extreme;
pub use cumulative::{cumulative_product, cumulative_sum};
pub use fold::Fold;
pub use top_k::top_k;

use super::number::Number;

/// Accumulators of keys side by side: two vectors of AVX-512 of f32. A fold into one is not vectorised.
const SIDE: usize = 32;

/// The key of which the greatest is wanted.
#[inline(always)]
fn rank<T: Number, const GREATEST: bool>(v: T) -> T::Key {
    if GREATEST { v.key() } else { !v.key() }
}

/// The greatest of the keys.
#[inline(always)]
fn best_rank<T: Number, const GREATEST: bool>(x: &[T]) -> T::Key {
    let mut side = [T::LEAST; SIDE];
    let (chunks, rest) = x.as_chunks::<SIDE>();
    for chunk in chunks {
        for (side, &v) in side.iter_mut().zip(chunk) {
            *side = (*side).max(rank::<T, GREATEST>(v));
        }
    }
    let most = side.into_iter().fold(T::LEAST, Ord::max);
    rest.iter().fold(most, |most, &v| most.max(rank::<T, GREATEST>(v)))
}

/// Lanes that are taken side by side where they are not contiguous: a cache line or more of each entry.
const STRIP: usize = 64;
