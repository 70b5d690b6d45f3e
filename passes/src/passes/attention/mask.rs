//! Masks of an attention: which value serves, how several become one, and
//! which is causal and needs no operand.

use super::layout::{Layout, views};
use super::scores::Mask;
use super::{Shape, four};
use crate::ir::{Binary, Constant, DType, Dim, Float, Graph, IntArg, MaskKind, Movement, Op, Slice, ValueId, is_fresh};
use crate::rewrite::{Patch, Ref, Skip};

/// The mask operand and attributes of an attention.
#[derive(Clone, Debug)]
pub(super) struct Masking {
    /// The operand, if there is one.
    pub operand: Option<Ref>,
    /// How it is applied.
    pub kind: MaskKind,
    /// True if later keys are hidden.
    pub causal: bool,
}

/// A value that is a mask: what to reshape it to, if anything, and its shape as `[batch, heads, seq_q, seq_k]`.
struct Plan {
    value: ValueId,
    shape: Option<Vec<Dim>>,
    four: [Dim; 4],
    kind: MaskKind,
}

/// One mask out of those between the scores and the softmax.
pub(super) fn masking(graph: &Graph, masks: &[Mask], scores: &Shape, patch: &mut Patch) -> Result<Masking, Skip> {
    let mut rest: Vec<&Mask> = masks.iter().collect();
    // A row that is hidden as a whole has equal weights under a lowest finite fill, so it must be the only mask.
    let strict = masks.len() > 1;
    let causal = rest.iter().position(|m| is_causal(graph, m, scores, strict));
    if let Some(i) = causal {
        rest.remove(i);
    }
    let causal = causal.is_some();
    let mut plans = rest.into_iter().map(|m| plan(graph, m, scores)).collect::<Result<Vec<_>, _>>()?.into_iter();
    let Some(first) = plans.next() else { return Ok(Masking { operand: None, kind: MaskKind::None, causal }) };
    let kind = first.kind;
    let mut extents = first.four.clone();
    let mut operand = build(&first, patch);
    for next in plans {
        let join = match (kind, next.kind) {
            (MaskKind::Additive, MaskKind::Additive) => Binary::Add,
            (MaskKind::Keep { .. }, other) if other == kind => Binary::And,
            (MaskKind::Drop { .. }, other) if other == kind => Binary::Or,
            _ => {
                let (a, b) = (graph.name(first.value), graph.name(next.value));
                return Err(Skip::check(format!("masks %{a} and %{b} are applied in different ways")));
            }
        };
        let joined = broadcast(&extents, &next.four).filter(|s| {
            // A joined mask of the size of the scores would cost what it saves.
            *s == extents || *s == next.four || s[1].is(1) && scores.heads > 1
        });
        let Some(joined) = joined else {
            let (a, b) = (graph.name(first.value), graph.name(next.value));
            return Err(Skip::check(format!("masks %{a} and %{b} together are as large as the scores")));
        };
        extents = joined;
        let other = build(&next, patch);
        operand = patch.add("mask", Op::Binary(join), [operand, other]);
    }
    Ok(Masking { operand: Some(operand), kind, causal })
}

fn build(plan: &Plan, patch: &mut Patch) -> Ref {
    match &plan.shape {
        Some(s) => patch.add("mask", Op::reshape(s.iter().cloned()), [plan.value]),
        None => plan.value.into(),
    }
}

fn broadcast(a: &[Dim; 4], b: &[Dim; 4]) -> Option<[Dim; 4]> {
    let mut out = a.clone();
    for (x, y) in out.iter_mut().zip(b) {
        if x.is(1) {
            *x = y.clone();
        } else if !y.is(1) && x != y {
            return None;
        }
    }
    Some(out)
}

/// The value furthest up that broadcasts to the scores as the mask does.
fn plan(graph: &Graph, mask: &Mask, scores: &Shape) -> Result<Plan, Skip> {
    let refuse = |what: &str| Skip::check(format!("mask %{} {what}", graph.name(mask.value)));
    let shape = four(&graph.ty(mask.value).shape, scores, mask.scores.len() == 3)
        .ok_or_else(|| refuse("does not broadcast to batch and heads"))?;
    // A mask that is larger makes the result larger. Two different names are taken to be one extent, as
    // exporters name the axes of every input anew; the plan checks it.
    let whole = [&scores.batch, &scores.heads.into(), &scores.queries, &scores.keys];
    let larger = |m: &Dim, s: &Dim| !m.is(1) && (s.is(1) || (m - s).as_int().is_some_and(|d| d != 0));
    if shape.iter().zip(whole).any(|(m, s)| larger(m, s)) {
        return Err(refuse("does not broadcast to the scores"));
    }
    let path = views(graph, mask.value, false);
    let values: Vec<_> = path.iter().map(|p| p.0).collect();
    let mut found: Option<Plan> = None;
    for i in 0..values.len() {
        let Some(mut layout) = Layout::along(graph, &values[..=i]) else { continue };
        if layout.reshape(&shape).is_none() {
            continue;
        }
        let want: Vec<_> = layout.axes.iter().map(|g| layout.without_copies(g)).collect();
        let partly = layout.axes.iter().zip(&want).any(|(g, w)| !w.is_empty() && w.len() != g.len());
        let Some(leading) = 4usize.checked_sub(layout.base.len()) else { continue };
        if partly {
            continue;
        }
        let extents: Vec<Dim> = want.iter().map(|g| layout.extent(g)).collect();
        let Ok(four) = <[Dim; 4]>::try_from(extents.clone()) else { continue };
        let whole = want[..leading].iter().all(Vec::is_empty) && layout.base == want[leading..];
        if whole {
            found = Some(Plan { value: values[i], shape: None, four, kind: mask.kind });
        } else if layout.base.concat() == want.concat()
            && found.as_ref().is_none_or(|f| f.shape.is_some())
            && !extents.iter().any(is_fresh)
        {
            found = Some(Plan { value: values[i], shape: Some(extents), four, kind: mask.kind });
        }
    }
    found.ok_or_else(|| refuse("has batch and heads in one axis that cannot be told apart"))
}

