//! Ops that have graphs among their attributes.

use super::error::{Res, fail};
use super::node::{ConvertValues, Cx, Frame, Node, Value, axis};
use super::normalise::Step;
use super::proto::{GraphProto, TensorProto};
use super::sequence::{Form, Sequence, Values, sequence, stacked};
use bgz_passes::ir::{
    Binary, Constant, Control, DType, Generate, Index, IntArg, Movement, Op, Scalar, Slice, Subgraph, Type, ValueId,
};

pub(super) fn find(domain: &str, op: &str) -> Option<ConvertValues> {
    if !domain.is_empty() {
        return None;
    }
    let found: ConvertValues = match op {
        "If" => branch,
        "Loop" => repeated,
        "Scan" => scan,
        _ => return None,
    };
    Some(found)
}

/// The branch that is taken if the condition is known, else both.
fn branch(n: &mut Node) -> Res<Values> {
    let (then, other) = (n.attrs().graph("then_branch")?, n.attrs().graph("else_branch")?);
    let (Some(then), Some(other)) = (then, other) else { fail!("it needs two branches") };
    if let Some(condition) = known(n, 0)? {
        let outputs = n.cx.within(|cx| converted(cx, n.step, if condition { then } else { other }, &[]))?;
        return Ok(outputs.into_iter().map(|(_, v)| Some(v)).collect());
    }
    let condition = n.input(0)?;
    let ((mut then, forms), (mut other, others)) = (apart(n, then)?, apart(n, other)?);
    if forms.len() != others.len() {
        fail!("its branches have {} and {} results", forms.len(), others.len());
    }
    if let Some((i, (a, b))) = forms.iter().zip(&others).enumerate().find(|(_, (a, b))| a != b) {
        fail!("its result {} is {a} in one branch and {b} in the other", n.result_name(i));
    }
    let mut inputs = vec![condition];
    inputs.extend(aligned(n, [&mut then, &mut other])?);
    let [then_branch, else_branch] = [then, other].map(|frame| Subgraph::new(frame.graph));
    let forms: Vec<_> = forms.into_iter().enumerate().collect();
    made(n, Op::Control(Control::If { then_branch, else_branch }), &inputs, &forms)
}

/// The results of an op that gives the tensors which they are made of: in that order their places and forms.
fn made(n: &mut Node, op: Op, inputs: &[ValueId], forms: &[(usize, Form)]) -> Res<Values> {
    let mut names = Vec::new();
    for (i, form) in forms {
        let name = n.result_name(*i);
        match form {
            Form::Tensor | Form::Rows => names.push(name),
            _ => names.extend((0..form.len()).map(|k| format!("{name}.{k}"))),
        }
    }
    let tensors = match names.is_empty() {
        true => Vec::new(),
        false => n.add(op, inputs, &names.iter().map(String::as_str).collect::<Vec<_>>(), None)?,
    };
    let mut tensors = tensors.into_iter();
    let mut out = vec![None; forms.len()];
    for (i, form) in forms {
        let value = form.value(&mut tensors)?;
        if let Some(place) = out.get_mut(*i) {
            *place = Some(value);
        }
    }
    Ok(out)
}

/// Iterations of a loop that are written out, so that what it carries may be of any form.
pub(super) const MAX_UNROLLED: usize = 64;

