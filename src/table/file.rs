//! Sets of tables as safetensors files.
//!
//! The metadata has one entry, [`KEY`], with JSON: `{"version": 1, "tables": [..]}`. Table `i` has its method, `d_head`
//! and [`Record`](super::Record) there, and its arrays as tensors `i.name`. One entry, because entries have no order, and
//! equal tables are to make equal files.

mod record;

use super::attention_table::AttentionTable;
use super::error::TableError;
use super::palette::{PALETTE, PaletteParts, PaletteTable};
use super::product::{ProductParts, ProductTable};
use crate::files;
use crate::storage;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::Path;

/// The entry of the metadata that describes the tables.
pub const KEY: &str = "bgz-fusion.tables";

/// The version of the layout that is written, and read.
pub const VERSION: u64 = 1;

/// Why a file of tables could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TableFileError {
    /// The file system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no safetensors file, or damaged.
    #[error("not a safetensors file: {0}")]
    Container(#[from] SafeTensorError),
    /// There is no table in it, or nothing says how it is to be read.
    #[error("not a file of attention tables: {0}")]
    Description(String),
    /// It was written by a program that came after this one.
    #[error("layout version {0}, this program reads {VERSION}")]
    Version(u64),
    /// A table cannot be read.
    #[error("table {index}: {what} {problem}")]
    Table {
        /// Its place in the file.
        index: usize,
        /// The field or tensor.
        what: String,
        /// The fault.
        problem: String,
    },
    /// The parts of a table are no table.
    #[error("table {index}")]
    Parts {
        /// Its place in the file.
        index: usize,
        /// Why.
        source: TableError,
    },
    /// Two tables are for the same attention.
    #[error("tables {first} and {second} are both for d_head {d_head}, {}", site.as_deref().map_or("any site".into(), |s| format!("site {s:?}")))]
    Duplicate {
        /// Place of the first.
        first: usize,
        /// Place of the second.
        second: usize,
        /// Their head dimension.
        d_head: usize,
        /// Their site.
        site: Option<String>,
    },
}

/// Tables as the bytes of a file. Equal tables give equal bytes.
///
/// # Errors
/// If two are for the same attention.
pub fn to_bytes(tables: &[AttentionTable]) -> Result<Vec<u8>, TableFileError> {
    check_distinct(tables)?;
    let mut tensors = Vec::new();
    let mut described = Vec::new();
    for (i, table) in tables.iter().enumerate() {
        let mut add = |name: &str, dtype: Dtype, shape: Vec<usize>, bytes: Vec<u8>| {
            tensors.push((format!("{i}.{name}"), dtype, shape, bytes));
        };
        let mut description = match table {
            AttentionTable::Palette(t, _) => {
                let (p, d) = (t.parts(), t.d_head());
                add("mean", Dtype::F32, vec![d], f32_bytes(&p.mean));
                add("queries", Dtype::F32, vec![PALETTE, d], f32_bytes(&p.queries));
                add("keys", Dtype::F32, vec![PALETTE, d], f32_bytes(&p.keys));
                let table = p.table.iter().flat_map(|x| x.to_le_bytes()).collect();
                add("table", Dtype::U16, vec![PALETTE, PALETTE], table);
                json!({"method": "palette", "scale": p.scale.to_string(), "offset": p.offset.to_string()})
            }
            AttentionTable::Product(t, _) => {
                let (p, d) = (t.parts(), t.d_head());
                let (m, c, d_sub) = (p.subspaces, p.entries, d / p.subspaces);
                add("permutation", Dtype::U32, vec![d], p.permutation.iter().flat_map(|x| x.to_le_bytes()).collect());
                add("mean", Dtype::F32, vec![d], f32_bytes(&p.mean));
                add("codebook", Dtype::F32, vec![m, c, d_sub], f32_bytes(&p.codebook));
                add("metric", Dtype::F32, vec![m, d_sub, d_sub], f32_bytes(&p.metric));
                json!({"method": "product", "subspaces": m, "entries": c, "rotary": p.rotary.to_string()})
            }
        };
        let record = table.record();
        description["d_head"] = table.d_head().into();
        record::describe(record, &mut description);
        described.push(description);
    }
    let text = json!({"version": VERSION, "tables": described}).to_string();
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, SafeTensorError>>()?;
    Ok(safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), text)])))?)
}

/// Writes tables to a file, which is replaced as a whole: a program that has the old one mapped keeps it.
///
/// # Errors
/// If two tables are for the same attention, or the file cannot be written.
pub fn save(path: &Path, tables: &[AttentionTable]) -> Result<(), TableFileError> {
    let bytes = to_bytes(tables)?;
    Ok(files::replace(path, |file| file.write_all(&bytes))?)
}

/// Reads the tables of a file.
///
/// # Errors
/// If it cannot be read, or anything in it is not as it should be.
pub fn load(path: &Path) -> Result<Vec<AttentionTable>, TableFileError> {
    let bytes = storage::read(path)?;
    if bytes.is_empty() {
        return Err(TableFileError::Description("it is empty".into()));
    }
    from_bytes(&bytes)
}

