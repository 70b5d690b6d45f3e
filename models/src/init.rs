//! Seeded initial weights.
//!
//! A backend's own random numbers come from one generator for the whole process, so two tests that run at once would
//! change each other's weights. Here every parameter has a sequence of its own, and is the same on every backend.

use bgz_passes::random::SplitMix64;
use burn::module::Param;
use burn::nn::attention::{MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::transformer::PositionWiseFeedForward;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

/// Draws the parameters of a model by their names.
#[derive(Debug)]
pub(crate) struct Init<'a, B: Backend> {
    seed: u64,
    device: &'a B::Device,
}

impl<'a, B: Backend> Init<'a, B> {
    pub(crate) fn new(seed: u64, device: &'a B::Device) -> Self {
        Self { seed, device }
    }

    /// A parameter of mean 0 and standard deviation `std`.
    fn normal<const D: usize>(&self, name: &str, dims: [usize; D], std: f64) -> Param<Tensor<B, D>> {
        let mut rng = SplitMix64::for_name(self.seed, name);
        let len = dims.iter().product();
        let values: Vec<f32> = (0..len).map(|_| (std * rng.near_normal()) as f32).collect();
        Param::from_data(TensorData::new(values, dims), self.device)
    }

    /// A table of `rows` vectors of `width`.
    pub(crate) fn embedding(&self, name: &str, rows: usize, width: usize, std: f64) -> Embedding<B> {
        let mut layer = EmbeddingConfig::new(rows, width).init(self.device);
        layer.weight = self.normal(&format!("{name}.weight"), [rows, width], std);
        layer
    }

    /// A linear layer that takes inputs of variance 1 to outputs of standard deviation `gain`; its bias starts at zero.
    pub(crate) fn linear(&self, name: &str, from: usize, to: usize, gain: f64) -> Linear<B> {
        let mut layer = self.linear_without_bias(name, from, to, gain);
        layer.bias = Some(Param::from_tensor(Tensor::zeros([to], self.device)));
        layer
    }

    /// The same without a bias.
    pub(crate) fn linear_without_bias(&self, name: &str, from: usize, to: usize, gain: f64) -> Linear<B> {
        let mut layer = LinearConfig::new(from, to).with_bias(false).init(self.device);
        layer.weight = self.normal(&format!("{name}.weight"), [from, to], gain / (from as f64).sqrt());
        layer
    }

    /// Multi-head attention without dropout, whose output projection has the gain `out`.
    pub(crate) fn attention(&self, name: &str, d_model: usize, heads: usize, out: f64) -> MultiHeadAttention<B> {
        let mut layer = MultiHeadAttentionConfig::new(d_model, heads).with_dropout(0.0).init(self.device);
        layer.query = self.linear(&format!("{name}.q"), d_model, d_model, 1.0);
        layer.key = self.linear(&format!("{name}.k"), d_model, d_model, 1.0);
        layer.value = self.linear(&format!("{name}.v"), d_model, d_model, 1.0);
        layer.output = self.linear(&format!("{name}.out"), d_model, d_model, out);
        layer
    }

    /// Sets the two linear layers of a feed-forward part.
    pub(crate) fn feed_forward(&self, name: &str, layer: &mut PositionWiseFeedForward<B>, d_model: usize, d_ff: usize) {
        layer.linear_inner = self.linear(&format!("{name}.up"), d_model, d_ff, 1.0);
        layer.linear_outer = self.linear(&format!("{name}.down"), d_ff, d_model, 1.0);
    }
}
