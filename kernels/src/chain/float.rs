//! Steps on f32 lanes. A truth value is an i32 lane of 0 or 1.

use crate::Isa;
use crate::math;
use crate::simd::{Simd, Tile, TileFn, TileOp, Wide, tile_fn};
use bgz_passes::ir::{Binary, Unary};
use std::marker::PhantomData;

/// A function of one vector.
trait Map1 {
    fn map<S: Simd>(s: S, a: S::F) -> S::F;
}

/// A function of two vectors.
trait Map2 {
    fn map<S: Simd>(s: S, a: S::F, b: S::F) -> S::F;
}

struct Step1<M>(PhantomData<M>);
struct Step2<M>(PhantomData<M>);

/// Vectors taken together, which shortens the loop of steps of one instruction.
const TOGETHER: usize = 4;

impl<M: Map1> TileOp for Step1<M> {
    #[inline(always)]
    unsafe fn run<S: Simd>(s: S, t: &Tile) {
        let (a, out) = (t.a.cast::<f32>(), t.out.cast::<f32>());
        let (wide, mut i) = (Wide(s), 0);
        while S::LANES > 1 && i + Wide::<S>::LANES <= t.n {
            // SAFETY: i and the lanes after it are within n, which the caller promises.
            unsafe { wide.store(out.add(i), M::map(wide, wide.load(a.add(i)))) };
            i += Wide::<S>::LANES;
        }
        while i < t.n {
            // SAFETY: the rest of n elements.
            unsafe { s.store_upto(out.add(i), M::map(s, s.load_upto(a.add(i), t.n - i)), t.n - i) };
            i += S::LANES;
        }
    }
}

impl<M: Map2> TileOp for Step2<M> {
    #[inline(always)]
    unsafe fn run<S: Simd>(s: S, t: &Tile) {
        let (a, b, out) = (t.a.cast::<f32>(), t.b.cast::<f32>(), t.out.cast::<f32>());
        let mut i = 0;
        while S::LANES > 1 && i + TOGETHER * S::LANES <= t.n {
            let mut v = [s.splat(0.0); TOGETHER];
            for (k, v) in v.iter_mut().enumerate() {
                let at = i + k * S::LANES;
                // SAFETY: i + TOGETHER * LANES <= n, which the caller promises.
                *v = unsafe { M::map(s, s.load(a.add(at)), s.load(b.add(at))) };
            }
            for (k, v) in v.iter().enumerate() {
                // SAFETY: as above.
                unsafe { s.store(out.add(i + k * S::LANES), *v) };
            }
            i += TOGETHER * S::LANES;
        }
        while i < t.n {
            let rest = t.n - i;
            // SAFETY: the rest of n elements.
            unsafe {
                let y = M::map(s, s.load_upto(a.add(i), rest), s.load_upto(b.add(i), rest));
                s.store_upto(out.add(i), y, rest);
            }
            i += S::LANES;
        }
    }
}

/// 1 or 0 as the lanes of an f32 vector.
#[inline(always)]
fn truth<S: Simd>(s: S, m: S::M) -> S::F {
    s.as_float(s.iselect(m, s.isplat(1), s.isplat(0)))
}

macro_rules! unary_steps {
    ($($name:ident: |$s:ident, $x:ident| $body:expr;)*) => {
        $(
            struct $name;
            impl Map1 for $name {
                #[inline(always)]
                fn map<S: Simd>($s: S, $x: S::F) -> S::F {
                    $body
                }
            }
        )*

        /// The step of `f` on f32 lanes; a truth value is its result where `f` says so.
        pub(crate) fn unary(isa: Isa, f: Unary) -> Option<TileFn> {
            Some(match f {
                $(Unary::$name => tile_fn::<Step1<$name>>(isa),)*
                Unary::Not => return None,
            })
        }
    };
}

macro_rules! binary_steps {
    ($($name:ident: |$s:ident, $a:ident, $b:ident| $body:expr;)*) => {
        $(
            struct $name;
            impl Map2 for $name {
                #[inline(always)]
                fn map<S: Simd>($s: S, $a: S::F, $b: S::F) -> S::F {
                    $body
                }
            }
        )*

        /// The step of `f` on f32 lanes; a truth value is its result where `f` compares.
        pub(super) fn binary(isa: Isa, f: Binary) -> Option<TileFn> {
            Some(match f {
                $(Binary::$name => tile_fn::<Step2<$name>>(isa),)*
                Binary::And | Binary::Or | Binary::Xor => return None,
            })
        }
    };
}

unary_steps! {
    Neg: |s, x| s.neg(x);
    Abs: |s, x| s.abs(x);
    Sign: |s, x| math::sign(s, x);
    Floor: |s, x| s.floor(x);
    Ceil: |s, x| s.ceil(x);
    Round: |s, x| s.round(x);
    Trunc: |s, x| s.trunc(x);
    Sqrt: |s, x| s.sqrt(x);
    Recip: |s, x| math::recip(s, x);
    Rsqrt: |s, x| math::rsqrt(s, x);
    Exp: |s, x| math::exp(s, x);
    Expm1: |s, x| math::expm1(s, x);
    Log: |s, x| math::log(s, x);
    Log1p: |s, x| math::log1p(s, x);
    Sin: |s, x| math::sin(s, x);
    Cos: |s, x| math::cos(s, x);
    Tan: |s, x| math::tan(s, x);
    Asin: |s, x| math::asin(s, x);
    Acos: |s, x| math::acos(s, x);
    Atan: |s, x| math::atan(s, x);
    Sinh: |s, x| math::sinh(s, x);
    Cosh: |s, x| math::cosh(s, x);
    Tanh: |s, x| math::tanh(s, x);
    Asinh: |s, x| math::asinh(s, x);
    Acosh: |s, x| math::acosh(s, x);
    Atanh: |s, x| math::atanh(s, x);
    Sigmoid: |s, x| math::sigmoid(s, x);
    Erf: |s, x| math::erf(s, x);
    Softplus: |s, x| math::softplus(s, x);
    Relu: |s, x| math::relu(s, x);
    GeluErf: |s, x| math::gelu_erf(s, x);
    GeluTanh: |s, x| math::gelu_tanh(s, x);
    Silu: |s, x| math::silu(s, x);
    IsNan: |s, x| truth(s, s.unordered(x, x));
    IsInf: |s, x| truth(s, s.eq(s.abs(x), s.splat(f32::INFINITY)));
}

binary_steps! {
    Add: |s, a, b| s.add(a, b);
    Sub: |s, a, b| s.sub(a, b);
    Mul: |s, a, b| s.mul(a, b);
    Div: |s, a, b| s.div(a, b);
    Rem: |s, a, b| math::rem(s, a, b);
    Mod: |s, a, b| math::modulo(s, a, b);
    Min: |s, a, b| math::minimum(s, a, b);
    Max: |s, a, b| math::maximum(s, a, b);
    Pow: |s, a, b| math::pow(s, a, b);
    Eq: |s, a, b| truth(s, s.eq(a, b));
    Ne: |s, a, b| truth(s, s.mask_not(s.eq(a, b)));
    Lt: |s, a, b| truth(s, s.lt(a, b));
    Le: |s, a, b| truth(s, s.le(a, b));
    Gt: |s, a, b| truth(s, s.lt(b, a));
    Ge: |s, a, b| truth(s, s.le(b, a));
}
