//! Rows times packed weights beside `rten-gemm`, which packs them too, and `gemm` through burn-flex, which cannot.
//!
//! ```text
//! cargo bench --bench linear                     # one thread
//! RAYON_NUM_THREADS=2 cargo bench --bench linear
//! BGZ_ISA=avx2 cargo bench --bench linear -- 128x384x1536
//! ```
//!
//! Named by rows x depth x width: the linear layers of MiniLM at some lengths, and one row of a language model.
//! Throughput is in elements that are multiplied and added: twice as many floating-point operations.

use bgz_fusion::kernels::{Isa, linear::Packed};
use burn_backend::TensorData;
use burn_backend::ops::FloatTensorOps;
use burn_flex::Flex;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::{Matrix, NdTensorView};
use std::hint::black_box;

const WEIGHTS: [[usize; 2]; 3] = [[384, 384], [384, 1536], [1536, 384]];
const ROWS: [usize; 4] = [16, 64, 128, 512];
const DECODE: [usize; 3] = [1, 640, 2048];

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 1009) as f32 / 1000.0 - 0.5).collect()
}

fn product(c: &mut Criterion, [rows, depth, width]: [usize; 3]) {
    let (x, w, bias) = (numbers(rows * depth), numbers(depth * width), numbers(width));
    let mut out = vec![0.0f32; rows * width];
    let mut group = c.benchmark_group(format!("{rows}x{depth}x{width}"));
    group.throughput(Throughput::Elements((rows * depth * width) as u64)).sample_size(20);

    let packed = Packed::new(&w, depth, width, false).expect("lengths that fit");
    group.bench_function("packed", |b| {
        b.iter(|| packed.apply(black_box(&x), Some(&bias), black_box(&mut out)).expect("lengths that fit"));
    });

    let gemm = GemmExecutor::<f32>::new();
    let library = gemm.prepack_b(NdTensorView::from_data([depth, width], &w[..]));
    group.bench_function("rten-gemm", |b| {
        b.iter(|| {
            let options = GemmOptions { bias: Some(BiasVector::Row(&bias)), ..GemmOptions::default() };
            let rows = GemmInputA::Unpacked(Matrix::from_data([rows, depth], black_box(&x[..])));
            gemm.gemm(black_box(&mut out), rows, GemmInputB::Packed(&library), options).expect("shapes that fit");
        });
    });

    let device = burn_backend::tensor::Device::<Flex>::default();
    let tensor = |values: Vec<f32>, shape: [usize; 2]| Flex::float_from_data(TensorData::new(values, shape), &device);
    let (x, w, bias) = (tensor(x, [rows, depth]), tensor(w, [depth, width]), tensor(bias, [1, width]));
    group.bench_function("burn-flex", |b| {
        b.iter(|| black_box(Flex::float_add(Flex::float_matmul(x.clone(), w.clone()), bias.clone())));
    });
}

fn benches(c: &mut Criterion) {
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("no pool was made before");
    }
    println!("instruction set: {}", Isa::detect().expect("BGZ_ISA names what this host has"));
    for rows in ROWS {
        for [depth, width] in WEIGHTS {
            product(c, [rows, depth, width]);
        }
    }
    product(c, DECODE);
}

criterion_group!(group, benches);
criterion_main!(group);
