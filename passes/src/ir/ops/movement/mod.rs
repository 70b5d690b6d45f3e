//! Ops that move elements and compute none.

mod extents;

pub(super) use extents::repeated_ints;
pub use extents::slice_bounds;

use super::generate::single;
use super::{Evaluated, Family, Fields, Fresh, Inferred, IntArg};
use crate::ir::broadcast::{Offsets, broadcast_shape, checked_len, strides};
use crate::ir::infer::{Operand, broadcast, check_axis, fail, need_one};
use crate::ir::tensor::Tensor;
use crate::ir::{Constant, DType, Dim, Scalar, Type};
use extents::{joined, reshaped, slice_ints, slice_shape};
use std::borrow::Cow;

/// Ops whose results have elements of the operands, or what is put between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Movement {
    /// `x, [shape i64]`: the same elements in another shape.
    Reshape {
        /// The new extents, all given (no -1 or 0 shorthand); as an operand, ONNX shorthand applies.
        shape: IntArg,
        /// As an operand: whether a 0 copies the extent of `x` (ONNX `allowzero = 0`).
        zero_copies: bool,
    },
    /// `x`: axes permuted; output axis `i` is input axis `perm[i]`.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// `x, [shape i64]`: broadcast with a shape (both ways, as ONNX Expand).
    Expand {
        /// The extents to broadcast with.
        shape: IntArg,
    },
    /// `x, [starts, ends, steps]`: see [`Slice`].
    Slice(Slice),
    /// `a, b, ...`: joined along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// `x, [pads], [value]`: see [`Pad`].
    Pad(Pad),
    /// `x, [repeats i64]`: repeated along each axis.
    Tile {
        /// Times, one an axis.
        repeats: IntArg,
    },
    /// `x, [k scalar i64]`: the upper or lower triangle of the last two axes, zero elsewhere.
    Trilu {
        /// Upper instead of lower.
        upper: bool,
    },
    /// `x`: the same bytes as elements of another dtype of as many bits.
    Bits(DType),
}

/// A strided cut along some axes, with Python's rules for negative and overlong bounds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The axes cut, sorted, distinct.
    pub axes: Vec<usize>,
    /// First entries, one an axis; operand `starts`, or known.
    pub starts: IntArg,
    /// One past the last entries; `i64::MAX` and `i64::MIN` reach the respective end.
    pub ends: IntArg,
    /// Steps, not zero; negative runs backwards.
    pub steps: IntArg,
}

/// Padding of axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pad {
    /// Entries added before each axis, then after each axis; negative ones crop.
    pub pads: IntArg,
    /// The entries that are put there.
    pub mode: PadMode,
}

/// The values of padded entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// The operand `value`, or zero.
    Constant,
    /// Mirrored without the border.
    Reflect,
    /// The border.
    Edge,
}

