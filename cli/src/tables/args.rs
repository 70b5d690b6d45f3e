//! The arguments of `bgz tables`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The things that are done with tables.
#[derive(Debug, Subcommand)]
pub enum TablesCommand {
    /// Learn tables from what a model's attention sees on calibration inputs, and measure them
    #[command(after_help = BUILD_EXAMPLES)]
    Build(BuildArgs),
    /// Measure every way of scoring on what a model's attention sees, without writing a table
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareArgs),
    /// Make tables of a GGUF file's attention weights, and measure what they are worth
    #[command(after_help = FROM_GGUF_EXAMPLES)]
    FromGguf(FromGgufArgs),
    /// Print what is known of the tables in a file
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Draw the error of every head against bytes per key, as SVG
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
}

pub const EXAMPLES: &str = "\
Examples:
  bgz tables build model.onnx --inputs calib.npz -o tables.safetensors
  bgz tables show tables.safetensors
  bgz tables compare model.onnx --inputs calib.npz
  bgz tables from-gguf model.gguf
  bgz rewrite model.onnx --tables tables.safetensors --max-error 0.03 --trace";

const BUILD_EXAMPLES: &str = "\
Examples:
  bgz tables build model.onnx --inputs calib.npz -o t.safetensors
  bgz tables build model.onnx --inputs a.npz --inputs b.npz -o t.safetensors --per site
  bgz tables build model.onnx --inputs calib.npz -o t.safetensors --method product256 --subspaces 8
  bgz tables build model.onnx --inputs calib.npz -o t.safetensors --max-error 0.01 --rest scored

An npz file has arrays by the names of the model's inputs. Each entry of the batch is a window; the
last windows of each head are held out, so at least two are needed, and better some forty of a few
hundred positions each. Padding that the model's mask hides is left out.

A table is recorded with the refinement that scores fewest keys exactly and keeps the error of the
worst head within --max-error on what was held out; without one that does, only the table itself.";

const COMPARE_EXAMPLES: &str = "\
Examples:
  bgz tables compare model.onnx --inputs calib.npz
  bgz tables compare model.onnx --inputs calib.npz --subspaces 8 --max-error 0.05

Figures are of held-out windows, worst head (mean of heads). Refined: the table chooses the keys that are
scored exactly.";

const FROM_GGUF_EXAMPLES: &str = "\
Examples:
  bgz tables from-gguf model.gguf
  bgz tables from-gguf model.gguf --layers 0,17 --json | jq '.heads[].rho'
  bgz tables from-gguf model.gguf --samples collected.npz --window 256

For each layer and head: rows of the matrices of queries and keys (blk.N.attn_q.weight, attn_k.weight), folded into
17 means each, a palette of 256 of those, the distances between its entries, and how well these follow the
distances and the dot products of the rows themselves.

An npz file of --samples has what attention worked on when the model read a text: layerN.q [tokens, heads, d],
layerN.k and layerN.v [tokens, kv_heads, d], f32, after any rotation and before the scale. With it, the same table
codes real queries and keys, beside tables that were learned from them. No table is written: none made of weights
is worth it.";

const SHOW_EXAMPLES: &str = "\
Examples:
  bgz tables show t.safetensors
  bgz tables show t.safetensors --json | jq '.tables[].refined'

Errors are relative L2 errors of attention outputs on held-out windows, worst head (mean of heads).";

const REPORT_EXAMPLES: &str = "\
Examples:
  bgz tables report t.safetensors -o tables.svg
  bgz tables report product16.safetensors product256.safetensors -o compared.svg";

