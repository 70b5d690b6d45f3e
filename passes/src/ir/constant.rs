//! Constant tensors that share the bytes they were read from.

use super::blocks::{BlockFormat, Blocks};
use super::stored::{self, Stored};
use super::{DType, Origin, Scalar, Type, Unavailable};
use crate::memory::room;
use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::xxh3_64;

/// A constant tensor: dtype, shape and little-endian row-major bytes, which
/// need not be aligned. Elements of less than a byte lie in them as in an ONNX file, from the lowest bit of each byte on
/// without gaps, so that they share the bytes of the file like any other. The bytes of a large constant may be given up
/// once they are packed, and are read again from where they came from should anybody ask.
///
/// An f32 constant may be held in [`Blocks`] of a few bits a number. Everything here gives its numbers as f32, made anew each
/// time; who can do with the blocks asks for [`Constant::blocks`].
#[derive(Clone)]
pub struct Constant {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
    hash: OnceLock<u32>,
}

#[derive(Clone)]
enum Data {
    Bytes(Bytes),
    /// Bytes that can be had again.
    Stored(Arc<Stored>),
    /// Numbers of f32 in blocks.
    Blocks(Arc<Blocks>),
    /// Read from graph text, which has the hash of a large constant only, and the format of blocks.
    Absent(u32, Option<BlockFormat>),
}

impl Constant {
    /// Elements up to this many are printed in the graph text.
    pub const INLINE_LEN: usize = 8;

