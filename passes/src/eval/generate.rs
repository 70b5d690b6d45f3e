//! Tensors made from shapes and numbers.

use super::broadcast::{Lanes, strides};
use super::tensor::{MAX_LEN, checked_len};
use super::{Res, Tensor, shape_arg};
use crate::ir::{DType, Dim, IntArg, Scalar};

/// The one element of an operand.
pub(super) fn single(t: &Tensor) -> Res<Scalar> {
    match (t.len(), t.get(0)) {
        (1, Some(s)) => Ok(s),
        _ => Err(format!("one element is needed, not {}", t.ty())),
    }
}

pub(super) fn shape(x: &Tensor, start: usize, end: usize) -> Res<Tensor> {
    let extents = x.shape().get(start..end).ok_or("axes out of range")?;
    Tensor::wrapped(DType::I64, vec![extents.len()], extents.iter().map(|&d| d as i64).collect())
}

pub(super) fn dims(values: &[Dim], scalar: bool) -> Res<Tensor> {
    let ints: Vec<i64> =
        values.iter().map(|d| d.as_int().ok_or_else(|| format!("extent {d} is not known"))).collect::<Res<_>>()?;
    Tensor::wrapped(DType::I64, if scalar { vec![] } else { vec![ints.len()] }, ints)
}

pub(super) fn full(value: &Tensor, shape: &IntArg, rest: &[Tensor]) -> Res<Tensor> {
    let shape = shape_arg(shape, &mut rest.iter())?;
    let len = checked_len(&shape)?;
    single(value)?;
    value.pick(shape, std::iter::repeat_n(0, len))
}

pub(super) fn range(start: &Tensor, limit: &Tensor, delta: &Tensor) -> Res<Tensor> {
    let dtype = start.dtype();
    let (start, limit, delta) = (single(start)?, single(limit)?, single(delta)?);
    let too_long = || format!("range({start}, {limit}, {delta}) is more than {MAX_LEN} elements");
    if dtype.is_float() {
        let (s, l, d) = (start.to_f64(), limit.to_f64(), delta.to_f64());
        if d == 0.0 || !(s.is_finite() && l.is_finite() && d.is_finite()) {
            return Err(format!("range({start}, {limit}, {delta})"));
        }
        let n = ((l - s) / d).ceil().max(0.0);
        if n > MAX_LEN as f64 {
            return Err(too_long());
        }
        let n = n as usize;
        return Tensor::rounded(dtype, vec![n], (0..n).map(|i| s + i as f64 * d).collect());
    }
    // Wide enough for any difference of two i64.
    let (s, l, d) = (i128::from(start.to_i64()), i128::from(limit.to_i64()), i128::from(delta.to_i64()));
    if d == 0 {
        return Err("a step of 0".into());
    }
    // Rounded up, with both signs turned so that the step is positive.
    let n = (-((s - l) * d.signum()).div_euclid(d.abs())).max(0);
    let n = usize::try_from(n).ok().filter(|&n| n <= MAX_LEN).ok_or_else(too_long)?;
    Tensor::wrapped(dtype, vec![n], (0..n as i128).map(|i| (s + i * d) as i64).collect())
}

/// A negative index counts from the end; one out of range has no place.
pub(super) fn one_hot(indices: &Tensor, depth: &Tensor, values: &Tensor, axis: usize) -> Res<Tensor> {
    let depth = single(depth)?.to_i64();
    let extent = usize::try_from(depth).map_err(|_| format!("a depth of {depth}"))?;
    if values.len() != 2 {
        return Err(format!("values must be [off, on], not {}", values.ty()));
    }
    let mut shape = indices.shape().to_vec();
    shape.insert(axis, extent);
    checked_len(&shape)?;
    let lanes = Lanes::new(&shape, axis);
    let mut from = vec![0; shape.iter().product()];
    for (start, index) in lanes.starts().zip(indices.scalars()) {
        let i = index.to_i64();
        let i = if i < 0 { i.saturating_add(depth) } else { i };
        if let Some(at) = usize::try_from(i).ok().and_then(|i| lanes.lane(start).nth(i)) {
            from[at] = 1;
        }
    }
    values.pick(shape, from.into_iter())
}

pub(super) fn trilu(x: &Tensor, k: Option<&Tensor>, upper: bool) -> Res<Tensor> {
    let k = i128::from(k.map(single).transpose()?.map_or(0, Scalar::to_i64));
    let [.., rows, columns] = *x.shape() else { return Err(format!("a triangle of {}", x.ty())) };
    let keep = |at: usize| {
        let (i, j) = ((at / columns % rows) as i128, (at % columns) as i128);
        if upper { j - i >= k } else { j - i <= k }
    };
    let zero = Scalar::from_i64(x.dtype(), 0);
    x.pick_or(x.shape().to_vec(), zero, (0..x.len()).map(|at| keep(at).then_some(at)))
}

pub(super) fn non_zero(x: &Tensor) -> Res<Tensor> {
    let places: Vec<usize> =
        x.scalars().enumerate().filter(|(_, s)| s.to_f64() != 0.0 || s.to_f64().is_nan()).map(|(i, _)| i).collect();
    let rank = x.shape().len();
    let mut out = Vec::with_capacity(rank * places.len());
    for (stride, extent) in strides(x.shape()).into_iter().zip(x.shape()) {
        out.extend(places.iter().map(|at| (at / stride.max(1) % extent) as i64));
    }
    Tensor::wrapped(DType::I64, vec![rank, places.len()], out)
}
