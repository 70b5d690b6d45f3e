//! `bgz bench`: the rewritten plan and the inner backends op by op, in turn.

use super::failure::{Failure, because};
use super::progress::Progress;
use super::runner::{self, Runner, Times};
use super::shape::{Case, sizes};
use super::source;
use super::table::Table;
use super::{Backend, BenchArgs, compare, format, host, inputs, print};
use bgz_fusion::ir::Graph;
use bgz_fusion::{Model, Tensor};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Rounds of a row at the least, however long they take.
const ROUNDS: usize = 5;

/// One row.
struct Row {
    label: String,
    plan: Times,
    /// Op by op, in the order of the backends.
    inner: Vec<Times>,
    /// Greatest difference of the plan's outputs from those of the first backend.
    difference: f64,
}

/// Times every case and prints a table.
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    let progress = Progress::new("importing");
    let tables = source::tables(&args.approximate)?;
    let backends = backends(args);
    let mut model = source::load(&args.model, backends.first().copied().unwrap_or(Backend::Flex))?;
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
        let row = row(&imported, &model, &backends, &inputs, &label, args, &progress);
        rows.push(row.map_err(|e| because(label, e))?);
    }
    drop(progress);
    let json = || as_json(&imported, model.graph(), &backends, &rows);
    print(&if args.json { json() } else { as_text(&imported, model.graph(), &backends, &rows) })
}

/// Those asked for, each once.
fn backends(args: &BenchArgs) -> Vec<Backend> {
    let mut out: Vec<Backend> = Vec::new();
    for &b in &args.backend {
        if !out.contains(&b) {
            out.push(b);
        }
    }
    out
}

fn row(
    imported: &Graph,
    model: &Model,
    backends: &[Backend],
    inputs: &[Tensor],
    label: &str,
    args: &BenchArgs,
    progress: &Progress,
) -> Result<Row, Failure> {
    progress.say(format!("{label}: planning"));
    let mut runners: Vec<Box<dyn Runner>> = vec![runner::by_plan(model, inputs)?];
    for &b in backends {
        runners.push(runner::by_ops_on(b, imported, inputs)?);
    }
    let budget = Duration::from_secs_f64(args.seconds);
    let times = runner::interleaved(&mut runners, ROUNDS, budget, |round| {
        progress.say(format!("{label}: round {}", round + 1));
    })?;
    let mut times = times.into_iter();
    let plan = times.next().unwrap_or_default();
    let difference = match &runners[..] {
        [plan, inner, ..] => difference(plan.outputs(), inner.outputs())?,
        _ => 0.0,
    };
    Ok(Row { label: label.into(), plan, inner: times.collect(), difference })
}

/// The greatest absolute difference over all outputs.
fn difference(got: &[Tensor], want: &[Tensor]) -> Result<f64, Failure> {
    let mut most = 0.0f64;
    for (a, b) in got.iter().zip(want) {
        let d = compare::compare(a, b, 0.0, 0.0)
            .ok_or_else(|| format!("the plan makes {}, the backend {}", a.ty(), b.ty()))?;
        most = if d.max_abs.is_nan() { f64::NAN } else { most.max(d.max_abs) };
        if most.is_nan() {
            break;
        }
    }
    Ok(most)
}

fn ratio(inner: &Times, plan: &Times) -> f64 {
    inner.median().as_secs_f64() / plan.median().as_secs_f64().max(1e-9)
}

fn as_text(imported: &Graph, rewritten: &Graph, backends: &[Backend], rows: &[Row]) -> String {
    let first = backends.first().map_or("flex", |b| b.name());
    let mut head = vec!["shapes".to_string(), "plan".into()];
    for b in backends {
        head.extend([b.to_string(), "x".into()]);
    }
    head.push(format!("max abs diff to {first}"));
    let mut table = Table::new(1, head);
    for r in rows {
        let cell = |t: &Times| format!("{} ({})", format::ms(t.median()), format::ms(t.min()));
        let mut cells = vec![r.label.clone(), cell(&r.plan)];
        for t in &r.inner {
            cells.extend([cell(t), format!("{:.2}", ratio(t, &r.plan))]);
        }
        cells.push(format::number(r.difference));
        table.row(cells);
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

fn as_json(imported: &Graph, rewritten: &Graph, backends: &[Backend], rows: &[Row]) -> String {
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    let times = |t: &Times| json!({ "median_ms": ms(t.median()), "min_ms": ms(t.min()) });
    let rows: Vec<Value> = rows
        .iter()
        .map(|r| {
            let inner: Map<String, Value> = backends
                .iter()
                .zip(&r.inner)
                .map(|(b, t)| {
                    let mut entry = times(t);
                    entry["ratio"] = json!(ratio(t, &r.plan));
                    (b.to_string(), entry)
                })
                .collect();
            json!({
                "shapes": r.label, "rounds": r.plan.len(), "plan": times(&r.plan), "op_by_op": inner,
                "max_abs_diff": r.difference,
            })
        })
        .collect();
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
