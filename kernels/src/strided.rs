//! Rows of f32 wherever they lie.

use super::simd::Simd;

/// Rows of `d` components, strides in elements.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The first component of the first row.
    pub x: *const f32,
    /// From one row to the next.
    pub row: isize,
    /// From one component to the next; 1 is fastest.
    pub inner: isize,
    /// Components.
    pub d: usize,
    /// The numbers that are subtracted from each row, `[d]`, or null.
    pub mean: *const f32,
}

impl Rows {
    /// The rows from number `first` on.
    ///
    /// # Safety
    /// There is a row of that number, or it is the one past the last.
    #[inline(always)]
    pub unsafe fn from(self, first: usize) -> Self {
        // SAFETY: the caller's promise.
        Self { x: unsafe { self.x.offset(self.row * first as isize) }, ..self }
    }

    /// Components `first..` of the first row, as many as a vector holds, zeros past the last.
    ///
    /// # Safety
    /// The row and `mean` are valid for reading, and `first < d`.
    #[inline(always)]
    pub unsafe fn chunk<S: Simd>(self, s: S, first: usize) -> S::F {
        let n = (self.d - first).min(S::LANES);
        // SAFETY: n components from `first` on, and an array of the largest vector.
        unsafe {
            let v = if self.inner == 1 {
                s.load_upto(self.x.add(first), n)
            } else {
                let mut parts = [0.0; MOST_LANES];
                for (j, part) in parts[..n].iter_mut().enumerate() {
                    *part = *self.x.offset(self.inner * (first + j) as isize);
                }
                s.load(parts.as_ptr())
            };
            if self.mean.is_null() { v } else { s.sub(v, s.load_upto(self.mean.add(first), n)) }
        }
    }

    /// Writes the first `n` rows, the mean not subtracted, as columns: `[d][width]`, zeros past the last row.
    ///
    /// # Safety
    /// The rows are valid for reading and `to` for writing `d * width` floats; `n <= width`, a multiple of `LANES`.
    #[inline(always)]
    pub unsafe fn columns<S: Simd>(self, s: S, n: usize, to: *mut f32, width: usize) {
        for j in (0..width).step_by(S::LANES) {
            let rest = n.saturating_sub(j).min(S::LANES);
            let mut c = 0;
            // SAFETY: rows j..j + rest, components below d, and the columns they go to.
            unsafe {
                let x = self.x.wrapping_offset(self.row * j as isize);
                if self.inner == 1 && rest == S::LANES {
                    while c + S::LANES <= self.d {
                        s.transpose(x.add(c), self.row, to.add(c * width + j), width);
                        c += S::LANES;
                    }
                }
                while c < self.d {
                    let to = to.add(c * width + j);
                    for i in 0..rest {
                        *to.add(i) = *x.offset(self.row * i as isize + self.inner * c as isize);
                    }
                    for i in rest..S::LANES {
                        *to.add(i) = 0.0;
                    }
                    c += 1;
                }
            }
        }
    }
}

/// Lanes of the largest vector.
pub const MOST_LANES: usize = 16;
