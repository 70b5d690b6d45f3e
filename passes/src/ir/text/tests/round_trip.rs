//! Texts written by hand, and the properties of random graphs.

use super::random::{random_expr, random_graph};
use crate::eval::testing::Rng;
use crate::ir::{
    Attr, Attrs, Binary, Constant, DType, Dim, Expr, Float, Graph, Op, Opaque, Scalar, Type, Unary, parse, parse_with,
    print,
};
use proptest::prelude::*;

const MODEL: &str = r#"graph @minilm {
  in  %ids : i64[batch, seq]
  in  %x : f32[batch, seq, 384]
  in  %"a mask\n" : f32['batch size', 1, seq, seq]
  const @wq : f32[384, 384] 9f3c01aa
  const @bq : f32[384] 51be7720
  const @eps : f32[] = 1e-12
  const @axes : i64[2] = [1, -2]
  const @odd : f32[2, 3] = [inf, -inf, nan, -0.0, 0.1, 1e16]
  %q = linear(%x, @wq, @bq) : f32[batch, seq, 384]
  %/layer.0/Softmax_output:0 = softmax(%q) {axis = 2} : f32[batch, seq, 384]
  %v, %i = top_k(%q) {axis = 1, k = [2], largest = true} : f32[batch, 2, 384], i64[batch, 2, 384]
  %ctx = attention(%q, %q, %q, %"a mask\n") {d_head = 32, heads = 12, scale = 0.17677669, scores = table("layer0")} : f32[_0, seq, 384]
  %h = fused(%ctx, @bq, %x) {expr = "gelu_erf(a + b) * -0.5 + c"} : f32[batch, seq, 384]
  %e = mul(%h, @eps) : f32[batch, seq, 384]
  %c = opaque.mystery(%x) {group = 1, mode = "same", "p q" = [0.5, -inf], pads = [1, 2*seq - 1]} : f32[2*batch*seq + 1, 3]
  %s = slice(%x, @axes, @axes) {axes = [0, 1], ends = [9223372036854775807, seq], steps = "operand"} : f32[_1, _2, 384]
  out %h
  out sentence_embedding = %e
  out "with space" = @odd
  out %c
}
"#;

#[test]
fn a_model_comes_out_as_it_went_in() {
    let g = parse(MODEL).unwrap_or_else(|e| panic!("{e}"));
    g.verify().unwrap();
    assert_eq!(print(&g), MODEL);
}

#[test]
fn comments_and_spacing_are_free() {
    let g = parse(
        "// made by hand\n\ngraph @g{\r\n\tin %x :f32[ n ,4 ] // the input\n\n  %a//b = relu( %x ):f32[n,4]\nout %a//b\n}\n// applied: none",
    )
    .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(g.to_string(), "graph @g {\n  in  %x : f32[n, 4]\n  %a//b = relu(%x) : f32[n, 4]\n  out %a//b\n}\n");
}

#[test]
fn large_constants_are_supplied_by_name_and_hash() {
    let w = Constant::f32s([16], &[0.5; 16]).unwrap();
    let mut g = Graph::new("g");
    let v = g.add_const("w", w.clone());
    g.add_output("w", v).unwrap();
    let text = print(&g);
    assert!(parse(&text).unwrap().constant(v).unwrap().bytes().is_err());
    let found = parse_with(&text, &|name, hash| (name == "w" && hash == w.hash()).then(|| w.clone())).unwrap();
    assert!(found.constant(found.find("w").unwrap()).unwrap().same(&w));
    assert_eq!(print(&found), text);

    let wrong = parse_with(&text, &|_, _| Constant::f32s([2], &[0.5; 2])).unwrap_err();
    assert!(wrong.to_string().contains("@w: f32[2] was supplied for f32[16]"), "{wrong}");
}

#[test]
fn constants_are_printed_in_order_of_use_and_only_if_used() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", Type::new(DType::F32, ["n"])).unwrap();
    let [a, _b, c] = ["a", "b", "c"].map(|n| g.add_const(n, Constant::scalar(Scalar::f32(1.0))));
    let y = g.add("y", Op::Binary(Binary::Add), &[x, c]).unwrap();
    let z = g.add("z", Op::Binary(Binary::Add), &[y, a]).unwrap();
    g.add_output("z", z).unwrap();
    let text = g.to_string();
    assert!(!text.contains("@b"), "{text}");
    assert!(text.find("const @c").unwrap() < text.find("const @a").unwrap(), "{text}");
}

