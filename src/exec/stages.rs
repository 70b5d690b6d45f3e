//! Graphs whose extents depend on values: run in stages, each a plan for the extents that those before it found.
//!
//! The number of non-zero elements, or a shape that the model computes, is known once the nodes before are run. So all
//! nodes whose extents are numbers are run first; what they made says more extents, and so on. A condition that they made
//! says which branch is part of the next stage, and a loop is run before the stage that needs what it makes. A stage is kept by the extents and the integers that it depends on, so
//! that a run of known ones makes no plan.

use super::control::Looped;
use super::{ExecError, PackedWeights, Plan, bind_inputs};
use crate::kernels::range_len;
use crate::tensor::Tensor;
use bgz_passes::ir::{
    Bindings, Constant, DType, Def, Generate, Graph, GraphError, Index, Node, Op, Stages as Cut, Type, ValueId,
};
use bgz_passes::scores::Approximation;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Stages of one kind kept at most; the one unused for longest goes first.
const MAX_KEPT: usize = 32;

/// A graph that is run in stages.
pub struct Stages {
    first: Stage,
    packed: Arc<PackedWeights>,
    approximation: Option<Approximation>,
    /// True if nodes are run one by one.
    op_by_op: bool,
}

/// A graph some of whose extents may depend on the values of its inputs.
struct Stage {
    /// Loops that are run first: their results are inputs of the graph behind those of the stage.
    loops: Vec<Looped>,
    graph: Graph,
    /// Inputs, by their number, whose integers say extents.
    says: Vec<usize>,
    counts: Vec<Count>,
    kept: Mutex<VecDeque<(Key, Arc<Bound>)>>,
}

/// An extent that is counted in the values of inputs, and the name of it.
enum Count {
    /// Elements of an input that are not zero.
    NonZero(usize, Arc<str>),
    /// Floats from the first number to the second in steps of the third.
    Range([Number; 3], Arc<str>),
}

/// An operand of a range.
enum Number {
    Input(usize),
    Constant(Tensor),
}

/// All that a bound stage depends on: the types of its inputs, integers that say extents, what was counted.
type Key = (Vec<Type>, Vec<Vec<i64>>, Vec<usize>);

/// A stage for known extents.
struct Bound {
    /// The nodes that can be run, on the inputs with these numbers; `None` if there are none.
    plan: Option<(Plan, Vec<usize>)>,
    /// The nodes that are left, and where its inputs come from.
    rest: Option<(Stage, Vec<Source>)>,
}

/// Where an input of the next stage comes from.
enum Source {
    Input(usize),
    Output(usize),
}

impl Stages {
    /// For inputs of any types that the graph takes.
    pub(crate) fn new(
        graph: Graph,
        packed: Arc<PackedWeights>,
        approximation: Option<Approximation>,
        op_by_op: bool,
    ) -> Result<Self, ExecError> {
        let first = Stage::new(graph, &packed, approximation.as_ref(), op_by_op)?;
        Ok(Self { first, packed, approximation, op_by_op })
    }

    /// Runs on inputs in the graph's order; results in the order of its outputs.
    ///
    /// # Errors
    /// As [`Plan::new`] and [`Plan::run`]; an extent follows neither from shapes nor from values.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecError> {
        let mut inputs = self.first.looped(inputs)?;
        let mut bound = self.first.bound(&inputs, self)?;
        // The stage that `bound` belongs to is kept alive by the one before it.
        let mut alive: Vec<Arc<Bound>> = Vec::new();
        loop {
            let outputs = match &bound.plan {
                Some((plan, takes)) => {
                    let given: Vec<Tensor> = takes.iter().map(|&i| inputs[i].clone()).collect();
                    plan.run(&given)?
                }
                None => Vec::new(),
            };
            let Some((next, sources)) = &bound.rest else { return Ok(outputs) };
            inputs = sources
                .iter()
                .map(|s| match s {
                    Source::Input(i) => inputs[*i].clone(),
                    Source::Output(i) => outputs[*i].clone(),
                })
                .collect();
            inputs = next.looped(&inputs)?;
            let following = next.bound(&inputs, self)?;
            alive.push(std::mem::replace(&mut bound, following));
        }
    }
}

