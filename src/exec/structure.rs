//! Plans of one graph for any extents.
//!
//! A graph is rewritten once, with its dims named. For inputs at hand the dims get their numbers, which inference checks, and
//! nodes become steps. Only where shape arithmetic is left, whose numbers decide about nodes, or scores may be approximate,
//! are passes run again with the numbers.

use super::bind::bind_inputs;
use super::lower::Lowering;
use super::plan::Plan;
use super::ports::Tensors;
use super::rowwise::{self, Blocks, Region, Rowwise};
use super::states::States;
use super::step::{Appended, Lowered};
use super::view::View;
use super::{ExecError, PackedWeights, plan, threads};
use crate::tensor::Tensor;
use bgz_passes::ir::{Generate, Graph, Movement, Node, NodeId, Op, Type, ValueId};
use bgz_passes::pipeline::{Pipeline, Report};
use bgz_passes::scores::Approximation;
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes that a result of constants may have to be kept by a plan, and by how many it may be larger than they are: a plan
/// must not grow by broadcasts.
const MAX_BYTES: usize = 4 << 20;
const MAX_GROWTH: usize = 64 << 10;

/// A graph prepared for plans.
pub(crate) struct Structure {
    graph: Arc<Graph>,
    report: Report,
    /// True if every extent is a number.
    is_bound: bool,
    /// True if the numbers of its dims make no node superfluous.
    is_settled: bool,
    /// Of a settled graph.
    blocks: Blocks,
    block_states: Arc<States>,
    states: Arc<States>,
}

impl Structure {
    /// Of a graph with named dims, or with numbers.
    ///
    /// # Errors
    /// A pass failed.
    pub fn new(graph: &Graph) -> Result<Self, ExecError> {
        let mut graph = graph.clone();
        let report = Pipeline::bound(None).run(&mut graph)?;
        // Binding refuses what is no part of a plan.
        let decided = graph.nodes().any(|(_, n)| matches!(n.op, Op::Control(_)));
        let values = || graph.nodes().flat_map(|(_, n)| &n.outputs).chain(graph.inputs());
        let is_bound = !decided && values().all(|&v| is_bound(&graph, v));
        let is_settled = is_bound || graph.nodes().all(|(_, n)| !is_arithmetic(&graph, n));
        let (blocks, block_states, states) = Default::default();
        Ok(Self { graph: Arc::new(graph), report, is_bound, is_settled, blocks, block_states, states })
    }

    /// A plan for inputs of these types; see [`Plan::new`].
    pub fn plan(
        &self,
        inputs: &[Type],
        packed: &PackedWeights,
        approximation: Option<&Approximation>,
    ) -> Result<Plan, ExecError> {
        self.plan_appending(inputs, packed, approximation, &[])
    }

    /// The axis along which an output is an input with something appended, if it is that.
    pub fn appends(&self, input: usize, output: usize) -> Option<usize> {
        let graph = &self.graph;
        let (from, to) = (*graph.inputs().get(input)?, graph.outputs().get(output)?.value);
        let node = graph.node(graph.producer(to)?);
        match (&node.op, &node.inputs[..]) {
            (Op::Movement(Movement::Concat { axis }), [past, new]) if *past == from && *new != from => Some(*axis),
            _ => None,
        }
    }

    /// As [`Structure::plan`], with outputs that stay in the memory of the inputs that they are appended to.
    pub fn plan_appending(
        &self,
        inputs: &[Type],
        packed: &PackedWeights,
        approximation: Option<&Approximation>,
        appended: &[Appended],
    ) -> Result<Plan, ExecError> {
        threads::start()?;
        let bindings = bind_inputs(&self.graph, inputs)?;
        let again = !self.is_settled || approximation.is_some();
        let (graph, report) = match (self.is_bound, again) {
            (true, false) => (self.graph.clone(), self.report.clone()),
            (false, false) => (Arc::new(self.graph.bind(&bindings)?), self.report.clone()),
            (_, true) => {
                let mut graph = self.graph.bind(&bindings)?;
                let report = Pipeline::bound(approximation).run(&mut graph)?;
                (Arc::new(graph), report)
            }
        };
        // Passes have folded what there is, and may have made other nodes.
        let constant = if again || self.is_bound { HashSet::new() } else { constant_nodes(&graph) };
        let own = Blocks::default();
        let blocks = if again { &own } else { &self.blocks };
        let mut regions: Vec<(Region, Rowwise)> = Vec::new();
        for region in rowwise::regions(&graph, &constant) {
            let plan = |block: Graph| {
                let block = Arc::new(block);
                let lowering = Lowering::new(&block, &HashSet::new(), packed, None, &[])?;
                let (lowered, outputs) = lower(lowering, &block, Vec::new())?;
                Plan::of_steps((block.clone(), Report::default()), lowered, outputs, self.block_states.clone())
            };
            regions.extend(region.kernel(&graph, blocks, plan)?.map(|kernel| (region, kernel)));
        }
        if !regions.is_empty() {
            // Blocks are run by all threads, with memory from the start.
            self.block_states.fill(rayon::current_num_threads())?;
        }
        let by_rows = regions.iter().flat_map(|(r, _)| &r.nodes).copied().collect();
        let mut lowering = Lowering::new(&graph, &by_rows, packed, approximation, appended)?;
        fold(&mut lowering, &graph, &constant)?;
        let (lowered, outputs) = lower(lowering, &graph, regions)?;
        Plan::of_steps((graph.clone(), report), lowered, outputs, self.states.clone())
    }
}

