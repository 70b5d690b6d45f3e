//! Ops on indices and shapes, and ops that make tensors.

use super::error::{Res, fail};
use super::external::External;
use super::node::{Convert, Node, Outs, axis, product};
use super::tensor;
use bgz_passes::eval::{self, Tensor};
use bgz_passes::ir::{Constant, DType, Dim, Generate, Index, IntArg, Movement, Op, Scalar, ValueId};

pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    if !domain.is_empty() {
        return None;
    }
    let found: Convert = match op {
        "Gather" | "GatherElements" => gather,
        "GatherND" => gather_nd,
        "ScatterND" | "ScatterElements" => scatter,
        "Shape" => shape,
        "Size" => size,
        "ConstantOfShape" => full,
        "Range" => range,
        "OneHot" => one_hot,
        "Trilu" => trilu,
        "EyeLike" => eye,
        "NonZero" => non_zero,
        _ => return None,
    };
    Some(found)
}

fn gather(n: &mut Node) -> Res<Outs> {
    let (x, indices) = (n.input(0)?, n.input(1)?);
    let axis = axis(n.attrs().int_or("axis", 0)?, n.rank(x))?;
    let op =
        if n.op() == "Gather" { Op::Index(Index::Gather { axis }) } else { Op::Index(Index::GatherElements { axis }) };
    n.emit(op, &[x, indices])
}

fn gather_nd(n: &mut Node) -> Res<Outs> {
    let (x, indices) = (n.input(0)?, n.input(1)?);
    let given = n.attrs().int_or("batch_dims", 0)?;
    let Ok(batch_dims) = usize::try_from(given) else { fail!("attribute batch_dims is {given}") };
    n.emit(Op::Index(Index::GatherNd { batch_dims }), &[x, indices])
}

fn scatter(n: &mut Node) -> Res<Outs> {
    let (x, indices, updates) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let reduction = n.attrs().string_or("reduction", "none")?;
    if reduction != "none" {
        fail!("attribute reduction = {reduction:?} is not supported");
    }
    let op = if n.op() == "ScatterND" {
        Op::Index(Index::ScatterNd)
    } else {
        Op::Index(Index::ScatterElements { axis: axis(n.attrs().int_or("axis", 0)?, n.rank(x))? })
    };
    n.emit(op, &[x, indices, updates])
}

fn shape(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let rank = i64::try_from(n.rank(x)).unwrap_or(i64::MAX);
    // Bounds beyond the rank are clamped.
    let place = |v: i64| if v < 0 { v.saturating_add(rank) } else { v }.clamp(0, rank) as usize;
    let start = place(n.attrs().int_or("start", 0)?);
    let end = place(n.attrs().int_or("end", rank)?).max(start);
    n.emit(Op::Generate(Generate::Shape { start, end }), &[x])
}

fn size(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let values = vec![product(&n.shape(x))?];
    n.emit(Op::Generate(Generate::Dims { values, scalar: true }), &[])
}

fn full(n: &mut Node) -> Res<Outs> {
    let value = match n.attrs().tensor("value")? {
        None => Constant::scalar(Scalar::f32(0.0)),
        Some(t) => {
            let c = tensor::constant("value", t, &External::none())?;
            match c.as_scalar() {
                Some(s) => Constant::scalar(s),
                None => fail!("attribute value has {} elements", c.len()),
            }
        }
    };
    if !n.has(0) {
        fail!("operand 0 is missing");
    }
    let mut operands = vec![n.const_part("value", value)];
    let shape = n.int_arg(0, &mut operands)?;
    n.emit(Op::Generate(Generate::Full { shape }), &operands)
}

/// The one element of a vector as a scalar.
fn scalar(n: &mut Node, part: &str, v: ValueId) -> Res<ValueId> {
    if n.shape(v) == [Dim::int(1)] { n.part(part, Op::reshape(Vec::<Dim>::new()), &[v]) } else { Ok(v) }
}

fn range(n: &mut Node) -> Res<Outs> {
    let mut all = [n.input(0)?, n.input(1)?, n.input(2)?];
    for (v, part) in all.iter_mut().zip(["start", "limit", "delta"]) {
        *v = scalar(n, part, *v)?;
    }
    // That is how it is made: halves are f32 between ops.
    let stash = n.attrs().int_or("stash_type", 1)?;
    if stash != 1 {
        fail!("attribute stash_type = {stash} is not supported");
    }
    // How many floats there are follows from their values, so of constants the result is one.
    let constants: Option<Vec<Tensor>> =
        (0..3).map(|i| n.constant(i).and_then(|c| Tensor::from_constant(&c.reshaped(vec![])?))).collect();
    if let Some(operands) = constants.filter(|t| t.iter().all(|t| t.dtype().is_float())) {
        let made = eval::node(&Op::Generate(Generate::Range), &operands).map_err(|e| e.to_string())?;
        let value = n.const_part("range", made[0].to_constant());
        return n.emit(Op::reshape(made[0].shape().iter().copied()), &[value]);
    }
    n.emit(Op::Generate(Generate::Range), &all)
}

fn one_hot(n: &mut Node) -> Res<Outs> {
    let (indices, depth, values) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let at = axis(n.attrs().int_or("axis", -1)?, n.rank(indices) + 1)?;
    let indices = n.cast("indices", indices, DType::I64)?;
    let depth = n.cast("depth", depth, DType::I64)?;
    let depth = scalar(n, "depth_scalar", depth)?;
    n.emit(Op::Generate(Generate::OneHot { axis: at }), &[indices, depth, values])
}

fn trilu(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let upper = n.attrs().flag("upper", true)?;
    let mut operands = vec![x];
    if let Some(k) = n.maybe(1)? {
        operands.push(scalar(n, "k", k)?);
    }
    n.emit(Op::Movement(Movement::Trilu { upper }), &operands)
}

/// The upper triangle from the diagonal `k` of the lower triangle up to it.
fn eye(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let dtype = match n.attrs().int("dtype")? {
        None => n.dtype(x),
        Some(code) => match tensor::dtype(i32::try_from(code).unwrap_or(0)) {
            Ok(d) => d,
            Err(name) => fail!("attribute dtype: the element type is not supported: {name}"),
        },
    };
    let k = n.attrs().int_or("k", 0)?;
    if n.rank(x) != 2 {
        fail!("it makes a matrix, not {}", n.ty(x));
    }
    let one = n.const_part("one", Constant::scalar(Scalar::from_i64(dtype, 1)));
    let k = n.const_part("k", Constant::scalar(Scalar::i64(k)));
    let shape = IntArg::Known(n.shape(x));
    let ones = n.part("ones", Op::Generate(Generate::Full { shape }), &[one])?;
    let lower = n.part("lower", Op::Movement(Movement::Trilu { upper: false }), &[ones, k])?;
    n.emit(Op::Movement(Movement::Trilu { upper: true }), &[lower, k])
}

fn non_zero(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    n.emit(Op::Index(Index::NonZero), &[x])
}
