//! Rows of blocks: as a constant has them, and with their bytes at hand.

use super::{BlockFormat, Lookup, MAX_BLOCK, Nbits, Plain, f16_to_f32};
use crate::ir::stored::Unavailable;
use crate::ir::{Constant, DType};
use crate::memory::room;
use bytes::Bytes;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// Parts of block-encoded numbers that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// A row that ends within a block.
    #[error("a row of {row} numbers is not whole blocks of {}: {format}", format.len())]
    Row {
        /// Numbers of a row.
        row: usize,
        /// The format.
        format: BlockFormat,
    },
    /// A part of another length.
    #[error("{part}: {got} elements where {want} are needed")]
    Length {
        /// Which: codes, scales or zero points.
        part: &'static str,
        /// Its elements.
        got: usize,
        /// As many as it needs.
        want: usize,
    },
    /// A part of another dtype.
    #[error("{part} are of {dtype}, not of {wanted}")]
    DType {
        /// Which.
        part: &'static str,
        /// Its dtype.
        dtype: DType,
        /// Those that it may be of.
        wanted: &'static str,
    },
    /// A format whose scales lie elsewhere, of which none were given, or the other way round.
    #[error("blocks of {format} {}", if matches!(format, BlockFormat::Nbits(_)) { "need scales" } else { "have scales in them" })]
    Scales {
        /// The format.
        format: BlockFormat,
    },
    /// More than can be counted.
    #[error("{rows} rows of {row} numbers are too many")]
    TooLarge {
        /// Rows.
        rows: usize,
        /// Numbers of a row.
        row: usize,
    },
}

/// Numbers `[rows, len]` in blocks along rows, which share the bytes they were read from.
#[derive(Clone, Debug)]
pub struct Blocks {
    format: BlockFormat,
    rows: usize,
    len: usize,
    /// `u8[rows * blocks of a row * bytes of a block]`.
    codes: Constant,
    /// One a block, f32, f16 or bf16, where they do not lie in it.
    scales: Option<Constant>,
    /// One a block: of the dtype of scales, or packed in u8, each row from a byte of its own on.
    zeros: Option<Constant>,
}

fn fits(part: &'static str, c: &Constant, want: usize) -> Result<(), BlockError> {
    if c.len() == want { Ok(()) } else { Err(BlockError::Length { part, got: c.len(), want }) }
}

