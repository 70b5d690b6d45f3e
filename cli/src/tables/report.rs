//! `bgz tables report`: errors head by head, drawn.

use super::args::ReportArgs;
use super::known::{load, method, name};
use crate::chart::{Axis, Chart, Mark, Point, Scale, Series};
use crate::failure::{Failure, because};
use crate::{format, print};
use bgz_fusion::files;
use bgz_fusion::table::{AttentionTable, HeadErrors};
use std::collections::BTreeMap;
use std::io::Write;

/// Writes the drawing.
pub fn run(args: &ReportArgs) -> Result<(), Failure> {
    let mut tables = Vec::new();
    for path in &args.tables {
        tables.extend(load(path)?);
    }
    let chart = chart(&tables);
    if chart.is_empty() {
        return Err("none of these tables has errors head by head".into());
    }
    let fail = |e: std::io::Error| because(format!("cannot write {}", args.output.display()), e);
    files::replace(&args.output, |file| file.write_all(chart.svg().as_bytes())).map_err(fail)?;
    print(&format!("{}: {}\n", args.output.display(), format::count(tables.len(), "table")))
}

/// Tables of one method and head dimension share a colour. Every table has the same figures of int8, if it was
/// made of the same samples, so those of one method are drawn.
fn chart(tables: &[AttentionTable]) -> Chart {
    let mut groups: BTreeMap<(usize, usize, String), Vec<&AttentionTable>> = BTreeMap::new();
    for t in tables {
        groups.entry((t.d_head(), t.bytes_per_key(), method(t))).or_default().push(t);
    }
    let mut chart = Chart {
        title: "Error of attention outputs on held-out windows, a mark a head".into(),
        x: Axis { label: "bytes per key".into(), scale: Scale::Log(2.0), percent: false },
        y: Axis { label: "relative L2 error".into(), scale: Scale::Log(10.0), percent: true },
        series: Vec::new(),
    };
    let points = |group: &[&AttentionTable], bytes: usize, error: &dyn Fn(&HeadErrors) -> Option<f64>| -> Vec<Point> {
        let heads = group.iter().flat_map(|t| t.record().heads.iter().map(move |h| (t, h)));
        let point = |y, title| Point { x: bytes as f64, y, title, interval: None };
        heads.filter_map(|(t, h)| Some(point(error(h)?, format!("{}: {}", name(t), h.head)))).collect()
    };
    let mut rows: BTreeMap<usize, Vec<&AttentionTable>> = BTreeMap::new();
    for (colour, ((d, bytes, method), group)) in groups.into_iter().enumerate() {
        let label = format!("{method}, d_head {d}");
        let alone = points(&group, bytes, &|h| Some(h.table));
        let refined = points(&group, bytes, &|h| h.refined);
        if !refined.is_empty() {
            let label = format!("{label}, refined");
            chart.series.push(Series { label, colour, mark: Mark::Diamond, points: refined });
        }
        chart.series.push(Series { label, colour, mark: Mark::Circle, points: alone });
        rows.entry(d).or_insert(group);
    }
    for (d, group) in rows {
        // A byte a dim, and an f32 factor.
        let points = points(&group, d + 4, &|h| Some(h.int8));
        let label = format!("int8, d_head {d}");
        chart.series.push(Series { label, colour: usize::MAX, mark: Mark::Square, points });
    }
    chart
}
