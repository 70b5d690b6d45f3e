//! From the product with the values back to `q . k^T`: softmax, masks and
//! factors on the way.

use super::layout::factor;
use crate::ir::{Binary, Cast, DType, Dim, Float, Graph, MaskKind, Movement, Norm, Op, Product, Unary, ValueId, Where};
use crate::rewrite::Skip;

/// A mask on the way from the scores to the softmax.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    /// The mask.
    pub value: ValueId,
    /// How it is applied.
    pub kind: MaskKind,
    /// The shape of the scores where it is applied.
    pub scores: Vec<Dim>,
}

/// The ops between `q . k^T` and the product with the values.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// `q . k^T`
    pub product: ValueId,
    /// The factor that the scores are multiplied by.
    pub factor: f64,
    /// From the softmax upwards.
    pub masks: Vec<Mask>,
    /// Every value on the way, both ends of the scores included.
    pub values: Vec<ValueId>,
    /// Shapes that the scores have on the way.
    pub shapes: Vec<Vec<Dim>>,
}

/// The softmax that makes `weights`, and the values from there to it.
pub(super) fn softmax(graph: &Graph, weights: ValueId) -> Result<(ValueId, Vec<ValueId>), Skip> {
    let mut v = weights;
    let mut values = Vec::new();
    loop {
        let Some(id) = graph.producer(v) else { return Err(Skip::NoEffect) };
        let node = graph.node(id);
        values.push(v);
        match &node.op {
            Op::Norm(Norm::Softmax { axis }) => {
                if axis + 1 != graph.ty(v).rank() {
                    return Err(Skip::check(format!("softmax %{} is not over the last axis", graph.name(v))));
                }
                return Ok((node.inputs[0], values));
            }
            Op::Cast(_) => v = node.inputs[0],
            Op::Movement(Movement::Reshape { .. }) if regroups_batch(graph, node.inputs[0], v) => v = node.inputs[0],
            Op::Where(Where) if guards(graph, &node.inputs) => {
                let reason = format!("%{} replaces NaN weights of rows that are hidden as a whole", graph.name(v));
                return Err(Skip::check(reason));
            }
            _ => return Err(Skip::NoEffect),
        }
    }
}

/// `where(is_nan(softmax), number, softmax)`
fn guards(graph: &Graph, operands: &[ValueId]) -> bool {
    let [test, number, weights] = *operands else { return false };
    let tested = graph.producer(test).map(|id| graph.node(id));
    tested.is_some_and(|n| matches!(n.op, Op::Unary(Unary::IsNan)) && n.inputs[0] == weights)
        && graph.constant(number).is_some()
        && matches!(graph.op(weights), Some(Op::Norm(Norm::Softmax { .. })))
}

/// True if a reshape leaves the last two axes alone.
fn regroups_batch(graph: &Graph, from: ValueId, to: ValueId) -> bool {
    let (a, b) = (&graph.ty(from).shape, &graph.ty(to).shape);
    a.len() >= 2 && b.len() >= 2 && a[a.len() - 2..] == b[b.len() - 2..]
}

/// Every way to read `v` as masked and scaled scores: a sum has two.
pub(super) fn ways(graph: &Graph, v: ValueId) -> Vec<Result<Path, Skip>> {
    let start = Path { product: v, factor: 1.0, masks: Vec::new(), values: Vec::new(), shapes: Vec::new() };
    let mut found = Vec::new();
    go(graph, v, start, &mut found, 0);
    found
}

fn go(graph: &Graph, v: ValueId, mut path: Path, found: &mut Vec<Result<Path, Skip>>, depth: usize) {
    const DEEPEST: usize = 12;
    let Some(id) = graph.producer(v) else { return };
    if depth > DEEPEST {
        return;
    }
    let node = graph.node(id);
    path.values.push(v);
    path.shapes.push(graph.ty(v).shape.clone());
    let mut masked = |scores: ValueId, value: ValueId, kind: MaskKind| {
        let mut path = path.clone();
        path.masks.push(Mask { value, kind, scores: graph.ty(v).shape.clone() });
        if graph.ty(scores).shape.len() == graph.ty(v).rank() {
            go(graph, scores, path, found, depth + 1);
        }
    };
    match &node.op {
        Op::Product(Product::MatMul) => {
            path.product = v;
            found.push(Ok(path));
        }
        Op::Binary(Binary::Add) => {
            let (a, b) = (node.inputs[0], node.inputs[1]);
            masked(a, b, MaskKind::Additive);
            masked(b, a, MaskKind::Additive);
        }
        Op::Binary(Binary::Mul | Binary::Div) => {
            let Some((scores, f)) = factor(graph, v) else { return };
            path.factor *= f;
            let masks = path.masks.len();
            let at = found.len();
            go(graph, scores, path, found, depth + 1);
            for way in &mut found[at..] {
                if let Ok(p) = way
                    && let Err(skip) = rescale(graph, &mut p.masks[masks..], f)
                {
                    *way = Err(skip);
                }
            }
        }
        Op::Where(Where) => {
            let [cond, a, b] = node.inputs[..] else { return };
            if let Some(fill) = number(graph, b) {
                let (cond, kept) = condition(graph, cond);
                masked(a, cond, if kept { MaskKind::Keep { fill } } else { MaskKind::Drop { fill } });
            } else if let Some(fill) = number(graph, a) {
                let (cond, kept) = condition(graph, cond);
                masked(b, cond, if kept { MaskKind::Drop { fill } } else { MaskKind::Keep { fill } });
            }
        }
        Op::Cast(Cast(to)) if widens(graph.ty(node.inputs[0]).dtype, *to) => {
            go(graph, node.inputs[0], path, found, depth + 1);
        }
        Op::Movement(Movement::Reshape { .. }) if regroups_batch(graph, node.inputs[0], v) => {
            go(graph, node.inputs[0], path, found, depth + 1);
        }
        _ => {}
    }
}

/// Masks that are applied before the scores are multiplied by `f`.
fn rescale(graph: &Graph, masks: &mut [Mask], f: f64) -> Result<(), Skip> {
    for m in masks {
        match &mut m.kind {
            MaskKind::Keep { fill } | MaskKind::Drop { fill } => *fill = Float((f64::from(fill.0) * f) as f32),
            _ if f == 1.0 => {}
            _ => return Err(Skip::check(format!("mask %{} is added before the scale", graph.name(m.value)))),
        }
    }
    Ok(())
}

/// The number that a float constant is.
fn number(graph: &Graph, v: ValueId) -> Option<Float> {
    let c = graph.constant(v)?;
    let n = c.as_splat()?.to_f64();
    (c.dtype().is_float() && f64::from(n as f32) == n).then_some(Float(n as f32))
}

/// A condition without the negations in front of it, and whether it still means what it did.
fn condition(graph: &Graph, mut cond: ValueId) -> (ValueId, bool) {
    let mut same = true;
    while let Some(id) = graph.producer(cond)
        && matches!(graph.node(id).op, Op::Unary(Unary::Not))
    {
        cond = graph.node(id).inputs[0];
        same = !same;
    }
    (cond, same)
}

fn widens(from: DType, to: DType) -> bool {
    from.is_float() && to.holds(from)
}
