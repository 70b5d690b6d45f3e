//! Scaled dot-product attention from its parts.
//!
//! `scores` reads the way from the product with the values back to
//! `q . k^T`, `layout` follows axes through views, `heads` finds the values
//! before the split and after the merge of heads, `mask` the mask.

mod heads;
mod layout;
mod mask;
mod scores;

use crate::ir::{Attention, DType, Dim, Float, Graph, MaskKind, Op, Product, Scores, ValueId};
use crate::rewrite::{Match, Pass, Patch, Pattern, Rule, Rules, Skip, any, op};
use heads::{Ease, Operand, Source, best, best_pair, operands, result};
use layout::{Layout, views};

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    Box::new(Rules::new("attention", vec![Box::new(Core), Box::new(Heads)]))
}

/// The extents of scores `[batch, heads, queries, keys]`.
#[derive(Clone, Debug)]
struct Shape {
    batch: Dim,
    heads: usize,
    queries: Dim,
    keys: Dim,
}

/// `shape`, of an operand of or with the scores, with batch and heads as axes
/// of their own. If `fused`, an axis in front of the last two is both.
fn four(shape: &[Dim], scores: &Shape, fused: bool) -> Option<[Dim; 4]> {
    let one = Dim::int(1);
    Some(match shape {
        [b, h, x, y] => [b.clone(), h.clone(), x.clone(), y.clone()],
        [m, x, y] => {
            let (b, h) = if !fused || m.is(1) {
                (one, m.clone())
            } else if *m == &scores.batch * &scores.heads.into() {
                (scores.batch.clone(), scores.heads.into())
            } else {
                return None;
            };
            [b, h, x.clone(), y.clone()]
        }
        [x, y] => [one.clone(), one, x.clone(), y.clone()],
        [y] => [one.clone(), one.clone(), one, y.clone()],
        [] => [one.clone(), one.clone(), one.clone(), one],
        _ => return None,
    })
}

/// `softmax(q . k^T * scale + mask) . v => attention(q, k, v, mask)`
///
/// With the transpose of the keys in any form, factors anywhere, a mask that
/// is added or chooses a number, and heads split and merged around it by
/// reshapes and transposes.
struct Core;

impl Rule for Core {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn pattern(&self) -> Pattern {
        op(|op| matches!(op, Op::Product(Product::MatMul)), [any("weights"), any("values")])
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        let (first, weights) = scores::softmax(graph, m["weights"])?;
        let mut refused = Skip::check(format!("the scores %{} are not a matrix product", graph.name(first)));
        for way in scores::ways(graph, first) {
            match way.and_then(|path| attention(graph, m.root, m["values"], &weights, &path)) {
                Ok(patch) => return Ok(patch),
                Err(skip) => refused = skip,
            }
        }
        Err(refused)
    }
}

