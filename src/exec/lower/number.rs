//! Elements that kernels of numbers compute with: f32, f64, i32 and i64. Operands of another dtype are converted to one in
//! which the results are the same, and a result of their dtype is converted back.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::view::View;
use super::{Lowering, Run};
use bgz_passes::ir::{Binary, DType, Expr, Node, Scalar};
use std::fmt::Display;

/// Results that are the same after a conversion.
#[derive(Clone, Copy)]
pub(super) enum Same {
    /// Those of comparisons.
    Order,
    /// Those of f64 and i64, rounded or wrapped once.
    Wide,
    /// Sums of products of integers that wrap, of which the low bits are those of wider ones.
    Products,
}

/// The way from a kernel's result to one of its own dtype: the dtype that its bits are read as, and a function of those elements.
pub(super) struct Back {
    pub read_as: DType,
    pub then: Option<Expr>,
}

/// A function of a u64 and a number, which is given by its bits.
pub(super) fn of_u64(f: Binary, bits: i64) -> Expr {
    let number = Expr::Literal(Scalar::from_i64(DType::U64, bits));
    Expr::Binary(f, Box::new(Expr::Input(0)), Box::new(number))
}

/// The dtype that elements of one are converted to; the same if they are as they should be.
fn dtype_for(dtype: DType, same: Same) -> DType {
    use DType::*;
    match (dtype, same) {
        (F32 | F64 | I64, _) | (I32, Same::Order | Same::Products) => dtype,
        (d, Same::Order) if d.is_float() => F32,
        (d, _) if d.is_float() => F64,
        (d, Same::Order) if d.bits() < 32 => I32,
        (d, Same::Products) if d.bits() <= 32 => I32,
        _ => I64,
    }
}

impl Lowering<'_> {
    /// Row-major elements in a dtype that kernels compute with, and what makes a result of the dtype of `x` of theirs.
    pub(super) fn number(&mut self, node: &Node, x: &View, same: Same) -> Result<(View, Option<Back>), ExecError> {
        let to = dtype_for(x.dtype, same);
        let as_they_are = |read_as| (View { dtype: to, ..x.clone() }, Some(Back { read_as, then: None }));
        Ok(match (x.dtype, same) {
            (d, _) if d == to => (x.clone(), None),
            // The sign turned, large numbers are above small ones as integers with a sign, too.
            (DType::U64, Same::Order) => {
                let turned = self.computed(node, x, &of_u64(Binary::Xor, i64::MIN))?;
                let then = Some(of_u64(Binary::Xor, i64::MIN));
                (View { dtype: to, ..turned }, Some(Back { read_as: DType::U64, then }))
            }
            (DType::U64, _) | (DType::U32, Same::Products) => as_they_are(x.dtype),
            (d, _) => {
                let then = Some(Expr::Cast(d, Box::new(Expr::Input(0))));
                (self.converted(node, x, to)?, Some(Back { read_as: to, then }))
            }
        })
    }

    /// Adds the step of a node of which the first result is in the dtype of [`number`](Self::number)'s, and brings it back.
    pub(super) fn run_number<E: Display>(
        &mut self,
        node: &Node,
        kernel: &'static str,
        reads: &[View],
        (dtype, back): (DType, Option<Back>),
        run: impl Fn(&Reads, &mut Writes) -> Result<(), E> + Send + Sync + 'static,
    ) -> Result<(), ExecError> {
        let made = self.buffer(dtype, &self.shape(node.outputs[0])?)?;
        let mut writes = vec![made.clone()];
        for &v in &node.outputs[1..] {
            writes.push(self.output(v)?);
        }
        let reads: Vec<&View> = reads.iter().collect();
        self.step_of(&[node], kernel, Box::new(Run(run)), &reads, &writes.iter().collect::<Vec<_>>());
        let result = match back {
            None => made,
            Some(Back { read_as, then: None }) => View { dtype: read_as, ..made },
            Some(Back { read_as, then: Some(then) }) => self.computed(node, &View { dtype: read_as, ..made }, &then)?,
        };
        self.alias(node.outputs[0], result);
        Ok(())
    }
}
