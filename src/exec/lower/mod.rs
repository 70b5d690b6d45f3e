//! From nodes of a bound graph to steps. Ops that only rearrange become views;
//! the others become steps of a kernel.

mod attention;
mod convolution;
mod elementwise;
mod foreign;
mod generate;
mod index;
mod linear;
mod movement;
mod norm;
mod number;
mod pool;
mod recurrent;
mod reduce;
mod resize;

pub(crate) use foreign::FOREIGN;

use super::arena::{Reads, Writes};
use super::packed::ConstantBytes;
use super::rowwise::{Region, Rowwise};
use super::step::{Appended, ForeignResult, Kernel, Lowered, Span, Step, StepOf, Work};
use super::view::{Extents, Slot, View};
use super::{ExecError, PackedWeights};
use crate::kernels::Lanes;
use bgz_passes::ir::{Constant, DType, Def, Dim, Graph, IntArg, Node, NodeId, Op, ValueId};
use bgz_passes::scores::{Approximation, ScoreSource};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;

/// The parts of a plan, built up while nodes are lowered in order.
pub(crate) struct Lowering<'a> {
    graph: &'a Graph,
    packed: &'a PackedWeights,
    /// By the index of the value.
    views: Vec<Option<View>>,
    steps: Vec<Step>,
    buffers: Vec<usize>,
    constants: Vec<ConstantBytes>,
    constant_slots: HashMap<(ValueId, bool), usize>,
    /// Nodes that have their steps.
    done: HashSet<NodeId>,
    /// Products that are one step, by the first of them.
    together: HashMap<NodeId, Vec<NodeId>>,
    foreign: Vec<ForeignResult>,
    /// Outputs that stay in the memory of inputs.
    appended: &'a [Appended],
    scores: Option<&'a dyn ScoreSource>,
}

/// The entries of a state that is appended to.
fn with_room(state: usize, of: &Appended, dtype: DType, shape: &[usize]) -> Result<View, ExecError> {
    let mut all: Extents = shape.into();
    let filled = all.get(of.axis).copied().filter(|&n| n <= of.room);
    if filled.is_none() || all.iter().try_fold(of.room.max(1), |n, &d| n.checked_mul(d)).is_none() {
        return Err(ExecError::Internal("a state with more entries than room".into()));
    }
    all[of.axis] = of.room;
    Ok(View { shape: shape.into(), ..View::whole(Slot::Appended(state), dtype, &all) })
}

/// A kernel that is a function of the memory of its step.
struct Run<F>(F);

impl<E: Display, F: Fn(&Reads, &mut Writes) -> Result<(), E> + Send + Sync> Kernel for Run<F> {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        (self.0)(reads, writes).map_err(|e| e.to_string())
    }
}

impl<'a> Lowering<'a> {
    /// For a graph some of whose nodes are run by blocks of rows.
    pub fn new(
        graph: &'a Graph,
        by_rows: &HashSet<NodeId>,
        packed: &'a PackedWeights,
        approximation: Option<&'a Approximation>,
        appended: &'a [Appended],
    ) -> Result<Self, ExecError> {
        let mut lowering = Self {
            graph,
            packed,
            views: vec![None; graph.value_bound()],
            steps: Vec::new(),
            buffers: Vec::new(),
            constants: Vec::new(),
            constant_slots: HashMap::new(),
            done: HashSet::new(),
            together: linear::together(graph, by_rows),
            foreign: Vec::new(),
            appended,
            scores: approximation.map(|a| &*a.source),
        };
        for (i, &v) in graph.inputs().iter().enumerate() {
            let (dtype, shape) = (graph.ty(v).dtype, lowering.shape(v)?);
            let view = match appended.iter().position(|a| a.input == i) {
                Some(state) => with_room(state, &appended[state], dtype, &shape)?,
                None => View::whole(Slot::Input(i), dtype, &shape),
            };
            lowering.alias(v, view);
        }
        Ok(lowering)
    }

