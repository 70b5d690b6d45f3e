//! Dense row-major operands: the axis that a kernel works along, and operands that do not fit together.

use bgz_passes::ir::DType;
use bgz_passes::memory::room;
use bytemuck::Pod;

/// Operands that a kernel over dense tensors cannot work on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenseError {
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
    #[error("a tensor of shape {0:?} has too many elements")]
    TooLarge(Vec<usize>),
    /// Elements are 1, 2, 4 or 8 bytes.
    #[error("elements of {0} bytes; 1, 2, 4 or 8 are supported")]
    ElementSize(usize),
    /// There is no such axis.
    #[error("axis {axis} of a tensor of rank {rank}")]
    Axis {
        /// The axis.
        axis: usize,
        /// Axes that there are.
        rank: usize,
    },
    /// Two shapes that do not go together.
    #[error("{name} {got:?} for a shape of {shape:?}")]
    Shape {
        /// Whose extents, or other numbers one an axis, do not fit.
        name: &'static str,
        /// They.
        got: Vec<i64>,
        /// The shape that they do not fit.
        shape: Vec<usize>,
    },
    /// An index beyond its axis, on either side.
    #[error("index {index} of an axis of extent {extent}")]
    Index {
        /// The index as given.
        index: i64,
        /// The extent.
        extent: usize,
    },
    /// A result that needs at least one entry, of none.
    #[error("{0} of no entries")]
    Empty(&'static str),
    /// More entries than there are.
    #[error("{k} of {count} entries")]
    TooMany {
        /// So many are wanted.
        k: usize,
        /// So many there are.
        count: usize,
    },
    /// Numbers from which no range follows.
    #[error("range({0})")]
    Range(String),
    /// Elements that a kernel does not compute with.
    #[error("not defined for {0}")]
    DType(DType),
    /// Bytes that are no whole elements, or do not lie at a multiple of their size.
    #[error("{0}: bytes that are not aligned elements")]
    Unaligned(&'static str),
    /// More memory than there is.
    #[error("{bytes} bytes of working memory are needed, which memory does not suffice for")]
    Memory {
        /// So much.
        bytes: usize,
    },
}

/// A tensor seen along one axis: `[outer, count, inner]`, row-major. A lane is what lies along `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lanes {
    pub(crate) outer: usize,
    pub(crate) count: usize,
    pub(crate) inner: usize,
}

impl Lanes {
    /// The lanes of a tensor along an axis.
    ///
    /// # Errors
    /// There is no such axis, or there are more elements than addresses.
    pub fn new(shape: &[usize], axis: usize) -> Result<Self, DenseError> {
        let (Some(&count), Some(before)) = (shape.get(axis), shape.get(..axis)) else {
            return Err(DenseError::Axis { axis, rank: shape.len() });
        };
        elements(shape)?;
        Ok(Self { outer: before.iter().product(), count, inner: shape[axis + 1..].iter().product() })
    }

    /// Elements of the tensor.
    pub fn elements(&self) -> usize {
        self.outer * self.count * self.inner
    }

    /// Lanes: as many as results of a reduction.
    pub fn lanes(&self) -> usize {
        self.outer * self.inner
    }

    /// The extents, `[outer, count, inner]`.
    pub fn extents(&self) -> [usize; 3] {
        [self.outer, self.count, self.inner]
    }
}

/// Elements of a shape. An extent of 0 does not excuse the others, so that a product of some of them can be held, and be
/// a number of bytes, too.
pub(crate) fn elements(shape: &[usize]) -> Result<usize, DenseError> {
    let most = shape.iter().try_fold(size_of::<u64>(), |n, &d| n.checked_mul(d.max(1)));
    match most {
        Some(n) if isize::try_from(n).is_ok() => Ok(shape.iter().product()),
        _ => Err(DenseError::TooLarge(shape.to_vec())),
    }
}

/// That a slice has the length it needs to have.
pub(crate) fn length(name: &'static str, got: usize, want: usize) -> Result<(), DenseError> {
    if got == want { Ok(()) } else { Err(DenseError::Length { name, got, want }) }
}

/// Bytes as the elements that they are.
pub(crate) fn cast<'a, T: Pod>(name: &'static str, bytes: &'a [u8]) -> Result<&'a [T], DenseError> {
    bytemuck::try_cast_slice(bytes).map_err(|_| DenseError::Unaligned(name))
}

/// As [`cast`], to be written.
pub(crate) fn cast_mut<'a, T: Pod>(name: &'static str, bytes: &'a mut [u8]) -> Result<&'a mut [T], DenseError> {
    bytemuck::try_cast_slice_mut(bytes).map_err(|_| DenseError::Unaligned(name))
}

/// That bytes are so many elements.
pub(crate) fn bytes(name: &'static str, got: &[u8], elements: usize, size: usize) -> Result<(), DenseError> {
    length(name, got.len(), elements.saturating_mul(size))
}

/// That elements have a size that is known.
pub(crate) fn element_size(size: usize) -> Result<(), DenseError> {
    if matches!(size, 1 | 2 | 4 | 8) { Ok(()) } else { Err(DenseError::ElementSize(size)) }
}

/// The error of extents that do not go with a shape.
pub(crate) fn misfit(name: &'static str, got: &[usize], shape: &[usize]) -> DenseError {
    let got = got.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
    DenseError::Shape { name, got, shape: shape.to_vec() }
}

/// Row-major strides of a shape that [`elements`] has seen.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        out[i - 1] = out[i] * shape[i];
    }
    out
}

/// So many copies of a value, if there is memory for them.
pub(crate) fn filled<T: Clone>(value: T, len: usize) -> Result<Vec<T>, DenseError> {
    let mut out = room(len).map_err(|bytes| DenseError::Memory { bytes })?;
    out.resize(len, value);
    Ok(out)
}

/// `$body` with `$n` a constant: the size of elements that are moved as arrays of bytes, which may lie at any address.
macro_rules! by_size {
    ($size:expr, $n:ident => $body:expr) => {
        match $size {
            1 => {
                const $n: usize = 1;
                $body
            }
            2 => {
                const $n: usize = 2;
                $body
            }
            4 => {
                const $n: usize = 4;
                $body
            }
            8 => {
                const $n: usize = 8;
                $body
            }
            other => Err($crate::dense::DenseError::ElementSize(other)),
        }
    };
}
pub(crate) use by_size;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_along_an_axis() {
        assert_eq!(Lanes::new(&[2, 3, 4, 5], 1), Ok(Lanes { outer: 2, count: 3, inner: 20 }));
        assert_eq!(Lanes::new(&[7], 0), Ok(Lanes { outer: 1, count: 7, inner: 1 }));
        assert_eq!(Lanes::new(&[], 0), Err(DenseError::Axis { axis: 0, rank: 0 }));
        assert_eq!(Lanes::new(&[2, 3], 2), Err(DenseError::Axis { axis: 2, rank: 2 }));
        assert!(matches!(Lanes::new(&[0, usize::MAX, 2], 0), Err(DenseError::TooLarge(_))));
    }
}
