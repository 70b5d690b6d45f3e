use super::super::host::{strides, unravel};
use super::*;
use bgz_passes::ir::{Attr, Dim, Float};

fn ints(v: &[i64]) -> Attr {
    Attr::Dims(v.iter().map(|&i| Dim::int(i)).collect())
}

/// An op by the words of graph text.
pub(super) fn op_of(name: &str, attrs: &[(&str, Attr)]) -> Op {
    read(name, attrs).unwrap()
}

fn read(name: &str, attrs: &[(&str, Attr)]) -> Result<Op, String> {
    let attrs = attrs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    Op::from_parts(name, attrs, &[], 0)
}

/// A window over some axes.
#[derive(Clone, Debug)]
pub(super) struct Window {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    /// Beginnings, then ends.
    pads: Vec<usize>,
}

impl Window {
    pub(super) fn new(kernel: &[usize]) -> Self {
        let n = kernel.len();
        Self { kernel: kernel.to_vec(), strides: vec![1; n], dilations: vec![1; n], pads: vec![0; 2 * n] }
    }

    pub(super) fn strides(mut self, s: &[usize]) -> Self {
        self.strides = s.to_vec();
        self
    }

    pub(super) fn dilations(mut self, d: &[usize]) -> Self {
        self.dilations = d.to_vec();
        self
    }

    pub(super) fn pads(mut self, p: &[usize]) -> Self {
        self.pads = p.to_vec();
        self
    }

    pub(super) fn attrs(&self) -> Vec<(&'static str, Attr)> {
        let list = |v: &[usize]| Attr::Dims(v.iter().map(|&i| i.into()).collect());
        vec![
            ("kernel", list(&self.kernel)),
            ("strides", list(&self.strides)),
            ("dilations", list(&self.dilations)),
            ("pads", list(&self.pads)),
        ]
    }

    /// Extents of the result.
    pub(super) fn out(&self, shape: &[usize], ceil: bool) -> Vec<usize> {
        let n = shape.len();
        (0..n)
            .map(|i| {
                let room = shape[i] + self.pads[i] + self.pads[n + i] - (self.kernel[i] - 1) * self.dilations[i] - 1;
                let s = self.strides[i];
                let whole = room / s + 1;
                // A further window must not begin in the padding at the end.
                whole + usize::from(ceil && !room.is_multiple_of(s) && whole * s < shape[i] + self.pads[i])
            })
            .collect()
    }

    /// Where tap `k` of window `o` lies, if it is not in the padding.
    pub(super) fn place(&self, o: &[usize], k: &[usize], shape: &[usize]) -> Option<Vec<usize>> {
        (0..shape.len())
            .map(|i| {
                let at = (o[i] * self.strides[i] + k[i] * self.dilations[i]).checked_sub(self.pads[i])?;
                (at < shape[i]).then_some(at)
            })
            .collect()
    }
}

fn at(shape: &[usize], place: &[usize]) -> usize {
    strides(shape).iter().zip(place).map(|(s, p)| s * p).sum()
}

pub(super) fn product(v: &[usize]) -> usize {
    v.iter().product()
}

/// A convolution by its definition.
fn conv(w: &Window, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, group: usize) -> Tensor {
    let (xs, ws) = (x.shape(), weight.shape());
    let out = w.out(&xs[2..], false);
    let (data, weights) = (x.to_f64s(), weight.to_f64s());
    let mut result = Vec::new();
    for n in 0..xs[0] {
        for m in 0..ws[0] {
            for o in 0..product(&out) {
                let mut sum = bias.map_or(0.0, |b| b.to_f64s()[m]);
                for c in 0..ws[1] {
                    for k in 0..product(&w.kernel) {
                        let tap = unravel(k, &w.kernel);
                        if let Some(p) = w.place(&unravel(o, &out), &tap, &xs[2..]) {
                            let channel = m / (ws[0] / group) * ws[1] + c;
                            let from = at(xs, &[&[n, channel], &p[..]].concat());
                            sum += data[from] * weights[at(ws, &[&[m, c], &tap[..]].concat())];
                        }
                    }
                }
                result.push(sum);
            }
        }
    }
    Tensor::f64s(x.dtype(), [&[xs[0], ws[0]], &out[..]].concat(), &result).unwrap()
}

