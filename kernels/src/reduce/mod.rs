//! Reductions over any axes, extremes, running sums and the first of an order along one, of every element type.
//!
//! Floats are added up and multiplied in f64, integers in i64 that wraps, and rounded once. f32 goes to the kernels of
//! [`rows`](crate::rows) where they apply. Numbers are compared by integers in their order, in which NaN is above all.
//! Results do not depend on the number of threads.

mod arg;
mod cumulative;
mod fold;
#[cfg(test)]
mod tests;
mod top_k;

pub use super::rows::Reduction;
pub use arg::arg_extreme;
pub use cumulative::cumulative_sum;
pub use fold::Fold;
pub use top_k::top_k;

/// Lanes that are taken side by side where they are not contiguous: a cache line or more of each entry.
const STRIP: usize = 64;
