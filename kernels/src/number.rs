//! Element types of kernels that compute in a wide type, whatever the element: f64 for floats, i64 for integers, as the
//! definitions of the ops do. There are four, as others have the same results by way of one of these.

use bytemuck::Pod;
use std::fmt::Debug;
use std::ops::Not;

/// An element type: f32, f64, i32 or i64.
pub(crate) trait Number: Pod + Send + Sync + Debug {
    /// The type that it is computed in.
    type Wide: Wide;
    /// The type that it is compared by.
    type Key: Ord + Copy + Send + Sync + Not<Output = Self::Key>;
    /// The least key there is.
    const LEAST: Self::Key;
    /// The same number, wide.
    fn wide(self) -> Self::Wide;
    /// The wide number rounded, or wrapped.
    fn narrow(wide: Self::Wide) -> Self;
    /// An integer in the order of the numbers: equal for equal ones, that of every NaN above all others.
    fn key(self) -> Self::Key;
}

/// The types that elements are computed in: f64, or i64 that wraps.
pub(crate) trait Wide: Copy + Send + Sync + PartialEq + Debug {
    /// Nothing.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Below or at every number.
    const LOWEST: Self;
    /// Above or at every number.
    const HIGHEST: Self;
    /// True if the mean of nothing is a number, or NaN.
    const HAS_NONE: bool;
    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// The product.
    fn times(self, other: Self) -> Self;
    /// The greater one; NaN if either is.
    fn greater(self, other: Self) -> Self;
    /// The smaller one; NaN if either is.
    fn smaller(self, other: Self) -> Self;
    /// A sum over the number of its terms, which is not 0 for integers.
    fn over(self, count: usize) -> Self;
    /// `self + i * step`.
    fn stepped(self, i: usize, step: Self) -> Self;
}

impl Wide for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const LOWEST: Self = f64::NEG_INFINITY;
    const HIGHEST: Self = f64::INFINITY;
    const HAS_NONE: bool = true;

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self * other
    }

    // Selections rather than branches, and what is NaN already stays: nothing compares above it.
    #[inline(always)]
    fn greater(self, other: Self) -> Self {
        let most = if other > self { other } else { self };
        if other.is_nan() { other } else { most }
    }

    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        let least = if other < self { other } else { self };
        if other.is_nan() { other } else { least }
    }

    #[inline(always)]
    fn over(self, count: usize) -> Self {
        self / count as f64
    }

    #[inline(always)]
    fn stepped(self, i: usize, step: Self) -> Self {
        self + i as f64 * step
    }
}

impl Wide for i64 {
    const ZERO: Self = 0;
    const ONE: Self = 1;
    const LOWEST: Self = i64::MIN;
    const HIGHEST: Self = i64::MAX;
    const HAS_NONE: bool = false;

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }

    #[inline(always)]
    fn greater(self, other: Self) -> Self {
        self.max(other)
    }

    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        self.min(other)
    }

    #[inline(always)]
    fn over(self, count: usize) -> Self {
        self.checked_div(count as i64).unwrap_or(0)
    }

    #[inline(always)]
    fn stepped(self, i: usize, step: Self) -> Self {
        self.wrapping_add((i as i64).wrapping_mul(step))
    }
}

macro_rules! integers {
    ($($t:ty),*) => { $(
        impl Number for $t {
            type Wide = i64;
            type Key = $t;
            const LEAST: $t = <$t>::MIN;

            #[inline(always)]
            fn wide(self) -> i64 {
                self.into()
            }

            #[inline(always)]
            fn narrow(wide: i64) -> Self {
                wide as $t
            }

            #[inline(always)]
            fn key(self) -> $t {
                self
            }
        }
    )* };
}

integers!(i32, i64);

/// Bits of a float as an integer in its order: those of negative numbers but for the sign are turned round; -0 is 0, and a
/// NaN above all.
macro_rules! ordered {
    ($bits:expr, $int:ty) => {{
        const SIGN: $int = <$int>::MIN;
        let bits = $bits as $int;
        let magnitude = bits & !SIGN;
        let key = if bits < 0 { magnitude.wrapping_neg() } else { magnitude };
        (magnitude, key)
    }};
}

macro_rules! floats {
    ($($t:ty, $int:ty, $wide:expr, $narrow:expr;)*) => { $(
        impl Number for $t {
            type Wide = f64;
            type Key = $int;
            const LEAST: $int = <$int>::MIN;

            #[inline(always)]
            fn wide(self) -> f64 {
                $wide(self)
            }

            #[inline(always)]
            fn narrow(wide: f64) -> Self {
                $narrow(wide)
            }

            #[inline(always)]
            fn key(self) -> $int {
                const INFINITY: $int = <$t>::INFINITY.to_bits() as $int;
                let (magnitude, key) = ordered!(self.to_bits(), $int);
                if magnitude > INFINITY { <$int>::MAX } else { key }
            }
        }
    )* };
}

floats! {
    f64, i64, |v: f64| v, |v: f64| v;
    f32, i32, f64::from, |v: f64| v as f32;
}

/// `$body` with `$t` the type of the elements of a dtype; a result, that is an error of another dtype.
macro_rules! with_number {
    ($dtype:expr, [$($name:ident = $number:ty),*], $t:ident => $body:expr) => {
        match $dtype {
            $(bgz_passes::ir::DType::$name => {
                type $t = $number;
                $body
            })*
            other => Err($crate::DenseError::DType(other)),
        }
    };
}
pub(crate) use with_number;

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order<T: Number>(numbers: &[f64], narrow: impl Fn(f64) -> T) {
        let keys: Vec<_> = numbers.iter().map(|&v| narrow(v).key()).collect();
        assert!(keys.is_sorted() && keys[0] > T::LEAST);
        assert!(keys.windows(2).filter(|k| k[0] == k[1]).count() == 2, "two zeros, two NaN");
    }

    #[test]
    fn keys_are_in_the_order_of_the_numbers() {
        let nan = f64::NAN;
        let numbers =
            [f64::NEG_INFINITY, -300.0, -2.0, -1.5, -1e-5, -0.0, 0.0, 1e-5, 1.0, 2.5, f64::INFINITY, nan, -nan];
        in_order::<f64>(&numbers, |v| v);
        in_order::<f32>(&numbers, |v| v as f32);
        assert!((-3i32).key() < 2i32.key() && (-3i64).key() < 2i64.key());
    }
}
