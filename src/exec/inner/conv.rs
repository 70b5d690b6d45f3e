//! Convolutions over one to three spatial axes.

use super::movement::pad_constant;
use super::tensor::range;
use super::{Cx, Fault, InnerTensor, Operands, Res};
use bgz_passes::ir::{Conv, Scalar, Window};
use burn_backend::Backend;
use burn_backend::ops::{ConvOptions, ConvTransposeOptions};
use burn_backend::tensor::FloatTensor;

/// The operands, as floats: `x [batch, in, ..]`, weights, bias.
struct Operand<B: Backend> {
    x: InnerTensor<B>,
    w: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
    /// Extents of the weights.
    weights: Vec<usize>,
}

impl<B: Backend> Operand<B> {
    fn new(mut x: Operands<B>, cx: &Cx<'_, B>) -> Res<Self> {
        let (input, w) = (x.take()?, x.take()?);
        let bias = x.take_if().map(InnerTensor::float).transpose()?;
        let (shape, weights) = (cx.shape(0)?, cx.shape(1)?);
        if shape.len() != weights.len() || !(3..=5).contains(&shape.len()) {
            return Err(Fault::Unsupported(format!("convolution of {shape:?} by {weights:?}")));
        }
        if weights.contains(&0) || shape.contains(&0) {
            return Err(Fault::Invalid(format!("convolution of {shape:?} by {weights:?}")));
        }
        Ok(Self { x: input, w: w.float()?, bias, weights })
    }
}

pub(super) fn conv<B: Backend>(conv: &Conv, x: Operands<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let operand = Operand::new(x, cx)?;
    let (w, groups) = (conv.window(), conv.groups());
    match (conv, operand.weights.len()) {
        (Conv::Plain { .. }, 3) => forward(operand, w, groups, cx, B::conv1d),
        (Conv::Plain { .. }, 4) => forward(operand, w, groups, cx, B::conv2d),
        (Conv::Plain { .. }, _) => forward(operand, w, groups, cx, B::conv3d),
        (Conv::Transposed { output_padding, .. }, 3) => {
            backward(operand, w, groups, output_padding, cx, B::conv_transpose1d)
        }
        (Conv::Transposed { output_padding, .. }, 4) => {
            backward(operand, w, groups, output_padding, cx, B::conv_transpose2d)
        }
        (Conv::Transposed { output_padding, .. }, _) => {
            backward(operand, w, groups, output_padding, cx, B::conv_transpose3d)
        }
    }
}

/// An entry for each of `N` axes.
pub(super) fn axes<T: Copy, const N: usize>(v: &[T]) -> Res<[T; N]> {
    v.try_into().map_err(|_| Fault::Invalid(format!("{} entries for {N} axes", v.len())))
}

type Forward<B, const N: usize> =
    fn(FloatTensor<B>, FloatTensor<B>, Option<FloatTensor<B>>, ConvOptions<N>) -> FloatTensor<B>;

fn forward<B: Backend, const N: usize>(
    operand: Operand<B>,
    window: &Window,
    groups: usize,
    cx: &Cx<'_, B>,
    conv: Forward<B, N>,
) -> Res<InnerTensor<B>> {
    let Operand { x, w, bias, .. } = operand;
    let mut shape = cx.shape(0)?;
    let pads = axes(&window.pads(&shape[2..]))?;
    // Burn pads both sides alike; anything else is padded before.
    let alike = pads.iter().all(|&(a, b)| a == b);
    let (x, padding) =
        if alike { (x, pads.map(|(a, _)| a)) } else { (pad_spatial(x, &pads, 0.0, &mut shape, cx)?, [0; N]) };
    for i in 0..N {
        if shape[2 + i].saturating_add(padding[i].saturating_mul(2)) < window.reach(i) {
            return Err(Fault::Invalid(format!("extent {} for a kernel that spans {}", shape[2 + i], window.reach(i))));
        }
    }
    let options = ConvOptions::new(axes(&window.strides)?, padding, axes(&window.dilations)?, groups);
    Ok(InnerTensor::Float(conv(x.float()?, w, bias, options)))
}

/// Pads the last `N` of the axes with a value; `shape` becomes that of the result.
pub(super) fn pad_spatial<B: Backend, const N: usize>(
    x: InnerTensor<B>,
    pads: &[(usize, usize); N],
    value: f64,
    shape: &mut Vec<usize>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let outer = vec![0; shape.len() - N];
    let entries = |n: usize| i64::try_from(n).map_err(|_| Fault::Invalid(format!("{n} entries of padding")));
    let before = outer.iter().copied().chain(pads.iter().map(|p| p.0));
    let all: Vec<usize> = before.chain(outer.iter().copied()).chain(pads.iter().map(|p| p.1)).collect();
    let all = all.into_iter().map(entries).collect::<Res<Vec<_>>>()?;
    let dtype = x.need_dtype()?;
    let x = pad_constant(x, &all, Scalar::from_f64(dtype, value), shape, cx)?;
    *shape = x.shape();
    Ok(x)
}

type Backward<B, const N: usize> =
    fn(FloatTensor<B>, FloatTensor<B>, Option<FloatTensor<B>>, ConvTransposeOptions<N>) -> FloatTensor<B>;

fn backward<B: Backend, const N: usize>(
    operand: Operand<B>,
    window: &Window,
    groups: usize,
    output_padding: &[usize],
    cx: &Cx<'_, B>,
    conv: Backward<B, N>,
) -> Res<InnerTensor<B>> {
    let Operand { x, w, bias, .. } = operand;
    let (shape, out) = (cx.shape(0)?, cx.out()?);
    let (strides, dilations) = (axes::<_, N>(&window.strides)?, axes(&window.dilations)?);
    let mut extra: [usize; N] = axes(output_padding)?;
    let pads = axes(&window.transposed_pads())?;
    // What comes out before the pads are cut off; where padding is chosen, as much as there are results and padding.
    let mut full = [0; N];
    for i in 0..N {
        let made = (shape[2 + i] - 1).saturating_mul(strides[i]).saturating_add(window.reach(i));
        full[i] = out[2 + i].saturating_add(pads[i].0).saturating_add(pads[i].1);
        extra[i] = full[i].saturating_sub(made);
    }
    // Burn cuts both sides alike; anything else is cut after.
    let alike = pads.iter().all(|&(a, b)| a == b);
    let padding = if alike { pads.map(|(a, _)| a) } else { [0; N] };
    let options = ConvTransposeOptions::new(strides, padding, extra, dilations, groups);
    let y = InnerTensor::<B>::Float(conv(x.float()?, w, bias, options));
    if alike {
        return Ok(y);
    }
    let mut cuts: Vec<_> = y.shape().iter().map(|&d| range(0, d)).collect();
    for i in 0..N {
        cuts[2 + i] = range(pads[i].0, full[i] - pads[i].1);
    }
    Ok(y.slice(&cuts))
}
