//! Sequences and optionals. The graph has nothing but tensors, so these are resolved while it is made: a sequence is a list of
//! tensors, or the entries of one; an optional is its value, or nothing.

use super::control;
use super::error::{ImportError, Res, fail};
use super::movement::cut;
use super::node::{ConvertValues, Node, Value, axis};
use bgz_passes::ir::{
    Binary, Constant, DType, Dim, Generate, Index, IntArg, Movement, Op, Scalar, Slice, Type, ValueId,
};
use std::fmt;

/// Tensors of the longest list that a tensor is split into: of longer ones the parts are entries of one tensor.
const MAX_PARTS: i64 = 1024;

pub(super) fn find(domain: &str, op: &str) -> Option<ConvertValues> {
    if !domain.is_empty() {
        return None;
    }
    let found: ConvertValues = match op {
        "Identity" => identity,
        "Optional" => optional,
        "OptionalHasElement" => has_element,
        "OptionalGetElement" => get_element,
        "SequenceEmpty" => empty,
        "SequenceConstruct" => construct,
        "SequenceInsert" => insert,
        "SequenceErase" => erase,
        "SequenceAt" => at,
        "SequenceLength" => length,
        "SequenceMap" => control::map,
        "SplitToSequence" => split,
        "ConcatFromSequence" => concat,
        _ => return None,
    };
    Some(found)
}

/// Results of a node in order, that need not be tensors.
pub(super) type Values = Vec<Option<Value>>;

/// A sequence of tensors.
#[derive(Clone)]
pub(super) enum Sequence {
    /// Of a length that is known.
    List(Vec<ValueId>),
    /// The entries of a tensor along its first axis, however many there are when the model runs.
    Rows(ValueId),
    /// In the body of the loop `of`: what the iterations before appended to it, and then these.
    Grown { of: usize, with: Vec<ValueId> },
}

impl Sequence {
    fn tensors(&self) -> &[ValueId] {
        match self {
            Sequence::List(all) | Sequence::Grown { with: all, .. } => all,
            Sequence::Rows(v) => std::slice::from_ref(v),
        }
    }

    pub fn tensors_mut(&mut self) -> &mut [ValueId] {
        match self {
            Sequence::List(all) | Sequence::Grown { with: all, .. } => all,
            Sequence::Rows(v) => std::slice::from_mut(v),
        }
    }
}

/// The kind of a value: how it is made of tensors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Tensor,
    List(usize),
    Rows,
    Grown { of: usize, with: usize },
    Nothing,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Tensor => f.write_str("a tensor"),
            Form::List(0) => f.write_str("an empty sequence"),
            Form::List(1) => f.write_str("a sequence of one tensor"),
            Form::List(n) => write!(f, "a sequence of {n} tensors"),
            Form::Rows => f.write_str("a sequence of a length that is not known before the model runs"),
            Form::Grown { .. } => f.write_str("a sequence that grows in a loop"),
            Form::Nothing => f.write_str("an optional without a value"),
        }
    }
}

impl Form {
    /// Number of its tensors.
    pub fn len(self) -> usize {
        match self {
            Form::Tensor | Form::Rows => 1,
            Form::List(n) | Form::Grown { with: n, .. } => n,
            Form::Nothing => 0,
        }
    }

    /// The value of this form that is made of the next tensors.
    pub fn value(self, tensors: &mut impl Iterator<Item = ValueId>) -> Res<Value> {
        let all: Vec<ValueId> = tensors.take(self.len()).collect();
        if all.len() != self.len() {
            fail!("a result is not made");
        }
        Ok(match (self, all.first()) {
            (Form::Tensor, Some(&v)) => Value::Made(v),
            (Form::Rows, Some(&v)) => Value::Sequence(Sequence::Rows(v)),
            (Form::Grown { of, .. }, _) => Value::Sequence(Sequence::Grown { of, with: all }),
            (Form::List(_), _) => Value::Sequence(Sequence::List(all)),
            (Form::Tensor | Form::Rows | Form::Nothing, _) => Value::Nothing,
        })
    }
}

