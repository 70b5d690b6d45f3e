//! Runs that follow each other: outputs of one are inputs of the next.

use crate::Error;
use crate::exec::{Appended, ExecError, Plan, Ports, StepInfo, bind_inputs, output};
use crate::model::Model;
use crate::outputs::Outputs;
use crate::tensor::Tensor;
use bgz_kernels::Memory;
use bgz_passes::ir::{Bindings, Dim, Type};
use std::collections::VecDeque;

/// Plans kept by a session; each number of entries in a cache has its own.
const MAX_PLANS: usize = 8;

/// Entries of an appended value that there is room for at first; then as many again.
const FIRST_ROOM: usize = 64;

/// A model with state: named outputs of a run are inputs of the next, as the keys and values of a decoder's KV cache or the
/// hidden state of a recurrent network.
///
/// An output that the model makes by appending to the input, `present = Concat(past, new)`, stays where it is from run to
/// run, with room ahead: only what is new is written. Any other is handed over. An appended state is empty at first, along
/// the axis on which it grows; others have to be [set](Session::set) before the first run.
///
/// ```no_run
/// use bgz_fusion::{Model, Tensor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = Model::load("decoder.onnx")?;
/// let mut session = model.session(&[("present.0.key", "past_key_values.0.key"), ("present.0.value", "past_key_values.0.value")])?;
/// for token in [1i64, 15, 7] {
///     let logits = session.run(&[("input_ids", Tensor::new(&[1, 1], &[token])?)])?;
///     println!("{}: {:?}", logits[0].0, logits[0].1.shape());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Session<'m> {
    model: &'m Model,
    states: Vec<State>,
    plans: VecDeque<(Vec<Type>, Vec<Appended>, Plan)>,
}

/// An output, by its number, that is the input of this number in the next run.
struct State {
    output: usize,
    input: usize,
    held: Held,
}

enum Held {
    /// A tensor, once there is one.
    Whole(Option<Tensor>),
    /// Appended to along an axis.
    Cache { axis: usize, cache: Option<Cache> },
}

/// A tensor with room ahead along an axis.
struct Cache {
    ty: Type,
    shape: Vec<usize>,
    room: usize,
    memory: Memory,
}

impl Cache {
    /// An empty one.
    fn new(ty: &Type, shape: Vec<usize>, axis: usize, room: usize) -> Result<Self, ExecError> {
        let outer = shape.iter().enumerate().filter(|&(i, _)| i != axis).map(|(_, &n)| n);
        let bytes = outer.chain([room, ty.dtype.size()]).try_fold(1usize, |n, d| n.checked_mul(d));
        let bytes = bytes.filter(|&n| n <= isize::MAX as usize).ok_or(ExecError::TooLarge)?;
        let memory = Memory::new(bytes).ok_or(ExecError::Memory { what: "a state".into(), bytes })?;
        Ok(Self { ty: ty.clone(), shape, room, memory })
    }

    /// Bytes of an entry of the axis, with all behind it, and how many lie in front of it.
    fn entries(&self, axis: usize) -> (usize, usize) {
        let inner = self.shape[axis + 1..].iter().product::<usize>() * self.ty.dtype.size();
        (inner, self.shape[..axis].iter().product())
    }

    /// The same entries with other room.
    fn grown(&self, axis: usize, room: usize) -> Result<Self, ExecError> {
        let mut grown = Self::new(&self.ty, self.shape.clone(), axis, room)?;
        let ((entry, outer), filled) = (self.entries(axis), self.shape[axis]);
        let (from, to) = (self.memory.bytes(), grown.memory.bytes_mut());
        for i in 0..outer {
            to[i * room * entry..][..filled * entry].copy_from_slice(&from[i * self.room * entry..][..filled * entry]);
        }
        Ok(grown)
    }

    /// The entries that there are.
    fn tensor(&self, axis: usize) -> Result<Tensor, ExecError> {
        let mut tensor = output("a state", self.ty.dtype, &self.shape)?;
        let ((entry, outer), filled) = (self.entries(axis), self.shape[axis]);
        for i in 0..outer {
            let from = &self.memory.bytes()[i * self.room * entry..][..filled * entry];
            tensor.bytes_mut()[i * filled * entry..][..filled * entry].copy_from_slice(from);
        }
        Ok(tensor)
    }
}

