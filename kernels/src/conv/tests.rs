use super::*;
use crate::isa::forced;
use crate::window::Axis;
use crate::window::tests::{Case, any_case, cases, noise, turned};
use bgz_passes::eval;
use bgz_passes::ir::{Conv, DType, Op, Tensor};
use proptest::prelude::*;

const IMAGES: usize = 2;

/// Operands and the result by the definition, channels last.
struct Known {
    channels: Channels,
    x: Vec<f64>,
    w: Vec<f64>,
    bias: Option<Vec<f64>>,
    want: Vec<f64>,
}

/// Where `transposed`, the windows of the case are the image and its plane the result.
fn known(case: &Case, [groups, from, to]: [usize; 3], bias: bool, transposed: bool) -> Known {
    let channels = Channels { groups, input: groups * from, output: groups * to };
    let (input, output) = (channels.input, channels.output);
    let (g, window) = (&case.geometry, case.window.clone());
    let (image, result, first) = if transposed {
        (case.windows(), case.spatial.clone(), [input, to])
    } else {
        (case.spatial.clone(), case.windows(), [output, from])
    };
    let [plane, made] = [&image, &result].map(|e| e.iter().product::<usize>());
    let round = |v: Vec<f64>| v.into_iter().map(|v| f64::from(v as f32)).collect::<Vec<_>>();
    let x = round(noise(IMAGES * plane * input, 1));
    let w = round(noise(first[0] * first[1] * g.taps().unwrap(), 2));
    let bias = bias.then(|| round(noise(output, 3)));
    let op = if transposed {
        // The case may have more than the definition would make without it: entries that no window reaches.
        let made = |i: usize| {
            let Axis { windows, stride, kernel, dilation, before, after, .. } = g.axes()[i];
            ((windows - 1) * stride + (kernel - 1) * dilation + 1).wrapping_sub(before + after)
        };
        let output_padding = (0..result.len()).map(|i| result[i].wrapping_sub(made(i))).collect();
        Op::Conv(Conv::Transposed { window, groups, output_padding })
    } else {
        Op::Conv(Conv::Plain { window, groups })
    };
    let tensor = |shape: Vec<usize>, v: &[f64]| Tensor::f64s(DType::F64, shape, v).unwrap();
    let mut operands = vec![
        tensor([&[IMAGES, input], &image[..]].concat(), &turned(&x, [IMAGES, plane, input])),
        tensor([&first, &case.window.kernel[..]].concat(), &w),
    ];
    operands.extend(bias.as_ref().map(|b| tensor(vec![output], b)));
    let want = eval::node(&op, &operands).unwrap()[0].to_f64s();
    assert_eq!(want.len(), IMAGES * made * output);
    Known { channels, x, w, bias, want: turned(&want, [IMAGES, output, made]) }
}

fn singles(v: &[f64]) -> Vec<f32> {
    v.iter().map(|&v| v as f32).collect()
}

fn near(got: impl Iterator<Item = f64>, want: &[f64], tolerance: f64, what: &dyn std::fmt::Debug) {
    for (i, (got, &want)) in got.zip(want).enumerate() {
        let same = got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= tolerance;
        assert!(same, "{i}: {got} for {want} on {:?}, {what:?}", crate::Isa::current());
    }
}

/// Sums of so many products of numbers below 1, each rounded.
fn tolerance(known: &Known) -> f64 {
    let depth = known.w.len() / known.channels.output.max(1);
    1e-6 * (depth + 1) as f64
}

fn check(case: &Case, groups: [usize; 3], bias: bool) {
    let k = known(case, groups, bias, false);
    let (x, w, bias) = (singles(&k.x), singles(&k.w), k.bias.as_deref().map(singles));
    let what = (case, groups);
    forced::on_each(|| {
        let mut out = vec![f32::NAN; k.want.len()];
        let grouped = Grouped::new(case.geometry.clone(), k.channels, &w).unwrap();
        grouped.run(&x, bias.as_deref(), &mut out).unwrap();
        near(out.iter().map(|&v| v.into()), &k.want, tolerance(&k), &what);
        let loops = Loops::plain(case.geometry.clone(), k.channels, &w).unwrap();
        out.fill(f32::NAN);
        loops.run(&x, bias.as_deref(), &mut out).unwrap();
        near(out.iter().map(|&v| v.into()), &k.want, tolerance(&k), &what);
        let loops = Loops::plain(case.geometry.clone(), k.channels, &k.w).unwrap();
        let mut out = vec![f64::NAN; k.want.len()];
        loops.run(&k.x, k.bias.as_deref(), &mut out).unwrap();
        near(out.into_iter(), &k.want, 1e-12, &what);
    });
}

