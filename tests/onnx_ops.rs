//! Graphs made of ONNX ops compute what the ops do: of ops that are composed of several, and of those
//! with rules that are easily got wrong.

mod onnx_build;

use bgz_passes::eval::Tensor;
use bgz_passes::ir::{DType, Scalar};
use onnx_build::*;

/// `f` of each number against what the op makes of it.
#[track_caller]
fn elementwise(op: &str, attrs: Vec<onnx_ir::AttributeProto>, f: impl Fn(f64) -> f64) {
    let x = [-3.5, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 1.5, 2.5, 4.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
    let g = graph(20, |b| {
        b.input("x", F32, &["n"]);
        b.node(op, "x", "y", attrs);
        b.output("y");
    });
    let expected: Vec<f64> = x.iter().map(|&v| f(v.into())).collect();
    let input = Tensor::f32s([x.len()], &x).expect("the length fits");
    close(&run(&g, &[input])[0], &expected);
}

#[test]
fn activations() {
    let finite_exp = |v: f64| v.exp() - 1.0;
    elementwise("LeakyRelu", vec![float("alpha", 0.25)], |v| if v < 0.0 { 0.25 * v } else { v });
    elementwise("Elu", vec![float("alpha", 2.0)], |v| if v < 0.0 { 2.0 * finite_exp(v) } else { v });
    elementwise("Selu", vec![], |v| 1.050701 * if v > 0.0 { v } else { 1.6732632 * finite_exp(v) });
    elementwise("Celu", vec![float("alpha", 0.5)], |v| if v > 0.0 { v } else { 0.5 * finite_exp(v / 0.5) });
    elementwise("ThresholdedRelu", vec![], |v| if v > 1.0 { v } else { 0.0 });
    elementwise("Round", vec![], f64::round_ties_even);
    elementwise("IsInf", vec![int("detect_negative", 0)], |v| f64::from(u8::from(v == f64::INFINITY)));
    elementwise("Shrink", vec![float("bias", 0.5), float("lambd", 1.0)], |v| match v {
        v if v < -1.0 => v + 0.5,
        v if v > 1.0 => v - 0.5,
        _ => 0.0,
    });
    // max and min of NaN are NaN.
    let clamp = |v: f64| if v.is_nan() { v } else { v.clamp(0.0, 1.0) };
    elementwise("HardSigmoid", vec![], |v| clamp(0.2 * v + 0.5));
    elementwise("Softsign", vec![], |v| v / (1.0 + v.abs()));
    elementwise("Cast", vec![int("to", BOOL.into())], |v| f64::from(u8::from(v != 0.0)));
}

/// The numbers that others become which are cast to an element type and back.
#[track_caller]
fn cast_to(code: i32, attrs: Vec<onnx_ir::AttributeProto>, x: &[f32]) -> Vec<f64> {
    let g = graph(24, |b| {
        b.input("x", F32, &["n"]);
        b.node("Cast", "x", "y", [vec![int("to", code.into())], attrs].concat());
        b.output("y");
    });
    run(&g, &[Tensor::f32s([x.len()], x).expect("the length fits")]).remove(0)
}

/// By the tables of the standard's Cast.
#[test]
fn floats_of_a_byte_saturate_unless_asked_not_to() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let x = [1.06, 500.0, -1e9, 464.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0];
    close(&cast_to(17, vec![], &x), &[1.0, 448.0, -448.0, 448.0, 448.0, -448.0, nan, -0.0]);
    close(&cast_to(18, vec![], &x), &[1.0, 240.0, -240.0, 240.0, 240.0, -240.0, nan, 0.0]);
    close(&cast_to(19, vec![], &x), &[1.0, 512.0, -57344.0, 448.0, 57344.0, -57344.0, nan, -0.0]);
    close(&cast_to(20, vec![], &x), &[1.0, 512.0, -57344.0, 448.0, 57344.0, -57344.0, nan, 0.0]);
    let no = || vec![int("saturate", 0)];
    close(&cast_to(17, no(), &x), &[1.0, nan, nan, 448.0, nan, nan, nan, -0.0]);
    close(&cast_to(18, no(), &x), &[1.0, nan, nan, nan, nan, nan, nan, 0.0]);
    close(&cast_to(19, no(), &x), &[1.0, 512.0, -inf, 448.0, inf, -inf, nan, -0.0]);
    close(&cast_to(20, no(), &x), &[1.0, 512.0, nan, 448.0, nan, nan, nan, 0.0]);
    // Those of fewer bits have nothing but numbers.
    close(&cast_to(23, vec![], &x[..6]), &[1.0, 6.0, -6.0, 6.0, 6.0, -6.0]);
}

