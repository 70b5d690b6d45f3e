//! Models that a program has loaded.

use crate::arguments::{Handle, Out, Shared, array, calls, fill, missing, texts};
use crate::header::{Header, Metadata};
use crate::identity;
use crate::memory::{self, Allocator};
use crate::options::{Environment, Prepacked, RunOptions, SessionOptions};
use crate::status::{Failure, guard};
use crate::types::{TensorInfo, TypeInfo};
use crate::value::Value;
use bgz_fusion::{Error, Model, ModelOptions, Tensor};
use ort_sys::{
    OrtErrorCode, OrtMemoryInfo, OrtModelMetadata, OrtSession, OrtTypeInfo, OrtValue, RunAsyncCallbackFn, os_char,
};
use rayon::ThreadPool;
use std::ffi::{OsString, c_char, c_void};
use std::fs::File;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

/// A session. Runs and bindings that are under way keep it alive.
#[derive(Clone)]
pub(crate) struct Session(Arc<Loaded>);

struct Loaded {
    runs: Runs,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    metadata: Metadata,
    /// The environment's threads, if it runs on those.
    shared: Option<Arc<ThreadPool>>,
}

/// An input or output.
struct Port {
    name: String,
    info: TensorInfo,
}

enum Runs {
    Model(Box<Model>),
    /// Its input is its output, see [`identity`].
    Identity,
}

impl Handle for Session {
    type Sys = OrtSession;
}

impl Session {
    /// Loads a model as the options say; `header` is of the same file.
    fn new(
        environment: &Environment,
        options: &SessionOptions,
        header: Header,
        load: impl FnOnce(ModelOptions) -> Result<Model, Error>,
    ) -> Result<Self, Failure> {
        let cancelled = || match options.cancelled.load(Ordering::Acquire) {
            true => Err(Failure::new(OrtErrorCode::ORT_MODEL_LOAD_CANCELED, "loading was cancelled")),
            false => Ok(()),
        };
        cancelled()?;
        let settings = options.settings().clone();
        let shared = environment.pool.clone().filter(|_| settings.shares_threads);
        let mut how = ModelOptions::new();
        if settings.as_imported {
            how = how.as_imported();
        }
        if let Some(threads) = settings.threads.count().filter(|_| !settings.shares_threads) {
            how = how.threads(threads);
        }
        for (name, &extent) in settings.dims.iter().filter(|(name, _)| header.names_dim(name)) {
            how = how.dim(name, extent);
        }
        let model = load(how)?;
        cancelled()?;
        let port = |ports: &crate::header::Ports, info: bgz_fusion::ValueInfo| {
            let declared = ports.get(&info.name);
            Port { info: TensorInfo::of_model(&info, declared), name: info.name }
        };
        let inputs = model.inputs().into_iter().map(|i| port(&header.inputs, i)).collect();
        let outputs = model.outputs().into_iter().map(|o| port(&header.outputs, o)).collect();
        let runs = Runs::Model(Box::new(model));
        Ok(Self(Arc::new(Loaded { runs, inputs, outputs, metadata: header.metadata, shared })))
    }

    fn of_file(environment: &Environment, options: &SessionOptions, path: &Path) -> Result<Self, Failure> {
        // If there is no such file, or it is none, loading says so.
        let header = File::open(path).map(Header::read).unwrap_or_default();
        Self::new(environment, options, header, |how| how.load(path))
    }

    fn of_bytes(environment: &Environment, options: &SessionOptions, bytes: &[u8]) -> Result<Self, Failure> {
        if identity::is_ort_format(bytes) {
            return Self::identity(bytes);
        }
        let header = Header::read(Cursor::new(bytes));
        Self::new(environment, options, header, |how| how.from_bytes("model", bytes.to_vec()))
    }

    fn identity(bytes: &[u8]) -> Result<Self, Failure> {
        let identity = identity::read(bytes).ok_or_else(|| {
            let what = "models in ORT format: convert the model to ONNX, or load the ONNX file it was made of";
            Failure::unsupported(what)
        })?;
        let port = |name| vec![Port { name, info: TensorInfo::new(identity.element, &[]) }];
        let (inputs, outputs) = (port(identity.input), port(identity.output));
        let metadata = Metadata::default();
        Ok(Self(Arc::new(Loaded { runs: Runs::Identity, inputs, outputs, metadata, shared: None })))
    }

