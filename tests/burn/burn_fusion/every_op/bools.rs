//! Ops of truth values.

use super::{Op, ops};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, FloatDType, IndexingUpdateOp, Int, IntDType, Tensor, TensorData};

/// Operands.
pub struct Bools<B: Backend> {
    dtype: DType,
    x: Tensor<B, 2, Bool>,
    y: Tensor<B, 2, Bool>,
    row: Tensor<B, 1, Int>,
    rows: Tensor<B, 2, Int>,
}

pub fn operands<B: Backend>(dtype: DType) -> Bools<B> {
    let device = B::Device::default();
    let every = |n: usize| {
        let data = TensorData::new((0..12).map(|i| i % n == 0).collect::<Vec<bool>>(), [3, 4]);
        super::tensor(data, dtype)
    };
    Bools {
        dtype,
        x: every(2),
        y: every(3),
        row: Tensor::from_data([2i64, 0], &device),
        rows: Tensor::from_data([[2i64, 0, 1, 0], [1, 1, 0, 2], [0, 2, 2, 1]], &device),
    }
}

pub fn ops<B: Backend>() -> Vec<Op<Bools<B>>> {
    ops![Bools<B>;
        "Bool::IntoFloat" => |a| [a.x.clone().float()];
        "Bool::IntoInt" => |a| [a.x.clone().int()];
        "Bool::Not" => |a| [a.x.clone().bool_not()];
        "Bool::And" => |a| [a.x.clone().bool_and(a.y.clone())];
        "Bool::Or" => |a| [a.x.clone().bool_or(a.y.clone())];
        "xor" => |a| [a.x.clone().bool_xor(a.y.clone())];
        "Base::Reshape" => |a| [a.x.clone().reshape([2, 6])];
        "Base::SwapDims" => |a| [a.x.clone().swap_dims(0, 1)];
        "Base::Permute" => |a| [a.x.clone().permute([1, 0])];
        "Base::Flip" => |a| [a.x.clone().flip([0]), a.x.clone().flip([0, 1])];
        "Base::Expand" => |a| [a.x.clone().slice([0..1, 0..4]).expand([5, 4])];
        "Base::Unfold" => |a| [a.x.clone().unfold::<3, _>(1, 2, 1)];
        "Base::Slice" => |a| [a.x.clone().slice([1..3, 0..2]), a.x.clone().slice([0..2, 2..4])];
        "Base::SliceAssign" => |a| [a.x.clone().slice_assign([1..2, 0..4], a.y.clone().slice([0..1, 0..4]))];
        // As numbers: Flex calls the result u8.
        "Base::Select" => |a| [a.x.clone().select(0, a.row.clone()).int(), a.x.clone().select(1, a.row.clone()).int()];
        "Base::SelectAssign" => |a| [a.x.clone().select_assign(0, a.row.clone(), a.y.clone().slice([0..2, 0..4]), IndexingUpdateOp::Add)];
        "Base::MaskWhere" => |a| [a.x.clone().mask_where(a.y.clone(), a.x.clone().bool_not())];
        "Base::MaskFill" => |a| [a.x.clone().mask_fill(a.y.clone(), true)];
        "Base::MaskFill" => |a| [a.x.clone().mask_fill(a.y.clone(), false)];
        "Base::MaskFill" => |a| [a.x.clone().slice([0..1, 0..4]).expand([3, 4]).mask_fill(a.y.clone(), true)];
        "Base::Gather" => |a| [a.x.clone().gather(0, a.rows.clone()), a.x.clone().gather(1, a.rows.clone())];
        "Base::Scatter" => |a| [a.x.clone().scatter(0, a.rows.clone(), a.y.clone(), IndexingUpdateOp::Add)];
        "Base::Equal" => |a| [a.x.clone().equal(a.y.clone()), a.x.clone().not_equal(a.y.clone())];
        "Base::EqualElem" => |a| [a.x.clone().equal_elem(true)];
        "Base::EqualElem" => |a| [a.x.clone().equal_elem(false)];
        "Base::EqualElem" => |a| [a.x.clone().not_equal_elem(true)];
        "Base::EqualElem" => |a| [a.x.clone().not_equal_elem(false)];
        "Base::RepeatDim" => |a| [a.x.clone().repeat_dim(0, 3), a.x.clone().slice([0..1, 0..4]).repeat_dim(0, 3)];
        "Base::Cat" => |a| [Tensor::cat(vec![a.x.clone(), a.y.clone()], 0), Tensor::cat(vec![a.x.clone(), a.y.clone()], 1)];
        "Bool::IntoInt" => |a| [
            a.x.clone().cast(IntDType::I64), a.x.clone().cast(IntDType::I32), a.x.clone().cast(IntDType::I16),
            a.x.clone().cast(IntDType::I8), a.x.clone().cast(IntDType::U8)
        ];
        "Bool::IntoFloat" => |a| [
            a.x.clone().cast(FloatDType::F32), a.x.clone().cast(FloatDType::F64), a.x.clone().cast(FloatDType::F16),
            a.x.clone().cast(FloatDType::BF16)
        ];
        "Base::Zeros" => |a| [Tensor::<B, 2, Bool>::zeros([2, 3], (&B::Device::default(), a.dtype))];
        "Base::Ones" => |a| [Tensor::<B, 2, Bool>::ones([2, 3], (&B::Device::default(), a.dtype))];
        "Base::Empty" => |a| [Tensor::<B, 2, Bool>::empty([0, 3], (&B::Device::default(), a.dtype))];
        "any and all" => |a| [a.x.clone().any(), a.x.clone().any_dim(1), a.x.clone().all(), a.x.clone().all_dim(0)];
        "argwhere" => |a| [a.x.clone().argwhere()];
    ]
}
