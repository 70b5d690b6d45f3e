//! Plans against the oracle: the same graph, the same inputs, the same numbers,
//! rewritten and op by op.

use bgz_fusion::exec::{ExecError, PackedWeights, Plan};
use bgz_fusion::{DType, Error, Graph, Model, Pipeline, Tensor, Type};
use bgz_passes::eval;
use bgz_passes::eval::testing::Check;
use bgz_passes::ir::{
    BlockFormat, Blocks, Cast, Constant, Conv, Fold, Index, Movement, Nbits, Norm, Op, Precision, Product, parse,
};

fn host(t: &eval::Tensor) -> Tensor {
    Tensor::from_constant(&t.to_constant()).expect("an evaluated tensor has its data")
}

fn oracle(t: &Tensor) -> eval::Tensor {
    eval::Tensor::new(t.dtype(), t.shape().to_vec(), t.scalars()).expect("as many elements as the shape says")
}

/// Runs `graph` by plan and op by op, and compares both with the oracle.
fn check_on(graph: &Graph, check: &Check, seed: u64) {
    let inputs = check.inputs(graph, seed).expect("inputs");
    let expected = eval::run(graph, &inputs).unwrap_or_else(|e| panic!("oracle: {e}\n{graph}"));
    let given: Vec<Tensor> = inputs.iter().map(host).collect();
    let types: Vec<Type> = given.iter().map(Tensor::ty).collect();
    let model = Model::from_graph(graph.clone());
    let plan = model.plan(&types).unwrap_or_else(|e| panic!("plan: {e:?}\n{graph}"));
    for run in ["first", "second"] {
        let got = plan.run(&given).unwrap_or_else(|e| panic!("{run} run: {e:?}\n{graph}"));
        compare(&got, &expected, &format!("{run} run of the plan"), graph);
    }
    let inner = model.op_by_op(&types).unwrap_or_else(|e| panic!("op by op: {e:?}\n{graph}"));
    let got = inner.run(&given).unwrap_or_else(|e| panic!("op by op: {e:?}\n{graph}"));
    compare(&got, &expected, "op by op", graph);
}

fn compare(got: &[Tensor], expected: &[eval::Tensor], how: &str, graph: &Graph) {
    let got: Vec<_> = got.iter().map(oracle).collect();
    for (g, e) in got.iter().zip(expected) {
        assert_eq!(g.ty(), e.ty(), "{how}\n{graph}");
    }
    let difference = eval::compare(&got, expected);
    let largest =
        expected.iter().flat_map(|t| t.to_f64s()).filter(|v| v.is_finite()).fold(1.0, |m: f64, v| m.max(v.abs()));
    assert!(difference.max_abs <= 2e-5 * largest, "{how}: {difference:?}\n{graph}");
}

fn check(text: &str) {
    let graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
    for seed in 0..3 {
        check_on(&graph, &Check::new(), seed);
    }
    let mut rewritten = graph.clone();
    Pipeline::exact().run(&mut rewritten).expect("the pipeline runs");
    check_on(&rewritten, &Check::new(), 7);
}