impl Family for Movement {
    fn blanks() -> Vec<Self> {
        let arg = || IntArg::Operand;
        vec![
            Movement::Reshape { shape: arg(), zero_copies: true },
            Movement::Transpose { perm: vec![] },
            Movement::Expand { shape: arg() },
            Movement::Slice(Slice { axes: vec![], starts: arg(), ends: arg(), steps: arg() }),
            Movement::Concat { axis: 0 },
            Movement::Pad(Pad { pads: arg(), mode: PadMode::Constant }),
            Movement::Tile { repeats: arg() },
            Movement::Trilu { upper: true },
            Movement::Bits(DType::I32),
        ]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match self {
            Movement::Reshape { .. } => "reshape",
            Movement::Transpose { .. } => "transpose",
            Movement::Expand { .. } => "expand",
            Movement::Slice(_) => "slice",
            Movement::Concat { .. } => "concat",
            Movement::Pad(_) => "pad",
            Movement::Tile { .. } => "tile",
            Movement::Trilu { .. } => "trilu",
            Movement::Bits(_) => "bits",
        }
        .into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        match self {
            Movement::Reshape { shape, zero_copies } => {
                fields.arg("shape", shape);
                fields.optional_flag("zero_copies", zero_copies, true);
            }
            Movement::Transpose { perm } => fields.ints("perm", perm),
            Movement::Expand { shape } => fields.arg("shape", shape),
            Movement::Slice(s) => {
                fields.ints("axes", &mut s.axes);
                fields.arg("starts", &mut s.starts);
                fields.arg("ends", &mut s.ends);
                fields.steps(&mut s.steps, s.axes.len());
            }
            Movement::Concat { axis } => fields.int("axis", axis),
            Movement::Pad(p) => {
                fields.arg("pads", &mut p.pads);
                let words = [(PadMode::Constant, "constant"), (PadMode::Reflect, "reflect"), (PadMode::Edge, "edge")];
                fields.word("mode", &mut p.mode, &words);
            }
            Movement::Tile { repeats } => fields.arg("repeats", repeats),
            Movement::Trilu { upper } => fields.flag("upper", upper),
            Movement::Bits(dtype) => fields.result_dtype(dtype),
        }
    }

    fn arity(&self) -> (usize, usize) {
        let exactly = |n| (n, n);
        match self {
            Movement::Transpose { .. } | Movement::Bits(_) => exactly(1),
            Movement::Reshape { shape, .. } | Movement::Expand { shape } => exactly(1 + IntArg::operands(&[shape])),
            Movement::Slice(s) => exactly(1 + IntArg::operands(&[&s.starts, &s.ends, &s.steps])),
            Movement::Concat { .. } => (1, usize::MAX),
            Movement::Pad(p) => {
                let n = 1 + IntArg::operands(&[&p.pads]);
                (n, n + 1)
            }
            Movement::Tile { repeats } => exactly(1 + IntArg::operands(&[repeats])),
            Movement::Trilu { .. } => (1, 2),
        }
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        let ty = x[0].ty;
        let rank = ty.rank();
        let shape = match self {
            Movement::Reshape { shape, zero_copies } => reshaped(&ty.shape, shape, *zero_copies, x.get(1), fresh)?,
            Movement::Transpose { perm } => {
                let mut seen = vec![false; rank];
                for &p in perm {
                    check_axis(p, ty)?;
                    seen[p] = true;
                }
                if perm.len() != rank || seen.contains(&false) {
                    fail!("perm {perm:?} of a tensor of rank {rank}");
                }
                perm.iter().map(|&p| ty.shape[p].clone()).collect()
            }
            Movement::Expand { shape } => {
                let target = shape.extents(x.get(1), fresh)?;
                broadcast(&ty.shape, &target, fresh)?
            }
            Movement::Slice(s) => slice_shape(s, x, fresh)?,
            Movement::Concat { axis } => joined(x, *axis)?,
            Movement::Pad(p) => match p.pads.infer(x.get(1))? {
                Some(v) if v.len() == 2 * rank => (0..rank).map(|i| &(&ty.shape[i] + &v[i]) + &v[rank + i]).collect(),
                Some(v) => fail!("{} pads for rank {rank}", v.len()),
                None => (0..rank).map(|_| fresh()).collect(),
            },
            Movement::Tile { repeats } => match repeats.infer(x.get(1))? {
                Some(v) if v.len() == rank => ty.shape.iter().zip(&v).map(|(d, r)| d * r).collect(),
                Some(v) => fail!("{} repeats for rank {rank}", v.len()),
                None => (0..rank).map(|_| fresh()).collect(),
            },
            Movement::Trilu { .. } => {
                if rank < 2 {
                    fail!("a triangle of {ty}");
                }
                if let Some(k) = x.get(1) {
                    need_one(k.ty, "k")?;
                    if !k.ty.dtype.is_int() {
                        fail!("k of {}", k.ty.dtype);
                    }
                }
                ty.shape.clone()
            }
            Movement::Bits(dtype) => {
                // Those of fewer bits lie in a byte each, or share one, and not every byte is a bool.
                let whole = |d: DType| d.bits() >= 8 && d != DType::Bool;
                if !whole(ty.dtype) || !whole(*dtype) || ty.dtype.bits() != dtype.bits() {
                    fail!("the bits of {} as {dtype}", ty.dtype);
                }
                return Ok(vec![Type { dtype: *dtype, shape: ty.shape.clone() }]);
            }
        };
        Ok(vec![Type { dtype: ty.dtype, shape }])
    }

