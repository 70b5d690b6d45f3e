//! Changes that leave bytes a model, as most changes of bytes do not.

use crate::vocabulary::{FLOATS, NUMBERS, OPS, WORDS, attributes};
use bgz_passes::eval::testing::Rng;
use bgz_passes::ir::{DType, Type};
use libfuzzer_sys::fuzzer_mutate;
use onnx_ir::{AttributeProto, AttributeType, GraphProto, Message, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use std::collections::HashMap;

/// `data[..size]` changed, as its new size.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut rng = Rng::new(seed.into());
    if one_in(&mut rng, 16) {
        return fuzzer_mutate(data, size, max_size);
    }
    let Ok(mut model) = ModelProto::parse_from_bytes(&data[..size]) else {
        return fuzzer_mutate(data, size, max_size);
    };
    let known = Known::of(&data[..size]);
    // One change more often than many: an error hides all but itself.
    for _ in 0..[1, 1, 1, 2, 3, 5][index(&mut rng, 6)] {
        change_model(&mut model, &known, &mut rng);
    }
    match model.write_to_bytes() {
        Ok(bytes) if bytes.len() <= max_size.min(data.len()) => {
            data[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
}

/// Types of values, where the model can be imported.
pub struct Known(HashMap<String, Type>);

impl Known {
    pub fn of(data: &[u8]) -> Self {
        let Ok(graph) = crate::onnx::from_bytes(data.to_vec().into()) else { return Self(HashMap::new()) };
        let made = graph.nodes().flat_map(|(_, n)| &n.outputs).chain(graph.inputs()).copied();
        let all = made.chain(graph.constants().map(|(v, _)| v));
        Self(all.map(|v| (graph.name(v).to_owned(), graph.ty(v).clone())).collect())
    }

    /// All values, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.0.keys().cloned().collect();
        names.sort();
        names
    }

    /// True if a value here and a value of another model have one type.
    pub fn same(&self, name: &str, other: &Known, value: &str) -> bool {
        self.0.get(name).is_some_and(|ty| other.0.get(value) == Some(ty))
    }

    /// One of `names`, often of a type like that of `name`.
    fn like(&self, name: &str, names: &[String], rng: &mut Rng) -> String {
        let how = rng.below(4);
        if let Some(ty) = self.0.get(name).filter(|_| how > 0) {
            let fits = |t: &Type| match how {
                1 => t.dtype == ty.dtype,
                2 => t.dtype == ty.dtype && t.rank() == ty.rank(),
                _ => t == ty,
            };
            let alike: Vec<_> = names.iter().filter(|n| self.0.get(*n).is_some_and(fits)).collect();
            if let Some(n) = pick(rng, &alike) {
                return n.clone();
            }
        }
        pick(rng, names).unwrap_or_default()
    }
}

pub fn one_in(rng: &mut Rng, n: i64) -> bool {
    rng.below(n) == 0
}

pub fn index(rng: &mut Rng, len: usize) -> usize {
    rng.below(len as i64) as usize
}

pub fn pick<T: Clone>(rng: &mut Rng, all: &[T]) -> Option<T> {
    all.get(index(rng, all.len())).cloned()
}

fn pick_mut<'a, T>(rng: &mut Rng, all: &'a mut [T]) -> Option<&'a mut T> {
    let at = index(rng, all.len());
    all.get_mut(at)
}

/// A small number as a rule.
fn number(rng: &mut Rng) -> i64 {
    if one_in(rng, 2) { rng.below(8) - 3 } else { NUMBERS[index(rng, NUMBERS.len())] }
}

fn float(rng: &mut Rng) -> f32 {
    if one_in(rng, 3) { rng.normal() as f32 } else { FLOATS[index(rng, FLOATS.len())] }
}

fn change_model(model: &mut ModelProto, known: &Known, rng: &mut Rng) {
    if one_in(rng, 32) {
        if let Some(o) = pick_mut(rng, &mut model.opset_import) {
            o.version = if one_in(rng, 8) { number(rng) } else { 7 + rng.below(19) };
        }
        return;
    }
    if !model.functions.is_empty() && one_in(rng, 4) {
        if let Some(f) = pick_mut(rng, &mut model.functions) {
            let names: Vec<String> = f.input.iter().chain(f.node.iter().flat_map(|n| &n.output)).cloned().collect();
            change_nodes(&mut f.node, &names, known, rng);
        }
        return;
    }
    let Some(graph) = model.graph.as_mut() else { return };
    change_graph(graph, known, rng, 3);
}

