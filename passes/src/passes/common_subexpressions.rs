//! A value that is computed twice, or stored twice, is there once.

use crate::ir::{Constant, DType, Graph, NodeId, Op, ValueId};
use crate::rewrite::{Cx, Pass, PassError, Patch, forwards};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

const NAME: &str = "common-subexpressions";

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    Box::new(CommonSubexpressions)
}

struct CommonSubexpressions;

impl Pass for CommonSubexpressions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn run(&self, graph: &mut Graph, cx: &mut Cx) -> Result<usize, PassError> {
        Ok(merge_constants(graph, cx) + merge_nodes(graph, cx))
    }
}

/// The properties that two equal constants have in common, without reading them through.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    dtype: DType,
    shape: Vec<usize>,
    sample: Vec<u8>,
}

impl Likeness {
    fn of(c: &Constant) -> Self {
        Self { dtype: c.dtype(), shape: c.shape().to_vec(), sample: c.sample() }
    }
}

/// Two constants of one type and content `=>` the first
fn merge_constants(graph: &mut Graph, cx: &mut Cx) -> usize {
    let mut alike: HashMap<Likeness, Vec<ValueId>> = HashMap::new();
    let mut twins = Vec::new();
    for (v, c) in graph.constants() {
        let group = alike.entry(Likeness::of(c)).or_default();
        match group.iter().find(|&&first| graph.constant(first).is_some_and(|f| f.same(c))) {
            Some(&first) => twins.push((v, first)),
            None => group.push(v),
        }
    }
    twins.into_iter().filter(|&(v, first)| replace(graph, cx, &[v], &[first])).count()
}

/// `f(x), f(x) => f(x)`: the same op on the same operands, in either order where it commutes
fn merge_nodes(graph: &mut Graph, cx: &mut Cx) -> usize {
    let mut seen: HashMap<u64, Vec<NodeId>> = HashMap::new();
    forwards(graph, cx, |graph, cx, id| {
        let node = graph.node(id);
        // Nothing is known of an opaque op: it may draw random numbers.
        if matches!(node.op, Op::Opaque(_)) {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        node.op.hash(&mut hasher);
        operands(graph, id).hash(&mut hasher);
        let group = seen.entry(hasher.finish()).or_default();
        let first = group.iter().copied().find(|&first| {
            graph.try_node(first).is_some_and(|f| f.op == node.op && operands(graph, first) == operands(graph, id))
        });
        match first {
            Some(first) => {
                let (old, new) = (node.outputs.clone(), graph.node(first).outputs.clone());
                usize::from(replace(graph, cx, &old, &new))
            }
            None => {
                group.push(id);
                0
            }
        }
    })
}

/// The operands, sorted if their order does not matter.
fn operands(graph: &Graph, id: NodeId) -> Vec<ValueId> {
    let node = graph.node(id);
    let mut inputs = node.inputs.clone();
    if node.op.commutes() {
        inputs.sort();
    }
    inputs
}

fn replace(graph: &mut Graph, cx: &mut Cx, old: &[ValueId], new: &[ValueId]) -> bool {
    let mut patch = Patch::new();
    for (&o, &n) in old.iter().zip(new) {
        patch.replace(o, n);
    }
    cx.apply(graph, NAME, patch)
}
