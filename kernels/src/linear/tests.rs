//! Products against plain loops, on every instruction set of the host.

use super::float::Piece;
use super::*;
use crate::Isa;
use crate::isa::forced;
use crate::simd;
use crate::tile::Bf16;
use bgz_passes::ir::{BlockFormat, BlockRows, Blocks, Constant, DType, Nbits};
use half::bf16;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Numbers whose sums of products are exact, so that every order of summing gives the same.
fn whole(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i + seed) * 7919 % 31) as f32 - 15.0).collect()
}

fn naive(x: &[f32], w: &[f32], bias: Option<&[f32]>, [rows, depth, width]: [usize; 3]) -> Vec<f32> {
    let element = |i: usize| {
        let (row, column) = (i / width, i % width);
        let sum: f32 = (0..depth).map(|k| x[row * depth + k] * w[k * width + column]).sum();
        sum + bias.map_or(0.0, |b| b[column])
    };
    (0..rows * width).map(element).collect()
}

fn transpose(w: &[f32], depth: usize, width: usize) -> Vec<f32> {
    (0..w.len()).map(|i| w[i % depth * width + i / depth]).collect()
}

fn check(shape @ [rows, depth, width]: [usize; 3], with_bias: bool, transposed: bool) {
    let (x, w, bias) = (whole(rows * depth, 1), whole(depth * width, 2), whole(width, 3));
    let bias = with_bias.then_some(&bias[..]);
    let want = naive(&x, &w, bias, shape);
    let given = if transposed { transpose(&w, depth, width) } else { w };
    forced::on_each(|| {
        for float in [Float::F32, Float::Bf16] {
            let packed = Packed::new(Weights::new(&given, depth, width).transposed(transposed), float).unwrap();
            for (way, out) in in_every_way(&packed, (&x, depth), bias, rows) {
                assert_eq!(out, want, "{shape:?} {float:?} {way}");
            }
        }
    });
}

/// The result of `packed`, and for bf16 where there is AVX-512 that with an instruction for products of bf16: that of
/// the CPU if it has one, fast or not, and one that is put together of others.
fn in_every_way(packed: &Packed, x: (&[f32], usize), bias: Option<&[f32]>, rows: usize) -> Vec<(String, Vec<f32>)> {
    let isa = Isa::current();
    let mut out = vec![f32::NAN; rows * packed.width()];
    packed.apply_apart(x, bias, &mut out).unwrap();
    let mut ways = vec![(isa.to_string(), out.clone())];
    #[cfg(target_arch = "x86_64")]
    if packed.float() == Float::Bf16 && isa == Isa::Avx512 {
        let mut way = |name: &str, run: fn(Piece<'_, Bf16>) -> Option<()>| {
            out.fill(f32::NAN);
            let lacks = AtomicBool::new(false);
            let branches = &mut [Branch::new(packed, bias, &mut out)];
            let done = Packed::branches_by(x, branches, &|job, start, end| {
                lacks.fetch_or(run(Piece::new(job, start, end)).is_none(), Ordering::Relaxed);
            });
            done.unwrap();
            if lacks.into_inner() {
                println!("SKIPPED {name}: this CPU lacks it");
            } else {
                ways.push((name.into(), out.clone()));
            }
        };
        way("the instruction for bf16", |piece| simd::run_instruction_bf16(piece));
        way("an instruction put together", |piece| simd::run_emulated_bf16(piece));
    }
    ways
}

#[test]
fn numbers_are_rounded_to_bf16_and_nothing_else_is() {
    let [rows, depth, width] = [13, 77, 40];
    let (x, w, bias) = (noise(rows * depth, 1), noise(depth * width, 2), noise(width, 3));
    let rounded = |v: &[f32]| v.iter().map(|&x| bf16::from_f32(x).to_f32()).collect::<Vec<_>>();
    let want = naive(&rounded(&x), &rounded(&w), Some(&bias), [rows, depth, width]);
    let unrounded = naive(&x, &w, Some(&bias), [rows, depth, width]);
    let off = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    forced::on_each(|| {
        let packed = Packed::new(Weights::new(&w, depth, width), Float::Bf16).unwrap();
        for (way, out) in in_every_way(&packed, (&x, depth), Some(&bias), rows) {
            assert!(off(&out, &want) < 1e-5, "{way}: {}", off(&out, &want));
            assert!((1e-3..0.1).contains(&off(&out, &unrounded)), "{way}: {}", off(&out, &unrounded));
        }
    });
    let halves = Packed::new(Weights::new(&w, depth, width), Float::Bf16).unwrap().bytes();
    let whole = Packed::new(Weights::new(&w, depth, width), Float::F32).unwrap().bytes();
    assert!((0.5..0.52).contains(&(halves as f64 / whole as f64)), "{halves} of {whole}");
}