#[test]
fn powers_of_two_are_rounded_as_asked() {
    let mode = |mode: &str| vec![text("round_mode", mode)];
    let (most, least) = (2f64.powi(127), 2f64.powi(-127));
    let x = [0.0, 0.124, 1.0, 1.1, 1.5, 3.1, f32::MAX, f32::INFINITY, f32::NAN];
    let up = [least, 0.125, 1.0, 2.0, 2.0, 4.0, most, most, f64::NAN];
    close(&cast_to(24, vec![], &x), &up);
    close(&cast_to(24, mode("up"), &x), &up);
    close(&cast_to(24, mode("down"), &x), &[least, 0.0625, 1.0, 1.0, 1.0, 2.0, most, most, f64::NAN]);
    close(&cast_to(24, mode("nearest"), &x), &[least, 0.125, 1.0, 1.0, 2.0, 4.0, most, most, f64::NAN]);
    let strict = [mode("nearest"), vec![int("saturate", 0)]].concat();
    let nan = f64::NAN;
    close(&cast_to(24, strict, &x), &[nan, 0.125, 1.0, 1.0, 2.0, 4.0, nan, nan, nan]);
}

/// The output of one op on inputs `a`, `b`, `c`.
#[track_caller]
fn apply(opset: i64, op: &str, inputs: &[Tensor], attrs: Vec<onnx_ir::AttributeProto>) -> (String, Vec<f64>) {
    let names = ["a", "b", "c", "d", "e"];
    let g = graph(opset, |b| {
        for (t, name) in inputs.iter().zip(names) {
            let dims: Vec<String> = t.shape().iter().map(usize::to_string).collect();
            let code = if t.dtype().is_float() { F32 } else { I64 };
            b.input(name, code, &dims.iter().map(String::as_str).collect::<Vec<_>>());
        }
        b.node(op, &names[..inputs.len()].join(" "), "y", attrs);
        b.output("y");
    });
    (ty(&g, "y"), run(&g, inputs).remove(0))
}

fn vector(v: &[i64]) -> Tensor {
    Tensor::i64s([v.len()], v).expect("the length fits")
}

#[test]
fn arithmetic() {
    let (a, b) = (vector(&[-7, 7, -7, 7]), vector(&[3, 3, -3, -3]));
    let both = [a, b];
    close(&apply(17, "Div", &both, vec![]).1, &[-2.0, 2.0, 2.0, -2.0]);
    close(&apply(17, "Mod", &both, vec![]).1, &[2.0, 1.0, -1.0, -2.0]);
    close(&apply(17, "Mod", &both, vec![int("fmod", 1)]).1, &[-1.0, 1.0, -1.0, 1.0]);
    let float = |v: &[f32]| Tensor::f32s([v.len()], v).expect("the length fits");
    close(&apply(17, "Pow", &[float(&[2.0, 3.0]), vector(&[3, 2])], vec![]).1, &[8.0, 9.0]);
    let (ty, v) = apply(17, "Pow", &[vector(&[4, 9]), float(&[0.5, 0.5])], vec![]);
    assert_eq!(ty, "i64[2]");
    close(&v, &[2.0, 3.0]);
    let three = [float(&[1.0, 5.0]), float(&[4.0, 2.0]), float(&[1.0, 2.0])];
    close(&apply(17, "Mean", &three, vec![]).1, &[2.0, 3.0]);
    close(&apply(17, "Max", &three, vec![]).1, &[4.0, 5.0]);
    close(&apply(17, "Sum", &three[..1], vec![]).1, &[1.0, 5.0]);
    // The upper bound holds where they cross.
    let bounds = [float(&[0.0, 9.0]), Tensor::f32s([], &[5.0]).expect("one"), Tensor::f32s([], &[3.0]).expect("one")];
    close(&apply(17, "Clip", &bounds, vec![]).1, &[3.0, 3.0]);
}

/// The output of an op of two operands of the standard's type `code`.
#[track_caller]
fn apply_to(
    opset: i64,
    op: &str,
    code: i32,
    [a, b]: [&[f64]; 2],
    attrs: Vec<onnx_ir::AttributeProto>,
) -> Result<Vec<f64>, String> {
    let write = |b: &mut Build| {
        b.input("a", code, &["n"]);
        b.input("b", code, &["n"]);
        b.node(op, "a b", "y", attrs);
        b.output("y");
    };
    let g = import(&model(opset, write)).map_err(|e| e.to_string())?;
    Ok(run(&g, &[of(code, &[a.len()], a), of(code, &[b.len()], b)]).remove(0))
}

