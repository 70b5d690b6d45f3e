//! Functions of lanes that become lanes.

use super::super::dense::{self, DenseError, Lanes, filled};
use super::super::parallel::{self, Cells};
use super::softmax_lane;

/// Vector instructions of 16 exponentials.
const EXP: usize = 160;

/// Softmax of each lane. The same slice may not be both.
///
/// # Errors
/// A slice has another length, or memory for a lane does not suffice where lanes are not contiguous.
pub fn softmax(lanes: Lanes, x: &[f64], out: &mut [f64]) -> Result<(), DenseError> {
    each_lane(lanes, x, out, &softmax_lane)
}

/// The logarithm of softmax of each lane.
///
/// # Errors
/// Those of [`softmax`].
pub fn log_softmax(lanes: Lanes, x: &[f64], out: &mut [f64]) -> Result<(), DenseError> {
    each_lane(lanes, x, out, &|lane: &mut [f64]| {
        let most = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log = lane.iter().map(|v| (v - most).exp()).sum::<f64>().ln();
        lane.iter_mut().for_each(|v| *v = *v - most - log);
    })
}

/// Lanes that are taken side by side: a cache line of each entry.
const WIDTH: usize = 8;

/// Replaces each lane by `f` of it.
fn each_lane(lanes: Lanes, x: &[f64], out: &mut [f64], f: &(impl Fn(&mut [f64]) + Sync)) -> Result<(), DenseError> {
    dense::length("x", x.len(), lanes.elements())?;
    dense::length("out", out.len(), lanes.elements())?;
    if out.is_empty() {
        return Ok(());
    }
    let Lanes { outer, count, inner } = lanes;
    let pieces = parallel::pieces((x.len() / 16).saturating_mul(EXP));
    if inner == 1 {
        parallel::parts(out, count, pieces, &|first, part| {
            part.copy_from_slice(&x[first * count..][..part.len()]);
            part.chunks_exact_mut(count).for_each(f);
        });
        return Ok(());
    }
    let strips = inner.div_ceil(WIDTH);
    let pieces = pieces.min(outer * strips);
    // Each piece has room for lanes of its own, made contiguous.
    let room = count * WIDTH.min(inner);
    let mut held = filled(0.0, room.saturating_mul(pieces))?;
    let out = Cells::new(out);
    parallel::parts(&mut held, room, pieces, &|piece, held| {
        for (piece, held) in (piece..).zip(held.chunks_exact_mut(room)) {
            for strip in piece * outer * strips / pieces..(piece + 1) * outer * strips / pieces {
                let (o, first) = (strip / strips, strip % strips * WIDTH);
                let width = WIDTH.min(inner - first);
                let at = |entry: usize| (o * count + entry) * inner + first;
                for entry in 0..count {
                    for (j, &v) in x[at(entry)..][..width].iter().enumerate() {
                        held[j * count + entry] = v;
                    }
                }
                held.chunks_exact_mut(count).take(width).for_each(f);
                for entry in 0..count {
                    // SAFETY: an entry of each lane of a strip, which belongs to one piece only.
                    let to = unsafe { out.part(at(entry), width) };
                    for (j, to) in to.iter_mut().enumerate() {
                        *to = held[j * count + entry];
                    }
                }
            }
        }
    });
    Ok(())
}

/// Rows of `cols`, with zero mean and unit variance, by `scale` and plus `bias`, `[cols]`, where they are given. `eps` is
/// added to the variance, which is that of the differences from the mean: nothing is lost where the mean is large.
///
/// # Errors
/// A slice has another length.
pub fn layer_norm(
    x: &[f64],
    scale: Option<&[f64]>,
    bias: Option<&[f64]>,
    eps: f32,
    out: &mut [f64],
    cols: usize,
) -> Result<(), DenseError> {
    dense::length("bias", bias.map_or(cols, <[f64]>::len), cols)?;
    each_row(x, scale, out, cols, &|x, out| {
        let n = x.len() as f64;
        let mean = sum(x.iter().copied()) / n;
        let variance = sum(x.iter().map(|v| (v - mean) * (v - mean))) / n;
        let root = (variance + f64::from(eps)).sqrt();
        for (i, (out, v)) in out.iter_mut().zip(x).enumerate() {
            *out = (v - mean) / root * scale.map_or(1.0, |s| s[i]) + bias.map_or(0.0, |b| b[i]);
        }
    })
}

/// Rows of `cols` over the root of their mean square, by `scale`, `[cols]`, where it is given. `eps` is added to the mean
/// square.
///
/// # Errors
/// A slice has another length.
pub fn rms_norm(x: &[f64], scale: Option<&[f64]>, eps: f32, out: &mut [f64], cols: usize) -> Result<(), DenseError> {
    each_row(x, scale, out, cols, &|x, out| {
        let square = sum(x.iter().map(|v| v * v)) / x.len() as f64;
        let root = (square + f64::from(eps)).sqrt();
        for (i, (out, v)) in out.iter_mut().zip(x).enumerate() {
            *out = v / root * scale.map_or(1.0, |s| s[i]);
        }
    })
}

/// The sum, by eight at a time, none of which waits for another.
fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut sums = [0.0; 8];
    for (i, v) in values.enumerate() {
        sums[i % 8] += v;
    }
    sums.into_iter().sum()
}

fn each_row(
    x: &[f64],
    scale: Option<&[f64]>,
    out: &mut [f64],
    cols: usize,
    f: &(impl Fn(&[f64], &mut [f64]) + Sync),
) -> Result<(), DenseError> {
    dense::length("out", out.len(), out.len().checked_div(cols).unwrap_or(0) * cols)?;
    dense::length("x", x.len(), out.len())?;
    dense::length("scale", scale.map_or(cols, <[f64]>::len), cols)?;
    parallel::parts(out, cols, parallel::pieces(x.len() / 16 * 16), &|first, part| {
        let x = &x[first * cols..][..part.len()];
        x.chunks_exact(cols).zip(part.chunks_exact_mut(cols)).for_each(|(x, out)| f(x, out));
    });
    Ok(())
}
