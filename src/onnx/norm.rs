//! Normalisations and softmax.

use super::error::{Res, fail};
use super::node::{Convert, Node, Outs, axis, product};
use super::reduce::reduce;
use bgz_passes::ir::{Binary, Cast, Constant, DType, Dim, FoldKind, Norm, Op, Scalar, Unary, ValueId, Where};

pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    let found: Convert = match (domain, op) {
        ("", "Softmax" | "LogSoftmax") => softmax,
        ("", "LayerNormalization") => layer_norm,
        ("", "RMSNormalization" | "SimplifiedLayerNormalization") => rms_norm,
        ("com.microsoft", "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization") => skip_norm,
        ("", "BatchNormalization") => batch_norm,
        ("", "InstanceNormalization") => instance_norm,
        ("", "GroupNormalization") => group_norm,
        ("", "LpNormalization") => lp_norm,
        _ => return None,
    };
    Some(found)
}

/// Before opset 13 all axes from `axis` on are taken as one.
fn softmax(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let (log, rank) = (n.op() == "LogSoftmax", n.rank(x));
    let make = |axis| if log { Op::Norm(Norm::LogSoftmax { axis }) } else { Op::Norm(Norm::Softmax { axis }) };
    let flattens = n.opset() < 13;
    let at = axis(n.attrs().int_or("axis", if flattens { 1 } else { -1 })?, rank)?;
    let shape = n.shape(x);
    if !flattens || shape[at + 1..].iter().all(|d| d.is(1)) {
        return n.emit(make(at), &[x]);
    }
    let flat = n.part("flat", Op::reshape([product(&shape[..at])?, product(&shape[at..])?]), &[x])?;
    let y = n.part("softmax", make(1), &[flat])?;
    n.emit(Op::reshape(shape), &[y])
}

/// The results of a normalisation by primitive ops.
struct Normed {
    value: ValueId,
    mean: Option<ValueId>,
    inv_std: ValueId,
}

/// `x` with zero mean (if `centre`) and unit variance over `axes`.
fn normed(n: &mut Node, x: ValueId, axes: &[usize], eps: f32, centre: bool) -> Res<Normed> {
    // The stash_type of the standard: statistics of halves are f32, whose squares do not overflow.
    let dtype = n.dtype(x);
    let x = if matches!(dtype, DType::F16 | DType::BF16) { n.cast("wide", x, DType::F32)? } else { x };
    let (mean, d) = if centre {
        let mean = n.part("mean", reduce(FoldKind::Mean, axes, true), &[x])?;
        (Some(mean), n.part("centred", Op::Binary(Binary::Sub), &[x, mean])?)
    } else {
        (None, x)
    };
    let square = n.part("square", Op::Binary(Binary::Mul), &[d, d])?;
    let variance = n.part("variance", reduce(FoldKind::Mean, axes, true), &[square])?;
    let eps = n.number("epsilon", x, eps.into());
    let sum = n.part("stable", Op::Binary(Binary::Add), &[variance, eps])?;
    let root = n.part("std", Op::Unary(Unary::Sqrt), &[sum])?;
    let inv_std = n.part("inv_std", Op::Unary(Unary::Recip), &[root])?;
    let value = n.part("normed", Op::Binary(Binary::Mul), &[d, inv_std])?;
    let value = n.cast("narrow", value, dtype)?;
    Ok(Normed { value, mean, inv_std })
}

/// `x * scale + bias` as the result.
fn affine(n: &mut Node, x: ValueId, scale: ValueId, bias: Option<ValueId>) -> Res<ValueId> {
    let mul = Op::Binary(Binary::Mul);
    match bias {
        None => n.result(0, mul, &[x, scale]),
        Some(b) => {
            let scaled = n.part("scaled", mul, &[x, scale])?;
            n.result(0, Op::Binary(Binary::Add), &[scaled, b])
        }
    }
}

/// True if `v` has one number for each entry of the last axis of `x`.
fn is_per_column(n: &Node, v: ValueId, x: ValueId) -> bool {
    n.rank(v) == 1 && n.shape(v).last() == n.shape(x).last() && n.dtype(v) == n.dtype(x)
}

fn layer_norm(n: &mut Node) -> Res<Outs> {
    let (x, scale, bias) = (n.input(0)?, n.input(1)?, n.maybe(2)?);
    let rank = n.rank(x);
    let at = axis(n.attrs().int_or("axis", -1)?, rank)?;
    let eps = n.attrs().float_or("epsilon", 1e-5)?;
    let simple = at + 1 == rank && [Some(scale), bias].into_iter().flatten().all(|v| is_per_column(n, v, x));
    if simple && !n.wants(1) && !n.wants(2) {
        let operands: Vec<_> = [x, scale].into_iter().chain(bias).collect();
        return n.emit(Op::layer_norm(eps), &operands);
    }
    let axes: Vec<usize> = (at..rank).collect();
    let made = normed(n, x, &axes, eps, true)?;
    let y = affine(n, made.value, scale, bias)?;
    Ok(vec![Some(y), made.mean, Some(made.inv_std)])
}