    fn ints(&self, x: &[Operand], ty: &Type) -> Option<Vec<Dim>> {
        match self {
            Movement::Reshape { .. } | Movement::Transpose { .. } => Some(x[0].ints?.to_vec()),
            Movement::Concat { .. } => {
                let parts: Vec<&[Dim]> = x.iter().map(|o| o.ints).collect::<Option<_>>()?;
                Some(parts.concat())
            }
            Movement::Slice(s) => slice_ints(s, x),
            Movement::Expand { .. } | Movement::Tile { .. } => repeated_ints(x[0].ints?, ty),
            Movement::Pad(_) | Movement::Trilu { .. } | Movement::Bits(_) => None,
        }
    }

    fn says_extents(&self) -> Vec<usize> {
        let args: &[&IntArg] = match self {
            Movement::Reshape { shape, .. } | Movement::Expand { shape } => &[shape],
            Movement::Slice(s) => &[&s.starts, &s.ends, &s.steps],
            Movement::Pad(p) => &[&p.pads],
            Movement::Tile { repeats } => &[repeats],
            Movement::Transpose { .. } | Movement::Concat { .. } | Movement::Trilu { .. } | Movement::Bits(_) => &[],
        };
        (1..=IntArg::operands(args)).collect()
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let (first, rest) = x.split_first().ok_or("an operand is missing")?;
        let result = match self {
            Movement::Reshape { shape, zero_copies } => reshape(first, shape, *zero_copies, rest),
            Movement::Transpose { perm } => transposed(first, perm),
            Movement::Expand { shape } => expand(first, shape, rest),
            Movement::Slice(s) => slice(s, first, rest),
            Movement::Concat { axis } => concat(x, *axis),
            Movement::Pad(p) => pad(p, first, rest),
            Movement::Tile { repeats } => tile(first, repeats, rest),
            Movement::Trilu { upper } => trilu(first, rest.first(), *upper),
            Movement::Bits(dtype) => bits(first, *dtype),
        };
        Ok(vec![result?])
    }
}

fn bits(x: &Tensor, dtype: DType) -> Evaluated<Tensor> {
    let bytes = x.to_constant().elements().map_err(|e| e.to_string())?;
    let of = Constant::from_elements(dtype, x.shape().to_vec(), bytes);
    of.as_ref().and_then(Tensor::from_constant).ok_or_else(|| format!("the bits of {} as {dtype}", x.dtype()))
}

fn reshape(x: &Tensor, shape: &IntArg, zero_copies: bool, rest: &[Tensor]) -> Evaluated<Tensor> {
    if matches!(shape, IntArg::Known(_)) {
        return x.with_shape(shape.eval_extents(&mut [].iter())?);
    }
    let target = shape.eval(&mut rest.iter())?;
    let mut out = Vec::with_capacity(target.len());
    let mut rest_at = None;
    for (i, &v) in target.iter().enumerate() {
        out.push(match v {
            0 if zero_copies => {
                *x.shape().get(i).ok_or_else(|| format!("0 at axis {i} of {target:?} copies nothing"))?
            }
            -1 if rest_at.replace(i).is_some() => return Err(format!("more than one -1 in {target:?}")),
            -1 => 1,
            v => usize::try_from(v).map_err(|_| format!("extent {v}"))?,
        });
    }
    if let Some(at) = rest_at {
        let others = checked_len(&out)?;
        out[at] = match (x.len(), others) {
            (0, 0) => 0,
            (n, m) if m > 0 && n % m == 0 => n / m,
            (n, _) => return Err(format!("{n} elements do not divide into {target:?}")),
        };
    }
    x.with_shape(out)
}

