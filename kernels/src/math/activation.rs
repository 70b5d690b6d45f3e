//! Activation functions.

use super::exp::{exp_not_positive, exp_not_positive_or_zero, parts};
use super::{horner, log};
use crate::simd::Simd;

/// `max(x, 0)`. Exact; -0 stays.
#[inline(always)]
pub fn relu<S: Simd>(s: S, x: S::F) -> S::F {
    s.max(s.splat(0.0), x)
}

/// `1 / (1 + exp(-x))`. 2 ULP.
///
/// With `exp(-x) = p * 2^n` it is `2^-n / (2^-n + p)`. The numerator is taken
/// 2^24 times as large, which keeps it a normal number; only the result may not be one.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    // From 17 on it is 1 to the last bit, and below -104 it is 0; in this order a NaN stays.
    let x = s.max(s.splat(-104.0), s.min(s.splat(18.0), x));
    let (p, t) = parts(s, s.neg(x));
    // 2^(24 - n), n of -26 to 150
    let large = s.as_float(s.isub(s.isplat((127 + 24) << 23), s.ishl::<23>(s.bits(t))));
    let small = s.splat(1.0 / 16_777_216.0);
    s.mul(s.div(large, s.mul_add(large, small, p)), small)
}

/// `x * sigmoid(x)`, so NaN at -inf. 3 ULP.
#[inline(always)]
pub fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    let lowest = s.eq(x, s.splat(f32::NEG_INFINITY));
    // Below -120 the result is zero.
    let x = s.max(s.splat(-120.0), x);
    let (p, t) = parts(s, s.max(s.splat(-120.0), s.neg(s.abs(x))));
    let d = s.add(s.splat(1.0), s.scale2(p, t));
    // The power of two comes last: the exponential alone may be subnormal.
    let negative = s.lt(x, s.splat(0.0));
    let y = s.div(s.select(negative, s.mul(x, p), x), d);
    s.select(lowest, s.splat(f32::NAN), s.select(negative, s.scale2(y, t), y))
}

/// `log(1 + exp(x))`. 2 ULP.
#[inline(always)]
pub fn softplus<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp_not_positive(s, s.neg(s.abs(x)));
    let tail = log::log1p_unit(s, e);
    let y = s.add(s.max(s.splat(0.0), x), tail);
    // A subnormal exponential is its own log1p.
    s.select(s.lt(x, s.splat(-40.0)), e, y)
}

/// `log(erfcx(a / sqrt 2)) / a` on `0 <= a <= 5.6`, `erfcx(t) = exp(t^2) erfc(t)`:
/// a Remez-type fit of degree 8 (Lawson iteration, Chebyshev basis). Its error
/// moves `x - h(x)` of [`gelu_erf`] by less than 2^-29 of it.
const ERFCX: [f32; 9] = [
    3.685_346e-7,
    -6.807_327_4e-6,
    5.298_094e-5,
    -2.000_637e-4,
    1.528_986_5e-5,
    4.799_721_8e-3,
    -3.634_274_4e-2,
    1.816_914_2e-1,
    -7.978_846_4e-1,
];

/// `x * (1 + erf(x / sqrt 2)) / 2`, so NaN at -inf. 4 ULP, or 1e-7 absolute for negative `x`.
///
/// It is `max(x, 0) - h(|x|)` with `h(a) = a erfc(a / sqrt 2) / 2`, and the
/// logarithm of erfc is `a` times a polynomial: no branch and no division.
#[inline(always)]
pub fn gelu_erf<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    let q = horner(s, s.min(s.splat(5.6), a), ERFCX);
    // -a^2/2 stays outside of the clamp, so that h vanishes; 20^2/2 is enough for that.
    let c = s.min(s.splat(20.0), a);
    let e = exp_not_positive_or_zero(s, s.mul(c, s.nmul_add(c, s.splat(0.5), q)));
    // Only where x is negative is the factor of a zero exponential not clamped: -inf has no limit here, it is NaN.
    let factor = s.max(s.neg(x), s.min(s.splat(20.0), x));
    let h = s.mul(s.mul(factor, s.splat(0.5)), e);
    s.sub(s.max(s.splat(0.0), x), h)
}

/// `x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2`, so NaN at -inf. 4 ULP, or 1e-7
/// absolute for negative `x`.
#[inline(always)]
pub fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    // (1 + tanh y) / 2 = 1 / (1 + exp(-2y)); 2 sqrt(2/pi) and 0.044715 times it.
    const LINEAR: f32 = 1.595_769;
    const CUBIC: f32 = 0.071_354_814;
    // Past 20 the exponential is zero or the result is x.
    let a = s.min(s.splat(20.0), s.abs(x));
    let y = s.mul(a, s.mul_add(s.mul(a, a), s.splat(CUBIC), s.splat(LINEAR)));
    let e = exp_not_positive_or_zero(s, s.neg(y));
    let d = s.add(s.splat(1.0), e);
    let n = s.select(s.lt(x, s.splat(0.0)), s.mul(x, e), x);
    s.div(n, d)
}
