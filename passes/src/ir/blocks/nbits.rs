//! Blocks of unsigned integers, `(code - zero point) * scale`: those of ONNX Runtime's `MatMulNBits`.

use std::fmt;
use std::str::FromStr;

/// Unsigned integers of 2, 4 or 8 bits in blocks of 16 to 256, the first in the lowest bits of the first byte. The last block of
/// a row is as long as any, but the row may end in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nbits {
    bits: u8,
    len: u16,
}

/// Numbers that are unpacked at a time.
const STEP: usize = 16;

impl Nbits {
    /// Integers of so many bits in blocks of so many; `None` if that is no format: the length is a power of two.
    pub const fn new(bits: usize, len: usize) -> Option<Self> {
        let fits = matches!(bits, 2 | 4 | 8) && len.is_power_of_two() && 16 <= len && len <= super::MAX_BLOCK;
        if fits { Some(Self { bits: bits as u8, len: len as u16 }) } else { None }
    }

    /// Bits of a number.
    pub const fn bits(self) -> usize {
        self.bits as usize
    }

    /// Numbers of a block.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "none is empty")]
    pub const fn len(self) -> usize {
        self.len as usize
    }

    /// Bytes of a block.
    #[inline]
    pub const fn bytes(self) -> usize {
        self.len() * self.bits() / 8
    }

    /// Bytes of the packed zero points of so many blocks.
    pub const fn zero_point_bytes(self, blocks: usize) -> usize {
        // No more than the blocks themselves, which were counted.
        (blocks / 8 * self.bits()) + (blocks % 8 * self.bits()).div_ceil(8)
    }

    /// The zero point where none is given: the middle of the range.
    pub(super) const fn middle(self) -> f32 {
        (1u32 << (self.bits - 1)) as f32
    }

    /// Integer `i` of those in `bytes`; 0 behind their end.
    #[inline(always)]
    pub(super) fn code(self, bytes: &[u8], i: usize) -> u8 {
        let at = i * self.bits();
        let byte = bytes.get(at / 8).copied().unwrap_or_default();
        byte >> (at % 8) & (u8::MAX >> (8 - self.bits))
    }

    /// The first numbers of a block, as many as `out` has.
    #[inline(always)]
    pub(super) fn unpack(self, block: &[u8], [scale, zero]: [f32; 2], out: &mut [f32]) {
        match self.bits {
            2 => self.unpack_bits::<2>(block, [scale, zero], out),
            4 => self.unpack_bits::<4>(block, [scale, zero], out),
            _ => self.unpack_bits::<8>(block, [scale, zero], out),
        }
    }

    #[inline(always)]
    fn unpack_bits<const BITS: usize>(self, block: &[u8], [scale, zero]: [f32; 2], out: &mut [f32]) {
        let (steps, rest) = out.as_chunks_mut::<STEP>();
        let done = steps.len() * STEP;
        for (bytes, out) in block.chunks_exact(STEP * BITS / 8).zip(steps) {
            for (i, out) in out.iter_mut().enumerate() {
                let code = bytes[i * BITS / 8] >> (i * BITS % 8) & (u8::MAX >> (8 - BITS));
                *out = (f32::from(code) - zero) * scale;
            }
        }
        for (i, out) in rest.iter_mut().enumerate() {
            *out = (f32::from(self.code(block, done + i)) - zero) * scale;
        }
    }
}

/// As in graph text: `u4x32`.
impl fmt::Display for Nbits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u{}x{}", self.bits, self.len)
    }
}

impl FromStr for Nbits {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        let (bits, len) = s.strip_prefix('u').and_then(|s| s.split_once('x')).ok_or(())?;
        let number = |s: &str| s.parse::<usize>().map_err(|_| ());
        let found = Self::new(number(bits)?, number(len)?).ok_or(())?;
        // One name each.
        if found.to_string() == s { Ok(found) } else { Err(()) }
    }
}
