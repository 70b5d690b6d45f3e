//! The graph itself: an arena of values and nodes with maintained use lists.

use super::infer::{self, Known, Operand, is_fresh, may_equal};
use super::{Constant, Dim, InferError, Op, Type};
use std::collections::HashMap;
use std::sync::Arc;
use thiserror::Error;

mod bind;
mod extents;
mod inline;
mod stage;
mod verify;

pub(crate) use extents::Unbound;
pub use stage::Stages;

/// A value of one [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(u32);

/// A node of one [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// Where the graph keeps it: small, and unique in the graph.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ValueId {
    /// Where the graph keeps it: small, and unique in the graph.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Def {
    /// Given by the caller.
    Input,
    /// Part of the graph.
    Const(Constant),
    /// Result number `.1` of a node.
    Node(NodeId, usize),
}

/// A value: its name, type and origin.
#[derive(Clone, Debug)]
pub struct ValueData {
    /// Unique in the graph; from the source where it has one.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
    /// Its origin.
    pub def: Def,
    /// Its elements, if it is a small integer or bool tensor that follows from dims and constants.
    pub ints: Option<Vec<Dim>>,
    users: Vec<NodeId>,
}

/// An op applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// The op that is computed.
    pub op: Op,
    /// Operands.
    pub inputs: Vec<ValueId>,
    /// Results.
    pub outputs: Vec<ValueId>,
}

/// A result of the graph.
#[derive(Clone, Debug)]
pub struct Output {
    /// The name that the caller knows it by.
    pub name: Arc<str>,
    /// The value.
    pub value: ValueId,
}

/// A fault of a graph, or of a request to it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GraphError {
    /// Operands do not fit an op.
    #[error("%{node} = {op}: {source}")]
    Node {
        /// Name of the first result.
        node: String,
        /// Mnemonic.
        op: String,
        /// The reason.
        source: InferError,
    },
    /// A type that was claimed is not the one that follows.
    #[error("%{value}: {claimed} is claimed, {actual} follows from the operands")]
    Type {
        /// Name of the value.
        value: String,
        /// As stated.
        claimed: String,
        /// As inferred.
        actual: String,
    },
    /// A claim about an extent does not hold for the inputs at hand.
    #[error(
        "%{value}: {claimed} for inputs of these shapes, but comes out as {actual}: \
         the model does not take inputs of this size"
    )]
    Bound {
        /// Name of the value.
        value: String,
        /// The type with named dims, and with their numbers.
        claimed: String,
        /// As inferred.
        actual: String,
    },
    /// A value is used before it is made.
    #[error("%{value} is used before it is made: the graph has a cycle or is out of order")]
    Order {
        /// Name of the value.
        value: String,
    },
    /// Two values or outputs of one name.
    #[error("%{name} is defined twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// An extent does not follow from the inputs.
    #[error("%{value}: extent {dim} does not follow from the shapes of the inputs")]
    UnboundDim {
        /// Name of the value.
        value: String,
        /// The extent.
        dim: String,
    },
    /// Extents of a value multiply to more than memory can hold.
    #[error("%{value}: {ty} is not a size that can be held")]
    TooLarge {
        /// Name of the value.
        value: String,
        /// Its type.
        ty: String,
    },
    /// Values decide the work of an op, and so it is no part of a graph that is run at once.
    #[error("%{value} = {op}: what is computed depends on values that are known when the graph is run")]
    Decided {
        /// Name of its first result.
        value: String,
        /// Mnemonic.
        op: String,
    },
    /// Anything else that is inconsistent.
    #[error("{0}")]
    Invalid(String),
}

