//! Running a plan on the tensors of a Burn backend.

use super::Runtime;
use super::Traced;
use super::approximate::Allowed;
use super::capture::Region;
use super::lift::Analysis;
use crate::burn::host::{HostTensor, graph_dtype};
use crate::exec::{ExecError, Plan, Ports, Slot, Work};
use bgz_passes::ir::{Constant, DType, Graph};
use bgz_passes::pipeline::{Pipeline, Report};
use burn_backend::{Bytes, Shape, TensorData};
use burn_fusion::stream::{Context, OrderedExecution};
use burn_ir::{OperationIr, TensorId, TensorIr};
use half::{bf16, f16};

/// The ways of running recorded ops.
pub(super) enum Prepared {
    /// A plan.
    Graph(Box<Planned>),
    /// Every op as it was recorded.
    AsRecorded {
        /// Why.
        reason: String,
        /// The graph, if there is one.
        before: Option<Box<Graph>>,
    },
}

/// A rewritten graph and its plan.
pub(super) struct Planned {
    before: Graph,
    after: Graph,
    report: Report,
    plan: Plan,
    /// Places, among the inputs of the analysis, of the plan's inputs, and whether a kernel reads them.
    inputs: Vec<(usize, bool)>,
    outputs: Vec<Wanted>,
    /// For each result of a foreign op, true if a kernel reads it.
    foreign: Vec<bool>,
}

/// The fate of an output of the plan.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    /// Nothing: it is there for its effect.
    No,
    /// A foreign op has made its tensor.
    Made,
    /// It becomes a tensor.
    Tensor,
}

impl Prepared {
    /// The region that a capture shows.
    pub fn region(&self) -> Region {
        match self {
            Prepared::Graph(p) => Region {
                before: p.before.to_string(),
                after: p.after.to_string(),
                report: p.report.clone(),
                fallback: None,
            },
            Prepared::AsRecorded { reason, before } => {
                let text = before.as_ref().map(|g| g.to_string()).unwrap_or_default();
                Region { before: text.clone(), after: text, report: Report::default(), fallback: Some(reason.clone()) }
            }
        }
    }
}

/// Rewrites a graph and makes its plan.
pub(super) fn prepare(
    before: Graph,
    inputs: Vec<usize>,
    ops: &[OperationIr],
    analysis: &Analysis,
    allowed: &Allowed,
) -> Prepared {
    match planned(&before, inputs, ops, analysis, allowed) {
        Ok(planned) => Prepared::Graph(Box::new(planned)),
        Err(e) => Prepared::AsRecorded { reason: e.to_string(), before: Some(Box::new(before)) },
    }
}

fn planned(
    before: &Graph,
    inputs: Vec<usize>,
    ops: &[OperationIr],
    analysis: &Analysis,
    allowed: &Allowed,
) -> Result<Planned, ExecError> {
    let mut after = before.clone();
    let approximation = allowed.approximation.as_ref();
    let pipeline = match approximation {
        Some(a) => Pipeline::approximate(a.source.clone(), a.max_error),
        None => Pipeline::exact(),
    };
    let pipeline = pipeline.precision(allowed.precision);
    let report = pipeline.run(&mut after)?;
    let types: Vec<_> = after.inputs().iter().map(|&v| after.ty(v).clone()).collect();
    let plan = Plan::new(&after, &types, &super::cache::PACKED, approximation)?;

    // The tensor that a slot is, if it is one as a whole.
    let results = plan.foreign_results();
    let foreign_id = |i: usize| ops.get(results[i].op).and_then(|o| o.outputs().nth(results[i].result)).map(|t| t.id);
    let tensor_of = |slot: Slot| match slot {
        Slot::Input(i) => inputs.get(i).map(|&p| analysis.inputs[p].id),
        Slot::Foreign(i) => foreign_id(i),
        Slot::Const(_) | Slot::Buffer(_) | Slot::Appended(_) => None,
    };
    let mut held_inputs = vec![false; inputs.len()];
    let mut held_foreign = vec![false; results.len()];
    let mut hold = |slot: Slot| match slot {
        Slot::Input(i) => held_inputs[i] = true,
        Slot::Foreign(i) => held_foreign[i] = true,
        Slot::Const(_) | Slot::Buffer(_) | Slot::Appended(_) => {}
    };
    let foreign: Vec<usize> = plan.all_steps().iter().filter_map(|s| s.work.foreign()).collect();
    // Foreign ops take what they read last out of Burn's hands; out of order, another could come too late.
    let in_order = foreign.is_sorted();
    for step in plan.all_steps() {
        for (i, &(slot, ..)) in step.reads.iter().enumerate() {
            let as_recorded = match step.work {
                Work::Kernel(_) => false,
                Work::Foreign(op) => {
                    let operand = ops.get(op).and_then(|o| o.inputs().nth(i)).map(|t| t.id);
                    in_order && operand.is_some() && operand == tensor_of(slot)
                }
            };
            if !as_recorded {
                hold(slot);
            }
        }
    }
    let mut outputs = Vec::new();
    for (i, view) in plan.output_views().enumerate() {
        outputs.push(match analysis.results.get(i) {
            None => Wanted::No,
            Some(t) if tensor_of(view.slot) == Some(t.id) => Wanted::Made,
            Some(_) => {
                hold(view.slot);
                Wanted::Tensor
            }
        });
    }
    let inputs = inputs.into_iter().zip(held_inputs).collect();
    Ok(Planned { before: before.clone(), after, report, plan, inputs, outputs, foreign: held_foreign })
}

