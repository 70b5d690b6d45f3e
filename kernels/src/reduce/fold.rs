//! Sums, means, products and extremes over any axes.

use super::super::Isa;
use super::super::axes::Walk;
use super::super::dense::{self, DenseError, filled};
use super::super::number::{Number, Wide, with_number};
use super::super::parallel;
use super::super::rows::Reduction;
use super::super::simd::{Kernel, Simd, run};
use super::STRIP;
use bgz_passes::ir::DType;
use std::marker::PhantomData;

/// Numbers that are taken together by a thread where there is but one result: as many whatever the number of threads.
const BLOCK: usize = 1 << 16;

/// A reduction over axes, prepared once for its shape.
#[derive(Clone, Debug)]
pub struct Fold {
    kind: Reduction,
    /// Extents and strides of the axes that stay, but for the last one where it lies last; neighbours are one.
    kept: (Vec<usize>, Vec<isize>),
    /// Of those that go, but for the last one where it lies last.
    gone: (Vec<usize>, Vec<isize>),
    /// Extent of the axis that lies last, and whether it goes.
    last: (usize, bool),
    len: usize,
    results: usize,
    /// Elements of a result.
    count: usize,
}

impl Fold {
    /// Over these axes of a tensor of a shape; over none every element is a result.
    ///
    /// # Errors
    /// There is no such axis, or there are more elements than addresses.
    pub fn new(kind: Reduction, shape: &[usize], axes: &[usize]) -> Result<Self, DenseError> {
        if let Some(&axis) = axes.iter().find(|&&a| a >= shape.len()) {
            return Err(DenseError::Axis { axis, rank: shape.len() });
        }
        let len = dense::elements(shape)?;
        let goes = |axis: &usize| axes.contains(axis);
        let product = |of: bool| (0..shape.len()).filter(|a| goes(a) == of).map(|a| shape[a]).product::<usize>();
        let mut groups: Vec<(usize, bool)> = Vec::new();
        for (axis, &extent) in shape.iter().enumerate().filter(|&(_, &d)| d != 1) {
            match groups.last_mut() {
                Some(last) if last.1 == goes(&axis) => last.0 *= extent,
                _ => groups.push((extent, goes(&axis))),
            }
        }
        let last = groups.pop().unwrap_or((1, false));
        let (mut kept, mut gone, mut stride) = ((vec![], vec![]), (vec![], vec![]), last.0 as isize);
        for &(extent, goes) in groups.iter().rev() {
            let side = if goes { &mut gone } else { &mut kept };
            side.0.insert(0, extent);
            side.1.insert(0, stride);
            stride *= extent as isize;
        }
        Ok(Self { kind, kept, gone, last, len, results: product(false), count: product(true) })
    }

    /// Results.
    pub fn results(&self) -> usize {
        self.results
    }

    /// Writes the results, row-major in the axes that stay, of f64 or i64; f32 is for [`rows`](crate::rows). Large ones are
    /// cut for the threads of the current rayon pool.
    ///
    /// # Errors
    /// The dtype is another; a slice has another length; there is no mean of no integers; or memory for the sums
    /// of parts of one result does not suffice.
    pub fn run(&self, dtype: DType, x: &[u8], out: &mut [u8]) -> Result<(), DenseError> {
        with_number!(dtype, [F64 = f64, I64 = i64], T => {
            self.of::<T>(dense::cast("x", x)?, dense::cast_mut("out", out)?)
        })
    }

    fn of<T: Number>(&self, x: &[T], out: &mut [T]) -> Result<(), DenseError> {
        dense::length("x", x.len(), self.len)?;
        dense::length("out", out.len(), self.results)?;
        if out.is_empty() {
            return Ok(());
        }
        if self.count == 0 {
            let value = match self.kind {
                Reduction::Sum => T::Wide::ZERO,
                Reduction::Prod => T::Wide::ONE,
                Reduction::Mean if !T::Wide::HAS_NONE => return Err(DenseError::Empty("a mean")),
                Reduction::Mean => T::Wide::ZERO.over(0),
                Reduction::Max | Reduction::Min => identity(self.kind),
            };
            out.fill(T::narrow(value));
            return Ok(());
        }
        match self.kind {
            Reduction::Sum | Reduction::Mean => self.folded::<T, Sum>(x, out),
            Reduction::Max => self.folded::<T, Max>(x, out),
            Reduction::Min => self.folded::<T, Min>(x, out),
            Reduction::Prod => self.folded::<T, Prod>(x, out),
        }
    }

    fn folded<T: Number, F: Combine>(&self, x: &[T], out: &mut [T]) -> Result<(), DenseError> {
        let (isa, of) = (Isa::current(), PhantomData::<F>);
        let work = parallel::pieces(self.len / 16 * 4);
        let (cols, goes) = self.last;
        let mean = self.kind == Reduction::Mean;
        let rest = if goes { self.count / cols } else { self.count };
        if !goes {
            // Each column by itself gives the same wherever the parts are cut.
            parallel::parts(out, 1, work, &|first, out| {
                run(isa, Columns { fold: self, of, x, out, first, rest, mean })
            });
            return Ok(());
        }
        if self.results == 1 && self.gone.0.is_empty() && cols > BLOCK {
            // Parts of the one result first.
            let mut parts = filled(T::Wide::ZERO, cols.div_ceil(BLOCK))?;
            parallel::parts(&mut parts, 1, work, &|first, parts| {
                for (i, part) in (first..).zip(parts) {
                    let block = &x[i * BLOCK..(i * BLOCK + BLOCK).min(cols)];
                    *part = run(isa, Row { of, x: block });
                }
            });
            let all = parts.into_iter().fold(F::start(), F::combine);
            out[0] = T::narrow(if mean { all.over(self.count) } else { all });
            return Ok(());
        }
        parallel::parts(out, 1, work, &|first, out| run(isa, Rows { fold: self, of, x, out, first, rest, mean }));
        Ok(())
    }
}

