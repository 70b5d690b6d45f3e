//! A table in the form the kernels read.

use super::attention_table::AttentionTable;
use super::encoder::Encoder;
use crate::kernels::attention::{Codebook, Palette};
use crate::kernels::{Book, BookError, Parts, Shape};

impl AttentionTable {
    /// The table in the form of the kernels.
    ///
    /// # Errors
    /// If it has more subspaces than sums of bytes have room for.
    pub fn codebook(&self) -> Result<Codebook, BookError> {
        let identity: Vec<u32> = (0..self.d_head() as u32).collect();
        match self {
            Self::Product(t, _) => {
                let p = t.parts();
                let shape = Shape { subspaces: p.subspaces, entries: p.entries, adds: 1 };
                let weights: Vec<f32> = t.encoders().iter().flat_map(Encoder::weights).copied().collect();
                let bias: Vec<f32> = t.encoders().iter().flat_map(Encoder::bias).copied().collect();
                let (permutation, mean, entries) = (&p.permutation[..], &p.mean[..], &p.codebook[..]);
                let parts = Parts { shape, permutation, mean, entries, weights: &weights, bias: &bias };
                Ok(Codebook::Product(Book::new(&parts)?))
            }
            Self::Palette(t, _) => {
                let p = t.parts();
                let zeros = vec![0.0; p.d_head];
                let book = |encoder: &Encoder, entries: &[f32], mean: &[f32]| {
                    let (weights, bias) = (encoder.weights(), encoder.bias());
                    Book::new(&Parts { shape: Palette::SHAPE, permutation: &identity, mean, entries, weights, bias })
                };
                let keys = book(t.key_encoder(), &p.keys, &p.mean)?;
                let queries = book(t.query_encoder(), &p.queries, &zeros)?;
                let palette = Palette::new(keys, queries, &p.table, p.scale, p.offset)?;
                Ok(Codebook::Palette(palette))
            }
        }
    }
}
