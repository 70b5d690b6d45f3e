//! Reductions, running sums and the search for extremes.

use super::error::{Res, fail};
use super::node::{Convert, Node, Outs, alias, axes, axis};
use bgz_passes::ir::{
    ArgReduce, Binary, Cast, Cumulative, DType, Fold, FoldKind, Op, Reduce, TopK, Unary, ValueId, Where,
};

pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    if !domain.is_empty() {
        return None;
    }
    let found: Convert = match op {
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" => plain,
        "ReduceL1" | "ReduceL2" | "ReduceSumSquare" | "ReduceLogSum" | "ReduceLogSumExp" => composed,
        "GlobalAveragePool" | "GlobalMaxPool" => global_pool,
        "ArgMax" | "ArgMin" => arg,
        "CumSum" | "CumProd" => cumulative,
        "TopK" => top_k,
        _ => return None,
    };
    Some(found)
}

pub(super) fn reduce(kind: FoldKind, axes: &[usize], keep_dims: bool) -> Op {
    Op::Reduce(Reduce::Fold(Fold { kind, axes: axes.to_vec(), keep_dims }))
}

/// The axes and whether they stay.
fn arguments(n: &mut Node, rank: usize) -> Res<(Vec<usize>, bool)> {
    let given = n.numbers(1, "axes")?.filter(|a| !a.is_empty());
    let keep = n.attrs().flag("keepdims", true)?;
    let noop = n.attrs().flag("noop_with_empty_axes", false)?;
    Ok(match given {
        Some(a) => (axes(&a, rank)?, keep),
        // Nothing is reduced, so nothing can be dropped.
        None if noop => (Vec::new(), true),
        None => ((0..rank).collect(), keep),
    })
}

fn plain(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let (axes, keep) = arguments(n, n.rank(x))?;
    let kind = match n.op() {
        "ReduceSum" => FoldKind::Sum,
        "ReduceMean" => FoldKind::Mean,
        "ReduceMax" => FoldKind::Max,
        "ReduceMin" => FoldKind::Min,
        _ => FoldKind::Prod,
    };
    if axes.is_empty() {
        return alias(x);
    }
    if n.dtype(x) == DType::Bool {
        let x = n.part("number", Op::Cast(Cast(DType::U8)), &[x])?;
        let y = n.part("extreme", reduce(kind, &axes, keep), &[x])?;
        return n.emit(Op::Cast(Cast(DType::Bool)), &[y]);
    }
    n.emit(reduce(kind, &axes, keep), &[x])
}

fn composed(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let (axes, keep) = arguments(n, n.rank(x))?;
    let sum = reduce(FoldKind::Sum, &axes, keep);
    match n.op() {
        "ReduceL1" => {
            let abs = n.part("abs", Op::Unary(Unary::Abs), &[x])?;
            n.emit(sum, &[abs])
        }
        "ReduceSumSquare" => {
            let square = n.part("square", Op::Binary(Binary::Mul), &[x, x])?;
            n.emit(sum, &[square])
        }
        "ReduceL2" => {
            let square = n.part("square", Op::Binary(Binary::Mul), &[x, x])?;
            let sum = n.part("sum", sum, &[square])?;
            root(n, sum)
        }
        "ReduceLogSum" => {
            let sum = n.part("sum", sum, &[x])?;
            n.emit(Op::Unary(Unary::Log), &[sum])
        }
        _ => log_sum_exp(n, x, &axes, keep),
    }
}

/// The square root; of integers through floats.
fn root(n: &mut Node, v: ValueId) -> Res<Outs> {
    let dtype = n.dtype(v);
    if dtype.is_float() {
        return n.emit(Op::Unary(Unary::Sqrt), &[v]);
    }
    let float = n.part("float", Op::Cast(Cast(DType::F64)), &[v])?;
    let root = n.part("root", Op::Unary(Unary::Sqrt), &[float])?;
    n.emit(Op::Cast(Cast(dtype)), &[root])
}

/// `log(sum(exp(x - m))) + m` with `m` the maximum, so that nothing overflows;
/// an infinite maximum is left out of the difference, which would be NaN.
fn log_sum_exp(n: &mut Node, x: ValueId, axes: &[usize], keep: bool) -> Res<Outs> {
    let max = n.part("max", reduce(FoldKind::Max, axes, true), &[x])?;
    let zero = n.number("zero", x, 0.0);
    let infinite = n.part("infinite", Op::Unary(Unary::IsInf), &[max])?;
    let shift = n.part("shift", Op::Where(Where), &[infinite, zero, max])?;
    let shifted = n.part("shifted", Op::Binary(Binary::Sub), &[x, shift])?;
    let exp = n.part("exp", Op::Unary(Unary::Exp), &[shifted])?;
    let sum = n.part("sum", reduce(FoldKind::Sum, axes, true), &[exp])?;
    let log = n.part("log", Op::Unary(Unary::Log), &[sum])?;
    if keep || axes.is_empty() {
        return n.emit(Op::Binary(Binary::Add), &[log, shift]);
    }
    let kept = n.part("kept", Op::Binary(Binary::Add), &[log, shift])?;
    let shape: Vec<_> = n.shape(kept).into_iter().enumerate().filter(|(i, _)| !axes.contains(i)).collect();
    n.emit(Op::reshape(shape.into_iter().map(|(_, d)| d)), &[kept])
}

fn global_pool(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let axes: Vec<usize> = (2..n.rank(x)).collect();
    let kind = if n.op() == "GlobalMaxPool" { FoldKind::Max } else { FoldKind::Mean };
    n.emit(reduce(kind, &axes, true), &[x])
}

fn arg(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let a = n.attrs();
    let axis = axis(a.int_or("axis", 0)?, n.rank(x))?;
    let op = ArgReduce {
        max: n.op() == "ArgMax",
        axis,
        keep_dims: a.flag("keepdims", true)?,
        last: a.flag("select_last_index", false)?,
    };
    n.emit(Op::Reduce(Reduce::Arg(op)), &[x])
}

fn cumulative(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let at = match n.numbers(1, "axis")?.as_deref() {
        Some(&[a]) => axis(a, n.rank(x))?,
        _ => fail!("axis must be one number"),
    };
    let (exclusive, reverse) = (n.attrs().flag("exclusive", false)?, n.attrs().flag("reverse", false)?);
    let product = n.op() == "CumProd";
    n.emit(Op::Reduce(Reduce::Cumulative(Cumulative { product, axis: at, exclusive, reverse })), &[x])
}

fn top_k(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let a = n.attrs();
    let axis = axis(a.int_or("axis", -1)?, n.rank(x))?;
    let largest = a.flag("largest", true)?;
    let mut operands = vec![x];
    if !n.has(1) {
        fail!("operand 1 is missing");
    }
    let k = n.int_arg(1, &mut operands)?;
    n.emit_all(2, Op::Reduce(Reduce::TopK(TopK { axis, largest, k })), &operands)
}
