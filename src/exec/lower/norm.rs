//! Softmax and norms: of f32 over the rows of the last axis, of f64 along any.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::step::Kernel;
use super::super::view::View;
use super::Lowering;
use crate::kernels::{double, rows};
use bgz_passes::ir::{DType, Node, Norm};

/// A kernel over rows of `cols` of f32, with a scale and a bias as operands 1 and 2.
struct Rows {
    op: Norm,
    cols: usize,
}

impl Kernel for Rows {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let operand = |i: usize| (reads.len() > i).then(|| reads.slice::<f32>(i));
        let (x, out, cols) = (reads.slice::<f32>(0), writes.slice::<f32>(0), self.cols);
        match self.op {
            Norm::Softmax { .. } => rows::softmax(x, out, cols, 1.0),
            Norm::LogSoftmax { .. } => rows::log_softmax(x, out, cols, 1.0),
            Norm::LayerNorm { eps } => rows::layer_norm(x, operand(1), operand(2), eps.0, out, cols),
            Norm::RmsNorm { eps } => rows::rms_norm(x, operand(1), eps.0, out, cols),
        }
        .map_err(|e| e.to_string())
    }

    fn takes_fewer_rows(&self) -> bool {
        true
    }
}

impl Lowering<'_> {
    pub(super) fn norm(&mut self, node: &Node, op: &Norm) -> Result<(), ExecError> {
        let last = self.graph.ty(node.inputs[0]).rank().saturating_sub(1);
        let axis = match op {
            Norm::Softmax { axis } | Norm::LogSoftmax { axis } => *axis,
            Norm::LayerNorm { .. } | Norm::RmsNorm { .. } => last,
        };
        match self.dtype(node.inputs[0]) {
            DType::F32 if axis != last => self.along(node, op, axis),
            DType::F32 => {
                let views = node.inputs.iter().map(|&v| self.contiguous(v)).collect::<Result<Vec<_>, _>>()?;
                let cols = views[0].shape.last().copied().unwrap_or(1);
                let out = self.output(node.outputs[0])?;
                let kernel = Box::new(Rows { op: op.clone(), cols });
                self.step_of(&[node], "rows", kernel, &views.iter().collect::<Vec<_>>(), &[&out]);
                Ok(())
            }
            DType::F64 => self.norm_of_f64(node, op, axis),
            other => Err(self.fail(node, format!("not defined for {other}"))),
        }
    }

    /// Along another axis than the last: on a copy that has it last, seen with the axes as they were.
    fn along(&mut self, node: &Node, op: &Norm, axis: usize) -> Result<(), ExecError> {
        let x = self.view(node.inputs[0])?;
        let perm: Vec<usize> = (0..x.shape.len()).filter(|&a| a != axis).chain([axis]).collect();
        let turned = self.row_major(node, x.transposed(&perm))?;
        let out = self.buffer(turned.dtype, &turned.shape)?;
        let kernel = Box::new(Rows { op: op.clone(), cols: x.shape[axis] });
        self.step_of(&[node], "rows", kernel, &[&turned], &[&out]);
        let mut back = vec![0; perm.len()];
        for (to, &from) in perm.iter().enumerate() {
            back[from] = to;
        }
        self.alias(node.outputs[0], out.transposed(&back));
        Ok(())
    }

    fn norm_of_f64(&mut self, node: &Node, op: &Norm, axis: usize) -> Result<(), ExecError> {
        let views = node.inputs.iter().map(|&v| self.contiguous(v)).collect::<Result<Vec<View>, _>>()?;
        let lanes = self.lanes(node, &views[0].shape, axis)?;
        let cols = views[0].shape.last().copied().unwrap_or(1);
        let op = op.clone();
        self.run(node, "rows", &views, move |r, w| {
            let operand = |i: usize| (r.len() > i).then(|| r.slice::<f64>(i));
            let (x, out) = (r.slice(0), w.slice(0));
            match op {
                Norm::Softmax { .. } => double::softmax(lanes, x, out),
                Norm::LogSoftmax { .. } => double::log_softmax(lanes, x, out),
                Norm::LayerNorm { eps } => double::layer_norm(x, operand(1), operand(2), eps.0, out, cols),
                Norm::RmsNorm { eps } => double::rms_norm(x, operand(1), eps.0, out, cols),
            }
        })
    }

    /// The view itself if it is row-major, else a copy.
    pub(super) fn row_major(&mut self, node: &Node, view: View) -> Result<View, ExecError> {
        if view.is_contiguous() { Ok(view) } else { self.copied(node.outputs[0], &view) }
    }
}
