//! Running sums.

use super::super::Isa;
use super::super::dense::{self, DenseError, Lanes};
use super::super::number::{Number, Wide, with_number};
use super::super::parallel::{self, Cells};
use super::super::simd::{Kernel, Simd, run};
use super::STRIP;
use bgz_passes::ir::DType;

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
        sums_of::<T>(exclusive, reverse, lanes, dense::cast("x", x)?, dense::cast_mut("out", out)?)
    })
}

fn sums_of<T: Number>(exclusive: bool, reverse: bool, lanes: Lanes, x: &[T], out: &mut [T]) -> Result<(), DenseError> {
    dense::length("x", x.len(), lanes.elements())?;
    dense::length("out", out.len(), lanes.elements())?;
    if out.is_empty() {
        return Ok(());
    }
    match (exclusive, reverse) {
        (false, false) => sums::<T, false, false>(lanes, x, out),
        (false, true) => sums::<T, false, true>(lanes, x, out),
        (true, false) => sums::<T, true, false>(lanes, x, out),
        (true, true) => sums::<T, true, true>(lanes, x, out),
    }
    Ok(())
}

fn sums<T: Number, const EXCLUSIVE: bool, const REVERSE: bool>(lanes: Lanes, x: &[T], out: &mut [T]) {
    let isa = Isa::current();
    let pieces = parallel::pieces(x.len() / 16 * 16);
    if lanes.inner == 1 {
        parallel::parts(out, lanes.count, pieces, &|first, out| {
            let x = &x[first * lanes.count..][..out.len()];
            for (x, out) in x.chunks_exact(lanes.count).zip(out.chunks_exact_mut(lanes.count)) {
                let sum = T::Wide::ZERO;
                if REVERSE {
                    along::<T, EXCLUSIVE>(sum, x.iter().zip(out).rev());
                } else {
                    along::<T, EXCLUSIVE>(sum, x.iter().zip(out));
                }
            }
        });
        return;
    }
    let (strips, out) = (lanes.inner.div_ceil(STRIP), Cells::new(out));
    parallel::split(0, lanes.outer * strips, pieces, &|start, end| {
        for i in start..end {
            let strip = (i / strips, i % strips * STRIP);
            run(isa, Strip::<T, EXCLUSIVE, REVERSE> { lanes, x, strip, out });
        }
    });
}

#[inline(always)]
fn along<'a, T: Number, const EXCLUSIVE: bool>(mut sum: T::Wide, entries: impl Iterator<Item = (&'a T, &'a mut T)>) {
    for (&v, out) in entries {
        let with = sum.plus(v.wide());
        *out = T::narrow(if EXCLUSIVE { sum } else { with });
        sum = with;
    }
}

/// Lanes side by side.
struct Strip<'a, T, const EXCLUSIVE: bool, const REVERSE: bool> {
    lanes: Lanes,
    x: &'a [T],
    /// Outer index and first lane.
    strip: (usize, usize),
    out: Cells<T>,
}

impl<T: Number, const EXCLUSIVE: bool, const REVERSE: bool> Kernel for Strip<'_, T, EXCLUSIVE, REVERSE> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Lanes { count, inner, .. } = self.lanes;
        let (outer, column) = self.strip;
        let n = STRIP.min(inner - column);
        let mut sums = [T::Wide::ZERO; STRIP];
        for i in 0..count {
            let entry = if REVERSE { count - 1 - i } else { i };
            let at = (outer * count + entry) * inner + column;
            // SAFETY: lanes of a strip within the tensor, which belong to one strip only.
            let out = unsafe { self.out.part(at, n) };
            for ((&v, out), sum) in self.x[at..at + n].iter().zip(out).zip(&mut sums) {
                let with = sum.plus(v.wide());
                *out = T::narrow(if EXCLUSIVE { *sum } else { with });
                *sum = with;
            }
        }
    }
}
