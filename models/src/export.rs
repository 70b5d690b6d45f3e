//! Writes the character language model as ONNX, in primitive ops.
//!
//! It is written as PyTorch's exporter writes such a model: LayerNorm, GELU and attention as their parts, a head split
//! whose shape is computed from the input's, scalars as `Constant` nodes, a bias added from the left. So it shows what
//! the passes have to recognise, in a file small enough to be kept in the repository.

use burn::module::Param;
use burn::nn::attention::MultiHeadAttention;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use onnx_ir::{Message, ModelProto};

use crate::builder::{DataType, Dim, GraphBuilder, Value};
use crate::decoder::{CharLm, DecoderBlock, LAYER_NORM_EPSILON};

/// The version of ONNX's operator set that the model is written for.
pub const OPSET: i64 = 17;

/// Why a model cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Protobuf refused it, as it does a model over 2 GB.
    #[error("the model cannot be written as protobuf: {0}")]
    Protobuf(String),
}

/// The bytes of an ONNX file of `model`.
///
/// # Errors
/// When protobuf cannot write the model, as one over its 2 GB limit.
pub fn to_bytes<B: Backend>(model: &CharLm<B>) -> Result<Vec<u8>, ExportError> {
    to_onnx(model).write_to_bytes().map_err(|error| ExportError::Protobuf(error.to_string()))
}

/// `model` as an ONNX graph with weights in `f32`.
///
/// Input `ids`: `i64[batch, seq]`, `seq` at most the context; output `logits`: `f32[batch, seq, vocab]`.
pub fn to_onnx<B: Backend>(model: &CharLm<B>) -> ModelProto {
    let mut writer = Writer { b: GraphBuilder::new("char_lm") };
    let ids = writer.b.input("ids", DataType::I64, &[Dim::Symbol("batch"), Dim::Symbol("seq")]);

    let mut x = writer.embed(model, &ids);
    let mask = writer.causal_mask(model.context());
    for (index, block) in model.blocks.iter().enumerate() {
        x = writer.block(index, block, &x, &mask);
    }
    let x = writer.layer_norm("/norm", "norm", &model.norm, &x);
    let head = writer.param("head.weight", &model.head.weight);
    writer.b.op("/head", "MatMul", &[&x, &head]);
    let vocab = Dim::Fixed(model.vocab());
    writer.b.output_of_last("logits", DataType::F32, &[Dim::Symbol("batch"), Dim::Symbol("seq"), vocab]);
    writer.b.finish(OPSET, "Decoder-only character language model.")
}

/// A path of PyTorch modules in both spellings: `/layers.0/attn` for nodes, `layers.0.attn` for parameters.
struct Scope {
    node: String,
    param: String,
}

impl Scope {
    fn layer(index: usize) -> Self {
        Self { node: format!("/layers.{index}"), param: format!("layers.{index}") }
    }

    fn child(&self, name: &str) -> Self {
        Self { node: format!("{}/{name}", self.node), param: format!("{}.{name}", self.param) }
    }
}

struct Writer {
    b: GraphBuilder,
}

impl Writer {
    /// An initialiser with the values of a parameter.
    fn param<B: Backend, const D: usize>(&mut self, name: &str, param: &Param<Tensor<B, D>>) -> Value {
        let data = param.val().into_data();
        let values: Vec<f32> = data.iter::<f32>().collect();
        self.b.init_f32(name, &data.shape, &values)
    }

    /// Token embedding + position embedding, the positions cut from a constant `[1, context]`.
    fn embed<B: Backend>(&mut self, model: &CharLm<B>, ids: &Value) -> Value {
        let context = model.context();
        let tokens = self.param("tokens.weight", &model.tokens.weight);
        let places = self.param("positions.weight", &model.positions.weight);
        let indices: Vec<i64> = (0..context as i64).collect();
        let indices = self.b.init_i64("position_ids", &[1, context], &indices);

        let seq = self.dim("", ids, 1);
        let seq = self.unsqueeze("", &seq);
        let position = self.head_of("", &indices, &seq, 1);
        let token = self.b.op("/tokens", "Gather", &[&tokens, ids]);
        let place = self.b.op("/positions", "Gather", &[&places, &position]);
        self.b.op("", "Add", &[&token, &place])
    }

