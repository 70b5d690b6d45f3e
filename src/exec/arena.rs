//! One block of memory for all intermediates, shared out by liveness.

use super::ExecError;
use super::packed::ConstantBytes;
use super::ports::Ports;
use super::step::Span;
use super::view::Slot;

/// How long a buffer is needed, and how large it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lifetime {
    /// Bytes.
    pub bytes: usize,
    /// The step that writes it.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Whose memory a buffer is in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Home {
    /// The arena's.
    Arena,
    /// That of an output, as long as it.
    Output(usize),
}

/// Offsets of the buffers in the arena, in bytes, and the size of the whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    pub homes: Vec<Home>,
    pub offsets: Vec<usize>,
    pub sizes: Vec<usize>,
    pub bytes: usize,
}

/// Everything starts on a cache line.
const ALIGN: usize = 64;

impl Layout {
    /// Places buffers so that those alive at the same time do not overlap:
    /// largest first, each at the lowest offset that is free for its lifetime
    /// (the "greedy by size" of Pisarchyk and Lee, 2020).
    pub fn new(buffers: &[Lifetime], homes: &[Home]) -> Result<Self, ExecError> {
        let mut by_size: Vec<usize> = (0..buffers.len()).filter(|&i| homes[i] == Home::Arena).collect();
        by_size.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), i));
        let mut offsets = vec![0; buffers.len()];
        let mut placed: Vec<usize> = Vec::new();
        let mut bytes = 0usize;
        for i in by_size {
            let size = buffers[i].bytes.checked_next_multiple_of(ALIGN).ok_or(ExecError::TooLarge)?;
            let mut taken: Vec<(usize, usize)> = placed
                .iter()
                .filter(|&&j| buffers[j].overlaps(&buffers[i]))
                .map(|&j| (offsets[j], offsets[j] + buffers[j].bytes.next_multiple_of(ALIGN)))
                .collect();
            taken.sort();
            let mut at = 0usize;
            for (start, end) in taken {
                if at + size <= start {
                    break;
                }
                at = at.max(end);
            }
            offsets[i] = at;
            bytes = bytes.max(at.checked_add(size).filter(|&b| b <= isize::MAX as usize).ok_or(ExecError::TooLarge)?);
            placed.push(i);
        }
        let sizes = buffers.iter().map(|b| b.bytes).collect();
        let layout = Self { homes: homes.to_vec(), offsets, sizes, bytes };
        layout.check(buffers)?;
        Ok(layout)
    }

    /// That no two buffers alive at once share a byte: what the memory safety
    /// of running a plan rests on, so it is checked however offsets were found.
    fn check(&self, buffers: &[Lifetime]) -> Result<(), ExecError> {
        for (i, a) in buffers.iter().enumerate() {
            if let Home::Output(_) = self.homes[i] {
                if self.homes[..i].contains(&self.homes[i]) {
                    return Err(ExecError::Internal(format!("buffer {i} shares an output with another")));
                }
                continue;
            }
            for (j, b) in buffers.iter().enumerate().skip(i + 1).filter(|&(j, _)| self.homes[j] == Home::Arena) {
                let apart =
                    self.offsets[i] + a.bytes <= self.offsets[j] || self.offsets[j] + b.bytes <= self.offsets[i];
                if a.overlaps(b) && !apart {
                    return Err(ExecError::Internal(format!("buffers {i} and {j} overlap")));
                }
            }
            if self.offsets[i] + a.bytes > self.bytes {
                return Err(ExecError::Internal(format!("buffer {i} exceeds the arena")));
            }
        }
        Ok(())
    }
}

/// The memory of one run.
pub(crate) struct Arena(bgz_kernels::Memory);

impl Arena {
    /// `None` if memory does not suffice.
    pub fn new(bytes: usize) -> Option<Self> {
        bgz_kernels::Memory::new(bytes).map(Self)
    }

    /// Bytes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn base(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }
}

/// The operands of a step: resolved pointers to spans of bytes, each from the first
/// element of a view to behind its last.
pub(crate) struct Reads<'a> {
    spans: &'a [(*const u8, usize)],
}

// SAFETY: what a step reads nobody writes meanwhile, and only bytes are read.
unsafe impl Sync for Reads<'_> {}

/// The results of a step: whole buffers.
pub(crate) struct Writes<'a> {
    spans: &'a [(*mut u8, usize)],
}

