//! Resize. Burn interpolates images in a few ways; everything else is done
//! axis by axis: nearest as a selection, linear and cubic on the host.

use super::host::Host;
use super::opaque::Reader;
use super::{Cx, Fault, InnerTensor, Operands, Res};
use bgz_passes::ir::Attrs;
use burn_backend::Backend;
use burn_backend::ops::{InterpolateMode, InterpolateOptions};

/// How a place in the result is found in the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

/// How a place between entries becomes one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// What lies between entries.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Nearest(Nearest),
    Linear,
    Cubic { a: f64, exclude_outside: bool },
}

/// One axis: its extents before and after.
#[derive(Clone, Copy, Debug)]
struct Axis {
    from: usize,
    to: usize,
    /// Entries of the result for one of the operand, as given.
    scale: Option<f32>,
}

impl Axis {
    /// Entries of the result for one of the operand.
    fn scale(&self) -> f32 {
        self.scale.unwrap_or(self.to as f32 / self.from as f32)
    }

    /// Whether the result is all of the operand, no entry more or less.
    fn is_whole(&self) -> bool {
        self.scale.is_none_or(|s| self.from as f32 * s == self.to as f32)
    }

    fn is_changed(&self) -> bool {
        self.from != self.to || !self.is_whole()
    }

    /// Where entry `i` of the result lies in the operand. In f32 and in this order, as the frameworks and ONNX Runtime have
    /// it: halfway between entries, or on one, the nearest is decided by the rounding.
    fn place(&self, i: usize, coordinates: Coordinates) -> f64 {
        let (from, to, i, scale) = (self.from as f32, self.to as f32, i as f32, self.scale());
        let place = match coordinates {
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if self.to <= 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (i + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let offset = from / 2.0 * (1.0 - to / (scale * from));
                (f64::from(offset) + (f64::from(i) + 0.5) / f64::from(scale) - 0.5) as f32
            }
            Coordinates::AlignCorners => i * (from - 1.0) / (to - 1.0),
            Coordinates::Asymmetric => i / scale,
        };
        place.into()
    }

    /// The entry a place stands for.
    fn clamp(&self, place: f64) -> usize {
        place.clamp(0.0, (self.from - 1) as f64) as usize
    }

    fn nearest(&self, i: usize, coordinates: Coordinates, nearest: Nearest) -> usize {
        let at = self.place(i, coordinates);
        self.clamp(match nearest {
            Nearest::RoundPreferFloor => (at - 0.5).ceil(),
            Nearest::RoundPreferCeil => (at + 0.5).floor(),
            Nearest::Floor => at.floor(),
            Nearest::Ceil => at.ceil(),
        })
    }

    /// Entries of the operand, with their weights, that entry `i` of the result is made of.
    fn taps(&self, i: usize, coordinates: Coordinates, mode: Mode) -> Vec<(usize, f64)> {
        let at = self.place(i, coordinates);
        let first = at.floor();
        let t = at - first;
        match mode {
            Mode::Nearest(n) => vec![(self.nearest(i, coordinates, n), 1.0)],
            Mode::Linear => vec![(self.clamp(first), 1.0 - t), (self.clamp(first + 1.0), t)],
            Mode::Cubic { a, exclude_outside } => {
                let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
                let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
                let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
                let places = [-1.0, 0.0, 1.0, 2.0].map(|o| first + o);
                let inside = |p: f64| p >= 0.0 && p < self.from as f64;
                let keep = |p: f64| !exclude_outside || inside(p);
                let total: f64 = if exclude_outside {
                    places.iter().zip(weights).filter(|(p, _)| inside(**p)).map(|(_, w)| w).sum()
                } else {
                    1.0
                };
                let taps = places.into_iter().zip(weights).filter(|(p, _)| keep(*p));
                taps.map(|(p, w)| (self.clamp(p), w / total)).collect()
            }
        }
    }
}

fn bad(name: &str, reason: impl Into<String>) -> Fault {
    Fault::Attribute { name: name.into(), reason: reason.into() }
}

/// What is asked for.
struct Resize {
    coordinates: Coordinates,
    mode: Mode,
    axes: Vec<Axis>,
}

