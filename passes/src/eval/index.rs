//! Gathering and scattering.

use super::broadcast::strides;
use super::tensor::checked_len;
use super::{Res, Tensor};

fn indices_of(t: &Tensor) -> Res<&[i64]> {
    t.ints().ok_or_else(|| format!("indices of {}", t.dtype()))
}

/// The place of an index along an axis; a negative one counts from the end.
fn place(index: i64, extent: usize) -> Res<usize> {
    let wrapped = i128::from(index) + if index < 0 { extent as i128 } else { 0 };
    match usize::try_from(wrapped) {
        Ok(i) if i < extent => Ok(i),
        _ => Err(format!("index {index} of an axis of {extent}")),
    }
}

pub(super) fn gather(x: &Tensor, indices: &Tensor, axis: usize) -> Res<Tensor> {
    let extent = x.shape()[axis];
    let at: Vec<usize> = indices_of(indices)?.iter().map(|&i| place(i, extent)).collect::<Res<_>>()?;
    let (before, after) = (&x.shape()[..axis], &x.shape()[axis + 1..]);
    let shape = [before, indices.shape(), after].concat();
    checked_len(&shape)?;
    let (outer, inner): (usize, usize) = (before.iter().product(), after.iter().product());
    let from =
        (0..outer).flat_map(|o| at.iter().flat_map(move |&i| (0..inner).map(move |j| (o * extent + i) * inner + j)));
    x.pick(shape, from)
}

/// Offsets into a tensor of shape `x` for every index of `indices`, with the
/// coordinate along `axis` replaced by what is written there.
fn element_places(x: &[usize], indices: &Tensor, axis: usize) -> Res<Vec<usize>> {
    let (own, strides) = (strides(indices.shape()), strides(x));
    for (i, (&n, &extent)) in indices.shape().iter().zip(x).enumerate() {
        if i != axis && n > extent {
            return Err(format!("indices {} reach beyond {x:?}", indices.ty()));
        }
    }
    indices_of(indices)?
        .iter()
        .enumerate()
        .map(|(at, &index)| {
            let mut offset = place(index, x[axis])? * strides[axis];
            for (i, &n) in indices.shape().iter().enumerate() {
                if i != axis {
                    offset += at / own[i] % n * strides[i];
                }
            }
            Ok(offset)
        })
        .collect()
}

pub(super) fn gather_elements(x: &Tensor, indices: &Tensor, axis: usize) -> Res<Tensor> {
    let from = element_places(x.shape(), indices, axis)?;
    x.pick(indices.shape().to_vec(), from.into_iter())
}

pub(super) fn scatter_elements(x: &Tensor, indices: &Tensor, updates: &Tensor, axis: usize) -> Res<Tensor> {
    if indices.shape() != updates.shape() {
        return Err(format!("indices {} and updates {}", indices.ty(), updates.ty()));
    }
    let to = element_places(x.shape(), indices, axis)?;
    x.replaced(to.into_iter().zip(updates.scalars()))
}

/// Offsets of the slices that rows of `indices` address in a tensor of shape
/// `x`, behind `batch` leading axes, and the length of a slice.
fn slice_places(x: &[usize], indices: &Tensor, batch: usize) -> Res<(Vec<usize>, usize)> {
    let (&n, rows) = indices.shape().split_last().ok_or("indices of rank 0")?;
    let addressed = x.get(batch..batch + n).ok_or_else(|| format!("indices {} for {x:?}", indices.ty()))?;
    let length: usize = x[batch + n..].iter().product();
    let block: usize = x[batch..].iter().product();
    let in_block = strides(&x[batch..]);
    // Rows of indices a batch entry.
    let rows_each: usize = rows[batch..].iter().product();
    let count = checked_len(rows)?;
    let values = indices_of(indices)?;
    let places = (0..count)
        .map(|row| {
            let mut at = row.checked_div(rows_each).unwrap_or(0) * block;
            for (i, &extent) in addressed.iter().enumerate() {
                at += place(values[row * n + i], extent)? * in_block[i];
            }
            Ok(at)
        })
        .collect::<Res<_>>()?;
    Ok((places, length))
}

pub(super) fn gather_nd(x: &Tensor, indices: &Tensor, batch_dims: usize) -> Res<Tensor> {
    let lead = (x.shape().get(..batch_dims), indices.shape().get(..batch_dims));
    if lead.0.is_none() || lead.0 != lead.1 {
        return Err(format!("{} and {} differ in their first {batch_dims} axes", x.ty(), indices.ty()));
    }
    let (places, length) = slice_places(x.shape(), indices, batch_dims)?;
    let n = indices.shape().last().copied().unwrap_or(0);
    let shape = [&indices.shape()[..indices.shape().len() - 1], &x.shape()[batch_dims + n..]].concat();
    checked_len(&shape)?;
    x.pick(shape, places.into_iter().flat_map(|at| at..at + length))
}

pub(super) fn scatter_nd(x: &Tensor, indices: &Tensor, updates: &Tensor) -> Res<Tensor> {
    let (places, length) = slice_places(x.shape(), indices, 0)?;
    if places.len().checked_mul(length) != Some(updates.len()) {
        return Err(format!("indices {} and updates {} for {}", indices.ty(), updates.ty(), x.ty()));
    }
    x.replaced(places.into_iter().flat_map(|at| at..at + length).zip(updates.scalars()))
}
