//! Levelled nodes to graph ops: the walk, and the table of ops.

use super::error::{ImportError, Res, fail};
use super::node::{Convert, Cx, Node, Outs, Value};
use super::normalise::{Body, Model, Step};
use super::{conv, einsum, elementwise, index, linear, movement, norm, reduce};
use bgz_passes::ir::Graph;
use std::collections::{HashMap, HashSet};

/// The converter of an op, or `None` for one that cannot be run.
pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    if domain.is_empty() && op == "If" {
        return Some(branch);
    }
    [elementwise::find, linear::find, einsum::find, reduce::find, norm::find, movement::find, index::find, conv::find]
        .into_iter()
        .find_map(|find| find(domain, op))
}

/// The graph of a levelled model.
pub(super) fn graph(model: Model) -> Result<Graph, ImportError> {
    let Model { name, context, inputs, body } = model;
    let mut cx = Cx { graph: Graph::new(name), scopes: vec![HashMap::new()], reserved: HashSet::new(), context };
    for (name, ty) in inputs {
        let v = cx.graph.add_input(&name, ty)?;
        cx.define(name, Value::Made(v));
    }
    let outputs = body.outputs.clone();
    cx.body(body)?;
    for name in outputs {
        let v = cx
            .value(&name)
            .ok_or_else(|| ImportError::Missing { value: name.clone(), user: "the list of outputs".into() })?;
        cx.graph.add_output(&name, v)?;
    }
    Ok(cx.graph)
}

impl Cx {
    fn body(&mut self, body: Body) -> Result<(), ImportError> {
        for (name, c) in body.constants {
            self.reserved.insert(name.clone());
            self.define(name, Value::Constant(c));
        }
        self.reserved.extend(body.steps.iter().flat_map(|s| s.outputs.iter().flatten().cloned()));
        for step in &body.steps {
            self.step(step).map_err(|e| step.error(e))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Res<()> {
        let Some(convert) = find(&step.domain, &step.op) else { fail!("it cannot be run") };
        let outs = convert(&mut Node { cx: self, step })?;
        if let Some(name) = step.attrs.unread(&step.op) {
            fail!("attribute {name} is not understood");
        }
        for (i, name) in step.outputs.iter().enumerate() {
            let Some(name) = name else { continue };
            match outs.get(i) {
                Some(&Some(v)) => self.define(name.clone(), Value::Made(v)),
                _ => fail!("its result {i} ({name}) is not supported"),
            }
        }
        Ok(())
    }
}

/// `If` with a condition that is known: the branch that is taken.
fn branch(n: &mut Node) -> Res<Outs> {
    let condition = match n.constant(0) {
        Some(c) => c.as_scalar().map(|s| s.to_i64() != 0),
        None => {
            let v = n.input(0)?;
            let ints = n.cx.graph.value(v).ints.as_ref();
            ints.and_then(|v| v.first()?.as_int()).map(|v| v != 0)
        }
    };
    let (then, other) = (n.attrs().graph("then_branch")?, n.attrs().graph("else_branch")?);
    let (Some(then), Some(other)) = (then, other) else { fail!("it needs two branches") };
    let Some(condition) = condition else {
        fail!("its condition is not known before the model is run, which is not supported")
    };
    let mut graph = if condition { then } else { other }.clone();
    let step = n.step;
    let cx = &mut *n.cx;
    let body = cx.context.body(&mut graph, &step.opsets, |name| cx.lookup(name).is_some(), |_| false)?;
    let outputs = body.outputs.clone();
    cx.scopes.push(HashMap::new());
    cx.body(body)?;
    let outs = outputs.iter().map(|o| cx.value(o)).collect();
    cx.scopes.pop();
    Ok(outs)
}
