//! Ops that address elements by index. Indices are checked on the host before
//! the backend sees them, those from the end made positive.

use super::host::{Host, strides, unravel};
use super::{Cx, Fault, InnerTensor, Res};
use bgz_passes::ir::{DType, Scalar};
use burn_backend::Backend;
use burn_backend::tensor::IntTensor;

/// `index` counted from the start; one from the end is negative.
fn place(index: i64, extent: usize) -> Res<usize> {
    let n = i64::try_from(extent).unwrap_or(i64::MAX);
    let at = if index < 0 { index.saturating_add(n) } else { index };
    if (0..n).contains(&at) {
        Ok(at as usize)
    } else {
        Err(Fault::Invalid(format!("index {index} is out of range for an extent of {extent}")))
    }
}

/// The indices with those from the end made positive, in the tensor given if there is none.
fn checked<B: Backend>(indices: InnerTensor<B>, extent: usize, cx: &Cx<'_, B>) -> Res<IntTensor<B>> {
    let values = indices.to_i64s()?;
    let mut changed = false;
    let mut places = Vec::with_capacity(values.len());
    for v in values {
        places.push(place(v, extent)? as i64);
        changed |= v < 0;
    }
    if changed { InnerTensor::<B>::from_i64s(places, &indices.shape(), cx.device).int() } else { indices.int() }
}

pub(super) fn gather<B: Backend>(
    axis: usize,
    x: InnerTensor<B>,
    indices: InnerTensor<B>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let extent = x.shape()[axis];
    let n = indices.len();
    let indices = checked(indices.reshape(&[n])?, extent, cx)?;
    x.select(axis, indices).reshape(&cx.out()?)
}

pub(super) fn gather_elements<B: Backend>(
    axis: usize,
    x: InnerTensor<B>,
    indices: InnerTensor<B>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let (shape, by) = (x.shape(), indices.shape());
    let mut x = x;
    for (i, (&d, &n)) in shape.iter().zip(&by).enumerate() {
        if i != axis {
            if n > d {
                return Err(Fault::Invalid(format!("indices {by:?} for {shape:?}")));
            }
            x = x.narrow(i, 0, n);
        }
    }
    let indices = checked(indices, shape[axis], cx)?;
    Ok(x.gather(axis, indices))
}

/// Row number, in the tensor with its first `batch + n` axes joined, of each of the indices `[.., n]`.
fn rows(indices: &[i64], shape: &[usize], batch: usize, n: usize) -> Res<Vec<i64>> {
    let tuples = indices.len().checked_div(n).unwrap_or(0);
    let batches: usize = shape[..batch].iter().product();
    let per_batch = tuples / batches.max(1);
    let steps = strides(&shape[batch..batch + n]);
    let in_batch: usize = shape[batch..batch + n].iter().product();
    let mut out = Vec::with_capacity(tuples);
    for (i, tuple) in indices.chunks_exact(n.max(1)).enumerate() {
        let mut row = i / per_batch.max(1) * in_batch;
        for ((&index, &extent), step) in tuple.iter().zip(&shape[batch..]).zip(&steps) {
            row += place(index, extent)? * step;
        }
        out.push(row as i64);
    }
    Ok(out)
}

pub(super) fn gather_nd<B: Backend>(
    batch: usize,
    x: InnerTensor<B>,
    indices: InnerTensor<B>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let shape = x.shape();
    let n = indices.shape().last().copied().unwrap_or(0);
    if n == 0 || batch + n > shape.len() {
        return Err(Fault::Unsupported(format!("indices of {n} axes into {shape:?}")));
    }
    if cx.shape(0)?[..batch] != cx.shape(1)?[..batch] {
        return Err(Fault::Invalid(format!("{} and {} differ in the batch", cx.inputs[0], cx.inputs[1])));
    }
    let rows = rows(&indices.to_i64s()?, &shape, batch, n)?;
    let (joined, row): (usize, usize) = (shape[..batch + n].iter().product(), shape[batch + n..].iter().product());
    let count = rows.len();
    let rows = InnerTensor::<B>::from_i64s(rows, &[count], cx.device).int()?;
    x.reshape(&[joined, row])?.select(0, rows).reshape(&cx.out()?)
}

pub(super) fn scatter_nd<B: Backend>(
    x: InnerTensor<B>,
    indices: InnerTensor<B>,
    updates: InnerTensor<B>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let shape = x.shape();
    let n = indices.shape().last().copied().unwrap_or(0);
    if n == 0 || n > shape.len() {
        return Err(Fault::Unsupported(format!("indices of {n} axes into {shape:?}")));
    }
    let rows = rows(&indices.to_i64s()?, &shape, 0, n)?;
    let row: usize = shape[n..].iter().product();
    let mut out = Host::new(x)?;
    let updates = Host::new(updates)?;
    let size = row * out.dtype.size();
    if updates.bytes.len() != rows.len() * size {
        return Err(Fault::Invalid(format!("updates {} for indices {}", cx.inputs[2], cx.inputs[1])));
    }
    // In order: of equal indices, the last one stays.
    for (i, &r) in rows.iter().enumerate() {
        out.bytes[r as usize * size..][..size].copy_from_slice(&updates.bytes[i * size..][..size]);
    }
    out.into_tensor(cx.device)
}

