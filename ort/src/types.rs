//! Element types, and types of tensors as a program asks for them.

use crate::arguments::{Handle, Out, array, calls, fill, texts};
use crate::status::{Failure, c_string};
use bgz_fusion::ir::Dim;
use bgz_fusion::{DType, ValueInfo};
use ort_sys::ONNXTensorElementDataType::{self as Element, *};
use ort_sys::{ONNXType, OrtTensorTypeAndShapeInfo, OrtTypeInfo};
use std::ffi::{CString, c_char};

macro_rules! elements {
    (whole { $($dtype:ident = $element:ident,)* } parts { $($part:ident = $of:ident,)* }) => {
        /// The dtype of elements that lie in memory as a [`bgz_fusion::Tensor`] has them: all but texts, complex numbers, and
        /// those of less than a byte, of which the API has several in a byte.
        pub(crate) fn dtype(element: Element) -> Option<DType> {
            match element {
                $($element => Some(DType::$dtype),)*
                _ => None,
            }
        }

        /// The element type of a dtype, if the API has it.
        pub(crate) fn element(dtype: DType) -> Element {
            match dtype {
                $(DType::$dtype => $element,)*
                $(DType::$part => $of,)*
                DType::F6E2M3 | DType::F6E3M2 => ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED,
            }
        }
    };
}

elements! {
    whole {
    F32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    F16 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    BF16 = ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
    F64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
    F8E4M3FN = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN,
    F8E4M3FNUZ = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ,
    F8E5M2 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2,
    F8E5M2FNUZ = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ,
    F8E8M0 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E8M0,
    I8 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
    I16 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
    I32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
    I64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    U8 = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
    U16 = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
    U32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
    U64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
    Bool = ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
    }
    parts {
    F4E2M1 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT4E2M1,
    I4 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4,
    U4 = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT4,
    I2 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT2,
    U2 = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT2,
    }
}

/// As [`dtype`], or an error.
pub(crate) fn supported(element: Element) -> Result<DType, Failure> {
    dtype(element).ok_or_else(|| {
        let name = format!("{element:?}");
        let name = name.strip_prefix("ONNX_TENSOR_ELEMENT_DATA_TYPE_").unwrap_or(&name).to_lowercase();
        Failure::unsupported(&format!("tensors of {name}"))
    })
}

/// The extents of a tensor, which C has as signed numbers.
pub(crate) fn extents(shape: &[i64]) -> Result<Vec<usize>, Failure> {
    let extent = |&d: &i64| usize::try_from(d).map_err(|_| Failure::argument(format!("{d} is not an extent")));
    shape.iter().map(extent).collect()
}

/// Element type and shape of a tensor; an extent that is not known is -1 and may have a name.
#[derive(Clone, Debug)]
pub(crate) struct TensorInfo {
    element: Element,
    extents: Vec<i64>,
    names: Vec<CString>,
}

/// The type of a value: this table has tensors only.
pub(crate) struct TypeInfo(TensorInfo);

/// A dim as a file declares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Declared {
    Number(i64),
    Name(String),
    Nothing,
}

impl Handle for TensorInfo {
    type Sys = OrtTensorTypeAndShapeInfo;
}

impl Handle for TypeInfo {
    type Sys = OrtTypeInfo;
}

impl TypeInfo {
    pub(crate) fn new(info: TensorInfo) -> Self {
        Self(info)
    }
}

impl TensorInfo {
    /// Of a tensor with these extents.
    pub(crate) fn new(element: Element, extents: &[i64]) -> Self {
        Self { element, extents: extents.into(), names: vec![CString::default(); extents.len()] }
    }

    /// Of an input or output. A dim without a number has the name that the file has for it; one that the file does not declare
    /// has none.
    pub(crate) fn of_model(info: &ValueInfo, declared: Option<&Vec<Declared>>) -> Self {
        let dims: &[Dim] = &info.dims;
        let declared = declared.filter(|d| d.len() == dims.len());
        let mut info = Self::new(element(info.dtype), &vec![-1; dims.len()]);
        for (axis, dim) in dims.iter().enumerate() {
            match (dim.as_int().filter(|&n| n >= 0), declared.map(|d| &d[axis])) {
                (Some(n), _) | (None, Some(&Declared::Number(n))) => info.extents[axis] = n,
                (None, Some(Declared::Name(name))) => info.names[axis] = c_string(name),
                (None, Some(Declared::Nothing) | None) => {}
            }
        }
        info
    }
}

calls! {
    fn CastTypeInfoToTensorInfo(info: &TypeInfo, out: Out<*const OrtTensorTypeAndShapeInfo>) {
        out.set((&raw const info.0).cast());
        Ok(())
    }

    fn GetOnnxTypeFromTypeInfo(_info: &TypeInfo, out: Out<ONNXType>) {
        out.set(ONNXType::ONNX_TYPE_TENSOR);
        Ok(())
    }

    fn CreateTensorTypeAndShapeInfo(out: Out<*mut OrtTensorTypeAndShapeInfo>) {
        out.set(TensorInfo::new(ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, &[]).into_raw());
        Ok(())
    }

    fn SetTensorElementType(info: &mut TensorInfo, element: Element) {
        info.element = element;
        Ok(())
    }

    fn SetDimensions(info: &mut TensorInfo, extents: *const i64, len: usize) {
        // SAFETY: the caller gives an array of this length.
        *info = TensorInfo::new(info.element, unsafe { array(extents, len, "extents") }?);
        Ok(())
    }

    fn SetSymbolicDimensions(info: &mut TensorInfo, names: *mut *const c_char, len: usize) {
        // SAFETY: the caller gives an array of this length, of strings.
        let names = unsafe { texts(names, len, "names") }?;
        if len != info.extents.len() {
            return Err(Failure::argument(format!("{len} names for {} dims", info.extents.len())));
        }
        info.names = names.into_iter().map(c_string).collect();
        Ok(())
    }

    fn GetTensorElementType(info: &TensorInfo, out: Out<Element>) {
        out.set(info.element);
        Ok(())
    }

    fn GetDimensionsCount(info: &TensorInfo, out: Out<usize>) {
        out.set(info.extents.len());
        Ok(())
    }

    fn GetDimensions(info: &TensorInfo, out: *mut i64, len: usize) {
        // SAFETY: the caller gives room for `len` numbers.
        unsafe { fill(out, len, info.extents.iter().copied(), "out") }
    }

    fn GetSymbolicDimensions(info: &TensorInfo, out: *mut *const c_char, len: usize) {
        // SAFETY: the caller gives room for `len` pointers.
        unsafe { fill(out, len, info.names.iter().map(|n| n.as_ptr()), "out") }
    }

    fn GetTensorShapeElementCount(info: &TensorInfo, out: Out<usize>) {
        let count = extents(&info.extents)?.into_iter().try_fold(1, usize::checked_mul);
        out.set(count.ok_or_else(|| Failure::argument("there are more elements than can be addressed"))?);
        Ok(())
    }
}

/// All shapes that this table knows have a rank.
pub(crate) unsafe extern "system" fn TensorTypeAndShape_HasShape(_: *const OrtTensorTypeAndShapeInfo) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dtypes_go_there_and_back() {
        for d in DType::ALL {
            assert!(dtype(element(d)).is_none_or(|back| back == d), "{d:?}");
            assert!(dtype(element(d)).is_none() || !d.is_packed(), "{d:?}");
        }
        for e in [ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64] {
            assert_eq!(dtype(e), None);
        }
    }
}
