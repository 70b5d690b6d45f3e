//! Elements of any type to f32. Those in blocks are `bgz_passes::ir::BlockFormat`, compiled for each instruction set in
//! `bgz_kernels::blocks`.

mod plain;
#[cfg(test)]
mod tests;

use super::types::GgmlType;
use crate::kernels::{Isa, Kernel, Simd, blocks, run};
use bgz_passes::ir::BlockFormat;
use rayon::prelude::*;

/// Elements that a thread takes at a time: a multiple of every block, and enough (a quarter of a megabyte) that handing
/// it out is nothing.
const TASK: usize = 1 << 16;

/// A type of numbers of `BYTES` bytes each.
trait Number<const BYTES: usize> {
    /// The number as f32; implementations are `#[inline(always)]`.
    fn read(bytes: [u8; BYTES]) -> f32;
}

/// The function that unpacks a type on one thread: as many elements as the bytes have, into as many as `out` has.
#[derive(Clone, Copy)]
pub(super) enum Unpacker {
    Plain(fn(Isa, &[u8], &mut [f32])),
    Blocks(BlockFormat),
}

impl Unpacker {
    fn run(self, isa: Isa, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::Plain(unpack) => unpack(isa, bytes, out),
            Self::Blocks(format) => blocks::unpack(isa, format, bytes, out),
        }
    }
}

/// The unpacker of a type, if there is one.
pub(super) fn unpacker(ty: GgmlType) -> Option<Unpacker> {
    Some(match ty {
        GgmlType::F32 => Unpacker::Plain(numbers::<plain::F32, 4>),
        GgmlType::F16 => Unpacker::Plain(numbers::<plain::F16, 2>),
        GgmlType::BF16 => Unpacker::Plain(numbers::<plain::Bf16, 2>),
        GgmlType::F64 => Unpacker::Plain(numbers::<plain::F64, 8>),
        GgmlType::I8 => Unpacker::Plain(numbers::<plain::I8, 1>),
        GgmlType::I16 => Unpacker::Plain(numbers::<plain::I16, 2>),
        GgmlType::I32 => Unpacker::Plain(numbers::<plain::I32, 4>),
        GgmlType::I64 => Unpacker::Plain(numbers::<plain::I64, 8>),
        _ => Unpacker::Blocks(ty.blocks()?),
    })
}

/// All blocks of `bytes`, on the threads of the current rayon pool. `bytes` and `out` are of as many blocks.
pub(super) fn dequantise(isa: Isa, unpack: Unpacker, ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
    let task_bytes = TASK / ty.block_len() * ty.block_bytes();
    if out.len() <= TASK {
        return unpack.run(isa, bytes, out);
    }
    out.par_chunks_mut(TASK).zip(bytes.par_chunks(task_bytes)).for_each(|(out, bytes)| unpack.run(isa, bytes, out));
}

fn numbers<N: Number<BYTES>, const BYTES: usize>(isa: Isa, bytes: &[u8], out: &mut [f32]) {
    run(isa, Numbers::<N, BYTES> { bytes, out, number: std::marker::PhantomData });
}

/// Numbers to be read.
struct Numbers<'a, N, const BYTES: usize> {
    bytes: &'a [u8],
    out: &'a mut [f32],
    number: std::marker::PhantomData<N>,
}

impl<N: Number<BYTES>, const BYTES: usize> Kernel for Numbers<'_, N, BYTES> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (numbers, _) = self.bytes.as_chunks::<BYTES>();
        for (bytes, out) in numbers.iter().zip(self.out) {
            *out = N::read(*bytes);
        }
    }
}