    /// A constant over `bytes`; `None` if their number does not fit the type.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Bytes) -> Option<Self> {
        Self::of(dtype, shape, bytes.len(), || Data::Bytes(bytes))
    }

    /// A constant over `bytes` that can be had again from `origin`; `None` if their number does not fit the type.
    pub fn stored(dtype: DType, shape: Vec<usize>, bytes: Bytes, origin: Box<dyn Origin>) -> Option<Self> {
        Self::of(dtype, shape, bytes.len(), || Data::Stored(Arc::new(Stored::new(bytes, origin))))
    }

    fn of(dtype: DType, shape: Vec<usize>, bytes: usize, data: impl FnOnce() -> Data) -> Option<Self> {
        let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        (dtype.constant_bytes(len)? == bytes).then(|| Self { dtype, shape, data: data(), hash: OnceLock::new() })
    }

    /// A constant of which only type and hash are known, as read from text.
    pub fn absent(dtype: DType, shape: Vec<usize>, hash: u32) -> Self {
        Self { dtype, shape, data: Data::Absent(hash, None), hash: OnceLock::from(hash) }
    }

    /// A constant of which only shape, format of blocks and hash are known, as read from text.
    pub fn absent_blocks(shape: Vec<usize>, format: BlockFormat, hash: u32) -> Self {
        Self { dtype: DType::F32, shape, data: Data::Absent(hash, Some(format)), hash: OnceLock::from(hash) }
    }

    /// An f32 constant whose numbers are those of blocks in row-major order; `None` if their number does not fit the shape.
    pub fn of_blocks(shape: Vec<usize>, blocks: Blocks) -> Option<Self> {
        let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        let data = Data::Blocks(Arc::new(blocks));
        let all = Self { dtype: DType::F32, shape, data, hash: OnceLock::new() };
        (all.blocks()?.rows() * all.blocks()?.row_len() == len).then_some(all)
    }

    /// A vector of bytes.
    pub(super) fn u8s(bytes: Bytes) -> Self {
        Self { dtype: DType::U8, shape: vec![bytes.len()], data: Data::Bytes(bytes), hash: OnceLock::new() }
    }

    /// One number.
    pub fn scalar(value: Scalar) -> Self {
        let mut bytes = Vec::new();
        value.write_le_bytes(&mut bytes);
        let bytes = pack(value.dtype(), bytes.into());
        Self { dtype: value.dtype(), shape: Vec::new(), data: Data::Bytes(bytes), hash: OnceLock::new() }
    }

    /// A tensor from its elements in row-major order; `None` if their number does not fit.
    pub fn from_scalars(dtype: DType, shape: Vec<usize>, values: impl IntoIterator<Item = Scalar>) -> Option<Self> {
        let mut bytes = Vec::new();
        for v in values {
            v.cast(dtype).write_le_bytes(&mut bytes);
        }
        Self::from_elements(dtype, shape, bytes.into())
    }

    /// A constant of the elements of a tensor, none of which shares a byte with another; `None` if their number does not
    /// fit.
    pub fn from_elements(dtype: DType, shape: Vec<usize>, elements: Bytes) -> Option<Self> {
        let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        (len.checked_mul(dtype.size())? == elements.len()).then(|| Self::new(dtype, shape, pack(dtype, elements)))?
    }

    /// A vector of `i64`.
    pub fn i64s(values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { dtype: DType::I64, shape: vec![values.len()], data: Data::Bytes(bytes.into()), hash: OnceLock::new() }
    }

    /// An `f32` tensor; `None` if the number of values does not fit the shape.
    pub fn f32s(shape: impl Into<Vec<usize>>, values: &[f32]) -> Option<Self> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new(DType::F32, shape.into(), bytes.into())
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type, all dims known.
    pub fn ty(&self) -> Type {
        Type::new(self.dtype, self.shape.iter().copied())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if the constant has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, as in a file of plain numbers; a clone of them shares their memory. Those of blocks are made.
    ///
    /// # Errors
    /// If the constant was read from graph text, its bytes were given up and cannot be read again, or there is no memory for the
    /// numbers of blocks.
    pub fn bytes(&self) -> Result<Bytes, Unavailable> {
        match &self.data {
            Data::Bytes(b) => Ok(b.clone()),
            Data::Stored(s) => s.bytes(),
            Data::Blocks(b) => b.read()?.to_bytes(),
            Data::Absent(..) => Err(Unavailable::OnlyHash),
        }
    }

    /// The blocks, if it is held in some: their rows are those of the last axis, unless it was reshaped.
    pub fn blocks(&self) -> Option<&Blocks> {
        if let Data::Blocks(b) = &self.data { Some(b) } else { None }
    }

    /// The format of the blocks that it is held in, if it is, which graph text has as well.
    pub fn block_format(&self) -> Option<BlockFormat> {
        match &self.data {
            Data::Blocks(b) => Some(b.format()),
            Data::Absent(_, format) => *format,
            Data::Bytes(_) | Data::Stored(_) => None,
        }
    }

    /// The elements as a tensor has them: the bytes, or a copy where elements share some.
    ///
    /// # Errors
    /// As of [`Constant::bytes`], and if there is no memory for the copy.
    pub fn elements(&self) -> Result<Bytes, Unavailable> {
        let bytes = self.bytes()?;
        if !self.dtype.is_packed() {
            return Ok(bytes);
        }
        let no_memory = |n| Unavailable::Unreadable(format!("{n} bytes are needed, which memory does not suffice for"));
        let mut out: Vec<u8> = room(self.len()).map_err(no_memory)?;
        out.extend((0..self.len()).map(|i| unpack(self.dtype, &bytes, i)));
        Ok(out.into())
    }

    /// Says that the bytes are not read soon, say because they were packed: their memory is given back where they can be
    /// had again.
    pub fn release(&self) {
        if let Data::Stored(s) = &self.data {
            s.release();
        }
    }

    /// True if there is more of the constant than type and hash.
    pub fn has_values(&self) -> bool {
        !matches!(self.data, Data::Absent(..))
    }

    /// A number that constants share which share their bytes, and no others that exist at the same time.
    pub fn identity(&self) -> (usize, usize) {
        match &self.data {
            Data::Bytes(b) => (b.as_ptr() as usize, b.len()),
            Data::Stored(s) => (Arc::as_ptr(s) as usize, s.len()),
            Data::Blocks(b) => (Arc::as_ptr(b) as usize, b.size()),
            Data::Absent(h, _) => (0, *h as usize),
        }
    }

    /// Some of the bytes, the same ones for constants of the same length; the hash if there are none. Equal constants have
    /// equal samples.
    pub fn sample(&self) -> Vec<u8> {
        match &self.data {
            Data::Bytes(b) => stored::sample(b),
            Data::Stored(s) => s.sample().to_vec(),
            Data::Blocks(b) => b.sample(),
            Data::Absent(h, _) => h.to_le_bytes().to_vec(),
        }
    }

    /// Element `i` in row-major order.
    pub fn get(&self, i: usize) -> Option<Scalar> {
        match &self.data {
            // The usual case, without touching a counter of owners.
            Data::Bytes(b) => self.element(b, i),
            Data::Blocks(b) => b.read().ok()?.get(i).map(Scalar::f32),
            _ => self.element(&self.bytes().ok()?, i),
        }
    }

    /// Element `i` of those in `bytes`.
    fn element(&self, bytes: &[u8], i: usize) -> Option<Scalar> {
        if self.dtype.is_packed() {
            return Scalar::from_le_bytes(
                self.dtype,
                (i < self.len()).then(|| [unpack(self.dtype, bytes, i)])?.as_slice(),
            );
        }
        Scalar::from_le_bytes(self.dtype, bytes.get(i.checked_mul(self.dtype.size())?..)?)
    }

    /// Every element in row-major order, or `None` if they cannot be had.
    pub fn scalars(&self) -> Option<impl Iterator<Item = Scalar>> {
        let (bytes, dtype) = (self.elements().ok()?, self.dtype);
        let size = dtype.size();
        Some((0..bytes.len() / size).filter_map(move |i| Scalar::from_le_bytes(dtype, &bytes[i * size..])))
    }

    /// The one number of a tensor that has one element, whatever its rank.
    pub fn as_scalar(&self) -> Option<Scalar> {
        (self.len() == 1).then(|| self.get(0)).flatten()
    }

    /// The one number that every element is equal to, bitwise.
    pub fn as_splat(&self) -> Option<Scalar> {
        let first = self.get(0)?;
        // Most are not, which a look at one element tells before blocks are unpacked.
        if self.block_format().is_some() && self.get(self.len() / 2) != Some(first) {
            return None;
        }
        let size = self.dtype.size();
        let bytes = self.elements().ok()?;
        bytes.chunks_exact(size).all(|c| c == &bytes[..size]).then_some(first)
    }

    /// The elements of an integer tensor, unless one of them is beyond `i64`.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        self.dtype.is_int().then(|| self.scalars()?.map(|s| i64::try_from(s.to_i128()).ok()).collect()).flatten()
    }

    /// The elements of any tensor as `f32`.
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        Some(self.scalars()?.map(|s| s.to_f64() as f32).collect())
    }

    /// The same elements under another shape of the same length.
    pub fn reshaped(&self, shape: Vec<usize>) -> Option<Self> {
        let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        (len == self.len()).then(|| {
            let hash = match self.data {
                // The hash covers bytes only, so a reshape keeps it.
                Data::Absent(h, _) => OnceLock::from(h),
                Data::Bytes(_) | Data::Stored(_) | Data::Blocks(_) => self.hash.clone(),
            };
            Self { dtype: self.dtype, shape, data: self.data.clone(), hash }
        })
    }

    /// Short content hash, as printed: of the bytes, or of what blocks are made of, not of the type.
    pub fn hash(&self) -> u32 {
        let short = |h: u64| (h >> 32) as u32 ^ h as u32;
        *self.hash.get_or_init(|| match &self.data {
            Data::Absent(h, _) => *h,
            Data::Bytes(b) => short(xxh3_64(b)),
            Data::Stored(s) => short(s.hash()),
            Data::Blocks(b) => short(b.hash()),
        })
    }

    /// Same type and same bytes, in blocks of the same format if in any.
    pub fn same(&self, other: &Constant) -> bool {
        if self.dtype != other.dtype || self.shape != other.shape {
            return false;
        }
        match (&self.data, &other.data) {
            (Data::Absent(a, f), Data::Absent(b, g)) => (a, f) == (b, g),
            (Data::Absent(..), _) | (_, Data::Absent(..)) => false,
            (Data::Blocks(a), Data::Blocks(b)) => Arc::ptr_eq(a, b) || a.same(b),
            (Data::Blocks(_), _) | (_, Data::Blocks(_)) => false,
            _ => {
                self.identity() == other.identity()
                    || self.hash() == other.hash() && self.bytes().is_ok_and(|a| other.bytes().is_ok_and(|b| a == b))
            }
        }
    }

    /// True if the text shows the elements rather than a hash.
    pub fn is_inline(&self) -> bool {
        self.len() <= Self::INLINE_LEN && self.has_values() && self.blocks().is_none()
    }
}