/// A graph in SSA form, kept in topological order.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The name in text, after `@`.
    pub name: String,
    /// Shared with copies of the graph, of which a plan for other extents is one that differs in few.
    values: Vec<Option<Arc<ValueData>>>,
    nodes: Vec<Option<Arc<Node>>>,
    order: Vec<NodeId>,
    inputs: Vec<ValueId>,
    outputs: Vec<Output>,
    names: Arc<HashMap<Arc<str>, ValueId>>,
    /// For a name that was wanted again, below which number all are taken.
    numbers: HashMap<Arc<str>, usize>,
    fresh: usize,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    // ---- building, at the end ----

    /// Adds an input. Names are unique among values.
    pub fn add_input(&mut self, name: &str, ty: Type) -> Result<ValueId, GraphError> {
        if !ty.can_be_held() {
            return Err(GraphError::TooLarge { value: name.into(), ty: ty.shown() });
        }
        self.note_fresh(&ty);
        let v = self.add_value(name, ty, Def::Input, None)?;
        self.inputs.push(v);
        Ok(v)
    }

    /// Adds a constant; a taken name gets a number behind it.
    pub fn add_const(&mut self, name: &str, constant: Constant) -> ValueId {
        let (ty, ints) = (constant.ty(), small_ints(&constant));
        let name = self.unique(name);
        self.push_value(name, ty, Def::Const(constant), ints)
    }

    /// Adds a node with one result at the end; a taken name gets a number behind it.
    pub fn add(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        Ok(self.add_node(op, inputs, &[name], None)?[0])
    }

    /// Adds a node at the end. `declared` gives the types of results that
    /// inference does not know (opaque ops) and is checked against those it does.
    pub fn add_node(
        &mut self,
        op: Op,
        inputs: &[ValueId],
        names: &[&str],
        declared: Option<&[Type]>,
    ) -> Result<Vec<ValueId>, GraphError> {
        for ty in declared.unwrap_or_default() {
            self.note_fresh(ty);
        }
        let mut fresh = self.fresh;
        let known = self.infer_node(&op, inputs, names.first().copied().unwrap_or("?"), declared, &mut fresh)?;
        self.fresh = fresh;
        if known.len() != names.len() {
            return Err(GraphError::Invalid(format!(
                "{} makes {} values, {} named",
                op.mnemonic(),
                known.len(),
                names.len()
            )));
        }
        let id = NodeId(self.nodes.len() as u32);
        let outputs: Vec<_> = known
            .into_iter()
            .zip(names)
            .enumerate()
            .map(|(i, (k, name))| {
                let name = self.unique(name);
                self.push_value(name, k.ty, Def::Node(id, i), k.ints)
            })
            .collect();
        for &v in inputs {
            self.value_mut(v).users.push(id);
        }
        self.nodes.push(Some(Arc::new(Node { op, inputs: inputs.to_vec(), outputs: outputs.clone() })));
        self.order.push(id);
        Ok(outputs)
    }

    /// Makes a value a result of the graph under `name`.
    pub fn add_output(&mut self, name: &str, value: ValueId) -> Result<(), GraphError> {
        if self.outputs.iter().any(|o| &*o.name == name) {
            return Err(GraphError::Duplicate { name: name.into() });
        }
        self.outputs.push(Output { name: name.into(), value });
        Ok(())
    }

    /// Puts the inputs in another order.
    ///
    /// # Errors
    /// `order` is not that of all inputs, each once.
    pub fn order_inputs(&mut self, order: &[ValueId]) -> Result<(), GraphError> {
        let sorted = |v: &[ValueId]| {
            let mut v = v.to_vec();
            v.sort_unstable();
            v
        };
        if sorted(order) != sorted(&self.inputs) {
            return Err(GraphError::Invalid("an order of other inputs".into()));
        }
        self.inputs = order.to_vec();
        Ok(())
    }

    /// Types of the results of `op` on values of this graph; `fresh` counts the dims invented.
    pub(crate) fn infer_node(
        &self,
        op: &Op,
        inputs: &[ValueId],
        name: &str,
        declared: Option<&[Type]>,
        fresh: &mut usize,
    ) -> Result<Vec<Known>, GraphError> {
        let fail = |source| GraphError::Node { node: name.into(), op: op.mnemonic(), source };
        let operands: Vec<_> = inputs
            .iter()
            .map(|&v| {
                let data = self.value(v);
                Operand { ty: &data.ty, ints: data.ints.as_deref() }
            })
            .collect();
        let mut next = || {
            *fresh += 1;
            Dim::sym(format!("{}{}", infer::FRESH, *fresh - 1))
        };
        let mut known = match (infer::infer(op, &operands, &mut next).map_err(fail)?, declared) {
            (Some(k), _) => k,
            (None, Some([])) => return Err(fail(InferError("it must have a result".into()))),
            (None, Some(d)) if d.iter().any(|ty| !ty.can_be_held()) => {
                return Err(fail(InferError("a declared type is not a size that can be held".into())));
            }
            (None, Some(d)) => return Ok(d.iter().map(|ty| Known { ty: ty.clone(), ints: None }).collect()),
            (None, None) => return Err(fail(InferError("its types must be declared".into()))),
        };
        if let Some(declared) = declared {
            if declared.len() != known.len() {
                return Err(fail(InferError(format!("{} types declared for {} results", declared.len(), known.len()))));
            }
            for (k, d) in known.iter_mut().zip(declared) {
                if !compatible(&k.ty, d) {
                    return Err(GraphError::Type {
                        value: name.into(),
                        claimed: d.to_string(),
                        actual: k.ty.to_string(),
                    });
                }
                // The declared extent has a name where inference had to invent one.
                for (known, declared) in k.ty.shape.iter_mut().zip(&d.shape) {
                    if known.as_int().is_none() && (is_fresh(known) || declared.as_int().is_some()) {
                        *known = declared.clone();
                    }
                }
            }
        }
        Ok(known)
    }

    /// Never invent a dim that a declared type already uses.
    fn note_fresh(&mut self, ty: &Type) {
        for s in ty.shape.iter().flat_map(Dim::symbols) {
            if let Some(n) = s.strip_prefix(infer::FRESH).and_then(|n| n.parse::<usize>().ok()) {
                self.fresh = self.fresh.max(n.saturating_add(1));
            }
        }
    }

    fn add_value(&mut self, name: &str, ty: Type, def: Def, ints: Option<Vec<Dim>>) -> Result<ValueId, GraphError> {
        if self.names.contains_key(name) {
            return Err(GraphError::Duplicate { name: name.into() });
        }
        Ok(self.push_value(name.into(), ty, def, ints))
    }

    fn push_value(&mut self, name: Arc<str>, ty: Type, def: Def, ints: Option<Vec<Dim>>) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        Arc::make_mut(&mut self.names).insert(name.clone(), id);
        self.values.push(Some(Arc::new(ValueData { name, ty, def, ints, users: Vec::new() })));
        id
    }

    /// `name`, or the first of `name_1`, `name_2` ... that no value has.
    pub fn free_name(&mut self, name: &str) -> String {
        self.unique(name).to_string()
    }

    /// `name`, or `name_1`, `name_2` ... whichever is free.
    fn unique(&mut self, name: &str) -> Arc<str> {
        if !self.names.contains_key(name) {
            return name.into();
        }
        let from = self.numbers.get(name).copied().unwrap_or(1);
        let mut all = (from..).map(|i| (i, format!("{name}_{i}")));
        let (i, free) = all.find(|(_, n)| !self.names.contains_key(n.as_str())).unwrap_or_default();
        self.numbers.insert(name.into(), i);
        free.into()
    }

    // ---- reading ----

    /// Inputs in the order they were added.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Results in the order they were added.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Nodes, each after those it depends on.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// Nodes in order, with their ids.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.order.iter().map(|&id| (id, self.node(id)))
    }

    /// A number above the [index](ValueId::index) of every value.
    pub fn value_bound(&self) -> usize {
        self.values.len()
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// True if there is no node.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// A node.
    ///
    /// # Panics
    /// If the node was removed or belongs to another graph: ids are to be used with their graph only.
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0 as usize].as_deref().expect("a live node of this graph")
    }

    /// A node, unless it was removed.
    pub fn try_node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)?.as_deref()
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        Arc::make_mut(self.nodes[id.0 as usize].as_mut().expect("a live node of this graph"))
    }

    /// A value.
    ///
    /// # Panics
    /// If the value was removed or belongs to another graph: ids are to be used with their graph only.
    pub fn value(&self, id: ValueId) -> &ValueData {
        self.values[id.0 as usize].as_deref().expect("a live value of this graph")
    }

    /// A value, unless it was removed.
    pub fn try_value(&self, id: ValueId) -> Option<&ValueData> {
        self.values.get(id.0 as usize)?.as_deref()
    }

    fn value_mut(&mut self, id: ValueId) -> &mut ValueData {
        Arc::make_mut(self.values[id.0 as usize].as_mut().expect("a live value of this graph"))
    }

    /// The name of a value.
    pub fn name(&self, id: ValueId) -> &str {
        &self.value(id).name
    }

    /// The type of a value.
    pub fn ty(&self, id: ValueId) -> &Type {
        &self.value(id).ty
    }

    /// The value of a name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.names.get(name).copied()
    }

    /// The constant a value is, if it is one.
    pub fn constant(&self, id: ValueId) -> Option<&Constant> {
        match &self.value(id).def {
            Def::Const(c) => Some(c),
            _ => None,
        }
    }

    /// The node that makes a value.
    pub fn producer(&self, id: ValueId) -> Option<NodeId> {
        match self.value(id).def {
            Def::Node(n, _) => Some(n),
            _ => None,
        }
    }

    /// The op that makes a value.
    pub fn op(&self, id: ValueId) -> Option<&Op> {
        self.producer(id).map(|n| &self.node(n).op)
    }

    /// The nodes that use a value, once a use.
    pub fn users(&self, id: ValueId) -> &[NodeId] {
        &self.value(id).users
    }

    /// True if a value is a result of the graph.
    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs.iter().any(|o| o.value == id)
    }

    /// Uses by nodes and as a result.
    pub fn use_count(&self, id: ValueId) -> usize {
        self.users(id).len() + self.outputs.iter().filter(|o| o.value == id).count()
    }

    /// Every value, in definition order.
    pub(super) fn values(&self) -> impl Iterator<Item = ValueId> {
        self.values.iter().enumerate().filter_map(|(i, v)| v.as_ref().map(|_| ValueId(i as u32)))
    }

    /// Every value in use: inputs, constants that are used, and results of nodes, in definition order.
    pub fn constants(&self) -> impl Iterator<Item = (ValueId, &Constant)> {
        self.values.iter().enumerate().filter_map(|(i, v)| match v.as_deref() {
            Some(ValueData { def: Def::Const(c), .. }) => Some((ValueId(i as u32), c)),
            _ => None,
        })
    }

    /// The named dims of the inputs, sorted.
    pub fn symbols(&self) -> Vec<Arc<str>> {
        let mut all: Vec<_> =
            self.inputs.iter().flat_map(|&v| self.ty(v).shape.iter().flat_map(Dim::symbols)).collect();
        all.sort();
        all.dedup();
        all
    }

    // ---- changing: by patches only, see `rewrite` ----

    /// Types of the results of a node a patch adds.
    pub(crate) fn infer_for_patch(
        &mut self,
        op: &Op,
        inputs: &[ValueId],
        name: &str,
        declared: Option<&[Type]>,
    ) -> Result<Vec<Known>, GraphError> {
        for ty in declared.unwrap_or_default() {
            self.note_fresh(ty);
        }
        let mut fresh = self.fresh;
        let known = self.infer_node(op, inputs, name, declared, &mut fresh)?;
        self.fresh = fresh;
        Ok(known)
    }

    /// A maker of dims that the graph does not know yet, for types that are declared later.
    pub(crate) fn new_dims(&self) -> impl FnMut() -> Dim + use<> {
        let mut next = self.fresh;
        move || {
            next += 1;
            Dim::sym(format!("{}{}", infer::FRESH, next - 1))
        }
    }

    /// Replaces an op by one of the same operands and types of results, as the caller has checked.
    pub(crate) fn set_op(&mut self, id: NodeId, op: Op) {
        if let Some(node) = self.nodes.get_mut(id.index()).and_then(Option::as_mut).map(Arc::make_mut) {
            node.op = op;
        }
    }

    /// Maps every extent of every type, integer that is followed, and attribute.
    pub(super) fn map_dims(&mut self, f: &dyn Fn(&Dim) -> Dim) {
        for data in self.values.iter_mut().flatten() {
            let data = Arc::make_mut(data);
            data.ty.shape.iter_mut().chain(data.ints.iter_mut().flatten()).for_each(|d| *d = f(d));
        }
        for node in self.nodes.iter_mut().flatten() {
            let node = Arc::make_mut(node);
            node.op = node.op.map_dims(f);
        }
    }

    /// Removes the constants among `values` that nothing uses.
    pub(crate) fn remove_unused_constants(&mut self, values: &[ValueId]) {
        for &v in values {
            let is_const = self.try_value(v).is_some_and(|d| matches!(d.def, Def::Const(_)));
            if is_const && self.use_count(v) == 0 {
                self.remove_value(v);
            }
        }
    }

    /// Inserts a node at `at` in the order; the caller has checked that its operands come before.
    pub(crate) fn insert_node(
        &mut self,
        at: usize,
        op: Op,
        inputs: Vec<ValueId>,
        outputs: Vec<(Arc<str>, Known)>,
    ) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        let outputs = outputs
            .into_iter()
            .enumerate()
            .map(|(i, (name, k))| {
                let name = self.unique(&name);
                self.push_value(name, k.ty, Def::Node(id, i), k.ints)
            })
            .collect();
        for &v in &inputs {
            self.value_mut(v).users.push(id);
        }
        self.nodes.push(Some(Arc::new(Node { op, inputs, outputs })));
        self.order.insert(at, id);
        id
    }

    /// Makes every user of `old` (and every result that is `old`) use `new`.
    pub(crate) fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        let users = std::mem::take(&mut self.value_mut(old).users);
        for &n in &users {
            for v in &mut self.node_mut(n).inputs {
                if *v == old {
                    *v = new;
                }
            }
        }
        self.value_mut(new).users.extend(users);
        for o in &mut self.outputs {
            if o.value == old {
                o.value = new;
            }
        }
    }

    /// Gives `new` the named extents of `old` where its own were invented.
    pub(crate) fn refine(&mut self, new: ValueId, old: ValueId) {
        let named = self.ty(old).shape.clone();
        let data = self.value_mut(new);
        for (d, n) in data.ty.shape.iter_mut().zip(named) {
            if is_fresh(d) && !is_fresh(&n) || d.as_int().is_none() && n.as_int().is_some() {
                *d = n;
            }
        }
    }

    /// States the type of a value; the caller has checked that it is compatible.
    pub(crate) fn set_type(&mut self, id: ValueId, ty: Type) {
        self.value_mut(id).ty = ty;
    }

    /// Swaps the names of two values.
    pub(crate) fn swap_names(&mut self, a: ValueId, b: ValueId) {
        let (x, y) = (self.value(a).name.clone(), self.value(b).name.clone());
        self.value_mut(a).name = y.clone();
        self.value_mut(b).name = x.clone();
        let names = Arc::make_mut(&mut self.names);
        names.insert(x, b);
        names.insert(y, a);
    }

    /// Removes the nodes among `start` and upwards that nothing uses, and
    /// constants that nothing uses any more. Returns the number of nodes.
    pub(crate) fn remove_dead_from(&mut self, start: Vec<NodeId>) -> usize {
        let mut work = start;
        let mut removed = 0;
        while let Some(id) = work.pop() {
            let Some(node) = self.try_node(id) else { continue };
            if node.outputs.iter().any(|&v| self.use_count(v) > 0) || self.binds(id) {
                continue;
            }
            let node = self.nodes[id.0 as usize].take().expect("checked above");
            removed += 1;
            for &v in &node.outputs {
                self.remove_value(v);
            }
            for &v in &node.inputs {
                let Some(data) = self.values[v.0 as usize].as_mut().map(Arc::make_mut) else { continue };
                if let Some(i) = data.users.iter().position(|&u| u == id) {
                    data.users.remove(i);
                }
                match data.def {
                    Def::Node(n, _) => work.push(n),
                    Def::Const(_) => {
                        if self.use_count(v) == 0 {
                            self.remove_value(v);
                        }
                    }
                    Def::Input => {}
                }
            }
        }
        if removed > 0 {
            let nodes = &self.nodes;
            self.order.retain(|id| nodes[id.index()].is_some());
        }
        removed
    }

    /// Removes every node and constant that no result depends on. Returns the number of nodes.
    pub fn remove_dead(&mut self) -> usize {
        let removed = self.remove_dead_from(self.order.clone());
        let unused: Vec<_> = self.constants().map(|(v, _)| v).filter(|&v| self.use_count(v) == 0).collect();
        for v in unused {
            self.remove_value(v);
        }
        removed
    }

    fn remove_value(&mut self, v: ValueId) {
        if let Some(data) = self.values[v.0 as usize].take()
            && self.names.get(&data.name) == Some(&v)
        {
            Arc::make_mut(&mut self.names).remove(&data.name);
            // The number of `name_3` is free again.
            if let Some((name, i)) = data.name.rsplit_once('_')
                && let (Some(least), Ok(i)) = (self.numbers.get_mut(name), i.parse::<usize>())
            {
                *least = i.clamp(1, *least);
            }
        }
    }
}

/// The integers of a constant that inference follows.
fn small_ints(constant: &Constant) -> Option<Vec<Dim>> {
    let small = constant.len() <= infer::MAX_INTS
        && constant.shape().len() <= 1
        && (constant.dtype().is_int() || constant.dtype() == super::DType::Bool);
    let dim = |v: super::Scalar| i64::try_from(v.to_i128()).ok().map(Dim::int);
    small.then(|| constant.scalars().and_then(|s| s.map(dim).collect())).flatten()
}

/// True if two types can be of one value, that is, the dtypes are equal, and so are the
/// extents wherever both are numbers.
pub(crate) fn compatible(a: &Type, b: &Type) -> bool {
    a.dtype == b.dtype && a.rank() == b.rank() && a.shape.iter().zip(&b.shape).all(|(x, y)| may_equal(x, y))
}
