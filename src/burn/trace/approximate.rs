//! Permission to approximate, for what runs in a function.

use super::scope::Scopes;
use super::sync_all;
use crate::table::TableRegistry;
use bgz_passes::ir::Precision;
use bgz_passes::scores::Approximation;
use std::sync::Arc;

/// The permissions of a scope.
#[derive(Clone, Default)]
pub(super) struct Allowed {
    /// Tables that scores of attention may come from.
    pub approximation: Option<Approximation>,
    /// The precision that products with weights may be computed in.
    pub precision: Precision,
    key: AllowedKey,
}

/// The key that tells a permission from any other: the tables with the bits of the greatest error, and the precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct AllowedKey {
    tables: Option<((u64, u64), u64)>,
    precision: Precision,
}

impl Allowed {
    pub fn key(&self) -> AllowedKey {
        self.key
    }
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
    within(f, |allowed| {
        let tables = registry.snapshot();
        allowed.key.tables = Some((tables.identity(), max_error.to_bits()));
        allowed.approximation = Some(Approximation { source: Arc::new(tables), max_error });
    })
}

/// Runs `f`, and lets every product with constant weights in it be computed in `precision`: whatever it does on
/// [`crate::BgzFusion`] over Flex or NdArray in this thread. Weights are constant once they have been met twice, unchanged.
///
/// The error that a model makes of it is for the one who asks to measure: with [`Precision::Bf16`] most results are some 0.1 %
/// off, with [`Precision::Int8`] about 1 %, of some models far more. Within [`approximate`], and around it, both hold.
///
/// ```
/// use bgz_fusion::ir::Precision;
/// use bgz_fusion::{BgzFusion, Flex, trace};
/// use burn::tensor::Tensor;
///
/// let x = Tensor::<BgzFusion<Flex>, 2>::ones([2, 3], &Default::default());
/// let w = Tensor::<BgzFusion<Flex>, 2>::ones([3, 4], &Default::default());
/// let y = trace::precision(Precision::Bf16, || x.matmul(w));
/// assert_eq!(y.into_data().to_vec::<f32>().unwrap(), [3.0; 8]);
/// ```
pub fn precision<R>(precision: Precision, f: impl FnOnce() -> R) -> R {
    within(f, |allowed| {
        allowed.key.precision = precision;
        allowed.precision = precision;
    })
}

/// Runs `f` with what holds here, changed.
fn within<R>(f: impl FnOnce() -> R, change: impl FnOnce(&mut Allowed)) -> R {
    sync_all();
    let mut here = allowed();
    change(&mut here);
    let open = OPEN.open(here);
    let result = f();
    sync_all();
    drop(open);
    result
}

/// Permissions in force, the innermost last.
static OPEN: Scopes<Allowed> = Scopes::new();

/// The permissions of the ops that run now.
pub(super) fn allowed() -> Allowed {
    OPEN.with(|allowed| allowed.last().cloned()).flatten().unwrap_or_default()
}
