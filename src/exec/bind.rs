//! Named dims by the inputs at hand.

use super::ExecError;
use bgz_passes::ir::{Bindings, Graph, Type};

/// The numbers that the named dims of the graph's inputs stand for.
pub(crate) fn bind_inputs(graph: &Graph, given: &[Type]) -> Result<Bindings, ExecError> {
    let names = || graph.inputs().iter().map(|&v| graph.name(v)).collect::<Vec<_>>().join(", ");
    if graph.inputs().len() != given.len() {
        return Err(ExecError::InputCount { expected: graph.inputs().len(), given: given.len(), names: names() });
    }
    let mut bindings = Bindings::new();
    // Plain names first, so that an extent like 2*seq is checked against them.
    for plain in [true, false] {
        for (&v, given) in graph.inputs().iter().zip(given) {
            let expected = graph.ty(v);
            let fail = |reason: String| ExecError::InputType {
                name: graph.name(v).into(),
                given: given.to_string(),
                expected: expected.to_string(),
                reason,
            };
            if given.dtype != expected.dtype || given.rank() != expected.rank() {
                return Err(fail(String::new()));
            }
            for (want, have) in expected.shape.iter().zip(&given.shape) {
                let have = have.as_int().ok_or_else(|| fail(String::new()))?;
                match want.as_sym() {
                    Some(name) if plain => {
                        let bound = *bindings.entry(name.clone()).or_insert(have);
                        if bound != have {
                            return Err(fail(format!(": {name} is {bound} elsewhere")));
                        }
                    }
                    None if !plain && !want.bind(&bindings).is(have) => return Err(fail(String::new())),
                    _ => {}
                }
            }
        }
    }
    Ok(bindings)
}
