//! `bgz gguf`: what is in a GGUF file.

use super::failure::{Failure, because};
use super::format::{bytes, count, grouped};
use super::table::Table;
use super::{npz, print, shape};
use bgz_fusion::DType;
use bgz_fusion::gguf::{Array, Gguf, GgufTensor, Value};
use bgz_fusion::{files, memory};
use clap::{Args, Subcommand};
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The things that are done with a GGUF file.
#[derive(Debug, Subcommand)]
pub enum GgufCommand {
    /// List the tensors: name, type, shape, size
    #[command(after_help = LS_EXAMPLES)]
    Ls(LsArgs),
    /// Print the metadata
    #[command(after_help = META_EXAMPLES)]
    Meta(MetaArgs),
    /// Write a tensor as f32 to an npy file
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
}

pub const EXAMPLES: &str = "\
Examples:
  bgz gguf ls model.gguf
  bgz gguf meta model.gguf
  bgz gguf export model.gguf --tensor token_embd.weight -o embedding.npy";

const LS_EXAMPLES: &str = "\
Examples:
  bgz gguf ls model.gguf
  bgz gguf ls model.gguf --json | jq '.tensors[] | select(.type == \"Q4_K\") | .name'

Shapes have the row last, as in NumPy. Offsets are from the beginning of the file.";

const META_EXAMPLES: &str = "\
Examples:
  bgz gguf meta model.gguf
  bgz gguf meta model.gguf --all | grep chat_template
  bgz gguf meta model.gguf --all --json | jq '.[\"tokenizer.ggml.tokens\"].value[7]'

Arrays and text are cut short without --all.";

const EXPORT_EXAMPLES: &str = "\
Examples:
  bgz gguf export model.gguf --tensor token_embd.weight -o embedding.npy
  python3 -c 'import numpy; print(numpy.load(\"embedding.npy\", mmap_mode=\"r\").shape)'

Whatever its type, the tensor is written as f32, a few rows at a time.";

