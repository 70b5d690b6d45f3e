//! Codes and lookup rows against plain loops, on every level of the host.

use super::*;
use crate::isa::forced::on_each_level;
use crate::scan::quantise_row;
use crate::simd::run_bytes;

fn data(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i + 13 * seed) * 7919 % 2017) as f32 / 1000.0) - 1.0).collect()
}

/// A table under a metric of its own for each subspace.
struct Case {
    shape: Shape,
    d: usize,
    permutation: Vec<u32>,
    mean: Vec<f32>,
    entries: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    fn new(subspaces: usize, entries: usize, d_sub: usize, adds: usize) -> Self {
        let d = subspaces * d_sub;
        let book = data(d * entries, 1);
        let (mut weights, mut bias) = (vec![0.0; book.len()], vec![0.0; subspaces * entries]);
        for (at, entry) in book.chunks(d_sub).enumerate() {
            let (m, c) = (at / entries, at % entries);
            for j in 0..d_sub {
                let w = entry[j] * (1.0 + (j + m) as f32 / 3.0) + entry[d_sub - 1 - j] * 0.25;
                weights[(m * d_sub + j) * entries + c] = w;
                bias[at] -= 0.5 * w * entry[j];
            }
        }
        let permutation = (0..d).map(|p| ((p * 5 + 3) % d) as u32).collect::<Vec<_>>();
        // Steps of 5 reach every place, but where 5 divides d.
        assert_ne!(d % 5, 0);
        Self {
            shape: Shape { subspaces, entries, adds },
            d,
            permutation,
            mean: data(d, 9),
            entries: book,
            weights,
            bias,
        }
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            shape: self.shape,
            permutation: &self.permutation,
            mean: &self.mean,
            entries: &self.entries,
            weights: &self.weights,
            bias: &self.bias,
        }
    }

    fn book(&self) -> Book {
        Book::new(&self.parts()).unwrap()
    }

    fn d_sub(&self) -> usize {
        self.d / self.shape.subspaces
    }

    /// How near a key is to each entry of a subspace.
    fn nearness(&self, key: &[f32], m: usize) -> Vec<f64> {
        let (d_sub, n) = (self.d_sub(), self.shape.entries);
        let near = |c: usize| {
            let term = |j: usize| {
                let i = self.permutation[m * d_sub + j] as usize;
                f64::from(key[i] - self.mean[i]) * f64::from(self.weights[(m * d_sub + j) * n + c])
            };
            (0..d_sub).map(term).sum::<f64>() + f64::from(self.bias[m * n + c])
        };
        (0..n).map(near).collect()
    }

    fn products(&self, q: &[f32]) -> Vec<f32> {
        let (d_sub, n) = (self.d_sub(), self.shape.entries);
        let product = |at: usize| {
            let term = |j: usize| q[self.permutation[at / n * d_sub + j] as usize] * self.entries[at * d_sub + j];
            (0..d_sub).map(term).sum()
        };
        (0..self.shape.row_bytes()).map(product).collect()
    }
}

/// Contiguous rows, or the same turned: components as rows.
fn rows(x: &[f32], d: usize, turned: bool) -> Rows {
    let n = (x.len() / d) as isize;
    let (row, inner) = if turned { (1, n) } else { (d as isize, 1) };
    Rows { x: x.as_ptr(), row, inner, d, mean: std::ptr::null() }
}

fn turn(x: &[f32], d: usize) -> Vec<f32> {
    let n = x.len() / d;
    (0..x.len()).map(|i| x[i % n * d + i / n]).collect()
}

struct Codes<'a>(&'a Book, Rows, usize);

impl ByteKernel for Codes<'_> {
    type Out = Vec<u8>;
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) -> Vec<u8> {
        let Self(book, keys, n) = self;
        let (mut codes, mut scratch) = (vec![0xff; book.shape().code_bytes(n)], vec![f32::NAN; book.encode_room()]);
        // SAFETY: buffers of the sizes asked for.
        unsafe { encode(s, book, keys, n, codes.as_mut_ptr(), scratch.as_mut_ptr()) };
        codes
    }
}

fn check_codes(case: &Case, n: usize) {
    let (book, d) = (case.book(), case.d);
    let keys = data(n * d, 4);
    let keys_turned = turn(&keys, d);
    let near: Vec<Vec<f64>> =
        keys.chunks(d).flat_map(|k| (0..case.shape.subspaces).map(|m| case.nearness(k, m))).collect();
    on_each_level(|level| {
        let codes = run_bytes(level, Codes(&book, rows(&keys, d, false), n));
        assert_eq!(
            run_bytes(level, Codes(&book, rows(&keys_turned, d, true), n)),
            codes,
            "components apart on {level}"
        );
        for (at, near) in near.iter().enumerate() {
            let (key, m) = (at / case.shape.subspaces, at % case.shape.subspaces);
            let code = usize::from(case.shape.code(&codes, key, m));
            let most = near.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!(near[code] >= most - 1e-5, "key {key}, subspace {m} of {:?} on {level}: {code}", case.shape);
        }
    });
}

#[test]
fn codes_are_the_nearest_entries() {
    for (subspaces, entries, d_sub) in [(16, 16, 4), (8, 128, 8), (4, 256, 8), (3, 16, 2), (1, 256, 32), (7, 16, 1)] {
        check_codes(&Case::new(subspaces, entries, d_sub, 1), 70);
    }
    for n in [0, 1, 15, 16, 17, 63, 64, 65, 130] {
        check_codes(&Case::new(4, 16, 4, 1), n);
    }
}

