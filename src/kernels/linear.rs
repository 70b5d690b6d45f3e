//! Products of rows with packed weights: `x [rows, depth] . w [depth, width] + bias`, f32.
//!
//! Weights are packed into panels as wide as the register tile, so that a tile reads its panel from front to back. It
//! takes the rows as they lie. A group of rows stays in the second-level cache while all panels pass; while one is
//! multiplied the next is fetched, for a panel is read only a few times and would else be waited for.
//!
//! Each result is one sum, from the bias on, over the depth in order: its bits depend neither on the other rows nor on
//! the number of threads.

use super::simd::{self, Kernel, Simd};
use super::tile::{PANEL, Product, most_rows, product, tiles};
use super::{Isa, parallel, scratch};
use rayon::prelude::*;

/// Floats of a cache line.
const LINE: usize = 16;

/// Floats of the rows that are taken through all panels together: 512 KB, which leave a second-level cache of 1 MB room
/// for two panels of a depth of 1536.
const GROUP: usize = 128 << 10;

/// Bytes between rows whose multiples fall into so few sets of the first-level cache (64 sets of 64 bytes, 8 ways) that
/// a tile of 14 rows does not fit.
const CONFLICT: usize = 2048;

/// Operands that do not fit together, or are too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinearError {
    /// A slice of another length.
    #[error("{name}: {got} elements where {want} are needed")]
    Length {
        /// Which.
        name: &'static str,
        /// Its length.
        got: usize,
        /// The length it needs.
        want: usize,
    },
    /// More elements than there are addresses.
    #[error("weights of {depth} x {width} are too large")]
    TooLarge {
        /// Rows of the weights.
        depth: usize,
        /// Columns.
        width: usize,
    },
}

fn length(name: &'static str, got: usize, want: Option<usize>) -> Result<(), LinearError> {
    match want {
        Some(want) if got == want => Ok(()),
        _ => Err(LinearError::Length { name, got, want: want.unwrap_or(usize::MAX) }),
    }
}

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
        let rows = out.len().checked_div(self.width).unwrap_or(0);
        length("out", out.len(), rows.checked_mul(self.width))?;
        if self.width > 0 {
            length("x", x.len(), rows.checked_mul(self.depth))?;
        }
        if let Some(bias) = bias {
            length("bias", bias.len(), Some(self.width))?;
        }
        if out.is_empty() {
            return Ok(());
        }
        let groups = rows.div_ceil((GROUP / self.depth.max(1)).max(most_rows(self.isa.lanes())));
        let panels = self.width.div_ceil(self.panel);
        let job = Job { packed: self, x: x.as_ptr(), rows, bias, out: out.as_mut_ptr(), groups, panels };
        // Multiply-adds of a vector of 16.
        let work = rows.saturating_mul(self.depth).saturating_mul(self.width.div_ceil(LINE));
        let pieces = parallel::pieces(work).min(groups * panels);
        parallel::split(0, groups * panels, pieces, &|start, end| {
            simd::run(self.isa, Piece { job: &job, start, end });
        });
        Ok(())
    }
}

struct Job<'a> {
    packed: &'a Packed,
    x: *const f32,
    rows: usize,
    bias: Option<&'a [f32]>,
    out: *mut f32,
    /// Of rows, as even as can be.
    groups: usize,
    panels: usize,
}

// SAFETY: made of slices that live while the threads run; pieces write elements of their own.
unsafe impl Sync for Job<'_> {}

/// Products number `start` to `end`: all panels of the first group of rows, then those of the next.
struct Piece<'a> {
    job: &'a Job<'a>,
    start: usize,
    end: usize,
}

impl Kernel for Piece<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { job, start, end } = self;
        let depth = job.packed.depth;
        let mut at = start;
        while at < end {
            let group = at / job.panels;
            let until = ((group + 1) * job.panels).min(end);
            let panels = at % job.panels..at % job.panels + (until - at);
            let [from, to] = [group, group + 1].map(|g| job.rows * g / job.groups);
            let rows = to - from;
            // SAFETY: rows of x.
            let x = unsafe { job.x.add(from * depth) };
            let conflict = rows > 4 && depth > 0 && (depth * size_of::<f32>()).is_multiple_of(CONFLICT);
            if conflict {
                let apart = depth + LINE;
                scratch::with(rows * apart * size_of::<f32>(), |copy| {
                    let copy = copy.cast::<f32>();
                    for row in 0..rows {
                        // SAFETY: a row of x, and room for it.
                        unsafe { std::ptr::copy_nonoverlapping(x.add(row * depth), copy.add(row * apart), depth) };
                    }
                    job.rows::<S>(s, (copy, apart), from, rows, panels.clone());
                });
            } else {
                job.rows::<S>(s, (x, depth), from, rows, panels);
            }
            at = until;
        }
    }
}