/// Resolved pointers of one step; allocated once, filled at every step.
#[derive(Default)]
pub(crate) struct Pointers {
    reads: Vec<(*const u8, usize)>,
    writes: Vec<(*mut u8, usize)>,
}

impl Pointers {
    /// Makes room for so many of each.
    pub fn reserve(&mut self, n: usize) {
        self.reads.reserve(n);
        self.writes.reserve(n);
    }
}

// SAFETY: the pointers are overwritten at the start of every step and only
// dereferenced while `Memory` borrows what they point to.
unsafe impl Send for Pointers {}

/// All memory a plan may touch in a run.
pub(crate) struct Memory<'a> {
    pub ports: &'a mut dyn Ports,
    pub constants: &'a [ConstantBytes],
    pub arena: &'a mut Arena,
    pub layout: &'a Layout,
    /// The part of the rows that there are.
    pub share: Option<Share>,
}

/// Some rows of as many as a plan was made for, which takes fewer.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub rows: usize,
    pub of: usize,
}

impl Share {
    /// The bytes of these rows of a whole matrix.
    fn bytes(self, whole: usize) -> usize {
        whole / self.of.max(1) * self.rows.min(self.of)
    }
}

impl Memory<'_> {
    /// The bytes `start..start + len` of a slot; with a share of the rows, that much of a matrix of all rows, and inputs as
    /// they are.
    fn span(&mut self, (slot, start, len): Span) -> Result<(*mut u8, usize), ExecError> {
        let lost = || ExecError::Internal("a step reaches outside its slot".into());
        let len = match (self.share, slot) {
            (Some(_), Slot::Input(i)) => self.ports.input(i).ok_or_else(lost)?.len(),
            (Some(share), Slot::Buffer(_)) => share.bytes(len),
            _ => len,
        };
        let end = start.checked_add(len).ok_or_else(lost)?;
        let slice = match slot {
            Slot::Input(i) => self.ports.input(i).ok_or_else(lost)?,
            Slot::Foreign(i) => self.ports.foreign(i).ok_or_else(lost)?,
            Slot::Const(i) => self.constants.get(i).ok_or_else(lost)?,
            Slot::Appended(i) => {
                let bytes = self.ports.appended(i).and_then(|b| b.get_mut(start..end)).ok_or_else(lost)?;
                return Ok((bytes.as_mut_ptr(), len));
            }
            Slot::Buffer(i) => {
                let (home, &size) = self.layout.homes.get(i).zip(self.layout.sizes.get(i)).ok_or_else(lost)?;
                let size = self.share.map_or(size, |share| share.bytes(size));
                if end > size {
                    return Err(lost());
                }
                if let Home::Output(o) = *home {
                    let bytes = self.ports.output(o).filter(|b| b.len() == size).ok_or_else(lost)?;
                    return Ok((bytes.as_mut_ptr().wrapping_add(start), len));
                }
                // Within the allocation: a buffer ends before `layout.bytes`, and so much the arena of a run has.
                return Ok((self.arena.base().wrapping_add(self.layout.offsets[i] + start), len));
            }
        };
        slice.get(start..end).map(|s| (s.as_ptr().cast_mut(), len)).ok_or_else(lost)
    }

    /// Has the op of this number done by whoever runs the plan, who is given
    /// the operands that it does not have.
    pub fn foreign(
        &mut self,
        op: usize,
        operands: &[Span],
        pointers: &mut Pointers,
    ) -> Result<Result<(), String>, ExecError> {
        for (i, &operand) in operands.iter().enumerate() {
            if !self.ports.has(op, i) {
                pointers.reads.clear();
                pointers.reads.push(read(self.span(operand)?));
                let given = self.ports.give(op, i, Reads { spans: &pointers.reads }.bytes(0));
                if given.is_err() {
                    return Ok(given);
                }
            }
        }
        Ok(self.ports.call(op))
    }

    /// Copies a span to an output, unless whoever runs the plan has that output otherwise.
    pub fn copy_out(&mut self, output: usize, from: Span, pointers: &mut Pointers) -> Result<(), ExecError> {
        if self.ports.output(output).is_none() {
            return Ok(());
        }
        let (start, len) = read(self.span(from)?);
        pointers.reads.clear();
        pointers.reads.push((start, len));
        let to = self.ports.output(output).filter(|to| to.len() == len);
        let to = to.ok_or_else(|| ExecError::Internal("an output has another size".into()))?;
        // No output is copied from another: a buffer that is an output itself is only read here.
        to.copy_from_slice(Reads { spans: &pointers.reads }.bytes(0));
        Ok(())
    }

    /// Runs `f` on the memory of one step.
    ///
    /// # Safety
    /// No two of `reads` and `writes` that are buffers or states may overlap unless both
    /// are reads: what [`Layout::new`] checks for buffers alive in the same
    /// step. No write may be to an input or a constant.
    pub unsafe fn step<R>(
        &mut self,
        reads: &[Span],
        writes: &[Span],
        pointers: &mut Pointers,
        f: impl FnOnce(&Reads, &mut Writes) -> R,
    ) -> Result<R, ExecError> {
        pointers.reads.clear();
        pointers.writes.clear();
        for &span in reads {
            pointers.reads.push(read(self.span(span)?));
        }
        for &span in writes {
            if !matches!(span.0, Slot::Buffer(_) | Slot::Appended(_)) {
                return Err(ExecError::Internal("a step writes to an input or a constant".into()));
            }
            pointers.writes.push(self.span(span)?);
        }
        Ok(f(&Reads { spans: &pointers.reads }, &mut Writes { spans: &pointers.writes }))
    }
}

