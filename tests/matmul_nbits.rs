//! Products with weights in blocks of a few bits, as `MatMulNBits` has them: imported, and computed by the oracle.

mod onnx_build;

use bgz_passes::eval::Tensor;
use bgz_passes::ir::DType;
use onnx_build::*;

/// MatMulNBits of `x [3, 21]` and weights of 4 rows in two blocks of 16, of which the last ends after 5.
struct NBits {
    bits: i64,
    block: i64,
    code: i32,
    codes: usize,
    zeros: Option<(i32, usize)>,
}

impl NBits {
    const GOOD: Self = Self { bits: 4, block: 16, code: F32, codes: 64, zeros: Some((U8, 4)) };

    fn bytes(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 7919 % 251) as u8).collect()
    }

    /// Numbers one a block, in f32 or f16.
    fn numbers(name: &str, code: i32, values: &[f32]) -> onnx_ir::TensorProto {
        match code {
            F32 => f32s(name, &[values.len() as i64], values),
            _ => {
                let halves = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes());
                tensor(name, code, &[values.len() as i64], halves.collect())
            }
        }
    }

    fn write(&self, b: &mut Build, inputs: &str) {
        b.input("x", self.code, &["n", "21"]);
        b.graph.initializer.push(tensor("w", U8, &[self.codes as i64], Self::bytes(self.codes)));
        let scales: Vec<f32> = (0..8).map(|i| 0.25 * (i + 1) as f32).collect();
        b.graph.initializer.push(Self::numbers("s", self.code, &scales));
        b.graph.initializer.push(match self.zeros {
            Some((U8, n)) => tensor("z", U8, &[n as i64], Self::bytes(n)),
            Some((_, n)) => Self::numbers("z", self.code, &(0..n).map(|i| i as f32 + 0.5).collect::<Vec<_>>()),
            None => tensor("z", U8, &[0], Vec::new()),
        });
        b.graph.initializer.push(Self::numbers("b", self.code, &[1.0, -2.0, 3.0, -4.0]));
        let attrs = vec![int("K", 21), int("N", 4), int("bits", self.bits), int("block_size", self.block)];
        let attrs = [attrs, vec![int("accuracy_level", 4), int("weight_prepacked", 0)]].concat();
        b.node("MatMulNBits", inputs, "y", attrs).domain = "com.microsoft".into();
        b.output("y");
    }

    fn refused(&self, inputs: &str) -> String {
        refused(20, |b| self.write(b, inputs))
    }
}

#[test]
fn products_with_integers_in_blocks() {
    const F16: i32 = 10;
    let packed = [(2, U8, 4), (4, U8, 4), (8, U8, 8)].map(|(bits, code, n)| (bits, Some((code, n))));
    let floats = [2, 4, 8].map(|bits| (bits, Some((F32, 8))));
    let none = [2, 4, 8].map(|bits| (bits, None));
    for (bits, zeros) in packed.into_iter().chain(floats).chain(none) {
        for code in [F32, F16] {
            let codes = (bits * 16) as usize;
            let made = NBits { bits, code, codes, zeros, ..NBits::GOOD };
            let operands = if zeros.is_some() { "x w s z _ b" } else { "x w s _ _ b" };
            let g = graph(20, |b| made.write(b, operands));
            let x = numbers(&[3, 21]);
            let given = match code {
                F32 => x.clone(),
                _ => Tensor::new(DType::F16, vec![3, 21], x.scalars().map(|v| v.cast(DType::F16))).expect("it fits"),
            };
            let found = run(&g, &[given]).remove(0);
            let bytes = NBits::bytes(64.max(codes));
            let of_row = (2 * bits as usize).div_ceil(8);
            let integer = |bytes: &[u8], i: usize| {
                let at = i * bits as usize;
                f64::from(bytes[at / 8] >> (at % 8) & (u8::MAX >> (8 - bits)))
            };
            let weight = |row: usize, k: usize| {
                let block = row * 2 + k / 16;
                let zero = match zeros {
                    None => f64::from(1 << (bits - 1)),
                    Some((U8, n)) => integer(&NBits::bytes(n)[row * of_row..], k / 16),
                    Some(_) => block as f64 + 0.5,
                };
                (integer(&bytes[block * 2 * bits as usize..], k % 16) - zero) * 0.25 * (block + 1) as f64
            };
            let x = x.to_f64s();
            let expected: Vec<f64> = (0..12)
                .map(|i| {
                    let sum: f64 = (0..21).map(|k| x[i / 4 * 21 + k] * weight(i % 4, k)).sum();
                    sum + [1.0, -2.0, 3.0, -4.0][i % 4]
                })
                .map(|v| if code == F32 { v } else { half::f16::from_f64(v).to_f64() })
                .collect();
            close(&found, &expected);
            assert_eq!(ops(&g).contains(&"cast".to_string()), code != F32, "{g}");
            assert!(g.to_string().contains(&format!(" : f32[4, 21] u{bits}x16 ")), "{g}");
        }
    }
}

#[test]
fn integers_in_blocks_that_do_not_fit_are_refused() {
    let good = || NBits::GOOD;
    let cases = [
        (NBits { codes: 63, ..good() }.refused("x w s z"), "codes: 63 elements where 64 are needed"),
        (NBits { zeros: Some((U8, 8)), ..good() }.refused("x w s z"), "zero points: 8 elements where 4 are needed"),
        (NBits { zeros: Some((F32, 7)), ..good() }.refused("x w s z"), "zero points: 7 elements where 8 are needed"),
        (NBits { block: 24, ..good() }.refused("x w s"), "4 bits in blocks of 24 are not supported"),
        (NBits { block: i64::MAX, ..good() }.refused("x w s"), "are not supported"),
        (NBits { block: -16, ..good() }.refused("x w s"), "attribute block_size is -16, not a size"),
        (NBits { bits: 3, ..good() }.refused("x w s"), "3 bits in blocks of 16 are not supported"),
        (good().refused("x w s z b"), "operand 4 (g_idx, an order of columns) is not supported"),
        (good().refused("x x s"), "operand 1 (B) must be constant"),
        (good().refused("x w x"), "operand 2 (scales) must be constant"),
        (good().refused("x w"), "operand 2 (scales) is missing"),
        (good().refused("x w w"), "scales are of u8, not of f32, f16 or bf16"),
        (good().refused("x w s s _ s"), "N is 4, but operand 5 (bias) is f32[8]"),
    ];
    for (found, want) in cases {
        assert!(found.contains(want), "{found}\n{want}");
    }
}
