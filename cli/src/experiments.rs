//! `bgz experiments`: what folding rows into 17 means keeps, measured, as a page.

mod page;

use super::failure::{Failure, because};
use super::npz::{self, Archive};
use super::progress::Progress;
use super::{format, gguf, print};
use bgz_fusion::table::Base17;
use bgz_fusion::table::experiments::{self, Projection, Rows};
use bgz_fusion::table::weights::Projections;
use bgz_fusion::{files, memory};
use clap::Args;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub const EXAMPLES: &str = "\
Examples:
  bgz experiments                              the page on stdout, without drawings
  bgz experiments -o docs/experiments.md       the page, and its drawings beside it
  bgz experiments --pixels pixels.npz --gguf model.gguf --seeds 50 -o page.md

Rows are folded by the golden step, by a plain stride and by random projections into 17 numbers, and the order
of the distances between them is compared with that of the rows' own. Synthetic rows are always there. Pixels are
an npz file with an array \"pixels\", f32 [rows, values] from 0 to 1, which models/pixels.py writes; weights are
those of the attention of a GGUF file. Without --pixels and --gguf they are looked for as models/fetched/pixels.npz
and models/fetched/gemma.gguf, and left out if they are not there.";

/// Where pixels are looked for.
const PIXELS: &str = "models/fetched/pixels.npz";

/// Where weights are looked for.
const WEIGHTS: &str = "models/fetched/gemma.gguf";

/// Rows of a run on data of which there is more; as many as the original took of its pictures.
const DRAWN: usize = 100;

/// Synthetic rows, and values of each, as of the original.
const SYNTHETIC: (usize, usize) = (50, 256);

/// Values of the row that encoding and hydrating is timed on, as of the original.
const TIMED: usize = 4096;

/// Options of `bgz experiments`.
#[derive(Debug, Args)]
pub struct ExperimentsArgs {
    /// Rows of real pixels [default: models/fetched/pixels.npz]
    #[arg(long, value_name = "F.npz")]
    pixels: Option<PathBuf>,
    /// A model whose attention weights are taken [default: models/fetched/gemma.gguf]
    #[arg(long, value_name = "FILE")]
    gguf: Option<PathBuf>,
    /// Runs on each kind of data
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..=1000))]
    seeds: u16,
    /// The page to write; drawings are written beside it
    #[arg(short, long, value_name = "PAGE.md")]
    output: Option<PathBuf>,
}

/// The measurements of one kind of rows.
struct Data {
    /// The name of the rows.
    name: &'static str,
    /// The same for an axis, on lines.
    short: &'static str,
    /// Where they are from, and what a run takes of them.
    about: String,
    /// The rows of the first run.
    first: Rows,
    /// rho after each projection, by run.
    runs: Vec<[f64; Projection::ALL.len()]>,
    /// The figures of the original, of what it called so.
    original: [Option<f64>; Projection::ALL.len()],
    /// Relative L2 error of a row that is folded and written back, mean of the rows of the first run.
    round_trip: f64,
}

impl Data {
    fn measure(
        name: &'static str,
        short: &'static str,
        about: String,
        original: &[(Projection, f64)],
        seeds: u16,
        mut draw: impl FnMut(u64) -> Result<Rows, Failure>,
    ) -> Result<Self, Failure> {
        let mut first = None;
        let mut runs = Vec::new();
        for seed in (0..).step_by(2).take(seeds.into()) {
            let rows = draw(seed)?;
            // A projection from the numbers that rows are made of would be no random one.
            runs.push(experiments::rhos(&rows, seed + 1));
            first.get_or_insert(rows);
        }
        let first = first.ok_or("no runs")?;
        let errors: Vec<f64> =
            first.values.chunks_exact(first.width.max(1)).map(experiments::round_trip_error).collect();
        let round_trip = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        let figure = |p| original.iter().find(|o| o.0 == p).map(|o| o.1);
        Ok(Self { name, short, about, first, runs, original: Projection::ALL.map(figure), round_trip })
    }

    /// rho of a projection, by run.
    fn of(&self, p: Projection) -> Vec<f64> {
        let at = Projection::ALL.iter().position(|&x| x == p);
        self.runs.iter().filter_map(|r| at.map(|at| r[at])).collect()
    }
}

/// The time that folding takes.
struct Cost {
    encode: Duration,
    hydrate: Duration,
}

/// Measures, and writes or prints the page.
pub fn run(args: &ExperimentsArgs) -> Result<(), Failure> {
    let progress = Progress::new("synthetic rows");
    let cost = cost();
    let mut all = synthetic(args.seeds)?;
    let mut left_out = Vec::new();
    match given(args.pixels.as_deref(), PIXELS) {
        Some(path) => {
            progress.say("pixels");
            all.push(pixels(path, args.seeds).map_err(|e| because(format!("cannot use {}", path.display()), e))?);
        }
        None => left_out.push(format!(
            "Left out: real pixels. {PIXELS} is not there; `models/pixels.py` writes it, or name a file by --pixels."
        )),
    }
    match given(args.gguf.as_deref(), WEIGHTS) {
        Some(path) => {
            progress.say("weights");
            all.extend(weights(path, args.seeds).map_err(|e| because(format!("cannot use {}", path.display()), e))?);
        }
        None => left_out.push(format!(
            "Left out: real weights. {WEIGHTS} is not there; `models/fetch.sh gemma` gets it, or name a file by --gguf."
        )),
    }
    drop(progress);
    let Some(output) = &args.output else { return print(&page::text(&all, &cost, &left_out, None)) };
    let stem = output.file_stem().map(|s| s.to_string_lossy().into_owned()).ok_or("--output is no file name")?;
    let drawings = page::drawings(&all, &stem);
    let names: Vec<&str> = drawings.iter().map(|d| d.0.as_str()).collect();
    let page = page::text(&all, &cost, &left_out, Some(&names));
    let write = |path: &Path, text: &str| {
        files::replace(path, |file| file.write_all(text.as_bytes()))
            .map_err(|e: std::io::Error| because(format!("cannot write {}", path.display()), e))
    };
    write(output, &page)?;
    for (name, svg) in &drawings {
        write(&output.with_file_name(name), svg)?;
    }
    let said = left_out.iter().map(|l| format!("{l}\n")).collect::<String>();
    print(&format!("{said}{}: {}\n", output.display(), format::count(drawings.len(), "drawing")))
}

