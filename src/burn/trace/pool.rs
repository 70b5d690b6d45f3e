//! The thread of a device as one of those that share its work.

/// Makes this thread, the one that burn-fusion runs a device's ops on, a thread of a rayon pool, unless it is one.
///
/// From outside a pool a plan is handed over to a thread of the pool and waited for: two wake-ups, which is more than
/// the work where there is little data. The pool has as many threads as the global one, this one among them. It
/// is never given back, for the thread of a device lasts as long as the process.
pub(super) fn join() {
    if rayon::current_thread_index().is_some() {
        return;
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(rayon::current_num_threads())
        .thread_name(|i| format!("bgz-device-{i}"))
        .use_current_thread()
        .build();
    // Without it plans run as they do from any thread.
    if let Ok(pool) = pool {
        std::mem::forget(pool);
    }
}
