//! Against the definitions of the ops.

use super::*;
use crate::reference::{DTYPES, bytes, indices, on_threads, random, result, results, with_indices};
use bgz_passes::eval::testing::Rng;
use bgz_passes::ir::{DType, Generate, Index as Ir, Op, Tensor};
use proptest::prelude::*;

const WIDTHS: [DType; 2] = [DType::I32, DType::I64];

/// The size of elements and room for a result.
fn room(t: &Tensor) -> (usize, Vec<u8>) {
    let size = t.dtype().size();
    (size, vec![0xAA; t.len() * size])
}

fn gathered(x: &Tensor, i: &Tensor, axis: usize) -> Result<Vec<u8>, DenseError> {
    let shape = [&x.shape()[..axis], i.shape(), &x.shape()[axis + 1..]].concat();
    let mut out = vec![0; shape.iter().product::<usize>() * x.dtype().size()];
    let lanes = Lanes::new(x.shape(), axis).unwrap();
    with_indices(i, |v| gather(lanes, x.dtype().size(), &bytes(x), v, &mut out))?;
    Ok(out)
}

#[test]
fn slices_along_an_axis() {
    let mut rng = Rng::new(1);
    for dtype in DTYPES {
        for width in WIDTHS {
            for (shape, axis) in
                [(&[5][..], 0), (&[4, 3], 0), (&[4, 3], 1), (&[2, 3, 4], 1), (&[1, 1, 7], 2), (&[3, 0], 0)]
            {
                for own in [&[][..], &[6], &[2, 3], &[0], &[1, 1]] {
                    let x = random(dtype, shape, &mut rng);
                    let i = indices(width, own, shape[axis], &mut rng);
                    let want = result(Op::Index(Ir::Gather { axis }), &[&x, &i]);
                    assert_eq!(gathered(&x, &i, axis).unwrap(), bytes(&want), "{} {axis} {}", x.ty(), i.ty());
                }
            }
        }
    }
}

/// Shapes of a tensor, shapes of indices, and an axis.
const ELEMENTS: [(&[usize], &[usize], usize); 12] = [
    (&[7], &[10], 0),
    (&[4, 5], &[4, 5], 0),
    (&[4, 5], &[3, 8], 1),
    (&[4, 5], &[9, 2], 0),
    (&[3, 4, 5], &[3, 2, 5], 1),
    (&[3, 4, 5], &[2, 4, 1], 1),
    (&[3, 4, 5], &[2, 3, 7], 2),
    (&[3, 4, 1], &[2, 3, 1], 0),
    (&[3, 4, 1], &[2, 3, 1], 1),
    (&[2, 3, 2, 3], &[2, 3, 5, 3], 2),
    (&[3, 4], &[0, 4], 0),
    (&[3, 4], &[3, 0], 1),
];

#[test]
fn an_element_an_index() {
    let mut rng = Rng::new(2);
    for dtype in DTYPES {
        for width in WIDTHS {
            for (shape, own, axis) in ELEMENTS {
                let x = random(dtype, shape, &mut rng);
                let i = indices(width, own, shape[axis], &mut rng);
                let elements = Elements::new(shape, own, axis).unwrap();
                let want = result(Op::Index(Ir::GatherElements { axis }), &[&x, &i]);
                let (size, mut out) = room(&want);
                with_indices(&i, |v| elements.gather(size, &bytes(&x), v, &mut out)).unwrap();
                assert_eq!(out, bytes(&want), "{} {} {axis}", x.ty(), i.ty());

                let updates = random(dtype, own, &mut rng);
                let want = result(Op::Index(Ir::ScatterElements { axis }), &[&x, &i, &updates]);
                let (size, mut out) = room(&want);
                with_indices(&i, |v| elements.scatter(size, &bytes(&x), v, &bytes(&updates), &mut out)).unwrap();
                assert_eq!(out, bytes(&want), "{} {} {axis}", x.ty(), i.ty());
            }
        }
    }
}

/// Indices whose rows address the first axes of a shape, behind some.
fn rows(width: DType, leading: &[usize], extents: &[usize], rng: &mut Rng) -> Tensor {
    let shape = [leading, &[extents.len()]].concat();
    let n: usize = shape.iter().product();
    let value = |i: usize| {
        let extent = extents[i % extents.len()] as i64;
        (rng.below(2 * extent) - extent) as f64
    };
    Tensor::f64s(width, shape, &(0..n).map(value).collect::<Vec<_>>()).unwrap()
}

