//! Blocks of 32 with one scale.
//!
//! Layouts and formulas are those of `block_q*` and `dequantize_row_*` in ggml. Of codes of 4 bits a byte has element
//! `j` in its low half and element `j + 16` in its high one.

use super::{Block, Lookup, field, iq4, scale};

/// `d * (code - 8)`: d f16, codes.
pub struct Q4_0;

impl Block<18, 32> for Q4_0 {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 18], out: &mut [f32; 32]) {
        let d = scale(field(block, 0));
        let codes: [u8; 16] = field(block, 2);
        for j in 0..16 {
            out[j] = d * (i32::from(codes[j] & 15) - 8) as f32;
            out[j + 16] = d * (i32::from(codes[j] >> 4) - 8) as f32;
        }
    }
}

/// `d * code + m`: d and m f16, codes.
pub struct Q4_1;

impl Block<20, 32> for Q4_1 {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 20], out: &mut [f32; 32]) {
        let (d, m) = (scale(field(block, 0)), scale(field(block, 2)));
        let codes: [u8; 16] = field(block, 4);
        for j in 0..16 {
            out[j] = d * f32::from(codes[j] & 15) + m;
            out[j + 16] = d * f32::from(codes[j] >> 4) + m;
        }
    }
}

/// Codes of 5 bits: a word has the highest bit of each.
#[inline(always)]
fn five(high: [u8; 4], low: [u8; 16]) -> [i32; 32] {
    let high = u32::from_le_bytes(high);
    let mut out = [0; 32];
    for j in 0..16 {
        out[j] = i32::from(low[j] & 15) | (high >> j << 4 & 16) as i32;
        out[j + 16] = i32::from(low[j] >> 4) | (high >> (j + 16) << 4 & 16) as i32;
    }
    out
}

/// `d * (code - 16)`: d f16, high bits, low bits.
pub struct Q5_0;

impl Block<22, 32> for Q5_0 {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 22], out: &mut [f32; 32]) {
        let d = scale(field(block, 0));
        for (out, code) in out.iter_mut().zip(five(field(block, 2), field(block, 6))) {
            *out = d * (code - 16) as f32;
        }
    }
}

/// `d * code + m`: d and m f16, high bits, low bits.
pub struct Q5_1;

impl Block<24, 32> for Q5_1 {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 24], out: &mut [f32; 32]) {
        let (d, m) = (scale(field(block, 0)), scale(field(block, 2)));
        for (out, code) in out.iter_mut().zip(five(field(block, 4), field(block, 8))) {
            *out = d * code as f32 + m;
        }
    }
}

#[inline(always)]
fn eight<const N: usize>(d: f32, codes: [u8; N], out: &mut [f32; N]) {
    for (out, code) in out.iter_mut().zip(codes) {
        *out = d * f32::from(code.cast_signed());
    }
}

/// `d * code`: d f16, codes.
pub struct Q8_0;

impl Block<34, 32> for Q8_0 {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 34], out: &mut [f32; 32]) {
        eight(scale(field(block, 0)), field(block, 2), out);
    }
}

/// `d * code`: d f16, an f16 that is of use in dot products only, codes.
pub struct Q8_1;

impl Block<36, 32> for Q8_1 {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 36], out: &mut [f32; 32]) {
        eight(scale(field(block, 0)), field(block, 4), out);
    }
}

/// `d * IQ4[code]`: d f16, codes.
pub struct Iq4Nl;

impl Block<18, 32> for Iq4Nl {
    #[inline(always)]
    fn unpack<L: Lookup>(l: L, block: &[u8; 18], out: &mut [f32; 32]) {
        iq4(l, scale(field(block, 0)), field(block, 2), out);
    }
}
