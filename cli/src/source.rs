//! Getting hold of a model.

use super::failure::{Failure, because};
use super::{ApproximateArgs, PassArgs};
use bgz_fusion::ir::{Graph, Op};
use bgz_fusion::table::{TableRegistry, Tables};
use bgz_fusion::{Model, ModelOptions, Pipeline, ir};
use std::path::Path;

/// The built-in model.
pub const DEFAULT: &[u8] = include_bytes!("../model/char_lm.onnx");

/// The word for the built-in model.
pub const DEFAULT_NAME: &str = "@default";

/// Reads an ONNX file, a graph text file, or the built-in model.
pub fn load(model: &Path) -> Result<Model, Failure> {
    if model == Path::new(DEFAULT_NAME) {
        return Ok(ModelOptions::new().as_imported().from_bytes("char_lm", DEFAULT)?);
    }
    if !is_text(model) {
        return Ok(ModelOptions::new().as_imported().load(model)?);
    }
    let fail = |e: Failure| because(format!("cannot read {}", model.display()), e);
    let text = std::fs::read_to_string(model).map_err(|e| fail(e.into()))?;
    let graph = ir::parse(&text).map_err(|e| fail(e.into()))?;
    Ok(Model::from_graph(graph))
}

fn is_text(model: &Path) -> bool {
    model.extension().is_some_and(|e| e == "bgz" || e == "txt")
}

/// The passes that were asked for, and what may be approximate.
pub fn pipeline(args: &PassArgs, may: &ApproximateArgs, tables: Option<&Given>) -> Result<Pipeline, Failure> {
    let mut pipeline = whole(may, tables);
    if !args.only.is_empty() {
        pipeline = pipeline.only(&args.only)?;
    }
    if let Some(n) = args.stop_after {
        pipeline = pipeline.stop_after(n);
    }
    Ok(pipeline)
}

/// Every pass.
pub fn whole(may: &ApproximateArgs, tables: Option<&Given>) -> Pipeline {
    let pipeline = match tables {
        Some(given) => Pipeline::approximate(given.tables.clone(), given.max_error),
        None => Pipeline::exact(),
    };
    pipeline.precision(may.precision)
}

/// Tables that attention may take its scores from.
pub struct Given {
    file: String,
    tables: Tables,
    /// Heads that there are tables for, with the site, if it is for one only.
    heads: Vec<(usize, Option<String>)>,
    max_error: f64,
}

/// Reads the tables that were asked for.
pub fn tables(args: &ApproximateArgs) -> Result<Option<Given>, Failure> {
    let Some(path) = &args.tables else { return Ok(None) };
    let tables = super::tables::load(path)?;
    let heads = tables.iter().map(|t| (t.d_head(), t.site().map(String::from))).collect();
    let registry = TableRegistry::new();
    registry.register_all(tables);
    let (file, tables) = (path.display().to_string(), registry.snapshot());
    Ok(Some(Given { file, tables, heads, max_error: args.max_error }))
}

impl Given {
    /// That some attention of a rewritten graph has a table, however good that is.
    pub fn check(&self, graph: &Graph) -> Result<(), Failure> {
        let mut attentions: Vec<(String, usize)> = Vec::new();
        graph.each_graph(&mut |g| {
            attentions.extend(g.nodes().filter_map(|(_, node)| match &node.op {
                Op::Attention(a) => Some((g.name(*node.outputs.first()?).to_string(), a.d_head)),
                _ => None,
            }));
        });
        if attentions.iter().any(|(name, d)| self.tables.get(*d, Some(name)).is_some()) {
            return Ok(());
        }
        let file = &self.file;
        let Some((name, d)) = attentions.first() else {
            let why = "no attention is recognised in the model";
            return Err(format!("{file} has no use: {why}; bgz rewrite MODEL --trace says what was left alone").into());
        };
        let has: Vec<_> = self
            .heads
            .iter()
            .map(|(d, site)| site.as_ref().map_or_else(|| format!("d_head {d}"), |s| format!("{s:?} of d_head {d}")))
            .collect();
        let has = has.join(", ");
        Err(format!(
            "{file} has no table for this model: it is for {has}, and the model has {} of d_head {d}, first {name:?}; \
             build one with bgz tables build",
            super::format::count(attentions.len(), "attention")
        )
        .into())
    }
}
