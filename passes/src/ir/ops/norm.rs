//! Softmax and norms; evaluated in `f64`.

use super::cost::{RowOperand, RowPart, rows_of_first};
use super::{Evaluated, Family, Fields, Fresh, Inferred};
use crate::ir::broadcast::Lanes;
use crate::ir::infer::{Operand, check_axis, fail, may_equal, need_float};
use crate::ir::tensor::Tensor;
use crate::ir::{Float, Type};
use std::borrow::Cow;

/// Softmax and norms of floats: one lane of a tensor at a time, of the shape of the operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Norm {
    /// `x`: softmax over one axis (from 0).
    Softmax {
        /// The axis that sums to one.
        axis: usize,
    },
    /// `x`: logarithm of softmax over one axis.
    LogSoftmax {
        /// The axis whose exponentials sum to one.
        axis: usize,
    },
    /// `x, [scale, [bias]]`: zero mean and unit variance over the last axis; `scale` and `bias` are `[last]`.
    LayerNorm {
        /// Added to the variance.
        eps: Float,
    },
    /// `x, [scale]`: divided by the root of the mean square over the last axis.
    RmsNorm {
        /// Added to the mean square.
        eps: Float,
    },
}

impl Family for Norm {
    fn blanks() -> Vec<Self> {
        let (axis, eps) = (0, Float(0.0));
        vec![Norm::Softmax { axis }, Norm::LogSoftmax { axis }, Norm::LayerNorm { eps }, Norm::RmsNorm { eps }]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match self {
            Norm::Softmax { .. } => "softmax",
            Norm::LogSoftmax { .. } => "log_softmax",
            Norm::LayerNorm { .. } => "layer_norm",
            Norm::RmsNorm { .. } => "rms_norm",
        }
        .into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        match self {
            Norm::Softmax { axis } | Norm::LogSoftmax { axis } => fields.int("axis", axis),
            Norm::LayerNorm { eps } | Norm::RmsNorm { eps } => fields.float("eps", eps),
        }
    }

    fn arity(&self) -> (usize, usize) {
        match self {
            Norm::Softmax { .. } | Norm::LogSoftmax { .. } => (1, 1),
            Norm::LayerNorm { .. } => (1, 3),
            Norm::RmsNorm { .. } => (1, 2),
        }
    }

    fn types(&self, x: &[Operand], _: Fresh) -> Inferred<Vec<Type>> {
        let (ty, rest) = (x[0].ty, &x[1..]);
        need_float(ty)?;
        match self {
            Norm::Softmax { axis } | Norm::LogSoftmax { axis } => check_axis(*axis, ty)?,
            Norm::LayerNorm { .. } | Norm::RmsNorm { .. } => check_axis(0, ty)?,
        }
        let last = ty.shape.last();
        for o in rest {
            if o.ty.rank() != 1 || last.is_none_or(|d| !may_equal(&o.ty.shape[0], d)) || o.ty.dtype != ty.dtype {
                fail!("scale or bias {} for {ty}", o.ty);
            }
        }
        Ok(vec![ty.clone()])
    }

    fn rows(&self, x: &[RowOperand], out: &[usize]) -> Option<Vec<RowPart>> {
        let along_rows = matches!(self, Norm::LayerNorm { .. } | Norm::RmsNorm { .. });
        (along_rows && x.first()?.shape == out).then(|| rows_of_first(x))?
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let result = match self {
            Norm::Softmax { axis } => by_lane(&x[0], *axis, softmax_lane),
            Norm::LogSoftmax { axis } => log_softmax(&x[0], *axis),
            Norm::LayerNorm { eps } => layer_norm(&x[0], x.get(1), x.get(2), eps.0),
            Norm::RmsNorm { eps } => rms_norm(&x[0], x.get(1), eps.0),
        };
        Ok(vec![result?])
    }
}

fn floats(x: &Tensor) -> Evaluated<&[f64]> {
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
fn by_lane(x: &Tensor, axis: usize, f: impl Fn(&mut [f64])) -> Evaluated<Tensor> {
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

fn log_softmax(x: &Tensor, axis: usize) -> Evaluated<Tensor> {
    by_lane(x, axis, |lane| {
        let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = lane.iter().map(|v| libm::exp(v - max)).sum();
        let log = libm::log(sum);
        lane.iter_mut().for_each(|v| *v = *v - max - log);
    })
}

fn layer_norm(x: &Tensor, scale: Option<&Tensor>, bias: Option<&Tensor>, eps: f32) -> Evaluated<Tensor> {
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

fn rms_norm(x: &Tensor, scale: Option<&Tensor>, eps: f32) -> Evaluated<Tensor> {
    let scale = scale.map(floats).transpose()?;
    by_lane(x, x.shape().len() - 1, |lane| {
        let square = lane.iter().map(|v| v * v).sum::<f64>() / lane.len() as f64;
        let root = (square + f64::from(eps)).sqrt();
        for (i, v) in lane.iter_mut().enumerate() {
            *v = *v / root * scale.map_or(1.0, |s| s[i]);
        }
    })
}
