//! Windows for the tests of what goes by them, and the geometry's own tests.

use super::rows::Row;
use super::*;
use bgz_passes::ir::{Padding, Window};
use bgz_passes::random::SplitMix64;
use proptest::prelude::*;

/// Windows that are as many as fit, in the words of the definition and here.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub window: Window,
    pub spatial: Vec<usize>,
    pub geometry: Geometry,
}

impl Case {
    /// Of an axis each: extent, kernel, stride, dilation, padding before and after. With `ceil` one more window for the rest.
    /// `None` if the window does not fit.
    pub fn new(axes: &[[usize; 6]], ceil: bool) -> Option<Self> {
        let each = |i: usize| axes.iter().map(|a| a[i]).collect::<Vec<_>>();
        let padding = Padding::Explicit([each(4), each(5)].concat());
        let window = Window { kernel: each(1), strides: each(2), dilations: each(3), padding };
        let own = |&[extent, kernel, stride, dilation, before, after]: &[usize; 6]| {
            let room = (extent + before + after).checked_sub((kernel - 1) * dilation + 1)?;
            let more = ceil && room % stride != 0 && (room / stride + 1) * stride < extent + before;
            let windows = room / stride + 1 + usize::from(more);
            Some(Axis { extent, windows, kernel, stride, dilation, before, after })
        };
        let own: Vec<Axis> = axes.iter().map(own).collect::<Option<_>>()?;
        Some(Self { window, spatial: each(0), geometry: Geometry::new(&own).unwrap() })
    }

    pub fn windows(&self) -> Vec<usize> {
        self.geometry.axes().iter().map(|a| a.windows).collect()
    }
}

/// Windows of every kind over one to three axes.
pub(crate) fn cases(ceil: bool) -> Vec<Case> {
    let (extents, kernel) = ([7, 6, 5], [3, 2, 2]);
    let make = |n: usize, f: &dyn Fn(usize) -> [usize; 6]| {
        let axes: Vec<_> = (0..n).map(f).collect();
        Case::new(&axes, ceil).unwrap()
    };
    let mut out = Vec::new();
    for n in 1..=3 {
        let e = |i: usize| extents[i];
        out.extend([
            make(n, &|i| [e(i), 1, 1, 1, 0, 0]),
            make(n, &|i| [e(i), kernel[i], 1, 1, 0, 0]),
            make(n, &|i| [e(i), kernel[i], [2, 3, 2][i], 1, 0, 0]),
            make(n, &|i| [e(i), kernel[i], 1, [2, 1, 2][i], 0, 0]),
            make(n, &|i| [e(i), kernel[i], 1, 1, 1, 1]),
            make(n, &|i| [e(i), kernel[i], [2, 1, 2][i], 1, [1, 0, 1][i], [2, 1, 0][i]]),
            make(n, &|i| [e(i), kernel[i], [1, 2, 1][i], [1, 2, 1][i], [2, 1, 0][i], [2, 0, 1][i]]),
            make(n, &|i| [e(i), 3, 2, 1, 1, 1]),
        ]);
    }
    // Longer lines, for several windows at once: of every stride, and of dilations that skip some.
    for [kernel, stride, dilation] in
        [[3, 1, 1], [3, 2, 1], [5, 1, 1], [5, 2, 1], [3, 1, 2], [2, 3, 3], [1, 2, 1], [4, 5, 1]]
    {
        out.extend(Case::new(&[[4, 3, 1, 1, 1, 1], [67, kernel, stride, dilation, 2, 1]], ceil));
    }
    // Kernels larger than the image, most of which is padding; more rows of taps than are taken at once.
    out.extend(Case::new(&[[3, 9, 1, 1, 4, 4], [2, 7, 2, 1, 3, 4]], ceil));
    out.extend(Case::new(&[[11, 11, 1, 1, 5, 5], [10, 9, 1, 1, 2, 2], [3, 2, 1, 1, 0, 0]], ceil));
    out
}

prop_compose! {
    /// An axis whose window fits.
    pub(crate) fn axis(most: usize)(extent in 1..most)(
        extent in Just(extent), kernel in 1usize..6, stride in 1usize..5, dilation in 1usize..4, before in 0usize..5,
        after in 0usize..5,
    ) -> [usize; 6] {
        let reach = (kernel - 1) * dilation + 1;
        [extent, kernel, stride, dilation, before, after.max(reach.saturating_sub(extent + before))]
    }
}