    /// Runs the model on inputs by name, for outputs by name.
    pub(crate) fn run(&self, inputs: Vec<(&str, Tensor)>, wanted: &[&str]) -> Result<Vec<Tensor>, Failure> {
        for name in wanted {
            if !self.0.outputs.iter().any(|o| o.name == *name) {
                let names: Vec<_> = self.0.outputs.iter().map(|o| &*o.name).collect();
                let names = names.join(", ");
                return Err(Failure::argument(format!("the model has no output {name:?}; it makes {names}")));
            }
        }
        let made = match &self.0.runs {
            Runs::Identity => match <[_; 1]>::try_from(inputs) {
                Ok([(_, tensor)]) => vec![(self.0.outputs[0].name.clone(), tensor)],
                Err(inputs) => return Err(Failure::argument(format!("one input is needed, not {}", inputs.len()))),
            },
            Runs::Model(model) => match &self.0.shared {
                Some(pool) => pool.install(|| model.run(&inputs))?.into(),
                None => model.run(&inputs)?.into(),
            },
        };
        let mut made: Vec<(String, Option<Tensor>)> = made.into_iter().map(|(name, t)| (name, Some(t))).collect();
        let mut results: Vec<Tensor> = Vec::with_capacity(wanted.len());
        for (i, name) in wanted.iter().enumerate() {
            let tensor = made.iter_mut().find(|(n, _)| n == name).and_then(|(_, t)| t.take());
            // An output that is wanted twice is there already.
            let again = || wanted[..i].iter().position(|n| n == name).map(|first| results[first].clone());
            let tensor = tensor.or_else(again);
            results.push(tensor.ok_or_else(|| Failure::argument(format!("output {name:?} was not made")))?);
        }
        Ok(results)
    }

    fn input(&self, index: usize) -> Result<&Port, Failure> {
        self.0.inputs.get(index).ok_or_else(|| Failure::argument(format!("there is no input {index}")))
    }

    fn output(&self, index: usize) -> Result<&Port, Failure> {
        self.0.outputs.get(index).ok_or_else(|| Failure::argument(format!("there is no output {index}")))
    }
}

/// Refuses a run that was told to end.
pub(crate) fn allowed(options: Option<&RunOptions>) -> Result<(), Failure> {
    match options {
        Some(o) if o.terminated.load(Ordering::Acquire) => {
            Err(Failure::new(OrtErrorCode::ORT_FAIL, "the options of the run say that it ends"))
        }
        _ => Ok(()),
    }
}

/// Copies of the inputs of a run.
///
/// # Safety
/// There are `len` names and values, as the API has them.
unsafe fn read_inputs<'a>(
    names: *const *const c_char,
    values: *const *const OrtValue,
    len: usize,
) -> Result<Vec<(&'a str, Tensor)>, Failure> {
    // SAFETY: the caller's promise.
    let names = unsafe { texts(names, len, "input_names") }?;
    // SAFETY: the same.
    let values = unsafe { array(values, len, "inputs") }?;
    let input = |(name, &value): (&'a str, &*const OrtValue)| {
        // SAFETY: the same; values are this table's.
        let value = unsafe { value.cast::<Value>().as_ref() }.ok_or_else(|| missing(name))?;
        Ok((name, value.tensor()?))
    };
    names.into_iter().zip(values).map(input).collect()
}

/// Gives the program its outputs: in the tensors that it gave for them, or in new ones.
///
/// # Safety
/// `places` has as many tensors, or nulls, and may be written to.
unsafe fn write_outputs(names: &[&str], results: Vec<Tensor>, places: *mut *mut OrtValue) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let given = unsafe { array(places.cast_const(), names.len(), "outputs") }?.to_vec();
    let mut made = Vec::with_capacity(names.len());
    for ((name, result), &given) in names.iter().zip(results).zip(&given) {
        // SAFETY: the caller's promise; values are this table's.
        match unsafe { given.cast::<Value>().as_ref() } {
            Some(value) => {
                value.fill(name, &result)?;
                made.push(None);
            }
            None => made.push(Some(Value::new(result)?)),
        }
    }
    // Nothing can fail any more, so nothing that was made is lost.
    let places_of = given.into_iter().zip(made).map(|(given, made)| made.map_or(given, Handle::into_raw));
    // SAFETY: the caller's promise.
    unsafe { fill(places, names.len(), places_of, "outputs") }
}

