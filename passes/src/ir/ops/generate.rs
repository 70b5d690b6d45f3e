//! Tensors made from shapes and numbers.

use super::elementwise::unsaturated;
use super::movement::repeated_ints;
use super::{Evaluated, Family, Fields, Fresh, Inferred, IntArg};
use crate::ir::broadcast::{Lanes, checked_len};
use crate::ir::infer::{MAX_INTS, Operand, fail, may_equal, need_one};
use crate::ir::tensor::{MAX_LEN, Tensor};
use crate::ir::{DType, Dim, Scalar, Type};
use std::borrow::Cow;

/// Ops whose results are made from shapes and numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Generate {
    /// `x`: its extents from axis `start` to `end` (i64).
    Shape {
        /// First axis.
        start: usize,
        /// One past the last axis.
        end: usize,
    },
    /// No operand: integers computed from dims (i64, a vector; a scalar if `scalar`).
    Dims {
        /// The integers.
        values: Vec<Dim>,
        /// True if the one value is a scalar instead of a vector.
        scalar: bool,
    },
    /// `value (one element), [shape i64]`: a tensor of one value.
    Full {
        /// The extents.
        shape: IntArg,
    },
    /// `start, limit, delta` (scalars): evenly spaced numbers.
    Range,
    /// `indices, depth (scalar), values [off, on]`: one-hot along a new axis.
    OneHot {
        /// The new axis.
        axis: usize,
    },
}

impl Family for Generate {
    fn blanks() -> Vec<Self> {
        vec![
            Generate::Shape { start: 0, end: 0 },
            Generate::Dims { values: vec![], scalar: false },
            Generate::Full { shape: IntArg::Operand },
            Generate::Range,
            Generate::OneHot { axis: 0 },
        ]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match self {
            Generate::Shape { .. } => "shape",
            Generate::Dims { .. } => "dims",
            Generate::Full { .. } => "full",
            Generate::Range => "range",
            Generate::OneHot { .. } => "one_hot",
        }
        .into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        match self {
            Generate::Shape { start, end } => {
                fields.int("start", start);
                fields.int("end", end);
            }
            Generate::Dims { values, scalar } => {
                fields.dims("values", values);
                fields.optional_flag("scalar", scalar, false);
            }
            Generate::Full { shape } => fields.arg("shape", shape),
            Generate::Range => {}
            Generate::OneHot { axis } => fields.int("axis", axis),
        }
    }

    fn arity(&self) -> (usize, usize) {
        let n = match self {
            Generate::Dims { .. } => 0,
            Generate::Shape { .. } => 1,
            Generate::Full { shape } => 1 + IntArg::operands(&[shape]),
            Generate::Range | Generate::OneHot { .. } => 3,
        };
        (n, n)
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        let result = match self {
            Generate::Shape { start, end } => {
                let rank = x[0].ty.rank();
                if start > end || *end > rank {
                    fail!("axes {start} to {end} of a tensor of rank {rank}");
                }
                Type::new(DType::I64, [end - start])
            }
            Generate::Dims { values, scalar } => {
                if *scalar && values.len() != 1 {
                    fail!("a scalar is one value, not {}", values.len());
                }
                let shape = if *scalar { vec![] } else { vec![Dim::from(values.len())] };
                Type { dtype: DType::I64, shape }
            }
            Generate::Full { shape } => {
                let value = x[0].ty;
                if value.shape.iter().any(|d| !d.is(1)) {
                    fail!("the value must be one element, not {value}");
                }
                Type { dtype: value.dtype, shape: shape.extents(x.get(1), fresh)? }
            }
            Generate::Range => {
                let dtype = x[0].ty.dtype;
                if x.iter().any(|o| o.ty.dtype != dtype || o.ty.rank() != 0) || dtype == DType::Bool {
                    fail!("range of {}, {}, {}", x[0].ty, x[1].ty, x[2].ty);
                }
                let length = range_length(x).unwrap_or_else(fresh);
                Type { dtype, shape: vec![length] }
            }
            Generate::OneHot { axis } => {
                let (indices, values) = (x[0].ty, x[2].ty);
                if *axis > indices.rank() {
                    fail!("axis {axis} for indices {indices}");
                }
                need_one(x[1].ty, "depth")?;
                if values.rank() != 1 || !may_equal(&values.shape[0], &Dim::int(2)) {
                    fail!("values must be [off, on], not {values}");
                }
                let depth = match x[1].ints {
                    Some([d]) => d.clone(),
                    _ => fresh(),
                };
                let mut shape = indices.shape.clone();
                shape.insert(*axis, depth);
                Type { dtype: values.dtype, shape }
            }
        };
        Ok(vec![result])
    }

    fn ints(&self, x: &[Operand], ty: &Type) -> Option<Vec<Dim>> {
        match self {
            Generate::Shape { start, end } => Some(x[0].ty.shape[*start..*end].to_vec()),
            Generate::Dims { values, .. } => Some(values.clone()),
            Generate::Full { .. } => repeated_ints(x[0].ints?, ty),
            Generate::Range => {
                let (start, step) = (x[0].ints?.first()?, x[2].ints?.first()?);
                let n = ty.known_len().filter(|&n| n <= MAX_INTS)?;
                unsaturated((0..n).map(|i| start + &(step * &i.into())).collect())
            }
            Generate::OneHot { .. } => None,
        }
    }

