//! The message of a model without the bytes of its large tensors.
//!
//! A protobuf parser wants the whole message in memory, weights and all, and would have them there until the last of them
//! is packed. So they stay in the file: a large `raw_data` becomes external data in the model's own file, and what is left
//! is the skeleton, small enough to be parsed whole.

use super::external::{LARGE, OWN_FILE};
use std::io::{self, BufReader, Read, Seek};

/// Messages within each other; protobuf parsers give up at about as many.
const MAX_DEPTH: usize = 100;

/// The messages that tensors can be in (onnx.proto), by what their fields hold.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    Tensor,
}

impl Kind {
    /// The message in field `number`, if tensors can be in it.
    fn field(self, number: u64) -> Option<Kind> {
        Some(match (self, number) {
            (Kind::Model, 7) => Kind::Graph,
            (Kind::Model, 25) => Kind::Function,
            (Kind::Graph, 1) | (Kind::Function, 7) => Kind::Node,
            (Kind::Node, 5) => Kind::Attribute,
            (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) => Kind::Tensor,
            (Kind::Attribute, 6 | 11) => Kind::Graph,
            _ => return None,
        })
    }
}

/// `TensorProto.raw_data`, `.external_data` and `.data_location`.
const RAW_DATA: u64 = 9;
const EXTERNAL_DATA: u64 = 13;
const DATA_LOCATION: u64 = 14;

/// Wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LEN: u64 = 2;
const FIXED32: u64 = 5;

/// The skeleton of the model that `source`, of `len` bytes, holds.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if it is no protobuf message; others if it cannot be read.
pub(super) fn read(source: impl Read + Seek, len: u64) -> io::Result<Vec<u8>> {
    let mut file = Cursor { source: BufReader::with_capacity(64 << 10, source), at: 0 };
    file.message(Kind::Model, len, 0)
}

struct Cursor<R: Read + Seek> {
    source: BufReader<R>,
    /// Bytes read so far.
    at: u64,
}

impl<R: Read + Seek> Cursor<R> {
    /// The message of `kind` that ends at `end`.
    fn message(&mut self, kind: Kind, end: u64, depth: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        while self.at < end {
            let tag = self.varint(end)?;
            let (number, wire) = (tag >> 3, tag & 7);
            match wire {
                VARINT => {
                    let value = self.varint(end)?;
                    put(&mut out, tag)?;
                    put(&mut out, value)?;
                }
                FIXED64 | FIXED32 => {
                    put(&mut out, tag)?;
                    self.copy(if wire == FIXED64 { 8 } else { 4 }, end, &mut out)?;
                }
                LEN => {
                    let len = self.varint(end)?;
                    let inner = self.at.checked_add(len).filter(|&inner| inner <= end).ok_or_else(malformed)?;
                    match kind.field(number) {
                        _ if len < LARGE => {}
                        Some(_) if depth == MAX_DEPTH => return Err(malformed()),
                        Some(field) => {
                            let message = self.message(field, inner, depth + 1)?;
                            put(&mut out, tag)?;
                            put_bytes(&mut out, &message)?;
                            continue;
                        }
                        None if matches!(kind, Kind::Tensor) && number == RAW_DATA => {
                            let at = self.at;
                            self.skip(len)?;
                            stays_in_file(&mut out, at, len)?;
                            continue;
                        }
                        None => {}
                    }
                    put(&mut out, tag)?;
                    put(&mut out, len)?;
                    self.copy(len, end, &mut out)?;
                }
                // Groups, which no version of onnx.proto has.
                _ => return Err(malformed()),
            }
        }
        Ok(out)
    }

