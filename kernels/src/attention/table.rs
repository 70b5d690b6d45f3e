//! Scores from a table, for every key.

use super::Attention;
use super::codebook::{Codebook, QUERIES, stand_for};
use super::dense::{Block, Dense, KEY_BLOCK, Needs, Scorer};
use crate::scan::{BLOCK, Units};
use crate::simd::{ByteKernel, ByteSimd};
use crate::strided::{MOST_LANES, Rows};

/// Codes of keys, behind them scratch memory; rows of queries, behind them their units and scratch memory.
#[derive(Clone, Copy)]
pub(super) struct Table<'a>(pub &'a Codebook);

/// A row of scores takes the sums of a block in its second half.
const _: () = assert!(KEY_BLOCK.is_multiple_of(BLOCK));

impl Table<'_> {
    /// Bytes of the rows of `n` queries, and from there of their units.
    fn parts(&self, n: usize) -> (usize, usize) {
        let rows = (n.div_ceil(QUERIES) * self.0.rows_bytes()).next_multiple_of(64);
        (rows, (n * size_of::<Units>()).next_multiple_of(64))
    }
}

impl Needs for Table<'_> {
    fn key_bytes(&self, a: &Attention, lanes: usize) -> usize {
        self.0.code_bytes(a.seq_k).next_multiple_of(64) + self.0.scratch_bytes(lanes)
    }

    fn query_bytes(&self, _: &Attention, n: usize) -> usize {
        let (rows, units) = self.parts(n);
        rows + units + self.0.scratch_bytes(MOST_LANES)
    }
}

impl<S: ByteSimd> Scorer<S> for Table<'_> {
    #[inline(always)]
    unsafe fn keys(&self, s: S, a: &Attention, k: *const f32, to: *mut u8) {
        let keys = Rows { x: k, row: a.k.seq, inner: a.k.inner, d: a.d, mean: std::ptr::null() };
        // SAFETY: the caller's promise.
        unsafe {
            let scratch = to.add(self.0.code_bytes(a.seq_k).next_multiple_of(64)).cast();
            self.0.encode(s, keys, a.seq_k, to, scratch);
        }
    }

    #[inline(always)]
    unsafe fn queries(&self, s: S, a: &Attention, q: *const f32, n: usize, to: *mut u8) {
        let queries = Rows { x: q, row: a.q.seq, inner: a.q.inner, d: a.d, mean: std::ptr::null() };
        let (rows, units) = self.parts(n);
        // SAFETY: the caller's promise; queries QUERIES by QUERIES.
        unsafe {
            let (units_to, scratch) = (to.add(rows).cast::<Units>(), to.add(rows + units).cast());
            for (chunk, i) in (0..n).step_by(QUERIES).enumerate() {
                let to = to.add(chunk * self.0.rows_bytes());
                self.0.rows(s, queries.from(i), (n - i).min(QUERIES), to, units_to.add(i), scratch);
            }
        }
    }

    #[inline(always)]
    unsafe fn scores(&self, s: S, _: &Attention, block: Block) {
        let (rows, _) = self.parts(block.group);
        let sums = block.len.next_multiple_of(BLOCK);
        // SAFETY: prepared queries and keys; a row of scores is at least as long as the sums.
        unsafe {
            let units = block.queries.add(rows).cast::<Units>();
            let codes = block.keys.add(block.from / BLOCK * self.0.block_bytes());
            let row = |i: usize| self.0.row(block.queries.add(i / QUERIES * self.0.rows_bytes()), i % QUERIES);
            let out = |i: usize| block.out.add(i * block.row);
            // Where a row's scores end its sums do: they are read before a score takes their place.
            let sums_of = |i: usize| out(i).add(sums).cast::<u16>().sub(sums);
            let mut i = 0;
            while i + 4 <= block.n {
                let rows = [0, 1, 2, 3].map(|r| row(block.first + i + r));
                self.0.scan(s, rows, codes, block.len, [0, 1, 2, 3].map(|r| sums_of(i + r)));
                i += 4;
            }
            while i < block.n {
                self.0.scan(s, [row(block.first + i)], codes, block.len, [sums_of(i)]);
                i += 1;
            }
            for i in 0..block.n {
                stand_for(s, sums_of(i), block.len, *units.add(block.first + i), out(i));
            }
        }
    }
}

impl ByteKernel for Dense<'_, Table<'_>> {
    type Out = ();
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) {
        self.each_task(s);
    }
}
