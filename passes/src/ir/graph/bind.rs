//! Named dims become numbers.

use super::{Graph, GraphError, ValueId, compatible};
use crate::ir::infer::bind_type;
use crate::ir::{Bindings, Dim, Op};
use std::collections::BTreeMap;

impl Graph {
    /// The same graph with its named dims bound to numbers: every type is
    /// inferred anew, so that shape arithmetic becomes constants and every
    /// symbolic claim is checked.
    pub fn bind(&self, bindings: &Bindings) -> Result<Graph, GraphError> {
        let mut out = Graph::new(self.name.clone());
        out.fresh = self.fresh;
        let mut bindings = bindings.clone();
        let mut map: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        for &v in &self.inputs {
            let ty = bind_type(self.ty(v), &bindings);
            if let Some(d) = ty.shape.iter().find(|d| d.as_usize().is_none()) {
                return Err(GraphError::UnboundDim { value: self.name(v).into(), dim: d.to_string() });
            }
            map.insert(v, out.add_input(self.name(v), ty)?);
        }
        for (v, c) in self.constants() {
            map.insert(v, out.add_const(self.name(v), c.clone()));
        }
        for (_, node) in self.nodes() {
            let inputs: Vec<_> = node.inputs.iter().filter_map(|v| map.get(v).copied()).collect();
            let names: Vec<_> = node.outputs.iter().map(|&v| self.name(v)).collect();
            let op = node.op.map_dims(|d| d.bind(&bindings));
            let claims: Vec<_> = node.outputs.iter().map(|&v| bind_type(self.ty(v), &bindings)).collect();
            let declared = matches!(op, Op::Opaque(_)).then_some(claims.as_slice());
            let made = out.add_node(op, &inputs, &names, declared)?;
            for ((&old, &new), claim) in node.outputs.iter().zip(&made).zip(&claims) {
                let actual = out.ty(new).clone();
                if actual.known_shape().is_none() {
                    let dim = actual.shape.iter().find(|d| d.as_usize().is_none()).map(Dim::to_string);
                    return Err(GraphError::UnboundDim { value: self.name(old).into(), dim: dim.unwrap_or_default() });
                }
                if actual
                    .known_len()
                    .and_then(|n| n.checked_mul(actual.dtype.size()))
                    .is_none_or(|n| n > isize::MAX as usize)
                {
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
