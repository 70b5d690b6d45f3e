//! AVX2 with FMA: 8 lanes, masks as all-ones lanes.

use super::{Kernel, Simd, Tile, TileOp};
use std::arch::x86_64::*;
use std::sync::OnceLock;

/// The token of AVX2 with FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if this CPU has AVX2, FMA and F16C.
    #[inline]
    pub fn new() -> Option<Self> {
        static HAS: OnceLock<bool> = OnceLock::new();
        let has = *HAS.get_or_init(|| {
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
        });
        has.then_some(Self(()))
    }
}

/// Compiles `kernel` with the features of the token.
///
/// # Safety
/// The CPU has the features, which holding a token proves.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn entry<K: Kernel>(token: Avx2, kernel: K) -> K::Out {
    kernel.run(token)
}

/// [`entry`], never part of its caller.
///
/// # Safety
/// That of [`entry`].
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn apart<K: Kernel>(token: Avx2, kernel: K) -> K::Out {
    kernel.run(token)
}

/// Compiles a step with the features of the token.
///
/// # Safety
/// The CPU has the features, and what [`TileFn`](super::TileFn) asks for.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn tile<O: TileOp>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { O::run(Avx2(()), tile) }
}

impl Avx2 {
    #[inline(always)]
    fn imask(self, n: usize) -> __m256i {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane)
        }
    }
}

