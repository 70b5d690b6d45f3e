//! Ops on every element type, by a plan and op by op, rewritten or not, against the oracle: equal numbers.

use bgz_fusion::ir::{Scalar, parse};
use bgz_fusion::{DType, Model, Pipeline, Tensor};
use bgz_passes::eval;
use bgz_passes::eval::testing::Rng;

/// Elements of every kind: the ends of the range and what is near them, then any bits at all.
fn elements(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let (least, most) = dtype.range();
    let ends = [0, 1, 2, most, most - 1, most / 2, most / 2 + 1, least, least + 1].map(|v| v as i64);
    let ends = ends.into_iter().map(|v| Scalar::from_i64(dtype, v)).filter(|_| dtype.is_int());
    let bits = std::iter::repeat_with(|| Scalar::from_le_bytes(dtype, &rng.bits().to_le_bytes()).expect("8 bytes"));
    let mut bytes = Vec::new();
    ends.chain(bits).take(shape.iter().product()).for_each(|s| s.write_le_bytes(&mut bytes));
    Tensor::from_bytes(dtype, shape, &bytes).expect("a tensor")
}

/// The same without 0.
fn divisors(t: &Tensor) -> Tensor {
    let one = |s: Scalar| if s.to_f64() == 0.0 { Scalar::from_i64(s.dtype(), 1) } else { s };
    let mut bytes = Vec::new();
    t.scalars().for_each(|s| one(s).write_le_bytes(&mut bytes));
    Tensor::from_bytes(t.dtype(), t.shape(), &bytes).expect("a tensor")
}

fn oracle(t: &Tensor) -> eval::Tensor {
    eval::Tensor::new(t.dtype(), t.shape().to_vec(), t.scalars()).expect("as many elements as the shape says")
}

/// Runs the body of a graph of inputs `%a` and `%b` of `[4, 6]` and `%i`, three numbers below 4, and compares its
/// result `%y`; `T` in the text is the dtype.
#[track_caller]
fn check_with(dtype: DType, given: &[Tensor; 2], body: &str) {
    let text = format!("graph @g {{\nin %a : T[4, 6]\nin %b : T[4, 6]\nin %i : i64[3]\n{body}\nout %y\nout %i\n}}");
    let text = text.replace("T[", &format!("{dtype}["));
    let graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let inputs = [given[0].clone(), given[1].clone(), Tensor::new(&[3], &[2i64, 0, 3]).expect("a tensor")];
    let types: Vec<_> = inputs.iter().map(Tensor::ty).collect();
    let want = eval::run(&graph, &inputs.iter().map(oracle).collect::<Vec<_>>());
    let want = want.unwrap_or_else(|e| panic!("oracle: {e}\n{text}"));
    for rewritten in [false, true] {
        let mut model = Model::from_graph(graph.clone());
        if rewritten {
            model.rewrite(&Pipeline::exact()).expect("the pipeline runs");
        }
        let plan = model.plan(&types).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let ops = model.op_by_op(&types).unwrap_or_else(|e| panic!("{e}\n{text}"));
        for (how, got) in [("plan", plan.run(&inputs)), ("op by op", ops.run(&inputs))] {
            let got = oracle(&got.unwrap_or_else(|e| panic!("{how}: {e}\n{text}"))[0]);
            assert_eq!(got.ty(), want[0].ty(), "{how}, rewritten: {rewritten}\n{text}");
            for (i, (g, w)) in got.scalars().zip(want[0].scalars()).enumerate() {
                // Of a greatest or least zero, either sign is right.
                let (x, y) = (g.to_f64(), w.to_f64());
                let same = g == w || g.dtype().is_float() && (x == y || x.is_nan() && y.is_nan());
                assert!(same, "{how}, rewritten: {rewritten}, element {i}: {g}, not {w}\n{text}");
            }
        }
    }
}

#[track_caller]
fn check(dtype: DType, body: &str) {
    for seed in 0..2 {
        check_with(dtype, &[elements(dtype, &[4, 6], seed), elements(dtype, &[4, 6], seed + 100)], body);
    }
}

