//! Queries, keys and values of the model on a text, as a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use bgz_fusion::gguf::Gguf;
use clap::Args;
use npyz::{WriteOptions, WriterBuilder};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::Failure;
use crate::seen::{SeenArgs, each};

#[derive(Debug, Args)]
pub struct SamplesArgs {
    #[command(flatten)]
    seen: SeenArgs,
    /// The npz file to write
    #[arg(long, short, value_name = "F.npz")]
    output: PathBuf,
}

/// Rows `[tokens, heads, d_head]` of one kind, of all windows.
#[derive(Default)]
struct Rows {
    heads: usize,
    values: Vec<f32>,
}

impl Rows {
    /// Adds `[heads, tokens, d_head]`.
    fn add(&mut self, x: &[f32], tokens: usize, d_head: usize) {
        self.heads = x.len() / (tokens * d_head).max(1);
        for token in 0..tokens {
            for head in 0..self.heads {
                self.values.extend_from_slice(&x[(head * tokens + token) * d_head..][..d_head]);
            }
        }
    }
}

pub fn run(gguf: &Gguf, args: &SamplesArgs) -> Result<(), Failure> {
    let mut blocks: Vec<[Rows; 3]> = Vec::new();
    let config = each(gguf, &args.seen, |config, seen| {
        blocks.resize_with(blocks.len().max(seen.block + 1), Default::default);
        for (rows, x) in blocks[seen.block].iter_mut().zip([&seen.q, &seen.k, &seen.v]) {
            rows.add(x, seen.tokens, config.d_head);
        }
    })?;
    let mut zip = ZipWriter::new(BufWriter::new(File::create(&args.output)?));
    for (block, kinds) in blocks.iter().enumerate() {
        for (kind, rows) in ["q", "k", "v"].iter().zip(kinds) {
            let d = config.d_head;
            let tokens = rows.values.len() / (rows.heads * d).max(1);
            let shape = [tokens, rows.heads, d].map(|n| n as u64);
            let large = size_of_val(rows.values.as_slice()) as u64 >= u64::from(u32::MAX);
            zip.start_file(format!("layer{block}.{kind}.npy"), SimpleFileOptions::default().large_file(large))?;
            let mut array = WriteOptions::new().default_dtype().shape(&shape).writer(&mut zip).begin_nd()?;
            array.extend(&rows.values)?;
            array.finish()?;
        }
    }
    zip.finish()?.flush()?;
    Ok(())
}
