//! Models with branches: imported, run in stages, compared with the oracle.

#[path = "onnx_build/mod.rs"]
mod onnx_build;
#[path = "support/staged.rs"]
mod staged;

use bgz_fusion::{Graph, Model, Tensor};
use bgz_passes::ir::Op;
use onnx_build::*;
use proptest::prelude::*;
use staged::check;

fn f32t(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape, values).expect("the length fits")
}

fn flag(value: bool) -> Tensor {
    Tensor::from_bools(&[], &[value]).expect("one")
}

/// Ops that carry graphs.
fn carriers(g: &Graph) -> usize {
    let mut count = 0;
    g.each_graph(&mut |g| count += g.nodes().filter(|(_, n)| matches!(n.op, Op::Control(_))).count());
    count
}

/// A branch that captures from two graphs around, hides a name of one, and has a branch of its own.
#[test]
fn branches_capture_what_is_around_them() {
    let g = graph(13, |b| {
        b.input("x", F32, &["n"]);
        b.input("c", BOOL, &[]);
        b.input("d", BOOL, &[]);
        b.f32s("w", &[1], &[3.0]);
        b.node("Mul", "x w", "y", vec![]);
        b.node("Shape", "x", "extent", vec![]);
        let inner = |scale: f32| {
            move |b: &mut Build| {
                // Another w than that outside.
                b.f32s("w", &[1], &[scale]);
                b.node("Mul", "z w", "a", vec![]);
                b.node("Add", "a x", "r", vec![]);
                b.output("r");
            }
        };
        let then = |b: &mut Build| {
            b.node("Add", "y w", "z", vec![]);
            let attrs = vec![graph_attr("then_branch", inner(2.0)), graph_attr("else_branch", inner(-1.0))];
            b.node("If", "d", "inner", attrs);
            b.node("Reshape", "inner extent", "r", vec![]);
            b.output("r");
        };
        let other = |b: &mut Build| b.output("y");
        b.node("If", "c", "out", vec![graph_attr("then_branch", then), graph_attr("else_branch", other)]);
        b.node("Neg", "out", "r", vec![]);
        b.output("r");
    });
    assert_eq!(carriers(&g), 2);
    assert_eq!(ty(&g, "r"), "f32[n]");
    let of = |x: &[f32], c: bool, d: bool| vec![f32t(&[x.len()], x), flag(c), flag(d)];
    check(&g, &[of(&[1.0, -2.0], true, true), of(&[1.0], true, false), of(&[0.5; 3], false, true)]);
}

/// The condition is computed, and so are the extents that both branches have.
#[test]
fn branches_of_other_extents() {
    let g = graph(13, |b| {
        b.input("x", F32, &["n", "4"]);
        b.node("ReduceSum", "x", "s", vec![int("keepdims", 0)]);
        b.f32s("zero", &[], &[0.0]);
        b.node("Greater", "s zero", "c", vec![]);
        let twice = |b: &mut Build| {
            b.node("Concat", "x x", "two", vec![int("axis", 0)]);
            b.node("Relu", "two", "r", vec![]);
            b.output("r");
            b.output("s");
        };
        let flat = |b: &mut Build| {
            b.i64s("shape", &[-1, 2]);
            b.node("Reshape", "x shape", "r", vec![]);
            b.node("Neg", "s", "t", vec![]);
            b.output("r");
            b.output("t");
        };
        b.node("If", "c", "y t", vec![graph_attr("then_branch", twice), graph_attr("else_branch", flat)]);
        b.node("Shape", "y", "d", vec![]);
        b.output("y");
        b.output("t");
        b.output("d");
    });
    let of = |v: f32| vec![f32t(&[2, 4], &[v; 8])];
    check(&g, &[of(1.0), of(-1.0), vec![f32t(&[1, 4], &[0.0; 4])]]);
}

