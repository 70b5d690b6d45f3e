//! ONNX files become the graphs that they say.

mod onnx_build;

use bgz_fusion::onnx;
use bgz_passes::eval::Tensor;
use bgz_passes::ir::{Attr, Dim, Graph, Op};
use onnx_build::*;
use onnx_ir::ModelProto;
use std::path::Path;

// ---- names, dims, order ----

#[test]
fn names_and_dims_are_those_of_the_file() {
    let g = graph(17, |b| {
        b.input("input ids", I64, &["batch size", "?", "3"]);
        b.node("Neg", "input", "never", vec![]).input[0] = "input ids".into();
        b.node("Identity", "never", "alias", vec![]);
        b.node("Abs", "alias", "onnx::Abs_7", vec![]);
        b.output("onnx::Abs_7");
        b.output("alias");
    });
    assert_eq!(g.name, "made");
    assert_eq!(g.inputs().iter().map(|&v| g.name(v)).collect::<Vec<_>>(), ["input ids"]);
    assert_eq!(ty(&g, "onnx::Abs_7"), "i64[batch_size, input_ids_1, 3]");
    assert_eq!(g.name(output(&g, "onnx::Abs_7")), "onnx::Abs_7");
    // An alias is no op: the output is the value under another name.
    assert_eq!(g.name(output(&g, "alias")), "never");
    assert_eq!(ops(&g), ["neg", "abs"]);
}

#[test]
fn dims_of_one_name_are_one_dim_and_others_are_not() {
    let g = graph(17, |b| {
        b.input("x", F32, &["n", "m.k", "m:k", "_0", "inf"]);
        b.input("y", F32, &["n"]);
        b.output("x");
        b.output("y");
    });
    assert_eq!(ty(&g, "x"), "f32[n, m_k, m_k_2, dim__0, dim_inf]");
    assert_eq!(ty(&g, "y"), "f32[n]");
}

#[test]
fn nodes_out_of_order_are_sorted() {
    let g = graph(17, |b| {
        b.input("x", F32, &["2"]);
        b.node("Exp", "b", "c", vec![]);
        b.node("Neg", "x", "a", vec![]);
        b.node("Abs", "a", "b", vec![]);
        b.output("c");
    });
    assert_eq!(ops(&g), ["neg", "abs", "exp"]);
}

#[test]
fn initialisers_among_the_inputs_are_constants() {
    let g = graph(11, |b| {
        b.input("x", F32, &["2"]);
        b.input("w", F32, &["2"]);
        b.f32s("w", &[2], &[1.0, 2.0]);
        b.node("Add", "x w", "y", vec![]);
        b.output("y");
    });
    assert_eq!(g.inputs().len(), 1);
    close(&run(&g, &[numbers(&[2])])[0], &[0.75, 3.5]);
}

#[test]
fn constants_that_only_say_how_an_op_works_are_not_in_the_graph() {
    let g = graph(17, |b| {
        b.input("x", F32, &["2", "3"]);
        b.i64s("axes", &[1]);
        b.node("ReduceSum", "x axes", "y", vec![int("keepdims", 0)]);
        b.output("y");
    });
    assert_eq!(g.constants().count(), 0);
    assert_eq!(ty(&g, "y"), "f32[2]");
}

// ---- constants ----

#[test]
fn weights_are_views_of_the_file() {
    let m = model(17, |b| {
        b.input("x", F32, &["8"]);
        b.f32s("w", &[8], &[0.5; 8]);
        b.node("Add", "x w", "y", vec![]);
        b.output("y");
    });
    let all = bytes(&m);
    let g = onnx::from_bytes(all.clone()).expect("it is a good model");
    let w = g.constant(g.find("w").expect("the weight")).map(|c| c.bytes().expect("its bytes")).expect("a constant");
    assert!(all.as_ptr_range().contains(&w.as_ptr()), "the weight was copied");
}

