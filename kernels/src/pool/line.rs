//! f32 of one channel: all lines that a line of windows meets become one, and then neighbours in it.

use super::{Kind, Pool};
use crate::simd::{self, Kernel, Simd};
use crate::window::{Form, Row, Span, WindowError};
use crate::{Isa, NoMemory, parallel, scratch};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows of taps that are found at once.
const ROWS: usize = 64;

/// Floats that a lookup reads.
const TABLE: usize = 32;

impl Pool {
    /// [`Pool::run`] of slices that were seen to fit, for one channel.
    pub(super) fn lines(&self, x: &[f32], out: &mut [f32]) -> Result<(), WindowError> {
        let isa = Isa::current();
        let job = Job { pool: self, x, out: out.as_mut_ptr() };
        let short = AtomicUsize::new(0);
        let work = (out.len() / 16 + 1).saturating_mul(self.taps().saturating_add(2));
        parallel::split(0, out.len(), parallel::pieces(work), &|start, end| {
            let job = &job;
            let bytes = self.geometry.last().extent.saturating_add(TABLE).saturating_mul(size_of::<f32>());
            let done = scratch::try_with(bytes, |line| {
                simd::run(isa, Piece { job, line: line.cast(), start, end });
            });
            if let Err(NoMemory { bytes }) = done {
                short.store(bytes, Ordering::Relaxed);
            }
        });
        match short.into_inner() {
            0 => Ok(()),
            bytes => Err(WindowError::Memory { bytes }),
        }
    }
}

struct Job<'a> {
    pool: &'a Pool,
    x: &'a [f32],
    out: *mut f32,
}

// SAFETY: made of slices that live while the threads run; each writes windows of its own.
unsafe impl Sync for Job<'_> {}

/// Windows `start..end` of all images, with room for a line of an image and a table behind it.
struct Piece<'a> {
    job: &'a Job<'a>,
    line: *mut f32,
    start: usize,
    end: usize,
}

impl Kernel for Piece<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for span in self.job.pool.geometry.spans(Form::Plain, self.start, self.end) {
            // SAFETY: windows of an image, and room for a line of it.
            unsafe {
                match self.job.pool.kind {
                    Kind::Max => self.span::<S, true>(s, span),
                    Kind::Average { .. } => self.span::<S, false>(s, span),
                }
            }
        }
    }
}

/// The greatest, NaN if one is, or the sum.
#[inline(always)]
fn combine<S: Simd, const MAX: bool>(s: S, acc: S::F, v: S::F) -> S::F {
    if MAX { s.select(s.unordered(v, v), v, s.max(v, acc)) } else { s.add(acc, v) }
}

impl Piece<'_> {
    /// # Safety
    /// The span is one of the windows, and the line has room for one of the image and a table.
    #[inline(always)]
    unsafe fn span<S: Simd, const MAX: bool>(&self, s: S, span: Span) {
        let Job { pool, x, out } = *self.job;
        let (geometry, last) = (&pool.geometry, *pool.geometry.last());
        let begin = if MAX { f32::NEG_INFINITY } else { 0.0 };
        // Positions of the line that windows of the span reach.
        let reach = (last.kernel - 1) * last.dilation + 1;
        let inside = |at: usize| at.saturating_sub(last.before).min(last.extent);
        let (first, end) = (inside(span.from * last.stride), inside((span.to - 1) * last.stride + reach));
        let n = end - first;
        let total = if n > 0 { geometry.count(Form::Plain, span.line) } else { 0 };
        let image = x.as_ptr().wrapping_add(span.image * geometry.positions() + first);
        let mut rows = [Row::default(); ROWS];
        let mut done = 0;
        loop {
            let rows = geometry.rows(Form::Plain, span.line, done, &mut rows[..ROWS.min(total - done)]);
            for i in (0..n).step_by(S::LANES) {
                let lanes = S::LANES.min(n - i);
                // SAFETY: so many positions of the rows, which lie inside, and of the line.
                unsafe {
                    let mut acc = if done == 0 { s.splat(begin) } else { s.load_upto(self.line.add(i), lanes) };
                    for row in rows {
                        acc = combine::<S, MAX>(s, acc, s.load_upto(image.wrapping_add(row.place + i), lanes));
                    }
                    s.store_upto(self.line.add(i), acc, lanes);
                }
            }
            done += rows.len();
            if done >= total {
                break;
            }
        }
        let out = out.wrapping_add(span.image * geometry.windows() + span.line * last.windows);
        let interior = last.interior();
        let (full, near) = (interior.end.min(span.to), last.stride.saturating_mul(S::LANES - 1) < TABLE);
        let mut every = [0; TABLE];
        for (i, every) in every.iter_mut().enumerate() {
            *every = last.stride.wrapping_mul(i) as i32;
        }
        // SAFETY: a table has as many numbers as the largest vector, or more.
        let every = s.bits(unsafe { s.load(every.as_ptr().cast()) });
        // Whole windows have as many entries inside, each.
        let divisor = s.splat(pool.divisor(span.line, interior.start.min(last.windows - 1)) as f32);
        let least = interior.start.max(span.from);
        let mut at = span.from;
        while at < span.to {
            // The last whole vector has some windows of the one before again, which come out the same.
            if near && at > least && at < full && least + S::LANES <= full {
                at = at.min(full - S::LANES);
            }
            // SAFETY: windows of the span, whose taps lie in the part of the line that was made; a lookup ends at most a table
            // behind it.
            unsafe {
                if near && interior.start <= at && at + S::LANES <= full {
                    let mut from = self.line.wrapping_add(at * last.stride - last.before - first).cast_const();
                    let mut acc = s.splat(begin);
                    for _ in 0..last.kernel {
                        let v = if last.stride == 1 { s.load(from) } else { s.lookup(&*from.cast(), every) };
                        acc = combine::<S, MAX>(s, acc, v);
                        from = from.wrapping_add(last.dilation);
                    }
                    s.store(out.add(at), if MAX { acc } else { s.div(acc, divisor) });
                    at += S::LANES;
                    continue;
                }
                let taps = last.inside(at);
                let (mut acc, mut from) = (begin, self.line.wrapping_add(taps.place.wrapping_sub(first)).cast_const());
                for _ in 0..taps.count {
                    let v = *from;
                    acc = match MAX {
                        true if v > acc || v.is_nan() => v,
                        true => acc,
                        false => acc + v,
                    };
                    from = from.wrapping_add(last.dilation);
                }
                *out.add(at) = if MAX { acc } else { acc / pool.divisor(span.line, at) as f32 };
                at += 1;
            }
        }
    }
}
