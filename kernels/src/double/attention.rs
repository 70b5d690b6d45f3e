//! Attention by its definition, a row of scores at a time.

use super::super::dense::{self, DenseError, filled};
use super::super::parallel;
use super::softmax_lane;
use bgz_passes::ir::{self, MaskKind};

/// An attention of f64, prepared once for its shapes.
#[derive(Clone, Debug)]
pub struct Attention {
    op: ir::Attention,
    batch: usize,
    q: Heads,
    k: Heads,
    v: Heads,
    /// Strides of the mask along `[batch, heads, queries, keys]`, and its elements.
    mask: ([usize; 4], usize),
    shape: Vec<usize>,
}

/// The elements of a mask.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// There is none.
    None,
    /// Added to the scaled scores.
    Additive(&'a [f64]),
    /// Bools, a byte each.
    Bool(&'a [u8]),
}

/// Queries, keys or values, as `[batch, heads, seq, width]`.
#[derive(Clone, Copy, Debug)]
struct Heads {
    len: usize,
    batch: usize,
    seq: usize,
    width: usize,
    /// From one batch, head, position to the next; a batch of 1 broadcasts.
    strides: [usize; 3],
}

impl Heads {
    fn new(name: &'static str, shape: &[usize], heads: usize) -> Result<Self, DenseError> {
        let len = dense::elements(shape)?;
        let (batch, seq, width, [b, h, s]) = match *shape {
            [b, s, w] if heads > 0 && w % heads == 0 => (b, s, w / heads, [s * w, w / heads, w]),
            [b, h, s, w] if h == heads => (b, s, w, [h * s * w, s * w, w]),
            _ => return Err(dense::misfit(name, &[heads], shape)),
        };
        Ok(Self { len, batch, seq, width, strides: [if batch == 1 { 0 } else { b }, h, s] })
    }

    fn row<'a>(&self, data: &'a [f64], batch: usize, head: usize, position: usize) -> &'a [f64] {
        &data[batch * self.strides[0] + head * self.strides[1] + position * self.strides[2]..][..self.width]
    }
}

impl Attention {
    /// Of operands of these shapes, those of q, k and v split or merged, and that of a mask where the op has one. How scores
    /// are computed is not looked at: they are exact.
    ///
    /// # Errors
    /// The shapes do not go together, or there are more elements than addresses.
    pub fn new(op: &ir::Attention, [q, k, v]: [&[usize]; 3], mask: Option<&[usize]>) -> Result<Self, DenseError> {
        if op.kv_heads == 0 || !op.heads.is_multiple_of(op.kv_heads) {
            return Err(dense::misfit("heads", &[op.heads, op.kv_heads], q));
        }
        let keys = k;
        let heads = [Heads::new("q", q, op.heads)?, Heads::new("k", k, op.kv_heads)?, Heads::new("v", v, op.kv_heads)?];
        let [q, k, v] = heads;
        let batch = heads.iter().map(|h| h.batch).find(|&b| b != 1).unwrap_or(1);
        if k.seq != v.seq || q.width != k.width || heads.iter().any(|h| h.batch != 1 && h.batch != batch) {
            return Err(dense::misfit("k", keys, &[batch, op.heads, q.seq, q.width]));
        }
        let scores = [batch, op.heads, q.seq, k.seq];
        dense::elements(&scores)?;
        let mut strides = ([0; 4], 0);
        match (mask, op.mask) {
            (None, MaskKind::None) => {}
            (Some(mask), kind) if kind != MaskKind::None => {
                strides.1 = dense::elements(mask)?;
                let misfit = || dense::misfit("mask", mask, &scores);
                let lead = 4usize.checked_sub(mask.len()).ok_or_else(misfit)?;
                for (axis, (&d, stride)) in mask.iter().zip(dense::strides(mask)).enumerate() {
                    if d != 1 && d != scores[lead + axis] {
                        return Err(misfit());
                    }
                    strides.0[lead + axis] = if d == 1 { 0 } else { stride };
                }
            }
            _ => return Err(dense::misfit("mask", mask.unwrap_or_default(), &scores)),
        }
        let shape = if op.merged {
            vec![batch, q.seq, op.heads.saturating_mul(v.width)]
        } else {
            vec![batch, op.heads, q.seq, v.width]
        };
        dense::elements(&shape)?;
        Ok(Self { op: op.clone(), batch, q, k, v, mask: strides, shape })
    }

