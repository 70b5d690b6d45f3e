//! Product tables: keys as codes of subspaces, an exact query as a row of lookups.

use super::eigen::spectral_map;
use super::encoder::Encoder;
use super::error::{TableError, check_len};
use super::kmeans::{KMeans, Weight};
use super::rotary::Rotary;
use rayon::prelude::*;

/// Keys that one task encodes.
const ROWS: usize = 64;

/// How the error of a coded key is weighted in a [`ProductTable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weighting {
    /// Every dim alike.
    Plain,
    /// Each dim by its mean squared query value, log-compressed.
    Diagonal,
    /// By the second moment matrix of the queries within a subspace, its eigenvalues log-compressed.
    #[default]
    Full,
}

/// The options of a [`ProductTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductOptions {
    /// Subspaces: codes of a key.
    pub subspaces: usize,
    /// Entries of the codebook of each: 16, 128 or 256.
    pub entries: usize,
    /// Dims that must not be parted.
    pub rotary: Rotary,
    /// Weight of the coding error.
    pub weighting: Weighting,
    /// Seed of the codebooks.
    pub seed: u64,
}

impl Default for ProductOptions {
    /// 8 subspaces of 256 entries, no rotary pairs.
    fn default() -> Self {
        Self { subspaces: 8, entries: 256, rotary: Rotary::None, weighting: Weighting::default(), seed: 0 }
    }
}

/// The parts of a [`ProductTable`] that are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductParts {
    /// Entries of a codebook, `C`: 16, 128 or 256.
    pub entries: usize,
    /// Subspaces, `M`; divides `d_head`.
    pub subspaces: usize,
    /// Dims that are not parted.
    pub rotary: Rotary,
    /// Place `p` of a permuted row holds dim `permutation[p]`; `[d_head]`.
    pub permutation: Vec<u32>,
    /// Subtracted from keys before they are coded; `[d_head]`, not permuted.
    pub mean: Vec<f32>,
    /// `[M, C, d_head / M]`, permuted, of centred keys.
    pub codebook: Vec<f32>,
    /// Weight of the coding error, `[M, d_head / M, d_head / M]`, permuted.
    pub metric: Vec<f32>,
}

/// Keys coded by the nearest codebook entry in each of `M` subspaces; scores of an exact query by lookups.
///
/// A score is `q . (k - mean)` up to the coding error: less than `q . k` by [`offset`](Self::offset), the same for all
/// keys of a query, which softmax cannot see.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductTable {
    parts: ProductParts,
    encoders: Vec<Encoder>,
}

impl ProductTable {
    /// Learns codebooks from rows of queries and keys, `[n, d_head]` each, of any numbers of rows.
    ///
    /// # Errors
    /// If `d_head` cannot be cut as asked, rows are fewer than entries, or not finite.
    pub fn learn(queries: &[f32], keys: &[f32], d_head: usize, how: &ProductOptions) -> Result<Self, TableError> {
        let permutation = how.rotary.permutation(d_head, how.subspaces)?;
        check_entries(how.entries)?;
        for rows in [queries, keys] {
            check_len("a set of rows", rows.len(), rows.len() / d_head * d_head)?;
        }
        let n = keys.len() / d_head;
        if n < how.entries || queries.is_empty() {
            return Err(TableError::TooFewRows { given: n.min(queries.len() / d_head), needed: how.entries });
        }
        if !keys.iter().chain(queries).all(|x| x.is_finite()) {
            return Err(TableError::NotFinite("rows to learn from"));
        }
        let mean = row_mean(keys, d_head);
        let d_sub = d_head / how.subspaces;
        let power = queries.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / queries.len() as f64;
        let learned: Vec<(Vec<f32>, Vec<f32>)> = (0..how.subspaces)
            .into_par_iter()
            .map(|m| {
                let dims = &permutation[m * d_sub..][..d_sub];
                let metric = metric(queries, d_head, dims, power, how.weighting);
                let rows: Vec<f32> = keys
                    .chunks_exact(d_head)
                    .flat_map(|k| dims.iter().map(|&i| k[i as usize] - mean[i as usize]))
                    .collect();
                let kmeans = KMeans::new(how.entries, how.seed.wrapping_add(m as u64));
                let found = kmeans.run(&rows, d_sub, Weight::Full(&metric))?;
                Ok((found.centroids, metric))
            })
            .collect::<Result<_, TableError>>()?;
        let (codebook, metric): (Vec<_>, Vec<_>) = learned.into_iter().unzip();
        Self::from_parts(ProductParts {
            entries: how.entries,
            subspaces: how.subspaces,
            rotary: how.rotary,
            permutation,
            mean,
            codebook: codebook.concat(),
            metric: metric.concat(),
        })
    }

