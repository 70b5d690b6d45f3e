//! The page that `bgz experiments` writes.

use super::{Cost, Data, TIMED};
use crate::chart::{Axis, Chart, Mark, Point, Scale, Series};
use crate::host;
use crate::table::Table;
use bgz_fusion::table::Base17;
use bgz_fusion::table::experiments::{Interval, Projection, l2_distances};
use std::time::Duration;

/// Seed of the intervals.
const SEED: u64 = 0;

/// Pairs of a drawing, of each kind of rows, at most.
const DRAWN_PAIRS: usize = 300;

/// The page, in Markdown; with drawings of these names.
pub fn text(all: &[Data], cost: &Cost, left_out: &[String], drawings: Option<&[&str]>) -> String {
    let runs = all.first().map_or(0, |d| d.runs.len());
    let mut out = format!(
        "# What 17 means keep of a row\n\n\
         Made by `bgz experiments`, with {runs} runs on each kind of rows (seeds 0, 2, 4 and so on for \
         rows, the number after it for the random projection), on {cpu}.\n\n\
         AdaWorldAPI/ndarray folds rows of weights into 17 means, `Base17`, by a \"golden step\" of 11, and says how \
         well distances survive it. Its figures are of tests in `src/hpc/vml.rs`: Spearman's rho between the L2 \
         distances of all pairs of rows and the L2 distances of their 17 means, in f64, one run each. Here the same \
         is measured again, beside the L1 distances of the codes that its tables really use.\n\n",
        cpu = host::cpu(),
    );
    for line in left_out {
        out.push_str(&format!("{line}\n\n"));
    }
    out.push_str("Rows:\n\n");
    for d in all {
        out.push_str(&format!("- {}: {}.\n", d.name, d.about));
    }
    out.push_str(
        "\nProjections to 17 numbers:\n\n\
         - golden step: mean `b` is of the dims `17 o + (11 b mod 17)`;\n\
         - mean stride: mean `b` is of the dims `17 o + b`;\n\
         - Base17 codes, L1: the golden step, rounded to multiples of 1/256 and compared by L1, as in tables;\n\
         - random projection: 17 rows of independent normal values, others in every run;\n\
         - sine projection: 17 rows `sin((7919 i + 104729 j) / 100000)`, what the original calls random. Each is a \
         combination of the same two rows, so it projects to 2 dims, of one frequency.\n\n\
         ## Order of distances\n\n\
         Spearman's rho, mean of the runs; the interval of 95 % is a percentile bootstrap of that mean over runs, \
         10000 resamples. Runs on drawn rows share rows, so it says how much the draw matters, not how other pictures \
         or models would do. The figure of the original is of what it called by that name.\n\n",
    );
    out.push_str(&order(all));
    if let Some([chart, ..]) = drawings {
        out.push_str(&format!("\n![Spearman's rho by rows and projection]({chart})\n"));
    }
    out.push_str("\n## Cost\n\n");
    out.push_str(&costs(cost));
    out.push_str("\nRelative L2 error of a row folded and written back, mean of the rows of the first run:\n\n");
    let mut table = Table::new(1, ["rows", "error, %"]);
    all.iter().for_each(|d| table.row([d.name.to_string(), format!("{:.1}", d.round_trip * 100.0)]));
    out.push_str(&table.markdown());
    out.push_str("\n## Verdict\n\n");
    for line in verdict(all) {
        out.push_str(&format!("- {line}\n"));
    }
    if let Some([_, chart, ..]) = drawings {
        out.push_str(&format!("\n![Distances of the rows and of their means]({chart})\n"));
    }
    out
}

fn order(all: &[Data]) -> String {
    let mut table = Table::new(2, ["rows", "projection", "rho", "interval of 95 %", "original"]);
    for d in all {
        for (p, original) in Projection::ALL.into_iter().zip(d.original) {
            let i = Interval::bootstrap(&d.of(p), SEED);
            table.row([
                d.name.to_string(),
                p.to_string(),
                format!("{:.4}", i.mean),
                format!("{:.4} to {:.4}", i.low, i.high),
                original.map_or("-".into(), |o| format!("{o:.4}")),
            ]);
        }
    }
    table.markdown()
}

fn costs(cost: &Cost) -> String {
    let us = |t: Duration| format!("{:.2} us", t.as_secs_f64() * 1e6);
    let bytes = TIMED * size_of::<f64>();
    let mut table = Table::new(1, [format!("f64[{TIMED}]"), "here".into(), "original".into()]);
    table.row(["encode".to_string(), us(cost.encode), "51 us".into()]);
    table.row(["hydrate".to_string(), us(cost.hydrate), "79 us".into()]);
    table.row(["bytes of a code".to_string(), Base17::BYTES.to_string(), "34".into()]);
    table.row(["bytes of the row over it".to_string(), (bytes / Base17::BYTES).to_string(), "963".into()]);
    format!(
        "{}\nMedian of 1001 times of 16 calls, one thread, to f32 when hydrating. The original timed one call in a \
         test.\n",
        table.markdown()
    )
}

