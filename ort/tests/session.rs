//! The engine as a program sees it that was written for `ort`.

use bgz_fusion::{Model, ModelOptions};
use ndarray::{Array2, Array3, ArrayD, Axis, array};
use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, Session};
use ort::value::{Tensor, TensorElementType, TensorRef, TensorRefMut, ValueType};
use ort::{Error, ErrorCode, inputs};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

type Result<T = (), E = Error> = std::result::Result<T, E>;

const CHAR_LM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/model/char_lm.onnx");

/// The one environment of the process.
fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        assert!(ort::set_api(bgz_ort::api()));
        let threads = GlobalThreadPoolOptions::default().with_intra_threads(2).expect("two threads");
        ort::init().with_name("tests").with_global_thread_pool(threads).build().expect("an environment")
    })
}

fn session() -> Result<Session> {
    Session::builder(environment())?.commit_from_file(CHAR_LM)
}

fn ids(batch: usize, seq: usize) -> Array2<i64> {
    Array2::from_shape_fn((batch, seq), |(b, s)| ((b * 31 + s * 7) % 96) as i64)
}

/// The result of the same input when the engine is asked directly.
fn expected(ids: &Array2<i64>) -> Vec<f32> {
    static MODEL: OnceLock<Model> = OnceLock::new();
    logits(MODEL.get_or_init(|| Model::load(CHAR_LM).expect("it is a good model")), ids)
}

