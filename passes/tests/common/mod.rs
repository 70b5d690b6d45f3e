//! The parts that the tests of all passes share: a case is a graph as text; its snapshot
//! shows the graph before and after and the trace; its numbers stay what they were.
#![allow(dead_code)]

pub mod attention;

use bgz_passes::eval::testing::Check;
use bgz_passes::ir::{Graph, parse};
use bgz_passes::rewrite::{Cx, Pass};

/// A graph from the statements of its text.
#[track_caller]
pub fn graph(statements: &str) -> Graph {
    match parse(&format!("graph @case {{\n{statements}\n}}\n")) {
        Ok(g) => g,
        Err(e) => panic!("{e}\n{statements}"),
    }
}

/// A graph before and after a pass.
pub struct Case {
    pub before: Graph,
    pub after: Graph,
    /// Rewrites applied.
    pub rewrites: usize,
    /// The trace as text.
    pub trace: String,
}

/// Runs a pass; the result verifies, and a second run has nothing left to do.
#[track_caller]
pub fn run(pass: impl AsRef<dyn Pass>, statements: &str) -> Case {
    let pass = pass.as_ref();
    let before = graph(statements);
    before.verify().expect("the case verifies");
    let mut after = before.clone();
    let mut cx = Cx::new(None);
    let rewrites = pass.run(&mut after, &mut cx).expect("the pass runs");
    if let Err(e) = after.verify() {
        panic!("{e}\n{before}\n{after}");
    }
    let mut again = after.clone();
    let more = pass.run(&mut again, &mut Cx::new(None)).expect("the pass runs twice");
    assert_eq!(more, 0, "a second run of {} changes\n{after}\nto\n{again}", pass.name());
    Case { before, after, rewrites, trace: cx.trace.to_string() }
}

/// The pass rewrites something; the numbers stay the same to the bit.
#[track_caller]
pub fn fires(pass: impl AsRef<dyn Pass>, name: &str, statements: &str) -> Case {
    fires_with(pass, &Check::new().tolerance(0.0, 0.0), name, statements)
}

/// The pass rewrites something; the numbers stay the same but for the rounding
/// of intermediates that are no longer there.
#[track_caller]
pub fn fires_nearly(pass: impl AsRef<dyn Pass>, name: &str, statements: &str) -> Case {
    fires_with(pass, &Check::new().tolerance(2e-6, 2e-6), name, statements)
}

/// The pass rewrites something; the numbers stay the same as `check` has it.
#[track_caller]
pub fn fires_with(pass: impl AsRef<dyn Pass>, check: &Check, name: &str, statements: &str) -> Case {
    let case = run(pass, statements);
    assert_ne!(case.rewrites, 0, "nothing was rewritten\n{}\n{}", case.after, case.trace);
    case.snapshot(name);
    check.assert_same(&case.before, &case.after, 0..4);
    case
}

/// The pass leaves the graph as it is.
#[track_caller]
pub fn leaves(pass: impl AsRef<dyn Pass>, name: &str, statements: &str) -> Case {
    let case = run(pass, statements);
    assert_eq!(case.before.to_string(), case.after.to_string(), "{}", case.trace);
    assert_eq!(case.rewrites, 0);
    case.snapshot(name);
    case
}

impl Case {
    /// Compares with `snapshots/<name>.snap`.
    #[track_caller]
    pub fn snapshot(&self, name: &str) {
        let after = if self.rewrites == 0 { "// unchanged\n".into() } else { format!("// after\n{}", self.after) };
        snapshot(name, &format!("// before\n{}\n{after}{}", self.before, self.trace));
    }

    /// The ops that are left, sorted.
    pub fn ops(&self) -> Vec<String> {
        let mut ops: Vec<_> = self.after.nodes().map(|(_, n)| n.op.mnemonic()).collect();
        ops.sort();
        ops
    }
}

/// Compares with `snapshots/<name>.snap`.
#[track_caller]
pub fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
