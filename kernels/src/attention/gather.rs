//! Products with rows here and there: the keys and values of a list.

use crate::simd::ByteSimd;

/// Rows of one head that lie one after the other, a stride apart.
#[derive(Clone, Copy)]
pub(super) struct Vectors {
    pub x: *const f32,
    pub row: isize,
}

impl Vectors {
    /// # Safety
    /// There is a row of that number.
    #[inline(always)]
    unsafe fn at(self, j: usize) -> *const f32 {
        // SAFETY: the caller's promise.
        unsafe { self.x.offset(self.row * j as isize) }
    }
}

/// Writes rows side by side, of rows whose components are not; strides are from row to row and from component to component.
///
/// # Safety
/// `x` has `n` rows of `d` components, and `to` as many.
#[inline(always)]
pub(super) unsafe fn gather(x: *const f32, [row, inner]: [isize; 2], n: usize, d: usize, to: *mut f32) {
    for j in 0..n {
        for c in 0..d {
            // SAFETY: component c of row j.
            unsafe { *to.add(j * d + c) = *x.offset(row * j as isize + inner * c as isize) };
        }
    }
}

/// Writes the products of a query with the keys of a list.
///
/// # Safety
/// `q` has `d` components, and so have the keys; `list` and `out` have `n` elements.
#[inline(always)]
pub(super) unsafe fn dots<S: ByteSimd>(
    s: S,
    q: *const f32,
    keys: Vectors,
    d: usize,
    list: *const u32,
    n: usize,
    out: *mut f32,
) {
    /// Keys at once: their sums do not wait for each other.
    const AT_ONCE: usize = 4;
    let whole = d / S::LANES * S::LANES;
    let mut i = 0;
    while i < n {
        // SAFETY: keys of the list, the last one again where there are fewer; components below d.
        unsafe {
            let rows: [*const f32; AT_ONCE] = std::array::from_fn(|r| keys.at(*list.add((i + r).min(n - 1)) as usize));
            let mut acc = [s.splat(0.0); AT_ONCE];
            for c in (0..whole).step_by(S::LANES) {
                let q = s.load(q.add(c));
                for (acc, row) in acc.iter_mut().zip(rows) {
                    *acc = s.mul_add(q, s.load(row.add(c)), *acc);
                }
            }
            if whole < d {
                let q = s.load_partial(q.add(whole), d - whole);
                for (acc, row) in acc.iter_mut().zip(rows) {
                    *acc = s.mul_add(q, s.load_partial(row.add(whole), d - whole), *acc);
                }
            }
            for (r, acc) in acc.into_iter().enumerate().take(n - i) {
                *out.add(i + r) = s.reduce_add(acc);
            }
        }
        i += AT_ONCE;
    }
}

/// Writes the sum of the values of a list, each times its weight.
///
/// # Safety
/// `list` and `weights` have `n` elements, values `d_v` components, and `out` room for them in whole vectors.
#[inline(always)]
pub(super) unsafe fn weigh<S: ByteSimd>(
    s: S,
    values: Vectors,
    d_v: usize,
    list: *const u32,
    n: usize,
    weights: *const f32,
    out: *mut f32,
) {
    let mut c = 0;
    while c < d_v {
        let rest = d_v - c;
        // SAFETY: components from c on, as many as there are.
        unsafe {
            if rest >= 4 * S::LANES {
                weigh_some::<S, 4>(s, values, c, list, n, weights, out);
                c += 4 * S::LANES;
            } else if rest >= 2 * S::LANES {
                weigh_some::<S, 2>(s, values, c, list, n, weights, out);
                c += 2 * S::LANES;
            } else {
                let mut acc = s.splat(0.0);
                for i in 0..n {
                    let v = s.load_upto(values.at(*list.add(i) as usize).add(c), rest);
                    acc = s.mul_add(s.splat(*weights.add(i)), v, acc);
                }
                s.store(out.add(c), acc);
                c += S::LANES;
            }
        }
    }
}

/// [`weigh`] for `N` vectors of components from `c` on.
///
/// # Safety
/// That of [`weigh`]; there are so many components.
#[inline(always)]
unsafe fn weigh_some<S: ByteSimd, const N: usize>(
    s: S,
    values: Vectors,
    c: usize,
    list: *const u32,
    n: usize,
    weights: *const f32,
    out: *mut f32,
) {
    // Two sums each, as an addition has to wait for the one before.
    let mut acc = [[s.splat(0.0); N]; 2];
    // SAFETY: the caller's promise.
    unsafe {
        let add = |i: usize, acc: &mut [S::F; N]| {
            let (v, w) = (values.at(*list.add(i) as usize).add(c), s.splat(*weights.add(i)));
            for (u, acc) in acc.iter_mut().enumerate() {
                *acc = s.mul_add(w, s.load(v.add(u * S::LANES)), *acc);
            }
        };
        let mut i = 0;
        while i + 2 <= n {
            add(i, &mut acc[0]);
            add(i + 1, &mut acc[1]);
            i += 2;
        }
        if i < n {
            add(i, &mut acc[0]);
        }
        let [even, odd] = acc;
        for (u, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            s.store(out.add(c + u * S::LANES), s.add(even, odd));
        }
    }
}
