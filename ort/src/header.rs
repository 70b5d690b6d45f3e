//! The header of an ONNX file: who made it, its own key-value pairs, and the names of dims as they are written. The
//! engine has no use for that, so it is read here, past all nodes and weights.

use crate::arguments::{Handle, Out, calls};
use crate::memory::Allocator;
use crate::types::Declared;
use ort_sys::OrtModelMetadata;
use std::collections::HashMap;
use std::ffi::c_char;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::{mem, ptr};

/// The most bytes of a text or message that are read; a longer one is taken to be empty.
const LONGEST: u64 = 1 << 24;

/// Metadata of a model. What its file does not say is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metadata {
    producer: String,
    graph: String,
    graph_description: String,
    domain: String,
    description: String,
    version: i64,
    custom: Vec<(String, String)>,
}

/// Dims of inputs or outputs, by name.
pub(crate) type Ports = HashMap<String, Vec<Declared>>;

/// All of a file but nodes and weights.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub metadata: Metadata,
    pub inputs: Ports,
    pub outputs: Ports,
}

impl Handle for Metadata {
    type Sys = OrtModelMetadata;
}

impl Header {
    /// Reads a file as far as it makes sense. Whether it is a model is for the import to say.
    pub(crate) fn read(file: impl Read + Seek) -> Self {
        let mut header = Self::default();
        let mut fields = Fields { from: BufReader::new(file), left: u64::MAX };
        let _ = header.model(&mut fields);
        header
    }

    /// True if an input has a dim of this name.
    pub(crate) fn names_dim(&self, name: &str) -> bool {
        self.inputs.values().flatten().any(|d| matches!(d, Declared::Name(n) if n == name))
    }

    fn model<R: Read + Seek>(&mut self, fields: &mut Fields<R>) -> io::Result<()> {
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (2, Field::Bytes(n)) => self.metadata.producer = fields.text(n)?,
                (4, Field::Bytes(n)) => self.metadata.domain = fields.text(n)?,
                (5, Field::Number(n)) => self.metadata.version = n as i64,
                (6, Field::Bytes(n)) => self.metadata.description = fields.text(n)?,
                (7, Field::Bytes(n)) => fields.within(n, |fields| self.graph(fields))?,
                (14, Field::Bytes(n)) => self.metadata.custom.push(pair(&fields.bytes(n)?)?),
                (_, other) => fields.pass(other)?,
            }
        }
        Ok(())
    }

    fn graph<R: Read + Seek>(&mut self, fields: &mut Fields<R>) -> io::Result<()> {
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (2, Field::Bytes(n)) => self.metadata.graph = fields.text(n)?,
                (10, Field::Bytes(n)) => self.metadata.graph_description = fields.text(n)?,
                (11, Field::Bytes(n)) => self.inputs.extend(port(&fields.bytes(n)?)?),
                (12, Field::Bytes(n)) => self.outputs.extend(port(&fields.bytes(n)?)?),
                (_, other) => fields.pass(other)?,
            }
        }
        Ok(())
    }
}

/// A key and a value.
fn pair(message: &[u8]) -> io::Result<(String, String)> {
    let mut fields = Fields::of(message);
    let (mut key, mut value) = (String::new(), String::new());
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(n)) => key = fields.text(n)?,
            (2, Field::Bytes(n)) => value = fields.text(n)?,
            (_, other) => fields.pass(other)?,
        }
    }
    Ok((key, value))
}

/// An input or output, if it is a tensor with a shape.
fn port(message: &[u8]) -> io::Result<Option<(String, Vec<Declared>)>> {
    let mut fields = Fields::of(message);
    let (mut name, mut dims) = (String::new(), None);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(n)) => name = fields.text(n)?,
            (2, Field::Bytes(n)) => dims = dims_of(&fields.bytes(n)?)?,
            (_, other) => fields.pass(other)?,
        }
    }
    Ok(dims.map(|dims| (name, dims)))
}

/// The dims of a type: it has a tensor's type, and that a shape, which has dims.
fn dims_of(ty: &[u8]) -> io::Result<Option<Vec<Declared>>> {
    let Some(tensor) = all(ty, 1)?.pop() else { return Ok(None) };
    let Some(shape) = all(&tensor, 2)?.pop() else { return Ok(None) };
    all(&shape, 1)?.iter().map(|d| dim(d)).collect::<io::Result<_>>().map(Some)
}

/// The messages in a message that have this number.
fn all(message: &[u8], wanted: u64) -> io::Result<Vec<Vec<u8>>> {
    let mut fields = Fields::of(message);
    let mut found = Vec::new();
    while let Some((number, field)) = fields.next()? {
        match field {
            Field::Bytes(n) if number == wanted => found.push(fields.bytes(n)?),
            other => fields.pass(other)?,
        }
    }
    Ok(found)
}

fn dim(message: &[u8]) -> io::Result<Declared> {
    let mut fields = Fields::of(message);
    let mut dim = Declared::Nothing;
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Number(n)) => dim = i64::try_from(n).map_or(Declared::Nothing, Declared::Number),
            (2, Field::Bytes(0)) => dim = Declared::Nothing,
            (2, Field::Bytes(n)) => dim = Declared::Name(fields.text(n)?),
            (_, other) => fields.pass(other)?,
        }
    }
    Ok(dim)
}

/// A field of a protobuf message: a number, or as many bytes, which are next.
enum Field {
    Number(u64),
    Bytes(u64),
}

/// The fields of a message.
struct Fields<R> {
    from: BufReader<R>,
    /// Bytes of the message that are still to come.
    left: u64,
}

