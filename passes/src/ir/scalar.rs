//! One typed number.

use super::DType;
use half::{bf16, f16};
use std::fmt;
use std::hash::{Hash, Hasher};

/// A number with its dtype; a float is held at the precision of its dtype.
#[derive(Clone, Copy, Debug)]
pub struct Scalar {
    dtype: DType,
    value: Value,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Float(f64),
    Int(i64),
}

impl Scalar {
    /// The number of `dtype` next to `value`: an integer truncates and saturates, NaN is 0; anything but zero is true.
    pub fn from_f64(dtype: DType, value: f64) -> Self {
        let value = match dtype {
            DType::F64 => Value::Float(value),
            DType::F32 => Value::Float(f64::from(value as f32)),
            DType::F16 => Value::Float(f16::from_f64(value).to_f64()),
            DType::BF16 => Value::Float(bf16::from_f64(value).to_f64()),
            DType::Bool => Value::Int(i64::from(value != 0.0)),
            DType::I64 => Value::Int(value as i64),
            DType::I32 => Value::Int((value as i32).into()),
            DType::I16 => Value::Int((value as i16).into()),
            DType::I8 => Value::Int((value as i8).into()),
            DType::U8 => Value::Int((value as u8).into()),
        };
        Self { dtype, value }
    }

    /// `value` converted to `dtype`: integers wrap.
    pub fn from_i64(dtype: DType, value: i64) -> Self {
        let value = match dtype {
            DType::Bool => Value::Int(i64::from(value != 0)),
            DType::I64 => Value::Int(value),
            DType::I32 => Value::Int((value as i32).into()),
            DType::I16 => Value::Int((value as i16).into()),
            DType::I8 => Value::Int((value as i8).into()),
            DType::U8 => Value::Int((value as u8).into()),
            // i64 -> f32 in one rounding, not through f64.
            DType::F32 => Value::Float(f64::from(value as f32)),
            _ => return Self::from_f64(dtype, value as f64),
        };
        Self { dtype, value }
    }

    /// A bool.
    pub fn bool(value: bool) -> Self {
        Self { dtype: DType::Bool, value: Value::Int(value.into()) }
    }

    /// An `f32`.
    pub fn f32(value: f32) -> Self {
        Self { dtype: DType::F32, value: Value::Float(value.into()) }
    }

    /// An `i64`.
    pub fn i64(value: i64) -> Self {
        Self { dtype: DType::I64, value: Value::Int(value) }
    }

    /// The dtype.
    pub fn dtype(self) -> DType {
        self.dtype
    }

    /// The value as `f64`; exact for every dtype but large `i64`.
    pub fn to_f64(self) -> f64 {
        match self.value {
            Value::Float(v) => v,
            Value::Int(v) => v as f64,
        }
    }

    /// The value as `i64`, a float truncated.
    pub fn to_i64(self) -> i64 {
        match self.value {
            Value::Float(v) => v as i64,
            Value::Int(v) => v,
        }
    }

    /// The same number as `dtype`. A float truncates: to `i32` and `i64` it saturates, NaN being 0, and narrower integers
    /// get it by [`Scalar::narrow`]; integers wrap.
    pub fn cast(self, dtype: DType) -> Self {
        match self.value {
            Value::Float(v) if matches!(dtype, DType::I16 | DType::I8 | DType::U8) => {
                Self::from_i64(dtype, Self::narrow(v).into())
            }
            Value::Float(v) => Self::from_f64(dtype, v),
            Value::Int(v) => Self::from_i64(dtype, v),
        }
    }

    /// A float truncated on its way to an integer of fewer than 32 bits, which keeps the low ones: as a CPU does it,
    /// and so ONNX Runtime. 0 if it is beyond `i32`, or NaN.
    pub fn narrow(value: f64) -> i32 {
        let fits = value > f64::from(i32::MIN) - 1.0 && value < f64::from(i32::MAX) + 1.0;
        if fits { value as i32 } else { 0 }
    }

    /// Reads one element from its little-endian bytes; `None` if too short.
    pub fn from_le_bytes(dtype: DType, b: &[u8]) -> Option<Self> {
        let b = b.get(..dtype.size())?;
        Some(match dtype {
            DType::F64 => Self::from_f64(dtype, f64::from_le_bytes(b.try_into().ok()?)),
            DType::F32 => Self::f32(f32::from_le_bytes(b.try_into().ok()?)),
            DType::F16 => Self::from_f64(dtype, f16::from_le_bytes(b.try_into().ok()?).to_f64()),
            DType::BF16 => Self::from_f64(dtype, bf16::from_le_bytes(b.try_into().ok()?).to_f64()),
            DType::I64 => Self::i64(i64::from_le_bytes(b.try_into().ok()?)),
            DType::I32 => Self::from_i64(dtype, i32::from_le_bytes(b.try_into().ok()?).into()),
            DType::I16 => Self::from_i64(dtype, i16::from_le_bytes(b.try_into().ok()?).into()),
            DType::I8 => Self::from_i64(dtype, i8::from_le_bytes(b.try_into().ok()?).into()),
            DType::U8 => Self::from_i64(dtype, b[0].into()),
            DType::Bool => Self::bool(b[0] != 0),
        })
    }

    /// Appends the little-endian bytes of the element.
    pub fn write_le_bytes(self, out: &mut Vec<u8>) {
        match self.dtype {
            DType::F64 => out.extend(self.to_f64().to_le_bytes()),
            DType::F32 => out.extend((self.to_f64() as f32).to_le_bytes()),
            DType::F16 => out.extend(f16::from_f64(self.to_f64()).to_le_bytes()),
            DType::BF16 => out.extend(bf16::from_f64(self.to_f64()).to_le_bytes()),
            DType::I64 => out.extend(self.to_i64().to_le_bytes()),
            DType::I32 => out.extend((self.to_i64() as i32).to_le_bytes()),
            DType::I16 => out.extend((self.to_i64() as i16).to_le_bytes()),
            DType::I8 => out.extend((self.to_i64() as i8).to_le_bytes()),
            DType::U8 | DType::Bool => out.push(self.to_i64() as u8),
        }
    }

    fn bits(self) -> (DType, u64) {
        match self.value {
            Value::Float(v) => (self.dtype, v.to_bits()),
            Value::Int(v) => (self.dtype, v as u64),
        }
    }
}

/// Bitwise: -0.0 differs from 0.0, a NaN equals the same NaN.
impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}

/// The number alone, shortest form that reads back the same at its dtype;
/// floats always show a point, an exponent, `inf` or `nan`.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Value::Int(v) if self.dtype == DType::Bool => write!(f, "{}", v != 0),
            Value::Int(v) => write!(f, "{v}"),
            Value::Float(v) if v.is_nan() => f.write_str("nan"),
            Value::Float(v) if v.is_infinite() => f.write_str(if v > 0.0 { "inf" } else { "-inf" }),
            Value::Float(v) => match self.dtype {
                DType::F64 => write!(f, "{v:?}"),
                // f16 and bf16 values are f32 values, and read back through f32.
                _ => write!(f, "{:?}", v as f32),
            },
        }
    }
}

/// An `f32` attribute, equal when its bits are.
#[derive(Clone, Copy, Debug)]
pub struct Float(pub f32);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Float {}

impl Hash for Float {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Scalar::f32(self.0).fmt(f)
    }
}