#[test]
fn products_of_every_tile_and_rest() {
    for rows in (0..=30).chain([64, 100]) {
        check([rows, 9, 70], true, false);
    }
    for width in [0, 1, 2, 3, 8, 15, 16, 17, 31, 32, 33, 48, 50, 64, 95, 96] {
        check([5, 7, width], true, true);
    }
}

#[test]
fn products_of_no_depth_are_the_bias() {
    check([3, 0, 40], true, false);
    check([3, 0, 40], false, true);
}

#[test]
fn rows_that_would_share_sets_of_the_cache_are_copied() {
    check([20, 512, 33], true, false);
    check([4, 1024, 33], false, true);
}

#[test]
fn rows_that_overlap_or_lie_apart() {
    let [rows, depth, width] = [40, 12, 35];
    for apart in [0, 1, 5, 12, 20, 512] {
        let (x, w) = (whole((rows - 1) * apart + depth, 1), whole(depth * width, 2));
        let cut: Vec<f32> = (0..rows).flat_map(|r| x[r * apart..][..depth].to_vec()).collect();
        let want = naive(&cut, &w, None, [rows, depth, width]);
        forced::on_each(|| {
            for float in [Float::F32, Float::Bf16] {
                let packed = Packed::new(Weights::new(&w, depth, width), float).unwrap();
                for (way, out) in in_every_way(&packed, (&x, apart), None, rows) {
                    assert_eq!(out, want, "{apart} apart, {float:?} {way}");
                }
            }
        });
    }
    let packed = Packed::new(Weights::new(&[1.0; 6], 2, 3), Float::F32).unwrap();
    let error = packed.apply_apart((&[0.0; 5], 4), None, &mut [0.0; 6]).unwrap_err();
    assert_eq!(error, LinearError::Length { name: "x", got: 5, want: 6 });
}

#[test]
fn several_groups_of_rows() {
    check([90, 3200, 40], true, false);
}

#[test]
fn a_product_is_the_same_bits_whatever_is_beside_it_and_however_it_is_cut() {
    let [rows, depth, width] = [150, 700, 200];
    let (x, w, bias) = (noise(rows * depth, 1), noise(depth * width, 2), noise(width, 3));
    let pool = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for float in [Float::F32, Float::Bf16] {
        let packed = Packed::new(Weights::new(&w, depth, width), float).unwrap();
        let run = |threads: usize| {
            let mut out = vec![0.0; rows * width];
            pool(threads).install(|| packed.apply(&x, Some(&bias), &mut out)).unwrap();
            out
        };
        let all = run(1);
        assert_eq!(all, run(3));
        let mut one = vec![0.0; width];
        packed.apply(&x[77 * depth..78 * depth], Some(&bias), &mut one).unwrap();
        assert_eq!(one, all[77 * width..78 * width]);
    }
}

