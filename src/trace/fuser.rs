//! The one fuser: it takes every op as it comes.

use super::Traced;
use super::optimization::TraceOptimization;
use burn_fusion::{FuserProperties, FuserStatus, OperationFuser};
use burn_ir::OperationIr;
use std::marker::PhantomData;

/// Ops that are taken before they are run at the latest. burn-fusion queues
/// without bound while a fuser stays open, so there must be one; it is as large
/// as this so that the whole forward pass of a deep encoder is one graph (a
/// layer of burn-nn's is about 70 ops).
pub const MAX_OPS: usize = 2048;

/// Takes ops until there are [`MAX_OPS`].
pub(super) struct TraceFuser<B> {
    ops: Vec<OperationIr>,
    backend: PhantomData<fn() -> B>,
}

impl<B> TraceFuser<B> {
    pub fn new() -> Self {
        Self { ops: Vec::new(), backend: PhantomData }
    }
}

impl<B: Traced> OperationFuser<TraceOptimization<B>> for TraceFuser<B> {
    fn fuse(&mut self, operation: &OperationIr) {
        if self.ops.len() < MAX_OPS {
            self.ops.push(operation.clone());
        }
    }

    fn finish(&mut self) -> TraceOptimization<B> {
        TraceOptimization::new(self.ops.clone())
    }

    fn reset(&mut self) {
        self.ops.clear();
    }

    fn status(&self) -> FuserStatus {
        if self.ops.len() < MAX_OPS { FuserStatus::Open } else { FuserStatus::Closed }
    }

    fn properties(&self) -> FuserProperties {
        FuserProperties { score: self.ops.len() as u64, ready: !self.ops.is_empty() }
    }

    fn len(&self) -> usize {
        self.ops.len()
    }

    fn clone_dyn(&self) -> Box<dyn OperationFuser<TraceOptimization<B>>> {
        Box::new(Self { ops: self.ops.clone(), backend: PhantomData })
    }
}
