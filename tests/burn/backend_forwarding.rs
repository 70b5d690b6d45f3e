//! `Local<B>` forwards every op of Burn's traits, and computes what `B` computes.

mod sources;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use bgz_fusion::backend::{Local, Whole};
use bgz_fusion::{Flex, NdArray};
use burn::tensor::activation::{gelu, log_sigmoid, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::module::{conv2d, embedding, max_pool2d_with_indices};
use burn::tensor::ops::{ConvOptions, DeformConvOptions, FloatTensor, IntTensor};
use burn::tensor::quantization::{QuantScheme, QuantStore, QuantValue, QuantizationParameters};
use burn::tensor::{DType, ElementConversion, Int, Shape, Tensor, TensorData, TensorPrimitive, Tolerance, Transaction};
use burn_ir::{BackendIr, TensorHandle};

/// A trait, the package and file it is in, and the file that forwards it.
const TRAITS: &[(&str, &str, &str, &str)] = &[
    ("Backend", "burn_backend", "src/backend/base.rs", "mod.rs"),
    ("FloatTensorOps", "burn_backend", "src/backend/ops/tensor.rs", "float.rs"),
    ("IntTensorOps", "burn_backend", "src/backend/ops/int_tensor.rs", "int.rs"),
    ("BoolTensorOps", "burn_backend", "src/backend/ops/bool_tensor.rs", "bool.rs"),
    ("ModuleOps", "burn_backend", "src/backend/ops/modules/base.rs", "module.rs"),
    ("ActivationOps", "burn_backend", "src/backend/ops/activation.rs", "activation.rs"),
    ("QTensorOps", "burn_backend", "src/backend/ops/qtensor.rs", "quantized.rs"),
    ("TransactionOps", "burn_backend", "src/backend/ops/transaction.rs", "transaction.rs"),
    ("BackendIr", "burn_ir", "src/backend.rs", "mod.rs"),
];

#[test]
fn every_method_of_the_traits_is_forwarded() -> Result<(), Box<dyn Error>> {
    let Some(sources) = sources::burn_sources()? else { return Ok(()) };
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/burn/backend");
    for (name, package, declared, forwarded) in TRAITS {
        let folder = &sources.iter().find(|(of, _)| of == package).ok_or(*package)?.1;
        let burn = std::fs::read_to_string(folder.join(declared))?;
        let local = std::fs::read_to_string(ours.join(forwarded))?;

        // Bodies of Burn's defaults lie deeper than the methods; our tables lie in a macro call.
        let declared = methods(&burn, &[&format!("pub trait {name}:"), &format!("pub trait {name}<")], 1);
        let forwarded = methods(&local, &[&format!(" {name} for Local<B>"), &format!(" {name}<Self> for Local<B>")], 2);
        assert!(!declared.is_empty(), "no methods of {name} found");
        assert_eq!(forwarded, declared, "{name}");
        println!("{name}: {} methods", declared.len());
    }
    Ok(())
}

/// The names of the functions in the block that follows one of `headers`, at most `depth` braces deep.
fn methods(source: &str, headers: &[&str], depth: usize) -> BTreeSet<String> {
    let code: String =
        source.lines().map(|line| line.split("//").next().unwrap_or_default().to_string() + "\n").collect();
    let Some(start) = headers.iter().find_map(|header| code.find(header)) else { return BTreeSet::new() };
    let mut names = BTreeSet::new();
    let (mut open, mut word, mut after_fn) = (0, String::new(), false);
    for c in code[start..].chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            if after_fn && (1..=depth).contains(&open) {
                names.insert(word.clone());
            }
            after_fn = word == "fn";
            word.clear();
        }
        match c {
            '{' => open += 1,
            '}' if open == 1 => break,
            '}' => open -= 1,
            _ => {}
        }
    }
    names
}

#[test]
fn flex_computes_the_same() {
    assert_same::<Flex>();
}

#[test]
fn ndarray_computes_the_same() {
    assert_same::<NdArray>();
}

fn assert_same<B: Whole>() {
    let (bare, local) = (results::<B>(), results::<Local<B>>());
    assert_eq!(bare.len(), local.len());
    for ((name, bare), (_, local)) in bare.into_iter().zip(local) {
        assert_eq!(bare.shape, local.shape, "{name}");
        if bare.dtype == DType::F32 {
            // Not bit for bit: NdArray's backward of a deformable convolution adds from several threads.
            local.assert_approx_eq::<f32>(&bare, Tolerance::rel_abs(1e-6, 1e-6));
        } else {
            assert_eq!(bare, local, "{name}");
        }
    }
    let device = B::Device::default();
    assert_eq!(B::name(&device), Local::<B>::name(&device));
}