impl Value {
    pub fn form(&self) -> Form {
        match self {
            Value::Made(_) | Value::Constant(_) => Form::Tensor,
            Value::Sequence(Sequence::List(all)) => Form::List(all.len()),
            Value::Sequence(Sequence::Rows(_)) => Form::Rows,
            Value::Sequence(Sequence::Grown { of, with }) => Form::Grown { of: *of, with: with.len() },
            Value::Nothing => Form::Nothing,
        }
    }

    /// The tensors that it is made of, constants but those in the graph left out.
    pub fn tensors(&self) -> &[ValueId] {
        match self {
            Value::Made(v) => std::slice::from_ref(v),
            Value::Sequence(s) => s.tensors(),
            Value::Constant(_) | Value::Nothing => &[],
        }
    }
}

/// The outputs of the model that an output of the file is: of a sequence its tensors by their position, of nothing none.
pub(super) fn outputs(name: String, value: Value) -> Result<Vec<(String, ValueId)>, ImportError> {
    Ok(match value {
        Value::Made(v) => vec![(name, v)],
        Value::Sequence(Sequence::List(all)) => {
            all.into_iter().enumerate().map(|(i, v)| (format!("{name}.{i}"), v)).collect()
        }
        Value::Nothing => Vec::new(),
        other => {
            let message = format!("it is {}: join its tensors to one with ConcatFromSequence", other.form());
            return Err(ImportError::Output { output: name, message });
        }
    })
}

fn list(all: Vec<ValueId>) -> Res<Values> {
    Ok(vec![Some(Value::Sequence(Sequence::List(all)))])
}

fn tensor(v: ValueId) -> Res<Values> {
    Ok(vec![Some(Value::Made(v))])
}

fn constant(s: Scalar) -> Res<Values> {
    Ok(vec![Some(Value::Constant(Constant::scalar(s)))])
}

fn identity(n: &mut Node) -> Res<Values> {
    Ok(vec![Some(n.any(0)?)])
}

// ---- optionals ----

fn optional(n: &mut Node) -> Res<Values> {
    Ok(vec![Some(n.maybe_any(0)?.unwrap_or(Value::Nothing))])
}

fn has_element(n: &mut Node) -> Res<Values> {
    let value = n.maybe_any(0)?.unwrap_or(Value::Nothing);
    constant(Scalar::bool(value.form() != Form::Nothing))
}

fn get_element(n: &mut Node) -> Res<Values> {
    match n.any(0)? {
        Value::Nothing => fail!("operand 0 is an optional without a value"),
        value => Ok(vec![Some(value)]),
    }
}

// ---- sequences ----

/// The sequence that an operand is.
pub(super) fn sequence(n: &mut Node, i: usize) -> Res<Sequence> {
    match n.any(i)? {
        Value::Sequence(s) => Ok(s),
        other => fail!("operand {i} is {}, not a sequence", other.form()),
    }
}

fn grown() -> Res<Values> {
    fail!(
        "its sequence grows in a loop, where only SequenceInsert at the end is supported, unless the loop has a constant \
         number of at most {} iterations",
        control::MAX_UNROLLED
    )
}

fn empty(_: &mut Node) -> Res<Values> {
    list(Vec::new())
}

fn construct(n: &mut Node) -> Res<Values> {
    let all = n.inputs()?;
    one_dtype(n, &all)?;
    list(all)
}

fn one_dtype(n: &Node, all: &[ValueId]) -> Res<()> {
    let dtypes: Vec<DType> = all.iter().map(|&v| n.dtype(v)).collect();
    match dtypes.windows(2).find(|d| d[0] != d[1]) {
        Some(d) => fail!("tensors of {} and {} in one sequence", d[0], d[1]),
        None => Ok(()),
    }
}

/// A position that is known, counted from either end of `len`, of which the last is `len - 1` or for an insertion `len`.
fn position(n: &Node, i: usize, len: usize, places: usize) -> Res<Option<usize>> {
    let Some(known) = n.ints(i) else { return Ok(None) };
    let [position] = known.as_slice() else { fail!("a position of {} numbers", known.len()) };
    let Some(given) = position.as_int() else { return Ok(None) };
    let end = i64::try_from(len).unwrap_or(i64::MAX);
    match usize::try_from(if given < 0 { given.saturating_add(end) } else { given }) {
        Ok(at) if at < places => Ok(Some(at)),
        _ => fail!("position {given} of {}", Form::List(len)),
    }
}

