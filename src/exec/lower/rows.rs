//! Softmax, norms and reductions: kernels over the rows of the last axis.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::plan::Kernel;
use super::super::view::View;
use super::Lowering;
use crate::kernels::rows::{self, Reduction};
use bgz_passes::ir::{FoldKind, Node, Norm, Op, Reduce};

/// A kernel over rows of `cols`.
struct Rows {
    op: RowOp,
    cols: usize,
    /// Whether operands 1 and 2 are a scale and a bias.
    scale: bool,
    bias: bool,
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

enum RowOp {
    Softmax,
    LogSoftmax,
    LayerNorm(f32),
    RmsNorm(f32),
    Reduce(Reduction),
}

impl Kernel for Rows {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let x = reads.slice::<f32>(0);
        let scale = self.scale.then(|| reads.slice::<f32>(1));
        let bias = self.bias.then(|| reads.slice::<f32>(2));
        let out = writes.slice::<f32>(0);
        match self.op {
            RowOp::Softmax => rows::softmax(x, out, self.cols, 1.0),
            RowOp::LogSoftmax => rows::log_softmax(x, out, self.cols, 1.0),
            RowOp::LayerNorm(eps) => rows::layer_norm(x, scale, bias, eps, out, self.cols),
            RowOp::RmsNorm(eps) => rows::rms_norm(x, scale, eps, out, self.cols),
            RowOp::Reduce(kind) if self.cols > 0 => rows::reduce(kind, x, out, self.cols),
            RowOp::Reduce(kind) => {
                let empty = match kind {
                    Reduction::Sum => 0.0,
                    Reduction::Prod => 1.0,
                    Reduction::Mean => f32::NAN,
                    Reduction::Max => f32::NEG_INFINITY,
                    Reduction::Min => f32::INFINITY,
                };
                out.fill(empty);
                Ok(())
            }
        }
        .map_err(|e| e.to_string())
    }
}

impl Lowering<'_> {
    pub(super) fn rows(&mut self, node: &Node) -> Result<bool, ExecError> {
        if !self.all_f32(node) {
            return Ok(false);
        }
        let rank = match node.inputs.first() {
            Some(&x) => self.graph.ty(x).rank(),
            None => return Ok(false),
        };
        let last = rank.saturating_sub(1);
        let (op, axis) = match &node.op {
            Op::Norm(Norm::Softmax { axis }) => (RowOp::Softmax, *axis),
            Op::Norm(Norm::LogSoftmax { axis }) => (RowOp::LogSoftmax, *axis),
            Op::Norm(Norm::LayerNorm { eps }) => (RowOp::LayerNorm(eps.0), last),
            Op::Norm(Norm::RmsNorm { eps }) => (RowOp::RmsNorm(eps.0), last),
            Op::Reduce(Reduce::Fold(r)) if !r.axes.is_empty() => return self.reduce(node, r.kind, &r.axes),
            _ => return Ok(false),
        };
        if axis != last {
            self.rows_along(node, op, axis)?;
            return Ok(true);
        }
        let views = node.inputs.iter().map(|&v| self.contiguous(v)).collect::<Result<Vec<_>, _>>()?;
        let cols = views[0].shape.last().copied().unwrap_or(1);
        let kernel = Rows { op, cols, scale: views.len() > 1, bias: views.len() > 2 };
        let out = self.output(node.outputs[0])?;
        self.step_of(&[node], "rows", Box::new(kernel), &views.iter().collect::<Vec<_>>(), &[&out]);
        Ok(true)
    }

    /// Along another axis than the last: on a copy that has it last, seen with the axes as they were.
    fn rows_along(&mut self, node: &Node, op: RowOp, axis: usize) -> Result<(), ExecError> {
        let x = self.view(node.inputs[0])?;
        let perm: Vec<usize> = (0..x.shape.len()).filter(|&a| a != axis).chain([axis]).collect();
        let turned = self.rowwise(node, x.transposed(&perm))?;
        let out = self.buffer(turned.dtype, &turned.shape)?;
        let kernel = Rows { op, cols: x.shape[axis], scale: false, bias: false };
        self.step_of(&[node], "rows", Box::new(kernel), &[&turned], &[&out]);
        let mut back = vec![0; perm.len()];
        for (to, &from) in perm.iter().enumerate() {
            back[from] = to;
        }
        self.alias(node.outputs[0], out.transposed(&back));
        Ok(())
    }

    /// The view itself if it is row-major, else a copy.
    fn rowwise(&mut self, node: &Node, view: View) -> Result<View, ExecError> {
        if view.is_contiguous() { Ok(view) } else { self.copied(self.graph.name(node.outputs[0]), &view) }
    }

    /// Neighbouring axes of a row-major operand as they lie; others are brought to the end first.
    fn reduce(&mut self, node: &Node, kind: FoldKind, axes: &[usize]) -> Result<bool, ExecError> {
        let kind = match kind {
            FoldKind::Sum => Reduction::Sum,
            FoldKind::Mean => Reduction::Mean,
            FoldKind::Max => Reduction::Max,
            FoldKind::Min => Reduction::Min,
            FoldKind::Prod => Reduction::Prod,
        };
        let x = self.view(node.inputs[0])?;
        let count = axes.iter().map(|&a| x.shape[a]).product();
        if let Some(columns) = columns_behind(&x, axes).filter(|&n| n >= MIN_COLUMNS) {
            let kernel = Columns { kind, extents: [count, columns] };
            let out = self.output(node.outputs[0])?;
            self.step_of(&[node], "rows", Box::new(kernel), &[&x], &[&out]);
            return Ok(true);
        }
        let kept = (0..x.shape.len()).filter(|a| !axes.contains(a));
        let perm: Vec<usize> = kept.chain(axes.iter().copied()).collect();
        let rows = self.rowwise(node, x.transposed(&perm))?;
        let out = self.output(node.outputs[0])?;
        let kernel = Rows { op: RowOp::Reduce(kind), cols: count, scale: false, bias: false };
        self.step_of(&[node], "rows", Box::new(kernel), &[&rows], &[&out]);
        Ok(true)
    }
}

/// Elements behind neighbouring axes of a row-major view.
fn columns_behind(x: &View, axes: &[usize]) -> Option<usize> {
    let (first, last) = (axes.iter().min()?, axes.iter().max()?);
    let neighbours = (*first..=*last).all(|a| axes.contains(&a));
    (x.is_contiguous() && neighbours).then(|| x.shape[last + 1..].iter().product())
}
