//! A plan that has run once allocates nothing when it runs again.

use bgz_fusion::{Graph, Model, Pipeline, Tensor};
use bgz_passes::ir::{
    Activation, BlockFormat, Blocks, Cell, Constant, DType, Direction, Function, Index, Op, Precision, Product,
    Recurrent, Type,
};
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

fn default_model() -> (Model, Tensor) {
    let model = Model::from_bytes("char_lm", &include_bytes!("../cli/model/char_lm.onnx")[..]).unwrap();
    let ids: Vec<i64> = (0..2 * 48).map(|i| i % 96).collect();
    (model, Tensor::new(&[2, 48], &ids).unwrap())
}

/// A layer of 48 steps, in both directions.
fn recurrent() -> (Model, Tensor) {
    let mut g = Graph::new("recurrent");
    let x = g.add_input("x", Type::new(DType::F32, [48, 2, 32])).unwrap();
    let weights = |shape: &[usize]| Constant::f32s(shape, &vec![0.1; shape.iter().product()]).unwrap();
    let (w, r) = (g.add_const("w", weights(&[2, 96, 32])), g.add_const("r", weights(&[2, 96, 32])));
    let functions = [Function::Sigmoid, Function::Tanh, Function::Sigmoid, Function::Tanh];
    let op = Recurrent {
        cell: Cell::Gru { linear_before_reset: false },
        direction: Direction::Both,
        activations: functions.map(Activation::new).to_vec(),
        clip: None,
        batch_first: false,
        bias: false,
        lengths: false,
        initial: false,
    };
    let made = g.add_node(Op::Recurrent(op), &[x, w, r], &["y", "last"], None).unwrap();
    g.add_output("y", made[0]).unwrap();
    (Model::from_graph(g), Tensor::zeros(DType::F32, &[48, 2, 32]).unwrap())
}

/// Products and a lookup of rows that read their numbers in blocks, by blocks of rows as well.
fn blocks() -> (Model, Tensor) {
    let mut g = Graph::new("blocks");
    let ids = g.add_input("ids", Type::new(DType::I64, [200])).unwrap();
    let constant = |format: BlockFormat, [rows, len]: [usize; 2]| {
        let bytes = vec![0x11; rows * len / format.len() * format.bytes()];
        Constant::of_blocks(vec![rows, len], Blocks::new(format, [rows, len], bytes.into()).unwrap()).unwrap()
    };
    let table = g.add_const("table", constant(BlockFormat::Q8_0, [50, 512]));
    let weights = g.add_const("weights", constant(BlockFormat::Q4_0, [300, 512]));
    let x = g.add("x", Op::Index(Index::Gather { axis: 0 }), &[table, ids]).unwrap();
    let linear = Op::Product(Product::Linear { trans_w: true, precision: Precision::Exact });
    let y = g.add("y", linear, &[x, weights]).unwrap();
    g.add_output("y", y).unwrap();
    (Model::from_graph(g), Tensor::new(&[200], &(0..200i64).map(|i| i % 50).collect::<Vec<_>>()).unwrap())
}

/// Allocations of ten runs of a model, after some to warm up, in which each of the `threads` has taken part.
fn allocations((mut model, input): (Model, Tensor), threads: usize) -> usize {
    model.rewrite(&Pipeline::exact()).unwrap();
    let inputs = [input];
    let plan = model.plan(&[inputs[0].ty()]).unwrap();
    let mut outputs = plan.make_outputs().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        for _ in 0..100 {
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
    for threads in [1, 2] {
        assert_eq!(allocations(default_model(), threads), 0, "{threads} threads");
        assert_eq!(allocations(recurrent(), threads), 0, "a layer on {threads} threads");
        assert_eq!(allocations(blocks(), threads), 0, "numbers in blocks on {threads} threads");
    }
    // The counter counts.
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before);
}
