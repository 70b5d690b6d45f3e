//! Extents and small integers of what is moved: reshapes, cuts, repetitions.

use super::{Fresh, Inferred, IntArg, Slice};
use crate::ir::infer::{MAX_INTS, Operand, check_axis, fail, list, may_equal};
use crate::ir::{Dim, Type};

/// The integers of a tensor that has those of another, over and over.
pub(in crate::ir::ops) fn repeated_ints(x: &[Dim], ty: &Type) -> Option<Vec<Dim>> {
    let n = ty.known_len().filter(|&n| n <= MAX_INTS)?;
    (!x.is_empty() && n.is_multiple_of(x.len())).then(|| x.iter().cycle().take(n).cloned().collect())
}

pub(super) fn joined(x: &[Operand], axis: usize) -> Inferred<Vec<Dim>> {
    let first = x[0].ty;
    check_axis(axis, first)?;
    let mut shape = first.shape.clone();
    for o in &x[1..] {
        if o.ty.rank() != shape.len() || o.ty.dtype != first.dtype {
            fail!("cannot join {first} and {}", o.ty);
        }
        for (i, d) in o.ty.shape.iter().enumerate() {
            if i == axis {
                shape[i] = &shape[i] + d;
            } else if !may_equal(&shape[i], d) {
                fail!("cannot join {first} and {} along axis {axis}", o.ty);
            } else if d.as_int().is_some() {
                shape[i] = d.clone();
            }
        }
    }
    Ok(shape)
}

pub(super) fn reshaped(
    from: &[Dim],
    shape: &IntArg,
    zero_copies: bool,
    operand: Option<&Operand>,
    fresh: Fresh,
) -> Inferred<Vec<Dim>> {
    let given = shape.extents(operand, fresh)?;
    let target = match shape {
        IntArg::Known(_) => given,
        IntArg::Operand => resolve_reshape(from, &given, zero_copies, fresh)?,
    };
    let known = |s: &[Dim]| s.iter().map(Dim::as_int).try_fold(1i64, |p, d| p.checked_mul(d?));
    if let (Some(a), Some(b)) = (known(from), known(&target))
        && a != b
    {
        fail!("{a} elements do not fit [{}]", list(&target));
    }
    Ok(target)
}

/// Resolves ONNX shorthand: 0 copies an extent (if so told), -1 takes what is left.
fn resolve_reshape(from: &[Dim], to: &[Dim], zero_copies: bool, fresh: Fresh) -> Inferred<Vec<Dim>> {
    let mut out = Vec::with_capacity(to.len());
    let mut rest = None;
    for (i, d) in to.iter().enumerate() {
        out.push(match d.as_int() {
            Some(0) if zero_copies => match from.get(i) {
                Some(d) => d.clone(),
                None => fail!("0 at axis {i} of [{}] copies from rank {}", list(to), from.len()),
            },
            Some(-1) if rest.replace(i).is_some() => fail!("more than one -1 in [{}]", list(to)),
            Some(v) if v < -1 => fail!("extent {v} in [{}]", list(to)),
            _ => d.clone(),
        });
    }
    if let Some(at) = rest {
        // A product that outgrows what is followed is an extent of its own.
        let total = Dim::product(from);
        out[at] = Dim::int(1);
        let others = Dim::product(&out);
        let (Some(total), Some(others)) = (total, others) else {
            out[at] = fresh();
            return Ok(out);
        };
        out[at] = match total.div_exact(&others) {
            Some(d) => d,
            // 0 / 0: nothing is left to share out.
            None if total.is(0) && others.is(0) => Dim::int(0),
            None if total.as_int().is_some() && others.as_int().is_some() => {
                fail!("{total} elements do not divide into [{}]", list(to))
            }
            None => fresh(),
        };
    }
    Ok(out)
}

/// The first entry, the number of entries and the step of a cut along an axis
/// of `extent`, by Python's rules. All numbers known.
pub fn slice_bounds(extent: i64, start: i64, end: i64, step: i64) -> (i64, i64) {
    let wrap = |v: i64| if v < 0 { v.saturating_add(extent) } else { v };
    if step > 0 {
        let s = wrap(start).clamp(0, extent);
        let e = wrap(end).clamp(0, extent);
        let n = if e > s { (e - s - 1) / step + 1 } else { 0 };
        (s, n)
    } else {
        // A start before the first entry is the first, by the standard, and not none, as it is in Python.
        let s = wrap(start).clamp(0.min(extent - 1), extent - 1);
        let e = if end == i64::MIN { -1 } else { wrap(end).clamp(-1, extent - 1) };
        let n = if s > e { (s - e - 1) / step.saturating_neg().max(1) + 1 } else { 0 };
        (s.max(0), n)
    }
}