#[test]
fn every_form_of_a_constant() {
    let typed = |code, fill: fn(&mut onnx_ir::TensorProto)| {
        let mut t = tensor("", code, &[2], vec![]);
        fill(&mut t);
        tensor_attr("value", t)
    };
    let attrs = [
        (tensor_attr("value", f32s("", &[2], &[1.0, -2.0])), "f32[2]", vec![1.0, -2.0]),
        (tensor_attr("value", i64s("", &[], &[7])), "i64[]", vec![7.0]),
        (float("value_float", 1.5), "f32[]", vec![1.5]),
        (int("value_int", -3), "i64[]", vec![-3.0]),
        (floats("value_floats", &[1.0]), "f32[1]", vec![1.0]),
        (ints("value_ints", &[4, 5]), "i64[2]", vec![4.0, 5.0]),
        (typed(F32, |t| t.float_data = vec![1.0, 2.0]), "f32[2]", vec![1.0, 2.0]),
        (typed(I64, |t| t.int64_data = vec![-1, 2]), "i64[2]", vec![-1.0, 2.0]),
        (typed(I32, |t| t.int32_data = vec![-1, 2]), "i32[2]", vec![-1.0, 2.0]),
        (typed(U8, |t| t.int32_data = vec![1, 255]), "u8[2]", vec![1.0, 255.0]),
        (typed(BOOL, |t| t.int32_data = vec![0, 1]), "bool[2]", vec![0.0, 1.0]),
        // 10 and 16 are FLOAT16 and BFLOAT16: bits in the low half of an integer.
        (typed(10, |t| t.int32_data = vec![0x3c00, 0xc000]), "f16[2]", vec![1.0, -2.0]),
        (typed(16, |t| t.int32_data = vec![0x3f80, 0xc000]), "bf16[2]", vec![1.0, -2.0]),
        (typed(11, |t| t.double_data = vec![0.1, 2.0]), "f64[2]", vec![0.1, 2.0]),
        // 4, 12 and 13 are UINT16, UINT32 and UINT64.
        (typed(4, |t| t.int32_data = vec![1, 65535]), "u16[2]", vec![1.0, 65535.0]),
        (typed(12, |t| t.uint64_data = vec![1, 4294967295]), "u32[2]", vec![1.0, 4294967295.0]),
        (typed(13, |t| t.uint64_data = vec![1, u64::MAX]), "u64[2]", vec![1.0, 18446744073709551616.0]),
        (tensor_attr("value", tensor("", 12, &[1], vec![255, 255, 255, 255])), "u32[1]", vec![4294967295.0]),
        // 17 to 20 and 24 are floats of 8 bits, whose code is an integer or a byte.
        (typed(17, |t| t.int32_data = vec![0x38, 0xfe]), "f8e4m3fn[2]", vec![1.0, -448.0]),
        (typed(18, |t| t.int32_data = vec![0x38, 0xff]), "f8e4m3fnuz[2]", vec![0.5, -240.0]),
        (tensor_attr("value", tensor("", 19, &[2], vec![0x3c, 0xfc])), "f8e5m2[2]", vec![1.0, f64::NEG_INFINITY]),
        (tensor_attr("value", tensor("", 20, &[2], vec![0x3c, 0xff])), "f8e5m2fnuz[2]", vec![0.5, -57344.0]),
        (tensor_attr("value", tensor("", 24, &[2], vec![127, 130])), "f8e8m0[2]", vec![1.0, 8.0]),
        // 21 to 23 and 25 to 28 share bytes, from the lowest bit on.
        (typed(21, |t| t.int32_data = vec![0xf1]), "u4[2]", vec![1.0, 15.0]),
        (tensor_attr("value", tensor("", 22, &[3], vec![0xf1, 8])), "i4[3]", vec![1.0, -1.0, -8.0]),
        (typed(23, |t| t.int32_data = vec![0xf2]), "f4e2m1[2]", vec![1.0, -6.0]),
        (tensor_attr("value", tensor("", 25, &[4], vec![0b1110_0100])), "u2[4]", vec![0.0, 1.0, 2.0, 3.0]),
        (tensor_attr("value", tensor("", 26, &[4], vec![0b1110_0100])), "i2[4]", vec![0.0, 1.0, -2.0, -1.0]),
        (tensor_attr("value", tensor("", 27, &[2], vec![0x48, 0x0a])), "f6e2m3[2]", vec![1.0, -1.125]),
        (tensor_attr("value", tensor("", 28, &[2], vec![0x0c, 0x0b])), "f6e3m2[2]", vec![1.0, -1.0]),
    ];
    for (attr, expected, values) in attrs {
        let g = graph(17, |b| {
            b.node("Constant", "", "c", vec![attr]);
            b.output("c");
        });
        assert_eq!(ty(&g, "c"), expected);
        close(&run(&g, &[])[0], &values);
    }
}

