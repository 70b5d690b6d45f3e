//! Scores alone, of one head on one thread: what benches compare. Each step of making them is by itself.

use super::encode::{Book, Parts, encode, lookup_rows};
use super::scan::{BLOCK, Shape, Units, scan, scan_palette};
use super::simd::{ByteKernel, ByteSimd, run_bytes};
use super::strided::Rows;
use super::tile::{F32, PANEL, Product, product};
use super::{ByteIsa, int8};

/// Where scores come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Products in f32.
    F32,
    /// Products in i8.
    Int8,
    /// One lookup: both sides coded by 256 entries.
    Palette,
    /// Lookups in `subspaces`, of `entries` each, `adds` of them added up in bytes.
    Product {
        /// Subspaces.
        subspaces: usize,
        /// 16, 128 or 256.
        entries: usize,
        /// 1, 2 or 4.
        adds: usize,
    },
}

/// Keys that are taken through all queries before the next.
const KEYS: usize = 256;
/// Queries whose scores are made together from products.
const ROWS: usize = 24;
/// Queries whose lookups are made together.
const SCANS: usize = 4;
/// Keys and queries of a [`Trial`] are a multiple of it.
pub const MULTIPLE: usize = 48;

/// Queries and keys, and memory for each step.
#[derive(Debug)]
pub struct Trial {
    kind: Kind,
    level: ByteIsa,
    d: usize,
    queries: Vec<f32>,
    keys: Vec<f32>,
    book: Option<Book>,
    packed: Vec<u8>,
    panels: Vec<f32>,
    scales: Vec<f32>,
    rows: Vec<u8>,
    starts: Vec<i32>,
    units: Vec<Units>,
    table: Vec<u16>,
    scores: Vec<f32>,
    sums: Vec<u16>,
    scratch: Vec<f32>,
}

/// Numbers between -1 and 1.
fn noise(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 4001) as f32 / 2000.0 - 1.0).collect()
}

/// A book of entries that are as good as any for how long it takes.
fn book(shape: Shape, d: usize) -> Option<Book> {
    let entries = noise(d * shape.entries);
    let permutation: Vec<u32> = (0..d as u32).collect();
    let (mean, bias) = (noise(d), noise(shape.subspaces * shape.entries));
    let parts =
        Parts { shape, permutation: &permutation, mean: &mean, weights: &entries, entries: &entries, bias: &bias };
    Book::new(&parts).ok()
}

impl Trial {
    /// `queries` and `keys` of `d` components each, as many of each as there are whole multiples of [`MULTIPLE`] queries and
    /// 256 keys; `None` if `kind` cannot be had for `d`.
    pub fn new(kind: Kind, level: ByteIsa, d: usize, queries: &[f32], keys: &[f32]) -> Option<Self> {
        if d == 0 {
            return None;
        }
        let level = if level.is_available() { level } else { ByteIsa::Scalar };
        let lanes = level.lanes();
        let (m, n) = (queries.len() / d / MULTIPLE * MULTIPLE, keys.len() / d / KEYS * KEYS);
        let shape = match kind {
            Kind::F32 | Kind::Int8 => None,
            Kind::Palette => Some(Shape { subspaces: 1, entries: 256, adds: 1 }),
            Kind::Product { subspaces, entries, adds } => Some(Shape { subspaces, entries, adds }),
        };
        let book = match shape {
            Some(shape) => Some(book(shape, d)?),
            None => None,
        };
        let (encode, look_up) = book.as_ref().map_or((0, 0), |b| (b.encode_room(), b.lookup_room(lanes)));
        let row = shape.map_or(4 * int8::groups(d), Shape::row_bytes);
        Some(Self {
            kind,
            level,
            d,
            queries: queries[..m * d].to_vec(),
            keys: keys[..n * d].to_vec(),
            packed: vec![0; shape.map_or(n / (PANEL * lanes) * int8::panel_bytes(d, lanes), |s| s.code_bytes(n))],
            panels: vec![0.0; if kind == Kind::F32 { n * d } else { 0 }],
            scales: vec![0.0; n + m],
            rows: vec![0; (m + BLOCK) * row],
            starts: vec![0; m],
            units: vec![Units { offset: 0.0, step: 0.0 }; m],
            table: (0..256 * 256).map(|i: usize| (i * 40_503) as u16).collect(),
            scores: vec![0.0; ROWS * KEYS],
            sums: vec![0; SCANS * n],
            scratch: vec![0.0; encode.max(look_up)],
            book,
        })
    }

