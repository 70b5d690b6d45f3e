//! Products of rows with packed weights: `x [rows, depth] . w [depth, width] + bias`, f32 in and out.
//!
//! Weights are packed into panels as wide as the register tile, so that a tile reads its panel from front to back. A group
//! of rows stays in the second-level cache while all panels pass; while one is multiplied the next is fetched, for a panel
//! is read only a few times and would else be waited for. Several weights that the same rows meet, as those of queries, keys
//! and values do, are one product with a result for each: their panels pass one after the other.
//!
//! `float.rs` multiplies in f32, or bf16: [`Packed`]. `int8.rs` in i8, of which weights have a scale for each column and rows one
//! each: [`PackedInt8`].

mod float;
mod int8;
#[cfg(test)]
mod tests;

pub use float::{Float, Packed};
pub use int8::PackedInt8;

use super::parallel;
use bgz_passes::memory::obtainable;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::Range;

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
    /// More memory than there is.
    #[error("{bytes} bytes are needed, which memory does not suffice for")]
    Memory {
        /// For packed weights.
        bytes: usize,
    },
    /// Products of the same rows with weights that were not packed alike.
    #[error("weights packed for another instruction set, or of other numbers")]
    Mixed,
}

fn length(name: &'static str, got: usize, want: Option<usize>) -> Result<(), LinearError> {
    match want {
        Some(want) if got == want => Ok(()),
        _ => Err(LinearError::Length { name, got, want: want.unwrap_or(usize::MAX) }),
    }
}

/// Weights `[depth, width]` to be packed.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// Of f32, at any address: a file has them where it will.
    bytes: &'a [u8],
    depth: usize,
    width: usize,
    transposed: bool,
    /// Of the axis that lies last, where it is given as `[channels, positions]` and taken as `[positions, channels]`.
    channels: Option<usize>,
}

/// An f32 at any address.
type Number = [u8; size_of::<f32>()];

impl<'a> Weights<'a> {
    /// `values` is `[depth, width]`, row-major.
    pub fn new(values: &'a [f32], depth: usize, width: usize) -> Self {
        Self::from_bytes(bytemuck::cast_slice(values), depth, width)
    }

    /// As [`new`](Self::new), of the bytes of f32 in native order, which need not be aligned.
    pub fn from_bytes(bytes: &'a [u8], depth: usize, width: usize) -> Self {
        Self { bytes, depth, width, transposed: false, channels: None }
    }

    /// The same numbers as `[width, depth]`, if `transposed`.
    pub fn transposed(self, transposed: bool) -> Self {
        Self { transposed, ..self }
    }

    /// As those of a convolution: the axis that lies last is given as so many channels of positions, and taken as positions of
    /// channels.
    pub fn channels_last(self, channels: usize) -> Self {
        Self { channels: Some(channels), ..self }
    }

