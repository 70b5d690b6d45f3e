//! The words that every report has for a table.

use crate::failure::{Failure, because};
use bgz_fusion::table::{AttentionTable, file};
use std::path::Path;

/// The tables of a file; one without any is of no use.
pub fn load(path: &Path) -> Result<Vec<AttentionTable>, Failure> {
    let fail = |e: Failure| because(format!("cannot read tables from {}", path.display()), e);
    let tables = file::load(path).map_err(|e| fail(e.into()))?;
    if tables.is_empty() {
        return Err(fail("there are none in it".into()));
    }
    Ok(tables)
}

/// The attention that a table is for.
pub fn name(table: &AttentionTable) -> String {
    table.site().map_or_else(|| format!("any of d_head {}", table.d_head()), String::from)
}

/// The way in which a table is made.
pub fn method(table: &AttentionTable) -> String {
    match table {
        AttentionTable::Palette(..) => "palette".into(),
        AttentionTable::Product(t, _) => format!("product {} x {}", t.subspaces(), t.entries()),
    }
}
