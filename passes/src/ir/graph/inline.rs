//! Graphs that ops carry put in the place of the ops.

use super::{Graph, GraphError, Node, ValueId};
use crate::ir::infer::FRESH;
use crate::ir::{Constant, Dim, Op, Scalar, Splice, Subgraph, Type, splice};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

impl Graph {
    /// The graph that does all that a node does, on its operands from the second on, where that is known already.
    pub(crate) fn taken<'a>(&self, node: &'a Node) -> Option<&'a Subgraph> {
        let Op::Control(control) = &node.op else { return None };
        let &first = node.inputs.first()?;
        let known = self.value(first).ints.as_ref().and_then(|v| v.first()?.as_int());
        let number = known.or_else(|| self.constant(first)?.as_scalar().map(Scalar::to_i64))?;
        control.taken(number)
    }

    /// The graph with nodes whose graph is known replaced by that graph; `None` if there is no such node.
    pub fn inlined(&self) -> Result<Option<Graph>, GraphError> {
        if !self.nodes().any(|(_, n)| self.taken(n).is_some()) {
            return Ok(None);
        }
        let mut out = Inlining { graph: Graph::new(self.name.clone()), base: Arc::from("") };
        out.graph.fresh = self.fresh;
        let mut values: HashMap<ValueId, ValueId> = HashMap::new();
        // Extents that dims invented by inference turned out to be.
        let mut found: BTreeMap<Arc<str>, Dim> = BTreeMap::new();
        for &v in &self.inputs {
            values.insert(v, out.graph.add_input(self.name(v), self.ty(v).clone())?);
        }
        for (v, c) in self.constants() {
            values.insert(v, out.graph.add_const(self.name(v), c.clone()));
        }
        for (_, node) in self.nodes() {
            let inputs: Vec<ValueId> = node.inputs.iter().filter_map(|v| values.get(v).copied()).collect();
            let names: Vec<&str> = node.outputs.iter().map(|&v| self.name(v)).collect();
            let claim = |&v: &ValueId| {
                let ty = self.ty(v);
                Type { dtype: ty.dtype, shape: ty.shape.iter().map(|d| d.substitute(&found)).collect() }
            };
            let claims: Vec<Type> = node.outputs.iter().map(claim).collect();
            let made = match self.taken(node) {
                Some(graph) => {
                    out.base = names.first().copied().unwrap_or_default().into();
                    let types: Vec<Type> = inputs[1..].iter().map(|&v| out.graph.ty(v).clone()).collect();
                    let mut fresh = out.graph.new_dims();
                    splice(&mut out, graph.graph(), (&inputs[1..], &types.iter().collect::<Vec<_>>()), &mut fresh)?
                }
                None => {
                    out.graph.add_node(node.op.map_dims(|d| d.substitute(&found)), &inputs, &names, Some(&claims))?
                }
            };
            for ((&old, &new), claim) in node.outputs.iter().zip(&made).zip(&claims) {
                for (c, actual) in claim.shape.iter().zip(&out.graph.ty(new).shape) {
                    if let Some(s) = c.as_sym().filter(|s| s.starts_with(FRESH) && c != actual) {
                        found.entry(s.clone()).or_insert_with(|| actual.clone());
                    }
                }
                values.insert(old, new);
            }
        }
        for o in &self.outputs {
            let made = values.get(&o.value).copied();
            let value = made.ok_or_else(|| GraphError::Order { value: self.name(o.value).into() })?;
            out.graph.add_output(&o.name, value)?;
        }
        Ok(Some(out.graph))
    }
}

/// A graph that others are put into, under names that begin with that of the node they replace.
struct Inlining {
    graph: Graph,
    base: Arc<str>,
}

impl Splice for Inlining {
    type Value = ValueId;

    fn constant(&mut self, name: &str, constant: &Constant) -> ValueId {
        self.graph.add_const(&format!("{}.{name}", self.base), constant.clone())
    }

    fn node(
        &mut self,
        op: Op,
        inputs: Vec<ValueId>,
        names: &[&str],
        types: Vec<Type>,
    ) -> Result<Vec<ValueId>, GraphError> {
        let names: Vec<String> = names.iter().map(|n| format!("{}.{n}", self.base)).collect();
        self.graph.add_node(op, &inputs, &names.iter().map(String::as_str).collect::<Vec<_>>(), Some(&types))
    }
}
