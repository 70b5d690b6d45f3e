//! How a table's scores choose the keys that are scored exactly; `table/refine.rs` has the reference.

/// Bins of the distance of a score from the highest.
pub const BINS: usize = 64;

/// Width of a bin, in natural units of the scaled score.
pub const BIN: f32 = 0.25;

/// Keys that are looked at to place the threshold, about.
pub const SAMPLE: usize = 256;

/// What becomes of keys that are not scored exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// They get no weight.
    #[default]
    Dropped,
    /// They keep the score the table gives them.
    Scored,
}

/// Keys are chosen by approximate scores and scored exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refine {
    /// Share of the softmax mass, as approximate scores have it, that need not be chosen; at least 0, less than 1.
    pub dropped_mass: f32,
    /// Keys from the first on that are chosen in any case.
    pub first: usize,
    /// Visible keys up to the last that are chosen in any case.
    pub last: usize,
    /// What becomes of the others.
    pub rest: Rest,
}
