//! Steps: the ground that lowering and plans stand on.

use super::arena::{Reads, Writes};
use super::packed::ConstantBytes;
use super::view::Slot;
use super::{ExecError, work};
use bgz_passes::ir::{Graph, Node, ValueId};

/// The computation of a step once its memory is resolved.
pub(crate) trait Kernel: Send + Sync {
    /// Computes the results; an error is about values (an index out of range), not about shapes.
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String>;

    /// True if it takes the number of rows from the slices that it is given: operands and results that are matrices of
    /// some rows may then be given with fewer.
    fn takes_fewer_rows(&self) -> bool {
        false
    }
}

/// One step: views resolved to spans of slots.
pub(crate) struct Step {
    pub of: StepOf,
    /// Name of the kernel, for profiles.
    pub kernel_name: &'static str,
    pub work: Work,
    pub reads: Vec<Span>,
    pub writes: Vec<Span>,
}

/// The part of the graph that a step does.
pub(crate) enum StepOf {
    /// Nodes, by the first result of each.
    Nodes(Vec<ValueId>),
    /// A part of the node that makes this.
    Part(ValueId),
    /// A copy of a value in row-major order.
    Copy(ValueId),
}

impl StepOf {
    pub fn value(&self) -> Option<ValueId> {
        match self {
            Self::Nodes(values) => values.last().copied(),
            Self::Part(v) | Self::Copy(v) => Some(*v),
        }
    }
}

/// Slot, first byte, bytes.
pub(crate) type Span = (Slot, usize, usize);

/// Who does a step.
pub(crate) enum Work {
    /// A kernel, here.
    Kernel(Box<dyn Kernel>),
    /// The op of this number, of those that whoever runs the plan does itself.
    Foreign(usize),
}

impl Work {
    /// The number of the foreign op.
    pub fn foreign(&self) -> Option<usize> {
        match self {
            Work::Kernel(_) => None,
            Work::Foreign(op) => Some(*op),
        }
    }
}

impl Step {
    /// The value that it makes.
    pub fn node<'a>(&self, graph: &'a Graph) -> &'a str {
        self.of.value().map_or("", |v| graph.name(v))
    }

    /// Mnemonics of the ops that it came from.
    pub fn op(&self, graph: &Graph) -> String {
        let mnemonic = |&v: &ValueId| graph.op(v).map(|op| op.mnemonic()).unwrap_or_default();
        match &self.of {
            StepOf::Nodes(values) => values.iter().map(mnemonic).collect::<Vec<_>>().join(" + "),
            StepOf::Part(v) => mnemonic(v),
            StepOf::Copy(_) => "copy".into(),
        }
    }

    pub fn info(&self, graph: &Graph) -> StepInfo {
        let (flops, bytes) = match &self.of {
            StepOf::Nodes(values) => {
                let nodes = || values.iter().filter_map(|&v| Some(graph.node(graph.producer(v)?)));
                let sum = |of: fn(&Graph, &Node) -> u64| nodes().map(|n| of(graph, n)).fold(0, u64::saturating_add);
                (sum(work::flops), sum(work::bytes))
            }
            _ => (0, self.reads.iter().chain(&self.writes).map(|&(.., bytes)| bytes as u64).sum()),
        };
        StepInfo { node: self.node(graph).into(), op: self.op(graph), kernel: self.kernel_name, flops, bytes }
    }

    pub fn fail(&self, graph: &Graph, reason: String) -> ExecError {
        ExecError::Node { node: self.node(graph).into(), op: self.op(graph), reason }
    }
}

/// A description of a step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInfo {
    /// Name of the value it makes.
    pub node: String,
    /// Mnemonic of the op it came from.
    pub op: String,
    /// The kernel that runs it; `foreign` is the op of a trace as Burn recorded it.
    pub kernel: &'static str,
    /// Operations on floats of products, convolutions and attention, a multiply-add counting twice; 0 of others.
    pub flops: u64,
    /// Bytes of its operands and results.
    pub bytes: u64,
}

/// An output that is an input of the graph with entries appended along an axis, and stays in the memory of that input,
/// which has room for so many entries: a [`Slot::Appended`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub input: usize,
    pub output: usize,
    pub axis: usize,
    pub room: usize,
}

/// Where a [`Slot::Foreign`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForeignResult {
    /// The number of the op.
    pub op: usize,
    /// Which of its results.
    pub result: usize,
}

/// A graph as steps.
pub(crate) struct Lowered {
    pub steps: Vec<Step>,
    /// Bytes of each buffer.
    pub buffers: Vec<usize>,
    pub constants: Vec<ConstantBytes>,
    pub foreign: Vec<ForeignResult>,
}
