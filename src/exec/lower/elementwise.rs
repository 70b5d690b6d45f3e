//! Elementwise ops, alone or fused: one kernel run over strided operands.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::step::{Kernel, StepOf};
use super::super::view::View;
use super::Lowering;
use crate::kernels::chain::{Elementwise, Program};
use bgz_passes::ir::{Binary, Cast, DType, Expr, Node, Op, Scalar, Where};

/// A chain over operands with strides.
struct Chain {
    elementwise: Elementwise,
}

impl Kernel for Chain {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let mut inputs = [std::ptr::null(); Expr::MAX_INPUTS];
        let inputs = &mut inputs[..reads.len()];
        for (i, p) in inputs.iter_mut().enumerate() {
            *p = reads.bytes(i).as_ptr();
        }
        // With fewer rows there is less of the result, and of every operand that is not broadcast.
        let out = writes.bytes(0);
        let len = out.len() / self.elementwise.program().output().size();
        // SAFETY: each span runs from the first element of its view to behind
        // the last, the strides are those of the views, and the result is a
        // row-major buffer of the output shape that overlaps no operand. With
        // fewer rows, `Plan::takes_fewer_rows` has seen that result and operands
        // are whole matrices of rows, so their first rows are what is read.
        unsafe { self.elementwise.run_first(len, inputs, out.as_mut_ptr()) }.map_err(|e| e.to_string())
    }

    fn takes_fewer_rows(&self) -> bool {
        true
    }
}

/// An elementwise op as an expression of its operands.
fn expression(op: &Op) -> Option<Expr> {
    let input = |i| Box::new(Expr::Input(i));
    Some(match op {
        Op::Unary(f) => Expr::Unary(*f, input(0)),
        Op::Binary(f) => Expr::Binary(*f, input(0), input(1)),
        Op::Where(Where) => Expr::Where(input(0), input(1), input(2)),
        Op::Cast(Cast(to)) => Expr::Cast(*to, input(0)),
        Op::Fused(e) => e.clone(),
        _ => return None,
    })
}

/// `[n, c, h, w]` as `[n, h, w, c]`, and back.
pub(super) const CHANNELS_LAST: [usize; 4] = [0, 2, 3, 1];
pub(super) const CHANNELS_FIRST: [usize; 4] = [0, 3, 1, 2];

/// True if all operands that are as large as the result lie channels last, without gaps; and there is one.
fn keeps_channels_last(views: &[View], shape: &[usize]) -> bool {
    let mut whole = views.iter().filter(|v| v.span() >= shape.iter().product()).peekable();
    whole.peek().is_some() && whole.all(|v| !v.is_contiguous() && v.transposed(&CHANNELS_LAST).is_contiguous())
}

impl Lowering<'_> {
    pub(super) fn elementwise(&mut self, node: &Node) -> Result<(), ExecError> {
        let expr = expression(&node.op).ok_or_else(|| self.fail(node, "it is not elementwise"))?;
        let dtypes: Vec<_> = node.inputs.iter().map(|&v| self.dtype(v)).collect();
        let program = Program::compile(&expr, &dtypes).map_err(|e| self.fail(node, e.to_string()))?;
        let shape = self.shape(node.outputs[0])?;
        let views: Vec<View> =
            node.inputs.iter().map(|&v| Ok(self.view(v)?.broadcast(&shape))).collect::<Result<_, ExecError>>()?;
        // The result of a convolution stays as it lies, for the next one wants it so.
        let channels_last = shape.len() == 4 && keeps_channels_last(&views, &shape);
        let (shape, views) = match channels_last {
            true => (
                CHANNELS_LAST.map(|a| shape[a])[..].into(),
                views.iter().map(|v| v.transposed(&CHANNELS_LAST)).collect(),
            ),
            false => (shape, views),
        };
        let strides: Vec<Vec<isize>> = views.iter().map(|v| v.strides.iter().map(|&s| s as isize).collect()).collect();
        let elementwise = Elementwise::new(program, &shape, &strides).map_err(|e| self.fail(node, e.to_string()))?;
        let out = self.buffer(self.dtype(node.outputs[0]), &shape)?;
        self.alias(node.outputs[0], if channels_last { out.transposed(&CHANNELS_FIRST) } else { out.clone() });
        self.step_of(
            &[node],
            "elementwise",
            Box::new(Chain { elementwise }),
            &views.iter().collect::<Vec<_>>(),
            &[&out],
        );
        Ok(())
    }

    /// A row-major view with its elements converted, for a node.
    pub(super) fn converted(&mut self, node: &Node, x: &View, to: DType) -> Result<View, ExecError> {
        self.computed(node, x, &Expr::Cast(to, Box::new(Expr::Input(0))))
    }

    /// The integers of a row-major view as i64, for a node that means nothing by any beyond that.
    pub(super) fn as_i64(&mut self, node: &Node, x: &View) -> Result<View, ExecError> {
        let most = Box::new(Expr::Literal(Scalar::from_i64(DType::U64, i64::MAX)));
        match x.dtype {
            DType::I64 => Ok(x.clone()),
            DType::U64 => {
                let bounded = Expr::Binary(Binary::Min, Box::new(Expr::Input(0)), most);
                self.computed(node, x, &Expr::Cast(DType::I64, Box::new(bounded)))
            }
            _ => self.converted(node, x, DType::I64),
        }
    }

    /// An expression of the elements of a row-major view, for a node.
    pub(super) fn computed(&mut self, node: &Node, x: &View, expr: &Expr) -> Result<View, ExecError> {
        let program = Program::compile(expr, &[x.dtype]).map_err(|e| self.fail(node, e.to_string()))?;
        let to = program.output();
        let elementwise =
            Elementwise::new(program, &[x.len()], &[vec![1]]).map_err(|e| self.fail(node, e.to_string()))?;
        let out = self.buffer(to, &x.shape)?;
        self.step(StepOf::Part(node.outputs[0]), "elementwise", Box::new(Chain { elementwise }), &[x], &[&out]);
        Ok(out)
    }
}