macro_rules! graphs {
    ($($name:ident: $text:literal)*) => { $( #[test] fn $name() { check($text) } )* };
}

graphs! {
    cuts_of_nothing: "graph @g {
        in %x : f32[1, 4, n]
        const @none : f32[1, 4, 0] = []
        %j = concat(%x, @none) {axis = 2} : f32[1, 4, n]
        %a = slice(@none) {axes = [1], starts = [2], ends = [4]} : f32[1, 2, 0]
        %b = slice(%j) {axes = [1], starts = [2], ends = [4]} : f32[1, 2, n]
        %y = concat(%a, %b) {axis = 2} : f32[1, 2, n]
        %t = slice(%x) {axes = [2], starts = [0], ends = [0]} : f32[1, 4, 0]
        %e = slice(%t) {axes = [1], starts = [3], ends = [4]} : f32[1, 1, 0]
        out %y
        out %a
        out %e
    }"
    elementwise_chain: "graph @g {
        in %x : f32[b, 7]
        in %y : f32[7]
        const @half : f32[] = 0.5
        %a = add(%x, %y) : f32[b, 7]
        %t = tanh(%a) : f32[b, 7]
        %h = mul(%t, @half) : f32[b, 7]
        %c = gt(%h, %y) : bool[b, 7]
        %z = where(%c, %h, %x) : f32[b, 7]
        out %z
    }"
    integers_and_bools: "graph @g {
        in %i : i64[b, s]
        in %m : bool[b, s]
        const @two : i64[] = 2
        %d = mul(%i, @two) : i64[b, s]
        %e = eq(%i, @two) : bool[b, s]
        %n = not(%m) : bool[b, s]
        %o = or(%e, %n) : bool[b, s]
        %f = cast(%o) : f32[b, s]
        out %d
        out %f
    }"
    views_of_views: "graph @g {
        in %x : f32[2, 6, 8]
        %r = reshape(%x) {shape = [2, 6, 2, 4]} : f32[2, 6, 2, 4]
        %t = transpose(%r) {perm = [0, 2, 1, 3]} : f32[2, 2, 6, 4]
        %s = slice(%t) {axes = [2], ends = [5], starts = [1]} : f32[2, 2, 4, 4]
        %m = reshape(%s) {shape = [4, 16]} : f32[4, 16]
        %e = exp(%s) : f32[2, 2, 4, 4]
        out %m
        out %e
    }"
    matrix_products: "graph @g {
        in %a : f32[b, 1, 5, 3]
        in %c : f32[4, 3, 6]
        in %v : f32[3]
        %p = matmul(%a, %c) : f32[b, 4, 5, 6]
        %w = matmul(%a, %v) : f32[b, 1, 5]
        %t = transpose(%c) {perm = [0, 2, 1]} : f32[4, 6, 3]
        %q = matmul(%t, %c) : f32[4, 6, 6]
        out %p
        out %w
        out %q
    }"
    softmax_and_norms: "graph @g {
        in %x : f32[b, 3, 10]
        in %g : f32[10]
        in %h : f32[10]
        %s = softmax(%x) {axis = 2} : f32[b, 3, 10]
        %u = softmax(%x) {axis = 1} : f32[b, 3, 10]
        %l = log_softmax(%x) {axis = 2} : f32[b, 3, 10]
        %n = layer_norm(%x, %g, %h) {eps = 1e-5} : f32[b, 3, 10]
        %r = rms_norm(%x, %g) {eps = 1e-5} : f32[b, 3, 10]
        out %s
        out %u
        out %l
        out %n
        out %r
    }"
    reductions: "graph @g {
        in %x : f32[2, 3, 4, 5]
        in %i : i64[2, 3]
        %a = reduce_sum(%x) {axes = [1, 3], keep_dims = true} : f32[2, 1, 4, 1]
        %b = reduce_max(%x) {axes = [0], keep_dims = false} : f32[3, 4, 5]
        %c = reduce_mean(%x) {axes = [3], keep_dims = false} : f32[2, 3, 4]
        %d = reduce_min(%x) {axes = [2, 3], keep_dims = false} : f32[2, 3]
        %e = reduce_sum(%i) {axes = [1], keep_dims = false} : i64[2]
        %m = arg_max(%x) {axis = 1, keep_dims = false} : i64[2, 4, 5]
        out %a
        out %b
        out %c
        out %d
        out %e
        out %m
    }"
    gathering: "graph @g {
        in %x : f32[4, 3, 2]
        in %i : i64[2, n]
        %a = gather(%x, %i) {axis = 0} : f32[2, n, 3, 2]
        %t = transpose(%x) {perm = [1, 0, 2]} : f32[3, 4, 2]
        %b = gather(%t, %i) {axis = 1} : f32[3, 2, n, 2]
        %c = concat(%a, %a) {axis = 2} : f32[2, n, 6, 2]
        out %a
        out %b
        out %c
    }"
    attention_split_and_merged: "graph @g {
        in %q : f32[b, s, 8]
        in %k : f32[b, t, 8]
        in %v : f32[b, t, 8]
        in %m : f32[b, 1, 1, t]
        in %keep : bool[s, t]
        %x = attention(%q, %k, %v, %m) {d_head = 4, heads = 2, scale = 0.5, scores = exact} : f32[b, s, 8]
        %y = attention(%q, %k, %v, %keep) {d_head = 4, drop = -10000.0, heads = 2, scale = 0.5, scores = exact} : f32[b, s, 8]
        %qs = reshape(%q) {shape = [b, s, 2, 4]} : f32[b, s, 2, 4]
        %qh = transpose(%qs) {perm = [0, 2, 1, 3]} : f32[b, 2, s, 4]
        %z = attention(%qh, %k, %v) {causal = true, d_head = 4, heads = 2, merged = false, scale = 1.0, scores = exact} : f32[b, 2, s, 4]
        out %x
        out %y
        out %z
    }"
    grouped_heads: "graph @g {
        in %q : f32[2, 5, 16]
        in %k : f32[2, 5, 8]
        in %v : f32[2, 5, 8]
        %x = attention(%q, %k, %v) {d_head = 4, heads = 4, kv_heads = 2, scale = 0.5, scores = exact} : f32[2, 5, 16]
        out %x
    }"
    shapes_at_run_time: "graph @g {
        in %x : f32[b, s, 6]
        const @two : i64[1] = [2]
        const @three : i64[1] = [3]
        %n = shape(%x) {end = 2, start = 0} : i64[2]
        %t = concat(%n, @two, @three) {axis = 0} : i64[4]
        %r = reshape(%x, %t) : f32[b, s, 2, 3]
        %f = full(@two, %n) : i64[b, s]
        out %r
        out %f
    }"
    inputs_and_constants_as_outputs: "graph @g {
        in %x : f32[b]
        const @c : f32[2] = [1.0, 2.0]
        %t = expand(%x) {shape = [3, b]} : f32[3, b]
        out same = %x
        out constant = @c
        out %t
    }"
    backwards_slices_and_padding: "graph @g {
        in %x : f32[2, 5]
        %r = slice(%x) {axes = [1], ends = [-6], starts = [-1], steps = [-1]} : f32[2, 5]
        %p = pad(%r) {pads = [0, 1, 1, 2]} : f32[3, 8]
        %t = tile(%x) {repeats = [2, 1]} : f32[4, 5]
        out %r
        out %p
        out %t
    }"
    extents_of_zero: "graph @g {
        in %x : f32[0, 4]
        in %y : f32[4, 3]
        %p = matmul(%x, %y) : f32[0, 3]
        %e = exp(%p) : f32[0, 3]
        %s = reduce_sum(%e) {axes = [0], keep_dims = false} : f32[3]
        out %e
        out %s
    }"
}

