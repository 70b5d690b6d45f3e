//! Indices as marks in a tensor, and marks as indices.

use super::super::dense::{self, DenseError, Lanes};
use super::super::movement::fill;
use super::super::parallel;
use super::run::{Run, by_run};
use super::{Index, Indices, by_width};

/// One-hot: `out` is `[outer, count, inner]` of elements of `elem_size` bytes, the second of `values` where the index of the
/// lane, one of `[outer, inner]`, is, and else the first. An index below 0 counts from the end; one out of range has no place.
///
/// # Errors
/// A slice has another length.
pub fn one_hot(
    lanes: Lanes,
    elem_size: usize,
    indices: Indices,
    values: &[u8],
    out: &mut [u8],
) -> Result<(), DenseError> {
    dense::element_size(elem_size)?;
    dense::bytes("values", values, 2, elem_size)?;
    dense::length("indices", indices.len(), lanes.lanes())?;
    dense::bytes("out", out, lanes.elements(), elem_size)?;
    let (off, on) = values.split_at(elem_size);
    fill(off, out)?;
    by_width!(indices, v => by_run!(elem_size, run => mark(run, lanes, v, on, out)));
    Ok(())
}

fn mark(run: impl Run, lanes: Lanes, indices: &[impl Index], on: &[u8], out: &mut [u8]) {
    let Lanes { count, inner, .. } = lanes;
    let (size, block) = (on.len(), count * inner * on.len());
    parallel::parts(out, block, super::pieces(indices.len(), 1), &|first, part| {
        for (o, block) in (first..).zip(part.chunks_exact_mut(block)) {
            for (j, &index) in indices[o * inner..][..inner].iter().enumerate() {
                let index: i64 = index.into();
                let at = if index < 0 { index.wrapping_add(count as i64) } else { index } as u64;
                if at < count as u64 {
                    run.copy(on, &mut block[(at as usize * inner + j) * size..][..size]);
                }
            }
        }
    });
}

fn count_set(x: &[u8]) -> usize {
    x.iter().filter(|&&v| v != 0).count()
}

/// The indices of the elements of `x`, bools of a shape, that are set: `out` is `[rank, count]`, with the count of them.
///
/// # Errors
/// A slice has another length: that of `out` if the count is not that of `x`.
pub fn non_zero(shape: &[usize], x: &[u8], out: &mut [i64]) -> Result<(), DenseError> {
    dense::length("x", x.len(), dense::elements(shape)?)?;
    let Some((&cols, outer)) = shape.split_last() else {
        return dense::length("out", out.len(), 0);
    };
    let (len, rank) = (out.len(), shape.len());
    let count = len / rank;
    let wrong = |set: usize| DenseError::Length { name: "out", got: len, want: set.saturating_mul(rank) };
    if count * rank != len {
        return Err(wrong(count_set(x)));
    }
    // Places along the last axis first, and the number of the row instead of the others: few of them are divided then.
    let mut at = 0;
    let (rest, last) = out.split_at_mut(count * outer.len());
    let (leading, mut numbers) = match outer.len() {
        0 => (rest, None),
        n => {
            let (leading, numbers) = rest.split_at_mut(count * (n - 1));
            (leading, Some(numbers))
        }
    };
    for (row, x) in x.chunks_exact(cols.max(1)).enumerate() {
        let first = at;
        for (j, &v) in x.iter().enumerate() {
            if v != 0 {
                let Some(to) = last.get_mut(at) else {
                    return Err(wrong(count_set(x)));
                };
                *to = j as i64;
                at += 1;
            }
        }
        if let Some(numbers) = &mut numbers {
            numbers[first..at].fill(row as i64);
        }
    }
    if at != count {
        return Err(wrong(at));
    }
    let Some(numbers) = numbers.filter(|_| outer.len() > 1) else { return Ok(()) };
    let steps = dense::strides(outer);
    for (axis, to) in leading.chunks_exact_mut(count.max(1)).enumerate() {
        let (step, extent) = (steps[axis] as i64, outer[axis] as i64);
        for (to, &number) in to.iter_mut().zip(&*numbers) {
            *to = number / step % extent;
        }
    }
    let extent = outer.last().copied().unwrap_or(1) as i64;
    numbers.iter_mut().for_each(|n| *n %= extent);
    Ok(())
}
