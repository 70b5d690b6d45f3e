//! Axes of strided views.

/// The extents and element strides that are left once axes that every operand walks as
/// one are merged and those of extent 1 dropped; at least one axis.
pub(super) fn merge_axes(shape: &[usize], strides: &[Vec<isize>]) -> (Vec<usize>, Vec<Vec<isize>>) {
    let mut axes: Vec<usize> = Vec::new();
    let mut out: Vec<Vec<isize>> = vec![Vec::new(); strides.len()];
    for (axis, &extent) in shape.iter().enumerate() {
        if extent == 1 {
            continue;
        }
        let joins = axes.last().is_some()
            && out.iter().zip(strides).all(|(o, s)| {
                let step = isize::try_from(extent).ok().and_then(|e| s[axis].checked_mul(e));
                o.last().copied() == step
            });
        match axes.last_mut() {
            Some(last) if joins => {
                *last *= extent;
                for (o, s) in out.iter_mut().zip(strides) {
                    if let Some(o) = o.last_mut() {
                        *o = s[axis];
                    }
                }
            }
            _ => {
                axes.push(extent);
                for (o, s) in out.iter_mut().zip(strides) {
                    o.push(s[axis]);
                }
            }
        }
    }
    if axes.is_empty() {
        axes.push(1);
        for o in &mut out {
            o.push(1);
        }
    }
    (axes, out)
}

/// Offsets by the strides of N operands of all indices of a shape, row-major, from one of them on; after the last comes
/// the first.
pub(super) struct Walk<'a, const N: usize> {
    shape: &'a [usize],
    strides: [&'a [isize]; N],
    index: Vec<usize>,
    at: [isize; N],
}

impl<'a, const N: usize> Walk<'a, N> {
    /// From the index of this row-major number on. No extent is 0.
    pub(super) fn new(shape: &'a [usize], strides: [&'a [isize]; N], first: usize) -> Self {
        let (mut index, mut at, mut rest) = (vec![0; shape.len()], [0; N], first);
        for (axis, &extent) in shape.iter().enumerate().rev() {
            index[axis] = rest % extent;
            rest /= extent;
            for (at, strides) in at.iter_mut().zip(strides) {
                *at += index[axis] as isize * strides[axis];
            }
        }
        Self { shape, strides, index, at }
    }

    /// The offsets of the next index.
    #[inline]
    pub(super) fn step(&mut self) -> [isize; N] {
        let now = self.at;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            let back = self.index[axis] == self.shape[axis];
            let steps = if back { 1 - self.shape[axis] as isize } else { 1 };
            for (at, strides) in self.at.iter_mut().zip(self.strides) {
                *at += steps * strides[axis];
            }
            if !back {
                break;
            }
            self.index[axis] = 0;
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contiguous_axes_become_one() {
        assert_eq!(merge_axes(&[2, 3, 4], &[vec![12, 4, 1], vec![0, 0, 0]]), (vec![24], vec![vec![1], vec![0]]));
    }

    #[test]
    fn a_broadcast_axis_stays_apart() {
        let (shape, strides) = merge_axes(&[2, 3, 1, 4], &[vec![12, 4, 4, 1], vec![0, 0, 0, 1]]);
        assert_eq!((shape, strides), (vec![6, 4], vec![vec![4, 1], vec![0, 1]]));
    }

    #[test]
    fn a_scalar_has_one_axis() {
        assert_eq!(merge_axes(&[], &[vec![]]), (vec![1], vec![vec![1]]));
    }

    #[test]
    fn a_walk_goes_round() {
        let (shape, strides) = ([2, 3], [[10, -1], [1, 2]]);
        let all = [[0, 0], [-1, 2], [-2, 4], [10, 1], [9, 3], [8, 5]];
        for first in 0..6 {
            let mut walk = Walk::new(&shape, [&strides[0], &strides[1]], first);
            for i in 0..8 {
                assert_eq!(walk.step(), all[(first + i) % 6]);
            }
        }
        assert_eq!(Walk::new(&[], [&[]], 0).step(), [0]);
    }
}
