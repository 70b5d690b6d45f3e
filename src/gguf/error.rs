//! The faults of a GGUF file, or of a request to one.

use super::types::GgmlType;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Longest piece of a name from a file that a message has.
const SHOWN: usize = 80;

/// Where in a file something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Magic, version and counts.
    Header,
    /// An entry of the metadata.
    Entry {
        /// Its number, from 0 on.
        index: usize,
        /// Its key, if that was readable.
        key: Option<String>,
    },
    /// An entry of the tensor directory.
    Tensor {
        /// Its number, from 0 on.
        index: usize,
        /// Its name, if that was readable.
        name: Option<String>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, index, name) = match self {
            Place::Header => return f.write_str("the header"),
            Place::Entry { index, key } => ("metadata entry", index, key),
            Place::Tensor { index, name } => ("tensor", index, name),
        };
        match name {
            Some(name) => write!(f, "{what} {index} ({})", quoted(name)),
            None => write!(f, "{what} {index}"),
        }
    }
}

/// Why a file is not read, or a tensor not given.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file system refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not begin as a GGUF file does.
    #[error("not a GGUF file: it begins with {found:02x?} where 47 47 55 46 (\"GGUF\") is expected")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A version that is not read.
    #[error("GGUF version {version}, this reader has versions 2 and 3; files of version 1 are to be made anew")]
    Version {
        /// The value in the file.
        version: u32,
    },
    /// It was written for hosts of the other byte order.
    #[error(
        "a big-endian file (GGUF version {version}); only little-endian ones are read, gguf_convert_endian.py converts"
    )]
    BigEndian {
        /// Its version, read in that order.
        version: u32,
    },
    /// The file ends where more is promised.
    #[error("{place}: {what} at byte {at} takes {needed} bytes, the file has {left} there")]
    Truncated {
        /// Where.
        place: Place,
        /// The thing that was to be read.
        what: &'static str,
        /// Where it begins.
        at: usize,
        /// Bytes it takes.
        needed: u64,
        /// Bytes that are left.
        left: usize,
    },
    /// A count of things that the rest of the file has no room for.
    #[error("{place}: {count} {what} from byte {at} on, the file has room for {most} at most")]
    Count {
        /// Where.
        place: Place,
        /// The things that are counted.
        what: &'static str,
        /// How many there should be.
        count: u64,
        /// Where the first should begin.
        at: usize,
        /// How many there can be.
        most: usize,
    },
    /// A type of metadata value that is not known.
    #[error("{place}: value type {id} at byte {at} is not known")]
    ValueType {
        /// Where.
        place: Place,
        /// The value in the file.
        id: u32,
        /// Where it says so.
        at: usize,
    },
    /// A bool that is neither 0 nor 1.
    #[error("{place}: the bool at byte {at} is {value}, it can be 0 or 1")]
    Bool {
        /// Where.
        place: Place,
        /// The value in the file.
        value: u8,
        /// Where it says so.
        at: usize,
    },
    /// Arrays of arrays, too deep.
    #[error("{place}: arrays in arrays at byte {at}, more than {} deep", super::metadata::MAX_DEPTH)]
    Nesting {
        /// Where.
        place: Place,
        /// Where the innermost begins.
        at: usize,
    },
    /// A key or a tensor name that is not UTF-8.
    #[error("{place}: its {what} at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Where.
        place: Place,
        /// Key or name.
        what: &'static str,
        /// Where the text begins.
        at: usize,
    },
    /// A metadata key that is there twice.
    #[error("metadata entries {first} and {second} both have the key {}", quoted(key))]
    DuplicateKey {
        /// The key.
        key: String,
        /// The first entry.
        first: usize,
        /// The other.
        second: usize,
    },
    /// A tensor name that is there twice.
    #[error("tensors {first} and {second} are both named {}", quoted(name))]
    DuplicateTensor {
        /// The name.
        name: String,
        /// The first tensor.
        first: usize,
        /// The other.
        second: usize,
    },
    /// `general.alignment` is no alignment.
    #[error("general.alignment is {found}; it has to be a power of two, as u32")]
    Alignment {
        /// The value in the file.
        found: String,
    },
    /// More extents than ggml has.
    #[error("{place}: {count} extents at byte {at}, a tensor has {} at most", super::tensor::MAX_DIMS)]
    Rank {
        /// Where.
        place: Place,
        /// The value in the file.
        count: u32,
        /// Where it says so.
        at: usize,
    },
    /// The number of elements or bytes of a tensor is too large for any host.
    #[error("{place}: a tensor of {dims:?} overflows")]
    Size {
        /// Where.
        place: Place,
        /// Its extents, in the order of the file: the row first.
        dims: Vec<u64>,
    },
    /// An element type that is not known, so neither is its size.
    #[error("{place}: element type {id} at byte {at} is not known")]
    TensorType {
        /// Where.
        place: Place,
        /// The value in the file.
        id: u32,
        /// Where it says so.
        at: usize,
    },
    /// Rows that are no whole number of blocks.
    #[error("{place}: rows of {row} elements are no multiple of the {} of a block of {ty}", ty.block_len())]
    Row {
        /// Where.
        place: Place,
        /// Its element type.
        ty: GgmlType,
        /// Elements of a row.
        row: usize,
    },
    /// A tensor that does not begin on a multiple of the alignment.
    #[error("{place}: its offset {offset} is no multiple of the alignment, {alignment}")]
    Misaligned {
        /// Where.
        place: Place,
        /// The value in the file.
        offset: u64,
        /// The alignment of the file.
        alignment: usize,
    },
    /// A tensor whose bytes are not all in the file.
    #[error("{place}: {bytes} bytes from offset {offset} on, the file has {available} bytes of tensors")]
    Beyond {
        /// Where.
        place: Place,
        /// Where it begins, from the first byte of all tensors on.
        offset: u64,
        /// Its size.
        bytes: usize,
        /// Size of what there is.
        available: usize,
    },
    /// No tensor has this name.
    #[error("no tensor {}{}", quoted(name), suggestion(near))]
    NoTensor {
        /// The one that was asked for.
        name: String,
        /// Names that are like it, the likest first.
        near: Vec<String>,
    },
    /// A type that nothing here turns into f32.
    #[error("tensor {}: {ty} is not dequantised", quoted(tensor))]
    NotDequantised {
        /// Its name.
        tensor: String,
        /// Its type.
        ty: GgmlType,
    },
    /// Rows that a tensor does not have.
    #[error("tensor {}: rows {start}..{end} of {rows}", quoted(tensor))]
    Rows {
        /// Its name.
        tensor: String,
        /// The first asked for.
        start: usize,
        /// The one past the last.
        end: usize,
        /// The number of rows that there are.
        rows: usize,
    },
    /// A buffer of another size than what is to go into it.
    #[error("tensor {}: a buffer of {given} elements for {needed}", quoted(tensor))]
    Buffer {
        /// The tensor's name.
        tensor: String,
        /// Elements there are.
        needed: usize,
        /// Elements there is room for.
        given: usize,
    },
    /// The host has no memory for it.
    #[error("tensor {}: no memory for {elements} f32; rows can be read one by one", quoted(tensor))]
    Memory {
        /// The tensor's name.
        tensor: String,
        /// Its elements.
        elements: usize,
    },
    /// A tensor that is no slice of the type asked for.
    #[error("tensor {}: {ty} is no slice of {asked}", quoted(tensor))]
    View {
        /// Its name.
        tensor: String,
        /// Its type.
        ty: GgmlType,
        /// The one that was asked for.
        asked: GgmlType,
    },
    /// The bytes lie where elements of their type cannot be read.
    #[error("tensor {}: its bytes are not aligned for a slice of {ty}", quoted(tensor))]
    Unaligned {
        /// Its name.
        tensor: String,
        /// Its type.
        ty: GgmlType,
    },
}

/// The beginning of a name, in quotes, without control characters.
fn quoted(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &name[..end]),
        None => format!("{name:?}"),
    }
}

fn suggestion(near: &[String]) -> String {
    if near.is_empty() {
        return String::new();
    }
    format!("; there is {}", near.iter().map(|n| quoted(n)).collect::<Vec<_>>().join(", "))
}
