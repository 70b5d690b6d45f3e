//! Text to [`Expr`].

use crate::ir::{DType, Expr, Scalar};
use std::str::FromStr;
use thiserror::Error;

/// A fault in the text of an expression.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message} at character {at} of the expression")]
pub struct ExprError {
    /// Number of the character, from 1.
    pub at: usize,
    /// The thing that was expected, or does not fit.
    pub message: String,
}

/// Recursive descent over characters; `Expr::MAX_DEPTH` bounds the recursion
/// as well as the depth of what is built, so that no later walk overflows.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    brackets: usize,
}

type Res<T> = Result<T, ExprError>;

/// An expression and how deeply it is nested.
type Built = (Expr, usize);

impl FromStr for Expr {
    type Err = ExprError;

    fn from_str(s: &str) -> Res<Expr> {
        let mut p = Parser { text: s, at: 0, brackets: 0 };
        let (e, _) = p.sum()?;
        p.skip_space();
        if p.rest().is_empty() { Ok(e) } else { p.fail("expected an operator or the end") }
    }
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, message: impl Into<String>) -> Res<T> {
        Err(ExprError { at: self.text[..self.at].chars().count() + 1, message: message.into() })
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches(' ').len();
    }

    /// Takes a character if it comes next, after spaces.
    fn eat(&mut self, c: char) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, c: char) -> Res<()> {
        if self.eat(c) { Ok(()) } else { self.fail(format!("expected {c}")) }
    }

    fn built(&self, e: Expr, depth: usize) -> Res<Built> {
        if depth > Expr::MAX_DEPTH {
            return self.fail(format!("nested deeper than {}", Expr::MAX_DEPTH));
        }
        Ok((e, depth))
    }

    fn sum(&mut self) -> Res<Built> {
        let mut left = self.product()?;
        loop {
            let f = if self.eat('+') {
                crate::ir::Binary::Add
            } else if self.eat('-') {
                crate::ir::Binary::Sub
            } else {
                return Ok(left);
            };
            let right = self.product()?;
            left = self.built(Expr::Binary(f, left.0.into(), right.0.into()), left.1.max(right.1) + 1)?;
        }
    }

    fn product(&mut self) -> Res<Built> {
        let mut left = self.atom()?;
        loop {
            let f = if self.eat('*') {
                crate::ir::Binary::Mul
            } else if self.eat('/') {
                crate::ir::Binary::Div
            } else {
                return Ok(left);
            };
            let right = self.atom()?;
            left = self.built(Expr::Binary(f, left.0.into(), right.0.into()), left.1.max(right.1) + 1)?;
        }
    }

    fn atom(&mut self) -> Res<Built> {
        self.skip_space();
        if self.brackets >= Expr::MAX_DEPTH {
            return self.fail(format!("nested deeper than {}", Expr::MAX_DEPTH));
        }
        if self.eat('(') {
            self.brackets += 1;
            let e = self.sum()?;
            self.brackets -= 1;
            self.expect(')')?;
            return Ok(e);
        }
        let start = self.at;
        let negative = self.eat('-');
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return self.number(start);
        }
        let word = self.word();
        if let Some(literal) = non_finite(word, negative) {
            return self.built(Expr::Literal(literal), 1);
        }
        if negative {
            self.at = start;
            return self.fail("expected a number behind -; the function is neg(x)");
        }
        match word {
            "true" | "false" => return self.built(Expr::Literal(Scalar::bool(word == "true")), 1),
            "" => {
                self.at = start;
                return self.fail("expected a function, an operand (a to z) or a number");
            }
            _ => {}
        }
        if let [letter @ b'a'..=b'z'] = word.as_bytes() {
            return self.built(Expr::Input(usize::from(letter - b'a')), 1);
        }
        self.call(word, start)
    }

    /// Letters, digits and underscores.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let n = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        self.at += n;
        &rest[..n]
    }

    fn call(&mut self, name: &str, start: usize) -> Res<Built> {
        let unknown = |p: &mut Self| {
            p.at = start;
            p.fail(format!("there is no function {name}"))
        };
        let mut args = Vec::new();
        let wanted = match name {
            "where" => 3,
            _ if name.parse::<crate::ir::Unary>().is_ok() => 1,
            _ if name.parse::<crate::ir::Binary>().is_ok() => 2,
            _ if cast_target(name).is_some() => 1,
            _ => return unknown(self),
        };
        self.expect('(')?;
        self.brackets += 1;
        for i in 0..wanted {
            if i > 0 {
                self.expect(',')?;
            }
            args.push(self.sum()?);
        }
        self.brackets -= 1;
        self.expect(')')?;
        let depth = args.iter().map(|a| a.1).max().unwrap_or(0) + 1;
        let mut args = args.into_iter().map(|a| Box::new(a.0));
        let e = match (args.next(), args.next(), args.next()) {
            (Some(c), Some(x), Some(y)) => Expr::Where(c, x, y),
            (Some(x), Some(y), None) => match name.parse() {
                Ok(f) => Expr::Binary(f, x, y),
                Err(()) => return unknown(self),
            },
            (Some(x), None, _) => match (name.parse(), cast_target(name)) {
                (Ok(f), _) => Expr::Unary(f, x),
                (_, Some(d)) => Expr::Cast(d, x),
                _ => return unknown(self),
            },
            _ => return unknown(self),
        };
        self.built(e, depth)
    }

    /// The digits behind an optional sign, from `start`, and the dtype behind them.
    fn number(&mut self, start: usize) -> Res<Built> {
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        self.at += digits(self.rest());
        let mut float = false;
        if let Some(fraction) = self.rest().strip_prefix('.') {
            float = true;
            self.at += 1 + digits(fraction);
        }
        if let Some(exponent) = self.rest().strip_prefix('e') {
            let signed = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            let n = digits(signed);
            if n > 0 {
                float = true;
                self.at += 1 + exponent.len() - signed.len() + n;
            }
        }
        let text: String = self.text[start..self.at].chars().filter(|c| *c != ' ').collect();
        let suffix = self.word();
        let dtype = match suffix {
            "" if float => DType::F32,
            "" => return self.fail(format!("the integer {text} needs a dtype, as in {text}i64")),
            _ => match suffix.parse() {
                Ok(d) => d,
                Err(()) => return self.fail(format!("there is no dtype {suffix}")),
            },
        };
        match parse_scalar(&text, dtype) {
            Some(s) => self.built(Expr::Literal(s), 1),
            None => self.fail(format!("{text} is not a number of {dtype}")),
        }
    }
}

