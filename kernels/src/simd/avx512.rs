//! AVX-512: 16 lanes, masks in their own registers.

use super::{Kernel, Simd, Tile, TileOp};
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// The token of AVX-512 with the extensions that `L` names.
#[derive(Clone, Copy, Debug)]
pub struct Avx512<L = Base>(PhantomData<L>);

/// Extensions of AVX-512.
///
/// # Safety
/// The CPU has all that the name says where `is_available` is true.
pub unsafe trait Level: Copy + Send + Sync + 'static {
    /// True if this CPU has the instructions of the level, and everything of [`Base`].
    fn is_available() -> bool;

    /// True if there is [`Level::dot_bf16`].
    const DOT_BF16: bool = false;

    /// [`Simd::dot_bf16`]. Never called without `DOT_BF16`.
    ///
    /// # Safety
    /// The CPU has the level.
    #[inline(always)]
    unsafe fn dot_bf16(acc: __m512, _a: __m512, _b: __m512) -> __m512 {
        acc
    }

    /// [`Simd::apart`]: compiled for [`Base`] alone, once for all levels that need no more for it.
    #[inline(always)]
    fn apart<K: Kernel>(token: Avx512<Self>, kernel: K) -> K::Out {
        // SAFETY: the token proves that the CPU has the features.
        unsafe { apart(token.base(), kernel) }
    }
}

/// AVX-512 F, BW, DQ and VL (and AVX2, FMA and F16C, which no CPU with those lacks).
#[derive(Clone, Copy, Debug)]
pub struct Base;

/// [`Base`] and VNNI: products of bytes, summed.
#[derive(Clone, Copy, Debug)]
pub struct Vnni;

/// [`Vnni`] and VBMI: lookups of bytes across a vector.
#[derive(Clone, Copy, Debug)]
pub struct Vbmi;

// SAFETY: asks the CPU.
unsafe impl Level for Base {
    #[inline]
    fn is_available() -> bool {
        static HAS: OnceLock<bool> = OnceLock::new();
        *HAS.get_or_init(|| {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && super::Avx2::new().is_some()
        })
    }
}

// SAFETY: asks the CPU.
unsafe impl Level for Vnni {
    #[inline]
    fn is_available() -> bool {
        Base::is_available() && is_x86_feature_detected!("avx512vnni")
    }
}

// SAFETY: asks the CPU.
unsafe impl Level for Vbmi {
    #[inline]
    fn is_available() -> bool {
        Vnni::is_available() && is_x86_feature_detected!("avx512vbmi")
    }
}

/// [`Base`] and BF16: products of bf16, summed.
#[derive(Clone, Copy, Debug)]
pub struct Bf16;

impl Bf16 {
    /// True if this CPU has the level and its instruction takes less time than the two multiply-adds in f32 that do the same.
    ///
    /// On AMD since Zen 4 it takes as long as one of them (iree-org/iree#15089 has twice the operations of f32 in a second), and
    /// Intel's Cooper Lake was made for it. On Intel since Sapphire Rapids, which are told by FP16, bf16 is meant for AMX: the
    /// instruction is four operations, one every other cycle (`VDPBF16PSZr` in LLVM's scheduling model), and products take
    /// twice as long as in f32 (libxsmm/tpp-mlir#1025).
    pub fn is_fast() -> bool {
        static FAST: OnceLock<bool> = OnceLock::new();
        *FAST.get_or_init(|| {
            let vendor = __cpuid(0);
            let intel = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel";
            Self::is_available() && !(intel && is_x86_feature_detected!("avx512fp16"))
        })
    }
}

// SAFETY: asks the CPU.
unsafe impl Level for Bf16 {
    #[inline]
    fn is_available() -> bool {
        Base::is_available() && is_x86_feature_detected!("avx512bf16")
    }

    const DOT_BF16: bool = true;

    #[inline(always)]
    unsafe fn dot_bf16(acc: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the CPU has the level; any 512 bits are 32 bf16.
        unsafe {
            let (a, b) = (std::mem::transmute::<__m512, __m512bh>(a), std::mem::transmute::<__m512, __m512bh>(b));
            _mm512_dpbf16_ps(acc, a, b)
        }
    }