#[test]
fn slices_behind_several_axes() {
    let mut rng = Rng::new(3);
    let cases: [(&[usize], &[usize], usize, usize); 9] = [
        (&[6], &[4], 0, 1),
        (&[3, 4], &[5], 0, 1),
        (&[3, 4], &[2, 3], 0, 2),
        (&[3, 4, 5], &[2, 3], 0, 2),
        (&[3, 4, 5], &[3, 2], 1, 1),
        (&[2, 3, 4, 2], &[2, 3, 5], 2, 1),
        (&[3, 4], &[0], 0, 1),
        (&[3, 0], &[2], 0, 1),
        (&[3, 4], &[2], 0, 0),
    ];
    for dtype in DTYPES {
        for width in WIDTHS {
            for (shape, leading, batch_dims, n) in cases {
                let x = random(dtype, shape, &mut rng);
                let i = rows(width, leading, &shape[batch_dims..batch_dims + n], &mut rng);
                let slices = Slices::new(shape, i.shape(), batch_dims).unwrap();
                let want = result(Op::Index(Ir::GatherNd { batch_dims }), &[&x, &i]);
                let (size, mut out) = room(&want);
                with_indices(&i, |v| slices.gather(size, &bytes(&x), v, &mut out)).unwrap();
                assert_eq!(out, bytes(&want), "{} {} {batch_dims}", x.ty(), i.ty());
                if batch_dims > 0 {
                    continue;
                }
                let updates = random(dtype, &[leading, &shape[n..]].concat(), &mut rng);
                let want = result(Op::Index(Ir::ScatterNd), &[&x, &i, &updates]);
                let (size, mut out) = room(&want);
                with_indices(&i, |v| slices.scatter(size, &bytes(&x), v, &bytes(&updates), &mut out)).unwrap();
                assert_eq!(out, bytes(&want), "{} {}", x.ty(), i.ty());
            }
        }
    }
}

#[test]
fn one_hot_along_a_new_axis() {
    let mut rng = Rng::new(4);
    for dtype in DTYPES {
        for width in WIDTHS {
            for (own, depth) in [(&[5][..], 4), (&[2, 3], 3), (&[], 3), (&[0], 2), (&[2], 0), (&[2], 1)] {
                for axis in 0..=own.len() {
                    // Some of them out of range.
                    let i = indices(width, own, depth + 2, &mut rng);
                    let values = random(dtype, &[2], &mut rng);
                    let n = Tensor::i64s([], &[depth as i64]).unwrap();
                    let want = result(Op::Generate(Generate::OneHot { axis }), &[&i, &n, &values]);
                    let lanes = Lanes::new(want.shape(), axis).unwrap();
                    let (size, mut out) = room(&want);
                    with_indices(&i, |v| one_hot(lanes, size, v, &bytes(&values), &mut out)).unwrap();
                    assert_eq!(out, bytes(&want), "{} {depth} {axis}", i.ty());
                }
            }
        }
    }
}

#[test]
fn places_of_what_is_not_zero() {
    let mut rng = Rng::new(5);
    for shape in [&[][..], &[9], &[3, 4], &[2, 3, 4], &[2, 3, 1, 4], &[0, 3], &[3, 0]] {
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.below(2) as f64).collect();
        let x = Tensor::f64s(DType::Bool, shape, &values).unwrap();
        let want = result(Op::Index(Ir::NonZero), &[&x]);
        let mut out = vec![-1; want.len()];
        non_zero(shape, &bytes(&x), &mut out).unwrap();
        assert_eq!(Some(&out[..]), want.ints(), "{shape:?}");
    }
}

