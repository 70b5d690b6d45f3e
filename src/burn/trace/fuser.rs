//! The one fuser: it takes every op as it comes, or none at all where tracing is off.

use super::Traced;
use super::budget::BUDGET;
use super::capture;
use super::optimization::TraceOptimization;
use burn_fusion::{FuserProperties, FuserStatus, OperationFuser};
use burn_ir::OperationIr;
use std::marker::PhantomData;
use std::sync::LazyLock;

/// Ops that are taken before they are run at the latest. burn-fusion queues
/// without bound while a fuser stays open, so there must be one; it is as large
/// as this so that the whole forward pass of a deep encoder is one graph (a
/// layer of burn-nn's is about 70 ops).
pub const MAX_OPS: usize = 2048;

/// True if ops are recorded, which the environment prevents by `BGZ_TRACE=off`. Then each is done by the inner backend as it
/// comes, which tells whether a wrong or slow result is ours.
fn is_on() -> bool {
    static ON: LazyLock<bool> = LazyLock::new(|| std::env::var_os("BGZ_TRACE").is_none_or(|value| value != "off"));
    *ON
}

/// Takes ops until there are [`MAX_OPS`], or none.
pub(super) struct TraceFuser<B> {
    ops: Vec<OperationIr>,
    /// True if the fuser takes ops at all; not known before the first comes.
    takes: Option<bool>,
    backend: PhantomData<fn() -> B>,
}

impl<B> TraceFuser<B> {
    pub fn new() -> Self {
        Self { ops: Vec::new(), takes: None, backend: PhantomData }
    }

    fn is_closed(&self) -> bool {
        self.takes == Some(false) || self.ops.len() >= MAX_OPS
    }
}

impl<B: Traced> OperationFuser<TraceOptimization<B>> for TraceFuser<B> {
    fn fuse(&mut self, operation: &OperationIr) {
        // Who looks on wants to see what is made of the ops.
        self.takes.get_or_insert_with(|| is_on() && (!B::DOES_ALL || BUDGET.allows() || capture::is_open()));
        if !self.is_closed() {
            self.ops.push(operation.clone());
        }
    }

    fn finish(&mut self) -> TraceOptimization<B> {
        BUDGET.take();
        TraceOptimization::new(std::mem::take(&mut self.ops))
    }

    fn reset(&mut self) {
        self.ops.clear();
        self.takes = None;
    }

    fn status(&self) -> FuserStatus {
        if self.is_closed() { FuserStatus::Closed } else { FuserStatus::Open }
    }

    fn properties(&self) -> FuserProperties {
        FuserProperties { score: self.ops.len() as u64, ready: !self.ops.is_empty() }
    }

    fn len(&self) -> usize {
        self.ops.len()
    }

    fn clone_dyn(&self) -> Box<dyn OperationFuser<TraceOptimization<B>>> {
        Box::new(Self { ops: self.ops.clone(), takes: self.takes, backend: PhantomData })
    }
}
