//! The library as a user meets it: loading, options, what a model says of itself, running, tensors.

use bgz_fusion::ir::{Precision, Scores};
use bgz_fusion::scores::{Choice, ScoreSite, ScoreSource};
use bgz_fusion::table::TableRegistry;
use bgz_fusion::{
    DType, Error, Graph, Model, ModelOptions, Outputs, Pipeline, Report, Session, Tensor, TensorError, ValueInfo, exec,
    gguf, onnx,
};
use std::error::Error as _;
use std::sync::{Arc, Mutex};

const CHAR_LM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cli/model/char_lm.onnx");

fn ids(batch: usize, seq: usize) -> Tensor {
    let ids: Vec<i64> = (0..batch * seq).map(|i| (i * 7 % 96) as i64).collect();
    Tensor::new(&[batch, seq], &ids).expect("as many as the shape says")
}

fn logits(model: &Model, batch: usize, seq: usize) -> Vec<f32> {
    let outputs = model.run(&[("ids", ids(batch, seq))]).expect("it runs");
    outputs["logits"].as_slice::<f32>().expect("f32").to_vec()
}

/// The error with its causes.
fn said(e: Error) -> String {
    let cause = e.source().map(|s| format!(": {s}")).unwrap_or_default();
    format!("{e}{cause}")
}

#[test]
fn models_tensors_and_errors_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<(Model, ModelOptions, Outputs, Session<'_>, Tensor, ValueInfo)>();
    shared::<(Graph, Pipeline, Report, exec::Plan, exec::Stages, TableRegistry, gguf::Gguf)>();
    shared::<(Error, TensorError, exec::ExecError, onnx::ImportError)>();
}

#[test]
fn a_model_is_rewritten_exactly_when_it_is_loaded() {
    let model = Model::load(CHAR_LM).expect("it is a good model");
    let imported = ModelOptions::new().as_imported().load(CHAR_LM).expect("it is a good model");
    let attentions = |m: &Model| m.graph().to_string().matches("= attention(").count();
    assert_eq!((attentions(&model), attentions(&imported)), (3, 0));
    assert!(model.graph().len() < imported.graph().len());
    assert!(model.report().rewrites() > 0 && imported.report().rewrites() == 0);
    let (rewritten, plain) = (logits(&model, 2, 9), logits(&imported, 2, 9));
    let off = rewritten.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-4, "{off}");

    let bytes = std::fs::read(CHAR_LM).expect("it is there");
    let from_memory = Model::from_bytes(&model.graph().name, bytes).expect("it is a good model");
    assert_eq!(from_memory.graph().to_string(), model.graph().to_string());
}

#[test]
fn a_model_says_what_it_takes_and_makes() {
    let model = Model::load(CHAR_LM).expect("it is a good model");
    let shown = |all: Vec<ValueInfo>| all.iter().map(ValueInfo::to_string).collect::<Vec<_>>();
    assert_eq!(shown(model.inputs()), ["ids: i64[batch, seq]"]);
    assert_eq!(shown(model.outputs()), ["logits: f32[batch, seq, 96]"]);
    assert_eq!((model.inputs()[0].dtype, model.outputs()[0].dims[2].as_usize()), (DType::I64, Some(96)));
}

#[test]
fn a_dim_can_be_fixed() {
    let fixed = |name: &str, n| ModelOptions::new().dim("batch", 1).dim(name, n).load(CHAR_LM);
    let model = fixed("seq", 5).expect("it has both");
    assert_eq!(model.inputs()[0].to_string(), "ids: i64[1, 5]");
    assert_eq!(logits(&model, 1, 5), logits(&Model::load(CHAR_LM).expect("a good model"), 1, 5));
    let other = said(model.run(&[("ids", ids(1, 6))]).expect_err("another extent"));
    assert!(other.contains("input \"ids\" is i64[1, 6], the model takes i64[1, 5]"), "{other}");
    let unknown = said(fixed("sequence", 5).err().expect("no such dim"));
    assert_eq!(unknown, "no input of the model has a dim \"sequence\"; they have batch, seq");
    fixed("seq", usize::MAX).err().expect("no such extent");
}

#[test]
fn fewer_bits_are_asked_for_when_a_model_is_loaded() {
    let text = |options: ModelOptions| options.load(CHAR_LM).expect("a good model").graph().to_string();
    let int8 = text(ModelOptions::new().precision(Precision::Int8));
    assert!(int8.contains("precision = int8"));
    assert!(!text(ModelOptions::new()).contains("precision ="));
    let by_pipeline = ModelOptions::new().pipeline(Pipeline::exact().precision(Precision::Int8));
    assert_eq!(text(by_pipeline), int8);
    // Nothing is registered, so nothing is approximate.
    let none = text(ModelOptions::new().tables(&TableRegistry::new(), 0.1));
    assert_eq!(none, text(ModelOptions::new()));
}

/// A source of scores that notes the thread it is asked on, and how many the pool there has: plans ask where the model runs.
#[derive(Default)]
struct Witness(Mutex<Vec<(String, usize)>>);