/// A tensor whose elements lie in host memory in row-major order.
struct Held<B: Traced>(HostTensor<B>);

impl<B: Traced> Held<B> {
    fn new(handle: &B::Handle) -> Option<Self> {
        let tensor = HostTensor::from_handle(handle.clone())?;
        if B::bytes(&tensor).is_some() {
            return Some(Self(tensor));
        }
        let tensor = HostTensor::from_data(tensor.into_data()?)?;
        B::bytes(&tensor).is_some().then_some(Self(tensor))
    }
}

impl<B: Traced> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        // `new` has seen that there are some.
        B::bytes(&self.0).unwrap_or_default()
    }
}

/// A tensor as a constant of a graph, which shares its elements.
pub(super) fn constant<B: Traced>(handle: &B::Handle) -> Option<Constant> {
    let held = Held::<B>::new(handle)?;
    let (dtype, shape) = (held.0.dtype()?, held.0.shape());
    Constant::new(dtype, shape, bytes::Bytes::from_owner(held))
}

/// Runs a plan on the tensors of `context`.
pub(super) fn run<B: Traced>(
    planned: &Planned,
    ops: &[OperationIr],
    analysis: &Analysis,
    context: &mut Context<B::Handle>,
    execution: &OrderedExecution<Runtime<B>>,
) -> Result<(), ExecError> {
    let lost = || ExecError::Internal("a recorded tensor has no elements in host memory".into());
    let mut inputs = Vec::with_capacity(planned.inputs.len());
    for &(place, held) in &planned.inputs {
        let id = global(context, &analysis.inputs[place])?.id;
        inputs.push(match held {
            true => Some(context.handles.get_handle_ref(&id).and_then(Held::new).ok_or_else(lost)?),
            false => None,
        });
    }
    let mut outputs = Vec::with_capacity(planned.outputs.len());
    for (i, wanted) in planned.outputs.iter().enumerate() {
        outputs.push(match wanted {
            Wanted::Tensor => Some(data(global(context, &analysis.results[i])?)?),
            Wanted::No | Wanted::Made => None,
        });
    }
    let foreign = planned.foreign.iter().map(|_| None).collect();
    let mut tensors = Tensors { planned, ops, context, execution, inputs, outputs, foreign };
    planned.plan.run_on(&mut tensors, None)?;
    let outputs = std::mem::take(&mut tensors.outputs);
    drop(tensors);
    for (t, data) in analysis.results.iter().zip(outputs) {
        if let Some(data) = data {
            let id = global(context, t)?.id;
            let tensor = HostTensor::<B>::from_data(data).ok_or_else(lost)?;
            context.handles.register_handle(id, tensor.into_handle());
        }
    }
    Ok(())
}

/// The tensor that a relative one stands for in this run.
fn global<'a, H>(context: &'a Context<H>, relative: &TensorIr) -> Result<&'a TensorIr, ExecError> {
    context.tensors.get(&relative.id).ok_or_else(|| ExecError::Internal("a recorded tensor is not known".into()))
}

