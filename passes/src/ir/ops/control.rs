//! Ops that carry graphs: values decide whether, or how often, these are run.

use super::{Evaluated, Family, Fields, Fresh, Inferred};
use crate::eval;
use crate::ir::infer::{InferError, Operand, fail, is_fresh, may_equal, need_one};
use crate::ir::tensor::{MAX_LEN, Tensor};
use crate::ir::{Call, DType, Dim, Graph, Scalar, Subgraph, Type};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

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
    /// `[trip count], [condition (one bool)], carried values ..., captured values ...`: a graph that is run as long as there
    /// are trips left and the condition is true. The graph takes the number of the iteration, the condition, the carried
    /// values and the captured ones, and its results are the condition and the carried values of the next iteration, and
    /// more. Results are the carried values behind the last iteration, and of what is more those of all, stacked.
    Loop {
        /// The graph.
        body: Subgraph,
        /// True if there is a trip count (i64); else only the condition ends it.
        trip_count: bool,
        /// True if there is a condition; else it is true at first.
        condition: bool,
        /// How many values are carried from one iteration to the next.
        carried: usize,
    },
}

/// The form of a loop, without its body.
#[derive(Clone, Debug)]
pub struct LoopParts {
    /// Where the trip count is among the operands.
    pub trip_count: Option<usize>,
    /// Where the condition is.
    pub condition: Option<usize>,
    /// Where the carried values begin, and how many there are; the captured ones follow.
    pub carried: (usize, usize),
    /// The graph.
    pub body: Subgraph,
}

/// Iterations that are evaluated by the definition: what is evaluated so is small.
const MAX_ITERATIONS: i64 = 1 << 20;

impl Control {
    /// The graph that does all that the op does, on the operands from the second on, where the first is this number.
    pub(crate) fn taken(&self, first: i64) -> Option<&Subgraph> {
        match self {
            Control::If { then_branch, else_branch } => Some(if first != 0 { then_branch } else { else_branch }),
            Control::Loop { .. } => None,
        }
    }

    /// The parts of a loop.
    pub fn as_loop(&self) -> Option<LoopParts> {
        let Control::Loop { body, trip_count, condition, carried } = self else { return None };
        let before = usize::from(*trip_count) + usize::from(*condition);
        Some(LoopParts {
            trip_count: trip_count.then_some(0),
            condition: condition.then_some(before.saturating_sub(1)),
            carried: (before, *carried),
            body: body.clone(),
        })
    }
}

impl Family for Control {
    fn blanks() -> Vec<Self> {
        let empty = || Subgraph::new(Graph::default());
        vec![
            Control::If { then_branch: empty(), else_branch: empty() },
            Control::Loop { body: empty(), trip_count: false, condition: false, carried: 0 },
        ]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match self {
            Control::If { .. } => "if",
            Control::Loop { .. } => "loop",
        }
        .into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        match self {
            Control::If { then_branch, else_branch } => {
                fields.graph("then_branch", then_branch);
                fields.graph("else_branch", else_branch);
            }
            Control::Loop { body, trip_count, condition, carried } => {
                fields.graph("body", body);
                fields.optional_flag("trip_count", trip_count, false);
                fields.optional_flag("condition", condition, false);
                fields.optional_int("carried", carried, 0);
            }
        }
    }

    fn arity(&self) -> (usize, usize) {
        let n = match self {
            Control::If { then_branch, .. } => 1 + then_branch.graph().inputs().len(),
            Control::Loop { body, trip_count, condition, .. } => {
                usize::from(*trip_count) + usize::from(*condition) + body.graph().inputs().len().saturating_sub(2)
            }
        };
        (n, n)
    }

