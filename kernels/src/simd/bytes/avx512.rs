//! 64 bytes in a vector of AVX-512.

use super::{ByteKernel, ByteSimd};
use crate::simd::avx512::Level;
use crate::simd::{Avx512, Base, Vbmi, Vnni};
use std::arch::x86_64::*;

/// Functions that compile `kernel` with the features of their token.
macro_rules! entries {
    ($($name:ident($level:ty) = $features:literal;)*) => {$(
        /// Compiles `kernel` with the features of the token.
        ///
        /// # Safety
        /// The CPU has the features, which holding a token proves.
        #[inline(never)]
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name<K: ByteKernel>(token: Avx512<$level>, kernel: K) -> K::Out {
            kernel.run(token)
        }
    )*};
}

entries! {
    base(Base) = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c";
    vnni(Vnni) = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c";
    vbmi(Vbmi) = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c";
}

/// The operations that levels do in different ways.
///
/// Anything that only a level above another has is one instruction in a method of its own, so that tests can put its meaning
/// in its place and run everything else on a CPU without it.
///
/// # Safety
/// The methods: the CPU has the level.
pub trait ByteLevel: Level {
    /// [`ByteSimd::KEY_BIAS`].
    const KEY_BIAS: u8;
    /// True if there is [`ByteLevel::permute128`].
    const PERMUTES: bool;

    /// Runs `kernel` compiled for the level.
    unsafe fn enter<K: ByteKernel>(token: Avx512<Self>, kernel: K) -> K::Out;

    /// [`ByteSimd::dot4`].
    unsafe fn dot4(acc: __m512i, keys: __m512i, x: __m512i) -> __m512i;

    /// For each byte of `i`, by its lower 7 bits, a byte of `low` or `high`. Never called without `PERMUTES`.
    #[inline(always)]
    unsafe fn permute128(_low: __m512i, i: __m512i, _high: __m512i) -> __m512i {
        i
    }
}

impl ByteLevel for Base {
    const KEY_BIAS: u8 = 0;
    const PERMUTES: bool = false;

    #[inline(always)]
    unsafe fn enter<K: ByteKernel>(token: Avx512<Self>, kernel: K) -> K::Out {
        // SAFETY: the CPU has the level.
        unsafe { base(token, kernel) }
    }
    #[inline(always)]
    unsafe fn dot4(acc: __m512i, keys: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the CPU has the level.
        unsafe {
            // As with AVX2: |x| * (k with the sign of x).
            let keys = _mm512_mask_sub_epi8(keys, _mm512_movepi8_mask(x), _mm512_setzero_si512(), keys);
            let pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(x), keys);
            _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        }
    }
}

impl ByteLevel for Vnni {
    const KEY_BIAS: u8 = 128;
    const PERMUTES: bool = false;

    #[inline(always)]
    unsafe fn enter<K: ByteKernel>(token: Avx512<Self>, kernel: K) -> K::Out {
        // SAFETY: the CPU has the level.
        unsafe { vnni(token, kernel) }
    }
    #[inline(always)]
    unsafe fn dot4(acc: __m512i, keys: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the CPU has the level.
        unsafe { _mm512_dpbusd_epi32(acc, keys, x) }
    }
}

impl ByteLevel for Vbmi {
    const KEY_BIAS: u8 = 128;
    const PERMUTES: bool = true;

    #[inline(always)]
    unsafe fn enter<K: ByteKernel>(token: Avx512<Self>, kernel: K) -> K::Out {
        // SAFETY: the CPU has the level.
        unsafe { vbmi(token, kernel) }
    }
    #[inline(always)]
    unsafe fn dot4(acc: __m512i, keys: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the CPU has the level.
        unsafe { Vnni::dot4(acc, keys, x) }
    }
    #[inline(always)]
    unsafe fn permute128(low: __m512i, i: __m512i, high: __m512i) -> __m512i {
        // SAFETY: the CPU has the level.
        unsafe { _mm512_permutex2var_epi8(low, i, high) }
    }
}

/// Odd bytes.
const ODD: __mmask64 = 0xaaaa_aaaa_aaaa_aaaa;

