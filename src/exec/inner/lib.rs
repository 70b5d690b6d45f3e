//! Running graph ops on a Burn backend through Burn's own functions, one op
//! after the other: what a user of Burn gets without us. It is the baseline of
//! `--no-rewrite`, and the way out for the ops that a plan does not lower.
//!
//! An op that Burn has no function for is composed of those it has. What
//! cannot be expressed with them, or would panic in a backend where the graph
//! defines a result (indices from the end, casts out of range, repeated
//! indices of a scatter), is done on host memory, in plain Rust.
//!
//! The graphs are bound: every extent is a number. A scalar of the graph is
//! `[1]` in Burn. Integers that overflow do what the backend does. A graph that is run as a whole keeps halves as f32 from
//! op to op.

mod attention;
mod backend;
mod conv;
mod dtype;
mod elementwise;
mod fused;
mod host;
mod index;
mod linear;
mod memory;
mod movement;
mod pool;
mod quiet;
mod reduce;
mod resize;
mod run;
mod single;
mod tensor;
#[cfg(test)]
mod tests;

pub use backend::{HostTensor, Inner, InnerBackend, RunOps};
pub use dtype::graph_dtype;
pub use quiet::caught;
pub use run::OpByOp;
pub use single::{InnerOp, Single, Spans};
pub use tensor::InnerTensor;

use bgz_passes::ir::{
    Cast, DType, Dim, Generate, Index, Movement, Norm, Op, Operand, Product, Reduce, Type, Where, infer,
};
use burn_backend::Backend;
use burn_backend::tensor::Device;
use thiserror::Error;

/// Why an op has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The backend cannot hold a dtype.
    #[error("the backend {backend} has no {dtype}")]
    Dtype {
        /// The dtype.
        dtype: DType,
        /// What the backend calls itself.
        backend: String,
    },
    /// Operands or attributes that do not fit.
    #[error("{0}")]
    Invalid(String),
    /// Defined, but not to be had here.
    #[error("{0}")]
    Unsupported(String),
    /// More memory than there is.
    #[error("{bytes} bytes are needed, which memory does not suffice for")]
    Memory {
        /// What was to be allocated at once, at the most.
        bytes: usize,
    },
    /// An attribute of an opaque op that is missing, unknown or out of range.
    #[error("attribute {name}: {reason}")]
    Attribute {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// What can go wrong in running ops on a backend.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InnerError {
    /// An op has no result.
    #[error("{op}: {fault}")]
    Op {
        /// Mnemonic.
        op: String,
        /// Why.
        fault: Fault,
    },
    /// The backend panicked.
    #[error("{op}: the backend panicked: {message}")]
    Panicked {
        /// Mnemonic.
        op: String,
        /// What it said.
        message: String,
    },
    /// A node of a graph has no result.
    #[error("%{node} = {source}")]
    Node {
        /// Name of its first result.
        node: String,
        /// Why.
        source: Box<InnerError>,
    },
    /// A constant cannot be made a tensor.
    #[error("constant @{name}: {fault}")]
    Constant {
        /// Its name.
        name: String,
        /// Why.
        fault: Fault,
    },
    /// An input is not what the graph takes.
    #[error("input {name}: {reason}")]
    Input {
        /// Its name, or its number.
        name: String,
        /// What does not fit.
        reason: String,
    },
    /// A graph with extents that are not numbers, or out of order.
    #[error("{0}")]
    Graph(String),
}

type Res<T> = Result<T, Fault>;

/// What an op's function knows beside its operands.
pub(crate) struct Cx<'a, B: Backend> {
    device: &'a Device<B>,
    /// Types of the operands, bound.
    inputs: &'a [Type],
    /// Types of the results, bound.
    outputs: &'a [Type],
}

impl<B: Backend> Cx<'_, B> {
    /// The extents of an operand.
    fn shape(&self, operand: usize) -> Res<Vec<usize>> {
        match self.inputs.get(operand) {
            Some(ty) => tensor::known(ty),
            None => Err(Fault::Invalid(format!("operand {operand} is missing"))),
        }
    }

    /// The extents of the first result.
    fn out(&self) -> Res<Vec<usize>> {
        tensor::known(self.out_type()?)
    }

    /// The type of the first result.
    fn out_type(&self) -> Res<&Type> {
        self.outputs.first().ok_or_else(|| Fault::Invalid("no result".into()))
    }
}

/// The operands of an op, taken one after the other so that the backend can
/// work in place on what nothing else holds.
struct Operands<B: Backend>(std::vec::IntoIter<InnerTensor<B>>);

impl<B: Backend> Operands<B> {
    fn take(&mut self) -> Res<InnerTensor<B>> {
        self.0.next().ok_or_else(|| Fault::Invalid("too few operands".into()))
    }

    fn take_if(&mut self) -> Option<InnerTensor<B>> {
        self.0.next()
    }
}

