//! Register-tiled products of a few rows with a packed panel.

use crate::simd::{Kernel, Simd};

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

/// Steps of the depth that are taken at once, where there are registers for it: that halves what moves pointers.
const fn steps(lanes: usize) -> usize {
    if lanes == 16 { 2 } else { 1 }
}

/// A product of some rows of `depth` by `depth` x a panel.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    pub a: *const f32,
    pub a_row: usize,
    pub b: *const f32,
    pub depth: usize,
    pub c: *mut f32,
    pub c_row: usize,
    /// What the sums start from, as wide as the result; null for 0.
    pub start: *const f32,
    /// Memory that is read soon: lines of it are fetched on the way, one every `ahead_step` floats for each step of the depth.
    pub ahead: *const f32,
    pub ahead_step: usize,
}

impl Product {
    /// `a . b`, of `depth` steps.
    pub fn new(a: (*const f32, usize), b: *const f32, depth: usize, c: (*mut f32, usize)) -> Self {
        let ((a, a_row), (c, c_row)) = (a, c);
        Self { a, a_row, b, depth, c, c_row, start: std::ptr::null(), ahead: b, ahead_step: 0 }
    }
}

/// The product for `M` rows and the first `N` vectors of the panel, in registers.
///
/// # Safety
/// `a` has M rows of `depth`, `b` has `depth` rows of a panel, `c` M rows of N vectors and `start`, if not null, N vectors.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(s: S, p: Product) {
    let mut first = [s.splat(0.0); N];
    if !p.start.is_null() {
        for (j, v) in first.iter_mut().enumerate() {
            // SAFETY: vector j of the start.
            *v = unsafe { s.load(p.start.add(j * S::LANES)) };
        }
    }
    let mut acc = [first; M];
    // A pointer for every four rows: an address can be a pointer and once, twice or thrice a stride, so that no more
    // integer registers are needed than there are.
    let mut fours = [0, 4, 8].map(|row| p.a.wrapping_add(row * p.a_row));
    let thrice = 3 * p.a_row;
    let (mut b, mut ahead) = (p.b, p.ahead);
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
                for (i, acc) in acc.iter_mut().enumerate() {
                    let row = [0, p.a_row, 2 * p.a_row, thrice][i % 4];
                    // SAFETY: an element of row i.
                    let x = s.splat(unsafe { *fours[i / 4].add(row + k) });
                    for (acc, b) in acc.iter_mut().zip(&panel) {
                        *acc = s.mul_add(x, *b, *acc);
                    }
                }
            }
            b = b.wrapping_add($steps * PANEL * S::LANES);
            for four in &mut fours {
                *four = four.wrapping_add($steps);
            }
        };
    }
    for _ in 0..p.depth / steps(S::LANES) {
        take!(steps(S::LANES));
    }
    if !p.depth.is_multiple_of(steps(S::LANES)) {
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

/// The product of `rows` rows with the first `N` vectors of a panel, in register tiles of about as many rows each.
///
/// # Safety
/// That of [`tile`] with `rows` for M.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd, const N: usize>(s: S, p: Product, rows: usize) {
    s.apart(Tiles::<N> { p, rows });
}

/// How many tiles `rows` rows are cut into.
pub(crate) fn tiles(rows: usize, lanes: usize) -> usize {
    rows.div_ceil(most_rows(lanes))
}

struct Tiles<const N: usize> {
    p: Product,
    rows: usize,
}

impl<const N: usize> Kernel for Tiles<N> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { mut p, mut rows } = self;
        let mut left = tiles(rows, S::LANES);
        // Each tile fetches its share of what lies ahead.
        while left > 0 {
            let m = rows.div_ceil(left);
            macro_rules! by_rows {
                ($($m:literal)*) => {
                    match m {
                        // SAFETY: at least that many rows are left, as `product` was promised.
                        $($m if $m <= most_rows(S::LANES) => unsafe { tile::<S, $m, N>(s, p) },)*
                        _ => {}
                    }
                };
            }
            by_rows!(1 2 3 4 5 6 7 8 9 10 11);
            p.a = p.a.wrapping_add(m * p.a_row);
            p.c = p.c.wrapping_add(m * p.c_row);
            p.ahead = p.ahead.wrapping_add(p.depth * p.ahead_step);
            rows -= m;
            left -= 1;
        }
    }
}
