//! Resizing by interpolation along axes.

use super::{Evaluated, Family, Fields, Fresh, Inferred};
use crate::ir::broadcast::checked_len;
use crate::ir::infer::{Operand, fail};
use crate::ir::tensor::Tensor;
use crate::ir::{Dim, Float, Type};
use std::borrow::Cow;

/// `x`: other extents, entries between its own. Interpolated along one axis after the other, which is the same as all at
/// once: the weights are products.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resize {
    /// The values between entries.
    pub mode: ResizeMode,
    /// How a place in the result is found in the operand.
    pub coordinates: Coordinates,
    /// Extents of the result.
    pub target: ResizeTarget,
}

/// Extents of what is resized, an entry an axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResizeTarget {
    /// These.
    Sizes(Vec<Dim>),
    /// Entries of the result for one of the operand: `floor(extent * scale)`.
    Scales(Vec<Float>),
}

/// The values between entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResizeMode {
    /// One of them; of any dtype. The others are of floats.
    Nearest(Nearest),
    /// A straight line from one to the next.
    Linear,
    /// Cubic convolution over four of them.
    Cubic {
        /// ONNX's `cubic_coeff_a`.
        a: Float,
        /// True if entries outside have no weight, instead of that of the border.
        exclude_outside: bool,
    },
}

/// How a place between entries becomes one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// How a place in the result is found in the operand: ONNX's `coordinate_transformation_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

impl Nearest {
    /// Every one, with its name in graph text and in ONNX; the first is the default.
    pub const NAMES: [(Self, &str); 4] = [
        (Nearest::RoundPreferFloor, "round_prefer_floor"),
        (Nearest::RoundPreferCeil, "round_prefer_ceil"),
        (Nearest::Floor, "floor"),
        (Nearest::Ceil, "ceil"),
    ];
}

impl Coordinates {
    /// Every one, with its name in graph text and in ONNX; the first is the default.
    pub const NAMES: [(Self, &str); 5] = [
        (Coordinates::HalfPixel, "half_pixel"),
        (Coordinates::HalfPixelSymmetric, "half_pixel_symmetric"),
        (Coordinates::PytorchHalfPixel, "pytorch_half_pixel"),
        (Coordinates::AlignCorners, "align_corners"),
        (Coordinates::Asymmetric, "asymmetric"),
    ];
}

/// The default of ONNX's `cubic_coeff_a`.
const CUBIC: Float = Float(-0.75);

impl Family for Resize {
    fn blanks() -> Vec<Self> {
        let mode = ResizeMode::Nearest(Nearest::RoundPreferFloor);
        vec![Resize { mode, coordinates: Coordinates::HalfPixel, target: ResizeTarget::Sizes(vec![]) }]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        "resize".into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        let (mut word, mut nearest, mut a, mut exclude) = match self.mode {
            ResizeMode::Nearest(nearest) => (0, nearest, CUBIC, false),
            ResizeMode::Linear => (1, Nearest::RoundPreferFloor, CUBIC, false),
            ResizeMode::Cubic { a, exclude_outside } => (2, Nearest::RoundPreferFloor, a, exclude_outside),
        };
        fields.word("mode", &mut word, &[(0, "nearest"), (1, "linear"), (2, "cubic")]);
        match word {
            0 => {
                fields.word("nearest_mode", &mut nearest, &Nearest::NAMES);
                self.mode = ResizeMode::Nearest(nearest);
            }
            1 => self.mode = ResizeMode::Linear,
            _ => {
                fields.float_or("cubic_coeff_a", &mut a, CUBIC);
                fields.optional_flag("exclude_outside", &mut exclude, false);
                self.mode = ResizeMode::Cubic { a, exclude_outside: exclude };
            }
        }
        fields.word("coordinates", &mut self.coordinates, &Coordinates::NAMES);
        let (mut sizes, mut scales) = match &self.target {
            ResizeTarget::Sizes(v) => (Some(v.clone()), None),
            ResizeTarget::Scales(v) => (None, Some(v.clone())),
        };
        fields.optional_dims("sizes", &mut sizes);
        fields.optional_floats("scales", &mut scales);
        match (sizes, scales) {
            (Some(v), None) => self.target = ResizeTarget::Sizes(v),
            (None, Some(v)) => self.target = ResizeTarget::Scales(v),
            _ => fields.fail("one of sizes and scales must be given".into()),
        }
    }

