//! Which keys a query's sums choose.

use super::{BIN, BINS, Refine, SAMPLE};
use crate::rows::max_row;
use crate::simd::ByteSimd;

/// Masked scores as numbers of 16 bits: this many to a unit below the greatest.
const MASKED_UNITS: f32 = 256.0;

/// The greatest of the first `n` sums.
///
/// # Safety
/// `sums` is valid for reading them.
#[inline(always)]
pub(super) unsafe fn greatest<S: ByteSimd>(s: S, sums: *const u16, n: usize) -> u16 {
    let mut most = s.isplat(0);
    let whole = n / (2 * S::LANES) * (2 * S::LANES);
    for j in (0..whole).step_by(2 * S::LANES) {
        // SAFETY: a vector within n.
        most = s.max16(most, unsafe { s.load_bytes(sums.add(j).cast()) });
    }
    // SAFETY: the rest of n.
    (whole..n).map(|j| unsafe { *sums.add(j) }).fold(s.reduce_max16(most), u16::max)
}

/// Writes scores, of which the scale is still due, as sums; returns the greatest and the step. A NaN counts as the greatest.
///
/// # Safety
/// `scores` and `sums` have `n` numbers, rounded up to whole vectors.
#[inline(always)]
pub(super) unsafe fn counted<S: ByteSimd>(s: S, scores: *const f32, n: usize, due: S::F, sums: *mut u16) -> (u16, f32) {
    let top = s.splat(f32::from(u16::MAX));
    // SAFETY: n scores, and a vector of both at a time.
    unsafe {
        let max = max_row(s, scores, n, due);
        let (scale, offset) = (s.mul(due, s.splat(MASKED_UNITS)), s.splat(f32::from(u16::MAX) - max * MASKED_UNITS));
        for j in (0..n).step_by(S::LANES) {
            let x = s.mul_add(s.load_upto(scores.add(j), n - j), scale, offset);
            s.store_u16(sums.add(j), s.to_int(s.max(s.min(x, top), s.splat(0.0))));
        }
    }
    (u16::MAX, 1.0 / MASKED_UNITS)
}

/// Writes the numbers of the keys to be scored exactly, in order, and returns how many they are.
///
/// `sums` are the sums of the `n` keys that a query sees, `most` the greatest, `step` what 1 is in a scaled score. All keys are
/// chosen where the step is not above 0.
///
/// # Safety
/// `sums` has n numbers, rounded up to whole blocks; `chosen` has room for n.
#[inline(always)]
pub(super) unsafe fn choose<S: ByteSimd>(
    s: S,
    refine: &Refine,
    sums: *const u16,
    n: usize,
    most: u16,
    step: f32,
    chosen: *mut u32,
) -> usize {
    let first = refine.first.min(n);
    let last = n - refine.last.min(n - first);
    let mut found = 0;
    let all = |from: usize, to: usize, found: &mut usize| {
        for j in from..to {
            // SAFETY: no key is chosen twice.
            unsafe { *chosen.add(*found) = j as u32 };
            *found += 1;
        }
    };
    all(0, first, &mut found);
    // SAFETY: the caller's promise.
    match unsafe { threshold(refine.dropped_mass, sums, n, most, step) } {
        0 => all(first, last, &mut found),
        least => {
            let limit = s.isplat(i32::from(least) << 16 | i32::from(least));
            for j in (first..last).step_by(2 * S::LANES) {
                // SAFETY: a vector from within n on; keys that are chosen lie within n.
                unsafe {
                    let mut bits = s.at_least16(s.load_bytes(sums.add(j).cast()), limit);
                    if last - j < 2 * S::LANES {
                        bits &= (1 << (last - j)) - 1;
                    }
                    while bits != 0 {
                        *chosen.add(found) = j as u32 + bits.trailing_zeros();
                        found += 1;
                        bits &= bits - 1;
                    }
                }
            }
        }
    }
    all(last, n, &mut found);
    found
}

/// The least sum of keys that are chosen: those below have at most `dropped_mass` of the weight of a sample.
///
/// # Safety
/// `sums` is valid for reading `n` numbers.
#[inline(always)]
unsafe fn threshold(dropped_mass: f32, sums: *const u16, n: usize, most: u16, step: f32) -> u16 {
    // NaN, too.
    if step.is_nan() || step <= 0.0 {
        return 0;
    }
    let mut counts = [0u32; BINS];
    let bins = step / BIN;
    let sampled = (n / SAMPLE).max(1);
    for j in (0..n).step_by(sampled) {
        // SAFETY: j < n. Sums past those that count may be greater.
        let below = most.saturating_sub(unsafe { *sums.add(j) });
        counts[((f32::from(below) * bins) as usize).min(BINS - 1)] += 1;
    }
    let weight_of_bin = (-BIN).exp();
    let mut weights = [0.0f32; BINS];
    // The greatest counts in any case: where it is not sampled, others would seem to have all the weight.
    let (mut weight, mut total) = (1.0, 1.0 / sampled as f32);
    for (w, &count) in weights.iter_mut().zip(&counts) {
        *w = count as f32 * weight;
        total += *w;
        weight *= weight_of_bin;
    }
    let (mut dropped, allowed) = (0.0, dropped_mass * total);
    for (bin, w) in weights.iter().enumerate().rev() {
        dropped += w;
        if dropped > allowed {
            if bin == BINS - 1 {
                return 0;
            }
            // Those less than this many below the greatest are in the bins up to this one. The cast saturates.
            let within = ((bin + 1) as f32 / bins).ceil() as u32;
            // At most the greatest: it fits. 0 is all.
            return (u32::from(most) + 1).saturating_sub(within.max(1)) as u16;
        }
    }
    most
}
