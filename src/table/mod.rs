//! Attention scores by table lookup: `q . k` from codes of keys.
//!
//! - [`AttentionTable`]: a [`PaletteTable`] (256 x 256 dot products, both sides coded) or a [`ProductTable`] (keys coded
//!   in subspaces, queries exact), built from [`Samples`] and measured on those held out;
//! - [`Fidelity`]: what it does to attention, which decides whether it may be used;
//! - [`Refine`]: keys chosen by the table's scores are scored exactly;
//! - [`cost`]: what ways of scoring take; [`Tables`] choose for a graph, as a `ScoreSource`, by error and cost;
//! - [`compare()`]: every method, and int8 dot products, on the same held-out samples;
//! - [`calibrate`]: samples from a model and its inputs; [`Collected`]: from what was written of a model elsewhere;
//! - [`weights`]: tables of weights instead, to be compared; [`experiments`]: what Base17 keeps of distances;
//! - [`TableRegistry`]: the tables there are, by head dimension and site;
//! - [`mod@file`]: sets of tables as safetensors;
//! - [`KMeans`], [`Base17`], [`DistancePalette`]: what tables are made of, or compared with.
//!
//! Scores are less than `q . k` by a number that is the same for all keys of a query, because keys are coded less
//! their mean; softmax cannot see it. Rows are coded when a model runs: a table holds nothing of any one input.

mod attention_table;
mod base17;
pub mod calibrate;
mod codebook;
mod collected;
mod compare;
pub mod cost;
mod distance_palette;
mod eigen;
mod encoder;
mod error;
pub mod experiments;
mod fidelity;
pub mod file;
mod int8;
mod kmeans;
mod lookup;
mod measure;
mod palette;
mod product;
pub mod refine;
mod registry;
mod rotary;
mod samples;
mod source;
#[cfg(test)]
mod tests;
pub mod weights;

pub use attention_table::{AttentionTable, BuildOptions, HeadErrors, Method, Record};
pub use base17::{Base17, Real};
pub use collected::Collected;
pub use compare::{Compared, compare};
pub use distance_palette::DistancePalette;
pub use encoder::Encoder;
pub use error::TableError;
pub use fidelity::{Fidelity, Figure, HeadInput, HeadTally, OutputFidelity, spearman};
pub use file::TableFileError;
pub use int8::Int8Row;
pub use kmeans::{Clustering, KMeans, KMeansError, Weight};
pub use lookup::ByteRow;
pub use measure::RefineSearch;
pub use palette::{PALETTE, PaletteParts, PaletteTable};
pub use product::{ProductOptions, ProductParts, ProductTable, Weighting};
pub use refine::{Refine, Refined, Rest};
pub use registry::{
    TableRegistry, Tables, WrongHead, clear_attention_cache, global_registry, has_attention_table,
    register_attention_table,
};
pub use rotary::Rotary;
pub use samples::{RowScores, Samples, Split, Window};
