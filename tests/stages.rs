//! Graphs whose extents depend on values, run in stages, against the oracle.

#[path = "support/staged.rs"]
mod staged;

use bgz_fusion::{Graph, Model, Tensor};
use bgz_passes::ir::parse;

/// Runs a graph text on each of some inputs.
#[track_caller]
fn check(text: &str, runs: &[Vec<Tensor>]) {
    staged::check(&parse(text).unwrap_or_else(|e| panic!("{e}")), runs);
}

fn f32s(values: &[f32]) -> Tensor {
    Tensor::new(&[values.len()], values).expect("the length fits")
}

fn i64s(values: &[i64]) -> Tensor {
    Tensor::new(&[values.len()], values).expect("the length fits")
}

#[test]
fn what_is_not_zero_is_gathered() {
    let text = "graph @g {
        in %x : f32[n]
        in %y : f32[n]
        %a = relu(%x) : f32[n]
        %i = non_zero(%a) : i64[1, _0]
        %t = transpose(%i) {perm = [1, 0]} : i64[_0, 1]
        %z = gather_nd(%y, %t) : f32[_0]
        %s = reduce_sum(%z) {axes = [0], keep_dims = false} : f32[]
        %d = mul(%z, %z) : f32[_0]
        out %z
        out %s
        out %d
        out %a
    }";
    let y = f32s(&[1.0, 2.0, 3.0, 4.0]);
    let of = |x: [f32; 4]| vec![f32s(&x), y.clone()];
    check(text, &[of([1.0, -1.0, 0.0, 2.0]), of([0.0, -1.0, -2.0, 0.0]), of([1.0; 4])]);
}

/// Counts of counts: each is known when the one before has been run.
#[test]
fn one_count_after_the_other() {
    let text = "graph @g {
        in %x : f32[n]
        %i = non_zero(%x) : i64[1, _0]
        %half = gather(%i, @zero) {axis = 0} : i64[_0]
        const @zero : i64[] = 0
        %j = non_zero(%half) : i64[1, _1]
        %n = shape(%j) {start = 1, end = 2} : i64[1]
        %z = full(@one, %n) : f32[_1]
        const @one : f32[] = 1.0
        out %j
        out %z
    }"
    .replace("        const @zero : i64[] = 0\n", "")
    .replace("        const @one : f32[] = 1.0\n", "")
    .replace("in %x : f32[n]", "in %x : f32[n]\n        const @zero : i64[] = 0\n        const @one : f32[] = 1.0");
    check(&text, &[vec![f32s(&[1.0, 0.0, 2.0])], vec![f32s(&[0.0, 0.0])], vec![f32s(&[5.0])]]);
}

#[test]
fn integers_that_are_inputs_say_extents() {
    let text = "graph @g {
        in %n : i64[]
        in %x : f32[m]
        in %s : i64[2]
        const @zero : i64[] = 0
        const @step : i64[] = 2
        const @two : i64[] = 2
        %double = mul(%n, @two) : i64[]
        %r = range(@zero, %double, @step) : i64[_0]
        %y = reshape(%x, %s) : f32[_1, _2]
        %t = transpose(%y) {perm = [1, 0]} : f32[_2, _1]
        out %r
        out %t
    }";
    let of = |n: i64, s: [i64; 2]| {
        vec![Tensor::new(&[], &[n]).expect("one"), f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), i64s(&s)]
    };
    check(text, &[of(3, [2, 3]), of(0, [3, -1]), of(7, [1, 6])]);
}

#[test]
fn floats_that_are_inputs_say_how_many_there_are() {
    let text = "graph @g {
        in %a : f32[]
        in %b : f32[]
        const @step : f32[] = 0.5
        %r = range(%a, %b, @step) : f32[_0]
        out %r
    }";
    let of = |a: f32, b: f32| [a, b].map(|v| Tensor::new(&[], &[v]).expect("one")).to_vec();
    check(text, &[of(0.0, 2.0), of(1.0, 1.0), of(-1.0, 0.75)]);
}

fn counting() -> Graph {
    parse("graph @g {\n  in %x : f32[n]\n  %i = non_zero(%x) : i64[1, _0]\n  out %i\n}").expect("graph text")
}

/// A stage for each of many extents is not kept for ever.
#[test]
fn a_thousand_extents() {
    let model = Model::from_graph(counting());
    for n in 1..1000usize {
        let out = model.run(&[("x", f32s(&vec![1.0; n]))]).expect("it runs");
        assert_eq!(out[0].1.shape(), [1, n]);
    }
}

#[test]
fn a_shape_that_does_not_fit_is_an_error() {
    let text = "graph @g {
        in %x : f32[m]
        in %s : i64[2]
        %y = reshape(%x, %s) : f32[_1, _2]
        out %y
    }";
    let model = Model::from_graph(parse(text).expect("graph text"));
    let message = model.run(&[("x", f32s(&[1.0; 6])), ("s", i64s(&[4, 2]))]).expect_err("8 are not 6").to_string();
    assert_eq!(message, "cannot run the model");
}
