//! LayerNorm over the last axis from its parts.
//!
//! The core is recognised first, then takes in the scale and the bias behind
//! it, so that a LayerNorm of any origin does.

use super::parts::{attribute, inverse_root, over_last, reduced, root, same_type};
use crate::ir::{Binary, Constant, DType, Dim, FoldKind, Graph, Movement, Norm, Op, Scalar, ValueId};
use crate::rewrite::{Match, Pass, Patch, Pattern, Ref, Rule, Rules, Skip, any, binary, lit, one_of, op, scalar};

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    Box::new(Rules::new("layer-norm", vec![Box::new(Core), Box::new(Folded), Box::new(Scale), Box::new(Bias)]))
}

/// `mean(x)`
fn mean() -> Pattern {
    reduced(FoldKind::Mean, any("x"), "mean")
}

/// `x - mean(x)`, the mean being computed anew each time or not
fn centred(name: &'static str) -> Pattern {
    any("x") - reduced(FoldKind::Mean, any("x"), name)
}

/// `mean((x - mean(x))^2) + eps`
fn variance() -> Pattern {
    let squares = one_of([binary(Binary::Pow, centred("mean2"), lit(2.0)), centred("mean2") * centred("mean3")]);
    reduced(FoldKind::Mean, squares, "variance") + scalar("eps")
}

fn check_means(graph: &Graph, m: &Match) -> Result<(), Skip> {
    for name in ["mean", "mean2", "mean3", "variance"] {
        if let Some(v) = m.get(name) {
            over_last(graph, v, m["x"])?;
        }
    }
    Ok(())
}

/// `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) => layer_norm(x)`, or
/// times the inverse root, which may be multiplied by the scale first
struct Core;

impl Rule for Core {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn pattern(&self) -> Pattern {
        one_of([
            centred("mean") / root(variance()),
            centred("mean") * inverse_root(variance()),
            centred("mean") * (inverse_root(variance()) * any("scale")),
        ])
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        check_means(graph, m)?;
        same_type(graph, m.root, m["x"])?;
        let mut patch = Patch::new();
        let mut operands = vec![Ref::from(m["x"])];
        if let Some(scale) = m.get("scale") {
            operands.push(vector(graph, scale, m["x"], "scale", &mut patch).ok_or(Skip::NoEffect)?);
        }
        let new = patch.add("", Op::Norm(Norm::LayerNorm { eps: attribute(graph, m["eps"])? }), operands);
        patch.replace(m.root, new);
        patch.consume(m.interior.iter().copied());
        Ok(patch)
    }
}

/// `x * f + (bias - mean(x) * f) => layer_norm(x, scale, bias)` with
/// `f = scale / sqrt(mean((x - mean(x))^2) + eps)`, as TensorFlow writes it
struct Folded;

impl Rule for Folded {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn pattern(&self) -> Pattern {
        let factor = || (inverse_root(variance()) * any("scale")).named("factor");
        any("x") * factor() + (any("bias") - mean() * any("factor"))
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        check_means(graph, m)?;
        same_type(graph, m.root, m["x"])?;
        let mut patch = Patch::new();
        let scale = vector(graph, m["scale"], m["x"], "scale", &mut patch).ok_or(Skip::NoEffect)?;
        let bias = vector(graph, m["bias"], m["x"], "bias", &mut patch).ok_or(Skip::NoEffect)?;
        let op = Op::Norm(Norm::LayerNorm { eps: attribute(graph, m["eps"])? });
        let new = patch.add("", op, [m["x"].into(), scale, bias]);
        patch.replace(m.root, new);
        patch.consume(m.interior.iter().copied());
        Ok(patch)
    }
}

fn layer_norm() -> Pattern {
    let norm = |n: usize| {
        let operands = ["x", "scale", "bias"].map(any).into_iter().take(n);
        op(|op| matches!(op, Op::Norm(Norm::LayerNorm { .. })), operands)
    };
    one_of([norm(1), norm(2)]).named("norm")
}

/// `layer_norm(x) * scale => layer_norm(x, scale)`, for a scale along the last axis
struct Scale;

impl Rule for Scale {
    fn name(&self) -> &'static str {
        "layer-norm-scale"
    }

    fn pattern(&self) -> Pattern {
        layer_norm() * any("factor")
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        if m.get("scale").is_some() {
            return Err(Skip::NoEffect);
        }
        extended(graph, m, vec![m["x"].into()], m["factor"], "scale", Patch::new())
    }
}

/// `layer_norm(x, scale) + bias => layer_norm(x, scale, bias)`, for a bias
/// along the last axis; a missing scale is one
struct Bias;

impl Rule for Bias {
    fn name(&self) -> &'static str {
        "layer-norm-bias"
    }

    fn pattern(&self) -> Pattern {
        layer_norm() + any("term")
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        let mut patch = Patch::new();
        let scale = match m.get("scale") {
            Some(v) => Ref::from(v),
            None => {
                let ty = graph.ty(m["x"]);
                let n = ty.shape.last().and_then(Dim::as_usize).ok_or(Skip::NoEffect)?;
                let ones = Constant::from_scalars(ty.dtype, vec![n], vec![Scalar::from_f64(DType::F64, 1.0); n]);
                patch.constant("scale", ones.ok_or(Skip::NoEffect)?)
            }
        };
        extended(graph, m, vec![m["x"].into(), scale], m["term"], "bias", patch)
    }
}

/// The matched norm with one more operand.
fn extended(
    graph: &Graph,
    m: &Match,
    mut operands: Vec<Ref>,
    more: ValueId,
    part: &str,
    mut patch: Patch,
) -> Result<Patch, Skip> {
    let norm = m["norm"];
    if graph.ty(m.root) != graph.ty(norm) {
        return Err(Skip::NoEffect);
    }
    operands.push(vector(graph, more, m["x"], part, &mut patch).ok_or(Skip::NoEffect)?);
    let op = graph.op(norm).cloned().ok_or(Skip::NoEffect)?;
    let new = patch.add("", op, operands);
    patch.replace(m.root, new);
    patch.consume([norm]);
    Ok(patch)
}

/// `v` as a vector along the last axis of `x`, if it is one but for leading
/// axes of extent 1.
pub(super) fn vector(graph: &Graph, v: ValueId, x: ValueId, part: &str, patch: &mut Patch) -> Option<Ref> {
    let (ty, last) = (graph.ty(v), graph.ty(x).shape.last()?);
    let (own, leading) = ty.shape.split_last()?;
    if own != last || leading.iter().any(|d| !d.is(1)) {
        return None;
    }
    if leading.is_empty() {
        return Some(v.into());
    }
    if let Some(c) = graph.constant(v) {
        return Some(patch.constant(part, c.reshaped(vec![c.len()])?));
    }
    // A reshape that only put leading axes before a vector.
    if let (Some(Op::Movement(Movement::Reshape { .. })), Some(id)) = (graph.op(v), graph.producer(v)) {
        let from = graph.node(id).inputs[0];
        if graph.ty(from).shape == std::slice::from_ref(own) {
            return Some(from.into());
        }
    }
    Some(patch.add(part, Op::reshape([own.clone()]), [v]))
}
