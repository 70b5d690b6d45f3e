//! The middle of `bgz-fusion`: a typed SSA [`ir::Graph`], its text, the
//! [`rewrite`] driver, the [`passes`] in the order of [`pipeline`], and
//! [`eval`], a slow evaluator that every pass is tested against.
//!
//! Nothing here knows Burn, ONNX or SIMD: a front end builds a graph, the
//! pipeline rewrites it, a back end plans it.

#[cfg(target_endian = "big")]
compile_error!(
    "numbers of files, constants and tensors are read where they lie, as little endian: there is no big-endian build"
);

pub mod eval;

pub mod ir;
pub mod memory;
pub mod narrow;
pub mod passes;
pub mod pipeline;
pub mod random;
pub mod rewrite;
pub mod scores;
