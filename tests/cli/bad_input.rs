//! Whatever is wrong with what `bgz` is given: an error that names it and exit
//! code 1, never a panic. (`bgz()` asserts the latter of every run.)

#[path = "../support/bgz.rs"]
mod bgz;

use bgz::{Folder, bgz, fails};
use onnx_ir::{GraphProto, Message, ModelProto, NodeProto, TensorProto, ValueInfoProto};

const DEFAULT: &[u8] = include_bytes!("../../cli/model/char_lm.onnx");

/// TensorProto.DataType of f32.
const F32: i32 = 1;

fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> NodeProto {
    let mut node = NodeProto::new();
    node.op_type = op.into();
    node.name = name.into();
    node.input = inputs.iter().map(|s| s.to_string()).collect();
    node.output = vec![output.into()];
    node
}

/// A declaration of f32; extents that are no numbers are named dims.
fn value(name: &str, dims: &[&str]) -> ValueInfoProto {
    let mut info = ValueInfoProto::new();
    info.name = name.into();
    let tensor = info.type_.mut_or_insert_default().mut_tensor_type();
    tensor.elem_type = F32;
    let shape = tensor.shape.mut_or_insert_default();
    for dim in dims {
        shape.dim.push(Default::default());
        let last = shape.dim.last_mut().expect("just pushed");
        match dim.parse() {
            Ok(n) => last.set_dim_value(n),
            Err(_) => last.set_dim_param(dim.to_string()),
        }
    }
    info
}

fn model(
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    inputs: Vec<ValueInfoProto>,
    output: ValueInfoProto,
) -> Vec<u8> {
    let mut graph = GraphProto::new();
    graph.name = "g".into();
    graph.node = nodes;
    graph.initializer = weights;
    graph.input = inputs;
    graph.output = vec![output];
    let mut model = ModelProto::new();
    model.ir_version = 8;
    model.opset_import.push(Default::default());
    model.opset_import.last_mut().expect("just pushed").version = 17;
    model.graph = Some(graph).into();
    model.write_to_bytes().expect("a model")
}

/// `y = a + b`, both `[batch, seq]`.
fn add() -> Vec<u8> {
    let dims = ["batch", "seq"];
    model(
        vec![node("Add", "sum", &["a", "b"], "y")],
        vec![],
        vec![value("a", &dims), value("b", &dims)],
        value("y", &dims),
    )
}

#[test]
fn a_missing_file() {
    let run = fails(["dump", "no/such/model.onnx"], &["cannot import no/such/model.onnx", "No such file"]);
    assert_eq!(run.lines().count(), 1, "{run}");
    fails(["dump", "no/such/graph.bgz"], &["cannot read no/such/graph.bgz", "No such file"]);
    fails(["dump", env!("CARGO_MANIFEST_DIR")], &["cannot import"]);
}

#[test]
fn a_truncated_file() {
    let folder = Folder::new("truncated");
    for cut in [0, 1, 7, 100, 5_000, DEFAULT.len() / 2, DEFAULT.len() - 1] {
        let file = folder.file("truncated.onnx", &DEFAULT[..cut]);
        fails(["run", &file, "--shape", "seq=1"], &["cannot import", "truncated.onnx"]);
    }
}

#[test]
fn random_bytes() {
    let folder = Folder::new("random");
    let mut state = 1u64;
    for len in [1, 16, 1000, 100_000] {
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 56) as u8
            })
            .collect();
        let file = folder.file("random.onnx", &bytes);
        fails(["dump", &file], &["cannot import", "random.onnx"]);
        let text = folder.file("random.bgz", &bytes);
        fails(["dump", &text], &["cannot read", "random.bgz"]);
    }
}

#[test]
fn a_damaged_file() {
    let folder = Folder::new("damaged");
    let mut state = 7u64;
    for _ in 0..40 {
        let mut bytes = add();
        for _ in 0..3 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        let file = folder.file("damaged.onnx", &bytes);
        // A change of a name is no damage.
        let run = bgz(["run", &file, "--shape", "a=2x3,b=2x3", "--repeat", "1"]);
        assert!(matches!(run.code, Some(0 | 1)), "{:?} {}", run.code, run.err);
    }
}

#[test]
fn an_unknown_op() {
    let folder = Folder::new("unknown_op");
    let nodes = vec![
        node("Frobnicate", "first", &["x"], "y"),
        node("Relu", "between", &["y"], "z"),
        node("Defenestrate", "second", &["z"], "w"),
    ];
    let bytes = model(nodes, vec![], vec![value("x", &["n"])], value("w", &["n"]));
    let file = folder.file("unknown.onnx", bytes);
    let err = fails(["dump", &file], &["unknown.onnx", "Frobnicate", "first", "Defenestrate", "second"]);
    assert!(!err.contains("between"), "{err}");
}

