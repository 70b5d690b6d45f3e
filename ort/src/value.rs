//! Tensors that a program holds.

use crate::arguments::{Handle, Out, Shared, array, calls, missing};
use crate::memory::{self, Allocator};
use crate::status::Failure;
use crate::types::{TensorInfo, TypeInfo, element, extents, supported};
use bgz_fusion::{DType, Tensor};
use ort_sys::{ONNXTensorElementDataType, ONNXType, OrtMemoryInfo, OrtTensorTypeAndShapeInfo, OrtTypeInfo, OrtValue};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

/// A tensor. Clones are the same elements.
#[derive(Clone)]
pub(crate) struct Value(Arc<Elements>);

/// Elements in memory that the program may read and write between calls, so that they are accessed by the pointer only.
struct Elements {
    dtype: DType,
    shape: Vec<i64>,
    data: NonNull<u8>,
    /// The number of bytes.
    size: usize,
    /// The tensor whose memory it is; `None` if it is the program's own.
    _owner: Option<Tensor>,
}

// SAFETY: the memory is owned, or lent by the program, for as long as the value is alive. As the API says, the program does not
// write to it while a call reads it.
unsafe impl Send for Elements {}
// SAFETY: the same.
unsafe impl Sync for Elements {}

impl Handle for Value {
    type Sys = OrtValue;
}

/// A shape as C has it.
fn signed(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&d| d as i64).collect()
}

impl Value {
    /// The elements of a tensor, in the memory where they are.
    pub(crate) fn new(mut tensor: Tensor) -> Result<Self, Failure> {
        let dtype = supported(element(tensor.dtype()))?;
        let shape = signed(tensor.shape());
        // From now on nobody else has the tensor: if its elements were shared, they are copied here.
        let bytes = tensor.bytes_mut();
        let (data, size) = (NonNull::from(&mut *bytes).cast(), bytes.len());
        Ok(Self(Arc::new(Elements { dtype, shape, data, size, _owner: Some(tensor) })))
    }

    /// Memory of the program.
    ///
    /// # Safety
    /// It has `size` bytes, which live as long as the value.
    unsafe fn lent(dtype: DType, shape: &[i64], data: *mut u8, size: usize) -> Result<Self, Failure> {
        let needed = extents(shape)?.into_iter().try_fold(dtype.size(), usize::checked_mul);
        let needed = needed.filter(|&n| n <= size).ok_or_else(|| {
            Failure::argument(format!("{size} bytes are too few for {dtype} elements of shape {shape:?}"))
        })?;
        let data = match NonNull::new(data) {
            Some(data) => data,
            None if needed == 0 => NonNull::dangling(),
            None => return Err(missing("data")),
        };
        Ok(Self(Arc::new(Elements { dtype, shape: shape.to_vec(), data, size: needed, _owner: None })))
    }

    fn element(&self) -> ONNXTensorElementDataType {
        element(self.0.dtype)
    }

    fn info(&self) -> TensorInfo {
        TensorInfo::new(self.element(), &self.0.shape)
    }

    /// A copy of the elements for a run.
    pub(crate) fn tensor(&self) -> Result<Tensor, Failure> {
        let shape = extents(&self.0.shape)?;
        // SAFETY: the value has these bytes, and nobody writes to them during a call.
        let bytes = unsafe { slice::from_raw_parts(self.0.data.as_ptr(), self.0.size) };
        Ok(Tensor::from_bytes(self.0.dtype, &shape, bytes)?)
    }

    /// Replaces the elements by those of an output called `name`.
    pub(crate) fn fill(&self, name: &str, from: &Tensor) -> Result<(), Failure> {
        if from.dtype() != self.0.dtype || signed(from.shape()) != self.0.shape {
            let (dtype, shape) = (self.0.dtype, &self.0.shape);
            let message = format!("output {name:?} is {}, the tensor given for it is {dtype}{shape:?}", from.ty());
            return Err(Failure::argument(message));
        }
        // SAFETY: the value has as many bytes, the tensor is not in that memory, and nobody reads it during the call.
        unsafe { self.0.data.copy_from_nonoverlapping(NonNull::from(from.bytes()).cast(), self.0.size) };
        Ok(())
    }
}

