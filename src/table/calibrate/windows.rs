//! Heads cut out of the operands of attention.

use super::mask::{Hidden, Seen};
use super::{CalibrateError, SiteSamples};
use crate::table::samples::{Samples, Window};
use crate::tensor::Tensor;
use bgz_passes::ir::{Attention, MaskKind};

/// The windows that have been seen of one attention.
pub(super) struct Site {
    name: String,
    attention: Attention,
    d_v: usize,
    causal: Option<bool>,
    windows: Vec<Window>,
}

/// An operand as `[batch, heads, seq, width]`.
struct Heads {
    values: Vec<f32>,
    batch: usize,
    seq: usize,
    width: usize,
    /// Of batch, head and position.
    strides: [usize; 3],
}

impl Heads {
    fn new(tensor: &Tensor, heads: usize) -> Option<Self> {
        let values = match tensor.as_slice::<f32>() {
            Ok(values) => values.to_vec(),
            Err(_) if tensor.dtype().is_float() => tensor.scalars().map(|s| s.to_f64() as f32).collect(),
            Err(_) => return None,
        };
        Some(match *tensor.shape() {
            [batch, seq, merged] => {
                let width = merged.checked_div(heads)?;
                Self { values, batch, seq, width, strides: [seq * merged, width, merged] }
            }
            [batch, heads, seq, width] => {
                Self { values, batch, seq, width, strides: [heads * seq * width, seq * width, width] }
            }
            _ => return None,
        })
    }

    /// The rows at `places` of a batch entry (the only one, if there is one) and head.
    fn rows(&self, batch: usize, head: usize, places: &[usize]) -> Vec<f32> {
        let [b, h, s] = self.strides;
        let start = if self.batch == 1 { 0 } else { batch * b } + head * h;
        places.iter().flat_map(|&i| &self.values[start + i * s..][..self.width]).copied().collect()
    }
}

impl Site {
    pub fn new(name: &str, attention: &Attention) -> Self {
        Self { name: name.into(), attention: attention.clone(), d_v: 0, causal: None, windows: Vec::new() }
    }

    /// Adds the windows of one run, from q, k, v and perhaps a mask.
    pub fn add(&mut self, operands: &[Tensor]) -> Result<(), CalibrateError> {
        let a = &self.attention;
        let cut = |i: usize, heads: usize| {
            let tensor = operands.get(i);
            tensor.and_then(|t| Heads::new(t, heads)).ok_or_else(|| CalibrateError::Heads {
                site: self.name.clone(),
                ty: tensor.map(|t| t.ty().to_string()).unwrap_or_default(),
            })
        };
        let (q, k, v) = (cut(0, a.heads)?, cut(1, a.kv_heads)?, cut(2, a.kv_heads)?);
        let refuse = |reason: String| CalibrateError::Mask { site: self.name.clone(), reason };
        let hidden = match operands.get(3) {
            Some(mask) if a.mask != MaskKind::None => {
                Hidden::new(mask, a.mask).ok_or_else(|| refuse("the mask has more axes than scores".into()))?
            }
            _ => Hidden::nothing(),
        };
        let batch = [q.batch, k.batch, v.batch].into_iter().find(|&b| b != 1).unwrap_or(1);
        let mut windows = Vec::new();
        for b in 0..batch {
            for h in 0..a.heads {
                let seen = hidden.seen(b, h, [q.seq, k.seq], a.causal).map_err(refuse)?;
                let Seen { queries, keys, causal } = seen;
                if queries.is_empty() || keys.is_empty() {
                    continue;
                }
                if causal.is_some() && self.causal.is_some_and(|c| Some(c) != causal) {
                    return Err(refuse("the mask is causal for some inputs only".into()));
                }
                self.causal = causal.or(self.causal);
                let shared = h / (a.heads / a.kv_heads.max(1)).max(1);
                windows.push(Window {
                    head: format!("{}/{h}", self.name),
                    q: q.rows(b, h, &queries),
                    k: k.rows(b, shared, &keys),
                    v: v.rows(b, shared, &keys),
                });
            }
        }
        self.windows.extend(windows);
        self.d_v = v.width;
        Ok(())
    }

    pub fn finish(self) -> SiteSamples {
        let samples = Samples {
            d_head: self.attention.d_head,
            d_v: self.d_v,
            scale: self.attention.scale.0,
            causal: self.causal.unwrap_or(self.attention.causal),
            windows: self.windows,
        };
        SiteSamples { site: self.name, samples }
    }
}
