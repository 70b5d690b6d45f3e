//! Entries added before and after axes.

use super::super::dense::{self, DenseError};
use super::super::parallel;
use bgz_passes::ir::PadMode;

/// Padding of a tensor, prepared once for its shape.
#[derive(Clone, Debug)]
pub struct Pad {
    mode: PadMode,
    /// Neighbours that are not padded are one; those at the end are a part of an element.
    axes: Vec<Axis>,
    /// Elements that are moved together.
    unit: usize,
    shape: Vec<usize>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Axis {
    extent: usize,
    /// Entries before the first; below 0, of those that are cut off.
    before: i64,
    /// Extent of the result.
    padded: usize,
}

impl Axis {
    fn is_whole(&self) -> bool {
        self.before == 0 && self.padded == self.extent
    }

    /// The entry that the entry `at` of the result would be if the axis had no ends.
    fn place(&self, at: usize) -> i128 {
        at as i128 - i128::from(self.before)
    }

    /// The entry that is at a place; `None` of what is filled. An axis that is padded with its own entries has some.
    fn source(&self, mode: PadMode, at: usize) -> Option<usize> {
        let (i, n) = (self.place(at), self.extent as i128);
        let entry = match mode {
            _ if (0..n).contains(&i) => i,
            PadMode::Constant => return None,
            PadMode::Edge => i.clamp(0, n - 1),
            PadMode::Reflect if n == 1 => 0,
            PadMode::Reflect => {
                let r = i.rem_euclid(2 * (n - 1));
                r.min(2 * (n - 1) - r)
            }
        };
        usize::try_from(entry).ok()
    }

    /// The entry at a place of the result, how many entries from there on follow on each other, and in which direction:
    /// forwards, backwards, or always the same.
    fn run(&self, mode: PadMode, at: usize) -> (Option<usize>, usize, isize) {
        let (i, n) = (self.place(at), self.extent as i128);
        let left = (self.padded - at) as i128;
        let source = self.source(mode, at);
        let (count, direction) = match mode {
            _ if (0..n).contains(&i) => (n - i, 1),
            PadMode::Reflect if n > 1 => {
                let r = i.rem_euclid(2 * (n - 1));
                if r < n - 1 { (n - 1 - r, 1) } else { (2 * (n - 1) - r, -1) }
            }
            _ if i < 0 => (-i, 0),
            _ => (left, 0),
        };
        (source, count.min(left) as usize, direction)
    }
}

impl Pad {
    /// Of a tensor of a shape: `pads` are the numbers of entries before each axis, then those after each axis; of a number
    /// below 0, entries are cut off.
    ///
    /// # Errors
    /// There are not two numbers for each axis, more is cut off than there is, an axis without entries is to be padded with
    /// its own, or there are more elements than addresses.
    pub fn new(mode: PadMode, shape: &[usize], pads: &[i64]) -> Result<Self, DenseError> {
        let misfit = || DenseError::Shape { name: "pads", got: pads.to_vec(), shape: shape.to_vec() };
        let rank = shape.len();
        if rank.checked_mul(2) != Some(pads.len()) {
            return Err(misfit());
        }
        let len = dense::elements(shape)?;
        let mut out = Vec::with_capacity(rank);
        let mut axes: Vec<Axis> = Vec::with_capacity(rank);
        for (i, &extent) in shape.iter().enumerate() {
            let (before, after) = (pads[i], pads[rank + i]);
            let padded = extent as i128 + i128::from(before) + i128::from(after);
            let padded = usize::try_from(padded).map_err(|_| misfit())?;
            let axis = Axis { extent, before, padded };
            if extent == 0 && padded > 0 && mode != PadMode::Constant {
                return Err(DenseError::Empty("a border to pad from"));
            }
            out.push(padded);
            match axes.last_mut() {
                Some(last) if last.is_whole() && axis.is_whole() => {
                    *last = Axis { extent: last.extent * extent, before: 0, padded: last.padded * padded };
                }
                _ => axes.push(axis),
            }
        }
        dense::elements(&out)?;
        let unit = axes.pop_if(|last| last.is_whole()).map_or(1, |last| last.extent);
        Ok(Self { mode, axes, unit, shape: out, len })
    }

    /// The shape of the result.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Writes `x` with its padding to `out`. `value` is one element, and put where the mode is [`PadMode::Constant`].
    ///
    /// # Errors
    /// A slice has another length, or the element is not of 1, 2, 4 or 8 bytes.
    pub fn run(&self, x: &[u8], value: &[u8], out: &mut [u8]) -> Result<(), DenseError> {
        let size = value.len();
        dense::element_size(size)?;
        dense::bytes("x", x, self.len, size)?;
        dense::bytes("out", out, self.shape.iter().product(), size)?;
        if out.is_empty() {
            return Ok(());
        }
        self.pad(&self.axes, x, value, out)
    }

    fn pad(&self, axes: &[Axis], x: &[u8], value: &[u8], out: &mut [u8]) -> Result<(), DenseError> {
        let Some((axis, others)) = axes.split_first() else {
            parallel::copy(x, out);
            return Ok(());
        };
        let pieces = parallel::pieces_of_bytes(out.len());
        let to = out.len() / axis.padded;
        if others.is_empty() {
            return parallel::try_parts(out, to, pieces, &|first, part| self.last(axis, first, x, value, part));
        }
        let from = x.len().checked_div(axis.extent).unwrap_or(0);
        parallel::try_parts(out, to, pieces, &|first, part| {
            for (at, part) in (first..).zip(part.chunks_exact_mut(to)) {
                match axis.source(self.mode, at) {
                    Some(i) => self.pad(others, &x[i * from..][..from], value, part)?,
                    None => super::fill(value, part)?,
                }
            }
            Ok(())
        })
    }

    /// Entries of the last axis from number `first` on.
    fn last(&self, axis: &Axis, first: usize, x: &[u8], value: &[u8], mut out: &mut [u8]) -> Result<(), DenseError> {
        let unit = self.unit * value.len();
        let mut at = first;
        while !out.is_empty() {
            let (source, count, direction) = axis.run(self.mode, at);
            let n = count.min(out.len() / unit);
            let (to, rest) = out.split_at_mut(n * unit);
            match (source, direction) {
                (None, _) => super::fill(value, to)?,
                (Some(i), 1) => to.copy_from_slice(&x[i * unit..][..n * unit]),
                (Some(i), _) => {
                    for (j, to) in to.chunks_exact_mut(unit).enumerate() {
                        let entry = if direction == 0 { i } else { i - j };
                        to.copy_from_slice(&x[entry * unit..][..unit]);
                    }
                }
            }
            (out, at) = (rest, at + n);
        }
        Ok(())
    }
}
