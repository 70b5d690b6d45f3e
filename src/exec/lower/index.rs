//! Gathering and scattering.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::step::Kernel;
use super::super::view::View;
use super::Lowering;
use crate::kernels::Lanes;
use crate::kernels::index::{self, Elements, Indices, Slices};
use bgz_passes::ir::{BlockRows, DType, Index, Node, ValueId};

/// Operand `i` as indices.
pub(super) fn operand<'a>(reads: &'a Reads, i: usize, dtype: DType) -> Indices<'a> {
    if dtype == DType::I64 { Indices::I64(reads.slice(i)) } else { Indices::I32(reads.slice(i)) }
}

/// Slices along an axis, of elements of so many bytes.
struct Gather {
    lanes: Lanes,
    size: usize,
    indices: DType,
    axis: usize,
}

impl Kernel for Gather {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let indices = operand(reads, 1, self.indices);
        index::gather(self.lanes, self.size, reads.bytes(0), indices, writes.bytes(0)).map_err(|e| e.to_string())
    }

    fn takes_fewer_rows(&self) -> bool {
        // Of a table, which is all there: as many rows as indices.
        self.axis == 0
    }
}

/// Rows of a table that stays in its blocks.
struct GatherRows {
    table: BlockRows,
    indices: DType,
}

impl Kernel for GatherRows {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let indices = operand(reads, 0, self.indices);
        index::gather_rows(&self.table, indices, writes.slice(0)).map_err(|e| e.to_string())
    }

    fn takes_fewer_rows(&self) -> bool {
        true
    }
}

impl Lowering<'_> {
    pub(super) fn index(&mut self, node: &Node, op: &Index) -> Result<(), ExecError> {
        if let (Index::Gather { axis: 0 }, Some(table)) = (op, self.block_rows(node.inputs[0])?) {
            let (indices, out) = (self.contiguous(node.inputs[1])?, self.output(node.outputs[0])?);
            let kernel = GatherRows { table, indices: indices.dtype };
            self.step_of(&[node], "gather blocks", Box::new(kernel), &[&indices], &[&out]);
            return Ok(());
        }
        let x = self.contiguous_bytes(node.inputs[0])?;
        let rest = node.inputs[1..].iter().map(|&v| self.contiguous(v)).collect::<Result<Vec<View>, _>>()?;
        let dtype = rest.first().map_or(DType::I64, |i| i.dtype);
        let size = x.dtype.size();
        let reads: Vec<View> = [x.clone()].into_iter().chain(rest.iter().cloned()).collect();
        match op {
            Index::Gather { axis } => {
                let kernel = Gather { lanes: self.lanes(node, &x.shape, *axis)?, size, indices: dtype, axis: *axis };
                let out = self.output(node.outputs[0])?;
                self.step_of(&[node], "gather", Box::new(kernel), &reads.iter().collect::<Vec<_>>(), &[&out]);
                Ok(())
            }
            Index::GatherElements { axis } => {
                let of = Elements::new(&x.shape, &rest[0].shape, *axis);
                let of = of.map_err(|e| self.fail(node, e.to_string()))?;
                self.run(node, "gather", &reads, move |r, w| {
                    of.gather(size, r.bytes(0), operand(r, 1, dtype), w.bytes(0))
                })
            }
            Index::ScatterElements { axis } => {
                let of = Elements::new(&x.shape, &rest[0].shape, *axis);
                let of = of.map_err(|e| self.fail(node, e.to_string()))?;
                self.run(node, "scatter", &reads, move |r, w| {
                    of.scatter(size, r.bytes(0), operand(r, 1, dtype), r.bytes(2), w.bytes(0))
                })
            }
            Index::GatherNd { batch_dims } => {
                let of = Slices::new(&x.shape, &rest[0].shape, *batch_dims);
                let of = of.map_err(|e| self.fail(node, e.to_string()))?;
                self.run(node, "gather", &reads, move |r, w| {
                    of.gather(size, r.bytes(0), operand(r, 1, dtype), w.bytes(0))
                })
            }
            Index::ScatterNd => {
                let of = Slices::new(&x.shape, &rest[0].shape, 0);
                let of = of.map_err(|e| self.fail(node, e.to_string()))?;
                self.run(node, "scatter", &reads, move |r, w| {
                    of.scatter(size, r.bytes(0), operand(r, 1, dtype), r.bytes(2), w.bytes(0))
                })
            }
            // Its extent is known where a plan of other extents has counted.
            Index::NonZero => {
                let x = self.contiguous(node.inputs[0])?;
                let set = if x.dtype == DType::Bool { x } else { self.converted(node, &x, DType::Bool)? };
                let shape = set.shape.clone();
                self.run(node, "non zero", &[set], move |r, w| index::non_zero(&shape, r.bytes(0), w.slice(0)))
            }
        }
    }

    /// The rows of a constant matrix, if it is in blocks.
    fn block_rows(&self, v: ValueId) -> Result<Option<BlockRows>, ExecError> {
        let Some((constant, blocks)) = self.constant(v).and_then(|c| Some((c, c.blocks()?))) else { return Ok(None) };
        if constant.shape() != [blocks.rows(), blocks.row_len()] {
            return Ok(None);
        }
        let absent = |reason| ExecError::AbsentConstant { name: self.graph.name(v).into(), reason };
        blocks.read().map(Some).map_err(absent)
    }
}
