//! Ops of images that the inner backend runs: the graph passes them through.
//!
//! Their attributes, all with one entry a spatial axis (`pads`: beginnings, then ends):
//! `conv`, `conv_transpose`: `kernel`, `strides`, `pads`, `dilations`, `group`, for the latter `output_padding`;
//! `max_pool`, `average_pool`: `kernel`, `strides`, `pads`, `dilations`, `ceil_mode`, for the latter `count_include_pad`;
//! `resize`: `mode`, `coordinates`, `sizes` or `scales` (one entry an axis), and what ONNX calls `nearest_mode`,
//! `cubic_coeff_a`, `exclude_outside`, where the mode uses them.
//! Padding that depends on a symbolic extent stays as `auto_pad` (`same_upper`, `same_lower`) instead of `pads`.

use super::convert::{Convert, Node, Outs, axis};
use super::error::{Res, fail};
use bgz_passes::ir::{Attr, Attrs, Dim, Float, Op, Opaque, ValueId};

pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    if !domain.is_empty() {
        return None;
    }
    let found: Convert = match op {
        "Conv" => conv,
        "ConvTranspose" => conv_transpose,
        "MaxPool" | "AveragePool" => pool,
        "Resize" => resize,
        _ => return None,
    };
    Some(found)
}

fn ints(v: &[i64]) -> Attr {
    Attr::Dims(v.iter().map(|&i| Dim::int(i)).collect())
}

fn emit(n: &mut Node, name: &str, attrs: Attrs, operands: &[ValueId]) -> Res<Outs> {
    n.emit(Op::Opaque(Opaque { name: name.into(), attrs }), operands)
}

/// A window that moves over the spatial axes.
struct Window {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    /// `None` where they depend on an extent that is not known.
    pads: Option<Vec<i64>>,
    auto_pad: Padding,
}

#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Explicit,
    SameUpper,
    SameLower,
}

/// Reads an attribute of one positive number a spatial axis.
fn per_axis(n: &Node, name: &str, count: usize) -> Res<Vec<i64>> {
    match n.attrs().ints(name)? {
        None => Ok(vec![1; count]),
        // Bounded, so that no arithmetic on extents comes near the limits of i64.
        Some(v) if v.len() == count && v.iter().all(|&i| (1..=i64::from(i32::MAX)).contains(&i)) => Ok(v.to_vec()),
        Some(v) => fail!("attribute {name} is {v:?} for {count} axes"),
    }
}

/// Window over `spatial` extents. `total` gives the padding that `SAME` needs
/// along an axis: (extent, effective kernel, stride) -> entries, if they are known.
fn window(n: &Node, spatial: &[Dim], kernel: Vec<i64>, total: fn(&Dim, i64, i64) -> Option<i64>) -> Res<Window> {
    let count = spatial.len();
    let (strides, dilations) = (per_axis(n, "strides", count)?, per_axis(n, "dilations", count)?);
    let given = n.attrs().ints("pads")?;
    let auto_pad = match n.attrs().string_or("auto_pad", "NOTSET")? {
        "NOTSET" => None,
        "VALID" => Some(Padding::Explicit),
        "SAME_UPPER" => Some(Padding::SameUpper),
        "SAME_LOWER" => Some(Padding::SameLower),
        other => fail!("attribute auto_pad is {other:?}"),
    };
    let pads = match (auto_pad, given) {
        (None, None) | (Some(Padding::Explicit), _) => Some(vec![0; 2 * count]),
        (None, Some(p)) if p.len() == 2 * count && p.iter().all(|&i| (0..=i64::from(i32::MAX)).contains(&i)) => {
            Some(p.to_vec())
        }
        (None, Some(p)) => fail!("attribute pads is {p:?} for {count} axes"),
        (Some(same), _) => {
            let totals: Option<Vec<i64>> = (0..count)
                .map(|i| total(&spatial[i], (kernel[i] - 1).checked_mul(dilations[i])?.checked_add(1)?, strides[i]))
                .collect();
            totals.map(|t| {
                let small = t.iter().map(|&t| t / 2);
                let large = t.iter().map(|&t| t - t / 2);
                // The odd entry is at the end (upper) or at the beginning (lower).
                if same == Padding::SameUpper { small.chain(large).collect() } else { large.chain(small).collect() }
            })
        }
    };
    Ok(Window { kernel, strides, dilations, pads, auto_pad: auto_pad.unwrap_or(Padding::Explicit) })
}

impl Window {
    fn attrs(&self) -> Attrs {
        let mut a = Attrs::new();
        a.insert("kernel".into(), ints(&self.kernel));
        a.insert("strides".into(), ints(&self.strides));
        a.insert("dilations".into(), ints(&self.dilations));
        match &self.pads {
            Some(p) => a.insert("pads".into(), ints(p)),
            None => {
                let name = if self.auto_pad == Padding::SameUpper { "same_upper" } else { "same_lower" };
                a.insert("auto_pad".into(), Attr::Str(name.into()))
            }
        };
        a
    }
}

