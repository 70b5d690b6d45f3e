//! `bgz run --paced`: runs when a line says so, for a program that times several in turn.

use super::failure::{Failure, because};
use super::print;
use super::runner::Ready;
use serde_json::json;
use std::fmt::Write;
use std::io::BufRead;
use std::time::{Duration, Instant};

/// Runs once and says how long that and getting ready took, then reads lines to their end. `resident` is the memory
/// the process had before it loaded the model.
pub fn serve(ready: &mut Ready, threads: usize, resident: Option<u64>) -> Result<(), Failure> {
    let load = ready.import + ready.rewrite + ready.plan;
    let first = run(ready)?;
    let object = json!({
        "version": env!("CARGO_PKG_VERSION"), "threads": threads, "base_bytes": resident,
        "load_ns": ns(load), "first_ns": ns(first),
    });
    print(&format!("{object}\n"))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| because("cannot read stdin", e))?;
        let runs = runs(&line)?;
        let mut times = String::new();
        for i in 0..runs {
            let space = if i == 0 { "" } else { " " };
            write!(times, "{space}{}", ns(run(ready)?))?;
        }
        times.push('\n');
        print(&times)?;
    }
    Ok(())
}

/// How many runs a line asks for.
fn runs(line: &str) -> Result<u32, String> {
    line.trim().parse().map_err(|_| format!("{line:?} on stdin is no number of runs; say one a line, as in 1"))
}

fn run(ready: &mut Ready) -> Result<Duration, Failure> {
    let start = Instant::now();
    ready.runner.run()?;
    Ok(start.elapsed())
}

fn ns(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_number_of_runs() {
        assert_eq!((runs("3"), runs(" 1\r")), (Ok(3), Ok(1)));
        for bad in ["", "x", "-1", "1.5", "4294967296"] {
            assert!(runs(bad).is_err(), "{bad:?}");
        }
    }
}
