//! Ops of integers.

use super::{Op, ops, tensor};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, ElementConversion, FloatDType, IndexingUpdateOp, Int, Tensor, TensorData};

/// Operands of one dtype.
pub struct Ints<B: Backend> {
    dtype: DType,
    /// Negative too, where there are such.
    x: Tensor<B, 2, Int>,
    /// 1 to 12.
    y: Tensor<B, 2, Int>,
    /// 0 to 3.
    small: Tensor<B, 2, Int>,
    tall: Tensor<B, 2, Int>,
    mask: Tensor<B, 2, Bool>,
    row: Tensor<B, 1, Int>,
    rows: Tensor<B, 2, Int>,
}

pub fn operands<B: Backend>(dtype: DType) -> Ints<B> {
    let offset = if dtype.is_uint() { 0 } else { 50 };
    let x: Vec<i64> = (0..12).map(|i| (i * 37) % 101 - offset).collect();
    let device = B::Device::default();
    let count = |from: i64| (from..from + 12).collect::<Vec<i64>>();
    Ints {
        dtype,
        x: tensor(TensorData::new(x, [3, 4]), dtype),
        y: tensor(TensorData::new(count(1), [3, 4]), dtype),
        small: tensor(TensorData::new((0..12).map(|i| (i * 7) % 4).collect::<Vec<i64>>(), [3, 4]), dtype),
        tall: tensor(TensorData::new(count(0), [4, 3]), dtype),
        mask: Tensor::from_data(TensorData::new((0..12).map(|i| i % 3 == 0).collect(), [3, 4]), &device),
        row: Tensor::from_data([2i64, 0], &device),
        rows: Tensor::from_data([[2i64, 0, 1, 0], [1, 1, 0, 2], [0, 2, 2, 1]], &device),
    }
}