#[test]
fn a_missing_external_file() {
    let folder = Folder::new("external");
    let mut weight = TensorProto::new();
    weight.name = "weight".into();
    weight.data_type = F32;
    weight.dims = vec![4];
    for (key, value) in [("location", "gone.bin"), ("offset", "0"), ("length", "16")] {
        weight.external_data.push(Default::default());
        let entry = weight.external_data.last_mut().expect("just pushed");
        (entry.key, entry.value) = (key.into(), value.into());
    }
    // data_location (field 14) = EXTERNAL, whose type onnx-ir keeps to itself.
    weight.merge_from_bytes(&[14 << 3, 1]).expect("a field");
    let nodes = vec![node("Add", "sum", &["x", "weight"], "y")];
    let bytes = model(nodes, vec![weight], vec![value("x", &["4"])], value("y", &["4"]));
    let file = folder.file("external.onnx", bytes);
    fails(["run", &file], &["external.onnx", "weight", "gone.bin"]);
}

#[test]
fn a_wrong_input_name() {
    let folder = Folder::new("wrong_name");
    let inputs = folder.npz("in.npz", |npz| npz.add("idz", &[1, 2], &[1i64, 2]));
    fails(["run", "@default", "--inputs", &inputs], &["idz", "ids"]);
    let inputs = folder.npz("in.npz", |npz| {
        npz.add("ids", &[1, 2], &[1i64, 2]);
        npz.add("more", &[1], &[1i64]);
    });
    fails(["run", "@default", "--inputs", &inputs], &["more"]);
    let inputs = folder.npz("in.npz", |_| ());
    fails(["run", "@default", "--inputs", &inputs], &["ids"]);
    fails(["run", "@default", "--shape", "idz=1x2"], &["idz", "ids: i64[batch, seq]"]);
    fails(["run", "@default", "--shape", "batch=1"], &["ids", "i64[batch, seq]"]);
}

#[test]
fn a_wrong_rank() {
    let folder = Folder::new("wrong_rank");
    let inputs = folder.npz("in.npz", |npz| npz.add("ids", &[1, 2, 1], &[1i64, 2]));
    for extra in [None, Some("--no-rewrite")] {
        let args = ["run", "@default", "--inputs", &inputs].into_iter().chain(extra);
        fails(args, &["ids", "i64[1, 2, 1]", "i64[batch, seq]"]);
    }
}

#[test]
fn a_wrong_dtype() {
    let folder = Folder::new("wrong_dtype");
    let int32 = folder.npz("int32.npz", |npz| npz.add("ids", &[1, 2], &[1i32, 2]));
    let float = folder.npz("float.npz", |npz| npz.add("ids", &[1, 2], &[1f32, 2.0]));
    let unsigned = folder.npz("unsigned.npz", |npz| npz.add("ids", &[1, 2], &[1u64, 2]));
    for extra in [None, Some("--no-rewrite")] {
        let args = |file| ["run", "@default", "--inputs", file].into_iter().chain(extra);
        fails(args(&int32), &["ids", "i32[1, 2]", "i64[batch, seq]"]);
        fails(args(&float), &["ids", "f32[1, 2]", "i64[batch, seq]"]);
        fails(args(&unsigned), &["ids", "u64[1, 2]", "i64[batch, seq]"]);
    }
}

#[test]
fn a_wrong_shape() {
    let folder = Folder::new("wrong_shape");
    let file = folder.file("add.onnx", add());
    for extra in [None, Some("--no-rewrite")] {
        let args = ["run", &file, "--shape", "a=2x3,b=2x4"].into_iter().chain(extra);
        fails(args, &["\"b\"", "f32[2, 4]", "seq is 3"]);
    }
    // Longer than the table of positions.
    fails(["run", "@default", "--shape", "batch=1,seq=1000"], &["1000"]);
    fails(["run", "@default", "--shape", "batch=1,seq=9223372036854775807"], &["ids"]);
}

#[test]
fn an_index_out_of_range() {
    let folder = Folder::new("index");
    let inputs = folder.npz("in.npz", |npz| npz.add("ids", &[1, 2], &[1i64, 96]));
    for extra in [None, Some("--no-rewrite")] {
        let args = ["run", "@default", "--inputs", &inputs].into_iter().chain(extra);
        fails(args, &["96"]);
    }
}

#[test]
fn a_zero_length_dim() {
    for backend in [&[][..], &["--no-rewrite"]] {
        for (shape, result) in [("batch=0,seq=4", "f32[0, 4, 96]"), ("batch=2,seq=0", "f32[2, 0, 96]")] {
            let args = ["run", "@default", "--repeat", "1", "--shape", shape];
            let run = bgz(args.into_iter().chain(backend.iter().copied()));
            match run.code {
                Some(0) => assert!(run.out.contains(result), "{}", run.out),
                _ => assert!(run.err.starts_with("bgz: ") && run.err.contains('0'), "{:?} {}", run.code, run.err),
            }
        }
    }
}

