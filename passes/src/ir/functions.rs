//! The elementwise functions, and what each one does to one number.

use super::{DType, Scalar};
use std::str::FromStr;

macro_rules! functions {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every function, in the order of the declaration.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The name in graph text.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl FromStr for $name {
            type Err = ();
            fn from_str(s: &str) -> Result<Self, ()> {
                match s { $($text => Ok($name::$variant),)* _ => Err(()) }
            }
        }
    };
}

functions! {
    /// A function of one number.
    Unary {
        /// `-x`
        Neg = "neg",
        /// `|x|`
        Abs = "abs",
        /// -1, 0 or 1; NaN stays NaN
        Sign = "sign",
        /// largest integer not above
        Floor = "floor",
        /// smallest integer not below
        Ceil = "ceil",
        /// nearest integer, ties to even
        Round = "round",
        /// towards zero
        Trunc = "trunc",
        /// square root
        Sqrt = "sqrt",
        /// `1 / x`
        Recip = "recip",
        /// `1 / sqrt(x)`
        Rsqrt = "rsqrt",
        /// e to the x
        Exp = "exp",
        /// `exp(x) - 1`
        Expm1 = "expm1",
        /// natural logarithm
        Log = "log",
        /// `log(1 + x)`
        Log1p = "log1p",
        /// sine
        Sin = "sin",
        /// cosine
        Cos = "cos",
        /// tangent
        Tan = "tan",
        /// inverse sine
        Asin = "asin",
        /// inverse cosine
        Acos = "acos",
        /// inverse tangent
        Atan = "atan",
        /// hyperbolic sine
        Sinh = "sinh",
        /// hyperbolic cosine
        Cosh = "cosh",
        /// hyperbolic tangent
        Tanh = "tanh",
        /// inverse hyperbolic sine
        Asinh = "asinh",
        /// inverse hyperbolic cosine
        Acosh = "acosh",
        /// inverse hyperbolic tangent
        Atanh = "atanh",
        /// `1 / (1 + exp(-x))`
        Sigmoid = "sigmoid",
        /// the error function
        Erf = "erf",
        /// `log(1 + exp(x))`
        Softplus = "softplus",
        /// `max(x, 0)`
        Relu = "relu",
        /// `x * (1 + erf(x / sqrt 2)) / 2`
        GeluErf = "gelu_erf",
        /// `x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2`
        GeluTanh = "gelu_tanh",
        /// `x * sigmoid(x)`
        Silu = "silu",
        /// logical negation of a bool
        Not = "not",
        /// whether the number is NaN (bool)
        IsNan = "is_nan",
        /// whether the number is an infinity (bool)
        IsInf = "is_inf",
    }
}

functions! {
    /// A function of two numbers of one dtype.
    Binary {
        /// `a + b`
        Add = "add",
        /// `a - b`
        Sub = "sub",
        /// `a * b`
        Mul = "mul",
        /// `a / b`; integers truncate
        Div = "div",
        /// remainder with the sign of `a` (C `fmod`)
        Rem = "rem",
        /// remainder with the sign of `b` (Python `%`)
        Mod = "mod",
        /// the smaller; NaN if either is
        Min = "min",
        /// the greater; NaN if either is
        Max = "max",
        /// `a` to the power `b`
        Pow = "pow",
        /// `a == b` (bool)
        Eq = "eq",
        /// `a != b` (bool)
        Ne = "ne",
        /// `a < b` (bool)
        Lt = "lt",
        /// `a <= b` (bool)
        Le = "le",
        /// `a > b` (bool)
        Gt = "gt",
        /// `a >= b` (bool)
        Ge = "ge",
        /// logical or bitwise and
        And = "and",
        /// logical or bitwise or
        Or = "or",
        /// logical or bitwise exclusive or
        Xor = "xor",
    }
}

impl Unary {
    /// The dtype of the result for an operand of `dtype`, or `None` if not defined for it.
    pub fn output(self, dtype: DType) -> Option<DType> {
        match self {
            Unary::Not => (dtype == DType::Bool).then_some(DType::Bool),
            Unary::IsNan | Unary::IsInf => dtype.is_float().then_some(DType::Bool),
            Unary::Neg | Unary::Abs | Unary::Sign | Unary::Relu => (dtype != DType::Bool).then_some(dtype),
            _ => dtype.is_float().then_some(dtype),
        }
    }

