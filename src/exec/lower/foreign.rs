//! Ops that whoever runs the plan does itself: those of a Burn trace that the
//! graph has no word for.

use super::super::ExecError;
use super::super::step::{ForeignResult, Step, StepOf, Work};
use super::super::view::{Slot, View};
use super::Lowering;
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
        let of = StepOf::Nodes(node.outputs.first().copied().into_iter().collect());
        self.steps.push(Step { of, kernel_name: "foreign", work: Work::Foreign(op), reads, writes: Vec::new() });
        Ok(())
    }
}
