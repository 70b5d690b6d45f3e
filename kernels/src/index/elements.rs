//! One element an index.

use super::super::axes::{Walk, merge_axes};
use super::super::dense::{self, DenseError, by_size};
use super::super::parallel;
use super::{Index, Indices, by_width, check, pieces, place};
use std::ops::Range;

/// Elements of a tensor along an axis, one for each index of a tensor of the same rank: prepared once for its shapes.
#[derive(Clone, Debug)]
pub struct Elements {
    /// Extents of the indices, axes that are walked as one merged.
    shape: Vec<usize>,
    /// Strides of the tensor for them; 0 along the axis.
    strides: Vec<isize>,
    /// Extent of the tensor along the axis, and its stride.
    extent: usize,
    step: usize,
    /// Elements of the tensor, and of the indices.
    len: usize,
    count: usize,
    /// First extents of the tensor and of the indices, where the first axis is not the one: slabs are apart from each other.
    slabs: Option<(usize, usize)>,
}

impl Elements {
    /// Of a tensor of shape `x`, for indices of a shape that does not reach beyond it along other axes than `axis`.
    ///
    /// # Errors
    /// There is no such axis, the shapes do not go together, or a tensor has more elements than addresses.
    pub fn new(x: &[usize], indices: &[usize], axis: usize) -> Result<Self, DenseError> {
        let &extent = x.get(axis).ok_or(DenseError::Axis { axis, rank: x.len() })?;
        let fits = x.iter().zip(indices).enumerate().all(|(i, (&d, &n))| i == axis || n <= d);
        if indices.len() != x.len() || !fits {
            return Err(dense::misfit("indices", indices, x));
        }
        let (len, count) = (dense::elements(x)?, dense::elements(indices)?);
        let own = dense::strides(x);
        let along = own.iter().enumerate().map(|(i, &s)| if i == axis { 0 } else { s as isize }).collect();
        let (shape, mut strides) = merge_axes(indices, &[along]);
        let slabs = (axis > 0).then(|| (x[0], indices[0]));
        Ok(Self { shape, strides: strides.swap_remove(0), extent, step: own[axis], len, count, slabs })
    }

    /// `out`, of the shape of the indices, is of each place of theirs the element of `x` that has the index instead along the
    /// axis. Elements are `elem_size` bytes. Many are cut for the threads of the current rayon pool.
    ///
    /// # Errors
    /// An index is out of range, or a slice has another length.
    pub fn gather(&self, elem_size: usize, x: &[u8], indices: Indices, out: &mut [u8]) -> Result<(), DenseError> {
        dense::element_size(elem_size)?;
        dense::bytes("x", x, self.len, elem_size)?;
        dense::length("indices", indices.len(), self.count)?;
        dense::bytes("out", out, self.count, elem_size)?;
        by_width!(indices, v => by_size!(elem_size, N => self.gathered::<N>(x.as_chunks().0, v, out.as_chunks_mut().0)))
    }

    fn gathered<const N: usize>(
        &self,
        x: &[[u8; N]],
        indices: &[impl Index],
        out: &mut [[u8; N]],
    ) -> Result<(), DenseError> {
        let (extent, step) = (self.extent, self.step);
        parallel::try_parts(out, 1, pieces(self.count, N), &|first, part| {
            self.each_row(first..first + part.len(), |base, s, row| {
                let to = &mut part[row.start - first..row.end - first];
                for (j, (to, &i)) in to.iter_mut().zip(&indices[row]).enumerate() {
                    *to = x[base + j * s + place(i, extent)? * step];
                }
                Ok(())
            })
        })
    }

