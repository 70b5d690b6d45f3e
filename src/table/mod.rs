//! Attention scores by table lookup: `q . k` from codes of keys.
//!
//! - [`AttentionTable`]: a [`PaletteTable`] (256 x 256 dot products, both sides coded) or a [`ProductTable`] (keys coded
//!   in subspaces, queries exact), built from [`Samples`] and measured on those held out;
//! - [`Fidelity`]: what it does to attention, which decides whether it may be used;
//! - [`compare()`]: every method, and int8 dot products, on the same held-out samples;
//! - [`TableRegistry`]: the tables there are, by head dimension and site;
//! - [`mod@file`]: sets of tables as safetensors;
//! - [`KMeans`], [`Base17`], [`DistancePalette`]: what tables are made of, or compared with.
//!
//! Scores are less than `q . k` by a number that is the same for all keys of a query, because keys are coded less
//! their mean; softmax cannot see it. Rows are coded when a model runs: a table holds nothing of any one input.

mod attention_table;
mod base17;
mod compare;
mod distance_palette;
mod eigen;
mod encoder;
mod error;
mod fidelity;
pub mod file;
mod kmeans;
mod palette;
mod product;
mod random;
mod registry;
mod rotary;
mod samples;
#[cfg(test)]
mod tests;

pub use attention_table::{AttentionTable, BuildOptions, Method, Record};
pub use base17::{Base17, Real};
pub use compare::{Compared, compare};
pub use distance_palette::DistancePalette;
pub use encoder::Encoder;
pub use error::TableError;
pub use fidelity::{Fidelity, Figure, HeadInput, HeadTally};
pub use file::TableFileError;
pub use kmeans::{Clustering, KMeans, KMeansError, Weight};
pub use palette::{PALETTE, PaletteParts, PaletteTable};
pub use product::{ProductOptions, ProductParts, ProductTable, Weighting};
pub use registry::{
    TableRegistry, Tables, WrongHead, clear_attention_cache, global_registry, has_attention_table,
    register_attention_table,
};
pub use rotary::Rotary;
pub use samples::{RowScores, Samples, Split, Window};
