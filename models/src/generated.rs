//! The default model as the Rust code that burn-import writes of `cli/model/char_lm.onnx`.
//!
//! The code is kept in `models/generated/`, so that it is there without a build of burn-import. With the feature
//! `generated` burn-import writes it anew while this crate is built (`fresh`), and a test compares the two.
//!
//! `forward` takes `ids`, `i64[batch, seq]` (or the backend's own integer), and gives `logits`, `f32[batch, seq, vocab]`.

use std::collections::VecDeque;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use onnx_ir::{ModelProto, TensorProto};

use crate::builder::DataType;
use crate::import::{ImportError, parse};

pub use kept::Model;

/// Not ours to document or to tidy.
#[allow(missing_docs, clippy::all, unused)]
mod kept {
    include!("../generated/char_lm.rs");
}

/// As burn-import has just written it, with the weights in the program: `Model::<B>::from_embedded(device)`.
#[cfg(feature = "generated")]
#[allow(missing_docs, clippy::all, unused)]
pub mod fresh {
    include!(concat!(env!("OUT_DIR"), "/model/char_lm.rs"));

    /// The code without the weights, which is what is kept.
    pub const CODE: &str = include_str!(concat!(env!("OUT_DIR"), "/code/char_lm.rs"));
}

/// The code that is kept.
pub const CODE: &str = include_str!("../generated/char_lm.rs");

/// The model with the weights of the ONNX file `bytes`, which is the one that the code was made of.
///
/// burn-import numbers what it makes of initialisers and drops their names; it makes them in the order in which nodes
/// first use them, and so they are given out here.
///
/// # Errors
/// When `bytes` is not ONNX, or its initialisers are not those of the model.
pub fn from_bytes<B: Backend>(bytes: &[u8], device: &B::Device) -> Result<Model<B>, ImportError> {
    let proto = parse(bytes)?;
    let mut weights = InOrder { left: in_order_of_use(&proto), device: device.clone(), error: None };
    let model = Model::new(device).map::<InOrder<'_, B>>(&mut weights);
    match (weights.error, weights.left.front()) {
        (Some(error), _) => Err(error),
        (None, Some(tensor)) => Err(ImportError::Unused(tensor.name.clone())),
        (None, None) => Ok(model),
    }
}

fn in_order_of_use(proto: &ModelProto) -> VecDeque<&TensorProto> {
    let mut left: Vec<&TensorProto> = proto.graph.initializer.iter().collect();
    let mut ordered = VecDeque::new();
    for name in proto.graph.node.iter().flat_map(|node| &node.input) {
        if let Some(at) = left.iter().position(|tensor| tensor.name == *name) {
            ordered.push_back(left.remove(at));
        }
    }
    ordered
}

/// Gives parameters the initialisers in turn.
struct InOrder<'a, B: Backend> {
    left: VecDeque<&'a TensorProto>,
    device: B::Device,
    /// The first that went wrong.
    error: Option<ImportError>,
}

impl<B: Backend> InOrder<'_, B> {
    /// The elements of the next initialiser, which must have this dtype and shape; `None` if something is wrong.
    fn next(&mut self, dtype: DataType, shape: Vec<usize>) -> Option<&[u8]> {
        if self.error.is_some() {
            return None;
        }
        let Some(tensor) = self.left.pop_front() else {
            self.error = Some(ImportError::Missing(format!("of shape {shape:?}")));
            return None;
        };
        let len = shape.iter().product::<usize>() * dtype.size();
        let same = tensor.dims.iter().copied().eq(shape.iter().map(|&size| size as i64));
        if tensor.data_type != dtype as i32 || !same || tensor.raw_data.len() != len {
            self.error = Some(ImportError::mismatch(tensor, shape));
            return None;
        }
        Some(&tensor.raw_data)
    }
}

impl<B: Backend> ModuleMapper<B> for InOrder<'_, B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let shape = param.shape();
        // A number, which the code has itself.
        if shape[..] == [1] {
            return param;
        }
        let Some(bytes) = self.next(DataType::F32, shape.to_vec()) else { return param };
        let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        Param::from_data(TensorData::new(values, shape), &self.device)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<B, D, Int>>) -> Param<Tensor<B, D, Int>> {
        let shape = param.shape();
        let Some(bytes) = self.next(DataType::I64, shape.to_vec()) else { return param };
        let values: Vec<i64> = bytes.as_chunks().0.iter().map(|&value| i64::from_le_bytes(value)).collect();
        Param::initialized(param.id, Tensor::from_data(TensorData::new(values, shape), &self.device))
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<B, D, Bool>>) -> Param<Tensor<B, D, Bool>> {
        let shape = param.shape();
        let Some(bytes) = self.next(DataType::Bool, shape.to_vec()) else { return param };
        let values: Vec<bool> = bytes.iter().map(|&value| value != 0).collect();
        Param::initialized(param.id, Tensor::from_data(TensorData::new(values, shape), &self.device))
    }
}
