//! Ops that whoever runs the plan does itself: those of a Burn trace that the
//! graph has no word for.

use super::super::ExecError;
use super::super::plan::{Step, Work};
use super::super::view::{Slot, View};
use super::{ForeignResult, Lowering};
use bgz_passes::ir::{Attr, Node, Opaque};

/// The attribute with the number of an opaque op that is done outside.
pub(crate) const FOREIGN: &str = "at";

/// The number, if the op is one that is done outside.
fn foreign_op(op: &Opaque) -> Option<usize> {
    match op.attrs.get(FOREIGN) {
        Some(Attr::Dim(d)) => d.as_usize(),
        _ => None,
    }
}

impl Lowering<'_> {
    pub(super) fn foreign(&mut self, node: &Node, opaque: &Opaque) -> Result<(), ExecError> {
        let op = foreign_op(opaque).ok_or_else(|| self.fail(node, "nobody knows how to run it"))?;
        let reads = node.inputs.iter().map(|&v| Ok(self.contiguous(v)?.bytes())).collect::<Result<_, ExecError>>()?;
        for (result, &v) in node.outputs.iter().enumerate() {
            self.foreign.push(ForeignResult { op, result });
            let slot = Slot::Foreign(self.foreign.len() - 1);
            let view = View::whole(slot, self.dtype(v), &self.shape(v)?);
            self.alias(v, view);
        }
        let name = node.outputs.first().map_or("", |&v| self.graph.name(v)).to_owned();
        self.steps.push(Step {
            node: name,
            op: node.op.mnemonic(),
            kernel_name: "foreign",
            work: Work::Foreign(op),
            flops: 0,
            bytes: super::super::work::bytes(self.graph, node),
            reads,
            writes: Vec::new(),
        });
        Ok(())
    }
}
