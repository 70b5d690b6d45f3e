//! One number for each row.

use super::{Isa, RowError, RowFn, check, each_row, rows_of};
use crate::math;
use crate::simd::Simd;

/// What a row becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The sum; 0 for no columns.
    Sum,
    /// The sum over the number of columns; NaN for none.
    Mean,
    /// The greatest, NaN if any is; -inf for no columns.
    Max,
    /// The smallest, NaN if any is; inf for no columns.
    Min,
    /// The product; 1 for no columns.
    Prod,
}

impl Reduction {
    /// What it starts from.
    fn identity(self) -> f32 {
        match self {
            Reduction::Sum | Reduction::Mean => 0.0,
            Reduction::Max => f32::NEG_INFINITY,
            Reduction::Min => f32::INFINITY,
            Reduction::Prod => 1.0,
        }
    }

    #[inline(always)]
    fn combine<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        match self {
            Reduction::Sum | Reduction::Mean => s.add(a, b),
            Reduction::Max => math::maximum(s, a, b),
            Reduction::Min => math::minimum(s, a, b),
            Reduction::Prod => s.mul(a, b),
        }
    }
}

#[derive(Clone, Copy)]
struct Reduce {
    kind: Reduction,
    x: *const f32,
    out: *mut f32,
    cols: usize,
}

// SAFETY: made of slices that live while the threads run; each row is touched by one thread.
unsafe impl Sync for Reduce {}

impl RowFn for Reduce {
    #[inline(always)]
    unsafe fn row<S: Simd>(self, s: S, row: usize) {
        const MOST: usize = 16;
        const { assert!(S::LANES <= MOST) }
        let (kind, n) = (self.kind, self.cols);
        let start = s.splat(kind.identity());
        let mut acc = [start; 4];
        let mut i = 0;
        // SAFETY: a checked row of n floats.
        let x = unsafe { self.x.add(row * n) };
        while i + 4 * S::LANES <= n {
            for (k, a) in acc.iter_mut().enumerate() {
                // SAFETY: i + 4 * LANES <= n.
                *a = kind.combine(s, *a, unsafe { s.load(x.add(i + k * S::LANES)) });
            }
            i += 4 * S::LANES;
        }
        while i < n {
            // SAFETY: the rest of n floats.
            let v = unsafe { s.load_upto(x.add(i), n - i) };
            let v = if n - i < S::LANES { s.select(s.first(n - i), v, start) } else { v };
            acc[0] = kind.combine(s, acc[0], v);
            i += S::LANES;
        }
        let v = kind.combine(s, kind.combine(s, acc[0], acc[1]), kind.combine(s, acc[2], acc[3]));
        let y = match kind {
            Reduction::Sum | Reduction::Mean => s.reduce_add(v),
            _ => {
                let mut lanes = [0.0f32; MOST];
                // SAFETY: the array holds LANES floats.
                unsafe { s.store(lanes.as_mut_ptr(), v) };
                let scalar = crate::simd::Scalar;
                lanes[..S::LANES].iter().fold(kind.identity(), |a, b| kind.combine(scalar, a, *b))
            }
        };
        let y = if kind == Reduction::Mean { y / n as f32 } else { y };
        // SAFETY: `out` has a float for each row.
        unsafe { self.out.add(row).write(y) };
    }
}

/// Reduces each row of `x` to one element of `out`, whose length is the number of rows.
pub fn reduce(kind: Reduction, x: &[f32], out: &mut [f32], cols: usize) -> Result<(), RowError> {
    let rows = if cols == 0 { out.len() } else { rows_of("x", x.len(), cols)? };
    check("x", x.len(), rows * cols, cols)?;
    check("out", out.len(), rows, cols)?;
    let f = Reduce { kind, x: x.as_ptr(), out: out.as_mut_ptr(), cols };
    // SAFETY: the slices have the rows checked above.
    unsafe { each_row(Isa::current(), rows, cols, 2, f) };
    Ok(())
}
