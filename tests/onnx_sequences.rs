//! Sequences and optionals of ONNX files: resolved while the graph is made, or the entries of a tensor.

#[path = "onnx_build/mod.rs"]
mod onnx_build;
#[path = "support/staged.rs"]
mod staged;

use bgz_fusion::{Graph, Tensor};
use onnx_build::*;
use staged::{check, oracle};

fn f32t(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape, values).expect("the length fits")
}

fn one<T: bgz_fusion::Element>(value: T) -> Tensor {
    Tensor::new(&[], &[value]).expect("one")
}

fn counted(shape: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
    f32t(shape, &values)
}

/// Names of the outputs.
fn names(g: &Graph) -> Vec<&str> {
    g.outputs().iter().map(|o| &*o.name).collect()
}

/// The outputs by the oracle, which those of plans and stages are compared with.
#[track_caller]
fn outputs(g: &Graph, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    check(g, &[inputs.to_vec()]);
    run(g, &inputs.iter().map(oracle).collect::<Vec<_>>())
}

// ---- sequences of known length ----

#[test]
fn tensors_go_in_and_come_out_at_both_ends() {
    let g = graph(11, |b| {
        ["x", "y", "z"].iter().for_each(|n| b.input(n, F32, &["n"]));
        b.i64s("first", &[0]);
        b.i64s("last", &[-1]);
        b.node("SequenceEmpty", "", "none", vec![int("dtype", 1)]);
        b.node("SequenceInsert", "none x", "s1", vec![]);
        b.node("SequenceInsert", "s1 y first", "s2", vec![]);
        // Before the last one.
        b.node("SequenceInsert", "s2 z last", "s3", vec![]);
        b.node("SequenceErase", "s3 first", "s4", vec![]);
        b.node("SequenceErase", "s3", "s5", vec![]);
        b.node("SequenceAt", "s3 last", "at", vec![]);
        b.node("SequenceLength", "s3", "len", vec![]);
        b.node("ConcatFromSequence", "s3", "all", vec![int("axis", 0)]);
        b.node("ConcatFromSequence", "s4", "rows", vec![int("axis", -1), int("new_axis", 1)]);
        ["at", "len", "all", "rows", "s5"].iter().for_each(|o| b.output(o));
    });
    assert_eq!(names(&g), ["at", "len", "all", "rows", "s5.0", "s5.1"]);
    assert_eq!((ty(&g, "all"), ty(&g, "rows")), ("f32[3*n]".into(), "f32[n, 2]".into()));
    let found = outputs(&g, &[f32t(&[2], &[1.0, 2.0]), f32t(&[2], &[3.0, 4.0]), f32t(&[2], &[5.0, 6.0])]);
    close(&found[0], &[1.0, 2.0]);
    close(&found[1], &[3.0]);
    close(&found[2], &[3.0, 4.0, 5.0, 6.0, 1.0, 2.0]);
    close(&found[3], &[5.0, 1.0, 6.0, 2.0]);
    close(&[found[4].clone(), found[5].clone()].concat(), &[3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn splits_by_number_by_list_and_into_single_entries() {
    let g = graph(11, |b| {
        b.input("x", F32, &["2", "5"]);
        b.node("Constant", "", "two", vec![int("value_int", 2)]);
        b.i64s("sizes", &[1, 4]);
        b.node("SplitToSequence", "x two", "a", vec![int("axis", 1)]);
        b.node("SplitToSequence", "x sizes", "b", vec![int("axis", -1), int("keepdims", 0)]);
        b.node("SplitToSequence", "x", "c", vec![]);
        b.node("SplitToSequence", "x", "d", vec![int("keepdims", 0)]);
        ["a", "b", "c", "d"].iter().for_each(|o| b.output(o));
    });
    assert_eq!(names(&g), ["a.0", "a.1", "a.2", "b.0", "b.1", "c.0", "c.1", "d.0", "d.1"]);
    let types = ["a.0", "a.2", "b.1", "c.0", "d.1"].map(|n| ty(&g, n));
    assert_eq!(types, ["f32[2, 2]", "f32[2, 1]", "f32[2, 4]", "f32[1, 5]", "f32[5]"]);
    let found = outputs(&g, &[counted(&[2, 5])]);
    close(&found[1], &[2.0, 3.0, 7.0, 8.0]);
    close(&found[2], &[4.0, 9.0]);
    close(&found[4], &[1.0, 2.0, 3.0, 4.0, 6.0, 7.0, 8.0, 9.0]);
    close(&found[8], &[5.0, 6.0, 7.0, 8.0, 9.0]);
}

#[test]
fn sizes_of_parts_may_be_an_input() {
    let g = graph(11, |b| {
        b.input("x", F32, &["2", "5"]);
        b.input("sizes", I64, &["2"]);
        b.node("SplitToSequence", "x sizes", "s", vec![int("axis", 1)]);
        b.output("s");
    });
    assert_eq!(names(&g), ["s.0", "s.1"]);
    let of = |sizes: [i64; 2]| vec![counted(&[2, 5]), Tensor::new(&[2], &sizes).expect("two")];
    let found = outputs(&g, &of([2, 3]));
    close(&found[0], &[0.0, 1.0, 5.0, 6.0]);
    close(&found[1], &[2.0, 3.0, 4.0, 7.0, 8.0, 9.0]);
    close(&outputs(&g, &of([0, 5]))[1], &counted(&[2, 5]).scalars().map(|s| s.to_f64()).collect::<Vec<_>>());
    // Those that are no parts of the extent are an error.
    let model = bgz_fusion::Model::from_graph(g);
    for sizes in [[2, 2], [4, 4], [5, 1], [6, 0], [-1, 4]] {
        let inputs = of(sizes);
        let inputs = [("x", inputs[0].clone()), ("sizes", inputs[1].clone())];
        assert!(model.run(&inputs).is_err(), "{sizes:?}");
    }
}

#[test]
fn a_position_that_is_not_known_chooses_among_tensors_of_one_type() {
    let g = graph(11, |b| {
        b.input("x", F32, &["n"]);
        b.input("i", I32, &[]);
        b.node("Neg", "x", "minus", vec![]);
        b.node("SequenceConstruct", "x minus", "s", vec![]);
        b.node("SequenceAt", "s i", "y", vec![]);
        b.output("y");
    });
    assert_eq!(ty(&g, "y"), "f32[n]");
    let of = |i: i32| vec![f32t(&[2], &[1.0, 2.0]), one(i)];
    close(&outputs(&g, &of(0))[0], &[1.0, 2.0]);
    close(&outputs(&g, &of(-1))[0], &[-1.0, -2.0]);
}

// ---- sequences of unknown length ----

#[test]
fn parts_of_an_extent_that_is_not_known_are_entries() {
    let g = graph(11, |b| {
        b.input("x", F32, &["2", "n"]);
        b.input("i", I64, &[]);
        b.i64s("last", &[-1]);
        b.node("SplitToSequence", "x", "s", vec![int("axis", 1), int("keepdims", 0)]);
        b.node("SplitToSequence", "x", "k", vec![int("axis", 1)]);
        b.node("SequenceLength", "s", "len", vec![]);
        b.node("SequenceAt", "s i", "at", vec![]);
        b.node("SequenceAt", "s last", "end", vec![]);
        b.node("SequenceInsert", "s end", "longer", vec![]);
        b.node("ConcatFromSequence", "longer", "new", vec![int("axis", 1), int("new_axis", 1)]);
        b.node("ConcatFromSequence", "s", "flat", vec![int("axis", 0)]);
        b.node("ConcatFromSequence", "k", "again", vec![int("axis", 1)]);
        b.node("ConcatFromSequence", "k", "behind", vec![int("axis", -1), int("new_axis", 1)]);
        ["len", "at", "end", "new", "flat", "again", "behind"].iter().for_each(|o| b.output(o));
    });
    assert_eq!((ty(&g, "new"), ty(&g, "again")), ("f32[2, n + 1]".into(), "f32[2, n]".into()));
    assert_eq!((ty(&g, "flat"), ty(&g, "behind")), ("f32[2*n]".into(), "f32[2, 1, n]".into()));
    let found = outputs(&g, &[counted(&[2, 3]), one(1i64)]);
    close(&found[0], &[3.0]);
    close(&found[1], &[1.0, 4.0]);
    close(&found[2], &[2.0, 5.0]);
    close(&found[3], &[0.0, 1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 5.0]);
    close(&found[4], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    close(&found[5], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    close(&found[6], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

/// `y = map(x -> 2 x + offset)`, whose body also sees a tensor and a value from outside.
fn mapped(dims: &[&str]) -> Graph {
    graph(17, |b| {
        b.input("x", F32, dims);
        b.input("offset", F32, &[]);
        b.f32s("two", &[], &[2.0]);
        b.node("SplitToSequence", "x", "s", vec![]);
        let body = |b: &mut Build| {
            b.input("v", F32, &["?"]);
            b.input("o", F32, &[]);
            b.node("Mul", "v two", "m", vec![]);
            b.node("Add", "m o", "w", vec![]);
            b.node("Shape", "w", "shape", vec![]);
            b.output("w");
            b.output("shape");
        };
        b.node("SequenceMap", "s offset", "t shapes", vec![graph_attr("body", body)]);
        b.node("ConcatFromSequence", "t", "y", vec![int("axis", 0)]);
        b.node("ConcatFromSequence", "shapes", "z", vec![int("axis", 0)]);
        b.output("y");
        b.output("z");
    })
}

#[test]
fn a_map_over_a_sequence() {
    for dims in [["3", "2"], ["n", "2"]] {
        let g = mapped(&dims);
        let found = outputs(&g, &[counted(&[3, 2]), one(0.5f32)]);
        close(&found[0], &[0.5, 2.5, 4.5, 6.5, 8.5, 10.5]);
        close(&found[1], &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
    }
}

// ---- branches ----

#[test]
fn branches_may_give_sequences_of_one_length() {
    let g = graph(16, |b| {
        b.input("c", BOOL, &[]);
        b.input("x", F32, &["2"]);
        b.input("y", F32, &["2"]);
        b.node("SequenceConstruct", "x y", "s", vec![]);
        let both = |b: &mut Build| {
            b.node("Identity", "s", "same", vec![]);
            b.node("Neg", "x", "number", vec![]);
            b.output("same");
            b.output("number");
        };
        let turned = |b: &mut Build| {
            b.node("SequenceConstruct", "y x", "t", vec![]);
            b.output("t");
            b.output("y");
        };
        b.node("If", "c", "r n", vec![graph_attr("then_branch", both), graph_attr("else_branch", turned)]);
        b.output("r");
        b.output("n");
    });
    assert_eq!(names(&g), ["r.0", "r.1", "n"]);
    let of =
        |c: bool| vec![Tensor::from_bools(&[], &[c]).expect("one"), f32t(&[2], &[1.0, 2.0]), f32t(&[2], &[3.0, 4.0])];
    assert_eq!(outputs(&g, &of(true)), [[1.0, 2.0], [3.0, 4.0], [-1.0, -2.0]]);
    assert_eq!(outputs(&g, &of(false)), [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]);
}

// ---- optionals ----

#[test]
fn an_optional_is_its_value_or_nothing() {
    let g = graph(18, |b| {
        b.input("x", F32, &["2"]);
        b.node("SequenceConstruct", "x x", "s", vec![]);
        b.node("Optional", "x", "some", vec![]);
        b.node("Optional", "s", "several", vec![]);
        b.node("Optional", "", "none", vec![]);
        b.node("OptionalHasElement", "some", "yes", vec![]);
        b.node("OptionalHasElement", "none", "no", vec![]);
        b.node("OptionalHasElement", "_", "neither", vec![]);
        b.node("OptionalHasElement", "x", "plain", vec![]);
        b.node("OptionalGetElement", "several", "pair", vec![]);
        b.node("SequenceLength", "pair", "two", vec![]);
        let value = |b: &mut Build| {
            b.node("OptionalGetElement", "some", "v", vec![]);
            b.output("v");
        };
        let nothing = |b: &mut Build| {
            b.node("OptionalGetElement", "none", "v", vec![]);
            b.output("v");
        };
        // The condition is known, so that the other branch may be without sense.
        b.node("If", "yes", "y", vec![graph_attr("then_branch", value), graph_attr("else_branch", nothing)]);
        ["yes", "no", "neither", "plain", "two", "y", "some", "none"].iter().for_each(|o| b.output(o));
    });
    // An optional without a value is no output.
    assert_eq!(names(&g), ["yes", "no", "neither", "plain", "two", "y", "some"]);
    let found = outputs(&g, &[f32t(&[2], &[1.0, 2.0])]);
    assert_eq!(found[..5].concat(), [1.0, 0.0, 0.0, 1.0, 2.0]);
    assert_eq!(found[5..], [[1.0, 2.0], [1.0, 2.0]]);
}

// ---- loops ----

/// A loop of `n` trips (an input, or a constant) whose body appends `v * i` for what `body` makes of its parts.
fn appending(trips: Option<i64>, opset: i64, after: impl FnOnce(&mut Build)) -> Graph {
    graph(opset, |b| {
        b.input("x", F32, &["2", "k"]);
        match trips {
            Some(n) => drop(b.node("Constant", "", "n", vec![int("value_int", n)])),
            None => b.input("n", I64, &[]),
        }
        b.node("SequenceEmpty", "", "none", vec![]);
        let body = |b: &mut Build| {
            b.input("i", I64, &[]);
            b.input("going", BOOL, &[]);
            b.input("s", F32, &[]);
            b.input("v", F32, &["?", "?"]);
            b.node("Cast", "i", "f", vec![int("to", 1)]);
            b.node("Add", "v f", "w", vec![]);
            b.node("SequenceInsert", "s w", "t", vec![]);
            b.node("Identity", "going", "on", vec![]);
            ["on", "t", "w", "f"].iter().for_each(|o| b.output(o));
        };
        b.node("Loop", "n _ none x", "list last numbers", vec![graph_attr("body", body)]);
        after(b);
    })
}

#[test]
fn tensors_that_a_loop_appends_are_stacked() {
    for trips in [None, Some(3)] {
        let g = appending(trips, 13, |b| {
            b.node("ConcatFromSequence", "list", "new", vec![int("axis", 1), int("new_axis", 1)]);
            b.node("ConcatFromSequence", "list", "long", vec![int("axis", 1)]);
            b.node("SequenceLength", "list", "len", vec![]);
            ["new", "long", "len", "last", "numbers"].iter().for_each(|o| b.output(o));
        });
        let mut inputs = vec![counted(&[2, 2])];
        inputs.extend(trips.is_none().then(|| one(3i64)));
        let found = outputs(&g, &inputs);
        // x, x + 1 and x + 3.
        close(&found[0], &[0.0, 1.0, 1.0, 2.0, 3.0, 4.0, 2.0, 3.0, 3.0, 4.0, 5.0, 6.0]);
        close(&found[1], &[0.0, 1.0, 1.0, 2.0, 3.0, 4.0, 2.0, 3.0, 3.0, 4.0, 5.0, 6.0]);
        close(&found[2], &[3.0]);
        close(&found[3], &[3.0, 4.0, 5.0, 6.0]);
        close(&found[4], &[0.0, 1.0, 2.0]);
    }
}

#[test]
fn a_loop_of_few_trips_gives_a_list() {
    let g = appending(Some(2), 13, |b| b.output("list"));
    assert_eq!(names(&g), ["list.0", "list.1"]);
    assert!(ops(&g).iter().all(|op| op != "loop"), "{:?}", ops(&g));
    let found = outputs(&g, &[counted(&[2, 1])]);
    assert_eq!(found, [[0.0, 1.0], [1.0, 2.0]]);
}

#[test]
fn a_sequence_that_keeps_its_length_is_carried() {
    let g = graph(13, |b| {
        b.input("x", F32, &["2"]);
        b.input("y", F32, &["3"]);
        b.input("n", I64, &[]);
        b.i64s("first", &[0]);
        b.node("SequenceConstruct", "x y", "s", vec![]);
        let body = |b: &mut Build| {
            ["i", "going", "s"].iter().for_each(|n| b.input(n, I64, &[]));
            b.node("SequenceAt", "s first", "a", vec![]);
            b.node("Add", "a a", "twice", vec![]);
            b.node("SequenceErase", "s first", "rest", vec![]);
            b.node("SequenceInsert", "rest twice first", "t", vec![]);
            ["going", "t"].iter().for_each(|o| b.output(o));
        };
        b.node("Loop", "n _ s", "r", vec![graph_attr("body", body)]);
        b.output("r");
    });
    assert_eq!(names(&g), ["r.0", "r.1"]);
    let found = outputs(&g, &[f32t(&[2], &[1.0, 2.0]), f32t(&[3], &[1.0, 2.0, 3.0]), one(3i64)]);
    close(&found[0], &[8.0, 16.0]);
    close(&found[1], &[1.0, 2.0, 3.0]);
}

/// As TorchScript writes `for row in x.unbind(): out.append(f(row))`.
#[test]
fn a_loop_reads_a_sequence_by_the_number_of_the_iteration() {
    let g = graph(13, |b| {
        b.input("x", F32, &["n", "2"]);
        b.node("SplitToSequence", "x", "rows", vec![int("keepdims", 0)]);
        b.node("SequenceLength", "rows", "trips", vec![]);
        b.node("SequenceEmpty", "", "none", vec![]);
        let body = |b: &mut Build| {
            ["i", "going", "out"].iter().for_each(|n| b.input(n, I64, &[]));
            b.node("SequenceAt", "rows i", "row", vec![]);
            b.node("Neg", "row", "minus", vec![]);
            b.node("SequenceInsert", "out minus", "longer", vec![]);
            ["going", "longer"].iter().for_each(|o| b.output(o));
        };
        b.node("Loop", "trips _ none", "list", vec![graph_attr("body", body)]);
        b.node("ConcatFromSequence", "list", "y", vec![int("axis", 0), int("new_axis", 1)]);
        b.output("y");
    });
    close(&outputs(&g, &[counted(&[3, 2])])[0], &[0.0, -1.0, -2.0, -3.0, -4.0, -5.0]);
}

/// A tensor that a branch takes under two names, or as two elements, is one input of it.
#[test]
fn a_branch_may_take_a_tensor_twice() {
    let g = graph(16, |b| {
        b.input("c", BOOL, &[]);
        b.input("x", F32, &["2"]);
        b.node("Identity", "x", "alias", vec![]);
        let sum = |b: &mut Build| {
            b.node("Add", "x alias", "sum", vec![]);
            b.output("sum");
        };
        let product = |b: &mut Build| {
            b.node("Mul", "alias alias", "product", vec![]);
            b.output("product");
        };
        b.node("If", "c", "y", vec![graph_attr("then_branch", sum), graph_attr("else_branch", product)]);
        b.output("y");
    });
    let of = |c: bool| vec![Tensor::from_bools(&[], &[c]).expect("one"), f32t(&[2], &[1.0, 3.0])];
    close(&outputs(&g, &of(true))[0], &[2.0, 6.0]);
    close(&outputs(&g, &of(false))[0], &[1.0, 9.0]);
}
