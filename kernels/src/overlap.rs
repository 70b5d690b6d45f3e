//! Sums of windows that overlap: what is left of a transposed convolution once each input position has been multiplied.

use super::simd::{Kernel, Simd, run};
use super::{Isa, parallel};
use std::ops::Range;

/// How windows of `[kernel]` lie in an output of two spatial axes, `before` positions of which are cut off at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Input positions of each axis: as many windows.
    pub input: [usize; 2],
    /// Extents of a window.
    pub kernel: [usize; 2],
    /// Output positions from one window to the next; not 0.
    pub strides: [usize; 2],
    /// Output positions from one element of a window to the next.
    pub dilations: [usize; 2],
    /// Positions before the first of the output.
    pub before: [usize; 2],
    /// Output positions of each axis.
    pub output: [usize; 2],
    /// Channels.
    pub channels: usize,
}

/// Slices that do not fit [`Windows`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {got} elements where {want} are needed")]
pub struct OverlapError {
    /// Which.
    pub name: &'static str,
    /// Its length.
    pub got: usize,
    /// The length it needs.
    pub want: usize,
}

impl Windows {
    /// Writes to `out`, `[output.., channels]`, at each position `bias` (0 without) and the elements of `windows`,
    /// `[input.., kernel.., channels]`, that fall there, in the order of the window. Large ones are cut for the threads of the
    /// current rayon pool.
    ///
    /// # Errors
    /// A slice has another length.
    pub fn sum(&self, windows: &[f32], bias: Option<&[f32]>, out: &mut [f32]) -> Result<(), OverlapError> {
        self.sum_lines(windows, 0..self.input[0], bias, out, 0..self.output[0])
    }

    /// [`sum`](Self::sum) of some lines of the output, from the windows of some lines of the input: all that fall there.
    ///
    /// # Errors
    /// A slice has another length, or there are not so many lines.
    pub fn sum_lines(
        &self,
        windows: &[f32],
        input: Range<usize>,
        bias: Option<&[f32]>,
        out: &mut [f32],
        output: Range<usize>,
    ) -> Result<(), OverlapError> {
        let product = |n: &[usize]| n.iter().try_fold(self.channels, |a, &b| a.checked_mul(b)).unwrap_or(usize::MAX);
        let [[h, w], [kh, kw], [oh, ow]] = [self.input, self.kernel, self.output];
        let check = |name, got, want| if got == want { Ok(()) } else { Err(OverlapError { name, got, want }) };
        check("input", input.end.max(h), h)?;
        check("output", output.end.max(oh), oh)?;
        check("windows", windows.len(), product(&[input.len(), w, kh, kw]))?;
        check("out", out.len(), product(&[output.len(), ow]))?;
        check("bias", bias.map_or(self.channels, <[f32]>::len), self.channels)?;
        if out.is_empty() {
            return Ok(());
        }
        let isa = Isa::current();
        let job = Job { shape: self, windows, input, bias, out: out.as_mut_ptr(), first: output.start };
        let pieces = parallel::pieces(windows.len().max(out.len()) / 16 * 4);
        parallel::split(output.start, output.end, pieces, &|start, end| run(isa, Lines { job: &job, start, end }));
        Ok(())
    }

    /// Lines of the output that windows of later lines of the input than the first so many do not reach.
    pub fn complete(&self, input: usize) -> usize {
        if input >= self.input[0] {
            return self.output[0];
        }
        input.saturating_mul(self.strides[0]).saturating_sub(self.before[0]).min(self.output[0])
    }

    /// How many lines of the input before a line reach as far as it.
    pub fn reach(&self) -> usize {
        self.kernel[0].saturating_sub(1).saturating_mul(self.dilations[0]) / self.strides[0]
    }
}

struct Job<'a> {
    shape: &'a Windows,
    windows: &'a [f32],
    /// Lines whose windows these are.
    input: Range<usize>,
    bias: Option<&'a [f32]>,
    out: *mut f32,
    /// The line that `out` starts with.
    first: usize,
}

// SAFETY: `out` is a slice that lives while the threads run; each writes lines of its own.
unsafe impl Sync for Job<'_> {}

/// Lines `start..end` of the output.
struct Lines<'a> {
    job: &'a Job<'a>,
    start: usize,
    end: usize,
}

impl Kernel for Lines<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Windows { kernel, output, channels, .. } = *self.job.shape;
        let input = &self.job.input;
        for y in self.start..self.end {
            for x in 0..output[1] {
                for c in (0..channels).step_by(S::LANES) {
                    let n = S::LANES.min(channels - c);
                    // SAFETY: n channels of the bias, of a window, and of the output.
                    unsafe {
                        let mut sum = match self.job.bias {
                            Some(bias) => s.load_upto(bias.as_ptr().add(c), n),
                            None => s.splat(0.0),
                        };
                        for ky in 0..kernel[0] {
                            let row = self.job.shape.window(0, y, ky).filter(|row| input.contains(row));
                            let Some(row) = row.map(|row| row - input.start) else { continue };
                            for kx in 0..kernel[1] {
                                let Some(column) = self.job.shape.window(1, x, kx) else { continue };
                                let window = row * self.job.shape.input[1] + column;
                                let at = (window * kernel[0] + ky) * kernel[1] + kx;
                                sum = s.add(sum, s.load_upto(self.job.windows.as_ptr().add(at * channels + c), n));
                            }
                        }
                        let to = ((y - self.job.first) * output[1] + x) * channels + c;
                        s.store_upto(self.job.out.add(to), sum, n);
                    }
                }
            }
        }
    }
}