#[test]
fn packed_weights_either_way_round() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", Type::new(DType::F32, ["b".into(), bgz_fusion::ir::Dim::from(3usize)])).unwrap();
    let values: Vec<f32> = (0..12).map(|i| i as f32 - 5.0).collect();
    let w = graph.add_const("w", Constant::f32s([3, 4], &values).unwrap());
    let wt = graph.add_const("wt", Constant::f32s([4, 3], &values).unwrap());
    let bias = graph.add_const("bias", Constant::f32s([4], &[1.0, 2.0, 3.0, 4.0]).unwrap());
    let linear = |trans_w| Op::Product(Product::Linear { trans_w, precision: Precision::Exact });
    let a = graph.add("a", linear(false), &[x, w, bias]).unwrap();
    let b = graph.add("b", linear(true), &[x, wt, bias]).unwrap();
    let c = graph.add("c", bgz_fusion::ir::Op::Product(Product::MatMul), &[x, w]).unwrap();
    for (name, v) in [("a", a), ("b", b), ("c", c)] {
        graph.add_output(name, v).unwrap();
    }
    for seed in 0..3 {
        check_on(&graph, &Check::new(), seed);
    }
    // A packed product is what a constant weight is lowered to.
    let plan = Plan::new(&graph, &[Type::new(DType::F32, [2usize, 3])], &PackedWeights::default(), None).unwrap();
    assert_eq!(plan.steps().map(|s| s.kernel).collect::<Vec<_>>(), ["gemm packed"; 3]);
}

#[test]
fn weights_in_blocks_are_multiplied_where_they_are() {
    // Without their second highest bit scales are small, be they f16 or f32.
    let bytes = |n: usize| -> Vec<u8> { (0..n).map(|i| ((i * 7919 + i / 256 * 31) % 251) as u8 & 0xbf).collect() };
    let nbits = BlockFormat::Nbits(Nbits::new(4, 32).unwrap());
    for &format in BlockFormat::GGML.iter().chain([&nbits]) {
        let depth = if format == nbits { 301 } else { 2 * format.len() };
        // Neither is a whole number of panels; both meet the same rows, and a third that is f32.
        let weights = |width: usize| {
            let codes = bytes(width * depth.div_ceil(format.len()) * format.bytes());
            let blocks = match format {
                BlockFormat::Nbits(n) => {
                    let codes = Constant::new(DType::U8, vec![codes.len()], codes.into()).unwrap();
                    let scales = vec![0.25; width * depth.div_ceil(n.len())];
                    Blocks::nbits(n, [width, depth], codes, Constant::f32s([scales.len()], &scales).unwrap(), None)
                }
                _ => Blocks::new(format, [width, depth], codes.into()),
            };
            Constant::of_blocks(vec![width, depth], blocks.unwrap()).unwrap()
        };
        let mut graph = Graph::new("g");
        let shape = ["b".into(), bgz_fusion::ir::Dim::from(depth)];
        let x = graph.add_input("x", Type::new(DType::F32, shape)).unwrap();
        let linear = Op::Product(Product::Linear { trans_w: true, precision: Precision::Exact });
        let plain = Constant::f32s([5, depth], &vec![0.5; 5 * depth]).unwrap();
        let bias = graph.add_const("bias", Constant::f32s([37], &[1.0; 37]).unwrap());
        for (name, c, bias) in [("a", weights(37), Some(bias)), ("b", weights(100), None), ("c", plain, None)] {
            let w = graph.add_const(&format!("{name}.w"), c);
            let operands: Vec<_> = [x, w].into_iter().chain(bias).collect();
            let y = graph.add(name, linear.clone(), &operands).unwrap();
            graph.add_output(name, y).unwrap();
        }
        // Rows of a table are what a product has for weights as well.
        let ids = graph.add_input("ids", Type::new(DType::I64, ["b", "s"])).unwrap();
        let table = graph.find("b.w").expect("it was added");
        let rows = graph.add("rows", Op::Index(Index::Gather { axis: 0 }), &[table, ids]).unwrap();
        graph.add_output("rows", rows).unwrap();
        let mut rewritten = graph.clone();
        Pipeline::exact().run(&mut rewritten).expect("the pipeline runs");
        assert!(rewritten.to_string().contains(&format!(" : f32[100, {depth}] {format} ")), "{rewritten}");
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                for rows in [1, 3, 17, 200] {
                    let check = Check::new().bind("b", rows).bind("s", 2).ints(-100..=99);
                    check_on(&graph, &check, rows as u64);
                    check_on(&rewritten, &check, rows as u64);
                }
            });
        }
        let types = [Type::new(DType::F32, [3, depth]), Type::new(DType::I64, [3usize, 2])];
        let plan = Plan::new(&graph, &types, &PackedWeights::default(), None).unwrap();
        let kernels: Vec<_> = plan.steps().map(|s| s.kernel).collect();
        assert!(kernels.contains(&"gemm blocks") && kernels.contains(&"gather blocks"), "{kernels:?}");
    }
}

