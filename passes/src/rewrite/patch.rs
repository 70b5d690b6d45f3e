//! Patches: new nodes and what they replace, checked before anything changes.

use crate::ir::{Constant, Def, Graph, GraphError, Known, NodeId, Op, Type, Unbound, ValueId};
use std::collections::HashSet;
use std::sync::Arc;
use thiserror::Error;

/// A value a patch refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ref {
    /// One the graph has.
    Value(ValueId),
    /// Result `.1` of new node `.0`.
    New(usize, usize),
    /// A new constant.
    Const(usize),
}

impl From<ValueId> for Ref {
    fn from(v: ValueId) -> Self {
        Ref::Value(v)
    }
}

/// Part of the name, op, operands, and types where inference does not know them.
type NewNode = (String, Op, Vec<Ref>, Option<Vec<Type>>);

/// A change to a graph: nodes to add, and values that are replaced by others.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    nodes: Vec<NewNode>,
    constants: Vec<(String, Constant)>,
    replaced: Vec<(ValueId, Ref)>,
    consumed: Vec<ValueId>,
}

/// Why a patch was refused; the graph is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatchError {
    /// An intermediate of the match has a user that would remain.
    #[error("intermediate %{value} is used elsewhere, by %{user}")]
    UsedElsewhere {
        /// The intermediate.
        value: String,
        /// The first result of that user.
        user: String,
    },
    /// An intermediate of the match is a result of the graph.
    #[error("intermediate %{value} is an output of the graph")]
    IsOutput {
        /// The intermediate.
        value: String,
    },
    /// Replacement and replaced differ in type.
    #[error("%{value} is {old}, its replacement {new}")]
    Type {
        /// The value to be replaced.
        value: String,
        /// Its type.
        old: String,
        /// The replacement's.
        new: String,
    },
    /// A new node would depend on a value computed from what it replaces.
    #[error("the replacement of %{value} would depend on itself")]
    Cycle {
        /// The value to be replaced.
        value: String,
    },
    /// An op names an invented dim in its attributes, and what gives that a number would go.
    #[error("the extent {dim}, which %{user} names, is that of what goes")]
    Extent {
        /// The dim.
        dim: String,
        /// The first result of the op.
        user: String,
    },
    /// A new node's operands do not fit its op.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The patch refers to something that does not exist.
    #[error("the patch refers to a value that is not there")]
    Dangling,
}

impl Patch {
    /// An empty patch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node with one result. `part` names the result, behind the name
    /// of what the patch replaces, unless the result is the replacement.
    pub fn add<R: Into<Ref>>(&mut self, part: &str, op: Op, inputs: impl IntoIterator<Item = R>) -> Ref {
        self.nodes.push((part.into(), op, inputs.into_iter().map(Into::into).collect(), None));
        Ref::New(self.nodes.len() - 1, 0)
    }

    /// As [`Patch::add`], of a node whose results have these types: their named dims are those that other nodes name.
    pub(crate) fn add_declared(&mut self, part: &str, op: Op, inputs: Vec<Ref>, types: Vec<Type>) -> Ref {
        self.nodes.push((part.into(), op, inputs, Some(types)));
        Ref::New(self.nodes.len() - 1, 0)
    }

    /// Adds a constant, named like a node.
    pub fn constant(&mut self, part: &str, constant: Constant) -> Ref {
        self.constants.push((part.into(), constant));
        Ref::Const(self.constants.len() - 1)
    }

    /// Lets `new` take the place (and the name) of `old` everywhere.
    pub fn replace(&mut self, old: ValueId, new: impl Into<Ref>) {
        self.replaced.push((old, new.into()));
    }

    /// States that these values disappear: the patch is refused if anything
    /// else still needs one of them.
    pub fn consume(&mut self, values: impl IntoIterator<Item = ValueId>) {
        self.consumed.extend(values);
    }

    /// The values that are replaced.
    pub fn replaced(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.replaced.iter().map(|r| r.0)
    }

    /// The values that are consumed.
    pub fn consumed(&self) -> &[ValueId] {
        &self.consumed
    }
}

