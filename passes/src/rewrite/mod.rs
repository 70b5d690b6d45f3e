//! Rewriting: a [`Rule`] is a [`Pattern`] and what to put in its place as a
//! [`Patch`]; a [`Pass`] runs rules (or its own analysis) over a graph; only
//! [`Graph::apply`](crate::ir::Graph::apply) changes a graph, after checking the patch.

mod driver;
mod patch;
mod pattern;

pub use driver::{Applied, Cx, Pass, PassError, Refused, Rule, Rules, Skip, Trace, backwards, forwards, rule};
pub use patch::{Patch, PatchError, Ref};
pub use pattern::{Match, Pattern, any, binary, constant, leaf, lit, one_of, op, scalar, unary};
