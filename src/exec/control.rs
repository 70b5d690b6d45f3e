//! Loops: their bodies run in stages, again and again.

use super::stages::Stages;
use super::{ExecError, PackedWeights};
use crate::tensor::Tensor;
use bgz_passes::ir::{Bindings, Constant, DType, Graph, LoopParts, NodeId, Op, Type, ValueId};
use bgz_passes::memory::obtainable;
use bgz_passes::scores::Approximation;
use std::collections::HashMap;
use std::sync::Arc;

/// A loop that is run between stages.
pub(super) struct Looped {
    name: String,
    parts: LoopParts,
    operands: Vec<Operand>,
    /// The body, with captured constants as constants.
    body: Stages,
    /// Operands that it captures, in order.
    captured: Vec<usize>,
    /// True if the body's condition may end it before its trips are done.
    may_stop: bool,
}

/// Where an operand comes from.
enum Operand {
    Input(usize),
    Constant(Tensor),
}

/// The results stacked of each iteration.
struct Stack {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Looped {
    /// A loop whose operands are inputs of `graph` or constants.
    pub fn new(
        graph: &Graph,
        id: NodeId,
        packed: &Arc<PackedWeights>,
        approximation: Option<&Approximation>,
        op_by_op: bool,
    ) -> Result<Self, ExecError> {
        let node = graph.node(id);
        let name = node.outputs.first().map_or("", |&v| graph.name(v)).to_string();
        let lost = |what: &str| ExecError::Internal(format!("%{name} = loop: {what}"));
        let parts = match &node.op {
            Op::Control(control) => control.as_loop().ok_or_else(|| lost("it is none"))?,
            _ => return Err(lost("it is none")),
        };
        let (first, carried) = parts.carried;
        let inner = parts.body.graph();
        let mut constants: HashMap<ValueId, Constant> = HashMap::new();
        let (mut captured, mut operands) = (Vec::new(), Vec::with_capacity(node.inputs.len()));
        for (i, &v) in node.inputs.iter().enumerate() {
            let input = inner.inputs().get((i + 2).saturating_sub(first)).filter(|_| i >= first + carried);
            match (graph.constant(v), input) {
                (Some(c), Some(&input)) => drop(constants.insert(input, c.clone())),
                (None, Some(_)) => captured.push(i),
                (_, None) => {}
            }
            operands.push(match graph.constant(v) {
                // The body has it.
                Some(_) if input.is_some() => {
                    Operand::Constant(Tensor::zeros(DType::Bool, &[0]).map_err(|_| ExecError::TooLarge)?)
                }
                Some(c) => {
                    let reason = |reason| ExecError::AbsentConstant { name: graph.name(v).into(), reason };
                    c.bytes().map_err(reason)?;
                    Operand::Constant(Tensor::from_constant(c).map_err(|_| ExecError::TooLarge)?)
                }
                None => {
                    let at = graph.inputs().iter().position(|&i| i == v);
                    Operand::Input(at.ok_or_else(|| lost("an operand is not there yet"))?)
                }
            });
        }
        let condition = inner.outputs().first().map(|o| o.value);
        let goes_on = |v: ValueId| {
            inner.inputs().get(1) == Some(&v)
                || inner.constant(v).is_some_and(|c| c.as_scalar().is_some_and(|s| s.to_i64() != 0))
        };
        let may_stop = !condition.is_some_and(goes_on);
        let bound = inner.bind_partly(&Bindings::new(), &constants)?;
        let body = Stages::new(bound, packed.clone(), approximation.cloned(), op_by_op)?;
        Ok(Self { name, parts, operands, body, captured, may_stop })
    }

    /// How many results it has.
    pub fn results(&self) -> usize {
        self.parts.body.graph().outputs().len().saturating_sub(1)
    }

