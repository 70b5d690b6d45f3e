//! Products of rows with packed weights: `x [rows, depth] . w [depth, width] + bias`, f32 in and out.
//!
//! Weights are packed into panels as wide as the register tile, so that a tile reads its panel from front to back. A group
//! of rows stays in the second-level cache while all panels pass; while one is multiplied the next is fetched, for a panel
//! is read only a few times and would else be waited for.
//!
//! `float.rs` multiplies in f32, or bf16: [`Packed`]. `int8.rs` in i8, of which weights have a scale for each column and rows one
//! each: [`PackedInt8`].

mod float;
mod int8;
#[cfg(test)]
mod tests;

pub use float::{Float, Packed};
pub use int8::PackedInt8;

use super::parallel;
use std::ops::Range;

/// Operands that do not fit together, or are too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinearError {
    /// A slice of another length.
    #[error("{name}: {got} elements where {want} are needed")]
    Length {
        /// Which.
        name: &'static str,
        /// Its length.
        got: usize,
        /// The length it needs.
        want: usize,
    },
    /// More elements than there are addresses.
    #[error("weights of {depth} x {width} are too large")]
    TooLarge {
        /// Rows of the weights.
        depth: usize,
        /// Columns.
        width: usize,
    },
}

fn length(name: &'static str, got: usize, want: Option<usize>) -> Result<(), LinearError> {
    match want {
        Some(want) if got == want => Ok(()),
        _ => Err(LinearError::Length { name, got, want: want.unwrap_or(usize::MAX) }),
    }
}

/// What a product is made of, seen to fit.
#[derive(Clone, Copy)]
struct Operands<'a> {
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    out: *mut f32,
    rows: usize,
    /// From one row of `x` to the next.
    apart: usize,
}

// SAFETY: `out` is a slice that lives while the threads run; pieces write elements of their own.
unsafe impl Sync for Operands<'_> {}

impl<'a> Operands<'a> {
    /// `out` decides the number of rows; those of `x` start `apart` from each other.
    fn new(
        (x, apart): (&'a [f32], usize),
        bias: Option<&'a [f32]>,
        out: &mut [f32],
        [depth, width]: [usize; 2],
    ) -> Result<Self, LinearError> {
        let rows = out.len().checked_div(width).unwrap_or(0);
        length("out", out.len(), rows.checked_mul(width))?;
        if width > 0 {
            let last = rows.checked_sub(1).map_or(Some(0), |n| n.checked_mul(apart)?.checked_add(depth));
            length("x", x.len(), last)?;
        }
        if let Some(bias) = bias {
            length("bias", bias.len(), Some(width))?;
        }
        Ok(Self { x, bias, out: out.as_mut_ptr(), rows, apart })
    }

    /// The bias from a column on; null if there is none.
    ///
    /// # Safety
    /// There is such a column.
    unsafe fn bias(&self, column: usize) -> *const f32 {
        // SAFETY: the caller's promise.
        self.bias.map_or(std::ptr::null(), |b| unsafe { b.as_ptr().add(column) })
    }
}

/// A product as pieces: a group of rows by a panel each, all panels of the first group and then those of the next.
#[derive(Clone, Copy)]
struct Cut {
    rows: usize,
    groups: usize,
    panels: usize,
}

impl Cut {
    /// Groups of at most `most` rows, as even as can be.
    fn new(rows: usize, most: usize, panels: usize) -> Self {
        Self { rows, groups: rows.div_ceil(most.max(1)), panels }
    }

    /// Runs `f` on ranges of pieces, by several threads if there are enough multiply-adds of vectors.
    fn run(self, work: usize, f: &(impl Fn(usize, usize) + Sync)) {
        let all = self.groups * self.panels;
        if all > 0 {
            parallel::split(0, all, parallel::pieces(work).min(all), f);
        }
    }

    /// Pieces `start` to `end` as rows of a group and panels for them.
    #[inline(always)]
    fn groups(self, start: usize, end: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let mut at = start;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let group = at / self.panels;
            let [from, to] = [group, group + 1].map(|g| self.rows * g / self.groups);
            let first = at % self.panels;
            let until = ((group + 1) * self.panels).min(end);
            let panels = first..first + (until - at);
            at = until;
            Some((from..to, panels))
        })
    }
}
