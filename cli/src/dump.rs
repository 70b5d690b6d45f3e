//! `bgz dump`: the graph as imported.

use super::failure::Failure;
use super::progress::Progress;
use super::{DumpArgs, print, source};
use bgz_fusion::snapshot;

/// Prints the graph.
pub fn run(args: &DumpArgs) -> Result<(), Failure> {
    let progress = Progress::new("importing");
    let model = source::load(&args.model)?;
    let text = snapshot::text(model.graph());
    drop(progress);
    print(&text)
}
