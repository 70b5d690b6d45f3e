//! Masks on rows of scores.

use super::{Attention, Mask, Operands};
use crate::simd::Simd;

/// One row of scores: a query and a run of keys.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub batch: usize,
    pub head: usize,
    pub query: usize,
    /// The first of the keys.
    pub key: usize,
    /// How many.
    pub n: usize,
}

impl Row {
    /// The mask's element, in elements of it, for the first of the keys.
    #[inline(always)]
    fn at(self, strides: [isize; 4]) -> isize {
        let [b, h, i, j] = [self.batch, self.head, self.query, self.key].map(|n| n as isize);
        b * strides[0] + h * strides[1] + i * strides[2] + j * strides[3]
    }
}

/// The scaled and masked score of the first key of a row, of the unscaled one.
///
/// # Safety
/// The mask is as [`Attention::run`] promises.
#[inline(always)]
pub(super) unsafe fn masked_one(a: &Attention, m: Operands, row: Row, score: f32) -> f32 {
    let y = score * a.scale;
    // SAFETY: the caller's promise.
    unsafe {
        match a.mask {
            Mask::None => y,
            Mask::Additive { strides } => y + m.mask.cast::<f32>().offset(row.at(strides)).read_unaligned(),
            Mask::Bool { strides, hides, fill } => {
                if (*m.mask.offset(row.at(strides)) != 0) == hides {
                    fill
                } else {
                    y
                }
            }
        }
    }
}

/// True if a query sees no key, the row being of all keys up to the last that it may see.
///
/// # Safety
/// The mask is as [`Attention::run`] promises.
#[inline(always)]
pub(super) unsafe fn is_hidden(a: &Attention, m: Operands, row: Row) -> bool {
    (0..row.n).all(|key| {
        let row = Row { key, ..row };
        // SAFETY: the caller's promise.
        unsafe {
            match a.mask {
                Mask::None => false,
                Mask::Additive { strides } => {
                    m.mask.cast::<f32>().offset(row.at(strides)).read_unaligned() == f32::NEG_INFINITY
                }
                Mask::Bool { strides, hides, fill } => {
                    fill == f32::NEG_INFINITY && (*m.mask.offset(row.at(strides)) != 0) == hides
                }
            }
        }
    })
}

/// Applies the mask to a row of scores and returns the scale that is still due.
///
/// # Safety
/// The row has n scores; the mask is as [`Attention::run`] promises.
#[inline(always)]
pub(super) unsafe fn masked<S: Simd>(s: S, a: &Attention, m: Operands, row: Row, scores: *mut f32) -> S::F {
    let n = row.n;
    match a.mask {
        Mask::None => return s.splat(a.scale),
        Mask::Additive { strides } => {
            // SAFETY: the caller's promise.
            unsafe {
                let mask = m.mask.cast::<f32>().offset(row.at(strides));
                if strides[3] == 1 {
                    let scale = s.splat(a.scale);
                    let mut j = 0;
                    while j < n {
                        let x = s.load_upto(scores.add(j), n - j);
                        let y = s.mul_add(x, scale, s.load_upto(mask.add(j), n - j));
                        s.store_upto(scores.add(j), y, n - j);
                        j += S::LANES;
                    }
                } else {
                    for j in 0..n {
                        let y = s.mul_add(
                            s.splat(*scores.add(j)),
                            s.splat(a.scale),
                            s.splat(mask.offset(strides[3] * j as isize).read_unaligned()),
                        );
                        s.store_partial(scores.add(j), y, 1);
                    }
                }
            }
        }
        Mask::Bool { strides, hides, fill } => {
            // SAFETY: the caller's promise.
            unsafe {
                let mask = m.mask.offset(row.at(strides));
                for j in 0..n {
                    let hidden = (*mask.offset(strides[3] * j as isize) != 0) == hides;
                    let y = *scores.add(j) * a.scale;
                    *scores.add(j) = if hidden { fill } else { y };
                }
            }
        }
    }
    s.splat(1.0)
}
