//! Steps on i32, i64, u64 and truth-value lanes: plain loops, vectorized by the
//! compiler for each instruction set.

use crate::Isa;
use crate::simd::{Simd, Tile, TileFn, TileOp, tile_fn};
use bgz_passes::ir::{Binary, Unary};
use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    static BY_ZERO: Cell<bool> = const { Cell::new(false) };
}

/// Remembers that this thread divided by zero; 0.
#[cold]
fn by_zero() -> i32 {
    BY_ZERO.set(true);
    0
}

/// True if this thread divided by zero since it was last asked.
pub(super) fn divided_by_zero() -> bool {
    BY_ZERO.take()
}

/// A function of one element.
pub(super) trait Each1<A, Y> {
    fn each(a: A) -> Y;
}

/// A function of two elements.
pub(super) trait Each2<A, Y> {
    fn each(a: A, b: A) -> Y;
}

pub(super) struct Loop1<M, A, Y>(PhantomData<(M, A, Y)>);
pub(super) struct Loop2<M, A, Y>(PhantomData<(M, A, Y)>);
struct Choose<A>(PhantomData<A>);

impl<A: Copy, Y: Copy, M: Each1<A, Y>> TileOp for Loop1<M, A, Y> {
    #[inline(always)]
    unsafe fn run<S: Simd>(_: S, t: &Tile) {
        let (a, out) = (t.a.cast::<A>(), t.out.cast::<Y>());
        for i in 0..t.n {
            // SAFETY: i < n, which the caller promises for both.
            unsafe { out.add(i).write_unaligned(M::each(a.add(i).read_unaligned())) };
        }
    }
}

impl<A: Copy, Y: Copy, M: Each2<A, Y>> TileOp for Loop2<M, A, Y> {
    #[inline(always)]
    unsafe fn run<S: Simd>(_: S, t: &Tile) {
        let (a, b, out) = (t.a.cast::<A>(), t.b.cast::<A>(), t.out.cast::<Y>());
        for i in 0..t.n {
            // SAFETY: i < n, which the caller promises for all three.
            unsafe { out.add(i).write_unaligned(M::each(a.add(i).read_unaligned(), b.add(i).read_unaligned())) };
        }
    }
}

impl<A: Copy> TileOp for Choose<A> {
    #[inline(always)]
    unsafe fn run<S: Simd>(_: S, t: &Tile) {
        let (c, a, b, out) = (t.a.cast::<i32>(), t.b.cast::<A>(), t.c.cast::<A>(), t.out.cast::<A>());
        for i in 0..t.n {
            // SAFETY: i < n, which the caller promises for all four.
            unsafe {
                let (a, b) = (a.add(i).read_unaligned(), b.add(i).read_unaligned());
                out.add(i).write_unaligned(if c.add(i).read_unaligned() != 0 { a } else { b });
            }
        }
    }
}

/// `where` on elements of 4 or 8 bytes.
pub(super) fn choose(isa: Isa, wide: bool) -> TileFn {
    if wide { tile_fn::<Choose<u64>>(isa) } else { tile_fn::<Choose<u32>>(isa) }
}

macro_rules! unary_steps {
    ($isa:ident, $f:ident, $t:ty, $($name:ident: |$x:ident| $body:expr;)*) => {{
        $(
            struct $name;
            impl Each1<$t, $t> for $name {
                #[inline(always)]
                fn each($x: $t) -> $t {
                    $body
                }
            }
        )*
        match $f {
            $(Unary::$name => Some(tile_fn::<Loop1<$name, $t, $t>>($isa)),)*
            _ => None,
        }
    }};
}

macro_rules! binary_steps {
    ($isa:ident, $f:ident, $t:ty, $($name:ident -> $y:ty: |$a:ident, $b:ident| $body:expr;)* $(_ => $other:expr)?) => {{
        $(
            struct $name;
            impl Each2<$t, $y> for $name {
                #[inline(always)]
                fn each($a: $t, $b: $t) -> $y {
                    $body
                }
            }
        )*
        match $f {
            $(Binary::$name => tile_fn::<Loop2<$name, $t, $y>>($isa),)*
            $(_ => $other,)?
        }
    }};
}

/// A remainder with the sign of the divisor. Only one of another sign is added to, which cannot leave the range.
macro_rules! floored {
    ($remainder:expr, $b:expr) => {{
        let (r, b) = ($remainder, $b);
        if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
    }};
}

