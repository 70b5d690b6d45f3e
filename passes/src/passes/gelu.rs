//! GELU from its parts, in the erf form and in the tanh form.
//!
//! Exporters write these products and sums in every association, with factors
//! inside or outside and divided or multiplied. So the rule does not list
//! trees: GELU is the polynomial `0.5 x + 0.5 x t` in `x` and `t`, where `t`
//! is `erf` or `tanh` of a polynomial in `x`. Two trees with the same
//! coefficients are the same function.

use super::parts::same_type;
use crate::ir::{Binary, DType, Graph, Op, Unary, ValueId};
use crate::rewrite::{Match, Pass, Patch, Pattern, Rule, Rules, Skip, any, op};
use std::collections::BTreeMap;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    Box::new(Rules::new("gelu", vec![Box::new(Gelu)]))
}

/// `0.5 * x * (1 + erf(x / sqrt(2))) => gelu_erf(x)` and
/// `0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) => gelu_tanh(x)`
struct Gelu;

impl Rule for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn pattern(&self) -> Pattern {
        let last = |op: &Op| matches!(op, Op::Binary(Binary::Add | Binary::Mul | Binary::Div));
        op(last, [any("left"), any("right")])
    }

    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
        let inner = curves(graph, m.root);
        for t in inner {
            let Some((form, arg)) = curve(graph, t) else { continue };
            for x in candidates(graph, arg) {
                let Some(interior) = recognise(graph, m.root, t, form, arg, x) else { continue };
                same_type(graph, m.root, x)?;
                let mut patch = Patch::new();
                let new = patch.add("", Op::Unary(form.gelu()), [x]);
                patch.replace(m.root, new);
                patch.consume(interior.into_iter().filter(|&v| v != m.root && v != x));
                return Ok(patch);
            }
        }
        Err(Skip::NoEffect)
    }
}

#[derive(Clone, Copy)]
enum Form {
    Erf,
    Tanh,
}

impl Form {
    fn gelu(self) -> Unary {
        match self {
            Form::Erf => Unary::GeluErf,
            Form::Tanh => Unary::GeluTanh,
        }
    }

    /// The polynomial in `x` that the curve is taken of.
    fn argument(self) -> Poly {
        match self {
            Form::Erf => Poly::of([((1, 0), FRAC_1_SQRT_2)]),
            Form::Tanh => {
                let scale = FRAC_2_PI.sqrt();
                Poly::of([((1, 0), scale), ((3, 0), scale * 0.044715)])
            }
        }
    }
}

fn curve(graph: &Graph, v: ValueId) -> Option<(Form, ValueId)> {
    let form = match graph.op(v)? {
        Op::Unary(Unary::Erf) => Form::Erf,
        Op::Unary(Unary::Tanh) => Form::Tanh,
        _ => return None,
    };
    Some((form, graph.node(graph.producer(v)?).inputs[0]))
}

/// Trees are at most this deep; the largest known form is 6.
const DEPTH: usize = 8;

/// The operands of `v`, if it is sums, products, quotients and powers.
fn arithmetic(graph: &Graph, v: ValueId) -> Option<(&Op, &[ValueId])> {
    let node = graph.node(graph.producer(v)?);
    let fits = match node.op {
        Op::Binary(f) => matches!(f, Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Pow),
        Op::Unary(Unary::Neg) => true,
        _ => false,
    };
    fits.then_some((&node.op, node.inputs.as_slice()))
}

/// Every erf and tanh in the arithmetic that makes `root`.
fn curves(graph: &Graph, root: ValueId) -> Vec<ValueId> {
    reach(graph, root).into_iter().filter(|&v| curve(graph, v).is_some()).collect()
}

/// The candidates for `x`: the values that `arg` is computed from by arithmetic.
fn candidates(graph: &Graph, arg: ValueId) -> Vec<ValueId> {
    let mut all = reach(graph, arg);
    all.retain(|&v| graph.constant(v).is_none());
    all
}

/// `root` and what it is computed from by arithmetic, nearest first.
fn reach(graph: &Graph, root: ValueId) -> Vec<ValueId> {
    let mut found = vec![root];
    let mut level = vec![root];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for &v in level.iter().filter_map(|&v| arithmetic(graph, v)).flat_map(|(_, operands)| operands) {
            if !found.contains(&v) {
                found.push(v);
                next.push(v);
            }
        }
        // Beyond this it is no activation any more, and the search would cost.
        if next.is_empty() || found.len() > 32 {
            break;
        }
        level = next;
    }
    found
}

