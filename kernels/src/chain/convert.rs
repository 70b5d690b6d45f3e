//! Steps that change the element type: casts, and the ends of a chain whose
//! elements are not lanes.

use super::integer::{Each1, Loop1, copy};
use crate::Isa;
use crate::simd::{Simd, Tile, TileFn, TileOp, tile_fn};
use bgz_passes::ir::{DType, Scalar, SmallFloat};
use half::{bf16, f16};
use std::marker::PhantomData;
use std::sync::LazyLock;

/// How elements are held while a chain runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Narrower floats are held as it.
    F32,
    F64,
    /// Narrower integers are held as it, in their range.
    I32,
    /// Holds u32, in their range.
    I64,
    U64,
    /// An i32 of 0 or 1.
    Truth,
}

impl Lane {
    /// Those of a dtype.
    pub(super) fn of(dtype: DType) -> Self {
        match dtype {
            DType::F64 => Lane::F64,
            DType::I64 | DType::U32 => Lane::I64,
            DType::U64 => Lane::U64,
            DType::Bool => Lane::Truth,
            d if d.is_float() => Lane::F32,
            _ => Lane::I32,
        }
    }

    pub(super) fn size(self) -> usize {
        if matches!(self, Lane::I64 | Lane::U64 | Lane::F64) { 8 } else { 4 }
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

/// The floats of a byte or less, by which steps are told apart.
const SMALL: [SmallFloat; 8] = [
    SmallFloat::E4M3FN,
    SmallFloat::E4M3FNUZ,
    SmallFloat::E5M2,
    SmallFloat::E5M2FNUZ,
    SmallFloat::E8M0,
    SmallFloat::E2M3,
    SmallFloat::E3M2,
    SmallFloat::E2M1,
];

/// The number that each code stands for, in the order of [`SMALL`].
static DECODED: LazyLock<[[f32; 256]; 8]> =
    LazyLock::new(|| SMALL.map(|format| std::array::from_fn(|code| format.decode(code as u8))));

/// A step on every element by itself for one of the formats, compiled once for all instruction sets, as what it calls has
/// no vectors.
macro_rules! small_steps {
    ($format:expr, $a:ty => $y:ty, |$f:ident, $x:ident| $body:expr) => {{
        /// # Safety
        /// That of [`TileFn`].
        unsafe fn step<const F: usize>(t: &Tile) {
            let $f = F;
            let (a, out) = (t.a.cast::<$a>(), t.out.cast::<$y>());
            for i in 0..t.n {
                // SAFETY: i < n, which the caller promises for both.
                unsafe {
                    let $x = a.add(i).read_unaligned();
                    out.add(i).write_unaligned($body);
                }
            }
        }
        const STEPS: [TileFn; 8] =
            [step::<0>, step::<1>, step::<2>, step::<3>, step::<4>, step::<5>, step::<6>, step::<7>];
        STEPS[SMALL.iter().position(|f| *f == $format).unwrap_or(0)]
    }};
}

/// Reads elements that are not lanes as such; `None` where they are.
pub(super) fn load(isa: Isa, dtype: DType) -> Option<TileFn> {
    if let Some(format) = dtype.small_float() {
        return Some(small_steps!(format, u8 => f32, |f, x| DECODED[f][usize::from(x)]));
    }
    Some(match dtype {
        DType::F16 => tile_fn::<Load<F16>>(isa),
        DType::BF16 => tile_fn::<Load<Bf16>>(isa),
        DType::Bool => convert!(isa, u8 => i32, |x| (x != 0).into()),
        DType::U32 => convert!(isa, u32 => i64, |x| x.into()),
        DType::U16 => convert!(isa, u16 => i32, |x| x.into()),
        DType::I16 => convert!(isa, i16 => i32, |x| x.into()),
        DType::I8 | DType::I4 | DType::I2 => convert!(isa, i8 => i32, |x| x.into()),
        DType::U8 | DType::U4 | DType::U2 => convert!(isa, u8 => i32, |x| x.into()),
        _ => return None,
    })
}

/// Writes lanes, which are in range, as the elements of a dtype; `None` where they are its elements.
pub(super) fn store(isa: Isa, dtype: DType) -> Option<TileFn> {
    if let Some(format) = dtype.small_float() {
        return Some(small_steps!(format, f32 => u8, |f, x| SMALL[f].encode(x.into())));
    }
    Some(match dtype {
        DType::F16 => tile_fn::<Store<F16>>(isa),
        DType::BF16 => tile_fn::<Store<Bf16>>(isa),
        DType::U32 => low_half(isa),
        DType::I16 | DType::U16 => convert!(isa, i32 => i16, |x| x as i16),
        _ if dtype.size() == 1 => convert!(isa, i32 => u8, |x| x as u8),
        _ => return None,
    })
}

/// Brings lanes into the range of integers that are held as wider ones, of which the low bits are kept; `None` for others.
pub(super) fn wrap(isa: Isa, dtype: DType) -> Option<TileFn> {
    Some(match dtype {
        DType::U32 => convert!(isa, i64 => i64, |x| i64::from(x as u32)),
        DType::I16 => convert!(isa, i32 => i32, |x| i32::from(x as i16)),
        DType::U16 => convert!(isa, i32 => i32, |x| i32::from(x as u16)),
        DType::I8 => convert!(isa, i32 => i32, |x| i32::from(x as i8)),
        DType::U8 => convert!(isa, i32 => i32, |x| i32::from(x as u8)),
        DType::I4 => convert!(isa, i32 => i32, |x| x << 28 >> 28),
        DType::U4 => convert!(isa, i32 => i32, |x| x & 15),
        DType::I2 => convert!(isa, i32 => i32, |x| x << 30 >> 30),
        DType::U2 => convert!(isa, i32 => i32, |x| x & 3),
        _ => return None,
    })
}

/// Rounds f32 lanes to what an f16 can hold.
fn round_f16(isa: Isa) -> TileFn {
    tile_fn::<RoundTo<F16>>(isa)
}

/// Rounds f32 lanes to what a bf16 can hold.
fn round_bf16(isa: Isa) -> TileFn {
    tile_fn::<RoundTo<Bf16>>(isa)
}

/// The low halves of i64 lanes.
fn low_half(isa: Isa) -> TileFn {
    convert!(isa, i64 => i32, |x| x as i32)
}

/// Copies lanes.
pub(super) fn copied(isa: Isa, lane: Lane) -> TileFn {
    copy(isa, lane.size() == 8)
}

/// Converts lanes to those of a dtype: floats truncate and saturate, integers wrap, all but zero is true. What comes out for
/// an integer that is held as a wider one is to be [wrapped](wrap). Floats of a byte or less are made of floats only.
pub(super) fn cast(isa: Isa, from: Lane, to: DType) -> TileFn {
    use Lane::{F32, F64, I32, I64, Truth, U64};
    if let Some(format) = to.small_float() {
        return match from {
            F64 => small_steps!(format, f64 => f32, |f, x| SMALL[f].round(x)),
            _ => small_steps!(format, f32 => f32, |f, x| SMALL[f].round(x.into())),
        };
    }
    let (lane, narrow) = (Lane::of(to), to.is_int() && to.bits() < 32);
    match (from, to) {
        // Rounded once: by way of f32 it would be twice.
        (F64, DType::F16) => convert!(isa, f64 => f32, |x| f16::from_f64(x).to_f32()),
        (F64, DType::BF16) => convert!(isa, f64 => f32, |x| bf16::from_f64(x).to_f32()),
        (I32, DType::F16) => convert!(isa, i32 => f32, |x| f16::from_f64(x.into()).to_f32()),
        (I32, DType::BF16) => convert!(isa, i32 => f32, |x| bf16::from_f64(x.into()).to_f32()),
        (I64, DType::F16) => convert!(isa, i64 => f32, |x| f16::from_f64(x as f64).to_f32()),
        (I64, DType::BF16) => convert!(isa, i64 => f32, |x| bf16::from_f64(x as f64).to_f32()),
        (U64, DType::F16) => convert!(isa, u64 => f32, |x| f16::from_f64(x as f64).to_f32()),
        (U64, DType::BF16) => convert!(isa, u64 => f32, |x| bf16::from_f64(x as f64).to_f32()),
        (F32, DType::F16) => round_f16(isa),
        (F32, DType::BF16) => round_bf16(isa),
        (F32, _) if narrow => convert!(isa, f32 => i32, |x| Scalar::narrow(x.into())),
        (F64, _) if narrow => convert!(isa, f64 => i32, |x| Scalar::narrow(x)),
        (F32, DType::F64) => convert!(isa, f32 => f64, |x| x.into()),
        (F32, DType::I32) => convert!(isa, f32 => i32, |x| x as i32),
        (F32, DType::U32) => convert!(isa, f32 => i64, |x| i64::from(x as u32)),
        (F32, DType::I64) => convert!(isa, f32 => i64, |x| x as i64),
        (F32, DType::U64) => convert!(isa, f32 => u64, |x| x as u64),
        (F32, DType::Bool) => convert!(isa, f32 => i32, |x| (x != 0.0).into()),
        (F64, DType::F32) => convert!(isa, f64 => f32, |x| x as f32),
        (F64, DType::I32) => convert!(isa, f64 => i32, |x| x as i32),
        (F64, DType::U32) => convert!(isa, f64 => i64, |x| i64::from(x as u32)),
        (F64, DType::I64) => convert!(isa, f64 => i64, |x| x as i64),
        (F64, DType::U64) => convert!(isa, f64 => u64, |x| x as u64),
        (F64, DType::Bool) => convert!(isa, f64 => i32, |x| (x != 0.0).into()),
        // Of truth values, 0 and 1 are exact in every dtype.
        (I32 | Truth, DType::F32) | (Truth, DType::F16 | DType::BF16) => convert!(isa, i32 => f32, |x| x as f32),
        (I32 | Truth, DType::F64) => convert!(isa, i32 => f64, |x| x.into()),
        (I32, DType::Bool) => convert!(isa, i32 => i32, |x| (x != 0).into()),
        (I64, DType::F32) => convert!(isa, i64 => f32, |x| x as f32),
        (I64, DType::F64) => convert!(isa, i64 => f64, |x| x as f64),
        (U64, DType::F32) => convert!(isa, u64 => f32, |x| x as f32),
        (U64, DType::F64) => convert!(isa, u64 => f64, |x| x as f64),
        (I64 | U64, DType::Bool) => convert!(isa, i64 => i32, |x| (x != 0).into()),
        (I32 | Truth, _) if lane.size() == 8 => convert!(isa, i32 => i64, |x| x.into()),
        (I64 | U64, _) if lane.size() == 4 => low_half(isa),
        // Integers of the same width, and what is the same already.
        _ => copied(isa, lane),
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
            for (h, got) in through::<u16, f32>(load(isa, DType::F16).unwrap(), &all).into_iter().enumerate() {
                let want = f16::from_bits(h as u16).to_f32();
                assert!(same(got, want), "{h:#06x} on {isa}: {want} {got}");
            }
            for (h, got) in through::<u16, f32>(load(isa, DType::BF16).unwrap(), &all).into_iter().enumerate() {
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
            for ((x, got), rounded) in
                x.iter().zip(through::<f32, u16>(store(isa, DType::F16).unwrap(), &x)).zip(rounded)
            {
                let (want, got) = (f16::from_f32(*x).to_f32(), f16::from_bits(got).to_f32());
                assert!(same(got, want) && same(rounded, want), "{x:e} on {isa}: {want} {got} {rounded}");
            }
            let rounded = through::<f32, f32>(round_bf16(isa), &x);
            for ((x, got), rounded) in
                x.iter().zip(through::<f32, u16>(store(isa, DType::BF16).unwrap(), &x)).zip(rounded)
            {
                let (want, got) = (bf16::from_f32(*x).to_f32(), bf16::from_bits(got).to_f32());
                assert!(same(got, want) && same(rounded, want), "{x:e} on {isa}: {want} {got} {rounded}");
            }
        }
    }
}
