//! Functions of every element.

use super::cost::{RowOperand, RowPart, rows_of_elements};
use super::{Evaluated, Family, Fields, Fresh, Inferred};
use crate::ir::broadcast::{Offsets, broadcast_shape, checked_len};
use crate::ir::infer::{InferError, Operand, broadcast_all, fail, may_equal};
use crate::ir::tensor::Tensor;
use crate::ir::{Binary, DType, Dim, Expr, Scalar, Type, Unary};
use std::borrow::Cow;

/// `cond, a, b` broadcast: `a` where `cond` (bool) is true, else `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Where;

/// `x`: conversion to a dtype; float to int truncates and saturates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cast(pub DType);

impl Family for Unary {
    fn blanks() -> Vec<Self> {
        Unary::ALL.to_vec()
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        self.name().into()
    }

    fn fields(&mut self, _: &mut Fields<'_>) {}

    fn arity(&self) -> (usize, usize) {
        (1, 1)
    }

    fn types(&self, x: &[Operand], _: Fresh) -> Inferred<Vec<Type>> {
        let ty = x[0].ty;
        let Some(dtype) = self.output(ty.dtype) else { fail!("not defined for {}", ty.dtype) };
        Ok(vec![Type { dtype, shape: ty.shape.clone() }])
    }

    fn ints(&self, x: &[Operand], _: &Type) -> Option<Vec<Dim>> {
        let v = x[0].ints?;
        match self {
            Unary::Neg => unsaturated(v.iter().map(|d| -d).collect()),
            Unary::Not => v.iter().map(|d| d.as_int().map(|v| Dim::int(i64::from(v == 0)))).collect(),
            _ => None,
        }
    }

    fn rows(&self, x: &[RowOperand], out: &[usize]) -> Option<Vec<RowPart>> {
        rows_of_elements(x, out)
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let dtype = self.output(x[0].dtype()).ok_or_else(|| format!("not defined for {}", x[0].dtype()))?;
        map(dtype, x, |v| Unary::eval(*self, v[0]))
    }
}

impl Family for Binary {
    fn blanks() -> Vec<Self> {
        Binary::ALL.to_vec()
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        self.name().into()
    }

    fn fields(&mut self, _: &mut Fields<'_>) {}

    fn arity(&self) -> (usize, usize) {
        (2, 2)
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        let (a, b) = (x[0].ty.dtype, x[1].ty.dtype);
        if a != b {
            fail!("operands of {a} and {b}");
        }
        let Some(dtype) = self.output(a) else { fail!("not defined for {a}") };
        Ok(vec![Type { dtype, shape: broadcast_all(x, fresh)? }])
    }

    fn ints(&self, x: &[Operand], _: &Type) -> Option<Vec<Dim>> {
        let (a, b) = (x[0].ints?, x[1].ints?);
        let n = if a.len() == 1 { b.len() } else { a.len() };
        let all: Option<_> = (0..n).map(|i| binary_int(*self, repeated(a, i)?, repeated(b, i)?)).collect();
        unsaturated(all?)
    }

    fn rows(&self, x: &[RowOperand], out: &[usize]) -> Option<Vec<RowPart>> {
        rows_of_elements(x, out)
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let dtype = self.output(x[0].dtype()).ok_or_else(|| format!("not defined for {}", x[0].dtype()))?;
        map(dtype, x, |v| Binary::eval(*self, v[0], v[1]))
    }
}

impl Family for Where {
    fn blanks() -> Vec<Self> {
        vec![Where]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        "where".into()
    }

    fn fields(&mut self, _: &mut Fields<'_>) {}

    fn arity(&self) -> (usize, usize) {
        (3, 3)
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        let (condition, a, b) = (x[0].ty.dtype, x[1].ty.dtype, x[2].ty.dtype);
        if condition != DType::Bool {
            fail!("the condition is {condition}, not bool");
        }
        if a != b {
            fail!("operands of {a} and {b}");
        }
        Ok(vec![Type { dtype: a, shape: broadcast_all(x, fresh)? }])
    }

    fn ints(&self, x: &[Operand], ty: &Type) -> Option<Vec<Dim>> {
        let (condition, a, b) = (x[0].ints?, x[1].ints?, x[2].ints?);
        let chosen = |i| match repeated(condition, i)?.as_int()? {
            0 => repeated(b, i).cloned(),
            _ => repeated(a, i).cloned(),
        };
        (0..ty.known_len()?).map(chosen).collect()
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        map(x[1].dtype(), x, |v| Some(if v[0].to_i64() != 0 { v[1] } else { v[2] }))
    }
}

impl Family for Cast {
    fn blanks() -> Vec<Self> {
        vec![Cast(DType::F32)]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        "cast".into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.result_dtype(&mut self.0);
    }

    fn arity(&self) -> (usize, usize) {
        (1, 1)
    }

    fn types(&self, x: &[Operand], _: Fresh) -> Inferred<Vec<Type>> {
        Ok(vec![Type { dtype: self.0, shape: x[0].ty.shape.clone() }])
    }