#[test]
fn what_is_not_a_number_stays_in_its_row_and_column() {
    forced::on_each(|| {
        let (mut x, mut w) = (whole(3 * 5, 1), whole(5 * 3, 2));
        (x[5], w[1]) = (f32::INFINITY, f32::NAN);
        for float in [Float::F32, Float::Bf16] {
            let packed = Packed::new(Weights::new(&w, 5, 3), float).unwrap();
            for (way, out) in in_every_way(&packed, (&x, 5), None, 3) {
                let finite: Vec<bool> = out.iter().map(|v| v.is_finite()).collect();
                assert_eq!(finite, [true, false, true, false, false, false, true, false, true], "{float:?} {way}");
            }
        }
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    let long = |name, got, want| Err(LinearError::Length { name, got, want });
    assert_eq!(Packed::new(Weights::new(&[0.0; 5], 2, 3), Float::Bf16).map(|_| ()), long("weights", 5, 6));
    let packed = Packed::new(Weights::new(&[0.0; 6], 2, 3), Float::F32).unwrap();
    let mut out = [0.0; 6];
    assert_eq!(packed.apply(&[0.0; 4], None, &mut out[..5]), long("out", 5, 3));
    assert_eq!(packed.apply(&[0.0; 5], None, &mut out), long("x", 5, 4));
    assert_eq!(packed.apply(&[0.0; 4], Some(&[0.0; 2]), &mut out), long("bias", 2, 3));
    let huge = Packed::new(Weights::new(&[], 0, usize::MAX), Float::F32).map(|_| ());
    assert_eq!(huge, Err(LinearError::TooLarge { depth: 0, width: usize::MAX }));
}

/// Block-encoded numbers `[width, depth]` without infinities, and the same as f32.
fn encoded(format: BlockFormat, [depth, width]: [usize; 2]) -> (BlockRows, Vec<f32>) {
    // Without their second highest bit scales are small, be they f16 or f32.
    let bytes = |n: usize| -> Vec<u8> { (0..n).map(|i| ((i * 7919 + i / 256 * 31) % 251) as u8 & 0xbf).collect() };
    let blocks = depth.div_ceil(format.len());
    let codes = bytes(width * blocks * format.bytes());
    let blocks = match format {
        BlockFormat::Nbits(nbits) => {
            let u8s = |v: Vec<u8>| Constant::new(DType::U8, vec![v.len()], v.into()).unwrap();
            let scales = Constant::f32s([width * blocks], &noise(width * blocks, 7)).unwrap();
            // Each way that zero points come in.
            let zeros = match nbits.bits() {
                2 => Some(Constant::f32s([width * blocks], &noise(width * blocks, 8)).unwrap()),
                4 => Some(u8s(bytes(width * nbits.zero_point_bytes(blocks)))),
                _ => None,
            };
            Blocks::nbits(nbits, [width, depth], u8s(codes), scales, zeros).unwrap()
        }
        _ => Blocks::new(format, [width, depth], codes.into()).unwrap(),
    };
    let rows = blocks.read().unwrap();
    (rows, Constant::of_blocks(vec![width, depth], blocks).unwrap().to_f32s().unwrap())
}

fn block_formats() -> impl Iterator<Item = BlockFormat> {
    let nbits = [(2, 16), (4, 16), (4, 32), (4, 256), (8, 64)];
    let nbits = nbits.map(|(bits, len)| BlockFormat::Nbits(Nbits::new(bits, len).unwrap()));
    BlockFormat::GGML.iter().copied().chain(nbits)
}

#[test]
fn products_with_blocks_have_the_bits_of_those_with_f32() {
    let pool = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let pools = [pool(1), pool(2)];
    for format in block_formats() {
        let whole = format.len();
        // Integers may end within a block; one part of the depth, several, and rows that lie as far apart as is copied.
        let depths = match format {
            BlockFormat::Nbits(_) => vec![5, whole, 256 + 37, 1024],
            _ => vec![whole, 3 * whole, 512 + whole],
        };
        for depth in depths {
            for width in [1, 31, 70] {
                let (blocks, numbers) = encoded(format, [depth, width]);
                let bias = noise(width, 3);
                forced::on_each(|| {
                    let whole = Packed::new(Weights::new(&numbers, depth, width).transposed(true), Float::F32).unwrap();
                    let packed = Packed::of_blocks(blocks.clone()).unwrap();
                    assert!(packed.is_blocks() && !whole.is_blocks());
                    assert_eq!((packed.depth(), packed.width()), (depth, width));
                    for (rows, bias) in [(0, None), (1, Some(&bias[..])), (3, None), (17, Some(&bias[..])), (140, None)]
                    {
                        let x = noise(rows * depth, 1);
                        let (mut got, mut want) = (vec![f32::NAN; rows * width], vec![f32::NAN; rows * width]);
                        whole.apply(&x, bias, &mut want).unwrap();
                        assert!(want.iter().all(|v| v.is_finite()), "{format}");
                        for pool in &pools {
                            got.fill(f32::NAN);
                            pool.install(|| packed.apply(&x, bias, &mut got)).unwrap();
                            let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                            assert_eq!(bits(&got), bits(&want), "{format} {rows}x{depth}x{width}");
                        }
                    }
                });
            }
        }
    }
}

#[test]
fn blocks_of_no_depth_are_the_bias() {
    let blocks = Blocks::new(BlockFormat::Q4_0, [40, 0], Vec::new().into()).unwrap().read().unwrap();
    forced::on_each(|| {
        let packed = Packed::of_blocks(blocks.clone()).unwrap();
        let (bias, mut out) = (noise(40, 1), vec![9.0; 80]);
        packed.apply(&[], Some(&bias), &mut out).unwrap();
        assert_eq!(out, bias.repeat(2));
    });
}

#[test]
fn blocks_and_f32_are_one_product() {
    let [rows, depth] = [19, 512];
    let x = noise(rows * depth, 1);
    forced::on_each(|| {
        let all: Vec<(Packed, Vec<f32>)> = [BlockFormat::Q4_0, BlockFormat::Q6_K, BlockFormat::Q8_0]
            .into_iter()
            .zip([33, 64, 5])
            .flat_map(|(format, width)| {
                let (blocks, numbers) = encoded(format, [depth, width]);
                let whole = Packed::new(Weights::new(&numbers, depth, width).transposed(true), Float::F32);
                [whole, Packed::of_blocks(blocks)].map(|packed| (packed.unwrap(), noise(width, 3)))
            })
            .collect();
        let alone = |w: &Packed, b: &[f32], out: &mut [f32]| w.apply(&x, Some(b), out).unwrap();
        together(&x, rows, &all, alone, |branches| Packed::apply_all(&x, branches).unwrap());
    });
}

/// Codes of a row or column, and what 1 stands for.
fn coded(row: &[f32]) -> (Vec<i32>, f32) {
    let most = row.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let unit = if most > 0.0 { 127.0 / most } else { 0.0 };
    (row.iter().map(|x| (x * unit).round_ties_even() as i32).collect(), most / 127.0)
}

fn noise(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i + 50 * seed) * 7919 % 2017) as f32 / 1000.0 - 1.0).collect()
}

