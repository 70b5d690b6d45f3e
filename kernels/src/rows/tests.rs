//! Row functions against plain f64 loops.

use super::*;
use crate::isa::forced::on_each;

const COLS: [usize; 14] = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 100, 384];

fn data(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 1009) as f32 / 100.0) - 5.0).collect()
}

fn close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let ok = (f64::from(*g) - w).abs() <= tolerance * w.abs().max(1.0);
        assert!(ok || g.is_nan() && w.is_nan(), "element {i}: {g}, not {w}");
    }
}

fn rows_f64(x: &[f32], cols: usize, f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    x.chunks(cols).flat_map(|r| f(&r.iter().map(|x| f64::from(*x)).collect::<Vec<_>>())).collect()
}

fn softmax_f64(row: &[f64], scale: f64) -> Vec<f64> {
    let max = row.iter().map(|x| x * scale).fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = row.iter().map(|x| (x * scale - max).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| e / sum).collect()
}

#[test]
fn softmax_of_rows() {
    on_each(|| {
        for cols in COLS {
            let x = data(5 * cols);
            for scale in [1.0, 0.125, -2.0] {
                let want = rows_f64(&x, cols, |r| softmax_f64(r, scale.into()));
                let mut out = vec![0.0; x.len()];
                softmax(&x, &mut out, cols, scale).unwrap();
                close(&out, &want, 1e-6);
                let mut inside = x.clone();
                softmax_in_place(&mut inside, cols, scale).unwrap();
                assert_eq!(inside, out);
                log_softmax(&x, &mut out, cols, scale).unwrap();
                close(&out, &want.iter().map(|p| p.ln()).collect::<Vec<_>>(), 1e-6);
                let mut inside = x.clone();
                log_softmax_in_place(&mut inside, cols, scale).unwrap();
                assert_eq!(inside, out);
            }
        }
    });
}

#[test]
fn softmax_at_the_ends() {
    on_each(|| {
        let inf = f32::INFINITY;
        let mut out = [0.0; 3];
        softmax(&[-inf, 0.0, -inf], &mut out, 3, 1.0).unwrap();
        assert_eq!(out, [0.0, 1.0, 0.0]);
        softmax(&[-inf; 3], &mut out, 3, 1.0).unwrap();
        assert!(out.iter().all(|x| x.is_nan()));
        softmax(&[1.0, f32::NAN, 2.0], &mut out, 3, 1.0).unwrap();
        assert!(out.iter().all(|x| x.is_nan()));
        softmax(&[3e38, 3e38, -3e38], &mut out, 3, 1.0).unwrap();
        assert_eq!(out, [0.5, 0.5, 0.0]);
    });
}

fn layer_norm_f64(row: &[f64], eps: f64, center: bool) -> Vec<f64> {
    let n = row.len() as f64;
    let mean = if center { row.iter().sum::<f64>() / n } else { 0.0 };
    let var = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    row.iter().map(|x| (x - mean) / (var + eps).sqrt()).collect()
}

#[test]
fn norms_of_rows() {
    on_each(|| {
        for cols in COLS {
            let x = data(5 * cols);
            let (scale, bias) = (data(cols), data(2 * cols)[cols..].to_vec());
            let mut out = vec![0.0; x.len()];
            let affine = |want: Vec<f64>, bias: Option<&[f32]>| -> Vec<f64> {
                let b = |i: usize| bias.map_or(0.0, |b| f64::from(b[i % cols]));
                want.iter().enumerate().map(|(i, y)| y * f64::from(scale[i % cols]) + b(i)).collect()
            };
            let want = rows_f64(&x, cols, |r| layer_norm_f64(r, 1e-5, true));
            layer_norm(&x, None, None, 1e-5, &mut out, cols).unwrap();
            close(&out, &want, 1e-5);
            layer_norm(&x, Some(&scale), Some(&bias), 1e-5, &mut out, cols).unwrap();
            close(&out, &affine(want, Some(&bias)), 1e-5);
            let want = rows_f64(&x, cols, |r| layer_norm_f64(r, 1e-6, false));
            rms_norm(&x, Some(&scale), 1e-6, &mut out, cols).unwrap();
            close(&out, &affine(want, None), 1e-5);
        }
    });
}

