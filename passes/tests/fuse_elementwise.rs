//! The fuse-elementwise pass.

mod common;

use bgz_passes::passes::fuse_elementwise::pass;
use common::{fires, leaves};

#[test]
fn a_chain() {
    let case = fires(
        pass(),
        "fuse-elementwise@chain",
        "in %x : f32[batch, seq, 4]
         in %r : f32[batch, seq, 4]
         const @b : f32[4] = [1.0, 2.0, 3.0, 4.0]
         const @half : f32[] = 0.5
         const @twos : f32[1, 1, 4] = [2.0, 2.0, 2.0, 2.0]
         %a = add(%x, @b) : f32[batch, seq, 4]
         %s = sigmoid(%a) : f32[batch, seq, 4]
         %h = mul(%s, @half) : f32[batch, seq, 4]
         %d = div(%h, @twos) : f32[batch, seq, 4]
         %y = sub(%r, %d) : f32[batch, seq, 4]
         out %y",
    );
    assert_eq!(case.ops(), ["fused"]);
}

/// Integers, bools, floats and casts between them in one expression.
#[test]
fn a_mask() {
    let case = fires(
        pass(),
        "fuse-elementwise@mask",
        "in %ids : i64[batch, seq]
         in %x : f32[batch, seq]
         const @pad : i64[] = 0
         const @low : f32[] = -1e9
         const @limit : f32[] = 0.5
         %is_pad = eq(%ids, @pad) : bool[batch, seq]
         %large = gt(%x, @limit) : bool[batch, seq]
         %either = or(%is_pad, %large) : bool[batch, seq]
         %keep = not(%either) : bool[batch, seq]
         %w = where(%keep, %x, @low) : f32[batch, seq]
         %id = cast(%ids) : f32[batch, seq]
         %y = add(%w, %id) : f32[batch, seq]
         out %y",
    );
    assert_eq!(case.ops(), ["fused"]);
}

/// A value that is used twice in a chain joins; each operand is there once.
#[test]
fn shared_inside() {
    let case = fires(
        pass(),
        "fuse-elementwise@shared",
        "in %x : f32[n]
         in %y : f32[n]
         %s = add(%x, %y) : f32[n]
         %g = sigmoid(%s) : f32[n]
         %p = mul(%s, %g) : f32[n]
         %z = mul(%p, %x) : f32[n]
         out %z",
    );
    assert_eq!(case.ops(), ["fused"]);
}

#[test]
fn used_elsewhere_or_output() {
    let case = fires(
        pass(),
        "fuse-elementwise@used-elsewhere",
        "in %x : f32[n, 4]
         in %y : f32[n, 4]
         %a = add(%x, %y) : f32[n, 4]
         %t = tanh(%a) : f32[n, 4]
         %sum = reduce_sum(%t) {axes = [1], keep_dims = true} : f32[n, 1]
         %e = exp(%t) : f32[n, 4]
         %n = neg(%e) : f32[n, 4]
         %o = abs(%n) : f32[n, 4]
         %p = sqrt(%o) : f32[n, 4]
         out %sum
         out %o
         out %p",
    );
    assert_eq!(case.ops(), ["fused", "fused", "reduce_sum", "sqrt"]);
}

/// A row's statistic is not computed again for every column; one of the same
/// size and another rank is.
#[test]
fn broadcast_producers() {
    fires(
        pass(),
        "fuse-elementwise@broadcast",
        "in %x : f32[1, n, 4]
         in %v : f32[n, 1]
         in %w : f32[n, 4]
         const @eps : f32[] = 1e-5
         %e = add(%v, @eps) : f32[n, 1]
         %s = rsqrt(%e) : f32[n, 1]
         %same = neg(%w) : f32[n, 4]
         %n = mul(%x, %s) : f32[1, n, 4]
         %y = sub(%n, %same) : f32[1, n, 4]
         out %y",
    );
}

/// A constant of one number that gives the result its shape stays an operand.
#[test]
fn a_constant_that_shapes() {
    fires(
        pass(),
        "fuse-elementwise@shaping-constant",
        "in %x : f32[3]
         const @c : f32[2, 1] = [0.5, 0.5]
         const @half : f32[] = 0.5
         %a = mul(%x, @half) : f32[3]
         %b = add(%a, @c) : f32[2, 3]
         %y = neg(%b) : f32[2, 3]
         out %y",
    );
}

/// One op is no chain, and small integers are not worth one.
#[test]
fn single_ops_stay() {
    leaves(
        pass(),
        "fuse-elementwise@single",
        "in %x : f32[n, 4]
         in %i : i64[2]
         const @w : f32[4, 2] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
         const @one : i64[] = 1
         %l = linear(%x, @w) : f32[n, 2]
         %g = gelu_erf(%l) : f32[n, 2]
         %s = softmax(%g) {axis = 1} : f32[n, 2]
         %i1 = add(%i, @one) : i64[2]
         %i2 = neg(%i1) : i64[2]
         out %s
         out %i2",
    );
}

/// Expressions stay readable, and operands as many as there are letters.
#[test]
fn bounds() {
    use bgz_passes::eval::testing::assert_same;
    use bgz_passes::ir::{Binary, DType, Expr, Graph, Op, Type, Unary};
    let mut g = Graph::new("bounds");
    let mut v = g.add_input("x", Type::new(DType::F32, ["n"])).expect("input");
    for i in 0..60 {
        let w = g.add_input(&format!("w{i}"), Type::new(DType::F32, ["n"])).expect("input");
        v = g.add(&format!("a{i}"), Op::Binary(Binary::Add), &[v, w]).expect("add");
    }
    for i in 0..100 {
        v = g.add(&format!("t{i}"), Op::Unary(Unary::Tanh), &[v]).expect("tanh");
    }
    // Doubles with every step if written out.
    for i in 0..40 {
        v = g.add(&format!("d{i}"), Op::Binary(Binary::Mul), &[v, v]).expect("mul");
    }
    g.add_output("y", v).expect("output");
    let mut after = g.clone();
    pass().run(&mut after, &mut bgz_passes::rewrite::Cx::new(None)).expect("runs");
    after.verify().expect("verifies");
    assert_same(&g, &after, 0..1);
    for (_, node) in after.nodes() {
        let Op::Fused(e) = &node.op else { continue };
        assert!(e.size() <= 64 && node.inputs.len() <= Expr::MAX_INPUTS, "{e}");
    }
    assert!(after.len() < 40, "{after}");
}
