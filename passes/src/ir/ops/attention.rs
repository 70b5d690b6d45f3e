//! Scaled dot-product attention, from its definition.

use super::cost::{elements, extent_from_end, extents, product};
use super::norm::softmax_lane;
use super::{Attr, Evaluated, Family, Fields, Fresh, Inferred};
use crate::ir::broadcast::{Offsets, broadcast_shape, checked_len};
use crate::ir::infer::{Operand, broadcast, fail, list, may_equal, need_float};
use crate::ir::tensor::Tensor;
use crate::ir::{DType, Dim, Float, Type};
use std::borrow::Cow;
use std::fmt;

/// Scaled dot-product attention, `softmax(q . k^T * scale + mask) . v`, for
/// every head. An operand of rank 4 is `[batch, heads, seq, d_head]` (split);
/// of rank 3, `[batch, seq, heads * d_head]` (merged). With fewer key / value
/// heads than query heads, each serves `heads / kv_heads` consecutive ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of one head of q and k: the inner dim of `q . k^T`.
    pub d_head: usize,
    /// Factor of the scores.
    pub scale: Float,
    /// True if the output is `[batch, seq, heads * d_v]` rather than `[batch, heads, seq, d_v]`.
    pub merged: bool,
    /// How the mask operand, broadcast to `[batch, heads, seq_q, seq_k]`, is applied.
    pub mask: MaskKind,
    /// True if key `j` is hidden from query `i` where `j > i + seq_k - seq_q`.
    pub causal: bool,
    /// True if a query that sees no key gives 0. Else it gives NaN, which is what the softmax of nothing but `-inf` is. A
    /// key is not seen where the mask is `-inf`, or where `causal` hides it; where all scores are `-inf`, none is.
    pub zero_hidden: bool,
    /// How scores are computed.
    pub scores: Scores,
}

/// The kinds of mask operands of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaskKind {
    /// There is none.
    None,
    /// Float, added to the scaled scores.
    Additive,
    /// Bool; scores become `fill` where it is false.
    Keep {
        /// The score of a hidden key.
        fill: Float,
    },
    /// Bool; scores become `fill` where it is true.
    Drop {
        /// The score of a hidden key.
        fill: Float,
    },
}

/// How attention scores are computed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scores {
    /// In the dtype of q and k.
    Exact,
    /// Of rows of q and k rounded to 8-bit integers, one factor a row; approximate.
    Int8,
    /// By the registered table of this name; approximate.
    Table(String),
}

impl Scores {
    pub(super) fn attr(&self) -> Attr {
        match self {
            Scores::Exact => Attr::Dim(Dim::sym("exact")),
            Scores::Int8 => Attr::Dim(Dim::sym("int8")),
            Scores::Table(name) => Attr::Call("table".into(), name.clone()),
        }
    }

    fn read(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::Dim(d) => match &**d.as_sym()? {
                "exact" => Some(Scores::Exact),
                "int8" => Some(Scores::Int8),
                _ => None,
            },
            Attr::Call(f, name) if f == "table" => Some(Scores::Table(name.clone())),
            _ => None,
        }
    }
}

/// As in graph text: `exact`, `int8`, `table("name")`.
impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.attr().fmt(f)
    }
}

impl Family for Attention {
    fn blanks() -> Vec<Self> {
        vec![Attention {
            heads: 1,
            kv_heads: 1,
            d_head: 1,
            scale: Float(1.0),
            merged: true,
            mask: MaskKind::None,
            causal: false,
            zero_hidden: false,
            scores: Scores::Exact,
        }]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        "attention".into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.int("heads", &mut self.heads);
        fields.optional_int("kv_heads", &mut self.kv_heads, self.heads);
        fields.int("d_head", &mut self.d_head);
        fields.float("scale", &mut self.scale);
        fields.optional_flag("merged", &mut self.merged, true);
        fields.optional_flag("causal", &mut self.causal, false);
        fields.optional_flag("zero_hidden", &mut self.zero_hidden, false);
        // Unless `keep` or `drop` says otherwise.
        if fields.operands().is_some_and(|n| n > 3) {
            self.mask = MaskKind::Additive;
        }
        let (mut keep, mut drop) = match self.mask {
            MaskKind::Keep { fill } => (Some(fill), None),
            MaskKind::Drop { fill } => (None, Some(fill)),
            MaskKind::None | MaskKind::Additive => (None, None),
        };
        fields.optional_float("keep", &mut keep);
        fields.optional_float("drop", &mut drop);
        match (keep, drop) {
            (Some(_), Some(_)) => fields.fail("a mask has keep or drop, not both".into()),
            (Some(fill), None) => self.mask = MaskKind::Keep { fill },
            (None, Some(fill)) => self.mask = MaskKind::Drop { fill },
            (None, None) => {}
        }
        fields.required("scores", &mut self.scores, "exact, int8 or table(\"name\")", Scores::attr, Scores::read);
    }

