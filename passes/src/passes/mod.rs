//! The passes, one a file; [`crate::pipeline`] has their order.

pub mod attention;
pub mod attention_to_table;
pub mod canonicalise;
pub mod common_subexpressions;
pub mod dead_code;
pub mod fold_constants;
pub mod fuse_elementwise;
pub mod gelu;
pub mod layer_norm;
pub mod linear;
pub mod linear_precision;
mod parts;
pub mod rms_norm;
pub mod silu;
pub mod softmax;