    fn outputs(&self) -> usize {
        match self {
            Control::If { then_branch, .. } => then_branch.graph().outputs().len(),
            Control::Loop { body, .. } => body.graph().outputs().len().saturating_sub(1),
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
            Control::Loop { .. } => {
                let Some(parts) = self.as_loop() else { fail!("no loop") };
                parts.types(x, fresh)
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
            Control::Loop { .. } => self.as_loop().ok_or("no loop")?.eval(x),
        }
    }
}

impl LoopParts {
    /// Types of what the body takes on these operands.
    fn inputs<'t>(&self, x: impl IntoIterator<Item = &'t Type>) -> Vec<Type> {
        let begin = [DType::I64, DType::Bool].map(Type::scalar);
        begin.into_iter().chain(x.into_iter().skip(self.carried.0).cloned()).collect()
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        let graph = self.body.graph();
        let (first, carried) = self.carried;
        if graph.inputs().len() < 2 + carried || graph.outputs().len() < 1 + carried {
            fail!("graph @{} has too few values for {carried} that are carried", graph.name);
        }
        if graph.outputs().len() == 1 {
            fail!("it has no result");
        }
        if let Some(i) = self.trip_count {
            if x[i].ty.dtype != DType::I64 {
                fail!("a trip count of {}", x[i].ty.dtype);
            }
            need_one(x[i].ty, "the trip count")?;
        }
        let conditions = self.condition.map(|i| x[i].ty).into_iter().chain([graph.ty(graph.outputs()[0].value)]);
        for ty in conditions {
            if ty.dtype != DType::Bool {
                fail!("a condition of {}", ty.dtype);
            }
            need_one(ty, "the condition")?;
        }
        let inputs = self.inputs(x.iter().map(|o| o.ty));
        let call = Call::new(graph, &inputs).map_err(InferError)?;
        // Extents of what is carried that differ from one iteration to the next.
        let mut moving: HashSet<Arc<str>> = HashSet::new();
        for (&v, o) in graph.inputs()[2..].iter().zip(&graph.outputs()[1..]).take(carried) {
            let (before, after) = (graph.ty(v), graph.ty(o.value));
            // A dim of its own name is whatever an iteration finds.
            let fits = |(b, a): (&Dim, &Dim)| b.as_sym().is_some_and(|_| is_fresh(b)) || may_equal(b, a);
            let same = before.dtype == after.dtype && before.rank() == after.rank();
            if !same || !before.shape.iter().zip(&after.shape).all(fits) {
                fail!("what is carried is {before} before an iteration and {after} behind it");
            }
            let changed = before.shape.iter().zip(&after.shape).filter(|(a, b)| a != b);
            moving.extend(changed.flat_map(|(a, _)| a.symbols()));
        }
        let outside = |d: &Dim| match d.symbols().iter().any(|s| moving.contains(s)) {
            true => None,
            false => call.outside(d),
        };
        let mut types = Vec::with_capacity(graph.outputs().len() - 1);
        for (i, o) in graph.outputs()[1..].iter().enumerate() {
            let ty = graph.ty(o.value);
            let open = Open { dtype: ty.dtype, shape: ty.shape.iter().map(outside).collect() };
            types.push(if i < carried {
                let initial = x[first + i].ty;
                joined(
                    Open { dtype: initial.dtype, shape: initial.shape.iter().cloned().map(Some).collect() },
                    open,
                    fresh,
                )?
            } else {
                let each = open.shape.into_iter().map(|d| d.unwrap_or_else(&mut *fresh)).collect::<Vec<_>>();
                Type { dtype: open.dtype, shape: std::iter::once(fresh()).chain(each).collect() }
            });
        }
        Ok(types)
    }

    /// Types of what is stacked where there is no iteration, for operands of these types: extents that the graph does not say
    /// are 0.
    pub fn stacks_of_none(&self, x: &[Type]) -> Result<Vec<(DType, Vec<usize>)>, String> {
        let graph = self.body.graph();
        let call = Call::new(graph, &self.inputs(x))?;
        let extent = |d: &Dim| call.outside(d).and_then(|d| d.as_usize()).unwrap_or(0);
        let stacked = graph.outputs().iter().skip(1 + self.carried.1).map(|o| graph.ty(o.value));
        Ok(stacked.map(|ty| (ty.dtype, std::iter::once(0).chain(ty.shape.iter().map(extent)).collect())).collect())
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let (first, carried) = self.carried;
        let number = |i: Option<usize>| {
            i.map(|i| x[i].ints().and_then(|v| v.first().copied()).ok_or("an operand that is no integer")).transpose()
        };
        let trips = number(self.trip_count)?.unwrap_or(i64::MAX);
        let mut going = number(self.condition)?.is_none_or(|c| c != 0);
        let mut values = x[first..first + carried].to_vec();
        let mut stacks: Vec<Vec<Tensor>> = vec![Vec::new(); self.body.graph().outputs().len() - 1 - carried];
        let (mut i, mut held) = (0, 0);
        while going && i < trips {
            if i == MAX_ITERATIONS {
                return Err(format!("more than {MAX_ITERATIONS} iterations"));
            }
            let begin = [Tensor::scalar(Scalar::i64(i)), Tensor::scalar(Scalar::bool(true))];
            let inputs: Vec<Tensor> =
                begin.into_iter().chain(values).chain(x[first + carried..].iter().cloned()).collect();
            let mut made =
                eval::run(self.body.graph(), &inputs).map_err(|e| format!("iteration {i}: {e}"))?.into_iter();
            let condition = made.next().ok_or("no condition")?;
            going = condition.ints().and_then(|v| v.first().copied()).ok_or("a condition that is no bool")? != 0;
            values = made.by_ref().take(carried).collect();
            for (stack, t) in stacks.iter_mut().zip(made) {
                held += t.len().max(1);
                if held > MAX_LEN {
                    return Err(format!("more than {MAX_LEN} elements"));
                }
                stack.push(t);
            }
            i += 1;
        }
        let types: Vec<Type> = x.iter().map(Tensor::ty).collect();
        let none = self.stacks_of_none(&types)?;
        for (stack, (dtype, shape)) in stacks.into_iter().zip(none) {
            let Some((head, rest)) = stack.split_first() else {
                values.push(Tensor::new(dtype, shape, []).ok_or("a stack of nothing")?);
                continue;
            };
            if let Some(t) = rest.iter().find(|t| t.shape() != head.shape()) {
                return Err(format!("{} and {} are to be stacked", head.ty(), t.ty()));
            }
            let shape = std::iter::once(stack.len()).chain(head.shape().iter().copied()).collect();
            values.push(head.chain(rest)?.with_shape(shape)?);
        }
        Ok(values)
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
