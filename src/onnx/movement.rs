//! Ops that move elements without changing them.

use super::error::{Res, fail};
use super::node::{Convert, Node, Outs, alias, axes, axis, product};
use super::tensor;
use bgz_passes::ir::{
    Binary, Cast, Constant, DType, Dim, Generate, Index, IntArg, Movement, Op, Pad, PadMode, Slice, ValueId,
};

pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    if !domain.is_empty() {
        return None;
    }
    let found: Convert = match op {
        "Reshape" => reshape,
        "Flatten" => flatten,
        "Squeeze" => squeeze,
        "Unsqueeze" => unsqueeze,
        "Transpose" => transpose,
        "Expand" => expand,
        "Slice" => slice,
        "Split" => split,
        "Concat" => concat,
        "Pad" => pad,
        "Tile" => tile,
        "DepthToSpace" => depth_to_space,
        "SpaceToDepth" => space_to_depth,
        "BitCast" => bit_cast,
        _ => return None,
    };
    Some(found)
}

fn reshape(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let zero_copies = !n.attrs().flag("allowzero", false)?;
    if !n.has(1) {
        fail!("operand 1 is missing");
    }
    if let Some(target) = n.ints(1)
        && let Some(shape) = resolved(&n.shape(x), &target, zero_copies)
    {
        return n.emit(Op::reshape(shape), &[x]);
    }
    // Extents that do not work out are an error of the op itself.
    let shape = n.vector(1)?;
    n.emit(Op::Movement(Movement::Reshape { shape: IntArg::Operand, zero_copies }), &[x, shape])
}

/// Extents without shorthand, or `None` if they do not follow.
fn resolved(from: &[Dim], to: &[Dim], zero_copies: bool) -> Option<Vec<Dim>> {
    let mut rest = None;
    let mut out = Vec::with_capacity(to.len());
    for (i, d) in to.iter().enumerate() {
        out.push(match d.as_int() {
            Some(0) if zero_copies => from.get(i)?.clone(),
            Some(-1) if rest.replace(i).is_none() => Dim::int(1),
            Some(v) if v < 0 => return None,
            _ => d.clone(),
        });
    }
    if let Some(i) = rest {
        let others = Dim::product(&out)?;
        // An extent of 0 leaves the missing one open.
        out[i] = if others.is(0) { return None } else { Dim::product(from)?.div_exact(&others)? };
    }
    Some(out)
}

fn flatten(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let (shape, rank) = (n.shape(x), n.rank(x));
    let given = n.attrs().int_or("axis", 1)?;
    // The rank itself is allowed.
    let at = if usize::try_from(given) == Ok(rank) { rank } else { axis(given, rank)? };
    n.emit(Op::reshape([product(&shape[..at])?, product(&shape[at..])?]), &[x])
}

fn squeeze(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let shape = n.shape(x);
    let gone = match n.numbers(1, "axes")? {
        Some(a) => axes(&a, shape.len())?,
        None => {
            if let Some(d) = shape.iter().find(|d| d.as_int().is_none()) {
                fail!("without axes, it is not known whether the extent {d} goes");
            }
            (0..shape.len()).filter(|&i| shape[i].is(1)).collect()
        }
    };
    if let Some(&i) = gone.iter().find(|&&i| shape[i].as_int().is_some_and(|d| d != 1)) {
        fail!("axis {i} of {} is not of extent 1", n.ty(x));
    }
    let kept = shape.into_iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, d)| d);
    n.emit(Op::reshape(kept), &[x])
}

fn unsqueeze(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let mut shape = n.shape(x);
    let Some(given) = n.numbers(1, "axes")? else { fail!("axes are missing") };
    // They count in the result.
    for a in axes(&given, shape.len() + given.len())? {
        shape.insert(a, Dim::int(1));
    }
    n.emit(Op::reshape(shape), &[x])
}

fn transpose(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let rank = n.rank(x);
    let perm = match n.attrs().ints("perm")? {
        Some(p) => p.iter().map(|&a| axis(a, rank)).collect::<Res<Vec<_>>>()?,
        None => (0..rank).rev().collect(),
    };
    n.emit(Op::Movement(Movement::Transpose { perm }), &[x])
}