#[test]
fn activations_softmax_and_norms_along_every_axis() {
    let graph = parse(
        "graph @g {
        in %x : f32[b, 3, 10]
        in %g : f32[10]
        %a = gelu_erf(%x) : f32[b, 3, 10]
        %b = softmax(%a) {axis = 2} : f32[b, 3, 10]
        %c = softmax(%b) {axis = 1} : f32[b, 3, 10]
        %d = log_softmax(%c) {axis = 0} : f32[b, 3, 10]
        %e = layer_norm(%d, %g) {eps = 1e-5} : f32[b, 3, 10]
        %f = rms_norm(%e, %g) {eps = 1e-5} : f32[b, 3, 10]
        %h = fused(%f, %g) {expr = \"round(exp(tanh(floor(a))) * 0.5 + b)\"} : f32[b, 3, 10]
        %i = reduce_max(%h) {axes = [0, 2], keep_dims = true} : f32[1, 3, 1]
        out %i
    }",
    )
    .unwrap();
    for seed in 0..3 {
        check_on(&graph, &Check::new(), seed);
    }
}

/// A block of a transformer without its attention: two products, a norm, and what lies between, over `[2, n, 16]`.
fn feed_forward() -> Graph {
    use bgz_fusion::ir::{Binary, Dim, FoldKind, Reduce, Unary};
    let values = |n: usize, scale: f32| (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) * scale).collect::<Vec<_>>();
    let mut g = Graph::new("feed_forward");
    let ty = Type::new(DType::F32, [Dim::from(2usize), "n".into(), Dim::from(16usize)]);
    let x = g.add_input("x", ty.clone()).unwrap();
    let residual = g.add_input("residual", ty).unwrap();
    let mut constant = |name: &str, shape: &[usize], scale| {
        g.add_const(name, Constant::f32s(shape, &values(shape.iter().product(), scale)).unwrap())
    };
    let (up, up_bias) = (constant("up", &[16, 40], 0.01), constant("up_bias", &[40], 0.02));
    let (down, gain) = (constant("down", &[16, 40], 0.01), constant("gain", &[1, 1, 16], 0.02));
    let (scale, shift) = (constant("scale", &[16], 0.03), constant("shift", &[16], 0.01));
    let a = g
        .add("a", Op::Product(Product::Linear { trans_w: false, precision: Precision::Exact }), &[x, up, up_bias])
        .unwrap();
    let b = g.add("b", Op::Unary(Unary::GeluErf), &[a]).unwrap();
    let c =
        g.add("c", Op::Product(Product::Linear { trans_w: true, precision: Precision::Exact }), &[b, down]).unwrap();
    let d = g.add("d", Op::Binary(Binary::Mul), &[c, gain]).unwrap();
    let e = g.add("e", Op::Binary(Binary::Add), &[d, residual]).unwrap();
    let f = g.add("f", Op::Norm(Norm::LayerNorm { eps: bgz_fusion::ir::Float(1e-5) }), &[e, scale, shift]).unwrap();
    // Read by others beside the last: written as a whole.
    let mean = g
        .add("mean", Op::Reduce(Reduce::Fold(Fold { kind: FoldKind::Mean, axes: vec![2], keep_dims: true })), &[f])
        .unwrap();
    let sum = g.add("sum", Op::Binary(Binary::Add), &[f, mean]).unwrap();
    g.add_output("e", e).unwrap();
    g.add_output("sum", sum).unwrap();
    g
}

