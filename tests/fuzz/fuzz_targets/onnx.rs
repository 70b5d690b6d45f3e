//! Any bytes as an ONNX file: an error with a message, or a graph that is printed, read back, rewritten and evaluated.
//!
//! ```text
//! cargo install cargo-fuzz
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz --no-default-features --features onnx onnx \
//!     FOUND tests/fuzz/corpus/onnx tests/cases -- \
//!     -max_len=24000 -timeout=10 -rss_limit_mb=4096 -malloc_limit_mb=1024
//! ```
//!
//! (`RUSTC_BOOTSTRAP=1` is for a stable compiler, which lacks the option for the address sanitizer.) FOUND is a folder
//! of your own: what is new goes to the first one that is named. libFuzzer reads folders within folders, so that the
//! models of `tests/cases` are where it starts from; `corpus/onnx` keeps only what found a fault once. `cargo fuzz` builds
//! with checks of overflow. Without `--no-default-features` it works too, and compiles what the other target needs first.
#![no_main]

// The importer is compiled from its source files: the crate around it takes minutes to build with instrumentation, for
// Burn's backends and the kernels, of which nothing is used here.
#[path = "onnx/join.rs"]
mod join;
#[path = "onnx/mutate.rs"]
mod mutate;
#[allow(dead_code, unused_imports, reason = "a target calls a part of it")]
#[path = "../../../src/onnx/mod.rs"]
mod onnx;
#[allow(dead_code, reason = "a target calls a part of it")]
#[path = "../../../src/storage.rs"]
mod storage;
#[path = "onnx/values.rs"]
mod values;
#[path = "onnx/vocabulary.rs"]
mod vocabulary;

use bgz_passes::ir::{Bindings, Graph, parse};
use bgz_passes::pipeline::Pipeline;
use libfuzzer_sys::{fuzz_crossover, fuzz_mutator, fuzz_target};
use values::Comparison;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::mutate(data, size, max_size, seed)
});

fuzz_crossover!(|first: &[u8], second: &[u8], out: &mut [u8], seed: u32| { join::join(first, second, out, seed) });

fuzz_target!(|data: &[u8]| {
    let before = match onnx::from_bytes(data.to_vec().into()) {
        Ok(graph) => graph,
        // A message for every error.
        Err(e) => {
            assert!(!e.to_string().is_empty());
            return;
        }
    };
    sound("as imported", &before);
    let after = rewritten(&Pipeline::exact(), &before, "rewritten");
    for (name, bindings) in choices(&before, data) {
        let Ok(bound) = before.bind(&bindings) else { continue };
        sound("as imported, bound", &bound);
        // Only what is small enough to be evaluated, and does not fail for these numbers, has a value to keep.
        let comparisons: Vec<_> = [false, true].into_iter().filter_map(|s| Comparison::new(&bound, s)).collect();
        if comparisons.is_empty() {
            return;
        }
        match after.bind(&bindings) {
            Ok(bound) => {
                sound("rewritten, bound", &bound);
                let planned = rewritten(&Pipeline::bound(None), &bound, "as a plan has it");
                for comparison in comparisons {
                    comparison.with(&bound, name);
                    comparison.with(&planned, "as a plan has it");
                }
            }
            Err(e) => panic!("rewritten, it is not bound {name}: {e}\n\nbefore:\n{before}\nafter:\n{after}"),
        }
        return;
    }
});

/// Panics unless a graph verifies and its text reads back to the same text.
fn sound(which: &str, graph: &Graph) {
    if let Err(e) = graph.verify() {
        panic!("{which}, it does not verify: {e}\n\n{graph}");
    }
    let text = graph.to_string();
    match parse(&text) {
        Ok(again) => {
            let printed = again.to_string();
            assert!(printed == text, "{which}, its text reads back as another:\n\n{text}\n{printed}");
            if let Err(e) = again.verify() {
                panic!("{which}, it does not verify once read back: {e}\n\n{text}");
            }
        }
        Err(e) => panic!("{which}, its text does not read back: {e}\n\n{text}"),
    }
}

/// The graph that the passes make of a graph; it is checked.
fn rewritten(pipeline: &Pipeline, graph: &Graph, which: &str) -> Graph {
    let mut out = graph.clone();
    if let Err(e) = pipeline.run(&mut out) {
        panic!("{e}\n\n{graph}");
    }
    sound(which, &out);
    out
}

/// Numbers for the named dims: different ones, and the same for all. The order of trying them depends on the data.
fn choices(graph: &Graph, data: &[u8]) -> Vec<(&'static str, Bindings)> {
    let symbols = graph.symbols();
    let all = |number: fn(i64) -> i64| (0..).zip(&symbols).map(|(i, s)| (s.clone(), number(i))).collect::<Bindings>();
    let mut choices = vec![
        ("with different numbers", all(|i| 2 + (i * 3) % 5)),
        ("with 1 for all", all(|_| 1)),
        ("with 2 for all", all(|_| 2)),
        ("with 0 for all", all(|_| 0)),
    ];
    let sum = data.iter().fold(0usize, |sum, &b| sum.wrapping_add(b.into()));
    choices.rotate_left(sum % 4);
    choices
}
