//! Constants in blocks beside their numbers by the definition.

use super::*;
use crate::ir::{Constant, DType, Graph, Scalar, parse, parse_with, print};

/// Bytes without a pattern, scales among them small.
fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| ((i * 7919 + i / 256 * 31) % 251) as u8 & 0xbf).collect()
}

fn ggml(format: BlockFormat, rows: usize, blocks: usize) -> Constant {
    let (len, bytes) = (blocks * format.len(), bytes(rows * blocks * format.bytes()));
    let blocks = Blocks::new(format, [rows, len], bytes.into()).unwrap();
    Constant::of_blocks(vec![rows, len], blocks).unwrap()
}

#[test]
fn the_numbers_of_a_block_are_those_of_its_formula() {
    // d = 0.5, codes 0 to 15 in the low halves and 15 to 0 in the high ones.
    let mut block = vec![0x00, 0x38];
    block.extend((0..16u8).map(|i| i | (15 - i) << 4));
    let c = Blocks::new(BlockFormat::Q4_0, [1, 32], block.into()).unwrap();
    let c = Constant::of_blocks(vec![32], c).unwrap();
    let want: Vec<f32> = (0..16).chain((0..16).rev()).map(|i| 0.5 * (i - 8) as f32).collect();
    assert_eq!(c.to_f32s().unwrap(), want);
    assert_eq!(c.get(31), Some(Scalar::f32(-4.0)));
    assert_eq!(c.get(32), None);
}

#[test]
fn elements_are_what_is_got_one_by_one() {
    for &format in BlockFormat::GGML {
        let c = ggml(format, 3, 2);
        let all = c.to_f32s().unwrap();
        assert_eq!(all.len(), 3 * 2 * format.len());
        assert_eq!(c.bytes().unwrap(), c.elements().unwrap());
        for (i, v) in all.iter().enumerate() {
            assert_eq!(c.get(i).unwrap().to_f64() as f32, *v, "{format} {i}");
        }
        let flat = c.reshaped(vec![all.len()]).unwrap();
        assert_eq!((flat.to_f32s().unwrap(), flat.hash()), (all, c.hash()));
        assert!(flat.reshaped(c.shape().to_vec()).unwrap().same(&c) && c.same(&ggml(format, 3, 2)));
        assert!(!c.same(&Constant::f32s(c.shape(), &c.to_f32s().unwrap()).unwrap()));
        assert_eq!(c.as_splat(), None);
    }
}

#[test]
fn integers_less_their_zero_point_times_a_scale() {
    // Rows that end within a block, of two blocks each.
    let (rows, len) = (3, 21);
    for bits in [2, 4, 8] {
        let format = Nbits::new(bits, 16).unwrap();
        let codes = bytes(rows * 2 * format.bytes());
        let code = |row: usize, k: usize| {
            let at = k % 16 * bits;
            let byte = codes[(row * 2 + k / 16) * format.bytes() + at / 8];
            u32::from(byte >> (at % 8)) & ((1 << bits) - 1)
        };
        let scales: Vec<f32> = (0..rows * 2).map(|i| 0.25 * (i + 1) as f32).collect();
        let packed_len = (2 * bits).div_ceil(8);
        let packed = bytes(rows * packed_len);
        let zero = |row: usize, block: usize| {
            u32::from(packed[row * packed_len + block * bits / 8] >> (block * bits % 8)) & ((1 << bits) - 1)
        };
        let floats: Vec<f32> = (0..rows * 2).map(|i| i as f32 + 0.5).collect();
        let f32s = |v: &[f32]| Constant::f32s([v.len()], v).unwrap();
        let u8s = |v: &[u8]| Constant::new(DType::U8, vec![v.len()], v.to_vec().into()).unwrap();
        type Zero<'a> = (Option<Constant>, &'a dyn Fn(usize, usize) -> f32);
        let ways: [Zero; 3] = [
            (None, &|_, _| (1 << (bits - 1)) as f32),
            (Some(u8s(&packed)), &|row, block| zero(row, block) as f32),
            (Some(f32s(&floats)), &|row, block| floats[row * 2 + block]),
        ];
        for (zeros, zero) in ways {
            let blocks = Blocks::nbits(format, [rows, len], u8s(&codes), f32s(&scales), zeros).unwrap();
            let c = Constant::of_blocks(vec![rows, len], blocks).unwrap();
            let number = |i: usize| {
                let (row, k) = (i / len, i % len);
                (code(row, k) as f32 - zero(row, k / 16)) * scales[row * 2 + k / 16]
            };
            assert_eq!(c.to_f32s().unwrap(), (0..rows * len).map(number).collect::<Vec<_>>(), "{bits}");
            assert_eq!(c.get(len + 20).unwrap().to_f64() as f32, number(len + 20));
        }
    }
}

