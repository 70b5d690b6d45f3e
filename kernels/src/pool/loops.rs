//! Position by position, of any dtype.

use super::{Kind, Pool};
use crate::window::{Form, Visit, Visitor, WindowError};

/// The elements that are pooled: f32, f64, i8 and u8.
pub trait Element: Copy + Send + Sync + private::Sealed {
    /// Pools images that were seen to fit.
    #[doc(hidden)]
    fn pool(pool: &Pool, x: &[Self], out: &mut [Self]) -> Result<(), WindowError>;
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for i8 {}
    impl Sealed for u8 {}
}

impl Element for f32 {
    fn pool(pool: &Pool, x: &[f32], out: &mut [f32]) -> Result<(), WindowError> {
        if pool.channels == 1 { pool.lines(x, out) } else { pool.vectors(x, out) }
    }
}

impl Element for f64 {
    fn pool(pool: &Pool, x: &[f64], out: &mut [f64]) -> Result<(), WindowError> {
        match pool.kind {
            Kind::Max => each(pool, x, out, Greatest { least: f64::NEG_INFINITY }),
            Kind::Average { .. } => each(pool, x, out, Mean(pool)),
        }
        Ok(())
    }
}

impl Element for i8 {
    fn pool(pool: &Pool, x: &[i8], out: &mut [i8]) -> Result<(), WindowError> {
        greatest(pool, x, out, i8::MIN)
    }
}

impl Element for u8 {
    fn pool(pool: &Pool, x: &[u8], out: &mut [u8]) -> Result<(), WindowError> {
        greatest(pool, x, out, u8::MIN)
    }
}

fn greatest<T: Element + PartialOrd>(pool: &Pool, x: &[T], out: &mut [T], least: T) -> Result<(), WindowError> {
    if pool.kind != Kind::Max {
        return Err(WindowError::Average);
    }
    each(pool, x, out, Greatest { least });
    Ok(())
}

fn each<T: Element>(pool: &Pool, x: &[T], out: &mut [T], visitor: impl Visitor<T>) {
    let Pool { geometry, channels, .. } = pool;
    Visit { geometry, form: Form::Plain, channels: [*channels; 2], x, out }.each(pool.taps(), visitor);
}

#[derive(Clone, Copy)]
struct Greatest<T> {
    least: T,
}

impl<T: Element + PartialOrd> Visitor<T> for Greatest<T> {
    #[inline(always)]
    fn begin(self, out: &mut [T]) {
        out.fill(self.least);
    }

    #[inline(always)]
    fn meet(self, out: &mut [T], x: &[T], _: usize) {
        for (best, &v) in out.iter_mut().zip(x) {
            // A NaN is not equal to itself, and nothing is greater.
            #[allow(clippy::eq_op)]
            if v > *best || v != v {
                *best = v;
            }
        }
    }

    #[inline(always)]
    fn end(self, _: &mut [T], _: usize, _: usize) {}
}

#[derive(Clone, Copy)]
struct Mean<'a>(&'a Pool);

impl Visitor<f64> for Mean<'_> {
    #[inline(always)]
    fn begin(self, out: &mut [f64]) {
        out.fill(0.0);
    }

    #[inline(always)]
    fn meet(self, out: &mut [f64], x: &[f64], _: usize) {
        for (sum, v) in out.iter_mut().zip(x) {
            *sum += v;
        }
    }

    #[inline(always)]
    fn end(self, out: &mut [f64], line: usize, at: usize) {
        let n = self.0.divisor(line, at);
        for v in out {
            *v /= n;
        }
    }
}
