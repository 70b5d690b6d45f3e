//! Where the records of a file begin, and which has a name.
//!
//! A record is read anew whenever it is asked for. Twelve bytes are kept of each, fewer than it takes in the file, so
//! that no count in a file can ask for more memory than the file has bytes.

use super::cursor::{At, Cursor};

/// Offsets of records that begin with a string, in the order of the file and by that string.
#[derive(Debug, Default)]
pub(super) struct Index {
    offsets: Vec<usize>,
    sorted: Vec<u32>,
}

impl Index {
    /// The most records it holds.
    pub const MOST: usize = u32::MAX as usize;

    pub fn new(offsets: Vec<usize>) -> Self {
        Self { offsets, sorted: Vec::new() }
    }

    /// Sorts, after which [`Index::find`] finds; gives two records of one name, if there are such.
    pub fn sort(&mut self, bytes: &[u8]) -> Option<(usize, usize)> {
        let mut sorted = Vec::with_capacity(self.offsets.len());
        sorted.extend(0..self.offsets.len() as u32);
        // By place as well, so that the first of two is named first.
        sorted.sort_unstable_by_key(|&i| (self.name(bytes, i as usize), i));
        self.sorted = sorted;
        let twice = self.sorted.windows(2).find(|w| self.name(bytes, w[0] as usize) == self.name(bytes, w[1] as usize));
        twice.map(|w| (w[0] as usize, w[1] as usize))
    }

    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    pub fn offset(&self, i: usize) -> Option<usize> {
        self.offsets.get(i).copied()
    }

    /// The record of a name.
    pub fn find(&self, bytes: &[u8], name: &str) -> Option<usize> {
        let found = self.sorted.binary_search_by(|&i| self.name(bytes, i as usize).cmp(name.as_bytes()));
        found.ok().map(|at| self.sorted[at] as usize)
    }

    fn name<'a>(&self, bytes: &'a [u8], i: usize) -> &'a [u8] {
        // It was read when the offset was found.
        self.offset(i).and_then(|at| Cursor::new(bytes, at, At::Header).string("name").ok()).unwrap_or_default()
    }
}
