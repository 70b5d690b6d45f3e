//! The one model in ORT format that is run: `ort` copies tensors by a model of its own, which is an `Identity` in that format.

use ort_sys::ONNXTensorElementDataType::{self as Element, *};

/// A model that makes of its input its output.
pub(crate) struct Identity {
    pub input: String,
    pub output: String,
    pub element: Element,
}

/// True of files in ORT format, which are FlatBuffers with an identifier.
pub(crate) fn is_ort_format(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"ORTM")
}

/// Reads a model if it is one `Identity` of a tensor.
pub(crate) fn read(bytes: &[u8]) -> Option<Identity> {
    let graph = Table::root(bytes)?.table(1)?.table(7)?;
    let node = only(graph.tables(2)?)?;
    let (input, output) = (only(graph.texts(5)?)?, only(graph.texts(6)?)?);
    let same = node.text(5)? == "Identity" && only(node.texts(8)?)? == input && only(node.texts(9)?)? == output;
    // The input as a value: its type is a union, whose first member is the tensor's type.
    let values = graph.tables(1)?;
    let value = values.into_iter().find(|v| v.text(0).as_ref() == Some(&input))?;
    let code = value.table(2)?.table(2)?.number(0)?;
    let elements = [
        ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
    ];
    let element = elements.into_iter().find(|&e| e as i32 == code).unwrap_or(ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED);
    same.then_some(Identity { input, output, element })
}

/// The element of a list that has no other.
fn only<T>(list: Vec<T>) -> Option<T> {
    <[T; 1]>::try_from(list).ok().map(|[one]| one)
}

/// A table of a FlatBuffer: every offset that is followed is checked.
#[derive(Clone, Copy)]
struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Table<'a> {
    fn root(bytes: &'a [u8]) -> Option<Self> {
        Some(Self { bytes, at: offset(bytes, 0)? })
    }

    /// Where a field is; `None` if it has its default.
    fn field(self, field: usize) -> Option<usize> {
        let back = i32::from_le_bytes(*self.bytes.get(self.at..)?.first_chunk()?);
        let slots = usize::try_from((self.at as i64).checked_sub(back.into())?).ok()?;
        let short = |at: usize| self.bytes.get(at..)?.first_chunk().map(|&b| usize::from(u16::from_le_bytes(b)));
        let slot = 4 + 2 * field;
        if slot >= short(slots)? {
            return None;
        }
        match short(slots + slot)? {
            0 => None,
            n => Some(self.at + n),
        }
    }

    fn number(self, field: usize) -> Option<i32> {
        Some(i32::from_le_bytes(*self.bytes.get(self.field(field)?..)?.first_chunk()?))
    }

    fn table(self, field: usize) -> Option<Self> {
        Some(Self { bytes: self.bytes, at: offset(self.bytes, self.field(field)?)? })
    }

    fn text(self, field: usize) -> Option<String> {
        text(self.bytes, offset(self.bytes, self.field(field)?)?)
    }

    /// Where what a list refers to is.
    fn list(self, field: usize) -> Option<Vec<usize>> {
        let at = offset(self.bytes, self.field(field)?)?;
        let len = u32::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?) as usize;
        let entries = self.bytes.get(at + 4..)?.get(..len.checked_mul(4)?)?;
        (0..entries.len() / 4).map(|i| offset(self.bytes, at + 4 + 4 * i)).collect()
    }

    fn tables(self, field: usize) -> Option<Vec<Self>> {
        Some(self.list(field)?.into_iter().map(|at| Self { bytes: self.bytes, at }).collect())
    }

    fn texts(self, field: usize) -> Option<Vec<String>> {
        self.list(field)?.into_iter().map(|at| text(self.bytes, at)).collect()
    }
}

/// Where the offset at `at` leads.
fn offset(bytes: &[u8], at: usize) -> Option<usize> {
    at.checked_add(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize)
}

fn text(bytes: &[u8], at: usize) -> Option<String> {
    let len = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
    String::from_utf8(bytes.get(at + 4..)?.get(..len)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_no_identity() {
        for bytes in [&b""[..], b"\0\0\0\0ORTM", b"\x08\0\0\0ORTM\xff\xff\xff\xff", b"\xff\xff\xff\xffORTM\0\0"] {
            assert!(read(bytes).is_none());
        }
        assert!(is_ort_format(b"\x08\0\0\0ORTM") && !is_ort_format(b"ORTM"));
    }
}
