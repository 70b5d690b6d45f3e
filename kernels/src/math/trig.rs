//! Sine, cosine and tangent.

use super::poly;
use super::reduce_pi::reduce;
use crate::simd::Simd;

/// `(sin(r) / r - 1) / r^2` in `r^2` for `|r| <= pi/4` (Cephes, `sinf.c`).
const SIN: [f32; 3] = [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1];
/// `(cos(r) - 1 + r^2/2) / r^4` in `r^2` for `|r| <= pi/4` (Cephes, `sinf.c`).
const COS: [f32; 3] = [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2];

/// Sine and cosine of `r + lo`, `|r|` up to pi/4.
#[inline(always)]
fn sin_cos<S: Simd>(s: S, r: S::F, lo: S::F) -> (S::F, S::F) {
    let z = s.mul(r, r);
    let half = s.splat(0.5);
    let half_z = s.mul(z, half);
    let sin = {
        // r + (r^3 p + lo (1 - r^2/2))
        let tail = s.mul_add(s.mul(z, r), poly(s, z, SIN), s.nmul_add(lo, half_z, lo));
        s.add(r, tail)
    };
    let cos = {
        let one = s.splat(1.0);
        let w = s.sub(one, half_z);
        let lost = s.sub(s.sub(one, w), half_z);
        let tail = s.mul_add(s.mul(z, z), poly(s, z, COS), s.nmul_add(r, lo, lost));
        s.add(w, tail)
    };
    (sin, cos)
}

/// `sin(x + quarter pi/2)`.
#[inline(always)]
fn sine<S: Simd>(s: S, x: S::F, quarter: i32) -> S::F {
    let (r, lo, q) = reduce(s, x);
    let (sin, cos) = sin_cos(s, r, lo);
    let q = s.iadd(q, s.isplat(quarter));
    let even = s.ieq(s.iand(q, s.isplat(1)), s.isplat(0));
    let y = s.select(even, sin, cos);
    s.xor_sign(y, s.ishl::<30>(s.iand(q, s.isplat(2))))
}

/// Sine, of any finite angle. 1 ULP.
#[inline(always)]
pub fn sin<S: Simd>(s: S, x: S::F) -> S::F {
    let y = sine(s, x, 0);
    s.select(s.eq(x, s.splat(0.0)), x, y)
}

/// Cosine, of any finite angle. 1 ULP.
#[inline(always)]
pub fn cos<S: Simd>(s: S, x: S::F) -> S::F {
    sine(s, x, 1)
}

/// Tangent, of any finite angle. 3 ULP.
#[inline(always)]
pub fn tan<S: Simd>(s: S, x: S::F) -> S::F {
    let (r, lo, q) = reduce(s, x);
    let (sin, cos) = sin_cos(s, r, lo);
    let even = s.ieq(s.iand(q, s.isplat(1)), s.isplat(0));
    let y = s.div(s.select(even, sin, s.neg(cos)), s.select(even, cos, sin));
    s.select(s.eq(x, s.splat(0.0)), x, y)
}