fn check_transposed(case: &Case, groups: [usize; 3], bias: bool) {
    let k = known(case, groups, bias, true);
    let (x, w, bias) = (singles(&k.x), singles(&k.w), k.bias.as_deref().map(singles));
    let what = (case, groups);
    forced::on_each(|| {
        let loops = Loops::transposed(case.geometry.clone(), k.channels, &w).unwrap();
        let mut out = vec![f32::NAN; k.want.len()];
        loops.run(&x, bias.as_deref(), &mut out).unwrap();
        near(out.iter().map(|&v| v.into()), &k.want, tolerance(&k), &what);
        let loops = Loops::transposed(case.geometry.clone(), k.channels, &k.w).unwrap();
        let mut out = vec![f64::NAN; k.want.len()];
        loops.run(&k.x, k.bias.as_deref(), &mut out).unwrap();
        near(out.into_iter(), &k.want, 1e-12, &what);
    });
}

#[test]
fn each_channel_alone_by_every_window() {
    for case in cases(false) {
        for (channels, bias) in [(1, true), (3, false), (17, true), (33, false)] {
            check(&case, [channels, 1, 1], bias);
        }
    }
}

#[test]
fn groups_of_every_width_by_some_windows() {
    let groups = [
        [1, 3, 4],
        [2, 2, 3],
        [4, 1, 2],
        [3, 2, 1],
        [5, 4, 4],
        [9, 4, 4],
        [17, 1, 3],
        [3, 17, 2],
        [2, 33, 1],
        [2, 3, 17],
        [2, 8, 33],
    ];
    for case in cases(false).iter().step_by(3) {
        for (i, groups) in groups.into_iter().enumerate() {
            check(case, groups, i % 2 == 0);
        }
    }
}

#[test]
fn transposed_by_every_window() {
    // Of as many windows as fit, positions that no window reaches are less than a stride: padding at the end of the result.
    for case in cases(false) {
        if !reached(&case) {
            continue;
        }
        for (groups, bias) in [([1, 3, 4], true), ([2, 2, 3], false), ([5, 1, 1], true)] {
            check_transposed(&case, groups, bias);
        }
    }
}

/// True if a transposed convolution makes the plane of these windows with no less than nothing added at its end.
fn reached(case: &Case) -> bool {
    case.geometry.axes().iter().all(|a| {
        let made = (a.windows - 1) * a.stride + (a.kernel - 1) * a.dilation + 1;
        made <= a.extent + a.before + a.after
    })
}

#[test]
fn nothing_is_read_in_the_padding() {
    // Infinite and NaN weights that only ever meet the padding: 0 times them would show.
    let case = Case::new(&[[2, 5, 1, 1, 2, 2], [2, 5, 1, 1, 2, 2]], false).unwrap();
    for groups in [[3, 1, 1], [20, 1, 1], [2, 4, 4], [2, 2, 20]] {
        let channels = Channels { groups: groups[0], input: groups[0] * groups[1], output: groups[0] * groups[2] };
        let w: Vec<f32> = (0..channels.output * groups[1] * 25)
            .map(|i| {
                if [0, 4].contains(&(i % 5)) {
                    f32::NAN
                } else if (i / 5) % 5 == 0 {
                    f32::INFINITY
                } else {
                    1.0
                }
            })
            .collect();
        let x = vec![1.0; 4 * channels.input];
        forced::on_each(|| {
            let mut out = vec![f32::NAN; 4 * channels.output];
            Grouped::new(case.geometry.clone(), channels, &w).unwrap().run(&x, None, &mut out).unwrap();
            assert!(out.iter().all(|&v| v == 4.0 * groups[1] as f32), "{groups:?} {out:?}");
        });
    }
}

#[test]
fn what_is_not_finite_stays_in_its_group() {
    let case = Case::new(&[[9, 3, 1, 1, 1, 1]], false).unwrap();
    for [groups, from, to] in [[20, 1, 1], [6, 4, 4], [3, 2, 17]] {
        let channels = Channels { groups, input: groups * from, output: groups * to };
        let w = vec![1.0; channels.output * from * 3];
        let mut x = vec![1.0; 9 * channels.input];
        x[4 * channels.input + from] = f32::NAN;
        x[7 * channels.input + 2 * from] = f32::INFINITY;
        forced::on_each(|| {
            let mut out = vec![0.0; 9 * channels.output];
            Grouped::new(case.geometry.clone(), channels, &w).unwrap().run(&x, None, &mut out).unwrap();
            for (i, v) in out.iter().enumerate() {
                let (at, group) = (i / channels.output, i % channels.output / to);
                let (nan, infinite) = (group == 1 && (3..=5).contains(&at), group == 2 && (6..=8).contains(&at));
                assert_eq!((v.is_nan(), v.is_infinite()), (nan, infinite), "{i} {v}");
            }
        });
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let case = Case::new(&[[60, 3, 1, 1, 1, 1], [61, 3, 1, 1, 1, 1]], false).unwrap();
    for groups in [[67, 1, 1], [9, 4, 4], [3, 7, 20]] {
        let k = known(&case, [1, 1, 1], false, false);
        assert_eq!(k.want.len(), IMAGES * 60 * 61);
        let channels = Channels { groups: groups[0], input: groups[0] * groups[1], output: groups[0] * groups[2] };
        let x = singles(&noise(60 * 61 * channels.input, 5));
        let w = singles(&noise(channels.output * groups[1] * 9, 6));
        let grouped = Grouped::new(case.geometry.clone(), channels, &w).unwrap();
        let loops = Loops::transposed(case.geometry.clone(), channels, &w).unwrap();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = [(); 2].map(|()| vec![0.0; 60 * 61 * channels.output]);
            pool.install(|| {
                grouped.run(&x, None, &mut out[0]).unwrap();
                loops.run(&x, None, &mut out[1]).unwrap();
            });
            out
        };
        let one = on(1);
        assert!([2, 3].into_iter().all(|n| on(n) == one), "{groups:?}");
    }
}

