//! A change of a file after it was loaded does not matter to the model that was loaded from it.

#[path = "onnx_build/mod.rs"]
mod onnx_build;

use bgz_fusion::gguf::Gguf;
use bgz_fusion::ir::Precision;
use bgz_fusion::{Model, ModelOptions, Pipeline, Tensor};
use onnx_build::{bytes, close, f32s, model};
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const N: usize = 192;

/// An empty folder of a test's own.
fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("files").join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder");
    path
}

fn weight(seed: usize) -> Vec<f32> {
    (0..N * N).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 10_000.0 - 0.1).collect()
}

/// `gather(w, [1, 0]) @ w @ v + x`, whose weights are large: one is packed and looked up as well, one is packed only.
fn large(external: Option<&str>) -> Vec<u8> {
    let mut m = model(17, |b| {
        b.input("x", onnx_build::F32, &["2", &N.to_string()]);
        b.f32s("w", &[N as i64; 2], &weight(1));
        b.f32s("v", &[N as i64; 2], &weight(2));
        b.i64s("rows", &[1, 0]);
        b.node("Gather", "w rows", "g", vec![]);
        b.node("Add", "g x", "s", vec![]);
        b.node("MatMul", "s w", "p", vec![]);
        b.node("MatMul", "p v", "y", vec![]);
        b.output("y");
    });
    if let Some(file) = external {
        let graph = m.graph.as_mut().expect("it has one");
        let t = graph.initializer.iter_mut().find(|t| t.name == "v").expect("it is there");
        t.raw_data = Default::default();
        onnx_build::lies_outside(t, &[("location", file)]);
    }
    bytes(&m).to_vec()
}

fn raw(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn run(model: &Model) -> Result<Vec<f64>, bgz_fusion::Error> {
    let x = Tensor::new(&[2, N], &weight(3)[..2 * N]).expect("as many as the shape says");
    model.run(&[("x", x)]).map(|out| out[0].1.to_f64s())
}

fn expected() -> Vec<f64> {
    let model = Model::from_bytes("large", large(None)).expect("it is a good model");
    run(&model).expect("it runs")
}

/// Ways in which a file changes under a program.
const CHANGES: [&str; 3] = ["cut", "overwritten", "removed"];

fn change(how: &str, path: &Path) {
    let open = || OpenOptions::new().write(true).open(path).expect("the file is there");
    match how {
        "cut" => open().set_len(100).expect("it is cut"),
        "overwritten" => {
            let len = fs::metadata(path).expect("the file is there").len();
            let mut file = open();
            file.seek(SeekFrom::Start(0)).expect("the beginning");
            file.write_all(&vec![0x3f; len as usize]).expect("it is overwritten");
        }
        _ => fs::remove_file(path).expect("it is removed"),
    }
}

#[test]
fn a_model_is_what_it_was_when_it_was_loaded() {
    let (want, folder) = (expected(), folder("model"));
    for how in CHANGES {
        for rewritten in [true, false] {
            let path = folder.join("large.onnx");
            fs::write(&path, large(None)).expect("a file");
            let mut model = ModelOptions::new().as_imported().load(&path).expect("it is a good model");
            change(how, &path);
            if rewritten {
                model.rewrite(&Pipeline::exact()).expect("it is rewritten");
            }
            // The second time, weights are packed and their memory has gone back.
            for _ in 0..2 {
                close(&run(&model).unwrap_or_else(|e| panic!("{how}: {e}")), &want);
            }
        }
    }
}

#[test]
fn external_data_is_what_it_was_when_it_was_loaded() {
    let (want, folder) = (expected(), folder("external"));
    for how in CHANGES {
        let (path, data) = (folder.join("large.onnx"), folder.join("v.bin"));
        fs::write(&path, large(Some("v.bin"))).expect("a file");
        fs::write(&data, raw(&weight(2))).expect("a file");
        let mut model = ModelOptions::new().as_imported().load(&path).expect("it is a good model");
        change(how, &data);
        model.rewrite(&Pipeline::exact()).expect("it is rewritten");
        close(&run(&model).unwrap_or_else(|e| panic!("{how}: {e}")), &want);
    }
}

/// A weight that was packed and is needed in another form is read again, if it is still what it was.
#[test]
fn a_weight_is_read_again_only_from_the_same_file() {
    let (want, folder) = (expected(), folder("again"));
    let path = folder.join("large.onnx");
    let loaded = || {
        fs::write(&path, large(None)).expect("a file");
        let model = Model::load(&path).expect("it is a good model");
        close(&run(&model).expect("it runs"), &want);
        model
    };
    let mut model = loaded();
    model.rewrite(&Pipeline::exact().precision(Precision::Int8)).expect("it is rewritten");
    let int8 = run(&model).expect("the file is there");
    let error = want.iter().zip(&int8).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(error > 0.0 && error < 0.1, "{error}");
    // One that was removed can still be read: the model holds it open.
    for how in ["cut", "overwritten"] {
        let mut model = loaded();
        change(how, &path);
        close(&run(&model).expect("nothing is read again"), &want);
        model.rewrite(&Pipeline::exact().precision(Precision::Int8)).expect("it is rewritten");
        let error = run(&model).expect_err("the weight is not what it was");
        let text = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let text = format!("{error}: {text}");
        assert!(text.contains("given up for their packed form"), "{how}: {text}");
    }
}

#[test]
fn a_mapped_model_gives_the_same_results() {
    let (want, folder) = (expected(), folder("mapped"));
    let path = folder.join("large.onnx");
    fs::write(folder.join("v.bin"), raw(&weight(2))).expect("a file");
    for external in [None, Some("v.bin")] {
        fs::write(&path, large(external)).expect("a file");
        // SAFETY: nobody changes the files while the model is alive.
        let mut model: Model = unsafe { Model::load_mapped(&path) }.expect("it is a good model");
        for _ in 0..2 {
            close(&run(&model).expect("it runs"), &want);
        }
        model.rewrite(&Pipeline::exact().precision(Precision::Bf16)).expect("it is rewritten");
        run(&model).expect("the weights are read from the mapping again");
    }
}

/// Large data wherever the format has tensors: a node's attribute here.
#[test]
fn a_large_constant_of_a_node_is_loaded() {
    let path = folder("attribute").join("constant.onnx");
    let m = model(17, |b| {
        b.input("x", onnx_build::F32, &["2", &N.to_string()]);
        let value = onnx_build::tensor_attr("value", f32s("", &[N as i64; 2], &weight(1)));
        b.node("Constant", "", "w", vec![value]);
        b.node("MatMul", "x w", "y", vec![]);
        b.output("y");
    });
    fs::write(&path, bytes(&m)).expect("a file");
    let model = Model::load(&path).expect("it is a good model");
    let from_memory = Model::from_bytes("constant", bytes(&m)).expect("it is a good model");
    close(&run(&model).expect("it runs"), &run(&from_memory).expect("it runs"));
}

#[test]
fn a_gguf_file_is_what_it_was_when_it_was_opened() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/types.gguf");
    let path = folder("gguf").join("types.gguf");
    for how in CHANGES {
        fs::copy(&fixture, &path).expect("a copy");
        let file = Gguf::open(&path).expect("the fixture is read");
        change(how, &path);
        let whole = Gguf::open(&fixture).expect("the fixture is read");
        for (a, b) in file.tensors().zip(whole.tensors()) {
            assert_eq!((a.name(), a.bytes()), (b.name(), b.bytes()), "{how}");
        }
    }
}
