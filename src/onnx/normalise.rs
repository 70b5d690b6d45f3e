//! Levels a model: local functions inlined, initialisers and `Constant` nodes
//! turned into constants, arguments that older opsets give as attributes moved
//! to where newer ones have them, nodes sorted.

use super::attributes::Attributes;
use super::error::{Fail, ImportError, Res, UnsupportedNode, fail};
use super::external::External;
use super::proto::{AttributeProto, Extent, GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto};
use super::tensor;
use bgz_passes::ir::{Constant, DType, Dim, Scalar, Type};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

/// Opsets of the standard domain whose meaning is known here.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// Local functions are inlined up to this many nodes: a few functions that call
/// each other twice would make more nodes than memory can hold.
const MAX_NODES: usize = 1 << 18;

/// Calls of local functions within each other.
const MAX_DEPTH: usize = 64;

/// The parts of a file that hold for all its graphs.
pub(super) struct Context {
    external: External,
    functions: HashMap<(String, String), Function>,
    can_run: CanRun,
}

/// True if the op of a domain and a name can be run: the import takes no graph with others.
pub(super) type CanRun = fn(&str, &str) -> bool;

type Opsets = Arc<HashMap<String, i64>>;

struct Function {
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: Vec<String>,
    defaults: Vec<AttributeProto>,
    nodes: Vec<NodeProto>,
    opsets: Opsets,
}

/// A levelled model.
pub(super) struct Model {
    pub name: String,
    pub context: Context,
    pub inputs: Vec<(String, Type)>,
    pub body: Body,
}

/// A levelled graph or branch.
pub(super) struct Body {
    pub constants: Vec<(String, Constant)>,
    pub steps: Vec<Step>,
    pub outputs: Vec<String>,
}

/// A levelled node.
pub(super) struct Step {
    /// For errors: the node's name, or its first result.
    pub label: String,
    pub op: String,
    pub domain: String,
    pub opsets: Opsets,
    /// `None` for one that is left out.
    pub inputs: Vec<Option<String>>,
    /// `None` for one that is left out or not used.
    pub outputs: Vec<Option<String>>,
    pub attrs: Attributes,
}

impl Step {
    /// The version of the op's domain.
    pub fn opset(&self) -> i64 {
        self.opsets.get(&self.domain).copied().unwrap_or(i64::MAX)
    }

    /// An error of this node.
    pub fn error(&self, fail: Fail) -> ImportError {
        match fail {
            Fail::Message(message) => ImportError::Node { node: self.label.clone(), op: self.op.clone(), message },
            Fail::Import(e) => e,
        }
    }

    /// Everything the node reads, in its subgraphs too.
    fn reads<'a>(&'a self, out: &mut Vec<&'a str>) {
        out.extend(self.inputs.iter().flatten().map(String::as_str));
        for g in self.attrs.graphs() {
            graph_reads(g, out);
        }
    }
}

/// Everything that a graph takes from those around it.
fn graph_reads<'a>(g: &'a GraphProto, out: &mut Vec<&'a str>) {
    let mut reads: Vec<&str> = g.output.iter().map(|o| o.name.as_str()).collect();
    let mut own: HashSet<&str> = g.input.iter().map(|i| i.name.as_str()).collect();
    own.extend(g.initializer.iter().map(|t| t.name.as_str()));
    own.extend(g.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).map(|t| t.name.as_str()));
    for n in &g.node {
        own.extend(n.output.iter().map(String::as_str));
        reads.extend(n.input.iter().map(String::as_str));
        for a in &n.attribute {
            for g in a.g.as_deref().into_iter().chain(&a.graphs) {
                graph_reads(g, &mut reads);
            }
        }
    }
    out.extend(reads.into_iter().filter(|name| !own.contains(name)));
}

