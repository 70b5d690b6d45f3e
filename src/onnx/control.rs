//! Ops that have graphs among their attributes.

use super::error::{Res, fail};
use super::node::{Convert, Cx, Frame, Node, Outs, Value, axis};
use super::normalise::Step;
use super::proto::GraphProto;
use bgz_passes::ir::{
    Binary, Constant, Control, DType, Generate, Index, IntArg, Movement, Op, Scalar, Slice, Subgraph, Type, ValueId,
};

pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    if !domain.is_empty() {
        return None;
    }
    let found: Convert = match op {
        "If" => branch,
        "Loop" => repeated,
        "Scan" => scan,
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

/// A loop. The file may say what types its carried values have, but often wrongly: they have those of the first ones, and an
/// extent that an iteration changes is any.
fn repeated(n: &mut Node) -> Res<Outs> {
    let Some(body) = n.attrs().graph("body")? else { fail!("it needs a body") };
    let (trips, condition) = (n.maybe(0)?, n.maybe(1)?);
    let initial = (2..n.len()).map(|i| n.input(i)).collect::<Res<Vec<_>>>()?;
    let names: Vec<String> = body.input.iter().map(|i| i.name.clone()).collect();
    if names.len() != 2 + initial.len() {
        fail!("its body takes {} values, and it carries {}", names.len(), initial.len());
    }
    let step = n.step;
    let convert = move |cx: &mut Cx, types: &[Type]| {
        let begin = [DType::I64, DType::Bool].map(Type::scalar);
        let inputs: Vec<(String, Type)> =
            names.iter().cloned().zip(begin.into_iter().chain(types.iter().cloned())).collect();
        cx.apart(&body.name, |cx| {
            given(cx, &inputs)?;
            let outputs = converted(cx, step, body, &inputs)?;
            add_outputs(cx, outputs)
        })
    };
    let (frame, carried) = (carrying(n, &initial, convert)?, initial.len());
    looped(n, frame, (trips, condition), initial, carried)
}

/// The graph that `convert` makes for carried values of given types, where those are types of all iterations.
fn carrying(n: &mut Node, initial: &[ValueId], convert: impl Fn(&mut Cx, &[Type]) -> Res<Frame>) -> Res<Frame> {
    let mut types: Vec<Type> = initial.iter().map(|&v| n.ty(v).clone()).collect();
    // Each time at least one extent is any that was not.
    let extents: usize = types.iter().map(Type::rank).sum();
    for _ in 0..=extents {
        let frame = convert(n.cx, &types)?;
        let mut changed = false;
        for (i, ty) in types.iter_mut().enumerate() {
            let Some(o) = frame.graph.outputs().get(1 + i) else { fail!("its body has too few results") };
            let after = frame.graph.ty(o.value);
            if after.dtype != ty.dtype || after.rank() != ty.rank() {
                fail!("what it carries is {ty} before an iteration and {after} behind it");
            }
            for (d, after) in ty.shape.iter_mut().zip(&after.shape) {
                if d != after && !d.as_sym().is_some_and(|s| s.starts_with(ANY)) {
                    *d = n.cx.any(ANY);
                    changed = true;
                }
            }
        }
        if !changed {
            return Ok(frame);
        }
    }
    fail!("the extents of what it carries do not settle")
}

/// Before the names of extents that differ from one iteration to the next.
const ANY: &str = "_any";

fn looped(
    n: &mut Node,
    frame: Frame,
    (trips, condition): (Option<ValueId>, Option<ValueId>),
    initial: Vec<ValueId>,
    carried: usize,
) -> Res<Outs> {
    let Frame { graph, captured, .. } = frame;
    let results = graph.outputs().len().saturating_sub(1);
    let op = Control::Loop {
        body: Subgraph::new(graph),
        trip_count: trips.is_some(),
        condition: condition.is_some(),
        carried,
    };
    let inputs: Vec<ValueId> = trips.into_iter().chain(condition).chain(initial).chain(captured).collect();
    n.emit_all(results, Op::Control(op), &inputs)
}

/// A loop over slices of some values: its body takes them by the number of the iteration.
fn scan(n: &mut Node) -> Res<Outs> {
    if n.opset() < 9 {
        fail!("before opset 9 it has a batch, which is not supported");
    }
    let Some(body) = n.attrs().graph("body")? else { fail!("it needs a body") };
    let given_count = n.attrs().int("num_scan_inputs")?.unwrap_or(0);
    let sequences = usize::try_from(given_count).ok().filter(|&m| m > 0 && m <= n.len());
    let Some(sequences) = sequences else {
        fail!("attribute num_scan_inputs is {given_count} of {} operands", n.len())
    };
    let carried = n.len() - sequences;
    let initial = (0..carried).map(|i| n.input(i)).collect::<Res<Vec<_>>>()?;
    let scanned = (carried..n.len()).map(|i| n.input(i)).collect::<Res<Vec<_>>>()?;
    if body.input.len() != n.len() || body.output.len() < carried {
        fail!("its body has {} values and {} results for {} operands", body.input.len(), body.output.len(), n.len());
    }
    let results = body.output.len() - carried;
    let list = |name: &str, count: usize| {
        let given = n.attrs().ints(name)?.unwrap_or_default();
        match given.len() {
            0 => Ok(vec![0; count]),
            len if len == count => Ok(given.to_vec()),
            len => fail!("attribute {name} has {len} entries for {count} values"),
        }
    };
    let (axes, backwards) = (list("scan_input_axes", sequences)?, list("scan_input_directions", sequences)?);
    let (out_axes, out_backwards) = (list("scan_output_axes", results)?, list("scan_output_directions", results)?);
    let axes = axes.iter().zip(&scanned).map(|(&a, &v)| axis(a, n.rank(v))).collect::<Res<Vec<_>>>()?;
    let trips = n.part("trips", Op::Generate(Generate::Shape { start: axes[0], end: axes[0] + 1 }), &[scanned[0]])?;
    let operands: Vec<String> = (carried..n.len()).filter_map(|i| n.operand_name(i)).collect();
    let names: Vec<String> = body.input.iter().map(|i| i.name.clone()).collect();
    let step = n.step;
    let convert = move |cx: &mut Cx, types: &[Type]| {
        cx.apart(&body.name, |cx| {
            let graph = &mut cx.here.graph;
            let at = graph.add_input(" iteration", Type::scalar(DType::I64))?;
            let going = graph.add_input(" condition", Type::scalar(DType::Bool))?;
            let states: Vec<(String, Type)> = names.iter().cloned().zip(types.iter().cloned()).collect();
            given(cx, &states)?;
            for (i, name) in operands.iter().enumerate() {
                let Some(x) = cx.value(name) else { fail!("operand {name} is not made") };
                let graph = &mut cx.here.graph;
                let mut place = at;
                if backwards[i] != 0 {
                    // Counted from behind.
                    let minus = graph.add_const(" minus", Constant::scalar(Scalar::i64(-1)));
                    place = graph.add(" back", Op::Binary(Binary::Sub), &[minus, at])?;
                }
                let slice =
                    graph.add(&format!("{name} slice"), Op::Index(Index::Gather { axis: axes[i] }), &[x, place])?;
                cx.define(names[carried + i].clone(), Value::Made(slice));
            }
            let inputs: Vec<(String, Type)> = names.iter().map(|n| (n.clone(), Type::scalar(DType::I64))).collect();
            let outputs = converted(cx, step, body, &inputs)?;
            cx.here.graph.add_output(" condition", going)?;
            add_outputs(cx, outputs)
        })
    };
    let frame = carrying(n, &initial, convert)?;
    let made = looped(n, frame, (Some(trips), None), initial, carried)?;
    let mut outs = made[..carried].to_vec();
    for (k, v) in made[carried..].iter().enumerate() {
        let Some(mut v) = *v else { fail!("a result is not made") };
        if out_backwards[k] != 0 {
            let known = |i: i64| IntArg::Known(vec![i.into()]);
            let cut = Slice { axes: vec![0], starts: known(-1), ends: known(i64::MIN), steps: known(-1) };
            v = n.part(&format!("{k}.backwards"), Op::Movement(Movement::Slice(cut)), &[v])?;
        }
        let to = axis(out_axes[k], n.rank(v))?;
        if to > 0 {
            let mut perm: Vec<usize> = (1..n.rank(v)).collect();
            perm.insert(to, 0);
            v = n.part(&format!("{k}.turned"), Op::Movement(Movement::Transpose { perm }), &[v])?;
        }
        outs.push(Some(v));
    }
    Ok(outs)
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
        given(cx, inputs)?;
        let outputs = converted(cx, step, graph, inputs)?;
        add_outputs(cx, outputs)
    })
}

/// Adds inputs to the graph that has begun.
fn given(cx: &mut Cx, inputs: &[(String, Type)]) -> Res<()> {
    for (name, ty) in inputs {
        let v = cx.here.graph.add_input(name, ty.clone())?;
        cx.define(name.clone(), Value::Made(v));
    }
    Ok(())
}

/// Adds its outputs. One value may be several.
fn add_outputs(cx: &mut Cx, outputs: Vec<(String, ValueId)>) -> Res<()> {
    for (name, v) in outputs {
        let mut free = name;
        while cx.here.graph.outputs().iter().any(|o| *o.name == *free) {
            free.push('_');
        }
        cx.here.graph.add_output(&free, v)?;
    }
    Ok(())
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