#[test]
fn what_treats_rows_alike_runs_by_blocks_of_rows() {
    let graph = feed_forward();
    let types = |n: usize| [0; 2].map(|_| Type::new(DType::F32, [2, n, 16]));
    let kernels = |n: usize, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let plan = || Plan::new(&graph, &types(n), &PackedWeights::default(), None).unwrap();
        pool.install(plan).steps().map(|s| s.kernel).collect::<Vec<_>>()
    };
    // From 96 rows on, and 48 a thread, one step; the mean of a row is not among what a block does.
    for (n, threads) in [(48, 1), (48, 2), (96, 4)] {
        assert_eq!(kernels(n, threads)[0], "rows");
        assert_eq!(kernels(n, threads).len(), 3);
        assert_eq!(kernels(n - 1, threads)[0], "gemm packed");
    }
    // Fewer, whole blocks, a rest.
    for n in [40, 48, 66, 97, 200] {
        let check = Check::new().bind("n", n);
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| check_on(&graph, &check, 5));
        }
    }
}

#[test]
fn one_model_serves_all_lengths_in_any_order() {
    for graph in [feed_forward(), embeddings()] {
        let model = Model::from_graph(graph.clone());
        // Blocks of any number of rows are run by what was made for the first of them.
        for n in [97, 3, 200, 66, 48, 97, 1, 133] {
            let inputs = Check::new().bind("n", n).inputs(&graph, n as u64).expect("inputs");
            let given: Vec<Tensor> = inputs.iter().map(host).collect();
            let types: Vec<Type> = given.iter().map(Tensor::ty).collect();
            let got = model.plan(&types).expect("a plan").run(&given).expect("it runs");
            compare(&got, &eval::run(&graph, &inputs).expect("the oracle"), &format!("n = {n}"), &graph);
        }
    }
}

#[test]
fn a_value_of_constants_and_extents_is_computed_once() {
    let text = "graph @g {
        const @table : f32[4, 2] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
        const @places : i64[4] = [3, 1, 2, 0]
        in %x : f32[n, 2]
        %near = slice(@places) {axes = [0], ends = [n], starts = [0]} : i64[n]
        %rows = gather(@table, %near) {axis = 0} : f32[n, 2]
        %wide = exp(%rows) : f32[n, 2]
        %y = add(%x, %wide) : f32[n, 2]
        out %y
    }";
    let model = Model::from_graph(parse(text).unwrap());
    for n in [2, 4, 3] {
        let x = Tensor::new(&[n, 2], &vec![1f32; 2 * n]).unwrap();
        let plan = model.plan(&[x.ty()]).unwrap();
        assert_eq!(plan.steps().map(|s| s.node).collect::<Vec<_>>(), ["y"]);
        let want: Vec<f32> = [6f32, 7.0, 2.0, 3.0, 4.0, 5.0, 0.0, 1.0].map(|v| 1.0 + v.exp())[..2 * n].to_vec();
        let got = plan.run(&[x]).unwrap().remove(0);
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * b;
        assert!(got.as_slice::<f32>().unwrap().iter().zip(&want).all(near), "{got:?} is not {want:?}");
    }
    // There are no more places than that.
    let five = Tensor::new(&[5, 2], &[1f32; 10]).unwrap();
    assert!(matches!(model.plan(&[five.ty()]), Err(Error::Exec(ExecError::Graph(_)))));
}

/// Embeddings with their norm, three products of the same rows, and a masked mean over the sequence: over `[2, n]`.
fn embeddings() -> Graph {
    use bgz_fusion::ir::{Binary, Dim, Expr, Float, FoldKind, IntArg, Reduce};
    let values =
        |n: usize, seed: usize| (0..n).map(|i| ((i + seed) * 37 % 101) as f32 * 0.02 - 1.0).collect::<Vec<_>>();
    let mut g = Graph::new("embeddings");
    let rows: [Dim; 2] = [2.into(), "n".into()];
    let [ids, mask] = ["ids", "mask"].map(|name| g.add_input(name, Type::new(DType::I64, rows.clone())).unwrap());
    let floats = |shape: [Dim; 3]| Type::new(DType::F32, shape);
    let places = g.add_input("places", floats([1.into(), "n".into(), 16.into()])).unwrap();
    let scene = g.add_input("scene", floats([2.into(), 1.into(), 16.into()])).unwrap();
    let mut constant = |name: &str, shape: &[usize]| {
        g.add_const(name, Constant::f32s(shape, &values(shape.iter().product(), name.len())).unwrap())
    };
    let words = constant("words", &[7, 16]);
    let [a, b, c] = [20, 40, 16].map(|width| constant(&format!("to_{width}"), &[16, width]));
    let bias = constant("bias", &[16]);
    let linear = Op::Product(Product::Linear { trans_w: false, precision: Precision::Exact });
    let word = g.add("word", Op::Index(Index::Gather { axis: 0 }), &[words, ids]).unwrap();
    let keep = g.add("keep", Op::Cast(Cast(DType::F32)), &[mask]).unwrap();
    let shape = IntArg::Known(vec![2.into(), "n".into(), 1.into()]);
    let column = g.add("column", Op::Movement(Movement::Reshape { shape, zero_copies: false }), &[keep]).unwrap();
    let sum: Expr = "a + b + c".parse().unwrap();
    let x = g.add("x", Op::Fused(sum), &[word, places, scene]).unwrap();
    let y = g.add("y", Op::Norm(Norm::LayerNorm { eps: Float(1e-5) }), &[x]).unwrap();
    let p = g.add("p", linear.clone(), &[y, a]).unwrap();
    let q = g.add("q", linear.clone(), &[y, b]).unwrap();
    let r = g.add("r", linear, &[y, c, bias]).unwrap();
    let s = g.add("s", Op::Binary(Binary::Mul), &[r, column]).unwrap();
    let mean = Fold { kind: FoldKind::Mean, axes: vec![1], keep_dims: false };
    let mean = g.add("mean", Op::Reduce(Reduce::Fold(mean)), &[s]).unwrap();
    for (name, v) in [("p", p), ("q", q), ("mean", mean)] {
        g.add_output(name, v).unwrap();
    }
    g
}

