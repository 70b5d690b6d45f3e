//! Multi-head attention: `softmax(scale * q k^T + mask) v`, f32.
//!
//! A task is one head and a range of queries. It prepares the keys, and packs
//! the values, once; heads that share them follow each other, and where there are more threads than heads, all parts
//! of a head share them. Then it takes a group of queries through the keys block
//! by block, so that a block is read from the cache by all of them: scores of a
//! few queries, their exponentials in place, the product with the block's
//! values. A query's greatest score so far, the sum of its exponentials and its
//! output so far are kept and corrected when a greater score comes; the
//! division by the sum is at the end, when there is one number per output
//! instead of one per score. Scores never take more room than a few queries
//! times a block.
//!
//! Where scores come from is a `Scorer`: `exact.rs` multiplies in f32, `int8.rs` in i8, `table.rs` looks up. Where a
//! table only chooses the keys that count, most keys are left out, and it is done query by query (`refined.rs`), as are
//! few queries with all keys.

mod choose;
mod codebook;
mod dense;
mod exact;
mod gather;
mod int8;
mod mask;
mod refined;
mod table;

use super::simd::{self, run_bytes};
use super::{ByteIsa, NoMemory, parallel, scratch};
use dense::{Dense, Room};
use refined::{Choice, Refined};
use std::sync::atomic::{AtomicUsize, Ordering};

pub use bgz_passes::scores::{BIN, BINS, Refine, Rest, SAMPLE};
pub use codebook::{Codebook, KeyCodes, Palette};

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

/// The effect of a mask on the scores; its strides, in elements of the mask, are
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

/// An attention of given shapes and layouts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
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
    /// True if key `j` is hidden from query `i` where `j > i + seq_k - seq_q`.
    pub causal: bool,
    /// True if a query that sees no key gives 0, rather than NaN.
    pub zero_hidden: bool,
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

