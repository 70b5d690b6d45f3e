//! Inputs of a run: from a file, or made up for given shapes.

use super::failure::{Failure, because};
use super::npz;
use super::shape::Extent;
use bgz_fusion::ir::{Bindings, DType, Graph, Index, Movement, Op, Scalar, Type, ValueId};
use bgz_fusion::random::SplitMix64;
use bgz_fusion::{Error, Tensor};
use std::path::Path;

/// Inputs by name.
pub type Named = Vec<(String, Tensor)>;

/// Reads an npz file of inputs of a model; whether it has what the model takes is found when it is run.
pub fn read(path: &Path, graph: &Graph) -> Result<Named, Failure> {
    let dtype = |name: &str| graph.inputs().iter().find(|&&v| graph.name(v) == name).map(|&v| graph.ty(v).dtype);
    read_as(path, dtype)
}

/// Reads an npz file of outputs of a model.
pub fn read_outputs(path: &Path, graph: &Graph) -> Result<Named, Failure> {
    read_as(path, |name| graph.outputs().iter().find(|o| &*o.name == name).map(|o| graph.ty(o.value).dtype))
}

fn read_as(path: &Path, dtype: impl Fn(&str) -> Option<DType>) -> Result<Named, Failure> {
    npz::read(path, dtype).map_err(|e| because(format!("cannot read {}", path.display()), e))
}

/// The inputs by name in the order in which the library takes them.
pub fn ordered(
    inputs: &Named,
    order: impl FnOnce(&[(&str, Tensor)]) -> Result<Vec<Tensor>, Error>,
) -> Result<Vec<Tensor>, Failure> {
    Ok(order(&inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect::<Vec<_>>())?)
}

/// Makes up inputs of the shapes given: the same ones every time.
pub fn generate(graph: &Graph, extents: &[Extent]) -> Result<Named, Failure> {
    let shapes = shapes(graph, extents)?;
    let mut bindings = Bindings::new();
    for (shape, &v) in shapes.iter().zip(graph.inputs()) {
        bind(graph, v, shape, &mut bindings);
    }
    shapes
        .iter()
        .zip(graph.inputs())
        .map(|(shape, &v)| {
            let name = graph.name(v);
            let tensor = fill(graph, v, shape, &bindings).ok_or_else(|| {
                let bytes = shape.iter().fold(graph.ty(v).dtype.size(), |n, &d| n.saturating_mul(d));
                because(format!("input {name:?}"), npz::no_memory(bytes))
            })?;
            Ok((name.to_string(), tensor))
        })
        .collect()
}

/// Binds the named dims of an input to its extents, unless they are bound.
fn bind(graph: &Graph, input: ValueId, shape: &[usize], bindings: &mut Bindings) {
    for (dim, &size) in graph.ty(input).shape.iter().zip(shape) {
        if let (Some(symbol), Ok(size)) = (dim.as_sym(), i64::try_from(size)) {
            bindings.entry(symbol.clone()).or_insert(size);
        }
    }
}

/// The shape of every input, in order.
fn shapes(graph: &Graph, extents: &[Extent]) -> Result<Vec<Vec<usize>>, Failure> {
    let mut given: Vec<Option<&Extent>> = vec![None; graph.inputs().len()];
    let mut bindings = Bindings::new();
    let symbols: Vec<_> = graph.inputs().iter().flat_map(|&v| &graph.ty(v).shape).flat_map(|d| d.symbols()).collect();
    for e in extents {
        let twice = || format!("--shape {e}: {:?} is given twice, with different sizes", e.name);
        if let Some(i) = graph.inputs().iter().position(|&v| graph.name(v) == e.name) {
            if given[i].replace(e).is_some_and(|before| before != e) {
                return Err(twice().into());
            }
        } else if let Some(symbol) = symbols.iter().find(|s| &***s == e.name.as_str()) {
            let [size] = e.sizes[..] else {
                return Err(format!("--shape {e}: {:?} is a dim and takes one size", e.name).into());
            };
            let size = i64::try_from(size).map_err(|_| format!("--shape {e}: too large"))?;
            if bindings.insert(symbol.clone(), size).is_some_and(|before| before != size) {
                return Err(twice().into());
            }
        } else {
            return Err(format!(
                "--shape {e}: the model has neither an input nor a dim {:?}; it takes {}",
                e.name,
                list(graph)
            )
            .into());
        }
    }
    // The extents of a shape that is given hold for the dims of the same name elsewhere.
    for (e, &v) in given.iter().zip(graph.inputs()) {
        bind(graph, v, e.map_or(&[], |e| &e.sizes), &mut bindings);
    }
    let bound =
        |v: &ValueId| graph.ty(*v).shape.iter().map(|d| d.bind(&bindings).as_usize()).collect::<Option<Vec<_>>>();
    given
        .iter()
        .zip(graph.inputs())
        .map(|(e, v)| {
            e.map(|e| e.sizes.clone()).or_else(|| bound(v)).ok_or_else(|| {
                let ty = graph.ty(*v);
                let example = example(graph.name(*v), ty);
                format!("the shape of input {:?} ({ty}) is not known; say --shape {example}", graph.name(*v)).into()
            })
        })
        .collect()
}

fn example(name: &str, ty: &Type) -> String {
    let sizes: Vec<_> = ty.shape.iter().map(|d| d.as_int().unwrap_or(1).to_string()).collect();
    format!("{name}={}", sizes.join("x"))
}

