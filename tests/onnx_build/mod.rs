//! ONNX models made by hand, for the tests of the importer.
#![allow(dead_code)]

use bgz_fusion::onnx::{self, ImportError};
use bgz_passes::eval::{self, Tensor};
use bgz_passes::ir::{Graph, ValueId};
use bytes::Bytes;
use onnx_ir::{AttributeProto, AttributeType, GraphProto, Message, ModelProto, NodeProto, TensorProto};

/// `TensorProto.DataType` numbers (onnx.proto).
pub const F32: i32 = 1;
pub const U8: i32 = 2;
pub const I32: i32 = 6;
pub const I64: i32 = 7;
pub const STRING: i32 = 8;
pub const BOOL: i32 = 9;

/// A graph being written.
#[derive(Clone, Default)]
pub struct Build {
    pub graph: GraphProto,
}

/// A model of opset `opset` with the nodes that `write` adds.
pub fn model(opset: i64, write: impl FnOnce(&mut Build)) -> ModelProto {
    let mut b = Build::default();
    b.graph.name = "made".into();
    write(&mut b);
    let mut m = ModelProto::new();
    m.ir_version = 8;
    m.opset_import.push(Default::default());
    m.opset_import[0].version = opset;
    m.graph = Some(b.graph).into();
    m
}

pub fn bytes(m: &ModelProto) -> Bytes {
    m.write_to_bytes().expect("a message that was made can be written").into()
}

pub fn import(m: &ModelProto) -> Result<Graph, ImportError> {
    onnx::from_bytes(bytes(m))
}

/// Imports and verifies.
#[track_caller]
pub fn graph(opset: i64, write: impl FnOnce(&mut Build)) -> Graph {
    let g = import(&model(opset, write)).expect("it is a good model");
    g.verify().expect("what was imported fits together");
    g
}

/// The message of the error.
#[track_caller]
pub fn refused(opset: i64, write: impl FnOnce(&mut Build)) -> String {
    import(&model(opset, write)).expect_err("it is not a good model").to_string()
}

impl Build {
    /// An input; a dim is a number, a name, or `?` for one without a name.
    pub fn input(&mut self, name: &str, code: i32, dims: &[&str]) {
        let mut info = onnx_ir::ValueInfoProto::new();
        info.name = name.into();
        let t = info.type_.mut_or_insert_default().mut_tensor_type();
        t.elem_type = code;
        let shape = t.shape.mut_or_insert_default();
        for d in dims {
            shape.dim.push(Default::default());
            let dim = shape.dim.last_mut().expect("just pushed");
            match d.parse::<i64>() {
                Ok(n) => dim.set_dim_value(n),
                Err(_) if *d == "?" => {}
                Err(_) => dim.set_dim_param((*d).into()),
            }
        }
        self.graph.input.push(info);
    }

    pub fn output(&mut self, name: &str) {
        let mut info = onnx_ir::ValueInfoProto::new();
        info.name = name.into();
        self.graph.output.push(info);
    }

    pub fn f32s(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        self.graph.initializer.push(f32s(name, dims, values));
    }

    pub fn i64s(&mut self, name: &str, values: &[i64]) {
        self.graph.initializer.push(i64s(name, &[values.len() as i64], values));
    }

    pub fn add(&mut self, node: NodeProto) {
        self.graph.node.push(node);
    }

    /// A node; operands and results are separated by spaces, `_` is one left out.
    pub fn node(&mut self, op: &str, inputs: &str, outputs: &str, attrs: Vec<AttributeProto>) -> &mut NodeProto {
        self.add(node(op, inputs, outputs, attrs));
        self.graph.node.last_mut().expect("just pushed")
    }
}

pub fn node(op: &str, inputs: &str, outputs: &str, attrs: Vec<AttributeProto>) -> NodeProto {
    let list = |s: &str| s.split_whitespace().map(|n| if n == "_" { String::new() } else { n.into() }).collect();
    let mut n = NodeProto::new();
    n.op_type = op.into();
    n.input = list(inputs);
    n.output = list(outputs);
    n.attribute = attrs;
    n
}