    /// The value, computed in `f64` and rounded once; `None` where [`Unary::output`] is.
    pub fn eval(self, x: Scalar) -> Option<Scalar> {
        let dtype = self.output(x.dtype())?;
        if x.dtype() == DType::Bool {
            return Some(Scalar::bool(x.to_i64() == 0));
        }
        if x.dtype().is_int() {
            let v = x.to_i128();
            let r = match self {
                Unary::Neg => -v,
                Unary::Abs => v.abs(),
                Unary::Sign => v.signum(),
                _ => v.max(0),
            };
            return Some(Scalar::from_i64(dtype, r as i64));
        }
        Some(Scalar::from_f64(dtype, self.of_f64(x.to_f64())))
    }

    /// The value for a float, in `f64`; 0 or 1 where it is a truth value.
    #[inline]
    pub fn of_f64(self, v: f64) -> f64 {
        match self {
            Unary::Neg => -v,
            Unary::Abs => v.abs(),
            Unary::Sign if v == 0.0 || v.is_nan() => v,
            Unary::Sign => v.signum(),
            Unary::Floor => v.floor(),
            Unary::Ceil => v.ceil(),
            Unary::Round => v.round_ties_even(),
            Unary::Trunc => v.trunc(),
            Unary::Sqrt => v.sqrt(),
            Unary::Recip => 1.0 / v,
            Unary::Rsqrt => 1.0 / v.sqrt(),
            Unary::Exp => libm::exp(v),
            Unary::Expm1 => libm::expm1(v),
            Unary::Log => libm::log(v),
            Unary::Log1p => libm::log1p(v),
            Unary::Sin => libm::sin(v),
            Unary::Cos => libm::cos(v),
            Unary::Tan => libm::tan(v),
            Unary::Asin => libm::asin(v),
            Unary::Acos => libm::acos(v),
            Unary::Atan => libm::atan(v),
            Unary::Sinh => libm::sinh(v),
            Unary::Cosh => libm::cosh(v),
            Unary::Tanh => libm::tanh(v),
            Unary::Asinh => libm::asinh(v),
            // libm gives numbers for large negative operands.
            Unary::Acosh if v < 1.0 => f64::NAN,
            Unary::Acosh => libm::acosh(v),
            Unary::Atanh => libm::atanh(v),
            Unary::Sigmoid => sigmoid(v),
            Unary::Erf => libm::erf(v),
            Unary::Softplus => v.max(0.0) + libm::log1p(libm::exp(-v.abs())),
            Unary::Relu if v.is_nan() => v,
            Unary::Relu => v.max(0.0),
            // erfc keeps the relative accuracy of the negative tail.
            Unary::GeluErf => 0.5 * v * libm::erfc(-v * std::f64::consts::FRAC_1_SQRT_2),
            Unary::GeluTanh => {
                let inner = std::f64::consts::FRAC_2_PI.sqrt() * (v + 0.044715 * v * v * v);
                // (1 + tanh y) / 2 = sigmoid(2y)
                v * sigmoid(2.0 * inner)
            }
            Unary::Silu => v * sigmoid(v),
            Unary::IsNan => f64::from(u8::from(v.is_nan())),
            Unary::IsInf => f64::from(u8::from(v.is_infinite())),
            // Of truth values only.
            Unary::Not => f64::NAN,
        }
    }
}

fn sigmoid(v: f64) -> f64 {
    if v >= 0.0 { 1.0 / (1.0 + libm::exp(-v)) } else { libm::exp(v) / (1.0 + libm::exp(v)) }
}

/// `i64::wrapping_pow` with an exponent that need not fit 32 bits.
fn wrapping_pow(mut x: i64, mut y: u64) -> i64 {
    let mut power = 1i64;
    while y > 0 {
        if y & 1 == 1 {
            power = power.wrapping_mul(x);
        }
        x = x.wrapping_mul(x);
        y >>= 1;
    }
    power
}

impl Binary {
    /// True if `f(a, b) == f(b, a)`.
    pub const fn commutes(self) -> bool {
        use Binary::*;
        matches!(self, Add | Mul | Min | Max | Eq | Ne | And | Or | Xor)
    }

    /// True if the result is a bool whatever the operands are.
    pub const fn compares(self) -> bool {
        use Binary::*;
        matches!(self, Eq | Ne | Lt | Le | Gt | Ge)
    }

