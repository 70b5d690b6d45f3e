//! f16 and bf16 of one element at a time, without instructions for them.

pub use bgz_passes::ir::f16_to_f32;

/// f32 to f16 bits, to nearest even.
#[inline(always)]
pub(super) fn f32_to_f16(x: f32) -> u16 {
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