    pub fn finish(self) -> Lowered {
        Lowered { steps: self.steps, buffers: self.buffers, constants: self.constants, foreign: self.foreign }
    }

    /// Where a result of the graph lies: in row-major order, unless it stays in a state.
    pub fn result(&mut self, output: usize) -> Result<View, ExecError> {
        let value = self.graph.outputs()[output].value;
        if self.appended.iter().any(|a| a.output == output) { self.view(value) } else { self.contiguous(value) }
    }

    /// The steps so far, which need nothing but constants, and the buffers that hold the values which `needed` is true of.
    pub fn take_steps(&mut self, needed: impl Fn(ValueId) -> bool) -> (Lowered, Vec<View>) {
        let graph = self.graph;
        for v in graph.nodes().flat_map(|(_, n)| &n.outputs).copied().filter(|&v| !needed(v)) {
            self.views[v.index()] = None;
        }
        let buffers = std::mem::take(&mut self.buffers);
        let held = |b: usize| self.views.iter().flatten().any(|v| v.slot == Slot::Buffer(b));
        let bytes = |b: usize| View::whole(Slot::Buffer(b), DType::U8, &[buffers[b]]);
        let outputs = (0..buffers.len()).filter(|&b| held(b)).map(bytes).collect();
        let (steps, constants) = (std::mem::take(&mut self.steps), self.constants.clone());
        (Lowered { steps, buffers, constants, foreign: Vec::new() }, outputs)
    }

    /// Makes the buffers of these views, taken before, constants of these bytes.
    pub fn hold(&mut self, held: impl Iterator<Item = (View, ConstantBytes)>) {
        for (of, bytes) in held {
            self.constants.push(bytes);
            let slot = Slot::Const(self.constants.len() - 1);
            self.views.iter_mut().flatten().filter(|v| v.slot == of.slot).for_each(|v| v.slot = slot);
        }
    }

    /// Lowers one node, if it was not done with others; its operands have been lowered before.
    pub fn node(&mut self, id: NodeId) -> Result<(), ExecError> {
        if !self.done.insert(id) {
            return Ok(());
        }
        let graph = self.graph;
        let node = graph.node(id);
        match &node.op {
            Op::Unary(_) | Op::Binary(_) | Op::Where(_) | Op::Cast(_) | Op::Fused(_) => self.elementwise(node),
            Op::Product(op) => self.product(id, node, op),
            Op::Attention(op) => self.attention(node, op),
            Op::Conv(op) => self.convolution(node, op),
            Op::Pool(op) => self.pool(node, op),
            Op::Resize(op) => self.resize(node, op),
            Op::Norm(op) => self.norm(node, op),
            Op::Reduce(op) => self.reduce(node, op),
            Op::Movement(op) => self.movement(node, op),
            Op::Index(op) => self.index(node, op),
            Op::Generate(op) => self.generate(node, op),
            Op::Recurrent(op) => self.recurrent(node, op),
            Op::Control(_) => Err(self.fail(node, "it is no part of a plan")),
            Op::Opaque(op) => self.foreign(node, op),
        }
    }

    /// Adds the step of nodes that are run by blocks of rows, before all of which others come.
    pub fn by_rows(&mut self, region: &Region, kernel: Rowwise) -> Result<(), ExecError> {
        region.before.iter().try_for_each(|&id| self.node(id))?;
        let reads = region.operands().map(|v| self.contiguous(v)).collect::<Result<Vec<_>, _>>()?;
        let writes = region.outputs.iter().map(|&v| self.output(v)).collect::<Result<Vec<_>, _>>()?;
        let nodes: Vec<&Node> = region.nodes.iter().map(|&id| self.graph.node(id)).collect();
        self.done.extend(&region.nodes);
        self.step_of(
            &nodes,
            "rows",
            Box::new(kernel),
            &reads.iter().collect::<Vec<_>>(),
            &writes.iter().collect::<Vec<_>>(),
        );
        Ok(())
    }

    // ---- what is known of values ----

