//! Ops that move, choose or make elements of any dtype.

use super::{Lift, Lifting, NotLifted};
use bgz_passes::ir::{Binary, Cast, Constant, Generate, Index, IntArg, Movement, Op, Scalar, Where};
use burn_ir::{BaseOperationIr, OperationIr, TensorIr};

/// The operand and the result of an op that shows the same elements in another shape or order.
pub(super) fn seen_otherwise(op: &OperationIr) -> Option<(&TensorIr, &TensorIr)> {
    let (OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op)) = op else { return None };
    match op {
        BaseOperationIr::Reshape(o) => Some((&o.input, &o.out)),
        BaseOperationIr::SwapDims(o) => Some((&o.input, &o.out)),
        BaseOperationIr::Permute(o) => Some((&o.input, &o.out)),
        _ => None,
    }
}

impl Lifting<'_> {
    pub(super) fn base(&mut self, op: &BaseOperationIr) -> Lift<()> {
        use BaseOperationIr as B;
        match op {
            B::Reshape(o) => {
                let x = self.get(&o.input)?;
                let shape = self.dims(&o.out)?;
                self.lifted(&o.out, Op::reshape(shape), &[x])
            }
            B::SwapDims(o) => {
                let x = self.get(&o.input)?;
                let mut perm: Vec<usize> = (0..o.input.shape.rank()).collect();
                if o.dim1.max(o.dim2) >= perm.len() {
                    return Err(NotLifted::Opaque);
                }
                perm.swap(o.dim1, o.dim2);
                self.lifted(&o.out, Op::Movement(Movement::Transpose { perm }), &[x])
            }
            B::Permute(o) => {
                let x = self.get(&o.input)?;
                self.lifted(&o.out, Op::Movement(Movement::Transpose { perm: o.axes.clone() }), &[x])
            }
            B::Expand(o) => {
                let x = self.get(&o.input)?;
                let shape = IntArg::Known(self.dims(&o.out)?);
                self.lifted(&o.out, Op::Movement(Movement::Expand { shape }), &[x])
            }
            // Repeating one entry is a broadcast.
            B::RepeatDim(o) if self.shape(&o.tensor).is_ok_and(|s| s.get(o.dim) == Some(&1)) => {
                let x = self.get(&o.tensor)?;
                let shape = IntArg::Known(self.dims(&o.out)?);
                self.lifted(&o.out, Op::Movement(Movement::Expand { shape }), &[x])
            }
            B::Select(o) => {
                let (x, indices) = (self.get(&o.tensor)?, self.get(&o.indices)?);
                self.lifted(&o.out, Op::Index(Index::Gather { axis: o.dim }), &[x, indices])
            }
            B::Cat(o) => {
                let parts = o.tensors.iter().map(|t| self.get(t)).collect::<Lift<Vec<_>>>()?;
                self.lifted(&o.out, Op::Movement(Movement::Concat { axis: o.dim }), &parts)
            }
            B::MaskWhere(o) => {
                let (x, mask, value) = (self.get(&o.tensor)?, self.get(&o.mask)?, self.get(&o.value)?);
                self.lifted(&o.out, Op::Where(Where), &[mask, value, x])
            }
            B::MaskFill(o) => {
                let (x, mask) = (self.get(&o.tensor)?, self.get(&o.mask)?);
                let value = self.scalar(o.value, self.dtype(x))?;
                self.lifted(&o.out, Op::Where(Where), &[mask, value, x])
            }
            B::Equal(o) => {
                let (a, b) = (self.get(&o.lhs)?, self.get(&o.rhs)?);
                self.lifted(&o.out, Op::Binary(Binary::Eq), &[a, b])
            }
            B::EqualElem(o) => {
                let a = self.get(&o.lhs)?;
                let b = self.scalar(o.rhs, self.dtype(a))?;
                self.lifted(&o.out, Op::Binary(Binary::Eq), &[a, b])
            }
            B::Cast(o) => self.cast(&o.input, &o.out),
            // The contents of an empty tensor are not said: zeros will do.
            B::Zeros(o) | B::Empty(o) => self.filled(&o.out, 0),
            B::Ones(o) => self.filled(&o.out, 1),
            B::Flip(_)
            | B::Unfold(_)
            | B::RepeatDim(_)
            | B::Gather(_)
            | B::Scatter(_)
            | B::ScatterNd(_)
            | B::GatherNd(_)
            | B::SelectAssign(_)
            // Their ranges are not recorded.
            | B::Slice(_)
            | B::SliceAssign(_) => Err(NotLifted::Opaque),
        }
    }

    /// A conversion of the elements to the dtype of `out`.
    pub(super) fn cast(&mut self, input: &TensorIr, out: &TensorIr) -> Lift<()> {
        let x = self.get(input)?;
        let to = self.ty(out).map_err(NotLifted::Broken)?.dtype;
        if self.dtype(x) == to {
            return self.set(out, x);
        }
        self.lifted(out, Op::Cast(Cast(to)), &[x])
    }

    fn filled(&mut self, out: &TensorIr, value: i64) -> Lift<()> {
        let dtype = self.ty(out).map_err(NotLifted::Broken)?.dtype;
        let value = self.graph.add_const("c", Constant::scalar(Scalar::from_i64(dtype, value)));
        self.full(out, value)
    }

    /// A tensor of one value.
    pub(super) fn full(&mut self, out: &TensorIr, value: bgz_passes::ir::ValueId) -> Lift<()> {
        let shape = IntArg::Known(self.dims(out)?);
        self.lifted(out, Op::Generate(Generate::Full { shape }), &[value])
    }
}
