//! A matrix product with constant weights, and the bias added to it, become one
//! `linear`: its weights are packed once and its bias costs nothing.

use crate::ir::{Binary, Constant, Graph, Movement, Op, Precision, Product, ValueId};
use crate::rewrite::{Match, Pass, Patch, Ref, Rule, Rules, Skip, any, op, rule};

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    let is_matmul = |op: &Op| matches!(op, Op::Product(Product::MatMul));
    let is_linear = |op: &Op| matches!(op, Op::Product(Product::Linear { .. }));
    let is_add = |op: &Op| matches!(op, Op::Binary(Binary::Add));
    let unbiased = op(is_linear, [any("x"), any("w")]).named("l");
    let rules: Vec<Box<dyn Rule>> = vec![
        rule("linear", op(is_matmul, [any("x"), any("w")]), linear),
        rule("linear-bias", op(is_add, [unbiased, any("b")]), linear_bias),
    ];
    Box::new(Rules::new("linear", rules))
}

/// `matmul(x, W) => linear(x, W)`, `matmul(x, transpose(W)) => linear(x, W) {trans_w}`
/// where `W` is a constant matrix, or any matrix that every row of a batch `x` is multiplied with;
/// also where it was given leading axes of extent 1 to be of the rank of `x`
fn linear(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let x = m["x"];
    let Some((w, trans_w)) = matrix(g, m["w"]) else {
        return Err(match (g.constant(m["w"]), g.constant(x)) {
            (Some(c), _) => Skip::check(format!("the constant is {}, not a matrix", c.ty())),
            // It would be the transpose of a linear of the transpose: two passes over x to save none.
            (_, Some(c)) if c.shape().len() == 2 => Skip::check("the constant is on the left"),
            _ => Skip::NoEffect,
        });
    };
    if g.constant(w).is_none() && (g.ty(x).rank() < 3 || g.constant(x).is_some()) {
        return Err(match g.constant(x) {
            Some(c) if c.shape().len() == 2 => Skip::check("the constant is on the left"),
            _ => Skip::NoEffect,
        });
    }
    if !g.ty(w).dtype.is_float() {
        return Err(Skip::check(format!("the weights are {}", g.ty(w).dtype)));
    }
    // Leading axes of W that x has not would be axes of the result.
    if g.ty(m["w"]).rank() > g.ty(x).rank().max(2) {
        return Err(Skip::NoEffect);
    }
    let mut patch = Patch::new();
    let w: Ref = match g.constant(w) {
        Some(c) if c.shape().len() > 2 => {
            let shape = c.shape()[c.shape().len() - 2..].to_vec();
            patch.constant(g.name(w), c.reshaped(shape).ok_or(Skip::NoEffect)?)
        }
        _ => w.into(),
    };
    let new = patch.add("", Op::Product(Product::Linear { trans_w, precision: Precision::Exact }), [x.into(), w]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// The matrix that `v` is but for leading axes of extent 1, and whether transposed; a constant may still have them.
fn matrix(g: &Graph, mut v: ValueId) -> Option<(ValueId, bool)> {
    let mut transposed = false;
    loop {
        let shape = &g.ty(v).shape;
        let leading = shape.len().checked_sub(2)?;
        if !shape[..leading].iter().all(|d| d.is(1)) {
            return None;
        }
        let from = g.producer(v).map(|n| g.node(n)).filter(|n| match &n.op {
            Op::Movement(Movement::Transpose { perm }) => {
                let swapped = [leading + 1, leading];
                (0..leading).eq(perm[..leading].iter().copied()) && perm[leading..] == swapped
            }
            Op::Movement(Movement::Reshape { .. }) => g.ty(n.inputs[0]).shape.ends_with(&shape[leading..]),
            _ => false,
        });
        match from {
            Some(n) => {
                transposed ^= matches!(n.op, Op::Movement(Movement::Transpose { .. }));
                v = n.inputs[0];
            }
            None if leading == 0 || g.constant(v).is_some() => return Some((v, transposed)),
            None => return None,
        }
    }
}

/// `linear(x, W) + b => linear(x, W, b)` where `b` is a vector, or a constant or a reshaped vector with leading axes
/// of extent 1
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
        None => match inputs(g, b) {
            // A reshape that only put leading axes before a vector.
            &[v] if matches!(g.op(b), Some(Op::Movement(Movement::Reshape { .. })))
                && g.ty(v).shape[..] == [columns.clone()] =>
            {
                if bias.len() > g.ty(l).rank() {
                    return Err(Skip::NoEffect);
                }
                v.into()
            }
            _ => return Err(Skip::NoEffect),
        },
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
