//! Bytes of a large constant, which may be given up and read again.

use bytes::Bytes;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// Where the bytes of a constant come from, and can be had again.
pub trait Origin: Send + Sync {
    /// Reads the bytes anew.
    ///
    /// # Errors
    /// If they are not there any more.
    fn read(&self) -> io::Result<Bytes>;

    /// Told that `bytes` are not read soon. True if they stay readable all the same, as a mapped file does, whose memory
    /// goes back to the system; false if they are to be dropped to give back their memory.
    fn stays_readable(&self, bytes: &[u8]) -> bool;
}

/// Why the values of a constant cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// The graph came from text.
    #[error("graph text has their hash only")]
    OnlyHash,
    /// The file they came from is not there any more.
    #[error("they were given up for their packed form and cannot be read again: {0}")]
    Unreadable(String),
    /// The file they came from has changed.
    #[error("they were given up for their packed form, and the file has changed since it was loaded: load it again")]
    Changed,
}

/// Bytes with an origin. Whoever holds a clone of them keeps it; the memory goes back with the last.
pub(super) struct Stored {
    origin: Box<dyn Origin>,
    len: usize,
    sample: Vec<u8>,
    state: Mutex<State>,
}

struct State {
    bytes: Option<Bytes>,
    /// Known before bytes are dropped: those that are read again must have it.
    hash: Option<u64>,
}

impl Stored {
    pub fn new(bytes: Bytes, origin: Box<dyn Origin>) -> Self {
        let sample = sample(&bytes);
        Self { origin, len: bytes.len(), sample, state: Mutex::new(State { bytes: Some(bytes), hash: None }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The contents are replaced whole, so a panic elsewhere leaves it sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn sample(&self) -> &[u8] {
        &self.sample
    }

    pub fn bytes(&self) -> Result<Bytes, Unavailable> {
        let mut state = self.lock();
        if let Some(bytes) = &state.bytes {
            return Ok(bytes.clone());
        }
        let bytes = self.origin.read().map_err(|e| Unavailable::Unreadable(e.to_string()))?;
        if bytes.len() != self.len || state.hash != Some(xxh3_64(&bytes)) {
            return Err(Unavailable::Changed);
        }
        state.bytes = Some(bytes.clone());
        Ok(bytes)
    }

    pub fn release(&self) {
        let mut state = self.lock();
        let Some(bytes) = &state.bytes else { return };
        if self.origin.stays_readable(bytes) {
            return;
        }
        let hash = state.hash.unwrap_or_else(|| xxh3_64(bytes));
        *state = State { bytes: None, hash: Some(hash) };
    }

    pub fn hash(&self) -> u64 {
        let mut state = self.lock();
        match (state.hash, &state.bytes) {
            (Some(hash), _) => hash,
            (None, Some(bytes)) => {
                let hash = xxh3_64(bytes);
                state.hash = Some(hash);
                hash
            }
            // Bytes are never dropped before their hash is known.
            (None, None) => 0,
        }
    }
}

/// Bytes from the beginning, the middle and the end: all of them if they are few.
pub(super) fn sample(bytes: &[u8]) -> Vec<u8> {
    const PART: usize = 64;
    if bytes.len() <= 3 * PART {
        return bytes.to_vec();
    }
    [0, bytes.len() / 2, bytes.len() - PART].into_iter().flat_map(|start| &bytes[start..][..PART]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Constant, DType};
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Memory that stands for a file.
    #[derive(Default)]
    struct Memory {
        bytes: Mutex<Option<Vec<u8>>>,
        reads: AtomicUsize,
    }

    impl Origin for Arc<Memory> {
        fn read(&self) -> io::Result<Bytes> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let bytes = self.bytes.lock().unwrap();
            bytes.clone().map(Bytes::from).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        }

        fn stays_readable(&self, _: &[u8]) -> bool {
            false
        }
    }

    fn stored() -> (Constant, Arc<Memory>) {
        let bytes: Vec<u8> = (0..4000u32).map(|i| (i % 251) as u8).collect();
        let memory = Arc::new(Memory { bytes: Mutex::new(Some(bytes.clone())), reads: AtomicUsize::new(0) });
        let c = Constant::stored(DType::F32, vec![1000], bytes.into(), Box::new(memory.clone()));
        (c.expect("as many as the shape says"), memory)
    }

    #[test]
    fn bytes_that_were_given_up_are_read_again_once() {
        let (c, memory) = stored();
        let plain = Constant::new(DType::F32, vec![1000], c.bytes().unwrap()).unwrap();
        let held = c.bytes().unwrap();
        c.release();
        // Whoever had them has them still, and the hash needs none.
        assert_eq!(held.len(), 4000);
        assert_eq!(c.hash(), plain.hash());
        assert_eq!(c.sample(), plain.sample());
        assert_eq!(memory.reads.load(Ordering::Relaxed), 0);
        assert_eq!(c.reshaped(vec![10, 100]).unwrap().bytes().unwrap(), held);
        assert!(c.same(&plain));
        assert_eq!(memory.reads.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_file_that_changed_is_an_error() {
        let (c, memory) = stored();
        c.release();
        memory.bytes.lock().unwrap().as_mut().unwrap()[2000] ^= 1;
        assert_eq!(c.bytes(), Err(Unavailable::Changed));
        assert!(c.scalars().is_none() && c.get(0).is_none());
        memory.bytes.lock().unwrap().as_mut().unwrap()[2000] ^= 1;
        assert!(c.bytes().is_ok());
        c.release();
        *memory.bytes.lock().unwrap() = None;
        assert!(matches!(c.bytes(), Err(Unavailable::Unreadable(_))));
    }

    #[test]
    fn a_change_before_bytes_are_given_up_goes_unseen() {
        let (c, memory) = stored();
        let before = c.bytes().unwrap();
        *memory.bytes.lock().unwrap() = None;
        assert_eq!(c.bytes().unwrap(), before);
    }
}