    fn varint(&mut self, end: u64) -> io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            if self.at >= end {
                return Err(malformed());
            }
            let mut byte = [0u8];
            self.source.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed())
    }

    fn copy(&mut self, len: u64, end: u64, out: &mut Vec<u8>) -> io::Result<()> {
        if self.at.checked_add(len).is_none_or(|inner| inner > end) {
            return Err(malformed());
        }
        reserve(out, len)?;
        let read = (&mut self.source).take(len).read_to_end(out)? as u64;
        self.at += read;
        if read == len { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Bytes that are skipped may not be there any more: whoever reads it will see.
    fn skip(&mut self, len: u64) -> io::Result<()> {
        self.source.seek_relative(i64::try_from(len).map_err(|_| malformed())?)?;
        self.at += len;
        Ok(())
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is no protobuf message")
}

fn reserve(out: &mut Vec<u8>, len: u64) -> io::Result<()> {
    let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    Ok(out.try_reserve(len)?)
}

fn put(out: &mut Vec<u8>, mut value: u64) -> io::Result<()> {
    reserve(out, 10)?;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    Ok(())
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    put(out, bytes.len() as u64)?;
    reserve(out, bytes.len() as u64)?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// Says, in fields of a tensor, that its `len` bytes lie at `at` of the model's own file.
fn stays_in_file(out: &mut Vec<u8>, at: u64, len: u64) -> io::Result<()> {
    for (key, value) in [("location", OWN_FILE.to_owned()), ("offset", at.to_string()), ("length", len.to_string())] {
        let mut entry = Vec::new();
        for (number, text) in [(1, key), (2, value.as_str())] {
            put(&mut entry, number << 3 | LEN)?;
            put_bytes(&mut entry, text.as_bytes())?;
        }
        put(out, EXTERNAL_DATA << 3 | LEN)?;
        put_bytes(out, &entry)?;
    }
    put(out, DATA_LOCATION << 3 | VARINT)?;
    // DataLocation.EXTERNAL
    put(out, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor as Memory;

    fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, number << 3 | LEN).unwrap();
        put_bytes(&mut out, bytes).unwrap();
        out
    }

    fn skeleton(model: &[u8]) -> io::Result<Vec<u8>> {
        read(Memory::new(model), model.len() as u64)
    }

    #[test]
    fn a_model_of_small_tensors_is_its_own_skeleton() {
        let tensor = field(RAW_DATA, &[7; 100]);
        let mut model = field(7, &field(5, &tensor));
        model.extend([8 << 3 | VARINT as u8, 0x96, 0x01, 9 << 3 | FIXED32 as u8, 1, 2, 3, 4]);
        assert_eq!(skeleton(&model).unwrap(), model);
        assert!(skeleton(&[]).unwrap().is_empty());
    }

    #[test]
    fn large_data_is_named_by_its_place_wherever_a_tensor_is() {
        let tensor = [field(8, b"w"), field(RAW_DATA, &vec![7; LARGE as usize])].concat();
        let attribute = field(5, &tensor);
        for (model, name) in [
            (field(7, &field(5, &tensor)), "initialiser"),
            (field(7, &field(1, &field(5, &attribute))), "attribute of a node"),
            (field(7, &field(1, &field(5, &field(6, &field(5, &tensor))))), "initialiser of a branch"),
            (field(25, &field(7, &field(5, &attribute))), "attribute of a node of a function"),
        ] {
            let skeleton = skeleton(&model).unwrap();
            assert!(skeleton.len() < 200, "{name}");
            let at = model.len() as u64 - LARGE;
            assert!(skeleton.windows(8).any(|w| w == b"location"), "{name}");
            let place = at.to_string();
            assert!(skeleton.windows(place.len()).any(|w| w == place.as_bytes()), "{name}: {place}");
        }
        // No tensor, whatever its field's number.
        let text = field(6, &vec![b'x'; LARGE as usize]);
        assert_eq!(skeleton(&text).unwrap(), text);
    }

    #[test]
    fn what_is_cut_or_no_message_is_an_error() {
        let model = field(7, &field(5, &field(RAW_DATA, &vec![7; LARGE as usize])));
        for len in [1, 2, 5, 9, model.len() - 1] {
            assert!(skeleton(&model[..len]).is_err(), "{len}");
        }
        // A group, a varint without an end, a length beyond the message, messages within each other without end.
        assert!(skeleton(&[7 << 3 | 3]).is_err());
        assert!(skeleton(&[0xff; 20]).is_err());
        assert!(skeleton(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
        let mut deep = vec![0; LARGE as usize];
        for _ in 0..60 {
            deep = field(1, &field(5, &field(6, &deep)));
        }
        assert!(skeleton(&field(7, &deep)).is_err());
    }
}
