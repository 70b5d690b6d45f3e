//! Metadata: keys and typed values, read where they lie.

use super::cursor::{At, Cursor};
use super::error::GgufError;
use super::index::Index;
use std::fmt;

/// How deep arrays lie in arrays at most. The format has no bound; no known key needs more than one.
pub(super) const MAX_DEPTH: usize = 4;

/// Bytes that an entry takes at least: the length of its key, its type, a value of one byte.
pub(super) const MIN_ENTRY: usize = 8 + 4 + 1;

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    /// Every type; the place is the number that files have for it.
    pub const ALL: [ValueType; 13] = {
        use ValueType::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64]
    };

    /// The type of this number in a file.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            ValueType::U8 => "u8",
            ValueType::I8 => "i8",
            ValueType::U16 => "u16",
            ValueType::I16 => "i16",
            ValueType::U32 => "u32",
            ValueType::I32 => "i32",
            ValueType::F32 => "f32",
            ValueType::Bool => "bool",
            ValueType::String => "string",
            ValueType::Array => "array",
            ValueType::U64 => "u64",
            ValueType::I64 => "i64",
            ValueType::F64 => "f64",
        }
    }

    /// Bytes of a value, the fewest if it has no fixed size.
    const fn min_bytes(self) -> usize {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
            ValueType::U16 | ValueType::I16 => 2,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
            ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::String => 8,
            ValueType::Array => 12,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value, of the type it has in the file. Text and arrays borrow from the file.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(&'a str),
    /// A string that is not UTF-8. The format forbids it, but vocabularies of some files have such.
    Bytes(&'a [u8]),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl<'a> Value<'a> {
    /// Its type.
    pub fn ty(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) | Value::Bytes(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// An integer of any type, if it is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U64(v) => Some(v),
            _ => self.as_i64().and_then(|v| v.try_into().ok()),
        }
    }

    /// An integer of any type, if it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::I8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::I16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::I32(v) => Some(v.into()),
            Value::I64(v) => Some(v),
            Value::U64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// A float of either type.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::F32(v) => Some(v.into()),
            Value::F64(v) => Some(v),
            _ => None,
        }
    }

    /// A bool.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// A string, if it is UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Value::String(v) => Some(v),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Value::Array(v) => Some(v),
            _ => None,
        }
    }

    /// Reads a value that lies in `depth` arrays, and checks all of it.
    pub(super) fn read(file: &mut Cursor<'a>, ty: ValueType, depth: usize) -> Result<Self, GgufError> {
        const WHAT: &str = "a value";
        Ok(match ty {
            ValueType::U8 => Value::U8(u8::from_le_bytes(file.array(WHAT)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(file.array(WHAT)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(file.array(WHAT)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(file.array(WHAT)?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(file.array(WHAT)?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(file.array(WHAT)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(file.array(WHAT)?)),
            ValueType::U64 => Value::U64(u64::from_le_bytes(file.array(WHAT)?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(file.array(WHAT)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(file.array(WHAT)?)),
            ValueType::Bool => match file.array(WHAT)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [value] => return Err(GgufError::Bool { place: file.place.into(), value, at: file.at - 1 }),
            },
            ValueType::String => {
                let bytes = file.string("a string")?;
                std::str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::String)
            }
            ValueType::Array => {
                if depth >= MAX_DEPTH {
                    return Err(GgufError::Nesting { place: file.place.into(), at: file.at });
                }
                let item = value_type(file)?;
                let len = file.u64("the length of an array")?;
                let len = file.count(len, "items of an array", item.min_bytes())?;
                let start = file.at;
                let mut items = *file;
                match item {
                    // These have to be looked at one by one.
                    ValueType::String | ValueType::Array | ValueType::Bool => {
                        for _ in 0..len {
                            Value::read(&mut items, item, depth + 1)?;
                        }
                    }
                    // Room for them was asked for above.
                    _ => items.at += len * item.min_bytes(),
                }
                let bytes = file.take((items.at - start) as u64, "items of an array")?;
                Value::Array(Array { item, len, bytes, depth: depth + 1 })
            }
        })
    }
}

fn value_type(file: &mut Cursor<'_>) -> Result<ValueType, GgufError> {
    let at = file.at;
    let id = file.u32("the type of a value")?;
    ValueType::from_id(id).ok_or_else(|| GgufError::ValueType { place: file.place.into(), id, at })
}

/// An array of values of one type, borrowed from the file.
#[derive(Clone, Copy, PartialEq)]
pub struct Array<'a> {
    item: ValueType,
    len: usize,
    bytes: &'a [u8],
    /// How many arrays its items lie in, itself included.
    depth: usize,
}

impl<'a> Array<'a> {
    /// The type of its items.
    pub fn item_type(&self) -> ValueType {
        self.item
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are no items.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The items in order. Those of text and of arrays have no fixed size, so the one at a place is found from the
    /// first on.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let Array { item, len, bytes, depth } = *self;
        let mut items = Cursor::new(bytes, 0, At::Header);
        // Checked when the file was opened, so that none fails.
        (0..len).map_while(move |_| Value::read(&mut items, item, depth).ok())
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({} x {})", self.len, self.item)
    }
}

/// An entry at the position of `file`.
pub(super) fn entry<'a>(file: &mut Cursor<'a>, index: usize) -> Result<(&'a str, Value<'a>), GgufError> {
    file.place = At::Entry(index, None);
    let key = file.text("key")?;
    file.place = At::Entry(index, Some(key));
    let ty = value_type(file)?;
    Ok((key, Value::read(file, ty, 0)?))
}

/// The metadata of a file.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) index: &'a Index,
}

impl<'a> Metadata<'a> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let i = self.index.find(self.bytes, key)?;
        self.entry(i).map(|(_, value)| value)
    }

    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let this = *self;
        // Checked when the file was opened, so that none is left out.
        (0..this.len()).filter_map(move |i| this.entry(i))
    }

    fn entry(&self, i: usize) -> Option<(&'a str, Value<'a>)> {
        entry(&mut Cursor::new(self.bytes, self.index.offset(i)?, At::Entry(i, None)), i).ok()
    }
}
