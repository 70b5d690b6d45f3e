//! Reductions, extremes, running sums: of f32 over the rows of the last axis, else of any type along any axes.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::step::Kernel;
use super::super::view::View;
use super::{Lowering, Run, with_number};
use crate::kernels::reduce;
use crate::kernels::rows::{self, Reduction};
use bgz_passes::ir::{Binary, DType, Expr, Fold, FoldKind, Node, Reduce, Scalar};
use std::fmt::Display;

/// Reductions of rows of `cols`.
struct Rows {
    kind: Reduction,
    cols: usize,
}

impl Kernel for Rows {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let (x, out) = (reads.slice::<f32>(0), writes.slice::<f32>(0));
        if self.cols > 0 {
            return rows::reduce(self.kind, x, out, self.cols).map_err(|e| e.to_string());
        }
        out.fill(match self.kind {
            Reduction::Sum => 0.0,
            Reduction::Prod => 1.0,
            Reduction::Mean => f32::NAN,
            Reduction::Max => f32::NEG_INFINITY,
            Reduction::Min => f32::INFINITY,
        });
        Ok(())
    }
}

/// A kernel over the columns of stacks of rows.
struct Columns {
    kind: Reduction,
    extents: [usize; 2],
}

impl Kernel for Columns {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        rows::reduce_columns(self.kind, reads.slice(0), writes.slice(0), self.extents).map_err(|e| e.to_string())
    }
}

/// Columns from which on rows are added as they lie, rather than turned first: half a vector of AVX-512.
const MIN_COLUMNS: usize = 8;

/// A kernel that is a function of the memory of its step, for one of several types of elements.
fn boxed<E: Display>(
    run: impl Fn(&Reads, &mut Writes) -> Result<(), E> + Send + Sync + 'static,
) -> Result<Box<dyn Kernel>, ExecError> {
    Ok(Box::new(Run(run)))
}

/// A function of u64 and a number, which is given by its bits.
fn of_u64(f: Binary, bits: i64) -> Expr {
    let number = Expr::Literal(Scalar::from_i64(DType::U64, bits));
    Expr::Binary(f, Box::new(Expr::Input(0)), Box::new(number))
}

fn reduction(kind: FoldKind) -> Reduction {
    match kind {
        FoldKind::Sum => Reduction::Sum,
        FoldKind::Mean => Reduction::Mean,
        FoldKind::Max => Reduction::Max,
        FoldKind::Min => Reduction::Min,
        FoldKind::Prod => Reduction::Prod,
    }
}

