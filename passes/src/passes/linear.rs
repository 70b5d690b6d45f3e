//! A matrix product with constant weights, and the bias added to it, become one
//! `linear`: its weights are packed once and its bias costs nothing.

use crate::ir::{Binary, Constant, Graph, Op, ValueId};
use crate::rewrite::{Match, Pass, Patch, Ref, Rule, Rules, Skip, any, op, rule};

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    let is_matmul = |op: &Op| matches!(op, Op::MatMul);
    let is_linear = |op: &Op| matches!(op, Op::Linear { .. });
    let is_add = |op: &Op| matches!(op, Op::Binary(Binary::Add));
    let unbiased = op(is_linear, [any("x"), any("w")]).named("l");
    let rules: Vec<Box<dyn Rule>> = vec![
        rule("linear", op(is_matmul, [any("x"), any("w")]), linear),
        rule("linear-bias", op(is_add, [unbiased, any("b")]), linear_bias),
    ];
    Box::new(Rules::new("linear", rules))
}

/// `matmul(x, W) => linear(x, W)`, `matmul(x, transpose(W)) => linear(x, W) {trans_w}`
/// where `W` is a constant matrix
fn linear(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let (x, w) = (m["x"], m["w"]);
    let (w, trans_w) = match (g.op(w), g.producer(w)) {
        (Some(Op::Transpose { perm }), Some(n)) if perm[..] == [1, 0] => (g.node(n).inputs[0], true),
        _ => (w, false),
    };
    let Some(weights) = g.constant(w) else {
        return Err(match g.constant(x) {
            // It would be the transpose of a linear of the transpose: two passes over x to save none.
            Some(c) if c.shape().len() == 2 => Skip::check("the constant is on the left"),
            _ => Skip::NoEffect,
        });
    };
    if weights.shape().len() != 2 {
        return Err(Skip::check(format!("the constant is {}, not a matrix", weights.ty())));
    }
    if !weights.dtype().is_float() {
        return Err(Skip::check(format!("the weights are {}", weights.dtype())));
    }
    let mut patch = Patch::new();
    let new = patch.add("", Op::Linear { trans_w }, [x, w]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// `linear(x, W) + b => linear(x, W, b)` where `b` is a vector, or a constant with leading axes of extent 1
fn linear_bias(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let (l, b) = (m["l"], m["b"]);
    let (Some(op), Some(columns), bias) = (g.op(l), g.ty(l).shape.last(), &g.ty(b).shape) else {
        return Err(Skip::NoEffect);
    };
    // One number for all columns, or a value a row, is not a bias.
    if bias.last() != Some(columns) {
        return Err(Skip::NoEffect);
    }
    let mut patch = Patch::new();
    let bias: Ref = match g.constant(b) {
        _ if bias.len() == 1 => b.into(),
        Some(c) if bias.len() <= g.ty(l).rank() && c.shape()[..bias.len() - 1].iter().all(|&n| n == 1) => {
            patch.constant("bias", vector(c)?)
        }
        Some(c) => return Err(Skip::check(format!("{} is added, not a row", c.ty()))),
        None => return Err(Skip::NoEffect),
    };
    let new = patch.add("", op.clone(), [inputs(g, l)[0].into(), inputs(g, l)[1].into(), bias]);
    patch.replace(m.root, new);
    patch.consume([l]);
    Ok(patch)
}

fn inputs(g: &Graph, v: ValueId) -> &[ValueId] {
    g.producer(v).map_or(&[], |n| &g.node(n).inputs)
}

fn vector(c: &Constant) -> Result<Constant, Skip> {
    c.reshaped(vec![c.len()]).ok_or(Skip::NoEffect)
}
