//! Attention in which a table's scores choose the keys that are scored exactly.
//!
//! For each query the table's scores of all keys are summed up from lookups; from a sample of them follows how far below
//! the greatest score keys still matter, those above that and the first and the last few are chosen, and are scored
//! in f32. The others are dropped, so that neither their exponentials nor their values are looked at, or contribute
//! through their table scores.

use super::choose::{choose, counted, greatest};
use super::codebook::{Codebook, KeyCodes, QUERIES, stand_for};
use super::dense::{pack_values, write};
use super::gather::{Vectors, dots, gather, weigh};
use super::mask::{Row, masked, masked_one};
use super::{Attention, Mask, Operands, Task, Tasks};
use super::{Refine, Rest};
use crate::rows::{exp_row, max_row};
use crate::scan::{BLOCK, Units};
use crate::simd::{ByteKernel, ByteSimd};
use crate::strided::{MOST_LANES, Rows};
use crate::tile::{F32, PANEL, Product, product};

/// Queries that are scanned together.
const TOGETHER: usize = 4;

/// Which keys of a query are scored exactly.
#[derive(Clone, Copy)]
pub(super) enum Choice<'a> {
    /// All: for few queries, the faster way, as keys and values are not packed.
    All,
    /// Those that a table chooses.
    Table {
        /// The table.
        book: &'a Codebook,
        /// How it chooses.
        refine: Refine,
        /// The codes of the keys, if they are there already.
        codes: Option<&'a KeyCodes>,
    },
}

impl Choice<'_> {
    fn rest(&self) -> Rest {
        match self {
            Self::All => Rest::Dropped,
            Self::Table { refine, .. } => refine.rest,
        }
    }
}

/// Bytes of each part of a task's scratch memory, whole cache lines.
#[derive(Clone, Copy)]
pub(super) struct Room {
    codes: usize,
    scratch: usize,
    rows: usize,
    units: usize,
    sums: usize,
    chosen: usize,
    weights: usize,
    query: usize,
    keys: usize,
    values: usize,
    out: usize,
    /// Sums of a query.
    sums_row: usize,
    /// Weights of a query.
    weights_row: usize,
}

impl Room {
    pub fn new(a: &Attention, lanes: usize, choice: &Choice<'_>) -> Self {
        let lines = |bytes: usize| bytes.next_multiple_of(64);
        let floats = |n: usize| lines(n * size_of::<f32>());
        // Rows a power of two apart would share few sets of the cache.
        let sums_row = a.seq_k.next_multiple_of(BLOCK) + BLOCK / 2;
        let weights_row = a.seq_k.next_multiple_of(BLOCK) + 16;
        let panel = PANEL * lanes;
        let table = |bytes: &dyn Fn(&Codebook, Option<&KeyCodes>) -> usize| match choice {
            Choice::All => 0,
            Choice::Table { book, codes, .. } => bytes(book, *codes),
        };
        let scored = choice.rest() == Rest::Scored;
        let values = match (scored, a.v.inner == 1) {
            (true, _) => floats(a.d_v.next_multiple_of(panel) * a.seq_k),
            (false, true) => 0,
            (false, false) => floats(a.d_v * a.seq_k),
        };
        Self {
            codes: lines(table(&|book, codes| if codes.is_some() { 0 } else { book.code_bytes(a.seq_k) })),
            scratch: lines(table(&|book, _| book.scratch_bytes(MOST_LANES))),
            rows: lines(table(&|book, _| book.rows_bytes())),
            units: lines(table(&|_, _| QUERIES * size_of::<Units>())),
            sums: lines(table(&|_, _| TOGETHER * sums_row * size_of::<u16>())),
            chosen: lines(a.seq_k * size_of::<u32>()),
            weights: floats(if scored { TOGETHER } else { 1 } * weights_row),
            query: floats(a.d.next_multiple_of(MOST_LANES)),
            keys: if a.k.inner == 1 { 0 } else { floats(a.d * a.seq_k) },
            values,
            out: floats(TOGETHER * a.d_v.next_multiple_of(panel.max(MOST_LANES))),
            sums_row,
            weights_row,
        }
    }

    /// Bytes of what is made of a head's keys and values.
    pub fn prepared(&self) -> usize {
        self.codes + self.keys + self.values
    }

