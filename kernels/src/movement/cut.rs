//! Every so-manieth entry along axes, forwards or backwards.

use super::super::copy::{CopyError, Strided};
use super::super::dense::{self, DenseError};
use bgz_passes::ir::slice_bounds;

/// A cut along axes, prepared once for its shape: a [`Strided`] copy and where it starts.
#[derive(Clone, Debug)]
pub struct Cut {
    copy: Strided,
    shape: Vec<usize>,
    /// Bytes before the first entry, and of an operand.
    start: usize,
    bytes: usize,
    elem_size: usize,
}

/// The bounds of a cut along one axis, by Python's rules: entries `start..end` by a step that is not 0, bounds below 0 from
/// the end of the axis, `i64::MIN` as the end of a step backwards beyond the first entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The axis.
    pub axis: usize,
    /// The first entry.
    pub start: i64,
    /// One past the last entry, in the direction of the step.
    pub end: i64,
    /// From one entry to the next.
    pub step: i64,
}

impl Cut {
    /// A cut of a tensor of a shape, of elements of `elem_size` bytes; axes without bounds stay whole.
    ///
    /// # Errors
    /// There is no such axis, a step is 0, or the shape has more elements than addresses.
    pub fn new(shape: &[usize], elem_size: usize, bounds: &[Bounds]) -> Result<Self, DenseError> {
        dense::element_size(elem_size)?;
        let len = dense::elements(shape)?;
        let mut out = shape.to_vec();
        let own = dense::strides(shape);
        let mut strides: Vec<isize> = own.iter().map(|&s| s as isize).collect();
        let mut first = 0;
        for b in bounds {
            let Some(&extent) = shape.get(b.axis) else {
                return Err(DenseError::Axis { axis: b.axis, rank: shape.len() });
            };
            if b.step == 0 {
                return Err(DenseError::Shape { name: "step", got: vec![0], shape: shape.to_vec() });
            }
            let (start, count) = slice_bounds(extent as i64, b.start, b.end, b.step);
            let count = usize::try_from(count).unwrap_or(0);
            out[b.axis] = count;
            if count > 0 {
                first += start as usize * own[b.axis];
            }
            // A step of one entry may be beyond every axis.
            strides[b.axis] = if count > 1 { b.step as isize * own[b.axis] as isize } else { 0 };
        }
        let copy = Strided::new(&out, elem_size, &strides).map_err(|e| match e {
            CopyError::ElementSize(n) => DenseError::ElementSize(n),
            CopyError::TooLarge(_) | CopyError::Rank { .. } => DenseError::TooLarge(out.clone()),
            CopyError::Axes(rank) => DenseError::Axis { axis: rank, rank },
        })?;
        Ok(Self { copy, shape: out, start: first * elem_size, bytes: len * elem_size, elem_size })
    }

    /// The shape of the result.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Writes the entries of `x` to `out`, row-major.
    ///
    /// # Errors
    /// A slice has another length.
    pub fn run(&self, x: &[u8], out: &mut [u8]) -> Result<(), DenseError> {
        dense::length("x", x.len(), self.bytes)?;
        dense::bytes("out", out, self.shape.iter().product(), self.elem_size)?;
        if !out.is_empty() {
            // SAFETY: `x` is all of the operand, and the bounds stay within each axis of it; `out` is as long as the result,
            // and another slice.
            unsafe { self.copy.run(x.as_ptr().add(self.start), out.as_mut_ptr()) };
        }
        Ok(())
    }
}
