//! Element types.

use super::SmallFloat;
use std::fmt;
use std::str::FromStr;

/// Element type of a tensor.
///
/// Types of less than a byte are packed in a [`Constant`](super::Constant), as they are in a file, element after element
/// from the lowest bit on. Wherever a tensor is computed with, an element takes a whole byte: integers as the 8-bit integer
/// of the same value, floats as their code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum DType {
    F32,
    F16,
    BF16,
    F64,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    F8E8M0,
    F6E2M3,
    F6E3M2,
    F4E2M1,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    I4,
    U4,
    I2,
    U2,
    Bool,
}

/// The kind of numbers that elements are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
    Bool,
}

impl DType {
    /// Every dtype, in the order of the declaration.
    pub const ALL: [DType; 25] = [
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::F64,
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
        DType::F8E8M0,
        DType::F6E2M3,
        DType::F6E3M2,
        DType::F4E2M1,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::I4,
        DType::U4,
        DType::I2,
        DType::U2,
        DType::Bool,
    ];

    /// The name in graph text, the kind of numbers, and the bits of one in a file; a bool takes a byte there.
    const fn facts(self) -> (&'static str, Kind, usize) {
        match self {
            DType::F32 => ("f32", Kind::Float, 32),
            DType::F16 => ("f16", Kind::Float, 16),
            DType::BF16 => ("bf16", Kind::Float, 16),
            DType::F64 => ("f64", Kind::Float, 64),
            DType::F8E4M3FN => ("f8e4m3fn", Kind::Float, 8),
            DType::F8E4M3FNUZ => ("f8e4m3fnuz", Kind::Float, 8),
            DType::F8E5M2 => ("f8e5m2", Kind::Float, 8),
            DType::F8E5M2FNUZ => ("f8e5m2fnuz", Kind::Float, 8),
            DType::F8E8M0 => ("f8e8m0", Kind::Float, 8),
            DType::F6E2M3 => ("f6e2m3", Kind::Float, 6),
            DType::F6E3M2 => ("f6e3m2", Kind::Float, 6),
            DType::F4E2M1 => ("f4e2m1", Kind::Float, 4),
            DType::I8 => ("i8", Kind::Signed, 8),
            DType::I16 => ("i16", Kind::Signed, 16),
            DType::I32 => ("i32", Kind::Signed, 32),
            DType::I64 => ("i64", Kind::Signed, 64),
            DType::U8 => ("u8", Kind::Unsigned, 8),
            DType::U16 => ("u16", Kind::Unsigned, 16),
            DType::U32 => ("u32", Kind::Unsigned, 32),
            DType::U64 => ("u64", Kind::Unsigned, 64),
            DType::I4 => ("i4", Kind::Signed, 4),
            DType::U4 => ("u4", Kind::Unsigned, 4),
            DType::I2 => ("i2", Kind::Signed, 2),
            DType::U2 => ("u2", Kind::Unsigned, 2),
            DType::Bool => ("bool", Kind::Bool, 8),
        }
    }

    /// Bytes of one element of a tensor; a bool takes one, and so does what is less than a byte in a file.
    pub const fn size(self) -> usize {
        self.bits().div_ceil(8)
    }

    /// Bits of one element of a constant, as in a file.
    pub const fn bits(self) -> usize {
        self.facts().2
    }

    /// True if several elements share a byte of a constant.
    pub const fn is_packed(self) -> bool {
        self.bits() < 8
    }

    /// Bytes of a constant of so many elements, unless they are more than can be counted.
    pub const fn constant_bytes(self, len: usize) -> Option<usize> {
        // Eight elements take as many bytes as one takes bits.
        match (len / 8).checked_mul(self.bits()) {
            Some(whole) => whole.checked_add((len % 8 * self.bits()).div_ceil(8)),
            None => None,
        }
    }

    /// True if this is a floating point type.
    pub const fn is_float(self) -> bool {
        matches!(self.facts().1, Kind::Float)
    }

    /// True if this is a floating point type of less than 32 bits, which is stored so but computed with as f32.
    pub const fn is_narrow_float(self) -> bool {
        self.is_float() && self.bits() < 32
    }

    /// The format, if it is a float of a byte or less.
    pub const fn small_float(self) -> Option<SmallFloat> {
        Some(match self {
            DType::F8E4M3FN => SmallFloat::E4M3FN,
            DType::F8E4M3FNUZ => SmallFloat::E4M3FNUZ,
            DType::F8E5M2 => SmallFloat::E5M2,
            DType::F8E5M2FNUZ => SmallFloat::E5M2FNUZ,
            DType::F8E8M0 => SmallFloat::E8M0,
            DType::F6E2M3 => SmallFloat::E2M3,
            DType::F6E3M2 => SmallFloat::E3M2,
            DType::F4E2M1 => SmallFloat::E2M1,
            _ => return None,
        })
    }

    /// True if this is an integer type; a bool is not.
    pub const fn is_int(self) -> bool {
        matches!(self.facts().1, Kind::Signed | Kind::Unsigned)
    }

    /// True if this is an integer type without negative numbers.
    pub const fn is_unsigned(self) -> bool {
        matches!(self.facts().1, Kind::Unsigned)
    }

    /// An integer in the range of this integer type, of which the low bits are kept. Of 64 bits without a sign, the i64 of
    /// the same bits.
    pub const fn wrap(self, value: i64) -> i64 {
        let unused = 64 - self.bits() as u32;
        let high = value << unused;
        if self.is_unsigned() { (high as u64 >> unused) as i64 } else { high >> unused }
    }

    /// The number that an integer of this type is, which is held as an i64: of a u64, as its bits.
    pub const fn number(self, held: i64) -> i128 {
        if matches!(self, DType::U64) { held as u64 as i128 } else { held as i128 }
    }

    /// The least and the greatest number of an integer type.
    pub const fn range(self) -> (i128, i128) {
        let bits = self.bits();
        match self.facts().1 {
            Kind::Unsigned => (0, (1 << bits) - 1),
            Kind::Signed => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            Kind::Float | Kind::Bool => (0, 1),
        }
    }

    /// True if every number of another dtype is one of this and of its kind, so that a cast to this before another cast is
    /// not seen: an integer wraps where a float saturates.
    pub const fn holds(self, other: DType) -> bool {
        match (self.facts().1, other.facts().1) {
            (Kind::Bool, Kind::Bool) => true,
            // There is no 0 among powers of two.
            (_, Kind::Bool) => !matches!(self, DType::F8E8M0),
            (Kind::Signed | Kind::Unsigned, Kind::Signed | Kind::Unsigned) => {
                self.range().0 <= other.range().0 && other.range().1 <= self.range().1
            }
            (Kind::Float, Kind::Float) => {
                self as u8 == other as u8 || matches!(self, DType::F32 | DType::F64) && self.bits() >= other.bits()
            }
            _ => false,
        }
    }

    /// The name used in graph text.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        DType::ALL.into_iter().find(|d| d.name() == s).ok_or(())
    }
}
