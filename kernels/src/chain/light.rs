//! Runs of functions of about one instruction, as one step: several vectors stay
//! in registers while a short list of functions is applied to them, so that the
//! tile is read and written once.

use crate::Isa;
use crate::math;
use crate::simd::{Simd, Tile, TileFn, TileOp, tile_fn};
use bgz_passes::ir::{Binary, Unary};

/// A function of one vector; a number it has is the other operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Light {
    Neg,
    Abs,
    Floor,
    Ceil,
    Round,
    Trunc,
    Relu,
    Sqrt,
    Add(f32),
    Sub(f32),
    /// The number less the vector.
    From(f32),
    Mul(f32),
    Div(f32),
    /// The number over the vector.
    Over(f32),
    Min(f32),
    Max(f32),
}

impl Light {
    pub(super) fn unary(f: Unary) -> Option<Self> {
        Some(match f {
            Unary::Neg => Light::Neg,
            Unary::Abs => Light::Abs,
            Unary::Floor => Light::Floor,
            Unary::Ceil => Light::Ceil,
            Unary::Round => Light::Round,
            Unary::Trunc => Light::Trunc,
            Unary::Relu => Light::Relu,
            Unary::Sqrt => Light::Sqrt,
            Unary::Recip => Light::Over(1.0),
            _ => return None,
        })
    }

    /// `f(x, number)`, or `f(number, x)` if `first`.
    pub(super) fn binary(f: Binary, number: f32, first: bool) -> Option<Self> {
        Some(match (f, first) {
            (Binary::Add, _) => Light::Add(number),
            (Binary::Mul, _) => Light::Mul(number),
            (Binary::Min, _) => Light::Min(number),
            (Binary::Max, _) => Light::Max(number),
            (Binary::Sub, false) => Light::Sub(number),
            (Binary::Sub, true) => Light::From(number),
            (Binary::Div, false) => Light::Div(number),
            (Binary::Div, true) => Light::Over(number),
            _ => return None,
        })
    }

    /// Applies it to `N` vectors.
    #[inline(always)]
    fn apply<S: Simd, const N: usize>(self, s: S, v: &mut [S::F; N]) {
        macro_rules! each {
            (|$x:ident| $body:expr) => {
                for v in v {
                    let $x = *v;
                    *v = $body;
                }
            };
        }
        match self {
            Light::Neg => each!(|x| s.neg(x)),
            Light::Abs => each!(|x| s.abs(x)),
            Light::Floor => each!(|x| s.floor(x)),
            Light::Ceil => each!(|x| s.ceil(x)),
            Light::Round => each!(|x| s.round(x)),
            Light::Trunc => each!(|x| s.trunc(x)),
            Light::Relu => each!(|x| math::relu(s, x)),
            Light::Sqrt => each!(|x| s.sqrt(x)),
            Light::Add(k) => each!(|x| s.add(x, s.splat(k))),
            Light::Sub(k) => each!(|x| s.sub(x, s.splat(k))),
            Light::From(k) => each!(|x| s.sub(s.splat(k), x)),
            Light::Mul(k) => each!(|x| s.mul(x, s.splat(k))),
            Light::Div(k) => each!(|x| s.div(x, s.splat(k))),
            Light::Over(k) => each!(|x| s.div(s.splat(k), x)),
            Light::Min(k) => each!(|x| math::minimum(s, x, s.splat(k))),
            Light::Max(k) => each!(|x| math::maximum(s, x, s.splat(k))),
        }
    }
}

/// The list of functions of one step.
pub(super) type Run = Vec<Light>;

struct Step;

impl TileOp for Step {
    #[inline(always)]
    unsafe fn run<S: Simd>(s: S, t: &Tile) {
        const TOGETHER: usize = 8;
        let (a, out) = (t.a.cast::<f32>(), t.out.cast::<f32>());
        // SAFETY: the runner puts the address of the step's list there.
        let list = unsafe { &*t.b.cast::<Run>() };
        let mut i = 0;
        while i + TOGETHER * S::LANES <= t.n {
            let mut v = [s.splat(0.0); TOGETHER];
            for (k, v) in v.iter_mut().enumerate() {
                // SAFETY: i + TOGETHER * LANES <= n, which the caller promises.
                *v = unsafe { s.load(a.add(i + k * S::LANES)) };
            }
            for f in list {
                f.apply(s, &mut v);
            }
            for (k, v) in v.iter().enumerate() {
                // SAFETY: as above.
                unsafe { s.store(out.add(i + k * S::LANES), *v) };
            }
            i += TOGETHER * S::LANES;
        }
        while i < t.n {
            // SAFETY: the rest of n elements.
            let mut v = [unsafe { s.load_upto(a.add(i), t.n - i) }];
            for f in list {
                f.apply(s, &mut v);
            }
            // SAFETY: as above.
            unsafe { s.store_upto(out.add(i), v[0], t.n - i) };
            i += S::LANES;
        }
    }
}

/// The step that applies a list: its operand `b` is the address of a [`Run`].
pub(super) fn step(isa: Isa) -> TileFn {
    tile_fn::<Step>(isa)
}
