//! Gemma 3, a decoder-only language model, filled from a GGUF file.
//!
//! As "Gemma 3 Technical Report" (2025) describes it and llama.cpp runs it: RMSNorm before and behind each half of a
//! block, queries and keys normalised by head, rotary positions by halves, few key heads for many query heads, a GELU
//! gate, several blocks that see a window of the last tokens for each that sees all, and a head that shares the
//! embedding's matrix.
//!
//! A file is read through closures, so that this module does not know the reader:
//!
//! ```
//! use bgz_models::gemma::{Gemma, GemmaConfig};
//! use burn_flex::{Flex, FlexDevice};
//!
//! // What `Gguf::metadata` and `Gguf::tensor` would give.
//! let number = |key: &str| match key {
//!     "gemma3.attention.layer_norm_rms_epsilon" => Some(1e-6),
//!     "gemma3.rope.freq_base" => Some(1e6),
//!     "gemma3.attention.sliding_window" => Some(4.0),
//!     "gemma3.block_count" => Some(1.0),
//!     "gemma3.attention.head_count" | "gemma3.attention.head_count_kv" => Some(2.0),
//!     _ => Some(8.0).filter(|_| key.ends_with("_length")),
//! };
//! let config = GemmaConfig::from_metadata(number)?;
//! let sizes = config.shapes(16);
//! let ones = |name: &str| -> Result<_, std::fmt::Error> {
//!     let shape = sizes[name].clone();
//!     Ok((shape.clone(), vec![1.0; shape.iter().product()]))
//! };
//! let model = Gemma::<Flex>::load(&config, ones, &FlexDevice)?;
//! let mut cache = model.cache();
//! assert_eq!(model.next_logits(&[1, 2, 3], &mut cache, &FlexDevice)?.len(), 16);
//! # Ok::<(), bgz_models::gemma::GemmaError>(())
//! ```

mod cache;
mod config;
mod generate;
mod load;
mod sampling;
mod tokenizer;

pub use cache::GemmaCache;
pub use config::GemmaConfig;
pub use load::GemmaError;
pub use sampling::Sampler;
pub use tokenizer::{StreamDecoder, Tokenizer, TokenizerError};