#[test]
fn large_ones_do_not_depend_on_threads() {
    const N: usize = 300_000;
    let mut rng = Rng::new(6);
    // Twice as many updates as places, so that many are written twice.
    let wide: Vec<i64> = (0..N as i64).map(|_| rng.below(N as i64 / 2)).collect();
    let x: Vec<u8> = (0..2 * N).map(|i| i as u8).collect();
    let updates: Vec<u8> = (0..4 * N).map(|i| (i / 3) as u8).collect();
    let bytes_of = |v: &[u8], n: usize| v[..n].to_vec();
    for shape in [&[N / 2][..], &[2, N / 4]] {
        let own: Vec<usize> = if shape.len() == 1 { vec![N] } else { vec![2, N / 2] };
        let axis = shape.len() - 1;
        let wide: Vec<i64> = wide.iter().map(|&i| i % shape[axis] as i64).collect();
        let elements = Elements::new(shape, &own, axis).unwrap();
        let scattered = on_threads(|| {
            let mut out = vec![0; 2 * N];
            elements.scatter(4, &x, Indices::I64(&wide), &updates, &mut out).unwrap();
            out
        });
        let mut want = x.clone();
        for (k, &i) in wide.iter().enumerate() {
            let at = (k / own[axis] * shape[axis] + i as usize) * 4;
            want[at..at + 4].copy_from_slice(&updates[k * 4..][..4]);
        }
        assert!(scattered == want);
        let gathered = on_threads(|| {
            let mut out = vec![0; 4 * N];
            elements.gather(4, &x, Indices::I64(&wide), &mut out).unwrap();
            out
        });
        let first = |k: usize| (k / own[axis] * shape[axis] + wide[k] as usize) * 4;
        assert!((0..N).all(|k| gathered[4 * k..][..4] == x[first(k)..][..4]));
    }
    let slices = Slices::new(&[N / 2], &[N, 1], 0).unwrap();
    let scattered = on_threads(|| {
        let mut out = bytes_of(&x, 2 * N);
        slices.scatter_in_place(4, Indices::I64(&wide), &updates, &mut out).unwrap();
        out
    });
    let picked = on_threads(|| {
        let mut out = vec![0; 4 * N];
        slices.gather(4, &scattered, Indices::I64(&wide), &mut out).unwrap();
        let lanes = Lanes::new(&[N / 2], 0).unwrap();
        let mut same = vec![0; 4 * N];
        gather(lanes, 4, &scattered, Indices::I64(&wide), &mut same).unwrap();
        assert!(out == same);
        out
    });
    let last = wide[N - 1];
    assert!(picked[4 * N - 4..] == updates[4 * N - 4..] && wide[N - 1] == last);
}

