//! An attribute may name a dim that inference invented; whatever gives the dim its number stays, or hands it down.

use bgz_passes::eval::{Tensor, run};
use bgz_passes::ir::{Bindings, Graph, parse};
use bgz_passes::pipeline::Pipeline;

/// Rewritten by all passes; the graph still takes `a` = 1 and `b` = 3, with the same results.
#[track_caller]
fn rewritten(text: &str) -> Graph {
    let before = parse(&format!("graph @g {{\n{text}\n}}")).unwrap_or_else(|e| panic!("{e}"));
    let mut after = before.clone();
    Pipeline::exact().run(&mut after).unwrap_or_else(|e| panic!("{e}"));
    let bindings = Bindings::from([("a".into(), 1), ("b".into(), 3)]);
    let results = [&before, &after].map(|g| {
        let bound = g.bind(&bindings).unwrap_or_else(|e| panic!("{e}\n{g}"));
        let inputs: Vec<Tensor> = bound
            .inputs()
            .iter()
            .map(|&v| {
                let shape = bound.ty(v).known_shape().expect("it is bound");
                let values: Vec<f64> = (0..shape.iter().product()).map(|i: usize| i as f64 - 1.5).collect();
                Tensor::f64s(bound.ty(v).dtype, shape, &values).expect("as many numbers as the shape has")
            })
            .collect();
        run(&bound, &inputs).unwrap_or_else(|e| panic!("{e}\n{bound}"))
    });
    assert_eq!(results[0], results[1], "{before}\n{after}");
    after
}

#[test]
fn what_only_an_attribute_needs_is_not_dead() {
    let after = rewritten(
        "in %x : f32[a]
         in %y : f32[b]
         in %t : f32[16]
         %s = add(%x, %y) : f32[_0]
         %u = exp(%s) : f32[_0]
         %z = slice(%t) {axes = [0], ends = [_0], starts = [0]} : f32[_0]
         out %z",
    );
    // The first value of that extent will do.
    assert!(after.find("u").is_none(), "{after}");
}

#[test]
fn once_nothing_names_the_dim_it_is_dead() {
    let after = rewritten(
        "in %x : f32[a]
         in %y : f32[b]
         in %t : f32[16]
         %s = add(%x, %y) : f32[_0]
         %z = slice(%t) {axes = [0], ends = [_0], starts = [0]} : f32[_0]
         out %t",
    );
    assert!(after.is_empty(), "{after}");
}

#[test]
fn what_replaces_a_value_has_its_dims() {
    let after = rewritten(
        "in %x : f32[b, 8]
         %s = slice(%x) {axes = [0], ends = [3], starts = [0]} : f32[_0, 8]
         %u = slice(%s) {axes = [1], ends = [3], starts = [1]} : f32[_0, 2]
         %z = reshape(%u) {shape = [1, _0, 2]} : f32[1, _0, 2]
         out %z",
    );
    assert_eq!(after.len(), 2, "two cuts are one:\n{after}");
}

#[test]
fn a_twin_with_a_dim_of_its_own_stays() {
    rewritten(
        "in %x : f32[a]
         in %y : f32[b]
         %s = add(%x, %y) : f32[_0]
         %u = add(%x, %y) : f32[_1]
         %z = reshape(%u) {shape = [1, _1]} : f32[1, _1]
         out %s
         out %z",
    );
}

#[test]
fn a_dim_becomes_the_extent_that_follows() {
    let after = rewritten(
        "in %t : f32[16]
         const @from : i64[] = 0
         const @one : i64[] = 1
         const @two : i64[] = 2
         %to = add(@from, @two) : i64[]
         %r = range(@from, %to, @one) : i64[_0]
         %z = slice(%t) {axes = [0], ends = [_0], starts = [0]} : f32[_0]
         out %z",
    );
    assert_eq!(after.len(), 1, "{after}");
}
