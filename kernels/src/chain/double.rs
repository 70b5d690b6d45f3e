//! Steps on f64 lanes: the definition's own arithmetic, one number at a time where that is a function of a library.

use super::integer::{Each1, Each2, Loop1, Loop2};
use crate::Isa;
use crate::simd::{TileFn, tile_fn};
use bgz_passes::ir::{Binary, Unary};

macro_rules! unary_steps {
    (numbers: $($name:ident)*; truths: $($truth:ident)*; none: $none:ident) => {
        $(
            struct $name;
            impl Each1<f64, f64> for $name {
                #[inline(always)]
                fn each(x: f64) -> f64 {
                    Unary::$name.of_f64(x)
                }
            }
        )*
        $(
            struct $truth;
            impl Each1<f64, i32> for $truth {
                #[inline(always)]
                fn each(x: f64) -> i32 {
                    Unary::$truth.of_f64(x) as i32
                }
            }
        )*

        /// The step of `f` on f64 lanes.
        pub(super) fn unary(isa: Isa, f: Unary) -> Option<TileFn> {
            Some(match f {
                $(Unary::$name => tile_fn::<Loop1<$name, f64, f64>>(isa),)*
                $(Unary::$truth => tile_fn::<Loop1<$truth, f64, i32>>(isa),)*
                Unary::$none => return None,
            })
        }
    };
}

macro_rules! binary_steps {
    (numbers: $($name:ident)*; truths: $($truth:ident)*; none: $($none:ident)*) => {
        $(
            struct $name;
            impl Each2<f64, f64> for $name {
                #[inline(always)]
                fn each(a: f64, b: f64) -> f64 {
                    Binary::$name.of_f64s(a, b)
                }
            }
        )*
        $(
            struct $truth;
            impl Each2<f64, i32> for $truth {
                #[inline(always)]
                fn each(a: f64, b: f64) -> i32 {
                    Binary::$truth.of_f64s(a, b) as i32
                }
            }
        )*

        /// The step of `f` on f64 lanes.
        pub(super) fn binary(isa: Isa, f: Binary) -> Option<TileFn> {
            Some(match f {
                $(Binary::$name => tile_fn::<Loop2<$name, f64, f64>>(isa),)*
                $(Binary::$truth => tile_fn::<Loop2<$truth, f64, i32>>(isa),)*
                $(Binary::$none)|* => return None,
            })
        }
    };
}

unary_steps! {
    numbers:
        Neg Abs Sign Floor Ceil Round Trunc Sqrt Recip Rsqrt Exp Expm1 Log Log1p Sin Cos Tan Asin Acos Atan
        Sinh Cosh Tanh Asinh Acosh Atanh Sigmoid Erf Softplus Relu GeluErf GeluTanh Silu;
    truths: IsNan IsInf;
    none: Not
}

binary_steps! {
    numbers: Add Sub Mul Div Rem Mod Min Max Pow;
    truths: Eq Ne Lt Le Gt Ge;
    none: And Or Xor
}
