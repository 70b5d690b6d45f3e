//! Scores from i8: queries and keys coded row by row, with a scale each.

use super::Attention;
use super::dense::{Block, Dense, Needs, Scorer};
use crate::int8::{self, PANEL, Product, Queries, groups, panel_bytes};
use crate::simd::{ByteKernel, ByteSimd};
use crate::strided::Rows;

/// Keys in i8 panels, behind them their scales; queries in i8, behind them scales and starts.
#[derive(Clone, Copy)]
pub(super) struct Int8;

fn panels(a: &Attention, lanes: usize) -> usize {
    a.seq_k.div_ceil(PANEL * lanes)
}

/// The parts of a group of `n` prepared queries.
fn parts(a: &Attention, queries: *mut u8, n: usize) -> (*mut i8, *mut f32, *mut i32) {
    let scales = queries.wrapping_add(n * 4 * groups(a.d));
    (queries.cast(), scales.cast(), scales.wrapping_add(n * size_of::<f32>()).cast())
}

impl Needs for Int8 {
    fn key_bytes(&self, a: &Attention, lanes: usize) -> usize {
        panels(a, lanes) * (panel_bytes(a.d, lanes) + PANEL * lanes * size_of::<f32>())
    }

    fn query_bytes(&self, a: &Attention, n: usize) -> usize {
        n * (4 * groups(a.d) + size_of::<f32>() + size_of::<i32>())
    }
}

impl<S: ByteSimd> Scorer<S> for Int8 {
    #[inline(always)]
    unsafe fn keys(&self, s: S, a: &Attention, k: *const f32, to: *mut u8) {
        let rows = Rows { x: k, row: a.k.seq, inner: a.k.inner, d: a.d, mean: std::ptr::null() };
        // SAFETY: the caller's promise; panels first, then scales.
        unsafe {
            let scales = to.add(panels(a, S::LANES) * panel_bytes(a.d, S::LANES));
            int8::pack_keys(s, rows, a.seq_k, to, scales.cast());
        }
    }

    #[inline(always)]
    unsafe fn queries(&self, s: S, a: &Attention, q: *const f32, n: usize, to: *mut u8) {
        let rows = Rows { x: q, row: a.q.seq, inner: a.q.inner, d: a.d, mean: std::ptr::null() };
        let (to, scales, starts) = parts(a, to, n);
        // SAFETY: the caller's promise.
        unsafe { int8::pack_queries(s, rows, n, to, scales, starts) }
    }

    #[inline(always)]
    unsafe fn scores(&self, s: S, a: &Attention, block: Block) {
        let width = PANEL * S::LANES;
        let (rows, scales, starts) = parts(a, block.queries.cast_mut(), block.group);
        // SAFETY: prepared queries and panels; rows of scores are whole panels.
        unsafe {
            let q = Queries { rows, scales, starts }.from(block.first, a.d);
            let key_scales = block.keys.add(panels(a, S::LANES) * panel_bytes(a.d, S::LANES)).cast::<f32>();
            for panel in 0..block.len.div_ceil(width) {
                let at = block.from / width + panel;
                let keys = (block.keys.add(at * panel_bytes(a.d, S::LANES)), key_scales.add(at * width));
                let p = Product::new(q, keys, a.d, (block.out.add(panel * width), block.row));
                if block.len - panel * width <= S::LANES {
                    int8::scores::<S, 1>(s, p, block.n);
                } else {
                    int8::scores::<S, 2>(s, p, block.n);
                }
            }
        }
    }
}

impl ByteKernel for Dense<'_, Int8> {
    type Out = ();
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) {
        self.each_task(s);
    }
}
