//! The claims made for folding a row into 17 means, measured again: golden step, plain stride and random projections.
//!
//! They were made by tests of AdaWorldAPI/ndarray (`src/hpc/vml.rs`), which compare L2 distances of 17 numbers, in f64
//! and not as codes, with L2 distances of the rows, all pairs, one run each. Their "Gaussian" rows are [`sine_rows`],
//! and their "random" projection is [`Projection::Sines`]; both formulas are here to show what the figures were of.

use super::base17::{Base17, MEANS, Real, STEP};
use super::fidelity::spearman;
use bgz_passes::random::SplitMix64;
use rayon::prelude::*;
use std::fmt;

/// Means of resampled runs that an interval is read from.
const RESAMPLES: usize = 10_000;

/// Rows of one width, one behind the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Values of a row.
    pub width: usize,
    /// `[n, width]`
    pub values: Vec<f64>,
}

impl Rows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// True if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// So many of them, or all if there are fewer, drawn without replacement.
    pub fn draw(&self, n: usize, seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let mut order: Vec<usize> = (0..self.len()).collect();
        let n = n.min(order.len());
        for i in 0..n {
            let other = i + random.below(order.len() - i);
            order.swap(i, other);
        }
        let row = |&i: &usize| &self.values[i * self.width..][..self.width];
        Self { width: self.width, values: order[..n].iter().flat_map(row).copied().collect() }
    }
}

/// Rows of independent normal values.
pub fn gaussian_rows(n: usize, width: usize, seed: u64) -> Rows {
    let mut random = SplitMix64::new(seed);
    Rows { width, values: (0..n * width).map(|_| random.normal()).collect() }
}

/// `2 sin((97 i + 31 j) / 1000)`: by the addition formula, each row is a combination of the same two.
pub fn sine_rows(n: usize, width: usize) -> Rows {
    let value = |i: usize, j: usize| ((97 * i + 31 * j) as f64 * 0.001).sin() * 2.0;
    Rows { width, values: (0..n).flat_map(|i| (0..width).map(move |j| value(i, j))).collect() }
}

/// A way to make 17 numbers of a row, and a distance of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Mean `b` is of the dims `17 o + (11 b mod 17)`; L2.
    GoldenStep,
    /// Mean `b` is of the dims `17 o + b`; L2.
    MeanStride,
    /// [`Base17`], rounded to 1/256; L1, as in tables.
    Code,
    /// Products with 17 rows of independent normal values; L2.
    Random,
    /// Products with the 17 rows `sin((7919 i + 104729 j) / 100000)`, each a combination of the same two; L2.
    Sines,
}

impl Projection {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::GoldenStep, Self::MeanStride, Self::Code, Self::Random, Self::Sines];

    /// Distances of all pairs of rows after it. `seed` is that of a random one.
    pub fn distances(self, rows: &Rows, seed: u64) -> Vec<f64> {
        let width = rows.width.max(1);
        let each = rows.values.par_chunks_exact(width);
        match self {
            Self::Code => {
                let codes: Vec<Base17> = each.map(Base17::encode).collect();
                pairs(codes.len(), |i, j| f64::from(codes[i].distance(&codes[j])))
            }
            Self::GoldenStep => l2(&each.flat_map_iter(|row| means(row, STEP)).collect::<Vec<f64>>(), MEANS),
            Self::MeanStride => l2(&each.flat_map_iter(|row| means(row, 1)).collect::<Vec<f64>>(), MEANS),
            Self::Random | Self::Sines => {
                let matrix = match self {
                    Self::Random => gaussian_rows(MEANS, width, seed).values,
                    _ => sines(width),
                };
                let product = |row: &[f64]| {
                    let dot = |m: &[f64]| m.iter().zip(row).map(|(a, b)| a * b).sum::<f64>();
                    matrix.chunks_exact(width).map(dot).collect::<Vec<f64>>()
                };
                l2(&each.flat_map_iter(product).collect::<Vec<f64>>(), MEANS)
            }
        }
    }
}

impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GoldenStep => "golden step",
            Self::MeanStride => "mean stride",
            Self::Code => "Base17 codes, L1",
            Self::Random => "random projection",
            Self::Sines => "sine projection",
        })
    }
}

/// Matrix of [`Projection::Sines`].
fn sines(width: usize) -> Vec<f64> {
    let value = |i: usize, j: usize| ((7919 * i + 104_729 * j) as f64 * 0.00001).sin();
    (0..MEANS).flat_map(|i| (0..width).map(move |j| value(i, j))).collect()
}

/// Mean `b` of the dims `17 o + (step b mod 17)`; 0 of none.
fn means(row: &[f64], step: usize) -> [f64; MEANS] {
    let (mut sums, mut counts) = ([0.0; MEANS], [0u32; MEANS]);
    for octave in row.chunks(MEANS) {
        for (b, (sum, count)) in sums.iter_mut().zip(&mut counts).enumerate() {
            if let Some(x) = octave.get(step * b % MEANS) {
                *sum += x;
                *count += 1;
            }
        }
    }
    std::array::from_fn(|b| if counts[b] == 0 { 0.0 } else { sums[b] / f64::from(counts[b]) })
}

/// L2 distances of all pairs of rows.
pub fn l2_distances(rows: &Rows) -> Vec<f64> {
    l2(&rows.values, rows.width.max(1))
}

fn l2(values: &[f64], width: usize) -> Vec<f64> {
    let row = |i: usize| &values[i * width..][..width];
    let square = |i: usize, j: usize| row(i).iter().zip(row(j)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    pairs(values.len() / width, |i, j| square(i, j).sqrt())
}

fn pairs(n: usize, distance: impl Fn(usize, usize) -> f64 + Sync) -> Vec<f64> {
    (0..n).into_par_iter().flat_map_iter(|i| (i + 1..n).map(move |j| (i, j))).map(|(i, j)| distance(i, j)).collect()
}

/// Spearman's rho of the distances after each projection, in the order of [`Projection::ALL`], with those of the rows.
pub fn rhos(rows: &Rows, seed: u64) -> [f64; Projection::ALL.len()] {
    let exact = l2_distances(rows);
    Projection::ALL.map(|p| spearman(&exact, &p.distances(rows, seed)))
}

/// A mean of several runs, and where it may lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Mean of the runs.
    pub mean: f64,
    /// Lower end of the interval of 95 %.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Of the mean of `runs`: the 2.5th and 97.5th percentile of the means of 10000 resamples, drawn with replacement
    /// (percentile bootstrap; Efron, 1979). NaN of no runs, or of runs that are not numbers.
    pub fn bootstrap(runs: &[f64], seed: u64) -> Self {
        let n = runs.len();
        if n == 0 || runs.iter().any(|x| x.is_nan()) {
            return Self { mean: f64::NAN, low: f64::NAN, high: f64::NAN };
        }
        let mut random = SplitMix64::new(seed);
        let mut mean = || (0..n).map(|_| runs[random.below(n)]).sum::<f64>() / n as f64;
        let mut means: Vec<f64> = (0..RESAMPLES).map(|_| mean()).collect();
        means.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| means[((RESAMPLES - 1) as f64 * share).round() as usize];
        Self { mean: runs.iter().sum::<f64>() / n as f64, low: at(0.025), high: at(0.975) }
    }
}

