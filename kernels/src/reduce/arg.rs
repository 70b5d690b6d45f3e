//! Where the extremes are.

use super::super::Isa;
use super::super::dense::{self, DenseError, Lanes};
use super::super::number::{Number, with_number};
use super::super::parallel;
use super::super::simd::{Kernel, Simd, run};
use super::{STRIP, best_rank, rank};
use bgz_passes::ir::DType;

/// The index of the greatest entry of each lane, or of the smallest; of equal ones the first, or the `last`. NaN is above
/// every number. `out` is `[outer, inner]`. Many are cut for the threads of the current rayon pool.
///
/// # Errors
/// The dtype is not f32, f64, i32 or i64, lanes have no entries, or a slice has another length.
pub fn arg_extreme(
    dtype: DType,
    greatest: bool,
    last: bool,
    lanes: Lanes,
    x: &[u8],
    out: &mut [i64],
) -> Result<(), DenseError> {
    with_number!(dtype, [F32 = f32, F64 = f64, I32 = i32, I64 = i64], T => {
        extremes::<T>(greatest, last, lanes, dense::cast("x", x)?, out)
    })
}

fn extremes<T: Number>(greatest: bool, last: bool, lanes: Lanes, x: &[T], out: &mut [i64]) -> Result<(), DenseError> {
    dense::length("x", x.len(), lanes.elements())?;
    dense::length("out", out.len(), lanes.lanes())?;
    if out.is_empty() {
        return Ok(());
    }
    if lanes.count == 0 {
        return Err(DenseError::Empty("an extreme"));
    }
    match (greatest, last) {
        (true, false) => all::<T, true, false>(lanes, x, out),
        (true, true) => all::<T, true, true>(lanes, x, out),
        (false, false) => all::<T, false, false>(lanes, x, out),
        (false, true) => all::<T, false, true>(lanes, x, out),
    }
    Ok(())
}

fn all<T: Number, const GREATEST: bool, const LAST: bool>(lanes: Lanes, x: &[T], out: &mut [i64]) {
    let isa = Isa::current();
    let pieces = parallel::pieces(x.len() / 16 * 4);
    if lanes.inner == 1 {
        parallel::parts(out, 1, pieces, &|first, out| {
            let x = &x[first * lanes.count..][..out.len() * lanes.count];
            run(isa, Contiguous::<T, GREATEST, LAST> { x, count: lanes.count, out });
        });
    } else {
        parallel::parts(out, 1, pieces, &|first, out| {
            run(isa, Strips::<T, GREATEST, LAST> { lanes, x, first, out });
        });
    }
}

#[inline(always)]
fn beats<K: Ord, const LAST: bool>(new: K, old: K) -> bool {
    if LAST { new >= old } else { new > old }
}

/// Entries of which the greatest is found first, and then whether it is looked for.
const BLOCK: usize = 256;

/// Fewer entries than these are looked at one by one.
const FEW: usize = 64;

struct Contiguous<'a, T, const GREATEST: bool, const LAST: bool> {
    x: &'a [T],
    count: usize,
    out: &'a mut [i64],
}

impl<T: Number, const GREATEST: bool, const LAST: bool> Kernel for Contiguous<'_, T, GREATEST, LAST> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (x, out) in self.x.chunks_exact(self.count).zip(self.out) {
            let (mut best, mut at) = (T::LEAST, 0);
            if x.len() < FEW {
                for (i, &v) in x.iter().enumerate() {
                    let key = rank::<T, GREATEST>(v);
                    if beats::<_, LAST>(key, best) {
                        (best, at) = (key, i);
                    }
                }
                *out = at as i64;
                continue;
            }
            for (i, block) in x.chunks(BLOCK).enumerate() {
                let most = best_rank::<T, GREATEST>(block);
                if beats::<_, LAST>(most, best) || i == 0 {
                    let mut places = block.iter().map(|&v| rank::<T, GREATEST>(v) == most);
                    let place = if LAST { places.rposition(|is| is) } else { places.position(|is| is) };
                    (best, at) = (most, i * BLOCK + place.unwrap_or(0));
                }
            }
            *out = at as i64;
        }
    }
}

/// Lanes side by side.
struct Strips<'a, T, const GREATEST: bool, const LAST: bool> {
    lanes: Lanes,
    x: &'a [T],
    first: usize,
    out: &'a mut [i64],
}

impl<T: Number, const GREATEST: bool, const LAST: bool> Kernel for Strips<'_, T, GREATEST, LAST> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Lanes { count, inner, .. } = self.lanes;
        let (mut at, mut out) = (self.first, self.out);
        while !out.is_empty() {
            let (outer, column) = (at / inner, at % inner);
            let n = STRIP.min(inner - column).min(out.len());
            let (to, rest) = out.split_at_mut(n);
            to.fill(0);
            let mut best = [T::LEAST; STRIP];
            for i in 0..count {
                let x = &self.x[(outer * count + i) * inner + column..][..n];
                for ((&v, best), to) in x.iter().zip(&mut best).zip(&mut *to) {
                    let key = rank::<T, GREATEST>(v);
                    let better = beats::<_, LAST>(key, *best);
                    *best = if better { key } else { *best };
                    *to = if better { i as i64 } else { *to };
                }
            }
            (out, at) = (rest, at + n);
        }
    }
}
