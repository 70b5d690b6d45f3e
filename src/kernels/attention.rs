//! Exact multi-head attention: `softmax(scale * q k^T + mask) v`, f32.
//!
//! A task is one head and a range of queries. It packs the keys, transposed,
//! and the values once into panels of two vectors' width, then takes a few
//! queries at a time: scores by a register-tiled product, their exponentials
//! in place, the product with the values, and the division by the sum at the
//! end, when there is one number per output instead of one per score. Scores
//! never take more room than those few queries times the keys.

use super::rows::{exp_row, max_row};
use super::simd::{self, Kernel, Simd};
use super::{Isa, parallel, scratch};

/// Strides of an operand in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// From one batch to the next.
    pub batch: isize,
    /// From one head to the next.
    pub head: isize,
    /// From one position to the next.
    pub seq: isize,
    /// From one component of a vector to the next; 1 is fastest.
    pub inner: isize,
}

impl Layout {
    /// The strides of a contiguous `[batch, heads, seq, width]`.
    pub fn heads_first(heads: usize, seq: usize, width: usize) -> Self {
        let [h, s, w] = [heads, seq, width].map(|n| n as isize);
        Self { batch: h * s * w, head: s * w, seq: w, inner: 1 }
    }

    /// The strides of a contiguous `[batch, seq, heads * width]` read as `[batch, heads, seq, width]`.
    pub fn merged(heads: usize, seq: usize, width: usize) -> Self {
        let [h, s, w] = [heads, seq, width].map(|n| n as isize);
        Self { batch: h * s * w, head: w, seq: h * w, inner: 1 }
    }

    fn at(&self, batch: usize, head: usize, seq: usize) -> isize {
        batch as isize * self.batch + head as isize * self.head + seq as isize * self.seq
    }
}

/// What a mask does to the scores; its strides, in elements of the mask, are
/// along `[batch, heads, seq_q, seq_k]`, 0 where it broadcasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mask {
    /// There is none.
    None,
    /// f32, added to the scaled scores.
    Additive {
        /// Strides.
        strides: [isize; 4],
    },
    /// Bool, a byte each: where it equals `hides`, the scaled score becomes `fill`.
    Bool {
        /// Strides.
        strides: [isize; 4],
        /// The truth value that hides a key.
        hides: bool,
        /// The score of a hidden key.
        fill: f32,
    },
}