/// The file that is to be read: one that is named, whatever comes of it, or the usual one, if it is there.
fn given<'a>(named: Option<&'a Path>, usual: &'a str) -> Option<&'a Path> {
    named.or_else(|| Some(Path::new(usual)).filter(|p| p.exists()))
}

fn synthetic(seeds: u16) -> Result<Vec<Data>, Failure> {
    let (n, width) = SYNTHETIC;
    let claimed = [(Projection::GoldenStep, 0.9244), (Projection::Random, 0.9169), (Projection::Sines, 0.9169)];
    let sines = Data::measure(
        "sine rows",
        "sine\nrows",
        format!(
            "{n} rows of {width}: 2 sin((97 i + 31 j) / 1000), what the original calls Gaussian; the same in every \
             run, so \
             that only the random projection differs"
        ),
        &claimed,
        seeds,
        |_| Ok(experiments::sine_rows(n, width)),
    )?;
    let gaussian = Data::measure(
        "Gaussian rows",
        "Gaussian\nrows",
        format!("{n} rows of {width} independent normal values, others in every run"),
        &claimed,
        seeds,
        |seed| Ok(experiments::gaussian_rows(n, width, seed)),
    )?;
    Ok(vec![sines, gaussian])
}

fn pixels(path: &Path, seeds: u16) -> Result<Data, Failure> {
    let tensor = Archive::open(path)?.read("pixels")?;
    let (Ok(values), &[n, width]) = (tensor.as_slice::<f32>(), tensor.shape()) else {
        let ty = format!("{}[{}]", tensor.dtype(), super::shape::sizes(tensor.shape()));
        return Err(format!("array \"pixels\" is {ty}; f32 of rows x values is needed").into());
    };
    if n < 3 || width == 0 {
        return Err(format!("{n} rows of {width} pixels have no pairs to be ordered").into());
    }
    if !values.iter().all(|v| v.is_finite()) {
        return Err("pixels have values that are not finite".into());
    }
    let values = memory::collected(values.len(), values.iter().map(|&v| v.into())).map_err(npz::no_memory)?;
    let rows = Rows { width, values };
    let original = [
        (Projection::GoldenStep, 0.6476),
        (Projection::MeanStride, 0.6476),
        (Projection::Random, 0.0806),
        (Projection::Sines, 0.0806),
    ];
    let drawn = n.min(DRAWN);
    let usual =
        if path == Path::new(PIXELS) { ", cut as models/pixels.py says from the pictures it names" } else { "" };
    let about = format!("{n} rows of {width} in {}{usual}; {drawn} drawn a run", name(path));
    Data::measure("pixels", "pixels", about, &original, seeds, |seed| Ok(rows.draw(DRAWN, seed)))
}

fn weights(path: &Path, seeds: u16) -> Result<Vec<Data>, Failure> {
    let file = gguf::open(path)?;
    let projections = Projections::new(&file)?;
    let layers = projections.layers();
    let mut all = Vec::new();
    let kinds = [("rows of W_q", "rows\nof W_q"), ("rows of W_k", "rows\nof W_k")];
    for (queries, (label, short)) in [true, false].into_iter().zip(kinds) {
        let draw = |seed: u64| -> Result<Rows, Failure> {
            let layer = if layers == 0 { 0 } else { (seed / 2) as usize % layers };
            let what = projections.heads(layer)?;
            let rows = match queries {
                true => projections.queries(layer, (seed / 2) as usize % what.heads)?,
                false => projections.keys(layer, (seed / 2) as usize % what.kv_heads)?,
            };
            if !rows.iter().all(|v| v.is_finite()) {
                return Err(format!("layer {layer} has weights that are not finite").into());
            }
            let rows = Rows { width: what.width, values: rows.into_iter().map(f64::from).collect() };
            Ok(rows.draw(DRAWN, seed))
        };
        let about = format!(
            "{}, layers and heads in turn; {DRAWN} of the rows of a head drawn a run (all, if it has fewer)",
            name(path)
        );
        all.push(Data::measure(label, short, about, &[], seeds, draw)?);
    }
    Ok(all)
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

/// Median time to fold a row and to write it back.
fn cost() -> Cost {
    let row = experiments::gaussian_rows(1, TIMED, 0).values;
    let code = Base17::encode(&row);
    let mut out = vec![0.0; TIMED];
    Cost {
        encode: median(|| {
            black_box(Base17::encode(black_box(&row)));
        }),
        hydrate: median(|| {
            black_box(code).hydrate(&mut out);
            black_box(&mut out);
        }),
    }
}

/// Of 1001 times that are each those of 16 calls.
fn median(mut f: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..1001)
        .map(|_| {
            let start = Instant::now();
            (0..16).for_each(|_| f());
            start.elapsed() / 16
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
