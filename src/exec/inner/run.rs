//! A graph run op by op.

use super::tensor::{known, physical};
use super::{Fault, InnerError, InnerTensor, run_typed};
use bgz_passes::halves::{WidenError, widened};
use bgz_passes::ir::{Graph, Index, Op, Type, ValueId};
use burn_backend::Backend;
use burn_backend::tensor::Device;
use std::collections::HashMap;
use std::sync::Arc;

/// A bound graph, made ready to be run op by op on a backend: constants are tensors, and it is known which
/// use of a value is its last, so that the backend gets it to itself and can work in place.
#[derive(Debug)]
pub struct OpByOp<B: Backend> {
    steps: Vec<Step>,
    /// A place for each value; those of constants are filled.
    values: Vec<Option<InnerTensor<B>>>,
    inputs: Vec<Input>,
    outputs: Vec<Use>,
    device: Device<B>,
}

/// An input of the graph.
#[derive(Debug)]
struct Input {
    name: Arc<str>,
    ty: Type,
    shape: Vec<usize>,
    slot: usize,
    /// Whether anything uses it.
    used: bool,
}

/// A node.
#[derive(Debug)]
struct Step {
    name: Arc<str>,
    op: Op,
    inputs: Vec<Use>,
    input_types: Vec<Type>,
    /// Places of the results; `None` for one that nothing uses.
    outputs: Vec<Option<usize>>,
    output_types: Vec<Type>,
}

/// A use of a value.
#[derive(Clone, Copy, Debug)]
struct Use {
    slot: usize,
    /// Whether no other use follows.
    last: bool,
}

impl<B: Backend> OpByOp<B> {
    /// Makes a graph that is bound ready to run on `device`. The bytes of its constants are shared with it where the
    /// backend can work on such, and copied once otherwise.
    pub fn new(graph: &Graph, device: &Device<B>) -> Result<Self, InnerError> {
        graph.verify().map_err(|e| InnerError::Graph(e.to_string()))?;
        let wide = widened(graph).map_err(|e| match e {
            WidenError::Graph(e) => InnerError::Graph(e.to_string()),
            WidenError::Unavailable { name, reason } => {
                InnerError::Constant { name, fault: Fault::Unsupported(reason.to_string()) }
            }
            WidenError::Memory { name, bytes } => InnerError::Constant { name, fault: Fault::Memory { bytes } },
        })?;
        let graph = wide.as_ref().unwrap_or(graph);
        let mut slots: HashMap<ValueId, usize> = HashMap::new();
        let mut values = Vec::new();
        // Flex reads shared bytes as its own; NdArray would copy them at each use.
        let share = B::name(device) == "flex";
        for (v, c) in graph.constants() {
            let name = graph.name(v);
            let fail = |fault| InnerError::Constant { name: name.into(), fault };
            let bytes = c.bytes().map_err(|e| fail(Fault::Unsupported(e.to_string())))?;
            let tensor = if share {
                InnerTensor::from_shared(c.dtype(), c.shape(), &bytes, device)
            } else {
                InnerTensor::from_bytes(c.dtype(), c.shape(), &bytes, device)
            };
            slots.insert(v, values.len());
            values.push(Some(tensor.map_err(fail)?));
        }
        let mut inputs = Vec::new();
        for &v in graph.inputs() {
            let (name, ty) = (graph.value(v).name.clone(), graph.ty(v).clone());
            let shape = known(&ty).map_err(|e| InnerError::Input { name: name.to_string(), reason: e.to_string() })?;
            inputs.push(Input { name, ty, shape, slot: values.len(), used: graph.use_count(v) > 0 });
            slots.insert(v, values.len());
            values.push(None);
        }
        let mut steps = Vec::new();
        for (_, node) in graph.nodes() {
            let name = node.outputs.first().map_or_else(|| "?".into(), |&v| graph.value(v).name.clone());
            let fail = |reason| InnerError::Graph(format!("%{name}: {reason}"));
            let place = |v: &ValueId| slots.get(v).copied().ok_or_else(|| fail("an operand has no place".to_owned()));
            let uses = node.inputs.iter().map(|v| place(v).map(|slot| Use { slot, last: false }));
            let uses = uses.collect::<Result<Vec<_>, _>>()?;
            let types = |v: &[ValueId]| v.iter().map(|&v| graph.ty(v).clone()).collect::<Vec<_>>();
            let (input_types, output_types) = (types(&node.inputs), types(&node.outputs));
            // The count of non-zero elements is the one extent that may be open.
            for ty in input_types.iter().chain(&output_types).filter(|_| node.op != Op::Index(Index::NonZero)) {
                known(ty).map_err(|e| fail(e.to_string()))?;
            }
            let outputs = node.outputs.iter().map(|&v| {
                (graph.use_count(v) > 0).then(|| {
                    slots.insert(v, values.len());
                    values.push(None);
                    values.len() - 1
                })
            });
            let outputs = outputs.collect();
            steps.push(Step { name, op: node.op.clone(), inputs: uses, input_types, outputs, output_types });
        }
        let mut outputs = Vec::new();
        for o in graph.outputs() {
            let slot = slots.get(&o.value).copied();
            let slot = slot.ok_or_else(|| InnerError::Graph(format!("output {} has no place", o.name)))?;
            outputs.push(Use { slot, last: false });
        }
        // A constant stays for the next run: no use of it is the last.
        let constant: Vec<bool> = values.iter().map(Option::is_some).collect();
        let mut seen = constant;
        for u in steps.iter_mut().flat_map(|s| s.inputs.iter_mut()).chain(outputs.iter_mut()).rev() {
            u.last = !std::mem::replace(&mut seen[u.slot], true);
        }
        Ok(Self { steps, values, inputs, outputs, device: device.clone() })
    }

