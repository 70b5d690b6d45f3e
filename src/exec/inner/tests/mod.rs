//! Every op on both backends, against the oracle or a plain reference.

mod elementwise;
mod errors;
mod numbers;
mod pool;
mod run;
mod structure;
mod windows;

use super::{Fault, InnerError, InnerTensor, run_op};
use bgz_passes::eval::{Tensor, node};
use bgz_passes::ir::{Cast, DType, Fold, Generate, Index, Movement, Norm, Op, Product, Scalar, Type, Where};
use burn_backend::Backend;
use burn_flex::Flex;
use burn_ndarray::NdArray;

/// Calls a generic function for each backend.
macro_rules! both {
    ($name:ident) => {
        mod $name {
            #[test]
            fn flex() {
                super::$name::<burn_flex::Flex>();
            }
            #[test]
            fn ndarray() {
                super::$name::<burn_ndarray::NdArray>();
            }
        }
    };
}
use both;

/// The tensor of a backend, unless it has not the dtype.
fn try_upload<B: Backend>(t: &Tensor) -> Result<InnerTensor<B>, Fault> {
    let c = t.to_constant();
    InnerTensor::from_bytes(t.dtype(), t.shape(), &c.bytes().unwrap(), &Default::default())
}

/// The tensor of a backend.
fn upload<B: Backend>(t: &Tensor) -> InnerTensor<B> {
    try_upload(t).unwrap()
}

/// The tensor of the oracle.
fn download<B: Backend>(t: &InnerTensor<B>, shape: &[usize]) -> Tensor {
    let dtype = t.dtype().unwrap();
    let bytes = t.to_bytes().unwrap();
    let values = bytes.chunks_exact(dtype.size()).filter_map(|b| Scalar::from_le_bytes(dtype, b));
    Tensor::new(dtype, shape.to_vec(), values).unwrap()
}

/// Whether a backend has the dtypes of these.
fn has<B: Backend>(tensors: &[&[Tensor]]) -> bool {
    let device = B::Device::default();
    tensors.iter().flat_map(|t| *t).all(|t| B::supports_dtype(&device, super::dtype::burn_dtype(t.dtype())))
}

/// One op on a backend.
fn on<B: Backend>(op: &Op, inputs: &[Tensor], outputs: &[Type]) -> Result<Vec<Tensor>, InnerError> {
    let types: Vec<_> = inputs.iter().map(Tensor::ty).collect();
    let device = B::Device::default();
    let inputs = inputs.iter().map(try_upload).collect::<Result<Vec<_>, _>>();
    let inputs = inputs.map_err(|fault| InnerError::Op { op: op.mnemonic(), fault })?;
    let results = run_op::<B>(op, inputs, &types, outputs, &device)?;
    let shapes = outputs.iter().map(|t| t.known_shape().unwrap());
    Ok(results.iter().zip(shapes).map(|(t, s)| download(t, &s)).collect())
}

/// Checks one op on `B` against the oracle; floats may differ by `tolerance` of their size, or of 1.
#[track_caller]
fn check_to<B: Backend>(op: &Op, inputs: &[Tensor], tolerance: f64) {
    let expected = node(op, inputs).unwrap_or_else(|e| panic!("{op:?}: {e}"));
    expect_to::<B>(op, inputs, &expected, tolerance);
}

/// Checks one op on `B`, and its definition, against results that are known.
#[track_caller]
fn expect_to<B: Backend>(op: &Op, inputs: &[Tensor], expected: &[Tensor], tolerance: f64) {
    let types: Vec<_> = expected.iter().map(Tensor::ty).collect();
    let result = on::<B>(op, inputs, &types);
    if !has::<B>(&[inputs, expected]) {
        let missing = matches!(&result, Err(InnerError::Op { fault: Fault::Dtype { .. }, .. }));
        assert!(missing, "{op:?}: {result:?}");
        return;
    }
    let actual = result.unwrap_or_else(|e| panic!("{op:?}: {e}"));
    let defined = node(op, inputs).unwrap_or_else(|e| panic!("{op:?}: {e}"));
    for (a, e) in actual.iter().chain(&defined).zip(expected.iter().cycle()) {
        for (i, (x, y)) in a.to_f64s().into_iter().zip(e.to_f64s()).enumerate() {
            let near = (x - y).abs() <= tolerance * y.abs().max(1.0);
            let same = x == y || x.is_nan() && y.is_nan() || e.dtype().is_float() && near;
            assert!(same, "{op:?}, element {i}: {x}, not {y}\nof {inputs:?}\n{a:?}\n{e:?}");
        }
    }
}

/// [`check_to`] with the tolerance of the dtype.
#[track_caller]
fn check<B: Backend>(op: Op, inputs: &[Tensor]) {
    let tolerance = match inputs.first().map(Tensor::dtype) {
        Some(DType::F16) => 4e-3,
        Some(DType::BF16) => 3e-2,
        _ => 2e-6,
    };
    check_to::<B>(&op, inputs, tolerance);
}

/// Numbers between -2 and 2, the same for the same shape and seed.
fn random(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let len: usize = shape.iter().product();
    let values: Vec<_> = (0..len)
        .map(|_| match dtype {
            d if d.is_float() => Scalar::from_f64(d, next() * 4.0 - 2.0),
            DType::Bool => Scalar::bool(next() < 0.5),
            DType::U8 => Scalar::from_i64(DType::U8, (next() * 10.0) as i64),
            d => Scalar::from_i64(d, (next() * 11.0) as i64 - 5),
        })
        .collect();
    Tensor::new(dtype, shape.to_vec(), values).unwrap()
}

fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::f32s(shape, values).unwrap()
}

fn i64s(shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::i64s(shape, values).unwrap()
}

const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];
const INTS: [DType; 5] = [DType::I8, DType::I16, DType::I32, DType::I64, DType::U8];

#[test]
fn what_each_backend_holds() {
    let held = |of: fn(DType) -> bool| DType::ALL.into_iter().filter(|d| of(*d)).collect::<Vec<_>>();
    let flex = held(|d| Flex::supports_dtype(&Default::default(), super::dtype::burn_dtype(d)));
    let ndarray = held(|d| <NdArray>::supports_dtype(&Default::default(), super::dtype::burn_dtype(d)));
    assert_eq!(flex, DType::ALL);
    let halves = [DType::F16, DType::BF16];
    assert_eq!(ndarray, DType::ALL.into_iter().filter(|d| !halves.contains(d)).collect::<Vec<_>>());
}