    #[inline(always)]
    fn apart<K: Kernel>(token: Avx512<Self>, kernel: K) -> K::Out {
        // SAFETY: the token proves that the CPU has the features.
        unsafe { apart_bf16(token, kernel) }
    }
}

/// Compiles `kernel` with the features of the token.
///
/// # Safety
/// The CPU has the features, which holding a token proves.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
pub(super) unsafe fn entry_bf16<K: Kernel>(token: Avx512<Bf16>, kernel: K) -> K::Out {
    kernel.run(token)
}

/// [`entry_bf16`], never part of its caller.
///
/// # Safety
/// That of [`entry_bf16`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn apart_bf16<K: Kernel>(token: Avx512<Bf16>, kernel: K) -> K::Out {
    kernel.run(token)
}

#[cfg(test)]
mod emulated {
    use super::*;

    /// [`Bf16`] on a CPU with [`Base`] only: other instructions in the place of that one.
    #[derive(Clone, Copy)]
    pub struct Emulated;

    // SAFETY: asks the CPU.
    unsafe impl Level for Emulated {
        fn is_available() -> bool {
            Base::is_available()
        }

        const DOT_BF16: bool = true;

        unsafe fn dot_bf16(acc: __m512, a: __m512, b: __m512) -> __m512 {
            let s = Avx512::<Base>(PhantomData);
            s.dot_bf16_of_parts(acc, a, b)
        }

        fn apart<K: Kernel>(token: Avx512<Self>, kernel: K) -> K::Out {
            kernel.run(token)
        }
    }

    /// Runs `kernel` as on a CPU with [`Bf16`]; `None` without AVX-512.
    pub fn run_emulated_bf16<K: Kernel>(kernel: K) -> Option<K::Out> {
        Avx512::<Emulated>::new().map(|token| kernel.run(token))
    }
}
#[cfg(test)]
pub use emulated::run_emulated_bf16;

/// Runs `kernel` with the instruction for products of bf16, fast or not; `None` where the CPU has none.
#[cfg(test)]
pub fn run_instruction_bf16<K: Kernel>(kernel: K) -> Option<K::Out> {
    // SAFETY: the token proves that the CPU has the features.
    Avx512::<Bf16>::new().map(|token| unsafe { entry_bf16(token, kernel) })
}

impl<L: Level> Avx512<L> {
    /// The token, if this CPU has the extensions.
    #[inline]
    pub fn new() -> Option<Self> {
        L::is_available().then_some(Self(PhantomData))
    }

    /// The token without extensions, which every level has.
    #[inline(always)]
    fn base(self) -> Avx512 {
        Avx512(PhantomData)
    }
}

/// Compiles `kernel` with the features of the token.
///
/// # Safety
/// The CPU has the features, which holding a token proves.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn entry<K: Kernel>(token: Avx512, kernel: K) -> K::Out {
    kernel.run(token)
}

/// [`entry`], never part of its caller.
///
/// # Safety
/// That of [`entry`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn apart<K: Kernel>(token: Avx512, kernel: K) -> K::Out {
    kernel.run(token)
}

/// Compiles a step with the features of the token.
///
/// # Safety
/// The CPU has the features, and what [`TileFn`](super::TileFn) asks for.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn tile<O: TileOp>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { O::run(Avx512::<Base>(PhantomData), tile) }
}

#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

