//! External data of a model.

use super::error::ImportError;
use crate::storage::Storage;
use bgz_passes::ir::Origin;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Raw data of at least this many bytes stays in the file.
pub(super) const LARGE: u64 = 64 << 10;

/// The name of the model's own file in the skeleton of a model. No file is called so.
pub(super) const OWN_FILE: &str = "\0";

/// Where external data is looked for.
pub(super) struct External {
    dir: Option<PathBuf>,
    own: Option<Storage>,
    files: RefCell<HashMap<String, Storage>>,
}

/// Bytes of a tensor, and where they can be had again if they are many.
pub(super) struct Data {
    pub bytes: Bytes,
    pub origin: Option<Box<dyn Origin>>,
}

impl External {
    /// In the folder of the model, and in its own file; others are read or mapped as that one is.
    pub fn beside(model: &Path, own: Option<Storage>) -> Self {
        let dir = model.parent().map(Path::to_path_buf).unwrap_or_default();
        Self { dir: Some(dir), own, files: RefCell::default() }
    }

    /// Nowhere: the model came from memory.
    pub fn none() -> Self {
        Self { dir: None, own: None, files: RefCell::default() }
    }

    /// The bytes at `entries` (ONNX `external_data`) for a tensor that takes `expected` bytes.
    pub fn data<'a>(
        &self,
        tensor: &str,
        entries: impl Iterator<Item = (&'a str, &'a str)>,
        expected: usize,
    ) -> Result<Data, ImportError> {
        let (mut file, mut offset, mut length) = (String::new(), 0usize, None);
        let tensor_error = |message| ImportError::Tensor { tensor: tensor.into(), message };
        for (key, value) in entries {
            let number = || {
                value.trim().parse::<usize>().map_err(|_| tensor_error(format!("{key} of external data is {value:?}")))
            };
            match key {
                "location" => file = value.into(),
                "offset" => offset = number()?,
                "length" => length = Some(number()?),
                // Not needed to find the data.
                _ => {}
            }
        }
        if file.is_empty() {
            return Err(tensor_error("external data without a location".into()));
        }
        if file == OWN_FILE
            && let Some(own) = &self.own
        {
            let there = length.unwrap_or_default();
            if there != expected {
                return Err(tensor_error(format!("{there} bytes of data where its shape needs {expected}")));
            }
            return take(own, offset, expected).map_err(|e| tensor_error(e.to_string()));
        }
        let fail = |message: String| ImportError::External { tensor: tensor.into(), file: file.clone(), message };
        let Some(dir) = &self.dir else {
            return Err(fail("a model from memory cannot have external data; load it from its file".into()));
        };
        if !is_inside(&file) {
            return Err(fail("the path leaves the folder of the model".into()));
        }
        if length.is_some_and(|n| n != expected) {
            return Err(fail(format!("{} bytes where the shape needs {expected}", length.unwrap_or_default())));
        }
        let storage = self.file(dir, &file).map_err(|e| fail(e.to_string()))?;
        let all = storage.len();
        if (offset as u64).checked_add(expected as u64).is_none_or(|end| end > all) {
            return Err(fail(format!("{expected} bytes from {offset} are beyond the {all} bytes of the file")));
        }
        take(&storage, offset, expected).map_err(|e| fail(e.to_string()))
    }

    fn file(&self, dir: &Path, file: &str) -> io::Result<Storage> {
        if let Some(storage) = self.files.borrow().get(file) {
            return Ok(storage.clone());
        }
        let path = dir.join(file);
        // A pipe would be waited for.
        if !path.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        let storage = match &self.own {
            // SAFETY: whoever mapped the model promised that its files do not change.
            Some(Storage::Mapped(_)) => unsafe { Storage::map(&path)? },
            _ => Storage::open(&path)?,
        };
        self.files.borrow_mut().insert(file.into(), storage.clone());
        Ok(storage)
    }
}

fn take(storage: &Storage, offset: usize, len: usize) -> io::Result<Data> {
    let offset = offset as u64;
    let bytes = storage.range(offset, len)?;
    let origin = (len as u64 >= LARGE).then(|| storage.origin(offset, len));
    Ok(Data { bytes, origin })
}

/// True if a relative path stays where it starts, by its text. A link is
/// followed: it was made by whoever put the model there, not by the model.
fn is_inside(file: &str) -> bool {
    // A backslash separates on some systems, so `..\x` leaves there too.
    let unified = file.replace('\\', "/");
    let plain = |path: &Path| {
        let mut depth = 0usize;
        path.components().all(|c| match c {
            Component::Normal(_) => {
                depth += 1;
                true
            }
            Component::CurDir => true,
            Component::ParentDir if depth > 0 => {
                depth -= 1;
                true
            }
            _ => false,
        })
    };
    plain(Path::new(file)) && plain(Path::new(&unified)) && !unified.contains(':')
}

#[cfg(test)]
mod tests {
    use super::is_inside;

    #[test]
    fn paths_that_leave_are_seen() {
        for bad in ["../x", "a/../../x", "/etc/passwd", "..\\x", "C:\\x", "\\\\host\\x"] {
            assert!(!is_inside(bad), "{bad}");
        }
        for good in ["x.data", "./x", "a/b.bin", "a/../b"] {
            assert!(is_inside(good), "{good}");
        }
    }
}
