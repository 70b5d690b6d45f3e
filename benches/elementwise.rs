//! Elementwise and row kernels beside the same functions of bare burn-flex and
//! bare burn-ndarray, in one run; a copy gives the bound that memory sets.
//!
//! ```text
//! cargo bench --bench elementwise                # one thread
//! RAYON_NUM_THREADS=2 cargo bench --bench elementwise
//! BGZ_ISA=avx2 cargo bench --bench elementwise -- 'kernels'
//! python benches/elementwise_numpy.py            # numpy, one thread
//! ```

use bgz_fusion::kernels::attention::{Attention, Layout, Mask, Operands, Scoring};
use bgz_fusion::kernels::chain::{Elementwise, Program, broadcast_strides};
use bgz_fusion::kernels::{Isa, rows};
use bgz_passes::ir::{Binary, DType, Expr, Scalar, Unary};
use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_backend::tensor::{Device, FloatTensor};
use burn_backend::{Backend, TensorData};
use burn_flex::Flex;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// With its default element types, which an expression would leave open.
type NdArray = burn_ndarray::NdArray;
type Group<'a> = BenchmarkGroup<'a, criterion::measurement::WallTime>;

const SIZES: [usize; 2] = [1 << 14, 1 << 20];

fn input(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 4001) as f32 / 500.0 - 4.0).collect()
}

fn unary(f: Unary, x: Expr) -> Expr {
    Expr::Unary(f, x.into())
}

/// `round(exp(tanh(floor(a))) * 0.5 + 1)`
fn chain() -> Expr {
    let number = |x| Box::new(Expr::Literal(Scalar::f32(x)));
    let e = unary(Unary::Exp, unary(Unary::Tanh, unary(Unary::Floor, Expr::Input(0))));
    let e = Expr::Binary(Binary::Mul, e.into(), number(0.5));
    unary(Unary::Round, Expr::Binary(Binary::Add, e.into(), number(1.0)))
}

fn kernels(group: &mut Group<'_>, e: &Expr, n: usize) {
    let isa = Isa::detect().expect("BGZ_ISA names what this host has");
    let program = Program::compile_for(isa, e, &[DType::F32]).expect("f32 has every function");
    let plan = Elementwise::new(program, &[n], &[vec![1]]).expect("one contiguous operand");
    let (x, mut y) = (input(n), vec![0.0f32; n]);
    group.bench_function(BenchmarkId::new("kernels", n), |b| {
        // SAFETY: both hold n floats.
        b.iter(|| unsafe { plan.run(black_box(&[x.as_ptr().cast()]), y.as_mut_ptr().cast()) }.expect("no division"));
    });
}

fn peer<B: Backend>(group: &mut Group<'_>, name: &str, shape: &[usize], f: impl Fn(FloatTensor<B>) -> FloatTensor<B>) {
    let n: usize = shape.iter().product();
    let device = Device::<B>::default();
    let x = B::float_from_data(TensorData::new(input(n), shape.to_vec()), &device);
    group.bench_function(BenchmarkId::new(name, n), |b| b.iter(|| f(black_box(x.clone()))));
}

fn peers(
    group: &mut Group<'_>,
    shape: &[usize],
    flex: fn(FloatTensor<Flex>) -> FloatTensor<Flex>,
    ndarray: fn(FloatTensor<NdArray>) -> FloatTensor<NdArray>,
) {
    peer::<Flex>(group, "burn-flex", shape, flex);
    peer::<NdArray>(group, "burn-ndarray", shape, ndarray);
}

fn burn_chain<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let x = B::float_exp(B::float_tanh(B::float_floor(x)));
    B::float_round(B::float_add_scalar(B::float_mul_scalar(x, 0.5f32.into()), 1f32.into()))
}

fn burn_layer_norm<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let centered = B::float_sub(x.clone(), B::float_mean_dim(x, 1));
    let variance = B::float_mean_dim(B::float_mul(centered.clone(), centered.clone()), 1);
    B::float_div(centered, B::float_sqrt(B::float_add_scalar(variance, 1e-5f32.into())))
}

