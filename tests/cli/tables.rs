//! `bgz tables`, and `--tables`, as users call them.

#[path = "../support/bgz.rs"]
mod bgz;

use bgz::{Folder, bgz, fails, ok};
use bgz_fusion::table::{AttentionTable, ProductParts, ProductTable, Record, Rotary, file};
use serde_json::Value;
use std::path::Path;

/// Two heads of 8 dims.
const HEADS: &str = "graph @heads {
  in %q : f32[batch, seq, 16]
  in %k : f32[batch, seq, 16]
  in %v : f32[batch, seq, 16]
  %y = attention(%q, %k, %v) {heads = 2, d_head = 8, scale = 0.35, scores = exact} : f32[batch, seq, 16]
  out %y
}
";

const BATCH: usize = 6;
const SEQ: usize = 40;

/// Calibration inputs for `HEADS`; `first` is the first number.
fn calibration(folder: &Folder, name: &str, batch: usize, first: f32) -> String {
    folder.npz(name, |npz| {
        for (seed, name) in ["q", "k", "v"].into_iter().enumerate() {
            let n = batch * SEQ * 16;
            let mut values: Vec<f32> = (0..n).map(|i| ((i * 7919 + seed * 31) % 2003) as f32 / 1001.5 - 1.0).collect();
            values[0] = first;
            npz.add(name, &[batch as u64, SEQ as u64, 16], &values);
        }
    })
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A file with a table for heads of `d_head` dims, that nothing is known of.
fn foreign(folder: &Folder, d_head: usize, site: Option<&str>) -> String {
    let parts = ProductParts {
        entries: 16,
        subspaces: 1,
        rotary: Rotary::None,
        permutation: (0..d_head as u32).collect(),
        mean: vec![0.0; d_head],
        codebook: vec![1.0; 16 * d_head],
        metric: vec![1.0; d_head * d_head],
    };
    let record = Record { site: site.map(String::from), ..Record::default() };
    let table = AttentionTable::Product(ProductTable::from_parts(parts).expect("the parts fit"), record);
    let path = folder.path("foreign.safetensors");
    file::save(Path::new(&path), &[table]).expect("it is saved");
    path
}

#[test]
fn help_has_examples() {
    assert!(ok(["tables", "--help"]).contains("Examples:\n  bgz tables build"));
    for command in ["build", "show", "report"] {
        assert!(ok(["tables", command, "--help"]).contains(&format!("Examples:\n  bgz tables {command}")));
    }
    for command in ["rewrite", "run", "bench", "check"] {
        let help = ok([command, "--help"]);
        assert!(help.contains("--tables <FILE>") && help.contains("--max-error"), "{help}");
    }
}

#[test]
fn tables_are_built_shown_drawn_and_used() {
    let folder = Folder::new("tables_built");
    let model = folder.file("heads.bgz", HEADS);
    let inputs = calibration(&folder, "calib.npz", BATCH, 0.5);
    let tables = folder.path("t.safetensors");
    let build = ["tables", "build", &model, "--inputs", &inputs, "-o", &tables, "--max-error", "0.1"];
    let text = ok(build);
    assert!(text.contains("any of d_head 8") && text.contains("product 4 x 16"), "{text}");
    assert_eq!(ok(["tables", "show", &tables]), text);

    let all = json(&ok(["tables", "show", &tables, "--json"]));
    let table = &all["tables"][0];
    assert_eq!((table["d_head"].as_u64(), table["bytes_per_key"].as_u64()), (Some(8), Some(2)), "{table}");
    assert_eq!(table["heads"].as_array().map(Vec::len), Some(2), "{table}");
    let worst = |part: &str| table[part]["output_error"]["worst"].as_f64().expect("a figure");
    assert!(worst("int8") < 0.02 && worst("int8") < worst("fidelity"), "{table}");
    let refined = table["refined"]["fidelity"]["output_error"]["worst"].as_f64().expect("a refinement");
    assert!(refined <= 0.1, "{table}");

    let svg = folder.path("t.svg");
    ok(["tables", "report", &tables, &tables, "-o", &svg]);
    let svg = std::fs::read_to_string(svg).expect("an SVG");
    assert!(svg.starts_with("<svg ") && svg.contains("product 4 x 16, d_head 8, refined"), "{svg}");

    // Without extents the table counts as fastest; the trace says why it may be used.
    let traced = ok(["rewrite", &model, "--tables", &tables, "--max-error", "0.1", "--trace"]);
    assert!(traced.contains("scores = table(\"d8\")") && traced.contains("table(\"d8\"): error "), "{traced}");
    assert!(ok(["rewrite", &model]).contains("scores = exact"));
    let strict = ok(["rewrite", &model, "--tables", &tables, "--max-error", "0", "--trace"]);
    assert!(strict.contains("scores = exact") && strict.contains("skipped %y: stays exact: errors of"), "{strict}");

    // Two keys are not worth coding: the run is exact and says so.
    let args = ["run", &model, "--shape", "batch=1,seq=2", "--repeat", "1", "--tables", &tables];
    let run = ok(args.into_iter().chain(["--max-error", "0.1"]));
    assert!(run.contains("scores   y: ") && run.contains("exact: about"), "{run}");
    let run = json(&ok(args.into_iter().chain(["--max-error", "0.1", "--json"])));
    assert_eq!(run["scores"][0]["attention"], "y");
    assert!(ok(["run", &model, "--shape", "batch=1,seq=2", "--repeat", "1"]).contains("latency"));
}

#[test]
fn every_kind_of_table_can_be_asked_for() {
    let folder = Folder::new("tables_kinds");
    let model = folder.file("heads.bgz", HEADS);
    let inputs = [0.5, 0.25].map(|first| calibration(&folder, &format!("{first}.npz"), BATCH, first));
    for (extra, method, bytes) in [
        (&["--method", "product128"][..], "product 2 x 128", 2),
        (&["--method", "product256", "--subspaces", "4", "--rotary", "halves"], "product 4 x 256", 4),
        (&["--method", "palette"], "palette", 1),
        (&["--no-refine", "--seed", "7", "--held-out", "0.5"], "product 4 x 16", 2),
        (&["--rest", "scored", "--per", "site"], "product 4 x 16", 2),
    ] {
        let tables = folder.path("t.safetensors");
        let args = ["tables", "build", &model, "--inputs", &inputs[0], "--inputs", &inputs[1], "-o", &tables, "--json"];
        let all = json(&ok(args.into_iter().chain(extra.iter().copied())));
        let table = &all["tables"][0];
        assert_eq!((table["method"].as_str(), table["bytes_per_key"].as_u64()), (Some(method), Some(bytes)), "{table}");
        assert!(!extra.contains(&"--no-refine") || table["refined"].is_null(), "{table}");
        assert_eq!(table["site"].as_str(), extra.contains(&"site").then_some("y"));
    }
}

/// The model that is built in has causal attention, from ids.
#[test]
fn the_embedded_model_is_calibrated() {
    let folder = Folder::new("tables_default");
    let ids: Vec<i64> = (0..4 * 48).map(|i| (i * i + 5 * i) % 96).collect();
    let inputs = folder.npz("ids.npz", |npz| npz.add("ids", &[4, 48], &ids));
    let tables = folder.path("t.safetensors");
    let args = ["tables", "build", "@default", "--inputs", &inputs, "-o", &tables, "--json"];
    let all = json(&ok(args));
    assert_eq!(all["tables"][0]["d_head"], 32);
    assert_eq!(all["tables"][0]["heads"].as_array().map(Vec::len), Some(12));
    let sites = json(&ok(args.into_iter().chain(["--per", "site"])));
    assert_eq!(sites["tables"].as_array().map(Vec::len), Some(3));
    // A table of a site is found by the name that the graph has for it.
    let text = ok(["rewrite", "@default", "--tables", &tables, "--max-error", "10"]);
    for table in sites["tables"].as_array().expect("tables") {
        let name = table["site"].as_str().expect("a site");
        assert!(text.contains(&format!("scores = table(\"{name}\")")), "{name} is not in {text}");
    }
}

#[test]
fn bad_calibration_is_an_error_that_says_where() {
    let folder = Folder::new("tables_bad_inputs");
    let model = folder.file("heads.bgz", HEADS);
    let build = |inputs: &str, names: &[&str]| {
        let out = folder.path("t.safetensors");
        fails(["tables", "build", &model, "--inputs", inputs, "-o", &out], names);
        assert!(!Path::new(&out).exists(), "a file was written");
    };
    build("no/such.npz", &["no/such.npz", "No such file"]);
    build(&folder.file("bad.npz", "PK\u{3}\u{4} no archive"), &["bad.npz", "not an npz archive"]);
    build(&folder.npz("empty.npz", |_| {}), &["empty.npz", "input \"q\"", "missing"]);
    build(&folder.npz("other.npz", |npz| npz.add("x", &[1], &[1f32])), &["other.npz", "no input \"x\"", "q, k, v"]);
    let shape = folder.npz("shape.npz", |npz| {
        for name in ["q", "k", "v"] {
            npz.add(name, &[2, 3, 8], &[0.5f32; 48]);
        }
    });
    build(&shape, &["shape.npz", "f32[2, 3, 8]", "f32[batch, seq, 16]"]);
    build(&calibration(&folder, "one.npz", 1, 0.5), &["d_head 8", "2 windows", "at least two are needed"]);
    build(&calibration(&folder, "nan.npz", BATCH, f32::NAN), &["y/0", "not finite"]);
    let few = folder.npz("few.npz", |npz| {
        for name in ["q", "k", "v"] {
            npz.add(name, &[3, 1, 16], &[0.5f32; 48]);
        }
    });
    build(&few, &["rows to learn from, at least 16 are needed"]);
}

#[test]
fn what_cannot_be_built_is_an_error() {
    let folder = Folder::new("tables_cannot");
    let none = folder.file("none.bgz", "graph @none {\n in %x : f32[n, 8]\n %y = neg(%x) : f32[n, 8]\n out %y\n}\n");
    let x = folder.npz("x.npz", |npz| npz.add("x", &[2, 8], &[1f32; 16]));
    let out = folder.path("t.safetensors");
    fails(
        ["tables", "build", &none, "--inputs", &x, "-o", &out],
        &["none.bgz", "no attention is recognised", "--trace"],
    );
    let model = folder.file("heads.bgz", HEADS);
    let inputs = calibration(&folder, "calib.npz", BATCH, 0.5);
    let build = ["tables", "build", &model, "--inputs", &inputs, "-o", &out];
    fails(build.into_iter().chain(["--subspaces", "3"]), &["8 dims cannot be cut into 3 subspaces"]);
    fails(build.into_iter().chain(["--rotary", "halves", "--subspaces", "8"]), &["whole rotary pairs"]);
    let nowhere = folder.path("no/such/folder.safetensors");
    fails(["tables", "build", &model, "--inputs", &inputs, "-o", &nowhere], &["cannot write", "folder.safetensors"]);
    for bad in [&["--held-out", "1"][..], &["--held-out", "0"], &["--max-error", "nan"], &["--subspaces", "0"]] {
        assert_eq!(bgz(build.iter().chain(bad)).code, Some(2), "{bad:?}");
    }
}

#[test]
fn tables_that_do_not_fit_the_model_are_an_error() {
    let folder = Folder::new("tables_foreign");
    let model = folder.file("heads.bgz", HEADS);
    let other = foreign(&folder, 64, None);
    let rewrite = |tables: &str, names: &[&str]| {
        fails(["rewrite", &model, "--tables", tables], names);
        let run = ["run", &model, "--shape", "batch=1,seq=2", "--repeat", "1", "--tables", tables];
        fails(run, names);
        fails(["bench", &model, "--shape", "batch=1,seq=2", "--seconds", "0", "--tables", tables], names);
    };
    rewrite(&other, &["foreign.safetensors", "no table for this model", "for d_head 64", "d_head 8", "\"y\""]);
    rewrite(&foreign(&folder, 8, Some("layer.7")), &["no table for this model", "\"layer.7\" of d_head 8"]);
    rewrite("no/such.safetensors", &["cannot read tables from no/such.safetensors", "No such file"]);
    rewrite(&folder.file("bad.safetensors", "GGUF"), &["bad.safetensors", "not a safetensors file"]);
    let none = folder.file("none.bgz", "graph @none {\n in %x : f32[n, 8]\n %y = neg(%x) : f32[n, 8]\n out %y\n}\n");
    fails(["rewrite", &none, "--tables", &other], &["foreign.safetensors", "no attention is recognised"]);
    fails(["tables", "show", &model], &["cannot read tables from"]);
    let svg = folder.path("t.svg");
    fails(["tables", "report", &other, "-o", &svg], &["none of these tables has errors head by head"]);
    // An error bound without tables means nothing; no run approximates what it does not rewrite.
    for bad in
        [&["--max-error", "0.1"][..], &["--tables", &other, "--no-rewrite"], &["--tables", &other, "--max-error", "-1"]]
    {
        let run = bgz(["run", &model, "--shape", "batch=1,seq=2"].iter().chain(bad));
        assert_eq!(run.code, Some(2), "{bad:?}: {}", run.err);
    }
}

/// Whoever runs a graph that names a table has to bring it.
#[test]
fn a_graph_that_names_a_table_needs_it() {
    let folder = Folder::new("tables_named");
    let model = folder.file("named.bgz", HEADS.replace("exact", "table(\"d8\")"));
    let run = ["run", &model, "--shape", "batch=1,seq=2", "--repeat", "1"];
    fails(run, &["%y", "\"d8\"", "not registered", "--tables"]);
}
