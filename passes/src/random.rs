//! The seeded generator of whatever is drawn: made-up inputs, initial weights, samples, codebooks, random tests.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014): for a seed the same sequence
/// on every machine.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator that starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for one named tensor, so that adding a tensor to a model leaves the values of the others alone.
    pub fn for_name(seed: u64, name: &str) -> Self {
        // FNV-1a, 64 bits.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self(seed ^ hash)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value in `0..bound`; 0 when `bound` is 0.
    ///
    /// Taken from the high half of a product, whose bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// A value in `0.0..1.0`, in steps of `2^-53`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A value of mean 0 and variance 1, normally distributed (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        // In (0, 1], whose logarithm is finite.
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * libm::log(u)).sqrt() * libm::cos(std::f64::consts::TAU * v)
    }

    /// A value of mean 0 and variance 1, near to normal and never more than 6 from the mean: the sum of twelve uniform values,
    /// less six.
    ///
    /// The sum is made in integers because initial weights, which are trained from, have to be the same bits everywhere,
    /// whatever becomes of a logarithm's last one.
    pub fn near_normal(&mut self) -> f64 {
        let mut sum: u64 = 0;
        for _ in 0..6 {
            let bits = self.next_u64();
            sum += (bits >> 32) + (bits & 0xffff_ffff);
        }
        let centred = sum as i64 - (6_i64 << 32);
        centred as f64 / (1_u64 << 32) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;

    /// The first values for seed 1234567, as published with the reference implementation.
    #[test]
    fn gives_the_published_sequence() {
        let mut rng = SplitMix64::new(1_234_567);
        let got: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(got, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn normal_values_have_mean_zero_and_variance_one() {
        for draw in [SplitMix64::normal, SplitMix64::near_normal] {
            let mut rng = SplitMix64::new(1);
            let values: Vec<f64> = (0..100_000).map(|_| draw(&mut rng)).collect();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            assert!(mean.abs() < 0.01, "mean {mean}");
            assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
        }
    }

    #[test]
    fn values_stay_below_their_bound() {
        let mut rng = SplitMix64::new(2);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[rng.below(5)] += 1;
            assert!((0.0..1.0).contains(&rng.unit()));
        }
        assert!(seen.iter().all(|&n| n > 150), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn names_start_different_sequences() {
        let first = |name| SplitMix64::for_name(7, name).next_u64();
        assert_eq!(first("a.weight"), first("a.weight"));
        assert_ne!(first("a.weight"), first("a.bias"));
    }
}