fn expand(n: &mut Node) -> Res<Outs> {
    let mut operands = vec![n.input(0)?];
    if !n.has(1) {
        fail!("operand 1 is missing");
    }
    let shape = n.int_arg(1, &mut operands)?;
    n.emit(Op::Movement(Movement::Expand { shape }), &operands)
}

fn slice(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    if !n.has(1) || !n.has(2) {
        fail!("starts and ends are missing");
    }
    let count = match n.input_ty(1).map(|t| t.known_shape()) {
        Some(Some(s)) if s.len() == 1 => s[0],
        _ => fail!("starts must be a vector of known length"),
    };
    let rank = n.rank(x);
    let given: Vec<usize> = match n.numbers(3, "axes")? {
        Some(a) => a.iter().map(|&a| axis(a, rank)).collect::<Res<_>>()?,
        None if count <= rank => (0..count).collect(),
        None => fail!("{count} bounds for rank {rank}"),
    };
    let mut order: Vec<usize> = (0..given.len()).collect();
    order.sort_by_key(|&i| given[i]);
    let axes: Vec<usize> = order.iter().map(|&i| given[i]).collect();
    if let Some(w) = axes.windows(2).find(|w| w[0] == w[1]) {
        fail!("axis {} is given twice", w[0]);
    }
    let mut operands = vec![x];
    let mut bound = |n: &mut Node, i: usize, name: &str| sorted(n, i, name, &order, &mut operands);
    let starts = bound(n, 1, "starts")?;
    let ends = bound(n, 2, "ends")?;
    let steps = if n.has(4) { bound(n, 4, "steps")? } else { IntArg::Known(vec![Dim::int(1); axes.len()]) };
    let ends = open_ended(&n.shape(x), &axes, ends, &steps);
    n.emit(Op::Movement(Movement::Slice(Slice { axes, starts, ends, steps })), &operands)
}

/// Files made by tf2onnx say "to the end" with this number.
const TF_END: i64 = 1_000_000_000;

/// `ends` with such numbers as `i64::MAX` along symbolic axes, so that their extents are followed.
fn open_ended(shape: &[Dim], axes: &[usize], mut ends: IntArg, steps: &IntArg) -> IntArg {
    if let (IntArg::Known(ends), IntArg::Known(steps)) = (&mut ends, steps) {
        for ((end, step), &axis) in ends.iter_mut().zip(steps).zip(axes) {
            if end.is(TF_END) && step.as_int().is_some_and(|s| s > 0) && shape[axis].as_int().is_none() {
                *end = Dim::int(i64::MAX);
            }
        }
    }
    ends
}

/// Bounds in the order of sorted axes.
fn sorted(n: &mut Node, i: usize, name: &str, order: &[usize], operands: &mut Vec<ValueId>) -> Res<IntArg> {
    if let Some(v) = n.ints(i) {
        if v.len() != order.len() {
            fail!("{} {name} for {} axes", v.len(), order.len());
        }
        return Ok(IntArg::Known(order.iter().map(|&k| v[k].clone()).collect()));
    }
    let mut v = n.input(i)?;
    if order.windows(2).any(|w| w[0] > w[1]) {
        let order: Vec<i64> = order.iter().filter_map(|&k| i64::try_from(k).ok()).collect();
        let indices = n.const_part(&format!("{name}_order"), Constant::i64s(&order));
        v = n.part(name, Op::Index(Index::Gather { axis: 0 }), &[v, indices])?;
    }
    operands.push(v);
    Ok(IntArg::Operand)
}

/// A slice a result.
fn split(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let (shape, count) = (n.shape(x), n.results());
    let at = axis(n.attrs().int_or("axis", 0)?, shape.len())?;
    if let Some(v) = n.attrs().int("num_outputs")?
        && usize::try_from(v) != Ok(count)
    {
        fail!("attribute num_outputs is {v} for {count} results");
    }
    let extent = &shape[at];
    let sizes: Vec<Dim> = if n.has(1) {
        match n.ints(1) {
            Some(v) if v.len() == count => v,
            Some(v) => fail!("{} sizes for {count} results", v.len()),
            None => fail!("its sizes must be constant"),
        }
    } else {
        match equal_parts(extent, count) {
            Some(sizes) => sizes,
            None => return split_at_run_time(n, x, at),
        }
    };
    let total = sizes.iter().fold(Dim::int(0), |a, b| &a + b);
    if (&total - extent).as_int().is_some_and(|d| d != 0) {
        fail!("its sizes add up to {total}, the extent is {extent}");
    }
    let mut outs = Vec::with_capacity(count);
    let mut start = Dim::int(0);
    for (i, size) in sizes.into_iter().enumerate() {
        let end = &start + &size;
        if !n.wants(i) {
            outs.push(None);
        } else {
            let name = n.result_name(i);
            outs.push(Some(cut(n, &name, x, at, (&start, &end), size)?));
        }
        start = end;
    }
    Ok(outs)
}