    fn says_extents(&self) -> Vec<usize> {
        match self {
            Generate::Shape { .. } | Generate::Dims { .. } => Vec::new(),
            Generate::Full { shape } => (1..=IntArg::operands(&[shape])).collect(),
            Generate::Range => vec![0, 1, 2],
            Generate::OneHot { .. } => vec![1],
        }
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let result = match self {
            Generate::Shape { start, end } => shape(&x[0], *start, *end),
            Generate::Dims { values, scalar } => dims(values, *scalar),
            Generate::Full { shape } => full(&x[0], shape, &x[1..]),
            Generate::Range => range(&x[0], &x[1], &x[2]),
            Generate::OneHot { axis } => one_hot(&x[0], &x[1], &x[2], *axis),
        };
        Ok(vec![result?])
    }
}

/// How many numbers there are from a start to a limit.
fn range_length(x: &[Operand]) -> Option<Dim> {
    let [start, limit, step] = x.iter().map(|o| o.ints?.first()).collect::<Option<Vec<_>>>()?[..] else { return None };
    let difference = limit - start;
    let span = match (start.as_int(), limit.as_int()) {
        // Two i64 may be farther apart than an i64.
        (Some(a), Some(b)) => Some(i128::from(b) - i128::from(a)),
        _ => difference.as_int().map(i128::from),
    };
    match (span, step.as_int()) {
        (None, Some(1)) => Some(difference),
        (Some(n), Some(d)) if d != 0 => {
            let (n, d) = (n * i128::from(d.signum()), i128::from(d).abs());
            let steps = -(-n).div_euclid(d);
            i64::try_from(steps.max(0)).ok().map(Dim::int)
        }
        _ => None,
    }
}

/// The one element of an operand.
pub(super) fn single(t: &Tensor) -> Evaluated<Scalar> {
    match (t.len(), t.get(0)) {
        (1, Some(s)) => Ok(s),
        _ => Err(format!("one element is needed, not {}", t.ty())),
    }
}

fn shape(x: &Tensor, start: usize, end: usize) -> Evaluated<Tensor> {
    let extents = x.shape().get(start..end).ok_or("axes out of range")?;
    Tensor::wrapped(DType::I64, vec![extents.len()], extents.iter().map(|&d| d as i64).collect())
}

fn dims(values: &[Dim], scalar: bool) -> Evaluated<Tensor> {
    let ints: Vec<i64> = values
        .iter()
        .map(|d| d.as_int().ok_or_else(|| format!("extent {d} is not known")))
        .collect::<Evaluated<_>>()?;
    Tensor::wrapped(DType::I64, if scalar { vec![] } else { vec![ints.len()] }, ints)
}

fn full(value: &Tensor, shape: &IntArg, rest: &[Tensor]) -> Evaluated<Tensor> {
    let shape = shape.eval_extents(&mut rest.iter())?;
    let len = checked_len(&shape)?;
    single(value)?;
    value.pick(shape, std::iter::repeat_n(0, len))
}

fn range(start: &Tensor, limit: &Tensor, delta: &Tensor) -> Evaluated<Tensor> {
    let dtype = start.dtype();
    let (start, limit, delta) = (single(start)?, single(limit)?, single(delta)?);
    let too_long = || format!("range({start}, {limit}, {delta}) is more than {MAX_LEN} elements");
    if dtype.is_float() {
        let (s, l, d) = (start.to_f64(), limit.to_f64(), delta.to_f64());
        if d == 0.0 || !(s.is_finite() && l.is_finite() && d.is_finite()) {
            return Err(format!("range({start}, {limit}, {delta})"));
        }
        let n = ((l - s) / d).ceil().max(0.0);
        if n > MAX_LEN as f64 {
            return Err(too_long());
        }
        let n = n as usize;
        return Tensor::rounded(dtype, vec![n], (0..n).map(|i| s + i as f64 * d).collect());
    }
    // Wide enough for any difference of two integers.
    let (s, l, d) = (start.to_i128(), limit.to_i128(), delta.to_i128());
    if d == 0 {
        return Err("a step of 0".into());
    }
    // Rounded up, with both signs turned so that the step is positive.
    let n = (-((s - l) * d.signum()).div_euclid(d.abs())).max(0);
    let n = usize::try_from(n).ok().filter(|&n| n <= MAX_LEN).ok_or_else(too_long)?;
    Tensor::wrapped(dtype, vec![n], (0..n as i128).map(|i| (s + i * d) as i64).collect())
}

/// A negative index counts from the end; one out of range has no place.
fn one_hot(indices: &Tensor, depth: &Tensor, values: &Tensor, axis: usize) -> Evaluated<Tensor> {
    let depth = single(depth)?.to_i128();
    let extent = usize::try_from(depth).map_err(|_| format!("a depth of {depth}"))?;
    if values.len() != 2 {
        return Err(format!("values must be [off, on], not {}", values.ty()));
    }
    let mut shape = indices.shape().to_vec();
    shape.insert(axis, extent);
    checked_len(&shape)?;
    let lanes = Lanes::new(&shape, axis);
    let mut from = vec![0; shape.iter().product()];
    for (start, index) in lanes.starts().zip(indices.scalars()) {
        let i = index.to_i128();
        let i = if i < 0 { i.saturating_add(depth) } else { i };
        if let Some(at) = usize::try_from(i).ok().and_then(|i| lanes.lane(start).nth(i)) {
            from[at] = 1;
        }
    }
    values.pick(shape, from.into_iter())
}
