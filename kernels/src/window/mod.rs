//! How windows lie along the spatial axes of an image, for convolutions and pooling.
//!
//! A window's taps that are in the padding are never visited: each axis says which of its taps lie inside, and a kernel
//! goes through those. Images lie channels last, `[images, spatial.., channels]`; images `[n, c, spatial..]` are `n * c`
//! images of one channel.

mod rows;
mod visit;
mod walk;

pub(super) use rows::{Row, Span};
pub(super) use visit::{Visit, Visitor};
pub(super) use walk::{Block, Body, Walk};

/// Windows along one spatial axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Positions of the plane that windows lie on: of the image, or of the result of a transposed convolution.
    pub extent: usize,
    /// Windows: positions of the result, or of the image of a transposed convolution.
    pub windows: usize,
    /// Taps of a window; not 0.
    pub kernel: usize,
    /// Positions from one window to the next; not 0.
    pub stride: usize,
    /// Positions from one tap to the next; not 0.
    pub dilation: usize,
    /// Positions of padding before the first of the plane.
    pub before: usize,
    /// Positions of padding behind the last. They only matter for averages that count them.
    pub after: usize,
}

impl Axis {
    /// One tap at each position.
    pub fn new(extent: usize) -> Self {
        Self { extent, windows: extent, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 }
    }
}

/// Windows that are not possible, or what does not fit them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// A number that must be at least 1.
    #[error("a {name} of 0 along spatial axis {axis}")]
    Zero {
        /// Which number.
        name: &'static str,
        /// Of this axis.
        axis: usize,
    },
    /// Positions or elements beyond what there are addresses for.
    #[error("{0} beyond what can be addressed")]
    TooLarge(&'static str),
    /// Channels that cannot be cut into groups.
    #[error("{input} channels to {output} in {groups} groups")]
    Groups {
        /// Groups.
        groups: usize,
        /// Channels of the image.
        input: usize,
        /// Channels of the result.
        output: usize,
    },
    /// A slice of another length.
    #[error("{name}: {got} elements where {want} are needed")]
    Length {
        /// Which.
        name: &'static str,
        /// Its length.
        got: usize,
        /// The length it needs.
        want: usize,
    },
    /// An average of whole numbers.
    #[error("averages are of floats")]
    Average,
    /// More memory than there is.
    #[error("{bytes} bytes are needed, which memory does not suffice for")]
    Memory {
        /// So much.
        bytes: usize,
    },
}

/// `got == want`, or the error that says so.
pub(super) fn length(name: &'static str, got: usize, want: usize) -> Result<(), WindowError> {
    if got == want { Ok(()) } else { Err(WindowError::Length { name, got, want }) }
}

/// The product of extents and one more number, if it can be addressed.
pub(super) fn product(
    what: &'static str,
    first: usize,
    of: impl IntoIterator<Item = usize>,
) -> Result<usize, WindowError> {
    let n = of.into_iter().try_fold(first, usize::checked_mul).filter(|&n| isize::try_from(n).is_ok());
    n.ok_or(WindowError::TooLarge(what))
}

/// Which end of a window makes the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Each window becomes a position.
    Plain,
    /// Each position is made of the windows that reach it.
    Transposed,
}

/// Windows over any number of spatial axes, seen to be possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// At least one.
    axes: Vec<Axis>,
    /// For each axis, the taps from one that a position meets to the next that it does where windows are spread.
    steps: Vec<usize>,
    positions: usize,
    windows: usize,
}

impl Geometry {
    /// Windows over these axes, the last of which lies densest. No axis at all is one of a single position.
    ///
    /// # Errors
    /// A kernel, stride or dilation is 0, or positions are beyond what can be addressed.
    pub fn new(axes: &[Axis]) -> Result<Self, WindowError> {
        let axes = if axes.is_empty() { vec![Axis::new(1)] } else { axes.to_vec() };
        for (i, a) in axes.iter().enumerate() {
            for (name, n) in [("kernel", a.kernel), ("stride", a.stride), ("dilation", a.dilation)] {
                if n == 0 {
                    return Err(WindowError::Zero { name, axis: i });
                }
            }
            // The last tap of the last window, and the end of the padding.
            let far = |n: usize, step: usize| n.saturating_sub(1).checked_mul(step);
            let last = far(a.windows, a.stride).and_then(|at| at.checked_add(far(a.kernel, a.dilation)?));
            let end = a.extent.checked_add(a.before).and_then(|n| n.checked_add(a.after));
            let addressed = |n: Option<usize>| n.is_some_and(|n| isize::try_from(n).is_ok());
            if !addressed(last) || !addressed(end) || !addressed(Some(a.windows)) || !addressed(Some(a.kernel)) {
                return Err(WindowError::TooLarge("windows"));
            }
        }
        let positions = product("positions", 1, axes.iter().map(|a| a.extent))?;
        let windows = product("windows", 1, axes.iter().map(|a| a.windows))?;
        let steps = axes.iter().map(|a| a.stride / gcd(a.stride, a.dilation)).collect();
        Ok(Self { axes, steps, positions, windows })
    }

    /// The axes.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// Positions of the plane, all axes together.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Windows, all axes together.
    pub fn windows(&self) -> usize {
        self.windows
    }

    /// Taps of a window.
    ///
    /// # Errors
    /// There are more than can be addressed.
    pub fn taps(&self) -> Result<usize, WindowError> {
        product("taps", 1, self.axes.iter().map(|a| a.kernel))
    }

    /// Positions of an image, and of a result.
    pub(super) fn ends(&self, form: Form) -> [usize; 2] {
        match form {
            Form::Plain => [self.positions, self.windows],
            Form::Transposed => [self.windows, self.positions],
        }
    }

    /// How many images a result of `out` elements has. `channels` are those of an image and of the result, and `x` the
    /// elements of all images.
    ///
    /// # Errors
    /// `x` and `out` are not as many images.
    pub(super) fn images(&self, form: Form, channels: [usize; 2], x: usize, out: usize) -> Result<usize, WindowError> {
        let [from, to] = self.ends(form);
        let image = product("an image", from, [channels[0]])?;
        let result = product("a result", to, [channels[1]])?;
        let images = out.checked_div(result).unwrap_or(0);
        length("out", out, images * result)?;
        // Of no result there are as many images as may be.
        if result > 0 {
            length("x", x, product("images", image, [images])?)?;
        }
        Ok(images)
    }
}

fn gcd(mut a: usize, mut b: usize) -> usize {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
pub(super) mod tests;
