use super::*;
use crate::eval::testing::{Check, assert_same};
use crate::eval::{EvalError, bindings, compare, run, run_with};
use crate::ir::{Graph, Opaque, parse};

#[track_caller]
fn graph(text: &str) -> Graph {
    parse(text).unwrap_or_else(|e| panic!("{e}"))
}

const SUM: &str = "graph @g {
  in  %x : f32[batch, seq]
  in  %y : f32[seq]
  %z = add(%x, %y) : f32[batch, seq]
  out %z
  out same = %z
}";

#[test]
fn inputs_bind_dims_and_are_checked() {
    let g = graph(SUM);
    let z = run(&g, &[count(&[2, 3]), count(&[3])]).unwrap();
    assert_eq!(z, [f(&[2, 3], &[0.0, 2.0, 4.0, 3.0, 5.0, 7.0]), f(&[2, 3], &[0.0, 2.0, 4.0, 3.0, 5.0, 7.0])]);
    let fails = |inputs: &[Tensor], parts: &[&str]| {
        let e = run(&g, inputs).unwrap_err().to_string();
        assert!(parts.iter().all(|p| e.contains(p)), "{e}");
    };
    fails(&[count(&[2, 3])], &["2 inputs, 1"]);
    fails(&[count(&[2, 3]), count(&[4])], &["input y", "axis 0 is 4", "seq is 3"]);
    fails(&[count(&[2, 3]), count(&[3, 1])], &["input y", "f32[seq] is expected, not f32[3, 1]"]);
    fails(&[i(&[1, 1], &[0]), count(&[1])], &["input x", "not i64[1, 1]"]);
    let fixed = graph("graph @g {\n  in  %x : f32[n, 4]\n  out %x\n}");
    let e = run(&fixed, &[count(&[2, 3])]).unwrap_err().to_string();
    assert!(e.contains("input x: axis 1 must be 4, not 3"), "{e}");
}

#[test]
fn dims_in_sums_and_products_are_solved() {
    let g = graph("graph @g {\n  in  %x : f32[2*n + 1]\n  in  %y : f32[n, m]\n  in  %z : f32[m - 1]\n  out %x\n}");
    let bound = bindings(&g, &[count(&[7]), count(&[3, 5]), count(&[4])]).unwrap();
    assert_eq!((bound["n"], bound["m"]), (3, 5));
    let e = bindings(&g, &[count(&[6]), count(&[3, 5]), count(&[4])]).unwrap_err().to_string();
    assert!(e.contains("input x: axis 0 is 6"), "{e}");
    let odd = graph("graph @g {\n  in  %x : f32[2*n]\n  out %x\n}");
    assert!(bindings(&odd, &[count(&[7])]).unwrap_err().to_string().contains("not 2*n for any extents"));
    let product = graph("graph @g {\n  in  %x : f32[n*m]\n  out %x\n}");
    let e = bindings(&product, &[count(&[6])]).unwrap_err().to_string();
    assert!(e.contains("input x: its shape does not say what m*n is"), "{e}");
}

#[test]
fn counts_known_only_when_run_are_bound_on_the_way() {
    let g = graph(
        "graph @g {
  in  %x : f32[n]
  %i = non_zero(%x) : i64[1, count]
  %t = transpose(%i) {perm = [1, 0]} : i64[count, 1]
  %c = dims() {scalar = true, values = [2*count]} : i64[]
  out %t
  out %c
}",
    );
    let out = run(&g, &[f(&[4], &[0.0, 1.0, 0.0, 1.0])]).unwrap();
    assert_eq!(out, [i(&[2, 1], &[1, 3]), int(4)]);
}

#[test]
fn a_false_claim_is_an_error_naming_the_node() {
    let g = graph(
        "graph @g {
  in  %x : f32[n]
  in  %y : f32[m]
  %a = concat(%x, %y) {axis = 0} : f32[2*n]
  out %a
}",
    );
    assert!(run(&g, &[count(&[2]), count(&[2])]).is_ok());
    let e = run(&g, &[count(&[2]), count(&[3])]).unwrap_err().to_string();
    assert!(e.contains("%a = concat: axis 0 is 5, but 2*n is 4 here"), "{e}");
}

