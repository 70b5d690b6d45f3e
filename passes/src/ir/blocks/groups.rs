//! Blocks of 256 in groups that have scales of their own.
//!
//! Layouts and formulas are those of `block_q*_K` and `dequantize_row_*` in ggml. `d` is the scale of the block; a
//! group's scale times `d` is rounded before a code is multiplied by it.

use super::{Block, Lookup, field, iq4, scale};

/// Groups of 16 with scale and minimum of 4 bits in one byte: `d s code - dmin m`. Scales, codes of 2 bits, d, dmin.
///
/// Codes come in two halves of 128 elements; byte `l` of 32 has, from its lowest bits on, elements l, l + 32, l + 64, l
/// + 96.
pub struct Q2K;

impl Block<84, 256> for Q2K {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 84], out: &mut [f32; 256]) {
        let scales: [u8; 16] = field(block, 0);
        let (d, dmin) = (scale(field(block, 80)), scale(field(block, 82)));
        for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (half, shift) = (g / 8, g % 8 / 2 * 2);
            let codes: [u8; 16] = field(block, 16 + 32 * half + 16 * (g % 2));
            let (scale, min) = (d * f32::from(scales[g] & 15), dmin * f32::from(scales[g] >> 4));
            for (out, code) in out.iter_mut().zip(codes) {
                *out = scale * f32::from(code >> shift & 3) - min;
            }
        }
    }
}

/// Groups of 16 with a scale of 6 bits: `d (s - 32) (code - 4 if the high bit is clear)`. High bits, low bits, scales,
/// d.
///
/// Low bits are as in [`Q2K`]; bit `c` of the high byte `l` is that of element `32 c + l`.
pub struct Q3K;

impl Block<110, 256> for Q3K {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 110], out: &mut [f32; 256]) {
        let packed: [u8; 12] = field(block, 96);
        let d = scale(field(block, 108));
        for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (half, shift) = (g / 8, g % 8 / 2 * 2);
            let low: [u8; 16] = field(block, 32 + 32 * half + 16 * (g % 2));
            let high: [u8; 16] = field(block, 16 * (g % 2));
            // The low four bits of scales g and g + 8 are in one byte, the high two of g, g + 4, g + 8, g + 12.
            let scale = packed[g % 8] >> (g / 8 * 4) & 15 | (packed[8 + g % 4] >> (g / 4 * 2) & 3) << 4;
            let scale = d * (i32::from(scale) - 32) as f32;
            for j in 0..16 {
                let code = i32::from(low[j] >> shift & 3) - i32::from(!(high[j] >> (g / 2)) & 1) * 4;
                out[j] = scale * code as f32;
            }
        }
    }
}

/// The scale and the minimum, 6 bits each, of group `g` of eight.
///
/// Bytes 0 to 3 have the scales of the first four groups, 4 to 7 their minima; the others' low bits are the halves of
/// bytes 8 to 11, their high two bits the top of the bytes of the first four.
#[inline(always)]
fn scale_and_min(packed: &[u8; 12], g: usize) -> (f32, f32) {
    let (s, m) = if g < 4 {
        (packed[g] & 63, packed[g + 4] & 63)
    } else {
        (packed[g + 4] & 15 | packed[g - 4] >> 6 << 4, packed[g + 4] >> 4 | packed[g] >> 6 << 4)
    };
    (f32::from(s), f32::from(m))
}

/// Groups of 32 with scale and minimum of 6 bits: `d s code - dmin m`. d, dmin, scales, codes of 4 bits.
///
/// A byte of 32 has the code of a group in its low half, and that of the next group in its high half.
pub struct Q4K;

impl Block<144, 256> for Q4K {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 144], out: &mut [f32; 256]) {
        let (d, dmin) = (scale(field(block, 0)), scale(field(block, 2)));
        let packed: [u8; 12] = field(block, 4);
        for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let codes: [u8; 32] = field(block, 16 + g / 2 * 32);
            let (scale, min) = scale_and_min(&packed, g);
            let (scale, min) = (d * scale, dmin * min);
            for (out, code) in out.iter_mut().zip(codes) {
                *out = scale * f32::from(code >> (g % 2 * 4) & 15) - min;
            }
        }
    }
}

/// [`Q4K`] with a fifth bit: bit `g` of the high byte `l` is that of element `l` of group `g`. d, dmin, scales, high
/// bits, low bits.
pub struct Q5K;

impl Block<176, 256> for Q5K {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 176], out: &mut [f32; 256]) {
        let (d, dmin) = (scale(field(block, 0)), scale(field(block, 2)));
        let packed: [u8; 12] = field(block, 4);
        let high: [u8; 32] = field(block, 16);
        for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low: [u8; 32] = field(block, 48 + g / 2 * 32);
            let (scale, min) = scale_and_min(&packed, g);
            let (scale, min) = (d * scale, dmin * min);
            for j in 0..32 {
                let code = low[j] >> (g % 2 * 4) & 15 | (high[j] >> g & 1) << 4;
                out[j] = scale * f32::from(code) - min;
            }
        }
    }
}

/// Groups of 16 with a scale of 8 bits: `d s (code - 32)`. Low bits, high bits, scales, d.
///
/// In two halves of 128 elements: 64 bytes with the low bits of elements l and l + 64, 32 with the high bits of l, l +
/// 32, l + 64, l + 96.
pub struct Q6K;

impl Block<210, 256> for Q6K {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 210], out: &mut [f32; 256]) {
        let scales: [u8; 16] = field(block, 192);
        let d = scale(field(block, 208));
        for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (half, part) = (g / 8, g % 8);
            let low: [u8; 16] = field(block, 64 * half + 16 * (part % 4));
            let high: [u8; 16] = field(block, 128 + 32 * half + 16 * (part % 2));
            let scale = d * f32::from(scales[g].cast_signed());
            for j in 0..16 {
                let code = low[j] >> (part / 4 * 4) & 15 | (high[j] >> (part / 2 * 2) & 3) << 4;
                out[j] = scale * (i32::from(code) - 32) as f32;
            }
        }
    }
}

/// `d * code`: d f32, codes of 8 bits, sums that are of use in dot products only.
pub struct Q8K;

impl Block<292, 256> for Q8K {
    #[inline(always)]
    fn unpack<L: Lookup>(_: L, block: &[u8; 292], out: &mut [f32; 256]) {
        let d = f32::from_le_bytes(field(block, 0));
        let codes: [u8; 256] = field(block, 4);
        for (out, code) in out.iter_mut().zip(codes) {
            *out = d * f32::from(code.cast_signed());
        }
    }
}

/// Groups of 32 with a scale of 6 bits: `d (s - 32) IQ4[code]`. d, the high two bits of scales, their low four, codes.
pub struct Iq4Xs;

impl Block<136, 256> for Iq4Xs {
    #[inline(always)]
    fn unpack<L: Lookup>(l: L, block: &[u8; 136], out: &mut [f32; 256]) {
        let d = scale(field(block, 0));
        let high = u16::from_le_bytes(field(block, 2));
        let low: [u8; 4] = field(block, 4);
        for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let scale = i32::from(low[g / 2] >> (g % 2 * 4) & 15) | i32::from(high >> (2 * g) & 3) << 4;
            iq4(l, d * (scale - 32) as f32, field(block, 8 + 16 * g), out);
        }
    }
}