    /// The constant `[context, context]`, true where a query (row) may see a key (column).
    fn causal_mask(&mut self, n: usize) -> Value {
        let values: Vec<bool> = (0..n * n).map(|i| i % n <= i / n).collect();
        self.b.init_bool("causal_mask", &[n, n], &values)
    }

    /// `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.
    fn block<B: Backend>(&mut self, index: usize, block: &DecoderBlock<B>, x: &Value, mask: &Value) -> Value {
        let scope = Scope::layer(index);
        let norm = scope.child("norm1");
        let h = self.layer_norm(&norm.node, &norm.param, &block.norm1, x);
        let h = self.attention(&scope.child("attn"), &block.attention, &h, mask);
        let x = self.b.op(&scope.node, "Add", &[x, &h]);

        let norm = scope.child("norm2");
        let h = self.layer_norm(&norm.node, &norm.param, &block.norm2, &x);
        let h = self.feed_forward(&scope.child("mlp"), block, &h);
        self.b.op(&scope.node, "Add", &[&x, &h])
    }

    /// `(x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias` over the last axis.
    fn layer_norm<B: Backend>(&mut self, node: &str, param: &str, layer: &LayerNorm<B>, x: &Value) -> Value {
        let weight = self.param(&format!("{param}.weight"), &layer.gamma);
        let bias = layer.beta.as_ref().map(|beta| self.param(&format!("{param}.bias"), beta));

        let mean = self.b.op_ints(node, "ReduceMean", &[x], "axes", &[-1]);
        let centred = self.b.op(node, "Sub", &[x, &mean]);
        let two = self.b.scalar_f32(node, 2.0);
        let squared = self.b.op(node, "Pow", &[&centred, &two]);
        let variance = self.b.op_ints(node, "ReduceMean", &[&squared], "axes", &[-1]);
        let epsilon = self.b.scalar_f32(node, LAYER_NORM_EPSILON as f32);
        let shifted = self.b.op(node, "Add", &[&variance, &epsilon]);
        let deviation = self.b.op(node, "Sqrt", &[&shifted]);
        let normal = self.b.op(node, "Div", &[&centred, &deviation]);
        let scaled = self.b.op(node, "Mul", &[&normal, &weight]);
        match bias {
            Some(bias) => self.b.op(node, "Add", &[&scaled, &bias]),
            None => scaled,
        }
    }

    /// Multi-head causal self-attention with its output projection.
    fn attention<B: Backend>(
        &mut self,
        scope: &Scope,
        layer: &MultiHeadAttention<B>,
        x: &Value,
        mask: &Value,
    ) -> Value {
        let node = scope.node.as_str();
        let heads = layer.n_heads as i64;
        let d_head = layer.d_k as i64;

        let batch = self.dim(node, x, 0);
        let seq = self.dim(node, x, 1);
        let q = self.linear(&scope.child("q"), &layer.query, x);
        let k = self.linear(&scope.child("k"), &layer.key, x);
        let v = self.linear(&scope.child("v"), &layer.value, x);

        let q = self.reshape(node, &q, &batch, &seq, &[heads, d_head]);
        let q = self.b.op_ints(node, "Transpose", &[&q], "perm", &[0, 2, 1, 3]);
        let k = self.reshape(node, &k, &batch, &seq, &[heads, d_head]);
        let v = self.reshape(node, &v, &batch, &seq, &[heads, d_head]);
        let v = self.b.op_ints(node, "Transpose", &[&v], "perm", &[0, 2, 1, 3]);
        // The exporter joins the head split's transpose with the one before the product.
        let k = self.b.op_ints(node, "Transpose", &[&k], "perm", &[0, 2, 3, 1]);

        let scores = self.b.op(node, "MatMul", &[&q, &k]);
        let divisor = self.b.scalar_f32(node, (d_head as f32).sqrt());
        let scores = self.b.op(node, "Div", &[&scores, &divisor]);
        let end = self.unsqueeze(node, &seq);
        let visible = self.head_of(node, mask, &end, 0);
        let visible = self.head_of(node, &visible, &end, 1);
        let lowest = self.b.scalar_f32(node, f32::MIN);
        let scores = self.b.op(node, "Where", &[&visible, &scores, &lowest]);
        let weights = self.b.op_int(node, "Softmax", &[&scores], "axis", -1);

        let mixed = self.b.op(node, "MatMul", &[&weights, &v]);
        let mixed = self.b.op_ints(node, "Transpose", &[&mixed], "perm", &[0, 2, 1, 3]);
        let mixed = self.reshape(node, &mixed, &batch, &seq, &[heads * d_head]);
        self.linear(&scope.child("out"), &layer.output, &mixed)
    }

