//! Against the definitions of the ops.

use super::*;
use crate::isa::forced::on_each;
use crate::number::Number;
use crate::reference::{by_dtype, bytes, close, finite, on_threads, random, result, results};
use crate::{DenseError, Lanes};
use bgz_passes::eval::testing::Rng;
use bgz_passes::ir::{ArgReduce, Cumulative, DType, FoldKind, IntArg, Op, Reduce, Tensor, TopK};
use proptest::prelude::*;

const KINDS: [(Reduction, FoldKind); 5] = [
    (Reduction::Sum, FoldKind::Sum),
    (Reduction::Mean, FoldKind::Mean),
    (Reduction::Max, FoldKind::Max),
    (Reduction::Min, FoldKind::Min),
    (Reduction::Prod, FoldKind::Prod),
];

/// Dtypes that are folded.
const FOLDED: [DType; 2] = [DType::F64, DType::I64];

/// Dtypes that have running sums.
const SUMMED: [DType; 3] = [DType::F32, DType::F64, DType::I64];

/// Dtypes that are ordered.
const ORDERED: [DType; 4] = [DType::F32, DType::F64, DType::I32, DType::I64];

/// Elements as bytes.
fn raw<T: bytemuck::Pod>(x: &[T]) -> &[u8] {
    bytemuck::cast_slice(x)
}

/// Elements to be written as bytes.
fn raw_mut<T: bytemuck::Pod>(x: &mut [T]) -> &mut [u8] {
    bytemuck::cast_slice_mut(x)
}

/// Bytes of a tensor, aligned to any element.
struct Aligned(Vec<u64>, usize);

impl std::ops::Deref for Aligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &raw(&self.0)[..self.1]
    }
}

fn aligned(x: &Tensor) -> Aligned {
    let bytes = bytes(x);
    let mut words = vec![0; bytes.len().div_ceil(8)];
    raw_mut(&mut words)[..bytes.len()].copy_from_slice(&bytes);
    Aligned(words, bytes.len())
}

/// The relative error that rounding leaves in a result.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-12,
        // Rounded once, as the definition is.
        _ => 1e-9,
    }
}

fn folded<T: Number>(kind: Reduction, x: &Tensor, axes: &[usize]) -> Result<Vec<T>, DenseError> {
    let fold = Fold::new(kind, x.shape(), axes)?;
    let mut out = vec![T::zeroed(); fold.results()];
    fold.run(x.dtype(), &aligned(x), raw_mut(&mut out))?;
    Ok(out)
}

fn fold_op(kind: FoldKind, axes: &[usize]) -> Op {
    Op::Reduce(Reduce::Fold(bgz_passes::ir::Fold { kind, axes: axes.to_vec(), keep_dims: false }))
}

#[test]
fn reductions_over_any_axes() {
    let shapes: [&[usize]; 9] =
        [&[], &[7], &[3, 70], &[70, 3], &[2, 3, 4, 5], &[2, 1, 5, 1], &[4, 3, 17, 2], &[3, 130], &[1, 1]];
    on_each(|| {
        let mut rng = Rng::new(1);
        for dtype in FOLDED {
            for shape in shapes {
                for set in 0..1 << shape.len() {
                    let axes: Vec<usize> = (0..shape.len()).filter(|a| set >> a & 1 == 1).collect();
                    let x = finite(dtype, shape, &mut rng);
                    for (kind, op) in KINDS {
                        let want = result(fold_op(op, &axes), &[&x]);
                        by_dtype!(dtype, T => close(&folded::<T>(kind, &x, &axes).unwrap(), &want, tolerance(dtype)));
                    }
                }
            }
        }
    });
}

