//! The graphs that rewriting makes of the embedded model and of real ones, and that the
//! numbers are those of ONNX Runtime. Fetched models are skipped, in words,
//! where they are absent; under `CI` that is a failure.

use bgz_fusion::ir::{Attention, Generate, Index, Norm, Op, Unary};
use bgz_fusion::{DType, Graph, Model, Type, snapshot};
use bgz_models::{default_model, fetched, fixture, fixture_shapes};
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn rewritten(path: &Path) -> Model {
    Model::load(path).unwrap()
}

fn assert_snapshot(model: &str, graph: &Graph) {
    insta::with_settings!({
        snapshot_path => root().join("snapshots"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(format!("rewritten@{model}"), snapshot::text(graph));
    });
}

/// How many ops of a kind there are; functions inside fused expressions count, too.
#[derive(Debug, PartialEq, Default)]
struct Counts {
    attention: usize,
    layer_norm: usize,
    gelu: usize,
    softmax: usize,
    d_head: Vec<usize>,
}

fn count(graph: &Graph) -> Counts {
    let mut c = Counts::default();
    for (_, node) in graph.nodes() {
        match &node.op {
            Op::Attention(Attention { d_head, .. }) => {
                c.attention += 1;
                c.d_head.push(*d_head);
            }
            Op::Norm(Norm::LayerNorm { .. }) => c.layer_norm += 1,
            Op::Norm(Norm::Softmax { .. }) => c.softmax += 1,
            Op::Unary(Unary::GeluErf | Unary::GeluTanh) => c.gelu += 1,
            Op::Fused(e) => c.gelu += e.to_string().matches("gelu_").count(),
            _ => {}
        }
    }
    c.d_head.dedup();
    c
}

fn counts(attention: usize, d_head: usize, layer_norm: usize, gelu: usize) -> Counts {
    Counts { attention, layer_norm, gelu, softmax: 0, d_head: vec![d_head] }
}

#[test]
fn the_default_model_is_recognised() {
    let model = rewritten(&default_model());
    assert_eq!(count(model.graph()), counts(3, 32, 7, 3));
    assert_snapshot("char_lm", model.graph());
}

#[test]
fn minilm_is_recognised() {
    let Some(path) = fetched("minilm") else { return };
    let model = rewritten(&path);
    assert_eq!(count(model.graph()), counts(3, 32, 7, 3));
    assert_snapshot("minilm", model.graph());

    // Bound to numbers, no shape arithmetic is left: integers are the ids, the
    // mask and what is gathered by, not extents.
    let ids = Type::new(DType::I64, [3usize, 24]);
    let plan = model.plan(&[ids.clone(), ids]).unwrap();
    for (_, node) in plan.graph().nodes() {
        let shape_op = matches!(
            node.op,
            Op::Generate(Generate::Shape { .. } | Generate::Dims { .. } | Generate::Range) | Op::Index(Index::NonZero)
        );
        let ints =
            node.outputs.iter().any(|&v| plan.graph().ty(v).rank() <= 1 && plan.graph().ty(v).dtype == DType::I64);
        assert!(!shape_op && !ints, "{:?} of %{}", node.op, plan.graph().name(node.outputs[0]));
    }
}

#[test]
fn vit_is_recognised() {
    let Some(path) = fetched("vit_s_focus") else { return };
    assert_eq!(count(rewritten(&path).graph()), counts(12, 64, 25, 12));
}

#[test]
fn khmersm_is_recognised() {
    let Some(path) = fetched("khmersm") else { return };
    assert_eq!(count(rewritten(&path).graph()), counts(3, 32, 6, 0));
}

/// `bgz check` on every fixture of a model, rewritten and not.
fn check_fixtures(model: &str, path: &Path) {
    for shape in fixture_shapes(model).unwrap() {
        let files = fixture(model, shape);
        for extra in [&[][..], &["--no-rewrite"]] {
            let out = Command::new(env!("CARGO_BIN_EXE_bgz"))
                .arg("check")
                .arg(path)
                .arg("--inputs")
                .arg(&files.inputs)
                .arg("--expect")
                .arg(&files.expected)
                .args(["--atol", "1e-4", "--rtol", "1e-5"])
                .args(extra)
                .output()
                .unwrap();
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            assert!(out.status.success(), "{model}@{shape} {extra:?}\n{}{}", text(&out.stdout), text(&out.stderr));
        }
    }
}

#[test]
fn the_default_model_gives_what_onnx_runtime_gives() {
    check_fixtures("char_lm", &default_model());
}

macro_rules! fixtures {
    ($($name:ident: $model:literal)*) => { $(
        #[test]
        fn $name() {
            if let Some(path) = fetched($model) {
                check_fixtures($model, &path);
            }
        }
    )* };
}

fixtures! {
    minilm_gives_what_onnx_runtime_gives: "minilm"
    magika_gives_what_onnx_runtime_gives: "magika"
    khmersm_gives_what_onnx_runtime_gives: "khmersm"
    vit_gives_what_onnx_runtime_gives: "vit_s_focus"
}

#[test]
fn rewrite_prints_the_body_of_the_snapshot() {
    let out = Command::new(env!("CARGO_BIN_EXE_bgz")).arg("rewrite").arg(default_model()).output().unwrap();
    let snap = std::fs::read_to_string(root().join("snapshots/rewritten@char_lm.snap")).unwrap();
    let body = snap.splitn(3, "---\n").nth(2).unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), body);
}
