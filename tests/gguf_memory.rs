//! Reading a GGUF file tensor by tensor takes the memory of one tensor, and mapping it next to none.

#[path = "support/gguf.rs"]
mod support;

use bgz_fusion::exec::{PackedWeights, Plan};
use bgz_fusion::gguf::{GgmlType, Gguf};
use bgz_fusion::{DType, Graph, Tensor, Type};
use bgz_passes::ir::{Op, Precision, Product};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Keeps the bytes that every thread has, and the most there were.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn more(size: usize) {
    let now = NOW.fetch_add(size, Ordering::Relaxed) + size;
    MOST.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        more(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `f` had at a time.
fn peak(f: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    f();
    MOST.load(Ordering::Relaxed) - before
}

/// Bytes of memory that no file stands behind.
fn anonymous() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok()? << 10)
}

// One test, so that nothing else allocates meanwhile.
#[test]
fn one_tensor_at_a_time() {
    const TENSORS: usize = 6;
    const ROWS: usize = 512;
    const ROW: usize = 1024;
    let data = vec![1; GgmlType::Q4_K.bytes_of(ROWS * ROW).expect("whole blocks")];
    let names: [String; TENSORS] = std::array::from_fn(|i| format!("blk.{i}.weight"));
    let dims = [ROW as u64, ROWS as u64];
    let tensors: Vec<(&str, &[u64], u32, &[u8])> =
        names.iter().map(|n| (n.as_str(), &dims[..], GgmlType::Q4_K.id(), &data[..])).collect();
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("gguf_memory.gguf");
    std::fs::write(&path, support::file(&tensors)).expect("a file");

    let mut file = None;
    // SAFETY: nobody changes the file meanwhile.
    let opened = peak(|| file = Some(unsafe { Gguf::map(&path) }.expect("it is read")));
    let file = file.expect("it was opened");
    assert!(opened < 4096, "{opened} bytes to open a file");

    let tensor_bytes = ROWS * ROW * size_of::<f32>();
    // The threads of the pool start here, and what they have is theirs.
    file.tensor("blk.0.weight").expect("it is there").to_f32().expect("it is read");
    let streamed = peak(|| {
        for tensor in file.tensors() {
            assert_eq!(tensor.to_f32().expect("it is read").len(), ROWS * ROW);
        }
    });
    assert!((tensor_bytes..tensor_bytes + 16384).contains(&streamed), "{streamed} bytes for one of {tensor_bytes}");

    let mut rows = vec![0.0; 64 * ROW];
    let by_rows = peak(|| {
        for tensor in file.tensors() {
            for start in (0..ROWS).step_by(64) {
                tensor.read_rows(start..start + 64, &mut rows).expect("they are read");
            }
        }
    });
    // A queue of the thread pool grows now and then.
    assert!(by_rows < 4096, "{by_rows} bytes for rows in a buffer of the caller's");

    // Products with weights that stay in their blocks, one after the other: `[1, 1024] -> [1, 512]` and the sum of all.
    let mut graph = Graph::new("products");
    let x = graph.add_input("x", Type::new(DType::F32, [1, ROW])).expect("a new name");
    for name in &names {
        let weight = graph.add_const(name, file.constant(name).expect("it is there"));
        let linear = Op::Product(Product::Linear { trans_w: true, precision: Precision::Exact });
        let y = graph.add(&format!("{name}.y"), linear, &[x, weight]).expect("it fits");
        graph.add_output(name, y).expect("a new name");
    }
    let whole = TENSORS * tensor_bytes;
    let input = Tensor::new(&[1, ROW], &vec![1.0f32; ROW]).expect("it fits");
    let (packed, before) = (PackedWeights::default(), anonymous());
    let mut after = None;
    let planned = peak(|| {
        let plan = Plan::new(&graph, &[input.ty()], &packed, None).expect("it is planned");
        assert!(
            plan.steps().all(|s| s.kernel == "gemm blocks"),
            "{:?}",
            plan.steps().map(|s| s.kernel).collect::<Vec<_>>()
        );
        let outputs = plan.run(std::slice::from_ref(&input)).expect("it runs");
        assert_eq!(outputs.len(), TENSORS);
        after = anonymous();
    });
    // Of 12 MB: each thread has a panel of 132 KB and an arena's part.
    assert!(planned < whole / 8, "{planned} bytes on the heap for weights that are {whole} as f32");
    match before.zip(after) {
        Some((before, after)) => {
            let more = after.saturating_sub(before);
            assert!(more < whole / 4, "{more} bytes for weights that are {whole} as f32");
        }
        None => println!("SKIPPED memory without a file: the system does not say"),
    }
}
