//! Ops that have graphs among their attributes.

use super::error::{Res, fail};
use super::node::{Convert, Cx, Frame, Node, Outs, Value};
use super::normalise::Step;
use super::proto::GraphProto;
use bgz_passes::ir::{Control, Op, Subgraph, Type, ValueId};

pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    if !domain.is_empty() {
        return None;
    }
    let found: Convert = match op {
        "If" => branch,
        _ => return None,
    };
    Some(found)
}

/// The branch that is taken if the condition is known, else both.
fn branch(n: &mut Node) -> Res<Outs> {
    let (then, other) = (n.attrs().graph("then_branch")?, n.attrs().graph("else_branch")?);
    let (Some(then), Some(other)) = (then, other) else { fail!("it needs two branches") };
    if let Some(condition) = known(n)? {
        let outputs = n.cx.within(|cx| converted(cx, n.step, if condition { then } else { other }, &[]))?;
        return Ok(outputs.into_iter().map(|(_, v)| Some(v)).collect());
    }
    let condition = n.input(0)?;
    let (mut then, mut other) = (apart(n, then, &[])?, apart(n, other, &[])?);
    let mut inputs = vec![condition];
    inputs.extend(aligned(n, [&mut then, &mut other])?);
    let results = then.graph.outputs().len();
    let [then_branch, else_branch] = [then, other].map(|frame| Subgraph::new(frame.graph));
    n.emit_all(results, Op::Control(Control::If { then_branch, else_branch }), &inputs)
}

/// The condition, if it is known.
fn known(n: &mut Node) -> Res<Option<bool>> {
    if let Some(c) = n.constant(0) {
        return Ok(c.as_scalar().map(|s| s.to_i64() != 0));
    }
    let v = n.input(0)?;
    let ints = n.cx.here.graph.value(v).ints.as_ref();
    Ok(ints.and_then(|v| v.first()?.as_int()).map(|v| v != 0))
}

/// Converts a graph of the file in the scope that has begun; its outputs.
fn converted(cx: &mut Cx, step: &Step, graph: &GraphProto, inputs: &[(String, Type)]) -> Res<Vec<(String, ValueId)>> {
    let input = |name: &str| inputs.iter().any(|(n, _)| n == name);
    let body = cx.context.body(&mut graph.clone(), &step.opsets, |name| cx.knows(name), input)?;
    let outputs = body.outputs.clone();
    cx.body(body)?;
    let mut made = Vec::with_capacity(outputs.len());
    for name in outputs {
        let Some(v) = cx.value(&name) else { fail!("output {name} is not made") };
        made.push((name, v));
    }
    Ok(made)
}

/// A graph of its own of a graph of the file, with these inputs in front of what it captures.
fn apart(n: &mut Node, graph: &GraphProto, inputs: &[(String, Type)]) -> Res<Frame> {
    let step = n.step;
    n.cx.apart(&graph.name, |cx| {
        for (name, ty) in inputs {
            let v = cx.here.graph.add_input(name, ty.clone())?;
            cx.define(name.clone(), Value::Made(v));
        }
        for (name, v) in converted(cx, step, graph, inputs)? {
            // One value may be several results.
            let names: Vec<&str> = cx.here.graph.outputs().iter().map(|o| &*o.name).collect();
            let mut free = name;
            while names.contains(&free.as_str()) {
                free.push('_');
            }
            cx.here.graph.add_output(&free, v)?;
        }
        Ok(())
    })
}

/// Lets graphs take the same values of the graph around, in one order.
fn aligned(n: &Node, frames: [&mut Frame; 2]) -> Res<Vec<ValueId>> {
    let mut all: Vec<ValueId> = Vec::new();
    for v in frames.iter().flat_map(|f| &f.captured) {
        if !all.contains(v) {
            all.push(*v);
        }
    }
    for frame in frames {
        let mut order = Vec::with_capacity(all.len());
        for &v in &all {
            let input = frame.captured.iter().position(|c| *c == v).and_then(|i| frame.graph.inputs().get(i).copied());
            order.push(match input {
                Some(input) => input,
                None => {
                    let outside = &n.cx.here.graph;
                    let name = frame.graph.free_name(outside.name(v));
                    frame.graph.add_input(&name, outside.ty(v).clone())?
                }
            });
        }
        frame.graph.order_inputs(&order)?;
    }
    Ok(all)
}