    /// Calls `f` for rows of the indices, and parts of rows, that make up `range` of them: with the offset of the first in
    /// the tensor but for the axis, that from one to the next, and their numbers.
    #[inline(always)]
    fn each_row(
        &self,
        range: Range<usize>,
        mut f: impl FnMut(usize, usize, Range<usize>) -> Result<(), DenseError>,
    ) -> Result<(), DenseError> {
        if range.is_empty() {
            return Ok(());
        }
        let last = self.shape.len() - 1;
        let (cols, s) = (self.shape[last], self.strides[last] as usize);
        let mut walk = Walk::new(&self.shape[..last], [&self.strides[..last]], range.start / cols);
        let (mut at, mut col) = (range.start, range.start % cols);
        while at < range.end {
            let [base] = walk.step();
            let n = (cols - col).min(range.end - at);
            f(base as usize + col * s, s, at..at + n)?;
            (at, col) = (at + n, 0);
        }
        Ok(())
    }

    /// `out` is `x` with the elements replaced that the indices address as in [`gather`](Self::gather), by the `updates` of
    /// the same places; later ones win.
    ///
    /// # Errors
    /// As there.
    pub fn scatter(
        &self,
        elem_size: usize,
        x: &[u8],
        indices: Indices,
        updates: &[u8],
        out: &mut [u8],
    ) -> Result<(), DenseError> {
        dense::bytes("x", x, self.len, elem_size)?;
        dense::bytes("out", out, self.len, elem_size)?;
        parallel::copy(x, out);
        self.scatter_in_place(elem_size, indices, updates, out)
    }

    /// [`scatter`](Self::scatter) into what `x` holds itself.
    ///
    /// # Errors
    /// As there; some elements may be replaced then.
    pub fn scatter_in_place(
        &self,
        elem_size: usize,
        indices: Indices,
        updates: &[u8],
        x: &mut [u8],
    ) -> Result<(), DenseError> {
        dense::element_size(elem_size)?;
        dense::length("indices", indices.len(), self.count)?;
        dense::bytes("updates", updates, self.count, elem_size)?;
        dense::bytes("x", x, self.len, elem_size)?;
        by_width!(indices, v => {
            if x.is_empty() {
                return check(v, self.extent);
            }
            by_size!(elem_size, N => self.scattered::<N>(v, updates.as_chunks().0, x.as_chunks_mut().0))
        })
    }

    fn scattered<const N: usize>(
        &self,
        indices: &[impl Index],
        updates: &[[u8; N]],
        out: &mut [[u8; N]],
    ) -> Result<(), DenseError> {
        let pieces = pieces(self.count, N);
        match self.slabs {
            // A slab of the indices goes to a slab of the tensor.
            Some((all, some)) => {
                let (slab, each) = (self.len / all, self.count.checked_div(some).unwrap_or(0));
                parallel::try_parts(&mut out[..some * slab], slab, pieces, &|first, part| {
                    let rows = first * each..(first + part.len() / slab) * each;
                    self.updated(rows, indices, updates, (part, first * slab), 0..self.extent)
                })
            }
            // Each part sees all indices.
            None => {
                let pieces = pieces.min(rayon::current_num_threads()).min(SCANS);
                parallel::try_parts(out, self.step, pieces, &|first, part| {
                    let places = first..first + part.len() / self.step;
                    self.updated(0..self.count, indices, updates, (part, first * self.step), places)
                })
            }
        }
    }

    /// The updates of some indices whose places are among some, in a part of the tensor that starts at an offset.
    #[inline(always)]
    fn updated<const N: usize>(
        &self,
        rows: Range<usize>,
        indices: &[impl Index],
        updates: &[[u8; N]],
        (part, offset): (&mut [[u8; N]], usize),
        places: Range<usize>,
    ) -> Result<(), DenseError> {
        let (extent, step) = (self.extent, self.step);
        self.each_row(rows, |base, s, row| {
            for (j, (&i, update)) in indices[row.clone()].iter().zip(&updates[row]).enumerate() {
                let at = place(i, extent)?;
                if places.contains(&at) {
                    part[base + j * s + at * step - offset] = *update;
                }
            }
            Ok(())
        })
    }
}

/// Threads that go through all indices at the most, each for its part of the result: that is memory to read for each.
pub(super) const SCANS: usize = 4;