pub fn f32s(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    tensor(name, F32, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub fn i64s(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    tensor(name, I64, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

pub fn tensor(name: &str, code: i32, dims: &[i64], raw: Vec<u8>) -> TensorProto {
    let mut t = TensorProto::new();
    t.name = name.into();
    t.data_type = code;
    t.dims = dims.to_vec();
    t.raw_data = raw.into();
    t
}

fn attribute(name: &str, ty: AttributeType) -> AttributeProto {
    let mut a = AttributeProto::new();
    a.name = name.into();
    a.type_ = ty.into();
    a
}

/// Says that the bytes of a tensor lie in another file, by these entries of its `external_data`.
pub fn lies_outside(t: &mut TensorProto, entries: &[(&str, &str)]) {
    // Field 14, data_location, is 1, EXTERNAL (onnx.proto); the enum has no public name.
    t.merge_from_bytes(&[14 << 3, 1]).expect("a field");
    for (key, value) in entries {
        t.external_data.push(Default::default());
        let entry = t.external_data.last_mut().expect("just pushed");
        entry.key = (*key).into();
        entry.value = (*value).into();
    }
}

pub fn int(name: &str, v: i64) -> AttributeProto {
    AttributeProto { i: v, ..attribute(name, AttributeType::INT) }
}

pub fn ints(name: &str, v: &[i64]) -> AttributeProto {
    AttributeProto { ints: v.to_vec(), ..attribute(name, AttributeType::INTS) }
}

pub fn float(name: &str, v: f32) -> AttributeProto {
    AttributeProto { f: v, ..attribute(name, AttributeType::FLOAT) }
}

pub fn floats(name: &str, v: &[f32]) -> AttributeProto {
    AttributeProto { floats: v.to_vec(), ..attribute(name, AttributeType::FLOATS) }
}

pub fn text(name: &str, v: &str) -> AttributeProto {
    AttributeProto { s: Bytes::copy_from_slice(v.as_bytes()), ..attribute(name, AttributeType::STRING) }
}

pub fn tensor_attr(name: &str, t: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(t).into(), ..attribute(name, AttributeType::TENSOR) }
}

pub fn graph_attr(name: &str, write: impl FnOnce(&mut Build)) -> AttributeProto {
    let mut b = Build::default();
    write(&mut b);
    AttributeProto { g: Some(b.graph).into(), ..attribute(name, AttributeType::GRAPH) }
}

/// The value of an output.
#[track_caller]
pub fn output(g: &Graph, name: &str) -> ValueId {
    g.outputs().iter().find(|o| &*o.name == name).expect("an output of that name").value
}

/// The type of an output as text.
#[track_caller]
pub fn ty(g: &Graph, name: &str) -> String {
    g.ty(output(g, name)).to_string()
}

/// Mnemonics in order.
pub fn ops(g: &Graph) -> Vec<String> {
    g.nodes().map(|(_, n)| n.op.mnemonic()).collect()
}

/// The outputs for these inputs, as numbers.
#[track_caller]
pub fn run(g: &Graph, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    eval::run(g, inputs).expect("it can be evaluated").iter().map(Tensor::to_f64s).collect()
}

/// Numbers that differ from each other, as an input.
pub fn numbers(shape: &[usize]) -> Tensor {
    let len: usize = shape.iter().product();
    let values: Vec<f32> = (0..len).map(|i| ((i * 7 + 3) % 11) as f32 * 0.25 - 1.0).collect();
    Tensor::f32s(shape.to_vec(), &values).expect("the length fits")
}

#[track_caller]
pub fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{found:?} and {expected:?}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let same = a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-5 * (1.0 + b.abs());
        assert!(same, "element {i}: {a}, expected {b}\n{found:?}\n{expected:?}");
    }
}