    /// The shape of the result.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Writes the attention to `out`. Queries are cut for the threads of the current rayon pool.
    ///
    /// # Errors
    /// A slice has another length, the mask is not of the kind of the op, or memory for a row of scores a thread does not
    /// suffice.
    pub fn run(&self, [q, k, v]: [&[f64]; 3], mask: Mask, out: &mut [f64]) -> Result<(), DenseError> {
        dense::length("q", q.len(), self.q.len)?;
        dense::length("k", k.len(), self.k.len)?;
        dense::length("v", v.len(), self.v.len)?;
        let given = match (mask, self.op.mask) {
            (Mask::None, MaskKind::None) => 0,
            (Mask::Additive(m), MaskKind::Additive) => m.len(),
            (Mask::Bool(m), MaskKind::Keep { .. } | MaskKind::Drop { .. }) => m.len(),
            _ => return Err(DenseError::Length { name: "mask of its kind", got: 0, want: self.mask.1 }),
        };
        dense::length("mask", given, self.mask.1)?;
        dense::length("out", out.len(), self.shape.iter().product())?;
        let (heads, queries, width) = (self.op.heads, self.q.seq, self.v.width);
        let rows = self.batch * heads * queries;
        let work = rows.saturating_mul(self.k.seq).saturating_mul(self.q.width + width + 10) / 8;
        parallel::try_parts(out, width, parallel::pieces(work), &|first, part| {
            let mut scores = filled(0.0, self.k.seq)?;
            for (row, out) in (first..).zip(part.chunks_exact_mut(width)) {
                let (b, h, i) = if self.op.merged {
                    (row / heads / queries, row % heads, row / heads % queries)
                } else {
                    (row / queries / heads, row / queries % heads, row % queries)
                };
                self.query([q, k, v], mask, [b, h, i], &mut scores, out);
            }
            Ok(())
        })
    }

    fn query(&self, [q, k, v]: [&[f64]; 3], mask: Mask, [b, h, i]: [usize; 3], scores: &mut [f64], out: &mut [f64]) {
        let head = h / (self.op.heads / self.op.kv_heads);
        let query = self.q.row(q, b, h, i);
        let [mb, mh, mi, mj] = self.mask.0;
        let at = b * mb + h * mh + i * mi;
        // True if some score, and some key whatever its score, is not hidden.
        let (mut seen, mut open) = (false, false);
        for (j, score) in scores.iter_mut().enumerate() {
            let mut bias = 0.0;
            *score = dot(query, self.k.row(k, b, head, j)) * f64::from(self.op.scale.0);
            match (mask, self.op.mask) {
                (Mask::Additive(m), _) => {
                    bias = m[at + j * mj];
                    *score += bias;
                }
                (Mask::Bool(m), MaskKind::Keep { fill }) if m[at + j * mj] == 0 => *score = fill.0.into(),
                (Mask::Bool(m), MaskKind::Drop { fill }) if m[at + j * mj] != 0 => *score = fill.0.into(),
                _ => {}
            }
            // j > i + seq_k - seq_q, without going below zero.
            if self.op.causal && j + self.q.seq > i + self.k.seq {
                (*score, bias) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
            }
            seen |= *score != f64::NEG_INFINITY;
            open |= bias != f64::NEG_INFINITY;
        }
        out.fill(0.0);
        if self.op.zero_hidden && !(seen && open) {
            return;
        }
        softmax_lane(scores);
        for (j, &p) in scores.iter().enumerate() {
            for (out, x) in out.iter_mut().zip(self.v.row(v, b, head, j)) {
                *out += p * x;
            }
        }
    }
}

/// The sum of products, by eight at a time.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a * b;
    }
    sums.into_iter().sum()
}
