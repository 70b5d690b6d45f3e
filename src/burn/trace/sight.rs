//! Traces that are met for the first time.
//!
//! Lifting, rewriting and planning takes some tens of microseconds an op, which pays if the plan is run often, or if there is
//! much to do. A program that is written once and run once, op by op, has neither: its ops are done as recorded when they
//! are first met, and planned when they come again.

use super::approximate::AllowedKey;
use super::cache::Key;
use super::lift::Binding;
use burn_ir::{FloatOperationIr, ModuleOperationIr, OperationIr, TensorIr};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Time in which an op is lifted, rewritten and planned, about.
const PLAN_NS: f64 = 25_000.0;

/// Time that an element takes which an op on its own reads or writes, about.
const ELEMENT_NS: f64 = 0.5;

/// Time that a multiply-add of a product takes, about.
const PRODUCT_NS: f64 = 0.05;

/// Sets of extents and scalars that are remembered for each pattern of ops.
const REMEMBERED: usize = 16;

/// The sets of extents and scalars that a pattern of ops has been met with, newest last.
#[derive(Default)]
pub(super) struct Sights(VecDeque<u64>);

impl Sights {
    /// Notes that the ops are met with these, and says whether they were before. Weights do not count: they become a part
    /// of the key only when they are met again.
    pub fn met_before(&mut self, key: &Key) -> bool {
        let mut hasher = DefaultHasher::new();
        let parts: (&[usize], &[(u8, u64)], &AllowedKey) = (&key.extents, &key.scalars, &key.allowed);
        parts.hash(&mut hasher);
        let hash = hasher.finish();
        if self.0.contains(&hash) {
            return true;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(hash);
        false
    }
}

/// True if one run of the ops as recorded takes about as long as making a plan for them. What the inner backend does either
/// way, convolutions say, is not counted.
pub(super) fn is_much(ops: &[OperationIr], binding: &Binding) -> bool {
    let extents = |t: &TensorIr| binding.shape(t).unwrap_or_default();
    let len = |t: &TensorIr| extents(t).iter().fold(1.0, |n, &d| n * d as f64);
    let depth = |t: &TensorIr| extents(t).last().map_or(1.0, |&d| d as f64);
    let products = |op: &OperationIr| match op {
        OperationIr::Float(_, FloatOperationIr::Matmul(o)) => len(&o.out) * depth(&o.lhs),
        OperationIr::Module(ModuleOperationIr::Linear(o)) => len(&o.out) * depth(&o.x),
        OperationIr::Module(ModuleOperationIr::Attention(o)) => {
            let keys = extents(&o.key).iter().rev().nth(1).map_or(1.0, |&d| d as f64);
            len(&o.query) * keys + len(&o.out) * keys
        }
        _ => 0.0,
    };
    let ns = |op: &OperationIr| op.nodes().into_iter().map(len).sum::<f64>() * ELEMENT_NS + products(op) * PRODUCT_NS;
    ops.iter().map(ns).sum::<f64>() >= PLAN_NS * ops.len() as f64
}
