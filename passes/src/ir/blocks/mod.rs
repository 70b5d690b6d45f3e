//! Numbers of a few bits each, in blocks that have a scale: how weights lie in files of quantised models.
//!
//! A format is one function from a block of bytes to an array of f32, in plain loops over arrays of known length, so that a
//! crate with instruction sets can compile it for each of them. Since these loops multiply, add and subtract and nothing
//! else, and Rust never contracts two of those into one, the result is the same bits on each. Rows of a tensor are whole
//! blocks.

mod groups;
mod legacy;
mod nbits;
mod rows;
#[cfg(test)]
mod tests;

pub use nbits::Nbits;
pub use rows::{BlockError, BlockRows, Blocks};

use std::fmt;
use std::str::FromStr;

/// A format of blocks of `BYTES` bytes for `LEN` numbers.
#[doc(hidden)]
pub trait Block<const BYTES: usize, const LEN: usize> {
    /// Unpacks a block; implementations are `#[inline(always)]`.
    fn unpack<L: Lookup>(l: L, block: &[u8; BYTES], out: &mut [f32; LEN]);
}

/// The one step of unpacking that an instruction set may have an instruction for.
#[doc(hidden)]
pub trait Lookup: Copy {
    /// The elements of `table` that the lowest five bits of each index choose.
    fn lookup(self, table: &[f32; 32], index: &[u32; 32], out: &mut [f32; 32]);
}

/// A lookup without an instruction for it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Lookup for Plain {
    #[inline(always)]
    fn lookup(self, table: &[f32; 32], index: &[u32; 32], out: &mut [f32; 32]) {
        for (out, &i) in out.iter_mut().zip(index) {
            *out = table[i as usize & 31];
        }
    }
}

/// Numbers in the largest block; every block's number of them divides it.
pub const MAX_BLOCK: usize = 256;

macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $block:ty, $bytes:literal, $len:literal;)*) => {
        /// A format of blocks. Those of ggml have its names; a block of them is `bytes` in a row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, reason = "ggml's names")]
        pub enum BlockFormat {
            $($(#[$doc])* $name,)*
            /// Unsigned integers, and a scale and a zero point for each block, which lie in arrays of their own.
            Nbits(Nbits),
        }

        impl BlockFormat {
            /// The formats of ggml, whose blocks have all in them.
            pub const GGML: &[BlockFormat] = &[$(BlockFormat::$name),*];

            /// The name in graph text, if it is of ggml.
            const fn label(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($label),)*
                    Self::Nbits(_) => None,
                }
            }

            /// Numbers of a block.
            #[inline]
            #[allow(clippy::len_without_is_empty, reason = "none is empty")]
            pub const fn len(self) -> usize {
                match self {
                    $(Self::$name => $len,)*
                    Self::Nbits(n) => n.len(),
                }
            }

            /// Bytes of a block, without a scale that lies elsewhere.
            #[inline]
            pub const fn bytes(self) -> usize {
                match self {
                    $(Self::$name => $bytes,)*
                    Self::Nbits(n) => n.bytes(),
                }
            }

            /// Unpacks as many blocks of a format of ggml as there are in both.
            #[doc(hidden)]
            #[inline(always)]
            pub fn unpack<L: Lookup>(self, l: L, bytes: &[u8], out: &mut [f32]) {
                match self {
                    $(Self::$name => unpack::<$block, L, $bytes, $len>(l, bytes, out),)*
                    // It needs its scales.
                    Self::Nbits(_) => {}
                }
            }
        }
    };
}

