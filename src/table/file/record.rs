//! The record of a table, in the description of a file.

use super::{Reader, TableFileError};
use crate::table::attention_table::{HeadErrors, Record};
use crate::table::fidelity::Figure;
use crate::table::refine::{Refine, Refined, check};
use serde_json::{Value, json};

/// Adds a record to the description of its table. Floats are text, which keeps them as they are.
pub(super) fn describe(record: &Record, to: &mut Value) {
    to["fidelity"] = record.fidelity.to_string().into();
    to["int8"] = record.int8.to_string().into();
    to["samples"] = format!("{:016x}", record.samples).into();
    if let Some(site) = &record.site {
        to["site"] = site.as_str().into();
    }
    if let Some(Refined { refine, fidelity, chosen }) = &record.refined {
        to["refined"] = json!({
            "dropped_mass": refine.dropped_mass.to_string(),
            "first": refine.first,
            "last": refine.last,
            "rest": refine.rest.to_string(),
            "fidelity": fidelity.to_string(),
            "chosen": [chosen.mean.to_string(), chosen.worst.to_string()],
        });
    }
    let head = |h: &HeadErrors| {
        json!({
            "head": h.head,
            "table": h.table.to_string(),
            "int8": h.int8.to_string(),
            "refined": h.refined.map(|e| e.to_string()),
        })
    };
    to["heads"] = record.heads.iter().map(head).collect();
}

impl Reader<'_> {
    pub(super) fn record(&self) -> Result<Record, TableFileError> {
        let site = match &self.description["site"] {
            Value::Null => None,
            _ => Some(self.text("site")?.to_string()),
        };
        let samples = self.text("samples")?;
        let samples = u64::from_str_radix(samples, 16).map_err(|_| self.bad("samples", "is no hash"))?;
        let refined = match &self.description["refined"] {
            Value::Null => None,
            refined => Some(Self { description: refined, ..*self }.refined()?),
        };
        let heads = self.description["heads"].as_array().ok_or_else(|| self.bad("heads", "is missing, or no list"))?;
        let heads = heads.iter().map(|h| Self { description: h, ..*self }.head()).collect::<Result<_, _>>()?;
        let (fidelity, int8) = (self.parsed("fidelity")?, self.parsed("int8")?);
        Ok(Record { site, fidelity, int8, refined, heads, samples })
    }

    fn refined(&self) -> Result<Refined, TableFileError> {
        let (dropped_mass, rest) = (self.parsed("dropped_mass")?, self.parsed("rest")?);
        let refine = Refine { dropped_mass, first: self.number("first")?, last: self.number("last")?, rest };
        check(&refine).map_err(|source| TableFileError::Parts { index: self.index, source })?;
        let share = |i: usize| {
            let share = self.description["chosen"][i].as_str().and_then(|s| s.parse::<f64>().ok());
            share.filter(|s| (0.0..=1.0).contains(s)).ok_or_else(|| self.bad("chosen", "is missing, or no two shares"))
        };
        let chosen = Figure { mean: share(0)?, worst: share(1)? };
        Ok(Refined { refine, fidelity: self.parsed("fidelity")?, chosen })
    }

    fn head(&self) -> Result<HeadErrors, TableFileError> {
        let error = |field: &str| {
            let error: f64 = self.parsed(field)?;
            if error.is_finite() { Ok(error) } else { Err(self.bad(field, format!("of a head is {error}"))) }
        };
        let refined = match &self.description["refined"] {
            Value::Null => None,
            _ => Some(error("refined")?),
        };
        Ok(HeadErrors { head: self.text("head")?.into(), table: error("table")?, int8: error("int8")?, refined })
    }
}