impl Stage {
    fn new(
        graph: Graph,
        packed: &Arc<PackedWeights>,
        approximation: Option<&Approximation>,
        op_by_op: bool,
    ) -> Result<Self, ExecError> {
        let (graph, loops) = match graph.begun()? {
            None => (graph, Vec::new()),
            Some((begun, rest)) => {
                let looped = |id| Looped::new(&graph, id, packed, approximation, op_by_op);
                let loops = begun.into_iter().map(looped).collect::<Result<_, _>>()?;
                (rest, loops)
            }
        };
        let place = |v: ValueId| graph.inputs().iter().position(|&i| i == v);
        let mut says = HashSet::new();
        let mut counts = Vec::new();
        for (_, node) in graph.nodes() {
            for at in node.op.says_extents() {
                node.inputs.get(at).into_iter().for_each(|&v| trace_ints(&graph, v, &mut says));
            }
            counts.extend(count(&graph, node, &place));
            // An extent taken from a number that a stage has made is part of the next one.
            if let (Op::Control(_), Some(&v)) = (&node.op, node.inputs.first())
                && matches!(graph.value(v).def, Def::Input)
            {
                says.insert(v);
            }
        }
        let mut says: Vec<usize> = says.into_iter().filter_map(place).collect();
        says.sort_unstable();
        Ok(Self { loops, graph, says, counts, kept: Mutex::default() })
    }

    /// The inputs of the graph, of which the last are what the loops make.
    fn looped(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecError> {
        let made: usize = self.loops.iter().map(Looped::results).sum();
        if !self.loops.is_empty() && inputs.len() + made != self.graph.inputs().len() {
            let own = &self.graph.inputs()[..self.graph.inputs().len() - made];
            let names = own.iter().map(|&v| self.graph.name(v)).collect::<Vec<_>>().join(", ");
            return Err(ExecError::InputCount { expected: own.len(), given: inputs.len(), names });
        }
        let mut all = inputs.to_vec();
        for l in &self.loops {
            all.extend(l.run(inputs)?);
        }
        Ok(all)
    }

    /// The stage for these inputs, made if it is not kept.
    fn bound(&self, inputs: &[Tensor], of: &Stages) -> Result<Arc<Bound>, ExecError> {
        let types: Vec<Type> = inputs.iter().map(Tensor::ty).collect();
        let ints = |&i: &usize| inputs[i].scalars().map(|s| s.to_i64()).collect();
        let counts = self.counts.iter().map(|c| c.of(inputs)).collect::<Result<Vec<_>, _>>()?;
        let key: Key = (types, self.says.iter().map(ints).collect(), counts);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(k, _)| *k == key)
            && let Some(entry) = kept.remove(at)
        {
            kept.push_back(entry);
            return Ok(kept[kept.len() - 1].1.clone());
        }
        drop(kept);
        let bound = Arc::new(self.bind(inputs, &key, of)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.pop_front();
        }
        kept.push_back((key, bound.clone()));
        Ok(bound)
    }

    fn bind(&self, inputs: &[Tensor], (types, _, counts): &Key, of: &Stages) -> Result<Bound, ExecError> {
        let mut bindings: Bindings = bind_inputs(&self.graph, types)?;
        for (count, &n) in self.counts.iter().zip(counts) {
            let (Count::NonZero(_, name) | Count::Range(_, name)) = count;
            bindings.insert(name.clone(), i64::try_from(n).map_err(|_| ExecError::TooLarge)?);
        }
        let mut constants: HashMap<ValueId, Constant> = HashMap::new();
        for &i in &self.says {
            let constant = Constant::from_scalars(inputs[i].dtype(), inputs[i].shape().to_vec(), inputs[i].scalars());
            let constant =
                constant.ok_or_else(|| ExecError::Internal("a tensor that does not fit its shape".into()))?;
            constants.insert(self.graph.inputs()[i], constant);
        }
        let mut bound = self.graph.bind_partly(&bindings, &constants)?;
        // A branch may have branches in it: each time there is a graph less within others.
        while let Some(inlined) = bound.inlined()? {
            bound = inlined;
        }
        let takes: Vec<usize> = (0..inputs.len()).filter(|i| !self.says.contains(i)).collect();
        let given: Vec<Type> = takes.iter().map(|&i| types[i].clone()).collect();
        let plan = |graph: &Graph| match of.op_by_op {
            true => Plan::op_by_op(graph, &given, &of.packed),
            false => Plan::new(graph, &given, &of.packed, of.approximation.as_ref()),
        };
        let Some(Cut { first, rest }) = bound.first_stage()? else {
            return Ok(Bound { plan: Some((plan(&bound)?, takes)), rest: None });
        };
        let begins = rest.begun()?.is_some();
        if first.is_empty() && self.says.is_empty() && !begins && open(&rest) >= open(&self.graph) {
            return Err(unknown(&bound).into());
        }
        let source = |&v: &ValueId| {
            let name = rest.name(v);
            let input = || takes.iter().copied().find(|&i| self.graph.name(self.graph.inputs()[i]) == name);
            let output = first.outputs().iter().position(|o| &*o.name == name);
            output.map(Source::Output).or_else(|| input().map(Source::Input))
        };
        let sources: Option<Vec<Source>> = rest.inputs().iter().map(source).collect();
        let sources = sources.ok_or_else(|| ExecError::Internal("a stage reads what no other has made".into()))?;
        let plan = if first.is_empty() { None } else { Some((plan(&first)?, takes)) };
        let rest = Stage::new(rest, &of.packed, of.approximation.as_ref(), of.op_by_op)?;
        Ok(Bound { plan, rest: Some((rest, sources)) })
    }
}