pub(super) fn transposed(x: &Tensor, perm: &[usize]) -> Evaluated<Tensor> {
    let own = strides(x.shape());
    let shape: Vec<_> = perm.iter().map(|&p| x.shape()[p]).collect();
    let from = Offsets::new(&shape, perm.iter().map(|&p| own[p]).collect());
    x.pick(shape, from)
}

fn expand(x: &Tensor, shape: &IntArg, rest: &[Tensor]) -> Evaluated<Tensor> {
    let target = shape.eval_extents(&mut rest.iter())?;
    let shape = broadcast_shape([x.shape(), target.as_slice()])?;
    let from = Offsets::broadcast(x.shape(), &shape);
    x.pick(shape, from)
}

/// Moves along every axis by its own map from the index in the result to the
/// index in `x`; `None` is a filled entry.
fn by_axis(x: &Tensor, maps: &[Vec<Option<usize>>], fill: Scalar) -> Evaluated<Tensor> {
    let shape: Vec<usize> = maps.iter().map(Vec::len).collect();
    let len = checked_len(&shape)?;
    let (own, new) = (strides(x.shape()), strides(&shape));
    let from = (0..len).map(|at| {
        let mut offset = 0;
        for (axis, map) in maps.iter().enumerate() {
            offset += map[at / new[axis] % map.len()]? * own[axis];
        }
        Some(offset)
    });
    x.pick_or(shape, fill, from)
}

fn zero(x: &Tensor) -> Scalar {
    Scalar::from_i64(x.dtype(), 0)
}

/// The entries of an axis of `extent` that Python's `start:end:step` selects.
fn slice_entries(extent: usize, start: i64, end: i64, step: i64) -> Evaluated<Vec<Option<usize>>> {
    if step == 0 {
        return Err("a step of 0".into());
    }
    let (n, step) = (extent as i128, i128::from(step));
    // Where a bound may lie: an entry, or one past the last that is reached.
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let bound = |v: i64| {
        let v = i128::from(v);
        (if v < 0 { v + n } else { v }).clamp(low, high.max(low))
    };
    // A start before the first entry is the first, by the standard, and not none, as it is in Python.
    let first = if step > 0 { low } else { 0.min(high) };
    let (mut at, end) = (bound(start).max(first), bound(end));
    let mut out = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        out.push(usize::try_from(at).ok());
        at += step;
    }
    Ok(out)
}

fn slice(s: &Slice, x: &Tensor, rest: &[Tensor]) -> Evaluated<Tensor> {
    let mut rest = rest.iter();
    let starts = s.starts.eval(&mut rest)?;
    let ends = s.ends.eval(&mut rest)?;
    let steps = s.steps.eval(&mut rest)?;
    if [&starts, &ends, &steps].iter().any(|v| v.len() != s.axes.len()) {
        return Err(format!("{}, {} and {} bounds for {} axes", starts.len(), ends.len(), steps.len(), s.axes.len()));
    }
    let mut maps: Vec<Vec<_>> = x.shape().iter().map(|&n| (0..n).map(Some).collect()).collect();
    for (i, &axis) in s.axes.iter().enumerate() {
        maps[axis] = slice_entries(x.shape()[axis], starts[i], ends[i], steps[i])?;
    }
    by_axis(x, &maps, zero(x))
}

