//! Tables in the form of the kernels: codes of keys, a lookup row for each query, sums of lookups.

use crate::ByteIsa;
use crate::encode::{self, Book};
use crate::scan::{self, BLOCK, Shape, Units};
use crate::simd::{ByteKernel, ByteSimd, run_bytes};
use crate::strided::{MOST_LANES, Rows};
use bgz_passes::scores;

/// A table's codebooks, in the form the kernels read.
#[derive(Clone, Debug, PartialEq)]
pub enum Codebook {
    /// Keys coded in subspaces, queries exact: a lookup a subspace.
    Product(Book),
    /// Queries and keys coded as a whole: one lookup.
    Palette(Palette),
}

/// A table of the scores of 256 queries with 256 keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    keys: Book,
    queries: Book,
    /// `[256, 256]`, a row a query.
    table: Vec<u16>,
    units: Units,
}

/// Entries of a palette.
const PALETTE: usize = 256;

/// Queries whose lookup rows are made together: a block that palettes code at once, and whole vectors.
pub(super) const QUERIES: usize = BLOCK;

impl Palette {
    /// Of `table`, `[256, 256]`, in units of `scale` above `offset`, of queries and keys coded by books of [`Palette::SHAPE`].
    ///
    /// # Errors
    /// If a part has another shape.
    pub fn new(keys: Book, queries: Book, table: &[u16], scale: f32, offset: f32) -> Result<Self, encode::BookError> {
        for book in [&keys, &queries] {
            book.ensure(book.shape() == Self::SHAPE && book.d() == keys.d(), "a palette has one subspace of 256")?;
        }
        keys.ensure(table.len() == PALETTE * PALETTE, "the table has another size")?;
        Ok(Self { keys, queries, table: table.to_vec(), units: Units { offset, step: scale } })
    }

    /// The shape of its codes.
    pub const SHAPE: Shape = Shape { subspaces: 1, entries: PALETTE, adds: 1 };
}

impl Codebook {
    /// `codebook` in the form of the kernels.
    ///
    /// # Errors
    /// If parts do not fit each other, or there are more subspaces than sums of bytes have room for.
    pub fn new(codebook: &scores::Codebook) -> Result<Self, encode::BookError> {
        Ok(match codebook {
            scores::Codebook::Product(book) => Self::Product(Book::of(book)?),
            scores::Codebook::Palette { keys, queries, table, scale, offset } => {
                Self::Palette(Palette::new(Book::of(keys)?, Book::of(queries)?, table, *scale, *offset)?)
            }
        })
    }

    /// Components of a row.
    pub fn d(&self) -> usize {
        self.keys().d()
    }

    /// The excess of `q . k` over the scores of this table, for any key.
    ///
    /// # Safety
    /// `q` is valid for reading [`Codebook::d`] components.
    #[inline(always)]
    pub(super) unsafe fn offset(&self, q: *const f32) -> f32 {
        // SAFETY: the caller's promise.
        self.keys().product_with_mean(unsafe { std::slice::from_raw_parts(q, self.d()) })
    }

    fn keys(&self) -> &Book {
        match self {
            Self::Product(book) => book,
            Self::Palette(p) => &p.keys,
        }
    }

    /// Bytes of the codes of `n` keys, and of as many as a scan reads of them.
    pub(super) fn code_bytes(&self, n: usize) -> usize {
        self.keys().shape().code_bytes(n)
    }

    /// Bytes of the codes of a block of keys.
    pub(super) fn block_bytes(&self) -> usize {
        self.keys().shape().block_bytes()
    }

    /// Bytes of what is made of a query.
    fn row_bytes(&self) -> usize {
        match self {
            Self::Product(book) => book.shape().row_bytes(),
            Self::Palette(_) => 1,
        }
    }

    /// Bytes of what is made of [`QUERIES`] queries.
    pub(super) fn rows_bytes(&self) -> usize {
        QUERIES * self.row_bytes()
    }

    /// Bytes of scratch memory that coding and making rows need.
    pub(super) fn scratch_bytes(&self, lanes: usize) -> usize {
        let floats = match self {
            Self::Product(book) => book.encode_room().max(book.lookup_room(lanes)),
            Self::Palette(p) => p.keys.encode_room().max(p.queries.encode_room()),
        };
        floats * size_of::<f32>()
    }

    /// Codes the first `n` keys.
    ///
    /// # Safety
    /// The keys are valid, of [`Codebook::d`] components; `codes` has [`Codebook::code_bytes`] of n, `scratch` has
    /// [`Codebook::scratch_bytes`].
    #[inline(always)]
    pub(super) unsafe fn encode<S: ByteSimd>(&self, s: S, keys: Rows, n: usize, codes: *mut u8, scratch: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { encode::encode(s, self.keys(), keys, n, codes, scratch) }
    }

    /// Makes the rows of the first `n` queries, at most [`QUERIES`], and what their sums stand for.
    ///
    /// # Safety
    /// The queries are valid, of [`Codebook::d`] components; `rows` has [`Codebook::rows_bytes`], `units` room for n,
    /// `scratch` [`Codebook::scratch_bytes`].
    #[inline(always)]
    pub(super) unsafe fn rows<S: ByteSimd>(
        &self,
        s: S,
        queries: Rows,
        n: usize,
        rows: *mut u8,
        units: *mut Units,
        scratch: *mut f32,
    ) {
        // SAFETY: vectors of queries within QUERIES, which is a multiple of their lanes; a block of codes.
        unsafe {
            match self {
                Self::Product(book) => {
                    for i in (0..n).step_by(S::LANES) {
                        let (to, units) = (rows.add(i * self.row_bytes()), units.add(i));
                        encode::lookup_rows(s, book, queries.from(i), (n - i).min(S::LANES), to, units, scratch);
                    }
                }
                Self::Palette(p) => {
                    encode::encode(s, &p.queries, queries, n, rows, scratch);
                    for i in 0..n {
                        *units.add(i) = p.units;
                    }
                }
            }
        }
    }

