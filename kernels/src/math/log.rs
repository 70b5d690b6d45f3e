//! The natural logarithm.

use super::exp::{LN2_HI, LN2_LO};
use super::{fast_two_sum, poly, two_sum};
use crate::simd::Simd;

/// `(log(1 + f) - f + f^2/2) / f^3` on `sqrt(1/2) - 1 <= f <= sqrt(2) - 1`
/// (Cephes, `logf.c`).
const TAIL: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_84e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_8e-1,
    2.000_071_5e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];

/// `x = 2^e (1 + f)` with `1 + f` between the roots of 1/2 and 2, for positive
/// finite `x`: `f` and `e`.
#[inline(always)]
pub(super) fn split<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    // 2^23 x has a leading one where x is subnormal.
    let tiny = s.lt(x, s.splat(f32::MIN_POSITIVE));
    let bits = s.bits(s.select(tiny, s.mul(x, s.splat(8_388_608.0)), x));
    let bias = s.select(tiny, s.splat(-23.0), s.splat(0.0));
    // Counts exponents from the root of 1/2.
    let from = s.isplat(std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32);
    let rel = s.isub(bits, from);
    let e = s.ishr::<23>(rel);
    let m = s.isub(bits, s.ishl::<23>(e));
    (s.sub(s.as_float(m), s.splat(1.0)), s.add(s.to_float(e), bias))
}

/// `log(2^e (1 + f + f_lo))`.
#[inline(always)]
fn assemble<S: Simd>(s: S, f: S::F, f_lo: S::F, e: S::F) -> S::F {
    let z = s.mul(f, f);
    let y = s.mul(s.mul(z, f), poly(s, f, TAIL));
    let y = s.mul_add(e, s.splat(LN2_LO), y);
    let y = s.add(s.nmul_add(z, s.splat(0.5), y), f_lo);
    let (sum, err) = fast_two_sum(s, s.mul(e, s.splat(LN2_HI)), f);
    s.add(sum, s.add(err, y))
}

/// The value of a logarithm at and beyond the ends of its range.
#[inline(always)]
fn ends<S: Simd>(s: S, x: S::F, y: S::F) -> S::F {
    let inf = s.splat(f32::INFINITY);
    let y = s.select(s.lt(x, inf), y, x);
    let y = s.select(s.eq(x, s.splat(0.0)), s.splat(f32::NEG_INFINITY), y);
    s.select(s.lt(x, s.splat(0.0)), s.splat(f32::NAN), y)
}

/// Natural logarithm. 1 ULP.
#[inline(always)]
pub fn log<S: Simd>(s: S, x: S::F) -> S::F {
    let (f, e) = split(s, x);
    ends(s, x, assemble(s, f, s.splat(0.0), e))
}

/// `log(1 + x)`. 2 ULP.
#[inline(always)]
pub fn log1p<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let u = s.add(one, x);
    // The part that rounding 1 + x lost, in the scale of the significand.
    let big = s.lt(one, x);
    let (hi, lo) = (s.select(big, x, one), s.select(big, one, x));
    let lost = s.sub(lo, s.sub(u, hi));
    let (f, e) = split(s, u);
    let scale =
        s.as_float(s.ishl::<23>(s.isub(s.isplat(127), s.to_int(s.min(s.splat(126.0), s.max(s.splat(-125.0), e))))));
    let (f, f_lo) = two_sum(s, f, s.mul(lost, scale));
    let y = assemble(s, f, f_lo, e);
    // Sign of zero, and subnormals.
    let y = s.select(s.le(s.abs(x), s.splat(f32::MIN_POSITIVE)), x, y);
    ends(s, u, y)
}

/// `log(1 + x)` for `0 <= x <= 1`, as softplus needs it.
#[inline(always)]
pub(super) fn log1p_unit<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let u = s.add(one, x);
    let lost = s.sub(x, s.sub(u, one));
    // 1 + x >= sqrt 2 is halved.
    let top = s.le(s.splat(std::f32::consts::SQRT_2), u);
    let half = s.select(top, s.splat(0.5), one);
    let e = s.select(top, one, s.splat(0.0));
    let f = s.sub(s.mul(u, half), one);
    let (f, f_lo) = two_sum(s, f, s.mul(lost, half));
    assemble(s, f, f_lo, e)
}