#[test]
fn a_graph_text_with_a_cycle() {
    let folder = Folder::new("cycle");
    let text = "graph @g {\n  in  %x : f32[2]\n  %a = add(%x, %b) : f32[2]\n  %b = relu(%a) : f32[2]\n  out %b\n}\n";
    let file = folder.file("cycle.bgz", text);
    for command in ["dump", "rewrite", "run"] {
        fails([command, &file], &["cycle.bgz", "line 3", "%b"]);
    }
}

#[test]
fn a_graph_text_with_wrong_types() {
    let folder = Folder::new("ill_typed");
    let text = |line: &str| format!("graph @g {{\n  in  %x : f32[2, 3]\n  in  %y : i64[4]\n  {line}\n  out %a\n}}\n");
    for line in [
        "%a = add(%x, %y) : f32[2, 3]",
        "%a = matmul(%x, %x) : f32[2, 2]",
        "%a = relu(%x) : f32[2, 4]",
        "%a = relu(%x) : i64[2, 3]",
        "%a = relu(%x, %x) : f32[2, 3]",
        "%a = softmax(%x) {axis = 2} : f32[2, 3]",
        "%a = transpose(%x) {perm = [0, 0]} : f32[2, 3]",
        "%a = reshape(%x) {shape = [4]} : f32[4]",
        "%a = frobnicate(%x) : f32[2, 3]",
    ] {
        let file = folder.file("typed.bgz", text(line));
        fails(["dump", &file], &["typed.bgz", "line 4"]);
    }
}

#[test]
fn a_graph_text_without_its_weights_does_not_run() {
    let folder = Folder::new("hash_only");
    let text =
        "graph @g {\n  in  %x : f32[9]\n  const @w : f32[9] 12345678\n  %a = add(%x, @w) : f32[9]\n  out %a\n}\n";
    let file = folder.file("hash.bgz", text);
    for extra in [None, Some("--no-rewrite")] {
        fails(["run", &file].into_iter().chain(extra), &["w"]);
    }
}

#[test]
fn an_npz_file_that_is_none() {
    let folder = Folder::new("no_npz");
    let run = |file: &str, names: &[&str]| fails(["run", "@default", "--inputs", file], names);
    run("no/such/in.npz", &["cannot read no/such/in.npz", "No such file"]);
    run(&folder.file("text.npz", "these are no arrays"), &["text.npz", "not an npz archive"]);
    run(&folder.file("empty.npz", ""), &["empty.npz", "not an npz archive"]);
    let whole = std::fs::read(folder.npz("whole.npz", |npz| npz.add("ids", &[1, 2], &[1i64, 2]))).expect("a file");
    for cut in 0..whole.len() {
        run(&folder.file("cut.npz", &whole[..cut]), &["cut.npz"]);
    }
    let expect = folder.file("expect.npz", "nor these");
    let inputs = folder.path("whole.npz");
    fails(["check", "@default", "--inputs", &inputs, "--expect", &expect], &["expect.npz", "not an npz archive"]);
}

#[test]
fn a_shape_that_is_none_is_a_usage_error() {
    for shape in ["ids", "ids=", "=3", "ids=1x", "ids=axb", "seq=-1", "seq=1.5"] {
        let run = bgz(["run", "@default", "--shape", shape]);
        assert_eq!(run.code, Some(2), "{shape}: {}", run.err);
        assert!(run.err.contains("--shape"), "{shape}: {}", run.err);
    }
    fails(["run", "@default", "--shape", "seq=2x3"], &["seq", "one size"]);
    fails(["run", "@default", "--shape", "batch=1,seq=2,seq=3"], &["seq", "twice"]);
}

#[test]
fn an_unknown_pass() {
    fails(["rewrite", "@default", "--only", "canonicalise,frobnicate"], &["frobnicate", "canonicalise"]);
    fails(["run", "@default", "--shape", "seq=1,batch=1", "--only", "frobnicate"], &["frobnicate"]);
}

#[test]
fn an_output_that_cannot_be_written() {
    let args = ["run", "@default", "--shape", "ids=1x1", "--repeat", "1", "--output", "no/such/folder/out.npz"];
    fails(args, &["cannot write no/such/folder/out.npz"]);
}

#[test]
fn an_instruction_set_that_is_none() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bgz"))
        .arg("kernels")
        .env("BGZ_ISA", "sse9")
        .output()
        .expect("bgz starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("BGZ_ISA"));
}
