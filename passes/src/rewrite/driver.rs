//! Passes, rules, and the record of what they did.

use super::{Match, Patch, Pattern};
use crate::ir::{Graph, GraphError, NodeId, Op, ValueId};
use std::collections::HashSet;
use std::fmt;
use thiserror::Error;

/// A rewriting of a whole graph.
pub trait Pass: Send + Sync {
    /// The name in text and on the command line, in kebab case.
    fn name(&self) -> &'static str;

    /// Rewrites `graph` through [`Cx::apply`]; the number of rewrites applied.
    fn run(&self, graph: &mut Graph, cx: &mut Cx) -> Result<usize, PassError>;
}

/// A pattern and what to put in its place.
pub trait Rule: Send + Sync {
    /// The name in the trace, in kebab case.
    fn name(&self) -> &'static str;

    /// The pattern that is looked for.
    fn pattern(&self) -> Pattern;

    /// The patch that is put in its place, or the reason why none is.
    fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip>;
}

/// Why a rule leaves a match alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// There is nothing to improve; not worth a word.
    NoEffect,
    /// A condition does not hold; the trace says which.
    Check(String),
}

impl Skip {
    /// A condition that does not hold.
    pub fn check(reason: impl Into<String>) -> Self {
        Skip::Check(reason.into())
    }
}

/// A pass that failed: a bug, or a graph that was invalid before.
#[derive(Debug, Clone, Error)]
pub enum PassError {
    /// The graph does not verify after the pass.
    #[error("after pass {pass}: {source}")]
    Verify {
        /// The pass.
        pass: String,
        /// The fault.
        source: GraphError,
    },
    /// The pass did not come to rest.
    #[error("pass {pass} does not come to rest after {rewrites} rewrites")]
    Diverges {
        /// The pass.
        pass: String,
        /// Rewrites applied by then.
        rewrites: usize,
    },
    /// A name that no pass of the pipeline has.
    #[error("no pass is called {name:?}; there are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
}

/// A rewrite that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The rule.
    pub rule: String,
    /// Name of the value it was done at.
    pub value: String,
    /// The op that carries the value's graph, and the attribute, as in `%y then_branch`; empty for a value of the whole graph.
    pub within: String,
    /// Mnemonics of the ops it took away, in order.
    pub ops: Vec<String>,
    /// Why, if the rule had a choice.
    pub reason: Option<String>,
}

/// A rewrite that was considered and not done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refused {
    /// The rule.
    pub rule: String,
    /// Name of the value.
    pub value: String,
    /// As [`Applied::within`].
    pub within: String,
    /// Why.
    pub reason: String,
}

/// The rewrites that were done and those that were not, in order.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Rewrites done.
    pub applied: Vec<Applied>,
    /// Rewrites refused, each once.
    pub refused: Vec<Refused>,
    seen: HashSet<Refused>,
}

/// `// rule: %value <- op, op`, with `: reason` where there was a choice, and `// rule: skipped %value: reason`, a line
/// each; in front of a value of a graph that an op carries, which graph that is.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for a in &self.applied {
            write!(f, "// {}: {}%{} <- {}", a.rule, Within(&a.within), a.value, a.ops.join(", "))?;
            match &a.reason {
                Some(reason) => writeln!(f, ": {reason}")?,
                None => writeln!(f)?,
            }
        }
        for r in &self.refused {
            writeln!(f, "// {}: skipped {}%{}: {}", r.rule, Within(&r.within), r.value, r.reason)?;
        }
        Ok(())
    }
}

/// `in %y then_branch: `, or nothing.
struct Within<'a>(&'a str);

impl fmt::Display for Within<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "in {}: ", self.0) }
    }
}

/// The context of a pass: the trace, and how many rewrites it may still do.
#[derive(Clone, Debug, Default)]
pub struct Cx {
    /// The rewrites so far.
    pub trace: Trace,
    left: Option<usize>,
    /// [`Applied::within`].
    within: String,
}

impl Cx {
    /// A context that allows at most `stop_after` rewrites, if given.
    pub fn new(stop_after: Option<usize>) -> Self {
        Self { left: stop_after, ..Self::default() }
    }

    /// Runs `pass` on a graph and on all that its ops carry; the number of rewrites applied.
    pub(crate) fn everywhere(&mut self, pass: &dyn Pass, graph: &mut Graph) -> Result<usize, PassError> {
        let mut applied = pass.run(graph, self)?;
        for id in graph.order().to_vec() {
            let node = graph.node(id);
            if !matches!(node.op, Op::Control(_)) {
                continue;
            }
            let name = node.outputs.first().map_or("", |&v| graph.name(v));
            let around = self.within.clone();
            let mut inner = 0;
            let op = node.op.map_graphs(|attribute, g| {
                let mut g = g.clone();
                self.within = format!("{around}{}%{name} {attribute}", if around.is_empty() { "" } else { ", " });
                inner += self.everywhere(pass, &mut g)?;
                Ok(g)
            });
            self.within = around;
            let op = op?;
            if inner > 0 {
                graph.set_op(id, op);
            }
            applied += inner;
        }
        Ok(applied)
    }

    /// True if no further rewrite is allowed.
    pub fn stopped(&self) -> bool {
        self.left == Some(0)
    }

