//! Scores of attention: the GEMM library beside our products in f32 and i8 and our tables, in one run; what tables cost
//! before the first score is in groups of its own.
//!
//! ```text
//! cargo bench --bench attention                # one thread
//! BGZ_ISA=avx2 cargo bench --bench attention -- 'scores, d 64'
//! ```
//!
//! Throughput is in scores, keys or queries; how long it takes does not depend on the numbers.

use bgz_fusion::kernels::trial::{Kind, MULTIPLE, Trial};
use bgz_fusion::kernels::{ByteIsa, Isa};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmUninitOptions};
use rten_tensor::NdTensorView;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::time::Duration;

const HEADS: [usize; 3] = [32, 64, 128];
const LENGTHS: [usize; 4] = [512, 2048, 4096, 16_384];
const QUERIES: usize = 4 * MULTIPLE;

fn rows(n: usize, d: usize) -> Vec<f32> {
    (0..n * d).map(|i| (i * 7919 % 4001) as f32 / 1000.0 - 2.0).collect()
}

fn product(subspaces: usize, entries: usize, adds: usize) -> Kind {
    Kind::Product { subspaces, entries, adds }
}

/// Kinds of scores for heads of `d`; the tables at 4 dims a code of 16 entries, and at 8 dims a code of more.
fn kinds(d: usize) -> Vec<(&'static str, Kind)> {
    vec![
        ("f32", Kind::F32),
        ("int8", Kind::Int8),
        ("palette", Kind::Palette),
        ("product of 16", product(d / 4, 16, 1)),
        ("product of 16, 4 added", product(d / 4, 16, 4)),
        ("product of 128", product(d / 8, 128, 1)),
        ("product of 128, 2 added", product(d / 8, 128, 2)),
        ("product of 256", product(d / 8, 256, 1)),
    ]
}

fn trial(kind: Kind, d: usize, seq: usize) -> Trial {
    let level = ByteIsa::within(Isa::detect().expect("BGZ_ISA names what this host has"));
    let mut t = Trial::new(kind, level, d, &rows(QUERIES, d), &rows(seq, d)).expect("a shape that kernels have");
    t.keys();
    t.queries();
    t
}

fn scores(c: &mut Criterion) {
    let gemm = GemmExecutor::<f32>::new();
    for d in HEADS {
        let mut group = c.benchmark_group(format!("scores, d {d}"));
        for seq in LENGTHS {
            group.throughput(Throughput::Elements((QUERIES * seq) as u64));
            let (q, k) = (rows(QUERIES, d), rows(seq, d));
            let (q, k) = (NdTensorView::from_data([QUERIES, d], &*q), NdTensorView::from_data([seq, d], &*k));
            // Packed ahead, as our keys are.
            let keys = gemm.prepack_b(k.transposed());
            let mut out = vec![MaybeUninit::new(0.0f32); QUERIES * seq];
            group.bench_function(BenchmarkId::new("rten-gemm", seq), |b| {
                b.iter(|| {
                    let (a, b) = (GemmInputA::Unpacked(black_box(q)), GemmInputB::Packed(&keys));
                    gemm.gemm_uninit(&mut out, a, b, GemmUninitOptions::default()).expect("sizes that fit").len()
                });
            });
            for (name, kind) in kinds(d) {
                let mut t = trial(kind, d, seq);
                group.bench_function(BenchmarkId::new(name, seq), |b| b.iter(|| black_box(t.scores()).len()));
            }
        }
    }
}

/// What it takes to pack or code a key, and to code a query or make its lookup row.
fn before(c: &mut Criterion) {
    const KEYS: usize = 2048;
    for d in HEADS {
        let mut group = c.benchmark_group(format!("keys, d {d}"));
        group.throughput(Throughput::Elements(KEYS as u64));
        for (name, kind) in kinds(d) {
            let mut t = trial(kind, d, KEYS);
            group.bench_function(name, |b| b.iter(|| black_box(&mut t).keys()));
        }
        group.finish();
        let mut group = c.benchmark_group(format!("queries, d {d}"));
        group.throughput(Throughput::Elements(QUERIES as u64));
        // Our f32 product takes queries as they are.
        for (name, kind) in kinds(d).into_iter().skip(1) {
            let mut t = trial(kind, d, KEYS);
            group.bench_function(name, |b| b.iter(|| black_box(&mut t).queries()));
        }
    }
}

fn benches(c: &mut Criterion) {
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("no pool was made before");
    }
    println!("instruction set: {}", ByteIsa::within(Isa::detect().expect("BGZ_ISA names what this host has")));
    scores(c);
    before(c);
}

criterion_group! {
    name = group;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700));
    targets = benches
}
criterion_main!(group);
