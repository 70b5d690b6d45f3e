//! How a table's scores choose the keys that are scored exactly, and the reference of it.

use std::fmt;
use std::str::FromStr;

/// Bins of the distance of a score from the highest.
pub const BINS: usize = 64;

/// Width of a bin, in natural units of the scaled score.
pub const BIN: f32 = 0.25;

/// Keys that are looked at to place the threshold, about.
pub const SAMPLE: usize = 256;

/// The fate of keys that are not scored exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// They get no weight.
    #[default]
    Dropped,
    /// They keep the score the table gives them.
    Scored,
}

/// Keys are chosen by approximate scores and scored exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refine {
    /// Share of the softmax mass, as approximate scores have it, that need not be chosen; at least 0, less than 1.
    pub dropped_mass: f32,
    /// Keys from the first on that are chosen in any case.
    pub first: usize,
    /// Visible keys up to the last that are chosen in any case.
    pub last: usize,
    /// The fate of the others.
    pub rest: Rest,
}

impl Default for Refine {
    /// A twentieth of the mass, 4 first and 128 last keys; others are dropped.
    fn default() -> Self {
        Self { dropped_mass: 0.05, first: 4, last: 128, rest: Rest::Dropped }
    }
}

impl Refine {
    /// The bin of a score that is `below` the highest one.
    pub fn bin(below: f32) -> usize {
        // The cast saturates, and makes 0 of NaN: what cannot be told is chosen.
        ((below / BIN) as usize).min(BINS - 1)
    }

    /// The last bin to choose, of counts in each bin of every `step`-th key. The highest key counts in any case: where it
    /// is not sampled, others would seem to have all the mass.
    pub fn threshold(&self, counts: &[u32; BINS], step: usize) -> usize {
        let mass = |bin: usize| counts[bin] as f32 * (-BIN * bin as f32).exp();
        let all: f32 = (0..BINS).rev().map(mass).sum::<f32>() + 1.0 / step as f32;
        let mut beyond = 0.0;
        for bin in (1..BINS).rev() {
            beyond += mass(bin);
            if beyond > self.dropped_mass * all {
                return bin;
            }
        }
        0
    }

    /// Which of the visible keys of a query with `scores`, times the scale, are chosen, in order.
    pub fn choose(&self, scores: &[f32]) -> Vec<usize> {
        let n = scores.len();
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut counts = [0; BINS];
        let step = (n / SAMPLE).max(1);
        for s in scores.iter().step_by(step) {
            counts[Self::bin(highest - s)] += 1;
        }
        let last_bin = self.threshold(&counts, step);
        let by_place = |j: usize| j < self.first || j >= n.saturating_sub(self.last);
        (0..n).filter(|&j| by_place(j) || Self::bin(highest - scores[j]) <= last_bin).collect()
    }

    /// Changes the `scores` of a query with its visible keys, unscaled, to what softmax gets: those of chosen keys to
    /// `exact(j)`, others to minus infinity if they are dropped. Returns how many were chosen.
    pub fn apply(&self, scores: &mut [f32], scale: f32, exact: impl Fn(usize) -> f32) -> usize {
        let scaled: Vec<f32> = scores.iter().map(|s| s * scale).collect();
        let chosen = self.choose(&scaled);
        if self.rest == Rest::Dropped {
            scores.fill(f32::NEG_INFINITY);
        }
        chosen.iter().for_each(|&j| scores[j] = exact(j));
        chosen.len()
    }

    /// True if the mass is a share.
    pub fn is_valid(&self) -> bool {
        (0.0..1.0).contains(&self.dropped_mass)
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dropped => "dropped",
            Self::Scored => "scored",
        })
    }
}

impl FromStr for Rest {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "dropped" => Ok(Self::Dropped),
            "scored" => Ok(Self::Scored),
            _ => Err("it should be dropped or scored".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refine(dropped_mass: f32, first: usize, last: usize) -> Refine {
        Refine { dropped_mass, first, last, rest: Rest::Dropped }
    }

    #[test]
    fn bins_are_quarters_and_the_last_takes_the_rest() {
        let cases = [(0.0, 0), (0.24, 0), (0.25, 1), (3.9, 15), (15.9, 63), (1e9, 63), (f32::INFINITY, 63)];
        for (below, bin) in cases {
            assert_eq!(Refine::bin(below), bin, "{below}");
        }
        assert_eq!(Refine::bin(f32::NAN), 0);
    }

    #[test]
    fn the_threshold_is_the_first_bin_that_leaves_little_enough() {
        // Masses 1, 4 * e^-1, 100 * e^-5: 1, 1.47, 0.67 of 3.15, and the highest key's.
        let mut counts = [0; BINS];
        (counts[0], counts[4], counts[20]) = (1, 4, 100);
        for (mass, bin) in [(0.0, 20), (0.2, 20), (0.22, 4), (0.67, 4), (0.69, 0), (0.99, 0)] {
            assert_eq!(refine(mass, 0, 0).threshold(&counts, 1_000_000), bin, "{mass}");
        }
        // Of 4.15.
        assert_eq!(refine(0.2, 0, 0).threshold(&counts, 1), 4);
        assert_eq!(refine(0.0, 0, 0).threshold(&[0; BINS], 1), 0);
    }

    #[test]
    fn chosen_are_the_high_the_first_and_the_last() {
        let mut scores = vec![0.0; 1000];
        // Both are among every third key, which are looked at.
        (scores[501], scores[699]) = (20.0, 19.9);
        assert_eq!(refine(0.01, 2, 3).choose(&scores), [0, 1, 501, 699, 997, 998, 999]);
        assert_eq!(refine(0.01, 0, 0).choose(&scores[..500]).len(), 500);
        assert_eq!(refine(0.5, 9, 9).choose(&[1.0, 2.0]), [0, 1]);
        assert_eq!(refine(0.5, 0, usize::MAX).choose(&[1.0, 90.0]), [0, 1]);
        assert!(refine(0.5, 4, 128).choose(&[]).is_empty());
    }

    /// Of 1024 keys every fourth is looked at: what only others have does not move the threshold.
    #[test]
    fn the_threshold_comes_from_a_sample() {
        let mut scores = vec![0.0; 1024];
        scores.iter_mut().skip(1).step_by(4).for_each(|s| *s = 5.0);
        scores[0] = 5.1;
        // Sampled: one of 5.1 and 255 of 0, whose mass is 255 * exp(-5) = 1.7, and a quarter for the highest.
        let chosen = |mass| refine(mass, 0, 0).choose(&scores).len();
        assert_eq!((chosen(0.6), chosen(0.5)), (257, 1024));
    }

    #[test]
    fn the_rest_is_dropped_or_keeps_its_score() {
        let scores = [0.0, 30.0, 1.0, 29.9];
        for (rest, other) in [(Rest::Dropped, f32::NEG_INFINITY), (Rest::Scored, 1.0)] {
            let mut s = scores;
            let chosen = Refine { rest, ..refine(0.01, 0, 0) }.apply(&mut s, 1.0, |j| -(j as f32));
            assert_eq!((chosen, s[1], s[2], s[3]), (2, -1.0, other, -3.0));
        }
    }

    #[test]
    fn a_mass_is_a_share() {
        for (mass, fits) in [(0.0, true), (0.999, true), (1.0, false), (-0.1, false), (f32::NAN, false)] {
            assert_eq!(refine(mass, 0, 0).is_valid(), fits, "{mass}");
        }
        for rest in [Rest::Dropped, Rest::Scored] {
            assert_eq!(rest.to_string().parse(), Ok(rest));
        }
        assert!("kept".parse::<Rest>().is_err());
    }
}
