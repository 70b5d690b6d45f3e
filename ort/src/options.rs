//! Options: of the environment, of sessions and of runs.

use crate::arguments::{Handle, Out, Shared, calls, fill, missing, text};
use crate::status::{Failure, c_string};
use ort_sys::{
    ExecutionMode, GraphOptimizationLevel, OrtEnv, OrtEnvCreationOptions, OrtErrorCode,
    OrtExecutionProviderDevicePolicy, OrtLanguageProjection, OrtLoggingFunction, OrtLoggingLevel,
    OrtPrepackedWeightsContainer, OrtRunOptions, OrtSessionOptions, OrtThreadingOptions,
};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{ptr, thread};

/// The part that all sessions of a program share.
#[derive(Default)]
pub(crate) struct Environment {
    /// For sessions that have no threads of their own, if the program asked for that.
    pub pool: Option<Arc<ThreadPool>>,
}

/// Options of an environment's threads.
#[derive(Default)]
pub(crate) struct ThreadingOptions {
    threads: Threads,
}

/// Options of a session. They are locked one by one, since another thread may cancel loading at any time.
#[derive(Default)]
pub(crate) struct SessionOptions {
    /// Set from another thread to end loading.
    pub cancelled: AtomicBool,
    settings: Mutex<Settings>,
}

/// Options of a session that are set before it is made.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub threads: Threads,
    /// On the environment's threads instead.
    pub shares_threads: bool,
    /// The graph is not rewritten.
    pub as_imported: bool,
    /// Numbers for named dims.
    pub dims: BTreeMap<String, usize>,
    /// All others, which are kept for whoever asks for them.
    entries: BTreeMap<String, CString>,
}

/// Options of a run.
pub(crate) struct RunOptions {
    /// Set from any thread. A run that has begun goes on to its end.
    pub terminated: AtomicBool,
    severity: AtomicI32,
    verbosity: AtomicI32,
    tag: CString,
    entries: BTreeMap<String, CString>,
}

/// Weights that sessions were to share. There are none, as each session packs its own.
pub(crate) struct Prepacked;

impl Handle for Environment {
    type Sys = OrtEnv;
}

impl Handle for ThreadingOptions {
    type Sys = OrtThreadingOptions;
}

impl Handle for SessionOptions {
    type Sys = OrtSessionOptions;
}

impl Handle for RunOptions {
    type Sys = OrtRunOptions;
}

impl Handle for Prepacked {
    type Sys = OrtPrepackedWeightsContainer;
}

/// A number of threads, if one was asked for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Threads(Option<NonZero<usize>>);

impl Threads {
    fn new(n: c_int) -> Result<Self, Failure> {
        let n = usize::try_from(n).map_err(|_| Failure::argument(format!("{n} is not a number of threads")))?;
        Ok(Self(NonZero::new(n)))
    }

    /// The number, but not more than there are CPUs, as more threads only wait for each other.
    pub(crate) fn count(self) -> Option<usize> {
        let cpus = thread::available_parallelism().ok();
        self.0.map(|n| cpus.map_or(n, |cpus| n.min(cpus)).get())
    }

    /// Threads for several sessions, if a number was asked for.
    fn pool(self) -> Result<Option<Arc<ThreadPool>>, Failure> {
        let Some(n) = self.count() else { return Ok(None) };
        let pool = ThreadPoolBuilder::new().num_threads(n).thread_name(|i| format!("bgz-ort-{i}")).build();
        match pool {
            Ok(pool) => Ok(Some(Arc::new(pool))),
            Err(e) => Err(Failure::new(OrtErrorCode::ORT_FAIL, format!("cannot start threads: {e}"))),
        }
    }
}

impl SessionOptions {
    /// The settings, and nobody else has them.
    pub(crate) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            terminated: AtomicBool::new(false),
            severity: AtomicI32::new(-1),
            verbosity: AtomicI32::new(0),
            tag: CString::default(),
            entries: BTreeMap::new(),
        }
    }
}

fn environment(threads: Option<&ThreadingOptions>, out: &Out<*mut OrtEnv>) -> Result<(), Failure> {
    let pool = threads.map_or(Ok(None), |t| t.threads.pool())?;
    out.set(Environment { pool }.into_raw());
    Ok(())
}

