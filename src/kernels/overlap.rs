//! Sums of windows that overlap: what is left of a transposed convolution once each input position has been multiplied.

use super::simd::{Kernel, Simd, run};
use super::{Isa, parallel};

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
        let product = |n: &[usize]| n.iter().try_fold(self.channels, |a, &b| a.checked_mul(b)).unwrap_or(usize::MAX);
        let [[h, w], [kh, kw], [oh, ow]] = [self.input, self.kernel, self.output];
        let check = |name, got, want| if got == want { Ok(()) } else { Err(OverlapError { name, got, want }) };
        check("windows", windows.len(), product(&[h, w, kh, kw]))?;
        check("out", out.len(), product(&[oh, ow]))?;
        check("bias", bias.map_or(self.channels, <[f32]>::len), self.channels)?;
        if out.is_empty() {
            return Ok(());
        }
        let isa = Isa::current();
        let job = Job { shape: self, windows, bias, out: out.as_mut_ptr() };
        let pieces = parallel::pieces(windows.len().max(out.len()) / 16 * 4);
        parallel::split(0, oh, pieces, &|start, end| run(isa, Lines { job: &job, start, end }));
        Ok(())
    }
}

struct Job<'a> {
    shape: &'a Windows,
    windows: &'a [f32],
    bias: Option<&'a [f32]>,
    out: *mut f32,
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
                            let Some(row) = self.job.shape.window(0, y, ky) else { continue };
                            for kx in 0..kernel[1] {
                                let Some(column) = self.job.shape.window(1, x, kx) else { continue };
                                let window = row * self.job.shape.input[1] + column;
                                let at = (window * kernel[0] + ky) * kernel[1] + kx;
                                sum = s.add(sum, s.load_upto(self.job.windows.as_ptr().add(at * channels + c), n));
                            }
                        }
                        s.store_upto(self.job.out.add((y * output[1] + x) * channels + c), sum, n);
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
    }
}
