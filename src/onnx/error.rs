//! The faults of an ONNX file.

use bgz_passes::ir::GraphError;
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;

/// Why a model was not imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are no protobuf message of a model.
    #[error("not an ONNX model: {0}")]
    Format(String),
    /// Nodes that nothing here can run: all of them.
    #[error("{}", list(.0))]
    Unsupported(Vec<UnsupportedNode>),
    /// A node does not make sense, or has a form that is not supported.
    #[error("node {node} ({op}): {message}")]
    Node {
        /// Its name in the file, or its first result if it has none.
        node: String,
        /// Its op type.
        op: String,
        /// The fault.
        message: String,
    },
    /// A tensor in the file does not make sense.
    #[error("tensor {tensor}: {message}")]
    Tensor {
        /// Its name in the file.
        tensor: String,
        /// The fault.
        message: String,
    },
    /// The external data of a tensor cannot be taken.
    #[error("tensor {tensor}: external data in {file:?}: {message}")]
    External {
        /// The tensor's name in the file.
        tensor: String,
        /// Where the data should be, as the model says.
        file: String,
        /// The fault.
        message: String,
    },
    /// The declaration of an input is not one of a tensor that can be taken.
    #[error("input {input}: {message}")]
    Input {
        /// Its name.
        input: String,
        /// The fault.
        message: String,
    },
    /// An output is not one that a graph can have.
    #[error("output {output}: {message}")]
    Output {
        /// Its name.
        output: String,
        /// The fault.
        message: String,
    },
    /// A value that is used is not made by anything.
    #[error("{user} uses the value {value}, which nothing makes")]
    Missing {
        /// The value.
        value: String,
        /// The node or output that uses it.
        user: String,
    },
    /// A name is given to two values.
    #[error("the value {0} is defined twice")]
    Duplicate(String),
    /// A value depends on itself.
    #[error("the value {0} depends on itself: the graph has a cycle")]
    Cycle(String),
    /// The imported nodes do not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// A node that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// Its op type.
    pub op: String,
    /// Its domain, empty for the standard one.
    pub domain: String,
    /// Its name in the file, or its first result if it has none.
    pub node: String,
}

impl fmt::Display for UnsupportedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain.is_empty() {
            write!(f, "{} (node {})", self.op, self.node)
        } else {
            write!(f, "{} of domain {} (node {})", self.op, self.domain, self.node)
        }
    }
}

fn list(nodes: &[UnsupportedNode]) -> String {
    let mut out = format!("{} node{} cannot be run:", nodes.len(), if nodes.len() == 1 { "" } else { "s" });
    for n in nodes {
        out.push_str(&format!("\n  {n}"));
    }
    out
}

/// Why a node was not converted; the driver adds which node it was.
#[derive(Debug)]
pub(super) enum Fail {
    Message(String),
    Import(ImportError),
}

/// Result of a step of conversion.
pub(super) type Res<T> = Result<T, Fail>;

impl From<String> for Fail {
    fn from(message: String) -> Self {
        Fail::Message(message)
    }
}

impl From<&str> for Fail {
    fn from(message: &str) -> Self {
        Fail::Message(message.into())
    }
}

impl From<ImportError> for Fail {
    fn from(e: ImportError) -> Self {
        Fail::Import(e)
    }
}

impl From<GraphError> for Fail {
    fn from(e: GraphError) -> Self {
        match e {
            // The node is named by the driver already.
            GraphError::Node { source, .. } => Fail::Message(source.to_string()),
            other => Fail::Message(other.to_string()),
        }
    }
}

/// Returns a [`Fail::Message`].
macro_rules! fail {
    ($($arg:tt)*) => { return Err($crate::onnx::error::Fail::Message(format!($($arg)*))) };
}
pub(super) use fail;
