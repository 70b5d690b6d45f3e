//! Functions of every element.

use super::broadcast::{Offsets, broadcast_shape};
use super::{Res, Tensor};
use crate::ir::{Binary, DType, Expr, Scalar, Unary};

pub(super) fn unary(f: Unary, x: &Tensor) -> Res<Tensor> {
    let dtype = f.output(x.dtype()).ok_or_else(|| format!("not defined for {}", x.dtype()))?;
    map(dtype, &[x], |v| f.eval(v[0]))
}

pub(super) fn binary(f: Binary, a: &Tensor, b: &Tensor) -> Res<Tensor> {
    let dtype = f.output(a.dtype()).ok_or_else(|| format!("not defined for {}", a.dtype()))?;
    map(dtype, &[a, b], |v| f.eval(v[0], v[1]))
}

pub(super) fn select(condition: &Tensor, a: &Tensor, b: &Tensor) -> Res<Tensor> {
    map(a.dtype(), &[condition, a, b], |v| Some(if v[0].to_i64() != 0 { v[1] } else { v[2] }))
}

pub(super) fn cast(x: &Tensor, to: DType) -> Res<Tensor> {
    map(to, &[x], |v| Some(v[0].cast(to)))
}

pub(super) fn fused(e: &Expr, operands: &[Tensor]) -> Res<Tensor> {
    let dtypes: Vec<_> = operands.iter().map(Tensor::dtype).collect();
    let dtype = e.dtype(&dtypes)?;
    map(dtype, &operands.iter().collect::<Vec<_>>(), |v| e.eval(v))
}

/// `f` of the elements of operands that broadcast. Dtypes were checked, so
/// that `None` means an integer division by zero.
fn map(dtype: DType, operands: &[&Tensor], f: impl Fn(&[Scalar]) -> Option<Scalar>) -> Res<Tensor> {
    let shape = broadcast_shape(operands.iter().map(|t| t.shape()))?;
    let mut places: Vec<_> = operands.iter().map(|t| Offsets::broadcast(t.shape(), &shape)).collect();
    let len = super::tensor::checked_len(&shape)?;
    let mut values = Vec::with_capacity(operands.len());
    let mut out = Vec::with_capacity(len);
    for _ in 0..len {
        values.clear();
        for (t, at) in operands.iter().zip(&mut places) {
            values.extend(at.next().and_then(|i| t.get(i)));
        }
        out.push(f(&values).ok_or("division by zero")?);
    }
    Tensor::new(dtype, shape, out).ok_or_else(|| "the number of elements does not fit".into())
}
