//! Queries, keys and values that tables are learned from and measured on.

use super::error::TableError;
use super::fidelity::{Fidelity, HeadInput, HeadTally};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::Xxh3;

/// One head on one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Which head, as figures are to name it.
    pub head: String,
    /// `[n_q, d_head]`
    pub q: Vec<f32>,
    /// `[n_k, d_head]`
    pub k: Vec<f32>,
    /// `[n_k, d_v]`
    pub v: Vec<f32>,
}

/// The windows that heads of one kind saw on calibration inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Width of a query and a key.
    pub d_head: usize,
    /// Width of a value.
    pub d_v: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// True if key `j` is hidden from query `i` where `j > i + n_k - n_q`.
    pub causal: bool,
    /// Those of a head in the order of the inputs; at least two a head.
    pub windows: Vec<Window>,
}

/// Samples in two parts.
#[derive(Clone, Debug)]
pub struct Split<'a> {
    /// The inputs to learn from.
    pub train: Vec<&'a Window>,
    /// The inputs to measure on.
    pub held_out: Vec<&'a Window>,
}

/// Approximate scores of a window: `f(i, out)` writes those of query `i` with all its keys.
pub type RowScores<'a> = Box<dyn Fn(usize, &mut [f32]) + Sync + 'a>;

impl Samples {
    /// Checks sizes, and that values are finite.
    ///
    /// # Errors
    /// The first window that cannot be used.
    pub fn check(&self) -> Result<(), TableError> {
        let bad = |head: &str, reason: String| Err(TableError::Samples { head: head.into(), reason });
        if self.d_head == 0 || self.d_v == 0 || !self.scale.is_finite() {
            return bad("every head", format!("widths {} and {}, scale {}", self.d_head, self.d_v, self.scale));
        }
        for w in &self.windows {
            let rows = [("queries", &w.q, self.d_head), ("keys", &w.k, self.d_head), ("values", &w.v, self.d_v)];
            for (what, x, width) in rows {
                if x.is_empty() || !x.len().is_multiple_of(width) {
                    return bad(&w.head, format!("{} numbers are no rows of {width} {what}", x.len()));
                }
                if !x.iter().all(|x| x.is_finite()) {
                    return bad(&w.head, format!("{what} have values that are not finite"));
                }
            }
            if w.k.len() / self.d_head != w.v.len() / self.d_v {
                return bad(&w.head, "keys and values differ in number".into());
            }
        }
        Ok(())
    }

    /// Holds out the last share of the windows of each head, at least one, and keeps at least one to learn from. The
    /// last ones because neighbours may be cut from one text.
    ///
    /// # Errors
    /// If a head has fewer than two windows.
    pub fn split(&self, share: f64) -> Result<Split<'_>, TableError> {
        let mut split = Split { train: Vec::new(), held_out: Vec::new() };
        for (head, windows) in by_head(self.windows.iter()) {
            let n = windows.len();
            if n < 2 {
                let reason = "one window cannot be learned from and measured on; at least two are needed".into();
                return Err(TableError::Samples { head: head.into(), reason });
            }
            // The cast saturates, and makes 0 of NaN.
            let held_out = ((n as f64 * share).round() as usize).clamp(1, n - 1);
            let (train, rest) = windows.split_at(n - held_out);
            split.train.extend(train);
            split.held_out.extend(rest);
        }
        if split.train.is_empty() {
            return Err(TableError::Samples { head: "every head".into(), reason: "there are none".into() });
        }
        Ok(split)
    }

    /// Hash (XXH3, 64 bits) of all that is in them.
    pub fn hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        let mut number = |n: u64| hash.update(&n.to_le_bytes());
        [self.d_head, self.d_v, usize::from(self.causal)].iter().for_each(|&n| number(n as u64));
        number(u64::from(self.scale.to_bits()));
        for w in &self.windows {
            hash.update(&(w.head.len() as u64).to_le_bytes());
            hash.update(w.head.as_bytes());
            for x in [&w.q, &w.k, &w.v] {
                hash.update(&(x.len() as u64).to_le_bytes());
                x.iter().for_each(|x| hash.update(&x.to_le_bytes()));
            }
        }
        hash.digest()
    }

    /// Measures approximate scores on `windows` of these samples. `scores` makes those of a window.
    ///
    /// # Errors
    /// Those of `scores`.
    pub fn measure<'a>(
        &self,
        windows: &[&'a Window],
        scores: impl Fn(&'a Window) -> Result<RowScores<'a>, TableError>,
    ) -> Result<Fidelity, TableError> {
        Ok(Fidelity::of_heads(&self.tallies(windows, |w, tally| {
            tally.add(&self.input(w), &scores(w)?);
            Ok(())
        })?))
    }

    /// The result of `add` for the windows of each head, by name.
    pub(super) fn tallies<'a>(
        &self,
        windows: &[&'a Window],
        mut add: impl FnMut(&'a Window, &mut HeadTally) -> Result<(), TableError>,
    ) -> Result<Vec<(String, HeadTally)>, TableError> {
        let mut heads = Vec::new();
        for (head, windows) in by_head(windows.iter().copied()) {
            let mut tally = HeadTally::default();
            windows.into_iter().try_for_each(|w| add(w, &mut tally))?;
            heads.push((head.to_string(), tally));
        }
        Ok(heads)
    }

    /// A window as what its attention works on.
    pub(super) fn input<'a>(&self, w: &'a Window) -> HeadInput<'a> {
        let (d, d_v, scale, causal) = (self.d_head, self.d_v, self.scale, self.causal);
        HeadInput { q: &w.q, k: &w.k, v: &w.v, d, d_v, scale, causal }
    }
}

fn by_head<'a>(windows: impl Iterator<Item = &'a Window>) -> BTreeMap<&'a str, Vec<&'a Window>> {
    let mut heads: BTreeMap<&str, Vec<&Window>> = BTreeMap::new();
    windows.for_each(|w| heads.entry(&w.head).or_default().push(w));
    heads
}

/// Rows of `dim` of many windows, at most `limit` of them, evenly spread.
pub(super) fn gather<'a>(
    windows: &[&'a Window],
    rows: impl Fn(&'a Window) -> &'a [f32],
    dim: usize,
    limit: usize,
) -> Vec<f32> {
    let n: usize = windows.iter().map(|&w| rows(w).len() / dim).sum();
    let step = n.div_ceil(limit.max(1)).max(1);
    let all = windows.iter().flat_map(|&w| rows(w).chunks_exact(dim));
    all.step_by(step).flatten().copied().collect()
}
