//! Slices addressed by several leading axes.

use super::super::dense::{self, DenseError};
use super::super::parallel;
use super::elements::SCANS;
use super::run::{Run, by_run};
use super::{Index, Indices, by_width, pieces, place};

/// Slices of a tensor that rows of indices address along its first axes: prepared once for its shapes.
#[derive(Clone, Debug)]
pub struct Slices {
    /// Extents that a row of indices addresses, and their strides in slices.
    addressed: Vec<(usize, usize)>,
    /// Rows of indices.
    rows: usize,
    /// Rows of a batch entry, and slices of one.
    rows_each: usize,
    slices_each: usize,
    /// Slices of the tensor, and elements of one.
    slices: usize,
    length: usize,
}

impl Slices {
    /// Of a tensor of shape `x`, for indices `[.., n]` whose rows address the `n` axes behind the first `batch_dims`; those
    /// the indices have, too.
    ///
    /// # Errors
    /// The shapes do not go together, or a tensor has more elements than addresses.
    pub fn new(x: &[usize], indices: &[usize], batch_dims: usize) -> Result<Self, DenseError> {
        let misfit = || dense::misfit("indices", indices, x);
        let (&n, rows) = indices.split_last().ok_or_else(misfit)?;
        let end = batch_dims.checked_add(n).filter(|&end| end <= x.len()).ok_or_else(misfit)?;
        if batch_dims > rows.len() || x[..batch_dims] != rows[..batch_dims] {
            return Err(misfit());
        }
        dense::elements(x)?;
        dense::elements(indices)?;
        // Rows of no indices are rows, too.
        dense::elements(rows)?;
        let extents = &x[batch_dims..end];
        Ok(Self {
            addressed: extents.iter().copied().zip(dense::strides(extents)).collect(),
            rows: rows.iter().product(),
            rows_each: rows[batch_dims..].iter().product(),
            slices_each: extents.iter().product(),
            slices: x[..end].iter().product(),
            length: x[end..].iter().product(),
        })
    }

    /// The number of the slice that a row of indices addresses.
    #[inline(always)]
    fn slice(&self, row: usize, indices: &[impl Index]) -> Result<usize, DenseError> {
        let n = self.addressed.len();
        let mut at = if self.rows_each == self.rows { 0 } else { row / self.rows_each * self.slices_each };
        for (&i, &(extent, stride)) in indices[row * n..][..n].iter().zip(&self.addressed) {
            at += place(i, extent)? * stride;
        }
        Ok(at)
    }

    fn check(&self, indices: Indices) -> Result<(), DenseError> {
        dense::length("indices", indices.len(), self.rows * self.addressed.len())?;
        if self.length == 0 || self.slices == 0 {
            return by_width!(indices, v => (0..self.rows).try_for_each(|row| self.slice(row, v).map(|_| ())));
        }
        Ok(())
    }

    /// Elements of the slices of all rows of indices.
    fn moved(&self) -> usize {
        self.rows.saturating_mul(self.length)
    }

    /// `out` is the slices of the rows of indices, one behind the other. Elements are `elem_size` bytes. Many are cut for the
    /// threads of the current rayon pool.
    ///
    /// # Errors
    /// An index is out of range, or a slice has another length.
    pub fn gather(&self, elem_size: usize, x: &[u8], indices: Indices, out: &mut [u8]) -> Result<(), DenseError> {
        dense::element_size(elem_size)?;
        dense::bytes("x", x, self.slices * self.length, elem_size)?;
        dense::bytes("out", out, self.moved(), elem_size)?;
        self.check(indices)?;
        let bytes = self.length * elem_size;
        by_width!(indices, v => by_run!(bytes, run => self.gathered(run, bytes, x, v, out)))
    }

    fn gathered(
        &self,
        run: impl Run,
        bytes: usize,
        x: &[u8],
        indices: &[impl Index],
        out: &mut [u8],
    ) -> Result<(), DenseError> {
        parallel::try_parts(out, bytes, pieces(self.rows, bytes), &|first, part| {
            for (row, to) in (first..).zip(part.chunks_exact_mut(bytes)) {
                let from = self.slice(row, indices)?;
                run.copy(&x[from * bytes..][..bytes], to);
            }
            Ok(())
        })
    }

    /// `out` is `x` with the slices that the rows of indices address replaced by `updates`, one behind the other; later ones
    /// win.
    ///
    /// # Errors
    /// As for [`gather`](Self::gather).
    pub fn scatter(
        &self,
        elem_size: usize,
        x: &[u8],
        indices: Indices,
        updates: &[u8],
        out: &mut [u8],
    ) -> Result<(), DenseError> {
        dense::bytes("x", x, self.slices * self.length, elem_size)?;
        dense::bytes("out", out, self.slices * self.length, elem_size)?;
        parallel::copy(x, out);
        self.scatter_in_place(elem_size, indices, updates, out)
    }

    /// [`scatter`](Self::scatter) into what `x` holds itself.
    ///
    /// # Errors
    /// As there; some slices may be replaced then.
    pub fn scatter_in_place(
        &self,
        elem_size: usize,
        indices: Indices,
        updates: &[u8],
        x: &mut [u8],
    ) -> Result<(), DenseError> {
        dense::element_size(elem_size)?;
        dense::bytes("updates", updates, self.moved(), elem_size)?;
        dense::bytes("x", x, self.slices * self.length, elem_size)?;
        self.check(indices)?;
        let bytes = self.length * elem_size;
        by_width!(indices, v => by_run!(bytes, run => self.scattered(run, bytes, v, updates, x)))
    }

    /// Each part sees all indices.
    fn scattered(
        &self,
        run: impl Run,
        bytes: usize,
        indices: &[impl Index],
        updates: &[u8],
        out: &mut [u8],
    ) -> Result<(), DenseError> {
        let pieces = pieces(self.rows, bytes).min(rayon::current_num_threads()).min(SCANS);
        parallel::try_parts(out, bytes, pieces, &|first, part| {
            let slices = first..first + part.len() / bytes;
            for (row, from) in updates.chunks_exact(bytes).enumerate() {
                let at = self.slice(row, indices)?;
                if slices.contains(&at) {
                    run.copy(from, &mut part[(at - first) * bytes..][..bytes]);
                }
            }
            Ok(())
        })
    }
}
