//! One op on host memory: operands are copied in and results out, as Burn's tensors own their memory.

use super::{Fault, InnerTensor, run_op};
use bgz_passes::ir::{Constant, DType, Op, Type};
use burn_backend::Backend;
use std::sync::{Mutex, PoisonError};

/// Memory that an op reads and writes, row-major.
pub trait Spans {
    /// Bytes of what is read, by number.
    fn read(&self, i: usize) -> &[u8];
    /// Bytes of a result, by number.
    fn write(&mut self, i: usize) -> &mut [u8];
}

/// An op that can be run again and again.
pub trait Single: Send + Sync {
    /// Runs it.
    ///
    /// # Errors
    /// What the op does not take, or the backend's panic.
    fn run(&self, spans: &mut dyn Spans) -> Result<(), String>;
}

/// An op, its operands constants or the numbers of spans.
#[derive(Debug)]
pub struct InnerOp {
    /// The op.
    pub op: Op,
    /// A constant, or the number of the span that is read.
    pub inputs: Vec<Result<Constant, usize>>,
    /// Types of the operands, bound.
    pub types: Vec<Type>,
    /// Types of the results, bound.
    pub outputs: Vec<Type>,
}

/// An [`InnerOp`] on tensors of `B`.
struct On<B: Backend> {
    op: Op,
    inputs: Vec<Operand<B>>,
    types: Vec<Type>,
    outputs: Vec<Type>,
}

enum Operand<B: Backend> {
    /// Read from this span when run.
    Read(usize, DType, Vec<usize>),
    /// Converted when the op was made ready.
    Constant(Mutex<InnerTensor<B>>),
}

impl<B: Backend> Single for On<B> {
    fn run(&self, spans: &mut dyn Spans) -> Result<(), String> {
        let device = B::Device::default();
        let inputs = self
            .inputs
            .iter()
            .map(|o| match o {
                Operand::Read(i, dtype, shape) => {
                    InnerTensor::from_bytes(*dtype, shape, spans.read(*i), &device).map_err(|e| e.to_string())
                }
                Operand::Constant(t) => Ok(t.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            })
            .collect::<Result<Vec<_>, String>>()?;
        let outputs = run_op(&self.op, inputs, &self.types, &self.outputs, &device).map_err(|e| e.to_string())?;
        for (i, t) in outputs.into_iter().enumerate() {
            t.copy_to(spans.write(i)).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

/// The op on `B`, its constants made tensors.
pub(super) fn single<B: Backend>(op: InnerOp) -> Result<Box<dyn Single>, Fault> {
    let InnerOp { op, inputs, types, outputs } = op;
    let inputs = inputs
        .into_iter()
        .zip(&types)
        .map(|(input, ty)| match input {
            Ok(c) => {
                let bytes = c.bytes().map_err(|e| Fault::Invalid(format!("a constant without values: {e}")))?;
                let tensor = InnerTensor::from_shared(c.dtype(), c.shape(), &bytes, &B::Device::default());
                Ok(Operand::Constant(Mutex::new(tensor?)))
            }
            Err(i) => {
                let shape = ty.known_shape().ok_or_else(|| Fault::Invalid(format!("{ty} is not bound")))?;
                Ok(Operand::Read(i, ty.dtype, shape))
            }
        })
        .collect::<Result<_, Fault>>()?;
    Ok(Box::new(On::<B> { op, inputs, types, outputs }))
}
