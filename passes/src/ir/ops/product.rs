//! Products of matrices. Floats are summed in `f64` and rounded once.

use super::cost::{RowOperand, RowPart, elements, extent_from_end, product as saturating, rows_of_first};
use super::{Evaluated, Family, Fields, Fresh, Inferred};
use crate::ir::broadcast::{Offsets, broadcast_shape, checked_len};
use crate::ir::infer::{Operand, broadcast, fail, list, may_equal};
use crate::ir::tensor::Tensor;
use crate::ir::{DType, Dim, Type};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Products of matrices, of floats or integers of one dtype.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// `a [.., m, k], b [.., k, n]`: matrix product with broadcast batch axes; a vector is a row or a column.
    MatMul,
    /// `x [.., k], w [k, n] (or [n, k] if transposed), [bias [n]]`.
    Linear {
        /// True if `w` is stored `[n, k]`.
        trans_w: bool,
        /// The precision that the product may be computed in.
        precision: Precision,
    },
}

/// The precisions that a product with weights may be computed in; whoever has no kernel for less computes in the dtype of its
/// operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// In the dtype of its operands.
    #[default]
    Exact,
    /// Weights and rows of `x` rounded to bf16, which has 8 significant bits, and added in f32.
    Bf16,
    /// In i8, a scale for each column of the weights and for each row of `x`, which is coded as it comes.
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 3] = [Precision::Exact, Precision::Bf16, Precision::Int8];

    /// The word of graph text.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::Exact => "exact",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        }
    }
}

/// As in graph text.
impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|p| p.name() == s)
            .ok_or_else(|| format!("{s:?} is no precision; there are {}", known()))
    }
}

impl Family for Product {
    fn blanks() -> Vec<Self> {
        vec![Product::MatMul, Product::Linear { trans_w: false, precision: Precision::Exact }]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match self {
            Product::MatMul => "matmul",
            Product::Linear { .. } => "linear",
        }
        .into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        match self {
            Product::MatMul => {}
            Product::Linear { trans_w, precision } => {
                fields.optional_flag("trans_w", trans_w, false);
                fields.name("precision", precision, &Precision::ALL.map(|p| (p, p.name())));
            }
        }
    }

    fn arity(&self) -> (usize, usize) {
        match self {
            Product::MatMul => (2, 2),
            Product::Linear { .. } => (2, 3),
        }
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        let (a, b) = (x[0].ty, x[1].ty);
        if a.dtype != b.dtype || a.dtype == DType::Bool {
            fail!("product of {} and {}", a.dtype, b.dtype);
        }
        let shape = match self {
            Product::MatMul => matmul_shape(&a.shape, &b.shape, fresh)?,
            Product::Linear { trans_w, .. } => linear_shape(a, b, x.get(2).map(|o| o.ty), *trans_w)?,
        };
        Ok(vec![Type { dtype: a.dtype, shape }])
    }

    fn rows(&self, x: &[RowOperand], out: &[usize]) -> Option<Vec<RowPart>> {
        let weights = x.get(1).is_some_and(|w| w.shape.len() == 2);
        let rows = x.first()?.rows_and_width().map(|(rows, _)| rows);
        (weights && rows.is_some() && rows == out.split_last().map(|(_, rows)| rows)).then(|| rows_of_first(x))?
    }

    fn flops(&self, x: &[&Type], results: &[&Type]) -> u64 {
        saturating([2, elements(results[0]), extent_from_end(x[0], 1)])
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let result = match self {
            Product::MatMul => matmul(&x[0], &x[1])?,
            Product::Linear { trans_w, .. } => linear(&x[0], &x[1], x.get(2), *trans_w)?,
        };
        Ok(vec![result])
    }
}

fn matmul_shape(a: &[Dim], b: &[Dim], fresh: Fresh) -> Inferred<Vec<Dim>> {
    if a.is_empty() || b.is_empty() {
        fail!("matrix product of a scalar");
    }
    let (row, column) = (a.len() == 1, b.len() == 1);
    let inner_b = if column { &b[0] } else { &b[b.len() - 2] };
    if !may_equal(&a[a.len() - 1], inner_b) {
        fail!("inner dims differ: [{}] and [{}]", list(a), list(b));
    }
    let mut shape = broadcast(&a[..a.len().saturating_sub(2)], &b[..b.len().saturating_sub(2)], fresh)?;
    if !row {
        shape.push(a[a.len() - 2].clone());
    }
    if !column {
        shape.push(b[b.len() - 1].clone());
    }
    Ok(shape)
}

