//! The bytes that a scan reads: codes of keys, and lookup rows of queries.
//!
//! Both are small products, `C * d` multiply-adds for each key or query, with keys or queries in the lanes: nothing is added
//! up, compared or sought across lanes. A key's code in a subspace is the entry with the greatest `x^T W c - c^T W c / 2`; a lookup
//! row is `q . c` for every entry, as bytes.

use super::scan::{BLOCK, Shape, TINY, Units};
use super::simd::{ByteKernel, ByteSimd};
use super::strided::Rows;

/// Entries that lie together in a [`Book`], component by component.
const GROUP: usize = 8;

/// The codebooks of a table in the form of the kernels; `d = M * d_sub` components.
#[derive(Clone, Debug, PartialEq)]
pub struct Book {
    shape: Shape,
    /// Place `p` of a permuted row holds this component.
    permutation: Vec<u32>,
    /// Subtracted from keys, permuted; `[d]`.
    mean: Vec<f32>,
    /// Entries, permuted, in groups: `[M, C / GROUP, d_sub, GROUP]`.
    entries: Vec<f32>,
    /// `W c` of every entry, in the same order.
    weights: Vec<f32>,
    /// `-c^T W c / 2` of every entry, `[M, C]`.
    bias: Vec<f32>,
}

/// Parts that do not fit each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a book of {subspaces} subspaces of {entries} entries for {d} components: {what}")]
pub struct BookError {
    subspaces: usize,
    entries: usize,
    d: usize,
    what: &'static str,
}

/// The parts of a [`Book`].
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The shape of codes and rows.
    pub shape: Shape,
    /// Place `p` of a permuted row holds component `permutation[p]`; `[d]`.
    pub permutation: &'a [u32],
    /// Subtracted from keys, `[d]`, not permuted.
    pub mean: &'a [f32],
    /// Entries, `[M, C, d / M]`, permuted.
    pub entries: &'a [f32],
    /// `W c` of the entries of each subspace, transposed: `[M, d / M, C]`.
    pub weights: &'a [f32],
    /// `-c^T W c / 2` of every entry, `[M, C]`.
    pub bias: &'a [f32],
}

impl Book {
    /// Of plain numbers; one lookup is added up at a time.
    ///
    /// # Errors
    /// As [`Book::new`].
    pub fn of(book: &bgz_passes::scores::Book) -> Result<Self, BookError> {
        Self::new(&Parts {
            shape: Shape { subspaces: book.subspaces, entries: book.entries, adds: 1 },
            permutation: &book.permutation,
            mean: &book.mean,
            entries: &book.codebook,
            weights: &book.weights,
            bias: &book.bias,
        })
    }

    /// A book of these parts.
    ///
    /// # Errors
    /// If the shape is none the scans have, or sizes do not fit it.
    pub fn new(parts: &Parts<'_>) -> Result<Self, BookError> {
        let Shape { subspaces, entries, adds } = parts.shape;
        let d = parts.permutation.len();
        let bad = |what| BookError { subspaces, entries, d, what };
        let ensure = |ok, what| if ok { Ok(()) } else { Err(bad(what)) };
        ensure(matches!(entries, 16 | 128 | 256), "entries are 16, 128 or 256")?;
        ensure((1..=256).contains(&subspaces), "subspaces are 1 to 256")?;
        ensure(matches!(adds, 1 | 2 | 4), "1, 2 or 4 lookups are added up")?;
        ensure(d > 0 && d.is_multiple_of(subspaces), "subspaces divide the components")?;
        ensure(parts.permutation.iter().all(|&i| (i as usize) < d), "the permutation leaves the components")?;
        ensure(parts.mean.len() == d, "the mean has another size")?;
        let len = d.checked_mul(entries).ok_or_else(|| bad("too large"))?;
        ensure(parts.entries.len() == len && parts.weights.len() == len, "the entries have another size")?;
        ensure(parts.bias.len() == subspaces * entries, "the bias has another size")?;
        let d_sub = d / subspaces;
        let group = |at: usize| {
            let (c, rest) = (at % GROUP, at / GROUP);
            let (j, rest) = (rest % d_sub, rest / d_sub);
            let (m, c) = (rest / (entries / GROUP), rest % (entries / GROUP) * GROUP + c);
            (m, c, j)
        };
        let entry = |(m, c, j)| parts.entries[(m * entries + c) * d_sub + j];
        let weight = |(m, c, j)| parts.weights[(m * d_sub + j) * entries + c];
        Ok(Self {
            shape: parts.shape,
            permutation: parts.permutation.to_vec(),
            mean: parts.permutation.iter().map(|&i| parts.mean[i as usize]).collect(),
            entries: (0..len).map(group).map(entry).collect(),
            weights: (0..len).map(group).map(weight).collect(),
            bias: parts.bias.to_vec(),
        })
    }

