//! Ops that move elements and compute none.

use super::broadcast::{Offsets, broadcast_shape, strides};
use super::generate::single;
use super::tensor::checked_len;
use super::{Res, Tensor, int_arg, shape_arg};
use crate::ir::{IntArg, Pad, PadMode, Scalar, Slice};

pub(super) fn reshape(x: &Tensor, shape: &IntArg, zero_copies: bool, rest: &[Tensor]) -> Res<Tensor> {
    if matches!(shape, IntArg::Known(_)) {
        return x.with_shape(shape_arg(shape, &mut [].iter())?);
    }
    let target = int_arg(shape, &mut rest.iter())?;
    let mut out = Vec::with_capacity(target.len());
    let mut rest_at = None;
    for (i, &v) in target.iter().enumerate() {
        out.push(match v {
            0 if zero_copies => {
                *x.shape().get(i).ok_or_else(|| format!("0 at axis {i} of {target:?} copies nothing"))?
            }
            -1 if rest_at.replace(i).is_some() => return Err(format!("more than one -1 in {target:?}")),
            -1 => 1,
            v => usize::try_from(v).map_err(|_| format!("extent {v}"))?,
        });
    }
    if let Some(at) = rest_at {
        let others = checked_len(&out)?;
        out[at] = match (x.len(), others) {
            (0, 0) => 0,
            (n, m) if m > 0 && n % m == 0 => n / m,
            (n, _) => return Err(format!("{n} elements do not divide into {target:?}")),
        };
    }
    x.with_shape(out)
}

pub(super) fn transpose(x: &Tensor, perm: &[usize]) -> Res<Tensor> {
    let own = strides(x.shape());
    let shape: Vec<_> = perm.iter().map(|&p| x.shape()[p]).collect();
    let from = Offsets::new(&shape, perm.iter().map(|&p| own[p]).collect());
    x.pick(shape, from)
}

pub(super) fn expand(x: &Tensor, shape: &IntArg, rest: &[Tensor]) -> Res<Tensor> {
    let target = shape_arg(shape, &mut rest.iter())?;
    let shape = broadcast_shape([x.shape(), target.as_slice()])?;
    let from = Offsets::broadcast(x.shape(), &shape);
    x.pick(shape, from)
}

/// Moves along every axis by its own map from the index in the result to the
/// index in `x`; `None` is a filled entry.
fn by_axis(x: &Tensor, maps: &[Vec<Option<usize>>], fill: Scalar) -> Res<Tensor> {
    let shape: Vec<usize> = maps.iter().map(Vec::len).collect();
    let len = checked_len(&shape)?;
    let (own, new) = (strides(x.shape()), strides(&shape));
    let from = (0..len).map(|at| {
        let mut offset = 0;
        for (axis, map) in maps.iter().enumerate() {
            offset += map[at / new[axis] % map.len()]? * own[axis];
        }
        Some(offset)
    });
    x.pick_or(shape, fill, from)
}

fn zero(x: &Tensor) -> Scalar {
    Scalar::from_i64(x.dtype(), 0)
}

/// The entries of an axis of `extent` that Python's `start:end:step` selects.
fn slice_entries(extent: usize, start: i64, end: i64, step: i64) -> Res<Vec<Option<usize>>> {
    if step == 0 {
        return Err("a step of 0".into());
    }
    let (n, step) = (extent as i128, i128::from(step));
    // Where a bound may lie: an entry, or one past the last that is reached.
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let bound = |v: i64| {
        let v = i128::from(v);
        (if v < 0 { v + n } else { v }).clamp(low, high.max(low))
    };
    let (mut at, end) = (bound(start), bound(end));
    let mut out = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        out.push(usize::try_from(at).ok());
        at += step;
    }
    Ok(out)
}

