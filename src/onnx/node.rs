//! A levelled node as its converter sees it: operands, attributes, and the graph to add to.

use super::attributes::Attributes;
use super::error::{Res, fail};
use super::normalise::{Context, Step};
use super::sequence::Sequence;
use bgz_passes::eval::{self, Tensor};
use bgz_passes::ir::{
    Cast, Constant, DType, Dim, Generate, Graph, IntArg, MAX_NESTING, Op, Operand, Scalar, Type, ValueId, infer,
};
use std::collections::{HashMap, HashSet};

/// Results of a node in order; `None` for one that nothing uses.
pub(super) type Outs = Vec<Option<ValueId>>;

/// Makes graph ops of a node.
pub(super) type Convert = fn(&mut Node) -> Res<Outs>;

/// As [`Convert`], of a node that takes or gives what is no tensor.
pub(super) type ConvertValues = fn(&mut Node) -> Res<Vec<Option<Value>>>;

/// Elements of the largest tensors that are folded on import.
const MAX_FOLDED: usize = 64;

/// Entries of the longest operand with one or two numbers for each axis.
const MAX_ENTRIES: usize = 128;

/// The meaning of a name of the file. The graph has nothing but tensors: what else a file computes with is resolved here.
#[derive(Clone)]
pub(super) enum Value {
    Made(ValueId),
    /// Not in the graph before an op uses it: many constants only say how an op works.
    Constant(Constant),
    Sequence(Sequence),
    /// An optional without a value; one that has a value is that value.
    Nothing,
}

/// A graph that is being made.
pub(super) struct Frame {
    pub graph: Graph,
    /// Names of the file by graph whose nodes go into this one, innermost last.
    scopes: Vec<HashMap<String, Value>>,
    /// Values of the graph around, each once, and the inputs that they are in this one, in the order of those.
    pub captured: Vec<(ValueId, ValueId)>,
}

impl Frame {
    pub fn new(name: String) -> Self {
        Self { graph: Graph::new(name), scopes: vec![HashMap::new()], captured: Vec::new() }
    }

    fn lookup(&self, name: &str) -> Option<&Value> {
        self.scopes.iter().rev().find_map(|s| s.get(name))
    }

    /// The meaning of a name, added to the graph if it is a constant that was not.
    fn value(&mut self, name: &str) -> Option<Value> {
        let entry = self.scopes.iter_mut().rev().find_map(|s| s.get_mut(name))?;
        if let Value::Constant(c) = entry {
            *entry = Value::Made(self.graph.add_const(name, c.clone()));
        }
        Some(entry.clone())
    }

    /// Lets a name stand for what it is in the graph around.
    fn capture(&mut self, name: &str, around: &Frame) -> Option<()> {
        let value = match around.lookup(name)?.clone() {
            Value::Made(v) => self.captured_tensor(name, v, &around.graph)?,
            Value::Sequence(mut s) => {
                for v in s.tensors_mut() {
                    let name = around.graph.name(*v);
                    *v = match self.captured_tensor(name, *v, &around.graph)? {
                        Value::Made(v) => v,
                        Value::Constant(c) => self.graph.add_const(name, c),
                        Value::Sequence(_) | Value::Nothing => return None,
                    };
                }
                Value::Sequence(s)
            }
            constant @ Value::Constant(_) => constant,
            Value::Nothing => Value::Nothing,
        };
        self.scopes.first_mut()?.insert(name.into(), value);
        Some(())
    }

    /// The meaning in this graph of a tensor of the graph around.
    fn captured_tensor(&mut self, name: &str, v: ValueId, around: &Graph) -> Option<Value> {
        if let Some(c) = around.constant(v).cloned().or_else(|| numbers(around, v)) {
            return Some(Value::Constant(c));
        }
        let data = around.value(v);
        Some(Value::Made(match following(&data.ty, data.ints.as_deref()) {
            Some(op) => self.graph.add(name, op, &[]).ok()?,
            // Names and elements of sequences may be the same tensor.
            None => match self.captured.iter().find(|(outside, _)| *outside == v) {
                Some(&(_, input)) => input,
                None => {
                    let free = self.graph.free_name(name);
                    let input = self.graph.add_input(&free, data.ty.clone()).ok()?;
                    self.captured.push((v, input));
                    input
                }
            },
        }))
    }
}

