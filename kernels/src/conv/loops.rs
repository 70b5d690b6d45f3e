//! As the definition has it, position after position, in f32 or f64, plain or transposed.

use super::Channels;
use crate::window::{Form, Geometry, Visit, Visitor, WindowError, length};
use bgz_passes::memory::room;
use std::ops::{Add, Mul};

/// The numbers that convolutions are of: f32 and f64.
pub trait Number: Copy + Default + Send + Sync + Add<Output = Self> + Mul<Output = Self> + private::Sealed {}

impl Number for f32 {}
impl Number for f64 {}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A convolution in groups with its weights.
///
/// It has the same bits on every instruction set: there are one product and one sum, each rounded, for each weight.
pub struct Loops<T> {
    form: Form,
    geometry: Geometry,
    channels: Channels,
    /// `[taps, groups, channels of an image in a group, channels of a result in a group]`.
    weights: Vec<T>,
}

impl<T: Number> Loops<T> {
    /// A convolution with `weights [output, input / groups, kernel..]`.
    ///
    /// # Errors
    /// Channels are not in such groups, there are more or fewer weights, or memory does not suffice.
    pub fn plain(geometry: Geometry, channels: Channels, weights: &[T]) -> Result<Self, WindowError> {
        Self::new(Form::Plain, geometry, channels, weights)
    }

    /// A transposed convolution with `weights [input, output / groups, kernel..]`: each position of an image is spread over a
    /// window of the result. `windows` of the geometry are the extents of an image and `extent` those of the result, where the
    /// padding is cut off.
    ///
    /// # Errors
    /// Those of [`plain`](Self::plain).
    pub fn transposed(geometry: Geometry, channels: Channels, weights: &[T]) -> Result<Self, WindowError> {
        Self::new(Form::Transposed, geometry, channels, weights)
    }

    fn new(form: Form, geometry: Geometry, channels: Channels, weights: &[T]) -> Result<Self, WindowError> {
        let taps = channels.taps(&geometry, weights.len())?;
        let [from, to] = channels.each()?;
        let mut packed = room(weights.len()).map_err(|bytes| WindowError::Memory { bytes })?;
        for tap in 0..taps {
            for (group, i) in (0..channels.groups).flat_map(|g| (0..from).map(move |i| (g, i))) {
                let place = |o: usize| match form {
                    Form::Plain => (group * to + o) * from + i,
                    Form::Transposed => (group * from + i) * to + o,
                };
                packed.extend((0..to).map(|o| weights[place(o) * taps + tap]));
            }
        }
        Ok(Self { form, geometry, channels, weights: packed })
    }

    /// The windows.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Writes the convolution of `x [n, spatial.., input]`, and `bias [output]`, to `out [n, spatial.., output]`; `out`
    /// decides `n`. Cut by positions for the threads of the current rayon pool, whose number does not change a bit of the
    /// result. Nothing is allocated.
    ///
    /// # Errors
    /// A slice has another length.
    pub fn run(&self, x: &[T], bias: Option<&[T]>, out: &mut [T]) -> Result<(), WindowError> {
        let Self { ref geometry, form, channels: Channels { groups, input, output }, ref weights } = *self;
        let channels = [input, output];
        geometry.images(form, channels, x.len(), out.len())?;
        if let Some(bias) = bias {
            length("bias", bias.len(), output)?;
        }
        let sum = Sum { bias, weights, each: channels.map(|n| n / groups), tap: input / groups * output };
        Visit { geometry, form, channels, x, out }.each(weights.len() / output.max(1), sum);
        Ok(())
    }
}

/// The sum of what a position meets.
#[derive(Clone, Copy)]
struct Sum<'a, T> {
    bias: Option<&'a [T]>,
    weights: &'a [T],
    /// Channels of an image and of a result in a group.
    each: [usize; 2],
    /// Weights of a tap.
    tap: usize,
}

impl<T: Number> Visitor<T> for Sum<'_, T> {
    #[inline(always)]
    fn begin(self, out: &mut [T]) {
        match self.bias {
            Some(bias) => out.copy_from_slice(bias),
            None => out.fill(T::default()),
        }
    }

    #[inline(always)]
    fn meet(self, out: &mut [T], x: &[T], tap: usize) {
        let [from, to] = self.each;
        let w = &self.weights[tap * self.tap..][..self.tap];
        if (from, to) == (1, 1) {
            for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
                *out = *out + *x * *w;
            }
            return;
        }
        for ((out, x), w) in out.chunks_exact_mut(to).zip(x.chunks_exact(from)).zip(w.chunks_exact(from * to)) {
            for (x, w) in x.iter().zip(w.chunks_exact(to)) {
                for (out, w) in out.iter_mut().zip(w) {
                    *out = *out + *x * *w;
                }
            }
        }
    }

    #[inline(always)]
    fn end(self, _: &mut [T], _: usize, _: usize) {}
}