/// The entries from `start` to `end` along an axis, of which there are `size`.
pub(super) fn cut(
    n: &mut Node,
    name: &str,
    x: ValueId,
    at: usize,
    (start, end): (&Dim, &Dim),
    size: Dim,
) -> Res<ValueId> {
    let known = |d: &Dim| IntArg::Known(vec![d.clone()]);
    let cut = Slice { axes: vec![at], starts: known(start), ends: known(end), steps: known(&Dim::int(1)) };
    let mut ty = n.ty(x).clone();
    ty.shape[at] = size;
    Ok(n.add(Op::Movement(Movement::Slice(cut)), &[x], &[name], Some(&[ty]))?[0])
}

/// `extent` in `count` parts, the last one smaller if they are not equal.
fn equal_parts(extent: &Dim, count: usize) -> Option<Vec<Dim>> {
    let parts = i64::try_from(count).ok().filter(|&n| n > 0)?;
    if let Some(part) = extent.div_exact(&Dim::int(parts)) {
        return Some(vec![part; count]);
    }
    let all = extent.as_int()?;
    let part = all.checked_add(parts - 1)? / parts;
    let last = all.checked_sub(part.checked_mul(parts - 1)?).filter(|&l| l >= 0)?;
    let mut sizes = vec![Dim::int(part); count - 1];
    sizes.push(Dim::int(last));
    Some(sizes)
}

/// Equal parts of an extent that is only known when the graph is bound.
fn split_at_run_time(n: &mut Node, x: ValueId, at: usize) -> Res<Outs> {
    let Some(count) = i64::try_from(n.results()).ok().filter(|&c| c > 0) else { fail!("it has no results") };
    let extent = n.part("extent", Op::Generate(Generate::Shape { start: at, end: at + 1 }), &[x])?;
    let constant = |n: &mut Node, part: &str, v: i64| n.const_part(part, Constant::i64s(&[v]));
    let (rest, parts) = (constant(n, "rest", count - 1), constant(n, "parts", count));
    let sum = n.part("rounded_up", Op::Binary(Binary::Add), &[extent, rest])?;
    let size = n.part("size", Op::Binary(Binary::Div), &[sum, parts])?;
    let mut outs = Vec::new();
    for i in 0..count {
        let index = outs.len();
        if !n.wants(index) {
            outs.push(None);
            continue;
        }
        let (i, j) = (constant(n, "index", i), constant(n, "index", i + 1));
        let start = n.part("start", Op::Binary(Binary::Mul), &[size, i])?;
        let end = n.part("end", Op::Binary(Binary::Mul), &[size, j])?;
        let steps = IntArg::Known(vec![Dim::int(1)]);
        let cut = Slice { axes: vec![at], starts: IntArg::Operand, ends: IntArg::Operand, steps };
        outs.push(Some(n.result(index, Op::Movement(Movement::Slice(cut)), &[x, start, end])?));
    }
    Ok(outs)
}

fn concat(n: &mut Node) -> Res<Outs> {
    let all = n.inputs()?;
    let Some(given) = n.attrs().int("axis")? else { fail!("attribute axis is missing") };
    let axis = axis(given, n.rank(all[0]))?;
    if let [one] = all[..] {
        return alias(one);
    }
    n.emit(Op::Movement(Movement::Concat { axis }), &all)
}