impl Job<'_> {
    /// The products of `rows` rows with some panels; `x` is the first of the rows and how far they are apart.
    #[inline(always)]
    fn rows<S: Simd>(&self, s: S, x: (*const f32, usize), from: usize, rows: usize, panels: std::ops::Range<usize>) {
        let Packed { depth, width, panel, .. } = *self.packed;
        let step = (panel / tiles(rows, S::LANES).max(1)).max(1);
        for i in panels {
            let first = i * panel;
            // SAFETY: panel i, and the columns of it that there are in the result and the bias.
            unsafe {
                let b = self.packed.memory.as_ptr().add(self.packed.start + first * depth);
                let out = self.out.add(from * width + first);
                let mut p = Product::new(x, b, depth, (out, width));
                // Behind the last panel nothing is worth fetching.
                if i + 1 < self.panels {
                    (p.ahead, p.ahead_step) = (b.add(depth * panel), step);
                }
                let bias = self.bias.map_or(std::ptr::null(), |b| b.as_ptr().add(first));
                match width - first {
                    left if left >= panel => {
                        p.start = bias;
                        product::<S, PANEL>(s, p, rows);
                    }
                    left => part(s, p, bias, rows, left),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::forced;
    use proptest::prelude::*;

    /// Numbers whose sums of products are exact, so that every order of summing gives the same.
    fn whole(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i + seed) * 7919 % 31) as f32 - 15.0).collect()
    }

    fn naive(x: &[f32], w: &[f32], bias: Option<&[f32]>, [rows, depth, width]: [usize; 3]) -> Vec<f32> {
        let element = |i: usize| {
            let (row, column) = (i / width, i % width);
            let sum: f32 = (0..depth).map(|k| x[row * depth + k] * w[k * width + column]).sum();
            sum + bias.map_or(0.0, |b| b[column])
        };
        (0..rows * width).map(element).collect()
    }

    fn transpose(w: &[f32], depth: usize, width: usize) -> Vec<f32> {
        (0..w.len()).map(|i| w[i % depth * width + i / depth]).collect()
    }

    fn check(shape @ [rows, depth, width]: [usize; 3], with_bias: bool, transposed: bool) {
        let (x, w, bias) = (whole(rows * depth, 1), whole(depth * width, 2), whole(width, 3));
        let bias = with_bias.then_some(&bias[..]);
        let want = naive(&x, &w, bias, shape);
        let given = if transposed { transpose(&w, depth, width) } else { w };
        forced::on_each(|| {
            let packed = Packed::new(&given, depth, width, transposed).unwrap();
            let mut out = vec![f32::NAN; rows * width];
            packed.apply(&x, bias, &mut out).unwrap();
            assert_eq!(out, want, "{shape:?} {:?}", Isa::current());
        });
    }

    #[test]
    fn products_of_every_tile_and_rest() {
        for rows in (0..=30).chain([64, 100]) {
            check([rows, 9, 70], true, false);
        }
        for width in [0, 1, 2, 3, 8, 15, 16, 17, 31, 32, 33, 48, 50, 64, 95, 96] {
            check([5, 7, width], true, true);
        }
    }

    #[test]
    fn products_of_no_depth_are_the_bias() {
        check([3, 0, 40], true, false);
        check([3, 0, 40], false, true);
    }

    #[test]
    fn rows_that_would_share_sets_of_the_cache_are_copied() {
        check([20, 512, 33], true, false);
        check([4, 1024, 33], false, true);
    }

    #[test]
    fn several_groups_of_rows() {
        check([90, 3200, 40], true, false);
    }

    #[test]
    fn a_product_is_the_same_bits_whatever_is_beside_it_and_however_it_is_cut() {
        let [rows, depth, width] = [150, 700, 200];
        let noise = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
        let (x, w, bias) = (noise(rows * depth), noise(depth * width), noise(width));
        let pool = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let packed = Packed::new(&w, depth, width, false).unwrap();
        let run = |threads: usize| {
            let mut out = vec![0.0; rows * width];
            pool(threads).install(|| packed.apply(&x, Some(&bias), &mut out)).unwrap();
            out
        };
        let all = run(1);
        assert_eq!(all, run(3));
        let mut one = vec![0.0; width];
        packed.apply(&x[77 * depth..78 * depth], Some(&bias), &mut one).unwrap();
        assert_eq!(one, all[77 * width..78 * width]);
    }

    #[test]
    fn what_is_not_a_number_stays_in_its_row_and_column() {
        forced::on_each(|| {
            let (mut x, mut w) = (whole(3 * 5, 1), whole(5 * 3, 2));
            (x[5], w[1]) = (f32::INFINITY, f32::NAN);
            let packed = Packed::new(&w, 5, 3, false).unwrap();
            let mut out = vec![0.0; 9];
            packed.apply(&x, None, &mut out).unwrap();
            let finite: Vec<bool> = out.iter().map(|v| v.is_finite()).collect();
            assert_eq!(finite, [true, false, true, false, false, false, true, false, true]);
        });
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = |name, got, want| Err(LinearError::Length { name, got, want });
        assert_eq!(Packed::new(&[0.0; 5], 2, 3, false).map(|_| ()), long("weights", 5, 6));
        let packed = Packed::new(&[0.0; 6], 2, 3, false).unwrap();
        let mut out = [0.0; 6];
        assert_eq!(packed.apply(&[0.0; 4], None, &mut out[..5]), long("out", 5, 3));
        assert_eq!(packed.apply(&[0.0; 5], None, &mut out), long("x", 5, 4));
        assert_eq!(packed.apply(&[0.0; 4], Some(&[0.0; 2]), &mut out), long("bias", 2, 3));
        let huge = Packed::new(&[], 0, usize::MAX, false).map(|_| ());
        assert_eq!(huge, Err(LinearError::TooLarge { depth: 0, width: usize::MAX }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn products_agree_with_a_plain_loop(
            rows in 1usize..40, depth in 1usize..80, width in 1usize..130, bias: bool, transposed: bool,
        ) {
            check([rows, depth, width], bias, transposed);
        }
    }
}
