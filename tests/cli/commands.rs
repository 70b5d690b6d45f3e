//! `bgz` as its users call it.

#[path = "../support/bgz.rs"]
mod bgz;

use bgz::{Folder, bgz, fails, ok, read};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

const SUBCOMMANDS: [&str; 10] =
    ["dump", "rewrite", "run", "check", "bench", "profile", "tables", "gguf", "experiments", "kernels"];

fn fixture(name: &str) -> String {
    format!("{}/../tests/fixtures/{name}.npz", env!("CARGO_MANIFEST_DIR"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn help_has_every_subcommand_and_examples() {
    let help = ok(["--help"]);
    for name in SUBCOMMANDS {
        assert!(help.contains(name), "{help}");
        let own = ok([name, "--help"]);
        assert!(own.contains("Examples:\n  bgz ") || own.contains("Examples:\n  BGZ"), "{own}");
    }
}

#[test]
fn unknown_arguments_are_a_usage_error() {
    for args in [&["fuse"][..], &["run"], &["run", "m", "--frobnicate"], &["--threads", "0"]] {
        let run = bgz(args);
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.err);
    }
}

#[test]
fn the_main_job_shows_what_changed() {
    let out = ok::<&str>([]);
    for part in ["ids: i64[batch, seq]", "logits: f32[batch, seq, 96]", "parameters", "rewrites", "attention", "cosine"]
    {
        assert!(out.contains(part), "{part} is not in:\n{out}");
    }
    assert!(out.lines().count() < 60, "{} lines:\n{out}", out.lines().count());
    let difference = out.split("Greatest difference").nth(1).expect("a section").lines().nth(1).expect("an output");
    let value: f64 = difference.split([' ', ',']).find_map(|w| w.parse().ok()).expect("a number");
    assert!(value < 1e-4, "{difference}");
}

#[test]
fn rewriting_by_no_step_is_dumping() {
    assert_eq!(ok(["rewrite", "@default", "--stop-after", "0"]), ok(["dump", "@default"]));
}

#[test]
fn dumped_text_is_read_and_dumped_again() {
    let folder = Folder::new("dumped_text");
    let text = ok(["dump", "@default"]);
    let file = folder.file("graph.bgz", &text);
    assert_eq!(ok(["dump", &file]), text);
    assert!(ok(["rewrite", &file]).starts_with("graph @char_lm {\n"));
}

#[test]
fn the_trace_stands_behind_the_text() {
    let text = ok(["rewrite", "@default"]);
    let traced = ok(["rewrite", "@default", "--trace"]);
    let trace = traced.strip_prefix(&text).expect("the text first");
    assert!(trace.lines().count() > 0 && trace.lines().all(|l| l.starts_with("// ")), "{trace}");
}

#[test]
fn a_diff_is_one_of_dump_and_rewrite() {
    let diff = ok(["rewrite", "@default", "--diff"]);
    assert!(diff.starts_with("--- imported\n+++ rewritten\n@@ "), "{diff}");
    let dump = ok(["dump", "@default"]);
    let removed = diff.lines().skip(2).find_map(|l| l.strip_prefix('-')).expect("a line removed");
    assert!(dump.lines().any(|l| l == removed), "{removed}");
    assert_eq!(ok(["rewrite", "@default", "--diff", "--stop-after", "0"]), "");
}

#[test]
fn only_some_passes() {
    let canonical = ok(["rewrite", "@default", "--only", "canonicalise"]);
    assert!(!canonical.contains(" = attention("), "{canonical}");
    assert!(ok(["rewrite", "@default"]).contains(" = attention("));
}

#[test]
fn run_prints_one_json_object() {
    for extra in [None, Some("--no-rewrite")] {
        let args = ["run", "@default", "--shape", "batch=1,seq=8", "--repeat", "2", "--json", "--threads", "2"];
        let object = json(&ok(args.into_iter().chain(extra)));
        for field in ["median_ms", "min_ms", "peak_bytes"] {
            assert!(object[field].as_f64().is_some_and(|v| v > 0.0), "{field}: {object}");
        }
        assert_eq!(object["threads"], 2);
        assert!(object["ops"].as_u64().is_some_and(|v| v > 0));
        assert_eq!(object["rewritten"], extra.is_none());
        assert_eq!(object["outputs"][0]["name"], "logits");
        assert_eq!(object["outputs"][0]["shape"], serde_json::json!([1, 8, 96]));
    }
}

#[test]
fn paced_runs_come_when_a_line_asks_for_them() {
    let folder = Folder::new("paced");
    let inputs = folder.npz("in.npz", |npz| npz.add("ids", &[1, 4], &[1i64, 2, 3, 4]));
    for (number, extra) in [&[][..], &["--no-rewrite"]].into_iter().enumerate() {
        let output = folder.path(&format!("out{number}.npz"));
        let mut child = paced(&inputs, extra.iter().copied().chain(["--output", &output]));
        let mut stdin = child.stdin.take().expect("stdin");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut next = || lines.next().expect("a line").expect("UTF-8");
        let ready = json(&next());
        assert_eq!(ready["threads"], 2);
        for field in ["load_ns", "first_ns"] {
            assert!(ready[field].as_u64().is_some_and(|v| v > 0), "{field}: {ready}");
        }
        for runs in [1, 3] {
            writeln!(stdin, "{runs}").expect("bgz reads");
            // An answer comes before stdin ends.
            let times: Vec<u64> = next().split(' ').map(|t| t.parse().expect("nanoseconds")).collect();
            assert!(times.len() == runs && times.iter().all(|&t| t > 0), "{times:?}");
        }
        drop(stdin);
        assert!(json(&next())["peak_bytes"].as_u64().is_some_and(|v| v > 0));
        assert!(child.wait().expect("bgz ends").success());
        assert_eq!(read::<f32>(&output, "logits").0, [1, 4, 96]);
    }
}

#[test]
fn paced_runs_refuse_what_is_no_number() {
    let folder = Folder::new("paced_bad");
    let inputs = folder.npz("in.npz", |npz| npz.add("ids", &[1, 4], &[1i64, 2, 3, 4]));
    let mut child = paced(&inputs, []);
    writeln!(child.stdin.take().expect("stdin"), "often").expect("bgz reads");
    let output = child.wait_with_output().expect("bgz ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains("\"often\" on stdin"), "{err}");
    assert_eq!(bgz(["run", "@default", "--inputs", &inputs, "--paced", "--repeat", "3"]).code, Some(2));
}

/// `bgz run --paced` on the built-in model.
fn paced<'a>(inputs: &'a str, extra: impl IntoIterator<Item = &'a str>) -> std::process::Child {
    let args = ["run", "@default", "--inputs", inputs, "--threads", "2", "--paced"];
    Command::new(env!("CARGO_BIN_EXE_bgz"))
        .args(args.into_iter().chain(extra))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bgz starts")
}