#[test]
fn a_remainder_of_floats_has_the_sign_of_the_divisor() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let a = [-4.3, 7.2, 5.0, 4.3, -7.2, 8.0, -0.0, 0.0, 6.0, -6.0, 2.0, -2.0, -2.0, inf, 1.0, nan];
    let b = [2.1, -3.4, 8.0, -2.1, 3.4, 5.0, 2.0, -2.0, -3.0, 3.0, inf, inf, -inf, 2.0, 0.0, 1.0];
    let want = [2.0, -3.0, 5.0, -2.0, 3.0, 3.0, 0.0, -0.0, -0.0, 0.0, 2.0, inf, -2.0, nan, nan, nan];
    let found = apply_to(28, "Mod", F64, [&a, &b], vec![]).expect("it is a good model");
    close(&found, &want);
    for (i, (found, want)) in found.iter().zip(want).enumerate() {
        assert!(found.is_nan() || found.is_sign_negative() == want.is_sign_negative(), "element {i}: {found}");
    }
    let early = apply_to(27, "Mod", F64, [&a, &b], vec![]);
    assert_eq!(early, Err("node y (Mod): floats need fmod = 1".into()));
}

#[test]
fn bits_are_shifted_to_both_sides_and_beyond() {
    let shift = |code, a: &[f64], b: &[f64], direction| {
        apply_to(28, "BitShift", code, [a, b], vec![text("direction", direction)]).expect("it is a good model")
    };
    let (a, by) = ([16.0, 255.0, 1.0, 255.0, 129.0, 7.0], [1.0, 7.0, 7.0, 8.0, 0.0, 255.0]);
    close(&shift(U8, &a, &by, "RIGHT"), &[8.0, 1.0, 0.0, 0.0, 129.0, 0.0]);
    close(&shift(U8, &a, &by, "LEFT"), &[32.0, 128.0, 128.0, 0.0, 129.0, 0.0]);
    let (a, by) = ([-7.0, 7.0, -128.0, -1.0, 127.0, -5.0, 5.0], [1.0, 1.0, 7.0, 6.0, 7.0, -1.0, 9.0]);
    close(&shift(I8, &a, &by, "RIGHT"), &[-4.0, 3.0, -1.0, -1.0, 0.0, -1.0, 0.0]);
    close(&shift(I8, &a, &by, "LEFT"), &[-14.0, 14.0, 0.0, -64.0, -128.0, 0.0, 0.0]);
    let least = -(2f64.powi(63));
    close(&shift(I64, &[1.0, least, least, -3.0], &[63.0, 63.0, 62.0, 64.0], "RIGHT"), &[0.0, -1.0, -2.0, -1.0]);
    close(
        &shift(I64, &[1.0, 1.0, 3.0, -1.0], &[63.0, 64.0, 62.0, 62.0], "LEFT"),
        &[least, 0.0, -(2f64.powi(62)), -(2f64.powi(62))],
    );
    let refused = |code, attrs| apply_to(28, "BitShift", code, [&[1.0], &[1.0]], attrs).expect_err("it is not good");
    assert_eq!(refused(F32, vec![text("direction", "LEFT")]), "node y (BitShift): operands of f32 and f32");
    assert_eq!(refused(I8, vec![]), "node y (BitShift): attribute direction is missing");
    assert_eq!(refused(I8, vec![text("direction", "up")]), "node y (BitShift): attribute direction is \"up\"");
}

#[test]
fn a_gate_of_its_own() {
    let (a, b) = ([0.0, 1.0, -2.0], [3.0, 2.0, 0.5]);
    let want = |alpha: f64| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a / (1.0 + (-alpha * a).exp()) * b).collect() };
    close(&apply_to(28, "SwiGLU", F32, [&a, &b], vec![]).expect("it is good"), &want(1.0));
    close(&apply_to(28, "SwiGLU", F32, [&a, &b], vec![float("alpha", 1.5)]).expect("it is good"), &want(1.5));
}

#[test]
fn running_products() {
    let x = Tensor::f32s([3], &[1.0, 2.0, 3.0]).expect("the length fits");
    let of = |attrs| {
        let g = graph(26, |b| {
            b.input("x", F32, &["n"]);
            b.i64s("axis", &[0]);
            b.node("CumProd", "x axis", "y", attrs);
            b.output("y");
        });
        run(&g, std::slice::from_ref(&x)).remove(0)
    };
    close(&of(vec![]), &[1.0, 2.0, 6.0]);
    close(&of(vec![int("exclusive", 1)]), &[1.0, 1.0, 2.0]);
    close(&of(vec![int("exclusive", 1), int("reverse", 1)]), &[6.0, 3.0, 1.0]);
}