/// The results of `op` on `inputs`, whose types are `input_types`, as `output_types`; all of them bound.
///
/// Operands are given away: a clone is cheap, but an operand that the caller
/// does not hold on to can be worked on in place. Everything is checked before
/// the backend is called, and that there is memory for it; a panic in it comes back as an error, without a word from the
/// panic hook.
pub fn run_op<B: Backend>(
    op: &Op,
    inputs: Vec<InnerTensor<B>>,
    input_types: &[Type],
    output_types: &[Type],
    device: &Device<B>,
) -> Result<Vec<InnerTensor<B>>, InnerError> {
    check_types(op, input_types, output_types).map_err(|fault| InnerError::Op { op: op.mnemonic(), fault })?;
    run_typed(op, inputs, input_types, output_types, device)
}

/// [`run_op`] for types that are known to fit the op.
fn run_typed<B: Backend>(
    op: &Op,
    inputs: Vec<InnerTensor<B>>,
    input_types: &[Type],
    output_types: &[Type],
    device: &Device<B>,
) -> Result<Vec<InnerTensor<B>>, InnerError> {
    let fail = |fault| InnerError::Op { op: op.mnemonic(), fault };
    check_tensors(&inputs, input_types, output_types, device).map_err(fail)?;
    if let Some(empty) = empty_results(output_types, device) {
        return Ok(empty);
    }
    memory::check(memory::needs(op, input_types, output_types)).map_err(fail)?;
    let cx = Cx { device, inputs: input_types, outputs: output_types };
    let results = match caught(|| dispatch(op, Operands(inputs.into_iter()), &cx)) {
        Ok(r) => r.map_err(fail)?,
        Err(message) => return Err(InnerError::Panicked { op: op.mnemonic(), message }),
    };
    check_results(&results, output_types).map_err(fail)?;
    Ok(results)
}

/// Whether the types are those of the op.
fn check_types(op: &Op, inputs: &[Type], outputs: &[Type]) -> Res<()> {
    let operands: Vec<_> = inputs.iter().map(|ty| Operand { ty, ints: None }).collect();
    let mut unknown = 0usize;
    let mut fresh = || {
        unknown += 1;
        Dim::sym(format!("_{unknown}"))
    };
    let Some(inferred) = infer(op, &operands, &mut fresh).map_err(|e| Fault::Invalid(e.0))? else { return Ok(()) };
    let fits = |a: &Type, b: &Type| {
        let equal = |(x, y): (&Dim, &Dim)| x.as_int().is_none() || y.as_int().is_none() || x == y;
        a.dtype == b.dtype && a.rank() == b.rank() && a.shape.iter().zip(&b.shape).all(equal)
    };
    if inferred.len() != outputs.len() {
        return Err(Fault::Invalid(format!("{} results, not {}", inferred.len(), outputs.len())));
    }
    match inferred.iter().zip(outputs).find(|(k, ty)| !fits(&k.ty, ty)) {
        Some((k, ty)) => Err(Fault::Invalid(format!("the result is {}, not {ty}", k.ty))),
        None => Ok(()),
    }
}

/// Whether the operands are of their types, and every dtype is one that the backend has.
fn check_tensors<B: Backend>(
    inputs: &[InnerTensor<B>],
    input_types: &[Type],
    output_types: &[Type],
    device: &Device<B>,
) -> Res<()> {
    for ty in input_types.iter().chain(output_types) {
        if !B::supports_dtype(device, dtype::burn_dtype(ty.dtype)) {
            return Err(Fault::Dtype { dtype: ty.dtype, backend: B::name(device) });
        }
    }
    if inputs.len() != input_types.len() {
        return Err(Fault::Invalid(format!("{} operands, not {}", inputs.len(), input_types.len())));
    }
    for (i, (t, ty)) in inputs.iter().zip(input_types).enumerate() {
        if t.shape() != tensor::physical(&tensor::known(ty)?) || t.dtype() != Some(ty.dtype) {
            return Err(Fault::Invalid(format!("operand {i} is {t:?}, not {ty}")));
        }
    }
    Ok(())
}

/// Whether a backend made what was asked for.
fn check_results<B: Backend>(results: &[InnerTensor<B>], types: &[Type]) -> Res<()> {
    if results.len() != types.len() {
        return Err(Fault::Invalid(format!("{} results, not {}", results.len(), types.len())));
    }
    for (t, ty) in results.iter().zip(types) {
        // The extents of some results are known only now.
        let fits = |(d, n): (&Dim, usize)| d.as_int().is_none() || d.as_usize() == Some(n);
        let shape = t.shape();
        let shape_fits = if ty.rank() == 0 {
            shape == [1]
        } else {
            shape.len() == ty.rank() && ty.shape.iter().zip(shape).all(fits)
        };
        if !shape_fits || t.dtype() != Some(ty.dtype) {
            return Err(Fault::Invalid(format!("the result is {t:?}, not {ty}")));
        }
    }
    Ok(())
}

