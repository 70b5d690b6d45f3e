//! The operations the kernels are written in, and one token type per
//! instruction set that implements them.
//!
//! A token is a proof: [`Avx2`] and [`Avx512`] can only be had from `new`,
//! which asks the CPU. So the operations themselves are safe functions. They
//! are inlined into entry points that carry the matching `target_feature`
//! ([`run`]), and are of no use outside of one.
//!
//! Kernels on bytes need more than [`Simd`] has, and from instructions that
//! only some of the CPUs with AVX-512 have: they are written in [`ByteSimd`], whose
//! token for AVX-512 says which of them it proves.

/// Methods of a token that are one expression of intrinsics.
#[cfg(target_arch = "x86_64")]
macro_rules! ops {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self $(, $arg: $ty)*) -> $out {
            // SAFETY: the token proves that the CPU has these instructions.
            unsafe { $body }
        }
    )*};
}

#[cfg(not(target_arch = "x86_64"))]
mod absent;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bytes;
mod half;
mod scalar;
mod wide;

#[cfg(not(target_arch = "x86_64"))]
pub use absent::{Avx2, Avx512, Base, Bf16, Vbmi, Vnni};
#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, Base, Bf16, Vbmi, Vnni};
#[cfg(all(test, target_arch = "x86_64"))]
pub use avx512::{run_emulated_bf16, run_instruction_bf16};
#[cfg(all(test, target_arch = "x86_64"))]
pub use bytes::emulated;
pub use bytes::{ByteKernel, ByteSimd, run_bytes};
pub use half::f16_to_f32;
pub use scalar::Scalar;
pub use wide::Wide;

use super::Isa;