#[test]
fn bits_are_those_of_another_type() {
    let to = |from: i32, code: i64, x: &[f64]| {
        let g = graph(26, |b| {
            b.input("x", from, &["n"]);
            b.node("BitCast", "x", "y", vec![int("to", code)]);
            b.output("y");
        });
        let x = of(from, &[x.len()], x);
        let planned = bgz_fusion::Model::from_graph(g.clone());
        let values: Vec<u8> = x.to_constant().elements().expect("its bytes").to_vec();
        let input = bgz_fusion::Tensor::from_bytes(x.dtype(), x.shape(), &values).expect("the length fits");
        let made = planned.run(&[("x", input)]).expect("it runs")[0].1.clone();
        let found = run(&g, &[x]).remove(0);
        close(&made.scalars().map(|s| s.to_f64()).collect::<Vec<_>>(), &found);
        found
    };
    close(&to(F32, I32.into(), &[1.0, -0.0]), &[f64::from(0x3f80_0000), f64::from(i32::MIN)]);
    close(&to(I32, F32.into(), &[f64::from(0x4020_0000)]), &[2.5]);
    // Halves are f32 between ops, but their bits are their own.
    close(&to(F16, 5, &[1.0, -2.0]), &[f64::from(0x3c00), f64::from(-0x4000)]);
    close(&to(I8, U8.into(), &[-1.0, 5.0]), &[255.0, 5.0]);
    close(&to(U8, BOOL.into(), &[0.0, 1.0]), &[0.0, 1.0]);
    let e = refused(26, |b| {
        b.input("x", F32, &["n"]);
        b.node("BitCast", "x", "y", vec![int("to", I64.into())]);
        b.output("y");
    });
    assert_eq!(e, "node y (BitCast): the bits of f32 as i64");
}

/// The inverse of the same mode of DepthToSpace.
#[test]
fn blocks_of_space_in_both_orders() {
    for (mode, expected) in
        [("DCR", [0.0, 2.0, 8.0, 10.0, 1.0, 3.0, 9.0, 11.0]), ("CRD", [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0])]
    {
        let g = graph(28, |b| {
            b.input("x", F32, &["1", "2", "2", "4"]);
            b.node("SpaceToDepth", "x", "y", vec![int("blocksize", 2), text("mode", mode)]);
            b.node("DepthToSpace", "y", "z", vec![int("blocksize", 2), text("mode", mode)]);
            b.output("y");
            b.output("z");
        });
        let all: Vec<f32> = (0..16u8).map(f32::from).collect();
        let found = run(&g, &[Tensor::f32s([1, 2, 2, 4], &all).expect("the length fits")]);
        close(&found[0][..8], &expected);
        close(&found[1], &all.iter().map(|&v| v.into()).collect::<Vec<f64>>());
    }
}

/// A tensor of the standard's type `code`.
fn of(code: i32, shape: &[usize], values: &[f64]) -> Tensor {
    let dtype = match code {
        I64 => DType::I64,
        I32 => DType::I32,
        U8 => DType::U8,
        I8 => DType::I8,
        F64 => DType::F64,
        F16 => DType::F16,
        _ => DType::F32,
    };
    Tensor::f64s(dtype, shape, values).expect("the length fits")
}

const I8: i32 = 3;
const F16: i32 = 10;
const F64: i32 = 11;

#[test]
fn powers_have_the_dtype_of_the_base_and_the_numbers_of_both() {
    for (base, exponent, a, b, expected) in [
        (I64, F32, 4097.0, 2.0, 16_785_409.0),
        (I64, F32, 33_554_433.0, 1.0, 33_554_433.0),
        (I64, F16, 4097.0, 2.0, 16_785_409.0),
        (I64, F32, 9.0, 0.5, 3.0),
        (I32, F32, 65_535.0, 1.0, 65_535.0),
        (I32, I64, 3.0, 19.0, 1_162_261_467.0),
        (I64, I32, -3.0, 3.0, -27.0),
        (U8, I64, 255.0, -1.0, 0.0),
        (I8, I64, 2.0, 256.0, 0.0),
        (F32, I64, -1.0, 16_777_217.0, -1.0),
        (F32, F64, 2.0, 0.5, f64::from(2f32.sqrt())),
        (F64, F32, 3.0, 40.0, 3f64.powi(40)),
        (F16, F32, 3.0, 2.0, 9.0),
        (F16, I64, -1.0, 2049.0, -1.0),
    ] {
        for constant in [false, true] {
            let b = of(exponent, &[], &[b]);
            let g = graph(15, |m| {
                m.input("a", base, &["2"]);
                if constant {
                    let bytes = b.to_constant().bytes().expect("it has some").to_vec();
                    m.graph.initializer.push(tensor("b", exponent, &[], bytes));
                } else {
                    m.input("b", exponent, &[]);
                }
                m.node("Pow", "a b", "y", vec![]);
                m.output("y");
            });
            let a = of(base, &[2], &[a, 1.0]);
            assert_eq!(ty(&g, "y"), a.ty().to_string());
            let inputs: Vec<Tensor> = [a.clone()].into_iter().chain((!constant).then(|| b.clone())).collect();
            assert_eq!(run(&g, &inputs)[0], [expected, 1.0], "{} to the {}", a.ty(), b.ty());
        }
    }
}

