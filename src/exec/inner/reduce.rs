//! Ops along an axis: reductions, extremes, running sums, normalisations.

use super::host::Host;
use super::tensor::BOOL;
use super::{Cx, Fault, InnerTensor, Res, elementwise};
use bgz_passes::ir::{ArgReduce, Cumulative, DType, Fold, FoldKind, Scalar, TopK};
use burn_backend::tensor::FloatTensor;
use burn_backend::{Backend, IntDType, Scalar as BurnScalar};
use std::cmp::Ordering;

pub(super) fn reduce<B: Backend>(r: &Fold, x: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let shape = cx.shape(0)?;
    let out = cx.out()?;
    if r.axes.is_empty() {
        return x.reshape(&out);
    }
    let dtype = x.need_dtype()?;
    if x.is_empty() {
        return InnerTensor::full(of_nothing(r.kind, dtype)?, &out, cx.device);
    }
    let result = match x {
        InnerTensor::Float(mut t) => {
            for &a in &r.axes {
                t = match r.kind {
                    FoldKind::Sum => B::float_sum_dim(t, a),
                    FoldKind::Mean => B::float_mean_dim(t, a),
                    FoldKind::Max => extreme::<B>(t, a, B::float_max_dim)?,
                    FoldKind::Min => extreme::<B>(t, a, B::float_min_dim)?,
                    FoldKind::Prod => B::float_prod_dim(t, a),
                };
            }
            InnerTensor::Float(t)
        }
        InnerTensor::Int(mut t) => {
            // Wide: sums of narrow integers wrap in the graph and may panic in a backend, which may also lack the
            // extremes of unsigned ones.
            t = B::int_cast(t, IntDType::I64);
            for &a in &r.axes {
                t = match r.kind {
                    FoldKind::Sum | FoldKind::Mean => B::int_sum_dim(t, a),
                    FoldKind::Max => B::int_max_dim(t, a),
                    FoldKind::Min => B::int_min_dim(t, a),
                    FoldKind::Prod => B::int_prod_dim(t, a),
                };
            }
            // One division: a mean of rounded means is another number.
            if r.kind == FoldKind::Mean {
                let count: usize = r.axes.iter().filter_map(|&a| shape.get(a)).product();
                t = B::int_div_scalar(t, BurnScalar::Int(i64::try_from(count).unwrap_or(i64::MAX)));
            }
            elementwise::cast(InnerTensor::Int(t), dtype, cx)?
        }
        InnerTensor::Bool(_) => return Err(Fault::Invalid("not defined for bool".into())),
    };
    result.reshape(&out)
}

/// An extreme along an axis, NaN where there is one: backends differ in whether that counts.
fn extreme<B: Backend>(
    x: FloatTensor<B>,
    axis: usize,
    of: fn(FloatTensor<B>, usize) -> FloatTensor<B>,
) -> Res<FloatTensor<B>> {
    let nan = B::float_is_nan(x.clone(), BOOL);
    if InnerTensor::<B>::Bool(B::bool_any(nan.clone())).to_scalar()?.to_i64() == 0 {
        return Ok(of(x, axis));
    }
    let any = B::int_max_dim(B::bool_into_int(nan, IntDType::I64), axis);
    let any = B::int_not_equal_elem(any, BurnScalar::Int(0), BOOL);
    Ok(B::float_mask_fill(of(x, axis), any, BurnScalar::Float(f64::NAN)))
}

/// The reduction of no elements.
fn of_nothing(kind: FoldKind, dtype: DType) -> Res<Scalar> {
    let value = match kind {
        FoldKind::Sum => 0.0,
        FoldKind::Prod => 1.0,
        FoldKind::Mean if dtype.is_float() => f64::NAN,
        FoldKind::Max if dtype.is_float() => f64::NEG_INFINITY,
        FoldKind::Min if dtype.is_float() => f64::INFINITY,
        _ => return Err(Fault::Invalid(format!("{} of no integers", kind.name()))),
    };
    Ok(Scalar::from_f64(dtype, value))
}

pub(super) fn arg_reduce<B: Backend>(a: &ArgReduce, x: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let extent = x.shape()[a.axis];
    if extent == 0 {
        return Err(Fault::Invalid("an axis of no entries has no extreme".into()));
    }
    // The first of equal ones is found; from the end, the last.
    let x = if a.last { x.flip(&[a.axis]) } else { x };
    let ints = |t| if a.max { B::int_argmax(t, a.axis) } else { B::int_argmin(t, a.axis) };
    let indices = match x {
        InnerTensor::Float(t) if a.max => B::float_argmax(t, a.axis, IntDType::I64),
        InnerTensor::Float(t) => B::float_argmin(t, a.axis, IntDType::I64),
        // Wide: Flex has it for signed integers only.
        InnerTensor::Int(t) => ints(B::int_cast(t, IntDType::I64)),
        InnerTensor::Bool(t) => ints(B::bool_into_int(t, IntDType::I64)),
    };
    let mut indices = B::int_cast(indices, IntDType::I64);
    if a.last {
        let last = i64::try_from(extent - 1).unwrap_or(i64::MAX);
        indices = B::int_add_scalar(B::int_neg(indices), BurnScalar::Int(last));
    }
    InnerTensor::Int(indices).reshape(&cx.out()?)
}

