//! Elementwise, row and attention kernels for x86-64 CPUs with AVX-512 or AVX2,
//! and for any other.
//!
//! - [`chain`]: expressions of any length over broadcast inputs, as one kernel;
//! - [`rows`]: softmax, norms, reductions over a contiguous last axis;
//! - [`attention`]: exact attention;
//! - [`linear`]: rows times packed weights; [`blocks`]: numbers of a few bits in blocks;
//! - [`overlap`]: sums of windows that overlap;
//! - [`conv`]: convolutions in groups; [`pool`]: the greatest or the mean of windows; [`window`]: how those lie;
//! - [`resize`]: resizing along an axis;
//! - [`copy`]: strided views made contiguous;
//! - [`movement`]: elements of any size padded, repeated, joined, cut;
//! - [`index`]: elements of any size gathered and scattered;
//! - [`reduce`]: reductions over any axes, extremes, running sums, the first of an order, of every element type;
//! - [`MatMul`]: stacks of matrices of f64 or integers that broadcast;
//! - [`double`]: softmax, norms and attention of f64;
//! - [`range()`]: evenly spaced numbers;
//! - [`Isa`]: what they run on; `BGZ_ISA` chooses; [`ByteIsa`]: the same for kernels on bytes;
//! - [`peak`]: what the machine can do at the most;
//! - [`sweep`]: all 2^32 inputs against a reference; [`list()`]: what there is.
//!
//! Each kernel is one generic body over a small SIMD vocabulary, compiled once
//! per instruction set and entered through one function pointer. Results do
//! not depend on length, alignment or the number of threads; they may differ in the
//! last bits between instruction sets.

pub mod attention;
mod axes;
pub mod blocks;
pub mod chain;
pub mod conv;
pub mod copy;
mod dense;
pub mod double;
mod encode;
pub mod index;
mod int8;
mod isa;
pub mod linear;
mod list;
mod math;
mod memory;
pub mod movement;
mod number;
pub mod overlap;
mod parallel;
pub mod peak;
pub mod pool;
mod product;
mod range;
pub mod reduce;
#[cfg(test)]
mod reference;
pub mod resize;
pub mod rows;
mod scan;
mod scratch;
mod simd;
mod strided;
pub mod sweep;
mod tile;
#[doc(hidden)]
pub mod trial;
pub mod ulp;
pub mod window;

pub use dense::{DenseError, Lanes};
pub use encode::{Book, BookError, Parts};
pub use isa::{ByteIsa, Isa, IsaError};
pub use list::{KernelInfo, list, unary_bound};
pub use memory::Memory;
pub use parallel::alone;
pub use product::MatMul;
pub use range::{range, range_len};
pub use scan::{Shape, Units, quantise_row};
pub use scratch::NoMemory;
/// For kernels that lie with what they are for, as those of GGUF blocks do.
#[doc(hidden)]
pub use simd::{Kernel, Simd, f16_to_f32, run};
