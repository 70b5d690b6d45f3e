//! Products with weights in fewer bits, where whoever asks for it puts up with the error.
//!
//! It changes nothing but what a `linear` with constant weights says of its precision, so it comes behind the pass
//! `linear`, and no other product is touched.

use crate::ir::{DType, Graph, Op, Precision, Product, ValueId};
use crate::rewrite::{Cx, Pass, PassError, Patch};

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
        let mut applied = 0;
        for id in graph.order().to_vec() {
            if cx.stopped() {
                break;
            }
            let Some(root) = graph.try_node(id).and_then(|n| n.outputs.first().copied()) else { continue };
            let Some(&Op::Product(Product::Linear { trans_w, precision })) = graph.op(root) else { continue };
            if precision == self.precision {
                continue;
            }
            let inputs = graph.node(id).inputs.clone();
            if let Some(reason) = unfit(graph, &inputs) {
                cx.refuse(NAME, graph.name(root), format!("stays {precision}: {reason}"));
                continue;
            }
            let mut patch = Patch::new();
            let new = patch.add("", Op::Product(Product::Linear { trans_w, precision: self.precision }), inputs);
            patch.replace(root, new);
            applied += usize::from(cx.apply_because(graph, NAME, patch, Some(self.precision.to_string())));
        }
        Ok(applied)
    }
}

/// Why a product can be computed in nothing else.
fn unfit(graph: &Graph, operands: &[ValueId]) -> Option<String> {
    let &[x, w, ..] = operands else { return Some("it has no weights".into()) };
    if graph.constant(w).is_none() {
        return Some("its weights are not constant".into());
    }
    let other = [x, w].into_iter().map(|v| graph.ty(v).dtype).find(|&dtype| dtype != DType::F32);
    other.map(|dtype| format!("it is of {dtype}, not f32"))
}
