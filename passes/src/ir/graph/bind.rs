//! Named dims become numbers.

use super::{Graph, GraphError, ValueId, compatible};
use crate::ir::infer::bind_type;
use crate::ir::{Bindings, Constant};
use std::collections::{BTreeMap, HashMap};

impl Graph {
    /// The same graph with its named dims bound to numbers: every type is
    /// inferred anew, so that shape arithmetic becomes constants and every
    /// symbolic claim is checked.
    pub fn bind(&self, bindings: &Bindings) -> Result<Graph, GraphError> {
        let bound = self.bind_partly(bindings, &HashMap::new())?;
        let made = bound.nodes().flat_map(|(_, n)| &n.outputs);
        let unbound = bound.inputs().iter().chain(made).find_map(|&v| {
            let dim = bound.ty(v).shape.iter().find(|d| d.as_usize().is_none())?;
            Some(GraphError::UnboundDim { value: bound.name(v).into(), dim: dim.to_string() })
        });
        unbound.map_or(Ok(bound), Err)
    }

    /// As [`Graph::bind`], with some inputs made constants, which inference then follows. Extents that depend on values which
    /// are only known when the graph runs stay named.
    pub fn bind_partly(
        &self,
        bindings: &Bindings,
        constants: &HashMap<ValueId, Constant>,
    ) -> Result<Graph, GraphError> {
        let mut out = Graph::new(self.name.clone());
        out.fresh = self.fresh;
        let mut bindings = bindings.clone();
        let mut map: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        for &v in &self.inputs {
            let made = match constants.get(&v) {
                Some(c) => out.add_const(self.name(v), c.clone()),
                None => out.add_input(self.name(v), bind_type(self.ty(v), &bindings))?,
            };
            map.insert(v, made);
        }
        for (v, c) in self.constants() {
            map.insert(v, out.add_const(self.name(v), c.clone()));
        }
        for (_, node) in self.nodes() {
            let inputs: Vec<_> = node.inputs.iter().filter_map(|v| map.get(v).copied()).collect();
            let names: Vec<_> = node.outputs.iter().map(|&v| self.name(v)).collect();
            let op = node.op.map_dims(|d| d.bind(&bindings));
            let claims: Vec<_> = node.outputs.iter().map(|&v| bind_type(self.ty(v), &bindings)).collect();
            // An extent that was counted in values is not inferred again: the claim has it.
            let made = out.add_node(op, &inputs, &names, Some(&claims)).map_err(|e| match e {
                GraphError::Type { value, claimed, actual } => {
                    let was = node.outputs.first().map(|&v| self.ty(v).to_string()).unwrap_or_default();
                    GraphError::Bound { value, claimed: format!("{was} is {claimed}"), actual }
                }
                other => other,
            })?;
            for ((&old, &new), claim) in node.outputs.iter().zip(&made).zip(&claims) {
                let actual = out.ty(new).clone();
                let bytes = actual.known_len().map(|n| n.checked_mul(actual.dtype.size()));
                if actual.known_shape().is_some() && bytes.flatten().is_none_or(|n| n > isize::MAX as usize) {
                    return Err(GraphError::TooLarge { value: self.name(old).into(), ty: actual.to_string() });
                }
                // A dim that inference invented is bound by the first value that has it.
                for (c, a) in claim.shape.iter().zip(&actual.shape) {
                    if let (Some(s), Some(n)) = (c.as_sym(), a.as_int()) {
                        bindings.entry(s.clone()).or_insert(n);
                    }
                }
                let claim = bind_type(claim, &bindings);
                if !compatible(&claim, &actual) {
                    return Err(GraphError::Bound {
                        value: self.name(old).into(),
                        claimed: format!("{} is {claim}", self.ty(old)),
                        actual: actual.to_string(),
                    });
                }
                map.insert(old, new);
            }
        }
        for o in &self.outputs {
            if let Some(&v) = map.get(&o.value) {
                out.add_output(&o.name, v)?;
            }
        }
        Ok(out)
    }
}
