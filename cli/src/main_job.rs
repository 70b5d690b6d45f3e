//! `bgz` alone: the built-in model, imported, rewritten and run both ways.

use super::failure::Failure;
use super::progress::Progress;
use super::runner::{self, Runner};
use super::table::Table;
use super::{compare, format, host, inputs, print, shape, source};
use bgz_fusion::ir::{Graph, ValueId};
use bgz_fusion::{Pipeline, Report};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The case that the model is run at.
const CASE: &str = "batch=1,seq=128";

/// Timed runs of each way.
const ROUNDS: usize = 9;

/// Kinds of ops that are listed.
const KINDS: usize = 12;

/// Imports, rewrites, runs both, and shows what changed.
pub fn run() -> Result<(), Failure> {
    let progress = Progress::new("importing");
    let mut model = source::load(Path::new(source::DEFAULT_NAME))?;
    let imported = model.graph().clone();
    let given = inputs::generate(&imported, &shape::case(CASE)?.0)?;
    let inputs = inputs::ordered(&given, |named| model.order_inputs(named))?;
    let by_ops = runner::by_ops(&model, &inputs)?;
    progress.say("rewriting");
    let report = model.rewrite(&Pipeline::exact())?;
    progress.say("running");
    let by_plan = runner::by_plan(&model, &inputs)?;
    let mut runners = vec![by_ops, by_plan];
    let times = runner::interleaved(&mut runners, ROUNDS, Duration::ZERO, |_| ())?;
    let [by_ops, by_plan] = &runners[..] else { return Err("internal error: there are not two runners".into()) };

    let mut out = summary(&imported);
    out.push_str(&passes(&imported, model.graph(), &report));
    out.push_str(&kinds(&imported, model.graph()));
    let threads = format::count(host::threads(), "thread");
    out.push_str(&format!("\nLatency at {CASE}, {threads} of {}\n", host::cpu()));
    let mut table = Table::new(1, ["", "median ms", "min ms", "x"]);
    let median = |i: usize| times.get(i).map_or(Duration::ZERO, |t| t.median());
    for (i, name) in ["op by op, as imported", "rewritten plan"].into_iter().enumerate() {
        let min = times.get(i).map_or(Duration::ZERO, |t| t.min());
        let ratio = median(0).as_secs_f64() / median(i).as_secs_f64().max(1e-9);
        table.row([name.to_string(), format::ms(median(i)), format::ms(min), format!("{ratio:.2}")]);
    }
    out.push_str(&table.plain("  "));
    out.push_str(&differences(&imported, by_plan, by_ops)?);
    out.push_str(NEXT);
    drop(progress);
    print(&out)
}

const NEXT: &str = "
What to try next
  bgz rewrite @default --diff                    what was recognised, as graph text
  bgz rewrite @default --trace | grep skipped    what was left alone, and why
  bgz run model.onnx --shape batch=1,seq=128     a model of yours
  bgz bench model.onnx --shape batch=1,seq=128   against the graph as imported, op by op
  bgz --help
";

fn values(graph: &Graph, values: impl Iterator<Item = (String, ValueId)>) -> String {
    values.map(|(name, v)| format!("{name}: {}", graph.ty(v))).collect::<Vec<_>>().join(", ")
}

fn summary(graph: &Graph) -> String {
    let (mut parameters, mut bytes) = (0, 0);
    graph.each_graph(&mut |g| {
        for (_, c) in g.constants().filter(|(_, c)| c.dtype().is_float() && c.len() > 1) {
            parameters += c.len();
            bytes += c.len() * c.dtype().size();
        }
    });
    format!(
        "Model {}, built in ({} file)\n  inputs      {}\n  outputs     {}\n  parameters  {} ({})\n",
        graph.name,
        format::bytes(source::DEFAULT.len() as u64),
        values(graph, graph.inputs().iter().map(|&v| (graph.name(v).to_string(), v))),
        values(graph, graph.outputs().iter().map(|o| (o.name.to_string(), o.value))),
        format::grouped(parameters),
        format::bytes(bytes as u64),
    )
}

fn passes(before: &Graph, after: &Graph, report: &Report) -> String {
    let mut table = Table::new(1, ["pass", "rewrites", "ops before", "ops after"]);
    for p in report.passes.iter().filter(|p| p.rewrites > 0) {
        table.row([p.pass.to_string(), p.rewrites.to_string(), p.before.to_string(), p.after.to_string()]);
    }
    let all = [report.rewrites().to_string(), before.len().to_string(), after.len().to_string()];
    table.row(["all".to_string()].into_iter().chain(all));
    let idle = report.passes.iter().filter(|p| p.rewrites == 0).count();
    format!("\nRewritten by pass ({idle} with nothing to do)\n{}", table.plain("  "))
}

fn kinds(before: &Graph, after: &Graph) -> String {
    let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for (i, graph) in [before, after].into_iter().enumerate() {
        graph.each_graph(&mut |g| {
            for (_, node) in g.nodes() {
                counts.entry(node.op.mnemonic()).or_default()[i] += 1;
            }
        });
    }
    let mut sorted: Vec<_> = counts.into_iter().collect();
    // The most frequent op of the imported graph comes first; new ops come at the end, by their number.
    sorted.sort_by_key(|(_, n)| std::cmp::Reverse(n[0] + n[1]));
    let rest = sorted.split_off(sorted.len().min(KINDS));
    sorted.sort_by_key(|(_, n)| (n[0] == 0, std::cmp::Reverse(*n)));
    let mut table = Table::new(1, ["op", "before", "after"]);
    for (op, n) in sorted {
        table.row([op].into_iter().chain(n.map(|n| if n == 0 { "-".into() } else { n.to_string() })));
    }
    if !rest.is_empty() {
        let sum = |i: usize| rest.iter().map(|(_, n)| n[i]).sum::<usize>().to_string();
        table.row([format::count(rest.len(), "other kind"), sum(0), sum(1)]);
    }
    format!("\nOps\n{}", table.plain("  "))
}

fn differences(graph: &Graph, got: &Runner, want: &Runner) -> Result<String, Failure> {
    let mut out = String::from("\nGreatest difference between the two\n");
    for (o, (a, b)) in graph.outputs().iter().zip(got.outputs().iter().zip(want.outputs())) {
        let d = compare::compare(a, b, 0.0, 0.0)
            .ok_or_else(|| format!("output {} is {} rewritten and {} before", o.name, a.ty(), b.ty()))?;
        out.push_str(&format!("  {}: {}, cosine {:.7}\n", o.name, format::number(d.max_abs), d.cosine));
    }
    Ok(out)
}
