//! One number for each row, or for each column of a stack of rows.

use super::{Isa, RowError, RowFn, check, each_row, rows_of};
use crate::math;
use crate::simd::Simd;

/// The number that a row becomes.
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
    /// The number that it starts from.
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

/// Columns that are taken through all rows together: four vectors of AVX-512, which are neighbours in the cache.
const STRIP: usize = 64;

/// Rows that are added up before they are added to the sum of those before: of n rows, the error of a sum is that of
/// 64 + n / 64 additions, not of n.
const BLOCK: usize = 64;

#[derive(Clone, Copy)]
struct Columns {
    kind: Reduction,
    x: *const f32,
    out: *mut f32,
    rows: usize,
    cols: usize,
}

// SAFETY: made of slices that live while the threads run; each strip is touched by one thread.
unsafe impl Sync for Columns {}

impl RowFn for Columns {
    #[inline(always)]
    unsafe fn row<S: Simd>(self, s: S, strip: usize) {
        const { assert!(STRIP.is_multiple_of(4 * S::LANES)) }
        let strips = self.cols.div_ceil(STRIP);
        let (stack, first) = (strip / strips, strip % strips * STRIP);
        let width = STRIP.min(self.cols - first);
        // SAFETY: a checked stack of rows, and its columns from `first` on.
        let (x, out) =
            unsafe { (self.x.add(stack * self.rows * self.cols + first), self.out.add(stack * self.cols + first)) };
        let mut at = 0;
        while at < width {
            // SAFETY: so many columns there are in the strip.
            unsafe {
                let (x, out) = (x.add(at), out.add(at));
                if at + 4 * S::LANES <= width {
                    self.vectors::<S, 4>(s, x, out, S::LANES);
                    at += 4 * S::LANES;
                } else {
                    self.vectors::<S, 1>(s, x, out, S::LANES.min(width - at));
                    at += S::LANES;
                }
            }
        }
    }
}

impl Columns {
    /// V vectors of columns, of each of which `lanes` are wanted.
    ///
    /// # Safety
    /// There are so many columns from `x` and `out` on.
    #[inline(always)]
    unsafe fn vectors<S: Simd, const V: usize>(self, s: S, x: *const f32, out: *mut f32, lanes: usize) {
        let Self { kind, rows, cols, .. } = self;
        let start = s.splat(kind.identity());
        let mut all = [start; V];
        for block in (0..rows).step_by(BLOCK) {
            let mut some = [start; V];
            for row in block..(block + BLOCK).min(rows) {
                for (v, some) in some.iter_mut().enumerate() {
                    // SAFETY: columns of a row, as promised; several vectors are whole.
                    let x = unsafe {
                        let x = x.add(row * cols + v * S::LANES);
                        if V > 1 { s.load(x) } else { s.load_upto(x, lanes) }
                    };
                    *some = kind.combine(s, *some, x);
                }
            }
            for (all, some) in all.iter_mut().zip(some) {
                *all = kind.combine(s, *all, some);
            }
        }
        for (v, all) in all.into_iter().enumerate() {
            let y = if kind == Reduction::Mean { s.div(all, s.splat(rows as f32)) } else { all };
            // SAFETY: as promised.
            unsafe { s.store_upto(out.add(v * S::LANES), y, lanes) };
        }
    }
}

/// Reduces each column of each stack of rows: `x` is `[stacks, rows, cols]`, `out` `[stacks, cols]`, whose length gives the
/// number of stacks. A sum of many rows is one of sums of 64.
pub fn reduce_columns(kind: Reduction, x: &[f32], out: &mut [f32], [rows, cols]: [usize; 2]) -> Result<(), RowError> {
    let stacks = rows_of("out", out.len(), cols)?;
    let want = rows.checked_mul(cols).and_then(|n| n.checked_mul(stacks)).unwrap_or(usize::MAX);
    check("x", x.len(), want, cols)?;
    let f = Columns { kind, x: x.as_ptr(), out: out.as_mut_ptr(), rows, cols };
    let strips = cols.div_ceil(STRIP);
    // SAFETY: the slices have the stacks checked above, each of so many strips.
    unsafe { each_row(Isa::current(), stacks * strips, rows.saturating_mul(STRIP), 2, f) };
    Ok(())
}
