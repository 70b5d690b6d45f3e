//! Ops that carry graphs: text, types, values, passes.

use bgz_passes::eval::{self, Tensor, testing::assert_same};
use bgz_passes::ir::{Bindings, DType, Graph, GraphError, MAX_NESTING, Op, parse, print};
use bgz_passes::narrow::widened;
use bgz_passes::pipeline::Pipeline;

/// A branch in a branch; `%c` and `%d` are conditions.
const NESTED: &str = "graph @g {
  in  %x : f32[batch, 4]
  in  %c : bool[]
  in  %d : bool[1]
  const @one : f32[] = 1.0
  %y = add(%x, @one) : f32[batch, 4]
  %z, %s = if(%c, %y, %d) {else_branch = graph @less {
    in  %y : f32[batch, 4]
    in  %d : bool[1]
    const @three : f32[] = 3.0
    %inner = if(%d, %y) {else_branch = graph @no {
      in  %y : f32[batch, 4]
      %h = relu(%y) : f32[batch, 4]
      out %h
    }, then_branch = graph @yes {
      in  %y : f32[batch, 4]
      %h = neg(%y) : f32[batch, 4]
      out %h
    }} : f32[batch, 4]
    out %inner
    out n = @three
  }, then_branch = graph @more {
    in  %y : f32[batch, 4]
    in  %d : bool[1]
    %h = mul(%y, %y) : f32[batch, 4]
    %n = reduce_sum(%h) {axes = [0, 1], keep_dims = false} : f32[]
    out %h
    out %n
  }} : f32[batch, 4], f32[]
  out %z
  out %s
}
";

fn graph(text: &str) -> Graph {
    let g = parse(text).unwrap_or_else(|e| panic!("{e}"));
    g.verify().unwrap_or_else(|e| panic!("{e}"));
    g
}

/// With a constant for an input.
fn with(text: &str, input: &str, ty: &str, value: &str) -> String {
    let line = format!("  in  %{input} : {ty}\n");
    assert!(text.contains(&line));
    text.replacen(&line, &format!("  const @{input} : {ty} = {value}\n"), 1)
        .replace(&format!("if(%{input}"), &format!("if(@{input}"))
}

#[test]
fn graphs_within_each_other_come_out_as_they_went_in() {
    let g = graph(NESTED);
    assert_eq!(print(&g), NESTED);
    assert_eq!(graph(&print(&g)).nodes().last().unwrap().1.op, g.nodes().last().unwrap().1.op);
    let other = graph(&NESTED.replace("relu", "exp"));
    assert_ne!(other.nodes().last().unwrap().1.op, g.nodes().last().unwrap().1.op);
    let mut nodes = 0;
    g.each_graph(&mut |g| nodes += g.len());
    assert_eq!(nodes, 7);
}

#[test]
fn the_branch_that_is_taken_is_evaluated() {
    let g = graph(NESTED);
    let x = Tensor::f32s([1, 4], &[-3.0, 0.0, 1.0, 2.0]).unwrap();
    let run = |c: bool, d: bool| {
        let inputs = [x.clone(), Tensor::bools([], &[c]).unwrap(), Tensor::bools([1], &[d]).unwrap()];
        let out = eval::run(&g, &inputs).unwrap_or_else(|e| panic!("{e}"));
        (out[0].to_f32s(), out[1].to_f32s())
    };
    assert_eq!(run(true, false), (vec![4.0, 1.0, 4.0, 9.0], vec![18.0]));
    assert_eq!(run(false, true), (vec![2.0, -1.0, -2.0, -3.0], vec![3.0]));
    assert_eq!(run(false, false), (vec![0.0, 1.0, 2.0, 3.0], vec![3.0]));
}

#[test]
fn a_known_branch_takes_the_place_of_the_op() {
    let text = with(NESTED, "c", "bool[]", "false");
    for condition in ["true", "false"] {
        let before = graph(&text.replace("@c : bool[] = false", &format!("@c : bool[] = {condition}")));
        let mut after = before.clone();
        let report = Pipeline::exact().run(&mut after).unwrap();
        assert!(report.applied().any(|a| a.rule == "known-branch"), "{after}");
        let left = after.nodes().filter(|(_, n)| matches!(n.op, Op::Control(_))).count();
        assert_eq!(left, usize::from(condition == "false"), "{after}");
        assert_same(&before, &after, 0..4);
    }
}

