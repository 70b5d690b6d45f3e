//! Ops that a backend may take apart, or leave to a recorder to be recorded whole.
//!
//! burn-fusion leaves these to Burn's defaults, which record each as up to a dozen primitive ops. Recording costs more
//! than a kernel takes on little data, so [`crate::BgzFusion`] records each as one op.

use burn_backend::{
    ops::{ActivationOps, ModuleOps},
    tensor::FloatTensor,
};
use burn_flex::Flex;
use burn_ir::BackendIr;
use burn_ndarray::NdArray;

use super::forward::forward;

/// How a backend does the ops that Burn has a default of many ops for. Each is the method of Burn's own trait with the
/// same name.
pub trait Whole: BackendIr {
    /// [`ModuleOps::linear`].
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: Option<FloatTensor<Self>>) -> FloatTensor<Self>;
    /// [`ModuleOps::layer_norm`].
    fn layer_norm(
        tensor: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: Option<FloatTensor<Self>>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
    /// [`ActivationOps::gelu`].
    fn gelu(tensor: FloatTensor<Self>) -> FloatTensor<Self>;
    /// [`ActivationOps::softmax`].
    fn softmax(tensor: FloatTensor<Self>, dim: usize) -> FloatTensor<Self>;
    /// [`ActivationOps::log_softmax`].
    fn log_softmax(tensor: FloatTensor<Self>, dim: usize) -> FloatTensor<Self>;
}

/// A backend with kernels of its own does them itself.
macro_rules! itself {
    ($backend:ty) => {
        impl Whole for $backend {
            forward! {
                Self as ModuleOps<Self>;

                fn linear(
                    x: FloatTensor<Self>,
                    weight: FloatTensor<Self>,
                    bias: Option<FloatTensor<Self>>,
                ) -> FloatTensor<Self>;
                fn layer_norm(
                    tensor: FloatTensor<Self>,
                    gamma: FloatTensor<Self>,
                    beta: Option<FloatTensor<Self>>,
                    epsilon: f64,
                ) -> FloatTensor<Self>;
            }
            forward! {
                Self as ActivationOps<Self>;

                fn gelu(tensor: FloatTensor<Self>) -> FloatTensor<Self>;
                fn softmax(tensor: FloatTensor<Self>, dim: usize) -> FloatTensor<Self>;
                fn log_softmax(tensor: FloatTensor<Self>, dim: usize) -> FloatTensor<Self>;
            }
        }
    };
}

itself!(Flex);
itself!(NdArray);
