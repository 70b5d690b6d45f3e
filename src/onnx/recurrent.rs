//! Recurrent layers.

use super::error::{Res, fail};
use super::node::{Convert, Node, Outs};
use bgz_passes::ir::{Activation, Cell, Direction, Float, Function, Op, Recurrent, ValueId};

pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    if !domain.is_empty() {
        return None;
    }
    let found: Convert = match op {
        "RNN" => |n| layer(n, Cell::Rnn),
        "GRU" => |n| {
            let linear_before_reset = n.attrs().flag("linear_before_reset", false)?;
            layer(n, Cell::Gru { linear_before_reset })
        },
        "LSTM" => |n| {
            let input_forget = n.attrs().flag("input_forget", false)?;
            layer(n, Cell::Lstm { input_forget, initial_cell: n.has(6), peepholes: n.has(7) })
        },
        _ => return None,
    };
    Some(found)
}

/// A layer whose operands are in the order of the standard: those that are left out say so in the op.
fn layer(n: &mut Node, cell: Cell) -> Res<Outs> {
    let direction = match n.attrs().string_or("direction", "forward")? {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Both,
        other => fail!("attribute direction is {other:?}"),
    };
    let batch_first = match n.attrs().int_or("layout", 0)? {
        layout @ (0 | 1) => layout == 1,
        other => fail!("attribute layout is {other}"),
    };
    let mut inputs: Vec<ValueId> = vec![n.input(0)?, n.input(1)?, n.input(2)?];
    let rest: Vec<Option<ValueId>> = (3..n.len()).map(|i| n.maybe(i)).collect::<Res<_>>()?;
    let has = |i: usize| rest.get(i - 3).is_some_and(Option::is_some);
    let op = Recurrent {
        cell,
        direction,
        activations: activations(n, cell, if direction == Direction::Both { 2 } else { 1 })?,
        clip: n.attrs().float("clip")?.map(Float),
        batch_first,
        bias: has(3),
        lengths: has(4),
        initial: has(5),
    };
    let hidden = n.shape(inputs[2]).last().cloned();
    if let Some(given) = n.attrs().int("hidden_size")?
        && hidden.and_then(|d| d.as_int()).is_some_and(|h| h != given)
    {
        fail!("attribute hidden_size is {given}, with recurrent weights {}", n.ty(inputs[2]));
    }
    n.at_most(op.most_operands())?;
    inputs.extend(rest.into_iter().flatten());
    n.emit_all(op.results(), Op::Recurrent(op), &inputs)
}

/// The functions of gates: parameters are those of all functions that have some, in order.
fn activations(n: &Node, cell: Cell, directions: usize) -> Res<Vec<Activation>> {
    let strings = n.attrs().strings("activations")?;
    let functions: Vec<Function> = match strings {
        None => std::iter::repeat_n(cell.defaults(), directions).flatten().collect(),
        Some(names) => {
            let find = |name: &&str| Function::ALL.iter().copied().find(|f| f.name().eq_ignore_ascii_case(name));
            let found = names.iter().map(|name| find(name).ok_or_else(|| format!("there is no activation {name:?}")));
            found.collect::<Result<_, _>>()?
        }
    };
    let mut alphas = n.attrs().floats("activation_alpha")?.unwrap_or_default().iter();
    let mut betas = n.attrs().floats("activation_beta")?.unwrap_or_default().iter();
    let with = |function: Function| {
        let mut made = Activation::new(function);
        let (parameters, _) = function.parameters();
        for (value, given) in
            [(&mut made.alpha, &mut alphas), (&mut made.beta, &mut betas)].into_iter().take(parameters)
        {
            *value = given.next().map_or(*value, |&v| Float(v));
        }
        made
    };
    Ok(functions.into_iter().map(with).collect())
}
