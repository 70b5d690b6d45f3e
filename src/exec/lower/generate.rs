//! Tensors made from shapes and numbers.

use super::super::ExecError;
use super::Lowering;
use super::index::operand as index_operand;
use super::number::Same;
use crate::kernels::index;
use crate::kernels::{movement, range};
use bgz_passes::ir::{Constant, DType, Dim, Generate, Node};

impl Lowering<'_> {
    pub(super) fn generate(&mut self, node: &Node, op: &Generate) -> Result<(), ExecError> {
        let out = node.outputs[0];
        match op {
            Generate::Shape { start, end } => {
                let shape = self.shape(node.inputs[0])?;
                self.numbers(node, shape[*start..*end].iter().map(|&n| n as i64).collect())
            }
            Generate::Dims { values, .. } => {
                let numbers: Option<Vec<i64>> = values.iter().map(Dim::as_int).collect();
                let numbers = numbers.ok_or_else(|| self.fail(node, "its extents are not known"))?;
                self.numbers(node, numbers)
            }
            Generate::Full { .. } => {
                let value = self.view(node.inputs[0])?;
                let size = value.dtype.size();
                self.run(node, "fill", &[value], move |r, w| movement::fill(&r.bytes(0)[..size], w.bytes(0)))
            }
            Generate::Range => {
                let [start, step] = [0, 2].map(|i| self.contiguous(node.inputs[i]));
                let (start, step) = (start?, step?);
                let ((start, back), (step, _)) =
                    (self.number(node, &start, Same::Wide)?, self.number(node, &step, Same::Wide)?);
                let dtype = start.dtype;
                self.run_number(node, "range", &[start, step], (dtype, back), move |r, w| {
                    range(dtype, r.bytes(0), r.bytes(1), w.bytes(0))
                })
            }
            Generate::OneHot { axis } => {
                let (indices, values) = (self.contiguous(node.inputs[0])?, self.contiguous(node.inputs[2])?);
                let lanes = self.lanes(node, &self.shape(out)?, *axis)?;
                // Of other numbers than i32 and i64, the integers that they are.
                let indices = match indices.dtype {
                    DType::I64 | DType::I32 => indices,
                    d if d.is_int() => self.as_i64(node, &indices)?,
                    _ => self.converted(node, &indices, DType::I64)?,
                };
                let (of, size) = (indices.dtype, values.dtype.size());
                self.run(node, "one hot", &[indices, values], move |r, w| {
                    index::one_hot(lanes, size, index_operand(r, 0, of), r.bytes(1), w.bytes(0))
                })
            }
        }
    }

    /// Integers that are known as a constant of the plan.
    fn numbers(&mut self, node: &Node, numbers: Vec<i64>) -> Result<(), ExecError> {
        let shape = self.shape(node.outputs[0])?;
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        let constant = Constant::new(DType::I64, shape.into_vec(), bytes.into());
        let constant = constant.ok_or_else(|| self.fail(node, "its extents do not fit its shape"))?;
        let view = self.own_constant(&constant)?;
        self.alias(node.outputs[0], view);
        Ok(())
    }
}