/// Levels a whole model.
pub(super) fn model(
    mut proto: ModelProto,
    name: Option<String>,
    external: External,
    can_run: CanRun,
) -> Result<Model, ImportError> {
    let Some(mut graph) = proto.graph.take() else {
        return Err(ImportError::Format("there is no graph in it".into()));
    };
    let opsets = opsets(proto.opset_import.iter().map(|o| (o.domain.as_str(), o.version)));
    match opsets.get("") {
        Some(v) if OPSETS.contains(v) => {}
        Some(v) => {
            let (from, to) = (OPSETS.start(), OPSETS.end());
            return Err(ImportError::Format(format!("opset {v} is not supported, {from} to {to} are")));
        }
        None if graph.node.is_empty() => {}
        None => return Err(ImportError::Format("it does not say which opset it uses".into())),
    }
    let mut functions = HashMap::new();
    for f in proto.functions {
        let key = (domain(&f.domain).to_owned(), f.name);
        let own = self::opsets(f.opset_import.iter().map(|o| (o.domain.as_str(), o.version)));
        let function = Function {
            inputs: f.input,
            outputs: f.output,
            attributes: f.attribute,
            defaults: f.attribute_proto,
            nodes: f.node,
            opsets: if own.is_empty() { opsets.clone() } else { own },
        };
        if let Some(v) = function.opsets.get("").filter(|v| !OPSETS.contains(v)) {
            return Err(ImportError::Format(format!("opset {v} of the function {} is not supported", key.1)));
        }
        if functions.contains_key(&key) {
            return Err(ImportError::Duplicate(key.1));
        }
        functions.insert(key, function);
    }
    let context = Context { external, functions, can_run };
    let given: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let mut inputs = Vec::new();
    let mut names = DimNames::default();
    // Before IR version 4 initialisers are listed among the inputs, as defaults of theirs.
    for input in graph.input.iter().filter(|i| !given.contains(i.name.as_str())) {
        if inputs.iter().any(|(n, _)| n == &input.name) {
            return Err(ImportError::Duplicate(input.name.clone()));
        }
        let ty = input_type(input, &mut names)
            .map_err(|message| ImportError::Input { input: input.name.clone(), message })?;
        inputs.push((input.name.clone(), ty));
    }
    let name = name.unwrap_or_else(|| graph.name.clone());
    let known: HashSet<&str> = inputs.iter().map(|(n, _)| n.as_str()).collect();
    let body = context.body(&mut graph, &opsets, |n| known.contains(n), |n| known.contains(n))?;
    Ok(Model { name, inputs, body, context })
}

fn opsets<'a>(imports: impl Iterator<Item = (&'a str, i64)>) -> Opsets {
    Arc::new(imports.map(|(d, v)| (domain(d).to_owned(), v)).collect())
}

/// The standard domain has two names.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// Symbols for the dims of the inputs.
#[derive(Default)]
struct DimNames {
    by_key: HashMap<String, String>,
    taken: HashSet<String>,
}

impl DimNames {
    /// The symbol of a dim: `wish` made readable as graph text, the same for the same `key`.
    fn symbol(&mut self, key: &str, wish: &str) -> Dim {
        if let Some(s) = self.by_key.get(key) {
            return Dim::sym(s.as_str());
        }
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
        let mut base: String = wish.chars().map(plain).collect();
        // Dims with a leading underscore are those that inference invents, and some words mean something else.
        let word = matches!(base.as_str(), "true" | "false" | "inf" | "nan" | "exact" | "table");
        if word || !base.starts_with(|c: char| c.is_ascii_alphabetic()) {
            base.insert_str(0, "dim_");
        }
        let mut name = base.clone();
        let mut i = 1;
        while !self.taken.insert(name.clone()) {
            i += 1;
            name = format!("{base}_{i}");
        }
        self.by_key.insert(key.into(), name.clone());
        Dim::sym(name)
    }
}