/// The results of a few ops of each trait.
fn results<B: BackendIr>() -> Vec<(&'static str, TensorData)> {
    let mut results = Vec::new();
    results.extend(float_and_activation::<B>());
    results.extend(int_and_bool::<B>());
    results.extend(module::<B>());
    results.extend(quantized::<B>());
    results.extend(transaction_and_handle::<B>());
    results
}

/// Values without a pattern that an op could keep by accident.
fn values<B: Backend, const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
    let count = shape.iter().product::<usize>() as u32;
    let values: Vec<f32> =
        (0..count).map(|i| ((i.wrapping_mul(2_654_435_769) >> 16) % 97) as f32 / 16.0 - 3.0).collect();
    Tensor::from_data(TensorData::new(values, shape), &B::Device::default())
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

fn float_data<B: Backend, const D: usize>(tensor: FloatTensor<B>) -> TensorData {
    Tensor::<B, D>::from_primitive(TensorPrimitive::Float(tensor)).into_data()
}

fn int_data<B: Backend, const D: usize>(tensor: IntTensor<B>) -> TensorData {
    Tensor::<B, D, Int>::from_primitive(tensor).into_data()
}

fn float_and_activation<B: Backend>() -> Vec<(&'static str, TensorData)> {
    let x = values::<B, 2>([7, 9]);
    let indices = Tensor::<B, 2, Int>::from_data([[2, 3], [6, 8]], &B::Device::default());
    vec![
        ("matmul", x.clone().matmul(x.clone().transpose()).into_data()),
        ("sum_dim", x.clone().sum_dim(1).into_data()),
        ("sort", x.clone().sort(1).into_data()),
        // The default of the trait refuses this one.
        ("gather_nd", x.clone().gather_nd::<2, 1>(indices).into_data()),
        ("softmax", softmax(x.clone(), 1).into_data()),
        ("gelu", gelu(x.clone()).into_data()),
        ("log_sigmoid", log_sigmoid(x * 10.0).into_data()),
    ]
}

fn int_and_bool<B: Backend>() -> Vec<(&'static str, TensorData)> {
    let x = values::<B, 2>([5, 6]).mul_scalar(4.0).int();
    let (sorted, order) = x.clone().sort_with_indices(1);
    let positive = x.clone().greater_elem(0);
    let even = x.clone().remainder_scalar(2).equal_elem(0);
    vec![
        ("int sorted", sorted.into_data()),
        ("int order", order.into_data()),
        ("int argsort", x.clone().argsort(0).into_data()),
        ("int matmul", x.clone().matmul(x.clone().transpose()).into_data()),
        ("bitwise_and", x.bitwise_and_scalar(5.elem()).into_data()),
        ("bool_and", positive.clone().bool_and(even.clone()).into_data()),
        ("bool_xor", positive.clone().bool_xor(even.clone()).into_data()),
        ("any_dim", positive.clone().any_dim(0).into_data()),
        ("argwhere", even.argwhere().into_data()),
        ("all", positive.all().into_data()),
    ]
}

