//! Comparisons whose ways take turns.
//!
//! Where a machine is shared, or its clock changes while a bench runs, what is measured one after the other cannot be compared:
//! a way that happens to run in a slow minute loses. Here every round runs each way once, for some milliseconds, and what is
//! printed are medians over rounds of the ratios within one round.

use std::time::{Duration, Instant};

/// Least time of a way in a round.
const TURN: Duration = Duration::from_millis(4);
/// Time of all rounds of a comparison after which there are fewer than were asked for.
const BUDGET: Duration = Duration::from_secs(12);
/// Fewest rounds.
const FEWEST: usize = 5;

/// The arguments of the command line: `[FILTER...] [--rounds N]`; whatever else begins with `--` is cargo's.
pub struct Args {
    filters: Vec<String>,
    rounds: usize,
}

impl Args {
    /// Those of this process.
    pub fn read() -> Self {
        let (mut filters, mut rounds) = (Vec::new(), 15);
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            if arg == "--rounds" {
                rounds = args.next().and_then(|n| n.parse().ok()).expect("--rounds needs a number");
            } else if !arg.starts_with("--") {
                filters.push(arg);
            }
        }
        Self { filters, rounds }
    }

    /// True if a comparison of this name is to be made, which it is if it contains one of the filters, or there are none.
    pub fn want(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|f| name.contains(f.as_str()))
    }
}

/// Makes the global pool of one thread, or of as many as `RAYON_NUM_THREADS` says: how many.
pub fn threads() -> usize {
    let threads = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("no pool was made before");
    threads
}

/// One way to do something.
pub struct Way<'a> {
    name: &'a str,
    run: Box<dyn FnMut() + 'a>,
}

impl<'a> Way<'a> {
    /// A way of this name.
    pub fn new(name: &'a str, run: impl FnMut() + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }

    fn time(&mut self, times: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..times {
            (self.run)();
        }
        start.elapsed() / times
    }
}

/// Comparisons of the same ways, which make one table.
pub struct Section<'a> {
    args: &'a Args,
    /// The unit and the number that a time is divided by, as `ns a key`.
    unit: (&'a str, f64),
    /// Ways that the others are compared with.
    bases: &'a [&'a str],
    rows: Vec<Row>,
}

struct Row {
    name: String,
    items: usize,
    ways: Vec<String>,
    /// Of each way, a time a round.
    times: Vec<Vec<Duration>>,
}

impl<'a> Section<'a> {
    /// A table whose times are in `unit`, of so many seconds, an item, and for each of the `bases` the speed of the other ways.
    pub fn new(args: &'a Args, unit: (&'a str, f64), bases: &'a [&'a str]) -> Self {
        Self { args, unit, bases, rows: Vec::new() }
    }

    /// Lets the ways take turns, each of which does `items`.
    pub fn compare(&mut self, name: String, items: usize, mut ways: Vec<Way>) {
        let times: Vec<u32> = ways
            .iter_mut()
            .map(|way| {
                way.time(1);
                let once = way.time(1).max(Duration::from_nanos(1));
                TURN.as_nanos().div_ceil(once.as_nanos()) as u32
            })
            .collect();
        let round = |ways: &mut [Way]| ways.iter_mut().zip(&times).map(|(way, &n)| way.time(n)).collect::<Vec<_>>();
        let start = Instant::now();
        let mut rounds = vec![round(&mut ways)];
        let fit = BUDGET.as_nanos() / start.elapsed().as_nanos().max(1);
        let wanted = (fit as usize).clamp(FEWEST.min(self.args.rounds), self.args.rounds.max(1));
        while rounds.len() < wanted {
            rounds.push(round(&mut ways));
        }
        eprintln!("{name}: {wanted} rounds");
        let times = (0..ways.len()).map(|way| rounds.iter().map(|r| r[way]).collect()).collect();
        let ways = ways.iter().map(|w| w.name.to_owned()).collect();
        self.rows.push(Row { name, items, ways, times });
    }

    /// Prints the tables, in Markdown.
    pub fn print(self) {
        let Some(first) = self.rows.first() else { return };
        let (unit, seconds) = self.unit;
        println!("\n{unit}, medians of rounds\n");
        line(std::iter::once("").chain(first.ways.iter().map(String::as_str)));
        rule(first.ways.len());
        for row in &self.rows {
            let cells = row.times.iter().map(|times| {
                let all = times.iter().map(|t| t.as_secs_f64() / seconds / row.items as f64).collect();
                let [_, median, _] = quartiles(all);
                format!("{median:.3}")
            });
            line(std::iter::once(row.name.clone()).chain(cells));
        }
        for base in self.bases {
            println!("\ntimes the speed of {base}: median of rounds (quartiles)\n");
            line(std::iter::once("").chain(first.ways.iter().map(String::as_str)));
            rule(first.ways.len());
            for row in &self.rows {
                let Some(base) = row.ways.iter().position(|w| w == base) else { continue };
                let cells = row.times.iter().map(|times| {
                    let ratios = row.times[base].iter().zip(times).map(|(b, t)| b.as_secs_f64() / t.as_secs_f64());
                    let [low, median, high] = quartiles(ratios.collect());
                    format!("{median:.2} ({low:.2} - {high:.2})")
                });
                line(std::iter::once(row.name.clone()).chain(cells));
            }
        }
    }
}

fn line(cells: impl Iterator<Item = impl std::fmt::Display>) {
    println!("|{}", cells.map(|c| format!(" {c} |")).collect::<String>());
}

fn rule(columns: usize) {
    println!("| --- |{}", " ---: |".repeat(columns));
}

fn quartiles(mut all: Vec<f64>) -> [f64; 3] {
    all.sort_by(f64::total_cmp);
    [1, 2, 3].map(|q| all[(all.len() - 1) * q / 4])
}