fn check_int8([rows, depth, width]: [usize; 3], with_bias: bool, transposed: bool) {
    let (x, w, bias) = (noise(rows * depth, 1), noise(depth * width, 2), noise(width, 3));
    let bias = with_bias.then_some(&bias[..]);
    let columns: Vec<_> = transpose(&w, depth, width).chunks(depth.max(1)).map(coded).collect();
    let mut want = Vec::new();
    for row in x.chunks(depth) {
        let (row, row_scale) = coded(row);
        for (j, (column, scale)) in columns.iter().enumerate() {
            let dot: i32 = row.iter().zip(column).map(|(a, b)| a * b).sum();
            want.push(dot as f32 * row_scale * scale + bias.map_or(0.0, |b| b[j]));
        }
    }
    let given = if transposed { transpose(&w, depth, width) } else { w };
    forced::on_each_level(|level| {
        let packed = PackedInt8::new(Weights::new(&given, depth, width).transposed(transposed)).unwrap();
        let mut out = vec![f32::NAN; rows * width];
        packed.apply(&x, bias, &mut out).unwrap();
        assert_eq!(out, want, "{:?} {level}", [rows, depth, width]);
    });
}

#[test]
fn int8_products_of_every_tile_and_rest() {
    for rows in (1..=14).chain([100, 200]) {
        check_int8([rows, 9, 70], true, false);
    }
    for width in [1, 2, 3, 15, 16, 17, 31, 32, 33, 48, 95] {
        check_int8([5, 7, width], width % 2 == 0, true);
    }
    check_int8([3, 1536, 40], true, false);
}

#[test]
fn int8_products_are_near_those_of_f32() {
    let [rows, depth, width] = [20, 384, 100];
    let (x, w) = (noise(rows * depth, 1), noise(depth * width, 2));
    let want = naive(&x, &w, None, [rows, depth, width]);
    let mut out = vec![0.0; rows * width];
    PackedInt8::new(Weights::new(&w, depth, width)).unwrap().apply(&x, None, &mut out).unwrap();
    let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| x * x).sum::<f32>().sqrt();
    let error = norm(&mut out.iter().zip(&want).map(|(a, b)| a - b)) / norm(&mut want.iter().copied());
    assert!(error < 0.02, "{error}");
}