fn attention(
    graph: &Graph,
    root: ValueId,
    values: ValueId,
    weights: &[ValueId],
    path: &scores::Path,
) -> Result<Patch, Skip> {
    let product = graph.producer(path.product).map(|id| graph.node(id)).ok_or(Skip::NoEffect)?;
    let [queries, keys] = product.inputs[..] else { return Err(Skip::NoEffect) };
    let shape = score_shape(graph, root, weights, path, queries)?;
    let fused = |v: ValueId| graph.ty(v).rank() == 3;
    let see = |v: ValueId, fused: bool| {
        four(&graph.ty(v).shape, &shape, fused)
            .ok_or_else(|| Skip::check(format!("%{} does not have the batch and heads of the scores", graph.name(v))))
    };
    let q_shape = see(queries, fused(path.product))?;
    let k_shape = see(keys, fused(path.product))?;
    let v_shape = see(values, fused(root))?;
    let d_head = q_shape[3].as_usize().filter(|&d| d > 0);
    let d_head = d_head.ok_or_else(|| Skip::check(format!("d_head of %{} is not known", graph.name(queries))))?;
    let whole = q_shape[0] == shape.batch;
    let context = [shape.batch.clone(), shape.heads.into(), shape.queries.clone(), v_shape[3].clone()];

    let q = Source { value: queries, shape: q_shape, swapped: false, scaled: true, grouped: false, broadcast: false };
    let k = Source { value: keys, shape: k_shape, swapped: true, scaled: true, grouped: true, broadcast: whole };
    let v = Source { value: values, shape: v_shape, swapped: false, scaled: false, grouped: true, broadcast: whole };
    let (q_ways, k_ways, v_ways) = (operands(graph, &q), operands(graph, &k), operands(graph, &v));
    if k_ways.is_empty() {
        return Err(Skip::check(format!("%{} is no transpose of keys", graph.name(keys))));
    }
    let q = best(&q_ways, shape.heads).ok_or_else(|| {
        Skip::check(format!("queries %{} do not have the {} heads of the scores", graph.name(queries), shape.heads))
    })?;
    let (k, v) = best_pair(&k_ways, &v_ways)
        .ok_or_else(|| Skip::check(format!("%{} and %{} differ in heads", graph.name(keys), graph.name(values))))?;
    if shape.heads % k.heads != 0 {
        return Err(Skip::check(format!("{} heads over {} key heads", shape.heads, k.heads)));
    }
    if [q, k, v].iter().all(|o| o.batch != shape.batch) {
        return Err(Skip::check("the batch of the scores is that of the mask alone"));
    }

    let mut patch = Patch::new();
    let mut inputs = vec![q.build(&mut patch, "q"), k.build(&mut patch, "k"), v.build(&mut patch, "v")];
    let masking = mask::masking(graph, &path.masks, &shape, &mut patch)?;
    inputs.extend(masking.operand);
    let out = result(graph, root, &context)
        .ok_or_else(|| Skip::check(format!("the axes of %{} cannot be followed", graph.name(root))))?;
    let op = Attention {
        heads: shape.heads,
        kv_heads: k.heads,
        d_head,
        scale: scale(graph.ty(root).dtype, path.factor * q.factor * k.factor)?,
        merged: out.merged,
        mask: masking.kind,
        causal: masking.causal,
        // The recognised ops have a softmax, and that is NaN there.
        zero_hidden: false,
        scores: Scores::Exact,
    };
    out.build(&mut patch, Op::Attention(op), inputs);
    patch.consume(path.values.iter().chain(weights).copied());
    Ok(patch)
}

/// The extents of the scores, with batch and heads told apart.
fn score_shape(
    graph: &Graph,
    root: ValueId,
    weights: &[ValueId],
    path: &scores::Path,
    queries: ValueId,
) -> Result<Shape, Skip> {
    let shapes = || {
        let more = weights.iter().chain([&root]).map(|&v| &graph.ty(v).shape);
        path.shapes.iter().chain(more)
    };
    let product = &graph.ty(path.product).shape;
    if let Some(s) = shapes().find(|s| s.len() > 4 || s.len() < 2) {
        return Err(Skip::check(format!("scores or result of rank {}", s.len())));
    }
    let [.., seq_q, seq_k] = product.as_slice() else { return Err(Skip::NoEffect) };
    let (batch, heads) = if let Some(s) = shapes().find(|s| s.len() == 4) {
        let heads = s[1]
            .as_usize()
            .ok_or_else(|| Skip::check(format!("the number of heads of %{} is not known", graph.name(path.product))))?;
        // The batch of the result: that of the scores may be one.
        let batch = shapes().filter(|s| s.len() == 4).map(|s| &s[0]).find(|b| !b.is(1)).unwrap_or(&s[0]);
        (batch.clone(), heads)
    } else if product.len() == 3 {
        fused_batch(graph, queries)
    } else {
        (Dim::int(1), 1)
    };
    Ok(Shape { batch, heads, queries: seq_q.clone(), keys: seq_k.clone() })
}

