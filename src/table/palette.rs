//! One compiled table of dot products of palette rows: both sides coded, a byte each.

use super::encoder::Encoder;
use super::error::{TableError, check_len};
use super::kmeans::{KMeans, Weight};
use super::product::row_mean;
use rayon::prelude::*;

/// Rows of a palette.
pub const PALETTE: usize = 256;

/// The parts of a [`PaletteTable`] that are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct PaletteParts {
    /// Dims of a head.
    pub d_head: usize,
    /// Subtracted from keys before they are coded; `[d_head]`.
    pub mean: Vec<f32>,
    /// Rows that queries are coded by, `[256, d_head]`.
    pub queries: Vec<f32>,
    /// Rows that centred keys are coded by, `[256, d_head]`.
    pub keys: Vec<f32>,
    /// `(q . k - offset) / scale` of every pair of rows, `[256, 256]`, one row a query's.
    pub table: Vec<u16>,
    /// One unit of the table.
    pub scale: f32,
    /// The number that a zero in the table stands for.
    pub offset: f32,
}

/// 256 x 256 dot products: queries and keys are coded by the nearest row of a palette each, and a score is one lookup.
///
/// Weighting the palettes by second moments made the scores of real attention worse, so the nearest row is the
/// Euclidean one.
#[derive(Clone, Debug, PartialEq)]
pub struct PaletteTable {
    parts: PaletteParts,
    query: Encoder,
    key: Encoder,
}

impl PaletteTable {
    /// Learns both palettes from rows of queries and keys, `[n, d_head]` each, and compiles the table.
    ///
    /// # Errors
    /// If rows are fewer than 256, or not finite.
    pub fn learn(queries: &[f32], keys: &[f32], d_head: usize, seed: u64) -> Result<Self, TableError> {
        if d_head == 0 {
            return Err(TableError::Subspaces { d_head, subspaces: 1, pairs: false });
        }
        for rows in [queries, keys] {
            check_len("a set of rows", rows.len(), rows.len() / d_head * d_head)?;
            if rows.len() / d_head < PALETTE {
                return Err(TableError::TooFewRows { given: rows.len() / d_head, needed: PALETTE });
            }
        }
        if !keys.iter().chain(queries).all(|x| x.is_finite()) {
            return Err(TableError::NotFinite("rows to learn from"));
        }
        let mean = row_mean(keys, d_head);
        let centred: Vec<f32> =
            keys.chunks_exact(d_head).flat_map(|k| k.iter().zip(&mean).map(|(k, m)| k - m)).collect();
        let palette = |rows: &[f32], seed| KMeans::new(PALETTE, seed).run(rows, d_head, Weight::Identity);
        let queries = palette(queries, seed)?.centroids;
        let keys = palette(&centred, seed.wrapping_add(1))?.centroids;
        let dot = |q: &[f32], k: &[f32]| q.iter().zip(k).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let (queries_ref, keys_ref) = (&queries, &keys);
        let scores: Vec<f64> = queries_ref
            .chunks_exact(d_head)
            .flat_map(|q| keys_ref.chunks_exact(d_head).map(move |k| dot(q, k)))
            .collect();
        let (table, scale, offset) = compile(&scores);
        Self::from_parts(PaletteParts { d_head, mean, queries, keys, table, scale, offset })
    }

    /// A table of known parts.
    ///
    /// # Errors
    /// If sizes do not fit each other, or a value is not finite.
    pub fn from_parts(parts: PaletteParts) -> Result<Self, TableError> {
        let d = parts.d_head;
        let bad = TableError::Subspaces { d_head: d, subspaces: 1, pairs: false };
        if d == 0 {
            return Err(bad);
        }
        let len = d.checked_mul(PALETTE).ok_or(bad)?;
        check_len("the key mean", parts.mean.len(), d)?;
        check_len("the query palette", parts.queries.len(), len)?;
        check_len("the key palette", parts.keys.len(), len)?;
        check_len("the table", parts.table.len(), PALETTE * PALETTE)?;
        let lists = [("key mean", &parts.mean), ("query palette", &parts.queries), ("key palette", &parts.keys)];
        for (what, values) in lists {
            if !values.iter().all(|x| x.is_finite()) {
                return Err(TableError::NotFinite(what));
            }
        }
        let top = parts.scale * f32::from(u16::MAX) + parts.offset;
        if !(parts.scale >= 0.0 && parts.offset.is_finite() && top.is_finite()) {
            return Err(TableError::NotFinite("scale or offset"));
        }
        let query = Encoder::new(&parts.queries, d, None);
        let key = Encoder::new(&parts.keys, d, None);
        if !query.is_finite() || !key.is_finite() {
            return Err(TableError::NotFinite("palette"));
        }
        Ok(Self { parts, query, key })
    }