/// True if a mask is a constant that hides every later key and nothing else.
fn is_causal(graph: &Graph, mask: &Mask, scores: &Shape, strict: bool) -> bool {
    // One row or column for all of the scores is no triangle, though a matrix of one element looks like one.
    let whole = |m: Option<&Dim>, s: &Dim| m.is_some_and(|m| !m.is(1) || s.is(1));
    let mut extents = graph.ty(mask.value).shape.iter().rev();
    if !whole(extents.next(), &scores.keys) || !whole(extents.next(), &scores.queries) {
        return false;
    }
    let Some((constant, first)) = triangle(graph, mask.value) else { return false };
    // Row i of the scores is row i + first[0] of the constant, and likewise columns.
    if &first[0] - &first[1] != &scores.keys - &scores.queries {
        return false;
    }
    let dtype = constant.dtype();
    let hides = |n: f64| n == f64::NEG_INFINITY || !strict && n == lowest(dtype);
    let fill = |f: Float| f.0 == f32::NEG_INFINITY || !strict && f.0 == f32::MIN;
    let (visible, hidden): (&dyn Fn(f64) -> bool, &dyn Fn(f64) -> bool) = match mask.kind {
        MaskKind::Additive => (&|n| n == 0.0, &hides),
        MaskKind::Keep { fill: f } if fill(f) => (&|n| n != 0.0, &|n| n == 0.0),
        MaskKind::Drop { fill: f } if fill(f) => (&|n| n == 0.0, &|n| n != 0.0),
        _ => return false,
    };
    let Some(columns) = constant.shape().last().copied().filter(|&n| n > 0) else { return false };
    let Some(mut elements) = constant.scalars() else { return false };
    let mut i = 0;
    elements.all(|x| {
        let (row, column) = (i / columns, i % columns);
        i += 1;
        if column <= row { visible(x.to_f64()) } else { hidden(x.to_f64()) }
    })
}

fn lowest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => -65504.0,
        DType::BF16 => f64::from(half::bf16::MIN.to_f32()),
        DType::F64 => f64::MIN,
        _ => f64::from(f32::MIN),
    }
}

/// The constant matrix a mask is cut from, and its first row and column.
fn triangle(graph: &Graph, mask: ValueId) -> Option<(&Constant, [Dim; 2])> {
    let mut first = [Dim::int(0), Dim::int(0)];
    let mut v = mask;
    loop {
        let shape = &graph.ty(v).shape;
        let (_, leading) = shape.split_last_chunk::<2>().map(|(l, m)| (m, l))?;
        if leading.iter().any(|d| !d.is(1)) {
            return None;
        }
        if let Some(c) = graph.constant(v) {
            return Some((c, first));
        }
        let node = graph.node(graph.producer(v)?);
        let x = *node.inputs.first()?;
        match &node.op {
            Op::Movement(Movement::Reshape { .. }) => {
                let from = &graph.ty(x).shape;
                if from.len() < 2 || from[from.len() - 2..] != shape[shape.len() - 2..] {
                    return None;
                }
            }
            Op::Movement(Movement::Slice(s)) => {
                let starts = starts(graph, s, &node.inputs)?;
                for (&axis, start) in s.axes.iter().zip(starts) {
                    // A negative start counts from the end; one that is known not to be is followed.
                    if start.as_int().is_some_and(|n| n < 0) {
                        return None;
                    }
                    match (axis + 2).checked_sub(shape.len()) {
                        Some(i) => first[i] = &first[i] + &start,
                        None if start.is(0) => {}
                        None => return None,
                    }
                }
            }
            _ => return None,
        }
        v = x;
    }
}

/// First entries of a slice without strides.
fn starts(graph: &Graph, s: &Slice, operands: &[ValueId]) -> Option<Vec<Dim>> {
    let mut rest = operands[1..].iter();
    let mut take = |arg: &IntArg| match arg {
        IntArg::Known(v) => Some(v.clone()),
        IntArg::Operand => graph.value(*rest.next()?).ints.clone(),
    };
    let (starts, _) = (take(&s.starts)?, take(&s.ends)?);
    take(&s.steps)?.iter().all(|d| d.is(1)).then_some(starts)
}