#[test]
fn of_equal_entries_the_first_and_of_nan_0() {
    let mut case = Case::new(2, 16, 4, 1);
    for m in 0..2 {
        // Entry 3 is the nearest to everything, and the last is like it.
        for j in 0..4 {
            case.weights[(m * 4 + j) * 16..][..16].fill(0.0);
        }
        case.bias[m * 16..][..16].fill(-1.0);
        case.bias[m * 16 + 3] = 1.0;
        case.bias[m * 16 + 15] = 1.0;
    }
    let book = case.book();
    let mut keys = data(20 * 8, 2);
    keys[5 * 8 + 1] = f32::NAN;
    on_each_level(|level| {
        let codes = run_bytes(level, Codes(&book, rows(&keys, 8, false), 20));
        for key in 0..20 {
            for m in 0..2 {
                // Component 1 is in one of the subspaces.
                let nan = key == 5 && case.permutation[m * 4..][..4].contains(&1);
                assert_eq!(case.shape.code(&codes, key, m), if nan { 0 } else { 3 }, "key {key} on {level}");
            }
        }
    });
}

struct LookUp<'a>(&'a Book, Rows, usize);

impl ByteKernel for LookUp<'_> {
    type Out = (Vec<u8>, Vec<Units>);
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) -> Self::Out {
        let Self(book, queries, n) = self;
        let len = book.shape().row_bytes();
        let (mut bytes, mut units) = (Vec::new(), Vec::new());
        let mut scratch = vec![f32::NAN; book.lookup_room(S::LANES)];
        for first in (0..n).step_by(S::LANES) {
            let some = S::LANES.min(n - first);
            let mut rows = vec![0xff; S::LANES * len];
            let mut unit = vec![Units { offset: 0.0, step: 0.0 }; some];
            // SAFETY: buffers of the sizes asked for.
            unsafe {
                let queries = queries.from(first);
                lookup_rows(s, book, queries, some, rows.as_mut_ptr(), unit.as_mut_ptr(), scratch.as_mut_ptr());
            }
            bytes.extend_from_slice(&rows[..some * len]);
            units.extend(unit);
        }
        (bytes, units)
    }
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-5 * (1.0 + b.abs()) || a.is_nan() && b.is_nan()
}

fn check_rows(case: &Case, queries: &[f32]) {
    let (book, d, n) = (case.book(), case.d, queries.len() / case.d);
    let len = case.shape.row_bytes();
    let queries_turned = turn(queries, d);
    on_each_level(|level| {
        let got = run_bytes(level, LookUp(&book, rows(queries, d, false), n));
        let other = run_bytes(level, LookUp(&book, rows(&queries_turned, d, true), n));
        assert_eq!(got.0, other.0, "components apart on {level}");
        for (i, q) in queries.chunks(d).enumerate() {
            let mut want = vec![0; len];
            let units = quantise_row(case.shape, &case.products(q), &mut want);
            let (bytes, unit) = (&got.0[i * len..][..len], got.1[i]);
            assert!(close(unit.step, units.step), "query {i} on {level}: {unit:?}, not {units:?}");
            assert!(
                unit.step.is_nan() || close(unit.offset, units.offset),
                "query {i} on {level}: {unit:?}, not {units:?}"
            );
            // Sums in another order may round a byte the other way.
            let off = bytes.iter().zip(&want).filter(|(a, b)| a != b).count();
            assert!(off <= len / 50, "{off} of {len} bytes of query {i} differ on {level}");
            assert!(bytes.iter().zip(&want).all(|(a, b)| a.abs_diff(*b) <= 1), "query {i} on {level}");
        }
    });
}

#[test]
fn lookup_rows_are_the_products_in_bytes() {
    for (subspaces, entries, d_sub, adds) in
        [(16, 16, 4, 4), (16, 16, 4, 1), (8, 128, 8, 2), (4, 256, 8, 1), (3, 16, 2, 2), (1, 256, 32, 1), (7, 16, 1, 1)]
    {
        let case = Case::new(subspaces, entries, d_sub, adds);
        check_rows(&case, &data(21 * case.d, 6));
    }
    let case = Case::new(4, 16, 4, 1);
    for n in [0, 1, 7, 8, 9, 16] {
        check_rows(&case, &data(n * case.d, 3));
    }
}

#[test]
fn queries_that_are_zero_or_not_finite() {
    let case = Case::new(4, 16, 4, 1);
    let mut queries = data(6 * 16, 3);
    queries[..16].fill(0.0);
    queries[17] = f32::NAN;
    queries[40] = f32::INFINITY;
    queries[48..64].fill(1e-35);
    queries[64..80].fill(3e38);
    check_rows(&case, &queries);
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let case = Case::new(4, 16, 4, 1);
    let whole = case.parts();
    let refused = |parts: Parts<'_>| Book::new(&parts).unwrap_err().to_string();
    let shape = whole.shape;
    assert!(refused(Parts { shape: Shape { entries: 64, ..shape }, ..whole }).contains("16, 128 or 256"));
    assert!(refused(Parts { shape: Shape { subspaces: 3, ..shape }, ..whole }).contains("divide"));
    assert!(refused(Parts { shape: Shape { subspaces: 0, ..shape }, ..whole }).contains("1 to 256"));
    assert!(refused(Parts { shape: Shape { adds: 3, ..shape }, ..whole }).contains("added up"));
    assert!(refused(Parts { mean: &[], ..whole }).contains("mean"));
    assert!(refused(Parts { weights: &[], ..whole }).contains("entries"));
    assert!(refused(Parts { bias: &[], ..whole }).contains("bias"));
    assert!(refused(Parts { permutation: &[16; 16], ..whole }).contains("permutation"));
    assert!(refused(Parts { permutation: &[], ..whole }).contains("divide"));
}
