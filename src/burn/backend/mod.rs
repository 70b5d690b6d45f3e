//! A Burn backend of this crate that is another one, op for op.
//!
//! burn-fusion asks for a backend that implements its `FusionBackend`. Flex and NdArray do not, and Rust's orphan rule
//! keeps this crate from implementing a trait of Burn for a type of Burn. [`Local`] is a type of this crate, computes
//! what the backend it wraps computes, and can implement what that one does not.
//!
//! Every method is forwarded, those with a default body too: a default composes an op of others, so leaving one to it
//! would give up the kernel that the wrapped backend has for the op. Tensors are those of the wrapped backend; only
//! structs that are generic over the backend are taken apart and put together again.
//!
//! `Local` is there twice: around the backend that burn-fusion wraps, and around burn-fusion, for the few ops that are
//! recorded otherwise than burn-fusion would ([`Whole`]).

#![warn(clippy::missing_trait_methods)]

mod activation;
mod bool;
mod float;
mod forward;
mod int;
mod module;
mod quantized;
mod transaction;
mod whole;

use burn_backend::{
    Backend, BackendTypes, DType, DTypeUsageSet, ExecutionError, TensorData,
    tensor::{BoolTensor, Device, FloatTensor, IntTensor, QuantizedTensor},
};
use burn_ir::{BackendIr, TensorHandle};
use std::marker::PhantomData;

use forward::forward;
pub use whole::Whole;

/// The backend `B` as a type of this crate: the same device, the same tensors, the same ops.
#[derive(Clone, Debug, Default)]
pub struct Local<B>(PhantomData<B>);

impl<B: Whole> BackendTypes for Local<B> {
    type Device = B::Device;
    type FloatTensorPrimitive = B::FloatTensorPrimitive;
    type FloatElem = B::FloatElem;
    type IntTensorPrimitive = B::IntTensorPrimitive;
    type IntElem = B::IntElem;
    type BoolTensorPrimitive = B::BoolTensorPrimitive;
    type BoolElem = B::BoolElem;
    type QuantizedTensorPrimitive = B::QuantizedTensorPrimitive;
}

impl<B: Whole> Backend for Local<B> {
    forward! {
        B as Backend;

        fn ad_enabled(device: &Device<Self>) -> bool;
        fn memory_cleanup(device: &Device<Self>) -> ();
        fn name(device: &Device<Self>) -> String;
        fn seed(device: &Device<Self>, seed: u64) -> ();
        fn sync(device: &Device<Self>) -> Result<(), ExecutionError>;
        fn supports_dtype(device: &Device<Self>, dtype: DType) -> bool;
        fn dtype_usage(device: &Device<Self>, dtype: DType) -> DTypeUsageSet;
        fn device_count(type_id: u16) -> usize;
    }

    fn memory_persistent_allocations<Output: Send, Input: Send, Func: Fn(Input) -> Output + Send>(
        device: &Device<Self>,
        input: Input,
        func: Func,
    ) -> Output {
        <B as Backend>::memory_persistent_allocations(device, input, func)
    }

    fn staging<'a, Iter>(data: Iter, device: &Device<Self>)
    where
        Iter: Iterator<Item = &'a mut TensorData>,
    {
        <B as Backend>::staging(data, device)
    }
}

impl<B: Whole> BackendIr for Local<B> {
    type Handle = B::Handle;

    forward! {
        B as BackendIr;

        fn float_tensor(handle: TensorHandle<Self::Handle>) -> FloatTensor<Self>;
        fn int_tensor(handle: TensorHandle<Self::Handle>) -> IntTensor<Self>;
        fn bool_tensor(handle: TensorHandle<Self::Handle>) -> BoolTensor<Self>;
        fn quantized_tensor(handle: TensorHandle<Self::Handle>) -> QuantizedTensor<Self>;
        fn float_tensor_handle(tensor: FloatTensor<Self>) -> Self::Handle;
        fn int_tensor_handle(tensor: IntTensor<Self>) -> Self::Handle;
        fn bool_tensor_handle(tensor: BoolTensor<Self>) -> Self::Handle;
        fn quantized_tensor_handle(tensor: QuantizedTensor<Self>) -> Self::Handle;
    }
}
