//! Tensors of numbers, for what is computed op by op: the oracle, folded constants.

use super::broadcast::checked_len;
use super::{Constant, DType, Scalar, Type};
use std::sync::Arc;

/// Elements a tensor may have; the evaluator is for small cases, and a hostile
/// graph must not exhaust memory.
pub const MAX_LEN: usize = 1 << 28;

/// A dense row-major tensor. Floats are held as `f64` at the precision of
/// their dtype, integers and bools as `i64` in its range, a `u64` as the one of its bits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    Float(Arc<Vec<f64>>),
    Int(Arc<Vec<i64>>),
}

impl Tensor {
    /// A tensor from its elements, each converted to `dtype`; `None` if their
    /// number does not fit the shape.
    pub fn new(dtype: DType, shape: Vec<usize>, values: impl IntoIterator<Item = Scalar>) -> Option<Self> {
        let data = if dtype.is_float() {
            Data::float(values.into_iter().map(|s| s.cast(dtype).to_f64()).collect())
        } else {
            Data::int(values.into_iter().map(|s| s.cast(dtype).to_i64()).collect())
        };
        (checked_len(&shape).ok()? == data.len()).then_some(Self { dtype, shape, data })
    }

    /// A float tensor, each value rounded to `dtype`; an integer one for an integer dtype.
    pub fn f64s(dtype: DType, shape: impl Into<Vec<usize>>, values: &[f64]) -> Option<Self> {
        Self::new(dtype, shape.into(), values.iter().map(|&v| Scalar::from_f64(dtype, v)))
    }

    /// An `f32` tensor.
    pub fn f32s(shape: impl Into<Vec<usize>>, values: &[f32]) -> Option<Self> {
        Self::new(DType::F32, shape.into(), values.iter().map(|&v| Scalar::f32(v)))
    }

    /// An `i64` tensor.
    pub fn i64s(shape: impl Into<Vec<usize>>, values: &[i64]) -> Option<Self> {
        Self::new(DType::I64, shape.into(), values.iter().map(|&v| Scalar::i64(v)))
    }

    /// A bool tensor.
    pub fn bools(shape: impl Into<Vec<usize>>, values: &[bool]) -> Option<Self> {
        Self::new(DType::Bool, shape.into(), values.iter().map(|&v| Scalar::bool(v)))
    }

    /// One number.
    pub fn scalar(value: Scalar) -> Self {
        let dtype = value.dtype();
        let data = if dtype.is_float() { Data::float(vec![value.to_f64()]) } else { Data::int(vec![value.to_i64()]) };
        Self { dtype, shape: Vec::new(), data }
    }

    /// The elements of a constant, unless it has only a hash.
    pub fn from_constant(c: &Constant) -> Option<Self> {
        Self::new(c.dtype(), c.shape().to_vec(), c.scalars()?)
    }

    /// A constant of the elements.
    pub fn to_constant(&self) -> Constant {
        let mut bytes = Vec::new();
        self.scalars().for_each(|s| s.write_le_bytes(&mut bytes));
        Constant::from_elements(self.dtype, self.shape.clone(), bytes.into())
            .unwrap_or_else(|| Constant::absent(self.dtype, self.shape.clone(), 0))
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type, all dims known.
    pub fn ty(&self) -> Type {
        Type::new(self.dtype, self.shape.iter().copied())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// True if the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `i` in row-major order.
    pub fn get(&self, i: usize) -> Option<Scalar> {
        match &self.data {
            Data::Float(v) => Some(Scalar::from_f64(self.dtype, *v.get(i)?)),
            Data::Int(v) => Some(Scalar::from_i64(self.dtype, *v.get(i)?)),
        }
    }

    /// Every element in row-major order.
    pub fn scalars(&self) -> impl Iterator<Item = Scalar> + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    /// Every element as `f64`, in row-major order.
    pub fn to_f64s(&self) -> Vec<f64> {
        match &self.data {
            Data::Float(v) => v.to_vec(),
            Data::Int(v) => v.iter().map(|&i| self.dtype.number(i) as f64).collect(),
        }
    }

    /// Every element as `f32`, in row-major order.
    pub fn to_f32s(&self) -> Vec<f32> {
        self.to_f64s().into_iter().map(|v| v as f32).collect()
    }

    /// The elements of an integer or bool tensor, of `u64` their bits: [`DType::number`] makes numbers of them.
    pub fn ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Int(v) => Some(v),
            Data::Float(_) => None,
        }
    }

    /// The elements of a float tensor.
    pub fn floats(&self) -> Option<&[f64]> {
        match &self.data {
            Data::Float(v) => Some(v),
            Data::Int(_) => None,
        }
    }

    // ---- for the evaluators ----

