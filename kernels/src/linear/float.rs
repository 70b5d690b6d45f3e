//! In f32, or with weights and rows rounded to bf16.
//!
//! Each result is one sum of f32, from the bias on, over the depth in order: its bits depend neither on the other rows nor
//! on the number of threads. Of bf16 it has the bits of f32 products of the rounded numbers, but where a CPU multiplies bf16 itself,
//! which may add the two of a lane in another order and take subnormal numbers for zero.
//!
//! Weights may stay in their blocks of a few bits: then a panel becomes f32 a part of its depth at a time, in memory of the thread
//! that stays in the first-level cache, and the same kernel goes on from the sums of the part before. So results have the bits of
//! those of the f32 that the blocks stand for.

use super::{Branch, Cut, LinearError, Operands, Panels, Weights, number};
use crate::blocks;
use crate::memory::Memory;
use crate::simd::{self, Kernel, Simd};
use crate::tile::{Bf16, F32, Format, PANEL, Product, most_rows, product, tiles};
use crate::{Isa, scratch};
use bgz_passes::ir::BlockRows;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Floats of a cache line.
const LINE: usize = 16;

/// Floats of the rows that are taken through all panels together: 512 KB, which leave a second-level cache of 1 MB room
/// for two panels of a depth of 1536.
const GROUP: usize = 128 << 10;

/// Rows that a panel of blocks is unpacked once for, at least: that takes as long as to multiply some 30 rows.
const BLOCK_ROWS: usize = 128;

/// Bytes between rows whose multiples fall into so few sets of the first-level cache (64 sets of 64 bytes, 8 ways) that
/// a tile of 11 rows does not fit.
const CONFLICT: usize = 2048;

/// The format that the numbers of weights and rows are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Float {
    /// Nothing: they are f32.
    F32,
    /// bf16: 8 significant bits, so half of the memory and a relative error of at most 1/256 a number.
    Bf16,
}

/// Weights `[depth, width]`, packed for an instruction set.
pub struct Packed {
    isa: Isa,
    float: Float,
    depth: usize,
    width: usize,
    /// Columns of a panel.
    panel: usize,
    /// Lanes of a column: numbers, or pairs of them.
    lanes: usize,
    content: Content,
}

/// Where weights are.
enum Content {
    /// Panel after panel, each `lanes` rows of `panel` lanes of 32 bits, those beyond `width` zero.
    Panels(Memory),
    /// A row of them for each column.
    Blocks(BlockRows),
}

impl Panels for Packed {
    #[inline(always)]
    fn extents(&self) -> [usize; 3] {
        [self.depth, self.width, self.panel]
    }
}

impl Packed {
    /// Packs weights for [`Isa::current`].
    ///
    /// # Errors
    /// There are more or fewer of them than their extents say, they are too large to be padded to whole panels, or memory
    /// does not suffice.
    pub fn new(weights: Weights<'_>, float: Float) -> Result<Self, LinearError> {
        match float {
            Float::F32 => Self::pack::<F32>(weights, float),
            Float::Bf16 => Self::pack::<Bf16>(weights, float),
        }
    }

    fn pack<T: Format>(weights: Weights<'_>, float: Float) -> Result<Self, LinearError> {
        let numbers = weights.numbers()?;
        let Weights { depth, width, transposed, channels, .. } = weights;
        let isa = Isa::current();
        let panel = PANEL * isa.lanes();
        let lanes = depth.div_ceil(T::NUMBERS);
        let too_large = || LinearError::TooLarge { depth, width };
        let size = width.checked_next_multiple_of(panel).and_then(|w| w.checked_mul(lanes)).ok_or_else(too_large)?;
        let bytes = size.checked_mul(size_of::<u32>()).ok_or_else(too_large)?;
        // Its pages are first written, and so placed, by the threads that pack.
        let mut memory = Memory::shared(bytes).ok_or(LinearError::Memory { bytes })?;
        // Of none there would be places without end.
        if size > 0 {
            let places = weights.places();
            memory.numbers().par_chunks_exact_mut(lanes * panel).enumerate().for_each(|(i, to)| {
                let columns = i * panel..((i + 1) * panel).min(width);
                if transposed || channels.is_some() {
                    // By blocks, so that the lines written stay in the cache.
                    for first in (0..lanes).step_by(LINE) {
                        for (x, column) in columns.clone().enumerate() {
                            let at = |k: usize| if k < depth { number(&numbers[places.of(k, column)]) } else { 0.0 };
                            for k in first..(first + LINE).min(lanes) {
                                let second = if T::NUMBERS > 1 { at(k * T::NUMBERS + 1) } else { 0.0 };
                                to[k * panel + x] = T::lane([at(k * T::NUMBERS), second]);
                            }
                        }
                    }
                } else {
                    for (k, to) in to.chunks_exact_mut(panel).enumerate() {
                        let row = |k: usize| if k < depth { &numbers[k * width..][columns.clone()] } else { &[] };
                        let first = row(k * T::NUMBERS);
                        let second = if T::NUMBERS > 1 { row(k * T::NUMBERS + 1) } else { &[] };
                        for (x, (to, first)) in to.iter_mut().zip(first).enumerate() {
                            *to = T::lane([number(first), second.get(x).map_or(0.0, number)]);
                        }
                    }
                }
            });
        }
        Ok(Self { isa, float, depth, width, panel, lanes, content: Content::Panels(memory) })
    }

