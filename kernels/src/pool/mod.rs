//! The greatest or the mean of windows, images channels last: `x [n, spatial.., c]` to `out [n, spatial.., c]`, over any
//! number of spatial axes.
//!
//! Images that lie channels first are images of one channel, of which there are `n * c`: nothing needs to be transposed. In f32
//! lanes are channels, or, of one channel, neighbours along the last axis; other dtypes go position by position. Taps
//! in the padding are not visited, so a kernel may be larger than the image.

mod line;
mod loops;
#[cfg(test)]
mod tests;
mod vectors;

pub use loops::Element;

use crate::window::{Form, Geometry, WindowError};

/// The number that is taken of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The greatest entry, NaN if there is one; the least there is if none lies inside.
    Max,
    /// The mean, NaN of none.
    Average {
        /// True if entries of the padding count, as zeros.
        count_pads: bool,
    },
}

/// Pooling of images of some channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    geometry: Geometry,
    channels: usize,
    kind: Kind,
}

impl Pool {
    /// Pooling of images that lie `[positions.., channels]`.
    pub fn new(geometry: Geometry, channels: usize, kind: Kind) -> Self {
        Self { geometry, channels, kind }
    }

    /// The windows.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Writes one number for each window and channel of `x [n, positions.., channels]` to `out [n, windows.., channels]`; `out`
    /// decides `n`. Of f32 and f64, and the greatest of i8 and u8. Cut by windows for the threads of the current rayon pool, whose
    /// number does not change a bit of the result.
    ///
    /// # Errors
    /// A slice has another length; an average of whole numbers; or memory does not suffice for a line of an image, which each thread
    /// needs for f32 of one channel.
    pub fn run<T: Element>(&self, x: &[T], out: &mut [T]) -> Result<(), WindowError> {
        self.geometry.images(Form::Plain, [self.channels; 2], x.len(), out.len())?;
        T::pool(self, x, out)
    }

    /// How often a window in a line visits an element at most: for what it costs.
    fn taps(&self) -> usize {
        let axes = self.geometry.axes().iter();
        axes.map(|a| a.kernel.min(a.extent)).fold(1, usize::saturating_mul)
    }

    /// The number that the sum of the window at a place in a line is divided by.
    #[inline(always)]
    fn divisor(&self, mut line: usize, at: usize) -> f64 {
        let Kind::Average { count_pads } = self.kind else { return 1.0 };
        let (axes, mut n, mut window) = (self.geometry.axes(), 1.0, at);
        for (i, axis) in axes.iter().enumerate().rev() {
            n *= if count_pads { axis.counted(window) } else { axis.inside(window).count } as f64;
            if let Some(next) = i.checked_sub(1).and_then(|i| axes.get(i)) {
                (line, window) = (line / next.windows, line % next.windows);
            }
        }
        n
    }
}
