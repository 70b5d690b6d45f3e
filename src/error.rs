//! The error of the whole crate.

use crate::exec::ExecError;
use crate::onnx::ImportError;
use bgz_passes::rewrite::PassError;
use thiserror::Error;

/// Anything that can go wrong between a file and a result.
#[derive(Debug, Error)]
pub enum Error {
    /// The file could not be imported.
    #[error("cannot import {what}")]
    Import {
        /// The file, or what was read.
        what: String,
        /// Why.
        source: ImportError,
    },
    /// A dim was given a number that no input of the model has.
    #[error("no input of the model has a dim {name:?}; they have {}", if names.is_empty() { "none with a name" } else { names })]
    UnknownDim {
        /// The dim.
        name: String,
        /// The named dims of the inputs.
        names: String,
    },
    /// Rewriting failed.
    #[error("cannot rewrite the graph")]
    Rewrite(#[from] PassError),
    /// No plan could be made, or running it failed.
    #[error("cannot run the model")]
    Exec(#[from] ExecError),
}
