//! A Burn model's ops, recorded by burn-fusion, made into the same graph that
//! an ONNX file becomes, rewritten by the same passes and run by the same plan.
//!
//! burn-fusion records ops without doing them until a value is read, or until
//! as many wait as a fuser takes. A fuser (`fuser.rs`) takes them all; what it took is lifted
//! (`lift.rs`) once the extents and scalars of a run are known, rewritten, made
//! a plan (`cache.rs` keeps it) and run (`run.rs`); small traces only when they are met again (`sight.rs`). An op that the graph has no
//! word for stays opaque, and is done by the inner backend as Burn recorded it,
//! at its place between the steps of the plan. A few ops that burn-fusion would
//! take apart are recorded whole (`whole.rs`).
//!
//! The rewritten graph can be seen, and snapshot-tested, with [`capture`]; [`approximate`] lets attention take its
//! scores from tables, [`precision`] products with weights be computed in fewer bits.

mod approximate;
mod budget;
mod cache;
mod capture;
mod fuser;
mod lift;
mod optimization;
mod pool;
mod run;
mod scope;
mod sight;
mod whole;

pub use approximate::{approximate, precision};
pub use capture::{Capture, Region, capture};
pub use fuser::MAX_OPS;
pub use optimization::TraceOptimization;

use crate::burn::backend::{Local, Whole};
use crate::burn::host::Host;
use burn_backend::{Backend, DType};
use burn_fusion::{FusionBackend, FusionRuntime, OperationFuser};
use burn_ir::OperationIr;
use std::marker::PhantomData;

/// Backends whose ops can be recorded and run as a plan.
pub trait Traced: Host + Whole {}

impl<B: Host + Whole> Traced for B {}

/// The types that burn-fusion needs to run [`crate::BgzFusion`] over `B`.
pub struct Runtime<B>(PhantomData<fn() -> B>);

impl<B> std::fmt::Debug for Runtime<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

impl<B: Traced> FusionRuntime for Runtime<B> {
    type OptimizationState = Vec<OperationIr>;
    type Optimization = TraceOptimization<B>;
    type FusionHandle = B::Handle;
    type FusionDevice = B::Device;

    fn fusers(_device: B::Device) -> Vec<Box<dyn OperationFuser<TraceOptimization<B>>>> {
        vec![Box::new(fuser::TraceFuser::<B>::new())]
    }
}

impl<B: Traced> FusionBackend for Local<B> {
    type FusionRuntime = Runtime<B>;
    type FullPrecisionBackend = Self;

    fn cast_float(tensor: B::FloatTensorPrimitive, dtype: DType) -> B::Handle {
        B::float_tensor_handle(B::float_cast(tensor, dtype.into()))
    }
}

/// Does everything of this thread that waits on a device of either backend; a backend that was never used has nothing.
fn sync_all() {
    #[cfg(feature = "flex")]
    sync::<burn_flex::Flex>(&Default::default());
    #[cfg(feature = "ndarray")]
    sync::<burn_ndarray::NdArray>(&Default::default());
}

/// Does what is still waiting on a device.
fn sync<B: Traced>(device: &B::Device) {
    // An error here is an error of the inner backend, which its next reader meets.
    let _ = <crate::BgzFusion<B> as Backend>::sync(device);
}