/// The results, if there is no element in them: backends differ in what they do then.
fn empty_results<B: Backend>(types: &[Type], device: &Device<B>) -> Option<Vec<InnerTensor<B>>> {
    let empty = |ty: &Type| {
        let shape = ty.known_shape()?;
        shape.contains(&0).then(|| InnerTensor::from_bytes(ty.dtype, &shape, &[], device).ok())?
    };
    types.iter().map(empty).collect()
}

fn dispatch<B: Backend>(op: &Op, mut x: Operands<B>, cx: &Cx<'_, B>) -> Res<Vec<InnerTensor<B>>> {
    let result = match op {
        Op::Unary(f) => elementwise::unary(*f, x.take()?)?,
        Op::Binary(f) => elementwise::binary(*f, x.take()?, x.take()?, cx)?,
        Op::Where(Where) => elementwise::choose(x.take()?, x.take()?, x.take()?, cx)?,
        Op::Cast(Cast(to)) => elementwise::cast(x.take()?, *to, cx)?,
        Op::Fused(e) => fused::fused(e, x.0.collect(), cx)?,
        Op::Product(Product::MatMul) => linear::matmul(x.take()?, x.take()?, cx)?,
        Op::Product(Product::Linear { trans_w, .. }) => {
            linear::linear(*trans_w, x.take()?, x.take()?, x.take_if(), cx)?
        }
        Op::Attention(a) => attention::attention(a, x.take()?, x.take()?, x.take()?, x.take_if(), cx)?,
        Op::Conv(c) => conv::conv(c, x, cx)?,
        Op::Pool(p) => pool::pool(p, x, cx)?,
        Op::Resize(r) => resize::resize(r, x.take()?, cx)?,
        Op::Norm(Norm::Softmax { axis }) => reduce::softmax(x.take()?, *axis)?,
        Op::Norm(Norm::LogSoftmax { axis }) => reduce::log_softmax(x.take()?, *axis)?,
        Op::Norm(Norm::LayerNorm { eps }) => reduce::layer_norm(x.take()?, x.take_if(), x.take_if(), eps.0, cx)?,
        Op::Norm(Norm::RmsNorm { eps }) => reduce::rms_norm(x.take()?, x.take_if(), eps.0, cx)?,
        Op::Reduce(Reduce::Fold(r)) => reduce::reduce(r, x.take()?, cx)?,
        Op::Reduce(Reduce::Arg(a)) => reduce::arg_reduce(a, x.take()?, cx)?,
        Op::Reduce(Reduce::Cumulative(c)) => reduce::cumulative(c, x.take()?, cx)?,
        Op::Reduce(Reduce::TopK(t)) => return reduce::top_k(t, x.take()?, cx),
        Op::Movement(Movement::Reshape { .. }) => x.take()?.reshape(&cx.out()?)?,
        Op::Movement(Movement::Transpose { perm }) => x.take()?.permute(perm),
        Op::Movement(Movement::Expand { .. }) => x.take()?.expand(&cx.out()?)?,
        Op::Movement(Movement::Slice(s)) => movement::slice(s, x, cx)?,
        Op::Movement(Movement::Concat { axis }) => movement::concat(*axis, x.0.collect())?,
        Op::Movement(Movement::Pad(p)) => movement::pad(p, x, cx)?,
        Op::Movement(Movement::Tile { .. }) => movement::tile(x.take()?, cx)?,
        Op::Index(Index::Gather { axis }) => index::gather(*axis, x.take()?, x.take()?, cx)?,
        Op::Index(Index::GatherElements { axis }) => index::gather_elements(*axis, x.take()?, x.take()?, cx)?,
        Op::Index(Index::GatherNd { batch_dims }) => index::gather_nd(*batch_dims, x.take()?, x.take()?, cx)?,
        Op::Index(Index::ScatterNd) => index::scatter_nd(x.take()?, x.take()?, x.take()?, cx)?,
        Op::Index(Index::ScatterElements { axis }) => {
            index::scatter_elements(*axis, x.take()?, x.take()?, x.take()?, cx)?
        }
        Op::Generate(Generate::Shape { start, end }) => movement::shape(*start, *end, cx)?,
        Op::Generate(Generate::Dims { values, .. }) => movement::dims(values, cx)?,
        Op::Generate(Generate::Full { .. }) => InnerTensor::full(x.take()?.to_scalar()?, &cx.out()?, cx.device)?,
        Op::Generate(Generate::Range) => movement::range(x.take()?, x.take()?, x.take()?, cx)?,
        Op::Generate(Generate::OneHot { axis }) => index::one_hot(*axis, x.take()?, x.take()?, x.take()?, cx)?,
        Op::Movement(Movement::Trilu { upper }) => index::trilu(*upper, x.take()?, x.take_if(), cx)?,
        Op::Index(Index::NonZero) => index::non_zero(x.take()?, cx)?,
        Op::Opaque(_) => return Err(Fault::Unsupported("Burn has no such op".into())),
    };
    Ok(vec![result])
}
