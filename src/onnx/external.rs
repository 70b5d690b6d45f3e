//! External data of a model.

use super::error::ImportError;
use crate::mapped::map;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Where external data is looked for.
pub(super) struct External {
    dir: Option<PathBuf>,
    mapped: RefCell<HashMap<String, Bytes>>,
}

impl External {
    /// In the folder of the model.
    pub fn beside(model: &Path) -> Self {
        Self { dir: Some(model.parent().map(Path::to_path_buf).unwrap_or_default()), mapped: RefCell::default() }
    }

    /// Nowhere: the model came from memory.
    pub fn none() -> Self {
        Self { dir: None, mapped: RefCell::default() }
    }

    /// The bytes at `entries` (ONNX `external_data`) for a tensor that takes `expected` bytes.
    pub fn slice<'a>(
        &self,
        tensor: &str,
        entries: impl Iterator<Item = (&'a str, &'a str)>,
        expected: usize,
    ) -> Result<Bytes, ImportError> {
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
        let fail = |message: String| ImportError::External { tensor: tensor.into(), file: file.clone(), message };
        if file.is_empty() {
            return Err(tensor_error("external data without a location".into()));
        }
        let Some(dir) = &self.dir else {
            return Err(fail("a model from memory cannot have external data; load it from its file".into()));
        };
        if !is_inside(&file) {
            return Err(fail("the path leaves the folder of the model".into()));
        }
        if length.is_some_and(|n| n != expected) {
            return Err(fail(format!("{} bytes where the shape needs {expected}", length.unwrap_or_default())));
        }
        let all = self.file(dir, &file).map_err(|e| fail(e.to_string()))?;
        match offset.checked_add(expected) {
            Some(end) if end <= all.len() => Ok(all.slice(offset..end)),
            _ => Err(fail(format!("{expected} bytes from {offset} are beyond the {} bytes of the file", all.len()))),
        }
    }

    fn file(&self, dir: &Path, file: &str) -> io::Result<Bytes> {
        if let Some(bytes) = self.mapped.borrow().get(file) {
            return Ok(bytes.clone());
        }
        let bytes = map(&dir.join(file))?;
        self.mapped.borrow_mut().insert(file.into(), bytes.clone());
        Ok(bytes)
    }
}

/// Whether a relative path stays where it starts, by its text. A link is
/// followed: it was made by whoever put the model there, not by the model.
fn is_inside(file: &str) -> bool {
    // A backslash separates on some systems, so `..\x` leaves there too.
    let unified = file.replace('\\', "/");
    let plain = |path: &Path| path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
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
        for good in ["x.data", "./x", "a/b.bin"] {
            assert!(is_inside(good), "{good}");
        }
    }
}