/// A loop. The file may say what types its carried values have, but often wrongly: they have those of the first ones, and an
/// extent that an iteration changes is any.
fn repeated(n: &mut Node) -> Res<Values> {
    let Some(body) = n.attrs().graph("body")? else { fail!("it needs a body") };
    let initial = (2..n.len()).map(|i| n.any(i)).collect::<Res<Vec<_>>>()?;
    let names: Vec<String> = body.input.iter().map(|i| i.name.clone()).collect();
    if names.len() != 2 + initial.len() {
        fail!("its body takes {} values, and it carries {}", names.len(), initial.len());
    }
    if body.output.len() < 1 + initial.len() {
        fail!("its body has too few results");
    }
    if initial.iter().any(|v| v.form() != Form::Tensor)
        && let Some(trips) = constant_trips(n, body)?
    {
        return unrolled(n, body, trips, initial);
    }
    let (trips, condition) = (n.maybe(0)?, n.maybe(1)?);
    n.cx.loops += 1;
    let of = n.cx.loops;
    // Of an empty sequence the body sees what it appends, which is stacked.
    let growing = |i: usize, form: Form| match form {
        Form::List(0) => Form::Grown { of: of + i, with: 0 },
        form => form,
    };
    let forms: Vec<Form> = initial.iter().enumerate().map(|(i, v)| growing(i, v.form())).collect();
    n.cx.loops += forms.len();
    let carried: Vec<ValueId> = initial.iter().flat_map(Value::tensors).copied().collect();
    let step = n.step;
    let convert = |cx: &mut Cx, types: &[Type]| {
        cx.apart(&body.name, |cx| {
            given(cx, &[(names[0].clone(), Type::scalar(DType::I64)), (names[1].clone(), Type::scalar(DType::Bool))])?;
            let mut types = types.iter();
            for (name, form) in names[2..].iter().zip(&forms) {
                let mut inputs = Vec::with_capacity(form.len());
                for (k, ty) in types.by_ref().take(form.len()).enumerate() {
                    let own = if *form == Form::Tensor { name.clone() } else { format!("{name}.{k}") };
                    inputs.push(cx.here.graph.add_input(&own, ty.clone())?);
                }
                let value = form.value(&mut inputs.into_iter())?;
                cx.define(name.clone(), value);
            }
            let mut outputs = converted(cx, step, body, &names)?;
            let rest = outputs.split_off(1 + forms.len());
            // Behind what is carried come the results that are stacked, those of sequences last.
            let (mut kept, mut appended, mut grown) = (Vec::new(), Vec::new(), Vec::new());
            for (i, (name, value)) in outputs.into_iter().enumerate() {
                let before = i.checked_sub(1).map_or(Form::Tensor, |i| forms[i]);
                grown.push(grows(&name, before, &value)?);
                let tensors = value.tensors().iter().map(|&v| (name.clone(), v));
                if grown.last() == Some(&true) { appended.extend(tensors) } else { kept.extend(tensors) }
            }
            let stacks = rest.len();
            for (name, value) in rest {
                let Value::Made(v) = value else { fail!("its result {name} is {}, not a tensor", value.form()) };
                kept.push((name, v));
            }
            kept.extend(appended);
            add_outputs(cx, kept)?;
            grown.remove(0);
            Ok((grown, stacks))
        })
    };
    let (frame, (grown, stacks)) = carrying(n, &carried, convert)?;
    let of_carried = |grows: bool| initial.iter().zip(&grown).enumerate().filter(move |(_, (_, g))| **g == grows);
    let mut results: Vec<_> = of_carried(false).map(|(i, (v, _))| (i, v.form())).collect();
    results.extend((0..stacks).map(|k| (initial.len() + k, Form::Tensor)));
    results.extend(of_carried(true).map(|(i, _)| (i, Form::Rows)));
    looped(n, frame, (trips, condition), carried, &results)
}

/// True if a carried value is a sequence that the iteration appended a tensor to; an error if it is neither that nor of the form
/// that it was.
fn grows(name: &str, before: Form, value: &Value) -> Res<bool> {
    match (before, value.form()) {
        (Form::Grown { of, .. }, Form::Grown { of: same, with: 1 }) if of == same => Ok(true),
        (before, after) if before == after => Ok(false),
        (before, after) => {
            let before = if let Form::Grown { .. } = before { Form::List(0) } else { before };
            fail!(
                "it carries {before}, and its body gives {after} ({name}): a sequence must keep its length, or be empty at \
                 first and get one tensor at its end in each iteration, unless the loop has a constant number of at most \
                 {MAX_UNROLLED} iterations"
            )
        }
    }
}

