//! Convolutions over one to three spatial axes.

use super::movement::pad_constant;
use super::opaque::{Reader, same_total, span};
use super::tensor::range;
use super::{Cx, Fault, InnerTensor, Operands, Res};
use bgz_passes::ir::{Attrs, Scalar};
use burn_backend::Backend;
use burn_backend::ops::{ConvOptions, ConvTransposeOptions};
use burn_backend::tensor::FloatTensor;

const UNDERSTOOD: [&str; 7] = ["auto_pad", "dilations", "group", "kernel", "output_padding", "pads", "strides"];

/// The operands, as floats: `x [batch, in, ..]`, weights, bias.
struct Operand<B: Backend> {
    x: InnerTensor<B>,
    w: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
    /// Extents of the weights.
    weights: Vec<usize>,
}

impl<B: Backend> Operand<B> {
    fn new(mut x: Operands<B>, reader: &Reader<'_>, cx: &Cx<'_, B>) -> Res<Self> {
        let (input, w) = (x.take()?, x.take()?);
        let bias = x.take_if().map(InnerTensor::float).transpose()?;
        let (shape, weights) = (cx.shape(0)?, cx.shape(1)?);
        if shape.len() != weights.len() || !(3..=5).contains(&shape.len()) {
            return Err(Fault::Unsupported(format!("convolution of {shape:?} by {weights:?}")));
        }
        if weights.contains(&0) || shape.contains(&0) {
            return Err(Fault::Invalid(format!("convolution of {shape:?} by {weights:?}")));
        }
        if let Some(k) = reader.ints("kernel")?
            && k.iter().map(|&k| usize::try_from(k).ok()).ne(weights[2..].iter().map(|&w| Some(w)))
        {
            let reason = format!("{k:?} is not that of the weights {weights:?}");
            return Err(Fault::Attribute { name: "kernel".into(), reason });
        }
        if let Some(b) = cx.inputs.get(2)
            && b.rank() != 1
        {
            return Err(Fault::Invalid(format!("bias {b}")));
        }
        Ok(Self { x: input, w: w.float()?, bias, weights })
    }
}

/// Checks that channels fit.
fn check(expected: usize, actual: usize, what: &str) -> Res<()> {
    if expected == actual { Ok(()) } else { Err(Fault::Invalid(format!("{actual} {what}, not {expected}"))) }
}

pub(super) fn conv<B: Backend>(attrs: &Attrs, x: Operands<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let reader = Reader::new(attrs, &UNDERSTOOD)?;
    let operand = Operand::new(x, &reader, cx)?;
    match operand.weights.len() {
        3 => forward(operand, &reader, cx, B::conv1d),
        4 => forward(operand, &reader, cx, B::conv2d),
        _ => forward(operand, &reader, cx, B::conv3d),
    }
}

type Conv<B, const N: usize> =
    fn(FloatTensor<B>, FloatTensor<B>, Option<FloatTensor<B>>, ConvOptions<N>) -> FloatTensor<B>;

fn forward<B: Backend, const N: usize>(
    operand: Operand<B>,
    reader: &Reader<'_>,
    cx: &Cx<'_, B>,
    conv: Conv<B, N>,
) -> Res<InnerTensor<B>> {
    let group = reader.size("group", 1)?;
    let strides = reader.sizes::<N>("strides", 1, 1)?;
    let dilations = reader.sizes::<N>("dilations", 1, 1)?;
    let Operand { x, w, bias, weights } = operand;
    let mut shape = cx.shape(0)?;
    let reach: [usize; N] = std::array::from_fn(|i| span(weights[2 + i], dilations[i]));
    let pads = reader.pads::<N>(|i| same_total(shape[2 + i], reach[i], strides[i]))?;
    check(weights[1].saturating_mul(group), shape[1], "channels in")?;
    if !weights[0].is_multiple_of(group) {
        return Err(Fault::Invalid(format!("{} channels out in {group} groups", weights[0])));
    }
    if let Some(b) = cx.inputs.get(2) {
        check(weights[0], b.known_len().unwrap_or(0), "biases")?;
    }
    // Burn pads both sides alike; anything else is padded before.
    let alike = pads.iter().all(|&(a, b)| a == b && a >= 0);
    let (x, padding) =
        if alike { (x, pads.map(|(a, _)| a as usize)) } else { (pad_spatial(x, &pads, 0.0, &mut shape, cx)?, [0; N]) };
    for i in 0..N {
        if shape[2 + i].saturating_add(padding[i].saturating_mul(2)) < reach[i] {
            return Err(Fault::Invalid(format!("extent {} for a kernel that spans {}", shape[2 + i], reach[i])));
        }
    }
    let options = ConvOptions::new(strides, padding, dilations, group);
    Ok(InnerTensor::Float(conv(x.float()?, w, bias, options)))
}

