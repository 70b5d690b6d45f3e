//! Walking a tensor in the order of another shape.

use super::tensor::MAX_LEN;

/// Row-major strides of a shape that was checked to fit memory, in elements.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        out[i - 1] = out[i] * shape[i];
    }
    out
}

/// The offset `sum(index * stride)` for every index of a shape, in row-major order.
pub(super) struct Offsets {
    shape: Vec<usize>,
    strides: Vec<usize>,
    index: Vec<usize>,
    offset: usize,
    left: usize,
}

impl Offsets {
    /// Over an index of `shape`; a stride of 0 repeats. The shape is one that
    /// was checked to fit memory.
    pub(super) fn new(shape: &[usize], strides: Vec<usize>) -> Self {
        let left = shape.iter().product();
        Self { shape: shape.to_vec(), strides, index: vec![0; shape.len()], offset: 0, left }
    }

    /// Where the elements of `shape` come from in a tensor of shape `from`,
    /// which broadcasts to it.
    pub(super) fn broadcast(from: &[usize], shape: &[usize]) -> Self {
        let lead = shape.len().saturating_sub(from.len());
        let own = strides(from);
        let strides = (0..shape.len())
            .map(|i| match i.checked_sub(lead) {
                Some(j) if from[j] != 1 => own[j],
                _ => 0,
            })
            .collect();
        Self::new(shape, strides)
    }
}

impl Iterator for Offsets {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let now = self.offset;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.offset += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                break;
            }
            self.offset -= self.strides[axis] * self.shape[axis];
            self.index[axis] = 0;
        }
        Some(now)
    }
}

/// The shape that shapes broadcast to, aligned at the last axis.
pub(super) fn broadcast_shape<'a>(shapes: impl IntoIterator<Item = &'a [usize]>) -> Result<Vec<usize>, String> {
    let mut out: Vec<usize> = Vec::new();
    for s in shapes {
        while out.len() < s.len() {
            out.insert(0, 1);
        }
        let lead = out.len() - s.len();
        for (o, &d) in out[lead..].iter_mut().zip(s) {
            match (*o, d) {
                (a, b) if a == b => {}
                (1, b) => *o = b,
                (_, 1) => {}
                (a, b) => return Err(format!("{a} and {b} do not broadcast")),
            }
        }
    }
    checked_len(&out)?;
    Ok(out)
}

/// An axis in the middle of a shape: lanes along it are `count` entries apart by `stride`.
pub(super) struct Lanes {
    pub(super) outer: usize,
    pub(super) count: usize,
    pub(super) stride: usize,
}

impl Lanes {
    pub(super) fn new(shape: &[usize], axis: usize) -> Self {
        Self { outer: shape[..axis].iter().product(), count: shape[axis], stride: shape[axis + 1..].iter().product() }
    }

    /// The offset of the first entry of every lane.
    pub(super) fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        let (count, stride) = (self.count, self.stride);
        (0..self.outer).flat_map(move |o| (0..stride).map(move |i| o * count * stride + i))
    }

    /// The offsets of the lane that starts at `start`.
    pub(super) fn lane(&self, start: usize) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let stride = self.stride;
        (0..self.count).map(move |i| start + i * stride)
    }
}

/// The number of elements of a shape, if it is one to evaluate. An extent of 0
/// does not excuse the others, so that a product of some of them is small too.
pub(super) fn checked_len(shape: &[usize]) -> Result<usize, String> {
    shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d.max(1)))
        .filter(|&n| n <= MAX_LEN)
        .map(|n| if shape.contains(&0) { 0 } else { n })
        .ok_or_else(|| format!("{shape:?} is more than {MAX_LEN} elements"))
}
