//! Products of matrices. Floats are summed in `f64` and rounded once.

use super::broadcast::{Offsets, broadcast_shape};
use super::tensor::checked_len;
use super::{Res, Tensor};

pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Res<Tensor> {
    let (row, column) = (a.shape().len() == 1, b.shape().len() == 1);
    // A vector is a row on the left and a column on the right.
    let a_shape = if row { vec![1, a.len()] } else { a.shape().to_vec() };
    let b_shape = if column { vec![b.len(), 1] } else { b.shape().to_vec() };
    let ([a_batch @ .., m, k], [b_batch @ .., k2, n]) = (a_shape.as_slice(), b_shape.as_slice()) else {
        return Err("matrix product of a scalar".into());
    };
    let (m, k, n) = (*m, *k, *n);
    if k != *k2 {
        return Err(format!("inner dims differ: {k} and {k2}"));
    }
    let batch = broadcast_shape([a_batch, b_batch])?;
    let places = Offsets::broadcast(a_batch, &batch).zip(Offsets::broadcast(b_batch, &batch));
    let mut shape = batch.clone();
    if !row {
        shape.push(m);
    }
    if !column {
        shape.push(n);
    }
    let len = checked_len(&shape)?;
    match (a.floats(), b.floats(), a.ints(), b.ints()) {
        (Some(a_data), Some(b_data), ..) => {
            let mut out = vec![0.0; len];
            for (i, (pa, pb)) in places.enumerate() {
                let (x, y) = (&a_data[pa * m * k..][..m * k], &b_data[pb * k * n..][..k * n]);
                product(x, y, k, n, &mut out[i * m * n..][..m * n], |sum, x, y| sum + x * y);
            }
            Tensor::rounded(a.dtype(), shape, out)
        }
        (_, _, Some(a_data), Some(b_data)) => {
            let mut out = vec![0; len];
            for (i, (pa, pb)) in places.enumerate() {
                let (x, y) = (&a_data[pa * m * k..][..m * k], &b_data[pb * k * n..][..k * n]);
                let add = |sum: i64, x: i64, y: i64| sum.wrapping_add(x.wrapping_mul(y));
                product(x, y, k, n, &mut out[i * m * n..][..m * n], add);
            }
            Tensor::wrapped(a.dtype(), shape, out)
        }
        _ => Err(format!("product of {} and {}", a.dtype(), b.dtype())),
    }
}

/// `out += a . b` for row-major `a [m, k]`, `b [k, n]`; the innermost loop runs along rows of `b`.
fn product<T: Copy>(a: &[T], b: &[T], k: usize, n: usize, out: &mut [T], add: impl Fn(T, T, T) -> T) {
    if k == 0 || n == 0 {
        return;
    }
    for (row, out) in a.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
        for (&x, b_row) in row.iter().zip(b.chunks_exact(n)) {
            for (o, &y) in out.iter_mut().zip(b_row) {
                *o = add(*o, x, y);
            }
        }
    }
}

pub(super) fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, trans_w: bool) -> Res<Tensor> {
    let transposed;
    let w = if trans_w {
        transposed = super::movement::transpose(w, &[1, 0])?;
        &transposed
    } else {
        w
    };
    let Some(bias) = bias else { return matmul(x, w) };
    // The bias is added before the one rounding.
    let (wide_x, wide_w) = (widened(x)?, widened(w)?);
    let y = matmul(&wide_x, &wide_w)?;
    let places = Offsets::broadcast(bias.shape(), y.shape());
    match (y.floats(), bias.floats(), y.ints(), bias.ints()) {
        (Some(v), Some(b), ..) => {
            Tensor::rounded(x.dtype(), y.shape().to_vec(), v.iter().zip(places).map(|(v, i)| v + b[i]).collect())
        }
        (_, _, Some(v), Some(b)) => {
            let sum = v.iter().zip(places).map(|(v, i)| v.wrapping_add(b[i])).collect();
            Tensor::wrapped(x.dtype(), y.shape().to_vec(), sum)
        }
        _ => Err(format!("bias of {} for {}", bias.dtype(), x.dtype())),
    }
}

/// The same numbers at a dtype that holds sums of them.
fn widened(t: &Tensor) -> Res<Tensor> {
    use crate::ir::DType;
    match (t.floats(), t.ints()) {
        (Some(v), _) => Tensor::rounded(DType::F64, t.shape().to_vec(), v.to_vec()),
        (_, Some(v)) => Tensor::wrapped(DType::I64, t.shape().to_vec(), v.to_vec()),
        _ => Err(format!("product of {}", t.dtype())),
    }
}