impl Lowering<'_> {
    pub(super) fn reduce(&mut self, node: &Node, op: &Reduce) -> Result<(), ExecError> {
        let x = node.inputs[0];
        match op {
            Reduce::Fold(f) if f.axes.is_empty() => {
                let view = self.view(x)?;
                self.alias(node.outputs[0], view);
                Ok(())
            }
            Reduce::Fold(f) if self.dtype(x) == DType::F32 => self.fold_rows(node, f),
            Reduce::Fold(f) => {
                let x = self.contiguous(x)?;
                let count: usize = f.axes.iter().map(|&a| x.shape[a]).product();
                let ordered = matches!(f.kind, FoldKind::Max | FoldKind::Min);
                let (x, mut back) = self.known(node, &x, ordered)?;
                let mut kind = reduction(f.kind);
                if let (Some(back), FoldKind::Mean) = (&mut back, f.kind)
                    && back.0 == DType::U64
                    && count > 0
                {
                    // The sum wraps as one with a sign does, what it is divided by does not care for the bits.
                    kind = Reduction::Sum;
                    back.1 = of_u64(Binary::Div, count as i64);
                }
                let fold = reduce::Fold::new(kind, &x.shape, &f.axes).map_err(|e| self.fail(node, e.to_string()))?;
                let out = self.buffer(x.dtype, &self.shape(node.outputs[0])?)?;
                let kernel: Box<dyn Kernel> = with_number!(self, node, x.dtype, T => {
                    boxed(move |r, w| fold.run::<T>(r.slice(0), w.slice(0)))
                })?;
                self.step_of(&[node], "reduce", kernel, &[&x], &[&out]);
                self.back(node, out, back)
            }
            Reduce::Arg(a) => {
                let x = self.contiguous(x)?;
                let (x, _) = self.known(node, &x, true)?;
                let (lanes, max, last) = (self.lanes(node, &x.shape, a.axis)?, a.max, a.last);
                with_number!(self, node, x.dtype, T => self.run(node, "reduce", &[x], move |r, w| {
                    reduce::arg_extreme::<T>(max, last, lanes, r.slice(0), w.slice(0))
                }))
            }
            Reduce::Cumulative(c) => {
                let x = self.contiguous(x)?;
                let (x, back) = self.known(node, &x, false)?;
                let (lanes, exclusive, reverse) = (self.lanes(node, &x.shape, c.axis)?, c.exclusive, c.reverse);
                let out = self.buffer(x.dtype, &x.shape)?;
                let kernel: Box<dyn Kernel> = with_number!(self, node, x.dtype, T => {
                    boxed(move |r, w| {
                        reduce::cumulative_sum::<T>(exclusive, reverse, lanes, r.slice(0), w.slice(0))
                    })
                })?;
                self.step_of(&[node], "cumulative", kernel, &[&x], &[&out]);
                self.back(node, out, back)
            }
            Reduce::TopK(t) => {
                let shape = self.shape(node.outputs[0])?;
                let (k, largest) = (shape[t.axis], t.largest);
                let x = self.contiguous(x)?;
                let (x, back) = self.known(node, &x, true)?;
                let lanes = self.lanes(node, &x.shape, t.axis)?;
                let (values, indices) = (self.buffer(x.dtype, &shape)?, self.output(node.outputs[1])?);
                let kernel: Box<dyn Kernel> = with_number!(self, node, x.dtype, T => {
                    boxed(move |r, w| {
                        let (values, indices) = w.pair();
                        let (values, indices) = (bytemuck::cast_slice_mut(values), bytemuck::cast_slice_mut(indices));
                        reduce::top_k::<T>(largest, k, lanes, r.slice(0), values, indices)
                    })
                })?;
                self.step_of(&[node], "top k", kernel, &[&x], &[&values, &indices]);
                self.back(node, values, back)
            }
        }
    }

    /// Row-major integers as those of a type that reductions know, in the same order if that matters, and what makes
    /// a result of theirs one of the op: the dtype it is read as, and a function of its elements. Nothing, if it is one.
    fn known(&mut self, node: &Node, x: &View, ordered: bool) -> Result<(View, Option<(DType, Expr)>), ExecError> {
        let input = || Box::new(Expr::Input(0));
        Ok(match x.dtype {
            DType::U64 if ordered => {
                let turned = self.computed(node, x, &of_u64(Binary::Xor, i64::MIN))?;
                (View { dtype: DType::I64, ..turned }, Some((DType::U64, of_u64(Binary::Xor, i64::MIN))))
            }
            DType::U64 => (View { dtype: DType::I64, ..x.clone() }, Some((DType::U64, Expr::Input(0)))),
            d if d.is_packed() && d.is_int() || matches!(d, DType::U16 | DType::U32) => {
                (self.converted(node, x, DType::I64)?, Some((DType::I64, Expr::Cast(d, input()))))
            }
            _ => (x.clone(), None),
        })
    }

    /// Makes the first result of a node of what a kernel made of [known](Self::known) integers.
    fn back(&mut self, node: &Node, made: View, back: Option<(DType, Expr)>) -> Result<(), ExecError> {
        let view = match back {
            None => made,
            Some((dtype, Expr::Input(_))) => View { dtype, ..made },
            Some((dtype, expr)) => self.computed(node, &View { dtype, ..made }, &expr)?,
        };
        self.alias(node.outputs[0], view);
        Ok(())
    }

    /// Of f32: neighbouring axes of a row-major operand as they lie; others are brought to the end first.
    fn fold_rows(&mut self, node: &Node, f: &Fold) -> Result<(), ExecError> {
        let (kind, axes) = (reduction(f.kind), &f.axes);
        let x = self.view(node.inputs[0])?;
        let count = axes.iter().map(|&a| x.shape[a]).product();
        if let Some(columns) = columns_behind(&x, axes).filter(|&n| n >= MIN_COLUMNS) {
            let kernel = Columns { kind, extents: [count, columns] };
            let out = self.output(node.outputs[0])?;
            self.step_of(&[node], "rows", Box::new(kernel), &[&x], &[&out]);
            return Ok(());
        }
        let kept = (0..x.shape.len()).filter(|a| !axes.contains(a));
        let perm: Vec<usize> = kept.chain(axes.iter().copied()).collect();
        let rows = self.row_major(node, x.transposed(&perm))?;
        let out = self.output(node.outputs[0])?;
        self.step_of(&[node], "rows", Box::new(Rows { kind, cols: count }), &[&rows], &[&out]);
        Ok(())
    }
}

/// Elements behind neighbouring axes of a row-major view.
fn columns_behind(x: &View, axes: &[usize]) -> Option<usize> {
    let (first, last) = (axes.iter().min()?, axes.iter().max()?);
    let neighbours = (*first..=*last).all(|a| axes.contains(&a));
    (x.is_contiguous() && neighbours).then(|| x.shape[last + 1..].iter().product())
}