    fn shape(&self, v: ValueId) -> Result<Extents, ExecError> {
        let ty = self.graph.ty(v);
        ty.shape
            .iter()
            .map(Dim::as_usize)
            .collect::<Option<_>>()
            .ok_or_else(|| ExecError::Internal(format!("%{} of {ty} is not bound", self.graph.name(v))))
    }

    fn dtype(&self, v: ValueId) -> DType {
        self.graph.ty(v).dtype
    }

    fn constant(&self, v: ValueId) -> Option<&'a Constant> {
        let graph = self.graph;
        match &graph.value(v).def {
            Def::Const(c) => Some(c),
            _ => None,
        }
    }

    /// Where a value lies, aligned to its element size.
    fn view(&mut self, v: ValueId) -> Result<View, ExecError> {
        match &self.views[v.index()] {
            Some(view) => Ok(view.clone()),
            None => self.constant_view(v, true),
        }
    }

    /// Where the bytes of a value lie; a mapped constant may lie anywhere.
    fn bytes_view(&mut self, v: ValueId) -> Result<View, ExecError> {
        match &self.views[v.index()] {
            Some(view) => Ok(view.clone()),
            None => self.constant_view(v, false),
        }
    }

    fn constant_view(&mut self, v: ValueId, aligned: bool) -> Result<View, ExecError> {
        let absent = |reason| ExecError::AbsentConstant { name: self.graph.name(v).into(), reason };
        let constant = self
            .constant(v)
            .ok_or_else(|| ExecError::Internal(format!("%{} is used before it is lowered", self.graph.name(v))))?;
        let slot = match self.constant_slots.get(&(v, aligned)) {
            Some(&i) => i,
            None => {
                let aligned = aligned || constant.dtype().is_packed() || constant.blocks().is_some();
                let bytes = if aligned { self.packed.aligned(constant) } else { constant.bytes() }.map_err(absent)?;
                self.constants.push(bytes);
                self.constant_slots.insert((v, aligned), self.constants.len() - 1);
                self.constants.len() - 1
            }
        };
        Ok(View::whole(Slot::Const(slot), constant.dtype(), constant.shape()))
    }

    /// As [`contiguous`](Self::contiguous), at any address.
    fn contiguous_bytes(&mut self, v: ValueId) -> Result<View, ExecError> {
        let view = self.bytes_view(v)?;
        if view.is_contiguous() { Ok(view) } else { self.contiguous(v) }
    }

    /// A constant that the graph does not have.
    fn own_constant(&mut self, constant: &Constant) -> Result<View, ExecError> {
        let absent = |reason| ExecError::AbsentConstant { name: constant.ty().to_string(), reason };
        self.constants.push(self.packed.aligned(constant).map_err(absent)?);
        Ok(View::whole(Slot::Const(self.constants.len() - 1), constant.dtype(), constant.shape()))
    }

    /// Where a value lies in row-major order; copied there if need be.
    pub fn contiguous(&mut self, v: ValueId) -> Result<View, ExecError> {
        let view = self.view(v)?;
        if view.is_contiguous() {
            return Ok(view);
        }
        let copy = self.copied(v, &view)?;
        // Later users read the copy, too.
        self.alias(v, copy.clone());
        Ok(copy)
    }

    /// A row-major copy of a view, made for a value.
    fn copied(&mut self, of: ValueId, view: &View) -> Result<View, ExecError> {
        let out = self.buffer(view.dtype, &view.shape)?;
        let kernel = movement::Copy::new(view)?;
        self.step(StepOf::Copy(of), "copy", Box::new(kernel), &[view], &[&out]);
        Ok(out)
    }

    // ---- what is added ----

    /// A new buffer for a row-major tensor.
    fn buffer(&mut self, dtype: DType, shape: &[usize]) -> Result<View, ExecError> {
        let bytes = shape
            .iter()
            .try_fold(dtype.size(), |n, &d| n.checked_mul(d))
            .filter(|&n| n < isize::MAX as usize)
            .ok_or(ExecError::TooLarge)?;
        self.buffers.push(bytes);
        Ok(View::whole(Slot::Buffer(self.buffers.len() - 1), dtype, shape))
    }

    /// A new buffer for a result of a node, which it is from now on.
    fn output(&mut self, v: ValueId) -> Result<View, ExecError> {
        let view = self.buffer(self.dtype(v), &self.shape(v)?)?;
        self.alias(v, view.clone());
        Ok(view)
    }

    fn alias(&mut self, v: ValueId, view: View) {
        self.views[v.index()] = Some(view);
    }

    fn step(
        &mut self,
        of: StepOf,
        kernel_name: &'static str,
        kernel: Box<dyn Kernel>,
        reads: &[&View],
        writes: &[&View],
    ) {
        let reads: Vec<Span> = reads.iter().map(|v| v.bytes()).collect();
        let writes: Vec<Span> = writes.iter().map(|v| v.bytes()).collect();
        self.steps.push(Step { of, kernel_name, work: Work::Kernel(kernel), reads, writes });
    }

    /// Adds the step that does some nodes, named after the last of them.
    fn step_of(
        &mut self,
        nodes: &[&Node],
        kernel_name: &'static str,
        kernel: Box<dyn Kernel>,
        reads: &[&View],
        writes: &[&View],
    ) {
        let of = StepOf::Nodes(nodes.iter().filter_map(|n| n.outputs.first().copied()).collect());
        self.step(of, kernel_name, kernel, reads, writes);
    }

    /// Adds the step of a node whose results are row-major, as a function of its memory.
    fn run<E: Display>(
        &mut self,
        node: &Node,
        kernel: &'static str,
        reads: &[View],
        run: impl Fn(&Reads, &mut Writes) -> Result<(), E> + Send + Sync + 'static,
    ) -> Result<(), ExecError> {
        let writes = node.outputs.iter().map(|&v| self.output(v)).collect::<Result<Vec<_>, _>>()?;
        let reads: Vec<&View> = reads.iter().collect();
        self.step_of(&[node], kernel, Box::new(Run(run)), &reads, &writes.iter().collect::<Vec<_>>());
        Ok(())
    }

    /// A step of a node's that makes a row-major tensor which is no result of it.
    fn run_between<E: Display>(
        &mut self,
        node: &Node,
        kernel: &'static str,
        read: &View,
        (dtype, shape): (DType, &[usize]),
        run: impl Fn(&Reads, &mut Writes) -> Result<(), E> + Send + Sync + 'static,
    ) -> Result<View, ExecError> {
        let out = self.buffer(dtype, shape)?;
        self.step(StepOf::Part(node.outputs[0]), kernel, Box::new(Run(run)), &[read], &[&out]);
        Ok(out)
    }

    /// The integers of an argument: its own, or those of operand `at`, which must be known.
    fn ints(&self, node: &Node, arg: &IntArg, at: usize) -> Result<Vec<i64>, ExecError> {
        let dims = match arg {
            IntArg::Known(dims) => Some(&dims[..]),
            IntArg::Operand => node.inputs.get(at).and_then(|&v| self.graph.value(v).ints.as_deref()),
        };
        let ints = dims.and_then(|d| d.iter().map(Dim::as_int).collect());
        ints.ok_or_else(|| self.fail(node, "an operand that says where is only known when the model runs"))
    }

    /// The lanes of a tensor along an axis.
    fn lanes(&self, node: &Node, shape: &[usize], axis: usize) -> Result<Lanes, ExecError> {
        Lanes::new(shape, axis).map_err(|e| self.fail(node, e.to_string()))
    }

    fn fail(&self, node: &Node, reason: impl Into<String>) -> ExecError {
        ExecError::Node {
            node: node.outputs.first().map_or("", |&v| self.graph.name(v)).into(),
            op: node.op.mnemonic(),
            reason: reason.into(),
        }
    }

    /// True if every operand and result of a node is `f32`.
    fn all_f32(&self, node: &Node) -> bool {
        node.inputs.iter().chain(&node.outputs).all(|&v| self.dtype(v) == DType::F32)
    }
}
