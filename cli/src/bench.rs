//! `bgz bench`: the rewritten plan and the graph as imported, op by op, in turn.

use super::failure::{Failure, because};
use super::progress::Progress;
use super::runner::{self, Times};
use super::shape::{Case, sizes};
use super::source;
use super::table::Table;
use super::{BenchArgs, compare, format, host, inputs, print};
use bgz_fusion::ir::Graph;
use bgz_fusion::{Model, Tensor};
use serde_json::{Value, json};
use std::time::Duration;

/// Rounds of a row at the least, however long they take.
const ROUNDS: usize = 5;

/// One row.
struct Row {
    label: String,
    plan: Times,
    /// Op by op, as imported.
    by_ops: Times,
    /// Greatest difference of the plan's outputs from those.
    difference: f64,
}

/// Times every case and prints a table.
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    let progress = Progress::new("importing");
    let tables = source::tables(&args.approximate)?;
    let mut model = source::load(&args.model)?;
    let imported = model.graph().clone();
    progress.say("rewriting");
    model.rewrite(&source::whole(&args.approximate, tables.as_ref()))?;
    if let Some(tables) = &tables {
        tables.check(model.graph())?;
    }

    let cases = if args.case.is_empty() { vec![Case::default()] } else { args.case.clone() };
    let mut rows = Vec::new();
    for case in cases {
        let case = Case(args.shape.iter().cloned().chain(case.0).collect());
        let given = inputs::generate(&imported, &case.0)?;
        let label = match case.0.is_empty() {
            true => given.iter().map(|(n, t)| format!("{n}={}", sizes(t.shape()))).collect::<Vec<_>>().join(","),
            false => case.to_string(),
        };
        let inputs = inputs::ordered(&given, |named| model.order_inputs(named))?;
        let row = row(&imported, &model, &inputs, &label, args, &progress);
        rows.push(row.map_err(|e| because(label, e))?);
    }
    drop(progress);
    let json = || as_json(&imported, model.graph(), &rows);
    print(&if args.json { json() } else { as_text(&imported, model.graph(), &rows) })
}

fn row(
    imported: &Graph,
    model: &Model,
    inputs: &[Tensor],
    label: &str,
    args: &BenchArgs,
    progress: &Progress,
) -> Result<Row, Failure> {
    progress.say(format!("{label}: planning"));
    let as_imported = Model::from_graph(imported.clone());
    let mut runners = [runner::by_plan(model, inputs)?, runner::by_ops(&as_imported, inputs)?];
    let budget = Duration::from_secs_f64(args.seconds);
    let times = runner::interleaved(&mut runners, ROUNDS, budget, |round| {
        progress.say(format!("{label}: round {}", round + 1));
    })?;
    let [plan, by_ops] = <[Times; 2]>::try_from(times).map_err(|_| "internal error: there are not two runners")?;
    let difference = difference(runners[0].outputs(), runners[1].outputs())?;
    Ok(Row { label: label.into(), plan, by_ops, difference })
}

/// The greatest absolute difference over all outputs.
fn difference(got: &[Tensor], want: &[Tensor]) -> Result<f64, Failure> {
    let mut most = 0.0f64;
    for (a, b) in got.iter().zip(want) {
        let d = compare::compare(a, b, 0.0, 0.0)
            .ok_or_else(|| format!("the plan makes {}, the graph as imported {}", a.ty(), b.ty()))?;
        most = if d.max_abs.is_nan() { f64::NAN } else { most.max(d.max_abs) };
        if most.is_nan() {
            break;
        }
    }
    Ok(most)
}

impl Row {
    fn ratio(&self) -> f64 {
        self.by_ops.median().as_secs_f64() / self.plan.median().as_secs_f64().max(1e-9)
    }
}

fn as_text(imported: &Graph, rewritten: &Graph, rows: &[Row]) -> String {
    let mut table = Table::new(1, ["shapes", "plan", "op by op", "x", "max abs diff"]);
    for r in rows {
        let cell = |t: &Times| format!("{} ({})", format::ms(t.median()), format::ms(t.min()));
        let ratio = format!("{:.2}", r.ratio());
        table.row([r.label.clone(), cell(&r.plan), cell(&r.by_ops), ratio, format::number(r.difference)]);
    }
    let rounds = rows.iter().map(|r| r.plan.len()).min().unwrap_or(0);
    format!(
        "{}: {}, rewritten to {}; {}, {}; ms, median (min) of {rounds} rounds or more\n\n{}",
        imported.name,
        format::count(imported.len(), "op"),
        rewritten.len(),
        host::cpu(),
        format::count(host::threads(), "thread"),
        table.markdown()
    )
}

fn as_json(imported: &Graph, rewritten: &Graph, rows: &[Row]) -> String {
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    let times = |t: &Times| json!({ "median_ms": ms(t.median()), "min_ms": ms(t.min()) });
    let row = |r: &Row| {
        json!({
            "shapes": r.label, "rounds": r.plan.len(), "plan": times(&r.plan), "op_by_op": times(&r.by_ops),
            "ratio": r.ratio(), "max_abs_diff": r.difference,
        })
    };
    let rows: Vec<Value> = rows.iter().map(row).collect();
    let object = json!({
        "model": imported.name,
        "cpu": host::cpu(),
        "threads": host::threads(),
        "imported_ops": imported.len(),
        "ops": rewritten.len(),
        "rows": rows,
    });
    format!("{object:#}\n")
}
