//! Text to graph.

use super::expr::parse_scalar;
use super::lexer::{Cursor, Res};
use crate::ir::ops::OPAQUE;
use crate::ir::{
    Attr, Attrs, BlockFormat, Constant, DType, Def, Float, Graph, GraphError, MAX_NESTING, Op, Scalar, Subgraph, Type,
    ValueId,
};
use std::fmt;

/// A fault in a graph's text, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Number of the line, from 1.
    pub line: usize,
    /// Number of the character in it, from 1.
    pub column: usize,
    /// The thing that was expected, or does not fit.
    pub message: String,
    /// The line, or a part of it if it is long.
    pub text: String,
    /// Number of the character in `text`, from 0.
    mark: usize,
}

/// Characters of an offending line that an error shows.
const SHOWN: usize = 160;

impl ParseError {
    pub(super) fn new(text: &str, at: usize, message: String) -> Self {
        let before = &text[..at];
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let line = text[start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let column = text[start..at].chars().count();
        let from = column.saturating_sub(SHOWN / 2);
        let cut: String = line.chars().skip(from).take(SHOWN).collect();
        Self { line: before.matches('\n').count() + 1, column: column + 1, message, text: cut, mark: column - from }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line {}, column {}: {}", self.line, self.column, self.message)?;
        writeln!(f, "  | {}", self.text)?;
        write!(f, "  | {:>width$}", '^', width = self.mark + 1)
    }
}

impl std::error::Error for ParseError {}

/// The graph of a text that [`print`](super::print) made, or a person. Large
/// constants have their hash only: [`Constant::absent`].
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    parse_with(text, &|_, _| None)
}

/// As [`parse`], with large constants from `find`, by name and hash. One that
/// it does not find has its hash only.
pub fn parse_with(text: &str, find: &dyn Fn(&str, u32) -> Option<Constant>) -> Result<Graph, ParseError> {
    let mut p = Parser { c: Cursor::new(text), graph: Graph::default(), depth: 0, find };
    p.c.skip_lines();
    p.graph()?;
    p.c.skip_lines();
    match p.c.peek() {
        None => Ok(p.graph),
        Some(_) => p.c.expected("nothing but comments behind the graph"),
    }
}

struct Parser<'a> {
    c: Cursor<'a>,
    graph: Graph,
    /// Graphs around the one that is read.
    depth: usize,
    find: &'a dyn Fn(&str, u32) -> Option<Constant>,
}

