//! Files mapped into memory.

use bytes::Bytes;
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Mappings that are still there: what [`release`] may give back.
static MAPPINGS: Mutex<Vec<Weak<Mmap>>> = Mutex::new(Vec::new());

/// A mapping as the owner of bytes.
struct Mapping(Arc<Mmap>);

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of a file, mapped; of an empty one, none.
///
/// That nobody shortens the file meanwhile has to be asked of whoever names it, as by every program that maps its
/// weights.
pub(crate) fn map(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if meta.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is read-only and private to this process's view of the file. Its bytes are only ever read
    // as plain numbers, so any content is valid. The rest is asked of the caller.
    let map = Arc::new(unsafe { Mmap::map(&file)? });
    let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    mappings.retain(|m| m.strong_count() > 0);
    mappings.push(Arc::downgrade(&map));
    Ok(Bytes::from_owner(Mapping(map)))
}

/// Says that bytes are not read soon, if they are of a mapped file: the system may have the memory, and reads the file
/// again where need be. Others are left alone.
pub(crate) fn release(bytes: &[u8]) {
    let mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let start = bytes.as_ptr() as usize;
    for map in mappings.iter().filter_map(Weak::upgrade) {
        let offset = start.wrapping_sub(map.as_ptr() as usize);
        if offset.checked_add(bytes.len()).is_some_and(|end| end <= map.len()) {
            #[cfg(unix)]
            // SAFETY: what the advice throws away of a mapping that nobody writes to is what a read gets from the file again.
            // That it fails is no harm.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, bytes.len()) };
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_released_is_read_again() {
        let path = std::env::temp_dir().join(format!("bgz-mapped-{}", std::process::id()));
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let bytes = map(&path).unwrap();
        assert_eq!(bytes, content);
        release(&bytes[10..99_000]);
        assert_eq!(bytes, content);
        // Not of a file: left alone.
        release(&content);
        assert_eq!(content[99_999], (99_999u32 % 251) as u8);
        drop(bytes);
        assert!(!MAPPINGS.lock().unwrap().iter().any(|m| m.upgrade().is_some_and(|m| m.len() == 100_000)));
        std::fs::remove_file(&path).unwrap();
        assert!(map(&path).is_err());
        assert!(map(&std::env::temp_dir()).is_err());
    }
}