/// The values in between, if `root` is GELU of `x` by way of `t`.
fn recognise(graph: &Graph, root: ValueId, t: ValueId, form: Form, arg: ValueId, x: ValueId) -> Option<Vec<ValueId>> {
    let dtype = graph.ty(x).dtype;
    let mut interior = vec![t];
    let mut reader = Reader { graph, x, t: None, interior: &mut interior };
    if !reader.poly(arg, DEPTH)?.near(&form.argument(), dtype) {
        return None;
    }
    reader.t = Some(t);
    let whole = Poly::of([((1, 0), 0.5), ((1, 1), 0.5)]);
    reader.poly(root, DEPTH)?.near(&whole, dtype).then_some(interior)
}

struct Reader<'a> {
    graph: &'a Graph,
    x: ValueId,
    t: Option<ValueId>,
    interior: &'a mut Vec<ValueId>,
}

impl Reader<'_> {
    fn poly(&mut self, v: ValueId, depth: usize) -> Option<Poly> {
        if v == self.x {
            return Some(Poly::of([((1, 0), 1.0)]));
        }
        if Some(v) == self.t {
            return Some(Poly::of([((0, 1), 1.0)]));
        }
        if let Some(c) = self.graph.constant(v) {
            return Some(Poly::of([((0, 0), c.as_splat()?.to_f64())]));
        }
        let (op, operands) = arithmetic(self.graph, v)?;
        let depth = depth.checked_sub(1)?;
        let a = self.poly(operands[0], depth)?;
        let result = match op {
            Op::Binary(f) => {
                let b = self.poly(operands[1], depth)?;
                match f {
                    Binary::Add => a.plus(&b, 1.0),
                    Binary::Sub => a.plus(&b, -1.0),
                    Binary::Mul => a.times(&b)?,
                    Binary::Div => a.times(&Poly::of([((0, 0), 1.0 / b.number()?)]))?,
                    _ => a.power(b.number()?)?,
                }
            }
            _ => Poly::default().plus(&a, -1.0),
        };
        self.interior.push(v);
        Some(result)
    }
}

/// Coefficients by the powers of `x` and `t`.
#[derive(Clone, Debug, Default)]
struct Poly(BTreeMap<(u8, u8), f64>);

impl Poly {
    /// A power higher than any GELU has.
    const MAX_POWER: u8 = 4;

    fn of<const N: usize>(terms: [((u8, u8), f64); N]) -> Self {
        Self(terms.into_iter().collect())
    }

    fn plus(&self, other: &Self, factor: f64) -> Self {
        let mut out = self.clone();
        for (&power, &c) in &other.0 {
            *out.0.entry(power).or_insert(0.0) += factor * c;
        }
        out
    }

    fn times(&self, other: &Self) -> Option<Self> {
        let mut out = Self::default();
        for (&(i, j), &a) in &self.0 {
            for (&(k, l), &b) in &other.0 {
                if i + k > Self::MAX_POWER || j + l > Self::MAX_POWER {
                    return None;
                }
                *out.0.entry((i + k, j + l)).or_insert(0.0) += a * b;
            }
        }
        Some(out)
    }

    fn power(&self, exponent: f64) -> Option<Self> {
        let n = (1..=4).find(|&n| f64::from(n) == exponent)?;
        (1..n).try_fold(self.clone(), |p, _| p.times(self))
    }

    /// The constant this is, if it is one.
    fn number(&self) -> Option<f64> {
        self.0.iter().all(|(&p, &c)| p == (0, 0) || c == 0.0).then(|| self.0.get(&(0, 0)).copied().unwrap_or(0.0))
    }

    /// True if coefficients differ by the rounding of constants in `dtype` only.
    fn near(&self, other: &Self, dtype: DType) -> bool {
        let tolerance = match dtype {
            DType::F16 => 1e-3,
            DType::BF16 => 8e-3,
            _ => 2e-6,
        };
        let get = |p: &Self, k| p.0.get(&k).copied().unwrap_or(0.0);
        let mut keys = self.0.keys().chain(other.0.keys());
        keys.all(|&k| (get(self, k) - get(other, k)).abs() <= tolerance * get(other, k).abs().max(0.01))
    }
}
