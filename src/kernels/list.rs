//! The table behind `bgz kernels`.

use super::Isa;
use bgz_passes::ir::{Binary, DType, Unary};

/// One kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelInfo {
    /// Its name in graph text.
    pub name: &'static str,
    /// The instruction sets of this host that have a variant, slowest first.
    pub variants: &'static [Isa],
    /// What its result may be off by.
    pub accuracy: &'static str,
}

/// Every kernel of f32 elements and rows.
pub fn list() -> Vec<KernelInfo> {
    let info = |name, accuracy| KernelInfo { name, variants: Isa::available(), accuracy };
    let unary =
        Unary::ALL.iter().filter(|f| f.output(DType::F32).is_some()).map(|f| info(f.name(), unary_accuracy(*f)));
    let binary =
        Binary::ALL.iter().filter(|f| f.output(DType::F32).is_some()).map(|f| info(f.name(), binary_accuracy(*f)));
    let rows = [
        ("softmax", "exp, sum and quotient: 1 ULP each, and the rounding of the sum"),
        ("softmax_masked", "as softmax"),
        ("log_softmax", "rounding of the sum, then 1 ULP of log"),
        ("layer_norm", "rounding of two sums"),
        ("add_layer_norm", "rounding of two sums"),
        ("rms_norm", "rounding of one sum"),
        ("reduce_sum", "rounding of the sum"),
        ("reduce_mean", "rounding of the sum"),
        ("reduce_max", "exact"),
        ("reduce_min", "exact"),
        ("reduce_prod", "rounding of the product"),
        ("attention", "rounding of two matrix products, and softmax"),
        ("copy", "exact"),
    ];
    unary.chain(binary).chain(rows.into_iter().map(|(n, a)| info(n, a))).collect()
}

/// The bound in ULP that the tests hold `f` to, and the absolute error that is
/// allowed instead.
pub fn unary_bound(f: Unary) -> (u32, f64) {
    use Unary::*;
    match f {
        Neg | Abs | Sign | Floor | Ceil | Round | Trunc | Sqrt | Relu | Recip | Not | IsNan | IsInf => (0, 0.0),
        Rsqrt | Exp | Log | Sin | Cos | Erf => (1, 0.0),
        Expm1 | Log1p | Tanh | Sigmoid | Softplus => (2, 0.0),
        Asin | Acos | Atan | Sinh | Cosh | Tan | Silu => (3, 0.0),
        Asinh | Acosh | Atanh => (4, 0.0),
        GeluErf | GeluTanh => (4, 1e-7),
    }
}

fn unary_accuracy(f: Unary) -> &'static str {
    match unary_bound(f) {
        (0, _) => "exact",
        (1, _) => "1 ULP",
        (2, _) => "2 ULP",
        (3, _) => "3 ULP",
        (_, 0.0) => "4 ULP",
        _ => "4 ULP or 1e-7",
    }
}

fn binary_accuracy(f: Binary) -> &'static str {
    match f {
        Binary::Pow => "2 ULP",
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Mod => "correctly rounded",
        _ => "exact",
    }
}
