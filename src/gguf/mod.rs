//! GGUF files: the weights and metadata of llama.cpp's models, read where they lie.
//!
//! [`Gguf::open`] maps a file of version 2 or 3 (little endian) and checks all of it but the elements: after that,
//! [`Metadata`] gives typed values, and a [`GgufTensor`] its bytes, a slice of plain elements without a copy, or f32,
//! all at once or by rows. IQ1 to IQ3, the ternary types and those of 4-bit floats are listed and not dequantised;
//! [`GgmlType`] has them all.
//!
//! ```no_run
//! use bgz_fusion::gguf::Gguf;
//!
//! let file = Gguf::open("model.gguf".as_ref())?;
//! let name = file.metadata().get("general.name");
//! println!("{} ({} tensors)", name.and_then(|v| v.as_str()).unwrap_or("nameless"), file.tensors().len());
//! // One tensor at a time: no more memory than the largest takes.
//! for tensor in file.tensors() {
//!     let values = tensor.to_f32()?;
//!     println!("{} {} {:?}: {:?}", tensor.name(), tensor.ty(), tensor.shape(), values.first());
//! }
//! let embedding = file.tensor("token_embd.weight")?;
//! let mut row = vec![0.0; embedding.row_len()];
//! embedding.read_rows(7..8, &mut row)?;
//! # Ok::<(), bgz_fusion::gguf::GgufError>(())
//! ```
//!
//! The format is that of <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Opening allocates less than the
//! file is long, whatever it says: records are found by their offsets and read again when they are asked for. Tensors
//! may leave gaps, and share bytes; nothing needs them not to.

mod cursor;
mod dequant;
mod error;
mod index;
mod metadata;
mod near;
mod tensor;
mod types;

pub use error::{GgufError, Place};
pub use metadata::{Array, Metadata, Value, ValueType};
pub use tensor::{GgufTensor, Plain};
pub use types::GgmlType;

use crate::storage::{self, Storage};
use bgz_passes::ir::{Blocks, Constant};
use bytes::Bytes;
use cursor::{At, Cursor};
use index::Index;
use std::fmt;
use std::path::Path;
use tensor::Record;

/// The alignment where the metadata does not say.
const ALIGNMENT: usize = 32;

/// The key of the alignment.
const ALIGNMENT_KEY: &str = "general.alignment";

/// A GGUF file.
pub struct Gguf {
    bytes: Bytes,
    version: u32,
    alignment: usize,
    /// Where the bytes of tensors begin.
    start: usize,
    entries: Index,
    tensors: Index,
}

