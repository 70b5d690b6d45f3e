//! The measured effect of refining a table's scores on attention.

use super::error::TableError;
use super::fidelity::{Figure, OutputFidelity};
pub use bgz_passes::scores::{Refine, Rest};

/// A refinement, and what attention was with it on held-out samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Refined {
    /// How keys are chosen.
    pub refine: Refine,
    /// The fidelity of attention with it, choosing no key for its place: windows of samples are short, and the keys that are
    /// always chosen would be most of them.
    pub fidelity: OutputFidelity,
    /// Share of the visible keys of a query that were chosen: the mean of all heads, and the head with most.
    pub chosen: Figure,
}

/// Checks that the mass that may be dropped is a share.
///
/// # Errors
/// If it is not.
pub(super) fn check(refine: &Refine) -> Result<(), TableError> {
    if refine.is_valid() { Ok(()) } else { Err(TableError::DroppedMass(refine.dropped_mass.to_string())) }
}
