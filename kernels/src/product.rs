//! Products of matrices in their own type: f64, and integers that wrap. Narrower integers have the low bits of wider ones.

use super::Isa;
use super::axes::Walk;
use super::dense::{self, DenseError};
use super::number::with_number;
use super::parallel::{self, Cells};
use super::simd::{Kernel, Simd, run};
use bgz_passes::ir::DType;
use bytemuck::Pod;
use std::ops::Range;

/// An element type of products: f64, i32 or i64.
trait Ring: Pod + Send + Sync {
    /// `self + a * b`.
    fn add_product(self, a: Self, b: Self) -> Self;
    /// `self + other`.
    fn plus(self, other: Self) -> Self;
}

impl Ring for f64 {
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        self + a * b
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

macro_rules! integers {
    ($($t:ty),*) => { $(
        impl Ring for $t {
            #[inline(always)]
            fn add_product(self, a: Self, b: Self) -> Self {
                self.wrapping_add(a.wrapping_mul(b))
            }

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        }
    )* };
}

integers!(i32, i64);

/// A product of stacks of matrices that broadcast, prepared once for their shapes.
#[derive(Clone, Debug)]
pub struct MatMul {
    /// Rows, depth and columns of one product.
    m: usize,
    k: usize,
    n: usize,
    /// Extents of the stack, and strides of both operands in it.
    batch: Vec<usize>,
    strides: [Vec<isize>; 2],
    shape: Vec<usize>,
    lens: [usize; 2],
}

impl MatMul {
    /// Of operands of these shapes, `[.., m, k]` and `[.., k, n]`; a vector is a row on the left and a column on the right,
    /// and that axis is not in the result.
    ///
    /// # Errors
    /// An operand is a scalar, the shapes do not go together, or there are more elements than addresses.
    pub fn new(a: &[usize], b: &[usize]) -> Result<Self, DenseError> {
        let misfit = || dense::misfit("b", b, a);
        let lens = [dense::elements(a)?, dense::elements(b)?];
        let (a_batch, [m, k]) = match *a {
            [] => return Err(misfit()),
            [k] => (&a[..0], [1, k]),
            [.., m, k] => (&a[..a.len() - 2], [m, k]),
        };
        let (b_batch, [depth, n]) = match *b {
            [] => return Err(misfit()),
            [k] => (&b[..0], [k, 1]),
            [.., k, n] => (&b[..b.len() - 2], [k, n]),
        };
        if k != depth {
            return Err(misfit());
        }
        let rank = a_batch.len().max(b_batch.len());
        let extent = |batch: &[usize], axis: usize| (axis + batch.len()).checked_sub(rank).map_or(1, |i| batch[i]);
        let mut shape = Vec::with_capacity(rank + 2);
        for axis in 0..rank {
            shape.push(match (extent(a_batch, axis), extent(b_batch, axis)) {
                (x, y) if x == y => x,
                (1, y) => y,
                (x, 1) => x,
                _ => return Err(misfit()),
            });
        }
        let batch = shape.clone();
        let strides = [(a_batch, m * k), (b_batch, k * n)].map(|(own, matrix)| {
            let mut stride = matrix as isize;
            let mut strides = vec![0; rank];
            for axis in (0..rank).rev() {
                let extent = extent(own, axis);
                strides[axis] = if extent == 1 { 0 } else { stride };
                stride = stride.wrapping_mul(extent as isize);
            }
            strides
        });
        shape.extend((a.len() > 1).then_some(m));
        shape.extend((b.len() > 1).then_some(n));
        dense::elements(&shape)?;
        Ok(Self { m, k, n, batch, strides, shape, lens })
    }

    /// The shape of the result.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Writes the product of f64, i32 or i64 to `out`, with a number for each column added where there is a `bias`. A sum goes
    /// through the depth in order; that of a single column is one of several. Large ones are cut for the threads of the
    /// current rayon pool.
    ///
    /// # Errors
    /// The dtype is another, or a slice has another length.
    pub fn run(&self, dtype: DType, a: &[u8], b: &[u8], bias: Option<&[u8]>, out: &mut [u8]) -> Result<(), DenseError> {
        with_number!(dtype, [F64 = f64, I32 = i32, I64 = i64], T => {
            let bias = bias.map(|bias| dense::cast("bias", bias)).transpose()?;
            self.of::<T>(dense::cast("a", a)?, dense::cast("b", b)?, bias, dense::cast_mut("out", out)?)
        })
    }

