//! Where the elements of a value lie: a slot, an offset and strides.

use bgz_passes::ir::DType;
use smallvec::{SmallVec, smallvec};

/// A piece of memory a plan knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// Input number.
    Input(usize),
    /// Constant number, of those that are read as they are.
    Const(usize),
    /// Result number, of the ops that whoever runs the plan does itself.
    Foreign(usize),
    /// Buffer number.
    Buffer(usize),
    /// State number, of those that are appended to where they lie.
    Appended(usize),
}

/// A number for each axis: extents, or strides. Those of most values need no memory of their own.
pub(crate) type Extents = SmallVec<[usize; 6]>;

/// Elements of a slot: `offset + sum(index * stride)`, in elements. Strides are never negative.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub slot: Slot,
    pub dtype: DType,
    pub offset: usize,
    pub shape: Extents,
    pub strides: Extents,
}

/// Strides of a row-major tensor.
pub(crate) fn row_major(shape: &[usize]) -> Extents {
    let mut strides = smallvec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i].max(1);
    }
    strides
}

impl View {
    /// All of a slot that holds a row-major tensor.
    pub fn whole(slot: Slot, dtype: DType, shape: &[usize]) -> Self {
        Self { slot, dtype, offset: 0, shape: shape.into(), strides: row_major(shape) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements from the first to behind the last.
    pub fn span(&self) -> usize {
        if self.len() == 0 {
            return 0;
        }
        1 + self.shape.iter().zip(&self.strides).map(|(&n, &s)| (n - 1) * s).sum::<usize>()
    }

    /// The bytes from the first element to behind the last.
    pub fn bytes(&self) -> (Slot, usize, usize) {
        if self.len() == 0 {
            // Wherever a cut of nothing begins.
            return (self.slot, 0, 0);
        }
        (self.slot, self.offset * self.dtype.size(), self.span() * self.dtype.size())
    }

    /// True if the elements lie in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        let mut dense = 1;
        let mut axes = self.shape.iter().zip(&self.strides).rev();
        self.len() == 0
            || axes.all(|(&n, &s)| {
                let follows = n == 1 || s == dense;
                dense *= n;
                follows
            })
    }

    /// Axes permuted.
    pub fn transposed(&self, perm: &[usize]) -> Self {
        Self {
            shape: perm.iter().map(|&p| self.shape[p]).collect(),
            strides: perm.iter().map(|&p| self.strides[p]).collect(),
            ..self.clone()
        }
    }

    /// Broadcast to `shape`, aligned at the last axis.
    pub fn broadcast(&self, shape: &[usize]) -> Self {
        let extra = shape.len() - self.shape.len();
        let strides = (0..shape.len())
            .map(|i| match i.checked_sub(extra) {
                Some(j) if self.shape[j] == shape[i] => self.strides[j],
                _ => 0,
            })
            .collect();
        Self { shape: shape.into(), strides, ..self.clone() }
    }

    /// Every `step`-th entry of an axis from `start`, `count` of them.
    pub fn sliced(&self, axis: usize, start: usize, count: usize, step: usize) -> Self {
        let mut out = self.clone();
        if count > 0 {
            out.offset += start * self.strides[axis];
        }
        out.shape[axis] = count;
        out.strides[axis] *= step;
        out
    }

    /// The same elements in the same order under another shape, if strides can say so.
    pub fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        if self.len() == 0 || self.is_contiguous() {
            return Some(Self { shape: shape.into(), strides: row_major(shape), ..self.clone() });
        }
        // Runs of old axes that lie densely within each other; each must be
        // a product of new axes.
        let mut runs: Vec<(usize, usize)> = Vec::new(); // extent, stride of the innermost
        for (&n, &s) in self.shape.iter().zip(&self.strides).filter(|(n, _)| **n != 1) {
            match runs.last_mut() {
                Some((extent, stride)) if *stride == n * s => (*extent, *stride) = (*extent * n, s),
                _ => runs.push((n, s)),
            }
        }
        let mut strides: Extents = smallvec![0; shape.len()];
        let mut runs = runs.into_iter().rev();
        let (mut left, mut stride) = runs.next().unwrap_or((1, 1));
        for i in (0..shape.len()).rev() {
            if shape[i] == 1 {
                continue;
            }
            if left == 1 {
                (left, stride) = runs.next()?;
            }
            if left % shape[i] != 0 {
                return None;
            }
            strides[i] = stride;
            stride *= shape[i];
            left /= shape[i];
        }
        Some(Self { shape: shape.into(), strides, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[usize], strides: &[usize]) -> View {
        View { slot: Slot::Buffer(0), dtype: DType::F32, offset: 0, shape: shape.into(), strides: strides.into() }
    }

    /// Offsets of the elements in row-major order.
    fn offsets(v: &View) -> Vec<usize> {
        let mut out = vec![v.offset];
        for (&n, &s) in v.shape.iter().zip(&v.strides) {
            out = out.iter().flat_map(|&o| (0..n).map(move |i| o + i * s)).collect();
        }
        out
    }

    #[test]
    fn a_reshape_keeps_the_order_or_is_refused() {
        let x = view(&[2, 3, 4], &[12, 4, 1]);
        let heads = x.reshaped(&[2, 3, 2, 2]).unwrap().transposed(&[0, 2, 1, 3]);
        assert_eq!(offsets(&heads.reshaped(&[2, 2, 1, 3, 2]).unwrap()), offsets(&heads));
        // Merging heads needs a copy.
        assert_eq!(heads.reshaped(&[2, 2, 6]), None);
        // A broadcast axis splits, but does not merge with its neighbour.
        let b = view(&[4, 3], &[0, 1]);
        assert_eq!(offsets(&b.reshaped(&[2, 2, 3]).unwrap()), offsets(&b));
        assert_eq!(b.reshaped(&[12]), None);
    }

    #[test]
    fn slices_of_slices() {
        let x = view(&[6, 4], &[4, 1]);
        let y = x.sliced(0, 1, 2, 3).sliced(1, 2, 2, 1);
        assert_eq!(offsets(&y), [6, 7, 18, 19]);
        assert_eq!(y.span(), 14);
    }
}
