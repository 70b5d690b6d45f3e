//! A decoder-only character language model.
//!
//! GPT-2's arrangement: learned positions, blocks that normalise first, exact GELU, a last LayerNorm, and a head that
//! is not tied to the embedding. [`crate::export`] writes it as ONNX.

use bgz_passes::random::SplitMix64;
use burn::module::Module;
use burn::nn::attention::{MhaInput, MultiHeadAttention, generate_autoregressive_mask};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::activation::gelu;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor, TensorData};

use crate::init::Init;
use crate::text::VOCAB;

/// The number that LayerNorm adds to the variance.
pub(crate) const LAYER_NORM_EPSILON: f64 = 1e-5;

/// The sizes of a character language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CharLmConfig {
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

impl Default for CharLmConfig {
    /// The sizes of `cli/model/char_lm.onnx`.
    fn default() -> Self {
        Self { vocab: VOCAB, context: 256, heads: 4, d_head: 32, layers: 3, d_ff: 512 }
    }
}

impl CharLmConfig {
    /// The model's width.
    pub fn d_model(&self) -> usize {
        self.heads * self.d_head
    }

    /// An untrained model with `f32` weights drawn from `seed`.
    pub fn init<B: Backend>(&self, seed: u64, device: &B::Device) -> CharLm<B> {
        let init = Init::<B>::new(seed, device);
        let d_model = self.d_model();
        let norm = || LayerNormConfig::new(d_model).with_epsilon(LAYER_NORM_EPSILON).init(device);
        // GPT-2 scales the layers that write to the residual stream by its depth, so that it keeps its size.
        let residual = 1.0 / (2.0 * self.layers.max(1) as f64).sqrt();
        let block = |index: usize| DecoderBlock {
            norm1: norm(),
            attention: init.attention(&format!("layers.{index}.attn"), d_model, self.heads, residual),
            norm2: norm(),
            up: init.linear(&format!("layers.{index}.mlp.up"), d_model, self.d_ff, 1.0),
            down: init.linear(&format!("layers.{index}.mlp.down"), self.d_ff, d_model, residual),
        };
        CharLm {
            tokens: init.embedding("tokens", self.vocab, d_model, 0.5),
            positions: init.embedding("positions", self.context, d_model, 0.1),
            blocks: (0..self.layers).map(block).collect(),
            norm: norm(),
            // Small, so that the first loss is that of a uniform guess.
            head: init.linear_without_bias("head", d_model, self.vocab, 0.1),
        }
    }
}

/// A decoder-only character language model.
#[derive(Module, Debug)]
pub struct CharLm<B: Backend> {
    pub(crate) tokens: Embedding<B>,
    pub(crate) positions: Embedding<B>,
    pub(crate) blocks: Vec<DecoderBlock<B>>,
    pub(crate) norm: LayerNorm<B>,
    pub(crate) head: Linear<B>,
}

/// `x + attention(norm1(x))`, then `x + down(gelu(up(norm2(x))))`.
#[derive(Module, Debug)]
pub struct DecoderBlock<B: Backend> {
    pub(crate) norm1: LayerNorm<B>,
    pub(crate) attention: MultiHeadAttention<B>,
    pub(crate) norm2: LayerNorm<B>,
    pub(crate) up: Linear<B>,
    pub(crate) down: Linear<B>,
}

impl<B: Backend> DecoderBlock<B> {
    /// `x` is `f32[batch, seq, d_model]`, as is the result; `mask` is `bool[batch, seq, seq]`, true where a query (row)
    /// must not see a key (column).
    pub fn forward(&self, x: Tensor<B, 3>, mask: Tensor<B, 3, Bool>) -> Tensor<B, 3> {
        let h = MhaInput::self_attn(self.norm1.forward(x.clone())).mask_attn(mask);
        let x = x + self.attention.forward(h).context;
        let h = gelu(self.up.forward(self.norm2.forward(x.clone())));
        x + self.down.forward(h)
    }
}