#[test]
fn scales_of_half_precision_are_read_where_they_lie() {
    let format = Nbits::new(4, 16).unwrap();
    let u8s = |v: Vec<u8>| Constant::new(DType::U8, vec![v.len()], v.into()).unwrap();
    for (dtype, one_and_a_half) in [(DType::F16, 0x3e00u16), (DType::BF16, 0x3fc0)] {
        let scale = Constant::new(dtype, vec![1], one_and_a_half.to_le_bytes().to_vec().into()).unwrap();
        let blocks = Blocks::nbits(format, [1, 16], u8s(vec![0x9a; 8]), scale, None).unwrap();
        let c = Constant::of_blocks(vec![1, 16], blocks).unwrap();
        assert_eq!(c.to_f32s().unwrap(), [3.0, 1.5].repeat(8));
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let new = |format, shape, n: usize| Blocks::new(format, shape, vec![0; n].into()).map(|_| ()).unwrap_err();
    let q4 = BlockFormat::Q4_0;
    assert_eq!(new(q4, [2, 33], 36), BlockError::Row { row: 33, format: q4 });
    assert_eq!(new(q4, [2, 32], 35), BlockError::Length { part: "blocks", got: 35, want: 36 });
    assert_eq!(new(q4, [usize::MAX, 64], 35), BlockError::TooLarge { rows: usize::MAX, row: 64 });
    let format = Nbits::new(4, 32).unwrap();
    assert_eq!(new(BlockFormat::Nbits(format), [1, 32], 16), BlockError::Scales { format: BlockFormat::Nbits(format) });

    let of = |dtype: DType, n: usize| Constant::new(dtype, vec![n], vec![0; n * dtype.size()].into()).unwrap();
    let nbits = |codes, scales, zeros| Blocks::nbits(format, [2, 70], codes, scales, zeros).map(|_| ());
    let (codes, scales) = (of(DType::U8, 96), of(DType::F32, 6));
    assert!(nbits(codes.clone(), scales.clone(), None).is_ok());
    assert!(nbits(codes.clone(), scales.clone(), Some(of(DType::U8, 4))).is_ok());
    let wrong = [
        (nbits(of(DType::U8, 95), scales.clone(), None), "codes: 95 elements where 96 are needed"),
        (nbits(of(DType::I8, 96), scales.clone(), None), "codes are of i8, not of u8"),
        (nbits(codes.clone(), of(DType::F32, 5), None), "scales: 5 elements where 6 are needed"),
        (nbits(codes.clone(), of(DType::F64, 6), None), "scales are of f64, not of f32, f16 or bf16"),
        (nbits(codes.clone(), scales.clone(), Some(of(DType::U8, 6))), "zero points: 6 elements where 4 are needed"),
        (nbits(codes, scales, Some(of(DType::F16, 6))), "zero points are of f16, not of u8 or the dtype of scales"),
    ];
    for (result, want) in wrong {
        assert_eq!(result.unwrap_err().to_string(), want);
    }
    for (bits, len) in [(3, 32), (4, 8), (4, 24), (4, 512), (4, 0), (0, 32), (8, usize::MAX), (4, 1 << 40)] {
        assert_eq!(Nbits::new(bits, len), None, "{bits} {len}");
    }
    assert!(Constant::of_blocks(vec![2, 31], Blocks::new(q4, [2, 32], vec![0; 36].into()).unwrap()).is_none());
}

#[test]
fn text_has_the_format_and_reads_back() {
    let format = Nbits::new(4, 32).unwrap();
    let all = BlockFormat::GGML.iter().copied().chain([BlockFormat::Nbits(format)]);
    for format in all {
        assert_eq!(format.to_string().parse(), Ok(format));
        let c = match format {
            BlockFormat::Nbits(n) => {
                let codes = Constant::new(DType::U8, vec![32], bytes(32).into()).unwrap();
                let blocks = Blocks::nbits(n, [2, 32], codes, Constant::f32s([2], &[0.5, 2.0]).unwrap(), None);
                Constant::of_blocks(vec![2, 32], blocks.unwrap()).unwrap()
            }
            _ => ggml(format, 2, 1),
        };
        let mut g = Graph::new("g");
        let v = g.add_const("w", c.clone());
        g.add_output("w", v).unwrap();
        let text = print(&g);
        assert!(text.contains(&format!("const @w : {} {format} {:08x}\n", c.ty(), c.hash())), "{text}");
        let read = parse(&text).unwrap();
        assert_eq!(print(&read), text);
        let w = read.constant(read.find("w").unwrap()).unwrap();
        assert_eq!((w.block_format(), w.has_values()), (Some(format), false));
        let supplied = parse_with(&text, &|_, hash| (hash == c.hash()).then(|| c.clone())).unwrap();
        assert!(supplied.constant(v).unwrap().same(&c));
        let plain = Constant::f32s(c.shape(), &c.to_f32s().unwrap()).unwrap();
        let wrong = parse_with(&text, &|_, _| Some(plain.clone())).unwrap_err().to_string();
        assert!(wrong.contains(&format!("@w: {} was supplied for {} {format}", c.ty(), c.ty())), "{wrong}");
    }
    let wrong = parse("graph @g {\n  const @w : i8[2, 32] q4_0 00000000\n  out @w\n}\n").unwrap_err().to_string();
    assert!(wrong.contains("@w: blocks of q4_0 are f32, not i8"), "{wrong}");
    for word in ["u3x32", "u4x33", "u04x32", "u4x", "q4_2"] {
        assert_eq!(word.parse::<BlockFormat>(), Err(()), "{word}");
    }
    // Few numbers are not shown: their blocks would be lost.
    let codes = Constant::new(DType::U8, vec![8], bytes(8).into()).unwrap();
    let blocks = Blocks::nbits(Nbits::new(4, 16).unwrap(), [1, 4], codes, Constant::f32s([1], &[1.0]).unwrap(), None);
    assert!(!Constant::of_blocks(vec![1, 4], blocks.unwrap()).unwrap().is_inline());
}
