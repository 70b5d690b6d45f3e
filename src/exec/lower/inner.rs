//! Everything without a kernel of ours: one op on the inner backend.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::inner::{InnerOp, Single, Spans};
use super::super::plan::Kernel;
use super::super::view::View;
use super::Lowering;
use bgz_passes::ir::{Node, Type};

/// An op on the inner backend.
struct Inner(Box<dyn Single>);

/// What a step reads and writes.
struct Memory<'a, 'r, 'w>(&'a Reads<'r>, &'a mut Writes<'w>);

impl Spans for Memory<'_, '_, '_> {
    fn read(&self, i: usize) -> &[u8] {
        self.0.bytes(i)
    }

    fn write(&mut self, i: usize) -> &mut [u8] {
        self.1.bytes(i)
    }
}

impl Kernel for Inner {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        self.0.run(&mut Memory(reads, writes))
    }
}

impl Lowering<'_> {
    pub(super) fn inner(&mut self, node: &Node) -> Result<(), ExecError> {
        let mut views: Vec<View> = Vec::new();
        let mut inputs = Vec::new();
        for &v in &node.inputs {
            match self.constant(v) {
                Some(c) => {
                    if let Err(reason) = c.bytes() {
                        return Err(ExecError::AbsentConstant { name: self.graph.name(v).into(), reason });
                    }
                    inputs.push(Ok(c.clone()));
                }
                None => {
                    inputs.push(Err(views.len()));
                    views.push(self.contiguous(v)?);
                }
            }
        }
        let types = node.inputs.iter().map(|&v| self.graph.ty(v).clone()).collect();
        let outputs: Vec<Type> = node.outputs.iter().map(|&v| self.graph.ty(v).clone()).collect();
        let writes = node.outputs.iter().map(|&v| self.output(v)).collect::<Result<Vec<_>, _>>()?;
        let op = InnerOp { op: node.op.clone(), inputs, types, outputs };
        let kernel = Box::new(Inner(self.inner.single(op).map_err(|e| self.fail(node, e.to_string()))?));
        self.step_of(&[node], "inner", kernel, &views.iter().collect::<Vec<_>>(), &writes.iter().collect::<Vec<_>>());
        Ok(())
    }
}
