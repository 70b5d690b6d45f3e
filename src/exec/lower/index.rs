//! Gathering slices by index.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::plan::Kernel;
use super::Lowering;
use bgz_passes::ir::{DType, Index, Node, Op};

/// Copies slices of `bytes` along an axis of `extent`, for each of `outer` blocks.
struct Gather {
    outer: usize,
    extent: usize,
    bytes: usize,
    wide: bool,
}

impl Kernel for Gather {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let data = reads.bytes(0);
        let out = writes.bytes(0);
        let n = self.extent as i64;
        let place = |i: i64| -> Result<usize, String> {
            let at = if i < 0 { i + n } else { i };
            if (0..n).contains(&at) { Ok(at as usize) } else { Err(format!("index {i} of an axis of extent {n}")) }
        };
        let mut to = out.chunks_exact_mut(self.bytes.max(1));
        for block in 0..self.outer {
            let base = block * self.extent * self.bytes;
            let mut copy = |i: i64| -> Result<(), String> {
                let from = base + place(i)? * self.bytes;
                if let Some(to) = to.next() {
                    to.copy_from_slice(&data[from..from + self.bytes]);
                }
                Ok(())
            };
            if self.wide {
                reads.slice::<i64>(1).iter().try_for_each(|&i| copy(i))?;
            } else {
                reads.slice::<i32>(1).iter().try_for_each(|&i| copy(i.into()))?;
            }
        }
        Ok(())
    }
}

impl Lowering<'_> {
    pub(super) fn index(&mut self, node: &Node) -> Result<bool, ExecError> {
        let Op::Index(Index::Gather { axis }) = node.op else { return Ok(false) };
        let (x, indices, out) = (node.inputs[0], node.inputs[1], node.outputs[0]);
        let mut data = self.bytes_view(x)?;
        if !data.is_contiguous() {
            data = self.contiguous(x)?;
        }
        let index = self.contiguous(indices)?;
        let to = self.output(out)?;
        let kernel = Gather {
            outer: data.shape[..axis].iter().product(),
            extent: data.shape[axis],
            bytes: data.shape[axis + 1..].iter().product::<usize>() * data.dtype.size(),
            wide: index.dtype == DType::I64,
        };
        self.step_of(&[node], "gather", Box::new(kernel), &[&data, &index], &[&to]);
        Ok(true)
    }
}
