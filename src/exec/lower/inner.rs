//! Everything without a kernel of ours: one op on the inner backend.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::inner::{InnerTensor, run_op};
use super::super::plan::Kernel;
use super::super::view::View;
use super::Lowering;
use bgz_passes::ir::{Constant, DType, Node, Op, Type};
use burn_backend::Backend;
use std::sync::Mutex;

/// An op on tensors of `B`. Operands are copied in and results out: Burn's
/// tensors own their memory, the arena is shared.
struct Inner<B: Backend> {
    op: Op,
    inputs: Vec<Operand<B>>,
    types: Vec<Type>,
    outputs: Vec<Type>,
}

enum Operand<B: Backend> {
    /// Read from this span when run.
    Read(usize, DType, Vec<usize>),
    /// Part of the model; converted when the plan was made.
    Constant(Mutex<InnerTensor<B>>),
}

impl<B: Backend> Kernel for Inner<B> {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let device = B::Device::default();
        let inputs = self
            .inputs
            .iter()
            .map(|o| match o {
                Operand::Read(i, dtype, shape) => {
                    InnerTensor::from_bytes(*dtype, shape, reads.bytes(*i), &device).map_err(|e| e.to_string())
                }
                Operand::Constant(t) => Ok(t.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()),
            })
            .collect::<Result<Vec<_>, String>>()?;
        let outputs = run_op(&self.op, inputs, &self.types, &self.outputs, &device).map_err(|e| e.to_string())?;
        for (i, t) in outputs.into_iter().enumerate() {
            t.copy_to(writes.bytes(i)).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

/// An op for the inner backend, before it is one of a certain backend.
pub(crate) struct InnerOp {
    op: Op,
    /// A constant, or the number of the span that is read.
    inputs: Vec<Result<Constant, usize>>,
    types: Vec<Type>,
    outputs: Vec<Type>,
}

/// The op on `B`, its constants made tensors.
pub(crate) fn inner_kernel<B: Backend>(op: InnerOp) -> Result<Box<dyn Kernel>, String> {
    let InnerOp { op, inputs, types, outputs } = op;
    let inputs = inputs
        .into_iter()
        .zip(&types)
        .map(|(input, ty)| match input {
            Ok(c) => {
                let bytes = c.bytes().ok_or("a constant without values")?;
                let tensor = InnerTensor::from_shared(c.dtype(), c.shape(), bytes, &B::Device::default());
                Ok(Operand::Constant(Mutex::new(tensor.map_err(|e| e.to_string())?)))
            }
            Err(i) => {
                let shape = ty.known_shape().ok_or_else(|| format!("{ty} is not bound"))?;
                Ok(Operand::Read(i, ty.dtype, shape))
            }
        })
        .collect::<Result<_, String>>()?;
    Ok(Box::new(Inner::<B> { op, inputs, types, outputs }))
}

impl Lowering<'_> {
    pub(super) fn inner(&mut self, node: &Node) -> Result<(), ExecError> {
        let mut views: Vec<View> = Vec::new();
        let mut inputs = Vec::new();
        for &v in &node.inputs {
            match self.constant(v) {
                Some(c) if c.bytes().is_none() => {
                    return Err(ExecError::AbsentConstant { name: self.graph.name(v).into() });
                }
                Some(c) => inputs.push(Ok(c.clone())),
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
        let kernel = (self.inner.kernel)(op).map_err(|e| self.fail(node, e))?;
        self.step_of(node, "inner", kernel, &views.iter().collect::<Vec<_>>(), &writes.iter().collect::<Vec<_>>());
        Ok(())
    }
}
