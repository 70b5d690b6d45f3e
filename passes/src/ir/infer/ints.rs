//! The integers in small tensors: followed through shape arithmetic.

use super::reshape::slice_bounds;
use super::{MAX_INTS, Operand, may_equal};
use crate::ir::{Binary, DType, Dim, IntArg, Op, Slice, Type, Unary};

/// The integers of the result, where they follow from the operands'.
pub(super) fn ints(op: &Op, operands: &[Operand], ty: &Type) -> Option<Vec<Dim>> {
    let mut v = unwrapped_ints(op, operands, ty)?;
    if matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Reduce(_) | Op::Range) && v.iter().any(saturated) {
        return None;
    }
    if ty.dtype != DType::I64 {
        for d in &mut v {
            if let Some(i) = d.as_int() {
                *d = Dim::int(crate::ir::Scalar::from_i64(ty.dtype, i).to_i64());
            }
        }
    }
    Some(v)
}

/// Whether arithmetic on extents may have saturated, where tensors wrap.
fn saturated(d: &Dim) -> bool {
    d.terms().any(|(_, c)| c == i64::MAX || c == i64::MIN)
}

/// As computed in `i64`, whatever the dtype.
fn unwrapped_ints(op: &Op, operands: &[Operand], ty: &Type) -> Option<Vec<Dim>> {
    if !(ty.dtype.is_int() || ty.dtype == DType::Bool) || ty.rank() > 1 {
        return None;
    }
    let arg = |i: usize| operands.get(i).and_then(|o| o.ints);
    match op {
        Op::Dims { values, .. } => Some(values.clone()),
        Op::Shape { start, end } => Some(operands[0].ty.shape[*start..*end].to_vec()),
        Op::Cast(to) if to.is_int() || *to == DType::Bool => {
            let v = arg(0)?;
            // A narrower type could wrap: only numbers that fit are followed.
            v.iter()
                .map(|d| match d.as_int() {
                    Some(i) => Some(Dim::int(crate::ir::Scalar::from_i64(*to, i).to_i64())),
                    None => (*to == DType::I64 || *to == DType::I32).then(|| d.clone()),
                })
                .collect()
        }
        Op::Unary(Unary::Neg) => Some(arg(0)?.iter().map(|d| -d).collect()),
        Op::Unary(Unary::Not) => arg(0)?.iter().map(|d| d.as_int().map(|v| Dim::int(i64::from(v == 0)))).collect(),
        Op::Binary(f) => zip_ints(arg(0)?, arg(1)?, |a, b| binary_int(*f, a, b)),
        Op::Where => {
            let (c, a, b) = (arg(0)?, arg(1)?, arg(2)?);
            let n = ty.known_len()?;
            let at = |v: &[Dim], i: usize| if v.len() == 1 { v.first().cloned() } else { v.get(i).cloned() };
            (0..n)
                .map(|i| match at(c, i)?.as_int()? {
                    0 => at(b, i),
                    _ => at(a, i),
                })
                .collect()
        }
        Op::Reshape { .. } | Op::Transpose { .. } => Some(arg(0)?.to_vec()),
        Op::Concat { .. } => {
            let mut out = Vec::new();
            for o in operands {
                out.extend_from_slice(o.ints?);
            }
            Some(out)
        }
        Op::Gather { axis: 0 } if operands[0].ty.rank() == 1 => {
            let (x, n) = (arg(0)?, arg(0)?.len() as i64);
            arg(1)?
                .iter()
                .map(|i| {
                    let i = i.as_int()?;
                    let i = if i < 0 { i.checked_add(n)? } else { i };
                    x.get(usize::try_from(i).ok()?).cloned()
                })
                .collect()
        }
        Op::Slice(s) => {
            let x = arg(0)?;
            let (IntArg::Known(start), IntArg::Known(end), IntArg::Known(step)) =
                (slice_arg(s, 0, operands)?, slice_arg(s, 1, operands)?, slice_arg(s, 2, operands)?)
            else {
                return None;
            };
            let (step, n) = (step.first()?.as_int()?, i64::try_from(x.len()).ok()?);
            if step == 0 {
                return None;
            }
            let (first, count) = slice_bounds(n, start.first()?.as_int()?, end.first()?.as_int()?, step);
            (0..count).map(|i| x.get(usize::try_from(first + i * step).ok()?).cloned()).collect()
        }
        Op::Expand { .. } | Op::Full { .. } | Op::Tile { .. } => {
            let (x, n) = (arg(0)?, ty.known_len()?);
            if n > MAX_INTS || x.is_empty() || n % x.len() != 0 {
                return None;
            }
            Some((0..n).map(|i| x[i % x.len()].clone()).collect())
        }
        Op::Range => {
            let (start, step, n) = (arg(0)?.first()?, arg(2)?.first()?, ty.known_len()?);
            (n <= MAX_INTS).then(|| (0..n).map(|i| start + &(step * &i.into())).collect())
        }
        Op::Reduce(r) if r.axes == [0] && !arg(0)?.is_empty() => {
            let x = arg(0)?;
            let fold = |f: fn(&Dim, &Dim) -> Dim| {
                let all = x[1..]
                    .iter()
                    .try_fold(x[0].clone(), |a, b| Some(f(&a, b)).filter(|d| d.is_simple() && !saturated(d)));
                all.map(|d| vec![d])
            };
            match r.kind {
                crate::ir::ReduceKind::Prod => fold(|a, b| a * b),
                crate::ir::ReduceKind::Sum => fold(|a, b| a + b),
                _ => None,
            }
        }
        Op::Reduce(r) if r.axes.is_empty() => Some(arg(0)?.to_vec()),
        _ => None,
    }
}

