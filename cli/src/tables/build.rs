//! `bgz tables build`: from a model and its inputs to a file of tables.

use super::args::{BuildArgs, CalibrationArgs, Kind, Others, Pairs, Per};
use super::show;
use crate::failure::{Failure, because};
use crate::progress::Progress;
use crate::{format, inputs, print, source};
use bgz_fusion::table::calibrate::{self, SiteSamples};
use bgz_fusion::table::{
    AttentionTable, BuildOptions, Method, ProductOptions, Refine, RefineSearch, Rest, Rotary, Samples, file,
};

/// Builds, writes and shows tables.
pub fn run(args: &BuildArgs) -> Result<(), Failure> {
    let progress = Progress::new("importing");
    let sites = collect(&args.calibration, &progress)?;
    let tables = build(args, sites, &progress)?;
    file::save(&args.output, &tables).map_err(|e| because(format!("cannot write {}", args.output.display()), e))?;
    drop(progress);
    print(&if args.json { show::as_json(&tables) } else { show::as_text(&args.output, &tables) })
}

/// The samples that the attention of the model sees on the inputs.
pub fn collect(args: &CalibrationArgs, progress: &Progress) -> Result<Vec<SiteSamples>, Failure> {
    let mut model = source::load(&args.model)?;
    let mut given = Vec::new();
    for path in &args.inputs {
        let named = inputs::read(path, model.graph())?;
        let ordered = inputs::ordered(&named, |named| model.order_inputs(named));
        given.push(ordered.map_err(|e| because(path.display().to_string(), e))?);
    }
    progress.say("rewriting");
    model.rewrite(&bgz_fusion::Pipeline::exact())?;
    let collected = calibrate::collect(model.graph(), &given, |i| {
        progress.say(format!("running: {} of {}", i + 1, format::count(given.len(), "file")));
    });
    collected.map_err(|e| match e {
        calibrate::CalibrateError::Run { input, source } => {
            let file = args.inputs.get(input).map(|p| p.display().to_string()).unwrap_or_default();
            because(format!("cannot run the model on {file}"), source)
        }
        other => because(format!("cannot calibrate on {}", args.model.display()), other),
    })
}

fn build(args: &BuildArgs, sites: Vec<SiteSamples>, progress: &Progress) -> Result<Vec<AttentionTable>, Failure> {
    let jobs: Vec<(Option<String>, Samples)> = match args.per {
        Per::Site => sites.into_iter().map(|s| (Some(s.site), s.samples)).collect(),
        Per::HeadDim => {
            let pools = calibrate::by_head_dimension(sites)
                .map_err(|e| because("cannot make a table for a head dimension (--per head-dim)", e))?;
            pools.into_iter().map(|samples| (None, samples)).collect()
        }
    };
    let mut tables = Vec::new();
    let all = jobs.len();
    for (i, (site, samples)) in jobs.into_iter().enumerate() {
        let what = site.clone().unwrap_or_else(|| format!("d_head {}", samples.d_head));
        progress.say(format!("building table {} of {all}: {what}", i + 1));
        let options = BuildOptions { method: method(args, samples.d_head), site, ..options(args) };
        let table = AttentionTable::build(&samples, &options).map_err(|e| {
            let windows = samples.windows.len();
            because(format!("no table for {what}, from {}", format::count(windows, "window")), e)
        })?;
        tables.push(table);
    }
    Ok(tables)
}

fn options(args: &BuildArgs) -> BuildOptions {
    let rest = match args.rest {
        Others::Dropped => Rest::Dropped,
        Others::Scored => Rest::Scored,
    };
    let refine = Refine { rest, ..Refine::default() };
    let search = RefineSearch { max_error: args.max_error, refine, ..RefineSearch::default() };
    BuildOptions {
        held_out: args.calibration.held_out,
        refine: (!args.no_refine).then_some(search),
        ..BuildOptions::default()
    }
}

fn method(args: &BuildArgs, d_head: usize) -> Method {
    let (entries, dims) = match args.method {
        Kind::Palette => return Method::Palette { seed: args.calibration.seed },
        Kind::Product16 => (16, 2),
        Kind::Product128 => (128, 4),
        Kind::Product256 => (256, 4),
    };
    let rotary = match args.rotary {
        Pairs::None => Rotary::None,
        Pairs::Interleaved => Rotary::Interleaved,
        Pairs::Halves => Rotary::Halves,
    };
    let subspaces = args.subspaces.map_or((d_head / dims).max(1), usize::from);
    Method::Product(ProductOptions {
        subspaces,
        entries,
        rotary,
        seed: args.calibration.seed,
        ..ProductOptions::default()
    })
}
