use super::super::OpByOp;
use super::*;
use bgz_passes::eval;
use bgz_passes::ir::{Binary, Constant, Graph, Precision, Unary};

/// A small encoder block: embedding, linear, norm, attention by parts, a value that is used twice.
fn graph() -> Graph {
    let mut g = Graph::new("block");
    let constant = |t: Tensor| t.to_constant();
    let ids = g.add_input("ids", Type::new(DType::I64, [2, 3])).unwrap();
    let unused = g.add_input("unused", Type::new(DType::F32, [2])).unwrap();
    let table = g.add_const("table", constant(random(DType::F32, &[10, 8], 1)));
    let w = g.add_const("w", constant(random(DType::F32, &[8, 8], 2)));
    let b = g.add_const("b", constant(random(DType::F32, &[8], 3)));
    let root = g.add_const("root", Constant::scalar(Scalar::f32(2.828)));
    let x = g.add("x", Op::Index(Index::Gather { axis: 0 }), &[table, ids]).unwrap();
    let q =
        g.add("q", Op::Product(Product::Linear { trans_w: false, precision: Precision::Exact }), &[x, w, b]).unwrap();
    let kt = g.add("kt", Op::Movement(Movement::Transpose { perm: vec![0, 2, 1] }), &[q]).unwrap();
    let s = g.add("s", Op::Product(Product::MatMul), &[q, kt]).unwrap();
    let s = g.add("scaled", Op::Binary(Binary::Div), &[s, root]).unwrap();
    let p = g.add("p", Op::Norm(Norm::Softmax { axis: 2 }), &[s]).unwrap();
    let y = g.add("y", Op::Product(Product::MatMul), &[p, x]).unwrap();
    let sum = g.add("sum", Op::Binary(Binary::Add), &[y, x]).unwrap();
    let n = g.add("n", Op::layer_norm(1e-5), &[sum, b]).unwrap();
    let _dead = g.add("dead", Op::Unary(Unary::Exp), &[n]).unwrap();
    let out = g.add("gelu", Op::Unary(Unary::GeluErf), &[n]).unwrap();
    g.add_output("out", out).unwrap();
    g.add_output("norm", n).unwrap();
    g.add_output("again", out).unwrap();
    g.add_output("given", unused).unwrap();
    g.add_output("weights", w).unwrap();
    g
}

both!(a_graph);
fn a_graph<B: Backend>() {
    let g = graph();
    let inputs = [i64s(&[2, 3], &[1, 2, 9, 0, -1, 4]), random(DType::F32, &[2], 7)];
    let expected = eval::run(&g, &inputs).unwrap();
    let prepared = OpByOp::<B>::new(&g, &Default::default()).unwrap();
    assert_eq!(prepared.len(), g.len());
    // Constants are not worked on in place: a second run gives the same.
    for _ in 0..3 {
        let results = prepared.run(inputs.iter().map(upload).collect()).unwrap();
        for (a, e) in results.iter().zip(&expected) {
            for (x, y) in download(a, e.shape()).to_f64s().into_iter().zip(e.to_f64s()) {
                assert!((x - y).abs() < 1e-5, "{x} {y}");
            }
        }
    }
}

/// Between ops halves are f32: a square beyond f16 comes back, where the graph does not round it.
#[test]
fn halves_are_rounded_where_they_leave_the_graph() {
    let half = DType::F16;
    let mut g = Graph::new("halves");
    let x = g.add_input("x", Type::new(half, [2])).unwrap();
    let three = g.add_const("three", Constant::scalar(Scalar::from_f64(half, 3.0)));
    let square = g.add("square", Op::Binary(Binary::Mul), &[x, x]).unwrap();
    let root = g.add("root", Op::Unary(Unary::Sqrt), &[square]).unwrap();
    let quotient = g.add("quotient", Op::Fused("a / b * 1.0f16".parse().unwrap()), &[root, x]).unwrap();
    let third = g.add("third", Op::Binary(Binary::Div), &[quotient, three]).unwrap();
    let wide = g.add("wide", Op::Cast(Cast(DType::F32)), &[square]).unwrap();
    let rounded = g.add("rounded", Op::Cast(Cast(half)), &[wide]).unwrap();
    let seen = g.add("seen", Op::Cast(Cast(DType::F32)), &[rounded]).unwrap();
    let again = g.add("again", Op::Fused("cast_f32(cast_f16(a))".parse().unwrap()), &[wide]).unwrap();
    let all = [("root", root), ("third", third), ("seen", seen), ("again", again), ("x", x), ("three", three)];
    all.into_iter().for_each(|(name, v)| g.add_output(name, v).unwrap());
    let input = Tensor::f64s(half, [2], &[800.0, 1.0]).unwrap();
    let results = OpByOp::<Flex>::new(&g, &Default::default()).unwrap().run(vec![upload(&input)]).unwrap();
    let (inf, third) = (f64::INFINITY, 0.333_251_953_125);
    let wants = [[800.0, 1.0], [third, third], [inf, 1.0], [inf, 1.0], [800.0, 1.0]];
    for ((result, want), (name, v)) in results.iter().zip(wants).zip(all) {
        assert_eq!(result.dtype(), Some(g.ty(v).dtype), "{name}");
        assert_eq!(download(result, &[2]).to_f64s(), want, "{name}");
    }
    assert_eq!(download(&results[5], &[]).to_f64s(), [3.0]);
}

both!(bad_runs);
fn bad_runs<B: Backend>() {
    let g = graph();
    let prepared = OpByOp::<B>::new(&g, &Default::default()).unwrap();
    let run = |inputs: &[Tensor]| prepared.run(inputs.iter().map(upload).collect()).unwrap_err().to_string();
    let (ids, other) = (i64s(&[2, 3], &[0; 6]), random(DType::F32, &[2], 7));
    assert_eq!(run(std::slice::from_ref(&ids)), "the graph takes 2 inputs, not 1");
    let wide = i64s(&[2, 4], &[0; 8]);
    assert_eq!(run(&[wide, other.clone()]), "input ids: InnerTensor(i64[2, 4]) is given, i64[2, 3] is taken");
    let far = i64s(&[2, 3], &[0, 0, 0, 0, 0, 10]);
    assert_eq!(run(&[far, other]), "%x = gather: index 10 is out of range for an extent of 10");

    let mut open = Graph::new("open");
    let x = open.add_input("x", Type::new(DType::F32, ["n"])).unwrap();
    open.add_output("x", x).unwrap();
    let e = OpByOp::<B>::new(&open, &Default::default()).unwrap_err();
    assert_eq!(e.to_string(), "input x: the shape of f32[n] is not bound");

    let mut text = Graph::new("text");
    let c = text.add_const("c", Constant::absent(DType::F32, vec![100], 7));
    text.add_output("c", c).unwrap();
    let e = OpByOp::<B>::new(&text, &Default::default()).unwrap_err();
    assert_eq!(e.to_string(), "constant @c: graph text has their hash only");
}
