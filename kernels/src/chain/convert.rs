//! Steps that change the element type: casts, and the ends of a chain whose
//! elements are not lanes.

use super::integer::{Each1, Loop1};
use crate::Isa;
use crate::simd::{Simd, Tile, TileFn, TileOp, tile_fn};
use bgz_passes::ir::{DType, Scalar};
use half::{bf16, f16};
use std::marker::PhantomData;

/// How elements are held while a chain runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    F32,
    F64,
    /// Narrower integers are held as it, in their range.
    I32,
    I64,
    /// An i32 of 0 or 1.
    Truth,
}

impl Lane {
    pub(super) fn size(self) -> usize {
        if matches!(self, Lane::I64 | Lane::F64) { 8 } else { 4 }
    }
}

macro_rules! convert {
    ($isa:ident, $a:ty => $y:ty, |$x:ident| $body:expr) => {{
        struct Convert;
        impl Each1<$a, $y> for Convert {
            #[inline(always)]
            fn each($x: $a) -> $y {
                $body
            }
        }
        tile_fn::<Loop1<Convert, $a, $y>>($isa)
    }};
}

/// Numbers of 16 bits in memory, f32 in a vector.
trait Short {
    /// # Safety
    /// `p` is valid for reading `LANES` elements.
    unsafe fn load<S: Simd>(s: S, p: *const u16) -> S::F;
    /// To nearest even.
    ///
    /// # Safety
    /// `p` is valid for writing `LANES` elements.
    unsafe fn store<S: Simd>(s: S, p: *mut u16, v: S::F);
}

struct F16;

impl Short for F16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const u16) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_f16(p) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, p: *mut u16, v: S::F) {
        // SAFETY: the caller's promise.
        unsafe { s.store_f16(p, v) }
    }
}

/// The upper half of an f32.
struct Bf16;

impl Short for Bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const u16) -> S::F {
        // SAFETY: the caller's promise.
        s.as_float(s.ishl::<16>(unsafe { s.load_u16(p) }))
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, p: *mut u16, v: S::F) {
        // SAFETY: the caller's promise.
        unsafe { s.store_u16(p, s.ishr::<16>(s.bits(s.round_bf16(v)))) }
    }
}

/// Lanes of the widest vector.
const MOST: usize = 16;

struct Load<K>(PhantomData<K>);
struct Store<K>(PhantomData<K>);
struct RoundTo<K>(PhantomData<K>);

impl<K: Short> TileOp for Load<K> {
    #[inline(always)]
    unsafe fn run<S: Simd>(s: S, t: &Tile) {
        const { assert!(S::LANES <= MOST) }
        let (a, out) = (t.a.cast::<u16>(), t.out.cast::<f32>());
        let mut i = 0;
        while i + S::LANES <= t.n {
            // SAFETY: i + LANES <= n, which the caller promises for both.
            unsafe { s.store(out.add(i), K::load(s, a.add(i))) };
            i += S::LANES;
        }
        if i < t.n {
            let mut rest = [0u16; MOST];
            // SAFETY: the rest of n elements, fewer than LANES, for which the array has room.
            unsafe {
                std::ptr::copy_nonoverlapping(t.a.add(2 * i), rest.as_mut_ptr().cast(), 2 * (t.n - i));
                s.store_partial(out.add(i), K::load(s, rest.as_ptr()), t.n - i);
            }
        }
    }
}

impl<K: Short> TileOp for Store<K> {
    #[inline(always)]
    unsafe fn run<S: Simd>(s: S, t: &Tile) {
        const { assert!(S::LANES <= MOST) }
        let (a, out) = (t.a.cast::<f32>(), t.out.cast::<u16>());
        let mut i = 0;
        while i + S::LANES <= t.n {
            // SAFETY: i + LANES <= n, which the caller promises for both.
            unsafe { K::store(s, out.add(i), s.load(a.add(i))) };
            i += S::LANES;
        }
        if i < t.n {
            let mut rest = [0u16; MOST];
            // SAFETY: the rest of n elements, fewer than LANES, for which the array has room.
            unsafe {
                K::store(s, rest.as_mut_ptr(), s.load_partial(a.add(i), t.n - i));
                std::ptr::copy_nonoverlapping(rest.as_ptr().cast(), t.out.add(2 * i), 2 * (t.n - i));
            }
        }
    }
}

impl<K: Short> TileOp for RoundTo<K> {
    #[inline(always)]
    unsafe fn run<S: Simd>(s: S, t: &Tile) {
        const { assert!(S::LANES <= MOST) }
        let (a, out) = (t.a.cast::<f32>(), t.out.cast::<f32>());
        let mut short = [0u16; MOST];
        let mut i = 0;
        while i < t.n {
            // SAFETY: the rest of n elements; the array has room for LANES.
            unsafe {
                K::store(s, short.as_mut_ptr(), s.load_upto(a.add(i), t.n - i));
                s.store_upto(out.add(i), K::load(s, short.as_ptr()), t.n - i);
            }
            i += S::LANES;
        }
    }
}