    /// Weights that stay in their blocks, `[width, depth]`, for [`Isa::current`]: nothing is copied. Results have the bits of those
    /// of [`Packed::new`] of the same numbers in f32.
    ///
    /// # Errors
    /// There are more columns than can be padded to whole panels.
    pub fn of_blocks(rows: BlockRows) -> Result<Self, LinearError> {
        let (depth, width) = (rows.row_len(), rows.rows());
        let isa = Isa::current();
        let panel = PANEL * isa.lanes();
        width.checked_next_multiple_of(panel).ok_or(LinearError::TooLarge { depth, width })?;
        Ok(Self { isa, float: Float::F32, depth, width, panel, lanes: depth, content: Content::Blocks(rows) })
    }

    /// True if they stay in blocks.
    pub fn is_blocks(&self) -> bool {
        matches!(self.content, Content::Blocks(_))
    }

    /// Rows of the weights: numbers of a row of `x`.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the weights: numbers of a row of the result.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The format that numbers are rounded to.
    pub fn float(&self) -> Float {
        self.float
    }

    /// Bytes they take; those of blocks are where they were.
    pub fn bytes(&self) -> usize {
        match &self.content {
            Content::Panels(memory) => memory.len(),
            Content::Blocks(rows) => rows.bytes(),
        }
    }

    /// Writes `x . w + bias` to `out`: `x` is `[rows, depth]`, `bias` `[width]`, `out` `[rows, width]`. Large products are
    /// cut for the threads of the current rayon pool. Nothing is allocated, but once a thread for rows in bf16, for weights in blocks
    /// and where rows of `x` lie a multiple of 2048 bytes apart.
    ///
    /// # Errors
    /// A slice has another length; `out` decides the number of rows.
    pub fn apply(&self, x: &[f32], bias: Option<&[f32]>, out: &mut [f32]) -> Result<(), LinearError> {
        self.apply_apart((x, self.depth), bias, out)
    }

    /// As [`apply`](Self::apply), of rows of `depth` that start a number of elements from each other, which may be less than
    /// `depth`: they then overlap, as the windows of a convolution do. `x` ends behind the last row.
    ///
    /// # Errors
    /// Those of `apply`.
    pub fn apply_apart(&self, x: (&[f32], usize), bias: Option<&[f32]>, out: &mut [f32]) -> Result<(), LinearError> {
        Self::branches(x, &mut [Branch::new(self, bias, out)])
    }