fn insert(n: &mut Node) -> Res<Values> {
    let (s, x) = (sequence(n, 0)?, n.input(1)?);
    match s {
        Sequence::List(mut all) => {
            let at = match n.has(2) {
                false => all.len(),
                true => match position(n, 2, all.len(), all.len() + 1)? {
                    Some(at) => at,
                    None => fail!("the position of what it inserts must be constant"),
                },
            };
            all.insert(at, x);
            one_dtype(n, &all)?;
            list(all)
        }
        Sequence::Grown { of, mut with } if !n.has(2) => {
            with.push(x);
            Ok(vec![Some(Value::Sequence(Sequence::Grown { of, with }))])
        }
        Sequence::Grown { .. } => grown(),
        Sequence::Rows(v) if !n.has(2) => {
            let row = unsqueezed(n, "row", x, 0)?;
            let joined = n.part("rows", Op::Movement(Movement::Concat { axis: 0 }), &[v, row])?;
            Ok(vec![Some(Value::Sequence(Sequence::Rows(joined)))])
        }
        Sequence::Rows(_) => fail!("operand 0 is {}, which it can insert at the end of only", Form::Rows),
    }
}

fn erase(n: &mut Node) -> Res<Values> {
    match sequence(n, 0)? {
        Sequence::List(mut all) => {
            let at = match n.has(1) {
                false if all.is_empty() => fail!("it erases a tensor of {}", Form::List(0)),
                false => all.len() - 1,
                true => match position(n, 1, all.len(), all.len())? {
                    Some(at) => at,
                    None => fail!("the position of what it erases must be constant"),
                },
            };
            all.remove(at);
            list(all)
        }
        Sequence::Grown { .. } => grown(),
        Sequence::Rows(_) => fail!("operand 0 is {}, which it cannot erase from", Form::Rows),
    }
}

fn at(n: &mut Node) -> Res<Values> {
    let rows = match sequence(n, 0)? {
        Sequence::List(all) => match position(n, 1, all.len(), all.len())? {
            Some(at) => return tensor(all[at]),
            None => stacked(n, &all, "the position is not known, and the tensors of the sequence differ")?,
        },
        Sequence::Rows(v) => v,
        Sequence::Grown { .. } => return grown(),
    };
    let mut place = n.input(1)?;
    place = n.cast("place", place, DType::I64)?;
    place = n.reshape_part("position", place, Vec::new())?;
    tensor(n.result(0, Op::Index(Index::Gather { axis: 0 }), &[rows, place])?)
}

fn length(n: &mut Node) -> Res<Values> {
    match sequence(n, 0)? {
        Sequence::List(all) => constant(Scalar::i64(i64::try_from(all.len()).map_err(|_| "it is too long")?)),
        Sequence::Rows(v) => {
            let len = n.part("len", Op::Generate(Generate::Shape { start: 0, end: 1 }), &[v])?;
            tensor(n.result(0, Op::reshape(Vec::<Dim>::new()), &[len])?)
        }
        Sequence::Grown { .. } => grown(),
    }
}

fn unsqueezed(n: &mut Node, part: &str, v: ValueId, at: usize) -> Res<ValueId> {
    let mut shape = n.shape(v);
    shape.insert(at, Dim::int(1));
    n.part(part, Op::reshape(shape), &[v])
}

/// Tensors as the entries of one; the error says `or` if they are not of one type.
pub(super) fn stacked(n: &mut Node, all: &[ValueId], or: &str) -> Res<ValueId> {
    let Some((&first, rest)) = all.split_first() else { fail!("there is no tensor in {}", Form::List(0)) };
    if let Some(&other) = rest.iter().find(|&&v| n.ty(v) != n.ty(first)) {
        let (a, b) = (n.ty(first), n.ty(other));
        fail!("{or}: {a} and {b}");
    }
    let rows = all.iter().map(|&v| unsqueezed(n, "row", v, 0)).collect::<Res<Vec<_>>>()?;
    n.part("rows", Op::Movement(Movement::Concat { axis: 0 }), &rows)
}