    /// An error about this book unless `ok`.
    ///
    /// # Errors
    /// If not.
    pub fn ensure(&self, ok: bool, what: &'static str) -> Result<(), BookError> {
        let Shape { subspaces, entries, .. } = self.shape;
        if ok { Ok(()) } else { Err(BookError { subspaces, entries, d: self.d(), what }) }
    }

    /// The shape of codes and rows.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Components of a row.
    pub fn d(&self) -> usize {
        self.permutation.len()
    }

    /// The product of a row, `[d]`, with the mean that keys are less.
    pub fn product_with_mean(&self, row: &[f32]) -> f32 {
        self.permutation.iter().zip(&self.mean).map(|(&i, m)| row[i as usize] * m).sum()
    }

    fn d_sub(&self) -> usize {
        self.d() / self.shape.subspaces
    }

    /// Floats of scratch memory that [`encode`] needs.
    pub(super) fn encode_room(&self) -> usize {
        2 * self.d() * BLOCK
    }

    /// Floats of scratch memory that [`lookup_rows`] needs, of vectors of `lanes`.
    pub(super) fn lookup_room(&self, lanes: usize) -> usize {
        (2 * self.d() + self.shape.row_bytes() + self.shape.subspaces + lanes) * lanes
    }
}

/// `start + x . w` of `C` entries of a group for `U` vectors of columns of x.
///
/// # Safety
/// `x` has `depth` rows of U vectors, and `w` as many of GROUP numbers, of which the first C of each count.
#[inline(always)]
unsafe fn tile<S: ByteSimd, const C: usize, const U: usize>(
    s: S,
    x: *const f32,
    w: *const f32,
    start: [f32; C],
    depth: usize,
) -> [[S::F; U]; C] {
    let mut acc = [[s.splat(0.0); U]; C];
    for (acc, start) in acc.iter_mut().zip(start) {
        *acc = [s.splat(start); U];
    }
    for j in 0..depth {
        let mut column = [s.splat(0.0); U];
        for (u, column) in column.iter_mut().enumerate() {
            // SAFETY: vector u of row j.
            *column = unsafe { s.load(x.add((j * U + u) * S::LANES)) };
        }
        for (c, acc) in acc.iter_mut().enumerate() {
            // SAFETY: component j of entry c.
            let w = s.splat(unsafe { *w.add(j * GROUP + c) });
            for (acc, column) in acc.iter_mut().zip(&column) {
                *acc = s.mul_add(w, *column, *acc);
            }
        }
    }
    acc
}

/// Codes keys, whole blocks, in the layout of the scans; the codes of keys past the last are arbitrary.
///
/// The nearest entry, the first of equals; 0 for a key with a NaN. The mean of `keys` is not looked at: the book has its own.
///
/// # Safety
/// - The first `n` keys are valid, of [`Book::d`] components.
/// - `codes` is valid for writing [`Shape::code_bytes`] of n keys, `scratch` for [`Book::encode_room`] floats.
#[inline(always)]
pub unsafe fn encode<S: ByteSimd>(s: S, book: &Book, keys: Rows, n: usize, codes: *mut u8, scratch: *mut f32) {
    s.call(Encode { book, keys, n, codes, scratch });
}

struct Encode<'a> {
    book: &'a Book,
    keys: Rows,
    n: usize,
    codes: *mut u8,
    scratch: *mut f32,
}

impl ByteKernel for Encode<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) {
        let Self { book, keys, n, codes, scratch } = self;
        for b in 0..n.div_ceil(BLOCK) {
            let first = b * BLOCK;
            // SAFETY: keys first.. of n, block b of the codes, and the scratch memory, as `encode` was promised.
            unsafe {
                let codes = codes.add(b * book.shape.block_bytes());
                encode_block(s, book, keys.from(first), (n - first).min(BLOCK), codes, scratch);
            }
        }
    }
}

