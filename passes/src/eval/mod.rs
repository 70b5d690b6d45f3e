//! The oracle: a slow evaluator that computes every op straight from its
//! definition, one element at a time, floats in `f64` rounded to the dtype
//! after each op. Passes are tested against it and constants folded with it.
//!
//! Nothing here panics or trusts its input: an index out of range, a division
//! by zero or a size beyond memory is an [`EvalError`].

mod compare;
mod run;
pub mod testing;
#[cfg(test)]
mod tests;

pub use crate::ir::{MAX_LEN, Tensor};
pub use compare::{Difference, Place, compare};
pub use run::{Handler, bindings, run, run_with};

use crate::ir::{Dim, Op, Operand, Type, compatible, infer};
use thiserror::Error;

/// Why a graph or an op has no value for these operands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EvalError {
    /// The number of inputs is not the graph's.
    #[error("the graph has {expected} inputs, {given} were given")]
    InputCount {
        /// As the graph has it.
        expected: usize,
        /// As given.
        given: usize,
    },
    /// An input is not of its type.
    #[error("input {name}: {message}")]
    Input {
        /// Its name.
        name: String,
        /// The reason.
        message: String,
    },
    /// A constant of which the graph has only a hash.
    #[error("constant @{name} has no data: the graph was read from text")]
    Absent {
        /// Its name.
        name: String,
    },
    /// A node could not be evaluated.
    #[error("%{node} = {op}: {message}")]
    Node {
        /// Name of its first result.
        node: String,
        /// Its mnemonic.
        op: String,
        /// The reason.
        message: String,
    },
    /// An op on its own could not be evaluated.
    #[error("{op}: {message}")]
    Op {
        /// Its mnemonic.
        op: String,
        /// The reason.
        message: String,
    },
}

/// The result of the evaluators of single ops.
type Res<T> = Result<T, String>;

/// The results of one op. Extents in its attributes must be numbers; an
/// [`Op::Opaque`] is an error.
pub fn node(op: &Op, operands: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    checked(op, operands).map_err(|message| EvalError::Op { op: op.mnemonic(), message })
}

/// Evaluates, with the types checked before and after.
fn checked(op: &Op, operands: &[Tensor]) -> Res<Vec<Tensor>> {
    let types: Vec<Type> = operands.iter().map(Tensor::ty).collect();
    let ints: Vec<Option<Vec<Dim>>> = operands.iter().map(small_ints).collect();
    let known: Vec<_> = types.iter().zip(&ints).map(|(ty, ints)| Operand { ty, ints: ints.as_deref() }).collect();
    let mut unknown = 0;
    let mut fresh = || {
        unknown += 1;
        Dim::sym(format!("_{unknown}"))
    };
    let Some(inferred) = infer(op, &known, &mut fresh).map_err(|e| e.0)? else {
        return Err("there is no definition of it to evaluate".into());
    };
    for k in &inferred {
        if k.ty.known_shape().is_some() && k.ty.known_len().is_none_or(|n| n > MAX_LEN) {
            return Err(format!("{} is more than {MAX_LEN} elements", k.ty));
        }
    }
    let results = op.eval(operands)?;
    if results.len() != inferred.len() {
        return Err(format!("{} results, not {}", results.len(), inferred.len()));
    }
    for (r, k) in results.iter().zip(&inferred) {
        if !compatible(&r.ty(), &k.ty) {
            return Err(format!("evaluates to {}, inferred as {}", r.ty(), k.ty));
        }
    }
    Ok(results)
}

/// The elements of a short integer vector, which inference follows.
fn small_ints(t: &Tensor) -> Option<Vec<Dim>> {
    (t.shape().len() <= 1 && t.len() <= crate::ir::MAX_INTS)
        .then(|| t.ints()?.iter().map(|&i| i64::try_from(t.dtype().number(i)).ok().map(Dim::int)).collect())
        .flatten()
}