fn concat(parts: &[Tensor], axis: usize) -> Evaluated<Tensor> {
    let [first, others @ ..] = parts else { return Err("nothing to join".into()) };
    let mut shape = first.shape().to_vec();
    shape[axis] = parts.iter().map(|t| t.shape()[axis]).sum();
    checked_len(&shape)?;
    let outer: usize = shape[..axis].iter().product();
    // Everything in a row, then picked a block of each part at a time.
    let all = first.chain(others)?;
    let mut from = Vec::with_capacity(all.len());
    for o in 0..outer {
        let mut base = 0;
        for t in parts {
            let block: usize = t.shape()[axis..].iter().product();
            from.extend(base + o * block..base + (o + 1) * block);
            base += t.len();
        }
    }
    all.pick(shape, from.into_iter())
}

fn pad(p: &Pad, x: &Tensor, rest: &[Tensor]) -> Evaluated<Tensor> {
    let mut rest = rest.iter();
    let pads = p.pads.eval(&mut rest)?;
    let fill = match rest.next() {
        Some(t) if t.dtype() != x.dtype() => return Err(format!("a value of {} in {}", t.dtype(), x.dtype())),
        Some(t) => single(t)?,
        None => zero(x),
    };
    let rank = x.shape().len();
    if pads.len() != 2 * rank {
        return Err(format!("{} pads for rank {rank}", pads.len()));
    }
    let extents: Vec<usize> = (0..rank)
        .map(|i| {
            let n = x.shape()[i] as i128 + i128::from(pads[i]) + i128::from(pads[rank + i]);
            usize::try_from(n).map_err(|_| format!("pads {pads:?} leave {n} of axis {i}"))
        })
        .collect::<Evaluated<_>>()?;
    checked_len(&extents)?;
    let mut maps = Vec::with_capacity(rank);
    for (axis, &extent) in extents.iter().enumerate() {
        // An axis alone may be longer than the whole, which is empty.
        checked_len(&[extent])?;
        let n = x.shape()[axis] as i128;
        let source = |o: usize| {
            let i = o as i128 - i128::from(pads[axis]);
            if (0..n).contains(&i) {
                return Ok(usize::try_from(i).ok());
            }
            let mirrored = match p.mode {
                PadMode::Constant => return Ok(None),
                _ if n == 0 => return Err(format!("axis {axis} has no border to pad from")),
                PadMode::Edge => i.clamp(0, n - 1),
                PadMode::Reflect if n == 1 => 0,
                PadMode::Reflect => {
                    let r = i.rem_euclid(2 * (n - 1));
                    r.min(2 * (n - 1) - r)
                }
            };
            Ok(usize::try_from(mirrored).ok())
        };
        maps.push((0..extent).map(source).collect::<Evaluated<Vec<_>>>()?);
    }
    by_axis(x, &maps, fill)
}

fn tile(x: &Tensor, repeats: &IntArg, rest: &[Tensor]) -> Evaluated<Tensor> {
    let repeats = repeats.eval_extents(&mut rest.iter())?;
    if repeats.len() != x.shape().len() {
        return Err(format!("{} repeats for rank {}", repeats.len(), x.shape().len()));
    }
    let mut maps = Vec::with_capacity(repeats.len());
    for (&n, &r) in x.shape().iter().zip(&repeats) {
        let len = n.checked_mul(r).ok_or_else(|| format!("{n} entries {r} times"))?;
        checked_len(&[len])?;
        maps.push((0..len).map(|i| Some(i % n)).collect());
    }
    by_axis(x, &maps, zero(x))
}

fn trilu(x: &Tensor, k: Option<&Tensor>, upper: bool) -> Evaluated<Tensor> {
    let k = k.map(single).transpose()?.map_or(0, Scalar::to_i128);
    let [.., rows, columns] = *x.shape() else { return Err(format!("a triangle of {}", x.ty())) };
    let keep = |at: usize| {
        let (i, j) = ((at / columns % rows) as i128, (at % columns) as i128);
        if upper { j - i >= k } else { j - i <= k }
    };
    let zero = Scalar::from_i64(x.dtype(), 0);
    x.pick_or(x.shape().to_vec(), zero, (0..x.len()).map(|at| keep(at).then_some(at)))
}
