//! `bgz run`: latency, memory and outputs of a model.

use super::compare::{self, Difference};
use super::failure::{Failure, because};
use super::progress::Progress;
use super::runner::{self, Ready, Times};
use super::table::Table;
use super::{ApproximateArgs, HowArgs, Precision, RunArgs, format, host, inputs, npz, paced, print};
use bgz_fusion::Tensor;
use serde_json::{Value, json};
use std::time::Duration;

/// Elements of an output that are shown.
const SHOWN: usize = 4;

/// Runs the model and reports.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let progress = Progress::new("importing");
    let resident = host::resident_bytes();
    check_output(args)?;
    let mut ready = runner::prepare(
        &args.model,
        &args.how,
        |stage| progress.say(stage),
        |graph| match &args.inputs {
            Some(path) => inputs::read(path, graph),
            None => inputs::generate(graph, &args.shape),
        },
    )?;
    if args.paced {
        drop(progress);
        paced::serve(&mut ready, host::threads(), resident)?;
        let peak = host::peak_bytes();
        write_outputs(args, &ready)?;
        return print(&format!("{}\n", json!({ "peak_bytes": peak })));
    }
    let runners = std::slice::from_mut(&mut ready.runner);
    let rounds = args.repeat as usize;
    let times = runner::interleaved(runners, rounds, Duration::ZERO, |i| {
        progress.say(format!("running: {} of {rounds}", i + 1));
    })?;
    let times = times.first().cloned().unwrap_or_default();
    // Before the report, which takes memory of its own.
    let peak = host::peak_bytes();
    write_outputs(args, &ready)?;
    let errors = errors(args, &ready, |stage| progress.say(stage))?;
    let text = match args.json {
        true => as_json(args, &ready, &times, peak, &errors),
        false => as_text(args, &ready, &times, peak, &errors),
    };
    drop(progress);
    print(&text)
}

/// That outputs do not take the place of what they are made of.
fn check_output(args: &RunArgs) -> Result<(), Failure> {
    let Some(output) = args.output.as_ref().and_then(|o| o.canonicalize().ok()) else { return Ok(()) };
    for read in [Some(&args.model), args.inputs.as_ref()].into_iter().flatten() {
        if read.canonicalize().is_ok_and(|r| r == output) {
            return Err(format!("--output {} is read, too: name another file", output.display()).into());
        }
    }
    Ok(())
}

fn write_outputs(args: &RunArgs, ready: &Ready) -> Result<(), Failure> {
    let Some(path) = &args.output else { return Ok(()) };
    let named = ready.outputs.iter().map(String::as_str).zip(ready.runner.outputs());
    npz::write(path, named).map_err(|e| because(format!("cannot write {}", path.display()), e))
}

/// How far each output is from that of an exact run, if this one may be approximate.
fn errors(args: &RunArgs, ready: &Ready, say: impl Fn(&str)) -> Result<Vec<(String, Difference)>, Failure> {
    let may = &args.how.approximate;
    if may.tables.is_none() && may.precision == Precision::Exact {
        return Ok(Vec::new());
    }
    let exact = ApproximateArgs { tables: None, precision: Precision::Exact, ..may.clone() };
    let how = HowArgs { approximate: exact, ..args.how.clone() };
    let mut exact = runner::prepare(&args.model, &how, |_| say("running exactly"), |_| Ok(ready.inputs.clone()))?;
    exact.runner.run()?;
    let pairs = ready.runner.outputs().iter().zip(exact.runner.outputs());
    let differences = pairs.map(|(got, want)| compare::compare(got, want, 0.0, 0.0));
    Ok(ready.outputs.iter().zip(differences).filter_map(|(name, d)| Some((name.clone(), d?))).collect())
}

