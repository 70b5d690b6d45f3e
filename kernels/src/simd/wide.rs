//! Four vectors as one.

use super::{Kernel, Simd};

/// The token of four vectors of `S`, each operation done to all four before the next.
///
/// The functions are long chains of dependent steps. In the order of one vector
/// after another, the CPU has to look past the rest of a chain to find steps of
/// the next that are ready, and its window ends after a few vectors; in this
/// order they are next to each other. Lanes come out as `S` computes them.
#[derive(Clone, Copy, Debug)]
pub struct Wide<S>(pub S);

/// Operations that are those of `S` on each vector.
macro_rules! each {
    ($($name:ident($($arg:ident: $ty:ident),*) -> $out:ident;)*) => {$(
        #[inline(always)]
        fn $name(self $(, $arg: Self::$ty)*) -> Self::$out {
            [
                self.0.$name($($arg[0]),*),
                self.0.$name($($arg[1]),*),
                self.0.$name($($arg[2]),*),
                self.0.$name($($arg[3]),*),
            ]
        }
    )*};
}

impl<S: Simd> Wide<S> {
    /// Lanes of vector `k` among the first `n` of all.
    #[inline(always)]
    fn lanes(n: usize, k: usize) -> usize {
        n.saturating_sub(k * S::LANES).min(S::LANES)
    }
}

impl<S: Simd> Simd for Wide<S> {
    type F = [S::F; 4];
    type I = [S::I; 4];
    type M = [S::M; 4];

    const LANES: usize = 4 * S::LANES;
    const FAST_LOOKUP: bool = S::FAST_LOOKUP;
    const FAST_SCALE: bool = S::FAST_SCALE;

    #[inline(always)]
    fn apart<K: Kernel>(self, kernel: K) -> K::Out {
        kernel.run(self)
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        let (s, n) = (self.0, S::LANES);
        // SAFETY: the caller promises four vectors.
        unsafe { [s.load(p), s.load(p.add(n)), s.load(p.add(2 * n)), s.load(p.add(3 * n))] }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::F) {
        for (k, v) in v.into_iter().enumerate() {
            // SAFETY: the caller promises room for four vectors.
            unsafe { self.0.store(p.add(k * S::LANES), v) };
        }
    }
    #[inline(always)]
    unsafe fn load_partial(self, p: *const f32, n: usize) -> Self::F {
        let mut v = self.splat(0.0);
        for (k, v) in v.iter_mut().enumerate() {
            // SAFETY: the caller promises n floats; nothing is read beyond them.
            *v = unsafe { self.0.load_upto(p.wrapping_add(k * S::LANES), Self::lanes(n, k)) };
        }
        v
    }
    #[inline(always)]
    unsafe fn store_partial(self, p: *mut f32, v: Self::F, n: usize) {
        for (k, v) in v.into_iter().enumerate() {
            // SAFETY: the caller promises room for n floats; nothing is written beyond them.
            unsafe { self.0.store_upto(p.wrapping_add(k * S::LANES), v, Self::lanes(n, k)) };
        }
    }
    #[inline(always)]
    unsafe fn load_u16(self, p: *const u16) -> Self::I {
        let (s, n) = (self.0, S::LANES);
        // SAFETY: the caller promises four vectors.
        unsafe { [s.load_u16(p), s.load_u16(p.add(n)), s.load_u16(p.add(2 * n)), s.load_u16(p.add(3 * n))] }
    }
    #[inline(always)]
    unsafe fn store_u16(self, p: *mut u16, v: Self::I) {
        for (k, v) in v.into_iter().enumerate() {
            // SAFETY: the caller promises room for four vectors.
            unsafe { self.0.store_u16(p.add(k * S::LANES), v) };
        }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> Self::F {
        let (s, n) = (self.0, S::LANES);
        // SAFETY: the caller promises four vectors.
        unsafe { [s.load_f16(p), s.load_f16(p.add(n)), s.load_f16(p.add(2 * n)), s.load_f16(p.add(3 * n))] }
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16, v: Self::F) {
        for (k, v) in v.into_iter().enumerate() {
            // SAFETY: the caller promises room for four vectors.
            unsafe { self.0.store_f16(p.add(k * S::LANES), v) };
        }
    }
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, from_row: isize, to: *mut f32, to_row: usize) {
        let n = S::LANES;
        for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
            // SAFETY: a square of the rows and columns that the caller promises.
            unsafe {
                let from = from.offset(from_row * (i * n) as isize).add(j * n);
                self.0.transpose(from, from_row, to.add(j * n * to_row + i * n), to_row);
            }
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [self.0.splat(x); 4]
    }
    #[inline(always)]
    fn isplat(self, x: i32) -> Self::I {
        [self.0.isplat(x); 4]
    }
    #[inline(always)]
    fn any(self, m: Self::M) -> bool {
        let s = self.0;
        s.any(s.mask_or(s.mask_or(m[0], m[1]), s.mask_or(m[2], m[3])))
    }
    #[inline(always)]
    fn all(self, m: Self::M) -> bool {
        let s = self.0;
        s.all(s.mask_and(s.mask_and(m[0], m[1]), s.mask_and(m[2], m[3])))
    }
    #[inline(always)]
    fn first(self, n: usize) -> Self::M {
        let first = |k| self.0.first(Self::lanes(n, k));
        [first(0), first(1), first(2), first(3)]
    }
    #[inline(always)]
    fn ishl<const N: i32>(self, a: Self::I) -> Self::I {
        let s = self.0;
        [s.ishl::<N>(a[0]), s.ishl::<N>(a[1]), s.ishl::<N>(a[2]), s.ishl::<N>(a[3])]
    }
    #[inline(always)]
    fn ishr<const N: i32>(self, a: Self::I) -> Self::I {
        let s = self.0;
        [s.ishr::<N>(a[0]), s.ishr::<N>(a[1]), s.ishr::<N>(a[2]), s.ishr::<N>(a[3])]
    }
    #[inline(always)]
    fn lookup(self, table: &[f32; 32], i: Self::I) -> Self::F {
        let s = self.0;
        [s.lookup(table, i[0]), s.lookup(table, i[1]), s.lookup(table, i[2]), s.lookup(table, i[3])]
    }
    #[inline(always)]
    fn in_step(self, a: Self::F) -> Self::F {
        self.0.together(a)
    }
    #[inline(always)]
    fn reduce_add(self, a: Self::F) -> f32 {
        let s = self.0;
        s.reduce_add(s.add(s.add(a[0], a[2]), s.add(a[1], a[3])))
    }
    #[inline(always)]
    fn reduce_max(self, a: Self::F) -> f32 {
        let s = self.0;
        s.reduce_max(s.max(s.max(a[0], a[2]), s.max(a[1], a[3])))
    }

