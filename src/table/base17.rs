//! Base17: any vector folded into 17 means, 34 bytes.

use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};

/// Means in a code.
pub const MEANS: usize = 17;

/// Dim `i` is folded into mean `(i * STEP) mod MEANS`.
pub const STEP: usize = 11;

/// One unit of a coded mean is `1 / SCALE`.
pub const SCALE: f64 = 256.0;

mod sealed {
    pub trait Sealed {}
}

/// An element type that [`Base17::encode`] reads.
pub trait Real: sealed::Sealed + Copy {
    /// The value, exactly.
    fn to_f64(self) -> f64;
}

macro_rules! real {
    ($($t:ty: $f:expr),*) => {$(
        impl sealed::Sealed for $t {}
        impl Real for $t {
            fn to_f64(self) -> f64 {
                $f(self)
            }
        }
    )*};
}

real!(f32: f64::from, f64: |x| x, f16: f16::to_f64, bf16: bf16::to_f64);

/// A vector of any length as 17 means in units of 1/256.
///
/// The step of 11 visits every residue, so the means are those of the dims of equal `i mod 17` under a permutation:
/// distances between codes are those that a plain stride of 17 gives.
///
/// ```
/// # use bgz_fusion::table::Base17;
/// let code = Base17::encode(&[0.5_f32; 100]);
/// assert_eq!(code.0, [128; 17]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Base17(pub [i16; MEANS]);

impl Base17 {
    /// Size of a code.
    pub const BYTES: usize = 2 * MEANS;

    /// Folds `values` into means, times 256, rounded half to even, saturated to the range of `i16`.
    ///
    /// Sums are f64, in the order of the dims. A mean over no dims (fewer than 17 of them) is 0; so is one that is
    /// NaN, because a value was, or infinities of both signs met. An infinite mean saturates.
    pub fn encode<T: Real>(values: &[T]) -> Self {
        let mut sums = [0.0_f64; MEANS];
        for chunk in values.chunks(MEANS) {
            for (sum, v) in sums.iter_mut().zip(chunk) {
                *sum += v.to_f64();
            }
        }
        let mut code = [0; MEANS];
        for (r, sum) in sums.into_iter().enumerate() {
            let count = values.len().saturating_sub(r).div_ceil(MEANS);
            if count > 0 {
                // The cast saturates, and makes 0 of NaN.
                code[bucket(r)] = (sum / count as f64 * SCALE).round_ties_even() as i16;
            }
        }
        Self(code)
    }

    /// Writes to each element of `out` the mean that a dim in its place was folded into.
    pub fn hydrate(&self, out: &mut [f32]) {
        let means: [f32; MEANS] = std::array::from_fn(|r| f32::from(self.0[bucket(r)]) / SCALE as f32);
        for chunk in out.chunks_mut(MEANS) {
            let n = chunk.len();
            chunk.copy_from_slice(&means[..n]);
        }
    }

    /// Sum of absolute differences of the means, in units of 1/256; at most 17 * 65535.
    pub fn distance(&self, other: &Self) -> u32 {
        self.0.iter().zip(other.0).map(|(a, b)| u32::from(a.abs_diff(b))).sum()
    }

    /// The means, little-endian.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (to, mean) in bytes.chunks_exact_mut(2).zip(self.0) {
            to.copy_from_slice(&mean.to_le_bytes());
        }
        bytes
    }

    /// The code that [`to_bytes`](Self::to_bytes) wrote; every content is one.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(std::array::from_fn(|i| i16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]])))
    }
}

