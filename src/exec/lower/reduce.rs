//! Reductions, extremes, running sums: of f32 over the rows of the last axis, else of any type along any axes.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::step::Kernel;
use super::super::view::View;
use super::Lowering;
use super::number::{Back, Same, of_u64};
use crate::kernels::reduce;
use crate::kernels::rows::{self, Reduction};
use bgz_passes::ir::{Binary, Constant, DType, Fold, FoldKind, Node, Reduce, Scalar};

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
                let count: usize = f.axes.iter().map(|&a| x.shape[a]).product();
                let ordered = matches!(f.kind, FoldKind::Max | FoldKind::Min);
                if count == 0 && ordered && !x.dtype.is_float() {
                    // The end of the range of this dtype, not of the one it is computed in.
                    let (least, greatest) = x.dtype.range();
                    let none = if f.kind == FoldKind::Max { least } else { greatest };
                    let none = self.own_constant(&Constant::scalar(Scalar::from_i64(x.dtype, none as i64)))?;
                    self.alias(node.outputs[0], none.broadcast(&self.shape(node.outputs[0])?));
                    return Ok(());
                }
                let (wide, mut back) = match (x.dtype, ordered) {
                    (DType::U64, true) => self.number(node, &x, Same::Order)?,
                    _ => self.number(node, &x, Same::Wide)?,
                };
                let mut kind = reduction(f.kind);
                if x.dtype == DType::U64 && f.kind == FoldKind::Mean && count > 0 {
                    // The sum wraps as one with a sign does; its quotient is another.
                    kind = Reduction::Sum;
                    back = Some(Back { read_as: x.dtype, then: Some(of_u64(Binary::Div, count as i64)) });
                }
                let dtype = wide.dtype;
                let fold = reduce::Fold::new(kind, &x.shape, &f.axes).map_err(|e| self.fail(node, e.to_string()))?;
                self.run_number(node, "reduce", &[wide], (dtype, back), move |r, w| {
                    fold.run(dtype, r.bytes(0), w.bytes(0))
                })
            }
            Reduce::Arg(a) => {
                let x = self.contiguous(x)?;
                let (x, _) = self.number(node, &x, Same::Order)?;
                let (lanes, max, last) = (self.lanes(node, &x.shape, a.axis)?, a.max, a.last);
                let dtype = x.dtype;
                self.run(node, "reduce", &[x], move |r, w| {
                    reduce::arg_extreme(dtype, max, last, lanes, r.bytes(0), w.slice(0))
                })
            }
            Reduce::Cumulative(c) => {
                let x = self.contiguous(x)?;
                let (x, back) = self.number(node, &x, Same::Wide)?;
                let (lanes, exclusive, reverse) = (self.lanes(node, &x.shape, c.axis)?, c.exclusive, c.reverse);
                let (dtype, run) =
                    (x.dtype, if c.product { reduce::cumulative_product } else { reduce::cumulative_sum });
                self.run_number(node, "cumulative", &[x], (dtype, back), move |r, w| {
                    run(dtype, exclusive, reverse, lanes, r.bytes(0), w.bytes(0))
                })
            }
            Reduce::TopK(t) => {
                let (k, largest) = (self.shape(node.outputs[0])?[t.axis], t.largest);
                let x = self.contiguous(x)?;
                let (x, back) = self.number(node, &x, Same::Order)?;
                let lanes = self.lanes(node, &x.shape, t.axis)?;
                let dtype = x.dtype;
                self.run_number(node, "top k", &[x], (dtype, back), move |r, w| {
                    let (values, indices) = w.pair();
                    reduce::top_k(dtype, largest, k, lanes, r.bytes(0), values, bytemuck::cast_slice_mut(indices))
                })
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
