//! A table of scores as plain numbers, which kernels bring into their own form.

use super::Refine;

/// A table that scores are taken from.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreTable {
    /// Codes and lookups.
    pub codebook: Codebook,
    /// How keys are chosen that are scored exactly; `None`: no key is.
    pub refine: Option<Refine>,
}

/// How queries and keys are coded, and what is looked up.
#[derive(Clone, Debug, PartialEq)]
pub enum Codebook {
    /// Keys coded in subspaces, queries exact: a lookup a subspace.
    Product(Book),
    /// Queries and keys coded as a whole: one lookup.
    Palette {
        /// Of one subspace of 256 entries.
        keys: Book,
        /// The same for queries.
        queries: Book,
        /// `[256, 256]`, a row a query: a score is `offset + scale * table[q, k]`.
        table: Vec<u16>,
        /// The unit of the table.
        scale: f32,
        /// The score of a 0.
        offset: f32,
    },
}

/// Entries of `M` subspaces, `C` each, and how a row of `d` components is coded: in each subspace by the entry `c` with the
/// greatest `x^T W c - c^T W c / 2`.
#[derive(Clone, Debug, PartialEq)]
pub struct Book {
    /// `M`, a divisor of `d`.
    pub subspaces: usize,
    /// `C`: 16, 128 or 256.
    pub entries: usize,
    /// Place `p` of a permuted row holds component `permutation[p]`; `[d]`.
    pub permutation: Vec<u32>,
    /// Subtracted from rows before they are coded, `[d]`, not permuted.
    pub mean: Vec<f32>,
    /// The entries, `[M, C, d / M]`, permuted.
    pub codebook: Vec<f32>,
    /// `W c` of the entries of each subspace, transposed: `[M, d / M, C]`.
    pub weights: Vec<f32>,
    /// `-c^T W c / 2` of every entry, `[M, C]`.
    pub bias: Vec<f32>,
}
