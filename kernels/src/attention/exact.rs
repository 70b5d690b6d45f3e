//! Scores in f32: `q . k` by a register-tiled product.

use super::Attention;
use super::dense::{Block, Needs, Scorer};
use crate::simd::{Kernel, Simd};
use crate::strided::Rows;
use crate::tile::{F32, PANEL, Product, product};

/// Keys in f32, transposed into panels; queries in f32.
#[derive(Clone, Copy)]
pub(super) struct Exact;

impl Needs for Exact {
    fn key_bytes(&self, a: &Attention, lanes: usize) -> usize {
        a.seq_k.next_multiple_of(PANEL * lanes) * a.d * size_of::<f32>()
    }

    fn query_bytes(&self, a: &Attention, n: usize) -> usize {
        n * a.d * size_of::<f32>()
    }
}

impl<S: Simd> Scorer<S> for Exact {
    #[inline(always)]
    unsafe fn keys(&self, s: S, a: &Attention, k: *const f32, to: *mut u8) {
        let rows = Rows { x: k, row: a.k.seq, inner: a.k.inner, d: a.d, mean: std::ptr::null() };
        let width = PANEL * S::LANES;
        for first in (0..a.seq_k).step_by(width) {
            // SAFETY: keys from `first` on, and the panel they go to: `[component][key]`.
            unsafe {
                let to = to.cast::<f32>().add(first * a.d);
                rows.from(first).columns(s, width.min(a.seq_k - first), to, width);
            }
        }
    }

    #[inline(always)]
    unsafe fn queries(&self, s: S, a: &Attention, q: *const f32, n: usize, to: *mut u8) {
        let to = to.cast::<f32>();
        for i in 0..n {
            // SAFETY: query i has d components, and so has row i of `to`.
            unsafe {
                let (q, to) = (q.offset(a.q.seq * i as isize), to.add(i * a.d));
                if a.q.inner == 1 {
                    let mut c = 0;
                    while c < a.d {
                        s.store_upto(to.add(c), s.load_upto(q.add(c), a.d - c), a.d - c);
                        c += S::LANES;
                    }
                } else {
                    for c in 0..a.d {
                        *to.add(c) = *q.offset(a.q.inner * c as isize);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn scores(&self, s: S, a: &Attention, block: Block) {
        let width = PANEL * S::LANES;
        for panel in 0..block.len.div_ceil(width) {
            // SAFETY: a panel of the packed keys; rows of scores are whole panels.
            unsafe {
                let queries = block.queries.cast::<f32>().add(block.first * a.d);
                let keys = block.keys.cast::<f32>().add((block.from / width + panel) * a.d * width);
                let to = (block.out.add(panel * width), block.row);
                let mut p = Product::new((queries, a.d), keys, a.d, to);
                if (panel + 1) * width < block.len {
                    (p.ahead, p.ahead_step) = (keys.add(a.d * width), width);
                }
                if block.len - panel * width <= S::LANES {
                    product::<S, F32, 1>(s, p, block.n)
                } else {
                    product::<S, F32, 2>(s, p, block.n)
                }
            }
        }
    }
}

impl Kernel for super::Dense<'_, Exact> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.each_task(s);
    }
}