    /// `down(gelu(up(x)))`, GELU in its exact form: `x * (1 + erf(x / sqrt(2))) * 0.5`.
    fn feed_forward<B: Backend>(&mut self, scope: &Scope, block: &DecoderBlock<B>, x: &Value) -> Value {
        let h = self.linear(&scope.child("up"), &block.up, x);

        let act = scope.child("act");
        let act = act.node.as_str();
        let root = self.b.scalar_f32(act, std::f32::consts::SQRT_2);
        let scaled = self.b.op(act, "Div", &[&h, &root]);
        let erf = self.b.op(act, "Erf", &[&scaled]);
        let one = self.b.scalar_f32(act, 1.0);
        let shifted = self.b.op(act, "Add", &[&erf, &one]);
        let product = self.b.op(act, "Mul", &[&h, &shifted]);
        let half = self.b.scalar_f32(act, 0.5);
        let h = self.b.op(act, "Mul", &[&product, &half]);

        self.linear(&scope.child("down"), &block.down, &h)
    }

    /// `bias + x @ weight`.
    fn linear<B: Backend>(&mut self, scope: &Scope, layer: &Linear<B>, x: &Value) -> Value {
        let weight = self.param(&format!("{}.weight", scope.param), &layer.weight);
        let bias = layer.bias.as_ref().map(|bias| self.param(&format!("{}.bias", scope.param), bias));
        let product = self.b.op(&scope.node, "MatMul", &[x, &weight]);
        match bias {
            Some(bias) => self.b.op(&scope.node, "Add", &[&bias, &product]),
            None => product,
        }
    }

    /// The size of one axis of `x`, as a scalar.
    fn dim(&mut self, scope: &str, x: &Value, axis: i64) -> Value {
        let shape = self.b.op(scope, "Shape", &[x]);
        let index = self.b.scalar_i64(scope, axis);
        self.b.op_int(scope, "Gather", &[&shape, &index], "axis", 0)
    }

    /// A scalar as a vector of one.
    fn unsqueeze(&mut self, scope: &str, scalar: &Value) -> Value {
        let axis = self.b.vector_i64(scope, 0);
        self.b.op(scope, "Unsqueeze", &[scalar, &axis])
    }

    /// `x` as `[batch, seq, rest..]`.
    fn reshape(&mut self, scope: &str, x: &Value, batch: &Value, seq: &Value, rest: &[i64]) -> Value {
        let mut parts = vec![self.unsqueeze(scope, batch), self.unsqueeze(scope, seq)];
        for &size in rest {
            parts.push(self.b.vector_i64(scope, size));
        }
        let parts: Vec<&Value> = parts.iter().collect();
        let shape = self.b.op_int(scope, "Concat", &parts, "axis", 0);
        self.b.op(scope, "Reshape", &[x, &shape])
    }

    /// `x[.., :end, ..]` along one axis.
    fn head_of(&mut self, scope: &str, x: &Value, end: &Value, axis: i64) -> Value {
        let start = self.b.vector_i64(scope, 0);
        let axis = self.b.vector_i64(scope, axis);
        let step = self.b.vector_i64(scope, 1);
        self.b.op(scope, "Slice", &[x, &start, end, &axis, &step])
    }
}
