//! A levelled node as its converter sees it: operands, attributes, and the graph to add to.

use super::attributes::Attributes;
use super::error::{Res, fail};
use super::normalise::{Context, Step};
use bgz_passes::eval::{self, Tensor};
use bgz_passes::ir::{Cast, Constant, DType, Dim, Graph, IntArg, Op, Operand, Scalar, Type, ValueId, infer};
use std::collections::{HashMap, HashSet};

/// Results of a node in order; `None` for one that nothing uses.
pub(super) type Outs = Vec<Option<ValueId>>;

/// Makes graph ops of a node.
pub(super) type Convert = fn(&mut Node) -> Res<Outs>;

/// Elements of the largest tensors that are folded on import.
const MAX_FOLDED: usize = 64;

/// Entries of the longest operand with one or two numbers for each axis.
const MAX_ENTRIES: usize = 128;

/// The meaning of a name of the file.
pub(super) enum Value {
    Made(ValueId),
    /// Not in the graph before an op uses it: many constants only say how an op works.
    Constant(Constant),
}

/// A graph being made, and the names of the file.
pub(super) struct Cx {
    pub graph: Graph,
    /// Names of the file by graph, innermost last.
    pub scopes: Vec<HashMap<String, Value>>,
    /// Names that values of the file will take.
    pub reserved: HashSet<String>,
    pub context: Context,
}

impl Cx {
    pub fn define(&mut self, name: String, value: Value) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name, value);
        }
    }

    pub fn lookup(&self, name: &str) -> Option<&Value> {
        self.scopes.iter().rev().find_map(|s| s.get(name))
    }

    /// The value of a name, added to the graph if it is a constant that was not.
    pub fn value(&mut self, name: &str) -> Option<ValueId> {
        let entry = self.scopes.iter_mut().rev().find_map(|s| s.get_mut(name))?;
        Some(match entry {
            Value::Made(v) => *v,
            Value::Constant(c) => {
                let v = self.graph.add_const(name, c.clone());
                *entry = Value::Made(v);
                v
            }
        })
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
        let Some(name) = self.name(i) else { return Ok(None) };
        match self.cx.value(name) {
            Some(v) => Ok(Some(v)),
            None => fail!("operand {name} is not made"),
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
        match self.cx.lookup(self.name(i)?)? {
            Value::Constant(c) => Some(c.clone()),
            Value::Made(v) => self.cx.graph.constant(*v).cloned(),
        }
    }

    /// The integers of an operand (a vector, or a scalar), perhaps symbolic, if they are known.
    pub fn ints(&self, i: usize) -> Option<Vec<Dim>> {
        match self.cx.lookup(self.name(i)?)? {
            Value::Constant(c) if c.shape().len() <= 1 => Some(c.to_i64s()?.into_iter().map(Dim::int).collect()),
            Value::Constant(_) => None,
            Value::Made(v) => {
                let data = self.cx.graph.value(*v);
                data.ints.clone().filter(|_| data.ty.dtype.is_int())
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
        self.cx.graph.ty(v)
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
            Value::Constant(c) => Some(c.ty()),
            Value::Made(v) => Some(self.ty(*v).clone()),
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
    fn part_name(&self, part: &str) -> String {
        let mut name = format!("{}.{part}", self.base());
        while self.cx.reserved.contains(&name) {
            name.push('_');
        }
        name
    }

    /// Adds a node under a name; or the constant it makes, if it is small arithmetic on known numbers.
    pub fn add(&mut self, op: Op, inputs: &[ValueId], names: &[&str], declared: Option<&[Type]>) -> Res<Vec<ValueId>> {
        if let Some(values) = self.folded(&op, inputs) {
            return Ok(values.iter().zip(names).map(|(c, n)| self.cx.graph.add_const(n, c.clone())).collect());
        }
        let made = self.cx.graph.add_node(op, inputs, names, declared)?;
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
        let ints: Vec<Option<Vec<Dim>>> = inputs.iter().map(|&v| self.cx.graph.value(v).ints.clone()).collect();
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
        let data = self.cx.graph.value(v);
        data.ty.known_len().filter(|&n| n <= MAX_FOLDED)?;
        if let Some(c) = self.cx.graph.constant(v) {
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

    /// Adds a node for something the result is made of.
    pub fn part(&mut self, part: &str, op: Op, inputs: &[ValueId]) -> Res<ValueId> {
        let name = self.part_name(part);
        Ok(self.add(op, inputs, &[&name], None)?[0])
    }

    pub fn const_part(&mut self, part: &str, c: Constant) -> ValueId {
        let name = self.part_name(part);
        self.cx.graph.add_const(&name, c)
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
