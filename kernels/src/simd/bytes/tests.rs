//! Every operation against plain loops, on every level of the host.

use super::*;
use crate::isa::forced::on_each_level;

/// Bytes with all values and, as 16 bits, many carries.
fn bytes(n: usize, seed: usize) -> Vec<u8> {
    (0..n).map(|i| (((i + seed) * 2_654_435_761) >> 9) as u8).collect()
}

/// Applies an operation on vectors to 64 bytes of each operand.
struct Apply<'a, F> {
    a: &'a [u8; 64],
    b: &'a [u8; 64],
    op: F,
}

/// An operation, as a name for each to be generic over the token.
#[derive(Clone, Copy, Debug)]
enum Op {
    Add8,
    Add16,
    Sub16,
    Shl16,
    Shr16,
    Max16,
    Lookup16,
    Lookup128,
    Lookup256,
}

const OPS: [Op; 9] =
    [Op::Add8, Op::Add16, Op::Sub16, Op::Shl16, Op::Shr16, Op::Max16, Op::Lookup16, Op::Lookup128, Op::Lookup256];

fn table() -> Vec<u8> {
    bytes(256, 77)
}

impl ByteKernel for Apply<'_, Op> {
    type Out = Vec<u8>;
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) -> Vec<u8> {
        let mut out = vec![0; 64];
        let table = table();
        let four = s.isplat(0x0f0f_0f0f);
        let seven = s.isplat(0x7f7f_7f7f);
        for i in (0..64).step_by(4 * S::LANES) {
            // SAFETY: 4 * LANES divides 64, and the table has 256 bytes.
            unsafe {
                let (a, b) = (s.load_bytes(self.a.as_ptr().add(i)), s.load_bytes(self.b.as_ptr().add(i)));
                let v = match self.op {
                    Op::Add8 => s.add8(a, b),
                    Op::Add16 => s.add16(a, b),
                    Op::Sub16 => s.sub16(a, b),
                    Op::Shl16 => s.shl16::<3>(a),
                    Op::Shr16 => s.shr16::<4>(a),
                    Op::Max16 => s.max16(a, b),
                    Op::Lookup16 => s.lookup16(s.table16(table.as_ptr()), s.iand(a, four)),
                    Op::Lookup128 => s.lookup128(table.as_ptr(), s.iand(a, seven)),
                    Op::Lookup256 => s.lookup256(table.as_ptr(), a),
                };
                s.store_bytes(out.as_mut_ptr().add(i), v);
            }
        }
        out
    }
}

fn expected(op: Op, a: &[u8; 64], b: &[u8; 64]) -> Vec<u8> {
    let table = table();
    let words = |f: fn(u16, u16) -> u16| {
        let word = |x: &[u8]| u16::from_le_bytes([x[0], x[1]]);
        a.chunks(2).zip(b.chunks(2)).flat_map(|(a, b)| f(word(a), word(b)).to_le_bytes()).collect()
    };
    let look = |mask: u8| a.iter().map(|&a| table[usize::from(a & mask)]).collect();
    match op {
        Op::Add8 => a.iter().zip(b).map(|(a, b)| a.wrapping_add(*b)).collect(),
        Op::Add16 => words(u16::wrapping_add),
        Op::Sub16 => words(u16::wrapping_sub),
        Op::Shl16 => words(|a, _| a << 3),
        Op::Shr16 => words(|a, _| a >> 4),
        Op::Max16 => words(u16::max),
        Op::Lookup16 => look(15),
        Op::Lookup128 => look(127),
        Op::Lookup256 => look(255),
    }
}

#[test]
fn lanes_of_bytes_and_words() {
    for seed in 0..16 {
        let a: [u8; 64] = bytes(64, seed * 64).try_into().unwrap();
        let b: [u8; 64] = if seed == 0 { [255; 64] } else { bytes(64, seed * 91 + 5).try_into().unwrap() };
        for op in OPS {
            let want = expected(op, &a, &b);
            on_each_level(|level| {
                assert_eq!(run_bytes(level, Apply { a: &a, b: &b, op }), want, "{op:?} on {level}");
            });
            #[cfg(target_arch = "x86_64")]
            if let Some(got) = avx512::emulated::run(Apply { a: &a, b: &b, op }) {
                assert_eq!(got, want, "{op:?} on emulated VBMI");
            }
        }
    }
}

/// The two vectors of a lookup of words, all parts of 64 bytes.
struct Words<'a>(&'a [u16; 256], &'a [u8; 64]);

