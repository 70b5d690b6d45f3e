//! Functions of each element, with broadcasting, and casts.

use super::dtype::{burn_scalar, float_dtype, int_dtype};
use super::host::{Host, division_by_zero};
use super::tensor::BOOL;
use super::{Cx, Fault, InnerTensor, Res};
use bgz_passes::ir::{Binary, DType, Scalar, Unary};
use burn_backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn_backend::{Backend, Scalar as BurnScalar};

/// Exponents up to this size are taken by Burn as powers of an integer.
const MAX_POWER: f64 = 1e9;

// ---- unary ----

pub(super) fn unary<B: Backend>(f: Unary, x: InnerTensor<B>) -> Res<InnerTensor<B>> {
    match x {
        InnerTensor::Float(t) => match f {
            Unary::IsNan => Ok(InnerTensor::Bool(B::float_is_nan(t, BOOL))),
            Unary::IsInf => Ok(InnerTensor::Bool(B::float_is_inf(t, BOOL))),
            _ => float_unary::<B>(f, t).map(InnerTensor::Float),
        },
        InnerTensor::Int(t) => int_unary::<B>(f, t).map(InnerTensor::Int),
        InnerTensor::Bool(t) if f == Unary::Not => Ok(InnerTensor::Bool(B::bool_not(t))),
        InnerTensor::Bool(_) => Err(Fault::Invalid(format!("{} is not defined for bool", f.name()))),
    }
}

fn float_unary<B: Backend>(f: Unary, x: FloatTensor<B>) -> Res<FloatTensor<B>> {
    let num = |v: f64| BurnScalar::Float(v);
    Ok(match f {
        Unary::Neg => B::float_neg(x),
        Unary::Abs => B::float_abs(x),
        // Backends differ in the sign of NaN, which is NaN, and of zeros.
        Unary::Sign => {
            let nan = B::float_is_nan(x.clone(), BOOL);
            B::float_mask_where(B::float_sign(x.clone()), nan, x)
        }
        Unary::Floor => B::float_floor(x),
        Unary::Ceil => B::float_ceil(x),
        Unary::Round => B::float_round(x),
        Unary::Trunc => B::float_trunc(x),
        Unary::Sqrt => B::float_sqrt(x),
        Unary::Recip => B::float_recip(x),
        Unary::Rsqrt => B::float_recip(B::float_sqrt(x)),
        Unary::Exp => B::float_exp(x),
        // (e^x - 1) / (e^x + 1) = tanh(x / 2): accurate near 0, where e^x - 1 is not.
        Unary::Expm1 => {
            let half = B::float_tanh(B::float_mul_scalar(x.clone(), num(0.5)));
            B::float_mul(half, B::float_add_scalar(B::float_exp(x), num(1.0)))
        }
        Unary::Log => B::float_log(x),
        Unary::Log1p => B::float_log1p(x),
        Unary::Sin => B::float_sin(x),
        Unary::Cos => B::float_cos(x),
        Unary::Tan => B::float_tan(x),
        Unary::Asin => B::float_asin(x),
        Unary::Acos => B::float_acos(x),
        Unary::Atan => B::float_atan(x),
        Unary::Sinh => B::float_sinh(x),
        Unary::Cosh => B::float_cosh(x),
        Unary::Tanh => B::float_tanh(x),
        Unary::Asinh => B::float_asinh(x),
        Unary::Acosh => B::float_acosh(x),
        Unary::Atanh => B::float_atanh(x),
        Unary::Sigmoid => B::sigmoid(x),
        Unary::Erf => B::float_erf(x),
        // max(x, 0) + log(1 + e^-|x|) does not overflow.
        Unary::Softplus => {
            let tail = B::float_log1p(B::float_exp(B::float_neg(B::float_abs(x.clone()))));
            B::float_add(relu::<B>(x), tail)
        }
        Unary::Relu => relu::<B>(x),
        Unary::GeluErf => B::gelu(x),
        Unary::GeluTanh => {
            // (1 + tanh y) / 2 is sigmoid(2 y).
            let cube = B::float_mul(B::float_mul(x.clone(), x.clone()), x.clone());
            let inner = B::float_add(x.clone(), B::float_mul_scalar(cube, num(0.044715)));
            let two_root = 2.0 * std::f64::consts::FRAC_2_PI.sqrt();
            B::float_mul(x, B::sigmoid(B::float_mul_scalar(inner, num(two_root))))
        }
        Unary::Silu => B::float_mul(x.clone(), B::sigmoid(x)),
        Unary::Not | Unary::IsNan | Unary::IsInf => {
            return Err(Fault::Invalid(format!("{} is not defined for floats", f.name())));
        }
    })
}

