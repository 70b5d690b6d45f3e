//! Whole graphs.

use super::{EvalError, Tensor};
use crate::ir::{Bindings, Def, Dim, Graph, Op, Opaque, Type, ValueId};
use std::collections::HashMap;

/// The function that runs opaque ops for [`run_with`]; `None` if it does not know the op.
pub type Handler<'a> = &'a mut dyn FnMut(&Opaque, &[Tensor]) -> Option<Vec<Tensor>>;

/// The results of a graph; an opaque op is an error.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    run_with(graph, inputs, &mut |_, _| None)
}

/// The results of a graph, with `opaque` to run opaque ops.
///
/// The named dims are bound from the shapes of the inputs. Every result is
/// checked against the type that the graph claims for it.
pub fn run_with(graph: &Graph, inputs: &[Tensor], opaque: Handler) -> Result<Vec<Tensor>, EvalError> {
    let mut bound = bindings(graph, inputs)?;
    let mut values: HashMap<ValueId, Tensor> = graph.inputs().iter().copied().zip(inputs.iter().cloned()).collect();
    let mut uses: HashMap<ValueId, usize> = HashMap::new();
    for (_, node) in graph.nodes() {
        node.inputs.iter().for_each(|&v| *uses.entry(v).or_default() += 1);
    }
    for (_, node) in graph.nodes() {
        let op = node.op.map_dims(|d| d.bind(&bound));
        let name = node.outputs.first().map_or("?", |&v| graph.name(v));
        let fail = |message: String| EvalError::Node { node: name.into(), op: op.mnemonic(), message };
        let operands: Vec<Tensor> = node.inputs.iter().map(|&v| value(graph, &values, v)).collect::<Result<_, _>>()?;
        let results = match &op {
            Op::Opaque(o) => {
                opaque(o, &operands).ok_or_else(|| fail("there is no definition of it to evaluate".into()))?
            }
            op => super::checked(op, &operands).map_err(fail)?,
        };
        if results.len() != node.outputs.len() {
            return Err(fail(format!("{} results, not {}", results.len(), node.outputs.len())));
        }
        for (&v, t) in node.outputs.iter().zip(results) {
            check(graph.ty(v), &t, &mut bound, true).map_err(fail)?;
            values.insert(v, t);
        }
        // Keeps a large model from holding every intermediate.
        for &v in &node.inputs {
            if let Some(n) = uses.get_mut(&v) {
                *n = n.saturating_sub(1);
                if *n == 0 && !graph.is_output(v) {
                    values.remove(&v);
                }
            }
        }
    }
    graph.outputs().iter().map(|o| value(graph, &values, o.value)).collect()
}

fn value(graph: &Graph, values: &HashMap<ValueId, Tensor>, v: ValueId) -> Result<Tensor, EvalError> {
    if let Some(t) = values.get(&v) {
        return Ok(t.clone());
    }
    let name = graph.name(v).to_string();
    match &graph.value(v).def {
        Def::Const(c) => Tensor::from_constant(c).ok_or(EvalError::Absent { name }),
        _ => Err(EvalError::Input { name, message: "it is used before it is made".into() }),
    }
}

/// The numbers of the named dims, from the inputs of a graph.
pub fn bindings(graph: &Graph, inputs: &[Tensor]) -> Result<Bindings, EvalError> {
    if graph.inputs().len() != inputs.len() {
        return Err(EvalError::InputCount { expected: graph.inputs().len(), given: inputs.len() });
    }
    let mut bound = Bindings::new();
    let fail = |v: ValueId, message| EvalError::Input { name: graph.name(v).into(), message };
    // Plain names first: they may settle a product or a sum elsewhere.
    for derived in [false, true] {
        for (&v, t) in graph.inputs().iter().zip(inputs) {
            check(graph.ty(v), t, &mut bound, derived).map_err(|m| fail(v, m))?;
        }
    }
    for &v in graph.inputs() {
        if let Some(d) = graph.ty(v).shape.iter().find(|d| d.bind(&bound).as_int().is_none()) {
            return Err(fail(v, format!("its shape does not say what {d} is")));
        }
    }
    Ok(bound)
}

/// Checks a tensor against a claimed type, and binds the dims that it settles;
/// those in a sum or a product only if `derived`.
fn check(ty: &Type, t: &Tensor, bound: &mut Bindings, derived: bool) -> Result<(), String> {
    if ty.dtype != t.dtype() || ty.rank() != t.shape().len() {
        return Err(format!("{ty} is expected, not {}", t.ty()));
    }
    for (axis, (claim, &n)) in ty.shape.iter().zip(t.shape()).enumerate() {
        let n = i64::try_from(n).map_err(|_| format!("an extent of {n}"))?;
        let now = claim.bind(bound);
        match now.as_int() {
            Some(m) if m == n => {}
            Some(m) if Some(m) == claim.as_int() => return Err(format!("axis {axis} must be {m}, not {n} ({ty})")),
            Some(m) => return Err(format!("axis {axis} is {n}, but {claim} is {m} here ({ty})")),
            None => {
                if let Some(s) = now.as_sym() {
                    bound.insert(s.clone(), n);
                } else if derived && let Some((s, v)) = solve(&now, n) {
                    if v < 0 {
                        return Err(format!("axis {axis} is {n}, which is not {claim} for any extents ({ty})"));
                    }
                    bound.insert(s, v);
                }
            }
        }
    }
    Ok(())
}

/// The one named dim of `c * name + k` where that is to be `n`; -1 if there is no such integer.
fn solve(d: &Dim, n: i64) -> Option<(std::sync::Arc<str>, i64)> {
    let [name] = <[_; 1]>::try_from(d.symbols()).ok()?;
    let rest = d.bind(&Bindings::from([(name.clone(), 0)])).as_int()?;
    let slope = d.bind(&Bindings::from([(name.clone(), 1)])).as_int()?.checked_sub(rest)?;
    let twice = d.bind(&Bindings::from([(name.clone(), 2)])).as_int()?;
    let difference = n.checked_sub(rest)?;
    if slope == 0 || twice.checked_sub(rest)? != slope.checked_mul(2)? {
        return None;
    }
    let v = if difference % slope == 0 { difference.checked_div(slope)? } else { -1 };
    Some((name, v))
}
