//! Seeing what was rewritten.

use super::scope::Scopes;
use super::sync_all;
use bgz_passes::pipeline::Report;
use std::fmt;

/// The regions that ran on [`crate::BgzFusion`] while something was captured.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// One region for every run of recorded ops, in the order they ran.
    pub regions: Vec<Region>,
}

/// Ops that were recorded and then run as one graph.
#[derive(Clone, Debug)]
pub struct Region {
    /// The graph as recorded.
    pub before: String,
    /// The graph as run.
    pub after: String,
    /// The rewrites of the passes, and those they left, with reasons.
    pub report: Report,
    /// Why the ops were done one by one as recorded, if they were.
    pub fallback: Option<String>,
}

impl Capture {
    /// The text of all graphs as run.
    pub fn after(&self) -> String {
        self.regions.iter().map(|r| r.after.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The text of all graphs as recorded.
    pub fn before(&self) -> String {
        self.regions.iter().map(|r| r.before.as_str()).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.after())
    }
}

/// Runs `f` and returns the graphs, before and after rewriting, of everything
/// that it did on [`crate::BgzFusion`] over Flex or NdArray in this thread,
/// with its result. Everything is planned, also what would be done as recorded when it is first met. Ops that wait when it starts are done first, those
/// that wait when `f` returns are done before this does.
///
/// The text is the same on every machine, so that it can be a snapshot of
/// one's own model:
///
/// ```
/// use bgz_fusion::{BgzFusion, Flex, trace};
/// use burn::tensor::{Tensor, activation};
///
/// type B = BgzFusion<Flex>;
/// let x = Tensor::<B, 2>::from_floats([[-1.0, 0.5, 2.0]], &Default::default());
/// let (y, seen) = trace::capture(|| activation::gelu(x));
/// assert!(seen.after().contains("gelu_erf"), "{seen}");
/// assert_eq!(y.dims(), [1, 3]);
/// ```
pub fn capture<R>(f: impl FnOnce() -> R) -> (R, Capture) {
    sync_all();
    let open = OPEN.open(Capture::default());
    let result = f();
    sync_all();
    (result, open.take().unwrap_or_default())
}

/// Captures that are open.
static OPEN: Scopes<Capture> = Scopes::new();

/// True if somebody captures this stream.
pub(super) fn is_open() -> bool {
    OPEN.with(|_| ()).is_some()
}

/// Shows a region to whoever captures this stream.
pub(super) fn show(region: impl FnOnce() -> Region) {
    if !is_open() {
        return;
    }
    // Text is made while nobody else has to wait.
    let region = region();
    OPEN.with(|captures| captures.iter_mut().for_each(|c| c.regions.push(region.clone())));
}
