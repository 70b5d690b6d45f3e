//! Elements put elsewhere: filled, joined, repeated, padded, cut to a triangle or along axes.
//!
//! Elements are bytes of a size. Whatever lies contiguously is copied at once. Large results are cut for the threads of the
//! current rayon pool.

mod cut;
mod pad;
#[cfg(test)]
mod tests;
mod tile;

pub use cut::{Bounds, Cut};
pub use pad::Pad;
pub use tile::Tile;

use super::dense::{self, DenseError, by_size};
use super::parallel;

/// Fills `out` with copies of one element, of 1, 2, 4 or 8 bytes.
///
/// # Errors
/// There is no such size, or `out` is not a multiple of it.
pub fn fill(value: &[u8], out: &mut [u8]) -> Result<(), DenseError> {
    let size = value.len();
    dense::element_size(size)?;
    dense::bytes("out", out, out.len() / size, size)?;
    by_size!(size, N => {
        if let Some(value) = value.first_chunk::<N>() {
            let pieces = parallel::pieces_of_bytes(out.len());
            parallel::parts(out.as_chunks_mut().0, 1, pieces, &|_, part: &mut [[u8; N]]| part.fill(*value));
        }
        Ok(())
    })
}

/// Joins tensors: each of `outer` blocks of `out` is a block of each of `parts`, one behind the other. Lengths are in bytes.
///
/// # Errors
/// A part is not so many blocks, or `out` is not as long as all of them.
pub fn concat(outer: usize, parts: &[&[u8]], out: &mut [u8]) -> Result<(), DenseError> {
    let mut row = 0;
    for part in parts {
        let block = part.len().checked_div(outer).unwrap_or(0);
        dense::length("part", part.len(), block * outer)?;
        row += block;
    }
    dense::length("out", out.len(), row * outer)?;
    let all = |first: usize, some: &mut [u8]| {
        for (block, mut to) in (first..).zip(some.chunks_exact_mut(row)) {
            for part in parts {
                let n = part.len() / outer;
                let (head, tail) = to.split_at_mut(n);
                parallel::copy(&part[block * n..][..n], head);
                to = tail;
            }
        }
    };
    let pieces = parallel::pieces_of_bytes(out.len());
    // Few blocks are cut themselves.
    parallel::parts(out, row, if outer < pieces { 1 } else { pieces }, &all);
    Ok(())
}

/// The upper or lower triangle of matrices `[rows, columns]`, one behind the other, of elements of `elem_size` bytes, which
/// are 0 elsewhere: `upper` are those in column `row + diagonal` and behind it, else those in it and before.
///
/// # Errors
/// A slice has another length.
pub fn triangle(
    upper: bool,
    diagonal: i64,
    [rows, columns]: [usize; 2],
    elem_size: usize,
    x: &[u8],
    out: &mut [u8],
) -> Result<(), DenseError> {
    dense::element_size(elem_size)?;
    dense::elements(&[rows, columns])?;
    let matrix = rows * columns * elem_size;
    let matrices = out.len().checked_div(matrix).unwrap_or(0);
    dense::length("out", out.len(), matrices * matrix)?;
    dense::length("x", x.len(), out.len())?;
    let bytes = columns * elem_size;
    parallel::parts(out, bytes, parallel::pieces_of_bytes(x.len()), &|first, part| {
        for (row, to) in (first..).zip(part.chunks_exact_mut(bytes)) {
            // Entries that come before the cut: those below the diagonal, or those up to it.
            let before = (row % rows) as i128 + i128::from(diagonal) + i128::from(!upper);
            let cut = before.clamp(0, columns as i128) as usize * elem_size;
            let from = &x[row * bytes..][..bytes];
            let (a, b) = to.split_at_mut(cut);
            if upper {
                a.fill(0);
                b.copy_from_slice(&from[cut..]);
            } else {
                a.copy_from_slice(&from[..cut]);
                b.fill(0);
            }
        }
    });
    Ok(())
}