/// The inputs that tables are learned from.
#[derive(Debug, Args)]
pub struct CalibrationArgs {
    /// ONNX file, graph text file (.bgz, .txt), or @default
    pub model: PathBuf,
    /// Calibration inputs; may be repeated
    #[arg(long, value_name = "F.npz", required = true)]
    pub inputs: Vec<PathBuf>,
    /// Share of the windows that tables are measured on
    #[arg(long, value_name = "F", default_value_t = 0.25, value_parser = share)]
    pub held_out: f64,
    /// Seed of the codebooks
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// Options of `bgz tables compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    pub calibration: CalibrationArgs,
    /// Subspaces of product tables of 256 entries [default: a quarter as many as dims]; those of 16 have twice as many
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u16).range(1..=128))]
    pub subspaces: Option<u16>,
    /// Error of the worst head that a refinement keeps
    #[arg(long, value_name = "X", default_value_t = crate::MAX_ERROR, value_parser = crate::tolerance)]
    pub max_error: f64,
}

/// Options of `bgz tables build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    pub calibration: CalibrationArgs,
    /// The file to write
    #[arg(short, long, value_name = "T.safetensors")]
    pub output: PathBuf,
    /// Product tables of 16, 128 or 256 entries a subspace, or one table of pairs of palette rows
    #[arg(long, value_enum, default_value_t = Kind::Product16)]
    pub method: Kind,
    /// Subspaces of a product table [default: half as many as dims for 16 entries, else a quarter]
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u16).range(1..=257))]
    pub subspaces: Option<u16>,
    /// Dims of a head that are rotated together, and so stay in one subspace
    #[arg(long, value_enum, default_value_t = Pairs::None)]
    pub rotary: Pairs,
    /// One table for each attention, or for all of a head dimension
    #[arg(long, value_enum, default_value_t = Per::HeadDim)]
    pub per: Per,
    /// Error of the worst head that a refinement keeps
    #[arg(long, value_name = "X", default_value_t = crate::MAX_ERROR, value_parser = crate::tolerance)]
    pub max_error: f64,
    /// The fate of keys that are not scored exactly
    #[arg(long, value_enum, default_value_t = Others::Dropped)]
    pub rest: Others,
    /// Look for no refinement
    #[arg(long)]
    pub no_refine: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `bgz tables from-gguf`.
#[derive(Debug, Args)]
pub struct FromGgufArgs {
    /// GGUF file
    pub file: PathBuf,
    /// Queries, keys and values of the model on a text, causal
    #[arg(long, value_name = "F.npz")]
    pub samples: Option<PathBuf>,
    /// Only these layers, from 0 on
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    pub layers: Vec<usize>,
    /// Tokens of a window of the samples
    #[arg(long, value_name = "N", default_value_t = 256, requires = "samples")]
    pub window: usize,
    /// Share of the windows that tables are measured on
    #[arg(long, value_name = "F", default_value_t = 0.25, value_parser = share, requires = "samples")]
    pub held_out: f64,
    /// Factor of the scores [default: 1 / sqrt(d)]
    #[arg(long, value_name = "X", value_parser = factor, requires = "samples")]
    pub scale: Option<f32>,
    /// Seed of the palettes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `bgz tables show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A file of tables
    pub tables: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `bgz tables report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Files of tables
    #[arg(required = true)]
    pub tables: Vec<PathBuf>,
    /// The SVG file to write
    #[arg(short, long, value_name = "OUT.svg")]
    pub output: PathBuf,
}

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    #[value(name = "product16")]
    Product16,
    #[value(name = "product128")]
    Product128,
    #[value(name = "product256")]
    Product256,
    Palette,
}

/// The attentions that a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Per {
    Site,
    HeadDim,
}

/// Rotary pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pairs {
    /// Any dims may be parted
    None,
    /// Dims 2i and 2i + 1
    Interleaved,
    /// Dims i and i + half
    Halves,
}

/// Keys that are not scored exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Others {
    /// They get no weight
    Dropped,
    /// They keep the score of the table
    Scored,
}

fn share(text: &str) -> Result<f64, String> {
    crate::number(text, "a share, more than 0 and less than 1", |v| v > 0.0 && v < 1.0)
}

fn factor(text: &str) -> Result<f32, String> {
    crate::number(text, "a number above 0", |v| v > 0.0 && v <= f64::from(f32::MAX)).map(|v| v as f32)
}
