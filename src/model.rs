//! A model: a graph from an ONNX file, rewritten and run.

use crate::Error;
use crate::exec::{Appended, ExecError, PackedWeights, Plan, Stages, Structure, Threads};
use crate::options::ModelOptions;
use crate::outputs::Outputs;
use crate::tensor::Tensor;
use bgz_passes::ir::{DType, Dim, Graph, Type, ValueId};
use bgz_passes::narrow;
use bgz_passes::pipeline::{Pipeline, Report};
use bgz_passes::scores::Approximation;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Plans kept at most; the one unused for longest goes first.
const MAX_PLANS: usize = 32;

/// A model read from an ONNX file, its graph rewritten, to be run on the CPU.
///
/// [`ModelOptions`] has all that can be asked of it. One model may be run by several threads at the same time.
///
/// ```no_run
/// use bgz_fusion::{Model, Tensor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = Model::load("model.onnx")?;
/// for input in model.inputs() {
///     println!("{input}"); // input_ids: i64[batch, sequence]
/// }
/// let ids = Tensor::new(&[1, 4], &[101i64, 7592, 2088, 102])?;
/// let outputs = model.run(&[("input_ids", ids)])?;
/// let logits: &[f32] = outputs["logits"].as_slice()?;
/// println!("{} numbers", logits.len());
/// # Ok(())
/// # }
/// ```
pub struct Model {
    graph: Graph,
    /// With narrow floats kept as f32 between ops, as plans have it; `None` if there are none.
    wide: OnceLock<Option<Graph>>,
    packed: Arc<PackedWeights>,
    structure: OnceLock<Structure>,
    /// Of a graph whose extents depend on values.
    stages: OnceLock<Arc<Stages>>,
    plans: Mutex<VecDeque<Arc<Plan>>>,
    /// Of the last pipeline that had one: the graph may name its tables.
    approximation: Option<Approximation>,
    /// Of the pipelines that it was loaded and rewritten by.
    report: Report,
    threads: Threads,
}

/// An input or output of a model, as its graph has it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ValueInfo {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents: numbers, or named dims, which every run may give others.
    pub dims: Vec<Dim>,
}

impl fmt::Display for ValueInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, Type { dtype: self.dtype, shape: self.dims.clone() })
    }
}

