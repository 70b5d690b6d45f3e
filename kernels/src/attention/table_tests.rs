//! Scores from tables against plain loops, on every level of the host.

use super::tests::Case;
use super::*;
use crate::encode::{Book, Parts};
use crate::isa::forced::on_each_level;
use crate::scan::{self, Shape};

/// Multiples of 1/16 from -1 to 1: their products are exact in f32, so that the nearest entry is the same in any order of
/// additions.
fn sixteenths(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2017 % 33) as f32 / 16.0 - 1.0).collect()
}

/// Entries, their transposes and half squares of the parts of a table.
struct Made {
    shape: Shape,
    permutation: Vec<u32>,
    mean: Vec<f32>,
    entries: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Made {
    fn new(shape: Shape, d: usize, seed: usize) -> Self {
        let (m, c, d_sub) = (shape.subspaces, shape.entries, d / shape.subspaces);
        let entries = sixteenths(d * c, seed);
        let entry = |s: usize, e: usize| &entries[(s * c + e) * d_sub..][..d_sub];
        let weights = (0..m).flat_map(|s| (0..d_sub).flat_map(move |j| (0..c).map(move |e| (s, j, e))));
        let weights = weights.map(|(s, j, e)| entry(s, e)[j]).collect();
        let bias = (0..m).flat_map(|s| (0..c).map(move |e| (s, e)));
        let bias = bias.map(|(s, e)| -0.5 * entry(s, e).iter().map(|x| x * x).sum::<f32>()).collect();
        // A permutation that is not its own inverse.
        let permutation = (0..d as u32).map(|i| (i + 1) % d as u32).collect();
        Self { shape, permutation, mean: sixteenths(d, seed + 1), weights, bias, entries }
    }

    fn parts(&self) -> Parts<'_> {
        let Self { shape, permutation, mean, entries, weights, bias } = self;
        Parts { shape: *shape, permutation, mean, entries, weights, bias }
    }

    /// The code of a key in each subspace.
    fn encode(&self, key: &[f32]) -> Vec<usize> {
        let (c, d_sub) = (self.shape.entries, key.len() / self.shape.subspaces);
        let place = |p: usize| key[self.permutation[p] as usize] - self.mean[self.permutation[p] as usize];
        (0..self.shape.subspaces)
            .map(|s| {
                let distance = |e: usize| {
                    let entry = &self.entries[(s * c + e) * d_sub..][..d_sub];
                    entry.iter().enumerate().map(|(j, x)| (place(s * d_sub + j) - x).powi(2)).sum::<f32>()
                };
                (0..c).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap()
            })
            .collect()
    }

    /// Lookup row of a query as bytes, and what they stand for.
    fn row(&self, q: &[f32]) -> (Vec<u8>, scan::Units) {
        let (c, d_sub) = (self.shape.entries, q.len() / self.shape.subspaces);
        let products: Vec<f32> = (0..self.shape.subspaces * c)
            .map(|e| {
                let entry = &self.entries[e * d_sub..][..d_sub];
                let first = e / c * d_sub;
                entry.iter().enumerate().map(|(j, x)| q[self.permutation[first + j] as usize] * x).sum()
            })
            .collect();
        let mut bytes = vec![0; products.len()];
        let units = scan::quantise_row(self.shape, &products, &mut bytes);
        (bytes, units)
    }

    /// The sums of a query with keys.
    fn sums(&self, q: &[f32], keys: &[f32]) -> (Vec<u16>, scan::Units) {
        let (row, units) = self.row(q);
        let sum = |key: &[f32]| {
            let codes = self.encode(key);
            codes.iter().enumerate().map(|(s, &e)| u16::from(row[s * self.shape.entries + e])).sum()
        };
        (keys.chunks_exact(q.len()).map(sum).collect(), units)
    }
}

/// A product table with codebooks of no origin.
pub(super) fn book(shape: Shape, d: usize) -> Codebook {
    Codebook::Product(Book::new(&Made::new(shape, d, 11).parts()).unwrap())
}

/// One head with operands whose products are exact.
fn case(seq_q: usize, seq_k: usize, d: usize, causal: bool) -> Case {
    let mut case = Case::new([1, 1, 1, seq_q, seq_k, d, 24], causal);
    case.q = sixteenths(case.q.len(), 3);
    case.k = sixteenths(case.k.len(), 4);
    case
}

