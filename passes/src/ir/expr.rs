//! The expression of a `fused` op: scalar functions over its operands.

use super::{Binary, DType, Scalar, Unary};
use std::fmt;

/// The expression that a `fused` op computes for each element, over operands `a`, `b`, `c` ...
///
/// Text: calls by function name, `+ - * /` infix with the usual precedence,
/// `where(cond, x, y)`, `cast_<dtype>(x)`, and literals, which carry their
/// dtype unless it is `f32` (with a point, exponent, `inf` or `nan`) or `bool`:
/// `gelu_erf(a + b) * 0.5`, `where(eq(a, 0i64), -inf, b)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    /// Operand by position; `a` is 0.
    Input(usize),
    /// A number.
    Literal(Scalar),
    /// A function of one number.
    Unary(Unary, Box<Expr>),
    /// A function of two numbers.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// The second where the first is true, else the third.
    Where(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Conversion.
    Cast(DType, Box<Expr>),
}

impl Expr {
    /// Operands a fused op may have: as many as there are letters.
    pub const MAX_INPUTS: usize = 26;

    /// Functions that may be nested in each other, so that walking an
    /// expression from a file cannot overflow the stack.
    pub const MAX_DEPTH: usize = 256;

    /// The dtype of the result for operands of `inputs`, or what does not fit.
    pub fn dtype(&self, inputs: &[DType]) -> Result<DType, String> {
        match self {
            Expr::Input(i) => {
                inputs.get(*i).copied().ok_or_else(|| format!("{self} is not one of the {} operands", inputs.len()))
            }
            Expr::Literal(s) => Ok(s.dtype()),
            Expr::Unary(f, x) => {
                let d = x.dtype(inputs)?;
                f.output(d).ok_or_else(|| format!("{} is not defined for {d}", f.name()))
            }
            Expr::Binary(f, x, y) => {
                let (d, e) = (x.dtype(inputs)?, y.dtype(inputs)?);
                if d != e {
                    return Err(format!("{} of {d} and {e}", f.name()));
                }
                f.output(d).ok_or_else(|| format!("{} is not defined for {d}", f.name()))
            }
            Expr::Where(c, x, y) => {
                let (c, d, e) = (c.dtype(inputs)?, x.dtype(inputs)?, y.dtype(inputs)?);
                if c != DType::Bool {
                    return Err(format!("where on a condition of {c}"));
                }
                if d != e { Err(format!("where of {d} and {e}")) } else { Ok(d) }
            }
            Expr::Cast(to, x) => x.dtype(inputs).map(|_| *to),
        }
    }

    /// Number of functions, literals and operands in it.
    pub fn size(&self) -> usize {
        1 + match self {
            Expr::Input(_) | Expr::Literal(_) => 0,
            Expr::Unary(_, x) | Expr::Cast(_, x) => x.size(),
            Expr::Binary(_, x, y) => x.size() + y.size(),
            Expr::Where(c, x, y) => c.size() + x.size() + y.size(),
        }
    }

    /// Functions nested in each other; an operand or a literal alone is 1.
    pub fn depth(&self) -> usize {
        1 + match self {
            Expr::Input(_) | Expr::Literal(_) => 0,
            Expr::Unary(_, x) | Expr::Cast(_, x) => x.depth(),
            Expr::Binary(_, x, y) => x.depth().max(y.depth()),
            Expr::Where(c, x, y) => c.depth().max(x.depth()).max(y.depth()),
        }
    }

    /// Replaces operand `i` by `with(i)`.
    pub fn substitute(&self, with: &mut impl FnMut(usize) -> Expr) -> Expr {
        match self {
            Expr::Input(i) => with(*i),
            Expr::Literal(s) => Expr::Literal(*s),
            Expr::Unary(f, x) => Expr::Unary(*f, x.substitute(with).into()),
            Expr::Cast(d, x) => Expr::Cast(*d, x.substitute(with).into()),
            Expr::Binary(f, x, y) => Expr::Binary(*f, x.substitute(with).into(), y.substitute(with).into()),
            Expr::Where(c, x, y) => {
                Expr::Where(c.substitute(with).into(), x.substitute(with).into(), y.substitute(with).into())
            }
        }
    }

    /// The value for one element; `None` where it is not defined (dtypes, integer division by zero).
    pub fn eval(&self, inputs: &[Scalar]) -> Option<Scalar> {
        match self {
            Expr::Input(i) => inputs.get(*i).copied(),
            Expr::Literal(s) => Some(*s),
            Expr::Unary(f, x) => f.eval(x.eval(inputs)?),
            Expr::Binary(f, x, y) => f.eval(x.eval(inputs)?, y.eval(inputs)?),
            Expr::Where(c, x, y) => if c.eval(inputs)?.to_i64() != 0 { x } else { y }.eval(inputs),
            Expr::Cast(d, x) => Some(x.eval(inputs)?.cast(*d)),
        }
    }

    /// How tightly the text of it binds: sums 1, products 2, the rest 3.
    fn precedence(&self) -> u8 {
        match self {
            Expr::Binary(Binary::Add | Binary::Sub, ..) => 1,
            Expr::Binary(Binary::Mul | Binary::Div, ..) => 2,
            _ => 3,
        }
    }

    fn fmt_at_least(&self, level: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.precedence() < level { write!(f, "({self})") } else { write!(f, "{self}") }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Input(i) => match u8::try_from(*i) {
                Ok(i) if usize::from(i) < Self::MAX_INPUTS => write!(f, "{}", char::from(b'a' + i)),
                _ => write!(f, "operand{i}"),
            },
            Expr::Literal(s) => match s.dtype() {
                DType::F32 | DType::Bool => write!(f, "{s}"),
                d => write!(f, "{s}{d}"),
            },
            Expr::Unary(g, x) => write!(f, "{}({x})", g.name()),
            Expr::Cast(d, x) => write!(f, "cast_{d}({x})"),
            Expr::Where(c, x, y) => write!(f, "where({c}, {x}, {y})"),
            Expr::Binary(g, x, y) => match g.infix() {
                Some(sign) => {
                    let level = self.precedence();
                    x.fmt_at_least(level, f)?;
                    write!(f, " {sign} ")?;
                    // Left-associative: the right side needs brackets at the same level.
                    y.fmt_at_least(level + 1, f)
                }
                None => write!(f, "{}({x}, {y})", g.name()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_only_where_needed() {
        let [a, b, c] = [0, 1, 2].map(|i| Box::new(Expr::Input(i)));
        let sum = Expr::Binary(Binary::Add, a.clone(), b.clone());
        assert_eq!(Expr::Binary(Binary::Mul, sum.clone().into(), c.clone()).to_string(), "(a + b) * c");
        assert_eq!(Expr::Binary(Binary::Add, sum.clone().into(), c.clone()).to_string(), "a + b + c");
        assert_eq!(Expr::Binary(Binary::Sub, c, sum.into()).to_string(), "c - (a + b)");
    }

    #[test]
    fn mixed_dtypes_are_refused() {
        let e = Expr::Binary(Binary::Add, Box::new(Expr::Input(0)), Box::new(Expr::Literal(Scalar::f32(1.0))));
        assert_eq!(e.dtype(&[DType::I64]), Err("add of i64 and f32".into()));
        assert_eq!(e.dtype(&[DType::F32]), Ok(DType::F32));
    }
}
