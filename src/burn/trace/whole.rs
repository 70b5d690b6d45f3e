//! Ops that are recorded whole, where burn-fusion would record what Burn's defaults make of them: a linear layer is one
//! op for four, LayerNorm one for eleven, GELU and softmax one for five each. Of these, what is not plain, another dtype
//! than `f32` or shapes that do not fit, is left to the defaults, whose checks and messages are Burn's.
//!
//! Beside them, ops that burn-fusion 0.21 records wrongly (`RelativeOps` in its `stream/context.rs`): it makes
//! `FloatOperationIr::Trunc` a `Ceil`, and has a `todo!` for a scalar of bool.

use super::Runtime;
use super::Traced;
use crate::burn::backend::{Local, Whole};
use burn_backend::ops::{ActivationOps, BoolTensorOps, ModuleOps};
use burn_backend::tensor::{BoolTensor, FloatTensor};
use burn_backend::{DType, Scalar};
use burn_fusion::stream::{Operation, OperationStreams};
use burn_fusion::{Fusion, FusionTensor};
use burn_ir::{CustomOpIr, HandleContainer, LinearOpIr, ModuleOperationIr, OperationIr, OperationOutput, TensorIr};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// An op that burn-fusion has no word for. Its text is what tells one from another in a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum WholeOp {
    /// `x, gamma, [beta]`, over the last axis.
    LayerNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// `x`.
    Gelu,
    /// `x`.
    Softmax {
        /// The axis that sums to one.
        dim: usize,
    },
    /// `x`.
    LogSoftmax {
        /// The axis whose exponentials sum to one.
        dim: usize,
    },
    /// `x`, of any float dtype.
    Trunc,
}

impl fmt::Display for WholeOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LayerNorm { epsilon } => write!(f, "layer_norm {epsilon:e}"),
            Self::Gelu => f.write_str("gelu"),
            Self::Softmax { dim } => write!(f, "softmax {dim}"),
            Self::LogSoftmax { dim } => write!(f, "log_softmax {dim}"),
            Self::Trunc => f.write_str("trunc"),
        }
    }
}

impl FromStr for WholeOp {
    type Err = ();

    /// Reads back what `Display` writes; a custom op of somebody else is an error.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (name, number) = text.split_once(' ').unwrap_or((text, ""));
        let dim = || number.parse().map_err(|_| ());
        match name {
            "layer_norm" => Ok(Self::LayerNorm { epsilon: number.parse().map_err(|_| ())? }),
            "gelu" if number.is_empty() => Ok(Self::Gelu),
            "softmax" => Ok(Self::Softmax { dim: dim()? }),
            "log_softmax" => Ok(Self::LogSoftmax { dim: dim()? }),
            "trunc" if number.is_empty() => Ok(Self::Trunc),
            _ => Err(()),
        }
    }
}

impl<B: Traced> Whole for Fusion<Local<B>> {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: Option<FloatTensor<Self>>) -> FloatTensor<Self> {
        let plain = match weight.shape[..] {
            [from, to] => {
                x.shape.rank() >= 2
                    && x.shape.last() == Some(&from)
                    && bias.as_ref().is_none_or(|bias| bias.shape[..] == [to])
                    && [Some(&x), Some(&weight), bias.as_ref()].into_iter().flatten().all(is_f32)
            }
            _ => false,
        };
        if !plain {
            return <Self as ModuleOps<Self>>::linear(x, weight, bias);
        }
        let streams = OperationStreams::with_inputs([Some(&x), Some(&weight), bias.as_ref()].into_iter().flatten());
        let client = x.client.clone();
        let bias = bias.map(FusionTensor::into_ir);
        let op = LinearOpIr::create(x.into_ir(), weight.into_ir(), bias, || client.create_empty_handle());
        let ir = OperationIr::Module(ModuleOperationIr::Linear(op.clone()));
        client.register(streams, ir, Linear::<B>(op, PhantomData)).output()
    }

    fn layer_norm(
        tensor: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: Option<FloatTensor<Self>>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let operands = || [Some(&gamma), beta.as_ref()].into_iter().flatten();
        let plain = is_f32(&tensor)
            && tensor.shape.last().is_some_and(|&n| operands().all(|t| is_f32(t) && t.shape[..] == [n]));
        if !plain {
            return <Self as ModuleOps<Self>>::layer_norm(tensor, gamma, beta, epsilon);
        }
        record::<B>(WholeOp::LayerNorm { epsilon }, [Some(tensor), Some(gamma), beta].into_iter().flatten().collect())
    }

    fn gelu(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        if !is_f32(&tensor) {
            return <Self as ActivationOps<Self>>::gelu(tensor);
        }
        record::<B>(WholeOp::Gelu, vec![tensor])
    }

    fn softmax(tensor: FloatTensor<Self>, dim: usize) -> FloatTensor<Self> {
        if !is_f32(&tensor) || dim >= tensor.shape.rank() {
            return <Self as ActivationOps<Self>>::softmax(tensor, dim);
        }
        record::<B>(WholeOp::Softmax { dim }, vec![tensor])
    }

    fn log_softmax(tensor: FloatTensor<Self>, dim: usize) -> FloatTensor<Self> {
        if !is_f32(&tensor) || dim >= tensor.shape.rank() {
            return <Self as ActivationOps<Self>>::log_softmax(tensor, dim);
        }
        record::<B>(WholeOp::LogSoftmax { dim }, vec![tensor])
    }

    fn float_trunc(tensor: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<B>(WholeOp::Trunc, vec![tensor])
    }

    fn bool_mask_fill(tensor: BoolTensor<Self>, mask: BoolTensor<Self>, value: Scalar) -> BoolTensor<Self> {
        if value.elem() {
            <Self as BoolTensorOps<Self>>::bool_or(tensor, mask)
        } else {
            let open = <Self as BoolTensorOps<Self>>::bool_not(mask);
            <Self as BoolTensorOps<Self>>::bool_and(tensor, open)
        }
    }

    fn bool_equal_elem(lhs: BoolTensor<Self>, rhs: Scalar) -> BoolTensor<Self> {
        if rhs.elem() { lhs } else { <Self as BoolTensorOps<Self>>::bool_not(lhs) }
    }

    fn bool_not_equal_elem(lhs: BoolTensor<Self>, rhs: Scalar) -> BoolTensor<Self> {
        if rhs.elem() { <Self as BoolTensorOps<Self>>::bool_not(lhs) } else { lhs }
    }
}