    /// The results for the inputs of its graph.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecError> {
        let fail = |reason: String| ExecError::Node { node: self.name.clone(), op: "loop".into(), reason };
        let operand = |i: usize| match &self.operands[i] {
            Operand::Input(at) => &inputs[*at],
            Operand::Constant(t) => t,
        };
        let number = |i: Option<usize>| i.map(|i| operand(i).scalars().next().map_or(0, |s| s.to_i64()));
        let (first, carried) = self.parts.carried;
        let trips = number(self.parts.trip_count);
        let mut going = number(self.parts.condition).is_none_or(|c| c != 0);
        let mut values: Vec<Tensor> = (first..first + carried).map(|i| operand(i).clone()).collect();
        let mut stacks: Vec<Option<Stack>> = Vec::new();
        stacks.resize_with(self.parts.body.graph().outputs().len().saturating_sub(1 + carried), || None);
        let yes = Tensor::from_bools(&[], &[true]).map_err(|_| ExecError::TooLarge)?;
        let mut done = 0i64;
        while going && trips.is_none_or(|n| done < n) {
            let mut given = vec![Tensor::new(&[], &[done]).map_err(|_| ExecError::TooLarge)?, yes.clone()];
            given.append(&mut values);
            given.extend(self.captured.iter().map(|&i| operand(i).clone()));
            let mut made = self.body.run(&given)?.into_iter();
            let condition = made.next().ok_or_else(|| fail("there is no condition".into()))?;
            going = condition.scalars().next().is_some_and(|s| s.to_i64() != 0);
            values.extend(made.by_ref().take(carried));
            for (stack, t) in stacks.iter_mut().zip(made) {
                match stack {
                    Some(stack) => stack.push(&t).map_err(|e| e.unwrap_or_else(|| self.memory(t.bytes().len())))?,
                    None => {
                        let whole = trips.and_then(|n| usize::try_from(n).ok()?.checked_mul(t.bytes().len().max(1)));
                        let all = if self.may_stop || trips.is_none() { Some(t.bytes().len()) } else { whole };
                        if all.is_none_or(|bytes| !obtainable(bytes)) {
                            return Err(self.memory(all.unwrap_or(usize::MAX)));
                        }
                        let mut new = Stack { dtype: t.dtype(), shape: [&[0], t.shape()].concat(), bytes: Vec::new() };
                        new.push(&t).map_err(|e| e.unwrap_or_else(|| self.memory(t.bytes().len())))?;
                        *stack = Some(new);
                    }
                }
            }
            done = done.checked_add(1).ok_or_else(|| fail("more iterations than can be counted".into()))?;
        }
        let types: Vec<Type> = self.operand_types(inputs);
        let none = self.parts.stacks_of_none(&types).map_err(fail)?;
        for (stack, (dtype, shape)) in stacks.into_iter().zip(none) {
            let Stack { dtype, shape, bytes } = stack.unwrap_or(Stack { dtype, shape, bytes: Vec::new() });
            let made = Tensor::from_bytes(dtype, &shape, &bytes);
            values.push(made.map_err(|_| self.memory(bytes.len()))?);
        }
        Ok(values)
    }

    /// Types of the operands, those of captured constants as the body has them.
    fn operand_types(&self, inputs: &[Tensor]) -> Vec<Type> {
        let (first, carried) = self.parts.carried;
        let graph = self.parts.body.graph();
        let own = |i: usize| graph.inputs().get(i + 2 - first).map(|&v| graph.ty(v).clone());
        let ty = |(i, o): (usize, &Operand)| match o {
            Operand::Input(at) => inputs[*at].ty(),
            Operand::Constant(_) if i >= first + carried => own(i).unwrap_or_else(|| Type::scalar(DType::Bool)),
            Operand::Constant(t) => t.ty(),
        };
        self.operands.iter().enumerate().map(ty).collect()
    }

    fn memory(&self, bytes: usize) -> ExecError {
        ExecError::Memory { what: format!("what the loop %{} stacks", self.name), bytes }
    }
}

impl Stack {
    /// Adds one more; the error is `None` if memory does not suffice.
    fn push(&mut self, t: &Tensor) -> Result<(), Option<ExecError>> {
        if t.shape() != &self.shape[1..] {
            let reason = format!("{} is to be stacked on {:?}", t.ty(), &self.shape[1..]);
            return Err(Some(ExecError::Node { node: "stack".into(), op: "loop".into(), reason }));
        }
        let add = t.bytes().len();
        if self.bytes.capacity() - self.bytes.len() < add {
            let more = self.bytes.len().max(add).max(64);
            if !obtainable(self.bytes.len().saturating_add(more)) || self.bytes.try_reserve_exact(more).is_err() {
                return Err(None);
            }
        }
        self.bytes.extend_from_slice(t.bytes());
        self.shape[0] += 1;
        Ok(())
    }
}