/// One to three axes, and whether there is a window for the rest.
pub(crate) fn any_case() -> impl Strategy<Value = Case> {
    let axes = prop_oneof![
        prop::collection::vec(axis(70), 1),
        prop::collection::vec(axis(20), 2),
        prop::collection::vec(axis(7), 3)
    ];
    (axes, any::<bool>()).prop_map(|(axes, ceil)| Case::new(&axes, ceil).unwrap())
}

/// Numbers below 1 in magnitude.
pub(crate) fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = SplitMix64::new(seed);
    std::iter::repeat_with(|| 2.0 * rng.unit() - 1.0).take(n).collect()
}

/// `[n, a, b]` as `[n, b, a]`.
pub(crate) fn turned<T: Copy>(x: &[T], [n, a, b]: [usize; 3]) -> Vec<T> {
    let at = |i: usize| x[i / (a * b) * a * b + i % a * b + i / a % b];
    (0..n * a * b).map(at).collect()
}

#[test]
fn taps_that_fall_on_a_position_are_those_of_the_windows() {
    for case in cases(true) {
        let g = &case.geometry;
        for (i, a) in g.axes.iter().enumerate() {
            for position in 0..a.extent {
                let mut want = Vec::new();
                for k in 0..a.kernel {
                    for w in 0..a.windows {
                        if w * a.stride + k * a.dilation == position + a.before {
                            want.push((k, w));
                        }
                    }
                }
                let one = Geometry::new(&[*a]).unwrap();
                let t = one.columns(Form::Transposed, position);
                let got: Vec<_> = (0..t.count)
                    .map(|j| (t.first + j * t.step, t.place.wrapping_add_signed(j as isize * t.apart)))
                    .collect();
                assert_eq!(got, want, "{case:?} axis {i} position {position}");
            }
        }
    }
}

#[test]
fn rows_are_found_from_any_on() {
    let case = cases(false).pop().unwrap();
    let mut all = vec![Row::default(); 200];
    let mut some = all.clone();
    for form in [Form::Plain, Form::Transposed] {
        let n = case.geometry.rows(form, 60, 0, &mut all).len();
        assert_eq!(n, case.geometry.count(form, 60));
        for skip in [0, 1, 17, n - 1, n] {
            assert_eq!(case.geometry.rows(form, 60, skip, &mut some), &all[skip..n]);
        }
    }
}

fn refused(change: impl Fn(&mut Axis)) -> WindowError {
    let mut axis = Axis::new(4);
    change(&mut axis);
    Geometry::new(&[Axis::new(2), axis]).unwrap_err()
}

#[test]
fn a_kernel_of_nothing_is_refused() {
    assert_eq!(refused(|a| a.kernel = 0), WindowError::Zero { name: "kernel", axis: 1 });
}

#[test]
fn a_stride_of_nothing_is_refused() {
    assert_eq!(refused(|a| a.stride = 0), WindowError::Zero { name: "stride", axis: 1 });
}

#[test]
fn a_dilation_of_nothing_is_refused() {
    assert_eq!(refused(|a| a.dilation = 0), WindowError::Zero { name: "dilation", axis: 1 });
}

#[test]
fn windows_beyond_all_addresses_are_refused() {
    let windows = WindowError::TooLarge("windows");
    assert_eq!(refused(|a| a.stride = usize::MAX), windows);
    assert_eq!(refused(|a| (a.kernel, a.dilation) = (3, usize::MAX / 3)), windows);
    assert_eq!(refused(|a| a.before = usize::MAX), windows);
    assert_eq!(refused(|a| a.after = isize::MAX as usize), windows);
    assert_eq!(refused(|a| a.kernel = usize::MAX), windows);
    let axes = [Axis::new(1 << 40), Axis::new(1 << 40)];
    assert_eq!(Geometry::new(&axes), Err(WindowError::TooLarge("positions")));
    let many = Axis { windows: 1 << 40, ..Axis::new(1) };
    assert_eq!(Geometry::new(&[many, many]), Err(WindowError::TooLarge("windows")));
    let large = Axis { kernel: 1 << 40, after: 1 << 40, ..Axis::new(1) };
    assert_eq!(Geometry::new(&[large, large]).unwrap().taps(), Err(WindowError::TooLarge("taps")));
}

#[test]
fn no_axis_is_one_position() {
    let g = Geometry::new(&[]).unwrap();
    assert_eq!((g.positions(), g.windows(), g.taps()), (1, 1, Ok(1)));
}
