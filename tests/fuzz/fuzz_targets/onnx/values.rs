//! A check that a rewritten graph computes what the graph before it does.
//!
//! Rounding differs, and a graph may make anything of a difference: a comparison may turn, an index may change. So
//! where results differ, the graph before is evaluated many times with every rounding made anew, and results must lie
//! within what that makes of them.

use bgz_passes::eval::testing::{Check, Rng};
use bgz_passes::eval::{self, Tensor, run};
use bgz_passes::ir::{Binary, DType, Def, Generate, Graph, Op, Reduce, Unary, ValueId};
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
    /// On normal numbers, with infinities, zeros and NaN among them if `special`. `None` for a graph that is too large, or
    /// that has no value for its inputs.
    pub fn new(graph: &'a Graph, special: bool) -> Option<Self> {
        if !is_small(graph) {
            return None;
        }
        let mut inputs = Check::new().inputs(graph, graph.len() as u64).ok()?;
        if special {
            let mut rng = Rng::new(inputs.len() as u64);
            inputs = inputs.iter().map(|t| with_special(t, &mut rng)).collect::<Option<_>>()?;
        }
        // That nothing panics, whatever the values are.
        let run = run(graph, &inputs).ok()?;
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
        let found = match run(other, &self.inputs) {
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
            // A value that is no float changed by a jump.
            if sample.iter().zip(&self.results).any(|(a, b)| !a.dtype().is_float() && a != b) {
                return None;
            }
            for ((s, x), &y) in spread.iter_mut().zip(sample.iter().flat_map(Tensor::to_f64s)).zip(&left) {
                match exactly(x, y) {
                    true => {}
                    false if x.is_finite() && y.is_finite() => *s = s.max((x - y).abs()),
                    false => return None,
                }
            }
        }
        Some(spread)
    }
}

fn exactly(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

/// Some elements of a float tensor replaced.
fn with_special(t: &Tensor, rng: &mut Rng) -> Option<Tensor> {
    if !t.dtype().is_float() {
        return Some(t.clone());
    }
    let special = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0, -0.0];
    let mut new = |v: f64| if rng.below(8) == 0 { special[rng.below(5) as usize] } else { v };
    let values: Vec<f64> = t.to_f64s().into_iter().map(&mut new).collect();
    Tensor::f64s(t.dtype(), t.shape(), &values)
}

/// True if a graph can be evaluated in no time.
fn is_small(graph: &Graph) -> bool {
    let fits = |v: &ValueId| graph.ty(*v).known_len().is_some_and(|n| n <= MOST);
    graph.len() <= MOST_NODES
        && graph.inputs().iter().all(fits)
        && graph.constants().all(|(v, _)| fits(&v))
        && graph.nodes().all(|(_, n)| n.outputs.iter().all(fits) && has_small_window(&n.op))
}

/// A kernel of a pooling has no tensor that would bound it.
fn has_small_window(op: &Op) -> bool {
    let Op::Pool(p) = op else { return true };
    p.window.kernel.iter().try_fold(1usize, |n, &k| n.checked_mul(k)).is_some_and(|n| n <= MOST)
}

/// The results of a graph, each rounding made by `noise` if it is given. `None` if that fails, and if an infinity or NaN
/// comes out of finite numbers: what is computed in another order may do without.
fn evaluated(graph: &Graph, inputs: &[Tensor], mut noise: Option<&mut Rng>) -> Option<Vec<Tensor>> {
    let mut values: HashMap<ValueId, Tensor> = graph.inputs().iter().copied().zip(inputs.iter().cloned()).collect();
    let value = |values: &HashMap<ValueId, Tensor>, v: ValueId| match &graph.value(v).def {
        Def::Const(c) => Tensor::from_constant(c),
        _ => values.get(&v).cloned(),
    };
    for (_, node) in graph.nodes() {
        let operands: Vec<Tensor> = node.inputs.iter().map(|&v| value(&values, v)).collect::<Option<_>>()?;
        let results = eval::node(&node.op, &operands).ok()?;
        let finite = |t: &Tensor| t.to_f64s().iter().all(|v| v.is_finite());
        for (&v, t) in node.outputs.iter().zip(results) {
            if operands.iter().all(finite) && !finite(&t) {
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

/// True if an op does more than to move or choose numbers.
fn rounds(op: &Op) -> bool {
    match op {
        Op::Unary(f) => !matches!(f, Unary::Neg | Unary::Abs | Unary::Sign | Unary::Relu),
        Op::Binary(f) => !matches!(f, Binary::Min | Binary::Max),
        Op::Cast(_) | Op::Fused(_) | Op::Product(_) | Op::Attention(_) | Op::Norm(_) | Op::Conv(_) => true,
        Op::Pool(_) | Op::Resize(_) | Op::Recurrent(_) => true,
        Op::Reduce(Reduce::Fold(_) | Reduce::Cumulative(_)) | Op::Generate(Generate::Range) => true,
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