    fn of<T: Ring>(&self, a: &[T], b: &[T], bias: Option<&[T]>, out: &mut [T]) -> Result<(), DenseError> {
        dense::length("a", a.len(), self.lens[0])?;
        dense::length("b", b.len(), self.lens[1])?;
        dense::length("bias", bias.map_or(self.n, <[T]>::len), self.n)?;
        dense::length("out", out.len(), self.shape.iter().product())?;
        if out.is_empty() {
            return Ok(());
        }
        let isa = Isa::current();
        let job = Job { a, b, bias, out: Cells::new(out), k: self.k, n: self.n };
        // A task is a group of rows and a range of columns of a product.
        let (groups, ranges) = (self.m.div_ceil(GROUP), self.n.div_ceil(RANGE));
        let each = groups * ranges;
        let tasks = self.batch.iter().product::<usize>() * each;
        let work = (tasks * GROUP.min(self.m) * RANGE.min(self.n)).saturating_mul(self.k) / 8;
        parallel::split(0, tasks, parallel::pieces(work), &|start, end| {
            let mut walk = Walk::new(&self.batch, [&self.strides[0], &self.strides[1]], start / each);
            let mut at = start;
            while at < end {
                let [a, b] = walk.step().map(|o| o as usize);
                let stack = at / each;
                while at < end && at / each == stack {
                    let (range, group) = (at % each / groups, at % each % groups);
                    let task = Task {
                        a,
                        b,
                        out: stack * self.m * self.n,
                        rows: group * GROUP..(group * GROUP + GROUP).min(self.m),
                        columns: range * RANGE..(range * RANGE + RANGE).min(self.n),
                    };
                    run(isa, Block { job: &job, task });
                    at += 1;
                }
            }
        });
        Ok(())
    }
}

/// Rows of a task.
const GROUP: usize = 32;

/// Columns of a task: those of a thousand rows of f64 are in the second-level cache.
const RANGE: usize = 64;

/// Rows and columns of which the sums are in registers.
const ROWS: usize = 4;
const COLUMNS: usize = 16;

struct Job<'a, T> {
    a: &'a [T],
    b: &'a [T],
    bias: Option<&'a [T]>,
    out: Cells<T>,
    k: usize,
    n: usize,
}

struct Task {
    /// Where the matrices start.
    a: usize,
    b: usize,
    out: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

struct Block<'a, T> {
    job: &'a Job<'a, T>,
    task: Task,
}

impl<T: Ring> Kernel for Block<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Task { rows, columns, .. } = &self.task;
        for first in columns.clone().step_by(COLUMNS) {
            let width = COLUMNS.min(columns.end - first);
            let mut row = rows.start;
            if self.job.n == 1 {
                rows.clone().for_each(|row| self.dot(row));
                return;
            }
            while row < rows.end {
                let whole = row + ROWS <= rows.end;
                match (whole, width == COLUMNS) {
                    (true, true) => self.tile::<ROWS>(row, first),
                    (true, false) => self.edge::<ROWS>(row, first, width),
                    (false, true) => self.tile::<1>(row, first),
                    (false, false) => self.edge::<1>(row, first, width),
                }
                row += if whole { ROWS } else { 1 };
            }
        }
    }
}

