//! Tables made of weights, of rows of the matrices that queries and keys come from, and how they serve.
//!
//! Such a table knows nothing of any input, and its distances are no dot products: it is here to be measured. A row of
//! `W_q` has as many values as the model is wide, a query as many as a head has dims; [`Base17`] makes 17 of both, so
//! that a palette of the one can code the other.

use super::attention_table::BuildOptions;
use super::base17::Base17;
use super::compare::distance_scores;
use super::distance_palette::DistancePalette;
use super::error::{TableError, check_len};
use super::fidelity::{Fidelity, spearman};
use super::samples::{Samples, gather};
use crate::gguf::{Gguf, GgufError, GgufTensor, Value};
use rayon::prelude::*;

/// Why a file has no heads whose weights can be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A metadata entry that says what heads there are is not there.
    #[error("no metadata entry {key:?}, so it is not known what heads there are: is it a language model's?")]
    NoEntry {
        /// Its key.
        key: String,
    },
    /// It is there and says nothing that can be used.
    #[error("the metadata entry {key:?} is no {expected}")]
    Entry {
        /// Its key.
        key: String,
        /// The kind of entry that is needed.
        expected: &'static str,
    },
    /// Heads that cannot share keys.
    #[error("layer {layer}: {heads} heads of queries cannot share {kv_heads} of keys")]
    Groups {
        /// The layer.
        layer: usize,
        /// Heads of queries.
        heads: usize,
        /// Heads of keys.
        kv_heads: usize,
    },
    /// No such layer.
    #[error("no layer {layer}: there are {layers}, from 0 on")]
    NoLayer {
        /// The layer that was asked for.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
    /// A matrix of another shape than the metadata says.
    #[error(
        "tensor {name:?} is {shape:?}; {heads} heads of {d_head} are a matrix of {} rows", heads.saturating_mul(*d_head)
    )]
    Shape {
        /// The matrix.
        name: String,
        /// Its shape, rows first.
        shape: Vec<usize>,
        /// Heads it should have.
        heads: usize,
        /// Rows of each.
        d_head: usize,
    },
    /// The matrices of queries and keys do not take the same input.
    #[error("layer {layer}: rows of {queries} values for queries and of {keys} for keys")]
    Widths {
        /// The layer.
        layer: usize,
        /// Values of a row of the one.
        queries: usize,
        /// And of the other.
        keys: usize,
    },
    /// A matrix is not there or cannot be read.
    #[error("layer {layer}: queries and keys each need a matrix, blk.{layer}.attn_q.weight and attn_k.weight")]
    Tensor {
        /// The layer.
        layer: usize,
        /// Why.
        source: GgufError,
    },
    /// There is no memory for the rows of a head.
    #[error("layer {layer}: no memory for {rows} rows of {width}")]
    Memory {
        /// The layer.
        layer: usize,
        /// Rows.
        rows: usize,
        /// Values of each.
        width: usize,
    },
}

/// The heads of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerHeads {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys; consecutive heads of queries share one.
    pub kv_heads: usize,
    /// Dims of a head: rows of its matrices.
    pub d_head: usize,
    /// Values of a row: the width of the model.
    pub width: usize,
}

impl LayerHeads {
    /// The head of keys that a head of queries uses.
    pub fn kv_head(&self, head: usize) -> usize {
        head / (self.heads / self.kv_heads.max(1)).max(1)
    }
}

/// The matrices `blk.{layer}.attn_q.weight` and `blk.{layer}.attn_k.weight` of a GGUF file, of any architecture that
/// has them, head by head.
#[derive(Clone, Debug)]
pub struct Projections<'a> {
    file: &'a Gguf,
    arch: &'a str,
    layers: usize,
}

