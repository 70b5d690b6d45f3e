//! Graphs as text, for snapshot tests of one's own models.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bgz_fusion::{Model, snapshot};
//!
//! let model = Model::load("model.onnx")?;
//! // The text is the same on every machine: with insta, a change in what is
//! // recognised in your model becomes a change in a file you review.
//! insta::assert_snapshot!(snapshot::text(model.graph()));
//! # Ok(())
//! # }
//! ```

use bgz_passes::ir::Graph;

/// The text of a graph, byte for byte what `bgz dump` and `bgz rewrite` print.
///
/// It has no ids, versions, addresses or paths in it, and reads back with
/// [`bgz_passes::ir::parse`].
pub fn text(graph: &Graph) -> String {
    graph.to_string()
}