#[test]
fn a_plan_says_that_values_decide() {
    let g = graph(13, |b| {
        b.input("x", F32, &["2"]);
        b.input("c", BOOL, &[]);
        let branch = |op: &'static str| {
            move |b: &mut Build| {
                b.node(op, "x", "r", vec![]);
                b.output("r");
            }
        };
        b.node(
            "If",
            "c",
            "y",
            vec![graph_attr("then_branch", branch("Neg")), graph_attr("else_branch", branch("Exp"))],
        );
        b.output("y");
    });
    let model = Model::from_graph(g);
    let types = [f32t(&[2], &[1.0, 2.0]).ty(), flag(true).ty()];
    let Err(bgz_fusion::Error::Exec(e)) = model.plan(&types) else { panic!("there is no plan") };
    assert!(e.depends_on_values(), "{e}");
    assert!(e.to_string().contains("%y = if"), "{e}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let attempt = |then: &dyn Fn(&mut Build), other: &dyn Fn(&mut Build)| {
        refused(13, |b| {
            b.input("x", F32, &["2"]);
            b.input("c", BOOL, &[]);
            b.node("If", "c", "y", vec![graph_attr("then_branch", then), graph_attr("else_branch", other)]);
            b.output("y");
        })
    };
    let one = |b: &mut Build| b.output("x");
    let two = |b: &mut Build| ["x", "c"].iter().for_each(|o| b.output(o));
    let flag = |b: &mut Build| b.output("c");
    assert!(attempt(&one, &two).contains("its branches have 1 and 2 results"), "{}", attempt(&one, &two));
    assert!(
        attempt(&one, &flag).contains("a result is f32 of rank 1 in one graph and bool of rank 0"),
        "{}",
        attempt(&one, &flag)
    );
    let lost = |b: &mut Build| b.output("nothing");
    assert!(attempt(&lost, &one).contains("nothing"), "{}", attempt(&lost, &one));
}

#[test]
fn branches_within_each_other_end() {
    fn nested(depth: usize) -> Box<dyn FnOnce(&mut Build)> {
        Box::new(move |b: &mut Build| {
            if depth > 0 {
                let attrs = vec![
                    graph_attr("then_branch", nested(depth - 1)),
                    graph_attr("else_branch", |b: &mut Build| b.output("x")),
                ];
                b.node("If", "c", "r", attrs);
                b.output("r");
            } else {
                b.output("x");
            }
        })
    }
    let model = |depth: usize, known: bool| {
        model(13, |b| {
            b.input("x", F32, &["2"]);
            if known {
                b.add(node("Constant", "", "one", vec![int("value_int", 1)]));
                b.add(node("Cast", "one", "c", vec![int("to", i64::from(BOOL))]));
            } else {
                b.input("c", BOOL, &[]);
            }
            nested(depth)(b);
        })
    };
    for known in [true, false] {
        assert!(import(&model(10, known)).is_ok());
        let e = import(&model(25, known)).expect_err("it is too deep").to_string();
        assert!(e.contains("nested deeper than 16"), "{e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Branches in branches, of random ops on what they find around them.
    #[test]
    fn random_branches_give_what_the_oracle_gives(seed: u64, values in prop::collection::vec(-2i8..=2, 1..5)) {
        let mut rng = bgz_passes::eval::testing::Rng::new(seed);
        let g = graph(13, |b| {
            b.input("x", F32, &["n"]);
            b.f32s("zero", &[], &[0.0]);
            b.node("ReduceSum", "x", "sum", vec![int("keepdims", 0)]);
            b.node("ReduceMax", "x", "most", vec![int("keepdims", 0)]);
            b.node("Less", "sum zero", "c0", vec![]);
            b.node("Less", "most zero", "c1", vec![]);
            branches(b, &mut rng, &mut vec!["x".into()], 2, "");
        });
        let x = f32t(&[values.len()], &values.iter().map(|&v| v.into()).collect::<Vec<f32>>());
        let negative = f32t(&[1], &[-1.0]);
        check(&g, &[vec![x], vec![negative]]);
    }
}

/// Nodes on values that are known, one of them an `If` where it may be deeper, and the last one as the output.
fn branches(b: &mut Build, rng: &mut bgz_passes::eval::testing::Rng, known: &mut Vec<String>, depth: usize, at: &str) {
    for i in 0..1 + rng.below(3) {
        let (name, x) = (format!("v{at}_{i}"), known[rng.below(known.len() as i64) as usize].clone());
        if depth > 0 && rng.below(3) < 2 {
            let condition = ["c0", "c1"][rng.below(2) as usize];
            let (mut then, mut other) = (Build::default(), Build::default());
            branches(&mut then, rng, &mut known.clone(), depth - 1, &format!("{at}_{i}t"));
            branches(&mut other, rng, &mut known.clone(), depth - 1, &format!("{at}_{i}e"));
            let attrs = vec![graph_attr("then_branch", |b| *b = then), graph_attr("else_branch", |b| *b = other)];
            b.node("If", condition, &name, attrs);
        } else {
            let y = known[rng.below(known.len() as i64) as usize].clone();
            match rng.below(3) {
                0 => b.node("Neg", &x, &name, vec![]),
                1 => b.node("Sub", &format!("{x} {y}"), &name, vec![]),
                _ => b.node("Mul", &format!("{x} {y}"), &name, vec![]),
            };
        }
        known.push(name);
    }
    b.output(&known[known.len() - 1]);
}