    each! {
        add(a: F, b: F) -> F;
        sub(a: F, b: F) -> F;
        mul(a: F, b: F) -> F;
        div(a: F, b: F) -> F;
        sqrt(a: F) -> F;
        mul_add(a: F, b: F, c: F) -> F;
        nmul_add(a: F, b: F, c: F) -> F;
        fma(a: F, b: F, c: F) -> F;
        min(a: F, b: F) -> F;
        max(a: F, b: F) -> F;
        floor(a: F) -> F;
        ceil(a: F) -> F;
        round(a: F) -> F;
        trunc(a: F) -> F;
        scale2(a: F, t: F) -> F;
        lt(a: F, b: F) -> M;
        le(a: F, b: F) -> M;
        eq(a: F, b: F) -> M;
        unordered(a: F, b: F) -> M;
        select(m: M, a: F, b: F) -> F;
        mask_and(a: M, b: M) -> M;
        mask_or(a: M, b: M) -> M;
        mask_not(a: M) -> M;
        bits(a: F) -> I;
        as_float(a: I) -> F;
        iadd(a: I, b: I) -> I;
        isub(a: I, b: I) -> I;
        iand(a: I, b: I) -> I;
        ior(a: I, b: I) -> I;
        ixor(a: I, b: I) -> I;
        ieq(a: I, b: I) -> M;
        iselect(m: M, a: I, b: I) -> I;
        to_float(a: I) -> F;
        to_int(a: F) -> I;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::forced;
    use crate::simd::run;

    struct Transpose<'a>(&'a [f32], usize);

    impl Kernel for Transpose<'_> {
        type Out = (usize, Vec<f32>);
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Out {
            let n = Wide::<S>::LANES;
            let mut out = vec![-1.0; n * self.1];
            // SAFETY: at least n rows of more than n elements on both sides.
            unsafe { Wide(s).transpose(self.0.as_ptr(), self.1 as isize, out.as_mut_ptr(), self.1) };
            (n, out)
        }
    }

    #[test]
    fn squares_of_squares_are_transposed() {
        let row = 67;
        let square: Vec<f32> = (0..64 * row).map(|i| i as f32).collect();
        forced::on_each(|| {
            let (n, out) = run(crate::Isa::current(), Transpose(&square, row));
            for (at, &x) in out.iter().enumerate() {
                let (j, i) = (at / row, at % row);
                assert_eq!(x, if i < n { (i * row + j) as f32 } else { -1.0 }, "{i}, {j}");
            }
        });
    }
}
