//! A tensor of the inner backend whose kind is known when run, with the
//! functions that Burn has once a kind made into one each.

use super::Fault;
use super::dtype::{burn_dtype, burn_scalar, float_dtype, graph_dtype, int_dtype};
use super::memory::{self, collected};
use bgz_passes::ir::{DType, Scalar, Type};
use burn_backend::tensor::{BoolTensor, Device, FloatTensor, IntTensor};
use burn_backend::{
    AllocationProperty, Backend, BoolDType, BoolStore, Bytes, DType as BurnDType, IntDType, Scalar as BurnScalar,
    Shape, Slice, TensorData, TensorMetadata, try_read_sync,
};
use burn_ir::{BackendIr, HandleKind};
use half::{bf16, f16};
use std::fmt;

/// The bool store of both Flex and NdArray: a byte an element.
pub(super) const BOOL: BoolDType = BoolDType::Native;

/// A tensor of `B`, of whichever kind Burn keeps its dtype as.
///
/// A clone shares the elements. A scalar of the graph (rank 0) is held as
/// `[1]`, the least rank that Burn has.
pub enum InnerTensor<B: Backend> {
    /// `f32`, `f64`, `f16`, `bf16`.
    Float(FloatTensor<B>),
    /// Integers.
    Int(IntTensor<B>),
    /// Bools.
    Bool(BoolTensor<B>),
}

impl<B: Backend> Clone for InnerTensor<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Float(t) => Self::Float(t.clone()),
            Self::Int(t) => Self::Int(t.clone()),
            Self::Bool(t) => Self::Bool(t.clone()),
        }
    }
}

impl<B: Backend> fmt::Debug for InnerTensor<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtype = self.dtype().map_or("?", DType::name);
        write!(f, "InnerTensor({dtype}{:?})", self.shape())
    }
}

/// The extents a tensor of Burn has for a value of the graph: a scalar becomes `[1]`.
pub(super) fn physical(shape: &[usize]) -> Vec<usize> {
    if shape.is_empty() { vec![1] } else { shape.to_vec() }
}

/// The extents of a type that is bound.
pub(super) fn known(ty: &Type) -> Result<Vec<usize>, Fault> {
    ty.known_shape().ok_or_else(|| Fault::Invalid(format!("the shape of {ty} is not bound")))
}

