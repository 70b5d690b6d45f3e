//! Graphs that ops carry.

use super::{Dim, Graph, GraphError, Type, ValueId};
use crate::ir::infer::FRESH;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Graphs within each other: no model has a tenth of it, and walks over them recur.
pub const MAX_NESTING: usize = 16;

/// A graph that an op carries: a branch, the body of a loop. Its inputs stand for operands of the op, and nothing else is
/// seen from outside but named dims: those of the graph around it are the same dims in here. Dims that inference
/// invented are this graph's own, and those of its inputs stand for whatever the operands have there.
#[derive(Clone, Debug)]
pub struct Subgraph(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    graph: Graph,
    depth: usize,
}

impl Subgraph {
    /// The graph as part of an op.
    pub fn new(graph: Graph) -> Self {
        let inner = graph.nodes().flat_map(|(_, n)| n.op.graphs());
        let depth = 1 + inner.map(|(_, g)| g.depth()).max().unwrap_or(0);
        Self(Arc::new(Inner { graph, depth }))
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.0.graph
    }

    /// Graphs within each other, this one included.
    pub(crate) fn depth(&self) -> usize {
        self.0.depth
    }

    /// Calls `f` with every extent in it that has to do with the graph around it, mapping them if `f` does.
    pub(super) fn visit_dims(&mut self, f: &mut dyn FnMut(&mut Dim)) {
        // Own dims pass by `f` under names that no other dim has.
        let mut mapped = |d: &Dim| {
            let hidden = renamed(d, |s| s.starts_with(FRESH).then(|| format!("{HIDDEN}{s}")));
            let mut new = hidden.clone();
            f(&mut new);
            (new != hidden).then(|| renamed(&new, |s| s.strip_prefix(HIDDEN).map(String::from)))
        };
        let mut changes: HashMap<Dim, Dim> = HashMap::new();
        self.0.graph.each_dim(&mut |d| {
            if d.as_int().is_none()
                && let Some(new) = mapped(d)
            {
                changes.insert(d.clone(), new);
            }
        });
        if !changes.is_empty() {
            let mut graph = self.0.graph.clone();
            graph.map_dims(&|d| changes.get(d).unwrap_or(d).clone());
            *self = Self::new(graph);
        }
    }
}

/// Before the name of a dim that is hidden.
const HIDDEN: char = '\0';

fn renamed(d: &Dim, rename: impl Fn(&str) -> Option<String>) -> Dim {
    let with: BTreeMap<_, _> =
        d.symbols().into_iter().filter_map(|s| Some((s.clone(), Dim::sym(rename(&s)?)))).collect();
    if with.is_empty() { d.clone() } else { d.substitute(&with) }
}

/// The same ops on the same values; names do not matter.
impl PartialEq for Subgraph {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || same(self.graph(), other.graph())
    }
}

impl Eq for Subgraph {}

/// Of what is cheap to read: no weights.
impl Hash for Subgraph {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let g = self.graph();
        g.len().hash(state);
        g.inputs().iter().for_each(|&v| g.ty(v).hash(state));
        g.outputs().iter().for_each(|o| g.ty(o.value).hash(state));
    }
}

fn same(a: &Graph, b: &Graph) -> bool {
    let sizes = |g: &Graph| (g.len(), g.inputs().len(), g.outputs().len());
    let types = |v: &[ValueId], w: &[ValueId]| v.len() == w.len() && v.iter().zip(w).all(|(&v, &w)| a.ty(v) == b.ty(w));
    if sizes(a) != sizes(b) || !types(a.inputs(), b.inputs()) {
        return false;
    }
    let mut twins: HashMap<ValueId, ValueId> = a.inputs().iter().copied().zip(b.inputs().iter().copied()).collect();
    let alike = |twins: &HashMap<ValueId, ValueId>, v: ValueId, w: ValueId| match (a.constant(v), b.constant(w)) {
        (Some(c), Some(d)) => c.same(d),
        (None, None) => twins.get(&v) == Some(&w),
        _ => false,
    };
    for ((_, n), (_, m)) in a.nodes().zip(b.nodes()) {
        let operands =
            n.inputs.len() == m.inputs.len() && n.inputs.iter().zip(&m.inputs).all(|(&v, &w)| alike(&twins, v, w));
        if !operands || n.op != m.op || !types(&n.outputs, &m.outputs) {
            return false;
        }
        twins.extend(n.outputs.iter().copied().zip(m.outputs.iter().copied()));
    }
    a.outputs().iter().zip(b.outputs()).all(|(o, p)| alike(&twins, o.value, p.value))
}

impl Graph {
    /// Calls `f` with this graph and with every graph that its ops carry, however deep.
    pub fn each_graph(&self, f: &mut dyn FnMut(&Graph)) {
        f(self);
        for (_, node) in self.nodes() {
            for (_, g) in node.op.graphs() {
                g.graph().each_graph(f);
            }
        }
    }

