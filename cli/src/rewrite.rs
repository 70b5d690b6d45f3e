//! `bgz rewrite`: the graph after rewriting, or what changed.

use super::failure::Failure;
use super::progress::Progress;
use super::{RewriteArgs, print, source};
use bgz_fusion::snapshot;
use similar::TextDiff;

/// Prints the graph, a diff, and the trace if asked for.
pub fn run(args: &RewriteArgs) -> Result<(), Failure> {
    let tables = source::tables(&args.approximate)?;
    let pipeline = source::pipeline(&args.passes, &args.approximate, tables.as_ref())?;
    let progress = Progress::new("importing");
    let mut model = source::load(&args.model)?;
    let before = args.diff.then(|| snapshot::text(model.graph()));
    progress.say("rewriting");
    let report = model.rewrite(&pipeline)?;
    if let Some(tables) = tables.filter(|_| pipeline.approximation().is_some()) {
        tables.check(model.graph())?;
    }
    let mut text = snapshot::text(model.graph());
    if let Some(before) = before {
        let diff = TextDiff::from_lines(&before, &text);
        text = diff.unified_diff().context_radius(3).header("imported", "rewritten").to_string();
    }
    if args.trace {
        text.push_str(&report.to_string());
    }
    drop(progress);
    print(&text)
}
