//! Softmax and norms, in `f64`.

use super::broadcast::Lanes;
use super::{Res, Tensor};

fn floats(x: &Tensor) -> Res<&[f64]> {
    x.floats().ok_or_else(|| format!("not defined for {}", x.dtype()))
}

/// Softmax of one lane: NaN if every entry is `-inf`, as the definition has it.
pub(super) fn softmax_lane(lane: &mut [f64]) {
    let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    lane.iter_mut().for_each(|v| *v = libm::exp(*v - max));
    let sum: f64 = lane.iter().sum();
    lane.iter_mut().for_each(|v| *v /= sum);
}

/// Replaces every lane along `axis` by `f` of it.
fn by_lane(x: &Tensor, axis: usize, f: impl Fn(&mut [f64])) -> Res<Tensor> {
    let data = floats(x)?;
    let lanes = Lanes::new(x.shape(), axis);
    let mut out = data.to_vec();
    let mut lane = Vec::with_capacity(lanes.count);
    for start in lanes.starts() {
        lane.clear();
        lane.extend(lanes.lane(start).map(|i| data[i]));
        f(&mut lane);
        for (i, &v) in lanes.lane(start).zip(&lane) {
            out[i] = v;
        }
    }
    Tensor::rounded(x.dtype(), x.shape().to_vec(), out)
}

pub(super) fn softmax(x: &Tensor, axis: usize) -> Res<Tensor> {
    by_lane(x, axis, softmax_lane)
}

pub(super) fn log_softmax(x: &Tensor, axis: usize) -> Res<Tensor> {
    by_lane(x, axis, |lane| {
        let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = lane.iter().map(|v| libm::exp(v - max)).sum();
        let log = libm::log(sum);
        lane.iter_mut().for_each(|v| *v = *v - max - log);
    })
}

pub(super) fn layer_norm(x: &Tensor, scale: Option<&Tensor>, bias: Option<&Tensor>, eps: f32) -> Res<Tensor> {
    let scale = scale.map(floats).transpose()?;
    let bias = bias.map(floats).transpose()?;
    by_lane(x, x.shape().len() - 1, |lane| {
        let n = lane.len() as f64;
        let mean = lane.iter().sum::<f64>() / n;
        let variance = lane.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        let root = (variance + f64::from(eps)).sqrt();
        for (i, v) in lane.iter_mut().enumerate() {
            *v = (*v - mean) / root * scale.map_or(1.0, |s| s[i]) + bias.map_or(0.0, |b| b[i]);
        }
    })
}

pub(super) fn rms_norm(x: &Tensor, scale: Option<&Tensor>, eps: f32) -> Res<Tensor> {
    let scale = scale.map(floats).transpose()?;
    by_lane(x, x.shape().len() - 1, |lane| {
        let square = lane.iter().map(|v| v * v).sum::<f64>() / lane.len() as f64;
        let root = (square + f64::from(eps)).sqrt();
        for (i, v) in lane.iter_mut().enumerate() {
            *v = *v / root * scale.map_or(1.0, |s| s[i]);
        }
    })
}
