//! Arithmetic, functions of one element, comparisons, reductions.

use super::{Lift, Lifting, NotLifted};
use bgz_passes::ir::{Binary, DType, Fold, FoldKind, Op, Product, Reduce, Unary};
use burn_ir::{
    BinaryOpIr, BoolOperationIr, FloatOperationIr, IntOperationIr, NumericOperationIr, ReduceDimOpIr, ReduceOpIr,
    ScalarOpIr, UnaryOpIr,
};

impl Lifting<'_> {
    pub(super) fn numeric(&mut self, op: &NumericOperationIr) -> Lift<()> {
        use NumericOperationIr as N;
        match op {
            N::Add(o) => self.binary(Binary::Add, o),
            N::Sub(o) => self.binary(Binary::Sub, o),
            N::Mul(o) => self.binary(Binary::Mul, o),
            N::Div(o) => self.float_binary(Binary::Div, o),
            N::AddScalar(o) => self.binary_scalar(Binary::Add, o),
            N::SubScalar(o) => self.binary_scalar(Binary::Sub, o),
            N::MulScalar(o) => self.binary_scalar(Binary::Mul, o),
            N::DivScalar(o) => self.float_scalar(Binary::Div, o),
            N::PowiScalar(o) => self.float_scalar(Binary::Pow, o),
            N::Greater(o) => self.binary(Binary::Gt, o),
            N::GreaterEqual(o) => self.binary(Binary::Ge, o),
            N::Lower(o) => self.binary(Binary::Lt, o),
            N::LowerEqual(o) => self.binary(Binary::Le, o),
            N::GreaterElem(o) => self.binary_scalar(Binary::Gt, o),
            N::GreaterEqualElem(o) => self.binary_scalar(Binary::Ge, o),
            N::LowerElem(o) => self.binary_scalar(Binary::Lt, o),
            N::LowerEqualElem(o) => self.binary_scalar(Binary::Le, o),
            N::Abs(o) => self.unary(Unary::Abs, o),
            N::Full(o) => {
                let dtype = self.ty(&o.out).map_err(NotLifted::Broken)?.dtype;
                let value = self.scalar(o.value, dtype)?;
                self.full(&o.out, value)
            }
            N::Clamp(o) => {
                let x = self.get(&o.tensor)?;
                let (min, max) = (self.scalar(o.min, self.dtype(x))?, self.scalar(o.max, self.dtype(x))?);
                let at_least = self.add(Op::Binary(Binary::Max), &[x, min])?;
                self.lifted(&o.out, Op::Binary(Binary::Min), &[at_least, max])
            }
            N::MeanDim(o) => self.reduce_axis(FoldKind::Mean, o),
            N::SumDim(o) => self.reduce_axis(FoldKind::Sum, o),
            N::ProdDim(o) => self.reduce_axis(FoldKind::Prod, o),
            N::MaxDim(o) => self.reduce_axis(FoldKind::Max, o),
            N::MinDim(o) => self.reduce_axis(FoldKind::Min, o),
            N::Mean(o) => self.reduce_all(FoldKind::Mean, o),
            N::Sum(o) => self.reduce_all(FoldKind::Sum, o),
            N::Prod(o) => self.reduce_all(FoldKind::Prod, o),
            N::Max(o) => self.reduce_all(FoldKind::Max, o),
            N::Min(o) => self.reduce_all(FoldKind::Min, o),
            // Backends differ in the sign of a remainder and in ties, or there is no kernel.
            N::Rem(_)
            | N::RemScalar(_)
            | N::ArgMax(_)
            | N::ArgMin(_)
            | N::ArgTopK(_)
            | N::TopK(_)
            | N::MaxDimWithIndices(_)
            | N::MinDimWithIndices(_)
            | N::MaxAbs(_)
            | N::MaxAbsDim(_)
            | N::IntRandom(_)
            | N::Powi(_)
            | N::CumSum(_)
            | N::CumProd(_)
            | N::CumMin(_)
            | N::CumMax(_) => Err(NotLifted::Opaque),
        }
    }

    pub(super) fn float(&mut self, op: &FloatOperationIr) -> Lift<()> {
        use FloatOperationIr as F;
        match op {
            F::Exp(o) => self.unary(Unary::Exp, o),
            F::Log(o) => self.unary(Unary::Log, o),
            F::Log1p(o) => self.unary(Unary::Log1p, o),
            F::Erf(o) => self.unary(Unary::Erf, o),
            F::Sqrt(o) => self.unary(Unary::Sqrt, o),
            F::Cos(o) => self.unary(Unary::Cos, o),
            F::Cosh(o) => self.unary(Unary::Cosh, o),
            F::Sin(o) => self.unary(Unary::Sin, o),
            F::Sinh(o) => self.unary(Unary::Sinh, o),
            F::Tan(o) => self.unary(Unary::Tan, o),
            F::Tanh(o) => self.unary(Unary::Tanh, o),
            F::ArcCos(o) => self.unary(Unary::Acos, o),
            F::ArcCosh(o) => self.unary(Unary::Acosh, o),
            F::ArcSin(o) => self.unary(Unary::Asin, o),
            F::ArcSinh(o) => self.unary(Unary::Asinh, o),
            F::ArcTan(o) => self.unary(Unary::Atan, o),
            F::ArcTanh(o) => self.unary(Unary::Atanh, o),
            F::Round(o) => self.unary(Unary::Round, o),
            F::Floor(o) => self.unary(Unary::Floor, o),
            F::Ceil(o) => self.unary(Unary::Ceil, o),
            F::Trunc(o) => self.unary(Unary::Trunc, o),
            F::Recip(o) => self.unary(Unary::Recip, o),
            F::IsNan(o) => self.unary(Unary::IsNan, o),
            F::IsInf(o) => self.unary(Unary::IsInf, o),
            F::IntoInt(o) => self.cast(&o.input, &o.out),
            F::PowfScalar(o) => self.float_scalar(Binary::Pow, o),
            F::Powf(o) => self.float_binary(Binary::Pow, o),
            F::Matmul(o) => {
                let (a, b) = (self.get(&o.lhs)?, self.get(&o.rhs)?);
                if [a, b].iter().any(|&v| self.dtype(v) != DType::F32) {
                    return Err(NotLifted::Opaque);
                }
                self.lifted(&o.out, Op::Product(Product::MatMul), &[a, b])
            }
            F::ArcTan2(_) | F::Cross(_) | F::Random(_) | F::Quantize(_) | F::Dequantize(_) | F::GridSample2d(_) => {
                Err(NotLifted::Opaque)
            }
        }
    }

    pub(super) fn int(&mut self, op: &IntOperationIr) -> Lift<()> {
        match op {
            IntOperationIr::IntoFloat(o) => self.cast(&o.input, &o.out),
            _ => Err(NotLifted::Opaque),
        }
    }

    pub(super) fn bool(&mut self, op: &BoolOperationIr) -> Lift<()> {
        match op {
            BoolOperationIr::IntoFloat(o) | BoolOperationIr::IntoInt(o) => self.cast(&o.input, &o.out),
            BoolOperationIr::Not(o) => self.unary(Unary::Not, o),
            BoolOperationIr::And(o) => self.binary(Binary::And, o),
            BoolOperationIr::Or(o) => self.binary(Binary::Or, o),
        }
    }

    fn unary(&mut self, f: Unary, o: &UnaryOpIr) -> Lift<()> {
        let x = self.get(&o.input)?;
        self.lifted(&o.out, Op::Unary(f), &[x])
    }

    fn binary(&mut self, f: Binary, o: &BinaryOpIr) -> Lift<()> {
        let (a, b) = (self.get(&o.lhs)?, self.get(&o.rhs)?);
        self.lifted(&o.out, Op::Binary(f), &[a, b])
    }

    fn binary_scalar(&mut self, f: Binary, o: &ScalarOpIr) -> Lift<()> {
        let a = self.get(&o.lhs)?;
        let b = self.scalar(o.rhs, self.dtype(a))?;
        self.lifted(&o.out, Op::Binary(f), &[a, b])
    }

    /// Of floats only: what an integer divided by zero is, say, is for the backend to decide.
    fn float_binary(&mut self, f: Binary, o: &BinaryOpIr) -> Lift<()> {
        let a = self.get(&o.lhs)?;
        if self.dtype(a).is_float() { self.binary(f, o) } else { Err(NotLifted::Opaque) }
    }

    fn float_scalar(&mut self, f: Binary, o: &ScalarOpIr) -> Lift<()> {
        let a = self.get(&o.lhs)?;
        if self.dtype(a).is_float() { self.binary_scalar(f, o) } else { Err(NotLifted::Opaque) }
    }

    fn reduce_axis(&mut self, kind: FoldKind, o: &ReduceDimOpIr) -> Lift<()> {
        let x = self.get(&o.input)?;
        if self.dtype(x) != DType::F32 || o.accumulator_len != 1 {
            return Err(NotLifted::Opaque);
        }
        self.lifted(&o.out, Op::Reduce(Reduce::Fold(Fold { kind, axes: vec![o.axis], keep_dims: true })), &[x])
    }

    fn reduce_all(&mut self, kind: FoldKind, o: &ReduceOpIr) -> Lift<()> {
        let x = self.get(&o.input)?;
        if self.dtype(x) != DType::F32 {
            return Err(NotLifted::Opaque);
        }
        let axes = (0..self.graph.ty(x).rank()).collect();
        let scalar = self.add(Op::Reduce(Reduce::Fold(Fold { kind, axes, keep_dims: false })), &[x])?;
        let shape = self.dims(&o.out)?;
        self.lifted(&o.out, Op::reshape(shape), &[scalar])
    }
}