fn change_graph(graph: &mut GraphProto, known: &Known, rng: &mut Rng, depth: usize) {
    if depth > 0 {
        let mut inner: Vec<&mut GraphProto> =
            graph.node.iter_mut().flat_map(|n| &mut n.attribute).filter_map(|a| a.g.as_mut()).collect();
        if !inner.is_empty() && one_in(rng, 3) {
            let at = index(rng, inner.len());
            return change_graph(inner[at], known, rng, depth - 1);
        }
    }
    let names: Vec<String> = graph
        .input
        .iter()
        .map(|i| &i.name)
        .chain(graph.initializer.iter().map(|t| &t.name))
        .chain(graph.node.iter().flat_map(|n| &n.output))
        .filter(|n| !n.is_empty())
        .cloned()
        .collect();
    match rng.below(10) {
        0 => {
            if let Some(t) = pick_mut(rng, &mut graph.initializer) {
                change_tensor(t, rng);
            }
        }
        1 => {
            if let Some(i) = pick_mut(rng, &mut graph.input) {
                change_input(i, rng);
            }
        }
        2 => change_outputs(graph, &names, rng),
        3 => insert_node(graph, &names, known, rng),
        4 => insert_constant(graph, known, rng),
        _ => change_nodes(&mut graph.node, &names, known, rng),
    }
}

fn change_nodes(nodes: &mut Vec<NodeProto>, names: &[String], known: &Known, rng: &mut Rng) {
    if nodes.is_empty() {
        return;
    }
    let at = index(rng, nodes.len());
    match rng.below(12) {
        0 => drop(nodes.remove(at)),
        1 => {
            let mut copy = nodes[at].clone();
            for o in &mut copy.output {
                o.push_str("_c");
            }
            nodes.push(copy);
        }
        2 => {
            let other = index(rng, nodes.len());
            nodes.swap(at, other);
        }
        3 | 4 => {
            let same = one_in(rng, 3).then(|| pick(rng, nodes).map(|n| n.op_type)).flatten();
            let list = OPS[(nodes[at].input.len().max(1) - 1).min(OPS.len() - 1)];
            if let Some(op) = same.or_else(|| pick(rng, list).map(String::from)) {
                nodes[at].op_type = op;
            }
        }
        5..=7 => change_operands(&mut nodes[at], names, known, rng),
        // A node is left out, and what it read is read instead.
        8 => {
            let gone = nodes.remove(at);
            if let (Some(from), Some(to)) = (gone.output.first(), pick(rng, &gone.input)) {
                nodes.iter_mut().flat_map(|n| &mut n.input).filter(|i| *i == from).for_each(|i| i.clone_from(&to));
            }
        }
        _ => change_attributes(&mut nodes[at], rng),
    }
}

fn change_operands(node: &mut NodeProto, names: &[String], known: &Known, rng: &mut Rng) {
    let at = index(rng, node.input.len());
    let name = known.like(node.input.get(at).map_or("", String::as_str), names, rng);
    match rng.below(8) {
        0 => node.input.push(name),
        1 => drop(node.input.pop()),
        2 if node.input.len() > 1 => {
            let (a, b) = (index(rng, node.input.len()), index(rng, node.input.len()));
            node.input.swap(a, b);
        }
        3 => {
            if let Some(i) = pick_mut(rng, &mut node.input) {
                i.clear();
            }
        }
        4 => {
            let mut unused = name;
            unused.push_str("_o");
            node.output.push(unused);
        }
        5 if one_in(rng, 2) => {
            if let Some(o) = pick_mut(rng, &mut node.output) {
                if one_in(rng, 2) { o.clear() } else { o.clone_from(&name) }
            }
        }
        _ => {
            if let Some(i) = node.input.get_mut(at) {
                *i = name;
            }
        }
    }
}

