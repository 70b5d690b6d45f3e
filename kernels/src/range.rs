//! Evenly spaced numbers.

use super::dense::{self, DenseError};
use super::number::{Number, Wide, with_number};
use super::parallel;
use bgz_passes::ir::DType;

/// How many numbers there are from `start` on, `delta` apart, before `limit`.
///
/// # Errors
/// `delta` is 0, a number is not finite, or they are more than there are addresses.
pub fn range_len(start: f64, limit: f64, delta: f64) -> Result<usize, DenseError> {
    let n = ((limit - start) / delta).ceil().max(0.0);
    let known = delta != 0.0 && [start, limit, delta].iter().all(|v| v.is_finite());
    // Of elements of eight bytes at most; so far below 2^63 a float is converted as it is.
    let fits = known && n < (isize::MAX / 8) as f64;
    if fits { Ok(n as usize) } else { Err(DenseError::Range(format!("{start:?}, {limit:?}, {delta:?}"))) }
}

/// Writes `start`, `start + delta`, `start + 2 * delta` and so on, of f32, f64 or i64, each computed from the start: floats in
/// f64, and integers wrap. Many are cut for the threads of the current rayon pool.
///
/// # Errors
/// The dtype is another, or `start` or `delta` is not one element.
pub fn range(dtype: DType, start: &[u8], delta: &[u8], out: &mut [u8]) -> Result<(), DenseError> {
    with_number!(dtype, [F32 = f32, F64 = f64, I64 = i64], T => {
        let (&[start], &[delta]) = (dense::cast::<T>("start", start)?, dense::cast::<T>("delta", delta)?) else {
            return Err(DenseError::Empty("a start or step"));
        };
        spaced(start.wide(), delta.wide(), dense::cast_mut::<T>("out", out)?);
        Ok(())
    })
}

fn spaced<T: Number>(start: T::Wide, delta: T::Wide, out: &mut [T]) {
    let pieces = parallel::pieces(out.len() / 16 * 4);
    parallel::parts(out, 1, pieces, &|first, part| {
        for (i, to) in (first..).zip(part) {
            *to = T::narrow(start.stepped(i, delta));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{by_dtype, close, numbers, on_threads, results};
    use bgz_passes::ir::{Generate, Op, Tensor};

    #[test]
    fn ranges_of_every_type() {
        let cases =
            [(0.0, 5.0, 1.0), (1.0, 6.5, 2.0), (5.0, 0.0, -2.0), (3.0, 3.0, 1.0), (5.0, 0.0, 1.0), (0.0, 1.0, 0.0)];
        for dtype in [DType::F32, DType::F64, DType::I64] {
            for (start, limit, delta) in cases {
                let given = [start, limit, delta].map(|v| Tensor::f64s(dtype, [], &[v]).unwrap());
                let want = results(&Op::Generate(Generate::Range), &[&given[0], &given[1], &given[2]]);
                // Of integers, the numbers that the limit is rounded to.
                let limit = if dtype == DType::I64 { limit.trunc() } else { limit };
                by_dtype!(dtype, T => {
                    let [start_of, _, delta_of] = given.each_ref().map(numbers::<T>);
                    match (range_len(start, limit, delta), want) {
                        (Ok(n), Ok(want)) => {
                            let mut out = vec![T::default(); n];
                            let [start, delta] = [&start_of, &delta_of].map(|v| bytemuck::cast_slice::<T, u8>(v));
                            range(dtype, start, delta, bytemuck::cast_slice_mut(&mut out)).unwrap();
                            close(&out, &want[0], 0.0);
                        }
                        (got, want) => assert!(got.is_err() && want.is_err(), "{got:?} {want:?}"),
                    }
                });
            }
        }
    }

    #[test]
    fn far_ends_and_many_numbers() {
        assert!(range_len(0.0, f64::INFINITY, 1.0).is_err() && range_len(0.0, 1.0, f64::NAN).is_err());
        assert!(matches!(range_len(0.0, 1e300, 1e-3), Err(DenseError::Range(_))));
        assert_eq!(range(DType::U8, &[0], &[1], &mut [0; 3]), Err(DenseError::DType(DType::U8)));
        let (none, one) = (bytemuck::cast_slice(&[0f32; 0]), bytemuck::bytes_of(&1f32));
        assert_eq!(range(DType::F32, none, one, &mut []), Err(DenseError::Empty("a start or step")));
        let all = on_threads(|| {
            let mut out = vec![0f32; 1_000_000];
            let (start, delta) = (bytemuck::bytes_of(&0.5f32), bytemuck::bytes_of(&0.25f32));
            range(DType::F32, start, delta, bytemuck::cast_slice_mut(&mut out)).unwrap();
            out
        });
        assert_eq!(all[999_999], (0.5 + 0.25 * 999_999.0) as f32);
    }
}
