//! Positions of a result one after the other, each with the taps it is made of: for all that needs no vectors of its own.

use super::{Form, Geometry, Row};
use crate::simd::{self, Kernel, Simd};
use crate::{Isa, parallel};

/// Rows of taps that are found at once.
const ROWS: usize = 64;

/// The work at a position. Implementations are `#[inline(always)]`: they become vectors of the instruction set by the
/// compiler.
pub(crate) trait Visitor<T>: Copy + Sync {
    /// Before the first tap. `out` has the channels of the result.
    fn begin(self, out: &mut [T]);

    /// At a tap, by its number in the window, that meets the channels `x`.
    fn meet(self, out: &mut [T], x: &[T], tap: usize);

    /// Behind the last tap of a position, which is number `at` in that line of the result.
    fn end(self, out: &mut [T], line: usize, at: usize);
}

/// Images `x` and their results `out`, seen to fit.
pub(crate) struct Visit<'a, T> {
    pub geometry: &'a Geometry,
    pub form: Form,
    /// Channels of an image and of a result.
    pub channels: [usize; 2],
    pub x: &'a [T],
    pub out: &'a mut [T],
}

impl<T: Copy + Send + Sync> Visit<'_, T> {
    /// Visits all positions, by several threads if there is enough to do for so many taps of each.
    pub fn each<V: Visitor<T>>(self, taps: usize, visitor: V) {
        let Self { geometry, form, channels, x, out } = self;
        let m = channels[1];
        let all = out.len().checked_div(m).unwrap_or(0);
        let work = out.len().saturating_mul(taps) / 4;
        let to = Shared(out.as_mut_ptr());
        let isa = Isa::current();
        parallel::split(0, all, parallel::pieces(work), &|start, end| {
            // SAFETY: the results of positions start..end, which no other piece has.
            let out = unsafe { std::slice::from_raw_parts_mut(to.at(start * m), (end - start) * m) };
            simd::run(isa, Piece { of: Visit { geometry, form, channels, x, out }, visitor, start, end });
        });
    }
}

/// A result that threads share.
struct Shared<T>(*mut T);

// SAFETY: a slice that lives while the threads run; each writes positions of its own.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn at(&self, i: usize) -> *mut T {
        self.0.wrapping_add(i)
    }
}

/// Positions `start..end` of all results, with a part of `out` that has just those.
struct Piece<'a, T, V> {
    of: Visit<'a, T>,
    visitor: V,
    start: usize,
    end: usize,
}

impl<T: Copy, V: Visitor<T>> Kernel for Piece<'_, T, V> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { of: Visit { geometry, form, channels: [c, m], x, out }, visitor, .. } = self;
        let image = geometry.ends(form)[0] * c;
        let mut out = out.chunks_exact_mut(m.max(1));
        let mut rows = [Row::default(); ROWS];
        for span in geometry.spans(form, self.start, self.end) {
            let x = &x[span.image * image..][..image];
            // Of an image without elements some axes may have many rows, but there is nothing in them.
            let total = if x.is_empty() { 0 } else { geometry.count(form, span.line) };
            let mut found = false;
            for at in span.from..span.to {
                let Some(out) = out.next() else { return };
                let columns = geometry.columns(form, at);
                visitor.begin(out);
                for done in (0..if columns.count > 0 { total } else { 0 }).step_by(ROWS) {
                    let n = ROWS.min(total - done);
                    // All positions of a line have the same rows, but there may be more than are kept.
                    if !found || total > ROWS {
                        geometry.rows(form, span.line, done, &mut rows[..n]);
                        found = true;
                    }
                    for row in &rows[..n] {
                        for k in 0..columns.count {
                            let place = row.place + columns.place.wrapping_add_signed(k as isize * columns.apart);
                            // Of a pool taps need not have numbers, and those of a convolution are within its weights.
                            let tap = row.tap.wrapping_add(columns.first + k * columns.step);
                            visitor.meet(out, &x[place * c..][..c], tap);
                        }
                    }
                }
                visitor.end(out, span.line, at);
            }
        }
    }
}