/// Attention from scaled scores, those of keys that are not looked at being -inf.
fn attention(scores: &[f64], v: &[f32], d_v: usize) -> Vec<f64> {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let sum: f64 = e.iter().sum();
    (0..d_v).map(|c| e.iter().zip(v.chunks_exact(d_v)).map(|(e, v)| e * f64::from(v[c])).sum::<f64>() / sum).collect()
}

/// Scores of a query with the keys it sees; its number, and those keys.
type Scores<'a> = &'a dyn Fn(usize, &[f32]) -> Vec<f64>;

fn check(case: &Case, scoring: Scoring<'_>, scores: Scores<'_>) {
    let (a, d) = (&case.a, case.a.d);
    let want: Vec<f64> = (0..a.seq_q)
        .flat_map(|i| {
            let n = a.seen(i);
            attention(&scores(i, &case.k[..n * d]), &case.v, a.d_v)
        })
        .collect();
    on_each_level(|isa| {
        let out = case.run(isa, scoring);
        for (at, (&g, &w)) in out.iter().zip(&want).enumerate() {
            assert!((f64::from(g) - w).abs() < 2e-5, "{a:?} {scoring:?} at {at} on {isa}: {g}, not {w}");
        }
    });
}

const SHAPES: [Shape; 4] = [
    Shape { subspaces: 4, entries: 16, adds: 1 },
    Shape { subspaces: 16, entries: 16, adds: 2 },
    Shape { subspaces: 4, entries: 128, adds: 1 },
    Shape { subspaces: 2, entries: 256, adds: 1 },
];

#[test]
fn scores_of_product_tables() {
    for shape in SHAPES {
        for (seq_q, seq_k, causal) in [(3, 70, false), (70, 200, true), (6, 600, false)] {
            let case = case(seq_q, seq_k, 16, causal);
            let made = Made::new(shape, 16, 11);
            check(&case, Scoring::Table(&book(shape, 16)), &|i, keys| {
                let (sums, units) = made.sums(&case.q[i * 16..][..16], keys);
                let score = |&s: &u16| f64::from(case.a.scale) * f64::from(units.offset + units.step * f32::from(s));
                sums.iter().map(score).collect()
            });
        }
    }
}

#[test]
fn scores_of_palettes() {
    let (d, made) = (8, [11, 17].map(|seed| Made::new(Palette::SHAPE, 8, seed)));
    let table: Vec<u16> = (0..65536u32).map(|i| (i.wrapping_mul(40_503) >> 3) as u16).collect();
    // Queries are not centred.
    let mut queries = Made { mean: vec![0.0; d], ..Made::new(Palette::SHAPE, d, 17) };
    queries.entries.clone_from(&made[1].entries);
    let palette = Palette::new(
        Book::new(&made[0].parts()).unwrap(),
        Book::new(&queries.parts()).unwrap(),
        &table,
        1.0 / 8192.0,
        -3.0,
    )
    .unwrap();
    let book = Codebook::Palette(palette);
    for (seq_q, seq_k, causal) in [(5, 70, false), (70, 130, true)] {
        let case = case(seq_q, seq_k, d, causal);
        check(&case, Scoring::Table(&book), &|i, keys| {
            let q = queries.encode(&case.q[i * d..][..d])[0];
            let score = |k: &[f32]| table[256 * q + made[0].encode(k)[0]];
            keys.chunks_exact(d).map(|k| f64::from(case.a.scale) * (f64::from(score(k)) / 8192.0 - 3.0)).collect()
        });
    }
}

/// Which of the keys are chosen, from the definition.
fn chosen(refine: &Refine, sums: &[u16], step: f32) -> Vec<bool> {
    let n = sums.len();
    let most = *sums.iter().max().unwrap();
    let bin = |s: u16| ((f32::from(most - s) * (step / 0.25)) as usize).min(63);
    let mut mass = [0.0f64; 64];
    sums.iter().step_by((n / 256).max(1)).for_each(|&s| mass[bin(s)] += (-0.25 * bin(s) as f64).exp());
    let all = mass.iter().sum::<f64>() + 1.0 / (n / 256).max(1) as f64;
    let allowed = f64::from(refine.dropped_mass) * all;
    let least = (0..64).find(|&t| mass[t + 1..].iter().sum::<f64>() <= allowed).unwrap();
    let always = |j: usize| j < refine.first || j + refine.last >= n;
    (0..n).map(|j| always(j) || bin(sums[j]) <= least).collect()
}

