//! Attributes of ops as text: each op lists them once, to be written, read, or to have its extents visited.

use super::IntArg;
use crate::ir::{DType, Dim, Expr, Float, Subgraph, Type};
use std::collections::BTreeMap;

/// Attributes by name, sorted.
pub type Attrs = BTreeMap<String, Attr>;

/// The value of an attribute in graph text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attr {
    /// `true`, `false`
    Bool(bool),
    /// `3`, `batch`, `2*seq + 1`
    Dim(Dim),
    /// `[1, 2]`, `[batch, seq]`
    Dims(Vec<Dim>),
    /// `0.17677669`, `-inf`
    Float(Float),
    /// `[0.5, 1.0]`
    Floats(Vec<Float>),
    /// `"gelu_erf(a + b) + c"`
    Str(String),
    /// `table("layer0")`
    Call(String, String),
    /// `graph @then { .. }`, over several lines
    Graph(Subgraph),
}

/// Where attributes go to, or come from.
pub(crate) enum Fields<'a> {
    Write(Attrs),
    Read {
        /// Those not yet asked for.
        attrs: Attrs,
        /// Types of the results.
        types: &'a [Type],
        /// Number of operands.
        operands: usize,
        /// The first thing wrong.
        error: Option<String>,
    },
    /// Calls this with every extent.
    Dims(&'a mut dyn FnMut(&mut Dim)),
    /// Calls this with every graph, by the name of its attribute.
    Graphs(&'a mut dyn FnMut(&str, &mut Subgraph)),
}

impl Fields<'_> {
    pub(super) fn fail(&mut self, message: String) {
        if let Fields::Read { error, .. } = self {
            error.get_or_insert(message);
        }
    }

    fn writes(&self) -> bool {
        matches!(self, Fields::Write(_))
    }

    /// The number of operands, where an op is read.
    pub(super) fn operands(&self) -> Option<usize> {
        match self {
            Fields::Read { operands, .. } => Some(*operands),
            _ => None,
        }
    }

    /// The dtype of the one result, which no attribute repeats.
    pub(super) fn result_dtype(&mut self, value: &mut DType) {
        if let Fields::Read { types, error, .. } = self {
            match types {
                [t] => *value = t.dtype,
                _ => {
                    error.get_or_insert(format!("one result type is needed, not {}", types.len()));
                }
            }
        }
    }

    /// Whatever attributes there are.
    pub(super) fn all(&mut self, value: &mut Attrs) {
        match self {
            Fields::Write(attrs) => *attrs = value.clone(),
            Fields::Read { attrs, .. } => *value = std::mem::take(attrs),
            Fields::Dims(f) => {
                for attr in value.values_mut() {
                    match attr {
                        Attr::Dim(d) => f(d),
                        Attr::Dims(v) => v.iter_mut().for_each(&mut **f),
                        _ => {}
                    }
                }
            }
            Fields::Graphs(_) => {}
        }
    }

    /// Calls `f`, of [`Fields::Dims`], with some extents.
    fn visit<'d>(&mut self, dims: impl IntoIterator<Item = &'d mut Dim>) {
        if let Fields::Dims(f) = self {
            dims.into_iter().for_each(&mut **f);
        }
    }

    /// Writes `value`, or reads an attribute with `read`, which returns `None`
    /// if it is not of the kind `wanted`. Returns whether it was there.
    fn field<T>(
        &mut self,
        name: &str,
        value: &mut T,
        wanted: &str,
        write: impl FnOnce(&T) -> Attr,
        read: impl FnOnce(&Attr) -> Option<T>,
    ) -> bool {
        match self {
            Fields::Write(attrs) => {
                attrs.insert(name.into(), write(value));
                true
            }
            Fields::Read { attrs, error, .. } => {
                let Some(attr) = attrs.remove(name) else { return false };
                match read(&attr) {
                    Some(v) => *value = v,
                    None => {
                        error.get_or_insert(format!("attribute {name} must be {wanted}, not {attr}"));
                    }
                }
                true
            }
            Fields::Dims(_) | Fields::Graphs(_) => true,
        }
    }

    /// As [`Fields::field`], of an attribute that is not written where it is `default`.
    fn with_default<T: PartialEq>(
        &mut self,
        name: &str,
        value: &mut T,
        default: T,
        wanted: &str,
        write: impl FnOnce(&T) -> Attr,
        read: impl FnOnce(&Attr) -> Option<T>,
    ) {
        match self {
            Fields::Write(_) if *value == default => {}
            Fields::Write(_) => drop(self.field(name, value, wanted, write, read)),
            Fields::Read { .. } => {
                *value = default;
                self.field(name, value, wanted, write, read);
            }
            Fields::Dims(_) | Fields::Graphs(_) => {}
        }
    }

    /// As [`Fields::field`], of an attribute that must be there.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        value: &mut T,
        wanted: &str,
        write: impl FnOnce(&T) -> Attr,
        read: impl FnOnce(&Attr) -> Option<T>,
    ) {
        if !self.field(name, value, wanted, write, read) {
            self.fail(format!("attribute {name} is missing"));
        }
    }

    pub(super) fn int(&mut self, name: &str, value: &mut usize) {
        self.required(name, value, INT, |v| Attr::Dim((*v).into()), as_usize);
    }

    pub(super) fn optional_int(&mut self, name: &str, value: &mut usize, default: usize) {
        self.with_default(name, value, default, INT, |v| Attr::Dim((*v).into()), as_usize);
    }

    pub(super) fn flag(&mut self, name: &str, value: &mut bool) {
        self.required(name, value, "true or false", |v| Attr::Bool(*v), as_bool);
    }

    pub(super) fn optional_flag(&mut self, name: &str, value: &mut bool, default: bool) {
        self.with_default(name, value, default, "true or false", |v| Attr::Bool(*v), as_bool);
    }

    pub(super) fn float(&mut self, name: &str, value: &mut Float) {
        self.required(name, value, FLOAT, |v| Attr::Float(*v), as_float);
    }

    pub(super) fn float_or(&mut self, name: &str, value: &mut Float, default: Float) {
        self.with_default(name, value, default, FLOAT, |v| Attr::Float(*v), as_float);
    }

    pub(super) fn optional_float(&mut self, name: &str, value: &mut Option<Float>) {
        let write = |v: &Option<Float>| Attr::Float(v.unwrap_or(Float(0.0)));
        self.with_default(name, value, None, FLOAT, write, |a| as_float(a).map(Some));
    }

    pub(super) fn optional_floats(&mut self, name: &str, value: &mut Option<Vec<Float>>) {
        let write = |v: &Option<Vec<Float>>| Attr::Floats(v.clone().unwrap_or_default());
        self.with_default(name, value, None, "a list of numbers", write, |a| match a {
            Attr::Floats(v) => Some(Some(v.clone())),
            Attr::Dims(v) if v.is_empty() => Some(Some(Vec::new())),
            _ => None,
        });
    }

    pub(super) fn ints(&mut self, name: &str, value: &mut Vec<usize>) {
        self.required(name, value, INTS, |v| write_ints(v), as_ints);
    }

    pub(super) fn ints_or(&mut self, name: &str, value: &mut Vec<usize>, default: Vec<usize>) {
        self.with_default(name, value, default, INTS, |v| write_ints(v), as_ints);
    }

    pub(super) fn dims(&mut self, name: &str, value: &mut Vec<Dim>) {
        self.visit(value.iter_mut());
        self.required(name, value, EXTENTS, |v| Attr::Dims(v.clone()), as_dims);
    }

    pub(super) fn optional_dims(&mut self, name: &str, value: &mut Option<Vec<Dim>>) {
        self.visit(value.iter_mut().flatten());
        let write = |v: &Option<Vec<Dim>>| Attr::Dims(v.clone().unwrap_or_default());
        self.with_default(name, value, None, EXTENTS, write, |a| as_dims(a).map(Some));
    }

    /// Written if known; an operand if left out.
    pub(super) fn arg(&mut self, name: &str, value: &mut IntArg) {
        if let IntArg::Known(v) = value {
            self.visit(v);
        }
        let read = |a: &Attr| as_dims(a).map(IntArg::Known);
        self.with_default(name, value, IntArg::Operand, EXTENTS, write_arg, read);
    }

    /// Left out they are all 1, so that an operand needs a word.
    pub(super) fn steps(&mut self, value: &mut IntArg, axes: usize) {
        if let IntArg::Known(v) = value {
            self.visit(v);
        }
        let ones = IntArg::Known(vec![Dim::int(1); axes]);
        let read = |a: &Attr| match a {
            Attr::Str(s) if s == "operand" => Some(IntArg::Operand),
            a => as_dims(a).map(IntArg::Known),
        };
        self.with_default("steps", value, ones, "a list of extents or \"operand\"", write_arg, read);
    }

    pub(super) fn graph(&mut self, name: &str, value: &mut Subgraph) {
        match self {
            Fields::Dims(f) => value.visit_dims(&mut **f),
            Fields::Graphs(f) => f(name, value),
            _ => self.required(
                name,
                value,
                "a graph",
                |g| Attr::Graph(g.clone()),
                |a| match a {
                    Attr::Graph(g) => Some(g.clone()),
                    _ => None,
                },
            ),
        }
    }

    /// One of a few words; the first is the default.
    pub(super) fn word<T: Copy + PartialEq>(&mut self, name: &str, value: &mut T, words: &[(T, &str)]) {
        let Some(&(default, _)) = words.first() else { return };
        let wanted = words.iter().map(|w| format!("\"{}\"", w.1)).collect::<Vec<_>>().join(" or ");
        let write = |v: &T| Attr::Str(words.iter().find(|w| w.0 == *v).map_or("", |w| w.1).into());
        self.with_default(name, value, default, &wanted, write, |a| match a {
            Attr::Str(s) => words.iter().find(|w| w.1 == s).map(|w| w.0),
            _ => None,
        });
    }

    /// As [`Fields::word`], without quotes.
    pub(super) fn name<T: Copy + PartialEq>(&mut self, name: &str, value: &mut T, words: &[(T, &str)]) {
        let Some(&(default, _)) = words.first() else { return };
        let wanted = match words.iter().map(|w| w.1).collect::<Vec<_>>()[..] {
            [ref before @ .., last] => format!("{} or {last}", before.join(", ")),
            [] => String::new(),
        };
        let write = |v: &T| Attr::Dim(Dim::sym(words.iter().find(|w| w.0 == *v).map_or("", |w| w.1)));
        self.with_default(name, value, default, &wanted, write, |a| match a {
            Attr::Dim(d) => words.iter().find(|w| d.as_sym().is_some_and(|s| **s == *w.1)).map(|w| w.0),
            _ => None,
        });
    }

    pub(super) fn expr(&mut self, name: &str, value: &mut Expr) {
        let mut text = if self.writes() { value.to_string() } else { String::new() };
        let read = |a: &Attr| match a {
            Attr::Str(s) => Some(s.clone()),
            _ => None,
        };
        self.required(name, &mut text, "a string", |t| Attr::Str(t.clone()), read);
        if let Fields::Read { error: error @ None, .. } = self {
            match text.parse() {
                Ok(e) => *value = e,
                Err(e) => *error = Some(format!("attribute {name}: {e}")),
            }
        }
    }
}