/// The mean that dim `i` is folded into.
fn bucket(i: usize) -> usize {
    (i % MEANS) * STEP % MEANS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, dim by dim, under any step.
    fn by_definition(values: &[f64], step: usize) -> [i16; MEANS] {
        let (mut sums, mut counts) = ([0.0; MEANS], [0u32; MEANS]);
        for (i, v) in values.iter().enumerate() {
            sums[i * step % MEANS] += v;
            counts[i * step % MEANS] += 1;
        }
        std::array::from_fn(|b| match counts[b] {
            0 => 0,
            n => (sums[b] / f64::from(n) * 256.0).round_ties_even() as i16,
        })
    }

    #[test]
    fn empty_is_zero_and_hydrates_to_zeros() {
        let code = Base17::encode::<f32>(&[]);
        assert_eq!(code, Base17::default());
        let mut out = [1.0; 40];
        code.hydrate(&mut out);
        assert_eq!(out, [0.0; 40]);
    }

    #[test]
    fn a_dim_goes_to_its_bucket() {
        let mut x = [0.0_f32; 17];
        x[2] = 1.0;
        let code = Base17::encode(&x);
        assert_eq!(code.0[22 % 17], 256);
        assert_eq!(code.0.iter().filter(|&&m| m != 0).count(), 1);
    }

    #[test]
    fn extremes_saturate_and_nan_is_zero() {
        assert_eq!(Base17::encode(&[f64::MAX; 17]).0, [i16::MAX; 17]);
        assert_eq!(Base17::encode(&[f32::NEG_INFINITY; 17]).0, [i16::MIN; 17]);
        assert_eq!(Base17::encode(&[f32::NAN; 17]).0, [0; 17]);
        let mut opposed = [f32::INFINITY; 34];
        opposed[17..].fill(f32::NEG_INFINITY);
        assert_eq!(Base17::encode(&opposed).0, [0; 17]);
        let (low, high) = (Base17([i16::MIN; 17]), Base17([i16::MAX; 17]));
        assert_eq!(low.distance(&high), 17 * 65535);
    }

    #[test]
    fn element_types_agree() {
        let x: Vec<f32> = (0..100).map(|i| (i as f32 - 50.0) / 8.0).collect();
        let code = Base17::encode(&x);
        assert_eq!(code, Base17::encode(&x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>()));
        assert_eq!(code, Base17::encode(&x.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>()));
        assert_eq!(code, Base17::encode(&x.iter().map(|&v| bf16::from_f32(v)).collect::<Vec<_>>()));
    }

    proptest! {
        #[test]
        fn is_the_definition(x in prop::collection::vec(-200.0..200.0_f64, 0..100)) {
            prop_assert_eq!(Base17::encode(&x).0, by_definition(&x, STEP));
        }

        /// The golden step is a permutation of the buckets of a plain stride, so it changes no distance.
        #[test]
        fn the_step_only_permutes(
            x in prop::collection::vec(-200.0..200.0_f64, 0..100),
            y in prop::collection::vec(-200.0..200.0_f64, 0..100),
        ) {
            let (stepped, plain) = (Base17::encode(&x), Base17(by_definition(&x, 1)));
            for i in 0..MEANS {
                prop_assert_eq!(stepped.0[i * STEP % MEANS], plain.0[i]);
            }
            prop_assert_eq!(stepped.distance(&Base17::encode(&y)), plain.distance(&Base17(by_definition(&y, 1))));
        }

        /// Means that hydrate to a length of 17 or more are found again.
        #[test]
        fn hydrated_codes_encode_to_themselves(code: [i16; 17], n in 17usize..200) {
            let mut x = vec![0.0_f32; n];
            Base17(code).hydrate(&mut x);
            prop_assert_eq!(Base17::encode(&x).0, code);
        }

        #[test]
        fn bytes_round_trip(code: [i16; 17]) {
            prop_assert_eq!(Base17::from_bytes(Base17(code).to_bytes()), Base17(code));
        }

        #[test]
        fn distance_is_a_metric(a: [i16; 17], b: [i16; 17], c: [i16; 17]) {
            let (a, b, c) = (Base17(a), Base17(b), Base17(c));
            prop_assert_eq!(a.distance(&b), b.distance(&a));
            prop_assert_eq!(a.distance(&b) == 0, a == b);
            prop_assert!(a.distance(&c) <= a.distance(&b) + b.distance(&c));
        }
    }
}