#[test]
fn keys_are_chosen_by_the_table_and_scored_exactly() {
    let d = 16;
    for (seq_q, seq_k, causal) in [(5, 300, false), (70, 600, true), (3, 1100, false)] {
        for (shape, dropped_mass) in [(SHAPES[0], 0.3), (SHAPES[2], 0.05), (SHAPES[3], 0.9)] {
            let (case, made, book) = (case(seq_q, seq_k, d, causal), Made::new(shape, d, 11), book(shape, d));
            let scale = f64::from(case.a.scale);
            for rest in [Rest::Dropped, Rest::Scored] {
                let refine = Refine { dropped_mass, first: 2, last: 9, rest };
                check(&case, Scoring::Refined(&book, refine), &|i, keys| {
                    let q = &case.q[i * d..][..d];
                    let (sums, units) = made.sums(q, keys);
                    let chosen = chosen(&refine, &sums, units.step * case.a.scale);
                    assert!(chosen.len() < 100 || chosen.iter().any(|c| !c), "nothing is left out");
                    let exact = |k: &[f32]| {
                        q.iter().zip(k).zip(&made.mean).map(|((q, k), m)| f64::from(q * (k - m))).sum::<f64>()
                    };
                    let rest = |s: u16| match rest {
                        Rest::Dropped => f64::NEG_INFINITY,
                        Rest::Scored => scale * f64::from(units.offset + units.step * f32::from(s)),
                    };
                    let keys = keys.chunks_exact(d).zip(sums);
                    keys.zip(chosen).map(|((k, s), c)| if c { scale * exact(k) } else { rest(s) }).collect()
                });
            }
        }
    }
}

#[test]
fn a_scale_that_is_not_positive_chooses_every_key() {
    let mut case = case(3, 300, 16, false);
    for scale in [0.0, -0.7] {
        case.a.scale = scale;
        let refine = Refine { dropped_mass: 0.5, first: 0, last: 0, rest: Rest::Dropped };
        check(&case, Scoring::Refined(&book(SHAPES[0], 16), refine), &|i, keys| {
            let q = &case.q[i * 16..][..16];
            let dot = |k: &[f32]| q.iter().zip(k).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            keys.chunks_exact(16).map(|k| f64::from(scale) * dot(k)).collect()
        });
    }
}

#[test]
fn threads_do_not_change_what_is_chosen() {
    let case = case(300, 700, 16, true);
    let (book, refine) = (book(SHAPES[2], 16), Refine { dropped_mass: 0.1, first: 4, last: 16, rest: Rest::Dropped });
    for scoring in [Scoring::Table(&book), Scoring::Refined(&book, refine), Scoring::Int8] {
        let outputs = [1, 2, 5].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.run(ByteIsa::current(), scoring))
        });
        assert!(outputs[0] == outputs[1] && outputs[0] == outputs[2], "{scoring:?}");
    }
}

#[test]
fn codes_may_be_kept_while_keys_come_in() {
    let (d, shape) = (16, SHAPES[0]);
    let case = case(1, 300, d, false);
    let book = book(shape, d);
    let refine = Refine { dropped_mass: 0.3, first: 2, last: 9, rest: Rest::Dropped };
    on_each_level(|isa| {
        let mut codes = KeyCodes::new(1);
        for n in [1, 5, 64, 65, 200, 300] {
            assert!(codes.update(&book, isa, &[&case.k[..n * d]]), "{n}");
        }
        assert_eq!((codes.len(), codes.bytes()), (300, 320 * 2));
        let fresh = case.run(isa, Scoring::Refined(&book, refine));
        assert!(case.run(isa, Scoring::Cached(&book, refine, &codes)) == fresh, "{isa}");
        // Codes of other keys are not used.
        let mut others = KeyCodes::new(1);
        assert!(others.update(&book, isa, &[&case.k[..64 * d]]));
        assert!(case.run(isa, Scoring::Cached(&book, refine, &others)) == fresh, "{isa}");
    });
    let mut codes = KeyCodes::new(2);
    let isa = ByteIsa::Scalar;
    assert!(!codes.update(&book, isa, &[&case.k[..d]]), "one head of two");
    assert!(!codes.update(&book, isa, &[&case.k[..d], &case.k[..2 * d]]), "heads of different lengths");
    assert!(codes.update(&book, isa, &[&case.k[..2 * d], &case.k[..2 * d]]));
    assert!(!codes.update(&book, isa, &[&case.k[..d], &case.k[..d]]), "fewer than before");
    assert!(!codes.is_empty());
}
