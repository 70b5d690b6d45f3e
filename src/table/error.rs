//! Why a table cannot be made or used.

use super::kmeans::KMeansError;

/// Why a table cannot be made or used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TableError {
    /// An operand has a size that the table has no use for.
    #[error("{what} has {given} values where {expected} are needed")]
    Len {
        /// The operand.
        what: &'static str,
        /// Values needed.
        expected: usize,
        /// Values given.
        given: usize,
    },
    /// A head dimension that cannot be cut as asked.
    #[error("a head of {d_head} dims cannot be cut into {subspaces} subspaces{}", if *pairs { " of whole rotary pairs" } else { "" })]
    Subspaces {
        /// Dims of a head.
        d_head: usize,
        /// Subspaces asked for.
        subspaces: usize,
        /// True if rotary pairs have to stay together.
        pairs: bool,
    },
    /// A codebook of a size that no code is made for.
    #[error("a codebook has 16, 128 or 256 entries, not {0}")]
    Entries(usize),
    /// A part of a table has a NaN, an infinity, or values so large that products overflow.
    #[error("the {0} has values that are not finite or too large")]
    NotFinite(&'static str),
    /// The order of dims is not one.
    #[error("the permutation does not have every dim once with pairs together")]
    Permutation,
    /// A share of softmax mass that is none.
    #[error("a dropped mass of {0} is no share: it is at least 0 and less than 1")]
    DroppedMass(String),
    /// Too few rows to learn from.
    #[error("{given} rows to learn from, at least {needed} are needed")]
    TooFewRows {
        /// Rows given.
        given: usize,
        /// Rows needed.
        needed: usize,
    },
    /// The samples cannot be used.
    #[error("samples of {head}: {reason}")]
    Samples {
        /// The head they are of.
        head: String,
        /// The fault.
        reason: String,
    },
    /// The attention error of a new table is not a number.
    #[error("the table gives scores that are not finite on held-out samples")]
    Unmeasurable,
    /// Rows could not be clustered.
    #[error("cannot make a codebook")]
    KMeans(#[from] KMeansError),
}

/// `Ok` if `given` is `expected`.
pub(super) fn check_len(what: &'static str, given: usize, expected: usize) -> Result<(), TableError> {
    if given == expected { Ok(()) } else { Err(TableError::Len { what, expected, given }) }
}
