//! The common-subexpressions pass.

mod common;

use bgz_passes::passes::common_subexpressions::pass;
use common::{fires, leaves};

#[test]
fn equal_nodes_and_constants() {
    let case = fires(
        pass(),
        "common-subexpressions@merged",
        "in %x : f32[n]
         in %y : f32[n]
         const @half : f32[] = 0.5
         const @half_too : f32[] = 0.5
         %a = mul(%x, @half) : f32[n]
         %b = mul(%x, @half_too) : f32[n]
         %ab = add(%a, %y) : f32[n]
         %ba = add(%y, %b) : f32[n]
         %p, %i = top_k(%ab) {axis = 0, k = [1], largest = true} : f32[1], i64[1]
         %q, %j = top_k(%ba) {axis = 0, k = [1], largest = true} : f32[1], i64[1]
         out %p
         out %j
         out %q",
    );
    assert_eq!(case.ops(), ["add", "mul", "top_k"]);
}

/// Both are outputs: the caller still finds both names.
#[test]
fn equal_outputs() {
    fires(
        pass(),
        "common-subexpressions@outputs",
        "in %x : f32[n]
         %a = exp(%x) : f32[n]
         %b = exp(%x) : f32[n]
         %c = neg(%b) : f32[n]
         out %a
         out %b
         out %c",
    );
}

#[test]
fn different_things_stay() {
    let case = leaves(
        pass(),
        "common-subexpressions@different",
        "in %x : f32[n]
         in %y : f32[n]
         const @zero : f32[] = 0.0
         const @minus_zero : f32[] = -0.0
         const @row : f32[1] = [0.0]
         const @int : i64[] = 0
         %a = sub(%x, %y) : f32[n]
         %b = sub(%y, %x) : f32[n]
         %c = add(%x, @zero) : f32[n]
         %d = add(%x, @minus_zero) : f32[n]
         %e = add(%x, @row) : f32[n]
         %f = cast(%x) : f64[n]
         %g = cast(%x) : f16[n]
         %h = shape(%x) {start = 0, end = 1} : i64[1]
         %i = eq(%h, @int) : bool[1]
         out %a
         out %b
         out %c
         out %d
         out %e
         out %f
         out %g
         out %i",
    );
    assert_eq!(case.trace, "");
}

/// An opaque op may draw random numbers.
#[test]
fn opaque_ops_stay() {
    leaves(
        pass(),
        "common-subexpressions@opaque",
        "in %x : f32[n]
         %a = opaque.Dropout(%x) : f32[n]
         %b = opaque.Dropout(%x) : f32[n]
         out %a
         out %b",
    );
}

/// Large weights are told apart by samples, or read through where those agree.
#[test]
fn large_constants() {
    use bgz_passes::ir::{Constant, DType, Graph, Movement, Op, Type};
    let mut values = vec![0.25f32; 3000];
    let weights = |values: &[f32]| Constant::f32s([3000], values).expect("3000 values");
    let (first, twin) = (weights(&values), weights(&values));
    values[700] = 0.5;
    let other = weights(&values);
    let mut g = Graph::new("weights");
    let x = g.add_input("x", Type::new(DType::F32, [3000])).expect("input");
    let all: Vec<_> = [first, twin, other].into_iter().map(|c| g.add_const("w", c)).collect();
    let joined = g.add("y", Op::Movement(Movement::Concat { axis: 0 }), &[x, all[0], all[1], all[2]]).expect("concat");
    g.add_output("y", joined).expect("output");
    let merged = pass().run(&mut g, &mut bgz_passes::rewrite::Cx::new(None)).expect("runs");
    g.verify().expect("verifies");
    assert_eq!((merged, g.constants().count()), (1, 2));
}
