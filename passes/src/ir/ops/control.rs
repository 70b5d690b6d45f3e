//! Ops that carry graphs: values decide whether, or how often, these are run.

use super::{Evaluated, Family, Fields, Fresh, Inferred};
use crate::eval;
use crate::ir::infer::{InferError, Operand, fail, need_one};
use crate::ir::tensor::Tensor;
use crate::ir::{Call, DType, Dim, Graph, Subgraph, Type};
use std::borrow::Cow;

/// Ops that carry graphs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// `condition (one bool), values ...`: the results of one of two graphs, which take the same values.
    If {
        /// The graph where the condition is true.
        then_branch: Subgraph,
        /// The graph where it is false.
        else_branch: Subgraph,
    },
}

impl Control {
    /// The graph that does all that the op does, on the operands from the second on, where the first is this number.
    pub(crate) fn taken(&self, first: i64) -> Option<&Subgraph> {
        match self {
            Control::If { then_branch, else_branch } => Some(if first != 0 { then_branch } else { else_branch }),
        }
    }
}

impl Family for Control {
    fn blanks() -> Vec<Self> {
        let empty = || Subgraph::new(Graph::default());
        vec![Control::If { then_branch: empty(), else_branch: empty() }]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match self {
            Control::If { .. } => "if",
        }
        .into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        match self {
            Control::If { then_branch, else_branch } => {
                fields.graph("then_branch", then_branch);
                fields.graph("else_branch", else_branch);
            }
        }
    }

    fn arity(&self) -> (usize, usize) {
        let n = match self {
            Control::If { then_branch, .. } => 1 + then_branch.graph().inputs().len(),
        };
        (n, n)
    }

    fn outputs(&self) -> usize {
        match self {
            Control::If { then_branch, .. } => then_branch.graph().outputs().len(),
        }
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        match self {
            Control::If { then_branch, else_branch } => {
                if x[0].ty.dtype != DType::Bool {
                    fail!("a condition of {}", x[0].ty.dtype);
                }
                need_one(x[0].ty, "the condition")?;
                let (then, other) = (outputs(then_branch, &x[1..])?, outputs(else_branch, &x[1..])?);
                if then.len() != other.len() {
                    fail!("its branches have {} and {} results", then.len(), other.len());
                }
                if then.is_empty() {
                    fail!("its branches have no result");
                }
                then.into_iter().zip(other).map(|(a, b)| joined(a, b, fresh)).collect()
            }
        }
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        match self {
            Control::If { .. } => {
                let condition = x[0].ints().and_then(|v| v.first()).ok_or("a condition that is no bool")?;
                let graph = self.taken(*condition).ok_or("no graph is taken")?;
                eval::run(graph.graph(), &x[1..]).map_err(|e| e.to_string())
            }
        }
    }
}

/// A type of which extents are `None` that a graph invented.
struct Open {
    dtype: DType,
    shape: Vec<Option<Dim>>,
}

/// Types of the outputs of a graph on these operands.
fn outputs(graph: &Subgraph, x: &[Operand]) -> Inferred<Vec<Open>> {
    let graph = graph.graph();
    let call = Call::new(graph, x.iter().map(|o| o.ty)).map_err(InferError)?;
    let open = |ty: &Type| Open { dtype: ty.dtype, shape: ty.shape.iter().map(|d| call.outside(d)).collect() };
    Ok(graph.outputs().iter().map(|o| open(graph.ty(o.value))).collect())
}

/// The type of what is of one type or of the other.
fn joined(a: Open, b: Open, fresh: Fresh) -> Inferred<Type> {
    if a.dtype != b.dtype || a.shape.len() != b.shape.len() {
        let (m, n) = (a.shape.len(), b.shape.len());
        fail!("a result is {} of rank {m} in one graph and {} of rank {n} in another", a.dtype, b.dtype);
    }
    let extents = a.shape.into_iter().zip(b.shape);
    let shape = extents.map(|(a, b)| a.filter(|a| b.as_ref() == Some(a)).unwrap_or_else(&mut *fresh));
    Ok(Type { dtype: a.dtype, shape: shape.collect() })
}