fn rms_norm(n: &mut Node) -> Res<Outs> {
    let (x, scale) = (n.input(0)?, n.input(1)?);
    n.at_most(2)?;
    let rank = n.rank(x);
    let at = axis(n.attrs().int_or("axis", -1)?, rank)?;
    let eps = n.attrs().float_or("epsilon", 1e-5)?;
    if at + 1 == rank && is_per_column(n, scale, x) && !n.wants(1) {
        return n.emit(Op::rms_norm(eps), &[x, scale]);
    }
    let axes: Vec<usize> = (at..rank).collect();
    let made = normed(n, x, &axes, eps, false)?;
    let y = affine(n, made.value, scale, None)?;
    Ok(vec![Some(y), Some(made.inv_std)])
}

/// A sum, normalised; the sum is a result too.
fn skip_norm(n: &mut Node) -> Res<Outs> {
    let (x, skip, scale) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let rms = n.op() == "SkipSimplifiedLayerNormalization";
    let (shift, bias) = if rms { (None, n.maybe(3)?) } else { (n.maybe(3)?, n.maybe(4)?) };
    // com.microsoft's default for this op differs from LayerNormalization's.
    let eps = n.attrs().float_or("epsilon", 1e-12)?;
    if n.wants(1) || n.wants(2) {
        fail!("mean and deviation as results are not supported");
    }
    let add = Op::Binary(Binary::Add);
    let sum = match bias {
        None => n.result(3, add, &[x, skip])?,
        Some(b) => {
            let sum = n.part("skip", add.clone(), &[x, skip])?;
            n.result(3, add, &[sum, b])?
        }
    };
    let y = if rms {
        n.result(0, Op::rms_norm(eps), &[sum, scale])?
    } else {
        let operands: Vec<_> = [sum, scale].into_iter().chain(shift).collect();
        n.result(0, Op::layer_norm(eps), &operands)?
    };
    Ok(vec![Some(y), None, None, Some(sum)])
}

/// The shape `[channels, 1, ..]` that broadcasts over a tensor of `rank` with channels at axis 1.
fn channel_shape(channels: Dim, rank: usize) -> Vec<Dim> {
    std::iter::once(channels).chain((2..rank).map(|_| Dim::int(1))).collect()
}

/// Inference: one factor and one summand a channel.
fn batch_norm(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let a = n.attrs();
    let eps = a.float_or("epsilon", 1e-5)?;
    if a.flag("training_mode", false)? || !a.flag("spatial", true)? {
        fail!("attributes training_mode = 1 and spatial = 0 are not supported");
    }
    if (1..n.results()).any(|i| n.wants(i)) {
        fail!("only its first result is supported");
    }
    let rank = n.rank(x);
    if rank < 2 {
        fail!("{} has no channels", n.ty(x));
    }
    let (mul, add) = (Op::Binary(Binary::Mul), Op::Binary(Binary::Add));
    // A summand is a mean times a factor, more than halves hold or can tell apart.
    let dtype = n.dtype(x);
    let x = if matches!(dtype, DType::F16 | DType::BF16) { n.cast("wide", x, DType::F32)? } else { x };
    if let Some((factor, summand)) = folded(n, x, eps) {
        let (factor, summand) = (n.const_part("factor", factor), n.const_part("summand", summand));
        let scaled = n.part("scaled", mul, &[x, factor])?;
        if n.dtype(x) == dtype {
            return n.emit(add, &[scaled, summand]);
        }
        let shifted = n.part("shifted", add, &[scaled, summand])?;
        return n.emit(Op::Cast(Cast(dtype)), &[shifted]);
    }
    let mut v = [n.input(1)?, n.input(2)?, n.input(3)?, n.input(4)?];
    for (v, part) in v.iter_mut().zip(["scale", "bias", "mean", "variance"]) {
        let [channels] = n.shape(*v).try_into().map_err(|_| format!("its {part} is no vector"))?;
        *v = n.cast(&format!("{part}_cast"), *v, n.dtype(x))?;
        *v = n.reshape_part(part, *v, channel_shape(channels, rank))?;
    }
    let [scale, bias, mean, variance] = v;
    let eps = n.number("epsilon", x, eps.into());
    let sum = n.part("stable", add, &[variance, eps])?;
    let root = n.part("std", Op::Unary(Unary::Sqrt), &[sum])?;
    let factor = n.part("factor", Op::Binary(Binary::Div), &[scale, root])?;
    let centred = n.part("centred", Op::Binary(Binary::Sub), &[x, mean])?;
    if n.dtype(x) == dtype {
        let y = affine(n, centred, factor, Some(bias))?;
        return Ok(vec![Some(y)]);
    }
    let scaled = n.part("scaled", Op::Binary(Binary::Mul), &[centred, factor])?;
    let shifted = n.part("shifted", Op::Binary(Binary::Add), &[scaled, bias])?;
    n.emit(Op::Cast(Cast(dtype)), &[shifted])
}

