//! Types of results from types of operands, and, for small integer tensors,
//! the integers in them: that is what makes shape arithmetic disappear.

use super::{Attention, Bindings, DType, Dim, Expr, IntArg, MaskKind, Op, Type};
use thiserror::Error;

/// Why operands do not fit an op.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InferError(pub String);

/// What is known of an operand.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its type.
    pub ty: &'a Type,
    /// Its elements, if it is a small integer or bool tensor computed from dims and constants.
    pub ints: Option<&'a [Dim]>,
}

/// What is known of a result.
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

macro_rules! fail {
    ($($arg:tt)*) => { return Err(InferError(format!($($arg)*))) };
}

mod ints;
mod reshape;

use ints::ints;
pub use reshape::slice_bounds;
use reshape::{resolve_reshape, slice_shape};

/// Types (and integers) of the results of `op`, or what does not fit.
///
/// `fresh` makes a new named dim for an extent that the operands do not
/// determine, such as the number of non-zero elements. `None` for an
/// [`Op::Opaque`] whose name is not one that is known.
pub fn infer(op: &Op, operands: &[Operand], fresh: &mut dyn FnMut() -> Dim) -> Res<Option<Vec<Known>>> {
    let (least, most) = op.arity();
    if operands.len() < least || operands.len() > most {
        let most = if most == usize::MAX { "more".into() } else { most.to_string() };
        fail!("takes {least} to {most} operands, not {}", operands.len());
    }
    let Some(mut types) = types(op, operands, fresh)? else { return Ok(None) };
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

fn types(op: &Op, operands: &[Operand], fresh: &mut dyn FnMut() -> Dim) -> Res<Option<Vec<Type>>> {
    let ty = |i: usize| operands[i].ty;
    let rank = |i: usize| ty(i).rank();
    let check_axis = |axis: usize, rank: usize| {
        if axis >= rank { Err(InferError(format!("axis {axis} of a tensor of rank {rank}"))) } else { Ok(()) }
    };
    let one = |t: Type| Ok(Some(vec![t]));
    match op {
        Op::Unary(f) => {
            let Some(d) = f.output(ty(0).dtype) else { fail!("not defined for {}", ty(0).dtype) };
            one(Type { dtype: d, shape: ty(0).shape.clone() })
        }
        Op::Cast(to) => one(Type { dtype: *to, shape: ty(0).shape.clone() }),
        Op::Binary(f) => {
            if ty(0).dtype != ty(1).dtype {
                fail!("operands of {} and {}", ty(0).dtype, ty(1).dtype);
            }
            let Some(d) = f.output(ty(0).dtype) else { fail!("not defined for {}", ty(0).dtype) };
            one(Type { dtype: d, shape: broadcast_all(operands, fresh)? })
        }
        Op::Where => {
            if ty(0).dtype != DType::Bool {
                fail!("the condition is {}, not bool", ty(0).dtype);
            }
            if ty(1).dtype != ty(2).dtype {
                fail!("operands of {} and {}", ty(1).dtype, ty(2).dtype);
            }
            one(Type { dtype: ty(1).dtype, shape: broadcast_all(operands, fresh)? })
        }
        Op::Fused(e) => {
            if e.depth() > Expr::MAX_DEPTH {
                fail!("the expression is nested deeper than {}", Expr::MAX_DEPTH);
            }
            let dtypes: Vec<_> = operands.iter().map(|o| o.ty.dtype).collect();
            let dtype = e.dtype(&dtypes).map_err(InferError)?;
            one(Type { dtype, shape: broadcast_all(operands, fresh)? })
        }
        Op::MatMul => {
            same_float_or_int(ty(0), ty(1))?;
            one(Type { dtype: ty(0).dtype, shape: matmul_shape(&ty(0).shape, &ty(1).shape, fresh)? })
        }
        Op::Linear { trans_w, .. } => {
            same_float_or_int(ty(0), ty(1))?;
            if rank(0) == 0 || rank(1) != 2 {
                fail!("linear of {} by {}", ty(0), ty(1));
            }
            let (k, n) = if *trans_w { (1, 0) } else { (0, 1) };
            let inner = &ty(0).shape[rank(0) - 1];
            if !may_equal(inner, &ty(1).shape[k]) {
                fail!("inner dims differ: {} and {}", ty(0), ty(1));
            }
            let out = ty(1).shape[n].clone();
            if let Some(b) = operands.get(2)
                && (b.ty.rank() != 1 || !may_equal(&b.ty.shape[0], &out) || b.ty.dtype != ty(0).dtype)
            {
                fail!("bias {} for {out} columns of {}", b.ty, ty(0).dtype);
            }
            let mut shape = ty(0).shape.clone();
            if let Some(last) = shape.last_mut() {
                *last = out;
            }
            one(Type { dtype: ty(0).dtype, shape })
        }
        Op::Attention(a) => one(attention(a, operands, fresh)?),
        Op::Softmax { axis } | Op::LogSoftmax { axis } => {
            check_axis(*axis, rank(0))?;
            need_float(ty(0))?;
            one(ty(0).clone())
        }
        Op::LayerNorm { .. } | Op::RmsNorm { .. } => {
            need_float(ty(0))?;
            check_axis(0, rank(0))?;
            let last = &ty(0).shape[rank(0) - 1];
            for o in &operands[1..] {
                if o.ty.rank() != 1 || !may_equal(&o.ty.shape[0], last) || o.ty.dtype != ty(0).dtype {
                    fail!("scale or bias {} for {}", o.ty, ty(0));
                }
            }
            one(ty(0).clone())
        }
        Op::Reduce(r) => {
            for &a in &r.axes {
                check_axis(a, rank(0))?;
            }
            if !r.axes.is_sorted_by(|a, b| a < b) {
                fail!("axes {:?} are not sorted and distinct", r.axes);
            }
            if ty(0).dtype == DType::Bool {
                fail!("not defined for bool");
            }
            one(Type { dtype: ty(0).dtype, shape: reduced(&ty(0).shape, &r.axes, r.keep_dims) })
        }
        Op::ArgReduce(a) => {
            check_axis(a.axis, rank(0))?;
            one(Type { dtype: DType::I64, shape: reduced(&ty(0).shape, &[a.axis], a.keep_dims) })
        }
        Op::Cumulative(c) => {
            check_axis(c.axis, rank(0))?;
            if ty(0).dtype == DType::Bool {
                fail!("not defined for bool");
            }
            one(ty(0).clone())
        }
        Op::TopK(t) => {
            check_axis(t.axis, rank(0))?;
            let k = int_arg(&t.k, operands.get(1))?;
            let mut shape = ty(0).shape.clone();
            shape[t.axis] = match k.as_deref() {
                Some([k]) => k.clone(),
                Some(_) => fail!("k must be one integer"),
                None => fresh(),
            };
            Ok(Some(vec![Type { dtype: ty(0).dtype, shape: shape.clone() }, Type { dtype: DType::I64, shape }]))
        }
        Op::Reshape { shape, zero_copies } => {
            let target = match (shape, int_arg(shape, operands.get(1))?) {
                (IntArg::Known(s), _) => s.clone(),
                (_, Some(s)) => resolve_reshape(&ty(0).shape, &s, *zero_copies, fresh)?,
                (_, None) => (0..vector_len(operands[1].ty)?).map(|_| fresh()).collect(),
            };
            let known = |s: &[Dim]| s.iter().map(Dim::as_int).try_fold(1i64, |p, d| p.checked_mul(d?));
            if let (Some(a), Some(b)) = (known(&ty(0).shape), known(&target))
                && a != b
            {
                fail!("{} elements do not fit [{}]", a, list(&target));
            }
            one(Type { dtype: ty(0).dtype, shape: target })
        }
        Op::Transpose { perm } => {
            let mut seen = vec![false; rank(0)];
            for &p in perm {
                check_axis(p, rank(0))?;
                seen[p] = true;
            }
            if perm.len() != rank(0) || seen.contains(&false) {
                fail!("perm {perm:?} of a tensor of rank {}", rank(0));
            }
            one(Type { dtype: ty(0).dtype, shape: perm.iter().map(|&p| ty(0).shape[p].clone()).collect() })
        }
        Op::Expand { shape } => {
            let target = match int_arg(shape, operands.get(1))? {
                Some(s) => s,
                None => (0..vector_len(operands[1].ty)?).map(|_| fresh()).collect(),
            };
            one(Type { dtype: ty(0).dtype, shape: broadcast(&ty(0).shape, &target, fresh)? })
        }
        Op::Slice(s) => one(Type { dtype: ty(0).dtype, shape: slice_shape(s, operands, fresh)? }),
        Op::Concat { axis } => {
            check_axis(*axis, rank(0))?;
            let mut shape = ty(0).shape.clone();
            for o in &operands[1..] {
                if o.ty.rank() != shape.len() || o.ty.dtype != ty(0).dtype {
                    fail!("cannot join {} and {}", ty(0), o.ty);
                }
                for (i, d) in o.ty.shape.iter().enumerate() {
                    if i == *axis {
                        shape[i] = &shape[i] + d;
                    } else if !may_equal(&shape[i], d) {
                        fail!("cannot join {} and {} along axis {axis}", ty(0), o.ty);
                    } else if d.as_int().is_some() {
                        shape[i] = d.clone();
                    }
                }
            }
            one(Type { dtype: ty(0).dtype, shape })
        }
        Op::Pad(p) => {
            let n = rank(0);
            let shape = match int_arg(&p.pads, operands.get(1))? {
                Some(v) if v.len() == 2 * n => (0..n).map(|i| &(&ty(0).shape[i] + &v[i]) + &v[n + i]).collect(),
                Some(v) => fail!("{} pads for rank {n}", v.len()),
                None => (0..n).map(|_| fresh()).collect(),
            };
            one(Type { dtype: ty(0).dtype, shape })
        }
        Op::Tile { repeats } => {
            let shape = match int_arg(repeats, operands.get(1))? {
                Some(v) if v.len() == rank(0) => ty(0).shape.iter().zip(&v).map(|(d, r)| d * r).collect(),
                Some(v) => fail!("{} repeats for rank {}", v.len(), rank(0)),
                None => (0..rank(0)).map(|_| fresh()).collect(),
            };
            one(Type { dtype: ty(0).dtype, shape })
        }
        Op::Gather { axis } => {
            check_axis(*axis, rank(0))?;
            need_index(ty(1))?;
            let mut shape = ty(0).shape[..*axis].to_vec();
            shape.extend(ty(1).shape.iter().cloned());
            shape.extend(ty(0).shape[axis + 1..].iter().cloned());
            one(Type { dtype: ty(0).dtype, shape })
        }
        Op::GatherElements { axis } => {
            check_axis(*axis, rank(0))?;
            need_index(ty(1))?;
            if rank(0) != rank(1) {
                fail!("indices {} for {}", ty(1), ty(0));
            }
            one(Type { dtype: ty(0).dtype, shape: ty(1).shape.clone() })
        }
        Op::GatherNd { batch_dims } => {
            need_index(ty(1))?;
            let Some(n) = ty(1).shape.last().and_then(Dim::as_usize) else {
                fail!("the last extent of the indices must be known: {}", ty(1));
            };
            if *batch_dims >= rank(1) || batch_dims.checked_add(n).is_none_or(|x| x > rank(0)) {
                fail!("indices {} for {}", ty(1), ty(0));
            }
            let mut shape = ty(1).shape[..rank(1) - 1].to_vec();
            shape.extend(ty(0).shape[batch_dims + n..].iter().cloned());
            one(Type { dtype: ty(0).dtype, shape })
        }
        Op::ScatterNd => {
            need_index(ty(1))?;
            if ty(2).dtype != ty(0).dtype {
                fail!("updates of {} into {}", ty(2).dtype, ty(0).dtype);
            }
            let Some(n) = ty(1).shape.last().and_then(Dim::as_usize) else {
                fail!("the last extent of the indices must be known: {}", ty(1));
            };
            if n > rank(0) || rank(2) != rank(1) - 1 + rank(0) - n {
                fail!("indices {} and updates {} for {}", ty(1), ty(2), ty(0));
            }
            one(ty(0).clone())
        }
        Op::ScatterElements { axis } => {
            check_axis(*axis, rank(0))?;
            need_index(ty(1))?;
            if ty(2).dtype != ty(0).dtype || rank(1) != rank(0) || rank(2) != rank(0) {
                fail!("indices {} and updates {} for {}", ty(1), ty(2), ty(0));
            }
            one(ty(0).clone())
        }
        Op::Shape { start, end } => {
            if start > end || *end > rank(0) {
                fail!("axes {start} to {end} of a tensor of rank {}", rank(0));
            }
            one(Type::new(DType::I64, [end - start]))
        }
        Op::Dims { values, scalar } => {
            if *scalar && values.len() != 1 {
                fail!("a scalar is one value, not {}", values.len());
            }
            let shape = if *scalar { vec![] } else { vec![Dim::from(values.len())] };
            one(Type { dtype: DType::I64, shape })
        }
        Op::Full { shape } => {
            if ty(0).shape.iter().any(|d| !d.is(1)) {
                fail!("the value must be one element, not {}", ty(0));
            }
            let shape = match int_arg(shape, operands.get(1))? {
                Some(s) => s,
                None => (0..vector_len(operands[1].ty)?).map(|_| fresh()).collect(),
            };
            one(Type { dtype: ty(0).dtype, shape })
        }
        Op::Range => {
            let dtype = ty(0).dtype;
            if operands.iter().any(|o| o.ty.dtype != dtype || o.ty.rank() != 0) || dtype == DType::Bool {
                fail!("range of {}, {}, {}", ty(0), ty(1), ty(2));
            }
            let ints: Option<Vec<&Dim>> = operands.iter().map(|o| o.ints.and_then(|v| v.first())).collect();
            let n = ints.and_then(|v| {
                let difference = v[1] - v[0];
                let span = match (v[0].as_int(), v[1].as_int()) {
                    // Two i64 may be farther apart than an i64.
                    (Some(a), Some(b)) => Some(i128::from(b) - i128::from(a)),
                    _ => difference.as_int().map(i128::from),
                };
                match (span, v[2].as_int()) {
                    (None, Some(1)) => Some(difference),
                    (Some(n), Some(d)) if d != 0 => {
                        let (n, d) = (n * i128::from(d.signum()), i128::from(d).abs());
                        let steps = -(-n).div_euclid(d);
                        i64::try_from(steps.max(0)).ok().map(Dim::int)
                    }
                    _ => None,
                }
            });
            let n = match n {
                Some(n) => n,
                None => fresh(),
            };
            one(Type { dtype, shape: vec![n] })
        }
        Op::OneHot { axis } => {
            if *axis > rank(0) {
                fail!("axis {axis} for indices {}", ty(0));
            }
            need_one(ty(1), "depth")?;
            if rank(2) != 1 || !may_equal(&ty(2).shape[0], &Dim::int(2)) {
                fail!("values must be [off, on], not {}", ty(2));
            }
            let depth = match operands[1].ints {
                Some([d]) => d.clone(),
                _ => fresh(),
            };
            let mut shape = ty(0).shape.clone();
            shape.insert(*axis, depth);
            one(Type { dtype: ty(2).dtype, shape })
        }
        Op::Trilu { .. } => {
            if rank(0) < 2 {
                fail!("a triangle of {}", ty(0));
            }
            if let Some(k) = operands.get(1) {
                need_one(k.ty, "k")?;
                if !k.ty.dtype.is_int() {
                    fail!("k of {}", k.ty.dtype);
                }
            }
            one(ty(0).clone())
        }
        Op::NonZero => one(Type { dtype: DType::I64, shape: vec![rank(0).into(), fresh()] }),
        Op::Opaque(o) => super::opaque::types(o, operands, fresh),
    }
}

/// Whether two extents can be the same number: false only for different constants.
pub(crate) fn may_equal(a: &Dim, b: &Dim) -> bool {
    // The difference of equal ones is not 0 where arithmetic saturates.
    a == b || (a - b).as_int().is_none_or(|d| d == 0)
}

fn list(dims: &[Dim]) -> String {
    dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ")
}

fn need_float(t: &Type) -> Res<()> {
    if t.dtype.is_float() { Ok(()) } else { Err(InferError(format!("not defined for {}", t.dtype))) }
}

/// One element, in any rank.
fn need_one(t: &Type, what: &str) -> Res<()> {
    if t.shape.iter().all(|d| may_equal(d, &Dim::int(1))) {
        Ok(())
    } else {
        Err(InferError(format!("{what} must be one element, not {t}")))
    }
}

fn need_index(t: &Type) -> Res<()> {
    if matches!(t.dtype, DType::I64 | DType::I32) { Ok(()) } else { Err(InferError(format!("indices of {}", t.dtype))) }
}

fn same_float_or_int(a: &Type, b: &Type) -> Res<()> {
    if a.dtype != b.dtype || a.dtype == DType::Bool {
        return Err(InferError(format!("product of {} and {}", a.dtype, b.dtype)));
    }
    Ok(())
}

fn vector_len(t: &Type) -> Res<usize> {
    match (t.rank(), t.shape.first().and_then(Dim::as_usize)) {
        (1, Some(n)) if n <= MAX_INTS => Ok(n),
        _ => Err(InferError(format!("a vector of known length, at most {MAX_INTS}, is needed, not {t}"))),
    }
}

/// The integers of an argument: known, from the operand's, or not known.
fn int_arg(arg: &IntArg, operand: Option<&Operand>) -> Res<Option<Vec<Dim>>> {
    match (arg, operand) {
        (IntArg::Known(v), _) => Ok(Some(v.clone())),
        (IntArg::Operand, Some(o)) if o.ty.dtype.is_int() => Ok(o.ints.map(<[Dim]>::to_vec)),
        (IntArg::Operand, Some(o)) => Err(InferError(format!("an integer operand is needed, not {}", o.ty))),
        (IntArg::Operand, None) => Err(InferError("an operand is missing".into())),
    }
}

fn broadcast_all(operands: &[Operand], fresh: &mut dyn FnMut() -> Dim) -> Res<Vec<Dim>> {
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

/// Whether an extent involves a dim that inference invented.
pub(crate) fn is_fresh(d: &Dim) -> bool {
    d.symbols().iter().any(|s| s.starts_with(FRESH))
}

fn matmul_shape(a: &[Dim], b: &[Dim], fresh: &mut dyn FnMut() -> Dim) -> Res<Vec<Dim>> {
    if a.is_empty() || b.is_empty() {
        fail!("matrix product of a scalar");
    }
    let (row, column) = (a.len() == 1, b.len() == 1);
    let inner_b = if column { &b[0] } else { &b[b.len() - 2] };
    if !may_equal(&a[a.len() - 1], inner_b) {
        fail!("inner dims differ: [{}] and [{}]", list(a), list(b));
    }
    let mut shape = broadcast(&a[..a.len().saturating_sub(2)], &b[..b.len().saturating_sub(2)], fresh)?;
    if !row {
        shape.push(a[a.len() - 2].clone());
    }
    if !column {
        shape.push(b[b.len() - 1].clone());
    }
    Ok(shape)
}

fn attention(a: &Attention, operands: &[Operand], fresh: &mut dyn FnMut() -> Dim) -> Res<Type> {
    let (q, k, v) = (operands[0].ty, operands[1].ty, operands[2].ty);
    need_float(q)?;
    if a.heads == 0 || a.kv_heads == 0 || !a.heads.is_multiple_of(a.kv_heads) {
        fail!("{} heads over {} key heads", a.heads, a.kv_heads);
    }
    if k.dtype != q.dtype || v.dtype != q.dtype {
        fail!("q, k, v of {}, {}, {}", q.dtype, k.dtype, v.dtype);
    }
    // batch, seq and width of one head
    let split = |t: &Type, heads: usize, name: &str| -> Res<(Dim, Dim, Dim)> {
        match t.shape.as_slice() {
            [b, s, w] => match w.div_exact(&heads.into()) {
                Some(d) => Ok((b.clone(), s.clone(), d)),
                None => Err(InferError(format!("{name} {t} does not split into {heads} heads"))),
            },
            [b, h, s, d] if may_equal(h, &heads.into()) => Ok((b.clone(), s.clone(), d.clone())),
            _ => Err(InferError(format!("{name} {t} for {heads} heads"))),
        }
    };
    let (bq, sq, dq) = split(q, a.heads, "q")?;
    let (bk, sk, dk) = split(k, a.kv_heads, "k")?;
    let (bv, sv, dv) = split(v, a.kv_heads, "v")?;
    if !may_equal(&dq, &dk) || !may_equal(&dq, &a.d_head.into()) || !may_equal(&sk, &sv) {
        fail!("q {q}, k {k}, v {v} with d_head {}", a.d_head);
    }
    let batch = broadcast(&broadcast(&[bq], &[bk], fresh)?, &[bv], fresh)?.remove(0);
    if let Some(mask) = operands.get(3) {
        let want = if a.mask == MaskKind::Additive { q.dtype } else { DType::Bool };
        if mask.ty.dtype != want {
            fail!("the mask is {}, not {want}", mask.ty.dtype);
        }
        let scores = [batch.clone(), a.heads.into(), sq.clone(), sk];
        if mask.ty.rank() > 4
            || broadcast(&scores, &mask.ty.shape, fresh)?.iter().zip(&scores).any(|(b, s)| !may_equal(b, s))
        {
            fail!("mask {} for scores [{}]", mask.ty, list(&scores));
        }
    }
    let shape = if a.merged { vec![batch, sq, &dv * &a.heads.into()] } else { vec![batch, a.heads.into(), sq, dv] };
    Ok(Type { dtype: q.dtype, shape })
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

/// The concrete extents of a type under `bindings`.
pub(crate) fn bind_type(ty: &Type, bindings: &Bindings) -> Type {
    Type { dtype: ty.dtype, shape: ty.shape.iter().map(|d| d.bind(bindings)).collect() }
}
