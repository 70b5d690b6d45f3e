//! Reductions, running sums and extremes.

use super::elementwise::{is_saturated, unsaturated};
use super::{Evaluated, Family, Fields, Fresh, Inferred, IntArg};
use crate::ir::broadcast::{Lanes, Offsets, checked_len, strides};
use crate::ir::infer::{Operand, check_axis, fail};
use crate::ir::tensor::Tensor;
use crate::ir::{DType, Dim, Type};
use std::borrow::Cow;
use std::cmp::Ordering;

/// Ops whose results depend on all entries along some axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// `x`: see [`Fold`].
    Fold(Fold),
    /// `x`: index of an extreme along an axis (i64).
    Arg(ArgReduce),
    /// `x`: running sum along an axis.
    Cumulative(Cumulative),
    /// `x, [k]`: values and indices (i64) of the extreme entries along an axis.
    TopK(TopK),
}

/// A reduction over some axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fold {
    /// The number that is computed.
    pub kind: FoldKind,
    /// Sorted; empty means none (the identity).
    pub axes: Vec<usize>,
    /// True if the axes stay with extent 1.
    pub keep_dims: bool,
}

/// The number that a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum FoldKind {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
}

/// The index of an extreme along an axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArgReduce {
    /// Maximum rather than minimum.
    pub max: bool,
    /// The axis.
    pub axis: usize,
    /// True if the axis stays with extent 1.
    pub keep_dims: bool,
    /// The last of equal extremes instead of the first.
    pub last: bool,
}

/// A running sum or product along an axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cumulative {
    /// True for the product.
    pub product: bool,
    /// The axis.
    pub axis: usize,
    /// True if an entry leaves itself out.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
}

/// The `k` extreme entries along an axis, best first; outputs values and indices.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopK {
    /// The axis.
    pub axis: usize,
    /// Largest rather than smallest.
    pub largest: bool,
    /// How many, one value.
    pub k: IntArg,
}

impl FoldKind {
    /// Every kind.
    pub const ALL: [FoldKind; 5] = [FoldKind::Sum, FoldKind::Mean, FoldKind::Max, FoldKind::Min, FoldKind::Prod];

    /// The name in graph text, after `reduce_`.
    pub const fn name(self) -> &'static str {
        match self {
            FoldKind::Sum => "sum",
            FoldKind::Mean => "mean",
            FoldKind::Max => "max",
            FoldKind::Min => "min",
            FoldKind::Prod => "prod",
        }
    }
}

impl Family for Reduce {
    fn blanks() -> Vec<Self> {
        let axis = 0;
        let fold = |kind| Reduce::Fold(Fold { kind, axes: vec![], keep_dims: false });
        let arg = |max| Reduce::Arg(ArgReduce { max, axis, keep_dims: false, last: false });
        let others = [
            arg(true),
            arg(false),
            Reduce::Cumulative(Cumulative { product: false, axis, exclusive: false, reverse: false }),
            Reduce::Cumulative(Cumulative { product: true, axis, exclusive: false, reverse: false }),
            Reduce::TopK(TopK { axis, largest: true, k: IntArg::Operand }),
        ];
        FoldKind::ALL.into_iter().map(fold).chain(others).collect()
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match self {
            Reduce::Fold(r) => return format!("reduce_{}", r.kind.name()).into(),
            Reduce::Arg(a) if a.max => "arg_max",
            Reduce::Arg(_) => "arg_min",
            Reduce::Cumulative(c) if c.product => "cum_prod",
            Reduce::Cumulative(_) => "cum_sum",
            Reduce::TopK(_) => "top_k",
        }
        .into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        match self {
            Reduce::Fold(r) => {
                fields.ints("axes", &mut r.axes);
                fields.flag("keep_dims", &mut r.keep_dims);
            }
            Reduce::Arg(a) => {
                fields.int("axis", &mut a.axis);
                fields.flag("keep_dims", &mut a.keep_dims);
                fields.optional_flag("last", &mut a.last, false);
            }
            Reduce::Cumulative(c) => {
                fields.int("axis", &mut c.axis);
                fields.optional_flag("exclusive", &mut c.exclusive, false);
                fields.optional_flag("reverse", &mut c.reverse, false);
            }
            Reduce::TopK(t) => {
                fields.int("axis", &mut t.axis);
                fields.flag("largest", &mut t.largest);
                fields.arg("k", &mut t.k);
            }
        }
    }

