//! The scalars of recorded ops. One that is not listed here is not bound, and
//! the op it belongs to stays opaque.

use burn_ir::{BaseOperationIr, FloatOperationIr, ModuleOperationIr, NumericOperationIr, OperationIr, ScalarIr};

/// The relative scalars of an op.
pub(super) fn of(op: &OperationIr) -> Vec<u64> {
    let scalars: Vec<ScalarIr> = match op {
        OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => match op {
            BaseOperationIr::MaskFill(o) => vec![o.value],
            BaseOperationIr::EqualElem(o) => vec![o.rhs],
            _ => Vec::new(),
        },
        OperationIr::NumericFloat(_, op) | OperationIr::NumericInt(_, op) => numeric(op),
        OperationIr::Float(_, FloatOperationIr::PowfScalar(o)) => vec![o.rhs],
        OperationIr::Module(ModuleOperationIr::Attention(o)) => {
            [o.options.scale, o.options.softcap].into_iter().flatten().collect()
        }
        _ => Vec::new(),
    };
    scalars
        .into_iter()
        .filter_map(|s| match s {
            ScalarIr::UInt(id) => Some(id),
            _ => None,
        })
        .collect()
}

fn numeric(op: &NumericOperationIr) -> Vec<ScalarIr> {
    use NumericOperationIr as N;
    match op {
        N::AddScalar(o) | N::SubScalar(o) | N::MulScalar(o) | N::DivScalar(o) | N::RemScalar(o) => vec![o.rhs],
        N::GreaterElem(o) | N::GreaterEqualElem(o) | N::LowerElem(o) | N::LowerEqualElem(o) => vec![o.rhs],
        N::PowiScalar(o) => vec![o.rhs],
        N::Full(o) => vec![o.value],
        N::Clamp(o) => vec![o.min, o.max],
        _ => Vec::new(),
    }
}