use burn::module::Module;
use burn::nn::{Embedding, Linear, RmsNorm};
use burn::tensor::activation::{gelu_approximate, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use cache::{Context, Seen};

/// A Gemma 3 model.
#[derive(Module, Debug)]
pub struct Gemma<B: Backend> {
    /// Also, seen as its transpose, the output head: the largest matrix is there once.
    embedding: Embedding<B>,
    blocks: Vec<Block<B>>,
    norm: RmsNorm<B>,
    #[module(skip)]
    config: GemmaConfig,
}

/// `x + norm(attention(norm(x)))`, then `x + norm(feed_forward(norm(x)))`, each norm its own.
#[derive(Module, Debug)]
struct Block<B: Backend> {
    attention_norm: RmsNorm<B>,
    attention: Attention<B>,
    post_attention_norm: RmsNorm<B>,
    feed_forward_norm: RmsNorm<B>,
    feed_forward: FeedForward<B>,
    post_feed_forward_norm: RmsNorm<B>,
}

/// Attention whose query heads share fewer heads of keys and values.
#[derive(Module, Debug)]
struct Attention<B: Backend> {
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    output: Linear<B>,
    query_norm: RmsNorm<B>,
    key_norm: RmsNorm<B>,
}

/// `down(gelu(gate(x)) * up(x))`, by the tanh form of GELU.
#[derive(Module, Debug)]
struct FeedForward<B: Backend> {
    gate: Linear<B>,
    up: Linear<B>,
    down: Linear<B>,
}

/// The operands of the attention of one block, as tables for its scores are learned from.
#[derive(Debug, Clone)]
pub struct AttentionOperands<B: Backend> {
    /// Rotated and not scaled, `f32[batch, heads, seq, d_head]`.
    pub query: Tensor<B, 4>,
    /// Rotated, `f32[batch, kv_heads, seq, d_head]`.
    pub key: Tensor<B, 4>,
    /// `f32[batch, kv_heads, seq, d_head]`
    pub value: Tensor<B, 4>,
}

/// The tensors that one forward pass has for all its blocks of a kind, global ones or those with a window.
struct Positions<B: Backend> {
    /// `f32[1, 1, seq, d_head]`
    cos: Tensor<B, 4>,
    /// The same, its first half negated.
    sin: Tensor<B, 4>,
    /// Added to the scores, `f32[1, 1, seq, keys]`: 0, or minus infinity where a key is hidden.
    mask: Tensor<B, 4>,
}

/// All that is the same for every block.
struct Pass<B: Backend> {
    global: Positions<B>,
    local: Positions<B>,
    /// Where the partner of each dim of a head is, `i64[d_head]`.
    partners: Tensor<B, 1, Int>,
}

impl<B: Backend> Gemma<B> {
    /// Its sizes.
    pub fn config(&self) -> &GemmaConfig {
        &self.config
    }

    /// Number of tokens.
    pub fn vocab(&self) -> usize {
        self.embedding.weight.shape().dims::<2>()[0]
    }

    /// An empty cache for this model.
    pub fn cache(&self) -> GemmaCache<B> {
        GemmaCache::new(&self.config)
    }

    /// The tensor that the output head is given for `tokens`, `i64[batch, seq]` (or the backend's own integer), below
    /// [`Self::vocab`]: `f32[batch, seq, d_model]`.
    ///
    /// With a cache, `tokens` follow what it has, and are added to it. All sequences of a batch have one length.
    ///
    /// # Panics
    /// As Burn's own ops do, when `batch` is not that of the cache.
    pub fn forward(&self, tokens: Tensor<B, 2, Int>, cache: Option<&mut GemmaCache<B>>) -> Tensor<B, 3> {
        self.run(tokens, cache, None)
    }

    /// The operands of every block's attention on `tokens`, `i64[batch, seq]`, from the first block on.
    pub fn attention_operands(&self, tokens: Tensor<B, 2, Int>) -> Vec<AttentionOperands<B>> {
        let mut operands = Vec::with_capacity(self.blocks.len());
        self.run(tokens, None, Some(&mut operands));
        operands
    }

    fn run(
        &self,
        tokens: Tensor<B, 2, Int>,
        mut cache: Option<&mut GemmaCache<B>>,
        mut operands: Option<&mut Vec<AttentionOperands<B>>>,
    ) -> Tensor<B, 3> {
        let seq = tokens.dims()[1];
        let device = tokens.device();
        let seen = match cache.as_deref_mut() {
            Some(cache) => cache.begin(seq),
            None => Seen::nothing(),
        };
        let pass = self.pass(seen, seq, &device);
        let mut x = self.embedding.forward(tokens) * (self.config.d_model as f64).sqrt();
        for (index, block) in self.blocks.iter().enumerate() {
            let global = self.config.is_global(index);
            let positions = if global { &pass.global } else { &pass.local };
            let h = block.attention_norm.forward(x.clone());
            let own = block.attention.operands(h, positions, &pass.partners, &self.config);
            if let Some(operands) = operands.as_deref_mut() {
                operands.push(own.clone());
            }
            let (query, context) = (own.query, Context { key: own.key, value: own.value });
            let context = match cache.as_deref_mut() {
                Some(cache) => cache.extend(index, context),
                None => context,
            };
            let h = block.attention.attend(query, context, positions.mask.clone(), &self.config);
            x = x + block.post_attention_norm.forward(h);
            let h = block.feed_forward.forward(block.feed_forward_norm.forward(x.clone()));
            x = x + block.post_feed_forward_norm.forward(h);
        }
        if let Some(cache) = cache {
            cache.end(seq);
        }
        self.norm.forward(x)
    }

    /// Logits of the token that follows each position: `f32[batch, seq, d_model]`, as [`Self::forward`] gives it, to
    /// `f32[batch, seq, vocab]`.
    pub fn logits(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        hidden.matmul(self.embedding.weight.val().transpose().unsqueeze())
    }

    /// The parts of a pass that are computed on the host: positions, and which keys a query sees.
    fn pass(&self, seen: Seen, seq: usize, device: &B::Device) -> Pass<B> {
        let (config, d_head) = (&self.config, self.config.d_head);
        let half = d_head / 2;
        let positions = |base: f64, factor: f64, keys: Vec<Option<usize>>, window: usize| {
            let mut cos = vec![0f32; seq * d_head];
            let mut sin = vec![0f32; seq * d_head];
            for (at, (cos, sin)) in cos.chunks_mut(d_head).zip(sin.chunks_mut(d_head)).enumerate() {
                let position = (seen.len + at) as f64 / factor;
                for i in 0..half {
                    let angle = position * base.powf(-(i as f64) / half as f64);
                    (cos[i], cos[i + half]) = (angle.cos() as f32, angle.cos() as f32);
                    (sin[i], sin[i + half]) = (-angle.sin() as f32, angle.sin() as f32);
                }
            }
            let mask = (seen.len..seen.len + seq).flat_map(|query| {
                let visible = move |key: &usize| *key <= query && query - key < window;
                keys.iter().map(move |key| if key.as_ref().is_some_and(visible) { 0.0 } else { f32::NEG_INFINITY })
            });
            let mask: Vec<f32> = mask.collect();
            let tensor = |values, width| Tensor::from_data(TensorData::new(values, [1, 1, seq, width]), device);
            Positions { cos: tensor(cos, d_head), sin: tensor(sin, d_head), mask: tensor(mask, keys.len()) }
        };
        let partners: Vec<i64> = (0..d_head).map(|i| ((i + half) % d_head) as i64).collect();
        Pass {
            global: positions(config.rope_base, config.rope_factor, seen.global.keys(seen.len, seq), usize::MAX),
            local: positions(config.local_rope_base, 1.0, seen.local.keys(seen.len, seq), config.window),
            partners: Tensor::from_data(TensorData::new(partners, [d_head]), device),
        }
    }
}

impl<B: Backend> Attention<B> {
    /// The operands of attention, of `x`, `f32[batch, seq, d_model]`.
    fn operands(
        &self,
        x: Tensor<B, 3>,
        positions: &Positions<B>,
        partners: &Tensor<B, 1, Int>,
        config: &GemmaConfig,
    ) -> AttentionOperands<B> {
        let [batch, seq, _] = x.dims();
        let split = |x: Tensor<B, 3>, heads| x.reshape([batch, seq, heads, config.d_head]);
        let rotate = |x: Tensor<B, 4>| {
            let x = x.swap_dims(1, 2);
            let partner = x.clone().select(3, partners.clone());
            x * positions.cos.clone() + partner * positions.sin.clone()
        };
        let query = self.query_norm.forward(split(self.query.forward(x.clone()), config.heads));
        let key = self.key_norm.forward(split(self.key.forward(x.clone()), config.kv_heads));
        let value = split(self.value.forward(x), config.kv_heads).swap_dims(1, 2);
        AttentionOperands { query: rotate(query), key: rotate(key), value }
    }

    /// `softmax(q . k^T * scale + mask) . v` and the projection behind it: `f32[batch, seq, d_model]`.
    fn attend(
        &self,
        query: Tensor<B, 4>,
        context: Context<B>,
        mask: Tensor<B, 4>,
        config: &GemmaConfig,
    ) -> Tensor<B, 3> {
        let [batch, heads, seq, d_head] = query.dims();
        let [_, kv_heads, keys, _] = context.key.dims();
        // Each head of keys and values for the query heads that share it, side by side.
        let shared = |x: Tensor<B, 4>| {
            x.reshape([batch, kv_heads, 1, keys, d_head])
                .expand([batch, kv_heads, heads / kv_heads, keys, d_head])
                .reshape([batch, heads, keys, d_head])
        };
        let scores = query.matmul(shared(context.key).swap_dims(2, 3)) * config.scale();
        let weights = softmax(scores + mask, 3);
        let x = weights.matmul(shared(context.value)).swap_dims(1, 2);
        self.output.forward(x.reshape([batch, seq, heads * d_head]))
    }
}

impl<B: Backend> FeedForward<B> {
    fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let gate = gelu_approximate(self.gate.forward(x.clone()));
        self.down.forward(gate * self.up.forward(x))
    }
}
