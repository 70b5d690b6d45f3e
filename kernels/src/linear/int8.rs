//! In i8, a scale for each column of the weights and for each row, which is coded as it comes.
//!
//! A number is coded as `round(x * 127 / max|x|)` of its row or column. Sums are exact integers, so a result depends
//! neither on the other rows nor on the instruction set.

use super::{Branch, Cut, LinearError, Operands, Panels, Weights};
use crate::int8::{self, PANEL, Product, Queries, groups, pack_keys, pack_queries, panel_bytes};
use crate::memory::Memory;
use crate::simd::{ByteKernel, ByteSimd, run_bytes};
use crate::strided::Rows;
use crate::{ByteIsa, scratch};
use bgz_passes::memory::collected;
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Rows that are coded and taken through all panels together: whole register tiles, and with 1536 numbers each a
/// seventh of a second-level cache of 1 MB.
const GROUP: usize = 96;

/// The longest sum that cannot overflow: products of at most `127 * 255`.
const MAX_DEPTH: usize = i32::MAX as usize / (127 * 255);

/// Weights `[depth, width]` in i8, packed for an instruction set.
pub struct PackedInt8 {
    level: ByteIsa,
    depth: usize,
    width: usize,
    /// Columns of a panel.
    panel: usize,
    /// Panel after panel, `[group of 4 rows][column][4]`.
    codes: Memory,
    /// The number that 1 stands for in each column, up to whole panels.
    scales: Vec<f32>,
}

impl Panels for PackedInt8 {
    #[inline(always)]
    fn extents(&self) -> [usize; 3] {
        [self.depth, self.width, self.panel]
    }
}

impl PackedInt8 {
    /// Codes and packs weights for [`ByteIsa::current`]. A column that is not all finite makes every result in it NaN.
    ///
    /// # Errors
    /// There are more or fewer of them than their extents say, they are too large to be padded to whole panels, or so deep
    /// (66311 rows) that a sum could overflow; or memory does not suffice.
    pub fn new(weights: Weights<'_>) -> Result<Self, LinearError> {
        let Weights { depth, width, .. } = weights;
        weights.numbers()?;
        let level = ByteIsa::current();
        let lanes = level.lanes();
        let panel = PANEL * lanes;
        let too_large = || LinearError::TooLarge { depth, width };
        let padded = width.checked_next_multiple_of(panel).ok_or_else(too_large)?;
        let size = (padded / panel).checked_mul(panel_bytes(depth.min(MAX_DEPTH), lanes)).ok_or_else(too_large)?;
        if depth > MAX_DEPTH || size > isize::MAX as usize || padded > isize::MAX as usize / size_of::<f32>() {
            return Err(too_large());
        }
        let mut codes = Memory::shared(size).ok_or(LinearError::Memory { bytes: size })?;
        let mut scales = collected(padded, std::iter::repeat(0.0)).map_err(|bytes| LinearError::Memory { bytes })?;
        let (values, transposed) = weights.aligned()?;
        if depth > 0 {
            let panels = codes
                .bytes_mut()
                .par_chunks_exact_mut(panel_bytes(depth, lanes))
                .zip(scales.par_chunks_exact_mut(panel));
            panels.enumerate().for_each(|(i, (codes, scales))| {
                let first = i * panel;
                let (start, row, inner) = if transposed { (first * depth, depth, 1) } else { (first, 1, width) };
                let (row, inner) = (row as isize, inner as isize);
                let rows = Rows { x: values[start..].as_ptr(), row, inner, d: depth, mean: std::ptr::null() };
                let n = panel.min(width - first);
                run_bytes(level, Pack { rows, n, codes, scales });
            });
        }
        Ok(Self { level, depth, width, panel, codes, scales })
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
        self.codes.len() + self.scales.len() * size_of::<f32>()
    }

    /// Writes `x . w + bias`, of the coded weights and of rows coded alike, to `out`: `x` is `[rows, depth]`, `bias`
    /// `[width]`, `out` `[rows, width]`. A row that is not all finite gives NaN. Large products are cut for the threads of
    /// the current rayon pool; a thread allocates once.
    ///
    /// # Errors
    /// A slice has another length; `out` decides the number of rows.
    pub fn apply(&self, x: &[f32], bias: Option<&[f32]>, out: &mut [f32]) -> Result<(), LinearError> {
        Self::apply_all(x, &mut [Branch::new(self, bias, out)])
    }

    /// As [`apply`](Self::apply), of the same rows with several weights, as one product, for which rows are coded once: the
    /// weights have one depth and were packed for the same instruction set. Each result has the bits it has alone.
    ///
    /// # Errors
    /// Those of `apply`; weights that were packed differently.
    pub fn apply_all(x: &[f32], branches: &mut [Branch<'_, Self>]) -> Result<(), LinearError> {
        let Some(&Self { level, depth, .. }) = branches.first().map(|b| b.weights) else { return Ok(()) };
        let operands = Operands::new((x, depth), branches)?;
        if branches.iter().any(|b| (b.weights.level, b.weights.depth) != (level, depth)) {
            return Err(LinearError::Mixed);
        }
        let cut = Cut::new(operands.rows, GROUP, operands.panels());
        let job = Job { operands, depth, cut };
        // A vector of products is four of f32.
        cut.run(job.operands.work().div_ceil(4), &|start, end| run_bytes(level, Piece { job: &job, start, end }));
        Ok(())
    }
}

/// Codes the columns of a panel.
struct Pack<'a> {
    rows: Rows,
    n: usize,
    codes: &'a mut [u8],
    scales: &'a mut [f32],
}

