//! A table that attention can take its scores from, with what is known of it.

use super::error::TableError;
use super::fidelity::Fidelity;
use super::lookup::ByteRow;
use super::measure::{self, RefineSearch};
use super::palette::{PALETTE, PaletteTable};
use super::product::{ProductOptions, ProductTable};
use super::refine::Refined;
use super::samples::{RowScores, Samples, Window, gather};

/// Where a table is from and how good it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The attention it was made for, as the graph names it; `None` if it serves a head dimension.
    pub site: Option<String>,
    /// The fidelity of attention with it, on data held out from making it, if all scores are its.
    pub fidelity: Fidelity,
    /// The fidelity of attention with scores from 8-bit rows, on the same data.
    pub int8: Fidelity,
    /// How it chooses keys to be scored exactly, if it is to be used so.
    pub refined: Option<Refined>,
    /// Errors head by head.
    pub heads: Vec<HeadErrors>,
    /// Hash of the samples it was made of and measured on.
    pub samples: u64,
}

/// L2 norms of the error of the attention output of one head over that of the output.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadErrors {
    /// Its name in the samples.
    pub head: String,
    /// With all scores from the table.
    pub table: f64,
    /// With scores from 8-bit rows.
    pub int8: f64,
    /// With refinement, if there is one.
    pub refined: Option<f64>,
}

/// A compiled approximation of `q . k` for heads of one dimension.
#[derive(Clone, Debug, PartialEq)]
pub enum AttentionTable {
    /// Both sides coded by a palette; one lookup a score.
    Palette(PaletteTable, Record),
    /// Keys coded in subspaces, queries exact; a lookup a subspace.
    Product(ProductTable, Record),
}

/// The kind of table to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// [`AttentionTable::Palette`].
    Palette {
        /// Seed of the palettes.
        seed: u64,
    },
    /// [`AttentionTable::Product`]; of one subspace, a palette for keys with exact queries.
    Product(ProductOptions),
}

/// How to build a table.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildOptions {
    /// The kind.
    pub method: Method,
    /// The attention it is for, as the graph names it; `None` for all of its head dimension.
    pub site: Option<String>,
    /// Share of the windows of each head that it is measured on and does not see before.
    pub held_out: f64,
    /// Queries and keys, each, to learn from at most.
    pub max_rows: usize,
    /// The bounds that a refinement has to keep to be recorded; `None` for no refinement.
    pub refine: Option<RefineSearch>,
}

impl Default for BuildOptions {
    /// A product table of 8 subspaces; a quarter held out; 32768 rows; refined.
    fn default() -> Self {
        let method = Method::Product(ProductOptions::default());
        Self { method, site: None, held_out: 0.25, max_rows: 32_768, refine: Some(RefineSearch::default()) }
    }
}

impl AttentionTable {
    /// Learns a table from one part of `samples` and measures it on the other.
    ///
    /// # Errors
    /// If the samples are too few, malformed or not finite, or `d_head` cannot be cut as asked.
    pub fn build(samples: &Samples, options: &BuildOptions) -> Result<Self, TableError> {
        samples.check()?;
        let split = samples.split(options.held_out)?;
        let d = samples.d_head;
        let queries = gather(&split.train, |w| &w.q, d, options.max_rows);
        let keys = gather(&split.train, |w| &w.k, d, options.max_rows);
        let record = Record { site: options.site.clone(), samples: samples.hash(), ..Record::default() };
        let mut table = match &options.method {
            Method::Palette { seed } => Self::Palette(PaletteTable::learn(&queries, &keys, d, *seed)?, record),
            Method::Product(how) => Self::Product(ProductTable::learn(&queries, &keys, d, how)?, record),
        };
        measure::record(&mut table, samples, &split.held_out, options.refine.as_ref())?;
        Ok(table)
    }

    /// Where it is from and how good it is.
    pub fn record(&self) -> &Record {
        match self {
            Self::Palette(_, record) | Self::Product(_, record) => record,
        }
    }

    pub(super) fn record_mut(&mut self) -> &mut Record {
        match self {
            Self::Palette(_, record) | Self::Product(_, record) => record,
        }
    }

    /// Dims of a head.
    pub fn d_head(&self) -> usize {
        match self {
            Self::Palette(t, _) => t.d_head(),
            Self::Product(t, _) => t.d_head(),
        }
    }

