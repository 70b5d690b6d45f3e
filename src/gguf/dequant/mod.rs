//! Blocks of quantised numbers to f32.
//!
//! A type is one function from a block of bytes to an array of f32, in plain loops over arrays of known length.
//! Compiled into the entry point of an instruction set the loops become vectors of it; since they multiply, add and
//! subtract and nothing else, and Rust never contracts two of those into one, the result is the same bits on each.

mod groups;
mod legacy;
mod plain;
#[cfg(test)]
mod tests;

use super::types::GgmlType;
use crate::kernels::{Isa, Kernel, Simd, run};
use rayon::prelude::*;

/// Elements that a thread takes at a time: a multiple of every block, and enough (a quarter of a megabyte) that handing
/// it out is nothing.
const TASK: usize = 1 << 16;

/// A type of blocks of `BYTES` bytes for `LEN` elements.
trait Block<const BYTES: usize, const LEN: usize> {
    /// Unpacks a block; implementations are `#[inline(always)]`.
    fn unpack<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]);
}

/// Unpacks blocks, on one thread: as many as the bytes have, into as many as `out` has.
pub(super) type Unpacker = fn(Isa, &[u8], &mut [f32]);

/// The unpacker of a type, if there is one.
pub(super) fn unpacker(ty: GgmlType) -> Option<Unpacker> {
    Some(match ty {
        GgmlType::F32 => blocks::<plain::F32, 4, 1>,
        GgmlType::F16 => blocks::<plain::F16, 2, 1>,
        GgmlType::BF16 => blocks::<plain::Bf16, 2, 1>,
        GgmlType::F64 => blocks::<plain::F64, 8, 1>,
        GgmlType::I8 => blocks::<plain::I8, 1, 1>,
        GgmlType::I16 => blocks::<plain::I16, 2, 1>,
        GgmlType::I32 => blocks::<plain::I32, 4, 1>,
        GgmlType::I64 => blocks::<plain::I64, 8, 1>,
        GgmlType::Q4_0 => blocks::<legacy::Q4_0, 18, 32>,
        GgmlType::Q4_1 => blocks::<legacy::Q4_1, 20, 32>,
        GgmlType::Q5_0 => blocks::<legacy::Q5_0, 22, 32>,
        GgmlType::Q5_1 => blocks::<legacy::Q5_1, 24, 32>,
        GgmlType::Q8_0 => blocks::<legacy::Q8_0, 34, 32>,
        GgmlType::Q8_1 => blocks::<legacy::Q8_1, 36, 32>,
        GgmlType::IQ4_NL => blocks::<legacy::Iq4Nl, 18, 32>,
        GgmlType::Q2_K => blocks::<groups::Q2K, 84, 256>,
        GgmlType::Q3_K => blocks::<groups::Q3K, 110, 256>,
        GgmlType::Q4_K => blocks::<groups::Q4K, 144, 256>,
        GgmlType::Q5_K => blocks::<groups::Q5K, 176, 256>,
        GgmlType::Q6_K => blocks::<groups::Q6K, 210, 256>,
        GgmlType::Q8_K => blocks::<groups::Q8K, 292, 256>,
        GgmlType::IQ4_XS => blocks::<groups::Iq4Xs, 136, 256>,
        _ => return None,
    })
}

/// All blocks of `bytes`, on the threads of the current rayon pool. `bytes` and `out` are of as many blocks.
pub(super) fn dequantise(isa: Isa, unpack: Unpacker, ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
    let task_bytes = TASK / ty.block_len() * ty.block_bytes();
    if out.len() <= TASK {
        return unpack(isa, bytes, out);
    }
    out.par_chunks_mut(TASK).zip(bytes.par_chunks(task_bytes)).for_each(|(out, bytes)| unpack(isa, bytes, out));
}

fn blocks<B: Block<BYTES, LEN>, const BYTES: usize, const LEN: usize>(isa: Isa, bytes: &[u8], out: &mut [f32]) {
    run(isa, Blocks::<B, BYTES, LEN> { bytes, out, block: std::marker::PhantomData });
}

/// Blocks to be unpacked.
struct Blocks<'a, B, const BYTES: usize, const LEN: usize> {
    bytes: &'a [u8],
    out: &'a mut [f32],
    block: std::marker::PhantomData<B>,
}

impl<B: Block<BYTES, LEN>, const BYTES: usize, const LEN: usize> Kernel for Blocks<'_, B, BYTES, LEN> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (blocks, _) = self.bytes.as_chunks::<BYTES>();
        let (out, _) = self.out.as_chunks_mut::<LEN>();
        for (block, out) in blocks.iter().zip(out) {
            B::unpack(s, block, out);
        }
    }
}

/// The f16 at the beginning of a field.
#[inline(always)]
fn scale(bytes: [u8; 2]) -> f32 {
    crate::kernels::f16_to_f32(u16::from_le_bytes(bytes))
}

/// A field of a block.
#[inline(always)]
fn field<const N: usize, const BYTES: usize>(block: &[u8; BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&block[at..at + N]);
    out
}

/// The numbers that the four bits of IQ4 types stand for (`kvalues_iq4nl` of ggml), twice over as [`Simd::lookup`] has it.
const IQ4: [f32; 32] = {
    let once: [f32; 16] =
        [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];
    let mut out = [0.0; 32];
    let mut i = 0;
    while i < 32 {
        out[i] = once[i % 16];
        i += 1;
    }
    out
};

/// `d` times what the codes of a group stand for: the low halves of the bytes, then the high ones.
#[inline(always)]
fn iq4<S: Simd>(s: S, d: f32, codes: [u8; 16], out: &mut [f32; 32]) {
    let mut index = [0f32; 32];
    for j in 0..16 {
        index[j] = f32::from_bits(u32::from(codes[j] & 15));
        index[j + 16] = f32::from_bits(u32::from(codes[j] >> 4));
    }
    for j in (0..32).step_by(S::LANES) {
        // SAFETY: LANES divides 32, so there are as many elements from j on in both.
        unsafe {
            let value = s.lookup(&IQ4, s.bits(s.load(index.as_ptr().add(j))));
            s.store(out.as_mut_ptr().add(j), s.mul(s.splat(d), value));
        }
    }
}
