//! Memory for what is large and stays: packed weights, and what a plan works in.
//!
//! It is zero, starts at a cache line, and from some size on is a mapping of its own, which the system gets back whole, not
//! a hole in the heap. It lies in huge pages (2 MB) where there are some: a product goes through more memory than the CPU
//! keeps addresses of small pages for, and the first to touch a page waits for the system once in 2 MB and not in 4 KB.

use bgz_passes::memory::obtainable;
use memmap2::{MmapMut, MmapRaw};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A cache line: the unit of allocation, for its alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u8; LINE]);

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// Below this much memory comes from the heap.
const SMALL: usize = 128 << 10;

/// Bytes of a slab.
const SLAB: usize = 16 * HUGE;

/// So much is left after a mapping, or there is none: who comes next may not be able to do without.
const REST: usize = 1 << 20;

/// Anything larger has no part in a slab, so that little of one is left over.
const MEDIUM: usize = SLAB / 4;

/// Where shared memory comes from.
static SLABS: Slabs = Slabs::new();

/// Bytes that start at a cache line and are zero at first.
pub struct Memory {
    home: Home,
    len: usize,
}

enum Home {
    Heap(Vec<Line>),
    /// From this offset on.
    Mapped(Arc<MmapRaw>, usize),
}

impl Memory {
    /// So many bytes, in a mapping of their own if they are many; `None` if the system has not that much.
    pub fn new(len: usize) -> Option<Self> {
        if len < SMALL { Self::heap(len) } else { Self::own(len) }
    }

    /// As [`new`](Self::new), for what is kept together and dropped together: medium sizes lie behind each other, so that
    /// huge pages hold several of them. A slab is given back when nothing of it is left.
    pub fn shared(len: usize) -> Option<Self> {
        match len {
            ..SMALL => Self::heap(len),
            // Where there is no memory for a slab there may be some for less.
            SMALL..=MEDIUM => SLABS.take(len).or_else(|| Self::own(len)),
            _ => Self::own(len),
        }
    }

    fn heap(len: usize) -> Option<Self> {
        let mut lines = Vec::new();
        lines.try_reserve_exact(len.div_ceil(LINE)).ok()?;
        lines.resize(len.div_ceil(LINE), Line([0; LINE]));
        Some(Self { home: Home::Heap(lines), len })
    }

    fn own(len: usize) -> Option<Self> {
        let (map, start) = map(len)?;
        Some(Self { home: Home::Mapped(Arc::new(map), start), len }).filter(|_| obtainable(len.min(REST)))
    }

    /// The first byte.
    pub fn as_ptr(&self) -> *const u8 {
        match &self.home {
            Home::Heap(lines) => lines.as_ptr().cast(),
            Home::Mapped(map, start) => map.as_ptr().wrapping_add(*start),
        }
    }

    /// The first byte, to write to.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        match &mut self.home {
            Home::Heap(lines) => lines.as_mut_ptr().cast(),
            Home::Mapped(map, start) => map.as_mut_ptr().wrapping_add(*start),
        }
    }

    /// All of it as numbers: as many as fit.
    pub(crate) fn numbers(&mut self) -> &mut [u32] {
        let n = self.len / size_of::<u32>();
        // SAFETY: initialised bytes at a cache line, which nobody else has: each part of a slab is given out once.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), n) }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: initialised bytes, which nobody writes while they are borrowed.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len) }
    }

    /// All of it, to write to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let n = self.len;
        // SAFETY: as for `numbers`.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), n) }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if the memory has no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A mapping that memory is taken from, part behind part.
struct Slabs {
    /// The one now, and how much of it is taken; what was taken keeps it.
    current: Mutex<(Weak<MmapRaw>, usize)>,
}

impl Slabs {
    const fn new() -> Self {
        Self { current: Mutex::new((Weak::new(), 0)) }
    }

    fn take(&self, len: usize) -> Option<Memory> {
        // Written as one, so a panic elsewhere leaves it sound.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (slab, taken) = &*current;
        let room = |slab: &Arc<MmapRaw>| slab.len().checked_sub(*taken).is_some_and(|left| left >= len);
        let (slab, start) = match slab.upgrade().filter(room) {
            Some(slab) => (slab, *taken),
            None => {
                let (map, start) = map(SLAB.max(len))?;
                (Arc::new(map), start)
            }
        };
        *current = (Arc::downgrade(&slab), start + len.next_multiple_of(LINE));
        Some(Memory { home: Home::Mapped(slab, start), len })
    }
}

/// A mapping with room for so many bytes from an offset on, where a huge page may start.
fn map(len: usize) -> Option<(MmapRaw, usize)> {
    let room = if len < HUGE { len } else { len.checked_add(HUGE)? };
    if room > isize::MAX as usize {
        return None;
    }
    let map = MmapMut::map_anon(room).ok()?;
    let start = if len < HUGE { 0 } else { map.as_ptr().align_offset(HUGE).min(HUGE) };
    // Whole pages only: the rest of one would be memory that nobody uses. That it fails is no harm.
    #[cfg(target_os = "linux")]
    let _ = map.advise_range(memmap2::Advice::HugePage, start, len / HUGE * HUGE);
    Some((map.into(), start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_zero_and_apart() {
        let sizes = [0, 1, 63, 64, 5000, SMALL - 1, SMALL, SMALL + 1, HUGE - 1, HUGE, HUGE + 1, MEDIUM + 1, SLAB];
        for make in [Memory::new, Memory::shared] {
            let mut all: Vec<Memory> = sizes.iter().chain(&sizes).map(|&n| make(n).unwrap()).collect();
            for (i, memory) in all.iter_mut().enumerate() {
                assert_eq!(memory.len(), sizes[i % sizes.len()]);
                assert_eq!(memory.as_ptr() as usize % LINE, 0);
                assert!(memory.bytes().iter().all(|&b| b == 0), "{i}");
                memory.bytes_mut().fill(i as u8 + 1);
            }
            for (i, memory) in all.iter_mut().enumerate() {
                assert!(memory.bytes().iter().all(|&b| b == i as u8 + 1), "{i}");
            }
        }
    }

    #[test]
    fn neighbours_share_a_slab_that_goes_with_the_last_of_them() {
        let slabs = Slabs::new();
        let slab = || slabs.current.lock().unwrap().0.clone();
        let a = slabs.take(SMALL).unwrap();
        let b = slabs.take(SMALL).unwrap();
        assert_eq!(b.as_ptr() as usize - a.as_ptr() as usize, SMALL);
        let first = slab();
        assert_eq!(first.strong_count(), 2);
        let c = slabs.take(2 * SLAB).unwrap();
        assert!(!slab().ptr_eq(&first));
        drop((a, b));
        assert_eq!([first.strong_count(), slab().strong_count()], [0, 1]);
        drop(c);
        assert_eq!(slab().strong_count(), 0);
        assert!(slabs.take(SMALL).is_some());
    }

    #[test]
    fn more_than_there_is_is_refused() {
        for make in [Memory::new, Memory::shared] {
            assert!(make(usize::MAX).is_none());
            assert!(make(isize::MAX as usize).is_none());
        }
    }
}