impl Graph {
    /// Applies a patch or leaves the graph as it is.
    ///
    /// Checked: every value exists; operands fit the new ops; a replacement
    /// has the dtype and may have the shape of what it replaces; consumed
    /// intermediates have no other user and are no outputs; no cycle arises;
    /// invented dims that attributes name are still bound in front of them.
    /// Nodes that nothing uses any more are removed.
    pub fn apply(&mut self, patch: Patch) -> Result<(), PatchError> {
        self.check_consumed(&patch)?;
        let at = self.place(&patch)?;
        let fallback = patch.replaced.first().map(|r| self.value(r.0).name.clone()).unwrap_or_else(|| "new".into());
        let constants: Vec<ValueId> = patch
            .constants
            .iter()
            .map(|(part, c)| {
                let name = part_name(&fallback, part);
                self.add_const(&name, c.clone())
            })
            .collect();
        let mut nodes: Vec<NodeId> = Vec::new();
        let result = self.insert_new(&patch, at, &fallback, &constants, &mut nodes);
        let result = result.and_then(|()| {
            let mut pairs = Vec::new();
            for &(old, new) in &patch.replaced {
                let new = self.resolve(new, &nodes, &constants)?;
                let (a, b) = (self.ty(old), self.ty(new));
                if !crate::ir::compatible(a, b) {
                    return Err(PatchError::Type {
                        value: self.name(old).into(),
                        old: a.to_string(),
                        new: b.to_string(),
                    });
                }
                pairs.push((old, new));
            }
            let new = nodes.iter().flat_map(|&n| self.node(n).outputs.clone()).collect();
            let (gone, must) = (self.gone(&pairs, &patch.consumed, true), self.gone(&pairs, &patch.consumed, false));
            match self.hand_down_extents(&gone, &must, &pairs, &new, at + nodes.len()) {
                Ok(()) => Ok(pairs),
                Err(Unbound { dim, user }) => {
                    let user = self.node(user).outputs.first().map_or("", |&v| self.name(v)).into();
                    Err(PatchError::Extent { dim: dim.to_string(), user })
                }
            }
        });
        let pairs = match result {
            Ok(pairs) => pairs,
            Err(e) => {
                self.remove_dead_from(nodes);
                self.remove_unused_constants(&constants);
                return Err(e);
            }
        };
        let mut touched: Vec<NodeId> = patch.consumed.iter().filter_map(|&v| self.producer(v)).collect();
        let fresh: HashSet<ValueId> =
            nodes.iter().flat_map(|&n| self.node(n).outputs.clone()).chain(constants.iter().copied()).collect();
        for (old, new) in pairs {
            touched.extend(self.producer(old));
            self.replace_uses(old, new);
            if fresh.contains(&new) {
                self.swap_names(old, new);
                self.refine(new, old);
            }
        }
        touched.extend(nodes);
        self.remove_dead_from(touched);
        self.remove_unused_constants(&constants);
        let replaced: Vec<_> = patch.replaced().chain(patch.consumed.iter().copied()).collect();
        self.remove_unused_constants(&replaced);
        Ok(())
    }

    /// The nodes of which nothing is used once the first values of `pairs` are replaced by the second and `consumed` are
    /// gone; with what only those use, if `all`.
    fn gone(&self, pairs: &[(ValueId, ValueId)], consumed: &[ValueId], all: bool) -> HashSet<NodeId> {
        // Nobody else uses what is consumed: that was checked.
        let named: HashSet<ValueId> = pairs.iter().map(|p| p.0).chain(consumed.iter().copied()).collect();
        let stays: HashSet<ValueId> = pairs.iter().map(|p| p.1).collect();
        let mut gone: HashSet<NodeId> = HashSet::new();
        let mut work: Vec<ValueId> = named.iter().copied().collect();
        while let Some(v) = work.pop() {
            let Some(id) = self.producer(v).filter(|id| !gone.contains(id)) else { continue };
            let node = self.node(id);
            let goes = |&v: &ValueId| {
                named.contains(&v)
                    || !stays.contains(&v) && !self.is_output(v) && self.users(v).iter().all(|u| gone.contains(u))
            };
            if node.outputs.iter().all(goes) {
                gone.insert(id);
                if all {
                    work.extend(&node.inputs);
                }
            }
        }
        gone
    }

