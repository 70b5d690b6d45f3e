//! `bgz`: see what is recognised in a model, run it, check it, time it. Each subcommand has a file.

mod bench;
mod chart;
mod check;
mod compare;
mod dump;
mod experiments;
mod failure;
mod format;
mod gguf;
mod host;
mod inputs;
mod kernels;
mod main_job;
mod npz;
mod paced;
mod profile;
mod progress;
mod rewrite;
mod run;
mod runner;
mod shape;
mod source;
mod table;
mod tables;

use bgz_fusion::ir::Precision;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use failure::Failure;
use shape::{Case, Extent};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Makes transformer models fast on a CPU by rewriting their graph
///
/// Without a subcommand: imports, rewrites and runs the model that is built in,
/// and shows what changed.
#[derive(Debug, Parser)]
#[command(name = "bgz", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    /// Threads that run the model [default: one for each CPU]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

const EXAMPLES: &str = "\
Examples:
  bgz                                           the built-in model, before and after
  bgz rewrite model.onnx --diff                 what is recognised in a model
  bgz run model.onnx --shape batch=1,seq=128    how fast it is
  bgz check model.onnx --inputs in.npz --expect out.npz

MODEL is an ONNX file, a graph text file (.bgz, .txt), or @default for the built-in model.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a model's graph as it was imported
    #[command(after_help = DUMP_EXAMPLES)]
    Dump(DumpArgs),
    /// Print a model's graph after rewriting
    #[command(after_help = REWRITE_EXAMPLES)]
    Rewrite(RewriteArgs),
    /// Run a model: latency, peak memory, outputs
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Compare a model's outputs with expected ones
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Time the rewritten plan against the graph as imported, op by op
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(BenchArgs),
    /// Show where the time of a model goes, against what the machine can do
    #[command(after_help = PROFILE_EXAMPLES)]
    Profile(ProfileArgs),
    /// Compile attention tables for a model, and look at them
    #[command(subcommand, after_help = tables::EXAMPLES)]
    Tables(tables::TablesCommand),
    /// Measure what folding rows into 17 means keeps, beside what was claimed for it
    #[command(after_help = experiments::EXAMPLES)]
    Experiments(experiments::ExperimentsArgs),
    /// Look into a GGUF file
    #[command(subcommand, after_help = gguf::EXAMPLES)]
    Gguf(gguf::GgufCommand),
    /// List the kernels and the instruction sets of this host
    #[command(after_help = KERNELS_EXAMPLES)]
    Kernels(KernelsArgs),
}

const DUMP_EXAMPLES: &str = "\
Examples:
  bgz dump model.onnx
  bgz dump @default > graph.bgz        a file that `bgz rewrite` reads again

The text has the hash of a large constant, not its values.";

const REWRITE_EXAMPLES: &str = "\
Examples:
  bgz rewrite model.onnx                                   the text a snapshot test holds
  bgz rewrite model.onnx --diff | less
  bgz rewrite model.onnx --trace | grep skipped            what was left alone, and why
  bgz rewrite model.onnx --only canonicalise,fold-constants
  bgz rewrite graph.bgz --stop-after 12                    which rewrite goes wrong?
  bgz rewrite model.onnx --tables t.safetensors --trace    which attention may be approximate?";

const RUN_EXAMPLES: &str = "\
Examples:
  bgz run model.onnx --inputs in.npz --output out.npz
  bgz run model.onnx --shape ids=1x128                     made-up inputs of a shape
  bgz run model.onnx --shape batch=1,seq=128               the same by named dims
  bgz run model.onnx --shape seq=16 --no-rewrite
  bgz run @default --shape batch=1,seq=64 --json | jq .median_ms
  bgz run model.onnx --shape batch=1,seq=4096 --tables t.safetensors --max-error 0.03
  bgz run model.onnx --inputs in.npz --precision int8      8-bit weights, and how far that is off
  echo 5 | bgz run @default --shape ids=1x64 --paced       five runs, timed one by one

--paced is for a program that times several in turn, such as benches/peers/peers.py. One JSON object
comes first (load_ns, first_ns: loading and the first run), one comes last (peak_bytes).

Made-up inputs are the same at every run: integers from 1 to 100 (as far as they can be used as
indices), ones where the name has \"mask\" in it, floats of a normal distribution, bools true.";

const CHECK_EXAMPLES: &str = "\
Examples:
  bgz check model.onnx --inputs in.npz --expect out.npz
  bgz check model.onnx --inputs in.npz --expect out.npz --atol 1e-3 --rtol 0
  bgz check model.onnx --inputs in.npz --expect out.npz --no-rewrite
  bgz check model.onnx --inputs in.npz --expect out.npz --stop-after 12
  bgz check model.onnx --inputs in.npz --expect out.npz --tables t.safetensors --rtol 0.05