/// Number of elements, if it can be held.
fn checked_len(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// `TensorData` in the layout of its dtype from little-endian bytes: the one copy.
fn data_from_bytes(dtype: DType, shape: Shape, bytes: &[u8]) -> Result<TensorData, Fault> {
    macro_rules! read {
        ($t:ty) => {{
            let (chunks, _) = bytes.as_chunks::<{ size_of::<$t>() }>();
            TensorData::new(collected(chunks.len(), chunks.iter().map(|c| <$t>::from_le_bytes(*c)))?, shape)
        }};
    }
    Ok(match dtype {
        DType::F32 => read!(f32),
        DType::F16 => read!(f16),
        DType::BF16 => read!(bf16),
        DType::F64 => read!(f64),
        DType::I8 => read!(i8),
        DType::I16 => read!(i16),
        DType::I32 => read!(i32),
        DType::I64 => read!(i64),
        DType::U8 => read!(u8),
        DType::Bool => TensorData::new(collected(bytes.len(), bytes.iter().map(|&b| b != 0))?, shape),
    })
}

/// Applies the function of the kind and keeps the kind.
macro_rules! same_kind {
    ($t:expr, $x:ident => $float:expr, $int:expr, $bool:expr $(,)?) => {
        match $t {
            InnerTensor::Float($x) => InnerTensor::Float($float),
            InnerTensor::Int($x) => InnerTensor::Int($int),
            InnerTensor::Bool($x) => InnerTensor::Bool($bool),
        }
    };
}

impl<B: BackendIr<Handle = HandleKind<B>>> InnerTensor<B> {
    /// From a handle, in the form that Flex and NdArray have it; `None` for a quantised tensor.
    pub fn from_handle(handle: HandleKind<B>) -> Option<Self> {
        match handle {
            HandleKind::Float(t) => Some(Self::Float(t)),
            HandleKind::Int(t) => Some(Self::Int(t)),
            HandleKind::Bool(t) => Some(Self::Bool(t)),
            HandleKind::Quantized(_) => None,
        }
    }

    /// The handle.
    pub fn into_handle(self) -> HandleKind<B> {
        match self {
            Self::Float(t) => HandleKind::Float(t),
            Self::Int(t) => HandleKind::Int(t),
            Self::Bool(t) => HandleKind::Bool(t),
        }
    }
}

impl<B: Backend> InnerTensor<B> {
    /// From row-major little-endian bytes, which need not be aligned. They are copied once, into memory
    /// that the backend then owns: neither Flex nor NdArray copies it again.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8], device: &Device<B>) -> Result<Self, Fault> {
        Self::check(dtype, shape, bytes.len(), device)?;
        Self::from_data(data_from_bytes(dtype, Shape::from(physical(shape)), bytes)?, device)
    }

    /// From row-major little-endian bytes that are shared: no copy if they are aligned and of a dtype that
    /// any bytes are valid for. Flex works on shared bytes as on its own. NdArray copies them at each
    /// use, so that [`InnerTensor::from_bytes`] is better there.
    pub fn from_shared(dtype: DType, shape: &[usize], bytes: &bytes::Bytes, device: &Device<B>) -> Result<Self, Fault> {
        let aligned = (bytes.as_ptr() as usize).is_multiple_of(dtype.size());
        if !aligned || dtype == DType::Bool || cfg!(target_endian = "big") {
            return Self::from_bytes(dtype, shape, bytes, device);
        }
        Self::check(dtype, shape, bytes.len(), device)?;
        let bytes = Bytes::from_shared(bytes.clone(), AllocationProperty::Other);
        Self::from_data(TensorData::from_bytes(bytes, Shape::from(physical(shape)), burn_dtype(dtype)), device)
    }

    fn check(dtype: DType, shape: &[usize], len: usize, device: &Device<B>) -> Result<(), Fault> {
        if !B::supports_dtype(device, burn_dtype(dtype)) {
            return Err(Fault::Dtype { dtype, backend: B::name(device) });
        }
        if checked_len(shape).and_then(|n| n.checked_mul(dtype.size())) != Some(len) {
            return Err(Fault::Invalid(format!("{len} bytes for {dtype}{shape:?}")));
        }
        Ok(())
    }

    /// From Burn's own form of host data; no copy.
    pub fn from_data(data: TensorData, device: &Device<B>) -> Result<Self, Fault> {
        Ok(match graph_dtype(data.dtype) {
            Some(DType::Bool) => Self::Bool(B::bool_from_data(data, device)),
            Some(d) if d.is_int() => Self::Int(B::int_from_data(data, device)),
            Some(_) => Self::Float(B::float_from_data(data, device)),
            None => return Err(Fault::Invalid(format!("{:?} is not a dtype of the graph", data.dtype))),
        })
    }

    /// The elements in row-major order. There is no copy where the tensor is the only one that holds them and
    /// they lie in that order already (NdArray: where its array owns them); otherwise one.
    pub fn into_data(self) -> Result<TensorData, Fault> {
        let data = match self {
            Self::Float(t) => try_read_sync(B::float_into_data(t)),
            Self::Int(t) => try_read_sync(B::int_into_data(t)),
            Self::Bool(t) => try_read_sync(B::bool_into_data(t)),
        };
        match data {
            Some(Ok(d)) if matches!(d.dtype, BurnDType::Bool(BoolStore::U8 | BoolStore::U32)) => {
                Ok(d.convert_dtype(BurnDType::Bool(BoolStore::Native)))
            }
            Some(Ok(d)) => Ok(d),
            Some(Err(e)) => Err(Fault::Unsupported(format!("the elements cannot be read: {e}"))),
            None => Err(Fault::Unsupported("the backend does not read its tensors at once".into())),
        }
    }

    /// The elements as row-major bytes in native order: [`InnerTensor::into_data`] and one copy.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Fault> {
        Ok(self.clone().into_data()?.bytes.to_vec())
    }

    /// Copies the elements, as row-major bytes in native order, to `out`, which is as long as they are.
    pub fn copy_to(self, out: &mut [u8]) -> Result<(), Fault> {
        // A view is made row-major first.
        memory::check(out.len() as u128)?;
        let data = self.into_data()?;
        let bytes: &[u8] = &data.bytes;
        if bytes.len() != out.len() {
            return Err(Fault::Invalid(format!("{} bytes for a place of {}", bytes.len(), out.len())));
        }
        out.copy_from_slice(bytes);
        Ok(())
    }

    /// The dtype; `None` for one that the graph has not (unsigned wider than a byte, quantised).
    pub fn dtype(&self) -> Option<DType> {
        graph_dtype(match self {
            Self::Float(t) => t.dtype(),
            Self::Int(t) => t.dtype(),
            Self::Bool(t) => t.dtype(),
        })
    }

    /// The dtype, or a fault.
    pub(super) fn need_dtype(&self) -> Result<DType, Fault> {
        self.dtype().ok_or_else(|| Fault::Invalid("a dtype that the graph has not".into()))
    }

    /// The extents; a scalar of the graph has `[1]`.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Float(t) => t.shape(),
            Self::Int(t) => t.shape(),
            Self::Bool(t) => t.shape(),
        }
        .to_vec()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one number of a tensor of one element.
    pub(super) fn to_scalar(&self) -> Result<Scalar, Fault> {
        let dtype = self.need_dtype()?;
        let data = self.clone().into_data()?;
        match Scalar::from_le_bytes(dtype, &data.bytes) {
            Some(s) if self.len() == 1 => Ok(s),
            _ => Err(Fault::Invalid(format!("one element is needed, not {}", self.len()))),
        }
    }

    /// The elements of an integer (or bool) tensor.
    pub(super) fn to_i64s(&self) -> Result<Vec<i64>, Fault> {
        let dtype = self.need_dtype()?;
        let data = self.clone().into_data()?;
        let bytes: &[u8] = &data.bytes;
        if dtype == DType::I64 {
            return Ok(bytes.as_chunks::<8>().0.iter().map(|c| i64::from_ne_bytes(*c)).collect());
        }
        Ok(bytes
            .chunks_exact(dtype.size())
            .filter_map(|b| Scalar::from_le_bytes(dtype, b))
            .map(Scalar::to_i64)
            .collect())
    }

    /// From integers.
    pub(super) fn from_i64s(values: Vec<i64>, shape: &[usize], device: &Device<B>) -> Self {
        Self::Int(B::int_from_data(TensorData::new(values, Shape::from(physical(shape))), device))
    }

    /// From bools.
    pub(super) fn from_bools(values: Vec<bool>, shape: &[usize], device: &Device<B>) -> Self {
        Self::Bool(B::bool_from_data(TensorData::new(values, Shape::from(physical(shape))), device))
    }

    /// One value everywhere.
    pub(super) fn full(value: Scalar, shape: &[usize], device: &Device<B>) -> Result<Self, Fault> {
        let (shape, v) = (Shape::from(physical(shape)), burn_scalar(value));
        Ok(match value.dtype() {
            DType::Bool if value.to_i64() == 0 => Self::Bool(B::bool_zeros(shape, device, BOOL)),
            DType::Bool => Self::Bool(B::bool_ones(shape, device, BOOL)),
            d if d.is_int() => Self::Int(B::int_full(shape, v, device, int_dtype(d)?)),
            d => Self::Float(B::float_full(shape, v, device, float_dtype(d)?)),
        })
    }

    /// The float tensor, or a fault.
    pub(super) fn float(self) -> Result<FloatTensor<B>, Fault> {
        match self {
            Self::Float(t) => Ok(t),
            t => Err(Fault::Invalid(format!("a float is needed, not {t:?}"))),
        }
    }

    /// The integer tensor, or a fault.
    pub(super) fn int(self) -> Result<IntTensor<B>, Fault> {
        match self {
            Self::Int(t) => Ok(t),
            t => Err(Fault::Invalid(format!("an integer is needed, not {t:?}"))),
        }
    }

    /// The bool tensor, or a fault.
    pub(super) fn bool(self) -> Result<BoolTensor<B>, Fault> {
        match self {
            Self::Bool(t) => Ok(t),
            t => Err(Fault::Invalid(format!("a bool is needed, not {t:?}"))),
        }
    }

    // ---- what Burn has for every kind ----

    /// The same elements in another shape, if it is another.
    pub(super) fn reshape(self, shape: &[usize]) -> Result<Self, Fault> {
        let (from, to) = (self.shape(), physical(shape));
        if from == to {
            return Ok(self);
        }
        if checked_len(&to) != Some(self.len()) {
            return Err(Fault::Invalid(format!("{from:?} cannot become {to:?}")));
        }
        let s = Shape::from(to);
        Ok(same_kind!(self, t => B::float_reshape(t, s), B::int_reshape(t, s), B::bool_reshape(t, s)))
    }

    /// Leading axes of one entry added up to `rank`.
    pub(super) fn with_rank(self, rank: usize) -> Result<Self, Fault> {
        let shape = self.shape();
        if shape.len() >= rank {
            return Ok(self);
        }
        let mut to = vec![1; rank - shape.len()];
        to.extend(shape);
        self.reshape(&to)
    }

    /// Broadcast to `shape`, if it has not that already.
    pub(super) fn expand(self, shape: &[usize]) -> Result<Self, Fault> {
        let to = physical(shape);
        let x = self.with_rank(to.len())?;
        let from = x.shape();
        if from == to {
            return Ok(x);
        }
        if from.len() != to.len() || from.iter().zip(&to).any(|(&f, &t)| f != t && f != 1) {
            return Err(Fault::Invalid(format!("{from:?} does not broadcast to {to:?}")));
        }
        let s = Shape::from(to);
        Ok(same_kind!(x, t => B::float_expand(t, s), B::int_expand(t, s), B::bool_expand(t, s)))
    }

    /// Axes permuted.
    pub(super) fn permute(self, axes: &[usize]) -> Self {
        if axes.iter().enumerate().all(|(i, &a)| i == a) {
            return self;
        }
        same_kind!(self, t => B::float_permute(t, axes), B::int_permute(t, axes), B::bool_permute(t, axes))
    }

    /// A strided cut; a negative step takes the last entry of the range first.
    pub(super) fn slice(self, cuts: &[Slice]) -> Self {
        same_kind!(self, t => B::float_slice(t, cuts), B::int_slice(t, cuts), B::bool_slice(t, cuts))
    }

    /// Entries `from .. to` along `axis`.
    pub(super) fn narrow(self, axis: usize, from: usize, to: usize) -> Self {
        let shape = self.shape();
        if from == 0 && shape.get(axis) == Some(&to) {
            return self;
        }
        let cuts: Vec<_> =
            shape.iter().enumerate().map(|(i, &d)| if i == axis { range(from, to) } else { range(0, d) }).collect();
        self.slice(&cuts)
    }

    /// `self` with `value` in place of a cut.
    pub(super) fn slice_assign(self, cuts: &[Slice], value: Self) -> Result<Self, Fault> {
        Ok(match (self, value) {
            (Self::Float(t), Self::Float(v)) => Self::Float(B::float_slice_assign(t, cuts, v)),
            (Self::Int(t), Self::Int(v)) => Self::Int(B::int_slice_assign(t, cuts, v)),
            (Self::Bool(t), Self::Bool(v)) => Self::Bool(B::bool_slice_assign(t, cuts, v)),
            (t, v) => return Err(Fault::Invalid(format!("{v:?} into {t:?}"))),
        })
    }

    /// Reversed along axes.
    pub(super) fn flip(self, axes: &[usize]) -> Self {
        same_kind!(self, t => B::float_flip(t, axes), B::int_flip(t, axes), B::bool_flip(t, axes))
    }

    /// Repeated along an axis.
    pub(super) fn repeat(self, axis: usize, times: usize) -> Self {
        same_kind!(
            self,
            t => B::float_repeat_dim(t, axis, times),
            B::int_repeat_dim(t, axis, times),
            B::bool_repeat_dim(t, axis, times),
        )
    }

    /// Slices along an axis, by indices that are within it.
    pub(super) fn select(self, axis: usize, indices: IntTensor<B>) -> Self {
        match self {
            Self::Float(t) => Self::Float(B::float_select(t, axis, indices)),
            Self::Int(t) => Self::Int(B::int_select(t, axis, indices)),
            // As integers: Flex makes integers of bools here.
            Self::Bool(t) => from_int::<B>(B::int_select(B::bool_into_int(t, IntDType::U8), axis, indices)),
        }
    }

    /// One element an index along an axis; the other extents are equal.
    pub(super) fn gather(self, axis: usize, indices: IntTensor<B>) -> Self {
        match self {
            Self::Float(t) => Self::Float(B::float_gather(axis, t, indices)),
            Self::Int(t) => Self::Int(B::int_gather(axis, t, indices)),
            Self::Bool(t) => from_int::<B>(B::int_gather(axis, B::bool_into_int(t, IntDType::U8), indices)),
        }
    }

    /// Joined along an axis; one kind, at least one tensor.
    pub(super) fn cat(tensors: Vec<Self>, axis: usize) -> Result<Self, Fault> {
        match tensors.first() {
            None => Err(Fault::Invalid("nothing to join".into())),
            Some(_) if tensors.len() == 1 => tensors.into_iter().next().ok_or_else(|| Fault::Invalid("nothing".into())),
            Some(Self::Float(_)) => {
                let all = tensors.into_iter().map(Self::float).collect::<Result<Vec<_>, _>>()?;
                Ok(Self::Float(B::float_cat(all, axis)))
            }
            Some(Self::Int(_)) => {
                let all = tensors.into_iter().map(Self::int).collect::<Result<Vec<_>, _>>()?;
                Ok(Self::Int(B::int_cat(all, axis)))
            }
            Some(Self::Bool(_)) => {
                let all = tensors.into_iter().map(Self::bool).collect::<Result<Vec<_>, _>>()?;
                Ok(Self::Bool(B::bool_cat(all, axis)))
            }
        }
    }

    /// `value` where `mask` is true, else `self`; equal shapes.
    pub(super) fn mask_where(self, mask: BoolTensor<B>, value: Self) -> Result<Self, Fault> {
        Ok(match (self, value) {
            (Self::Float(t), Self::Float(v)) => Self::Float(B::float_mask_where(t, mask, v)),
            (Self::Int(t), Self::Int(v)) => Self::Int(B::int_mask_where(t, mask, v)),
            (Self::Bool(t), Self::Bool(v)) => Self::Bool(B::bool_mask_where(t, mask, v)),
            (t, v) => return Err(Fault::Invalid(format!("where of {v:?} and {t:?}"))),
        })
    }

    /// `value` where `mask` is true, else `self`; equal shapes.
    pub(super) fn mask_fill(self, mask: BoolTensor<B>, value: Scalar) -> Self {
        let v = burn_scalar(value);
        same_kind!(self, t => B::float_mask_fill(t, mask, v), B::int_mask_fill(t, mask, v), B::bool_mask_fill(t, mask, v))
    }
}

/// Bools of integers that are 0 or 1.
fn from_int<B: Backend>(t: IntTensor<B>) -> InnerTensor<B> {
    InnerTensor::Bool(B::int_not_equal_elem(t, BurnScalar::UInt(0), BOOL))
}

/// The cut `from .. to` with step 1.
pub(super) fn range(from: usize, to: usize) -> Slice {
    Slice::new(from as isize, Some(to as isize), 1)
}