/// The elements of a tensor as the bytes of a constant.
fn pack(dtype: DType, elements: Bytes) -> Bytes {
    if !dtype.is_packed() {
        return elements;
    }
    let bits = dtype.bits();
    let mut out = vec![0; (elements.len() * bits).div_ceil(8)];
    for (i, &element) in elements.iter().enumerate() {
        let (byte, shift) = (i * bits / 8, i * bits % 8);
        let [low, high] = ((u16::from(element) & ((1 << bits) - 1)) << shift).to_le_bytes();
        out[byte] |= low;
        if high != 0 {
            out[byte + 1] |= high;
        }
    }
    out.into()
}

/// The element of a tensor that is element `i` of a constant's bytes, which has less than eight bits.
fn unpack(dtype: DType, bytes: &[u8], i: usize) -> u8 {
    let bits = dtype.bits();
    let (byte, shift) = (i * bits / 8, i * bits % 8);
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let element = u16::from_le_bytes([at(byte), at(byte + 1)]) >> shift & ((1 << bits) - 1);
    if dtype.is_int() { dtype.wrap(element.into()) as u8 } else { element as u8 }
}

impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = self.block_format().map(|b| format!(" {b}")).unwrap_or_default();
        write!(f, "Constant({}{format} {:08x})", self.ty(), self.hash())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_less_than_a_byte_are_packed_from_the_lowest_bit_on() {
        let numbers = |dtype, values: &[i64]| {
            let all = values.iter().map(|&v| Scalar::from_i64(dtype, v));
            Constant::from_scalars(dtype, vec![values.len()], all).expect("a constant")
        };
        let bytes = |c: &Constant| c.bytes().expect("it has some").to_vec();
        let i4 = numbers(DType::I4, &[1, -2, 7, -8, 3]);
        assert_eq!(bytes(&i4), [0xe1, 0x87, 0x03]);
        assert_eq!(bytes(&numbers(DType::U4, &[1, 14, 7])), [0xe1, 0x07]);
        assert_eq!(bytes(&numbers(DType::I2, &[1, -1, 0, -2, 1])), [0b1000_1101, 1]);
        assert_eq!(bytes(&numbers(DType::U2, &[3, 2, 1])), [0b01_1011]);
        let f6 = numbers(DType::F6E3M2, &[1, 2, 4, 8, -1]);
        assert_eq!(bytes(&f6), [0x0c, 0x44, 0x61, 0x2c]);
        // One byte each where they are computed with, integers with their sign.
        assert_eq!(i4.elements().expect("they are there")[..], [1, 0xfe, 7, 0xf8, 3]);
        assert_eq!(i4.to_i64s(), Some(vec![1, -2, 7, -8, 3]));
        assert_eq!(i4.get(3), Some(Scalar::from_i64(DType::I4, -8)));
        assert_eq!(i4.get(5), None, "the rest of a byte is no element");
        assert_eq!(f6.to_f32s(), Some(vec![1.0, 2.0, 4.0, 8.0, -1.0]));
        assert_eq!(numbers(DType::U4, &[9, 9, 9]).as_splat(), Some(Scalar::from_i64(DType::U4, 9)));
        assert!(Constant::new(DType::I4, vec![5], vec![0; 5].into()).is_none());
        assert!(Constant::from_elements(DType::I4, vec![5], vec![0; 3].into()).is_none());
        assert!(Constant::new(DType::U2, vec![usize::MAX, 2], vec![0; 1].into()).is_none());
    }

    #[test]
    fn numbers_of_u64_are_those_above_the_middle_too() {
        let c = Constant::from_scalars(DType::U64, vec![2], [7, -1].map(|v| Scalar::from_i64(DType::U64, v)));
        let c = c.expect("a constant");
        assert_eq!(c.to_i64s(), None, "one is beyond i64");
        assert_eq!(c.get(1).map(Scalar::to_i128), Some(u64::MAX.into()));
        assert_eq!(c.to_f32s(), Some(vec![7.0, 2f32.powi(64)]));
    }
}
