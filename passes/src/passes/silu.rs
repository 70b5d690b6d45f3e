//! SiLU from its parts, and the sigmoid in it.

use super::parts::{negated, recip, same_type};
use crate::ir::{Graph, Op, Unary};
use crate::rewrite::{Match, Pass, Patch, Pattern, Rule, Rules, Skip, any, one_of, unary};

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    Box::new(Rules::new("silu", vec![Box::new(Silu), Box::new(Sigmoid)]))
}

/// `1 + exp(-x)`
fn denominator() -> Pattern {
    unary(Unary::Exp, negated(any("x"))) + 1.0
}

/// `sigmoid(x)` from its parts; by way of its logarithm as Burn computes it
fn logistic() -> Pattern {
    one_of([recip(denominator()), unary(Unary::Exp, negated(unary(Unary::Log, denominator())))])
}

fn patch(graph: &Graph, m: &Match, f: Unary) -> Result<Patch, Skip> {
    same_type(graph, m.root, m["x"])?;
    let mut patch = Patch::new();
    let new = patch.add("", Op::Unary(f), [m["x"]]);
    patch.replace(m.root, new);
    patch.consume(m.interior.iter().copied());
    Ok(patch)
}

/// `x * sigmoid(x) => silu(x)` and `x / (1 + exp(-x)) => silu(x)`
struct Silu;

impl Rule for Silu {
    fn name(&self) -> &'static str {
        "silu"
    }

    fn pattern(&self) -> Pattern {
        one_of([any("x") * unary(Unary::Sigmoid, any("x")), any("x") / denominator(), any("x") * logistic()])
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        patch(graph, m, Unary::Silu)
    }
}

/// `1 / (1 + exp(-x)) => sigmoid(x)` and `exp(-log(1 + exp(-x))) => sigmoid(x)`
struct Sigmoid;

impl Rule for Sigmoid {
    fn name(&self) -> &'static str {
        "sigmoid"
    }

    fn pattern(&self) -> Pattern {
        logistic()
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        patch(graph, m, Unary::Sigmoid)
    }
}
