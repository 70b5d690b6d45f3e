//! Strided views made contiguous.

use super::axes::merge_axes;
use super::parallel;

/// Views that cannot be copied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// Elements are 1, 2, 4 or 8 bytes.
    #[error("elements of {0} bytes; 1, 2, 4 or 8 are supported")]
    ElementSize(usize),
    /// Not one stride an axis.
    #[error("{got} strides for {want} axes")]
    Rank {
        /// Axes.
        want: usize,
        /// Strides.
        got: usize,
    },
    /// More axes than there is room for, after merging.
    #[error("{0} axes remain after merging; at most {MAX_AXES} are supported")]
    Axes(usize),
    /// More bytes than there are addresses.
    #[error("a view of shape {0:?} has too many elements")]
    TooLarge(Vec<usize>),
}

const MAX_AXES: usize = 32;
/// Side of the blocks a transpose is cut into: two blocks of 8-byte elements fit in L1.
const BLOCK: usize = 16;

/// A strided view to be made contiguous, prepared once for its shape.
#[derive(Clone, Debug)]
pub struct Strided {
    shape: Vec<usize>,
    strides: Vec<isize>,
    elem_size: usize,
    empty: bool,
}

impl Strided {
    /// A view of `shape` whose element `i` is at `i . strides`, in elements of
    /// `elem_size` bytes. Strides of 0 and negative ones are fine.
    pub fn new(shape: &[usize], elem_size: usize, strides: &[isize]) -> Result<Self, CopyError> {
        if strides.len() != shape.len() {
            return Err(CopyError::Rank { want: shape.len(), got: strides.len() });
        }
        if !matches!(elem_size, 1 | 2 | 4 | 8) {
            return Err(CopyError::ElementSize(elem_size));
        }
        let len = shape.iter().try_fold(elem_size, |n, &d| n.checked_mul(d));
        if len.is_none_or(|n| isize::try_from(n).is_err()) {
            return Err(CopyError::TooLarge(shape.to_vec()));
        }
        let empty = shape.contains(&0);
        let (shape, mut strides) = merge_axes(shape, &[strides.to_vec()]);
        if shape.len() > MAX_AXES {
            return Err(CopyError::Axes(shape.len()));
        }
        Ok(Self { shape, strides: strides.swap_remove(0), elem_size, empty })
    }

    /// Writes the view to `out`, row-major. Runs of contiguous elements are
    /// copied whole, a transpose goes by square blocks, large views by several
    /// threads. Nothing is allocated.
    ///
    /// # Safety
    /// `input` points to the element of index 0; all that the strides reach
    /// from there is valid for reading and is not written meanwhile. `out` is
    /// valid for writing all elements and overlaps none of them. No alignment is needed.
    pub unsafe fn run(&self, input: *const u8, out: *mut u8) {
        if self.empty {
            return;
        }
        let (shape, strides) = (&self.shape, &self.strides);
        // SAFETY: the caller's promise.
        unsafe {
            match self.elem_size {
                1 => View::<u8>::new(shape, strides, input, out).copy(),
                2 => View::<u16>::new(shape, strides, input, out).copy(),
                4 => View::<u32>::new(shape, strides, input, out).copy(),
                _ => View::<u64>::new(shape, strides, input, out).copy(),
            }
        }
    }
}

struct View<'a, T> {
    shape: &'a [usize],
    strides: &'a [isize],
    input: *const T,
    out: *mut T,
}

// SAFETY: the caller of `Strided::run` promises that the input may be read and the
// output written; threads write disjoint rows.
unsafe impl<T> Sync for View<'_, T> {}

impl<'a, T: Copy> View<'a, T> {
    fn new(shape: &'a [usize], strides: &'a [isize], input: *const u8, out: *mut u8) -> Self {
        Self { shape, strides, input: input.cast(), out: out.cast() }
    }

    /// # Safety
    /// That of [`Strided::run`].
    unsafe fn copy(&self) {
        let last = self.shape.len() - 1;
        let row = self.shape[last];
        // The axis along which the input is contiguous, if not the last.
        let along = (0..last).find(|&a| self.strides[a] == 1 && self.strides[last] != 1);
        match along {
            Some(axis) => {
                let slabs: usize = self.shape[..last].iter().product::<usize>() / self.shape[axis];
                let (tall, cost) = (self.shape[axis], 4);
                // A slab is one 2-D transpose; where there are few, each is cut along the axis.
                let cuts = if slabs < 16 { tall.div_ceil(4 * BLOCK) } else { 1 };
                let pieces = parallel::pieces(slabs * tall * row / 16 * cost);
                parallel::split(0, slabs * cuts, pieces, &|start, end| {
                    for i in start..end {
                        let per = tall.div_ceil(cuts).next_multiple_of(BLOCK);
                        let from = (i % cuts * per).min(tall);
                        let to = (from + per).min(tall);
                        // SAFETY: a slab of the view and rows of its axis.
                        unsafe { self.transpose(i / cuts, axis, from, to) }
                    }
                });
            }
            None => {
                let rows: usize = self.shape[..last].iter().product();
                let pieces = parallel::pieces(rows * row / 16 * 2);
                parallel::split(0, rows, pieces, &|start, end| {
                    for r in start..end {
                        // SAFETY: a row of the view.
                        unsafe { self.row(r) }
                    }
                });
            }
        }
    }

