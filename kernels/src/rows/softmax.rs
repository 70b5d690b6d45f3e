//! softmax and log-softmax.

use super::{Ends, Isa, RowError, RowFn, check, each_row, rows_of};
use crate::math;
use crate::simd::{Simd, Wide};

/// The greatest of `scale * x` over a row of `n > 0`; a NaN may get lost.
///
/// # Safety
/// `x` is valid for reading `n` floats.
#[inline(always)]
pub(crate) unsafe fn max_row<S: Simd>(s: S, x: *const f32, n: usize, scale: S::F) -> f32 {
    let low = s.splat(f32::NEG_INFINITY);
    let mut m = [low; 4];
    let mut i = 0;
    while i + 4 * S::LANES <= n {
        for (k, m) in m.iter_mut().enumerate() {
            // SAFETY: i + 4 * LANES <= n.
            *m = s.max(*m, s.mul(unsafe { s.load(x.add(i + k * S::LANES)) }, scale));
        }
        i += 4 * S::LANES;
    }
    while i < n {
        // SAFETY: the rest of n floats.
        let v = s.mul(unsafe { s.load_upto(x.add(i), n - i) }, scale);
        let v = if n - i < S::LANES { s.select(s.first(n - i), v, low) } else { v };
        m[0] = s.max(m[0], v);
        i += S::LANES;
    }
    s.reduce_max(s.max(s.max(m[0], m[1]), s.max(m[2], m[3])))
}

/// Writes `exp(scale * x - max)` of a row and returns the sum.
///
/// # Safety
/// `x` is valid for reading `n` floats and `out` for writing them; they are
/// the same or do not overlap.
#[inline(always)]
pub(crate) unsafe fn exp_row<S: Simd>(s: S, x: *const f32, out: *mut f32, n: usize, scale: S::F, max: f32) -> f32 {
    let (wide, mut i) = (Wide(s), 0);
    let (minus_max, zero) = (s.splat(-max), s.splat(0.0));
    let mut sum = [zero; 4];
    while i + Wide::<S>::LANES <= n {
        // SAFETY: i and the lanes after it are within n.
        unsafe {
            let v = wide.mul_add(wide.load(x.add(i)), [scale; 4], [minus_max; 4]);
            let e = math::exp_not_positive(wide, v);
            wide.store(out.add(i), e);
            sum = wide.add(sum, e);
        }
        i += Wide::<S>::LANES;
    }
    while i < n {
        let rest = n - i;
        // SAFETY: the rest of n floats.
        unsafe {
            let e = math::exp_not_positive(s, s.mul_add(s.load_upto(x.add(i), rest), scale, minus_max));
            s.store_upto(out.add(i), e, rest);
            sum[0] = s.add(sum[0], if rest < S::LANES { s.select(s.first(rest), e, zero) } else { e });
        }
        i += S::LANES;
    }
    s.reduce_add(s.add(s.add(sum[0], sum[1]), s.add(sum[2], sum[3])))
}

/// Applies `out = x * a + b` to a row.
///
/// # Safety
/// That of [`exp_row`].
#[inline(always)]
unsafe fn affine_row<S: Simd>(s: S, x: *const f32, out: *mut f32, n: usize, a: S::F, b: S::F) {
    let mut i = 0;
    while i < n {
        // SAFETY: the rest of n floats.
        unsafe {
            let y = s.mul_add(s.load_upto(x.add(i), n - i), a, b);
            s.store_upto(out.add(i), y, n - i);
        }
        i += S::LANES;
    }
}

#[derive(Clone, Copy)]
struct Softmax {
    ends: Ends,
    scale: f32,
}

impl RowFn for Softmax {
    #[inline(always)]
    unsafe fn row<S: Simd>(self, s: S, row: usize) {
        let n = self.ends.cols;
        let scale = s.splat(self.scale);
        // SAFETY: a checked row of n > 0 floats.
        unsafe {
            let (x, out) = self.ends.at(row);
            let max = max_row(s, x, n, scale);
            let sum = exp_row(s, x, out, n, scale, max);
            affine_row(s, out, out, n, s.splat(1.0 / sum), s.splat(0.0));
        }
    }
}

