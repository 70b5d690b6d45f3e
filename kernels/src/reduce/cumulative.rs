//! Running sums and products.

use super::super::Isa;
use super::super::dense::{self, DenseError, Lanes};
use super::super::number::{Number, with_number};
use super::super::parallel::{self, Cells};
use super::super::simd::{Kernel, Simd, run};
use super::STRIP;
use super::fold::{Combine, Prod, Sum};
use bgz_passes::ir::DType;
use std::marker::PhantomData;

/// The sums of the entries of each lane up to each of them: without itself if `exclusive`, from the end if `reverse`. Floats
/// are added in f64 and integers wrap. Many lanes are cut for the threads of the current rayon pool.
///
/// # Errors
/// The dtype is not f32, f64 or i64, or a slice has another length.
pub fn cumulative_sum(
    dtype: DType,
    exclusive: bool,
    reverse: bool,
    lanes: Lanes,
    x: &[u8],
    out: &mut [u8],
) -> Result<(), DenseError> {
    with_number!(dtype, [F32 = f32, F64 = f64, I64 = i64], T => {
        of::<T, Sum>(exclusive, reverse, lanes, dense::cast("x", x)?, dense::cast_mut("out", out)?)
    })
}

/// The products instead, as [`cumulative_sum`].
///
/// # Errors
/// As [`cumulative_sum`].
pub fn cumulative_product(
    dtype: DType,
    exclusive: bool,
    reverse: bool,
    lanes: Lanes,
    x: &[u8],
    out: &mut [u8],
) -> Result<(), DenseError> {
    with_number!(dtype, [F32 = f32, F64 = f64, I64 = i64], T => {
        of::<T, Prod>(exclusive, reverse, lanes, dense::cast("x", x)?, dense::cast_mut("out", out)?)
    })
}

fn of<T: Number, R: Combine>(
    exclusive: bool,
    reverse: bool,
    lanes: Lanes,
    x: &[T],
    out: &mut [T],
) -> Result<(), DenseError> {
    dense::length("x", x.len(), lanes.elements())?;
    dense::length("out", out.len(), lanes.elements())?;
    if out.is_empty() {
        return Ok(());
    }
    match (exclusive, reverse) {
        (false, false) => along_axis::<T, R, false, false>(lanes, x, out),
        (false, true) => along_axis::<T, R, false, true>(lanes, x, out),
        (true, false) => along_axis::<T, R, true, false>(lanes, x, out),
        (true, true) => along_axis::<T, R, true, true>(lanes, x, out),
    }
    Ok(())
}

fn along_axis<T: Number, R: Combine, const EXCLUSIVE: bool, const REVERSE: bool>(lanes: Lanes, x: &[T], out: &mut [T]) {
    let isa = Isa::current();
    let pieces = parallel::pieces(x.len() / 16 * 16);
    if lanes.inner == 1 {
        parallel::parts(out, lanes.count, pieces, &|first, out| {
            let x = &x[first * lanes.count..][..out.len()];
            for (x, out) in x.chunks_exact(lanes.count).zip(out.chunks_exact_mut(lanes.count)) {
                if REVERSE {
                    along::<T, R, EXCLUSIVE>(x.iter().zip(out).rev());
                } else {
                    along::<T, R, EXCLUSIVE>(x.iter().zip(out));
                }
            }
        });
        return;
    }
    let (strips, out) = (lanes.inner.div_ceil(STRIP), Cells::new(out));
    parallel::split(0, lanes.outer * strips, pieces, &|start, end| {
        for i in start..end {
            let strip = (i / strips, i % strips * STRIP);
            run(isa, Strip::<T, R, EXCLUSIVE, REVERSE> { lanes, x, strip, out, of: PhantomData });
        }
    });
}

#[inline(always)]
fn along<'a, T: Number, R: Combine, const EXCLUSIVE: bool>(entries: impl Iterator<Item = (&'a T, &'a mut T)>) {
    let mut all = R::start::<T::Wide>();
    for (&v, out) in entries {
        let with = R::combine(all, v.wide());
        *out = T::narrow(if EXCLUSIVE { all } else { with });
        all = with;
    }
}

/// Lanes side by side.
struct Strip<'a, T, R, const EXCLUSIVE: bool, const REVERSE: bool> {
    lanes: Lanes,
    x: &'a [T],
    /// Outer index and first lane.
    strip: (usize, usize),
    out: Cells<T>,
    of: PhantomData<R>,
}

impl<T: Number, R: Combine, const EXCLUSIVE: bool, const REVERSE: bool> Kernel for Strip<'_, T, R, EXCLUSIVE, REVERSE> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Lanes { count, inner, .. } = self.lanes;
        let (outer, column) = self.strip;
        let n = STRIP.min(inner - column);
        let mut all = [R::start::<T::Wide>(); STRIP];
        for i in 0..count {
            let entry = if REVERSE { count - 1 - i } else { i };
            let at = (outer * count + entry) * inner + column;
            // SAFETY: lanes of a strip within the tensor, which belong to one strip only.
            let out = unsafe { self.out.part(at, n) };
            for ((&v, out), all) in self.x[at..at + n].iter().zip(out).zip(&mut all) {
                let with = R::combine(*all, v.wide());
                *out = T::narrow(if EXCLUSIVE { *all } else { with });
                *all = with;
            }
        }
    }
}
