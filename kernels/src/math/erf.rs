//! The error function.

use super::exp::{m1_parts, pow2};
use super::poly;
use crate::simd::Simd;

/// `erf(x) / x - 1` in `x^2` for `|x| <= 0.93`: Remez-type fit of degree 6
/// (Lawson iteration, Chebyshev basis), relative error below 2^-31.
const SMALL: [f32; 7] =
    [8.316_772_4e-5, -8.130_012e-4, 5.199_906_4e-3, -2.685_894e-2, 1.128_368_75e-1, -3.761_263_2e-1, 1.283_791_7e-1];

/// `log(erfc(x)) / x` for `0.9 <= x <= 4`: likewise, degree 6, weighted to an
/// error of erf below 2^-30.
const LARGE: [f32; 7] =
    [-1.043_311_5e-5, 3.148_581e-4, -3.610_342e-3, 2.369_456_6e-2, -1.061_590_5e-1, -6.351_980_6e-1, -1.128_637_1];

/// The error function. 1 ULP.
///
/// Two polynomials: `x + x p(x^2)` and `1 - exp(x q(x))`, the scheme of
/// N. Juffa's `erff` with coefficients of our own.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.abs(x);
    let small = s.mul_add(x, poly(s, s.mul(x, x), SMALL), x);
    // erf(4) is 1 to the last bit.
    let c = s.min(s.splat(4.0), a);
    let (m, t) = m1_parts(s, s.mul(c, poly(s, c, LARGE)));
    // 1 - (m 2^n + 2^n)
    let scale = pow2(s, t);
    let large = s.nmul_add(m, scale, s.sub(s.splat(1.0), scale));
    s.select(s.le(a, s.splat(0.93)), small, s.copysign(large, x))
}