fn linear_shape(x: &Type, w: &Type, bias: Option<&Type>, trans_w: bool) -> Inferred<Vec<Dim>> {
    let (Some((inner, leading)), [rows, columns]) = (x.shape.split_last(), &w.shape[..]) else {
        fail!("linear of {x} by {w}");
    };
    let (depth, out) = if trans_w { (columns, rows) } else { (rows, columns) };
    if !may_equal(inner, depth) {
        fail!("inner dims differ: {x} and {w}");
    }
    if let Some(b) = bias
        && (b.rank() != 1 || !may_equal(&b.shape[0], out) || b.dtype != x.dtype)
    {
        fail!("bias {b} for {out} columns of {}", x.dtype);
    }
    Ok([leading, std::slice::from_ref(out)].concat())
}

fn matmul(a: &Tensor, b: &Tensor) -> Evaluated<Tensor> {
    let (row, column) = (a.shape().len() == 1, b.shape().len() == 1);
    // A vector is a row on the left and a column on the right.
    let a_shape = if row { vec![1, a.len()] } else { a.shape().to_vec() };
    let b_shape = if column { vec![b.len(), 1] } else { b.shape().to_vec() };
    let ([a_batch @ .., m, k], [b_batch @ .., k2, n]) = (a_shape.as_slice(), b_shape.as_slice()) else {
        return Err("matrix product of a scalar".into());
    };
    let (m, k, n) = (*m, *k, *n);
    if k != *k2 {
        return Err(format!("inner dims differ: {k} and {k2}"));
    }
    let batch = broadcast_shape([a_batch, b_batch])?;
    let places = Offsets::broadcast(a_batch, &batch).zip(Offsets::broadcast(b_batch, &batch));
    let mut shape = batch.clone();
    if !row {
        shape.push(m);
    }
    if !column {
        shape.push(n);
    }
    let len = checked_len(&shape)?;
    match (a.floats(), b.floats(), a.ints(), b.ints()) {
        (Some(a_data), Some(b_data), ..) => {
            let mut out = vec![0.0; len];
            for (i, (pa, pb)) in places.enumerate() {
                let (x, y) = (&a_data[pa * m * k..][..m * k], &b_data[pb * k * n..][..k * n]);
                product(x, y, k, n, &mut out[i * m * n..][..m * n], |sum, x, y| sum + x * y);
            }
            Tensor::rounded(a.dtype(), shape, out)
        }
        (_, _, Some(a_data), Some(b_data)) => {
            let mut out = vec![0; len];
            for (i, (pa, pb)) in places.enumerate() {
                let (x, y) = (&a_data[pa * m * k..][..m * k], &b_data[pb * k * n..][..k * n]);
                let add = |sum: i64, x: i64, y: i64| sum.wrapping_add(x.wrapping_mul(y));
                product(x, y, k, n, &mut out[i * m * n..][..m * n], add);
            }
            Tensor::wrapped(a.dtype(), shape, out)
        }
        _ => Err(format!("product of {} and {}", a.dtype(), b.dtype())),
    }
}

/// `out += a . b` for row-major `a [m, k]`, `b [k, n]`; the innermost loop runs along rows of `b`.
fn product<T: Copy>(a: &[T], b: &[T], k: usize, n: usize, out: &mut [T], add: impl Fn(T, T, T) -> T) {
    if k == 0 || n == 0 {
        return;
    }
    for (row, out) in a.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
        for (&x, b_row) in row.iter().zip(b.chunks_exact(n)) {
            for (o, &y) in out.iter_mut().zip(b_row) {
                *o = add(*o, x, y);
            }
        }
    }
}

fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, trans_w: bool) -> Evaluated<Tensor> {
    let transposed;
    let w = if trans_w {
        transposed = super::movement::transposed(w, &[1, 0])?;
        &transposed
    } else {
        w
    };
    let Some(bias) = bias else { return matmul(x, w) };
    // The bias is added before the one rounding.
    let (wide_x, wide_w) = (widened(x)?, widened(w)?);
    let y = matmul(&wide_x, &wide_w)?;
    let places = Offsets::broadcast(bias.shape(), y.shape());
    match (y.floats(), bias.floats(), y.ints(), bias.ints()) {
        (Some(v), Some(b), ..) => {
            Tensor::rounded(x.dtype(), y.shape().to_vec(), v.iter().zip(places).map(|(v, i)| v + b[i]).collect())
        }
        (_, _, Some(v), Some(b)) => {
            let sum = v.iter().zip(places).map(|(v, i)| v.wrapping_add(b[i])).collect();
            Tensor::wrapped(x.dtype(), y.shape().to_vec(), sum)
        }
        _ => Err(format!("bias of {} for {}", bias.dtype(), x.dtype())),
    }
}

/// The same numbers at a dtype that holds sums of them.
fn widened(t: &Tensor) -> Evaluated<Tensor> {
    match (t.floats(), t.ints()) {
        (Some(v), _) => Tensor::rounded(DType::F64, t.shape().to_vec(), v.to_vec()),
        (_, Some(v)) => Tensor::wrapped(DType::I64, t.shape().to_vec(), v.to_vec()),
        _ => Err(format!("product of {}", t.dtype())),
    }
}
