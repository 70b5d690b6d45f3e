//! Tensors used in ways that a recorder of ops could get wrong.

use crate::support::{Case, check, check_flex, floats, indices};
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Int, Tensor, TensorData};

macro_rules! case {
    ($name:ident, $tolerance:expr, |$b:ident| $body:expr) => {
        #[test]
        fn $name() {
            struct Of;
            impl Case for Of {
                fn run<$b: Backend>(&self) -> Vec<TensorData> {
                    $body
                }
            }
            check(&Of, $tolerance);
        }
    };
}

case!(a_value_is_read_in_the_middle, 1e-6, |B| {
    let x = floats::<B, 2>(1, [3, 4]);
    let y = x.clone().exp() + 1.0;
    let first = y.clone().into_data();
    let z = (y * x).tanh();
    vec![first, z.into_data()]
});

case!(a_tensor_stays_alive_and_is_used_again, 1e-6, |B| {
    let x = floats::<B, 2>(1, [3, 4]);
    let kept = x.clone().sigmoid();
    let mut out = Vec::new();
    let mut y = kept.clone();
    for _ in 0..3 {
        y = y * kept.clone() + x.clone();
        out.push(y.clone().into_data());
    }
    out.push(kept.into_data());
    out
});

trait SigmoidExt {
    fn sigmoid(self) -> Self;
}

impl<B: Backend, const D: usize> SigmoidExt for Tensor<B, D> {
    fn sigmoid(self) -> Self {
        burn::tensor::activation::sigmoid(self)
    }
}

case!(slices_are_read_and_assigned, 1e-6, |B| {
    let x = floats::<B, 3>(1, [2, 4, 6]);
    let part = x.clone().slice([0..2, 1..3, 2..6]).exp();
    let y = x.clone().slice_assign([0..2, 0..2, 0..4], part.clone() * 2.0);
    // The operand of an assignment is still itself.
    vec![y.into_data(), x.into_data(), part.into_data()]
});

case!(slices_of_one_shape_at_other_places, 1e-6, |B| {
    let x = floats::<B, 2>(1, [6, 4]);
    (0..5).map(|i| (x.clone().slice(i..i + 2) * 3.0).abs().into_data()).collect()
});

// One pattern of ops, other numbers in it.
case!(scalars_and_extents_change, 1e-6, |B| {
    (0..6)
        .map(|i| {
            let x = floats::<B, 2>(i, [1 + i as usize % 2, 2 + i as usize / 4]);
            (x.clone() * i as f32 + 0.5).clamp(-(i as f32), 1.0).mask_fill(x.lower_elem(0.0), i as f32).into_data()
        })
        .collect()
});

// One pattern of ops, other weights in it, and the first again.
case!(weights_change, 1e-6, |B| {
    let weights: Vec<_> = (0..3).map(|i| floats::<B, 2>(i, [4, 3])).collect();
    let x = floats::<B, 2>(9, [2, 4]);
    [0, 0, 1, 1, 0, 2, 1, 0].map(|i| x.clone().matmul(weights[i].clone()).into_data()).to_vec()
});

case!(a_cache_grows_in_place, 1e-6, |B| {
    let mut cache = Tensor::<B, 3>::zeros([1, 8, 4], &B::Device::default());
    let mut out = Vec::new();
    for i in 0..6 {
        let row = floats::<B, 3>(i as u64, [1, 1, 4]).tanh();
        cache = cache.slice_assign([0..1, i..i + 1, 0..4], row);
        let seen = cache.clone().slice([0..1, 0..i + 1, 0..4]);
        out.push((seen.sum_dim(1) + 1.0).into_data());
    }
    out.push(cache.into_data());
    out
});

case!(views_are_results, 1e-6, |B| {
    let x = floats::<B, 3>(1, [2, 3, 4]);
    let y = x.clone().exp();
    vec![
        y.clone().swap_dims(0, 2).into_data(),
        y.clone().reshape([6, 4]).into_data(),
        y.clone().permute([2, 0, 1]).into_data(),
        y.slice(0..1).expand([5, 3, 4]).into_data(),
        // Of an input, with nothing done to it.
        x.clone().reshape([24]).into_data(),
        x.transpose().into_data(),
    ]
});

case!(integers_and_bools, 1e-6, |B| {
    let i = indices::<B, 2>(1, [3, 4], 10);
    let j = indices::<B, 2>(2, [3, 4], 10) + 1;
    let less = i.clone().lower(j.clone());
    let both = less.clone().bool_and(i.clone().greater_elem(2));
    vec![
        (i.clone() * 3 - j.clone()).into_data(),
        i.clone().div(j.clone()).into_data(),
        i.clone().remainder(j.clone()).into_data(),
        i.clone().clamp(2, 5).into_data(),
        less.clone().bool_not().into_data(),
        both.clone().bool_or(less.clone()).into_data(),
        both.int().into_data(),
        less.float().into_data(),
        i.clone().float().sqrt().int().into_data(),
        i.clone().sum_dim(1).into_data(),
        i.clone().argmax(1).into_data(),
        i.sort(1).into_data(),
    ]
});