fn module<B: Backend>() -> Vec<(&'static str, TensorData)> {
    let device = B::Device::default();
    let x = values::<B, 4>([1, 2, 6, 6]);
    let weight = values::<B, 4>([3, 2, 3, 3]);
    let bias = values::<B, 1>([3]);
    let tokens = Tensor::<B, 2, Int>::from_data([[4, 0, 2], [1, 1, 3]], &device);
    let convolved = conv2d(x.clone(), weight.clone(), Some(bias.clone()), ConvOptions::new([1, 1], [1, 1], [1, 1], 1));
    let (pooled, at) = max_pool2d_with_indices(x.clone(), [2, 2], [2, 2], [0, 0], [1, 1], false);
    let mut results = vec![
        ("embedding", embedding(values::<B, 2>([5, 4]), tokens).into_data()),
        ("conv2d", convolved.into_data()),
        ("max_pool2d", pooled.clone().into_data()),
        ("max_pool2d indices", at.clone().into_data()),
    ];

    let x2 = primitive(x.clone());
    let gradient = primitive(pooled);
    let back =
        B::max_pool2d_with_indices_backward(x2, [2, 2], [2, 2], [0, 0], [1, 1], false, gradient, at.into_primitive());
    results.push(("max_pool2d backward", float_data::<B, 4>(back.x_grad)));

    let x1 = primitive(values::<B, 3>([1, 2, 8]));
    let pooled = B::max_pool1d_with_indices(x1.clone(), 2, 2, 0, 1, false);
    results.push(("max_pool1d", float_data::<B, 3>(pooled.output.clone())));
    results.push(("max_pool1d indices", int_data::<B, 3>(pooled.indices.clone())));
    let back = B::max_pool1d_with_indices_backward(x1, 2, 2, 0, 1, false, pooled.output, pooled.indices);
    results.push(("max_pool1d backward", float_data::<B, 3>(back.x_grad)));

    let back = B::deform_conv2d_backward(
        primitive(x),
        primitive(values::<B, 4>([1, 18, 4, 4]) / 8.0),
        primitive(weight),
        Some(primitive(values::<B, 4>([1, 9, 4, 4]))),
        Some(primitive(bias)),
        primitive(values::<B, 4>([1, 3, 4, 4])),
        DeformConvOptions::new([1, 1], [0, 0], [1, 1], 1, 1),
    );
    results.push(("deform_conv2d backward x", float_data::<B, 4>(back.x_grad)));
    results.push(("deform_conv2d backward offset", float_data::<B, 4>(back.offset_grad)));
    results.push(("deform_conv2d backward weight", float_data::<B, 4>(back.weight_grad)));
    results.extend(back.mask_grad.map(|grad| ("deform_conv2d backward mask", float_data::<B, 4>(grad))));
    results.extend(back.bias_grad.map(|grad| ("deform_conv2d backward bias", float_data::<B, 1>(grad))));
    results
}

fn quantized<B: Backend>() -> Vec<(&'static str, TensorData)> {
    let scheme = QuantScheme::default().with_value(QuantValue::Q8S).with_store(QuantStore::Native);
    let x = values::<B, 2>([4, 8]);
    let scales = Tensor::<B, 1>::from_data([0.03], &B::Device::default());
    let q = x.clone().quantize(&scheme, QuantizationParameters { scales });
    let dynamic = x.quantize_dynamic(&scheme);
    vec![
        ("quantize", q.clone().into_data()),
        ("dequantize", q.clone().dequantize().into_data()),
        ("quantize_dynamic", dynamic.clone().dequantize().into_data()),
        ("q_add", q.clone().add(dynamic.clone()).dequantize().into_data()),
        ("q_matmul", q.matmul(dynamic.transpose()).dequantize().into_data()),
    ]
}

fn transaction_and_handle<B: BackendIr>() -> Vec<(&'static str, TensorData)> {
    let x = values::<B, 2>([3, 4]);
    let read = Transaction::default()
        .register(x.clone().greater_elem(0.0))
        .register(x.clone().int())
        .register(x.clone())
        .execute();
    let mut results: Vec<_> = ["bool read", "int read", "float read"].into_iter().zip(read).collect();
    let handle = B::float_tensor_handle(primitive(x));
    let back = B::float_tensor(TensorHandle { handle, shape: Shape::new([3, 4]) });
    results.push(("handle", float_data::<B, 2>(back)));
    results
}

/// Flex computes `log(sigmoid(x))` in one pass that keeps what the default's `log(1 + e)` rounds away.
#[test]
fn a_native_kernel_is_not_lost() {
    fn native<B: Backend>(x: f32) -> f32 {
        log_sigmoid(Tensor::<B, 1>::from_data([x], &B::Device::default())).into_scalar().elem()
    }
    fn composed<B: Backend>(x: f32) -> f32 {
        let x = Tensor::<B, 1>::from_data([x], &B::Device::default()).neg();
        let max = x.clone().clamp_min(0.0);
        let sum = max.clone().neg().exp() + (x - max.clone()).exp();
        (max.neg() - sum.log()).into_scalar().elem()
    }
    assert_eq!(composed::<Flex>(20.0), 0.0);
    assert!(native::<Flex>(20.0) < 0.0);
    assert_eq!(native::<Local<Flex>>(20.0), native::<Flex>(20.0));
}
