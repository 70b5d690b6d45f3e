//! Running the binary, and making files for it.
#![allow(dead_code, reason = "each test file uses a part")]

use npyz::WriterBuilder;
use npyz::npz::NpzWriter;
use npyz::zip::write::FileOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a run of `bgz` gave.
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A run of `bgz`, which must not panic whatever else it does.
pub fn bgz<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_bgz")).args(args).env_remove("BGZ_ISA").output().expect("bgz starts");
    let run = Run {
        code: status.code(),
        out: String::from_utf8(stdout).expect("UTF-8"),
        err: String::from_utf8(stderr).expect("UTF-8"),
    };
    assert!(!run.err.contains("panicked"), "{}", run.err);
    assert!(run.code.is_some(), "killed by a signal: {status}");
    run
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
        let mut npz = Npz(NpzWriter::create(&path).expect("a file"));
        fill(&mut npz);
        npz.0.zip_writer().finish().expect("an npz file");
        path
    }
}

/// An npz file being written.
pub struct Npz(NpzWriter<std::io::BufWriter<std::fs::File>>);

impl Npz {
    pub fn add<T: npyz::AutoSerialize + Copy>(&mut self, name: &str, shape: &[u64], values: &[T]) {
        let array = self.0.array::<T>(name, FileOptions::default()).expect("an entry");
        let mut writer = array.default_dtype().shape(shape).begin_nd().expect("a header");
        writer.extend(values.iter().copied()).expect("elements");
        writer.finish().expect("as many elements as the shape says");
    }
}

/// An array of an npz file.
pub fn read<T: npyz::Deserialize>(path: &str, name: &str) -> (Vec<u64>, Vec<T>) {
    let mut npz = npyz::npz::NpzArchive::open(path).expect("an npz file");
    let array = npz.by_name(name).expect("an npz file").unwrap_or_else(|| panic!("no array {name}"));
    let shape = array.shape().to_vec();
    (shape, array.into_vec().expect("elements"))
}
