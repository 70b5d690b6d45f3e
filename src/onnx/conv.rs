//! Convolutions, pooling, resizing.
//!
//! Padding that depends on a symbolic extent stays as `auto_pad` instead of `pads`.

use super::error::{Res, fail};
use super::node::{Convert, Node, Outs, axis};
use bgz_passes::ir::{
    Conv, Coordinates, Dim, Float, Nearest, Op, Padding, Pool, PoolKind, Resize, ResizeMode, ResizeTarget, ValueId,
    Window,
};

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

/// Reads an attribute of `count` numbers from `least`. Bounded, so that no arithmetic on extents comes near the limits of i64.
fn numbers(n: &Node, name: &str, count: usize, least: i64) -> Res<Option<Vec<usize>>> {
    let Some(given) = n.attrs().ints(name)? else { return Ok(None) };
    let bounded = |&i: &i64| (least..=i64::from(i32::MAX)).contains(&i).then_some(i as usize);
    match given.iter().map(bounded).collect::<Option<Vec<_>>>() {
        Some(v) if v.len() == count => Ok(Some(v)),
        _ => fail!("attribute {name} is {given:?}, not {count} numbers from {least}"),
    }
}

/// Reads an attribute of one positive number a spatial axis, 1 where it is left out.
fn per_axis(n: &Node, name: &str, count: usize) -> Res<Vec<usize>> {
    Ok(numbers(n, name, count, 1)?.unwrap_or_else(|| vec![1; count]))
}

/// Window over `spatial` extents. Padding that is to be chosen becomes numbers where it follows from what is known: always for
/// a transposed convolution.
fn window(n: &Node, spatial: &[Dim], kernel: Vec<usize>, transposed: bool) -> Res<Window> {
    let count = spatial.len();
    let (strides, dilations) = (per_axis(n, "strides", count)?, per_axis(n, "dilations", count)?);
    let given = numbers(n, "pads", 2 * count, 0)?;
    let padding = match n.attrs().string_or("auto_pad", "NOTSET")? {
        "NOTSET" => Padding::Explicit(given.unwrap_or_else(|| vec![0; 2 * count])),
        "VALID" => Padding::Explicit(vec![0; 2 * count]),
        "SAME_UPPER" => Padding::SameUpper,
        "SAME_LOWER" => Padding::SameLower,
        other => fail!("attribute auto_pad is {other:?}"),
    };
    let window = Window { kernel, strides, dilations, padding };
    let pads = if transposed {
        // Where strides are longer than the kernel, results are missing instead of too many.
        (0..count).all(|i| window.reach(i) >= window.strides[i]).then(|| window.transposed_pads())
    } else {
        // With a stride of 1 there are as many whatever the extent.
        let known = |(d, &stride): (&Dim, &usize)| d.as_usize().or_else(|| (stride == 1).then_some(1));
        let extents: Option<Vec<usize>> = spatial.iter().zip(&window.strides).map(known).collect();
        extents.map(|e| window.pads(&e))
    };
    match pads {
        Some(pads) => {
            let (before, after): (Vec<_>, Vec<_>) = pads.into_iter().unzip();
            Ok(Window { padding: Padding::Explicit([before, after].concat()), ..window })
        }
        None => Ok(window),
    }
}

/// The spatial extents of `x`, and the kernel from its attribute or the weight.
fn spatial(n: &mut Node, x: ValueId, weight: Option<ValueId>) -> Res<(Vec<Dim>, Vec<usize>)> {
    let shape = n.shape(x);
    if shape.len() < 3 {
        fail!("{} has no spatial axes", n.ty(x));
    }
    let spatial = shape[2..].to_vec();
    let given = numbers(n, "kernel_shape", spatial.len(), 1)?;
    let Some(w) = weight else {
        let Some(kernel) = given else { fail!("attribute kernel_shape is missing") };
        return Ok((spatial, kernel));
    };
    let extents = n.shape(w);
    if extents.len() != shape.len() {
        fail!("a weight of {} for {}", n.ty(w), n.ty(x));
    }
    let kernel: Vec<usize> = match extents[2..].iter().map(Dim::as_usize).collect() {
        Some(k) => k,
        None => fail!("the kernel of {} is not known", n.ty(w)),
    };
    if kernel.iter().any(|k| !(1..=i32::MAX as usize).contains(k)) || given.is_some_and(|g| g != kernel) {
        fail!("attribute kernel_shape does not fit the weight {}", n.ty(w));
    }
    Ok((spatial, kernel))
}

fn groups(n: &Node) -> Res<usize> {
    match n.attrs().int_or("group", 1)? {
        g if (1..=i64::from(i32::MAX)).contains(&g) => Ok(g as usize),
        g => fail!("attribute group is {g}"),
    }
}

fn conv(n: &mut Node) -> Res<Outs> {
    let (x, w) = (n.input(0)?, n.input(1)?);
    let (spatial, kernel) = spatial(n, x, Some(w))?;
    let window = window(n, &spatial, kernel, false)?;
    let operands: Vec<_> = [x, w].into_iter().chain(n.maybe(2)?).collect();
    let groups = groups(n)?;
    n.emit(Op::Conv(Conv::Plain { window, groups }), &operands)
}

