//! A sentence encoder: a BERT-like transformer encoder, mean pooling, vectors of length 1.

use burn::module::Module;
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{Embedding, LayerNorm, LayerNormConfig};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor};

use crate::init::Init;

/// The sizes of a sentence encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentenceEncoderConfig {
    /// Number of tokens.
    pub vocab: usize,
    /// Greatest length of a sequence.
    pub context: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Width of a head. The model's own width is `heads * d_head`.
    pub d_head: usize,
    /// Number of encoder layers.
    pub layers: usize,
    /// Width inside a layer's feed-forward part.
    pub d_ff: usize,
}

impl Default for SentenceEncoderConfig {
    /// The sizes of paraphrase-MiniLM-L3-v2: width 384, 12 heads of 32.
    fn default() -> Self {
        Self { vocab: 30522, context: 512, heads: 12, d_head: 32, layers: 3, d_ff: 1536 }
    }
}

impl SentenceEncoderConfig {
    /// The model's width, which is that of a sentence vector.
    pub fn d_model(&self) -> usize {
        self.heads * self.d_head
    }

    /// An untrained encoder with `f32` weights drawn from `seed`.
    pub fn init<B: Backend>(&self, seed: u64, device: &B::Device) -> SentenceEncoder<B> {
        let init = Init::<B>::new(seed, device);
        let d_model = self.d_model();
        // BERT's epsilon.
        let epsilon = 1e-12;
        let mut layers = TransformerEncoderConfig::new(d_model, self.d_ff, self.heads, self.layers)
            .with_dropout(0.0)
            .with_layer_norm_eps(epsilon)
            .init(device);
        for (index, layer) in layers.layers.iter_mut().enumerate() {
            layer.mha = init.attention(&format!("layers.{index}.attn"), d_model, self.heads, 1.0);
            init.feed_forward(&format!("layers.{index}.mlp"), &mut layer.pwff, d_model, self.d_ff);
        }
        SentenceEncoder {
            tokens: init.embedding("tokens", self.vocab, d_model, 1.0),
            positions: init.embedding("positions", self.context, d_model, 0.5),
            norm: LayerNormConfig::new(d_model).with_epsilon(epsilon).init(device),
            layers,
        }
    }
}

/// A transformer encoder whose outputs are pooled to one vector a sentence.
#[derive(Module, Debug)]
pub struct SentenceEncoder<B: Backend> {
    pub(crate) tokens: Embedding<B>,
    pub(crate) positions: Embedding<B>,
    pub(crate) norm: LayerNorm<B>,
    pub(crate) layers: TransformerEncoder<B>,
}

impl<B: Backend> SentenceEncoder<B> {
    /// A vector for each token: `ids` is `i64[batch, seq]` (or the backend's own integer), `padding` is
    /// `bool[batch, seq]`, true where there is no token; the result is `f32[batch, seq, d_model]`.
    ///
    /// # Panics
    /// As Burn's own ops do, when `seq` is 0 or greater than the context, or the two shapes differ.
    pub fn forward(&self, ids: Tensor<B, 2, Int>, padding: Tensor<B, 2, Bool>) -> Tensor<B, 3> {
        let [_, seq] = ids.dims();
        let positions = self.positions.weight.val().narrow(0, 0, seq).unsqueeze::<3>();
        let x = self.norm.forward(self.tokens.forward(ids) + positions);
        self.layers.forward(TransformerEncoderInput::new(x).mask_pad(padding))
    }

    /// A vector of length 1 for each sentence, `f32[batch, d_model]`: the mean over its tokens. The arguments are those
    /// of [`Self::forward`]. A sentence that is all padding becomes zeros.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn embed(&self, ids: Tensor<B, 2, Int>, padding: Tensor<B, 2, Bool>) -> Tensor<B, 2> {
        let tokens = self.forward(ids, padding.clone());
        normalise(mean_over_tokens(tokens, padding))
    }
}

/// The mean of `f32[batch, seq, d_model]` over the tokens that are not padding (`bool[batch, seq]`):
/// `f32[batch, d_model]`.
pub fn mean_over_tokens<B: Backend>(x: Tensor<B, 3>, padding: Tensor<B, 2, Bool>) -> Tensor<B, 2> {
    let kept = padding.bool_not().float().unsqueeze_dim::<3>(2);
    let count = kept.clone().sum_dim(1).clamp_min(1e-9);
    ((x * kept).sum_dim(1) / count).squeeze_dim(1)
}

/// Each row of `f32[batch, d_model]` divided by its Euclidean length.
pub fn normalise<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let length = (x.clone() * x.clone()).sum_dim(1).sqrt().clamp_min(1e-12);
    x / length
}
