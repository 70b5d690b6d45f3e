//! The committed default model is what the code makes, and is a well-formed ONNX model.

use std::collections::BTreeSet;

use bgz_models::char_lm::{self, Config, SEED};
use onnx_ir::{Message, ModelProto, OnnxGraphBuilder};

#[test]
fn the_committed_file_is_what_the_code_makes() {
    let made = char_lm::default_bytes().expect("the model is written");
    let kept = std::fs::read(bgz_models::default_model()).expect("models/default/char_lm.onnx");
    let first = made.iter().zip(&kept).position(|(a, b)| a != b);
    assert!(
        made == kept,
        "{} bytes made, {} kept, first difference at {first:?}: \
         run `cargo run -p bgz-models --bin make-default` and the fixtures' script",
        made.len(),
        kept.len()
    );
}

#[test]
fn the_committed_file_is_small() {
    let len = std::fs::metadata(bgz_models::default_model()).expect("the file").len();
    assert!(len < 4 << 20, "{len} bytes");
}

#[test]
fn another_seed_gives_other_weights_and_the_same_nodes() {
    let a = char_lm::build(&Config::default(), SEED);
    let b = char_lm::build(&Config::default(), SEED + 1);
    assert_eq!(a.graph.node, b.graph.node);
    for (a, b) in a.graph.initializer.iter().zip(&b.graph.initializer) {
        assert_eq!((&a.name, &a.dims), (&b.name, &b.dims));
        let constant = a.name == "position_ids" || a.name == "causal_mask";
        assert_eq!(a.raw_data == b.raw_data, constant, "{}", a.name);
    }
}

#[test]
fn names_are_unique_and_every_value_comes_before_its_use() {
    let model = char_lm::build(&Config::default(), SEED);
    let graph = &model.graph;
    let mut known = BTreeSet::new();
    let declared = graph.input.iter().map(|v| &v.name).chain(graph.initializer.iter().map(|t| &t.name));
    for name in declared {
        assert!(known.insert(name.clone()), "{name} twice");
    }
    let mut nodes = BTreeSet::new();
    let mut used = BTreeSet::new();
    for node in &graph.node {
        assert!(nodes.insert(&node.name), "node {} twice", node.name);
        for input in &node.input {
            assert!(known.contains(input), "{}: {input} is not known yet", node.name);
            used.insert(input.clone());
        }
        for output in &node.output {
            assert!(known.insert(output.clone()), "{output} twice");
        }
    }
    for output in &graph.output {
        assert!(known.contains(&output.name), "output {} is not made", output.name);
        used.insert(output.name.clone());
    }
    let unused: Vec<_> = known.difference(&used).collect();
    assert!(unused.is_empty(), "made and not used: {unused:?}");
}

#[test]
fn it_holds_the_parts_that_the_passes_look_for() {
    let model = char_lm::build(&Config::default(), SEED);
    let count = |op: &str| model.graph.node.iter().filter(|n| n.op_type == op).count();
    // Per layer: one softmax and one GELU; two LayerNorms, and one at the end.
    assert_eq!(count("Softmax"), 3);
    assert_eq!(count("Erf"), 3);
    assert_eq!(count("Sqrt"), 7);
    assert_eq!(count("ReduceMean"), 14);
    // Per layer: q, k, v, scores, context, out, up, down; and the head.
    assert_eq!(count("MatMul"), 25);
    assert_eq!(count("Where"), 3);
    assert_eq!(count("LayerNormalization") + count("Gelu") + count("Attention"), 0);
}

#[test]
fn every_tensor_holds_as_many_bytes_as_its_shape_says() {
    let bytes = std::fs::read(bgz_models::default_model()).expect("the file");
    let model = ModelProto::parse_from_bytes(&bytes).expect("a protobuf");
    for tensor in &model.graph.initializer {
        let width = match tensor.data_type {
            1 => 4,
            7 => 8,
            9 => 1,
            other => panic!("{}: dtype {other}", tensor.name),
        };
        let len: i64 = tensor.dims.iter().product();
        assert_eq!(tensor.raw_data.len() as i64, len * width, "{}", tensor.name);
    }
}

#[test]
fn onnx_ir_reads_it() {
    let bytes = char_lm::default_bytes().expect("the model is written");
    let graph = OnnxGraphBuilder::new().simplify(false).parse_bytes(&bytes).expect("a graph");
    let names = |args: &[onnx_ir::Argument]| args.iter().map(|a| a.name.clone()).collect::<Vec<_>>();
    assert_eq!(graph.inputs.len(), 1, "{:?}", names(&graph.inputs));
    assert_eq!(graph.outputs.len(), 1, "{:?}", names(&graph.outputs));
}
