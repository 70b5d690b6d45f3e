//! Elements addressed by indices: gathering, scattering, one-hot, the places of what is not zero.
//!
//! Elements are bytes of a size, for they are only moved. An index below 0 counts from the end of its axis. Where an index
//! is out of range the error names it, and the result holds anything. Of updates of one place the last wins, whatever the
//! number of threads: each has a part of the result for itself, for which it goes through the updates in order.

mod elements;
mod mark;
mod run;
mod slices;
#[cfg(test)]
mod tests;

pub use elements::Elements;
pub use mark::{non_zero, one_hot};
pub use slices::Slices;

use super::dense::{self, DenseError, Lanes};
use super::{Isa, blocks, parallel};
use bgz_passes::ir::BlockRows;
use run::{Run, by_run};

/// Indices of i32 or i64.
#[derive(Clone, Copy, Debug)]
pub enum Indices<'a> {
    /// Of 4 bytes.
    I32(&'a [i32]),
    /// Of 8 bytes.
    I64(&'a [i64]),
}

impl Indices<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Indices::I32(v) => v.len(),
            Indices::I64(v) => v.len(),
        }
    }

    /// True if there are no indices.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An integer that is an index.
trait Index: Copy + Sync + Into<i64> {}

impl Index for i32 {}
impl Index for i64 {}

/// `$body` with `$v` a slice of the one type or the other.
macro_rules! by_width {
    ($indices:expr, $v:ident => $body:expr) => {
        match $indices {
            Indices::I32($v) => $body,
            Indices::I64($v) => $body,
        }
    };
}
use by_width;

/// The place of an index along an axis.
#[inline(always)]
fn place(index: impl Index, extent: usize) -> Result<usize, DenseError> {
    let index: i64 = index.into();
    let at = if index < 0 { index.wrapping_add(extent as i64) } else { index } as u64;
    if at < extent as u64 { Ok(at as usize) } else { Err(beyond(index, extent)) }
}

#[cold]
fn beyond(index: i64, extent: usize) -> DenseError {
    DenseError::Index { index, extent }
}

/// That all indices are in range: where there is nothing to move they still have to be.
fn check(indices: &[impl Index], extent: usize) -> Result<(), DenseError> {
    indices.iter().try_for_each(|&i| place(i, extent).map(|_| ()))
}

/// Slices of `x`, `[outer, count, inner]` in elements of `elem_size` bytes, along the middle axis: `out` is `[outer, indices,
/// inner]`. Large ones are cut for the threads of the current rayon pool.
///
/// # Errors
/// An index is out of range, or a slice has another length.
pub fn gather(lanes: Lanes, elem_size: usize, x: &[u8], indices: Indices, out: &mut [u8]) -> Result<(), DenseError> {
    dense::element_size(elem_size)?;
    let Lanes { outer, count, inner } = lanes;
    dense::bytes("x", x, lanes.elements(), elem_size)?;
    dense::bytes("out", out, outer.saturating_mul(indices.len()).saturating_mul(inner), elem_size)?;
    let bytes = inner * elem_size;
    by_width!(indices, v => {
        if out.is_empty() {
            return check(v, count);
        }
        by_run!(bytes, run => along(run, (count, bytes), x, v, out))
    })
}

/// Rows of numbers in blocks, each as f32: `out` is `[indices, row_len]`. Many are cut for the threads of the current rayon pool.
///
/// # Errors
/// An index is out of range, or `out` has another length.
pub fn gather_rows(rows: &BlockRows, indices: Indices, out: &mut [f32]) -> Result<(), DenseError> {
    let (isa, len, extent) = (Isa::current(), rows.row_len(), rows.rows());
    let want = indices.len().saturating_mul(len);
    if out.len() != want {
        return Err(DenseError::Length { name: "out", got: out.len(), want });
    }
    by_width!(indices, v => {
        if out.is_empty() {
            return check(v, extent);
        }
        let pieces = pieces(v.len(), size_of::<f32>() * len);
        parallel::try_parts(out, len, pieces, &|first, part| {
            part.chunks_exact_mut(len).zip(&v[first..]).try_for_each(|(to, &index)| {
                blocks::unpack_row(isa, rows, place(index, extent)?, to);
                Ok(())
            })
        })
    })
}

/// [`gather`] of runs of some bytes, along an axis of an extent.
fn along(
    run: impl Run,
    (extent, bytes): (usize, usize),
    x: &[u8],
    indices: &[impl Index],
    out: &mut [u8],
) -> Result<(), DenseError> {
    let n = indices.len();
    let pieces = pieces(out.len() / bytes, bytes);
    parallel::try_parts(out, bytes, pieces, &|first, part| {
        let (mut block, mut at) = (first / n, first % n);
        for to in part.chunks_exact_mut(bytes) {
            let from = block * extent + place(indices[at], extent)?;
            run.copy(&x[from * bytes..][..bytes], to);
            at += 1;
            if at == n {
                (block, at) = (block + 1, 0);
            }
        }
        Ok(())
    })
}

/// Pieces of work that moves so many runs from anywhere: for each of them memory is waited for.
fn pieces(runs: usize, bytes: usize) -> usize {
    parallel::pieces(runs.saturating_mul(bytes / 16 + 2))
}
