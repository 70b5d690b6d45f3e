//! A plan and running it; `structure` makes them.

use super::ExecError;
use super::arena::{Home, Layout, Lifetime, Memory, Share};
use super::awake::awake;
use super::bind::bind_inputs;
use super::packed::ConstantBytes;
use super::ports::{Ports, Tensors};
use super::states::{State, States};
use super::step::{Appended, ForeignResult, Lowered, Span, Step, StepInfo, Work};
use super::view::{Slot, View};
use crate::tensor::Tensor;
use bgz_passes::ir::{DType, Graph, ValueId};
use bgz_passes::pipeline::Report;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A graph made ready to run on inputs of given shapes.
pub struct Plan {
    graph: Arc<Graph>,
    report: Report,
    outputs: Vec<View>,
    steps: Vec<Step>,
    constants: Vec<ConstantBytes>,
    foreign: Vec<ForeignResult>,
    layout: Layout,
    /// True if there is enough to do for more than one thread.
    shared: bool,
    states: Arc<States>,
}

/// Bytes that the steps of a plan read and write, from which on other threads are kept awake while it runs. Below, it is
/// done before one has woken up.
const SHARED_BYTES: usize = 128 << 10;

impl Plan {
    /// A plan of steps that make these of a graph whose extents are numbers, run with the memory of `states`.
    pub(super) fn of_steps(
        (graph, report): (Arc<Graph>, Report),
        lowered: Lowered,
        outputs: Vec<View>,
        states: Arc<States>,
    ) -> Result<Self, ExecError> {
        let Lowered { steps, buffers, constants, foreign } = lowered;
        let lives = lifetimes(&steps, &buffers, &outputs).map_err(|(step, wrong)| {
            let node = step.and_then(|i| steps.get(i)).map_or("", |s| s.node(&graph));
            ExecError::Internal(format!("%{node} {wrong}"))
        })?;
        let layout = Layout::new(&lives, &homes(&buffers, &outputs))?;
        let spans = steps.iter().flat_map(|s| s.reads.iter().chain(&s.writes));
        let shared = spans.fold(0usize, |sum, &(.., bytes)| sum.saturating_add(bytes)) >= SHARED_BYTES;
        let operands = steps.iter().map(|s| s.reads.len().max(s.writes.len())).max().unwrap_or(0);
        states.need(layout.bytes, operands, largest(&graph, &steps, &layout));
        Ok(Self { graph, report, outputs, steps, constants, foreign, layout, shared, states })
    }

    /// Runs on this thread alone.
    pub(super) fn run_alone(&self, ports: &mut dyn Ports) -> Result<(), ExecError> {
        self.states.with(self.layout.bytes, |state| self.run_steps(ports, state, None, None))?
    }

    /// Runs some rows, of a plan that [takes fewer](Self::takes_fewer_rows), on this thread alone.
    pub(super) fn run_rows(&self, ports: &mut dyn Ports, share: Share) -> Result<(), ExecError> {
        self.states.with(self.layout.bytes, |state| self.run_steps(ports, state, None, Some(share)))?
    }

    /// True if all that is read and written, other than constants, are whole matrices of rows, which may be fewer.
    pub(super) fn takes_fewer_rows(&self) -> bool {
        let whole = |&(slot, start, bytes): &Span| match slot {
            Slot::Const(_) => true,
            Slot::Input(i) => {
                let ty = self.graph.inputs().get(i).map(|&v| self.graph.ty(v));
                let all = ty.and_then(|t| t.known_len()?.checked_mul(t.dtype.size()));
                start == 0 && all == Some(bytes)
            }
            Slot::Buffer(b) => start == 0 && self.layout.sizes.get(b) == Some(&bytes),
            Slot::Foreign(_) | Slot::Appended(_) => false,
        };
        let fewer = |s: &Step| match &s.work {
            Work::Kernel(k) => k.takes_fewer_rows() && s.reads.iter().chain(&s.writes).all(whole),
            Work::Foreign(_) => false,
        };
        self.steps.iter().all(fewer) && self.outputs.iter().all(|v| whole(&v.bytes()))
    }

    /// True if each of these outputs stays in the memory of its input.
    pub(crate) fn appends(&self, appended: &[Appended]) -> bool {
        let stays =
            |(i, a): (usize, &Appended)| self.outputs.get(a.output).is_some_and(|v| v.slot == Slot::Appended(i));
        appended.iter().enumerate().all(stays)
    }

