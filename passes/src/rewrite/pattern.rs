//! Patterns that read like the maths.
//!
//! ```
//! use bgz_passes::ir::Unary;
//! use bgz_passes::rewrite::{Pattern, any, unary};
//!
//! // GELU as PyTorch exports it.
//! fn gelu() -> Pattern {
//!     let x = any("x");
//!     x.clone() * (unary(Unary::Erf, x / std::f32::consts::SQRT_2) + 1.0) * 0.5
//! }
//! ```

use crate::ir::{Binary, Graph, NodeId, Op, Scalar, Unary, ValueId};
use std::fmt;
use std::ops::{Add, Div, Index, Mul, Sub};
use std::sync::Arc;

/// The form that a value must have. A name that occurs twice must bind the same
/// value both times; operands of a commutative op match in either order.
#[derive(Clone)]
pub struct Pattern {
    kind: Arc<Kind>,
    name: Option<&'static str>,
}

type OpTest = Arc<dyn Fn(&Op) -> bool + Send + Sync>;
type ValueTest = Arc<dyn Fn(&Graph, ValueId) -> bool + Send + Sync>;

enum Kind {
    Any,
    Const,
    Scalar(Option<f32>),
    Leaf(ValueTest),
    Op(OpTest, Vec<Pattern>),
    OneOf(Vec<Pattern>),
}

/// Any value, bound to `name`.
pub fn any(name: &'static str) -> Pattern {
    Kind::Any.named(name)
}

/// Any constant, bound to `name`.
pub fn constant(name: &'static str) -> Pattern {
    Kind::Const.named(name)
}

/// A constant all of whose elements are one number, bound to `name`.
pub fn scalar(name: &'static str) -> Pattern {
    Kind::Scalar(None).named(name)
}

/// A constant all of whose elements are `value`, to a relative 1e-6 or as near as its dtype can be.
pub fn lit(value: f32) -> Pattern {
    Pattern { kind: Arc::new(Kind::Scalar(Some(value))), name: None }
}

/// Any value that passes a test, bound to `name`.
pub fn leaf(name: &'static str, test: impl Fn(&Graph, ValueId) -> bool + Send + Sync + 'static) -> Pattern {
    Kind::Leaf(Arc::new(test)).named(name)
}

/// The (first) result of an op that passes a test, on exactly these operands.
pub fn op(test: impl Fn(&Op) -> bool + Send + Sync + 'static, operands: impl IntoIterator<Item = Pattern>) -> Pattern {
    Pattern { kind: Arc::new(Kind::Op(Arc::new(test), operands.into_iter().collect())), name: None }
}

/// A function of one pattern.
pub fn unary(f: Unary, x: Pattern) -> Pattern {
    op(move |op| matches!(op, Op::Unary(g) if *g == f), [x])
}

/// A function of two patterns.
pub fn binary(f: Binary, a: Pattern, b: Pattern) -> Pattern {
    op(move |op| matches!(op, Op::Binary(g) if *g == f), [a, b])
}

/// The first of several patterns that matches (and lets the rest match).
pub fn one_of(patterns: impl IntoIterator<Item = Pattern>) -> Pattern {
    Pattern { kind: Arc::new(Kind::OneOf(patterns.into_iter().collect())), name: None }
}

impl Kind {
    fn named(self, name: &'static str) -> Pattern {
        Pattern { kind: Arc::new(self), name: Some(name) }
    }
}

impl Pattern {
    /// Binds what this pattern matches to `name`, too.
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// This pattern, or `wrap` of it.
    pub fn or(self, wrap: impl Fn(Pattern) -> Pattern) -> Self {
        one_of([wrap(self.clone()), self])
    }

    /// The first way in which `value` looks like this, if any.
    pub fn find(&self, graph: &Graph, value: ValueId) -> Option<Match> {
        let mut state = Match { root: value, bound: Vec::new(), interior: Vec::new() };
        let mut found = None;
        self.go(graph, value, &mut state, &mut |state| {
            found = Some(state.clone());
            true
        });
        let mut found = found?;
        found.interior.retain(|&v| v != value);
        found.interior.sort();
        found.interior.dedup();
        Some(found)
    }

