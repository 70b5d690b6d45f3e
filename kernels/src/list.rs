//! The table behind `bgz kernels`.

use super::Isa;
use super::attention::{Attention, Layout, Mask, Operands, Scoring};
use super::chain::{Elementwise, Program};
use super::conv::{Channels, Grouped};
use super::linear::{Float, Packed, Weights};
use super::pool::{Kind, Pool};
use super::resize::Resize;
use super::rows::{self, Reduction};
use super::window::{Axis, Geometry};
use bgz_passes::ir::{Binary, DType, Expr, Unary};
use std::time::{Duration, Instant};

/// One kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelInfo {
    /// Its name in graph text.
    pub name: &'static str,
    /// The instruction sets of this host that have a variant, slowest first.
    pub variants: &'static [Isa],
    /// The error that its result may have.
    pub accuracy: &'static str,
    work: Work,
}

/// The work that is run to time a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Unary(Unary),
    Binary(Binary),
    Rows(Rows),
    Linear,
    Conv,
    Pool(Kind),
    Resize,
    Attention,
    Copy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    Softmax,
    LogSoftmax,
    LayerNorm,
    RmsNorm,
    Reduce(Reduction),
}

/// Every kernel of f32 elements and rows.
pub fn list() -> Vec<KernelInfo> {
    let info = |name, accuracy, work| KernelInfo { name, variants: Isa::available(), accuracy, work };
    let unary = Unary::ALL.iter().filter(|f| f.output(DType::F32).is_some());
    let unary = unary.map(|&f| info(f.name(), unary_accuracy(f), Work::Unary(f)));
    let binary = Binary::ALL.iter().filter(|f| f.output(DType::F32).is_some());
    let binary = binary.map(|&f| info(f.name(), binary_accuracy(f), Work::Binary(f)));
    let rows = [
        ("softmax", "exp, sum and quotient: 1 ULP each, and the rounding of the sum", Rows::Softmax),
        ("log_softmax", "rounding of the sum, then 1 ULP of log", Rows::LogSoftmax),
        ("layer_norm", "rounding of two sums", Rows::LayerNorm),
        ("rms_norm", "rounding of one sum", Rows::RmsNorm),
        ("reduce_sum", "rounding of the sum", Rows::Reduce(Reduction::Sum)),
        ("reduce_mean", "rounding of the sum", Rows::Reduce(Reduction::Mean)),
        ("reduce_max", "exact", Rows::Reduce(Reduction::Max)),
        ("reduce_min", "exact", Rows::Reduce(Reduction::Min)),
        ("reduce_prod", "rounding of the product", Rows::Reduce(Reduction::Prod)),
    ];
    let rows = rows.into_iter().map(|(name, accuracy, r)| info(name, accuracy, Work::Rows(r)));
    let others = [
        info("linear", "one rounding for each multiply-add, in order", Work::Linear),
        info("conv", "one rounding for each multiply-add, in order", Work::Conv),
        info("max_pool", "exact", Work::Pool(Kind::Max)),
        info("average_pool", "rounding of the sum, in order", Work::Pool(Kind::Average { count_pads: false })),
        info("resize", "one rounding for each multiply-add, in order", Work::Resize),
        info("attention", "rounding of two matrix products, and softmax", Work::Attention),
        info("copy", "exact", Work::Copy),
    ];
    unary.chain(binary).chain(rows).chain(others).collect()
}

/// Elements a kernel is timed on: 2^14, which stay in L2.
const ELEMENTS: usize = 1 << 14;
/// Elements of a row.
const COLS: usize = 256;

impl KernelInfo {
    /// Nanoseconds an element, on one thread and the instruction set in use:
    /// 2^14 elements, rows of 256, the shortest of many runs. For attention an
    /// element is a score: one head of 128 queries and keys of width 32. For linear it is a multiply-add: 64 rows, and
    /// weights of 256 x 64. For conv it is one as well: a filter of 3 x 3 for each of 64 channels of 16 x 16 positions, on which
    /// pools of 3 x 3 are timed, too. Resize makes 16 lines of 8, linearly.
    pub fn measure(&self) -> f64 {
        let a: Vec<f32> = (0..ELEMENTS).map(|i| 0.01 + (i * 7919 % ELEMENTS) as f32 / ELEMENTS as f32).collect();
        let mut out = vec![0.0f32; ELEMENTS];
        match self.work {
            Work::Unary(f) => chain(&Expr::Unary(f, Expr::Input(0).into()), &[&a], &mut out),
            Work::Binary(f) => {
                chain(&Expr::Binary(f, Expr::Input(0).into(), Expr::Input(1).into()), &[&a, &a], &mut out)
            }
            Work::Rows(r) => time(ELEMENTS, || row_kernel(r, &a, &mut out)),
            Work::Linear => linear(&a, &mut out),
            Work::Conv => conv(&a, &mut out),
            Work::Pool(kind) => pool(kind, &a, &mut out),
            Work::Resize => resize(&a, &mut out),
            Work::Attention => attention(&a, &mut out),
            Work::Copy => chain(&Expr::Input(0), &[&a], &mut out),
        }
    }
}