/// Plans that are made once.
impl Plan {
    /// A plan of `graph` for inputs of these types, in the order of the graph's inputs. Scores that are approximate in
    /// `graph` are chosen again for these extents, if `approximation` is given, and tables are found there.
    ///
    /// # Errors
    /// An input that does not fit the graph; extents that do not work out;
    /// a node that no kernel can run; a table that is not there.
    pub fn new(
        graph: &Graph,
        inputs: &[Type],
        packed: &PackedWeights,
        approximation: Option<&Approximation>,
    ) -> Result<Self, ExecError> {
        Structure::new(graph)?.plan(inputs, packed, approximation)
    }

    /// A plan that runs every node by itself, as the graph has it: nothing is folded for these extents, no two nodes are
    /// one step.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn op_by_op(graph: &Graph, inputs: &[Type], packed: &PackedWeights) -> Result<Self, ExecError> {
        threads::start()?;
        let graph = Arc::new(graph.bind(&bind_inputs(graph, inputs)?)?);
        let (lowered, outputs) = lower(Lowering::new(&graph, &HashSet::new(), packed, None, &[])?, &graph, Vec::new())?;
        Plan::of_steps((graph.clone(), Report::default()), lowered, outputs, Arc::default())
    }
}

/// Lowers all nodes, some of them as regions, and says where the results of the graph are.
fn lower(
    mut lowering: Lowering,
    graph: &Graph,
    regions: Vec<(Region, Rowwise)>,
) -> Result<(Lowered, Vec<View>), ExecError> {
    let mut regions = regions.into_iter().peekable();
    for &id in graph.order() {
        if let Some((region, kernel)) = regions.next_if(|(r, _)| r.nodes.first() == Some(&id)) {
            lowering.by_rows(&region, kernel)?;
        }
        lowering.node(id)?;
    }
    let outputs = (0..graph.outputs().len()).map(|i| lowering.result(i)).collect::<Result<_, _>>()?;
    Ok((lowering.finish(), outputs))
}

/// True if all extents of a value are numbers.
fn is_bound(graph: &Graph, v: ValueId) -> bool {
    graph.ty(v).known_shape().is_some()
}

/// True for a node that a pass could take away once extents are numbers: it computes with them.
fn is_arithmetic(graph: &Graph, node: &Node) -> bool {
    let from_shapes = matches!(node.op, Op::Generate(Generate::Shape { .. } | Generate::Dims { .. }));
    from_shapes || !node.op.says_extents().is_empty() || node.outputs.iter().any(|&v| graph.value(v).ints.is_some())
}

/// The nodes that need nothing but constants, in a graph whose extents are numbers, and whose results are worth keeping.
fn constant_nodes(graph: &Graph) -> HashSet<NodeId> {
    let mut constant = HashSet::new();
    let bytes = |v: ValueId| graph.ty(v).known_len().unwrap_or(usize::MAX).saturating_mul(graph.ty(v).dtype.size());
    let sum = |values: &[ValueId]| values.iter().map(|&v| bytes(v)).fold(0, usize::saturating_add);
    for (id, node) in graph.nodes() {
        let is_constant = |&v: &ValueId| match graph.producer(v) {
            Some(from) => constant.contains(&from),
            None => graph.constant(v).is_some(),
        };
        let known = !node.inputs.is_empty() && node.inputs.iter().all(is_constant);
        if known && !matches!(node.op, Op::Opaque(_)) {
            let made = sum(&node.outputs);
            if made <= MAX_BYTES && made <= sum(&node.inputs).saturating_add(MAX_GROWTH) {
                constant.insert(id);
            }
        }
    }
    constant
}

/// Lowers the nodes that need nothing but constants, runs them, and makes constants of what others need.
fn fold(lowering: &mut Lowering, graph: &Arc<Graph>, constant: &HashSet<NodeId>) -> Result<(), ExecError> {
    graph.order().iter().filter(|id| constant.contains(id)).try_for_each(|&id| lowering.node(id))?;
    let needed = |v: ValueId| graph.is_output(v) || graph.users(v).iter().any(|u| !constant.contains(u));
    let (lowered, held) = lowering.take_steps(needed);
    if lowered.steps.is_empty() {
        return Ok(());
    }
    let plan = Plan::of_steps((graph.clone(), Report::default()), lowered, held.clone(), Arc::default())?;
    let mut outputs: Vec<Tensor> =
        held.iter().map(|v| plan::output("of constants", v.dtype, &v.shape)).collect::<Result<_, _>>()?;
    let mut ports = Tensors { inputs: &[], outputs: &mut outputs };
    if plan.is_shared() {
        plan.run_on(&mut ports, None)?
    } else {
        plan.run_alone(&mut ports)?
    }
    lowering.hold(held.into_iter().zip(outputs.into_iter().map(Bytes::from_owner)));
    Ok(())
}