#[test]
fn gemm() {
    for (bits, c) in (0..4).flat_map(|b| [&[][..], &[4], &[1, 4], &[2, 4], &[1]].map(|c| (b, c))) {
        let (ta, tb) = (bits & 1 == 1, bits & 2 == 2);
        for (alpha, beta) in [(1.0, 1.0), (0.5, 2.0)] {
            let a = numbers(if ta { &[3, 2] } else { &[2, 3] });
            let b = numbers(if tb { &[4, 3] } else { &[3, 4] });
            let bias = numbers(c);
            let attrs =
                vec![int("transA", ta.into()), int("transB", tb.into()), float("alpha", alpha), float("beta", beta)];
            let (va, vb, vc) = (a.to_f64s(), b.to_f64s(), bias.to_f64s());
            let mut expected = Vec::new();
            for (i, j) in (0..2).flat_map(|i| (0..4).map(move |j| (i, j))) {
                let at =
                    |k: usize| va[if ta { k * 2 + i } else { i * 3 + k }] * vb[if tb { j * 3 + k } else { k * 4 + j }];
                let c = match vc.len() {
                    1 => vc[0],
                    4 => vc[j],
                    _ => vc[i * 4 + j],
                };
                expected.push(f64::from(alpha) * (0..3).map(at).sum::<f64>() + f64::from(beta) * c);
            }
            let (ty, found) = apply(17, "Gemm", &[a, b, bias], attrs);
            assert_eq!(ty, "f32[2, 4]");
            close(&found, &expected);
        }
    }
    let g = graph(17, |b| {
        b.input("x", F32, &["n", "3"]);
        b.f32s("w", &[4, 3], &[1.0; 12]);
        b.f32s("b", &[4], &[1.0; 4]);
        b.node("Gemm", "x w b", "y", vec![int("transB", 1)]);
        b.output("y");
    });
    assert_eq!(ops(&g), ["linear"]);
}

#[test]
fn einsum() {
    type Case = (&'static str, &'static [usize], &'static [usize], &'static str, &'static [&'static str]);
    // Equation, shapes of the operands, type of the result, ops.
    let cases: [Case; 8] = [
        ("bij,bjk->bik", &[2, 3, 4], &[2, 4, 5], "f32[2, 3, 5]", &["matmul"]),
        ("bhid,bhjd->bhij", &[2, 2, 3, 4], &[2, 2, 5, 4], "f32[2, 2, 3, 5]", &["transpose", "matmul"]),
        ("ij,kj->ki", &[2, 3], &[4, 3], "f32[4, 2]", &["transpose", "matmul", "transpose"]),
        ("i,j->ij", &[2], &[3], "f32[2, 3]", &["reshape", "reshape", "matmul"]),
        ("...ij,...jk", &[2, 3, 4], &[4, 5], "f32[2, 3, 5]", &["reshape", "matmul", "reshape"]),
        ("abc,bcd->ad", &[2, 3, 4], &[3, 4, 5], "f32[2, 5]", &["reshape", "reshape", "matmul"]),
        (
            "ij,jk->",
            &[2, 3],
            &[3, 4],
            "f32[]",
            &["reduce_sum", "reduce_sum", "reshape", "reshape", "matmul", "reshape"],
        ),
        (
            "bsd,dhk->bhsk",
            &[2, 3, 4],
            &[4, 2, 5],
            "f32[2, 2, 3, 5]",
            &["reshape", "reshape", "matmul", "reshape", "transpose"],
        ),
    ];
    for (equation, a, b, expected, expected_ops) in cases {
        let g = graph(17, |m| {
            let dims = |s: &[usize]| s.iter().map(usize::to_string).collect::<Vec<_>>();
            let (da, db) = (dims(a), dims(b));
            m.input("a", F32, &da.iter().map(String::as_str).collect::<Vec<_>>());
            m.input("b", F32, &db.iter().map(String::as_str).collect::<Vec<_>>());
            m.node("Einsum", "a b", "y", vec![text("equation", equation)]);
            m.output("y");
        });
        assert_eq!(ty(&g, "y"), expected, "{equation}");
        assert_eq!(ops(&g), expected_ops, "{equation}");
        let (x, y) = (numbers(a), numbers(b));
        close(&run(&g, &[x.clone(), y.clone()])[0], &naive_einsum(equation, &x, &y));
    }
}

