//! Ops of floats.

use super::{Op, ops, tensor};
use burn::tensor::backend::Backend;
use burn::tensor::ops::{GridSampleOptions, InterpolateMode};
use burn::tensor::{Bool, DType, IndexingUpdateOp, Int, IntDType, Tensor, TensorData, TensorPrimitive, activation};

/// Operands of one dtype.
pub struct Floats<B: Backend> {
    dtype: DType,
    /// With NaN, infinities and both zeros.
    x: Tensor<B, 2>,
    /// Of the shape of `x`, without zeros.
    y: Tensor<B, 2>,
    /// Above 1.
    above: Tensor<B, 2>,
    /// In -0.95..0.95.
    unit: Tensor<B, 2>,
    tall: Tensor<B, 2>,
    image: Tensor<B, 4>,
    mask: Tensor<B, 2, Bool>,
    row: Tensor<B, 1, Int>,
    rows: Tensor<B, 2, Int>,
}

pub fn operands<B: Backend>(dtype: DType) -> Floats<B> {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
    let x: Vec<f32> = [-2.5, -1.75, -1.0, -0.25, 0.5, 1.5, 2.25].into_iter().chain(special).collect();
    let y: Vec<f32> = (0..12).map(|i| if i % 2 == 0 { 0.75 + i as f32 } else { -0.5 - i as f32 }).collect();
    let steps = |from: f32, step: f32| (0..12).map(move |i| from + step * i as f32).collect::<Vec<_>>();
    let device = B::Device::default();
    Floats {
        dtype,
        x: tensor(TensorData::new(x, [3, 4]), dtype),
        y: tensor(TensorData::new(y, [3, 4]), dtype),
        above: tensor(TensorData::new(steps(1.125, 0.375), [3, 4]), dtype),
        unit: tensor(TensorData::new(steps(-0.95, 0.17), [3, 4]), dtype),
        tall: tensor(TensorData::new(steps(-1.5, 0.25), [4, 3]), dtype),
        image: tensor(TensorData::new(steps(-1.5, 0.25), [1, 1, 3, 4]), dtype),
        mask: Tensor::from_data(TensorData::new((0..12).map(|i| i % 3 == 0).collect(), [3, 4]), &device),
        row: Tensor::from_data([2i64, 0], &device),
        rows: Tensor::from_data([[2i64, 0, 1, 0], [1, 1, 0, 2], [0, 2, 2, 1]], &device),
    }
}

fn float<B: Backend, const D: usize>(primitive: B::FloatTensorPrimitive) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// The elements of [`operands`]' `x` that are numbers.
fn finite<B: Backend>(a: &Floats<B>) -> Tensor<B, 2> {
    a.x.clone().slice([0..1, 0..4])
}

