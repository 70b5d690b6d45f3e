//! The outside of a run of a plan: memory for inputs and outputs, and
//! somebody who does the ops that are not the plan's to do.

use crate::tensor::Tensor;

/// The outside of a plan.
pub(crate) trait Ports: Send {
    /// Bytes of an input, row-major.
    fn input(&self, input: usize) -> Option<&[u8]>;

    /// Memory for an output; `None` if it is not wanted. It is the same memory at every call of one run.
    fn output(&mut self, output: usize) -> Option<&mut [u8]>;

    /// Memory of a state that is appended to: all that there is room for. It is the same memory at every call of one run.
    fn appended(&mut self, _state: usize) -> Option<&mut [u8]> {
        None
    }

    /// Bytes of a result of a foreign op that has been called.
    fn foreign(&self, _result: usize) -> Option<&[u8]> {
        None
    }

    /// True if it has the operand of a foreign op itself.
    fn has(&self, _op: usize, _operand: usize) -> bool {
        false
    }

    /// Gives it an operand of a foreign op, row-major.
    fn give(&mut self, _op: usize, _operand: usize, _bytes: &[u8]) -> Result<(), String> {
        Err("no op is done outside the plan".into())
    }

    /// Does a foreign op.
    fn call(&mut self, _op: usize) -> Result<(), String> {
        Err("no op is done outside the plan".into())
    }
}

/// Host tensors in and out.
pub(crate) struct Tensors<'a> {
    pub inputs: &'a [Tensor],
    pub outputs: &'a mut [Tensor],
}

impl Ports for Tensors<'_> {
    fn input(&self, input: usize) -> Option<&[u8]> {
        self.inputs.get(input).map(Tensor::bytes)
    }

    fn output(&mut self, output: usize) -> Option<&mut [u8]> {
        self.outputs.get_mut(output).map(Tensor::bytes_mut)
    }
}