fn input_type(info: &ValueInfoProto, names: &mut DimNames) -> Result<Type, String> {
    if info.name.is_empty() {
        return Err("it has no name".into());
    }
    let ty = info.r#type.as_ref();
    let Some(t) = ty.and_then(|t| t.tensor_type.as_ref()) else {
        let is = |kind: fn(&TypeProto) -> bool| ty.is_some_and(kind);
        return Err(if is(|t| t.sequence_type.is_some()) {
            "it is a sequence, of which the file does not say how long it is: export the model with an input for each of \
             its tensors"
        } else if is(|t| t.optional_type.is_some()) {
            "it is an optional, of which the file does not say whether it has a value: export the model with a tensor in \
             its place, or without it"
        } else {
            "only tensors are supported"
        }
        .into());
    };
    let dtype = tensor::dtype(t.elem_type).map_err(|n| format!("its element type is not supported: {n}"))?;
    let Some(shape) = t.shape.as_ref() else {
        return Err("its rank is not known".into());
    };
    let mut dims = Vec::new();
    for (axis, d) in shape.dim.iter().enumerate() {
        dims.push(match &d.value {
            Some(Extent::DimValue(n)) if *n < 0 => return Err(format!("{n} is not an extent (axis {axis})")),
            Some(Extent::DimValue(n)) => Dim::int(*n),
            Some(Extent::DimParam(name)) if !name.is_empty() => names.symbol(name, name),
            // No dim of the file is called so: its own dim.
            _ => names.symbol(&format!("{}\0{axis}", info.name), &format!("{}_{axis}", info.name)),
        });
    }
    Ok(Type { dtype, shape: dims })
}

impl Context {
    /// Levels a graph. `outer` tells the values of the graphs around it,
    /// `inputs` those that its own nodes must not define again.
    pub fn body(
        &self,
        graph: &mut GraphProto,
        opsets: &Opsets,
        outer: impl Fn(&str) -> bool,
        inputs: impl Fn(&str) -> bool,
    ) -> Result<Body, ImportError> {
        let mut constants = Vec::new();
        for t in std::mem::take(&mut graph.initializer) {
            let c = tensor::constant(&t.name, &t, &self.external)?;
            constants.push((t.name, c));
        }
        for s in std::mem::take(&mut graph.sparse_initializer) {
            let name = s.values.as_ref().map_or("", |v| &v.name).to_owned();
            let c = tensor::sparse(&name, &s, &self.external)?;
            constants.push((name, c));
        }
        let (mut steps, mut budget) = (Vec::new(), MAX_NODES);
        self.inline(std::mem::take(&mut graph.node), opsets, 0, &mut budget, &mut steps)?;
        let mut rest = Vec::with_capacity(steps.len());
        for mut step in steps {
            if step.op == "Constant" && step.domain.is_empty() {
                let c = self.constant(&step).map_err(|e| step.error(e))?;
                match step.outputs.pop().flatten() {
                    Some(name) if step.outputs.is_empty() => constants.push((name, c)),
                    _ => return Err(step.error("it must have one result".into())),
                }
            } else {
                level(&mut step, &mut constants).map_err(|e| step.error(e))?;
                rest.push(step);
            }
        }
        self.unsupported(&rest)?;
        let outputs: Vec<String> = graph.output.iter().map(|o| o.name.clone()).collect();
        let mut made: HashSet<&str> = HashSet::new();
        let results = rest.iter().flat_map(|s| s.outputs.iter().flatten());
        for name in constants.iter().map(|(n, _)| n).chain(results) {
            if !made.insert(name) || inputs(name) {
                return Err(ImportError::Duplicate(name.clone()));
            }
        }
        if let Some(o) = outputs.iter().find(|o| !made.contains(o.as_str()) && !outer(o)) {
            return Err(ImportError::Missing { value: o.clone(), user: "the list of outputs".into() });
        }
        let mut steps = sort(rest, &constants, outer)?;
        let used: HashSet<String> = {
            let mut reads = Vec::new();
            steps.iter().for_each(|s| s.reads(&mut reads));
            reads.into_iter().map(str::to_owned).chain(outputs.iter().cloned()).collect()
        };
        for name in steps.iter_mut().flat_map(|s| &mut s.outputs) {
            if name.as_ref().is_some_and(|n| !used.contains(n)) {
                *name = None;
            }
        }
        Ok(Body { constants, steps, outputs })
    }

