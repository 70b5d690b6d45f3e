//! Sums of lookups against plain loops, on every level of the host.

use super::*;
use crate::isa::forced::on_each_level;
#[cfg(target_arch = "x86_64")]
use crate::simd::emulated;
use crate::simd::{ByteKernel, run_bytes};
use proptest::prelude::*;

fn noise(n: usize, seed: usize) -> Vec<u8> {
    (0..n).map(|i| (((i + 1) * (seed + 7) * 2_654_435_761) >> 11) as u8).collect()
}

fn shape(subspaces: usize, entries: usize, adds: usize) -> Shape {
    Shape { subspaces, entries, adds }
}

fn rows<const Q: usize>(shape: Shape, seed: usize) -> [Vec<u8>; Q] {
    std::array::from_fn(|q| {
        // Every other row as high as it may be.
        let level = |x: u8| if q % 2 == 1 { shape.top() } else { x % (shape.top() as usize + 1) as u8 };
        noise(shape.row_bytes(), seed + q)
            .into_iter()
            .map(|x| if shape.adds == 1 && q % 2 == 0 { x } else { level(x) })
            .collect()
    })
}

/// Codes of whole blocks, those past the last key too.
fn codes(shape: Shape, n: usize, seed: usize) -> Vec<u8> {
    let mask = if shape.entries == 128 { 127 } else { 255 };
    noise(shape.code_bytes(n), seed).into_iter().map(|c| c & mask).collect()
}

fn expected(shape: Shape, row: &[u8], codes: &[u8], n: usize) -> Vec<u16> {
    let of = |m: usize, code: u8| u16::from(row[m * shape.entries + usize::from(code)]);
    (0..n).map(|key| (0..shape.subspaces).map(|m| of(m, shape.code(codes, key, m))).sum()).collect()
}

struct Scan<'a, const Q: usize> {
    shape: Shape,
    rows: &'a [Vec<u8>; Q],
    codes: &'a [u8],
    n: usize,
}

impl<const Q: usize> ByteKernel for Scan<'_, Q> {
    type Out = ([Vec<u16>; Q], [u16; Q]);
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) -> Self::Out {
        let mut out: [Vec<u16>; Q] = std::array::from_fn(|_| vec![7; self.n.next_multiple_of(BLOCK)]);
        let to = std::array::from_fn(|q| out[q].as_mut_ptr());
        let rows = std::array::from_fn(|q| self.rows[q].as_ptr());
        // SAFETY: buffers of the sizes asked for.
        let most = unsafe { scan(s, self.shape, rows, self.codes.as_ptr(), self.n, to) };
        out.iter_mut().for_each(|out| out.truncate(self.n));
        (out, most)
    }
}

fn check<const Q: usize>(shape: Shape, n: usize, seed: usize) {
    let (rows, codes) = (rows::<Q>(shape, seed), codes(shape, n, seed));
    let want = std::array::from_fn(|q| expected(shape, &rows[q], &codes, n));
    let most = std::array::from_fn(|q| want[q].iter().copied().max().unwrap_or(0));
    let scan = || Scan { shape, rows: &rows, codes: &codes, n };
    on_each_level(|level| {
        let (out, greatest) = run_bytes(level, scan());
        assert!(out == want, "{shape:?}, {n} keys, {Q} rows on {level}");
        assert_eq!(greatest, most, "{shape:?}, {n} keys, {Q} rows on {level}");
    });
    #[cfg(target_arch = "x86_64")]
    if let Some(got) = emulated::run(scan()) {
        assert!(got == (want, most), "{shape:?}, {n} keys, {Q} rows on emulated VBMI");
    }
}

#[test]
fn every_shape() {
    for entries in [16, 128, 256] {
        for adds in [1, 2, 4] {
            for subspaces in [1, 2, 3, 4, 5, 8, 16] {
                let shape = shape(subspaces, entries, adds);
                check::<1>(shape, 130, subspaces);
                check::<4>(shape, 64, adds);
            }
        }
    }
}

#[test]
fn any_number_of_keys_and_rows() {
    for n in [0, 1, 31, 32, 33, 63, 64, 65, 127, 200] {
        check::<1>(shape(7, 16, 1), n, n);
        check::<2>(shape(8, 128, 2), n, n);
        check::<3>(shape(6, 16, 4), n, n);
    }
}

#[test]
fn the_greatest_sum_fits() {
    for entries in [16, 128, 256] {
        let shape = shape(256, entries, 1);
        let (rows, codes) = ([vec![255; shape.row_bytes()]], codes(shape, 70, 3));
        on_each_level(|level| {
            let (out, most) = run_bytes(level, Scan { shape, rows: &rows, codes: &codes, n: 70 });
            assert_eq!((out, most), ([vec![256 * 255; 70]], [256 * 255]), "{level}");
        });
    }
}

struct Palette<'a>(&'a [u16], &'a [u8], usize);

impl ByteKernel for Palette<'_> {
    type Out = (Vec<u16>, u16);
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) -> Self::Out {
        let mut out = vec![0; self.2.next_multiple_of(BLOCK)];
        // SAFETY: buffers of the sizes asked for.
        let most = unsafe { scan_palette(s, self.0.as_ptr(), self.1.as_ptr(), self.2, out.as_mut_ptr()) };
        out.truncate(self.2);
        (out, most)
    }
}

#[test]
fn palettes() {
    let shape = shape(1, 256, 1);
    let row: Vec<u16> = (0..256).map(|i| (i * 40_503) as u16).collect();
    for n in [0, 1, 33, 64, 1000] {
        let codes = codes(shape, n, n);
        let want: Vec<u16> = (0..n).map(|key| row[usize::from(shape.code(&codes, key, 0))]).collect();
        let most = want.iter().copied().max().unwrap_or(0);
        on_each_level(|level| assert_eq!(run_bytes(level, Palette(&row, &codes, n)), (want.clone(), most), "{level}"));
    }
}

#[test]
fn each_place_of_a_block_is_one_key() {
    let mut places: Vec<usize> = (0..BLOCK).map(place).collect();
    places.sort_unstable();
    assert_eq!(places, (0..BLOCK).collect::<Vec<_>>());
}

#[test]
fn rows_that_are_flat_or_not_finite() {
    let shape = shape(2, 16, 1);
    let mut bytes = vec![9; 32];
    assert_eq!(quantise_row(shape, &[3.0; 32], &mut bytes), Units { offset: 6.0, step: 1.0 });
    assert_eq!(bytes, vec![0; 32]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut row = [1.0; 32];
        (row[3], row[20]) = (2.0, bad);
        bytes.fill(9);
        assert!(quantise_row(shape, &row, &mut bytes).step.is_nan());
        assert_eq!(bytes, vec![0; 32]);
    }
}

proptest! {
    #[test]
    fn units_undo_the_coding(row in prop::collection::vec(-1e3f32..1e3, 48), adds in prop::sample::select(vec![1usize, 2, 4])) {
        let shape = shape(3, 16, adds);
        let mut bytes = vec![0; 48];
        let units = quantise_row(shape, &row, &mut bytes);
        prop_assert!(bytes.iter().all(|&b| b <= shape.top()));
        for (r, b) in row.chunks(16).zip(bytes.chunks(16)) {
            let low = r.iter().copied().fold(f32::INFINITY, f32::min);
            for (x, &b) in r.iter().zip(b) {
                prop_assert!((low + units.step * f32::from(b) - x).abs() <= units.step * 0.501 + 1e-3);
            }
        }
    }
}