    /// A table of known parts.
    ///
    /// # Errors
    /// If sizes do not fit each other, a value is not finite, or the permutation is none that keeps pairs.
    pub fn from_parts(parts: ProductParts) -> Result<Self, TableError> {
        let (d_head, subspaces) = (parts.permutation.len(), parts.subspaces);
        let pairs = parts.rotary != Rotary::None;
        let shape = || TableError::Subspaces { d_head, subspaces, pairs };
        parts.rotary.permutation(d_head, subspaces)?;
        check_entries(parts.entries)?;
        if !parts.rotary.allows(&parts.permutation) {
            return Err(TableError::Permutation);
        }
        let d_sub = d_head / subspaces;
        check_len("the key mean", parts.mean.len(), d_head)?;
        check_len("the codebook", parts.codebook.len(), d_head.checked_mul(parts.entries).ok_or_else(shape)?)?;
        check_len("the metric", parts.metric.len(), d_head.checked_mul(d_sub).ok_or_else(shape)?)?;
        for (what, values) in [("key mean", &parts.mean), ("codebook", &parts.codebook), ("metric", &parts.metric)] {
            if !values.iter().all(|x| x.is_finite()) {
                return Err(TableError::NotFinite(what));
            }
        }
        let books = parts.codebook.chunks_exact(parts.entries * d_sub);
        let metrics = parts.metric.chunks_exact(d_sub * d_sub);
        let encoders: Vec<Encoder> = books.zip(metrics).map(|(b, m)| Encoder::new(b, d_sub, Some(m))).collect();
        if !encoders.iter().all(Encoder::is_finite) {
            return Err(TableError::NotFinite("codebook under its metric"));
        }
        Ok(Self { parts, encoders })
    }

    /// Its stored parts.
    pub fn parts(&self) -> &ProductParts {
        &self.parts
    }

    /// Dims of a head.
    pub fn d_head(&self) -> usize {
        self.parts.permutation.len()
    }

    /// Subspaces, `M`: codes of a key.
    pub fn subspaces(&self) -> usize {
        self.parts.subspaces
    }

    /// Entries of each codebook, `C`.
    pub fn entries(&self) -> usize {
        self.parts.entries
    }

    /// The encoders that find the code of a centred, permuted key in each subspace; `[M]`.
    pub fn encoders(&self) -> &[Encoder] {
        &self.encoders
    }

    fn d_sub(&self) -> usize {
        self.d_head() / self.subspaces()
    }

    /// Codes `keys`, `[n, d_head]`, into `codes`, `[n, M]`. A key with a NaN gets code 0 in that subspace.
    ///
    /// # Errors
    /// If the sizes do not fit each other.
    pub fn encode(&self, keys: &[f32], codes: &mut [u8]) -> Result<(), TableError> {
        let (d, m, d_sub) = (self.d_head(), self.subspaces(), self.d_sub());
        check_len("a set of keys", keys.len(), keys.len() / d * d)?;
        check_len("the codes", codes.len(), keys.len() / d * m)?;
        codes.par_chunks_mut(ROWS * m).zip(keys.par_chunks(ROWS * d)).for_each_init(
            || vec![0.0; self.entries()],
            |sums, (codes, keys)| {
                for (codes, key) in codes.chunks_exact_mut(m).zip(keys.chunks_exact(d)) {
                    let dims = self.parts.permutation.chunks_exact(d_sub);
                    for ((code, encoder), dims) in codes.iter_mut().zip(&self.encoders).zip(dims) {
                        let centred = dims.iter().map(|&i| key[i as usize] - self.parts.mean[i as usize]);
                        *code = encoder.nearest(centred, sums);
                    }
                }
            },
        );
        Ok(())
    }

    /// Writes the score of the query `q`, `[d_head]`, with every codebook entry to `row`, `[M, C]`.
    ///
    /// # Errors
    /// If the sizes are others.
    pub fn lookup_row(&self, q: &[f32], row: &mut [f32]) -> Result<(), TableError> {
        let (c, d_sub) = (self.entries(), self.d_sub());
        check_len("the query", q.len(), self.d_head())?;
        check_len("the lookup row", row.len(), self.subspaces() * c)?;
        let dims = self.parts.permutation.chunks_exact(d_sub);
        for ((row, book), dims) in row.chunks_exact_mut(c).zip(self.parts.codebook.chunks_exact(c * d_sub)).zip(dims) {
            for (to, entry) in row.iter_mut().zip(book.chunks_exact(d_sub)) {
                *to = dims.iter().zip(entry).map(|(&i, x)| q[i as usize] * x).sum();
            }
        }
        Ok(())
    }