    /// Nodes as steps, calls of local functions replaced by what they do.
    fn inline(
        &self,
        nodes: Vec<NodeProto>,
        opsets: &Opsets,
        depth: usize,
        budget: &mut usize,
        out: &mut Vec<Step>,
    ) -> Result<(), ImportError> {
        for node in nodes {
            let Some(left) = budget.checked_sub(1) else {
                return Err(ImportError::Format(format!("there are more than {MAX_NODES} nodes in it")));
            };
            *budget = left;
            let label = match node.output.iter().find(|o| !o.is_empty()) {
                _ if !node.name.is_empty() => node.name.clone(),
                Some(o) => o.clone(),
                None => format!("number {}", out.len()),
            };
            let domain = domain(&node.domain).to_owned();
            let name = |n: String| (!n.is_empty()).then_some(n);
            if let Some(function) = self.functions.get(&(domain.clone(), node.op_type.clone())) {
                let error = |message| ImportError::Node { node: label.clone(), op: node.op_type.clone(), message };
                if depth == MAX_DEPTH {
                    return Err(error("its function calls itself, or too many others within each other".into()));
                }
                let inner = call(function, &node, &label).map_err(error)?;
                self.inline(inner, &function.opsets, depth + 1, budget, out)?;
                continue;
            }
            let mut inputs: Vec<_> = node.input.into_iter().map(name).collect();
            while inputs.last().is_some_and(Option::is_none) {
                inputs.pop();
            }
            let mut step = Step {
                label,
                op: node.op_type,
                domain,
                opsets: opsets.clone(),
                inputs,
                outputs: node.output.into_iter().map(name).collect(),
                attrs: Attributes::default(),
            };
            step.attrs = Attributes::new(node.attribute).map_err(|e| step.error(e))?;
            out.push(step);
        }
        Ok(())
    }

    /// The value of a `Constant` node.
    fn constant(&self, step: &Step) -> Res<Constant> {
        let a = &step.attrs;
        let name = step.outputs.iter().flatten().next().map_or("?", String::as_str);
        let floats =
            |shape: Vec<usize>, v: &[f32]| Constant::from_scalars(DType::F32, shape, v.iter().map(|&v| Scalar::f32(v)));
        let found = if let Some(t) = a.tensor("value")? {
            Some(tensor::constant(name, t, &self.external)?)
        } else if let Some(v) = a.float("value_float")? {
            Some(Constant::scalar(Scalar::f32(v)))
        } else if let Some(v) = a.int("value_int")? {
            Some(Constant::scalar(Scalar::i64(v)))
        } else if let Some(v) = a.floats("value_floats")? {
            floats(vec![v.len()], v)
        } else if let Some(v) = a.ints("value_ints")? {
            Some(Constant::i64s(v))
        } else if let Some(s) = a.sparse("sparse_value")? {
            Some(tensor::sparse(name, s, &self.external)?)
        } else if a.has("value_string") || a.has("value_strings") {
            fail!("strings are not supported")
        } else {
            None
        };
        if let Some(name) = a.unread(&step.op) {
            fail!("attribute {name} is not understood");
        }
        found.ok_or_else(|| "it has no value".into())
    }

    /// One error for all nodes that cannot be run.
    fn unsupported(&self, steps: &[Step]) -> Result<(), ImportError> {
        let all: Vec<_> = steps
            .iter()
            .filter(|s| !(self.can_run)(&s.domain, &s.op))
            .map(|s| UnsupportedNode {
                op: s.op.clone(),
                domain: s.domain.clone(),
                opset: s.opsets.get(&s.domain).copied(),
                node: s.label.clone(),
            })
            .collect();
        if all.is_empty() { Ok(()) } else { Err(ImportError::Unsupported(all)) }
    }
}