/// For each number of 16 bits in `even` and `odd`, the byte of it that `i` asks for in bit 0 of its even and odd byte.
///
/// # Safety
/// The CPU has AVX-512BW.
#[inline(always)]
unsafe fn pick(even: __m512i, odd: __m512i, i: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let second = _mm512_test_epi16_mask(i, _mm512_set1_epi16(1));
        let first = _mm512_testn_epi16_mask(i, _mm512_set1_epi16(0x100));
        let even = _mm512_mask_srli_epi16::<8>(even, second, even);
        let odd = _mm512_mask_slli_epi16::<8>(odd, first, odd);
        _mm512_mask_blend_epi8(ODD, even, odd)
    }
}

/// Reads vector `k` of a table.
///
/// # Safety
/// The table has it, and the CPU AVX-512.
#[inline(always)]
unsafe fn part<T>(table: *const T, k: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_si512(table.cast::<u8>().add(64 * k).cast()) }
}

/// For each number of 16 bits in `i`, by its lower 6 bits, one of the first 64 of `table`, or where `above` of the next 64.
///
/// # Safety
/// `table` has 128 numbers, and the CPU AVX-512BW.
#[inline(always)]
unsafe fn words128(table: *const u16, i: __m512i, above: __mmask32) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm512_permutex2var_epi16(part(table, 0), i, part(table, 1));
        let high = _mm512_permutex2var_epi16(part(table, 2), i, part(table, 3));
        _mm512_mask_blend_epi16(above, low, high)
    }
}

/// For each number of 16 bits in `i`, by its lower 8 bits, a number of `table`.
///
/// # Safety
/// `table` has 256 numbers, and the CPU AVX-512BW.
#[inline(always)]
unsafe fn words256(table: *const u16, i: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let bit6 = _mm512_test_epi16_mask(i, _mm512_set1_epi16(0x40));
        let bit7 = _mm512_test_epi16_mask(i, _mm512_set1_epi16(0x80));
        _mm512_mask_blend_epi16(bit7, words128(table, i, bit6), words128(table.add(128), i, bit6))
    }
}

impl<L: ByteLevel> ByteSimd for Avx512<L> {
    type Table16 = __m512i;

    const KEY_BIAS: u8 = L::KEY_BIAS;
    const DOT_ROWS: usize = 12;

