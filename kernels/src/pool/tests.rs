use super::*;
use crate::isa::forced;
use crate::window::Axis;
use crate::window::tests::{Case, any_case, cases, noise, turned};
use bgz_passes::eval;
use bgz_passes::ir::{self, DType, Op, PoolKind, Tensor};
use proptest::prelude::*;

const KINDS: [Kind; 3] = [Kind::Max, Kind::Average { count_pads: false }, Kind::Average { count_pads: true }];

/// By the definition, of `[n, positions, c]`.
fn known(case: &Case, kind: Kind, dtype: DType, c: usize, x: &[f64]) -> Vec<f64> {
    let kind = match kind {
        Kind::Max => PoolKind::Max,
        Kind::Average { count_pads } => PoolKind::Average { count_pads },
    };
    let floor = case
        .geometry
        .axes()
        .iter()
        .all(|a| (a.windows - 1) * a.stride + (a.kernel - 1) * a.dilation < a.extent + a.before + a.after);
    let op = Op::Pool(ir::Pool { kind, window: case.window.clone(), ceil: !floor });
    let (plane, made) = (case.geometry.positions(), case.geometry.windows());
    let n = x.len() / plane / c;
    let shape = [&[n, c], &case.spatial[..]].concat();
    let x = Tensor::f64s(dtype, shape, &turned(x, [n, plane, c])).unwrap();
    let out = eval::node(&op, &[x]).unwrap()[0].to_f64s();
    assert_eq!(out.len(), n * made * c);
    turned(&out, [n, c, made])
}

fn same(got: impl IntoIterator<Item = f64>, want: &[f64], tolerance: f64, what: &dyn std::fmt::Debug) {
    for (i, (got, &want)) in got.into_iter().zip(want).enumerate() {
        let same = got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= tolerance;
        assert!(same, "{i}: {got} for {want} on {:?}, {what:?}", crate::Isa::current());
    }
}

/// f32 and f64 of every kind, on every instruction set.
fn check(case: &Case, c: usize, x: &[f64]) {
    let singles: Vec<f32> = x.iter().map(|&v| v as f32).collect();
    for kind in KINDS {
        let want = known(case, kind, DType::F32, c, x);
        let tolerance = if kind == Kind::Max { 0.0 } else { 1e-5 };
        let pool = Pool::new(case.geometry.clone(), c, kind);
        let what = (case, kind, c);
        forced::on_each(|| {
            let mut out = vec![0.5f32; want.len()];
            pool.run(&singles, &mut out).unwrap();
            same(out.into_iter().map(f64::from), &want, tolerance, &what);
            let mut out = vec![0.5f64; want.len()];
            pool.run(x, &mut out).unwrap();
            same(out, &want, tolerance.min(1e-6), &what);
        });
    }
}

/// Numbers that are f32.
fn numbers(n: usize, seed: u64) -> Vec<f64> {
    noise(n, seed).into_iter().map(|v| f64::from(v as f32)).collect()
}

/// The same with some that are not finite, and zeros of both signs.
fn odd(n: usize, seed: u64) -> Vec<f64> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0];
    let mut x = numbers(n, seed);
    for (i, v) in x.iter_mut().enumerate().filter(|(i, _)| i % 7 == 3) {
        *v = odd[i / 7 % odd.len()];
    }
    x
}

#[test]
fn every_window() {
    for ceil in [false, true] {
        for case in cases(ceil) {
            for c in [1, 3, 17, 33] {
                let n = 2 * case.geometry.positions() * c;
                check(&case, c, &numbers(n, 1));
                check(&case, c, &odd(n, 2));
            }
        }
    }
}

#[test]
fn the_greatest_of_bytes() {
    for case in cases(true) {
        for c in [1, 19] {
            let n = 2 * case.geometry.positions() * c;
            let signed: Vec<i8> = noise(n, 1).into_iter().map(|v| (v * 128.0) as i8).collect();
            let unsigned: Vec<u8> = signed.iter().map(|&v| v as u8).collect();
            let pool = Pool::new(case.geometry.clone(), c, Kind::Max);
            forced::on_each(|| {
                let x: Vec<f64> = signed.iter().map(|&v| v.into()).collect();
                let want = known(&case, Kind::Max, DType::I8, c, &x);
                let mut out = vec![1i8; want.len()];
                pool.run(&signed, &mut out).unwrap();
                same(out.into_iter().map(f64::from), &want, 0.0, &case);
                let x: Vec<f64> = unsigned.iter().map(|&v| v.into()).collect();
                let want = known(&case, Kind::Max, DType::U8, c, &x);
                let mut out = vec![1u8; want.len()];
                pool.run(&unsigned, &mut out).unwrap();
                same(out.into_iter().map(f64::from), &want, 0.0, &case);
            });
        }
    }
}