    fn arity(&self) -> (usize, usize) {
        let n = match self {
            Reduce::TopK(t) => 1 + IntArg::operands(&[&t.k]),
            _ => 1,
        };
        (n, n)
    }

    fn outputs(&self) -> usize {
        if matches!(self, Reduce::TopK(_)) { 2 } else { 1 }
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        let ty = x[0].ty;
        let shape = match self {
            Reduce::Fold(r) => {
                r.axes.iter().try_for_each(|&a| check_axis(a, ty))?;
                if !r.axes.is_sorted_by(|a, b| a < b) {
                    fail!("axes {:?} are not sorted and distinct", r.axes);
                }
                reduced(&ty.shape, &r.axes, r.keep_dims)
            }
            Reduce::Arg(a) => {
                check_axis(a.axis, ty)?;
                return Ok(vec![Type { dtype: DType::I64, shape: reduced(&ty.shape, &[a.axis], a.keep_dims) }]);
            }
            Reduce::Cumulative(c) => {
                check_axis(c.axis, ty)?;
                ty.shape.clone()
            }
            Reduce::TopK(t) => {
                check_axis(t.axis, ty)?;
                let mut shape = ty.shape.clone();
                shape[t.axis] = match t.k.infer(x.get(1))?.as_deref() {
                    Some([k]) => k.clone(),
                    Some(_) => fail!("k must be one integer"),
                    None => fresh(),
                };
                return Ok(vec![Type { dtype: ty.dtype, shape: shape.clone() }, Type { dtype: DType::I64, shape }]);
            }
        };
        if ty.dtype == DType::Bool {
            fail!("not defined for bool");
        }
        Ok(vec![Type { dtype: ty.dtype, shape }])
    }

    fn ints(&self, x: &[Operand], _: &Type) -> Option<Vec<Dim>> {
        let Reduce::Fold(r) = self else { return None };
        let v = x[0].ints?;
        if r.axes.is_empty() {
            return unsaturated(v.to_vec());
        }
        let (first, rest) = v.split_first().filter(|_| r.axes == [0])?;
        let fold = |f: fn(&Dim, &Dim) -> Dim| {
            let followed = |d: &Dim| d.is_simple() && !is_saturated(d);
            rest.iter().try_fold(first.clone(), |a, b| Some(f(&a, b)).filter(followed)).map(|d| vec![d])
        };
        match r.kind {
            FoldKind::Prod => fold(|a, b| a * b),
            FoldKind::Sum => fold(|a, b| a + b),
            _ => None,
        }
        .and_then(unsaturated)
    }

    fn says_extents(&self) -> Vec<usize> {
        match self {
            Reduce::TopK(t) => (1..=IntArg::operands(&[&t.k])).collect(),
            _ => Vec::new(),
        }
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        match self {
            Reduce::Fold(r) => Ok(vec![fold(r, &x[0])?]),
            Reduce::Arg(a) => Ok(vec![arg_reduce(a, &x[0])?]),
            Reduce::Cumulative(c) => Ok(vec![cumulative(c, &x[0])?]),
            Reduce::TopK(t) => top_k(t, &x[0], &x[1..]),
        }
    }
}

fn reduced(shape: &[Dim], axes: &[usize], keep: bool) -> Vec<Dim> {
    let mut out = Vec::new();
    for (i, d) in shape.iter().enumerate() {
        match (axes.contains(&i), keep) {
            (true, true) => out.push(Dim::int(1)),
            (true, false) => {}
            (false, _) => out.push(d.clone()),
        }
    }
    out
}

