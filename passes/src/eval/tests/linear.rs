use super::*;
use crate::eval::testing::{Check, Rng, random};
use crate::ir::{Attention, Float, MaskKind, Precision, Scores, Type, parse};

#[test]
fn matrices_vectors_and_batches() {
    let a = f(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let x = f(&[3], &[1.0, 0.0, -1.0]);
    assert_eq!(eval(Op::Product(Product::MatMul), &[a.clone(), x.clone()]), f(&[2], &[-2.0, -2.0]));
    assert_eq!(eval(Op::Product(Product::MatMul), &[f(&[2], &[1.0, 1.0]), a.clone()]), f(&[3], &[5.0, 7.0, 9.0]));
    assert_eq!(eval(Op::Product(Product::MatMul), &[x.clone(), x.clone()]), one(2.0));
    let batch = eval(Op::Product(Product::MatMul), &[count(&[2, 1, 2, 2]), count(&[3, 2, 1])]);
    assert_eq!(batch.shape(), &[2, 3, 2, 1]);
    assert_eq!(batch.to_f64s(), [1.0, 3.0, 3.0, 13.0, 5.0, 23.0, 5.0, 7.0, 23.0, 33.0, 41.0, 59.0]);
    assert_eq!(eval(Op::Product(Product::MatMul), &[count(&[2, 0]), count(&[0, 3])]), f(&[2, 3], &[0.0; 6]));
    assert_eq!(eval(Op::Product(Product::MatMul), &[count(&[0, 2]), count(&[2, 3])]).shape(), &[0, 3]);
    let ints = eval(Op::Product(Product::MatMul), &[i(&[1, 2], &[2, 3]), i(&[2, 1], &[4, 5])]);
    assert_eq!(ints, i(&[1, 1], &[23]));
    refused(Op::Product(Product::MatMul), &[a.clone(), a.clone()], "inner dims differ");
    refused(Op::Product(Product::MatMul), &[one(1.0), a], "scalar");
}

fn linear(trans_w: bool) -> Op {
    Op::Product(Product::Linear { trans_w, precision: Precision::Exact })
}

#[test]
fn linear_adds_a_bias_and_takes_either_order_of_weights() {
    let x = f(&[1, 2], &[1.0, 2.0]);
    let w = f(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let bias = f(&[3], &[0.5, 0.0, -0.5]);
    let y = f(&[1, 3], &[9.5, 12.0, 14.5]);
    assert_eq!(eval(linear(false), &[x.clone(), w.clone(), bias.clone()]), y);
    let t = eval(Op::Movement(Movement::Transpose { perm: vec![1, 0] }), std::slice::from_ref(&w));
    assert_eq!(eval(linear(true), &[x.clone(), t, bias]), y);
    let half = |v: &[f64], s: &[usize]| of(DType::F16, s, v);
    let (x, w, bias) = (half(&[2048.0, 1.0], &[1, 2]), half(&[1.0, 1.0], &[2, 1]), half(&[1.0], &[1]));
    // 2048 + 1 + 1 is rounded once.
    assert_eq!(eval(linear(false), &[x, w, bias]).to_f64s(), [2050.0]);
}

fn attention(heads: usize, kv_heads: usize, d_head: usize) -> Attention {
    Attention {
        heads,
        kv_heads,
        d_head,
        scale: Float(0.5),
        merged: true,
        mask: MaskKind::None,
        causal: false,
        zero_hidden: false,
        scores: Scores::Exact,
    }
}

#[test]
fn attention_of_one_head_by_hand() {
    // Scores 0 and 2 * 0.5 = 1.
    let (q, k, v) = (f(&[1, 1, 1], &[2.0]), f(&[1, 2, 1], &[0.0, 1.0]), f(&[1, 2, 1], &[10.0, 20.0]));
    let qkv = [q, k, v];
    let p = 0.731_058_578_630_004_9;
    close(&eval(Op::Attention(attention(1, 1, 1)), &qkv), &[1, 1, 1], &[10.0 + 10.0 * p]);

    let masked = |kind, mask: Tensor| {
        let op = Op::Attention(Attention { mask: kind, ..attention(1, 1, 1) });
        eval(op, &[&qkv[..], &[mask]].concat()).to_f64s()[0]
    };
    let fill = Float(f32::NEG_INFINITY);
    assert_eq!(masked(MaskKind::Additive, f(&[2], &[0.0, f32::NEG_INFINITY])), 10.0);
    assert_eq!(masked(MaskKind::Keep { fill }, b(&[1, 1, 1, 2], &[false, true])), 20.0);
    assert_eq!(masked(MaskKind::Drop { fill }, b(&[2], &[false, true])), 10.0);
    // A fill of 1 on the first makes both scores equal.
    assert_eq!(masked(MaskKind::Drop { fill: Float(1.0) }, b(&[2], &[true, false])), 15.0);
    assert!((masked(MaskKind::Additive, f(&[1, 2], &[1.0, 0.0])) - 15.0).abs() < 1e-6);
}

#[test]
fn causal_attention_aligns_the_ends() {
    let op = |sq: usize, sk: usize| {
        let zeros = |s: usize| f(&[1, s, 1], &vec![0.0; s]);
        let v: Vec<f32> = (0..sk).map(|j| j as f32).collect();
        let a = Attention { causal: true, ..attention(1, 1, 1) };
        eval(Op::Attention(a), &[zeros(sq), zeros(sk), f(&[1, sk, 1], &v)]).to_f64s()
    };
    // Means of what each query sees.
    assert_eq!(op(3, 3), [0.0, 0.5, 1.0]);
    assert_eq!(op(1, 3), [1.0]);
    assert_eq!(op(2, 4), [1.0, 1.5]);
    assert!(op(2, 1)[0].is_nan() && op(2, 1)[1] == 0.0);
}

#[test]
fn a_query_that_sees_no_key_gives_nan_or_zero() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let fill = Float(-inf);
    let zeros = |s: usize| f(&[1, s, 1], &vec![0.0; s]);
    let rows = |a: Attention, q: Tensor, mask: Option<Tensor>| {
        let operands: Vec<_> = [q, zeros(2), f(&[1, 2, 1], &[4.0, 6.0])].into_iter().chain(mask).collect();
        [false, true].map(|zero_hidden| {
            let rows = eval(Op::Attention(Attention { zero_hidden, ..a.clone() }), &operands).to_f64s();
            rows.into_iter().map(|v| (!v.is_nan()).then_some(v)).collect::<Vec<_>>()
        })
    };
    let with = |mask| Attention { mask, ..attention(1, 1, 1) };
    let (open, closed) = ([None, Some(5.0)], [Some(0.0), Some(5.0)]);
    let sees = |v: [bool; 2]| v.map(|s| [s, s]).concat();
    assert_eq!(rows(with(MaskKind::Keep { fill }), zeros(2), Some(b(&[2, 2], &sees([false, true])))), [open, closed]);
    assert_eq!(rows(with(MaskKind::Drop { fill }), zeros(2), Some(b(&[2, 2], &sees([true, false])))), [open, closed]);
    let added = f(&[2, 2], &[-inf, -inf, 0.0, 0.0]);
    assert_eq!(rows(with(MaskKind::Additive), zeros(2), Some(added.clone())), [open, closed]);
    // Whatever the query is that sees nothing; where it sees something, NaN stays.
    assert_eq!(rows(with(MaskKind::Additive), f(&[1, 2, 1], &[nan, nan]), Some(added)), [[None; 2], [Some(0.0), None]]);
    let causal = Attention { causal: true, ..attention(1, 1, 1) };
    assert_eq!(rows(causal, zeros(3), None), [[None, Some(4.0), Some(5.0)], [Some(0.0), Some(4.0), Some(5.0)]]);
    // A finite number hides nothing for good.
    let lowest = MaskKind::Keep { fill: Float(f32::MIN) };
    assert_eq!(rows(with(lowest), zeros(1), Some(b(&[1, 2], &[false, false]))), [[Some(5.0)]; 2]);
}

#[test]
fn attention_refuses_what_it_cannot_check() {
    let x = count(&[1, 1, 2]);
    for (scores, name) in [(Scores::Table("t".into()), "\"t\""), (Scores::Int8, "int8")] {
        let approximate = Attention { scores, ..attention(1, 1, 2) };
        refused(Op::Attention(approximate), &[x.clone(), x.clone(), x.clone()], name);
    }
    refused(Op::Attention(attention(3, 1, 1)), &[x.clone(), x.clone(), x.clone()], "does not split");
    refused(Op::Attention(attention(2, 1, 2)), &[x.clone(), x.clone(), x], "d_head 2");
}

/// Attention in primitive ops, four query heads over two key heads.
const PRIMITIVE: &str = "graph @primitive {
  in  %q : f32[b, s, 12]
  in  %k : f32[b, t, 6]
  in  %v : f32[b, t, 10]
  in  %mask : f32[b, 1, s, t]
  const @scale : f32[] = 0.5
  %q4 = reshape(%q) {shape = [b, s, 2, 2, 3]} : f32[b, s, 2, 2, 3]
  %qt = transpose(%q4) {perm = [0, 2, 3, 1, 4]} : f32[b, 2, 2, s, 3]
  %k4 = reshape(%k) {shape = [b, t, 2, 1, 3]} : f32[b, t, 2, 1, 3]
  %kt = transpose(%k4) {perm = [0, 2, 3, 4, 1]} : f32[b, 2, 1, 3, t]
  %v4 = reshape(%v) {shape = [b, t, 2, 1, 5]} : f32[b, t, 2, 1, 5]
  %vt = transpose(%v4) {perm = [0, 2, 3, 1, 4]} : f32[b, 2, 1, t, 5]
  %qk = matmul(%qt, %kt) : f32[b, 2, 2, s, t]
  %scaled = mul(%qk, @scale) : f32[b, 2, 2, s, t]
  %m5 = reshape(%mask) {shape = [b, 1, 1, s, t]} : f32[b, 1, 1, s, t]
  %scores = add(%scaled, %m5) : f32[b, 2, 2, s, t]
  %p = softmax(%scores) {axis = 4} : f32[b, 2, 2, s, t]
  %c = matmul(%p, %vt) : f32[b, 2, 2, s, 5]
  %c4 = reshape(%c) {shape = [b, 4, s, 5]} : f32[b, 4, s, 5]
  %ct = transpose(%c4) {perm = [0, 2, 1, 3]} : f32[b, s, 4, 5]
  %y = reshape(%ct) {shape = [b, s, 20]} : f32[b, s, 20]
  out %y
}
";