/// How the next token is taken from the logits.
#[derive(Debug, Clone)]
pub enum Sampling {
    /// The likeliest.
    Greedy,
    /// Drawn from the softmax of `logits / temperature`; a temperature that is not above zero takes the likeliest.
    Temperature {
        /// 1 keeps the model's own distribution, less sharpens it.
        temperature: f32,
        /// Where the random numbers come from.
        rng: SplitMix64,
    },
}

impl Sampling {
    /// An index into `logits`; 0 where there are none.
    fn pick(&mut self, logits: &[f32]) -> usize {
        let likeliest = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0);
        match self {
            Self::Temperature { temperature, rng } if *temperature > 0.0 => {
                let max = logits.get(likeliest).copied().unwrap_or(0.0);
                let weights: Vec<f64> =
                    logits.iter().map(|&logit| f64::from((logit - max) / *temperature).exp()).collect();
                let mut left = rng.unit() * weights.iter().sum::<f64>();
                for (index, weight) in weights.iter().enumerate() {
                    left -= weight;
                    if left < 0.0 {
                        return index;
                    }
                }
                likeliest
            }
            _ => likeliest,
        }
    }
}

impl<B: Backend> CharLm<B> {
    /// Greatest length of a sequence.
    pub fn context(&self) -> usize {
        self.positions.weight.shape().dims::<2>()[0]
    }

    /// Number of tokens.
    pub fn vocab(&self) -> usize {
        self.tokens.weight.shape().dims::<2>()[0]
    }

    /// Logits of the token that follows each position: `i64[batch, seq]` (or the backend's own integer) to
    /// `f32[batch, seq, vocab]`.
    ///
    /// # Panics
    /// As Burn's own ops do, when `seq` is 0 or greater than [`Self::context`]. Tokens must be below [`Self::vocab`].
    pub fn forward(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [batch, seq] = tokens.dims();
        let device = tokens.device();
        let positions = self.positions.weight.val().narrow(0, 0, seq).unsqueeze::<3>();
        let mut x = self.tokens.forward(tokens) + positions;
        let mask = generate_autoregressive_mask(batch, seq, &device);
        for block in &self.blocks {
            x = block.forward(x, mask.clone());
        }
        self.head.forward(self.norm.forward(x))
    }

    /// The mean cross-entropy in nats, `f32[1]`, of `targets` given `tokens`, both `i64[batch, seq]`: `targets` is
    /// `tokens` moved on by one.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn loss(&self, tokens: Tensor<B, 2, Int>, targets: Tensor<B, 2, Int>) -> Tensor<B, 1> {
        let device = tokens.device();
        let logits = self.forward(tokens);
        let [batch, seq, vocab] = logits.dims();
        let logits = logits.reshape([batch * seq, vocab]);
        CrossEntropyLossConfig::new().init(&device).forward(logits, targets.reshape([batch * seq]))
    }

    /// `count` tokens that follow `prompt`. Of a text longer than the context its end is what the model sees; tokens
    /// it does not know are left out, and an empty prompt is taken as token 0.
    pub fn generate(&self, prompt: &[u8], count: usize, sampling: &mut Sampling, device: &B::Device) -> Vec<u8> {
        let (context, vocab) = (self.context(), self.vocab());
        let mut text: Vec<u8> = prompt.iter().copied().filter(|&token| usize::from(token) < vocab).collect();
        if text.is_empty() {
            text.push(0);
        }
        let start = text.len();
        for _ in 0..count {
            let seen = &text[text.len().saturating_sub(context)..];
            let tokens = token_tensor::<B>(seen, [1, seen.len()], device);
            let logits = self.forward(tokens).slice([0..1, seen.len() - 1..seen.len()]);
            let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
            // A vocabulary beyond 256 tokens is not text.
            text.push(u8::try_from(sampling.pick(&logits)).unwrap_or(0));
        }
        text.split_off(start)
    }
}

/// `tokens` as an integer tensor of shape `dims`.
///
/// # Panics
/// When there are not as many as `dims` says.
pub fn token_tensor<B: Backend>(tokens: &[u8], dims: [usize; 2], device: &B::Device) -> Tensor<B, 2, Int> {
    let values: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
    Tensor::from_data(TensorData::new(values, dims), device)
}
