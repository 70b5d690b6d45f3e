//! GGUF tensors to f32, type by type, beside a copy of as many f32; and a whole file beside a plain read of it.
//!
//! ```text
//! cargo bench --bench gguf                       # one thread
//! RAYON_NUM_THREADS=2 cargo bench --bench gguf
//! BGZ_ISA=avx2 cargo bench --bench gguf -- Q4_K
//! ```
//!
//! Throughput counts the f32 that are written, or the bytes of the file.

#[path = "../tests/support/gguf.rs"]
mod support;

use bgz_fusion::gguf::{GgmlType, Gguf};
use bgz_fusion::kernels::Isa;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Elements in the L2 cache, and far beyond every cache.
const SIZES: [usize; 2] = [1 << 16, 1 << 24];

/// Bytes of blocks. No scale is infinite or a NaN, since no byte is above 0x3b.
fn blocks(ty: GgmlType, elements: usize) -> Vec<u8> {
    let bytes = ty.bytes_of(elements).expect("whole blocks");
    (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 & 0x3b).collect()
}

fn dequantise(c: &mut Criterion) {
    for n in SIZES {
        let mut group = c.benchmark_group(format!("{n} elements"));
        group.throughput(Throughput::Bytes(4 * n as u64)).sample_size(20);
        let mut out = vec![0.0f32; n];
        let x = vec![1.5f32; n];
        group.bench_function("memcpy", |b| b.iter(|| black_box(&mut out).copy_from_slice(black_box(&x))));
        for &ty in GgmlType::ALL.iter().filter(|t| t.is_dequantised()) {
            let bytes = support::file(&[("t", &[256, n as u64 / 256], ty.id(), &blocks(ty, n))]);
            let file = Gguf::from_bytes(bytes).expect("it is read");
            let tensor = file.tensor("t").expect("it is there");
            group.bench_function(ty.name(), |b| {
                b.iter(|| tensor.read_rows(0..tensor.rows(), black_box(&mut out)).expect("it is read"));
            });
        }
    }
}

/// A file of 75 MB of Q4_K in 16 tensors, which the system has in memory.
fn load(c: &mut Criterion) {
    let n = 1 << 23;
    let data = blocks(GgmlType::Q4_K, n);
    let names: Vec<String> = (0..16).map(|i| format!("blk.{i}.weight")).collect();
    let dims = [4096, n as u64 / 4096];
    let tensors: Vec<(&str, &[u64], u32, &[u8])> =
        names.iter().map(|name| (name.as_str(), &dims[..], GgmlType::Q4_K.id(), &data[..])).collect();
    let path = std::env::temp_dir().join(format!("bgz-bench-{}.gguf", std::process::id()));
    let bytes = support::file(&tensors);
    std::fs::write(&path, &bytes).expect("a file");
    let mut group = c.benchmark_group("a file of Q4_K");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(10);
    group.bench_function("plain read", |b| b.iter(|| black_box(std::fs::read(&path).expect("it is read")).len()));
    group.bench_function("open", |b| b.iter(|| black_box(Gguf::open(&path).expect("it is read")).version()));
    let mut out = vec![0.0f32; n];
    group.bench_function("open, and each tensor as f32", |b| {
        b.iter(|| {
            let file = Gguf::open(&path).expect("it is read");
            for tensor in file.tensors() {
                tensor.read_rows(0..tensor.rows(), black_box(&mut out)).expect("it is read");
            }
        });
    });
    let file = Gguf::open(&path).expect("it is read");
    group.throughput(Throughput::Bytes((file.tensors().len() * n * 4) as u64));
    for name in ["f32 in a buffer", "f32 in new memory"] {
        group.bench_function(BenchmarkId::new("written", name), |b| {
            b.iter(|| {
                for tensor in file.tensors() {
                    match name {
                        "f32 in a buffer" => tensor.read_rows(0..tensor.rows(), black_box(&mut out)),
                        _ => tensor.to_f32().map(|v| drop(black_box(v))),
                    }
                    .expect("it is read");
                }
            });
        });
    }
    drop(group);
    std::fs::remove_file(&path).expect("it was written above");
}

fn benches(c: &mut Criterion) {
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("no pool was made before");
    }
    println!("instruction set: {}", Isa::detect().expect("BGZ_ISA names what this host has"));
    dequantise(c);
    load(c);
}

criterion_group!(group, benches);
criterion_main!(group);
