//! Writes the default model: `cargo run -p bgz-models --bin make-default [PATH]`.

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Writes the default model (a small character language model with seeded weights).

Usage: make-default [PATH]

PATH is models/default/char_lm.onnx of this repository unless given.";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let path = match args.next() {
        Some(arg) if arg == "--help" || arg == "-h" => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(arg) if arg.to_string_lossy().starts_with('-') || args.next().is_some() => {
            eprintln!("error: expected at most one path; --help says more");
            return ExitCode::FAILURE;
        }
        Some(arg) => PathBuf::from(arg),
        None => bgz_models::default_model(),
    };
    let written = bgz_models::char_lm::default_bytes().and_then(|bytes| {
        std::fs::write(&path, &bytes).map(|()| bytes.len()).map_err(|error| format!("{}: {error}", path.display()))
    });
    match written {
        Ok(len) => {
            println!("wrote {} ({len} bytes)", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
