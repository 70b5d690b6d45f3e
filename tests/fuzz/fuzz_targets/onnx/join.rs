//! Two models as one: the second reads values of the first where they have the types of its inputs.

use crate::mutate::{Known, index, one_in, pick};
use bgz_passes::eval::testing::Rng;
use onnx_ir::{GraphProto, Message, ModelProto};

/// Writes the model to `out`; its size, or 0 if there is none.
pub fn join(first: &[u8], second: &[u8], out: &mut [u8], seed: u32) -> usize {
    let mut rng = Rng::new(seed.into());
    let (Ok(mut model), Ok(mut other)) = (ModelProto::parse_from_bytes(first), ModelProto::parse_from_bytes(second))
    else {
        return 0;
    };
    let (Some(a), Some(mut b)) = (model.graph.as_mut(), other.graph.take()) else { return 0 };
    let (known, types) = (Known::of(first), Known::of(second));
    let values = known.names();
    // Types go by names, so that these are looked up before they change.
    let mut taken: Vec<(String, String)> = Vec::new();
    b.input.retain(|input| {
        let alike: Vec<&String> = values.iter().filter(|v| types.same(&input.name, &known, v)).collect();
        match pick(&mut rng, &alike) {
            Some(value) => {
                taken.push((input.name.clone(), value.clone()));
                false
            }
            None => true,
        }
    });
    rename(&mut b, &|name| match taken.iter().find(|(from, _)| from == name) {
        Some((_, to)) => to.clone(),
        None => format!("{name}'"),
    });
    // With all results of the first, little could be rewritten across the seam.
    if !taken.is_empty() && one_in(&mut rng, 2) && !a.output.is_empty() {
        let at = index(&mut rng, a.output.len());
        a.output.remove(at);
    }
    a.input.append(&mut b.input);
    a.initializer.append(&mut b.initializer);
    a.node.append(&mut b.node);
    a.output.append(&mut b.output);
    for f in other.functions {
        if !model.functions.iter().any(|g| (&g.domain, &g.name) == (&f.domain, &f.name)) {
            model.functions.push(f);
        }
    }
    for o in other.opset_import {
        if !model.opset_import.iter().any(|p| p.domain == o.domain) {
            model.opset_import.push(o);
        }
    }
    match model.write_to_bytes() {
        Ok(bytes) if bytes.len() <= out.len() => {
            out[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        }
        _ => 0,
    }
}

fn rename(graph: &mut GraphProto, new: &impl Fn(&str) -> String) {
    let values = graph.input.iter_mut().chain(&mut graph.output).map(|v| &mut v.name);
    let tensors = graph.initializer.iter_mut().map(|t| &mut t.name);
    let operands = graph.node.iter_mut().flat_map(|n| n.input.iter_mut().chain(&mut n.output));
    for name in values.chain(tensors).chain(operands).filter(|n| !n.is_empty()) {
        *name = new(name);
    }
    let inner = graph.node.iter_mut().flat_map(|n| &mut n.attribute).filter_map(|a| a.g.as_mut());
    inner.for_each(|g| rename(g, new));
}