/// The conclusions from the figures; nothing is said that they do not say.
fn verdict(all: &[Data]) -> Vec<String> {
    let (golden, stride) = (Projection::GoldenStep, Projection::MeanStride);
    let runs: usize = all.iter().map(|d| d.runs.len()).sum();
    let pairs = all.iter().flat_map(|d| d.of(golden).into_iter().zip(d.of(stride)));
    let differs = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let seen = match differs == 0.0 {
        true => "are the same".to_string(),
        false => format!("differ by {differs:.1e} at most"),
    };
    let mut out = vec![format!(
        "The golden step is a permutation: 11 and 17 have no divisor in common, so the same dims are folded together \
         as by a plain stride of 17, and the means only change places. The two rhos {seen} in {runs} runs."
    )];
    for d in all {
        let (own, random) = (d.of(golden), d.of(Projection::Random));
        let by_run: Vec<f64> = own.iter().zip(&random).map(|(a, b)| a - b).collect();
        let i = Interval::bootstrap(&by_run, SEED);
        let word = match (i.low > 0.0, i.high < 0.0) {
            (true, _) => "orders distances better than",
            (_, true) => "orders distances worse than",
            _ => "is not told apart from",
        };
        out.push(format!(
            "{}: the golden step {word} a random projection to 17 dims; rho differs by {:+.4} ({:+.4} to {:+.4}).",
            capital(d.name),
            i.mean,
            i.low,
            i.high
        ));
    }
    for d in all {
        let lost: Vec<f64> = d.of(golden).iter().zip(d.of(Projection::Code)).map(|(a, b)| a - b).collect();
        let i = Interval::bootstrap(&lost, SEED);
        if i.low > 0.01 {
            let code = Interval::bootstrap(&d.of(Projection::Code), SEED).mean;
            out.push(format!(
                "{}: rounding the means to 1/256 and comparing by L1, as tables do, takes {:.4} more off rho and \
                 leaves {code:.4}.",
                capital(d.name),
                i.mean
            ));
        }
    }
    out.push(
        "The original's figures for \"Gaussian\" rows are of sine rows, which all lie in one plane, and those for its \
         \"random\" projection are of one of rank 2. They do not say how golden step and random projection compare."
            .into(),
    );
    out.push(
        "A rho of distances says in what order pairs lie, on rows of one kind. It does not say how far off a distance \
         is, nothing of norms and of dot products, which attention is made of, and nothing of rows that no one drew. \
         What codes do to the scores and the output of attention is what `bgz tables compare` and `bgz tables \
         from-gguf` measure."
            .into(),
    );
    out
}

fn capital(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// Drawings for a page whose file is named so, with their file names.
pub fn drawings(all: &[Data], stem: &str) -> [(String, String); 2] {
    [(format!("{stem}-rho.svg"), rho_chart(all).svg()), (format!("{stem}-distances.svg"), distance_chart(all).svg())]
}

fn rho_chart(all: &[Data]) -> Chart {
    let marks = [Mark::Circle, Mark::Circle, Mark::Circle, Mark::Diamond, Mark::Diamond];
    let mut series: Vec<Series> = Vec::new();
    for (colour, (p, mark)) in Projection::ALL.into_iter().zip(marks).enumerate() {
        let point = |(x, d): (usize, &Data)| {
            let i = Interval::bootstrap(&d.of(p), SEED);
            Point { x: x as f64, y: i.mean, interval: Some((i.low, i.high)), title: format!("{}, {p}", d.name) }
        };
        series.push(Series { label: p.to_string(), colour, mark, points: all.iter().enumerate().map(point).collect() });
    }
    let claims = |p: Projection, mark: Mark, label: &str| {
        let at = Projection::ALL.iter().position(|&x| x == p);
        let figure = |d: &Data| at.and_then(|at| d.original[at]);
        let point = |(x, d): (usize, &Data)| {
            figure(d).map(|y| Point { x: x as f64, y, interval: None, title: format!("{}, {label}", d.name) })
        };
        let points = all.iter().enumerate().filter_map(point).collect();
        Series { label: label.into(), colour: usize::MAX, mark, points }
    };
    series.push(claims(Projection::GoldenStep, Mark::Square, "golden step, as the original says"));
    series.push(claims(Projection::Random, Mark::Diamond, "random, as the original says"));
    Chart {
        title: "Order of distances after projection to 17 numbers, intervals of 95 %".into(),
        x: Axis {
            label: String::new(),
            scale: Scale::Names(all.iter().map(|d| d.short.to_string()).collect()),
            percent: false,
        },
        y: Axis { label: "Spearman's rho with distances of the rows".into(), scale: Scale::Linear, percent: false },
        series,
    }
}

fn distance_chart(all: &[Data]) -> Chart {
    let linear = |label: &str| Axis { label: label.into(), scale: Scale::Linear, percent: false };
    let series = all.iter().enumerate().map(|(colour, d)| {
        let (exact, folded) = (l2_distances(&d.first), Projection::GoldenStep.distances(&d.first, 0));
        let [a, b] = [&exact, &folded].map(|x| x.iter().sum::<f64>() / x.len().max(1) as f64);
        let step = exact.len().div_ceil(DRAWN_PAIRS).max(1);
        let point = |(&x, &y)| Point { x: x / a, y: y / b, interval: None, title: d.name.into() };
        let points = exact.iter().zip(&folded).step_by(step).map(point).collect();
        Series { label: d.name.into(), colour, mark: Mark::Circle, points }
    });
    Chart {
        title: "Distances of pairs of rows, and of their 17 means, first run".into(),
        x: linear("L2 distance of the rows, over its mean"),
        y: linear("L2 distance of their 17 means, over its mean"),
        series: series.collect(),
    }
}
