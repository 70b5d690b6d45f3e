//! Tables for the attention of the model, from what it sees in a text.

use std::path::PathBuf;

use bgz_fusion::gguf::Gguf;
use bgz_fusion::table::{
    AttentionTable, BuildOptions, Method, ProductOptions, Refine, RefineSearch, Rotary, Samples, Window, file,
};
use clap::Args;

use crate::Failure;
use crate::seen::{SeenArgs, each};

#[derive(Debug, Args)]
pub struct TablesArgs {
    #[command(flatten)]
    seen: SeenArgs,
    /// Where to write them
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
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
    let mut windows = Vec::new();
    let config = each(gguf, &args.seen, |config, seen| {
        let size = seen.tokens * config.d_head;
        let group = config.heads / config.kv_heads;
        for (head, q) in seen.q.chunks(size).enumerate() {
            let own = head / group * size;
            let [k, v] = [&seen.k, &seen.v].map(|x| x[own..own + size].to_vec());
            windows.push(Window { head: format!("blk.{}/{head}", seen.block), q: q.to_vec(), k, v });
        }
    })?;
    let d_head = config.d_head;
    let samples = Samples { d_head, d_v: d_head, scale: config.scale() as f32, causal: true, windows };
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