/// Every assignment of the letters, summed where it belongs.
fn naive_einsum(equation: &str, a: &Tensor, b: &Tensor) -> Vec<f64> {
    let equation = equation.replace("...ij,...jk", "zij,jk->zik");
    let (left, out) = equation.split_once("->").expect("an arrow");
    let (la, lb) = left.split_once(',').expect("two operands");
    let mut extents: Vec<(char, usize)> = Vec::new();
    for (labels, t) in [(la, a), (lb, b)] {
        extents.extend(labels.chars().zip(t.shape().iter().copied()));
    }
    extents.sort();
    extents.dedup();
    let extent = |c: char| extents.iter().find(|(l, _)| *l == c).expect("a letter").1;
    let place = |labels: &str, index: &[usize]| {
        labels
            .chars()
            .fold(0, |at, c| at * extent(c) + index[extents.iter().position(|(l, _)| *l == c).expect("a letter")])
    };
    let (va, vb) = (a.to_f64s(), b.to_f64s());
    let mut result = vec![0.0; out.chars().map(extent).product()];
    for n in 0..extents.iter().map(|(_, e)| e).product() {
        let mut left = n;
        let index: Vec<usize> = extents.iter().map(|(_, e)| (left % e, left /= e).0).collect();
        result[place(out, &index)] += va[place(la, &index)] * vb[place(lb, &index)];
    }
    result
}

#[test]
fn layer_norm() {
    let make = |axis: i64, scale: &[&str], outputs: &str| {
        graph(17, |b| {
            b.input("x", F32, &["n", "3", "4"]);
            b.input("s", F32, scale);
            b.node("LayerNormalization", "x s", outputs, vec![int("axis", axis), float("epsilon", 1e-3)]);
            b.output("y");
            if outputs.contains("mean") {
                b.output("mean");
            }
        })
    };
    assert_eq!(ops(&make(-1, &["4"], "y")), ["layer_norm"]);
    // A result that nothing uses does not matter.
    assert_eq!(ops(&make(2, &["4"], "y unused")), ["layer_norm"]);
    let (two, last) = (make(1, &["3", "4"], "y mean"), make(-1, &["4"], "y mean"));
    let x = numbers(&[2, 3, 4]);
    let all = x.to_f64s();
    for (g, width, scale) in [(two, 12, numbers(&[3, 4])), (last, 4, numbers(&[4]))] {
        let s = scale.to_f64s();
        let (mut y, mut means) = (Vec::new(), Vec::new());
        for row in all.chunks(width) {
            let mean = row.iter().sum::<f64>() / width as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
            y.extend(row.iter().zip(&s).map(|(v, s)| (v - mean) / (variance + 1e-3).sqrt() * s));
            means.push(mean);
        }
        let found = run(&g, &[x.clone(), scale]);
        close(&found[0], &y);
        close(&found[1], &means);
    }
}

/// Statistics of halves are f32, whose squares do not overflow.
#[test]
fn layer_norm_of_halves() {
    let g = graph(17, |b| {
        b.input("x", F16, &["2", "3"]);
        b.input("s", F16, &["3"]);
        b.node("LayerNormalization", "x s", "y mean", vec![float("epsilon", 0.0)]);
        b.output("y");
        b.output("mean");
    });
    assert_eq!((ty(&g, "y").as_str(), ty(&g, "mean").as_str()), ("f16[2, 3]", "f32[2, 1]"));
    let x = of(F16, &[2, 3], &[800.0, 0.0, -800.0, 1.0, 2.0, 3.0]);
    let found = run(&g, &[x, of(F16, &[3], &[1.0; 3])]);
    let one = 1.224_609_375;
    assert_eq!(found[0], [one, 0.0, -one, -one, 0.0, one]);
    close(&found[1], &[0.0, 2.0]);
}

