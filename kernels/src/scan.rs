//! Scores of coded keys: sums of lookups in bytes.
//!
//! A key is `M` codes below `C`, one for each subspace, and a query a lookup row: a byte for each entry of each subspace,
//! `[M][C]`. The sum of a key's lookups is exact in 16 bits, and the same on every instruction set.
//!
//! Codes lie in blocks of [`BLOCK`] keys, `[block][subspace][key]`, a byte each, or for `C = 16` two subspaces to a byte, the
//! even one in the lower half. Within a block the keys alternate between its first and its second half: even and odd bytes
//! become two vectors of 16 bits, and those then have neighbours.
//!
//! Bytes are widened after every lookup, or rarer where entries leave room: [`Shape::adds`].

use super::simd::{ByteKernel, ByteSimd};

/// Keys of a block.
pub const BLOCK: usize = 64;

/// The shape of rows and codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Subspaces, `M`, 1 to 256.
    pub subspaces: usize,
    /// Entries of each, `C`: 16, 128 or 256.
    pub entries: usize,
    /// Lookups that are added up in bytes: 1, 2 or 4. Entries are at most [`Shape::top`], with less precision the more are
    /// added, and scans take less time.
    pub adds: usize,
}

impl Shape {
    /// The greatest entry of a lookup row: 255, 127 or 63.
    pub const fn top(self) -> u8 {
        match self.adds {
            1 => 255,
            2 => 127,
            _ => 63,
        }
    }

    /// Bytes of the codes of a block.
    pub const fn block_bytes(self) -> usize {
        BLOCK * if self.entries == 16 { self.subspaces.div_ceil(2) } else { self.subspaces }
    }

    /// Bytes of the codes of `keys`, whole blocks.
    pub const fn code_bytes(self, keys: usize) -> usize {
        keys.div_ceil(BLOCK) * self.block_bytes()
    }

    /// Bytes of a lookup row.
    pub const fn row_bytes(self) -> usize {
        self.subspaces * self.entries
    }

    /// The code of a key in a subspace.
    pub fn code(self, codes: &[u8], key: usize, subspace: usize) -> u8 {
        let plane = if self.entries == 16 { subspace / 2 } else { subspace };
        let byte = codes[key / BLOCK * self.block_bytes() + plane * BLOCK + place(key % BLOCK)];
        match (self.entries, subspace % 2) {
            (16, 0) => byte & 15,
            (16, _) => byte >> 4,
            _ => byte,
        }
    }
}

/// Where in a block a key is.
pub const fn place(key: usize) -> usize {
    2 * (key % (BLOCK / 2)) + key / (BLOCK / 2)
}

/// The numbers that the bytes of a lookup row stand for: a sum of lookups is `offset + step * sum`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Units {
    /// The number that zeros stand for.
    pub offset: f32,
    /// The number that 1 stands for. NaN if the row has a value that is not finite.
    pub step: f32,
}

/// Ranges below it count as zero: their reciprocal overflows.
pub const TINY: f32 = 1e-30;

/// Codes a lookup row, `[M, C]`, by plain loops: `byte = round((row - low) * (top / range))`, ties to even, with the lowest of each
/// subspace and the widest range of all. A range below 1e-30 gives zeros and the step 1, a value that is not finite zeros and the step NaN.
///
/// # Panics
/// If `row` or `bytes` is shorter than [`Shape::row_bytes`].
pub fn quantise_row(shape: Shape, row: &[f32], bytes: &mut [u8]) -> Units {
    let (row, bytes) = (&row[..shape.row_bytes()], &mut bytes[..shape.row_bytes()]);
    let lowest = |r: &[f32]| r.iter().copied().fold(f32::INFINITY, f32::min);
    let highest = |r: &[f32]| r.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let subspaces = row.chunks_exact(shape.entries);
    let range = subspaces.clone().map(|r| highest(r) - lowest(r)).fold(0.0, f32::max);
    let offset = subspaces.clone().map(lowest).sum();
    let top = f32::from(shape.top());
    let (unit, step) = match range {
        r if r.is_infinite() || row.iter().any(|x| x.is_nan()) => (0.0, f32::NAN),
        r if r < TINY => (0.0, 1.0),
        r => (top / r, r / top),
    };
    for (r, b) in subspaces.zip(bytes.chunks_exact_mut(shape.entries)) {
        let low = lowest(r);
        // A cast of NaN is 0.
        r.iter().zip(b).for_each(|(x, b)| *b = ((x - low) * unit).round_ties_even() as u8);
    }
    Units { offset, step }
}