/// Reads f16 as f32 lanes.
pub(super) fn load_f16(isa: Isa) -> TileFn {
    tile_fn::<Load<F16>>(isa)
}

/// Reads bf16 as f32 lanes.
pub(super) fn load_bf16(isa: Isa) -> TileFn {
    tile_fn::<Load<Bf16>>(isa)
}

/// Reads bools, a byte each, as truth values.
pub(super) fn load_bool(isa: Isa) -> TileFn {
    convert!(isa, u8 => i32, |x| (x != 0).into())
}

/// Writes f32 lanes as f16.
pub(super) fn store_f16(isa: Isa) -> TileFn {
    tile_fn::<Store<F16>>(isa)
}

/// Writes f32 lanes as bf16.
pub(super) fn store_bf16(isa: Isa) -> TileFn {
    tile_fn::<Store<Bf16>>(isa)
}

/// Writes truth values as bytes.
pub(super) fn store_bool(isa: Isa) -> TileFn {
    convert!(isa, i32 => u8, |x| x as u8)
}

/// Rounds f32 lanes to what an f16 can hold.
pub(super) fn round_f16(isa: Isa) -> TileFn {
    tile_fn::<RoundTo<F16>>(isa)
}

/// Rounds f32 lanes to what a bf16 can hold.
pub(super) fn round_bf16(isa: Isa) -> TileFn {
    tile_fn::<RoundTo<Bf16>>(isa)
}

/// Reads integers of one or two bytes as i32 lanes; `None` for other dtypes.
pub(super) fn load_narrow(isa: Isa, dtype: DType) -> Option<TileFn> {
    Some(match dtype {
        DType::I16 => convert!(isa, i16 => i32, |x| x.into()),
        DType::I8 => convert!(isa, i8 => i32, |x| x.into()),
        DType::U8 => convert!(isa, u8 => i32, |x| x.into()),
        _ => return None,
    })
}

/// Writes i32 lanes as integers of one or two bytes; `None` for other dtypes.
pub(super) fn store_narrow(isa: Isa, dtype: DType) -> Option<TileFn> {
    Some(match dtype {
        DType::I16 => convert!(isa, i32 => i16, |x| x as i16),
        DType::I8 => convert!(isa, i32 => i8, |x| x as i8),
        DType::U8 => convert!(isa, i32 => u8, |x| x as u8),
        _ => return None,
    })
}

/// Brings i32 lanes into the range of integers of one or two bytes, which keep the low bits; `None` for other dtypes.
pub(super) fn wrap(isa: Isa, dtype: DType) -> Option<TileFn> {
    Some(match dtype {
        DType::I16 => convert!(isa, i32 => i32, |x| i32::from(x as i16)),
        DType::I8 => convert!(isa, i32 => i32, |x| i32::from(x as i8)),
        DType::U8 => convert!(isa, i32 => i32, |x| i32::from(x as u8)),
        _ => return None,
    })
}

/// Copies lanes.
pub(super) fn copy(isa: Isa, lane: Lane) -> TileFn {
    if lane.size() == 8 { convert!(isa, u64 => u64, |x| x) } else { convert!(isa, u32 => u32, |x| x) }
}

