//! Ops that move elements, or make them from nothing.

use super::host::Host;
use super::tensor::{known, range as cut};
use super::{Cx, Fault, InnerTensor, Operands, Res};
use bgz_passes::ir::{DType, Dim, IntArg, Pad, PadMode, Scalar, Slice};
use burn_backend::{Backend, Slice as BurnSlice};

/// The integers of an argument: known, or in the next operand.
fn integers<B: Backend>(arg: &IntArg, operands: &mut Operands<B>) -> Res<Vec<i64>> {
    match arg {
        IntArg::Operand => operands.take()?.to_i64s(),
        IntArg::Known(v) => {
            v.iter().map(|d| d.as_int().ok_or_else(|| Fault::Invalid(format!("{d} is not bound")))).collect()
        }
    }
}

/// The first entry and the number of entries of a cut, by Python's rules.
fn bounds(extent: i64, start: i64, end: i64, step: i64) -> (i64, i64) {
    let wrap = |v: i64| if v < 0 { v.saturating_add(extent) } else { v };
    if step > 0 {
        let s = wrap(start).clamp(0, extent);
        let e = wrap(end).clamp(0, extent);
        (s, if e > s { (e - s - 1) / step + 1 } else { 0 })
    } else {
        let s = wrap(start).clamp(-1, extent - 1);
        let e = if end == i64::MIN { -1 } else { wrap(end).clamp(-1, extent - 1) };
        (s.max(0), if s > e { (s - e - 1) / step.saturating_neg().max(1) + 1 } else { 0 })
    }
}

pub(super) fn slice<B: Backend>(s: &Slice, mut x: Operands<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let t = x.take()?;
    let starts = integers(&s.starts, &mut x)?;
    let ends = integers(&s.ends, &mut x)?;
    let steps = integers(&s.steps, &mut x)?;
    let shape = cx.shape(0)?;
    let mut cuts: Vec<_> = t.shape().iter().map(|&d| cut(0, d)).collect();
    let mut whole = true;
    for (i, &axis) in s.axes.iter().enumerate() {
        let (Some(&start), Some(&end), Some(&step)) = (starts.get(i), ends.get(i), steps.get(i)) else {
            return Err(Fault::Invalid(format!("{} bounds for {} axes", starts.len(), s.axes.len())));
        };
        let (Some(&d), Some(c)) = (shape.get(axis), cuts.get_mut(axis)) else {
            return Err(Fault::Invalid(format!("axis {axis} of {shape:?}")));
        };
        if step == 0 {
            return Err(Fault::Invalid("a step of 0".into()));
        }
        let extent = i64::try_from(d).map_err(|_| Fault::Invalid(format!("extent {d}")))?;
        let (first, count) = bounds(extent, start, end, step);
        // A cut of one entry takes any step; a huge one would overflow in a backend.
        let step = if count <= 1 { 1 } else { step };
        let last = first + (count - 1).max(0) * step;
        whole &= first == 0 && count == extent && step == 1;
        *c = match count {
            0 => cut(0, 0),
            // Burn names the entries in rising order, whichever way they are taken.
            _ => BurnSlice::new(first.min(last) as isize, Some(first.max(last) as isize + 1), step as isize),
        };
    }
    Ok(if whole { t } else { t.slice(&cuts) })
}

pub(super) fn concat<B: Backend>(axis: usize, tensors: Vec<InnerTensor<B>>) -> Res<InnerTensor<B>> {
    let parts: Vec<_> = tensors.into_iter().filter(|t| !t.is_empty()).collect();
    InnerTensor::cat(parts, axis)
}

pub(super) fn tile<B: Backend>(x: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let mut x = x;
    for (axis, (from, to)) in cx.shape(0)?.into_iter().zip(cx.out()?).enumerate() {
        if from != to {
            x = x.repeat(axis, to / from.max(1));
        }
    }
    Ok(x)
}

pub(super) fn pad<B: Backend>(p: &Pad, mut x: Operands<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let t = x.take()?;
    let pads = integers(&p.pads, &mut x)?;
    let value = x.take_if().map(|v| v.to_scalar()).transpose()?;
    let dtype = t.need_dtype()?;
    match p.mode {
        PadMode::Constant => {
            pad_constant(t, &pads, value.unwrap_or_else(|| Scalar::from_i64(dtype, 0)), &cx.shape(0)?, cx)
        }
        PadMode::Reflect | PadMode::Edge => pad_indexed(t, &pads, p.mode, &cx.shape(0)?, cx),
    }
}

/// The entries added before and after each axis.
fn sides(pads: &[i64], rank: usize) -> Res<Vec<(i64, i64)>> {
    if pads.len() != 2 * rank {
        return Err(Fault::Invalid(format!("{} pads for rank {rank}", pads.len())));
    }
    Ok((0..rank).map(|i| (pads[i], pads[rank + i])).collect())
}

