//! Every op that burn-fusion can record, alone, in every dtype, on `BgzFusion<Flex>` beside `Flex`.
//!
//! A recorded op goes through burn-fusion's relative form, in which one arm may stand for another, before it is lifted to
//! the graph. Programs of many ops would hide such a fault, a single op does not.

mod bools;
mod floats;
mod ints;
mod modules;

use bgz_fusion::{BgzFusion, Flex};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, TensorData};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An op on operands `A`: the variant of burn-ir that it is recorded as, and the function that does it.
type Op<A> = (&'static str, fn(&A) -> Vec<TensorData>);

/// A list of ops; the results of each are read at once.
macro_rules! ops {
    ($args:ty; $($ir:literal => |$a:ident| [$($result:expr),* $(,)?];)*) => {
        vec![$(($ir, (|$a: &$args| vec![$($result.into_data()),*]) as fn(&$args) -> Vec<TensorData>)),*]
    };
}
use ops;

/// Runs every op of the list on both backends, in one dtype, and says what differs.
fn compare<A, W>(
    dtype: DType,
    tolerance: f64,
    (bare, bare_args): (Vec<Op<A>>, A),
    (ours, our_args): (Vec<Op<W>>, W),
    wrong: &mut Vec<String>,
) {
    assert_eq!(bare.len(), ours.len());
    for ((ir, bare), (_, ours)) in bare.into_iter().zip(ours) {
        // An op that Flex does not have for a dtype has no right value.
        let Ok(want) = catch_unwind(AssertUnwindSafe(|| bare(&bare_args))) else {
            println!("SKIPPED {ir} of {dtype:?}: Flex itself panics");
            continue;
        };
        // As recorded when it is first met, planned when it comes again.
        for time in ["first", "second"] {
            match catch_unwind(AssertUnwindSafe(|| ours(&our_args))) {
                Ok(got) => {
                    if let Some(how) = differs(&want, &got, tolerance) {
                        wrong.push(format!("{ir} of {dtype:?}, the {time} time: {how}"));
                    }
                }
                // The thread of the device is gone with it.
                Err(_) => panic!("{ir} of {dtype:?}, the {time} time: it panics\n{}", wrong.join("\n")),
            }
        }
    }
}

fn differs(want: &[TensorData], got: &[TensorData], tolerance: f64) -> Option<String> {
    assert_eq!(want.len(), got.len());
    want.iter().zip(got).enumerate().find_map(|(i, (want, got))| {
        if want.shape != got.shape || want.dtype != got.dtype {
            let (a, b) = ((&want.shape, want.dtype), (&got.shape, got.dtype));
            return Some(format!("result {i} is {b:?} instead of {a:?}"));
        }
        let numbers = |data: &TensorData| data.iter::<f64>().collect::<Vec<_>>();
        numbers(want).into_iter().zip(numbers(got)).enumerate().find_map(|(at, (a, b))| {
            let same = a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * a.abs().max(1.0);
            (!same).then(|| format!("result {i} at {at}: {b} instead of {a}"))
        })
    })
}

#[test]
fn every_float_op_is_what_the_backend_makes_of_it() {
    let mut wrong = Vec::new();
    // Burn's default sigmoid, which burn-fusion records, goes by f32, also of f64.
    for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F64, 1e-7), (DType::F16, 4e-3), (DType::BF16, 3e-2)] {
        let (bare, ours) = (floats::operands::<Flex>(dtype), floats::operands::<BgzFusion<Flex>>(dtype));
        compare(dtype, tolerance, (floats::ops(), bare), (floats::ops(), ours), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_int_op_is_what_the_backend_makes_of_it() {
    let mut wrong = Vec::new();
    use DType::*;
    for dtype in [I64, I32, I16, I8, U64, U32, U16, U8] {
        let (bare, ours) = (ints::operands::<Flex>(dtype), ints::operands::<BgzFusion<Flex>>(dtype));
        compare(dtype, 0.0, (ints::ops(), bare), (ints::ops(), ours), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_bool_op_is_what_the_backend_makes_of_it() {
    let mut wrong = Vec::new();
    use burn::tensor::BoolStore;
    for store in [BoolStore::Native, BoolStore::U8] {
        let dtype = DType::Bool(store);
        let (bare, ours) = (bools::operands::<Flex>(dtype), bools::operands::<BgzFusion<Flex>>(dtype));
        compare(dtype, 0.0, (bools::ops(), bare), (bools::ops(), ours), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_op_is_what_the_backend_makes_of_it() {
    let mut wrong = Vec::new();
    for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F64, 1e-12), (DType::F16, 1e-2), (DType::BF16, 8e-2)] {
        let operands = || modules::Source { dtype };
        let (bare, ours) = (modules::ops::<Flex>(), modules::ops::<BgzFusion<Flex>>());
        compare(dtype, tolerance, (bare, operands()), (ours, operands()), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Variants of burn-ir that no list has, with the reason.
const LEFT_OUT: &[(&str, &str)] = &[
    ("Float::Random", "drawn from the one generator of the process: `tensors::random_numbers`"),
    ("Numeric::IntRandom", "drawn from the one generator of the process: `tensors::random_numbers`"),
    ("Float::Quantize", "quantised tensors are run as recorded: `backend_forwarding`"),
    ("Float::Dequantize", "quantised tensors are run as recorded: `backend_forwarding`"),
    ("Module::CtcLoss", "Flex leaves the loss to Burn's default, so that burn-fusion never records it"),
    ("Module::CtcLossBackward", "Flex has no such op"),
];

/// A new variant in burn-ir, or one that nobody thought of, turns this red.
#[test]
fn every_variant_of_burn_ir_is_in_a_list() -> Result<(), Box<dyn std::error::Error>> {
    let mut listed: BTreeSet<&str> = LEFT_OUT.iter().map(|(ir, _)| *ir).collect();
    listed.extend(floats::ops::<Flex>().iter().map(|op| op.0));
    listed.extend(ints::ops::<Flex>().iter().map(|op| op.0));
    listed.extend(bools::ops::<Flex>().iter().map(|op| op.0));
    listed.extend(modules::ops::<Flex>().iter().map(|op| op.0));
    let Some(sources) = crate::sources::burn_sources()? else { return Ok(()) };
    let folder = &sources.iter().find(|(of, _)| of == "burn_ir").ok_or("burn-ir is not a dependency")?.1;
    let source = std::fs::read_to_string(folder.join("src/operation.rs"))?;
    let mut missing = Vec::new();
    for family in ["Base", "Numeric", "Float", "Int", "Bool", "Module"] {
        let (_, rest) = source.split_once(&format!("pub enum {family}OperationIr {{")).ok_or(family)?;
        let body = rest.split("\n}").next().unwrap_or_default();
        let variants = body.lines().filter_map(|line| line.strip_prefix("    ")?.split_once('(')).map(|(name, _)| name);
        for variant in variants.filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase())) {
            let name = format!("{family}::{variant}");
            if !listed.contains(name.as_str()) {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "no test of {}", missing.join(", "));
    Ok(())
}

/// A tensor of `data` in a dtype.
fn tensor<B: Backend, const D: usize, K: burn::tensor::BasicOps<B>>(
    data: TensorData,
    dtype: DType,
) -> burn::tensor::Tensor<B, D, K> {
    burn::tensor::Tensor::from_data(data.convert_dtype(dtype), (&B::Device::default(), dtype))
}