impl<'a> Projections<'a> {
    /// Of a file. What heads there are is in its metadata: `{arch}.block_count`, `.attention.head_count`,
    /// `.attention.head_count_kv` (as many as of queries, if it is not there) and `.attention.key_length` (the share of
    /// a head in `.embedding_length`, if it is not there), where `arch` is `general.architecture`.
    ///
    /// # Errors
    /// If the metadata does not say how many layers there are, or of what architecture.
    pub fn new(file: &'a Gguf) -> Result<Self, WeightsError> {
        let key = "general.architecture".to_string();
        let arch = match file.metadata().get(&key) {
            None => return Err(WeightsError::NoEntry { key }),
            Some(value) => value.as_str().ok_or(WeightsError::Entry { key, expected: "text" })?,
        };
        let mut this = Self { file, arch, layers: 0 };
        this.layers = this.required("block_count", 0)?;
        Ok(this)
    }

    /// The architecture, as the file calls it.
    pub fn architecture(&self) -> &'a str {
        self.arch
    }

    /// How many layers there are.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// The heads of a layer; both its matrices are there and have the shapes for them.
    ///
    /// # Errors
    /// If the metadata or the matrices are not there, or do not fit each other.
    pub fn heads(&self, layer: usize) -> Result<LayerHeads, WeightsError> {
        if layer >= self.layers {
            return Err(WeightsError::NoLayer { layer, layers: self.layers });
        }
        let heads = self.required("attention.head_count", layer)?;
        let kv_heads = self.number("attention.head_count_kv", layer)?.unwrap_or(heads);
        if kv_heads == 0 || heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(WeightsError::Groups { layer, heads, kv_heads });
        }
        let d_head = match self.number("attention.key_length", layer)? {
            Some(n) => n,
            None => self.required("embedding_length", layer)? / heads,
        };
        let (q, k) = (self.tensor(layer, "attn_q")?, self.tensor(layer, "attn_k")?);
        for (tensor, heads) in [(q, heads), (k, kv_heads)] {
            let shape = tensor.shape();
            if shape.len() != 2 || d_head == 0 || tensor.is_empty() || Some(shape[0]) != heads.checked_mul(d_head) {
                return Err(WeightsError::Shape { name: tensor.name().into(), shape, heads, d_head });
            }
        }
        let (width, keys) = (q.row_len(), k.row_len());
        if width != keys {
            return Err(WeightsError::Widths { layer, queries: width, keys });
        }
        Ok(LayerHeads { heads, kv_heads, d_head, width })
    }

    /// The rows of `W_q` of a head, `[d_head, width]`.
    ///
    /// # Errors
    /// As [`heads`](Self::heads); if there is no such head, or the elements cannot be read.
    pub fn queries(&self, layer: usize, head: usize) -> Result<Vec<f32>, WeightsError> {
        self.rows(layer, "attn_q", head)
    }

    /// The rows of `W_k` of a head of keys, `[d_head, width]`.
    ///
    /// # Errors
    /// As [`queries`](Self::queries).
    pub fn keys(&self, layer: usize, kv_head: usize) -> Result<Vec<f32>, WeightsError> {
        self.rows(layer, "attn_k", kv_head)
    }

    fn rows(&self, layer: usize, kind: &str, head: usize) -> Result<Vec<f32>, WeightsError> {
        let LayerHeads { d_head, width, .. } = self.heads(layer)?;
        let tensor = self.tensor(layer, kind)?;
        let start = head.saturating_mul(d_head);
        let mut out = Vec::new();
        // The tensor has as many elements or more, so the product does not overflow.
        let memory = |_| WeightsError::Memory { layer, rows: d_head, width };
        out.try_reserve_exact(d_head * width).map_err(memory)?;
        out.resize(d_head * width, 0.0);
        let read = tensor.read_rows(start..start.saturating_add(d_head), &mut out);
        read.map_err(|source| WeightsError::Tensor { layer, source })?;
        Ok(out)
    }

    fn tensor(&self, layer: usize, kind: &str) -> Result<GgufTensor<'a>, WeightsError> {
        let tensor = self.file.tensor(&format!("blk.{layer}.{kind}.weight"));
        tensor.map_err(|source| WeightsError::Tensor { layer, source })
    }

    fn required(&self, name: &str, layer: usize) -> Result<usize, WeightsError> {
        self.number(name, layer)?.ok_or_else(|| WeightsError::NoEntry { key: format!("{}.{name}", self.arch) })
    }

    /// A count, one for all layers or an array of one each.
    fn number(&self, name: &str, layer: usize) -> Result<Option<usize>, WeightsError> {
        let key = format!("{}.{name}", self.arch);
        let Some(value) = self.file.metadata().get(&key) else { return Ok(None) };
        let one = match value {
            Value::Array(each) => each.iter().nth(layer),
            other => Some(other),
        };
        let count = one.and_then(|v| v.as_u64()).and_then(|n| usize::try_from(n).ok());
        count.map(Some).ok_or(WeightsError::Entry { key, expected: "count, and no array with a count for the layer" })
    }
}