fn split(n: &mut Node) -> Res<Values> {
    let x = n.input(0)?;
    let shape = n.shape(x);
    let at = axis(n.attrs().int_or("axis", 0)?, shape.len())?;
    let (extent, keep) = (&shape[at], n.attrs().flag("keepdims", true)?);
    let (size, keep) = match n.input_ty(1) {
        // Only without sizes may the axis go.
        None => (1, keep),
        Some(ty) if ty.rank() > 0 => return split_by_list(n, x, at, extent, &ty),
        Some(_) => match n.ints(1).and_then(|v| v.first()?.as_int()) {
            Some(size) if size > 0 => (size, true),
            Some(size) => fail!("parts of {size}"),
            None => fail!("the size of its parts must be constant"),
        },
    };
    let count = extent.as_int().map(|all| (all.max(0) / size, all.max(0) % size));
    match count {
        Some((whole, rest)) if whole < MAX_PARTS => {
            let mut sizes = vec![Dim::int(size); usize::try_from(whole).map_err(|_| "it has too many parts")?];
            sizes.extend((rest > 0).then(|| Dim::int(rest)));
            let parts = parts(n, x, at, sizes)?;
            list(match keep {
                true => parts,
                false => parts.into_iter().map(|v| squeezed(n, v, at)).collect::<Res<_>>()?,
            })
        }
        _ => match (extent.div_exact(&Dim::int(size)), count) {
            (Some(count), _) => rows(n, x, at, count, Dim::int(size), keep),
            (None, None) => fail!("it is not known how many parts of {size} the extent {extent} has"),
            (None, Some(_)) => fail!("it has more than {MAX_PARTS} parts, of which the last is smaller"),
        },
    }
}

fn squeezed(n: &mut Node, v: ValueId, at: usize) -> Res<ValueId> {
    let mut shape = n.shape(v);
    shape.remove(at);
    n.part("part", Op::reshape(shape), &[v])
}

fn parts(n: &mut Node, x: ValueId, at: usize, sizes: Vec<Dim>) -> Res<Vec<ValueId>> {
    let mut start = Dim::int(0);
    let mut out = Vec::with_capacity(sizes.len());
    for (i, size) in sizes.into_iter().enumerate() {
        let end = &start + &size;
        let name = n.part_name(&i.to_string());
        out.push(cut(n, &name, x, at, (&start, &end), size)?);
        start = end;
    }
    Ok(out)
}

/// Equal parts as entries of a tensor.
fn rows(n: &mut Node, x: ValueId, at: usize, count: Dim, size: Dim, keep: bool) -> Res<Values> {
    let mut shape = n.shape(x);
    shape.splice(at..=at, std::iter::once(count).chain(keep.then_some(size)));
    let rank = shape.len();
    let mut v = n.reshape_part("parts", x, shape)?;
    if at > 0 {
        let perm = std::iter::once(at).chain((0..rank).filter(|&i| i != at)).collect();
        v = n.part("rows", Op::Movement(Movement::Transpose { perm }), &[v])?;
    }
    Ok(vec![Some(Value::Sequence(Sequence::Rows(v)))])
}