fn change_attributes(node: &mut NodeProto, rng: &mut Rng) {
    if node.attribute.is_empty() || one_in(rng, 3) {
        let names = attributes(&node.op_type);
        let name = names[index(rng, names.len())];
        node.attribute.retain(|a| a.name != name);
        let mut a = AttributeProto::new();
        a.name = name.into();
        let usual = match name {
            "axes" | "perm" | "pads" | "strides" | "dilations" | "kernel_shape" | "output_padding" | "starts"
            | "ends" | "split" | "value_ints" | "output_shape" => 0,
            "alpha" | "beta" | "gamma" | "epsilon" | "scale" | "value" | "value_float" | "bias" | "lambd"
            | "softcap" | "cubic_coeff_a" => 1,
            name if name.ends_with("mode") && name != "ceil_mode" && !name.starts_with("qk") => 2,
            "equation" | "reduction" | "auto_pad" | "approximate" => 2,
            _ => 3,
        };
        match if one_in(rng, 16) { rng.below(5) } else { usual } {
            0 => {
                a.type_ = AttributeType::INTS.into();
                a.ints = (0..rng.below(5)).map(|_| number(rng)).collect();
            }
            1 => {
                a.type_ = AttributeType::FLOAT.into();
                a.f = float(rng);
            }
            2 => {
                a.type_ = AttributeType::STRING.into();
                a.s = WORDS[index(rng, WORDS.len())].as_bytes().to_vec().into();
            }
            _ => {
                a.type_ = AttributeType::INT.into();
                a.i = number(rng);
            }
        }
        node.attribute.push(a);
        return;
    }
    let at = index(rng, node.attribute.len());
    if one_in(rng, 4) {
        node.attribute.remove(at);
        return;
    }
    let a = &mut node.attribute[at];
    if let Some(t) = a.t.as_mut() {
        return change_tensor(t, rng);
    }
    match a.type_.enum_value() {
        Ok(AttributeType::INT) => a.i = number(rng),
        Ok(AttributeType::FLOAT) => a.f = float(rng),
        Ok(AttributeType::STRING) => a.s = WORDS[index(rng, WORDS.len())].as_bytes().to_vec().into(),
        Ok(AttributeType::INTS) => change_list(&mut a.ints, rng, number),
        Ok(AttributeType::FLOATS) => change_list(&mut a.floats, rng, float),
        _ => a.type_ = AttributeType::INT.into(),
    }
}

fn change_list<T: Copy>(list: &mut Vec<T>, rng: &mut Rng, new: fn(&mut Rng) -> T) {
    match rng.below(5) {
        0 => list.push(new(rng)),
        1 => drop(list.pop()),
        2 if list.len() > 1 => {
            let (a, b) = (index(rng, list.len()), index(rng, list.len()));
            list.swap(a, b);
        }
        _ => {
            let v = new(rng);
            if let Some(x) = pick_mut(rng, list) {
                *x = v;
            }
        }
    }
}

fn change_tensor(t: &mut TensorProto, rng: &mut Rng) {
    match rng.below(8) {
        0 => {
            change_list(&mut t.dims, rng, number);
            resize_data(t);
        }
        1 => {
            change_list(&mut t.dims, rng, number);
        }
        2 => {
            t.data_type = 1 + rng.below(16) as i32;
            resize_data(t);
        }
        3 => t.data_type = if one_in(rng, 4) { number(rng) as i32 } else { 1 + rng.below(24) as i32 },
        4 => {
            let mut raw = t.raw_data.to_vec();
            let len = index(rng, raw.len() + 2);
            raw.resize(len, 1);
            t.raw_data = raw.into();
        }
        _ => change_elements(t, rng),
    }
}

fn element_size(code: i32) -> usize {
    match code {
        7 | 11 | 13 => 8,
        4 | 5 | 10 | 16 => 2,
        2 | 3 | 9 => 1,
        _ => 4,
    }
}

fn element(code: i32, rng: &mut Rng) -> Vec<u8> {
    match code {
        1 => float(rng).to_le_bytes().to_vec(),
        11 => f64::from(float(rng)).to_le_bytes().to_vec(),
        // The upper half of an f32 is a bf16.
        16 => float(rng).to_le_bytes()[2..].to_vec(),
        9 => vec![rng.below(2) as u8],
        _ => number(rng).to_le_bytes()[..element_size(code)].to_vec(),
    }
}

/// As much data as the extents need.
fn resize_data(t: &mut TensorProto) {
    let len = t.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
    let Some(len) = len.filter(|&n| n <= 4096) else { return };
    let bytes = len * element_size(t.data_type);
    let old = t.raw_data.to_vec();
    let from = if old.is_empty() { &[0, 0, 128, 63][..] } else { &old };
    t.raw_data = from.iter().copied().cycle().take(bytes).collect::<Vec<u8>>().into();
    t.float_data.clear();
    t.int32_data.clear();
    t.int64_data.clear();
    t.double_data.clear();
    t.uint64_data.clear();
}

fn change_elements(t: &mut TensorProto, rng: &mut Rng) {
    let (whole, real) = (number(rng), float(rng));
    for _ in 0..2 {
        if let Some(v) = pick_mut(rng, &mut t.float_data) {
            *v = real;
        }
        if let Some(v) = pick_mut(rng, &mut t.int64_data) {
            *v = whole;
        }
        if let Some(v) = pick_mut(rng, &mut t.int32_data) {
            *v = whole as i32;
        }
        let size = element_size(t.data_type);
        let mut raw = t.raw_data.to_vec();
        let bytes = element(t.data_type, rng);
        let all = one_in(rng, 8);
        let at = index(rng, raw.len() / size);
        for (i, element) in raw.chunks_exact_mut(size).enumerate() {
            if all || i == at {
                element.copy_from_slice(&bytes);
            }
        }
        t.raw_data = raw.into();
    }
}