// ---- opsets ----

#[test]
fn arguments_as_attributes_and_as_operands_are_the_same() {
    // Op, old opset and its attributes, new opset and its operands, type of the result.
    let cases = [
        ("ReduceSum", 11, vec![ints("axes", &[1])], 13, "one", "f32[2, 1, 4]"),
        ("ReduceMax", 13, vec![ints("axes", &[1])], 18, "one", "f32[2, 1, 4]"),
        ("Squeeze", 11, vec![ints("axes", &[-1])], 13, "last", "f32[2, 3]"),
        ("Unsqueeze", 11, vec![ints("axes", &[1])], 13, "one", "f32[2, 1, 3, 4]"),
        (
            "Slice",
            9,
            vec![ints("starts", &[1]), ints("ends", &[9]), ints("axes", &[1])],
            13,
            "one nine one",
            "f32[2, 2, 4]",
        ),
        ("Pad", 10, vec![ints("pads", &[0, 1, 0, 0, 0, 2])], 13, "pads", "f32[2, 4, 6]"),
        ("Clip", 10, vec![float("min", -0.25)], 13, "low", "f32[2, 3, 4]"),
        ("Dropout", 10, vec![float("ratio", 0.5)], 13, "low", "f32[2, 3, 4]"),
    ];
    for (op, old, attrs, new, operands, expected) in cases {
        let dims = if op == "Squeeze" { ["2", "3", "1"] } else { ["2", "3", "4"] };
        let before = graph(old, |b| {
            b.input("x", F32, &dims);
            b.node(op, "x", "y", attrs);
            b.output("y");
        });
        let after = graph(new, |b| {
            b.input("x", F32, &dims);
            b.i64s("one", &[1]);
            b.i64s("nine", &[9]);
            b.i64s("last", &[-1]);
            b.i64s("pads", &[0, 1, 0, 0, 0, 2]);
            b.f32s("low", &[], &[-0.25]);
            b.node(op, &format!("x {operands}"), "y", vec![]);
            b.output("y");
        });
        let shape: Vec<usize> = dims.iter().map(|d| d.parse().expect("a number")).collect();
        assert_eq!(ty(&before, "y"), expected, "{op} {old}");
        assert_eq!(ty(&after, "y"), expected, "{op} {new}");
        let (a, b) = (run(&before, &[numbers(&shape)]), run(&after, &[numbers(&shape)]));
        close(&a[0], &b[0]);
    }
}

#[test]
fn softmax_flattens_before_opset_13() {
    let make = |opset, attrs: Vec<_>| {
        graph(opset, |b| {
            b.input("x", F32, &["n", "2", "3"]);
            b.node("Softmax", "x", "y", attrs);
            b.output("y");
        })
    };
    // Six numbers a row sum to one, against three.
    let old = make(11, vec![]);
    assert_eq!(ty(&old, "y"), "f32[n, 2, 3]");
    let y = &run(&old, &[numbers(&[2, 2, 3])])[0];
    close(&[y[..6].iter().sum(), y[6..].iter().sum()], &[1.0, 1.0]);
    let new = make(13, vec![]);
    assert_eq!(ops(&new), ["softmax"]);
    close(&[run(&new, &[numbers(&[2, 2, 3])])[0][..3].iter().sum()], &[1.0]);
    // The last axis is the same in both.
    assert_eq!(ops(&make(11, vec![int("axis", 2)])), ["softmax"]);
}

// ---- shapes ----

#[test]
fn shape_arithmetic_is_followed() {
    let g = graph(17, |b| {
        b.input("x", F32, &["batch", "seq", "384"]);
        b.node("Shape", "x", "dims", vec![]);
        b.i64s("first", &[0]);
        b.node("Gather", "dims first", "n", vec![]);
        b.i64s("rest", &[-1, 12, 32]);
        b.node("Concat", "n rest", "target", vec![int("axis", 0)]);
        b.node("Reshape", "x target", "y", vec![]);
        b.node("Transpose", "y", "z", vec![ints("perm", &[0, 2, 1, 3])]);
        b.node("Size", "x", "size", vec![]);
        b.output("z");
        b.output("size");
    });
    assert_eq!(ty(&g, "z"), "f32[batch, 12, seq, 32]");
    let y = g.find("y").and_then(|v| g.op(v)).expect("the reshape");
    assert_eq!(*y, Op::reshape([Dim::sym("batch"), Dim::sym("seq"), Dim::int(12), Dim::int(32)]));
}