    /// Its stored parts.
    pub fn parts(&self) -> &PaletteParts {
        &self.parts
    }

    /// Dims of a head.
    pub fn d_head(&self) -> usize {
        self.parts.d_head
    }

    /// The encoder that finds the code of a query.
    pub fn query_encoder(&self) -> &Encoder {
        &self.query
    }

    /// The encoder that finds the code of a centred key.
    pub fn key_encoder(&self) -> &Encoder {
        &self.key
    }

    /// Codes `keys`, `[n, d_head]`, into `codes`, `[n]`. A key with a NaN gets code 0.
    ///
    /// # Errors
    /// If the sizes do not fit each other.
    pub fn encode(&self, keys: &[f32], codes: &mut [u8]) -> Result<(), TableError> {
        self.encode_rows("a set of keys", &self.key, Some(&self.parts.mean), keys, codes)
    }

    /// Codes `queries`, `[n, d_head]`, into `codes`, `[n]`. A query with a NaN gets code 0.
    ///
    /// # Errors
    /// If the sizes do not fit each other.
    pub fn encode_queries(&self, queries: &[f32], codes: &mut [u8]) -> Result<(), TableError> {
        self.encode_rows("a set of queries", &self.query, None, queries, codes)
    }

    fn encode_rows(
        &self,
        what: &'static str,
        encoder: &Encoder,
        mean: Option<&[f32]>,
        rows: &[f32],
        codes: &mut [u8],
    ) -> Result<(), TableError> {
        let d = self.d_head();
        check_len(what, rows.len(), rows.len() / d * d)?;
        check_len("the codes", codes.len(), rows.len() / d)?;
        codes.par_iter_mut().zip(rows.par_chunks(d)).with_min_len(64).for_each_init(
            || vec![0.0; PALETTE],
            |sums, (code, row)| {
                let value = |(i, x): (usize, &f32)| x - mean.map_or(0.0, |m| m[i]);
                *code = encoder.nearest(row.iter().enumerate().map(value), sums);
            },
        );
        Ok(())
    }

    /// The score of a coded query with a coded key: `q . (k - mean)`, up to the error of both codes.
    pub fn score(&self, query: u8, key: u8) -> f32 {
        self.parts.scale * f32::from(self.parts.table[usize::from(query) * PALETTE + usize::from(key)])
            + self.parts.offset
    }

    /// Writes the scores of the query `q`, `[d_head]`, with every key of the palette to `row`, `[256]`.
    ///
    /// # Errors
    /// If the sizes are others.
    pub fn lookup_row(&self, q: &[f32], row: &mut [f32]) -> Result<(), TableError> {
        check_len("the lookup row", row.len(), PALETTE)?;
        check_len("the query", q.len(), self.d_head())?;
        let mut code = [0];
        self.encode_queries(q, &mut code)?;
        for (k, to) in (0..=u8::MAX).zip(row) {
            *to = self.score(code[0], k);
        }
        Ok(())
    }
}

/// Scores as u16 over their whole range, with scale and offset.
pub(super) fn compile(scores: &[f64]) -> (Vec<u16>, f32, f32) {
    let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scale = (high - low) / f64::from(u16::MAX);
    let unit = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    // The cast saturates.
    let table = scores.iter().map(|s| ((s - low) * unit).round() as u16).collect();
    (table, scale as f32, low as f32)
}