/// Where scores come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scoring<'a> {
    /// Products in f32.
    Exact,
    /// Products of queries and keys coded in i8 with a scale a row; approximate.
    Int8,
    /// Lookups in a table for keys of this width; approximate.
    Table(&'a Codebook),
    /// Products in f32 for the keys that a table's scores choose; approximate.
    Refined(&'a Codebook, Refine),
    /// The same, with codes of all keys that were made before.
    Cached(&'a Codebook, Refine, &'a KeyCodes),
}

/// Up to so many queries keys and values are read where they lie.
const FEW_QUERIES: usize = 4;

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

impl Attention {
    /// Checks that the shapes are those of an attention.
    pub fn check(&self) -> Result<(), AttentionError> {
        if self.kv_heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            return Err(AttentionError::Heads { heads: self.heads, kv_heads: self.kv_heads });
        }
        let widths = self.d.checked_add(self.d_v).and_then(|w| w.checked_add(4096));
        let room = widths.and_then(|w| self.seq_k.checked_add(4096)?.checked_mul(w)).and_then(|n| n.checked_mul(16));
        if room.is_none_or(|n| isize::try_from(n).is_err()) || u32::try_from(self.seq_k).is_err() {
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
    /// at -inf, gives NaN, or 0 if [`Attention::zero_hidden`] says so. Allocates nothing once each thread has run a shape
    /// of this size. Every query gives the same bits whatever the cut into tasks.
    ///
    /// # Errors
    /// There is no memory to prepare keys and values in. The output is not all written then.
    ///
    /// # Safety
    /// - [`Attention::check`] returned `Ok`, and a table is for vectors of width [`Attention::d`].
    /// - The operands are valid as [`Operands`] says.
    /// - No other thread writes any of them meanwhile, or reads the output.
    pub unsafe fn run(&self, scoring: Scoring<'_>, operands: Operands) -> Result<(), NoMemory> {
        // SAFETY: the caller's promise.
        unsafe { self.run_on(ByteIsa::current(), scoring, operands) }
    }

    /// [`Attention::run`] on a given instruction set (the baseline if the host lacks it).
    ///
    /// # Errors
    /// Those of [`Attention::run`].
    ///
    /// # Safety
    /// That of [`Attention::run`].
    pub unsafe fn run_on(&self, isa: ByteIsa, scoring: Scoring<'_>, operands: Operands) -> Result<(), NoMemory> {
        match scoring {
            // Packing keys and values takes as long as some queries.
            Scoring::Exact if self.seq_q <= FEW_QUERIES => self.refined(isa, Choice::All, operands),
            Scoring::Exact => {
                let room = Room::new(self, isa.lanes(), &exact::Exact);
                self.tasks(room.prepared(), room.task(), |tasks| {
                    simd::run(isa.isa(), Dense { shape: self, operands, scorer: exact::Exact, room, tasks });
                })
            }
            Scoring::Int8 => {
                let room = Room::new(self, isa.lanes(), &int8::Int8);
                self.tasks(room.prepared(), room.task(), |tasks| {
                    run_bytes(isa, Dense { shape: self, operands, scorer: int8::Int8, room, tasks });
                })
            }
            Scoring::Table(book) => {
                let scorer = table::Table(book);
                let room = Room::new(self, isa.lanes(), &scorer);
                self.tasks(room.prepared(), room.task(), |tasks| {
                    run_bytes(isa, Dense { shape: self, operands, scorer, room, tasks });
                })
            }
            Scoring::Refined(book, refine) => self.refined(isa, Choice::Table { book, refine, codes: None }, operands),
            Scoring::Cached(book, refine, codes) => {
                let codes = Some(codes).filter(|c| c.fit(book, self.batch * self.kv_heads, self.seq_k));
                self.refined(isa, Choice::Table { book, refine, codes }, operands)
            }
        }
    }

    fn refined(&self, isa: ByteIsa, choice: Choice<'_>, operands: Operands) -> Result<(), NoMemory> {
        let room = refined::Room::new(self, isa.lanes(), &choice);
        self.tasks(room.prepared(), room.task(), |tasks| {
            run_bytes(isa, Refined { shape: self, operands, choice, room, tasks });
        })
    }

    /// Cuts the work into tasks and runs ranges of them. What is made of the keys and values of a head takes `prepared`
    /// bytes, what else a task needs takes `own`, whole cache lines.
    fn tasks(&self, prepared: usize, own: usize, run: impl Fn(Tasks) + Sync) -> Result<(), NoMemory> {
        let heads = self.batch * self.heads;
        if heads == 0 || self.seq_q == 0 || self.d_v == 0 {
            return Ok(());
        }
        // The bytes that a task could not get, of any that could not; 0 is none.
        let missing = AtomicUsize::new(0);
        let miss = |NoMemory { bytes }: NoMemory| missing.store(bytes, Ordering::Relaxed);
        let work = (heads * self.seq_q / 16).saturating_mul(self.seq_k).saturating_mul(self.d + self.d_v + 16);
        let pieces = parallel::pieces(work);
        // Heads are cut only where there are too few of them.
        let cuts = if pieces <= heads { 1 } else { pieces.div_ceil(heads).min(self.seq_q.div_ceil(dense::MOST_ROWS)) };
        let kv_heads = self.batch * self.kv_heads;
        let tasks = |stage, shared: Shared, memory: *mut u8, range: (usize, usize)| {
            let (start, end) = range;
            Tasks { stage, start, end, cuts, per_cut: self.seq_q.div_ceil(cuts), shared, memory }
        };
        // Scratch memory is taken out here: a closure within the kernel would not be compiled for its instruction set.
        match kv_heads.checked_mul(prepared) {
            // Else every part of a head would prepare the same keys and values for itself.
            Some(bytes) if cuts > 1 && bytes > 0 => scratch::shared(bytes, |memory| {
                let shared = Shared { memory, head: prepared };
                for (stage, n) in [(Stage::Prepare, 2 * kv_heads), (Stage::Prepared, heads * cuts)] {
                    // Keys and values that were not prepared must not be read.
                    if missing.load(Ordering::Relaxed) == 0 {
                        parallel::split(0, n, pieces, &|start, end| {
                            scratch::try_with(own, |memory| run(tasks(stage, shared, memory, (start, end))))
                                .unwrap_or_else(miss);
                        });
                    }
                }
            })
            .unwrap_or_else(miss),
            _ => parallel::split(0, heads * cuts, pieces, &|start, end| {
                let both = |memory: *mut u8| {
                    let shared = Shared { memory, head: 0 };
                    run(tasks(Stage::Both, shared, memory.wrapping_add(prepared), (start, end)));
                };
                scratch::try_with(prepared + own, both).unwrap_or_else(miss);
            }),
        }
        match missing.into_inner() {
            0 => Ok(()),
            bytes => Err(NoMemory { bytes }),
        }
    }
}

/// Memory for what is made of the keys and values of each head.
#[derive(Clone, Copy)]
struct Shared {
    memory: *mut u8,
    /// Bytes from one head to the next; 0 if one takes the place of another.
    head: usize,
}

// SAFETY: threads write disjoint parts, and read what was written before they were started.
unsafe impl Sync for Shared {}

/// The work of a task.
#[derive(Clone, Copy)]
enum Stage {
    /// Keys or values of a head are prepared, for all who need them.
    Prepare,
    /// Queries of a head meet its keys and values.
    Prepared,
    /// Both, the keys and values for the task itself.
    Both,
}

/// A range of tasks and the memory for one after the other.
#[derive(Clone, Copy)]
struct Tasks {
    stage: Stage,
    start: usize,
    end: usize,
    /// Parts that the queries of a head are cut into, and how long they are.
    cuts: usize,
    per_cut: usize,
    shared: Shared,
    memory: *mut u8,
}

impl Tasks {
    #[inline(always)]
    fn each(self, a: &Attention) -> impl Iterator<Item = Task> {
        let group = a.heads / a.kv_heads;
        let mut before = None;
        (self.start..self.end).filter_map(move |i| {
            let at =
                |batch: usize, kv: usize| self.shared.memory.wrapping_add((batch * a.kv_heads + kv) * self.shared.head);
            if let Stage::Prepare = self.stage {
                let (of, values) = (i / 2, i % 2 == 1);
                let (batch, kv) = (of / a.kv_heads, of % a.kv_heads);
                let prepared = at(batch, kv);
                return Some(Task { batch, head: kv * group, kv, from: 0, to: 0, keys: !values, values, prepared });
            }
            let (head, cut) = (i / self.cuts, i % self.cuts);
            let (batch, head) = (head / a.heads, head % a.heads);
            let kv = head / group;
            let from = cut * self.per_cut;
            let to = (from + self.per_cut).min(a.seq_q);
            (from < to).then(|| {
                // Those of the task before are still there.
                let new = before.replace((batch, kv)) != Some((batch, kv)) && matches!(self.stage, Stage::Both);
                Task { batch, head, kv, from, to, keys: new, values: new, prepared: at(batch, kv) }
            })
        })
    }
}

/// Some queries of a head, and what is to be done before they meet its keys and values.
#[derive(Clone, Copy)]
struct Task {
    batch: usize,
    head: usize,
    /// The head of its keys and values.
    kv: usize,
    from: usize,
    to: usize,
    /// True if the keys are to be prepared, and true if the values are.
    keys: bool,
    values: bool,
    /// Memory for what is made of them.
    prepared: *mut u8,
}

/// The memory an attention works on. Each pointer is to the element of index 0, and every element that the layout of
/// the operand reaches is valid.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Queries, for reading.
    pub q: *const f32,
    /// Keys, for reading.
    pub k: *const f32,
    /// Values, for reading.
    pub v: *const f32,
    /// The mask, f32 or bytes, for reading; not used for [`Mask::None`].
    pub mask: *const u8,
    /// The output, for writing. It overlaps no other operand, and no two of its elements coincide.
    pub out: *mut f32,
}

// SAFETY: the caller of `run` promises that inputs may be read and the output
// written from any thread; tasks write disjoint parts.
unsafe impl Sync for Operands {}
// SAFETY: as above.
unsafe impl Send for Operands {}

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
