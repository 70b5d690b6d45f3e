//! The answers of tables when a graph asks how to score.

use super::*;
use bgz_passes::ir::{Attention, Dim, Float, MaskKind, Scores};
use bgz_passes::scores::{Choice, ScoreSite, ScoreSource};

fn attention(d_head: usize) -> Attention {
    Attention {
        heads: 4,
        kv_heads: 4,
        d_head,
        scale: Float(0.1),
        merged: true,
        mask: MaskKind::None,
        causal: false,
        zero_hidden: false,
        scores: Scores::Exact,
    }
}

/// A table of these errors, alone, refined, and of int8.
fn table(site: Option<&str>, alone: f64, refined: Option<f64>, int8: f64) -> AttentionTable {
    let mut table = marked(64, site, 0);
    let worst = |worst: f64| Figure { mean: 0.0, worst };
    let record = table.record_mut();
    record.fidelity.output_error = worst(alone);
    record.int8.output_error = worst(int8);
    record.refined = refined.map(|error| Refined {
        refine: Refine::default(),
        fidelity: OutputFidelity { output_error: worst(error), ..OutputFidelity::default() },
        chosen: Figure { mean: 0.01, worst: 0.02 },
    });
    table
}

fn choose(tables: &[AttentionTable], name: &str, d_head: usize, seq: Option<usize>) -> Choice {
    let registry = TableRegistry::new();
    registry.register_all(tables.to_vec());
    let seq: Dim = seq.map_or_else(|| Dim::sym("seq"), Dim::from);
    let (attention, batch) = (attention(d_head), seq.clone());
    let site = ScoreSite { name, attention: &attention, batch, seq_q: seq.clone(), seq_k: seq, d_v: Dim::from(d_head) };
    registry.snapshot().choose(&site, 0.03)
}

#[test]
fn without_a_table_scores_are_exact() {
    for (tables, d_head) in [(vec![], 64), (vec![table(None, 0.0, None, 0.0)], 32)] {
        for seq in [None, Some(4096)] {
            let choice = choose(&tables, "a", d_head, seq);
            assert_eq!(choice.scores, Scores::Exact);
            assert!(choice.reason.contains(&format!("no table for d_head {d_head}")), "{}", choice.reason);
        }
    }
}

#[test]
fn the_error_with_refinement_counts_where_there_is_one() {
    let named = Scores::Table("d64".into());
    for (alone, refined, int8, want) in [
        (0.2, Some(0.02), 0.01, named.clone()),
        (0.02, None, 0.01, named),
        (0.2, None, 0.01, Scores::Int8),
        (0.2, Some(0.1), 0.01, Scores::Int8),
        (0.2, Some(0.1), 0.04, Scores::Exact),
        (f64::NAN, None, f64::NAN, Scores::Exact),
    ] {
        let choice = choose(&[table(None, alone, refined, int8)], "a", 64, None);
        assert_eq!(choice.scores, want, "{alone} {refined:?} {int8}: {}", choice.reason);
    }
    let choice = choose(&[table(None, 0.2, None, 0.04)], "a", 64, None);
    assert_eq!(choice.reason, "errors of 20 % by table and 4.00 % by int8 are beyond 3.00 %");
}

#[test]
fn a_table_of_the_site_goes_before_that_of_the_head_dimension() {
    let tables = [table(None, 0.01, None, 0.01), table(Some("a"), 0.01, None, 0.01)];
    assert_eq!(choose(&tables, "a", 64, None).scores, Scores::Table("a".into()));
    assert_eq!(choose(&tables, "b", 64, None).scores, Scores::Table("d64".into()));
    let registry = TableRegistry::new();
    registry.register_all(tables);
    let all = registry.snapshot();
    for name in ["a", "d64"] {
        let site = all.named(64, name).expect(name).site();
        assert_eq!(site, (name == "a").then_some("a"));
    }
    assert!(all.named(64, "b").is_none() && all.named(32, "a").is_none() && all.named(64, "d32").is_none());
}

/// Coding rows pays when there are many to code them for.
#[test]
fn with_extents_the_fastest_is_chosen() {
    let tables = [table(None, 0.2, Some(0.01), 0.04)];
    let (short, long) = (choose(&tables, "a", 64, Some(16)), choose(&tables, "a", 64, Some(65536)));
    assert_eq!(short.scores, Scores::Exact, "{}", short.reason);
    assert_eq!(long.scores, Scores::Table("d64".into()), "{}", long.reason);
    assert!(long.reason.contains("cycles a score by table") && long.reason.contains("error 1.00 % of 3.00 %"));
    // However fast it may be, what is beyond the bound is not used.
    assert_eq!(choose(&[table(None, 0.2, None, 0.2)], "a", 64, Some(65536)).scores, Scores::Exact);
}

// Without Burn there is no cache of plans that asks for it.
#[cfg(feature = "burn")]
#[test]
fn snapshots_tell_registries_and_changes_apart() {
    let (a, b) = (TableRegistry::new(), TableRegistry::new());
    assert_ne!(a.snapshot().identity(), b.snapshot().identity());
    let before = a.snapshot().identity();
    assert_eq!(a.snapshot().identity(), before);
    a.register(64, table(None, 0.0, None, 0.0)).unwrap();
    assert_ne!(a.snapshot().identity(), before);
}