impl Gguf {
    /// Reads a file into memory, and its directory.
    ///
    /// # Errors
    /// If it cannot be read, there is no memory for it, or anything in it but the elements is not as it should be.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::from_bytes(storage::read(path).map_err(|source| GgufError::Io { path: path.into(), source })?)
    }

    /// Maps a file and reads its directory: only what is looked at takes memory.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    ///
    /// # Safety
    /// Nobody changes or shortens the file while this, or anything taken from it, is alive: elements would change, or the
    /// process be ended by a signal.
    pub unsafe fn map(path: &Path) -> Result<Self, GgufError> {
        // SAFETY: the caller's promise.
        let whole = unsafe { Storage::map(path) }.and_then(|file| file.all());
        Self::from_bytes(whole.map_err(|source| GgufError::Io { path: path.into(), source })?)
    }

    /// Reads the directory of a file in memory.
    ///
    /// # Errors
    /// If anything in it but the elements is not as it should be.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, GgufError> {
        let bytes = bytes.into();
        let mut file = Cursor::new(&bytes, 0, At::Header);
        let found = file.array("the magic number")?;
        if &found != b"GGUF" {
            return Err(GgufError::Magic { found });
        }
        let version = file.u32("the version")?;
        if !(2..=3).contains(&version) {
            // A version below 65536 read in the wrong byte order has zeros where the others have their number.
            let swapped = version.swap_bytes();
            let big_endian = version & 0xffff == 0 && swapped != 0;
            return Err(match big_endian {
                true => GgufError::BigEndian { version: swapped },
                false => GgufError::Version { version },
            });
        }
        let tensors = file.u64("the number of tensors")?;
        let entries = file.u64("the number of metadata entries")?;

        let entries = records(&mut file, entries, "metadata entries", metadata::MIN_ENTRY, |file, i| {
            metadata::entry(file, i).map(|_| ())
        })?;
        let mut entries = Index::new(entries);
        if let Some((first, second)) = entries.sort(&bytes) {
            let key =
                metadata::entry(&mut Cursor::new(&bytes, entries.offset(first).unwrap_or(0), At::Header), first)?.0;
            return Err(GgufError::DuplicateKey { key: key.into(), first, second });
        }
        let alignment = alignment(Metadata { bytes: &bytes, index: &entries })?;

        file.place = At::Header;
        let tensors =
            records(&mut file, tensors, "tensors", tensor::MIN_RECORD, |file, i| Record::read(file, i).map(|_| ()))?;
        let mut tensors = Index::new(tensors);
        if let Some((first, second)) = tensors.sort(&bytes) {
            let at = tensors.offset(first).unwrap_or(0);
            let name = Record::read(&mut Cursor::new(&bytes, at, At::Header), first)?.name.into();
            return Err(GgufError::DuplicateTensor { name, first, second });
        }
        // Beyond the end of the file if there are no tensors and so no padding: nothing is read there.
        let start = file.at.checked_next_multiple_of(alignment).unwrap_or(usize::MAX);
        let file = Self { version, alignment, start, entries, tensors, bytes: bytes.clone() };
        for i in 0..file.tensors.len() {
            file.read_tensor(i)?;
        }
        Ok(file)
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The alignment of tensors in the file, in bytes.
    pub fn alignment(&self) -> usize {
        self.alignment
    }

    /// The metadata.
    pub fn metadata(&self) -> Metadata<'_> {
        Metadata { bytes: &self.bytes, index: &self.entries }
    }

    /// The tensors in the order of the file.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = GgufTensor<'_>> {
        Tensors { file: self, next: 0 }
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// If there is none; the error has names that are like it.
    pub fn tensor(&self, name: &str) -> Result<GgufTensor<'_>, GgufError> {
        match self.tensors.find(&self.bytes, name) {
            Some(i) => self.read_tensor(i),
            None => Err(GgufError::NoTensor { name: name.into(), near: near::names(self.tensors(), name) }),
        }
    }

    /// The tensor of this name as a constant of a graph, which shares the bytes of the file. Numbers in blocks are f32 to the graph
    /// and stay in their blocks: a product with them as `linear`'s transposed weights reads them there.
    ///
    /// # Errors
    /// If there is no such tensor, or it is of a type that is not dequantised.
    pub fn constant(&self, name: &str) -> Result<Constant, GgufError> {
        let tensor = self.tensor(name)?;
        let (shape, [rows, len]) = (tensor.shape(), [tensor.rows(), tensor.row_len()]);
        let (at, size) = (tensor.offset(), tensor.bytes().len());
        // The directory was checked: the bytes are in the file, as many as the extents ask for. None may be said to be behind it.
        let bytes = if size > 0 { self.bytes.slice(at..at + size) } else { Bytes::new() };
        let found = match (tensor.ty().blocks(), tensor.ty().dtype()) {
            (Some(format), _) => {
                Blocks::new(format, [rows, len], bytes).ok().and_then(|blocks| Constant::of_blocks(shape, blocks))
            }
            (None, Some(dtype)) => Constant::new(dtype, shape, bytes),
            (None, None) => None,
        };
        found.ok_or_else(|| GgufError::NotDequantised { tensor: name.into(), ty: tensor.ty() })
    }

    fn read_tensor(&self, i: usize) -> Result<GgufTensor<'_>, GgufError> {
        let mut file = Cursor::new(&self.bytes, self.tensors.offset(i).unwrap_or(usize::MAX), At::Tensor(i, None));
        Record::read(&mut file, i)?.tensor(&self.bytes, self.start, self.alignment)
    }
}

impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tensors, entries) = (self.tensors.len(), self.entries.len());
        write!(f, "Gguf(version {}, {tensors} tensors, {entries} metadata entries)", self.version)
    }
}

struct Tensors<'a> {
    file: &'a Gguf,
    next: usize,
}

impl<'a> Iterator for Tensors<'a> {
    type Item = GgufTensor<'a>;

    fn next(&mut self) -> Option<GgufTensor<'a>> {
        // Every record was read when the file was opened, so that none fails here.
        let tensor = self.file.read_tensor(self.next).ok()?;
        self.next += 1;
        Some(tensor)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.file.tensors.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Tensors<'_> {}

/// Where `count` records begin that take `size` bytes each or more; `read` leaves the cursor behind one.
fn records<'a>(
    file: &mut Cursor<'a>,
    count: u64,
    what: &'static str,
    size: usize,
    read: impl Fn(&mut Cursor<'a>, usize) -> Result<(), GgufError>,
) -> Result<Vec<usize>, GgufError> {
    let n = file.count(count, what, size)?;
    if n > Index::MOST {
        return Err(GgufError::Count { place: Place::Header, what, count, at: file.at, most: Index::MOST });
    }
    let mut offsets = Vec::with_capacity(n);
    for i in 0..n {
        offsets.push(file.at);
        read(file, i)?;
    }
    Ok(offsets)
}

fn alignment(metadata: Metadata<'_>) -> Result<usize, GgufError> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(ALIGNMENT),
        Some(Value::U32(n)) if n.is_power_of_two() => Ok(n as usize),
        Some(Value::U32(n)) => Err(GgufError::Alignment { found: n.to_string() }),
        Some(other) => Err(GgufError::Alignment { found: format!("of type {}", other.ty()) }),
    }
}
