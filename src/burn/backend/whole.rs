//! Ops that [`crate::BgzFusion`] records otherwise than burn-fusion would.
//!
//! burn-fusion leaves some to Burn's defaults, which record each as up to a dozen primitive ops. Recording costs more
//! than a kernel takes on little data, so each is recorded as one op. A few others have no right form in burn-fusion's
//! recording: its relative form of `float_trunc` is that of `float_ceil`, and it has none for a scalar of bool.

use burn_backend::{
    Scalar,
    ops::{ActivationOps, BoolTensorOps, FloatTensorOps, ModuleOps},
    tensor::{BoolTensor, FloatTensor},
};
use burn_ir::BackendIr;

use super::forward::forward;

/// How a backend does these ops. Each is the method of Burn's own trait with the same name.
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
    /// [`FloatTensorOps::float_trunc`].
    fn float_trunc(tensor: FloatTensor<Self>) -> FloatTensor<Self>;
    /// [`BoolTensorOps::bool_mask_fill`].
    fn bool_mask_fill(tensor: BoolTensor<Self>, mask: BoolTensor<Self>, value: Scalar) -> BoolTensor<Self>;
    /// [`BoolTensorOps::bool_equal_elem`].
    fn bool_equal_elem(lhs: BoolTensor<Self>, rhs: Scalar) -> BoolTensor<Self>;
    /// [`BoolTensorOps::bool_not_equal_elem`].
    fn bool_not_equal_elem(lhs: BoolTensor<Self>, rhs: Scalar) -> BoolTensor<Self>;
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
            forward! {
                Self as FloatTensorOps<Self>;

                fn float_trunc(tensor: FloatTensor<Self>) -> FloatTensor<Self>;
            }
            forward! {
                Self as BoolTensorOps<Self>;

                fn bool_mask_fill(tensor: BoolTensor<Self>, mask: BoolTensor<Self>, value: Scalar) -> BoolTensor<Self>;
                fn bool_equal_elem(lhs: BoolTensor<Self>, rhs: Scalar) -> BoolTensor<Self>;
                fn bool_not_equal_elem(lhs: BoolTensor<Self>, rhs: Scalar) -> BoolTensor<Self>;
            }
        }
    };
}

#[cfg(feature = "flex")]
itself!(burn_flex::Flex);
#[cfg(feature = "ndarray")]
itself!(burn_ndarray::NdArray);