    fn check_consumed(&self, patch: &Patch) -> Result<(), PatchError> {
        let exists = |v: ValueId| self.try_value(v).map(|_| v).ok_or(PatchError::Dangling);
        let mut gone: HashSet<NodeId> = HashSet::new();
        for v in patch.replaced().chain(patch.consumed.iter().copied()) {
            gone.extend(self.producer(exists(v)?));
        }
        for &v in &patch.consumed {
            if !matches!(self.value(v).def, Def::Node(..)) || patch.replaced().any(|r| r == v) {
                continue;
            }
            if self.is_output(v) {
                return Err(PatchError::IsOutput { value: self.name(v).into() });
            }
            if let Some(&user) = self.users(v).iter().find(|u| !gone.contains(u)) {
                let user = self.node(user).outputs.first().map_or("", |&o| self.name(o));
                return Err(PatchError::UsedElsewhere { value: self.name(v).into(), user: user.into() });
            }
        }
        Ok(())
    }

    /// The place of every node in the order, by [`NodeId::index`].
    pub(crate) fn positions(&self) -> Vec<usize> {
        let last = self.order().iter().map(|n| n.index()).max();
        let mut positions = vec![usize::MAX; last.map_or(0, |n| n + 1)];
        for (i, n) in self.order().iter().enumerate() {
            positions[n.index()] = i;
        }
        positions
    }

    /// Where in the order new nodes go: behind their operands, before every user of what is replaced.
    fn place(&self, patch: &Patch) -> Result<usize, PatchError> {
        let positions = self.positions();
        let position = |v: ValueId| self.producer(v).map(|n| positions[n.index()]);
        let mut least = 0;
        for r in patch.nodes.iter().flat_map(|n| &n.2).chain(patch.replaced.iter().map(|(_, new)| new)) {
            if let Ref::Value(v) = *r {
                self.try_value(v).ok_or(PatchError::Dangling)?;
                least = least.max(position(v).map_or(0, |p| p + 1));
            }
        }
        let mut most = self.len();
        for old in patch.replaced() {
            for user in self.users(old) {
                most = most.min(positions[user.index()]);
            }
        }
        if least > most {
            let value = patch.replaced().next().map(|v| self.name(v).to_string()).unwrap_or_default();
            return Err(PatchError::Cycle { value });
        }
        let wish = patch.replaced().filter_map(position).max().map_or(most, |p| p + 1);
        Ok(wish.clamp(least, most))
    }

    fn insert_new(
        &mut self,
        patch: &Patch,
        at: usize,
        fallback: &Arc<str>,
        constants: &[ValueId],
        nodes: &mut Vec<NodeId>,
    ) -> Result<(), PatchError> {
        for (i, (part, op, inputs, declared)) in patch.nodes.iter().enumerate() {
            let inputs = inputs.iter().map(|&r| self.resolve(r, nodes, constants)).collect::<Result<Vec<_>, _>>()?;
            let name = part_name(fallback, part);
            let known: Vec<Known> = self.infer_for_patch(op, &inputs, &name, declared.as_deref())?;
            let outputs = known
                .into_iter()
                .enumerate()
                .map(|(j, k)| (if j == 0 { name.clone() } else { format!("{name}.{j}").into() }, k))
                .collect();
            nodes.push(self.insert_node(at + i, op.clone(), inputs, outputs));
        }
        Ok(())
    }

    fn resolve(&self, r: Ref, nodes: &[NodeId], constants: &[ValueId]) -> Result<ValueId, PatchError> {
        match r {
            Ref::Value(v) => self.try_value(v).map(|_| v),
            Ref::New(n, o) => nodes.get(n).and_then(|&n| self.node(n).outputs.get(o).copied()),
            Ref::Const(c) => constants.get(c).copied(),
        }
        .ok_or(PatchError::Dangling)
    }
}

/// `whole.part`, once: a part of `q.slice` or `q.slice_1` that is a slice is `q.slice` again.
fn part_name(whole: &Arc<str>, part: &str) -> Arc<str> {
    if part.is_empty() {
        return whole.clone();
    }
    let counted = whole.trim_end_matches(|c: char| c.is_ascii_digit());
    let bare = if counted.len() < whole.len() { counted.strip_suffix('_').unwrap_or(whole) } else { whole };
    let base = bare.strip_suffix(part).and_then(|b| b.strip_suffix('.')).unwrap_or(whole);
    format!("{base}.{part}").into()
}
