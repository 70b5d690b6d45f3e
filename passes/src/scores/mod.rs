//! Scores of attention that are not exact: who chooses them, and what they are taken from.

mod codebook;
mod refine;

pub use codebook::{Book, Codebook, ScoreTable};
pub use refine::{BIN, BINS, Refine, Rest, SAMPLE};

use crate::ir::{Attention, Dim, Scores};
use std::sync::Arc;

/// The facts of one attention that its scores are chosen by.
#[derive(Clone, Debug)]
pub struct ScoreSite<'a> {
    /// The name of the attention's value.
    pub name: &'a str,
    /// The attention as it is, its present scores included.
    pub attention: &'a Attention,
    /// Extent of the batch.
    pub batch: Dim,
    /// Queries of a head.
    pub seq_q: Dim,
    /// Keys of a head.
    pub seq_k: Dim,
    /// Elements of one head of v.
    pub d_v: Dim,
}

/// How the scores of an attention are to be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How.
    pub scores: Scores,
    /// Why so, in half a line.
    pub reason: String,
}

/// A collection of ways to approximate scores that knows how good they are.
pub trait ScoreSource: Send + Sync {
    /// How `site` gets its scores if the attention output may be wrong by `max_error`, its relative L2 error. With
    /// symbolic extents only errors count; with numbers, speed does, too.
    fn choose(&self, site: &ScoreSite<'_>, max_error: f64) -> Choice;

    /// The table that [`Scores::Table`] calls `name`, for heads of `d_head` components: whatever `choose` names is
    /// found here when the graph is planned. By default there is none.
    fn table(&self, d_head: usize, name: &str) -> Option<ScoreTable> {
        let _ = (d_head, name);
        None
    }
}

/// Permission to approximate.
#[derive(Clone)]
pub struct Approximation {
    /// The source that chooses.
    pub source: Arc<dyn ScoreSource>,
    /// The relative L2 error of the output of one attention that is put up with.
    pub max_error: f64,
}