/// Vectors of `LANES` numbers and what can be done with them.
///
/// Where a result depends on the instruction set it says so; everything else
/// is the same bits on all of them.
#[allow(missing_docs)]
pub trait Simd: Copy + Send + Sync + 'static {
    /// `f32` lanes.
    type F: Copy;
    /// `i32` lanes.
    type I: Copy;
    /// One truth value a lane.
    type M: Copy;

    /// Lanes of a vector.
    const LANES: usize;
    /// True if [`Simd::lookup`] takes about as long as an addition.
    const FAST_LOOKUP: bool;

    /// True if [`Simd::scale2`] takes about as long as two additions.
    const FAST_SCALE: bool;

    // ---- memory

    /// Reads a vector.
    ///
    /// # Safety
    /// `p` is valid for reading `LANES` floats; no alignment is needed.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// Writes a vector.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` floats; no alignment is needed.
    unsafe fn store(self, p: *mut f32, v: Self::F);
    /// Reads the first `n` lanes; the others are zero.
    ///
    /// # Safety
    /// `p` is valid for reading `n <= LANES` floats.
    unsafe fn load_partial(self, p: *const f32, n: usize) -> Self::F;
    /// Writes the first `n` lanes and nothing else.
    ///
    /// # Safety
    /// `p` is valid for writing `n <= LANES` floats.
    unsafe fn store_partial(self, p: *mut f32, v: Self::F, n: usize);

    /// Reads `LANES` numbers of 16 bits, the upper half of each lane zero.
    ///
    /// # Safety
    /// `p` is valid for reading them; no alignment is needed.
    unsafe fn load_u16(self, p: *const u16) -> Self::I;
    /// Writes the lower halves of the lanes.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` numbers; no alignment is needed.
    unsafe fn store_u16(self, p: *mut u16, v: Self::I);
    /// Reads `LANES` f16.
    ///
    /// # Safety
    /// `p` is valid for reading them; no alignment is needed.
    unsafe fn load_f16(self, p: *const u16) -> Self::F;
    /// Writes each lane as the nearest f16, ties to even.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` f16; no alignment is needed.
    unsafe fn store_f16(self, p: *mut u16, v: Self::F);
    /// Writes element `j` of the row `i` at `from + i * from_row` to `to + j * to_row + i`, for `i` and `j` below `LANES`.
    ///
    /// # Safety
    /// All those elements are valid, and none is of both.
    unsafe fn transpose(self, from: *const f32, from_row: isize, to: *mut f32, to_row: usize);

    // ---- arithmetic

    fn splat(self, x: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    fn sqrt(self, a: Self::F) -> Self::F;
    /// `a * b + c`, with one rounding or two: whatever is fast.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, with one rounding or two.
    fn nmul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a * b + c` as if with one rounding, for error-free transformations:
    /// exact where the true result is an `f32`, and `|a|, |b| < 2^100`.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The smaller, `b` if either is NaN or both are zeros.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The greater, `b` if either is NaN or both are zeros.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    fn floor(self, a: Self::F) -> Self::F;
    fn ceil(self, a: Self::F) -> Self::F;
    /// Nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    fn trunc(self, a: Self::F) -> Self::F;
    /// `a * 2^n` with one rounding, for `t = n + 1.5 * 2^23`, an integral `n` of at most 240
    /// either way and `|a|` in `[2^-6, 2^8)`, or any `a` if `n` is 0; NaN if `a` is.
    fn scale2(self, a: Self::F, t: Self::F) -> Self::F;

    // ---- comparison and choice

    /// `a < b`, false if either is NaN.
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a <= b`, false if either is NaN.
    fn le(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a == b`, false if either is NaN.
    fn eq(self, a: Self::F, b: Self::F) -> Self::M;
    /// The lanes in which either is NaN.
    fn unordered(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a` where `m`, else `b`.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;
    fn mask_and(self, a: Self::M, b: Self::M) -> Self::M;
    fn mask_or(self, a: Self::M, b: Self::M) -> Self::M;
    fn mask_not(self, a: Self::M) -> Self::M;
    fn any(self, m: Self::M) -> bool;
    fn all(self, m: Self::M) -> bool;
    /// True in the first `n` lanes, `n <= LANES`.
    fn first(self, n: usize) -> Self::M;

    // ---- integer lanes

    fn bits(self, a: Self::F) -> Self::I;
    fn as_float(self, a: Self::I) -> Self::F;
    fn isplat(self, x: i32) -> Self::I;
    fn iadd(self, a: Self::I, b: Self::I) -> Self::I;
    fn isub(self, a: Self::I, b: Self::I) -> Self::I;
    fn iand(self, a: Self::I, b: Self::I) -> Self::I;
    fn ior(self, a: Self::I, b: Self::I) -> Self::I;
    fn ixor(self, a: Self::I, b: Self::I) -> Self::I;
    fn ishl<const N: i32>(self, a: Self::I) -> Self::I;
    /// Shift that copies the sign.
    fn ishr<const N: i32>(self, a: Self::I) -> Self::I;
    fn ieq(self, a: Self::I, b: Self::I) -> Self::M;
    fn iselect(self, m: Self::M, a: Self::I, b: Self::I) -> Self::I;
    /// The integer as a float, rounded to nearest.
    fn to_float(self, a: Self::I) -> Self::F;
    /// The nearest integer of a float below `2^31` in magnitude.
    fn to_int(self, a: Self::F) -> Self::I;

    /// The element of `table` that the lowest five bits of each lane choose.
    fn lookup(self, table: &[f32; 32], i: Self::I) -> Self::F;

    // ---- across lanes

    /// The sum of all lanes, halves added pairwise.
    fn reduce_add(self, a: Self::F) -> f32;
    /// The greatest lane, for lanes without NaN.
    fn reduce_max(self, a: Self::F) -> f32;

    // ---- functions

    /// Runs `kernel` as a function of its own, compiled for this instruction set: a large body that many others use would
    /// otherwise be part of each.
    fn apart<K: Kernel>(self, kernel: K) -> K::Out;

    // ---- products of bf16, two of them in a lane of 32 bits

    /// True if [`Simd::dot_bf16`] is an instruction.
    const DOT_BF16: bool = false;

    /// In each lane `acc` and both products of the bf16 in `a` and `b`. In which order and with how many roundings they are
    /// added, and whether subnormal numbers count as zero, depends on the instruction set.
    #[inline(always)]
    fn dot_bf16(self, acc: Self::F, a: Self::F, b: Self::F) -> Self::F {
        self.dot_bf16_of_parts(acc, a, b)
    }

    /// [`Simd::dot_bf16`] without an instruction for it.
    #[inline(always)]
    fn dot_bf16_of_parts(self, acc: Self::F, a: Self::F, b: Self::F) -> Self::F {
        let low = self.mul_add(self.low_bf16(a), self.low_bf16(b), acc);
        self.mul_add(self.high_bf16(a), self.high_bf16(b), low)
    }

    /// The bf16 in the lower half of each lane.
    #[inline(always)]
    fn low_bf16(self, a: Self::F) -> Self::F {
        self.as_float(self.ishl::<16>(self.bits(a)))
    }

    /// The bf16 in the upper half of each lane.
    #[inline(always)]
    fn high_bf16(self, a: Self::F) -> Self::F {
        self.as_float(self.iand(self.bits(a), self.isplat(!0xffff)))
    }

    /// Each lane rounded to the nearest bf16, ties to even.
    #[inline(always)]
    fn round_bf16(self, a: Self::F) -> Self::F {
        let bits = self.bits(a);
        let odd = self.iand(self.ishr::<16>(bits), self.isplat(1));
        let rounded = self.iadd(bits, self.iadd(odd, self.isplat(0x7fff)));
        // A NaN whose set bits are all in the lower half would become an infinity.
        let nan = self.ior(bits, self.isplat(0x40_0000));
        self.high_bf16(self.as_float(self.iselect(self.unordered(a, a), nan, rounded)))
    }

    // ---- hints

    /// Asks for the cache line at `p`, which may be any address: it is soon read, from the second-level cache on.
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        let _ = p;
    }

    // ---- order

    /// The same vectors, after which a compiler cannot pull the steps of one of the
    /// four ahead of those of the others. It has no effect on results.
    #[inline(always)]
    fn together(self, a: [Self::F; 4]) -> [Self::F; 4] {
        a
    }

    /// [`Simd::together`] for the vectors of `Wide`, else nothing: for use between
    /// the steps of a long dependent chain.
    #[inline(always)]
    fn in_step(self, a: Self::F) -> Self::F {
        a
    }

    /// The vector, which a compiler makes before it reads any memory that is read later. It has no effect on results.
    #[inline(always)]
    fn settled(self, a: Self::F) -> Self::F {
        a
    }

    // ---- built from the above

    /// Reads a whole vector, or its first `n` lanes and zeros.
    ///
    /// # Safety
    /// `p` is valid for reading `min(n, LANES)` floats.
    #[inline(always)]
    unsafe fn load_upto(self, p: *const f32, n: usize) -> Self::F {
        if n >= Self::LANES {
            // SAFETY: the caller promises LANES floats.
            unsafe { self.load(p) }
        } else {
            // SAFETY: the caller promises n < LANES floats.
            unsafe { self.load_partial(p, n) }
        }
    }

    /// Writes a whole vector, or its first `n` lanes.
    ///
    /// # Safety
    /// `p` is valid for writing `min(n, LANES)` floats.
    #[inline(always)]
    unsafe fn store_upto(self, p: *mut f32, v: Self::F, n: usize) {
        if n >= Self::LANES {
            // SAFETY: the caller promises LANES floats.
            unsafe { self.store(p, v) }
        } else {
            // SAFETY: the caller promises n < LANES floats.
            unsafe { self.store_partial(p, v, n) }
        }
    }

    #[inline(always)]
    fn neg(self, a: Self::F) -> Self::F {
        self.as_float(self.ixor(self.bits(a), self.isplat(i32::MIN)))
    }

    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        self.as_float(self.iand(self.bits(a), self.isplat(i32::MAX)))
    }

    /// The sign bit of each lane and nothing else.
    #[inline(always)]
    fn sign_bit(self, a: Self::F) -> Self::I {
        self.iand(self.bits(a), self.isplat(i32::MIN))
    }

    /// `a`, its sign bit flipped where `sign` has it set.
    #[inline(always)]
    fn xor_sign(self, a: Self::F, sign: Self::I) -> Self::F {
        self.as_float(self.ixor(self.bits(a), sign))
    }

    /// The magnitude of `a`, the sign of `b`.
    #[inline(always)]
    fn copysign(self, a: Self::F, b: Self::F) -> Self::F {
        self.as_float(self.ior(self.bits(self.abs(a)), self.sign_bit(b)))
    }
}

