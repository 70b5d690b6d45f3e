//! Whether a rewritten graph computes what the graph before it does.
//!
//! Rounding differs, and a graph may make anything of a difference: a comparison may turn, an index may change. So
//! where results differ, the graph before is evaluated many times with every rounding made anew, and results must lie
//! within what that makes of them.

use bgz_passes::eval::testing::{Check, Rng};
use bgz_passes::eval::{self, Tensor, run_with};
use bgz_passes::ir::{Binary, DType, Def, Dim, Graph, Op, Opaque, Operand, Scalar, Type, Unary, ValueId, infer};
use std::collections::HashMap;

/// Elements of a tensor that is evaluated: a product of two has at most the third root of the cube of this as steps.
const MOST: usize = 4096;

/// Nodes of a graph that is evaluated.
const MOST_NODES: usize = 300;

/// Evaluations with other roundings.
const SAMPLES: u64 = 24;

/// Of what other roundings make of a result.
const MARGIN: f64 = 64.0;

/// A graph with numbers for extents, with inputs and results.
pub struct Comparison<'a> {
    graph: &'a Graph,
    inputs: Vec<Tensor>,
    results: Vec<Tensor>,
}

impl<'a> Comparison<'a> {
    /// `None` for a graph that is too large, or that has no finite value for its inputs.
    pub fn new(graph: &'a Graph) -> Option<Self> {
        if !is_small(graph) {
            return None;
        }
        let inputs = Check::new().inputs(graph, graph.len() as u64).ok()?;
        // That nothing panics, whatever the values are.
        let run = run_with(graph, &inputs, &mut opaque).ok()?;
        let results = evaluated(graph, &inputs, None)?;
        let same = run.iter().zip(&results).all(|(a, b)| a.ty() == b.ty() && a.to_f64s().len() == b.to_f64s().len());
        assert!(same, "two evaluations differ:\n\n{graph}");
        Some(Self { graph, inputs, results })
    }

    /// Panics unless `other` has the same results.
    pub fn with(&self, other: &Graph, which: &str) {
        if !is_small(other) {
            return;
        }
        let (before, results) = (self.graph, &self.results);
        let found = match run_with(other, &self.inputs, &mut opaque) {
            Ok(found) => found,
            Err(e) => {
                if self.spread().is_some() {
                    panic!("{which}: {e}\n\nbefore:\n{before}\nafter:\n{other}");
                }
                return;
            }
        };
        assert_eq!(found.len(), results.len(), "{which}: the number of results\n\nbefore:\n{before}\nafter:\n{other}");
        for (a, b) in results.iter().zip(&found) {
            assert_eq!(a.ty(), b.ty(), "{which}: types of results\n\nbefore:\n{before}\nafter:\n{other}");
        }
        let exactly = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
        let all = |t: &[Tensor]| t.iter().flat_map(Tensor::to_f64s).collect::<Vec<_>>();
        let (left, right) = (all(results), all(&found));
        if left.iter().zip(&right).all(|(&a, &b)| exactly(a, b)) {
            return;
        }
        let Some(spread) = self.spread() else { return };
        let dtypes = results.iter().flat_map(|t| std::iter::repeat_n(t.dtype(), t.len()));
        for (i, (((&a, &b), s), dtype)) in left.iter().zip(&right).zip(spread).zip(dtypes).enumerate() {
            let close = (a - b).abs() <= MARGIN * s + 4.0 * precision(dtype) * a.abs().max(least(dtype));
            if !exactly(a, b) && !close {
                let inputs = &self.inputs;
                panic!(
                    "{which}: element {i} was {a} and is {b}, {s} by rounding\n\nbefore:\n{before}\nafter:\n{other}\n{inputs:?}"
                );
            }
        }
    }

    /// How far each element of the results goes when roundings differ; `None` if there is no telling.
    fn spread(&self) -> Option<Vec<f64>> {
        let left: Vec<_> = self.results.iter().flat_map(Tensor::to_f64s).collect();
        let mut spread = vec![0.0f64; left.len()];
        for seed in 0..SAMPLES {
            let sample = evaluated(self.graph, &self.inputs, Some(&mut Rng::new(seed)))?;
            if sample.iter().zip(&self.results).any(|(a, b)| a.ty() != b.ty()) {
                return None;
            }
            // What is no float changed by a jump.
            if sample.iter().zip(&self.results).any(|(a, b)| !a.dtype().is_float() && a != b) {
                return None;
            }
            for ((s, x), &y) in spread.iter_mut().zip(sample.iter().flat_map(Tensor::to_f64s)).zip(&left) {
                if x != y {
                    *s = s.max((x - y).abs());
                }
            }
        }
        spread.iter().all(|s| s.is_finite()).then_some(spread)
    }
}

