//! A plan that has run once allocates nothing when it runs again.

use bgz_fusion::{Model, Pipeline, Tensor};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts allocations of every thread.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of ten runs of the default model, after three to warm up, with `threads`.
fn allocations(threads: usize) -> usize {
    let mut model: Model = Model::from_bytes("char_lm", &include_bytes!("../models/default/char_lm.onnx")[..]).unwrap();
    model.rewrite(&Pipeline::exact()).unwrap();
    let ids: Vec<i64> = (0..2 * 48).map(|i| i % 96).collect();
    let inputs = [Tensor::new(&[2, 48], &ids).unwrap()];
    let plan = model.plan(&[inputs[0].ty()]).unwrap();
    let mut outputs = plan.make_outputs().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        for _ in 0..3 {
            plan.run_into(&inputs, &mut outputs).unwrap();
        }
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..10 {
            plan.run_into(&inputs, &mut outputs).unwrap();
        }
        ALLOCATIONS.load(Ordering::Relaxed) - before
    })
}

// One test, so that nothing else allocates meanwhile.
#[test]
fn ten_runs_allocate_nothing() {
    assert_eq!(allocations(1), 0, "one thread");
    assert_eq!(allocations(2), 0, "two threads");
    // The counter counts.
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before);
}
