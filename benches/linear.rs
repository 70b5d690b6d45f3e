//! Rows times packed weights, in f32, bf16 and i8, beside `rten-gemm`, which packs them too, and `gemm` through burn-flex, which cannot.
//!
//! ```text
//! cargo bench --bench linear                     # one thread
//! RAYON_NUM_THREADS=2 cargo bench --bench linear
//! BGZ_ISA=avx2 cargo bench --bench linear -- 128x384x1536
//! ```
//!
//! Named by rows x depth x width: the linear layers of MiniLM at some lengths, and one row of a language model. Ways take
//! turns, and a filter is a part of a name (`interleaved/mod.rs`).
//!
//! `blocks 1x6912x1152` and the like are products with weights that stay in their blocks beside those of f32, with layers as
//! large as those of Gemma 3 1B, which no second-level cache holds. Bytes a weight (4 of f32, 0.5625 of Q4_0 and Q4_K, 1.0625 of Q8_0) by the
//! picoseconds printed are TB/s of weights.

use bgz_fusion::kernels::linear::{Float, Packed, PackedInt8, Weights};
use bgz_fusion::kernels::{ByteIsa, Isa};
use bgz_passes::ir::{BlockFormat, Blocks};
use burn_backend::TensorData;
use burn_backend::ops::FloatTensorOps;
use burn_flex::Flex;
use interleaved::{Args, Section, Way};
use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::{Matrix, NdTensorView};
use std::cell::RefCell;
use std::hint::black_box;

mod interleaved;

const WEIGHTS: [[usize; 2]; 3] = [[384, 384], [384, 1536], [1536, 384]];
const ROWS: [usize; 4] = [16, 64, 128, 512];
const DECODE: [usize; 3] = [1, 640, 2048];

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 1009) as f32 / 1000.0 - 0.5).collect()
}

fn product(section: &mut Section, name: String, [rows, depth, width]: [usize; 3]) {
    let (x, w, bias) = (numbers(rows * depth), numbers(depth * width), numbers(width));
    let out = RefCell::new(vec![0.0f32; rows * width]);

    let packed = |float| Packed::new(Weights::new(&w, depth, width), float).expect("lengths that fit");
    let apply = |packed: Packed| {
        let (x, bias, out) = (&x, &bias, &out);
        move || packed.apply(black_box(x), Some(bias), black_box(&mut out.borrow_mut())).expect("lengths that fit")
    };
    let int8 = PackedInt8::new(Weights::new(&w, depth, width)).expect("lengths that fit");

    let gemm = GemmExecutor::<f32>::new();
    let library = gemm.prepack_b(NdTensorView::from_data([depth, width], &w[..]));

    let device = burn_backend::tensor::Device::<Flex>::default();
    let tensor = |v: &[f32], shape: [usize; 2]| Flex::float_from_data(TensorData::new(v.to_vec(), shape), &device);
    let (fx, fw, fb) = (tensor(&x, [rows, depth]), tensor(&w, [depth, width]), tensor(&bias, [1, width]));

    let ways = vec![
        Way::new("f32", apply(packed(Float::F32))),
        Way::new("bf16", apply(packed(Float::Bf16))),
        Way::new("int8", || {
            int8.apply(black_box(&x), Some(&bias), black_box(&mut out.borrow_mut())).expect("lengths that fit");
        }),
        Way::new("rten-gemm", || {
            let options = GemmOptions { bias: Some(BiasVector::Row(&bias)), ..GemmOptions::default() };
            let rows = GemmInputA::Unpacked(Matrix::from_data([rows, depth], black_box(&x[..])));
            let done = gemm.gemm(black_box(&mut out.borrow_mut()), rows, GemmInputB::Packed(&library), options);
            done.expect("shapes that fit");
        }),
        Way::new("burn-flex", || {
            black_box(Flex::float_add(Flex::float_matmul(fx.clone(), fw.clone()), fb.clone()));
        }),
    ];
    section.compare(name, rows * depth * width, ways);
}

/// Layers about as large as those of Gemma 3 1B, of whole blocks, and rows: one token, and a prompt.
const LAYERS: [[usize; 2]; 2] = [[1280, 6912], [6912, 1152]];
const TOKENS: [usize; 2] = [1, 128];

fn blocks(section: &mut Section, name: String, [rows, depth, width]: [usize; 3]) {
    let x = numbers(rows * depth);
    let out = RefCell::new(vec![0.0f32; rows * width]);
    let in_blocks = |format: BlockFormat| {
        // No scale is infinite, since no byte is above 0x3b.
        let bytes = width * depth / format.len() * format.bytes();
        let bytes: Vec<u8> = (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 & 0x3b).collect();
        let rows = Blocks::new(format, [width, depth], bytes.into()).expect("whole blocks");
        Packed::of_blocks(rows.read().expect("it has bytes")).expect("a width that can be counted")
    };
    let w = numbers(depth * width);
    let f32 = Packed::new(Weights::new(&w, depth, width), Float::F32).expect("lengths that fit");
    let apply = |packed: Packed| {
        let (x, out) = (&x, &out);
        move || packed.apply(black_box(x), None, black_box(&mut out.borrow_mut())).expect("lengths that fit")
    };
    let ways = vec![
        Way::new("f32", apply(f32)),
        Way::new("Q4_0", apply(in_blocks(BlockFormat::Q4_0))),
        Way::new("Q8_0", apply(in_blocks(BlockFormat::Q8_0))),
        Way::new("Q4_K", apply(in_blocks(BlockFormat::Q4_K))),
    ];
    section.compare(name, depth * width, ways);
}

fn main() {
    let args = Args::read();
    let threads = interleaved::threads();
    let level = ByteIsa::within(Isa::detect().expect("BGZ_ISA names what this host has"));
    println!("{level}, {threads} threads");
    let mut section = Section::new(&args, ("ps a multiply-add", 1e-12), &["rten-gemm", "f32"]);
    let shapes = ROWS.iter().flat_map(|&rows| WEIGHTS.map(|[depth, width]| [rows, depth, width]));
    for shape in shapes.chain([DECODE]) {
        let name = shape.map(|n| n.to_string()).join("x");
        if args.want(&name) {
            product(&mut section, name, shape);
        }
    }
    section.print();
    let mut section = Section::new(&args, ("ps a weight", 1e-12), &["f32"]);
    for [depth, width] in LAYERS {
        for rows in TOKENS {
            let name = format!("blocks {rows}x{depth}x{width}");
            if args.want(&name) {
                blocks(&mut section, name, [rows, depth, width]);
            }
        }
    }
    section.print();
}