    /// Calls `then` for every way to match until it returns true.
    fn go(&self, g: &Graph, v: ValueId, m: &mut Match, then: &mut dyn FnMut(&mut Match) -> bool) -> bool {
        let bound = m.bound.len();
        if let Some(name) = self.name {
            match m.get(name) {
                Some(other) if other != v => return false,
                Some(_) => {}
                None => m.bound.push((name, v)),
            }
        }
        let done = match &*self.kind {
            Kind::Any => then(m),
            Kind::Const => g.constant(v).is_some() && then(m),
            Kind::Scalar(want) => {
                let near =
                    |s: Scalar, w: f64| (s.to_f64() - w).abs() <= 1e-6 * w.abs() || s == Scalar::from_f64(s.dtype(), w);
                let fits = g
                    .constant(v)
                    .and_then(|c| c.as_splat())
                    .is_some_and(|s| want.is_none_or(|w| near(s, f64::from(w))));
                fits && then(m)
            }
            Kind::Leaf(test) => test(g, v) && then(m),
            Kind::OneOf(all) => all.iter().any(|p| p.go(g, v, m, then)),
            Kind::Op(test, operands) => match g.producer(v) {
                Some(id) if g.node(id).outputs[0] == v && test(&g.node(id).op) => {
                    m.interior.push(v);
                    let done = Self::operands(g, id, operands, m, then);
                    if !done {
                        m.interior.pop();
                    }
                    done
                }
                _ => false,
            },
        };
        if !done {
            m.bound.truncate(bound);
        }
        done
    }

    fn operands(
        g: &Graph,
        id: NodeId,
        operands: &[Pattern],
        m: &mut Match,
        then: &mut dyn FnMut(&mut Match) -> bool,
    ) -> bool {
        let node = g.node(id);
        if node.inputs.len() != operands.len() {
            return false;
        }
        if Self::all(g, &node.inputs, operands, m, then) {
            return true;
        }
        if node.op.commutes() && node.inputs.len() == 2 {
            let swapped = [node.inputs[1], node.inputs[0]];
            return Self::all(g, &swapped, operands, m, then);
        }
        false
    }

    fn all(
        g: &Graph,
        values: &[ValueId],
        patterns: &[Pattern],
        m: &mut Match,
        then: &mut dyn FnMut(&mut Match) -> bool,
    ) -> bool {
        match (values.split_first(), patterns.split_first()) {
            (Some((&v, values)), Some((p, patterns))) => {
                p.go(g, v, m, &mut |m| Self::all(g, values, patterns, m, then))
            }
            _ => then(m),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.name.unwrap_or("_"))
    }
}

macro_rules! infix {
    ($($trait:ident $method:ident $f:ident)*) => { $(
        impl $trait for Pattern {
            type Output = Pattern;
            fn $method(self, rhs: Pattern) -> Pattern {
                binary(Binary::$f, self, rhs)
            }
        }

        impl $trait<f32> for Pattern {
            type Output = Pattern;
            fn $method(self, rhs: f32) -> Pattern {
                binary(Binary::$f, self, lit(rhs))
            }
        }

        impl $trait<Pattern> for f32 {
            type Output = Pattern;
            fn $method(self, rhs: Pattern) -> Pattern {
                binary(Binary::$f, lit(self), rhs)
            }
        }
    )* };
}

infix! { Add add Add  Sub sub Sub  Mul mul Mul  Div div Div }

/// The values that a pattern matched.
#[derive(Clone, Debug)]
pub struct Match {
    /// The value the whole pattern matched.
    pub root: ValueId,
    /// The results of ops between the root and the leaves.
    pub interior: Vec<ValueId>,
    bound: Vec<(&'static str, ValueId)>,
}

impl Match {
    /// The value bound to `name`.
    pub fn get(&self, name: &str) -> Option<ValueId> {
        self.bound.iter().find(|b| b.0 == name).map(|b| b.1)
    }
}

/// The value bound to a name the pattern always binds.
impl Index<&str> for Match {
    type Output = ValueId;

    fn index(&self, name: &str) -> &ValueId {
        match self.bound.iter().find(|b| b.0 == name) {
            Some(b) => &b.1,
            None => panic!("the pattern does not bind {name:?}"),
        }
    }
}
