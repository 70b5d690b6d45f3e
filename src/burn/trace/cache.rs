//! Plans by what they were made for, for the whole process.
//!
//! burn-fusion keeps an optimization for every pattern of ops it has seen and
//! never lets go of one; what is large, plans with their arenas and packed
//! weights, is kept here, and there is a bound on it.

use super::approximate::AllowedKey;
use super::run::Prepared;
use crate::exec::PackedWeights;
use burn_ir::{ScalarIr, TensorId};
use std::any::TypeId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Plans kept at most; the one unused for longest goes first.
const MAX_PLANS: usize = 64;

/// The run that a plan was made for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The optimization.
    pub optimization: u64,
    /// The numbers that its relative extents stand for.
    pub extents: Vec<usize>,
    /// The numbers that its relative scalars stand for, with their kind.
    pub scalars: Vec<(u8, u64)>,
    /// Inputs that are constants of the graph, by place and id: an id is never used twice, so it is the value.
    pub weights: Vec<(usize, TensorId)>,
    /// The permissions to approximate.
    pub allowed: AllowedKey,
}

/// A scalar in a form that can be compared, NaN included.
pub(super) fn bits(scalar: ScalarIr) -> (u8, u64) {
    match scalar {
        ScalarIr::Float(x) => (0, x.to_bits()),
        ScalarIr::Int(x) => (1, x as u64),
        ScalarIr::UInt(x) => (2, x),
        ScalarIr::Bool(x) => (3, x.into()),
    }
}

struct Entry {
    backend: TypeId,
    used: u64,
    prepared: Arc<Prepared>,
}

#[derive(Default)]
struct Plans {
    entries: HashMap<Key, Entry>,
    clock: u64,
}

static PLANS: LazyLock<Mutex<Plans>> = LazyLock::new(Mutex::default);

/// Weights packed for any plan of a trace.
pub(super) static PACKED: LazyLock<PackedWeights> = LazyLock::new(PackedWeights::default);

/// A number for a new optimization.
pub(super) fn next_optimization() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn plans() -> std::sync::MutexGuard<'static, Plans> {
    // An entry is inserted whole: a panic elsewhere leaves the map sound.
    PLANS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The plan for `key`, if it is kept.
pub(super) fn get(key: &Key) -> Option<Arc<Prepared>> {
    let mut plans = plans();
    plans.clock += 1;
    let now = plans.clock;
    let entry = plans.entries.get_mut(key)?;
    entry.used = now;
    Some(entry.prepared.clone())
}

/// Keeps a plan of a trace on `backend`, where `alive` tells whether a tensor
/// still exists: plans of weights that do not go.
pub(super) fn insert(key: Key, prepared: Arc<Prepared>, backend: TypeId, alive: impl Fn(TensorId) -> bool) {
    let mut plans = plans();
    plans.clock += 1;
    let used = plans.clock;
    let before = plans.entries.len();
    plans.entries.retain(|k, e| e.backend != backend || k.weights.iter().all(|&(_, id)| alive(id)));
    if plans.entries.len() >= MAX_PLANS
        && let Some(oldest) = plans.entries.iter().min_by_key(|(_, e)| e.used).map(|(k, _)| k.clone())
    {
        plans.entries.remove(&oldest);
    }
    let evicted = plans.entries.len() < before;
    plans.entries.insert(key, Entry { backend, used, prepared });
    drop(plans);
    if evicted {
        PACKED.prune();
    }
}