/// Reads tables from the bytes of a file.
///
/// # Errors
/// If anything in them is not as it should be.
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<AttentionTable>, TableFileError> {
    let file = SafeTensors::deserialize(bytes)?;
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let bad = |message: &str| TableFileError::Description(message.into());
    let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let text = text.ok_or_else(|| TableFileError::Description(format!("the metadata has no {KEY:?}")))?;
    let description: Value =
        serde_json::from_str(text).map_err(|e| TableFileError::Description(format!("{KEY:?}: {e}")))?;
    match description["version"].as_u64() {
        Some(VERSION) => {}
        Some(other) => return Err(TableFileError::Version(other)),
        None => return Err(bad("no version")),
    }
    let described = description["tables"].as_array().ok_or_else(|| bad("no list of tables"))?;
    let read = |(index, description)| Reader { index, description, file: &file }.table();
    let tables = described.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    check_distinct(&tables)?;
    Ok(tables)
}

fn check_distinct(tables: &[AttentionTable]) -> Result<(), TableFileError> {
    let mut seen = HashSet::new();
    for (second, t) in tables.iter().enumerate() {
        if !seen.insert((t.d_head(), t.site())) {
            let same = |o: &AttentionTable| (o.d_head(), o.site()) == (t.d_head(), t.site());
            let first = tables.iter().position(same).unwrap_or(second);
            let site = t.site().map(String::from);
            return Err(TableFileError::Duplicate { first, second, d_head: t.d_head(), site });
        }
    }
    Ok(())
}

/// One table of a file.
struct Reader<'a> {
    index: usize,
    description: &'a Value,
    file: &'a SafeTensors<'a>,
}

impl<'a> Reader<'a> {
    fn bad(&self, what: impl Into<String>, problem: impl Into<String>) -> TableFileError {
        TableFileError::Table { index: self.index, what: what.into(), problem: problem.into() }
    }

    fn text(&self, field: &str) -> Result<&'a str, TableFileError> {
        self.description[field].as_str().ok_or_else(|| self.bad(field, "is missing, or no text"))
    }

    fn parsed<T: std::str::FromStr<Err: ToString>>(&self, field: &str) -> Result<T, TableFileError> {
        let text = self.text(field)?;
        text.parse().map_err(|e: T::Err| self.bad(field, format!("is {text:?}: {}", e.to_string())))
    }

    fn number(&self, field: &str) -> Result<usize, TableFileError> {
        let n = self.description[field].as_u64().and_then(|n| usize::try_from(n).ok());
        n.ok_or_else(|| self.bad(field, "is missing, or no size"))
    }

    fn values<const N: usize, T>(
        &self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        from: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, TableFileError> {
        let tensor = format!("{}.{name}", self.index);
        let view = self.file.tensor(&tensor).map_err(|_| self.bad(format!("tensor {tensor:?}"), "is missing"))?;
        if view.dtype() != dtype || view.shape() != shape {
            let problem = format!("is {:?}{:?}, not {dtype:?}{shape:?}", view.dtype(), view.shape());
            return Err(self.bad(format!("tensor {tensor:?}"), problem));
        }
        let (values, _) = view.data().as_chunks::<N>();
        Ok(values.iter().map(|b| from(*b)).collect())
    }

    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, TableFileError> {
        self.values(name, Dtype::F32, shape, f32::from_le_bytes)
    }

    fn table(&self) -> Result<AttentionTable, TableFileError> {
        let parts = |source| TableFileError::Parts { index: self.index, source };
        let d = self.number("d_head")?;
        let record = self.record()?;
        match self.text("method")? {
            "palette" => {
                let table = PaletteTable::from_parts(PaletteParts {
                    d_head: d,
                    mean: self.floats("mean", &[d])?,
                    queries: self.floats("queries", &[PALETTE, d])?,
                    keys: self.floats("keys", &[PALETTE, d])?,
                    table: self.values("table", Dtype::U16, &[PALETTE, PALETTE], u16::from_le_bytes)?,
                    scale: self.parsed("scale")?,
                    offset: self.parsed("offset")?,
                });
                Ok(AttentionTable::Palette(table.map_err(parts)?, record))
            }
            "product" => {
                let (subspaces, entries) = (self.number("subspaces")?, self.number("entries")?);
                let rotary: super::Rotary = self.parsed("rotary")?;
                // Says what is wrong with a cut before tensors of its shape are looked for.
                rotary.permutation(d, subspaces).map_err(parts)?;
                let d_sub = d / subspaces;
                let table = ProductTable::from_parts(ProductParts {
                    entries,
                    subspaces,
                    rotary,
                    permutation: self.values("permutation", Dtype::U32, &[d], u32::from_le_bytes)?,
                    mean: self.floats("mean", &[d])?,
                    codebook: self.floats("codebook", &[subspaces, entries, d_sub])?,
                    metric: self.floats("metric", &[subspaces, d_sub, d_sub])?,
                });
                Ok(AttentionTable::Product(table.map_err(parts)?, record))
            }
            other => Err(self.bad("method", format!("is {other:?}, which is not known"))),
        }
    }
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}
