//! Ops that move elements: views where strides can say it, copies where not.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::plan::Kernel;
use super::super::view::View;
use super::Lowering;
use crate::kernels::copy::Strided;
use bgz_passes::ir::{Dim, Generate, IntArg, Movement, Node, Op, Slice};

/// Copies a view into a row-major buffer.
pub(super) struct Copy(Strided);

impl Copy {
    pub fn new(view: &View) -> Result<Self, ExecError> {
        let strides: Vec<isize> = view.strides.iter().map(|&s| s as isize).collect();
        let strided = Strided::new(&view.shape, view.dtype.size(), &strides);
        strided.map(Self).map_err(|e| ExecError::Internal(e.to_string()))
    }
}

impl Kernel for Copy {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let (from, to) = (reads.bytes(0).as_ptr(), writes.bytes(0).as_mut_ptr());
        // SAFETY: the span runs from the first element of the view to behind
        // the last, the strides are the view's, and the result is a buffer of
        // its shape that does not overlap it.
        unsafe { self.0.run(from, to) };
        Ok(())
    }
}

/// Joins row-major tensors: the outer index runs over `outer` blocks, to each
/// of which operand `i` contributes `bytes[i]`.
struct Concat {
    outer: usize,
    bytes: Vec<usize>,
}

impl Kernel for Concat {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let row: usize = self.bytes.iter().sum();
        let out = writes.bytes(0);
        let mut at = 0;
        for (i, &n) in self.bytes.iter().enumerate() {
            if n > 0 {
                let from = reads.bytes(i).chunks_exact(n);
                for (to, from) in out.chunks_exact_mut(row).zip(from).take(self.outer) {
                    to[at..at + n].copy_from_slice(from);
                }
            }
            at += n;
        }
        Ok(())
    }
}

/// Fills with one element.
struct Fill {
    size: usize,
}

impl Kernel for Fill {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let value = &reads.bytes(0)[..self.size];
        for to in writes.bytes(0).chunks_exact_mut(self.size) {
            to.copy_from_slice(value);
        }
        Ok(())
    }
}

impl Lowering<'_> {
    pub(super) fn movement(&mut self, node: &Node) -> Result<bool, ExecError> {
        let Some(&out) = node.outputs.first() else { return Ok(false) };
        let shape = self.shape(out)?;
        match &node.op {
            Op::Movement(Movement::Reshape { .. }) => {
                let x = self.view(node.inputs[0])?;
                let view = match x.reshaped(&shape) {
                    Some(view) => view,
                    None => {
                        let name = self.graph.name(out);
                        let copy = self.copied(name, &x)?;
                        View { strides: super::super::view::row_major(&shape), shape, ..copy }
                    }
                };
                self.alias(out, view);
            }
            Op::Movement(Movement::Transpose { perm }) => {
                let x = self.view(node.inputs[0])?;
                self.alias(out, x.transposed(perm));
            }
            Op::Movement(Movement::Expand { .. }) => {
                let x = self.view(node.inputs[0])?;
                self.alias(out, x.broadcast(&shape));
            }
            Op::Movement(Movement::Slice(s)) => {
                let x = self.view(node.inputs[0])?;
                let Some(view) = cut(&x, s) else { return Ok(false) };
                if view.shape != shape {
                    return Ok(false);
                }
                self.alias(out, view);
            }
            Op::Movement(Movement::Concat { axis }) => {
                let views = node.inputs.iter().map(|&v| self.contiguous(v)).collect::<Result<Vec<_>, _>>()?;
                let bytes = views.iter().map(|v| v.shape[*axis..].iter().product::<usize>() * v.dtype.size()).collect();
                let kernel = Concat { outer: shape[..*axis].iter().product(), bytes };
                let to = self.output(out)?;
                self.step_of(&[node], "concat", Box::new(kernel), &views.iter().collect::<Vec<_>>(), &[&to]);
            }
            Op::Generate(Generate::Full { .. }) => {
                let value = self.view(node.inputs[0])?;
                let to = self.output(out)?;
                self.step_of(&[node], "fill", Box::new(Fill { size: to.dtype.size() }), &[&value], &[&to]);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A cut as a view, unless it runs backwards or its bounds are not known.
fn cut(x: &View, s: &Slice) -> Option<View> {
    let (IntArg::Known(starts), IntArg::Known(ends), IntArg::Known(steps)) = (&s.starts, &s.ends, &s.steps) else {
        return None;
    };
    let mut view = x.clone();
    for (i, &axis) in s.axes.iter().enumerate() {
        let int = |v: &[Dim]| v.get(i).and_then(Dim::as_int);
        let step = usize::try_from(int(steps)?).ok().filter(|&s| s > 0)?;
        let extent = i64::try_from(*view.shape.get(axis)?).ok()?;
        let (start, count) = bgz_passes::ir::slice_bounds(extent, int(starts)?, int(ends)?, step as i64);
        view = view.sliced(axis, usize::try_from(start).ok()?, usize::try_from(count).ok()?, step);
    }
    Some(view)
}
