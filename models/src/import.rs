//! Reads back what [`crate::export`] writes: the weights of an ONNX file as a Burn module.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use onnx_ir::{Message, ModelProto, TensorProto};

use crate::builder::DataType;
use crate::decoder::{CharLm, CharLmConfig};

/// Why a file does not become a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It is not ONNX.
    #[error("not an ONNX file: {0}")]
    Protobuf(String),
    /// It lacks a weight.
    #[error("there is no weight {0}")]
    Missing(String),
    /// A weight is not `f32` of the shape that the sizes ask for.
    #[error("weight {name} is not f32{expected:?} but of dtype {dtype} and shape {dims:?}")]
    Mismatch {
        /// Its name.
        name: String,
        /// The shape asked for.
        expected: Vec<usize>,
        /// Its `TensorProto.DataType`.
        dtype: i32,
        /// Its shape.
        dims: Vec<i64>,
    },
}

/// The model of the sizes of `config` whose weights are in the ONNX file `bytes`.
///
/// Only weights are read: that the file's graph is the module's is taken for granted.
///
/// # Errors
/// When `bytes` is not ONNX, or a weight is missing or is not `f32` of the shape that `config` asks for.
pub fn from_bytes<B: Backend>(
    config: &CharLmConfig,
    bytes: &[u8],
    device: &B::Device,
) -> Result<CharLm<B>, ImportError> {
    let proto = ModelProto::parse_from_bytes(bytes).map_err(|error| ImportError::Protobuf(error.to_string()))?;
    let tensors = proto.graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let weights = Weights::<B> { tensors, device };

    let mut model = config.init::<B>(0, device);
    weights.set("tokens.weight", &mut model.tokens.weight)?;
    weights.set("positions.weight", &mut model.positions.weight)?;
    for (index, block) in model.blocks.iter_mut().enumerate() {
        let scope = format!("layers.{index}");
        weights.set_norm(&format!("{scope}.norm1"), &mut block.norm1)?;
        weights.set_linear(&format!("{scope}.attn.q"), &mut block.attention.query)?;
        weights.set_linear(&format!("{scope}.attn.k"), &mut block.attention.key)?;
        weights.set_linear(&format!("{scope}.attn.v"), &mut block.attention.value)?;
        weights.set_linear(&format!("{scope}.attn.out"), &mut block.attention.output)?;
        weights.set_norm(&format!("{scope}.norm2"), &mut block.norm2)?;
        weights.set_linear(&format!("{scope}.mlp.up"), &mut block.up)?;
        weights.set_linear(&format!("{scope}.mlp.down"), &mut block.down)?;
    }
    weights.set_norm("norm", &mut model.norm)?;
    weights.set_linear("head", &mut model.head)?;
    Ok(model)
}

/// The initialisers of a graph.
struct Weights<'a, B: Backend> {
    tensors: BTreeMap<&'a str, &'a TensorProto>,
    device: &'a B::Device,
}

impl<B: Backend> Weights<'_, B> {
    /// Gives `param` the values of the initialiser `name`, which must have its shape.
    fn set<const D: usize>(&self, name: &str, param: &mut Param<Tensor<B, D>>) -> Result<(), ImportError> {
        let tensor = self.tensors.get(name).ok_or_else(|| ImportError::Missing(name.to_owned()))?;
        let expected: [usize; D] = param.shape().dims();
        let len = expected.iter().product::<usize>();
        let same = tensor.dims.iter().copied().eq(expected.iter().map(|&size| size as i64));
        if tensor.data_type != DataType::F32 as i32 || !same || tensor.raw_data.len() != 4 * len {
            return Err(ImportError::Mismatch {
                name: name.to_owned(),
                expected: expected.to_vec(),
                dtype: tensor.data_type,
                dims: tensor.dims.clone(),
            });
        }
        let (values, _) = tensor.raw_data.as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|&value| f32::from_le_bytes(value)).collect();
        *param = Param::from_data(TensorData::new(values, expected), self.device);
        Ok(())
    }

    fn set_linear(&self, name: &str, layer: &mut Linear<B>) -> Result<(), ImportError> {
        self.set(&format!("{name}.weight"), &mut layer.weight)?;
        layer.bias.as_mut().map_or(Ok(()), |bias| self.set(&format!("{name}.bias"), bias))
    }

    fn set_norm(&self, name: &str, layer: &mut LayerNorm<B>) -> Result<(), ImportError> {
        self.set(&format!("{name}.weight"), &mut layer.gamma)?;
        layer.beta.as_mut().map_or(Ok(()), |beta| self.set(&format!("{name}.bias"), beta))
    }
}