const INT: &str = "a non-negative integer";
const INTS: &str = "a list of non-negative integers";
const FLOAT: &str = "a number with a point";
const EXTENTS: &str = "a list of extents";

fn write_ints(v: &[usize]) -> Attr {
    Attr::Dims(v.iter().map(|&i| i.into()).collect())
}

fn as_ints(a: &Attr) -> Option<Vec<usize>> {
    match a {
        Attr::Dims(v) => v.iter().map(Dim::as_usize).collect(),
        _ => None,
    }
}

fn as_usize(a: &Attr) -> Option<usize> {
    match a {
        Attr::Dim(d) => d.as_usize(),
        _ => None,
    }
}

fn as_bool(a: &Attr) -> Option<bool> {
    match a {
        Attr::Bool(b) => Some(*b),
        _ => None,
    }
}

fn as_float(a: &Attr) -> Option<Float> {
    match a {
        Attr::Float(f) => Some(*f),
        _ => None,
    }
}

fn as_dims(a: &Attr) -> Option<Vec<Dim>> {
    match a {
        Attr::Dims(v) => Some(v.clone()),
        _ => None,
    }
}

fn write_arg(v: &IntArg) -> Attr {
    match v {
        IntArg::Known(v) => Attr::Dims(v.clone()),
        IntArg::Operand => Attr::Str("operand".into()),
    }
}
