//! Runs Gemma 3 from a GGUF file on `BgzFusion<Flex>`.

mod bench;
mod file;
mod perplexity;
mod samples;
mod seen;
mod tables;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bgz_fusion::gguf::Gguf;
use bgz_fusion::ir::Precision;
use bgz_fusion::{BgzFusion, Flex, trace};
use bgz_models::gemma::{Sampler, StreamDecoder, Tokenizer};
use bgz_models::root;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

/// Runs Gemma 3 from a GGUF file on BgzFusion<Flex>: writes texts, measures perplexity and speed.
#[derive(Debug, Parser)]
#[command(name = "gemma")]
struct Cli {
    /// The GGUF file [default: models/fetched/gemma.gguf, which `models/fetch.sh gemma` gets]
    #[arg(long, value_name = "FILE", global = true)]
    model: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Goes on with a text
    Generate(GenerateArgs),
    /// Measures how well a text is predicted, exactly and with tables or in fewer bits
    Perplexity(perplexity::PerplexityArgs),
    /// Learns tables for attention scores from what the model sees in a text
    Tables(tables::TablesArgs),
    /// Writes queries, keys and values of every layer on a text, for `bgz tables from-gguf --samples`
    Samples(samples::SamplesArgs),
    /// Measures tokens a second, side by side with bare Flex
    Bench(bench::BenchArgs),
}

#[derive(Debug, Args)]
struct GenerateArgs {
    /// The text to go on with; names of special tokens in it are read as such
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Tokens to write at most
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: usize,
    /// 0 takes the likeliest token, 1 draws from the model's own distribution, less sharpens it
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f32,
    /// Draw from so many of the likeliest tokens only; 0 for all
    #[arg(long, value_name = "K", default_value_t = 64)]
    top_k: usize,
    /// Decides what is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The precision that products with weights are computed in
    #[arg(long, value_parser = precision(), default_value_t = Precision::Exact)]
    precision: Precision,
}

/// Parses `--precision`, whose words are those of graph text.
fn precision() -> impl TypedValueParser<Value = Precision> {
    let about = |p| match p {
        Precision::Exact => "f32",
        Precision::Bf16 => "weights and rows rounded to bf16",
        Precision::Int8 => "8-bit weights, a scale a column, and 8-bit rows",
    };
    let words = Precision::ALL.map(|p| PossibleValue::new(p.name()).help(about(p)));
    PossibleValuesParser::new(words).try_map(|word| word.parse::<Precision>())
}

/// Tokens of a text file.
#[derive(Debug, Args)]
struct TextArgs {
    /// A text file
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Tokens of a window, the one that every text begins with included
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..=32768))]
    context: u32,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

type B = BgzFusion<Flex>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let path = cli.model.unwrap_or_else(|| root().join("models/fetched/gemma.gguf"));
    match run(&path, &cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(error) = source {
                eprintln!("  {error}");
                source = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(path: &Path, command: &Command) -> Result<(), Failure> {
    if !path.is_file() {
        return Err(format!("{} is not here; models/fetch.sh gemma gets the default one", path.display()).into());
    }
    let file = Gguf::open(path)?;
    match command {
        Command::Generate(args) => generate(&file, args),
        Command::Perplexity(args) => perplexity::run(&file, args),
        Command::Tables(args) => tables::run(&file, args),
        Command::Samples(args) => samples::run(&file, args),
        Command::Bench(args) => bench::run(&file, args),
    }
}

fn generate(file: &Gguf, args: &GenerateArgs) -> Result<(), Failure> {
    let device = Default::default();
    let (tokenizer, begin, end) = file::tokenizer(file)?;
    let model = file::model::<B>(file, &device)?;
    let mut prompt = vec![begin];
    prompt.extend(tokenizer.encode(&args.prompt, true));
    let room = model.config().context.saturating_sub(prompt.len());
    let mut sampler = Sampler::new(args.temperature, args.top_k, args.seed);
    let mut stream = StreamDecoder::default();
    let mut out = std::io::stdout().lock();
    let mut broken = write!(out, "{}", args.prompt).and_then(|()| out.flush());
    let each = |token| {
        if token == end {
            return false;
        }
        // A terminal that is gone ends it.
        broken = write!(out, "{}", stream.push(&tokenizer, token)).and_then(|()| out.flush());
        broken.is_ok()
    };
    let most = args.max_tokens.min(room);
    trace::precision(args.precision, || model.generate(&prompt, most, &mut sampler, &device, each))?;
    broken?;
    writeln!(out, "{}", stream.finish())?;
    Ok(())
}

impl TextArgs {
    fn tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, Failure> {
        let text = std::fs::read_to_string(&self.text).map_err(|e| format!("{}: {e}", self.text.display()))?;
        Ok(tokenizer.encode(&text, false))
    }

    /// Windows of the context's length, each led by `begin`, in which `count` tokens are predicted in all.
    fn windows(&self, tokens: &[u32], begin: u32, count: usize) -> Result<Vec<Vec<u32>>, Failure> {
        let Some(tokens) = tokens.get(..count).filter(|tokens| !tokens.is_empty()) else {
            let text = self.text.display();
            return Err(format!("{text} has {} tokens, {count} are wanted (at least 1)", tokens.len()).into());
        };
        let windows = tokens.chunks(self.context as usize - 1);
        Ok(windows.map(|part| std::iter::once(begin).chain(part.iter().copied()).collect()).collect())
    }
}