fn logits(model: &Model, ids: &Array2<i64>) -> Vec<f32> {
    let ids = bgz_fusion::Tensor::new(ids.shape(), ids.as_slice().expect("rows")).expect("as many as it says");
    let outputs = model.run(&[("ids", ids)]).expect("it runs");
    outputs["logits"].as_slice::<f32>().expect("f32").to_vec()
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[test]
fn a_model_runs_as_it_does_without_ort() -> Result {
    let mut session = session()?;
    for (batch, seq) in [(1, 5), (2, 9), (1, 1), (2, 9), (3, 64)] {
        let ids = ids(batch, seq);
        let outputs = session.run(inputs!["ids" => TensorRef::from_array_view(&ids)?])?;
        let logits = outputs["logits"].try_extract_array::<f32>()?;
        assert_eq!(logits.shape(), [batch, seq, 96]);
        assert_eq!(logits.as_slice(), Some(&*expected(&ids)));
    }
    Ok(())
}

#[test]
fn inputs_may_be_owned_or_by_position() -> Result {
    let mut session = session()?;
    let ids = ids(2, 3);
    let owned = Tensor::from_array(([2usize, 3], ids.iter().copied().collect::<Vec<_>>()))?;
    let outputs = session.run(inputs![owned])?;
    let (shape, logits) = outputs[0].try_extract_tensor::<f32>()?;
    assert_eq!(&**shape, [2, 3, 96]);
    assert_eq!(logits, expected(&ids));
    Ok(())
}

#[test]
fn a_model_from_memory_says_what_it_is() -> Result {
    let bytes = std::fs::read(CHAR_LM).expect("the file is there");
    let session = Session::builder(environment())?.commit_from_memory(&bytes)?;
    let [input] = session.inputs() else { panic!("one input") };
    let [output] = session.outputs() else { panic!("one output") };
    assert_eq!((input.name(), output.name()), ("ids", "logits"));
    let shown = |ty: &ValueType| ty.to_string();
    assert_eq!(shown(input.dtype()), "Tensor<i64>(batch, seq)");
    assert_eq!(shown(output.dtype()), "Tensor<f32>(batch, seq, 96)");
    let ValueType::Tensor { ty, shape, dimension_symbols } = input.dtype() else { panic!("a tensor") };
    assert_eq!((*ty, &**shape), (TensorElementType::Int64, &[-1, -1][..]));
    assert_eq!((&*dimension_symbols[0], &*dimension_symbols[1]), ("batch", "seq"));

    let metadata = session.metadata()?;
    assert_eq!(metadata.producer().as_deref(), Some("bgz-models"));
    assert_eq!(metadata.custom("no such key"), None);
    assert_eq!((metadata.version(), metadata.custom_keys()?.len()), (Some(0), 0));
    assert!(session.overridable_initializers().is_empty());
    assert_eq!(session.opset_for_domain("ai.onnx"), None);
    assert!(ort::info().contains("bgz-fusion"));
    Ok(())
}

#[test]
fn options_are_taken() -> Result {
    let ids = ids(2, 17);
    let expected = expected(&ids);
    for level in [GraphOptimizationLevel::Disable, GraphOptimizationLevel::Level1, GraphOptimizationLevel::All] {
        for threads in [0, 1, 3] {
            let mut session = Session::builder(environment())?
                .with_optimization_level(level)?
                .with_intra_threads(threads)?
                .with_inter_threads(1)?
                .with_parallel_execution(true)?
                .with_memory_pattern(false)?
                .with_deterministic_compute(true)?
                .with_approximate_gelu()?
                .with_log_id("a log")?
                .with_execution_providers([ort::ep::CPU::default().build()])?
                .with_independent_thread_pool()?
                .commit_from_file(CHAR_LM)?;
            let outputs = session.run(inputs![TensorRef::from_array_view(&ids)?])?;
            assert!(close(outputs[0].try_extract_tensor::<f32>()?.1, &expected), "{level:?}, {threads} threads");
        }
    }
    Ok(())
}

/// Both are exact; they differ in the last bits, as sums have another order.
#[test]
fn without_optimisation_the_graph_is_that_of_the_file() -> Result {
    let ids = ids(2, 17);
    let imported = ModelOptions::new().as_imported().load(CHAR_LM).expect("it is a good model");
    let (imported, rewritten) = (logits(&imported, &ids), expected(&ids));
    assert_ne!(imported, rewritten);
    for (level, expected) in [(GraphOptimizationLevel::Disable, imported), (GraphOptimizationLevel::All, rewritten)] {
        let mut session = Session::builder(environment())?.with_optimization_level(level)?.commit_from_file(CHAR_LM)?;
        let outputs = session.run(inputs![TensorRef::from_array_view(&ids)?])?;
        assert_eq!(outputs[0].try_extract_tensor::<f32>()?.1, expected, "{level:?}");
    }
    Ok(())
}

#[test]
fn ops_that_cannot_be_run_are_not_implemented() {
    let mut bytes = std::fs::read(CHAR_LM).expect("the file is there");
    let name = b"Softmax";
    let found: Vec<usize> = (0..bytes.len() - name.len()).filter(|&i| bytes[i..].starts_with(name)).collect();
    assert!(!found.is_empty());
    found.into_iter().for_each(|i| bytes[i..i + name.len()].copy_from_slice(b"Hardmox"));
    let builder = Session::builder(environment()).expect("options");
    let (code, message) = failed({ builder }.commit_from_memory(&bytes));
    assert_eq!(code, ErrorCode::NotImplemented);
    assert!(message.contains("Hardmox x3, first (node "), "{message}");
}

#[test]
fn a_dim_can_be_a_number() -> Result {
    let builder = Session::builder(environment())?.with_dimension_override("seq", 4)?;
    let mut session = builder.with_dimension_override("no such dim", 4)?.commit_from_file(CHAR_LM)?;
    assert_eq!(session.inputs()[0].dtype().to_string(), "Tensor<i64>(batch, 4)");
    let fits = ids(1, 4);
    let outputs = session.run(inputs![TensorRef::from_array_view(&fits)?])?;
    assert_eq!(outputs[0].shape()[1], 4);
    drop(outputs);
    let other = ids(1, 5);
    assert!(session.run(inputs![TensorRef::from_array_view(&other)?]).is_err());
    Ok(())
}

/// The code and the message of an error.
fn failed<T>(result: Result<T>) -> (ErrorCode, String) {
    let error = result.err().expect("an error");
    (error.code(), error.to_string())
}

#[test]
fn wrong_inputs_are_errors() -> Result {
    let mut session = session()?;
    let ids = ids(1, 3);
    let (code, message) = failed(session.run(inputs!["tokens" => TensorRef::from_array_view(&ids)?]));
    assert_eq!(code, ErrorCode::InvalidArgument);
    assert!(message.contains("no input \"tokens\"; it takes ids"), "{message}");

    let floats = Tensor::from_array(array![[1f32, 2.0]])?;
    let (code, message) = failed(session.run(inputs!["ids" => floats]));
    assert_eq!(code, ErrorCode::InvalidArgument);
    assert!(message.contains("input \"ids\" is f32[1, 2], the model takes i64[batch, seq]"), "{message}");

    let flat = Tensor::from_array(array![1i64, 2])?;
    let (code, message) = failed(session.run(inputs!["ids" => flat]));
    assert_eq!(code, ErrorCode::InvalidArgument);
    assert!(message.contains("i64[2]"), "{message}");

    let (code, message) = failed(session.run(Vec::<(&str, Tensor<i64>)>::new()));
    assert_eq!(code, ErrorCode::InvalidArgument);
    assert!(message.contains("\"ids\"") && message.contains("missing"), "{message}");

    // An index that the embedding does not have, and more positions than there are.
    let beyond = Tensor::from_array(array![[1_000_000i64]])?;
    assert_eq!(failed(session.run(inputs![beyond])).0, ErrorCode::RuntimeException);
    let long = Tensor::from_array(Array2::<i64>::zeros((1, 5000)))?;
    let (_, message) = failed(session.run(inputs![long]));
    assert!(message.contains("cannot run the model: "), "{message}");

    let options = RunOptions::new()?.with_outputs(OutputSelector::no_default().with("losses"));
    let (code, message) = failed(session.run_with_options(inputs![TensorRef::from_array_view(&ids)?], &options));
    assert_eq!(code, ErrorCode::InvalidArgument);
    assert!(message.contains("no output \"losses\"; it makes logits"), "{message}");

    // It runs as before.
    let outputs = session.run(inputs![TensorRef::from_array_view(&ids)?])?;
    assert_eq!(outputs[0].try_extract_tensor::<f32>()?.1, expected(&ids));
    Ok(())
}

#[test]
fn files_that_are_no_models_are_errors() -> Result {
    let mut builder = Session::builder(environment())?;
    assert_eq!(failed(builder.commit_from_file("no/such/model.onnx")).0, ErrorCode::NoSuchFile);
    let (code, message) = failed(builder.commit_from_file(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")));
    assert_eq!(code, ErrorCode::InvalidProtobuf);
    assert!(message.contains("Cargo.toml: not an ONNX model"), "{message}");
    assert!(builder.commit_from_file(env!("CARGO_MANIFEST_DIR")).is_err());
    for bytes in [&b""[..], b"\0", b"not a model", &[0xff; 100]] {
        assert!(builder.commit_from_memory(bytes).is_err(), "{bytes:?}");
    }
    let (code, message) = failed(builder.commit_from_memory(b"\x08\0\0\0ORTM\0\0\0\0"));
    assert_eq!(code, ErrorCode::NotImplemented);
    assert!(message.contains("ORT format"), "{message}");
    Ok(())
}

#[test]
fn what_is_not_supported_says_its_name() -> Result {
    environment();
    let text = Tensor::from_string_array(([1usize], &["a"][..]));
    let (code, message) = failed(text);
    assert_eq!((code, &*message), (ErrorCode::NotImplemented, "not supported by bgz-fusion: tensors of string"));

    let profiled = Session::builder(environment())?.with_profiling("profile").map_err(Error::from);
    let (code, message) = failed(profiled);
    assert_eq!((code, &*message), (ErrorCode::NotImplemented, "not supported by bgz-fusion: EnableProfiling"));

    let cuda = MemoryInfo::new(AllocationDevice::CUDA, 0, AllocatorType::Device, MemoryType::Default);
    assert_eq!(failed(cuda).0, ErrorCode::NotImplemented);
    assert_eq!(environment().devices().count(), 0);
    Ok(())
}

#[test]
fn sessions_run_side_by_side() {
    environment();
    let run = |batch: usize, threads: usize| -> Result {
        let mut session = Session::builder(environment())?
            .with_independent_thread_pool()?
            .with_intra_threads(threads)?
            .commit_from_file(CHAR_LM)?;
        for seq in [3, 40, 3, 7] {
            let ids = ids(batch, seq);
            let outputs = session.run(inputs![TensorRef::from_array_view(&ids)?])?;
            assert!(close(outputs[0].try_extract_tensor::<f32>()?.1, &expected(&ids)), "{batch} x {seq}");
        }
        Ok(())
    };
    thread::scope(|scope| {
        let all = [(1, 0), (2, 1), (3, 2)].map(|(batch, threads)| scope.spawn(move || run(batch, threads)));
        for one in all {
            one.join().expect("no panic").expect("no error");
        }
    });
}

#[test]
fn outputs_can_outlive_their_session_and_be_inputs() -> Result {
    let mut first = session()?;
    let value = {
        let tensor = Tensor::from_array(ids(2, 6))?;
        let mut outputs = first.run(inputs![tensor])?;
        outputs.remove("logits").expect("it is there")
    };
    drop(first);
    let logits = value.try_extract_array::<f32>()?;
    let chosen = logits.map_axis(Axis(2), |row| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(0, |(i, _)| i as i64)
    });
    let next = chosen.into_dimensionality::<ndarray::Ix2>().expect("two axes");
    let mut second = session()?;
    let outputs = second.run(inputs![TensorRef::from_array_view(&next)?])?;
    assert_eq!(outputs[0].try_extract_tensor::<f32>()?.1, expected(&next));
    Ok(())
}

#[test]
fn outputs_go_where_the_program_wants_them() -> Result {
    let mut session = session()?;
    let ids = ids(2, 5);
    let room = Tensor::<f32>::new(&Allocator::default(), [2usize, 5, 96])?;
    let selected = OutputSelector::default().preallocate("logits", room);
    let options = RunOptions::new()?.with_outputs(selected);
    let outputs = session.run_with_options(inputs![TensorRef::from_array_view(&ids)?], &options)?;
    assert_eq!(outputs["logits"].try_extract_tensor::<f32>()?.1, expected(&ids));
    drop(outputs);

    let room = Tensor::<f32>::new(&Allocator::default(), [2usize, 4, 96])?;
    let options = RunOptions::new()?.with_outputs(OutputSelector::default().preallocate("logits", room));
    let (code, message) = failed(session.run_with_options(inputs![TensorRef::from_array_view(&ids)?], &options));
    assert_eq!(code, ErrorCode::InvalidArgument);
    assert!(message.contains("f32[2, 5, 96]") && message.contains("f32[2, 4, 96]"), "{message}");

    let options = RunOptions::new()?.with_tag("a run")?;
    assert_eq!(options.tag()?, "a run");
    options.terminate()?;
    assert!(session.run_with_options(inputs![TensorRef::from_array_view(&ids)?], &options).is_err());
    options.unterminate()?;
    assert!(session.run_with_options(inputs![TensorRef::from_array_view(&ids)?], &options).is_ok());
    Ok(())
}

#[test]
fn bound_inputs_and_outputs() -> Result {
    let mut session = session()?;
    let (first, second) = (ids(1, 4), ids(1, 7));
    let mut binding = session.create_binding()?;
    binding.bind_input("ids", &Tensor::from_array(first.clone())?)?;
    binding.bind_output_to_device("logits", &MemoryInfo::default())?;
    for _ in 0..2 {
        let outputs = session.run_binding(&binding)?;
        assert_eq!(outputs["logits"].try_extract_tensor::<f32>()?.1, expected(&first));
    }
    binding.bind_input("ids", &Tensor::from_array(second.clone())?)?;
    binding.bind_output("logits", Tensor::<f32>::new(&Allocator::default(), [1usize, 7, 96])?)?;
    let outputs = session.run_binding(&binding)?;
    assert_eq!(outputs["logits"].try_extract_tensor::<f32>()?.1, expected(&second));
    drop(outputs);
    binding.clear_inputs();
    assert!(session.run_binding(&binding).is_err());
    Ok(())
}

#[test]
fn tensors_of_every_element_type() -> Result {
    environment();
    macro_rules! each {
        ($($t:ty: $value:expr),* $(,)?) => { $({
            let tensor = Tensor::<$t>::from_array(([2usize, 1], vec![$value; 2]))?;
            let copy = tensor.clone();
            assert_eq!(copy.extract_tensor().1, [$value; 2], stringify!($t));
            assert_ne!(tensor.data_ptr(), copy.data_ptr());
            let mut made = Tensor::<$t>::new(&Allocator::default(), [2usize, 1])?;
            made.extract_tensor_mut().1.fill($value);
            assert_eq!((made.dtype(), made.extract_tensor().1), (tensor.dtype(), tensor.extract_tensor().1));
        })* };
    }
    each! {
        f32: -1.5, f64: 1e300, i8: -7, i16: -300, i32: i32::MIN, i64: i64::MAX, u8: 255, u16: 65_535, u32: u32::MAX,
        u64: u64::MAX, bool: true, half::f16: half::f16::from_f32(0.1), half::bf16: half::bf16::from_f32(0.1),
    }
    let empty = Tensor::<f32>::new(&Allocator::default(), [0usize, 3])?;
    assert!(empty.extract_tensor().1.is_empty());
    assert!(Tensor::<u8>::new(&Allocator::default(), [1usize << 40, 1 << 40]).is_err());
    Ok(())
}

#[test]
fn memory_of_the_program_stays_its_own() -> Result {
    environment();
    let mut room = Array3::<f32>::zeros((1, 2, 2));
    let source = Tensor::from_array(array![[[1f32, 2.0], [3.0, 4.0]]])?;
    source.copy_into(TensorRefMut::from_array_view_mut(&mut room)?)?;
    assert_eq!(room, array![[[1f32, 2.0], [3.0, 4.0]]]);

    let allocator = Allocator::default();
    let info = MemoryInfo::default();
    assert_eq!(allocator.memory_info(), &info);
    assert!(info.is_cpu_accessible() && info.clone() == info);
    let block = allocator.alloc::<u64>(1000)?;
    assert!(!block.as_ptr().is_null());
    Ok(())
}

/// Waits for a future on this thread.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn runs_can_be_waited_for() -> Result {
    let mut session = session()?;
    let options = RunOptions::new()?;
    for seq in [4, 30] {
        let ids = ids(1, seq);
        let outputs = wait(session.run_async(inputs![Tensor::from_array(ids.clone())?], &options)?)?;
        assert_eq!(outputs[0].try_extract_tensor::<f32>()?.1, expected(&ids));
    }
    let wrong = Tensor::from_array(array![1f32])?;
    assert_eq!(failed(wait(session.run_async(inputs![wrong], &options)?)).0, ErrorCode::InvalidArgument);
    // Nobody waits for this one.
    drop(session.run_async(inputs![Tensor::from_array(ids(1, 3))?], &options)?);
    Ok(())
}

#[test]
fn loading_can_be_cancelled() -> Result {
    let mut builder = Session::builder(environment())?;
    builder.canceler().cancel()?;
    assert_eq!(failed(builder.commit_from_file(CHAR_LM)).0, ErrorCode::ModelLoadCanceled);
    Ok(())
}

#[test]
fn an_array_of_any_rank() -> Result {
    let scalar = Tensor::from_array(ArrayD::from_elem(vec![], 7i32))?;
    assert_eq!(scalar.try_extract_scalar::<i32>()?, 7);
    assert_eq!(scalar[[]], 7);
    Ok(())
}
