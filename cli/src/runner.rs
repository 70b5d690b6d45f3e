//! A model made ready to run, by a plan or op by op.

use super::failure::Failure;
use super::inputs::{self, Named};
use super::{HowArgs, source};
use bgz_fusion::exec::{Plan, Stages};
use bgz_fusion::ir::Graph;
use bgz_fusion::passes::attention_to_table::NAME;
use bgz_fusion::{Error, Model, Report, Tensor};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A model that runs again and again on the same inputs.
pub struct Runner {
    way: Way,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

enum Way {
    Plan(Arc<Plan>),
    /// Where extents depend on values.
    Stages(Arc<Stages>),
}

impl Runner {
    fn of_plan(plan: Arc<Plan>, inputs: &[Tensor]) -> Result<Self, Failure> {
        let outputs = plan.make_outputs().map_err(bgz_fusion::Error::from)?;
        Ok(Self { way: Way::Plan(plan), inputs: inputs.to_vec(), outputs })
    }

    fn of_stages(stages: Arc<Stages>, inputs: &[Tensor]) -> Self {
        Self { way: Way::Stages(stages), inputs: inputs.to_vec(), outputs: Vec::new() }
    }

    /// Runs once.
    pub fn run(&mut self) -> Result<(), Failure> {
        match &self.way {
            Way::Plan(plan) => plan.run_into(&self.inputs, &mut self.outputs).map_err(bgz_fusion::Error::from)?,
            Way::Stages(stages) => self.outputs = stages.run(&self.inputs).map_err(bgz_fusion::Error::from)?,
        }
        Ok(())
    }

    /// Results of the last run, in the order of the model's outputs.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// The plan that runs, if it is one for the whole model.
    pub fn plan(&self) -> Option<&Plan> {
        match &self.way {
            Way::Plan(plan) => Some(plan),
            Way::Stages(_) => None,
        }
    }

