//! Ops of layers, with their gradients.

use super::{Op, ops, tensor};
use crate::support::numbers;
use burn::tensor::backend::Backend;
use burn::tensor::module;
use burn::tensor::ops::{
    AttentionModuleOptions, ConvOptions, ConvTransposeOptions, DeformConvOptions, InterpolateMode, InterpolateOptions,
};
use burn::tensor::{DType, Int, Tensor, TensorData, TensorPrimitive};

/// Where numbers come from, in one dtype.
pub struct Source {
    pub dtype: DType,
}

type P<B> = <B as burn::tensor::backend::BackendTypes>::FloatTensorPrimitive;

impl Source {
    fn get<B: Backend, const D: usize>(&self, seed: u64, shape: [usize; D]) -> Tensor<B, D> {
        tensor(TensorData::new(numbers(seed, shape.iter().product()), shape), self.dtype)
    }

    fn raw<B: Backend, const D: usize>(&self, seed: u64, shape: [usize; D]) -> P<B> {
        self.get::<B, D>(seed, shape).into_primitive().tensor()
    }
}

fn of<B: Backend, const D: usize>(primitive: P<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn indices<B: Backend>() -> Tensor<B, 2, Int> {
    Tensor::from_data([[0i64, 2, 1], [3, 3, 0]], &B::Device::default())
}

pub fn ops<B: Backend>() -> Vec<Op<Source>> {
    ops![Source;
        "Module::Embedding" => |a| [module::embedding(a.get::<B, 2>(1, [4, 5]), indices())];
        "Module::EmbeddingBackward" => |a| [of::<B, 2>(B::embedding_backward(
            a.raw::<B, 2>(1, [4, 5]), a.raw::<B, 3>(2, [2, 3, 5]), indices::<B>().into_primitive()
        ))];
        "Module::Linear" => |a| [
            module::linear(a.get::<B, 3>(1, [2, 3, 4]), a.get(2, [4, 5]), Some(a.get(3, [5]))),
            module::linear(a.get::<B, 3>(1, [2, 3, 4]), a.get(2, [4, 5]), None)
        ];
        "Module::LinearXBackward" => |a| [of::<B, 2>(B::linear_x_backward(a.raw::<B, 2>(1, [4, 5]), a.raw::<B, 2>(2, [3, 5])))];
        "Module::LinearWeightBackward" => |a| [of::<B, 2>(B::linear_weight_backward(a.raw::<B, 2>(1, [3, 4]), a.raw::<B, 2>(2, [3, 5])))];
        "Module::LinearBiasBackward" => |a| [of::<B, 1>(B::linear_bias_backward(a.raw::<B, 2>(2, [3, 5])))];
        "Module::Conv1d" => |a| [module::conv1d(
            a.get::<B, 3>(1, [2, 4, 9]), a.get(2, [6, 2, 3]), Some(a.get(3, [6])), ConvOptions::new([2], [1], [1], 2)
        )];
        "Module::Conv1dXBackward" => |a| [of::<B, 3>(B::conv1d_x_backward(
            a.raw::<B, 3>(1, [2, 4, 9]), a.raw::<B, 3>(2, [6, 2, 3]), a.raw::<B, 3>(3, [2, 6, 5]), ConvOptions::new([2], [1], [1], 2)
        ))];
        "Module::Conv1dWeightBackward" => |a| [of::<B, 3>(B::conv1d_weight_backward(
            a.raw::<B, 3>(1, [2, 4, 9]), a.raw::<B, 3>(2, [6, 2, 3]), a.raw::<B, 3>(3, [2, 6, 5]), ConvOptions::new([2], [1], [1], 2)
        ))];
        "Module::Conv1dBiasBackward" => |a| [of::<B, 1>(B::conv1d_bias_backward(
            a.raw::<B, 3>(1, [2, 4, 9]), a.raw::<B, 1>(2, [6]), a.raw::<B, 3>(3, [2, 6, 5])
        ))];
        "Module::Conv2d" => |a| [module::conv2d(
            a.get::<B, 4>(1, [2, 4, 7, 6]), a.get(2, [6, 2, 3, 2]), Some(a.get(3, [6])), ConvOptions::new([2, 1], [1, 0], [1, 2], 2)
        )];
        "Module::Conv2dXBackward" => |a| [of::<B, 4>(B::conv2d_x_backward(
            a.raw::<B, 4>(1, [2, 4, 7, 6]), a.raw::<B, 4>(2, [6, 2, 3, 2]), a.raw::<B, 4>(3, [2, 6, 4, 4]), ConvOptions::new([2, 1], [1, 0], [1, 2], 2)
        ))];
        "Module::Conv2dWeightBackward" => |a| [of::<B, 4>(B::conv2d_weight_backward(
            a.raw::<B, 4>(1, [2, 4, 7, 6]), a.raw::<B, 4>(2, [6, 2, 3, 2]), a.raw::<B, 4>(3, [2, 6, 4, 4]), ConvOptions::new([2, 1], [1, 0], [1, 2], 2)
        ))];
        "Module::Conv2dBiasBackward" => |a| [of::<B, 1>(B::conv2d_bias_backward(
            a.raw::<B, 4>(1, [2, 4, 7, 6]), a.raw::<B, 1>(2, [6]), a.raw::<B, 4>(3, [2, 6, 4, 4])
        ))];
        "Module::Conv3d" => |a| [module::conv3d(
            a.get::<B, 5>(1, [1, 2, 4, 4, 3]), a.get(2, [3, 2, 2, 2, 2]), Some(a.get(3, [3])), ConvOptions::new([1, 2, 1], [0, 1, 0], [1, 1, 1], 1)
        )];
        "Module::Conv3dXBackward" => |a| [of::<B, 5>(B::conv3d_x_backward(
            a.raw::<B, 5>(1, [1, 2, 4, 4, 3]), a.raw::<B, 5>(2, [3, 2, 2, 2, 2]), a.raw::<B, 5>(3, [1, 3, 3, 3, 2]), ConvOptions::new([1, 2, 1], [0, 1, 0], [1, 1, 1], 1)
        ))];
        "Module::Conv3dWeightBackward" => |a| [of::<B, 5>(B::conv3d_weight_backward(
            a.raw::<B, 5>(1, [1, 2, 4, 4, 3]), a.raw::<B, 5>(2, [3, 2, 2, 2, 2]), a.raw::<B, 5>(3, [1, 3, 3, 3, 2]), ConvOptions::new([1, 2, 1], [0, 1, 0], [1, 1, 1], 1)
        ))];
        "Module::Conv3dBiasBackward" => |a| [of::<B, 1>(B::conv3d_bias_backward(
            a.raw::<B, 5>(1, [1, 2, 4, 4, 3]), a.raw::<B, 1>(2, [3]), a.raw::<B, 5>(3, [1, 3, 3, 3, 2])
        ))];
        "Module::DeformableConv2d" => |a| [module::deform_conv2d(
            a.get::<B, 4>(1, [1, 2, 5, 5]), a.get(2, [1, 18, 3, 3]), a.get(3, [3, 2, 3, 3]), Some(a.get(4, [1, 9, 3, 3])), Some(a.get(5, [3])),
            DeformConvOptions::new([1, 1], [0, 0], [1, 1], 1, 1)
        )];
        "Module::DeformableConv2dBackward" => |a| [of::<B, 4>(B::deform_conv2d_backward(
            a.raw::<B, 4>(1, [1, 2, 5, 5]), a.raw::<B, 4>(2, [1, 18, 3, 3]), a.raw::<B, 4>(3, [3, 2, 3, 3]), Some(a.raw::<B, 4>(4, [1, 9, 3, 3])), Some(a.raw::<B, 1>(5, [3])),
            a.raw::<B, 4>(6, [1, 3, 3, 3]), DeformConvOptions::new([1, 1], [0, 0], [1, 1], 1, 1)
        ).weight_grad)];
        "Module::ConvTranspose1d" => |a| [module::conv_transpose1d(
            a.get::<B, 3>(1, [2, 4, 5]), a.get(2, [4, 3, 3]), Some(a.get(3, [6])), ConvTransposeOptions::new([2], [1], [1], [1], 2)
        )];
        "Module::ConvTranspose2d" => |a| [module::conv_transpose2d(
            a.get::<B, 4>(1, [2, 4, 3, 4]), a.get(2, [4, 3, 3, 2]), Some(a.get(3, [6])), ConvTransposeOptions::new([2, 1], [1, 0], [1, 0], [1, 2], 2)
        )];
        "Module::ConvTranspose3d" => |a| [module::conv_transpose3d(
            a.get::<B, 5>(1, [1, 2, 3, 2, 3]), a.get(2, [2, 3, 2, 2, 2]), Some(a.get(3, [3])), ConvTransposeOptions::new([1, 2, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1], 1)
        )];
        "Module::AvgPool1d" => |a| [module::avg_pool1d(a.get::<B, 3>(1, [2, 3, 9]), 3, 2, 1, false, false)];
        "Module::AvgPool1dBackward" => |a| [of::<B, 3>(B::avg_pool1d_backward(
            a.raw::<B, 3>(1, [2, 3, 9]), a.raw::<B, 3>(2, [2, 3, 5]), 3, 2, 1, false, false
        ))];
        "Module::AvgPool2d" => |a| [module::avg_pool2d(a.get::<B, 4>(1, [2, 3, 7, 6]), [3, 2], [2, 1], [1, 0], true, false)];
        "Module::AvgPool2dBackward" => |a| [of::<B, 4>(B::avg_pool2d_backward(
            a.raw::<B, 4>(1, [2, 3, 7, 6]), a.raw::<B, 4>(2, [2, 3, 4, 5]), [3, 2], [2, 1], [1, 0], true, false
        ))];
        "Module::AdaptiveAvgPool1d" => |a| [module::adaptive_avg_pool1d(a.get::<B, 3>(1, [2, 3, 9]), 4)];
        "Module::AdaptiveAvgPool1dBackward" => |a| [of::<B, 3>(B::adaptive_avg_pool1d_backward(a.raw::<B, 3>(1, [2, 3, 9]), a.raw::<B, 3>(2, [2, 3, 4])))];
        "Module::AdaptiveAvgPool2d" => |a| [module::adaptive_avg_pool2d(a.get::<B, 4>(1, [2, 3, 7, 6]), [3, 4])];
        "Module::AdaptiveAvgPool2dBackward" => |a| [of::<B, 4>(B::adaptive_avg_pool2d_backward(a.raw::<B, 4>(1, [2, 3, 7, 6]), a.raw::<B, 4>(2, [2, 3, 3, 4])))];
        "Module::MaxPool1d" => |a| [module::max_pool1d(a.get::<B, 3>(1, [2, 3, 9]), 3, 2, 1, 1, false)];
        "Module::MaxPool1dWithIndices" => |a| [
            module::max_pool1d_with_indices(a.get::<B, 3>(1, [2, 3, 9]), 3, 2, 1, 1, false).0,
            module::max_pool1d_with_indices(a.get::<B, 3>(1, [2, 3, 9]), 3, 2, 1, 1, false).1
        ];
        "Module::MaxPool1dWithIndicesBackward" => |a| [{
            let indices = B::max_pool1d_with_indices(a.raw::<B, 3>(1, [2, 3, 9]), 3, 2, 1, 1, false).indices;
            of::<B, 3>(B::max_pool1d_with_indices_backward(
                a.raw::<B, 3>(1, [2, 3, 9]), 3, 2, 1, 1, false, a.raw::<B, 3>(2, [2, 3, 5]), indices
            ).x_grad)
        }];
        "Module::MaxPool2d" => |a| [module::max_pool2d(a.get::<B, 4>(1, [2, 3, 7, 6]), [3, 2], [2, 1], [1, 0], [1, 2], false)];
        "Module::MaxPool2dWithIndices" => |a| [
            module::max_pool2d_with_indices(a.get::<B, 4>(1, [2, 3, 7, 6]), [3, 2], [2, 1], [1, 0], [1, 1], false).0,
            module::max_pool2d_with_indices(a.get::<B, 4>(1, [2, 3, 7, 6]), [3, 2], [2, 1], [1, 0], [1, 1], false).1
        ];
        "Module::MaxPool2dWithIndicesBackward" => |a| [{
            let indices = B::max_pool2d_with_indices(a.raw::<B, 4>(1, [2, 3, 7, 6]), [3, 2], [2, 1], [1, 0], [1, 1], false).indices;
            of::<B, 4>(B::max_pool2d_with_indices_backward(
                a.raw::<B, 4>(1, [2, 3, 7, 6]), [3, 2], [2, 1], [1, 0], [1, 1], false, a.raw::<B, 4>(2, [2, 3, 4, 5]), indices
            ).x_grad)
        }];
        "Module::Interpolate" => |a| [
            module::interpolate(a.get::<B, 4>(1, [1, 2, 4, 5]), [7, 8], InterpolateOptions::new(InterpolateMode::Bilinear)),
            module::interpolate(a.get::<B, 4>(1, [1, 2, 4, 5]), [7, 8], InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false)),
            module::interpolate(a.get::<B, 4>(1, [1, 2, 4, 5]), [7, 8], InterpolateOptions::new(InterpolateMode::Nearest))
        ];
        "Module::InterpolateBackward" => |a| [of::<B, 4>(B::interpolate_backward(
            a.raw::<B, 4>(1, [1, 2, 4, 5]), a.raw::<B, 4>(2, [1, 2, 8, 10]), [8, 10], InterpolateOptions::new(InterpolateMode::Nearest)
        ))];
        "Module::Rfft" => |a| [of::<B, 2>(B::rfft(a.raw::<B, 2>(1, [3, 8]), 1, None).0), of::<B, 2>(B::rfft(a.raw::<B, 2>(1, [3, 8]), 1, None).1)];
        "Module::IRfft" => |a| [of::<B, 2>(B::irfft(a.raw::<B, 2>(1, [3, 5]), a.raw::<B, 2>(2, [3, 5]), 1, None))];
        "Module::Attention" => |a| [
            attention::<B>(a, AttentionModuleOptions::default()),
            attention::<B>(a, AttentionModuleOptions { scale: Some(0.3), softcap: None, is_causal: true }),
            attention::<B>(a, AttentionModuleOptions { scale: None, softcap: Some(2.0), is_causal: false })
        ];
        "layer norm" => |a| [of::<B, 3>(B::layer_norm(a.raw::<B, 3>(1, [2, 3, 8]), a.raw::<B, 1>(2, [8]), Some(a.raw::<B, 1>(3, [8])), 1e-5))];
        "unfold" => |a| [of::<B, 3>(B::unfold4d(a.raw::<B, 4>(1, [1, 2, 4, 5]), [2, 2], burn::tensor::ops::UnfoldOptions::new([1, 1], [0, 0], [1, 1])))];
    ]
}

fn attention<B: Backend>(a: &Source, options: AttentionModuleOptions) -> Tensor<B, 4> {
    let [q, k, v] = [1, 2, 3].map(|seed| a.get::<B, 4>(seed, [2, 2, 5, 4]));
    module::attention(q, k, v, None, None, options)
}
