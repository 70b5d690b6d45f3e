//! A cursor over graph text: names, strings, numbers, extents.

use super::parse::ParseError;
use super::print::{RESERVED, is_bare};
use crate::ir::Dim;

pub(super) type Res<T> = Result<T, ParseError>;

/// Factors of one product in an extent, and products in one extent.
const MAX_FACTORS: usize = 64;
const MAX_TERMS: usize = 1024;

#[derive(Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The whole text and the place in it.
    pub(super) fn parts(&self) -> (&'a str, usize) {
        (self.text, self.at)
    }

    /// An error here.
    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Res<T> {
        Err(self.error_at(self.at, message))
    }

    /// An error at an earlier place.
    pub(super) fn error_at(&self, at: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, at, message.into())
    }

    /// Expected `what`, found what is there.
    pub(super) fn expected<T>(&self, what: &str) -> Res<T> {
        let found = match self.rest().chars().next() {
            None => "the end of the text".into(),
            Some('\n') => "the end of the line".into(),
            Some(c) => format!("{c:?}"),
        };
        self.fail(format!("expected {what}, found {found}"))
    }

    /// Skips spaces and a comment, not the end of the line.
    pub(super) fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\r']).len();
        if self.rest().starts_with("//") {
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    /// Skips spaces, comments and ends of lines.
    pub(super) fn skip_lines(&mut self) {
        loop {
            self.skip_space();
            if !self.rest().starts_with('\n') {
                return;
            }
            self.at += 1;
        }
    }

    pub(super) fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest().chars().next()
    }

    /// Takes a character if it comes next, after spaces.
    pub(super) fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    pub(super) fn expect(&mut self, c: char) -> Res<()> {
        if self.eat(c) { Ok(()) } else { self.expected(&format!("{c:?}")) }
    }

    /// Takes the end of the line, or of the text.
    pub(super) fn end_of_line(&mut self) -> Res<()> {
        match self.peek() {
            None => Ok(()),
            Some('\n') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => self.expected("the end of the line"),
        }
    }

    /// Characters while `f` holds, perhaps none.
    pub(super) fn take_while(&mut self, f: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let n = rest.find(|c| !f(c)).unwrap_or(rest.len());
        self.at += n;
        &rest[..n]
    }

    /// Bare name characters, perhaps none.
    pub(super) fn word(&mut self) -> &'a str {
        self.skip_space();
        self.take_while(is_bare)
    }

    /// A bare name or a quoted one, right here.
    pub(super) fn name(&mut self, what: &str) -> Res<String> {
        if self.rest().starts_with('"') {
            return self.string('"');
        }
        match self.take_while(is_bare) {
            "" => self.expected(what),
            word => Ok(word.into()),
        }
    }

    /// A string in quotes.
    pub(super) fn string(&mut self, quote: char) -> Res<String> {
        let start = self.at;
        self.expect(quote)?;
        let mut out = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.error_at(start, "the string does not end"));
            };
            if c == '\n' {
                return Err(self.error_at(start, "the string does not end on its line"));
            }
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Ok(out),
                '\\' => out.push(self.escape()?),
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Res<char> {
        let c = self.rest().chars().next();
        let value = match c {
            Some('n') => Some('\n'),
            Some('t') => Some('\t'),
            Some('\\' | '"' | '\'') => c,
            Some('u') => {
                let digits = self.rest()[1..].strip_prefix('{').and_then(|r| r.split_once('}')).map(|p| p.0);
                let value = digits
                    .filter(|d| d.len() <= 6)
                    .and_then(|d| u32::from_str_radix(d, 16).ok())
                    .and_then(char::from_u32);
                if value.is_some() {
                    // `{`, the digits and `}`; the `u` is counted below.
                    self.at += digits.map_or(0, str::len) + 2;
                }
                value
            }
            _ => None,
        };
        match (value, c) {
            (Some(v), Some(_)) => {
                // Every escape letter is one byte.
                self.at += 1;
                Ok(v)
            }
            _ => self.fail("expected an escape: \\n, \\t, \\\\, \\\", \\' or \\u{hex}"),
        }
    }

    /// The text of a number: a sign, digits, a point, an exponent, or `inf` and
    /// `nan`. Takes nothing if there is none here.
    pub(super) fn number(&mut self) -> &'a str {
        self.skip_space();
        let rest = self.rest();
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let sign = usize::from(rest.starts_with('-'));
        let body = &rest[sign..];
        let mut n = digits(body);
        if n == 0 {
            // `inf`, but not the beginning of a longer word.
            n = if body.starts_with("inf") || body.starts_with("nan") { 3 } else { 0 };
            if n == 0 || body[n..].starts_with(is_bare) {
                return "";
            }
        } else {
            if body[n..].starts_with('.') {
                n += 1 + digits(&body[n + 1..]);
            }
            if let Some(exponent) = body[n..].strip_prefix('e') {
                let signed = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
                let d = digits(signed);
                n += if d > 0 { 1 + exponent.len() - signed.len() + d } else { 0 };
            }
        }
        self.at += sign + n;
        &rest[..sign + n]
    }

    /// An extent: `384`, `seq`, `2*batch*seq + 1`, `'a name' - 1`.
    pub(super) fn dim(&mut self) -> Res<Dim> {
        let mut negative = self.eat('-');
        let mut out = Vec::new();
        loop {
            out.push(self.term(negative)?);
            if out.len() > MAX_TERMS {
                return self.fail(format!("an extent of more than {MAX_TERMS} terms"));
            }
            negative = if self.eat('+') {
                false
            } else if self.eat('-') {
                true
            } else {
                return Ok(Dim::sum(out));
            };
        }
    }

    fn term(&mut self, negative: bool) -> Res<Dim> {
        let start = self.at;
        let mut factors = 0;
        let mut product = match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                let magnitude = self.take_while(|c| c.is_ascii_digit()).parse::<i128>().ok();
                match magnitude.and_then(|m| i64::try_from(if negative { -m } else { m }).ok()) {
                    Some(v) => Dim::int(v),
                    None => return Err(self.error_at(start, "the extent is beyond 64 bits")),
                }
            }
            _ => &self.symbol()? * &Dim::int(if negative { -1 } else { 1 }),
        };
        while self.eat('*') {
            product = &product * &self.symbol()?;
            factors += 1;
            if factors >= MAX_FACTORS {
                return self.fail(format!("a product of more than {MAX_FACTORS} extents"));
            }
        }
        Ok(product)
    }

    fn symbol(&mut self) -> Res<Dim> {
        if self.peek() == Some('\'') {
            return Ok(Dim::sym(self.string('\'')?));
        }
        let start = self.at;
        if self.rest().starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            if !RESERVED.contains(&word) {
                return Ok(Dim::sym(word));
            }
            self.at = start;
        }
        self.expected("an extent: a number, a name or a 'name'")
    }
}
