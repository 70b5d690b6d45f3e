//! Softmax, norms and attention of f64: plain loops, by the definitions.
//!
//! Exponentials and logarithms are those of the standard library. Large operands are cut for the threads of the current
//! rayon pool; results do not depend on their number.

mod attention;
mod norm;
#[cfg(test)]
mod tests;

pub use attention::{Attention, Mask};
pub use norm::{layer_norm, log_softmax, rms_norm, softmax};

/// Softmax of one lane: NaN if every entry is `-inf`, as the definition has it.
fn softmax_lane(lane: &mut [f64]) {
    let most = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    lane.iter_mut().for_each(|v| *v = (*v - most).exp());
    let sum: f64 = lane.iter().sum();
    lane.iter_mut().for_each(|v| *v /= sum);
}