    fn arity(&self) -> (usize, usize) {
        (1, 1)
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        let ty = x[0].ty;
        if !matches!(self.mode, ResizeMode::Nearest(_)) && !ty.dtype.is_float() {
            fail!("interpolation of {}", ty.dtype);
        }
        let entries = match &self.target {
            ResizeTarget::Sizes(v) => v.len(),
            ResizeTarget::Scales(v) => v.len(),
        };
        if entries != ty.rank() {
            fail!("sizes or scales must have an entry for each of {} axes, not {entries}", ty.rank());
        }
        let shape = match &self.target {
            ResizeTarget::Sizes(v) => match v.iter().find(|d| d.as_int().is_some_and(|d| d < 0)) {
                Some(d) => fail!("a size of {d}"),
                None => v.clone(),
            },
            ResizeTarget::Scales(v) => {
                ty.shape.iter().zip(v).map(|(d, s)| scaled(d, s.0, fresh)).collect::<Inferred<_>>()?
            }
        };
        if ty.shape.iter().zip(&shape).any(|(from, to)| from.is(0) && to.as_int().is_some_and(|n| n > 0)) {
            fail!("{ty} has nothing to make entries of");
        }
        Ok(vec![Type { dtype: ty.dtype, shape }])
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let x = &x[0];
        let known = x.ty();
        let result = self.types(&[Operand { ty: &known, ints: None }], &mut || Dim::int(-1)).map_err(|e| e.0)?;
        let to = result[0].known_shape().ok_or("extents are not known")?;
        checked_len(&to)?;
        let mut shape = x.shape().to_vec();
        let mut data = x.to_f64s();
        for (i, axis) in self.axes(x.shape(), &to).iter().enumerate().filter(|(_, a)| a.is_changed()) {
            let inner: usize = shape[i + 1..].iter().product();
            let taps: Vec<_> = (0..axis.to).map(|o| axis.taps(o)).collect();
            let mut out = Vec::new();
            for lanes in data.chunks_exact((axis.from * inner).max(1)) {
                for taps in &taps {
                    // One entry is taken as it is: times 1 it is not if there is an infinity beside it.
                    let sum = |j: usize| match taps[..] {
                        [(at, _)] => lanes[at * inner + j],
                        _ => taps.iter().map(|&(at, w)| lanes[at * inner + j] * w).sum(),
                    };
                    out.extend((0..inner).map(sum));
                }
            }
            data = out;
            shape[i] = axis.to;
        }
        Ok(vec![Tensor::rounded(x.dtype(), to, data)?])
    }
}

impl Resize {
    /// The resizing along each axis of a tensor of these extents, for a result of those.
    pub fn axes(&self, from: &[usize], to: &[usize]) -> Vec<ResizeAxis> {
        let scale = |i: usize| match &self.target {
            ResizeTarget::Scales(v) => v.get(i).map(|s| s.0),
            ResizeTarget::Sizes(_) => None,
        };
        let axis = |(i, (&from, &to))| {
            let scale: Option<f32> = scale(i);
            ResizeAxis { from, to, scale, coordinates: self.coordinates, mode: self.mode }
        };
        from.iter().zip(to).enumerate().map(axis).collect()
    }
}

/// One axis of what is resized.
#[derive(Clone, Copy, Debug)]
pub struct ResizeAxis {
    /// Its extent before.
    pub from: usize,
    /// Its extent after.
    pub to: usize,
    /// Entries of the result for one of the operand, as given.
    scale: Option<f32>,
    coordinates: Coordinates,
    mode: ResizeMode,
}

impl ResizeAxis {
    /// Entries of the result for one of the operand.
    fn scale(&self) -> f32 {
        self.scale.unwrap_or(self.to as f32 / self.from as f32)
    }

    /// True if the result is all of the operand, no entry more or less.
    pub fn is_whole(&self) -> bool {
        self.scale.is_none_or(|s| self.from as f32 * s == self.to as f32)
    }

    /// True if entries of the result are not those of the operand.
    pub fn is_changed(&self) -> bool {
        self.from != self.to || !self.is_whole()
    }

