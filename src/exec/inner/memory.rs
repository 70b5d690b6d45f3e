//! What an op takes of memory. Burn's functions end the process where they cannot allocate, so that it has to be known
//! before they are called that there is enough.

use super::{Fault, Res};
use bgz_passes::ir::{Binary, Conv, DType, Dim, Expr, Generate, Index, Movement, Op, Padding, Reduce, Type, Window};
use bgz_passes::memory::obtainable;
use std::sync::OnceLock;

/// Whether so many bytes can be had.
pub(super) fn check(bytes: u128) -> Res<()> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if obtainable(bytes) { Ok(()) } else { Err(Fault::Memory { bytes }) }
}

/// A vector of `len` elements, if memory suffices.
pub(super) fn collected<T>(len: usize, values: impl Iterator<Item = T>) -> Res<Vec<T>> {
    bgz_passes::memory::collected(len, values).map_err(|bytes| Fault::Memory { bytes })
}

/// Number of elements; an extent that is not known yet counts once.
fn len(ty: &Type) -> u128 {
    ty.shape.iter().fold(1, |n: u128, d| n.saturating_mul(d.as_usize().unwrap_or(1) as u128))
}

/// Bytes, of at least so many an element.
fn at_least(ty: &Type, size: usize) -> u128 {
    len(ty).saturating_mul(ty.dtype.size().max(size) as u128)
}

/// Bytes that an op has at once, beside its operands, at the most: its results and what is made on the way to them, by
/// Burn's functions and by those of this crate. Halves count as f32, which most functions take them through.
pub(super) fn needs(op: &Op, inputs: &[Type], outputs: &[Type]) -> u128 {
    let sum = |types: &[Type], size| types.iter().fold(0, |n: u128, ty| n.saturating_add(at_least(ty, size)));
    let out = sum(outputs, 4);
    let operands = || sum(inputs, 4);
    let operand = |i: usize, size| inputs.get(i).map_or(0, |ty| at_least(ty, size));
    // Every operand as large as the result.
    let widest = inputs.iter().chain(outputs).map(|ty| ty.dtype.size()).max().unwrap_or(8);
    let whole = outputs.first().map_or(0, |ty| at_least(ty, widest));
    let times = |n: u128, bytes: u128| bytes.saturating_mul(n);
    match op {
        Op::Generate(Generate::Shape { .. } | Generate::Dims { .. }) => out,
        Op::Movement(Movement::Reshape { .. } | Movement::Transpose { .. } | Movement::Expand { .. })
        | Op::Generate(Generate::Full { .. } | Generate::Range) => times(2, out),
        Op::Movement(Movement::Slice(_) | Movement::Concat { .. } | Movement::Tile { .. })
        | Op::Index(Index::Gather { .. } | Index::GatherNd { .. }) => {
            times(2, out).saturating_add(times(4, operand(1, 8)))
        }
        Op::Unary(_) | Op::Cast(_) => times(4, whole),
        Op::Binary(Binary::Rem | Binary::Mod) => times(6, whole),
        Op::Binary(_) | Op::Where(_) => times(4, whole),
        Op::Fused(e) => times(3 + depth(e) as u128, times(8, outputs.first().map_or(0, len))),
        Op::Norm(_) => times(6, whole),
        Op::Product(_) => {
            // Integers are multiplied in i64, bf16 in f32.
            let converted = match inputs.first().map(|ty| ty.dtype) {
                Some(DType::F32 | DType::F64) => 0,
                Some(d) if d.is_float() => operands(),
                _ => sum(inputs, 8).saturating_add(sum(outputs, 8)),
            };
            times(3, out).saturating_add(times(2, converted))
        }
        Op::Attention(a) => {
            let seq = |i: usize| inputs.get(i).and_then(|ty| ty.shape.iter().rev().nth(1)?.as_usize()).unwrap_or(1);
            let batch = outputs.first().and_then(|ty| ty.shape.first()?.as_usize()).unwrap_or(1);
            let scores = [batch, a.heads, seq(0), seq(1), 4].iter().fold(1, |n: u128, &d| n.saturating_mul(d as u128));
            let shared = (a.heads / a.kv_heads.max(1)).max(1) as u128;
            let heads = operand(1, 4).saturating_add(operand(2, 4)).saturating_mul(shared + 1);
            let all = [times(6, scores), heads, times(2, operand(0, 4)), times(3, out)];
            all.into_iter().fold(0, u128::saturating_add)
        }
        Op::Reduce(Reduce::Fold(_) | Reduce::Arg(_) | Reduce::Cumulative(_)) => {
            let float = inputs.first().is_some_and(|ty| ty.dtype.is_float());
            out.saturating_add(times(3, operand(0, if float { 4 } else { 8 })))
        }
        Op::Reduce(Reduce::TopK(_)) => times(2, out).saturating_add(times(5, operand(0, 8))),
        Op::Movement(Movement::Pad(_)) => {
            // An axis may grow before another is cut.
            let extent = |ty: &Type, i: usize| ty.shape.get(i).and_then(Dim::as_usize).unwrap_or(1) as u128;
            let (Some(x), Some(y)) = (inputs.first(), outputs.first()) else { return out };
            let most = (0..x.rank()).fold(1, |n: u128, i| n.saturating_mul(extent(x, i).max(extent(y, i))));
            times(3, most.saturating_mul(x.dtype.size() as u128))
        }
        Op::Index(Index::GatherElements { .. } | Index::ScatterNd | Index::ScatterElements { .. }) => {
            let indices = times(4, operand(1, 8));
            [times(2, out), times(2, operand(0, 1)), indices, times(2, operand(2, 1))]
                .into_iter()
                .fold(0, u128::saturating_add)
        }
        Op::Generate(Generate::OneHot { .. }) => times(3, out).saturating_add(times(3, operand(0, 8))),
        Op::Movement(Movement::Trilu { .. }) => times(4, out),
        Op::Index(Index::NonZero) => times(2 * inputs.first().map_or(0, Type::rank) as u128 + 4, operand(0, 8)),
        Op::Conv(c) => match inputs {
            [x, w, ..] => conv(c, x, w, out),
            _ => out,
        },
        Op::Pool(p) => {
            let padded = inputs.first().map_or(0, |x| padded(&p.window, x));
            times(4, padded).saturating_add(times(6, out))
        }
        Op::Resize(_) => match (inputs, outputs) {
            ([x], [to]) => resize(x, to, out),
            _ => out,
        },
        Op::Opaque(_) => out,
    }
}

