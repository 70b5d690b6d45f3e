//! Attention over every key, block by block, whatever the scores come from.

use super::mask::{Row, is_hidden, masked};
use super::{Attention, Operands, Task, Tasks};
use crate::math;
use crate::rows::{exp_row, max_row};
use crate::simd::Simd;
use crate::tile::{F32, PANEL, Product, product};

/// Keys of a block: with their values they stay in the L2 cache, and the scores of a tile of queries in the L1.
pub(super) const KEY_BLOCK: usize = 512;
/// Rows of scores have room for whole multiples of it: panels, and blocks of codes.
const ROW_GRAIN: usize = 64;
/// Most queries that are taken together.
pub(super) const MOST_ROWS: usize = 24;
/// Tiles of queries that go through a block of keys before the next is read.
const GROUP_TILES: usize = 16;

/// Queries of a register tile of scores, for vectors of `lanes`.
const fn tile_queries(lanes: usize) -> usize {
    match lanes {
        16 => 11,
        8 => 6,
        _ => 4,
    }
}

/// Operands that scores from one source need.
pub(super) trait Needs {
    /// Bytes of the prepared keys of a head, for vectors of `lanes`.
    fn key_bytes(&self, a: &Attention, lanes: usize) -> usize;
    /// Bytes of `n` prepared queries.
    fn query_bytes(&self, a: &Attention, n: usize) -> usize;
}

/// Scores of some queries with a block of keys.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// The result of [`Scorer::queries`] for a group of queries.
    pub queries: *const u8,
    /// How many those are.
    pub group: usize,
    /// The first of the queries, within the group, and how many.
    pub first: usize,
    pub n: usize,
    /// The result of [`Scorer::keys`] for the head's keys.
    pub keys: *const u8,
    /// The first of the keys, a multiple of [`KEY_BLOCK`], and how many.
    pub from: usize,
    pub len: usize,
    /// Rows of `row` floats, whole panels.
    pub out: *mut f32,
    pub row: usize,
}

/// Where unscaled scores come from.
pub(super) trait Scorer<S: Simd>: Needs + Copy {
    /// Prepares the keys of a head.
    ///
    /// # Safety
    /// `k` is one head as [`Attention::run`] promises; `to` has [`Needs::key_bytes`], at a multiple of 64.
    unsafe fn keys(&self, s: S, a: &Attention, k: *const f32, to: *mut u8);

    /// Prepares a group of `n` queries.
    ///
    /// # Safety
    /// `q` is the first of n queries as [`Attention::run`] promises; `to` has [`Needs::query_bytes`] for them, at a
    /// multiple of 64.
    unsafe fn queries(&self, s: S, a: &Attention, q: *const f32, n: usize, to: *mut u8);

    /// Writes scores. Behind the last key up to the end of its panel they may be anything.
    ///
    /// # Safety
    /// Queries and keys are prepared and within what was prepared; `out` has n rows of whole panels.
    unsafe fn scores(&self, s: S, a: &Attention, block: Block);
}

/// Bytes of each part of a task's scratch memory, whole cache lines, and how queries are grouped.
#[derive(Clone, Copy)]
pub(super) struct Room {
    keys: usize,
    values: usize,
    queries: usize,
    scores: usize,
    tile: usize,
    acc: usize,
    state: usize,
    /// Floats of a row of scores.
    row: usize,
    /// Floats of an output row so far.
    width: usize,
    /// Queries to take together.
    rows: usize,
    /// Queries to take through a block of keys before the next.
    group: usize,
}

impl Room {
    pub fn new(a: &Attention, lanes: usize, needs: &impl Needs) -> Self {
        let panel = PANEL * lanes;
        // Rows a power of two apart would share few sets of the cache.
        let row = a.seq_k.min(KEY_BLOCK).next_multiple_of(ROW_GRAIN) + 16;
        // The scores of the queries taken together should stay in the L1 cache.
        let tile = tile_queries(lanes);
        let rows = if 2 * tile * row <= 8192 { 2 * tile } else { tile };
        let group = if a.seq_k <= KEY_BLOCK { rows } else { GROUP_TILES * rows }.min(a.seq_q.next_multiple_of(rows));
        let width = a.d_v.next_multiple_of(panel);
        let lines = |bytes: usize| bytes.next_multiple_of(64);
        let floats = |n: usize| lines(n * size_of::<f32>());
        Self {
            keys: lines(needs.key_bytes(a, lanes)),
            values: floats(width * a.seq_k),
            queries: lines(needs.query_bytes(a, group)),
            scores: floats(rows * row),
            tile: floats(rows * panel),
            acc: floats(group * width),
            state: floats(2 * group),
            row,
            width,
            rows,
            group,
        }
    }

