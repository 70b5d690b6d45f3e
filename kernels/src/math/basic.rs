//! Functions that are exact, or one correctly rounded instruction or two.

use crate::simd::Simd;

/// -1, 0 or 1; a zero and a NaN stay what they are. Exact.
#[inline(always)]
pub fn sign<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.copysign(s.splat(1.0), x);
    let keep = s.mask_or(s.eq(x, s.splat(0.0)), s.unordered(x, x));
    s.select(keep, x, one)
}

/// `1 / x`. Correctly rounded.
#[inline(always)]
pub fn recip<S: Simd>(s: S, x: S::F) -> S::F {
    s.div(s.splat(1.0), x)
}

/// `1 / sqrt(x)`. 1 ULP: the root and the quotient each round once.
#[inline(always)]
pub fn rsqrt<S: Simd>(s: S, x: S::F) -> S::F {
    s.div(s.splat(1.0), s.sqrt(x))
}

/// The smaller; NaN if either is; -0 is below 0. Exact.
#[inline(always)]
pub fn minimum<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
    // The two differ for zeros of different sign, where "or" finds the minus,
    // and for one NaN, whose exponent and payload "or" keeps.
    s.as_float(s.ior(s.bits(s.min(a, b)), s.bits(s.min(b, a))))
}

/// The greater; NaN if either is; 0 is above -0. Exact.
#[inline(always)]
pub fn maximum<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
    let m = s.as_float(s.iand(s.bits(s.max(a, b)), s.bits(s.max(b, a))));
    s.select(s.unordered(a, b), s.add(a, b), m)
}

/// Applies `f` lane by lane.
#[inline(always)]
pub(super) fn lanewise<S: Simd>(s: S, a: S::F, b: S::F, f: impl Fn(f32, f32) -> f32) -> S::F {
    const MOST: usize = 16;
    const { assert!(S::LANES <= MOST) }
    let (mut x, mut y) = ([0.0; MOST], [0.0; MOST]);
    // SAFETY: both arrays hold LANES floats.
    unsafe {
        s.store(x.as_mut_ptr(), a);
        s.store(y.as_mut_ptr(), b);
    }
    for (x, y) in x.iter_mut().zip(&y).take(S::LANES) {
        *x = f(*x, *y);
    }
    // SAFETY: the array holds LANES floats.
    unsafe { s.load(x.as_ptr()) }
}

/// The remainder with the sign of `a` (C `fmod`). Exact.
#[inline(always)]
pub fn rem<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
    lanewise(s, a, b, |a, b| a % b)
}

/// The remainder with the sign of `b` (Python `%`). Rounded once.
#[inline(always)]
pub fn modulo<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
    lanewise(s, a, b, |a, b| {
        let r = a % b;
        if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
    })
}
