//! Elementwise expressions as one kernel: one read of each input, one write of
//! the output, whatever the length of the chain.
//!
//! [`Program::compile`] flattens an [`Expr`](bgz_passes::ir::Expr) into steps
//! over tiles; a tile is a few hundred elements, so that all intermediate
//! results stay in the L1 cache. [`Elementwise::new`] binds a program to
//! shapes and strides; [`Elementwise::run`] runs it.
//!
//! Every dtype has one of six kinds of lanes while a chain runs: f32, f64, i32 (for narrower integers, too), i64 (for u32,
//! too), u64 and truth values. Narrower floats are converted to f32 where they enter and rounded where they
//! leave; in between (unlike the reference evaluator) results are not rounded,
//! except by an explicit cast.

mod compile;
mod convert;
mod double;
mod float;
mod integer;
mod light;
mod run;
#[cfg(test)]
mod tests;

pub use compile::{Program, Unsupported};
pub(crate) use float::unary as unary_tile;
pub use run::{DivisionByZero, Elementwise, PlanError, broadcast_strides};

/// Elements of a tile: a few tiles of f32 fit in an L1 cache, and starting a step is
/// little beside running it.
pub(crate) const TILE: usize = 1024;