#[test]
fn opaque_ops_need_a_handler_and_large_constants_their_data() {
    let g = graph("graph @g {\n  in  %x : f32[n]\n  %y = opaque.twice(%x) {by = 2} : f32[n]\n  out %y\n}");
    let e = run(&g, &[count(&[2])]).unwrap_err().to_string();
    assert!(e.contains("%y = opaque.twice: there is no definition"), "{e}");
    let mut handler = |o: &Opaque, x: &[Tensor]| {
        (o.name == "twice").then(|| vec![eval(Op::Binary(crate::ir::Binary::Add), &[x[0].clone(), x[0].clone()])])
    };
    assert_eq!(run_with(&g, &[count(&[2])], &mut handler).unwrap(), [f(&[2], &[0.0, 2.0])]);
    let mut wrong = |_: &Opaque, _: &[Tensor]| Some(vec![count(&[5])]);
    assert!(run_with(&g, &[count(&[2])], &mut wrong).unwrap_err().to_string().contains("axis 0 is 5, but n is 2"));

    let g = graph("graph @g {\n  const @w : f32[100] 00000000\n  out @w\n}");
    assert_eq!(run(&g, &[]), Err(EvalError::Absent { name: "w".into() }));
}

#[test]
fn a_failing_node_is_named() {
    let g =
        graph("graph @g {\n  in  %x : i64[n]\n  in  %i : i64[]\n  %y = gather(%x, %i) {axis = 0} : i64[]\n  out %y\n}");
    let e = run(&g, &[i(&[2], &[1, 2]), int(7)]).unwrap_err().to_string();
    assert_eq!(e, "%y = gather: index 7 of an axis of 2");
}

#[test]
fn differences() {
    let d = compare(&[f(&[2, 2], &[1.0, 2.0, 3.0, 4.0])], &[f(&[2, 2], &[1.0, 2.5, 3.0, 3.0])]);
    assert_eq!((d.max_abs, d.max_rel), (1.0, 1.0 / 3.0));
    assert_eq!(d.first_place.as_ref().map(|p| p.index.clone()), Some(vec![0, 1]));
    assert_eq!(d.worst.as_ref().map(|p| p.index.clone()), Some(vec![1, 1]));
    assert!(d.cosine > 0.98 && d.cosine < 1.0);
    assert!(d.to_string().contains("first: result 0 at [0, 1]: 2 and 2.5"), "{d}");

    let odd = [f(&[3], &[f32::NAN, f32::INFINITY, 0.0])];
    assert_eq!(compare(&odd, &odd).max_abs, 0.0);
    assert_eq!(compare(&odd, &[f(&[3], &[f32::NAN, f32::NEG_INFINITY, 0.0])]).max_abs, f64::INFINITY);
    assert_eq!(compare(&odd, &[f(&[3], &[0.0, f32::INFINITY, 0.0])]).max_rel, f64::INFINITY);
    assert_eq!(compare(&[one(0.0)], &[one(-0.0)]).first_place, None);
    assert_eq!(compare(&[int(i64::MAX)], &[int(i64::MAX - 1)]).max_abs, 1.0);
    assert!(compare(&[one(0.0)], &[]).mismatch.is_some());
    let m = compare(&[one(0.0)], &[int(0)]);
    assert_eq!((m.max_abs, m.mismatch), (f64::INFINITY, Some("result 0 is f32[] and i64[]".into())));
}

#[test]
fn sameness_is_judged_within_a_tolerance_and_reported_with_both_graphs() {
    let before = graph(SUM);
    assert_same(&before, &before, 0..4);
    let after = graph(&SUM.replace("%z = add(%x, %y)", "%w = add(%y, %x) : f32[batch, seq]\n  %z = relu(%w)"));
    let e = Check::new().same(&before, &after, 0).unwrap_err();
    for part in
        ["seed 0: results differ: max abs", "before:\ngraph @g {", "%z = add", "after:\ngraph @g {", "%z = relu"]
    {
        assert!(e.contains(part), "{e}");
    }
    assert!(Check::new().tolerance(100.0, 0.0).same(&before, &after, 0).is_ok());
    let renamed = graph(&SUM.replace("out same", "out other"));
    assert!(Check::new().same(&before, &renamed, 0).unwrap_err().contains("became"));
    let check = Check::new().bind("seq", 3).input("y", count(&[3]));
    assert_eq!(check.inputs(&before, 5).unwrap()[1], count(&[3]));
    assert_eq!(check.inputs(&before, 5), check.inputs(&before, 5));
    assert_ne!(check.inputs(&before, 5), check.inputs(&before, 6));
}

#[test]
fn constants_come_and_go() {
    for t in [count(&[2, 3]), b(&[2], &[true, false]), of(DType::F16, &[1], &[0.1]), i(&[0], &[])] {
        assert_eq!(Tensor::from_constant(&t.to_constant()), Some(t));
    }
    assert_eq!(Tensor::f32s([2], &[1.0]), None);
}