#[test]
fn extremes_with_nan() {
    on_each(|| {
        let mut rng = Rng::new(2);
        for dtype in [DType::F64] {
            for (kind, op) in [KINDS[2], KINDS[3]] {
                for axes in [&[0][..], &[1], &[2], &[0, 2], &[0, 1, 2]] {
                    let x = random(dtype, &[4, 5, 6], &mut rng);
                    let want = result(fold_op(op, axes), &[&x]);
                    by_dtype!(dtype, T => close(&folded::<T>(kind, &x, axes).unwrap(), &want, 0.0));
                }
            }
        }
    });
}

#[test]
fn reductions_of_nothing() {
    for dtype in FOLDED {
        for (shape, axes) in
            [(&[0][..], &[0][..]), (&[2, 0], &[1]), (&[0, 2], &[1]), (&[2, 0], &[0]), (&[2, 0, 3], &[0, 1])]
        {
            let x = Tensor::f64s(dtype, shape, &[]).unwrap();
            for (kind, op) in KINDS {
                by_dtype!(dtype, T => match (folded::<T>(kind, &x, axes), results(&fold_op(op, axes), &[&x])) {
                    (Ok(got), Ok(want)) => close(&got, &want[0], 0.0),
                    (Err(e), Err(_)) => assert_eq!(e, DenseError::Empty("a mean")),
                    (got, want) => panic!("{got:?} where {want:?}"),
                });
            }
        }
    }
}

/// Shapes and axes of lanes.
const LANES: [(&[usize], usize); 9] = [
    (&[7], 0),
    (&[3, 600], 1),
    (&[300, 3], 0),
    (&[2, 5, 70], 1),
    (&[2, 5, 130], 1),
    (&[2, 1, 3], 1),
    (&[0, 3], 1),
    (&[3, 0], 0),
    (&[1, 1, 1], 2),
];

#[test]
fn places_of_extremes() {
    on_each(|| {
        let mut rng = Rng::new(3);
        for dtype in ORDERED {
            for (shape, axis) in LANES {
                let x = random(dtype, shape, &mut rng);
                let lanes = Lanes::new(shape, axis).unwrap();
                for (max, last) in [(true, false), (true, true), (false, false), (false, true)] {
                    let op = ArgReduce { max, axis, keep_dims: false, last };
                    let want = result(Op::Reduce(Reduce::Arg(op)), &[&x]);
                    let mut out = vec![-1; want.len()];
                    arg_extreme(dtype, max, last, lanes, &aligned(&x), &mut out).unwrap();
                    assert_eq!(Some(&out[..]), want.ints(), "{} {axis} {max} {last}", x.ty());
                }
            }
        }
    });
}

#[test]
fn the_least_of_integers_has_a_place() {
    let x = [i32::MIN; 300];
    let lanes = Lanes::new(&[300], 0).unwrap();
    let mut out = [7];
    for (max, last, want) in [(true, false, 0), (true, true, 299), (false, false, 0), (false, true, 299)] {
        arg_extreme(DType::I32, max, last, lanes, raw(&x), &mut out).unwrap();
        assert_eq!(out, [want]);
    }
}

#[test]
fn running_sums_and_products() {
    on_each(|| {
        let mut rng = Rng::new(4);
        for dtype in SUMMED {
            for (shape, axis) in LANES {
                let x = finite(dtype, shape, &mut rng);
                let lanes = Lanes::new(shape, axis).unwrap();
                for (exclusive, reverse) in [(false, false), (false, true), (true, false), (true, true)] {
                    for product in [false, true] {
                        let run = if product { cumulative_product } else { cumulative_sum };
                        let op = Cumulative { product, axis, exclusive, reverse };
                        let want = result(Op::Reduce(Reduce::Cumulative(op)), &[&x]);
                        by_dtype!(dtype, T => {
                            let mut out = vec![T::default(); x.len()];
                            run(dtype, exclusive, reverse, lanes, &aligned(&x), raw_mut(&mut out)).unwrap();
                            close(&out, &want, 0.0);
                        });
                    }
                }
            }
        }
    });
}

