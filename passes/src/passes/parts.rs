//! Patterns and checks that several passes share.

use crate::ir::{Binary, Float, FoldKind, Graph, IntArg, Movement, Op, Reduce, Type, Unary, ValueId};
use crate::rewrite::{Pattern, Skip, binary, lit, one_of, op, unary};

/// A reduction of `x`, bound to `name`, that keeps its axis: [`axis`] tells
/// which one. A reshape may put back what the reduction dropped.
pub(super) fn reduced(kind: FoldKind, x: Pattern, name: &'static str) -> Pattern {
    let reduce = move |keep: bool| move |op: &Op| matches!(op, Op::Reduce(Reduce::Fold(r)) if r.kind == kind && r.keep_dims == keep);
    let kept = op(reduce(true), [x.clone()]);
    let reshaped = op(
        |op| matches!(op, Op::Movement(Movement::Reshape { shape: IntArg::Known(_), .. })),
        [op(reduce(false), [x])],
    );
    one_of([kept, reshaped]).named(name)
}

/// The one axis that a value matched by [`reduced`] was reduced over.
pub(super) fn axis(graph: &Graph, reduced: ValueId) -> Option<usize> {
    let node = graph.node(graph.producer(reduced)?);
    match &node.op {
        Op::Reduce(Reduce::Fold(r)) => single(&r.axes),
        Op::Movement(Movement::Reshape { .. }) => {
            let inner = graph.node(graph.producer(node.inputs[0])?);
            let Op::Reduce(Reduce::Fold(r)) = &inner.op else { return None };
            let axis = single(&r.axes)?;
            let mut kept = graph.ty(inner.inputs[0]).shape.clone();
            kept[axis] = 1.into();
            (kept == graph.ty(reduced).shape).then_some(axis)
        }
        _ => None,
    }
}

fn single(axes: &[usize]) -> Option<usize> {
    if let [axis] = axes { Some(*axis) } else { None }
}

/// Checks that a value matched by [`reduced`] is over the last axis of `x`.
pub(super) fn over_last(graph: &Graph, reduced: ValueId, x: ValueId) -> Result<(), Skip> {
    match axis(graph, reduced) {
        Some(a) if a + 1 == graph.ty(x).rank() => Ok(()),
        _ => Err(Skip::check(format!("%{} is not over the last axis alone", graph.name(reduced)))),
    }
}

/// `x * x`, where `x` may be computed twice.
pub(super) fn square(x: impl Fn() -> Pattern) -> Pattern {
    one_of([binary(Binary::Pow, x(), lit(2.0)), x() * x()])
}

/// `1 / x`.
pub(super) fn recip(x: Pattern) -> Pattern {
    one_of([unary(Unary::Recip, x.clone()), 1.0 / x.clone(), binary(Binary::Pow, x, lit(-1.0))])
}

/// `sqrt(x)`.
pub(super) fn root(x: Pattern) -> Pattern {
    one_of([unary(Unary::Sqrt, x.clone()), binary(Binary::Pow, x, lit(0.5))])
}

/// `1 / sqrt(x)`.
pub(super) fn inverse_root(x: Pattern) -> Pattern {
    let whole = one_of([unary(Unary::Rsqrt, x.clone()), binary(Binary::Pow, x.clone(), lit(-0.5))]);
    one_of([whole, recip(root(x.clone())), root(recip(x))])
}

/// `-x`.
pub(super) fn negated(x: Pattern) -> Pattern {
    one_of([unary(Unary::Neg, x.clone()), x.clone() * -1.0, x.clone() / -1.0, 0.0 - x])
}

/// The number that a constant is, if it is one number and fits an attribute.
pub(super) fn attribute(graph: &Graph, v: ValueId) -> Result<Float, Skip> {
    let number = graph.constant(v).and_then(|c| c.as_splat()).map(|s| s.to_f64());
    match number {
        Some(n) if f64::from(n as f32) == n => Ok(Float(n as f32)),
        _ => Err(Skip::check(format!("%{} is not one number that an f32 holds", graph.name(v)))),
    }
}

/// Checks that `new`, of which the rewrite is a function, has exactly the type
/// of what it replaces: constants in between have not broadcast it.
pub(super) fn same_type(graph: &Graph, old: ValueId, new: ValueId) -> Result<(), Skip> {
    let (a, b): (&Type, &Type) = (graph.ty(old), graph.ty(new));
    if a == b { Ok(()) } else { Err(Skip::check(format!("the result is {a}, but %{} is {b}", graph.name(new)))) }
}
