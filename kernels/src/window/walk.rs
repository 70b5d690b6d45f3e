//! Lines of windows in blocks that a kernel holds in registers.

use super::rows::{Row, Taps};
use super::{Form, Geometry};
use crate::simd::{Kernel, Simd};

/// Rows of taps that are taken at once. What a window has more comes in further rounds, which go on from the result.
const ROWS: usize = 64;

/// Some windows next to each other whose taps lie alike.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    /// Number of the image.
    pub image: usize,
    /// Number of the first window among all windows of an image.
    pub window: usize,
    /// Rows of taps, all inside.
    pub rows: &'a [Row],
    /// Taps of each row.
    pub taps: Taps,
    /// True if these are the first rows; after others the result is to be gone on from.
    pub begin: bool,
    /// True if these are the last rows.
    pub end: bool,
    /// Line of the windows, and the first of them along it.
    pub at: [usize; 2],
}

/// The work on blocks.
pub(crate) trait Body: Copy {
    /// `P` windows; implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// The block is one of the images that the slices of the body were checked for.
    unsafe fn block<S: Simd, const P: usize>(self, s: S, block: &Block<'_>);
}

/// Windows `start..end` of all images.
pub(crate) struct Walk<'a, B> {
    pub geometry: &'a Geometry,
    pub body: B,
    pub start: usize,
    pub end: usize,
}

impl<B: Body> Kernel for Walk<'_, B> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { geometry, body, .. } = self;
        let last = *geometry.last();
        let interior = last.interior();
        let mut rows = [Row::default(); ROWS];
        for span in geometry.spans(Form::Plain, self.start, self.end) {
            // Without a position nothing lies inside, however many rows the other axes have.
            let total = if last.extent > 0 { geometry.count(Form::Plain, span.line) } else { 0 };
            let mut done = 0;
            loop {
                let rows = geometry.rows(Form::Plain, span.line, done, &mut rows[..ROWS.min(total - done)]);
                let (begin, end) = (done == 0, done + rows.len() >= total);
                done += rows.len();
                let mut at = span.from;
                while at < span.to {
                    let left = if interior.contains(&at) { interior.end.min(span.to) - at } else { 1 };
                    let window = span.line * last.windows + at;
                    let taps = last.inside(at);
                    let block = Block { image: span.image, window, rows, taps, begin, end, at: [span.line, at] };
                    // SAFETY: windows of an image, of which whoever made the walk has checked that they are there.
                    at += unsafe {
                        match left {
                            8.. => run::<S, B, 8>(s, body, &block),
                            4.. => run::<S, B, 4>(s, body, &block),
                            2.. => run::<S, B, 2>(s, body, &block),
                            _ => run::<S, B, 1>(s, body, &block),
                        }
                    };
                }
                if end {
                    break;
                }
            }
        }
    }
}

/// # Safety
/// That of [`Body::block`].
#[inline(always)]
unsafe fn run<S: Simd, B: Body, const P: usize>(s: S, body: B, block: &Block<'_>) -> usize {
    s.apart(Apart::<B, P> { body, block });
    P
}

/// A block as a function of its own, with all registers.
struct Apart<'a, B, const P: usize> {
    body: B,
    block: &'a Block<'a>,
}

impl<B: Body, const P: usize> Kernel for Apart<'_, B, P> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: `run` was promised it.
        unsafe { self.body.block::<S, P>(s, self.block) }
    }
}
