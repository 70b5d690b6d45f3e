//! Getting hold of a model.

use super::Backend;
use super::PassArgs;
use super::failure::{Failure, because};
use bgz_fusion::{Model, Pipeline, ir};
use std::path::Path;

/// The built-in model.
pub const DEFAULT: &[u8] = include_bytes!("../../models/default/char_lm.onnx");

/// The word for the built-in model.
pub const DEFAULT_NAME: &str = "@default";

/// Reads an ONNX file, a graph text file, or the built-in model.
pub fn load(model: &Path, backend: Backend) -> Result<Model, Failure> {
    if model == Path::new(DEFAULT_NAME) {
        return Ok(Model::from_bytes("char_lm", DEFAULT, backend.inner())?);
    }
    if !is_text(model) {
        return Ok(Model::load(model, backend.inner())?);
    }
    let fail = |e: Failure| because(format!("cannot read {}", model.display()), e);
    let text = std::fs::read_to_string(model).map_err(|e| fail(e.into()))?;
    let graph = ir::parse(&text).map_err(|e| fail(e.into()))?;
    Ok(Model::from_graph(graph, backend.inner()))
}

fn is_text(model: &Path) -> bool {
    model.extension().is_some_and(|e| e == "bgz" || e == "txt")
}

/// The passes that were asked for.
pub fn pipeline(args: &PassArgs) -> Result<Pipeline, Failure> {
    let mut pipeline = Pipeline::exact();
    if !args.only.is_empty() {
        pipeline = pipeline.only(&args.only)?;
    }
    if let Some(n) = args.stop_after {
        pipeline = pipeline.stop_after(n);
    }
    Ok(pipeline)
}