    /// Queries and keys.
    pub fn counts(&self) -> (usize, usize) {
        (self.queries.len() / self.d, self.keys.len() / self.d)
    }

    /// Packs or codes the keys.
    pub fn keys(&mut self) {
        run_bytes(self.level, Step(self, What::Keys));
    }

    /// Copies or codes the queries, or makes their lookup rows.
    pub fn queries(&mut self) {
        run_bytes(self.level, Step(self, What::Queries));
    }

    /// Makes all scores; only the last of them are kept.
    pub fn scores(&mut self) -> &[f32] {
        run_bytes(self.level, Step(self, What::Scores));
        &self.scores
    }
}

#[derive(Clone, Copy)]
enum What {
    Keys,
    Queries,
    Scores,
}

struct Step<'a>(&'a mut Trial, What);

impl ByteKernel for Step<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) {
        let Self(t, what) = self;
        match (what, t.kind) {
            (What::Keys, Kind::F32) => s.call(F32Keys(t)),
            (What::Queries, Kind::F32) => {}
            (What::Scores, Kind::F32) => s.call(F32Scores(t)),
            (What::Keys, Kind::Int8) => s.call(Int8Keys(t)),
            (What::Queries, Kind::Int8) => s.call(Int8Queries(t)),
            (What::Scores, Kind::Int8) => s.call(Int8Scores(t)),
            (What::Keys, _) => s.call(Codes(t)),
            (What::Queries, Kind::Palette) => s.call(QueryCodes(t)),
            (What::Scores, Kind::Palette) => s.call(PaletteScores(t)),
            (What::Queries, _) => s.call(LookUps(t)),
            (What::Scores, _) => s.call(Scans(t)),
        }
    }
}

/// Steps: a name for each, the trial, and what is done to it with a token.
macro_rules! steps {
    ($($name:ident($s:ident, $t:ident) $body:block)*) => {$(
        struct $name<'a>(&'a mut Trial);

        impl ByteKernel for $name<'_> {
            type Out = ();
            #[inline(always)]
            fn run<S: ByteSimd>(self, $s: S) {
                let $t = self.0;
                $body
            }
        }
    )*};
}

/// The rows of a slice.
fn rows(x: &[f32], d: usize) -> Rows {
    Rows { x: x.as_ptr(), row: d as isize, inner: 1, d, mean: std::ptr::null() }
}