/// The `which`-th bound list (starts, ends, steps) of a slice with operands resolved.
fn slice_arg(s: &Slice, which: usize, operands: &[Operand]) -> Option<IntArg> {
    let args = [&s.starts, &s.ends, &s.steps];
    let arg = args[which];
    match arg {
        IntArg::Known(_) => Some(arg.clone()),
        IntArg::Operand => {
            let before = args[..which].iter().filter(|a| matches!(a, IntArg::Operand)).count();
            Some(IntArg::Known(operands.get(1 + before)?.ints?.to_vec()))
        }
    }
}

fn zip_ints(a: &[Dim], b: &[Dim], f: impl Fn(&Dim, &Dim) -> Option<Dim>) -> Option<Vec<Dim>> {
    let n = if a.len() == 1 { b.len() } else { a.len() };
    let at = |v: &'_ [Dim], i: usize| if v.len() == 1 { v.first().cloned() } else { v.get(i).cloned() };
    (0..n).map(|i| f(&at(a, i)?, &at(b, i)?)).collect()
}

fn binary_int(f: Binary, a: &Dim, b: &Dim) -> Option<Dim> {
    let truth = |t: bool| Some(Dim::int(i64::from(t)));
    if let (Some(x), Some(y)) = (a.as_int(), b.as_int()) {
        use crate::ir::Scalar;
        return f.eval(Scalar::i64(x), Scalar::i64(y)).map(|s| Dim::int(s.to_i64()));
    }
    match f {
        Binary::Add => Some(a + b),
        Binary::Sub => Some(a - b),
        Binary::Mul => Some(a * b),
        Binary::Div => a.div_exact(b),
        // An extent is at least 0, so it differs from anything plainly below that.
        Binary::Eq if is_below_zero(a) && is_extent(b) || is_below_zero(b) && is_extent(a) => truth(false),
        Binary::Ne if is_below_zero(a) && is_extent(b) || is_below_zero(b) && is_extent(a) => truth(true),
        Binary::Eq if a == b => truth(true),
        Binary::Ne if a == b => truth(false),
        Binary::Eq if !may_equal(a, b) => truth(false),
        Binary::Ne if !may_equal(a, b) => truth(true),
        Binary::Max if is_extent(a) && b.as_int().is_some_and(|v| v <= 0) => Some(a.clone()),
        Binary::Max if is_extent(b) && a.as_int().is_some_and(|v| v <= 0) => Some(b.clone()),
        Binary::Min | Binary::Max if a == b => Some(a.clone()),
        _ => None,
    }
}

fn is_below_zero(d: &Dim) -> bool {
    d.as_int().is_some_and(|v| v < 0)
}

/// Whether no coefficient is negative, so that the value is at least 0 for any extents.
fn is_extent(d: &Dim) -> bool {
    d.terms().all(|(_, c)| c >= 0)
}