/// Nanoseconds an element of the shortest of many runs.
fn time(elements: usize, mut run: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut best = f64::INFINITY;
    while started.elapsed() < Duration::from_millis(8) {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best * 1e9 / elements as f64
}

fn chain(expr: &Expr, inputs: &[&[f32]], out: &mut [f32]) -> f64 {
    let strides = vec![vec![1]; inputs.len()];
    let Ok(program) = Program::compile(expr, &vec![DType::F32; inputs.len()]) else { return f64::NAN };
    let Ok(run) = Elementwise::new(program, &[ELEMENTS], &strides) else { return f64::NAN };
    let pointers: Vec<*const u8> = inputs.iter().map(|x| x.as_ptr().cast()).collect();
    // SAFETY: operands hold `ELEMENTS` floats and so does the result, of which
    // a comparison writes a byte each.
    time(ELEMENTS, || _ = unsafe { run.run(&pointers, out.as_mut_ptr().cast()) })
}

fn row_kernel(kernel: Rows, x: &[f32], out: &mut [f32]) {
    let (scale, bias) = (&x[..COLS], &x[COLS..2 * COLS]);
    let done = match kernel {
        Rows::Softmax => rows::softmax(x, out, COLS, 1.0),
        Rows::LogSoftmax => rows::log_softmax(x, out, COLS, 1.0),
        Rows::LayerNorm => rows::layer_norm(x, Some(scale), Some(bias), 1e-5, out, COLS),
        Rows::RmsNorm => rows::rms_norm(x, Some(scale), 1e-5, out, COLS),
        Rows::Reduce(kind) => rows::reduce(kind, x, &mut out[..ELEMENTS / COLS], COLS),
    };
    debug_assert!(done.is_ok(), "{done:?}");
}

fn linear(x: &[f32], out: &mut [f32]) -> f64 {
    const SIDE: usize = 64;
    let Ok(packed) = Packed::new(Weights::new(x, COLS, SIDE), Float::F32) else { return f64::NAN };
    let bias = Some(&x[..SIDE]);
    time(SIDE * ELEMENTS, || {
        let done = packed.apply(x, bias, &mut out[..SIDE * SIDE]);
        debug_assert!(done.is_ok(), "{done:?}");
    })
}

/// Windows of 3 x 3 on 16 x 16 positions, as many as those.
fn square() -> Option<Geometry> {
    let axis = Axis { kernel: 3, before: 1, after: 1, ..Axis::new(16) };
    Geometry::new(&[axis, axis]).ok()
}

/// Channels of an image of 16 x 16 positions.
const CHANNELS: usize = ELEMENTS / (16 * 16);

fn conv(x: &[f32], out: &mut [f32]) -> f64 {
    let channels = Channels { groups: CHANNELS, input: CHANNELS, output: CHANNELS };
    let made = square().and_then(|g| Grouped::new(g, channels, &x[..9 * CHANNELS]).ok());
    let Some(conv) = made else { return f64::NAN };
    time(9 * ELEMENTS, || {
        let done = conv.run(x, Some(&x[..CHANNELS]), out);
        debug_assert!(done.is_ok(), "{done:?}");
    })
}

fn pool(kind: Kind, x: &[f32], out: &mut [f32]) -> f64 {
    let Some(geometry) = square() else { return f64::NAN };
    let pool = Pool::new(geometry, CHANNELS, kind);
    time(ELEMENTS, || {
        let done = pool.run(x, out);
        debug_assert!(done.is_ok(), "{done:?}");
    })
}

fn resize(x: &[f32], out: &mut [f32]) -> f64 {
    let taps = |i: usize| vec![(i.saturating_sub(1) / 2, 0.25), (i.div_ceil(2).min(7), 0.75)];
    let Ok(resize) = Resize::new(8, 16, ELEMENTS / 16, taps) else { return f64::NAN };
    time(ELEMENTS, || {
        let done = resize.run(&x[..ELEMENTS / 2], out);
        debug_assert!(done.is_ok(), "{done:?}");
    })
}

fn attention(x: &[f32], out: &mut [f32]) -> f64 {
    let (seq, d) = (128, 32);
    let layout = Layout::heads_first(1, seq, d);
    let exact = Attention {
        batch: 1,
        heads: 1,
        kv_heads: 1,
        seq_q: seq,
        seq_k: seq,
        d,
        d_v: d,
        scale: 0.2,
        causal: false,
        zero_hidden: false,
        mask: Mask::None,
        q: layout,
        k: layout,
        v: layout,
        out: layout,
    };
    if exact.check().is_err() {
        return f64::NAN;
    }
    let p = x.as_ptr();
    let operands = Operands { q: p, k: p, v: p, mask: std::ptr::null(), out: out.as_mut_ptr() };
    time(seq * seq, || {
        // SAFETY: the shapes were checked; every operand is 128 x 32 floats of the
        // 2^14 there are, and the result is memory of its own.
        let done = unsafe { exact.run(Scoring::Exact, operands) };
        debug_assert!(done.is_ok(), "{done:?}");
    })
}

/// The bound in ULP that the tests hold `f` to, and the absolute error that is
/// allowed instead.
pub fn unary_bound(f: Unary) -> (u32, f64) {
    use Unary::*;
    match f {
        Neg | Abs | Sign | Floor | Ceil | Round | Trunc | Sqrt | Relu | Recip | Not | IsNan | IsInf => (0, 0.0),
        Rsqrt | Exp | Log | Sin | Cos | Erf => (1, 0.0),
        Expm1 | Log1p | Tanh | Sigmoid | Softplus => (2, 0.0),
        Asin | Acos | Atan | Sinh | Cosh | Tan | Silu => (3, 0.0),
        Asinh | Acosh | Atanh => (4, 0.0),
        GeluErf | GeluTanh => (4, 1e-7),
    }
}

fn unary_accuracy(f: Unary) -> &'static str {
    match unary_bound(f) {
        (0, _) => "exact",
        (1, _) => "1 ULP",
        (2, _) => "2 ULP",
        (3, _) => "3 ULP",
        (_, 0.0) => "4 ULP",
        _ => "4 ULP or 1e-7",
    }
}

fn binary_accuracy(f: Binary) -> &'static str {
    match f {
        Binary::Pow => "2 ULP",
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Mod => "correctly rounded",
        _ => "exact",
    }
}
