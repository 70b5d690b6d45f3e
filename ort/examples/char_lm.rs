//! Continues a text by the embedded model, through `ort`: the one line of this engine is `ort::set_api`.
//!
//! ```sh
//! cargo run --release -p bgz-ort --example char_lm -- "Reads a file, and "
//! ```

use ndarray::{Array1, Axis, s};
use ort::inputs;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

/// Characters that the model looks back on.
const CONTEXT: usize = 64;

fn code(c: u8) -> i64 {
    match c {
        b' '..=b'~' => (c - b' ').into(),
        _ => 95,
    }
}

fn character(code: usize) -> char {
    if code < 95 { char::from(b' ' + code as u8) } else { '\n' }
}

fn main() -> ort::Result<()> {
    ort::set_api(bgz_ort::api());

    let environment = ort::init().with_name("char_lm").build()?;
    let mut session = Session::builder(&environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_threads(1)?
        .commit_from_file(concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/model/char_lm.onnx"))?;
    for port in session.inputs().iter().chain(session.outputs()) {
        println!("{}: {}", port.name(), port.dtype());
    }

    let prompt = std::env::args().nth(1).unwrap_or_else(|| "A model is ".into());
    let mut codes: Vec<i64> = prompt.bytes().map(code).collect();
    let mut text = prompt;
    for _ in 0..200 {
        let recent = Array1::from(codes[codes.len().saturating_sub(CONTEXT)..].to_vec()).insert_axis(Axis(0));
        let outputs = session.run(inputs!["ids" => TensorRef::from_array_view(&recent)?])?;
        let logits = outputs["logits"].try_extract_array::<f32>()?;
        let last = logits.slice(s![0, -1, ..]);
        let best = last.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i);
        codes.push(best as i64);
        text.push(character(best));
    }
    println!("{text}");
    Ok(())
}
