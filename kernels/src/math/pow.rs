//! Powers.

use super::exp::ROUNDER;
use super::{fast_two_sum, log, poly, two_product};
use crate::simd::Simd;

/// `(2^r - 1) / r` on `|r| <= 1/2`: Remez-type fit of degree 6 (Lawson
/// iteration, Chebyshev basis), relative error of `2^r` below 2^-34.
const EXP2: [f32; 7] =
    [1.519_604_2e-5, 1.546_688_3e-4, 1.333_393_6e-3, 9.618_037e-3, 5.550_41e-2, 2.402_265e-1, 6.931_472e-1];

/// log2(e) in two parts.
const LOG2_E: [f32; 2] = [std::f32::consts::LOG2_E, 1.925_963e-8];

/// `log2(2^e (1 + f))` as a sum of two, good to about 2^-32 of it.
#[inline(always)]
fn log2<S: Simd>(s: S, f: S::F, e: S::F) -> (S::F, S::F) {
    // log(1 + f) = 2 atanh(t), t = f / (2 + f), as 2t + 2/3 t^3 + t^5 (...)
    let two = s.splat(2.0);
    let d = s.add(two, f);
    let d_lo = s.sub(f, s.sub(d, two));
    let t = s.div(f, d);
    let rest = s.sub(s.fma(s.neg(t), d, f), s.mul(t, d_lo));
    let t_lo = s.div(rest, d);
    let (z, z_err) = two_product(s, t, t);
    let z_lo = s.mul_add(s.add(t, t), t_lo, z_err);
    // 2 (1/5 + z/7 + z^2/9 + z^3/11): the series of atanh
    let tail = poly(s, z, [2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0]);
    // c = 2/3 z + z^2 tail, as a sum of two
    const THIRD: f32 = 2.0 / 3.0;
    const THIRD_LO: f32 = -1.986_821_5e-8;
    let (c, c_err) = two_product(s, z, s.splat(THIRD));
    let c_lo = s.mul_add(z, s.splat(THIRD_LO), s.mul_add(z_lo, s.splat(THIRD), c_err));
    let c_lo = s.mul_add(s.mul(z, z), tail, c_lo);
    // log(1 + f) = (t + t_lo) (2 + c + c_lo)
    let (k, k_err) = fast_two_sum(s, two, c);
    let k_lo = s.add(k_err, c_lo);
    let (p, p_err) = two_product(s, t, k);
    let p_lo = s.add(p_err, s.mul_add(t_lo, k, s.mul(t, k_lo)));
    // times log2(e), plus e
    let (l, l_err) = two_product(s, p, s.splat(LOG2_E[0]));
    let l_lo = s.mul_add(p, s.splat(LOG2_E[1]), s.mul_add(p_lo, s.splat(LOG2_E[0]), l_err));
    let (hi, err) = fast_two_sum(s, e, l);
    fast_two_sum(s, hi, s.add(err, l_lo))
}

/// `a` to the power `b`, with the special cases of C's `pow`. 2 ULP.
#[inline(always)]
pub fn pow<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
    let (zero, one, inf) = (s.splat(0.0), s.splat(1.0), s.splat(f32::INFINITY));
    let base = s.abs(a);
    let (f, e) = log::split(s, base);
    let (hi, lo) = log2(s, f, e);
    // Past 2^20 only 0, 1 and infinity are left, and 1 needs a base of 1.
    let limit = s.splat(4.0e9);
    let c = s.max(s.neg(limit), s.min(limit, b));
    let (p, p_err) = two_product(s, c, hi);
    let p_lo = s.mul_add(c, lo, p_err);
    let over = s.splat(240.0);
    let inside = s.lt(s.abs(p), over);
    let p = s.max(s.neg(over), s.min(over, p));
    let p_lo = s.select(inside, p_lo, zero);
    let rounder = s.splat(ROUNDER);
    let t = s.add(p, rounder);
    let r = s.add(s.sub(p, s.sub(t, rounder)), p_lo);
    let y = s.mul_add(r, poly(s, r, EXP2), one);
    let y = s.scale2(y, t);

    // Bases 0 and infinity: y = base^±1 by the sign of the exponent.
    let edge = s.mask_or(s.eq(base, zero), s.eq(base, inf));
    let at_edge = s.select(s.lt(b, zero), s.div(one, base), base);
    let y = s.select(edge, at_edge, y);
    // An infinite exponent.
    let up = s.lt(zero, b);
    let grows = s.mask_or(s.mask_and(up, s.lt(one, base)), s.mask_and(s.mask_not(up), s.lt(base, one)));
    let at_inf = s.select(s.eq(base, one), one, s.select(grows, inf, zero));
    let y = s.select(s.eq(s.abs(b), inf), at_inf, y);
    // A negative base: NaN unless the exponent is an integer, minus if that is odd.
    let negative = s.lt(a, zero);
    let integer = s.eq(s.trunc(b), b);
    let half = s.mul(b, s.splat(0.5));
    let odd = s.mask_and(integer, s.mask_not(s.eq(s.trunc(half), half)));
    let finite_base = s.lt(base, inf);
    let y = s.select(s.mask_and(s.mask_and(negative, finite_base), s.mask_not(integer)), s.splat(f32::NAN), y);
    let y = s.select(odd, s.copysign(y, a), y);
    // NaN in, NaN out, but for a base of 1 or an exponent of 0.
    let y = s.select(s.unordered(a, b), s.add(a, b), y);
    s.select(s.mask_or(s.eq(a, one), s.eq(b, zero)), one, y)
}