#[test]
fn pooling_is_of_floats_and_the_greatest_of_bytes() {
    let make = |op: &str, code: i32| {
        model(12, |b| {
            b.input("x", code, &["1", "1", "4"]);
            b.node(op, "x", "y", vec![ints("kernel_shape", &[2])]).name = "window".into();
            b.output("y");
        })
    };
    for (op, code) in [("MaxPool", U8), ("MaxPool", I8), ("MaxPool", F16), ("MaxPool", F64), ("AveragePool", F16)] {
        assert!(import(&make(op, code)).is_ok(), "{op} of {code}");
    }
    for (op, code, dtype) in
        [("MaxPool", I32, "i32"), ("MaxPool", I64, "i64"), ("MaxPool", BOOL, "bool"), ("AveragePool", U8, "u8")]
    {
        let e = import(&make(op, code)).expect_err("the standard has none").to_string();
        assert_eq!(e, format!("node window ({op}): not defined for {dtype}"));
    }
}

#[test]
fn batch_norm_is_one_factor_and_one_summand() {
    let parameters = [("s", [1.0, 2.0]), ("b", [0.5, -0.5]), ("m", [1.0, -1.0]), ("v", [4.0, 0.25])];
    let make = |constant: bool| {
        graph(15, |b| {
            b.input("x", F32, &["n", "2", "3"]);
            for (name, values) in parameters {
                if constant {
                    b.f32s(name, &[2], &values);
                } else {
                    b.input(name, F32, &["2"]);
                }
            }
            b.node("BatchNormalization", "x s b m v", "y", vec![float("epsilon", 0.0), float("momentum", 0.5)]);
            b.output("y");
        })
    };
    let x = numbers(&[2, 2, 3]);
    let expected: Vec<f64> = x
        .to_f64s()
        .iter()
        .enumerate()
        .map(|(i, v)| match i / 3 % 2 {
            0 => (v - 1.0) / 2.0 + 0.5,
            _ => 2.0 * (v + 1.0) / 0.5 - 0.5,
        })
        .collect();
    let folded = make(true);
    assert_eq!(ops(&folded), ["mul", "add"]);
    close(&run(&folded, std::slice::from_ref(&x))[0], &expected);
    let inputs = parameters.map(|(_, v)| Tensor::f32s([2], &v).expect("two"));
    let all: Vec<Tensor> = std::iter::once(x).chain(inputs).collect();
    close(&run(&make(false), &all)[0], &expected);
}

#[test]
fn reductions() {
    let x = Tensor::f32s([2, 2], &[1.0, -2.0, 3.0, 4.0]).expect("four");
    let sum = |op: &str, attrs| apply(17, op, std::slice::from_ref(&x), attrs);
    close(&sum("ReduceL1", vec![ints("axes", &[1])]).1, &[3.0, 7.0]);
    close(&sum("ReduceL2", vec![ints("axes", &[1])]).1, &[5f64.sqrt(), 5.0]);
    close(&sum("ReduceSumSquare", vec![ints("axes", &[0]), int("keepdims", 0)]).1, &[10.0, 20.0]);
    close(&sum("ReduceLogSum", vec![ints("axes", &[0, 1])]).1, &[6f64.ln()]);
    let (ty, v) = sum("ReduceLogSumExp", vec![ints("axes", &[-1]), int("keepdims", 0)]);
    assert_eq!(ty, "f32[2]");
    close(&v, &[(1f64.exp() + (-2f64).exp()).ln(), (3f64.exp() + 4f64.exp()).ln()]);
    assert_eq!(sum("ReduceMean", vec![int("keepdims", 0)]).0, "f32[]");
    // No axes: all of them, or none if the node says so.
    let empty = |noop: i64| {
        let g = graph(18, |b| {
            b.input("x", F32, &["2", "2"]);
            b.i64s("none", &[]);
            b.node("ReduceMax", "x none", "y", vec![int("noop_with_empty_axes", noop), int("keepdims", 0)]);
            b.output("y");
        });
        (ops(&g), onnx_build::ty(&g, "y"))
    };
    assert_eq!(empty(0), (vec!["reduce_max".to_owned()], "f32[]".to_owned()));
    assert_eq!(empty(1), (vec![], "f32[2, 2]".to_owned()));
}

#[test]
fn top_k_and_arg_max() {
    let g = graph(17, |b| {
        b.input("x", F32, &["n", "5"]);
        b.i64s("k", &[2]);
        b.node("TopK", "x k", "_ places", vec![int("largest", 0)]);
        b.node("ArgMax", "x", "best", vec![int("axis", -1), int("keepdims", 0)]);
        b.output("places");
        b.output("best");
    });
    assert_eq!((ty(&g, "places").as_str(), ty(&g, "best").as_str()), ("i64[n, 2]", "i64[n]"));
    let x = Tensor::f32s([1, 5], &[3.0, 1.0, 9.0, 0.0, 2.0]).expect("five");
    let found = run(&g, &[x]);
    close(&found[0], &[3.0, 1.0]);
    close(&found[1], &[2.0]);
}

