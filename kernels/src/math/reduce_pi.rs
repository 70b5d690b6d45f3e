//! Angles modulo pi/2.

use super::{fast_two_sum, two_product, two_sum};
use crate::math::exp::ROUNDER;
use crate::simd::Simd;
use std::f32::consts::{FRAC_2_PI, FRAC_PI_2};

/// pi/2 in three parts: each the `f32` nearest to what the ones before leave
/// (computed with Machin's formula).
const PI_2: [f32; 3] = [FRAC_PI_2, -4.371_139e-8, -1.715_124_5e-15];

/// Up to here the three parts suffice: the product of the first with the
/// quadrant is a multiple of 2^-23 and so the first difference is exact.
const FAST: f32 = 32_768.0;

/// `x = q pi/2 + r + lo`, `|r|` up to about pi/4, `lo` below an ulp of `r`,
/// `q` modulo 4 at least. For any finite `x`; NaN for others.
#[inline(always)]
pub(super) fn reduce<S: Simd>(s: S, x: S::F) -> (S::F, S::F, S::I) {
    let rounder = s.splat(ROUNDER);
    let n = s.sub(s.mul_add(x, s.splat(FRAC_2_PI), rounder), rounder);
    let minus_n = s.neg(n);
    let r = s.fma(minus_n, s.splat(PI_2[0]), x);
    let (p, p_lo) = two_product(s, minus_n, s.splat(PI_2[1]));
    let (r, r_lo) = two_sum(s, r, p);
    let lo = s.add(r_lo, s.mul_add(minus_n, s.splat(PI_2[2]), p_lo));
    let (r, lo) = fast_two_sum(s, r, lo);
    let q = s.to_int(n);

    let a = s.abs(x);
    let large = s.mask_and(s.le(s.splat(FAST), a), s.lt(a, s.splat(f32::INFINITY)));
    if s.any(large) { reduce_lanes(s, x, large, (r, lo, q)) } else { (r, lo, q) }
}

/// The lanes of `large` anew, one by one.
#[inline(always)]
fn reduce_lanes<S: Simd>(s: S, x: S::F, large: S::M, small: (S::F, S::F, S::I)) -> (S::F, S::F, S::I) {
    // Lanes of the widest token: four vectors of 16.
    const MOST: usize = 64;
    const { assert!(S::LANES <= MOST) }
    let (mut xs, mut los, mut qs) = ([0.0; MOST], [0.0; MOST], [0.0; MOST]);
    // Zero stands for the lanes that are done.
    let todo = s.select(large, x, s.splat(0.0));
    // SAFETY: the array holds LANES floats.
    unsafe { s.store(xs.as_mut_ptr(), todo) };
    for i in 0..S::LANES {
        if xs[i] != 0.0 {
            let (r, lo, q) = reduce_large(xs[i]);
            (xs[i], los[i], qs[i]) = (r, lo, q as f32);
        }
    }
    // SAFETY: the arrays hold LANES floats each.
    let (r, lo, q) = unsafe { (s.load(xs.as_ptr()), s.load(los.as_ptr()), s.load(qs.as_ptr())) };
    (s.select(large, r, small.0), s.select(large, lo, small.1), s.iselect(large, s.to_int(q), small.2))
}

/// The first 256 bits of 2/pi after the point (computed with Machin's formula).
const TWO_OVER_PI: [u32; 8] =
    [0xa2f9_836e, 0x4e44_1529, 0xfc27_57d1, 0xf534_ddc0, 0xdb62_9599, 0x3c43_9041, 0xfe51_63ab, 0xdebb_c561];

/// pi/2 times 2^62.
const PI_2_FIXED: i128 = 0x6487_ed51_10b4_611a;

/// [`reduce`] of one finite number of at least 2^15 (M. Payne and R. Hanek,
/// "Radian reduction for trigonometric functions", 1983): of the product with
/// 2/pi only the two bits before the point and 94 after it are formed.
#[cold]
fn reduce_large(x: f32) -> (f32, f32, i32) {
    let bits = x.to_bits();
    let m = u128::from(bits & 0x7f_ffff | 0x80_0000);
    // |x| = m 2^e; bits of 2/pi above weight 2^(1 - e) only add multiples of 4.
    let e = ((bits >> 23) & 0xff) as i32 - 150;
    let skip = (e - 2).max(0) as usize;
    let (word, shift) = (skip / 32, skip % 32);
    let at = |i: usize| u128::from(TWO_OVER_PI.get(i).copied().unwrap_or(0));
    let window = (at(word) << 96) | (at(word + 1) << 64) | (at(word + 2) << 32) | at(word + 3);
    let window = ((window << shift) >> 32) & ((1 << 96) - 1);
    // |x| 2/pi = m window 2^(e - skip - 96); now with the point at bit 94.
    let product = m * window;
    let point = 96 + skip as i32 - e;
    let product = if point >= 94 { product >> (point - 94) } else { product << (94 - point) };
    let turns = product & ((1 << 96) - 1);
    // To the nearest quadrant; the fraction is signed, 2^-64 its unit.
    let q = ((turns + (1 << 93)) >> 94) as i32;
    let fraction = ((turns as i128 - (i128::from(q) << 94)) >> 30) as i64;
    let r = (i128::from(fraction) * PI_2_FIXED) >> 62;
    const UNIT: f32 = 1.0 / 18_446_744_073_709_551_616.0;
    let hi = r as f32;
    let lo = (r - hi as i128) as f32;
    let (hi, lo) = (hi * UNIT, lo * UNIT);
    if x < 0.0 { (-hi, -lo, -q & 3) } else { (hi, lo, q & 3) }
}
