//! The default model: a decoder-only character language model in primitive ONNX ops.
//!
//! It is written as PyTorch's exporter writes such a model: LayerNorm, GELU and attention as their parts, a head split
//! whose shape is computed from the input's, scalars as `Constant` nodes, a bias added from the left. So it shows what
//! the passes have to recognise, in a file small enough to be kept in the repository.
//!
//! Its weights are seeded and not trained. They are spread so that attention picks out positions and logits are of
//! order 1, and no gain is one and no bias zero: a rewrite that drops or swaps one of them changes the result.
//!
//! A token is a printable ASCII character less 32; 95 stands for the line feed.

use onnx_ir::{Message, ModelProto};

use crate::builder::{DataType, Dim, GraphBuilder, Value};
use crate::rng::SplitMix64;

/// The seed of the committed file.
pub const SEED: u64 = 0x6267_7a2d_6675_7365;

/// The version of ONNX's operator set that the model is written for.
pub const OPSET: i64 = 17;

/// The sizes of a character language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Number of tokens.
    pub vocab: usize,
    /// Greatest length of a sequence.
    pub context: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Width of a head. The model's own width is `heads * d_head`.
    pub d_head: usize,
    /// Number of transformer blocks.
    pub layers: usize,
    /// Width inside a block's feed-forward part.
    pub d_ff: usize,
}

impl Default for Config {
    /// The sizes of the committed file.
    fn default() -> Self {
        Self { vocab: 96, context: 256, heads: 4, d_head: 32, layers: 3, d_ff: 512 }
    }
}

impl Config {
    /// The model's width.
    pub fn d_model(&self) -> usize {
        self.heads * self.d_head
    }
}

/// The bytes of `models/default/char_lm.onnx`.
///
/// # Errors
/// When protobuf cannot write the model, as one over its 2 GB limit.
pub fn default_bytes() -> Result<Vec<u8>, String> {
    build(&Config::default(), SEED).write_to_bytes().map_err(|error| error.to_string())
}

/// The model of the given sizes, with weights drawn from `seed`.
///
/// Input `ids`: `i64[batch, seq]`; output `logits`: `f32[batch, seq, vocab]`.
pub fn build(config: &Config, seed: u64) -> ModelProto {
    let mut writer = Writer { b: GraphBuilder::new("char_lm"), config: *config, seed };
    let ids = writer.b.input("ids", DataType::I64, &[Dim::Symbol("batch"), Dim::Symbol("seq")]);

    let mut x = writer.embed(&ids);
    let mask = writer.causal_mask();
    for layer in 0..config.layers {
        x = writer.block(layer, &x, &mask);
    }
    let x = writer.layer_norm("/norm", "norm", &x);
    let head = writer.weight("head.weight", config.d_model(), config.vocab, 1.0);
    writer.b.op("/head", "MatMul", &[&x, &head]);
    writer.b.output_of_last(
        "logits",
        DataType::F32,
        &[Dim::Symbol("batch"), Dim::Symbol("seq"), Dim::Fixed(config.vocab)],
    );
    writer.b.finish(OPSET, "Character language model with seeded, untrained weights.")
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
    config: Config,
    seed: u64,
}

impl Writer {
    /// An initialiser of values around `mean` with standard deviation `std`.
    fn param(&mut self, name: &str, dims: &[usize], mean: f64, std: f64) -> Value {
        let mut rng = SplitMix64::for_name(self.seed, name);
        let len = dims.iter().product();
        let values: Vec<f32> = (0..len).map(|_| (mean + std * rng.next_normal()) as f32).collect();
        self.b.init_f32(name, dims, &values)
    }

    /// A weight that takes inputs of variance 1 to outputs of standard deviation `gain`.
    fn weight(&mut self, name: &str, inputs: usize, outputs: usize, gain: f64) -> Value {
        self.param(name, &[inputs, outputs], 0.0, gain / (inputs as f64).sqrt())
    }