impl Parser<'_> {
    /// A graph up to its closing bracket.
    fn graph(&mut self) -> Res<()> {
        if self.c.word() != "graph" {
            return self.c.expected("graph @name {");
        }
        self.c.expect('@')?;
        self.graph.name = self.c.name("the name of the graph")?;
        self.c.expect('{')?;
        self.c.end_of_line()?;
        loop {
            self.c.skip_lines();
            let start = self.c.at();
            match self.c.peek() {
                Some('}') => break,
                Some('%') => self.node()?,
                None => return self.c.expected("a statement or } to close the graph"),
                Some(_) => match self.c.word() {
                    "in" => self.input()?,
                    "const" => self.constant()?,
                    "out" => self.output()?,
                    _ => return Err(self.c.error_at(start, "expected in, const, out, %name = or }")),
                },
            }
            self.c.end_of_line()?;
        }
        self.c.expect('}')
    }

    /// A graph within the one that is read.
    fn subgraph(&mut self) -> Res<Subgraph> {
        if self.depth == MAX_NESTING {
            return self.c.fail(format!("graphs are nested deeper than {MAX_NESTING}"));
        }
        let around = std::mem::take(&mut self.graph);
        self.depth += 1;
        self.graph()?;
        self.depth -= 1;
        Ok(Subgraph::new(std::mem::replace(&mut self.graph, around)))
    }

    /// `%name` or `@name`, as `sigil` says.
    fn defined(&mut self, sigil: char) -> Res<String> {
        self.c.expect(sigil)?;
        let start = self.c.at();
        let name = self.c.name("a name")?;
        if self.graph.find(&name).is_some() {
            let e = GraphError::Duplicate { name };
            return Err(self.c.error_at(start, e.to_string()));
        }
        Ok(name)
    }

    fn input(&mut self) -> Res<()> {
        let name = self.defined('%')?;
        let at = self.c.at();
        self.c.expect(':')?;
        let ty = self.ty(&name)?;
        match self.graph.add_input(&name, ty) {
            Ok(_) => Ok(()),
            Err(e) => Err(self.c.error_at(at, e.to_string())),
        }
    }

    fn output(&mut self) -> Res<()> {
        let (start, mut name) = (self.c.at(), None);
        if !matches!(self.c.peek(), Some('%' | '@')) {
            name = Some(self.c.name("a value or a name")?);
            self.c.expect('=')?;
        }
        let v = self.operand("the outputs")?;
        let name = name.unwrap_or_else(|| self.graph.name(v).to_string());
        self.graph.add_output(&name, v).map_err(|e| self.c.error_at(start, format!("out {e}")))
    }

    /// A use of a value, by `user`.
    fn operand(&mut self, user: &str) -> Res<ValueId> {
        let Some(sigil @ ('%' | '@')) = self.c.peek() else { return self.c.expected("%value or @constant") };
        let start = self.c.at();
        self.c.expect(sigil)?;
        let name = self.c.name("a name")?;
        let message = match self.graph.find(&name) {
            Some(v) if matches!(self.graph.value(v).def, Def::Const(_)) == (sigil == '@') => return Ok(v),
            Some(_) if sigil == '@' => format!("@{name} is not a constant: write %{name}"),
            Some(_) => format!("%{name} is a constant: write @{name}"),
            None if self.is_made_later(&name) => {
                format!("{user}: {}", GraphError::Order { value: name })
            }
            None => format!("{user}: {sigil}{name} is not defined"),
        };
        Err(self.c.error_at(start, message))
    }

    /// True if this line or one below defines a value.
    fn is_made_later(&self, name: &str) -> bool {
        let mut c = self.c.clone();
        let here = self.graph_line();
        // This line first: a node may use its own result.
        let mut line = Cursor::new(here);
        let defines = |c: &mut Cursor| {
            c.skip_space();
            if matches!(c.rest().split_whitespace().next(), Some("const" | "in")) {
                c.word();
            }
            loop {
                if !(c.eat('%') || c.eat('@')) {
                    return false;
                }
                match c.name("") {
                    Ok(n) if n == name => return true,
                    Ok(_) if c.eat(',') => {}
                    _ => return false,
                }
            }
        };
        if defines(&mut line) {
            return true;
        }
        loop {
            c.take_while(|c| c != '\n');
            c.skip_lines();
            if c.peek().is_none() {
                return false;
            }
            if defines(&mut c) {
                return true;
            }
        }
    }

    /// The line that is being read.
    fn graph_line(&self) -> &str {
        let (text, at) = self.c.parts();
        let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
        text[start..].split('\n').next().unwrap_or_default()
    }

    fn node(&mut self) -> Res<()> {
        let mut names = vec![self.defined('%')?];
        while self.c.eat(',') {
            let start = self.c.at();
            let name = self.defined('%')?;
            if names.contains(&name) {
                return Err(self.c.error_at(start, GraphError::Duplicate { name }.to_string()));
            }
            names.push(name);
        }
        self.c.expect('=')?;
        let node = format!("%{}", names[0]);
        self.c.peek();
        let start = self.c.at();
        let mut mnemonic = self.c.word().to_string();
        if mnemonic == OPAQUE && self.c.rest().starts_with('"') {
            mnemonic += &self.c.string('"')?;
        }
        if mnemonic.is_empty() {
            return self.c.expected("an op");
        }
        self.c.expect('(')?;
        let operands = self.list(')', |p| p.operand(&node))?;
        let attrs = if self.c.eat('{') { self.attrs()? } else { Attrs::new() };
        self.c.expect(':')?;
        let mut types = vec![self.ty(&names[0])?];
        while self.c.eat(',') {
            types.push(self.ty(names.get(types.len()).unwrap_or(&names[0]))?);
        }
        let fail = |p: &Self, message: String| p.c.error_at(start, message);
        if types.len() != names.len() {
            return Err(fail(self, format!("{node}: {} results of {} types", names.len(), types.len())));
        }
        let op = Op::from_parts(&mnemonic, attrs, &types, operands.len())
            .map_err(|e| fail(self, format!("{node} = {e}")))?;
        if !matches!(op, Op::Opaque(_)) && op.outputs() != names.len() {
            let message = format!("{node} = {mnemonic}: makes {} values, {} named", op.outputs(), names.len());
            return Err(fail(self, message));
        }
        let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
        match self.graph.add_node(op, &operands, &borrowed, Some(&types)) {
            Ok(made) => {
                // A claim that fits holds, so that the text comes out as it went in.
                for (v, ty) in made.into_iter().zip(types) {
                    self.graph.set_type(v, ty);
                }
                Ok(())
            }
            Err(e) => Err(fail(self, e.to_string())),
        }
    }

    /// Items up to `close`, which is taken.
    fn list<T>(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Res<T>) -> Res<Vec<T>> {
        let mut out = Vec::new();
        if self.c.eat(close) {
            return Ok(out);
        }
        loop {
            out.push(item(self)?);
            if self.c.eat(close) {
                return Ok(out);
            }
            if !self.c.eat(',') {
                return self.c.expected(&format!("',' or {close:?}"));
            }
        }
    }

    /// `f32[batch, 4]`, for a value of some name.
    fn ty(&mut self, of: &str) -> Res<Type> {
        self.c.peek();
        let start = self.c.at();
        let word = self.c.word();
        let Ok(dtype) = word.parse::<DType>() else {
            return Err(self.c.error_at(start, format!("%{of}: there is no dtype {word:?}")));
        };
        self.c.expect('[')?;
        let shape = self.list(']', |p| p.c.dim())?;
        let ty = Type { dtype, shape };
        if !ty.can_be_held() {
            let e = GraphError::TooLarge { value: of.into(), ty: shortened(ty.shown()) };
            return Err(self.c.error_at(start, e.to_string()));
        }
        Ok(ty)
    }

    fn constant(&mut self) -> Res<()> {
        let name = self.defined('@')?;
        self.c.expect(':')?;
        let start = self.c.at();
        let ty = self.ty(&name)?;
        let Some(shape) = ty.known_shape() else {
            return Err(self.c.error_at(start, format!("@{name}: the extents of a constant are numbers, not {ty}")));
        };
        self.c.peek();
        let start = self.c.at();
        let constant = if self.c.eat('=') {
            let values = if shape.is_empty() {
                vec![self.scalar(ty.dtype)?]
            } else {
                self.c.expect('[')?;
                self.list(']', |p| p.scalar(ty.dtype))?
            };
            let n = values.len();
            match Constant::from_scalars(ty.dtype, shape, values) {
                Some(c) => c,
                None => return Err(self.c.error_at(start, format!("@{name}: {n} elements for {ty}"))),
            }
        } else {
            let mut word = self.c.word();
            let format = match word.parse::<BlockFormat>() {
                Ok(format) if ty.dtype == DType::F32 => {
                    self.c.peek();
                    word = self.c.word();
                    Some(format)
                }
                Ok(format) => {
                    return Err(self
                        .c
                        .error_at(start, format!("@{name}: blocks of {format} are f32, not {}", ty.dtype)));
                }
                Err(()) => None,
            };
            let hash = match (word.len(), u32::from_str_radix(word, 16)) {
                (8, Ok(h)) if !word.starts_with('+') => h,
                _ => {
                    return Err(self
                        .c
                        .error_at(start, format!("@{name}: expected = values or a hash of 8 hex digits")));
                }
            };
            match (self.find)(&name, hash) {
                None => match format {
                    None => Constant::absent(ty.dtype, shape, hash),
                    Some(format) => Constant::absent_blocks(shape, format, hash),
                },
                Some(c) if c.dtype() == ty.dtype && c.shape() == shape && c.block_format() == format => c,
                Some(c) => {
                    let of = |f: Option<BlockFormat>| f.map(|f| format!(" {f}")).unwrap_or_default();
                    let (got, want) = (of(c.block_format()), of(format));
                    let text = format!("@{name}: {}{got} was supplied for {ty}{want}", c.ty());
                    return Err(self.c.error_at(start, text));
                }
            }
        };
        self.graph.add_const(&name, constant);
        Ok(())
    }

    fn scalar(&mut self, dtype: DType) -> Res<Scalar> {
        self.c.peek();
        let start = self.c.at();
        let text = match self.c.number() {
            "" => self.c.word(),
            number => number,
        };
        match parse_scalar(text, dtype) {
            Some(s) => Ok(s),
            None => Err(self.c.error_at(start, format!("{text:?} is not a number of {dtype}"))),
        }
    }

    fn attrs(&mut self) -> Res<Attrs> {
        let mut out = Attrs::new();
        self.list('}', |p| {
            p.c.peek();
            let start = p.c.at();
            let name = p.c.name("the name of an attribute")?;
            p.c.expect('=')?;
            let value = p.attr()?;
            if out.contains_key(&name) {
                return Err(p.c.error_at(start, format!("attribute {name} is given twice")));
            }
            out.insert(name, value);
            Ok(())
        })?;
        Ok(out)
    }

    fn attr(&mut self) -> Res<Attr> {
        match self.c.peek() {
            Some('"') => {
                let text = self.c.string('"')?;
                return if self.c.rest().starts_with('(') { self.call(text) } else { Ok(Attr::Str(text)) };
            }
            Some('[') => {
                let start = self.c.at();
                self.c.expect('[')?;
                let items = self.list(']', |p| p.number_or_dim())?;
                return match join(items) {
                    Some(a) => Ok(a),
                    None => Err(self.c.error_at(start, "a list is of numbers with a point or of extents, not of both")),
                };
            }
            _ => {}
        }
        let mut ahead = self.c.clone();
        match ahead.word() {
            "f32" if ahead.rest().starts_with("[]") => {
                self.c = ahead;
                self.c.expect('[')?;
                self.c.expect(']')?;
                Ok(Attr::Floats(vec![]))
            }
            word if !word.is_empty() && ahead.rest().starts_with('(') => {
                self.c = ahead;
                self.call(word.into())
            }
            "graph" if ahead.peek() == Some('@') => self.subgraph().map(Attr::Graph),
            word @ ("true" | "false") => {
                self.c = ahead;
                Ok(Attr::Bool(word == "true"))
            }
            _ => self.number_or_dim(),
        }
    }

    fn call(&mut self, name: String) -> Res<Attr> {
        self.c.expect('(')?;
        let arg = match self.c.peek() {
            Some('"') => self.c.string('"')?,
            _ => return self.c.expected("a string"),
        };
        self.c.expect(')')?;
        Ok(Attr::Call(name, arg))
    }

    /// A number with a point (or exponent, `inf`, `nan`), or an extent.
    fn number_or_dim(&mut self) -> Res<Attr> {
        let mut ahead = self.c.clone();
        let text = ahead.number();
        if text.is_empty() || text.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()) {
            return self.c.dim().map(Attr::Dim);
        }
        match parse_scalar(text, DType::F32) {
            Some(s) => {
                self.c = ahead;
                Ok(Attr::Float(Float(s.to_f64() as f32)))
            }
            None => self.c.fail(format!("{text} is not a number of f32")),
        }
    }
}

/// A list attribute of items of one kind.
fn join(items: Vec<Attr>) -> Option<Attr> {
    let (mut dims, mut floats) = (Vec::new(), Vec::new());
    for a in items {
        match a {
            Attr::Dim(d) => dims.push(d),
            Attr::Float(x) => floats.push(x),
            _ => return None,
        }
    }
    match (dims.is_empty(), floats.is_empty()) {
        (_, true) => Some(Attr::Dims(dims)),
        (true, false) => Some(Attr::Floats(floats)),
        (false, false) => None,
    }
}

fn shortened(s: String) -> String {
    if s.chars().count() > SHOWN { s.chars().take(SHOWN).chain(" ...".chars()).collect() } else { s }
}