impl ByteKernel for Pack<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) {
        // SAFETY: columns of the weights, and a panel for them.
        unsafe { pack_keys(s, self.rows, self.n, self.codes.as_mut_ptr(), self.scales.as_mut_ptr()) }
    }
}

struct Job<'a> {
    operands: Operands<'a, PackedInt8>,
    depth: usize,
    cut: Cut,
}

/// Pieces `start` to `end` of a product.
struct Piece<'a> {
    job: &'a Job<'a>,
    start: usize,
    end: usize,
}

impl ByteKernel for Piece<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) {
        let job = self.job;
        let depth = job.depth;
        for (rows, panels) in job.cut.groups(self.start, self.end) {
            let n = rows.len();
            let codes = (n * 4 * groups(depth)).next_multiple_of(LINE);
            // A closure is not compiled for the instruction set that is around it: what works is a kernel of its own.
            scratch::with(codes + n * (size_of::<f32>() + size_of::<i32>()), |room| {
                s.call(Group { job, rows, panels, room, codes });
            });
        }
    }
}

/// The products of a group of rows, which are coded first, with some panels.
struct Group<'a> {
    job: &'a Job<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
    /// For `codes` bytes of codes, and a scale and a start for each row.
    room: *mut u8,
    codes: usize,
}

impl ByteKernel for Group<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) {
        let Self { job, rows, panels, room, codes } = self;
        let (n, depth) = (rows.len(), job.depth);
        let scales = room.wrapping_add(codes).cast::<f32>();
        let starts = scales.wrapping_add(n).cast::<i32>();
        let x = job.operands.x[rows.start * depth..rows.end * depth].as_ptr();
        let coded = Rows { x, row: depth as isize, inner: 1, d: depth, mean: std::ptr::null() };
        // SAFETY: n rows of x, and room for their codes, scales and starts.
        unsafe { pack_queries(s, coded, n, room.cast(), scales, starts) };
        job.rows(s, Queries { rows: room.cast(), scales, starts }, rows, panels);
    }
}

impl Job<'_> {
    /// The products of some coded rows with some panels.
    #[inline(always)]
    fn rows<S: ByteSimd>(&self, s: S, q: Queries, rows: Range<usize>, panels: Range<usize>) {
        let depth = self.depth;
        let bytes = panel_bytes(depth, S::LANES);
        for (branch, next, panels) in self.operands.split(panels) {
            let PackedInt8 { width, panel, ref codes, ref scales, .. } = *branch.weights;
            for i in panels {
                let first = i * panel;
                // SAFETY: panel i, and the columns of it that there are in the result and the bias.
                unsafe {
                    let codes = codes.as_ptr().add(i * bytes);
                    let out = branch.out.add(rows.start * width + first);
                    let mut p = Product::new(q, (codes, scales.as_ptr().add(first)), depth, (out, width));
                    let ahead =
                        if first + panel < width { Some(codes.add(bytes)) } else { next.map(|w| w.codes.as_ptr()) };
                    if let Some(ahead) = ahead {
                        let tiles = rows.len().div_ceil(S::DOT_ROWS).max(1);
                        (p.ahead, p.ahead_step) = (ahead, (4 * panel / tiles).max(1));
                    }
                    let bias = branch.bias(first);
                    match width - first {
                        left if left >= panel => {
                            p.start = bias;
                            int8::scores::<S, PANEL>(s, p, rows.len());
                        }
                        left => part(s, p, bias, rows.len(), left),
                    }
                }
            }
        }
    }
}

/// The product with a panel of which only `left` columns are wanted.
///
/// # Safety
/// That of [`int8::scores`], but the result and the bias, if not null, have `left` columns only.
#[inline(always)]
unsafe fn part<S: ByteSimd>(s: S, p: Product, bias: *const f32, rows: usize, left: usize) {
    const ROWS: usize = 12;
    const WIDTH: usize = PANEL * 16;
    let (mut start, mut tile) = ([0.0f32; WIDTH], [0.0f32; ROWS * WIDTH]);
    if !bias.is_null() {
        // SAFETY: so many the bias has.
        unsafe { std::ptr::copy_nonoverlapping(bias, start.as_mut_ptr(), left) };
    }
    let panel = PANEL * S::LANES;
    for first in (0..rows).step_by(ROWS) {
        let n = ROWS.min(rows - first);
        // SAFETY: coded rows; a tile has room for n rows of a panel, which is at most `WIDTH` wide.
        unsafe {
            let own =
                Product { q: p.q.from(first, p.d), out: tile.as_mut_ptr(), out_row: panel, start: start.as_ptr(), ..p };
            if left <= S::LANES {
                int8::scores::<S, 1>(s, own, n)
            } else {
                int8::scores::<S, PANEL>(s, own, n)
            }
            for row in 0..n {
                let to = p.out.add((first + row) * p.out_row);
                std::ptr::copy_nonoverlapping(tile.as_ptr().add(row * panel), to, left);
            }
        }
    }
}
