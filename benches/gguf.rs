//! GGUF tensors to f32, type by type, beside a copy of as many f32; and whole files beside a plain read of them: one of Q4_K that is
//! made up, and Gemma's where `models/fetch.sh gemma` has got it.
//!
//! ```text
//! cargo bench --bench gguf                       # one thread
//! RAYON_NUM_THREADS=2 cargo bench --bench gguf
//! BGZ_ISA=avx2 cargo bench --bench gguf -- Q4_K
//! ```
//!
//! Ways take turns, and a filter is a part of a name (`interleaved/mod.rs`).

#[path = "../tests/support/gguf.rs"]
mod support;

use bgz_fusion::gguf::{GgmlType, Gguf};
use bgz_fusion::kernels::Isa;
use interleaved::{Args, Section, Way};
use std::hint::black_box;
use std::path::Path;

mod interleaved;

/// Elements in the L2 cache, and far beyond every cache.
const SIZES: [usize; 2] = [1 << 16, 1 << 24];

/// Bytes of blocks. No scale is infinite or a NaN, since no byte is above 0x3b.
fn blocks(ty: GgmlType, elements: usize) -> Vec<u8> {
    let bytes = ty.bytes_of(elements).expect("whole blocks");
    (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 & 0x3b).collect()
}

fn dequantise(args: &Args) {
    let mut section = Section::new(args, ("ps an f32", 1e-12), &["memcpy"]);
    for n in SIZES {
        for &ty in GgmlType::ALL.iter().filter(|t| t.is_dequantised()) {
            let name = format!("{}, {n} elements", ty.name());
            if !args.want(&name) {
                continue;
            }
            let (x, mut copy, mut out) = (vec![1.5f32; n], vec![0.0f32; n], vec![0.0f32; n]);
            let bytes = support::file(&[("t", &[256, n as u64 / 256], ty.id(), &blocks(ty, n))]);
            let file = Gguf::from_bytes(bytes).expect("it is read");
            let tensor = file.tensor("t").expect("it is there");
            let ways = vec![
                Way::new("memcpy", || black_box(&mut copy).copy_from_slice(black_box(&x))),
                Way::new("to f32", || tensor.read_rows(0..tensor.rows(), black_box(&mut out)).expect("it is read")),
            ];
            section.compare(name, n, ways);
        }
    }
    section.print();
}

/// A file of 75 MB of Q4_K in 16 tensors.
fn made_up() -> Vec<u8> {
    let n = 1 << 23;
    let data = blocks(GgmlType::Q4_K, n);
    let names: Vec<String> = (0..16).map(|i| format!("blk.{i}.weight")).collect();
    let dims = [4096, n as u64 / 4096];
    let tensors: Vec<(&str, &[u64], u32, &[u8])> =
        names.iter().map(|name| (name.as_str(), &dims[..], GgmlType::Q4_K.id(), &data[..])).collect();
    support::file(&tensors)
}

/// A file that the system has in memory: read as it is, opened, and every tensor of it as f32, one at a time.
fn load(section: &mut Section, name: String, path: &Path) {
    let file = Gguf::open(path).expect("it is read");
    let values = |file: &Gguf| file.tensors().map(|t| t.shape().iter().product::<usize>()).collect::<Vec<_>>();
    let all = values(&file);
    let mut out = vec![0.0f32; all.iter().copied().max().unwrap_or(0)];
    let bytes = std::fs::metadata(path).expect("it is there").len();
    println!("{name}: {} MB, {} tensors, {} MB as f32", bytes >> 20, all.len(), (all.iter().sum::<usize>() * 4) >> 20);
    let ways = vec![
        Way::new("plain read", || drop(black_box(std::fs::read(path).expect("it is read")))),
        Way::new("open", || drop(black_box(Gguf::open(path).expect("it is read")))),
        Way::new("open, every tensor as f32 in a buffer", || {
            let file = Gguf::open(path).expect("it is read");
            for tensor in file.tensors() {
                let n = tensor.shape().iter().product();
                tensor.read_rows(0..tensor.rows(), black_box(&mut out[..n])).expect("it is read");
            }
        }),
        Way::new("open, every tensor as f32 in new memory", || {
            let file = Gguf::open(path).expect("it is read");
            for tensor in file.tensors() {
                drop(black_box(tensor.to_f32().expect("it is read")));
            }
        }),
    ];
    section.compare(name, 1, ways);
}

fn main() {
    let args = Args::read();
    let threads = interleaved::threads();
    println!("{}, {threads} threads", Isa::detect().expect("BGZ_ISA names what this host has"));
    dequantise(&args);
    let mut section = Section::new(&args, ("ms", 1e-3), &["plain read"]);
    if args.want("a file of Q4_K") {
        let path = std::env::temp_dir().join(format!("bgz-bench-{}.gguf", std::process::id()));
        std::fs::write(&path, made_up()).expect("a file");
        load(&mut section, "a file of Q4_K".into(), &path);
        std::fs::remove_file(&path).expect("it was written above");
    }
    let gemma = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fetched/gemma.gguf");
    if args.want("gemma.gguf") {
        if gemma.exists() {
            load(&mut section, "gemma.gguf".into(), &gemma);
        } else {
            println!("LEFT OUT: gemma.gguf is not in models/fetched");
        }
    }
    section.print();
}
