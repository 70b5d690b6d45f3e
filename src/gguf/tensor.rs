//! A tensor of a file: what the directory says of it, and its elements.

use super::cursor::{At, Cursor};
use super::dequant;
use super::error::{GgufError, Place};
use super::types::GgmlType;
use crate::kernels::Isa;
use half::{bf16, f16};
use std::fmt;
use std::ops::Range;

/// The most extents that ggml's tensors have.
pub(super) const MAX_DIMS: usize = 4;

/// Bytes that an entry of the directory takes at least: the length of the name, the number of extents, the type, the
/// offset.
pub(super) const MIN_RECORD: usize = 8 + 4 + 4 + 8;

/// Rust types that a tensor of plain elements can be seen as.
pub trait Plain: bytemuck::Pod {
    /// Their type in a file.
    const TYPE: GgmlType;
}

macro_rules! plain {
    ($($t:ty = $id:ident),*) => { $( impl Plain for $t { const TYPE: GgmlType = GgmlType::$id; } )* };
}

plain! { f32 = F32, f16 = F16, bf16 = BF16, f64 = F64, i8 = I8, i16 = I16, i32 = I32, i64 = I64 }

/// An entry of the tensor directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub name: &'a str,
    index: usize,
    ty: GgmlType,
    dims: [usize; MAX_DIMS],
    rank: usize,
    /// From the first byte of all tensors on.
    offset: u64,
    bytes: usize,
}

impl<'a> Record<'a> {
    /// The entry at the position of `file`.
    pub fn read(file: &mut Cursor<'a>, index: usize) -> Result<Self, GgufError> {
        file.place = At::Tensor(index, None);
        let name = file.text("name")?;
        file.place = At::Tensor(index, Some(name));
        let place = || Place::from(At::Tensor(index, Some(name)));
        let at = file.at;
        let count = file.u32("the number of extents")?;
        let rank = count as usize;
        if rank > MAX_DIMS {
            return Err(GgufError::Rank { place: place(), count, at });
        }
        let mut in_file = [1; MAX_DIMS];
        for dim in &mut in_file[..rank] {
            *dim = file.u64("an extent")?;
        }
        let at = file.at;
        let id = file.u32("the element type")?;
        let ty = GgmlType::from_id(id).ok_or_else(|| GgufError::TensorType { place: place(), id, at })?;
        let offset = file.u64("the offset of a tensor")?;

        let size = || GgufError::Size { place: place(), dims: in_file[..rank].to_vec() };
        let mut dims = [1; MAX_DIMS];
        for (dim, &n) in dims.iter_mut().zip(&in_file) {
            *dim = usize::try_from(n).map_err(|_| size())?;
        }
        if !dims[0].is_multiple_of(ty.block_len()) {
            return Err(GgufError::Row { place: place(), ty, row: dims[0] });
        }
        // As if no extent were 0, so that no product of some of them overflows later, and at eight bytes an element: the
        // most it takes in the file, and more than as f32.
        let whole = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1))).ok_or_else(size)?;
        whole.checked_mul(size_of::<f64>()).filter(|&n| isize::try_from(n).is_ok()).ok_or_else(size)?;
        let elements = if dims.contains(&0) { 0 } else { whole };
        let bytes = ty.bytes_of(elements).ok_or_else(size)?;
        Ok(Self { name, index, ty, dims, rank, offset, bytes })
    }

    /// The tensor, whose bytes have to be in `file`, where all tensors begin at `start`.
    pub fn tensor(self, file: &'a [u8], start: usize, alignment: usize) -> Result<GgufTensor<'a>, GgufError> {
        let Record { index, name, offset, bytes, .. } = self;
        let place = || Place::from(At::Tensor(index, Some(name)));
        if !offset.is_multiple_of(alignment as u64) {
            return Err(GgufError::Misaligned { place: place(), offset, alignment });
        }
        let all = file.get(start..).unwrap_or_default();
        let range = usize::try_from(offset).ok().and_then(|first| Some(first..first.checked_add(bytes)?));
        let data = range.and_then(|range| all.get(range));
        let data = data.ok_or_else(|| GgufError::Beyond { place: place(), offset, bytes, available: all.len() })?;
        // It is within the file.
        let at = start + offset as usize;
        Ok(GgufTensor { name, ty: self.ty, dims: self.dims, rank: self.rank, at, data })
    }
}

