//! LayerNorm and RMSNorm.

use super::{Ends, Isa, RowError, RowFn, check, each_row, rows_of};
use crate::simd::Simd;

#[derive(Clone, Copy)]
struct Norm {
    ends: Ends,
    /// A row, or null.
    scale: *const f32,
    /// A row, or null.
    bias: *const f32,
    eps: f32,
    /// True if the mean is taken out (LayerNorm), false if not (RMSNorm).
    center: bool,
}

// SAFETY: made of slices that live while the threads run; each row is touched by one thread.
unsafe impl Sync for Norm {}

/// The sum of `f(x)` over a row, in four interleaved parts.
///
/// # Safety
/// `x` is valid for reading `n` floats.
#[inline(always)]
unsafe fn sum_row<S: Simd>(s: S, x: *const f32, n: usize, center: Option<S::F>) -> f32 {
    let zero = s.splat(0.0);
    let mut sum = [zero; 4];
    let mut i = 0;
    while i + 4 * S::LANES <= n {
        for (k, sum) in sum.iter_mut().enumerate() {
            // SAFETY: i + 4 * LANES <= n.
            let v = unsafe { s.load(x.add(i + k * S::LANES)) };
            *sum = match center {
                None => s.add(*sum, v),
                Some(c) => {
                    let d = s.sub(v, c);
                    s.mul_add(d, d, *sum)
                }
            };
        }
        i += 4 * S::LANES;
    }
    while i < n {
        // SAFETY: the rest of n floats; lanes past them are zero.
        let v = unsafe { s.load_upto(x.add(i), n - i) };
        sum[0] = match center {
            None => s.add(sum[0], v),
            Some(c) => {
                let d = s.sub(v, c);
                let d = if n - i < S::LANES { s.select(s.first(n - i), d, zero) } else { d };
                s.mul_add(d, d, sum[0])
            }
        };
        i += S::LANES;
    }
    s.reduce_add(s.add(s.add(sum[0], sum[1]), s.add(sum[2], sum[3])))
}

impl RowFn for Norm {
    #[inline(always)]
    unsafe fn row<S: Simd>(self, s: S, row: usize) {
        let n = self.ends.cols;
        // SAFETY: a checked row of n > 0 floats.
        unsafe {
            let (x, out) = self.ends.at(row);
            let count = n as f32;
            let mean = if self.center { sum_row(s, x, n, None) / count } else { 0.0 };
            let mean = s.splat(mean);
            let var = sum_row(s, x, n, Some(mean)) / count;
            let factor = s.splat(1.0 / (var + self.eps).sqrt());
            let mut i = 0;
            while i < n {
                let rest = n - i;
                let y = s.mul(s.sub(s.load_upto(x.add(i), rest), mean), factor);
                let y = if self.scale.is_null() { y } else { s.mul(y, s.load_upto(self.scale.add(i), rest)) };
                let y = if self.bias.is_null() { y } else { s.add(y, s.load_upto(self.bias.add(i), rest)) };
                s.store_upto(out.add(i), y, rest);
                i += S::LANES;
            }
        }
    }
}

fn optional(name: &'static str, v: Option<&[f32]>, cols: usize) -> Result<*const f32, RowError> {
    match v {
        None => Ok(std::ptr::null()),
        Some(v) => check(name, v.len(), cols, cols).map(|()| v.as_ptr()),
    }
}

/// `(x - mean) / sqrt(variance + eps) * scale + bias` of each row, the variance
/// being the mean square of `x - mean`, taken in a second pass.
pub fn layer_norm(
    x: &[f32],
    scale: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
    cols: usize,
) -> Result<(), RowError> {
    norm(x, scale, bias, eps, out, cols, true)
}

/// `x / sqrt(mean(x^2) + eps) * scale` of each row.
pub fn rms_norm(x: &[f32], scale: Option<&[f32]>, eps: f32, out: &mut [f32], cols: usize) -> Result<(), RowError> {
    norm(x, scale, None, eps, out, cols, false)
}

fn norm(
    x: &[f32],
    scale: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
    cols: usize,
    center: bool,
) -> Result<(), RowError> {
    check("out", out.len(), x.len(), cols)?;
    let rows = rows_of("x", x.len(), cols)?;
    let (scale, bias) = (optional("scale", scale, cols)?, optional("bias", bias, cols)?);
    let ends = Ends { x: x.as_ptr(), out: out.as_mut_ptr(), cols };
    // SAFETY: every slice has the rows, or the row, checked above.
    unsafe { each_row(Isa::current(), rows, cols, 12, Norm { ends, scale, bias, eps, center }) };
    Ok(())
}
