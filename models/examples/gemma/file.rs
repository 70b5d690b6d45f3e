//! A Gemma model and its tokenizer from a GGUF file.

use bgz_fusion::gguf::{Gguf, GgufError, Value};
use bgz_models::gemma::{Gemma, GemmaConfig, GemmaError, Tokenizer};
use burn::tensor::backend::Backend;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The model.
pub fn model<B: Backend>(file: &Gguf, device: &B::Device) -> Result<Gemma<B>, GemmaError> {
    let metadata = file.metadata();
    let number = |value: Value<'_>| value.as_f64().or_else(|| value.as_i64().map(|v| v as f64));
    let config = GemmaConfig::from_metadata(|key| metadata.get(key).and_then(number))?;
    let tensor = |name: &str| -> Result<_, GgufError> {
        let tensor = file.tensor(name)?;
        Ok((tensor.shape(), tensor.to_f32()?))
    };
    Gemma::load(&config, tensor, device)
}

/// The tokenizer, the token that texts begin with, and the one they end with.
pub fn tokenizer(file: &Gguf) -> Result<(Tokenizer, u32, u32), Failure> {
    let metadata = file.metadata();
    let name = |key: &str| format!("tokenizer.ggml.{key}");
    let missing = |key: &str| format!("the file has no {}, or one of another type", name(key));
    let kind = metadata.get(&name("model")).and_then(|v| v.as_str()).unwrap_or("none");
    if kind != "llama" {
        return Err(
            format!("the tokenizer is {kind:?}, but only \"llama\" (SentencePiece with scores) is known").into()
        );
    }
    if metadata.get(&name("add_space_prefix")).and_then(|v| v.as_bool()) != Some(false) {
        return Err("the tokenizer puts a space before a text, which this program does not do".into());
    }
    let array = |key: &str| metadata.get(&name(key)).and_then(|v| v.as_array()).ok_or_else(|| missing(key));
    let tokens = array("tokens")?.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    let scores = array("scores")?.iter().map(|v| v.as_f64().map(|v| v as f32)).collect::<Option<Vec<_>>>();
    let kinds = array("token_type")?.iter().map(|v| v.as_i64()).collect::<Option<Vec<_>>>();
    let tokenizer = Tokenizer::new(
        tokens.ok_or_else(|| missing("tokens"))?,
        &scores.ok_or_else(|| missing("scores"))?,
        &kinds.ok_or_else(|| missing("token_type"))?,
    )?;
    let token = |key: &str| {
        let id = metadata.get(&name(key)).and_then(|v| v.as_u64()).and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| missing(key))
    };
    Ok((tokenizer, token("bos_token_id")?, token("eos_token_id")?))
}