fn cast_target(name: &str) -> Option<DType> {
    name.strip_prefix("cast_")?.parse().ok()
}

/// `inf` or `nan`, perhaps with a dtype behind it.
fn non_finite(word: &str, negative: bool) -> Option<Scalar> {
    let (value, suffix) = match (word.strip_prefix("inf"), word.strip_prefix("nan")) {
        (Some(s), _) => (f64::INFINITY, s),
        (_, Some(s)) => (f64::NAN, s),
        _ => return None,
    };
    let dtype = if suffix.is_empty() { DType::F32 } else { suffix.parse().ok()? };
    dtype.is_float().then(|| Scalar::from_f64(dtype, if negative { -value } else { value }))
}

/// The number that [`Scalar`]'s text stands for, if it is one of `dtype`.
pub(super) fn parse_scalar(text: &str, dtype: DType) -> Option<Scalar> {
    match dtype {
        DType::Bool => text.parse().ok().map(Scalar::bool),
        d if d.is_int() => {
            let v: i128 = text.parse().ok()?;
            let s = Scalar::from_i64(d, v as i64);
            (s.to_i128() == v).then_some(s)
        }
        d => {
            let (negative, magnitude) = text.strip_prefix('-').map_or((false, text), |m| (true, m));
            let plain = match magnitude {
                "inf" | "nan" => true,
                m => m.starts_with(|c: char| c.is_ascii_digit()),
            };
            if !plain {
                return None;
            }
            // Through f32 where the text came from one: one rounding only.
            let v: f64 = if d == DType::F64 { magnitude.parse().ok()? } else { magnitude.parse::<f32>().ok()?.into() };
            let s = Scalar::from_f64(d, if negative { -v } else { v });
            (s.to_f64().is_finite() || !magnitude.starts_with(|c: char| c.is_ascii_digit())).then_some(s)
        }
    }
}
