//! Sums of several windows in registers, for one vector of channels.

use crate::simd::Simd;
use crate::window::Row;

/// `P` windows, by a vector of channels of the result.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// Rows of taps; the place of each is in positions.
    pub rows: &'a [Row],
    /// Elements of a position.
    pub width: usize,
    /// Taps of each row.
    pub taps: usize,
    /// From one window to the next, in elements of the image.
    pub step: usize,
    /// From one tap to the next, in elements of the image.
    pub apart: usize,
    /// The element that the first tap of the first window meets, in the first row of the image.
    pub x: *const f32,
    /// Weights of the first tap, in the first row of the window.
    pub w: *const f32,
    /// From the weights of a tap to those of the next.
    pub tap: usize,
    /// Channels that a tap meets.
    pub depth: usize,
    /// The first window of the result.
    pub out: *mut f32,
    /// From there to the next.
    pub out_step: usize,
    /// The numbers that the sums start from, null for 0.
    pub start: *const f32,
    /// From there to what the next starts from.
    pub start_step: usize,
    /// Channels of the result.
    pub lanes: usize,
}

/// The elements that lanes meet at a position.
pub(super) trait Source: Copy {
    /// True if a tap meets one channel of each lane, whatever the depth is said to be.
    const ONE: bool;

    /// A vector for channel `i` of the depth.
    ///
    /// # Safety
    /// The position has the channels that the lanes meet.
    unsafe fn get<S: Simd>(self, s: S, x: *const f32, i: usize) -> S::F;
}

/// Each its own channel, of a whole vector.
#[derive(Clone, Copy)]
pub(super) struct Own;

impl Source for Own {
    const ONE: bool = true;
    #[inline(always)]
    unsafe fn get<S: Simd>(self, s: S, x: *const f32, _: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load(x) }
    }
}

/// Each its own channel, of so many.
#[derive(Clone, Copy)]
pub(super) struct OwnPart(pub usize);

impl Source for OwnPart {
    const ONE: bool = true;
    #[inline(always)]
    unsafe fn get<S: Simd>(self, s: S, x: *const f32, _: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_partial(x, self.0) }
    }
}

/// All the same channel.
#[derive(Clone, Copy)]
pub(super) struct Broadcast;

impl Source for Broadcast {
    const ONE: bool = false;
    #[inline(always)]
    unsafe fn get<S: Simd>(self, s: S, x: *const f32, i: usize) -> S::F {
        // SAFETY: the caller's promise.
        s.splat(unsafe { *x.add(i) })
    }
}

/// Of 32 channels from a position on, which need not all be its own but are there, those that are named: `[depth, lanes]`.
#[derive(Clone, Copy)]
pub(super) struct Pick(pub *const i32);

impl Source for Pick {
    const ONE: bool = false;
    #[inline(always)]
    unsafe fn get<S: Simd>(self, s: S, x: *const f32, i: usize) -> S::F {
        // SAFETY: the caller's promise; floats and integers have the same size, and any bits are either.
        unsafe {
            let which = s.bits(s.load(self.0.add(i * S::LANES).cast()));
            s.lookup(&*x.cast::<[f32; 32]>(), which)
        }
    }
}

/// As [`Pick`], of so many channels that are there.
#[derive(Clone, Copy)]
pub(super) struct PickPart(pub *const i32, pub usize);

impl Source for PickPart {
    const ONE: bool = false;
    #[inline(always)]
    unsafe fn get<S: Simd>(self, s: S, x: *const f32, i: usize) -> S::F {
        let mut table = [0.0; 32];
        // SAFETY: the caller's promise; a chunk spans at most a table.
        unsafe {
            std::ptr::copy_nonoverlapping(x, table.as_mut_ptr(), self.1);
            Pick(self.0).get(s, table.as_ptr(), i)
        }
    }
}

/// Writes the sums of all taps of `P` windows.
///
/// # Safety
/// All that the tile names is valid: rows and taps lie within the image, weights are there for them, and the result has so many
/// channels.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, X: Source, const P: usize>(s: S, source: X, at: &Tile<'_>) {
    let Tile { taps, step, apart, depth, lanes, .. } = *at;
    let mut acc = [s.splat(0.0); P];
    if !at.start.is_null() {
        for (p, acc) in acc.iter_mut().enumerate() {
            // SAFETY: so many channels of what window p starts from.
            *acc = unsafe { s.load_upto(at.start.add(p * at.start_step), lanes) };
        }
    }
    for row in at.rows {
        let mut x = at.x.wrapping_add(row.place * at.width);
        let mut w = at.w.wrapping_add(row.tap * at.tap);
        for _ in 0..taps {
            for i in 0..if X::ONE { 1 } else { depth } {
                // SAFETY: the weights of channel i, and what it meets of each window.
                unsafe {
                    let weights = s.load(w);
                    for (p, acc) in acc.iter_mut().enumerate() {
                        *acc = s.mul_add(source.get(s, x.wrapping_add(p * step), i), weights, *acc);
                    }
                }
                w = w.wrapping_add(S::LANES);
            }
            x = x.wrapping_add(apart);
        }
    }
    for (p, acc) in acc.iter().enumerate() {
        // SAFETY: so many channels of window p.
        unsafe { s.store_upto(at.out.add(p * at.out_step), *acc, lanes) };
    }
}
