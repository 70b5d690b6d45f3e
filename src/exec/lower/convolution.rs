//! Convolutions as products of windows with packed weights, and transposed ones as products whose results are summed
//! where they fall. Both are done channels last: a window is then a few runs of memory, or the rows of the product as they lie.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::packed::{Arrangement, PackedMatrix};
use super::super::step::{Kernel, StepOf};
use super::super::view::{View, row_major};
use super::elementwise::{CHANNELS_FIRST, CHANNELS_LAST};
use super::{Lowering, Run};
use crate::kernels::Isa;
use crate::kernels::conv::{Channels, Grouped, Loops};
use crate::kernels::overlap::Windows;
use crate::kernels::window::{Axis, Geometry};
use bgz_kernels::alone;
use bgz_passes::ir::{self, Constant, Conv, DType, Node, Padding, Precision, ValueId};
use rayon::prelude::*;
use smallvec::smallvec;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of copied windows, or of windows to be summed, at the most: what is larger is left to the inner backend.
const MOST_BYTES: usize = 512 << 20;

/// A window over two spatial axes; with one, the second has an extent of 1.
#[derive(Clone, Copy, Debug)]
struct Window {
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    before: [usize; 2],
    after: [usize; 2],
}

impl Window {
    /// Of a convolution in one group over one or two axes, whose padding is given.
    fn new(conv: &Conv) -> Option<Self> {
        let ir::Window { kernel, strides, dilations, padding: Padding::Explicit(pads) } = conv.window() else {
            return None;
        };
        let n = kernel.len();
        let pair = |v: &[usize], or: usize| [v[0], v.get(1).copied().unwrap_or(or)];
        (conv.groups() == 1 && (1..=2).contains(&n)).then(|| Self {
            kernel: pair(kernel, 1),
            strides: pair(strides, 1),
            dilations: pair(dilations, 1),
            before: pair(&pads[..n], 0),
            after: pair(&pads[n..], 0),
        })
    }

    /// True if the last of `count` windows along an axis ends within an extent.
    fn ends_within(&self, axis: usize, count: usize, extent: usize) -> bool {
        let last = count.checked_sub(1).and_then(|n| n.checked_mul(self.strides[axis]));
        let reach = (self.kernel[axis] - 1).checked_mul(self.dilations[axis]);
        last.zip(reach).and_then(|(a, b)| a.checked_add(b)).is_some_and(|end| end < extent)
    }
}

/// Images of channels last, zeros around them.
struct Pad {
    /// `[n, h, w, c]`, and strides.
    from: View,
    before: [usize; 2],
    /// `[h, w]` with what is added.
    to: [usize; 2],
}

impl Kernel for Pad {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let x = reads.slice::<f32>(0);
        let &[_, h, w, c] = &self.from.shape[..] else { return Err("not an image".into()) };
        let &[image, line, column, channel] = &self.from.strides[..] else { return Err("not an image".into()) };
        let [height, width] = self.to;
        writes.slice::<f32>(0).par_chunks_exact_mut(width * c).enumerate().for_each(|(i, out)| {
            out.fill(0.0);
            let Some(y) = (i % height).checked_sub(self.before[0]).filter(|&y| y < h) else { return };
            let from = &x[i / height * image + y * line..];
            let out = &mut out[self.before[1] * c..][..w * c];
            if channel == 1 {
                for (x, out) in out.chunks_exact_mut(c).enumerate() {
                    out.copy_from_slice(&from[x * column..][..c]);
                }
            } else {
                for ch in 0..c {
                    for x in 0..w {
                        out[x * c + ch] = from[x * column + ch * channel];
                    }
                }
            }
        });
        Ok(())
    }
}

/// Rows of each image, which may overlap, times packed weights.
struct Product {
    packed: Arc<PackedMatrix>,
    /// From one image to the next, and from one row to the next.
    apart: [usize; 2],
    rows: usize,
    depth: usize,
    width: usize,
    bias: bool,
}

impl Product {
    /// The product of some rows of one image.
    fn image(
        &self,
        i: usize,
        rows: Range<usize>,
        x: &[f32],
        bias: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), String> {
        let PackedMatrix::Kernel(packed) = &*self.packed else { return Err("weights for another kernel".into()) };
        let [image, row] = self.apart;
        let span = rows.len().checked_sub(1).map_or(0, |n| n * row + self.depth);
        packed.apply_apart((&x[i * image + rows.start * row..][..span], row), bias, out).map_err(|e| e.to_string())
    }
}