    /// The infix sign for `+ - * /`, which graph text writes infix in fused expressions.
    pub const fn infix(self) -> Option<char> {
        match self {
            Binary::Add => Some('+'),
            Binary::Sub => Some('-'),
            Binary::Mul => Some('*'),
            Binary::Div => Some('/'),
            _ => None,
        }
    }

    /// The dtype of the result for operands of `dtype`, or `None` if not defined for it.
    pub fn output(self, dtype: DType) -> Option<DType> {
        use Binary::*;
        match self {
            Eq | Ne => Some(DType::Bool),
            Lt | Le | Gt | Ge => (dtype != DType::Bool).then_some(DType::Bool),
            And | Or | Xor => (!dtype.is_float()).then_some(dtype),
            _ => (dtype != DType::Bool).then_some(dtype),
        }
    }

    /// The value, computed in `f64` (of integers exactly, and wrapped) and rounded
    /// once. `None` for operands of different dtypes, a dtype it is not
    /// defined for, or an integer division by zero.
    pub fn eval(self, a: Scalar, b: Scalar) -> Option<Scalar> {
        use Binary::*;
        if a.dtype() != b.dtype() {
            return None;
        }
        let dtype = self.output(a.dtype())?;
        if a.dtype().is_float() {
            let (x, y) = (a.to_f64(), b.to_f64());
            return match self {
                And | Or | Xor => None,
                _ if self.compares() => Some(Scalar::bool(self.of_f64s(x, y) != 0.0)),
                _ => Some(Scalar::from_f64(dtype, self.of_f64s(x, y))),
            };
        }
        let (x, y) = (a.to_i128(), b.to_i128());
        Some(match self {
            Eq => Scalar::bool(x == y),
            Ne => Scalar::bool(x != y),
            Lt => Scalar::bool(x < y),
            Le => Scalar::bool(x <= y),
            Gt => Scalar::bool(x > y),
            Ge => Scalar::bool(x >= y),
            _ => Scalar::from_i64(dtype, self.eval_ints(x, y)?),
        })
    }

    /// The value for floats, in `f64`; 0 or 1 where it is a truth value.
    #[inline]
    pub fn of_f64s(self, x: f64, y: f64) -> f64 {
        use Binary::*;
        let truth = |t: bool| f64::from(u8::from(t));
        match self {
            Eq => truth(x == y),
            Ne => truth(x != y),
            Lt => truth(x < y),
            Le => truth(x <= y),
            Gt => truth(x > y),
            Ge => truth(x >= y),
            Add => x + y,
            Sub => x - y,
            Mul => x * y,
            Div => x / y,
            Rem => x % y,
            Mod => {
                let r = x % y;
                if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }
            }
            Min | Max if x.is_nan() || y.is_nan() => f64::NAN,
            Min => x.min(y),
            Max => x.max(y),
            Pow => libm::pow(x, y),
            // Of integers and truth values only.
            And | Or | Xor => f64::NAN,
        }
    }

    /// The low 64 bits of the value of a function of two integers of a dtype that makes an integer, of which a narrower
    /// dtype keeps its own. `None` for a division by zero, and for a comparison.
    pub fn eval_ints(self, x: i128, y: i128) -> Option<i64> {
        use Binary::*;
        let value: i128 = match self {
            Eq | Ne | Lt | Le | Gt | Ge => return None,
            Add => x.wrapping_add(y),
            Sub => x.wrapping_sub(y),
            Mul => x.wrapping_mul(y),
            Div | Rem | Mod if y == 0 => return None,
            Div => x.wrapping_div(y),
            Rem => x.wrapping_rem(y),
            Mod => {
                let r = x.wrapping_rem(y);
                if r != 0 && (r < 0) != (y < 0) { r + y } else { r }
            }
            Min => x.min(y),
            Max => x.max(y),
            // A negative power of an integer truncates to 0 but for a base of 1 or -1.
            Pow if y < 0 => match x {
                1 => 1,
                -1 => 1 - 2 * (y & 1),
                _ => 0,
            },
            Pow => wrapping_pow(x as i64, y as u64).into(),
            And => x & y,
            Or => x | y,
            Xor => x ^ y,
        };
        Some(value as i64)
    }
}
