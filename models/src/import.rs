//! The weights of an ONNX file as a Burn module: of what [`crate::export`] writes, and of MiniLM as its authors
//! exported it.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use onnx_ir::{Message, ModelProto, TensorProto};

use crate::builder::DataType;
use crate::decoder::{CharLm, CharLmConfig};
use crate::encoder::{SentenceEncoder, SentenceEncoderConfig};

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
    /// It has a weight that the model has no place for.
    #[error("there is no place for the weight {0}")]
    Unused(String),
}

impl ImportError {
    /// That `tensor` is not `f32` (or what the model has in its place) of this shape.
    pub(crate) fn mismatch(tensor: &TensorProto, expected: Vec<usize>) -> Self {
        Self::Mismatch { name: tensor.name.clone(), expected, dtype: tensor.data_type, dims: tensor.dims.clone() }
    }
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
    let proto = parse(bytes)?;
    let weights = Weights::<B>::new(&proto, device);

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

/// The sentence encoder whose weights are in the ONNX file `bytes`, which is `models/fetched/minilm.onnx` or one that
/// names its weights as that does.
///
/// Only weights are read. The file adds to each token the embedding of segment 0, which here goes into the positions.
///
/// # Errors
/// As [`from_bytes`].
pub fn minilm_from_bytes<B: Backend>(bytes: &[u8], device: &B::Device) -> Result<SentenceEncoder<B>, ImportError> {
    let proto = parse(bytes)?;
    let weights = Weights::<B>::new(&proto, device);
    let scope = "model.0.auto_model";

    let config = SentenceEncoderConfig::default();
    let mut model = config.init::<B>(0, device);
    let embeddings = format!("{scope}.embeddings");
    weights.set(&format!("{embeddings}.word_embeddings.weight"), &mut model.tokens.weight)?;
    weights.set(&format!("{embeddings}.position_embeddings.weight"), &mut model.positions.weight)?;
    let segments = weights.tensor(&format!("{embeddings}.token_type_embeddings.weight"), [2, config.d_model()])?;
    model.positions.weight = model.positions.weight.map(|positions| positions + segments.narrow(0, 0, 1));
    weights.set_norm(&format!("{embeddings}.LayerNorm"), &mut model.norm)?;
    for (index, layer) in model.layers.layers.iter_mut().enumerate() {
        let scope = format!("{scope}.encoder.layer.{index}");
        weights.set_product(&format!("{scope}.attention.self.query"), &mut layer.mha.query)?;
        weights.set_product(&format!("{scope}.attention.self.key"), &mut layer.mha.key)?;
        weights.set_product(&format!("{scope}.attention.self.value"), &mut layer.mha.value)?;
        weights.set_product(&format!("{scope}.attention.output.dense"), &mut layer.mha.output)?;
        weights.set_norm(&format!("{scope}.attention.output.LayerNorm"), &mut layer.norm_1)?;
        weights.set_product(&format!("{scope}.intermediate.dense"), &mut layer.pwff.linear_inner)?;
        weights.set_product(&format!("{scope}.output.dense"), &mut layer.pwff.linear_outer)?;
        weights.set_norm(&format!("{scope}.output.LayerNorm"), &mut layer.norm_2)?;
    }
    Ok(model)
}

pub(crate) fn parse(bytes: &[u8]) -> Result<ModelProto, ImportError> {
    ModelProto::parse_from_bytes(bytes).map_err(|error| ImportError::Protobuf(error.to_string()))
}

/// The initialisers of a graph.
struct Weights<'a, B: Backend> {
    proto: &'a ModelProto,
    tensors: BTreeMap<&'a str, &'a TensorProto>,
    device: &'a B::Device,
}

impl<'a, B: Backend> Weights<'a, B> {
    fn new(proto: &'a ModelProto, device: &'a B::Device) -> Self {
        let tensors = proto.graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        Self { proto, tensors, device }
    }

    /// Gives `param` the values of the initialiser `name`, which must have its shape.
    fn set<const D: usize>(&self, name: &str, param: &mut Param<Tensor<B, D>>) -> Result<(), ImportError> {
        let expected: [usize; D] = param.shape().dims();
        *param = Param::from_data(self.data(name, expected)?, self.device);
        Ok(())
    }

    /// The initialiser `name`, which must have the shape `expected`.
    fn tensor<const D: usize>(&self, name: &str, expected: [usize; D]) -> Result<Tensor<B, D>, ImportError> {
        Ok(Tensor::from_data(self.data(name, expected)?, self.device))
    }

    fn data<const D: usize>(&self, name: &str, expected: [usize; D]) -> Result<TensorData, ImportError> {
        let tensor = self.tensors.get(name).ok_or_else(|| ImportError::Missing(name.to_owned()))?;
        let len = expected.iter().product::<usize>();
        let same = tensor.dims.iter().copied().eq(expected.iter().map(|&size| size as i64));
        if tensor.data_type != DataType::F32 as i32 || !same || tensor.raw_data.len() != 4 * len {
            return Err(ImportError::mismatch(tensor, expected.to_vec()));
        }
        let (values, _) = tensor.raw_data.as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|&value| f32::from_le_bytes(value)).collect();
        Ok(TensorData::new(values, expected))
    }

    /// Gives a linear layer the bias `{name}.bias` and the matrix of the product that it is added to: a matrix that an
    /// exporter has transposed has lost its own name.
    fn set_product(&self, name: &str, layer: &mut Linear<B>) -> Result<(), ImportError> {
        let bias = format!("{name}.bias");
        let nodes = &self.proto.graph.node;
        let product = nodes.iter().find(|node| node.input.contains(&bias)).and_then(|sum| {
            nodes.iter().find(|node| node.op_type == "MatMul" && sum.input.iter().any(|x| node.output.contains(x)))
        });
        let matrix = product.and_then(|node| node.input.get(1)).ok_or_else(|| ImportError::Missing(name.to_owned()))?;
        self.set(matrix, &mut layer.weight)?;
        layer.bias.as_mut().map_or(Ok(()), |param| self.set(&bias, param))
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
