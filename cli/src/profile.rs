//! `bgz profile`: where the time of a model goes, against what the machine can do.

use super::failure::{Failure, because};
use super::progress::Progress;
use super::runner::{self, Ready, Times};
use super::table::Table;
use super::{HowArgs, ProfileArgs, format, host, inputs, print};
use bgz_fusion::exec::StepInfo;
use bgz_fusion::files;
use bgz_fusion::kernels::{Isa, peak};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs before those that are timed.
const WARM_UP: usize = 3;

/// The most that the machine can do with the threads there are, a second.
struct Peak {
    flops: f64,
    bytes: f64,
    /// How long a thread takes to begin, where there are several.
    start: Option<peak::Start>,
}

/// Steps and what each took, the median of all runs.
struct Profile {
    steps: Vec<(StepInfo, Duration)>,
    /// A whole run, timed from outside.
    run: Duration,
}

/// Steps taken together.
#[derive(Default)]
struct Sum {
    steps: usize,
    time: Duration,
    flops: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, step: &StepInfo, time: Duration) {
        self.steps += 1;
        self.time += time;
        self.flops += step.flops;
        self.bytes += step.bytes;
    }

    fn rate(&self, done: u64) -> f64 {
        done as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// Profiles the model and reports.
pub fn run(args: &ProfileArgs) -> Result<(), Failure> {
    let progress = Progress::new("measuring the machine");
    let isa = Isa::detect()?;
    let peak = Peak { flops: peak::flops(isa), bytes: peak::bytes(), start: peak::start() };
    let how = HowArgs { no_rewrite: false, passes: args.passes.clone(), approximate: args.approximate.clone() };
    let mut ready = runner::prepare(
        &args.model,
        &how,
        |stage| progress.say(stage),
        |graph| match &args.inputs {
            Some(path) => inputs::read(path, graph),
            None => inputs::generate(graph, &args.shape),
        },
    )?;
    let profile = profile(&mut ready, args.repeat as usize, |i| progress.say(format!("run {i} of {}", args.repeat)))?;
    if let Some(path) = &args.trace {
        write_trace(path, &profile)?;
    }
    let text = if args.json { as_json(args, &ready, &profile, &peak) } else { as_text(args, &ready, &profile, &peak) };
    drop(progress);
    print(&text)
}

fn profile(ready: &mut Ready, repeat: usize, say: impl Fn(usize)) -> Result<Profile, Failure> {
    for _ in 0..WARM_UP {
        ready.runner.run()?;
    }
    let infos: Vec<StepInfo> = ready.runner.plan().into_iter().flat_map(|p| p.steps()).collect();
    let mut steps = vec![Times::default(); infos.len()];
    let mut runs = Times::default();
    let mut times = Vec::new();
    for i in 0..repeat {
        say(i + 1);
        times.fill(Duration::ZERO);
        let start = Instant::now();
        ready.runner.run_profiled(&mut times)?;
        runs.push(start.elapsed());
        for (step, &time) in steps.iter_mut().zip(&times) {
            step.push(time);
        }
    }
    Ok(Profile { steps: infos.into_iter().zip(steps.iter().map(Times::median)).collect(), run: runs.median() })
}

impl Profile {
    fn total(&self) -> Sum {
        let mut sum = Sum::default();
        self.steps.iter().for_each(|(step, time)| sum.add(step, *time));
        sum
    }

    /// By op and kernel, the longest first.
    fn kinds(&self) -> Vec<(String, Sum)> {
        let mut kinds: BTreeMap<String, Sum> = BTreeMap::new();
        for (step, time) in &self.steps {
            kinds.entry(kind(step)).or_default().add(step, *time);
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.time));
        kinds
    }

    /// The longest first.
    fn slowest(&self, n: usize) -> Vec<&(StepInfo, Duration)> {
        let mut steps: Vec<_> = self.steps.iter().collect();
        steps.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        steps.truncate(n);
        steps
    }
}

fn kind(step: &StepInfo) -> String {
    match step.kernel {
        kernel if step.op.starts_with(kernel) => step.op.clone(),
        kernel => format!("{} ({kernel})", step.op),
    }
}

/// The cells behind a name: time, share, rates.
fn cells(sum: &Sum, total: Duration, peak: &Peak) -> Vec<String> {
    let share = 100.0 * sum.time.as_secs_f64() / total.as_secs_f64().max(1e-9);
    let (flops, bytes) = (sum.rate(sum.flops), sum.rate(sum.bytes));
    let products = match sum.flops {
        0 => ["-".into(), "-".into()],
        _ => [format!("{:.0}", flops / 1e9), format!("{:.0} %", 100.0 * flops / peak.flops)],
    };
    let [rate, of_peak] = products;
    vec![format::ms(sum.time), format!("{share:.1} %"), rate, of_peak, format!("{:.1}", bytes / 1e9)]
}

const RATES: [&str; 5] = ["ms", "share", "GFLOP/s", "of peak", "GB/s"];

