//! Inverse trigonometric functions.

use super::poly;
use crate::simd::Simd;
use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, PI};

/// The part of pi/2 that `FRAC_PI_2` lacks.
const FRAC_PI_2_LO: f32 = -4.371_139e-8;

/// `(asin(x) / x - 1) / x^2` in `x^2` for `|x| <= 1/2` (Cephes, `asinf.c`).
const ASIN: [f32; 5] = [4.216_32e-2, 2.418_131e-2, 4.547_002_6e-2, 7.495_3e-2, 1.666_675_2e-1];

/// `asin(sqrt(z))` for `z <= 1/4` given `x = sqrt(z)`, as `x` and a correction.
#[inline(always)]
fn small<S: Simd>(s: S, x: S::F, z: S::F) -> S::F {
    s.mul(s.mul(z, x), poly(s, z, ASIN))
}

/// Inverse sine. 2 ULP.
#[inline(always)]
pub fn asin<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    let outer = s.lt(s.splat(0.5), a);
    // asin(a) = pi/2 - 2 asin(sqrt((1 - a) / 2))
    let z = s.select(outer, s.nmul_add(a, s.splat(0.5), s.splat(0.5)), s.mul(a, a));
    let r = s.select(outer, s.sqrt(z), a);
    let tail = small(s, r, z);
    let y = s.add(r, tail);
    let twice = s.sub(s.splat(FRAC_PI_2_LO), s.add(tail, tail));
    let folded = s.add(s.sub(s.splat(FRAC_PI_2), s.add(r, r)), twice);
    s.copysign(s.select(outer, folded, y), x)
}

/// Inverse cosine. 2 ULP.
#[inline(always)]
pub fn acos<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    let outer = s.lt(s.splat(0.5), a);
    // Not a * a: NaNs of two signs would meet, and which one stays is up to the compiler.
    let z = s.select(outer, s.nmul_add(a, s.splat(0.5), s.splat(0.5)), s.mul(x, x));
    let r = s.select(outer, s.sqrt(z), x);
    let tail = small(s, r, z);
    // |x| <= 1/2: pi/2 - asin(x)
    let middle = s.sub(s.splat(FRAC_PI_2), s.sub(s.add(r, tail), s.splat(FRAC_PI_2_LO)));
    let y = s.add(r, tail);
    let near_one = s.add(y, y);
    let correction = s.sub(s.splat(2.0 * FRAC_PI_2_LO), near_one);
    let near_minus_one = s.add(s.splat(PI), correction);
    let folded = s.select(s.lt(x, s.splat(0.0)), near_minus_one, near_one);
    s.select(outer, folded, middle)
}

/// `(atan(x) / x - 1) / x^2` in `x^2` for `|x| <= tan(pi/8)` (Cephes, `atanf.c`).
const ATAN: [f32; 4] = [8.053_744_5e-2, -1.387_768_6e-1, 1.997_771_1e-1, -3.333_295e-1];

/// Inverse tangent. 2 ULP.
#[inline(always)]
pub fn atan<S: Simd>(s: S, x: S::F) -> S::F {
    const TAN_3PI_8: f32 = 2.414_213_6;
    const TAN_PI_8: f32 = 0.414_213_57;
    let one = s.splat(1.0);
    let a = s.abs(x);
    let far = s.lt(s.splat(TAN_3PI_8), a);
    let mid = s.lt(s.splat(TAN_PI_8), a);
    // -1/a, or (a - 1) / (a + 1), or a
    let n = s.select(far, s.splat(-1.0), s.select(mid, s.sub(a, one), a));
    let d = s.select(far, a, s.select(mid, s.add(a, one), one));
    let t = s.div(n, d);
    let z = s.mul(t, t);
    let zero = s.splat(0.0);
    let base = s.select(far, s.splat(FRAC_PI_2), s.select(mid, s.splat(FRAC_PI_4), zero));
    let base_lo = s.select(far, s.splat(FRAC_PI_2_LO), s.select(mid, s.splat(0.5 * FRAC_PI_2_LO), zero));
    let tail = s.mul_add(s.mul(z, poly(s, z, ATAN)), t, base_lo);
    s.copysign(s.add(base, s.add(t, tail)), x)
}