    /// From values in `f64`, rounded to `dtype`.
    pub(super) fn rounded(dtype: DType, shape: Vec<usize>, values: Vec<f64>) -> Result<Self, String> {
        let data = match dtype {
            DType::F64 => Data::float(values),
            d if d.is_float() => Data::float(values.into_iter().map(|v| Scalar::from_f64(d, v).to_f64()).collect()),
            d => Data::int(values.into_iter().map(|v| Scalar::from_f64(d, v).to_i64()).collect()),
        };
        Self::fitting(dtype, shape, data)
    }

    /// From values in `i64`, wrapped to `dtype`: of `u64`, from their bits.
    pub(super) fn wrapped(dtype: DType, shape: Vec<usize>, values: Vec<i64>) -> Result<Self, String> {
        let data = match dtype {
            DType::I64 => Data::int(values),
            d if d.is_float() => Data::float(values.into_iter().map(|v| Scalar::from_i64(d, v).to_f64()).collect()),
            d => Data::int(values.into_iter().map(|v| Scalar::from_i64(d, v).to_i64()).collect()),
        };
        Self::fitting(dtype, shape, data)
    }

    fn fitting(dtype: DType, shape: Vec<usize>, data: Data) -> Result<Self, String> {
        let len = checked_len(&shape)?;
        if len != data.len() {
            return Err(format!("{} elements do not fit {shape:?}", data.len()));
        }
        Ok(Self { dtype, shape, data })
    }

    /// The same elements under another shape.
    pub(super) fn with_shape(&self, shape: Vec<usize>) -> Result<Self, String> {
        Self::fitting(self.dtype, shape, self.data.clone())
    }

    /// A tensor of `shape` whose elements are those at `from`, in order.
    pub(super) fn pick(&self, shape: Vec<usize>, from: impl Iterator<Item = usize>) -> Result<Self, String> {
        checked_len(&shape)?;
        let data = match &self.data {
            Data::Float(v) => Data::float(pick(v, from)?),
            Data::Int(v) => Data::int(pick(v, from)?),
        };
        Self::fitting(self.dtype, shape, data)
    }

    /// As [`Tensor::pick`], with `fill` where there is no element.
    pub(super) fn pick_or(
        &self,
        shape: Vec<usize>,
        fill: Scalar,
        from: impl Iterator<Item = Option<usize>>,
    ) -> Result<Self, String> {
        checked_len(&shape)?;
        let fill = fill.cast(self.dtype);
        let data = match &self.data {
            Data::Float(v) => Data::float(pick_or(v, fill.to_f64(), from)?),
            Data::Int(v) => Data::int(pick_or(v, fill.to_i64(), from)?),
        };
        Self::fitting(self.dtype, shape, data)
    }

    /// The elements of tensors of one dtype, one after the other.
    pub(super) fn chain(&self, others: &[Tensor]) -> Result<Self, String> {
        let all = std::iter::once(self).chain(others);
        let data = match &self.data {
            Data::Float(_) => Data::float(all.flat_map(|t| t.floats().unwrap_or_default()).copied().collect()),
            Data::Int(_) => Data::int(all.flat_map(|t| t.ints().unwrap_or_default()).copied().collect()),
        };
        let shape = vec![data.len()];
        Self::fitting(self.dtype, shape, data)
    }

    /// The same with the elements at `places` replaced, later ones winning.
    pub(super) fn replaced(&self, places: impl Iterator<Item = (usize, Scalar)>) -> Result<Self, String> {
        let mut out = self.clone();
        let outside = || "an index is out of range".to_string();
        match &mut out.data {
            Data::Float(v) => {
                let v = Arc::make_mut(v);
                for (at, s) in places {
                    *v.get_mut(at).ok_or_else(outside)? = s.to_f64();
                }
            }
            Data::Int(v) => {
                let v = Arc::make_mut(v);
                for (at, s) in places {
                    *v.get_mut(at).ok_or_else(outside)? = s.to_i64();
                }
            }
        }
        Ok(out)
    }
}

/// Same type and bitwise the same elements.
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.scalars().eq(other.scalars())
    }
}

impl Data {
    fn float(v: Vec<f64>) -> Self {
        Data::Float(Arc::new(v))
    }

    fn int(v: Vec<i64>) -> Self {
        Data::Int(Arc::new(v))
    }

    fn len(&self) -> usize {
        match self {
            Data::Float(v) => v.len(),
            Data::Int(v) => v.len(),
        }
    }
}

fn pick<T: Copy>(v: &[T], from: impl Iterator<Item = usize>) -> Result<Vec<T>, String> {
    from.map(|i| v.get(i).copied().ok_or_else(|| format!("element {i} of {}", v.len()))).collect()
}

fn pick_or<T: Copy>(v: &[T], fill: T, from: impl Iterator<Item = Option<usize>>) -> Result<Vec<T>, String> {
    from.map(|i| match i {
        None => Ok(fill),
        Some(i) => v.get(i).copied().ok_or_else(|| format!("element {i} of {}", v.len())),
    })
    .collect()
}