/// The four vectors, to the compiler the results of one instruction: it then keeps the
/// steps of four chains next to each other. Left alone it puts one chain after the
/// other wherever registers are short.
#[inline]
#[target_feature(enable = "avx")]
fn together([mut a, mut b, mut c, mut d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: a comment, no instruction.
    unsafe {
        std::arch::asm!(
            "/* {0} {1} {2} {3} */",
            inout(ymm_reg) a,
            inout(ymm_reg) b,
            inout(ymm_reg) c,
            inout(ymm_reg) d,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    [a, b, c, d]
}

impl Simd for Avx2 {
    type F = __m256;
    type I = __m256i;
    type M = __m256;

    const LANES: usize = 8;
    const FAST_LOOKUP: bool = false;
    const FAST_SCALE: bool = false;

    #[inline(always)]
    fn apart<K: Kernel>(self, kernel: K) -> K::Out {
        // SAFETY: the token proves that the CPU has the features.
        unsafe { apart(self, kernel) }
    }
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: a hint, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: the caller promises 8 floats; the token the instruction.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: the caller promises room for 8 floats; the token the instruction.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, p: *const f32, n: usize) -> __m256 {
        // SAFETY: masked lanes are not read; the caller promises the others.
        unsafe { _mm256_maskload_ps(p, self.imask(n)) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, p: *mut f32, v: __m256, n: usize) {
        // SAFETY: masked lanes are not written; the caller promises the others.
        unsafe { _mm256_maskstore_ps(p, self.imask(n), v) }
    }
    #[inline(always)]
    unsafe fn load_u16(self, p: *const u16) -> __m256i {
        // SAFETY: the caller promises 16 bytes; the token the instructions.
        unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_u16(self, p: *mut u16, v: __m256i) {
        // SAFETY: the caller promises room for 16 bytes; the token the instructions.
        unsafe {
            // Without the upper halves nothing saturates. Each 128 bits are packed into their own lower half.
            let v = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
            let v = _mm256_permute4x64_epi64::<0b10_00>(_mm256_packus_epi32(v, v));
            _mm_storeu_si128(p.cast(), _mm256_castsi256_si128(v));
        }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> __m256 {
        // SAFETY: the caller promises 16 bytes; the token the instructions.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16, v: __m256) {
        // SAFETY: the caller promises room for 16 bytes; the token the instructions.
        unsafe { _mm_storeu_si128(p.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v)) }
    }
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_row: isize, to: *mut f32, to_row: usize) {
        // SAFETY: the caller promises 8 rows of 8 on both sides; the token the instructions.
        unsafe {
            let mut a = [_mm256_setzero_ps(); 8];
            for (i, a) in a.iter_mut().enumerate() {
                *a = _mm256_loadu_ps(from.offset(from_row * i as isize));
            }
            let mut b = a;
            for i in 0..4 {
                b[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
            }
            // Now a[4 h + j] has column j of the rows 4 h.. in its lower half, column 4 + j in its upper one.
            for h in [0, 4] {
                a[h] = _mm256_shuffle_ps::<0x44>(b[h], b[h + 2]);
                a[h + 1] = _mm256_shuffle_ps::<0xee>(b[h], b[h + 2]);
                a[h + 2] = _mm256_shuffle_ps::<0x44>(b[h + 1], b[h + 3]);
                a[h + 3] = _mm256_shuffle_ps::<0xee>(b[h + 1], b[h + 3]);
            }
            for j in 0..4 {
                _mm256_storeu_ps(to.add(j * to_row), _mm256_permute2f128_ps::<0x20>(a[j], a[j + 4]));
                _mm256_storeu_ps(to.add((j + 4) * to_row), _mm256_permute2f128_ps::<0x31>(a[j], a[j + 4]));
            }
        }
    }
    #[inline(always)]
    fn lookup(self, table: &[f32; 32], i: __m256i) -> __m256 {
        // SAFETY: the token proves the instruction; five bits are an index of the table.
        unsafe { _mm256_i32gather_ps::<4>(table.as_ptr(), _mm256_and_si256(i, _mm256_set1_epi32(31))) }
    }
    #[inline(always)]
    fn together(self, a: [__m256; 4]) -> [__m256; 4] {
        // SAFETY: the token proves that the CPU has the registers.
        unsafe { together(a) }
    }
    #[inline(always)]
    fn scale2(self, a: __m256, t: __m256) -> __m256 {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe {
            // n in two halves, in the low bits of each: the first goes into the exponent of `a`, which stays
            // normal, and the second makes a factor.
            let t = _mm256_castps_si256(t);
            let half = _mm256_srai_epi32::<1>(t);
            let rest = _mm256_slli_epi32::<23>(_mm256_sub_epi32(t, half));
            let factor = _mm256_castsi256_ps(_mm256_add_epi32(rest, _mm256_set1_epi32(0x3f80_0000)));
            let scaled = _mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32::<23>(half));
            // The difference is 0, or the NaN that the addition has spoilt.
            _mm256_fmadd_ps(_mm256_castsi256_ps(scaled), factor, _mm256_sub_ps(a, a))
        }
    }
    #[inline(always)]
    fn first(self, n: usize) -> __m256 {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe { _mm256_castsi256_ps(self.imask(n)) }
    }
    #[inline(always)]
    fn ishl<const N: i32>(self, a: __m256i) -> __m256i {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe { _mm256_slli_epi32::<N>(a) }
    }
    #[inline(always)]
    fn ishr<const N: i32>(self, a: __m256i) -> __m256i {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe { _mm256_srai_epi32::<N>(a) }
    }

    ops! {
        splat(x: f32) -> __m256 = _mm256_set1_ps(x);
        add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        sqrt(a: __m256) -> __m256 = _mm256_sqrt_ps(a);
        mul_add(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        nmul_add(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fnmadd_ps(a, b, c);
        fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
        max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        floor(a: __m256) -> __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a);
        ceil(a: __m256) -> __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(a);
        round(a: __m256) -> __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        trunc(a: __m256) -> __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(a);
        lt(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_LT_OQ>(a, b);
        le(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_LE_OQ>(a, b);
        eq(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b);
        unordered(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, b);
        select(m: __m256, a: __m256, b: __m256) -> __m256 = _mm256_blendv_ps(b, a, m);
        mask_and(a: __m256, b: __m256) -> __m256 = _mm256_and_ps(a, b);
        mask_or(a: __m256, b: __m256) -> __m256 = _mm256_or_ps(a, b);
        mask_not(a: __m256) -> __m256 = _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1)));
        any(m: __m256) -> bool = _mm256_movemask_ps(m) != 0;
        all(m: __m256) -> bool = _mm256_movemask_ps(m) == 0xff;
        bits(a: __m256) -> __m256i = _mm256_castps_si256(a);
        as_float(a: __m256i) -> __m256 = _mm256_castsi256_ps(a);
        isplat(x: i32) -> __m256i = _mm256_set1_epi32(x);
        iadd(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
        isub(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi32(a, b);
        iand(a: __m256i, b: __m256i) -> __m256i = _mm256_and_si256(a, b);
        ior(a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256(a, b);
        ixor(a: __m256i, b: __m256i) -> __m256i = _mm256_xor_si256(a, b);
        ieq(a: __m256i, b: __m256i) -> __m256 = _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b));
        iselect(m: __m256, a: __m256i, b: __m256i) -> __m256i =
            _mm256_blendv_epi8(b, a, _mm256_castps_si256(m));
        to_float(a: __m256i) -> __m256 = _mm256_cvtepi32_ps(a);
        to_int(a: __m256) -> __m256i = _mm256_cvtps_epi32(a);
        reduce_add(a: __m256) -> f32 = {
            let v = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        };
        reduce_max(a: __m256) -> f32 = {
            let v = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
        };
    }
}