/// Codes the first `n` keys as one block.
///
/// # Safety
/// That of [`encode`] for `n <= BLOCK`.
#[inline(always)]
unsafe fn encode_block<S: ByteSimd>(s: S, book: &Book, keys: Rows, n: usize, codes: *mut u8, scratch: *mut f32) {
    let (d, d_sub, c) = (book.d(), book.d_sub(), book.shape.entries);
    let columns = scratch;
    // SAFETY: two parts of d * BLOCK floats, indices within d, and a block of codes.
    unsafe {
        let groups = scratch.add(d * BLOCK);
        keys.columns(s, n, columns, BLOCK);
        // Groups of a vector of each half of the block, whose codes become even and odd bytes.
        for g in 0..BLOCK / 2 / S::LANES {
            let group = groups.add(g * 2 * S::LANES * d);
            for (p, (&i, &mean)) in book.permutation.iter().zip(&book.mean).enumerate() {
                for half in 0..2 {
                    let from = columns.add(i as usize * BLOCK + half * (BLOCK / 2) + g * S::LANES);
                    s.store(group.add((2 * p + half) * S::LANES), s.sub(s.load(from), s.splat(mean)));
                }
            }
            for m in 0..book.shape.subspaces {
                let x = group.add(2 * m * d_sub * S::LANES);
                let weights = book.weights.as_ptr().add(m * c * d_sub);
                let found = nearest(s, x, weights, &book.bias[m * c..][..c], d_sub);
                let pairs = s.ior(found[0], s.ishl::<8>(found[1]));
                if c != 16 {
                    s.store_u16(codes.add(m * BLOCK + g * 2 * S::LANES).cast(), pairs);
                } else {
                    let to = codes.add(m / 2 * BLOCK + g * 2 * S::LANES).cast();
                    let pairs = if m % 2 == 0 { pairs } else { s.ior(s.load_u16(to), s.ishl::<4>(pairs)) };
                    s.store_u16(to, pairs);
                }
            }
        }
    }
}

/// The numbers of the entries nearest to two vectors of columns.
///
/// # Safety
/// `x` has `d_sub` rows of two vectors, `weights` a group for each GROUP of `bias`.
#[inline(always)]
unsafe fn nearest<S: ByteSimd>(s: S, x: *const f32, weights: *const f32, bias: &[f32], d_sub: usize) -> [S::I; 2] {
    let mut best = [s.splat(f32::NEG_INFINITY); 2];
    let mut at = [s.isplat(0); 2];
    macro_rules! entries {
        ($c:literal) => {
            for first in (0..bias.len()).step_by($c) {
                let start = std::array::from_fn(|i| bias[first + i]);
                let group = first / GROUP * GROUP * d_sub + first % GROUP;
                // SAFETY: the weights of entries first..first + $c, within a group.
                let sums = unsafe { tile::<S, $c, 2>(s, x, weights.add(group), start, d_sub) };
                for (i, sums) in sums.iter().enumerate() {
                    let number = s.isplat((first + i) as i32);
                    for u in 0..2 {
                        let more = s.lt(best[u], sums[u]);
                        best[u] = s.select(more, sums[u], best[u]);
                        at[u] = s.iselect(more, number, at[u]);
                    }
                }
            }
        };
    }
    // A group, or what the registers hold of it.
    if S::LANES == 16 {
        entries!(8)
    } else {
        entries!(4)
    }
    at
}

/// Writes the lookup rows of the first `n <= LANES` queries, as [`quantise_row`](super::scan::quantise_row) codes them from their
/// products with the entries, one after the other, and what their bytes stand for.
///
/// # Safety
/// - The first `n` queries are valid, of [`Book::d`] components; their mean is not looked at.
/// - `rows` is valid for writing [`Shape::row_bytes`] for each of LANES queries, `units` n numbers, `scratch` for
///   [`Book::lookup_room`] floats.
#[inline(always)]
pub unsafe fn lookup_rows<S: ByteSimd>(
    s: S,
    book: &Book,
    queries: Rows,
    n: usize,
    rows: *mut u8,
    units: *mut Units,
    scratch: *mut f32,
) {
    s.call(LookupRows { book, queries, n, rows, units, scratch });
}

struct LookupRows<'a> {
    book: &'a Book,
    queries: Rows,
    n: usize,
    rows: *mut u8,
    units: *mut Units,
    scratch: *mut f32,
}

