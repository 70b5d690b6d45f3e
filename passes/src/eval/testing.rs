//! For tests: random inputs, and whether two graphs compute the same.
//!
//! ```
//! use bgz_passes::eval::testing::{Check, assert_same};
//! use bgz_passes::ir::{Binary, DType, Graph, Op, Type, Unary};
//!
//! let mut before = Graph::new("g");
//! let x = before.add_input("x", Type::new(DType::F32, ["n"]))?;
//! let y = before.add("y", Op::Binary(Binary::Add), &[x, x])?;
//! before.add_output("y", y)?;
//!
//! assert_same(&before, &before.clone(), 0..3);
//! Check::new().bind("n", 100).tolerance(0.0, 0.0).assert_same(&before, &before.clone(), 0..1);
//! # Ok::<(), bgz_passes::ir::GraphError>(())
//! ```

use super::run::Handler;
use super::{Tensor, compare, run_with};
use crate::ir::{Bindings, DType, Dim, Graph, Scalar, Type};
use crate::random::SplitMix64;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Panics unless two graphs give the same results on random inputs, one set a
/// seed, up to 1e-5 absolutely plus 1e-5 of the value.
///
/// Named dims get small numbers that depend on the seed; [`Check`] can fix
/// them, and everything else.
///
/// # Panics
/// If an evaluation fails or results differ; the message has both graphs.
#[track_caller]
pub fn assert_same(before: &Graph, after: &Graph, seeds: impl IntoIterator<Item = u64>) {
    Check::new().assert_same(before, after, seeds);
}

/// How two graphs are compared on random inputs.
#[derive(Clone, Debug)]
pub struct Check {
    bindings: Bindings,
    ints: RangeInclusive<i64>,
    int_inputs: BTreeMap<String, RangeInclusive<i64>>,
    fixed: BTreeMap<String, Tensor>,
    atol: f64,
    rtol: f64,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            bindings: Bindings::new(),
            ints: 0..=3,
            int_inputs: BTreeMap::new(),
            fixed: BTreeMap::new(),
            atol: 1e-5,
            rtol: 1e-5,
        }
    }
}

impl Check {
    /// Integers from 0 to 3, floats normal, bools mixed, tolerances of 1e-5.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fixes a named dim.
    #[must_use]
    pub fn bind(mut self, dim: &str, extent: usize) -> Self {
        self.bindings.insert(dim.into(), i64::try_from(extent).unwrap_or(i64::MAX));
        self
    }

    /// The integers that integer inputs are made of.
    #[must_use]
    pub fn ints(mut self, range: RangeInclusive<i64>) -> Self {
        self.ints = range;
        self
    }

    /// The integers that one input is made of.
    #[must_use]
    pub fn ints_of(mut self, input: &str, range: RangeInclusive<i64>) -> Self {
        self.int_inputs.insert(input.into(), range);
        self
    }

    /// The value of one input, instead of a random one.
    #[must_use]
    pub fn input(mut self, name: &str, value: Tensor) -> Self {
        self.fixed.insert(name.into(), value);
        self
    }

    /// How far floats may be apart: `atol + rtol * |after|`.
    #[must_use]
    pub fn tolerance(mut self, atol: f64, rtol: f64) -> Self {
        (self.atol, self.rtol) = (atol, rtol);
        self
    }

    /// Inputs for a graph, the same for the same seed on every machine.
    ///
    /// # Errors
    /// If a shape is not one that can be held; the message names the input.
    pub fn inputs(&self, graph: &Graph, seed: u64) -> Result<Vec<Tensor>, String> {
        let mut rng = Rng::new(seed);
        let mut bindings = self.bindings.clone();
        // Distinct where there is room, so that mixed-up axes show.
        let symbols = graph.symbols();
        let first = rng.below(4);
        for (i, s) in symbols.into_iter().enumerate() {
            bindings.entry(s).or_insert_with(|| 2 + (first + i as i64 * 3) % 5);
        }
        graph
            .inputs()
            .iter()
            .map(|&v| {
                let name = graph.name(v);
                if let Some(t) = self.fixed.get(name) {
                    return Ok(t.clone());
                }
                let ty = bound(graph.ty(v), &bindings);
                let ints = self.int_inputs.get(name).unwrap_or(&self.ints);
                random(&ty, ints, &mut rng).ok_or_else(|| format!("input %{name} : {ty} is not a tensor"))
            })
            .collect()
    }