/// The four vectors, to the compiler the results of one instruction: it then keeps the
/// steps of four chains next to each other. Left alone it puts one chain after the
/// other wherever registers are short.
#[inline]
#[target_feature(enable = "avx512f")]
fn together([mut a, mut b, mut c, mut d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: a comment, no instruction.
    unsafe {
        std::arch::asm!(
            "/* {0} {1} {2} {3} */",
            inout(zmm_reg) a,
            inout(zmm_reg) b,
            inout(zmm_reg) c,
            inout(zmm_reg) d,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    [a, b, c, d]
}

/// The vector as what an instruction makes of it that may use any memory.
#[inline]
#[target_feature(enable = "avx512f")]
fn settled(mut a: __m512) -> __m512 {
    // SAFETY: a comment, no instruction.
    unsafe { std::arch::asm!("/* {0} */", inout(zmm_reg) a, options(nostack, preserves_flags)) };
    a
}

impl<L: Level> Simd for Avx512<L> {
    type F = __m512;
    type I = __m512i;
    type M = __mmask16;

    const LANES: usize = 16;
    const FAST_LOOKUP: bool = true;
    const FAST_SCALE: bool = true;
    const DOT_BF16: bool = L::DOT_BF16;

    #[inline(always)]
    fn apart<K: Kernel>(self, kernel: K) -> K::Out {
        L::apart(self, kernel)
    }
    #[inline(always)]
    fn dot_bf16(self, acc: __m512, a: __m512, b: __m512) -> __m512 {
        if L::DOT_BF16 {
            // SAFETY: the token proves that the CPU has the level.
            unsafe { L::dot_bf16(acc, a, b) }
        } else {
            self.dot_bf16_of_parts(acc, a, b)
        }
    }
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: a hint, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: the caller promises 16 floats; the token the instruction.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: the caller promises room for 16 floats; the token the instruction.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, p: *const f32, n: usize) -> __m512 {
        // SAFETY: masked lanes are not read; the caller promises the others.
        unsafe { _mm512_maskz_loadu_ps(mask(n), p) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, p: *mut f32, v: __m512, n: usize) {
        // SAFETY: masked lanes are not written; the caller promises the others.
        unsafe { _mm512_mask_storeu_ps(p, mask(n), v) }
    }
    #[inline(always)]
    fn together(self, a: [__m512; 4]) -> [__m512; 4] {
        // SAFETY: the token proves that the CPU has the registers.
        unsafe { together(a) }
    }
    #[inline(always)]
    fn settled(self, a: __m512) -> __m512 {
        // SAFETY: the token proves that the CPU has the registers.
        unsafe { settled(a) }
    }
    #[inline(always)]
    unsafe fn load_u16(self, p: *const u16) -> __m512i {
        // SAFETY: the caller promises 32 bytes; the token the instructions.
        unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_u16(self, p: *mut u16, v: __m512i) {
        // SAFETY: the caller promises room for 32 bytes; the token the instructions.
        unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(v)) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> __m512 {
        // SAFETY: the caller promises 32 bytes; the token the instructions.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16, v: __m512) {
        // SAFETY: the caller promises room for 32 bytes; the token the instructions.
        unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v)) }
    }
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_row: isize, to: *mut f32, to_row: usize) {
        // SAFETY: the caller promises 16 rows of 16 on both sides; the token the instructions.
        unsafe {
            let mut a = [_mm512_setzero_ps(); 16];
            for (i, a) in a.iter_mut().enumerate() {
                *a = _mm512_loadu_ps(from.offset(from_row * i as isize));
            }
            let mut b = a;
            for i in 0..8 {
                b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
            }
            // Now quarter `v` of a[4 h + j] has column 4 v + j of the rows 4 h..
            for h in [0, 4, 8, 12] {
                a[h] = _mm512_shuffle_ps::<0x44>(b[h], b[h + 2]);
                a[h + 1] = _mm512_shuffle_ps::<0xee>(b[h], b[h + 2]);
                a[h + 2] = _mm512_shuffle_ps::<0x44>(b[h + 1], b[h + 3]);
                a[h + 3] = _mm512_shuffle_ps::<0xee>(b[h + 1], b[h + 3]);
            }
            for j in 0..4 {
                // Quarters 0 and 1, then 2 and 3, of two groups of rows each.
                let low =
                    [_mm512_shuffle_f32x4::<0x44>(a[j], a[j + 4]), _mm512_shuffle_f32x4::<0x44>(a[j + 8], a[j + 12])];
                let high =
                    [_mm512_shuffle_f32x4::<0xee>(a[j], a[j + 4]), _mm512_shuffle_f32x4::<0xee>(a[j + 8], a[j + 12])];
                _mm512_storeu_ps(to.add(j * to_row), _mm512_shuffle_f32x4::<0x88>(low[0], low[1]));
                _mm512_storeu_ps(to.add((4 + j) * to_row), _mm512_shuffle_f32x4::<0xdd>(low[0], low[1]));
                _mm512_storeu_ps(to.add((8 + j) * to_row), _mm512_shuffle_f32x4::<0x88>(high[0], high[1]));
                _mm512_storeu_ps(to.add((12 + j) * to_row), _mm512_shuffle_f32x4::<0xdd>(high[0], high[1]));
            }
        }
    }
    #[inline(always)]
    fn lookup(self, table: &[f32; 32], i: __m512i) -> __m512 {
        // SAFETY: the token proves the instruction; each half of the table has 16 floats.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(table.as_ptr()), _mm512_loadu_ps(table[16..].as_ptr()));
            _mm512_permutex2var_ps(low, i, high)
        }
    }
    #[inline(always)]
    fn mask_and(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a & b
    }
    #[inline(always)]
    fn mask_or(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a | b
    }
    #[inline(always)]
    fn mask_not(self, a: __mmask16) -> __mmask16 {
        !a
    }
    #[inline(always)]
    fn any(self, m: __mmask16) -> bool {
        m != 0
    }
    #[inline(always)]
    fn all(self, m: __mmask16) -> bool {
        m == 0xffff
    }
    #[inline(always)]
    fn first(self, n: usize) -> __mmask16 {
        mask(n)
    }
    #[inline(always)]
    fn ishl<const N: i32>(self, a: __m512i) -> __m512i {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe { _mm512_sll_epi32(a, _mm_cvtsi32_si128(N)) }
    }
    #[inline(always)]
    fn ishr<const N: i32>(self, a: __m512i) -> __m512i {
        // SAFETY: the token proves that the CPU has these instructions.
        unsafe { _mm512_sra_epi32(a, _mm_cvtsi32_si128(N)) }
    }

    ops! {
        splat(x: f32) -> __m512 = _mm512_set1_ps(x);
        add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        sqrt(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
        mul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        nmul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fnmadd_ps(a, b, c);
        fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        floor(a: __m512) -> __m512 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a);
        ceil(a: __m512) -> __m512 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(a);
        round(a: __m512) -> __m512 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        trunc(a: __m512) -> __m512 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(a);
        scale2(a: __m512, t: __m512) -> __m512 = _mm512_scalef_ps(a, _mm512_sub_ps(t, _mm512_set1_ps(12_582_912.0)));
        lt(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b);
        le(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b);
        eq(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b);
        unordered(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b);
        select(m: __mmask16, a: __m512, b: __m512) -> __m512 = _mm512_mask_blend_ps(m, b, a);
        bits(a: __m512) -> __m512i = _mm512_castps_si512(a);
        as_float(a: __m512i) -> __m512 = _mm512_castsi512_ps(a);
        isplat(x: i32) -> __m512i = _mm512_set1_epi32(x);
        iadd(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        isub(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32(a, b);
        iand(a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512(a, b);
        ior(a: __m512i, b: __m512i) -> __m512i = _mm512_or_si512(a, b);
        ixor(a: __m512i, b: __m512i) -> __m512i = _mm512_xor_si512(a, b);
        ieq(a: __m512i, b: __m512i) -> __mmask16 = _mm512_cmpeq_epi32_mask(a, b);
        iselect(m: __mmask16, a: __m512i, b: __m512i) -> __m512i = _mm512_mask_blend_epi32(m, b, a);
        to_float(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
        to_int(a: __m512) -> __m512i = _mm512_cvtps_epi32(a);
        reduce_add(a: __m512) -> f32 = _mm512_reduce_add_ps(a);
        reduce_max(a: __m512) -> f32 = _mm512_reduce_max_ps(a);
    }
}