fn read<B: Backend>(attrs: &Attrs, cx: &Cx<'_, B>) -> Res<Resize> {
    let understood = ["coordinates", "cubic_coeff_a", "exclude_outside", "mode", "nearest_mode", "scales", "sizes"];
    let reader = Reader::new(attrs, &understood)?;
    let coordinates = match reader.text("coordinates")?.unwrap_or("half_pixel") {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        other => return Err(bad("coordinates", format!("{other} is not supported"))),
    };
    let mode = match reader.text("mode")?.unwrap_or("nearest") {
        "nearest" => Mode::Nearest(match reader.text("nearest_mode")?.unwrap_or("round_prefer_floor") {
            "round_prefer_floor" => Nearest::RoundPreferFloor,
            "round_prefer_ceil" => Nearest::RoundPreferCeil,
            "floor" => Nearest::Floor,
            "ceil" => Nearest::Ceil,
            other => return Err(bad("nearest_mode", format!("{other} is not understood"))),
        }),
        // Of an entry outside, the one at the border takes the weight either way.
        "linear" => {
            reader.flag("exclude_outside")?;
            Mode::Linear
        }
        "cubic" => Mode::Cubic {
            a: reader.float("cubic_coeff_a")?.unwrap_or(-0.75),
            exclude_outside: reader.flag("exclude_outside")?,
        },
        other => return Err(bad("mode", format!("{other} is not supported"))),
    };
    let (shape, out) = (cx.shape(0)?, cx.out()?);
    if shape.len() != out.len() || shape.contains(&0) {
        return Err(Fault::Invalid(format!("{shape:?} resized to {out:?}")));
    }
    let mut axes: Vec<_> = shape.iter().zip(&out).map(|(&from, &to)| Axis { from, to, scale: None }).collect();
    let sizes = reader.ints("sizes")?;
    let scales = reader.floats("scales")?;
    match (sizes, scales) {
        (Some(sizes), None) => {
            if !out.iter().map(|&d| i64::try_from(d).ok()).eq(sizes.iter().map(|&s| Some(s))) {
                return Err(bad("sizes", format!("{sizes:?} for a result of {out:?}")));
            }
        }
        (None, Some(scales)) => {
            if scales.len() != axes.len() || scales.iter().any(|&s| s.is_nan() || s <= 0.0) {
                return Err(bad("scales", format!("{scales:?} for {} axes", axes.len())));
            }
            for (axis, s) in axes.iter_mut().zip(scales) {
                // In f32, as inference computes it.
                if (axis.from as f32 * s as f32).floor() as usize != axis.to {
                    return Err(bad("scales", format!("{s} of extent {} is not {}", axis.from, axis.to)));
                }
                axis.scale = Some(s as f32);
            }
        }
        _ => return Err(bad("sizes", "or else scales must be given")),
    }
    Ok(Resize { coordinates, mode, axes })
}

pub(super) fn resize<B: Backend>(attrs: &Attrs, mut x: Operands<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let resize = read(attrs, cx)?;
    let x = x.take()?;
    match (burn_mode(&resize), x) {
        (Some(options), InnerTensor::Float(t)) => {
            Ok(InnerTensor::Float(B::interpolate(t, [resize.axes[2].to, resize.axes[3].to], options)))
        }
        (_, x) => by_axis(&resize, x, cx),
    }
}

/// The interpolation of Burn that is this one, if there is one.
fn burn_mode(r: &Resize) -> Option<InterpolateOptions> {
    let [batch, channels, h, w] = r.axes[..] else { return None };
    if batch.is_changed() || channels.is_changed() || !h.is_whole() || !w.is_whole() {
        return None;
    }
    // Else the nearest may be decided by the rounding.
    let repeats = [h, w].iter().all(|a| a.to.is_multiple_of(a.from));
    let align = match r.coordinates {
        Coordinates::AlignCorners => true,
        Coordinates::HalfPixel | Coordinates::HalfPixelSymmetric => false,
        Coordinates::PytorchHalfPixel if h.to > 1 && w.to > 1 => false,
        Coordinates::Asymmetric if r.mode == Mode::Nearest(Nearest::Floor) && repeats => false,
        _ => return None,
    };
    let mode = match r.mode {
        Mode::Nearest(Nearest::Floor) if r.coordinates == Coordinates::Asymmetric => InterpolateMode::Nearest,
        Mode::Linear => InterpolateMode::Bilinear,
        Mode::Cubic { a: -0.75, exclude_outside: false } => InterpolateMode::Bicubic,
        _ => return None,
    };
    Some(InterpolateOptions::new(mode).with_align_corners(align))
}

/// Axis by axis, which is the same as all at once: the weights are products.
fn by_axis<B: Backend>(r: &Resize, x: InnerTensor<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    if let Mode::Nearest(nearest) = r.mode {
        let mut x = x;
        for (i, axis) in r.axes.iter().enumerate().filter(|(_, a)| a.is_changed()) {
            let entries = (0..axis.to).map(|i| axis.nearest(i, r.coordinates, nearest) as i64).collect();
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
    for (i, axis) in r.axes.iter().enumerate().filter(|(_, a)| a.is_changed()) {
        let inner: usize = shape[i + 1..].iter().product();
        let taps: Vec<_> = (0..axis.to).map(|o| axis.taps(o, r.coordinates, r.mode)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Places that are halfway between entries or on one but for what rounding makes of them, with the entries that ONNX Runtime
    /// takes.
    #[test]
    fn the_nearest_is_decided_by_places_in_f32() {
        let entries = |from, to, scale, coordinates, nearest| {
            let axis = Axis { from, to, scale };
            (0..to).map(|i| axis.nearest(i, coordinates, nearest)).collect::<Vec<_>>()
        };
        let half = |nearest| entries(7, 11, Some(1.7), Coordinates::HalfPixel, nearest);
        assert_eq!(half(Nearest::RoundPreferCeil), [0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 6]);
        assert_eq!(half(Nearest::RoundPreferFloor), [0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 6]);
        let down = |coordinates| entries(9, 5, Some(0.6), coordinates, Nearest::Floor);
        assert_eq!(down(Coordinates::Asymmetric), [0, 1, 3, 5, 6]);
        assert_eq!(down(Coordinates::HalfPixel), [0, 2, 3, 5, 6]);
        // Given as a size, the scale is that quotient.
        assert_eq!(
            entries(6, 14, None, Coordinates::Asymmetric, Nearest::Floor),
            [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 5]
        );
    }
}