    /// True if there is enough to do for more than one thread.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// The rewrites of the graph once its extents were numbers: how scores are computed, and why.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The graph with every extent a number, as it is run.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The steps, in order.
    pub fn steps(&self) -> impl Iterator<Item = StepInfo> + '_ {
        self.steps.iter().map(|s| s.info(&self.graph))
    }

    /// Bytes of the arena that one run works in.
    pub fn arena_bytes(&self) -> usize {
        self.layout.bytes
    }

    /// True if it was made for inputs of these dtypes and shapes.
    pub fn fits(&self, inputs: &[Tensor]) -> bool {
        let same = |(&v, t): (&ValueId, &Tensor)| {
            let ty = self.graph.ty(v);
            let extents = || ty.shape.iter().zip(t.shape());
            ty.dtype == t.dtype() && ty.rank() == t.shape().len() && extents().all(|(d, &n)| d.as_usize() == Some(n))
        };
        self.graph.inputs().len() == inputs.len() && self.graph.inputs().iter().zip(inputs).all(same)
    }

    /// Tensors for the results, for [`Plan::run_into`].
    pub fn make_outputs(&self) -> Result<Vec<Tensor>, ExecError> {
        let named = self.outputs.iter().zip(self.graph.outputs());
        named.map(|(v, o)| output(&o.name, v.dtype, &v.shape)).collect()
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
            let steps = || self.run_steps(ports, state, times, None);
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
        share: Option<Share>,
    ) -> Result<(), ExecError> {
        let State { arena, pointers } = state;
        let mut memory = Memory { ports, constants: &self.constants, arena, layout: &self.layout, share };
        for (i, step) in self.steps.iter().enumerate() {
            let start = times.is_some().then(Instant::now);
            let done = match &step.work {
                Work::Kernel(kernel) => {
                    // SAFETY: `Layout::new` checked that buffers alive in one step do
                    // not overlap, and `lifetimes` that all reads and writes of a step
                    // are within their buffers' lives and writes are to distinct ones,
                    // or to a state that the step does not read.
                    unsafe { memory.step(&step.reads, &step.writes, pointers, |r, w| kernel.run(r, w)) }?
                }
                Work::Foreign(op) => memory.foreign(*op, &step.reads, pointers)?,
            };
            done.map_err(|reason| step.fail(&self.graph, reason))?;
            if let (Some(times), Some(start)) = (times.as_mut(), start) {
                times[i] += start.elapsed();
            }
        }
        for (i, view) in self.outputs.iter().enumerate() {
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
        self.outputs.iter()
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
        for (view, out) in self.outputs.iter().zip(outputs) {
            if out.dtype() != view.dtype || out.shape() != &*view.shape {
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

/// The value whose buffer takes most of the arena, and how much.
fn largest<'a>(graph: &'a Graph, steps: &[Step], layout: &Layout) -> Option<(&'a Arc<str>, usize)> {
    let own = |slot: Slot| match slot {
        Slot::Buffer(b) if layout.homes[b] == Home::Arena => layout.sizes[b],
        _ => 0,
    };
    let writes = steps.iter().flat_map(|s| s.writes.iter().map(move |w| (s.of.value(), own(w.0))));
    let (value, bytes) = writes.max_by_key(|w| w.1)?;
    Some((&graph.value(value?).name, bytes))
}

/// A tensor for a result.
pub(crate) fn output(name: &str, dtype: DType, shape: &[usize]) -> Result<Tensor, ExecError> {
    let bytes = || shape.iter().fold(dtype.size(), |n, &d| n.saturating_mul(d));
    Tensor::zeros(dtype, shape).map_err(|_| ExecError::Memory { what: format!("output {name:?}"), bytes: bytes() })
}

/// Where buffers live: one that is an output as a whole is written where the output is wanted.
fn homes(buffers: &[usize], outputs: &[View]) -> Vec<Home> {
    let mut homes = vec![Home::Arena; buffers.len()];
    for (i, view) in outputs.iter().enumerate() {
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

/// From the step that writes a buffer to the last that reads it; else the step that is wrong, and how.
fn lifetimes(
    steps: &[Step],
    buffers: &[usize],
    outputs: &[View],
) -> Result<Vec<Lifetime>, (Option<usize>, &'static str)> {
    let mut lives: Vec<Option<Lifetime>> = vec![None; buffers.len()];
    for (i, step) in steps.iter().enumerate() {
        for (w, &(slot, start, len)) in step.writes.iter().enumerate() {
            if matches!(slot, Slot::Appended(_)) {
                if step.reads.iter().any(|r| r.0 == slot) || step.writes.len() > 1 {
                    return Err((Some(i), "appends to a state that it reads"));
                }
                continue;
            }
            let Slot::Buffer(b) = slot else { return Err((Some(i), "writes to no buffer")) };
            if lives[b].is_some() || start != 0 || len > buffers[b] || step.writes[..w].iter().any(|o| o.0 == slot) {
                return Err((Some(i), "writes to a buffer in use"));
            }
            lives[b] = Some(Lifetime { bytes: buffers[b], first: i, last: i });
        }
        for &(slot, ..) in &step.reads {
            if let Slot::Buffer(b) = slot {
                match &mut lives[b] {
                    Some(l) if !step.writes.iter().any(|w| w.0 == slot) => l.last = i,
                    _ => return Err((Some(i), "reads a buffer before it is written")),
                }
            }
        }
    }
    for view in outputs {
        if let Slot::Buffer(b) = view.slot
            && let Some(l) = &mut lives[b]
        {
            l.last = steps.len();
        }
    }
    lives.into_iter().map(|l| l.ok_or((None, "is a buffer that is never written"))).collect()
}