/// L2 norm of what folding a row and writing it back loses, over that of the row; 0 of a row of zeros.
pub fn round_trip_error<T: Real>(row: &[T]) -> f64 {
    let mut back = vec![0.0; row.len()];
    Base17::encode(row).hydrate(&mut back);
    let (mut error, mut norm) = (0.0, 0.0);
    for (x, back) in row.iter().zip(back) {
        let x = x.to_f64();
        (error, norm) = (error + (x - f64::from(back)).powi(2), norm + x * x);
    }
    if norm == 0.0 { 0.0 } else { (error / norm).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: [f64; 5], p: Projection) -> f64 {
        all[Projection::ALL.iter().position(|&x| x == p).unwrap()]
    }

    /// The figures that the tests of the original print.
    #[test]
    fn the_figures_of_the_original_are_found_again() {
        let all = rhos(&sine_rows(50, 256), 0);
        assert!((of(all, Projection::GoldenStep) - 0.9244).abs() < 5e-5, "{all:?}");
        assert!((of(all, Projection::Sines) - 0.9169).abs() < 5e-5, "{all:?}");
    }

    /// Of independent values, 17 of 256 dims' worth of distance is kept: a correlation near the root of 17 / 256.
    #[test]
    fn gaussian_rows_keep_little_of_their_order() {
        let runs: Vec<_> = (0..8).map(|seed| rhos(&gaussian_rows(50, 256, seed), 100 + seed)).collect();
        let expected = (17.0_f64 / 256.0).sqrt();
        for p in [Projection::GoldenStep, Projection::Random] {
            let mean = runs.iter().map(|&r| of(r, p)).sum::<f64>() / 8.0;
            assert!((mean - expected).abs() < 0.06, "{p}: {mean}");
        }
    }

    #[test]
    fn the_golden_step_is_the_plain_stride() {
        for width in [1, 17, 100, 256] {
            let rows = gaussian_rows(12, width, 3);
            let [golden, plain] = [Projection::GoldenStep, Projection::MeanStride].map(|p| p.distances(&rows, 0));
            assert!(golden.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-12), "{width}");
        }
    }

    #[test]
    fn distances_are_of_all_pairs() {
        let rows = Rows { width: 2, values: vec![0.0, 0.0, 3.0, 4.0, 0.0, 1.0] };
        assert_eq!(l2_distances(&rows), [5.0, 1.0, 18.0_f64.sqrt()]);
        let none = Rows { width: 0, values: vec![] };
        assert!(none.is_empty() && l2_distances(&none).is_empty());
        assert!(Projection::ALL.iter().all(|p| p.distances(&none, 0).is_empty()));
    }

    #[test]
    fn a_draw_has_no_row_twice_and_depends_on_the_seed() {
        let rows = Rows { width: 1, values: (0..50).map(f64::from).collect() };
        let mut drawn = rows.draw(20, 1).values;
        assert_ne!(drawn, rows.draw(20, 2).values);
        drawn.sort_unstable_by(f64::total_cmp);
        drawn.dedup();
        assert_eq!(drawn.len(), 20);
        assert_eq!(rows.draw(99, 1).len(), 50);
    }

    /// About as wide as the interval of a normal distribution, and around the mean.
    #[test]
    fn intervals_are_those_of_a_mean() {
        let mut random = SplitMix64::new(5);
        let runs: Vec<f64> = (0..400).map(|_| 2.0 + random.normal()).collect();
        let i = Interval::bootstrap(&runs, 0);
        assert!(i.low < i.mean && i.mean < i.high && (i.mean - 2.0).abs() < 0.2, "{i:?}");
        assert!((i.high - i.low - 2.0 * 1.96 / 20.0).abs() < 0.03, "{i:?}");
        assert_eq!(Interval::bootstrap(&[0.5; 3], 0), Interval { mean: 0.5, low: 0.5, high: 0.5 });
        assert!(Interval::bootstrap(&[], 0).mean.is_nan() && Interval::bootstrap(&[f64::NAN], 0).low.is_nan());
    }

    #[test]
    fn what_has_17_values_survives_a_round_trip() {
        let codes: Vec<f64> = (0..17).map(|i| f64::from(i) / 256.0).collect();
        assert_eq!(round_trip_error(&codes.repeat(10)), 0.0);
        assert_eq!(round_trip_error(&[0.0_f32; 40]), 0.0);
        let alternating: Vec<f64> = (0..34 * 10).map(|i| if i % 34 < 17 { 1.0 } else { -1.0 }).collect();
        assert!((round_trip_error(&alternating) - 1.0).abs() < 1e-12);
    }
}
