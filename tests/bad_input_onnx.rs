//! The fault of an ONNX file is said, with the name of the thing, and nothing panics.

mod onnx_build;

use bgz_fusion::onnx::{self, ImportError};
use bgz_fusion::random::SplitMix64;
use bytes::Bytes;
use onnx_build::*;
use onnx_ir::ModelProto;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder of its own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bgz-bad-onnx-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("a file for the test");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A model with most of what a file can have in it.
fn small() -> ModelProto {
    model(13, |b| {
        b.input("x", F32, &["batch", "4"]);
        b.f32s("w", &[4, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        b.i64s("shape", &[-1, 2, 1]);
        b.node("MatMul", "x w", "y", vec![]);
        b.node("Softmax", "y", "s", vec![int("axis", -1)]);
        b.node("Reshape", "s shape", "r", vec![]);
        b.node("Shape", "r", "dims", vec![]);
        b.node("ConstantOfShape", "dims", "ones", vec![tensor_attr("value", f32s("", &[1], &[1.0]))]);
        b.node("Add", "r ones", "z", vec![]);
        b.node("Conv", "z k", "c", vec![ints("kernel_shape", &[1]), text("auto_pad", "SAME_UPPER")]);
        b.f32s("k", &[3, 2, 1], &[0.5; 6]);
        b.node("Slice", "c from to axes", "out", vec![]);
        b.i64s("from", &[0]);
        b.i64s("to", &[2]);
        b.i64s("axes", &[1]);
        b.output("out");
    })
}

/// `weight` lies in another file.
fn external(location: &str, offset: &str, length: Option<&str>) -> ModelProto {
    let mut m = model(13, |b| {
        b.input("x", F32, &["2"]);
        b.f32s("weight", &[2], &[]);
        b.node("Add", "x weight", "y", vec![]);
        b.output("y");
    });
    let t = &mut m.graph.as_mut().expect("it has a graph").initializer[0];
    let mut entries = vec![("location", location), ("offset", offset)];
    entries.extend(length.map(|length| ("length", length)));
    lies_outside(t, &entries);
    m
}

#[test]
fn a_good_model_is_taken() {
    let g = import(&small()).expect("it is a good model");
    assert_eq!(ty(&g, "out"), "f32[batch, 2, 1]");
}

#[test]
fn no_file() {
    let e = onnx::load(Path::new("/nowhere/at-all.onnx")).expect_err("there is no such file");
    assert_eq!(e.to_string(), "cannot read /nowhere/at-all.onnx");
    assert!(std::error::Error::source(&e).is_some());
}

#[test]
fn an_empty_file() {
    let folder = Folder::new();
    let path = folder.write("empty.onnx", b"");
    assert_eq!(onnx::load(&path).expect_err("").to_string(), "not an ONNX model: there is no graph in it");
}

#[test]
fn truncated() {
    let folder = Folder::new();
    let all = bytes(&small());
    let path = folder.write("half.onnx", &all[..all.len() / 2]);
    let e = onnx::load(&path).expect_err("half of it is missing");
    assert!(matches!(e, ImportError::Format(_)), "{e}");
    // Nothing that is cut off anywhere panics.
    for n in 0..all.len() {
        let _ = onnx::from_bytes(all.slice(..n));
    }
}

#[test]
fn flipped_bits() {
    let all = bytes(&small());
    for at in 0..all.len() {
        for bit in 0..8 {
            let mut damaged = all.to_vec();
            damaged[at] ^= 1 << bit;
            let _ = onnx::from_bytes(damaged.into());
        }
        for value in [0, 0x7f, 0x80, 0xff] {
            let mut damaged = all.to_vec();
            damaged[at] = value;
            let _ = onnx::from_bytes(damaged.into());
        }
    }
}

#[test]
fn a_damaged_real_model() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/model/char_lm.onnx");
    let Ok(all) = fs::read(&path) else {
        println!("SKIPPED: {} does not exist", path.display());
        return;
    };
    let mut random = SplitMix64::new(7);
    for _ in 0..150 {
        let mut damaged = all.clone();
        // Most of the file is weights: the structure is at its beginning and at its end.
        for _ in 0..1 + random.below(4) {
            let near = random.below(damaged.len().min(20_000));
            let at = if random.below(2) == 0 { near } else { damaged.len() - 1 - near };
            damaged[at] = random.below(256) as u8;
        }
        if random.below(4) == 0 {
            damaged.truncate(random.below(all.len()));
        }
        let _ = onnx::from_bytes(damaged.into());
    }
}

#[test]
fn random_bytes() {
    let mut random = SplitMix64::new(1);
    for _ in 0..2000 {
        let noise: Vec<u8> = (0..random.below(300)).map(|_| random.below(256) as u8).collect();
        let e = onnx::from_bytes(Bytes::from(noise)).expect_err("noise is no model");
        assert!(matches!(e, ImportError::Format(_)), "{e}");
    }
}

#[test]
fn unknown_ops_are_listed_together() {
    let message = refused(17, |b| {
        b.input("x", F32, &["2"]);
        b.node("Frobnicate", "x", "y", vec![]).name = "first".into();
        b.node("Add", "y y", "z", vec![]);
        let n = b.node("Grommet", "z", "w", vec![]);
        n.domain = "com.example".into();
        b.node("Frobnicate", "w", "u", vec![]);
        b.node("QAttention", "u", "v", vec![]).domain = "com.microsoft".into();
        b.output("v");
    });
    let lines = [
        "4 nodes cannot be run:",
        "  Frobnicate x2, first (node first, opset 17)",
        "  Grommet of domain com.example (node w)",
        "  QAttention of domain com.microsoft (node v)",
        "ONNX Runtime's optimiser makes nodes of com.microsoft: save the model without it, or with its level \"basic\"",
        "docs/onnx-support.md lists the ops that run",
    ];
    assert_eq!(message, lines.join("\n"));
}

#[test]
fn external_file_missing() {
    let folder = Folder::new();
    let path = folder.write("m.onnx", &bytes(&external("weights.bin", "0", Some("8"))));
    let message = onnx::load(&path).expect_err("the weights are missing").to_string();
    assert!(message.starts_with("tensor weight: external data in \"weights.bin\": "), "{message}");
}

#[cfg(unix)]
#[test]
fn external_data_in_a_pipe_is_not_waited_for() {
    let folder = Folder::new();
    let path = folder.write("m.onnx", &bytes(&external("weights.bin", "0", Some("8"))));
    let made = std::process::Command::new("mkfifo").arg(path.with_file_name("weights.bin")).status();
    assert!(made.expect("mkfifo runs").success());
    let message = onnx::load(&path).expect_err("it is no file").to_string();
    assert_eq!(message, "tensor weight: external data in \"weights.bin\": it is no file");
}

#[test]
fn external_file_too_short() {
    let folder = Folder::new();
    folder.write("weights.bin", &[0; 11]);
    let path = folder.write("m.onnx", &bytes(&external("weights.bin", "4", None)));
    assert_eq!(
        onnx::load(&path).expect_err("a byte is missing").to_string(),
        "tensor weight: external data in \"weights.bin\": 8 bytes from 4 are beyond the 11 bytes of the file"
    );
    for offset in ["18446744073709551615", "-1", "x"] {
        let path = folder.write("m.onnx", &bytes(&external("weights.bin", offset, None)));
        assert!(onnx::load(&path).is_err(), "{offset}");
    }
    let path = folder.write("m.onnx", &bytes(&external("weights.bin", "0", Some("4"))));
    assert_eq!(
        onnx::load(&path).expect_err("half the length").to_string(),
        "tensor weight: external data in \"weights.bin\": 4 bytes where the shape needs 8"
    );
}

#[test]
fn external_file_outside_of_the_folder() {
    let folder = Folder::new();
    let secret = folder.write("secret", &[0; 8]);
    fs::create_dir(folder.0.join("model")).expect("a folder");
    for location in ["../secret", "a/../../secret", "..\\secret", &secret.display().to_string()] {
        let path = folder.write("model/m.onnx", &bytes(&external(location, "0", None)));
        let message = onnx::load(&path).expect_err("it leaves the folder").to_string();
        assert!(message.ends_with("the path leaves the folder of the model"), "{message}");
    }
}

#[test]
fn external_file_without_a_file() {
    let message = import(&external("weights.bin", "0", None)).expect_err("bytes have no folder").to_string();
    assert_eq!(
        message,
        "tensor weight: external data in \"weights.bin\": a model from memory cannot have external data; \
         load it from its file"
    );
}

/// The message for an initialiser `w` that is used.
fn bad_tensor(t: onnx_ir::TensorProto) -> String {
    refused(13, |b| {
        b.input("x", F32, &["2"]);
        b.graph.initializer.push(t);
        b.node("Identity", "w", "y", vec![]);
        b.output("y");
    })
}

#[test]
fn wrong_length_of_raw_data() {
    assert_eq!(
        bad_tensor(tensor("w", F32, &[2, 3], vec![0; 20])),
        "tensor w: 20 bytes of data where the shape [2, 3] needs 24"
    );
    let mut t = tensor("w", F32, &[3], vec![]);
    t.float_data = vec![1.0, 2.0];
    assert_eq!(bad_tensor(t), "tensor w: 2 elements of data where the shape [3] needs 3");
    // 22 is INT4, two of which share a byte.
    assert_eq!(bad_tensor(tensor("w", 22, &[5], vec![0; 5])), "tensor w: 5 bytes of data where the shape [5] needs 3");
    let mut t = tensor("w", 22, &[5], vec![]);
    t.int32_data = vec![1; 5];
    assert_eq!(bad_tensor(t), "tensor w: 5 bytes of data where the shape [5] needs 3");
}

#[test]
fn sizes_beyond_memory() {
    for dims in [&[i64::MAX, i64::MAX][..], &[1 << 40, 1 << 40], &[i64::MAX], &[0, i64::MAX, 3]] {
        let message = bad_tensor(tensor("w", F32, dims, vec![]));
        assert!(message.starts_with("tensor w: ") && message.contains("memory can hold"), "{message}");
    }
}

#[test]
fn negative_dims() {
    assert_eq!(bad_tensor(f32s("w", &[2, -3], &[])), "tensor w: -3 is not an extent, in [2, -3]");
    let message = refused(13, |b| {
        b.input("x", F32, &["2", "-1"]);
        b.node("Neg", "x", "y", vec![]);
        b.output("y");
    });
    assert_eq!(message, "input x: -1 is not an extent (axis 1)");
}

#[test]
fn dtypes_that_are_not_ours() {
    assert_eq!(bad_tensor(tensor("w", STRING, &[0], vec![])), "tensor w: its element type is not supported: string");
    assert_eq!(
        bad_tensor(tensor("w", 99, &[0], vec![])),
        "tensor w: its element type is not supported: unknown element type 99"
    );
    // 12 is UINT32, whose numbers stand in a list of longer ones.
    let mut too_large = tensor("w", 12, &[1], vec![]);
    too_large.uint64_data = vec![1 << 32];
    assert_eq!(bad_tensor(too_large), "tensor w: a number does not fit its dtype");
    let message = refused(13, |b| {
        b.input("x", STRING, &["2"]);
        b.output("x");
    });
    assert_eq!(message, "input x: its element type is not supported: string");
}

#[test]
fn a_value_that_nothing_makes() {
    let message = refused(13, |b| {
        b.input("x", F32, &["2"]);
        b.node("Add", "x ghost", "y", vec![]).name = "sum".into();
        b.output("y");
    });
    assert_eq!(message, "node sum uses the value ghost, which nothing makes");
    let message = refused(13, |b| {
        b.input("x", F32, &["2"]);
        b.output("ghost");
    });
    assert_eq!(message, "the list of outputs uses the value ghost, which nothing makes");
}

#[test]
fn an_operand_that_is_left_out() {
    let message = refused(13, |b| {
        b.input("x", F32, &["2"]);
        b.node("Add", "x", "y", vec![]);
        b.output("y");
    });
    assert_eq!(message, "node y (Add): operand 1 is missing");
}

#[test]
fn duplicate_names() {
    let duplicates: [fn(&mut Build); 5] = [
        |b| b.add(node("Neg", "x", "y", vec![])),
        |b| b.add(node("Split", "x", "y y", vec![])),
        |b| b.input("y", F32, &["2"]),
        |b| b.f32s("y", &[1], &[1.0]),
        |b| {
            b.f32s("w", &[1], &[1.0]);
            b.f32s("w", &[1], &[2.0]);
        },
    ];
    for (i, extra) in duplicates.into_iter().enumerate() {
        let message = refused(13, |b| {
            b.input("x", F32, &["2"]);
            b.node("Exp", "x", if i == 4 { "z" } else { "y" }, vec![]);
            extra(b);
            b.output("x");
        });
        assert_eq!(message, format!("the value {} is defined twice", if i == 4 { "w" } else { "y" }));
    }
    let message = refused(13, |b| {
        b.input("x", F32, &["2"]);
        b.input("x", F32, &["2"]);
        b.output("x");
    });
    assert_eq!(message, "the value x is defined twice");
}

#[test]
fn cycles() {
    let message = refused(13, |b| {
        b.input("x", F32, &["2"]);
        b.node("Neg", "a", "before", vec![]);
        b.node("Add", "x c", "a", vec![]);
        b.node("Neg", "a", "b", vec![]);
        b.node("Exp", "b", "c", vec![]);
        b.output("c");
    });
    assert!(message.ends_with("depends on itself: the graph has a cycle"), "{message}");
    let name = message.split(' ').nth(2).expect("a name");
    assert!(["a", "b", "c"].contains(&name), "{message}");
}

#[test]
fn attributes_that_are_not_understood() {
    let one = |opset, op: &str, a: onnx_ir::AttributeProto| {
        refused(opset, |b| {
            b.input("x", F32, &["2", "3"]);
            b.node(op, "x", "y", vec![a]).name = "n".into();
            b.output("y");
        })
    };
    assert_eq!(one(13, "Relu", int("slope", 1)), "node n (Relu): attribute slope is not understood");
    assert_eq!(one(13, "Softmax", float("axis", 1.0)), "node n (Softmax): attribute axis is FLOAT, not INT");
    assert_eq!(one(13, "Softmax", int("axis", 2)), "node n (Softmax): axis 2 of a tensor of rank 2");
    // From opset 13 on the axes are an operand.
    assert_eq!(one(13, "ReduceSum", ints("axes", &[0])), "node n (ReduceSum): attribute axes is not understood");
}

#[test]
fn types_that_do_not_fit() {
    let message = refused(13, |b| {
        b.input("x", F32, &["2", "3"]);
        b.input("y", F32, &["2", "3"]);
        b.node("MatMul", "x y", "z", vec![]);
        b.output("z");
    });
    assert_eq!(message, "node z (MatMul): inner dims differ: [2, 3] and [2, 3]");
    let message = refused(13, |b| {
        b.input("x", F32, &["2"]);
        b.input("n", I32, &["2"]);
        b.node("Add", "x n", "z", vec![]);
        b.output("z");
    });
    assert_eq!(message, "node z (Add): operands of f32 and i32");
}

#[test]
fn opsets_that_are_not_known() {
    let with = |v| refused(v, |b| b.add(node("Neg", "x", "y", vec![])));
    assert_eq!(with(6), "not an ONNX model: opset 6 is not supported, 7 to 28 are");
    assert_eq!(with(99), "not an ONNX model: opset 99 is not supported, 7 to 28 are");
    let mut m = small();
    m.opset_import.clear();
    let message = import(&m).expect_err("no opset").to_string();
    assert_eq!(message, "not an ONNX model: it does not say which opset it uses");
}

#[test]
fn functions_that_call_each_other_forever() {
    let function = |m: &mut ModelProto, name: &str, calls: &[&str]| {
        m.functions.push(Default::default());
        let f = m.functions.last_mut().expect("just pushed");
        f.name = name.into();
        f.domain = "local".into();
        f.input = vec!["a".into()];
        f.output = vec![format!("v{}", calls.len())];
        for (i, op) in calls.iter().enumerate() {
            let from = if i == 0 { "a".into() } else { format!("v{i}") };
            let mut n = node(op, &from, &format!("v{}", i + 1), vec![]);
            n.domain = if *op == "Neg" { "" } else { "local" }.into();
            f.node.push(n);
        }
    };
    let start = || {
        model(17, |b| {
            b.input("x", F32, &["2"]);
            b.node("F0", "x", "y", vec![]).domain = "local".into();
            b.output("y");
        })
    };
    let mut m = start();
    function(&mut m, "F0", &["F0"]);
    let message = import(&m).expect_err("it never ends").to_string();
    assert!(message.ends_with("its function calls itself, or too many others within each other"), "{message}");
    // Two calls each, 40 deep.
    let mut m = start();
    for i in 0..40 {
        let next = if i == 39 { "Neg".to_owned() } else { format!("F{}", i + 1) };
        function(&mut m, &format!("F{i}"), &[&next, &next]);
    }
    let message = import(&m).expect_err("it is too much").to_string();
    assert_eq!(message, "not an ONNX model: there are more than 262144 nodes in it");
}

#[test]
fn shape_arithmetic_that_grows_without_end() {
    let squares = |b: &mut Build| {
        b.input("x", F32, &["n", "m"]);
        b.node("Shape", "x", "dims", vec![]);
        b.i64s("axis", &[0]);
        b.node("ReduceSum", "dims axis", "v0", vec![]);
        for i in 0..40 {
            b.node("Mul", &format!("v{i} v{i}"), &format!("v{}", i + 1), vec![]);
        }
        b.node("Expand", "x v40", "y", vec![]);
        b.output("y");
    };
    // Either is right, as long as there is an answer.
    let _ = import(&model(17, squares));
}

/// Every extent is a sum of two terms, so that the number of elements has more of them than memory has bytes.
#[test]
fn products_of_many_sums() {
    const RANK: usize = 32;
    let padded = |op: &str, operands: &str, attrs: Vec<onnx_ir::AttributeProto>| {
        import(&model(12, |b| {
            let dims: Vec<String> = (0..RANK).map(|i| format!("d{i}")).collect();
            b.input("x", F32, &dims.iter().map(String::as_str).collect::<Vec<_>>());
            b.i64s("pads", &[1; 2 * RANK]);
            b.i64s("all", &[-1]);
            b.f32s("one", &[1], &[1.0]);
            b.node("Pad", "x pads", "p", vec![]);
            b.node(op, operands, "y", attrs);
            b.output("y");
        }))
    };
    let one_axis = padded("Reshape", "p all", vec![]).expect("it is an extent of its own");
    assert_eq!(ty(&one_axis, "y"), "f32[_0]");
    let letters: String = ('a'..='z').chain('A'..='Z').take(RANK).collect();
    for (op, operands, attrs) in [
        ("Flatten", "p", vec![int("axis", 0)]),
        ("Size", "p", vec![]),
        ("Softmax", "p", vec![int("axis", 0)]),
        ("InstanceNormalization", "p one one", vec![]),
        ("GroupNormalization", "p one one", vec![int("num_groups", 1)]),
        ("Einsum", "p one", vec![text("equation", &format!("{letters},Z->{letters}Z"))]),
    ] {
        let message = padded(op, operands, attrs).expect_err("nothing could be done with it").to_string();
        assert!(message.ends_with("a product of its extents has too many terms"), "{message}");
    }
}

/// Work done for every pair of axes, or of operands, would take for ever.
#[test]
fn more_axes_than_any_tensor_has() {
    let many = ["1"; 129];
    let message = refused(13, |b| {
        b.input("x", F32, &many);
        b.output("x");
    });
    assert_eq!(message, "%x: f32 with 129 axes is not a size that can be held");
    let message = refused(13, |b| {
        b.f32s("w", &[1; 129], &[1.0]);
        b.node("Neg", "w", "y", vec![]);
        b.output("y");
    });
    assert_eq!(message, "tensor w: it has 129 axes, more than 128");
    let message = refused(13, |b| {
        b.input("x", F32, &["n"]);
        b.i64s("axes", &(0..43).collect::<Vec<_>>());
        for (from, to) in [("x", "a"), ("a", "b"), ("b", "c")] {
            b.node("Unsqueeze", &format!("{from} axes"), to, vec![]);
        }
        b.output("c");
    });
    assert_eq!(message, "node c (Unsqueeze): f32 with 130 axes is not a size that can be held");
}

#[test]
fn many_results_and_many_operands() {
    const MANY: usize = 10_000;
    let names: Vec<String> = (0..MANY).map(|i| format!("v{i}")).collect();
    // Each part has a name of its own, of what is one name to begin with.
    let parts = graph(13, |b| {
        b.input("x", F32, &["n", "2"]);
        b.node("Split", "x", &names.join(" "), vec![]);
        b.output(&names[MANY - 1]);
    });
    assert_eq!(ty(&parts, &names[MANY - 1]), "f32[_0, 2]");
    let product = graph(13, |b| {
        b.input("x", F32, &["n", "2"]);
        let equation = format!("{}->ij", vec!["ij"; MANY].join(","));
        b.node("Einsum", &vec!["x"; MANY].join(" "), "y", vec![text("equation", &equation)]);
        b.output("y");
    });
    assert_eq!(ty(&product, "y"), "f32[n, 2]");
}

// ---- sequences and optionals ----

/// An input that is no tensor: a field of TypeProto (onnx.proto) of this number.
fn input_of_kind(b: &mut Build, name: &str, kind: u8) {
    use onnx_ir::Message;
    b.input(name, F32, &[]);
    let info = b.graph.input.last_mut().expect("just pushed");
    let ty = info.type_.mut_or_insert_default();
    ty.clear();
    ty.merge_from_bytes(&[kind << 3 | 2, 0]).expect("a field");
}

#[test]
fn sequences_and_optionals_as_inputs() {
    let message = |kind| {
        refused(17, |b| {
            input_of_kind(b, "s", kind);
            b.node("SequenceLength", "s", "n", vec![]);
            b.output("n");
        })
    };
    let sequence = "input s: it is a sequence, of which the file does not say how long it is: export the model with an input \
                    for each of its tensors";
    assert_eq!(message(4), sequence);
    let optional = "input s: it is an optional, of which the file does not say whether it has a value: export the model with \
                    a tensor in its place, or without it";
    assert_eq!(message(9), optional);
    assert_eq!(message(5), "input s: only tensors are supported");
}

/// The error of a node of a sequence `s` of tensors `x` of extent 2 and `y` of 3; `p` is an integer that is an input.
fn of_a_pair(op: &str, operands: &str, attrs: Vec<onnx_ir::AttributeProto>) -> String {
    refused(17, |b| {
        b.input("x", F32, &["2"]);
        b.input("y", F32, &["3"]);
        b.input("z", I64, &["2"]);
        b.input("p", I64, &[]);
        b.i64s("two", &[2]);
        b.i64s("three", &[3]);
        b.i64s("below", &[-3]);
        b.i64s("pair", &[0, 1]);
        b.node("SequenceConstruct", "x y", "s", vec![]);
        b.node("SequenceEmpty", "", "none", vec![]);
        b.node("Optional", "", "nothing", vec![]);
        b.node(op, operands, "r", attrs).name = "n".into();
        b.output("r");
    })
}

#[test]
fn positions_in_sequences() {
    let of = |op: &str, operands| of_a_pair(op, operands, vec![]);
    assert_eq!(of("SequenceAt", "s two"), "node n (SequenceAt): position 2 of a sequence of 2 tensors");
    assert_eq!(of("SequenceAt", "s below"), "node n (SequenceAt): position -3 of a sequence of 2 tensors");
    assert_eq!(of("SequenceAt", "s pair"), "node n (SequenceAt): a position of 2 numbers");
    let differ =
        "node n (SequenceAt): the position is not known, and the tensors of the sequence differ: f32[2] and f32[3]";
    assert_eq!(of("SequenceAt", "s p"), differ);
    assert_eq!(of("SequenceErase", "s two"), "node n (SequenceErase): position 2 of a sequence of 2 tensors");
    assert_eq!(of("SequenceErase", "s p"), "node n (SequenceErase): the position of what it erases must be constant");
    assert_eq!(of("SequenceErase", "none"), "node n (SequenceErase): it erases a tensor of an empty sequence");
    assert_eq!(of("SequenceInsert", "s x three"), "node n (SequenceInsert): position 3 of a sequence of 2 tensors");
    let unknown = "node n (SequenceInsert): the position of what it inserts must be constant";
    assert_eq!(of("SequenceInsert", "s x p"), unknown);
    assert_eq!(of("SequenceInsert", "s z"), "node n (SequenceInsert): tensors of f32 and i64 in one sequence");
}

#[test]
fn what_is_no_sequence_and_no_tensor() {
    let of = |op: &str, operands| of_a_pair(op, operands, vec![]);
    assert_eq!(of("SequenceLength", "x"), "node n (SequenceLength): operand 0 is a tensor, not a sequence");
    assert_eq!(of("Neg", "s"), "node n (Neg): operand s is a sequence of 2 tensors, not a tensor");
    assert_eq!(of("Neg", "nothing"), "node n (Neg): operand nothing is an optional without a value, not a tensor");
    let none = "node n (OptionalGetElement): operand 0 is an optional without a value";
    assert_eq!(of("OptionalGetElement", "nothing"), none);
    let joined = |operands, attrs| of_a_pair("ConcatFromSequence", operands, attrs);
    let axis = || vec![int("axis", 0)];
    assert_eq!(joined("s", vec![]), "node n (ConcatFromSequence): attribute axis is missing");
    assert_eq!(joined("none", axis()), "node n (ConcatFromSequence): there is no tensor in an empty sequence");
    assert_eq!(joined("s", vec![int("axis", 1)]), "node n (ConcatFromSequence): axis 1 of a tensor of rank 1");
}

#[test]
fn splits_into_sequences() {
    let of = |operands: &str| {
        refused(17, |b| {
            b.input("x", F32, &["n", "3"]);
            b.input("p", I64, &[]);
            b.input("v", I64, &["k"]);
            b.i64s("sizes", &[1, 1]);
            for (name, size) in [("two", 2), ("none", 0)] {
                b.node("Constant", "", name, vec![int("value_int", size)]);
            }
            let mut operands = operands.split(',');
            let attrs = operands.next_back().map(|a| int("axis", a.parse().expect("a number")));
            b.node("SplitToSequence", operands.next().expect("operands"), "r", attrs.into_iter().collect()).name =
                "n".into();
            b.output("r");
        })
    };
    let node = |message: &str| format!("node n (SplitToSequence): {message}");
    assert_eq!(of("x two,0"), node("it is not known how many parts of 2 the extent n has"));
    assert_eq!(of("x p,1"), node("the size of its parts must be constant"));
    assert_eq!(of("x none,1"), node("parts of 0"));
    assert_eq!(of("x sizes,1"), node("its sizes add up to 2, the extent is 3"));
    assert_eq!(of("x v,1"), node("its sizes are i64[k]: how many there are must be known"));
    assert_eq!(of("x,2"), node("axis 2 of a tensor of rank 2"));
    let output = "output r: it is a sequence of a length that is not known before the model runs: join its tensors to one \
                  with ConcatFromSequence";
    assert_eq!(of("x,0"), output);
}

#[test]
fn branches_with_sequences_of_different_lengths() {
    let message = refused(17, |b| {
        b.input("c", BOOL, &[]);
        b.input("x", F32, &["2"]);
        let list = |operands: &'static str| {
            graph_attr("then_branch", move |b: &mut Build| {
                b.node("SequenceConstruct", operands, "s", vec![]);
                b.output("s");
            })
        };
        let mut other = list("x x");
        other.name = "else_branch".into();
        b.node("If", "c", "r", vec![list("x"), other]);
        b.output("r");
    });
    let want =
        "node r (If): its result r is a sequence of one tensor in one branch and a sequence of 2 tensors in the other";
    assert_eq!(message, want);
}

