//! Reductions, running sums and extremes.

use super::broadcast::{Lanes, Offsets, strides};
use super::tensor::checked_len;
use super::{Res, Tensor, int_arg};
use crate::ir::{ArgReduce, Cumulative, DType, Reduce, ReduceKind, TopK};
use std::cmp::Ordering;

pub(super) fn reduce(r: &Reduce, x: &Tensor) -> Res<Tensor> {
    // Extents with the axes kept, and strides that stand still along them.
    let kept: Vec<usize> =
        x.shape().iter().enumerate().map(|(i, &d)| if r.axes.contains(&i) { 1 } else { d }).collect();
    let shape = if r.keep_dims {
        kept.clone()
    } else {
        x.shape().iter().enumerate().filter(|(i, _)| !r.axes.contains(i)).map(|(_, &d)| d).collect()
    };
    let to: Vec<usize> =
        strides(&kept).into_iter().enumerate().map(|(i, s)| if r.axes.contains(&i) { 0 } else { s }).collect();
    let places = Offsets::new(x.shape(), to);
    let len = checked_len(&kept)?;
    let count: usize = r.axes.iter().map(|&a| x.shape()[a]).product();
    if let Some(data) = x.floats() {
        let start = match r.kind {
            ReduceKind::Sum | ReduceKind::Mean => 0.0,
            ReduceKind::Prod => 1.0,
            ReduceKind::Max => f64::NEG_INFINITY,
            ReduceKind::Min => f64::INFINITY,
        };
        let mut out = vec![start; len];
        for (at, &v) in places.zip(data) {
            let o = &mut out[at];
            *o = match r.kind {
                ReduceKind::Sum | ReduceKind::Mean => *o + v,
                ReduceKind::Prod => *o * v,
                ReduceKind::Max | ReduceKind::Min if o.is_nan() || v.is_nan() => f64::NAN,
                ReduceKind::Max => o.max(v),
                ReduceKind::Min => o.min(v),
            };
        }
        if r.kind == ReduceKind::Mean {
            out.iter_mut().for_each(|v| *v /= count as f64);
        }
        return Tensor::rounded(x.dtype(), shape, out);
    }
    let data = x.ints().unwrap_or_default();
    if count == 0 && len > 0 && !matches!(r.kind, ReduceKind::Sum | ReduceKind::Prod) {
        return Err(format!("{} of no integers", r.kind.name()));
    }
    let start = match r.kind {
        ReduceKind::Sum | ReduceKind::Mean => 0,
        ReduceKind::Prod => 1,
        ReduceKind::Max => i64::MIN,
        ReduceKind::Min => i64::MAX,
    };
    let mut out = vec![start; len];
    for (at, &v) in places.zip(data) {
        let o = &mut out[at];
        *o = match r.kind {
            ReduceKind::Sum | ReduceKind::Mean => o.wrapping_add(v),
            ReduceKind::Prod => o.wrapping_mul(v),
            ReduceKind::Max => v.max(*o),
            ReduceKind::Min => v.min(*o),
        };
    }
    if r.kind == ReduceKind::Mean && count > 0 {
        out.iter_mut().for_each(|v| *v /= count as i64);
    }
    Tensor::wrapped(x.dtype(), shape, out)
}

/// NaN is above every number, as in a sort by numpy.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// How elements `i` and `j` compare.
fn compare(x: &Tensor) -> impl Fn(usize, usize) -> Ordering + '_ {
    move |i, j| match (x.floats(), x.ints()) {
        (Some(v), _) => order(v[i], v[j]),
        (_, Some(v)) => v[i].cmp(&v[j]),
        _ => Ordering::Equal,
    }
}

pub(super) fn arg_reduce(a: &ArgReduce, x: &Tensor) -> Res<Tensor> {
    let lanes = Lanes::new(x.shape(), a.axis);
    let mut shape = x.shape().to_vec();
    if a.keep_dims {
        shape[a.axis] = 1;
    } else {
        shape.remove(a.axis);
    }
    let compare = compare(x);
    let mut out = Vec::new();
    for start in lanes.starts() {
        let mut best: Option<(usize, usize)> = None;
        for (i, at) in lanes.lane(start).enumerate() {
            let better = match best {
                None => true,
                Some((_, b)) => match compare(at, b) {
                    Ordering::Equal => a.last,
                    Ordering::Greater => a.max,
                    Ordering::Less => !a.max,
                },
            };
            if better {
                best = Some((i, at));
            }
        }
        out.push(best.ok_or("an axis of no entries has no extreme")?.0 as i64);
    }
    Tensor::wrapped(DType::I64, shape, out)
}

pub(super) fn cumulative(c: &Cumulative, x: &Tensor) -> Res<Tensor> {
    let lanes = Lanes::new(x.shape(), c.axis);
    let shape = x.shape().to_vec();
    match (x.floats(), x.ints()) {
        (Some(data), _) => Tensor::rounded(x.dtype(), shape, running(c, &lanes, data, |a, b| a + b)),
        (_, Some(data)) if x.dtype() != DType::Bool => {
            Tensor::wrapped(x.dtype(), shape, running(c, &lanes, data, i64::wrapping_add))
        }
        _ => Err(format!("not defined for {}", x.dtype())),
    }
}

fn running<T: Copy + Default>(c: &Cumulative, lanes: &Lanes, data: &[T], add: impl Fn(T, T) -> T) -> Vec<T> {
    let mut out = data.to_vec();
    for start in lanes.starts() {
        let mut sum = T::default();
        let mut step = |at: usize| {
            let with = add(sum, data[at]);
            out[at] = if c.exclusive { sum } else { with };
            sum = with;
        };
        if c.reverse {
            lanes.lane(start).rev().for_each(&mut step);
        } else {
            lanes.lane(start).for_each(&mut step);
        }
    }
    out
}

/// Values and indices; of equal entries the first comes first.
pub(super) fn top_k(t: &TopK, x: &Tensor, rest: &[Tensor]) -> Res<Vec<Tensor>> {
    let k = match int_arg(&t.k, &mut rest.iter())?.as_slice() {
        [k] => *k,
        other => return Err(format!("k must be one integer, not {other:?}")),
    };
    let lanes = Lanes::new(x.shape(), t.axis);
    let n = usize::try_from(k)
        .ok()
        .filter(|&n| n <= lanes.count)
        .ok_or_else(|| format!("{k} of {} entries", lanes.count))?;
    let compare = compare(x);
    let mut shape = x.shape().to_vec();
    shape[t.axis] = n;
    let len = checked_len(&shape)?;
    let (mut from, mut indices) = (vec![0; len], vec![0; len]);
    let out_lanes = Lanes::new(&shape, t.axis);
    for (start, out_start) in lanes.starts().zip(out_lanes.starts()) {
        let mut entries: Vec<(usize, usize)> = lanes.lane(start).enumerate().collect();
        entries.sort_by(|a, b| if t.largest { compare(b.1, a.1) } else { compare(a.1, b.1) });
        for (&(i, at), o) in entries.iter().zip(out_lanes.lane(out_start)) {
            from[o] = at;
            indices[o] = i as i64;
        }
    }
    Ok(vec![x.pick(shape.clone(), from.into_iter())?, Tensor::wrapped(DType::I64, shape, indices)?])
}
