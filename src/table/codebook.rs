//! A table in plain numbers, as kernels take it.

use super::attention_table::AttentionTable;
use super::encoder::Encoder;
use bgz_passes::scores::{Book, Codebook, ScoreTable};

impl AttentionTable {
    /// How queries and keys are coded, and what is looked up.
    pub fn codebook(&self) -> Codebook {
        match self {
            Self::Product(t, _) => {
                let p = t.parts();
                Codebook::Product(Book {
                    subspaces: p.subspaces,
                    entries: p.entries,
                    permutation: p.permutation.clone(),
                    mean: p.mean.clone(),
                    codebook: p.codebook.clone(),
                    weights: t.encoders().iter().flat_map(Encoder::weights).copied().collect(),
                    bias: t.encoders().iter().flat_map(Encoder::bias).copied().collect(),
                })
            }
            Self::Palette(t, _) => {
                let p = t.parts();
                let book = |encoder: &Encoder, codebook: &[f32], mean: &[f32]| Book {
                    subspaces: 1,
                    entries: super::palette::PALETTE,
                    permutation: (0..p.d_head as u32).collect(),
                    mean: mean.to_vec(),
                    codebook: codebook.to_vec(),
                    weights: encoder.weights().to_vec(),
                    bias: encoder.bias().to_vec(),
                };
                Codebook::Palette {
                    keys: book(t.key_encoder(), &p.keys, &p.mean),
                    queries: book(t.query_encoder(), &p.queries, &vec![0.0; p.d_head]),
                    table: p.table.to_vec(),
                    scale: p.scale,
                    offset: p.offset,
                }
            }
        }
    }

    /// The table with the refinement that its record says it is good with.
    pub fn score_table(&self) -> ScoreTable {
        ScoreTable { codebook: self.codebook(), refine: self.record().refined.as_ref().map(|r| r.refine) }
    }
}