    fn ints(&self, x: &[Operand], _: &Type) -> Option<Vec<Dim>> {
        let to = self.0;
        // A narrower type could wrap: only numbers that fit are followed.
        let cast = |d: &Dim| match d.as_int() {
            Some(i) => Some(Dim::int(Scalar::from_i64(to, i).to_i64())),
            None => (to == DType::I64 || to == DType::I32).then(|| d.clone()),
        };
        x[0].ints?.iter().map(cast).collect()
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        map(self.0, x, |v| Some(v[0].cast(self.0)))
    }
}

/// An expression of the elements of operands.
impl Family for Expr {
    fn blanks() -> Vec<Self> {
        vec![Expr::Input(0)]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        "fused".into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.expr("expr", self);
    }

    fn arity(&self) -> (usize, usize) {
        (0, Expr::MAX_INPUTS)
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        if self.depth() > Expr::MAX_DEPTH {
            fail!("the expression is nested deeper than {}", Expr::MAX_DEPTH);
        }
        let dtypes: Vec<_> = x.iter().map(|o| o.ty.dtype).collect();
        let dtype = self.dtype(&dtypes).map_err(InferError)?;
        Ok(vec![Type { dtype, shape: broadcast_all(x, fresh)? }])
    }

    fn rows(&self, x: &[RowOperand], out: &[usize]) -> Option<Vec<RowPart>> {
        rows_of_elements(x, out)
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let dtypes: Vec<_> = x.iter().map(Tensor::dtype).collect();
        map(self.dtype(&dtypes)?, x, |v| self.eval(v))
    }
}

/// Element `i`, or the only one there is.
fn repeated(v: &[Dim], i: usize) -> Option<&Dim> {
    if v.len() == 1 { v.first() } else { v.get(i) }
}

/// Unless arithmetic on extents may have saturated, where tensors wrap.
pub(super) fn unsaturated(v: Vec<Dim>) -> Option<Vec<Dim>> {
    (!v.iter().any(is_saturated)).then_some(v)
}

/// True if arithmetic on extents may have saturated.
pub(super) fn is_saturated(d: &Dim) -> bool {
    d.terms().any(|(_, c)| c == i64::MAX || c == i64::MIN)
}

fn binary_int(f: Binary, a: &Dim, b: &Dim) -> Option<Dim> {
    let truth = |t: bool| Some(Dim::int(i64::from(t)));
    if let (Some(x), Some(y)) = (a.as_int(), b.as_int()) {
        return f.eval(Scalar::i64(x), Scalar::i64(y)).map(|s| Dim::int(s.to_i64()));
    }
    match f {
        Binary::Add => Some(a + b),
        Binary::Sub => Some(a - b),
        Binary::Mul => Some(a * b),
        Binary::Div => a.div_exact(b),
        // An extent is at least 0, so it differs from anything plainly below that.
        Binary::Eq if is_below_zero(a) && is_extent(b) || is_below_zero(b) && is_extent(a) => truth(false),
        Binary::Ne if is_below_zero(a) && is_extent(b) || is_below_zero(b) && is_extent(a) => truth(true),
        Binary::Eq if a == b => truth(true),
        Binary::Ne if a == b => truth(false),
        Binary::Eq if !may_equal(a, b) => truth(false),
        Binary::Ne if !may_equal(a, b) => truth(true),
        Binary::Max if is_extent(a) && b.as_int().is_some_and(|v| v <= 0) => Some(a.clone()),
        Binary::Max if is_extent(b) && a.as_int().is_some_and(|v| v <= 0) => Some(b.clone()),
        Binary::Min | Binary::Max if a == b => Some(a.clone()),
        _ => None,
    }
}

fn is_below_zero(d: &Dim) -> bool {
    d.as_int().is_some_and(|v| v < 0)
}

/// True if no coefficient is negative, so that the value is at least 0 for any extents.
fn is_extent(d: &Dim) -> bool {
    d.terms().all(|(_, c)| c >= 0)
}

/// `f` of the elements of operands that broadcast. Dtypes were checked, so
/// that `None` means an integer division by zero.
fn map(dtype: DType, operands: &[Tensor], f: impl Fn(&[Scalar]) -> Option<Scalar>) -> Evaluated<Vec<Tensor>> {
    let shape = broadcast_shape(operands.iter().map(Tensor::shape))?;
    let mut places: Vec<_> = operands.iter().map(|t| Offsets::broadcast(t.shape(), &shape)).collect();
    let len = checked_len(&shape)?;
    let mut values = Vec::with_capacity(operands.len());
    let mut out = Vec::with_capacity(len);
    for _ in 0..len {
        values.clear();
        for (t, at) in operands.iter().zip(&mut places) {
            values.extend(at.next().and_then(|i| t.get(i)));
        }
        out.push(f(&values).ok_or("division by zero")?);
    }
    let result = Tensor::new(dtype, shape, out).ok_or("the number of elements does not fit")?;
    Ok(vec![result])
}
