//! Gathering and scattering.

use super::cost::{RowOperand, RowPart, rows_and_width};
use super::{Evaluated, Family, Fields, Fresh, Inferred};
use crate::ir::broadcast::{checked_len, strides};
use crate::ir::infer::{InferError, Operand, check_axis, fail};
use crate::ir::tensor::Tensor;
use crate::ir::{DType, Dim, Type};
use std::borrow::Cow;

/// Ops that find elements by indices, of i64 or i32.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Index {
    /// `x, indices`: slices of `x` along an axis; a negative index counts from the end.
    Gather {
        /// The axis of `x`.
        axis: usize,
    },
    /// `x, indices`: one element an index, along an axis.
    GatherElements {
        /// The axis.
        axis: usize,
    },
    /// `x, indices [.., n]`: slices addressed by their first `n` axes.
    GatherNd {
        /// Leading axes that `x` and `indices` share.
        batch_dims: usize,
    },
    /// `x, indices, updates`: `x` with slices replaced (ONNX ScatterND without reduction).
    ScatterNd,
    /// `x, indices, updates`: `x` with elements replaced along an axis.
    ScatterElements {
        /// The axis.
        axis: usize,
    },
    /// `x`: indices of the non-zero elements, `[rank, count]` (i64); the count is only known when run.
    NonZero,
}

impl Family for Index {
    fn blanks() -> Vec<Self> {
        let axis = 0;
        vec![
            Index::Gather { axis },
            Index::GatherElements { axis },
            Index::GatherNd { batch_dims: 0 },
            Index::ScatterNd,
            Index::ScatterElements { axis },
            Index::NonZero,
        ]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match self {
            Index::Gather { .. } => "gather",
            Index::GatherElements { .. } => "gather_elements",
            Index::GatherNd { .. } => "gather_nd",
            Index::ScatterNd => "scatter_nd",
            Index::ScatterElements { .. } => "scatter_elements",
            Index::NonZero => "non_zero",
        }
        .into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        match self {
            Index::Gather { axis } | Index::GatherElements { axis } | Index::ScatterElements { axis } => {
                fields.int("axis", axis);
            }
            Index::GatherNd { batch_dims } => fields.optional_int("batch_dims", batch_dims, 0),
            Index::ScatterNd | Index::NonZero => {}
        }
    }

    fn arity(&self) -> (usize, usize) {
        let n = match self {
            Index::NonZero => 1,
            Index::Gather { .. } | Index::GatherElements { .. } | Index::GatherNd { .. } => 2,
            Index::ScatterNd | Index::ScatterElements { .. } => 3,
        };
        (n, n)
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        let ty = x[0].ty;
        let Some(indices) = x.get(1).map(|o| o.ty) else {
            return Ok(vec![Type { dtype: DType::I64, shape: vec![ty.rank().into(), fresh()] }]);
        };
        if let Index::Gather { axis } | Index::GatherElements { axis } | Index::ScatterElements { axis } = self {
            check_axis(*axis, ty)?;
        }
        if !matches!(indices.dtype, DType::I64 | DType::I32) {
            fail!("indices of {}", indices.dtype);
        }
        if let Some(updates) = x.get(2)
            && updates.ty.dtype != ty.dtype
        {
            fail!("updates of {} into {}", updates.ty.dtype, ty.dtype);
        }
        let shape = match self {
            Index::Gather { axis } => [&ty.shape[..*axis], &indices.shape, &ty.shape[axis + 1..]].concat(),
            Index::GatherElements { .. } if ty.rank() == indices.rank() => indices.shape.clone(),
            Index::GatherNd { batch_dims } => {
                let (leading, n) = addressed(indices)?;
                match batch_dims.checked_add(n) {
                    Some(from) if *batch_dims < indices.rank() && from <= ty.rank() => {
                        [leading, &ty.shape[from..]].concat()
                    }
                    _ => fail!("indices {indices} for {ty}"),
                }
            }
            Index::ScatterNd => {
                let (updates, (leading, n)) = (x[2].ty, addressed(indices)?);
                if n > ty.rank() || updates.rank() != leading.len() + ty.rank() - n {
                    fail!("indices {indices} and updates {updates} for {ty}");
                }
                ty.shape.clone()
            }
            Index::ScatterElements { .. } => {
                let updates = x[2].ty;
                if indices.rank() != ty.rank() || updates.rank() != ty.rank() {
                    fail!("indices {indices} and updates {updates} for {ty}");
                }
                ty.shape.clone()
            }
            Index::GatherElements { .. } | Index::NonZero => fail!("indices {indices} for {ty}"),
        };
        Ok(vec![Type { dtype: ty.dtype, shape }])
    }