#[test]
fn embeddings_and_what_is_repeated_are_read_by_blocks_of_rows() {
    let graph = embeddings();
    let steps = |n: usize| {
        let given = |shape: &[usize], dtype| Type::new(dtype, shape.to_vec());
        let ids = given(&[2, n], DType::I64);
        let types = [ids.clone(), ids, given(&[1, n, 16], DType::F32), given(&[2, 1, 16], DType::F32)];
        let plan = Plan::new(&graph, &types, &PackedWeights::default(), None).unwrap();
        plan.steps().map(|s| (s.kernel, s.op)).collect::<Vec<_>>()
    };
    for (n, threads) in [(30, 1), (48, 1), (97, 2), (100, 3)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let steps = steps(n);
            let steps: Vec<_> = steps.iter().map(|(kernel, op)| (*kernel, op.as_str())).collect();
            if n < 48 {
                // The products are one.
                assert_eq!(steps[4], ("gemm packed", "linear + linear + linear"));
            } else {
                let all = "gather + fused + layer_norm + linear + linear + linear + mul";
                assert_eq!(steps, [("elementwise", "cast"), ("rows", all), ("rows", "reduce_mean")]);
            }
            let check = Check::new().bind("n", n).ints_of("ids", -7..=6).ints_of("mask", 0..=1);
            check_on(&graph, &check, 5);
        });
    }
}

/// Products of the same rows are one step unless there is another product between them, and memory is not kept for them.
#[test]
fn products_of_the_same_rows_are_one_step() {
    let linear = Op::Product(Product::Linear { trans_w: false, precision: Precision::Exact });
    let mut g = Graph::new("same_rows");
    let x = g.add_input("x", Type::new(DType::F32, [3usize, 4])).unwrap();
    let row = g.add_input("row", Type::new(DType::F32, [4usize])).unwrap();
    let w = |g: &mut Graph, name: &str, width: usize| {
        let values: Vec<f32> = (0..4 * width).map(|i| (i * 7 % 5) as f32 - 2.0).collect();
        g.add_const(name, Constant::f32s([4, width], &values).unwrap())
    };
    let [a, b, c, d] = [("a", 4), ("b", 40), ("c", 1), ("d", 33)].map(|(name, width)| w(&mut g, name, width));
    let gate = g.add("gate", linear.clone(), &[x, a]).unwrap();
    let tanh = g.add("tanh", Op::Unary(bgz_fusion::ir::Unary::Tanh), &[gate]).unwrap();
    let up = g.add("up", Op::Product(Product::MatMul), &[x, b]).unwrap();
    let next = g.add("next", linear.clone(), &[tanh, c]).unwrap();
    let late = g.add("late", linear.clone(), &[x, d]).unwrap();
    // Its bias is made behind the product that it could be one with.
    let shift = g.add("shift", Op::Unary(bgz_fusion::ir::Unary::Tanh), &[row]).unwrap();
    let shifted = g.add("shifted", linear, &[x, a, shift]).unwrap();
    for (name, v) in [("up", up), ("next", next), ("late", late), ("shifted", shifted)] {
        g.add_output(name, v).unwrap();
    }
    let types = [Type::new(DType::F32, [3usize, 4]), Type::new(DType::F32, [4usize])];
    let plan = Plan::new(&g, &types, &PackedWeights::default(), None).unwrap();
    let steps: Vec<_> = plan.steps().map(|s| s.op).collect();
    assert_eq!(steps, ["linear + matmul", "tanh", "linear", "linear", "tanh", "linear"]);
    check_on(&g, &Check::new(), 3);
}