#[test]
fn grouped_attention_equals_its_primitive_form() {
    let primitive = parse(PRIMITIVE).unwrap_or_else(|e| panic!("{e}"));
    let inputs = &PRIMITIVE[..PRIMITIVE.find("  const").unwrap()];
    let merged = format!(
        "{inputs}  %y = attention(%q, %k, %v, %mask) {{d_head = 3, heads = 4, kv_heads = 2, scale = 0.5, scores = exact}} : f32[b, s, 20]
  out %y
}}"
    );
    let split = format!(
        "{inputs}  %q4 = reshape(%q) {{shape = [b, s, 4, 3]}} : f32[b, s, 4, 3]
  %qt = transpose(%q4) {{perm = [0, 2, 1, 3]}} : f32[b, 4, s, 3]
  %c = attention(%qt, %k, %v, %mask) {{d_head = 3, heads = 4, kv_heads = 2, merged = false, scale = 0.5, scores = exact}} : f32[b, 4, s, 5]
  %ct = transpose(%c) {{perm = [0, 2, 1, 3]}} : f32[b, s, 4, 5]
  %y = reshape(%ct) {{shape = [b, s, 20]}} : f32[b, s, 20]
  out %y
}}"
    );
    for text in [merged, split] {
        let g = parse(&text).unwrap_or_else(|e| panic!("{e}"));
        Check::new().tolerance(1e-6, 1e-6).assert_same(&primitive, &g, 0..5);
    }
}