/// Zeros in the form that Burn takes over without a copy.
fn data(t: &TensorIr) -> Result<TensorData, ExecError> {
    let len = t.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or(ExecError::TooLarge)?;
    let dtype = graph_dtype(t.dtype).ok_or_else(|| ExecError::Internal(format!("{:?} in a graph", t.dtype)))?;
    // Memory as aligned as its elements: a backend takes over no other.
    let bytes = match dtype {
        DType::F32 => Bytes::from_elems(vec![0f32; len]),
        DType::F64 => Bytes::from_elems(vec![0f64; len]),
        DType::F16 => Bytes::from_elems(vec![f16::ZERO; len]),
        DType::BF16 => Bytes::from_elems(vec![bf16::ZERO; len]),
        DType::I64 => Bytes::from_elems(vec![0i64; len]),
        DType::I32 => Bytes::from_elems(vec![0i32; len]),
        DType::I16 => Bytes::from_elems(vec![0i16; len]),
        DType::I8 => Bytes::from_elems(vec![0i8; len]),
        DType::U8 | DType::Bool => Bytes::from_elems(vec![0u8; len]),
        other => return Err(ExecError::Internal(format!("{other} in a trace"))),
    };
    Ok(TensorData::from_bytes(bytes, Shape::from(t.shape.to_vec()), t.dtype))
}

/// The outside of a plan that runs recorded ops.
struct Tensors<'a, B: Traced> {
    planned: &'a Planned,
    ops: &'a [OperationIr],
    context: &'a mut Context<B::Handle>,
    execution: &'a OrderedExecution<Runtime<B>>,
    inputs: Vec<Option<Held<B>>>,
    outputs: Vec<Option<TensorData>>,
    foreign: Vec<Option<Held<B>>>,
}

impl<B: Traced> Tensors<'_, B> {
    /// The tensor that an operand of a recorded op is in this run.
    fn operand(&self, op: usize, operand: usize) -> Option<(TensorId, &TensorIr)> {
        let relative = self.ops.get(op)?.inputs().nth(operand)?;
        let t = self.context.tensors.get(&relative.id)?;
        Some((t.id, t))
    }
}

impl<B: Traced> Ports for Tensors<'_, B> {
    fn input(&self, input: usize) -> Option<&[u8]> {
        self.inputs.get(input)?.as_ref().map(Held::as_ref)
    }

    fn output(&mut self, output: usize) -> Option<&mut [u8]> {
        self.outputs.get_mut(output)?.as_mut().map(|d| &mut d.bytes[..])
    }

    fn foreign(&self, result: usize) -> Option<&[u8]> {
        self.foreign.get(result)?.as_ref().map(Held::as_ref)
    }

    fn has(&self, op: usize, operand: usize) -> bool {
        self.operand(op, operand).is_some_and(|(id, _)| self.context.handles.has_handle(&id))
    }

    fn give(&mut self, op: usize, operand: usize, bytes: &[u8]) -> Result<(), String> {
        let (id, t) = self.operand(op, operand).ok_or("an operand is not known")?;
        let mut data = data(t).map_err(|e| e.to_string())?;
        if data.bytes.len() != bytes.len() {
            return Err(format!("{} bytes for an operand of {}", bytes.len(), data.bytes.len()));
        }
        data.bytes.copy_from_slice(bytes);
        let tensor = HostTensor::<B>::from_data(data).ok_or("an operand is of no dtype of the graph")?;
        self.context.handles.register_handle(id, tensor.into_handle());
        Ok(())
    }

    fn call(&mut self, op: usize) -> Result<(), String> {
        self.execution.operation_within_optimization(op).execute(&mut self.context.handles);
        for (i, from) in self.planned.plan.foreign_results().iter().enumerate().filter(|(_, r)| r.op == op) {
            if self.planned.foreign[i] {
                let relative =
                    self.ops.get(op).and_then(|o| o.outputs().nth(from.result)).ok_or("a result is not known")?;
                let t = self.context.tensors.get(&relative.id).ok_or("a result is not known")?;
                let handle = self.context.handles.get_handle_ref(&t.id).ok_or("a result was not made")?;
                self.foreign[i] = Some(Held::new(handle).ok_or("a result is not in host memory")?);
            }
        }
        Ok(())
    }
}
