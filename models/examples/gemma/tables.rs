//! Tables for the attention of the model, from what it sees in a text.

use std::path::PathBuf;

use bgz_fusion::Flex;
use bgz_fusion::gguf::Gguf;
use bgz_fusion::table::{
    AttentionTable, BuildOptions, Method, ProductOptions, Refine, RefineSearch, Rotary, Samples, Window, file,
};
use burn::tensor::{Int, Tensor, TensorData};
use clap::Args;

use crate::{Failure, TextArgs};

#[derive(Debug, Args)]
pub struct TablesArgs {
    #[command(flatten)]
    text: TextArgs,
    /// Where to write them
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Windows of the text, from all over it; the last quarter is held out
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..))]
    windows: u32,
    /// Entries of a codebook
    #[arg(long, value_name = "N", default_value = "16", value_parser = ["16", "128", "256"])]
    entries: String,
    /// Codes of a key [default: one for each 2 dims with 16 entries, for each 4 with more]
    #[arg(long, value_name = "N")]
    subspaces: Option<usize>,
    /// Error of the worst head that a refinement keeps
    #[arg(long, value_name = "X", default_value_t = 0.03)]
    max_error: f64,
}

pub fn run(gguf: &Gguf, args: &TablesArgs) -> Result<(), Failure> {
    let (tokenizer, begin, _) = crate::file::tokenizer(gguf)?;
    let tokens = args.text.tokens(&tokenizer)?;
    let model = crate::file::model::<Flex>(gguf, &Default::default())?;
    let config = model.config();
    let (d_head, seq) = (config.d_head, args.text.context as usize);
    let mut samples = Samples { d_head, d_v: d_head, scale: config.scale() as f32, causal: true, windows: Vec::new() };
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
            let size = seq * d_head;
            let group = config.heads / config.kv_heads;
            for (head, q) in q.chunks(size).enumerate() {
                let own = head / group * size;
                let (k, v) = (k[own..own + size].to_vec(), v[own..own + size].to_vec());
                samples.windows.push(Window { head: format!("blk.{block}/{head}"), q: q.to_vec(), k, v });
            }
        }
    }
    let entries: usize = args.entries.parse()?;
    let subspaces = args.subspaces.unwrap_or(d_head / if entries == 16 { 2 } else { 4 });
    let product = ProductOptions { subspaces, entries, rotary: Rotary::Halves, ..ProductOptions::default() };
    let search = RefineSearch { max_error: args.max_error, refine: Refine::default(), ..RefineSearch::default() };
    let options = BuildOptions { method: Method::Product(product), refine: Some(search), ..BuildOptions::default() };
    let table = AttentionTable::build(&samples, &options)?;
    println!(
        "d_head {d_head}: error of the worst head {:.2} % by table, {:.2} % by int8",
        table.worst_error() * 100.0,
        table.record().int8.output_error.worst * 100.0
    );
    file::save(&args.output, &[table])?;
    Ok(())
}