    fn ints(&self, x: &[Operand], _: &Type) -> Option<Vec<Dim>> {
        if !matches!(self, Index::Gather { axis: 0 }) || x[0].ty.rank() != 1 {
            return None;
        }
        let v = x[0].ints?;
        let n = v.len() as i64;
        let at = |i: &Dim| {
            let i = i.as_int()?;
            let i = if i < 0 { i.checked_add(n)? } else { i };
            v.get(usize::try_from(i).ok()?).cloned()
        };
        x[1].ints?.iter().map(at).collect()
    }

    fn rows(&self, x: &[RowOperand], out: &[usize]) -> Option<Vec<RowPart>> {
        let (Index::Gather { axis: 0 }, [table, indices]) = (self, x) else { return None };
        let (rows, _) = rows_and_width(out)?;
        let fits = table.constant && table.shape.len() == 2 && indices.shape == rows;
        fits.then(|| vec![RowPart::Whole, RowPart::Indices])
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let result = match self {
            Index::Gather { axis } => gather(&x[0], &x[1], *axis),
            Index::GatherElements { axis } => gather_elements(&x[0], &x[1], *axis),
            Index::GatherNd { batch_dims } => gather_nd(&x[0], &x[1], *batch_dims),
            Index::ScatterNd => scatter_nd(&x[0], &x[1], &x[2]),
            Index::ScatterElements { axis } => scatter_elements(&x[0], &x[1], &x[2], *axis),
            Index::NonZero => non_zero(&x[0]),
        };
        Ok(vec![result?])
    }
}

/// The extents before the last one, which is how many axes a row of these indices addresses.
fn addressed(indices: &Type) -> Inferred<(&[Dim], usize)> {
    let split = indices.shape.split_last().and_then(|(n, leading)| Some((leading, n.as_usize()?)));
    split.ok_or_else(|| InferError(format!("the last extent of the indices must be known: {indices}")))
}

fn indices_of(t: &Tensor) -> Evaluated<&[i64]> {
    t.ints().ok_or_else(|| format!("indices of {}", t.dtype()))
}

/// The place of an index along an axis; a negative one counts from the end.
fn place(index: i64, extent: usize) -> Evaluated<usize> {
    let wrapped = i128::from(index) + if index < 0 { extent as i128 } else { 0 };
    match usize::try_from(wrapped) {
        Ok(i) if i < extent => Ok(i),
        _ => Err(format!("index {index} of an axis of {extent}")),
    }
}

fn gather(x: &Tensor, indices: &Tensor, axis: usize) -> Evaluated<Tensor> {
    let extent = x.shape()[axis];
    let at: Vec<usize> = indices_of(indices)?.iter().map(|&i| place(i, extent)).collect::<Evaluated<_>>()?;
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
fn element_places(x: &[usize], indices: &Tensor, axis: usize) -> Evaluated<Vec<usize>> {
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

fn gather_elements(x: &Tensor, indices: &Tensor, axis: usize) -> Evaluated<Tensor> {
    let from = element_places(x.shape(), indices, axis)?;
    x.pick(indices.shape().to_vec(), from.into_iter())
}

fn scatter_elements(x: &Tensor, indices: &Tensor, updates: &Tensor, axis: usize) -> Evaluated<Tensor> {
    if indices.shape() != updates.shape() {
        return Err(format!("indices {} and updates {}", indices.ty(), updates.ty()));
    }
    let to = element_places(x.shape(), indices, axis)?;
    x.replaced(to.into_iter().zip(updates.scalars()))
}

/// Offsets of the slices that rows of `indices` address in a tensor of shape
/// `x`, behind `batch` leading axes, and the length of a slice.
fn slice_places(x: &[usize], indices: &Tensor, batch: usize) -> Evaluated<(Vec<usize>, usize)> {
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
        .collect::<Evaluated<_>>()?;
    Ok((places, length))
}

fn gather_nd(x: &Tensor, indices: &Tensor, batch_dims: usize) -> Evaluated<Tensor> {
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

fn scatter_nd(x: &Tensor, indices: &Tensor, updates: &Tensor) -> Evaluated<Tensor> {
    let (places, length) = slice_places(x.shape(), indices, 0)?;
    if places.len().checked_mul(length) != Some(updates.len()) {
        return Err(format!("indices {} and updates {} for {}", indices.ty(), updates.ty(), x.ty()));
    }
    x.replaced(places.into_iter().flat_map(|at| at..at + length).zip(updates.scalars()))
}

fn non_zero(x: &Tensor) -> Evaluated<Tensor> {
    let places: Vec<usize> =
        x.scalars().enumerate().filter(|(_, s)| s.to_f64() != 0.0 || s.to_f64().is_nan()).map(|(i, _)| i).collect();
    let rank = x.shape().len();
    let mut out = Vec::with_capacity(rank * places.len());
    for (stride, extent) in strides(x.shape()).into_iter().zip(x.shape()) {
        out.extend(places.iter().map(|at| (at / stride.max(1) % extent) as i64));
    }
    Tensor::wrapped(DType::I64, vec![rank, places.len()], out)
}
