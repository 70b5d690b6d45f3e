//! Reductions, extremes, running sums: of f32 over the rows of the last axis, else of any type along any axes.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::step::Kernel;
use super::super::view::View;
use super::{Lowering, with_number};
use crate::kernels::reduce;
use crate::kernels::rows::{self, Reduction};
use bgz_passes::ir::{DType, Fold, FoldKind, Node, Reduce};

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
                let fold = reduce::Fold::new(reduction(f.kind), &x.shape, &f.axes);
                let fold = fold.map_err(|e| self.fail(node, e.to_string()))?;
                with_number!(x.dtype, T => self.run(node, "reduce", &[x], move |r, w| {
                    fold.run::<T>(r.slice(0), w.slice(0))
                }))
            }
            Reduce::Arg(a) => {
                let x = self.contiguous(x)?;
                let (lanes, max, last) = (self.lanes(node, &x.shape, a.axis)?, a.max, a.last);
                with_number!(x.dtype, T => self.run(node, "reduce", &[x], move |r, w| {
                    reduce::arg_extreme::<T>(max, last, lanes, r.slice(0), w.slice(0))
                }))
            }
            Reduce::Cumulative(c) => {
                let x = self.contiguous(x)?;
                let (lanes, exclusive, reverse) = (self.lanes(node, &x.shape, c.axis)?, c.exclusive, c.reverse);
                with_number!(x.dtype, T => self.run(node, "cumulative", &[x], move |r, w| {
                    reduce::cumulative_sum::<T>(exclusive, reverse, lanes, r.slice(0), w.slice(0))
                }))
            }
            Reduce::TopK(t) => {
                let k = self.shape(node.outputs[0])?[t.axis];
                let x = self.contiguous(x)?;
                let (lanes, largest) = (self.lanes(node, &x.shape, t.axis)?, t.largest);
                with_number!(x.dtype, T => self.run(node, "top k", &[x], move |r, w| {
                    let (values, indices) = w.pair();
                    let (values, indices) = (bytemuck::cast_slice_mut::<u8, T>(values), bytemuck::cast_slice_mut(indices));
                    reduce::top_k::<T>(largest, k, lanes, r.slice(0), values, indices)
                }))
            }
        }
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
