//! Tensors of the file as constants.

use super::error::ImportError;
use super::external::{Data, External};
use super::proto::{SparseTensorProto, TensorProto};
use bgz_passes::ir::{Constant, DType, MAX_RANK, Scalar};
use bgz_passes::memory::collected;
use bytes::Bytes;

/// The numbers and names of `TensorProto.DataType` (onnx.proto), from 1.
const NAMES: [&str; 28] = [
    "float32",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "string",
    "bool",
    "float16",
    "float64",
    "uint32",
    "uint64",
    "complex64",
    "complex128",
    "bfloat16",
    "float8e4m3fn",
    "float8e4m3fnuz",
    "float8e5m2",
    "float8e5m2fnuz",
    "uint4",
    "int4",
    "float4e2m1",
    "float8e8m0",
    "uint2",
    "int2",
    "float6e2m3",
    "float6e3m2",
];

/// A dense tensor of a sparse one is not made larger than this many bytes:
/// its size is a claim that no data in the file stands behind.
const MAX_SPARSE: usize = 1 << 28;

/// The dtype of an ONNX element type, or its name if there is none.
pub(super) fn dtype(code: i32) -> Result<DType, String> {
    Ok(match code {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        17 => DType::F8E4M3FN,
        18 => DType::F8E4M3FNUZ,
        19 => DType::F8E5M2,
        20 => DType::F8E5M2FNUZ,
        21 => DType::U4,
        22 => DType::I4,
        23 => DType::F4E2M1,
        24 => DType::F8E8M0,
        25 => DType::U2,
        26 => DType::I2,
        27 => DType::F6E2M3,
        28 => DType::F6E3M2,
        0 => return Err("no element type".into()),
        _ => {
            let name = usize::try_from(code).ok().and_then(|i| NAMES.get(i.checked_sub(1)?));
            return Err(name.map_or_else(|| format!("unknown element type {code}"), |&n| n.into()));
        }
    })
}

/// The constant that `t` is; `name` is for errors.
pub(super) fn constant(name: &str, t: &TensorProto, external: &External) -> Result<Constant, ImportError> {
    let fail = |message: String| ImportError::Tensor { tensor: name.into(), message };
    let shape = shape(&t.dims).map_err(fail)?;
    let len = len(&shape).map_err(fail)?;
    if t.segment.is_some() {
        return Err(fail("a segment of a tensor is not supported".into()));
    }
    let dtype = dtype(t.data_type).map_err(|n| fail(format!("its element type is not supported: {n}")))?;
    let expected = dtype
        .constant_bytes(len)
        .filter(|&n| n <= isize::MAX as usize)
        .ok_or_else(|| fail(format!("{shape:?} elements are more than memory can hold")))?;
    let raw = if t.data_location == 1 {
        let entries = t.external_data.iter().map(|e| (e.key.as_str(), e.value.as_str()));
        Some(external.data(name, entries, expected)?)
    } else if !t.raw_data.is_empty() {
        Some(Data { bytes: t.raw_data.clone(), origin: None })
    } else {
        None
    };
    let bytes = match raw {
        Some(raw) if raw.bytes.len() != expected => {
            let found = raw.bytes.len();
            return Err(fail(format!("{found} bytes of data where the shape {shape:?} needs {expected}")));
        }
        Some(Data { bytes, origin: Some(origin) }) => {
            let constant = Constant::stored(dtype, shape, bytes, origin);
            return constant.ok_or_else(|| fail("its data does not fit its shape".into()));
        }
        Some(raw) => raw.bytes,
        None => {
            let (bytes, found) = typed(t, dtype).ok_or_else(|| fail("a number does not fit its dtype".into()))?;
            if bytes.len() != expected {
                let (what, needed) = if dtype.is_packed() { ("bytes", expected) } else { ("elements", len) };
                return Err(fail(format!("{found} {what} of data where the shape {shape:?} needs {needed}")));
            }
            bytes
        }
    };
    Constant::new(dtype, shape, bytes).ok_or_else(|| fail("its data does not fit its shape".into()))
}

