//! Attention, composed as a user of Burn would write it.

use super::dtype::burn_scalar;
use super::linear::product;
use super::tensor::BOOL;
use super::{Cx, Fault, InnerTensor, Res};
use bgz_passes::ir::{Attention, MaskKind, Scalar, Scores};
use burn_backend::tensor::FloatTensor;
use burn_backend::{Backend, IntDType, Scalar as BurnScalar};

/// `[batch, heads, seq, width]` of an operand that is split, or merged as `[batch, seq, heads * width]`.
fn split<B: Backend>(x: InnerTensor<B>, heads: usize) -> Res<InnerTensor<B>> {
    match x.shape()[..] {
        [b, s, w] if heads > 0 && w.is_multiple_of(heads) => {
            Ok(x.reshape(&[b, s, heads, w / heads])?.permute(&[0, 2, 1, 3]))
        }
        [_, h, _, _] if h == heads => Ok(x),
        _ => Err(Fault::Invalid(format!("{x:?} for {heads} heads"))),
    }
}

/// Each of `kv` heads for `heads / kv` consecutive ones.
fn spread<B: Backend>(x: InnerTensor<B>, heads: usize, kv: usize) -> Res<InnerTensor<B>> {
    if heads == kv {
        return Ok(x);
    }
    let [b, _, s, w] = x.shape()[..] else { return Err(Fault::Invalid(format!("{x:?} for {kv} heads"))) };
    x.reshape(&[b, kv, 1, s, w])?.expand(&[b, kv, heads / kv, s, w])?.reshape(&[b, heads, s, w])
}

pub(super) fn attention<B: Backend>(
    a: &Attention,
    q: InnerTensor<B>,
    k: InnerTensor<B>,
    v: InnerTensor<B>,
    mask: Option<InnerTensor<B>>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    if a.scores != Scores::Exact {
        return Err(Fault::Unsupported(format!("scores = {} are not Burn's; a plan computes them", a.scores)));
    }
    let q = split(q, a.heads)?;
    let k = spread(split(k, a.kv_heads)?, a.heads, a.kv_heads)?;
    let v = spread(split(v, a.kv_heads)?, a.heads, a.kv_heads)?;
    let (seq_q, seq_k) = (q.shape()[2], k.shape()[2]);
    if seq_k == 0 || q.shape()[3] == 0 {
        return Err(Fault::Invalid("attention over nothing".into()));
    }
    let scores = product(q, k.permute(&[0, 1, 3, 2]), cx)?.float()?;
    let scores = B::float_mul_scalar(scores, BurnScalar::Float(a.scale.0.into()));
    let added = mask.clone().filter(|_| a.mask == MaskKind::Additive);
    let scores = masked(a, scores, mask)?;
    let scores = if a.causal { causal::<B>(scores, seq_q, seq_k, cx)? } else { scores };
    let hidden = if a.zero_hidden { Some(hidden(scores.clone(), added)?) } else { None };
    let weights = B::softmax(scores, 3);
    let context = product(InnerTensor::<B>::Float(weights), v, cx)?;
    let context = match hidden {
        Some(rows) => {
            let shape = context.shape();
            let zero = Scalar::from_i64(context.need_dtype()?, 0);
            context.mask_fill(rows.expand(&shape)?.bool()?, zero)
        }
        None => context,
    };
    let context = if a.merged { context.permute(&[0, 2, 1, 3]) } else { context };
    context.reshape(&cx.out()?)
}

fn masked<B: Backend>(a: &Attention, scores: FloatTensor<B>, mask: Option<InnerTensor<B>>) -> Res<FloatTensor<B>> {
    let (fill, keep) = match (a.mask, &mask) {
        (MaskKind::None, _) | (_, None) => return Ok(scores),
        (MaskKind::Additive, _) => (None, false),
        (MaskKind::Keep { fill }, _) => (Some(fill.0), true),
        (MaskKind::Drop { fill }, _) => (Some(fill.0), false),
    };
    let Some(mask) = mask else { return Ok(scores) };
    let Some(fill) = fill else {
        return Ok(B::float_add(scores, mask.with_rank(4)?.float()?));
    };
    let shape = InnerTensor::<B>::Float(scores.clone()).shape();
    let mask = mask.expand(&shape)?.bool()?;
    let hidden = if keep { B::bool_not(mask) } else { mask };
    Ok(B::float_mask_fill(scores, hidden, burn_scalar(Scalar::f32(fill))))
}

/// Whether a query sees no key, `[batch, heads, seq_q, 1]`: all its scores are `-inf`, or what is added to them is.
fn hidden<B: Backend>(scores: FloatTensor<B>, added: Option<InnerTensor<B>>) -> Res<InnerTensor<B>> {
    let shape = InnerTensor::<B>::Float(scores.clone()).shape();
    let lowest = BurnScalar::Float(f64::NEG_INFINITY);
    let mut seen = B::float_not_equal_elem(scores, lowest, BOOL);
    if let Some(added) = added {
        let not_by_mask = B::float_not_equal_elem(added.with_rank(4)?.float()?, lowest, BOOL);
        seen = B::bool_and(seen, InnerTensor::<B>::Bool(not_by_mask).expand(&shape)?.bool()?);
    }
    // As bytes: not every backend reduces bools.
    let any = B::int_max_dim(B::bool_into_int(seen, IntDType::I64), 3);
    Ok(InnerTensor::Bool(B::int_equal_elem(any, BurnScalar::Int(0), BOOL)))
}

/// Hides key `j` from query `i` where `j > i + seq_k - seq_q`.
fn causal<B: Backend>(scores: FloatTensor<B>, seq_q: usize, seq_k: usize, cx: &Cx<'_, B>) -> Res<FloatTensor<B>> {
    let hidden = (0..seq_q).flat_map(|i| (0..seq_k).map(move |j| j + seq_q > i + seq_k)).collect();
    let shape = InnerTensor::<B>::Float(scores.clone()).shape();
    let hidden = InnerTensor::<B>::from_bools(hidden, &[seq_q, seq_k], cx.device).expand(&shape)?.bool()?;
    Ok(B::float_mask_fill(scores, hidden, BurnScalar::Float(f64::NEG_INFINITY)))
}
