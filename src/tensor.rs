//! A tensor in host memory: what goes into a run and what comes out.

use bgz_passes::ir::{Constant, DType, Scalar, Type, Unavailable};
use bgz_passes::memory::{collected, room};
use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Why there is no such tensor, or no such elements in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The number of elements is not that of the shape.
    #[error("a tensor of shape {shape:?} has {needed} {}{}, not {given}", if *bytes { "byte" } else { "element" }, if *needed == 1 { "" } else { "s" })]
    Length {
        /// The shape.
        shape: Vec<usize>,
        /// As many as it needs.
        needed: usize,
        /// As many as were given.
        given: usize,
        /// True if bytes are counted.
        bytes: bool,
    },
    /// Memory does not suffice.
    #[error("memory does not suffice for a tensor {dtype}{shape:?}")]
    Memory {
        /// Element type.
        dtype: DType,
        /// The shape.
        shape: Vec<usize>,
    },
    /// The elements are not of the type asked for.
    #[error("the tensor is {held}, not {asked}")]
    DType {
        /// Its element type.
        held: DType,
        /// The one asked for.
        asked: DType,
    },
    /// The elements of a constant cannot be had.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

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

/// The number of elements of a shape, if so many can be addressed.
fn count(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let fits = |n: &usize| n.checked_mul(dtype.size()).is_some_and(|b| b <= isize::MAX as usize - 64);
    len.filter(fits).ok_or_else(|| TensorError::Memory { dtype, shape: shape.to_vec() })
}

impl Tensor {
    /// Zeros (false, for bools).
    ///
    /// # Errors
    /// Memory does not suffice.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Self, TensorError> {
        let len = count(dtype, shape)?;
        let lines = collected((len * dtype.size()).div_ceil(64), std::iter::repeat(Line([0; 64])));
        let lines = lines.map_err(|_| TensorError::Memory { dtype, shape: shape.to_vec() })?;
        Ok(Self { dtype, shape: shape.to_vec(), len, lines: Arc::new(lines) })
    }

    /// From elements in row-major order.
    ///
    /// ```
    /// use bgz_fusion::Tensor;
    ///
    /// let ids = Tensor::new(&[1, 4], &[101i64, 7592, 2088, 102])?;
    /// let mask = Tensor::new(&[1, 4], &vec![1i64; 4])?;
    /// assert_eq!(ids.as_slice::<i64>()?[1], 7592);
    /// assert_eq!(Tensor::new(&[3], &[1.0f32]).unwrap_err().to_string(), "a tensor of shape [3] has 3 elements, not 1");
    /// # Ok::<(), bgz_fusion::TensorError>(())
    /// ```
    ///
    /// # Errors
    /// Their number does not fit the shape, or memory does not suffice.
    pub fn new<T: Element>(shape: &[usize], values: &[T]) -> Result<Self, TensorError> {
        Self::of(T::DTYPE, shape, values.len(), bytemuck::cast_slice(values))
    }

    /// From one element, without axes.
    ///
    /// # Errors
    /// Memory does not suffice.
    pub fn scalar<T: Element>(value: T) -> Result<Self, TensorError> {
        Self::new(&[], &[value])
    }

    /// From bools in row-major order.
    ///
    /// # Errors
    /// As of [`Tensor::new`].
    pub fn from_bools(shape: &[usize], values: &[bool]) -> Result<Self, TensorError> {
        let bytes: Vec<u8> = values.iter().map(|&b| b.into()).collect();
        Self::of(DType::Bool, shape, values.len(), &bytes)
    }

    /// From the bytes of the elements in native order.
    ///
    /// # Errors
    /// As of [`Tensor::new`].
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Self, TensorError> {
        let needed = count(dtype, shape)? * dtype.size();
        if bytes.len() != needed {
            return Err(TensorError::Length { shape: shape.to_vec(), needed, given: bytes.len(), bytes: true });
        }
        Self::of(dtype, shape, needed / dtype.size(), bytes)
    }

    /// From so many elements.
    fn of(dtype: DType, shape: &[usize], given: usize, bytes: &[u8]) -> Result<Self, TensorError> {
        let needed = count(dtype, shape)?;
        if given != needed {
            return Err(TensorError::Length { shape: shape.to_vec(), needed, given, bytes: false });
        }
        let mut out = Self::zeros(dtype, shape)?;
        out.bytes_mut().copy_from_slice(bytes);
        Ok(out)
    }

    /// The elements of a constant.
    ///
    /// # Errors
    /// They cannot be had ([`Constant::bytes`]), or memory does not suffice.
    pub fn from_constant(constant: &Constant) -> Result<Self, TensorError> {
        Self::from_bytes(constant.dtype(), constant.shape(), &constant.elements()?)
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

    /// The elements in row-major order.
    ///
    /// # Errors
    /// They are not `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        self.check::<T>()?;
        Ok(bytemuck::cast_slice(self.bytes()))
    }

    /// The elements in row-major order, to be written.
    ///
    /// # Errors
    /// They are not `T`.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        self.check::<T>()?;
        Ok(bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    fn check<T: Element>(&self) -> Result<(), TensorError> {
        let (held, asked) = (self.dtype, T::DTYPE);
        if held == asked { Ok(()) } else { Err(TensorError::DType { held, asked }) }
    }

    /// Every element in row-major order.
    pub fn scalars(&self) -> impl Iterator<Item = Scalar> + '_ {
        self.bytes().chunks_exact(self.dtype.size()).filter_map(|b| Scalar::from_le_bytes(self.dtype, b))
    }

    /// Every element as `f64`, in row-major order.
    pub fn to_f64s(&self) -> Vec<f64> {
        self.scalars().map(Scalar::to_f64).collect()
    }

    /// The same elements as another dtype.
    ///
    /// # Errors
    /// Memory does not suffice.
    pub fn cast(&self, dtype: DType) -> Result<Self, TensorError> {
        let no_memory = |_| TensorError::Memory { dtype, shape: self.shape.clone() };
        let mut bytes = room(count(dtype, &self.shape)? * dtype.size()).map_err(no_memory)?;
        for s in self.scalars() {
            s.cast(dtype).write_le_bytes(&mut bytes);
        }
        Self::from_bytes(dtype, &self.shape, &bytes)
    }
}

#[cfg(feature = "arrays")]
mod arrays {
    use super::{Element, Tensor, TensorError};
    use ndarray::{ArrayBase, ArrayViewD, Data, Dimension, IxDyn};

    /// The elements of an array or a view, copied in row-major order.
    impl<T: Element, S: Data<Elem = T>, D: Dimension> TryFrom<&ArrayBase<S, D>> for Tensor {
        type Error = TensorError;

        fn try_from(array: &ArrayBase<S, D>) -> Result<Self, TensorError> {
            match array.as_slice() {
                Some(values) => Self::new(array.shape(), values),
                None => Self::new(array.shape(), &array.iter().copied().collect::<Vec<T>>()),
            }
        }
    }

    impl Tensor {
        /// The elements as a view of an `ndarray` array.
        ///
        /// # Errors
        /// They are not `T`.
        pub fn view<T: Element>(&self) -> Result<ArrayViewD<'_, T>, TensorError> {
            let values = self.as_slice::<T>()?;
            let wrong = |_| TensorError::Memory { dtype: self.dtype(), shape: self.shape().to_vec() };
            ArrayViewD::from_shape(IxDyn(self.shape()), values).map_err(wrong)
        }
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
