//! Against the definitions of the ops.

use super::*;
use crate::reference::{bytes, on_threads, random, result, results};
use bgz_passes::eval::testing::Rng;
use bgz_passes::ir::{DType, Generate, IntArg, Movement, Op, PadMode, Slice, Tensor};
use proptest::prelude::*;

const MODES: [PadMode; 3] = [PadMode::Constant, PadMode::Reflect, PadMode::Edge];

fn ints(values: &[i64]) -> IntArg {
    IntArg::Known(values.iter().map(|&v| v.into()).collect())
}

fn padded(mode: PadMode, x: &Tensor, pads: &[i64], value: &Tensor) -> Result<Vec<u8>, DenseError> {
    let pad = Pad::new(mode, x.shape(), pads)?;
    let mut out = vec![0xAA; pad.shape().iter().product::<usize>() * x.dtype().size()];
    pad.run(&bytes(x), &bytes(value), &mut out)?;
    Ok(out)
}

fn pad_op(mode: PadMode, pads: &[i64]) -> Op {
    Op::Movement(Movement::Pad(bgz_passes::ir::Pad { pads: ints(pads), mode }))
}

#[test]
fn pads_on_both_sides() {
    let mut rng = Rng::new(1);
    let cases: [(&[usize], &[i64]); 13] = [
        (&[5], &[2, 3]),
        (&[5], &[12, 9]),
        (&[1], &[2, 3]),
        (&[5], &[-2, -1]),
        (&[5], &[-3, 4]),
        (&[5], &[-5, 2]),
        (&[3, 4], &[1, 2, 3, 0]),
        (&[3, 4], &[0, 2, 0, 9]),
        (&[2, 3, 4], &[1, 0, 0, 2, 0, 0]),
        (&[2, 3, 4], &[0, 1, 0, 0, 2, 0]),
        (&[2, 3, 4], &[0, 0, 1, 0, -1, 1]),
        (&[2, 3, 4], &[0; 6]),
        (&[], &[]),
    ];
    for dtype in DType::ALL {
        for (shape, pads) in cases {
            for mode in MODES {
                let (x, value) = (random(dtype, shape, &mut rng), random(dtype, &[], &mut rng));
                let want = result(pad_op(mode, pads), &[&x, &value]);
                assert_eq!(padded(mode, &x, pads, &value).unwrap(), bytes(&want), "{mode:?} {shape:?} {pads:?}");
            }
        }
    }
}

#[test]
fn tensors_repeated() {
    let mut rng = Rng::new(2);
    let cases: [(&[usize], &[usize]); 11] = [
        (&[3], &[4]),
        (&[3], &[1]),
        (&[1], &[5]),
        (&[2, 3], &[2, 1]),
        (&[2, 3], &[1, 3]),
        (&[2, 3, 4], &[2, 3, 2]),
        (&[1, 1, 3], &[4, 2, 1]),
        (&[2, 1, 3], &[1, 4, 1]),
        (&[2, 0], &[3, 4]),
        (&[2, 3], &[0, 2]),
        (&[], &[]),
    ];
    for dtype in DType::ALL {
        for (shape, repeats) in cases {
            let x = random(dtype, shape, &mut rng);
            let repeated: Vec<i64> = repeats.iter().map(|&r| r as i64).collect();
            let want = result(Op::Movement(Movement::Tile { repeats: ints(&repeated) }), &[&x]);
            let tile = Tile::new(shape, repeats).unwrap();
            assert_eq!(tile.shape(), want.shape());
            let mut out = vec![0xAA; want.len() * dtype.size()];
            tile.run(dtype.size(), &bytes(&x), &mut out).unwrap();
            assert_eq!(out, bytes(&want), "{shape:?} {repeats:?}");
        }
    }
}

#[test]
fn tensors_joined() {
    let mut rng = Rng::new(3);
    for dtype in DType::ALL {
        for axis in 0..3 {
            let parts: Vec<Tensor> = [2, 0, 1, 3]
                .iter()
                .map(|&n| {
                    let mut shape = [2, 3, 2];
                    shape[axis] = n;
                    random(dtype, &shape, &mut rng)
                })
                .collect();
            let want = result(Op::Movement(Movement::Concat { axis }), &parts.iter().collect::<Vec<_>>());
            let held: Vec<Vec<u8>> = parts.iter().map(bytes).collect();
            let held: Vec<&[u8]> = held.iter().map(Vec::as_slice).collect();
            let mut out = vec![0xAA; want.len() * dtype.size()];
            concat(want.shape()[..axis].iter().product(), &held, &mut out).unwrap();
            assert_eq!(out, bytes(&want), "{axis}");
        }
    }
    concat(0, &[&[], &[]], &mut []).unwrap();
}

