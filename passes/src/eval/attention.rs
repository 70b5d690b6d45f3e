//! Scaled dot-product attention from its definition.

use super::broadcast::{Offsets, broadcast_shape};
use super::normalize::softmax_lane;
use super::{Res, Tensor};
use crate::ir::{Attention, MaskKind, Scores};

/// One of q, k, v as `[batch, heads, seq, width]`, whether split or merged.
struct Heads<'a> {
    data: &'a [f64],
    batch: usize,
    seq: usize,
    width: usize,
    /// Elements from one batch, head, position to the next; a batch of 1 broadcasts.
    strides: [usize; 3],
}

impl<'a> Heads<'a> {
    fn new(t: &'a Tensor, heads: usize) -> Res<Self> {
        let data = t.floats().ok_or_else(|| format!("not defined for {}", t.dtype()))?;
        let (batch, seq, width, strides) = match *t.shape() {
            [b, s, w] if heads > 0 && w % heads == 0 => (b, s, w / heads, [s * w, w / heads, w]),
            [b, h, s, w] if h == heads => (b, s, w, [h * s * w, s * w, w]),
            _ => return Err(format!("{} for {heads} heads", t.ty())),
        };
        Ok(Self { data, batch, seq, width, strides })
    }

    /// The row of one position.
    fn row(&self, batch: usize, head: usize, position: usize) -> &'a [f64] {
        let b = if self.batch == 1 { 0 } else { batch };
        let at = b * self.strides[0] + head * self.strides[1] + position * self.strides[2];
        &self.data[at..][..self.width]
    }
}

pub(super) fn attention(a: &Attention, q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Res<Tensor> {
    if a.scores != Scores::Exact {
        return Err(format!("scores = {} are approximate, so that they cannot be checked here", a.scores));
    }
    let dtype = q.dtype();
    let (q, k, v) = (Heads::new(q, a.heads)?, Heads::new(k, a.kv_heads)?, Heads::new(v, a.kv_heads)?);
    if k.seq != v.seq || q.width != k.width {
        return Err(format!("{} queries of {} for {} keys of {}", q.seq, q.width, k.seq, k.width));
    }
    let batch = broadcast_shape([&[q.batch][..], &[k.batch], &[v.batch]])?[0];
    let scores_shape = [batch, a.heads, q.seq, k.seq];
    super::tensor::checked_len(&scores_shape)?;
    let mut mask_at = match mask {
        Some(m) => {
            if broadcast_shape([m.shape(), &scores_shape[..]])? != scores_shape {
                return Err(format!("mask {} for scores {scores_shape:?}", m.ty()));
            }
            Some((m.to_f64s(), Offsets::broadcast(m.shape(), &scores_shape)))
        }
        None => None,
    };
    let shape = if a.merged { vec![batch, q.seq, a.heads * v.width] } else { vec![batch, a.heads, q.seq, v.width] };
    let mut out = vec![0.0; super::tensor::checked_len(&shape)?];
    let group = a.heads / a.kv_heads;
    let mut scores = vec![0.0; k.seq];
    // What is added to the score of each key, -inf where it is not seen.
    let mut bias = vec![0.0; k.seq];
    for b in 0..batch {
        for h in 0..a.heads {
            for i in 0..q.seq {
                let query = q.row(b, h, i);
                for (j, (score, bias)) in scores.iter_mut().zip(&mut bias).enumerate() {
                    *bias = 0.0;
                    let key = k.row(b, h / group, j);
                    let dot: f64 = query.iter().zip(key).map(|(x, y)| x * y).sum();
                    *score = dot * f64::from(a.scale.0);
                    if let Some((mask, places)) = &mut mask_at {
                        let m = places.next().and_then(|at| mask.get(at).copied()).unwrap_or(0.0);
                        match a.mask {
                            MaskKind::None => {}
                            MaskKind::Additive => (*score, *bias) = (*score + m, m),
                            MaskKind::Keep { fill } if m == 0.0 => *score = fill.0.into(),
                            MaskKind::Drop { fill } if m != 0.0 => *score = fill.0.into(),
                            MaskKind::Keep { .. } | MaskKind::Drop { .. } => {}
                        }
                    }
                    // j > i + seq_k - seq_q, without going below zero.
                    if a.causal && j + q.seq > i + k.seq {
                        (*score, *bias) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
                    }
                }
                let hidden = |all: &[f64]| all.iter().all(|&v| v == f64::NEG_INFINITY);
                if a.zero_hidden && (hidden(&scores) || hidden(&bias)) {
                    continue;
                }
                softmax_lane(&mut scores);
                let at = if a.merged {
                    ((b * q.seq + i) * a.heads + h) * v.width
                } else {
                    ((b * a.heads + h) * q.seq + i) * v.width
                };
                for (j, &p) in scores.iter().enumerate() {
                    for (o, x) in out[at..][..v.width].iter_mut().zip(v.row(b, h / group, j)) {
                        *o += p * x;
                    }
                }
            }
        }
    }
    Tensor::rounded(dtype, shape, out)
}
