//! `bgz tables show`: what is known of tables.

use super::args::ShowArgs;
use super::known::{load, method, name};
use crate::failure::Failure;
use crate::print;
use crate::table::Table;
use bgz_fusion::table::{AttentionTable, Fidelity, Figure, OutputFidelity};
use serde_json::{Value, json};
use std::path::Path;

/// Prints the tables of a file.
pub fn run(args: &ShowArgs) -> Result<(), Failure> {
    let tables = load(&args.tables)?;
    print(&if args.json { as_json(&tables) } else { as_text(&args.tables, &tables) })
}

pub fn as_text(path: &Path, tables: &[AttentionTable]) -> String {
    let mut out = format!("{}: {}\n\n", path.display(), crate::format::count(tables.len(), "table"));
    let head = ["for", "method", "worst head", "d_head", "bytes/key", "error", "int8 error"];
    let mut errors = Table::new(3, head.into_iter().chain(["refined", "top-1", "keys exact", "dropped mass"]));
    let mut scores = Table::new(1, ["for", "top-1", "spearman", "pearson", "KL", "heads", "samples"]);
    for t in tables {
        let (record, f) = (t.record(), t.fidelity());
        let refined = match &record.refined {
            Some(r) => [
                percent(r.fidelity.output_error),
                share(r.fidelity.top1),
                percent(r.chosen),
                r.refine.dropped_mass.to_string(),
            ],
            None => ["-"; 4].map(String::from),
        };
        let worst = record.refined.as_ref().map_or(&f.worst_head, |r| &r.fidelity.worst_head);
        let about = [name(t), method(t), worst.clone(), t.d_head().to_string(), t.bytes_per_key().to_string()];
        let own = [percent(f.output_error), percent(record.int8.output_error)];
        errors.row(about.into_iter().chain(own).chain(refined));
        let figures = [share(f.top1), share(f.spearman), share(f.pearson), share(f.kl), f.heads.to_string()];
        scores.row([name(t)].into_iter().chain(figures).chain([format!("{:016x}", record.samples)]));
    }
    out.push_str("Attention outputs: relative L2 error and keys scored exactly in percent, worst head (mean)\n");
    out.push_str(&errors.plain("  "));
    out.push_str("\nScores of the table alone, worst head (mean)\n");
    out.push_str(&scores.plain("  "));
    out
}

/// A share in percent, worst head (mean).
pub fn percent(f: Figure) -> String {
    format!("{:.2} ({:.2})", f.worst * 100.0, f.mean * 100.0)
}

/// A figure, worst head (mean).
pub fn share(f: Figure) -> String {
    format!("{:.3} ({:.3})", f.worst, f.mean)
}

pub fn as_json(tables: &[AttentionTable]) -> String {
    let figure = |f: Figure| json!({"mean": f.mean, "worst": f.worst});
    let fidelity = |f: &Fidelity| {
        json!({
            "output_error": figure(f.output_error), "top1": figure(f.top1), "spearman": figure(f.spearman),
            "pearson": figure(f.pearson), "kl": figure(f.kl), "worst_head": f.worst_head,
        })
    };
    let output = |f: &OutputFidelity| json!({"output_error": figure(f.output_error), "top1": figure(f.top1), "worst_head": f.worst_head});
    let one = |t: &AttentionTable| {
        let record = t.record();
        let refined = record.refined.as_ref().map(|r| {
            json!({
                "dropped_mass": r.refine.dropped_mass, "first": r.refine.first, "last": r.refine.last,
                "rest": r.refine.rest.to_string(), "chosen": figure(r.chosen), "fidelity": output(&r.fidelity),
            })
        });
        let heads: Vec<Value> = record
            .heads
            .iter()
            .map(|h| json!({"head": h.head, "table": h.table, "int8": h.int8, "refined": h.refined}))
            .collect();
        json!({
            "site": t.site(), "d_head": t.d_head(), "method": method(t), "bytes_per_key": t.bytes_per_key(),
            "samples": format!("{:016x}", record.samples), "fidelity": fidelity(t.fidelity()),
            "int8": fidelity(&record.int8), "refined": refined, "heads": heads,
        })
    };
    format!("{:#}\n", json!({"tables": tables.iter().map(one).collect::<Vec<_>>()}))
}
