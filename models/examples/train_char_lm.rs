//! Trains the default model on this repository's text and writes it as ONNX.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bgz_fusion::random::SplitMix64;
use bgz_fusion::{BgzFusion, Flex};
use bgz_models::decoder::{CharLm, CharLmConfig, Sampling};
use bgz_models::text::{Corpus, decode, encode};
use bgz_models::training::{Budget, TrainingConfig, bits, evaluate, train};
use bgz_models::{default_model, export, root};
use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use clap::Parser;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// The backend that the model is trained on.
type TrainingBackend = Autodiff<BgzFusion<Flex>>;

/// Trains the default model, a character language model, on the README, ARCHITECTURE and Rust sources of this
/// repository, and writes it as ONNX.
#[derive(Debug, Parser)]
#[command(name = "train_char_lm")]
struct Args {
    /// Train for so many minutes [default: 5, unless --steps is given]
    #[arg(long, value_name = "N", value_parser = minutes)]
    minutes: Option<Duration>,

    /// Train for so many steps; with --minutes, for whichever is over first
    #[arg(long, value_name = "N")]
    steps: Option<usize>,

    /// Decides the first weights and the order of the text; with --steps alone, the same seed gives the same model
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// The file to write [default: cli/model/char_lm.onnx of this repository]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn minutes(arg: &str) -> Result<Duration, String> {
    let minutes: f64 = arg.parse().map_err(|_| "not a number".to_string())?;
    Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string())
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run::<TrainingBackend>(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run<B: AutodiffBackend>(args: &Args) -> Result<(), Failure> {
    let device = B::Device::default();
    let time = args.minutes.or_else(|| args.steps.is_none().then_some(Duration::from_secs(300)));
    let config =
        TrainingConfig { seed: args.seed, budget: Budget { steps: args.steps, time }, ..TrainingConfig::default() };
    let corpus = Corpus::read(root())?;
    let model = CharLmConfig::default().init::<B>(args.seed, &device);
    println!(
        "{} files: {} characters to train on, {} held out",
        corpus.files,
        corpus.training.len(),
        corpus.held_out.len()
    );
    let context = model.context();
    let held_out =
        |model: &CharLm<B::InnerBackend>| evaluate(model, &corpus.held_out, config.batch, context, &device).map(bits);
    println!("held-out loss before: {:.3} bits per character", held_out(&model.valid())?);

    // The bar counts thousandths of the budget: steps of a model that is trained by the clock are not known ahead.
    let bar = ProgressBar::new(1000);
    bar.set_style(ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}")?);
    let start = Instant::now();
    let mut smooth = None;
    let mut steps = 0;
    let model = train(model, &corpus.training, &config, &device, |step| {
        steps = step.step;
        let loss = smooth.map_or(step.loss, |before: f64| 0.95 * before + 0.05 * step.loss);
        smooth = Some(loss);
        let spent = start.elapsed().as_secs_f64();
        let left = Duration::try_from_secs_f64(spent / step.used - spent).unwrap_or_default();
        bar.set_position((step.used * 1000.0) as u64);
        bar.set_message(format!(
            "step {}, loss {:.3} bits per character, {} left",
            step.step,
            bits(loss),
            HumanDuration(left)
        ));
    })?;
    bar.finish_and_clear();

    let model = model.valid();
    if let Some(loss) = smooth {
        println!("{steps} steps in {:.0?}, training loss {:.3} bits per character", start.elapsed(), bits(loss));
    }
    println!("held-out loss after: {:.3} bits per character", held_out(&model)?);
    let prompt = "/// The shape of ";
    let mut sampling = Sampling::Temperature { temperature: 0.5, rng: SplitMix64::new(args.seed) };
    let sample = decode(&model.generate(&encode(prompt), 160, &mut sampling, &device));
    println!("a sample:\n{prompt}{sample}\n");

    let path = args.output.clone().unwrap_or_else(default_model);
    let bytes = export::to_bytes(&model)?;
    std::fs::write(&path, &bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("wrote {} ({} bytes)", path.display(), bytes.len());
    Ok(())
}