impl Kernel for Product {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let (x, bias) = (reads.slice::<f32>(0), self.bias.then(|| reads.slice::<f32>(1)));
        let mut out = writes.slice::<f32>(0).chunks_exact_mut(self.rows * self.width).enumerate();
        out.try_for_each(|(i, out)| self.image(i, 0..self.rows, x, bias, out))
    }
}

/// Bytes of the windows of a band: in the second-level cache of a core.
const BAND: usize = 1 << 20;

/// Multiply-adds, and lines of the input for each line that is multiplied twice, from which on each thread takes lines of its own.
const MIN_WORK: usize = 1 << 20;
const MIN_LINES: usize = 8;

/// How the lines of a transposed convolution are taken.
#[derive(Clone, Copy)]
struct Bands {
    /// Lines of a band.
    lines: usize,
    /// Parts that the lines of all images are cut into, one for each thread.
    parts: usize,
    /// Lines of windows that a part has room for.
    room: usize,
}

impl Bands {
    /// For rows of `depth` and windows of `width` elements in each of so many images.
    fn new(windows: &Windows, images: usize, [depth, width]: [usize; 2]) -> Self {
        let [lines, columns] = windows.input;
        // As many lines as fit into the cache, but so many rows that reading all weights again is worth it.
        let rows = (BAND / width.saturating_mul(size_of::<f32>()).max(1)).max(depth);
        let band = (rows / columns.max(1)).clamp(1, lines.max(1));
        let all = images.saturating_mul(lines);
        let work = [columns, depth, width].into_iter().fold(all, usize::saturating_mul);
        let threads = rayon::current_num_threads();
        let worth = work >= MIN_WORK && all / threads >= MIN_LINES.saturating_mul(windows.reach()).max(1);
        Self {
            lines: band,
            parts: if worth { threads } else { 1 },
            room: band.saturating_add(windows.reach()).min(lines),
        }
    }
}

/// A transposed convolution by bands of lines: a product, whose results are windows, and while they are in the cache their sums
/// where they fall. A thread takes lines of its own, and multiplies once more those before that reach into them. The second result
/// is room for the windows of a band of each thread, and of the lines that reach into it.
struct Spread {
    product: Product,
    windows: Windows,
    images: usize,
    bands: Bands,
    bias: bool,
}

impl Spread {
    /// Elements of a line of windows, and of the output.
    fn line(&self) -> [usize; 2] {
        [self.windows.input[1] * self.product.width, self.windows.output[1] * self.windows.channels]
    }

    /// Elements of the output before a line of the input, counted through all images, has its part in it.
    fn out(&self, line: usize) -> usize {
        let [image, line] = [line / self.windows.input[0], line % self.windows.input[0]];
        (image * self.windows.output[0] + self.windows.complete(line)) * self.line()[1]
    }

    /// Lines of all images, in so many parts.
    fn lines(
        &self,
        (x, bias): (&[f32], Option<&[f32]>),
        lines: Range<usize>,
        parts: usize,
        out: &mut [f32],
        spread: &mut [f32],
    ) -> Result<(), String> {
        if parts > 1 {
            let left = parts / 2;
            let mid = lines.start + lines.len() * left / parts;
            let (out_left, out_right) = out.split_at_mut(self.out(mid) - self.out(lines.start));
            let (spread_left, spread_right) = spread.split_at_mut(self.bands.room * self.line()[0] * left);
            let (a, b) = rayon::join(
                || self.lines((x, bias), lines.start..mid, left, out_left, spread_left),
                || self.lines((x, bias), mid..lines.end, parts - left, out_right, spread_right),
            );
            return a.and(b);
        }
        let mut out = out;
        let mut at = lines.start;
        while at < lines.end {
            let (image, first) = (at / self.windows.input[0], at % self.windows.input[0]);
            let end = (first + lines.end - at).min(self.windows.input[0]);
            let next = at + end - first;
            let (own, rest) = out.split_at_mut(self.out(next) - self.out(at));
            let mut run = || self.image(image, (x, bias), first..end, own, spread);
            if self.bands.parts > 1 { alone(run) } else { run() }?;
            (out, at) = (rest, next);
        }
        Ok(())
    }

