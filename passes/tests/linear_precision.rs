//! The pass that lets products with weights be computed in fewer bits.

mod common;

use bgz_passes::ir::{Op, Precision, Product};
use bgz_passes::passes::linear_precision::pass;
use bgz_passes::pipeline::Pipeline;
use common::{Case, fires, graph, leaves};

const MODEL: &str = "in %x : f32[batch, 4]
         in %h : f16[batch, 4]
         in %made : f32[4, 2]
         const @w : f32[4, 2] = [0.5, -1.0, 2.0, 0.25, 1.0, -0.5, 0.125, 3.0]
         const @wh : f16[4, 2] = [0.5, -1.0, 2.0, 0.25, 1.0, -0.5, 0.125, 3.0]
         const @wt : f32[2, 4] = [0.5, 2.0, 1.0, 0.125, -1.0, 0.25, -0.5, 3.0]
         const @b : f32[2] = [0.5, -0.25]
         %with_bias = linear(%x, @w, @b) : f32[batch, 2]
         %transposed = linear(%x, @wt) {trans_w = true} : f32[batch, 2]
         %of_a_result = linear(%x, %made) : f32[batch, 2]
         %half = linear(%h, @wh) : f16[batch, 2]
         %product = matmul(%x, @w) : f32[batch, 2]
         out %with_bias
         out %transposed
         out %of_a_result
         out %half
         out %product";

fn precisions(case: &Case) -> Vec<Precision> {
    let op = |op: &Op| match op {
        Op::Product(Product::Linear { precision, .. }) => Some(*precision),
        _ => None,
    };
    case.after.nodes().filter_map(|(_, node)| op(&node.op)).collect()
}

#[test]
fn a_precision_reads_back_from_its_word() {
    assert_eq!(Precision::ALL.map(|p| p.to_string().parse()), Precision::ALL.map(Ok));
    assert_eq!("Int8".parse::<Precision>(), Err("\"Int8\" is no precision; there are exact, bf16, int8".into()));
}

#[test]
fn constant_weights_of_f32() {
    let case = fires(pass(Precision::Int8), "linear-precision@int8", MODEL);
    let (int8, exact) = (Precision::Int8, Precision::Exact);
    assert_eq!(precisions(&case), [int8, int8, exact, exact]);
    assert!(case.trace.contains("its weights are not constant"), "{}", case.trace);
    assert!(case.trace.contains("it is of f16, not f32"), "{}", case.trace);
}

#[test]
fn what_was_allowed_can_be_taken_back() {
    let allowed = MODEL.replace("@w, @b)", "@w, @b) {precision = int8}");
    let case = fires(pass(Precision::Exact), "linear-precision@exact", &allowed);
    assert_eq!(precisions(&case), [Precision::Exact; 4]);
}

#[test]
fn exact_is_the_default() {
    leaves(pass(Precision::Exact), "linear-precision@unchanged", MODEL);
}

/// The pass comes behind the one that makes a linear of a product.
#[test]
fn in_a_pipeline() {
    let mut graph = graph(MODEL);
    Pipeline::exact().precision(Precision::Int8).run(&mut graph).unwrap();
    let text = graph.to_string();
    assert_eq!(text.matches("precision = int8").count(), 3, "{text}");
    Pipeline::exact().precision(Precision::Bf16).run(&mut graph).unwrap();
    let text = graph.to_string();
    assert_eq!(text.matches("precision = bf16").count(), 3, "{text}");
    assert_eq!(Pipeline::exact().precision(Precision::Exact).names(), Pipeline::exact().names());
}
