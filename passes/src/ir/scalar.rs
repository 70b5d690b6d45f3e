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
    /// The bits of a `u64`, else the number.
    Int(i64),
}

impl Scalar {
    /// The number of `dtype` next to `value`: an integer truncates and saturates, NaN is 0; anything but zero is true; a
    /// float beyond the largest is an infinity, or what its format has in place of one
    /// ([`SmallFloat::encode`](super::SmallFloat::encode)).
    pub fn from_f64(dtype: DType, value: f64) -> Self {
        let value = match dtype {
            DType::F64 => Value::Float(value),
            DType::F32 => Value::Float(f64::from(value as f32)),
            DType::F16 => Value::Float(f16::from_f64(value).to_f64()),
            DType::BF16 => Value::Float(bf16::from_f64(value).to_f64()),
            DType::Bool => Value::Int(i64::from(value != 0.0)),
            DType::I64 => Value::Int(value as i64),
            DType::U64 => Value::Int(value as u64 as i64),
            _ => match dtype.small_float() {
                Some(format) => Value::Float(format.round(value).into()),
                // As long as it is exact in f64, as numbers of 32 bits are.
                None => Value::Int(value.clamp(dtype.range().0 as f64, dtype.range().1 as f64) as i64),
            },
        };
        Self { dtype, value }
    }

