//! The models of `tests/cases`, each made after a report of somebody whose model a runtime refused or got wrong. README.md
//! there says what is right. Each is run by the program, in a process of its own, with and without rewriting.

#[path = "../support/array.rs"]
mod array;
#[path = "../support/bgz.rs"]
mod bgz;

use array::{Array, all};
use bgz::{Folder, within};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const THREADS: usize = 2;
const NOT_REWRITTEN: &str = "--no-rewrite";

/// A case, and a flag or none.
type Of<'a> = (&'a str, Option<&'a str>);

enum Outcome {
    Right,
    /// There is a right value, but the program said in place of it why it will not give one.
    Refused(String),
    /// A wrong value, a panic or whatever else is never right.
    Wrong(String),
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The facts that a case says of itself.
struct Meta {
    oracle: String,
    tol: f64,
    atol: f64,
}

impl Meta {
    fn read(case: &Path) -> Self {
        let meta: Value = serde_json::from_str(&text(&case.join("meta.json"))).expect("JSON");
        let number = |key: &str| meta[key].as_f64().unwrap_or_else(|| panic!("{}: {key}", case.display()));
        let oracle = meta["oracle"].as_str().unwrap_or_else(|| panic!("{}: oracle", case.display()));
        assert!(["ort", "ref", "spec", "nocrash", "refuse", "refuse-run"].contains(&oracle), "{oracle}");
        Self { oracle: oracle.into(), tol: number("tol"), atol: number("atol") }
    }
}

/// Runs a case and judges what it gave.
fn judge((id, flag): Of, scratch: &Folder) -> Outcome {
    let case = folder().join(id);
    let meta = Meta::read(&case);
    let path = |name: &str| case.join(name).to_str().expect("UTF-8").to_string();
    let name = format!("{id}{}", flag.unwrap_or_default());
    let out = scratch.path(&format!("{name}.npz"));
    let (model, inputs) = (path("model.onnx"), path("in.npz"));
    let mut args = vec!["run", &model, "--inputs", &inputs, "--output", &out, "--repeat", "1"];
    args.extend(flag);
    let Some(run) = within(LIMIT, &scratch.path(&format!("{name}.err")), args) else {
        return Outcome::Wrong(format!("hangs: it was ended after {} s", LIMIT.as_secs()));
    };
    // A list of nodes begins on the second line.
    let said = run.err.trim().lines().take(2).collect::<Vec<_>>().join(" ");
    // A panic is a fault, be it caught or not.
    let panics = run.err.contains("panicked");
    let code = match run.code {
        Some(code @ (0 | 1)) if !panics => code,
        Some(code) => return Outcome::Wrong(format!("panic or abort (exit code {code}): {said}")),
        None => return Outcome::Wrong(format!("panic or abort (killed by a signal): {said}")),
    };
    if code == 1 && said.is_empty() {
        return Outcome::Wrong("fails without a word".into());
    }
    match meta.oracle.as_str() {
        "nocrash" => return Outcome::Right,
        "refuse" | "refuse-run" if code == 1 => return Outcome::Right,
        "refuse" | "refuse-run" => return Outcome::Wrong("should be refused".into()),
        _ if code == 1 => return Outcome::Refused(said),
        _ => {}
    }
    let right = case.join("expect.npz");
    if !right.exists() {
        return Outcome::Right;
    }
    let got = all(&out);
    for (name, right) in all(right.to_str().expect("UTF-8")) {
        let Some((_, got)) = got.iter().find(|(n, _)| *n == name) else {
            return Outcome::Wrong(format!("no output {name}"));
        };
        if let Some(how) = got.differs(&right, meta.tol, meta.atol) {
            return Outcome::Wrong(format!("{name}: {how}"));
        }
    }
    Outcome::Right
}

/// The runs that a list of refused cases names: lines of an id are both runs of a case, those of an id and a flag one.
fn refused<'a>(list: &'a str, ids: &[&'a str]) -> BTreeSet<Of<'a>> {
    let mut out = BTreeSet::new();
    let mut reason = None;
    for line in list.lines().filter(|l| !l.is_empty()) {
        if line.starts_with("# ") {
            reason = Some(line);
            continue;
        }
        assert!(reason.is_some(), "{line}: there is no reason above it");
        let (id, flags) = match line.split_once(' ') {
            Some((id, NOT_REWRITTEN)) => (id, &[Some(NOT_REWRITTEN)][..]),
            Some(_) => panic!("{line}: neither an id nor an id and {NOT_REWRITTEN}"),
            None => (line, &[None, Some(NOT_REWRITTEN)][..]),
        };
        assert!(ids.contains(&id), "{id}: there is no such case");
        for &flag in flags {
            assert!(out.insert((id, flag)), "{id}: is listed twice");
        }
    }
    out
}

/// The fault of an outcome, given whether it is listed as refused.
fn fault(outcome: Outcome, listed: bool) -> Option<String> {
    match (outcome, listed) {
        (Outcome::Right, false) | (Outcome::Refused(_), true) => None,
        (Outcome::Right, true) => Some("is not refused any more: remove it from the list".into()),
        (Outcome::Refused(said), false) => Some(format!("is refused and not in the list: {said}")),
        (Outcome::Wrong(how), _) => Some(how),
    }
}

#[test]
fn every_case_is_right_or_listed_as_refused() {
    let entries = std::fs::read_dir(folder()).expect("the cases").map(|e| e.expect("an entry").path());
    let mut ids: Vec<String> = entries
        .filter(|p| p.is_dir())
        .map(|p| p.file_name().and_then(|n| n.to_str()).expect("an id").to_string())
        .collect();
    ids.sort();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert!(!ids.is_empty());
    let list = text(&folder().join("refused.txt"));
    let refused = refused(&list, &ids);

    let runs: Vec<Of> = ids.iter().flat_map(|&id| [(id, None), (id, Some(NOT_REWRITTEN))]).collect();
    let scratch = Folder::new("cases");
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(&run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(fault) = fault(judge(run, &scratch), refused.contains(&run)) {
                        faults.lock().expect("no thread panicked").push((run, fault));
                    }
                }
            });
        }
    });
    let mut faults = faults.into_inner().expect("no thread panicked");
    faults.sort();
    let lines: Vec<String> = faults
        .iter()
        .map(|((id, flag), fault)| format!("{id}{}: {fault}", flag.map(|f| format!(" {f}")).unwrap_or_default()))
        .collect();
    assert!(lines.is_empty(), "{} of {} runs fall short:\n{}", lines.len(), runs.len(), lines.join("\n"));
}

