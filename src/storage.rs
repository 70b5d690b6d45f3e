//! Bytes of files: read into memory, which is safe, or mapped, which is not.
//!
//! Bytes that were read stay as they were whatever becomes of the file. A range of a file can be the origin of a constant: its
//! memory goes back once the constant is packed, and is read again should anybody ask.

use bgz_passes::ir::Origin;
use bytes::Bytes;
use memmap2::{Mmap, MmapMut};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// From this many bytes on memory is a mapping of its own, which goes back to the system when it is dropped.
const OWN_MAPPING: usize = 128 << 10;

/// A file as a place to take ranges of bytes from.
#[derive(Clone)]
pub(crate) enum Storage {
    /// Ranges are read.
    Read(Arc<Opened>),
    /// Ranges are views of a mapping.
    Mapped(Arc<Mmap>),
}

/// A file that is open.
pub(crate) struct Opened {
    file: Mutex<File>,
    len: u64,
}

impl Storage {
    /// Opens a file, to be read.
    ///
    /// # Errors
    /// If it cannot be opened, or is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, len) = regular(path)?;
        Ok(Self::Read(Arc::new(Opened { file: Mutex::new(file), len })))
    }

    /// Maps a file.
    ///
    /// # Errors
    /// If it cannot be opened or mapped, or is no regular file.
    ///
    /// # Safety
    /// Nobody changes or shortens the file while any bytes of it are alive.
    pub unsafe fn map(path: &Path) -> io::Result<Self> {
        let (file, len) = regular(path)?;
        if len == 0 {
            // There is nothing to map.
            return Self::open(path);
        }
        // SAFETY: the mapping is read-only, any content is valid for bytes, and that the content stays is the caller's promise.
        Ok(Self::Mapped(Arc::new(unsafe { Mmap::map(&file)? })))
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        match self {
            Self::Read(opened) => opened.len,
            Self::Mapped(map) => map.len() as u64,
        }
    }

    /// `len` bytes from `offset` on.
    ///
    /// # Errors
    /// If the file does not have them, or there is no memory for them.
    pub fn range(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = offset.checked_add(len as u64).filter(|&end| end <= self.len());
        let end = end.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        match self {
            Self::Read(opened) => opened.read(offset, len),
            // Both fit usize: they lie within the mapping.
            Self::Mapped(map) => Ok(Bytes::from_owner(View(map.clone())).slice(offset as usize..end as usize)),
        }
    }

    /// All of its bytes.
    ///
    /// # Errors
    /// As [`Storage::range`].
    pub fn all(&self) -> io::Result<Bytes> {
        let len = usize::try_from(self.len()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.range(0, len)
    }

    /// Where the bytes of a range can be had again.
    pub fn origin(&self, offset: u64, len: usize) -> Box<dyn Origin> {
        Box::new(Range { storage: self.clone(), offset, len })
    }

    /// The file as something to read from the beginning.
    pub fn reader(&self) -> io::Result<Reader<'_>> {
        match self {
            Self::Read(opened) => {
                let mut file = opened.lock();
                file.seek(SeekFrom::Start(0))?;
                Ok(Reader::File(file))
            }
            Self::Mapped(map) => Ok(Reader::Memory(io::Cursor::new(map))),
        }
    }
}

/// A file from its beginning on.
pub(crate) enum Reader<'a> {
    File(MutexGuard<'a, File>),
    Memory(io::Cursor<&'a [u8]>),
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            Self::Memory(bytes) => bytes.seek(to),
        }
    }
}

/// A mapping as the owner of bytes.
struct View(Arc<Mmap>);

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Opened {
    fn lock(&self) -> MutexGuard<'_, File> {
        // Every read says where it begins.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut file = self.lock();
        file.seek(SeekFrom::Start(offset))?;
        read_exact(&mut *file, len)
    }
}

/// A range of a file.
struct Range {
    storage: Storage,
    offset: u64,
    len: usize,
}

impl Origin for Range {
    fn read(&self) -> io::Result<Bytes> {
        self.storage.range(self.offset, self.len)
    }

    fn stays_readable(&self, bytes: &[u8]) -> bool {
        let Storage::Mapped(map) = &self.storage else { return false };
        let offset = (bytes.as_ptr() as usize).wrapping_sub(map.as_ptr() as usize);
        if offset.checked_add(bytes.len()).is_some_and(|end| end <= map.len()) {
            #[cfg(unix)]
            // SAFETY: what the advice throws away of a mapping that nobody writes to is what a read gets from the file again.
            // That it fails is no harm.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, bytes.len()) };
        }
        true
    }
}

/// `len` bytes of `source`.
///
/// # Errors
/// If it ends before, or there is no memory for them.
pub(crate) fn read_exact(source: &mut impl Read, len: usize) -> io::Result<Bytes> {
    if len >= OWN_MAPPING {
        let mut memory = MmapMut::map_anon(len)?;
        source.read_exact(&mut memory)?;
        return Ok(Bytes::from_owner(memory));
    }
    let mut memory = Vec::new();
    memory.try_reserve_exact(len)?;
    memory.resize(len, 0);
    source.read_exact(&mut memory)?;
    Ok(memory.into())
}

/// All bytes of a file, in memory; of what is no regular file, a pipe say, whatever comes until its end.
///
/// # Errors
/// If it cannot be read, or there is no memory for it.
pub(crate) fn read(path: &Path) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if meta.is_file() && meta.len() > 0 {
        let len = usize::try_from(meta.len()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        return read_exact(&mut file, len);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Opens a regular file, with its length.
fn regular(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok((file, meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn file(name: &str, content: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("bgz-storage-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path
    }

    fn content() -> Vec<u8> {
        (0..300_000u32).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn what_was_read_does_not_change_with_the_file() {
        let (path, content) = (file("read", &content()), content());
        let (whole, storage) = (read(&path).unwrap(), Storage::open(&path).unwrap());
        let (small, large) = (storage.range(7, 100).unwrap(), storage.range(1, 200_000).unwrap());
        std::fs::write(&path, "x").unwrap();
        assert_eq!(whole, content);
        assert_eq!((&small[..], &large[..]), (&content[7..107], &content[1..200_001]));
        // The file is shorter than it was when it was opened: an error, and no signal.
        assert_eq!(storage.range(1, 200_000).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(storage.origin(0, 100).read().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn ranges_beyond_the_end_are_errors() {
        let path = file("end", b"0123456789");
        // SAFETY: nobody else knows the file.
        for storage in [Storage::open(&path).unwrap(), unsafe { Storage::map(&path).unwrap() }] {
            assert_eq!(storage.range(8, 2).unwrap(), "89".as_bytes());
            for (offset, len) in [(8, 3), (11, 0), (u64::MAX, 1), (0, usize::MAX)] {
                assert!(storage.range(offset, len).is_err(), "{offset} {len}");
            }
            let mut all = String::new();
            storage.reader().unwrap().read_to_string(&mut all).unwrap();
            assert_eq!(all, "0123456789");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Storage::open(&path).is_err() && read(&path).is_err());
        assert!(Storage::open(&std::env::temp_dir()).is_err() && read(&std::env::temp_dir()).is_err());
    }

    #[test]
    fn pages_of_a_mapping_come_back() {
        let (path, content) = (file("map", &content()), content());
        // SAFETY: nobody else knows the file.
        let storage = unsafe { Storage::map(&path).unwrap() };
        let bytes = storage.range(10, 200_000).unwrap();
        assert!(storage.origin(10, 200_000).stays_readable(&bytes));
        assert_eq!(&bytes[..], &content[10..200_010]);
        std::fs::remove_file(&path).unwrap();
    }
}