// SAFETY of all of them: buffers of the sizes that `Trial::new` gave them for this level.
steps! {
    F32Keys(s, t) {
        let (d, width) = (t.d, PANEL * S::LANES);
        for panel in 0..t.counts().1 / width {
            // SAFETY: as above.
            unsafe {
                rows(&t.keys[panel * width * d..], d).columns(s, width, t.panels.as_mut_ptr().add(panel * width * d), width);
            }
        }
    }
    F32Scores(s, t) {
        let (d, width, (m, n)) = (t.d, PANEL * S::LANES, t.counts());
        for first in (0..n).step_by(KEYS) {
            for q in (0..m).step_by(ROWS) {
                for panel in 0..KEYS / width {
                    // SAFETY: as above.
                    unsafe {
                        let keys = t.panels.as_ptr().add((first + panel * width) * d);
                        let to = (t.scores.as_mut_ptr().add(panel * width), KEYS);
                        let p = Product::new((t.queries.as_ptr().add(q * d), d), keys, d, to);
                        product::<S, F32, 2>(s, p, ROWS);
                    }
                }
            }
        }
    }
    Int8Keys(s, t) {
        // SAFETY: as above.
        unsafe { int8::pack_keys(s, rows(&t.keys, t.d), t.counts().1, t.packed.as_mut_ptr(), t.scales.as_mut_ptr()) }
    }
    Int8Queries(s, t) {
        let (m, n) = t.counts();
        // SAFETY: as above.
        unsafe {
            let scales = t.scales.as_mut_ptr().add(n);
            int8::pack_queries(s, rows(&t.queries, t.d), m, t.rows.as_mut_ptr().cast(), scales, t.starts.as_mut_ptr());
        }
    }
    Int8Scores(s, t) {
        let (d, width, (m, n)) = (t.d, PANEL * S::LANES, t.counts());
        for first in (0..n).step_by(KEYS) {
            for q in (0..m).step_by(ROWS) {
                for panel in 0..KEYS / width {
                    // SAFETY: as above.
                    unsafe {
                        let scales = t.scales.as_ptr();
                        let all = int8::Queries { rows: t.rows.as_ptr().cast(), scales: scales.add(n), starts: t.starts.as_ptr() };
                        let keys = t.packed.as_ptr().add((first / width + panel) * int8::panel_bytes(d, S::LANES));
                        let keys = (keys, scales.add(first + panel * width));
                        let to = (t.scores.as_mut_ptr().add(panel * width), KEYS);
                        let p = int8::Product::new(all.from(q, d), keys, d, to);
                        int8::scores::<S, 2>(s, p, ROWS);
                    }
                }
            }
        }
    }
    Codes(s, t) {
        if let Some(book) = &t.book {
            let n = t.counts().1;
            // SAFETY: as above.
            unsafe { encode(s, book, rows(&t.keys, t.d), n, t.packed.as_mut_ptr(), t.scratch.as_mut_ptr()) }
        }
    }
    QueryCodes(s, t) {
        if let Some(book) = &t.book {
            // SAFETY: as above.
            unsafe { encode(s, book, rows(&t.queries, t.d), t.counts().0, t.rows.as_mut_ptr(), t.scratch.as_mut_ptr()) }
        }
    }
    PaletteScores(s, t) {
        let (m, n) = t.counts();
        let shape = Shape { subspaces: 1, entries: 256, adds: 1 };
        for q in 0..m {
            let row = usize::from(shape.code(&t.rows, q, 0)) * 256;
            // SAFETY: as above.
            unsafe { scan_palette(s, t.table[row..].as_ptr(), t.packed.as_ptr(), n, t.sums.as_mut_ptr()) };
        }
    }
    LookUps(s, t) {
        if let Some(book) = &t.book {
            let (m, row) = (t.counts().0, book.shape().row_bytes());
            for q in (0..m).step_by(S::LANES) {
                // SAFETY: as above.
                unsafe {
                    let (to, units) = (t.rows.as_mut_ptr().add(q * row), t.units.as_mut_ptr().add(q));
                    lookup_rows(s, book, rows(&t.queries[q * t.d..], t.d), S::LANES, to, units, t.scratch.as_mut_ptr());
                }
            }
        }
    }
    Scans(s, t) {
        if let Some(book) = &t.book {
            let ((m, n), shape) = (t.counts(), book.shape());
            for q in (0..m).step_by(SCANS) {
                // SAFETY: as above.
                unsafe {
                    let mut rows = [t.rows.as_ptr(); SCANS];
                    let mut sums = [t.sums.as_mut_ptr(); SCANS];
                    for i in 0..SCANS {
                        (rows[i], sums[i]) = (rows[i].add((q + i) * shape.row_bytes()), sums[i].add(i * n));
                    }
                    scan(s, shape, rows, t.packed.as_ptr(), n, sums);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 5] = [
        Kind::F32,
        Kind::Int8,
        Kind::Palette,
        Kind::Product { subspaces: 8, entries: 16, adds: 4 },
        Kind::Product { subspaces: 4, entries: 128, adds: 1 },
    ];

    fn run(kind: Kind, level: ByteIsa) -> Vec<f32> {
        let (q, k) = (noise(48 * 32), noise(512 * 32));
        let mut t = Trial::new(kind, level, 32, &q, &k).unwrap();
        assert_eq!(t.counts(), (48, 512));
        t.keys();
        t.queries();
        t.scores().to_vec()
    }

    #[test]
    fn every_kind_runs_and_products_agree() {
        for level in ByteIsa::available() {
            for kind in KINDS {
                run(kind, level);
            }
            let (exact, int8) = (run(Kind::F32, level), run(Kind::Int8, level));
            assert!(exact.iter().any(|&x| x > 1.0));
            for (a, b) in exact.iter().zip(&int8) {
                assert!((a - b).abs() < 0.1, "{a} {b} on {level}");
            }
        }
    }

    #[test]
    fn a_kind_that_cannot_be_had_is_none() {
        let kind = Kind::Product { subspaces: 5, entries: 16, adds: 1 };
        assert!(Trial::new(kind, ByteIsa::Scalar, 32, &[], &[]).is_none());
        assert!(Trial::new(Kind::F32, ByteIsa::Scalar, 0, &[], &[]).is_none());
    }
}
