//! The faults of an ONNX file.

use bgz_passes::ir::GraphError;
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
#[non_exhaustive]
pub struct UnsupportedNode {
    /// Its op type.
    pub op: String,
    /// Its domain, empty for the standard one.
    pub domain: String,
    /// The version of the domain's opset that the file asks for, if it says.
    pub opset: Option<i64>,
    /// Its name in the file, or its first result if it has none.
    pub node: String,
}

/// One line for each op, those of most nodes first, and what can be done.
fn list(nodes: &[UnsupportedNode]) -> String {
    let mut ops: Vec<(&UnsupportedNode, usize)> = Vec::new();
    for n in nodes {
        match ops.iter_mut().find(|(first, _)| (&first.op, &first.domain) == (&n.op, &n.domain)) {
            Some((_, count)) => *count += 1,
            None => ops.push((n, 1)),
        }
    }
    ops.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let mut out = match nodes.len() {
        1 => "1 node cannot be run:".to_string(),
        n => format!("{n} nodes cannot be run:"),
    };
    for (first, count) in &ops {
        let UnsupportedNode { op, domain, node, opset } = first;
        let times = if *count > 1 { format!(" x{count}, first") } else { String::new() };
        let of = if domain.is_empty() { String::new() } else { format!(" of domain {domain}") };
        let opset = opset.map(|v| format!(", opset {v}")).unwrap_or_default();
        out.push_str(&format!("\n  {op}{of}{times} (node {node}{opset})"));
    }
    if ops.iter().any(|(n, _)| n.domain == "com.microsoft") {
        out.push_str(
            "\nONNX Runtime's optimiser makes nodes of com.microsoft: \
             save the model without it, or with its level \"basic\"",
        );
    }
    if ops.iter().any(|(n, _)| n.domain.is_empty()) {
        out.push_str("\ndocs/onnx-support.md lists the ops that run");
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
