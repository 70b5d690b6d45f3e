//! The pass that chooses how attention gets its scores.

mod common;

use bgz_passes::ir::{Bindings, Scores};
use bgz_passes::passes::attention_to_table::{again, pass};
use bgz_passes::pipeline::Pipeline;
use bgz_passes::scores::{Approximation, Choice, ScoreSite, ScoreSource};
use common::attention::{attentions, masked};
use common::{Case, leaves, run};
use std::sync::Arc;

/// Two attentions of one head dimension, and two products of that inner dim that are none.
const TWO: &str = "in %q : f32[batch, seq, 8]
         in %k : f32[batch, keys, 8]
         in %v : f32[batch, keys, 6]
         in %x : f32[n, 4]
         const @w : f32[4, 8] 9f3c01aa
         %first = attention(%q, %k, %v) {heads = 2, d_head = 4, scale = 0.5, scores = exact} : f32[batch, seq, 6]
         %second = attention(%q, %k, %v) {heads = 2, d_head = 4, scale = 1.0, scores = exact} : f32[batch, seq, 6]
         %xt = transpose(%x) {perm = [1, 0]} : f32[4, n]
         %product = matmul(%x, %xt) : f32[n, n]
         %linear = linear(%x, @w) : f32[n, 8]
         out %first
         out %second
         out %product
         out %linear";

/// A table for `first`, 8-bit rows for the rest if 0.01 is put up with; from 100 keys on, as far as can be told.
struct Known;

impl ScoreSource for Known {
    fn choose(&self, site: &ScoreSite<'_>, max_error: f64) -> Choice {
        let choice = |scores, reason: &str| Choice { scores, reason: reason.into() };
        assert_eq!((site.d_v.as_usize(), site.attention.d_head), (Some(3), 4));
        if max_error < 0.01 {
            return choice(Scores::Exact, "the error is 0.01");
        }
        if site.seq_k.as_usize().is_some_and(|n| n < 100) {
            return choice(Scores::Exact, &format!("{} x {} keys", site.batch, site.seq_k));
        }
        match site.name {
            "first" => choice(Scores::Table("first".into()), "the error is 0.01"),
            _ => choice(Scores::Int8, "there is no table"),
        }
    }
}

fn approximation(max_error: f64) -> Approximation {
    Approximation { source: Arc::new(Known), max_error }
}

fn scores(case: &Case) -> Vec<Scores> {
    attentions(&case.after).into_iter().map(|a| a.scores).collect()
}

#[test]
fn every_attention_gets_its_own() {
    let case = run(pass(approximation(0.03)), TWO);
    assert_eq!(scores(&case), [Scores::Table("first".into()), Scores::Int8]);
    assert_eq!(case.rewrites, 2);
    assert!(case.trace.contains("%first <- attention: table(\"first\"): the error is 0.01\n"), "{}", case.trace);
    // Nothing else has changed, so that the products of the same inner dim are as they were.
    let undone = case.after.to_string().replace("table(\"first\")", "exact").replace("scores = int8", "scores = exact");
    assert_eq!(undone, case.before.to_string());
    case.snapshot("attention-to-table@two");
}

#[test]
fn exact_stays_exact_where_the_source_says_so() {
    let case = leaves(pass(approximation(0.001)), "attention-to-table@floor", TWO);
    assert!(case.trace.contains("skipped %first: stays exact: the error is 0.01\n"), "{}", case.trace);
}

#[test]
fn what_is_no_attention_is_left_alone() {
    let case = leaves(
        pass(approximation(1.0)),
        "attention-to-table@no-attention",
        "in %q : f32[batch, 2, seq, 4]
         in %k : f32[batch, 2, 4, seq]
         %scores = matmul(%q, %k) : f32[batch, 2, seq, seq]
         %p = softmax(%scores) {axis = 3} : f32[batch, 2, seq, seq]
         out %p",
    );
    assert_eq!(case.trace, "");
}

