//! Tensors in host memory, for what Burn has no function for: moving elements
//! by their bytes, and arithmetic on single numbers.

use super::{Fault, InnerTensor, Res};
use bgz_passes::ir::{Binary, DType, Scalar};
use burn_backend::Backend;
use burn_backend::tensor::Device;
use half::{bf16, f16};

/// Row-major elements as bytes, in native order.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Host {
    /// The elements of a tensor of a backend.
    pub fn new<B: Backend>(t: InnerTensor<B>) -> Res<Self> {
        let (dtype, shape) = (t.need_dtype()?, t.shape());
        Ok(Self { dtype, shape, bytes: t.into_data()?.bytes.to_vec() })
    }

    /// Elements that are all zero.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Res<Self> {
        let len = shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
        let mut bytes = Vec::new();
        let len = len.unwrap_or(usize::MAX);
        bytes.try_reserve_exact(len).map_err(|_| Fault::Memory { bytes: len })?;
        bytes.resize(len, 0);
        Ok(Self { dtype, shape: shape.to_vec(), bytes })
    }

    /// The tensor of a backend.
    pub fn into_tensor<B: Backend>(self, device: &Device<B>) -> Res<InnerTensor<B>> {
        InnerTensor::from_bytes(self.dtype, &self.shape, &self.bytes, device)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Every element in row-major order.
    pub fn scalars(&self) -> impl Iterator<Item = Scalar> + '_ {
        self.bytes.chunks_exact(self.dtype.size()).filter_map(|b| Scalar::from_le_bytes(self.dtype, b))
    }

    /// A function of the integers of two tensors of `shape`, or of one element that meets all of the other's.
    pub fn zip(f: Binary, a: &Host, b: &Host, shape: &[usize]) -> Res<Host> {
        let mut out = Host::zeros(a.dtype, shape)?;
        macro_rules! write {
            ($t:ty) => {{
                let [x, y] = [a, b].map(|h| h.bytes.as_chunks::<{ size_of::<$t>() }>().0);
                let (x_step, y_step) = (usize::from(x.len() > 1), usize::from(y.len() > 1));
                let places = out.bytes.as_chunks_mut::<{ size_of::<$t>() }>().0;
                for (i, to) in places.iter_mut().enumerate() {
                    let [x, y] = [x[i * x_step], y[i * y_step]].map(|c| <$t>::from_le_bytes(c) as i64);
                    let value = f.eval_ints(x, y).ok_or_else(division_by_zero)?;
                    // What does not fit wraps.
                    *to = (value as $t).to_le_bytes();
                }
            }};
        }
        match a.dtype {
            DType::I8 => write!(i8),
            DType::I16 => write!(i16),
            DType::I32 => write!(i32),
            DType::I64 => write!(i64),
            DType::U8 => write!(u8),
            other => return Err(Fault::Invalid(format!("{} of integers, not {other}", f.name()))),
        }
        Ok(out)
    }

    /// Another dtype, as [`Scalar::cast`] has it.
    pub fn cast(&self, to: DType) -> Host {
        macro_rules! write {
            ($from:ty, |$x:ident| $value:expr, $narrow:expr) => {{
                let narrow = $narrow;
                let values = self.bytes.as_chunks::<{ size_of::<$from>() }>().0;
                let values = values.iter().map(|c| {
                    let $x = <$from>::from_le_bytes(*c);
                    $value
                });
                match to {
                    DType::I8 => values.flat_map(|v| (narrow(v) as i8).to_le_bytes()).collect(),
                    DType::I16 => values.flat_map(|v| (narrow(v) as i16).to_le_bytes()).collect(),
                    DType::I32 => values.flat_map(|v| (v as i32).to_le_bytes()).collect(),
                    DType::I64 => values.flat_map(|v| (v as i64).to_le_bytes()).collect(),
                    DType::U8 => values.map(|v| narrow(v) as u8).collect(),
                    _ => self.cast_slowly(to),
                }
            }};
            ($from:ty, |$x:ident| $value:expr) => {
                write!($from, |$x| $value, |v| Scalar::narrow(f64::from(v)))
            };
            ($from:ty) => {
                write!($from, |x| x, |v| v)
            };
        }
        let bytes = match self.dtype {
            DType::F32 => write!(f32, |x| x),
            DType::F64 => write!(f64, |x| x),
            DType::F16 => write!(f16, |x| x.to_f32()),
            DType::BF16 => write!(bf16, |x| x.to_f32()),
            DType::I64 => write!(i64),
            DType::I32 => write!(i32),
            DType::I16 => write!(i16),
            DType::I8 => write!(i8),
            DType::U8 => write!(u8),
            DType::Bool => self.cast_slowly(to),
        };
        Host { dtype: to, shape: self.shape.clone(), bytes }
    }

    fn cast_slowly(&self, to: DType) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len() * to.size());
        self.scalars().for_each(|s| s.cast(to).write_le_bytes(&mut bytes));
        bytes
    }

    /// The elements as `f64`.
    pub fn to_f64s(&self) -> Vec<f64> {
        self.scalars().map(Scalar::to_f64).collect()
    }

    /// From `f64`, each rounded to `dtype`.
    pub fn from_f64s(dtype: DType, shape: &[usize], values: &[f64]) -> Host {
        let mut bytes = Vec::with_capacity(values.len() * dtype.size());
        values.iter().for_each(|&v| Scalar::from_f64(dtype, v).write_le_bytes(&mut bytes));
        Host { dtype, shape: shape.to_vec(), bytes }
    }
}

/// What an integer that is divided by zero gives.
pub(super) fn division_by_zero() -> Fault {
    Fault::Invalid("division by zero".into())
}

/// Distance, in elements, from one entry to the next along each axis of a row-major tensor.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        out[i - 1] = out[i] * shape[i];
    }
    out
}

/// The place of row-major element `i` along each axis.
pub(super) fn unravel(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut out = vec![0; shape.len()];
    for (o, &d) in out.iter_mut().zip(shape).rev() {
        *o = i % d.max(1);
        i /= d.max(1);
    }
    out
}