/// Not Burn's, which is a maximum with 0 in its backends, where NaN would become 0.
fn relu<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let zero = BurnScalar::Float(0.0);
    let below = B::float_lower_elem(x.clone(), zero, BOOL);
    B::float_mask_fill(x, below, zero)
}

fn int_unary<B: Backend>(f: Unary, x: IntTensor<B>) -> Res<IntTensor<B>> {
    let dtype = InnerTensor::<B>::Int(x.clone()).need_dtype()?;
    let num = |v: i64| burn_scalar(Scalar::from_i64(dtype, v));
    Ok(match f {
        // Unsigned: Burn's functions for these are for signed integers.
        Unary::Neg if dtype == DType::U8 => {
            let zero = InnerTensor::<B>::full(
                Scalar::from_i64(dtype, 0),
                &InnerTensor::<B>::Int(x.clone()).shape(),
                &B::int_device(&x),
            )?;
            B::int_sub(zero.int()?, x)
        }
        Unary::Abs if dtype == DType::U8 => x,
        Unary::Sign if dtype == DType::U8 => B::bool_into_int(B::int_greater_elem(x, num(0), BOOL), int_dtype(dtype)?),
        Unary::Neg => B::int_neg(x),
        Unary::Abs => B::int_abs(x),
        Unary::Sign => B::int_sign(x),
        Unary::Relu => B::int_clamp_min(x, num(0)),
        _ => return Err(Fault::Invalid(format!("{} is not defined for {dtype}", f.name()))),
    })
}

// ---- operands of broadcast functions ----

/// A tensor, or one number that is broadcast.
pub(super) enum Arg<B: Backend> {
    Tensor(InnerTensor<B>),
    Number(Scalar),
}

impl<B: Backend> Arg<B> {
    /// A tensor of one element becomes a number: Burn has functions for those, and a user writes them.
    pub(super) fn new(t: InnerTensor<B>) -> Res<Self> {
        if t.len() == 1 { Ok(Self::Number(t.to_scalar()?)) } else { Ok(Self::Tensor(t)) }
    }

    /// The extents; none for a number.
    fn shape(&self) -> Vec<usize> {
        match self {
            Self::Tensor(t) => t.shape(),
            Self::Number(_) => Vec::new(),
        }
    }

    fn dtype(&self) -> Res<DType> {
        match self {
            Self::Tensor(t) => t.need_dtype(),
            Self::Number(s) => Ok(s.dtype()),
        }
    }

    /// The elements of a tensor of `shape`, or the one number.
    fn into_host(self, shape: &[usize]) -> Res<Host> {
        match self {
            Self::Tensor(t) => Host::new(t.expand(shape)?),
            Self::Number(s) => {
                let mut bytes = Vec::new();
                s.write_le_bytes(&mut bytes);
                Ok(Host { dtype: s.dtype(), shape: vec![1; shape.len()], bytes })
            }
        }
    }

    /// A tensor of `shape`.
    pub(super) fn into_tensor(self, shape: &[usize], cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
        match self {
            Self::Tensor(t) => t.expand(shape),
            Self::Number(s) => InnerTensor::full(s, shape, cx.device),
        }
    }
}

/// The common extents of two.
fn broadcast(a: &[usize], b: &[usize]) -> Res<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (1, d) => Ok(d),
            (d, e) if d == e || e == 1 => Ok(d),
            _ => Err(Fault::Invalid(format!("{a:?} and {b:?} do not broadcast"))),
        })
        .collect()
}

// ---- binary ----

pub(super) fn binary<B: Backend>(
    f: Binary,
    a: InnerTensor<B>,
    b: InnerTensor<B>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    apply(f, Arg::new(a)?, Arg::new(b)?, cx)?.into_tensor(&cx.out()?, cx)
}

/// A function that has no value for a number, or for numbers of this dtype.
pub(super) fn undefined(f: &str, dtype: DType) -> Fault {
    Fault::Invalid(format!("{f} is not defined for {dtype}"))
}

