//! The invariants of a graph.

use super::{Graph, GraphError, NodeId, ValueId};
use std::collections::{HashMap, HashSet};

impl Graph {
    /// Checks every invariant: order, use lists, names, arity and types, those of graphs that ops carry included.
    pub fn verify(&self) -> Result<(), GraphError> {
        let mut made: HashSet<ValueId> = self.inputs.iter().copied().collect();
        made.extend(self.constants().map(|(v, _)| v));
        let mut uses: HashMap<ValueId, Vec<NodeId>> = HashMap::new();
        let mut fresh = self.fresh;
        for (id, node) in self.nodes() {
            let first = node.outputs.first().map_or("?", |&v| self.name(v));
            for &v in &node.inputs {
                if self.try_value(v).is_none() {
                    return Err(GraphError::Invalid(format!("%{first} uses a value that was removed")));
                }
                if !made.contains(&v) {
                    return Err(GraphError::Order { value: self.name(v).into() });
                }
                uses.entry(v).or_default().push(id);
            }
            let claims: Vec<_> = node.outputs.iter().map(|&v| self.ty(v).clone()).collect();
            self.infer_node(&node.op, &node.inputs, first, Some(&claims), &mut fresh)?;
            made.extend(node.outputs.iter().copied());
            node.op.graphs().iter().try_for_each(|(_, g)| g.graph().verify())?;
        }
        for o in &self.outputs {
            if !made.contains(&o.value) {
                return Err(GraphError::Invalid(format!("output {} is not made by the graph", o.name)));
            }
        }
        for (i, data) in self.values.iter().enumerate() {
            let Some(data) = data else { continue };
            let v = ValueId(i as u32);
            let mut expected = uses.remove(&v).unwrap_or_default();
            let mut listed = data.users.clone();
            expected.sort();
            listed.sort();
            if expected != listed {
                return Err(GraphError::Invalid(format!("the use list of %{} is wrong", data.name)));
            }
            if self.names.get(&data.name) != Some(&v) {
                return Err(GraphError::Duplicate { name: data.name.to_string() });
            }
        }
        Ok(())
    }
}