    /// `[depth, width]` row-major, copied only if they do not lie so.
    pub fn values(&self) -> Result<Cow<'a, [f32]>, LinearError> {
        match self.aligned()? {
            (values, false) => Ok(values),
            (_, true) => self.collected(),
        }
    }

    /// The numbers as `f32`, and whether they are `[width, depth]`.
    fn aligned(&self) -> Result<(Cow<'a, [f32]>, bool), LinearError> {
        match bytemuck::try_cast_slice(self.bytes) {
            Ok(values) if self.channels.is_none() => Ok((values.into(), self.transposed)),
            _ => Ok((self.collected()?, false)),
        }
    }

    /// A copy, `[depth, width]` row-major.
    fn collected(&self) -> Result<Cow<'a, [f32]>, LinearError> {
        let numbers = self.numbers()?;
        if numbers.is_empty() {
            return Ok(Cow::Borrowed(&[]));
        }
        let places = self.places();
        let bytes = size_of_val(numbers);
        let mut values = Vec::new();
        if !obtainable(bytes) || values.try_reserve_exact(numbers.len()).is_err() {
            return Err(LinearError::Memory { bytes });
        }
        for row in 0..self.depth {
            values.extend((0..self.width).map(|column| number(&numbers[places.of(row, column)])));
        }
        Ok(values.into())
    }

    /// The numbers where they are, as many as there have to be.
    fn numbers(&self) -> Result<&'a [Number], LinearError> {
        // A rest of bytes is a number too few, or too many.
        let (numbers, rest) = self.bytes.as_chunks();
        let want = self.depth.checked_mul(self.width);
        let more = usize::from(!rest.is_empty() && want == Some(numbers.len()));
        length("weights", numbers.len() + more, want)?;
        let last = if self.transposed { self.depth } else { self.width };
        match self.channels {
            Some(channels) if last > 0 && last.checked_rem(channels) != Some(0) => {
                Err(LinearError::Length { name: "channels", got: channels, want: last })
            }
            _ => Ok(numbers),
        }
    }

    /// Where the numbers are, of as many as [`numbers`](Self::numbers) has seen, and at least one.
    fn places(&self) -> Places {
        let last = if self.transposed { self.depth } else { self.width };
        let positions = self.channels.and_then(|c| last.checked_div(c));
        let channels = self.channels.filter(|&c| c > 0).unwrap_or(last.max(1));
        let inner = (0..last).map(|i| i % channels * positions.unwrap_or(1) + i / channels).collect();
        Places { inner, outer: last, transposed: self.transposed }
    }
}

/// Where the numbers of weights are.
struct Places {
    /// Of the axis that lies last.
    inner: Vec<usize>,
    /// From one of the other axis to the next.
    outer: usize,
    transposed: bool,
}

impl Places {
    /// The index of a number.
    #[inline(always)]
    fn of(&self, row: usize, column: usize) -> usize {
        let (inner, outer) = if self.transposed { (row, column) } else { (column, row) };
        outer * self.outer + self.inner[inner]
    }
}

/// The number that these are the bytes of.
#[inline(always)]
fn number(bytes: &Number) -> f32 {
    f32::from_ne_bytes(*bytes)
}

/// One of several products of the same rows `x`: `x . weights + bias`, written to `out`.
pub struct Branch<'a, W> {
    weights: &'a W,
    bias: Option<&'a [f32]>,
    out: *mut f32,
    len: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: `out` is a slice that lives while the threads run; pieces write elements of their own.
unsafe impl<W: Sync> Sync for Branch<'_, W> {}

// SAFETY: it is a slice that nobody else has, and references.
unsafe impl<W: Sync> Send for Branch<'_, W> {}

impl<'a, W> Branch<'a, W> {
    /// `bias` is `[width]`, `out` `[rows, width]`.
    pub fn new(weights: &'a W, bias: Option<&'a [f32]>, out: &'a mut [f32]) -> Self {
        Self { weights, bias, out: out.as_mut_ptr(), len: out.len(), life: PhantomData }
    }

    /// Weights, bias and result, for whoever multiplies by other means.
    pub fn parts(&mut self) -> (&'a W, Option<&'a [f32]>, &mut [f32]) {
        // SAFETY: the slice that it was made of, which nobody else has.
        (self.weights, self.bias, unsafe { std::slice::from_raw_parts_mut(self.out, self.len) })
    }

    /// The bias from a column on; null if there is none.
    ///
    /// # Safety
    /// There is such a column.
    unsafe fn bias(&self, column: usize) -> *const f32 {
        // SAFETY: the caller's promise.
        self.bias.map_or(std::ptr::null(), |b| unsafe { b.as_ptr().add(column) })
    }
}

/// Weights in panels.
trait Panels {
    /// Numbers of a row of `x`, numbers of a row of the result, and columns of a panel.
    fn extents(&self) -> [usize; 3];

    #[inline(always)]
    fn depth(&self) -> usize {
        self.extents()[0]
    }

