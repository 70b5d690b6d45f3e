use super::*;
use crate::isa::forced;
use bgz_passes::eval;
use bgz_passes::ir::{
    Coordinates, DType, Dim, Float, Nearest, Op, Resize as Definition, ResizeMode, ResizeTarget, Tensor,
};
use proptest::prelude::*;

fn modes() -> Vec<ResizeMode> {
    let mut out: Vec<_> = Nearest::NAMES.iter().map(|&(n, _)| ResizeMode::Nearest(n)).collect();
    out.push(ResizeMode::Linear);
    out.extend([false, true].map(|exclude_outside| ResizeMode::Cubic { a: Float(-0.75), exclude_outside }));
    out
}

/// Against the definition, on every instruction set.
fn check(mode: ResizeMode, coordinates: Coordinates, [outer, from, to, inner]: [usize; 4], odd: bool) {
    let shape = [outer, from, inner];
    let sizes = [outer, to, inner];
    let target = ResizeTarget::Sizes(sizes.iter().map(|&n| Dim::from(n)).collect());
    let op = Definition { mode, coordinates, target };
    // The definition leaves an unchanged axis alone, where a weight of 0 times what is not finite would show.
    let odd = odd && op.axes(&shape, &sizes)[1].is_changed();
    let x: Vec<f32> = (0..outer * from * inner)
        .map(|i| match i * 7919 % 1009 {
            5 if odd => f32::NAN,
            9 if odd => f32::INFINITY,
            n => n as f32 / 500.0 - 1.0,
        })
        .collect();
    let tensor = |dtype| {
        let data: Vec<f64> = x.iter().map(|&v| v.into()).collect();
        eval::node(&Op::Resize(op.clone()), &[Tensor::f64s(dtype, shape, &data).unwrap()]).unwrap()[0].to_f64s()
    };
    let axis = op.axes(&shape, &sizes)[1];
    let resize = Resize::new(from, to, inner, |i| axis.taps(i)).unwrap();
    let (want, wide) = (tensor(DType::F32), tensor(DType::F64));
    let same = |got: f64, want: f64, tolerance: f64, i: usize| {
        let same = got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= tolerance;
        assert!(same, "{i}: {got} for {want} on {:?}, {op:?} {shape:?}", Isa::current());
    };
    forced::on_each(|| {
        let mut out = vec![0.5f32; want.len()];
        resize.run(&x, &mut out).unwrap();
        out.iter().zip(&want).enumerate().for_each(|(i, (&got, &want))| same(got.into(), want, 2e-6, i));
        let doubles: Vec<f64> = x.iter().map(|&v| v.into()).collect();
        let mut out = vec![0.5f64; want.len()];
        resize.run_f64(&doubles, &mut out).unwrap();
        out.iter().zip(&wide).enumerate().for_each(|(i, (&got, &want))| same(got, want, 1e-14, i));
    });
    // Of one entry a cubic may be made of that alone, too.
    assert!(resize.is_copy() || !matches!(mode, ResizeMode::Nearest(_)));
    if resize.is_copy() {
        fn copied<T: Copy + Send + Sync + PartialEq + std::fmt::Debug + Default>(
            resize: &Resize,
            [outer, from, to, inner]: [usize; 4],
            taps: &dyn Fn(usize) -> usize,
            number: impl Fn(usize) -> T,
        ) {
            let x: Vec<T> = (0..outer * from * inner).map(number).collect();
            let mut out = vec![T::default(); outer * to * inner];
            resize.copy(&x, &mut out).unwrap();
            for (i, v) in out.iter().enumerate() {
                let (row, entry) = (i / (to * inner), i / inner % to);
                assert_eq!(*v, x[(row * from + taps(entry)) * inner + i % inner]);
            }
        }
        let (extents, tap) = ([outer, from, to, inner], |o: usize| axis.taps(o)[0].0);
        copied(&resize, extents, &tap, |i| i as u8);
        copied(&resize, extents, &tap, |i| i as u16);
        copied(&resize, extents, &tap, |i| i as u32);
        copied(&resize, extents, &tap, |i| i as u64);
    }
}

