//! Rules on elementwise ops.

use super::{lasting, same};
use crate::ir::{
    Binary, Cast, Constant, DType, Dim, Graph, IntArg, Movement, Op, Scalar, Type, Unary, ValueId, Where, broadcast,
};
use crate::rewrite::{Match, Patch, Rule, Skip, any, binary, constant, leaf, one_of, op, rule, scalar, unary};

pub(super) fn rules() -> Vec<Box<dyn Rule>> {
    let commutative = |op: &Op| op.commutes();
    let any_binary = |op: &Op| matches!(op, Op::Binary(_));
    let is_cast = |op: &Op| matches!(op, Op::Cast(_));
    let elementwise = leaf("y", |g, v| g.op(v).is_some_and(Op::is_elementwise));
    let is_where = |op: &Op| matches!(op, Op::Where(Where));
    let twice = |f| unary(f, unary(f, any("x")));
    vec![
        rule("constant-right", op(commutative, [constant("c"), any("x")]), constant_right),
        rule("neutral", op(any_binary, [any("x"), scalar("c")]), neutral),
        rule("double-negation", one_of([twice(Unary::Neg), twice(Unary::Not)]), double_negation),
        rule("power", binary(Binary::Pow, any("x"), scalar("c")), power),
        rule("divide-by-power-of-two", binary(Binary::Div, any("x"), scalar("c")), divide),
        rule("same-operands", op(any_binary, [any("x"), any("x")]), same_operands),
        rule("where-constant", op(is_where, [scalar("c"), any("a"), any("b")]), where_constant),
        rule("where-same", op(is_where, [any("c"), any("a"), any("a")]), where_same),
        rule("cast-of-cast", op(is_cast, [op(is_cast, [any("x")])]), cast_of_cast),
        rule("map-before-expand", elementwise.clone(), map_before_expand),
        rule("implied-expand", elementwise, implied_expand),
    ]
}

/// The operands of the op that makes `v`.
fn operands(g: &Graph, v: ValueId) -> &[ValueId] {
    g.producer(v).map_or(&[], |n| &g.node(n).inputs)
}

/// `c + x => x + c`, for every commutative op
fn constant_right(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let (&[a, b], Some(op)) = (operands(g, m.root), g.op(m.root)) else { return Err(Skip::NoEffect) };
    if g.constant(a).is_none() || g.constant(b).is_some() {
        return Err(Skip::NoEffect);
    }
    let mut patch = Patch::new();
    let swapped = patch.add("", op.clone(), [b, a]);
    patch.replace(m.root, swapped);
    Ok(patch)
}

/// `x * 1`, `x / 1`, `pow(x, 1)`, `x + -0.0`, `x - 0.0`, `max(x, -inf)`, `min(x, inf)` and their like on
/// integers and bools `=> x`
fn neutral(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let Some((Op::Binary(f), c)) = g.op(m.root).zip(g.constant(m["c"]).and_then(Constant::as_splat)) else {
        return Err(Skip::NoEffect);
    };
    let (v, float) = (c.to_f64(), c.dtype().is_float());
    let neutral = match f {
        Binary::Mul | Binary::Div | Binary::Pow => v == 1.0,
        Binary::Add if float => v == 0.0 && v.is_sign_negative(),
        Binary::Sub if float => v == 0.0 && v.is_sign_positive(),
        Binary::Add | Binary::Sub | Binary::Or | Binary::Xor => c.to_i64() == 0,
        Binary::Max => v == f64::NEG_INFINITY,
        Binary::Min => v == f64::INFINITY,
        Binary::And => c == Scalar::from_i64(c.dtype(), -1),
        _ => false,
    };
    if !neutral {
        return Err(match f {
            Binary::Add | Binary::Sub if v == 0.0 => Skip::check(format!("{} of {c} turns -0.0 into 0.0", f.name())),
            _ => Skip::NoEffect,
        });
    }
    same(g, m.root, m["x"])
}

/// `neg(neg(x)) => x`, `not(not(x)) => x`
fn double_negation(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    same(g, m.root, m["x"])
}

/// `pow(x, 2) => x * x`, `pow(x, -1) => recip(x)` on floats.
///
/// `pow(x, 0.5)` is not `sqrt(x)`: they differ at -0.0 and at -inf.
fn power(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let x = m["x"];
    let Some(c) = g.constant(m["c"]).and_then(Constant::as_splat) else { return Err(Skip::NoEffect) };
    if g.ty(x) != g.ty(m.root) {
        return Err(Skip::NoEffect);
    }
    let mut patch = Patch::new();
    let new = match c.to_f64() {
        2.0 => patch.add("", Op::Binary(Binary::Mul), [x, x]),
        -1.0 if c.dtype().is_float() => patch.add("", Op::Unary(Unary::Recip), [x]),
        0.5 => return Err(Skip::check("pow(x, 0.5) differs from sqrt(x) at -0.0 and -inf")),
        _ => return Err(Skip::NoEffect),
    };
    patch.replace(m.root, new);
    Ok(patch)
}

