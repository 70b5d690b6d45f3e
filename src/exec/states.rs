//! The memory that runs of plans work in.

use super::ExecError;
use super::arena::{Arena, Pointers};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory of one run, kept for the next.
pub(super) struct State {
    pub arena: Arena,
    pub pointers: Pointers,
}

/// The memory of runs of a plan, or of several of which a thread runs one at a time: then it is as much as the greatest
/// needs, and still in the cache for the next.
#[derive(Default)]
pub(super) struct States {
    kept: Mutex<Kept>,
}

struct Kept {
    free: Vec<State>,
    /// The least that a state has: bytes of the arena, and operands of a step.
    bytes: usize,
    operands: usize,
    /// The value that takes most of the arena, and how much.
    largest: (Arc<str>, usize),
}

impl Default for Kept {
    fn default() -> Self {
        Self { free: Vec::new(), bytes: 0, operands: 0, largest: ("".into(), 0) }
    }
}

impl States {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // The list is changed in whole, so a panic elsewhere leaves it sound.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a plan that is run with these, and of the value that takes most of it.
    pub fn need(&self, bytes: usize, operands: usize, largest: Option<(&Arc<str>, usize)>) {
        let mut kept = self.lock();
        kept.bytes = kept.bytes.max(bytes);
        kept.operands = kept.operands.max(operands);
        if let Some((name, bytes)) = largest.filter(|l| l.1 > kept.largest.1) {
            kept.largest = (name.clone(), bytes);
        }
    }

    /// Makes as many for runs to come, where there are not as many as large as that.
    pub fn fill(&self, count: usize) -> Result<(), ExecError> {
        let missing = {
            let mut kept = self.lock();
            let bytes = kept.bytes;
            kept.free.retain(|s| s.arena.len() >= bytes);
            count.saturating_sub(kept.free.len())
        };
        let made = (0..missing).map(|_| self.make()).collect::<Result<Vec<_>, _>>()?;
        self.lock().free.extend(made);
        Ok(())
    }

    fn make(&self) -> Result<State, ExecError> {
        let Kept { bytes, operands, .. } = *self.lock();
        let mut pointers = Pointers::default();
        pointers.reserve(operands);
        let arena = Arena::new(bytes).ok_or_else(|| {
            let (name, most) = self.lock().largest.clone();
            ExecError::Memory { what: format!("intermediate values, of which %{name} takes {most} bytes"), bytes }
        })?;
        Ok(State { arena, pointers })
    }

    /// Runs `run` with one whose arena has so many bytes.
    pub fn with<R>(&self, bytes: usize, run: impl FnOnce(&mut State) -> R) -> Result<R, ExecError> {
        let kept = self.lock().free.pop();
        let mut state = kept.filter(|s| s.arena.len() >= bytes).map_or_else(|| self.make(), Ok)?;
        let result = run(&mut state);
        self.lock().free.push(state);
        Ok(result)
    }
}