impl ScoreSource for Witness {
    fn choose(&self, _: &ScoreSite<'_>, _: f64) -> Choice {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.0.lock().expect("no panic").push((name, rayon::current_num_threads()));
        Choice { scores: Scores::Int8, reason: "in a test".into() }
    }
}

#[test]
fn a_model_runs_on_threads_of_its_own() {
    let whole = logits(&Model::load(CHAR_LM).expect("a good model"), 4, 64);
    for threads in [1, 3] {
        let seen = Arc::new(Witness::default());
        let source: Arc<dyn ScoreSource> = seen.clone();
        let model = ModelOptions::new().tables(source, 1.0).threads(threads).load(CHAR_LM).expect("a good model");
        seen.0.lock().expect("no panic").clear();
        let found = logits(&model, 4, 64);
        let off = whole.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 0.1, "{threads} threads: {off}");
        let seen = seen.0.lock().expect("no panic").clone();
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(seen.iter().all(|(name, n)| name.starts_with("bgz-") && *n == threads), "{seen:?}");
    }
    let many = said(ModelOptions::new().threads(usize::MAX).load(CHAR_LM).err().expect("no such many"));
    assert_eq!(many, "cannot run the model: cannot start threads: there is not enough memory for their stacks");
}

#[test]
fn one_model_is_run_by_many_threads() {
    let model = ModelOptions::new().threads(2).load(CHAR_LM).expect("a good model");
    let lengths = [3, 17, 64];
    let want = lengths.map(|n| logits(&model, 1, n));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (n, want) in lengths.iter().zip(&want).cycle().take(12) {
                    assert_eq!(&logits(&model, 1, *n), want, "length {n}");
                }
            });
        }
    });
}

#[test]
fn outputs_are_found_by_name_and_by_place() {
    let model = Model::load(CHAR_LM).expect("a good model");
    let mut outputs = model.run(&[("ids", ids(1, 2))]).expect("it runs");
    assert_eq!((outputs.names().collect::<Vec<_>>(), outputs.len()), (vec!["logits"], 1));
    assert_eq!((outputs[0].0.as_str(), outputs["logits"].shape()), ("logits", &[1, 2, 96][..]));
    assert!(outputs.get("probabilities").is_none());
    let panic = std::panic::catch_unwind(|| outputs["probabilities"].len()).expect_err("there is none");
    assert_eq!(panic.downcast_ref::<String>().map(|s| &**s), Some("there is no output \"probabilities\", only logits"));
    let taken = outputs.remove("logits").expect("it is there");
    assert_eq!((taken.len(), outputs.len()), (192, 0));
}

#[test]
fn a_tensor_that_cannot_be_says_why() {
    let said = |e: Result<Tensor, TensorError>| e.expect_err("an error").to_string();
    assert_eq!(said(Tensor::new(&[2, 2], &[1.0f32])), "a tensor of shape [2, 2] has 4 elements, not 1");
    assert_eq!(said(Tensor::from_bools(&[], &[])), "a tensor of shape [] has 1 element, not 0");
    let bytes = Tensor::from_bytes(DType::F64, &[2], &[0; 15]);
    assert_eq!(said(bytes), "a tensor of shape [2] has 16 bytes, not 15");
    let large = Tensor::zeros(DType::F32, &[usize::MAX / 2, 3]);
    assert!(said(large).starts_with("memory does not suffice for a tensor f32["));
    let mut halves = Tensor::zeros(DType::F16, &[3]).expect("six bytes");
    assert_eq!(halves.as_slice::<f32>().expect_err("f16").to_string(), "the tensor is f16, not f32");
    assert_eq!(halves.as_mut_slice::<i64>(), Err(TensorError::DType { held: DType::F16, asked: DType::I64 }));
    let one = Tensor::scalar(7u8).expect("a byte");
    assert_eq!((one.shape(), one.as_slice::<u8>()), (&[][..], Ok(&[7][..])));
    assert_eq!(one.cast(DType::I64).expect("memory").as_slice::<i64>(), Ok(&[7][..]));
}

#[cfg(feature = "arrays")]
#[test]
fn arrays_become_tensors_and_tensors_are_seen_as_arrays() {
    let array = ndarray::arr2(&[[1i64, 2, 3], [4, 5, 6]]);
    let tensor = Tensor::try_from(&array).expect("memory");
    assert_eq!((tensor.shape(), tensor.as_slice::<i64>()), (&[2, 3][..], Ok(&[1, 2, 3, 4, 5, 6][..])));
    // Not in row-major order.
    let turned = Tensor::try_from(&array.t()).expect("memory");
    assert_eq!((turned.shape(), turned.as_slice::<i64>()), (&[3, 2][..], Ok(&[1, 4, 2, 5, 3, 6][..])));
    let view = turned.view::<i64>().expect("i64");
    assert_eq!((view.shape(), view[[2, 1]]), (&[3, 2][..], 6));
    assert_eq!(turned.view::<f32>().expect_err("i64"), TensorError::DType { held: DType::I64, asked: DType::F32 });
    let none = Tensor::try_from(&ndarray::Array3::<f32>::zeros((2, 0, 4))).expect("no memory needed");
    assert_eq!(none.view::<f32>().expect("f32").shape(), [2, 0, 4]);
}
