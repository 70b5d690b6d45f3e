//! Tensors repeated along axes.

use super::super::dense::{self, DenseError};
use super::super::parallel;

/// A repetition along axes, prepared once for its shape.
#[derive(Clone, Debug)]
pub struct Tile {
    /// Extents and repetitions; an axis that is not repeated is one with that before.
    axes: Vec<(usize, usize)>,
    shape: Vec<usize>,
    len: usize,
}

impl Tile {
    /// Of a tensor of a shape, so often along each axis.
    ///
    /// # Errors
    /// There is not a number for each axis, or the result has more elements than addresses.
    pub fn new(shape: &[usize], repeats: &[usize]) -> Result<Self, DenseError> {
        if repeats.len() != shape.len() {
            return Err(dense::misfit("repeats", repeats, shape));
        }
        let len = dense::elements(shape)?;
        let too_large = || DenseError::TooLarge([shape, repeats].concat());
        let out: Option<Vec<usize>> = shape.iter().zip(repeats).map(|(d, r)| d.checked_mul(*r)).collect();
        let out = out.ok_or_else(too_large)?;
        dense::elements(&out).map_err(|_| too_large())?;
        let mut axes: Vec<(usize, usize)> = Vec::new();
        for (&n, &r) in shape.iter().zip(repeats) {
            match axes.last_mut() {
                Some(last) if r == 1 => last.0 *= n,
                // A single entry that is repeated is one more repetition of what lies behind it.
                Some(last) if last.0 == 1 && n == 1 => last.1 *= r,
                _ => axes.push((n, r)),
            }
        }
        Ok(Self { axes, shape: out, len })
    }

    /// The shape of the result.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Writes `x` so often to `out`. Elements are `elem_size` bytes.
    ///
    /// # Errors
    /// A slice has another length.
    pub fn run(&self, elem_size: usize, x: &[u8], out: &mut [u8]) -> Result<(), DenseError> {
        dense::bytes("x", x, self.len, elem_size)?;
        dense::bytes("out", out, self.shape.iter().product(), elem_size)?;
        if !out.is_empty() {
            tile(&self.axes, x, out);
        }
        Ok(())
    }
}

/// Along the first axis once, each entry along the others; the rest are copies of that.
fn tile(axes: &[(usize, usize)], x: &[u8], out: &mut [u8]) {
    let Some((&(n, r), others)) = axes.split_first() else { return parallel::copy(x, out) };
    let (first, rest) = out.split_at_mut(out.len() / r);
    if others.is_empty() {
        parallel::copy(x, first);
    } else {
        let (from, to) = (x.len() / n, first.len() / n);
        let pieces = parallel::pieces_of_bytes(first.len());
        parallel::parts(first, to, pieces, &|start, part| {
            for (i, part) in (start..).zip(part.chunks_exact_mut(to)) {
                tile(others, &x[i * from..][..from], part);
            }
        });
    }
    let first = &*first;
    let pieces = parallel::pieces_of_bytes(rest.len());
    parallel::parts(rest, first.len(), pieces, &|_, part| doubled(first, part));
}

/// Copies of `block`, of which those that are there are copied again.
fn doubled(block: &[u8], out: &mut [u8]) {
    out[..block.len()].copy_from_slice(block);
    let mut done = block.len();
    while done < out.len() {
        let n = done.min(out.len() - done);
        out.copy_within(..n, done);
        done += n;
    }
}
