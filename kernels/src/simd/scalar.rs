//! One lane, on any target, without fused multiply-add: the same bits everywhere.

use super::{Kernel, Simd, half};

/// The token of the baseline.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

/// Veltkamp's split of a 24-bit significand into two of 12 (T. J. Dekker,
/// "A floating-point technique for extending the available precision", 1971).
#[inline(always)]
fn split(a: f32) -> (f32, f32) {
    const SPLITTER: f32 = 4097.0; // 2^12 + 1
    let c = SPLITTER * a;
    let hi = c - (c - a);
    (hi, a - hi)
}

#[inline(always)]
fn two_product(a: f32, b: f32) -> (f32, f32) {
    let p = a * b;
    let ((ah, al), (bh, bl)) = (split(a), split(b));
    (p, ((ah * bh - p) + ah * bl + al * bh) + al * bl)
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

impl Simd for Scalar {
    type F = f32;
    type I = i32;
    type M = bool;

    const LANES: usize = 1;
    const FAST_LOOKUP: bool = true;
    const FAST_SCALE: bool = false;

    #[inline(always)]
    fn apart<K: Kernel>(self, kernel: K) -> K::Out {
        #[inline(never)]
        fn apart<K: Kernel>(token: Scalar, kernel: K) -> K::Out {
            kernel.run(token)
        }
        apart(self, kernel)
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> f32 {
        // SAFETY: the caller promises one float.
        unsafe { p.read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: f32) {
        // SAFETY: the caller promises room for one float.
        unsafe { p.write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_partial(self, p: *const f32, n: usize) -> f32 {
        if n == 0 {
            return 0.0;
        }
        // SAFETY: the caller promises n = 1 float.
        unsafe { p.read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_partial(self, p: *mut f32, v: f32, n: usize) {
        if n != 0 {
            // SAFETY: the caller promises room for n = 1 float.
            unsafe { p.write_unaligned(v) }
        }
    }
    #[inline(always)]
    unsafe fn load_u16(self, p: *const u16) -> i32 {
        // SAFETY: the caller promises one number.
        unsafe { p.read_unaligned() }.into()
    }
    #[inline(always)]
    unsafe fn store_u16(self, p: *mut u16, v: i32) {
        // SAFETY: the caller promises room for one number.
        unsafe { p.write_unaligned(v as u16) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> f32 {
        // SAFETY: the caller promises one number.
        half::f16_to_f32(unsafe { p.read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16, v: f32) {
        // SAFETY: the caller promises room for one number.
        unsafe { p.write_unaligned(half::f32_to_f16(v)) }
    }
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, _: isize, to: *mut f32, _: usize) {
        // SAFETY: the caller promises one element of each.
        unsafe { to.write_unaligned(from.read_unaligned()) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32, b: f32) -> f32 {
        a / b
    }
    #[inline(always)]
    fn sqrt(self, a: f32) -> f32 {
        a.sqrt()
    }
    #[inline(always)]
    fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
    #[inline(always)]
    fn nmul_add(self, a: f32, b: f32, c: f32) -> f32 {
        c - a * b
    }
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        let (p, e) = two_product(a, b);
        // Knuth's two-sum
        let s = p + c;
        let v = s - p;
        let t = (p - (s - v)) + (c - v);
        s + (t + e)
    }
    #[inline(always)]
    fn min(self, a: f32, b: f32) -> f32 {
        if a < b { a } else { b }
    }
    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }
    #[inline(always)]
    fn floor(self, a: f32) -> f32 {
        a.floor()
    }
    #[inline(always)]
    fn ceil(self, a: f32) -> f32 {
        a.ceil()
    }
    #[inline(always)]
    fn round(self, a: f32) -> f32 {
        a.round_ties_even()
    }
    #[inline(always)]
    fn trunc(self, a: f32) -> f32 {
        a.trunc()
    }
    #[inline(always)]
    fn scale2(self, a: f32, t: f32) -> f32 {
        let n = (t - 12_582_912.0) as i32;
        let half = n >> 1;
        a * power_of_two(half) * power_of_two(n - half)
    }
    #[inline(always)]
    fn lt(self, a: f32, b: f32) -> bool {
        a < b
    }
    #[inline(always)]
    fn le(self, a: f32, b: f32) -> bool {
        a <= b
    }
    #[inline(always)]
    fn eq(self, a: f32, b: f32) -> bool {
        a == b
    }
    #[inline(always)]
    fn unordered(self, a: f32, b: f32) -> bool {
        a.is_nan() | b.is_nan()
    }
    #[inline(always)]
    fn select(self, m: bool, a: f32, b: f32) -> f32 {
        if m { a } else { b }
    }
    #[inline(always)]
    fn mask_and(self, a: bool, b: bool) -> bool {
        a & b
    }
    #[inline(always)]
    fn mask_or(self, a: bool, b: bool) -> bool {
        a | b
    }
    #[inline(always)]
    fn mask_not(self, a: bool) -> bool {
        !a
    }
    #[inline(always)]
    fn any(self, m: bool) -> bool {
        m
    }
    #[inline(always)]
    fn all(self, m: bool) -> bool {
        m
    }
    #[inline(always)]
    fn first(self, n: usize) -> bool {
        n > 0
    }
    #[inline(always)]
    fn bits(self, a: f32) -> i32 {
        a.to_bits() as i32
    }
    #[inline(always)]
    fn as_float(self, a: i32) -> f32 {
        f32::from_bits(a as u32)
    }
    #[inline(always)]
    fn isplat(self, x: i32) -> i32 {
        x
    }
    #[inline(always)]
    fn iadd(self, a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn isub(self, a: i32, b: i32) -> i32 {
        a.wrapping_sub(b)
    }
    #[inline(always)]
    fn iand(self, a: i32, b: i32) -> i32 {
        a & b
    }
    #[inline(always)]
    fn ior(self, a: i32, b: i32) -> i32 {
        a | b
    }
    #[inline(always)]
    fn ixor(self, a: i32, b: i32) -> i32 {
        a ^ b
    }
    #[inline(always)]
    fn ishl<const N: i32>(self, a: i32) -> i32 {
        a << N
    }
    #[inline(always)]
    fn ishr<const N: i32>(self, a: i32) -> i32 {
        a >> N
    }
    #[inline(always)]
    fn ieq(self, a: i32, b: i32) -> bool {
        a == b
    }
    #[inline(always)]
    fn iselect(self, m: bool, a: i32, b: i32) -> i32 {
        if m { a } else { b }
    }
    #[inline(always)]
    fn to_float(self, a: i32) -> f32 {
        a as f32
    }
    #[inline(always)]
    fn to_int(self, a: f32) -> i32 {
        // 2^23 * 1.5 pushes the fraction out, in the current (nearest) rounding.
        if a.abs() < 4_194_304.0 { ((a + 12_582_912.0) - 12_582_912.0) as i32 } else { a as i32 }
    }
    #[inline(always)]
    fn lookup(self, table: &[f32; 32], i: i32) -> f32 {
        table[(i & 31) as usize]
    }
    #[inline(always)]
    fn reduce_add(self, a: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn reduce_max(self, a: f32) -> f32 {
        a
    }
}