pub(super) fn slice(s: &Slice, x: &Tensor, rest: &[Tensor]) -> Res<Tensor> {
    let mut rest = rest.iter();
    let starts = int_arg(&s.starts, &mut rest)?;
    let ends = int_arg(&s.ends, &mut rest)?;
    let steps = int_arg(&s.steps, &mut rest)?;
    if [&starts, &ends, &steps].iter().any(|v| v.len() != s.axes.len()) {
        return Err(format!("{}, {} and {} bounds for {} axes", starts.len(), ends.len(), steps.len(), s.axes.len()));
    }
    let mut maps: Vec<Vec<_>> = x.shape().iter().map(|&n| (0..n).map(Some).collect()).collect();
    for (i, &axis) in s.axes.iter().enumerate() {
        maps[axis] = slice_entries(x.shape()[axis], starts[i], ends[i], steps[i])?;
    }
    by_axis(x, &maps, zero(x))
}

pub(super) fn concat(parts: &[Tensor], axis: usize) -> Res<Tensor> {
    let [first, others @ ..] = parts else { return Err("nothing to join".into()) };
    let mut shape = first.shape().to_vec();
    shape[axis] = parts.iter().map(|t| t.shape()[axis]).sum();
    checked_len(&shape)?;
    let outer: usize = shape[..axis].iter().product();
    // Everything in a row, then picked a block of each part at a time.
    let all = first.chain(others)?;
    let mut from = Vec::with_capacity(all.len());
    for o in 0..outer {
        let mut base = 0;
        for t in parts {
            let block: usize = t.shape()[axis..].iter().product();
            from.extend(base + o * block..base + (o + 1) * block);
            base += t.len();
        }
    }
    all.pick(shape, from.into_iter())
}

pub(super) fn pad(p: &Pad, x: &Tensor, rest: &[Tensor]) -> Res<Tensor> {
    let mut rest = rest.iter();
    let pads = int_arg(&p.pads, &mut rest)?;
    let fill = match rest.next() {
        Some(t) if t.dtype() != x.dtype() => return Err(format!("a value of {} in {}", t.dtype(), x.dtype())),
        Some(t) => single(t)?,
        None => zero(x),
    };
    let rank = x.shape().len();
    if pads.len() != 2 * rank {
        return Err(format!("{} pads for rank {rank}", pads.len()));
    }
    let extents: Vec<usize> = (0..rank)
        .map(|i| {
            let n = x.shape()[i] as i128 + i128::from(pads[i]) + i128::from(pads[rank + i]);
            usize::try_from(n).map_err(|_| format!("pads {pads:?} leave {n} of axis {i}"))
        })
        .collect::<Res<_>>()?;
    checked_len(&extents)?;
    let mut maps = Vec::with_capacity(rank);
    for (axis, &extent) in extents.iter().enumerate() {
        // An axis alone may be longer than the whole, which is empty.
        checked_len(&[extent])?;
        let n = x.shape()[axis] as i128;
        let source = |o: usize| {
            let i = o as i128 - i128::from(pads[axis]);
            if (0..n).contains(&i) {
                return Ok(usize::try_from(i).ok());
            }
            let mirrored = match p.mode {
                PadMode::Constant => return Ok(None),
                _ if n == 0 => return Err(format!("axis {axis} has no border to pad from")),
                PadMode::Edge => i.clamp(0, n - 1),
                PadMode::Reflect if n == 1 => 0,
                PadMode::Reflect => {
                    let r = i.rem_euclid(2 * (n - 1));
                    r.min(2 * (n - 1) - r)
                }
            };
            Ok(usize::try_from(mirrored).ok())
        };
        maps.push((0..extent).map(source).collect::<Res<Vec<_>>>()?);
    }
    by_axis(x, &maps, fill)
}

pub(super) fn tile(x: &Tensor, repeats: &IntArg, rest: &[Tensor]) -> Res<Tensor> {
    let repeats = shape_arg(repeats, &mut rest.iter())?;
    if repeats.len() != x.shape().len() {
        return Err(format!("{} repeats for rank {}", repeats.len(), x.shape().len()));
    }
    let mut maps = Vec::with_capacity(repeats.len());
    for (&n, &r) in x.shape().iter().zip(&repeats) {
        let len = n.checked_mul(r).ok_or_else(|| format!("{n} entries {r} times"))?;
        checked_len(&[len])?;
        maps.push((0..len).map(|i| Some(i % n)).collect());
    }
    by_axis(x, &maps, zero(x))
}
