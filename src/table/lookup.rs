//! A lookup row in bytes, as scan kernels sum it: the reference.

use crate::kernels::{Shape, Units, quantise_row};

/// The lookup row of one query in bytes. A key scores `offset + step * sum` of its entries.
///
/// The sum of at most 257 bytes fits 16 bits, and is the same on every instruction set.
#[derive(Clone, Debug, PartialEq)]
pub struct ByteRow {
    /// `[M, C]`
    pub bytes: Vec<u8>,
    /// The number that one unit of a byte stands for.
    pub step: f32,
    /// The number that a sum of zero stands for.
    pub offset: f32,
    entries: usize,
}

impl ByteRow {
    /// Of `row`, `[M, entries]`: each subspace less its least value, in steps of a 255th of the widest one's range,
    /// rounded to the nearest, ties to even. Rows that are not finite give scores that are not.
    pub fn new(row: &[f32], entries: usize) -> Self {
        let entries = entries.max(1);
        let shape = Shape { subspaces: row.len() / entries, entries, adds: 1 };
        let mut bytes = vec![0; shape.row_bytes()];
        let Units { offset, step } = quantise_row(shape, row, &mut bytes);
        Self { bytes, step, offset, entries }
    }

    /// Sum of the bytes that `codes`, `[M]`, choose; of a code, the bits that count are those that `C` takes.
    pub fn sum(&self, codes: &[u8]) -> u32 {
        let rows = self.bytes.chunks_exact(self.entries);
        rows.zip(codes).map(|(row, &code)| u32::from(row[usize::from(code) % self.entries])).sum()
    }

    /// The score that a sum stands for.
    pub fn score(&self, sum: u32) -> f32 {
        self.offset + self.step * sum as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_cut_into_steps_of_the_widest_subspace() {
        // Ranges 255 and 51, so that a step is 1.
        let row = [-5.0, 250.0, 0.5, 1.5, 2.0, 53.0, 2.5, 3.5];
        let bytes = ByteRow::new(&row, 4);
        assert_eq!((bytes.step, bytes.offset), (1.0, -3.0));
        // 5.5 and 6.5 are both 6, 0.5 is 0, 1.5 is 2.
        assert_eq!(bytes.bytes, [0, 255, 6, 6, 0, 51, 0, 2]);
        assert_eq!(bytes.score(bytes.sum(&[1, 1])), 303.0);
        // Bits beyond those of a code do not count.
        assert_eq!(bytes.sum(&[0xfd, 0x05]), 306);
    }

    #[test]
    fn an_error_is_half_a_step_a_subspace_at_most() {
        let row: Vec<f32> = (0..64).map(|i| ((i * 37) % 64) as f32 * 0.37 - 3.0).collect();
        let bytes = ByteRow::new(&row, 16);
        for code in 0..16u8 {
            let exact: f32 = (0..4).map(|m| row[m * 16 + usize::from(code)]).sum();
            assert!((bytes.score(bytes.sum(&[code; 4])) - exact).abs() <= 2.0 * bytes.step + 1e-4, "{code}");
        }
    }

    #[test]
    fn rows_of_one_value_and_rows_that_are_no_numbers() {
        let flat = ByteRow::new(&[2.5; 32], 16);
        assert_eq!((flat.step, flat.offset, flat.sum(&[3, 7])), (1.0, 5.0, 0));
        let mut row = [1.0; 32];
        row[20] = f32::NAN;
        assert!(ByteRow::new(&row, 16).score(0).is_nan());
        row[20] = f32::INFINITY;
        assert!(!ByteRow::new(&row, 16).score(255).is_finite());
        assert_eq!(ByteRow::new(&[], 16).bytes, [] as [u8; 0]);
    }
}
