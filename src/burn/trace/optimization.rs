//! Recorded ops, ready to be run on any extents and scalars.

use super::Traced;
use super::budget::BUDGET;
use super::lift::{Analysis, Binding, Lifted, key, lift};
use super::run::{Prepared, prepare};
use super::sight::{self, Sights};
use super::{Runtime, approximate, cache, capture, pool, run};
use burn_fusion::stream::{Context, OrderedExecution};
use burn_fusion::{NumOperations, Optimization};
use burn_ir::{OperationIr, TensorId};
use std::any::TypeId;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Tensors that are remembered for each weight of a pattern: as many models of
/// one architecture can take turns without packing their weights anew.
const REMEMBERED: usize = 16;

/// Recorded ops that are run as one graph.
pub struct TraceOptimization<B> {
    number: u64,
    ops: Vec<OperationIr>,
    analysis: Analysis,
    /// For each weight, by place among the inputs, the tensors it has been.
    seen: HashMap<usize, VecDeque<TensorId>>,
    sights: Sights,
    runs: usize,
    backend: PhantomData<fn() -> B>,
}

impl<B> TraceOptimization<B> {
    pub(super) fn new(ops: Vec<OperationIr>) -> Self {
        let analysis = Analysis::new(&ops);
        let (number, seen, sights) = (cache::next_optimization(), HashMap::new(), Sights::default());
        Self { number, ops, analysis, seen, sights, runs: 0, backend: PhantomData }
    }
}

impl<B> fmt::Debug for TraceOptimization<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceOptimization({} ops)", self.ops.len())
    }
}

impl<B> NumOperations for TraceOptimization<B> {
    fn len(&self) -> usize {
        self.ops.len()
    }

    fn name(&self) -> &'static str {
        "bgz-fusion"
    }
}

impl<B: Traced> Optimization<Runtime<B>> for TraceOptimization<B> {
    fn execute(&mut self, context: &mut Context<B::Handle>, execution: &OrderedExecution<Runtime<B>>) {
        pool::join();
        self.runs = self.runs.saturating_add(1);
        if self.runs == 2 {
            BUDGET.came_again();
        }
        let prepared = self.prepared(context);
        capture::show(|| prepared.region());
        let done = match &*prepared {
            Prepared::Graph(graph) => run::run::<B>(graph, &self.ops, &self.analysis, context, execution),
            Prepared::AsRecorded { .. } => {
                for i in 0..self.ops.len() {
                    execution.operation_within_optimization(i).execute(&mut context.handles);
                }
                Ok(())
            }
        };
        if let Err(e) = done {
            // As the inner backend would: burn-fusion has no way for an error, and hands a panic on to the reader.
            panic!("{e}");
        }
    }

    fn to_state(&self) -> Vec<OperationIr> {
        self.ops.clone()
    }

    fn from_state(_device: &B::Device, state: Vec<OperationIr>) -> Self {
        Self::new(state)
    }
}

impl<B: Traced> TraceOptimization<B> {
    /// The plan for the extents, scalars and weights of this run.
    fn prepared(&mut self, context: &Context<B::Handle>) -> Arc<Prepared> {
        let weights = self.stable_weights(context);
        let allowed = approximate::allowed();
        let Some(key) = key(self.number, &self.analysis, context, weights, allowed.key()) else {
            return Arc::new(Prepared::AsRecorded {
                reason: "an extent or a scalar is not known".into(),
                before: None,
            });
        };
        if let Some(prepared) = cache::get(&key) {
            return prepared;
        }
        let binding = Binding::new(&self.analysis, context);
        // Who looks on wants to see what is made of the ops.
        if B::DOES_ALL && !self.sights.met_before(&key) && !sight::is_much(&self.ops, &binding) && !capture::is_open() {
            let reason = "they are met for the first time, and there is little to do".into();
            return Arc::new(Prepared::AsRecorded { reason, before: None });
        }
        let constants = key
            .weights
            .iter()
            .filter_map(|&(place, id)| Some((place, run::constant::<B>(context.handles.get_handle_ref(&id)?)?)))
            .collect();
        let prepared = match lift(&self.ops, &self.analysis, &binding, &constants) {
            Ok(Lifted { graph, inputs }) => prepare(graph, inputs, &self.ops, &self.analysis, &allowed),
            Err(reason) => Prepared::AsRecorded { reason, before: None },
        };
        let prepared = Arc::new(prepared);
        cache::insert(key, prepared.clone(), TypeId::of::<B>(), |id| context.handles.has_handle(&id));
        prepared
    }

    /// The weights that have been the same tensor before. A tensor's id is never used again, and nothing changes
    /// a tensor while it has its id, so these are constants: they can be packed once. The weights of a model that
    /// is being trained are new tensors at every step and never are.
    fn stable_weights(&mut self, context: &Context<B::Handle>) -> Vec<(usize, TensorId)> {
        let mut stable = Vec::new();
        for &place in &self.analysis.weights {
            let Some(id) = self.analysis.inputs.get(place).and_then(|t| context.tensors.get(&t.id)).map(|t| t.id)
            else {
                continue;
            };
            let seen = self.seen.entry(place).or_default();
            if seen.contains(&id) {
                stable.push((place, id));
            } else {
                if seen.len() == REMEMBERED {
                    seen.pop_front();
                }
                seen.push_back(id);
            }
        }
        stable
    }
}