/// The number of iterations, if it is a small constant and no condition can end the loop before.
fn constant_trips(n: &mut Node, body: &GraphProto) -> Res<Option<usize>> {
    let trips = n.ints(0).and_then(|v| v.first()?.as_int()).and_then(|t| usize::try_from(t.max(0)).ok());
    let Some(trips) = trips.filter(|&t| t <= MAX_UNROLLED) else { return Ok(None) };
    // The stack of no iteration has a type that only the op knows.
    if trips == 0 && body.output.len() > body.input.len() - 1 {
        return Ok(None);
    }
    let begins = !n.has(1) || known(n, 1)? == Some(true);
    Ok((begins && goes_on(n, body)).then_some(trips))
}

/// True if the condition for the next iteration is the one that a body is given, or the constant true.
fn goes_on(n: &Node, body: &GraphProto) -> bool {
    let (Some(given), Some(result)) = (body.input.get(1), body.output.first()) else { return false };
    let mut name = &result.name;
    for _ in 0..=body.node.len() {
        if *name == given.name {
            return true;
        }
        let is_true = |t: &TensorProto| *t.raw_data == [1] || t.int32_data == [1];
        if let Some(t) = body.initializer.iter().find(|t| t.name == *name) {
            return is_true(t);
        }
        let Some(node) = body.node.iter().find(|m| m.output.first() == Some(name)) else {
            return n.cx.constant(name).and_then(|c| c.as_scalar()).is_some_and(|s| s.to_i64() != 0);
        };
        match (node.op_type.as_str(), node.input.first()) {
            ("Identity", Some(input)) => name = input,
            ("Constant", _) => return node.attribute.iter().filter_map(|a| a.t.as_deref()).any(is_true),
            _ => return false,
        }
    }
    false
}

/// A loop written out.
fn unrolled(n: &mut Node, body: &GraphProto, trips: usize, mut values: Vec<Value>) -> Res<Values> {
    let carried = values.len();
    let names: Vec<String> = body.input.iter().map(|i| i.name.clone()).collect();
    let mut stacks: Vec<Vec<ValueId>> = vec![Vec::new(); body.output.len() - 1 - carried];
    let step = n.step;
    for i in 0..trips {
        let number = i64::try_from(i).map_err(|_| "it has too many iterations")?;
        let begin = [Scalar::i64(number), Scalar::bool(true)].map(|s| Value::Constant(Constant::scalar(s)));
        let outputs = n.cx.within(|cx| {
            for (name, value) in names.iter().zip(begin.into_iter().chain(values.drain(..))) {
                cx.define(name.clone(), value);
            }
            converted(cx, step, body, &names)
        })?;
        let mut outputs = outputs.into_iter().skip(1);
        values.extend(outputs.by_ref().take(carried).map(|(_, v)| v));
        for (stack, (name, value)) in stacks.iter_mut().zip(outputs) {
            let Value::Made(v) = value else { fail!("its result {name} is {}, not a tensor", value.form()) };
            stack.push(v);
        }
    }
    let mut all: Values = values.into_iter().map(Some).collect();
    for stack in stacks {
        all.push(Some(Value::Made(stacked(n, &stack, "its iterations give tensors that differ")?)));
    }
    Ok(all)
}

