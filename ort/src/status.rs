//! Errors and panics as the statuses of the API.

use crate::arguments::{Handle, text};
use bgz_fusion::exec::ExecError;
use bgz_fusion::onnx::ImportError;
use bgz_fusion::{Error, TensorError};
use ort_sys::{OrtErrorCode, OrtStatus, OrtStatusPtr};
use std::any::Any;
use std::error::Error as _;
use std::ffi::{CString, c_char};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// An error with the code that the API has for it.
#[derive(Debug)]
pub(crate) struct Failure {
    code: OrtErrorCode,
    message: String,
}

/// An error that the program holds.
pub(crate) struct Status {
    code: OrtErrorCode,
    message: CString,
}

impl Handle for Status {
    type Sys = OrtStatus;
}

impl Failure {
    pub(crate) fn new(code: OrtErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An argument that makes no sense.
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(OrtErrorCode::ORT_INVALID_ARGUMENT, message)
    }

    /// Something that this crate does not do.
    pub(crate) fn unsupported(what: &str) -> Self {
        Self::new(OrtErrorCode::ORT_NOT_IMPLEMENTED, format!("not supported by bgz-fusion: {what}"))
    }

    pub(crate) fn into_status(self) -> OrtStatusPtr {
        OrtStatusPtr(Status { code: self.code, message: c_string(&self.message) }.into_raw())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        use OrtErrorCode::*;
        let code = match &error {
            Error::Import { source: ImportError::Io { source, .. }, .. } => match source.kind() {
                io::ErrorKind::NotFound => ORT_NO_SUCHFILE,
                _ => ORT_FAIL,
            },
            Error::Import { source: ImportError::Format(_), .. } => ORT_INVALID_PROTOBUF,
            Error::Import { source: ImportError::Unsupported(_), .. } => ORT_NOT_IMPLEMENTED,
            Error::Import { .. } => ORT_INVALID_GRAPH,
            Error::UnknownDim { .. }
            | Error::Exec(
                ExecError::InputCount { .. }
                | ExecError::UnknownInput { .. }
                | ExecError::UnknownOutput { .. }
                | ExecError::MissingInput { .. }
                | ExecError::InputType { .. },
            ) => ORT_INVALID_ARGUMENT,
            Error::Exec(_) => ORT_RUNTIME_EXCEPTION,
            Error::Rewrite(_) => ORT_FAIL,
        };
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(e) = cause {
            message.push_str(": ");
            message.push_str(&e.to_string());
            cause = e.source();
        }
        Self { code, message }
    }
}

impl From<TensorError> for Failure {
    fn from(error: TensorError) -> Self {
        match error {
            TensorError::Memory { .. } => Self::new(OrtErrorCode::ORT_RUNTIME_EXCEPTION, error.to_string()),
            _ => Self::argument(error.to_string()),
        }
    }
}

/// Text for C, which has no NUL within.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

/// Runs `f` for a caller that knows neither results nor panics.
pub(crate) fn guard(f: impl FnOnce() -> Result<(), Failure>) -> OrtStatusPtr {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(())) => OrtStatusPtr(ptr::null_mut()),
        Ok(Err(failure)) => failure.into_status(),
        Err(payload) => {
            let message = format!("bgz-fusion panicked: {}", said(payload.as_ref()));
            Failure::new(OrtErrorCode::ORT_RUNTIME_EXCEPTION, message).into_status()
        }
    }
}

/// The message of a panic.
fn said(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("for no reason given")
}

/// A status of the program's own.
pub(crate) unsafe extern "system" fn CreateStatus(code: OrtErrorCode, message: *const c_char) -> OrtStatusPtr {
    // SAFETY: the caller gives a string, or null.
    match unsafe { text(message, "message") } {
        Ok(message) => Failure::new(code, message).into_status(),
        Err(failure) => failure.into_status(),
    }
}

pub(crate) unsafe extern "system" fn GetErrorCode(status: *const OrtStatus) -> OrtErrorCode {
    // SAFETY: the caller gives a status of this table that it has not released, or null.
    unsafe { status.cast::<Status>().as_ref() }.map_or(OrtErrorCode::ORT_OK, |s| s.code)
}

pub(crate) unsafe extern "system" fn GetErrorMessage(status: *const OrtStatus) -> *const c_char {
    // SAFETY: as above.
    unsafe { status.cast::<Status>().as_ref() }.map_or(c"".as_ptr(), |s| s.message.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::release;
    use std::ffi::CStr;

    fn seen(status: OrtStatusPtr) -> Option<(OrtErrorCode, String)> {
        if status.0.is_null() {
            return None;
        }
        // SAFETY: the status was made by `guard` and is not released yet.
        let message = unsafe { CStr::from_ptr(GetErrorMessage(status.0)) }.to_string_lossy().into_owned();
        // SAFETY: the same.
        let code = unsafe { GetErrorCode(status.0) };
        // SAFETY: the same, and nobody uses it any more.
        unsafe { release::<Status>(status.0) };
        Some((code, message))
    }

    #[test]
    fn panics_are_statuses() {
        assert_eq!(seen(guard(|| Ok(()))), None);
        let (code, message) = seen(guard(|| panic!("no {}", 7))).expect("a status");
        assert_eq!((code, message.as_str()), (OrtErrorCode::ORT_RUNTIME_EXCEPTION, "bgz-fusion panicked: no 7"));
        let (code, message) = seen(guard(|| Err(Failure::argument("a\0b")))).expect("a status");
        assert_eq!((code, message.as_str()), (OrtErrorCode::ORT_INVALID_ARGUMENT, "a b"));
    }

    #[test]
    fn null_is_no_error() {
        // SAFETY: null is allowed.
        assert_eq!(unsafe { GetErrorCode(ptr::null()) }, OrtErrorCode::ORT_OK);
        // SAFETY: the same, and the text has an end.
        assert_eq!(unsafe { *GetErrorMessage(ptr::null()) }, 0);
        // SAFETY: null is allowed.
        unsafe { release::<Status>(ptr::null_mut()) };
    }
}