    /// Bytes of the rest.
    pub fn task(&self) -> usize {
        let lists = self.chosen + self.weights + self.query + self.out;
        self.scratch + self.rows + self.units + self.sums + lists
    }
}

/// Some tasks of a refined attention.
pub(super) struct Refined<'a> {
    pub shape: &'a Attention,
    pub operands: Operands,
    pub choice: Choice<'a>,
    pub room: Room,
    pub tasks: Tasks,
}

/// The scratch memory of a head, and its keys and values.
#[derive(Clone, Copy)]
struct Head {
    batch: usize,
    head: usize,
    codes: *const u8,
    scratch: *mut f32,
    rows: *mut u8,
    units: *mut Units,
    sums: *mut u16,
    chosen: *mut u32,
    weights: *mut f32,
    query: *mut f32,
    out: *mut f32,
    keys: Vectors,
    values: Vectors,
    /// Values in panels, where what is not chosen is scored.
    panels: *mut f32,
}

impl ByteKernel for Refined<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) {
        for task in self.tasks.each(self.shape) {
            // SAFETY: a head and queries of the shape, and the room its tasks were given, in which keys and values are
            // prepared if the task does not do it; the rest was promised to `run`.
            unsafe { self.one_head(s, task) }
        }
    }
}

impl Refined<'_> {
    /// # Safety
    /// That of [`Attention::run`]; the task is within the shape, the memory has the `room`, and keys and values that the
    /// task does not prepare are prepared.
    #[inline(always)]
    unsafe fn one_head<S: ByteSimd>(&self, s: S, task: Task) {
        let (a, m, room) = (self.shape, self.operands, self.room);
        let Task { batch, head, kv, from, to, prepared, .. } = task;
        // SAFETY: the parts lie within the memory; operands are as promised.
        unsafe {
            let (k, v) = (m.k.offset(a.k.at(batch, kv, 0)), m.v.offset(a.v.at(batch, kv, 0)));
            let (keys, values) = (prepared.add(room.codes).cast(), prepared.add(room.codes + room.keys).cast());
            let mut next = self.tasks.memory;
            let mut take = |bytes: usize| {
                let part = next;
                next = next.add(bytes);
                part
            };
            let mut h = Head {
                batch,
                head,
                codes: prepared,
                scratch: take(room.scratch).cast(),
                rows: take(room.rows),
                units: take(room.units).cast(),
                sums: take(room.sums).cast(),
                chosen: take(room.chosen).cast(),
                weights: take(room.weights).cast(),
                query: take(room.query).cast(),
                out: take(room.out).cast(),
                keys: Vectors { x: k, row: a.k.seq },
                values: Vectors { x: v, row: a.v.seq },
                panels: values,
            };
            if a.k.inner != 1 {
                h.keys = Vectors { x: keys, row: a.d as isize };
                if task.keys {
                    gather(k, [a.k.seq, a.k.inner], a.seq_k, a.d, keys);
                }
            }
            if self.choice.rest() == Rest::Scored {
                if task.values {
                    pack_values(s, a, v, values, PANEL * S::LANES);
                }
            } else if a.v.inner != 1 {
                h.values = Vectors { x: values, row: a.d_v as isize };
                if task.values {
                    gather(v, [a.v.seq, a.v.inner], a.seq_k, a.d_v, values);
                }
            }
            let Choice::Table { book, refine, codes } = self.choice else {
                for query in from..to {
                    self.all(s, h, Row { batch, head, query, key: 0, n: a.seen(query) });
                }
                return;
            };
            if let Some(codes) = codes {
                h.codes = codes.head(batch * a.kv_heads + kv);
            } else if task.keys {
                let keys = Rows { x: k, row: a.k.seq, inner: a.k.inner, d: a.d, mean: std::ptr::null() };
                book.encode(s, keys, a.seq_k, prepared, h.scratch);
            }
            for first in (from..to).step_by(QUERIES) {
                let n = QUERIES.min(to - first);
                let q = m.q.offset(a.q.at(batch, head, first));
                let queries = Rows { x: q, row: a.q.seq, inner: a.q.inner, d: a.d, mean: std::ptr::null() };
                book.rows(s, queries, n, h.rows, h.units, h.scratch);
                for i in (0..n).step_by(TOGETHER) {
                    self.some(s, h, book, &refine, first, i, TOGETHER.min(n - i));
                }
            }
        }
    }

    /// Writes the output of a query from all keys it sees.
    ///
    /// # Safety
    /// That of [`Refined::one_head`]; the row is of this query and all keys it sees.
    #[inline(always)]
    unsafe fn all<S: ByteSimd>(&self, s: S, h: Head, row: Row) {
        let (a, m) = (self.shape, self.operands);
        // SAFETY: the parts have room for all keys.
        unsafe {
            for j in 0..row.n {
                *h.chosen.add(j) = j as u32;
            }
            self.query(h, row.query);
            dots(s, h.query, h.keys, a.d, h.chosen, row.n, h.weights);
            let due = masked(s, a, m, row, h.weights);
            self.finish(s, h, row, row.n, due);
        }
    }

    /// Writes the output of a query from `n` chosen keys and their scores, of which the scale `due` is to come.
    ///
    /// # Safety
    /// That of [`Refined::all`]; chosen keys and as many scores are there.
    #[inline(always)]
    unsafe fn finish<S: ByteSimd>(&self, s: S, h: Head, row: Row, n: usize, due: S::F) {
        let a = self.shape;
        // SAFETY: the caller's promise.
        unsafe {
            let max = max_row(s, h.weights, n, due);
            let total = exp_row(s, h.weights, h.weights, n, due, if max == f32::NEG_INFINITY { 0.0 } else { max });
            weigh(s, h.values, a.d_v, h.chosen, n, h.weights, h.out);
            write(s, a, self.operands, row, h.out, total);
        }
    }

    /// Queries `first + i..first + i + n`.
    ///
    /// # Safety
    /// That of [`Refined::one_head`]; rows were made from query `first` on.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn some<S: ByteSimd>(
        &self,
        s: S,
        h: Head,
        book: &Codebook,
        refine: &Refine,
        first: usize,
        i: usize,
        n: usize,
    ) {
        let (a, room) = (self.shape, self.room);
        // Of all these queries, the last sees most.
        let keys = a.seen(first + i + n - 1);
        let mut most = [0; TOGETHER];
        let mut totals = [0.0f32; TOGETHER];
        // SAFETY: rows and sums of n queries, keys of the shape.
        unsafe {
            let row = |r: usize| book.row(h.rows, i + r);
            let to = |r: usize| h.sums.add(r * room.sums_row);
            if n == TOGETHER {
                most = book.scan(s, [0, 1, 2, 3].map(row), h.codes, keys, [0, 1, 2, 3].map(to));
            } else {
                for (r, most) in most.iter_mut().enumerate().take(n) {
                    [*most] = book.scan(s, [row(r)], h.codes, keys, [to(r)]);
                }
            }
            for (r, total) in totals.iter_mut().enumerate().take(n) {
                let (query, seen) = (first + i + r, a.seen(first + i + r));
                let most = if seen == keys { most[r] } else { greatest(s, to(r), seen) };
                let sums = Sums { x: to(r), units: *h.units.add(i + r), most };
                let row = Row { batch: h.batch, head: h.head, query, key: 0, n: seen };
                match refine.rest {
                    Rest::Dropped => self.dropped(s, h, refine, row, sums),
                    Rest::Scored => *total = self.scored(s, h, book, refine, row, sums, r, keys),
                }
            }
            if refine.rest == Rest::Scored {
                self.weighted(s, h, first + i, n, keys, totals);
            }
        }
    }

    /// Writes the output of a query from the keys that are chosen.
    ///
    /// # Safety
    /// That of [`Refined::some`]; the row is of this query and all keys it sees.
    #[inline(always)]
    unsafe fn dropped<S: ByteSimd>(&self, s: S, h: Head, refine: &Refine, row: Row, sums: Sums) {
        let (a, m) = (self.shape, self.operands);
        // SAFETY: the parts have room for all keys; those chosen are among them.
        unsafe {
            let mut step = sums.units.step * a.scale;
            let mut most = sums.most;
            if a.mask != Mask::None {
                stand_for(s, sums.x, row.n, sums.units, h.weights);
                let due = masked(s, a, m, row, h.weights);
                (most, step) = counted(s, h.weights, row.n, due, sums.x);
            }
            let n = choose(s, refine, sums.x, row.n, most, step, h.chosen);
            self.query(h, row.query);
            dots(s, h.query, h.keys, a.d, h.chosen, n, h.weights);
            let mut due = s.splat(a.scale);
            if a.mask != Mask::None {
                for i in 0..n {
                    let row = Row { key: *h.chosen.add(i) as usize, ..row };
                    *h.weights.add(i) = masked_one(a, m, row, *h.weights.add(i));
                }
                due = s.splat(1.0);
            }
            self.finish(s, h, row, n, due);
        }
    }

    /// Makes the weights of a query, row `r` of them, with all of `keys`, and returns their sum.
    ///
    /// # Safety
    /// That of [`Refined::dropped`].
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn scored<S: ByteSimd>(
        &self,
        s: S,
        h: Head,
        book: &Codebook,
        refine: &Refine,
        row: Row,
        sums: Sums,
        r: usize,
        keys: usize,
    ) -> f32 {
        let (a, m) = (self.shape, self.operands);
        // SAFETY: the parts have room for all keys; those chosen are among them.
        unsafe {
            let weights = h.weights.add(r * self.room.weights_row);
            let mut step = sums.units.step * a.scale;
            let mut most = sums.most;
            stand_for(s, sums.x, row.n, sums.units, weights);
            let due = masked(s, a, m, row, weights);
            if a.mask != Mask::None {
                (most, step) = counted(s, weights, row.n, due, sums.x);
            }
            let n = choose(s, refine, sums.x, row.n, most, step, h.chosen);
            self.query(h, row.query);
            // Table scores are less the product with the mean key.
            let less = book.offset(h.query);
            let exact = sums.x.cast::<f32>();
            for first in (0..n).step_by(EXACT_TOGETHER) {
                let some = EXACT_TOGETHER.min(n - first);
                // Sums are used up: their memory holds some exact scores.
                dots(s, h.query, h.keys, a.d, h.chosen.add(first), some, exact);
                for i in 0..some {
                    let key = *h.chosen.add(first + i) as usize;
                    let score = *exact.add(i) - less;
                    let masked = a.mask != Mask::None;
                    *weights.add(key) = if masked { masked_one(a, m, Row { key, ..row }, score) } else { score };
                }
            }
            let max = max_row(s, weights, row.n, due);
            let less = if max == f32::NEG_INFINITY { 0.0 } else { max };
            let total = exp_row(s, weights, weights, row.n, due, less);
            for j in row.n..keys {
                *weights.add(j) = 0.0;
            }
            total
        }
    }

    /// Copies a query to where its components lie side by side.
    ///
    /// # Safety
    /// That of [`Refined::dropped`].
    #[inline(always)]
    unsafe fn query(&self, h: Head, query: usize) {
        let a = self.shape;
        // SAFETY: a query of the shape, and room for its components.
        unsafe {
            let q = self.operands.q.offset(a.q.at(h.batch, h.head, query));
            for c in 0..a.d {
                *h.query.add(c) = *q.offset(a.q.inner * c as isize);
            }
        }
    }

    /// Writes the outputs of `n` queries from `first` on, whose weights with `keys` there are.
    ///
    /// # Safety
    /// That of [`Refined::some`].
    #[inline(always)]
    unsafe fn weighted<S: ByteSimd>(
        &self,
        s: S,
        h: Head,
        first: usize,
        n: usize,
        keys: usize,
        totals: [f32; TOGETHER],
    ) {
        let a = self.shape;
        let width = PANEL * S::LANES;
        let out_row = a.d_v.next_multiple_of(width);
        // SAFETY: panels of the packed values, rows of weights and of outputs.
        unsafe {
            for panel in 0..a.d_v.div_ceil(width) {
                let values = h.panels.add(panel * a.seq_k * width);
                let to = (h.out.add(panel * width), out_row);
                let p = Product::new((h.weights, self.room.weights_row), values, keys, to);
                product::<S, F32, PANEL>(s, p, n);
            }
            for (r, total) in totals.iter().enumerate().take(n) {
                let query = first + r;
                let row = Row { batch: h.batch, head: h.head, query, key: 0, n: a.seen(query) };
                write(s, a, self.operands, row, h.out.add(r * out_row), *total);
            }
        }
    }
}

/// The sums of a query's lookups.
#[derive(Clone, Copy)]
struct Sums {
    x: *mut u16,
    units: Units,
    /// The greatest of those that count.
    most: u16,
}

/// Exact scores that are computed together where they do not stay together; they fit in the place of a block's sums.
const EXACT_TOGETHER: usize = BLOCK / 2;