/// `x / c => x * (1 / c)` where `c` is a power of two: both round the same real number
fn divide(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let c = g.constant(m["c"]).ok_or(Skip::NoEffect)?;
    let recip = c.as_splat().and_then(exact_reciprocal).ok_or(Skip::NoEffect)?;
    let splat = Constant::from_scalars(c.dtype(), c.shape().to_vec(), std::iter::repeat_n(recip, c.len()));
    let mut patch = Patch::new();
    let by = patch.constant("recip", splat.ok_or(Skip::NoEffect)?);
    let new = patch.add("", Op::Binary(Binary::Mul), [m["x"].into(), by]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// The reciprocal of a power of two, if it is a normal number of the dtype.
fn exact_reciprocal(c: Scalar) -> Option<Scalar> {
    let least = match c.dtype() {
        DType::F64 => f64::MIN_POSITIVE,
        DType::F32 | DType::BF16 => f32::MIN_POSITIVE.into(),
        DType::F16 => half::f16::MIN_POSITIVE.into(),
        _ => return None,
    };
    let mantissa = c.to_f64().to_bits() << 12;
    let recip = Scalar::from_f64(c.dtype(), 1.0 / c.to_f64());
    (mantissa == 0 && recip.to_f64().is_finite() && recip.to_f64().abs() >= least && c.to_f64() != 1.0).then_some(recip)
}

/// `min(x, x)`, `max(x, x)`, `x and x`, `x or x` `=> x`
fn same_operands(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    match g.op(m.root) {
        Some(Op::Binary(Binary::Min | Binary::Max | Binary::And | Binary::Or)) => same(g, m.root, m["x"]),
        _ => Err(Skip::NoEffect),
    }
}

/// `where(true, a, b) => a`, `where(false, a, b) => b`, expanded if need be
fn where_constant(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let Some(c) = g.constant(m["c"]).and_then(Constant::as_splat) else { return Err(Skip::NoEffect) };
    selected(g, m.root, if c.to_i64() != 0 { m["a"] } else { m["b"] })
}

/// `where(c, a, a) => a`, expanded if need be
fn where_same(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    selected(g, m.root, m["a"])
}

fn selected(g: &Graph, root: ValueId, x: ValueId) -> Result<Patch, Skip> {
    if g.ty(root) == g.ty(x) {
        return same(g, root, x);
    }
    let mut patch = Patch::new();
    let new = patch.add("", Op::Movement(Movement::Expand { shape: IntArg::Known(lasting(&g.ty(root).shape)?) }), [x]);
    patch.replace(root, new);
    Ok(patch)
}

/// `cast_c(cast_b(x)) => cast_c(x)` where `b` holds every number of `x`: nothing is lost, then or in the cast after it
fn cast_of_cast(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let (x, through) = (m["x"], operands(g, m.root)[0]);
    let (from, via, to) = (g.ty(x).dtype, g.ty(through).dtype, g.ty(m.root).dtype);
    if !via.holds(from) {
        return Err(Skip::NoEffect);
    }
    if from == to {
        return same(g, m.root, x);
    }
    let mut patch = Patch::new();
    let new = patch.add("", Op::Cast(Cast(to)), [x]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// `f(expand(x), c) => expand(f(x, c))` where `f` is elementwise and every operand is an expansion or one number
fn map_before_expand(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let Some(op) = g.op(m.root) else { return Err(Skip::NoEffect) };
    let inputs = operands(g, m.root);
    let mut sources = Vec::with_capacity(inputs.len());
    let mut expansions = 0;
    for &v in inputs {
        match g.op(v) {
            Some(Op::Movement(Movement::Expand { .. })) => {
                sources.push(operands(g, v)[0]);
                expansions += 1;
            }
            None if g.constant(v).is_some_and(|c| c.len() == 1) => sources.push(v),
            _ => return Err(Skip::NoEffect),
        }
    }
    let small = broadcast_shape(sources.iter().map(|&v| g.ty(v))).ok_or(Skip::NoEffect)?;
    if expansions == 0 || small == g.ty(m.root).shape {
        return Err(Skip::NoEffect);
    }
    let mut patch = Patch::new();
    let small = patch.add("small", op.clone(), sources);
    let new =
        patch.add("", Op::Movement(Movement::Expand { shape: IntArg::Known(lasting(&g.ty(m.root).shape)?) }), [small]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// `f(expand(x), y) => f(x, y)` where `f` is elementwise and broadcasts `x` to that shape anyway
fn implied_expand(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let inputs = operands(g, m.root);
    let source = |v: ValueId| match g.op(v) {
        Some(Op::Movement(Movement::Expand { .. })) => operands(g, v)[0],
        _ => v,
    };
    let mut new = inputs.to_vec();
    let mut changed = false;
    for i in 0..new.len() {
        let before = std::mem::replace(&mut new[i], source(inputs[i]));
        if new[i] == before {
            continue;
        }
        if broadcast_shape(new.iter().map(|&v| g.ty(v))).as_ref() == Some(&g.ty(m.root).shape) {
            changed = true;
        } else {
            new[i] = before;
        }
    }
    let Some(op) = g.op(m.root).filter(|_| changed) else { return Err(Skip::NoEffect) };
    let mut patch = Patch::new();
    let new = patch.add("", op.clone(), new);
    patch.replace(m.root, new);
    Ok(patch)
}

/// The shape that shapes broadcast to, unless that takes an invented dim.
fn broadcast_shape<'a>(types: impl Iterator<Item = &'a Type>) -> Option<Vec<Dim>> {
    let mut invented = false;
    let mut shape = Vec::new();
    for t in types {
        let mut fresh = || {
            invented = true;
            Dim::default()
        };
        shape = broadcast(&shape, &t.shape, &mut fresh).ok()?;
    }
    (!invented).then_some(shape)
}
