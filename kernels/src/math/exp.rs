//! e to a power.

use super::{horner, poly};
use crate::simd::Simd;

pub(super) const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts, the first with 9 significant bits so that its product
/// with an exponent is exact (Cephes, `expf.c`: C1, C2).
pub(super) const LN2_HI: f32 = 355.0 / 512.0;
pub(super) const LN2_LO: f32 = -2.121_944_4e-4;
/// Adding it, 1.5 * 2^23, to a number `x` with `|x| < 2^22` rounds that to an integer `n`
/// and leaves it in the low bits: a *biased* integer `t`, from which `n` comes back by subtraction.
pub(super) const ROUNDER: f32 = 12_582_912.0;

/// `(e^r - 1 - r) / r^2` on `|r| <= ln(2) / 2`: a Remez-type fit of degree 4
/// (Lawson iteration, Chebyshev basis), relative error of `e^r` below 2^-28.
const EXP: [f32; 7] = [0.001_381_422_2, 0.008_368_899, 0.041_668_404, 0.166_665_2, 0.499_999_94, 1.0, 1.0];

/// Likewise of degree 5, relative error of `e^r` below 2^-34.
pub(super) const TAIL: [f32; 6] = [0.000_197_900_66, 0.001_394_494_3, 0.008_333_499, 0.041_666_29, 0.166_666_66, 0.5];

/// `x = n ln 2 + r + r_lo`, `|r|` up to half of ln 2, for `|x| < 2^15`: `n` biased, `n` and `r`.
#[inline(always)]
fn split<S: Simd>(s: S, x: S::F) -> (S::F, S::F, S::F) {
    let rounder = s.splat(ROUNDER);
    let t = s.mul_add(x, s.splat(LOG2_E), rounder);
    let n = s.sub(t, rounder);
    (t, n, s.nmul_add(n, s.splat(LN2_HI), x))
}

/// `2^n` for a biased `n` of -126 to 127; 0 for -127. Some number for a NaN.
#[inline(always)]
pub(super) fn pow2<S: Simd>(s: S, t: S::F) -> S::F {
    // The bias has no bit left after the shift.
    s.as_float(s.iadd(s.ishl::<23>(s.bits(t)), s.isplat(0x3f80_0000)))
}

/// `e^x = p * 2^n` for `|x| < 2^15`: `p`, and `n` biased.
#[inline(always)]
pub(super) fn parts<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let (t, n, r) = split(s, x);
    (horner(s, s.nmul_add(n, s.splat(LN2_LO), r), EXP), t)
}

/// e to the x. Cody-Waite reduction, polynomial, scaling with one rounding. 1 ULP.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // Beyond these the result is 0 and infinity; in this order a NaN stays.
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let (p, t) = parts(s, x);
    scale(s, p, t, s.abs(x))
}

/// `p * 2^n` for a biased `n` and `|log(p * 2^n)| <= a`.
#[inline(always)]
fn scale<S: Simd>(s: S, p: S::F, t: S::F, a: S::F) -> S::F {
    // Between normal numbers it is an addition to the exponent. NaN is not below 87.
    if !S::FAST_SCALE && s.all(s.lt(a, s.splat(87.0))) {
        return s.as_float(s.iadd(s.bits(p), s.ishl::<23>(s.bits(t))));
    }
    s.scale2(p, t)
}

/// [`exp`] for `x <= 0` or NaN, one instruction shorter.
#[inline(always)]
pub fn exp_not_positive<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.max(s.splat(-104.0), x);
    let (p, t) = parts(s, x);
    scale(s, p, t, s.neg(x))
}

/// [`exp_not_positive`] where results below 2^-126 may be zero, or rounded twice.
#[inline(always)]
pub(super) fn exp_not_positive_or_zero<S: Simd>(s: S, x: S::F) -> S::F {
    // The n of the bound is -127.
    let (p, t) = parts(s, s.max(s.splat(-88.0), x));
    s.mul(p, pow2(s, t))
}

/// `e^x - 1 = m * 2^n + (2^n - 1)` for `|x| < 2^15`: `m`, and `n` biased.
#[inline(always)]
pub(super) fn m1_parts<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let (t, n, hi) = split(s, x);
    let lo = s.mul(n, s.splat(-LN2_LO));
    let r = s.add(hi, lo);
    let err = s.sub(lo, s.sub(r, hi));
    // e^(r + err) - 1 = r + (r^2 q + err (1 + r))
    let tail = s.mul_add(s.mul(r, r), poly(s, r, TAIL), s.mul_add(err, r, err));
    (s.add(r, tail), t)
}

/// `exp(x) - 1`. 2 ULP.
#[inline(always)]
pub fn expm1<S: Simd>(s: S, x: S::F) -> S::F {
    // Below -18 the result is -1 to the last bit.
    let c = s.max(s.splat(-18.0), s.min(s.splat(89.0), x));
    let (m, t) = m1_parts(s, c);
    // Half of the result, since 2^n itself may be out of range.
    let (one, half) = (s.splat(1.0), s.splat(0.5));
    let scale = pow2(s, s.sub(t, one));
    let y = s.mul_add(m, scale, s.sub(scale, half));
    let y = s.select(s.eq(t, s.splat(ROUNDER)), m, s.add(y, y));
    s.copysign(y, x)
}