fn split_by_list(n: &mut Node, x: ValueId, at: usize, extent: &Dim, ty: &Type) -> Res<Values> {
    if let Some(sizes) = n.ints(1) {
        let total = sizes.iter().fold(Dim::int(0), |a, b| &a + b);
        if (&total - extent).as_int().is_some_and(|d| d != 0) {
            fail!("its sizes add up to {total}, the extent is {extent}");
        }
        return list(parts(n, x, at, sizes)?);
    }
    let Some(count) = ty.known_shape().filter(|s| s.len() == 1).map(|s| s[0]) else {
        fail!("its sizes are {ty}: how many there are must be known")
    };
    if i64::try_from(count).is_ok_and(|n| n > MAX_PARTS) {
        fail!("it has {count} parts, more than {MAX_PARTS}");
    }
    let (sizes, zero) = (n.input(1)?, n.const_part("start", Constant::i64s(&[0])));
    let sizes = n.cast("integers", sizes, DType::I64)?;
    let sizes = n.part("sizes", Op::Binary(Binary::Max), &[sizes, zero])?;
    let mut start = zero;
    let mut all = Vec::with_capacity(count);
    for i in 0..count {
        let name = n.part_name("size");
        let size = cut(n, &name, sizes, 0, (&Dim::from(i), &Dim::from(i + 1)), Dim::int(1))?;
        let end = n.part("end", Op::Binary(Binary::Add), &[start, size])?;
        all.push(sized(n, x, at, (start, (i + 1 < count).then_some(end)), (i, size))?);
        start = end;
    }
    list(all)
}

/// Part `i`, from `start` to `end`, or of the last one to where the axis ends: if it is not of its size, the reshape fails when
/// the model runs.
fn sized(
    n: &mut Node,
    x: ValueId,
    at: usize,
    (start, end): (ValueId, Option<ValueId>),
    (i, size): (usize, ValueId),
) -> Res<ValueId> {
    let known = |i: i64| IntArg::Known(vec![Dim::int(i)]);
    let ends = if end.is_some() { IntArg::Operand } else { known(i64::MAX) };
    let part = Slice { axes: vec![at], starts: IntArg::Operand, ends, steps: known(1) };
    let operands: Vec<ValueId> = [x, start].into_iter().chain(end).collect();
    let part = n.part("part", Op::Movement(Movement::Slice(part)), &operands)?;
    let shape = n.shape(x);
    let mut extents = vec![size];
    for (place, values) in [(0, &shape[..at]), (usize::from(at > 0) + 1, &shape[at + 1..])] {
        if !values.is_empty() {
            let op = Op::Generate(Generate::Dims { values: values.to_vec(), scalar: false });
            let values = n.part("extents", op, &[])?;
            extents.insert(place, values);
        }
    }
    let shape = match extents[..] {
        [size] => size,
        _ => n.part("shape", Op::Movement(Movement::Concat { axis: 0 }), &extents)?,
    };
    let op = Movement::Reshape { shape: IntArg::Operand, zero_copies: false };
    n.part(&i.to_string(), Op::Movement(op), &[part, shape])
}

fn concat(n: &mut Node) -> Res<Values> {
    let Some(given) = n.attrs().int("axis")? else { fail!("attribute axis is missing") };
    let new = n.attrs().flag("new_axis", false)?;
    match sequence(n, 0)? {
        Sequence::List(all) => {
            let Some(&first) = all.first() else { fail!("there is no tensor in {}", Form::List(0)) };
            let axis = axis(given, n.rank(first) + usize::from(new))?;
            let all = match new {
                true => all.into_iter().map(|v| unsqueezed(n, "row", v, axis)).collect::<Res<Vec<_>>>()?,
                false => all,
            };
            match all[..] {
                [one] => tensor(one),
                _ => tensor(n.result(0, Op::Movement(Movement::Concat { axis }), &all)?),
            }
        }
        Sequence::Rows(v) => concat_rows(n, v, given, new),
        Sequence::Grown { .. } => grown(),
    }
}

fn concat_rows(n: &mut Node, mut v: ValueId, given: i64, new: bool) -> Res<Values> {
    let rank = n.rank(v);
    let axis = axis(given, rank - usize::from(!new))?;
    if axis > 0 {
        let perm = (1..=axis).chain([0]).chain(axis + 1..rank).collect();
        v = n.part("turned", Op::Movement(Movement::Transpose { perm }), &[v])?;
    }
    if new {
        return tensor(v);
    }
    let mut shape = n.shape(v);
    let Some(joined) = Dim::product(&shape[axis..axis + 2]) else { fail!("its extent has too many terms") };
    shape.splice(axis..axis + 2, [joined]);
    tensor(n.result(0, Op::reshape(shape), &[v])?)
}