    /// Bytes of a head's prepared keys and values.
    pub fn prepared(&self) -> usize {
        self.keys + self.values
    }

    /// Bytes of the rest.
    pub fn task(&self) -> usize {
        self.queries + self.scores + self.tile + self.acc + self.state
    }
}

/// Some tasks of an attention with scores from one source.
pub(super) struct Dense<'a, K> {
    pub shape: &'a Attention,
    pub operands: Operands,
    pub scorer: K,
    pub room: Room,
    pub tasks: Tasks,
}

/// The scratch memory of a head, and what is the same for all its queries.
#[derive(Clone, Copy)]
struct Head {
    batch: usize,
    head: usize,
    keys: *mut u8,
    values: *mut f32,
    queries: *mut u8,
    scores: *mut f32,
    tile: *mut f32,
    /// Output rows so far, not yet divided by their sums.
    acc: *mut f32,
    /// Greatest scaled score so far, a number a query.
    max: *mut f32,
    /// Sum of exponentials so far, less that maximum, a number a query.
    sum: *mut f32,
}

/// Queries that are taken together: `i..i + n` of the group from query `first` on.
#[derive(Clone, Copy)]
struct Rows {
    first: usize,
    group: usize,
    i: usize,
    n: usize,
}

impl<K> Dense<'_, K> {
    /// Runs every task of the range.
    #[inline(always)]
    pub fn each_task<S: Simd>(&self, s: S)
    where
        K: Scorer<S>,
    {
        for task in self.tasks.each(self.shape) {
            // SAFETY: a head and queries of the shape, and the room its tasks were given, in which keys and values are
            // prepared if the task does not do it; the rest was promised to `run`.
            unsafe { self.one_head(s, task) }
        }
    }

    /// # Safety
    /// That of [`Attention::run`]; the task is within the shape, the memory has the `room`, and keys and values that the
    /// task does not prepare are prepared.
    #[inline(always)]
    unsafe fn one_head<S: Simd>(&self, s: S, task: Task)
    where
        K: Scorer<S>,
    {
        let (a, m, room) = (self.shape, self.operands, self.room);
        let Task { batch, head, kv, from, to, prepared, .. } = task;
        // SAFETY: the parts lie within the scratch memory; operands are as promised.
        unsafe {
            let queries = self.tasks.memory;
            let scores = queries.add(room.queries);
            let tile = scores.add(room.scores);
            let acc = tile.add(room.tile);
            let max = acc.add(room.acc).cast::<f32>();
            let h = Head {
                batch,
                head,
                keys: prepared,
                values: prepared.add(room.keys).cast(),
                queries,
                scores: scores.cast(),
                tile: tile.cast(),
                acc: acc.cast(),
                max,
                sum: max.add(room.group),
            };
            if task.keys {
                self.scorer.keys(s, a, m.k.offset(a.k.at(batch, kv, 0)), h.keys);
            }
            if task.values {
                pack_values(s, a, m.v.offset(a.v.at(batch, kv, 0)), h.values, PANEL * S::LANES);
            }
            let mut first = from;
            while first < to {
                let n = room.group.min(to - first);
                self.group(s, h, first, n);
                first += n;
            }
        }
    }

    /// Queries `first..first + n`, block by block.
    ///
    /// # Safety
    /// That of [`Dense::one_head`]; n is at most the group.
    #[inline(always)]
    unsafe fn group<S: Simd>(&self, s: S, h: Head, first: usize, n: usize)
    where
        K: Scorer<S>,
    {
        let (a, m, room) = (self.shape, self.operands, self.room);
        // SAFETY: n queries of the shape, which the scratch parts have room for.
        unsafe {
            self.scorer.queries(s, a, m.q.offset(a.q.at(h.batch, h.head, first)), n, h.queries);
            let keys = a.seen(first + n - 1);
            let mut from = 0;
            loop {
                let mut i = 0;
                while i < n {
                    let rows = room.rows.min(n - i);
                    let seen = a.seen(first + i + rows - 1).min(from + KEY_BLOCK);
                    // The first block of a query also starts its sums, even if it sees no key.
                    if seen > from || from == 0 {
                        self.block(s, h, Rows { first, group: n, i, n: rows }, from, seen - from);
                    }
                    i += rows;
                }
                from += KEY_BLOCK;
                if from >= keys {
                    break;
                }
            }
            for i in 0..n {
                let query = first + i;
                let row = Row { batch: h.batch, head: h.head, query, key: 0, n: a.seen(query) };
                write(s, a, m, row, h.acc.add(i * room.width), *h.sum.add(i));
            }
        }
    }

    /// Some queries with keys `from..from + len`.
    ///
    /// # Safety
    /// That of [`Dense::group`]; n is at most the rows taken together, `from` is a multiple of [`KEY_BLOCK`], and len
    /// at most that.
    #[inline(always)]
    unsafe fn block<S: Simd>(&self, s: S, h: Head, rows: Rows, from: usize, len: usize)
    where
        K: Scorer<S>,
    {
        let Rows { first, group, i, n } = rows;
        let (a, m, room) = (self.shape, self.operands, self.room);
        let width = PANEL * S::LANES;
        let mut factors = [1.0f32; MOST_ROWS];
        // SAFETY: the parts have room for the rows; keys are within the shape.
        unsafe {
            let block =
                Block { queries: h.queries, group, first: i, n, keys: h.keys, from, len, out: h.scores, row: room.row };
            self.scorer.scores(s, a, block);
            for (r, factor) in factors.iter_mut().enumerate().take(n) {
                let seen = a.seen(first + i + r).saturating_sub(from).min(len);
                let scores = h.scores.add(r * room.row);
                let row = Row { batch: h.batch, head: h.head, query: first + i + r, key: from, n: seen };
                let scale = masked(s, a, m, row, scores);
                let (max, sum) = (h.max.add(i + r), h.sum.add(i + r));
                let old = if from == 0 { f32::NEG_INFINITY } else { *max };
                let new = if seen == 0 { old } else { old.max(max_row(s, scores, seen, scale)) };
                // Less -inf, a hidden key would be NaN; less 0 it is 0.
                let less = if new == f32::NEG_INFINITY { 0.0 } else { new };
                let added = exp_row(s, scores, scores, seen, scale, less);
                for j in seen..len {
                    *scores.add(j) = 0.0;
                }
                *max = new;
                if from == 0 {
                    *sum = added;
                } else {
                    *factor = s.reduce_max(math::exp_not_positive(s, s.splat(old - less)));
                    *sum = *sum * *factor + added;
                }
            }
            for panel in 0..room.width / width {
                let acc = h.acc.add(i * room.width + panel * width);
                let values = h.values.add((panel * a.seq_k + from) * width);
                let to = if from == 0 { (acc, room.width) } else { (h.tile, width) };
                let mut p = Product::new((h.scores, room.row), values, len, to);
                if (panel + 1) * width < room.width {
                    (p.ahead, p.ahead_step) = (values.add(a.seq_k * width), width);
                }
                let vectors = if a.d_v - panel * width <= S::LANES { 1 } else { 2 };
                if vectors == 1 {
                    product::<S, F32, 1>(s, p, n)
                } else {
                    product::<S, F32, 2>(s, p, n)
                }
                if from == 0 {
                    continue;
                }
                for (r, factor) in factors.iter().enumerate().take(n) {
                    for v in 0..vectors {
                        let acc = acc.add(r * room.width + v * S::LANES);
                        let new = s.load(h.tile.add(r * width + v * S::LANES));
                        s.store(acc, s.mul_add(s.load(acc), s.splat(*factor), new));
                    }
                }
            }
        }
    }
}