#[test]
fn triangles() {
    let mut rng = Rng::new(4);
    // Powers of two have no zero, and no plan moves them other than as they are.
    for dtype in DType::ALL.into_iter().filter(|&d| d != DType::F8E8M0) {
        for shape in [&[3, 5][..], &[5, 3], &[2, 3, 3], &[1, 1], &[0, 3], &[3, 0], &[2, 0, 3]] {
            for k in [0, 1, -1, 2, -4, 100, i64::MAX, i64::MIN] {
                for upper in [false, true] {
                    let x = random(dtype, shape, &mut rng);
                    let diagonal = Tensor::i64s([], &[k]).unwrap();
                    let want = result(Op::Movement(Movement::Trilu { upper }), &[&x, &diagonal]);
                    let [.., rows, columns] = *shape else { unreachable!() };
                    let mut out = vec![0xAA; want.len() * dtype.size()];
                    triangle(upper, k, [rows, columns], dtype.size(), &bytes(&x), &mut out).unwrap();
                    assert_eq!(out, bytes(&want), "{shape:?} {k} {upper}");
                }
            }
        }
    }
}

#[test]
fn one_value() {
    let mut rng = Rng::new(5);
    for dtype in DType::ALL {
        for n in [0, 1, 7] {
            let value = random(dtype, &[], &mut rng);
            let want = result(Op::Generate(Generate::Full { shape: ints(&[n]) }), &[&value]);
            let mut out = vec![0xAA; want.len() * dtype.size()];
            fill(&bytes(&value), &mut out).unwrap();
            assert_eq!(out, bytes(&want));
        }
    }
}

fn cut(x: &Tensor, bounds: &[Bounds]) -> Result<Vec<u8>, DenseError> {
    let cut = Cut::new(x.shape(), x.dtype().size(), bounds)?;
    let mut out = vec![0xAA; cut.shape().iter().product::<usize>() * x.dtype().size()];
    cut.run(&bytes(x), &mut out)?;
    Ok(out)
}

fn cut_op(bounds: &[Bounds]) -> Op {
    let of = |f: fn(&Bounds) -> i64| ints(&bounds.iter().map(f).collect::<Vec<_>>());
    Op::Movement(Movement::Slice(Slice {
        axes: bounds.iter().map(|b| b.axis).collect(),
        starts: of(|b| b.start),
        ends: of(|b| b.end),
        steps: of(|b| b.step),
    }))
}

#[test]
fn cuts_forwards_and_backwards() {
    let mut rng = Rng::new(6);
    let (all, none) = (i64::MAX, i64::MIN);
    for dtype in DType::ALL {
        let x = random(dtype, &[4, 5, 3], &mut rng);
        for (start, end, step) in [
            (0, all, 1),
            (-1, none, -1),
            (1, 4, 2),
            (-2, none, -2),
            (3, 1, 1),
            (9, 0, -3),
            (0, all, all),
            (-1, none, none),
        ] {
            for axis in 0..3 {
                let bounds = [Bounds { axis, start, end, step }];
                assert_eq!(cut(&x, &bounds).unwrap(), bytes(&result(cut_op(&bounds), &[&x])), "{bounds:?}");
            }
        }
    }
}

