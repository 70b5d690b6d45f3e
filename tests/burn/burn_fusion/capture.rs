//! What a user sees of what was rewritten: a snapshot test of a Burn model.

use crate::support::{filled, floats};
use bgz_fusion::trace::{Capture, capture};
use bgz_fusion::{BgzFusion, Flex};
use burn::nn::attention::generate_padding_mask;
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};

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

#[test]
fn one_encoder_layer() {
    let seen = forward(&layer(), || TransformerEncoderInput::new(floats(1, [2, 6, 64])));
    assert_eq!(seen.regions.len(), 1, "the forward pass is one graph");
    assert_eq!(seen.regions[0].fallback, None);
    let (before, after) = (seen.before(), seen.after());
    assert!(before.lines().filter(|l| l.contains(" = ")).count() > 60);
    for (op, times) in [("attention", 1), ("layer_norm", 2), ("gelu_erf", 1), ("linear", 6), ("add", 2)] {
        assert_eq!(count(&after, op), times, "{op} in\n{after}");
    }
    assert_eq!(after.lines().filter(|l| l.starts_with("  %")).count(), 12, "{after}");
    snapshot("burn@encoder-layer", &seen);
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
