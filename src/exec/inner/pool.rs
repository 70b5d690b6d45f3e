//! Pooling over spatial axes.

use super::conv::{axes, pad_spatial};
use super::elementwise::cast;
use super::host::{Host, strides, unravel};
use super::reduce::widened;
use super::{Cx, Fault, InnerTensor, Operands, Res};
use bgz_passes::ir::{Pool, PoolKind, Scalar};
use burn_backend::Backend;
use burn_backend::tensor::FloatTensor;

/// A window that slides over `N` axes.
#[derive(Clone, Copy, Debug)]
struct Window<const N: usize> {
    kernel: [usize; N],
    strides: [usize; N],
    dilations: [usize; N],
    pads: [(usize, usize); N],
    /// Entries from the first to the last that it touches.
    reach: [usize; N],
    ceil: bool,
    /// Whether an average counts padding.
    count_pads: bool,
}

pub(super) fn pool<B: Backend>(pool: &Pool, x: Operands<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    match cx.shape(0)?.len() {
        3 => over::<B, 1>(pool, x, cx),
        4 => over::<B, 2>(pool, x, cx),
        5 => over::<B, 3>(pool, x, cx),
        rank => Err(Fault::Unsupported(format!("pooling of rank {rank}"))),
    }
}

fn over<B: Backend, const N: usize>(pool: &Pool, mut x: Operands<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let (kind, w) = (pool.kind, &pool.window);
    let t = x.take()?;
    let shape = cx.shape(0)?;
    if shape.contains(&0) {
        return Err(Fault::Invalid(format!("pooling of {shape:?}")));
    }
    let window = Window::<N> {
        kernel: axes::<_, N>(&w.kernel)?,
        strides: axes(&w.strides)?,
        dilations: axes(&w.dilations)?,
        pads: axes(&w.pads(&shape[2..]))?,
        reach: std::array::from_fn(|i| w.reach(i)),
        ceil: pool.ceil,
        count_pads: kind == PoolKind::Average { count_pads: true },
    };
    let out = cx.out()?;
    if out.len() != shape.len() || out[..2] != shape[..2] {
        return Err(Fault::Invalid(format!("pooling of {shape:?} to {out:?}")));
    }
    let dtype = t.need_dtype()?;
    if !dtype.is_float() || !burn_has(kind, &window, &shape[2..], &out[2..]) {
        return by_hand(kind, &window, t, &out, cx);
    }
    // A sum of 16-bit numbers would be rounded at every step.
    let t = if kind != PoolKind::Max { InnerTensor::Float(widened(t, cx)?) } else { t };
    cast(by_burn(kind, window, t, shape, cx)?, dtype, cx)
}

/// Whether Burn has such a pooling, with as many windows.
fn burn_has<const N: usize>(kind: PoolKind, w: &Window<N>, shape: &[usize], out: &[usize]) -> bool {
    let fits = |i: usize| {
        let padded = shape[i].checked_add(w.pads[i].0).and_then(|s| s.checked_add(w.pads[i].1));
        let slack = padded.and_then(|p| p.checked_sub(w.reach[i]));
        let Some(slack) = slack else { return false };
        let steps = if w.ceil { slack.div_ceil(w.strides[i]) } else { slack / w.strides[i] };
        // A window that starts behind the elements would be of nothing.
        let starts_inside = steps * w.strides[i] < shape[i] + w.pads[i].0;
        steps + 1 == out[i] && starts_inside
    };
    N <= 2 && (0..N).all(fits) && (kind == PoolKind::Max || w.dilations == [1; N])
}

fn by_burn<B: Backend, const N: usize>(
    kind: PoolKind,
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
    if kind == PoolKind::Max {
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
fn call<B: Backend, const N: usize>(kind: PoolKind, w: &Window<N>, x: FloatTensor<B>) -> Res<FloatTensor<B>> {
    let pads = w.pads.map(|(a, _)| a);
    match (kind, &w.kernel[..], &w.strides[..], &pads[..], &w.dilations[..]) {
        (PoolKind::Max, &[k], &[s], &[p], &[d]) => Ok(B::max_pool1d(x, k, s, p, d, w.ceil)),
        (PoolKind::Max, &[k, l], &[s, t], &[p, q], &[d, e]) => {
            Ok(B::max_pool2d(x, [k, l], [s, t], [p, q], [d, e], w.ceil))
        }
        (PoolKind::Average { .. }, &[k], &[s], &[p], _) => Ok(B::avg_pool1d(x, k, s, p, w.count_pads, w.ceil)),
        (PoolKind::Average { .. }, &[k, l], &[s, t], &[p, q], _) => {
            Ok(B::avg_pool2d(x, [k, l], [s, t], [p, q], w.count_pads, w.ceil))
        }
        _ => Err(Fault::Unsupported(format!("pooling over {N} axes"))),
    }
}

/// Pooling on the host, for what Burn has not: integers, three axes, a dilated average, other numbers of windows.
fn by_hand<B: Backend, const N: usize>(
    kind: PoolKind,
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
                    let at = at[i] * w.strides[i] + k[i] * w.dilations[i];
                    let own = at.checked_sub(w.pads[i].0).filter(|&at| at < shape[2 + i]);
                    inside &= own.is_some();
                    padded &= at < w.pads[i].0 + shape[2 + i] + w.pads[i].1;
                    place += own.unwrap_or(0) * steps[i];
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
                PoolKind::Max => best,
                PoolKind::Average { .. } => sum / if w.count_pads { counted } else { elements } as f64,
            });
        }
    }
    Host::from_f64s(dtype, out, &result).into_tensor(cx.device)
}
