//! The one ordered list of passes, and the report of a run.

use crate::ir::{Graph, Precision};
use crate::passes::attention_to_table;
use crate::passes::{
    attention, canonicalise, common_subexpressions, dead_code, fold_constants, fuse_elementwise, gelu, layer_norm,
    linear, linear_precision, rms_norm, silu, softmax,
};
use crate::rewrite::{Applied, Cx, Pass, PassError, Refused, Trace};
use crate::scores::{Approximation, ScoreSource};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Passes in order.
pub struct Pipeline {
    passes: Vec<Box<dyn Pass>>,
    stop_after: Option<usize>,
    approximation: Option<Approximation>,
}

impl Pipeline {
    /// Every exact pass, in the order that pays.
    pub fn exact() -> Self {
        Self::of(list(None))
    }

    /// Every exact pass, and the one that lets attention take approximate scores where `source` has some whose
    /// error (relative L2, of the output of an attention) is at most `max_error`.
    pub fn approximate(source: impl Into<Arc<dyn ScoreSource>>, max_error: f64) -> Self {
        let approximation = Approximation { source: source.into(), max_error };
        let pass = attention_to_table::pass(approximation.clone());
        Self { approximation: Some(approximation), ..Self::of(list(Some(pass))) }
    }

    /// Adds the pass that lets every product with constant weights be computed in `precision`, if that is not exact: the
    /// results are then off by what the model makes of it, which of most models is about 1 % for [`Precision::Int8`] and 0.1 % for
    /// [`Precision::Bf16`].
    pub fn precision(mut self, precision: Precision) -> Self {
        if precision != Precision::Exact {
            self.passes.push(linear_precision::pass(precision));
        }
        self
    }

    fn of(passes: Vec<Box<dyn Pass>>) -> Self {
        Self { passes, stop_after: None, approximation: None }
    }

    /// No pass at all: the graph as imported.
    pub fn none() -> Self {
        Self::of(Vec::new())
    }

    /// The passes that a plan runs on a graph whose extents have just become numbers: the
    /// shape arithmetic that is left folds away, and views simplify. With `approximation`, approximate scores are
    /// chosen again, as it now can be told what is fastest.
    pub fn bound(approximation: Option<&Approximation>) -> Self {
        let mut passes =
            vec![fold_constants::pass(), canonicalise::clean_up(), common_subexpressions::pass(), dead_code::pass()];
        passes.extend(approximation.map(|a| attention_to_table::again(a.clone())));
        Self { approximation: approximation.cloned(), ..Self::of(passes) }
    }

    /// The source of approximate scores, if they are allowed.
    pub fn approximation(&self) -> Option<&Approximation> {
        self.approximation.as_ref()
    }

    /// Only the passes of these names, in the order of the list.
    pub fn only<S: AsRef<str>>(mut self, names: &[S]) -> Result<Self, PassError> {
        for name in names {
            if !self.passes.iter().any(|p| p.name() == name.as_ref()) {
                let mut known = self.names();
                let mut seen = HashSet::new();
                known.retain(|n| seen.insert(*n));
                return Err(PassError::Unknown { name: name.as_ref().into(), known: known.join(", ") });
            }
        }
        self.passes.retain(|p| names.iter().any(|n| n.as_ref() == p.name()));
        if !self.names().contains(&attention_to_table::NAME) {
            self.approximation = None;
        }
        Ok(self)
    }

    /// Stops after `n` rewrites, to find the one that goes wrong.
    pub fn stop_after(mut self, n: usize) -> Self {
        self.stop_after = Some(n);
        self
    }

    /// Adds a pass of the user's own at the end.
    pub fn with(mut self, pass: impl Pass + 'static) -> Self {
        self.passes.push(Box::new(pass));
        self
    }

    /// The names of the passes, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.passes.iter().map(|p| p.name()).collect()
    }

    /// Runs every pass once, on the graph and on those that its ops carry, verifying the graph after each that changed it, and in debug builds after all of them.
    pub fn run(&self, graph: &mut Graph) -> Result<Report, PassError> {
        let mut cx = Cx::new(self.stop_after);
        let mut report = Report::default();
        for pass in &self.passes {
            let before = nodes(graph);
            let rewrites = cx.everywhere(&**pass, graph)?;
            let trace = std::mem::take(&mut cx.trace);
            // Nothing but an applied patch changes a graph.
            if cfg!(debug_assertions) || !trace.applied.is_empty() {
                graph.verify().map_err(|source| PassError::Verify { pass: pass.name().into(), source })?;
            }
            report.passes.push(PassReport { pass: pass.name(), rewrites, before, after: nodes(graph), trace });
            if cx.stopped() {
                break;
            }
        }
        Ok(report)
    }
}

/// Nodes of a graph and of those that its ops carry.
fn nodes(graph: &Graph) -> usize {
    let mut count = 0;
    graph.each_graph(&mut |g| count += g.len());
    count
}

/// The record of a run of a pipeline, pass by pass.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One entry a pass that ran, in order.
    pub passes: Vec<PassReport>,
}

/// The record of one pass.
#[derive(Clone, Debug)]
pub struct PassReport {
    /// The pass.
    pub pass: &'static str,
    /// Rewrites applied.
    pub rewrites: usize,
    /// Nodes before.
    pub before: usize,
    /// Nodes after.
    pub after: usize,
    /// The rewrites, and what was considered and left alone.
    pub trace: Trace,
}

impl Report {
    /// Every rewrite applied, in order.
    pub fn applied(&self) -> impl Iterator<Item = &Applied> {
        self.passes.iter().flat_map(|p| &p.trace.applied)
    }

    /// Everything that was refused, in order.
    pub fn refused(&self) -> impl Iterator<Item = &Refused> {
        self.passes.iter().flat_map(|p| &p.trace.refused)
    }

    /// Rewrites applied in all.
    pub fn rewrites(&self) -> usize {
        self.passes.iter().map(|p| p.rewrites).sum()
    }
}

/// The trace as comment lines, as `bgz rewrite --trace` prints it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for p in &self.passes {
            write!(f, "{}", p.trace)?;
        }
        Ok(())
    }
}

/// A reason per line: what a pass makes possible for those behind it. `scores` is the pass that chooses them, if any.
fn list(scores: Option<Box<dyn Pass>>) -> Vec<Box<dyn Pass>> {
    let mut passes = vec![
        // Shapes become part of the ops: nothing behind it sees shape arithmetic.
        fold_constants::pass(),
        // One form of everything; needs the shapes.
        canonicalise::pass(),
        // A repeated symbol of a pattern is one value, also where an exporter wrote it twice.
        common_subexpressions::pass(),
        // An intermediate has no user but those that count.
        dead_code::pass(),
        // The rows of a softmax are what the attention pass starts from.
        softmax::pass(),
        // Before rms-norm, whose pattern is the second half of this one.
        layer_norm::pass(),
        rms_norm::pass(),
        // Activations of one operand are cheap to fuse once they are one op.
        gelu::pass(),
        silu::pass(),
        // A bias is part of a product before it could look like an elementwise op to fuse.
        linear::pass(),
        // Behind softmax, and linear, whose results are the heads before their split.
        attention::pass(),
        // Ops that the recognisers left over; heads need not look like heads any more.
        canonicalise::clean_up(),
        // Two parts of a graph may have become the same.
        common_subexpressions::pass(),
    ];
    // Behind all that makes, moves or merges attention.
    passes.extend(scores);
    // Last, as it hides what the recognisers look for.
    passes.push(fuse_elementwise::pass());
    // Nodes that no rewrite had a reason to take away.
    passes.push(dead_code::pass());
    passes
}
