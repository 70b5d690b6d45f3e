//! The nearest codebook entry of a row, as one small matrix product.

/// Entries in the form that finds the nearest: `argmin_c (x - c)^T W (x - c) = argmax_c x^T W c - c^T W c / 2`.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoder {
    entries: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Encoder {
    /// For `codebook`, `[entries, dim]`, under `metric`, `[dim, dim]`, symmetric, or the identity.
    pub(super) fn new(codebook: &[f32], dim: usize, metric: Option<&[f32]>) -> Self {
        let entries = codebook.len() / dim;
        let (mut weights, mut bias) = (vec![0.0; codebook.len()], vec![0.0; entries]);
        for (c, entry) in codebook.chunks_exact(dim).enumerate() {
            let mut norm = 0.0_f64;
            for j in 0..dim {
                let w = match metric {
                    None => f64::from(entry[j]),
                    Some(m) => m[j * dim..][..dim].iter().zip(entry).map(|(m, x)| f64::from(*m) * f64::from(*x)).sum(),
                };
                weights[j * entries + c] = w as f32;
                norm += w * f64::from(entry[j]);
            }
            bias[c] = (-0.5 * norm) as f32;
        }
        Self { entries, weights, bias }
    }

    /// `W c` of every entry, transposed: `[dim, entries]`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// `-c^T W c / 2` of every entry, `[entries]`.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// True if all weights and biases are finite.
    pub(super) fn is_finite(&self) -> bool {
        self.weights.iter().chain(&self.bias).all(|x| x.is_finite())
    }

    /// The entry nearest to `x`, the first of equals; 0 if `x` has a NaN. `sums` is `[entries]`, of any content.
    pub(super) fn nearest(&self, x: impl IntoIterator<Item = f32>, sums: &mut [f32]) -> u8 {
        sums.copy_from_slice(&self.bias);
        for (x, column) in x.into_iter().zip(self.weights.chunks_exact(self.entries)) {
            sums.iter_mut().zip(column).for_each(|(s, w)| *s += x * w);
        }
        let (mut best, mut most) = (0, f32::NEG_INFINITY);
        for (c, &s) in sums.iter().enumerate() {
            if s > most {
                (best, most) = (c, s);
            }
        }
        best as u8
    }
}
