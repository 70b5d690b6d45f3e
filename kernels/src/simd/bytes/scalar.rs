//! Four bytes, or two numbers of 16 bits, in one lane.

use super::{ByteKernel, ByteSimd};
use crate::simd::Scalar;

/// `f` on each byte.
#[inline(always)]
fn each8(a: i32, f: impl Fn(u8) -> u8) -> i32 {
    i32::from_le_bytes(a.to_le_bytes().map(f))
}

/// `f` on each pair of numbers of 16 bits.
#[inline(always)]
fn each16(a: i32, b: i32, f: impl Fn(u16, u16) -> u16) -> i32 {
    let (low, high) = (f(a as u16, b as u16), f((a >> 16) as u16, (b >> 16) as u16));
    (u32::from(low) | u32::from(high) << 16) as i32
}

/// A function of its own for `kernel`.
#[inline(never)]
fn entry<K: ByteKernel>(token: Scalar, kernel: K) -> K::Out {
    kernel.run(token)
}

impl ByteSimd for Scalar {
    type Table16 = [u8; 16];

    const KEY_BIAS: u8 = 0;
    const DOT_ROWS: usize = 4;

    #[inline(always)]
    fn call<K: ByteKernel>(self, kernel: K) -> K::Out {
        entry(self, kernel)
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8) -> i32 {
        // SAFETY: the caller promises four bytes.
        i32::from_le_bytes(unsafe { p.cast::<[u8; 4]>().read() })
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, v: i32) {
        // SAFETY: the caller promises room for four bytes.
        unsafe { p.cast::<[u8; 4]>().write(v.to_le_bytes()) }
    }
    #[inline(always)]
    unsafe fn store_u8(self, p: *mut u8, v: i32) {
        // SAFETY: the caller promises room for one byte.
        unsafe { p.write(v as u8) }
    }
    #[inline(always)]
    fn dot4(self, acc: i32, keys: i32, x: i32) -> i32 {
        let products =
            keys.to_le_bytes().into_iter().zip(x.to_le_bytes()).map(|(k, x)| i32::from(k as i8) * i32::from(x as i8));
        acc.wrapping_add(products.sum())
    }
    #[inline(always)]
    fn add8(self, a: i32, b: i32) -> i32 {
        let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
        i32::from_le_bytes(std::array::from_fn(|i| a[i].wrapping_add(b[i])))
    }
    #[inline(always)]
    fn add16(self, a: i32, b: i32) -> i32 {
        each16(a, b, u16::wrapping_add)
    }
    #[inline(always)]
    fn sub16(self, a: i32, b: i32) -> i32 {
        each16(a, b, u16::wrapping_sub)
    }
    #[inline(always)]
    fn shl16<const N: i32>(self, a: i32) -> i32 {
        each16(a, 0, |a, _| a << N)
    }
    #[inline(always)]
    fn shr16<const N: i32>(self, a: i32) -> i32 {
        each16(a, 0, |a, _| a >> N)
    }
    #[inline(always)]
    fn max16(self, a: i32, b: i32) -> i32 {
        each16(a, b, u16::max)
    }
    #[inline(always)]
    fn at_least16(self, a: i32, b: i32) -> u32 {
        u32::from(a as u16 >= b as u16) | u32::from((a >> 16) as u16 >= (b >> 16) as u16) << 1
    }
    #[inline(always)]
    fn reduce_max16(self, a: i32) -> u16 {
        (a as u16).max((a >> 16) as u16)
    }
    #[inline(always)]
    unsafe fn table16(self, p: *const u8) -> [u8; 16] {
        // SAFETY: the caller promises 16 bytes.
        unsafe { p.cast::<[u8; 16]>().read() }
    }
    #[inline(always)]
    fn lookup16(self, table: [u8; 16], i: i32) -> i32 {
        each8(i, |i| table[usize::from(i & 15)])
    }
    #[inline(always)]
    unsafe fn lookup128(self, table: *const u8, i: i32) -> i32 {
        // SAFETY: the caller promises 128 bytes.
        each8(i, |i| unsafe { *table.add(usize::from(i & 127)) })
    }
    #[inline(always)]
    unsafe fn lookup256(self, table: *const u8, i: i32) -> i32 {
        // SAFETY: the caller promises 256 bytes.
        each8(i, |i| unsafe { *table.add(usize::from(i)) })
    }
    #[inline(always)]
    unsafe fn lookup256_words(self, table: *const u16, i: i32) -> [i32; 2] {
        // SAFETY: the caller promises 256 numbers.
        let words = i.to_le_bytes().map(|i| u32::from(unsafe { table.add(usize::from(i)).read_unaligned() }));
        [(words[0] | words[2] << 16) as i32, (words[1] | words[3] << 16) as i32]
    }
}
