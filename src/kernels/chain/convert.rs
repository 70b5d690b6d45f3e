//! Steps that change the element type: casts, and the ends of a chain whose
//! elements are not lanes.

use super::integer::{Each1, Loop1};
use crate::kernels::Isa;
use crate::kernels::simd::{TileFn, tile_fn};

/// How elements are held while a chain runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    F32,
    I32,
    I64,
    /// An i32 of 0 or 1.
    Truth,
}

impl Lane {
    pub(super) fn size(self) -> usize {
        if self == Lane::I64 { 8 } else { 4 }
    }
}

macro_rules! convert {
    ($isa:ident, $a:ty => $y:ty, |$x:ident| $body:expr) => {{
        struct Convert;
        impl Each1<$a, $y> for Convert {
            #[inline(always)]
            fn each($x: $a) -> $y {
                $body
            }
        }
        tile_fn::<Loop1<Convert, $a, $y>>($isa)
    }};
}

/// f16 bits to f32, by integer steps alone so that a vector of them is easy.
#[inline(always)]
fn f16_to_f32(h: u16) -> f32 {
    // The exponent is rebiased by a multiplication, which also normalizes
    // subnormals (F. Giesen, "half to float, done quick", variant 4).
    let sign = (u32::from(h) & 0x8000) << 16;
    let shifted = (u32::from(h) & 0x7fff) << 13;
    let scaled = f32::from_bits(shifted) * f32::from_bits((254 - 15) << 23);
    let top = if scaled >= 65_536.0 { 0xff << 23 } else { 0 };
    f32::from_bits(scaled.to_bits() | top | sign)
}

#[inline(always)]
fn bf16_to_f32(b: u16) -> f32 {
    f32::from_bits(u32::from(b) << 16)
}

/// f32 to f16 bits, to nearest even.
#[inline(always)]
fn f32_to_f16(x: f32) -> u16 {
    // F. Giesen, "float_to_half_fast3_rtne".
    let bits = x.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let a = bits & 0x7fff_ffff;
    // Subnormal: adding a magic number aligns and rounds the significand.
    const MAGIC: u32 = ((127 - 15) + (23 - 10) + 1) << 23;
    let subnormal = (f32::from_bits(a) + f32::from_bits(MAGIC)).to_bits().wrapping_sub(MAGIC) as u16;
    let odd = (a >> 13) & 1;
    let normal = (a.wrapping_sub(112 << 23).wrapping_add(0xfff).wrapping_add(odd) >> 13) as u16;
    let nan_or_inf = if a > 0x7f80_0000 { 0x7e00 | ((a >> 13) & 0x3ff) as u16 } else { 0x7c00 };
    let y = if a < (113 << 23) { subnormal } else { normal };
    let y = if a >= (143 << 23) { nan_or_inf } else { y };
    y | sign
}

/// f32 to bf16 bits, to nearest even.
#[inline(always)]
fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    if x.is_nan() { (bits >> 16) as u16 | 0x40 } else { rounded }
}

/// Reads f16 as f32 lanes.
pub(super) fn load_f16(isa: Isa) -> TileFn {
    convert!(isa, u16 => f32, |x| f16_to_f32(x))
}

/// Reads bf16 as f32 lanes.
pub(super) fn load_bf16(isa: Isa) -> TileFn {
    convert!(isa, u16 => f32, |x| bf16_to_f32(x))
}

/// Reads bools, a byte each, as truth values.
pub(super) fn load_bool(isa: Isa) -> TileFn {
    convert!(isa, u8 => i32, |x| (x != 0).into())
}

/// Writes f32 lanes as f16.
pub(super) fn store_f16(isa: Isa) -> TileFn {
    convert!(isa, f32 => u16, |x| f32_to_f16(x))
}

/// Writes f32 lanes as bf16.
pub(super) fn store_bf16(isa: Isa) -> TileFn {
    convert!(isa, f32 => u16, |x| f32_to_bf16(x))
}

/// Writes truth values as bytes.
pub(super) fn store_bool(isa: Isa) -> TileFn {
    convert!(isa, i32 => u8, |x| x as u8)
}

/// Rounds f32 lanes to what an f16 can hold.
pub(super) fn round_f16(isa: Isa) -> TileFn {
    convert!(isa, f32 => f32, |x| f16_to_f32(f32_to_f16(x)))
}

/// Rounds f32 lanes to what a bf16 can hold.
pub(super) fn round_bf16(isa: Isa) -> TileFn {
    convert!(isa, f32 => f32, |x| bf16_to_f32(f32_to_bf16(x)))
}

/// Copies lanes.
pub(super) fn copy(isa: Isa, lane: Lane) -> TileFn {
    if lane == Lane::I64 { convert!(isa, u64 => u64, |x| x) } else { convert!(isa, u32 => u32, |x| x) }
}

/// Converts lanes: floats truncate and saturate, integers wrap, all but zero is true.
pub(super) fn cast(isa: Isa, from: Lane, to: Lane) -> TileFn {
    use Lane::{F32, I32, I64, Truth};
    match (from, to) {
        (F32, I32) => convert!(isa, f32 => i32, |x| x as i32),
        (F32, I64) => convert!(isa, f32 => i64, |x| x as i64),
        (F32, Truth) => convert!(isa, f32 => i32, |x| (x != 0.0).into()),
        (I32 | Truth, F32) => convert!(isa, i32 => f32, |x| x as f32),
        (I32 | Truth, I64) => convert!(isa, i32 => i64, |x| x.into()),
        (I32, Truth) => convert!(isa, i32 => i32, |x| (x != 0).into()),
        (I64, F32) => convert!(isa, i64 => f32, |x| x as f32),
        (I64, I32) => convert!(isa, i64 => i32, |x| x as i32),
        (I64, Truth) => convert!(isa, i64 => i32, |x| (x != 0).into()),
        (F32, F32) | (I32 | Truth, I32) | (Truth, Truth) | (I64, I64) => copy(isa, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn every_f16_and_bf16_reads_as_the_half_crate_reads_it() {
        for h in 0..=u16::MAX {
            let (want, got) = (f16::from_bits(h).to_f32(), f16_to_f32(h));
            assert!(want.to_bits() == got.to_bits() || want.is_nan() && got.is_nan(), "{h:#06x}: {want} {got}");
            let (want, got) = (bf16::from_bits(h).to_f32(), bf16_to_f32(h));
            assert!(want.to_bits() == got.to_bits() || want.is_nan() && got.is_nan(), "{h:#06x}: {want} {got}");
        }
    }

    #[test]
    fn f32_rounds_to_f16_and_bf16_as_in_the_half_crate() {
        // Every 251st float: the step is odd and no multiple of a power of two.
        for bits in (0..=u32::MAX).step_by(251) {
            let x = f32::from_bits(bits);
            let (want, got) = (f16::from_f32(x), f16::from_bits(f32_to_f16(x)));
            assert!(want.to_bits() == got.to_bits() || want.is_nan() && got.is_nan(), "{x:e}: {want} {got}");
            let (want, got) = (bf16::from_f32(x), bf16::from_bits(f32_to_bf16(x)));
            assert!(want.to_bits() == got.to_bits() || want.is_nan() && got.is_nan(), "{x:e}: {want} {got}");
        }
    }
}
