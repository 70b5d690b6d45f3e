//! Tables as what a graph's attention may take its scores from.

use super::attention_table::AttentionTable;
use super::cost::{Rates, Shape};
use super::registry::{TableRegistry, Tables};
use bgz_passes::ir::Scores;
use bgz_passes::scores::{Choice, ScoreSite, ScoreSource, ScoreTable};
use std::sync::Arc;

impl ScoreSource for Tables {
    /// The fastest of exact, int8 and the table of the site (else of its head dimension) among those whose held-out
    /// error, that of the worst head, is at most `max_error`; without a table, exact. As long as extents are not
    /// known, the table counts as the fastest.
    fn choose(&self, site: &ScoreSite<'_>, max_error: f64) -> Choice {
        let exact = |reason: String| Choice { scores: Scores::Exact, reason };
        let d = site.attention.d_head;
        let Some((table, name)) = self.get(d, Some(site.name)).zip(self.name(d, site.name)) else {
            return exact(format!("no table for d_head {d}, here or anywhere"));
        };
        let by_table = Way { scores: Scores::Table(name), error: table.worst_error() };
        let by_int8 = Way { scores: Scores::Int8, error: table.record().int8.output_error.worst };
        let ways = [by_table, by_int8];
        if !ways.iter().any(|w| w.fits(max_error)) {
            let [table, int8] = ways.map(|w| percent(w.error));
            return exact(format!("errors of {table} by table and {int8} by int8 are beyond {}", percent(max_error)));
        }
        match shape(site) {
            Some(shape) => fastest(table, ways, &shape, max_error),
            None => first(ways, max_error),
        }
    }

    fn table(&self, d_head: usize, name: &str) -> Option<ScoreTable> {
        self.named(d_head, name).map(|t| t.score_table())
    }
}

/// A way of scoring that is not exact.
struct Way {
    scores: Scores,
    error: f64,
}

impl Way {
    /// Not if the error is no number.
    fn fits(&self, max_error: f64) -> bool {
        self.error <= max_error
    }
}

/// By errors alone. One of them fits.
fn first(ways: [Way; 2], max_error: f64) -> Choice {
    let [table, int8] = ways;
    if table.fits(max_error) {
        let reason = format!("error {} of {}", percent(table.error), percent(max_error));
        return Choice { scores: table.scores, reason };
    }
    let reason =
        format!("error {} of {}, by table it is {}", percent(int8.error), percent(max_error), percent(table.error));
    Choice { scores: int8.scores, reason }
}

fn fastest(table: &AttentionTable, ways: [Way; 2], shape: &Shape, max_error: f64) -> Choice {
    let rates = Rates::current();
    let costs = [rates.table(table, shape), rates.int8(shape), rates.exact(shape)];
    let [by_table, by_int8] = ways;
    let exact = Way { scores: Scores::Exact, error: 0.0 };
    let mut best: Option<(Way, f64)> = None;
    for (way, cost) in [exact, by_int8, by_table].into_iter().zip(costs.into_iter().rev()) {
        if way.fits(max_error) && best.as_ref().is_none_or(|(_, least)| cost < *least) {
            best = Some((way, cost));
        }
    }
    let error = best.as_ref().map_or(0.0, |(way, _)| way.error);
    let reason = format!(
        "about {:.2} cycles a score by table, {:.2} by int8, {:.2} exact; error {} of {}",
        costs[0],
        costs[1],
        costs[2],
        percent(error),
        percent(max_error)
    );
    Choice { scores: best.map_or(Scores::Exact, |(way, _)| way.scores), reason }
}

fn shape(site: &ScoreSite<'_>) -> Option<Shape> {
    let a = site.attention;
    site.batch.as_usize()?;
    Some(Shape {
        d_head: a.d_head,
        d_v: site.d_v.as_usize()?,
        seq_q: site.seq_q.as_usize()?,
        seq_k: site.seq_k.as_usize()?,
        group: a.heads.checked_div(a.kv_heads)?,
    })
}

/// An error with three digits or so.
fn percent(error: f64) -> String {
    let percent = error * 100.0;
    if percent >= 10.0 { format!("{percent:.0} %") } else { format!("{percent:.2} %") }
}

impl From<Tables> for Arc<dyn ScoreSource> {
    fn from(tables: Tables) -> Self {
        Arc::new(tables)
    }
}

/// The tables there are at this moment.
impl From<&TableRegistry> for Arc<dyn ScoreSource> {
    fn from(registry: &TableRegistry) -> Self {
        Arc::new(registry.snapshot())
    }
}