fn elementwise(c: &mut Criterion) {
    type Case = (
        &'static str,
        Expr,
        fn(FloatTensor<Flex>) -> FloatTensor<Flex>,
        fn(FloatTensor<NdArray>) -> FloatTensor<NdArray>,
    );
    let of = |f| unary(f, Expr::Input(0));
    let cases: [Case; 6] = [
        ("chain", chain(), burn_chain::<Flex>, burn_chain::<NdArray>),
        ("floor", of(Unary::Floor), Flex::float_floor, NdArray::float_floor),
        ("exp", of(Unary::Exp), Flex::float_exp, NdArray::float_exp),
        ("tanh", of(Unary::Tanh), Flex::float_tanh, NdArray::float_tanh),
        ("gelu", of(Unary::GeluErf), Flex::gelu, NdArray::gelu),
        ("sigmoid", of(Unary::Sigmoid), Flex::sigmoid, NdArray::sigmoid),
    ];
    for (name, e, flex, ndarray) in cases {
        let mut group = c.benchmark_group(name);
        for n in SIZES {
            group.throughput(Throughput::Elements(n as u64));
            kernels(&mut group, &e, n);
            peers(&mut group, &[n], flex, ndarray);
        }
    }
    let mut group = c.benchmark_group("copy");
    for n in SIZES {
        let (x, mut y) = (input(n), vec![0.0f32; n]);
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::new("memcpy", n), |b| {
            b.iter(|| black_box(&mut y).copy_from_slice(black_box(&x)));
        });
    }
}

fn row_functions(c: &mut Criterion) {
    let mut group = c.benchmark_group("softmax over 256");
    for n in SIZES {
        let (x, mut y) = (input(n), vec![0.0f32; n]);
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::new("kernels", n), |b| {
            b.iter(|| rows::softmax(black_box(&x), &mut y, 256, 1.0));
        });
        peers(&mut group, &[n / 256, 256], |x| Flex::softmax(x, 1), |x| NdArray::softmax(x, 1));
    }
    group.finish();

    let mut group = c.benchmark_group("LayerNorm over 384");
    for rows in [128, 2048] {
        let n = rows * 384;
        let (x, mut y) = (input(n), vec![0.0f32; n]);
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::new("kernels", n), |b| {
            b.iter(|| rows::layer_norm(black_box(&x), None, None, 1e-5, &mut y, 384));
        });
        peers(&mut group, &[rows, 384], burn_layer_norm::<Flex>, burn_layer_norm::<NdArray>);
    }
    group.finish();

    // The end of the first linear layer of a feed-forward block.
    let mut group = c.benchmark_group("gelu(x + bias) over 1536");
    let shape = [128, 1536];
    let e = unary(Unary::GeluErf, Expr::Binary(Binary::Add, Expr::Input(0).into(), Expr::Input(1).into()));
    let program = Program::compile(&e, &[DType::F32; 2]).expect("f32 has every function");
    let strides = [&shape[..], &[1536]].map(|s| broadcast_strides(s, &shape).expect("a trailing vector broadcasts"));
    let plan = Elementwise::new(program, &shape, &strides).expect("two operands");
    let (x, bias, mut y) = (input(plan.len()), input(1536), vec![0.0f32; plan.len()]);
    group.throughput(Throughput::Elements(plan.len() as u64));
    group.bench_function("kernels", |b| {
        b.iter(|| {
            // SAFETY: operands of the shapes the strides were made for.
            unsafe { plan.run(black_box(&[x.as_ptr().cast(), bias.as_ptr().cast()]), y.as_mut_ptr().cast()) }
                .expect("no division")
        });
    });
}

/// The attentions of paraphrase-MiniLM-L3-v2: 12 heads of 32.
fn attention(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention, 12 heads of 32");
    for (batch, seq) in [(1, 16), (1, 128), (8, 128), (1, 512)] {
        let layout = Layout::merged(12, seq, 32);
        let a = Attention {
            batch,
            heads: 12,
            kv_heads: 12,
            seq_q: seq,
            seq_k: seq,
            d: 32,
            d_v: 32,
            scale: 0.176_776_7,
            causal: false,
            zero_hidden: false,
            mask: Mask::Additive { strides: [seq as isize, 0, 0, 1] },
            q: layout,
            k: layout,
            v: layout,
            out: layout,
        };
        let x = input(batch * seq * 384);
        let (mask, mut y) = (vec![0.0f32; batch * seq], x.clone());
        let (q, mask) = (x.as_ptr(), mask.as_ptr().cast());
        let operands = Operands { q, k: q, v: q, mask, out: y.as_mut_ptr() };
        group.throughput(Throughput::Elements((batch * 12 * seq * seq * 64) as u64));
        group.bench_function(BenchmarkId::new("kernels", format!("{batch}x{seq}")), |b| {
            // SAFETY: every operand is as large as its layout reaches.
            b.iter(|| unsafe { a.run(Scoring::Exact, operands) }.expect("memory"));
        });
    }
}

fn benches(c: &mut Criterion) {
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("no pool was made before");
    }
    println!("instruction set: {}", Isa::detect().expect("BGZ_ISA names what this host has"));
    elementwise(c);
    row_functions(c);
    attention(c);
}

criterion_group!(group, benches);
criterion_main!(group);
