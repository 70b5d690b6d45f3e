//! Named dims become numbers.

use super::{Def, Graph, GraphError, Node, NodeId, ValueData, ValueId, compatible, small_ints};
use crate::ir::infer::bind_type;
use crate::ir::{Bindings, Constant, Op};
use std::collections::HashMap;
use std::sync::Arc;

impl Graph {
    /// The same graph with its named dims bound to numbers: every type is
    /// inferred anew, so that shape arithmetic becomes constants and every
    /// symbolic claim is checked. An op of which values decide what it computes is an error.
    pub fn bind(&self, bindings: &Bindings) -> Result<Graph, GraphError> {
        let bound = self.bind_partly(bindings, &HashMap::new())?;
        if let Some((_, node)) = bound.nodes().find(|(_, n)| matches!(n.op, Op::Control(_))) {
            let value = node.outputs.first().map_or("?", |&v| bound.name(v)).into();
            return Err(GraphError::Decided { value, op: node.op.mnemonic() });
        }
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
        let mut out = self.clone();
        let mut bindings = bindings.clone();
        for &v in &self.inputs {
            let ty = bind_type(self.ty(v), &bindings);
            match constants.get(&v) {
                Some(c) => {
                    let data = out.value_mut(v);
                    (data.ty, data.ints) = (c.ty(), small_ints(c));
                    data.def = Def::Const(c.clone());
                }
                None if !ty.can_be_held() => {
                    return Err(GraphError::TooLarge { value: self.name(v).into(), ty: ty.shown() });
                }
                None => out.value_mut(v).ty = ty,
            }
        }
        out.inputs.retain(|v| !constants.contains_key(v));
        for (id, node) in self.nodes() {
            out.bind_node(self, id, node, &mut bindings)?;
        }
        Ok(out)
    }

    /// Binds a node, those before it being bound.
    fn bind_node(&mut self, named: &Graph, id: NodeId, node: &Node, bindings: &mut Bindings) -> Result<(), GraphError> {
        let op = node.op.names_dims().then(|| node.op.map_dims(|d| d.bind(bindings)));
        let claims: Vec<_> = node.outputs.iter().map(|&v| bind_type(named.ty(v), bindings)).collect();
        // An extent that was counted in values is not inferred again: the claim has it.
        let first = node.outputs.first().copied();
        let name = first.map_or("?", |v| named.name(v));
        let mut fresh = self.fresh;
        let known = self.infer_node(op.as_ref().unwrap_or(&node.op), &node.inputs, name, Some(&claims), &mut fresh);
        self.fresh = fresh;
        let known = known.map_err(|e| match e {
            GraphError::Type { value, claimed, actual } => {
                let was = first.map(|v| named.ty(v).to_string()).unwrap_or_default();
                GraphError::Bound { value, claimed: format!("{was} is {claimed}"), actual }
            }
            other => other,
        })?;
        for ((&v, known), claim) in node.outputs.iter().zip(known).zip(&claims) {
            let actual = &known.ty;
            let bytes = actual.known_len().map(|n| n.checked_mul(actual.dtype.size()));
            if actual.known_shape().is_some() && bytes.flatten().is_none_or(|n| n > isize::MAX as usize) {
                return Err(GraphError::TooLarge { value: named.name(v).into(), ty: actual.to_string() });
            }
            // A dim that inference invented is bound by the first value that has it.
            let mut found = false;
            for (c, a) in claim.shape.iter().zip(&actual.shape) {
                if let (Some(s), Some(n)) = (c.as_sym(), a.as_int()) {
                    bindings.entry(s.clone()).or_insert(n);
                    found = true;
                }
            }
            if found && !compatible(&bind_type(claim, bindings), actual) {
                return Err(GraphError::Bound {
                    value: named.name(v).into(),
                    claimed: format!("{} is {}", named.ty(v), bind_type(claim, bindings)),
                    actual: actual.to_string(),
                });
            }
            let ValueData { name, def, users, .. } = named.value(v);
            let (name, def, users) = (name.clone(), def.clone(), users.clone());
            let bound = ValueData { name, ty: known.ty, def, ints: known.ints, users };
            self.values[v.index()] = Some(Arc::new(bound));
        }
        if let Some(op) = op {
            let bound = Node { op, inputs: node.inputs.clone(), outputs: node.outputs.clone() };
            self.nodes[id.index()] = Some(Arc::new(bound));
        }
        Ok(())
    }
}
