//! Rules on ops that move elements without computing: transposes, reshapes,
//! expansions, cuts and joins that do nothing, or undo or repeat each other.

use super::{known, lasting, same};
use crate::ir::{Dim, Fold, Graph, IntArg, Movement, Op, Reduce, Slice, ValueId, slice_bounds};
use crate::rewrite::{Match, Patch, Ref, Rule, Skip, any, leaf, op, rule};

pub(super) fn rules() -> Vec<Box<dyn Rule>> {
    let is_reshape = |op: &Op| matches!(op, Op::Movement(Movement::Reshape { shape: IntArg::Known(_), .. }));
    let is_expand = |op: &Op| matches!(op, Op::Movement(Movement::Expand { shape: IntArg::Known(_) }));
    let is_transpose = |op: &Op| matches!(op, Op::Movement(Movement::Transpose { .. }));
    let is_reduce = |op: &Op| matches!(op, Op::Reduce(Reduce::Fold(r)) if !r.keep_dims);
    let reduces = |op: &Op| matches!(op, Op::Reduce(Reduce::Fold(r)) if !r.axes.is_empty());
    let is_slice = |op: &Op| matches!(op, Op::Movement(Movement::Slice(_)));
    let reshaped = leaf("y", |g, v| matches!(g.op(v), Some(Op::Movement(Movement::Reshape { .. }))));
    vec![
        rule("identity", leaf("y", |g, v| g.op(v).is_some_and(may_be_identity)), identity),
        rule("transpose-of-transpose", op(is_transpose, [op(is_transpose, [any("x")]).named("t")]), double_transpose),
        rule("reshape-of-reshape", op(is_reshape, [reshaped]), double_reshape),
        rule("keep-dims", op(is_reshape, [op(is_reduce, [any("x")]).named("r")]), keep_dims),
        rule("expand-of-expand", op(is_expand, [op(is_expand, [any("x")])]), double_expand),
        rule("reduce-before-expand", op(reduces, [op(is_expand, [any("x")]).named("e")]), reduce_before_expand),
        rule("slice-bounds", op(is_slice, [any("x")]), plain_bounds),
        rule("slice-of-slice", op(is_slice, [op(is_slice, [any("x")]).named("s")]), double_slice),
        rule("drop-unit-before-transpose", op(is_reshape, [op(is_transpose, [any("x")]).named("t")]), drop_unit),
    ]
}

/// Rules for behind the recognisers, which look for transposes.
pub(super) fn late_rules() -> Vec<Box<dyn Rule>> {
    let is_transpose = |op: &Op| matches!(op, Op::Movement(Movement::Transpose { .. }));
    vec![rule("unit-transpose", op(is_transpose, [any("x")]), unit_transpose)]
}

fn may_be_identity(op: &Op) -> bool {
    match op {
        Op::Movement(Movement::Transpose { perm }) => perm.is_sorted(),
        Op::Movement(Movement::Slice(s)) => matches!(&s.steps, IntArg::Known(v) if v.iter().all(|d| d.is(1))),
        Op::Movement(Movement::Pad(p)) => matches!(&p.pads, IntArg::Known(v) if v.iter().all(|d| d.is(0))),
        Op::Reduce(Reduce::Fold(r)) => r.axes.is_empty(),
        Op::Movement(Movement::Reshape { .. } | Movement::Expand { .. })
        | Op::Cast(_)
        | Op::Movement(Movement::Tile { .. }) => true,
        Op::Movement(Movement::Concat { .. }) => true,
        _ => false,
    }
}

/// A transpose, reshape, slice, expand, pad, tile, cast, concat or reduction to the type that `x` has `=> x`
fn identity(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let inputs = g.producer(m.root).map(|n| g.node(n).inputs.as_slice()).unwrap_or_default();
    match (g.op(m.root), inputs) {
        (Some(Op::Movement(Movement::Concat { .. })), [x]) => same(g, m.root, *x),
        (Some(Op::Movement(Movement::Concat { .. })), _) => Err(Skip::NoEffect),
        (_, [x, ..]) => same(g, m.root, *x),
        _ => Err(Skip::NoEffect),
    }
}

/// The permutation of the transpose that makes `v`.
fn perm(g: &Graph, v: ValueId) -> Result<&[usize], Skip> {
    match g.op(v) {
        Some(Op::Movement(Movement::Transpose { perm })) => Ok(perm),
        _ => Err(Skip::NoEffect),
    }
}