/// `ceil(extent / stride)` results: what is missing for the last window.
fn same_total(extent: &Dim, kernel: i64, stride: i64) -> Option<i64> {
    if stride == 1 {
        return Some(kernel - 1);
    }
    let extent = extent.as_int()?;
    let steps = extent.checked_add(stride - 1)? / stride;
    Some((steps - 1).checked_mul(stride)?.checked_add(kernel)?.checked_sub(extent)?.max(0))
}

/// The spatial extents of `x`, and the kernel from its attribute or the weight.
fn spatial(n: &mut Node, x: ValueId, weight: Option<ValueId>) -> Res<(Vec<Dim>, Vec<i64>)> {
    let shape = n.shape(x);
    if shape.len() < 3 {
        fail!("{} has no spatial axes", n.ty(x));
    }
    let spatial = shape[2..].to_vec();
    let given = n.attrs().has("kernel_shape").then(|| per_axis(n, "kernel_shape", spatial.len())).transpose()?;
    let Some(w) = weight else {
        let Some(kernel) = given else { fail!("attribute kernel_shape is missing") };
        return Ok((spatial, kernel));
    };
    let extents = n.shape(w);
    if extents.len() != shape.len() {
        fail!("a weight of {} for {}", n.ty(w), n.ty(x));
    }
    let kernel: Vec<i64> = match extents[2..].iter().map(Dim::as_int).collect() {
        Some(k) => k,
        None => fail!("the kernel of {} is not known", n.ty(w)),
    };
    if kernel.iter().any(|k| !(1..=i64::from(i32::MAX)).contains(k)) || given.is_some_and(|g| g != kernel) {
        fail!("attribute kernel_shape does not fit the weight {}", n.ty(w));
    }
    Ok((spatial, kernel))
}

fn group(n: &Node) -> Res<i64> {
    match n.attrs().int_or("group", 1)? {
        g if (1..=i64::from(i32::MAX)).contains(&g) => Ok(g),
        g => fail!("attribute group is {g}"),
    }
}

fn conv(n: &mut Node) -> Res<Outs> {
    let (x, w) = (n.input(0)?, n.input(1)?);
    let (spatial, kernel) = spatial(n, x, Some(w))?;
    let mut attrs = window(n, &spatial, kernel, same_total)?.attrs();
    attrs.insert("group".into(), Attr::Dim(Dim::int(group(n)?)));
    let operands: Vec<_> = [x, w].into_iter().chain(n.maybe(2)?).collect();
    emit(n, "conv", attrs, &operands)
}

fn conv_transpose(n: &mut Node) -> Res<Outs> {
    let (x, w) = (n.input(0)?, n.input(1)?);
    let (spatial, kernel) = spatial(n, x, Some(w))?;
    let count = spatial.len();
    let mut output_padding = match n.attrs().ints("output_padding")? {
        None => vec![0; count],
        Some(v) if v.len() == count && v.iter().all(|&i| (0..=i64::from(i32::MAX)).contains(&i)) => v.to_vec(),
        Some(v) => fail!("attribute output_padding is {v:?} for {count} axes"),
    };
    // `extent * stride` results: what is too much.
    let mut window = window(n, &spatial, kernel, |_, kernel, stride| Some((kernel - stride).max(0)))?;
    if let Some(wanted) = n.attrs().ints("output_shape")? {
        window.pads = Some(pads_for(&window, &spatial, &mut output_padding, wanted)?);
    } else if window.auto_pad != Padding::Explicit && output_padding.iter().any(|&p| p != 0) {
        fail!("attributes auto_pad and output_padding are not supported together");
    }
    let mut attrs = window.attrs();
    attrs.insert("output_padding".into(), ints(&output_padding));
    attrs.insert("group".into(), Attr::Dim(Dim::int(group(n)?)));
    let operands: Vec<_> = [x, w].into_iter().chain(n.maybe(2)?).collect();
    emit(n, "conv_transpose", attrs, &operands)
}