/// The nodes of a call, under names that are the caller's.
fn call(f: &Function, node: &NodeProto, label: &str) -> Result<Vec<NodeProto>, String> {
    if node.input.len() > f.inputs.len() || node.output.len() > f.outputs.len() {
        return Err("it has more operands or results than its function".into());
    }
    for a in &node.attribute {
        if !f.attributes.contains(&a.name) && !f.defaults.iter().any(|d| d.name == a.name) {
            return Err(format!("attribute {} is not understood", a.name));
        }
    }
    let mut names: HashMap<&str, String> = HashMap::new();
    for (i, formal) in f.inputs.iter().enumerate() {
        names.insert(formal, node.input.get(i).cloned().unwrap_or_default());
    }
    let mut inner = f.nodes.clone();
    // A result that is an operand at once needs a node of its own.
    for (i, formal) in f.outputs.iter().enumerate() {
        let Some(actual) = node.output.get(i).filter(|o| !o.is_empty()) else { continue };
        if f.inputs.contains(formal) || f.outputs[..i].contains(formal) {
            // Renamed below like any other name of the function.
            inner.push(NodeProto {
                op_type: "Identity".into(),
                input: vec![formal.clone()],
                output: vec![format!("{formal} {i}")],
                ..NodeProto::default()
            });
        } else {
            names.insert(formal, actual.clone());
        }
    }
    let extra: Vec<(String, String)> = (0..f.outputs.len())
        .filter_map(|i| Some((format!("{} {i}", f.outputs[i]), node.output.get(i)?.clone())))
        .collect();
    names.extend(extra.iter().map(|(k, v)| (k.as_str(), v.clone())));
    let mut own = HashSet::new();
    for n in &f.nodes {
        own.extend(n.output.iter().map(String::as_str).filter(|o| !o.is_empty() && !names.contains_key(o)));
    }
    names.extend(own.into_iter().map(|o| (o, format!("{label}.{o}"))));
    for n in &mut inner {
        rename(n, &names);
        if !n.name.is_empty() {
            n.name = format!("{label}.{}", n.name);
        }
        bind_attributes(n, &node.attribute, &f.defaults);
    }
    Ok(inner)
}

fn rename(node: &mut NodeProto, names: &HashMap<&str, String>) {
    let replace = |n: &mut String| {
        if let Some(new) = names.get(n.as_str()) {
            n.clone_from(new);
        }
    };
    node.input.iter_mut().chain(&mut node.output).for_each(replace);
    for a in &mut node.attribute {
        for g in a.g.as_deref_mut().into_iter().chain(&mut a.graphs) {
            g.node.iter_mut().for_each(|n| rename(n, names));
            g.output.iter_mut().for_each(|o| replace(&mut o.name));
        }
    }
}

/// Puts the attributes of a call where the function refers to them.
fn bind_attributes(node: &mut NodeProto, given: &[AttributeProto], defaults: &[AttributeProto]) {
    node.attribute.retain_mut(|a| {
        for g in a.g.as_deref_mut().into_iter().chain(&mut a.graphs) {
            g.node.iter_mut().for_each(|n| bind_attributes(n, given, defaults));
        }
        if a.ref_attr_name.is_empty() {
            return true;
        }
        let Some(value) = given.iter().chain(defaults).find(|d| d.name == a.ref_attr_name) else { return false };
        let name = std::mem::take(&mut a.name);
        *a = value.clone();
        a.name = name;
        true
    });
}