fn list(graph: &Graph) -> String {
    let one = |&v: &ValueId| format!("{}: {}", graph.name(v), graph.ty(v));
    graph.inputs().iter().map(one).collect::<Vec<_>>().join(", ")
}

fn fill(graph: &Graph, input: ValueId, shape: &[usize], bindings: &Bindings) -> Option<Tensor> {
    let name = graph.name(input);
    let dtype = graph.ty(input).dtype;
    let mut out = Tensor::zeros(dtype, shape).ok()?;
    let mut random = SplitMix64::for_name(0, name);
    let most = index_bound(graph, input, bindings, 8).map_or(100, |n| (n - 1).clamp(0, 100));
    let ones = dtype == DType::Bool || name.to_ascii_lowercase().contains("mask");
    for element in out.bytes_mut().chunks_exact_mut(dtype.size()) {
        let value = if ones {
            Scalar::from_i64(dtype, 1)
        } else if dtype.is_float() {
            Scalar::from_f64(dtype, random.near_normal())
        } else {
            Scalar::from_i64(dtype, up_to(&mut random, most))
        };
        let mut bytes = Vec::with_capacity(8);
        value.write_le_bytes(&mut bytes);
        element.copy_from_slice(&bytes);
    }
    Some(out)
}

/// How many entries there are to choose from, if the value is used as an index,
/// directly or after ops that keep its elements.
fn index_bound(graph: &Graph, value: ValueId, bindings: &Bindings, depth: usize) -> Option<i64> {
    let mut bound: Option<i64> = None;
    for &user in graph.users(value) {
        let node = graph.node(user);
        let here = match &node.op {
            Op::Index(Index::Gather { axis } | Index::GatherElements { axis })
                if node.inputs.get(1) == Some(&value) =>
            {
                node.inputs.first().and_then(|&x| graph.ty(x).shape.get(*axis)?.bind(bindings).as_int())
            }
            Op::Cast(_)
            | Op::Movement(
                Movement::Reshape { .. } | Movement::Expand { .. } | Movement::Slice(_) | Movement::Transpose { .. },
            ) if depth > 0 && node.inputs.first() == Some(&value) => {
                node.outputs.first().and_then(|&y| index_bound(graph, y, bindings, depth - 1))
            }
            _ => None,
        };
        bound = match (bound, here) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    bound
}

/// From 1 to `most`, or 0 if that is 0.
fn up_to(random: &mut SplitMix64, most: i64) -> i64 {
    if most < 1 { 0 } else { 1 + random.below(most as usize) as i64 }
}

#[cfg(test)]
mod tests {
    use super::super::shape::case;
    use super::*;
    use bgz_fusion::ir::Constant;

    fn graph() -> Graph {
        let mut g = Graph::new("g");
        let ids = g.add_input("ids", Type::new(DType::I64, ["batch", "seq"])).expect("ids");
        g.add_input("mask", Type::new(DType::I64, ["batch", "seq"])).expect("mask");
        let table = g.add_const("table", Constant::f32s([4, 2], &[0.0; 8]).expect("a table"));
        let x = g.add("x", Op::Index(Index::Gather { axis: 0 }), &[table, ids]).expect("x");
        g.add_output("x", x).expect("an output");
        g
    }

    fn shapes_of(text: &str) -> Result<Vec<Vec<usize>>, String> {
        shapes(&graph(), &case(text).expect("a case").0).map_err(|e| e.to_string())
    }

    #[test]
    fn dims_and_inputs_give_shapes() {
        let want = Ok(vec![vec![2, 3], vec![2, 3]]);
        assert_eq!(shapes_of("batch=2,seq=3"), want);
        assert_eq!(shapes_of("ids=2x3"), want);
        assert_eq!(shapes_of("mask=2x3,seq=3"), want);
    }

    #[test]
    fn a_contradiction_between_inputs_is_left_to_the_run() {
        assert_eq!(shapes_of("ids=2x3,mask=2x4"), Ok(vec![vec![2, 3], vec![2, 4]]));
    }

    #[test]
    fn what_is_unknown_or_missing_is_named() {
        for (text, want) in [
            ("batch=2", "the shape of input \"ids\" (i64[batch, seq]) is not known; say --shape ids=1x1"),
            ("nope=2", "neither an input nor a dim \"nope\"; it takes ids: i64[batch, seq], mask: i64[batch, seq]"),
            ("seq=2x3", "is a dim and takes one size"),
            ("seq=2,seq=3", "given twice"),
        ] {
            let e = shapes_of(text).expect_err(text);
            assert!(e.contains(want), "{text}: {e}");
        }
    }

    #[test]
    fn made_up_inputs_are_usable_and_the_same_every_time() {
        let make = || generate(&graph(), &case("batch=4,seq=32").expect("a case").0).expect("inputs");
        let inputs = make();
        let ids = inputs[0].1.as_slice::<i64>().expect("i64");
        assert!(ids.iter().all(|i| (1..4).contains(i)), "{ids:?}");
        assert!((1..4).all(|i| ids.contains(&i)), "{ids:?}");
        assert!(inputs[1].1.as_slice::<i64>().expect("i64").iter().all(|&m| m == 1));
        assert_eq!(make()[0].1.bytes(), inputs[0].1.bytes());
    }
}