/// SequenceMap: its body for the tensors of a sequence.
pub(super) fn map(n: &mut Node) -> Res<Values> {
    let Some(body) = n.attrs().graph("body")? else { fail!("it needs a body") };
    let first = sequence(n, 0)?;
    let operands = (0..n.len()).map(|i| n.any(i)).collect::<Res<Vec<_>>>()?;
    let names: Vec<String> = body.input.iter().map(|i| i.name.clone()).collect();
    if names.len() != operands.len() {
        fail!("its body takes {} values, and it has {} operands", names.len(), operands.len());
    }
    let form = Value::Sequence(first.clone()).form();
    if let Some((i, other)) =
        operands.iter().map(Value::form).enumerate().find(|(_, f)| *f != form && *f != Form::Tensor)
    {
        fail!("operand 0 is {form}, and operand {i} {other}");
    }
    let step = n.step;
    let count = match first {
        Sequence::List(all) => all.len(),
        Sequence::Rows(v) => return map_rows(n, body, v, &names),
        Sequence::Grown { .. } => fail!("operand 0 is {form}"),
    };
    let mut lists: Vec<Vec<ValueId>> = vec![Vec::new(); body.output.len()];
    for i in 0..count {
        let outputs = n.cx.within(|cx| {
            for (name, value) in names.iter().zip(&operands) {
                let value = match value {
                    Value::Sequence(Sequence::List(all)) => Value::Made(all[i]),
                    other => other.clone(),
                };
                cx.define(name.clone(), value);
            }
            converted(cx, step, body, &names)
        })?;
        for (list, (name, value)) in lists.iter_mut().zip(outputs) {
            let Value::Made(v) = value else { fail!("its result {name} is {}, not a tensor", value.form()) };
            list.push(v);
        }
    }
    Ok(lists.into_iter().map(|list| Some(Value::Sequence(Sequence::List(list)))).collect())
}

/// Of a sequence of unknown length, as a loop.
fn map_rows(n: &mut Node, body: &GraphProto, rows: ValueId, names: &[String]) -> Res<Values> {
    let trips = n.part("trips", Op::Generate(Generate::Shape { start: 0, end: 1 }), &[rows])?;
    let operands: Vec<String> = (0..n.len()).filter_map(|i| n.operand_name(i)).collect();
    let step = n.step;
    let (frame, count) = n.cx.apart(&body.name, |cx| {
        let at = cx.here.graph.add_input(" iteration", Type::scalar(DType::I64))?;
        let going = cx.here.graph.add_input(" condition", Type::scalar(DType::Bool))?;
        for (operand, name) in operands.iter().zip(names) {
            let value = match cx.value(operand) {
                Some(Value::Sequence(Sequence::Rows(v))) => {
                    let op = Op::Index(Index::Gather { axis: 0 });
                    Value::Made(cx.here.graph.add(&format!("{operand} entry"), op, &[v, at])?)
                }
                Some(value) => value,
                None => fail!("operand {operand} is not made"),
            };
            cx.define(name.clone(), value);
        }
        let outputs = converted(cx, step, body, names)?;
        let mut all = vec![(" condition".to_owned(), going)];
        for (name, value) in outputs {
            let Value::Made(v) = value else { fail!("its result {name} is {}, not a tensor", value.form()) };
            all.push((name, v));
        }
        let count = all.len() - 1;
        add_outputs(cx, all)?;
        Ok(count)
    })?;
    let results: Vec<_> = (0..count).map(|i| (i, Form::Rows)).collect();
    looped(n, frame, (Some(trips), None), Vec::new(), &results)
}

