//! Convolutions in groups, images channels last: `x [n, spatial.., c]` to `out [n, spatial.., m]`, over any number of
//! spatial axes. The padding is never copied: windows at a border leave out the taps that are not there.
//!
//! [`Grouped`] is in f32 and in registers: a vector of channels of the result for several windows, so that weights are loaded
//! once for all of them. Lanes are channels where each is a group of its own (depthwise), else the channels of a
//! group, or, of groups that are narrower than half a vector, those of several groups. [`Loops`] is in f32 or f64 and as the
//! definition has it, and transposed too.

mod grouped;
mod loops;
#[cfg(test)]
mod tests;
mod tile;

pub use grouped::Grouped;
pub use loops::{Loops, Number};

use crate::window::{Geometry, WindowError, length, product};

/// How many channels there are, and in how many groups that do not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Groups, at least 1.
    pub groups: usize,
    /// Channels of the image, a multiple of the groups.
    pub input: usize,
    /// Channels of the result, a multiple of the groups.
    pub output: usize,
}

impl Channels {
    /// Channels of an image and of a result in each group, if groups can be made.
    fn each(self) -> Result<[usize; 2], WindowError> {
        let Self { groups, input, output } = self;
        match (input.checked_rem(groups), output.checked_rem(groups)) {
            (Some(0), Some(0)) => Ok([input / groups, output / groups]),
            _ => Err(WindowError::Groups { groups, input, output }),
        }
    }

    /// Taps of a window, seen to be those of so many weights.
    fn taps(self, geometry: &Geometry, weights: usize) -> Result<usize, WindowError> {
        let [from, to] = self.each()?;
        // Where there is no weight there is nothing to number taps of.
        if self.output == 0 || self.input == 0 {
            length("weights", weights, 0)?;
            return Ok(0);
        }
        let taps = geometry.taps()?;
        length("weights", weights, product("weights", self.groups, [from, to, taps])?)?;
        Ok(taps)
    }
}
