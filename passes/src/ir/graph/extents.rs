//! Invented dims that attributes name, and what gives them their numbers.
//!
//! A front end may follow an extent that inference invented (`_0`) into an attribute, say of a slice. Such a dim gets its
//! number from the first value that has it, in front of the op that names it: that value is needed, though it is no operand.

use super::super::infer::{FRESH, is_fresh};
use super::{Graph, NodeId, ValueId};
use crate::ir::{Dim, Op};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// An invented dim that an op names and that nothing would give its number.
pub(crate) struct Unbound {
    /// The dim.
    pub dim: Arc<str>,
    /// The op.
    pub user: NodeId,
}

impl Graph {
    /// True if a node gives a number to an invented dim that attributes behind it name, and no other node does.
    pub(crate) fn binds(&self, id: NodeId) -> bool {
        !self.unbound_without(&HashSet::from([id])).is_empty()
    }

    /// The invented dims that would have no number where they are named, were these nodes not there, and the first op that
    /// names each, by its place in the order.
    fn unbound_without(&self, gone: &HashSet<NodeId>) -> BTreeMap<Arc<str>, usize> {
        let results = gone.iter().filter_map(|&id| self.try_node(id)).flat_map(|n| &n.outputs);
        let extents = results.flat_map(|&v| &self.ty(v).shape).filter_map(Dim::as_sym);
        let mut open: HashSet<Arc<str>> = extents.filter(|s| s.starts_with(FRESH)).cloned().collect();
        let mut unbound = BTreeMap::new();
        for (place, id) in self.order.iter().enumerate() {
            if open.is_empty() {
                break;
            }
            let Some(node) = self.try_node(*id).filter(|_| !gone.contains(id)) else { continue };
            node.op.each_dim(&mut |d| {
                for s in d.symbols() {
                    if let Some(s) = open.take(&s) {
                        unbound.insert(s, place);
                    }
                }
            });
            for s in node.outputs.iter().flat_map(|&v| &self.ty(v).shape).filter_map(Dim::as_sym) {
                open.remove(s);
            }
        }
        if !unbound.is_empty() {
            let given = self.symbols();
            unbound.retain(|s, _| !given.contains(s));
        }
        unbound
    }

    /// Lets values of `pairs` be replaced, the first by the second, without a dim that an attribute names losing its
    /// number: new values, which end in front of `place` in the order, get the dims of those that they replace, and a dim
    /// whose extent is now known becomes that in attributes. Of `gone`, which nothing uses afterwards, those of `must` go in
    /// any case; where a dim has only them, it is the error, and nothing is changed.
    pub(crate) fn hand_down_extents(
        &mut self,
        gone: &HashSet<NodeId>,
        must: &HashSet<NodeId>,
        pairs: &[(ValueId, ValueId)],
        new: &HashSet<ValueId>,
        place: usize,
    ) -> Result<(), Unbound> {
        let unbound = self.unbound_without(gone);
        if unbound.is_empty() {
            return Ok(());
        }
        let mut known: BTreeMap<Arc<str>, Dim> = BTreeMap::new();
        let mut inherited: Vec<(ValueId, usize, Arc<str>)> = Vec::new();
        for &(old, value) in pairs {
            for (axis, (a, b)) in self.ty(old).shape.iter().zip(&self.ty(value).shape).enumerate() {
                let Some((s, &user)) = a.as_sym().and_then(|s| unbound.get_key_value(s)) else { continue };
                if !is_fresh(b) {
                    known.insert(s.clone(), b.clone());
                } else if new.contains(&value) && user >= place {
                    inherited.push((value, axis, s.clone()));
                }
            }
        }
        let names = |d: &Dim| d.symbols().iter().any(|s| known.contains_key(s));
        let mut changed = Vec::new();
        for (&id, node) in self.order.iter().filter_map(|id| Some((id, self.try_node(*id)?))) {
            let mut any = false;
            node.op.each_dim(&mut |d| any |= names(d));
            if any {
                changed.push((id, node.op.map_dims(|d| if names(d) { d.substitute(&known) } else { d.clone() })));
            }
        }
        let simple = |op: &Op| {
            let mut simple = true;
            op.each_dim(&mut |d| simple &= d.is_simple());
            simple
        };
        let follows = changed.iter().all(|(_, op)| simple(op));
        let found = |s: &Arc<str>| follows && known.contains_key(s) || inherited.iter().any(|(_, _, i)| i == s);
        let left = |s: &Arc<str>| !found(s);
        if unbound.keys().any(left)
            && let Some((s, &user)) = self.unbound_without(must).iter().find(|(s, _)| left(s))
        {
            return Err(Unbound { dim: s.clone(), user: self.order[user] });
        }
        if !follows {
            changed.clear();
        }
        for (id, op) in changed {
            self.node_mut(id).op = op;
        }
        for (value, axis, s) in inherited {
            self.value_mut(value).ty.shape[axis] = Dim::sym(s);
        }
        Ok(())
    }
}