fn fold(r: &Fold, x: &Tensor) -> Evaluated<Tensor> {
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
            FoldKind::Sum | FoldKind::Mean => 0.0,
            FoldKind::Prod => 1.0,
            FoldKind::Max => f64::NEG_INFINITY,
            FoldKind::Min => f64::INFINITY,
        };
        let mut out = vec![start; len];
        for (at, &v) in places.zip(data) {
            let o = &mut out[at];
            *o = match r.kind {
                FoldKind::Sum | FoldKind::Mean => *o + v,
                FoldKind::Prod => *o * v,
                FoldKind::Max | FoldKind::Min if o.is_nan() || v.is_nan() => f64::NAN,
                FoldKind::Max => o.max(v),
                FoldKind::Min => o.min(v),
            };
        }
        if r.kind == FoldKind::Mean {
            out.iter_mut().for_each(|v| *v /= count as f64);
        }
        return Tensor::rounded(x.dtype(), shape, out);
    }
    let data = x.ints().unwrap_or_default();
    if count == 0 && len > 0 && r.kind == FoldKind::Mean {
        return Err("mean of no integers".into());
    }
    let start = match r.kind {
        FoldKind::Sum | FoldKind::Mean => 0,
        FoldKind::Prod => 1,
        FoldKind::Max => x.dtype().range().0 as i64,
        FoldKind::Min => x.dtype().range().1 as i64,
    };
    let number = |held: i64| x.dtype().number(held);
    let mut out = vec![start; len];
    for (at, &v) in places.zip(data) {
        let o = &mut out[at];
        *o = match r.kind {
            FoldKind::Sum | FoldKind::Mean => o.wrapping_add(v),
            FoldKind::Prod => o.wrapping_mul(v),
            FoldKind::Max if number(v) > number(*o) => v,
            FoldKind::Min if number(v) < number(*o) => v,
            FoldKind::Max | FoldKind::Min => *o,
        };
    }
    if r.kind == FoldKind::Mean && count > 0 {
        out.iter_mut().for_each(|v| *v = (number(*v) / count as i128) as i64);
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
        (_, Some(v)) => x.dtype().number(v[i]).cmp(&x.dtype().number(v[j])),
        _ => Ordering::Equal,
    }
}

fn arg_reduce(a: &ArgReduce, x: &Tensor) -> Evaluated<Tensor> {
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

fn cumulative(c: &Cumulative, x: &Tensor) -> Evaluated<Tensor> {
    let lanes = Lanes::new(x.shape(), c.axis);
    let shape = x.shape().to_vec();
    match (x.floats(), x.ints()) {
        (Some(data), _) if c.product => Tensor::rounded(x.dtype(), shape, running(c, &lanes, data, 1.0, |a, b| a * b)),
        (Some(data), _) => Tensor::rounded(x.dtype(), shape, running(c, &lanes, data, 0.0, |a, b| a + b)),
        (_, Some(data)) if x.dtype() != DType::Bool => {
            let (none, with): (i64, fn(i64, i64) -> i64) =
                if c.product { (1, i64::wrapping_mul) } else { (0, i64::wrapping_add) };
            Tensor::wrapped(x.dtype(), shape, running(c, &lanes, data, none, with))
        }
        _ => Err(format!("not defined for {}", x.dtype())),
    }
}

fn running<T: Copy>(c: &Cumulative, lanes: &Lanes, data: &[T], none: T, add: impl Fn(T, T) -> T) -> Vec<T> {
    let mut out = data.to_vec();
    for start in lanes.starts() {
        let mut all = none;
        let mut step = |at: usize| {
            let with = add(all, data[at]);
            out[at] = if c.exclusive { all } else { with };
            all = with;
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
fn top_k(t: &TopK, x: &Tensor, rest: &[Tensor]) -> Evaluated<Vec<Tensor>> {
    let k = match t.k.eval(&mut rest.iter())?.as_slice() {
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
