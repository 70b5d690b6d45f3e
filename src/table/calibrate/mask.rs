//! The keys that the mask of an attention hides.

use crate::tensor::Tensor;
use bgz_passes::ir::MaskKind;

/// Scores below this, or that a mask lowers by this, have no weight.
const HIDDEN: f64 = -1000.0;

/// A mask of one attention, broadcast to `[batch, heads, seq_q, seq_k]`.
pub(super) struct Hidden {
    hidden: Vec<bool>,
    strides: [usize; 4],
}

/// The queries and keys of one batch entry and head that are left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub queries: Vec<usize>,
    pub keys: Vec<usize>,
    /// True if keys behind a query are hidden; `None` if there are none behind one.
    pub causal: Option<bool>,
}

impl Hidden {
    /// A mask that hides nothing.
    pub fn nothing() -> Self {
        Self { hidden: vec![false], strides: [0; 4] }
    }

    /// `None` if it has more axes than scores.
    pub fn new(mask: &Tensor, kind: MaskKind) -> Option<Self> {
        let value = |x: f64| match kind {
            MaskKind::None => false,
            MaskKind::Additive => x <= HIDDEN,
            MaskKind::Keep { fill } => x == 0.0 && f64::from(fill.0) <= HIDDEN,
            MaskKind::Drop { fill } => x != 0.0 && f64::from(fill.0) <= HIDDEN,
        };
        let lead = 4usize.checked_sub(mask.shape().len())?;
        let mut strides = [0; 4];
        let mut step = 1;
        for (i, &extent) in mask.shape().iter().enumerate().rev() {
            strides[lead + i] = if extent == 1 { 0 } else { step };
            step *= extent;
        }
        Some(Self { hidden: mask.scalars().map(|s| value(s.to_f64())).collect(), strides })
    }

    fn at(&self, at: [usize; 4]) -> bool {
        let place: usize = at.iter().zip(self.strides).map(|(i, s)| i * s).sum();
        self.hidden.get(place).copied().unwrap_or(false)
    }

    /// The queries and keys that are left of `[seq_q, seq_k]` of a batch entry and head, where keys behind a query are `causal`ly hidden
    /// besides.
    ///
    /// # Errors
    /// A text that names what is hidden, if that is neither a key from all queries nor all keys behind a query.
    pub fn seen(&self, batch: usize, head: usize, seq: [usize; 2], causal: bool) -> Result<Seen, String> {
        let [seq_q, seq_k] = seq;
        let behind = |i: usize, j: usize| j + seq_q > i + seq_k;
        let hidden = |i: usize, j: usize| self.at([batch, head, i, j]) || causal && behind(i, j);
        let mut keys: Vec<usize> = (0..seq_k).collect();
        keys.retain(|&j| (0..seq_q).any(|i| !hidden(i, j)));
        let mut queries: Vec<usize> = (0..seq_q).collect();
        if seq_q == seq_k && keys.len() < seq_k {
            queries.clone_from(&keys);
        } else if causal && keys.len() < seq_k {
            return Err("keys are padded in cross-attention that is causal".into());
        }
        let mut seen = None;
        for &i in &queries {
            for &j in &keys {
                match (hidden(i, j), behind(i, j)) {
                    (true, false) => return Err("the mask hides keys from some queries and is not causal".into()),
                    (hides, true) if seen.is_some_and(|s| s != hides) => {
                        return Err("the mask hides some of the keys behind a query".into());
                    }
                    (hides, true) => seen = Some(hides),
                    (false, false) => {}
                }
            }
        }
        Ok(Seen { queries, keys, causal: seen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgz_passes::ir::Float;

    const LOW: f32 = -1e4;

    fn seen(mask: &Tensor, kind: MaskKind, seq: [usize; 2]) -> Result<Seen, String> {
        Hidden::new(mask, kind).expect("a mask").seen(0, 0, seq, false)
    }

    #[test]
    fn padding_is_left_out_on_both_sides() {
        let mask = Tensor::new(&[1, 1, 1, 4], &[0.0, LOW, -3.0, f32::NEG_INFINITY]).expect("a tensor");
        let got = seen(&mask, MaskKind::Additive, [4, 4]).expect("it can be expressed");
        assert_eq!(got, Seen { queries: vec![0, 2], keys: vec![0, 2], causal: Some(false) });
        // The queries of cross-attention are others.
        let got = seen(&mask, MaskKind::Additive, [3, 4]).expect("it can be expressed");
        assert_eq!((got.queries, got.keys), (vec![0, 1, 2], vec![0, 2]));
    }

    #[test]
    fn bool_masks_hide_by_their_fill() {
        let mask = |values: &[bool]| {
            let bytes: Vec<u8> = values.iter().map(|&b| u8::from(b)).collect();
            Tensor::from_bytes(bgz_passes::ir::DType::Bool, &[3], &bytes).expect("a tensor")
        };
        let (m, low) = (mask(&[true, false, true]), Float(LOW));
        let keys = |kind| seen(&m, kind, [2, 3]).expect("it can be expressed").keys;
        assert_eq!(keys(MaskKind::Keep { fill: low }), [0, 2]);
        assert_eq!(keys(MaskKind::Drop { fill: low }), [1]);
        assert_eq!(keys(MaskKind::Drop { fill: Float(0.0) }), [0, 1, 2]);
    }

    #[test]
    fn a_triangle_is_causal_and_anything_else_is_refused() {
        let tensor = |values: &[f32]| Tensor::new(&[3, 3], values).expect("a tensor");
        let triangle = tensor(&[0.0, LOW, LOW, 0.0, 0.0, LOW, 0.0, 0.0, 0.0]);
        assert_eq!(seen(&triangle, MaskKind::Additive, [3, 3]).map(|s| s.causal), Ok(Some(true)));
        let band = tensor(&[0.0, LOW, LOW, 0.0, 0.0, LOW, LOW, 0.0, 0.0]);
        assert!(seen(&band, MaskKind::Additive, [3, 3]).is_err());
        let part = tensor(&[0.0, 0.0, LOW, 0.0, 0.0, LOW, 0.0, 0.0, 0.0]);
        assert!(seen(&part, MaskKind::Additive, [3, 3]).is_err());
    }

    #[test]
    fn causal_and_padded_is_causal() {
        let mask = Tensor::new(&[4], &[LOW, 0.0, 0.0, 0.0]).expect("a tensor");
        let hidden = Hidden::new(&mask, MaskKind::Additive).expect("a mask");
        let got = hidden.seen(0, 0, [4, 4], true).expect("it can be expressed");
        assert_eq!(got, Seen { queries: vec![1, 2, 3], keys: vec![1, 2, 3], causal: Some(true) });
        assert_eq!(Hidden::nothing().seen(1, 2, [1, 1], true).map(|s| s.causal), Ok(None));
        assert!(hidden.seen(0, 0, [2, 4], true).is_err());
    }
}
