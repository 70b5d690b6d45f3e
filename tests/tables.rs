//! Attention that takes its scores from tables, as users of the library meet it.

use bgz_fusion::exec::ExecError;
use bgz_fusion::ir::{Scores, parse};
use bgz_fusion::scores::{Choice, ScoreSite, ScoreSource, ScoreTable};
use bgz_fusion::table::calibrate::{CalibrateError, by_head_dimension, collect};
use bgz_fusion::table::{
    AttentionTable, Fidelity, Figure, OutputFidelity, ProductParts, ProductTable, Record, Refine, Refined, Rotary,
    TableRegistry,
};
use bgz_fusion::{Error, Graph, Model, Pipeline, Tensor, Type};
use std::sync::Arc;

/// Two attentions of two heads of 64 dims.
const TWO: &str = "graph @two {
  in %q : f32[batch, seq, 128]
  in %k : f32[batch, seq, 128]
  in %v : f32[batch, seq, 128]
  %first = attention(%q, %k, %v) {heads = 2, d_head = 64, scale = 0.125, scores = exact} : f32[batch, seq, 128]
  %second = attention(%first, %k, %v) {heads = 2, d_head = 64, scale = 0.125, scores = exact} : f32[batch, seq, 128]
  out %second
}";

fn graph(text: &str) -> Graph {
    parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// A table that claims an error of `error`, and as much of int8.
fn table(d_head: usize, error: f64) -> AttentionTable {
    let parts = ProductParts {
        entries: 16,
        subspaces: d_head / 2,
        rotary: Rotary::None,
        permutation: Rotary::None.permutation(d_head, d_head / 2).expect("it is divisible"),
        mean: vec![0.0; d_head],
        codebook: (0..16 * d_head).map(|i| (i % 37) as f32 / 18.0 - 1.0).collect(),
        metric: (0..2 * d_head).map(|i| if i % 4 == 0 || i % 4 == 3 { 1.0 } else { 0.0 }).collect(),
    };
    let output_error = Figure { mean: error, worst: error };
    let record = Record {
        int8: Fidelity { output_error, ..Fidelity::default() },
        refined: Some(Refined {
            refine: Refine::default(),
            fidelity: OutputFidelity { output_error, ..OutputFidelity::default() },
            chosen: Figure { mean: 0.02, worst: 0.02 },
        }),
        ..Record::default()
    };
    AttentionTable::Product(ProductTable::from_parts(parts).expect("the parts fit"), record)
}

fn registry(tables: impl IntoIterator<Item = AttentionTable>) -> TableRegistry {
    let registry = TableRegistry::new();
    registry.register_all(tables);
    registry
}

/// Numbers in -1..1 that do not repeat soon.
fn noise(seed: usize, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect();
    Tensor::new(shape, &values).expect("a tensor")
}

fn inputs(batch: usize, seq: usize, width: usize) -> Vec<Tensor> {
    (0..3).map(|i| noise(i, &[batch, seq, width])).collect()
}

fn scores(graph: &Graph) -> Vec<String> {
    let text = graph.to_string();
    let at = text.lines().filter_map(|l| l.split_once("scores = ").map(|(_, rest)| rest));
    at.filter_map(|rest| rest.split_once('}').map(|(s, _)| s.to_string())).collect()
}

#[test]
fn a_model_takes_the_tables_of_a_registry() {
    let registry = registry([table(64, 0.02)]);
    registry.register_at("second", table(64, 0.01));
    let mut model = Model::from_graph(graph(TWO));
    let report = model.rewrite(&Pipeline::approximate(&registry, 0.03)).expect("it is rewritten");
    assert_eq!(scores(model.graph()), ["table(\"d64\")", "table(\"second\")"]);
    let text = report.to_string();
    assert!(
        text.contains("// attention-to-table: %first <- attention: table(\"d64\"): error 2.00 % of 3.00 %"),
        "{text}"
    );
}

/// A source of a user's own, with one table.
struct Own(ScoreTable);

impl ScoreSource for Own {
    fn choose(&self, _: &ScoreSite<'_>, _: f64) -> Choice {
        Choice { scores: Scores::Table("mine".into()), reason: "there is one".into() }
    }

    fn table(&self, d_head: usize, name: &str) -> Option<ScoreTable> {
        (d_head == 64 && name == "mine").then(|| self.0.clone())
    }
}

/// With the refinement all keys are among the last 128, which are scored exactly; without it the table decides.
#[test]
fn a_source_of_a_users_own_gives_the_table_it_names() {
    let given = inputs(1, 20, 128);
    let types: Vec<Type> = given.iter().map(Tensor::ty).collect();
    let first = |model: &Model| {
        let plan = model.plan(&types).expect("a plan");
        let by_table = plan.steps().filter(|s| s.kernel == "attention by table").count();
        let out = plan.run(&given).expect("it runs")[0].as_slice::<f32>().expect("f32").to_vec();
        (by_table, out)
    };
    let (_, exact) = first(&Model::from_graph(graph(TWO)));
    for refined in [true, false] {
        let mut table = table(64, 0.02).score_table();
        table.refine = table.refine.filter(|_| refined);
        let mut model = Model::from_graph(graph(TWO));
        let source: Arc<dyn ScoreSource> = Arc::new(Own(table));
        model.rewrite(&Pipeline::approximate(source, 0.03)).expect("it is rewritten");
        let (by_table, out) = first(&model);
        assert_eq!(by_table, 2);
        let furthest = out.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert_eq!(furthest < 1e-5, refined, "{furthest}");
    }
}

/// Two keys are scored sooner than coded: the plan is exact, says so, and makes the exact numbers.
#[test]
fn a_plan_goes_by_real_extents() {
    let exact = Model::from_graph(graph(TWO));
    let mut model = Model::from_graph(graph(TWO));
    model.rewrite(&Pipeline::approximate(&registry([table(64, 0.02)]), 0.03)).expect("it is rewritten");
    let given = inputs(3, 2, 128);
    let types: Vec<Type> = given.iter().map(Tensor::ty).collect();
    let plan = model.plan(&types).expect("a plan");
    assert_eq!(scores(plan.graph()), ["exact", "exact"]);
    let text = plan.report().to_string();
    assert!(text.contains("// attention-to-table: %first <- attention: exact: about "), "{text}");
    assert!(text.contains("cycles a score by table"), "{text}");
    let want = exact.plan(&types).expect("a plan").run(&given).expect("it runs");
    assert_eq!(plan.run(&given).expect("it runs")[0].bytes(), want[0].bytes());
    // The choice for any extents is kept.
    assert_eq!(scores(model.graph()), ["table(\"d64\")", "table(\"d64\")"]);
}

#[test]
fn without_permission_or_tables_or_within_the_error_scores_stay_exact() {
    let (good, bad, other) = (registry([table(64, 0.02)]), registry([table(64, 0.2)]), registry([table(32, 0.02)]));
    for pipeline in [
        Pipeline::exact(),
        Pipeline::approximate(&bad, 0.03),
        Pipeline::approximate(&other, 0.03),
        Pipeline::approximate(&good, 0.01),
        Pipeline::approximate(&good, f64::NAN),
        Pipeline::approximate(&TableRegistry::new(), 1.0),
    ] {
        let mut model = Model::from_graph(graph(TWO));
        model.rewrite(&pipeline).expect("it is rewritten");
        assert_eq!(scores(model.graph()), ["exact", "exact"]);
    }
}

/// A plan sees the tables there were when the graph was rewritten.
#[test]
fn clearing_a_registry_does_not_break_a_model() {
    let registry = registry([table(64, 0.02)]);
    let mut model = Model::from_graph(graph(TWO));
    model.rewrite(&Pipeline::approximate(&registry, 0.03)).expect("it is rewritten");
    registry.clear();
    let types: Vec<Type> = inputs(1, 2, 128).iter().map(Tensor::ty).collect();
    model.plan(&types).expect("a plan");
}

#[test]
fn a_graph_that_names_a_table_nobody_has_is_an_error_that_says_what_to_do() {
    let model = Model::from_graph(graph(&TWO.replacen("exact", "table(\"layer0\")", 1)));
    let types: Vec<Type> = inputs(1, 4, 128).iter().map(Tensor::ty).collect();
    let Err(Error::Exec(e)) = model.plan(&types) else { panic!("a plan without the table") };
    assert!(matches!(&e, ExecError::NoTable { table, d_head: 64, .. } if table == "layer0"), "{e}");
    let text = e.to_string();
    for part in ["%first", "\"layer0\"", "d_head 64", "Pipeline::approximate", "--tables"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

fn collected(
    text: &str,
    given: &[Vec<Tensor>],
) -> Result<Vec<bgz_fusion::table::calibrate::SiteSamples>, CalibrateError> {
    collect(&graph(text), given, |_| {})
}

/// Windows are the rows of the operands, head by head.
#[test]
fn calibration_collects_what_attention_sees() {
    let given = [inputs(2, 5, 128), inputs(1, 7, 128)];
    let sites = collected(TWO, &given).expect("samples");
    assert_eq!(sites.iter().map(|s| s.site.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    let s = &sites[0].samples;
    assert_eq!((s.d_head, s.d_v, s.scale, s.causal, s.windows.len()), (64, 64, 0.125, false, 6));
    let heads: Vec<_> = s.windows.iter().map(|w| w.head.as_str()).collect();
    assert_eq!(heads, ["first/0", "first/1", "first/0", "first/1", "first/0", "first/1"]);
    // Batch entry 1, head 1, position 3.
    let q = given[0][0].as_slice::<f32>().expect("f32");
    assert_eq!(s.windows[3].q[3 * 64..4 * 64], q[(5 + 3) * 128 + 64..][..64]);
    assert_eq!(s.windows[5].k.len(), 7 * 64);
    // The queries of the second are what the first made.
    let model = Model::from_graph(graph(&TWO.replace("out %second", "out %first")));
    let first = model.run(&[("q", given[1][0].clone()), ("k", given[1][1].clone()), ("v", given[1][2].clone())]);
    let first = first.expect("it runs")[0].1.clone();
    let rows: Vec<f32> = first.as_slice::<f32>().expect("f32").chunks(64).step_by(2).flatten().copied().collect();
    let got = &sites[1].samples.windows[4].q;
    assert!(got.iter().zip(&rows).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {rows:?}");

    let pools = by_head_dimension(sites).expect("one pool");
    assert_eq!(pools.len(), 1);
    assert_eq!(pools[0].windows.len(), 12);
}

/// Grouped, split, with padding: key heads are shared, and hidden rows are not there.
#[test]
fn calibration_leaves_padding_out() {
    let text = "graph @padded {
  in %q : f32[batch, 4, seq, 8]
  in %k : f32[batch, 2, seq, 8]
  in %v : f32[batch, 2, seq, 6]
  in %mask : bool[batch, 1, 1, seq]
  %y = attention(%q, %k, %v, %mask) {causal = true, heads = 4, kv_heads = 2, d_head = 8, keep = -inf, merged = false, scale = 0.5, scores = exact} : f32[batch, 4, seq, 6]
  out %y
}";
    let mask = Tensor::from_bools(&[2, 1, 1, 5], &[true, true, true, false, false, true, true, true, true, true]);
    let given = vec![noise(1, &[2, 4, 5, 8]), noise(2, &[2, 2, 5, 8]), noise(3, &[2, 2, 5, 6]), mask.expect("a mask")];
    let k = given[1].as_slice::<f32>().expect("f32").to_vec();
    let sites = collected(text, &[given]).expect("samples");
    let s = &sites[0].samples;
    assert_eq!((s.d_head, s.d_v, s.causal, s.windows.len()), (8, 6, true, 8));
    let sizes: Vec<_> = s.windows.iter().map(|w| (w.q.len() / 8, w.k.len() / 8, w.v.len() / 6)).collect();
    assert_eq!(sizes, [[(3, 3, 3); 4], [(5, 5, 5); 4]].concat());
    // Heads 2 and 3 share key head 1.
    assert_eq!(s.windows[2].k, k[40..64]);
    assert_eq!(s.windows[3].k, k[40..64]);
    assert_eq!(s.windows[0].k, k[..24]);
}

#[test]
fn calibration_that_makes_no_sense_is_an_error() {
    let none = "graph @none {\n in %x : f32[n, 8]\n %y = neg(%x) : f32[n, 8]\n out %y\n}";
    assert!(matches!(collected(none, &[vec![noise(1, &[2, 8])]]), Err(CalibrateError::NoAttention(1))));
    assert!(matches!(collected(TWO, &[]), Err(CalibrateError::NoInputs)));
    let wrong = collected(TWO, &[inputs(1, 2, 128), inputs(1, 2, 64)]);
    assert!(matches!(wrong, Err(CalibrateError::Run { input: 1, .. })), "{wrong:?}");
    let scales = TWO.replacen("0.125", "0.25", 1);
    let sites = collected(&scales, &[inputs(1, 3, 128)]).expect("samples");
    let mixed = by_head_dimension(sites).expect_err("two scales").to_string();
    assert!(mixed.contains("%first and %second") && mixed.contains("scale"), "{mixed}");
}