/// Factor and summand of a batch norm whose parameters are constants.
fn folded(n: &Node, x: ValueId, eps: f32) -> Option<(Constant, Constant)> {
    let all: Vec<Vec<f64>> = (1..5)
        .map(|i| {
            let c = n.constant(i).filter(|c| c.shape().len() == 1)?;
            Some(c.scalars()?.map(Scalar::to_f64).collect())
        })
        .collect::<Option<_>>()?;
    let channels = all[0].len();
    if all.iter().any(|v| v.len() != channels) {
        return None;
    }
    let factor: Vec<f64> = (0..channels).map(|c| all[0][c] / (all[3][c] + f64::from(eps)).sqrt()).collect();
    let summand = (0..channels).map(|c| all[1][c] - all[2][c] * factor[c]);
    let dtype = n.dtype(x);
    let shape: Vec<usize> = std::iter::once(channels).chain((2..n.rank(x)).map(|_| 1)).collect();
    let make = |v: &mut dyn Iterator<Item = f64>| {
        Constant::from_scalars(dtype, shape.clone(), v.map(|v| Scalar::from_f64(dtype, v)))
    };
    Some((make(&mut factor.iter().copied())?, make(&mut summand.into_iter())?))
}

fn instance_norm(n: &mut Node) -> Res<Outs> {
    let (x, scale, bias) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let shape = n.shape(x);
    if shape.len() < 3 {
        fail!("{} has no axes to normalise over", n.ty(x));
    }
    let eps = n.attrs().float_or("epsilon", 1e-5)?;
    let rows = vec![shape[0].clone(), shape[1].clone(), product(&shape[2..])?];
    per_row(n, x, rows, eps, [scale, bias], true)
}

fn group_norm(n: &mut Node) -> Res<Outs> {
    let (x, scale, bias) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let shape = n.shape(x);
    let eps = n.attrs().float_or("epsilon", 1e-5)?;
    let groups = n.attrs().int_or("num_groups", 0)?;
    if groups < 1 || shape.len() < 3 {
        fail!("{groups} groups of {}", n.ty(x));
    }
    let groups = Dim::int(groups);
    let Some(width) = shape[1].div_exact(&groups) else { fail!("{groups} groups of {} channels", shape[1]) };
    let rows = vec![shape[0].clone(), groups, &width * &product(&shape[2..])?];
    // Before opset 21 scale and bias are given for a group, since then for a channel.
    let by_group = n.opset() < 21;
    per_row(n, x, rows, eps, [scale, bias], by_group)
}

/// `x` normalised within `rows` (its elements as batch, group, rest), then
/// scaled and shifted along axis 1, of those rows if `by_row` or else of `x`.
fn per_row(n: &mut Node, x: ValueId, rows: Vec<Dim>, eps: f32, affine_by: [ValueId; 2], by_row: bool) -> Res<Outs> {
    let shape = n.shape(x);
    let flat = n.reshape_part("rows", x, rows.clone())?;
    let mut y = n.part("normed", Op::layer_norm(eps), &[flat])?;
    let over = if by_row { 3 } else { shape.len() };
    let along = if by_row { rows[1].clone() } else { shape[1].clone() };
    let mut v = affine_by;
    for (v, part) in v.iter_mut().zip(["scale", "bias"]) {
        let [own] = n.shape(*v).try_into().map_err(|_| format!("its {part} is no vector"))?;
        if (&own - &along).as_int().is_some_and(|d| d != 0) {
            fail!("its {part} is {}, not a vector of {along}", n.ty(*v));
        }
        *v = n.reshape_part(part, *v, channel_shape(own, over))?;
    }
    if !by_row {
        y = n.reshape_part("channels", y, shape)?;
        return Ok(vec![Some(affine(n, y, v[0], Some(v[1]))?)]);
    }
    let scaled = n.part("scaled", Op::Binary(Binary::Mul), &[y, v[0]])?;
    if shape == rows {
        return n.emit(Op::Binary(Binary::Add), &[scaled, v[1]]);
    }
    let y = n.part("shifted", Op::Binary(Binary::Add), &[scaled, v[1]])?;
    n.emit(Op::reshape(shape), &[y])
}

/// `x / norm`, and zero where the norm is.
fn lp_norm(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let at = axis(n.attrs().int_or("axis", -1)?, n.rank(x))?;
    let p = n.attrs().int_or("p", 2)?;
    let sum = reduce(FoldKind::Sum, &[at], true);
    let norm = match p {
        1 => {
            let abs = n.part("abs", Op::Unary(Unary::Abs), &[x])?;
            n.part("norm", sum, &[abs])?
        }
        2 => {
            let square = n.part("square", Op::Binary(Binary::Mul), &[x, x])?;
            let sum = n.part("sum", sum, &[square])?;
            n.part("norm", Op::Unary(Unary::Sqrt), &[sum])?
        }
        other => fail!("attribute p is {other}"),
    };
    let zero = n.number("zero", x, 0.0);
    let nothing = n.part("nothing", Op::Binary(Binary::Eq), &[norm, zero])?;
    let ratio = n.part("ratio", Op::Binary(Binary::Div), &[x, norm])?;
    n.emit(Op::Where(Where), &[nothing, zero, ratio])
}
