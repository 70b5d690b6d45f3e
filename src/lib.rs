//! `bgz-fusion` makes transformer models fast on a CPU by rewriting their
//! graph: an ONNX file is loaded at run time, or a Burn model's ops are recorded
//! under way, what the primitive ops mean is recognised, and the result runs
//! through kernels of this crate, with a Burn backend for everything else.
//!
//! Start with [`Model`] or [`BgzFusion`]; `ARCHITECTURE.md` in the repository
//! shows how a model flows through the folders.
//!
//! [`table`] compiles tables from which attention can take its scores, with
//! their measured fidelity; [`Pipeline::approximate`] lets it.
//!
//! [`gguf`] reads the weights and metadata of GGUF files.

#[cfg(feature = "burn")]
mod burn;
mod error;
pub mod exec;
pub mod files;
pub mod gguf;
mod model;
pub mod onnx;
mod options;
mod outputs;
mod session;
pub mod snapshot;
mod storage;
pub mod table;
mod tensor;

#[doc(inline)]
pub use bgz_kernels as kernels;
pub use bgz_passes::ir::{self, DType, Graph, Type};
pub use bgz_passes::pipeline::{Pipeline, Report};
pub use bgz_passes::{memory, passes, random, rewrite, scores};
pub use error::Error;
pub use model::{Model, ValueInfo};
pub use options::ModelOptions;
pub use outputs::Outputs;
pub use session::Session;
pub use tensor::{Element, Tensor, TensorError};

#[cfg(feature = "burn")]
pub use self::burn::{backend, trace};
#[cfg(feature = "flex")]
pub use burn_flex::Flex;
#[cfg(feature = "ndarray")]
pub use burn_ndarray::NdArray;

/// A Burn backend that rewrites under way what a model does: `Model<BgzFusion<Flex>>` for `Model<Flex>` or
/// `Model<BgzFusion<NdArray>>` for `Model<NdArray>`, and nothing else changes.
///
/// ```
/// use bgz_fusion::{BgzFusion, Flex};
/// use burn::tensor::Tensor;
///
/// let x = Tensor::<BgzFusion<Flex>, 1>::from_floats([0.5, 1.5, 2.5], &Default::default());
/// assert_eq!(x.round().exp().into_data().to_vec::<f32>().unwrap()[0], 1.0);
/// ```
#[cfg(feature = "burn")]
pub type BgzFusion<B> = backend::Local<burn_fusion::Fusion<backend::Local<B>>>;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