#[test]
fn one_nan_is_in_every_window_that_has_it_and_in_no_other() {
    let case = Case::new(&[[20, 3, 1, 1, 1, 1], [40, 3, 2, 1, 1, 1]], false).unwrap();
    for c in [1, 16, 21] {
        for at in [0, 5 * 40 * c, (7 * 40 + 39) * c + c - 1, 800 * c - 1] {
            let mut x = numbers(800 * c, 3);
            x[at] = f64::NAN;
            check(&case, c, &x);
        }
    }
}

/// Whole vectors of windows are few enough to be made twice, but not where a lookup does not reach from the first to the last:
/// those are made one by one, and going back among them would never end.
#[test]
fn windows_too_far_apart_for_a_lookup_are_made_once_each() {
    for stride in [3, 4, 5, 8, 31, 33, 70] {
        for (windows, kernel, before) in [(20, 2, 0), (33, 3, 1), (40, 5, 2)] {
            let extent = (windows - 1) * stride + kernel - before;
            let case = Case::new(&[[3, 2, 1, 1, 0, 0], [extent, kernel, stride, 1, before, 0]], false).unwrap();
            assert_eq!(case.windows(), [2, windows]);
            let n = 2 * case.geometry.positions();
            check(&case, 1, &numbers(n, 1));
            check(&case, 1, &odd(n, 2));
        }
    }
}

#[test]
fn a_kernel_of_any_size_is_as_large_as_the_image() {
    let axis = Axis { kernel: 1 << 40, before: 1 << 39, after: 1 << 39, ..Axis::new(3) };
    let geometry = Geometry::new(&[axis, axis]).unwrap();
    for c in [1, 5] {
        let x: Vec<f32> = (0..9 * c).map(|i| i as f32).collect();
        let mut out = vec![0.0; 9 * c];
        Pool::new(geometry.clone(), c, Kind::Max).run(&x, &mut out).unwrap();
        assert!(out.iter().enumerate().all(|(i, &v)| v == (8 * c + i % c) as f32));
        Pool::new(geometry.clone(), c, Kind::Average { count_pads: false }).run(&x, &mut out).unwrap();
        assert!(out.iter().enumerate().all(|(i, &v)| v == (4 * c + i % c) as f32));
        Pool::new(geometry.clone(), c, Kind::Average { count_pads: true }).run(&x, &mut out).unwrap();
        assert!(out.iter().all(|&v| (0.0..1e-10).contains(&v)));
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let case = Case::new(&[[90, 3, 1, 1, 1, 1], [91, 3, 2, 1, 1, 1]], false).unwrap();
    for c in [1, 67] {
        let x: Vec<f32> = odd(40 * 90 * 91 * c / c.min(40), 5).iter().map(|&v| v as f32).collect();
        let n = x.len() / 90 / 91 / c;
        for kind in KINDS {
            let pool = Pool::new(case.geometry.clone(), c, kind);
            let on = |threads| {
                let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut out = vec![0.0; n * case.geometry.windows() * c];
                threads.install(|| pool.run(&x, &mut out)).unwrap();
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let one = on(1);
            assert!([2, 3].into_iter().all(|n| on(n) == one), "{c} {kind:?}");
        }
    }
}

#[test]
fn an_average_of_bytes_is_refused() {
    let pool = Pool::new(Geometry::new(&[Axis::new(2)]).unwrap(), 1, Kind::Average { count_pads: true });
    assert_eq!(pool.run(&[1u8, 2], &mut [0; 2]), Err(WindowError::Average));
    assert_eq!(pool.run(&[1i8, 2], &mut [0; 2]), Err(WindowError::Average));
}

#[test]
fn other_lengths_are_refused() {
    let pool = Pool::new(Geometry::new(&[Axis { windows: 2, ..Axis::new(3) }]).unwrap(), 5, Kind::Max);
    let refused = |name, got, want| Err(WindowError::Length { name, got, want });
    assert_eq!(pool.run(&[0.0f32; 14], &mut [0.0; 10]), refused("x", 14, 15));
    assert_eq!(pool.run(&[0.0f64; 15], &mut [0.0; 11]), refused("out", 11, 10));
    assert_eq!(pool.run(&[0u8; 15], &mut [0; 20]), refused("x", 15, 30));
    assert_eq!(pool.run(&[0u8; 30], &mut [0; 20]), Ok(()));
}

#[test]
fn of_no_position_there_is_the_least() {
    let axis = Axis { kernel: 2, windows: 2, before: 2, after: 1, ..Axis::new(0) };
    for c in [1, 20] {
        let pool = Pool::new(Geometry::new(&[Axis::new(3), axis]).unwrap(), c, Kind::Max);
        let mut out = vec![0.0f32; 6 * c];
        pool.run(&[], &mut out).unwrap();
        assert!(out.iter().all(|&v| v == f32::NEG_INFINITY));
        let mut out = vec![0i8; 6 * c];
        pool.run(&[], &mut out).unwrap();
        assert!(out.iter().all(|&v| v == i8::MIN));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn pools_agree_with_the_definition(case in any_case(), c in 1usize..40, strange: bool, seed: u64) {
        let n = case.geometry.positions() * c;
        check(&case, c, &if strange { odd(n, seed) } else { numbers(n, seed) });
    }
}