#[test]
fn extents_computed_in_floats_are_followed() {
    let g = graph(17, |b| {
        b.input("x", F32, &["batch", "6"]);
        b.f32s("nine", &[1], &[9.0]);
        b.node("Sqrt", "nine", "root", vec![]);
        b.node("Cast", "root", "three", vec![int("to", 7)]);
        b.i64s("rest", &[-1]);
        b.node("Concat", "rest three", "target", vec![int("axis", 0)]);
        b.node("Reshape", "x target", "y", vec![]);
        b.output("y");
    });
    assert_eq!(ty(&g, "y"), "f32[2*batch, 3]");
}

#[test]
fn movement() {
    let g = graph(18, |b| {
        b.input("x", F32, &["n", "4", "6"]);
        b.node("Flatten", "x", "flat", vec![int("axis", 2)]);
        b.node("Split", "x", "s0 s1 s2", vec![int("axis", 1), int("num_outputs", 3)]);
        b.i64s("sizes", &[1, 5]);
        b.node("Split", "x sizes", "t0 t1", vec![int("axis", -1)]);
        b.i64s("from", &[-1, 1]);
        b.i64s("to", &[i64::MIN, 3]);
        b.i64s("axes", &[2, 1]);
        b.i64s("steps", &[-2, 1]);
        b.node("Slice", "x from to axes steps", "cut", vec![]);
        b.i64s("pads", &[1, 2]);
        b.i64s("minus", &[-1]);
        b.node("Pad", "x pads _ minus", "padded", vec![text("mode", "edge")]);
        b.i64s("repeats", &[2, 1, 1]);
        b.node("Tile", "x repeats", "tiled", vec![]);
        b.i64s("scalar_axis", &[0]);
        b.f32s("scalar", &[], &[1.0]);
        b.node("Unsqueeze", "scalar scalar_axis", "vector", vec![]);
        for o in ["flat", "s0", "s2", "t1", "cut", "padded", "tiled", "vector"] {
            b.output(o);
        }
    });
    assert_eq!(ty(&g, "flat"), "f32[4*n, 6]");
    assert_eq!(ty(&g, "s0"), "f32[n, 2, 6]");
    // Four entries in three parts: the last has none left.
    assert_eq!(ty(&g, "s2"), "f32[n, 0, 6]");
    assert_eq!(ty(&g, "t1"), "f32[n, 4, 5]");
    assert_eq!(ty(&g, "cut"), "f32[n, 2, 3]");
    assert_eq!(ty(&g, "padded"), "f32[n, 4, 9]");
    assert_eq!(ty(&g, "tiled"), "f32[2*n, 4, 6]");
    assert_eq!(ty(&g, "vector"), "f32[1]");
    // A part that nothing uses is not cut out.
    assert!(g.find("s1").is_none());
    let x = numbers(&[1, 4, 6]);
    let (all, found) = (x.to_f64s(), run(&g, &[x]));
    close(&found[4], &[all[11], all[9], all[7], all[17], all[15], all[13]]);
    close(&found[5][..9], &[all[0], all[0], all[1], all[2], all[3], all[4], all[5], all[5], all[5]]);
}

#[test]
fn a_split_of_an_extent_that_is_not_known() {
    let g = graph(18, |b| {
        b.input("x", F32, &["n"]);
        b.node("Split", "x", "a b", vec![int("num_outputs", 2)]);
        b.output("a");
        b.output("b");
    });
    let bound = g.bind(&[("n".into(), 5)].into()).expect("it binds");
    assert_eq!((ty(&bound, "a").as_str(), ty(&bound, "b").as_str()), ("f32[3]", "f32[2]"));
    let x = numbers(&[5]);
    close(&run(&g, std::slice::from_ref(&x))[1], &x.to_f64s()[3..]);
}

#[test]
fn a_slice_to_the_end_keeps_the_dim() {
    for end in [i64::MAX, i64::from(i32::MAX), 1_000_000_000] {
        let g = graph(17, |b| {
            b.input("x", F32, &["seq", "3"]);
            b.i64s("from", &[1]);
            b.i64s("to", &[end]);
            b.node("Slice", "x from to", "y", vec![]);
            b.output("y");
        });
        assert_eq!(ty(&g, "y"), "f32[seq - 1, 3]");
    }
}