/// The graph that `convert` makes for carried values of given types, where those are types of all iterations.
fn carrying<R>(
    n: &mut Node,
    initial: &[ValueId],
    convert: impl Fn(&mut Cx, &[Type]) -> Res<(Frame, R)>,
) -> Res<(Frame, R)> {
    let mut types: Vec<Type> = initial.iter().map(|&v| n.ty(v).clone()).collect();
    // Each time at least one extent is any that was not.
    let extents: usize = types.iter().map(Type::rank).sum();
    for _ in 0..=extents {
        let (frame, more) = convert(n.cx, &types)?;
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
            return Ok((frame, more));
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
    results: &[(usize, Form)],
) -> Res<Values> {
    let Frame { graph, captured, .. } = frame;
    let op = Control::Loop {
        body: Subgraph::new(graph),
        trip_count: trips.is_some(),
        condition: condition.is_some(),
        carried: initial.len(),
    };
    let captured = captured.into_iter().map(|(outside, _)| outside);
    let inputs: Vec<ValueId> = trips.into_iter().chain(condition).chain(initial).chain(captured).collect();
    made(n, Op::Control(op), &inputs, results)
}

/// A loop over slices of some values: its body takes them by the number of the iteration.
fn scan(n: &mut Node) -> Res<Values> {
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
    let length = n.ty(scanned[0]).shape[axes[0]].clone();
    let mut operands: Vec<String> = (carried..n.len()).filter_map(|i| n.operand_name(i)).collect();
    for (i, (&v, &axis)) in scanned.iter().zip(&axes).enumerate().skip(1) {
        let mut shape = n.ty(v).shape.clone();
        let own = std::mem::replace(&mut shape[axis], length.clone());
        match (own.as_int(), length.as_int()) {
            (Some(a), Some(b)) if a != b => {
                fail!("{} has {b} entries to scan and {} has {a}: they have to be as many", operands[0], operands[i]);
            }
            _ if own == length => {}
            // It is seen once extents are numbers that there are as many.
            _ => {
                let claim = Movement::Reshape { shape: IntArg::Known(shape), zero_copies: false };
                let part = format!("{}_as_long_as_{}", operands[i], operands[0]);
                let claimed = n.part(&part, Op::Movement(claim), &[v])?;
                operands[i] = n.cx.here.graph.name(claimed).to_owned();
                n.cx.define(operands[i].clone(), Value::Made(claimed));
            }
        }
    }
    let trips = n.part("trips", Op::Generate(Generate::Shape { start: axes[0], end: axes[0] + 1 }), &[scanned[0]])?;
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
                let Some(Value::Made(x)) = cx.value(name) else { fail!("operand {name} is not made") };
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
            let mut all = vec![(" condition".to_owned(), going)];
            for (name, value) in converted(cx, step, body, &names)? {
                let Value::Made(v) = value else { fail!("its result {name} is {}, not a tensor", value.form()) };
                all.push((name, v));
            }
            add_outputs(cx, all)
        })
    };
    let (frame, ()) = carrying(n, &initial, convert)?;
    let forms: Vec<_> = (0..carried + results).map(|i| (i, Form::Tensor)).collect();
    let mut outs = looped(n, frame, (Some(trips), None), initial, &forms)?;
    for (k, out) in outs.iter_mut().skip(carried).enumerate() {
        let Some(Value::Made(mut v)) = *out else { fail!("a result is not made") };
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
        *out = Some(Value::Made(v));
    }
    Ok(outs)
}

/// A condition, if it is known.
fn known(n: &mut Node, i: usize) -> Res<Option<bool>> {
    if let Some(c) = n.constant(i) {
        return Ok(c.as_scalar().map(|s| s.to_i64() != 0));
    }
    let v = n.input(i)?;
    let ints = n.cx.here.graph.value(v).ints.as_ref();
    Ok(ints.and_then(|v| v.first()?.as_int()).map(|v| v != 0))
}

/// Converts a graph of the file in the scope that has begun, where names of `inputs` are defined; its outputs.
fn converted(cx: &mut Cx, step: &Step, graph: &GraphProto, inputs: &[String]) -> Res<Vec<(String, Value)>> {
    let input = |name: &str| inputs.iter().any(|n| n == name);
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

/// A graph of its own of a branch of the file, and the forms of its results.
fn apart(n: &mut Node, graph: &GraphProto) -> Res<(Frame, Vec<Form>)> {
    let step = n.step;
    n.cx.apart(&graph.name, |cx| {
        let (mut tensors, mut forms) = (Vec::new(), Vec::new());
        for (name, value) in converted(cx, step, graph, &[])? {
            forms.push(value.form());
            tensors.extend(value.tensors().iter().map(|&v| (name.clone(), v)));
        }
        add_outputs(cx, tensors)?;
        Ok(forms)
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
    for (v, _) in frames.iter().flat_map(|f| &f.captured) {
        if !all.contains(v) {
            all.push(*v);
        }
    }
    for frame in frames {
        let mut order = Vec::with_capacity(all.len());
        for &v in &all {
            order.push(match frame.captured.iter().find(|(outside, _)| *outside == v) {
                Some(&(_, input)) => input,
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
