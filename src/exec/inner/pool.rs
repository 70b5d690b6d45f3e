//! Pooling over spatial axes.

use super::conv::pad_spatial;
use super::elementwise::cast;
use super::host::{Host, strides, unravel};
use super::opaque::{Reader, same_total, span};
use super::reduce::widened;
use super::{Cx, Fault, InnerTensor, Operands, Res};
use bgz_passes::ir::{Attrs, Scalar};
use burn_backend::Backend;
use burn_backend::tensor::FloatTensor;

/// What is taken of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Max,
    Average,
}

/// A window that slides over `N` axes.
#[derive(Clone, Copy, Debug)]
struct Window<const N: usize> {
    kernel: [usize; N],
    strides: [usize; N],
    dilations: [usize; N],
    pads: [(i64, i64); N],
    ceil: bool,
    /// Whether an average counts padding.
    count_pads: bool,
}

pub(super) fn pool<B: Backend>(kind: Kind, attrs: &Attrs, x: Operands<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    match cx.shape(0)?.len() {
        3 => over::<B, 1>(kind, attrs, x, cx),
        4 => over::<B, 2>(kind, attrs, x, cx),
        5 => over::<B, 3>(kind, attrs, x, cx),
        rank => Err(Fault::Unsupported(format!("pooling of rank {rank}"))),
    }
}

fn over<B: Backend, const N: usize>(
    kind: Kind,
    attrs: &Attrs,
    mut x: Operands<B>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let understood = ["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel", "pads", "strides"];
    let reader = Reader::new(attrs, &understood)?;
    let kernel = reader.sizes::<N>("kernel", 1, 0)?;
    if kernel.contains(&0) {
        return Err(Fault::Attribute { name: "kernel".into(), reason: "is missing".into() });
    }
    let t = x.take()?;
    let shape = cx.shape(0)?;
    if shape.contains(&0) {
        return Err(Fault::Invalid(format!("pooling of {shape:?}")));
    }
    let (strides, dilations) = (reader.sizes::<N>("strides", 1, 1)?, reader.sizes::<N>("dilations", 1, 1)?);
    let window = Window {
        kernel,
        strides,
        dilations,
        pads: reader.pads(|i| same_total(shape[2 + i], span(kernel[i], dilations[i]), strides[i]))?,
        ceil: reader.flag("ceil_mode")?,
        count_pads: reader.flag("count_include_pad")?,
    };
    if window.pads.iter().any(|&(a, b)| a < 0 || b < 0) {
        return Err(Fault::Unsupported(format!("negative pads {:?}", window.pads)));
    }
    let out = cx.out()?;
    if out.len() != shape.len() || out[..2] != shape[..2] {
        return Err(Fault::Invalid(format!("pooling of {shape:?} to {out:?}")));
    }
    let dtype = t.need_dtype()?;
    if !dtype.is_float() || !burn_has(kind, &window, &shape[2..], &out[2..]) {
        return by_hand(kind, &window, t, &out, cx);
    }
    // A sum of 16-bit numbers would be rounded at every step.
    let t = if kind == Kind::Average { InnerTensor::Float(widened(t, cx)?) } else { t };
    cast(by_burn(kind, window, t, shape, cx)?, dtype, cx)
}

/// Whether Burn has such a pooling, with as many windows.
fn burn_has<const N: usize>(kind: Kind, w: &Window<N>, shape: &[usize], out: &[usize]) -> bool {
    let fits = |i: usize| {
        let padded = shape[i].checked_add(w.pads[i].0 as usize).and_then(|s| s.checked_add(w.pads[i].1 as usize));
        let slack = padded.and_then(|p| p.checked_sub(span(w.kernel[i], w.dilations[i])));
        let Some(slack) = slack else { return false };
        let steps = if w.ceil { slack.div_ceil(w.strides[i]) } else { slack / w.strides[i] };
        // A window that starts behind the elements would be of nothing.
        let starts_inside = steps * w.strides[i] < shape[i] + w.pads[i].0 as usize;
        steps + 1 == out[i] && starts_inside
    };
    N <= 2 && (0..N).all(fits) && (kind == Kind::Max || w.dilations == [1; N])
}

