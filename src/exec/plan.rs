//! Making a plan and running it.

use super::arena::{Arena, Home, Layout, Lifetime, Memory, Pointers, Reads, Writes};
use super::awake::awake;
use super::lower::{ForeignResult, Lowered, Lowering};
use super::packed::ConstantBytes;
use super::ports::{Ports, Tensors};
use super::rowwise::{self, Region};
use super::view::{Slot, View};
use super::{ExecError, PackedWeights, threads};
use crate::tensor::Tensor;
use bgz_passes::ir::{Bindings, DType, Graph, Type};
use bgz_passes::pipeline::{Pipeline, Report};
use bgz_passes::scores::Approximation;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a step does once its memory is resolved.
pub(crate) trait Kernel: Send + Sync {
    /// Computes the results; an error is about values (an index out of range), not about shapes.
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String>;
}

/// One step: views resolved to spans of slots.
pub(crate) struct Step {
    pub node: String,
    pub op: String,
    /// Name of the kernel, for profiles.
    pub kernel_name: &'static str,
    pub work: Work,
    /// [`StepInfo::flops`].
    pub flops: u64,
    /// [`StepInfo::bytes`].
    pub bytes: u64,
    pub reads: Vec<Span>,
    pub writes: Vec<Span>,
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

/// What a step of a plan is.
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

/// A graph made ready to run on inputs of given shapes.
pub struct Plan {
    graph: Graph,
    report: Report,
    inputs: Vec<(String, DType, Vec<usize>)>,
    outputs: Vec<(String, View)>,
    steps: Vec<Step>,
    constants: Vec<ConstantBytes>,
    foreign: Vec<ForeignResult>,
    layout: Layout,
    /// Whether there is enough to do for more than one thread.
    shared: bool,
    states: Arc<States>,
}

/// Bytes that the steps of a plan read and write, from which on other threads are kept awake while it runs. Below, it is
/// done before one has woken up.
const SHARED_BYTES: usize = 128 << 10;

/// The memory of one run, kept for the next.
struct State {
    arena: Arena,
    pointers: Pointers,
}

/// The memory of runs of a plan, or of several of which a thread runs one at a time: then it is as much as the greatest
/// needs, and still in the cache for the next.
#[derive(Default)]
pub(super) struct States {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    free: Vec<State>,
    /// What a state has to have: bytes of the arena, and operands of a step.
    bytes: usize,
    operands: usize,
    /// The value that takes most of the arena, and how much.
    largest: (String, usize),
}

impl States {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // What is kept is changed in whole, so a panic elsewhere leaves it sound.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a plan needs that is run with these, and which value takes most of it.
    fn need(&self, bytes: usize, operands: usize, largest: (String, usize)) {
        let mut kept = self.lock();
        kept.bytes = kept.bytes.max(bytes);
        kept.operands = kept.operands.max(operands);
        if largest.1 > kept.largest.1 {
            kept.largest = largest;
        }
    }

    /// Makes some for runs to come.
    fn fill(&self, count: usize) -> Result<(), ExecError> {
        let made = (0..count).map(|_| self.make()).collect::<Result<Vec<_>, _>>()?;
        self.lock().free = made;
        Ok(())
    }

    fn make(&self) -> Result<State, ExecError> {
        let Kept { bytes, operands, .. } = *self.lock();
        let mut pointers = Pointers::default();
        pointers.reserve(operands);
        let arena = Arena::new(bytes).ok_or_else(|| {
            let (name, most) = self.lock().largest.clone();
            ExecError::Memory { what: format!("intermediate values, of which %{name} takes {most} bytes"), bytes }
        })?;
        Ok(State { arena, pointers })
    }

    /// Runs `run` with one whose arena has so many bytes.
    fn with<R>(&self, bytes: usize, run: impl FnOnce(&mut State) -> R) -> Result<R, ExecError> {
        let kept = self.lock().free.pop();
        let mut state = kept.filter(|s| s.arena.len() >= bytes).map_or_else(|| self.make(), Ok)?;
        let result = run(&mut state);
        self.lock().free.push(state);
        Ok(result)
    }
}

impl Plan {
    /// A plan of `graph` for inputs of these types, in the order of the graph's inputs. Scores that are approximate in `graph` are chosen again for these
    /// extents, if `approximation` is given, and tables are found there.
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
        threads::start()?;
        let bindings = bind_inputs(graph, inputs)?;
        let mut bound = graph.bind(&bindings)?;
        let report = Pipeline::bound(approximation).run(&mut bound)?;
        let regions = rowwise::regions(&bound);
        // Blocks are run by all threads, with memory from the start.
        let blocks = Arc::new(States::default());
        let plan = Self::of_bound((bound, report), (&regions, &blocks), packed, approximation, Arc::default())?;
        if !regions.is_empty() {
            blocks.fill(rayon::current_num_threads())?;
        }
        Ok(plan)
    }

