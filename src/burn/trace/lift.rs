//! From recorded ops to a graph.
//!
//! burn-fusion records an op with relative ids, relative extents (an id for
//! each distinct number) and relative scalars, so that one pattern serves many
//! shapes. [`Analysis`] is what can be said of a pattern as such; [`lift`] makes
//! the graph of one run, with numbers for extents and scalars.

mod base;
mod module;
mod numeric;
mod opaque;
mod scalars;

use super::approximate::AllowedKey;
use super::cache::{Key, bits};
use crate::burn::host::graph_dtype;
use bgz_passes::ir::{Constant, DType, Dim, Graph, GraphError, Op, Scalar, Type, ValueId};
use burn_fusion::stream::{Context, ScalarId};
use burn_ir::{
    FloatOperationIr, ModuleOperationIr, NumericOperationIr, OperationIr, ScalarIr, TensorId, TensorIr, TensorStatus,
};
use std::collections::{HashMap, HashSet};

/// The facts of recorded ops that hold whatever they run on.
#[derive(Clone, Debug, Default)]
pub(super) struct Analysis {
    /// Tensors that exist before the ops run, in the order they are met.
    pub inputs: Vec<TensorIr>,
    /// Tensors that the ops make and that exist behind them.
    pub results: Vec<TensorIr>,
    /// Results that nobody wants, of ops that must be done all the same.
    pub effects: Vec<TensorIr>,
    /// Places of the inputs that may be weights: the right-hand side of a matrix product, as it is or seen in another
    /// shape, a bias, the scale of a norm, an embedding; a single number.
    pub weights: Vec<usize>,
    /// Relative extents, sorted.
    pub extents: Vec<usize>,
    /// Relative scalars, sorted.
    pub scalars: Vec<u64>,
    /// Why the ops cannot be a graph.
    pub unfit: Option<String>,
}

impl Analysis {
    pub fn new(ops: &[OperationIr]) -> Self {
        let mut out = Self::default();
        let mut made: HashMap<TensorId, &TensorIr> = HashMap::new();
        let mut met: HashSet<TensorId> = HashSet::new();
        let mut gone: HashSet<TensorId> = HashSet::new();
        let mut order: Vec<&TensorIr> = Vec::new();
        for op in ops {
            for t in op.nodes() {
                if graph_dtype(t.dtype).is_none() {
                    out.unfit.get_or_insert_with(|| format!("{:?} is not a dtype of the graph", t.dtype));
                }
                out.extents.extend(t.shape.iter());
            }
            out.scalars.extend(scalars::of(op));
            for t in op.inputs() {
                if !made.contains_key(&t.id) && met.insert(t.id) && !matches!(op, OperationIr::Drop(_)) {
                    out.inputs.push(t.clone());
                }
                if t.status == TensorStatus::ReadWrite {
                    gone.insert(t.id);
                }
            }
            for t in op.outputs() {
                // A tensor made from data has its handle before the op that says so is run.
                if matches!(op, OperationIr::Init(_)) {
                    if met.insert(t.id) {
                        out.inputs.push(t.clone());
                    }
                } else if made.insert(t.id, t).is_none() {
                    order.push(t);
                }
            }
        }
        let random: HashSet<TensorId> =
            ops.iter().filter(|op| is_random(op)).flat_map(OperationIr::outputs).map(|t| t.id).collect();
        for t in order {
            if !gone.contains(&t.id) {
                out.results.push(t.clone());
            } else if random.contains(&t.id) {
                out.effects.push(t.clone());
            }
        }
        out.weights = weights(ops, &out.inputs);
        out.extents.sort_unstable();
        out.extents.dedup();
        out.scalars.sort_unstable();
        out.scalars.dedup();
        out
    }
}

/// True if an op draws random numbers, which counts even if its result is never read.
fn is_random(op: &OperationIr) -> bool {
    matches!(
        op,
        OperationIr::Float(_, FloatOperationIr::Random(_))
            | OperationIr::NumericFloat(_, NumericOperationIr::IntRandom(_))
            | OperationIr::NumericInt(_, NumericOperationIr::IntRandom(_))
    )
}

/// Inputs that matrix products have on the right, through changes of shape and order, and whatever else a layer that
/// is recorded whole has of its own.
fn weights(ops: &[OperationIr], inputs: &[TensorIr]) -> Vec<usize> {
    let mut origin: HashMap<TensorId, usize> = inputs.iter().enumerate().map(|(i, t)| (t.id, i)).collect();
    let mut found = Vec::new();
    for op in ops {
        if let Some((from, to)) = base::seen_otherwise(op)
            && let Some(&i) = origin.get(&from.id)
        {
            origin.insert(to.id, i);
        }
        for t in own(op) {
            if let Some(&i) = origin.get(&t.id)
                && graph_dtype(inputs[i].dtype) == Some(DType::F32)
                && !found.contains(&i)
            {
                found.push(i);
            }
        }
    }
    // A number that is kept as a tensor: burn-import makes its constants so. Relative extent 0 stands for 1.
    for (i, t) in inputs.iter().enumerate() {
        if t.shape.iter().all(|&e| e == 0) && graph_dtype(t.dtype) == Some(DType::F32) && !found.contains(&i) {
            found.push(i);
        }
    }
    found.sort_unstable();
    found
}