    /// Applies a patch for `rule` and records it; false if it was refused or no rewrite is left.
    pub fn apply(&mut self, graph: &mut Graph, rule: &str, patch: Patch) -> bool {
        self.apply_because(graph, rule, patch, None)
    }

    /// As [`apply`](Self::apply), for a rule that had a choice.
    pub fn apply_because(&mut self, graph: &mut Graph, rule: &str, patch: Patch, reason: Option<String>) -> bool {
        if self.stopped() {
            return false;
        }
        let Some(root) = patch.replaced().next().or(patch.consumed().first().copied()) else { return false };
        let value = graph.try_value(root).map(|v| v.name.to_string()).unwrap_or_default();
        let mut nodes: Vec<_> = patch
            .replaced()
            .chain(patch.consumed().iter().copied())
            .filter_map(|v| graph.try_value(v).and_then(|_| graph.producer(v)))
            .collect();
        nodes.sort();
        nodes.dedup();
        let mut ops: Vec<_> = nodes.into_iter().map(|n| graph.node(n).op.mnemonic()).collect();
        if ops.is_empty() {
            ops.push("const".into());
        }
        match graph.apply(patch) {
            Ok(()) => {
                if let Some(left) = &mut self.left {
                    *left -= 1;
                }
                let within = self.within.clone();
                self.trace.applied.push(Applied { rule: rule.into(), value, within, ops, reason });
                true
            }
            Err(e) => {
                self.refuse(rule, value, e.to_string());
                false
            }
        }
    }

    /// Records a rewrite that was not done.
    pub fn refuse(&mut self, rule: &str, value: impl Into<String>, reason: impl Into<String>) {
        let within = self.within.clone();
        let r = Refused { rule: rule.into(), value: value.into(), within, reason: reason.into() };
        if self.trace.seen.insert(r.clone()) {
            self.trace.refused.push(r);
        }
    }
}

/// Rewrites at every node in order, as long as a rewrite is left; the number applied. `at` is given the nodes that are still there,
/// none that it added, and tells how many rewrites it applied.
pub fn forwards(graph: &mut Graph, cx: &mut Cx, at: impl FnMut(&mut Graph, &mut Cx, NodeId) -> usize) -> usize {
    let order = graph.order().to_vec();
    walk(graph, cx, order, at)
}

/// As [`forwards`], from the last node to the first.
pub fn backwards(graph: &mut Graph, cx: &mut Cx, at: impl FnMut(&mut Graph, &mut Cx, NodeId) -> usize) -> usize {
    let order = graph.order().iter().rev().copied().collect();
    walk(graph, cx, order, at)
}

fn walk(
    graph: &mut Graph,
    cx: &mut Cx,
    order: Vec<NodeId>,
    mut at: impl FnMut(&mut Graph, &mut Cx, NodeId) -> usize,
) -> usize {
    let mut applied = 0;
    for id in order {
        if cx.stopped() {
            break;
        }
        if graph.try_node(id).is_some() {
            applied += at(graph, cx, id);
        }
    }
    applied
}

/// A rule without state, from its parts.
pub fn rule(name: &'static str, pattern: Pattern, rewrite: fn(&Graph, &Match) -> Result<Patch, Skip>) -> Box<dyn Rule> {
    struct Plain(&'static str, Pattern, fn(&Graph, &Match) -> Result<Patch, Skip>);

    impl Rule for Plain {
        fn name(&self) -> &'static str {
            self.0
        }

        fn pattern(&self) -> Pattern {
            self.1.clone()
        }

        fn rewrite(&self, graph: &Graph, m: &Match) -> Result<Patch, Skip> {
            (self.2)(graph, m)
        }
    }

    Box::new(Plain(name, pattern, rewrite))
}

/// A pass made of rules, tried at every node until none applies.
pub struct Rules {
    name: &'static str,
    rules: Vec<(Box<dyn Rule>, Pattern)>,
}

impl Rules {
    /// A pass called `name`; earlier rules are tried first.
    pub fn new(name: &'static str, rules: Vec<Box<dyn Rule>>) -> Self {
        let rules = rules
            .into_iter()
            .map(|r| {
                let pattern = r.pattern();
                (r, pattern)
            })
            .collect();
        Self { name, rules }
    }

    /// Rewrites at one value as long as rules apply there; the number applied.
    fn at(&self, graph: &mut Graph, cx: &mut Cx, value: ValueId) -> usize {
        for (rule, pattern) in &self.rules {
            let Some(m) = pattern.find(graph, value) else { continue };
            match rule.rewrite(graph, &m) {
                Ok(patch) => {
                    if cx.apply(graph, rule.name(), patch) {
                        return 1;
                    }
                }
                Err(Skip::NoEffect) => {}
                Err(Skip::Check(reason)) => cx.refuse(rule.name(), graph.name(value), reason),
            }
            if cx.stopped() {
                break;
            }
        }
        0
    }
}

impl Pass for Rules {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, graph: &mut Graph, cx: &mut Cx) -> Result<usize, PassError> {
        let mut total = 0;
        let limit = 16 * graph.len() + 64;
        loop {
            let applied = forwards(graph, cx, |graph, cx, id| {
                graph.node(id).outputs.first().copied().map_or(0, |value| self.at(graph, cx, value))
            });
            total += applied;
            if applied == 0 || cx.stopped() {
                return Ok(total);
            }
            if total > limit {
                return Err(PassError::Diverges { pass: self.name.into(), rewrites: total });
            }
        }
    }
}
