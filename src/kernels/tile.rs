//! Register-tiled products of a few rows with a packed panel.

use crate::simd::{Kernel, Simd};

/// Vectors of a panel.
pub(crate) const PANEL: usize = 2;

/// Rows of the register tile: with two vectors each, as many as the registers hold.
pub(crate) const fn tile_rows(lanes: usize) -> usize {
    match lanes {
        16 => 12,
        8 => 6,
        _ => 4,
    }
}

/// A product of `rows` x `depth` by `depth` x a panel.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    pub a: *const f32,
    pub a_row: usize,
    pub b: *const f32,
    pub depth: usize,
    pub c: *mut f32,
    pub c_row: usize,
}

/// The product for `M` rows and the first `N` vectors of the panel, in registers.
///
/// # Safety
/// `a` has M rows of `depth`, `b` has `depth` rows of a panel, `c` M rows of N vectors.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(s: S, p: Product) {
    let width = PANEL * S::LANES;
    let mut acc = [[s.splat(0.0); N]; M];
    for k in 0..p.depth {
        let mut b = [s.splat(0.0); N];
        for (j, b) in b.iter_mut().enumerate() {
            // SAFETY: row k of the panel.
            *b = unsafe { s.load(p.b.add(k * width + j * S::LANES)) };
        }
        for (i, acc) in acc.iter_mut().enumerate() {
            // SAFETY: element k of row i.
            let x = s.splat(unsafe { *p.a.add(i * p.a_row + k) });
            for (acc, b) in acc.iter_mut().zip(&b) {
                *acc = s.mul_add(x, *b, *acc);
            }
        }
    }
    for (i, acc) in acc.iter().enumerate() {
        for (j, v) in acc.iter().enumerate() {
            // SAFETY: vector j of row i.
            unsafe { s.store(p.c.add(i * p.c_row + j * S::LANES), *v) };
        }
    }
}

/// The product of `rows` rows with the first `N` vectors of a panel, in register tiles.
///
/// # Safety
/// That of [`tile`] with `rows` for M.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd, const N: usize>(s: S, p: Product, rows: usize) {
    s.apart(Tiles::<N> { p, rows });
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
        macro_rules! tiles {
            ($m:literal) => {
                while rows >= $m {
                    // SAFETY: at least that many rows are left, as `product` was promised.
                    unsafe {
                        tile::<S, $m, N>(s, p);
                        p.a = p.a.add($m * p.a_row);
                        p.c = p.c.add($m * p.c_row);
                    }
                    rows -= $m;
                }
            };
        }
        if tile_rows(S::LANES) >= 12 {
            tiles!(12);
            tiles!(8);
        }
        if tile_rows(S::LANES) >= 6 {
            tiles!(6);
        }
        tiles!(4);
        tiles!(2);
        tiles!(1);
    }
}
