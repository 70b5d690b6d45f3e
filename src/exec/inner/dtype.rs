//! Dtypes and numbers of the graph as Burn has them.

use super::Fault;
use bgz_passes::ir::{DType, Scalar};
use burn_backend::{BoolStore, DType as BurnDType, FloatDType, IntDType, Scalar as BurnScalar};

/// The Burn dtype of a dtype of the graph.
pub(super) fn burn_dtype(dtype: DType) -> BurnDType {
    match dtype {
        DType::F32 => BurnDType::F32,
        DType::F16 => BurnDType::F16,
        DType::BF16 => BurnDType::BF16,
        DType::F64 => BurnDType::F64,
        DType::I8 => BurnDType::I8,
        DType::I16 => BurnDType::I16,
        DType::I32 => BurnDType::I32,
        DType::I64 => BurnDType::I64,
        DType::U8 => BurnDType::U8,
        DType::Bool => BurnDType::Bool(BoolStore::Native),
    }
}

/// The dtype of the graph that a Burn dtype is, if it has one.
pub fn graph_dtype(dtype: BurnDType) -> Option<DType> {
    match dtype {
        BurnDType::Bool(BoolStore::Native | BoolStore::U8) => Some(DType::Bool),
        _ => DType::ALL.into_iter().find(|&d| burn_dtype(d) == dtype),
    }
}

/// The Burn float dtype; [`DType::is_float`] holds.
pub(super) fn float_dtype(dtype: DType) -> Result<FloatDType, Fault> {
    match dtype {
        DType::F32 => Ok(FloatDType::F32),
        DType::F16 => Ok(FloatDType::F16),
        DType::BF16 => Ok(FloatDType::BF16),
        DType::F64 => Ok(FloatDType::F64),
        _ => Err(Fault::Invalid(format!("{dtype} is not a float"))),
    }
}

/// The Burn integer dtype; [`DType::is_int`] holds.
pub(super) fn int_dtype(dtype: DType) -> Result<IntDType, Fault> {
    match dtype {
        DType::I8 => Ok(IntDType::I8),
        DType::I16 => Ok(IntDType::I16),
        DType::I32 => Ok(IntDType::I32),
        DType::I64 => Ok(IntDType::I64),
        DType::U8 => Ok(IntDType::U8),
        _ => Err(Fault::Invalid(format!("{dtype} is not an integer"))),
    }
}

/// The Burn scalar of a number.
pub(super) fn burn_scalar(s: Scalar) -> BurnScalar {
    match s.dtype() {
        DType::Bool => BurnScalar::Bool(s.to_i64() != 0),
        DType::U8 => BurnScalar::UInt(s.to_i64().unsigned_abs()),
        d if d.is_int() => BurnScalar::Int(s.to_i64()),
        _ => BurnScalar::Float(s.to_f64()),
    }
}
