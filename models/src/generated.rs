//! The default model as Rust code, which burn-import writes from `models/default/char_lm.onnx` while this crate is
//! built.
//!
//! `Model::<B>::from_embedded(device)` has the file's weights; `forward` takes `ids`, `i64[batch, seq]` (or the
//! backend's own integer), and gives `logits`, `f32[batch, seq, vocab]`.

// Not ours to document or to tidy.
#![allow(missing_docs, clippy::all, unused)]

include!(concat!(env!("OUT_DIR"), "/model/char_lm.rs"));
