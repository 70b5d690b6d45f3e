//! Tokens a second, side by side.

use std::time::Instant;

use bgz_fusion::gguf::Gguf;
use bgz_fusion::ir::Precision;
use bgz_fusion::{Flex, trace};
use bgz_models::gemma::Gemma;
use burn::tensor::backend::Backend;
use clap::Args;

use crate::{B, Failure};

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 256)]
    prompt: usize,
    /// Tokens that are decoded behind it, one by one
    #[arg(long, value_name = "N", default_value_t = 32)]
    decode: usize,
    /// Rounds, each with both backends in turn; one more goes first and is not counted
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// The precision that products with weights are computed in besides
    #[arg(long, value_parser = crate::precision(), default_value_t = Precision::Exact)]
    precision: Precision,
}

/// Tokens a second of a prompt and of decoding.
type Speeds = [Vec<f64>; 2];

/// A way to run the model, once.
type Run<'a> = Box<dyn Fn() -> Result<[f64; 2], Failure> + 'a>;

pub fn run(gguf: &Gguf, args: &BenchArgs) -> Result<(), Failure> {
    if args.prompt == 0 || args.decode == 0 || args.rounds == 0 {
        return Err("a prompt, tokens to decode and rounds: at least 1 of each".into());
    }
    let rewritten = crate::file::model::<B>(gguf, &Default::default())?;
    let bare = crate::file::model::<Flex>(gguf, &Default::default())?;
    let in_precision = || trace::precision(args.precision, || measure(&rewritten, args));
    let mut ways: Vec<(String, Run, Speeds)> = vec![
        ("BgzFusion<Flex>".into(), Box::new(|| measure(&rewritten, args)), Speeds::default()),
        ("Flex".into(), Box::new(|| measure(&bare, args)), Speeds::default()),
    ];
    if args.precision != Precision::Exact {
        let name = format!("BgzFusion<Flex>, {}", args.precision);
        ways.insert(1, (name, Box::new(in_precision), Speeds::default()));
    }
    for round in 0..=args.rounds {
        for (_, way, speeds) in &mut ways {
            let now = way()?;
            // Plans are made, and weights packed, in the first.
            if round > 0 {
                speeds.iter_mut().zip(now).for_each(|(all, now)| all.push(now));
            }
        }
    }
    println!("tokens a second, median of {} rounds (least to greatest)", args.rounds);
    for (name, _, speeds) in ways {
        let [prompt, decode] = speeds.map(summary);
        println!("{name:22} prompt of {}: {prompt}   decoding {}: {decode}", args.prompt, args.decode);
    }
    Ok(())
}

fn measure<B: Backend>(model: &Gemma<B>, args: &BenchArgs) -> Result<[f64; 2], Failure> {
    let device = B::Device::default();
    let vocab = model.vocab() as u32;
    // Any tokens take as long as others.
    let token = |i: usize| (i as u32).wrapping_mul(2_654_435_761) % vocab;
    let prompt: Vec<u32> = (0..args.prompt).map(token).collect();
    let mut cache = model.cache();
    let start = Instant::now();
    model.next_logits(&prompt, &mut cache, &device)?;
    let seen = Instant::now();
    for i in 0..args.decode {
        model.next_logits(&[token(args.prompt + i)], &mut cache, &device)?;
    }
    let (prompt, decode) = (seen - start, seen.elapsed());
    Ok([args.prompt as f64 / prompt.as_secs_f64(), args.decode as f64 / decode.as_secs_f64()])
}

fn summary(mut speeds: Vec<f64>) -> String {
    speeds.sort_by(f64::total_cmp);
    let at = |i: usize| speeds.get(i).copied().unwrap_or(f64::NAN);
    format!("{:.1} ({:.1} to {:.1})", at(speeds.len() / 2), at(0), at(speeds.len() - 1))
}
