//! The operations that kernels on bytes are written in, above those of [`Simd`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;
#[cfg(test)]
mod tests;

#[cfg(all(test, target_arch = "x86_64"))]
pub use avx512::emulated;

#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512, Base, Vbmi, Vnni};
use super::{Scalar, Simd};
use crate::ByteIsa;

/// Vectors of `4 * LANES` bytes, or of `2 * LANES` numbers of 16 bits, in the integer vectors of [`Simd`].
///
/// Byte `i` is part `i % 4` of lane `i / 4`, the lowest first, and so in memory. Results are the same on every
/// instruction set.
#[allow(missing_docs)]
pub trait ByteSimd: Simd {
    /// 16 bytes to look up.
    type Table16: Copy;

    /// The number that keys of [`ByteSimd::dot4`] are stored with on top: 128 where the instruction takes them unsigned, else 0.
    const KEY_BIAS: u8;
    /// Rows of a register tile of [`ByteSimd::dot4`] with two vectors each.
    const DOT_ROWS: usize;

    /// Runs `kernel` as a function of its own, compiled for this instruction set: a body with many shapes would otherwise
    /// be part of each that chooses among them.
    fn call<K: ByteKernel>(self, kernel: K) -> K::Out;

    // ---- memory

    /// Reads `4 * LANES` bytes.
    ///
    /// # Safety
    /// `p` is valid for reading them; no alignment is needed.
    unsafe fn load_bytes(self, p: *const u8) -> Self::I;
    /// Writes `4 * LANES` bytes.
    ///
    /// # Safety
    /// `p` is valid for writing them; no alignment is needed.
    unsafe fn store_bytes(self, p: *mut u8, v: Self::I);
    /// Writes the lowest byte of each lane.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` bytes.
    unsafe fn store_u8(self, p: *mut u8, v: Self::I);

    // ---- products

    /// In each lane `acc` and the four products of the i8 in `x` and the numbers in `keys`, i8 with [`ByteSimd::KEY_BIAS`] added.
    ///
    /// Without a bias, `keys` and `x` are at least -127.
    fn dot4(self, acc: Self::I, keys: Self::I, x: Self::I) -> Self::I;

    // ---- lanes of 8 and 16 bits; sums wrap

    fn add8(self, a: Self::I, b: Self::I) -> Self::I;
    fn add16(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub16(self, a: Self::I, b: Self::I) -> Self::I;
    fn shl16<const N: i32>(self, a: Self::I) -> Self::I;
    /// Shift that fills with zeros.
    fn shr16<const N: i32>(self, a: Self::I) -> Self::I;
    /// The greater of unsigned numbers.
    fn max16(self, a: Self::I, b: Self::I) -> Self::I;
    /// The greatest of all unsigned numbers.
    fn reduce_max16(self, a: Self::I) -> u16;
    /// A bit for each unsigned number, the lowest for the first: whether that of `a` is at least that of `b`.
    fn at_least16(self, a: Self::I, b: Self::I) -> u32;

    // ---- lookups: each byte becomes the byte of the table that it numbers

    /// Reads a table.
    ///
    /// # Safety
    /// `p` is valid for reading 16 bytes.
    unsafe fn table16(self, p: *const u8) -> Self::Table16;
    /// For bytes below 16.
    fn lookup16(self, table: Self::Table16, i: Self::I) -> Self::I;
    /// For bytes below 128; others give any number.
    ///
    /// # Safety
    /// `table` is valid for reading 128 bytes.
    unsafe fn lookup128(self, table: *const u8, i: Self::I) -> Self::I;
    /// For any bytes.
    ///
    /// # Safety
    /// `table` is valid for reading 256 bytes.
    unsafe fn lookup256(self, table: *const u8, i: Self::I) -> Self::I;
    /// Numbers of 16 bits for any bytes: those of the even bytes, and those of the odd ones.
    ///
    /// # Safety
    /// `table` is valid for reading 256 numbers.
    unsafe fn lookup256_words(self, table: *const u16, i: Self::I) -> [Self::I; 2];
}

/// A generic body on bytes, to be compiled once per instruction set.
pub trait ByteKernel {
    /// The type of the result.
    type Out;
    /// The body; implementations are `#[inline(always)]`.
    fn run<S: ByteSimd>(self, s: S) -> Self::Out;
}

/// Runs `kernel` compiled for `isa`, or for the baseline if the host lacks it.
#[inline]
pub fn run_bytes<K: ByteKernel>(isa: ByteIsa, kernel: K) -> K::Out {
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! enter {
            ($token:ty, $entry:path) => {
                if let Some(token) = <$token>::new() {
                    // SAFETY: the token proves that the CPU has the features of the entry.
                    return unsafe { $entry(token, kernel) };
                }
            };
        }
        match isa {
            ByteIsa::Avx512Vbmi => enter!(Avx512<Vbmi>, avx512::vbmi),
            ByteIsa::Avx512Vnni => enter!(Avx512<Vnni>, avx512::vnni),
            ByteIsa::Avx512 => enter!(Avx512<Base>, avx512::base),
            ByteIsa::Avx2 => enter!(Avx2, avx2::entry),
            ByteIsa::Scalar => {}
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = isa;
    kernel.run(Scalar)
}