impl<'a> Fields<Cursor<&'a [u8]>> {
    fn of(message: &'a [u8]) -> Self {
        Self { from: BufReader::with_capacity(64, Cursor::new(message)), left: message.len() as u64 }
    }
}

impl<R: Read + Seek> Fields<R> {
    fn next(&mut self) -> io::Result<Option<(u64, Field)>> {
        if self.left == 0 || self.from.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Number(self.varint()?),
            1 => Field::Bytes(8),
            2 => Field::Bytes(self.varint()?),
            5 => Field::Bytes(4),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Some((key >> 3, field)))
    }

    fn took(&mut self, n: u64) -> io::Result<()> {
        self.left = self.left.checked_sub(n).ok_or(io::ErrorKind::InvalidData)?;
        Ok(())
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.from.read_exact(&mut byte)?;
            self.took(1)?;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Goes on behind a field that nobody wants.
    fn pass(&mut self, field: Field) -> io::Result<()> {
        match field {
            Field::Number(_) => Ok(()),
            Field::Bytes(n) => {
                self.took(n)?;
                self.from.seek_relative(i64::try_from(n).map_err(|_| io::ErrorKind::InvalidData)?)
            }
        }
    }

    fn bytes(&mut self, n: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if n > LONGEST {
            self.pass(Field::Bytes(n))?;
            return Ok(bytes);
        }
        self.took(n)?;
        if self.from.by_ref().take(n).read_to_end(&mut bytes)? as u64 != n {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    fn text(&mut self, n: u64) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(n)?).into_owned())
    }

    /// The fields of a message of `n` bytes, which is a field of this one.
    fn within(&mut self, n: u64, read: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        self.took(n)?;
        let outside = mem::replace(&mut self.left, n);
        read(self)?;
        self.pass(Field::Bytes(self.left))?;
        self.left = outside;
        Ok(())
    }
}

calls! {
    fn ModelMetadataGetProducerName(metadata: &Metadata, allocator: Allocator, out: Out<*mut c_char>) {
        out.set(allocator.text(&metadata.producer)?);
        Ok(())
    }

    fn ModelMetadataGetGraphName(metadata: &Metadata, allocator: Allocator, out: Out<*mut c_char>) {
        out.set(allocator.text(&metadata.graph)?);
        Ok(())
    }

    fn ModelMetadataGetGraphDescription(metadata: &Metadata, allocator: Allocator, out: Out<*mut c_char>) {
        out.set(allocator.text(&metadata.graph_description)?);
        Ok(())
    }

    fn ModelMetadataGetDomain(metadata: &Metadata, allocator: Allocator, out: Out<*mut c_char>) {
        out.set(allocator.text(&metadata.domain)?);
        Ok(())
    }

    fn ModelMetadataGetDescription(metadata: &Metadata, allocator: Allocator, out: Out<*mut c_char>) {
        out.set(allocator.text(&metadata.description)?);
        Ok(())
    }

    fn ModelMetadataGetVersion(metadata: &Metadata, out: Out<i64>) {
        out.set(metadata.version);
        Ok(())
    }

    /// A key that is not there has no value, which is no error.
    fn ModelMetadataLookupCustomMetadataMap(
        metadata: &Metadata, allocator: Allocator, key: &str, out: Out<*mut c_char>,
    ) {
        let value = metadata.custom.iter().find(|(k, _)| k == key);
        out.set(value.map_or(Ok(ptr::null_mut()), |(_, v)| allocator.text(v))?);
        Ok(())
    }

    fn ModelMetadataGetCustomMetadataMapKeys(
        metadata: &Metadata, allocator: Allocator, out: Out<*mut *mut c_char>, count: Out<i64>,
    ) {
        let keys = metadata.custom.iter().map(|(k, _)| allocator.text(k)).collect::<Result<Vec<_>, _>>()?;
        out.set(if keys.is_empty() { ptr::null_mut() } else { allocator.array(&keys)? });
        count.set(keys.len() as i64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn model() -> Vec<u8> {
        let dims = [field(1, &[1 << 3, 3]), field(1, &field(2, b"seq + 1")), field(1, &[])].concat();
        let ty = field(1, &[&[1 << 3, 1][..], &field(2, &dims)].concat());
        let input = [field(1, b"ids"), field(2, &ty)].concat();
        let graph = [field(1, b"a node"), field(2, b"main"), field(11, &input), field(5, &[0; 40])].concat();
        let custom = [field(1, b"names"), field(2, b"{0: 'cat'}")].concat();
        [&[1 << 3, 8][..], &field(2, b"me"), &[5 << 3, 0x81, 1], &field(7, &graph), &field(14, &custom)].concat()
    }

    #[test]
    fn a_header_is_read_past_the_rest() {
        let header = Header::read(Cursor::new(model()));
        let custom = vec![("names".into(), "{0: 'cat'}".into())];
        let expected =
            Metadata { producer: "me".into(), graph: "main".into(), version: 129, custom, ..Metadata::default() };
        assert_eq!(header.metadata, expected);
        let dims = [Declared::Number(3), Declared::Name("seq + 1".into()), Declared::Nothing];
        assert_eq!(header.inputs["ids"], dims);
        assert!(header.outputs.is_empty());
    }

    #[test]
    fn cut_and_damaged_files_end() {
        let whole = model();
        for n in 0..whole.len() {
            Header::read(Cursor::new(&whole[..n]));
            for byte in [0, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[n] = byte;
                Header::read(Cursor::new(damaged));
            }
        }
        assert_eq!(Header::read(Cursor::new(b"not a model")).metadata, Metadata::default());
    }
}
