//! `peer rten|tract MODEL INPUTS THREADS OUTPUT`: a model on rten or tract, run when it is told to.
//!
//! Writes a line of JSON once the model was loaded and run for the first time, then for each line of stdin runs as
//! often as that says and writes the nanoseconds of each run; at the end of stdin writes its peak memory as JSON, and
//! the outputs to OUTPUT, an npz file. `bgz run --paced` and `onnxruntime_peer.py` do the same.

mod arrays;
mod by_rten;
mod by_tract;
mod memory;

use arrays::Array;
use serde_json::json;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Anything that ends the program.
type Failure = Box<dyn Error + Send + Sync>;

/// A model with its inputs.
trait Peer {
    /// Runs once.
    fn run(&mut self) -> Result<(), Failure>;

    /// The results of the last run, in the order of the model's outputs.
    fn outputs(&self) -> Result<Vec<Array>, Failure>;
}

const USAGE: &str = "usage: peer rten|tract MODEL.onnx INPUTS.npz THREADS OUTPUTS.npz";

/// Of a crate that this program was built with.
fn version(name: &str) -> Option<&'static str> {
    const LOCK: &str = include_str!("../Cargo.lock");
    let mut lines = LOCK.lines().skip_while(|line| *line != format!("name = \"{name}\""));
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let mut text = e.to_string();
            let mut next = e.source();
            while let Some(e) = next {
                let _ = write!(text, ": {e}");
                next = e.source();
            }
            eprintln!("peer: {text}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, model, inputs, threads, output] = &args[..] else { return Err(USAGE.into()) };
    let (model, inputs) = (Path::new(model), arrays::read(Path::new(inputs))?);
    let threads = threads.parse::<usize>().ok().filter(|n| *n > 0).ok_or(USAGE)?;

    let base = memory::resident();
    let start = Instant::now();
    let (mut peer, package): (Box<dyn Peer>, _) = match name.as_str() {
        "rten" => (Box::new(by_rten::ByRten::new(model, &inputs, threads)?), "rten"),
        "tract" => (Box::new(by_tract::ByTract::new(model, &inputs, threads)?), "tract-onnx"),
        _ => return Err(USAGE.into()),
    };
    let load = start.elapsed();
    let start = Instant::now();
    peer.run()?;
    let first = start.elapsed();
    say(&json!({
        "version": version(package), "threads": threads, "base_bytes": base,
        "load_ns": load.as_nanos() as u64, "first_ns": first.as_nanos() as u64,
    })
    .to_string())?;

    let mut times = String::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let runs: u32 = line.trim().parse().map_err(|_| format!("{line:?} is no number of runs"))?;
        times.clear();
        for _ in 0..runs {
            let start = Instant::now();
            peer.run()?;
            write!(times, "{} ", start.elapsed().as_nanos())?;
        }
        say(times.trim_end())?;
    }
    // Before the outputs, which take memory of their own.
    say(&json!({ "peak_bytes": memory::peak() }).to_string())?;
    arrays::write(Path::new(output), &peer.outputs()?)
}

/// Writes a line, at once.
fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