pub fn ops<B: Backend>() -> Vec<Op<Ints<B>>> {
    ops![Ints<B>;
        "Int::IntoFloat" => |a| [a.x.clone().float()];
        "Int::BitwiseAnd" => |a| [a.x.clone().bitwise_and(a.y.clone())];
        "Int::BitwiseAndScalar" => |a| [a.x.clone().bitwise_and_scalar(6.elem())];
        "Int::BitwiseOr" => |a| [a.x.clone().bitwise_or(a.y.clone())];
        "Int::BitwiseOrScalar" => |a| [a.x.clone().bitwise_or_scalar(6.elem())];
        "Int::BitwiseXor" => |a| [a.x.clone().bitwise_xor(a.y.clone())];
        "Int::BitwiseXorScalar" => |a| [a.x.clone().bitwise_xor_scalar(6.elem())];
        "Int::BitwiseNot" => |a| [a.x.clone().bitwise_not()];
        "Int::BitwiseLeftShift" => |a| [a.y.clone().bitwise_left_shift(a.small.clone())];
        "Int::BitwiseLeftShiftScalar" => |a| [a.y.clone().bitwise_left_shift_scalar(2.elem())];
        "Int::BitwiseRightShift" => |a| [a.x.clone().bitwise_right_shift(a.small.clone())];
        "Int::BitwiseRightShiftScalar" => |a| [a.x.clone().bitwise_right_shift_scalar(2.elem())];
        "Int::Matmul" => |a| [a.small.clone().matmul(a.tall.clone())];
        "Numeric::Add" => |a| [a.x.clone() + a.y.clone()];
        "Numeric::AddScalar" => |a| [a.x.clone() + 3];
        "Numeric::Sub" => |a| [a.y.clone() - a.small.clone()];
        "Numeric::SubScalar" => |a| [a.y.clone() - 1];
        "Numeric::Mul" => |a| [a.small.clone() * a.y.clone()];
        "Numeric::MulScalar" => |a| [a.y.clone() * 3];
        "Numeric::Div" => |a| [a.x.clone() / a.y.clone()];
        "Numeric::DivScalar" => |a| [a.x.clone() / 3];
        "Numeric::Rem" => |a| [a.x.clone().remainder(a.y.clone())];
        "Numeric::RemScalar" => |a| [a.x.clone().remainder_scalar(5)];
        "Numeric::Abs" => |a| [a.x.clone().abs()];
        "Numeric::Full" => |a| [Tensor::<B, 2, Int>::full([2, 3], 7, (&B::Device::default(), a.dtype))];
        "Numeric::MeanDim" => |a| [a.y.clone().mean_dim(0), a.y.clone().mean_dim(1)];
        "Numeric::Mean" => |a| [a.y.clone().mean()];
        "Numeric::Sum" => |a| [a.y.clone().sum()];
        "Numeric::SumDim" => |a| [a.y.clone().sum_dim(0), a.y.clone().sum_dim(1)];
        "Numeric::Prod" => |a| [a.small.clone().slice([0..1, 1..3]).prod()];
        "Numeric::ProdDim" => |a| [a.small.clone().prod_dim(0), a.small.clone().prod_dim(1)];
        "Numeric::Greater" => |a| [a.x.clone().greater(a.y.clone())];
        "Numeric::GreaterElem" => |a| [a.x.clone().greater_elem(10)];
        "Numeric::GreaterEqual" => |a| [a.y.clone().greater_equal(a.small.clone() + 1)];
        "Numeric::GreaterEqualElem" => |a| [a.y.clone().greater_equal_elem(5)];
        "Numeric::Lower" => |a| [a.x.clone().lower(a.y.clone())];
        "Numeric::LowerElem" => |a| [a.y.clone().lower_elem(5)];
        "Numeric::LowerEqual" => |a| [a.y.clone().lower_equal(a.small.clone() + 1)];
        "Numeric::LowerEqualElem" => |a| [a.y.clone().lower_equal_elem(5)];
        "Numeric::ArgMax" => |a| [a.x.clone().argmax(0), a.x.clone().argmax(1)];
        "Numeric::ArgTopK" => |a| [a.x.clone().argtopk(2, 1)];
        "Numeric::TopK" => |a| [a.x.clone().topk(2, 1)];
        "Numeric::ArgMin" => |a| [a.x.clone().argmin(0), a.x.clone().argmin(1)];
        "Numeric::Max" => |a| [a.x.clone().max()];
        "Numeric::Min" => |a| [a.x.clone().min()];
        "Numeric::MaxDim" => |a| [a.x.clone().max_dim(0), a.x.clone().max_dim(1)];
        "Numeric::MinDim" => |a| [a.x.clone().min_dim(0), a.x.clone().min_dim(1)];
        "Numeric::MaxDimWithIndices" => |a| [a.x.clone().max_dim_with_indices(0).0, a.x.clone().max_dim_with_indices(1).1];
        "Numeric::MinDimWithIndices" => |a| [a.x.clone().min_dim_with_indices(0).0, a.x.clone().min_dim_with_indices(1).1];
        "Numeric::MaxAbs" => |a| [a.x.clone().max_abs()];
        "Numeric::MaxAbsDim" => |a| [a.x.clone().max_abs_dim(0), a.x.clone().max_abs_dim(1)];
        "Numeric::Clamp" => |a| [a.x.clone().clamp(3, 9), a.x.clone().clamp_min(2), a.x.clone().clamp_max(8)];
        "Numeric::Powi" => |a| [a.small.clone().powi(a.small.clone())];
        "Numeric::PowiScalar" => |a| [a.small.clone().powi_scalar(3), a.y.clone().powi_scalar(2)];
        "Numeric::CumSum" => |a| [a.small.clone().cumsum(0), a.small.clone().cumsum(1)];
        "Numeric::CumProd" => |a| [a.small.clone().cumprod(0), a.small.clone().cumprod(1)];
        "Numeric::CumMin" => |a| [a.x.clone().cummin(0), a.x.clone().cummin(1)];
        "Numeric::CumMax" => |a| [a.x.clone().cummax(0), a.x.clone().cummax(1)];
        "Base::Reshape" => |a| [a.x.clone().reshape([2, 6])];
        "Base::SwapDims" => |a| [a.x.clone().swap_dims(0, 1)];
        "Base::Permute" => |a| [a.x.clone().permute([1, 0])];
        "Base::Flip" => |a| [a.x.clone().flip([0]), a.x.clone().flip([0, 1])];
        "Base::Expand" => |a| [a.x.clone().slice([0..1, 0..4]).expand([5, 4])];
        "Base::Unfold" => |a| [a.x.clone().unfold::<3, _>(1, 2, 1)];
        "Base::Slice" => |a| [a.x.clone().slice([1..3, 0..2]), a.x.clone().slice([0..2, 2..4])];
        "Base::SliceAssign" => |a| [a.x.clone().slice_assign([1..2, 0..4], a.y.clone().slice([0..1, 0..4]))];
        "Base::Select" => |a| [a.x.clone().select(0, a.row.clone()), a.x.clone().select(1, a.row.clone())];
        "Base::SelectAssign" => |a| [a.small.clone().select_assign(0, a.row.clone(), a.y.clone().slice([0..2, 0..4]), IndexingUpdateOp::Add)];
        "Base::MaskWhere" => |a| [a.x.clone().mask_where(a.mask.clone(), a.y.clone())];
        "Base::MaskFill" => |a| [a.x.clone().mask_fill(a.mask.clone(), 7)];
        "Base::Gather" => |a| [a.x.clone().gather(0, a.rows.clone()), a.x.clone().gather(1, a.rows.clone())];
        "Base::Scatter" => |a| [a.small.clone().scatter(0, a.rows.clone(), a.y.clone(), IndexingUpdateOp::Add)];
        "Base::ScatterNd" => |a| [a.small.clone().scatter_nd(a.rows.clone().slice([0..3, 0..2]), a.y.clone().slice([0..1, 0..3]).reshape([3]), IndexingUpdateOp::Add)];
        "Base::GatherNd" => |a| [a.x.clone().gather_nd::<2, 1>(a.rows.clone().slice([0..3, 0..2]))];
        "Base::Equal" => |a| [a.x.clone().equal(a.x.clone().flip([1])), a.y.clone().not_equal(a.small.clone())];
        "Base::EqualElem" => |a| [a.y.clone().equal_elem(3), a.y.clone().not_equal_elem(3)];
        "Base::RepeatDim" => |a| [a.x.clone().repeat_dim(0, 3), a.x.clone().slice([0..1, 0..4]).repeat_dim(0, 3)];
        "Base::Cat" => |a| [Tensor::cat(vec![a.x.clone(), a.y.clone()], 0), Tensor::cat(vec![a.x.clone(), a.y.clone()], 1)];
        "Base::Cast" => |a| [
            a.y.clone().cast(DType::I64), a.y.clone().cast(DType::I32), a.y.clone().cast(DType::I16), a.y.clone().cast(DType::I8),
            a.y.clone().cast(DType::U8)
        ];
        "Int::IntoFloat" => |a| [
            a.x.clone().cast(FloatDType::F32), a.x.clone().cast(FloatDType::F64), a.x.clone().cast(FloatDType::F16),
            a.x.clone().cast(FloatDType::BF16)
        ];
        "Base::Zeros" => |a| [Tensor::<B, 2, Int>::zeros([2, 3], (&B::Device::default(), a.dtype))];
        "Base::Ones" => |a| [Tensor::<B, 2, Int>::ones([2, 3], (&B::Device::default(), a.dtype))];
        "Base::Empty" => |a| [Tensor::<B, 2, Int>::empty([0, 3], (&B::Device::default(), a.dtype))];
        "any and all" => |a| [a.small.clone().any(), a.small.clone().any_dim(1), a.small.clone().all(), a.small.clone().all_dim(0)];
        "bool" => |a| [a.small.clone().bool()];
        "sort" => |a| [a.x.clone().sort(1), a.x.clone().sort_descending(0)];
    ]
}