A float a passes for an expected b if |a - b| <= atol + rtol * |b|, or if both are NaN; anything
else has to be equal. The exit code is 1 if any output fails, is missing, or is not expected.";

const BENCH_EXAMPLES: &str = "\
Examples:
  bgz bench model.onnx --shape batch=1,seq=128 --threads 2
  bgz bench model.onnx --case batch=1,seq=16 --case batch=8,seq=128
  bgz bench model.onnx --shape ids=1x16 --shape mask=1x16 --json
  bgz bench model.onnx --shape batch=1,seq=4096 --tables t.safetensors
  bgz bench model.onnx --shape batch=8,seq=128 --precision int8

Everything is timed in turn, round by round, so that a change of clock hits all alike. The table
is Markdown; x is how many times faster the plan is.";

const PROFILE_EXAMPLES: &str = "\
Examples:
  bgz profile model.onnx --shape batch=1,seq=128 --threads 2
  bgz profile model.onnx --shape batch=1,seq=128 --top 0            kinds of ops only
  bgz profile model.onnx --inputs in.npz --trace t.json             for chrome://tracing or ui.perfetto.dev

A rate is that of the products of a step (a multiply-add counts twice), or of the bytes of its
operands and results, which may come from a cache. Peaks are measured first, with as many threads.";

const KERNELS_EXAMPLES: &str = "\
Examples:
  bgz kernels
  BGZ_ISA=scalar bgz kernels           scalar, avx2 or avx512 forces one
  bgz kernels --sweep exp tanh         all 2^32 inputs, on every instruction set
  bgz kernels --sweep --step 127       every function, on one input in 127";

/// Options of `bgz kernels`.
#[derive(Debug, Args)]
pub struct KernelsArgs {
    /// Compare functions with the correctly rounded value, instead of listing kernels
    #[arg(long)]
    pub sweep: bool,
    /// With --sweep: every STEP-th of the 2^32 inputs
    #[arg(long, value_name = "STEP", default_value_t = 1, requires = "sweep", value_parser = clap::value_parser!(u32).range(1..))]
    pub step: u32,
    /// With --sweep: the functions, all of them by default
    #[arg(value_name = "FUNCTION", requires = "sweep")]
    pub functions: Vec<String>,
}

/// The file that a model is given by.
#[derive(Debug, Args)]
struct DumpArgs {
    /// ONNX file, graph text file (.bgz, .txt), or @default
    model: PathBuf,
}

#[derive(Debug, Args)]
struct RewriteArgs {
    /// ONNX file, graph text file (.bgz, .txt), or @default
    model: PathBuf,
    #[command(flatten)]
    passes: PassArgs,
    #[command(flatten)]
    approximate: ApproximateArgs,
    /// Show a unified diff of the graph before and after instead
    #[arg(long)]
    diff: bool,
    /// Add what was rewritten and what was left alone, as comment lines
    #[arg(long)]
    trace: bool,
}

/// Which rewrites are done.
#[derive(Clone, Debug, Args)]
struct PassArgs {
    /// Run only these passes
    #[arg(long, value_name = "PASS,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Stop after N rewrites
    #[arg(long, value_name = "N")]
    stop_after: Option<usize>,
}

/// Error of an attention output that is put up with.
const MAX_ERROR: f64 = 0.03;

/// The permissions to compute approximately.
#[derive(Clone, Debug, Args)]
struct ApproximateArgs {
    /// Let attention take its scores from the tables in FILE, where they are good enough and faster
    #[arg(long, value_name = "FILE")]
    tables: Option<PathBuf>,
    /// Relative error of an attention output that is put up with, as measured when the tables were built
    #[arg(long, value_name = "X", default_value_t = MAX_ERROR, value_parser = tolerance, requires = "tables")]
    max_error: f64,
    /// The precision that products with constant weights may be computed in
    #[arg(long, value_parser = precision(), default_value_t = Precision::Exact)]
    precision: Precision,
}

/// Parses `--precision`, whose words are those of graph text.
fn precision() -> impl TypedValueParser<Value = Precision> {
    let about = |p| match p {
        Precision::Exact => "as the model has them",
        Precision::Bf16 => {
            "weights and rows rounded to bf16: half of the memory, faster where AVX512-BF16 is, some 0.1 % off"
        }
        Precision::Int8 => "8-bit weights, a scale a column, and 8-bit rows: about 1 % off, for some models far more",
    };
    let words = Precision::ALL.map(|p| PossibleValue::new(p.name()).help(about(p)));
    PossibleValuesParser::new(words).try_map(|word| word.parse::<Precision>())
}

