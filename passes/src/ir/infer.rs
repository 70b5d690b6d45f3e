//! Types of results from types of operands, and, for small integer tensors,
//! the integers in them: that is what makes shape arithmetic disappear.

use super::{Bindings, DType, Dim, MAX_NESTING, Op, Scalar, Type};
use thiserror::Error;

/// Why operands do not fit an op.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InferError(pub String);

/// The facts that are known of an operand.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its type.
    pub ty: &'a Type,
    /// Its elements, if it is a small integer or bool tensor computed from dims and constants.
    pub ints: Option<&'a [Dim]>,
}

/// The facts that are known of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Its type.
    pub ty: Type,
    /// Its elements, where they follow from dims and constants.
    pub ints: Option<Vec<Dim>>,
}

/// Integer tensors longer than this are not followed.
pub(crate) const MAX_INTS: usize = 64;

type Res<T> = Result<T, InferError>;

/// Returns an [`InferError`].
macro_rules! fail {
    ($($arg:tt)*) => { return Err($crate::ir::InferError(format!($($arg)*))) };
}
pub(super) use fail;

/// Types (and integers) of the results of `op`, or what does not fit.
///
/// `fresh` makes a new named dim for an extent that the operands do not
/// determine, such as the number of non-zero elements. `None` for an
/// [`Op::Opaque`].
pub fn infer(op: &Op, operands: &[Operand], fresh: &mut dyn FnMut() -> Dim) -> Res<Option<Vec<Known>>> {
    let (least, most) = op.arity();
    if operands.len() < least || operands.len() > most {
        let most = if most == usize::MAX { "more".into() } else { most.to_string() };
        fail!("takes {least} to {most} operands, not {}", operands.len());
    }
    if matches!(op, Op::Opaque(_)) {
        return Ok(None);
    }
    // Whatever walks over graphs within each other may recur, since every op went through here.
    if op.graphs().iter().any(|(_, g)| g.depth() > MAX_NESTING) {
        fail!("graphs are nested deeper than {MAX_NESTING}");
    }
    let mut types = op.types(operands, fresh)?;
    if let Some(t) = types.iter().find(|t| !t.can_be_held()) {
        fail!("{} is not a size that can be held", t.shown());
    }
    for d in types.iter_mut().flat_map(|t| &mut t.shape) {
        // Not followed any further: products of long sums outgrow memory.
        if !d.is_simple() {
            *d = fresh();
        }
    }
    let ints = if types.len() == 1 { ints(op, operands, &types[0]) } else { None };
    let mut known: Vec<Known> = types.into_iter().map(|ty| Known { ty, ints: None }).collect();
    if let (Some(first), Some(v)) = (known.first_mut(), ints)
        && v.len() <= MAX_INTS
        && v.iter().all(Dim::is_simple)
    {
        first.ints = Some(v);
    }
    Ok(Some(known))
}

/// The integers of the result, where they follow from the operands', in the range of its dtype.
fn ints(op: &Op, operands: &[Operand], ty: &Type) -> Option<Vec<Dim>> {
    if !(ty.dtype.is_int() || ty.dtype == DType::Bool) || ty.rank() > 1 {
        return None;
    }
    let v = op.ints(operands, ty)?;
    // Numbers that are not known yet are followed where they will not wrap: extents are far from the ends of these.
    let in_range = |d: Dim| match (d.as_int(), ty.dtype) {
        (_, DType::I64) | (None, DType::I32) => Some(d),
        (Some(i), _) => i64::try_from(Scalar::from_i64(ty.dtype, i).to_i128()).ok().map(Dim::int),
        (None, _) => None,
    };
    v.into_iter().map(in_range).collect()
}

/// That an op may be told of an axis.
pub(super) fn check_axis(axis: usize, ty: &Type) -> Res<()> {
    if axis >= ty.rank() {
        fail!("axis {axis} of a tensor of rank {}", ty.rank());
    }
    Ok(())
}

/// True if two extents can be the same number, false only for different constants.
pub(crate) fn may_equal(a: &Dim, b: &Dim) -> bool {
    // The difference of equal ones is not 0 where arithmetic saturates.
    a == b || (a - b).as_int().is_none_or(|d| d == 0)
}

pub(super) fn list(dims: &[Dim]) -> String {
    dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn need_float(t: &Type) -> Res<()> {
    if t.dtype.is_float() { Ok(()) } else { Err(InferError(format!("not defined for {}", t.dtype))) }
}

/// One element, in any rank.
pub(super) fn need_one(t: &Type, what: &str) -> Res<()> {
    if t.shape.iter().all(|d| may_equal(d, &Dim::int(1))) {
        Ok(())
    } else {
        Err(InferError(format!("{what} must be one element, not {t}")))
    }
}

pub(super) fn vector_len(t: &Type) -> Res<usize> {
    match (t.rank(), t.shape.first().and_then(Dim::as_usize)) {
        (1, Some(n)) if n <= MAX_INTS => Ok(n),
        _ => Err(InferError(format!("a vector of known length, at most {MAX_INTS}, is needed, not {t}"))),
    }
}

pub(super) fn broadcast_all(operands: &[Operand], fresh: &mut dyn FnMut() -> Dim) -> Res<Vec<Dim>> {
    let mut shape = Vec::new();
    for o in operands {
        shape = broadcast(&shape, &o.ty.shape, fresh)?;
    }
    Ok(shape)
}

/// The shape two shapes broadcast to, aligned at the last axis.
pub(crate) fn broadcast(a: &[Dim], b: &[Dim], fresh: &mut dyn FnMut() -> Dim) -> Res<Vec<Dim>> {
    let n = a.len().max(b.len());
    let one = Dim::int(1);
    let at = |s: &[Dim], i: usize| (i + s.len()).checked_sub(n).map_or(one.clone(), |j| s[j].clone());
    let mut out = Vec::with_capacity(n);
    for i in 0..n {
        let (x, y) = (at(a, i), at(b, i));
        out.push(match (x.as_int(), y.as_int()) {
            _ if x == y => x,
            (Some(1), _) => y,
            (_, Some(1)) => x,
            (Some(_), Some(_)) => fail!("[{}] does not broadcast with [{}]", list(a), list(b)),
            // The symbolic one is 1 or the same: either way the result is the number.
            (Some(_), None) => x,
            (None, Some(_)) => y,
            // Either may turn out to be 1.
            (None, None) => fresh(),
        });
    }
    Ok(out)
}

/// Prefix of dims that inference invented.
pub(crate) const FRESH: &str = "_";

/// True if an extent involves a dim that inference invented.
pub(crate) fn is_fresh(d: &Dim) -> bool {
    d.symbols().iter().any(|s| s.starts_with(FRESH))
}

/// The concrete extents of a type under `bindings`.
pub(crate) fn bind_type(ty: &Type, bindings: &Bindings) -> Type {
    Type { dtype: ty.dtype, shape: ty.shape.iter().map(|d| d.bind(bindings)).collect() }
}
