//! How well a text is predicted.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bgz_fusion::gguf::Gguf;
use bgz_fusion::ir::Precision;
use bgz_fusion::table::{TableRegistry, file};
use bgz_fusion::trace;
use bgz_models::gemma::{Gemma, GemmaError};
use clap::Args;

use crate::{B, Failure, TextArgs};

#[derive(Debug, Args)]
pub struct PerplexityArgs {
    #[command(flatten)]
    text: TextArgs,
    /// Tokens to predict
    #[arg(long, value_name = "N", default_value_t = 4096)]
    tokens: usize,
    /// Tables to take scores of attention from, in a second run
    #[arg(long, value_name = "FILE")]
    tables: Option<PathBuf>,
    /// Relative error of an attention output that is put up with, as measured when the tables were built
    #[arg(long, value_name = "X", default_value_t = 0.03, requires = "tables")]
    max_error: f64,
    /// The precision that products with weights are computed in, in another run
    #[arg(long, value_parser = crate::precision(), default_value_t = Precision::Exact)]
    precision: Precision,
}

pub fn run(gguf: &Gguf, args: &PerplexityArgs) -> Result<(), Failure> {
    let registry = TableRegistry::new();
    if let Some(path) = &args.tables {
        registry.register_all(file::load(path)?);
    }
    let (tokenizer, begin, _) = crate::file::tokenizer(gguf)?;
    let windows = args.text.windows(&args.text.tokens(&tokenizer)?, begin, args.tokens)?;
    let model = crate::file::model::<B>(gguf, &Default::default())?;
    let exact = perplexity(&model, &windows)?;
    println!("perplexity, exact: {exact:.6} ({} tokens, windows of {})", args.tokens, args.text.context);
    if args.tables.is_some() {
        let (first, said) = trace::approximate(&registry, args.max_error, || {
            trace::capture(|| model.surprises(&windows[0], &Default::default()))
        });
        first?;
        let lines = said.regions.iter().map(|region| region.report.to_string()).collect::<String>();
        let choices = lines.lines().filter_map(|line| line.split_once("attention-to-table"));
        // Of all blocks alike, but for their names.
        let choices: BTreeSet<String> = choices.map(|(_, choice)| without_name(choice)).collect();
        choices.iter().for_each(|choice| println!("attention: {choice}"));
        let approximate = trace::approximate(&registry, args.max_error, || perplexity(&model, &windows))?;
        println!("perplexity, errors up to {}: {approximate:.6}, {:+.4} %", args.max_error, change(approximate, exact));
    }
    if args.precision != Precision::Exact {
        let rounded = trace::precision(args.precision, || perplexity(&model, &windows))?;
        println!("perplexity, products in {}: {rounded:.6}, {:+.4} %", args.precision, change(rounded, exact));
    }
    Ok(())
}

/// In percent.
fn change(now: f64, before: f64) -> f64 {
    (now / before - 1.0) * 100.0
}

/// The part of a line of the trace behind the name of a value.
fn without_name(choice: &str) -> String {
    let text = choice.trim_start_matches([':', ' ']);
    let rest = text.split_once('%').map_or(text, |(_, rest)| rest.split_once(' ').map_or(rest, |(_, rest)| rest));
    rest.trim().trim_start_matches("<- attention: ").to_owned()
}

fn perplexity(model: &Gemma<B>, windows: &[Vec<u32>]) -> Result<f64, GemmaError> {
    let (mut total, mut count) = (0.0, 0usize);
    for window in windows {
        let surprises = model.surprises(window, &Default::default())?;
        total += surprises.iter().sum::<f64>();
        count += surprises.len();
    }
    Ok((total / count as f64).exp())
}