// ---- ops that are passed through ----

#[test]
fn attention_of_opset_23() {
    let g = graph(23, |b| {
        b.input("q", F32, &["batch", "seq", "64"]);
        b.input("k", F32, &["batch", "past", "32"]);
        b.input("m", BOOL, &["seq", "past"]);
        b.node("Attention", "q k k m", "y", vec![int("q_num_heads", 4), int("kv_num_heads", 2)]);
        b.output("y");
    });
    assert_eq!(ty(&g, "y"), "f32[batch, seq, 64]");
    let Some(Op::Attention(a)) = g.op(output(&g, "y")) else { panic!("no attention") };
    assert_eq!((a.heads, a.kv_heads, a.d_head, a.scale.0), (4, 2, 16, 0.25));
    assert!(a.zero_hidden, "a query that sees no key gives 0 in the standard");
}

/// An attribute of the op that makes an output.
fn attr(g: &Graph, name: &str, attribute: &str) -> Option<Attr> {
    g.op(output(g, name)).and_then(|op| op.attrs().get(attribute).cloned())
}

#[test]
fn convolutions() {
    let make = |op: &str, dims: &[&str], kernel: &[i64], attrs: Vec<_>| {
        graph(17, |b| {
            b.input("x", F32, dims);
            b.f32s("w", kernel, &vec![1.0; kernel.iter().product::<i64>() as usize]);
            b.node(op, "x w", "y", attrs);
            b.output("y");
        })
    };
    let g = make("Conv", &["n", "4", "len"], &[6, 2, 3], vec![int("group", 2), ints("pads", &[1, 1])]);
    assert_eq!(ty(&g, "y"), "f32[n, 6, len]");
    assert_eq!(attr(&g, "y", "kernel"), Some(Attr::Dims(vec![Dim::int(3)])));
    let g = make("Conv", &["n", "3", "h", "w"], &[8, 3, 3, 3], vec![text("auto_pad", "SAME_UPPER")]);
    assert_eq!(ty(&g, "y"), "f32[n, 8, h, w]");
    assert_eq!(attr(&g, "y", "pads"), Some(Attr::Dims(vec![Dim::int(1); 4])));
    // Padding that depends on the extent stays as it is, and binds.
    let strided = vec![text("auto_pad", "SAME_LOWER"), ints("strides", &[2])];
    let g = make("Conv", &["1", "1", "len"], &[1, 1, 3], strided);
    assert_eq!(attr(&g, "y", "auto_pad"), Some(Attr::Str("same_lower".into())));
    let bound = g.bind(&[("len".into(), 7)].into()).expect("it binds");
    assert_eq!(ty(&bound, "y"), "f32[1, 1, 4]");
    let g = make("Conv", &["1", "1", "7"], &[1, 1, 3], vec![ints("strides", &[2]), ints("dilations", &[3])]);
    assert_eq!(ty(&g, "y"), "f32[1, 1, 1]");
    let g = make("ConvTranspose", &["n", "4", "h"], &[4, 3, 4], vec![ints("strides", &[2]), ints("pads", &[1, 1])]);
    assert_eq!(ty(&g, "y"), "f32[n, 3, 2*h]");
    let message = refused(17, |b| {
        b.input("x", F32, &["1", "5", "7"]);
        b.f32s("w", &[1, 4, 1], &[1.0; 4]);
        b.node("Conv", "x w", "y", vec![]).name = "c".into();
        b.output("y");
    });
    assert_eq!(message, "node c (Conv): 5 channels in 1 groups with the weight f32[1, 4, 1]");
}

