//! The exported file is a well-formed ONNX model of the parts that the passes look for, and so is the committed one.

use std::collections::BTreeSet;

use bgz_models::decoder::CharLmConfig;
use bgz_models::import::ImportError;
use bgz_models::{export, import};
use burn_flex::{Flex, FlexDevice};
use onnx_ir::{Message, ModelProto, OnnxGraphBuilder};

/// An untrained model of the default model's sizes.
fn untrained(seed: u64) -> ModelProto {
    export::to_onnx(&CharLmConfig::default().init::<Flex>(seed, &FlexDevice))
}

fn committed() -> ModelProto {
    let bytes = std::fs::read(bgz_models::default_model()).expect("cli/model/char_lm.onnx");
    ModelProto::parse_from_bytes(&bytes).expect("a protobuf")
}

#[test]
fn the_committed_file_is_what_the_exporter_writes_of_its_weights() {
    let kept = std::fs::read(bgz_models::default_model()).expect("cli/model/char_lm.onnx");
    let model = import::from_bytes::<Flex>(&CharLmConfig::default(), &kept, &FlexDevice).expect("its weights");
    let made = export::to_bytes(&model).expect("the model is written");
    let first = made.iter().zip(&kept).position(|(a, b)| a != b);
    assert!(
        made == kept,
        "{} bytes made, {} kept, first difference at {first:?}: \
         run `cargo run --release -p bgz-models --example train_char_lm` and the fixtures' script",
        made.len(),
        kept.len()
    );
}

#[test]
fn a_file_of_other_sizes_is_refused() {
    let bytes = untrained(1).write_to_bytes().expect("bytes");
    let read = |config: CharLmConfig, bytes: &[u8]| import::from_bytes::<Flex>(&config, bytes, &FlexDevice);
    let config = CharLmConfig::default();
    assert!(read(config, &bytes).is_ok());
    let more = read(CharLmConfig { layers: 4, ..config }, &bytes).unwrap_err();
    assert_eq!(more, ImportError::Missing("layers.3.norm1.weight".to_owned()));
    let wider = read(CharLmConfig { d_ff: 8, ..config }, &bytes).unwrap_err();
    assert!(wider.to_string().starts_with("weight layers.0.mlp.up.weight is not f32[128, 8]"), "{wider}");
    assert!(matches!(read(config, b"no model"), Err(ImportError::Protobuf(_) | ImportError::Missing(_))));
}

#[test]
fn the_committed_file_is_small() {
    let len = std::fs::metadata(bgz_models::default_model()).expect("the file").len();
    assert!(len < 4 << 20, "{len} bytes");
}

#[test]
fn another_seed_gives_other_weights_and_the_same_nodes() {
    let a = untrained(1);
    let b = untrained(2);
    assert_eq!(a.graph.node, b.graph.node);
    for (a, b) in a.graph.initializer.iter().zip(&b.graph.initializer) {
        assert_eq!((&a.name, &a.dims), (&b.name, &b.dims));
        // Norms and biases start out as ones and zeros.
        let constant = a.dims.len() == 1 || a.name == "position_ids" || a.name == "causal_mask";
        assert_eq!(a.raw_data == b.raw_data, constant, "{}", a.name);
    }
}

#[test]
fn names_are_unique_and_every_value_comes_before_its_use() {
    let model = untrained(1);
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
    let model = untrained(1);
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
    let model = committed();
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
    let bytes = std::fs::read(bgz_models::default_model()).expect("the file");
    let graph = OnnxGraphBuilder::new().simplify(false).parse_bytes(&bytes).expect("a graph");
    let names = |args: &[onnx_ir::Argument]| args.iter().map(|a| a.name.clone()).collect::<Vec<_>>();
    assert_eq!(graph.inputs.len(), 1, "{:?}", names(&graph.inputs));
    assert_eq!(graph.outputs.len(), 1, "{:?}", names(&graph.outputs));
}