/// The operands of an op that are weights if they are the same tensors in the next run.
fn own(op: &OperationIr) -> Vec<&TensorIr> {
    match op {
        OperationIr::Float(_, FloatOperationIr::Matmul(m)) => vec![&m.rhs],
        OperationIr::Module(ModuleOperationIr::Linear(l)) => std::iter::once(&l.weight).chain(&l.bias).collect(),
        OperationIr::Module(ModuleOperationIr::Embedding(e)) => vec![&e.weights],
        OperationIr::Custom(c) => c.inputs.iter().skip(1).collect(),
        _ => Vec::new(),
    }
}

/// The numbers that the relative extents and scalars of a pattern stand for in one run.
pub(super) struct Binding {
    extents: HashMap<usize, usize>,
    scalars: HashMap<u64, ScalarIr>,
}

impl Binding {
    /// Of the run that `context` is of: what the key of its plan has, and no more, so that a plan depends on nothing else.
    pub fn new<H>(analysis: &Analysis, context: &Context<H>) -> Self {
        let extent = |e: &usize| Some((*e, *context.shapes_relative2global.get(e)?));
        let scalar = |s: &u64| Some((*s, *context.scalars.get(&ScalarId { value: *s })?));
        Self {
            extents: analysis.extents.iter().filter_map(extent).collect(),
            scalars: analysis.scalars.iter().filter_map(scalar).collect(),
        }
    }

    /// The extents of a tensor; `None` for one that is not bound.
    pub fn shape(&self, t: &TensorIr) -> Option<Vec<usize>> {
        t.shape.iter().map(|e| self.extents.get(e).copied()).collect()
    }

    fn scalar(&self, relative: ScalarIr) -> Option<ScalarIr> {
        match relative {
            ScalarIr::UInt(id) => self.scalars.get(&id).copied(),
            _ => None,
        }
    }
}

/// A graph of recorded ops. Its inputs and outputs are those of the [`Analysis`] in their order, but
/// for inputs that became constants; effects come behind the results.
pub(super) struct Lifted {
    pub graph: Graph,
    /// Places, in the analysis, of the graph's inputs.
    pub inputs: Vec<usize>,
}

/// The graph of `ops` under `binding`; `weights` are the inputs that are constants of it, by place.
pub(super) fn lift(
    ops: &[OperationIr],
    analysis: &Analysis,
    binding: &Binding,
    weights: &HashMap<usize, Constant>,
) -> Result<Lifted, String> {
    if let Some(reason) = &analysis.unfit {
        return Err(reason.clone());
    }
    let mut lifting = Lifting { graph: Graph::new("trace"), values: HashMap::new(), binding };
    let mut inputs = Vec::new();
    for (i, t) in analysis.inputs.iter().enumerate() {
        let value = match weights.get(&i) {
            Some(c) => lifting.graph.add_const("w", c.clone()),
            None => {
                inputs.push(i);
                let name = match inputs.len() {
                    1 => "x".to_owned(),
                    n => format!("x_{}", n - 1),
                };
                lifting.graph.add_input(&name, lifting.ty(t)?).map_err(|e| e.to_string())?
            }
        };
        lifting.values.insert(t.id, value);
    }
    for (at, op) in ops.iter().enumerate() {
        lifting.op(at, op)?;
    }
    for (i, t) in analysis.results.iter().chain(&analysis.effects).enumerate() {
        let value = lifting.value(t)?;
        lifting.graph.add_output(&format!("out_{i}"), value).map_err(|e| e.to_string())?;
    }
    Ok(Lifted { graph: lifting.graph, inputs })
}

/// A graph while ops are added to it.
struct Lifting<'a> {
    graph: Graph,
    values: HashMap<TensorId, ValueId>,
    binding: &'a Binding,
}

/// Why an op is not one of the graph's.
enum NotLifted {
    /// The graph has no word for it, or no kernel: the inner backend does it as recorded.
    Opaque,
    /// The ops are not in order, or refer to what is not there.
    Broken(String),
}

impl From<GraphError> for NotLifted {
    /// An op that the graph does not take in the form recorded may still be done by the inner backend.
    fn from(_: GraphError) -> Self {
        NotLifted::Opaque
    }
}

type Lift<T> = Result<T, NotLifted>;