    /// Lines of one image, band by band.
    fn image(
        &self,
        image: usize,
        (x, bias): (&[f32], Option<&[f32]>),
        lines: Range<usize>,
        out: &mut [f32],
        spread: &mut [f32],
    ) -> Result<(), String> {
        let Self { windows, product, bands, .. } = self;
        let ([line, out_line], columns) = (self.line(), windows.input[1]);
        let before = windows.complete(lines.start);
        // Lines whose windows are there.
        let mut there = lines.start.saturating_sub(windows.reach())..lines.start.saturating_sub(windows.reach());
        for first in lines.clone().step_by(bands.lines) {
            let end = (first + bands.lines).min(lines.end);
            let new = &mut spread[there.len() * line..(end - there.start) * line];
            product.image(image, there.end * columns..end * columns, x, None, new)?;
            there.end = end;
            let done = windows.complete(first)..windows.complete(end);
            let out = &mut out[(done.start - before) * out_line..(done.end - before) * out_line];
            let sums = windows.sum_lines(&spread[..there.len() * line], there.clone(), bias, out, done);
            sums.map_err(|e| e.to_string())?;
            let left = there.len().saturating_sub(windows.reach());
            spread.copy_within(left * line..there.len() * line, 0);
            there.start += left;
        }
        Ok(())
    }
}

impl Kernel for Spread {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let operands = (reads.slice::<f32>(0), self.bias.then(|| reads.slice::<f32>(1)));
        let mut results = writes.each::<f32>();
        let (Some(out), Some(spread)) = (results.next(), results.next()) else {
            return Err("there is no room for windows".into());
        };
        let lines = 0..self.images * self.windows.input[0];
        self.lines(operands, lines, self.bands.parts, out, spread)
    }
}

