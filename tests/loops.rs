//! Models with loops: imported, run between stages, compared with the oracle.

#[path = "onnx_build/mod.rs"]
mod onnx_build;
#[path = "support/staged.rs"]
mod staged;

use bgz_fusion::{Graph, Model, Tensor};
use onnx_build::*;
use proptest::prelude::*;
use staged::check;

fn f32t(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape, values).expect("the length fits")
}

fn one<T: bgz_fusion::Element>(value: T) -> Tensor {
    Tensor::new(&[], &[value]).expect("one")
}

fn flag(value: bool) -> Tensor {
    Tensor::from_bools(&[], &[value]).expect("one")
}

/// A loop of trips `n` and condition `c` (`_` for none) that carries `x`.
fn looped(trips: &str, condition: &str, more: &str, results: &str, body: impl FnOnce(&mut Build)) -> Graph {
    graph(16, |b| {
        b.input("x", F32, &["k"]);
        b.input("n", I64, &[]);
        b.input("c", BOOL, &[]);
        b.f32s("limit", &[], &[10.0]);
        b.f32s("two", &[1], &[2.0]);
        b.node("Loop", &format!("{trips} {condition} x {more}"), results, vec![graph_attr("body", body)]);
        results.split(' ').for_each(|r| b.output(r));
    })
}

fn carries(b: &mut Build, names: &[&str]) {
    b.input("i", I64, &[]);
    b.input("going", BOOL, &[]);
    names.iter().for_each(|n| b.input(n, F32, &["?"]));
}

#[test]
fn a_loop_carries_and_stacks() {
    let g = looped("n", "c", "", "last all sums", |b| {
        carries(b, &["v"]);
        b.node("Mul", "v two", "w", vec![]);
        b.node("ReduceSum", "w", "s", vec![int("keepdims", 0)]);
        b.node("Less", "s limit", "more", vec![]);
        ["more", "w", "w", "s"].iter().for_each(|o| b.output(o));
    });
    assert_eq!(ty(&g, "last"), "f32[k]");
    let of = |x: &[f32], n: i64, c: bool| vec![f32t(&[x.len()], x), one(n), flag(c)];
    check(&g, &[of(&[1.0, 0.5], 9, true), of(&[1.0], 2, true), of(&[1.0], 0, true), of(&[1.0, 2.0], 5, false)]);
}

/// Each iteration the carried value is longer.
#[test]
fn what_is_carried_may_grow() {
    let g = looped("n", "_", "", "last all", |b| {
        carries(b, &["v"]);
        b.node("Concat", "v two", "w", vec![int("axis", 0)]);
        b.node("ReduceSum", "w", "s", vec![int("keepdims", 0)]);
        ["going", "w", "s"].iter().for_each(|o| b.output(o));
    });
    let of = |n: i64| vec![f32t(&[2], &[1.0, 3.0]), one(n), flag(true)];
    check(&g, &[of(4), of(0), of(1)]);
}

#[test]
fn a_loop_may_have_only_a_condition_and_be_in_another() {
    let g = looped("_", "c", "", "last", |b| {
        carries(b, &["v"]);
        let inner = |b: &mut Build| {
            b.input("j", I64, &[]);
            b.input("on", BOOL, &[]);
            b.input("u", F32, &["?"]);
            b.node("Add", "u v", "t", vec![]);
            b.output("on");
            b.output("t");
        };
        b.node("Constant", "", "trips", vec![int("value_int", 2)]);
        b.node("Loop", "trips _ v", "w", vec![graph_attr("body", inner)]);
        b.node("ReduceMax", "w", "s", vec![int("keepdims", 0)]);
        b.node("Less", "s limit", "more", vec![]);
        b.output("more");
        b.output("w");
    });
    let of = |x: &[f32], c: bool| vec![f32t(&[x.len()], x), one(0i64), flag(c)];
    check(&g, &[of(&[1.0, 2.0], true), of(&[20.0], true), of(&[1.0], false)]);
}

/// Scans are loops: of sequences along any axis, either way.
#[test]
fn scans_in_both_directions() {
    let g = graph(16, |b| {
        b.input("h", F32, &["2"]);
        b.input("x", F32, &["2", "n"]);
        b.input("y", F32, &["n", "2"]);
        let body = |b: &mut Build| {
            ["s", "p", "q"].iter().for_each(|n| b.input(n, F32, &["2"]));
            b.node("Add", "s p", "t", vec![]);
            b.node("Mul", "t q", "u", vec![]);
            ["t", "u", "t"].iter().for_each(|o| b.output(o));
        };
        let attrs = vec![
            graph_attr("body", body),
            int("num_scan_inputs", 2),
            ints("scan_input_axes", &[1, 0]),
            ints("scan_input_directions", &[0, 1]),
            ints("scan_output_axes", &[0, -1]),
            ints("scan_output_directions", &[1, 0]),
        ];
        b.node("Scan", "h x y", "last all turned", attrs);
        ["last", "all", "turned"].iter().for_each(|o| b.output(o));
    });
    let of = |n: usize| {
        let values: Vec<f32> = (0..2 * n).map(|i| i as f32 - 2.0).collect();
        vec![f32t(&[2], &[1.0, -1.0]), f32t(&[2, n], &values), f32t(&[n, 2], &values)]
    };
    check(&g, &[of(3), of(1)]);
}

