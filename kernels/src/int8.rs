//! Scores from rows of i8 with a scale each.
//!
//! A row is coded as `round(x * 127 / max|x|)`. A dot product of two such rows is an exact integer, the same on every
//! instruction set, and times both scales it is the score. Keys lie in panels as those of exact attention, four components
//! of a key together; the register tile takes a few queries by a panel. With VNNI a multiply-add of 64 products is one
//! instruction; without, it takes four, and the scores no less time than those of f32.

use super::simd::ByteSimd;
use super::strided::{MOST_LANES, Rows};

/// Vectors of a panel.
pub const PANEL: usize = 2;

/// Largest magnitudes below it count as zero: their reciprocal overflows.
const TINY: f32 = 1e-30;

/// Groups of four components, the last filled up with zeros.
pub const fn groups(d: usize) -> usize {
    d.div_ceil(4)
}

/// Bytes of a panel of keys.
pub const fn panel_bytes(d: usize, lanes: usize) -> usize {
    PANEL * lanes * 4 * groups(d)
}

/// The scale of a row and its reciprocal: of no components or of zeros 0 and 0; NaN and 0 if one is not finite.
///
/// # Safety
/// The first of `rows` is valid.
#[inline(always)]
unsafe fn scale<S: ByteSimd>(s: S, rows: Rows) -> (f32, f32) {
    let (mut most, mut poison) = (s.splat(0.0), s.splat(0.0));
    for c in (0..rows.d).step_by(S::LANES) {
        // SAFETY: the caller's promise, and c < d.
        let x = unsafe { rows.chunk(s, c) };
        most = s.max(s.abs(x), most);
        poison = s.add(poison, s.mul(x, s.splat(0.0)));
    }
    let most = s.reduce_max(most);
    if s.reduce_add(poison).is_nan() {
        (f32::NAN, 0.0)
    } else if most < TINY {
        (0.0, 0.0)
    } else {
        (most / 127.0, 127.0 / most)
    }
}

/// A vector of components as i8, one a byte.
///
/// # Safety
/// The first of `rows` is valid, and `first < d`.
#[inline(always)]
unsafe fn codes<S: ByteSimd>(s: S, rows: Rows, first: usize, unit: f32) -> [u8; MOST_LANES] {
    let mut bytes = [0; MOST_LANES];
    // SAFETY: the caller's promise, and room for the largest vector.
    unsafe { s.store_u8(bytes.as_mut_ptr(), s.to_int(s.mul(rows.chunk(s, first), s.splat(unit)))) };
    bytes
}

/// Coded queries.
#[derive(Clone, Copy, Debug)]
pub struct Queries {
    /// Rows of `4 * groups(d)` components.
    pub rows: *const i8,
    /// A scale each.
    pub scales: *const f32,
    /// The number that the sums of each start from, for keys that are stored with a bias.
    pub starts: *const i32,
}

impl Queries {
    /// The queries from number `first` on.
    ///
    /// # Safety
    /// There is a query of that number, or it is the one past the last.
    #[inline(always)]
    pub unsafe fn from(self, first: usize, d: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            Self {
                rows: self.rows.add(first * 4 * groups(d)),
                scales: self.scales.add(first),
                starts: self.starts.add(first),
            }
        }
    }
}

/// Codes `n` rows as queries.
///
/// A row of zeros, or of magnitudes below 1e-30, has the scale 0; a row with a NaN or an infinity the scale NaN.
///
/// # Safety
/// The rows are valid for reading; `to` for writing `n * 4 * groups(d)` bytes, `scales` and `starts` for n numbers.
#[inline(always)]
pub unsafe fn pack_queries<S: ByteSimd>(s: S, rows: Rows, n: usize, to: *mut i8, scales: *mut f32, starts: *mut i32) {
    let width = 4 * groups(rows.d);
    for i in 0..n {
        // SAFETY: row i < n on both sides.
        unsafe {
            let (row, to) = (rows.from(i), to.add(i * width));
            let (scale, unit) = scale(s, row);
            *scales.add(i) = scale;
            // Filling of the last group.
            if width > 0 {
                to.add(width - 4).cast::<u32>().write_unaligned(0);
            }
            let mut sums = s.isplat(0);
            for c in (0..rows.d).step_by(S::LANES) {
                let codes = s.to_int(s.mul(row.chunk(s, c), s.splat(unit)));
                sums = s.iadd(sums, codes);
                let to = to.add(c).cast::<u8>();
                if c + S::LANES <= rows.d {
                    s.store_u8(to, codes);
                } else {
                    let mut bytes = [0u8; MOST_LANES];
                    s.store_u8(bytes.as_mut_ptr(), codes);
                    to.copy_from_nonoverlapping(bytes.as_ptr(), rows.d - c);
                }
            }
            // Whole numbers below 2^24 for every depth whose products cannot overflow.
            let sum = if S::KEY_BIAS == 0 { 0 } else { s.reduce_add(s.to_float(sums)) as i32 };
            // Any number will do for a row whose scale is NaN, whose sum can be.
            *starts.add(i) = (-i32::from(S::KEY_BIAS)).wrapping_mul(sum);
        }
    }
}