    /// Token embedding + position embedding, the positions cut from a constant `[1, context]`.
    fn embed(&mut self, ids: &Value) -> Value {
        let d_model = self.config.d_model();
        let context = self.config.context;
        let tokens = self.param("tokens.weight", &[self.config.vocab, d_model], 0.0, 1.0);
        let places = self.param("positions.weight", &[context, d_model], 0.0, 0.5);
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
    fn causal_mask(&mut self) -> Value {
        let n = self.config.context;
        let values: Vec<bool> = (0..n * n).map(|i| i % n <= i / n).collect();
        self.b.init_bool("causal_mask", &[n, n], &values)
    }

    /// `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.
    fn block(&mut self, index: usize, x: &Value, mask: &Value) -> Value {
        let scope = Scope::layer(index);
        let norm = scope.child("norm1");
        let h = self.layer_norm(&norm.node, &norm.param, x);
        let h = self.attention(&scope.child("attn"), &h, mask);
        let x = self.b.op(&scope.node, "Add", &[x, &h]);

        let norm = scope.child("norm2");
        let h = self.layer_norm(&norm.node, &norm.param, &x);
        let h = self.feed_forward(&scope.child("mlp"), &h);
        self.b.op(&scope.node, "Add", &[&x, &h])
    }

    /// `(x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias` over the last axis.
    fn layer_norm(&mut self, node: &str, param: &str, x: &Value) -> Value {
        let d_model = self.config.d_model();
        let weight = self.param(&format!("{param}.weight"), &[d_model], 1.0, 0.1);
        let bias = self.param(&format!("{param}.bias"), &[d_model], 0.0, 0.1);

        let mean = self.b.op_ints(node, "ReduceMean", &[x], "axes", &[-1]);
        let centred = self.b.op(node, "Sub", &[x, &mean]);
        let two = self.b.scalar_f32(node, 2.0);
        let squared = self.b.op(node, "Pow", &[&centred, &two]);
        let variance = self.b.op_ints(node, "ReduceMean", &[&squared], "axes", &[-1]);
        let epsilon = self.b.scalar_f32(node, 1e-5);
        let shifted = self.b.op(node, "Add", &[&variance, &epsilon]);
        let deviation = self.b.op(node, "Sqrt", &[&shifted]);
        let normal = self.b.op(node, "Div", &[&centred, &deviation]);
        let scaled = self.b.op(node, "Mul", &[&normal, &weight]);
        self.b.op(node, "Add", &[&scaled, &bias])
    }

    /// Multi-head causal self-attention with its output projection.
    fn attention(&mut self, scope: &Scope, x: &Value, mask: &Value) -> Value {
        let node = scope.node.as_str();
        let d_model = self.config.d_model();
        let heads = self.config.heads as i64;
        let d_head = self.config.d_head as i64;

        let batch = self.dim(node, x, 0);
        let seq = self.dim(node, x, 1);
        let q = self.linear(&scope.child("q"), x, d_model, d_model, 1.1);
        let k = self.linear(&scope.child("k"), x, d_model, d_model, 1.1);
        let v = self.linear(&scope.child("v"), x, d_model, d_model, 1.0);

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
        let mixed = self.reshape(node, &mixed, &batch, &seq, &[d_model as i64]);
        let gain = self.residual_gain();
        self.linear(&scope.child("out"), &mixed, d_model, d_model, gain)
    }

    /// `down(gelu(up(x)))`, GELU in its exact form: `x * (1 + erf(x / sqrt(2))) * 0.5`.
    fn feed_forward(&mut self, scope: &Scope, x: &Value) -> Value {
        let d_model = self.config.d_model();
        let d_ff = self.config.d_ff;
        let h = self.linear(&scope.child("up"), x, d_model, d_ff, 1.0);

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

        let gain = self.residual_gain();
        self.linear(&scope.child("down"), &h, d_ff, d_model, gain)
    }

    /// GPT-2 scales the layers that write to the residual stream by its depth, so that it keeps its size.
    fn residual_gain(&self) -> f64 {
        1.0 / (2.0 * self.config.layers as f64).sqrt()
    }

    /// `bias + x @ weight`.
    fn linear(&mut self, scope: &Scope, x: &Value, from: usize, to: usize, gain: f64) -> Value {
        let weight = self.weight(&format!("{}.weight", scope.param), from, to, gain);
        let bias = self.param(&format!("{}.bias", scope.param), &[to], 0.0, 0.05);
        let product = self.b.op(&scope.node, "MatMul", &[x, &weight]);
        self.b.op(&scope.node, "Add", &[&bias, &product])
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