pub(super) fn scatter_elements<B: Backend>(
    axis: usize,
    x: InnerTensor<B>,
    indices: InnerTensor<B>,
    updates: InnerTensor<B>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let (shape, by) = (x.shape(), indices.shape());
    if updates.shape() != by || by.iter().zip(&shape).enumerate().any(|(i, (n, d))| i != axis && n > d) {
        return Err(Fault::Invalid(format!("indices {by:?} and updates {:?} for {shape:?}", updates.shape())));
    }
    let indices = indices.to_i64s()?;
    let mut out = Host::new(x)?;
    let updates = Host::new(updates)?;
    let (size, steps) = (out.dtype.size(), strides(&shape));
    for (i, &index) in indices.iter().enumerate() {
        let mut at = unravel(i, &by);
        at[axis] = place(index, shape[axis])?;
        let to: usize = at.iter().zip(&steps).map(|(a, s)| a * s).sum();
        out.bytes[to * size..][..size].copy_from_slice(&updates.bytes[i * size..][..size]);
    }
    out.into_tensor(cx.device)
}

pub(super) fn one_hot<B: Backend>(
    axis: usize,
    indices: InnerTensor<B>,
    depth: InnerTensor<B>,
    values: InnerTensor<B>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let depth = depth.to_scalar()?.to_i64();
    let values = Host::new(values)?;
    if values.len() != 2 || depth < 0 {
        return Err(Fault::Invalid(format!("depth {depth} and {} values", values.len())));
    }
    let size = values.dtype.size();
    let (off, on) = values.bytes.split_at(size);
    // [outer, inner] indices become [outer, depth, inner].
    let shape = cx.shape(0)?;
    let n = depth as usize;
    let inner: usize = shape[axis..].iter().product();
    let mut to = shape.clone();
    to.insert(axis, n);
    let mut out = Host::zeros(values.dtype, &to)?;
    out.bytes.chunks_exact_mut(size).for_each(|c| c.copy_from_slice(off));
    for (i, index) in Host::new(indices)?.scalars().map(Scalar::to_i64).enumerate() {
        // An index beyond the depth is nowhere on.
        if let Ok(at) = place(index, n) {
            let to = (i / inner * n + at) * inner + i % inner;
            out.bytes[to * size..][..size].copy_from_slice(on);
        }
    }
    out.into_tensor(cx.device)
}

pub(super) fn trilu<B: Backend>(
    upper: bool,
    x: InnerTensor<B>,
    k: Option<InnerTensor<B>>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let k = k.map(|k| k.to_scalar()).transpose()?.map_or(0, Scalar::to_i64);
    let (dtype, shape) = (x.need_dtype()?, x.shape());
    let [.., rows, columns] = shape[..] else {
        return Err(Fault::Invalid(format!("a triangle of {shape:?}")));
    };
    let mut hidden = Vec::with_capacity(rows * columns);
    for i in 0..rows as i64 {
        let diagonal = i.saturating_add(k);
        hidden.extend((0..columns as i64).map(|j| if upper { j < diagonal } else { j > diagonal }));
    }
    let mask = InnerTensor::<B>::from_bools(hidden, &[rows, columns], cx.device).expand(&shape)?;
    Ok(x.mask_fill(mask.bool()?, Scalar::from_i64(dtype, 0)))
}

pub(super) fn non_zero<B: Backend>(x: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let shape = cx.shape(0)?;
    let host = Host::new(x)?;
    // Also true for NaN.
    let is_set = |s: Scalar| if s.dtype() == DType::Bool { s.to_i64() != 0 } else { s.to_f64() != 0.0 };
    let places: Vec<usize> = host.scalars().enumerate().filter(|(_, s)| is_set(*s)).map(|(i, _)| i).collect();
    let steps = strides(&shape);
    let axes = shape.iter().zip(&steps);
    let out = axes.flat_map(|(&d, &step)| places.iter().map(move |p| (p / step.max(1) % d.max(1)) as i64)).collect();
    let ty = [shape.len(), places.len()];
    if cx.out().is_ok_and(|s| s != ty) {
        return Err(Fault::Invalid(format!(
            "{} elements are not zero, where {} is bound",
            places.len(),
            cx.out_type()?
        )));
    }
    Ok(InnerTensor::from_i64s(out, &ty, cx.device))
}
