//! Hyperbolic functions and their inverses.

use super::exp::{LN2_HI, LN2_LO, parts};
use super::{log, log1p, poly, tanh_table};
use crate::kernels::simd::Simd;

/// `(tanh(x) / x - 1) / x^2` in `x^2` for `|x| < 0.625` (Cephes, `tanhf.c`).
const TANH: [f32; 5] = [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];

/// Hyperbolic tangent. 2 ULP.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    if S::FAST_LOOKUP {
        return tanh_table::tanh(s, x);
    }
    let one = s.splat(1.0);
    let z = s.mul(x, x);
    let small = s.mul_add(s.mul(z, poly(s, z, TANH)), x, x);
    // 1 - 2 / (exp(2|x|) + 1); from 9.02 on it is 1 to the last bit.
    let a = s.min(s.splat(9.1), s.abs(x));
    let (p, n) = parts(s, s.add(a, a));
    let e = s.scale2_normal(p, n);
    let large = s.sub(one, s.div(s.splat(2.0), s.add(e, one)));
    // The sign last: the small branch turns -0 into 0.
    s.copysign(s.select(s.lt(s.abs(x), s.splat(0.625)), small, large), x)
}

/// `exp(x) / 2` for `x >= 0`, infinite only where that is.
#[inline(always)]
fn half_exp<S: Simd>(s: S, x: S::F) -> S::F {
    let (p, n) = parts(s, s.min(s.splat(90.0), x));
    s.scale2(p, s.sub(n, s.splat(1.0)))
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