    /// Where entry `i` of the result lies in the operand. In f32 and in this order, as the frameworks and ONNX Runtime have
    /// it: halfway between entries, or on one, the nearest is decided by the rounding.
    fn place(&self, i: usize) -> f64 {
        let (from, to, i, scale) = (self.from as f32, self.to as f32, i as f32, self.scale());
        let place = match self.coordinates {
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
        place.clamp(0.0, self.from.saturating_sub(1) as f64) as usize
    }

    fn nearest(&self, i: usize, nearest: Nearest) -> usize {
        let at = self.place(i);
        self.clamp(match nearest {
            Nearest::RoundPreferFloor => (at - 0.5).ceil(),
            // Division may have ended just below the half that a place is.
            Nearest::RoundPreferCeil => (f64::from((at as f32).next_up()) + 0.5).floor(),
            Nearest::Floor => at.floor(),
            Nearest::Ceil => at.ceil(),
        })
    }

    /// Entries of the operand, with their weights, that entry `i` of the result is made of: one of the nearest, two of
    /// linear, up to four of cubic.
    pub fn taps(&self, i: usize) -> Vec<(usize, f64)> {
        let at = self.place(i);
        let first = at.floor();
        let t = at - first;
        match self.mode {
            ResizeMode::Nearest(n) => vec![(self.nearest(i, n), 1.0)],
            ResizeMode::Linear => vec![(self.clamp(first), 1.0 - t), (self.clamp(first + 1.0), t)],
            ResizeMode::Cubic { a, exclude_outside } => {
                let a = f64::from(a.0);
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

/// `floor(extent * scale)`.
fn scaled(extent: &Dim, scale: f32, fresh: Fresh) -> Inferred<Dim> {
    if !(scale.is_finite() && scale > 0.0) {
        fail!("a scale of {scale}");
    }
    Ok(match extent.as_int() {
        // In f32, as ONNX Runtime computes it.
        Some(x) => Dim::int((x as f32 * scale).floor() as i64),
        None if scale.fract() == 0.0 && scale < i32::MAX as f32 => extent * &Dim::int(scale as i64),
        None => fresh(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::DType;

    #[test]
    fn a_whole_scale_keeps_an_extent_symbolic() {
        let scales = ResizeTarget::Scales(vec![Float(1.0), Float(2.0)]);
        let mode = ResizeMode::Nearest(Nearest::Floor);
        let op = Resize { mode, coordinates: Coordinates::Asymmetric, target: scales };
        let ty = Type { dtype: DType::F32, shape: vec![Dim::sym("n"), Dim::sym("h")] };
        let types = op.types(&[Operand { ty: &ty, ints: None }], &mut || Dim::int(-1));
        assert_eq!(types.map(|t| t[0].to_string()).as_deref(), Ok("f32[n, 2*h]"));
    }

    /// Places that are halfway between entries or on one but for what rounding makes of them, with the entries that ONNX Runtime
    /// takes.
    #[test]
    fn the_nearest_is_decided_by_places_in_f32() {
        let entries = |from, to, scale, coordinates, nearest| {
            let axis = ResizeAxis { from, to, scale, coordinates, mode: ResizeMode::Linear };
            (0..to).map(|i| axis.nearest(i, nearest)).collect::<Vec<_>>()
        };
        let half = |nearest| entries(7, 11, Some(1.7), Coordinates::HalfPixel, nearest);
        assert_eq!(half(Nearest::RoundPreferCeil), [0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 6]);
        assert_eq!(half(Nearest::RoundPreferFloor), [0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 6]);
        let down = |coordinates| entries(9, 5, Some(0.6), coordinates, Nearest::Floor);
        assert_eq!(down(Coordinates::Asymmetric), [0, 1, 3, 5, 6]);
        assert_eq!(down(Coordinates::HalfPixel), [0, 2, 3, 5, 6]);
        // 3.5 but for the division, which ends below it.
        assert_eq!(entries(7, 2, None, Coordinates::Asymmetric, Nearest::RoundPreferCeil), [0, 4]);
        // Given as a size, the scale is that quotient.
        assert_eq!(
            entries(6, 14, None, Coordinates::Asymmetric, Nearest::Floor),
            [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 5]
        );
    }
}
