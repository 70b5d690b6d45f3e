//! Writes an ONNX graph node by node, with the names PyTorch's exporter would give.

use std::collections::BTreeMap;

use onnx_ir::{AttributeProto, AttributeType, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

/// ONNX's `TensorProto.DataType` numbers (onnx.proto), for the types written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum DataType {
    /// 32-bit IEEE float.
    F32 = 1,
    /// 64-bit signed integer.
    I64 = 7,
    /// Boolean, one byte each.
    Bool = 9,
}

impl DataType {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::I64 => 8,
            Self::Bool => 1,
        }
    }
}

/// One dimension of a graph input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim<'a> {
    /// Known only at run time.
    Symbol(&'a str),
    /// Known ahead.
    Fixed(usize),
}

/// The name of a value in the graph: what a node, an input or an initialiser produces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(String);

impl Value {
    /// The name as it stands in the file.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A graph being written.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: GraphProto,
    /// How many nodes of one kind a scope has: the exporter numbers them from the second on.
    counts: BTreeMap<String, usize>,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        let mut graph = GraphProto::new();
        graph.name = name.to_owned();
        Self { graph, counts: BTreeMap::new() }
    }

    /// Declares a graph input.
    pub fn input(&mut self, name: &str, dtype: DataType, dims: &[Dim]) -> Value {
        self.graph.input.push(value_info(name, dtype, dims));
        Value(name.to_owned())
    }

    /// Declares the last added node's only result as the graph output `name`.
    ///
    /// The exporter does not add an `Identity` for this but renames the value, and so does this.
    pub fn output_of_last(&mut self, name: &str, dtype: DataType, dims: &[Dim]) {
        if let Some(node) = self.graph.node.last_mut() {
            node.output = vec![name.to_owned()];
        }
        self.graph.output.push(value_info(name, dtype, dims));
    }

    /// Adds an initialiser of `f32`.
    pub fn init_f32(&mut self, name: &str, dims: &[usize], values: &[f32]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.init(name, DataType::F32, dims, raw)
    }

    /// Adds an initialiser of `i64`.
    pub fn init_i64(&mut self, name: &str, dims: &[usize], values: &[i64]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.init(name, DataType::I64, dims, raw)
    }

    /// Adds an initialiser of `bool`.
    pub fn init_bool(&mut self, name: &str, dims: &[usize], values: &[bool]) -> Value {
        let raw = values.iter().map(|&v| u8::from(v)).collect();
        self.init(name, DataType::Bool, dims, raw)
    }

    fn init(&mut self, name: &str, dtype: DataType, dims: &[usize], raw: Vec<u8>) -> Value {
        self.graph.initializer.push(tensor(name, dtype, dims, raw));
        Value(name.to_owned())
    }

    /// Adds a `Constant` node with a scalar `f32`.
    pub fn scalar_f32(&mut self, scope: &str, value: f32) -> Value {
        self.constant(scope, tensor("", DataType::F32, &[], value.to_le_bytes().to_vec()))
    }

    /// Adds a `Constant` node with a scalar `i64`, as an index.
    pub fn scalar_i64(&mut self, scope: &str, value: i64) -> Value {
        self.constant(scope, tensor("", DataType::I64, &[], value.to_le_bytes().to_vec()))
    }

    /// Adds a `Constant` node with a one-element `i64` vector, as an axis or an end of a slice.
    pub fn vector_i64(&mut self, scope: &str, value: i64) -> Value {
        self.constant(scope, tensor("", DataType::I64, &[1], value.to_le_bytes().to_vec()))
    }

    fn constant(&mut self, scope: &str, value: TensorProto) -> Value {
        let mut attribute = attribute("value", AttributeType::TENSOR);
        attribute.t = Some(value).into();
        self.push(scope, "Constant", &[], vec![attribute])
    }

    /// Adds a node without attributes.
    pub fn op(&mut self, scope: &str, op_type: &str, inputs: &[&Value]) -> Value {
        self.push(scope, op_type, inputs, Vec::new())
    }

    /// Adds a node with one integer attribute.
    pub fn op_int(&mut self, scope: &str, op_type: &str, inputs: &[&Value], name: &str, value: i64) -> Value {
        let mut attribute = attribute(name, AttributeType::INT);
        attribute.i = value;
        self.push(scope, op_type, inputs, vec![attribute])
    }

    /// Adds a node with one attribute that is a list of integers.
    pub fn op_ints(&mut self, scope: &str, op_type: &str, inputs: &[&Value], name: &str, values: &[i64]) -> Value {
        let mut attribute = attribute(name, AttributeType::INTS);
        attribute.ints = values.to_vec();
        self.push(scope, op_type, inputs, vec![attribute])
    }

    fn push(&mut self, scope: &str, op_type: &str, inputs: &[&Value], attributes: Vec<AttributeProto>) -> Value {
        let base = format!("{scope}/{op_type}");
        let count = self.counts.entry(base.clone()).or_default();
        let name = if *count == 0 { base } else { format!("{base}_{count}") };
        *count += 1;

        let output = format!("{name}_output_0");
        let mut node = NodeProto::new();
        node.name = name;
        node.op_type = op_type.to_owned();
        node.input = inputs.iter().map(|v| v.0.clone()).collect();
        node.output = vec![output.clone()];
        node.attribute = attributes;
        self.graph.node.push(node);
        Value(output)
    }

    /// The model around the graph, for one version of ONNX's own operator set.
    pub fn finish(self, opset: i64, doc: &str) -> ModelProto {
        let mut model = ModelProto::new();
        // The IR version that came with opset 17 (onnx/docs/Versioning.md).
        model.ir_version = 8;
        model.producer_name = "bgz-models".to_owned();
        model.doc_string = doc.to_owned();
        model.opset_import.push(Default::default());
        for import in &mut model.opset_import {
            import.version = opset;
        }
        model.graph = Some(self.graph).into();
        model
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    let mut attribute = AttributeProto::new();
    attribute.name = name.to_owned();
    attribute.type_ = kind.into();
    attribute
}

fn tensor(name: &str, dtype: DataType, dims: &[usize], raw: Vec<u8>) -> TensorProto {
    let mut tensor = TensorProto::new();
    tensor.name = name.to_owned();
    tensor.data_type = dtype as i32;
    tensor.dims = dims.iter().map(|&d| d as i64).collect();
    tensor.raw_data = raw.into();
    tensor
}

fn value_info(name: &str, dtype: DataType, dims: &[Dim]) -> ValueInfoProto {
    let mut info = ValueInfoProto::new();
    info.name = name.to_owned();
    let tensor = info.type_.mut_or_insert_default().mut_tensor_type();
    tensor.elem_type = dtype as i32;
    let shape = tensor.shape.mut_or_insert_default();
    for dim in dims {
        shape.dim.push(Default::default());
        if let Some(written) = shape.dim.last_mut() {
            match *dim {
                Dim::Symbol(symbol) => written.set_dim_param(symbol.to_owned()),
                Dim::Fixed(size) => written.set_dim_value(size as i64),
            }
        }
    }
    info
}
