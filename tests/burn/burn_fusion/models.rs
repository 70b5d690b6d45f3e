//! Models of burn-nn.

use crate::support::{Case, check, check_flex, filled, floats, indices};
use burn::nn::attention::{generate_autoregressive_mask, generate_padding_mask};
use burn::nn::conv::Conv2dConfig;
use burn::nn::pool::{AdaptiveAvgPool2dConfig, MaxPool2dConfig};
use burn::nn::transformer::{
    TransformerDecoderConfig, TransformerDecoderInput, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{BatchNormConfig, EmbeddingConfig, LinearConfig, LstmConfig, RmsNormConfig, Sigmoid, SwiGluConfig};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor, TensorData, activation};

struct Encoder {
    norm_first: bool,
    quiet: bool,
    masked: bool,
}

impl Case for Encoder {
    fn run<B: Backend>(&self) -> Vec<TensorData> {
        let device = B::Device::default();
        let config =
            TransformerEncoderConfig::new(32, 64, 4, 2).with_norm_first(self.norm_first).with_quiet_softmax(self.quiet);
        let model = filled(config.init::<B>(&device));
        let mut input = TransformerEncoderInput::new(floats(1, [2, 5, 32]));
        if self.masked {
            let padding = generate_padding_mask::<B>(0, vec![vec![1, 2, 3, 4, 5], vec![6, 7, 8]], None, &device);
            input = input.mask_pad(padding.mask).mask_attn(generate_autoregressive_mask(2, 5, &device));
        }
        vec![model.forward(input).into_data()]
    }
}

#[test]
fn encoder() {
    check(&Encoder { norm_first: false, quiet: false, masked: false }, 2e-5);
}

#[test]
fn encoder_with_norms_first_and_quiet_softmax() {
    check_flex(&Encoder { norm_first: true, quiet: true, masked: false }, 2e-5);
}

#[test]
fn encoder_with_padding_and_a_causal_mask() {
    check(&Encoder { norm_first: false, quiet: false, masked: true }, 2e-5);
}

struct Decoder;

impl Case for Decoder {
    fn run<B: Backend>(&self) -> Vec<TensorData> {
        let device = B::Device::default();
        let model = filled(TransformerDecoderConfig::new(32, 64, 4, 2).with_norm_first(true).init::<B>(&device));
        let padding = generate_padding_mask::<B>(0, vec![vec![1, 2, 3, 4, 5, 6, 7], vec![6, 7, 8]], None, &device);
        let input = TransformerDecoderInput::new(floats(1, [2, 5, 32]), floats(2, [2, 7, 32]))
            .target_mask_attn(generate_autoregressive_mask(2, 5, &device))
            .memory_mask_pad(padding.mask);
        vec![model.forward(input).into_data()]
    }
}

#[test]
fn decoder_with_masks() {
    check(&Decoder, 2e-5);
}

/// One more token at each step, keys and values of the ones before kept.
struct CachedDecoder;

impl Case for CachedDecoder {
    fn run<B: Backend>(&self) -> Vec<TensorData> {
        let device = B::Device::default();
        let model = filled(TransformerDecoderConfig::new(16, 32, 2, 2).init::<B>(&device));
        let memory = floats::<B, 3>(2, [1, 6, 16]);
        let tokens = floats::<B, 3>(3, [1, 6, 16]);
        let mut cache = model.new_autoregressive_cache();
        (1..=6)
            .map(|n| {
                let seen = tokens.clone().slice([0..1, 0..n, 0..16]);
                let input = TransformerDecoderInput::new(seen, memory.clone())
                    .target_mask_attn(generate_autoregressive_mask(1, n, &device));
                model.forward_autoregressive_inference(input, &mut cache).into_data()
            })
            .collect()
    }
}

#[test]
fn decoder_with_a_cache() {
    check(&CachedDecoder, 5e-5);
}

struct Recurrent;

impl Case for Recurrent {
    fn run<B: Backend>(&self) -> Vec<TensorData> {
        let device = B::Device::default();
        let embedding = filled(EmbeddingConfig::new(11, 6).init::<B>(&device));
        let lstm = filled(LstmConfig::new(6, 8, true).init::<B>(&device));
        let (states, last) = lstm.forward(embedding.forward(indices(5, [2, 7], 11)), None);
        vec![states.into_data(), last.cell.into_data(), last.hidden.into_data()]
    }
}

#[test]
fn lstm() {
    check(&Recurrent, 2e-5);
}

struct ConvNet;

impl Case for ConvNet {
    fn run<B: Backend>(&self) -> Vec<TensorData> {
        let device = B::Device::default();
        let conv = filled(Conv2dConfig::new([3, 4], [3, 3]).init::<B>(&device));
        // Its running variance is a parameter, too, and must not be negative.
        let norm = BatchNormConfig::new(4).init::<B>(&device);
        let pool = MaxPool2dConfig::new([2, 2]).init();
        let mean = AdaptiveAvgPool2dConfig::new([1, 1]).init();
        let head = filled(LinearConfig::new(4, 5).init::<B>(&device));
        let x = activation::relu(norm.forward(conv.forward(floats(1, [2, 3, 8, 8]))));
        let x = mean.forward(pool.forward(x)).flatten::<2>(1, 3);
        vec![activation::log_softmax(head.forward(x), 1).into_data()]
    }
}

#[test]
fn convolutions_with_batch_norm() {
    check(&ConvNet, 2e-5);
}

struct Gated;

impl Case for Gated {
    fn run<B: Backend>(&self) -> Vec<TensorData> {
        let device = B::Device::default();
        let norm = filled(RmsNormConfig::new(12).init::<B>(&device));
        let gate = filled(SwiGluConfig::new(12, 20).init::<B>(&device));
        let x = gate.forward(norm.forward(floats::<B, 3>(1, [2, 3, 12])));
        vec![Sigmoid::new().forward(x.clone()).into_data(), activation::softmax(x, 2).into_data()]
    }
}

#[test]
fn rms_norm_and_swiglu() {
    check(&Gated, 2e-5);
}

/// The attention that generated models call (burn-onnx), with all that it can be asked for.
struct ModuleAttention;

impl Case for ModuleAttention {
    fn run<B: Backend>(&self) -> Vec<TensorData> {
        use burn::tensor::module::attention;
        use burn::tensor::ops::AttentionModuleOptions;
        let qkv =
            || (floats::<B, 4>(1, [2, 3, 5, 8]), floats::<B, 4>(2, [2, 3, 6, 8]), floats::<B, 4>(3, [2, 3, 6, 4]));
        let mask = || {
            Tensor::<B, 4, Bool>::from_data(
                TensorData::new((0..180).map(|i| i % 6 == 5 || i / 6 == 7).collect::<Vec<_>>(), [2, 3, 5, 6]),
                &B::Device::default(),
            )
        };
        let causal = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let scaled = AttentionModuleOptions { scale: Some(0.5), softcap: Some(2.0), ..Default::default() };
        let (q, k, v) = qkv();
        let plain = attention(q, k, v, None, None, AttentionModuleOptions::default());
        let (q, k, v) = qkv();
        let causal = attention(q, k, v, None, None, causal);
        let (q, k, v) = qkv();
        // A row with every key hidden, too.
        let masked = attention(q, k, v, Some(mask()), Some(floats(4, [2, 3, 5, 6])), scaled);
        vec![plain.into_data(), causal.into_data(), masked.into_data()]
    }
}

#[test]
fn attention_as_one_op() {
    check(&ModuleAttention, 2e-5);
}
