//! Tensors of Burn's CPU backends as bytes in host memory.

use bgz_passes::ir::DType;
use burn_backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn_backend::{Backend, BoolStore, DType as BurnDType, TensorData, TensorMetadata, try_read_sync};
use burn_ir::{BackendIr, HandleKind};

/// Backends whose tensors lie in host memory.
pub trait Host: BackendIr<Handle = HandleKind<Self>> {
    /// The elements of a tensor, if they lie in memory in row-major order.
    fn bytes(tensor: &HostTensor<Self>) -> Option<&[u8]>;

    /// True if the backend does every op as Burn records it, so that a trace need not become a graph.
    const DOES_ALL: bool;
}

/// A tensor of a kind that the graph has.
#[derive(Clone, Debug)]
pub enum HostTensor<B: Backend> {
    /// Of floats.
    Float(FloatTensor<B>),
    /// Of integers.
    Int(IntTensor<B>),
    /// Of truth values.
    Bool(BoolTensor<B>),
}

impl<B: Host> HostTensor<B> {
    /// `None` for a quantised tensor.
    pub(super) fn from_handle(handle: HandleKind<B>) -> Option<Self> {
        match handle {
            HandleKind::Float(t) => Some(Self::Float(t)),
            HandleKind::Int(t) => Some(Self::Int(t)),
            HandleKind::Bool(t) => Some(Self::Bool(t)),
            HandleKind::Quantized(_) => None,
        }
    }

    pub(super) fn into_handle(self) -> HandleKind<B> {
        match self {
            Self::Float(t) => HandleKind::Float(t),
            Self::Int(t) => HandleKind::Int(t),
            Self::Bool(t) => HandleKind::Bool(t),
        }
    }

    /// From Burn's own form of host data, without a copy; `None` if the graph has no such dtype.
    pub(super) fn from_data(data: TensorData) -> Option<Self> {
        let device = B::Device::default();
        Some(match graph_dtype(data.dtype)? {
            DType::Bool => Self::Bool(B::bool_from_data(data, &device)),
            d if d.is_int() => Self::Int(B::int_from_data(data, &device)),
            _ => Self::Float(B::float_from_data(data, &device)),
        })
    }

    /// The elements in row-major order; `None` if they cannot be read at once.
    pub(super) fn into_data(self) -> Option<TensorData> {
        let data = match self {
            Self::Float(t) => try_read_sync(B::float_into_data(t)),
            Self::Int(t) => try_read_sync(B::int_into_data(t)),
            Self::Bool(t) => try_read_sync(B::bool_into_data(t)),
        };
        let data = data?.ok()?;
        let wide = matches!(data.dtype, BurnDType::Bool(BoolStore::U8 | BoolStore::U32));
        Some(if wide { data.convert_dtype(BurnDType::Bool(BoolStore::Native)) } else { data })
    }

    /// The dtype; `None` for one that no graph of a trace has (unsigned wider than a byte, quantised).
    pub(super) fn dtype(&self) -> Option<DType> {
        graph_dtype(match self {
            Self::Float(t) => t.dtype(),
            Self::Int(t) => t.dtype(),
            Self::Bool(t) => t.dtype(),
        })
    }

    /// Extents.
    pub(super) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Float(t) => t.shape(),
            Self::Int(t) => t.shape(),
            Self::Bool(t) => t.shape(),
        }
        .to_vec()
    }
}

/// The dtype of the graph of a trace that a Burn dtype is, if it is one.
pub(super) fn graph_dtype(dtype: BurnDType) -> Option<DType> {
    Some(match dtype {
        BurnDType::F32 => DType::F32,
        BurnDType::F16 => DType::F16,
        BurnDType::BF16 => DType::BF16,
        BurnDType::F64 => DType::F64,
        BurnDType::I8 => DType::I8,
        BurnDType::I16 => DType::I16,
        BurnDType::I32 => DType::I32,
        BurnDType::I64 => DType::I64,
        BurnDType::U8 => DType::U8,
        BurnDType::Bool(BoolStore::Native | BoolStore::U8) => DType::Bool,
        _ => return None,
    })
}

#[cfg(feature = "flex")]
mod flex {
    use super::{Host, HostTensor};
    use burn_flex::Flex;

    impl Host for Flex {
        const DOES_ALL: bool = true;

        fn bytes(tensor: &HostTensor<Self>) -> Option<&[u8]> {
            let (HostTensor::Float(t) | HostTensor::Int(t) | HostTensor::Bool(t)) = tensor;
            let size = t.dtype().size();
            let (start, end) = t.layout().contiguous_offsets()?;
            t.bytes().get(start * size..end * size)
        }
    }
}

#[cfg(feature = "ndarray")]
mod ndarray {
    use super::{Host, HostTensor};
    use burn_ndarray::{NdArray, NdArrayTensor};

    impl Host for NdArray {
        /// It panics where a mask broadcasts, and at f16, of which the graph knows more.
        const DOES_ALL: bool = false;

        fn bytes(tensor: &HostTensor<Self>) -> Option<&[u8]> {
            let (HostTensor::Float(t) | HostTensor::Int(t) | HostTensor::Bool(t)) = tensor;
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
}
