//! A tensor in host memory: what goes into a run and what comes out.

use bgz_passes::ir::{Constant, DType, Scalar, Type};
use bgz_passes::memory::{collected, room};
use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};
use std::fmt;
use std::sync::Arc;

/// A dense tensor in row-major order, aligned to a cache line. Every element has bytes of its own: those that share bytes in
/// a file ([`DType::is_packed`]) take one each here, and floats of a byte or less are their codes. A clone shares its
/// elements until either is written to.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    len: usize,
    lines: Arc<Vec<Line>>,
}

/// A cache line: the unit of allocation, for its alignment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Rust types that are elements of a [`Tensor`].
pub trait Element: Pod {
    /// The dtype it is.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($t:ty = $d:ident),* $(,)?) => { $( impl Element for $t { const DTYPE: DType = DType::$d; } )* };
}

elements! {
    f32 = F32, f16 = F16, bf16 = BF16, f64 = F64, i8 = I8, i16 = I16, i32 = I32, i64 = I64,
    u8 = U8, u16 = U16, u32 = U32, u64 = U64,
}

impl Tensor {
    /// Zeros (false, for bools); `None` if memory does not suffice.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Option<Self> {
        let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        let bytes = len.checked_mul(dtype.size())?;
        if bytes > isize::MAX as usize - 64 {
            return None;
        }
        let lines = collected(bytes.div_ceil(64), std::iter::repeat(Line([0; 64]))).ok()?;
        Some(Self { dtype, shape: shape.to_vec(), len, lines: Arc::new(lines) })
    }

    /// From elements in row-major order; `None` if their number does not fit the shape.
    pub fn new<T: Element>(shape: &[usize], values: &[T]) -> Option<Self> {
        Self::from_bytes(T::DTYPE, shape, bytemuck::cast_slice(values))
    }

    /// From bools; `None` if their number does not fit the shape.
    pub fn from_bools(shape: &[usize], values: &[bool]) -> Option<Self> {
        let bytes: Vec<u8> = values.iter().map(|&b| b.into()).collect();
        Self::from_bytes(DType::Bool, shape, &bytes)
    }

    /// From the bytes of the elements in native order; `None` if their number does not fit.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Option<Self> {
        let len = shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d))?;
        if bytes.len() != len {
            return None;
        }
        let mut out = Self::zeros(dtype, shape)?;
        out.bytes_mut().copy_from_slice(bytes);
        Some(out)
    }

    /// The elements of a constant; `None` if they cannot be had ([`Constant::bytes`]), or held.
    pub fn from_constant(constant: &Constant) -> Option<Self> {
        Self::from_bytes(constant.dtype(), constant.shape(), &constant.elements().ok()?)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// dtype and shape.
    pub fn ty(&self) -> Type {
        Type::new(self.dtype, self.shape.iter().copied())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of the elements.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(self.lines.as_slice())[..self.len * self.dtype.size()]
    }

    /// The bytes of the elements.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(Arc::make_mut(&mut self.lines).as_mut_slice())[..self.len * self.dtype.size()]
    }

    /// The elements, if they are `T`.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        (T::DTYPE == self.dtype).then(|| bytemuck::cast_slice(self.bytes()))
    }

    /// The elements, if they are `T`.
    pub fn as_mut_slice<T: Element>(&mut self) -> Option<&mut [T]> {
        (T::DTYPE == self.dtype).then(|| bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    /// Every element in row-major order.
    pub fn scalars(&self) -> impl Iterator<Item = Scalar> + '_ {
        self.bytes().chunks_exact(self.dtype.size()).filter_map(|b| Scalar::from_le_bytes(self.dtype, b))
    }

    /// Every element as `f64`, in row-major order.
    pub fn to_f64s(&self) -> Vec<f64> {
        self.scalars().map(Scalar::to_f64).collect()
    }

    /// The same elements as another dtype; `None` if the size cannot be held.
    pub fn cast(&self, dtype: DType) -> Option<Self> {
        let mut bytes = room(self.len.checked_mul(dtype.size())?).ok()?;
        for s in self.scalars() {
            s.cast(dtype).write_le_bytes(&mut bytes);
        }
        Self::from_bytes(dtype, &self.shape, &bytes)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({})", self.ty())
    }
}

impl AsRef<[u8]> for Tensor {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}