fn by_burn<B: Backend, const N: usize>(
    kind: Kind,
    mut w: Window<N>,
    x: InnerTensor<B>,
    mut shape: Vec<usize>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let alike = w.pads.iter().all(|(a, b)| a == b);
    if alike {
        return Ok(InnerTensor::Float(call::<B, N>(kind, &w, x.float()?)?));
    }
    // Burn pads both sides alike; anything else is padded before.
    let (pads, unpadded) = (w.pads, shape.clone());
    w.pads = [(0, 0); N];
    if kind == Kind::Max {
        let x = pad_spatial(x, &pads, f64::NEG_INFINITY, &mut shape, cx)?;
        return Ok(InnerTensor::Float(call::<B, N>(kind, &w, x.float()?)?));
    }
    let dtype = x.need_dtype()?;
    let x = pad_spatial(x, &pads, 0.0, &mut shape, cx)?;
    let mean = call::<B, N>(kind, &w, x.float()?)?;
    if w.count_pads {
        return Ok(InnerTensor::Float(mean));
    }
    // The share of elements in each window, by which a mean over elements and padding is too small.
    let mut one = vec![1, 1];
    one.extend(&unpadded[2..]);
    let ones = InnerTensor::<B>::full(Scalar::from_i64(dtype, 1), &one, cx.device)?;
    let share = call::<B, N>(kind, &w, pad_spatial(ones, &pads, 0.0, &mut one, cx)?.float()?)?;
    Ok(InnerTensor::Float(B::float_div(mean, share)))
}

/// Burn's own function; the pads are alike on both sides.
fn call<B: Backend, const N: usize>(kind: Kind, w: &Window<N>, x: FloatTensor<B>) -> Res<FloatTensor<B>> {
    let pads = w.pads.map(|(a, _)| a as usize);
    match (kind, &w.kernel[..], &w.strides[..], &pads[..], &w.dilations[..]) {
        (Kind::Max, &[k], &[s], &[p], &[d]) => Ok(B::max_pool1d(x, k, s, p, d, w.ceil)),
        (Kind::Max, &[k, l], &[s, t], &[p, q], &[d, e]) => Ok(B::max_pool2d(x, [k, l], [s, t], [p, q], [d, e], w.ceil)),
        (Kind::Average, &[k], &[s], &[p], _) => Ok(B::avg_pool1d(x, k, s, p, w.count_pads, w.ceil)),
        (Kind::Average, &[k, l], &[s, t], &[p, q], _) => {
            Ok(B::avg_pool2d(x, [k, l], [s, t], [p, q], w.count_pads, w.ceil))
        }
        _ => Err(Fault::Unsupported(format!("pooling over {N} axes"))),
    }
}

/// Pooling on the host, for what Burn has not: integers, three axes, a dilated average, other numbers of windows.
fn by_hand<B: Backend, const N: usize>(
    kind: Kind,
    w: &Window<N>,
    x: InnerTensor<B>,
    out: &[usize],
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let shape = cx.shape(0)?;
    let (dtype, data) = (x.need_dtype()?, Host::new(x)?.to_f64s());
    let (steps, planes) = (strides(&shape[2..]), shape[0] * shape[1]);
    let (plane, windows): (usize, usize) = (shape[2..].iter().product(), out[2..].iter().product());
    let taps: usize = w.kernel.iter().product();
    let mut result = Vec::with_capacity(planes * windows);
    for p in 0..planes {
        for o in 0..windows {
            let at = unravel(o, &out[2..]);
            let (mut best, mut sum, mut elements, mut counted) = (f64::NEG_INFINITY, 0.0, 0usize, 0usize);
            for tap in 0..taps {
                let k = unravel(tap, &w.kernel);
                let (mut place, mut inside, mut padded) = (0, true, true);
                for i in 0..N {
                    let at = (at[i] * w.strides[i] + k[i] * w.dilations[i]) as i64 - w.pads[i].0;
                    let extent = shape[2 + i] as i64;
                    inside &= (0..extent).contains(&at);
                    padded &= at < extent + w.pads[i].1;
                    place += at.max(0) as usize * steps[i];
                }
                // A window of the last step may reach behind the padding; that is not counted.
                counted += usize::from(padded);
                if inside {
                    let v = data[p * plane + place];
                    best = if v.is_nan() || v > best { v } else { best };
                    sum += v;
                    elements += 1;
                }
            }
            result.push(match kind {
                Kind::Max => best,
                Kind::Average => sum / if w.count_pads { counted } else { elements } as f64,
            });
        }
    }
    Host::from_f64s(dtype, out, &result).into_tensor(cx.device)
}
