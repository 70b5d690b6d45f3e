//! An inner backend as a value. The generic code behind it is large; kept
//! behind functions of this crate it is compiled once, here, and not again in
//! every program that runs a model.

use super::single::{InnerOp, Single, single};
use super::{Fault, InnerError, InnerTensor, OpByOp};
use bgz_passes::ir::{DType, Graph};
use burn_backend::Backend;
use burn_flex::Flex;
use burn_ir::{BackendIr, HandleKind};
use burn_ndarray::{NdArray, NdArrayTensor};
use std::fmt;

/// A Burn backend that runs what has no kernel of ours.
#[derive(Clone, Copy)]
pub struct InnerBackend {
    name: &'static str,
    single: fn(InnerOp) -> Result<Box<dyn Single>, Fault>,
    op_by_op: fn(&Graph) -> Result<Box<dyn RunOps>, InnerError>,
}

/// Backends that a model can be run on by type: those whose tensors lie in host memory.
pub trait Inner: BackendIr<Handle = HandleKind<Self>> {
    /// The backend as a value.
    fn inner() -> InnerBackend;

    /// The elements of a tensor, if they lie in memory in row-major order.
    fn host(tensor: &InnerTensor<Self>) -> Option<&[u8]>;
}

impl Inner for Flex {
    fn inner() -> InnerBackend {
        InnerBackend::flex()
    }

    fn host(tensor: &InnerTensor<Self>) -> Option<&[u8]> {
        let (InnerTensor::Float(t) | InnerTensor::Int(t) | InnerTensor::Bool(t)) = tensor;
        let size = t.dtype().size();
        let (start, end) = t.layout().contiguous_offsets()?;
        t.bytes().get(start * size..end * size)
    }
}

impl Inner for NdArray {
    fn inner() -> InnerBackend {
        InnerBackend::ndarray()
    }

    fn host(tensor: &InnerTensor<Self>) -> Option<&[u8]> {
        let (InnerTensor::Float(t) | InnerTensor::Int(t) | InnerTensor::Bool(t)) = tensor;
        Some(match t {
            NdArrayTensor::F64(s) => bytemuck::cast_slice(s.view().to_slice()?),
            NdArrayTensor::F32(s) => bytemuck::cast_slice(s.view().to_slice()?),
            NdArrayTensor::I64(s) => bytemuck::cast_slice(s.view().to_slice()?),
            NdArrayTensor::I32(s) => bytemuck::cast_slice(s.view().to_slice()?),
            NdArrayTensor::I16(s) => bytemuck::cast_slice(s.view().to_slice()?),
            NdArrayTensor::I8(s) => bytemuck::cast_slice(s.view().to_slice()?),
            NdArrayTensor::U64(s) => bytemuck::cast_slice(s.view().to_slice()?),
            NdArrayTensor::U32(s) => bytemuck::cast_slice(s.view().to_slice()?),
            NdArrayTensor::U16(s) => bytemuck::cast_slice(s.view().to_slice()?),
            NdArrayTensor::U8(s) => bytemuck::cast_slice(s.view().to_slice()?),
            NdArrayTensor::Bool(s) => bytemuck::cast_slice(s.view().to_slice()?),
        })
    }
}

impl InnerBackend {
    /// burn-flex, the default.
    #[inline(never)]
    pub fn flex() -> Self {
        Self::of::<Flex>("flex")
    }

    /// burn-ndarray.
    #[inline(never)]
    pub fn ndarray() -> Self {
        Self::of::<NdArray>("ndarray")
    }

    /// Any backend on host memory.
    pub fn of<B: Backend>(name: &'static str) -> Self {
        Self {
            name,
            single: single::<B>,
            op_by_op: |graph| Ok(Box::new(OpByOp::<B>::new(graph, &B::Device::default())?)),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// An op made ready to run, its constants made tensors.
    ///
    /// # Errors
    /// A constant without bytes, or of a dtype that the backend lacks; an operand that is not bound.
    pub fn single(&self, op: InnerOp) -> Result<Box<dyn Single>, Fault> {
        (self.single)(op)
    }

    /// A graph, all of it bound, made ready to run op by op.
    ///
    /// # Errors
    /// Those of [`OpByOp::new`].
    pub fn op_by_op(&self, graph: &Graph) -> Result<Box<dyn RunOps>, InnerError> {
        (self.op_by_op)(graph)
    }
}

impl fmt::Debug for InnerBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InnerBackend({})", self.name)
    }
}

/// A tensor in host memory, row-major.
#[derive(Clone, Copy, Debug)]
pub struct HostTensor<'a> {
    /// What its elements are.
    pub dtype: DType,
    /// Its extents.
    pub shape: &'a [usize],
    /// Its elements.
    pub bytes: &'a [u8],
}

/// A graph that runs op by op on host tensors.
pub trait RunOps: Send + Sync {
    /// Runs on inputs in the graph's order, into memory for its outputs in theirs.
    ///
    /// # Errors
    /// Inputs that do not fit; an op that has no result; memory of another size.
    fn run(&self, inputs: &[HostTensor<'_>], outputs: &mut [&mut [u8]]) -> Result<(), InnerError>;
}

impl<B: Backend> RunOps for OpByOp<B>
where
    OpByOp<B>: Send + Sync,
{
    fn run(&self, inputs: &[HostTensor<'_>], outputs: &mut [&mut [u8]]) -> Result<(), InnerError> {
        let input = |(i, t): (usize, &HostTensor<'_>)| {
            InnerTensor::from_bytes(t.dtype, t.shape, t.bytes, self.device())
                .map_err(|f| InnerError::Input { name: i.to_string(), reason: f.to_string() })
        };
        let inputs = inputs.iter().enumerate().map(input).collect::<Result<Vec<_>, _>>()?;
        for (from, to) in OpByOp::run(self, inputs)?.into_iter().zip(outputs) {
            from.copy_to(to).map_err(|f| InnerError::Graph(f.to_string()))?;
        }
        Ok(())
    }
}