/// Converts lanes to those of a dtype: floats truncate and saturate, integers wrap, all but zero is true. What comes out for
/// an integer of fewer than 32 bits is to be [wrapped](wrap).
pub(super) fn cast(isa: Isa, from: Lane, to: DType) -> TileFn {
    use Lane::{F32, F64, I32, I64, Truth};
    let narrow = matches!(to, DType::I16 | DType::I8 | DType::U8);
    match (from, to) {
        // Rounded once: by way of f32 it would be twice.
        (F64, DType::F16) => convert!(isa, f64 => f32, |x| f16::from_f64(x).to_f32()),
        (F64, DType::BF16) => convert!(isa, f64 => f32, |x| bf16::from_f64(x).to_f32()),
        (I32, DType::F16) => convert!(isa, i32 => f32, |x| f16::from_f64(x.into()).to_f32()),
        (I32, DType::BF16) => convert!(isa, i32 => f32, |x| bf16::from_f64(x.into()).to_f32()),
        (I64, DType::F16) => convert!(isa, i64 => f32, |x| f16::from_f64(x as f64).to_f32()),
        (I64, DType::BF16) => convert!(isa, i64 => f32, |x| bf16::from_f64(x as f64).to_f32()),
        (F32, DType::F16) => round_f16(isa),
        (F32, DType::BF16) => round_bf16(isa),
        (F32, _) if narrow => convert!(isa, f32 => i32, |x| Scalar::narrow(x.into())),
        (F64, _) if narrow => convert!(isa, f64 => i32, |x| Scalar::narrow(x)),
        (F32, DType::F64) => convert!(isa, f32 => f64, |x| x.into()),
        (F32, DType::I32) => convert!(isa, f32 => i32, |x| x as i32),
        (F32, DType::I64) => convert!(isa, f32 => i64, |x| x as i64),
        (F32, DType::Bool) => convert!(isa, f32 => i32, |x| (x != 0.0).into()),
        (F64, DType::F32) => convert!(isa, f64 => f32, |x| x as f32),
        (F64, DType::I32) => convert!(isa, f64 => i32, |x| x as i32),
        (F64, DType::I64) => convert!(isa, f64 => i64, |x| x as i64),
        (F64, DType::Bool) => convert!(isa, f64 => i32, |x| (x != 0.0).into()),
        // Of truth values, 0 and 1 are exact in every dtype.
        (I32 | Truth, DType::F32) | (Truth, DType::F16 | DType::BF16) => convert!(isa, i32 => f32, |x| x as f32),
        (I32 | Truth, DType::F64) => convert!(isa, i32 => f64, |x| x.into()),
        (I32 | Truth, DType::I64) => convert!(isa, i32 => i64, |x| x.into()),
        (I32, DType::Bool) => convert!(isa, i32 => i32, |x| (x != 0).into()),
        (I64, DType::F32) => convert!(isa, i64 => f32, |x| x as f32),
        (I64, DType::F64) => convert!(isa, i64 => f64, |x| x as f64),
        (I64, DType::Bool) => convert!(isa, i64 => i32, |x| (x != 0).into()),
        (I64, DType::I32 | DType::I16 | DType::I8 | DType::U8) => convert!(isa, i64 => i32, |x| x as i32),
        (I32 | Truth, DType::I32 | DType::I16 | DType::I8 | DType::U8) => copy(isa, I32),
        (F32, _) | (Truth, DType::Bool) => copy(isa, F32),
        (F64, _) | (I64, DType::I64) => copy(isa, I64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x` through a step, in pieces of many lengths.
    fn through<A: Copy, Y: Copy + Default>(f: TileFn, x: &[A]) -> Vec<Y> {
        let mut y = vec![Y::default(); x.len()];
        let (mut i, mut n) = (0, 1);
        while i < x.len() {
            n = (n % 97 + 1).min(x.len() - i);
            let none = std::ptr::null();
            let t = Tile { out: y[i..].as_mut_ptr().cast(), a: x[i..].as_ptr().cast(), b: none, c: none, n };
            // SAFETY: both have n elements from i on.
            unsafe { f(&t) };
            i += n;
        }
        y
    }

    /// Every 251st float (the step is odd and no multiple of a power of two), and
    /// all that are halfway between two f16 or two bf16, with their neighbours.
    fn floats() -> Vec<f32> {
        let mut x: Vec<u32> = (0..=u32::MAX).step_by(251).collect();
        for h in 0..=u16::MAX {
            for middle in [f16::from_bits(h).to_f32().to_bits() + 0x1000, u32::from(h) << 16 | 0x8000] {
                x.extend([middle - 1, middle, middle + 1]);
            }
        }
        // Halfway between subnormal f16.
        x.extend((0..1025).flat_map(|k| {
            let middle = ((k as f32 + 0.5) * 2f32.powi(-24)).to_bits();
            [middle - 1, middle, middle + 1]
        }));
        // NaNs that are not quiet, and NaNs without a bit in the upper half.
        x.extend([0x7f80_0001, 0xff80_0001, 0x7f80_ffff, 0x7fbf_ffff, 0x7fff_ffff]);
        x.into_iter().map(f32::from_bits).collect()
    }

    fn same(got: f32, want: f32) -> bool {
        got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan()
    }

    fn isas() -> impl Iterator<Item = Isa> {
        Isa::available().iter().copied()
    }

    #[test]
    fn every_f16_and_bf16_reads_as_the_half_crate_reads_it() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        for isa in isas() {
            for (h, got) in through::<u16, f32>(load_f16(isa), &all).into_iter().enumerate() {
                let want = f16::from_bits(h as u16).to_f32();
                assert!(same(got, want), "{h:#06x} on {isa}: {want} {got}");
            }
            for (h, got) in through::<u16, f32>(load_bf16(isa), &all).into_iter().enumerate() {
                let want = bf16::from_bits(h as u16).to_f32();
                assert!(same(got, want), "{h:#06x} on {isa}: {want} {got}");
            }
        }
    }

    #[test]
    fn f32_rounds_to_f16_and_bf16_as_in_the_half_crate() {
        let x = floats();
        for isa in isas() {
            let rounded = through::<f32, f32>(round_f16(isa), &x);
            for ((x, got), rounded) in x.iter().zip(through::<f32, u16>(store_f16(isa), &x)).zip(rounded) {
                let (want, got) = (f16::from_f32(*x).to_f32(), f16::from_bits(got).to_f32());
                assert!(same(got, want) && same(rounded, want), "{x:e} on {isa}: {want} {got} {rounded}");
            }
            let rounded = through::<f32, f32>(round_bf16(isa), &x);
            for ((x, got), rounded) in x.iter().zip(through::<f32, u16>(store_bf16(isa), &x)).zip(rounded) {
                let (want, got) = (bf16::from_f32(*x).to_f32(), bf16::from_bits(got).to_f32());
                assert!(same(got, want) && same(rounded, want), "{x:e} on {isa}: {want} {got} {rounded}");
            }
        }
    }
}