#[test]
fn a_listed_case_has_to_be_refused_and_no_other_may_be() {
    assert_eq!(fault(Outcome::Right, false), None);
    assert_eq!(fault(Outcome::Refused("no".into()), true), None);
    assert!(fault(Outcome::Refused("no".into()), false).is_some_and(|f| f.ends_with("not in the list: no")));
    assert!(fault(Outcome::Right, true).is_some_and(|f| f.contains("remove it from the list")));
    for listed in [false, true] {
        assert_eq!(fault(Outcome::Wrong("1 is not 2".into()), listed).as_deref(), Some("1 is not 2"));
    }
    let list = refused("# a reason\na\n\n# another\nb --no-rewrite\n", &["a", "b", "c"]);
    assert_eq!(
        list.into_iter().collect::<Vec<_>>(),
        [("a", None), ("a", Some(NOT_REWRITTEN)), ("b", Some(NOT_REWRITTEN))]
    );
}

#[test]
fn values_are_judged_by_dtype_shape_and_every_element() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let right = Array::f32(&[2, 2], &[1.0, nan, inf, -100.0]);
    let differs = |shape: &[u64], values: &[f32]| Array::f32(shape, values).differs(&right, 0.01, 0.1).is_some();
    assert!(!differs(&[2, 2], &[1.0, nan, inf, -100.0]));
    assert!(!differs(&[2, 2], &[1.109, nan, inf, -101.09]));
    assert!(differs(&[2, 2], &[1.111, nan, inf, -100.0]));
    assert!(differs(&[2, 2], &[1.0, nan, inf, -98.8]));
    assert!(differs(&[2, 2], &[1.0, 1.0, inf, -100.0]));
    assert!(differs(&[2, 2], &[nan, nan, inf, -100.0]));
    assert!(differs(&[2, 2], &[1.0, nan, -inf, -100.0]));
    assert!(differs(&[2, 2], &[1.0, nan, f32::MAX, -100.0]));
    assert!(differs(&[4], &[1.0, nan, inf, -100.0]));
    // Integers have no tolerance, an integer is no float, and of strings all characters count.
    let right = Array::i64(&[1], &[1 << 60]);
    assert!(right.differs(&Array::i64(&[1], &[(1 << 60) + 1]), 1.0, 1.0).is_some());
    assert!(Array::f32(&[1], &[1.0]).differs(&Array::i64(&[1], &[1]), 1.0, 1.0).is_some());
    let right = Array::text(&[2], &["a", "bc"]);
    assert_eq!(Array::text(&[2], &["a", "bc"]).differs(&right, 0.0, 0.0), None);
    let how = Array::text(&[2], &["a", "b"]).differs(&right, 0.0, 0.0);
    assert_eq!(how.as_deref(), Some("1 of 2 differ, the first is element 1: b instead of bc"));
}