/// How a model is run.
#[derive(Clone, Debug, Args)]
struct HowArgs {
    /// Run the graph as imported, op by op
    #[arg(long, conflicts_with_all = ["only", "stop_after", "tables", "precision"])]
    no_rewrite: bool,
    #[command(flatten)]
    passes: PassArgs,
    #[command(flatten)]
    approximate: ApproximateArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// ONNX file, graph text file (.bgz, .txt), or @default
    model: PathBuf,
    /// Inputs: an npz file of arrays by the names of the model's inputs
    #[arg(long, value_name = "F.npz", conflicts_with = "shape")]
    inputs: Option<PathBuf>,
    /// The shape of an input (ids=1x128) or the size of a named dim (seq=128); inputs are made up
    #[arg(long, value_name = "NAME=SHAPE,...", value_delimiter = ',', value_parser = shape::extent)]
    shape: Vec<Extent>,
    #[command(flatten)]
    how: HowArgs,
    /// Timed runs, after one that is not timed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Write the outputs to an npz file
    #[arg(long, value_name = "F.npz")]
    output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Run when told to: as often as each line of stdin says, answered by a line with the nanoseconds of each run
    #[arg(long, conflicts_with_all = ["repeat", "json"])]
    paced: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// ONNX file, graph text file (.bgz, .txt), or @default
    model: PathBuf,
    /// Inputs: an npz file of arrays by the names of the model's inputs
    #[arg(long, value_name = "F.npz")]
    inputs: PathBuf,
    /// Expected outputs: an npz file of arrays by the names of the model's outputs
    #[arg(long, value_name = "F.npz")]
    expect: PathBuf,
    /// Greatest absolute error
    #[arg(long, value_name = "X", default_value_t = 1e-4, value_parser = tolerance)]
    atol: f64,
    /// Greatest error relative to the expected value, on top of the absolute one
    #[arg(long, value_name = "X", default_value_t = 1e-4, value_parser = tolerance)]
    rtol: f64,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// ONNX file, graph text file (.bgz, .txt), or @default
    model: PathBuf,
    /// The shape of an input (ids=1x128) or the size of a named dim (seq=128)
    #[arg(long, value_name = "NAME=SHAPE,...", value_delimiter = ',', value_parser = shape::extent)]
    shape: Vec<Extent>,
    /// A row of its own, with these shapes besides those of --shape; may be repeated
    #[arg(long, value_name = "NAME=SHAPE,...", value_parser = shape::case)]
    case: Vec<Case>,
    #[command(flatten)]
    approximate: ApproximateArgs,
    /// Time spent on a row
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ProfileArgs {
    /// ONNX file, graph text file (.bgz, .txt), or @default
    model: PathBuf,
    /// Inputs: an npz file of arrays by the names of the model's inputs
    #[arg(long, value_name = "F.npz", conflicts_with = "shape")]
    inputs: Option<PathBuf>,
    /// The shape of an input (ids=1x128) or the size of a named dim (seq=128); inputs are made up
    #[arg(long, value_name = "NAME=SHAPE,...", value_delimiter = ',', value_parser = shape::extent)]
    shape: Vec<Extent>,
    #[command(flatten)]
    passes: PassArgs,
    #[command(flatten)]
    approximate: ApproximateArgs,
    /// Timed runs, after three that are not timed
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Steps to list, those that take longest
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Write the steps of a run as a Chrome trace
    #[arg(long, value_name = "F.json")]
    trace: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 on", |v| v >= 0.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, "seconds, from 0 to 3600", |v| (0.0..=3600.0).contains(&v))
}

fn number(text: &str, expected: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    text.parse().ok().filter(|&v| fits(v)).ok_or_else(|| format!("expected {expected}"))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // There is nowhere left to report that stderr is closed.
            let _ = writeln!(std::io::stderr(), "bgz: {}", failure::chain(&*e));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    host::check_isa()?;
    host::set_threads(cli.threads)?;
    match cli.command {
        None => main_job::run(),
        Some(Command::Dump(args)) => dump::run(&args),
        Some(Command::Rewrite(args)) => rewrite::run(&args),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Tables(command)) => tables::run(&command),
        Some(Command::Experiments(args)) => experiments::run(&args),
        Some(Command::Gguf(command)) => gguf::run(&command),
        Some(Command::Profile(args)) => profile::run(&args),
        Some(Command::Kernels(args)) => kernels::run(&args),
    }
}

/// Writes to stdout; a reader that has gone away is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(failure::because("cannot write to stdout", e)),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn tolerances_are_not_negative_and_not_nan() {
        assert_eq!(tolerance("1e-3"), Ok(1e-3));
        for bad in ["-1", "nan", "x", ""] {
            assert!(tolerance(bad).is_err(), "{bad}");
        }
    }
}