/// How the numbers that stand for pairs of a row of `W_q` and a row of `W_k` are ordered: Spearman's rho over all
/// pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightFigures {
    /// L1 distances of Base17 codes with L2 distances of the rows.
    pub codes_to_distances: f64,
    /// Distances in the table with L2 distances of the rows.
    pub table_to_distances: f64,
    /// Distances in the table, the less the better, with dot products of the rows.
    pub table_to_products: f64,
    /// L2 distances of the rows, the less the better, with their dot products: what the best table of distances would
    /// have.
    pub distances_to_products: f64,
}

impl WeightFigures {
    /// Of a table made by [`DistancePalette::of_rows`], on rows of queries and keys, `[n, width]` each.
    ///
    /// # Errors
    /// If they are no rows of `width`, or there are none.
    pub fn measure(table: &DistancePalette, queries: &[f32], keys: &[f32], width: usize) -> Result<Self, TableError> {
        let width = width.max(1);
        for rows in [queries, keys] {
            check_len("a set of rows", rows.len(), rows.len() / width * width)?;
            if rows.is_empty() {
                return Err(TableError::TooFewRows { given: 0, needed: 1 });
            }
        }
        let code = |rows: &[f32]| -> Vec<(Base17, u8)> {
            rows.par_chunks_exact(width).map(|r| (Base17::encode(r), table.encode_row(r))).collect()
        };
        let (q_codes, k_codes) = (code(queries), code(keys));
        // Distance, negative product, distance of codes, distance in the table.
        let pairs: Vec<[f64; 4]> = queries
            .par_chunks_exact(width)
            .zip(&q_codes)
            .flat_map_iter(|(q, (qc, qi))| {
                keys.chunks_exact(width).zip(&k_codes).map(move |(k, (kc, ki))| {
                    let (mut square, mut product) = (0.0, 0.0);
                    for (&a, &b) in q.iter().zip(k) {
                        let (a, b) = (f64::from(a), f64::from(b));
                        (square, product) = (square + (a - b) * (a - b), product + a * b);
                    }
                    [square, -product, f64::from(qc.distance(kc)), f64::from(table.score(*qi, *ki))]
                })
            })
            .collect();
        let column = |i: usize| pairs.iter().map(|p| p[i]).collect::<Vec<f64>>();
        // The square root keeps the order.
        let [squares, products, codes, coded] = [0, 1, 2, 3].map(column);
        Ok(Self {
            codes_to_distances: spearman(&codes, &squares),
            table_to_distances: spearman(&coded, &squares),
            table_to_products: spearman(&coded, &products),
            distances_to_products: spearman(&squares, &products),
        })
    }
}

/// The fidelity of attention with a table of distances on the held-out part of `samples`, once it has the affine function that
/// suits the other part best.
///
/// # Errors
/// If the samples are too few, malformed or not finite.
pub fn serve(table: DistancePalette, samples: &Samples, options: &BuildOptions) -> Result<Fidelity, TableError> {
    samples.check()?;
    let (d, split) = (samples.d_head, samples.split(options.held_out)?);
    let queries = gather(&split.train, |w| &w.q, d, options.max_rows);
    let keys = gather(&split.train, |w| &w.k, d, options.max_rows);
    let table = table.fitted(&queries, &keys, d)?;
    samples.measure(&split.held_out, |w| Ok(distance_scores(&table, d, w)))
}
