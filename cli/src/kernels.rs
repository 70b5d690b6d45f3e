//! `bgz kernels`: what runs on this host, how fast and how exactly.

use super::KernelsArgs;
use super::failure::Failure;
use super::print;
use super::progress::Progress;
use super::table::Table;
use bgz_fusion::ir::{DType, Unary};
use bgz_fusion::kernels::{self, Isa, sweep};
use std::time::Instant;

/// Lists instruction sets and kernels, or sweeps functions.
pub fn run(args: &KernelsArgs) -> Result<(), Failure> {
    match args.sweep {
        true => sweep_functions(args),
        false => list(),
    }
}

fn words(isas: &[Isa]) -> String {
    isas.iter().map(|i| i.name()).collect::<Vec<_>>().join(" ")
}

fn list() -> Result<(), Failure> {
    let isa = Isa::detect()?;
    // One thread: what is timed is a kernel, not the pool.
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(Failure::from)?;
    let mut table = Table::new(3, ["kernel", "variants", "accuracy", "ns per element"]);
    for k in kernels::list() {
        let ns = one.install(|| k.measure());
        table.row([k.name.to_string(), words(k.variants), k.accuracy.to_string(), format!("{ns:.3}")]);
    }
    print(&format!(
        "This host has {}; {} is in use and timed, on one thread\n\n{}",
        words(Isa::available()),
        isa.name(),
        table.plain("")
    ))
}

fn sweep_functions(args: &KernelsArgs) -> Result<(), Failure> {
    let all = Unary::ALL.iter().copied().filter(|f| f.output(DType::F32) == Some(DType::F32));
    let functions: Vec<Unary> = if args.functions.is_empty() {
        all.collect()
    } else {
        let known: Vec<Unary> = all.collect();
        let find = |name: &String| {
            known.iter().copied().find(|f| f.name() == name).ok_or_else(|| {
                let names: Vec<_> = known.iter().map(|f| f.name()).collect();
                Failure::from(format!("there is no function {name:?} of one f32; there are {}", names.join(", ")))
            })
        };
        args.functions.iter().map(find).collect::<Result<_, _>>()?
    };
    let isas = Isa::available();
    let progress = Progress::new("sweeping");
    let mut table = Table::new(3, ["function", "instructions", "inputs", "inexact", "max ULP", "at", "bound"]);
    let mut beyond = Vec::new();
    let start = Instant::now();
    for (i, &f) in functions.iter().enumerate() {
        progress.say(format!("{} of {}: {}, {:.0?}", i + 1, functions.len(), f.name(), start.elapsed()));
        for (isa, r) in isas.iter().zip(sweep::unary(f, isas, args.step).unwrap_or_default()) {
            let (bound, worst) = match kernels::unary_bound(f) {
                (ulp, 0.0) => (format!("{ulp}"), r.max_ulp.to_string()),
                // Where a small absolute error is allowed, what counts is the rest.
                (ulp, absolute) => {
                    (format!("{ulp} above {absolute:e}"), format!("{} above {absolute:e}", r.max_ulp_above_1e_7))
                }
            };
            table.row([
                f.name().to_string(),
                isa.name().to_string(),
                r.inputs.to_string(),
                format!("{:.3} %", 100.0 * r.inexact as f64 / r.inputs.max(1) as f64),
                worst,
                format!("{:e}", r.at),
                bound,
            ]);
            if !r.within_bound(f) {
                beyond.push(format!("{} on {}", f.name(), isa.name()));
            }
        }
    }
    drop(progress);
    print(&table.markdown())?;
    if beyond.is_empty() { Ok(()) } else { Err(Failure::from(format!("beyond the bound: {}", beyond.join(", ")))) }
}
