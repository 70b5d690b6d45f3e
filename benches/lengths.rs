//! First run of a sentence of a new length, against the second: what a plan for new extents costs.
//!
//! ```sh
//! models/fetch.sh && cargo bench --bench lengths
//! ```
//!
//! Lengths 20 to 119 of MiniLM in an order that jumps, weights packed before, each run twice. Then every
//! length from 1 to 500 two times over, and the memory of the process before and after the second.

use bgz_fusion::{Model, Tensor};
use bgz_models::fetched;
use std::time::{Duration, Instant};

fn inputs(n: usize) -> Vec<(&'static str, Tensor)> {
    let ids: Vec<i64> = (0..n as i64).map(|i| 1000 + i * 37 % 20_000).collect();
    let tensor = |v: &[i64]| Tensor::new(&[1, n], v).expect("as many as the shape says");
    vec![("input_ids", tensor(&ids)), ("attention_mask", tensor(&vec![1; n])), ("token_type_ids", tensor(&vec![0; n]))]
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
}

fn main() {
    // `cargo test --benches` asks every bench for a trial.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let Some(path) = fetched("minilm") else { return };
    let model = Model::load(path).expect("the file is ONNX");
    let names: Vec<String> = model.graph().inputs().iter().map(|&v| model.graph().name(v).to_string()).collect();
    let given =
        |n: usize| inputs(n).into_iter().filter(|(name, _)| names.iter().any(|n| n == name)).collect::<Vec<_>>();
    let time = |n: usize| {
        let given = given(n);
        let start = Instant::now();
        model.run(&given).expect("it runs");
        start.elapsed()
    };
    // Weights are packed, threads awake, and the arena has been as large as it gets.
    for n in [128, 5, 128] {
        time(n);
    }
    let (mut first, mut second, mut extra) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..100 {
        let n = 20 + i * 37 % 100;
        let (new, known) = (time(n), time(n));
        first.push(new);
        second.push(known);
        extra.push(new.saturating_sub(known));
    }
    let ms = |t: Vec<Duration>| median(t).as_secs_f64() * 1e3;
    println!(
        "first run {:.3} ms, second {:.3} ms, difference {:.3} ms (medians of 100 lengths)",
        ms(first),
        ms(second),
        ms(extra)
    );
    // The plans of these lengths have given way to others by now.
    let plans = (0..100).map(|i| {
        let types: Vec<_> = given(20 + i * 37 % 100).iter().map(|(_, t)| t.ty()).collect();
        let start = Instant::now();
        let plan = model.plan(&types).expect("a plan");
        (start.elapsed(), drop(plan)).0
    });
    println!("a plan {:.3} ms (median of 100 lengths)", ms(plans.collect()));
    for n in 1..=500 {
        time(n);
    }
    let before = resident_kb();
    for n in 1..=500 {
        time(n);
    }
    println!("resident after 500 lengths {} kB, after 1,000 {} kB", before, resident_kb());
}