/// A path of C.
///
/// # Safety
/// `raw` is null, or has an end and lives as long as the call.
unsafe fn path(raw: *const os_char) -> Result<OsString, Failure> {
    if raw.is_null() {
        return Err(missing("path"));
    }
    #[cfg(not(windows))]
    {
        // SAFETY: the caller's promise.
        let bytes = unsafe { std::ffi::CStr::from_ptr(raw) }.to_bytes();
        #[cfg(unix)]
        return Ok(std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec()));
        #[cfg(not(unix))]
        return Ok(String::from_utf8_lossy(bytes).into_owned().into());
    }
    #[cfg(windows)]
    {
        // SAFETY: the caller's promise: no end is passed.
        let len = (0..).take_while(|&i| unsafe { *raw.add(i) } != 0).count();
        // SAFETY: the same.
        let wide = unsafe { std::slice::from_raw_parts(raw, len) };
        Ok(std::os::windows::ffi::OsStringExt::from_wide(wide))
    }
}

/// The places of the outputs of a run on another thread, and what its end is told with.
struct Caller {
    places: *mut *mut OrtValue,
    len: usize,
    data: *mut c_void,
}

// SAFETY: the program gives them for use until it is told the end, on whatever thread that happens.
unsafe impl Send for Caller {}

/// The default options, where the program gives none.
fn or_default<R>(options: Option<&SessionOptions>, f: impl FnOnce(&SessionOptions) -> R) -> R {
    match options {
        Some(options) => f(options),
        None => f(&SessionOptions::default()),
    }
}