/// A generic body, to be compiled once per instruction set.
pub trait Kernel {
    /// The type of the result.
    type Out;
    /// The body; implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, s: S) -> Self::Out;
}

/// Runs `kernel` compiled for `isa`, or for the baseline if the host lacks it.
#[inline]
pub fn run<K: Kernel>(isa: Isa, kernel: K) -> K::Out {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            if let Some(token) = Avx512::<Base>::new() {
                // SAFETY: the token proves that the CPU has the features.
                return unsafe { avx512::entry(token, kernel) };
            }
            kernel.run(Scalar)
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => {
            if let Some(token) = Avx2::new() {
                // SAFETY: the token proves that the CPU has the features.
                return unsafe { avx2::entry(token, kernel) };
            }
            kernel.run(Scalar)
        }
        _ => kernel.run(Scalar),
    }
}

/// [`run`], with the instruction for products of bf16 where `isa` allows it and it is fast on the host.
#[inline]
pub fn run_bf16<K: Kernel>(isa: Isa, kernel: K) -> K::Out {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512
        && Bf16::is_fast()
        && let Some(token) = Avx512::<Bf16>::new()
    {
        // SAFETY: the token proves that the CPU has the features.
        return unsafe { avx512::entry_bf16(token, kernel) };
    }
    run(isa, kernel)
}

/// One step of a chain over a tile: up to three operands, one result, `n` elements.
///
/// The element types are those of the step.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Tile {
    pub out: *mut u8,
    pub a: *const u8,
    pub b: *const u8,
    pub c: *const u8,
    pub n: usize,
}

/// A step compiled for one instruction set.
///
/// # Safety
/// `out` is valid for writing `n` elements and every operand the step has for
/// reading `n`. An operand may be `out` itself if the elements of both have
/// the same size; otherwise they do not overlap.
pub type TileFn = unsafe fn(&Tile);

/// The generic body of a step.
pub trait TileOp {
    /// The body; implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// That of [`TileFn`].
    unsafe fn run<S: Simd>(s: S, tile: &Tile);
}

/// `O` compiled for `isa`, or for the baseline if the host lacks it.
pub fn tile_fn<O: TileOp>(isa: Isa) -> TileFn {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if Avx512::<Base>::new().is_some() => avx512::tile::<O>,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if Avx2::new().is_some() => avx2::tile::<O>,
        _ => scalar_tile::<O>,
    }
}

/// # Safety
/// That of [`TileFn`].
unsafe fn scalar_tile<O: TileOp>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { O::run(Scalar, tile) }
}