fn integers() -> impl Iterator<Item = DType> {
    DType::ALL.into_iter().filter(|d| d.is_int())
}

fn small_floats() -> impl Iterator<Item = DType> {
    DType::ALL.into_iter().filter(|d| d.small_float().is_some())
}

#[test]
fn arithmetic_of_integers_wraps_and_knows_their_sign() {
    for dtype in integers() {
        for f in ["add", "sub", "mul", "min", "max", "pow", "and", "or", "xor"] {
            check(dtype, &format!("%y = {f}(%a, %b) : T[4, 6]"));
        }
        for f in ["div", "rem", "mod"] {
            let (a, b) = (elements(dtype, &[4, 6], 5), divisors(&elements(dtype, &[4, 6], 6)));
            check_with(dtype, &[a, b], &format!("%y = {f}(%a, %b) : T[4, 6]"));
        }
        for f in ["neg", "abs", "sign", "relu"] {
            check(dtype, &format!("%y = {f}(%a) : T[4, 6]"));
        }
        check(
            dtype,
            "const @k : T[] = 1\n%s = sub(%a, @k) : T[4, 6]\n%m = mul(%s, %b) : T[4, 6]\n%y = max(%m, %a) : T[4, 6]",
        );
    }
}

#[test]
fn arithmetic_of_small_floats_is_rounded_to_them() {
    for dtype in small_floats() {
        for f in ["add", "sub", "mul", "div", "min", "max"] {
            check(dtype, &format!("%y = {f}(%a, %b) : T[4, 6]"));
        }
        for f in ["neg", "abs", "floor", "relu", "sign"] {
            check(dtype, &format!("%y = {f}(%a) : T[4, 6]"));
        }
        check(dtype, "%y = is_nan(%a) : bool[4, 6]");
    }
}

#[test]
fn comparisons_and_choices() {
    for dtype in integers().chain(small_floats()) {
        for f in ["eq", "ne", "lt", "le", "gt", "ge"] {
            check(dtype, &format!("%y = {f}(%a, %b) : bool[4, 6]"));
        }
        check(dtype, "%c = lt(%b, %a) : bool[4, 6]\n%y = where(%c, %a, %b) : T[4, 6]");
    }
}

#[test]
fn casts_between_all() {
    for from in DType::ALL {
        for to in DType::ALL.into_iter().filter(|&to| to != from) {
            check(from, &format!("%y = cast(%a) : {to}[4, 6]"));
            check(from, &format!("%c = cast(%a) : {to}[4, 6]\n%y = cast(%c) : T[4, 6]"));
            check(from, &format!("%c = cast(%a) : {to}[4, 6]\n%y = cast(%c) : f64[4, 6]"));
        }
    }
}

#[test]
fn elements_are_moved() {
    for dtype in DType::ALL {
        for body in [
            "%y = transpose(%a) {perm = [1, 0]} : T[6, 4]",
            "%t = transpose(%a) {perm = [1, 0]} : T[6, 4]\n%y = reshape(%t) {shape = [3, 8]} : T[3, 8]",
            "%s = slice(%a) {axes = [1], starts = [5], ends = [0], steps = [-2]} : T[4, 3]\n%y = concat(%s, %b) {axis = 1} : T[4, 9]",
            "%y = tile(%a) {repeats = [2, 1]} : T[8, 6]",
            "%s = slice(%a) {axes = [0], starts = [1], ends = [2], steps = [1]} : T[1, 6]\n%y = expand(%s) {shape = [5, 6]} : T[5, 6]",
            "%y = gather(%a, %i) {axis = 0} : T[3, 6]",
            "%r = gather(%b, %i) {axis = 0} : T[3, 6]\n%e = reshape(%i) {shape = [3, 1]} : i64[3, 1]\n%y = scatter_nd(%a, %e, %r) : T[4, 6]",
            "%y = pad(%a) {pads = [1, 0, 0, 2], mode = \"reflect\"} : T[5, 8]",
            "%y = trilu(%a) {upper = true} : T[4, 6]",
        ] {
            check(dtype, body);
        }
    }
}