fn pad(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let rank = n.rank(x);
    let mode = match n.attrs().string_or("mode", "constant")? {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        other => fail!("attribute mode = {other:?} is not supported"),
    };
    if !n.has(1) {
        fail!("pads are missing");
    }
    let mut operands = vec![x];
    let pads = match (n.int_arg(1, &mut operands)?, n.numbers(3, "axes")?) {
        (pads, None) => pads,
        (IntArg::Operand, Some(_)) => fail!("pads of some axes must be constant"),
        (IntArg::Known(v), Some(given)) => {
            let axes = given.iter().map(|&a| axis(a, rank)).collect::<Res<Vec<_>>>()?;
            if v.len() != 2 * axes.len() {
                fail!("{} pads for {} axes", v.len(), axes.len());
            }
            let mut all = vec![Dim::int(0); 2 * rank];
            for (i, &a) in axes.iter().enumerate() {
                all[a] = v[i].clone();
                all[rank + a] = v[axes.len() + i].clone();
            }
            IntArg::Known(all)
        }
    };
    let value = match n.maybe(2)? {
        Some(v) => Some(v),
        None if n.opset() < 11 => n.attrs().float("value")?.map(|v| n.number("value", x, v.into())),
        None => None,
    };
    if mode == PadMode::Constant {
        operands.extend(value);
    }
    n.emit(Op::Movement(Movement::Pad(Pad { pads, mode })), &operands)
}

fn tile(n: &mut Node) -> Res<Outs> {
    let mut operands = vec![n.input(0)?];
    if !n.has(1) {
        fail!("operand 1 is missing");
    }
    let repeats = n.int_arg(1, &mut operands)?;
    n.emit(Op::Movement(Movement::Tile { repeats }), &operands)
}

/// Batch, channels, height, width and the block size.
fn blocks(n: &mut Node, x: ValueId) -> Res<([Dim; 4], Dim)> {
    let Some(b) = n.attrs().int("blocksize")? else { fail!("attribute blocksize is missing") };
    match n.shape(x).try_into() {
        Ok(s) if b > 0 => Ok((s, Dim::int(b))),
        _ => fail!("blocks of {b} in {}", n.ty(x)),
    }
}

fn depth_to_space(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let ([batch, c, h, w], b) = blocks(n, x)?;
    let Some(depth) = c.div_exact(&(&b * &b)) else { fail!("blocks of {b} in {c} channels") };
    let (shape, perm): ([&Dim; 6], _) = match n.attrs().string_or("mode", "DCR")? {
        "DCR" => ([&batch, &b, &b, &depth, &h, &w], vec![0, 3, 4, 1, 5, 2]),
        "CRD" => ([&batch, &depth, &b, &b, &h, &w], vec![0, 1, 4, 2, 5, 3]),
        other => fail!("attribute mode is {other:?}"),
    };
    let split = n.part("split", Op::reshape(shape), &[x])?;
    let moved = n.part("moved", Op::Movement(Movement::Transpose { perm }), &[split])?;
    n.emit(Op::reshape([&batch, &depth, &(&h * &b), &(&w * &b)]), &[moved])
}

fn space_to_depth(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let ([batch, c, h, w], b) = blocks(n, x)?;
    let (Some(rows), Some(columns)) = (h.div_exact(&b), w.div_exact(&b)) else {
        fail!("blocks of {b} in {}", n.ty(x));
    };
    let perm = match n.attrs().string_or("mode", "DCR")? {
        "DCR" => vec![0, 3, 5, 1, 2, 4],
        "CRD" if n.opset() >= 28 => vec![0, 1, 3, 5, 2, 4],
        other => fail!("attribute mode is {other:?}"),
    };
    let split = n.part("split", Op::reshape([&batch, &c, &rows, &b, &columns, &b]), &[x])?;
    let moved = n.part("moved", Op::Movement(Movement::Transpose { perm }), &[split])?;
    n.emit(Op::reshape([&batch, &(&c * &(&b * &b)), &rows, &columns]), &[moved])
}

fn bit_cast(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let Some(code) = n.attrs().int("to")? else { fail!("attribute to is missing") };
    let to = match tensor::dtype(i32::try_from(code).unwrap_or(0)) {
        Ok(d) => d,
        Err(name) => fail!("attribute to: the element type is not supported: {name}"),
    };
    match n.dtype(x) {
        from if from == to => alias(x),
        // A truth value is the byte 0 or 1.
        DType::Bool if to == DType::U8 || to == DType::I8 => n.emit(Op::Cast(Cast(to)), &[x]),
        DType::U8 | DType::I8 if to == DType::Bool => n.emit(Op::Cast(Cast(to)), &[x]),
        _ => n.emit(Op::Movement(Movement::Bits(to)), &[x]),
    }
}