fn is_f32<B: Traced>(tensor: &FusionTensor<Runtime<B>>) -> bool {
    tensor.dtype == DType::F32
}

/// Records an op on `inputs`, of which there is at least one; the result is of the type of the first.
fn record<B: Traced>(op: WholeOp, inputs: Vec<FusionTensor<Runtime<B>>>) -> FusionTensor<Runtime<B>> {
    let streams = OperationStreams::with_inputs(&inputs);
    let client = inputs[0].client.clone();
    let out = TensorIr::uninit(client.create_empty_handle(), inputs[0].shape.clone(), inputs[0].dtype);
    let inputs: Vec<TensorIr> = inputs.into_iter().map(FusionTensor::into_ir).collect();
    let ir = CustomOpIr { id: op.to_string(), inputs: inputs.clone(), outputs: vec![out.clone()] };
    client.register(streams, OperationIr::Custom(ir), Recorded::<B> { op, inputs, out, backend: PhantomData }).output()
}

/// A recorded linear layer, when it is done as recorded.
#[derive(Debug)]
struct Linear<B>(LinearOpIr, PhantomData<fn() -> B>);

impl<B: Traced> Operation<Runtime<B>> for Linear<B> {
    fn execute(&self, handles: &mut HandleContainer<B::Handle>) {
        let x = handles.get_float_tensor::<Local<B>>(&self.0.x);
        let weight = handles.get_float_tensor::<Local<B>>(&self.0.weight);
        let bias = self.0.bias.as_ref().map(|bias| handles.get_float_tensor::<Local<B>>(bias));
        handles.register_float_tensor::<Local<B>>(&self.0.out.id, <B as Whole>::linear(x, weight, bias));
    }
}

/// Another recorded op, when it is done as recorded.
#[derive(Debug)]
struct Recorded<B> {
    op: WholeOp,
    inputs: Vec<TensorIr>,
    out: TensorIr,
    backend: PhantomData<fn() -> B>,
}

impl<B: Traced> Operation<Runtime<B>> for Recorded<B> {
    fn execute(&self, handles: &mut HandleContainer<B::Handle>) {
        let mut input = |i: usize| self.inputs.get(i).map(|t| handles.get_float_tensor::<Local<B>>(t));
        let out = match (self.op, input(0), input(1)) {
            (WholeOp::LayerNorm { epsilon }, Some(x), Some(gamma)) => {
                <B as Whole>::layer_norm(x, gamma, input(2), epsilon)
            }
            (WholeOp::Gelu, Some(x), _) => <B as Whole>::gelu(x),
            (WholeOp::Softmax { dim }, Some(x), _) => <B as Whole>::softmax(x, dim),
            (WholeOp::LogSoftmax { dim }, Some(x), _) => <B as Whole>::log_softmax(x, dim),
            (WholeOp::Trunc, Some(x), _) => <B as Whole>::float_trunc(x),
            _ => return,
        };
        handles.register_float_tensor::<Local<B>>(&self.out.id, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_op_is_read_back_from_its_text() {
        let ops = [
            WholeOp::LayerNorm { epsilon: 1e-5 },
            WholeOp::LayerNorm { epsilon: 1e-12 },
            WholeOp::LayerNorm { epsilon: 0.1 + 0.2 },
            WholeOp::Gelu,
            WholeOp::Softmax { dim: 3 },
            WholeOp::LogSoftmax { dim: 0 },
            WholeOp::Trunc,
        ];
        for op in ops {
            assert_eq!(op.to_string().parse(), Ok(op));
        }
        for text in ["", "gelu 1", "softmax", "softmax -1", "layer_norm x", "gelu_backward"] {
            assert_eq!(text.parse::<WholeOp>(), Err(()), "{text:?}");
        }
    }
}