/// Extents of results that are no numbers.
fn open(graph: &Graph) -> usize {
    let made = graph.nodes().flat_map(|(_, n)| &n.outputs);
    made.flat_map(|&v| &graph.ty(v).shape).filter(|d| d.as_int().is_none()).count()
}

/// The first extent that does not follow from anything.
fn unknown(graph: &Graph) -> GraphError {
    if let Some((_, n)) = graph.nodes().find(|(_, n)| matches!(n.op, Op::Control(_))) {
        let value = n.outputs.first().map_or("?", |&v| graph.name(v)).into();
        return GraphError::Decided { value, op: n.op.mnemonic() };
    }
    let made = graph.nodes().flat_map(|(_, n)| &n.outputs);
    let found = made.flat_map(|&v| graph.ty(v).shape.iter().map(move |d| (v, d))).find(|(_, d)| d.as_int().is_none());
    match found {
        Some((v, dim)) => GraphError::UnboundDim { value: graph.name(v).into(), dim: dim.to_string() },
        None => GraphError::Invalid("a graph that cannot be cut".into()),
    }
}

/// Inputs from which the integers of a small vector or scalar are computed.
fn trace_ints(graph: &Graph, v: ValueId, found: &mut HashSet<ValueId>) {
    let (mut work, mut seen) = (vec![v], HashSet::from([v]));
    while let Some(v) = work.pop() {
        let ty = graph.ty(v);
        if ty.rank() > 1 || !(ty.dtype.is_int() || ty.dtype == DType::Bool) {
            continue;
        }
        match &graph.value(v).def {
            Def::Input => drop(found.insert(v)),
            Def::Const(_) => {}
            Def::Node(id, _) => work.extend(graph.node(*id).inputs.iter().filter(|&&x| seen.insert(x))),
        }
    }
}

/// The number that has to be counted for a node, if the values are those of inputs.
fn count(graph: &Graph, node: &Node, place: &impl Fn(ValueId) -> Option<usize>) -> Option<Count> {
    let extent = |axis: usize| graph.ty(node.outputs[0]).shape.get(axis)?.as_sym().cloned();
    match &node.op {
        Op::Index(Index::NonZero) => Some(Count::NonZero(place(node.inputs[0])?, extent(1)?)),
        Op::Generate(Generate::Range) if graph.ty(node.inputs[0]).dtype.is_float() => {
            let number = |&v: &ValueId| match graph.constant(v) {
                Some(c) => Tensor::from_constant(c).ok().map(Number::Constant),
                None => place(v).map(Number::Input),
            };
            let numbers: Vec<Number> = node.inputs.iter().map(number).collect::<Option<_>>()?;
            Some(Count::Range(numbers.try_into().ok()?, extent(0)?))
        }
        _ => None,
    }
}

impl Count {
    fn of(&self, inputs: &[Tensor]) -> Result<usize, ExecError> {
        match self {
            Count::NonZero(i, _) => Ok(non_zero(&inputs[*i])),
            Count::Range(numbers, name) => {
                let [start, limit, step] = [0, 1, 2].map(|i| match &numbers[i] {
                    Number::Input(at) => inputs[*at].scalars().next().map_or(f64::NAN, |s| s.to_f64()),
                    Number::Constant(t) => t.scalars().next().map_or(f64::NAN, |s| s.to_f64()),
                });
                range_len(start, limit, step).map_err(|e| ExecError::Node {
                    node: name.to_string(),
                    op: "range".into(),
                    reason: e.to_string(),
                })
            }
        }
    }
}

fn non_zero(t: &Tensor) -> usize {
    match t.dtype() {
        DType::Bool | DType::I8 | DType::U8 => t.bytes().iter().filter(|&&b| b != 0).count(),
        // The sign of a zero is no number.
        DType::F32 => bytemuck::cast_slice::<u8, f32>(t.bytes()).iter().filter(|&&v| v != 0.0).count(),
        d if d.is_float() => t.scalars().filter(|s| s.to_f64() != 0.0).count(),
        d => t.bytes().chunks_exact(d.size()).filter(|e| e.iter().any(|&b| b != 0)).count(),
    }
}
