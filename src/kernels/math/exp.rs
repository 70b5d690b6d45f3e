//! e to a power.

use super::poly;
use crate::kernels::simd::Simd;

pub(super) const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts, the first with 9 significant bits so that its product
/// with an exponent is exact (Cephes, `expf.c`: C1, C2).
pub(super) const LN2_HI: f32 = 355.0 / 512.0;
pub(super) const LN2_LO: f32 = -2.121_944_4e-4;
/// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
pub(super) const ROUNDER: f32 = 12_582_912.0;

/// `(e^r - 1 - r) / r^2` on `|r| <= ln(2) / 2`: a Remez-type fit of degree 5
/// (Lawson iteration, Chebyshev basis), relative error of `e^r` below 2^-34.
const TAIL: [f32; 6] = [0.000_197_900_66, 0.001_394_494_3, 0.008_333_499, 0.041_666_29, 0.166_666_66, 0.5];

/// `x = n ln 2 + r + r_lo`, `|r|` up to half of ln 2, for `|x| < 2^15`.
#[inline(always)]
pub(super) fn split<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let rounder = s.splat(ROUNDER);
    let n = s.sub(s.mul_add(x, s.splat(LOG2_E), rounder), rounder);
    (n, s.nmul_add(n, s.splat(LN2_HI), x))
}

/// `e^x = p * 2^n` for `|x| < 2^15`: the two factors.
#[inline(always)]
pub(super) fn parts<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let (n, r) = split(s, x);
    let r = s.nmul_add(n, s.splat(LN2_LO), r);
    let tail = s.mul_add(s.mul(r, r), poly(s, r, TAIL), r);
    (s.add(s.splat(1.0), tail), n)
}

/// e to the x. Cody-Waite reduction, polynomial, scaling with one rounding. 1 ULP.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // Beyond these the result is 0 and infinity; in this order a NaN stays.
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let (p, n) = parts(s, x);
    s.scale2(p, n)
}

/// [`exp`] for `x <= 0` or NaN, one instruction shorter.
#[inline(always)]
pub fn exp_not_positive<S: Simd>(s: S, x: S::F) -> S::F {
    let (p, n) = parts(s, s.max(s.splat(-104.0), x));
    s.scale2(p, n)
}

/// `e^x - 1 = m * 2^n + (2^n - 1)` for `|x| < 2^15`: `m` and `n`.
#[inline(always)]
pub(super) fn m1_parts<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let (n, hi) = split(s, x);
    let lo = s.mul(n, s.splat(-LN2_LO));
    let r = s.add(hi, lo);
    let err = s.sub(lo, s.sub(r, hi));
    // e^(r + err) - 1 = r + (r^2 q + err (1 + r))
    let tail = s.mul_add(s.mul(r, r), poly(s, r, TAIL), s.mul_add(err, r, err));
    (s.add(r, tail), n)
}

/// `exp(x) - 1`. 2 ULP.
#[inline(always)]
pub fn expm1<S: Simd>(s: S, x: S::F) -> S::F {
    // Below -18 the result is -1 to the last bit.
    let c = s.max(s.splat(-18.0), s.min(s.splat(89.0), x));
    let (m, n) = m1_parts(s, c);
    // Half of the result, since 2^n itself may be out of range.
    let (one, half) = (s.splat(1.0), s.splat(0.5));
    let scale = s.scale2_normal(one, s.sub(n, one));
    let y = s.mul_add(m, scale, s.sub(scale, half));
    let y = s.select(s.eq(n, s.splat(0.0)), m, s.add(y, y));
    s.copysign(y, x)
}