    /// The bytes that a scan reads for query `i`.
    ///
    /// # Safety
    /// `rows` was made for more than i queries.
    #[inline(always)]
    pub(super) unsafe fn row(&self, rows: *const u8, i: usize) -> *const u8 {
        // SAFETY: the caller's promise; a code is below 256, and the table has as many rows.
        unsafe {
            match self {
                Self::Product(_) => rows.add(i * self.row_bytes()),
                Self::Palette(p) => p.table.as_ptr().add(PALETTE * usize::from(*rows.add(scan::place(i)))).cast(),
            }
        }
    }

    /// Writes the sums of `Q` queries with the first `n` keys, and returns the greatest of each.
    ///
    /// # Safety
    /// `rows` are of [`Codebook::row`], `codes` of n keys from the beginning of a block on; each of `out` has room for n
    /// numbers, rounded up to whole blocks. The numbers past n are arbitrary.
    #[inline(always)]
    pub(super) unsafe fn scan<S: ByteSimd, const Q: usize>(
        &self,
        s: S,
        rows: [*const u8; Q],
        codes: *const u8,
        n: usize,
        out: [*mut u16; Q],
    ) -> [u16; Q] {
        // SAFETY: the caller's promise; a row of a palette's table is 256 numbers.
        unsafe {
            match self {
                Self::Product(book) => scan::scan(s, book.shape(), rows, codes, n, out),
                Self::Palette(_) => {
                    let mut most = [0; Q];
                    for ((most, row), out) in most.iter_mut().zip(rows).zip(out) {
                        *most = scan::scan_palette(s, row.cast(), codes, n, out);
                    }
                    most
                }
            }
        }
    }
}

/// Writes what the first `n` sums stand for.
///
/// # Safety
/// `sums` is valid for reading n numbers, rounded up to whole vectors of floats, and `out` for writing as many. They may be the same memory
/// if the sums lie at its end: no sum is overwritten before it is read.
#[inline(always)]
pub(super) unsafe fn stand_for<S: ByteSimd>(s: S, sums: *const u16, n: usize, units: Units, out: *mut f32) {
    let (step, offset) = (s.splat(units.step), s.splat(units.offset));
    for j in (0..n).step_by(S::LANES) {
        // SAFETY: a vector of each.
        unsafe { s.store(out.add(j), s.mul_add(s.to_float(s.load_u16(sums.add(j))), step, offset)) };
    }
}

/// Codes of keys that are kept from one call to the next, as a decoder keeps its keys: one list for each batch entry
/// and key head.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyCodes {
    heads: Vec<Vec<u8>>,
    /// Keys of each head.
    keys: usize,
}

impl KeyCodes {
    /// No codes, for as many heads.
    pub fn new(heads: usize) -> Self {
        Self { heads: vec![Vec::new(); heads], keys: 0 }
    }

    /// Keys that have codes.
    pub fn len(&self) -> usize {
        self.keys
    }

    /// True if no key has codes.
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Bytes of all codes.
    pub fn bytes(&self) -> usize {
        self.heads.iter().map(Vec::len).sum()
    }

    /// Codes the keys that have come since: `keys` has all keys of each head, `[n, d]`, in the order of the heads. Nothing
    /// is done, and `false` returned, if they are not of as many heads, of whole rows, and at least as many as before.
    #[must_use]
    pub fn update(&mut self, book: &Codebook, isa: ByteIsa, keys: &[&[f32]]) -> bool {
        let n = keys.first().map_or(0, |k| k.len() / book.d());
        if keys.len() != self.heads.len() || n < self.keys || keys.iter().any(|k| k.len() != n * book.d()) {
            return false;
        }
        // A block that was begun is coded again.
        let from = self.keys / BLOCK * BLOCK;
        for (codes, keys) in self.heads.iter_mut().zip(keys) {
            codes.resize(book.code_bytes(n), 0);
            let mut scratch = vec![0.0; book.scratch_bytes(MOST_LANES) / size_of::<f32>()];
            run_bytes(isa, Encode { book, keys, from, codes, scratch: &mut scratch });
        }
        self.keys = n;
        true
    }

    /// The codes of a head.
    pub(super) fn head(&self, head: usize) -> *const u8 {
        self.heads[head].as_ptr()
    }

    /// True if these are codes of so many heads and keys, made by a table like `book`.
    pub(super) fn fit(&self, book: &Codebook, heads: usize, keys: usize) -> bool {
        self.heads.len() == heads && self.keys == keys && self.heads.iter().all(|h| h.len() == book.code_bytes(keys))
    }
}

/// Codes keys from number `from` on, the first of a block.
struct Encode<'a> {
    book: &'a Codebook,
    keys: &'a [f32],
    from: usize,
    codes: &'a mut [u8],
    scratch: &'a mut [f32],
}

impl ByteKernel for Encode<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: ByteSimd>(self, s: S) {
        let d = self.book.d();
        let rest = &self.keys[self.from * d..];
        let rows = Rows { x: rest.as_ptr(), row: d as isize, inner: 1, d, mean: std::ptr::null() };
        let to = &mut self.codes[self.book.code_bytes(self.from)..];
        // SAFETY: the keys of a slice; codes of all of them, and scratch memory, as `update` has made them.
        unsafe { self.book.encode(s, rows, rest.len() / d, to.as_mut_ptr(), self.scratch.as_mut_ptr()) }
    }
}
