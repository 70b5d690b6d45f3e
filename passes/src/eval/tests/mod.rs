//! Values computed by hand, the corners of numpy's rules, and errors.

mod elementwise;
mod generate;
mod index;
mod linear;
mod movement;
mod random;
mod reduce;
mod run;

use super::{Tensor, node};
use crate::ir::{
    Cast, DType, Dim, Fold, FoldKind, Generate, Index, IntArg, Movement, Norm, Op, Product, Reduce, Scalar, Where,
};

fn f(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::f32s(shape, values).unwrap()
}

fn i(shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::i64s(shape, values).unwrap()
}

fn b(shape: &[usize], values: &[bool]) -> Tensor {
    Tensor::bools(shape, values).unwrap()
}

fn one(value: f32) -> Tensor {
    Tensor::scalar(Scalar::f32(value))
}

fn int(value: i64) -> Tensor {
    Tensor::scalar(Scalar::i64(value))
}

fn of(dtype: DType, shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::f64s(dtype, shape, values).unwrap()
}

/// 0, 1, 2 ... as f32.
fn count(shape: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|v| v as f32).collect();
    f(shape, &values)
}

fn known(values: &[i64]) -> IntArg {
    IntArg::Known(values.iter().map(|&v| Dim::int(v)).collect())
}

/// The one result of an op.
#[track_caller]
fn eval(op: Op, operands: &[Tensor]) -> Tensor {
    match node(&op, operands) {
        Ok(mut r) => r.remove(0),
        Err(e) => panic!("{e}"),
    }
}

/// Asserts that an op is refused with a message that has `part`.
#[track_caller]
fn refused(op: Op, operands: &[Tensor], part: &str) {
    let e = node(&op, operands).expect_err("must be refused").to_string();
    assert!(e.contains(part) && e.starts_with(&op.mnemonic()), "{e}");
}

/// Asserts equal shapes, and values up to 1e-6.
#[track_caller]
fn close(actual: &Tensor, shape: &[usize], values: &[f64]) {
    assert_eq!(actual.shape(), shape);
    for (i, (a, v)) in actual.to_f64s().iter().zip(values).enumerate() {
        assert!((a - v).abs() <= 1e-6 || a.is_nan() && v.is_nan() || a == v, "{i}: {a} and {v}\n{actual:?}");
    }
    assert_eq!(actual.len(), values.len());
}
