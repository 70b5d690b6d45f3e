//! The method that tables of dot products are compared with: L1 distances of Base17 codes.

use super::base17::{Base17, MEANS};
use super::error::{TableError, check_len};
use super::kmeans::{KMeans, Weight};
use super::palette::{PALETTE, compile};

/// A palette of 256 [`Base17`] codes, and the L1 distances between them as scores.
///
/// Kept as a baseline only: a distance of folded means has little to do with `q . k`, of which it is made the best
/// affine function.
#[derive(Clone, Debug, PartialEq)]
pub struct DistancePalette {
    palette: Vec<Base17>,
    table: Vec<u16>,
    scale: f32,
    offset: f32,
}

impl DistancePalette {
    /// Learns the palette from rows `[n, d_head]` of queries and keys together, and the affine function from pairs of
    /// them.
    ///
    /// # Errors
    /// If rows are fewer than 256, or no rows of `d_head`.
    pub fn learn(queries: &[f32], keys: &[f32], d_head: usize, seed: u64) -> Result<Self, TableError> {
        let d = d_head.max(1);
        let n = queries.len().min(keys.len()) / d;
        if n < PALETTE {
            return Err(TableError::TooFewRows { given: n, needed: PALETTE });
        }
        Self::of_rows(queries, keys, d, seed)?.fitted(queries, keys, d)
    }

    /// Learns the palette from any rows, `[n, width]`, of two kinds together. Scores are distances, in units of 1/256.
    ///
    /// # Errors
    /// If there are none, or they are no rows of `width`.
    pub fn of_rows(queries: &[f32], keys: &[f32], width: usize, seed: u64) -> Result<Self, TableError> {
        let width = width.max(1);
        for rows in [queries, keys] {
            check_len("a set of rows", rows.len(), rows.len() / width * width)?;
        }
        let codes = queries.chunks_exact(width).chain(keys.chunks_exact(width)).map(Base17::encode);
        let points: Vec<f32> = codes.flat_map(|c| c.0.map(f32::from)).collect();
        let found = KMeans::new(PALETTE, seed).run(&points, MEANS, Weight::Identity)?;
        // A centroid of codes lies in their range.
        let code = |c: &[f32]| Base17(std::array::from_fn(|i| c[i].round_ties_even() as i16));
        let palette: Vec<Base17> = found.centroids.chunks_exact(MEANS).map(code).collect();
        let distances: Vec<f64> =
            palette.iter().flat_map(|a| palette.iter().map(|b| f64::from(a.distance(b)))).collect();
        let (table, scale, offset) = compile(&distances);
        Ok(Self { palette, table, scale, offset })
    }

    /// The same palette, with the affine function of distances that is nearest to `q . k` of rows `[n, d_head]`. These
    /// can be of another width than those it was learned from, as codes of all widths are alike.
    ///
    /// # Errors
    /// If there are none, or they are no rows of `d_head`.
    pub fn fitted(mut self, queries: &[f32], keys: &[f32], d_head: usize) -> Result<Self, TableError> {
        let d = d_head.max(1);
        for rows in [queries, keys] {
            check_len("a set of rows", rows.len(), rows.len() / d * d)?;
        }
        let n = queries.len().min(keys.len()) / d;
        if n == 0 {
            return Err(TableError::TooFewRows { given: n, needed: 1 });
        }
        let (slope, intercept) = self.fit(queries, keys, d, n);
        let offset = f64::from(self.offset) * slope + intercept;
        (self.scale, self.offset) = ((f64::from(self.scale) * slope) as f32, offset as f32);
        Ok(self)
    }

    /// Least squares of `q . k` over the distance, on pairs of rows spread over the `n` there are.
    fn fit(&self, queries: &[f32], keys: &[f32], d: usize, n: usize) -> (f64, f64) {
        let step = n.div_ceil(400);
        let row = |rows: &[f32], i: usize| rows[i * d..][..d].to_vec();
        let (mut count, mut sx, mut sy, mut sxx, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let rows: Vec<_> = (0..n).step_by(step).map(|i| (row(queries, i), row(keys, i))).collect();
        let coded: Vec<_> = rows.iter().map(|(q, k)| (self.encode_row(q), self.encode_row(k))).collect();
        for ((q, _), (qc, _)) in rows.iter().zip(&coded) {
            for ((_, k), (_, kc)) in rows.iter().zip(&coded) {
                let x = f64::from(self.score(*qc, *kc));
                let y: f64 = q.iter().zip(k).map(|(a, b)| f64::from(a * b)).sum();
                (count, sx, sy, sxx, sxy) = (count + 1.0, sx + x, sy + y, sxx + x * x, sxy + x * y);
            }
        }
        let variance = sxx - sx * sx / count;
        let slope = if variance > 0.0 { (sxy - sx * sy / count) / variance } else { 0.0 };
        (slope, (sy - slope * sx) / count)
    }

    /// The palette entry nearest to a row.
    pub fn encode_row(&self, row: &[f32]) -> u8 {
        let code = Base17::encode(row);
        let near = self.palette.iter().zip(0..=u8::MAX).min_by_key(|(p, i)| (p.distance(&code), *i));
        near.map_or(0, |(_, i)| i)
    }

    /// The score of two coded rows.
    pub fn score(&self, query: u8, key: u8) -> f32 {
        self.scale * f32::from(self.table[usize::from(query) * PALETTE + usize::from(key)]) + self.offset
    }
}
