//! f32 of many channels: lanes are channels, and several windows are in registers.

use super::{Kind, Pool};
use crate::simd::{self, Simd};
use crate::window::{Block, Body, Walk, WindowError};
use crate::{Isa, parallel};

#[derive(Clone, Copy)]
struct Job<'a> {
    pool: &'a Pool,
    x: *const f32,
    out: *mut f32,
}

// SAFETY: made of slices that live while the threads run; each writes windows of its own.
unsafe impl Sync for Job<'_> {}

impl Pool {
    /// [`Pool::run`] of slices that were seen to fit.
    pub(super) fn vectors(&self, x: &[f32], out: &mut [f32]) -> Result<(), WindowError> {
        let all = out.len().checked_div(self.channels).unwrap_or(0);
        let job = Job { pool: self, x: x.as_ptr(), out: out.as_mut_ptr() };
        let isa = Isa::current();
        let work = all.saturating_mul(self.channels.div_ceil(16)).saturating_mul(self.taps().saturating_add(2));
        parallel::split(0, all, parallel::pieces(work), &|start, end| {
            // The fields of the job are only together safe to share.
            let job = &job;
            simd::run(isa, Walk { geometry: &self.geometry, body: *job, start, end });
        });
        Ok(())
    }
}

impl Body for Job<'_> {
    #[inline(always)]
    unsafe fn block<S: Simd, const P: usize>(self, s: S, block: &Block<'_>) {
        let Pool { ref geometry, channels, kind } = *self.pool;
        let first = (block.image * geometry.positions() + block.taps.place) * channels;
        let window = (block.image * geometry.windows() + block.window) * channels;
        let divisor = if block.end { self.pool.divisor(block.at[0], block.at[1]) } else { 1.0 };
        for c in (0..channels).step_by(S::LANES) {
            let at = Tile {
                block,
                x: self.x.wrapping_add(first + c),
                width: channels,
                step: geometry.last().stride * channels,
                apart: geometry.last().dilation.wrapping_mul(channels),
                out: self.out.wrapping_add(window + c),
                lanes: S::LANES.min(channels - c),
            };
            // SAFETY: windows of an image, whose rows and taps lie inside; so many channels of each.
            unsafe {
                let acc = match (kind, at.lanes == S::LANES) {
                    (Kind::Max, true) => greatest::<S, P, true>(s, &at),
                    (Kind::Max, false) => greatest::<S, P, false>(s, &at),
                    (Kind::Average { .. }, true) => pass::<S, P, true, SUM>(s, &at).0,
                    (Kind::Average { .. }, false) => pass::<S, P, false, SUM>(s, &at).0,
                };
                let divide = block.end && kind != Kind::Max;
                for (p, v) in acc.into_iter().enumerate() {
                    let v = if divide { s.div(v, s.splat(divisor as f32)) } else { v };
                    s.store_upto(at.out.add(p * channels), v, at.lanes);
                }
            }
        }
    }
}

/// `P` windows of a vector of channels.
struct Tile<'a> {
    block: &'a Block<'a>,
    /// The element that the first tap of the first window meets, in the first row of the image.
    x: *const f32,
    /// Elements of a position.
    width: usize,
    /// From one window to the next, in elements.
    step: usize,
    /// From one tap to the next, in elements.
    apart: usize,
    out: *mut f32,
    lanes: usize,
}

/// The sum.
const SUM: u8 = 0;
/// The greatest, where no element is NaN.
const MAX: u8 = 1;
/// The greatest, or NaN.
const MAX_OR_NAN: u8 = 2;

/// The greatest of each window, NaN if there is one. NaN are rare: that there is any costs half a comparison a vector to find
/// out, and the few vectors are done again.
///
/// # Safety
/// That of [`pass`].
#[inline(always)]
unsafe fn greatest<S: Simd, const P: usize, const FULL: bool>(s: S, at: &Tile<'_>) -> [S::F; P] {
    // SAFETY: the caller's promise.
    unsafe {
        let (acc, nan) = pass::<S, P, FULL, MAX>(s, at);
        if s.any(nan) { pass::<S, P, FULL, MAX_OR_NAN>(s, at).0 } else { acc }
    }
}

/// All taps of some windows, and where [`MAX`] met a NaN.
///
/// # Safety
/// Rows and taps lie inside the image, and so many lanes are there of each position and of the result: a vector if `FULL`.
#[inline(always)]
unsafe fn pass<S: Simd, const P: usize, const FULL: bool, const KIND: u8>(s: S, at: &Tile<'_>) -> ([S::F; P], S::M) {
    let Tile { step, apart, lanes, .. } = *at;
    let mut nan = s.first(0);
    let mut acc = [s.splat(if KIND == SUM { 0.0 } else { f32::NEG_INFINITY }); P];
    if !at.block.begin {
        for (p, acc) in acc.iter_mut().enumerate() {
            // SAFETY: window p, which earlier rows have gone into.
            *acc = unsafe { s.load_upto(at.out.add(p * at.width), lanes) };
        }
    }
    for row in at.block.rows {
        let mut x = at.x.wrapping_add(row.place * at.width);
        for _ in 0..at.block.taps.count {
            let mut before = s.splat(0.0);
            for (p, acc) in acc.iter_mut().enumerate() {
                let from = x.wrapping_add(p * step);
                // SAFETY: so many channels of what window p meets.
                let v = unsafe { if FULL { s.load(from) } else { s.load_partial(from, lanes) } };
                match KIND {
                    SUM => *acc = s.add(*acc, v),
                    MAX => {
                        // That leaves out a NaN, but for one that earlier rows had.
                        *acc = s.max(v, *acc);
                        // Two vectors at once.
                        if p % 2 == 1 || p + 1 == P {
                            nan = s.mask_or(nan, s.unordered(v, before));
                        }
                        before = v;
                    }
                    _ => *acc = s.select(s.unordered(v, v), v, s.max(v, *acc)),
                }
            }
            x = x.wrapping_add(apart);
        }
    }
    (acc, nan)
}