    /// As [`apply`](Self::apply), of the same rows with several weights, as one product: they have one depth, and were packed
    /// for the same instruction set and the same numbers. Each result has the bits it has alone.
    ///
    /// # Errors
    /// Those of `apply`; weights that were packed differently.
    pub fn apply_all(x: &[f32], branches: &mut [Branch<'_, Self>]) -> Result<(), LinearError> {
        let apart = branches.first().map_or(0, |b| b.weights.depth);
        Self::branches((x, apart), branches)
    }

    fn branches(x: (&[f32], usize), branches: &mut [Branch<'_, Self>]) -> Result<(), LinearError> {
        let Some(&Self { isa, float, .. }) = branches.first().map(|b| b.weights) else { return Ok(()) };
        Self::branches_by(x, branches, &|job, start, end| match float {
            Float::F32 => simd::run(isa, Piece::<F32>::new(job, start, end)),
            Float::Bf16 => simd::run_bf16(isa, Piece::<Bf16>::new(job, start, end)),
        })
    }

    /// [`Packed::branches`] with what runs pieces from one to another.
    pub(super) fn branches_by(
        x: (&[f32], usize),
        branches: &mut [Branch<'_, Self>],
        run: &(impl Fn(&Job<'_>, usize, usize) + Sync),
    ) -> Result<(), LinearError> {
        let operands = Operands::new(x, branches)?;
        let Some(&Self { isa, float, depth, lanes, .. }) = branches.first().map(|b| b.weights) else { return Ok(()) };
        if branches.iter().any(|b| (b.weights.isa, b.weights.float, b.weights.depth) != (isa, float, depth)) {
            return Err(LinearError::Mixed);
        }
        let mut most = (GROUP / depth.max(1)).max(most_rows(isa.lanes()));
        let blocks = branches.iter().any(|b| b.weights.is_blocks());
        if blocks {
            most = most.max(BLOCK_ROWS);
        }
        let cut = Cut::new(operands.rows, most, operands.panels());
        let job = Job { operands, depth, lanes, blocks, cut };
        cut.run(job.operands.work(), &|start, end| run(&job, start, end));
        Ok(())
    }
}

pub(super) struct Job<'a> {
    operands: Operands<'a, Packed>,
    depth: usize,
    lanes: usize,
    /// True if some of the weights are in blocks.
    blocks: bool,
    cut: Cut,
}

/// Pieces `start` to `end` of a product of weights in the format T.
pub(super) struct Piece<'a, T> {
    job: &'a Job<'a>,
    start: usize,
    end: usize,
    format: PhantomData<T>,
}

impl<'a, T> Piece<'a, T> {
    pub fn new(job: &'a Job<'a>, start: usize, end: usize) -> Self {
        Self { job, start, end, format: PhantomData }
    }
}

impl<T: Format> Kernel for Piece<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let job = self.job;
        let Job { depth, lanes, .. } = *job;
        for (rows, panels) in job.cut.groups(self.start, self.end) {
            let from = job.operands.apart;
            let x = job.operands.x[rows.start * from..].as_ptr();
            let conflict = rows.len() > 4 && from > 0 && (from * size_of::<f32>()).is_multiple_of(CONFLICT);
            let rounded = T::NUMBERS > 1;
            let room = if job.blocks { blocks::room(PANEL * S::LANES) } else { 0 };
            let elements = (lanes * T::parts::<S>()).next_multiple_of(LINE);
            // An odd number of cache lines, or of pairs of them, from row to row.
            let apart = if (elements / LINE).is_multiple_of(4) { elements + LINE } else { elements };
            let copied = rounded || conflict;
            if !copied && room == 0 {
                job.rows::<S, T>(s, (x, from), std::ptr::null_mut(), rows, panels);
                continue;
            }
            let copies = if copied { rows.len() * apart } else { 0 };
            scratch::with((room + copies) * size_of::<f32>(), |memory| {
                let unpacked = memory.cast::<f32>();
                let copy = unpacked.wrapping_add(room);
                if !copied {
                    // As for rounding below.
                    s.apart(Rows::<T> { job, x: (x, from), unpacked, rows, panels, format: PhantomData });
                    return;
                }
                if rounded {
                    // A closure is not compiled for the instruction set that is around it.
                    s.apart(Round { x, from, depth, elements, to: copy, apart, rows: rows.len() });
                } else {
                    for row in 0..rows.len() {
                        // SAFETY: a row of x, and room for it.
                        unsafe { std::ptr::copy_nonoverlapping(x.add(row * from), copy.add(row * apart), depth) };
                    }
                }
                job.rows::<S, T>(s, (copy, apart), unpacked, rows, panels);
            });
        }
    }
}

/// [`Job::rows`] as a function of its own.
struct Rows<'a, 'b, T> {
    job: &'a Job<'b>,
    x: (*const f32, usize),
    unpacked: *mut f32,
    rows: Range<usize>,
    panels: Range<usize>,
    format: PhantomData<T>,
}

impl<T: Format> Kernel for Rows<'_, '_, T> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.job.rows::<S, T>(s, self.x, self.unpacked, self.rows, self.panels);
    }
}

/// Rounds rows of `depth` floats to bf16 and fills them up with zeros: to `elements` floats, or that many pairs of bf16 where
/// there is an instruction for those.
struct Round {
    x: *const f32,
    from: usize,
    depth: usize,
    /// A multiple of every number of lanes.
    elements: usize,
    to: *mut f32,
    apart: usize,
    rows: usize,
}

impl Kernel for Round {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let numbers = if S::DOT_BF16 { 2 * self.elements } else { self.elements };
        for row in 0..self.rows {
            let (x, to) = (self.x.wrapping_add(row * self.from), self.to.wrapping_add(row * self.apart));
            for c in (0..numbers).step_by(S::LANES) {
                // SAFETY: `depth` floats of a row of x, and room for all of it.
                unsafe {
                    let v = if c < self.depth { s.load_upto(x.add(c), self.depth - c) } else { s.splat(0.0) };
                    let v = s.round_bf16(v);
                    if S::DOT_BF16 {
                        s.store_u16(to.cast::<u16>().add(c), s.ishr::<16>(s.bits(v)));
                    } else {
                        s.store(to.add(c), v);
                    }
                }
            }
        }
    }
}

