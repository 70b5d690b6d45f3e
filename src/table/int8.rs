//! Dot products of rows as 8-bit integers with one factor each: the reference of the kernels, and what a table has to
//! beat.

use super::samples::{RowScores, Window};

/// A row as 8-bit integers.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Row {
    /// From -127 to 127.
    pub values: Vec<i8>,
    /// The number that one unit stands for; 0 for a row of zeros.
    pub scale: f32,
}

impl Int8Row {
    /// `row` in steps of a 127th of its largest magnitude.
    pub fn new(row: &[f32]) -> Self {
        let scale = row.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / 127.0;
        let unit = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        // The cast saturates.
        Self { values: row.iter().map(|v| (v * unit).round_ties_even() as i8).collect(), scale }
    }

    /// The dot product with another row.
    pub fn dot(&self, other: &Self) -> f32 {
        let sum: i32 = self.values.iter().zip(&other.values).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        sum as f32 * self.scale * other.scale
    }
}

/// Scores of a window with heads of `d` dims.
pub(super) fn int8_scores<'a>(d: usize, w: &'a Window) -> RowScores<'a> {
    let rows = |x: &[f32]| x.chunks_exact(d).map(Int8Row::new).collect::<Vec<_>>();
    let (queries, keys) = (rows(&w.q), rows(&w.k));
    Box::new(move |i, out| {
        let Some(q) = queries.get(i) else { return out.fill(f32::NAN) };
        out.iter_mut().zip(&keys).for_each(|(o, k)| *o = q.dot(k));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_largest_value_and_zero() {
        let row = Int8Row::new(&[0.0, -12.7, 6.35, 0.05]);
        assert_eq!((row.values.as_slice(), row.scale), (&[0, -127, 64, 0][..], 12.7 / 127.0));
        let zero = Int8Row::new(&[0.0; 4]);
        assert_eq!((zero.scale, zero.dot(&row)), (0.0, 0.0));
        assert!((row.dot(&row) - (12.7 * 12.7 + 6.4 * 6.4)).abs() < 1e-3);
    }
}