#[test]
fn large_ones_do_not_depend_on_threads() {
    let x: Vec<u8> = (0..4_000_000u32).map(|i| (i / 7) as u8).collect();
    let shape = [4, 1000, 1000];
    let pad = Pad::new(PadMode::Reflect, &shape, &[1, 2, 3, 4, 5, 6]).unwrap();
    let tile = Tile::new(&shape, &[1, 2, 2]).unwrap();
    let apart = on_threads(|| {
        let mut out = vec![0; pad.shape().iter().product()];
        pad.run(&x, &[0], &mut out).unwrap();
        let mut tiled = vec![0; tile.shape().iter().product()];
        tile.run(1, &x, &mut tiled).unwrap();
        let mut joined = vec![0; 8_000_000];
        concat(4, &[&x, &x], &mut joined).unwrap();
        let mut upper = vec![1; x.len()];
        triangle(true, 3, [1000, 1000], 1, &x, &mut upper).unwrap();
        let mut filled = vec![0; 4_000_000];
        fill(&[1, 2, 3, 4], &mut filled).unwrap();
        [out, tiled, joined, upper, filled]
    });
    let [out, tiled, joined, upper, filled] = apart;
    // An entry of each, far behind.
    let at = |b: usize, i: usize, j: usize| x[(b * 1000 + i) * 1000 + j];
    let reflected = (6 * 1007 + 1005) * 1009 + 1000;
    assert_eq!(out[reflected], at(1, 995, 997));
    assert_eq!(tiled[(3 * 2000 + 1500) * 2000 + 1001], at(3, 500, 1));
    assert_eq!(joined[7_500_000], x[3_500_000]);
    assert_eq!([upper[999 * 1000 + 999], upper[2_003_004]], [0, 0]);
    assert_eq!(upper[3_000_999], x[3_000_999]);
    assert!(filled.chunks(4).all(|v| v == [1, 2, 3, 4]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let length = |name, got, want| Err(DenseError::Length { name, got, want });
    assert_eq!(fill(&[1, 2], &mut [0; 3]), length("out", 3, 2));
    assert_eq!(fill(&[1, 2, 3], &mut [0; 3]), Err(DenseError::ElementSize(3)));
    assert_eq!(concat(2, &[&[0; 3]], &mut [0; 3]), length("part", 3, 2));
    assert_eq!(concat(2, &[&[0; 4]], &mut [0; 3]), length("out", 3, 4));
    assert_eq!(triangle(true, 0, [2, 2], 1, &[0; 4], &mut [0; 6]), length("out", 6, 4));
    assert_eq!(triangle(true, 0, [2, 2], 1, &[0; 3], &mut [0; 4]), length("x", 3, 4));
    assert!(matches!(Tile::new(&[2], &[1, 2]), Err(DenseError::Shape { .. })));
    assert!(matches!(Tile::new(&[2], &[usize::MAX]), Err(DenseError::TooLarge(_))));
    assert_eq!(Tile::new(&[2], &[2]).unwrap().run(1, &[0; 2], &mut [0; 3]), length("out", 3, 4));
    assert!(matches!(Pad::new(PadMode::Edge, &[2], &[1]), Err(DenseError::Shape { .. })));
    assert!(matches!(Pad::new(PadMode::Edge, &[2], &[-2, -1]), Err(DenseError::Shape { .. })));
    assert!(matches!(Pad::new(PadMode::Edge, &[0], &[1, 0]), Err(DenseError::Empty(_))));
    assert!(matches!(Pad::new(PadMode::Constant, &[2, 2], &[i64::MAX, 0, 0, 0]), Err(DenseError::TooLarge(_))));
    assert_eq!(Pad::new(PadMode::Edge, &[2], &[1, 0]).unwrap().run(&[0; 3], &[0], &mut [0; 3]), length("x", 3, 2));
    let bounds = |axis, step| [Bounds { axis, start: 0, end: 1, step }];
    assert!(matches!(Cut::new(&[2], 1, &bounds(1, 1)), Err(DenseError::Axis { .. })));
    assert!(matches!(Cut::new(&[2], 1, &bounds(0, 0)), Err(DenseError::Shape { .. })));
    assert_eq!(Cut::new(&[2], 1, &bounds(0, 1)).unwrap().run(&[0; 3], &mut [0]), length("x", 3, 2));
}

proptest! {
    #[test]
    fn any_pads(shape in prop::collection::vec(0usize..4, 1..4), pads in prop::collection::vec(-3i64..8, 6), mode in 0usize..3, seed: u64) {
        let mut rng = Rng::new(seed);
        let pads = &pads[..2 * shape.len()];
        let (x, value) = (random(DType::I16, &shape, &mut rng), random(DType::I16, &[], &mut rng));
        match (padded(MODES[mode], &x, pads, &value), results(&pad_op(MODES[mode], pads), &[&x, &value])) {
            (Ok(got), Ok(want)) => prop_assert_eq!(got, bytes(&want[0])),
            (Err(_), Err(_)) => {}
            (got, want) => prop_assert!(false, "{got:?} where {want:?}"),
        }
    }

    #[test]
    fn any_cuts(shape in prop::collection::vec(0usize..6, 2..4), numbers in prop::collection::vec((-8i64..8, -8i64..8, -3i64..4), 2), seed: u64) {
        let x = random(DType::F32, &shape, &mut Rng::new(seed));
        let bounds: Vec<Bounds> =
            numbers.iter().enumerate().map(|(axis, &(start, end, step))| Bounds { axis, start, end, step }).collect();
        match (cut(&x, &bounds), results(&cut_op(&bounds), &[&x])) {
            (Ok(got), Ok(want)) => prop_assert_eq!(got, bytes(&want[0])),
            (Err(_), Err(_)) => {}
            (got, want) => prop_assert!(false, "{got:?} where {want:?}"),
        }
    }
}
