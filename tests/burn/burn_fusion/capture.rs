//! The view that a user has of a rewritten graph: a snapshot test of a Burn model.

use crate::support::{filled, floats};
use bgz_fusion::trace::{Capture, capture};
use bgz_fusion::{BgzFusion, Flex};
use burn::nn::attention::{generate_autoregressive_mask, generate_padding_mask};
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{LayerNorm, Linear, LinearConfig, RmsNormConfig};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Tensor, Tolerance, activation};
use std::f32::consts::SQRT_2;

type B = BgzFusion<Flex>;

fn layer() -> TransformerEncoder<B> {
    filled(TransformerEncoderConfig::new(64, 128, 4, 1).with_quiet_softmax(false).init(&Default::default()))
}

/// The forward pass as it runs once the weights have been met.
fn forward(model: &TransformerEncoder<B>, input: impl Fn() -> TransformerEncoderInput<B>) -> Capture {
    // The first time the weights are made, the second time they are met again.
    for _ in 0..2 {
        model.forward(input()).into_data();
    }
    let (_, seen) = capture(|| model.forward(input()).into_data());
    seen
}

/// How often an op is in a graph.
fn count(text: &str, op: &str) -> usize {
    text.lines().filter(|l| l.contains(&format!("= {op}("))).count()
}

fn snapshot(name: &str, seen: &Capture) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let text = format!("// before\n{}\n// after\n{}", seen.before(), seen.after());
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// That a forward pass became one graph of the twelve ops that an encoder layer is.
fn assert_one_layer(seen: &Capture) {
    assert_eq!(seen.regions.len(), 1, "the forward pass is one graph");
    assert_eq!(seen.regions[0].fallback, None);
    let after = seen.after();
    for (op, times) in [("attention", 1), ("layer_norm", 2), ("gelu_erf", 1), ("linear", 6), ("add", 2)] {
        assert_eq!(count(&after, op), times, "{op} in\n{after}");
    }
    assert_eq!(after.lines().filter(|l| l.starts_with("  %")).count(), 12, "{after}");
}

#[test]
fn one_encoder_layer() {
    let seen = forward(&layer(), || TransformerEncoderInput::new(floats(1, [2, 6, 64])));
    assert_one_layer(&seen);
    let before = seen.before();
    assert_eq!(before.lines().filter(|l| l.contains(" = ")).count(), 26, "few ops are recorded:\n{before}");
    snapshot("burn@encoder-layer", &seen);
}

/// The same layer as a user writes it who has no burn-nn, each function in its parts.
#[test]
fn one_encoder_layer_in_primitive_ops() {
    let model = layer();
    let layer = &model.layers[0];
    let linear = |x: Tensor<B, 3>, l: &Linear<B>| {
        x.matmul(l.weight.val().unsqueeze()) + l.bias.as_ref().unwrap().val().unsqueeze()
    };
    let norm = |x: Tensor<B, 3>, l: &LayerNorm<B>| {
        let x = x.clone() - x.mean_dim(2);
        let deviation = (x.clone() * x.clone()).mean_dim(2).add_scalar(1e-5).sqrt();
        x / deviation * l.gamma.val().unsqueeze() + l.beta.as_ref().unwrap().val().unsqueeze()
    };
    let pass = |x: Tensor<B, 3>| {
        let heads = |x: Tensor<B, 3>| x.reshape([2, 6, 4, 16]).swap_dims(1, 2);
        let query = heads(linear(x.clone(), &layer.mha.query));
        let key = heads(linear(x.clone(), &layer.mha.key));
        let value = heads(linear(x.clone(), &layer.mha.value));
        let scores = query.matmul(key.transpose()) / 4.0;
        let weights = (scores.clone() - scores.max_dim(3)).exp();
        let weights = weights.clone() / weights.sum_dim(3);
        let context = weights.matmul(value).swap_dims(1, 2).reshape([2, 6, 64]);
        let x = norm(x + linear(context, &layer.mha.output), &layer.norm_1);
        let h = linear(x.clone(), &layer.pwff.linear_inner);
        let h = h.clone() * (h / SQRT_2).erf().add_scalar(1.0) / 2.0;
        norm(x + linear(h, &layer.pwff.linear_outer), &layer.norm_2).into_data()
    };
    let run = || pass(floats(1, [2, 6, 64]));
    (0..2).for_each(|_| drop(run()));
    let (parts, seen) = capture(run);
    assert_one_layer(&seen);
    let before = seen.before();
    assert!(before.lines().filter(|l| l.contains(" = ")).count() > 60, "{before}");
    snapshot("burn@encoder-layer-in-primitive-ops", &seen);
    let whole = model.forward(TransformerEncoderInput::new(floats(1, [2, 6, 64]))).into_data();
    parts.assert_approx_eq::<f32>(&whole, Tolerance::absolute(1e-6));
}

