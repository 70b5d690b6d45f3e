//! The models that `bgz-fusion` is tested, measured and shown with.
//!
//! - [`decoder`] is a character language model and [`encoder`] a sentence encoder, Burn modules generic over the
//!   backend. [`training`] trains the former on [`text`], [`export`] writes it as ONNX and
//!   [`import`] reads that back.
//! - The default model, `cli/model/char_lm.onnx`, is such a language model, trained and written by
//!   `examples/train_char_lm.rs`, kept in the repository and embedded in the `bgz` binary.
//! - [`generated`] is the default model as the code that burn-import makes of it.
//! - [`gemma`] is a Gemma 3 language model with its tokenizer, filled from a GGUF file; `examples/gemma` runs it.
//! - [`FETCHED`] names the public models that `models/fetch.sh` downloads; `models/MANIFEST.toml` says where each
//!   comes from, what it hashes to and under which licence it stands.
//! - [`fetched`] and [`fixture`] find both for a test.

pub mod builder;
pub mod decoder;
pub mod encoder;
pub mod export;
pub mod gemma;
pub mod generated;
pub mod import;
mod init;
pub mod text;
pub mod training;

use std::path::{Path, PathBuf};

/// Names of the models that `models/fetch.sh` downloads, in the order of `models/MANIFEST.toml`.
pub const FETCHED: [&str; 4] = ["minilm", "magika", "khmersm", "vit_s_focus"];

/// The two shapes at which `tests/fixtures/` holds reference values of `model`, as they stand in the file names.
///
/// `None` for a model without fixtures.
pub fn fixture_shapes(model: &str) -> Option<[&'static str; 2]> {
    Some(match model {
        "minilm" => ["1x16", "3x24"],
        "magika" => ["1x2048", "3x2048"],
        "khmersm" => ["1x16", "1x40"],
        "vit_s_focus" => ["1x3x224x224", "2x3x224x224"],
        "char_lm" => ["1x16", "3x40"],
        _ => return None,
    })
}

/// Where one set of reference values lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixture {
    /// An npz with the model's inputs under their own names.
    pub inputs: PathBuf,
    /// An npz with the outputs that ONNX Runtime gave for them, under their own names.
    pub expected: PathBuf,
}

/// The fixture of `model` at `shape`, one of [`fixture_shapes`].
pub fn fixture(model: &str, shape: &str) -> Fixture {
    let dir = root().join("tests/fixtures");
    Fixture {
        inputs: dir.join(format!("{model}@{shape}.inputs.npz")),
        expected: dir.join(format!("{model}@{shape}.expected.npz")),
    }
}

/// Files of `tests/fixtures/` with what `models/gemma_reference.py` gives: for a tiny Gemma, which lies beside it as
/// `gemma_tiny.gguf`, and for the fetched one.
pub const GEMMA_FIXTURES: [&str; 2] = ["gemma_tiny.expected.npz", "gemma.expected.npz"];

/// A file of `tests/fixtures/`.
pub fn fixture_file(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// The fetched Gemma, or `None`, with a SKIPPED line on stderr. It is fetched only if named, so that it may be
/// missing in CI, too.
pub fn fetched_gemma() -> Option<PathBuf> {
    let path = root().join("models/fetched/gemma.gguf");
    if path.is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED: model gemma is not here; models/fetch.sh gemma gets it");
    None
}

/// The committed file of the default model.
pub fn default_model() -> PathBuf {
    root().join("cli/model/char_lm.onnx")
}

/// The file of a fetched model, or `None`, with a SKIPPED line on stderr, where it has not been fetched.
///
/// # Panics
/// When the file is missing and the environment variable `CI` is set: a check that is quietly skipped there would
/// look like one that passed.
pub fn fetched(name: &str) -> Option<PathBuf> {
    let path = root().join(format!("models/fetched/{name}.onnx"));
    if path.is_file() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "model {name} is missing and CI is set: run models/fetch.sh first");
    eprintln!("SKIPPED: model {name} is not here; models/fetch.sh {name} gets it");
    None
}

/// The repository: the folder above this crate's.
pub fn root() -> &'static Path {
    let models = Path::new(env!("CARGO_MANIFEST_DIR"));
    models.parent().unwrap_or(models)
}
