//! Permission to approximate, for what runs in a function.

use super::scope::Scopes;
use super::sync_all;
use crate::table::TableRegistry;
use bgz_passes::passes::attention_to_table::Approximation;
use std::sync::Arc;

/// What holds in a scope.
#[derive(Clone)]
pub(super) struct Allowed {
    pub approximation: Approximation,
    /// What tells it from any other: the tables, and the bits of the greatest error.
    pub key: ((u64, u64), u64),
}

/// Runs `f`, and lets attention in it take approximate scores: whatever it does on [`crate::BgzFusion`] over Flex or
/// NdArray in this thread may use the tables that `registry` has now, as long as the output of an attention is wrong
/// by no more than `max_error` (relative L2, of the worst head, on the data the table was measured on).
///
/// Ops that wait when it starts are done first, exactly; those that wait when `f` returns are done before this does.
/// [`capture`](super::capture) in or around it shows what was chosen, and why.
///
/// ```
/// use bgz_fusion::table::TableRegistry;
/// use bgz_fusion::{BgzFusion, Flex, trace};
/// use burn::tensor::Tensor;
///
/// let registry = TableRegistry::new();
/// let x = Tensor::<BgzFusion<Flex>, 2>::ones([2, 3], &Default::default());
/// let y = trace::approximate(&registry, 0.03, || x.exp());
/// assert_eq!(y.dims(), [2, 3]);
/// ```
pub fn approximate<R>(registry: &TableRegistry, max_error: f64, f: impl FnOnce() -> R) -> R {
    sync_all();
    let tables = registry.snapshot();
    let key = (tables.identity(), max_error.to_bits());
    let approximation = Approximation { source: Arc::new(tables), max_error };
    let open = OPEN.open(Allowed { approximation, key });
    let result = f();
    sync_all();
    drop(open);
    result
}

/// Permissions in force, the innermost last.
static OPEN: Scopes<Allowed> = Scopes::new();

/// The one that holds for what runs now.
pub(super) fn allowed() -> Option<Allowed> {
    OPEN.with(|allowed| allowed.last().cloned()).flatten()
}