    #[inline(always)]
    fn width(&self) -> usize {
        self.extents()[1]
    }

    #[inline(always)]
    fn panels(&self) -> usize {
        let [_, width, panel] = self.extents();
        width.div_ceil(panel)
    }
}

/// Rows that are multiplied by a vector of weights while the next comes from the third-level cache: 64 bytes at some 20 GB/s.
const WAITING: usize = 8;

/// The operands of products of the same rows, seen to fit.
struct Operands<'a, W> {
    x: &'a [f32],
    rows: usize,
    /// From one row of `x` to the next.
    apart: usize,
    branches: &'a [Branch<'a, W>],
}

impl<'a, W: Panels> Operands<'a, W> {
    /// The results decide the number of rows; those of `x` start `apart` from each other.
    fn new((x, apart): (&'a [f32], usize), branches: &'a [Branch<'a, W>]) -> Result<Self, LinearError> {
        let rows = branches.iter().find_map(|b| b.len.checked_div(b.weights.width())).unwrap_or(0);
        for Branch { weights, bias, len, .. } in branches {
            let width = weights.width();
            length("out", *len, rows.checked_mul(width))?;
            if width > 0 {
                let last = rows.checked_sub(1).map_or(Some(0), |n| n.checked_mul(apart)?.checked_add(weights.depth()));
                length("x", x.len(), last)?;
            }
            if let Some(bias) = bias {
                length("bias", bias.len(), Some(width))?;
            }
        }
        Ok(Self { x, rows, apart, branches })
    }

    /// Panels of all weights.
    fn panels(&self) -> usize {
        self.branches.iter().map(|b| b.weights.panels()).sum()
    }

    /// Multiply-adds of a vector of 16, or what takes as long: few rows wait for the weights.
    fn work(&self) -> usize {
        let columns: usize = self.branches.iter().map(|b| b.weights.width().div_ceil(16)).sum();
        let depth = self.branches.first().map_or(0, |b| b.weights.depth());
        self.rows.max(WAITING).saturating_mul(depth).saturating_mul(columns)
    }

    /// Some of all panels as those of each branch; the branch behind it is given, too.
    #[inline(always)]
    fn split(&self, panels: Range<usize>) -> impl Iterator<Item = (&'a Branch<'a, W>, Option<&'a W>, Range<usize>)> {
        let branches = self.branches;
        let mut before = 0;
        branches.iter().enumerate().filter_map(move |(i, branch)| {
            let own = branch.weights.panels();
            let [start, end] = [panels.start, panels.end].map(|p| p.saturating_sub(before).min(own));
            before += own;
            let next = branches.get(i + 1).map(|b| b.weights);
            (start < end).then_some((branch, next, start..end))
        })
    }
}

/// A product as pieces: a group of rows by a panel each, all panels of the first group and then those of the next.
#[derive(Clone, Copy)]
struct Cut {
    rows: usize,
    groups: usize,
    panels: usize,
}

impl Cut {
    /// Groups of at most `most` rows, as even as can be.
    fn new(rows: usize, most: usize, panels: usize) -> Self {
        Self { rows, groups: rows.div_ceil(most.max(1)), panels }
    }

    /// Runs `f` on ranges of pieces, by several threads if there are enough multiply-adds of vectors.
    fn run(self, work: usize, f: &(impl Fn(usize, usize) + Sync)) {
        let all = self.groups * self.panels;
        if all > 0 {
            parallel::split(0, all, parallel::pieces(work).min(all), f);
        }
    }

    /// Pieces `start` to `end` as rows of a group and panels for them.
    #[inline(always)]
    fn groups(self, start: usize, end: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let mut at = start;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let group = at / self.panels;
            let [from, to] = [group, group + 1].map(|g| self.rows * g / self.groups);
            let first = at % self.panels;
            let until = ((group + 1) * self.panels).min(end);
            let panels = first..first + (until - at);
            at = until;
            Some((from..to, panels))
        })
    }
}
