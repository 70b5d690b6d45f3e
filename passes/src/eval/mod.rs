//! The oracle: a slow evaluator that computes every op straight from its
//! definition, one element at a time, floats in `f64` rounded to the dtype
//! after each op. Passes are tested against it and constants folded with it.
//!
//! Nothing here panics or trusts its input: an index out of range, a division
//! by zero or a size beyond memory is an [`EvalError`].

mod attention;
mod broadcast;
mod compare;
mod elementwise;
mod generate;
mod index;
mod linear;
mod movement;
mod normalize;
mod reduce;
mod run;
mod tensor;
pub mod testing;
#[cfg(test)]
mod tests;

pub use compare::{Difference, Place, compare};
pub use run::{Handler, bindings, run, run_with};
pub use tensor::{MAX_LEN, Tensor};

use crate::ir::{Dim, IntArg, Op, Operand, Type, compatible, infer};
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
        /// What does not fit.
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
        /// What went wrong.
        message: String,
    },
    /// An op on its own could not be evaluated.
    #[error("{op}: {message}")]
    Op {
        /// Its mnemonic.
        op: String,
        /// What went wrong.
        message: String,
    },
}

/// What the evaluators of single ops return.
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
    let results = dispatch(op, operands)?;
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
        .then(|| t.ints().map(|v| v.iter().map(|&i| Dim::int(i)).collect()))
        .flatten()
}

/// One op on operands that inference has accepted.
fn dispatch(op: &Op, x: &[Tensor]) -> Res<Vec<Tensor>> {
    let one = |t: Res<Tensor>| t.map(|t| vec![t]);
    match op {
        Op::Unary(f) => one(elementwise::unary(*f, &x[0])),
        Op::Binary(f) => one(elementwise::binary(*f, &x[0], &x[1])),
        Op::Where => one(elementwise::select(&x[0], &x[1], &x[2])),
        Op::Cast(to) => one(elementwise::cast(&x[0], *to)),
        Op::Fused(e) => one(elementwise::fused(e, x)),
        Op::MatMul => one(linear::matmul(&x[0], &x[1])),
        Op::Linear { trans_w, .. } => one(linear::linear(&x[0], &x[1], x.get(2), *trans_w)),
        Op::Attention(a) => one(attention::attention(a, &x[0], &x[1], &x[2], x.get(3))),
        Op::Softmax { axis } => one(normalize::softmax(&x[0], *axis)),
        Op::LogSoftmax { axis } => one(normalize::log_softmax(&x[0], *axis)),
        Op::LayerNorm { eps } => one(normalize::layer_norm(&x[0], x.get(1), x.get(2), eps.0)),
        Op::RmsNorm { eps } => one(normalize::rms_norm(&x[0], x.get(1), eps.0)),
        Op::Reduce(r) => one(reduce::reduce(r, &x[0])),
        Op::ArgReduce(a) => one(reduce::arg_reduce(a, &x[0])),
        Op::Cumulative(c) => one(reduce::cumulative(c, &x[0])),
        Op::TopK(t) => reduce::top_k(t, &x[0], &x[1..]),
        Op::Reshape { shape, zero_copies } => one(movement::reshape(&x[0], shape, *zero_copies, &x[1..])),
        Op::Transpose { perm } => one(movement::transpose(&x[0], perm)),
        Op::Expand { shape } => one(movement::expand(&x[0], shape, &x[1..])),
        Op::Slice(s) => one(movement::slice(s, &x[0], &x[1..])),
        Op::Concat { axis } => one(movement::concat(x, *axis)),
        Op::Pad(p) => one(movement::pad(p, &x[0], &x[1..])),
        Op::Tile { repeats } => one(movement::tile(&x[0], repeats, &x[1..])),
        Op::Gather { axis } => one(index::gather(&x[0], &x[1], *axis)),
        Op::GatherElements { axis } => one(index::gather_elements(&x[0], &x[1], *axis)),
        Op::GatherNd { batch_dims } => one(index::gather_nd(&x[0], &x[1], *batch_dims)),
        Op::ScatterNd => one(index::scatter_nd(&x[0], &x[1], &x[2])),
        Op::ScatterElements { axis } => one(index::scatter_elements(&x[0], &x[1], &x[2], *axis)),
        Op::Shape { start, end } => one(generate::shape(&x[0], *start, *end)),
        Op::Dims { values, scalar } => one(generate::dims(values, *scalar)),
        Op::Full { shape } => one(generate::full(&x[0], shape, &x[1..])),
        Op::Range => one(generate::range(&x[0], &x[1], &x[2])),
        Op::OneHot { axis } => one(generate::one_hot(&x[0], &x[1], &x[2], *axis)),
        Op::Trilu { upper } => one(generate::trilu(&x[0], x.get(1), *upper)),
        Op::NonZero => one(generate::non_zero(&x[0])),
        Op::Opaque(_) => Err("there is no definition of it to evaluate".into()),
    }
}

/// The integers of an argument: its own, or the next of the `rest` operands.
fn int_arg(arg: &IntArg, rest: &mut std::slice::Iter<Tensor>) -> Res<Vec<i64>> {
    match arg {
        IntArg::Known(v) => v.iter().map(|d| d.as_int().ok_or_else(|| format!("extent {d} is not known"))).collect(),
        IntArg::Operand => match rest.next().and_then(Tensor::ints) {
            Some(v) => Ok(v.to_vec()),
            None => Err("an integer operand is missing".into()),
        },
    }
}

/// As [`int_arg`], for extents.
fn shape_arg(arg: &IntArg, rest: &mut std::slice::Iter<Tensor>) -> Res<Vec<usize>> {
    let ints = int_arg(arg, rest)?;
    ints.iter().map(|&v| usize::try_from(v).map_err(|_| format!("extent {v}"))).collect()
}