case!(masks_and_indices, 1e-6, |B| {
    let x = floats::<B, 2>(1, [4, 5]);
    let mask = x.clone().greater_elem(0.1);
    let rows = indices::<B, 1>(2, [3], 4);
    let spread = indices::<B, 2>(3, [4, 2], 5);
    vec![
        x.clone().mask_fill(mask.clone(), -1e4).into_data(),
        x.clone().mask_where(mask.clone(), x.clone() * 2.0).into_data(),
        x.clone().select(0, rows.clone()).into_data(),
        x.clone().gather(1, spread.clone()).into_data(),
        x.clone().scatter(1, spread, floats(5, [4, 2]), burn::tensor::IndexingUpdateOp::Add).into_data(),
        x.clone().select_assign(0, rows, floats(6, [3, 5]), burn::tensor::IndexingUpdateOp::Add).into_data(),
        x.clone().equal_elem(x.clone().max().into_scalar()).into_data(),
        Tensor::cat(vec![x.clone(), x.clone() + 1.0], 1).repeat_dim(0, 2).into_data(),
        x.flip([1]).into_data(),
    ]
});

case!(reductions, 2e-6, |B| {
    let x = floats::<B, 3>(1, [3, 4, 5]);
    vec![
        x.clone().sum().into_data(),
        x.clone().mean().into_data(),
        x.clone().max().into_data(),
        x.clone().sum_dim(0).into_data(),
        x.clone().mean_dim(1).into_data(),
        x.clone().max_dim(2).into_data(),
        x.clone().min_dim(1).into_data(),
        x.clone().prod_dim(2).into_data(),
        x.clone().var(2).into_data(),
        x.clone().argmin(1).into_data(),
        x.clone().max_dim_with_indices(1).1.into_data(),
        x.cumsum(1).into_data(),
    ]
});

// NdArray's erf is 4e-5 from the function.
case!(functions_of_an_element, 5e-5, |B| {
    let x = floats::<B, 2>(1, [5, 7]) * 3.0;
    let positive = x.clone().abs() + 0.5;
    vec![
        x.clone().floor().into_data(),
        x.clone().ceil().into_data(),
        x.clone().round().into_data(),
        x.clone().sin().into_data(),
        x.clone().cos().into_data(),
        x.clone().tanh().into_data(),
        x.clone().erf().into_data(),
        x.clone().exp().into_data(),
        x.clone().sign().into_data(),
        x.clone().clamp(-1.0, 0.5).into_data(),
        x.clone().powf_scalar(2.0).into_data(),
        x.clone().powi_scalar(3).into_data(),
        x.clone().remainder_scalar(1.5).into_data(),
        positive.clone().log().into_data(),
        positive.clone().log1p().into_data(),
        positive.clone().sqrt().recip().into_data(),
        positive.powf(x.clone()).into_data(),
        x.clone().max_pair(x.clone() * 0.5).into_data(),
        x.is_nan().into_data(),
    ]
});

case!(broadcasting, 1e-6, |B| {
    let x = floats::<B, 3>(1, [2, 3, 4]);
    vec![
        (x.clone() + floats::<B, 3>(2, [1, 1, 4])).into_data(),
        (x.clone() * floats::<B, 3>(3, [2, 1, 1])).into_data(),
        (x.clone() - floats::<B, 3>(4, [1, 3, 1])).into_data(),
        (floats::<B, 3>(5, [1, 3, 4]) / (x.abs() + 1.0)).into_data(),
    ]
});

/// NdArray itself panics here.
#[test]
fn nothing_in_them() {
    struct Of;
    impl Case for Of {
        fn run<B: Backend>(&self) -> Vec<TensorData> {
            let x = Tensor::<B, 2>::zeros([0, 4], &B::Device::default());
            vec![(x.clone().exp() + 1.0).into_data(), x.matmul(floats::<B, 2>(1, [4, 3])).into_data()]
        }
    }
    check_flex(&Of, 1e-6);
}

case!(made_from_nothing, 1e-6, |B| {
    let device = B::Device::default();
    let steps = Tensor::<B, 1, Int>::arange(0..6, &device);
    vec![
        (steps.clone() * 2 + 1).into_data(),
        Tensor::<B, 2>::full([2, 3], 1.5, &device).exp().into_data(),
        Tensor::<B, 2>::ones([2, 3], &device).matmul(Tensor::zeros([3, 2], &device)).into_data(),
        steps.reshape([2, 3]).float().matmul(Tensor::<B, 2>::eye(3, &device)).into_data(),
    ]
});

case!(half_and_double_precision, 1e-3, |B| {
    use burn::tensor::DType;
    let x = floats::<B, 2>(1, [3, 4]);
    let double = x.clone().cast(DType::F64).exp() * 2.0;
    vec![double.clone().cast(DType::F32).into_data(), (double.cast(DType::F32) + x).into_data()]
});

/// Random numbers are the same for a seed, in the order drawn, read or not.
#[test]
fn random_numbers() {
    struct Of;
    impl Case for Of {
        fn run<B: Backend>(&self) -> Vec<TensorData> {
            // The generator of a backend is one for the process: no other test may draw between these.
            let _alone = crate::training::random_numbers_alone();
            let device = B::Device::default();
            B::seed(&device, 42);
            let a = Tensor::<B, 2>::random([3, 4], Distribution::Default, &device);
            let b = Tensor::<B, 2>::random([3, 4], Distribution::Normal(1.0, 2.0), &device);
            drop(Tensor::<B, 2>::random([3, 4], Distribution::Uniform(-1.0, 1.0), &device));
            let c = Tensor::<B, 1, Int>::random([5], Distribution::Uniform(0.0, 100.0), &device);
            vec![(b.exp() + a).into_data(), c.into_data()]
        }
    }
    check(&Of, 1e-5);
}