impl Windows {
    /// The window of an axis whose element `k` falls on an output position.
    #[inline(always)]
    fn window(&self, axis: usize, position: usize, k: usize) -> Option<usize> {
        let from = (position + self.before[axis]).checked_sub(k * self.dilations[axis])?;
        let window = from / self.strides[axis];
        (from.is_multiple_of(self.strides[axis]) && window < self.input[axis]).then_some(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::forced;

    fn naive(shape: &Windows, windows: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let Windows { input, kernel, strides, dilations, before, output, channels } = *shape;
        let mut out = vec![0.0; output[0] * output[1] * channels];
        if let Some(bias) = bias {
            out.chunks_mut(channels).for_each(|o| o.copy_from_slice(bias));
        }
        let mut at = windows.iter();
        for i in 0..input[0] * input[1] {
            for k in 0..kernel[0] * kernel[1] {
                let place = |axis: usize, i: usize, k: usize| {
                    (i * strides[axis] + k * dilations[axis]).checked_sub(before[axis]).filter(|&p| p < output[axis])
                };
                let to = (place(0, i / input[1], k / kernel[1]), place(1, i % input[1], k % kernel[1]));
                for c in 0..channels {
                    let x = at.next().unwrap();
                    if let (Some(y), Some(x_at)) = to {
                        out[(y * output[1] + x_at) * channels + c] += x;
                    }
                }
            }
        }
        out
    }

    #[test]
    fn sums_of_every_window() {
        let shape = |input, kernel, strides, dilations, before, output, channels| Windows {
            input,
            kernel,
            strides,
            dilations,
            before,
            output,
            channels,
        };
        for shape in [
            shape([4, 5], [4, 4], [2, 2], [1, 1], [1, 1], [8, 10], 20),
            shape([3, 2], [3, 2], [1, 3], [2, 1], [0, 1], [7, 5], 3),
            shape([1, 1], [1, 1], [1, 1], [1, 1], [0, 0], [1, 1], 33),
            shape([6, 2], [7, 2], [2, 1], [1, 1], [3, 0], [11, 3], 5),
            shape([3, 1], [2, 1], [4, 1], [3, 1], [1, 0], [14, 1], 4),
            shape([2, 2], [1, 1], [3, 3], [1, 1], [0, 0], [5, 6], 16),
        ] {
            let n = [shape.input, shape.kernel].concat().iter().product::<usize>() * shape.channels;
            // Whole numbers: every order of summing gives the same.
            let windows: Vec<f32> = (0..n).map(|i| (i * 7919 % 31) as f32 - 15.0).collect();
            let bias: Vec<f32> = (0..shape.channels).map(|i| i as f32).collect();
            for bias in [None, Some(&bias[..])] {
                let want = naive(&shape, &windows, bias);
                forced::on_each(|| {
                    let mut out = vec![f32::NAN; want.len()];
                    shape.sum(&windows, bias, &mut out).unwrap();
                    assert_eq!(out, want, "{shape:?} {:?}", Isa::current());
                    // Line by line of the input, each with those before that reach as far.
                    out.fill(f32::NAN);
                    let line = n / shape.input[0];
                    for at in 0..shape.input[0] {
                        let from = at.saturating_sub(shape.reach());
                        let lines = shape.complete(at)..shape.complete(at + 1);
                        let width = out.len() / shape.output[0];
                        let out = &mut out[lines.start * width..lines.end * width];
                        shape
                            .sum_lines(&windows[from * line..(at + 1) * line], from..at + 1, bias, out, lines)
                            .unwrap();
                    }
                    assert_eq!(out, want, "{shape:?} {:?}, by lines", Isa::current());
                });
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let shape = Windows {
            input: [2, 2],
            kernel: [2, 2],
            strides: [2, 2],
            dilations: [1, 1],
            before: [0, 0],
            output: [4, 4],
            channels: 3,
        };
        let refused = |name, got, want| Err(OverlapError { name, got, want });
        assert_eq!(shape.sum(&[0.0; 47], None, &mut [0.0; 48]), refused("windows", 47, 48));
        assert_eq!(shape.sum(&[0.0; 48], None, &mut [0.0; 49]), refused("out", 49, 48));
        assert_eq!(shape.sum(&[0.0; 48], Some(&[0.0; 2]), &mut [0.0; 48]), refused("bias", 2, 3));
        let lines = |input, output| shape.sum_lines(&[0.0; 24], input, None, &mut [0.0; 12], output);
        assert_eq!(lines(1..2, 3..4), Ok(()));
        assert_eq!(lines(2..3, 3..4), refused("input", 3, 2));
        assert_eq!(lines(1..2, 4..5), refused("output", 5, 4));
    }
}