/// Reads the codes of subspace `m` in a vector of a block.
///
/// # Safety
/// `block` is a block with that subspace, from the vector on.
#[inline(always)]
unsafe fn codes<S: ByteSimd, const C: usize>(s: S, block: *const u8, m: usize) -> S::I {
    if C != 16 {
        // SAFETY: the caller's promise.
        return unsafe { s.load_bytes(block.add(m * BLOCK)) };
    }
    // SAFETY: the caller's promise.
    let pair = unsafe { s.load_bytes(block.add(m / 2 * BLOCK)) };
    let code = if m.is_multiple_of(2) { pair } else { s.shr16::<4>(pair) };
    s.iand(code, s.isplat(0x0f0f_0f0f))
}

/// Looks codes up in a table of `C` bytes.
///
/// # Safety
/// The table is valid for reading.
#[inline(always)]
unsafe fn lookup<S: ByteSimd, const C: usize>(s: S, table: *const u8, codes: S::I) -> S::I {
    // SAFETY: the caller's promise.
    unsafe {
        match C {
            16 => s.lookup16(s.table16(table), codes),
            128 => s.lookup128(table, codes),
            _ => s.lookup256(table, codes),
        }
    }
}

/// Sums of 16 bits of bytes that were added to it: of the even bytes, once the odd ones are taken off, and of the odd ones.
#[derive(Clone, Copy)]
struct Sums<I> {
    mixed: I,
    odd: I,
}

impl<I: Copy> Sums<I> {
    #[inline(always)]
    fn add<S: ByteSimd<I = I>>(&mut self, s: S, bytes: I) {
        self.mixed = s.add16(self.mixed, bytes);
        self.odd = s.add16(self.odd, s.shr16::<8>(bytes));
    }
}

/// The sums of a vector of a block, for `Q` lookup rows, `G` lookups added up in bytes.
///
/// # Safety
/// `block` has codes of M subspaces, from the vector on; the rows are valid.
#[inline(always)]
unsafe fn vector<S: ByteSimd, const C: usize, const G: usize, const Q: usize>(
    s: S,
    subspaces: usize,
    rows: [*const u8; Q],
    block: *const u8,
) -> [[S::I; 2]; Q] {
    // Two at least for 16 entries: they share the bytes of codes.
    let step = if C == 16 && G == 1 { 2 } else { G };
    let zero = s.isplat(0);
    let mut sums = [Sums { mixed: zero, odd: zero }; Q];
    let mut m = 0;
    while m + step <= subspaces {
        let mut code = [zero; 4];
        for (i, code) in code[..step].iter_mut().enumerate() {
            // SAFETY: subspace m + i < M.
            *code = unsafe { codes::<S, C>(s, block, m + i) };
        }
        for (sums, row) in sums.iter_mut().zip(rows) {
            for first in (0..step).step_by(G) {
                let mut bytes = zero;
                for (i, code) in code[first..first + G].iter().enumerate() {
                    // SAFETY: the table of subspace m + first + i < M.
                    let found = unsafe { lookup::<S, C>(s, row.add((m + first + i) * C), *code) };
                    bytes = if i == 0 { found } else { s.add8(bytes, found) };
                }
                sums.add(s, bytes);
            }
        }
        m += step;
    }
    while m < subspaces {
        // SAFETY: subspace m < M, and its tables.
        unsafe {
            let code = codes::<S, C>(s, block, m);
            for (sums, row) in sums.iter_mut().zip(rows) {
                sums.add(s, lookup::<S, C>(s, row.add(m * C), code));
            }
        }
        m += 1;
    }
    let mut out = [[zero; 2]; Q];
    for (out, sums) in out.iter_mut().zip(sums) {
        *out = [s.sub16(sums.mixed, s.shl16::<8>(sums.odd)), sums.odd];
    }
    out
}

/// The greatest of the first `n` sums, which `blocks` whole blocks of have been taken into `most`.
///
/// # Safety
/// `out` is valid for reading n numbers.
#[inline(always)]
unsafe fn greatest<S: ByteSimd>(s: S, most: S::I, out: *const u16, n: usize) -> u16 {
    let mut most = s.reduce_max16(most);
    for j in n / BLOCK * BLOCK..n {
        // SAFETY: j < n.
        most = most.max(unsafe { *out.add(j) });
    }
    most
}

