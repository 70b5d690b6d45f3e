//! Models in f16 and bf16: between ops their numbers are f32, rewritten or not, in a plan and op by op.

use bgz_fusion::exec::StepInfo;
use bgz_fusion::ir::{Constant, Scalar};
use bgz_fusion::{DType, Graph, Model, Pipeline, Tensor, Type};
use bgz_passes::ir::{Binary, Dim, Fold, FoldKind, Op, Product, Reduce, Unary};

/// `(x @ w) / |x @ w| * x[0]`, of which squares and sums are beyond f16 and results are not.
fn graph(dtype: DType) -> Graph {
    let values = (0..64 * 64).map(|i| Scalar::from_f64(dtype, if i % 65 == 0 { 40.0 } else { 0.0 }));
    let w = Constant::from_scalars(dtype, vec![64, 64], values).expect("as many as the shape says");
    let mut g = Graph::new("halves");
    let build = || {
        let x = g.add_input("x", Type::new(dtype, [Dim::sym("n"), Dim::from(64)]))?;
        let w = g.add_const("w", w);
        let product = g.add("product", Op::Product(Product::MatMul), &[x, w])?;
        let square = g.add("square", Op::Binary(Binary::Mul), &[product, product])?;
        let sum = g.add(
            "sum",
            Op::Reduce(Reduce::Fold(Fold { kind: FoldKind::Sum, axes: vec![1], keep_dims: true })),
            &[square],
        )?;
        let norm = g.add("norm", Op::Unary(Unary::Sqrt), &[sum])?;
        let y = g.add("y", Op::Binary(Binary::Div), &[product, norm])?;
        g.add_output("y", y)
    };
    build().expect("a graph");
    g
}

fn first_row(dtype: DType, rewritten: bool) -> (Vec<f64>, Vec<StepInfo>) {
    let mut model = Model::from_graph(graph(dtype));
    if rewritten {
        model.rewrite(&Pipeline::exact()).expect("a pipeline that runs");
    }
    let x = (0..2 * 64).map(|i| Scalar::from_f64(dtype, if i % 64 == 3 { 800.0 } else { 600.0 }));
    let x =
        Constant::from_scalars(dtype, vec![2, 64], x).and_then(|c| Tensor::from_constant(&c).ok()).expect("a tensor");
    let plan = model.plan(&[x.ty()]).expect("a plan");
    let steps = plan.steps().collect();
    let outputs = model.run(&[("x", x)]).expect("a run");
    let (name, y) = &outputs[0];
    assert_eq!((name.as_str(), y.dtype(), y.shape()), ("y", dtype, &[2, 64][..]));
    (y.scalars().take(64).map(Scalar::to_f64).collect(), steps)
}

#[test]
fn numbers_beyond_halves_between_ops_do_no_harm() {
    // 600 and 800 over the root of 63 * 600^2 + 800^2.
    let norm = (63.0f64 * 600.0 * 600.0 + 800.0 * 800.0).sqrt();
    for (dtype, rounding) in [(DType::F16, 5e-4), (DType::BF16, 4e-3)] {
        for rewritten in [false, true] {
            let (row, _) = first_row(dtype, rewritten);
            for (i, y) in row.into_iter().enumerate() {
                let want = if i == 3 { 800.0 } else { 600.0 } / norm;
                assert!((y - want).abs() <= rounding * want, "{dtype}, rewritten: {rewritten}, {i}: {y}, not {want}");
            }
        }
    }
}

#[test]
fn products_with_weights_are_kernels_of_ours() {
    let (_, steps) = first_row(DType::F16, true);
    let vectors = bgz_fusion::kernels::Isa::current() != bgz_fusion::kernels::Isa::Scalar;
    assert!(!vectors || steps.iter().any(|s| s.kernel == "gemm packed"), "{steps:?}");
}
