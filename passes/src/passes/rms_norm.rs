//! RMSNorm over the last axis from its parts.
//!
//! Behind LayerNorm, whose core is the RMSNorm of a centred value.

use super::layer_norm::vector;
use super::parts::{attribute, inverse_root, over_last, reduced, root, same_type, square};
use crate::ir::{FoldKind, Graph, Norm, Op};
use crate::rewrite::{Match, Pass, Patch, Pattern, Ref, Rule, Rules, Skip, any, one_of, op, scalar};

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    Box::new(Rules::new("rms-norm", vec![Box::new(Core), Box::new(Scale)]))
}

/// `mean(x^2) + eps`
fn mean_square() -> Pattern {
    reduced(FoldKind::Mean, square(|| any("x")), "mean") + scalar("eps")
}

/// `x / sqrt(mean(x^2) + eps) => rms_norm(x)`, or times the inverse root,
/// which may be multiplied by the scale first
struct Core;

impl Rule for Core {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn pattern(&self) -> Pattern {
        one_of([
            any("x") / root(mean_square()),
            any("x") * inverse_root(mean_square()),
            any("x") * (inverse_root(mean_square()) * any("scale")),
        ])
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        over_last(graph, m["mean"], m["x"])?;
        same_type(graph, m.root, m["x"])?;
        let mut patch = Patch::new();
        let mut operands = vec![Ref::from(m["x"])];
        if let Some(scale) = m.get("scale") {
            operands.push(vector(graph, scale, m["x"], "scale", &mut patch).ok_or(Skip::NoEffect)?);
        }
        let new = patch.add("", Op::Norm(Norm::RmsNorm { eps: attribute(graph, m["eps"])? }), operands);
        patch.replace(m.root, new);
        patch.consume(m.interior.iter().copied());
        Ok(patch)
    }
}

/// `rms_norm(x) * scale => rms_norm(x, scale)`, for a scale along the last axis
struct Scale;

impl Rule for Scale {
    fn name(&self) -> &'static str {
        "rms-norm-scale"
    }

    fn pattern(&self) -> Pattern {
        op(|op| matches!(op, Op::Norm(Norm::RmsNorm { .. })), [any("x")]).named("norm") * any("factor")
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        let norm = m["norm"];
        if graph.ty(m.root) != graph.ty(norm) {
            return Err(Skip::NoEffect);
        }
        let mut patch = Patch::new();
        let scale = vector(graph, m["factor"], m["x"], "scale", &mut patch).ok_or(Skip::NoEffect)?;
        let op = graph.op(norm).cloned().ok_or(Skip::NoEffect)?;
        let new = patch.add("", op, [m["x"].into(), scale]);
        patch.replace(m.root, new);
        patch.consume([norm]);
        Ok(patch)
    }
}