    /// Runs once, adding the time of each step of the plan to `times`.
    pub fn run_profiled(&mut self, times: &mut Vec<Duration>) -> Result<(), Failure> {
        let Way::Plan(plan) = &self.way else {
            return Err("extents of this model depend on values: it has no one plan".into());
        };
        let run = plan.run_profiled(&self.inputs, &mut self.outputs, times);
        Ok(run.map_err(bgz_fusion::Error::from)?)
    }
}

/// A model's plan for these inputs, or its stages where extents depend on values.
pub fn by_plan(model: &Model, inputs: &[Tensor]) -> Result<Runner, Failure> {
    match model.plan(&inputs.iter().map(Tensor::ty).collect::<Vec<_>>()) {
        Ok(plan) => Runner::of_plan(plan, inputs),
        Err(Error::Exec(e)) if e.depends_on_values() => Ok(Runner::of_stages(model.stages()?, inputs)),
        Err(e) => Err(e.into()),
    }
}

/// A model op by op, for these inputs.
pub fn by_ops(model: &Model, inputs: &[Tensor]) -> Result<Runner, Failure> {
    match model.op_by_op(&inputs.iter().map(Tensor::ty).collect::<Vec<_>>()) {
        Ok(plan) => Runner::of_plan(Arc::new(plan), inputs),
        Err(Error::Exec(e)) if e.depends_on_values() => {
            Ok(Runner::of_stages(Arc::new(model.stages_op_by_op()?), inputs))
        }
        Err(e) => Err(e.into()),
    }
}

/// Everything that one run of a model needs, and the times that making it took.
pub struct Ready {
    /// The model on its inputs.
    pub runner: Runner,
    /// Inputs as given.
    pub inputs: Named,
    /// Names of the outputs, in order.
    pub outputs: Vec<String>,
    /// Nodes as imported.
    pub imported_ops: usize,
    /// Nodes of the graph that is run.
    pub ops: usize,
    /// Reading the file.
    pub import: Duration,
    /// Rewriting the graph.
    pub rewrite: Duration,
    /// Binding shapes, packing weights.
    pub plan: Duration,
    /// How each attention gets its scores and why, by name, if they may be approximate.
    pub scores: Vec<(String, String)>,
}

/// The lines of a run of passes that say how attention gets its scores.
fn score_lines(report: &Report) -> Vec<(String, String)> {
    let applied = report.applied().filter(|a| a.rule == NAME);
    let applied = applied.map(|a| (a.value.clone(), a.reason.clone().unwrap_or_default()));
    let refused = report.refused().filter(|r| r.rule == NAME).map(|r| (r.value.clone(), r.reason.clone()));
    applied.chain(refused).collect()
}

fn last_of_each(lines: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for (name, line) in lines {
        match out.iter_mut().find(|(n, _)| *n == name) {
            Some(earlier) => earlier.1 = line,
            None => out.push((name, line)),
        }
    }
    out
}

/// Loads a model, rewrites it unless asked not to, and gets it ready for the inputs that `inputs` gives for it.
pub fn prepare(
    path: &Path,
    how: &HowArgs,
    say: impl Fn(&str),
    inputs: impl FnOnce(&Graph) -> Result<Named, Failure>,
) -> Result<Ready, Failure> {
    let tables = source::tables(&how.approximate)?;
    let pipeline = source::pipeline(&how.passes, &how.approximate, tables.as_ref())?;
    say("importing");
    let start = Instant::now();
    let mut model = source::load(path)?;
    let import = start.elapsed();
    let imported_ops = model.graph().len();
    let inputs = inputs(model.graph())?;
    let ordered = inputs::ordered(&inputs, |named| model.order_inputs(named))?;

    say("rewriting");
    let start = Instant::now();
    let mut scores = Vec::new();
    if !how.no_rewrite {
        scores.extend(score_lines(&model.rewrite(&pipeline)?));
    }
    let rewrite = start.elapsed();
    if let Some(tables) = tables.filter(|_| pipeline.approximation().is_some()) {
        tables.check(model.graph())?;
    }

    say("planning");
    let start = Instant::now();
    let runner = if how.no_rewrite { by_ops(&model, &ordered)? } else { by_plan(&model, &ordered)? };
    let plan = start.elapsed();
    // The choice made when the extents were known comes last, and counts.
    scores.extend(runner.plan().map(|p| score_lines(p.report())).unwrap_or_default());
    let outputs = model.graph().outputs().iter().map(|o| o.name.to_string()).collect();
    let ops = model.graph().len();
    Ok(Ready { runner, inputs, outputs, imported_ops, ops, import, rewrite, plan, scores: last_of_each(scores) })
}

/// Times of runs.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds one.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The middle one, or the mean of the two in the middle.
    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        match sorted.len() {
            0 => Duration::ZERO,
            n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2,
        }
    }

    /// The shortest.
    pub fn min(&self) -> Duration {
        self.0.iter().min().copied().unwrap_or_default()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Runs everything once, then all of them in turn, round by round: at least
/// `rounds` times, and on until `budget` is used up.
pub fn interleaved(
    runners: &mut [Runner],
    rounds: usize,
    budget: Duration,
    say: impl Fn(usize),
) -> Result<Vec<Times>, Failure> {
    for r in runners.iter_mut() {
        r.run()?;
    }
    let mut times = vec![Times::default(); runners.len()];
    let start = Instant::now();
    for round in 0.. {
        if round >= rounds && start.elapsed() >= budget {
            break;
        }
        say(round);
        for (r, times) in runners.iter_mut().zip(&mut times) {
            let start = Instant::now();
            r.run()?;
            times.push(start.elapsed());
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let mut t = Times::default();
        assert_eq!((t.median(), t.min()), (Duration::ZERO, Duration::ZERO));
        for ms in [5, 1, 4, 2, 3] {
            t.push(Duration::from_millis(ms));
        }
        assert_eq!((t.median(), t.min(), t.len()), (Duration::from_millis(3), Duration::from_millis(1), 5));
        t.push(Duration::from_millis(10));
        assert_eq!(t.median(), Duration::from_micros(3500));
    }
}