#[test]
fn constants_of_a_graph() {
    for dtype in DType::ALL.into_iter().filter(|&d| d != DType::Bool) {
        let values = if dtype.is_float() { "[0.5, 1.0, 4.0, 2.0]" } else { "[0, 1, 1, 0]" };
        let constants = format!("const @k : T[4] = {values}\nconst @j : i64[3] = [2, 0, 1]");
        check(dtype, &format!("{constants}\n%y = gather(@k, @j) {{axis = 0}} : T[3]"));
        check(dtype, &format!("{constants}\n%y = gather(@k, %i) {{axis = 0}} : T[3]"));
    }
}

#[test]
fn reductions_of_integers() {
    for dtype in integers() {
        for kind in ["sum", "prod", "max", "min", "mean"] {
            check(dtype, &format!("%y = reduce_{kind}(%a) {{axes = [1], keep_dims = false}} : T[4]"));
            check(dtype, &format!("%y = reduce_{kind}(%a) {{axes = [0], keep_dims = true}} : T[1, 6]"));
        }
        // Of no entries, the end of the range.
        for kind in ["max", "min"] {
            let none = "%e = slice(%a) {axes = [1], starts = [0], ends = [0]} : T[4, 0]";
            check(dtype, &format!("{none}\n%y = reduce_{kind}(%e) {{axes = [1], keep_dims = false}} : T[4]"));
        }
        for arg in ["arg_max", "arg_min"] {
            check(dtype, &format!("%y = {arg}(%a) {{axis = 1, keep_dims = false}} : i64[4]"));
        }
        check(dtype, "%y = cum_sum(%a) {axis = 1} : T[4, 6]");
        check(dtype, "%y = cum_prod(%a) {axis = 1} : T[4, 6]");
        for largest in [true, false] {
            let attrs = format!("{{axis = 1, largest = {largest}, k = [3]}}");
            check(dtype, &format!("%y, %n = top_k(%a) {attrs} : T[4, 3], i64[4, 3]"));
            check(dtype, &format!("%n, %y = top_k(%a) {attrs} : T[4, 3], i64[4, 3]"));
        }
    }
}

#[test]
fn products_that_wrap() {
    for dtype in [DType::U16, DType::U32, DType::U64] {
        check(dtype, "%t = transpose(%b) {perm = [1, 0]} : T[6, 4]\n%y = matmul(%a, %t) : T[4, 4]");
    }
}

#[test]
fn what_is_not_zero_is_counted_and_found() {
    for dtype in [DType::U16, DType::U32, DType::U64, DType::F8E4M3FN, DType::F8E5M2, DType::F8E4M3FNUZ] {
        let text = format!("graph @g {{\nin %a : {dtype}[4, 6]\n%y = non_zero(%a) : i64[2, _0]\nout %y\n}}");
        let model = Model::from_graph(parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}")));
        // A float has a zero with a sign.
        let bytes: Vec<u8> =
            (0..24u8).flat_map(|i| [&[[0, 1, 0x80, 0][usize::from(i % 4)]][..], &[0; 7]].concat()).collect();
        let bytes: Vec<u8> = bytes.chunks_exact(8).flat_map(|b| b[..dtype.size()].to_vec()).collect();
        let a = Tensor::from_bytes(dtype, &[4, 6], &bytes).expect("a tensor");
        let got = model.run(&[("a", a.clone())]).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let set: Vec<i64> =
            (0..24).filter(|&i| a.scalars().nth(i).is_some_and(|s| s.to_f64() != 0.0)).map(|i| i as i64).collect();
        let want: Vec<i64> = set.iter().map(|i| i / 6).chain(set.iter().map(|i| i % 6)).collect();
        assert_eq!(got[0].1.as_slice::<i64>(), Ok(&want[..]), "{dtype}");
    }
}