#[test]
fn run_takes_and_gives_npz_files() {
    let folder = Folder::new("run_npz");
    let inputs = folder.npz("in.npz", |npz| npz.add("ids", &[2, 3], &[1i64, 2, 3, 4, 5, 6]));
    let output = folder.path("out.npz");
    let text = ok(["run", "@default", "--inputs", &inputs, "--output", &output, "--repeat", "1"]);
    assert!(text.contains("latency  median") && text.contains("logits"), "{text}");
    let (shape, values) = read::<f32>(&output, "logits");
    assert_eq!(shape, [2, 3, 96]);
    assert!(values.iter().all(|v| v.is_finite()) && values.iter().any(|v| v.abs() > 0.1));
}

#[test]
fn made_up_inputs_are_the_same_every_time() {
    let folder = Folder::new("made_up");
    let outputs = ["a.npz", "b.npz"].map(|name| {
        let output = folder.path(name);
        ok(["run", "@default", "--shape", "ids=1x5", "--repeat", "1", "--output", &output]);
        read::<f32>(&output, "logits")
    });
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn check_agrees_with_onnx_runtime() {
    for shape in ["1x16", "3x40"] {
        let inputs = fixture(&format!("char_lm@{shape}.inputs"));
        let expect = fixture(&format!("char_lm@{shape}.expected"));
        for extra in [&[][..], &["--no-rewrite"], &["--stop-after", "20"]] {
            let args = ["check", "@default", "--inputs", &inputs, "--expect", &expect];
            let out = ok(args.into_iter().chain(extra.iter().copied()));
            assert!(out.contains("ok") && out.contains("logits"), "{out}");
        }
    }
}

#[test]
fn check_fails_beyond_the_tolerance() {
    let folder = Folder::new("check_fails");
    let inputs = folder.npz("in.npz", |npz| npz.add("ids", &[1, 3], &[7i64, 8, 9]));
    let output = folder.path("out.npz");
    ok(["run", "@default", "--inputs", &inputs, "--output", &output, "--repeat", "1"]);
    let check = |expect: &str| -> Vec<String> {
        ["check", "@default", "--inputs", &inputs, "--expect", expect].map(String::from).to_vec()
    };
    ok(check(&output));

    let (shape, mut values) = read::<f32>(&output, "logits");
    values[100] += 0.01;
    let perturbed = folder.npz("perturbed.npz", |npz| npz.add("logits", &shape, &values));
    let run = bgz(check(&perturbed));
    assert_eq!(run.code, Some(1));
    assert!(run.out.contains("1 of 288") && run.out.contains("furthest off at [0, 1, 4]"), "{}", run.out);
    assert!(run.err.contains("logits"), "{}", run.err);
    ok(check(&perturbed).into_iter().chain(["--atol".into(), "0.02".into()]));

    values[100] = f32::NAN;
    fails(check(&folder.npz("nan.npz", |npz| npz.add("logits", &shape, &values))), &["logits"]);
}

#[test]
fn check_fails_for_outputs_that_are_missing_or_of_another_type() {
    let folder = Folder::new("check_types");
    let inputs = folder.npz("in.npz", |npz| npz.add("ids", &[1, 1], &[7i64]));
    let zeros = [0f32; 96];
    for (name, expect) in [
        ("missing", folder.npz("missing.npz", |npz| npz.add("others", &[1, 1, 96], &zeros))),
        ("extra", {
            let output = folder.path("out.npz");
            ok(["run", "@default", "--inputs", &inputs, "--output", &output, "--repeat", "1"]);
            let (shape, values) = read::<f32>(&output, "logits");
            folder.npz("extra.npz", |npz| {
                npz.add("logits", &shape, &values);
                npz.add("others", &[1], &[0f32]);
            })
        }),
        ("shape", folder.npz("shape.npz", |npz| npz.add("logits", &[96], &zeros))),
        ("dtype", folder.npz("dtype.npz", |npz| npz.add("logits", &[1, 1, 96], &[0f64; 96]))),
    ] {
        let run = bgz(["check", "@default", "--inputs", &inputs, "--expect", &expect, "--atol", "1e9"]);
        assert_eq!(run.code, Some(1), "{name}: {}{}", run.out, run.err);
        assert!(run.out.contains("FAIL"), "{name}: {}", run.out);
    }
}

#[test]
fn bench_times_every_case() {
    let args = ["bench", "@default", "--shape", "batch=1", "--case", "seq=4", "--case", "seq=8", "--seconds", "0"];
    let object = json(&ok(args.into_iter().chain(["--json", "--threads", "2"])));
    assert_eq!(object["threads"], 2);
    let rows = object["rows"].as_array().expect("rows");
    assert_eq!(
        rows.iter().map(|r| r["shapes"].as_str()).collect::<Vec<_>>(),
        [Some("batch=1,seq=4"), Some("batch=1,seq=8")]
    );
    for row in rows {
        assert!(row["plan"]["median_ms"].as_f64().is_some_and(|v| v > 0.0), "{row}");
        assert!(row["op_by_op"]["median_ms"].as_f64().is_some_and(|v| v > 0.0), "{row}");
        assert!(row["ratio"].as_f64().is_some_and(|v| v > 0.0), "{row}");
        assert!(row["max_abs_diff"].as_f64().is_some_and(|v| v < 1e-4), "{row}");
    }
    let table = ok(["bench", "@default", "--shape", "ids=1x4", "--seconds", "0"]);
    assert!(table.contains("\n| shapes  | ") && table.contains("\n| ids=1x4 | "), "{table}");
}

#[test]
fn a_profile_has_every_step_and_a_trace() {
    let trace = concat!(env!("CARGO_TARGET_TMPDIR"), "/profile.json");
    let text = ok(["profile", "@default", "--shape", "ids=1x8", "--repeat", "2", "--trace", trace]);
    assert!(text.contains("GFLOP/s of f32") && text.contains("linear (gemm packed)"), "{text}");
    let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(trace).expect("a trace")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let out = ok(["profile", "@default", "--shape", "ids=1x8", "--repeat", "1", "--json"]);
    let out: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let start = &out["thread_start_us"];
    assert_eq!(start["asleep"].as_f64().is_some_and(|us| us > 0.0), out["threads"] != 1, "{out}");
    let steps = out["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), events.len());
    // A product of 8 tokens with weights: twice 8 for each.
    let linear = steps.iter().find(|s| s["op"] == "linear").expect("a linear");
    assert!(linear["flops"].as_u64().is_some_and(|n| n > 0 && n % 16 == 0), "{linear}");
    fails(["profile", "nothing.onnx"], &["nothing.onnx"]);
}

#[test]
fn a_sweep_has_a_row_for_each_instruction_set_and_keeps_the_bound() {
    let out = ok(["kernels", "--sweep", "--step", "1000003", "exp", "floor"]);
    let rows: Vec<_> = out.lines().filter(|l| l.starts_with("| exp ") || l.starts_with("| floor ")).collect();
    assert!(rows.len() >= 2 && rows.len() % 2 == 0, "{out}");
    // 2^32 / 1000003 inputs, rounded up.
    assert!(rows.iter().all(|r| r.contains(" 4295 ")), "{out}");
    fails(["kernels", "--sweep", "expp"], &["expp", "exp, "]);
}

#[test]
fn kernels_are_listed() {
    let out = ok(["kernels"]);
    assert!(out.starts_with("This host has scalar") && out.contains("softmax"), "{out}");
    // Every kernel was timed.
    assert!(out.contains("ns per element") && !out.contains("NaN"), "{out}");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bgz"))
        .args(["dump", "@default"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bgz starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("bgz ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
