//! ONNX files to [`Graph`]s.
//!
//! The protobuf messages come from the bindings that `onnx-ir` re-exports, not
//! from its `OnnxGraphBuilder`. That builder renames every value and node,
//! where the text and the errors of this crate must carry the names of the
//! file; it drops the names of dims; it makes no difference between a constant
//! of rank 0 and one of rank 1; and it copies the weights. Read directly from a mapped file, a weight stays where it is: a
//! [`Constant`](bgz_passes::ir::Constant) is a slice of the mapping.
//!
//! Two steps: `normalise` levels what differs between opsets, inlines local
//! functions, turns initialisers and `Constant` nodes into constants and sorts
//! the nodes; `convert` makes graph ops of them, one file per op family.
//!
//! ```text
//! file -> ModelProto -> normalise -> Step, Step, ... -> convert -> Graph
//! ```

mod attributes;
mod conv;
mod convert;
mod einsum;
mod elementwise;
mod error;
mod external;
mod index;
mod linear;
mod movement;
mod norm;
mod normalise;
mod reduce;
mod tensor;

pub use error::{ImportError, UnsupportedNode};

use bgz_inner::caught;
use bgz_passes::ir::Graph;
use bytes::Bytes;
use external::External;
use onnx_ir::{Message, ModelProto};
use std::path::Path;

/// Reads an ONNX file, external data included. The graph is called what the file is called.
///
/// The files are mapped, not read: they must not be changed while the graph is alive.
pub fn load(path: &Path) -> Result<Graph, ImportError> {
    let bytes = crate::mapped::map(path).map_err(|source| ImportError::Io { path: path.into(), source })?;
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned());
    import(bytes, name, External::beside(path))
}

/// Reads an ONNX model from memory. The graph is called what the model calls it; external data is refused.
pub fn from_bytes(bytes: Bytes) -> Result<Graph, ImportError> {
    import(bytes, None, External::none())
}

fn import(bytes: Bytes, name: Option<String>, external: External) -> Result<Graph, ImportError> {
    convert::graph(normalise::model(parse(&bytes)?, name, external)?)
}

/// The message in `bytes`. The parser is other people's: should it panic on
/// damaged bytes, that is an error like any other.
fn parse(bytes: &Bytes) -> Result<ModelProto, ImportError> {
    match caught(|| ModelProto::parse_from_tokio_bytes(bytes)) {
        Ok(Ok(model)) => Ok(model),
        Ok(Err(e)) => Err(ImportError::Format(e.to_string())),
        Err(_) => Err(ImportError::Format("the protobuf parser gave up".into())),
    }
}
