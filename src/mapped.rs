//! Files mapped into memory.

use bytes::Bytes;
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::path::Path;

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
    let map = unsafe { Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}