/// Pads with one value; negative pads crop.
pub(super) fn pad_constant<B: Backend>(
    x: InnerTensor<B>,
    pads: &[i64],
    value: Scalar,
    shape: &[usize],
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let mut x = x;
    let (mut place, mut out) = (Vec::new(), Vec::new());
    for (axis, (&d, (before, after))) in shape.iter().zip(sides(pads, shape.len())?).enumerate() {
        let extent = i64::try_from(d).map_err(|_| Fault::Invalid(format!("extent {d}")))?;
        let bad = || Fault::Invalid(format!("pads {before} and {after} of extent {d}"));
        let size = extent.checked_add(before).and_then(|e| e.checked_add(after)).ok_or_else(bad)?;
        // What is kept of the operand: the rest is cropped away.
        let from = (-before.min(0)).min(extent);
        let to = (extent + after.min(0)).max(from);
        x = x.narrow(axis, from as usize, to as usize);
        let at = before.max(0);
        place.push(cut(at as usize, (at + to - from) as usize));
        out.push(usize::try_from(size).map_err(|_| bad())?);
    }
    if x.shape() == out {
        return Ok(x);
    }
    let full = InnerTensor::full(value, &out, cx.device)?;
    if x.is_empty() { Ok(full) } else { full.slice_assign(&place, x) }
}

/// Pads with entries of the operand itself.
fn pad_indexed<B: Backend>(
    x: InnerTensor<B>,
    pads: &[i64],
    mode: PadMode,
    shape: &[usize],
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let mut x = x;
    for (axis, (&d, (before, after))) in shape.iter().zip(sides(pads, shape.len())?).enumerate() {
        if (before, after) == (0, 0) {
            continue;
        }
        let extent = i64::try_from(d).map_err(|_| Fault::Invalid(format!("extent {d}")))?;
        if extent == 0 {
            return Err(Fault::Invalid("there is no entry to pad with".into()));
        }
        let period = 2 * (extent - 1);
        let entry = |i: i64| match mode {
            PadMode::Reflect if period == 0 => 0,
            PadMode::Reflect => {
                let m = i.rem_euclid(period);
                m.min(period - m)
            }
            _ => i.clamp(0, extent - 1),
        };
        let indices: Vec<i64> = (-before..extent.saturating_add(after)).map(entry).collect();
        let n = indices.len();
        x = x.select(axis, InnerTensor::<B>::from_i64s(indices, &[n], cx.device).int()?);
    }
    Ok(x)
}

pub(super) fn shape<B: Backend>(start: usize, end: usize, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let shape = cx.shape(0)?;
    let extents = shape.get(start..end).ok_or_else(|| Fault::Invalid(format!("axes {start} to {end} of {shape:?}")))?;
    let values: Vec<i64> = extents.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
    Ok(InnerTensor::from_i64s(values, &[end - start], cx.device))
}

pub(super) fn dims<B: Backend>(values: &[Dim], cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let int = |d: &Dim| d.as_int().ok_or_else(|| Fault::Invalid(format!("{d} is not bound")));
    let values = values.iter().map(int).collect::<Res<Vec<i64>>>()?;
    Ok(InnerTensor::from_i64s(values, &cx.out()?, cx.device))
}

pub(super) fn range<B: Backend>(
    start: InnerTensor<B>,
    limit: InnerTensor<B>,
    delta: InnerTensor<B>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let (start, limit, delta) = (start.to_scalar()?, limit.to_scalar()?, delta.to_scalar()?);
    let ty = cx.out_type()?;
    let zero = if ty.dtype.is_float() { delta.to_f64() == 0.0 } else { delta.to_i64() == 0 };
    if zero {
        return Err(Fault::Invalid("a step of 0".into()));
    }
    let n = if ty.dtype.is_float() {
        let n = ((limit.to_f64() - start.to_f64()) / delta.to_f64()).ceil();
        if n.is_nan() { 0 } else { n.max(0.0) as u64 }
    } else {
        let (span, d) = (i128::from(limit.to_i64()) - i128::from(start.to_i64()), i128::from(delta.to_i64()));
        let (span, d) = (span * d.signum(), d.abs());
        u64::try_from((span + d - 1).div_euclid(d).max(0)).unwrap_or(u64::MAX)
    };
    // The type is bound, so that it says how many there are; what does not agree would not be held either.
    if known(ty).is_ok_and(|s| s != [usize::try_from(n).unwrap_or(usize::MAX)]) {
        return Err(Fault::Invalid(format!("{n} entries, not {ty}")));
    }
    let mut out = Host::zeros(ty.dtype, &[usize::try_from(n).unwrap_or(usize::MAX)])?;
    out.bytes.clear();
    for i in 0..n {
        let v = if ty.dtype.is_float() {
            Scalar::from_f64(ty.dtype, start.to_f64() + i as f64 * delta.to_f64())
        } else {
            Scalar::from_i64(ty.dtype, start.to_i64().wrapping_add((i as i64).wrapping_mul(delta.to_i64())))
        };
        v.write_le_bytes(&mut out.bytes);
    }
    debug_assert!(out.dtype == ty.dtype && ty.dtype != DType::Bool);
    out.into_tensor(cx.device)
}
