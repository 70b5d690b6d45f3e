//! Burn models whose attention may take its scores from tables.

use crate::support::{filled, floats};
use bgz_fusion::ir::Precision;
use bgz_fusion::table::{AttentionTable, Fidelity, Figure, ProductParts, ProductTable, Record, Rotary, TableRegistry};
use bgz_fusion::trace::{approximate, capture, precision};
use bgz_fusion::{BgzFusion, Flex};
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::tensor::TensorData;
use std::panic::{AssertUnwindSafe, catch_unwind};

type B = BgzFusion<Flex>;

/// Heads of 16 dims.
fn layer() -> TransformerEncoder<B> {
    filled(TransformerEncoderConfig::new(64, 128, 4, 1).with_quiet_softmax(false).init(&Default::default()))
}

/// A table for heads of 16 dims that claims an error of `error`, and as much of int8.
fn table(error: f64) -> AttentionTable {
    let parts = ProductParts {
        entries: 16,
        subspaces: 1,
        rotary: Rotary::None,
        permutation: (0..16).collect(),
        mean: vec![0.0; 16],
        codebook: vec![1.0; 16 * 16],
        metric: vec![1.0; 16 * 16],
    };
    let fidelity = Fidelity { output_error: Figure { mean: error, worst: error }, ..Fidelity::default() };
    let record = Record { int8: fidelity.clone(), fidelity, ..Record::default() };
    AttentionTable::Product(ProductTable::from_parts(parts).expect("the parts fit"), record)
}

/// The result of a forward pass on three positions, and what the trace says of scores.
fn forward(model: &TransformerEncoder<B>) -> (TensorData, String) {
    let (out, seen) = capture(|| model.forward(TransformerEncoderInput::new(floats(1, [1, 3, 64]))).into_data());
    assert!(seen.regions.iter().all(|r| r.fallback.is_none()), "{seen}");
    let lines = seen.regions.iter().map(|r| r.report.to_string()).collect::<String>();
    (out, lines.lines().filter(|l| l.contains("attention-to-table")).map(|l| format!("{l}\n")).collect())
}

/// Each change, of tables or of the bound, makes a plan of its own; without permission there is no choice at all.
#[test]
fn attention_is_chosen_where_it_is_allowed() {
    let (model, registry) = (layer(), TableRegistry::new());
    // The first pass makes the weights, the second meets them again; from the third on they are packed.
    (0..2).for_each(|_| drop(forward(&model)));
    let (exact, trace) = forward(&model);
    assert_eq!(trace, "");
    let within = |max_error: f64| {
        let (out, trace) = approximate(&registry, max_error, || forward(&model));
        // Three positions are scored sooner than coded.
        out.assert_eq(&exact, true);
        trace
    };
    assert!(within(0.03).contains("stays exact: no table for d_head 16"), "{}", within(0.03));
    registry.register(16, table(0.02)).expect("it is for 16");
    assert!(within(0.03).contains("stays exact: about "), "{}", within(0.03));
    assert!(within(0.01).contains("stays exact: errors of 2.00 % by table"), "{}", within(0.01));
    registry.register(16, table(0.2)).expect("it is for 16");
    assert!(within(0.03).contains("errors of 20 % by table"), "{}", within(0.03));
    assert_eq!(forward(&model).1, "");
}

/// The innermost permission holds, and one that ends by a panic is gone.
#[test]
fn permissions_nest_and_end() {
    let (model, good, none) = (layer(), TableRegistry::new(), TableRegistry::new());
    good.register(16, table(0.02)).expect("it is for 16");
    let (inner, outer) = approximate(&good, 0.03, || {
        let inner = approximate(&none, 0.03, || forward(&model).1);
        (inner, forward(&model).1)
    });
    assert!(inner.contains("no table") && outer.contains("about "), "{inner}{outer}");
    let fails = || -> u8 { panic!("on purpose") };
    let failed = catch_unwind(AssertUnwindSafe(|| approximate(&good, 0.03, fails)));
    assert!(failed.is_err());
    assert_eq!(forward(&model).1, "");
}

/// Ops that other threads run at the same time are not allowed to.
#[test]
fn permission_is_of_one_thread() {
    let registry = TableRegistry::new();
    approximate(&registry, 0.03, || {
        let elsewhere = std::thread::spawn(|| forward(&layer()).1).join().expect("it runs");
        assert_eq!(elsewhere, "");
        assert!(forward(&layer()).1.contains("no table"));
    });
}

/// Products with weights in fewer bits where it is allowed, with tables or without, and nowhere else.
#[test]
fn products_are_rounded_where_it_is_allowed() {
    let (model, registry) = (layer(), TableRegistry::new());
    let forward = || {
        let (out, seen) = capture(|| model.forward(TransformerEncoderInput::new(floats(1, [1, 3, 64]))).into_data());
        (out, seen.regions.iter().map(|r| r.after.clone()).collect::<String>())
    };
    (0..2).for_each(|_| drop(forward()));
    let (exact, graph) = forward();
    assert_eq!(graph.matches("precision = ").count(), 0, "{graph}");
    let (rounded, graph) = precision(Precision::Bf16, forward);
    // Four of the attention, two of what follows it.
    assert_eq!(graph.matches("precision = bf16").count(), 6, "{graph}");
    let off = |a: &TensorData, b: &TensorData| {
        let pairs = a.iter::<f32>().zip(b.iter::<f32>());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let has_vectors = bgz_fusion::kernels::Isa::current() != bgz_fusion::kernels::Isa::Scalar;
    assert!(off(&rounded, &exact) < 0.05 && (off(&rounded, &exact) > 0.0) == has_vectors, "{}", off(&rounded, &exact));
    let both = approximate(&registry, 0.03, || precision(Precision::Int8, forward));
    assert_eq!(both.1.matches("precision = int8").count(), 6, "{}", both.1);
    let other = precision(Precision::Bf16, || approximate(&registry, 0.03, forward));
    assert_eq!(other.1.matches("precision = bf16").count(), 6, "{}", other.1);
    let (again, _) = forward();
    again.assert_eq(&exact, true);
}