    /// Sums lookups of `row`, `[M, C]`, by `codes`, `[n, M]`, into `out`, `[n]`: the reference of the scan kernels.
    /// Of a code, the bits that count are those that `C` takes.
    ///
    /// # Errors
    /// If the sizes do not fit each other.
    pub fn scores(&self, row: &[f32], codes: &[u8], out: &mut [f32]) -> Result<(), TableError> {
        let (m, c) = (self.subspaces(), self.entries());
        check_len("the lookup row", row.len(), m * c)?;
        check_len("the codes", codes.len(), out.len().saturating_mul(m))?;
        for (out, codes) in out.iter_mut().zip(codes.chunks_exact(m)) {
            *out = row.chunks_exact(c).zip(codes).map(|(row, &code)| row[usize::from(code) & (c - 1)]).sum();
        }
        Ok(())
    }

    /// `q . mean`: what `q . k` has over the score of a query `q`, `[d_head]`.
    ///
    /// # Errors
    /// If `q` has another size.
    pub fn offset(&self, q: &[f32]) -> Result<f32, TableError> {
        check_len("the query", q.len(), self.d_head())?;
        Ok(q.iter().zip(&self.parts.mean).map(|(a, b)| a * b).sum())
    }

    /// Writes the centred rows that `codes`, `[n, M]`, stand for to `rows`, `[n, d_head]`, not permuted.
    ///
    /// # Errors
    /// If the sizes do not fit each other.
    pub fn decode(&self, codes: &[u8], rows: &mut [f32]) -> Result<(), TableError> {
        let (d, m, c, d_sub) = (self.d_head(), self.subspaces(), self.entries(), self.d_sub());
        check_len("a set of rows", rows.len(), rows.len() / d * d)?;
        check_len("the codes", codes.len(), rows.len() / d * m)?;
        for (codes, row) in codes.chunks_exact(m).zip(rows.chunks_exact_mut(d)) {
            for (p, &dim) in self.parts.permutation.iter().enumerate() {
                let (s, j) = (p / d_sub, p % d_sub);
                let code = usize::from(codes[s]) & (c - 1);
                row[dim as usize] = self.parts.codebook[(s * c + code) * d_sub + j];
            }
        }
        Ok(())
    }
}

fn check_entries(entries: usize) -> Result<(), TableError> {
    if matches!(entries, 16 | 128 | 256) { Ok(()) } else { Err(TableError::Entries(entries)) }
}

/// The mean of `rows`, `[n, dim]` with `n > 0`.
pub(super) fn row_mean(rows: &[f32], dim: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; dim];
    for row in rows.chunks_exact(dim) {
        sums.iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x));
    }
    let n = (rows.len() / dim) as f64;
    sums.into_iter().map(|s| (s / n) as f32).collect()
}

/// The weight of key errors in the subspace of `dims`: the second moment of `queries`, each eigenvalue `l` as
/// `ln(1 + l / power)`, where `power` is the mean over the whole head. The raw moment would let a few query directions
/// take the whole codebook.
fn metric(queries: &[f32], d_head: usize, dims: &[u32], power: f64, weighting: Weighting) -> Vec<f32> {
    // Directions without queries here may have some elsewhere.
    const FLOOR: f64 = 0.01;
    let n = dims.len();
    let compress = |l: f64| (l.max(0.0) / power).ln_1p() + FLOOR;
    let mut moment = vec![0.0_f64; n * n];
    if weighting == Weighting::Plain || power <= 0.0 {
        moment.iter_mut().step_by(n + 1).for_each(|x| *x = 1.0);
        return moment.into_iter().map(|x| x as f32).collect();
    }
    for q in queries.chunks_exact(d_head) {
        for (a, &i) in dims.iter().enumerate() {
            for (b, &j) in dims.iter().enumerate() {
                moment[a * n + b] += f64::from(q[i as usize]) * f64::from(q[j as usize]);
            }
        }
    }
    let rows = (queries.len() / d_head) as f64;
    moment.iter_mut().for_each(|x| *x /= rows);
    let compressed = match weighting {
        Weighting::Full => spectral_map(&moment, n, compress),
        _ => (0..n * n).map(|i| if i % (n + 1) == 0 { compress(moment[i]) } else { 0.0 }).collect(),
    };
    compressed.into_iter().map(|x| x as f32).collect()
}
