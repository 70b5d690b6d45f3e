//! Register-tiled products of a few rows with a packed panel.

use crate::simd::{Kernel, Simd};
use half::bf16;
use std::marker::PhantomData;

/// Vectors of a panel.
pub(crate) const PANEL: usize = 2;

/// Rows of the largest register tile, of two vectors each. With AVX-512 there would be registers for 14, but not for two
/// steps at once, which are worth more; LLVM spills from 12 rows on.
pub(crate) const fn most_rows(lanes: usize) -> usize {
    match lanes {
        16 => 11,
        8 => 6,
        _ => 4,
    }
}

/// Numbers of the depth that are taken at once, where there are registers for it: that halves what moves pointers.
const fn steps(lanes: usize) -> usize {
    if lanes == 16 { 2 } else { 1 }
}

/// The content of a lane of a panel, and how a product is made of it. Lanes and what they meet of a row have 32 bits each.
pub(crate) trait Format: Copy + Send + Sync + 'static {
    /// Numbers in a lane.
    const NUMBERS: usize;

    /// A lane of `NUMBERS` numbers, the first ones of these.
    fn lane(numbers: [f32; 2]) -> u32;

    /// Parts of a lane, each of which meets its own element of a row.
    fn parts<S: Simd>() -> usize;

    /// A part of each lane of the panel, as [`Format::mul_add`] takes it.
    fn part<S: Simd>(s: S, lanes: S::F, part: usize) -> S::F;

    /// `x . part + acc`, `x` an element of a row in every lane.
    fn mul_add<S: Simd>(s: S, x: S::F, part: S::F, acc: S::F) -> S::F;
}

/// A number of the panel and one of the row.
#[derive(Clone, Copy)]
pub(crate) struct F32;

impl Format for F32 {
    const NUMBERS: usize = 1;

    #[inline(always)]
    fn lane([x, _]: [f32; 2]) -> u32 {
        x.to_bits()
    }

    #[inline(always)]
    fn parts<S: Simd>() -> usize {
        1
    }

    #[inline(always)]
    fn part<S: Simd>(_: S, lanes: S::F, _: usize) -> S::F {
        lanes
    }

    #[inline(always)]
    fn mul_add<S: Simd>(s: S, x: S::F, part: S::F, acc: S::F) -> S::F {
        s.mul_add(x, part, acc)
    }
}

/// Two bf16 of the panel, neighbours along the depth, the first in the lower half. Where the CPU has
/// [`Simd::dot_bf16`] the row has two in an element as well; elsewhere it has f32, and each part becomes f32.
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

impl Format for Bf16 {
    const NUMBERS: usize = 2;

    #[inline(always)]
    fn lane(numbers: [f32; 2]) -> u32 {
        let [first, second] = numbers.map(|x| u32::from(bf16::from_f32(x).to_bits()));
        first | second << 16
    }

    #[inline(always)]
    fn parts<S: Simd>() -> usize {
        if S::DOT_BF16 { 1 } else { 2 }
    }

    #[inline(always)]
    fn part<S: Simd>(s: S, lanes: S::F, part: usize) -> S::F {
        match (S::DOT_BF16, part) {
            (true, _) => lanes,
            (false, 0) => s.low_bf16(lanes),
            (false, _) => s.high_bf16(lanes),
        }
    }

    #[inline(always)]
    fn mul_add<S: Simd>(s: S, x: S::F, part: S::F, acc: S::F) -> S::F {
        if S::DOT_BF16 { s.dot_bf16(acc, x, part) } else { s.mul_add(x, part, acc) }
    }
}

/// A product of some rows by `depth` x a panel.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// Rows of `depth` elements, or of twice as many where a lane of the panel has two parts.
    pub a: *const f32,
    pub a_row: usize,
    pub b: *const f32,
    /// Vectors of lanes, one behind the other, in each column of vectors of the panel.
    pub depth: usize,
    pub c: *mut f32,
    pub c_row: usize,
    /// The numbers that the sums start from, as wide as the result; null for 0. From those of a row to those of the next: 0 where
    /// all rows have the same.
    pub start: *const f32,
    pub start_row: usize,
    /// Memory that is read soon: lines of it are fetched on the way, one every `ahead_step` floats for each step of the depth.
    pub ahead: *const f32,
    pub ahead_step: usize,
}

impl Product {
    /// `a . b`, of `depth` steps.
    pub fn new(a: (*const f32, usize), b: *const f32, depth: usize, c: (*mut f32, usize)) -> Self {
        let ((a, a_row), (c, c_row)) = (a, c);
        Self { a, a_row, b, depth, c, c_row, start: std::ptr::null(), start_row: 0, ahead: b, ahead_step: 0 }
    }
}

