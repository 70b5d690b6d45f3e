//! The cost of an op, and the rows of its operands that a row of its result needs.

use crate::ir::Type;

/// The facts that are known of an operand where it is asked how rows take part.
#[derive(Clone, Debug)]
pub struct RowOperand {
    /// Its extents.
    pub shape: Vec<usize>,
    /// True if the operand is a constant.
    pub constant: bool,
}

impl RowOperand {
    /// The extents before the last one, and that one; `None` for a scalar and a vector.
    pub(super) fn rows_and_width(&self) -> Option<(&[usize], usize)> {
        rows_and_width(&self.shape)
    }
}

/// How an operand takes part in what treats every row of its result alike. A row is what lies along the last axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowPart {
    /// A row for each.
    Rows,
    /// Of fewer rows, each of which serves several.
    Repeated,
    /// A number for each row, of a row of a table.
    Indices,
    /// A constant, all of which each row meets.
    Whole,
}

/// The extents before the last one, and that one; `None` for a scalar and a vector.
pub(super) fn rows_and_width(shape: &[usize]) -> Option<(&[usize], usize)> {
    shape.split_last().filter(|(_, rows)| !rows.is_empty()).map(|(&width, rows)| (rows, width))
}

/// Rows of the first operand, and all of the others, if those are constants.
pub(super) fn rows_of_first(x: &[RowOperand]) -> Option<Vec<RowPart>> {
    let (_, rest) = x.split_first()?;
    let whole = rest.iter().map(|o| o.constant.then_some(RowPart::Whole));
    std::iter::once(Some(RowPart::Rows)).chain(whole).collect()
}

/// How operands that broadcast take part.
pub(super) fn rows_of_elements(x: &[RowOperand], out: &[usize]) -> Option<Vec<RowPart>> {
    let (rows, width) = rows_and_width(out)?;
    let part = |o: &RowOperand| {
        let (&last, before) = o.shape.split_last().unwrap_or((&1, &[]));
        if ![1, width].contains(&last) {
            return None;
        }
        if o.constant && before.iter().all(|&n| n == 1) {
            return Some(RowPart::Whole);
        }
        if before == rows {
            return Some(RowPart::Rows);
        }
        let repeats = |(own, n): (&usize, &usize)| own == n || *own == 1;
        let fits = before.len() <= rows.len() && before.iter().rev().zip(rows.iter().rev()).all(repeats);
        fits.then_some(RowPart::Repeated)
    };
    x.iter().map(part).collect()
}

/// Elements of a type whose extents are numbers; more than can be counted are `u64::MAX`.
pub(super) fn elements(ty: &Type) -> u64 {
    extents(ty).into_iter().fold(1, u64::saturating_mul)
}

/// Extents of a type, if all are numbers.
pub(super) fn extents(ty: &Type) -> Vec<u64> {
    ty.known_shape().unwrap_or_default().into_iter().map(|n| n as u64).collect()
}

/// The extent of an axis counted from the end, from 1; 1 if there is none.
pub(super) fn extent_from_end(ty: &Type, axis: usize) -> u64 {
    let extents = extents(ty);
    extents.len().checked_sub(axis).map_or(1, |i| extents[i])
}

/// A product that stays `u64::MAX` where it is more.
pub(super) fn product(factors: impl IntoIterator<Item = u64>) -> u64 {
    factors.into_iter().fold(1, u64::saturating_mul)
}