fn conv_transpose(n: &mut Node) -> Res<Outs> {
    let (x, w) = (n.input(0)?, n.input(1)?);
    let (spatial, kernel) = spatial(n, x, Some(w))?;
    let count = spatial.len();
    let mut output_padding = numbers(n, "output_padding", count, 0)?.unwrap_or_else(|| vec![0; count]);
    let mut window = window(n, &spatial, kernel, true)?;
    let same = matches!(n.attrs().string_or("auto_pad", "NOTSET")?, "SAME_UPPER" | "SAME_LOWER");
    if let Some(wanted) = n.attrs().ints("output_shape")? {
        let upper = n.attrs().string_or("auto_pad", "NOTSET")? == "SAME_UPPER";
        let pads = pads_for(&window, upper, &spatial, &mut output_padding, wanted)?;
        window.padding = Padding::Explicit(pads);
    } else if same && output_padding.iter().any(|&p| p != 0) {
        fail!("attributes auto_pad and output_padding are not supported together");
    }
    let operands: Vec<_> = [x, w].into_iter().chain(n.maybe(2)?).collect();
    let groups = groups(n)?;
    n.emit(Op::Conv(Conv::Transposed { window, groups, output_padding }), &operands)
}

/// The padding of a transposed convolution with which its result has the
/// `wanted` spatial extents; where even none is too much, there is more at the end.
fn pads_for(w: &Window, upper: bool, spatial: &[Dim], output_padding: &mut [usize], wanted: &[i64]) -> Res<Vec<usize>> {
    let count = spatial.len();
    // Some writers give all axes.
    let Some(wanted) = wanted.len().checked_sub(count).map(|skip| &wanted[skip..]) else {
        fail!("attribute output_shape is {wanted:?} for {count} axes");
    };
    let mut pads = vec![0; 2 * count];
    for i in 0..count {
        let signed = |n: usize| i64::try_from(n).ok();
        let total = spatial[i].as_int().and_then(|x| {
            let full = x.checked_sub(1)?.checked_mul(signed(w.strides[i])?)?.checked_add(signed(w.reach(i))?)?;
            full.checked_add(signed(output_padding[i])?)?.checked_sub(wanted[i])
        });
        let Some(total) = total.filter(|t| t.abs() <= i64::from(i32::MAX)) else {
            fail!("attribute output_shape does not follow for an extent of {}", spatial[i]);
        };
        let missing = (-total).max(0) as usize;
        output_padding[i] += missing;
        let total = total.max(0) as usize;
        // onnx.proto's Operators.md, ConvTranspose: the odd entry is at the end for SAME_UPPER only.
        let (small, large) = (total / 2, total - total / 2);
        (pads[i], pads[count + i]) = if upper { (small, large) } else { (large, small) };
    }
    Ok(pads)
}

fn pool(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let (spatial, kernel) = spatial(n, x, None)?;
    let window = window(n, &spatial, kernel, false)?;
    let ceil = n.attrs().flag("ceil_mode", false)?;
    let kind = if n.op() == "MaxPool" {
        if n.wants(1) {
            fail!("its indices are not supported");
        }
        PoolKind::Max
    } else {
        PoolKind::Average { count_pads: n.attrs().flag("count_include_pad", false)? }
    };
    n.emit(Op::Pool(Pool { kind, window, ceil }), &[x])
}

/// The value of that name.
fn named<T: Copy>(attribute: &str, names: &[(T, &str)], name: &str) -> Res<T> {
    match names.iter().find(|(_, n)| *n == name) {
        Some((value, _)) => Ok(*value),
        None => fail!("attribute {attribute} = {name:?} is not supported"),
    }
}

fn resize(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let rank = n.rank(x);
    let a = n.attrs();
    // Before opset 11 there was one rule, which later got these names.
    let old = n.opset() < 11;
    let coordinates = a.string_or("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })?;
    let nearest = a.string_or("nearest_mode", if old { "floor" } else { "round_prefer_floor" })?;
    let cubic = a.float_or("cubic_coeff_a", -0.75)?;
    let exclude_outside = a.flag("exclude_outside", false)?;
    // Of one mode only, which is refused below.
    a.float("extrapolation_value")?;
    let mode = match a.string_or("mode", "nearest")? {
        "nearest" => ResizeMode::Nearest(named("nearest_mode", &Nearest::NAMES, nearest)?),
        "cubic" => ResizeMode::Cubic { a: Float(cubic), exclude_outside },
        // Of an entry outside, the one at the border takes the weight either way.
        "linear" | "bilinear" | "trilinear" => ResizeMode::Linear,
        other => fail!("attribute mode is {other:?}"),
    };
    let coordinates = named("coordinate_transformation_mode", &Coordinates::NAMES, coordinates)?;
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
    let target = if is_given(3) {
        let Some(given) = n.ints(3).filter(|v| v.len() == axes.len()) else {
            fail!("its sizes must follow from shapes and constants, one for each of {} axes", axes.len());
        };
        let mut sizes = n.shape(x);
        axes.iter().zip(given).for_each(|(&i, s)| sizes[i] = s);
        ResizeTarget::Sizes(sizes)
    } else if is_given(2) {
        let given = n.constant(2).filter(|c| c.len() == axes.len()).and_then(|c| c.to_f32s());
        let Some(given) = given else { fail!("its scales must be constant, one for each of {} axes", axes.len()) };
        if let Some(s) = given.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            fail!("a scale of {s}");
        }
        let mut scales = vec![Float(1.0); rank];
        axes.iter().zip(given).for_each(|(&i, s)| scales[i] = Float(s));
        ResizeTarget::Scales(scales)
    } else {
        fail!("it has neither sizes nor scales");
    };
    n.emit(Op::Resize(Resize { mode, coordinates, target }), &[x])
}