impl ByteKernel for LookupRows<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) {
        let Self { book, queries, n, rows, units, scratch } = self;
        let (d, shape) = (book.d(), book.shape);
        // SAFETY: parts of the scratch memory, indices within d, and what `lookup_rows` was promised.
        unsafe {
            let columns = scratch;
            let permuted = columns.add(d * S::LANES);
            let products = permuted.add(d * S::LANES);
            let lows = products.add(shape.row_bytes() * S::LANES);
            let square = lows.add(shape.subspaces * S::LANES);
            queries.columns(s, n, columns, S::LANES);
            let mut poison = s.splat(0.0);
            for (p, &i) in book.permutation.iter().enumerate() {
                let x = s.load(columns.add(i as usize * S::LANES));
                poison = s.add(poison, s.mul(x, s.splat(0.0)));
                s.store(permuted.add(p * S::LANES), x);
            }
            let (offset, range) = products_of(s, book, permuted, products, lows);
            // 0, or NaN.
            let range = s.add(range, poison);
            let fine = s.lt(range, s.splat(f32::INFINITY));
            let some = s.le(s.splat(TINY), range);
            let top = s.splat(f32::from(shape.top()));
            let unit = s.select(s.mask_and(fine, some), s.div(top, range), s.splat(0.0));
            let step = s.select(some, s.div(range, top), s.splat(1.0));
            let step = s.select(fine, step, s.splat(f32::NAN));
            let mut lanes = [[0.0; super::strided::MOST_LANES]; 2];
            s.store(lanes[0].as_mut_ptr(), offset);
            s.store(lanes[1].as_mut_ptr(), step);
            for (i, (offset, step)) in lanes[0].into_iter().zip(lanes[1]).take(n).enumerate() {
                *units.add(i) = Units { offset, step };
            }
            // Four bytes of an entry each in a lane, and as many of those as make a square to transpose.
            let words = shape.row_bytes() / 4;
            // A division would take longer than all else that is done for a word.
            let shift = shape.entries.trailing_zeros();
            for first in (0..words).step_by(S::LANES) {
                let some = S::LANES.min(words - first);
                for w in 0..some {
                    let at = 4 * (first + w);
                    let low = s.load(lows.add((at >> shift) * S::LANES));
                    let mut bytes = [s.isplat(0); 4];
                    for (i, b) in bytes.iter_mut().enumerate() {
                        let x = s.sub(s.load(products.add((at + i) * S::LANES)), low);
                        *b = s.to_int(s.mul(x, unit));
                    }
                    // A NaN has become a number whose lower bits are 0.
                    let low = s.ior(s.iand(bytes[0], s.isplat(255)), s.ishl::<8>(bytes[1]));
                    let word = s.ior(low, s.ior(s.ishl::<16>(bytes[2]), s.ishl::<24>(bytes[3])));
                    s.store(square.add(w * S::LANES), s.as_float(word));
                }
                let to = rows.cast::<f32>().add(first);
                if some == S::LANES {
                    s.transpose(square, S::LANES as isize, to, words);
                } else {
                    for i in 0..S::LANES {
                        for w in 0..some {
                            to.add(i * words + w).write_unaligned(*square.add(w * S::LANES + i));
                        }
                    }
                }
            }
        }
    }
}

/// Writes the products of a vector of queries with every entry, `[M, C]`, and the lowest of each subspace; returns the sum of those and
/// the widest range.
///
/// # Safety
/// `x` has `d` vectors; `products` and `lows` are valid for writing as many as there are.
#[inline(always)]
unsafe fn products_of<S: ByteSimd>(
    s: S,
    book: &Book,
    x: *const f32,
    products: *mut f32,
    lows: *mut f32,
) -> (S::F, S::F) {
    let (d_sub, c) = (book.d_sub(), book.shape.entries);
    let (mut offset, mut range) = (s.splat(0.0), s.splat(0.0));
    for m in 0..book.shape.subspaces {
        let (mut low, mut high) = (s.splat(f32::INFINITY), s.splat(f32::NEG_INFINITY));
        for first in (m * c..(m + 1) * c).step_by(GROUP) {
            // SAFETY: a group of subspace m, and its products.
            unsafe {
                let x = x.add(m * d_sub * S::LANES);
                let sums = tile::<S, GROUP, 1>(s, x, book.entries.as_ptr().add(first * d_sub), [0.0; GROUP], d_sub);
                for (i, [sum]) in sums.into_iter().enumerate() {
                    low = s.min(sum, low);
                    high = s.max(sum, high);
                    s.store(products.add((first + i) * S::LANES), sum);
                }
            }
        }
        // SAFETY: subspace m.
        unsafe { s.store(lows.add(m * S::LANES), low) };
        offset = s.add(offset, low);
        range = s.max(s.sub(high, low), range);
    }
    (offset, range)
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