impl Lowering<'_> {
    pub(super) fn convolution(&mut self, node: &Node, conv: &Conv) -> Result<(), ExecError> {
        let (x, w, out) = (node.inputs[0], node.inputs[1], node.outputs[0]);
        let (image, shape) = (self.shape(x)?, self.shape(out)?);
        let bias = node.inputs.get(2).map(|&b| self.contiguous(b)).transpose()?;
        if let (Some(weights), Some(window), true) = (self.constant(w), Window::new(conv), self.all_f32(node))
            && Isa::current() != Isa::Scalar
            && ![&image, &shape].iter().any(|s| s.contains(&0))
        {
            let (x, shape) = (self.view(x)?, planes(&shape));
            let x = View { shape: planes(&image)[..].into(), strides: planes(&x.strides)[..].into(), ..x };
            let done = match conv {
                Conv::Plain { .. } => self.windows(node, weights, window, &x, bias.as_ref(), shape)?,
                Conv::Transposed { .. } => self.spread(node, weights, window, &x, bias.as_ref(), shape)?,
            };
            if let Some(done) = done {
                let mut view = done.transposed(&CHANNELS_FIRST);
                view.shape.truncate(image.len());
                view.strides.truncate(image.len());
                self.alias(out, view);
                return Ok(());
            }
        }
        self.in_groups(node, conv, bias)
    }

    /// A convolution in groups, over any number of axes, of any floats; its result channels last.
    fn in_groups(&mut self, node: &Node, conv: &Conv, bias: Option<View>) -> Result<(), ExecError> {
        let (image, shape) = (self.shape(node.inputs[0])?, self.shape(node.outputs[0])?);
        let transposed = matches!(conv, Conv::Transposed { .. });
        let (plane, windows) = if transposed { (&shape[2..], &image[2..]) } else { (&image[2..], &shape[2..]) };
        let geometry = self.geometry(node, conv.window(), transposed, plane, windows)?;
        let channels = Channels { groups: conv.groups(), input: image[1], output: shape[1] };
        let x = self.view(node.inputs[0])?;
        let x = x.transposed(&channels_last(image.len()));
        let x = if x.is_contiguous() { x } else { self.copied(node.outputs[0], &x)? };
        let weights = self.contiguous(node.inputs[1])?;
        let dtype = x.dtype;
        let permuted: Vec<usize> = channels_last(shape.len()).iter().map(|&a| shape[a]).collect();
        let out = self.buffer(dtype, &permuted)?;
        let reads: Vec<&View> = [&x, &weights].into_iter().chain(&bias).collect();
        let kernel: Box<dyn Kernel> = match (dtype, transposed, self.constant(node.inputs[1])) {
            (DType::F32, false, Some(w)) => {
                let absent =
                    |reason| ExecError::AbsentConstant { name: self.graph.name(node.inputs[1]).into(), reason };
                let bytes = self.packed.aligned(w).map_err(absent)?;
                let packed = Grouped::new(geometry, channels, bytemuck::cast_slice(&bytes));
                let packed = packed.map_err(|e| self.fail(node, e.to_string()))?;
                Box::new(Run(move |r: &Reads, w: &mut Writes| packed.run(r.slice(0), bias_of(r), w.slice(0))))
            }
            (DType::F32, false, None) => Box::new(Run(move |r: &Reads, w: &mut Writes| {
                Grouped::new(geometry.clone(), channels, r.slice(1))?.run(r.slice(0), bias_of(r), w.slice(0))
            })),
            (DType::F32, true, _) => Box::new(Run(move |r: &Reads, w: &mut Writes| {
                Loops::<f32>::transposed(geometry.clone(), channels, r.slice(1))?.run(
                    r.slice(0),
                    bias_of(r),
                    w.slice(0),
                )
            })),
            (DType::F64, transposed, _) => Box::new(Run(move |r: &Reads, w: &mut Writes| {
                let make = if transposed { Loops::<f64>::transposed } else { Loops::<f64>::plain };
                make(geometry.clone(), channels, r.slice(1))?.run(r.slice(0), bias_of(r), w.slice(0))
            })),
            (other, ..) => return Err(self.fail(node, format!("not defined for {other}"))),
        };
        self.step_of(&[node], "conv", kernel, &reads, &[&out]);
        self.alias(node.outputs[0], out.transposed(&channels_first(shape.len())));
        Ok(())
    }

    /// How windows lie on a plane.
    pub(super) fn geometry(
        &self,
        node: &Node,
        window: &ir::Window,
        transposed: bool,
        plane: &[usize],
        windows: &[usize],
    ) -> Result<Geometry, ExecError> {
        let pads = if transposed { window.transposed_pads() } else { window.pads(plane) };
        let axis = |i: usize| Axis {
            extent: plane[i],
            windows: windows[i],
            kernel: window.kernel[i],
            stride: window.strides[i],
            dilation: window.dilations[i],
            before: pads[i].0,
            after: pads[i].1,
        };
        let axes: Vec<Axis> = (0..plane.len()).map(axis).collect();
        Geometry::new(&axes).map_err(|e| self.fail(node, e.to_string()))
    }

    /// A convolution; its result channels last.
    fn windows(
        &mut self,
        node: &Node,
        weights: &Constant,
        window: Window,
        x: &View,
        bias: Option<&View>,
        [n, o, oh, ow]: [usize; 4],
    ) -> Result<Option<View>, ExecError> {
        let Window { kernel: [kh, kw], strides: [sh, sw], dilations: [dh, dw], before, after } = window;
        let [_, c, h, w] = planes(&x.shape);
        let padded = |i: usize, extent: usize| before[i].checked_add(after[i])?.checked_add(extent);
        let (Some(height), Some(width)) = (padded(0, h), padded(1, w)) else { return Ok(None) };
        if !window.ends_within(0, oh, height) || !window.ends_within(1, ow, width) {
            return Ok(None);
        }
        let of = node.outputs[0];
        let x = self.channels_last(of, x, before, [height, width])?;
        let s = &x.strides;
        let strides = smallvec![s[0], s[1] * sh, s[2] * sw, s[1] * dh, s[2] * dw, s[3]];
        let x = View { shape: smallvec![n, oh, ow, kh, kw, c], strides, ..x };
        let product = self.window_product(of, weights, Arrangement::Windows, &x, o, bias.is_some())?;
        let Some((x, mut product)) = product else { return Ok(None) };
        // Rows of all images that lie as those of one are one product.
        if product.apart[0] == product.rows * product.apart[1] {
            product.rows *= n;
        }
        let out = self.buffer(DType::F32, &[n, oh, ow, o])?;
        let reads: Vec<&View> = [&x].into_iter().chain(bias).collect();
        self.step_of(&[node], "gemm packed", Box::new(product), &reads, &[&out]);
        Ok(Some(out))
    }

    /// A transposed convolution; its result channels last.
    fn spread(
        &mut self,
        node: &Node,
        weights: &Constant,
        window: Window,
        x: &View,
        bias: Option<&View>,
        [n, o, height, width]: [usize; 4],
    ) -> Result<Option<View>, ExecError> {
        let Window { kernel: [kh, kw], strides, dilations, before, .. } = window;
        let [_, c, h, w] = planes(&x.shape);
        let windows = Windows {
            input: [h, w],
            kernel: [kh, kw],
            strides,
            dilations,
            before,
            output: [height, width],
            channels: o,
        };
        let bands = Bands::new(&windows, n, [c, kh * kw * o]);
        let positions = [bands.parts, bands.room, w, kh, kw, o];
        let size = positions.iter().try_fold(size_of::<f32>(), |n, &d| n.checked_mul(d));
        if size.is_none_or(|n| n > MOST_BYTES) {
            return Ok(None);
        }
        let of = node.outputs[0];
        let x = self.channels_last(of, x, [0; 2], [h, w])?;
        let s = &x.strides;
        let strides_of = smallvec![s[0], s[1], s[2], 0, 0, s[3]];
        let x = View { shape: smallvec![n, h, w, 1, 1, c], strides: strides_of, ..x };
        let Some((x, product)) = self.window_product(of, weights, Arrangement::Spread, &x, kh * kw * o, false)? else {
            return Ok(None);
        };
        let spread = self.buffer(DType::F32, &positions)?;
        let out = self.buffer(DType::F32, &[n, height, width, o])?;
        let kernel = Spread { product, windows, images: n, bands, bias: bias.is_some() };
        let reads: Vec<&View> = [&x].into_iter().chain(bias).collect();
        self.step_of(&[node], "gemm packed", Box::new(kernel), &reads, &[&out, &spread]);
        Ok(Some(out))
    }

    /// `[n, c, h, w]` as `[n, height, width, c]`, zeros around it, its channels next to each other.
    fn channels_last(&mut self, of: ValueId, x: &View, before: [usize; 2], to: [usize; 2]) -> Result<View, ExecError> {
        let from = x.transposed(&CHANNELS_LAST);
        let &[n, h, w, c] = &from.shape[..] else { return Err(ExecError::Internal("an image of other axes".into())) };
        if [h, w] == to {
            return if from.strides[3] == 1 || c == 1 { Ok(from) } else { self.copied(of, &from) };
        }
        let out = self.buffer(DType::F32, &[n, to[0], to[1], c])?;
        let kernel = Pad { from: from.clone(), before, to };
        self.step(StepOf::Part(of), "pad", Box::new(kernel), &[&from], &[&out]);
        Ok(out)
    }

    /// The product of windows `[n, rows, rows, then a window]` with packed weights: as they lie if that is in rows, else copied.
    fn window_product(
        &mut self,
        of: ValueId,
        weights: &Constant,
        arrangement: Arrangement,
        x: &View,
        width: usize,
        bias: bool,
    ) -> Result<Option<(View, Product)>, ExecError> {
        let depth = x.shape[3..].iter().product();
        let rows = x.shape[1] * x.shape[2];
        let (x, apart) = match rows_apart(x) {
            Some(apart) => (x.clone(), [x.strides[0], apart]),
            None if x.shape.iter().try_fold(4usize, |n, &d| n.checked_mul(d)).is_some_and(|n| n <= MOST_BYTES) => {
                (self.copied(of, x)?, [rows * depth, depth])
            }
            None => return Ok(None),
        };
        let packed = self.packed.get(self.graph.name(of), weights, arrangement, Precision::Exact)?;
        Ok(Some((x, Product { packed, apart, rows, depth, width, bias })))
    }
}