/// Codes `n` rows as keys: panels of `PANEL * LANES` keys, `[panel][group][key][4]`, and a scale for each; keys past the last
/// are zeros of the scale 0.
///
/// # Safety
/// The rows are valid for reading; `to` for writing `panel_bytes` for each panel, `scales` a number for each key of those.
#[inline(always)]
pub unsafe fn pack_keys<S: ByteSimd>(s: S, rows: Rows, n: usize, to: *mut u8, scales: *mut f32) {
    let width = PANEL * S::LANES;
    let panel = panel_bytes(rows.d, S::LANES);
    let zero = u32::from_ne_bytes([S::KEY_BIAS; 4]);
    for j in 0..n.next_multiple_of(width) {
        // SAFETY: row j if it is below n, and a key of a panel.
        unsafe {
            let to = to.add(j / width * panel + j % width * 4).cast::<u32>();
            if j >= n {
                *scales.add(j) = 0.0;
                for g in 0..groups(rows.d) {
                    to.add(g * width).write_unaligned(zero);
                }
                continue;
            }
            let row = rows.from(j);
            let (scale, unit) = scale(s, row);
            *scales.add(j) = scale;
            // At least a group at a time.
            const GROUP: usize = 4;
            for c in (0..rows.d).step_by(S::LANES.max(GROUP)) {
                let mut bytes = codes(s, row, c, unit);
                if S::LANES < GROUP {
                    for (i, byte) in bytes[..GROUP.min(rows.d - c)].iter_mut().enumerate().skip(1) {
                        *byte = codes(s, row, c + i, unit)[0];
                    }
                }
                for (g, b) in bytes[..S::LANES.max(GROUP)].chunks_exact(GROUP).enumerate() {
                    let at = c / GROUP + g;
                    if at < groups(rows.d) {
                        let word = u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
                        // -128 does not occur, so adding 128 is flipping the highest bit.
                        to.add(at * width).write_unaligned(word ^ zero);
                    }
                }
            }
        }
    }
}

/// The operands of a tile: queries, a panel of keys, and where scores go.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// The queries.
    pub q: Queries,
    /// A panel of keys.
    pub keys: *const u8,
    /// The scales of its keys.
    pub scales: *const f32,
    /// Components.
    pub d: usize,
    /// Scores of the first query.
    pub out: *mut f32,
    /// From the scores of a query to those of the next, in elements.
    pub out_row: usize,
    /// The numbers that are added to the scores of each query, as wide as they are; null for nothing.
    pub start: *const f32,
    /// Memory that is read soon: a line of it is fetched for each group of components, `ahead_step` bytes from the last.
    pub ahead: *const u8,
    /// See there.
    pub ahead_step: usize,
}

impl Product {
    /// The scores of queries with a panel of keys and its scales, of `d` components.
    pub fn new(q: Queries, keys: (*const u8, *const f32), d: usize, out: (*mut f32, usize)) -> Self {
        let ((keys, scales), (out, out_row)) = (keys, out);
        Self { q, keys, scales, d, out, out_row, start: std::ptr::null(), ahead: keys, ahead_step: 0 }
    }
}

/// The scores of `M` queries with the first `N` vectors of a panel, in registers.
///
/// # Safety
/// That of [`scores`] with M for `rows`.
#[inline(always)]
unsafe fn tile<S: ByteSimd, const M: usize, const N: usize>(s: S, p: Product) {
    let groups = groups(p.d);
    let mut acc = [[s.isplat(0); N]; M];
    for (i, acc) in acc.iter_mut().enumerate() {
        // SAFETY: query i.
        *acc = [s.isplat(unsafe { *p.q.starts.add(i) }); N];
    }
    let mut ahead = p.ahead;
    for g in 0..groups {
        s.prefetch(ahead.cast());
        ahead = ahead.wrapping_add(p.ahead_step);
        let mut keys = [s.isplat(0); N];
        for (j, keys) in keys.iter_mut().enumerate() {
            // SAFETY: group g of the panel.
            *keys = unsafe { s.load_bytes(p.keys.add(4 * S::LANES * (g * PANEL + j))) };
        }
        for (i, acc) in acc.iter_mut().enumerate() {
            // SAFETY: group g of query i.
            let x = s.isplat(unsafe { p.q.rows.add(4 * (i * groups + g)).cast::<i32>().read_unaligned() });
            for (acc, keys) in acc.iter_mut().zip(&keys) {
                *acc = s.dot4(*acc, *keys, x);
            }
        }
    }
    for j in 0..N {
        // SAFETY: vector j of the scales.
        let key = unsafe { s.load(p.scales.add(j * S::LANES)) };
        // SAFETY: vector j of the start.
        let start = (!p.start.is_null()).then(|| unsafe { s.load(p.start.add(j * S::LANES)) });
        for (i, acc) in acc.iter().enumerate() {
            // SAFETY: query i, and vector j of its scores.
            unsafe {
                let y = s.mul(s.mul(s.to_float(acc[j]), s.splat(*p.q.scales.add(i))), key);
                let y = start.map_or(y, |start| s.add(y, start));
                s.store(p.out.add(i * p.out_row + j * S::LANES), y);
            }
        }
    }
}

/// The scores of `rows` queries with the first `N <= PANEL` vectors of a panel: `f32(dot) * query's scale * key's scale`,
/// and what it starts from.
///
/// # Safety
/// The queries, packed for the same instruction set as the panel, and the panel and its scales are valid for reading; `out` for
/// writing N vectors in each of `rows` rows.
#[inline(always)]
pub unsafe fn scores<S: ByteSimd, const N: usize>(s: S, mut p: Product, mut rows: usize) {
    macro_rules! tiles {
        ($m:literal) => {
            while rows >= $m {
                // SAFETY: at least that many rows are left.
                unsafe {
                    tile::<S, $m, N>(s, p);
                    p.q = p.q.from($m, p.d);
                    p.out = p.out.add($m * p.out_row);
                }
                p.ahead = p.ahead.wrapping_add(groups(p.d) * p.ahead_step);
                rows -= $m;
            }
        };
    }
    if S::DOT_ROWS >= 12 {
        tiles!(12);
        tiles!(8);
    }
    tiles!(4);
    tiles!(2);
    tiles!(1);
}

#[cfg(test)]
#[path = "int8_tests.rs"]
mod tests;
