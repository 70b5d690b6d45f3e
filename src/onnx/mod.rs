//! ONNX files to [`Graph`]s.
//!
//! The protobuf messages come from the bindings that `onnx-ir` re-exports, not
//! from its `OnnxGraphBuilder`. That builder renames every value and node,
//! where the text and the errors of this crate must carry the names of the
//! file; it drops the names of dims; it makes no difference between a constant
//! of rank 0 and one of rank 1; and it copies the weights. Here the parser sees a message without them (`skeleton`): each large
//! tensor is read from the file into memory of its own, or is a view of it where it is mapped, and can be given up once it
//! is packed.
//!
//! Two steps: `normalise` levels what differs between opsets, inlines local
//! functions, turns initialisers and `Constant` nodes into constants and sorts
//! the nodes; `convert` makes graph ops of them, through converters that stand in one file per op family and see a `node`.
//!
//! ```text
//! file -> ModelProto -> normalise -> Step, Step, ... -> convert -> Graph
//! ```

mod attributes;
mod control;
mod conv;
mod convert;
mod einsum;
mod elementwise;
mod error;
mod external;
mod index;
mod linear;
mod movement;
mod node;
mod norm;
mod normalise;
mod proto;
mod recurrent;
mod reduce;
mod sequence;
mod skeleton;
mod tensor;

pub use error::{ImportError, UnsupportedNode};

use crate::storage::{self, Storage};
use bgz_passes::ir::Graph;
use bytes::Bytes;
use external::External;
use prost::Message;
use proto::ModelProto;
use std::io;
use std::path::Path;

/// Reads an ONNX file, external data included. The graph is called what the file is called.
///
/// The fate of the files afterwards does not matter to the graph, but for weights that gave up their memory
/// ([`Constant::release`](bgz_passes::ir::Constant::release)) and are asked for again: those are read again, and it is an error
/// if they are not what they were.
pub fn load(path: &Path) -> Result<Graph, ImportError> {
    match Storage::open(path) {
        Ok(storage) => from_storage(path, storage),
        // A pipe, say.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
            let bytes = storage::read(path).map_err(|source| ImportError::Io { path: path.into(), source })?;
            import(parse(&bytes)?, stem(path), External::beside(path, None))
        }
        Err(source) => Err(ImportError::Io { path: path.into(), source }),
    }
}

/// As [`load`], with the files mapped: weights are views of them, and pages that nobody reads take no memory.
///
/// # Safety
/// Nobody changes or shortens the files, external data included, while the graph is alive: results would change, or the
/// process be ended by a signal.
pub unsafe fn load_mapped(path: &Path) -> Result<Graph, ImportError> {
    // SAFETY: the caller's promise.
    let storage = unsafe { Storage::map(path) }.map_err(|source| ImportError::Io { path: path.into(), source })?;
    from_storage(path, storage)
}

fn from_storage(path: &Path, storage: Storage) -> Result<Graph, ImportError> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::InvalidData => ImportError::Format(source.to_string()),
        io::ErrorKind::UnexpectedEof => ImportError::Format("the file ends within a message".into()),
        _ => ImportError::Io { path: path.into(), source },
    };
    let skeleton = storage.reader().and_then(|reader| skeleton::read(reader, storage.len())).map_err(fail)?;
    import(parse(&skeleton.into())?, stem(path), External::beside(path, Some(storage)))
}

fn stem(path: &Path) -> Option<String> {
    path.file_stem().map(|s| s.to_string_lossy().into_owned())
}

/// Reads an ONNX model from memory. The graph is called what the model calls it; external data is refused.
pub fn from_bytes(bytes: Bytes) -> Result<Graph, ImportError> {
    import(parse(&bytes)?, None, External::none())
}

fn import(model: ModelProto, name: Option<String>, external: External) -> Result<Graph, ImportError> {
    let can_run = |domain: &str, op: &str| convert::find(domain, op).is_some();
    convert::graph(normalise::model(model, name, external, can_run)?)
}

/// The message in `bytes`.
fn parse(bytes: &Bytes) -> Result<ModelProto, ImportError> {
    ModelProto::decode(bytes.clone()).map_err(|e| ImportError::Format(e.to_string()))
}