/// The integers of a value, if they are known to be numbers.
fn numbers(graph: &Graph, v: ValueId) -> Option<Constant> {
    let data = graph.value(v);
    let ints = data.ints.as_ref()?.iter().map(Dim::as_int).collect::<Option<Vec<_>>>()?;
    Constant::from_scalars(data.ty.dtype, data.ty.known_shape()?, ints.into_iter().map(Scalar::i64))
}

/// The op that makes integers which follow from named dims: those are the same in all graphs, so nothing need be captured.
fn following(ty: &Type, ints: Option<&[Dim]>) -> Option<Op> {
    let given = |d: &Dim| d.symbols().iter().all(|s| !s.starts_with('_'));
    let ints = ints.filter(|v| ty.dtype == DType::I64 && v.iter().all(given))?;
    Some(Op::Generate(Generate::Dims { values: ints.to_vec(), scalar: ty.rank() == 0 }))
}

/// The graphs that are being made, and the names of the file.
pub(super) struct Cx {
    /// The graph that nodes are added to.
    pub here: Frame,
    /// Those around it, the outermost first.
    pub around: Vec<Frame>,
    /// Names that values of the file will take.
    pub reserved: HashSet<String>,
    /// Nodes that may still come: branches that call functions with branches would make more than memory can hold.
    pub left: usize,
    /// Dims that were made up.
    pub dims: usize,
    /// Sequences that grow in loops, which are told apart by number.
    pub loops: usize,
    pub context: Context,
}

impl Cx {
    pub fn define(&mut self, name: String, value: Value) {
        if let Some(scope) = self.here.scopes.last_mut() {
            scope.insert(name, value);
        }
    }

    /// The meaning of a name, and the graph that this is a value of.
    fn lookup(&self, name: &str) -> Option<(&Value, &Graph)> {
        let frames = std::iter::once(&self.here).chain(self.around.iter().rev());
        frames.into_iter().find_map(|f| Some((f.lookup(name)?, &f.graph)))
    }

    /// The constant that a name stands for.
    pub fn constant(&self, name: &str) -> Option<Constant> {
        match self.lookup(name)? {
            (Value::Constant(c), _) => Some(c.clone()),
            (Value::Made(v), graph) => graph.constant(*v).cloned(),
            (Value::Sequence(_) | Value::Nothing, _) => None,
        }
    }

    /// A dim that is like no other, with a name that begins so.
    pub fn any(&mut self, prefix: &str) -> Dim {
        self.dims += 1;
        Dim::sym(format!("{prefix}{}", self.dims))
    }

    pub fn knows(&self, name: &str) -> bool {
        self.lookup(name).is_some()
    }

    /// The meaning of a name, added to the graph if it is a constant that was not, or an input if it is of a graph around.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        if self.here.lookup(name).is_none() {
            let from = self.around.iter().rposition(|f| f.lookup(name).is_some())?;
            for inner in from + 1..self.around.len() {
                let (before, after) = self.around.split_at_mut(inner);
                after.first_mut()?.capture(name, before.last()?)?;
            }
            self.here.capture(name, self.around.last()?)?;
        }
        self.here.value(name)
    }

    /// That there may be another graph of the file within those that are being converted.
    fn deeper(&self) -> Res<()> {
        let depth = self.around.iter().chain([&self.here]).map(|f| f.scopes.len()).sum::<usize>();
        if depth > MAX_NESTING {
            fail!("graphs are nested deeper than {MAX_NESTING}");
        }
        Ok(())
    }

    /// Does the nodes of a graph of the file as part of this one; its outputs.
    pub fn within<R>(&mut self, convert: impl FnOnce(&mut Self) -> Res<R>) -> Res<R> {
        self.deeper()?;
        self.here.scopes.push(HashMap::new());
        let made = convert(self);
        self.here.scopes.pop();
        made
    }

    /// As [`Cx::within`], as a graph of its own.
    pub fn apart<R>(&mut self, name: &str, convert: impl FnOnce(&mut Self) -> Res<R>) -> Res<(Frame, R)> {
        self.deeper()?;
        self.around.push(std::mem::replace(&mut self.here, Frame::new(name.into())));
        let made = convert(self);
        let around = self.around.pop().unwrap_or_else(|| Frame::new(String::new()));
        let frame = std::mem::replace(&mut self.here, around);
        made.map(|made| (frame, made))
    }
}