#[test]
fn int8_products_of_no_depth_no_rows_and_what_is_not_a_number() {
    forced::on_each_level(|_| {
        let none = PackedInt8::new(Weights::new(&[], 0, 3)).unwrap();
        let mut out = [9.0; 6];
        none.apply(&[], Some(&[1.0, 2.0, 3.0]), &mut out).unwrap();
        assert_eq!(out, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
        none.apply(&[], None, &mut []).unwrap();

        let packed = PackedInt8::new(Weights::new(&[1.0, f32::NAN, 3.0, 4.0, 5.0, 6.0], 2, 3)).unwrap();
        let mut out = [0.0; 9];
        packed.apply(&[1.0, 1.0, 1.0, f32::INFINITY, 1.0, 1.0], None, &mut out).unwrap();
        let finite: Vec<bool> = out.iter().map(|v| v.is_finite()).collect();
        assert_eq!(finite, [true, false, true, false, false, false, true, false, true]);
    });
}

#[test]
fn int8_weights_that_do_not_fit_are_refused() {
    let refused = |depth, width, n| PackedInt8::new(Weights::new(&vec![0.0; n], depth, width)).err().unwrap();
    assert_eq!(refused(2, 3, 5), LinearError::Length { name: "weights", got: 5, want: 6 });
    assert_eq!(refused(70_000, 1, 70_000), LinearError::TooLarge { depth: 70_000, width: 1 });
    assert_eq!(refused(0, usize::MAX, 0), LinearError::TooLarge { depth: 0, width: usize::MAX });
    let packed = PackedInt8::new(Weights::new(&[0.0; 6], 2, 3).transposed(true)).unwrap();
    let error = packed.apply(&[0.0; 4], None, &mut [0.0; 5]).unwrap_err();
    assert_eq!(error, LinearError::Length { name: "out", got: 5, want: 3 });
}

/// The results of weights for the same rows as one product, and of each alone, by `alone` and `all`.
fn together<W>(
    x: &[f32],
    rows: usize,
    weights: &[(W, Vec<f32>)],
    alone: impl Fn(&W, &[f32], &mut [f32]),
    all: impl Fn(&mut [Branch<'_, W>]),
) where
    W: Panels,
{
    let room = || weights.iter().map(|(w, _)| vec![f32::NAN; rows * w.width()]).collect::<Vec<_>>();
    let (mut want, mut got) = (room(), room());
    for ((w, bias), out) in weights.iter().zip(&mut want) {
        alone(w, bias, out);
    }
    let mut branches: Vec<_> = weights.iter().zip(&mut got).map(|((w, b), out)| Branch::new(w, Some(b), out)).collect();
    all(&mut branches);
    assert_eq!(got, want, "{} numbers, {rows} rows", x.len());
}

#[test]
fn several_weights_are_one_product_with_the_bits_of_each() {
    // The last is cut for threads, in panels and in groups of rows; 512 floats a row are copied.
    for (rows, depth, widths) in [(1, 9, [33, 1, 64]), (13, 20, [0, 70, 5]), (300, 512, [96, 40, 200])] {
        let x = noise(rows * depth, 1);
        let weights = widths.map(|width| (noise(depth * width, width), noise(width, 3)));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        forced::on_each(|| {
            for float in [Float::F32, Float::Bf16] {
                let packed = weights.clone().map(|(w, b)| {
                    let packed = Packed::new(Weights::new(&w, depth, b.len()), float).unwrap();
                    (packed, b)
                });
                let alone = |w: &Packed, b: &[f32], out: &mut [f32]| w.apply(&x, Some(b), out).unwrap();
                together(&x, rows, &packed, alone, |all| pool.install(|| Packed::apply_all(&x, all)).unwrap());
            }
        });
        forced::on_each_level(|_| {
            let packed = weights.clone().map(|(w, b)| {
                let packed = PackedInt8::new(Weights::new(&w, depth, b.len())).unwrap();
                (packed, b)
            });
            let alone = |w: &PackedInt8, b: &[f32], out: &mut [f32]| w.apply(&x, Some(b), out).unwrap();
            together(&x, rows, &packed, alone, |all| pool.install(|| PackedInt8::apply_all(&x, all)).unwrap());
        });
    }
    Packed::apply_all(&[1.0], &mut []).unwrap();
    PackedInt8::apply_all(&[1.0], &mut []).unwrap();
}

#[test]
fn weights_that_do_not_go_together_are_refused() {
    let packed = |depth, float| Packed::new(Weights::new(&vec![0.5; depth * 2], depth, 2), float).unwrap();
    let (whole, half, deep) = (packed(3, Float::F32), packed(3, Float::Bf16), packed(4, Float::F32));
    let both = |other: &Packed, rows: usize| {
        let (mut a, mut b) = ([0.0; 4], vec![0.0; 2 * rows]);
        let mut branches = [Branch::new(&whole, None, &mut a), Branch::new(other, None, &mut b)];
        Packed::apply_all(&[1.0; 6], &mut branches)
    };
    assert_eq!(both(&whole, 2), Ok(()));
    assert_eq!(both(&half, 2), Err(LinearError::Mixed));
    assert_eq!(both(&deep, 2), Err(LinearError::Length { name: "x", got: 6, want: 7 }));
    assert_eq!(both(&whole, 1), Err(LinearError::Length { name: "out", got: 2, want: 4 }));
    let (mut a, mut b) = ([0.0; 4], [0.0; 4]);
    let coded = |depth| PackedInt8::new(Weights::new(&vec![0.5; depth * 2], depth, 2)).unwrap();
    let (shallow, deep) = (coded(3), coded(4));
    let branches = &mut [Branch::new(&shallow, None, &mut a), Branch::new(&deep, None, &mut b)];
    assert!(PackedInt8::apply_all(&[1.0; 6], branches).is_err());
}

#[test]
fn weights_are_packed_from_any_address() {
    let (x, w) = (noise(3 * 7, 1), noise(7 * 40, 2));
    let bytes: Vec<u8> = w.iter().flat_map(|v| v.to_ne_bytes()).collect();
    for offset in 0..5 {
        let moved = [&vec![0; offset], &bytes[..]].concat();
        for transposed in [false, true] {
            let there = Weights::from_bytes(&moved[offset..], 7, 40).transposed(transposed);
            let here = Weights::new(&w, 7, 40).transposed(transposed);
            let [mut got, mut want] = [[f32::NAN; 120]; 2];
            for float in [Float::F32, Float::Bf16] {
                Packed::new(there, float).unwrap().apply(&x, None, &mut got).unwrap();
                Packed::new(here, float).unwrap().apply(&x, None, &mut want).unwrap();
                assert_eq!(got, want);
            }
            PackedInt8::new(there).unwrap().apply(&x, None, &mut got).unwrap();
            PackedInt8::new(here).unwrap().apply(&x, None, &mut want).unwrap();
            assert_eq!(got, want);
        }
        let cut = Weights::from_bytes(&bytes[..bytes.len() - 1], 7, 40);
        assert_eq!(cut.numbers().err(), Some(LinearError::Length { name: "weights", got: 279, want: 280 }));
    }
}

#[test]
fn weights_of_convolutions_are_packed_channels_last() {
    let [outer, channels, positions] = [40, 3, 4];
    let last = channels * positions;
    let w = noise(outer * last, 1);
    let turned: Vec<f32> =
        (0..w.len()).map(|i| w[i / last * last + i % channels * positions + i % last / channels]).collect();
    for transposed in [false, true] {
        let [depth, width] = if transposed { [last, outer] } else { [outer, last] };
        let x = noise(3 * depth, 2);
        let given = Weights::new(&w, depth, width).transposed(transposed).channels_last(channels);
        let want = Weights::new(&turned, depth, width).transposed(transposed);
        assert_eq!(given.values(), want.values());
        let [mut a, mut b] = [[f32::NAN; 120]; 2];
        let (a, b) = (&mut a[..3 * width], &mut b[..3 * width]);
        for float in [Float::F32, Float::Bf16] {
            Packed::new(given, float).unwrap().apply(&x, None, a).unwrap();
            Packed::new(want, float).unwrap().apply(&x, None, b).unwrap();
            assert_eq!(a, b);
        }
        PackedInt8::new(given).unwrap().apply(&x, None, a).unwrap();
        PackedInt8::new(want).unwrap().apply(&x, None, b).unwrap();
        assert_eq!(a, b);
    }
    let uneven = |channels| Packed::new(Weights::new(&[0.0; 8], 2, 4).channels_last(channels), Float::F32).err();
    assert_eq!(uneven(3), Some(LinearError::Length { name: "channels", got: 3, want: 4 }));
    assert_eq!(uneven(0), Some(LinearError::Length { name: "channels", got: 0, want: 4 }));
    assert_eq!(uneven(2), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn products_agree_with_a_plain_loop(
        rows in 1usize..40, depth in 1usize..80, width in 1usize..130, bias: bool, transposed: bool,
    ) {
        check([rows, depth, width], bias, transposed);
        check_int8([rows, depth, width], bias, transposed);
    }
}