    /// Checks that two graphs give the same results; the message says where they do not.
    ///
    /// # Errors
    /// If an evaluation fails or results differ.
    pub fn same(&self, before: &Graph, after: &Graph, seed: u64) -> Result<(), String> {
        self.same_with(before, after, seed, &mut |_, _| None)
    }

    /// As [`Check::same`], with something to run opaque ops.
    ///
    /// # Errors
    /// If an evaluation fails or results differ.
    pub fn same_with(&self, before: &Graph, after: &Graph, seed: u64, opaque: Handler) -> Result<(), String> {
        let report = |what: String| format!("seed {seed}: {what}\n\nbefore:\n{before}\nafter:\n{after}");
        let names = |g: &Graph| g.outputs().iter().map(|o| o.name.to_string()).collect::<Vec<_>>();
        if names(before) != names(after) {
            return Err(report(format!("outputs {:?} became {:?}", names(before), names(after))));
        }
        let inputs = self.inputs(before, seed).map_err(report)?;
        let left = run_with(before, &inputs, opaque).map_err(|e| report(format!("before: {e}")))?;
        let right = run_with(after, &inputs, opaque).map_err(|e| report(format!("after: {e}")))?;
        let difference = compare::within(&left, &right, self.atol, self.rtol);
        if difference.mismatch.is_some() || difference.first_place.is_some() {
            return Err(report(format!("results differ: {difference}")));
        }
        Ok(())
    }

    /// Panics unless [`Check::same`] for every seed.
    ///
    /// # Panics
    /// If an evaluation fails or results differ; the message has both graphs.
    #[track_caller]
    pub fn assert_same(&self, before: &Graph, after: &Graph, seeds: impl IntoIterator<Item = u64>) {
        for seed in seeds {
            if let Err(message) = self.same(before, after, seed) {
                panic!("{message}");
            }
        }
    }
}

fn bound(ty: &Type, bindings: &Bindings) -> Type {
    Type { dtype: ty.dtype, shape: ty.shape.iter().map(|d: &Dim| d.bind(bindings)).collect() }
}

/// A random tensor of a type with known extents.
pub fn random(ty: &Type, ints: &RangeInclusive<i64>, rng: &mut Rng) -> Option<Tensor> {
    let shape = ty.known_shape()?;
    let len = ty.known_len().filter(|&n| n <= super::MAX_LEN)?;
    let values: Vec<Scalar> = (0..len)
        .map(|_| match ty.dtype {
            DType::Bool => Scalar::bool(rng.below(2) == 1),
            d if d.is_float() => Scalar::from_f64(d, rng.normal()),
            d => {
                let span = ints.end().saturating_sub(*ints.start()).saturating_add(1).max(1);
                Scalar::from_i64(d, ints.start().saturating_add(rng.below(span)))
            }
        })
        .collect();
    Tensor::new(ty.dtype, shape, values)
}

/// A generator of the numbers that tests draw.
#[derive(Clone, Debug)]
pub struct Rng(SplitMix64);

impl Rng {
    /// A generator of its own for every seed.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From 0 up to but without 1.
    pub fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    /// From 0 up to but without `n`; 0 for an `n` of 0 or less.
    pub fn below(&mut self, n: i64) -> i64 {
        self.0.below(usize::try_from(n).unwrap_or(0)) as i64
    }

    /// Normally distributed around 0 with variance 1.
    pub fn normal(&mut self) -> f64 {
        self.0.normal()
    }
}