/// A transposed convolution by its definition: every element spread by the kernel.
fn conv_transpose(
    w: &Window,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    group: usize,
    extra: &[usize],
) -> Tensor {
    let (xs, ws) = (x.shape(), weight.shape());
    let n = w.kernel.len();
    let out: Vec<usize> = (0..n)
        .map(|i| {
            let full = (xs[2 + i] - 1) * w.strides[i] + (w.kernel[i] - 1) * w.dilations[i] + 1 + extra[i];
            full - w.pads[i] - w.pads[n + i]
        })
        .collect();
    let shape = [&[xs[0], ws[1] * group], &out[..]].concat();
    let (data, weights) = (x.to_f64s(), weight.to_f64s());
    let mut result: Vec<f64> =
        (0..product(&shape)).map(|i| bias.map_or(0.0, |b| b.to_f64s()[unravel(i, &shape)[1]])).collect();
    for (i, element) in data.iter().enumerate() {
        let from = unravel(i, xs);
        for m in 0..ws[1] {
            for k in 0..product(&w.kernel) {
                let tap = unravel(k, &w.kernel);
                // The same geometry backwards: the roles of x and the result are swapped.
                if let Some(p) = w.place(&from[2..], &tap, &out) {
                    let channel = from[1] / (ws[0] / group) * ws[1] + m;
                    result[at(&shape, &[&[from[0], channel], &p[..]].concat())] +=
                        element * weights[at(ws, &[&[from[1], m], &tap[..]].concat())];
                }
            }
        }
    }
    Tensor::f64s(x.dtype(), shape, &result).unwrap()
}

/// A pooling by its definition: `count_pads` is `None` for a maximum.
pub(super) fn pool(w: &Window, x: &Tensor, ceil: bool, count_pads: Option<bool>) -> Tensor {
    let xs = x.shape();
    let n = w.kernel.len();
    let out = w.out(&xs[2..], ceil);
    let data = x.to_f64s();
    let mut result = Vec::new();
    for plane in 0..xs[0] * xs[1] {
        for o in 0..product(&out) {
            let o = unravel(o, &out);
            let (mut values, mut counted) = (Vec::new(), 0);
            for k in 0..product(&w.kernel) {
                let tap = unravel(k, &w.kernel);
                let end = |i: usize| xs[2 + i] + w.pads[i] + w.pads[n + i];
                counted += usize::from((0..n).all(|i| o[i] * w.strides[i] + tap[i] * w.dilations[i] < end(i)));
                if let Some(p) = w.place(&o, &tap, &xs[2..]) {
                    values.push(data[plane * product(&xs[2..]) + at(&xs[2..], &p)]);
                }
            }
            let sum: f64 = values.iter().sum();
            result.push(match count_pads {
                None => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Some(true) => sum / counted as f64,
                Some(false) => sum / values.len() as f64,
            });
        }
    }
    Tensor::f64s(x.dtype(), [&xs[..2], &out[..]].concat(), &result).unwrap()
}

pub(super) fn windows(n: usize) -> Vec<Window> {
    let kernel = &[3, 2, 2][..n];
    let w = || Window::new(kernel);
    vec![
        Window::new(&[1, 1, 1][..n]),
        w(),
        w().strides(&[2, 3, 2][..n]),
        w().dilations(&[2, 1, 2][..n]),
        w().pads(&[1; 6][..2 * n]),
        w().pads(&[1, 0, 1, 2, 1, 0][..2 * n]).strides(&[2, 1, 2][..n]),
        w().pads(&[2, 1, 0, 2, 0, 1][..2 * n]).strides(&[1, 2, 1][..n]).dilations(&[1, 2, 1][..n]),
    ]
}

pub(super) const EXTENTS: [usize; 3] = [7, 6, 5];