formats! {
    /// 4 bits, a scale.
    Q4_0 = "q4_0", legacy::Q4_0, 18, 32;
    /// 4 bits, a scale and a minimum.
    Q4_1 = "q4_1", legacy::Q4_1, 20, 32;
    /// 5 bits, a scale.
    Q5_0 = "q5_0", legacy::Q5_0, 22, 32;
    /// 5 bits, a scale and a minimum.
    Q5_1 = "q5_1", legacy::Q5_1, 24, 32;
    /// 8 bits, a scale.
    Q8_0 = "q8_0", legacy::Q8_0, 34, 32;
    /// 8 bits, a scale, and a sum.
    Q8_1 = "q8_1", legacy::Q8_1, 36, 32;
    /// 4 bits that choose from a table, a scale.
    IQ4_NL = "iq4_nl", legacy::Iq4Nl, 18, 32;
    /// 2 bits in groups of 16 with a scale and a minimum of 4 bits.
    Q2_K = "q2_k", groups::Q2K, 84, 256;
    /// 3 bits in groups of 16 with a scale of 6 bits.
    Q3_K = "q3_k", groups::Q3K, 110, 256;
    /// 4 bits in groups of 32 with a scale and a minimum of 6 bits.
    Q4_K = "q4_k", groups::Q4K, 144, 256;
    /// 5 bits in groups of 32 with a scale and a minimum of 6 bits.
    Q5_K = "q5_k", groups::Q5K, 176, 256;
    /// 6 bits in groups of 16 with a scale of 8 bits.
    Q6_K = "q6_k", groups::Q6K, 210, 256;
    /// 8 bits, an f32 scale, and sums.
    Q8_K = "q8_k", groups::Q8K, 292, 256;
    /// 4 bits that choose from a table, in groups of 32 with a scale of 6 bits.
    IQ4_XS = "iq4_xs", groups::Iq4Xs, 136, 256;
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.label(), self) {
            (Some(label), _) => f.write_str(label),
            (None, Self::Nbits(n)) => n.fmt(f),
            (None, _) => Ok(()),
        }
    }
}

impl FromStr for BlockFormat {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        let ggml = Self::GGML.iter().copied().find(|f| f.label() == Some(s));
        ggml.map_or_else(|| s.parse().map(Self::Nbits), Ok)
    }
}

/// Unpacks as many blocks as there are in both.
#[inline(always)]
fn unpack<B: Block<BYTES, LEN>, L: Lookup, const BYTES: usize, const LEN: usize>(l: L, bytes: &[u8], out: &mut [f32]) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (out, _) = out.as_chunks_mut::<LEN>();
    for (block, out) in blocks.iter().zip(out) {
        B::unpack(l, block, out);
    }
}

/// f16 bits to f32, by integer steps alone so that a vector of them is easy.
#[doc(hidden)]
#[inline(always)]
pub fn f16_to_f32(h: u16) -> f32 {
    // The exponent is rebiased by a multiplication, which also normalizes
    // subnormals (F. Giesen, "half to float, done quick", variant 4).
    let sign = (u32::from(h) & 0x8000) << 16;
    let shifted = (u32::from(h) & 0x7fff) << 13;
    let scaled = f32::from_bits(shifted) * f32::from_bits((254 - 15) << 23);
    let top = if scaled >= 65_536.0 { 0xff << 23 } else { 0 };
    f32::from_bits(scaled.to_bits() | top | sign)
}

/// The f16 at the beginning of a field.
#[inline(always)]
fn scale(bytes: [u8; 2]) -> f32 {
    f16_to_f32(u16::from_le_bytes(bytes))
}

/// A field of a block.
#[inline(always)]
fn field<const N: usize, const BYTES: usize>(block: &[u8; BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&block[at..at + N]);
    out
}

/// The numbers that the four bits of IQ4 types stand for (`kvalues_iq4nl` of ggml), twice over as [`Lookup`] has it.
const IQ4: [f32; 32] = {
    let once: [f32; 16] =
        [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];
    let mut out = [0.0; 32];
    let mut i = 0;
    while i < 32 {
        out[i] = once[i % 16];
        i += 1;
    }
    out
};

/// `d` times what the codes of a group stand for: the low halves of the bytes, then the high ones.
#[inline(always)]
fn iq4<L: Lookup>(l: L, d: f32, codes: [u8; 16], out: &mut [f32; 32]) {
    let mut index = [0u32; 32];
    for j in 0..16 {
        index[j] = u32::from(codes[j] & 15);
        index[j + 16] = u32::from(codes[j] >> 4);
    }
    l.lookup(&IQ4, &index, out);
    for out in out {
        *out *= d;
    }
}
