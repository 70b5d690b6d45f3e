//! Every f32 through a function, compared with the correctly rounded value.

use super::chain::unary_tile;
use super::simd::{Tile, TileFn};
use super::{Isa, parallel, ulp};
use bgz_passes::ir::{DType, Scalar, Unary};
use std::sync::Mutex;

/// The worst of a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SweepResult {
    /// The greatest distance from the reference, which is
    /// [`Unary::eval`] in f64.
    pub max_ulp: u32,
    /// An input that has it; the smallest bit pattern of them.
    pub at: f32,
    /// The greatest distance among inputs whose absolute error is above 1e-7.
    pub max_ulp_above_1e_7: u32,
    /// Inputs whose result is not the reference.
    pub inexact: u64,
    /// Inputs compared.
    pub inputs: u64,
}

impl SweepResult {
    const NONE: Self = Self { max_ulp: 0, at: 0.0, max_ulp_above_1e_7: 0, inexact: 0, inputs: 0 };

    fn merge(self, other: Self) -> Self {
        let first = match self.max_ulp.cmp(&other.max_ulp) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => self.at.to_bits() <= other.at.to_bits(),
            std::cmp::Ordering::Less => false,
        };
        Self {
            max_ulp: self.max_ulp.max(other.max_ulp),
            at: if first { self.at } else { other.at },
            max_ulp_above_1e_7: self.max_ulp_above_1e_7.max(other.max_ulp_above_1e_7),
            inexact: self.inexact + other.inexact,
            inputs: self.inputs + other.inputs,
        }
    }
}

/// Sweeps all 2^32 inputs of `f` as `isa` computes it (the baseline if the host
/// lacks it), on all threads: minutes in a release build. `None` for a function
/// that is not one of f32 to f32.
pub fn unary(f: Unary, isa: Isa) -> Option<SweepResult> {
    sample(f, isa, 1)
}

/// [`unary`] on every `step`-th bit pattern.
pub fn sample(f: Unary, isa: Isa, step: u32) -> Option<SweepResult> {
    if f.output(DType::F32) != Some(DType::F32) {
        return None;
    }
    let tile = unary_tile(isa, f)?;
    let step = u64::from(step.max(1));
    let count = (1u64 << 32).div_ceil(step) as usize;
    let worst = Mutex::new(SweepResult::NONE);
    parallel::ranges(count, CHUNK, 1000, |start, end| {
        let mut found = SweepResult::NONE;
        let mut x = [0.0f32; CHUNK];
        for from in (start..end).step_by(CHUNK) {
            let n = CHUNK.min(end - from);
            for (i, x) in x.iter_mut().enumerate() {
                *x = f32::from_bits(((from + i) as u64 * step) as u32);
            }
            found = found.merge(compare(f, tile, &x[..n]));
        }
        let mut worst = worst.lock().unwrap_or_else(|e| e.into_inner());
        *worst = worst.merge(found);
    });
    Some(worst.into_inner().unwrap_or_else(|e| e.into_inner()))
}

/// [`unary`] on the inputs `xs`.
pub fn inputs(f: Unary, isa: Isa, xs: &[f32]) -> Option<SweepResult> {
    if f.output(DType::F32) != Some(DType::F32) {
        return None;
    }
    let tile = unary_tile(isa, f)?;
    Some(xs.chunks(CHUNK).fold(SweepResult::NONE, |worst, xs| worst.merge(compare(f, tile, xs))))
}

const CHUNK: usize = 1 << 12;

/// `tile`, which computes `f`, on at most `CHUNK` inputs.
fn compare(f: Unary, tile: TileFn, xs: &[f32]) -> SweepResult {
    let mut y = [0.0f32; CHUNK];
    let n = xs.len().min(CHUNK);
    let none = std::ptr::null();
    let t = Tile { out: y.as_mut_ptr().cast(), a: xs.as_ptr().cast(), b: none, c: none, n };
    // SAFETY: both hold n floats, and the function has one operand.
    unsafe { tile(&t) };
    let mut found = SweepResult::NONE;
    for (&x, &y) in xs.iter().zip(&y).take(n) {
        let Some(want) = reference(f, x) else { continue };
        let ulp = ulp::distance(y, want);
        let near = (f64::from(y) - f64::from(want)).abs() <= 1e-7;
        found = found.merge(SweepResult {
            max_ulp: ulp,
            at: x,
            max_ulp_above_1e_7: if near { 0 } else { ulp },
            inexact: u64::from(ulp != 0),
            inputs: 1,
        });
    }
    found
}

/// The exact value, rounded once.
fn reference(f: Unary, x: f32) -> Option<f32> {
    f.eval(Scalar::f32(x)).map(|s| s.to_f64() as f32)
}