/// The padding of a transposed convolution with which its result has the
/// `wanted` spatial extents; where even none is too much, there is more at the end.
fn pads_for(w: &Window, spatial: &[Dim], output_padding: &mut [i64], wanted: &[i64]) -> Res<Vec<i64>> {
    let count = spatial.len();
    // Some writers give all axes.
    let Some(wanted) = wanted.len().checked_sub(count).map(|skip| &wanted[skip..]) else {
        fail!("attribute output_shape is {wanted:?} for {count} axes");
    };
    let mut pads = vec![0; 2 * count];
    for i in 0..count {
        let total = spatial[i].as_int().and_then(|x| {
            let reach = (w.kernel[i] - 1).checked_mul(w.dilations[i])?.checked_add(1)?;
            let full = x.checked_sub(1)?.checked_mul(w.strides[i])?.checked_add(reach)?;
            full.checked_add(output_padding[i])?.checked_sub(wanted[i])
        });
        let Some(total) = total.filter(|t| t.abs() <= i64::from(i32::MAX)) else {
            fail!("attribute output_shape does not follow for an extent of {}", spatial[i]);
        };
        output_padding[i] += (-total).max(0);
        let total = total.max(0);
        // onnx.proto's Operators.md, ConvTranspose: the odd entry is at the end for SAME_UPPER only.
        let (small, large) = (total / 2, total - total / 2);
        (pads[i], pads[count + i]) = if w.auto_pad == Padding::SameUpper { (small, large) } else { (large, small) };
    }
    Ok(pads)
}

fn pool(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let (spatial, kernel) = spatial(n, x, None)?;
    let mut attrs = window(n, &spatial, kernel, same_total)?.attrs();
    attrs.insert("ceil_mode".into(), Attr::Bool(n.attrs().flag("ceil_mode", false)?));
    if n.op() == "MaxPool" {
        if n.wants(1) {
            fail!("its indices are not supported");
        }
        return emit(n, "max_pool", attrs, &[x]);
    }
    attrs.insert("count_include_pad".into(), Attr::Bool(n.attrs().flag("count_include_pad", false)?));
    emit(n, "average_pool", attrs, &[x])
}

fn resize(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let rank = n.rank(x);
    let a = n.attrs();
    let mut attrs = Attrs::new();
    let mut text = |name: &str, value: &str| attrs.insert(name.into(), Attr::Str(value.into()));
    let mode = a.string_or("mode", "nearest")?;
    let mode = if matches!(mode, "bilinear" | "trilinear") { "linear" } else { mode };
    text("mode", mode);
    // Before opset 11 there was one rule, which later got these names.
    let old = n.opset() < 11;
    let coordinates = a.string_or("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })?;
    text("coordinates", coordinates);
    let nearest = a.string_or("nearest_mode", if old { "floor" } else { "round_prefer_floor" })?;
    let cubic = a.float_or("cubic_coeff_a", -0.75)?;
    let exclude = a.flag("exclude_outside", false)?;
    // Of one mode only, which is refused below.
    a.float("extrapolation_value")?;
    match mode {
        "nearest" => drop(text("nearest_mode", nearest)),
        "cubic" => {
            attrs.insert("cubic_coeff_a".into(), Attr::Float(Float(cubic)));
            attrs.insert("exclude_outside".into(), Attr::Bool(exclude));
        }
        "linear" => drop(attrs.insert("exclude_outside".into(), Attr::Bool(exclude))),
        other => fail!("attribute mode is {other:?}"),
    }
    if coordinates == "tf_crop_and_resize" {
        fail!("attribute coordinate_transformation_mode = {coordinates:?} is not supported");
    }
    if a.flag("antialias", false)? {
        fail!("attribute antialias is not supported");
    }
    let policy = a.string_or("keep_aspect_ratio_policy", "stretch")?;
    if policy != "stretch" {
        fail!("attribute keep_aspect_ratio_policy = {policy:?} is not supported");
    }
    let axes = match a.ints("axes")? {
        Some(v) => v.iter().map(|&i| axis(i, rank)).collect::<Res<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    let is_given = |i: usize| n.input_ty(i).is_some_and(|t| t.known_len() != Some(0));
    if is_given(3) {
        let Some(given) = n.ints(3).filter(|v| v.len() == axes.len()) else {
            fail!("its sizes must follow from shapes and constants, one for each of {} axes", axes.len());
        };
        let mut sizes = n.shape(x);
        axes.iter().zip(given).for_each(|(&i, s)| sizes[i] = s);
        attrs.insert("sizes".into(), Attr::Dims(sizes));
    } else if is_given(2) {
        let given = n.constant(2).filter(|c| c.len() == axes.len()).and_then(|c| c.to_f32s());
        let Some(given) = given else { fail!("its scales must be constant, one for each of {} axes", axes.len()) };
        if let Some(s) = given.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            fail!("a scale of {s}");
        }
        let mut scales = vec![Float(1.0); rank];
        axes.iter().zip(given).for_each(|(&i, s)| scales[i] = Float(s));
        attrs.insert("scales".into(), Attr::Floats(scales));
    } else {
        fail!("it has neither sizes nor scales");
    }
    emit(n, "resize", attrs, &[x])
}
