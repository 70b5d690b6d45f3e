//! `bgz check`: outputs against expected ones.

use super::failure::Failure;
use super::progress::Progress;
use super::table::Table;
use super::{CheckArgs, compare, format, inputs, print, runner};
use bgz_fusion::Tensor;

/// Compares and fails if anything is beyond the tolerance.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let progress = Progress::new("importing");
    let mut expected = Vec::new();
    let mut ready = runner::prepare(
        &args.model,
        &args.how,
        |stage| progress.say(stage),
        |graph| {
            expected = inputs::read_outputs(&args.expect, graph)?;
            inputs::read(&args.inputs, graph)
        },
    )?;
    progress.say("running");
    ready.runner.run()?;

    let mut verdict = Verdict::new();
    for (name, got) in ready.outputs.iter().zip(ready.runner.outputs()) {
        match expected.iter().find(|(n, _)| n == name) {
            Some((_, want)) => verdict.compare(name, got, want, args),
            None => verdict.fail(name, got, format!("{} has no array of that name", args.expect.display())),
        }
    }
    for (name, want) in &expected {
        if !ready.outputs.contains(name) {
            verdict.fail(name, want, "the model has no output of that name".into());
        }
    }
    drop(progress);
    print(&format!("{}{}", verdict.table.plain(""), verdict.notes))?;
    if verdict.failed.is_empty() {
        return Ok(());
    }
    let (atol, rtol) = (format::number(args.atol), format::number(args.rtol));
    Err(format!("{}: not as expected (atol {atol}, rtol {rtol})", verdict.failed.join(", ")).into())
}

struct Verdict {
    table: Table,
    notes: String,
    failed: Vec<String>,
}

impl Verdict {
    fn new() -> Self {
        let head = ["", "output", "type", "max abs", "max rel", "cosine", "beyond"];
        Self { table: Table::new(3, head), notes: String::new(), failed: Vec::new() }
    }

    fn compare(&mut self, name: &str, got: &Tensor, want: &Tensor, args: &CheckArgs) {
        let Some(d) = compare::compare(got, want, args.atol, args.rtol) else {
            return self.fail(name, got, format!("it should be {}", want.ty()));
        };
        self.table.row([
            if d.beyond == 0 { "ok" } else { "FAIL" }.into(),
            name.into(),
            got.ty().to_string(),
            format::number(d.max_abs),
            format::number(d.max_rel),
            format!("{:.7}", d.cosine),
            format!("{} of {}", d.beyond, got.len()),
        ]);
        if d.beyond > 0 {
            self.failed.push(name.into());
        }
        if let Some(i) = d.worst {
            let at = compare::indices(got.shape(), i);
            let element = |t: &Tensor| t.scalars().nth(i).map_or_else(String::new, |s| s.to_string());
            let note = format!("{name}: furthest off at {at:?}: {} instead of {}\n", element(got), element(want));
            self.notes.push_str(&note);
        }
    }

    fn fail(&mut self, name: &str, tensor: &Tensor, why: String) {
        self.table.row(["FAIL".to_string(), name.into(), tensor.ty().to_string()]);
        self.notes.push_str(&format!("{name}: {why}\n"));
        self.failed.push(name.into());
    }
}
