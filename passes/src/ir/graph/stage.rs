//! Cutting a graph where extents depend on values that are only known when it runs.

use super::{Def, Graph, GraphError, Node, NodeId, ValueId};
use crate::ir::{Control, Op};
use std::collections::{HashMap, HashSet};

/// A graph in two parts: what can be run at once, and what is left.
#[derive(Clone, Debug)]
pub struct Stages {
    /// All nodes whose extents are numbers, on the inputs of the graph. Its outputs have the names of values of the graph.
    pub first: Graph,
    /// The other nodes. Each input is an input of the graph or an output of `first`, by its name; the outputs are those of
    /// the graph.
    pub rest: Graph,
}

impl Graph {
    /// Cuts off the nodes whose extents and those of their operands are numbers, and of which no values decide what they
    /// compute; `None` if that is all of them.
    pub fn first_stage(&self) -> Result<Option<Stages>, GraphError> {
        let known = |v: ValueId| self.ty(v).known_shape().is_some();
        let mut first: HashSet<NodeId> = HashSet::new();
        for (id, node) in self.nodes() {
            let ready = |&v: &ValueId| match self.value(v).def {
                Def::Node(from, _) => first.contains(&from),
                Def::Input | Def::Const(_) => known(v),
            };
            let decided = matches!(node.op, Op::Control(_));
            if !decided && node.outputs.iter().all(|&v| known(v)) && node.inputs.iter().all(ready) {
                first.insert(id);
            }
        }
        if first.len() == self.len() {
            return Ok(None);
        }
        let is_first = |v: ValueId| matches!(self.value(v).def, Def::Node(id, _) if first.contains(&id));
        // Values that the rest reads, each once, in the order of the graph.
        let mut read: Vec<ValueId> = Vec::new();
        let later = self.nodes().filter(|(id, _)| !first.contains(id)).flat_map(|(_, n)| &n.inputs).copied();
        for v in later.chain(self.outputs().iter().map(|o| o.value)) {
            let given = matches!(self.value(v).def, Def::Input) || is_first(v);
            if given && !read.contains(&v) {
                read.push(v);
            }
        }
        let mut begin = Part::new(self);
        for &v in self.inputs() {
            begin.input(v)?;
        }
        let mut rest = Part::new(self);
        for &v in &read {
            rest.input(v)?;
        }
        for (id, _) in self.nodes() {
            if first.contains(&id) { begin.node(id)? } else { rest.node(id)? }
        }
        for &v in read.iter().filter(|&&v| is_first(v)) {
            let value = begin.value(v)?;
            begin.graph.add_output(self.name(v), value)?;
        }
        for o in self.outputs() {
            let value = rest.value(o.value)?;
            rest.graph.add_output(&o.name, value)?;
        }
        Ok(Some(Stages { first: begin.graph, rest: rest.graph }))
    }
}

impl Graph {
    /// The loops whose operands are inputs or constants, and the graph without them: their results are inputs behind the others.
    /// `None` if there are none.
    pub fn begun(&self) -> Result<Option<(Vec<NodeId>, Graph)>, GraphError> {
        let given = |&v: &ValueId| !matches!(self.value(v).def, Def::Node(..));
        let begins = |n: &Node| matches!(n.op, Op::Control(Control::Loop { .. })) && n.inputs.iter().all(given);
        let begun: Vec<NodeId> = self.nodes().filter(|(_, n)| begins(n)).map(|(id, _)| id).collect();
        if begun.is_empty() {
            return Ok(None);
        }
        let mut rest = Part::new(self);
        let results = begun.iter().flat_map(|&id| &self.node(id).outputs);
        for &v in self.inputs().iter().chain(results) {
            rest.input(v)?;
        }
        for (id, _) in self.nodes().filter(|(id, _)| !begun.contains(id)) {
            rest.node(id)?;
        }
        for o in self.outputs() {
            let value = rest.value(o.value)?;
            rest.graph.add_output(&o.name, value)?;
        }
        Ok(Some((begun, rest.graph)))
    }
}

/// A part of a graph as a graph.
struct Part<'a> {
    whole: &'a Graph,
    graph: Graph,
    values: HashMap<ValueId, ValueId>,
}

impl<'a> Part<'a> {
    fn new(whole: &'a Graph) -> Self {
        Self { whole, graph: Graph::new(whole.name.clone()), values: HashMap::new() }
    }

    fn input(&mut self, v: ValueId) -> Result<(), GraphError> {
        let made = self.graph.add_input(self.whole.name(v), self.whole.ty(v).clone())?;
        self.values.insert(v, made);
        Ok(())
    }

    fn value(&mut self, v: ValueId) -> Result<ValueId, GraphError> {
        if let Some(&made) = self.values.get(&v) {
            return Ok(made);
        }
        let name = self.whole.name(v);
        let constant = self.whole.constant(v).ok_or_else(|| GraphError::Order { value: name.into() })?;
        let made = self.graph.add_const(name, constant.clone());
        self.values.insert(v, made);
        Ok(made)
    }

    fn node(&mut self, id: NodeId) -> Result<(), GraphError> {
        let node = self.whole.node(id);
        let inputs = node.inputs.iter().map(|&v| self.value(v)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&str> = node.outputs.iter().map(|&v| self.whole.name(v)).collect();
        let types: Vec<_> = node.outputs.iter().map(|&v| self.whole.ty(v).clone()).collect();
        let made = self.graph.add_node(node.op.clone(), &inputs, &names, Some(&types))?;
        self.values.extend(node.outputs.iter().copied().zip(made));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::ir::parse;

    #[test]
    fn a_graph_is_cut_where_a_count_is_not_known() {
        let graph = parse(
            "graph @g {
               in  %x : f32[4]
               in  %y : f32[4]
               %a = relu(%x) : f32[4]
               %n = non_zero(%a) : i64[1, _0]
               %b = exp(%y) : f32[4]
               %t = transpose(%n) {perm = [1, 0]} : i64[_0, 1]
               %z = gather_nd(%b, %t) : f32[_0]
               out %z
               out %b
             }",
        )
        .expect("graph text");
        let cut = graph.first_stage().expect("it is sound").expect("not all extents are numbers");
        assert_eq!(cut.first.outputs().iter().map(|o| &*o.name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(cut.first.len(), 2);
        assert_eq!(cut.rest.len(), 3);
        assert_eq!(cut.rest.inputs().iter().map(|&v| cut.rest.name(v)).collect::<Vec<_>>(), ["a", "b"]);
        assert!(cut.first.first_stage().expect("it is sound").is_none());
    }
}