/// Writes the output row of a query: `from` over `total`, the sum of its weights. The row is of all keys that it may see.
///
/// # Safety
/// `from` has `d_v` components, rounded up to whole vectors; the operands are as [`Attention::run`] promises.
#[inline(always)]
pub(super) unsafe fn write<S: Simd>(s: S, a: &Attention, m: Operands, row: Row, from: *const f32, total: f32) {
    let factor = 1.0 / total;
    // SAFETY: the caller's promise.
    unsafe {
        let to = m.out.offset(a.out.at(row.batch, row.head, row.query));
        // No weight at all, or NaN.
        let odd = total == 0.0 || total.is_nan();
        if a.zero_hidden && odd && (total == 0.0 || is_hidden(a, m, row)) {
            for c in 0..a.d_v {
                *to.offset(a.out.inner * c as isize) = 0.0;
            }
        } else if a.out.inner == 1 {
            for c in (0..a.d_v).step_by(S::LANES) {
                s.store_upto(to.add(c), s.mul(s.load(from.add(c)), s.splat(factor)), a.d_v - c);
            }
        } else {
            for c in 0..a.d_v {
                *to.offset(a.out.inner * c as isize) = *from.add(c) * factor;
            }
        }
    }
}

/// Values as panels: `[panel][key][component]`, zeros past the last component.
///
/// # Safety
/// `v` is one head as [`Attention::run`] promises; `to` has room for all panels.
#[inline(always)]
pub(super) unsafe fn pack_values<S: Simd>(s: S, a: &Attention, v: *const f32, to: *mut f32, width: usize) {
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