/// A node being converted: its operands, its attributes, and the graph to add to.
pub(super) struct Node<'a> {
    pub cx: &'a mut Cx,
    pub step: &'a Step,
}

impl<'a> Node<'a> {
    pub fn op(&self) -> &'a str {
        &self.step.op
    }

    pub fn opset(&self) -> i64 {
        self.step.opset()
    }

    pub fn attrs(&self) -> &'a Attributes {
        &self.step.attrs
    }

    // ---- operands ----

    pub fn has(&self, i: usize) -> bool {
        self.name(i).is_some()
    }

    /// Number of operands.
    pub fn len(&self) -> usize {
        self.step.inputs.len()
    }

    /// The name of operand `i` in the file.
    pub fn operand_name(&self, i: usize) -> Option<String> {
        self.name(i).map(String::from)
    }

    fn name(&self, i: usize) -> Option<&'a str> {
        self.step.inputs.get(i)?.as_deref()
    }

    pub fn input(&mut self, i: usize) -> Res<ValueId> {
        match self.maybe(i)? {
            Some(v) => Ok(v),
            None => fail!("operand {i} is missing"),
        }
    }

    pub fn maybe(&mut self, i: usize) -> Res<Option<ValueId>> {
        match (self.maybe_any(i)?, self.name(i)) {
            (None, _) => Ok(None),
            (Some(Value::Made(v)), _) => Ok(Some(v)),
            (Some(other), name) => fail!("operand {} is {}, not a tensor", name.unwrap_or_default(), other.form()),
        }
    }

    /// An operand that need not be a tensor, nor be there; no constant but one that is in the graph.
    pub fn maybe_any(&mut self, i: usize) -> Res<Option<Value>> {
        let Some(name) = self.name(i) else { return Ok(None) };
        match self.cx.value(name) {
            Some(v) => Ok(Some(v)),
            None => fail!("operand {name} is not made"),
        }
    }

    /// As [`Node::maybe_any`], of an operand that must be there.
    pub fn any(&mut self, i: usize) -> Res<Value> {
        match self.maybe_any(i)? {
            Some(v) => Ok(v),
            None => fail!("operand {i} is missing"),
        }
    }

    /// All operands of an op that takes any number.
    pub fn inputs(&mut self) -> Res<Vec<ValueId>> {
        if self.len() == 0 {
            fail!("operand 0 is missing");
        }
        (0..self.len()).map(|i| self.input(i)).collect()
    }

    /// Fails if there are operands beyond the first `n`.
    pub fn at_most(&self, n: usize) -> Res<()> {
        match (n..self.len()).find(|&i| self.has(i)) {
            Some(i) => fail!("operand {i} is not supported"),
            None => Ok(()),
        }
    }

    /// The constant that an operand is.
    pub fn constant(&self, i: usize) -> Option<Constant> {
        self.cx.constant(self.name(i)?)
    }

    /// The integers of an operand (a vector, or a scalar), perhaps symbolic, if they are known.
    pub fn ints(&self, i: usize) -> Option<Vec<Dim>> {
        match self.cx.lookup(self.name(i)?)? {
            (Value::Constant(c), _) if c.shape().len() <= 1 => Some(c.to_i64s()?.into_iter().map(Dim::int).collect()),
            (Value::Constant(_) | Value::Sequence(_) | Value::Nothing, _) => None,
            (Value::Made(v), graph) => {
                let data = graph.value(*v);
                // Dims that the graph around invented mean nothing in here.
                let own = std::ptr::eq(graph, &self.cx.here.graph);
                let given = |v: &Vec<Dim>| own || v.iter().flat_map(Dim::symbols).all(|s| !s.starts_with('_'));
                data.ints.clone().filter(|v| data.ty.dtype.is_int() && given(v))
            }
        }
    }

    /// The integers of an operand that must be numbers; `None` if it is left out.
    pub fn numbers(&self, i: usize, what: &str) -> Res<Option<Vec<i64>>> {
        if !self.has(i) {
            return Ok(None);
        }
        match self.ints(i).and_then(|v| v.iter().map(Dim::as_int).collect()) {
            Some(v) => Ok(Some(v)),
            None => fail!("{what} must be constant"),
        }
    }

    /// An argument that may be symbolic: known, or operand `i` appended to `operands`.
    pub fn int_arg(&mut self, i: usize, operands: &mut Vec<ValueId>) -> Res<IntArg> {
        Ok(match self.ints(i) {
            Some(v) => IntArg::Known(v),
            None => {
                operands.push(self.vector(i)?);
                IntArg::Operand
            }
        })
    }

    /// An operand with a number for each axis, which its length must be plausible for.
    pub fn vector(&mut self, i: usize) -> Res<ValueId> {
        let v = self.input(i)?;
        match self.ty(v).known_len() {
            Some(n) if n > MAX_ENTRIES => fail!("operand {i} has {n} entries, more than any tensor has axes"),
            _ => Ok(v),
        }
    }

    // ---- types ----

    pub fn ty(&self, v: ValueId) -> &Type {
        self.cx.here.graph.ty(v)
    }

    pub fn shape(&self, v: ValueId) -> Vec<Dim> {
        self.ty(v).shape.clone()
    }

    pub fn rank(&self, v: ValueId) -> usize {
        self.ty(v).rank()
    }

    pub fn dtype(&self, v: ValueId) -> DType {
        self.ty(v).dtype
    }

    /// The type of operand `i`.
    pub fn input_ty(&self, i: usize) -> Option<Type> {
        match self.cx.lookup(self.name(i)?)? {
            (Value::Constant(c), _) => Some(c.ty()),
            (Value::Made(v), graph) => Some(graph.ty(*v).clone()),
            (Value::Sequence(_) | Value::Nothing, _) => None,
        }
    }

    // ---- results ----

    /// True if result `i` is used.
    pub fn wants(&self, i: usize) -> bool {
        matches!(self.step.outputs.get(i), Some(Some(_)))
    }

    /// Number of results that the node lists.
    pub fn results(&self) -> usize {
        self.step.outputs.len()
    }

    fn base(&self) -> &'a str {
        self.step.outputs.iter().flatten().next().unwrap_or(&self.step.label)
    }

    /// The name of result `i`.
    pub fn result_name(&self, i: usize) -> String {
        match self.step.outputs.get(i) {
            Some(Some(name)) => name.clone(),
            _ => self.part_name(&i.to_string()),
        }
    }

    /// A name for something a result is made of, which no value of the file has.
    pub fn part_name(&self, part: &str) -> String {
        let mut name = format!("{}.{part}", self.base());
        while self.cx.reserved.contains(&name) {
            name.push('_');
        }
        name
    }

    /// Adds a node under a name; or the constant it makes, if it is small arithmetic on known numbers.
    pub fn add(&mut self, op: Op, inputs: &[ValueId], names: &[&str], declared: Option<&[Type]>) -> Res<Vec<ValueId>> {
        if let Some(values) = self.folded(&op, inputs) {
            return Ok(values.iter().zip(names).map(|(c, n)| self.cx.here.graph.add_const(n, c.clone())).collect());
        }
        let made = self.cx.here.graph.add_node(op, inputs, names, declared)?;
        for &v in &made {
            let ty = self.ty(v);
            if ty.shape.iter().any(|d| d.as_int().is_some_and(|n| n < 0)) {
                fail!("its result would be {ty}");
            }
        }
        Ok(made)
    }

    /// The results of an op on small operands that are known. Inference follows
    /// integers, but exporters compute extents in floats too, and an extent that
    /// is not known here would get a name that nothing explains later.
    fn folded(&self, op: &Op, inputs: &[ValueId]) -> Option<Vec<Constant>> {
        let operands: Vec<Tensor> = inputs.iter().map(|&v| self.small(v)).collect::<Option<_>>()?;
        let types: Vec<Type> = operands.iter().map(Tensor::ty).collect();
        let ints: Vec<Option<Vec<Dim>>> = inputs.iter().map(|&v| self.cx.here.graph.value(v).ints.clone()).collect();
        let known: Vec<_> = types.iter().zip(&ints).map(|(ty, ints)| Operand { ty, ints: ints.as_deref() }).collect();
        let results = infer(op, &known, &mut || Dim::sym("unknown")).ok()??;
        if results.iter().any(|r| r.ty.known_len().is_none_or(|n| n > MAX_FOLDED)) {
            return None;
        }
        let results = eval::node(op, &operands).ok()?;
        Some(results.iter().map(Tensor::to_constant).collect())
    }

    /// The elements of a value that is small and known.
    fn small(&self, v: ValueId) -> Option<Tensor> {
        let data = self.cx.here.graph.value(v);
        data.ty.known_len().filter(|&n| n <= MAX_FOLDED)?;
        if let Some(c) = self.cx.here.graph.constant(v) {
            return Tensor::from_constant(c);
        }
        let numbers = data.ints.as_ref()?.iter().map(Dim::as_int).collect::<Option<Vec<_>>>()?;
        Tensor::new(data.ty.dtype, data.ty.known_shape()?, numbers.into_iter().map(Scalar::i64))
    }

    /// Adds a node for result `i`.
    pub fn result(&mut self, i: usize, op: Op, inputs: &[ValueId]) -> Res<ValueId> {
        let name = self.result_name(i);
        Ok(self.add(op, inputs, &[&name], None)?[0])
    }

    /// Adds a node for the only result.
    pub fn emit(&mut self, op: Op, inputs: &[ValueId]) -> Res<Outs> {
        Ok(vec![Some(self.result(0, op, inputs)?)])
    }

    /// Adds a node for all of so many results.
    pub fn emit_all(&mut self, results: usize, op: Op, inputs: &[ValueId]) -> Res<Outs> {
        let names: Vec<String> = (0..results).map(|i| self.result_name(i)).collect();
        let made = self.add(op, inputs, &names.iter().map(String::as_str).collect::<Vec<_>>(), None)?;
        Ok(made.into_iter().map(Some).collect())
    }

    /// Adds a node for something the result is made of.
    pub fn part(&mut self, part: &str, op: Op, inputs: &[ValueId]) -> Res<ValueId> {
        let name = self.part_name(part);
        Ok(self.add(op, inputs, &[&name], None)?[0])
    }

    pub fn const_part(&mut self, part: &str, c: Constant) -> ValueId {
        let name = self.part_name(part);
        self.cx.here.graph.add_const(&name, c)
    }

    /// A number of the dtype of `like`.
    pub fn number(&mut self, part: &str, like: ValueId, value: f64) -> ValueId {
        let dtype = self.dtype(like);
        self.const_part(part, Constant::scalar(Scalar::from_f64(dtype, value)))
    }

    /// `v` in another dtype.
    pub fn cast(&mut self, part: &str, v: ValueId, to: DType) -> Res<ValueId> {
        if self.dtype(v) == to { Ok(v) } else { self.part(part, Op::Cast(Cast(to)), &[v]) }
    }

    /// `v` with other extents, unless it has them already.
    pub fn reshape_part(&mut self, part: &str, v: ValueId, shape: Vec<Dim>) -> Res<ValueId> {
        if self.ty(v).shape == shape { Ok(v) } else { self.part(part, Op::reshape(shape), &[v]) }
    }
}

/// A node whose only result is `v`.
pub(super) fn alias(v: ValueId) -> Res<Outs> {
    Ok(vec![Some(v)])
}

/// An axis counted from either end.
pub(super) fn axis(axis: i64, rank: usize) -> Res<usize> {
    let r = i64::try_from(rank).unwrap_or(i64::MAX);
    match usize::try_from(if axis < 0 { axis.saturating_add(r) } else { axis }) {
        Ok(a) if a < rank => Ok(a),
        _ => fail!("axis {axis} of a tensor of rank {rank}"),
    }
}

/// Distinct axes counted from either end, sorted.
pub(super) fn axes(all: &[i64], rank: usize) -> Res<Vec<usize>> {
    let mut out = all.iter().map(|&a| axis(a, rank)).collect::<Res<Vec<_>>>()?;
    out.sort_unstable();
    match out.windows(2).find(|w| w[0] == w[1]) {
        Some(w) => fail!("axis {} is given twice", w[0]),
        None => Ok(out),
    }
}

/// The product of extents.
pub(super) fn product(dims: &[Dim]) -> Res<Dim> {
    Dim::product(dims).ok_or_else(|| "a product of its extents has too many terms".into())
}