    /// `value` converted to `dtype`: integers wrap.
    pub fn from_i64(dtype: DType, value: i64) -> Self {
        match dtype {
            d if d.is_int() => Self { dtype, value: Value::Int(d.wrap(value)) },
            DType::Bool => Self { dtype, value: Value::Int(i64::from(value != 0)) },
            // i64 -> f32 in one rounding, not through f64.
            DType::F32 => Self::f32(value as f32),
            _ => Self::from_f64(dtype, value as f64),
        }
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

    /// The value as `f64`; exact for every dtype but large integers of 64 bits.
    pub fn to_f64(self) -> f64 {
        match self.value {
            Value::Float(v) => v,
            Value::Int(v) if self.dtype == DType::U64 => v as u64 as f64,
            Value::Int(v) => v as f64,
        }
    }

    /// The value as `i64`, a float truncated; of a `u64`, the `i64` of the same bits.
    pub fn to_i64(self) -> i64 {
        match self.value {
            Value::Float(v) => v as i64,
            Value::Int(v) => v,
        }
    }

    /// The value as an integer that is wide enough for those of every dtype, a float truncated.
    pub fn to_i128(self) -> i128 {
        match self.value {
            Value::Float(v) => v as i128,
            Value::Int(v) => self.dtype.number(v),
        }
    }

    /// The same number as `dtype`. A float truncates: to integers of 32 and 64 bits it saturates, NaN being 0, and narrower
    /// ones get it by [`Scalar::narrow`]; integers wrap.
    pub fn cast(self, dtype: DType) -> Self {
        match self.value {
            Value::Float(v) if dtype.is_int() && dtype.bits() < 32 => Self::from_i64(dtype, Self::narrow(v).into()),
            Value::Float(v) => Self::from_f64(dtype, v),
            Value::Int(v) if self.dtype == DType::U64 => match dtype {
                DType::F32 => Self::f32(v as u64 as f32),
                d if d.is_float() => Self::from_f64(d, v as u64 as f64),
                d => Self::from_i64(d, v),
            },
            Value::Int(v) => Self::from_i64(dtype, v),
        }
    }

    /// A float truncated on its way to an integer of fewer than 32 bits, which keeps the low ones: as a CPU does it,
    /// and so ONNX Runtime. 0 if it is beyond `i32`, or NaN.
    pub fn narrow(value: f64) -> i32 {
        let fits = value > f64::from(i32::MIN) - 1.0 && value < f64::from(i32::MAX) + 1.0;
        if fits { value as i32 } else { 0 }
    }

    /// Reads one element of a tensor from its little-endian bytes; `None` if too short.
    pub fn from_le_bytes(dtype: DType, b: &[u8]) -> Option<Self> {
        let b = b.get(..dtype.size())?;
        Some(match dtype {
            DType::F64 => Self::from_f64(dtype, f64::from_le_bytes(b.try_into().ok()?)),
            DType::F32 => Self::f32(f32::from_le_bytes(b.try_into().ok()?)),
            DType::F16 => Self::from_f64(dtype, f16::from_le_bytes(b.try_into().ok()?).to_f64()),
            DType::BF16 => Self::from_f64(dtype, bf16::from_le_bytes(b.try_into().ok()?).to_f64()),
            DType::Bool => Self::bool(b[0] != 0),
            _ => match dtype.small_float() {
                Some(format) => Self { dtype, value: Value::Float(format.decode(b[0]).into()) },
                None => Self::from_i64(dtype, b.iter().rev().fold(0, |n, &b| n << 8 | i64::from(b))),
            },
        })
    }

    /// Appends the little-endian bytes of the element of a tensor.
    pub fn write_le_bytes(self, out: &mut Vec<u8>) {
        match (self.dtype, self.value) {
            (DType::F64, _) => out.extend(self.to_f64().to_le_bytes()),
            (DType::F32, _) => out.extend((self.to_f64() as f32).to_le_bytes()),
            (DType::F16, _) => out.extend(f16::from_f64(self.to_f64()).to_le_bytes()),
            (DType::BF16, _) => out.extend(bf16::from_f64(self.to_f64()).to_le_bytes()),
            (dtype, Value::Int(v)) => out.extend(&v.to_le_bytes()[..dtype.size()]),
            (dtype, Value::Float(v)) => out.extend(dtype.small_float().map(|format| format.encode(v))),
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
            Value::Int(v) => write!(f, "{}", self.dtype.number(v)),
            Value::Float(v) if v.is_nan() => f.write_str("nan"),
            Value::Float(v) if v.is_infinite() => f.write_str(if v > 0.0 { "inf" } else { "-inf" }),
            Value::Float(v) => match self.dtype {
                DType::F64 => write!(f, "{v:?}"),
                // Values of narrower floats are f32 values, and read back through f32.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Binary, Unary};

    /// Casts of Rust's own integers beside those of scalars.
    #[test]
    fn integers_wrap_and_floats_are_made_of_the_whole_number() {
        macro_rules! from {
            ($from:ident, $t:ty, $values:expr) => {
                for v in $values {
                    let s = Scalar::from_i64(DType::$from, v as i64);
                    assert_eq!(s.to_i128(), v as i128);
                    let int = |d: DType| s.cast(d).to_i128();
                    assert_eq!(int(DType::I8), (v as i8).into());
                    assert_eq!(int(DType::I16), (v as i16).into());
                    assert_eq!(int(DType::I32), (v as i32).into());
                    assert_eq!(int(DType::I64), (v as i64).into());
                    assert_eq!(int(DType::U8), (v as u8).into());
                    assert_eq!(int(DType::U16), (v as u16).into());
                    assert_eq!(int(DType::U32), (v as u32).into());
                    assert_eq!(int(DType::U64), (v as u64).into());
                    assert_eq!(int(DType::I4), (v as i8).rem_euclid(16).into_signed(8).into());
                    assert_eq!(int(DType::U4), (v as u8 % 16).into());
                    assert_eq!(int(DType::I2), (v as i8).rem_euclid(4).into_signed(2).into());
                    assert_eq!(int(DType::U2), (v as u8 % 4).into());
                    assert_eq!(s.cast(DType::F32).to_f64(), f64::from(v as f32));
                    assert_eq!(s.cast(DType::F64).to_f64(), v as f64);
                    assert_eq!(s.cast(DType::Bool), Scalar::bool(v != 0));
                    let mut bytes = Vec::new();
                    s.write_le_bytes(&mut bytes);
                    assert_eq!(bytes, v.to_le_bytes());
                    assert_eq!(Scalar::from_le_bytes(DType::$from, &bytes), Some(s));
                    assert_eq!(s.to_string(), v.to_string());
                }
            };
        }
        /// From the low bits to a number with a sign.
        trait IntoSigned {
            fn into_signed(self, half: i8) -> i8;
        }
        impl IntoSigned for i8 {
            fn into_signed(self, half: i8) -> i8 {
                if self >= half { self - 2 * half } else { self }
            }
        }
        from!(U64, u64, [0, 1, 255, 1 << 24 | 1, (1 << 53) + 1, i64::MAX as u64, 1 << 63, (1 << 63) + 1025, u64::MAX]);
        from!(U32, u32, [0, 1, 77, 65536, (1 << 24) + 1, i32::MAX as u32, 1 << 31, u32::MAX]);
        from!(U16, u16, [0, 1, 255, 256, i16::MAX as u16, 1 << 15, u16::MAX]);
        from!(I64, i64, [i64::MIN, -1, 0, 1, i64::MAX]);
        from!(I16, i16, [i16::MIN, -129, -1, 0, 1, 200, i16::MAX]);
    }

    #[test]
    fn floats_saturate_in_wide_integers_and_keep_low_bits_in_narrow_ones() {
        let of = |v: f64, d| Scalar::from_f64(DType::F64, v).cast(d).to_i128();
        assert_eq!(of(-1.5, DType::U32), 0);
        assert_eq!(of(4e9, DType::U32), 4_000_000_000);
        assert_eq!(of(1e30, DType::U32), u32::MAX.into());
        assert_eq!(of(1.5e19, DType::U64), 15_000_000_000_000_000_000);
        assert_eq!(of(1e30, DType::U64), u64::MAX.into());
        assert_eq!(of(f64::NAN, DType::U64), 0);
        assert_eq!(of(-1.0, DType::U16), u16::MAX.into());
        assert_eq!(of(70000.7, DType::U16), 70000 - 65536);
        assert_eq!([-9.0, -1.0, 9.5, 17.0].map(|v| of(v, DType::I4)), [7, -1, -7, 1]);
        assert_eq!([-9.0, -1.0, 9.5, 17.0].map(|v| of(v, DType::U4)), [7, 15, 9, 1]);
        assert_eq!([-3.0, -2.0, 2.0, 3.0].map(|v| of(v, DType::I2)), [1, -2, -2, -1]);
        assert_eq!([-3.0, -2.0, 2.0, 3.0].map(|v| of(v, DType::U2)), [1, 2, 2, 3]);
    }

    #[test]
    fn numbers_of_u64_above_the_middle_are_above_the_others() {
        let n = |v: u64| Scalar::from_i64(DType::U64, v as i64);
        let (low, high) = (n(3), n(u64::MAX - 1));
        let of = |f: Binary| f.eval(high, low).expect("it is defined");
        assert_eq!(of(Binary::Gt), Scalar::bool(true));
        assert_eq!(of(Binary::Le), Scalar::bool(false));
        assert_eq!((of(Binary::Max), of(Binary::Min)), (high, low));
        assert_eq!(of(Binary::Div), n((u64::MAX - 1) / 3));
        assert_eq!((of(Binary::Rem), of(Binary::Mod)), (n((u64::MAX - 1) % 3), n((u64::MAX - 1) % 3)));
        assert_eq!(of(Binary::Add), n(1));
        assert_eq!(of(Binary::Mul), n((u64::MAX - 1).wrapping_mul(3)));
        assert_eq!(of(Binary::Pow), n((u64::MAX - 1).wrapping_pow(3)));
        assert_eq!(Binary::Pow.eval(low, high), Some(n(power(3, u64::MAX - 1))));
        assert_eq!(Unary::Sign.eval(high), Some(n(1)));
        assert_eq!(Unary::Relu.eval(high), Some(high));
        assert_eq!(Unary::Abs.eval(high), Some(high));
    }

    fn power(base: u64, exponent: u64) -> u64 {
        (0..64)
            .rev()
            .fold(1, |p: u64, bit| p.wrapping_mul(p).wrapping_mul(if exponent >> bit & 1 == 1 { base } else { 1 }))
    }
}