    /// The results for `inputs`, in the order of the graph.
    pub fn run(&self, inputs: Vec<InnerTensor<B>>) -> Result<Vec<InnerTensor<B>>, InnerError> {
        if inputs.len() != self.inputs.len() {
            let reason = format!("the graph takes {} inputs, not {}", self.inputs.len(), inputs.len());
            return Err(InnerError::Graph(reason));
        }
        let mut values = self.values.clone();
        for (input, t) in self.inputs.iter().zip(inputs) {
            if t.shape() != physical(&input.shape) || t.dtype() != Some(input.ty.dtype) {
                return Err(InnerError::Input {
                    name: input.name.to_string(),
                    reason: format!("{t:?} is given, {} is taken", input.ty),
                });
            }
            if input.used {
                values[input.slot] = Some(t);
            }
        }
        for step in &self.steps {
            let fail = |source| InnerError::Node { node: step.name.to_string(), source: Box::new(source) };
            let operands = step.inputs.iter().map(|&u| take(&mut values, u)).collect::<Result<Vec<_>, _>>()?;
            let results =
                run_typed(&step.op, operands, &step.input_types, &step.output_types, &self.device).map_err(fail)?;
            for (slot, t) in step.outputs.iter().zip(results) {
                if let Some(slot) = slot {
                    values[*slot] = Some(t);
                }
            }
        }
        self.outputs.iter().map(|&u| take(&mut values, u)).collect()
    }

    /// Number of ops.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are no ops.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The device it runs on.
    pub fn device(&self) -> &Device<B> {
        &self.device
    }
}

/// The value of a use; taken out of its place if it is the last.
fn take<B: Backend>(values: &mut [Option<InnerTensor<B>>], u: Use) -> Result<InnerTensor<B>, InnerError> {
    let value = match values.get_mut(u.slot) {
        Some(v) if u.last => v.take(),
        Some(v) => v.clone(),
        None => None,
    };
    value.ok_or_else(|| InnerError::Graph("a value is used before it is made".into()))
}