#[test]
fn loops_with_sequences() {
    let of = |operands: &str, inserted: &str| {
        refused(17, |b| {
            b.input("x", F32, &["2"]);
            b.input("n", I64, &[]);
            b.i64s("first", &[0]);
            b.node("SequenceConstruct", "x", "one", vec![]);
            b.node("SequenceEmpty", "", "none", vec![]);
            let body = |b: &mut Build| {
                ["i", "going", "s"].iter().for_each(|n| b.input(n, I64, &[]));
                b.node("SequenceInsert", inserted, "t", vec![]).name = "inner".into();
                ["going", "t"].iter().for_each(|o| b.output(o));
            };
            b.node("Loop", operands, "r", vec![graph_attr("body", body)]);
            b.output("r");
        })
    };
    let longer = of("n _ one", "s x");
    let want = "node r (Loop): it carries a sequence of one tensor, and its body gives a sequence of 2 tensors (t): a sequence \
                must keep its length, or be empty at first and get one tensor at its end in each iteration, unless the loop \
                has a constant number of at most 64 iterations";
    assert_eq!(longer, want);
    let front = of("n _ none", "s x first");
    let want = "node inner (SequenceInsert): its sequence grows in a loop, where only SequenceInsert at the end is supported, \
                unless the loop has a constant number of at most 64 iterations";
    assert_eq!(front, want);
}