impl Job<'_> {
    /// The products of some rows with some panels; `x` is the first of the rows and how far they are apart, `unpacked` memory for
    /// panels of blocks, if there are any.
    #[inline(always)]
    fn rows<S: Simd, T: Format>(
        &self,
        s: S,
        x: (*const f32, usize),
        unpacked: *mut f32,
        rows: Range<usize>,
        panels: Range<usize>,
    ) {
        let lanes = self.lanes;
        for (branch, next, panels) in self.operands.split(panels) {
            let Packed { width, panel, ref content, .. } = *branch.weights;
            let step = (panel / tiles::<S, T>(rows.len()).max(1)).max(1);
            for i in panels {
                let first = i * panel;
                // SAFETY: panel i, and the columns of it that there are in the result and the bias.
                let (out, bias) = unsafe { (branch.out.add(rows.start * width + first), branch.bias(first)) };
                match content {
                    Content::Panels(memory) => {
                        // SAFETY: panel i is there.
                        let b = unsafe { memory.as_ptr().cast::<f32>().add(first * lanes) };
                        let mut p = Product::new(x, b, lanes, (out, width));
                        // Behind the last panel of all nothing is worth fetching.
                        let ahead = match next.map(|w| &w.content) {
                            _ if first + panel < width => Some(b.wrapping_add(lanes * panel)),
                            Some(Content::Panels(memory)) => Some(memory.as_ptr().cast()),
                            Some(Content::Blocks(_)) | None => None,
                        };
                        if let Some(ahead) = ahead {
                            (p.ahead, p.ahead_step) = (ahead, step);
                        }
                        // SAFETY: panel i, and the columns of it that there are in the result and the bias.
                        unsafe { sums::<S, T>(s, p, bias, rows.len(), width - first) };
                    }
                    Content::Blocks(numbers) => {
                        // Of no depth there is the bias all the same.
                        for start in (0..lanes.max(1)).step_by(blocks::DEPTH) {
                            s.apart(blocks::Panel { rows: numbers, first, panel, start, to: unpacked });
                            let depth = blocks::DEPTH.min(lanes - start);
                            let mut p = Product::new((x.0.wrapping_add(start), x.1), unpacked, depth, (out, width));
                            if start > 0 {
                                p.start_row = width;
                            }
                            // SAFETY: as above, and as many rows of the panel as were unpacked.
                            unsafe { sums::<S, T>(s, p, bias, rows.len(), width - first) };
                        }
                    }
                }
            }
        }
    }
}

/// The product with a panel of which there are `left` columns, or all if that is more.
///
/// # Safety
/// That of [`product`], but the result and the bias, if not null, have no more columns than that. Sums start from the result if
/// `start_row` is not 0.
#[inline(always)]
unsafe fn sums<S: Simd, T: Format>(s: S, mut p: Product, bias: *const f32, rows: usize, left: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if left >= PANEL * S::LANES {
            p.start = if p.start_row > 0 { p.c } else { bias };
            product::<S, T, PANEL>(s, p, rows);
        } else {
            part::<S, T>(s, p, bias, rows, left);
        }
    }
}

/// The product with a panel of which only `left` columns are wanted.
///
/// # Safety
/// That of [`product`], but the result and the bias, if not null, have `left` columns only. Sums start from the result if
/// `start_row` is not 0.
#[inline(always)]
unsafe fn part<S: Simd, T: Format>(s: S, p: Product, bias: *const f32, rows: usize, left: usize) {
    const MOST: usize = PANEL * LINE;
    let most = most_rows(S::LANES);
    let mut start = [0.0f32; MOST];
    let mut tile = [0.0f32; most_rows(LINE) * MOST];
    if !bias.is_null() {
        // SAFETY: so many the bias has.
        unsafe { std::ptr::copy_nonoverlapping(bias, start.as_mut_ptr(), left) };
    }
    let panel = PANEL * S::LANES;
    for first in (0..rows).step_by(most) {
        let n = most.min(rows - first);
        // SAFETY: rows of x; a tile has room for n rows of a panel, which is at most `MOST` wide.
        unsafe {
            let x = p.a.add(first * p.a_row);
            let mut own = Product { a: x, c: tile.as_mut_ptr(), c_row: panel, start: start.as_ptr(), ..p };
            if p.start_row > 0 {
                for row in 0..n {
                    let from = p.c.add((first + row) * p.c_row);
                    std::ptr::copy_nonoverlapping(from, tile.as_mut_ptr().add(row * panel), left);
                }
                (own.start, own.start_row) = (own.c, panel);
            }
            if left <= S::LANES {
                product::<S, T, 1>(s, own, n)
            } else {
                product::<S, T, PANEL>(s, own, n)
            }
            for row in 0..n {
                let to = p.c.add((first + row) * p.c_row);
                std::ptr::copy_nonoverlapping(tile.as_ptr().add(row * panel), to, left);
            }
        }
    }
}