/// Whether a graph can be evaluated in no time.
fn is_small(graph: &Graph) -> bool {
    let fits = |v: &ValueId| graph.ty(*v).known_len().is_some_and(|n| n <= MOST);
    graph.len() <= MOST_NODES
        && graph.inputs().iter().all(fits)
        && graph.constants().all(|(v, _)| fits(&v))
        && graph.nodes().all(|(_, n)| n.outputs.iter().all(fits))
}

/// The results of a graph, each rounding made by `noise` if it is given. `None` if that fails, and if an infinity or NaN
/// comes out of finite numbers: whatever is computed in another order may do without.
fn evaluated(graph: &Graph, inputs: &[Tensor], mut noise: Option<&mut Rng>) -> Option<Vec<Tensor>> {
    let mut values: HashMap<ValueId, Tensor> = graph.inputs().iter().copied().zip(inputs.iter().cloned()).collect();
    let value = |values: &HashMap<ValueId, Tensor>, v: ValueId| match &graph.value(v).def {
        Def::Const(c) => Tensor::from_constant(c),
        _ => values.get(&v).cloned(),
    };
    for (_, node) in graph.nodes() {
        let operands: Vec<Tensor> = node.inputs.iter().map(|&v| value(&values, v)).collect::<Option<_>>()?;
        let results = match &node.op {
            Op::Opaque(o) => opaque(o, &operands)?,
            op => eval::node(op, &operands).ok()?,
        };
        let finite = |t: &Tensor| t.to_f64s().iter().all(|v| v.is_finite());
        for (&v, t) in node.outputs.iter().zip(results) {
            let nan = t.to_f64s().iter().any(|v| v.is_nan());
            if nan || operands.iter().all(finite) && !finite(&t) {
                return None;
            }
            let t = match &mut noise {
                Some(rng) if t.dtype().is_float() && rounds(&node.op) => rounded_anew(&t, rng)?,
                _ => t,
            };
            values.insert(v, t);
        }
    }
    graph.outputs().iter().map(|o| value(&values, o.value)).collect()
}

/// Whether an op does more than to move or choose numbers.
fn rounds(op: &Op) -> bool {
    match op {
        Op::Unary(f) => !matches!(f, Unary::Neg | Unary::Abs | Unary::Sign | Unary::Relu),
        Op::Binary(f) => !matches!(f, Binary::Min | Binary::Max),
        Op::Cast(_) | Op::Fused(_) | Op::MatMul | Op::Linear { .. } | Op::Attention(_) => true,
        Op::Softmax { .. } | Op::LogSoftmax { .. } | Op::LayerNorm { .. } | Op::RmsNorm { .. } => true,
        Op::Reduce(_) | Op::Cumulative(_) | Op::Range | Op::Opaque(_) => true,
        _ => false,
    }
}

/// The distance of two numbers of a dtype around 1.
fn precision(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => f32::EPSILON.into(),
    }
}

/// Below this numbers of a dtype lose precision.
fn least(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::MIN_POSITIVE,
        DType::F16 => 2f64.powi(-14),
        _ => f32::MIN_POSITIVE.into(),
    }
}

fn rounded_anew(t: &Tensor, rng: &mut Rng) -> Option<Tensor> {
    let (p, least) = (precision(t.dtype()), least(t.dtype()));
    let values: Vec<f64> = t
        .to_f64s()
        .iter()
        .map(|&v| if v.is_finite() { v + (2.0 * rng.unit() - 1.0) * p * (v.abs() + least) } else { v })
        .collect();
    Tensor::f64s(t.dtype(), t.shape(), &values)
}

/// Something smooth in place of an op that the evaluator has no definition of, of the right type.
fn opaque(op: &Opaque, operands: &[Tensor]) -> Option<Vec<Tensor>> {
    let types: Vec<Type> = operands.iter().map(Tensor::ty).collect();
    let known: Vec<_> = types.iter().map(|ty| Operand { ty, ints: None }).collect();
    let results = infer(&Op::Opaque(op.clone()), &known, &mut || Dim::sym("unknown")).ok()??;
    let all: Vec<f64> = operands.iter().flat_map(Tensor::to_f64s).collect();
    let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
    results
        .iter()
        .map(|r| {
            let len = r.ty.known_len().filter(|&n| n <= MOST)?;
            let at = |i: usize| if all.is_empty() { 0.5 } else { mean * (1 + i % 5) as f64 + all[i % all.len()] };
            let values = (0..len).map(|i| Scalar::from_f64(r.ty.dtype, at(i)));
            Tensor::new(r.ty.dtype, r.ty.known_shape()?, values)
        })
        .collect()
}
