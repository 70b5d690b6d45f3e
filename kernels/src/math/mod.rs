//! The functions of one and two numbers, each as one generic body over
//! [`Simd`](super::simd::Simd).
//!
//! A bound "n ULP" is a distance of at most n representable numbers from the
//! correctly rounded result, over all 2^32 inputs unless it says otherwise;
//! [`sweep`](crate::sweep) checks it. Nothing is computed in `f64`.
//! NaN gives NaN.

mod activation;
mod basic;
mod erf;
mod exp;
mod hyperbolic;
mod inverse_trig;
mod log;
mod pow;
mod reduce_pi;
mod tanh_table;
#[cfg(test)]
mod tests;
mod trig;

pub use activation::{gelu_erf, gelu_tanh, relu, sigmoid, silu, softplus};
pub use basic::{maximum, minimum, modulo, recip, rem, rsqrt, sign};
pub use erf::erf;
pub use exp::{exp, exp_not_positive, expm1};
pub use hyperbolic::{acosh, asinh, atanh, cosh, sinh, tanh};
pub use inverse_trig::{acos, asin, atan};
pub use log::{log, log1p};
pub use pow::pow;
pub use trig::{cos, sin, tan};

use super::simd::Simd;

/// The polynomial with coefficients `c`, highest power first: Horner's rule, the fewest
/// steps, each of which waits for the one before.
#[inline(always)]
fn horner<S: Simd, const N: usize>(s: S, x: S::F, c: [f32; N]) -> S::F {
    let mut sum = s.splat(c[0]);
    for &c in &c[1..] {
        sum = s.in_step(s.mul_add(sum, x, s.splat(c)));
    }
    sum
}

/// The polynomial with coefficients `c`, highest power first: Horner's rule in `x^2`
/// over pairs, which halves the chain of dependent steps.
#[inline(always)]
fn poly<S: Simd, const N: usize>(s: S, x: S::F, c: [f32; N]) -> S::F {
    if N < 5 {
        let mut sum = s.splat(c[0]);
        for &c in &c[1..] {
            sum = s.mul_add(sum, x, s.splat(c));
        }
        return sum;
    }
    let z = s.mul(x, x);
    let odd = N % 2;
    let mut sum = if odd == 1 { s.splat(c[0]) } else { s.mul_add(s.splat(c[0]), x, s.splat(c[1])) };
    let mut i = 2 - odd;
    while i < N {
        sum = s.mul_add(sum, z, s.mul_add(s.splat(c[i]), x, s.splat(c[i + 1])));
        i += 2;
    }
    sum
}

/// `a + b` and its rounding error, for `|a| >= |b|` or `a = 0` (Dekker 1971).
#[inline(always)]
fn fast_two_sum<S: Simd>(s: S, a: S::F, b: S::F) -> (S::F, S::F) {
    let sum = s.add(a, b);
    (sum, s.sub(b, s.sub(sum, a)))
}

/// `a + b` and its rounding error (Knuth, TAOCP 4.2.2).
#[inline(always)]
fn two_sum<S: Simd>(s: S, a: S::F, b: S::F) -> (S::F, S::F) {
    let sum = s.add(a, b);
    let v = s.sub(sum, a);
    (sum, s.add(s.sub(a, s.sub(sum, v)), s.sub(b, v)))
}

/// `a * b` and its rounding error.
#[inline(always)]
fn two_product<S: Simd>(s: S, a: S::F, b: S::F) -> (S::F, S::F) {
    let p = s.mul(a, b);
    (p, s.fma(a, b, s.neg(p)))
}