#[test]
fn pools_and_resizes() {
    let g = graph(19, |b| {
        b.input("x", F32, &["n", "3", "h", "7"]);
        b.node(
            "MaxPool",
            "x",
            "max",
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[1, 2]), int("ceil_mode", 1)],
        );
        b.node("AveragePool", "x", "mean", vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1; 4])]);
        b.node("GlobalAveragePool", "x", "all", vec![]);
        b.f32s("scales", &[4], &[1.0, 1.0, 2.0, 1.5]);
        b.node("Resize", "x _ scales", "larger", vec![text("mode", "linear")]);
        b.f32s("roi", &[0], &[]);
        b.i64s("sizes", &[5, 6]);
        b.node("Resize", "x roi _ sizes", "sized", vec![ints("axes", &[2, 3])]);
        for o in ["max", "mean", "all", "larger", "sized"] {
            b.output(o);
        }
    });
    assert_eq!(ty(&g, "max"), "f32[n, 3, h - 1, 4]");
    assert_eq!(ty(&g, "mean"), "f32[n, 3, h, 7]");
    assert_eq!(ty(&g, "all"), "f32[n, 3, 1, 1]");
    assert_eq!(ty(&g, "larger"), "f32[n, 3, 2*h, 10]");
    assert_eq!(ty(&g, "sized"), "f32[n, 3, 5, 6]");
    assert_eq!(attr(&g, "sized", "coordinates"), None, "half_pixel is the default");
}

// ---- structure ----

#[test]
fn the_branch_that_is_taken() {
    let branch = |op: &'static str| {
        move |b: &mut Build| {
            b.i64s("axes", &[0]);
            b.node(op, "x axes", "inner", vec![]);
            b.output("inner");
        }
    };
    let g = graph(13, |b| {
        b.input("x", F32, &["1", "n"]);
        b.node("Shape", "x", "dims", vec![]);
        b.node("Size", "dims", "rank", vec![]);
        b.node("Constant", "", "two", vec![int("value_int", 2)]);
        b.node("Equal", "rank two", "is_matrix", vec![]);
        let attrs = vec![graph_attr("then_branch", branch("Squeeze")), graph_attr("else_branch", branch("Unsqueeze"))];
        b.node("If", "is_matrix", "y", attrs);
        b.output("y");
    });
    assert_eq!(ty(&g, "y"), "f32[n]");
    assert!(g.find("inner").is_some());
}

#[test]
fn local_functions_are_inlined() {
    let mut m: ModelProto = model(17, |b| {
        b.input("x", F32, &["n"]);
        b.node("Scaled", "x", "y", vec![float("factor", 3.0)]).domain = "local".into();
        b.graph.node[0].name = "call".into();
        b.node("Scaled", "y", "z", vec![]).domain = "local".into();
        b.output("z");
    });
    m.functions.push(Default::default());
    let f = &mut m.functions[0];
    (f.name, f.domain) = ("Scaled".into(), "local".into());
    (f.input, f.output) = (vec!["a".into()], vec!["r".into()]);
    f.attribute_proto = vec![float("factor", 2.0)];
    let mut constant = node("Constant", "", "c", vec![float("value_float", 0.0)]);
    constant.attribute[0].ref_attr_name = "factor".into();
    f.node = vec![constant, node("Mul", "a c", "scaled", vec![]), node("Neg", "scaled", "r", vec![])];
    let g = import(&m).expect("it is a good model");
    assert_eq!(ops(&g), ["mul", "neg", "mul", "neg"]);
    assert!(g.find("call.scaled").is_some() && g.find("y").is_some());
    close(&run(&g, &[Tensor::f32s([1], &[1.5]).expect("one")])[0], &[9.0]);
}

// ---- real models ----

#[test]
fn real_models() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fetched");
    let expected = [
        ("minilm", &["output", "463", "onnx::Shape_422", "461"][..], "f32[batch_size, 384]"),
        ("magika", &["target_label"], "f32[unk__214, 214]"),
        ("khmersm", &["emissions"], "f32[batch, seq, 2]"),
        ("vit_s_focus", &["output_importance"], "f32[batch_size, 1, 224, 224]"),
    ];
    for (name, outputs, last) in expected {
        let path = folder.join(format!("{name}.onnx"));
        if !path.exists() {
            assert!(std::env::var_os("CI").is_none(), "{} does not exist: run models/fetch.sh", path.display());
            println!("SKIPPED {name}: {} does not exist (models/fetch.sh gets it)", path.display());
            continue;
        }
        let g = onnx::load(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        g.verify().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(g.name, name);
        assert_eq!(g.outputs().iter().map(|o| &*o.name).collect::<Vec<_>>(), outputs);
        assert_eq!(ty(&g, outputs[outputs.len() - 1]), last);
        // No extent that only a run would tell.
        for (_, n) in g.nodes() {
            for &v in &n.outputs {
                let text = g.ty(v).to_string();
                assert!(!text.contains("[_") && !text.contains(" _"), "{name}: %{} : {text}", g.name(v));
            }
        }
    }
}