pub(super) fn apply<B: Backend>(f: Binary, a: Arg<B>, b: Arg<B>, cx: &Cx<'_, B>) -> Res<Arg<B>> {
    let dtype = a.dtype()?;
    if b.dtype()? != dtype || f.output(dtype).is_none() {
        return Err(Fault::Invalid(format!("{} of {dtype} and {}", f.name(), b.dtype()?)));
    }
    let (a, b) = match (a, b) {
        (Arg::Number(x), Arg::Number(y)) => {
            let divided = || if dtype.is_int() { division_by_zero() } else { undefined(f.name(), dtype) };
            return Ok(Arg::Number(f.eval(x, y).ok_or_else(divided)?));
        }
        (a, b) if dtype.is_int() && matches!(f, Binary::Div | Binary::Rem | Binary::Mod | Binary::Pow) => {
            let shape = broadcast(&a.shape(), &b.shape())?;
            let [a, b] = [a, b].map(|x| x.into_host(&shape));
            return Ok(Arg::Tensor(Host::zip(f, &a?, &b?, &shape)?.into_tensor(cx.device)?));
        }
        // The number goes to the right, where Burn's functions take it.
        (Arg::Number(x), b) if f.commutes() => (b, Arg::Number(x)),
        other => other,
    };
    let result = match (a, b) {
        (Arg::Tensor(InnerTensor::Float(t)), Arg::Number(s)) if has_scalar_form(f, s) => float_scalar::<B>(f, t, s),
        (Arg::Tensor(InnerTensor::Int(t)), Arg::Number(s)) if has_scalar_form(f, s) => int_scalar::<B>(f, t, s),
        (a, b) => {
            let shape = broadcast(&a.shape(), &b.shape())?;
            // These broadcast by themselves, given equal ranks; for others that would copy or is not so.
            let (a, b) = if broadcasts(f) && dtype != DType::Bool {
                let whole = |x: Arg<B>| match x {
                    Arg::Tensor(t) => t.with_rank(shape.len()),
                    Arg::Number(s) => InnerTensor::full(s, &vec![1; shape.len()], cx.device),
                };
                (whole(a)?, whole(b)?)
            } else {
                (a.into_tensor(&shape, cx)?, b.into_tensor(&shape, cx)?)
            };
            match (a, b) {
                (InnerTensor::Float(a), InnerTensor::Float(b)) => float_binary::<B>(f, a, b),
                (InnerTensor::Int(a), InnerTensor::Int(b)) => int_binary::<B>(f, a, b),
                (InnerTensor::Bool(a), InnerTensor::Bool(b)) => bool_binary::<B>(f, a, b),
                (a, b) => Err(Fault::Invalid(format!("{} of {a:?} and {b:?}", f.name()))),
            }
        }
    };
    result.map(Arg::Tensor)
}

/// Whether the functions of both backends broadcast operands of equal rank.
fn broadcasts(f: Binary) -> bool {
    use Binary::*;
    matches!(f, Add | Sub | Mul | Div | Eq | Ne | Lt | Le | Gt | Ge)
}

/// Whether Burn has this function of a tensor and a number, with the meaning it has here.
fn has_scalar_form(f: Binary, s: Scalar) -> bool {
    use Binary::*;
    match f {
        Add | Sub | Mul | Div | Eq | Ne | Lt | Le | Gt | Ge => true,
        Pow => s.dtype().is_float() && s.to_f64().abs() < MAX_POWER,
        Min | Max => !s.to_f64().is_nan(),
        And | Or | Xor => s.dtype().is_int(),
        Rem | Mod => false,
    }
}

fn float_scalar<B: Backend>(f: Binary, x: FloatTensor<B>, s: Scalar) -> Res<InnerTensor<B>> {
    let v = burn_scalar(s);
    Ok(InnerTensor::Float(match f {
        Binary::Add => B::float_add_scalar(x, v),
        Binary::Sub => B::float_sub_scalar(x, v),
        Binary::Mul => B::float_mul_scalar(x, v),
        Binary::Div => B::float_div_scalar(x, v),
        Binary::Pow => B::float_powf_scalar(x, v),
        // Not a clamp, which makes NaN the bound in some backends.
        Binary::Min => {
            let above = B::float_greater_elem(x.clone(), v, BOOL);
            B::float_mask_fill(x, above, v)
        }
        Binary::Max => {
            let below = B::float_lower_elem(x.clone(), v, BOOL);
            B::float_mask_fill(x, below, v)
        }
        _ => {
            return Ok(InnerTensor::Bool(match f {
                Binary::Eq => B::float_equal_elem(x, v, BOOL),
                Binary::Ne => B::float_not_equal_elem(x, v, BOOL),
                Binary::Lt => B::float_lower_elem(x, v, BOOL),
                Binary::Le => B::float_lower_equal_elem(x, v, BOOL),
                Binary::Gt => B::float_greater_elem(x, v, BOOL),
                Binary::Ge => B::float_greater_equal_elem(x, v, BOOL),
                _ => return Err(Fault::Invalid(format!("{} is not defined for floats", f.name()))),
            }));
        }
    }))
}

