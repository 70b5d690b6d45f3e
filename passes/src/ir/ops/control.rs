//! Ops that carry graphs: values decide whether, or how often, these are run.

use super::{Evaluated, Family, Fields, Fresh, Inferred};
use crate::ir::infer::Operand;
use crate::ir::tensor::Tensor;
use crate::ir::{Subgraph, Type};
use std::borrow::Cow;

/// Ops that carry graphs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Control {}

impl Control {
    /// The graph that does all that the op does, on the operands from the second on, where the first is this number.
    pub(crate) fn taken(&self, _first: i64) -> Option<&Subgraph> {
        match *self {}
    }
}

impl Family for Control {
    fn blanks() -> Vec<Self> {
        Vec::new()
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match *self {}
    }

    fn fields(&mut self, _: &mut Fields<'_>) {
        match *self {}
    }

    fn arity(&self) -> (usize, usize) {
        match *self {}
    }

    fn outputs(&self) -> usize {
        match *self {}
    }

    fn types(&self, _: &[Operand], _: Fresh) -> Inferred<Vec<Type>> {
        match *self {}
    }

    fn eval(&self, _: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        match *self {}
    }
}
