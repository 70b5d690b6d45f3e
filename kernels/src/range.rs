//! Evenly spaced numbers.

use super::dense::DenseError;
use super::number::{Number, Wide};
use super::parallel;

/// How many numbers there are from `start` on, `delta` apart, before `limit`.
///
/// # Errors
/// `delta` is 0, a float is not finite, or they are more than there are addresses.
pub fn range_len<T: Number>(start: T, limit: T, delta: T) -> Result<usize, DenseError> {
    let len = start.wide().steps(limit.wide(), delta.wide());
    let fits = |n: usize| n.checked_mul(size_of::<T>()).is_some_and(|bytes| isize::try_from(bytes).is_ok());
    len.filter(|&n| fits(n)).ok_or_else(|| DenseError::Range(format!("{start:?}, {limit:?}, {delta:?}")))
}

/// Writes `start`, `start + delta`, `start + 2 * delta` and so on: each computed from the start, in f64 of floats. Integers
/// wrap. Many are cut for the threads of the current rayon pool.
pub fn range<T: Number>(start: T, delta: T, out: &mut [T]) {
    let (start, delta) = (start.wide(), delta.wide());
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
    use crate::reference::{NUMBERS, by_dtype, close, numbers, on_threads, results};
    use bgz_passes::ir::{DType, Generate, Op, Tensor};

    #[test]
    fn ranges_of_every_type() {
        let cases =
            [(0.0, 5.0, 1.0), (1.0, 6.5, 2.0), (5.0, 0.0, -2.0), (3.0, 3.0, 1.0), (5.0, 0.0, 1.0), (0.0, 1.0, 0.0)];
        for dtype in NUMBERS.into_iter().filter(|&d| d != DType::Bool) {
            for (start, limit, delta) in cases {
                if dtype == DType::U8 && delta < 0.0 {
                    continue;
                }
                let given = [start, limit, delta].map(|v| Tensor::f64s(dtype, [], &[v]).unwrap());
                let want = results(&Op::Generate(Generate::Range), &[&given[0], &given[1], &given[2]]);
                by_dtype!(dtype, T => {
                    let [start, limit, delta] = given.each_ref().map(|t| numbers::<T>(t)[0]);
                    match (range_len(start, limit, delta), want) {
                        (Ok(n), Ok(want)) => {
                            let mut out = vec![T::default(); n];
                            range(start, delta, &mut out);
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
        assert_eq!(range_len(i64::MIN, i64::MAX, 1 << 62), Ok(4));
        assert_eq!(range_len(i64::MAX, i64::MIN, i64::MIN), Ok(2));
        assert!(matches!(range_len(i64::MIN, i64::MAX, 1), Err(DenseError::Range(_))));
        assert!(range_len(0.0, f64::INFINITY, 1.0).is_err() && range_len(0.0, 1.0, f64::NAN).is_err());
        assert!(range_len(0.0, 1e300, 1e-3).is_err());
        let all = on_threads(|| {
            let mut out = vec![0f32; 1_000_000];
            range(0.5, 0.25, &mut out);
            out
        });
        assert_eq!(all[999_999], (0.5 + 0.25 * 999_999.0) as f32);
    }
}