fn int_scalar<B: Backend>(f: Binary, x: IntTensor<B>, s: Scalar) -> Res<InnerTensor<B>> {
    let v = burn_scalar(s);
    Ok(InnerTensor::Int(match f {
        Binary::Add => B::int_add_scalar(x, v),
        Binary::Sub => B::int_sub_scalar(x, v),
        Binary::Mul => B::int_mul_scalar(x, v),
        Binary::Min => B::int_clamp_max(x, v),
        Binary::Max => B::int_clamp_min(x, v),
        Binary::And => B::bitwise_and_scalar(x, v),
        Binary::Or => B::bitwise_or_scalar(x, v),
        Binary::Xor => B::bitwise_xor_scalar(x, v),
        _ => {
            return Ok(InnerTensor::Bool(match f {
                Binary::Eq => B::int_equal_elem(x, v, BOOL),
                Binary::Ne => B::int_not_equal_elem(x, v, BOOL),
                Binary::Lt => B::int_lower_elem(x, v, BOOL),
                Binary::Le => B::int_lower_equal_elem(x, v, BOOL),
                Binary::Gt => B::int_greater_elem(x, v, BOOL),
                Binary::Ge => B::int_greater_equal_elem(x, v, BOOL),
                _ => return Err(Fault::Invalid(format!("{} by a number is not defined", f.name()))),
            }));
        }
    }))
}

fn float_binary<B: Backend>(f: Binary, a: FloatTensor<B>, b: FloatTensor<B>) -> Res<InnerTensor<B>> {
    Ok(InnerTensor::Float(match f {
        Binary::Add => B::float_add(a, b),
        Binary::Sub => B::float_sub(a, b),
        Binary::Mul => B::float_mul(a, b),
        Binary::Div => B::float_div(a, b),
        // Burn's remainder has the sign of b: that of a comes back from outside.
        Binary::Rem => {
            let sign = B::float_sign(a.clone());
            B::float_mul(B::float_remainder(B::float_abs(a), B::float_abs(b)), sign)
        }
        Binary::Mod => B::float_remainder(a, b),
        Binary::Min | Binary::Max => {
            let beyond = if f == Binary::Min {
                B::float_lower(b.clone(), a.clone(), BOOL)
            } else {
                B::float_greater(b.clone(), a.clone(), BOOL)
            };
            // A NaN in a stays, as nothing is beyond it; one in b is put in.
            let take = B::bool_or(beyond, B::float_is_nan(b.clone(), BOOL));
            B::float_mask_where(a, take, b)
        }
        Binary::Pow => B::float_powf(a, b),
        _ => {
            return Ok(InnerTensor::Bool(match f {
                Binary::Eq => B::float_equal(a, b, BOOL),
                Binary::Ne => B::float_not_equal(a, b, BOOL),
                Binary::Lt => B::float_lower(a, b, BOOL),
                Binary::Le => B::float_lower_equal(a, b, BOOL),
                Binary::Gt => B::float_greater(a, b, BOOL),
                Binary::Ge => B::float_greater_equal(a, b, BOOL),
                _ => return Err(Fault::Invalid(format!("{} is not defined for floats", f.name()))),
            }));
        }
    }))
}