/// A dense constant of a sparse tensor in coordinate form.
pub(super) fn sparse(name: &str, t: &SparseTensorProto, external: &External) -> Result<Constant, ImportError> {
    let fail = |message: String| ImportError::Tensor { tensor: name.into(), message };
    let (Some(values), Some(indices)) = (&t.values, &t.indices) else {
        return Err(fail("a sparse tensor must have values and indices".into()));
    };
    let values = constant(name, values, external)?;
    let indices = constant(name, indices, external)?;
    let shape = shape(&t.dims).map_err(fail)?;
    let len = len(&shape).map_err(fail)?;
    let size = values.dtype().size();
    let total = len.checked_mul(size).filter(|&n| n <= MAX_SPARSE);
    let total = total.ok_or_else(|| fail(format!("a sparse tensor of {shape:?} is too large")))?;
    let (Some(at), Ok(bytes)) = (indices.to_i64s(), values.elements()) else {
        return Err(fail("the indices of a sparse tensor must be integers".into()));
    };
    let width = match indices.shape() {
        [n] if *n == values.len() => 1,
        [n, rank] if *n == values.len() && *rank == shape.len() && *rank > 0 => *rank,
        other => return Err(fail(format!("indices {other:?} for {} values", values.len()))),
    };
    let no_memory = |bytes| fail(format!("{bytes} bytes are needed, which memory does not suffice for"));
    let mut out = collected(total, std::iter::repeat(0u8)).map_err(no_memory)?;
    for (index, value) in at.chunks_exact(width).zip(bytes.chunks_exact(size)) {
        let extents = if width == 1 { std::slice::from_ref(&len) } else { shape.as_slice() };
        let mut flat = 0usize;
        for (&i, &extent) in index.iter().zip(extents) {
            let i = usize::try_from(i).ok().filter(|&i| i < extent);
            let i = i.ok_or_else(|| fail(format!("index {index:?} is outside {shape:?}")))?;
            flat = flat * extent + i;
        }
        out[flat * size..][..size].copy_from_slice(value);
    }
    Constant::from_elements(values.dtype(), shape, out.into())
        .ok_or_else(|| fail("its data does not fit its shape".into()))
}

fn shape(dims: &[i64]) -> Result<Vec<usize>, String> {
    if dims.len() > MAX_RANK {
        return Err(format!("it has {} axes, more than {MAX_RANK}", dims.len()));
    }
    dims.iter().map(|&d| usize::try_from(d).map_err(|_| format!("{d} is not an extent, in {dims:?}"))).collect()
}

/// Number of elements. Every partial product must fit, so that one extent of 0
/// does not make the others harmless for whoever multiplies in another order.
fn len(shape: &[usize]) -> Result<usize, String> {
    let too_large = || format!("{shape:?} elements are more than memory can hold");
    let full = shape.iter().filter(|&&d| d != 0).try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(too_large)?;
    i64::try_from(full).map_err(|_| too_large())?;
    Ok(if shape.contains(&0) { 0 } else { full })
}

/// The bytes of a typed field as in `raw_data`, and the number of entries in it.
fn typed(t: &TensorProto, dtype: DType) -> Option<(Bytes, usize)> {
    let mut out = Vec::new();
    let found = match dtype {
        DType::F32 => {
            out.extend(t.float_data.iter().flat_map(|v| v.to_le_bytes()));
            t.float_data.len()
        }
        DType::F64 => {
            out.extend(t.double_data.iter().flat_map(|v| v.to_le_bytes()));
            t.double_data.len()
        }
        DType::I64 => {
            out.extend(t.int64_data.iter().flat_map(|v| v.to_le_bytes()));
            t.int64_data.len()
        }
        DType::U64 => {
            out.extend(t.uint64_data.iter().flat_map(|v| v.to_le_bytes()));
            t.uint64_data.len()
        }
        DType::U32 => {
            for &v in &t.uint64_data {
                out.extend(u32::try_from(v).ok()?.to_le_bytes());
            }
            t.uint64_data.len()
        }
        // The bits of the half are the low bits of the integer.
        DType::F16 | DType::BF16 => {
            for &v in &t.int32_data {
                out.extend(u16::try_from(v).ok()?.to_le_bytes());
            }
            t.int32_data.len()
        }
        // An entry is a byte with the code of a float, or with several elements.
        d if d.is_float() || d.is_packed() => {
            for &v in &t.int32_data {
                out.push(u8::try_from(v).ok()?);
            }
            t.int32_data.len()
        }
        _ => {
            for &v in &t.int32_data {
                let s = Scalar::from_i64(dtype, v.into());
                if dtype != DType::Bool && s.to_i64() != i64::from(v) {
                    return None;
                }
                s.write_le_bytes(&mut out);
            }
            t.int32_data.len()
        }
    };
    Some((out.into(), found))
}
