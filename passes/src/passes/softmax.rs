//! Softmax and log-softmax from their parts, on any axis.
//!
//! Without the subtraction of the maximum a quotient of exponentials is not
//! softmax: it overflows where softmax does not.

use super::parts::{axis, recip, reduced, same_type};
use crate::ir::{FoldKind, Graph, Norm, Op, Unary};
use crate::rewrite::{Match, Pass, Patch, Pattern, Rule, Rules, Skip, any, one_of, op, unary};

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    Box::new(Rules::new("softmax", vec![Box::new(Quotient), Box::new(LogOfSoftmax), Box::new(LessLogSum)]))
}

/// `exp(x - max(x))`, its maximum bound to `name`.
fn exponential(name: &'static str) -> Pattern {
    unary(Unary::Exp, any("x") - reduced(FoldKind::Max, any("x"), name))
}

/// `sum(exp(x - max(x)))`
fn total() -> Pattern {
    reduced(FoldKind::Sum, exponential("max2"), "sum")
}

/// The axis that every reduction of the match is over.
fn common_axis(graph: &Graph, m: &Match) -> Result<usize, Skip> {
    let mut axes = ["max", "max2", "sum"].into_iter().filter_map(|n| m.get(n)).map(|v| axis(graph, v));
    let first = axes.next().flatten().ok_or_else(|| Skip::check("the maximum is not over one axis"))?;
    if axes.all(|a| a == Some(first)) {
        Ok(first)
    } else {
        Err(Skip::check("the maximum and the sum are not over one and the same axis"))
    }
}

fn patch(graph: &Graph, m: &Match, op: Op) -> Result<Patch, Skip> {
    same_type(graph, m.root, m["x"])?;
    let mut patch = Patch::new();
    let new = patch.add("", op, [m["x"]]);
    patch.replace(m.root, new);
    patch.consume(m.interior.iter().copied());
    Ok(patch)
}

/// `exp(x - max(x)) / sum(exp(x - max(x))) => softmax(x)`
struct Quotient;

impl Rule for Quotient {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn pattern(&self) -> Pattern {
        one_of([exponential("max") / total(), exponential("max") * recip(total())])
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        patch(graph, m, Op::Norm(Norm::Softmax { axis: common_axis(graph, m)? }))
    }
}

/// `log(softmax(x)) => log_softmax(x)`
struct LogOfSoftmax;

impl Rule for LogOfSoftmax {
    fn name(&self) -> &'static str {
        "log-softmax"
    }

    fn pattern(&self) -> Pattern {
        unary(Unary::Log, op(|op| matches!(op, Op::Norm(Norm::Softmax { .. })), [any("x")]).named("softmax"))
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        match graph.op(m["softmax"]) {
            Some(&Op::Norm(Norm::Softmax { axis })) => patch(graph, m, Op::Norm(Norm::LogSoftmax { axis })),
            _ => Err(Skip::NoEffect),
        }
    }
}

/// `x - max(x) - log(sum(exp(x - max(x)))) => log_softmax(x)`, or the last two
/// added up first
struct LessLogSum;

impl Rule for LessLogSum {
    fn name(&self) -> &'static str {
        "log-softmax"
    }

    fn pattern(&self) -> Pattern {
        let max = || reduced(FoldKind::Max, any("x"), "max");
        let log = || unary(Unary::Log, total());
        one_of([(any("x") - max()) - log(), any("x") - (max() + log())])
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        patch(graph, m, Op::Norm(Norm::LogSoftmax { axis: common_axis(graph, m)? }))
    }
}