/// Batch and heads of queries `[batch * heads, seq, d]`: the heads are what
/// was in one axis with `d`. One head, if that cannot be seen.
fn fused_batch(graph: &Graph, queries: ValueId) -> (Dim, usize) {
    let whole = graph.ty(queries).shape[0].clone();
    let path: Vec<_> = views(graph, queries, true).into_iter().map(|p| p.0).collect();
    for i in (0..path.len()).rev() {
        let Some(layout) = Layout::along(graph, &path[..=i]) else { continue };
        let [axis, _, width] = layout.axes.as_slice() else { continue };
        let Some((&last, outer)) = axis.split_last() else { continue };
        let together = width.first().is_some_and(|&d| layout.base.iter().any(|g| g.windows(2).any(|w| w == [last, d])));
        if (together || !outer.is_empty())
            && !layout.is_copies(last)
            && let Some(heads) = layout.atom_extent(last).as_usize()
        {
            return (layout.extent(outer), heads);
        }
    }
    (whole, 1)
}

/// `attention(split(q), split(k), split(v)) => attention(q, k, v)` and
/// `merge(attention(..)) => attention(..)`, for an attention of any origin
struct Heads;

impl Rule for Heads {
    fn name(&self) -> &'static str {
        "attention-heads"
    }

    fn pattern(&self) -> Pattern {
        one_attention()
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        let id = graph.producer(m.root).ok_or(Skip::NoEffect)?;
        let node = graph.node(id);
        let Op::Attention(a) = &node.op else { return Err(Skip::NoEffect) };
        let mut a = a.clone();
        let mut patch = Patch::new();
        let mut changed = false;
        let [q, k, v] = node.inputs[..3] else { return Err(Skip::NoEffect) };
        let ways = |value: ValueId, scaled: bool, grouped: bool| -> Vec<Operand> {
            let Ok(shape) = <[Dim; 4]>::try_from(graph.ty(value).shape.clone()) else { return Vec::new() };
            operands(graph, &Source { value, shape, swapped: false, scaled, grouped, broadcast: false })
        };
        let better = |o: &&Operand| o.ease >= Ease::MergedByTranspose;
        let mut inputs: Vec<_> = node.inputs.iter().map(|&v| v.into()).collect();
        let mut scale = f64::from(a.scale.0);
        if let Some(o) = best(&ways(q, true, false), a.heads).filter(better) {
            (inputs[0], changed, scale) = (o.build(&mut patch, "q"), true, scale * o.factor);
        }
        let (k_ways, v_ways) = (ways(k, true, true), ways(v, false, true));
        if let Some((k, v)) = best_pair(&k_ways, &v_ways)
            && (k.heads < a.kv_heads || better(&k) && better(&v))
            && a.heads % k.heads == 0
        {
            (inputs[1], changed, scale) = (k.build(&mut patch, "k"), true, scale * k.factor);
            (inputs[2], a.kv_heads) = (v.build(&mut patch, "v"), k.heads);
        }
        a.scale = self::scale(graph.ty(m.root).dtype, scale)?;
        let shape = <[Dim; 4]>::try_from(graph.ty(m.root).shape.clone()).ok().filter(|_| !a.merged);
        let out = shape.and_then(|s| result(graph, m.root, &s)).filter(|out| out.merged);
        a.merged |= out.is_some();
        if !changed && out.is_none() {
            return Err(Skip::NoEffect);
        }
        match out {
            Some(out) => out.build(&mut patch, Op::Attention(a), inputs),
            None => {
                let new = patch.add("", Op::Attention(a), inputs);
                patch.replace(m.root, new);
            }
        }
        Ok(patch)
    }
}

/// An attention, with a mask or without.
fn one_attention() -> Pattern {
    let with = |n: usize| {
        let operands = ["q", "k", "v", "mask"].map(any).into_iter().take(n);
        op(move |op| matches!(op, Op::Attention(a) if (n == 3) == (a.mask == MaskKind::None)), operands)
    };
    crate::rewrite::one_of([with(3), with(4)])
}

/// A factor of scores of a dtype as the op has it, in f32.
fn scale(dtype: DType, factor: f64) -> Result<Float, Skip> {
    if dtype == DType::F64 && f64::from(factor as f32) != factor {
        return Err(Skip::check(format!("the scale {factor} of f64 has more digits than f32")));
    }
    Ok(Float(factor as f32))
}