    /// A plan that runs every node by itself, as the graph has it: nothing is folded for these extents, no two nodes are one step.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn op_by_op(graph: &Graph, inputs: &[Type], packed: &PackedWeights) -> Result<Self, ExecError> {
        threads::start()?;
        let bound = graph.bind(&bind_inputs(graph, inputs)?)?;
        let parts = (bound, Report::default());
        Self::of_bound(parts, (&[], &Arc::default()), packed, None, Arc::default())
    }

    /// A plan of a bound graph, some of whose nodes are run by blocks of rows, with the memory for these.
    fn of_bound(
        (bound, report): (Graph, Report),
        (regions, blocks): (&[Region], &Arc<States>),
        packed: &PackedWeights,
        approximation: Option<&Approximation>,
        states: Arc<States>,
    ) -> Result<Self, ExecError> {
        let mut lowering = Lowering::new(&bound, regions, packed, approximation)?;
        let mut regions = regions.iter().peekable();
        for (id, _) in bound.nodes() {
            if let Some(region) = regions.next_if(|r| r.nodes.first() == Some(&id)) {
                let plan = |graph: Graph| {
                    let parts = (graph, Report::default());
                    Self::of_bound(parts, (&[], blocks), packed, None, blocks.clone())
                };
                lowering.by_rows(region, region.kernel(&bound, plan)?)?;
            }
            lowering.node(id)?;
        }
        let outputs: Vec<(String, View)> = bound
            .outputs()
            .iter()
            .map(|o| Ok((o.name.to_string(), lowering.contiguous(o.value)?)))
            .collect::<Result<_, ExecError>>()?;
        let Lowered { steps, buffers, constants, foreign } = lowering.finish();
        let layout = Layout::new(&lifetimes(&steps, &buffers, &outputs)?, &homes(&buffers, &outputs))?;
        let inputs = bound
            .inputs()
            .iter()
            .map(|&v| {
                let ty = bound.ty(v);
                let shape = ty.known_shape().ok_or_else(|| ExecError::Internal("an input is not bound".into()))?;
                Ok((bound.name(v).to_string(), ty.dtype, shape))
            })
            .collect::<Result<_, ExecError>>()?;
        let spans = steps.iter().flat_map(|s| s.reads.iter().chain(&s.writes));
        let shared = spans.fold(0usize, |sum, &(.., bytes)| sum.saturating_add(bytes)) >= SHARED_BYTES;
        let operands = steps.iter().map(|s| s.reads.len().max(s.writes.len())).max().unwrap_or(0);
        states.need(layout.bytes, operands, largest(&steps, &layout));
        Ok(Self { graph: bound, report, inputs, outputs, steps, constants, foreign, layout, shared, states })
    }

    /// Runs on this thread alone.
    pub(crate) fn run_block(&self, ports: &mut dyn Ports) -> Result<(), ExecError> {
        self.states.with(self.layout.bytes, |state| self.run_steps(ports, state, None))?
    }

    /// What was done to the graph once its extents were numbers: how scores are computed, and why.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The graph with every extent a number, as it is run.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The steps, in order.
    pub fn steps(&self) -> impl Iterator<Item = StepInfo> + '_ {
        self.steps.iter().map(|s| StepInfo {
            node: s.node.clone(),
            op: s.op.clone(),
            kernel: s.kernel_name,
            flops: s.flops,
            bytes: s.bytes,
        })
    }

    /// Bytes of the arena that one run works in.
    pub fn arena_bytes(&self) -> usize {
        self.layout.bytes
    }

    /// Whether it was made for inputs of these dtypes and shapes.
    pub fn fits(&self, inputs: &[Tensor]) -> bool {
        self.inputs.len() == inputs.len()
            && self.inputs.iter().zip(inputs).all(|((_, d, s), t)| *d == t.dtype() && s == t.shape())
    }

    /// Tensors for the results, for [`Plan::run_into`].
    pub fn make_outputs(&self) -> Result<Vec<Tensor>, ExecError> {
        self.outputs.iter().map(|(name, v)| output(name, v.dtype, &v.shape)).collect()
    }

    /// Runs on inputs in the graph's order.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecError> {
        let mut outputs = self.make_outputs()?;
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// Runs into tensors made by [`Plan::make_outputs`]. From the second run
    /// on nothing is allocated.
    pub fn run_into(&self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<(), ExecError> {
        self.check(inputs, outputs)?;
        self.run_on(&mut Tensors { inputs, outputs }, None)
    }

    /// As [`Plan::run_into`], adding the time of each step to `times`, one entry a step.
    pub fn run_profiled(
        &self,
        inputs: &[Tensor],
        outputs: &mut [Tensor],
        times: &mut Vec<Duration>,
    ) -> Result<(), ExecError> {
        self.check(inputs, outputs)?;
        times.resize(self.steps.len(), Duration::ZERO);
        self.run_on(&mut Tensors { inputs, outputs }, Some(times))
    }

    /// Runs on whatever memory `ports` has for inputs and outputs.
    pub(crate) fn run_on(&self, ports: &mut dyn Ports, times: Option<&mut Vec<Duration>>) -> Result<(), ExecError> {
        self.states.with(self.layout.bytes, |state| {
            // From inside the pool, parallel steps start without a hand-over between threads.
            let steps = || self.run_steps(ports, state, times);
            if rayon::current_thread_index().is_some() {
                if self.shared { awake(steps) } else { steps() }
            } else {
                rayon::scope(|_| if self.shared { awake(steps) } else { steps() })
            }
        })?
    }

    fn run_steps(
        &self,
        ports: &mut dyn Ports,
        state: &mut State,
        mut times: Option<&mut Vec<Duration>>,
    ) -> Result<(), ExecError> {
        let State { arena, pointers } = state;
        let mut memory = Memory { ports, constants: &self.constants, arena, layout: &self.layout };
        for (i, step) in self.steps.iter().enumerate() {
            let start = times.is_some().then(Instant::now);
            let done = match &step.work {
                Work::Kernel(kernel) => {
                    // SAFETY: `Layout::new` checked that buffers alive in one step do
                    // not overlap, and `lifetimes` that all reads and writes of a step
                    // are within their buffers' lives and writes are to distinct ones.
                    unsafe { memory.step(&step.reads, &step.writes, pointers, |r, w| kernel.run(r, w)) }?
                }
                Work::Foreign(op) => memory.foreign(*op, &step.reads, pointers)?,
            };
            done.map_err(|reason| ExecError::Node { node: step.node.clone(), op: step.op.clone(), reason })?;
            if let (Some(times), Some(start)) = (times.as_mut(), start) {
                times[i] += start.elapsed();
            }
        }
        for (i, (_, view)) in self.outputs.iter().enumerate() {
            let direct = matches!(view.slot, Slot::Buffer(b) if self.layout.homes[b] == Home::Output(i));
            if !direct {
                // Row-major, so that its span is all of it.
                memory.copy_out(i, view.bytes(), pointers)?;
            }
        }
        Ok(())
    }

    /// dtype and extents of every output, and where it comes from.
    pub(crate) fn output_views(&self) -> impl Iterator<Item = &View> {
        self.outputs.iter().map(|(_, view)| view)
    }

    /// Where the results of foreign ops come from, by slot.
    pub(crate) fn foreign_results(&self) -> &[ForeignResult] {
        &self.foreign
    }

    /// Every step, with the spans it reads.
    pub(crate) fn all_steps(&self) -> &[Step] {
        &self.steps
    }

    /// That the tensors are those the plan was made for.
    fn check(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Result<(), ExecError> {
        self.check_inputs(inputs)?;
        if outputs.len() != self.outputs.len() {
            return Err(ExecError::Internal(format!("{} output tensors for {}", outputs.len(), self.outputs.len())));
        }
        for ((_, view), out) in self.outputs.iter().zip(outputs) {
            if out.dtype() != view.dtype || out.shape() != view.shape {
                return Err(ExecError::Internal(format!("an output tensor is {}", out.ty())));
            }
        }
        Ok(())
    }

    fn check_inputs(&self, inputs: &[Tensor]) -> Result<(), ExecError> {
        if self.fits(inputs) {
            return Ok(());
        }
        let given: Vec<_> = inputs.iter().map(Tensor::ty).collect();
        bind_inputs(&self.graph, &given).map(|_| ())
    }
}

/// The numbers that the named dims of the graph's inputs stand for.
pub(crate) fn bind_inputs(graph: &Graph, given: &[Type]) -> Result<Bindings, ExecError> {
    let names = || graph.inputs().iter().map(|&v| graph.name(v)).collect::<Vec<_>>().join(", ");
    if graph.inputs().len() != given.len() {
        return Err(ExecError::InputCount { expected: graph.inputs().len(), given: given.len(), names: names() });
    }
    let mut bindings = Bindings::new();
    // Plain names first, so that an extent like 2*seq is checked against them.
    for plain in [true, false] {
        for (&v, given) in graph.inputs().iter().zip(given) {
            let expected = graph.ty(v);
            let fail = |reason: String| ExecError::InputType {
                name: graph.name(v).into(),
                given: given.to_string(),
                expected: expected.to_string(),
                reason,
            };
            if given.dtype != expected.dtype || given.rank() != expected.rank() {
                return Err(fail(String::new()));
            }
            for (want, have) in expected.shape.iter().zip(&given.shape) {
                let have = have.as_int().ok_or_else(|| fail(String::new()))?;
                match want.as_sym() {
                    Some(name) if plain => {
                        let bound = *bindings.entry(name.clone()).or_insert(have);
                        if bound != have {
                            return Err(fail(format!(": {name} is {bound} elsewhere")));
                        }
                    }
                    None if !plain && !want.bind(&bindings).is(have) => return Err(fail(String::new())),
                    _ => {}
                }
            }
        }
    }
    Ok(bindings)
}

/// The value whose buffer takes most of the arena, and how much.
fn largest(steps: &[Step], layout: &Layout) -> (String, usize) {
    let own = |slot: Slot| match slot {
        Slot::Buffer(b) if layout.homes[b] == Home::Arena => layout.sizes[b],
        _ => 0,
    };
    let writes = steps.iter().flat_map(|s| s.writes.iter().map(|w| (&s.node, own(w.0))));
    writes.max_by_key(|w| w.1).map_or((String::new(), 0), |(node, bytes)| (node.clone(), bytes))
}

/// A tensor for a result.
pub(crate) fn output(name: &str, dtype: DType, shape: &[usize]) -> Result<Tensor, ExecError> {
    let bytes = || shape.iter().fold(dtype.size(), |n, &d| n.saturating_mul(d));
    Tensor::zeros(dtype, shape).ok_or_else(|| ExecError::Memory { what: format!("output {name:?}"), bytes: bytes() })
}

/// Where buffers live: one that is an output as a whole is written where the output is wanted.
fn homes(buffers: &[usize], outputs: &[(String, View)]) -> Vec<Home> {
    let mut homes = vec![Home::Arena; buffers.len()];
    for (i, (_, view)) in outputs.iter().enumerate() {
        if let Slot::Buffer(b) = view.slot
            && view.offset == 0
            && view.len() * view.dtype.size() == buffers[b]
            && homes[b] == Home::Arena
        {
            homes[b] = Home::Output(i);
        }
    }
    homes
}

/// From the step that writes a buffer to the last that reads it.
fn lifetimes(steps: &[Step], buffers: &[usize], outputs: &[(String, View)]) -> Result<Vec<Lifetime>, ExecError> {
    let mut lives: Vec<Option<Lifetime>> = vec![None; buffers.len()];
    for (i, step) in steps.iter().enumerate() {
        for (w, &(slot, start, len)) in step.writes.iter().enumerate() {
            let Slot::Buffer(b) = slot else {
                return Err(ExecError::Internal(format!("%{} writes to no buffer", step.node)));
            };
            if lives[b].is_some() || start != 0 || len > buffers[b] || step.writes[..w].iter().any(|o| o.0 == slot) {
                return Err(ExecError::Internal(format!("%{} writes to a buffer in use", step.node)));
            }
            lives[b] = Some(Lifetime { bytes: buffers[b], first: i, last: i });
        }
        for &(slot, ..) in &step.reads {
            if let Slot::Buffer(b) = slot {
                match &mut lives[b] {
                    Some(l) if !step.writes.iter().any(|w| w.0 == slot) => l.last = i,
                    _ => {
                        return Err(ExecError::Internal(format!("%{} reads a buffer before it is written", step.node)));
                    }
                }
            }
        }
    }
    for (_, view) in outputs {
        if let Slot::Buffer(b) = view.slot
            && let Some(l) = &mut lives[b]
        {
            l.last = steps.len();
        }
    }
    lives.into_iter().map(|l| l.ok_or_else(|| ExecError::Internal("a buffer is never written".into()))).collect()
}