impl ByteKernel for Words<'_> {
    type Out = [Vec<u16>; 2];
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) -> Self::Out {
        let mut out = [vec![0; 32], vec![0; 32]];
        for i in (0..64).step_by(4 * S::LANES) {
            // SAFETY: 4 * LANES divides 64, and the table has 256 numbers.
            unsafe {
                let words = s.lookup256_words(self.0.as_ptr(), s.load_bytes(self.1.as_ptr().add(i)));
                for (out, words) in out.iter_mut().zip(words) {
                    s.store_bytes(out.as_mut_ptr().add(i / 2).cast(), words);
                }
            }
        }
        out
    }
}

#[test]
fn words_of_even_and_odd_bytes() {
    let table: [u16; 256] = std::array::from_fn(|i| (i * 40_503) as u16);
    for first in (0..256).step_by(64) {
        let codes: [u8; 64] = std::array::from_fn(|i| (first + i * 37 % 64) as u8);
        let want = [0, 1].map(|odd| codes[odd..].iter().step_by(2).map(|&c| table[usize::from(c)]).collect::<Vec<_>>());
        on_each_level(|level| assert_eq!(run_bytes(level, Words(&table, &codes)), want, "{level}"));
    }
}

/// `dot4` of 64 bytes of keys with a row of 4.
struct Dot<'a>(&'a [i8; 64], [i8; 4]);

impl ByteKernel for Dot<'_> {
    type Out = Vec<i32>;
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) -> Vec<i32> {
        let keys = self.0.map(|k| (k as u8).wrapping_add(S::KEY_BIAS));
        let start = -i32::from(S::KEY_BIAS) * self.1.iter().map(|&x| i32::from(x)).sum::<i32>();
        let x = s.isplat(i32::from_le_bytes(self.1.map(|x| x as u8)));
        let mut out = vec![0; 16];
        for i in (0..64).step_by(4 * S::LANES) {
            // SAFETY: 4 * LANES divides 64.
            unsafe {
                let v = s.dot4(s.isplat(start + 7), s.load_bytes(keys.as_ptr().add(i)), x);
                s.store_bytes(out.as_mut_ptr().add(i / 4).cast(), v);
            }
        }
        out
    }
}

#[test]
fn dot4_is_exact() {
    let key: [i8; 64] = std::array::from_fn(|i| ((i * 89) % 255) as i8).map(|k| k.max(-127));
    for keys in [key, [127; 64], [-127; 64], [0; 64]] {
        for x in [[1, 2, -3, 4], [127; 4], [-127; 4], [127, -127, 127, -127], [0; 4], [-1, 0, 0, 1]] {
            let dot = |k: &[i8]| k.iter().zip(x).map(|(&k, x)| i32::from(k) * i32::from(x)).sum::<i32>() + 7;
            let want: Vec<i32> = keys.chunks(4).map(dot).collect();
            on_each_level(|level| assert_eq!(run_bytes(level, Dot(&keys, x)), want, "{level}"));
        }
    }
}

/// A square transposed, the greatest number of 16 bits, and the lowest bytes of the lanes.
struct Across<'a>(&'a [f32], &'a [u16; 32]);

impl ByteKernel for Across<'_> {
    type Out = (usize, Vec<f32>, u16, Vec<u8>);
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) -> Self::Out {
        let n = S::LANES;
        let (mut out, mut low) = (vec![-1.0; n * 20], vec![0; n]);
        // SAFETY: rows of 18 and of 20 elements, at most 16 of each; 64 bytes.
        unsafe {
            s.transpose(self.0.as_ptr(), 18, out.as_mut_ptr(), 20);
            let v = s.load_bytes(self.1.as_ptr().cast());
            s.store_u8(low.as_mut_ptr(), v);
            (n, out, s.reduce_max16(v), low)
        }
    }
}

#[test]
fn across_lanes() {
    let square: Vec<f32> = (0..16 * 18).map(|i| i as f32).collect();
    for greatest in [0, 1, 0x7fff, 0x8000, 0xffff] {
        let words: [u16; 32] = std::array::from_fn(|i| if i < 2 { greatest } else { greatest / (i as u16) });
        on_each_level(|level| {
            let (n, out, max, low) = run_bytes(level, Across(&square, &words));
            for (at, &x) in out.iter().enumerate() {
                let (j, i) = (at / 20, at % 20);
                assert_eq!(x, if i < n { (i * 18 + j) as f32 } else { -1.0 }, "{i}, {j} on {level}");
            }
            assert_eq!(max, greatest, "{level}");
            let want: Vec<u8> = words.iter().step_by(2).take(n).map(|&w| w as u8).collect();
            assert_eq!(low, want, "{level}");
        });
    }
}