#[test]
fn an_index_out_of_range_is_an_error_naming_the_node() {
    let graph = parse("graph @g {\nin %x : f32[4]\nin %i : i64[n]\n%y = gather(%x, %i) {axis = 0} : f32[n]\nout %y\n}")
        .unwrap();
    let model = Model::from_graph(graph);
    let x = Tensor::new(&[4], &[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let run = |i: i64| model.run(&[("x", x.clone()), ("i", Tensor::new(&[1], &[i]).unwrap())]);
    assert_eq!(run(-1).unwrap()[0].1.as_slice::<f32>(), Ok(&[4.0][..]));
    for i in [4, -5] {
        let Err(Error::Exec(ExecError::Node { node, reason, .. })) = run(i) else {
            panic!("index {i} is out of range")
        };
        assert_eq!((node.as_str(), reason), ("y", format!("index {i} of an axis of extent 4")));
    }
}

#[test]
fn plans_are_kept_by_shape_and_bounded() {
    let graph = parse("graph @g {\nin %x : f32[n]\n%y = exp(%x) : f32[n]\nout %y\n}").unwrap();
    let model = Model::from_graph(graph);
    let ty = |n: usize| [Type::new(DType::F32, [n])];
    let first = model.plan(&ty(3)).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &model.plan(&ty(3)).unwrap()));
    for n in 4..100 {
        model.plan(&ty(n)).unwrap();
    }
    assert!(!std::sync::Arc::ptr_eq(&first, &model.plan(&ty(3)).unwrap()));
}

#[test]
fn threads_share_a_plan() {
    let graph =
        parse("graph @g {\nin %x : f32[n]\n%y = exp(%x) : f32[n]\n%z = add(%y, %x) : f32[n]\nout %z\n}").unwrap();
    let model = Model::from_graph(graph);
    std::thread::scope(|scope| {
        for t in 0..8 {
            let model = &model;
            scope.spawn(move || {
                for i in 0..50 {
                    let value = (t * 50 + i) as f32 / 100.0;
                    let x = Tensor::new(&[64], &[value; 64]).unwrap();
                    let y = model.run(&[("x", x)]).unwrap()[0].1.clone();
                    let want = value.exp() + value;
                    assert!(y.as_slice::<f32>().unwrap().iter().all(|v| (v - want).abs() < 1e-5 * want.abs().max(1.0)));
                }
            });
        }
    });
}

/// Products in fewer bits are near the exact ones; each row is coded by itself, so that blocks of rows change nothing.
#[test]
fn products_in_fewer_bits() {
    let exact = feed_forward();
    let n = 60;
    let ty = Type::new(DType::F32, [2, n, 16]);
    let values =
        |seed: usize| (0..2 * n * 16).map(|i| ((i + seed) * 7919 % 2017) as f32 / 1000.0 - 1.0).collect::<Vec<_>>();
    let inputs = [1, 2].map(|seed| Tensor::new(&[2, n, 16], &values(seed)).unwrap());
    let run = |graph: &Graph, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let types = [ty.clone(), ty.clone()];
            let plan = Plan::new(graph, &types, &PackedWeights::default(), None).unwrap();
            (plan.steps().map(|s| s.kernel).collect::<Vec<_>>(), plan.run(&inputs).unwrap().remove(0))
        })
    };
    let f32s = |t: &Tensor| t.scalars().map(|s| s.to_f64()).collect::<Vec<_>>();
    let want = f32s(&run(&exact, 1).1);
    let has_vectors = bgz_fusion::kernels::Isa::current() != bgz_fusion::kernels::Isa::Scalar;
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    for (precision, kernel, most) in [(Precision::Int8, "int8 packed", 0.02), (Precision::Bf16, "bf16 packed", 0.005)] {
        let mut graph = exact.clone();
        Pipeline::none().precision(precision).run(&mut graph).unwrap();
        let (kernels, by_blocks) = run(&graph, 1);
        assert_eq!(kernels[0], "rows");
        // Four threads have too few rows for blocks.
        let (kernels, by_products) = run(&graph, 4);
        assert_eq!(kernels[0], if has_vectors { kernel } else { "gemm packed" });
        assert_eq!(f32s(&by_blocks), f32s(&by_products));
        let error = norm(&mut f32s(&by_blocks).iter().zip(&want).map(|(a, b)| a - b)) / norm(&mut want.iter().copied());
        assert!(error < most && (error > 0.0) == has_vectors, "{precision}: {error}");
    }
}

/// A convolution of `x [2, c, spatial..]`, followed by an activation and another one.
struct Convolution {
    transposed: bool,
    image: &'static [usize],
    weights: &'static [usize],
    attrs: &'static [(&'static str, &'static [i64])],
    bias: bool,
}