fn change_input(input: &mut ValueInfoProto, rng: &mut Rng) {
    let Some(ty) = input.type_.as_mut().filter(|t| t.has_tensor_type()) else { return };
    let t = ty.mut_tensor_type();
    if one_in(rng, 4) {
        t.elem_type = [1, 1, 6, 7, 9, 10, 11, 16, 2, 3][index(rng, 10)];
        return;
    }
    let Some(shape) = t.shape.as_mut() else { return };
    match rng.below(6) {
        0 => shape.dim.push(Default::default()),
        1 => drop(shape.dim.pop()),
        2 if shape.dim.len() > 1 => {
            let (a, b) = (index(rng, shape.dim.len()), index(rng, shape.dim.len()));
            shape.dim.swap(a, b);
        }
        3 => {
            let name = pick(rng, &["batch", "seq", "n", "N", "true", "inf", "_0", "a b", "x'y", "batch*seq", "2"]);
            if let Some(d) = pick_mut(rng, &mut shape.dim) {
                d.set_dim_param(name.unwrap_or_default().into());
            }
        }
        _ => {
            let n = number(rng);
            if let Some(d) = pick_mut(rng, &mut shape.dim) {
                d.set_dim_value(n);
            }
        }
    }
}

/// Another value as a result: an intermediate that someone needs is one that a rewrite must keep.
fn change_outputs(graph: &mut GraphProto, names: &[String], rng: &mut Rng) {
    let Some(name) = pick(rng, names) else { return };
    match rng.below(3) {
        0 => {
            if let Some(o) = pick_mut(rng, &mut graph.output) {
                o.name = name;
            }
        }
        1 if graph.output.len() > 1 => drop(graph.output.pop()),
        _ => {
            let mut info = ValueInfoProto::new();
            info.name = name;
            graph.output.push(info);
        }
    }
}

/// A new node, which some node reads, or which is a result.
fn insert_node(graph: &mut GraphProto, names: &[String], known: &Known, rng: &mut Rng) {
    let count = [1, 1, 2, 2, 2, 3, 4][index(rng, 7)];
    let mut node = NodeProto::new();
    node.op_type = pick(rng, OPS[count - 1]).unwrap_or_default().into();
    let first = pick(rng, names).unwrap_or_default();
    node.input = (1..count).map(|_| known.like(&first, names, rng)).collect();
    node.input.insert(0, first);
    let result = format!("n{}", rng.below(1 << 20));
    node.output.push(result.clone());
    if one_in(rng, 3) {
        change_attributes(&mut node, rng);
    }
    if one_in(rng, 3) {
        let mut info = ValueInfoProto::new();
        info.name = result;
        graph.output.push(info);
    } else {
        // Wherever one of its operands is read, it is read: it lies between.
        let (from, all) = (pick(rng, &node.input), one_in(rng, 2));
        for i in graph.node.iter_mut().flat_map(|n| &mut n.input) {
            if Some(&*i) == from.as_ref() && (all || one_in(rng, 2)) {
                i.clone_from(&result);
            }
        }
        for o in &mut graph.output {
            if Some(&o.name) == from.as_ref() && all {
                o.name.clone_from(&result);
            }
        }
    }
    graph.node.push(node);
}

/// A number, or a few, in place of an operand.
fn insert_constant(graph: &mut GraphProto, known: &Known, rng: &mut Rng) {
    let Some(operand) = pick_mut(rng, &mut graph.node).and_then(|n| pick_mut(rng, &mut n.input)) else { return };
    let mut t = TensorProto::new();
    t.name = format!("k{}", rng.below(1 << 20));
    let mut len = [1, 1, 1, 2, 3, 4, 0][index(rng, 7)];
    if one_in(rng, 2) {
        t.dims.push(len as i64);
    } else {
        len = 1;
    }
    t.data_type = match known.0.get(operand).map(|ty| ty.dtype) {
        _ if one_in(rng, 8) => [1, 7][index(rng, 2)],
        Some(DType::F32) | None => 1,
        Some(DType::F64) => 11,
        Some(DType::F16) => 10,
        Some(DType::BF16) => 16,
        Some(DType::I32) => 6,
        Some(DType::U8) => 2,
        Some(DType::I8) => 3,
        Some(DType::Bool) => 9,
        Some(_) => 7,
    };
    t.raw_data = (0..len).flat_map(|_| element(t.data_type, rng)).collect::<Vec<u8>>().into();
    operand.clone_from(&t.name);
    graph.initializer.push(t);
}
