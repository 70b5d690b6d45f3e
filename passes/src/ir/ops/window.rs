//! Windows that move over the spatial axes of an image: those of convolutions and pooling.

use super::{Fields, Inferred};
use crate::ir::infer::{InferError, fail};
use crate::ir::{Dim, Type};

/// A window over the spatial axes of `[batch, channels, ..]`: what lies behind those two axes. Each list has an entry an axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Taps along each axis, at least 1.
    pub kernel: Vec<usize>,
    /// Entries from one window to the next, at least 1.
    pub strides: Vec<usize>,
    /// Entries from one tap to the next, at least 1.
    pub dilations: Vec<usize>,
    /// The entries that are added around the image.
    pub padding: Padding,
}

/// Entries around an image that are not there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Padding {
    /// So many: before each axis, then after each axis.
    Explicit(Vec<usize>),
    /// As many as give `ceil(extent / stride)` windows (or `extent * stride` results of a transposed convolution); an odd
    /// one is at the end.
    SameUpper,
    /// The same, an odd one at the beginning.
    SameLower,
}

/// A place of a tap along all axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tap {
    /// Of this entry of the plane, row-major.
    Inside(usize),
    /// In the padding.
    Padding,
    /// Beyond the padding, where the last window of `ceil_mode` may reach.
    Beyond,
}

impl Window {
    /// Of a kernel with nothing else: a step of one, without padding.
    pub fn new(kernel: Vec<usize>) -> Self {
        let n = kernel.len();
        let padding = Padding::Explicit(vec![0; 2 * n]);
        Self { kernel, strides: vec![1; n], dilations: vec![1; n], padding }
    }

