//! Every f32 through a function, compared with the correctly rounded value.

use super::chain::unary_tile;
use super::simd::{Tile, TileFn};
use super::{Isa, parallel, ulp, unary_bound};
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

    /// True if the error is within what [`unary_bound`] promises of `f`.
    pub fn within_bound(&self, f: Unary) -> bool {
        let (ulp, absolute) = unary_bound(f);
        let worst = if absolute > 0.0 { self.max_ulp_above_1e_7 } else { self.max_ulp };
        worst <= ulp
    }

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

/// Sweeps every `step`-th bit pattern through `f` as each of `isas` computes it
/// (the baseline if the host lacks it), on all threads; one result an
/// instruction set. With a step of 1 that is all 2^32 inputs: a minute or so in
/// a release build, since the reference is computed once for all of them.
/// `None` for a function that is not one of f32 to f32.
pub fn unary(f: Unary, isas: &[Isa], step: u32) -> Option<Vec<SweepResult>> {
    let tiles = tiles(f, isas)?;
    let step = u64::from(step.max(1));
    let count = (1u64 << 32).div_ceil(step) as usize;
    let worst = Mutex::new(vec![SweepResult::NONE; isas.len()]);
    parallel::ranges(count, CHUNK, 1000, |start, end| {
        let mut found = vec![SweepResult::NONE; tiles.len()];
        let mut x = [0.0f32; CHUNK];
        for from in (start..end).step_by(CHUNK) {
            let n = CHUNK.min(end - from);
            for (i, x) in x.iter_mut().enumerate() {
                *x = f32::from_bits(((from + i) as u64 * step) as u32);
            }
            compare(f, &tiles, &x[..n], &mut found);
        }
        let mut worst = worst.lock().unwrap_or_else(|e| e.into_inner());
        for (w, f) in worst.iter_mut().zip(found) {
            *w = w.merge(f);
        }
    });
    Some(worst.into_inner().unwrap_or_else(|e| e.into_inner()))
}

/// [`unary`] on the inputs `xs`.
pub fn inputs(f: Unary, isas: &[Isa], xs: &[f32]) -> Option<Vec<SweepResult>> {
    let tiles = tiles(f, isas)?;
    let mut found = vec![SweepResult::NONE; tiles.len()];
    for xs in xs.chunks(CHUNK) {
        compare(f, &tiles, xs, &mut found);
    }
    Some(found)
}

const CHUNK: usize = 1 << 12;

fn tiles(f: Unary, isas: &[Isa]) -> Option<Vec<TileFn>> {
    if f.output(DType::F32) != Some(DType::F32) {
        return None;
    }
    isas.iter().map(|&isa| unary_tile(isa, f)).collect()
}

/// Each of `tiles`, which compute `f`, on at most `CHUNK` inputs.
fn compare(f: Unary, tiles: &[TileFn], xs: &[f32], found: &mut [SweepResult]) {
    let n = xs.len().min(CHUNK);
    let mut want = [None; CHUNK];
    for (w, &x) in want.iter_mut().zip(xs) {
        *w = reference(f, x);
    }
    for (tile, found) in tiles.iter().zip(found) {
        let mut y = [0.0f32; CHUNK];
        let none = std::ptr::null();
        let t = Tile { out: y.as_mut_ptr().cast(), a: xs.as_ptr().cast(), b: none, c: none, n };
        // SAFETY: both hold n floats, and the function has one operand.
        unsafe { tile(&t) };
        for ((&x, &y), want) in xs.iter().zip(&y).zip(want).take(n) {
            let Some(want) = want else { continue };
            found.inputs += 1;
            // Nearly all of them.
            if y.to_bits() == want.to_bits() {
                continue;
            }
            let ulp = ulp::distance(y, want);
            let near = (f64::from(y) - f64::from(want)).abs() <= 1e-7;
            *found = found.merge(SweepResult {
                max_ulp: ulp,
                at: x,
                max_ulp_above_1e_7: if near { 0 } else { ulp },
                inexact: u64::from(ulp != 0),
                inputs: 0,
            });
        }
    }
}

/// The exact value, rounded once.
fn reference(f: Unary, x: f32) -> Option<f32> {
    f.eval(Scalar::f32(x)).map(|s| s.to_f64() as f32)
}