#[derive(Clone, Copy)]
struct LogSoftmax {
    ends: Ends,
    scale: f32,
}

/// The sum of `exp(scale * x - max)` of a row.
///
/// # Safety
/// `x` is valid for reading `n` floats.
#[inline(always)]
unsafe fn exp_sum<S: Simd>(s: S, x: *const f32, n: usize, scale: S::F, max: f32) -> f32 {
    let minus_max = s.splat(-max);
    let zero = s.splat(0.0);
    let (mut a, mut b) = (zero, zero);
    let mut i = 0;
    while i < n {
        // SAFETY: the rest of n floats.
        let v = unsafe { s.load_upto(x.add(i), n - i) };
        let e = math::exp_not_positive(s, s.mul_add(v, scale, minus_max));
        let e = if n - i < S::LANES { s.select(s.first(n - i), e, zero) } else { e };
        (a, b) = (b, s.add(a, e));
        i += S::LANES;
    }
    s.reduce_add(s.add(a, b))
}

impl RowFn for LogSoftmax {
    #[inline(always)]
    unsafe fn row<S: Simd>(self, s: S, row: usize) {
        let n = self.ends.cols;
        let scale = s.splat(self.scale);
        // SAFETY: a checked row of n > 0 floats.
        unsafe {
            let (x, out) = self.ends.at(row);
            let max = max_row(s, x, n, scale);
            let log = math::log(s, s.splat(exp_sum(s, x, n, scale, max)));
            let mut i = 0;
            while i < n {
                let y = s.sub(s.mul_add(s.load_upto(x.add(i), n - i), scale, s.splat(-max)), log);
                s.store_upto(out.add(i), y, n - i);
                i += S::LANES;
            }
        }
    }
}

/// `exp(scale * x - m) / sum`, `m` the greatest `scale * x` of the row. A row with
/// a NaN or an infinity at its top is NaN. Each element is within 4 ULP plus the
/// rounding of the sum.
pub fn softmax(x: &[f32], out: &mut [f32], cols: usize, scale: f32) -> Result<(), RowError> {
    check("out", out.len(), x.len(), cols)?;
    run_softmax(x.as_ptr(), out.as_mut_ptr(), x.len(), cols, scale)
}

/// [`softmax`] written over its input.
pub fn softmax_in_place(x: &mut [f32], cols: usize, scale: f32) -> Result<(), RowError> {
    run_softmax(x.as_ptr(), x.as_mut_ptr(), x.len(), cols, scale)
}

/// `x` and `out` belong to slices of `len`, the same or apart.
fn run_softmax(x: *const f32, out: *mut f32, len: usize, cols: usize, scale: f32) -> Result<(), RowError> {
    let rows = rows_of("x", len, cols)?;
    let f = Softmax { ends: Ends { x, out, cols }, scale };
    // SAFETY: both slices have rows * cols floats.
    unsafe { each_row(Isa::current(), rows, cols, 30, f) };
    Ok(())
}

/// The logarithm of [`softmax`], without forming it.
pub fn log_softmax(x: &[f32], out: &mut [f32], cols: usize, scale: f32) -> Result<(), RowError> {
    check("out", out.len(), x.len(), cols)?;
    run_log_softmax(x.as_ptr(), out.as_mut_ptr(), x.len(), cols, scale)
}

/// [`log_softmax`] written over its input.
pub fn log_softmax_in_place(x: &mut [f32], cols: usize, scale: f32) -> Result<(), RowError> {
    run_log_softmax(x.as_ptr(), x.as_mut_ptr(), x.len(), cols, scale)
}

/// `x` and `out` belong to slices of `len`, the same or apart.
fn run_log_softmax(x: *const f32, out: *mut f32, len: usize, cols: usize, scale: f32) -> Result<(), RowError> {
    let rows = rows_of("x", len, cols)?;
    let f = LogSoftmax { ends: Ends { x, out, cols }, scale };
    // SAFETY: both slices have rows * cols floats.
    unsafe { each_row(Isa::current(), rows, cols, 30, f) };
    Ok(())
}
