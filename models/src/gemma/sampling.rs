//! How the next token is taken from the logits.

use bgz_passes::random::SplitMix64;

/// How the next token is taken from the logits.
#[derive(Debug, Clone)]
pub struct Sampler {
    temperature: f32,
    top: usize,
    rng: SplitMix64,
}

impl Sampler {
    /// The likeliest token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top: 0, rng: SplitMix64::new(0) }
    }

    /// Drawn from the softmax of `logits / temperature` of the `top` greatest logits, of all where `top` is 0. A
    /// temperature that is not above 0 takes the likeliest.
    pub fn new(temperature: f32, top: usize, seed: u64) -> Self {
        Self { temperature, top, rng: SplitMix64::new(seed) }
    }

    /// An index into `logits`, the first of equal ones where the likeliest is wanted; 0 where there are none.
    pub fn pick(&mut self, logits: &[f32]) -> usize {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        let descending = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
        let drawn = self.temperature > 0.0;
        let top = if !drawn {
            1
        } else if self.top == 0 {
            logits.len()
        } else {
            self.top
        };
        if top < order.len() && top > 0 {
            order.select_nth_unstable_by(top - 1, descending);
            order.truncate(top);
        }
        // Sorted, so that one seed gives one text whatever the selection did to the order.
        order.sort_unstable_by(descending);
        let Some(&likeliest) = order.first() else { return 0 };
        if !drawn {
            return likeliest;
        }
        let weight = |index: usize| f64::from((logits[index] - logits[likeliest]) / self.temperature).exp();
        let weights: Vec<f64> = order.iter().map(|&index| weight(index)).collect();
        let mut left = self.rng.unit() * weights.iter().sum::<f64>();
        for (&index, weight) in order.iter().zip(weights) {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        likeliest
    }
}

#[cfg(test)]
mod tests {
    use super::Sampler;

    #[test]
    fn the_likeliest_is_taken_without_a_temperature() {
        let logits = [0.5, 3.0, -1.0, 3.0];
        assert_eq!(Sampler::greedy().pick(&logits), 1);
        assert_eq!(Sampler::new(0.0, 3, 7).pick(&logits), 1);
        assert_eq!(Sampler::new(f32::NAN, 0, 7).pick(&logits), 1);
        assert_eq!(Sampler::greedy().pick(&[]), 0);
    }

    #[test]
    fn draws_follow_the_softmax_of_the_greatest() {
        let logits = [0.0, 2f32.ln(), 1.0f32.ln() - 20.0, f32::NEG_INFINITY];
        let mut sampler = Sampler::new(1.0, 0, 3);
        let mut counts = [0usize; 4];
        (0..3000).for_each(|_| counts[sampler.pick(&logits)] += 1);
        assert!((900..1100).contains(&counts[0]) && counts[1] > 1900, "{counts:?}");
        assert_eq!(counts[3], 0);
        let mut one = Sampler::new(1.0, 1, 3);
        assert!((0..100).all(|_| one.pick(&logits) == 1));
        // A low temperature sharpens.
        let mut cold = Sampler::new(0.05, 2, 3);
        assert!((0..100).all(|_| cold.pick(&logits) == 1));
    }

    #[test]
    fn a_seed_decides_the_draws() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let draw = |seed| {
            let mut sampler = Sampler::new(1.0, 40, seed);
            (0..20).map(|_| sampler.pick(&logits)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