/// How far the rows of `[n, h, w, then a window]` are apart, if the windows are without gaps and the rows of an image evenly apart.
fn rows_apart(x: &View) -> Option<usize> {
    let window = x.shape[3..].iter().zip(&x.strides[3..]).zip(row_major(&x.shape[3..]));
    if !window.into_iter().all(|((&n, &s), dense)| n == 1 || s == dense) {
        return None;
    }
    match (x.shape[1], x.shape[2]) {
        (1, 1) => Some(x.shape[3..].iter().product()),
        (_, 1) => Some(x.strides[1]),
        (1, _) => Some(x.strides[2]),
        (_, w) => (x.strides[1] == w * x.strides[2]).then_some(x.strides[2]),
    }
}

/// The axes of `[n, c, ..]` with the channels last.
pub(super) fn channels_last(rank: usize) -> Vec<usize> {
    [0].into_iter().chain(2..rank).chain([1]).collect()
}

/// The axes of `[n, .., c]` with the channels first.
pub(super) fn channels_first(rank: usize) -> Vec<usize> {
    [0, rank - 1].into_iter().chain(1..rank - 1).collect()
}

/// The bias, which comes third.
fn bias_of<'a, T: bytemuck::Pod>(reads: &'a Reads) -> Option<&'a [T]> {
    (reads.len() > 2).then(|| reads.slice(2))
}

/// Extents or strides `[n, c, h]` or `[n, c, h, w]` as four; the one that is missing is an axis of 1.
fn planes(of: &[usize]) -> [usize; 4] {
    [of[0], of[1], of[2], of.get(3).copied().unwrap_or(1)]
}