calls! {
    fn CreateTensorAsOrtValue(
        _allocator: Allocator, shape: *const i64, rank: usize, element: ONNXTensorElementDataType,
        out: Out<*mut OrtValue>,
    ) {
        // SAFETY: the caller gives an array of this length.
        let shape = extents(unsafe { array(shape, rank, "shape") }?)?;
        out.set(Value::new(Tensor::zeros(supported(element)?, &shape)?)?.into_raw());
        Ok(())
    }

    fn CreateTensorWithDataAsOrtValue(
        _info: *const OrtMemoryInfo, data: *mut c_void, size: usize, shape: *const i64, rank: usize,
        element: ONNXTensorElementDataType, out: Out<*mut OrtValue>,
    ) {
        // SAFETY: the caller gives an array of this length.
        let shape = unsafe { array(shape, rank, "shape") }?;
        // SAFETY: the caller gives memory of this size, which lives as long as the value.
        let value = unsafe { Value::lent(supported(element)?, shape, data.cast(), size) }?;
        out.set(value.into_raw());
        Ok(())
    }

    fn IsTensor(_value: &Value, out: Out<i32>) {
        out.set(1);
        Ok(())
    }

    fn IsSparseTensor(_value: &Value, out: Out<i32>) {
        out.set(0);
        Ok(())
    }

    fn HasValue(_value: &Value, out: Out<i32>) {
        out.set(1);
        Ok(())
    }

    fn GetTensorMutableData(value: Shared<Value>, out: Out<*mut c_void>) {
        out.set(value.0.data.as_ptr().cast());
        Ok(())
    }

    fn GetTensorData(value: &Value, out: Out<*const c_void>) {
        out.set(value.0.data.as_ptr().cast());
        Ok(())
    }

    fn GetTensorSizeInBytes(value: &Value, out: Out<usize>) {
        out.set(value.0.size);
        Ok(())
    }

    fn TensorAt(value: Shared<Value>, place: *const i64, rank: usize, out: Out<*mut c_void>) {
        // SAFETY: the caller gives an array of this length.
        let place = unsafe { array(place, rank, "place") }?;
        let shape = &value.0.shape;
        if place.len() != shape.len() || place.iter().zip(shape).any(|(p, d)| !(0..*d).contains(p)) {
            return Err(Failure::argument(format!("there is no element {place:?} in a tensor of shape {shape:?}")));
        }
        let at = place.iter().zip(shape).fold(0, |at, (&p, &d)| at * d as usize + p as usize);
        // SAFETY: every part of the place is within its axis, so the element is one of the tensor's.
        out.set(unsafe { value.0.data.add(at * value.0.dtype.size()) }.as_ptr().cast());
        Ok(())
    }

    fn GetTensorTypeAndShape(value: &Value, out: Out<*mut OrtTensorTypeAndShapeInfo>) {
        out.set(value.info().into_raw());
        Ok(())
    }

    fn GetTensorElementTypeAndShapeDataReference(
        value: &Value, element: Out<ONNXTensorElementDataType>, shape: Out<*const i64>, rank: Out<usize>,
    ) {
        element.set(value.element());
        shape.set(value.0.shape.as_ptr());
        rank.set(value.0.shape.len());
        Ok(())
    }

    fn GetTypeInfo(value: &Value, out: Out<*mut OrtTypeInfo>) {
        out.set(TypeInfo::new(value.info()).into_raw());
        Ok(())
    }

    fn GetValueType(_value: &Value, out: Out<ONNXType>) {
        out.set(ONNXType::ONNX_TYPE_TENSOR);
        Ok(())
    }

    fn GetTensorMemoryInfo(_value: &Value, out: Out<*const OrtMemoryInfo>) {
        out.set(memory::cpu());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_not_copied() -> Result<(), Failure> {
        let tensor = Tensor::new(&[2, 2], &[1f32, 2.0, 3.0, 4.0])?;
        let address = tensor.bytes().as_ptr();
        let value = Value::new(tensor)?;
        assert_eq!(value.0.data.as_ptr().cast_const(), address);
        assert_eq!(value.tensor()?.as_slice::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
        Ok(())
    }

    #[test]
    fn lent_memory_is_checked_and_filled() -> Result<(), Failure> {
        let mut room = [0i64; 3];
        let memory = (&raw mut room).cast();
        // SAFETY: the array is alive until the end.
        let lend = |shape: &[i64], size: usize| unsafe { Value::lent(DType::I64, shape, memory, size) };
        let value = lend(&[3], 24)?;
        value.fill("y", &Tensor::new(&[3], &[7i64, 8, 9])?)?;
        assert!(value.fill("y", &Tensor::new(&[1, 3], &[7i64, 8, 9])?).is_err());
        assert!(value.fill("y", &Tensor::new(&[3], &[7u64, 8, 9])?).is_err());
        for (shape, size) in [(&[4][..], 24), (&[-1], 24), (&[1 << 40, 1 << 40], 24)] {
            assert!(lend(shape, size).is_err(), "{shape:?}");
        }
        drop(value);
        assert_eq!(room, [7, 8, 9]);
        Ok(())
    }
}