fn identity<W: Wide>(kind: Reduction) -> W {
    match kind {
        Reduction::Sum | Reduction::Mean => W::ZERO,
        Reduction::Prod => W::ONE,
        Reduction::Max => W::LOWEST,
        Reduction::Min => W::HIGHEST,
    }
}

/// How two numbers become one.
pub(super) trait Combine: Copy + Send + Sync {
    fn start<W: Wide>() -> W;
    fn combine<W: Wide>(a: W, b: W) -> W;
}

macro_rules! combine {
    ($($name:ident $start:ident $f:ident),*) => { $(
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        impl Combine for $name {
            #[inline(always)]
            fn start<W: Wide>() -> W {
                W::$start
            }

            #[inline(always)]
            fn combine<W: Wide>(a: W, b: W) -> W {
                a.$f(b)
            }
        }
    )* };
}

combine!(Sum ZERO plus, Prod ONE times, Max LOWEST greater, Min HIGHEST smaller);

/// Accumulators side by side: two vectors of AVX-512 in each of which an addition waits for the last.
const SIDE: usize = 16;

#[inline(always)]
fn row<T: Number, F: Combine>(x: &[T]) -> T::Wide {
    let mut side = [F::start::<T::Wide>(); SIDE];
    let (chunks, rest) = x.as_chunks::<SIDE>();
    for chunk in chunks {
        for (side, &v) in side.iter_mut().zip(chunk) {
            *side = F::combine(*side, v.wide());
        }
    }
    for (side, &v) in side.iter_mut().zip(rest) {
        *side = F::combine(*side, v.wide());
    }
    side.into_iter().fold(F::start(), F::combine)
}

/// One row.
struct Row<'a, F, T> {
    of: PhantomData<F>,
    x: &'a [T],
}

impl<F: Combine, T: Number> Kernel for Row<'_, F, T> {
    type Out = T::Wide;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> T::Wide {
        row::<T, F>(self.x)
    }
}

/// Results of rows that lie contiguous.
struct Rows<'a, F, T> {
    fold: &'a Fold,
    of: PhantomData<F>,
    x: &'a [T],
    out: &'a mut [T],
    first: usize,
    /// Rows of a result.
    rest: usize,
    mean: bool,
}

impl<F: Combine, T: Number> Kernel for Rows<'_, F, T> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Fold { kept, gone, last: (cols, _), count, .. } = self.fold;
        let mut results = Walk::new(&kept.0, [&kept.1], self.first);
        let mut rows = Walk::new(&gone.0, [&gone.1], 0);
        for out in self.out {
            let [base] = results.step();
            let mut all = F::start();
            for _ in 0..self.rest {
                let [at] = rows.step();
                all = F::combine(all, row::<T, F>(&self.x[(base + at) as usize..][..*cols]));
            }
            *out = T::narrow(if self.mean { all.over(*count) } else { all });
        }
    }
}

/// Results that lie side by side.
struct Columns<'a, F, T> {
    fold: &'a Fold,
    of: PhantomData<F>,
    x: &'a [T],
    out: &'a mut [T],
    first: usize,
    /// Elements of a result.
    rest: usize,
    mean: bool,
}

impl<F: Combine, T: Number> Kernel for Columns<'_, F, T> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Fold { kept, gone, last: (cols, _), count, .. } = self.fold;
        let mut results = Walk::new(&kept.0, [&kept.1], self.first / cols);
        let mut rows = Walk::new(&gone.0, [&gone.1], 0);
        let (mut column, mut out) = (self.first % cols, self.out);
        let [mut base] = results.step();
        while !out.is_empty() {
            let n = STRIP.min(cols - column).min(out.len());
            let (to, behind) = out.split_at_mut(n);
            let mut all = [F::start::<T::Wide>(); STRIP];
            for _ in 0..self.rest {
                let [at] = rows.step();
                let x = &self.x[(base + at) as usize + column..][..n];
                if let Ok(x) = <&[T; STRIP]>::try_from(x) {
                    for (all, &v) in all.iter_mut().zip(x) {
                        *all = F::combine(*all, v.wide());
                    }
                } else {
                    for (all, &v) in all.iter_mut().zip(x) {
                        *all = F::combine(*all, v.wide());
                    }
                }
            }
            for (to, all) in to.iter_mut().zip(all) {
                *to = T::narrow(if self.mean { all.over(*count) } else { all });
            }
            (out, column) = (behind, column + n);
            if column == *cols {
                column = 0;
                [base] = results.step();
            }
        }
    }
}
