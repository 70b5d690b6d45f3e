//! `bgz-fusion` makes transformer models fast on a CPU by rewriting their
//! graph: an ONNX file is loaded at run time, what its primitive ops mean is
//! recognised, and the result runs through kernels of this crate, with a Burn
//! backend for everything else.
//!
//! Start with [`OnnxModel`]; `ARCHITECTURE.md` in the repository shows how a
//! model flows through the folders.

pub mod backend;
mod error;
pub mod exec;
pub mod kernels;
mod model;
pub mod onnx;
pub mod snapshot;
mod tensor;

pub use bgz_passes::ir::{self, DType, Graph, Type};
pub use bgz_passes::pipeline::{Pipeline, Report};
pub use bgz_passes::rewrite;
pub use error::Error;
pub use model::{Model, OnnxModel, OpByOpModel};
pub use tensor::{Element, Tensor};

/// The inner backends a model can run on.
pub mod backends {
    pub use crate::exec::inner::{Inner, InnerBackend};
    pub use burn_backend::Backend;
    pub use burn_flex::Flex;
    pub use burn_ndarray::NdArray;
}

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
