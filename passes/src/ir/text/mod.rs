//! The text of a graph: [`print`], and [`parse`] for the way back.
//!
//! ```text
//! graph @minilm {
//!   in  %ids : i64[batch, seq]
//!   const @wq : f32[384, 384] 9f3c01aa
//!   const @eps : f32[] = 1e-12
//!   %q = linear(%x, @wq, @bq) : f32[batch, seq, 384]
//!   %v, %i = top_k(%q) {axis = 2, k = [4], largest = true} : f32[batch, seq, 4], i64[batch, seq, 4]
//!   out %v
//!   out index = %i
//! }
//! // anything else, as comments
//! ```
//!
//! One statement a line. Nothing that differs between two runs on the same
//! graph is printed. Names are bare where they can be, else `%"quoted"`; a
//! named dim that is not an identifier is `'quoted'`. Constants of up to
//! [`Constant::INLINE_LEN`](super::Constant::INLINE_LEN) elements show them,
//! larger ones a hash, and those in blocks their format before it (`f32[64, 32] q4_0 9f3c01aa`); only those in use are
//! printed, in order of first use.

mod expr;
mod lexer;
mod parse;
mod print;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::random::random_graph;

pub use expr::ExprError;
pub use parse::{ParseError, parse, parse_with};
pub use print::print;

pub(crate) use print::write_ident;
