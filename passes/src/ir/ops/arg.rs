//! Integers that an op has, or gets as an operand.

use super::{Evaluated, Fresh, Inferred};
use crate::ir::Dim;
use crate::ir::infer::{InferError, Operand, vector_len};
use crate::ir::tensor::Tensor;

/// Integers that are part of the op, or come as an operand when the graph is run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IntArg {
    /// Known, though perhaps symbolic.
    Known(Vec<Dim>),
    /// The next optional operand.
    Operand,
}

impl IntArg {
    /// How many operands these take.
    pub(super) fn operands(args: &[&IntArg]) -> usize {
        args.iter().filter(|a| matches!(a, IntArg::Operand)).count()
    }

    /// The integers: known, or those of the operand if they are.
    pub(super) fn infer(&self, operand: Option<&Operand>) -> Inferred<Option<Vec<Dim>>> {
        match (self, operand) {
            (IntArg::Known(v), _) => Ok(Some(v.clone())),
            (IntArg::Operand, Some(o)) if o.ty.dtype.is_int() => Ok(o.ints.map(<[Dim]>::to_vec)),
            (IntArg::Operand, Some(o)) => Err(InferError(format!("an integer operand is needed, not {}", o.ty))),
            (IntArg::Operand, None) => Err(InferError("an operand is missing".into())),
        }
    }

    /// As [`IntArg::infer`], for extents: new dims where they are not known.
    pub(super) fn extents(&self, operand: Option<&Operand>, fresh: Fresh) -> Inferred<Vec<Dim>> {
        match (self.infer(operand)?, operand) {
            (Some(extents), _) => Ok(extents),
            (None, Some(o)) => Ok((0..vector_len(o.ty)?).map(|_| fresh()).collect()),
            (None, None) => Err(InferError("an operand is missing".into())),
        }
    }

    /// The integers: its own, or those of the next operand.
    pub(super) fn eval(&self, rest: &mut std::slice::Iter<Tensor>) -> Evaluated<Vec<i64>> {
        match self {
            IntArg::Known(v) => {
                v.iter().map(|d| d.as_int().ok_or_else(|| format!("extent {d} is not known"))).collect()
            }
            IntArg::Operand => {
                let Some((t, v)) = rest.next().and_then(|t| Some((t, t.ints()?))) else {
                    return Err("an integer operand is missing".into());
                };
                let number = |&i: &i64| {
                    let number = t.dtype().number(i);
                    i64::try_from(number).map_err(|_| format!("{number} is beyond any extent"))
                };
                v.iter().map(number).collect()
            }
        }
    }

    /// As [`IntArg::eval`], for extents.
    pub(super) fn eval_extents(&self, rest: &mut std::slice::Iter<Tensor>) -> Evaluated<Vec<usize>> {
        self.eval(rest)?.iter().map(|&v| usize::try_from(v).map_err(|_| format!("extent {v}"))).collect()
    }
}