/// Options of `bgz gguf ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// GGUF file
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Options of `bgz gguf meta`.
#[derive(Debug, Args)]
pub struct MetaArgs {
    /// GGUF file
    file: PathBuf,
    /// Print arrays and text in full
    #[arg(long)]
    all: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Options of `bgz gguf export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// GGUF file
    file: PathBuf,
    /// The tensor
    #[arg(long, value_name = "NAME")]
    tensor: String,
    /// The npy file to write
    #[arg(short, long, value_name = "X.npy")]
    output: PathBuf,
}

/// Items of an array that are shown without `--all`.
const ITEMS: usize = 8;

/// Characters of a text that are shown without `--all`.
const CHARACTERS: usize = 100;

/// Elements that are exported at a time, unless a row has more.
const PIECE: usize = 1 << 20;

/// Does what is asked for.
pub fn run(command: &GgufCommand) -> Result<(), Failure> {
    match command {
        GgufCommand::Ls(args) => {
            let file = open(&args.file)?;
            print(&if args.json { ls_json(&file) } else { ls_text(&args.file, &file) })
        }
        GgufCommand::Meta(args) => {
            let file = open(&args.file)?;
            print(&if args.json { meta_json(&file, args.all) } else { meta_text(&file, args.all) })
        }
        GgufCommand::Export(args) => export(args),
    }
}

/// Opens a file.
pub fn open(path: &Path) -> Result<Gguf, Failure> {
    Gguf::open(path).map_err(|e| because(format!("cannot read {}", path.display()), e))
}

fn ls_text(path: &Path, file: &Gguf) -> String {
    let tensors = file.tensors().len();
    let size: u64 = file.tensors().map(|t| t.bytes().len() as u64).sum();
    let elements: usize = file.tensors().map(|t| t.len()).fold(0, usize::saturating_add);
    let mut out = format!(
        "{}: GGUF version {}, {}, {} elements in {}\n\n",
        path.display(),
        file.version(),
        count(tensors, "tensor"),
        grouped(elements),
        bytes(size),
    );
    let mut table = Table::new(3, ["tensor", "type", "shape", "elements", "bytes", "offset"]);
    for t in file.tensors() {
        let numbers = [t.len(), t.bytes().len(), t.offset()].map(|n| n.to_string());
        table.row([plain(t.name()), t.ty().to_string(), shape::sizes(&t.shape())].into_iter().chain(numbers));
    }
    out.push_str(&table.plain(""));
    out
}

fn ls_json(file: &Gguf) -> String {
    let tensor = |t: GgufTensor<'_>| {
        json!({
            "name": t.name(), "type": t.ty().name(), "shape": t.shape(), "elements": t.len(), "bytes": t.bytes().len(),
            "offset": t.offset(),
        })
    };
    let tensors: Vec<_> = file.tensors().map(tensor).collect();
    format!("{:#}\n", json!({"version": file.version(), "alignment": file.alignment(), "tensors": tensors}))
}

fn meta_text(file: &Gguf, all: bool) -> String {
    let mut table = Table::new(3, ["key", "type", "value"]);
    for (key, value) in file.metadata().iter() {
        let ty = match value {
            Value::Array(array) => format!("{}[{}]", array.item_type(), array.len()),
            other => other.ty().to_string(),
        };
        table.row([plain(key), ty, text(value, all)]);
    }
    table.plain("")
}

/// A value on one line.
fn text(value: Value<'_>, all: bool) -> String {
    match value {
        Value::U8(v) => v.to_string(),
        Value::I8(v) => v.to_string(),
        Value::U16(v) => v.to_string(),
        Value::I16(v) => v.to_string(),
        Value::U32(v) => v.to_string(),
        Value::I32(v) => v.to_string(),
        Value::U64(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        Value::F32(v) => v.to_string(),
        Value::F64(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::String(v) => match v.char_indices().nth(CHARACTERS) {
            Some((end, _)) if !all => format!("{:?}... ({} in all)", &v[..end], bytes(v.len() as u64)),
            _ => format!("{v:?}"),
        },
        Value::Bytes(v) => text(Value::String(&String::from_utf8_lossy(v)), all),
        Value::Array(array) => {
            let mut items: Vec<String> = shown(array, all).map(|v| text(v, all)).collect();
            if items.len() < array.len() {
                items.push("...".into());
            }
            format!("[{}]", items.join(", "))
        }
    }
}

fn meta_json(file: &Gguf, all: bool) -> String {
    let entries = file.metadata().iter().map(|(key, value)| (key.to_string(), json(value, all)));
    format!("{:#}\n", serde_json::Value::Object(entries.collect()))
}

/// A value with its type; JSON has no NaN and no infinities, which become null.
fn json(value: Value<'_>, all: bool) -> serde_json::Value {
    match value {
        Value::Array(array) => {
            let items: Vec<_> = shown(array, all).map(|v| json(v, all)).map(|mut v| v["value"].take()).collect();
            json!({"type": "array", "items": array.item_type().name(), "len": array.len(), "value": items})
        }
        other => json!({"type": other.ty().name(), "value": scalar(other)}),
    }
}

fn scalar(value: Value<'_>) -> serde_json::Value {
    match value {
        // By its shortest text: as f64 it would have digits that nobody wrote.
        Value::F32(v) => v.to_string().parse::<f64>().map_or(serde_json::Value::Null, Into::into),
        Value::F64(v) => v.into(),
        Value::Bool(v) => v.into(),
        Value::String(v) => v.into(),
        Value::Bytes(v) => String::from_utf8_lossy(v).into(),
        other => match (other.as_i64(), other.as_u64()) {
            (Some(v), _) => v.into(),
            (_, v) => v.into(),
        },
    }
}

/// The items of an array that are shown.
fn shown(array: Array<'_>, all: bool) -> impl Iterator<Item = Value<'_>> {
    array.iter().take(if all { usize::MAX } else { ITEMS })
}

/// A name without control characters, which could do anything to a terminal.
fn plain(name: &str) -> String {
    if name.chars().any(char::is_control) { format!("{name:?}") } else { name.into() }
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    let file = open(&args.file)?;
    let tensor = file.tensor(&args.tensor).map_err(|e| because(args.file.display().to_string(), e))?;
    // The output may be the file that is read, which stays as long as it is read.
    files::replace(&args.output, |file| write(&tensor, file))
        .map_err(|e: Failure| because(format!("cannot write {}", args.output.display()), e))?;
    let size = bytes(tensor.len() as u64 * size_of::<f32>() as u64);
    print(&format!("{}: f32[{}], {size}\n", args.output.display(), shape::sizes(&tensor.shape())))
}

fn write(tensor: &GgufTensor<'_>, file: &mut File) -> Result<(), Failure> {
    let mut out = BufWriter::new(file);
    out.write_all(&npz::header(DType::F32, &tensor.shape()))?;
    let rows = (PIECE / tensor.row_len().max(1)).clamp(1, tensor.rows().max(1));
    let mut values = memory::collected(rows * tensor.row_len(), std::iter::repeat(0.0)).map_err(npz::no_memory)?;
    for start in (0..tensor.rows()).step_by(rows) {
        let end = tensor.rows().min(start + rows);
        let values = &mut values[..(end - start) * tensor.row_len()];
        tensor.read_rows(start..end, values)?;
        for piece in values.chunks(1024) {
            let mut bytes = [0; 4096];
            for (bytes, v) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(piece) {
                *bytes = v.to_le_bytes();
            }
            out.write_all(&bytes[..4 * piece.len()])?;
        }
    }
    Ok(out.flush()?)
}