#[test]
fn reductions_of_rows() {
    on_each(|| {
        for cols in COLS {
            let x = data(5 * cols);
            let mut out = vec![0.0; 5];
            type Case = (Reduction, fn(&[f64]) -> f64);
            let cases: [Case; 4] = [
                (Reduction::Sum, |r| r.iter().sum()),
                (Reduction::Mean, |r| r.iter().sum::<f64>() / r.len() as f64),
                (Reduction::Max, |r| r.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
                (Reduction::Min, |r| r.iter().copied().fold(f64::INFINITY, f64::min)),
            ];
            for (kind, f) in cases {
                reduce(kind, &x, &mut out, cols).unwrap();
                close(&out, &rows_f64(&x, cols, |r| vec![f(r)]), 1e-5);
            }
            let near_one: Vec<f32> = x.iter().map(|x| 1.0 + x / 100.0).collect();
            reduce(Reduction::Prod, &near_one, &mut out, cols).unwrap();
            close(&out, &rows_f64(&near_one, cols, |r| vec![r.iter().product()]), 1e-4);
            for at in [0, cols / 2, cols - 1] {
                let mut x = data(cols);
                x[at] = f32::NAN;
                for kind in [Reduction::Max, Reduction::Min, Reduction::Sum, Reduction::Prod] {
                    let mut y = [0.0];
                    reduce(kind, &x, &mut y, cols).unwrap();
                    assert!(y[0].is_nan(), "{kind:?} of a NaN at {at} of {cols}");
                }
            }
        }
    });
}

#[test]
fn reductions_of_columns() {
    on_each(|| {
        for (rows, cols) in [(1, 1), (3, 5), (64, 64), (65, 70), (200, 130), (2, 1000)] {
            let x: Vec<f32> = data(3 * rows * cols).iter().map(|x| 1.0 + x / 100.0).collect();
            type Case = (Reduction, f64, fn(f64, f64) -> f64);
            let cases: [Case; 5] = [
                (Reduction::Sum, 0.0, |a, b| a + b),
                (Reduction::Mean, 0.0, |a, b| a + b),
                (Reduction::Max, f64::NEG_INFINITY, f64::max),
                (Reduction::Min, f64::INFINITY, f64::min),
                (Reduction::Prod, 1.0, |a, b| a * b),
            ];
            for (kind, start, f) in cases {
                let mut out = vec![f32::NAN; 3 * cols];
                reduce_columns(kind, &x, &mut out, [rows, cols]).unwrap();
                let mut want = vec![start; 3 * cols];
                for (i, &x) in x.iter().enumerate() {
                    let want = &mut want[i / (rows * cols) * cols + i % cols];
                    *want = f(*want, x.into());
                }
                if kind == Reduction::Mean {
                    want.iter_mut().for_each(|w| *w /= rows as f64);
                }
                close(&out, &want, 1e-5);
            }
            // One that is not a number has its own column only.
            let mut x = x;
            x[rows * cols] = f32::NAN;
            for kind in [Reduction::Max, Reduction::Min, Reduction::Sum, Reduction::Prod] {
                let mut out = vec![0.0; 3 * cols];
                reduce_columns(kind, &x, &mut out, [rows, cols]).unwrap();
                let lost: Vec<usize> = (0..out.len()).filter(|&i| out[i].is_nan()).collect();
                assert_eq!(lost, [cols], "{kind:?} of {rows} x {cols}");
            }
        }
    });
}

#[test]
fn columns_have_the_same_bits_whoever_adds_them() {
    let (rows, cols) = (700, 1300);
    let x = data(2 * rows * cols);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut out = vec![0.0; 2 * cols];
        pool.install(|| reduce_columns(Reduction::Sum, &x, &mut out, [rows, cols])).unwrap();
        out
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn many_rows_are_added_in_parts() {
    // One by one the sum would stay at 2^24.
    let x = vec![1.0f32; (1 << 24) + (1 << 20)];
    let mut out = [0.0; 1];
    reduce_columns(Reduction::Sum, &x, &mut out, [x.len(), 1]).unwrap();
    assert_eq!(out[0], x.len() as f32);
}

#[test]
fn nothing_is_fine() {
    on_each(|| {
        let mut out = [7.0; 2];
        reduce(Reduction::Sum, &[], &mut out, 0).unwrap();
        assert_eq!(out, [0.0, 0.0]);
        reduce(Reduction::Max, &[], &mut out, 0).unwrap();
        assert_eq!(out, [f32::NEG_INFINITY; 2]);
        reduce_columns(Reduction::Sum, &[], &mut out, [0, 2]).unwrap();
        assert_eq!(out, [0.0, 0.0]);
        reduce_columns(Reduction::Mean, &[], &mut out, [0, 1]).unwrap();
        assert!(out.iter().all(|v| v.is_nan()));
        reduce_columns(Reduction::Mean, &[], &mut [], [3, 0]).unwrap();
        softmax(&[], &mut [], 4, 1.0).unwrap();
        softmax(&[], &mut [], 0, 1.0).unwrap();
        layer_norm(&[], None, None, 1e-5, &mut [], 4).unwrap();
    });
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let x = [0.0; 7];
    let mut out = [0.0; 7];
    let e = softmax(&x, &mut out, 3, 1.0).unwrap_err();
    assert_eq!(e.to_string(), "x: 7 elements where rows of 3 need 6");
    assert!(softmax(&x, &mut out[1..], 7, 1.0).is_err());
    assert!(layer_norm(&x, Some(&x[1..]), None, 1e-5, &mut out, 7).is_err());
    assert!(layer_norm(&x, None, Some(&x[1..]), 1e-5, &mut out, 7).is_err());
    assert!(reduce(Reduction::Sum, &x, &mut out, 7).is_err());
    assert!(reduce_columns(Reduction::Sum, &x, &mut out, [2, 7]).is_err());
    assert!(reduce_columns(Reduction::Sum, &x, &mut out, [usize::MAX, 7]).is_err());
    assert!(reduce_columns(Reduction::Sum, &x, &mut out, [1, 2]).is_err());
    assert!(softmax(&x, &mut out, 0, 1.0).is_err());
}

#[test]
fn every_instruction_set_agrees() {
    struct One<'a>(&'a [f32], &'a mut [f32], usize);
    impl Kernel for One<'_> {
        type Out = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Self(x, out, n) = self;
            // SAFETY: both hold n floats.
            unsafe {
                let max = max_row(s, x.as_ptr(), n, s.splat(0.5));
                let sum = exp_row(s, x.as_ptr(), out.as_mut_ptr(), n, s.splat(0.5), max);
                out[n] = sum;
                out[n + 1] = max;
            }
        }
    }
    for n in (1..=70).chain([384]) {
        let x = data(n);
        let want: f64 = x.iter().map(|x| (f64::from(*x) * 0.5).exp()).sum();
        for isa in Isa::ALL {
            if !isa.is_available() {
                println!("SKIPPED {isa}: this CPU lacks it");
                continue;
            }
            let mut out = vec![0.0; n + 2];
            simd::run(isa, One(&x, &mut out, n));
            let (sum, max) = (f64::from(out[n]), f64::from(out[n + 1]));
            assert!((sum * max.exp() - want).abs() <= 1e-5 * want, "{n} on {isa}");
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let x = data(384 * 3000);
    let outputs = [1, 2, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (mut a, mut b) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            softmax(&x, &mut a, 384, 1.0).unwrap();
            layer_norm(&x, None, None, 1e-5, &mut b, 384).unwrap();
            (a, b)
        })
    });
    assert!(outputs[0] == outputs[1] && outputs[0] == outputs[2]);
}