/// `transpose_p(transpose_q(x)) => transpose_qp(x)`
fn double_transpose(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let (outer, inner) = (perm(g, m.root)?, perm(g, m["t"])?);
    let perm = outer.iter().map(|&p| inner[p]).collect();
    let mut patch = Patch::new();
    let new = patch.add("", Op::Movement(Movement::Transpose { perm }), [m["x"]]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// `reshape(reshape(x)) => reshape(x)`
fn double_reshape(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let Some(inner) = g.producer(m["y"]).map(|n| g.node(n).inputs[0]) else { return Err(Skip::NoEffect) };
    let mut patch = Patch::new();
    let new = patch.add("", Op::reshape(lasting(&g.ty(m.root).shape)?), [inner]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// `reshape(reduce(x)) => reduce(x) {keep_dims = true}` where the reshape puts the axes back
fn keep_dims(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let Some(Op::Reduce(Reduce::Fold(r))) = g.op(m["r"]) else { return Err(Skip::NoEffect) };
    let mut kept = g.ty(m["x"]).shape.clone();
    r.axes.iter().for_each(|&a| kept[a] = Dim::int(1));
    // With another user there would be two reductions instead of one.
    if kept != g.ty(m.root).shape || g.use_count(m["r"]) > 1 {
        return Err(Skip::NoEffect);
    }
    let mut patch = Patch::new();
    let new = patch.add("", Op::Reduce(Reduce::Fold(Fold { keep_dims: true, ..r.clone() })), [m["x"]]);
    patch.replace(m.root, new);
    patch.consume([m["r"]]);
    Ok(patch)
}

/// `expand(expand(x)) => expand(x)`
fn double_expand(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let mut patch = Patch::new();
    let shape = IntArg::Known(lasting(&g.ty(m.root).shape)?);
    let new = patch.add("", Op::Movement(Movement::Expand { shape }), [m["x"]]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// `reduce(expand(x)) => expand(reduce(x))`, of which `x` is only expanded along the axes that are reduced: the same numbers
/// are reduced, once instead of once for each copy
fn reduce_before_expand(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let Some(Op::Reduce(Reduce::Fold(r))) = g.op(m.root) else { return Err(Skip::NoEffect) };
    let (from, to) = (&g.ty(m["x"]).shape, &g.ty(m["e"]).shape);
    let added = to.len().checked_sub(from.len()).ok_or(Skip::NoEffect)?;
    let own = |axis: usize| axis.checked_sub(added).map_or(Dim::int(1), |a| from[a].clone());
    let extent = |(axis, d): (usize, &Dim)| if r.axes.contains(&axis) { d.clone() } else { own(axis) };
    let narrow: Vec<Dim> = to.iter().enumerate().map(extent).collect();
    if narrow == *to {
        return Err(Skip::NoEffect);
    }
    let mut patch = Patch::new();
    let mut x = Ref::from(m["x"]);
    if narrow != *from {
        x = patch.add("narrow", Op::Movement(Movement::Expand { shape: IntArg::Known(lasting(&narrow)?) }), [x]);
    }
    let small = patch.add("small", Op::Reduce(Reduce::Fold(r.clone())), [x]);
    let new =
        patch.add("", Op::Movement(Movement::Expand { shape: IntArg::Known(lasting(&g.ty(m.root).shape)?) }), [small]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// `x[-3..9] => x[2..5]` on an axis of 5; an axis that is not cut is not mentioned
fn plain_bounds(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let Some(Op::Movement(Movement::Slice(s))) = g.op(m.root) else { return Err(Skip::NoEffect) };
    let (starts, ends, steps) = (known(&s.starts)?, known(&s.ends)?, known(&s.steps)?);
    let (from, to) = (&g.ty(m["x"]).shape, &g.ty(m.root).shape);
    let mut axes = Vec::new();
    let mut bounds = [Vec::new(), Vec::new(), Vec::new()];
    for (i, &axis) in s.axes.iter().enumerate() {
        let mut cut = [starts[i].clone(), ends[i].clone(), steps[i].clone()];
        if cut[2].is(1) {
            if from[axis] == to[axis] {
                continue;
            }
            if let (Some(n), Some(start), Some(end)) = (from[axis].as_int(), cut[0].as_int(), cut[1].as_int()) {
                let (first, count) = slice_bounds(n, start, end, 1);
                (cut[0], cut[1]) = (Dim::int(first), Dim::int(first + count));
            }
        }
        axes.push(axis);
        for (all, one) in bounds.iter_mut().zip(cut) {
            all.push(one);
        }
    }
    let [starts, ends, steps] = bounds.map(IntArg::Known);
    let plain = Slice { axes, starts, ends, steps };
    if plain == *s {
        return Err(Skip::NoEffect);
    }
    let mut patch = Patch::new();
    let new = patch.add("", Op::Movement(Movement::Slice(plain)), [m["x"]]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// `x[.., a..b][.., c..d] => x[.., a+c .. a+d]`, and cuts along different axes in one
fn double_slice(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let (Some(Op::Movement(Movement::Slice(outer))), Some(Op::Movement(Movement::Slice(inner)))) =
        (g.op(m.root), g.op(m["s"]))
    else {
        return Err(Skip::NoEffect);
    };
    let mut cuts = Vec::new();
    for (s, first) in [(inner, true), (outer, false)] {
        let (starts, ends, steps) = (known(&s.starts)?, known(&s.ends)?, known(&s.steps)?);
        for (i, &axis) in s.axes.iter().enumerate() {
            let cut = (axis, starts[i].clone(), ends[i].clone(), steps[i].clone());
            match cuts.iter_mut().find(|c: &&mut (usize, Dim, Dim, Dim)| !first && c.0 == axis) {
                None => cuts.push(cut),
                Some(c) => {
                    let extent = g.ty(m.root).shape[axis].as_int().ok_or(Skip::NoEffect)?;
                    let plain = |d: &Dim| d.as_int().filter(|&v| v >= 0).ok_or(Skip::NoEffect);
                    if !c.3.is(1) || !cut.3.is(1) {
                        return Err(Skip::NoEffect);
                    }
                    let start = plain(&c.1)?.checked_add(plain(&cut.1)?).ok_or(Skip::NoEffect)?;
                    c.1 = Dim::int(start);
                    c.2 = Dim::int(start.checked_add(extent).ok_or(Skip::NoEffect)?);
                }
            }
        }
    }
    cuts.sort_by_key(|c| c.0);
    let mut slice = Slice {
        axes: Vec::new(),
        starts: IntArg::Known(cuts.iter().map(|c| c.1.clone()).collect()),
        ends: IntArg::Known(cuts.iter().map(|c| c.2.clone()).collect()),
        steps: IntArg::Known(cuts.iter().map(|c| c.3.clone()).collect()),
    };
    slice.axes.extend(cuts.iter().map(|c| c.0));
    let mut patch = Patch::new();
    let new = patch.add("", Op::Movement(Movement::Slice(slice)), [m["x"]]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// `reshape(transpose(x)) => transpose(reshape(x))` where the reshape only drops axes of extent 1:
/// what remains is the transpose a recogniser looks for
fn drop_unit(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let perm = perm(g, m["t"])?;
    let (from, to) = (&g.ty(m["t"]).shape, &g.ty(m.root).shape);
    if to.len() >= from.len() {
        return Err(Skip::NoEffect);
    }
    let mut kept = Vec::new();
    for (axis, d) in from.iter().enumerate() {
        if to.get(kept.len()) == Some(d) {
            kept.push(axis);
        } else if !d.is(1) {
            return Err(Skip::NoEffect);
        }
    }
    if kept.len() != to.len() {
        return Err(Skip::NoEffect);
    }
    // The axes of x that stay, in the order x has them.
    let mut sources: Vec<usize> = kept.iter().map(|&a| perm[a]).collect();
    sources.sort();
    let place = |a: usize| sources.iter().position(|&s| s == perm[a]).unwrap_or_default();
    let new_perm: Vec<usize> = kept.iter().map(|&a| place(a)).collect();
    let shape: Vec<Dim> = sources.iter().map(|&s| g.ty(m["x"]).shape[s].clone()).collect();
    let mut patch = Patch::new();
    let narrow = patch.add("narrow", Op::reshape(lasting(&shape)?), [m["x"]]);
    let new = patch.add("", Op::Movement(Movement::Transpose { perm: new_perm }), [narrow]);
    patch.replace(m.root, new);
    Ok(patch)
}

/// `transpose(x) => reshape(x)` where only axes of extent 1 move
fn unit_transpose(g: &Graph, m: &Match) -> Result<Patch, Skip> {
    let shape = &g.ty(m["x"]).shape;
    let moving: Vec<_> = perm(g, m.root)?.iter().filter(|&&p| !shape[p].is(1)).collect();
    if !moving.is_sorted() {
        return Err(Skip::NoEffect);
    }
    let mut patch = Patch::new();
    let new = patch.add("", Op::reshape(lasting(&g.ty(m.root).shape)?), [m["x"]]);
    patch.replace(m.root, new);
    Ok(patch)
}
