//! Resizing, one axis after the other.

use super::super::ExecError;
use super::super::view::View;
use super::Lowering;
use crate::kernels::resize::Resize as Axis;
use bgz_passes::ir::{DType, Node, Resize};

/// The axis of an image that channels are brought behind while others are resized: interpolation then goes along rows.
const CHANNELS: usize = 1;

impl Lowering<'_> {
    pub(super) fn resize(&mut self, node: &Node, op: &Resize) -> Result<(), ExecError> {
        let (from, to) = (self.shape(node.inputs[0])?, self.shape(node.outputs[0])?);
        let mut axes: Vec<_> = op.axes(&from, &to).into_iter().enumerate().filter(|(_, a)| a.is_changed()).collect();
        // Those that shrink come first: less is left for the others.
        axes.sort_by(|(_, a), (_, b)| (a.to * b.from).cmp(&(b.to * a.from)));
        let x = self.view(node.inputs[0])?;
        let rank = from.len();
        // A convolution leaves its images channels last, and the next one wants them so.
        let turn: Vec<usize> = [0].into_iter().chain(2..rank).chain([CHANNELS]).take(rank).collect();
        let last = rank > 2 && !x.is_contiguous() && x.transposed(&turn).is_contiguous();
        let mut x: View = if last { x.transposed(&turn) } else { self.contiguous(node.inputs[0])? };
        for (i, axis) in axes {
            let at = if last { turn.iter().position(|&a| a == i).unwrap_or(i) } else { i };
            let mut extents = x.shape.clone();
            extents[at] = axis.to;
            let inner = x.shape[at + 1..].iter().product();
            let kernel = Axis::new(axis.from, axis.to, inner, |o| axis.taps(o));
            let kernel = kernel.map_err(|e| self.fail(node, e.to_string()))?;
            let result = (x.dtype, &extents[..]);
            x = match (kernel.is_copy(), x.dtype) {
                (true, d) if d.size() == 1 => {
                    self.run_between(node, "resize", &x, result, move |r, w| kernel.copy::<u8>(r.slice(0), w.slice(0)))
                }
                (true, d) if d.size() == 2 => {
                    self.run_between(node, "resize", &x, result, move |r, w| kernel.copy::<u16>(r.slice(0), w.slice(0)))
                }
                (true, d) if d.size() == 4 => {
                    self.run_between(node, "resize", &x, result, move |r, w| kernel.copy::<u32>(r.slice(0), w.slice(0)))
                }
                (true, _) => {
                    self.run_between(node, "resize", &x, result, move |r, w| kernel.copy::<u64>(r.slice(0), w.slice(0)))
                }
                (false, DType::F32) => {
                    self.run_between(node, "resize", &x, result, move |r, w| kernel.run(r.slice(0), w.slice(0)))
                }
                (false, DType::F64) => {
                    self.run_between(node, "resize", &x, result, move |r, w| kernel.run_f64(r.slice(0), w.slice(0)))
                }
                (false, other) => return Err(self.fail(node, format!("interpolation of {other}"))),
            }?;
        }
        if last {
            let mut back = vec![0; rank];
            turn.iter().enumerate().for_each(|(i, &a)| back[a] = i);
            x = x.transposed(&back);
        }
        self.alias(node.outputs[0], x);
        Ok(())
    }
}