both!(convolutions);
fn convolutions<B: Backend>() {
    for n in 1..=3 {
        for w in windows(n) {
            for (group, channels, filters) in [(1, 3, 4), (2, 4, 6), (4, 4, 4)] {
                let dtypes = if n == 2 { &FLOATS[..] } else { &FLOATS[..2] };
                for &dtype in dtypes {
                    let x = random(dtype, &[&[2, channels], &EXTENTS[..n]].concat(), 1);
                    let weight = random(dtype, &[&[filters, channels / group], &w.kernel[..]].concat(), 2);
                    let bias = random(dtype, &[filters], 3);
                    let mut attrs = w.attrs();
                    attrs.push(("groups", Attr::Dim(group.into())));
                    let op = op_of("conv", &attrs);
                    let tolerance = match dtype {
                        DType::BF16 => 0.3,
                        DType::F16 => 4e-2,
                        _ => 1e-5,
                    };
                    let expected = conv(&w, &x, &weight, None, group);
                    expect_to::<B>(&op, &[x.clone(), weight.clone()], &[expected], tolerance);
                    let expected = conv(&w, &x, &weight, Some(&bias), group);
                    expect_to::<B>(&op, &[x, weight, bias], &[expected], tolerance);
                }
            }
        }
    }
}

both!(transposed_convolutions);
fn transposed_convolutions<B: Backend>() {
    for n in 1..=3 {
        for w in windows(n) {
            for (group, channels, filters) in [(1, 3, 4), (2, 4, 6)] {
                for extra in [[0; 3], [1, 0, 1]] {
                    // As large as a stride where that is 1, which Burn does not mind.
                    let extra = &extra[..n];
                    let x = random(DType::F32, &[&[2, channels], &EXTENTS[..n]].concat(), 1);
                    let weight = random(DType::F32, &[&[channels, filters / group], &w.kernel[..]].concat(), 2);
                    let bias = random(DType::F32, &[filters], 3);
                    let mut attrs = w.attrs();
                    attrs.push(("groups", Attr::Dim(group.into())));
                    attrs.push(("output_padding", Attr::Dims(extra.iter().map(|&i| i.into()).collect())));
                    let op = op_of("conv_transpose", &attrs);
                    let expected = conv_transpose(&w, &x, &weight, None, group, extra);
                    expect_to::<B>(&op, &[x.clone(), weight.clone()], &[expected], 1e-5);
                    let expected = conv_transpose(&w, &x, &weight, Some(&bias), group, extra);
                    expect_to::<B>(&op, &[x, weight, bias], &[expected], 1e-5);
                }
            }
        }
    }
}

both!(poolings);
fn poolings<B: Backend>() {
    for n in 1..=3 {
        for w in windows(n) {
            for ceil in [false, true] {
                for dtype in [DType::F32, DType::F64, DType::F16] {
                    let x = random(dtype, &[&[2, 3], &EXTENTS[..n]].concat(), 1);
                    let mut attrs = w.attrs();
                    attrs.push(("ceil_mode", Attr::Bool(ceil)));
                    let inputs = std::slice::from_ref(&x);
                    expect_to::<B>(&op_of("max_pool", &attrs), inputs, &[pool(&w, &x, ceil, None)], 0.0);
                    for count in [false, true] {
                        let mut attrs = attrs.clone();
                        attrs.push(("count_include_pad", Attr::Bool(count)));
                        let tolerance = if dtype == DType::F16 { 4e-3 } else { 1e-5 };
                        let expected = pool(&w, &x, ceil, Some(count));
                        expect_to::<B>(&op_of("average_pool", &attrs), inputs, &[expected], tolerance);
                    }
                }
            }
        }
    }
}

