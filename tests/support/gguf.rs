//! Making GGUF files, good and bad.
#![allow(dead_code, reason = "each test file uses a part")]

/// The bytes of a file, piece by piece.
#[derive(Clone, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The beginning of a file that says it has so many tensors and metadata entries.
    pub fn header(version: u32, tensors: u64, entries: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(version).u64(tensors).u64(entries)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn u32(self, n: u32) -> Self {
        self.raw(&n.to_le_bytes())
    }

    pub fn u64(self, n: u64) -> Self {
        self.raw(&n.to_le_bytes())
    }

    pub fn string(self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.u64(text.len() as u64).raw(text)
    }

    /// A metadata entry: key, value type, value.
    pub fn entry(self, key: &str, ty: u32, value: &[u8]) -> Self {
        self.string(key).u32(ty).raw(value)
    }

    /// A record of the tensor directory; extents in the order of the file, the row first.
    pub fn tensor(self, name: &str, dims: &[u64], ty: u32, offset: u64) -> Self {
        let file = self.string(name).u32(dims.len() as u32);
        dims.iter().fold(file, |file, &n| file.u64(n)).u32(ty).u64(offset)
    }

    /// Zeros up to a multiple of `n` bytes.
    pub fn pad(mut self, n: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(n), 0);
        self
    }
}

/// A file of version 3 with these tensors (name, extents with the row first, type, bytes) and no metadata.
pub fn file(tensors: &[(&str, &[u64], u32, &[u8])]) -> Vec<u8> {
    let mut out = Bytes::header(3, tensors.len() as u64, 0);
    let mut offset = 0;
    for (name, dims, ty, bytes) in tensors {
        out = out.tensor(name, dims, *ty, offset);
        offset += bytes.len().next_multiple_of(32) as u64;
    }
    out = out.pad(32);
    for (.., bytes) in tensors {
        out = out.raw(bytes).pad(32);
    }
    out.0
}
