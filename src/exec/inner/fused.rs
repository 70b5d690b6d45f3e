//! Fused expressions, function by function.

use super::elementwise::{Arg, apply, cast, pick, unary, undefined};
use super::{Cx, Fault, InnerTensor, Res};
use bgz_passes::ir::Expr;
use burn_backend::Backend;

/// Evaluates the expression function by function; an operand goes into its last use.
pub(super) fn fused<B: Backend>(e: &Expr, inputs: Vec<InnerTensor<B>>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let mut uses = vec![0; inputs.len()];
    count_uses(e, &mut uses);
    let mut inputs = inputs.into_iter().map(Some).collect::<Vec<_>>();
    evaluate(e, &mut inputs, &mut uses, cx)?.into_tensor(&cx.out()?, cx)
}

fn count_uses(e: &Expr, uses: &mut [usize]) {
    match e {
        Expr::Input(i) => {
            if let Some(n) = uses.get_mut(*i) {
                *n += 1;
            }
        }
        Expr::Literal(_) => {}
        Expr::Unary(_, x) | Expr::Cast(_, x) => count_uses(x, uses),
        Expr::Binary(_, x, y) => {
            count_uses(x, uses);
            count_uses(y, uses);
        }
        Expr::Where(c, x, y) => [c, x, y].into_iter().for_each(|x| count_uses(x, uses)),
    }
}

fn evaluate<B: Backend>(
    e: &Expr,
    inputs: &mut [Option<InnerTensor<B>>],
    uses: &mut [usize],
    cx: &Cx<'_, B>,
) -> Res<Arg<B>> {
    match e {
        Expr::Input(i) => {
            let missing = || Fault::Invalid(format!("{e} is not one of the operands"));
            let (slot, left) = inputs.get_mut(*i).zip(uses.get_mut(*i)).ok_or_else(missing)?;
            *left = left.saturating_sub(1);
            Arg::new(if *left == 0 { slot.take() } else { slot.clone() }.ok_or_else(missing)?)
        }
        Expr::Literal(s) => Ok(Arg::Number(*s)),
        Expr::Unary(f, x) => match evaluate(x, inputs, uses, cx)? {
            Arg::Tensor(t) => unary(*f, t).map(Arg::Tensor),
            Arg::Number(s) => f.eval(s).map(Arg::Number).ok_or_else(|| undefined(f.name(), s.dtype())),
        },
        Expr::Cast(to, x) => match evaluate(x, inputs, uses, cx)? {
            Arg::Tensor(t) => cast(t, *to, cx).map(Arg::Tensor),
            Arg::Number(s) => Ok(Arg::Number(s.cast(*to))),
        },
        Expr::Binary(f, x, y) => {
            let x = evaluate(x, inputs, uses, cx)?;
            let y = evaluate(y, inputs, uses, cx)?;
            apply(*f, x, y, cx)
        }
        Expr::Where(c, x, y) => {
            let c = evaluate(c, inputs, uses, cx)?;
            let x = evaluate(x, inputs, uses, cx)?;
            let y = evaluate(y, inputs, uses, cx)?;
            pick(c, x, y, cx)
        }
    }
}