#[test]
fn a_small_transformer_is_evaluated_in_no_time() {
    let mut text = String::from(
        "graph @t {\n  in  %x0 : f32[1, 16, 64]\n  in  %w : f32[64, 64]\n  in  %u : f32[64, 256]\n  in  %d : f32[256, 64]\n",
    );
    for l in 0..3 {
        text += &format!(
            "  %q{l} = linear(%x{l}, %w) : f32[1, 16, 64]
  %a{l} = attention(%q{l}, %q{l}, %q{l}) {{d_head = 16, heads = 4, scale = 0.25, scores = exact}} : f32[1, 16, 64]
  %n{l} = layer_norm(%a{l}) {{eps = 1e-5}} : f32[1, 16, 64]
  %u{l} = linear(%n{l}, %u) : f32[1, 16, 256]
  %g{l} = gelu_erf(%u{l}) : f32[1, 16, 256]
  %d{l} = linear(%g{l}, %d) : f32[1, 16, 64]
  %x{} = add(%x{l}, %d{l}) : f32[1, 16, 64]
",
            l + 1
        );
    }
    let g = parse(&(text + "  out %x3\n}")).unwrap_or_else(|e| panic!("{e}"));
    let mut rng = Rng::new(1);
    let inputs: Vec<_> = g.inputs().iter().map(|&v| random(g.ty(v), &(0..=1), &mut rng).unwrap()).collect();
    let start = std::time::Instant::now();
    let y = crate::eval::run(&g, &inputs).unwrap();
    assert_eq!(y[0].ty(), Type::new(DType::F32, [1, 16, 64]));
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}