#[test]
fn channels_that_do_not_make_groups_are_refused() {
    let new = |groups, input, output| {
        let channels = Channels { groups, input, output };
        let got = Grouped::new(Geometry::new(&[Axis::new(3)]).unwrap(), channels, &[0.0; 12]).err();
        assert_eq!(got, Some(WindowError::Groups { groups, input, output }));
    };
    new(0, 4, 4);
    new(3, 4, 3);
    new(3, 3, 4);
}

#[test]
fn other_lengths_are_refused() {
    let geometry = Geometry::new(&[Axis { kernel: 2, windows: 2, ..Axis::new(3) }]).unwrap();
    let channels = Channels { groups: 2, input: 2, output: 4 };
    let refused = |name, got, want| Some(WindowError::Length { name, got, want });
    assert_eq!(Grouped::new(geometry.clone(), channels, &[0.0; 7]).err(), refused("weights", 7, 8));
    assert_eq!(Loops::plain(geometry.clone(), channels, &[0.0f64; 9]).err(), refused("weights", 9, 8));
    let grouped = Grouped::new(geometry.clone(), channels, &[0.0; 8]).unwrap();
    let loops = Loops::plain(geometry, channels, &[0.0; 8]).unwrap();
    for (x, bias, out, want) in [
        (5, 4, 8, refused("x", 5, 6)),
        (6, 4, 9, refused("out", 9, 8)),
        (6, 3, 8, refused("bias", 3, 4)),
        (12, 4, 8, refused("x", 12, 6)),
        (12, 4, 16, None),
    ] {
        let (x, bias, mut out) = (vec![0.0; x], vec![0.0; bias], vec![0.0; out]);
        assert_eq!(grouped.run(&x, Some(&bias), &mut out).err(), want);
        assert_eq!(loops.run(&x, Some(&bias), &mut out).err(), want);
    }
}

#[test]
fn weights_beyond_all_addresses_are_refused() {
    let axis = Axis { kernel: 1 << 40, before: 1 << 40, ..Axis::new(1) };
    let geometry = Geometry::new(&[axis, axis]).unwrap();
    let channels = Channels { groups: 1, input: 1, output: 1 };
    assert_eq!(Grouped::new(geometry, channels, &[]).err(), Some(WindowError::TooLarge("taps")));
}

#[test]
fn of_nothing_there_is_nothing_or_the_bias() {
    let axis = Axis { kernel: 1 << 40, before: 1 << 40, ..Axis::new(3) };
    let geometry = Geometry::new(&[axis, axis]).unwrap();
    for [groups, input, output] in [[1, 0, 2], [1, 2, 0], [2, 0, 2], [2, 0, 0]] {
        let channels = Channels { groups, input, output };
        let bias = &[1.0, 2.0][..output];
        let mut out = vec![f32::NAN; 9 * output];
        let x = vec![0.0; if output == 0 { 18 } else { 9 * input }];
        Grouped::new(geometry.clone(), channels, &[]).unwrap().run(&x, Some(bias), &mut out).unwrap();
        assert!(out.chunks(output.max(1)).all(|o| o == bias));
        out.fill(f32::NAN);
        Loops::plain(geometry.clone(), channels, &[]).unwrap().run(&x, Some(bias), &mut out).unwrap();
        assert!(out.chunks(output.max(1)).all(|o| o == bias));
    }
    // No position at all, of a window that is all padding.
    let axis = Axis { kernel: 2, windows: 2, before: 2, after: 1, ..Axis::new(0) };
    let geometry = Geometry::new(&[Axis { kernel: 3, before: 3, ..Axis::new(2) }, axis]).unwrap();
    let channels = Channels { groups: 1, input: 1, output: 1 };
    let mut out = [f32::NAN; 4];
    Grouped::new(geometry, channels, &[1.0; 6]).unwrap().run(&[], Some(&[7.0]), &mut out).unwrap();
    assert_eq!(out, [7.0; 4]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn convolutions_agree_with_the_definition(
        case in any_case(), groups in 1usize..20, each in prop_oneof![Just([1, 1]), [1usize..5, 1usize..5]], bias: bool,
    ) {
        let floor = Case::new(&axes(&case), false).unwrap();
        check(&floor, [groups, each[0], each[1]], bias);
        if reached(&floor) {
            check_transposed(&floor, [groups.min(5), each[0], each[1]], bias);
        }
    }
}

/// The axes of a case, as it is made of them.
fn axes(case: &Case) -> Vec<[usize; 6]> {
    let axes = case.geometry.axes().iter();
    axes.map(|a| [a.extent, a.kernel, a.stride, a.dilation, a.before, a.after]).collect()
}
