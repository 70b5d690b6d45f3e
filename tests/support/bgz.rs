//! Running the binary, and making files for it.
#![allow(dead_code, reason = "each test file uses a part")]

use npyz::WriterBuilder;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// The outcome of a run of `bgz`.
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

fn command<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bgz"));
    command.args(args).env_remove("BGZ_ISA");
    command
}

/// A run of `bgz`, which must not panic whatever else it does.
pub fn bgz<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    let Output { status, stdout, stderr } = command(args).output().expect("bgz starts");
    let run = Run {
        code: status.code(),
        out: String::from_utf8(stdout).expect("UTF-8"),
        err: String::from_utf8(stderr).expect("UTF-8"),
    };
    assert!(!run.err.contains("panicked"), "{}", run.err);
    assert!(run.code.is_some(), "killed by a signal: {status}");
    run
}

/// A run of `bgz` that may do anything, for as long as `limit`; nothing if it took longer and was ended. What it says on
/// stderr goes through a file at the path `err`, which nobody has to empty while it runs; stdout is not kept.
pub fn within<S: AsRef<std::ffi::OsStr>>(limit: Duration, err: &str, args: impl IntoIterator<Item = S>) -> Option<Run> {
    let file = File::create(err).expect("a file");
    let mut child = command(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().expect("bgz starts");
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child of this process") {
            break status;
        }
        if Instant::now() > end {
            child.kill().expect("a child of this process");
            child.wait().expect("a child of this process");
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let err = std::fs::read(err).expect("what it said");
    Some(Run { code: status.code(), out: String::new(), err: String::from_utf8_lossy(&err).into_owned() })
}

/// The stdout of a run that has to succeed.
pub fn ok<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let run = bgz(args);
    assert_eq!(run.code, Some(0), "{}{}", run.out, run.err);
    run.out
}

/// The stderr of a run that has to fail with exit code 1, naming all of `names`.
pub fn fails<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>, names: &[&str]) -> String {
    let run = bgz(args);
    assert_eq!(run.code, Some(1), "{}{}", run.out, run.err);
    assert!(run.err.starts_with("bgz: "), "{}", run.err);
    for name in names {
        assert!(run.err.contains(name), "{name:?} is not in: {}", run.err);
    }
    run.err
}

/// An empty folder of a test's own.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        if path.exists() {
            std::fs::remove_dir_all(&path).expect("an old folder goes");
        }
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// A path in it, as an argument.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").into()
    }

    /// A file in it.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.join(name), contents).expect("a file");
        self.path(name)
    }

    /// An npz file in it.
    pub fn npz(&self, name: &str, fill: impl FnOnce(&mut Npz)) -> String {
        let path = self.path(name);
        let mut npz = Npz(ZipWriter::new(BufWriter::new(File::create(&path).expect("a file"))));
        fill(&mut npz);
        npz.0.finish().expect("an npz file");
        path
    }
}

/// An npz file being written.
pub struct Npz(ZipWriter<BufWriter<File>>);

impl Npz {
    pub fn add<T: npyz::AutoSerialize + Copy>(&mut self, name: &str, shape: &[u64], values: &[T]) {
        self.0.start_file(format!("{name}.npy"), SimpleFileOptions::default()).expect("an entry");
        let array = npyz::WriteOptions::<T>::new().default_dtype().shape(shape).writer(&mut self.0);
        let mut writer = array.begin_nd().expect("a header");
        writer.extend(values.iter().copied()).expect("elements");
        writer.finish().expect("as many elements as the shape says");
    }
}

/// An array of an npz file.
pub fn read<T: npyz::Deserialize>(path: &str, name: &str) -> (Vec<u64>, Vec<T>) {
    let mut zip = ZipArchive::new(BufReader::new(File::open(path).expect("a file"))).expect("an npz file");
    let array = zip.by_name(&format!("{name}.npy")).unwrap_or_else(|e| panic!("array {name}: {e}"));
    let array = npyz::NpyFile::new(array).expect("an array");
    let shape = array.shape().to_vec();
    (shape, array.into_vec().expect("elements"))
}