/// Pads the last `N` of the axes with a value; `shape` becomes that of the result.
pub(super) fn pad_spatial<B: Backend, const N: usize>(
    x: InnerTensor<B>,
    pads: &[(i64, i64); N],
    value: f64,
    shape: &mut Vec<usize>,
    cx: &Cx<'_, B>,
) -> Res<InnerTensor<B>> {
    let outer = vec![0; shape.len() - N];
    let before = outer.iter().copied().chain(pads.iter().map(|p| p.0));
    let all: Vec<i64> = before.chain(outer.iter().copied()).chain(pads.iter().map(|p| p.1)).collect();
    let dtype = x.need_dtype()?;
    let x = pad_constant(x, &all, Scalar::from_f64(dtype, value), shape, cx)?;
    *shape = x.shape();
    Ok(x)
}

pub(super) fn conv_transpose<B: Backend>(attrs: &Attrs, x: Operands<B>, cx: &Cx<'_, B>) -> Res<InnerTensor<B>> {
    let reader = Reader::new(attrs, &UNDERSTOOD)?;
    let operand = Operand::new(x, &reader, cx)?;
    match operand.weights.len() {
        3 => backward(operand, &reader, cx, B::conv_transpose1d),
        4 => backward(operand, &reader, cx, B::conv_transpose2d),
        _ => backward(operand, &reader, cx, B::conv_transpose3d),
    }
}

type ConvTranspose<B, const N: usize> =
    fn(FloatTensor<B>, FloatTensor<B>, Option<FloatTensor<B>>, ConvTransposeOptions<N>) -> FloatTensor<B>;

fn backward<B: Backend, const N: usize>(
    operand: Operand<B>,
    reader: &Reader<'_>,
    cx: &Cx<'_, B>,
    conv: ConvTranspose<B, N>,
) -> Res<InnerTensor<B>> {
    let group = reader.size("group", 1)?;
    let strides = reader.sizes::<N>("strides", 1, 1)?;
    let dilations = reader.sizes::<N>("dilations", 1, 1)?;
    let mut extra = reader.sizes::<N>("output_padding", 0, 0)?;
    let Operand { x, w, bias, weights } = operand;
    let shape = cx.shape(0)?;
    let reach: [usize; N] = std::array::from_fn(|i| span(weights[2 + i], dilations[i]));
    // Chosen so that there are `extent * stride` results: what is too much is cut, what is missing is added.
    let pads = reader.pads::<N>(|i| i64::try_from(reach[i].saturating_sub(strides[i])).unwrap_or(i64::MAX))?;
    if reader.text("auto_pad")?.is_some() {
        extra = std::array::from_fn(|i| extra[i] + strides[i].saturating_sub(reach[i]));
    }
    check(weights[0], shape[1], "channels in")?;
    if !weights[0].is_multiple_of(group) {
        return Err(Fault::Invalid(format!("{} channels in {group} groups", weights[0])));
    }
    if let Some(b) = cx.inputs.get(2) {
        check(weights[1].saturating_mul(group), b.known_len().unwrap_or(0), "biases")?;
    }
    // What comes out before the pads are cut off.
    let mut full = [0; N];
    for i in 0..N {
        full[i] = (shape[2 + i] - 1).saturating_mul(strides[i]).saturating_add(reach[i]).saturating_add(extra[i]);
        let (a, b) = pads[i];
        if i64::try_from(full[i]).map_or(true, |f| f.saturating_sub(a).saturating_sub(b) <= 0) {
            return Err(Fault::Invalid(format!("pads {a} and {b} leave nothing of {}", full[i])));
        }
    }
    // Burn cuts both sides alike; anything else is cut after.
    let alike = pads.iter().all(|&(a, b)| a == b && a >= 0);
    let padding = if alike { pads.map(|(a, _)| a as usize) } else { [0; N] };
    let options = ConvTransposeOptions::new(strides, padding, extra, dilations, group);
    let y = InnerTensor::<B>::Float(conv(x.float()?, w, bias, options));
    if alike {
        return Ok(y);
    }
    if pads.iter().any(|&(a, b)| a < 0 || b < 0) {
        return Err(Fault::Unsupported(format!("negative pads {pads:?} of a transposed convolution")));
    }
    let mut cuts: Vec<_> = y.shape().iter().map(|&d| range(0, d)).collect();
    for i in 0..N {
        cuts[2 + i] = range(pads[i].0 as usize, full[i] - pads[i].1 as usize);
    }
    Ok(y.slice(&cuts))
}