impl<T: Ring> Block<'_, T> {
    /// Some rows by as many columns as there are sums for. They are written as arrays, for sums that a slice is made of are
    /// kept in memory.
    #[inline(always)]
    fn tile<const R: usize>(&self, row: usize, first: usize) {
        let Job { k, n, bias, .. } = *self.job;
        let mut sums = [[T::zeroed(); COLUMNS]; R];
        let a = self.rows::<R>(row);
        let b = &self.job.b[self.task.b..];
        for i in 0..k {
            let Some(b) = b[i * n + first..].first_chunk::<COLUMNS>() else { return };
            for (sums, a) in sums.iter_mut().zip(a) {
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum = sum.add_product(a[i], b);
                }
            }
        }
        let bias = bias.and_then(|bias| bias[first..].first_chunk::<COLUMNS>());
        for (r, sums) in sums.iter().enumerate() {
            let at = self.task.out + (row + r) * n + first;
            // SAFETY: columns of a row of the result, which belong to one task only.
            if let Some(out) = unsafe { self.job.out.part(at, COLUMNS) }.first_chunk_mut::<COLUMNS>() {
                match bias {
                    Some(bias) => {
                        for ((out, &sum), &bias) in out.iter_mut().zip(sums).zip(bias) {
                            *out = sum.plus(bias);
                        }
                    }
                    None => *out = *sums,
                }
            }
        }
    }

    /// Some rows by fewer columns.
    #[inline(always)]
    fn edge<const R: usize>(&self, row: usize, first: usize, width: usize) {
        let Job { k, n, .. } = *self.job;
        let mut sums = [[T::zeroed(); COLUMNS]; R];
        let a = self.rows::<R>(row);
        let b = &self.job.b[self.task.b..];
        for i in 0..k {
            let b = &b[i * n + first..][..width];
            for (sums, a) in sums.iter_mut().zip(a) {
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum = sum.add_product(a[i], b);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            self.write(row + r, first, &sums[..width]);
        }
    }

    #[inline(always)]
    fn rows<const R: usize>(&self, row: usize) -> [&[T]; R] {
        let k = self.job.k;
        std::array::from_fn(|r| &self.job.a[self.task.a + (row + r) * k..][..k])
    }

    /// A row by the only column.
    #[inline(always)]
    fn dot(&self, row: usize) {
        let k = self.job.k;
        let (a, b) = (&self.job.a[self.task.a + row * k..][..k], &self.job.b[self.task.b..][..k]);
        let mut sums = [T::zeroed(); COLUMNS];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<COLUMNS>(), b.as_chunks::<COLUMNS>());
        for (a, b) in a.iter().zip(b) {
            for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
                *sum = sum.add_product(a, b);
            }
        }
        for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
            *sum = sum.add_product(a, b);
        }
        let sum = sums.into_iter().fold(T::zeroed(), T::plus);
        self.write(row, 0, &[sum]);
    }

    #[inline(always)]
    fn write(&self, row: usize, first: usize, sums: &[T]) {
        let at = self.task.out + row * self.job.n + first;
        // SAFETY: columns of a row of the result, which belong to one task only.
        let out = unsafe { self.job.out.part(at, sums.len()) };
        match self.job.bias {
            Some(bias) => {
                for ((out, &sum), &bias) in out.iter_mut().zip(sums).zip(&bias[first..]) {
                    *out = sum.plus(bias);
                }
            }
            None => out.copy_from_slice(sums),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::forced::on_each;
    use crate::number::Number;
    use crate::reference::{close, finite, numbers, on_threads, results};
    use bgz_passes::eval::testing::Rng;
    use bgz_passes::ir::{Op, Precision, Product, Tensor};
    use proptest::prelude::*;

    fn product<T: Ring>(a: &Tensor, b: &Tensor, bias: Option<&Tensor>) -> Result<Vec<T>, DenseError> {
        let product = MatMul::new(a.shape(), b.shape())?;
        let mut out = vec![T::zeroed(); product.shape().iter().product()];
        let bias = bias.map(numbers::<T>);
        product.of(&numbers::<T>(a), &numbers::<T>(b), bias.as_deref(), &mut out)?;
        Ok(out)
    }

    fn same<T: Ring + Number>(dtype: DType, a: &[usize], b: &[usize], rng: &mut Rng) {
        let (a, b) = (finite(dtype, a, rng), finite(dtype, b, rng));
        match (product::<T>(&a, &b, None), results(&Op::Product(Product::MatMul), &[&a, &b])) {
            (Ok(got), Ok(want)) => close(&got, &want[0], 1e-12),
            (Err(_), Err(_)) => {}
            (got, want) => panic!("{got:?} where {want:?}"),
        }
    }

    fn every_type(a: &[usize], b: &[usize], rng: &mut Rng) {
        same::<f64>(DType::F64, a, b, rng);
        same::<i64>(DType::I64, a, b, rng);
        same::<i32>(DType::I32, a, b, rng);
    }

    #[test]
    fn stacks_that_broadcast() {
        let shapes: [(&[usize], &[usize]); 16] = [
            (&[3, 4], &[4, 5]),
            (&[37, 20], &[20, 70]),
            (&[5, 33], &[33, 16]),
            (&[1, 100], &[100, 130]),
            (&[7, 50], &[50, 1]),
            (&[4], &[4]),
            (&[4], &[4, 3]),
            (&[3, 4], &[4]),
            (&[2, 3, 4], &[4, 5]),
            (&[3, 4], &[2, 4, 5]),
            (&[2, 1, 3, 4], &[5, 4, 2]),
            (&[2, 1, 3, 4], &[1, 3, 4, 2]),
            (&[3, 0], &[0, 2]),
            (&[0, 3], &[3, 2]),
            (&[2, 3, 4], &[0, 4, 5]),
            (&[2, 3, 4], &[3, 4, 5]),
        ];
        on_each(|| {
            let mut rng = Rng::new(1);
            for (a, b) in shapes {
                every_type(a, b, &mut rng);
            }
        });
    }

    #[test]
    fn a_bias_for_each_column() {
        let mut rng = Rng::new(2);
        for dtype in [DType::F64, DType::I32] {
            let [a, b, c] = [&[2, 3, 9][..], &[9, 21], &[21]].map(|shape| finite(dtype, shape, &mut rng));
            let op = Op::Product(Product::Linear { trans_w: false, precision: Precision::default() });
            let want = results(&op, &[&a, &b, &c]).unwrap();
            match dtype {
                DType::F64 => close(&product::<f64>(&a, &b, Some(&c)).unwrap(), &want[0], 1e-12),
                _ => close(&product::<i32>(&a, &b, Some(&c)).unwrap(), &want[0], 0.0),
            }
        }
    }

    #[test]
    fn large_ones_do_not_depend_on_threads() {
        let mut rng = Rng::new(3);
        let (a, b) = (finite(DType::F64, &[3, 100, 90], &mut rng), finite(DType::F64, &[90, 200], &mut rng));
        let got = on_threads(|| product::<f64>(&a, &b, None).unwrap());
        close(&got, &results(&Op::Product(Product::MatMul), &[&a, &b]).unwrap()[0], 1e-12);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (a, b) in [(&[3, 4][..], &[3, 4][..]), (&[], &[3]), (&[3], &[]), (&[2, 3, 4], &[3, 4, 5])] {
            assert!(matches!(MatMul::new(a, b), Err(DenseError::Shape { .. })));
        }
        assert!(matches!(MatMul::new(&[1 << 40, 0], &[0, 1 << 40]), Err(DenseError::TooLarge(_))));
        let product = MatMul::new(&[2, 3], &[3, 4]).unwrap();
        let length = |name, got, want| Err(DenseError::Length { name, got, want });
        assert_eq!(product.of(&[0i32; 5], &[0; 12], None, &mut [0; 8]), length("a", 5, 6));
        assert_eq!(product.of(&[0i32; 6], &[0; 11], None, &mut [0; 8]), length("b", 11, 12));
        assert_eq!(product.of(&[0i32; 6], &[0; 12], Some(&[0; 3]), &mut [0; 8]), length("bias", 3, 4));
        assert_eq!(product.of(&[0i32; 6], &[0; 12], None, &mut [0; 7]), length("out", 7, 8));
        let elements = |dtype| product.run(dtype, &[0; 24], &[0; 48], None, &mut [0; 32]);
        assert_eq!(elements(DType::U8), Err(DenseError::DType(DType::U8)));
    }

    proptest! {
        #[test]
        fn any_shapes(stack in prop::collection::vec((0usize..3, 0usize..3), 0..3), m in 0usize..7, k in 0usize..9, n in 0usize..20, seed: u64) {
            let shape = |own: Vec<usize>, matrix: [usize; 2]| [&own[..], &matrix].concat();
            let a = shape(stack.iter().map(|s| s.0).collect(), [m, k]);
            let b = shape(stack.iter().map(|s| s.1).collect(), [k, n]);
            every_type(&a, &b, &mut Rng::new(seed));
        }
    }
}