impl Model {
    /// A session in which each output of `states` is the input beside it in the next run.
    ///
    /// # Errors
    /// The model has no such output or input, they differ in dtype or rank, or one is named twice.
    pub fn session(&self, states: &[(&str, &str)]) -> Result<Session<'_>, Error> {
        let structure = self.structure()?;
        let graph = self.graph();
        let names = |all: Vec<&str>| all.join(", ");
        let mut found = Vec::new();
        for (i, &(from, to)) in states.iter().enumerate() {
            if let Some(name) =
                states[..i].iter().find_map(|s| (s.0 == from).then_some(from).or((s.1 == to).then_some(to)))
            {
                return Err(ExecError::StateTwice { name: name.into() }.into());
            }
            let output = graph.outputs().iter().position(|o| &*o.name == from).ok_or_else(|| {
                let names = names(graph.outputs().iter().map(|o| &*o.name).collect());
                ExecError::UnknownOutput { name: from.into(), names }
            })?;
            let input = graph.inputs().iter().position(|&v| graph.name(v) == to).ok_or_else(|| {
                let names = names(graph.inputs().iter().map(|&v| graph.name(v)).collect());
                ExecError::UnknownInput { name: to.into(), names }
            })?;
            let (made, taken) = (graph.ty(graph.outputs()[output].value), graph.ty(graph.inputs()[input]));
            if made.dtype != taken.dtype || made.rank() != taken.rank() {
                let (given, expected) = (made.to_string(), taken.to_string());
                return Err(ExecError::InputType { name: to.into(), given, expected, reason: String::new() }.into());
            }
            let held = match structure.appends(input, output) {
                Some(axis) => Held::Cache { axis, cache: None },
                None => Held::Whole(None),
            };
            found.push(State { output, input, held });
        }
        Ok(Session { model: self, states: found, plans: VecDeque::new() })
    }
}