/// Levels of an expression, each of which may hold a result.
fn depth(e: &Expr) -> usize {
    match e {
        Expr::Input(_) | Expr::Literal(_) => 1,
        Expr::Unary(_, x) | Expr::Cast(_, x) => 1 + depth(x),
        Expr::Binary(_, x, y) => 1 + depth(x) + depth(y),
        Expr::Where(c, x, y) => 1 + depth(c) + depth(x) + depth(y),
    }
}

fn extents(ty: &Type) -> Vec<u128> {
    ty.shape.iter().map(|d| d.as_usize().unwrap_or(1) as u128).collect()
}

fn product(v: &[u128]) -> u128 {
    v.iter().fold(1, |n, &d| n.saturating_mul(d))
}

/// Bytes of an operand of four and more to an element, with what is padded around it.
fn padded(window: &Window, x: &Type) -> u128 {
    let pads = match &window.padding {
        Padding::Explicit(pads) => pads.clone(),
        Padding::SameUpper | Padding::SameLower => Vec::new(),
    };
    // Beginnings, then ends, of all axes but two.
    let spatial = x.rank().saturating_sub(2);
    extents(x).iter().enumerate().fold(x.dtype.size().max(4) as u128, |n, (i, &d)| {
        let pad = |at: usize| i.checked_sub(2).and_then(|i| pads.get(at + i)).map_or(0, |&p| p as u128);
        n.saturating_mul(d.saturating_add(pad(0)).saturating_add(pad(spatial)))
    })
}

/// Convolutions: padded copies of the operand, windows.
fn conv(conv: &Conv, x: &Type, w: &Type, out: u128) -> u128 {
    let (padded, kernel) = (padded(conv.window(), x), at_least(w, 4));
    // Bytes of one, as wide as any dtype.
    let window = product(extents(w).get(1..).unwrap_or(&[])).saturating_mul(8);
    let all = match conv {
        Conv::Plain { .. } => {
            // Windows of 512 results on each thread.
            let windows = window.saturating_mul(512);
            [
                padded.saturating_mul(3),
                kernel.saturating_mul(3),
                windows.saturating_mul(threads()),
                out.saturating_mul(3),
            ]
        }
        Conv::Transposed { .. } => {
            // A window of results for each element of a channel.
            let windows = window.saturating_mul(product(extents(x).get(2..).unwrap_or(&[])));
            let batch = extents(x).first().copied().unwrap_or(1);
            let at_once = windows.saturating_mul(batch.min(threads()));
            [padded.saturating_mul(2), kernel.saturating_mul(2), at_once, out.saturating_mul(4)]
        }
    };
    all.into_iter().fold(0, u128::saturating_add)
}

/// Resizing: an axis may grow before another shrinks.
fn resize(x: &Type, to: &Type, out: u128) -> u128 {
    let most: Vec<u128> = extents(x).into_iter().zip(extents(to)).map(|(a, b)| a.max(b)).collect();
    let lanes = product(&most).saturating_mul(3 * 8);
    lanes.saturating_add(at_least(x, 8)).saturating_add(out.saturating_mul(2))
}

/// Threads that a backend may use.
fn threads() -> u128 {
    static THREADS: OnceLock<u128> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u128))
}