#[test]
fn indices() {
    let x = numbers(&[3, 2]);
    let v = x.to_f64s();
    close(&apply(17, "Gather", &[x, vector(&[-1, 0])], vec![]).1, &[v[4], v[5], v[0], v[1]]);
    let g = graph(17, |b| {
        b.input("i", I64, &["n"]);
        b.f32s("depth", &[1], &[3.0]);
        b.f32s("values", &[2], &[0.0, 5.0]);
        b.node("OneHot", "i depth values", "y", vec![int("axis", 0)]);
        b.node("EyeLike", "y", "eye", vec![int("k", 1)]);
        b.output("y");
        b.output("eye");
    });
    assert_eq!(ty(&g, "y"), "f32[3, n]");
    let found = run(&g, &[vector(&[1, 2])]);
    close(&found[0], &[0.0, 0.0, 5.0, 0.0, 0.0, 5.0]);
    close(&found[1], &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}

/// The summand of a mean of 1000 is one that halves can only hold to the next whole number.
#[test]
fn batch_norm_of_halves_is_computed_in_f32() {
    for (code, dtype, mean, tolerance) in [(10, DType::F16, 1000.0, 2e-3), (16, DType::BF16, 200.0, 1e-2)] {
        for constant in [false, true] {
            let parameters = [("s", 1.5), ("p", 0.1), ("m", mean), ("v", 1.0)];
            let g = graph(17, |b| {
                b.input("x", code, &["1", "1", "3"]);
                for (name, value) in parameters {
                    let mut raw = Vec::new();
                    Scalar::from_f64(dtype, value).write_le_bytes(&mut raw);
                    match constant {
                        true => b.graph.initializer.push(tensor(name, code, &[1], raw)),
                        false => b.input(name, code, &["1"]),
                    }
                }
                b.node("BatchNormalization", "x s p m v", "y", vec![float("epsilon", 0.0)]);
                b.output("y");
            });
            let x = Tensor::f64s(dtype, [1, 1, 3], &[mean, mean + 8.0, mean - 16.0]).expect("three numbers");
            let given = parameters.map(|(_, v)| Tensor::f64s(dtype, [1], &[v]).expect("one number"));
            let inputs: Vec<Tensor> = [x].into_iter().chain(given.into_iter().filter(|_| !constant)).collect();
            let y = run(&g, &inputs).remove(0);
            for (got, want) in y.iter().zip([0.1, 12.1, -23.9]) {
                assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{dtype} {constant}: {got}, not {want}");
            }
        }
    }
}

#[test]
fn ranges_of_constant_floats_have_an_extent() {
    let g = graph(17, |b| {
        for (name, value) in [("a", 1.0), ("b", 2.0), ("c", 0.3)] {
            b.f32s(name, &[], &[value]);
        }
        b.node("Range", "a b c", "y", vec![]);
        b.output("y");
    });
    assert_eq!(ty(&g, "y"), "f32[4]");
    close(&run(&g, &[])[0], &[1.0, 1.3, 1.6, 1.9]);
}

/// Python's rules, whatever the extent turns out to be: also the extents that others take from the result.
#[test]
fn cuts_of_a_named_dim_clamp() {
    for (from, to, want) in [
        ([-4, 0], [i64::MAX, i64::MAX], 3),
        ([4, 0], [i64::MAX, i64::MAX], 0),
        ([0, 0], [-5, i64::MAX], 0),
        ([1, 0], [-1, i64::MAX], 1),
        ([1, 0], [i64::MAX, i64::MAX], 2),
        ([-1, 0], [i64::MAX, i64::MAX], 1),
        ([0, 0], [2, i64::MAX], 2),
    ] {
        let g = graph(17, |b| {
            b.input("x", F32, &["n", "2"]);
            b.i64s("from", &from);
            b.i64s("to", &to);
            b.node("Slice", "x from to", "cut", vec![]);
            b.node("Shape", "cut", "shape", vec![]);
            b.output("cut");
            b.output("shape");
        });
        let mut rewritten = g.clone();
        bgz_fusion::Pipeline::exact().run(&mut rewritten).expect("the pipeline runs");
        let x = Tensor::f32s([3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("six numbers");
        for g in [&g, &rewritten] {
            let all = run(g, std::slice::from_ref(&x));
            assert_eq!((all[0].len(), &all[1][..]), (2 * want, &[want as f64, 2.0][..]), "{from:?} to {to:?}\n{g}");
        }
    }
}