/// The product for `M` rows and the first `N` vectors of the panel, in registers.
///
/// # Safety
/// `a` has M rows of `depth` times the parts of T, `b` has `depth` rows of a panel, `c` M rows of N vectors and `start`, if not
/// null, N vectors, or M rows of them if `start_row` is not 0; it may be `c`.
#[inline(always)]
unsafe fn tile<S: Simd, T: Format, const M: usize, const N: usize>(s: S, p: Product) {
    let (parts, steps) = (T::parts::<S>(), (steps(S::LANES) / T::parts::<S>()).max(1));
    let mut first = [s.splat(0.0); N];
    if !p.start.is_null() {
        for (j, v) in first.iter_mut().enumerate() {
            // SAFETY: vector j of the start.
            *v = unsafe { s.load(p.start.add(j * S::LANES)) };
        }
    }
    let mut acc = [first; M];
    if p.start_row > 0 {
        for (i, acc) in acc.iter_mut().enumerate() {
            for (j, v) in acc.iter_mut().enumerate() {
                // SAFETY: vector j of the start of row i.
                *v = unsafe { s.load(p.start.add(i * p.start_row + j * S::LANES)) };
            }
        }
    }
    // A pointer for every four rows: an address can be a pointer and once, twice or thrice a stride, so that no more
    // integer registers are needed than there are.
    let mut fours = [p.a, p.a.wrapping_add(4 * p.a_row), p.a.wrapping_add(8 * p.a_row)];
    let mut thrice = 3 * p.a_row;
    // Else the compiler would find out that each is a sum of others, and add it up again at every step.
    unrelated(&mut fours, &mut thrice);
    let (mut b, mut ahead) = (p.b, p.ahead);
    // Vectors of the panel meet element `k` of each row.
    macro_rules! meet {
        ($panel:expr, $k:expr) => {
            for (i, acc) in acc.iter_mut().enumerate() {
                let row = [0, p.a_row, 2 * p.a_row, thrice][i % 4];
                // SAFETY: an element of row i.
                let x = s.splat(unsafe { *fours[i / 4].add(row + $k) });
                for (acc, b) in acc.iter_mut().zip(&$panel) {
                    // Left alone, the compiler reads elements of all rows ahead in some builds and not in others, and
                    // there are no registers for them: the product then takes twice the time.
                    *acc = s.settled(T::mul_add(s, x, *b, *acc));
                }
            }
        };
    }
    macro_rules! take {
        ($steps:expr) => {
            s.prefetch(ahead);
            ahead = ahead.wrapping_add($steps * p.ahead_step);
            for k in 0..$steps {
                let mut panel = [s.splat(0.0); N];
                for (j, v) in panel.iter_mut().enumerate() {
                    // SAFETY: a row of the panel.
                    *v = unsafe { s.load(b.add((k * PANEL + j) * S::LANES)) };
                }
                // Written out: as a loop over parts the compiler takes it apart in such a way that registers run short.
                if parts == 1 {
                    meet!(panel, k);
                } else {
                    let mut half = panel;
                    for v in &mut half {
                        *v = T::part(s, *v, 0);
                    }
                    meet!(half, 2 * k);
                    for v in &mut panel {
                        *v = T::part(s, *v, 1);
                    }
                    meet!(panel, 2 * k + 1);
                }
            }
            b = b.wrapping_add($steps * PANEL * S::LANES);
            for four in &mut fours {
                *four = four.wrapping_add($steps * parts);
            }
        };
    }
    for _ in 0..p.depth / steps {
        take!(steps);
    }
    if !p.depth.is_multiple_of(steps) {
        take!(1);
    }
    let _ = (b, ahead);
    for (i, acc) in acc.iter().enumerate() {
        for (j, v) in acc.iter().enumerate() {
            // SAFETY: vector j of row i.
            unsafe { s.store(p.c.add(i * p.c_row + j * S::LANES), *v) };
        }
    }
}

/// Makes pointers and a stride look as if they had nothing to do with each other, without an instruction.
#[inline(always)]
fn unrelated([a, b, c]: &mut [*const f32; 3], stride: &mut usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a comment, no instruction.
    unsafe {
        std::arch::asm!(
            "/* {0} {1} {2} {3} */",
            inout(reg) * a,
            inout(reg) * b,
            inout(reg) * c,
            inout(reg) * stride,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (a, b, c, stride);
}

/// The product of `rows` rows with the first `N` vectors of a panel, in register tiles of about as many rows each.
///
/// # Safety
/// That of [`tile`] with `rows` for M.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd, T: Format, const N: usize>(s: S, p: Product, rows: usize) {
    s.apart(Tiles::<T, N> { p, rows, format: PhantomData });
}

/// How many tiles `rows` rows are cut into.
#[inline(always)]
pub(crate) fn tiles<S: Simd, T: Format>(rows: usize) -> usize {
    rows.div_ceil(most::<S, T>())
}

/// [`most_rows`], and fewer where a lane is taken apart, which needs registers too.
#[inline(always)]
fn most<S: Simd, T: Format>() -> usize {
    if T::parts::<S>() == 1 { most_rows(S::LANES) } else { most_rows(S::LANES).min(8) }
}

struct Tiles<T, const N: usize> {
    p: Product,
    rows: usize,
    format: PhantomData<T>,
}

impl<T: Format, const N: usize> Kernel for Tiles<T, N> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { mut p, mut rows, .. } = self;
        let mut left = tiles::<S, T>(rows);
        // Each tile fetches its share of what lies ahead.
        while left > 0 {
            let m = rows.div_ceil(left);
            macro_rules! by_rows {
                ($($m:literal)*) => {
                    match m {
                        // SAFETY: at least that many rows are left, as `product` was promised.
                        $($m if $m <= most::<S, T>() => unsafe { tile::<S, T, $m, N>(s, p) },)*
                        _ => {}
                    }
                };
            }
            by_rows!(1 2 3 4 5 6 7 8 9 10 11);
            p.a = p.a.wrapping_add(m * p.a_row);
            p.c = p.c.wrapping_add(m * p.c_row);
            p.start = p.start.wrapping_add(m * p.start_row);
            p.ahead = p.ahead.wrapping_add(p.depth * p.ahead_step);
            rows -= m;
            left -= 1;
        }
    }
}