    /// Calls `f` with every extent of every type, integer that is followed, and attribute.
    fn each_dim(&self, f: &mut dyn FnMut(&Dim)) {
        for v in self.values() {
            let data = self.value(v);
            data.ty.shape.iter().chain(data.ints.iter().flatten()).for_each(&mut *f);
        }
        for (_, node) in self.nodes() {
            node.op.each_dim(f);
        }
    }
}

/// The dims of a graph by its inputs, where they stand for operands of these types.
pub(crate) struct Call(BTreeMap<Arc<str>, Dim>);

impl Call {
    /// For as many operands as there are inputs.
    ///
    /// # Errors
    /// A type that does not fit.
    pub fn new<'t>(graph: &Graph, operands: impl IntoIterator<Item = &'t Type>) -> Result<Self, String> {
        let mut dims = BTreeMap::new();
        let mut given = 0;
        for (i, ty) in operands.into_iter().enumerate() {
            let Some(&v) = graph.inputs().get(i) else { return Err(format!("graph @{} takes {i} values", graph.name)) };
            let own = graph.ty(v);
            if !super::compatible(own, ty) {
                return Err(format!("graph @{} takes %{} of {own}, not {ty}", graph.name, graph.name(v)));
            }
            for (own, d) in own.shape.iter().zip(&ty.shape) {
                if let Some(s) = own.as_sym() {
                    dims.entry(s.clone()).or_insert_with(|| d.clone());
                }
            }
            given += 1;
        }
        if given < graph.inputs().len() {
            return Err(format!("graph @{} takes {} values, not {given}", graph.name, graph.inputs().len()));
        }
        Ok(Self(dims))
    }

    /// An extent outside; `None` if the graph invented it.
    pub fn outside(&self, d: &Dim) -> Option<Dim> {
        let own = d.symbols().iter().any(|s| s.starts_with(FRESH) && !self.0.contains_key(s));
        (!own).then(|| d.substitute(&self.0))
    }

    /// Lets dims that the graph invented have names of those that `fresh` makes.
    fn settle(&mut self, graph: &Graph, fresh: &mut dyn FnMut() -> Dim) {
        graph.each_dim(&mut |d| {
            for s in d.symbols() {
                if s.starts_with(FRESH) && !self.0.contains_key(&s) {
                    self.0.insert(s, fresh());
                }
            }
        });
    }
}

/// A node of a graph that takes the place of the op which carries it.
pub(crate) trait Splice {
    /// The value in the graph that is added to.
    type Value: Copy;

    /// Adds a constant of the graph.
    fn constant(&mut self, name: &str, constant: &super::Constant) -> Self::Value;

    /// Adds a node of the graph.
    fn node(
        &mut self,
        op: super::Op,
        inputs: Vec<Self::Value>,
        names: &[&str],
        types: Vec<Type>,
    ) -> Result<Vec<Self::Value>, GraphError>;
}

/// Adds what a graph does to another one, whose values `operands` are its inputs; its outputs there.
pub(crate) fn splice<S: Splice>(
    into: &mut S,
    graph: &Graph,
    (operands, types): (&[S::Value], &[&Type]),
    fresh: &mut dyn FnMut() -> Dim,
) -> Result<Vec<S::Value>, GraphError> {
    let mut call = Call::new(graph, types.iter().copied()).map_err(GraphError::Invalid)?;
    call.settle(graph, fresh);
    let outside = |d: &Dim| call.outside(d).unwrap_or_else(|| d.clone());
    let mut values: HashMap<ValueId, S::Value> = graph.inputs().iter().copied().zip(operands.iter().copied()).collect();
    let value =
        |into: &mut S, values: &mut HashMap<ValueId, S::Value>, v: ValueId| match (values.get(&v), graph.constant(v)) {
            (Some(&made), _) => Ok(made),
            (None, Some(c)) => {
                let made = into.constant(graph.name(v), c);
                values.insert(v, made);
                Ok(made)
            }
            (None, None) => Err(GraphError::Order { value: graph.name(v).into() }),
        };
    for (_, node) in graph.nodes() {
        let inputs = node.inputs.iter().map(|&v| value(into, &mut values, v)).collect::<Result<_, _>>()?;
        let ty =
            |&v: &ValueId| Type { dtype: graph.ty(v).dtype, shape: graph.ty(v).shape.iter().map(outside).collect() };
        let names: Vec<&str> = node.outputs.iter().map(|&v| graph.name(v)).collect();
        let made = into.node(node.op.map_dims(outside), inputs, &names, node.outputs.iter().map(ty).collect())?;
        values.extend(node.outputs.iter().copied().zip(made));
    }
    graph.outputs().iter().map(|o| value(into, &mut values, o.value)).collect()
}