fn first_of<T: Number>(largest: bool, k: usize, x: &Tensor, axis: usize) -> Result<(Vec<T>, Vec<i64>), DenseError> {
    let lanes = Lanes::new(x.shape(), axis)?;
    let n = lanes.lanes() * k;
    let (mut values, mut indices) = (vec![T::zeroed(); n], vec![-1; n]);
    top_k(x.dtype(), largest, k, lanes, &aligned(x), raw_mut(&mut values), &mut indices)?;
    Ok((values, indices))
}

fn top_k_op(largest: bool, k: usize, axis: usize) -> Op {
    Op::Reduce(Reduce::TopK(TopK { axis, largest, k: IntArg::Known(vec![k.into()]) }))
}

#[test]
fn first_entries_of_an_order() {
    on_each(|| {
        let mut rng = Rng::new(5);
        for dtype in ORDERED {
            for (shape, axis) in LANES {
                let x = random(dtype, shape, &mut rng);
                let count = shape[axis];
                for k in [0, 1, 2, count / 2, count] {
                    for largest in [true, false] {
                        if k > count {
                            continue;
                        }
                        let want = results(&top_k_op(largest, k, axis), &[&x]).unwrap();
                        by_dtype!(dtype, T => {
                            let (values, indices) = first_of::<T>(largest, k, &x, axis).unwrap();
                            assert_eq!(Some(&indices[..]), want[1].ints(), "{} {axis} {k} {largest}", x.ty());
                            assert_eq!(bytemuck::cast_slice::<T, u8>(&values), bytes(&want[0]));
                        });
                    }
                }
            }
        }
    });
}

#[test]
fn entries_that_become_better_and_better() {
    let x: Vec<i32> = (0..20_000).collect();
    let lanes = Lanes::new(&[20_000], 0).unwrap();
    let (mut values, mut indices) = ([0i32; 3], [0; 3]);
    top_k(DType::I32, true, 3, lanes, raw(&x), raw_mut(&mut values), &mut indices).unwrap();
    assert_eq!((values, indices), ([19_999, 19_998, 19_997], [19_999, 19_998, 19_997]));
    top_k(DType::I32, false, 3, lanes, raw(&x), raw_mut(&mut values), &mut indices).unwrap();
    assert_eq!((values, indices), ([0, 1, 2], [0, 1, 2]));
    // Equal ones all the way.
    top_k(DType::I32, true, 3, lanes, raw(&[5i32; 20_000]), raw_mut(&mut values), &mut indices).unwrap();
    assert_eq!((values, indices), ([5; 3], [0, 1, 2]));
}