impl Model {
    /// Reads a file, and the files its tensors lie in, into memory, and rewrites the graph exactly: results differ from those
    /// of the file's graph by rounding only. They do not depend on what becomes of the files afterwards.
    ///
    /// The memory of a large weight goes back to the system once it is packed. Should it be needed again in another form (a
    /// rewrite to another precision after a run, say), it is read from its file again; if that has changed, it is an error.
    ///
    /// # Errors
    /// If a file cannot be read, or is no model that can be imported.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        ModelOptions::new().load(path)
    }

    /// As [`Model::load`], with the files mapped: what is not read, or packed already, takes no memory, and processes
    /// share what they read as it is.
    ///
    /// # Errors
    /// As [`Model::load`].
    ///
    /// # Safety
    /// Nobody changes or shortens the files while the model is alive: results would change, or the process be ended by a
    /// signal.
    pub unsafe fn load_mapped(path: impl AsRef<Path>) -> Result<Self, Error> {
        // SAFETY: the caller's promise.
        unsafe { ModelOptions::new().load_mapped(path) }
    }

    /// As [`Model::load`], of the bytes of a file; `name` is what its graph is called.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes(name: &str, bytes: impl Into<Bytes>) -> Result<Self, Error> {
        ModelOptions::new().from_bytes(name, bytes)
    }

    /// A model of a graph as it is, say from text: it is not rewritten.
    pub fn from_graph(graph: Graph) -> Self {
        Self::of(graph, Threads::default())
    }

    pub(crate) fn of(graph: Graph, threads: Threads) -> Self {
        Self {
            graph,
            wide: OnceLock::new(),
            packed: Arc::default(),
            structure: OnceLock::new(),
            stages: OnceLock::new(),
            plans: Mutex::default(),
            approximation: None,
            report: Report::default(),
            threads,
        }
    }

    /// The inputs, in the order of the graph.
    pub fn inputs(&self) -> Vec<ValueInfo> {
        let graph = &self.graph;
        graph.inputs().iter().map(|&v| self.value_info(graph.name(v), v)).collect()
    }

    /// The outputs, in the order of the graph.
    pub fn outputs(&self) -> Vec<ValueInfo> {
        self.graph.outputs().iter().map(|o| self.value_info(&o.name, o.value)).collect()
    }

    fn value_info(&self, name: &str, v: ValueId) -> ValueInfo {
        let ty = self.graph.ty(v);
        ValueInfo { name: name.into(), dtype: ty.dtype, dims: ty.shape.clone() }
    }

    /// The rewrites so far, and what was considered and not done, pass by pass.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The graph as it is now.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Rewrites the graph once more. What was done, and what was considered and not
    /// done, is in the report. If a pass fails the graph is as it was.
    ///
    /// A model that was [loaded](Model::load) has been rewritten by [`Pipeline::exact`]; this is for a graph
    /// [as imported](ModelOptions::as_imported), and for passes besides. The tables of [`Pipeline::approximate`] are kept: plans choose among them again once they know extents.
    pub fn rewrite(&mut self, pipeline: &Pipeline) -> Result<Report, Error> {
        let mut graph = self.graph.clone();
        let report = pipeline.run(&mut graph)?;
        self.graph = graph;
        self.report.passes.extend(report.passes.iter().cloned());
        self.wide = OnceLock::new();
        self.structure = OnceLock::new();
        self.stages = OnceLock::new();
        if let Some(approximation) = pipeline.approximation() {
            self.approximation = Some(approximation.clone());
        }
        self.plans.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(report)
    }

    /// Inputs by name put in the order of the graph.
    pub fn order_inputs(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>, Error> {
        let names = || self.graph.inputs().iter().map(|&v| self.graph.name(v)).collect::<Vec<_>>().join(", ");
        for (name, _) in inputs {
            if !self.graph.inputs().iter().any(|&v| self.graph.name(v) == *name) {
                return Err(ExecError::UnknownInput { name: (*name).into(), names: names() }.into());
            }
        }
        let find = |name: &str| inputs.iter().find(|i| i.0 == name).map(|i| i.1.clone());
        self.graph
            .inputs()
            .iter()
            .map(|&v| {
                let name = self.graph.name(v);
                find(name).ok_or_else(|| {
                    let ty = self.graph.ty(v).to_string();
                    ExecError::MissingInput { name: name.into(), ty }.into()
                })
            })
            .collect()
    }

    /// The plan for inputs of these types, in the order of the graph's inputs;
    /// made at the first call and kept.
    pub fn plan(&self, inputs: &[Type]) -> Result<Arc<Plan>, Error> {
        let same = |p: &Plan| {
            let g = p.graph();
            g.inputs().len() == inputs.len() && g.inputs().iter().zip(inputs).all(|(&v, t)| g.ty(v) == t)
        };
        if let Some(plan) = self.kept(same) {
            return Ok(plan);
        }
        let made = || self.structure()?.plan(inputs, &self.packed, self.approximation.as_ref());
        Ok(self.keep(self.threads.on(made)?))
    }

    /// A plan that is not kept, some of whose outputs are appended to their inputs.
    pub(crate) fn plan_appending(&self, inputs: &[Type], appended: &[Appended]) -> Result<Plan, Error> {
        let made = || self.structure()?.plan_appending(inputs, &self.packed, self.approximation.as_ref(), appended);
        Ok(self.threads.on(made)?)
    }

    pub(crate) fn structure(&self) -> Result<&Structure, ExecError> {
        match self.structure.get() {
            Some(structure) => Ok(structure),
            None => {
                let structure = Structure::new(self.wide()?)?;
                Ok(self.structure.get_or_init(|| structure))
            }
        }
    }

    /// The graph that plans are made of.
    fn wide(&self) -> Result<&Graph, ExecError> {
        let wide = match self.wide.get() {
            Some(wide) => wide,
            None => {
                let wide = narrow::widened(&self.graph)?;
                self.wide.get_or_init(|| wide)
            }
        };
        Ok(wide.as_ref().unwrap_or(&self.graph))
    }

    /// Runs on inputs by name.
    ///
    /// It runs on the model's own threads if it has [some](ModelOptions::threads), and otherwise on those of the rayon pool
    /// that it is called in.
    ///
    /// # Errors
    /// An input that is missing, unknown, or of another dtype or shape than the model takes; extents that do not work out;
    /// an index out of range; memory that does not suffice.
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Outputs, Error> {
        let inputs = self.order_inputs(inputs)?;
        let outputs = self.threads.on(|| match (self.stages.get(), self.kept(|p| p.fits(&inputs))) {
            (Some(stages), _) => Ok::<_, Error>(stages.run(&inputs)?),
            (None, Some(plan)) => Ok(plan.run(&inputs)?),
            (None, None) => match self.plan(&inputs.iter().map(Tensor::ty).collect::<Vec<_>>()) {
                Ok(plan) => Ok(plan.run(&inputs)?),
                Err(Error::Exec(e)) if e.depends_on_values() => Ok(self.stages()?.run(&inputs)?),
                Err(e) => Err(e),
            },
        })?;
        Ok(Outputs::new(self.graph.outputs().iter().map(|o| o.name.to_string()).zip(outputs)))
    }

    /// The threads that it runs on.
    pub(crate) fn threads(&self) -> &Threads {
        &self.threads
    }

    /// The graph to be run in stages, as is needed where extents depend on values ([`ExecError::depends_on_values`]).
    pub fn stages(&self) -> Result<Arc<Stages>, Error> {
        if let Some(stages) = self.stages.get() {
            return Ok(stages.clone());
        }
        let made = Stages::new(self.wide()?.clone(), self.packed.clone(), self.approximation.clone(), false)?;
        Ok(self.stages.get_or_init(|| Arc::new(made)).clone())
    }

    /// As [`Model::stages`], every node by itself.
    pub fn stages_op_by_op(&self) -> Result<Stages, Error> {
        Ok(Stages::new(self.wide()?.clone(), self.packed.clone(), None, true)?)
    }

    /// A plan that runs every node of the graph as it is now by itself, for inputs of these types: what rewritten plans are
    /// compared with.
    pub fn op_by_op(&self, inputs: &[Type]) -> Result<Plan, Error> {
        Ok(Plan::op_by_op(self.wide()?, inputs, &self.packed)?)
    }

    fn kept(&self, fits: impl Fn(&Plan) -> bool) -> Option<Arc<Plan>> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let at = plans.iter().position(|p| fits(p))?;
        let plan = plans.remove(at)?;
        plans.push_back(plan.clone());
        Some(plan)
    }

    fn keep(&self, plan: Plan) -> Arc<Plan> {
        let plan = Arc::new(plan);
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= MAX_PLANS {
            plans.pop_front();
            // Weights that were folded for the shapes of that plan go with it.
            self.packed.prune();
        }
        plans.push_back(plan.clone());
        plan
    }
}