    /// Bytes of a coded key where kernels keep it: half a byte a code of 16 entries, else a byte.
    pub fn bytes_per_key(&self) -> usize {
        match self {
            Self::Product(t, _) if t.entries() == 16 => t.subspaces().div_ceil(2),
            _ => self.codes_per_key(),
        }
    }

    /// Codes of a key, a byte each.
    pub fn codes_per_key(&self) -> usize {
        match self {
            Self::Palette(..) => 1,
            Self::Product(t, _) => t.subspaces(),
        }
    }

    /// Relative L2 error of the attention output of the worst head, with refinement if there is one: what a caller's
    /// bound is compared with.
    pub fn worst_error(&self) -> f64 {
        let record = self.record();
        record.refined.as_ref().map_or(record.fidelity.output_error.worst, |r| r.fidelity.output_error.worst)
    }

    /// The mean that is subtracted from keys before they are coded; `[d_head]`.
    pub fn key_mean(&self) -> &[f32] {
        match self {
            Self::Palette(t, _) => &t.parts().mean,
            Self::Product(t, _) => &t.parts().mean,
        }
    }

    /// The fidelity of attention with it, on data held out from making it.
    pub fn fidelity(&self) -> &Fidelity {
        &self.record().fidelity
    }

    /// The attention it was made for, as the graph names it; `None` if it serves a head dimension.
    pub fn site(&self) -> Option<&str> {
        self.record().site.as_deref()
    }

    /// Values of a lookup row: [`codes_per_key`](Self::codes_per_key) times the entries of a codebook.
    pub fn lookup_len(&self) -> usize {
        match self {
            Self::Palette(..) => PALETTE,
            Self::Product(t, _) => t.subspaces() * t.entries(),
        }
    }

    /// Codes `keys`, `[n, d_head]`, into `codes`, `[n, codes_per_key]`.
    ///
    /// # Errors
    /// If the sizes do not fit each other.
    pub fn encode(&self, keys: &[f32], codes: &mut [u8]) -> Result<(), TableError> {
        match self {
            Self::Palette(t, _) => t.encode(keys, codes),
            Self::Product(t, _) => t.encode(keys, codes),
        }
    }

    /// Writes what the query `q`, `[d_head]`, scores with each entry to `row`, `[lookup_len]`.
    ///
    /// # Errors
    /// If the sizes are others.
    pub fn lookup_row(&self, q: &[f32], row: &mut [f32]) -> Result<(), TableError> {
        match self {
            Self::Palette(t, _) => t.lookup_row(q, row),
            Self::Product(t, _) => t.lookup_row(q, row),
        }
    }

    /// Scores by lookups of `row` for `codes`, `[n, codes_per_key]`, into `out`, `[n]`: unscaled `q . k`, less the
    /// same number for all keys of a query.
    ///
    /// # Errors
    /// If the sizes do not fit each other.
    pub fn scores(&self, row: &[f32], codes: &[u8], out: &mut [f32]) -> Result<(), TableError> {
        match self {
            Self::Palette(..) => {
                super::error::check_len("the lookup row", row.len(), PALETTE)?;
                super::error::check_len("the codes", codes.len(), out.len())?;
                out.iter_mut().zip(codes).for_each(|(o, &c)| *o = row[usize::from(c)]);
                Ok(())
            }
            Self::Product(t, _) => t.scores(row, codes, out),
        }
    }

    /// Its scores of a window, keys coded once: as kernels compute them, by a lookup row in bytes.
    ///
    /// # Errors
    /// If the window is of another head dimension.
    pub fn window_scores<'a>(&'a self, window: &'a Window) -> Result<RowScores<'a>, TableError> {
        let d = self.d_head();
        let mut codes = vec![0; window.k.len() / d * self.codes_per_key()];
        self.encode(&window.k, &mut codes)?;
        Ok(Box::new(move |i, out| {
            let mut row = vec![0.0; self.lookup_len()];
            let query = window.q.get(i * d..(i + 1) * d).unwrap_or_default();
            let done = self.lookup_row(query, &mut row).and_then(|()| match self {
                Self::Palette(..) => self.scores(&row, &codes, out),
                Self::Product(t, _) => {
                    let row = ByteRow::new(&row, t.entries());
                    let scores = codes.chunks_exact(t.subspaces()).map(|codes| row.score(row.sum(codes)));
                    out.iter_mut().zip(scores).for_each(|(o, s)| *o = s);
                    Ok(())
                }
            });
            if done.is_err() {
                // Shows in every figure.
                out.fill(f32::NAN);
            }
        }))
    }
}