/// Moves arguments from the attributes that older opsets have to operands, and renames what was renamed.
fn level(step: &mut Step, constants: &mut Vec<(String, Constant)>) -> Res<()> {
    if !step.domain.is_empty() {
        return Ok(());
    }
    let version = step.opset();
    if step.op == "Scatter" {
        step.op = "ScatterElements".into();
    }
    let moved: &[(&str, usize)] = match step.op.as_str() {
        "Squeeze" | "Unsqueeze" | "ReduceSum" if version < 13 => &[("axes", 1)],
        "Split" if version < 13 => &[("split", 1)],
        "Slice" if version < 10 => &[("starts", 1), ("ends", 2), ("axes", 3)],
        "TopK" if version < 10 => &[("k", 1)],
        "Pad" if version < 11 => &[("pads", 1)],
        "Upsample" if version < 9 => &[("scales", 1)],
        op if op.starts_with("Reduce") && op != "ReduceSum" && version < 18 => &[("axes", 1)],
        _ => &[],
    };
    let base = step.outputs.iter().flatten().next().unwrap_or(&step.label).clone();
    for &(name, at) in moved {
        let value = if name == "scales" {
            step.attrs.floats(name)?.and_then(|v| Constant::f32s(vec![v.len()], v))
        } else if name == "k" {
            step.attrs.int(name)?.map(|k| Constant::i64s(&[k]))
        } else {
            step.attrs.ints(name)?.map(Constant::i64s)
        };
        let Some(value) = value else { continue };
        step.attrs.take(name);
        if step.inputs.len() < at {
            step.inputs.resize(at, None);
        }
        if step.inputs.len() > at {
            fail!("{name} is both an attribute and an operand");
        }
        // A space keeps it apart from the names of exporters.
        let name = format!("{base} {name}");
        step.inputs.push(Some(name.clone()));
        constants.push((name, value));
    }
    // Resize 10 and Upsample have no region operand.
    if step.op == "Upsample" || step.op == "Resize" && version < 11 {
        step.op = "Resize".into();
        if step.inputs.len() == 2 {
            step.inputs.insert(1, None);
        }
    }
    Ok(())
}

/// Every step after those it reads from, otherwise in the order of the file.
fn sort(
    steps: Vec<Step>,
    constants: &[(String, Constant)],
    outer: impl Fn(&str) -> bool,
) -> Result<Vec<Step>, ImportError> {
    let mut maker: HashMap<&str, usize> = HashMap::new();
    for (i, s) in steps.iter().enumerate() {
        maker.extend(s.outputs.iter().flatten().map(|o| (o.as_str(), i)));
    }
    let ready: HashSet<&str> = constants.iter().map(|(n, _)| n.as_str()).collect();
    let mut waits = vec![0usize; steps.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for (i, s) in steps.iter().enumerate() {
        // Values that a subgraph defines itself are not among the makers and not waited for.
        let mut reads = Vec::new();
        s.reads(&mut reads);
        for (n, name) in reads.into_iter().enumerate() {
            if let Some(&m) = maker.get(name) {
                users[m].push(i);
                waits[i] += 1;
            } else if n < s.inputs.iter().flatten().count() && !ready.contains(name) && !outer(name) {
                return Err(ImportError::Missing { value: name.into(), user: format!("node {}", s.label) });
            }
        }
    }
    let mut next: BinaryHeap<_> = (0..steps.len()).filter(|&i| waits[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(steps.len());
    while let Some(Reverse(i)) = next.pop() {
        order.push(i);
        for &u in &users[i] {
            waits[u] -= 1;
            if waits[u] == 0 {
                next.push(Reverse(u));
            }
        }
    }
    if order.len() < steps.len() {
        return Err(ImportError::Cycle(cycle(&steps, &maker, &waits)));
    }
    let mut steps: Vec<_> = steps.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|i| steps[i].take()).collect())
}

/// A value on a cycle among the steps that still wait.
fn cycle(steps: &[Step], maker: &HashMap<&str, usize>, waits: &[usize]) -> String {
    let mut at = waits.iter().position(|&w| w > 0).unwrap_or(0);
    let mut seen = HashSet::new();
    let mut name = steps[at].label.clone();
    // Going back from a waiting step always leads to a waiting step, so a step comes twice.
    while seen.insert(at) {
        let mut reads = Vec::new();
        steps[at].reads(&mut reads);
        let back = reads.iter().find_map(|&r| maker.get(r).filter(|&&m| waits[m] > 0).map(|&m| (r, m)));
        let Some((value, m)) = back else { break };
        name = value.into();
        at = m;
    }
    name
}
