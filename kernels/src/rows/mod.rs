//! Functions of whole rows: f32, rows of `cols` contiguous numbers one after
//! the other. Lengths that do not fit are an error, never a panic; no rows and
//! rows of no columns are fine. Large inputs are cut by rows for the current
//! rayon pool; every row gives the same bits whatever the cut.

mod norm;
mod reduce;
mod softmax;
#[cfg(test)]
mod tests;

pub use norm::{layer_norm, rms_norm};
pub use reduce::{Reduction, reduce, reduce_columns};
pub(super) use softmax::{exp_row, max_row};
pub use softmax::{log_softmax, log_softmax_in_place, softmax, softmax_in_place};

use super::simd::{Kernel, Simd};
use super::{Isa, parallel, simd};

/// Slices that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {got} elements where rows of {cols} need {want}")]
pub struct RowError {
    /// Which slice.
    pub name: &'static str,
    /// Its length.
    pub got: usize,
    /// The length it needs.
    pub want: usize,
    /// Columns of a row.
    pub cols: usize,
}

/// `got == want`, or the error that says so.
fn check(name: &'static str, got: usize, want: usize, cols: usize) -> Result<(), RowError> {
    if got == want { Ok(()) } else { Err(RowError { name, got, want, cols }) }
}

/// Number of rows of a slice of `len`.
fn rows_of(name: &'static str, len: usize, cols: usize) -> Result<usize, RowError> {
    let rows = len.checked_div(cols).unwrap_or(0);
    check(name, len, rows * cols, cols)?;
    Ok(rows)
}

/// A function of one row.
trait RowFn: Copy + Sync {
    /// Row number `row`; implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// The row is one of those whose slices were checked.
    unsafe fn row<S: Simd>(self, s: S, row: usize);
}

struct Rows<F> {
    f: F,
    start: usize,
    end: usize,
}

impl<F: RowFn> Kernel for Rows<F> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.start..self.end {
            // SAFETY: `each_row` is given checked rows only, and this range is part of them.
            unsafe { self.f.row(s, row) }
        }
    }
}

/// Runs `f` on rows `0..rows` of `cols` elements.
///
/// # Safety
/// The pointers in `f` are valid for all those rows, and rows do not share
/// anything that is written.
unsafe fn each_row<F: RowFn>(isa: Isa, rows: usize, cols: usize, cost: usize, f: F) {
    let pieces = parallel::pieces((rows.saturating_mul(cols) / 16).saturating_mul(cost));
    parallel::split(0, rows, pieces, &|start, end| simd::run(isa, Rows { f, start, end }));
}

/// Input and output of row functions.
#[derive(Clone, Copy)]
struct Ends {
    x: *const f32,
    out: *mut f32,
    cols: usize,
}

// SAFETY: made of slices that live while the threads run; each row is touched by one thread.
unsafe impl Sync for Ends {}

impl Ends {
    /// # Safety
    /// `row` is one of the rows the slices have.
    #[inline(always)]
    unsafe fn at(self, row: usize) -> (*const f32, *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { (self.x.add(row * self.cols), self.out.add(row * self.cols)) }
    }
}