#[test]
fn an_index_out_of_range_is_named() {
    let said = "index 7 of an axis of extent 3";
    let x = [0u8; 12];
    let lanes = Lanes::new(&[3], 0).unwrap();
    let wrong = |r: Result<(), DenseError>| assert_eq!(r.unwrap_err().to_string(), said);
    wrong(gather(lanes, 4, &x, Indices::I64(&[0, 7]), &mut [0; 8]));
    let elements = Elements::new(&[3], &[2], 0).unwrap();
    wrong(elements.gather(4, &x, Indices::I32(&[0, 7]), &mut [0; 8]));
    wrong(elements.scatter(4, &x, Indices::I32(&[0, 7]), &[0; 8], &mut [0; 12]));
    let slices = Slices::new(&[3], &[2, 1], 0).unwrap();
    wrong(slices.gather(4, &x, Indices::I32(&[0, 7]), &mut [0; 8]));
    wrong(slices.scatter(4, &x, Indices::I32(&[0, 7]), &[0; 8], &mut [0; 12]));
    // Also where there is nothing to move.
    let none = Lanes::new(&[3, 0], 0).unwrap();
    wrong(gather(none, 4, &[], Indices::I64(&[7]), &mut []));
    wrong(Slices::new(&[3, 0], &[1, 1], 0).unwrap().gather(4, &[], Indices::I64(&[7]), &mut []));
    for index in [i64::MIN, -4, 3, i64::MAX] {
        let got = gather(lanes, 4, &x, Indices::I64(&[index]), &mut [0; 4]);
        assert_eq!(got, Err(DenseError::Index { index, extent: 3 }));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let length = |name, got, want| Err(DenseError::Length { name, got, want });
    let lanes = Lanes::new(&[3], 0).unwrap();
    assert_eq!(gather(lanes, 4, &[0; 11], Indices::I64(&[0]), &mut [0; 4]), length("x", 11, 12));
    assert_eq!(gather(lanes, 4, &[0; 12], Indices::I64(&[0]), &mut [0; 8]), length("out", 8, 4));
    assert_eq!(gather(lanes, 3, &[0; 9], Indices::I64(&[0]), &mut [0; 3]), Err(DenseError::ElementSize(3)));
    assert!(matches!(Elements::new(&[3, 4], &[2, 5], 0), Err(DenseError::Shape { .. })));
    assert!(matches!(Elements::new(&[3, 4], &[2], 0), Err(DenseError::Shape { .. })));
    assert!(matches!(Elements::new(&[3, 4], &[2, 4], 2), Err(DenseError::Axis { .. })));
    assert!(matches!(Slices::new(&[3, 4], &[2, 3], 0), Err(DenseError::Shape { .. })));
    assert!(matches!(Slices::new(&[3, 4], &[2, 1], 1), Err(DenseError::Shape { .. })));
    assert!(matches!(Slices::new(&[3, 4], &[], 0), Err(DenseError::Shape { .. })));
    assert!(matches!(Slices::new(&[3], &[usize::MAX, 0], 0), Err(DenseError::TooLarge(_))));
    let elements = Elements::new(&[3], &[2], 0).unwrap();
    assert_eq!(elements.gather(4, &[0; 12], Indices::I64(&[0]), &mut [0; 8]), length("indices", 1, 2));
    let scattered = elements.scatter(4, &[0; 12], Indices::I64(&[0, 1]), &[0; 4], &mut [0; 12]);
    assert_eq!(scattered, length("updates", 4, 8));
    assert_eq!(one_hot(lanes, 1, Indices::I64(&[0]), &[0; 3], &mut [0; 3]), length("values", 3, 2));
    assert_eq!(non_zero(&[3], &[1, 0, 2], &mut [0; 1]), length("out", 1, 2));
    assert_eq!(non_zero(&[3], &[1, 0, 2], &mut [0; 3]), length("out", 3, 2));
    assert_eq!(non_zero(&[1, 3], &[1, 0, 2], &mut [0; 3]), length("out", 3, 4));
}

proptest! {
    /// Whatever the indices: the bytes of the definition, or an error where it has one.
    #[test]
    fn any_indices(shape in prop::collection::vec(0usize..4, 1..4), axis in 0usize..3, seed: u64, given in prop::collection::vec(-4i64..4, 0..5)) {
        let axis = axis % shape.len();
        let x = random(DType::I16, &shape, &mut Rng::new(seed));
        let i = Tensor::i64s([given.len()], &given).unwrap();
        let want = results(&Op::Index(Ir::Gather { axis }), &[&x, &i]);
        match (gathered(&x, &i, axis), want) {
            (Ok(got), Ok(want)) => prop_assert_eq!(got, bytes(&want[0])),
            (Err(_), Err(_)) => {}
            (got, want) => prop_assert!(false, "{got:?} where {want:?}"),
        }
    }
}

#[test]
fn rows_of_blocks_are_gathered_as_f32() {
    use bgz_passes::ir::{BlockFormat, Blocks, Constant};
    let format = BlockFormat::Q4_0;
    let bytes: Vec<u8> = (0..5 * 2 * format.bytes()).map(|i| (i * 7919 % 251) as u8 & 0xbf).collect();
    let blocks = Blocks::new(format, [5, 64], bytes.into()).unwrap();
    let rows = blocks.read().unwrap();
    let all = Constant::of_blocks(vec![5, 64], blocks).unwrap().to_f32s().unwrap();
    // The last time enough of them to be cut for threads.
    for n in [0, 1, 7, 20_000] {
        let indices: Vec<i64> = (0..n).map(|i| i * 3 % 10 - 5).collect();
        let mut out = vec![f32::NAN; indices.len() * 64];
        gather_rows(&rows, Indices::I64(&indices), &mut out).unwrap();
        for (row, &i) in out.chunks(64).zip(&indices) {
            assert_eq!(row, &all[i.rem_euclid(5) as usize * 64..][..64]);
        }
    }
    let beyond = |index: i32| gather_rows(&rows, Indices::I32(&[0, index]), &mut [0.0; 128]);
    assert_eq!(beyond(5), Err(DenseError::Index { index: 5, extent: 5 }));
    assert_eq!(beyond(-6), Err(DenseError::Index { index: -6, extent: 5 }));
    let short = gather_rows(&rows, Indices::I32(&[0]), &mut [0.0; 63]);
    assert_eq!(short, Err(DenseError::Length { name: "out", got: 63, want: 64 }));
}