pub fn ops<B: Backend>() -> Vec<Op<Floats<B>>> {
    ops![Floats<B>;
        "Float::Exp" => |a| [a.x.clone().exp()];
        "Float::Log" => |a| [a.x.clone().log()];
        "Float::Log1p" => |a| [a.unit.clone().log1p()];
        "Float::Erf" => |a| [a.x.clone().erf()];
        "Float::Powf" => |a| [a.above.clone().powf(a.unit.clone())];
        "Float::PowfScalar" => |a| [a.above.clone().powf_scalar(1.5), a.above.clone().powf_scalar(-0.5)];
        "Float::Sqrt" => |a| [a.x.clone().sqrt()];
        "Float::Cos" => |a| [a.y.clone().cos()];
        "Float::Cosh" => |a| [a.unit.clone().cosh()];
        "Float::Sin" => |a| [a.y.clone().sin()];
        "Float::Sinh" => |a| [a.unit.clone().sinh()];
        "Float::Tan" => |a| [a.unit.clone().tan()];
        "Float::Tanh" => |a| [a.x.clone().tanh()];
        "Float::ArcCos" => |a| [a.unit.clone().acos()];
        "Float::ArcCosh" => |a| [a.above.clone().acosh()];
        "Float::ArcSin" => |a| [a.unit.clone().asin()];
        "Float::ArcSinh" => |a| [a.y.clone().asinh()];
        "Float::ArcTan" => |a| [a.x.clone().atan()];
        "Float::ArcTanh" => |a| [a.unit.clone().atanh()];
        "Float::ArcTan2" => |a| [a.y.clone().atan2(a.unit.clone())];
        "Float::Round" => |a| [a.x.clone().round()];
        "Float::Floor" => |a| [a.x.clone().floor()];
        "Float::Ceil" => |a| [a.x.clone().ceil()];
        "Float::Trunc" => |a| [a.x.clone().trunc()];
        "Float::Trunc" => |a| [a.y.clone().fmod(a.above.clone()), a.y.clone().fmod_scalar(2.0)];
        "Float::IntoInt" => |a| [
            a.y.clone().int(), a.y.clone().cast(IntDType::I64), a.y.clone().cast(IntDType::I32), a.y.clone().cast(IntDType::I16),
            a.y.clone().cast(IntDType::I8)
        ];
        "Float::Matmul" => |a| [a.y.clone().matmul(a.tall.clone())];
        "Float::Cross" => |a| [a.tall.clone().cross(a.tall.clone() + 1.0, 1)];
        "Float::Recip" => |a| [a.x.clone().recip()];
        "Float::IsNan" => |a| [a.x.clone().is_nan()];
        "Float::IsInf" => |a| [a.x.clone().is_inf()];
        "Float::GridSample2d" => |a| [{
            let grid = a.unit.clone().reshape([1, 2, 3, 2]);
            a.image.clone().grid_sample_2d(grid, GridSampleOptions::new(InterpolateMode::Bilinear))
        }];
        "Numeric::Add" => |a| [a.x.clone() + a.y.clone()];
        "Numeric::AddScalar" => |a| [a.x.clone() + 1.5];
        "Numeric::Sub" => |a| [a.x.clone() - a.y.clone()];
        "Numeric::SubScalar" => |a| [a.x.clone() - 1.5];
        "Numeric::Mul" => |a| [a.x.clone() * a.y.clone()];
        "Numeric::MulScalar" => |a| [a.x.clone() * -1.5, -a.x.clone()];
        "Numeric::Div" => |a| [a.x.clone() / a.y.clone()];
        "Numeric::DivScalar" => |a| [a.x.clone() / 2.5];
        "Numeric::Rem" => |a| [a.y.clone().remainder(a.above.clone())];
        "Numeric::RemScalar" => |a| [a.y.clone().remainder_scalar(1.5)];
        "Numeric::Abs" => |a| [a.x.clone().abs()];
        "Numeric::Full" => |a| [Tensor::<B, 2>::full([2, 3], 1.25, (&B::Device::default(), a.dtype))];
        "Numeric::MeanDim" => |a| [a.y.clone().mean_dim(0), a.y.clone().mean_dim(1)];
        "Numeric::Mean" => |a| [a.y.clone().mean()];
        "Numeric::Sum" => |a| [a.y.clone().sum()];
        "Numeric::SumDim" => |a| [a.y.clone().sum_dim(0), a.y.clone().sum_dim(1)];
        "Numeric::Prod" => |a| [a.unit.clone().prod()];
        "Numeric::ProdDim" => |a| [a.unit.clone().prod_dim(0), a.unit.clone().prod_dim(1)];
        "Numeric::Greater" => |a| [a.x.clone().greater(a.y.clone())];
        "Numeric::GreaterElem" => |a| [a.x.clone().greater_elem(-0.25)];
        "Numeric::GreaterEqual" => |a| [a.x.clone().greater_equal(a.x.clone().flip([1]))];
        "Numeric::GreaterEqualElem" => |a| [a.x.clone().greater_equal_elem(-0.25)];
        "Numeric::Lower" => |a| [a.x.clone().lower(a.y.clone())];
        "Numeric::LowerElem" => |a| [a.x.clone().lower_elem(-0.25)];
        "Numeric::LowerEqual" => |a| [a.x.clone().lower_equal(a.x.clone().flip([1]))];
        "Numeric::LowerEqualElem" => |a| [a.x.clone().lower_equal_elem(-0.25)];
        "Numeric::ArgMax" => |a| [a.y.clone().argmax(0), a.y.clone().argmax(1)];
        "Numeric::ArgTopK" => |a| [a.y.clone().argtopk(2, 1)];
        "Numeric::TopK" => |a| [a.y.clone().topk(2, 1)];
        "Numeric::ArgMin" => |a| [a.y.clone().argmin(0), a.y.clone().argmin(1)];
        "Numeric::Max" => |a| [a.y.clone().max()];
        "Numeric::Min" => |a| [a.y.clone().min()];
        "Numeric::MaxDim" => |a| [a.y.clone().max_dim(0), a.y.clone().max_dim(1)];
        "Numeric::MinDim" => |a| [a.y.clone().min_dim(0), a.y.clone().min_dim(1)];
        "Numeric::MaxDimWithIndices" => |a| [a.y.clone().max_dim_with_indices(0).0, a.y.clone().max_dim_with_indices(1).1];
        "Numeric::MinDimWithIndices" => |a| [a.y.clone().min_dim_with_indices(0).0, a.y.clone().min_dim_with_indices(1).1];
        "Numeric::MaxAbs" => |a| [a.y.clone().max_abs()];
        "Numeric::MaxAbsDim" => |a| [a.y.clone().max_abs_dim(0), a.y.clone().max_abs_dim(1)];
        "Numeric::Clamp" => |a| [a.x.clone().clamp(-1.5, 0.75), a.y.clone().clamp_min(-0.5), a.y.clone().clamp_max(0.5)];
        "Numeric::Powi" => |a| [a.above.clone().powi(a.above.clone().round())];
        "Numeric::PowiScalar" => |a| [a.y.clone().powi_scalar(3), a.y.clone().powi_scalar(2), a.y.clone().powi_scalar(-1)];
        "Numeric::CumSum" => |a| [a.unit.clone().cumsum(0), a.unit.clone().cumsum(1)];
        "Numeric::CumProd" => |a| [a.unit.clone().cumprod(0), a.unit.clone().cumprod(1)];
        "Numeric::CumMin" => |a| [a.y.clone().cummin(0), a.y.clone().cummin(1)];
        "Numeric::CumMax" => |a| [a.y.clone().cummax(0), a.y.clone().cummax(1)];
        "Base::Reshape" => |a| [a.x.clone().reshape([2, 6])];
        "Base::SwapDims" => |a| [a.x.clone().swap_dims(0, 1)];
        "Base::Permute" => |a| [a.image.clone().permute([2, 0, 3, 1])];
        "Base::Flip" => |a| [a.x.clone().flip([0]), a.x.clone().flip([0, 1])];
        "Base::Expand" => |a| [a.x.clone().slice([0..1, 0..4]).expand([5, 4])];
        "Base::Unfold" => |a| [a.x.clone().unfold::<3, _>(1, 2, 1)];
        "Base::Slice" => |a| [a.x.clone().slice([1..3, 0..2]), a.x.clone().slice([0..2, 2..4])];
        "Base::SliceAssign" => |a| [a.x.clone().slice_assign([1..2, 0..4], a.y.clone().slice([0..1, 0..4]))];
        "Base::Select" => |a| [a.x.clone().select(0, a.row.clone()), a.x.clone().select(1, a.row.clone())];
        "Base::SelectAssign" => |a| [{
            let added = a.y.clone().slice([0..2, 0..4]);
            a.unit.clone().select_assign(0, a.row.clone(), added, IndexingUpdateOp::Add)
        }];
        "Base::MaskWhere" => |a| [a.x.clone().mask_where(a.mask.clone(), a.y.clone())];
        "Base::MaskFill" => |a| [a.x.clone().mask_fill(a.mask.clone(), -7.5), a.x.clone().mask_fill(a.mask.clone(), f32::NEG_INFINITY)];
        "Base::Gather" => |a| [a.x.clone().gather(0, a.rows.clone()), a.x.clone().gather(1, a.rows.clone())];
        "Base::Scatter" => |a| [a.unit.clone().scatter(0, a.rows.clone(), a.y.clone(), IndexingUpdateOp::Add)];
        "Base::ScatterNd" => |a| [{
            let at = a.rows.clone().slice([0..3, 0..2]);
            a.unit.clone().scatter_nd(at, a.row.clone().float().cast(a.dtype).repeat(&[2]).narrow(0, 0, 3), IndexingUpdateOp::Add)
        }];
        "Base::GatherNd" => |a| [a.x.clone().gather_nd::<2, 1>(a.rows.clone().slice([0..3, 0..2]))];
        "Base::Equal" => |a| [a.x.clone().equal(a.x.clone().flip([1])), a.x.clone().not_equal(a.y.clone())];
        "Base::EqualElem" => |a| [a.x.clone().equal_elem(-2.5), a.x.clone().equal_elem(0.0), a.x.clone().not_equal_elem(-2.5)];
        "Base::RepeatDim" => |a| [a.x.clone().repeat_dim(0, 3), finite(a).repeat_dim(0, 3)];
        "Base::Cat" => |a| [Tensor::cat(vec![a.x.clone(), a.y.clone()], 0), Tensor::cat(vec![a.x.clone(), a.y.clone()], 1)];
        "Base::Cast" => |a| [
            a.y.clone().cast(DType::F16), a.y.clone().cast(DType::BF16), a.y.clone().cast(DType::F32), a.y.clone().cast(DType::F64)
        ];
        "Base::Zeros" => |a| [Tensor::<B, 2>::zeros([2, 3], (&B::Device::default(), a.dtype))];
        "Base::Ones" => |a| [Tensor::<B, 2>::ones([2, 3], (&B::Device::default(), a.dtype))];
        // No element of it is said.
        "Base::Empty" => |a| [Tensor::<B, 2>::empty([0, 3], (&B::Device::default(), a.dtype))];
        // Ops that Burn makes of several, or that are recorded whole. The several are not always what Flex does of NaN.
        "sign" => |a| [a.y.clone().sign()];
        "any and all" => |a| [
            a.unit.clone().any(), a.unit.clone().any_dim(1), a.unit.clone().all(), a.x.clone().all_dim(0)
        ];
        "bool" => |a| [a.unit.clone().bool()];
        "softmax" => |a| [activation::softmax(a.y.clone(), 1), activation::log_softmax(a.y.clone(), 0), activation::softmin(a.y.clone(), 1)];
        "activations" => |a| [
            activation::gelu(a.x.clone()), activation::silu(a.x.clone()), activation::relu(a.y.clone()),
            activation::sigmoid(a.x.clone()), activation::leaky_relu(a.x.clone(), 0.25), activation::log_sigmoid(a.y.clone()),
            activation::hard_sigmoid(a.x.clone(), 0.2, 0.5), activation::softplus(a.y.clone(), 1.0), activation::mish(a.y.clone())
        ];
        "prelu" => |a| [activation::prelu(a.x.clone(), Tensor::from_primitive(a.y.clone().slice([0..1, 0..1]).reshape([1]).into_primitive()))];
        "relu backward" => |a| [float::<B, 2>(B::relu_backward(a.unit.clone().into_primitive().tensor(), a.y.clone().into_primitive().tensor()))];
        "sort" => |a| [a.y.clone().sort(1), a.y.clone().sort_descending(0), a.y.clone().argsort(1)];
    ]
}
