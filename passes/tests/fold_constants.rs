//! The fold-constants pass.

mod common;

use bgz_passes::passes::fold_constants::pass;
use common::{fires, leaves};

#[test]
fn operations_on_constants() {
    let case = fires(
        pass(),
        "fold-constants@values",
        "in %x : f32[n, 4]
         const @a : f32[4] = [1.0, 2.0, 3.0, 4.0]
         const @b : f32[] = 0.5
         const @w : f32[2, 2] = [1.0, 2.0, 3.0, 4.0]
         const @i : i64[2] = [3, 1]
         %scaled = mul(@a, @b) : f32[4]
         %root = sqrt(%scaled) : f32[4]
         %y = add(%x, %root) : f32[n, 4]
         %picked = gather(@a, @i) {axis = 0} : f32[2]
         %product = matmul(%picked, @w) : f32[2]
         %square = reshape(%scaled) {shape = [2, 2]} : f32[2, 2]
         %best, %which = top_k(@a) {axis = 0, k = [1], largest = true} : f32[1], i64[1]
         out %y
         out %product
         out %square
         out %best
         out %which",
    );
    assert_eq!(case.ops(), ["add"]);
}

/// The ops that PyTorch writes for `x.view(x.size(0), x.size(1), 2, -1)` and its like.
#[test]
fn symbolic_shape_arithmetic() {
    let case = fires(
        pass(),
        "fold-constants@shapes",
        "in %x : f32[batch, seq, 12]
         in %m : f32[1, 1, seq]
         const @i0 : i64[] = 0
         const @i1 : i64[] = 1
         const @c0 : i64[1] = [0]
         const @two : i64[1] = [2]
         const @rest : i64[1] = [-1]
         const @twelve : i64[1] = [12]
         const @minus : i64[3] = [-1, -1, -1]
         const @ones : i64[3] = [1, 1, 1]
         const @one : i64[] = 1
         %shape = shape(%x) {start = 0, end = 3} : i64[3]
         %b = gather(%shape, @i0) {axis = 0} : i64[]
         %s = gather(%shape, @i1) {axis = 0} : i64[]
         %b1 = reshape(%b) {shape = [1]} : i64[1]
         %s1 = reshape(%s) {shape = [1]} : i64[1]
         %heads = concat(%b1, %s1, @two, @rest) {axis = 0} : i64[4]
         %split = reshape(%x, %heads) : f32[batch, seq, 2, 6]
         %flat = mul(%b1, %s1) : i64[1]
         %rows = concat(%flat, @twelve) {axis = 0} : i64[2]
         %flattened = reshape(%x, %rows) : f32[batch*seq, 12]
         %want = concat(%b1, %s1, %s1) {axis = 0} : i64[3]
         %any = eq(%want, @minus) : bool[3]
         %target = where(%any, @ones, %want) : i64[3]
         %mask = expand(%m, %target) : f32[batch, seq, seq]
         %head = slice(%x, @c0, %s1) {axes = [1]} : f32[batch, seq, 12]
         %positions = range(@i0, %s, @one) : i64[seq]
         out %split
         out %flattened
         out %mask
         out %head
         out %positions",
    );
    assert_eq!(case.ops(), ["dims", "expand", "range", "reshape", "reshape", "slice"]);
}

/// An extent that only the data decides: what depends on it stays an operand.
#[test]
fn unknown_extents_stay() {
    leaves(
        pass(),
        "fold-constants@unknown",
        "in %x : f32[n]
         in %t : i64[2]
         const @two : i64[1] = [2]
         %hits = non_zero(%x) : i64[1, _0]
         %shape = shape(%hits) {start = 1, end = 2} : i64[1]
         %twice = mul(%shape, @two) : i64[1]
         %row = reshape(%hits, %shape) : i64[_0]
         %y = reshape(%x, %t) : f32[_1, _2]
         out %twice
         out %row
         out %y",
    );
}

/// A broadcast of one number would only make the model larger, and a weight
/// stays as it is in the file for `linear` to take transposed.
#[test]
fn large_results_stay() {
    let case = leaves(
        pass(),
        "fold-constants@large",
        "in %x : f32[n, 4]
         const @zero : f32[] = 0.0
         const @w : f32[2, 4] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
         %zeros = full(@zero) {shape = [512, 512]} : f32[512, 512]
         %wt = transpose(@w) {perm = [1, 0]} : f32[4, 2]
         %y = matmul(%x, %wt) : f32[n, 2]
         out %zeros
         out %y",
    );
    assert_eq!(case.trace, "");
}

/// A shape that becomes known through an op inference does not follow.
#[test]
fn types_become_known() {
    let case = fires(
        pass(),
        "fold-constants@refined",
        "in %x : f32[6, n]
         const @table : i64[2, 3] = [9, 2, 3, 9, 9, 9]
         const @at : i64[2, 2] = [0, 1, 0, 2]
         const @rest : i64[1] = [-1]
         %picked = gather_nd(@table, @at) : i64[2]
         %shape = concat(%picked, @rest) {axis = 0} : i64[3]
         %y = reshape(%x, %shape) : f32[_0, _1, _2]
         %z = neg(%y) : f32[_0, _1, _2]
         out %z",
    );
    assert!(case.after.to_string().contains("%z = neg(%y) : f32[2, 3, n]"), "{}", case.after);
}

/// A result of the graph that is a shape becomes one `dims`; integers of another width are cast.
#[test]
fn shapes_as_results() {
    let case = fires(
        pass(),
        "fold-constants@outputs",
        "in %x : f32[batch, seq]
         const @i1 : i64[] = 1
         %shape = shape(%x) {start = 0, end = 2} : i64[2]
         %seq = gather(%shape, @i1) {axis = 0} : i64[]
         %narrow = cast(%shape) : i32[2]
         %rank = shape(%shape) {start = 0, end = 1} : i64[1]
         %twice = add(%narrow, %narrow) : i32[2]
         out %shape
         out %seq
         out %twice
         out %rank",
    );
    assert_eq!(case.ops(), ["cast", "dims", "dims", "dims"]);
}

/// Fifteen hundred nodes of shape arithmetic take milliseconds, not seconds.
#[test]
fn long_chains_are_quick() {
    use bgz_passes::ir::{Binary, Constant, DType, Generate, Graph, Op, Scalar, Type};
    let mut g = Graph::new("long");
    let x = g.add_input("x", Type::new(DType::F32, ["batch", "seq"])).expect("input");
    let one = g.add_const("one", Constant::scalar(Scalar::i64(1)));
    let mut v = g.add("shape", Op::Generate(Generate::Shape { start: 0, end: 1 }), &[x]).expect("shape");
    for i in 0..1500 {
        v = g.add(&format!("v{i}"), Op::Binary(Binary::Add), &[v, one]).expect("add");
    }
    g.add_output("y", v).expect("output");
    let start = std::time::Instant::now();
    pass().run(&mut g, &mut bgz_passes::rewrite::Cx::new(None)).expect("runs");
    // Generous: a debug build on a busy machine.
    assert!(start.elapsed() < std::time::Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(g.len(), 1);
}