    #[inline(always)]
    fn call<K: ByteKernel>(self, kernel: K) -> K::Out {
        // SAFETY: the token proves that the CPU has the level.
        unsafe { L::enter(self, kernel) }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8) -> __m512i {
        // SAFETY: the caller promises 64 bytes; the token the instruction.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, v: __m512i) {
        // SAFETY: the caller promises room for 64 bytes; the token the instruction.
        unsafe { _mm512_storeu_si512(p.cast(), v) }
    }
    #[inline(always)]
    unsafe fn store_u8(self, p: *mut u8, v: __m512i) {
        // SAFETY: the caller promises room for 16 bytes; the token the instructions.
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(v)) }
    }
    #[inline(always)]
    fn shl16<const N: i32>(self, a: __m512i) -> __m512i {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe { _mm512_sll_epi16(a, _mm_cvtsi32_si128(N)) }
    }
    #[inline(always)]
    fn shr16<const N: i32>(self, a: __m512i) -> __m512i {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe { _mm512_srl_epi16(a, _mm_cvtsi32_si128(N)) }
    }
    #[inline(always)]
    fn at_least16(self, a: __m512i, b: __m512i) -> u32 {
        // SAFETY: the token proves that the CPU has this instruction.
        unsafe { _mm512_cmpge_epu16_mask(a, b) }
    }
    #[inline(always)]
    fn reduce_max16(self, a: __m512i) -> u16 {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe {
            let v = _mm256_max_epu16(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64::<1>(a));
            let v = _mm_max_epu16(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            // There is a horizontal minimum: of the complements.
            !(_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_xor_si128(v, _mm_set1_epi8(-1)))) as u16)
        }
    }
    #[inline(always)]
    unsafe fn table16(self, p: *const u8) -> __m512i {
        // SAFETY: the caller promises 16 bytes; the token the instructions.
        unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn lookup128(self, table: *const u8, i: __m512i) -> __m512i {
        // SAFETY: the caller promises the table; the token the instructions.
        unsafe {
            let (low, high) = (part(table, 0), part(table, 1));
            if L::PERMUTES {
                return L::permute128(low, i, high);
            }
            // Two entries at a time, numbered by the upper bits of the code; the lower 6 bits of an index count.
            let even = _mm512_permutex2var_epi16(low, _mm512_srli_epi16::<1>(i), high);
            let odd = _mm512_permutex2var_epi16(low, _mm512_srli_epi16::<9>(i), high);
            pick(even, odd, i)
        }
    }
    #[inline(always)]
    unsafe fn lookup256(self, table: *const u8, i: __m512i) -> __m512i {
        // SAFETY: the caller promises the table; the token the instructions.
        unsafe {
            if L::PERMUTES {
                let low = self.lookup128(table, i);
                let high = self.lookup128(table.add(128), i);
                return _mm512_mask_blend_epi8(_mm512_movepi8_mask(i), low, high);
            }
            let even =
                words128(table.cast(), _mm512_srli_epi16::<1>(i), _mm512_test_epi16_mask(i, _mm512_set1_epi16(0x80)));
            let odd = words128(table.cast(), _mm512_srli_epi16::<9>(i), _mm512_movepi16_mask(i));
            pick(even, odd, i)
        }
    }
    #[inline(always)]
    unsafe fn lookup256_words(self, table: *const u16, i: __m512i) -> [__m512i; 2] {
        // SAFETY: the caller promises the table; the token the instructions.
        unsafe { [words256(table, i), words256(table, _mm512_srli_epi16::<8>(i))] }
    }

    #[inline(always)]
    fn dot4(self, acc: __m512i, keys: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the token proves that the CPU has the level.
        unsafe { L::dot4(acc, keys, x) }
    }

    ops! {
        add8(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi8(a, b);
        add16(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi16(a, b);
        sub16(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi16(a, b);
        max16(a: __m512i, b: __m512i) -> __m512i = _mm512_max_epu16(a, b);
        lookup16(table: __m512i, i: __m512i) -> __m512i = _mm512_shuffle_epi8(table, i);
    }
}

/// The level above the host's, with the meaning of its instruction in place of the instruction.
#[cfg(test)]
pub mod emulated {
    use super::*;

    /// [`Vbmi`] on a CPU that has [`Vnni`].
    #[derive(Clone, Copy, Debug)]
    pub struct EmulatedVbmi;

    // SAFETY: needs what VNNI needs.
    unsafe impl Level for EmulatedVbmi {
        fn is_available() -> bool {
            Vnni::is_available()
        }
    }

    impl ByteLevel for EmulatedVbmi {
        const KEY_BIAS: u8 = Vbmi::KEY_BIAS;
        const PERMUTES: bool = Vbmi::PERMUTES;

        #[inline(always)]
        unsafe fn enter<K: ByteKernel>(token: Avx512<Self>, kernel: K) -> K::Out {
            // SAFETY: the CPU has the level.
            unsafe { entry(token, kernel) }
        }
        #[inline(always)]
        unsafe fn dot4(acc: __m512i, keys: __m512i, x: __m512i) -> __m512i {
            // SAFETY: the CPU has VNNI.
            unsafe { Vnni::dot4(acc, keys, x) }
        }
        #[inline(always)]
        unsafe fn permute128(low: __m512i, i: __m512i, high: __m512i) -> __m512i {
            let mut table = [0u8; 128];
            let mut bytes = [0u8; 64];
            // SAFETY: arrays of the size of one or two vectors.
            unsafe {
                _mm512_storeu_si512(table.as_mut_ptr().cast(), low);
                _mm512_storeu_si512(table.as_mut_ptr().add(64).cast(), high);
                _mm512_storeu_si512(bytes.as_mut_ptr().cast(), i);
                bytes = bytes.map(|i| table[usize::from(i & 127)]);
                _mm512_loadu_si512(bytes.as_ptr().cast())
            }
        }
    }

    /// Runs `kernel` on it, if the host has VNNI.
    pub fn run<K: ByteKernel>(kernel: K) -> Option<K::Out> {
        // SAFETY: the token proves that the CPU has the features.
        Avx512::<EmulatedVbmi>::new().map(|token| unsafe { entry(token, kernel) })
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn entry<K: ByteKernel>(token: Avx512<EmulatedVbmi>, kernel: K) -> K::Out {
        kernel.run(token)
    }
}