fn int_binary<B: Backend>(f: Binary, a: IntTensor<B>, b: IntTensor<B>) -> Res<InnerTensor<B>> {
    Ok(InnerTensor::Int(match f {
        Binary::Add => B::int_add(a, b),
        Binary::Sub => B::int_sub(a, b),
        Binary::Mul => B::int_mul(a, b),
        Binary::Min | Binary::Max => {
            let take = if f == Binary::Min {
                B::int_lower(b.clone(), a.clone(), BOOL)
            } else {
                B::int_greater(b.clone(), a.clone(), BOOL)
            };
            B::int_mask_where(a, take, b)
        }
        Binary::And => B::bitwise_and(a, b),
        Binary::Or => B::bitwise_or(a, b),
        Binary::Xor => B::bitwise_xor(a, b),
        _ => {
            return Ok(InnerTensor::Bool(match f {
                Binary::Eq => B::int_equal(a, b, BOOL),
                Binary::Ne => B::int_not_equal(a, b, BOOL),
                Binary::Lt => B::int_lower(a, b, BOOL),
                Binary::Le => B::int_lower_equal(a, b, BOOL),
                Binary::Gt => B::int_greater(a, b, BOOL),
                Binary::Ge => B::int_greater_equal(a, b, BOOL),
                _ => return Err(Fault::Invalid(format!("{} is not defined for integers", f.name()))),
            }));
        }
    }))
}

fn bool_binary<B: Backend>(f: Binary, a: BoolTensor<B>, b: BoolTensor<B>) -> Res<InnerTensor<B>> {
    Ok(InnerTensor::Bool(match f {
        Binary::Eq => B::bool_equal(a, b),
        Binary::Ne => B::bool_not_equal(a, b),
        Binary::And => B::bool_and(a, b),
        Binary::Or => B::bool_or(a, b),
        Binary::Xor => B::bool_xor(a, b),
        _ => return Err(Fault::Invalid(format!("{} is not defined for bool", f.name()))),
    }))
}

// ---- where ----

pub(super) fn choose<B: Backend>(
    cond: InnerTensor<B>,
    a: InnerTensor<B>,
    b: InnerTensor<B>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    pick(Arg::new(cond)?, Arg::new(a)?, Arg::new(b)?, cx)?.into_tensor(&cx.out()?, cx)
}

pub(super) fn pick<B: Backend>(cond: Arg<B>, a: Arg<B>, b: Arg<B>, cx: &Cx<'_, B>) -> Res<Arg<B>> {
    let shape = broadcast(&broadcast(&cond.shape(), &a.shape())?, &b.shape())?;
    let cond = match cond {
        Arg::Number(c) => return Ok(Arg::Tensor(if c.to_i64() != 0 { a } else { b }.into_tensor(&shape, cx)?)),
        Arg::Tensor(c) => c.expand(&shape)?.bool()?,
    };
    Ok(Arg::Tensor(match (a, b) {
        (Arg::Number(a), b) => b.into_tensor(&shape, cx)?.mask_fill(cond, a),
        (a, Arg::Number(b)) => a.into_tensor(&shape, cx)?.mask_fill(B::bool_not(cond), b),
        (a, b) => b.into_tensor(&shape, cx)?.mask_where(cond, a.into_tensor(&shape, cx)?)?,
    }))
}

// ---- casts ----

pub(super) fn cast<B: Backend>(x: InnerTensor<B>, to: DType, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let from = x.need_dtype()?;
    if from == to {
        return Ok(x);
    }
    Ok(match x {
        InnerTensor::Float(t) if to.is_float() => InnerTensor::Float(B::float_cast(t, float_dtype(to)?)),
        InnerTensor::Float(t) if to == DType::Bool => {
            InnerTensor::Bool(B::float_not_equal_elem(t, BurnScalar::Float(0.0), BOOL))
        }
        InnerTensor::Int(t) if to.is_float() => InnerTensor::Float(B::int_into_float(t, float_dtype(to)?)),
        InnerTensor::Int(t) if to == DType::Bool => {
            InnerTensor::Bool(B::int_not_equal_elem(t, burn_scalar(Scalar::from_i64(from, 0)), BOOL))
        }
        InnerTensor::Int(t) if holds(to, from) => InnerTensor::Int(B::int_cast(t, int_dtype(to)?)),
        InnerTensor::Bool(t) if to.is_float() => InnerTensor::Float(B::bool_into_float(t, float_dtype(to)?)),
        InnerTensor::Bool(t) => InnerTensor::Int(B::bool_into_int(t, int_dtype(to)?)),
        // NdArray panics on a number that the integer cannot hold, where the graph saturates or wraps ([`Scalar::cast`]).
        x => Host::new(x)?.cast(to).into_tensor(cx.device)?,
    })
}

/// Whether every integer of `from` is one of `to`.
fn holds(to: DType, from: DType) -> bool {
    to.size() > from.size() && (to != DType::U8)
}
