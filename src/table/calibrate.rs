//! Queries, keys and values of a model's own attention, to learn tables from and measure them on.
//!
//! A copy of the rewritten graph has the operands of every attention as further outputs; what they are on calibration
//! inputs becomes [`Samples`]: one window for each head and batch entry of each input.
//!
//! Keys that the mask hides from every query (padding) are left out, and in self-attention so are the queries at
//! their places, whose results nobody reads. A mask that is causal becomes that flag. What a mask adds without hiding a key
//! is not part of the samples: tables are measured without it. A mask that hides a key from some queries, and is not
//! causal, is an error.

mod mask;
mod windows;

use super::samples::Samples;
use crate::exec::{ExecError, PackedWeights, Plan};
use crate::tensor::Tensor;
use bgz_passes::ir::{Attention, Graph, GraphError, Op, Type, ValueId};
use std::collections::BTreeMap;
use windows::Site;

/// The samples that one attention of a model saw.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteSamples {
    /// The attention, as the graph names it.
    pub site: String,
    /// Its windows, in the order of the inputs; heads are named `site/0`, `site/1`, ...
    pub samples: Samples,
}

/// Why a model gave no samples.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// There is nothing to make a table for.
    #[error(
        "no attention is recognised in the graph ({0} ops): rewrite it before; `bgz rewrite MODEL --trace` says what \
         was left alone and why"
    )]
    NoAttention(usize),
    /// There is nothing to run the model on.
    #[error("no calibration inputs")]
    NoInputs,
    /// The model does not run.
    #[error("cannot run the model on calibration input {input}")]
    Run {
        /// Its number, from 0.
        input: usize,
        /// Why.
        source: ExecError,
    },
    /// The graph takes no further outputs.
    #[error("cannot read the operands of attention")]
    Graph(#[from] GraphError),
    /// A mask that samples cannot express.
    #[error("%{site}: {reason}, so that tables cannot be measured on it")]
    Mask {
        /// The attention.
        site: String,
        /// The effect of the mask, in words.
        reason: String,
    },
    /// Operands of shapes that attention does not have.
    #[error("%{site}: cannot cut heads out of {ty}")]
    Heads {
        /// The attention.
        site: String,
        /// The type of the operand.
        ty: String,
    },
    /// Attentions of one head dimension that have no samples in common.
    #[error("%{first} and %{second} both have d_head {d_head}, but differ in {what}: make a table for each site")]
    Mixed {
        /// An attention.
        first: String,
        /// Another.
        second: String,
        /// Their head dimension.
        d_head: usize,
        /// The property that differs.
        what: &'static str,
    },
}

/// Runs `graph`, rewritten but with exact scores, on calibration inputs, each in the order of the graph's inputs, and
/// collects what every attention sees. `say` is told the number of each input before it is run.
///
/// # Errors
/// If there is no attention, the model does not run, or a mask cannot be expressed.
pub fn collect(
    graph: &Graph,
    inputs: &[Vec<Tensor>],
    mut say: impl FnMut(usize),
) -> Result<Vec<SiteSamples>, CalibrateError> {
    let attentions = attentions(graph);
    if attentions.is_empty() {
        return Err(CalibrateError::NoAttention(graph.len()));
    }
    if inputs.is_empty() {
        return Err(CalibrateError::NoInputs);
    }
    let mut probed = graph.clone();
    for (name, _, operands) in &attentions {
        for (i, &v) in operands.iter().enumerate() {
            // No value of a graph has a name like that twice, and no output of a model is called so.
            probed.add_output(&format!("operand {i} of %{name}"), v)?;
        }
    }
    let (first, packed) = (graph.outputs().len(), PackedWeights::default());
    let mut plans: Vec<(Vec<Type>, Plan)> = Vec::new();
    let mut sites: Vec<Site> = attentions.iter().map(|(name, a, _)| Site::new(name, a)).collect();
    for (input, given) in inputs.iter().enumerate() {
        say(input);
        let failed = |source| CalibrateError::Run { input, source };
        let types: Vec<Type> = given.iter().map(Tensor::ty).collect();
        let at = match plans.iter().position(|(t, _)| *t == types) {
            Some(at) => at,
            None => {
                let plan = Plan::new(&probed, &types, &packed, None).map_err(failed)?;
                plans.push((types, plan));
                plans.len() - 1
            }
        };
        let outputs = plans[at].1.run(given).map_err(failed)?;
        let mut operands = &outputs[first..];
        for (site, (_, _, values)) in sites.iter_mut().zip(&attentions) {
            let (own, rest) = operands.split_at(values.len());
            site.add(own)?;
            operands = rest;
        }
    }
    Ok(sites.into_iter().map(Site::finish).collect())
}

/// The samples of all sites of a head dimension together, by head dimension.
///
/// # Errors
/// If sites of one head dimension differ in the width of values, the scale, or in being causal.
pub fn by_head_dimension(sites: Vec<SiteSamples>) -> Result<Vec<Samples>, CalibrateError> {
    let mut all: BTreeMap<usize, (String, Samples)> = BTreeMap::new();
    for SiteSamples { site, samples } in sites {
        let Some((first, pool)) = all.get_mut(&samples.d_head) else {
            all.insert(samples.d_head, (site, samples));
            continue;
        };
        let differs = [
            ("the width of values", pool.d_v != samples.d_v),
            ("the scale of scores", pool.scale != samples.scale),
            ("whether keys behind a query are hidden", pool.causal != samples.causal),
        ];
        if let Some(&(what, _)) = differs.iter().find(|d| d.1) {
            let (first, d_head) = (first.clone(), samples.d_head);
            return Err(CalibrateError::Mixed { first, second: site, d_head, what });
        }
        pool.windows.extend(samples.windows);
    }
    Ok(all.into_values().map(|(_, samples)| samples).collect())
}

/// Name, attributes and operands of every attention, in order.
fn attentions(graph: &Graph) -> Vec<(String, Attention, Vec<ValueId>)> {
    let one = |node: &bgz_passes::ir::Node| match &node.op {
        Op::Attention(a) => Some((graph.name(*node.outputs.first()?).to_string(), a.clone(), node.inputs.clone())),
        _ => None,
    };
    graph.nodes().filter_map(|(_, node)| one(node)).collect()
}