fn as_text(args: &RunArgs, ready: &Ready, times: &Times, peak: Option<u64>, errors: &[(String, Difference)]) -> String {
    let ops = match args.how.no_rewrite {
        true => format!("{}, not rewritten", format::count(ready.ops, "op")),
        false => format!("{}, rewritten to {}", format::count(ready.imported_ops, "op"), ready.ops),
    };
    let how = match ready.runner.plan() {
        Some(plan) => format::count(plan.steps().count(), "step"),
        None => "in stages, as extents depend on values".into(),
    };
    let mut out = format!(
        "model    {}: {ops}\nready    import {} ms, rewrite {} ms, plan {} ms\nrun      {how}, {} of {}\n\
         latency  median {} ms, min {} ms of {}\n",
        args.model.display(),
        format::ms(ready.import),
        format::ms(ready.rewrite),
        format::ms(ready.plan),
        format::count(host::threads(), "thread"),
        host::cpu(),
        format::ms(times.median()),
        format::ms(times.min()),
        format::count(times.len(), "run"),
    );
    if let Some(peak) = peak {
        out.push_str(&format!("memory   {} at the peak\n", format::bytes(peak)));
    }
    for (name, how) in &ready.scores {
        out.push_str(&format!("scores   {name}: {how}\n"));
    }
    for (name, d) in errors {
        let (max_abs, cosine) = (format::number(d.max_abs), d.cosine);
        out.push_str(&format!("error    {name}: at most {max_abs} off the exact result, cosine {cosine:.6}\n"));
    }
    for (name, tensor) in &ready.inputs {
        out.push_str(&format!("input    {name}: {}\n", tensor.ty()));
    }
    let mut table = Table::new(2, ["output", "type", "min", "max", "mean", "first"]);
    for (name, tensor) in ready.outputs.iter().zip(ready.runner.outputs()) {
        let s = Summary::new(tensor);
        let number = |v: Option<f64>| v.map_or("-".into(), format::number);
        let mut first = s.first.iter().map(|&v| format::number(v)).collect::<Vec<_>>().join(" ");
        if tensor.len() > SHOWN {
            first.push_str(" ...");
        }
        table.row([name.clone(), tensor.ty().to_string(), number(s.min), number(s.max), number(s.mean), first]);
    }
    out.push('\n');
    out.push_str(&table.plain(""));
    out
}

fn as_json(args: &RunArgs, ready: &Ready, times: &Times, peak: Option<u64>, errors: &[(String, Difference)]) -> String {
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    let outputs: Vec<Value> = ready
        .outputs
        .iter()
        .zip(ready.runner.outputs())
        .map(|(name, t)| {
            let s = Summary::new(t);
            json!({
                "name": name, "dtype": t.dtype().name(), "shape": t.shape(),
                "min": s.min, "max": s.max, "mean": s.mean, "first": s.first,
            })
        })
        .collect();
    let inputs: Vec<Value> = ready
        .inputs
        .iter()
        .map(|(name, t)| json!({ "name": name, "dtype": t.dtype().name(), "shape": t.shape() }))
        .collect();
    let object = json!({
        "model": args.model.display().to_string(),
        "rewritten": !args.how.no_rewrite,
        "threads": host::threads(),
        "cpu": host::cpu(),
        "runs": times.len(),
        "median_ms": ms(times.median()),
        "min_ms": ms(times.min()),
        "import_ms": ms(ready.import),
        "rewrite_ms": ms(ready.rewrite),
        "plan_ms": ms(ready.plan),
        "peak_bytes": peak,
        "ops": ready.ops,
        "imported_ops": ready.imported_ops,
        "steps": ready.runner.plan().map(|p| p.steps().count()),
        "scores": ready.scores.iter().map(|(n, how)| json!({"attention": n, "scores": how})).collect::<Vec<_>>(),
        "errors": errors.iter().map(|(n, d)| json!({"output": n, "max_abs": d.max_abs, "cosine": d.cosine})).collect::<Vec<_>>(),
        "inputs": inputs,
        "outputs": outputs,
    });
    format!("{object:#}\n")
}

/// The figures of a tensor; none of an empty one. NaN in it makes the figures NaN.
struct Summary {
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    first: Vec<f64>,
}

impl Summary {
    fn new(tensor: &Tensor) -> Self {
        let values = || tensor.scalars().map(|s| s.to_f64());
        let nan = values().any(f64::is_nan);
        let figure = |v: f64| if nan { f64::NAN } else { v };
        Self {
            min: values().reduce(f64::min).map(figure),
            max: values().reduce(f64::max).map(figure),
            mean: (!tensor.is_empty()).then(|| values().sum::<f64>() / tensor.len() as f64),
            first: values().take(SHOWN).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_hides_no_nan() {
        let t = |v: &[f32]| Summary::new(&Tensor::new(&[v.len()], v).expect("a tensor"));
        let s = t(&[1.0, -3.0, 5.0]);
        assert_eq!((s.min, s.max, s.mean), (Some(-3.0), Some(5.0), Some(1.0)));
        let s = t(&[1.0, f32::NAN]);
        assert!(s.min.is_some_and(f64::is_nan) && s.max.is_some_and(f64::is_nan));
        assert_eq!(t(&[]).min, None);
    }
}
