//! 32 bytes in a vector of AVX2.

use super::{ByteKernel, ByteSimd};
use crate::simd::Avx2;
use std::arch::x86_64::*;

/// Compiles `kernel` with the features of the token.
///
/// # Safety
/// The CPU has the features, which holding a token proves.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn entry<K: ByteKernel>(token: Avx2, kernel: K) -> K::Out {
    kernel.run(token)
}

impl ByteSimd for Avx2 {
    type Table16 = __m256i;

    const KEY_BIAS: u8 = 0;
    const DOT_ROWS: usize = 4;

    #[inline(always)]
    fn call<K: ByteKernel>(self, kernel: K) -> K::Out {
        // SAFETY: the token proves that the CPU has the features.
        unsafe { entry(self, kernel) }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8) -> __m256i {
        // SAFETY: the caller promises 32 bytes; the token the instruction.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, v: __m256i) {
        // SAFETY: the caller promises room for 32 bytes; the token the instruction.
        unsafe { _mm256_storeu_si256(p.cast(), v) }
    }
    #[inline(always)]
    unsafe fn store_u8(self, p: *mut u8, v: __m256i) {
        // SAFETY: the caller promises room for 8 bytes; the token the instructions.
        unsafe {
            let v = _mm256_and_si256(v, _mm256_set1_epi32(0xff));
            let v = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            _mm_storel_epi64(p.cast(), _mm_packus_epi16(v, v));
        }
    }
    #[inline(always)]
    fn dot4(self, acc: __m256i, keys: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe {
            // |x| * (k with the sign of x): a pair is at most 2 * 127 * 127, which 16 bits hold.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(keys, x));
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
    #[inline(always)]
    fn shl16<const N: i32>(self, a: __m256i) -> __m256i {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe { _mm256_slli_epi16::<N>(a) }
    }
    #[inline(always)]
    fn shr16<const N: i32>(self, a: __m256i) -> __m256i {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe { _mm256_srli_epi16::<N>(a) }
    }
    #[inline(always)]
    fn at_least16(self, a: __m256i, b: __m256i) -> u32 {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe {
            let words = _mm256_cmpeq_epi16(_mm256_max_epu16(a, b), a);
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_movemask_epi8(bytes) as u32
        }
    }
    #[inline(always)]
    fn reduce_max16(self, a: __m256i) -> u16 {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe {
            let v = _mm_max_epu16(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
            // There is a horizontal minimum: of the complements.
            !(_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_xor_si128(v, _mm_set1_epi8(-1)))) as u16)
        }
    }
    #[inline(always)]
    unsafe fn table16(self, p: *const u8) -> __m256i {
        // SAFETY: the caller promises 16 bytes; the token the instructions.
        unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn lookup128(self, table: *const u8, i: __m256i) -> __m256i {
        // SAFETY: the caller promises the table; the token the instructions.
        unsafe {
            // Bit 4 of each byte, then 5, then 6, as its highest: that is the one a blend looks at.
            let bit4 = _mm256_slli_epi16::<3>(i);
            let bit5 = _mm256_slli_epi16::<2>(i);
            let mut halves = [i; 2];
            for (h, half) in halves.iter_mut().enumerate() {
                let mut pairs = [i; 2];
                for (p, pair) in pairs.iter_mut().enumerate() {
                    let table = table.add(64 * h + 32 * p);
                    let low = _mm256_shuffle_epi8(self.table16(table), i);
                    *pair = _mm256_blendv_epi8(low, _mm256_shuffle_epi8(self.table16(table.add(16)), i), bit4);
                }
                *half = _mm256_blendv_epi8(pairs[0], pairs[1], bit5);
            }
            _mm256_blendv_epi8(halves[0], halves[1], _mm256_slli_epi16::<1>(i))
        }
    }
    #[inline(always)]
    unsafe fn lookup256(self, table: *const u8, i: __m256i) -> __m256i {
        // SAFETY: the caller promises the table; the token the instructions.
        unsafe {
            // A shuffle gives 0 where the highest bit is set, so each half is 0 for the codes of the other.
            let low = self.lookup128(table, i);
            let high = self.lookup128(table.add(128), _mm256_xor_si256(i, _mm256_set1_epi8(-128)));
            _mm256_or_si256(low, high)
        }
    }
    #[inline(always)]
    unsafe fn lookup256_words(self, table: *const u16, i: __m256i) -> [__m256i; 2] {
        let (mut codes, mut words) = ([0u8; 32], [[0u16; 16]; 2]);
        // SAFETY: arrays of the vectors' size, and the caller's table of 256.
        unsafe {
            // 32 loads: shuffles would take over a hundred instructions.
            self.store_bytes(codes.as_mut_ptr(), i);
            for (j, code) in codes.into_iter().enumerate() {
                words[j % 2][j / 2] = table.add(usize::from(code)).read_unaligned();
            }
            [self.load_bytes(words[0].as_ptr().cast()), self.load_bytes(words[1].as_ptr().cast())]
        }
    }

    ops! {
        add8(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi8(a, b);
        add16(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi16(a, b);
        sub16(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi16(a, b);
        max16(a: __m256i, b: __m256i) -> __m256i = _mm256_max_epu16(a, b);
        lookup16(table: __m256i, i: __m256i) -> __m256i = _mm256_shuffle_epi8(table, i);
    }
}