calls! {
    fn CreateSession(
        environment: &Environment, path: *const os_char, options: Option<&SessionOptions>, out: Out<*mut OrtSession>,
    ) {
        // SAFETY: the caller gives a path, or null.
        let path = unsafe { self::path(path) }?;
        let session = or_default(options, |options| Session::of_file(environment, options, path.as_ref()))?;
        out.set(session.into_raw());
        Ok(())
    }

    fn CreateSessionFromArray(
        environment: &Environment, bytes: *const c_void, len: usize, options: Option<&SessionOptions>,
        out: Out<*mut OrtSession>,
    ) {
        // SAFETY: the caller gives an array of this length.
        let bytes = unsafe { array(bytes.cast::<u8>(), len, "bytes") }?;
        let session = or_default(options, |options| Session::of_bytes(environment, options, bytes))?;
        out.set(session.into_raw());
        Ok(())
    }

    fn CreateSessionWithPrepackedWeightsContainer(
        environment: &Environment, path: *const os_char, options: Option<&SessionOptions>,
        _prepacked: Shared<Prepacked>, out: Out<*mut OrtSession>,
    ) {
        // SAFETY: the caller gives a path, or null.
        let path = unsafe { self::path(path) }?;
        let session = or_default(options, |options| Session::of_file(environment, options, path.as_ref()))?;
        out.set(session.into_raw());
        Ok(())
    }

    fn CreateSessionFromArrayWithPrepackedWeightsContainer(
        environment: &Environment, bytes: *const c_void, len: usize, options: Option<&SessionOptions>,
        _prepacked: Shared<Prepacked>, out: Out<*mut OrtSession>,
    ) {
        // SAFETY: the caller gives an array of this length.
        let bytes = unsafe { array(bytes.cast::<u8>(), len, "bytes") }?;
        let session = or_default(options, |options| Session::of_bytes(environment, options, bytes))?;
        out.set(session.into_raw());
        Ok(())
    }

    fn Run(
        session: Shared<Session>, options: Option<&RunOptions>, input_names: *const *const c_char,
        inputs: *const *const OrtValue, input_len: usize, output_names: *const *const c_char, output_len: usize,
        outputs: *mut *mut OrtValue,
    ) {
        allowed(options)?;
        // SAFETY: the caller gives arrays of these lengths.
        let inputs = unsafe { read_inputs(input_names, inputs, input_len) }?;
        // SAFETY: the same.
        let wanted = unsafe { texts(output_names, output_len, "output_names") }?;
        let results = session.run(inputs, &wanted)?;
        // SAFETY: the same.
        unsafe { write_outputs(&wanted, results, outputs) }
    }

    /// The inputs are copied before this returns; a thread of its own then waits for the run.
    fn RunAsync(
        session: Shared<Session>, options: Option<&RunOptions>, input_names: *const *const c_char,
        inputs: *const *const OrtValue, input_len: usize, output_names: *const *const c_char, output_len: usize,
        outputs: *mut *mut OrtValue, done: RunAsyncCallbackFn, data: *mut c_void,
    ) {
        let done = done.ok_or_else(|| missing("done"))?;
        allowed(options)?;
        // SAFETY: the caller gives arrays of these lengths.
        let inputs = unsafe { read_inputs(input_names, inputs, input_len) }?;
        let inputs: Vec<(String, Tensor)> = inputs.into_iter().map(|(name, t)| (name.to_owned(), t)).collect();
        // SAFETY: the same.
        let wanted = unsafe { texts(output_names, output_len, "output_names") }?;
        let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        let (session, caller) = (Session::clone(&session), Caller { places: outputs, len: output_len, data });
        let run = move || {
            let caller = caller;
            let status = guard(|| {
                let inputs = inputs.iter().map(|(name, t)| (&**name, t.clone())).collect();
                let wanted: Vec<&str> = wanted.iter().map(|name| &**name).collect();
                let results = session.run(inputs, &wanted)?;
                // SAFETY: the places are the program's until it is told the end.
                unsafe { write_outputs(&wanted, results, caller.places) }
            });
            // SAFETY: the function is the program's, and is called once.
            unsafe { done(caller.data, caller.places, caller.len, status) };
        };
        match thread::Builder::new().name("bgz-ort-run".into()).spawn(run) {
            Ok(_) => Ok(()),
            Err(e) => Err(Failure::new(OrtErrorCode::ORT_FAIL, format!("cannot start a thread: {e}"))),
        }
    }

    fn SessionGetInputCount(session: &Session, out: Out<usize>) {
        out.set(session.0.inputs.len());
        Ok(())
    }

    fn SessionGetOutputCount(session: &Session, out: Out<usize>) {
        out.set(session.0.outputs.len());
        Ok(())
    }

    /// Initialisers are constants.
    fn SessionGetOverridableInitializerCount(_session: &Session, out: Out<usize>) {
        out.set(0);
        Ok(())
    }

    fn SessionGetInputName(session: &Session, index: usize, allocator: Allocator, out: Out<*mut c_char>) {
        out.set(allocator.text(&session.input(index)?.name)?);
        Ok(())
    }

    fn SessionGetOutputName(session: &Session, index: usize, allocator: Allocator, out: Out<*mut c_char>) {
        out.set(allocator.text(&session.output(index)?.name)?);
        Ok(())
    }

    fn SessionGetInputTypeInfo(session: &Session, index: usize, out: Out<*mut OrtTypeInfo>) {
        out.set(TypeInfo::new(session.input(index)?.info.clone()).into_raw());
        Ok(())
    }

    fn SessionGetOutputTypeInfo(session: &Session, index: usize, out: Out<*mut OrtTypeInfo>) {
        out.set(TypeInfo::new(session.output(index)?.info.clone()).into_raw());
        Ok(())
    }

    fn SessionGetModelMetadata(session: &Session, out: Out<*mut OrtModelMetadata>) {
        out.set(session.0.metadata.clone().into_raw());
        Ok(())
    }

    fn SessionGetMemoryInfoForInputs(session: &Session, out: *mut *const OrtMemoryInfo, len: usize) {
        // SAFETY: the caller gives room for `len` pointers.
        unsafe { fill(out, len, session.0.inputs.iter().map(|_| memory::cpu()), "out") }
    }

    fn SessionGetMemoryInfoForOutputs(session: &Session, out: *mut *const OrtMemoryInfo, len: usize) {
        // SAFETY: the caller gives room for `len` pointers.
        unsafe { fill(out, len, session.0.outputs.iter().map(|_| memory::cpu()), "out") }
    }

    /// Hints to devices, of which the CPU takes none.
    fn SetEpDynamicOptions(
        _session: Shared<Session>, _keys: *const *const c_char, _values: *const *const c_char, _len: usize,
    ) {
        Ok(())
    }
}

pub(crate) unsafe extern "system" fn GetBuildInfoString() -> *const c_char {
    concat!("ORT Build Info: backend=bgz-fusion, version=", env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
