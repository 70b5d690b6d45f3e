//! Ops that move elements: views where strides can say it, copies where not.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::step::{Appended, Kernel, StepOf};
use super::super::view::{View, row_major};
use super::{Lowering, Run};
use crate::kernels::copy::Strided;
use crate::kernels::movement::{self, Bounds, Cut, Pad, Tile};
use bgz_passes::ir::{IntArg, Movement, Node, Slice, slice_bounds};

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

impl Lowering<'_> {
    pub(super) fn movement(&mut self, node: &Node, op: &Movement) -> Result<(), ExecError> {
        let (x, out) = (node.inputs[0], node.outputs[0]);
        let shape = self.shape(out)?;
        let size = self.dtype(x).size();
        match op {
            Movement::Reshape { .. } => {
                let x = self.view(x)?;
                let view = match x.reshaped(&shape) {
                    Some(view) => view,
                    None => {
                        let copy = self.copied(out, &x)?;
                        View { strides: row_major(&shape), shape, ..copy }
                    }
                };
                self.alias(out, view);
            }
            Movement::Transpose { perm } => {
                let x = self.view(x)?;
                self.alias(out, x.transposed(perm));
            }
            Movement::Bits(dtype) => {
                let x = self.view(x)?;
                self.alias(out, View { dtype: *dtype, ..x });
            }
            Movement::Expand { .. } => {
                let x = self.view(x)?;
                self.alias(out, x.broadcast(&shape));
            }
            Movement::Slice(s) => {
                let bounds = self.bounds(node, s)?;
                let view = self.view(x)?;
                match cut(&view, &bounds).filter(|v| v.shape == shape) {
                    Some(view) => self.alias(out, view),
                    None => {
                        let x = self.contiguous(x)?;
                        let cut = Cut::new(&x.shape, size, &bounds).map_err(|e| self.fail(node, e.to_string()))?;
                        self.run(node, "copy", &[x], move |r, w| cut.run(r.bytes(0), w.bytes(0)))?;
                    }
                }
            }
            Movement::Concat { axis } => {
                if let Some(state) = self.state_of(node) {
                    return self.append(node, state, *axis);
                }
                let views = node.inputs.iter().map(|&v| self.contiguous(v)).collect::<Result<Vec<_>, _>>()?;
                let outer: usize = shape[..*axis].iter().product();
                self.run(node, "concat", &views, move |r, w| {
                    let parts: Vec<&[u8]> = (0..r.len()).map(|i| r.bytes(i)).collect();
                    movement::concat(outer, &parts, w.bytes(0))
                })?;
            }
            Movement::Pad(p) => {
                let pads = self.ints(node, &p.pads, 1)?;
                let value = node.inputs.get(1 + usize::from(p.pads == IntArg::Operand)).copied();
                let x = self.contiguous(x)?;
                let pad = Pad::new(p.mode, &x.shape, &pads).map_err(|e| self.fail(node, e.to_string()))?;
                let reads: Vec<View> =
                    [Ok(x)].into_iter().chain(value.map(|v| self.view(v))).collect::<Result<_, _>>()?;
                self.run(node, "pad", &reads, move |r, w| {
                    let value = if r.len() > 1 { &r.bytes(1)[..size] } else { &[0; 8][..size] };
                    pad.run(r.bytes(0), value, w.bytes(0))
                })?;
            }
            Movement::Tile { .. } => {
                let x = self.contiguous(x)?;
                let repeats: Vec<usize> =
                    x.shape.iter().zip(&shape).map(|(&n, &m)| m.checked_div(n).unwrap_or(0)).collect();
                let tile = Tile::new(&x.shape, &repeats).map_err(|e| self.fail(node, e.to_string()))?;
                self.run(node, "tile", &[x], move |r, w| tile.run(size, r.bytes(0), w.bytes(0)))?;
            }
            Movement::Trilu { upper } => {
                let (upper, rank) = (*upper, shape.len());
                let matrix = [shape[rank - 2], shape[rank - 1]];
                let mut reads = vec![self.contiguous(x)?];
                if let Some(&k) = node.inputs.get(1) {
                    let k = self.contiguous(k)?;
                    reads.push(self.as_i64(node, &k)?);
                }
                self.run(node, "triangle", &reads, move |r, w| {
                    let diagonal = if r.len() > 1 { r.slice::<i64>(1)[0] } else { 0 };
                    movement::triangle(upper, diagonal, matrix, size, r.bytes(0), w.bytes(0))
                })?;
            }
        }
        Ok(())
    }

    /// The state that a node appends to.
    fn state_of(&self, node: &Node) -> Option<usize> {
        let graph = self.graph;
        let appends = |a: &Appended| {
            let (from, to) = (graph.inputs()[a.input], graph.outputs()[a.output].value);
            node.outputs[0] == to && node.inputs.len() == 2 && node.inputs[0] == from
        };
        self.appended.iter().position(appends)
    }

    /// Appends to a state where it lies.
    fn append(&mut self, node: &Node, state: usize, axis: usize) -> Result<(), ExecError> {
        let of = &self.appended[state];
        let new = self.contiguous(node.inputs[1])?;
        let past = self.shape(node.inputs[0])?;
        let out = super::with_room(state, of, new.dtype, &self.shape(node.outputs[0])?)?;
        let entry = past[axis + 1..].iter().product::<usize>() * new.dtype.size();
        let (from, row, run) = (past[axis] * entry, of.room * entry, new.shape[axis] * entry);
        let kernel = Run(move |r: &Reads, w: &mut Writes| {
            let (new, all) = (r.bytes(0), w.bytes(0));
            if run > 0 {
                for (part, row) in new.chunks_exact(run).zip(all.chunks_exact_mut(row)) {
                    row[from..from + run].copy_from_slice(part);
                }
            }
            Ok::<(), String>(())
        });
        let mut all = out.shape.clone();
        all[axis] = of.room;
        let all = View::whole(out.slot, new.dtype, &all);
        self.step(StepOf::Nodes(vec![node.outputs[0]]), "append", Box::new(kernel), &[&new], &[&all]);
        self.alias(node.outputs[0], out);
        Ok(())
    }

    /// The bounds of a cut, which must be known.
    fn bounds(&self, node: &Node, s: &Slice) -> Result<Vec<Bounds>, ExecError> {
        let mut at = 1;
        let mut next = |arg: &IntArg| {
            let ints = self.ints(node, arg, at);
            at += usize::from(*arg == IntArg::Operand);
            ints
        };
        let (starts, ends, steps) = (next(&s.starts)?, next(&s.ends)?, next(&s.steps)?);
        let shape = self.shape(node.inputs[0])?;
        let bound = |(((&axis, start), end), step): (((&usize, i64), i64), i64)| {
            // As numbers that need no rule: entries from the first on, as many as there are.
            let (first, count) = slice_bounds(i64::try_from(*shape.get(axis)?).ok()?, start, end, step);
            let end = count.checked_mul(step).and_then(|n| n.checked_add(first)).filter(|&end| end >= 0);
            Some(Bounds { axis, start: first, end: end.unwrap_or(i64::MIN), step })
        };
        let bounds: Option<Vec<Bounds>> = s.axes.iter().zip(starts).zip(ends).zip(steps).map(bound).collect();
        bounds.ok_or_else(|| self.fail(node, "its bounds do not fit its operand"))
    }
}

/// A cut as a view, unless it runs backwards.
fn cut(x: &View, bounds: &[Bounds]) -> Option<View> {
    let mut view = x.clone();
    for b in bounds {
        let step = usize::try_from(b.step).ok().filter(|&s| s > 0)?;
        let extent = i64::try_from(*view.shape.get(b.axis)?).ok()?;
        let (start, count) = slice_bounds(extent, b.start, b.end, b.step);
        view = view.sliced(b.axis, usize::try_from(start).ok()?, usize::try_from(count).ok()?, step);
    }
    Some(view)
}
