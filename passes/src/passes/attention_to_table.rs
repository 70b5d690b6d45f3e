//! How attention gets its scores: exactly, from 8-bit rows, or from a table.
//!
//! The one pass that is not exact. It changes nothing but what the recognised attention ops say of their scores, so a
//! matrix product that is no `q . k^T` stays whatever its inner dim is. What may be used, and what pays, is for a
//! [`ScoreSource`](crate::scores::ScoreSource) to say.

use crate::ir::{Attention, DType, Dim, Graph, NodeId, Op, Scores, ValueId};
use crate::rewrite::{Cx, Pass, PassError, Patch, forwards};
use crate::scores::{Approximation, Choice, ScoreSite};

/// The name of the pass, and of its rule in the trace.
pub const NAME: &str = "attention-to-table";

/// The pass: every attention gets the scores that the source chooses for it.
pub fn pass(approximation: Approximation) -> Box<dyn Pass> {
    Box::new(AttentionToTable { approximation, exact_stays: false })
}

/// The pass for a graph whose extents have become numbers: what was made approximate is chosen again, what is
/// exact stays so, as whoever rewrote the graph may have wanted it.
pub fn again(approximation: Approximation) -> Box<dyn Pass> {
    Box::new(AttentionToTable { approximation, exact_stays: true })
}

struct AttentionToTable {
    approximation: Approximation,
    exact_stays: bool,
}

impl Pass for AttentionToTable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn run(&self, graph: &mut Graph, cx: &mut Cx) -> Result<usize, PassError> {
        Ok(forwards(graph, cx, |graph, cx, id| usize::from(self.at(graph, cx, id))))
    }
}

impl AttentionToTable {
    /// Gives the attention at a node other scores; false if there is none, or its scores stay.
    fn at(&self, graph: &mut Graph, cx: &mut Cx, id: NodeId) -> bool {
        let Some(&root) = graph.node(id).outputs.first() else { return false };
        let Some(Op::Attention(attention)) = graph.op(root) else { return false };
        if self.exact_stays && attention.scores == Scores::Exact {
            return false;
        }
        let Some(site) = site(graph, root, attention) else { return false };
        if let Some(dtype) = other_dtype(graph, id) {
            let reason = format!("stays {}: approximate scores are of f32, not {dtype}", attention.scores);
            cx.refuse(NAME, graph.name(root), reason);
            return false;
        }
        let Choice { scores, reason } = self.approximation.source.choose(&site, self.approximation.max_error);
        if scores == attention.scores {
            cx.refuse(NAME, graph.name(root), format!("stays {scores}: {reason}"));
            return false;
        }
        let mut patch = Patch::new();
        let reason = format!("{scores}: {reason}");
        let inputs = graph.node(id).inputs.clone();
        let new = patch.add("", Op::Attention(Attention { scores, ..attention.clone() }), inputs);
        patch.replace(root, new);
        cx.apply_because(graph, NAME, patch, Some(reason))
    }
}

/// The dtype of q, k or v that is not f32.
fn other_dtype(graph: &Graph, attention: NodeId) -> Option<DType> {
    graph.node(attention).inputs.iter().take(3).map(|&v| graph.ty(v).dtype).find(|&d| d != DType::F32)
}

/// The extents of an attention, from its result and its keys.
fn site<'a>(graph: &'a Graph, root: ValueId, attention: &'a Attention) -> Option<ScoreSite<'a>> {
    let node = graph.node(graph.producer(root)?);
    let keys = &graph.ty(*node.inputs.get(1)?).shape;
    let values = &graph.ty(*node.inputs.get(2)?).shape;
    let out = &graph.ty(root).shape;
    // Positions come last but one, be heads split or merged.
    let seq = |shape: &[Dim]| shape.len().checked_sub(2).map(|i| shape[i].clone());
    let d_v = match values.as_slice() {
        [_, _, _, d_v] => d_v.clone(),
        [_, _, merged] => merged.as_usize()?.checked_div(attention.kv_heads)?.into(),
        _ => return None,
    };
    Some(ScoreSite {
        name: graph.name(root),
        attention,
        batch: out.first()?.clone(),
        seq_q: seq(out)?,
        seq_k: seq(keys)?,
        d_v,
    })
}
