//! `bgz tables compare`: every way of scoring, on what a model's attention sees.

use super::args::CompareArgs;
use super::build;
use super::show::{percent, share};
use crate::failure::{Failure, because};
use crate::progress::Progress;
use crate::table::Table;
use crate::{format, print};
use bgz_fusion::table::calibrate;
use bgz_fusion::table::{BuildOptions, Method, ProductOptions, RefineSearch, compare};

/// Measures, and prints a table for each head dimension.
pub fn run(args: &CompareArgs) -> Result<(), Failure> {
    let progress = Progress::new("importing");
    let sites = build::collect(&args.calibration, &progress)?;
    let pools = calibrate::by_head_dimension(sites)
        .map_err(|e| because("cannot compare what heads of one dimension see together", e))?;
    let mut out = String::new();
    for samples in pools {
        let d = samples.d_head;
        let subspaces = args.subspaces.map_or((d / 4).max(1), usize::from);
        let how = ProductOptions { subspaces, seed: args.calibration.seed, ..ProductOptions::default() };
        let options = BuildOptions {
            method: Method::Product(how),
            held_out: args.calibration.held_out,
            refine: Some(RefineSearch { max_error: args.max_error, ..RefineSearch::default() }),
            ..BuildOptions::default()
        };
        progress.say(format!("measuring every way of scoring, d_head {d}"));
        let windows = format::count(samples.windows.len(), "window");
        let all = compare(&samples, &options).map_err(|e| because(format!("d_head {d}, from {windows}"), e))?;
        let head = ["scores of d_head ", "bytes/key", "spearman", "pearson", "top-1", "KL", "output error, %"];
        let head = head.map(|h| if h.ends_with(' ') { format!("{h}{d}") } else { h.into() });
        let more = ["refined error, %", "refined top-1", "keys exact, %"].map(String::from);
        let mut table = Table::new(1, head.into_iter().chain(more));
        for c in &all {
            let f = &c.fidelity;
            let scores = [f.spearman, f.pearson, f.top1, f.kl].map(share);
            let refined = match &c.refined {
                Some((f, chosen)) => [percent(f.output_error), share(f.top1), format!("{:.1}", chosen * 100.0)],
                None => ["-"; 3].map(String::from),
            };
            let about = [c.method.to_string(), c.bytes_per_key.to_string()];
            table.row(about.into_iter().chain(scores).chain([percent(f.output_error)]).chain(refined));
        }
        out.push_str(&table.markdown());
        let heads = all.first().map_or(0, |c| c.fidelity.heads);
        out.push_str(&format!("\n{} in {windows}; worst head (mean)\n\n", format::count(heads, "head")));
    }
    drop(progress);
    print(&out)
}