impl Lifting<'_> {
    fn op(&mut self, at: usize, op: &OperationIr) -> Result<(), String> {
        if matches!(op, OperationIr::Drop(_) | OperationIr::Init(_)) {
            return Ok(());
        }
        let lifted = match op {
            OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => self.base(op),
            OperationIr::NumericFloat(_, op) | OperationIr::NumericInt(_, op) => self.numeric(op),
            OperationIr::Float(_, op) => self.float(op),
            OperationIr::Int(op) => self.int(op),
            OperationIr::Bool(op) => self.bool(op),
            OperationIr::Module(op) => self.module(op),
            OperationIr::Custom(op) => self.whole(op),
            _ => Err(NotLifted::Opaque),
        };
        match lifted {
            Ok(()) => Ok(()),
            Err(NotLifted::Opaque) => self.opaque(at, op),
            Err(NotLifted::Broken(reason)) => Err(reason),
        }
    }

    // ---- what ops refer to ----

    fn value(&self, t: &TensorIr) -> Result<ValueId, String> {
        self.values.get(&t.id).copied().ok_or_else(|| format!("a tensor of {:?} is used before it is made", t.shape))
    }

    fn get(&self, t: &TensorIr) -> Lift<ValueId> {
        self.value(t).map_err(NotLifted::Broken)
    }

    fn shape(&self, t: &TensorIr) -> Result<Vec<usize>, String> {
        self.binding.shape(t).ok_or_else(|| "an extent is not bound".to_owned())
    }

    fn dims(&self, t: &TensorIr) -> Lift<Vec<Dim>> {
        Ok(self.shape(t).map_err(NotLifted::Broken)?.into_iter().map(|n| Dim::int(n as i64)).collect())
    }

    fn ty(&self, t: &TensorIr) -> Result<Type, String> {
        let dtype = graph_dtype(t.dtype).ok_or_else(|| format!("{:?} is not a dtype of the graph", t.dtype))?;
        Ok(Type::new(dtype, self.shape(t)?))
    }

    /// A scalar as a constant of `dtype`.
    fn scalar(&mut self, relative: ScalarIr, dtype: DType) -> Lift<ValueId> {
        let scalar = self.binding.scalar(relative).ok_or(NotLifted::Opaque)?;
        let value = match scalar {
            ScalarIr::Float(x) => Scalar::from_f64(dtype, x),
            ScalarIr::Int(x) if dtype.is_float() => Scalar::from_f64(dtype, x as f64),
            ScalarIr::UInt(x) if dtype.is_float() => Scalar::from_f64(dtype, x as f64),
            ScalarIr::Int(x) => Scalar::from_i64(dtype, x),
            ScalarIr::UInt(x) => Scalar::from_i64(dtype, i64::try_from(x).map_err(|_| NotLifted::Opaque)?),
            ScalarIr::Bool(x) => Scalar::bool(x),
        };
        Ok(self.graph.add_const("c", Constant::scalar(value)))
    }

    /// A scalar that an op has as an attribute.
    fn number(&self, relative: ScalarIr) -> Lift<f64> {
        match self.binding.scalar(relative).ok_or(NotLifted::Opaque)? {
            ScalarIr::Float(x) => Ok(x),
            ScalarIr::Int(x) => Ok(x as f64),
            ScalarIr::UInt(x) => Ok(x as f64),
            ScalarIr::Bool(_) => Err(NotLifted::Opaque),
        }
    }

    fn dtype(&self, v: ValueId) -> DType {
        self.graph.ty(v).dtype
    }

    // ---- what is added ----

    fn add(&mut self, op: Op, inputs: &[ValueId]) -> Lift<ValueId> {
        let name = op.mnemonic();
        Ok(self.graph.add(&name, op, inputs)?)
    }

    /// Makes `value` what the tensor `out` is; it must be of its type.
    fn set(&mut self, out: &TensorIr, value: ValueId) -> Lift<()> {
        if *self.graph.ty(value) != self.ty(out).map_err(NotLifted::Broken)? {
            return Err(NotLifted::Opaque);
        }
        self.values.insert(out.id, value);
        Ok(())
    }

    /// Adds an op whose result the tensor `out` is.
    fn lifted(&mut self, out: &TensorIr, op: Op, inputs: &[ValueId]) -> Lift<()> {
        let value = self.add(op, inputs)?;
        self.set(out, value)
    }
}

/// The key of a run of an optimization under a permission; `None` if an extent or a scalar is not bound.
pub(super) fn key<H>(
    optimization: u64,
    analysis: &Analysis,
    context: &Context<H>,
    weights: Vec<(usize, TensorId)>,
    allowed: AllowedKey,
) -> Option<Key> {
    let extents = analysis.extents.iter().map(|e| context.shapes_relative2global.get(e).copied());
    let scalars = analysis.scalars.iter().map(|&s| Some(bits(*context.scalars.get(&ScalarId { value: s })?)));
    Some(Key {
        optimization,
        extents: extents.collect::<Option<_>>()?,
        scalars: scalars.collect::<Option<_>>()?,
        weights,
        allowed,
    })
}