/// Exact attention for given shapes and layouts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exact {
    /// Batches.
    pub batch: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`, each serves `heads / kv_heads` consecutive ones.
    pub kv_heads: usize,
    /// Queries.
    pub seq_q: usize,
    /// Keys.
    pub seq_k: usize,
    /// Width of a query and a key.
    pub d: usize,
    /// Width of a value.
    pub d_v: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Whether key `j` is hidden from query `i` where `j > i + seq_k - seq_q`.
    pub causal: bool,
    /// The mask.
    pub mask: Mask,
    /// Layout of the queries, `[batch, heads, seq_q, d]`.
    pub q: Layout,
    /// Layout of the keys, `[batch, kv_heads, seq_k, d]`.
    pub k: Layout,
    /// Layout of the values, `[batch, kv_heads, seq_k, d_v]`.
    pub v: Layout,
    /// Layout of the output, `[batch, heads, seq_q, d_v]`.
    pub out: Layout,
}

/// Shapes that are no attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttentionError {
    /// `heads` is not a multiple of `kv_heads`.
    #[error("{heads} query heads cannot share {kv_heads} key heads")]
    Heads {
        /// Query heads.
        heads: usize,
        /// Key and value heads.
        kv_heads: usize,
    },
    /// The scratch memory of one task would be beyond addresses.
    #[error("{seq_k} keys of {d} and values of {d_v} are too large")]
    TooLarge {
        /// Keys.
        seq_k: usize,
        /// Width of a key.
        d: usize,
        /// Width of a value.
        d_v: usize,
    },
}

impl Exact {
    /// Whether the shapes are those of an attention.
    pub fn check(&self) -> Result<(), AttentionError> {
        if self.kv_heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            return Err(AttentionError::Heads { heads: self.heads, kv_heads: self.kv_heads });
        }
        let widths = self.d.checked_add(self.d_v).and_then(|w| w.checked_add(4096));
        let room = widths.and_then(|w| self.seq_k.checked_add(4096)?.checked_mul(w)).and_then(|n| n.checked_mul(16));
        if room.is_none_or(|n| isize::try_from(n).is_err()) {
            return Err(AttentionError::TooLarge { seq_k: self.seq_k, d: self.d, d_v: self.d_v });
        }
        Ok(())
    }

    /// Number of keys, from the first, that a query sees.
    #[inline(always)]
    fn seen(&self, query: usize) -> usize {
        if self.causal { (query + 1 + self.seq_k).saturating_sub(self.seq_q).min(self.seq_k) } else { self.seq_k }
    }

    /// Computes the output, on the current rayon pool if it is large, with the
    /// instruction set in use. A query without any key, or whose keys are all
    /// at -inf, gives NaN. Allocates nothing once each thread has run a shape
    /// of this size. Every query gives the same bits whatever the cut into tasks.
    ///
    /// # Safety
    /// - [`Exact::check`] returned `Ok`.
    /// - Each pointer is to the element of index 0 of its operand, and every
    ///   element its layout reaches is valid: for reading in `q`, `k`, `v` and
    ///   `mask` (f32, or bytes; not used for [`Mask::None`]), for writing in `out`.
    /// - `out` overlaps none of the others, and no two of its elements coincide.
    /// - No other thread writes any of it meanwhile.
    pub unsafe fn run(&self, q: *const f32, k: *const f32, v: *const f32, mask: *const u8, out: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.run_on(Isa::current(), q, k, v, mask, out) }
    }

    /// [`Exact::run`] on a given instruction set (the baseline if the host lacks it).
    ///
    /// # Safety
    /// That of [`Exact::run`].
    pub unsafe fn run_on(&self, isa: Isa, q: *const f32, k: *const f32, v: *const f32, mask: *const u8, out: *mut f32) {
        let heads = self.batch * self.heads;
        if heads == 0 || self.seq_q == 0 || self.d_v == 0 {
            return;
        }
        let memory = Memory { q, k, v, mask, out };
        let work = (heads * self.seq_q / 16).saturating_mul(self.seq_k).saturating_mul(self.d + self.d_v + 16);
        let pieces = parallel::pieces(work);
        // Heads are cut only where there are too few of them.
        let cuts = if pieces <= heads { 1 } else { pieces.div_ceil(heads).min(self.seq_q.div_ceil(MOST_ROWS)) };
        let per_cut = self.seq_q.div_ceil(cuts);
        let room = Room::new(self, isa.lanes());
        parallel::split(0, heads * cuts, pieces, &|start, end| {
            // Taken out here: a closure within the kernel would not be compiled for its instruction set.
            scratch::with(room.bytes(), |scratch| {
                simd::run(isa, Tasks { shape: self, memory, scratch: scratch.cast(), room, cuts, per_cut, start, end });
            });
        });
    }
}

#[derive(Clone, Copy)]
struct Memory {
    q: *const f32,
    k: *const f32,
    v: *const f32,
    mask: *const u8,
    out: *mut f32,
}

// SAFETY: the caller of `run` promises that inputs may be read and the output
// written from any thread; tasks write disjoint parts.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

/// Floats of each part of a task's scratch memory, whole cache lines.
#[derive(Clone, Copy)]
struct Room {
    keys: usize,
    values: usize,
    queries: usize,
    scores: usize,
    tile: usize,
    /// Floats of a row of scores.
    row: usize,
    /// Queries to take together.
    rows: usize,
}

impl Room {
    fn new(a: &Exact, lanes: usize) -> Self {
        let width = PANEL * lanes;
        let row = a.seq_k.next_multiple_of(width);
        // The scores of the queries taken together should stay in the L1 cache.
        let tile = tile_rows(lanes);
        let rows = if 2 * tile * row <= 8192 { 2 * tile } else { tile };
        let lines = |n: usize| n.next_multiple_of(16);
        Self {
            keys: lines(row * a.d),
            values: lines(a.d_v.next_multiple_of(width) * a.seq_k),
            queries: lines(rows * a.d),
            scores: lines(rows * row),
            tile: lines(rows * width),
            row,
            rows,
        }
    }

    fn bytes(&self) -> usize {
        (self.keys + self.values + self.queries + self.scores + self.tile) * size_of::<f32>()
    }
}

/// Most queries that are taken together.
const MOST_ROWS: usize = 24;
/// Vectors of a panel.
const PANEL: usize = 2;

/// Rows of the register tile: with two vectors each, as many as the registers hold.
const fn tile_rows(lanes: usize) -> usize {
    match lanes {
        16 => 12,
        8 => 6,
        _ => 4,
    }
}

struct Tasks<'a> {
    shape: &'a Exact,
    memory: Memory,
    scratch: *mut f32,
    room: Room,
    cuts: usize,
    per_cut: usize,
    start: usize,
    end: usize,
}

impl Kernel for Tasks<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let a = self.shape;
        for task in self.start..self.end {
            let (head, cut) = (task / self.cuts, task % self.cuts);
            let from = cut * self.per_cut;
            let to = (from + self.per_cut).min(a.seq_q);
            if from < to {
                // SAFETY: a head and queries of the shape, and the room its tasks were
                // given; the rest was promised to `run`.
                unsafe { self.one_head(s, head / a.heads, head % a.heads, from, to) }
            }
        }
    }
}

impl Tasks<'_> {
    /// # Safety
    /// That of [`Exact::run`]; the indices are within the shape and `scratch` has the `room`.
    #[inline(always)]
    unsafe fn one_head<S: Simd>(&self, s: S, batch: usize, head: usize, from: usize, to: usize) {
        let (a, m, room) = (self.shape, self.memory, self.room);
        let width = PANEL * S::LANES;
        let kv = head / (a.heads / a.kv_heads);
        // SAFETY: the parts lie within the scratch memory; operands are as promised.
        unsafe {
            let keys = self.scratch;
            let values = keys.add(room.keys);
            let queries = values.add(room.values);
            let scores = queries.add(room.queries);
            let tile = scores.add(room.scores);
            pack_keys(a, m.k.offset(a.k.at(batch, kv, 0)), keys, width);
            pack_values(s, a, m.v.offset(a.v.at(batch, kv, 0)), values, width);
            let block = Block { a, m, batch, head, keys, values, queries, scores, tile, row: room.row };
            let mut first = from;
            while first < to {
                let n = room.rows.min(to - first);
                block.run(s, first, n);
                first += n;
            }
        }
    }
}

/// Keys as panels: `[panel][component][key]`, zeros past the last key.
///
/// # Safety
/// `k` is one head as [`Exact::run`] promises; `to` has room for all panels.
#[inline(always)]
unsafe fn pack_keys(a: &Exact, k: *const f32, to: *mut f32, width: usize) {
    for panel in 0..a.seq_k.div_ceil(width) {
        let n = width.min(a.seq_k - panel * width);
        // SAFETY: keys panel * width + j, j < n, and the panel's d * width floats.
        unsafe {
            let k = k.offset(a.k.seq * (panel * width) as isize);
            let to = to.add(panel * a.d * width);
            for c in 0..a.d {
                let k = k.offset(a.k.inner * c as isize);
                let to = to.add(c * width);
                for j in 0..n {
                    *to.add(j) = *k.offset(a.k.seq * j as isize);
                }
                for j in n..width {
                    *to.add(j) = 0.0;
                }
            }
        }
    }
}

/// Values as panels: `[panel][key][component]`, zeros past the last component.
///
/// # Safety
/// `v` is one head as [`Exact::run`] promises; `to` has room for all panels.
#[inline(always)]
unsafe fn pack_values<S: Simd>(s: S, a: &Exact, v: *const f32, to: *mut f32, width: usize) {
    for panel in 0..a.d_v.div_ceil(width) {
        let first = panel * width;
        let n = width.min(a.d_v - first);
        for j in 0..a.seq_k {
            // SAFETY: components first..first + n of key j, and `width` floats of the panel.
            unsafe {
                let v = v.offset(a.v.seq * j as isize + a.v.inner * first as isize);
                let to = to.add((panel * a.seq_k + j) * width);
                if a.v.inner == 1 {
                    for i in 0..PANEL {
                        let rest = n.saturating_sub(i * S::LANES);
                        let x = if rest == 0 { s.splat(0.0) } else { s.load_upto(v.add(i * S::LANES), rest) };
                        s.store(to.add(i * S::LANES), x);
                    }
                } else {
                    for c in 0..width {
                        *to.add(c) = if c < n { *v.offset(a.v.inner * c as isize) } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// A product of `rows` x `depth` by `depth` x a panel.
#[derive(Clone, Copy)]
struct Product {
    a: *const f32,
    a_row: usize,
    b: *const f32,
    depth: usize,
    c: *mut f32,
    c_row: usize,
}

/// The product for `M` rows and the first `N` vectors of the panel, in registers.
///
/// # Safety
/// `a` has M rows of `depth`, `b` has `depth` rows of a panel, `c` M rows of N vectors.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(s: S, p: Product) {
    let width = PANEL * S::LANES;
    let mut acc = [[s.splat(0.0); N]; M];
    for k in 0..p.depth {
        let mut b = [s.splat(0.0); N];
        for (j, b) in b.iter_mut().enumerate() {
            // SAFETY: row k of the panel.
            *b = unsafe { s.load(p.b.add(k * width + j * S::LANES)) };
        }
        for (i, acc) in acc.iter_mut().enumerate() {
            // SAFETY: element k of row i.
            let x = s.splat(unsafe { *p.a.add(i * p.a_row + k) });
            for (acc, b) in acc.iter_mut().zip(&b) {
                *acc = s.mul_add(x, *b, *acc);
            }
        }
    }
    for (i, acc) in acc.iter().enumerate() {
        for (j, v) in acc.iter().enumerate() {
            // SAFETY: vector j of row i.
            unsafe { s.store(p.c.add(i * p.c_row + j * S::LANES), *v) };
        }
    }
}

/// The product for any number of rows, in register tiles.
///
/// # Safety
/// That of [`tile`] with `rows` for M.
#[inline(always)]
unsafe fn product<S: Simd, const N: usize>(s: S, mut p: Product, mut rows: usize) {
    macro_rules! tiles {
        ($m:literal) => {
            while rows >= $m {
                // SAFETY: at least that many rows are left.
                unsafe {
                    tile::<S, $m, N>(s, p);
                    p.a = p.a.add($m * p.a_row);
                    p.c = p.c.add($m * p.c_row);
                }
                rows -= $m;
            }
        };
    }
    if tile_rows(S::LANES) >= 12 {
        tiles!(12);
        tiles!(8);
    }
    if tile_rows(S::LANES) >= 6 {
        tiles!(6);
    }
    tiles!(4);
    tiles!(2);
    tiles!(1);
}

struct Block<'a> {
    a: &'a Exact,
    m: Memory,
    batch: usize,
    head: usize,
    keys: *const f32,
    values: *const f32,
    queries: *mut f32,
    scores: *mut f32,
    tile: *mut f32,
    /// Floats of a row of scores.
    row: usize,
}

impl Block<'_> {
    /// Queries `first..first + n`.
    ///
    /// # Safety
    /// That of [`one_head`]; the scratch parts have room for n rows.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, s: S, first: usize, n: usize) {
        let a = self.a;
        let width = PANEL * S::LANES;
        // Keys that the last of these queries sees.
        let keys = a.seen(first + n - 1);
        // SAFETY: queries of the shape; n rows of d floats.
        unsafe {
            for i in 0..n {
                let q = self.m.q.offset(a.q.at(self.batch, self.head, first + i));
                for c in 0..a.d {
                    *self.queries.add(i * a.d + c) = *q.offset(a.q.inner * c as isize);
                }
            }
        }
        for panel in 0..keys.div_ceil(width) {
            // SAFETY: a panel of the packed keys; n rows of scores, `row` is whole panels.
            unsafe {
                let p = Product {
                    a: self.queries,
                    a_row: a.d,
                    b: self.keys.add(panel * a.d * width),
                    depth: a.d,
                    c: self.scores.add(panel * width),
                    c_row: self.row,
                };
                if keys - panel * width <= S::LANES { product::<S, 1>(s, p, n) } else { product::<S, 2>(s, p, n) }
            }
        }
        let mut sums = [0.0f32; MOST_ROWS];
        for (i, sum) in sums.iter_mut().enumerate().take(n) {
            let len = a.seen(first + i);
            // SAFETY: row i of the scores.
            unsafe {
                let scores = self.scores.add(i * self.row);
                let scale = self.masked(s, scores, first + i, len);
                let max = max_row(s, scores, len, scale);
                *sum = exp_row(s, scores, scores, len, scale, max);
                for j in len..keys {
                    *scores.add(j) = 0.0;
                }
            }
        }
        for panel in 0..a.d_v.div_ceil(width) {
            let rest = a.d_v - panel * width;
            // SAFETY: a panel of the packed values; n rows of the tile.
            unsafe {
                let p = Product {
                    a: self.scores,
                    a_row: self.row,
                    b: self.values.add(panel * a.seq_k * width),
                    depth: keys,
                    c: self.tile,
                    c_row: width,
                };
                if rest <= S::LANES {
                    product::<S, 1>(s, p, n)
                } else {
                    product::<S, 2>(s, p, n)
                }
                for (i, sum) in sums.iter().enumerate().take(n) {
                    let to = a.out.at(self.batch, self.head, first + i) + a.out.inner * (panel * width) as isize;
                    self.write(s, i, self.m.out.offset(to), rest.min(width), *sum);
                }
            }
        }
    }

    /// Offset of the mask's row for a query.
    #[inline(always)]
    fn mask_row(&self, strides: [isize; 4], query: usize) -> isize {
        self.batch as isize * strides[0] + self.head as isize * strides[1] + query as isize * strides[2]
    }

    /// Applies the mask to a row of `n` scores and returns the scale that is still due.
    ///
    /// # Safety
    /// The row has n scores; the mask is as [`Exact::run`] promises.
    #[inline(always)]
    unsafe fn masked<S: Simd>(&self, s: S, scores: *mut f32, query: usize, n: usize) -> S::F {
        let a = self.a;
        match a.mask {
            Mask::None => return s.splat(a.scale),
            Mask::Additive { strides } => {
                // SAFETY: the caller's promise.
                unsafe {
                    let mask = self.m.mask.cast::<f32>().offset(self.mask_row(strides, query));
                    if strides[3] == 1 {
                        let scale = s.splat(a.scale);
                        let mut j = 0;
                        while j < n {
                            let x = s.load_upto(scores.add(j), n - j);
                            let y = s.mul_add(x, scale, s.load_upto(mask.add(j), n - j));
                            s.store_upto(scores.add(j), y, n - j);
                            j += S::LANES;
                        }
                    } else {
                        for j in 0..n {
                            let y = s.mul_add(
                                s.splat(*scores.add(j)),
                                s.splat(a.scale),
                                s.splat(mask.offset(strides[3] * j as isize).read_unaligned()),
                            );
                            s.store_partial(scores.add(j), y, 1);
                        }
                    }
                }
            }
            Mask::Bool { strides, hides, fill } => {
                // SAFETY: the caller's promise.
                unsafe {
                    let mask = self.m.mask.offset(self.mask_row(strides, query));
                    for j in 0..n {
                        let hidden = (*mask.offset(strides[3] * j as isize) != 0) == hides;
                        let y = *scores.add(j) * a.scale;
                        *scores.add(j) = if hidden { fill } else { y };
                    }
                }
            }
        }
        s.splat(1.0)
    }

    /// Writes row `i` of the tile, `n` components over `sum`, to `to`.
    ///
    /// # Safety
    /// The tile has the row; `to` is valid for n components at the output's inner stride.
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, s: S, i: usize, to: *mut f32, n: usize, sum: f32) {
        let factor = s.splat(1.0 / sum);
        // SAFETY: the caller's promise.
        unsafe {
            let from = self.tile.add(i * PANEL * S::LANES);
            if self.a.out.inner == 1 {
                let mut c = 0;
                while c < n {
                    s.store_upto(to.add(c), s.mul(s.load(from.add(c)), factor), n - c);
                    c += S::LANES;
                }
            } else {
                for c in 0..n {
                    *to.offset(self.a.out.inner * c as isize) = *from.add(c) * (1.0 / sum);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
