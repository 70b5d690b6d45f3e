//! In f32.
//!
//! Each result is one sum, from the bias on, over the depth in order: its bits depend neither on the other rows nor on
//! the number of threads.

use super::{Cut, LinearError, Operands, length};
use crate::simd::{self, Kernel, Simd};
use crate::tile::{PANEL, Product, most_rows, product, tiles};
use crate::{Isa, scratch};
use rayon::prelude::*;
use std::ops::Range;

/// Floats of a cache line.
const LINE: usize = 16;

/// Floats of the rows that are taken through all panels together: 512 KB, which leave a second-level cache of 1 MB room
/// for two panels of a depth of 1536.
const GROUP: usize = 128 << 10;

/// Bytes between rows whose multiples fall into so few sets of the first-level cache (64 sets of 64 bytes, 8 ways) that
/// a tile of 11 rows does not fit.
const CONFLICT: usize = 2048;

/// Weights `[depth, width]`, packed for an instruction set.
pub struct Packed {
    isa: Isa,
    depth: usize,
    width: usize,
    /// Columns of a panel.
    panel: usize,
    /// From `start` on, at a cache line: panel after panel, each `depth` rows of `panel` columns, those beyond `width` zero.
    memory: Vec<f32>,
    start: usize,
}

impl Packed {
    /// Packs weights for [`Isa::current`]: `weights` is `[depth, width]` row-major, or `[width, depth]` if `transposed`.
    ///
    /// # Errors
    /// `weights` has another length, or is too large to be padded to whole panels.
    pub fn new(weights: &[f32], depth: usize, width: usize, transposed: bool) -> Result<Self, LinearError> {
        length("weights", weights.len(), depth.checked_mul(width))?;
        let isa = Isa::current();
        let panel = PANEL * isa.lanes();
        let too_large = || LinearError::TooLarge { depth, width };
        let size = width.checked_next_multiple_of(panel).and_then(|w| w.checked_mul(depth)).ok_or_else(too_large)?;
        let room = size.checked_add(LINE).filter(|&n| n <= isize::MAX as usize / size_of::<f32>());
        // Zeroed pages are first written, and so placed, by the threads that pack.
        let mut memory = vec![0.0; room.ok_or_else(too_large)?];
        let start = memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        if depth > 0 {
            memory[start..start + size].par_chunks_exact_mut(depth * panel).enumerate().for_each(|(i, to)| {
                let columns = i * panel..((i + 1) * panel).min(width);
                if transposed {
                    // By blocks, so that the lines written stay in the cache.
                    for first in (0..depth).step_by(LINE) {
                        for (x, column) in columns.clone().enumerate() {
                            let row = &weights[column * depth..][first..(first + LINE).min(depth)];
                            for (k, &w) in row.iter().enumerate() {
                                to[(first + k) * panel + x] = w;
                            }
                        }
                    }
                } else {
                    for (k, to) in to.chunks_exact_mut(panel).enumerate() {
                        to[..columns.len()].copy_from_slice(&weights[k * width..][columns.clone()]);
                    }
                }
            });
        }
        Ok(Self { isa, depth, width, panel, memory, start })
    }

    /// Rows of the weights: numbers of a row of `x`.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the weights: numbers of a row of the result.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        self.memory.len() * size_of::<f32>()
    }

    /// Writes `x . w + bias` to `out`: `x` is `[rows, depth]`, `bias` `[width]`, `out` `[rows, width]`. Large products are
    /// cut for the threads of the current rayon pool. Nothing is allocated, but once a thread where rows of `x` lie a multiple
    /// of 2048 bytes apart.
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
        let operands = Operands::new(x, bias, out, [self.depth, self.width])?;
        let rows = operands.rows;
        let most = (GROUP / self.depth.max(1)).max(most_rows(self.isa.lanes()));
        let cut = Cut::new(rows, most, self.width.div_ceil(self.panel));
        let job = Job { packed: self, operands, cut };
        // Multiply-adds of a vector of 16.
        let work = rows.saturating_mul(self.depth).saturating_mul(self.width.div_ceil(LINE));
        cut.run(work, &|start, end| simd::run(self.isa, Piece { job: &job, start, end }));
        Ok(())
    }
}

struct Job<'a> {
    packed: &'a Packed,
    operands: Operands<'a>,
    cut: Cut,
}

/// Pieces `start` to `end` of a product.
struct Piece<'a> {
    job: &'a Job<'a>,
    start: usize,
    end: usize,
}

impl Kernel for Piece<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let job = self.job;
        let depth = job.packed.depth;
        for (rows, panels) in job.cut.groups(self.start, self.end) {
            let from = job.operands.apart;
            let x = job.operands.x[rows.start * from..].as_ptr();
            let conflict = rows.len() > 4 && from > 0 && (from * size_of::<f32>()).is_multiple_of(CONFLICT);
            if !conflict {
                job.rows(s, (x, from), rows, panels);
                continue;
            }
            let apart = depth + LINE;
            scratch::with(rows.len() * apart * size_of::<f32>(), |copy| {
                let copy = copy.cast::<f32>();
                for row in 0..rows.len() {
                    // SAFETY: a row of x, and room for it.
                    unsafe { std::ptr::copy_nonoverlapping(x.add(row * from), copy.add(row * apart), depth) };
                }
                job.rows(s, (copy, apart), rows, panels);
            });
        }
    }
}

impl Job<'_> {
    /// The products of some rows with some panels; `x` is the first of the rows and how far they are apart.
    #[inline(always)]
    fn rows<S: Simd>(&self, s: S, x: (*const f32, usize), rows: Range<usize>, panels: Range<usize>) {
        let Packed { depth, width, panel, .. } = *self.packed;
        let step = (panel / tiles(rows.len(), S::LANES).max(1)).max(1);
        for i in panels {
            let first = i * panel;
            // SAFETY: panel i, and the columns of it that there are in the result and the bias.
            unsafe {
                let b = self.packed.memory.as_ptr().add(self.packed.start + first * depth);
                let out = self.operands.out.add(rows.start * width + first);
                let mut p = Product::new(x, b, depth, (out, width));
                // Behind the last panel nothing is worth fetching.
                if i + 1 < self.cut.panels {
                    (p.ahead, p.ahead_step) = (b.add(depth * panel), step);
                }
                let bias = self.operands.bias(first);
                match width - first {
                    left if left >= panel => {
                        p.start = bias;
                        product::<S, PANEL>(s, p, rows.len());
                    }
                    left => part(s, p, bias, rows.len(), left),
                }
            }
        }
    }
}

/// The product with a panel of which only `left` columns are wanted.
///
/// # Safety
/// That of [`product`], but the result and the bias, if not null, have `left` columns only.
#[inline(always)]
unsafe fn part<S: Simd>(s: S, p: Product, bias: *const f32, rows: usize, left: usize) {
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
            let own = Product { a: x, c: tile.as_mut_ptr(), c_row: panel, start: start.as_ptr(), ..p };
            if left <= S::LANES {
                product::<S, 1>(s, own, n)
            } else {
                product::<S, PANEL>(s, own, n)
            }
            for row in 0..n {
                let to = p.c.add((first + row) * p.c_row);
                std::ptr::copy_nonoverlapping(tile.as_ptr().add(row * panel), to, left);
            }
        }
    }
}
