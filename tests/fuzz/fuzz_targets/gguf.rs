//! Any bytes as a GGUF file: an error, or a file of which everything can be read.
//!
//! ```text
//! cargo install cargo-fuzz
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz gguf -- -max_len=4096
//! ```
//!
//! (`RUSTC_BOOTSTRAP=1` is for a stable compiler, which lacks the option for the address sanitizer.) What it finds goes
//! to another folder than what is kept if one is named: `cargo fuzz run --fuzz-dir tests/fuzz gguf FOUND
//! tests/fuzz/corpus/gguf`.
#![no_main]

// The reader is compiled from its source files: the crate around it takes minutes to build with instrumentation, for Burn
// and ONNX, of which nothing is used here.
#[allow(dead_code, unused_imports, reason = "a target calls a part of it")]
#[path = "../../../src/gguf/mod.rs"]
mod gguf;
#[allow(dead_code, reason = "a target calls a part of it")]
#[path = "../../../src/storage.rs"]
mod storage;

use bgz_kernels as kernels;
use gguf::{Gguf, Value};
use libfuzzer_sys::fuzz_target;

/// Larger tensors have no bytes that smaller ones have not; a file of zero-sized rows may claim many.
const MOST: usize = 1 << 16;

/// Looks at all of a value.
fn walk(value: Value<'_>) -> usize {
    match value {
        Value::Array(array) => {
            let items = array.iter().map(walk).sum();
            assert_eq!(array.iter().count(), array.len());
            items
        }
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 1,
    }
}

fuzz_target!(|data: &[u8]| {
    let file = match Gguf::from_bytes(data.to_vec()) {
        Ok(file) => file,
        // A message for every error.
        Err(e) => {
            assert!(!e.to_string().is_empty());
            return;
        }
    };
    let metadata = file.metadata();
    assert_eq!(metadata.iter().count(), metadata.len());
    for (key, value) in metadata.iter() {
        assert!(metadata.get(key).is_some_and(|v| v.ty() == value.ty()));
        walk(value);
    }
    assert_eq!(file.tensors().count(), file.tensors().len());
    for tensor in file.tensors() {
        assert_eq!(file.tensor(tensor.name()).map(|t| t.offset()).ok(), Some(tensor.offset()));
        let _ = (tensor.as_slice::<f32>(), tensor.as_slice::<f64>(), tensor.as_slice::<i8>());
        if tensor.len() > MOST {
            continue;
        }
        let Ok(values) = tensor.to_f32() else {
            assert!(!tensor.ty().is_dequantised());
            continue;
        };
        assert_eq!(values.len(), tensor.len());
        if tensor.rows() > 0 {
            let mut row = vec![0.0; tensor.row_len()];
            tensor.read_rows(tensor.rows() - 1..tensor.rows(), &mut row).expect("the last row is read");
            let last = &values[values.len() - row.len()..];
            assert!(row.iter().zip(last).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
    let _ = file.tensor("blk.0.attn_q.weight").map(|t| t.len());
});