#[test]
fn other_dtypes_stay_exact() {
    let case = leaves(
        pass(approximation(1.0)),
        "attention-to-table@f16",
        "in %q : f16[batch, seq, 8]
         in %k : f16[batch, keys, 8]
         in %v : f16[batch, keys, 6]
         %first = attention(%q, %k, %v) {heads = 2, d_head = 4, scale = 0.5, scores = exact} : f16[batch, seq, 6]
         out %first",
    );
    assert!(
        case.trace.contains("skipped %first: stays exact: approximate scores are of f32, not f16"),
        "{}",
        case.trace
    );
}

/// From 100 keys on a table, below exact: known once extents are.
#[test]
fn numbers_for_extents_change_the_choice() {
    let symbolic = run(pass(approximation(0.03)), TWO).after;
    for (keys, want) in [(200, [Scores::Table("first".into()), Scores::Int8]), (20, [Scores::Exact, Scores::Exact])] {
        let bindings: Bindings =
            [("batch", 2), ("seq", 5), ("keys", keys), ("n", 3)].map(|(name, n)| (name.into(), n)).into();
        let mut bound = symbolic.bind(&bindings).expect("it binds");
        let report = Pipeline::bound(Some(&approximation(0.03))).run(&mut bound).expect("it runs");
        assert_eq!(attentions(&bound).into_iter().map(|a| a.scores).collect::<Vec<_>>(), want);
        if keys == 20 {
            let trace = report.to_string();
            assert!(trace.contains("%second <- attention: exact: 2 x 20 keys\n"), "{trace}");
        }
    }
}

/// Who left an attention exact, say by choosing passes, does not find it approximate when it runs.
#[test]
fn a_second_look_makes_nothing_approximate() {
    let case = leaves(again(approximation(1.0)), "attention-to-table@again", TWO);
    assert_eq!(case.trace, "");
}

#[test]
fn the_pipeline_has_it_behind_the_recognisers() {
    let names = Pipeline::approximate(Arc::new(Known) as Arc<dyn ScoreSource>, 0.03).names();
    let exact = Pipeline::exact().names();
    let at = names.iter().position(|n| *n == "attention-to-table").expect("it is there");
    assert_eq!([&names[..at], &names[at + 1..]].concat(), exact);
    assert!(names[..at].contains(&"attention"));
}

#[test]
fn choosing_other_passes_forbids_it() {
    let pipeline = || Pipeline::approximate(Arc::new(Known) as Arc<dyn ScoreSource>, 0.03);
    assert!(pipeline().approximation().is_some());
    assert!(pipeline().only(&["attention"]).expect("a pass").approximation().is_none());
    assert!(pipeline().only(&["attention-to-table"]).expect("a pass").approximation().is_some());
    assert!(Pipeline::exact().only(&["attention-to-table"]).is_err());
    assert!(Pipeline::exact().approximation().is_none());
}

/// A mask, split heads: extents are found wherever they are.
#[test]
fn from_the_primitive_ops() {
    struct Extents;
    impl ScoreSource for Extents {
        fn choose(&self, site: &ScoreSite<'_>, _: f64) -> Choice {
            let reason = format!("{}: {} x {} x {} x {}", site.name, site.batch, site.seq_q, site.seq_k, site.d_v);
            Choice { scores: Scores::Int8, reason }
        }
    }
    let text = masked("in %mask : f32[batch, 1, 1, seq]", "%m = add(%s, %mask) : f32[batch, 2, seq, seq]");
    let mut graph = common::graph(&text);
    let pipeline = Pipeline::approximate(Arc::new(Extents) as Arc<dyn ScoreSource>, 0.03);
    let report = pipeline.run(&mut graph).expect("it runs");
    assert_eq!(attentions(&graph).remove(0).scores, Scores::Int8);
    let trace = report.to_string();
    assert!(trace.contains("%y <- attention: int8: y: batch x seq x seq x 4\n"), "{trace}");
}
