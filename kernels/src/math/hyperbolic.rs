//! Hyperbolic functions and their inverses.

use super::exp::{LN2_HI, LN2_LO, LOG2_E, ROUNDER, TAIL, parts, pow2};
use super::{horner, log, log1p, poly, tanh_table};
use crate::simd::Simd;
use std::f32::consts::LN_2;

/// Hyperbolic tangent. 2 ULP.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    if S::FAST_LOOKUP {
        return tanh_table::tanh(s, x);
    }
    // 1 - 2 / (e + 2) = e / (e + 2) for e = exp(2|x|) - 1; from 9.02 on it is 1 to the last bit.
    let a = s.min(s.splat(9.1), s.abs(x));
    let twice = s.add(a, a);
    let rounder = s.splat(ROUNDER);
    let t = s.mul_add(twice, s.splat(LOG2_E), rounder);
    // One part of ln 2 suffices: the error grows with n, and what comes of it shrinks with 2^n.
    let r = s.nmul_add(s.sub(t, rounder), s.splat(LN_2), twice);
    let m = s.mul_add(s.mul(r, r), horner(s, r, TAIL), r);
    // Nothing cancels: r is not below 0 where n is 0, and above -0.35 elsewhere.
    let scale = pow2(s, t);
    let e = s.mul_add(m, scale, s.sub(scale, s.splat(1.0)));
    s.xor_sign(s.div(e, s.add(e, s.splat(2.0))), s.sign_bit(x))
}

/// `exp(x) / 2` for `x >= 0`, infinite only where that is.
#[inline(always)]
fn half_exp<S: Simd>(s: S, x: S::F) -> S::F {
    let (p, t) = parts(s, s.min(s.splat(90.0), x));
    s.scale2(p, s.sub(t, s.splat(1.0)))
}

/// `(sinh(x) / x - 1) / x^2` in `x^2` for `|x| <= 1`: Remez-type fit of degree 3
/// (Lawson iteration, Chebyshev basis), relative error below 2^-34.
const SINH: [f32; 4] = [2.816_951_3e-6, 1.983_616e-4, 8.333_35e-3, 1.666_666_7e-1];

/// Hyperbolic sine. 2 ULP.
#[inline(always)]
pub fn sinh<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    let z = s.mul(x, x);
    let small = s.mul_add(s.mul(z, poly(s, z, SINH)), x, x);
    let e = half_exp(s, a);
    let large = s.sub(e, s.div(s.splat(0.25), e));
    s.copysign(s.select(s.lt(a, s.splat(1.0)), small, large), x)
}

/// Hyperbolic cosine. 2 ULP.
#[inline(always)]
pub fn cosh<S: Simd>(s: S, x: S::F) -> S::F {
    let e = half_exp(s, s.abs(x));
    s.add(e, s.div(s.splat(0.25), e))
}

/// `log(x) + log(2)` for large `x`.
#[inline(always)]
fn log_twice<S: Simd>(s: S, x: S::F) -> S::F {
    s.add(s.add(log(s, x), s.splat(LN2_LO)), s.splat(LN2_HI))
}

/// Inverse hyperbolic sine. 4 ULP.
#[inline(always)]
pub fn asinh<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let a = s.abs(x);
    let z = s.mul(a, a);
    let root = s.sqrt(s.add(z, one));
    let y = log1p(s, s.add(a, s.div(z, s.add(root, one))));
    s.copysign(s.select(s.lt(a, s.splat(4096.0)), y, log_twice(s, a)), x)
}

/// Inverse hyperbolic cosine. 4 ULP.
#[inline(always)]
pub fn acosh<S: Simd>(s: S, x: S::F) -> S::F {
    let t = s.sub(x, s.splat(1.0));
    let root = s.sqrt(s.mul(t, s.add(t, s.splat(2.0))));
    let y = log1p(s, s.add(t, root));
    let y = s.select(s.lt(s.splat(4096.0), x), log_twice(s, x), y);
    // The root alone would let in what is below -1.
    s.select(s.lt(x, s.splat(1.0)), s.splat(f32::NAN), y)
}

/// Inverse hyperbolic tangent. 4 ULP.
#[inline(always)]
pub fn atanh<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    // 2a / (1 - a): the log1p of it is twice the result.
    let y = log1p(s, s.div(s.add(a, a), s.sub(s.splat(1.0), a)));
    let small = s.mul_add(s.mul(s.mul(x, x), x), s.splat(1.0 / 3.0), x);
    s.copysign(s.select(s.lt(a, s.splat(1e-4)), small, s.mul(y, s.splat(0.5))), x)
}