/// A [`scan`] of a shape of `C` entries and `G` lookups added up in bytes.
struct Blocks<const C: usize, const G: usize, const Q: usize> {
    shape: Shape,
    rows: [*const u8; Q],
    codes: *const u8,
    n: usize,
    out: [*mut u16; Q],
}

impl<const C: usize, const G: usize, const Q: usize> ByteKernel for Blocks<C, G, Q> {
    type Out = [u16; Q];
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) -> [u16; Q] {
        let Self { shape, rows, codes, n, out } = self;
        let mut most = [s.isplat(0); Q];
        for b in 0..n.div_ceil(BLOCK) {
            for v in 0..BLOCK / (4 * S::LANES) {
                // SAFETY: vector v of block b, of codes and of sums, which `scan` was promised.
                unsafe {
                    let block = codes.add(b * shape.block_bytes() + v * 4 * S::LANES);
                    let sums = vector::<S, C, G, Q>(s, shape.subspaces, rows, block);
                    for q in 0..Q {
                        let to = out[q].add(b * BLOCK + v * 2 * S::LANES);
                        s.store_bytes(to.cast(), sums[q][0]);
                        s.store_bytes(to.add(BLOCK / 2).cast(), sums[q][1]);
                        if (b + 1) * BLOCK <= n {
                            most[q] = s.max16(most[q], s.max16(sums[q][0], sums[q][1]));
                        }
                    }
                }
            }
        }
        let mut found = [0; Q];
        for q in 0..Q {
            // SAFETY: n sums, of which whole blocks are in `most`.
            found[q] = unsafe { greatest(s, most[q], out[q], n) };
        }
        found
    }
}

/// Writes the sums of lookups of the first `n` keys, for `Q` lookup rows at once, and returns the greatest of each.
///
/// More rows at once share the reading of codes: 4 take the least time.
///
/// # Safety
/// - Each of `rows` is valid for reading [`Shape::row_bytes`], `codes` for [`Shape::code_bytes`] of n keys.
/// - Each of `out` is valid for writing n numbers, rounded up to whole blocks; the numbers past n are arbitrary.
#[inline(always)]
pub unsafe fn scan<S: ByteSimd, const Q: usize>(
    s: S,
    shape: Shape,
    rows: [*const u8; Q],
    codes: *const u8,
    n: usize,
    out: [*mut u16; Q],
) -> [u16; Q] {
    macro_rules! of {
        ($c:literal) => {
            match shape.adds {
                1 => s.call(Blocks::<$c, 1, Q> { shape, rows, codes, n, out }),
                2 => s.call(Blocks::<$c, 2, Q> { shape, rows, codes, n, out }),
                _ => s.call(Blocks::<$c, 4, Q> { shape, rows, codes, n, out }),
            }
        };
    }
    match shape.entries {
        16 => of!(16),
        128 => of!(128),
        _ => of!(256),
    }
}

/// Writes a number of `row`, `[256]`, for each of the first `n` keys, coded in one subspace of 256 entries, and returns the greatest.
///
/// # Safety
/// `row` is valid for reading 256 numbers, `codes` n bytes and `out` for writing n numbers, each rounded up to whole blocks; the
/// numbers past n are arbitrary.
#[inline(always)]
pub unsafe fn scan_palette<S: ByteSimd>(s: S, row: *const u16, codes: *const u8, n: usize, out: *mut u16) -> u16 {
    let mut most = s.isplat(0);
    for b in 0..n.div_ceil(BLOCK) {
        for v in 0..BLOCK / (4 * S::LANES) {
            // SAFETY: vector v of block b, of codes and of numbers.
            unsafe {
                let words = s.lookup256_words(row, s.load_bytes(codes.add(b * BLOCK + v * 4 * S::LANES)));
                let to = out.add(b * BLOCK + v * 2 * S::LANES);
                s.store_bytes(to.cast(), words[0]);
                s.store_bytes(to.add(BLOCK / 2).cast(), words[1]);
                if (b + 1) * BLOCK <= n {
                    most = s.max16(most, s.max16(words[0], words[1]));
                }
            }
        }
    }
    // SAFETY: n numbers, of which whole blocks are in `most`.
    unsafe { greatest(s, most, out, n) }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