/// A scan that adds the entries of `x` and `y`, which are so long.
fn added(b: &mut Build, x: &str, y: &str) {
    b.input("x", F32, &[x, "2"]);
    b.input("y", F32, &[y, "2"]);
    let body = |b: &mut Build| {
        ["p", "q"].iter().for_each(|n| b.input(n, F32, &["2"]));
        b.node("Add", "p q", "t", vec![]);
        b.output("t");
    };
    b.node("Scan", "x y", "all", vec![graph_attr("body", body), int("num_scan_inputs", 2)]);
    b.output("all");
}

#[test]
fn scans_are_of_inputs_of_one_length() {
    let g = graph(16, |b| added(b, "n", "m"));
    let of = |n: usize| f32t(&[n, 2], &vec![1.5; 2 * n]);
    check(&g, &[vec![of(3), of(3)], vec![of(1), of(1)]]);
    let model = Model::from_graph(g);
    for (n, m) in [(3, 5), (5, 3), (0, 2)] {
        let Err(bgz_fusion::Error::Exec(e)) = model.run(&[("x", of(n)), ("y", of(m))]) else { panic!("{n} and {m}") };
        assert!(e.to_string().contains("y_as_long_as_x"), "{e}");
    }
    let e = refused(16, |b| added(b, "3", "5"));
    assert!(e.contains("x has 3 entries to scan and y has 5: they have to be as many"), "{e}");
}

#[test]
fn what_memory_cannot_hold_is_refused_at_once() {
    let stacks = looped("n", "_", "", "last all", |b| {
        carries(b, &["v"]);
        ["going", "v", "v"].iter().for_each(|o| b.output(o));
    });
    let model = Model::from_graph(stacks);
    let inputs = [("x", f32t(&[2], &[1.0, 2.0])), ("n", one(i64::MAX)), ("c", flag(true))];
    let Err(bgz_fusion::Error::Exec(e)) = model.run(&inputs) else { panic!("so much memory there is not") };
    assert!(e.to_string().contains("what the loop %last stacks"), "{e}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let attempt = |more: &str, results: &str, outputs: &'static [&'static str]| {
        refused(16, |b| {
            b.input("x", F32, &["k"]);
            b.input("n", I64, &[]);
            b.node(
                "Loop",
                &format!("n _ x{more}"),
                results,
                vec![graph_attr("body", |b: &mut Build| {
                    carries(b, &["v"]);
                    b.node("Shape", "v", "w", vec![]);
                    outputs.iter().for_each(|o| b.output(o));
                })],
            );
            b.output("y");
        })
    };
    assert!(attempt("", "y", &["going", "w"]).contains("what it carries is f32[k] before an iteration and i64[1]"));
    assert!(attempt(" x", "y z", &["going", "v", "v"]).contains("its body takes 3 values, and it carries 2"));
    assert!(attempt("", "y", &["v", "v"]).contains("a condition of f32"));
    assert!(attempt("", "y", &["going"]).contains("too few results"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn random_loops_give_what_the_oracle_gives(
        ops in prop::collection::vec((0usize..5, 0usize..4, 0usize..4), 1..5),
        n in 0i64..5,
        x in prop::collection::vec(-2i8..=2, 1..4),
    ) {
        let g = looped("n", "c", "two", "a b all", |b| {
            carries(b, &["v", "u"]);
            let mut known = vec!["v".to_string(), "u".into(), "two".into(), "limit".into()];
            for (k, &(op, x, y)) in ops.iter().enumerate() {
                let (x, y, name) = (known[x].clone(), known[y].clone(), format!("w{k}"));
                match op {
                    0 => b.node("Neg", &x, &name, vec![]),
                    1 => {
                        // One number, which goes with any length: these grow apart.
                        b.node("ReduceMin", &y, &format!("m{k}"), vec![int("keepdims", 1)]);
                        b.node("Min", &format!("{x} m{k}"), &name, vec![])
                    }
                    2 => b.node("Concat", "v u", &name, vec![int("axis", 0)]),
                    3 => b.node("ReduceMax", &x, &name, vec![int("keepdims", 1)]),
                    _ => b.node("ReduceSum", "v", &name, vec![int("keepdims", 1)]),
                };
                known.push(name);
            }
            b.node("ReduceMax", "v", "most", vec![int("keepdims", 0)]);
            b.node("Less", "most limit", "more", vec![]);
            b.node("Flatten", &known[known.len() - 1], "flat", vec![int("axis", 0)]);
            b.i64s("one", &[-1]);
            b.node("Reshape", "flat one", "next", vec![]);
            ["more", "next", "v", "most"].iter().for_each(|o| b.output(o));
        });
        let x = f32t(&[x.len()], &x.iter().map(|&v| v.into()).collect::<Vec<f32>>());
        check(&g, &[vec![x, one(n), flag(true)]]);
    }
}