both!(padding_that_is_chosen);
fn padding_that_is_chosen<B: Backend>() {
    let x = random(DType::F32, &[1, 2, 6, 7], 1);
    let weight = random(DType::F32, &[2, 2, 3, 2], 2);
    // 6 in steps of 2 by 3: one entry too few; 7 in steps of 2 by 2: one too few.
    for (name, pads) in [("same_upper", [0, 0, 1, 1]), ("same_lower", [1, 1, 0, 0])] {
        let w = Window::new(&[3, 2]).strides(&[2, 2]).pads(&pads);
        let mut attrs = w.attrs();
        attrs.pop();
        attrs.push(("auto_pad", Attr::Str(name.into())));
        let expected = conv(&w, &x, &weight, None, 1);
        assert_eq!(expected.shape(), [1, 2, 3, 4]);
        expect_to::<B>(&op_of("conv", &attrs), &[x.clone(), weight.clone()], &[expected], 1e-5);
        let expected = pool(&w, &x, false, None);
        expect_to::<B>(&op_of("max_pool", &attrs), std::slice::from_ref(&x), &[expected], 0.0);
        // Backwards, 12 and 14 come out: one entry less than 13, and just 14.
        let pads = if name == "same_upper" { [0, 0, 1, 0] } else { [1, 0, 0, 0] };
        let back = Window::new(&[3, 2]).strides(&[2, 2]).pads(&pads);
        let expected = conv_transpose(&back, &x, &weight, None, 1, &[0, 0]);
        assert_eq!(expected.shape(), [1, 2, 12, 14]);
        expect_to::<B>(&op_of("conv_transpose", &attrs), &[x.clone(), weight.clone()], &[expected], 1e-5);
    }
}

/// Rows of an image of one channel.
fn image(rows: &[&[f32]]) -> Tensor {
    f32s(&[1, 1, rows.len(), rows[0].len()], &rows.concat())
}

fn resize(mode: &str, coordinates: &str, more: &[(&str, Attr)]) -> Op {
    let mut attrs = vec![("mode", Attr::Str(mode.into())), ("coordinates", Attr::Str(coordinates.into()))];
    attrs.extend_from_slice(more);
    op_of("resize", &attrs)
}

fn scales(h: f32, w: f32) -> (&'static str, Attr) {
    ("scales", Attr::Floats([1.0, 1.0, h, w].map(Float).to_vec()))
}

fn sizes(h: i64, w: i64) -> (&'static str, Attr) {
    ("sizes", ints(&[1, 1, h, w]))
}

fn text(name: &'static str, value: &str) -> (&'static str, Attr) {
    (name, Attr::Str(value.into()))
}

