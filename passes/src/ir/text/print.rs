//! Graph to text.

use crate::ir::ops::OPAQUE;
use crate::ir::{Attr, Constant, Def, Graph, Node, Op, ValueId};
use std::collections::HashSet;
use std::fmt::{self, Display, Formatter, Write};

/// The text of a graph, the same on every run; ends with a newline.
pub fn print(graph: &Graph) -> String {
    graph.to_string()
}

impl Display for Graph {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.block(f)?;
        f.write_str("\n")
    }
}

impl Graph {
    /// The text without the end of the last line.
    fn block(&self, f: &mut impl Write) -> fmt::Result {
        writeln!(f, "graph @{} {{", Name(&self.name))?;
        for &v in self.inputs() {
            writeln!(f, "  in  {} : {}", Value(self, v), self.ty(v))?;
        }
        let mut seen = HashSet::new();
        let used = self.nodes().flat_map(|(_, n)| &n.inputs).chain(self.outputs().iter().map(|o| &o.value));
        for &v in used {
            if let Some(c) = self.constant(v)
                && seen.insert(v)
            {
                writeln!(f, "  const {} : {}", Value(self, v), ConstantText(c))?;
            }
        }
        for (_, node) in self.nodes() {
            writeln!(f, "  {}", NodeText(self, node))?;
        }
        for o in self.outputs() {
            if *o.name == *self.name(o.value) {
                writeln!(f, "  out {}", Value(self, o.value))?;
            } else {
                writeln!(f, "  out {} = {}", Name(&o.name), Value(self, o.value))?;
            }
        }
        f.write_str("}")
    }
}

/// Indents every line but the first.
struct Indented<'a, 'b>(&'a mut Formatter<'b>);

impl Write for Indented<'_, '_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for part in s.split_inclusive('\n') {
            self.0.write_str(part)?;
            if part.ends_with('\n') {
                self.0.write_str("  ")?;
            }
        }
        Ok(())
    }
}

/// True if a character may stand in a name without quotes.
pub(super) fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | ':' | '$' | '-')
}

/// A name, quoted if it has to be.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Two slashes would begin a comment.
        if !self.0.is_empty() && self.0.chars().all(is_bare) && !self.0.starts_with("//") {
            f.write_str(self.0)
        } else {
            quoted(f, self.0, '"')
        }
    }
}

/// `%name`, or `@name` for a constant.
struct Value<'a>(&'a Graph, ValueId);

impl Display for Value<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let data = self.0.value(self.1);
        write!(f, "{}{}", if matches!(data.def, Def::Const(_)) { '@' } else { '%' }, Name(&data.name))
    }
}

struct ConstantText<'a>(&'a Constant);

impl Display for ConstantText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let c = self.0;
        write!(f, "{}", c.ty())?;
        if let Some(format) = c.block_format() {
            write!(f, " {format}")?;
        }
        match c.is_inline().then(|| c.scalars()).flatten() {
            Some(mut values) => {
                f.write_str(" = ")?;
                match (c.shape(), values.next()) {
                    ([], Some(v)) => write!(f, "{v}"),
                    (_, first) => list(f, first.into_iter().chain(values)),
                }
            }
            _ => write!(f, " {:08x}", c.hash()),
        }
    }
}

struct NodeText<'a>(&'a Graph, &'a Node);

impl Display for NodeText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let NodeText(graph, node) = self;
        joined(f, node.outputs.iter().map(|&v| Value(graph, v)))?;
        f.write_str(" = ")?;
        match &node.op {
            Op::Opaque(o) => write!(f, "{OPAQUE}{}", Name(&o.name))?,
            op => f.write_str(&op.mnemonic())?,
        }
        f.write_str("(")?;
        joined(f, node.inputs.iter().map(|&v| Value(graph, v)))?;
        f.write_str(")")?;
        let attrs = node.op.attrs();
        if !attrs.is_empty() {
            f.write_str(" {")?;
            joined(f, attrs.iter().map(|(name, value)| AttrText(name, value)))?;
            f.write_str("}")?;
        }
        f.write_str(" : ")?;
        joined(f, node.outputs.iter().map(|&v| graph.ty(v)))
    }
}

struct AttrText<'a>(&'a str, &'a Attr);

impl Display for AttrText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", Name(self.0), self.1)
    }
}

impl Display for Attr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Bool(b) => write!(f, "{b}"),
            Attr::Dim(d) => write!(f, "{d}"),
            Attr::Dims(v) => list(f, v),
            Attr::Float(x) => write!(f, "{x}"),
            // `[]` is a list of extents.
            Attr::Floats(v) if v.is_empty() => f.write_str("f32[]"),
            Attr::Floats(v) => list(f, v),
            Attr::Str(s) => quoted(f, s, '"'),
            Attr::Call(name, arg) => {
                write!(f, "{}(", Name(name))?;
                quoted(f, arg, '"')?;
                f.write_str(")")
            }
            Attr::Graph(g) => g.graph().block(&mut Indented(f)),
        }
    }
}

fn joined<T: Display>(f: &mut Formatter<'_>, items: impl IntoIterator<Item = T>) -> fmt::Result {
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

fn list<T: Display>(f: &mut Formatter<'_>, items: impl IntoIterator<Item = T>) -> fmt::Result {
    f.write_str("[")?;
    joined(f, items)?;
    f.write_str("]")
}

/// Writes `s` in quotes, escaped so that it stays on one line.
fn quoted(f: &mut impl Write, s: &str, quote: char) -> fmt::Result {
    f.write_char(quote)?;
    for c in s.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            c if c == quote => write!(f, "\\{c}")?,
            // Line separators and marks that turn the direction of text would make it unreadable.
            c if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                write!(f, "\\u{{{:x}}}", u32::from(c))?;
            }
            c => f.write_char(c)?,
        }
    }
    f.write_char(quote)
}

/// Words that mean something else where a dim may stand.
pub(super) const RESERVED: [&str; 4] = ["true", "false", "inf", "nan"];

/// Writes the name of a dim, in single quotes unless it is an identifier.
pub(crate) fn write_ident(f: &mut impl Write, name: &str) -> fmt::Result {
    let mut chars = name.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !RESERVED.contains(&name);
    if plain { f.write_str(name) } else { quoted(f, name, '\'') }
}
