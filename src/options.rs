//! How a model is loaded.

use crate::Error;
use crate::exec::{ExecError, Threads};
use crate::model::Model;
use crate::onnx::{self, ImportError};
use bgz_passes::ir::{Bindings, Graph, Precision};
use bgz_passes::pipeline::Pipeline;
use bgz_passes::scores::ScoreSource;
use bytes::Bytes;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// All that can be asked of a model when it is loaded. By default it is rewritten exactly, and runs on the rayon pool that
/// it is called in.
///
/// ```no_run
/// use bgz_fusion::{ModelOptions, ir::Precision};
///
/// # fn main() -> Result<(), bgz_fusion::Error> {
/// let model = ModelOptions::new().precision(Precision::Int8).threads(4).dim("batch", 1).load("model.onnx")?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct ModelOptions {
    pipeline: Pipeline,
    precision: Precision,
    threads: Option<usize>,
    dims: Vec<(String, usize)>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self { pipeline: Pipeline::exact(), precision: Precision::Exact, threads: None, dims: Vec::new() }
    }
}

impl ModelOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rewrites by this pipeline, in place of [`Pipeline::exact`].
    pub fn pipeline(mut self, pipeline: Pipeline) -> Self {
        self.pipeline = pipeline;
        self
    }

    /// Leaves the graph as it is in the file: much slower, to look at it, to compare with, or to
    /// [rewrite](Model::rewrite) it later.
    pub fn as_imported(self) -> Self {
        self.pipeline(Pipeline::none())
    }

    /// Lets attention take its scores from tables of `source`, where they are faster and were measured to be off by no more
    /// than `max_error` (relative L2 of an attention's output): [`Pipeline::approximate`] in place of the pipeline so far.
    pub fn tables(self, source: impl Into<Arc<dyn ScoreSource>>, max_error: f64) -> Self {
        self.pipeline(Pipeline::approximate(source, max_error))
    }

    /// The precision that products with constant weights may be computed in: [`Pipeline::precision`] behind the pipeline.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Runs the model on so many threads of its own, so that two models do not wait for each other's work; 0 is one for each
    /// CPU. A run is then handed over to one of them, which takes some microseconds.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Makes a named dim of the model a number; may be called once for each.
    pub fn dim(mut self, name: impl Into<String>, extent: usize) -> Self {
        self.dims.push((name.into(), extent));
        self
    }

    /// Loads a file as [`Model::load`] does.
    ///
    /// # Errors
    /// As of [`Model::load`]; a dim that the model does not have, or that does not fit; threads that cannot be started; a
    /// pass that fails.
    pub fn load(self, path: impl AsRef<Path>) -> Result<Model, Error> {
        let path = path.as_ref();
        self.imported(&path.display().to_string(), onnx::load(path))
    }

    /// Loads a file as [`Model::load_mapped`] does.
    ///
    /// # Errors
    /// As of [`ModelOptions::load`].
    ///
    /// # Safety
    /// As of [`Model::load_mapped`].
    pub unsafe fn load_mapped(self, path: impl AsRef<Path>) -> Result<Model, Error> {
        let path = path.as_ref();
        // SAFETY: the caller's promise.
        self.imported(&path.display().to_string(), unsafe { onnx::load_mapped(path) })
    }

    /// Reads the bytes of a file; `name` is what the graph is called.
    ///
    /// # Errors
    /// As of [`ModelOptions::load`].
    pub fn from_bytes(self, name: &str, bytes: impl Into<Bytes>) -> Result<Model, Error> {
        let graph = onnx::from_bytes(bytes.into()).map(|mut graph| {
            graph.name = name.into();
            graph
        });
        self.imported(name, graph)
    }

    /// Takes a graph that came from elsewhere, say from text.
    ///
    /// # Errors
    /// As of [`ModelOptions::load`].
    pub fn from_graph(self, mut graph: Graph) -> Result<Model, Error> {
        if !self.dims.is_empty() {
            let bindings = self.bindings(&graph)?;
            graph = graph.bind_partly(&bindings, &HashMap::new()).map_err(ExecError::from)?;
        }
        let threads = self.threads.map(Threads::own).transpose()?.unwrap_or_default();
        let mut model = Model::of(graph, threads);
        let pipeline = self.pipeline.precision(self.precision);
        model.rewrite(&pipeline)?;
        Ok(model)
    }

    fn imported(self, what: &str, graph: Result<Graph, ImportError>) -> Result<Model, Error> {
        let graph = graph.map_err(|source| Error::Import { what: what.into(), source })?;
        self.from_graph(graph)
    }

    /// The numbers of dims that the inputs of a graph have.
    fn bindings(&self, graph: &Graph) -> Result<Bindings, Error> {
        let dims = graph.inputs().iter().flat_map(|&v| &graph.ty(v).shape);
        let mut names: Vec<Arc<str>> = dims.flat_map(|d| d.symbols()).collect();
        names.sort();
        names.dedup();
        let mut bindings = Bindings::new();
        for (name, extent) in &self.dims {
            let Some(symbol) = names.iter().find(|n| ***n == **name) else {
                return Err(Error::UnknownDim { name: name.clone(), names: names.join(", ") });
            };
            let extent = i64::try_from(*extent).map_err(|_| ExecError::TooLarge)?;
            bindings.insert(symbol.clone(), extent);
        }
        Ok(bindings)
    }
}