#[test]
fn one_encoder_layer_with_padding() {
    let device = Default::default();
    let seen = forward(&layer(), || {
        let padding = generate_padding_mask::<B>(0, vec![vec![1, 2, 3, 4, 5, 6], vec![6, 7, 8]], None, &device);
        TransformerEncoderInput::new(floats(1, [2, 6, 64])).mask_pad(padding.mask)
    });
    let after = seen.after();
    assert_eq!(count(&after, "attention"), 1, "{after}");
    assert_eq!(count(&after, "softmax"), 0, "{after}");
    assert_eq!(count(&after, "layer_norm"), 2, "{after}");
}

#[test]
fn one_encoder_layer_with_padding_and_a_causal_mask() {
    let device = Default::default();
    let seen = forward(&layer(), || {
        let padding = generate_padding_mask::<B>(0, vec![vec![1, 2, 3, 4, 5, 6], vec![6, 7, 8]], None, &device);
        TransformerEncoderInput::new(floats(1, [2, 6, 64]))
            .mask_pad(padding.mask)
            .mask_attn(generate_autoregressive_mask(2, 6, &device))
    });
    let after = seen.after();
    assert_eq!(count(&after, "attention"), 1, "{after}");
}

/// A deep model is one graph, however its parts depend on each other.
#[test]
fn twelve_encoder_layers() {
    let config = TransformerEncoderConfig::new(16, 32, 2, 12).with_norm_first(true).with_quiet_softmax(false);
    let model = filled(config.init(&Default::default()));
    let seen = forward(&model, || TransformerEncoderInput::new(floats(1, [1, 3, 16])));
    assert_eq!(seen.regions.len(), 1);
    let after = seen.after();
    for (op, times) in [("attention", 12), ("layer_norm", 24), ("gelu_erf", 12), ("linear", 72)] {
        assert_eq!(count(&after, op), times, "{op} in\n{after}");
    }
}

/// The ops that burn-nn and burn's functions are taken apart into are put together again.
#[test]
fn what_burn_emits_is_recognised() {
    let x = || floats::<B, 3>(1, [2, 4, 8]);
    let device = Default::default();
    let norm = filled(RmsNormConfig::new(8).init::<B>(&device));
    let linear = filled(LinearConfig::new(8, 6).init::<B>(&device));
    let q = || floats::<B, 4>(2, [1, 2, 4, 8]);
    type Case<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let cases: [Case; 10] = [
        ("softmax", Box::new(|| drop(activation::softmax(x(), 2).into_data()))),
        ("log_softmax", Box::new(|| drop(activation::log_softmax(x(), 2).into_data()))),
        ("gelu_erf", Box::new(|| drop(activation::gelu(x()).into_data()))),
        ("gelu_tanh", Box::new(|| drop(activation::gelu_approximate(x()).into_data()))),
        ("silu", Box::new(|| drop(activation::silu(x()).into_data()))),
        ("sigmoid", Box::new(|| drop(activation::sigmoid(x()).into_data()))),
        ("rms_norm", Box::new(|| drop(norm.forward(x()).into_data()))),
        ("linear", Box::new(|| drop(linear.forward(x()).into_data()))),
        (
            "attention",
            Box::new(|| {
                drop(activation::softmax(q().matmul(q().transpose()) / 8f32.sqrt(), 3).matmul(q()).into_data())
            }),
        ),
        (
            "attention",
            Box::new(|| drop(attention(q(), q(), q(), None, None, AttentionModuleOptions::default()).into_data())),
        ),
    ];
    for (op, case) in cases {
        case();
        let ((), seen) = capture(case);
        let after = seen.after();
        assert_eq!(count(&after, op), 1, "{op} in\n{}\n{after}", seen.before());
        assert_eq!(after.lines().filter(|l| l.starts_with("  %")).count(), 1, "{op} alone in\n{after}");
    }
}

#[test]
fn only_what_this_thread_did_is_shown() {
    let (inner, outer) = capture(|| {
        std::thread::spawn(|| floats::<B, 1>(1, [7]).exp().into_data()).join().unwrap();
        let (_, inner) = capture(|| floats::<B, 1>(1, [5]).sin().into_data());
        inner
    });
    assert_eq!((inner.regions.len(), outer.regions.len()), (1, 1));
    assert!(outer.after().contains("sin"), "{outer}");
}

#[test]
fn ops_the_graph_has_no_word_for_are_opaque() {
    let (_, seen) = capture(|| floats::<B, 2>(1, [3, 4]).exp().flip([1]).neg().into_data());
    let after = seen.after();
    assert!(after.contains("opaque.flip(%exp)"), "{after}");
}
