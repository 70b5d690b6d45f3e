//! Products with weights in fewer bits, where whoever asks for it puts up with the error.
//!
//! It changes nothing but what a `linear` with constant weights says of its precision, so it comes behind the pass
//! `linear`, and no other product is touched.

use crate::ir::{DType, Graph, NodeId, Op, Precision, Product, ValueId};
use crate::rewrite::{Cx, Pass, PassError, Patch, forwards};

/// The name of the pass, and of its rule in the trace.
pub const NAME: &str = "linear-precision";

/// The pass: every `linear` of f32 with constant weights may be computed in `precision`.
pub fn pass(precision: Precision) -> Box<dyn Pass> {
    Box::new(LinearPrecision { precision })
}

struct LinearPrecision {
    precision: Precision,
}

impl Pass for LinearPrecision {
    fn name(&self) -> &'static str {
        NAME
    }

    fn run(&self, graph: &mut Graph, cx: &mut Cx) -> Result<usize, PassError> {
        Ok(forwards(graph, cx, |graph, cx, id| usize::from(self.at(graph, cx, id))))
    }
}

impl LinearPrecision {
    /// Gives the product at a node the precision; false if there is none, or its precision stays.
    fn at(&self, graph: &mut Graph, cx: &mut Cx, id: NodeId) -> bool {
        let Some(&root) = graph.node(id).outputs.first() else { return false };
        let Some(&Op::Product(Product::Linear { trans_w, precision })) = graph.op(root) else { return false };
        if precision == self.precision {
            return false;
        }
        let inputs = graph.node(id).inputs.clone();
        if let Some(reason) = unfit(graph, &inputs) {
            cx.refuse(NAME, graph.name(root), format!("stays {precision}: {reason}"));
            return false;
        }
        let mut patch = Patch::new();
        let new = patch.add("", Op::Product(Product::Linear { trans_w, precision: self.precision }), inputs);
        patch.replace(root, new);
        cx.apply_because(graph, NAME, patch, Some(self.precision.to_string()))
    }
}

/// Why a product can be computed in nothing else.
fn unfit(graph: &Graph, operands: &[ValueId]) -> Option<String> {
    let &[x, w, ..] = operands else { return Some("it has no weights".into()) };
    let Some(weights) = graph.constant(w) else { return Some("its weights are not constant".into()) };
    if let Some(format) = weights.block_format() {
        return Some(format!("its weights stay in blocks of {format}"));
    }
    let other = [x, w].into_iter().map(|v| graph.ty(v).dtype).find(|&dtype| dtype != DType::F32);
    other.map(|dtype| format!("it is of {dtype}, not f32"))
}