impl Session<'_> {
    /// Forgets all state.
    pub fn reset(&mut self) {
        for state in &mut self.states {
            match &mut state.held {
                Held::Whole(tensor) => *tensor = None,
                Held::Cache { cache, .. } => *cache = None,
            }
        }
    }

    /// The state that the next run takes as the input `name`; `None` if there is none yet.
    ///
    /// # Errors
    /// Memory does not suffice for a copy.
    pub fn state(&self, name: &str) -> Result<Option<Tensor>, Error> {
        let graph = self.model.graph();
        let state = self.states.iter().find(|s| graph.name(graph.inputs()[s.input]) == name);
        Ok(match state.map(|s| &s.held) {
            Some(Held::Whole(tensor)) => tensor.clone(),
            Some(Held::Cache { axis, cache }) => cache.as_ref().map(|c| c.tensor(*axis)).transpose()?,
            None => None,
        })
    }

    /// Sets the state that the next run takes as the input `name`.
    ///
    /// # Errors
    /// The session has no such state, or memory does not suffice.
    pub fn set(&mut self, name: &str, tensor: Tensor) -> Result<(), Error> {
        let graph = self.model.graph();
        let states: Vec<&str> = self.states.iter().map(|s| graph.name(graph.inputs()[s.input])).collect();
        let Some(at) = states.iter().position(|&n| n == name) else {
            return Err(ExecError::UnknownInput { name: name.into(), names: states.join(", ") }.into());
        };
        let state = &mut self.states[at];
        let expected = graph.ty(graph.inputs()[state.input]);
        if tensor.dtype() != expected.dtype || tensor.shape().len() != expected.rank() {
            let (given, expected) = (tensor.ty().to_string(), expected.to_string());
            return Err(ExecError::InputType { name: name.into(), given, expected, reason: String::new() }.into());
        }
        match &mut state.held {
            Held::Whole(held) => *held = Some(tensor),
            Held::Cache { axis, cache } => {
                let filled = tensor.shape()[*axis];
                let mut new = Cache::new(&tensor.ty(), tensor.shape().to_vec(), *axis, filled)?;
                new.memory.bytes_mut().copy_from_slice(tensor.bytes());
                *cache = Some(new);
            }
        }
        Ok(())
    }

    /// Runs on the inputs that are not states, by name; the results that are not states, by name.
    ///
    /// # Errors
    /// As [`Model::run`]; a state that does not grow has not been set. State is as it was then, unless a step failed on the
    /// way.
    pub fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Outputs, Error> {
        let given = self.given(inputs)?;
        self.model.threads().on(|| self.run_given(given))
    }

    /// Runs on the inputs in the graph's order, on this thread and those of its pool.
    fn run_given(&mut self, given: Vec<Option<Tensor>>) -> Result<Outputs, Error> {
        let graph = self.model.graph();
        let types: Vec<Type> = self.types(&given)?;
        let bindings = bind_inputs(graph, &types)?;
        if !self.make_room(&types, &bindings)? {
            self.hand_over(&types)?;
        }
        let appended = self.appended();
        let outputs = match self.plan(&types, &appended) {
            Ok(at) if self.plans[at].2.appends(&appended) => self.run_plan(at, given)?,
            // With numbers for its extents the model has come out otherwise.
            Ok(_) => {
                self.hand_over(&types)?;
                let at = self.plan(&types, &[])?;
                self.run_plan(at, given)?
            }
            Err(Error::Exec(e)) if e.depends_on_values() => {
                self.hand_over(&types)?;
                self.run_stages(given)?
            }
            Err(e) => return Err(e),
        };
        let named = graph.outputs().iter().map(|o| o.name.to_string()).zip(outputs);
        Ok(Outputs::new(named.filter_map(|(name, tensor)| Some((name, tensor?)))))
    }

    /// The steps of the last run's plan, in order; none before the first.
    pub fn steps(&self) -> impl Iterator<Item = StepInfo> + '_ {
        self.plans.back().into_iter().flat_map(|(.., plan)| plan.steps())
    }

    /// The inputs in the graph's order; `None` where a state is.
    fn given(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<Option<Tensor>>, Error> {
        let graph = self.model.graph();
        let is_state = |i: usize| self.states.iter().any(|s| s.input == i);
        let own: Vec<(usize, &str)> = graph
            .inputs()
            .iter()
            .enumerate()
            .filter(|(i, _)| !is_state(*i))
            .map(|(i, &v)| (i, graph.name(v)))
            .collect();
        if let Some((name, _)) = inputs.iter().find(|(name, _)| own.iter().all(|o| o.1 != *name)) {
            let names = own.iter().map(|o| o.1).collect::<Vec<_>>().join(", ");
            return Err(ExecError::UnknownInput { name: (*name).into(), names }.into());
        }
        let mut given = vec![None; graph.inputs().len()];
        for (i, name) in own {
            let tensor = inputs.iter().find(|g| g.0 == name).map(|g| g.1.clone());
            let ty = || graph.ty(graph.inputs()[i]).to_string();
            given[i] = Some(tensor.ok_or_else(|| ExecError::MissingInput { name: name.into(), ty: ty() })?);
        }
        Ok(given)
    }

    /// The types of all inputs. A state that is appended to and has not begun has no entries, and otherwise the extents that the
    /// inputs say.
    fn types(&self, given: &[Option<Tensor>]) -> Result<Vec<Type>, Error> {
        let graph = self.model.graph();
        let mut known = Bindings::new();
        for (tensor, &v) in given.iter().zip(graph.inputs()).filter_map(|(t, v)| Some((t.as_ref()?, v))) {
            for (dim, &n) in graph.ty(v).shape.iter().zip(tensor.shape()) {
                if let (Some(name), Ok(n)) = (dim.as_sym(), i64::try_from(n)) {
                    known.entry(name.clone()).or_insert(n);
                }
            }
        }
        let mut types: Vec<Option<Type>> = given.iter().map(|t| t.as_ref().map(Tensor::ty)).collect();
        for state in &self.states {
            let value = graph.inputs()[state.input];
            let (name, ty) = (graph.name(value), graph.ty(value));
            let missing = || ExecError::MissingInput { name: name.into(), ty: ty.to_string() };
            types[state.input] = Some(match &state.held {
                Held::Whole(tensor) => tensor.as_ref().ok_or_else(missing)?.ty(),
                Held::Cache { cache: Some(c), .. } => Type::new(c.ty.dtype, c.shape.iter().copied()),
                Held::Cache { axis, cache: None } => {
                    let extent = |(i, d): (usize, &Dim)| if i == *axis { Dim::int(0) } else { d.bind(&known) };
                    let shape: Vec<Dim> = ty.shape.iter().enumerate().map(extent).collect();
                    if shape.iter().any(|d| d.as_usize().is_none()) {
                        return Err(missing().into());
                    }
                    Type { dtype: ty.dtype, shape }
                }
            });
        }
        Ok(types.into_iter().flatten().collect())
    }

    /// Begins the states that are appended to, and lets them grow where the run needs it; false if values say how much.
    fn make_room(&mut self, types: &[Type], bindings: &Bindings) -> Result<bool, ExecError> {
        let graph = self.model.graph();
        for state in &mut self.states {
            let Held::Cache { axis, cache } = &mut state.held else { continue };
            let made = graph.ty(graph.outputs()[state.output].value);
            let need = made.shape[*axis].bind(bindings);
            if need.as_int().is_none() {
                return Ok(false);
            }
            let need = need.as_usize().ok_or(ExecError::TooLarge)?;
            let grown = match cache {
                Some(c) if c.room >= need => continue,
                Some(c) => c.grown(*axis, need.max(c.room.saturating_mul(2)))?,
                None => {
                    let ty = &types[state.input];
                    let shape = ty.known_shape().ok_or(ExecError::TooLarge)?;
                    Cache::new(ty, shape, *axis, need.max(FIRST_ROOM))?
                }
            };
            *cache = Some(grown);
        }
        Ok(true)
    }

    /// Makes tensors of the states that are appended to, which are handed over from now on.
    fn hand_over(&mut self, types: &[Type]) -> Result<(), ExecError> {
        for state in &mut self.states {
            let Held::Cache { axis, cache } = &state.held else { continue };
            let tensor = match cache {
                Some(c) => c.tensor(*axis)?,
                None => {
                    let ty = &types[state.input];
                    output("a state", ty.dtype, &ty.known_shape().ok_or(ExecError::TooLarge)?)?
                }
            };
            state.held = Held::Whole(Some(tensor));
        }
        Ok(())
    }

    fn appended(&self) -> Vec<Appended> {
        let of = |s: &State| match &s.held {
            Held::Cache { axis, cache: Some(c) } => {
                Some(Appended { input: s.input, output: s.output, axis: *axis, room: c.room })
            }
            _ => None,
        };
        self.states.iter().filter_map(of).collect()
    }

    /// The place of the plan.
    fn plan(&mut self, types: &[Type], appended: &[Appended]) -> Result<usize, Error> {
        if let Some(at) = self.plans.iter().position(|(t, a, _)| t == types && a == appended)
            && let Some(known) = self.plans.remove(at)
        {
            self.plans.push_back(known);
            return Ok(self.plans.len() - 1);
        }
        let plan = self.model.plan_appending(types, appended)?;
        if self.plans.len() >= MAX_PLANS {
            self.plans.pop_front();
        }
        self.plans.push_back((types.to_vec(), appended.to_vec(), plan));
        Ok(self.plans.len() - 1)
    }

    /// Runs a plan; the outputs that are no states.
    fn run_plan(&mut self, at: usize, mut given: Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>, Error> {
        let plan = &self.plans[at].2;
        let graph = self.model.graph();
        let mut outputs: Vec<Option<Tensor>> = Vec::new();
        for (i, (view, o)) in plan.output_views().zip(graph.outputs()).enumerate() {
            let stays = self.states.iter().any(|s| s.output == i && matches!(s.held, Held::Cache { .. }));
            outputs.push(if stays { None } else { Some(output(&o.name, view.dtype, &view.shape)?) });
        }
        let mut caches = Vec::new();
        for state in &mut self.states {
            match &mut state.held {
                Held::Whole(tensor) => given[state.input] = tensor.clone(),
                Held::Cache { cache, .. } => caches.extend(cache.as_mut().map(|c| c.memory.bytes_mut())),
            }
        }
        plan.run_on(&mut Connected { inputs: &given, outputs: &mut outputs, caches }, None)?;
        let shapes: Vec<Vec<usize>> = plan.output_views().map(|v| v.shape.to_vec()).collect();
        for state in &mut self.states {
            match &mut state.held {
                Held::Whole(tensor) => *tensor = outputs[state.output].take(),
                Held::Cache { cache: Some(c), .. } => c.shape = shapes[state.output].clone(),
                Held::Cache { cache: None, .. } => {}
            }
        }
        Ok(outputs)
    }

    /// Runs a model whose extents depend on values; every state is a tensor.
    fn run_stages(&mut self, mut given: Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>, Error> {
        for state in &mut self.states {
            if let Held::Whole(tensor) = &state.held {
                given[state.input] = tensor.clone();
            }
        }
        let inputs: Vec<Tensor> = given.into_iter().flatten().collect();
        let mut outputs: Vec<Option<Tensor>> = self.model.stages()?.run(&inputs)?.into_iter().map(Some).collect();
        for state in &mut self.states {
            state.held = Held::Whole(outputs[state.output].take());
        }
        Ok(outputs)
    }
}

/// The tensors of a run, and the memory of states that are appended to.
struct Connected<'a> {
    inputs: &'a [Option<Tensor>],
    outputs: &'a mut [Option<Tensor>],
    caches: Vec<&'a mut [u8]>,
}

impl Ports for Connected<'_> {
    fn input(&self, input: usize) -> Option<&[u8]> {
        self.inputs.get(input)?.as_ref().map(Tensor::bytes)
    }

    fn output(&mut self, output: usize) -> Option<&mut [u8]> {
        self.outputs.get_mut(output)?.as_mut().map(Tensor::bytes_mut)
    }

    fn appended(&mut self, state: usize) -> Option<&mut [u8]> {
        self.caches.get_mut(state).map(|c| &mut **c)
    }
}
