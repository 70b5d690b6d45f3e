//! Blocks of a few bits a number to f32: the formats of `bgz_passes::ir`, compiled for each instruction set.

use crate::Isa;
use crate::simd::{Kernel, Simd, run};
use bgz_passes::ir::{BlockFormat, BlockRows, Lookup};

/// Unpacks blocks of a format of ggml on one thread: as many as the bytes have, into as many as `out` has. The numbers are the
/// same bits on every instruction set.
pub fn unpack(isa: Isa, format: BlockFormat, bytes: &[u8], out: &mut [f32]) {
    run(isa, Unpack { format, bytes, out });
}

struct Unpack<'a> {
    format: BlockFormat,
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl Kernel for Unpack<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.format.unpack(Vectors(s), self.bytes, self.out);
    }
}

/// Unpacks a row that there is, of as many numbers as `out` has.
pub(crate) fn unpack_row(isa: Isa, rows: &BlockRows, row: usize, out: &mut [f32]) {
    run(isa, Row { rows, row, out });
}

struct Row<'a> {
    rows: &'a BlockRows,
    row: usize,
    out: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.rows.unpack(Vectors(s), self.row, 0, self.out);
    }
}

/// Lookups by an instruction set.
#[derive(Clone, Copy)]
struct Vectors<S>(S);

impl<S: Simd> Lookup for Vectors<S> {
    #[inline(always)]
    fn lookup(self, table: &[f32; 32], index: &[u32; 32], out: &mut [f32; 32]) {
        let Self(s) = self;
        for j in (0..32).step_by(S::LANES) {
            // SAFETY: LANES divides 32, so there are as many elements from j on in both.
            unsafe {
                let index = s.load(index.as_ptr().add(j).cast());
                s.store(out.as_mut_ptr().add(j), s.lookup(table, s.bits(index)));
            }
        }
    }
}

/// Numbers of the depth that are unpacked at a time: a multiple of every block, and few enough that a panel of so many stays in
/// the first-level cache.
pub(crate) const DEPTH: usize = bgz_passes::ir::MAX_BLOCK;

/// From one unpacked row to the next: an odd number of cache lines, so that they do not share sets of the cache.
const APART: usize = DEPTH + 16;

/// Floats of working memory for a panel of so many columns, and for their rows before they are transposed.
pub(crate) const fn room(panel: usize) -> usize {
    panel * (DEPTH + APART)
}

/// Numbers of some rows, transposed to a panel.
pub(crate) struct Panel<'a> {
    pub rows: &'a BlockRows,
    /// The first row, and columns of the panel; those that there are no rows for are 0.
    pub first: usize,
    pub panel: usize,
    /// Where numbers begin, a multiple of [`DEPTH`]; as many are taken, or all that are left.
    pub start: usize,
    /// Room for [`room`] floats: the panel comes first.
    pub to: *mut f32,
}

impl Kernel for Panel<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { rows, first, panel, start, to } = self;
        let n = DEPTH.min(rows.row_len() - start);
        let fetched = rows.bytes_of(n);
        // SAFETY: there is room for DEPTH rows of the panel, and behind them for each column's numbers.
        let numbers = unsafe { to.add(DEPTH * panel) };
        for column in 0..panel {
            // SAFETY: DEPTH numbers of the column's own, which memory of a thread always has some in.
            let own = unsafe { std::slice::from_raw_parts_mut(numbers.add(column * APART), n) };
            let row = first + column;
            if row >= rows.rows() {
                own.fill(0.0);
                continue;
            }
            // The next numbers lie behind these, or begin a row that is as far away as the panel is wide: neither is guessed by
            // the CPU, as it sees short runs in many rows.
            let last = start + n == rows.row_len();
            let ahead = if last { rows.bytes_from(row + panel, 0) } else { rows.bytes_from(row, start + n) };
            for line in (0..fetched).step_by(64) {
                s.prefetch(ahead.as_ptr().wrapping_add(line).cast());
            }
            rows.unpack(Vectors(s), row, start, own);
        }
        for column in (0..panel).step_by(S::LANES) {
            for k in (0..n).step_by(S::LANES) {
                // SAFETY: LANES divides the panel and DEPTH, so that LANES rows and columns are there, of numbers or of none.
                unsafe {
                    let from = numbers.add(column * APART + k);
                    s.transpose(from, APART as isize, to.add(k * panel + column), panel);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Any bytes, infinite and NaN scales among them, are the same on every instruction set, NaNs but for their
        /// payload.
        #[test]
        fn instruction_sets_agree(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            for &format in BlockFormat::GGML {
                let blocks = bytes.len() / format.bytes();
                let run = |isa| {
                    let mut out = vec![0.5f32; blocks * format.len()];
                    unpack(isa, format, &bytes, &mut out);
                    out.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect::<Vec<_>>()
                };
                let scalar = run(Isa::Scalar);
                for &isa in Isa::available() {
                    prop_assert_eq!(&run(isa), &scalar, "{} on {}", format, isa);
                }
            }
        }
    }

    #[test]
    fn sizes_are_those_of_the_blocks() {
        for &format in BlockFormat::GGML {
            // One block and a byte too few for two: one is written.
            let bytes = vec![0xff; 2 * format.bytes() - 1];
            let mut out = vec![0.5; 2 * format.len()];
            unpack(Isa::Scalar, format, &bytes, &mut out);
            let written = out.iter().filter(|&&v| v.to_bits() != 0.5f32.to_bits()).count();
            assert_eq!(written, format.len(), "{format}");
            assert_eq!(DEPTH % format.len(), 0, "{format}");
        }
    }
}