/// A span that is only read.
fn read((start, len): (*mut u8, usize)) -> (*const u8, usize) {
    (start.cast_const(), len)
}

impl Reads<'_> {
    /// Bytes of operand `i`.
    pub fn bytes(&self, i: usize) -> &[u8] {
        let (p, n) = self.spans[i];
        // SAFETY: `Memory::step` made the span from live memory of this length
        // that nothing writes during the step; any byte is a valid `u8`, and
        // arena and tensors are initialised when made.
        unsafe { std::slice::from_raw_parts(p, n) }
    }

    /// Elements of operand `i`.
    pub fn slice<T: bytemuck::Pod>(&self, i: usize) -> &[T] {
        bytemuck::cast_slice(self.bytes(i))
    }

    /// Number of operands.
    pub fn len(&self) -> usize {
        self.spans.len()
    }
}

impl Writes<'_> {
    /// Bytes of result `i`.
    pub fn bytes(&mut self, i: usize) -> &mut [u8] {
        let (p, n) = self.spans[i];
        // SAFETY: as for reads; a write overlaps nothing else in the step, and
        // `&mut self` keeps two results from being borrowed at once.
        unsafe { std::slice::from_raw_parts_mut(p, n) }
    }

    /// Elements of result `i`.
    pub fn slice<T: bytemuck::Pod>(&mut self, i: usize) -> &mut [T] {
        bytemuck::cast_slice_mut(self.bytes(i))
    }

    /// Bytes of the first two results.
    pub fn pair(&mut self) -> (&mut [u8], &mut [u8]) {
        let mut each = self.each::<u8>();
        (each.next().unwrap_or_default(), each.next().unwrap_or_default())
    }

    /// Elements of every result, in order.
    pub fn each<T: bytemuck::Pod>(&mut self) -> impl Iterator<Item = &mut [T]> {
        self.spans.iter().map(|&(p, n)| {
            // SAFETY: as for one, and the results of a step are distinct buffers, which `lifetimes` checks.
            bytemuck::cast_slice_mut(unsafe { std::slice::from_raw_parts_mut(p, n) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buffers_that_are_never_alive_together_share_memory() {
        let l = |bytes, first, last| Lifetime { bytes, first, last };
        let layout = Layout::new(&[l(640, 0, 1), l(640, 1, 2), l(640, 2, 3)], &[Home::Arena; 3]).unwrap();
        assert_eq!(layout.bytes, 1280);
        assert_eq!(layout.offsets[0], layout.offsets[2]);
    }

    proptest! {
        #[test]
        fn no_two_live_buffers_overlap(raw in prop::collection::vec((0usize..5000, 0usize..20, 0usize..6), 0..40)) {
            let buffers: Vec<_> = raw.into_iter().map(|(bytes, first, n)| Lifetime { bytes, first, last: first + n }).collect();
            // `new` checks every pair.
            let layout = Layout::new(&buffers, &vec![Home::Arena; buffers.len()]).unwrap();
            prop_assert!(layout.bytes <= buffers.iter().map(|b| b.bytes.next_multiple_of(64)).sum());
        }
    }
}