    pub(super) fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.ints("kernel", &mut self.kernel);
        let n = self.kernel.len();
        fields.ints_or("strides", &mut self.strides, vec![1; n]);
        fields.ints_or("dilations", &mut self.dilations, vec![1; n]);
        let words = [(None, "explicit"), (Some(true), "same_upper"), (Some(false), "same_lower")];
        let (mut upper, mut pads) = match &self.padding {
            Padding::Explicit(pads) => (None, pads.clone()),
            same => (Some(*same == Padding::SameUpper), vec![0; 2 * n]),
        };
        fields.word("auto_pad", &mut upper, &words);
        fields.ints_or("pads", &mut pads, vec![0; 2 * n]);
        self.padding = match upper {
            None => Padding::Explicit(pads),
            Some(true) => Padding::SameUpper,
            Some(false) => Padding::SameLower,
        };
    }

    /// Checks it for an image of this type, whose spatial extents are returned.
    pub(super) fn check<'a>(&self, x: &'a Type) -> Inferred<&'a [Dim]> {
        if x.rank() < 3 {
            fail!("{x} has no spatial axes");
        }
        let spatial = &x.shape[2..];
        let n = spatial.len();
        for (name, v) in [("kernel", &self.kernel), ("strides", &self.strides), ("dilations", &self.dilations)] {
            if v.len() != n || v.contains(&0) {
                fail!("{name} must be {n} numbers from 1, not {v:?}");
            }
        }
        match &self.padding {
            Padding::Explicit(pads) if pads.len() != 2 * n => fail!("pads must be {} numbers, not {pads:?}", 2 * n),
            _ => Ok(spatial),
        }
    }

    /// Entries from the first to the last that a window touches along an axis; `usize::MAX` if there are more.
    pub fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1).saturating_mul(self.dilations[axis]).saturating_add(1)
    }

    /// Entries before and after each axis of an image with these spatial extents.
    pub fn pads(&self, spatial: &[usize]) -> Vec<(usize, usize)> {
        self.padded(|axis| {
            let (extent, stride) = (spatial[axis], self.strides[axis]);
            let last = (extent.div_ceil(stride).max(1) - 1).saturating_mul(stride);
            last.saturating_add(self.reach(axis)).saturating_sub(extent)
        })
    }

    /// Entries before and after each axis of what a transposed convolution makes, which are cut off it.
    pub fn transposed_pads(&self) -> Vec<(usize, usize)> {
        self.padded(|axis| self.reach(axis).saturating_sub(self.strides[axis]))
    }

    /// Where padding is to be chosen, there are `total` entries on both sides of an axis.
    fn padded(&self, total: impl Fn(usize) -> usize) -> Vec<(usize, usize)> {
        let n = self.kernel.len();
        let sides = |axis: usize| {
            let (small, total) = (total(axis) / 2, total(axis));
            (small, total - small)
        };
        match &self.padding {
            Padding::Explicit(pads) => (0..n).map(|i| (pads[i], pads[n + i])).collect(),
            Padding::SameUpper => (0..n).map(sides).collect(),
            Padding::SameLower => (0..n).map(sides).map(|(small, large)| (large, small)).collect(),
        }
    }

    /// How often the window fits along each axis; with `ceil` once more for what is left. An extent stays symbolic where it
    /// is linear in the operand's, is exact where that is a number, and is a new dim otherwise.
    pub(super) fn extents(&self, spatial: &[Dim], ceil: bool, fresh: &mut dyn FnMut() -> Dim) -> Inferred<Vec<Dim>> {
        let n = spatial.len();
        let mut out = Vec::with_capacity(n);
        for (i, extent) in spatial.iter().enumerate() {
            let stride = signed(self.strides[i])?;
            let Padding::Explicit(pads) = &self.padding else {
                out.push(match extent.as_int() {
                    Some(x) => Dim::int(x.checked_add(stride - 1).ok_or_else(overflow)?.div_euclid(stride)),
                    None if stride == 1 => extent.clone(),
                    None => extent.div_exact(&Dim::int(stride)).unwrap_or_else(&mut *fresh),
                });
                continue;
            };
            let (begin, end, reach) = (signed(pads[i])?, signed(pads[n + i])?, signed(self.reach(i))?);
            let added = begin.checked_add(end).ok_or_else(overflow)?;
            out.push(match extent.as_int() {
                Some(x) => {
                    let padded = x.checked_add(added).ok_or_else(overflow)?;
                    // With `ceil` the one window may reach beyond the padding, by less than a stride.
                    let least = if ceil { 1 - stride } else { 0 };
                    let Some(room) = padded.checked_sub(reach).filter(|&r| r >= least && padded > 0) else {
                        fail!("a window of {reach} does not fit an extent of {x} with padding of {begin} and {end}");
                    };
                    if room < 0 {
                        out.push(Dim::int(1));
                        continue;
                    }
                    let mut n = room / stride + 1;
                    // One more for the rest, but a window must not begin in the padding at the end.
                    if ceil && room % stride != 0 && n.checked_mul(stride).is_some_and(|at| at < x + begin) {
                        n += 1;
                    }
                    Dim::int(n)
                }
                None => {
                    let room = extent + &Dim::int(added - reach);
                    match room.div_exact(&Dim::int(stride)) {
                        Some(n) => &n + &Dim::int(1),
                        None => fresh(),
                    }
                }
            });
        }
        Ok(out)
    }

    /// Taps of a window.
    pub(super) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Where a tap of a window lies in a plane with these extents and padding, both by their row-major numbers among
    /// `windows`, which are as many along each axis, and taps.
    pub(super) fn tap(
        &self,
        (window, windows): (usize, &[usize]),
        tap: usize,
        plane: &[usize],
        pads: &[(usize, usize)],
    ) -> Tap {
        let (mut window, mut tap, mut place, mut step) = (window, tap, 0, 1);
        let (mut inside, mut padding) = (true, true);
        for i in (0..plane.len()).rev() {
            let at = window % windows[i] * self.strides[i] + tap % self.kernel[i] * self.dilations[i];
            (window, tap) = (window / windows[i], tap / self.kernel[i]);
            let own = at.checked_sub(pads[i].0).filter(|&at| at < plane[i]);
            inside &= own.is_some();
            padding &= at < plane[i] + pads[i].0 + pads[i].1;
            place += own.unwrap_or(0) * step;
            step *= plane[i];
        }
        match (inside, padding) {
            (true, _) => Tap::Inside(place),
            (false, true) => Tap::Padding,
            (false, false) => Tap::Beyond,
        }
    }
}

/// As a number with a sign.
pub(super) fn signed(n: usize) -> Inferred<i64> {
    i64::try_from(n).map_err(|_| overflow())
}

pub(super) fn overflow() -> InferError {
    InferError("an extent is beyond what can be held".into())
}