fn is_scale(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

impl Blocks {
    /// Numbers `[rows, len]` in a format of ggml.
    ///
    /// # Errors
    /// A row is not whole blocks, or there are more or fewer bytes than the rows take.
    pub fn new(format: BlockFormat, [rows, len]: [usize; 2], bytes: Bytes) -> Result<Self, BlockError> {
        if let BlockFormat::Nbits(_) = format {
            return Err(BlockError::Scales { format });
        }
        if !len.is_multiple_of(format.len()) {
            return Err(BlockError::Row { row: len, format });
        }
        let codes = Constant::u8s(bytes);
        fits("blocks", &codes, Self::code_bytes(format, [rows, len])?)?;
        Ok(Self { format, rows, len, codes, scales: None, zeros: None })
    }

    /// Numbers `[rows, len]` that are unsigned integers: `codes` u8 of any shape, `scales` one a block, f32, f16 or bf16, `zeros`
    /// one a block of the same dtype, or packed in u8 as codes are, each row from a byte of its own on; none is the middle of
    /// the range.
    ///
    /// # Errors
    /// A part has another number of elements, or is of another dtype.
    pub fn nbits(
        format: Nbits,
        [rows, len]: [usize; 2],
        codes: Constant,
        scales: Constant,
        zeros: Option<Constant>,
    ) -> Result<Self, BlockError> {
        if codes.dtype() != DType::U8 {
            return Err(BlockError::DType { part: "codes", dtype: codes.dtype(), wanted: "u8" });
        }
        if !is_scale(scales.dtype()) {
            return Err(BlockError::DType { part: "scales", dtype: scales.dtype(), wanted: "f32, f16 or bf16" });
        }
        fits("codes", &codes, Self::code_bytes(BlockFormat::Nbits(format), [rows, len])?)?;
        // No more than the bytes of codes.
        let blocks = len.div_ceil(format.len());
        fits("scales", &scales, rows * blocks)?;
        match zeros.as_ref().map(|z| (z, z.dtype())) {
            None => {}
            Some((z, DType::U8)) => fits("zero points", z, rows * format.zero_point_bytes(blocks))?,
            Some((z, dtype)) if dtype == scales.dtype() => fits("zero points", z, rows * blocks)?,
            Some((_, dtype)) => {
                return Err(BlockError::DType { part: "zero points", dtype, wanted: "u8 or the dtype of scales" });
            }
        }
        Ok(Self { format: BlockFormat::Nbits(format), rows, len, codes, scales: Some(scales), zeros })
    }

    fn code_bytes(format: BlockFormat, [rows, len]: [usize; 2]) -> Result<usize, BlockError> {
        let bytes = len.div_ceil(format.len()).checked_mul(format.bytes()).and_then(|n| n.checked_mul(rows));
        // So that the numbers can be counted as well, and their bytes.
        let numbers = rows.checked_mul(len).and_then(|n| n.checked_mul(size_of::<f32>()));
        bytes.filter(|_| numbers.is_some()).ok_or(BlockError::TooLarge { rows, row: len })
    }

    /// The format.
    pub fn format(&self) -> BlockFormat {
        self.format
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    pub fn row_len(&self) -> usize {
        self.len
    }

    /// Bytes of the blocks, their scales and zero points.
    pub fn size(&self) -> usize {
        self.parts().map(|c| c.len() * c.dtype().size()).sum()
    }

    fn parts(&self) -> impl Iterator<Item = &Constant> {
        [Some(&self.codes), self.scales.as_ref(), self.zeros.as_ref()].into_iter().flatten()
    }

    /// The rows with their bytes.
    ///
    /// # Errors
    /// Those of [`Constant::bytes`].
    pub fn read(&self) -> Result<BlockRows, Unavailable> {
        let numbers = |c: &Constant| Ok(Numbers { dtype: c.dtype(), bytes: c.bytes()? });
        let blocks = self.len.div_ceil(self.format.len());
        let zeros = match (&self.zeros, self.format) {
            (Some(zeros), BlockFormat::Nbits(n)) if zeros.dtype() == DType::U8 => {
                Zeros::Packed(zeros.bytes()?, n.zero_point_bytes(blocks))
            }
            (Some(zeros), _) => Zeros::Numbers(numbers(zeros)?),
            (None, _) => Zeros::Middle,
        };
        let (codes, scales) = (self.codes.bytes()?, self.scales.as_ref().map(numbers).transpose()?);
        Ok(BlockRows { format: self.format, rows: self.rows, len: self.len, blocks, codes, scales, zeros })
    }

    /// A number of content, the same for equal ones.
    pub(in crate::ir) fn hash(&self) -> u64 {
        let hashes: Vec<u8> = self.parts().flat_map(|c| c.hash().to_le_bytes()).collect();
        xxh3_64(&hashes)
    }

    /// Some of the bytes, the same for equal ones.
    pub(in crate::ir) fn sample(&self) -> Vec<u8> {
        self.parts().flat_map(Constant::sample).collect()
    }

    pub(in crate::ir) fn same(&self, other: &Self) -> bool {
        (self.format, self.rows, self.len) == (other.format, other.rows, other.len)
            && self.parts().count() == other.parts().count()
            && self.parts().zip(other.parts()).all(|(a, b)| a.same(b))
    }
}

/// Floats of one dtype, at any address.
#[derive(Clone, Debug)]
struct Numbers {
    dtype: DType,
    bytes: Bytes,
}

impl Numbers {
    #[inline(always)]
    fn get(&self, i: usize) -> f32 {
        let half = |i: usize| self.bytes.get(2 * i..).and_then(<[u8]>::first_chunk).copied().map(u16::from_le_bytes);
        let found = match self.dtype {
            DType::F32 => self.bytes.get(4 * i..).and_then(<[u8]>::first_chunk).copied().map(f32::from_le_bytes),
            DType::F16 => half(i).map(f16_to_f32),
            _ => half(i).map(|h| f32::from_bits(u32::from(h) << 16)),
        };
        found.unwrap_or_default()
    }
}

#[derive(Clone, Debug)]
enum Zeros {
    Middle,
    /// With the bytes of a row.
    Packed(Bytes, usize),
    Numbers(Numbers),
}

/// Rows of blocks with their bytes, to be unpacked in any order.
#[derive(Clone, Debug)]
pub struct BlockRows {
    format: BlockFormat,
    rows: usize,
    len: usize,
    /// Of a row.
    blocks: usize,
    codes: Bytes,
    scales: Option<Numbers>,
    zeros: Zeros,
}

impl BlockRows {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    pub fn row_len(&self) -> usize {
        self.len
    }

    /// Bytes of the blocks, without scales that lie elsewhere.
    pub fn bytes(&self) -> usize {
        self.codes.len()
    }

    /// Bytes of a row, without scales that lie elsewhere.
    #[inline(always)]
    fn row_bytes(&self) -> usize {
        self.blocks * self.format.bytes()
    }

    /// The bytes of the block that number `start` of a row is in, and all behind them.
    #[doc(hidden)]
    #[inline(always)]
    pub fn bytes_from(&self, row: usize, start: usize) -> &[u8] {
        let at = row * self.row_bytes() + start / self.format.len() * self.format.bytes();
        self.codes.get(at..).unwrap_or_default()
    }

    /// Bytes that so many numbers of a row take.
    #[doc(hidden)]
    #[inline(always)]
    pub fn bytes_of(&self, numbers: usize) -> usize {
        numbers.div_ceil(self.format.len()) * self.format.bytes()
    }

    /// Unpacks numbers of a row, which there have to be: from `start` on, where a block begins, to the end of a block or that of
    /// the row.
    #[doc(hidden)]
    #[inline(always)]
    pub fn unpack<L: Lookup>(&self, l: L, row: usize, start: usize, out: &mut [f32]) {
        let bytes = self.bytes_from(row, start);
        let (BlockFormat::Nbits(format), Some(scales)) = (self.format, &self.scales) else {
            return self.format.unpack(l, bytes, out);
        };
        let first = start / format.len();
        let blocks = bytes.chunks_exact(format.bytes()).zip(out.chunks_mut(format.len()));
        for (i, (block, out)) in blocks.enumerate() {
            let at = row * self.blocks + first + i;
            let zero = match &self.zeros {
                Zeros::Middle => format.middle(),
                Zeros::Packed(bytes, of_row) => {
                    f32::from(format.code(bytes.get(row * of_row..).unwrap_or_default(), first + i))
                }
                Zeros::Numbers(numbers) => numbers.get(at),
            };
            format.unpack(block, [scales.get(at), zero], out);
        }
    }

    /// Number `i` in row-major order.
    pub(in crate::ir) fn get(&self, i: usize) -> Option<f32> {
        let (row, column) = (i.checked_div(self.len)?, i % self.len);
        if row >= self.rows {
            return None;
        }
        let start = column / self.format.len() * self.format.len();
        let mut out = [0.0; MAX_BLOCK];
        self.unpack(Plain, row, start, &mut out[..self.format.len().min(self.len - start)]);
        out.get(column - start).copied()
    }

    /// All numbers as bytes of f32 in row-major order.
    pub(in crate::ir) fn to_bytes(&self) -> Result<Bytes, Unavailable> {
        let no_memory = |n| Unavailable::Unreadable(format!("{n} bytes are needed, which memory does not suffice for"));
        let mut out: Vec<u8> = room(self.rows * self.len * size_of::<f32>()).map_err(no_memory)?;
        let mut part = [0.0; MAX_BLOCK];
        for row in 0..self.rows {
            for start in (0..self.len).step_by(MAX_BLOCK) {
                let part = &mut part[..MAX_BLOCK.min(self.len - start)];
                self.unpack(Plain, row, start, part);
                out.extend(part.iter().flat_map(|v| v.to_le_bytes()));
            }
        }
        Ok(out.into())
    }
}