    fn arity(&self) -> (usize, usize) {
        let n = 3 + usize::from(self.mask != MaskKind::None);
        (n, n)
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        Ok(vec![attention_type(self, x, fresh)?])
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        let (q, k, v) = (x[0], x[1], x[2]);
        let queries = elements(q) / self.d_head.max(1) as u64;
        let keys = extent_from_end(k, 2);
        let batch = extents(v).first().copied().unwrap_or(1);
        let d_v = elements(v) / product([extent_from_end(v, 2), batch, self.kv_heads as u64]).max(1);
        product([2, queries, keys, self.d_head as u64 + d_v])
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        Ok(vec![attention(self, &x[0], &x[1], &x[2], x.get(3))?])
    }
}

fn attention_type(a: &Attention, operands: &[Operand], fresh: Fresh) -> Inferred<Type> {
    let (q, k, v) = (operands[0].ty, operands[1].ty, operands[2].ty);
    need_float(q)?;
    if a.heads == 0 || a.kv_heads == 0 || !a.heads.is_multiple_of(a.kv_heads) {
        fail!("{} heads over {} key heads", a.heads, a.kv_heads);
    }
    if k.dtype != q.dtype || v.dtype != q.dtype {
        fail!("q, k, v of {}, {}, {}", q.dtype, k.dtype, v.dtype);
    }
    // batch, seq and width of one head
    let split = |t: &Type, heads: usize, name: &str| -> Inferred<(Dim, Dim, Dim)> {
        match t.shape.as_slice() {
            [b, s, w] => match w.div_exact(&heads.into()) {
                Some(d) => Ok((b.clone(), s.clone(), d)),
                None => fail!("{name} {t} does not split into {heads} heads"),
            },
            [b, h, s, d] if may_equal(h, &heads.into()) => Ok((b.clone(), s.clone(), d.clone())),
            _ => fail!("{name} {t} for {heads} heads"),
        }
    };
    let (bq, sq, dq) = split(q, a.heads, "q")?;
    let (bk, sk, dk) = split(k, a.kv_heads, "k")?;
    let (bv, sv, dv) = split(v, a.kv_heads, "v")?;
    if !may_equal(&dq, &dk) || !may_equal(&dq, &a.d_head.into()) || !may_equal(&sk, &sv) {
        fail!("q {q}, k {k}, v {v} with d_head {}", a.d_head);
    }
    let batch = broadcast(&broadcast(&[bq], &[bk], fresh)?, &[bv], fresh)?.remove(0);
    if let Some(mask) = operands.get(3) {
        let want = if a.mask == MaskKind::Additive { q.dtype } else { DType::Bool };
        if mask.ty.dtype != want {
            fail!("the mask is {}, not {want}", mask.ty.dtype);
        }
        let scores = [batch.clone(), a.heads.into(), sq.clone(), sk];
        if mask.ty.rank() > 4
            || broadcast(&scores, &mask.ty.shape, fresh)?.iter().zip(&scores).any(|(b, s)| !may_equal(b, s))
        {
            fail!("mask {} for scores [{}]", mask.ty, list(&scores));
        }
    }
    let shape = if a.merged { vec![batch, sq, &dv * &a.heads.into()] } else { vec![batch, a.heads.into(), sq, dv] };
    Ok(Type { dtype: q.dtype, shape })
}

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
    fn new(t: &'a Tensor, heads: usize) -> Evaluated<Self> {
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

fn attention(a: &Attention, q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Evaluated<Tensor> {
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
    checked_len(&scores_shape)?;
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
    let mut out = vec![0.0; checked_len(&shape)?];
    let group = a.heads / a.kv_heads;
    let mut scores = vec![0.0; k.seq];
    // The summand of the score of each key, -inf where it is not seen.
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