calls! {
    fn CreateEnv(_level: OrtLoggingLevel, _id: *const c_char, out: Out<*mut OrtEnv>) {
        environment(None, &out)
    }

    fn CreateEnvWithCustomLogger(
        _log: OrtLoggingFunction, _to: *mut c_void, _level: OrtLoggingLevel, _id: *const c_char, out: Out<*mut OrtEnv>,
    ) {
        environment(None, &out)
    }

    fn CreateEnvWithGlobalThreadPools(
        _level: OrtLoggingLevel, _id: *const c_char, threads: &ThreadingOptions, out: Out<*mut OrtEnv>,
    ) {
        environment(Some(threads), &out)
    }

    fn CreateEnvWithCustomLoggerAndGlobalThreadPools(
        _log: OrtLoggingFunction, _to: *mut c_void, _level: OrtLoggingLevel, _id: *const c_char,
        threads: &ThreadingOptions, out: Out<*mut OrtEnv>,
    ) {
        environment(Some(threads), &out)
    }

    fn CreateEnvWithOptions(options: *const OrtEnvCreationOptions, out: Out<*mut OrtEnv>) {
        // SAFETY: the caller gives options, or null.
        let options = unsafe { options.as_ref() }.ok_or_else(|| missing("options"))?;
        // SAFETY: threading options are of this table, or null.
        environment(unsafe { options.threading_options.cast::<ThreadingOptions>().as_ref() }, &out)
    }

    fn EnableTelemetryEvents(_environment: *const OrtEnv) {
        Ok(())
    }

    fn DisableTelemetryEvents(_environment: *const OrtEnv) {
        Ok(())
    }

    fn SetLanguageProjection(_environment: *const OrtEnv, _language: OrtLanguageProjection) {
        Ok(())
    }

    fn UpdateEnvWithCustomLogLevel(_environment: *mut OrtEnv, _level: OrtLoggingLevel) {
        Ok(())
    }

    fn CreateThreadingOptions(out: Out<*mut OrtThreadingOptions>) {
        out.set(ThreadingOptions::default().into_raw());
        Ok(())
    }

    fn SetGlobalIntraOpNumThreads(options: &mut ThreadingOptions, n: c_int) {
        options.threads = Threads::new(n)?;
        Ok(())
    }

    fn SetGlobalInterOpNumThreads(_options: &mut ThreadingOptions, _n: c_int) {
        Ok(())
    }

    fn SetGlobalSpinControl(_options: &mut ThreadingOptions, _spin: c_int) {
        Ok(())
    }

    fn GetAvailableProviders(out: Out<*mut *mut c_char>, count: Out<c_int>) {
        let name = c_string("CPUExecutionProvider").into_raw();
        out.set(Box::into_raw(Box::new(name)));
        count.set(1);
        Ok(())
    }

    fn ReleaseAvailableProviders(providers: *mut *mut c_char, _count: c_int) {
        if !providers.is_null() {
            // SAFETY: the caller gives back what `GetAvailableProviders` made: a box of one name.
            let name = unsafe { *Box::from_raw(providers) };
            // SAFETY: the same.
            drop(unsafe { CString::from_raw(name) });
        }
        Ok(())
    }

    fn CreatePrepackedWeightsContainer(out: Out<*mut OrtPrepackedWeightsContainer>) {
        out.set(Prepacked.into_raw());
        Ok(())
    }

    fn CreateSessionOptions(out: Out<*mut OrtSessionOptions>) {
        out.set(SessionOptions::default().into_raw());
        Ok(())
    }

    fn CloneSessionOptions(options: &SessionOptions, out: Out<*mut OrtSessionOptions>) {
        let settings = Mutex::new(options.settings().clone());
        out.set(SessionOptions { settings, ..SessionOptions::default() }.into_raw());
        Ok(())
    }

    fn SetSessionGraphOptimizationLevel(options: Shared<SessionOptions>, level: GraphOptimizationLevel) {
        options.settings().as_imported = level == GraphOptimizationLevel::ORT_DISABLE_ALL;
        Ok(())
    }

    fn SetIntraOpNumThreads(options: Shared<SessionOptions>, n: c_int) {
        options.settings().threads = Threads::new(n)?;
        Ok(())
    }

    fn DisablePerSessionThreads(options: Shared<SessionOptions>) {
        options.settings().shares_threads = true;
        Ok(())
    }

    fn AddFreeDimensionOverrideByName(options: Shared<SessionOptions>, name: &str, extent: i64) {
        let extent = usize::try_from(extent).map_err(|_| Failure::argument(format!("{extent} is not an extent")))?;
        options.settings().dims.insert(name.into(), extent);
        Ok(())
    }

    fn SessionOptionsSetLoadCancellationFlag(options: Shared<SessionOptions>, cancel: bool) {
        options.cancelled.store(cancel, Ordering::Release);
        Ok(())
    }

    fn AddSessionConfigEntry(options: Shared<SessionOptions>, key: &str, value: &str) {
        options.settings().entries.insert(key.into(), c_string(value));
        Ok(())
    }

    fn HasSessionConfigEntry(options: &SessionOptions, key: &str, out: Out<c_int>) {
        out.set(options.settings().entries.contains_key(key).into());
        Ok(())
    }

    fn GetSessionConfigEntry(options: &SessionOptions, key: &str, out: *mut c_char, size: Out<usize>) {
        let settings = options.settings();
        let value = settings.entries.get(key).ok_or_else(|| Failure::argument(format!("{key:?} is not set")))?;
        let bytes = value.as_bytes_with_nul();
        // SAFETY: as the API says, the size is there to begin with.
        let room = unsafe { size.get() };
        size.set(bytes.len());
        if out.is_null() {
            return Ok(());
        }
        if room < bytes.len() {
            return Err(Failure::argument(format!("{key:?} takes {} bytes, there is room for {room}", bytes.len())));
        }
        // SAFETY: the caller gives room for as many bytes.
        unsafe { fill(out, room, bytes.iter().map(|&b| b as c_char), "out") }
    }

    fn SetInterOpNumThreads(_options: Shared<SessionOptions>, n: c_int) {
        Threads::new(n).map(drop)
    }

    fn SetSessionExecutionMode(_options: Shared<SessionOptions>, _mode: ExecutionMode) {
        Ok(())
    }

    fn SetDeterministicCompute(_options: Shared<SessionOptions>, _on: bool) {
        Ok(())
    }

    /// For options of what is done another way here: memory, and profiles that are not to be written.
    fn Ignored(_options: Shared<SessionOptions>) {
        Ok(())
    }

    fn SetSessionLogId(_options: Shared<SessionOptions>, _id: *const c_char) {
        Ok(())
    }

    fn SetSessionLogVerbosityLevel(_options: Shared<SessionOptions>, _level: c_int) {
        Ok(())
    }

    fn SetSessionLogSeverityLevel(_options: Shared<SessionOptions>, _level: c_int) {
        Ok(())
    }

    fn SetUserLoggingFunction(_options: Shared<SessionOptions>, _log: OrtLoggingFunction, _to: *mut c_void) {
        Ok(())
    }

    /// The CPU is all there is to select.
    fn SessionOptionsSetEpSelectionPolicy(
        _options: Shared<SessionOptions>, _policy: OrtExecutionProviderDevicePolicy,
    ) {
        Ok(())
    }

    fn CreateRunOptions(out: Out<*mut OrtRunOptions>) {
        out.set(RunOptions::default().into_raw());
        Ok(())
    }

    fn RunOptionsSetTerminate(options: Shared<RunOptions>) {
        options.terminated.store(true, Ordering::Release);
        Ok(())
    }

    fn RunOptionsUnsetTerminate(options: Shared<RunOptions>) {
        options.terminated.store(false, Ordering::Release);
        Ok(())
    }

    fn RunOptionsSetRunLogVerbosityLevel(options: Shared<RunOptions>, level: c_int) {
        options.verbosity.store(level, Ordering::Relaxed);
        Ok(())
    }

    fn RunOptionsSetRunLogSeverityLevel(options: Shared<RunOptions>, level: c_int) {
        options.severity.store(level, Ordering::Relaxed);
        Ok(())
    }

    fn RunOptionsGetRunLogVerbosityLevel(options: &RunOptions, out: Out<c_int>) {
        out.set(options.verbosity.load(Ordering::Relaxed));
        Ok(())
    }

    fn RunOptionsGetRunLogSeverityLevel(options: &RunOptions, out: Out<c_int>) {
        out.set(options.severity.load(Ordering::Relaxed));
        Ok(())
    }

    fn RunOptionsSetRunTag(options: &mut RunOptions, tag: &str) {
        options.tag = c_string(tag);
        Ok(())
    }

    fn RunOptionsGetRunTag(options: &RunOptions, out: Out<*const c_char>) {
        out.set(options.tag.as_ptr());
        Ok(())
    }

    fn AddRunConfigEntry(options: &mut RunOptions, key: &str, value: &str) {
        options.entries.insert(key.into(), c_string(value));
        Ok(())
    }
}

/// A value that was set, or null.
pub(crate) unsafe extern "system" fn GetRunConfigEntry(
    options: *const OrtRunOptions,
    key: *const c_char,
) -> *const c_char {
    // SAFETY: the caller gives options of this table, or null.
    let options = unsafe { options.cast::<RunOptions>().as_ref() };
    // SAFETY: the caller gives a string, or null.
    let key = unsafe { text(key, "key") };
    let value = options.zip(key.ok()).and_then(|(o, k)| o.entries.get(k));
    value.map_or(ptr::null(), |v| v.as_ptr())
}