pub(super) fn slice_shape(s: &Slice, operands: &[Operand], fresh: Fresh) -> Inferred<Vec<Dim>> {
    let mut rest = operands[1..].iter();
    let mut take = |arg: &IntArg| {
        let operand = if matches!(arg, IntArg::Operand) { rest.next() } else { None };
        arg.infer(operand)
    };
    let (starts, ends, steps) = (take(&s.starts)?, take(&s.ends)?, take(&s.steps)?);
    let mut shape = operands[0].ty.shape.clone();
    for v in [&starts, &ends, &steps].into_iter().flatten() {
        if v.len() != s.axes.len() {
            fail!("{} bounds for {} axes", v.len(), s.axes.len());
        }
    }
    for (i, &axis) in s.axes.iter().enumerate() {
        if axis >= shape.len() {
            fail!("axis {axis} of a tensor of rank {}", shape.len());
        }
        if i > 0 && s.axes[i - 1] >= axis {
            fail!("axes {:?} are not sorted and distinct", s.axes);
        }
        let (Some(start), Some(end), Some(step)) = (&starts, &ends, &steps) else {
            shape[axis] = fresh();
            continue;
        };
        shape[axis] = slice_extent(&shape[axis], &start[i], &end[i], &step[i])?.unwrap_or_else(&mut *fresh);
    }
    Ok(shape)
}

/// The extent of a cut; a symbolic bound is taken to lie within the axis, which
/// is checked when the plan is made with numbers.
fn slice_extent(extent: &Dim, start: &Dim, end: &Dim, step: &Dim) -> Inferred<Option<Dim>> {
    let Some(step) = step.as_int() else { return Ok(None) };
    if step == 0 {
        fail!("a step of 0");
    }
    if let (Some(x), Some(s), Some(e)) = (extent.as_int(), start.as_int(), end.as_int()) {
        return Ok(Some(Dim::int(slice_bounds(x, s, e, step).1)));
    }
    // From here on something is symbolic: follow it only where the sign is plain.
    let place = |v: &Dim| match v.as_int() {
        // Any bound this far below means "from the beginning".
        Some(i) if i <= -i64::from(i32::MAX) => Dim::int(0),
        Some(i) if i < 0 => extent + v,
        _ => v.clone(),
    };
    if step == -1 && start.is(-1) && end.as_int().is_some_and(|e| e <= -i64::from(i32::MAX)) {
        return Ok(Some(extent.clone()));
    }
    if step != 1 {
        return Ok(None);
    }
    // True if a bound that is a number leaves at most one entry of an axis out: that there is one is taken for granted.
    let from_end = |v: i64| if v < 0 && v > -i64::from(i32::MAX) { v.saturating_neg() } else { 0 };
    if extent.as_int().is_none() {
        let left_out = match (start.as_int(), end.as_int()) {
            // The last entries: as many as that if there are so many.
            (Some(s), _) if s < 0 => from_end(s),
            (Some(s), Some(e)) => s.saturating_add(from_end(e)),
            (Some(s), None) => s,
            (None, Some(e)) => from_end(e),
            (None, None) => 0,
        };
        if left_out > 1 {
            return Ok(None);
        }
    }
    let end = match end.as_int() {
        // Any bound this large means "to the end".
        Some(e) if e >= i64::from(i32::MAX) => extent.clone(),
        // min(extent, e) of an unknown extent; only the first entry is taken for granted.
        Some(e) if e >= 0 && extent.as_int().is_none() && !(e == 1 && start.is(0)) => return Ok(None),
        _ => place(end),
    };
    let n = &end - &place(start);
    Ok(Some(n.as_int().map_or(n, |n| Dim::int(n.max(0)))))
}

/// The integers of a cut vector.
pub(super) fn slice_ints(s: &Slice, x: &[Operand]) -> Option<Vec<Dim>> {
    let mut rest = x[1..].iter();
    let mut first = |arg: &IntArg| {
        let operand = if matches!(arg, IntArg::Operand) { rest.next() } else { None };
        arg.infer(operand).ok()??.first()?.as_int()
    };
    let (v, start, end, step) = (x[0].ints?, first(&s.starts)?, first(&s.ends)?, first(&s.steps)?);
    if step == 0 {
        return None;
    }
    let (at, count) = slice_bounds(i64::try_from(v.len()).ok()?, start, end, step);
    (0..count).map(|i| v.get(usize::try_from(at + i * step).ok()?).cloned()).collect()
}
