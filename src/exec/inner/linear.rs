//! Matrix products.

use super::{Cx, Fault, InnerTensor, Res, elementwise};
use bgz_passes::ir::{Binary, DType, Scalar};
use burn_backend::{Backend, IntDType};

/// The matrix product of two operands of one rank, at least 2, with an inner dim that is not 0.
pub(super) fn product<B: Backend>(a: InnerTensor<B>, b: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    match (a, b) {
        (InnerTensor::Float(a), InnerTensor::Float(b)) => Ok(InnerTensor::Float(B::float_matmul(a, b))),
        (InnerTensor::Int(a), InnerTensor::Int(b)) => {
            // Sums of narrow integers wrap in the graph, and may panic in a backend.
            let dtype = InnerTensor::<B>::Int(a.clone()).need_dtype()?;
            let wide = B::int_matmul(B::int_cast(a, IntDType::I64), B::int_cast(b, IntDType::I64));
            elementwise::cast(InnerTensor::Int(wide), dtype, cx)
        }
        (a, b) => Err(Fault::Invalid(format!("product of {a:?} and {b:?}"))),
    }
}

pub(super) fn matmul<B: Backend>(a: InnerTensor<B>, b: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let (sa, sb, out) = (cx.shape(0)?, cx.shape(1)?, cx.out()?);
    let (Some(&k), Some(_)) = (sa.last(), sb.last()) else {
        return Err(Fault::Invalid("matrix product of a scalar".into()));
    };
    if sb[sb.len().saturating_sub(2)] != k {
        return Err(Fault::Invalid(format!("inner dims differ: {sa:?} and {sb:?}")));
    }
    if k == 0 {
        return zeros(cx);
    }
    // A vector is a row on the left, a column on the right.
    let column = sb.len() == 1;
    let b = if column { b.reshape(&[k, 1])? } else { b };
    let rank = sa.len().max(sb.len()).max(2);
    product(a.with_rank(rank)?, b.with_rank(rank)?, cx)?.reshape(&out)
}

fn zeros<B: Backend>(cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let ty = cx.out_type()?;
    InnerTensor::full(Scalar::from_i64(ty.dtype, 0), &cx.out()?, cx.device)
}

pub(super) fn linear<B: Backend>(
    trans_w: bool,
    x: InnerTensor<B>,
    w: InnerTensor<B>,
    bias: Option<InnerTensor<B>>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let out = cx.out()?;
    let w = if trans_w { w.permute(&[1, 0]) } else { w };
    let inner = x.shape().last().copied();
    if inner != w.shape().first().copied() {
        return Err(Fault::Invalid(format!("inner dims differ: {} and {}", cx.inputs[0], cx.inputs[1])));
    }
    let x = x.with_rank(2)?;
    let dtype = x.need_dtype()?;
    match (x, w, bias) {
        (x, _, bias) if inner == Some(0) => {
            let rank = x.shape().len();
            match bias {
                Some(b) => b.with_rank(rank)?.expand(&out),
                None => zeros(cx),
            }
        }
        (InnerTensor::Float(x), InnerTensor::Float(w), bias) => {
            let bias = bias.map(InnerTensor::float).transpose()?;
            InnerTensor::Float(B::linear(x, w, bias)).reshape(&out)
        }
        (x, w, bias) => {
            let rank = x.shape().len();
            let y = product(x, w.with_rank(rank)?, cx)?.reshape(&out)?;
            match bias {
                Some(b) if dtype != DType::Bool => elementwise::binary(Binary::Add, y, b, cx),
                _ => Ok(y),
            }
        }
    }
}