#[test]
fn empty_lists_keep_their_kind() {
    let attrs = Attrs::from([
        ("dims".into(), Attr::Dims(vec![])),
        ("floats".into(), Attr::Floats(vec![])),
        ("exact".into(), Attr::Dim(Dim::sym("true"))),
        ("not a number".into(), Attr::Float(Float(f32::NAN))),
        ("call".into(), Attr::Call("a b".into(), "\"\\\u{202e}".into())),
        ("least".into(), Attr::Dim(Dim::int(i64::MIN))),
    ]);
    let op = Op::Opaque(Opaque { name: "my op".into(), attrs });
    let mut g = Graph::new("");
    let v = g.add_node(op.clone(), &[], &["v"], Some(&[Type::new(DType::BF16, [1, 2])])).unwrap();
    g.add_output("v", v[0]).unwrap();
    let back = parse(&print(&g)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(back.op(back.find("v").unwrap()), Some(&op));
    assert_eq!(print(&back), print(&g));
}

#[test]
fn expressions_read_as_written() {
    for text in [
        "a",
        "(a + b) * c",
        "a - (b - c) - -1.0",
        "where(eq(a, 0i64), -inf, b / 2.0)",
        "cast_f16(max(a, 1.5f16)) * -infbf16 + nanf64",
        "neg(a) + not(true)",
        "5e-324f64 - 255u8 + -9223372036854775808i64 + 0.5bf16",
    ] {
        let e: Expr = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(e.to_string(), text);
    }
    assert_eq!("-1.0".parse(), Ok(Expr::Literal(Scalar::f32(-1.0))));
    assert_eq!("neg(1.0)".parse(), Ok(Expr::Unary(Unary::Neg, Box::new(Expr::Literal(Scalar::f32(1.0))))));
    for (text, message) in [
        ("", "expected a function, an operand (a to z) or a number at character 1"),
        ("a +", "at character 4"),
        ("-a", "the function is neg(x) at character 1"),
        ("2 + a", "the integer 2 needs a dtype, as in 2i64"),
        ("300u8", "300 is not a number of u8"),
        ("1e99", "1e99 is not a number of f32"),
        ("foo(a)", "there is no function foo at character 1"),
        ("max(a)", "expected ,"),
        ("relu(a, b)", "expected )"),
        ("a b", "expected an operator or the end at character 3"),
        ("1.0q", "there is no dtype q"),
    ] {
        let e = text.parse::<Expr>().unwrap_err().to_string();
        assert!(e.contains(message), "{text}: {e}");
    }
}

proptest! {
    #[test]
    fn random_graphs_come_out_as_they_went_in(seed: u64) {
        let g = random_graph(&mut Rng::new(seed), 8);
        let text = print(&g);
        let back = parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert_eq!(print(&back), text);
        prop_assert!(back.verify().is_ok(), "{:?}\n{}", back.verify(), back);
        let ops = |g: &Graph| g.nodes().map(|(_, n)| n.op.clone()).collect::<Vec<_>>();
        prop_assert_eq!(ops(&back), ops(&g));
    }

    #[test]
    fn random_expressions_come_out_as_they_went_in(seed: u64) {
        let e = random_expr(&mut Rng::new(seed), 6);
        prop_assert_eq!(e.to_string().parse(), Ok(e));
    }

    #[test]
    fn damaged_text_is_an_error_or_a_graph(seed: u64, at in 0usize..10_000, with in "[ -~\n]{0,3}", cut in 0usize..5) {
        let text: Vec<char> = print(&random_graph(&mut Rng::new(seed), 8)).chars().collect();
        let at = at % (text.len() + 1);
        let end = (at + cut).min(text.len());
        let damaged: String = text[..at].iter().copied().chain(with.chars()).chain(text[end..].iter().copied()).collect();
        match parse(&damaged) {
            Ok(g) => prop_assert_eq!(print(&parse(&print(&g)).expect("printed")), print(&g)),
            Err(e) => prop_assert!(e.line >= 1 && !e.message.is_empty()),
        }
    }

    #[test]
    fn any_text_is_an_error_or_a_graph(text in "\\PC*") {
        let _ = parse(&text);
        let _ = text.parse::<Expr>();
    }
}
