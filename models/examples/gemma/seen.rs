//! The samples that the attention of the model sees in a text.

use bgz_fusion::Flex;
use bgz_fusion::gguf::Gguf;
use bgz_models::gemma::GemmaConfig;
use burn::tensor::{Int, Tensor, TensorData};
use clap::Args;

use crate::{Failure, TextArgs};

/// Windows of a text.
#[derive(Debug, Args)]
pub struct SeenArgs {
    #[command(flatten)]
    text: TextArgs,
    /// Windows of the text, from all over it; the last quarter is held out
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..))]
    windows: u32,
}

/// Queries, keys and values of a block's attention on a window: `[heads, tokens, d_head]`, those of keys and values with their
/// own number of heads.
pub struct Operands {
    pub block: usize,
    pub tokens: usize,
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

/// Runs the model on every window and calls `f` for every block of it.
pub fn each(gguf: &Gguf, args: &SeenArgs, mut f: impl FnMut(&GemmaConfig, Operands)) -> Result<GemmaConfig, Failure> {
    let (tokenizer, begin, _) = crate::file::tokenizer(gguf)?;
    let tokens = args.text.tokens(&tokenizer)?;
    let model = crate::file::model::<Flex>(gguf, &Default::default())?;
    let config = model.config();
    let seq = args.text.context as usize;
    if seq > config.window {
        return Err(format!("windows are at most {}: from there on, not all keys are seen", config.window).into());
    }
    let count = args.windows as usize;
    let Some(last) = tokens.len().checked_sub(seq).filter(|&last| last >= (count - 1) * seq) else {
        return Err(format!("{} tokens are too few for {count} windows of {seq}", tokens.len()).into());
    };
    for i in 0..count {
        let start = last * i / (count - 1);
        let ids = std::iter::once(begin).chain(tokens[start..start + seq - 1].iter().copied());
        let ids: Vec<i64> = ids.map(i64::from).collect();
        let ids = Tensor::<Flex, 2, Int>::from_data(TensorData::new(ids, [1, seq]), &Default::default());
        for (block, operands) in model.attention_operands(ids).into_iter().enumerate() {
            let rows = |x: Tensor<Flex, 4>| x.into_data().iter::<f32>().collect::<Vec<f32>>();
            let (q, k, v) = (rows(operands.query), rows(operands.key), rows(operands.value));
            f(config, Operands { block, tokens: seq, q, k, v });
        }
    }
    Ok(config.clone())
}
