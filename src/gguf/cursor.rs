//! Reading a file from front to back, with a place for every error.

use super::error::{GgufError, Place};

/// The part of a file that is being read, by number and, once that is known, by name.
#[derive(Clone, Copy, Debug)]
pub(super) enum At<'a> {
    Header,
    Entry(usize, Option<&'a str>),
    Tensor(usize, Option<&'a str>),
}

impl From<At<'_>> for Place {
    fn from(at: At<'_>) -> Self {
        match at {
            At::Header => Place::Header,
            At::Entry(index, key) => Place::Entry { index, key: key.map(String::from) },
            At::Tensor(index, name) => Place::Tensor { index, name: name.map(String::from) },
        }
    }
}

/// A position in the bytes of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pub at: usize,
    pub place: At<'a>,
}

impl<'a> Cursor<'a> {
    /// At byte `at`, which is in the file or at its end.
    pub fn new(bytes: &'a [u8], at: usize, place: At<'a>) -> Self {
        Self { bytes, at: at.min(bytes.len()), place }
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: u64, what: &'static str) -> Result<&'a [u8], GgufError> {
        let left = self.left();
        match usize::try_from(n) {
            Ok(n) if n <= left => {
                let bytes = &self.bytes[self.at..self.at + n];
                self.at += n;
                Ok(bytes)
            }
            _ => Err(GgufError::Truncated { place: self.place.into(), what, at: self.at, needed: n, left }),
        }
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let bytes = self.take(N as u64, what)?;
        let mut out = [0; N];
        out.copy_from_slice(bytes);
        Ok(out)
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// The bytes of a string; `what` is said of its length and of its bytes.
    pub fn string(&mut self, what: &'static str) -> Result<&'a [u8], GgufError> {
        let len = self.u64(what)?;
        self.take(len, what)
    }

    /// A string that has to be UTF-8.
    pub fn text(&mut self, what: &'static str) -> Result<&'a str, GgufError> {
        let bytes = self.string(what)?;
        let at = self.at - bytes.len();
        std::str::from_utf8(bytes).map_err(|_| GgufError::NotUtf8 { place: self.place.into(), what, at })
    }

    /// A count of things that take `size` bytes each or more, if there is room for them.
    pub fn count(&self, count: u64, what: &'static str, size: usize) -> Result<usize, GgufError> {
        let most = self.left() / size;
        match usize::try_from(count) {
            Ok(n) if n <= most => Ok(n),
            _ => Err(GgufError::Count { place: self.place.into(), what, count, at: self.at, most }),
        }
    }
}
