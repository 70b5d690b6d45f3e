//! Seeing what was rewritten.

use super::sync;
use bgz_passes::pipeline::Report;
use burn_backend::StreamId;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// What ran on [`crate::BgzFusion`] while something was captured.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// One region for every run of recorded ops, in the order they ran.
    pub regions: Vec<Region>,
}

/// Ops that were recorded and then run as one graph.
#[derive(Clone, Debug)]
pub struct Region {
    /// The graph as recorded.
    pub before: String,
    /// The graph as run.
    pub after: String,
    /// What the passes did, and what they left alone and why.
    pub report: Report,
    /// Why the ops were done one by one as recorded, if they were.
    pub fallback: Option<String>,
}

impl Capture {
    /// The text of all graphs as run.
    pub fn after(&self) -> String {
        self.regions.iter().map(|r| r.after.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The text of all graphs as recorded.
    pub fn before(&self) -> String {
        self.regions.iter().map(|r| r.before.as_str()).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.after())
    }
}

/// Runs `f` and returns the graphs, before and after rewriting, of everything
/// that it did on [`crate::BgzFusion`] over Flex or NdArray in this thread,
/// with its result. Ops that wait when it starts are done first, those
/// that wait when `f` returns are done before this does.
///
/// The text is the same on every machine, so that it can be a snapshot of
/// one's own model:
///
/// ```
/// use bgz_fusion::{BgzFusion, Flex, trace};
/// use burn::tensor::{Tensor, activation};
///
/// type B = BgzFusion<Flex>;
/// let x = Tensor::<B, 2>::from_floats([[-1.0, 0.5, 2.0]], &Default::default());
/// let (y, seen) = trace::capture(|| activation::gelu(x));
/// assert!(seen.after().contains("gelu_erf"), "{seen}");
/// assert_eq!(y.dims(), [1, 3]);
/// ```
pub fn capture<R>(f: impl FnOnce() -> R) -> (R, Capture) {
    sync_all();
    let stream = StreamId::current();
    lock(&OPEN).entry(stream.value).or_default().push(Capture::default());
    ACTIVE.fetch_add(1, Ordering::SeqCst);
    /// Takes the capture off again, also if `f` panics.
    struct Guard(u64);
    impl Guard {
        fn take(&self) -> Capture {
            lock(&OPEN).get_mut(&self.0).and_then(Vec::pop).unwrap_or_default()
        }
    }
    impl Drop for Guard {
        fn drop(&mut self) {
            ACTIVE.fetch_sub(1, Ordering::SeqCst);
            if std::thread::panicking() {
                self.take();
            }
        }
    }
    let guard = Guard(stream.value);
    let result = f();
    sync_all();
    (result, guard.take())
}

/// Captures that are open; none, nearly always, and then nothing else is looked at.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);

/// Open captures by the stream, which is to say the thread, whose ops they are of.
static OPEN: LazyLock<Mutex<HashMap<u64, Vec<Capture>>>> = LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether somebody wants to see what runs now.
pub(super) fn wanted() -> bool {
    ACTIVE.load(Ordering::SeqCst) > 0 && lock(&OPEN).get(&StreamId::current().value).is_some_and(|c| !c.is_empty())
}

/// Shows a region to whoever captures this stream.
pub(super) fn show(region: impl FnOnce() -> Region) {
    if !wanted() {
        return;
    }
    let region = region();
    for capture in lock(&OPEN).get_mut(&StreamId::current().value).into_iter().flatten() {
        capture.regions.push(region.clone());
    }
}

/// Does everything of this thread that waits on a device of either backend; a backend that was never used has nothing.
fn sync_all() {
    sync::<Flex>(&Default::default());
    sync::<NdArray>(&Default::default());
}
