//! Resize. Burn interpolates images in a few ways; everything else is done
//! axis by axis: nearest as a selection, linear and cubic on the host.

use super::host::Host;
use super::{Cx, Fault, InnerTensor, Res};
use bgz_passes::ir::{Coordinates, Float, Nearest, Resize, ResizeAxis, ResizeMode};
use burn_backend::Backend;
use burn_backend::ops::{InterpolateMode, InterpolateOptions};

pub(super) fn resize<B: Backend>(resize: &Resize, x: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let (shape, out) = (cx.shape(0)?, cx.out()?);
    if shape.len() != out.len() || shape.contains(&0) {
        return Err(Fault::Invalid(format!("{shape:?} resized to {out:?}")));
    }
    let axes = resize.axes(&shape, &out);
    match (burn_mode(resize, &axes), x) {
        (Some(options), InnerTensor::Float(t)) => {
            Ok(InnerTensor::Float(B::interpolate(t, [axes[2].to, axes[3].to], options)))
        }
        (_, x) => by_axis(resize, &axes, x, cx),
    }
}

/// The interpolation of Burn that is this one, if there is one.
fn burn_mode(r: &Resize, axes: &[ResizeAxis]) -> Option<InterpolateOptions> {
    let [batch, channels, h, w] = axes[..] else { return None };
    if batch.is_changed() || channels.is_changed() || !h.is_whole() || !w.is_whole() {
        return None;
    }
    // Else the nearest may be decided by the rounding.
    let repeats = [h, w].iter().all(|a| a.to.is_multiple_of(a.from));
    let align = match r.coordinates {
        Coordinates::AlignCorners => true,
        Coordinates::HalfPixel | Coordinates::HalfPixelSymmetric => false,
        Coordinates::PytorchHalfPixel if h.to > 1 && w.to > 1 => false,
        Coordinates::Asymmetric if r.mode == ResizeMode::Nearest(Nearest::Floor) && repeats => false,
        _ => return None,
    };
    let mode = match r.mode {
        ResizeMode::Nearest(Nearest::Floor) if r.coordinates == Coordinates::Asymmetric => InterpolateMode::Nearest,
        ResizeMode::Linear => InterpolateMode::Bilinear,
        ResizeMode::Cubic { a: Float(-0.75), exclude_outside: false } => InterpolateMode::Bicubic,
        _ => return None,
    };
    Some(InterpolateOptions::new(mode).with_align_corners(align))
}

/// Axis by axis, which is the same as all at once: the weights are products.
fn by_axis<B: Backend>(r: &Resize, axes: &[ResizeAxis], x: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    if let ResizeMode::Nearest(_) = r.mode {
        let mut x = x;
        for (i, axis) in axes.iter().enumerate().filter(|(_, a)| a.is_changed()) {
            let entries = (0..axis.to).flat_map(|i| axis.taps(i)).map(|(at, _)| at as i64).collect();
            x = x.select(i, InnerTensor::<B>::from_i64s(entries, &[axis.to], cx.device).int()?);
        }
        return Ok(x);
    }
    let dtype = x.need_dtype()?;
    if !dtype.is_float() {
        return Err(Fault::Unsupported(format!("interpolation of {dtype}")));
    }
    let mut shape = x.shape();
    let mut data = Host::new(x)?.to_f64s();
    for (i, axis) in axes.iter().enumerate().filter(|(_, a)| a.is_changed()) {
        let inner: usize = shape[i + 1..].iter().product();
        let taps: Vec<_> = (0..axis.to).map(|o| axis.taps(o)).collect();
        let mut out = Vec::with_capacity(data.len() / axis.from * axis.to);
        for lanes in data.chunks_exact(axis.from * inner) {
            for taps in &taps {
                out.extend((0..inner).map(|j| taps.iter().map(|&(at, w)| lanes[at * inner + j] * w).sum::<f64>()));
            }
        }
        data = out;
        shape[i] = axis.to;
    }
    Host::from_f64s(dtype, &shape, &data).into_tensor(cx.device)
}