// The expected values are those of the examples in onnx/docs/Operators.md, Resize.
both!(resizes);
fn resizes<B: Backend>() {
    let check = |op: Op, x: &Tensor, expected: Tensor| {
        for dtype in FLOATS {
            let to = |t: &Tensor| Tensor::f64s(dtype, t.shape(), &t.to_f64s()).unwrap();
            let tolerance = if dtype == DType::BF16 {
                3e-2
            } else if dtype == DType::F16 {
                4e-3
            } else {
                1e-6
            };
            expect_to::<B>(&op, &[to(x)], &[to(&expected)], tolerance);
        }
    };
    let two = image(&[&[1., 2.], &[3., 4.]]);
    let eight = image(&[&[1., 2., 3., 4.], &[5., 6., 7., 8.]]);
    let sixteen = f32s(&[1, 1, 4, 4], &(1..=16).map(|i| i as f32).collect::<Vec<_>>());
    let linear =
        image(&[&[1., 1.25, 1.75, 2.], &[1.5, 1.75, 2.25, 2.5], &[2.5, 2.75, 3.25, 3.5], &[3., 3.25, 3.75, 4.]]);
    check(resize("linear", "half_pixel", &[scales(2., 2.)]), &two, linear.clone());
    check(resize("linear", "pytorch_half_pixel", &[sizes(4, 4)]), &two, linear);
    let third = |v: f32| v / 3.0;
    let aligned: Vec<f32> = [3., 4., 5., 6., 5., 6., 7., 8., 7., 8., 9., 10., 9., 10., 11., 12.].map(third).to_vec();
    check(resize("linear", "align_corners", &[scales(2., 2.)]), &two, f32s(&[1, 1, 4, 4], &aligned));
    check(resize("linear", "half_pixel", &[scales(0.6, 0.6)]), &eight, image(&[&[2.666_666_5, 4.333_333]]));
    check(
        resize("linear", "pytorch_half_pixel", &[sizes(3, 1)]),
        &sixteen,
        image(&[&[1.666_666_6], &[7.], &[12.333_333]]),
    );
    let symmetric = [scales(2.3, 2.94)];
    let expected = image(&[
        &[1., 1.159_864, 1.5, 1.840_136, 2.],
        &[1.565_217_4, 1.725_081_3, 2.065_217_4, 2.405_353_5, 2.565_217_4],
        &[2.434_782_6, 2.594_646_6, 2.934_782_6, 3.274_918_7, 3.434_782_6],
        &[3., 3.159_864, 3.5, 3.840_136, 4.],
    ]);
    check(resize("linear", "half_pixel_symmetric", &symmetric), &two, expected);

    let nearest = |c: &str, n: &str, more| resize("nearest", c, &[text("nearest_mode", n), more]);
    check(nearest("half_pixel", "round_prefer_floor", scales(0.6, 0.6)), &eight, image(&[&[1., 3.]]));
    let (low, high) = (&[1., 1., 1., 2., 2., 2.][..], &[3., 3., 3., 4., 4., 4.][..]);
    let expected = image(&[low, low, high, high]);
    check(nearest("half_pixel", "round_prefer_floor", scales(2., 3.)), &two, expected.clone());
    check(nearest("asymmetric", "floor", sizes(4, 6)), &two, expected);
    let grid = |at: [usize; 8]| {
        let v: Vec<f32> = at.iter().flat_map(|i| at.iter().map(move |j| (i * 4 + j + 1) as f32)).collect();
        f32s(&[1, 1, 8, 8], &v)
    };
    check(nearest("align_corners", "floor", sizes(8, 8)), &sixteen, grid([0, 0, 0, 1, 1, 2, 2, 3]));
    check(nearest("asymmetric", "round_prefer_ceil", sizes(8, 8)), &sixteen, grid([0, 1, 1, 2, 2, 3, 3, 3]));
    check(nearest("half_pixel", "ceil", sizes(8, 8)), &sixteen, grid([0, 1, 1, 2, 2, 3, 3, 3]));

    // All of the result is given by its first row: a step down adds 4 times what a step right adds.
    let cubic = |row: [f32; 8]| {
        let v: Vec<f32> = row.iter().flat_map(|i| row.iter().map(move |j| (i - 1.0) * 4.0 + j)).collect();
        f32s(&[1, 1, 8, 8], &v)
    };
    // onnx/docs gives rows that hold both steps; these are one axis alone.
    let row = |r: [f64; 8]| {
        // r[j] = 4 * (e0 - 1) + e[j], where e is one axis alone.
        let e0 = (r[0] + 4.0) / 5.0;
        r.map(|v| (v - 4.0 * (e0 - 1.0)) as f32)
    };
    let half =
        row([0.472_656_25, 0.769_531_25, 1.246_093_75, 1.875, 2.281_25, 2.910_156_25, 3.386_718_75, 3.683_593_75]);
    check(resize("cubic", "half_pixel", &[scales(2., 2.)]), &sixteen, cubic(half));
    let corners = row([1., 1.341_107_87, 1.800_291_55, 2.329_446_06, 2.670_553_94, 3.199_708_45, 3.658_892_13, 4.]);
    check(resize("cubic", "align_corners", &[scales(2., 2.)]), &sixteen, cubic(corners));
    let asymmetric = row([1., 1.406_25, 2., 2.5, 3., 3.593_75, 4., 4.093_75]);
    check(resize("cubic", "asymmetric", &[scales(2., 2.)]), &sixteen, cubic(asymmetric));
    let outside = [("cubic_coeff_a", Attr::Float(Float(-0.5))), ("exclude_outside", Attr::Bool(true)), scales(2., 2.)];
    let excluded = row([
        0.558_823_53,
        0.814_942_04,
        1.356_982_49,
        1.897_058_82,
        2.397_058_82,
        2.937_135_16,
        3.479_175_61,
        3.735_294_12,
    ]);
    check(resize("cubic", "half_pixel", &outside), &sixteen, cubic(excluded));
    let expected = image(&[
        &[1.471_191_4, 2.781_25, 4.082_519_5],
        &[6.711_426, 8.021_484, 9.322_754],
        &[11.916_504, 13.226_563, 14.527_832],
    ]);
    check(resize("cubic", "half_pixel", &[scales(0.8, 0.8)]), &sixteen, expected);
}