/// A tensor of a file, borrowed from it.
#[derive(Clone, Copy)]
pub struct GgufTensor<'a> {
    name: &'a str,
    ty: GgmlType,
    dims: [usize; MAX_DIMS],
    rank: usize,
    at: usize,
    data: &'a [u8],
}

impl<'a> GgufTensor<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Its element type.
    pub fn ty(&self) -> GgmlType {
        self.ty
    }

    /// Its extents, the outermost first and the row last, as NumPy and the rest of this crate have them. Files, and
    /// ggml, have the row first.
    pub fn shape(&self) -> Vec<usize> {
        self.dims[..self.rank].iter().rev().copied().collect()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows() * self.row_len()
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements of a row: the last extent of the shape, 1 if it has none.
    pub fn row_len(&self) -> usize {
        self.dims[0]
    }

    /// Number of rows: the product of the other extents.
    pub fn rows(&self) -> usize {
        self.dims[1..].iter().product()
    }

    /// Where its bytes begin in the file.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Its bytes as they are in the file.
    pub fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// Its elements where they lie, if they are plain `T`.
    ///
    /// # Errors
    /// If it is of another type; if its bytes are not aligned for `T`, which can happen with a small
    /// `general.alignment` or with a file from memory; always on a big-endian host.
    pub fn as_slice<T: Plain>(&self) -> Result<&'a [T], GgufError> {
        if self.ty != T::TYPE || cfg!(target_endian = "big") {
            return Err(GgufError::View { tensor: self.name.into(), ty: self.ty, asked: T::TYPE });
        }
        bytemuck::try_cast_slice(self.data).map_err(|_| GgufError::Unaligned { tensor: self.name.into(), ty: self.ty })
    }

    /// All elements as f32, in row-major order, made on the threads of the current rayon pool. See
    /// [`GgufTensor::read_rows`] for values.
    ///
    /// # Errors
    /// If the type is not one that is dequantised, or memory is short.
    pub fn to_f32(&self) -> Result<Vec<f32>, GgufError> {
        self.ensure_dequantised()?;
        let elements = self.len();
        let mut out = bytemuck::allocation::try_zeroed_slice_box(elements)
            .map_err(|()| GgufError::Memory { tensor: self.name.into(), elements })?
            .into_vec();
        self.read_rows(0..self.rows(), &mut out)?;
        Ok(out)
    }

    /// Some rows as f32 into a buffer of `rows.len() * row_len()`, on the threads of the current rayon pool; nothing is
    /// allocated. A tensor larger than memory can be read so.
    ///
    /// Each value is what ggml and its Python package make of it, to the bit: every product and difference of the
    /// type's formula is rounded, in the order of that package, on every instruction set. Integers and f64 become the
    /// nearest f32. A NaN stays one.
    ///
    /// # Errors
    /// If the type is not one that is dequantised, there are no such rows, or the buffer has another size.
    pub fn read_rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), GgufError> {
        self.read_rows_on(Isa::current(), rows, out)
    }

    /// [`GgufTensor::read_rows`] with an instruction set of choice, the baseline if the host lacks it.
    ///
    /// # Errors
    /// Those of `read_rows`.
    pub fn read_rows_on(&self, isa: Isa, rows: Range<usize>, out: &mut [f32]) -> Result<(), GgufError> {
        let unpack = self.ensure_dequantised()?;
        let Range { start, end } = rows;
        if start > end || end > self.rows() {
            return Err(GgufError::Rows { tensor: self.name.into(), start, end, rows: self.rows() });
        }
        let needed = (end - start) * self.row_len();
        if out.len() != needed {
            return Err(GgufError::Buffer { tensor: self.name.into(), needed, given: out.len() });
        }
        let row_bytes = self.row_len() / self.ty.block_len() * self.ty.block_bytes();
        // A tensor without elements may have rows and no bytes.
        let data = self.data.get(start * row_bytes..end * row_bytes).unwrap_or_default();
        dequant::dequantise(isa, unpack, self.ty, data, out);
        Ok(())
    }

    fn ensure_dequantised(&self) -> Result<dequant::Unpacker, GgufError> {
        let error = || GgufError::NotDequantised { tensor: self.name.into(), ty: self.ty };
        dequant::unpacker(self.ty).ok_or_else(error)
    }
}

impl fmt::Debug for GgufTensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GgufTensor({:?}: {}{:?})", self.name, self.ty, self.shape())
    }
}