pub(super) fn cumulative<B: Backend>(c: &Cumulative, x: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let axis = c.axis;
    let x = if c.reverse { x.flip(&[axis]) } else { x };
    let (dtype, shape) = (x.need_dtype()?, x.shape());
    let mut sums = match x {
        InnerTensor::Float(t) => InnerTensor::Float(B::float_cumsum(t, axis)),
        InnerTensor::Int(t) => {
            let wide = B::int_cumsum(B::int_cast(t, IntDType::I64), axis);
            elementwise::cast(InnerTensor::Int(wide), dtype, cx)?
        }
        InnerTensor::Bool(_) => return Err(Fault::Invalid("not defined for bool".into())),
    };
    if c.exclusive {
        let mut first = shape.clone();
        first[axis] = 1;
        let zeros = InnerTensor::full(Scalar::from_i64(dtype, 0), &first, cx.device)?;
        sums = if shape[axis] == 1 {
            zeros
        } else {
            InnerTensor::cat(vec![zeros, sums.narrow(axis, 0, shape[axis] - 1)], axis)?
        };
    }
    Ok(if c.reverse { sums.flip(&[axis]) } else { sums })
}

/// NaN is above every number.
fn order(a: Scalar, b: Scalar) -> Ordering {
    if !a.dtype().is_float() {
        return a.to_i64().cmp(&b.to_i64());
    }
    let (a, b) = (a.to_f64(), b.to_f64());
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// The extreme entries of each lane. On the host: Burn's sorts do not keep equal entries in order.
pub(super) fn top_k<B: Backend>(t: &TopK, x: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<Vec<InnerTensor<B>>> {
    let x = Host::new(x)?;
    let out = cx.out()?;
    let (Some(&n), Some(&k)) = (x.shape.get(t.axis), out.get(t.axis)) else {
        return Err(Fault::Invalid(format!("axis {} of {:?}", t.axis, x.shape)));
    };
    if k > n {
        return Err(Fault::Invalid(format!("{k} of {n} entries")));
    }
    let inner: usize = x.shape[t.axis + 1..].iter().product();
    let size = x.dtype.size();
    let mut values = Host::zeros(x.dtype, &out)?;
    let mut indices = vec![0; values.len()];
    for outer in 0..x.len() / (n * inner).max(1) {
        for i in 0..inner {
            let from = |entry: usize| (outer * n + entry) * inner + i;
            let bytes = |entry: usize| &x.bytes[from(entry) * size..][..size];
            let lane: Vec<Scalar> = (0..n).filter_map(|e| Scalar::from_le_bytes(x.dtype, bytes(e))).collect();
            let mut entries: Vec<usize> = (0..n).collect();
            entries.sort_by(|&a, &b| {
                let (a, b) = (lane[a], lane[b]);
                if t.largest { order(b, a) } else { order(a, b) }
            });
            for (place, &entry) in entries[..k].iter().enumerate() {
                let to = (outer * k + place) * inner + i;
                values.bytes[to * size..][..size].copy_from_slice(bytes(entry));
                indices[to] = entry as i64;
            }
        }
    }
    Ok(vec![values.into_tensor(cx.device)?, InnerTensor::from_i64s(indices, &out, cx.device)])
}

pub(super) fn softmax<B: Backend>(x: InnerTensor<B>, axis: usize) -> Res<InnerTensor<B>> {
    Ok(InnerTensor::Float(B::softmax(x.float()?, axis)))
}

pub(super) fn log_softmax<B: Backend>(x: InnerTensor<B>, axis: usize) -> Res<InnerTensor<B>> {
    Ok(InnerTensor::Float(B::log_softmax(x.float()?, axis)))
}

pub(super) fn layer_norm<B: Backend>(
    x: InnerTensor<B>,
    scale: Option<InnerTensor<B>>,
    bias: Option<InnerTensor<B>>,
    eps: f32,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let (dtype, last) = (x.need_dtype()?, x.shape().len() - 1);
    let x = widened(x, cx)?;
    // Not Burn's, which in its backends takes the mean square less the squared mean, and nothing is left of a small
    // deviation from a large mean. What rounding has left of the mean goes in a second step.
    let centred = B::float_sub(x.clone(), B::float_mean_dim(x, last));
    let centred = B::float_sub(centred.clone(), B::float_mean_dim(centred, last));
    normal(centred, scale, bias, eps, dtype, cx)
}

pub(super) fn rms_norm<B: Backend>(
    x: InnerTensor<B>,
    scale: Option<InnerTensor<B>>,
    eps: f32,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let dtype = x.need_dtype()?;
    normal(widened(x, cx)?, scale, None, eps, dtype, cx)
}

/// `x` over the root of its mean square, scaled and shifted.
fn normal<B: Backend>(
    x: FloatTensor<B>,
    scale: Option<InnerTensor<B>>,
    bias: Option<InnerTensor<B>>,
    eps: f32,
    dtype: DType,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let rank = InnerTensor::<B>::Float(x.clone()).shape().len();
    let square = B::float_mean_dim(B::float_mul(x.clone(), x.clone()), rank - 1);
    let root = B::float_sqrt(B::float_add_scalar(square, BurnScalar::Float(eps.into())));
    let mut y = B::float_div(x, root);
    if let Some(s) = scale {
        y = B::float_mul(y, widened(s.with_rank(rank)?, cx)?);
    }
    if let Some(b) = bias {
        y = B::float_add(y, widened(b.with_rank(rank)?, cx)?);
    }
    elementwise::cast(InnerTensor::Float(y), dtype, cx)
}

/// As f32 what is narrower, whose squares would soon be beyond it.
pub(super) fn widened<B: Backend>(x: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<FloatTensor<B>> {
    match x.need_dtype()? {
        DType::F16 | DType::BF16 => elementwise::cast(x, DType::F32, cx)?.float(),
        _ => x.float(),
    }
}