#[test]
fn every_mode_and_place() {
    for mode in modes() {
        for (coordinates, _) in Coordinates::NAMES {
            for [from, to] in [[4, 8], [7, 3], [5, 13], [1, 4], [6, 1], [40, 97], [90, 41]] {
                for inner in [1, 3, 17, 33] {
                    check(mode, coordinates, [2, from, to, inner], inner == 17);
                }
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for inner in [1, 40] {
        let resize = Resize::new(300, 700, inner, |i| vec![(i * 3 / 8, 0.3), (i * 3 / 8 + 1, 0.7)]).unwrap();
        let x: Vec<f32> = (0..40 * 300 * inner).map(|i| (i % 1013) as f32).collect();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = vec![0.0; 40 * 700 * inner];
            pool.install(|| resize.run(&x, &mut out)).unwrap();
            out
        };
        assert!(on(1) == on(2));
    }
}

/// Places in order, in no order, far from each other, and of unlike numbers of taps, over rows shorter and longer than a table.
#[test]
fn entries_of_one_element_are_sums_of_any_places() {
    type Taps = fn(usize, usize) -> Vec<(usize, f64)>;
    let ways: [Taps; 6] = [
        |i, from| vec![(i % from, 2.0)],
        |i, from| vec![(from - 1 - i % from, 0.5), (i % from, 0.25)],
        |i, from| vec![((i * 5).min(from - 1), 0.5), ((i * 5 + 1).min(from - 1), 0.25)],
        |i, from| vec![(0, 0.5), (i.min(from - 1), 0.25), (from - 1, 2.0)],
        |i, from| vec![(i % from, 0.5); i % 3],
        |_, _| vec![],
    ];
    for taps in ways {
        for (from, to) in [(1, 40), (3, 50), (31, 31), (32, 70), (33, 5), (200, 37), (300, 90)] {
            let x: Vec<f32> = (0..3 * from).map(|i| (i * 7919 % 1009) as f32).collect();
            let resize = Resize::new(from, to, 1, |i| taps(i, from)).unwrap();
            let want: Vec<f32> = (0..3 * to)
                .map(|i| match (&x[i / to * from..], &taps(i % to, from)[..]) {
                    (row, &[(place, _)]) => row[place],
                    (row, all) => all.iter().map(|&(place, weight)| row[place] * weight as f32).sum(),
                })
                .collect();
            forced::on_each(|| {
                let mut out = vec![f32::NAN; 3 * to];
                resize.run(&x, &mut out).unwrap();
                assert_eq!(out, want, "{from} to {to} on {:?}", Isa::current());
            });
        }
    }
}

#[test]
fn of_no_entries_the_sum_is_nothing() {
    let resize = Resize::new(2, 2, 3, |i| vec![(0, 2.0); 2 * i]).unwrap();
    let mut out = [f32::NAN; 6];
    resize.run(&[1.0; 6], &mut out).unwrap();
    assert_eq!(out, [0.0, 0.0, 0.0, 4.0, 4.0, 4.0]);
    let mut out = [f64::NAN; 6];
    resize.run_f64(&[1.0; 6], &mut out).unwrap();
    assert_eq!(out, [0.0, 0.0, 0.0, 4.0, 4.0, 4.0]);
    for [from, to, inner] in [[2, 0, 3], [2, 2, 0], [0, 0, 0]] {
        let resize = Resize::new(from, to, inner, |_| vec![(0, 1.0)]).unwrap();
        assert_eq!((resize.run(&[], &mut []), resize.copy::<u8>(&[], &mut [])), (Ok(()), Ok(())));
    }
}

#[test]
fn an_entry_that_is_not_there_is_refused() {
    let got = Resize::new(2, 3, 1, |i| vec![(i, 1.0)]).err();
    assert_eq!(got, Some(ResizeError::Place { to: 2, place: 2, from: 2 }));
}

#[test]
fn more_entries_than_can_be_addressed_are_refused() {
    let new = |from, to, inner| Resize::new(from, to, inner, |_| vec![]).err();
    let refused = |from, to, inner| Some(ResizeError::TooLarge { from, to, inner });
    assert_eq!(new(1 << 40, 1, 1), refused(1 << 40, 1, 1));
    assert_eq!(new(2, 1, usize::MAX), refused(2, 1, usize::MAX));
}

#[test]
fn a_copy_of_sums_is_refused() {
    let resize = Resize::new(2, 1, 1, |_| vec![(0, 0.5), (1, 0.5)]).unwrap();
    assert_eq!(resize.copy(&[1u8, 2], &mut [0]), Err(ResizeError::Sums));
}

#[test]
fn other_lengths_are_refused() {
    let resize = Resize::new(2, 3, 5, |_| vec![(0, 1.0)]).unwrap();
    let refused = |name, got, want| Err(ResizeError::Length { name, got, want });
    assert_eq!(resize.run(&[0.0; 10], &mut [0.0; 16]), refused("out", 16, 15));
    assert_eq!(resize.run_f64(&[0.0; 11], &mut [0.0; 15]), refused("x", 11, 10));
    assert_eq!(resize.copy(&[0u8; 10], &mut [0; 30]), refused("x", 10, 20));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn resizing_agrees_with_the_definition(
        mode in prop::sample::select(modes()), coordinates in prop::sample::select(&Coordinates::NAMES[..]),
        outer in 1usize..4, from in 1usize..100, to in 1usize..120, inner in prop_oneof![Just(1), 1usize..40], odd: bool,
    ) {
        check(mode, coordinates.0, [outer, from, to, inner], odd);
    }
}