fn as_text(args: &ProfileArgs, ready: &Ready, profile: &Profile, peak: &Peak) -> String {
    let total = profile.total();
    let inputs = ready.inputs.iter().map(|(name, t)| format!("{name}: {}", t.ty())).collect::<Vec<_>>().join(", ");
    let us = |time: Duration| format!("{:.1} us", time.as_secs_f64() * 1e6);
    let started = peak.start.map_or(String::new(), |s| {
        format!(
            "\nthreads  one that sleeps begins after {}, one that is kept awake after {}",
            us(s.asleep),
            us(s.awake)
        )
    });
    let mut out = format!(
        "model    {}: {} of {}\ninputs   {inputs}\nmachine  {} of {}: {:.0} GFLOP/s of f32, {:.1} GB/s copied{started}\n\
         run      median {} ms of {}, {} ms of it in steps: {:.0} GFLOP/s, {:.0} % of what the machine can do\n\n",
        args.model.display(),
        format::count(ready.ops, "op"),
        format::count(profile.steps.len(), "step"),
        format::count(host::threads(), "thread"),
        host::cpu(),
        peak.flops / 1e9,
        peak.bytes / 1e9,
        format::ms(profile.run),
        format::count(args.repeat as usize, "run"),
        format::ms(total.time),
        total.flops as f64 / profile.run.as_secs_f64().max(1e-9) / 1e9,
        100.0 * total.flops as f64 / profile.run.as_secs_f64().max(1e-9) / peak.flops,
    );
    let mut table = Table::new(1, ["op", "steps"].into_iter().chain(RATES));
    for (name, sum) in profile.kinds() {
        let row = [name, sum.steps.to_string()];
        table.row(row.into_iter().chain(cells(&sum, total.time, peak)));
    }
    out.push_str(&table.plain(""));
    if args.top > 0 {
        let mut table = Table::new(2, ["step", "op"].into_iter().chain(RATES));
        for (step, time) in profile.slowest(args.top) {
            let mut sum = Sum::default();
            sum.add(step, *time);
            table.row([format!("%{}", step.node), kind(step)].into_iter().chain(cells(&sum, total.time, peak)));
        }
        out.push('\n');
        out.push_str(&table.plain(""));
    }
    out
}

fn as_json(args: &ProfileArgs, ready: &Ready, profile: &Profile, peak: &Peak) -> String {
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    let steps = profile.steps.iter().map(|(step, time)| {
        json!({
            "node": step.node, "op": step.op, "kernel": step.kernel,
            "ms": ms(*time), "flops": step.flops, "bytes": step.bytes,
        })
    });
    let inputs = ready.inputs.iter().map(|(name, t)| json!({ "name": name, "shape": t.shape() }));
    let object = json!({
        "model": args.model.display().to_string(),
        "inputs": inputs.collect::<Vec<Value>>(),
        "threads": host::threads(),
        "cpu": host::cpu(),
        "peak_flops": peak.flops,
        "peak_bytes_per_second": peak.bytes,
        "thread_start_us": peak.start.map(|s| json!({ "asleep": 1e3 * ms(s.asleep), "awake": 1e3 * ms(s.awake) })),
        "runs": args.repeat,
        "median_ms": ms(profile.run),
        "steps": steps.collect::<Vec<Value>>(),
    });
    format!("{object:#}\n")
}

/// Writes the steps one after the other, in the format that chrome://tracing and Perfetto read.
fn write_trace(path: &Path, profile: &Profile) -> Result<(), Failure> {
    let mut at = Duration::ZERO;
    let micros = |t: Duration| t.as_secs_f64() * 1e6;
    let mut events = Vec::new();
    for (step, time) in &profile.steps {
        events.push(json!({
            "name": step.op, "cat": step.kernel, "ph": "X", "pid": 1, "tid": 1, "ts": micros(at), "dur": micros(*time),
            "args": { "value": step.node, "flops": step.flops, "bytes": step.bytes },
        }));
        at += *time;
    }
    let text = format!("{}\n", json!({ "displayTimeUnit": "ms", "traceEvents": events }));
    files::replace(path, |file| file.write_all(text.as_bytes()))
        .map_err(|e: std::io::Error| because(format!("cannot write {}", path.display()), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(node: &str, op: &str, kernel: &'static str, flops: u64) -> StepInfo {
        StepInfo { node: node.into(), op: op.into(), kernel, flops, bytes: 1000 }
    }

    fn three() -> Profile {
        let steps = vec![
            (step("a", "linear", "gemm packed", 4000), Duration::from_micros(2)),
            (step("b", "exp", "exp", 0), Duration::from_micros(5)),
            (step("c", "linear", "gemm packed", 6000), Duration::from_micros(8)),
        ];
        Profile { steps, run: Duration::from_micros(16) }
    }

    #[test]
    fn kinds_are_sums_and_the_longest_comes_first() {
        let p = three();
        let kinds: Vec<_> = p.kinds().into_iter().map(|(k, s)| (k, s.steps, s.flops, s.time.as_micros())).collect();
        assert_eq!(kinds, [("linear (gemm packed)".into(), 2, 10_000, 10), ("exp".into(), 1, 0, 5)]);
        assert_eq!(p.slowest(2).iter().map(|(s, _)| &*s.node).collect::<Vec<_>>(), ["c", "b"]);
        assert_eq!((p.total().steps, p.total().bytes), (3, 3000));
    }

    #[test]
    fn rates_are_of_the_peak() {
        let mut sum = Sum::default();
        sum.add(&step("a", "linear", "gemm packed", 4000), Duration::from_micros(2));
        let got = cells(&sum, Duration::from_micros(8), &Peak { flops: 8e9, bytes: 1e9, start: None });
        assert_eq!(got, ["0.002", "25.0 %", "2", "25 %", "0.5"]);
        let none = cells(&Sum::default(), Duration::ZERO, &Peak { flops: 8e9, bytes: 1e9, start: None });
        assert_eq!(none[2..4], ["-", "-"]);
    }
}