impl Convolution {
    fn graph(&self) -> Graph {
        use bgz_fusion::ir::{Attr, Dim, Unary, Window};
        let values = |n: usize| (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.01).collect::<Vec<_>>();
        let mut g = Graph::new("convolution");
        let x = g.add_input("x", Type::new(DType::F32, self.image.to_vec())).unwrap();
        let mut constant = |name: &str, shape: &[usize]| {
            g.add_const(name, Constant::f32s(shape, &values(shape.iter().product())).unwrap())
        };
        let out = self.weights[usize::from(self.transposed)];
        let (w, b) = (constant("w", self.weights), constant("b", &[out]));
        // One by one in space: rows of the product as the activation leaves them.
        let spatial = self.weights.len() - 2;
        let then = constant("then", &[vec![3, out], vec![1; spatial]].concat());
        let dims = |v: &[i64]| Attr::Dims(v.iter().map(|&i| Dim::int(i)).collect());
        let kernel: Vec<i64> = self.weights[2..].iter().map(|&n| n as i64).collect();
        let given = self.attrs.iter().copied().chain([("kernel", &kernel[..])]);
        let attrs = given.map(|(name, v)| (name.to_string(), dims(v))).collect();
        let name = if self.transposed { "conv_transpose" } else { "conv" };
        let inputs = if self.bias { vec![x, w, b] } else { vec![x, w] };
        let y = g.add("y", Op::from_parts(name, attrs, &[], inputs.len()).unwrap(), &inputs).unwrap();
        let a = g.add("a", Op::Unary(Unary::Tanh), &[y]).unwrap();
        let pointwise = Conv::Plain { window: Window::new(vec![1; spatial]), groups: 1 };
        let z = g.add("z", Op::Conv(pointwise), &[a, then]).unwrap();
        g.add_output("y", y).unwrap();
        g.add_output("z", z).unwrap();
        g
    }
}

#[test]
fn convolutions_are_those_of_the_oracle() {
    let conv = |image, weights, attrs| Convolution { transposed: false, image, weights, attrs, bias: true };
    let transposed = |image, weights, attrs| Convolution { transposed: true, image, weights, attrs, bias: false };
    let cases = [
        conv(&[2, 3, 9, 8], &[20, 3, 3, 2], &[]),
        conv(&[2, 3, 9, 8], &[5, 3, 3, 2], &[("pads", &[1, 0, 2, 3])]),
        conv(&[2, 40, 9, 8], &[33, 40, 3, 3], &[("strides", &[2, 3]), ("dilations", &[2, 1]), ("pads", &[1, 1, 1, 1])]),
        // Windows side by side, as of patches.
        conv(&[1, 3, 12, 12], &[17, 3, 4, 4], &[("strides", &[4, 4])]),
        conv(&[2, 7, 5, 6], &[9, 7, 1, 1], &[]),
        conv(&[2, 4, 30], &[6, 4, 5], &[("pads", &[2, 2])]),
        conv(&[1, 1, 6, 6], &[1, 1, 6, 6], &[]),
        transposed(&[2, 5, 4, 3], &[5, 20, 4, 4], &[("strides", &[2, 2]), ("pads", &[1, 1, 1, 1])]),
        transposed(
            &[1, 3, 4, 5],
            &[3, 7, 3, 2],
            &[("strides", &[3, 1]), ("dilations", &[1, 2]), ("output_padding", &[2, 0])],
        ),
        transposed(&[2, 4, 9], &[4, 3, 3], &[("strides", &[2])]),
        // In two bands of lines.
        transposed(&[2, 3, 36, 31], &[3, 16, 5, 4], &[("strides", &[2, 3]), ("pads", &[1, 0, 2, 1])]),
    ];
    let has_vectors = bgz_fusion::kernels::Isa::current() != bgz_fusion::kernels::Isa::Scalar;
    for case in cases {
        let model = Model::from_graph(case.graph());
        let n = case.image.iter().product::<usize>();
        let x: Vec<f32> = (0..n).map(|i| (i * 7919 % 2017) as f32 / 1000.0 - 1.0).collect();
        let x = [Tensor::new(case.image, &x).unwrap()];
        let want = eval::run(model.graph(), &[oracle(&x[0])]).unwrap();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let got = pool.install(|| {
                let graph = model.graph();
                let plan = Plan::new(graph, &[x[0].ty()], &PackedWeights::default(), None).unwrap();
                let products = plan.steps().filter(|s| s.kernel == "gemm packed").count();
                assert_eq!(products, if has_vectors { 2 } else { 0 }, "{:?}", case.weights);
                plan.run(&x).unwrap()
            });
            for (got, want) in got.iter().zip(&want) {
                assert_eq!(got.shape(), want.shape());
                for (got, want) in got.scalars().zip(want.scalars()) {
                    let (got, want) = (got.to_f64(), want.to_f64());
                    assert!((got - want).abs() < 1e-4, "{:?} by {:?}: {got}, {want}", case.image, case.weights);
                }
            }
        }
    }
}