both!(resizes_of_other_ranks);
fn resizes_of_other_ranks<B: Backend>() {
    let op = op_of("resize", &[text("mode", "linear"), text("coordinates", "half_pixel"), ("sizes", ints(&[4]))]);
    expect_to::<B>(&op, &[f32s(&[2], &[1., 3.])], &[f32s(&[4], &[1., 1.5, 2.5, 3.])], 1e-6);
    let op =
        op_of("resize", &[text("nearest_mode", "floor"), text("coordinates", "asymmetric"), ("sizes", ints(&[2, 4]))]);
    for dtype in DType::ALL {
        let x = random(dtype, &[1, 2], 1);
        let v: Vec<_> = x.scalars().collect();
        let expected = Tensor::new(dtype, vec![2, 4], [0, 0, 1, 1, 0, 0, 1, 1].map(|i| v[i])).unwrap();
        expect_to::<B>(&op, &[x], &[expected], 0.0);
    }
}

both!(attributes_that_do_not_fit);
fn attributes_that_do_not_fit<B: Backend>() {
    let x = random(DType::F32, &[1, 2, 4, 4], 1);
    let w = random(DType::F32, &[2, 2, 3, 3], 1);
    let ty = |h: usize| Type::new(DType::F32, [1, 2, h, h]);
    let fault = |op: Op, inputs: &[Tensor], out: Type| match on::<B>(&op, inputs, &[out]) {
        Err(InnerError::Op { fault, .. }) => fault.to_string(),
        other => panic!("{op:?}: {other:?}"),
    };
    let kernel = ("kernel", ints(&[3, 3]));
    let conv = |more| read("conv", &[kernel.clone(), more]);
    let both = [x.clone(), w];
    for bad in [
        ("strides", ints(&[0, 1])),
        ("strides", ints(&[1])),
        ("dilations", ints(&[9, 9])),
        ("pads", ints(&[1, 1, 1])),
        ("groups", Attr::Dim(Dim::int(3))),
        ("groups", Attr::Dim(Dim::int(0))),
        ("kernel", ints(&[2, 3])),
    ] {
        fault(conv(bad).unwrap(), &both, ty(2));
    }
    for bad in [
        ("foo", ints(&[1])),
        ("dilations", Attr::Str("no".into())),
        ("pads", ints(&[-1, 0, 0, 0])),
        ("auto_pad", Attr::Str("valid".into())),
    ] {
        conv(bad).unwrap_err();
    }
    assert_eq!(read("max_pool", &[]).unwrap_err(), "max_pool: attribute kernel is missing");
    let resize = |mode: &str, coordinates: &str, more| {
        read("resize", &[("mode", Attr::Str(mode.into())), ("coordinates", Attr::Str(coordinates.into())), more])
    };
    let same = || ("sizes", ints(&[1, 2, 4, 4]));
    fault(op_of("max_pool", std::slice::from_ref(&kernel)), std::slice::from_ref(&x), ty(3));
    fault(resize("linear", "half_pixel", same()).unwrap(), &[x], ty(5));
    resize("linear", "tf_crop_and_resize", same()).unwrap_err();
    resize("foo", "half_pixel", same()).unwrap_err();
    assert_eq!(read("resize", &[]).unwrap_err(), "resize: one of sizes and scales must be given");
}
