//! A value that no result depends on is not computed. (A patch takes away what it makes
//! useless; this is for what was useless to begin with.)

use crate::ir::{Graph, ValueId};
use crate::rewrite::{Cx, Pass, PassError, Patch, backwards};

const NAME: &str = "dead-code";

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    Box::new(DeadCode)
}

struct DeadCode;

impl Pass for DeadCode {
    fn name(&self) -> &'static str {
        NAME
    }

    /// A node whose results nothing uses, and what only it used `=>` nothing
    fn run(&self, graph: &mut Graph, cx: &mut Cx) -> Result<usize, PassError> {
        let mut applied = backwards(graph, cx, |graph, cx, id| {
            let outputs = graph.node(id).outputs.clone();
            let useless = outputs.iter().all(|&v| graph.use_count(v) == 0);
            usize::from(useless && remove(graph, cx, outputs))
        });
        let unused: Vec<_> = graph.constants().map(|(v, _)| v).filter(|&v| graph.use_count(v) == 0).collect();
        if !unused.is_empty() {
            applied += usize::from(remove(graph, cx, unused));
        }
        Ok(applied)
    }
}

fn remove(graph: &mut Graph, cx: &mut Cx, values: Vec<ValueId>) -> bool {
    let mut patch = Patch::new();
    patch.consume(values);
    cx.apply(graph, NAME, patch)
}