    /// Offset of the input where index number `n`, counted over the axes but
    /// the last and `skip`, starts; and that of the output.
    fn offsets(&self, mut n: usize, skip: usize) -> (isize, usize) {
        let (mut from, mut to) = (0, 0);
        let mut out_stride = 1;
        for a in (0..self.shape.len()).rev() {
            if a != skip && a + 1 != self.shape.len() {
                let i = n % self.shape[a];
                n /= self.shape[a];
                from += i as isize * self.strides[a];
                to += i * out_stride;
            }
            out_stride *= self.shape[a];
        }
        (from, to)
    }

    /// # Safety
    /// That of [`strided`]; the row exists.
    unsafe fn row(&self, n: usize) {
        let last = self.shape.len() - 1;
        let (len, stride) = (self.shape[last], self.strides[last]);
        let (from, _) = self.offsets(n, usize::MAX);
        // SAFETY: a row of the view.
        unsafe {
            let (from, to) = (self.input.offset(from), self.out.add(n * len));
            match stride {
                1 => std::ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), len * size_of::<T>()),
                0 => {
                    let v = from.read_unaligned();
                    for i in 0..len {
                        to.add(i).write_unaligned(v);
                    }
                }
                _ => {
                    for i in 0..len {
                        to.add(i).write_unaligned(from.offset(stride * i as isize).read_unaligned());
                    }
                }
            }
        }
    }

    /// Rows `start..end` along `axis` of 2-D slab number `slab`.
    ///
    /// # Safety
    /// That of [`strided`]; slab and rows exist.
    unsafe fn transpose(&self, slab: usize, axis: usize, start: usize, end: usize) {
        let last = self.shape.len() - 1;
        let (row, stride) = (self.shape[last], self.strides[last]);
        let out_stride: usize = self.shape[axis + 1..].iter().product();
        let (from, to) = self.offsets(slab, axis);
        for r0 in (start..end).step_by(BLOCK) {
            let r1 = (r0 + BLOCK).min(end);
            for c0 in (0..row).step_by(BLOCK) {
                let c1 = (c0 + BLOCK).min(row);
                for r in r0..r1 {
                    for c in c0..c1 {
                        // SAFETY: element (r, c) of the slab; its stride along `axis` is 1.
                        unsafe {
                            let v = self.input.offset(from + r as isize + stride * c as isize).read_unaligned();
                            self.out.add(to + r * out_stride + c).write_unaligned(v);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies element by element.
    fn naive(shape: &[usize], strides: &[isize], base: isize, input: &[u16]) -> Vec<u16> {
        let len: usize = shape.iter().product();
        (0..len)
            .map(|mut n| {
                let mut at = base;
                for (&d, &s) in shape.iter().zip(strides).rev() {
                    at += (n % d) as isize * s;
                    n /= d;
                }
                input[at as usize]
            })
            .collect()
    }

    fn check(shape: &[usize], strides: &[isize], base: isize) {
        let input: Vec<u16> = (0..60_000).map(|i| i as u16).collect();
        let want = naive(shape, strides, base, &input);
        let mut got = vec![0u16; want.len()];
        let strided = Strided::new(shape, 2, strides).unwrap();
        // SAFETY: the tests below stay within the input.
        unsafe { strided.run(input.as_ptr().offset(base).cast(), got.as_mut_ptr().cast()) };
        assert_eq!(got, want, "{shape:?} {strides:?}");
    }

    #[test]
    fn views_of_every_kind() {
        check(&[7, 5], &[5, 1], 0);
        check(&[5, 7], &[1, 5], 0);
        check(&[40, 50], &[1, 40], 3);
        check(&[3, 40, 50], &[2000, 1, 40], 0);
        check(&[40, 3, 50], &[1, 2000, 40], 0);
        check(&[4, 6, 8], &[0, 8, 1], 0);
        check(&[4, 6, 8], &[8, 0, 0], 0);
        check(&[4, 6], &[-6, -1], 100);
        check(&[2, 3, 4, 5], &[1, 40, 2, 8], 0);
        check(&[100, 300], &[1, 100], 0);
        check(&[], &[], 4);
        check(&[0, 3], &[3, 1], 0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let copy = |shape: &[usize], size, strides: &[isize]| Strided::new(shape, size, strides).map(|_| ());
        assert_eq!(copy(&[2], 3, &[1]), Err(CopyError::ElementSize(3)));
        assert_eq!(copy(&[2], 1, &[1, 1]), Err(CopyError::Rank { want: 1, got: 2 }));
        assert!(matches!(copy(&[usize::MAX, 2], 1, &[1, 1]), Err(CopyError::TooLarge(_))));
    }
}