macro_rules! integer_steps {
    ($unary:ident, $binary:ident, $t:ty) => {
        /// The step of `f`, if integers have it.
        pub(super) fn $unary(isa: Isa, f: Unary) -> Option<TileFn> {
            unary_steps! {
                isa, f, $t,
                Neg: |x| x.wrapping_neg();
                Abs: |x| x.wrapping_abs();
                Sign: |x| x.signum();
                Relu: |x| x.max(0);
            }
        }

        /// The step of `f`. Division by zero gives 0 and is remembered: see [`divided_by_zero`].
        pub(super) fn $binary(isa: Isa, f: Binary) -> TileFn {
            binary_steps! {
                isa, f, $t,
                Add -> $t: |a, b| a.wrapping_add(b);
                Sub -> $t: |a, b| a.wrapping_sub(b);
                Mul -> $t: |a, b| a.wrapping_mul(b);
                Div -> $t: |a, b| if b == 0 { by_zero() as $t } else { a.wrapping_div(b) };
                Rem -> $t: |a, b| if b == 0 { by_zero() as $t } else { a.wrapping_rem(b) };
                Mod -> $t: |a, b| if b == 0 { by_zero() as $t } else { floored!(a.wrapping_rem(b), b) };
                Pow -> $t: |a, b| Binary::Pow.eval_ints(a.into(), b.into()).unwrap_or(0) as $t;
                Min -> $t: |a, b| a.min(b);
                Max -> $t: |a, b| a.max(b);
                And -> $t: |a, b| a & b;
                Or -> $t: |a, b| a | b;
                Xor -> $t: |a, b| a ^ b;
                Eq -> i32: |a, b| (a == b).into();
                Ne -> i32: |a, b| (a != b).into();
                Lt -> i32: |a, b| (a < b).into();
                Le -> i32: |a, b| (a <= b).into();
                Gt -> i32: |a, b| (a > b).into();
                Ge -> i32: |a, b| (a >= b).into();
            }
        }
    };
}

integer_steps!(unary_i32, binary_i32, i32);
integer_steps!(unary_i64, binary_i64, i64);

/// The step of `f`, if integers have it.
pub(super) fn unary_u64(isa: Isa, f: Unary) -> Option<TileFn> {
    match f {
        Unary::Neg => unary_i64(isa, f),
        Unary::Abs | Unary::Relu => Some(copy(isa, true)),
        _ => unary_steps! {
            isa, f, u64,
            Sign: |x| x.min(1);
        },
    }
}

/// The step of `f`: that of i64 where the sign does not matter. Division by zero as there.
pub(super) fn binary_u64(isa: Isa, f: Binary) -> TileFn {
    binary_steps! {
        isa, f, u64,
        Div -> u64: |a, b| a.checked_div(b).unwrap_or_else(|| by_zero() as u64);
        Rem -> u64: |a, b| a.checked_rem(b).unwrap_or_else(|| by_zero() as u64);
        Mod -> u64: |a, b| a.checked_rem(b).unwrap_or_else(|| by_zero() as u64);
        Pow -> u64: |a, b| Binary::Pow.eval_ints(a.into(), b.into()).unwrap_or(0) as u64;
        Min -> u64: |a, b| a.min(b);
        Max -> u64: |a, b| a.max(b);
        Lt -> i32: |a, b| (a < b).into();
        Le -> i32: |a, b| (a <= b).into();
        Gt -> i32: |a, b| (a > b).into();
        Ge -> i32: |a, b| (a >= b).into();
        _ => binary_i64(isa, f)
    }
}

/// A copy of elements of 4 or 8 bytes.
pub(super) fn copy(isa: Isa, wide: bool) -> TileFn {
    struct Same;
    impl<T> Each1<T, T> for Same {
        #[inline(always)]
        fn each(x: T) -> T {
            x
        }
    }
    if wide { tile_fn::<Loop1<Same, u64, u64>>(isa) } else { tile_fn::<Loop1<Same, u32, u32>>(isa) }
}

/// `not` of truth values.
pub(super) fn not(isa: Isa) -> TileFn {
    struct Not;
    impl Each1<i32, i32> for Not {
        #[inline(always)]
        fn each(x: i32) -> i32 {
            x ^ 1
        }
    }
    tile_fn::<Loop1<Not, i32, i32>>(isa)
}
