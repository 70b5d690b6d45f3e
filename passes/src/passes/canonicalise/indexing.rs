//! Rules on picking parts of a tensor: a gather that is a cut becomes one, and
//! cuts move to the source, so that a part of a packed tensor (q, k, v of one
//! projection) is a view of it.

use super::{known, lasting};
use crate::ir::{Dim, Graph, Index, IntArg, Movement, Op, Slice};
use crate::rewrite::{Match, Patch, Rule, Skip, any, constant, op, rule};

pub(super) fn rules() -> Vec<Box<dyn Rule>> {
    let is_gather = |op: &Op| matches!(op, Op::Index(Index::Gather { .. }));
    let is_slice = |op: &Op| matches!(op, Op::Movement(Movement::Slice(_)));
    let is_transpose = |op: &Op| matches!(op, Op::Movement(Movement::Transpose { .. }));
    let is_reshape = |op: &Op| matches!(op, Op::Movement(Movement::Reshape { .. }));
    vec![
        rule("gather-is-slice", op(is_gather, [any("x"), constant("i")]), gather_is_slice),
        rule("slice-before-transpose", op(is_slice, [op(is_transpose, [any("x")]).named("t")]), slice_before_transpose),
        rule("slice-before-reshape", op(is_slice, [op(is_reshape, [any("x")]).named("r")]), slice_before_reshape),
    ]
}

/// A cut along one axis.
fn cut(axis: usize, start: i64, end: i64) -> Op {
    let one = |v: i64| IntArg::Known(vec![Dim::int(v)]);
    Op::Movement(Movement::Slice(Slice { axes: vec![axis], starts: one(start), ends: one(end), steps: one(1) }))
}

/// `gather(x, [i, i + 1, ..]) => x[i..]`, and with one scalar index a reshape that drops the axis
fn gather_is_slice(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let (Some(Op::Index(Index::Gather { axis })), Some(index)) = (g.op(m.root), g.constant(m["i"])) else {
        return Err(Skip::NoEffect);
    };
    // Long index tables are lookups, not ranges: do not read them through.
    if index.shape().len() > 1 || index.is_empty() || index.len() > 1 << 16 {
        return Err(Skip::NoEffect);
    }
    let at = index.to_i64s().ok_or(Skip::NoEffect)?;
    if at.windows(2).any(|w| w[0].checked_add(1) != Some(w[1])) {
        return Err(Skip::NoEffect);
    }
    let (first, last) = (at[0], at[at.len() - 1]);
    if first < 0 && last >= 0 {
        return Err(Skip::NoEffect);
    }
    let extent = &g.ty(m["x"]).shape[*axis];
    match extent.as_int() {
        Some(n) if first < -n || last >= n => {
            return Err(Skip::check(format!("index {first} to {last} of an axis of {n}")));
        }
        // A cut of an axis of unknown extent may come out short where a gather fails.
        None if first != 0 && first != -1 || index.len() > 1 => return Err(Skip::NoEffect),
        _ => {}
    }
    let (start, end) = match extent.as_int() {
        Some(n) if first < 0 => (first + n, last + n + 1),
        _ => (first, if last == -1 { i64::MAX } else { last + 1 }),
    };
    let mut patch = Patch::new();
    let slice = cut(*axis, start, end);
    let new = if index.shape().is_empty() {
        let sliced = patch.add("slice", slice, [m["x"]]);
        patch.add("", Op::reshape(lasting(&g.ty(m.root).shape)?), [sliced])
    } else {
        patch.add("", slice, [m["x"]])
    };
    patch.replace(m.root, new);
    Ok(patch)
}

/// `slice(transpose(x)) => transpose(slice(x))`
fn slice_before_transpose(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let (Some(Op::Movement(Movement::Slice(s))), Some(Op::Movement(Movement::Transpose { perm }))) =
        (g.op(m.root), g.op(m["t"]))
    else {
        return Err(Skip::NoEffect);
    };
    let (starts, ends, steps) = (known(&s.starts)?, known(&s.ends)?, known(&s.steps)?);
    let mut by_axis: Vec<(usize, usize)> = s.axes.iter().enumerate().map(|(i, &a)| (perm[a], i)).collect();
    by_axis.sort();
    let sorted = |v: &[Dim]| IntArg::Known(by_axis.iter().map(|&(_, i)| v[i].clone()).collect());
    let moved = Slice {
        axes: by_axis.iter().map(|a| a.0).collect(),
        starts: sorted(starts),
        ends: sorted(ends),
        steps: sorted(steps),
    };
    let mut patch = Patch::new();
    let sliced = patch.add("slice", Op::Movement(Movement::Slice(moved)), [m["x"]]);
    let new = patch.add("", Op::Movement(Movement::Transpose { perm: perm.clone() }), [sliced]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// `reshape(x [.., 3*n, ..] -> [.., 3, n, ..])[.., i..j, ..] => reshape(x[.., i*n..j*n, ..])`
fn slice_before_reshape(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let Some(Op::Movement(Movement::Slice(s))) = g.op(m.root) else { return Err(Skip::NoEffect) };
    let ([axis], [start], [end], [step]) = (s.axes.as_slice(), known(&s.starts)?, known(&s.ends)?, known(&s.steps)?)
    else {
        return Err(Skip::NoEffect);
    };
    let (from, to) = (&g.ty(m["x"]).shape, &g.ty(m["r"]).shape);
    let axis = *axis;
    // to = from with the axis split into a group that begins with the one that is cut
    let group = (to.len() + 1).checked_sub(from.len()).filter(|&n| n >= 2).ok_or(Skip::NoEffect)?;
    if axis >= from.len() || from[..axis] != to[..axis] || from[axis + 1..] != to[axis + group..] {
        return Err(Skip::NoEffect);
    }
    let numbers: Option<Vec<i64>> = to[axis..axis + group].iter().map(Dim::as_int).collect();
    let numbers = numbers.ok_or(Skip::NoEffect)?;
    let inner = numbers[1..].iter().try_fold(1i64, |p, &n| p.checked_mul(n)).ok_or(Skip::NoEffect)?;
    let (Some(start), Some(end)) = (start.as_int(), end.as_int()) else { return Err(Skip::NoEffect) };
    if !step.is(1) || inner.checked_mul(numbers[0]) != from[axis].as_int() {
        return Err(Skip::NoEffect);
    }
    let (first, count) = crate::ir::slice_bounds(numbers[0], start, end, 1);
    let mut patch = Patch::new();
    let sliced = patch.add("slice", cut(axis, first * inner, (first + count) * inner), [m["x"]]);
    let new = patch.add("", Op::reshape(lasting(&g.ty(m.root).shape)?), [sliced]);
    patch.replace(m.root, new);
    Ok(patch)
}