#[test]
fn large_ones_do_not_depend_on_threads() {
    let x: Vec<f64> = (0..600_000u64).map(|i| (i * 7919 % 100_003) as f64 / 1000.0).collect();
    for (shape, axes) in
        [(&[600_000][..], &[0][..]), (&[600, 1000], &[0]), (&[600, 1000], &[1]), (&[6, 100, 1000], &[0, 2])]
    {
        let all = on_threads(|| {
            let fold = Fold::new(Reduction::Sum, shape, axes).unwrap();
            let mut out = vec![0f64; fold.results()];
            fold.run(DType::F64, raw(&x), raw_mut(&mut out)).unwrap();
            out
        });
        let (total, want) = (all.iter().sum::<f64>(), x.iter().sum::<f64>());
        assert!((total - want).abs() < 1e-9 * want, "{total} {want}");
    }
    for (shape, axis) in [(&[600, 1000][..], 0), (&[600, 1000], 1), (&[600_000], 0)] {
        let lanes = Lanes::new(shape, axis).unwrap();
        on_threads(|| {
            let mut sums = vec![0f64; x.len()];
            cumulative_sum(DType::F64, false, true, lanes, raw(&x), raw_mut(&mut sums)).unwrap();
            let mut places = vec![0; lanes.lanes()];
            arg_extreme(DType::F64, true, false, lanes, raw(&x), &mut places).unwrap();
            let (mut values, mut indices) = (vec![0f64; 5 * lanes.lanes()], vec![0; 5 * lanes.lanes()]);
            top_k(DType::F64, true, 5, lanes, raw(&x), raw_mut(&mut values), &mut indices).unwrap();
            assert_eq!(&indices[..1], &places[..1]);
            (sums, places, values, indices)
        });
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let length = |name, got, want| Err(DenseError::Length { name, got, want });
    assert_eq!(Fold::new(Reduction::Sum, &[2], &[1]).unwrap_err(), DenseError::Axis { axis: 1, rank: 1 });
    let fold = Fold::new(Reduction::Sum, &[2, 3], &[1]).unwrap();
    let folded = |x: &[i64], out: &mut [i64]| fold.run(DType::I64, raw(x), raw_mut(out));
    assert_eq!(folded(&[0; 5], &mut [0; 2]), length("x", 5, 6));
    assert_eq!(folded(&[0; 6], &mut [0; 3]), length("out", 3, 2));
    assert_eq!(fold.run(DType::U8, &[0; 6], &mut [0; 2]), Err(DenseError::DType(DType::U8)));
    assert_eq!(fold.run(DType::I64, &[0; 47], &mut [0; 16]), Err(DenseError::Unaligned("x")));
    let lanes = Lanes::new(&[2, 3], 1).unwrap();
    let extreme = |lanes, x: &[i32], out: &mut [i64]| arg_extreme(DType::I32, true, false, lanes, raw(x), out);
    assert_eq!(extreme(lanes, &[0; 6], &mut [0; 1]), length("out", 1, 2));
    let none = Lanes::new(&[2, 0], 1).unwrap();
    assert_eq!(extreme(none, &[], &mut [0; 2]), Err(DenseError::Empty("an extreme")));
    let sums = |x: &[i64], out: &mut [i64]| cumulative_sum(DType::I64, false, false, lanes, raw(x), raw_mut(out));
    assert_eq!(sums(&[0; 6], &mut [0; 5]), length("out", 5, 6));
    let top = |k, n| top_k(DType::I32, true, k, lanes, raw(&[0i32; 6]), raw_mut(&mut vec![0i32; n]), &mut vec![0; n]);
    assert_eq!(top(4, 8), Err(DenseError::TooMany { k: 4, count: 3 }));
    assert_eq!(top(2, 5), length("values", 5, 4));
}

proptest! {
    #[test]
    fn any_order(shape in prop::collection::vec(1usize..9, 1..4), axis in 0usize..3, k in 0usize..9, largest: bool, seed: u64) {
        let axis = axis % shape.len();
        let x = random(DType::F32, &shape, &mut Rng::new(seed));
        match (first_of::<f32>(largest, k, &x, axis), results(&top_k_op(largest, k, axis), &[&x])) {
            (Ok((values, indices)), Ok(want)) => {
                prop_assert_eq!(Some(&indices[..]), want[1].ints());
                prop_assert_eq!(bytemuck::cast_slice::<_, u8>(&values), &bytes(&want[0])[..]);
            }
            (Err(_), Err(_)) => {}
            (got, want) => prop_assert!(false, "{got:?} where {want:?}"),
        }
    }

    #[test]
    fn any_axes(shape in prop::collection::vec(0usize..5, 1..5), set in 0usize..16, kind in 0usize..5, seed: u64) {
        let axes: Vec<usize> = (0..shape.len()).filter(|a| set >> a & 1 == 1).collect();
        let x = finite(DType::I64, &shape, &mut Rng::new(seed));
        let (kind, op) = KINDS[kind];
        match (folded::<i64>(kind, &x, &axes), results(&fold_op(op, &axes), &[&x])) {
            (Ok(got), Ok(want)) => close(&got, &want[0], 0.0),
            (Err(_), Err(_)) => {}
            (got, want) => prop_assert!(false, "{got:?} where {want:?}"),
        }
    }
}
