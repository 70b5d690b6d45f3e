//! Measuring a new table on held-out samples, and finding how few keys need exact scores.

use super::attention_table::{AttentionTable, HeadErrors};
use super::error::TableError;
use super::fidelity::{Fidelity, Figure, HeadTally, OutputFidelity};
use super::int8::int8_scores;
use super::refine::{Refine, Refined, check};
use super::samples::{Samples, Window};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shares of the softmax mass that are tried, from the most on.
const MASSES: [f32; 7] = [0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002];

/// The bounds that a refinement has to keep. The refinement that leaves out most and keeps them is recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefineSearch {
    /// Relative L2 error of the attention output of the worst head, at most.
    pub max_error: f64,
    /// Share of queries whose highest score stays that of the same key, in the worst head, at least.
    pub min_top1: f64,
    /// The refinement, but for its mass.
    pub refine: Refine,
}

impl Default for RefineSearch {
    /// An error of 0.03, and 0.98 of the highest scores.
    fn default() -> Self {
        Self { max_error: 0.03, min_top1: 0.98, refine: Refine::default() }
    }
}

/// Measures `table` on `held_out` windows and writes its record.
///
/// # Errors
/// If a figure is not a number.
pub(super) fn record(
    table: &mut AttentionTable,
    samples: &Samples,
    held_out: &[&Window],
    search: Option<&RefineSearch>,
) -> Result<(), TableError> {
    let whole = samples.tallies(held_out, |w, tally| {
        tally.add(&samples.input(w), &table.window_scores(w)?);
        Ok(())
    })?;
    let int8 = samples.tallies(held_out, |w, tally| {
        tally.add(&samples.input(w), &int8_scores(samples.d_head, w));
        Ok(())
    })?;
    let (fidelity, of_int8) = (Fidelity::of_heads(&whole), Fidelity::of_heads(&int8));
    if !fidelity.is_finite() || !of_int8.is_finite() {
        return Err(TableError::Unmeasurable);
    }
    let found = search.map_or(Ok(None), |search| search.run(table, samples, held_out))?;
    let heads = whole.iter().zip(&int8).enumerate().map(|(i, ((head, t), (_, int8)))| HeadErrors {
        head: head.clone(),
        table: t.output_error(),
        int8: int8.output_error(),
        refined: found.as_ref().and_then(|(_, heads)| heads.get(i)).map(|(_, t)| t.output_error()),
    });
    let heads = heads.collect();
    let record = table.record_mut();
    (record.fidelity, record.int8, record.heads) = (fidelity, of_int8, heads);
    record.refined = found.map(|(refined, _)| refined);
    Ok(())
}

/// A refinement, and its figures head by head.
type Found = (Refined, Vec<(String, HeadTally)>);

impl RefineSearch {
    fn run(
        &self,
        table: &AttentionTable,
        samples: &Samples,
        held_out: &[&Window],
    ) -> Result<Option<Found>, TableError> {
        for dropped_mass in MASSES {
            let refine = Refine { dropped_mass, ..self.refine };
            check(&refine)?;
            let (refined, heads) = refined(table, samples, held_out, refine)?;
            let f = &refined.fidelity;
            if f.output_error.worst <= self.max_error && f.top1.worst >= self.min_top1 {
                return Ok(Some((refined, heads)));
            }
        }
        Ok(None)
    }
}

/// Measures one refinement, choosing no key for its place.
fn refined(
    table: &AttentionTable,
    samples: &Samples,
    held_out: &[&Window],
    refine: Refine,
) -> Result<Found, TableError> {
    let (d, mean) = (samples.d_head, table.key_mean());
    let by_score = Refine { first: 0, last: 0, ..refine };
    // Keys chosen and seen, head by head.
    let mut shares: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let heads = samples.tallies(held_out, |w, tally| {
        let (input, scores) = (samples.input(w), table.window_scores(w)?);
        let centred: Vec<f32> = w.k.chunks_exact(d).flat_map(|k| k.iter().zip(mean).map(|(k, m)| k - m)).collect();
        let (chosen, seen) = (AtomicUsize::new(0), AtomicUsize::new(0));
        tally.add_outputs(&input, &|i, out| {
            scores(i, out);
            let visible = &mut out[..input.visible(i)];
            let q = &w.q[i * d..][..d];
            let exact = |j: usize| q.iter().zip(&centred[j * d..][..d]).map(|(q, k)| q * k).sum();
            chosen.fetch_add(by_score.apply(visible, samples.scale, exact), Ordering::Relaxed);
            seen.fetch_add(visible.len(), Ordering::Relaxed);
        });
        let share = shares.entry(&w.head).or_default();
        *share = (share.0 + chosen.into_inner(), share.1 + seen.into_inner());
        Ok(())
    })?;
    let shares: Vec<f64> = shares.into_values().map(|(chosen, seen)| chosen as f64 / seen.max(1) as f64).collect();
    let mean = shares.iter().sum::<f64>() / shares.len().max(1) as f64;
    let chosen = Figure { mean, worst: shares.iter().copied().fold(0.0, f64::max) };
    Ok((Refined { refine, fidelity: OutputFidelity::of_heads(&heads), chosen }, heads))
}