#[test]
fn passes_rewrite_what_is_in_a_branch_and_say_where() {
    let text = "graph @g {
  in  %x : f32[n, 4]
  in  %c : bool[]
  %y = if(%c, %x) {else_branch = graph @no {
    in  %x : f32[n, 4]
    %s = sigmoid(%x) : f32[n, 4]
    %h = mul(%x, %s) : f32[n, 4]
    out %h
  }, then_branch = graph @yes {
    in  %x : f32[n, 4]
    out %x
  }} : f32[n, 4]
  out %y
}
";
    let before = graph(text);
    let mut after = before.clone();
    let report = Pipeline::exact().run(&mut after).unwrap();
    assert!(print(&after).contains("silu(%x)"), "{after}");
    assert!(report.applied().any(|a| a.rule == "silu" && a.within == "%y else_branch"), "{report}");
    assert!(report.to_string().contains("// silu: in %y else_branch: %h <- "), "{report}");
    assert_same(&before, &after, 0..4);
    // A limit of rewrites counts those in branches.
    let mut stopped = before.clone();
    assert_eq!(Pipeline::exact().stop_after(0).run(&mut stopped).unwrap().rewrites(), 0);
    assert_eq!(print(&stopped), text);
}

#[test]
fn dims_of_a_branch_are_bound_with_those_around() {
    let text = "graph @g {
  in  %x : f32[n, 4]
  in  %c : bool[]
  %y = if(%c, %x) {else_branch = graph @no {
    in  %x : f32[n, 4]
    %d = dims() {values = [2*n, 2]} : i64[2]
    %h = reshape(%x) {shape = [2*n, 2]} : f32[2*n, 2]
    out %h
  }, then_branch = graph @yes {
    in  %x : f32[n, 4]
    %h = reshape(%x) {shape = [4*n, 1]} : f32[4*n, 1]
    out %h
  }} : f32[_0, _1]
  out %y
}
";
    let g = graph(text);
    let bound = g.bind_partly(&Bindings::from([("n".into(), 3)]), &Default::default()).unwrap();
    bound.verify().unwrap();
    let printed = print(&bound);
    assert!(
        printed.contains("values = [6, 2]") && printed.contains("shape = [12, 1]") && !printed.contains("[n"),
        "{printed}"
    );
    assert!(matches!(g.bind(&Bindings::from([("n".into(), 3)])), Err(GraphError::Decided { .. })));
}

#[test]
fn halves_are_widened_in_branches() {
    let g = graph(&NESTED.replace("f32", "f16"));
    let wide = widened(&g).unwrap().expect("it has halves");
    wide.verify().unwrap();
    let mut wide_nodes = 0;
    wide.each_graph(&mut |g| {
        wide_nodes +=
            g.nodes().filter(|(_, n)| matches!(n.op, Op::Unary(_)) && g.ty(n.outputs[0]).dtype == DType::F32).count();
    });
    assert_eq!(wide_nodes, 2, "{wide}");
    assert_same(&g, &wide, 0..2);
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |from: &str, to: &str, part: &str| {
        assert!(NESTED.contains(from), "{from}");
        let e = parse(&NESTED.replacen(from, to, 1)).expect_err("it does not fit").to_string();
        assert!(e.contains(part), "{e}");
    };
    refused("    out %n\n", "", "makes 1 values, 2 named");
    refused("    out n = @three\n", "", "its branches have 2 and 1 results");
    refused("in  %c : bool[]", "in  %c : i64[]", "a condition of i64");
    refused("in  %c : bool[]", "in  %c : bool[2]", "the condition must be one element");
    refused("if(%c, %y, %d)", "if(%c, %y)", "operands");
    refused("if(%c, %y, %d)", "if(%c, %d, %y)", "takes %y of f32[batch, 4], not bool[1]");
    refused("else_branch = graph @less", "otherwise = graph @less", "else_branch is missing");
    refused("@three : f32[] = 3.0", "@three : f32[1] = [3.0]", "of rank");
}

#[test]
fn graphs_are_nested_so_deep_only() {
    let nested = |depth: usize| {
        let mut text = "graph @g {\n in %c : bool[]\n out %c\n}".to_string();
        for _ in 0..depth {
            text = format!(
                "graph @g {{\n in %c : bool[]\n %y = if(%c, %c) {{else_branch = {text}, then_branch = {text}}} : bool[]\n out %y\n}}"
            );
        }
        text
    };
    // Twice the text for each, so not as deep as may be.
    assert!(parse(&nested(8)).is_ok());
    let mut chain = "graph @g {\n in %c : bool[]\n out %c\n}".to_string();
    let leaf = chain.clone();
    for _ in 0..MAX_NESTING {
        chain = format!(
            "graph @g {{\n in %c : bool[]\n %y = if(%c, %c) {{else_branch = {leaf}, then_branch = {chain}}} : bool[]\n out %y\n}}"
        );
    }
    parse(&chain).unwrap_or_else(|e| panic!("{e}"));
    let deep = "graph @g {\n%y = if() {then_branch = ".repeat(100_000);
    assert!(parse(&deep).unwrap_err().to_string().contains("nested deeper than"));
}
