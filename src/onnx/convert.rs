//! Levelled nodes to graph ops: the walk, and the table of ops.

use super::error::{ImportError, Res, fail};
use super::node::{Convert, ConvertValues, Cx, Frame, Node, Value};
use super::normalise::{Body, Model, Step};
use super::{control, conv, einsum, elementwise, index, linear, movement, norm, recurrent, reduce, sequence};
use bgz_passes::ir::Graph;
use std::collections::HashSet;

/// Nodes of all graphs of a file, those of functions counted where they are called.
const MAX_STEPS: usize = 1 << 18;

/// The converter of an op.
pub(super) enum Converter {
    /// Of one between tensors.
    Tensors(Convert),
    /// Of one that may have other operands and results.
    Values(ConvertValues),
}

/// The converter of an op, or `None` for one that cannot be run.
pub(super) fn find(domain: &str, op: &str) -> Option<Converter> {
    let values = [sequence::find, control::find];
    if let Some(found) = values.into_iter().find_map(|find| find(domain, op)) {
        return Some(Converter::Values(found));
    }
    let all = [
        elementwise::find,
        linear::find,
        einsum::find,
        reduce::find,
        norm::find,
        movement::find,
        index::find,
        conv::find,
        recurrent::find,
    ];
    all.into_iter().find_map(|find| find(domain, op)).map(Converter::Tensors)
}

/// The graph of a levelled model.
pub(super) fn graph(model: Model) -> Result<Graph, ImportError> {
    let Model { name, context, inputs, body } = model;
    let (here, around) = (Frame::new(name), Vec::new());
    let mut cx = Cx { here, around, reserved: HashSet::new(), left: MAX_STEPS, dims: 0, loops: 0, context };
    for (name, ty) in inputs {
        let v = cx.here.graph.add_input(&name, ty)?;
        cx.define(name, Value::Made(v));
    }
    let outputs = body.outputs.clone();
    cx.body(body)?;
    for name in outputs {
        let value = cx
            .value(&name)
            .ok_or_else(|| ImportError::Missing { value: name.clone(), user: "the list of outputs".into() })?;
        for (name, v) in sequence::outputs(name, value)? {
            cx.here.graph.add_output(&name, v)?;
        }
    }
    Ok(cx.here.graph)
}

impl Cx {
    pub fn body(&mut self, body: Body) -> Result<(), ImportError> {
        let Some(left) = self.left.checked_sub(body.steps.len()) else {
            return Err(ImportError::Format(format!(
                "there are more than {MAX_STEPS} nodes in it, those of branches included"
            )));
        };
        self.left = left;
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
        let node = &mut Node { cx: self, step };
        let mut outs = match convert {
            Converter::Tensors(convert) => convert(node)?.into_iter().map(|v| v.map(Value::Made)).collect(),
            Converter::Values(convert) => convert(node)?,
        };
        if let Some(name) = step.attrs.unread(&step.op) {
            fail!("attribute {name} is not understood");
        }
        for (i, name) in step.outputs.iter().enumerate() {
            let Some(name) = name else { continue };
            match outs.get_mut(i).and_then(Option::take) {
                Some(v) => self.define(name.clone(), v),
                _ => fail!("its result {i} ({name}) is not supported"),
            }
        }
        Ok(())
    }
}
