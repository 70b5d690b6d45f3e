//! Scores of i8 rows against plain loops, on every level of the host.

use super::*;
use crate::isa::forced::on_each_level;
use crate::simd::{ByteKernel, run_bytes};
use proptest::prelude::*;

fn data(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i + seed) * 7919 % 2017) as f32 / 100.0) - 10.0).collect()
}

/// A row as i8 and its scale, by plain loops.
fn coded(row: &[f32]) -> (Vec<i32>, f32) {
    let most = row.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    if !row.iter().all(|x| x.is_finite()) {
        return (vec![0; row.len()], f32::NAN);
    }
    if most < TINY {
        return (vec![0; row.len()], 0.0);
    }
    (row.iter().map(|x| (x * (127.0 / most)).round_ties_even() as i32).collect(), most / 127.0)
}

fn expected(q: &[f32], k: &[f32], d: usize) -> Vec<u32> {
    let keys: Vec<_> = k.chunks(d).map(coded).collect();
    let scores = |q: &[f32]| {
        let (q, q_scale) = coded(q);
        let score = |(k, k_scale): &(Vec<i32>, f32)| {
            let dot: i32 = q.iter().zip(k).map(|(a, b)| a * b).sum();
            dot as f32 * q_scale * k_scale
        };
        keys.iter().map(score).collect::<Vec<_>>()
    };
    q.chunks(d).flat_map(scores).map(bits).collect()
}

/// Bits, one NaN like another.
fn bits(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
}

/// All scores of `q` with `k`; rows of `d` contiguous components, or components as rows.
struct All<'a> {
    q: &'a [f32],
    k: &'a [f32],
    d: usize,
    mean: *const f32,
    turned: bool,
}

impl ByteKernel for All<'_> {
    type Out = Vec<u32>;
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) -> Vec<u32> {
        let d = self.d;
        let (n, m) = (self.k.len() / d, self.q.len() / d);
        let width = PANEL * S::LANES;
        let padded = n.next_multiple_of(width);
        let (mut q, mut scales, mut starts) = (vec![1i8; m * 4 * groups(d)], vec![0.0; m], vec![0; m]);
        let (mut keys, mut key_scales) = (vec![1u8; padded / width * panel_bytes(d, S::LANES)], vec![1.0; padded]);
        let mut out = vec![-1.0; m * padded];
        let rows = |x: &[f32], n: usize, mean| {
            let (row, inner) = if self.turned { (1, n as isize) } else { (d as isize, 1) };
            Rows { x: x.as_ptr(), row, inner, d, mean }
        };
        // SAFETY: buffers of the sizes asked for.
        unsafe {
            pack_queries(
                s,
                rows(self.q, m, std::ptr::null()),
                m,
                q.as_mut_ptr(),
                scales.as_mut_ptr(),
                starts.as_mut_ptr(),
            );
            pack_keys(s, rows(self.k, n, self.mean), n, keys.as_mut_ptr(), key_scales.as_mut_ptr());
            let q = Queries { rows: q.as_ptr(), scales: scales.as_ptr(), starts: starts.as_ptr() };
            for panel in 0..padded / width {
                let keys =
                    (keys.as_ptr().add(panel * panel_bytes(d, S::LANES)), key_scales.as_ptr().add(panel * width));
                let p = Product::new(q, keys, d, (out.as_mut_ptr().add(panel * width), padded));
                if n - panel * width > S::LANES { scores::<S, 2>(s, p, m) } else { scores::<S, 1>(s, p, m) }
            }
        }
        out.chunks(padded).flat_map(|row| &row[..n]).map(|&x| bits(x)).collect()
    }
}

fn turned(x: &[f32], d: usize) -> Vec<f32> {
    let n = x.len() / d;
    (0..x.len()).map(|i| x[i % n * d + i / n]).collect()
}

fn check(q: &[f32], k: &[f32], d: usize) {
    let want = expected(q, k, d);
    on_each_level(|level| {
        let mean = std::ptr::null();
        assert_eq!(run_bytes(level, All { q, k, d, mean, turned: false }), want, "d {d} on {level}");
        let (q, k) = (&turned(q, d)[..], &turned(k, d)[..]);
        assert_eq!(run_bytes(level, All { q, k, d, mean, turned: true }), want, "d {d}, components apart, on {level}");
    });
}

#[test]
fn every_size_of_tile_and_panel() {
    for d in [1, 3, 4, 5, 17, 32, 64, 100] {
        for (m, n) in [(1, 1), (2, 16), (3, 17), (12, 32), (13, 33), (24, 70), (27, 5)] {
            check(&data(m * d, 1), &data(n * d, 2), d);
        }
    }
}

#[test]
fn extremes_are_exact() {
    let n = 40 * 256;
    let (high, low) = (vec![1.0; n], vec![-1.0; n]);
    check(&high, &high, 256);
    check(&high, &low, 256);
    check(&low, &low, 256);
}

#[test]
fn rows_that_are_zero_or_not_finite() {
    let (mut q, mut k) = (data(5 * 8, 1), data(6 * 8, 2));
    q[8..16].fill(0.0);
    q[20] = f32::NAN;
    k[..8].fill(1e-38);
    k[9] = f32::INFINITY;
    k[17] = f32::NAN;
    k[24..32].fill(3e38);
    check(&q, &k, 8);
}

#[test]
fn the_mean_is_subtracted() {
    let (q, k, d) = (data(3 * 20, 1), data(40 * 20, 2), 20);
    let mean = data(d, 3);
    let centred: Vec<f32> = k.iter().enumerate().map(|(i, x)| x - mean[i % d]).collect();
    let want = expected(&q, &centred, d);
    on_each_level(|level| {
        let all = All { q: &q, k: &k, d, mean: mean.as_ptr(), turned: false };
        assert_eq!(run_bytes(level, all), want, "{level}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_rows(q in prop::collection::vec(-1e3f32..1e3, 1..60), k in prop::collection::vec(any::<f32>(), 1..200), d in 1usize..20) {
        let whole = |x: &[f32]| x[..x.len() / d * d].to_vec();
        let (q, k) = (whole(&q), whole(&k));
        if !q.is_empty() && !k.is_empty() {
            check(&q, &k, d);
        }
    }
}
