//! Arguments of the table's functions: pointers of C become references, texts and places for results, so that the functions
//! themselves are safe Rust. Null is an error that names the argument.

use crate::status::Failure;
use ort_sys::{
    ExecutionMode, GraphOptimizationLevel, ONNXTensorElementDataType, OrtAllocatorType, OrtDeviceMemoryType,
    OrtExecutionProviderDevicePolicy, OrtLanguageProjection, OrtLoggingFunction, OrtLoggingLevel, OrtMemType,
    OrtMemoryInfoDeviceType, RunAsyncCallbackFn,
};
use std::ffi::{CStr, c_char};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::slice;

/// A type of this crate that programs hold by a pointer to an opaque type of `ort-sys`.
pub(crate) trait Handle: Sized {
    /// The opaque type.
    type Sys;

    /// For the program, which gives it back to [`release`].
    fn into_raw(self) -> *mut Self::Sys {
        Box::into_raw(Box::new(self)).cast()
    }
}

/// Drops what [`Handle::into_raw`] gave to the program.
pub(crate) unsafe extern "system" fn release<T: Handle>(handle: *mut T::Sys) {
    if handle.is_null() {
        return;
    }
    // SAFETY: the caller gives a handle of this type that was made by this table, and uses it no more.
    let owned = unsafe { Box::from_raw(handle.cast::<T>()) };
    // There is nobody to tell of a panic.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(owned)));
}

/// An argument as the functions of this crate take it.
pub(crate) trait Argument: Sized {
    /// As C has it.
    type Raw;

    /// # Safety
    /// `raw` is as the API says, or null, for as long as the result is used.
    unsafe fn from_raw(raw: Self::Raw, name: &str) -> Result<Self, Failure>;
}

pub(crate) fn missing(name: &str) -> Failure {
    Failure::argument(format!("argument {name:?} is null"))
}

/// A text of C.
///
/// # Safety
/// `raw` is null, or a string with a NUL at the end that lives as long as the result.
pub(crate) unsafe fn text<'a>(raw: *const c_char, name: &str) -> Result<&'a str, Failure> {
    if raw.is_null() {
        return Err(missing(name));
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(raw) };
    text.to_str().map_err(|_| Failure::argument(format!("argument {name:?} is not UTF-8")))
}

/// The elements of an array of C, which may be null if it has none.
///
/// # Safety
/// `raw` points to `len` elements that live, and are not written to, as long as the result; or it is null.
pub(crate) unsafe fn array<'a, T>(raw: *const T, len: usize, name: &str) -> Result<&'a [T], Failure> {
    match (raw.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(missing(name)),
        // SAFETY: the caller's promise.
        _ => Ok(unsafe { slice::from_raw_parts(raw, len) }),
    }
}

/// Texts of an array of C.
///
/// # Safety
/// As of the functions for arrays and for a text.
pub(crate) unsafe fn texts<'a>(raw: *const *const c_char, len: usize, name: &str) -> Result<Vec<&'a str>, Failure> {
    // SAFETY: the caller's promise.
    let pointers = unsafe { array(raw, len, name) }?;
    // SAFETY: the same.
    pointers.iter().map(|&p| unsafe { text(p, name) }).collect()
}

/// Fills an array of C, as far as there are values and room.
///
/// # Safety
/// `out` has room for `len` values; or it is null.
pub(crate) unsafe fn fill<T>(
    out: *mut T,
    len: usize,
    values: impl IntoIterator<Item = T>,
    name: &str,
) -> Result<(), Failure> {
    if out.is_null() && len > 0 {
        return Err(missing(name));
    }
    for (i, value) in values.into_iter().take(len).enumerate() {
        // SAFETY: `i` is less than `len`, and the room is the caller's promise.
        unsafe { out.add(i).write(value) }
    }
    Ok(())
}

impl<T: Handle> Argument for &T {
    type Raw = *const T::Sys;

    unsafe fn from_raw(raw: Self::Raw, name: &str) -> Result<Self, Failure> {
        // SAFETY: the caller gives a handle of this type that was made by this table and is alive.
        unsafe { raw.cast::<T>().as_ref() }.ok_or_else(|| missing(name))
    }
}

impl<T: Handle> Argument for Option<&T> {
    type Raw = *const T::Sys;

    unsafe fn from_raw(raw: Self::Raw, _: &str) -> Result<Self, Failure> {
        // SAFETY: as above.
        Ok(unsafe { raw.cast::<T>().as_ref() })
    }
}

impl<T: Handle> Argument for &mut T {
    type Raw = *mut T::Sys;

    unsafe fn from_raw(raw: Self::Raw, name: &str) -> Result<Self, Failure> {
        // SAFETY: as above, and nobody else uses it during the call.
        unsafe { raw.cast::<T>().as_mut() }.ok_or_else(|| missing(name))
    }
}

/// A handle that C could write to and that is shared nevertheless.
pub(crate) struct Shared<'a, T>(&'a T);

impl<T> Deref for Shared<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

impl<T: Handle> Argument for Shared<'_, T> {
    type Raw = *mut T::Sys;

    unsafe fn from_raw(raw: Self::Raw, name: &str) -> Result<Self, Failure> {
        // SAFETY: as for a reference.
        unsafe { raw.cast::<T>().as_ref() }.map(Shared).ok_or_else(|| missing(name))
    }
}

/// A place for a result.
pub(crate) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// Writes the result, without looking at what was there.
    pub(crate) fn set(&self, value: T) {
        // SAFETY: the place was given to be written to, which `Argument::from_raw` was promised.
        unsafe { self.0.write(value) }
    }

    /// Reads a value that the result replaces.
    ///
    /// # Safety
    /// The place has a value: the API says so of this argument.
    pub(crate) unsafe fn get(&self) -> T
    where
        T: Copy,
    {
        // SAFETY: the caller's promise.
        unsafe { self.0.read() }
    }
}

impl<T> Argument for Out<T> {
    type Raw = *mut T;

    unsafe fn from_raw(raw: Self::Raw, name: &str) -> Result<Self, Failure> {
        NonNull::new(raw).map(Self).ok_or_else(|| missing(name))
    }
}

impl Argument for &str {
    type Raw = *const c_char;

    unsafe fn from_raw(raw: Self::Raw, name: &str) -> Result<Self, Failure> {
        // SAFETY: the caller gives a string, or null.
        unsafe { text(raw, name) }
    }
}

macro_rules! as_they_are {
    ($($(for<$generic:ident>)? ($t:ty))*) => { $(
        impl $(<$generic>)? Argument for $t {
            type Raw = Self;

            unsafe fn from_raw(raw: Self, _: &str) -> Result<Self, Failure> {
                Ok(raw)
            }
        }
    )* };
}

as_they_are! {
    for<T> (*const T) for<T> (*mut T) (usize) (i64) (i32) (u32) (bool) (OrtLoggingLevel) (OrtLoggingFunction)
    (OrtAllocatorType) (OrtMemType) (GraphOptimizationLevel) (ExecutionMode) (ONNXTensorElementDataType)
    (OrtExecutionProviderDevicePolicy) (RunAsyncCallbackFn) (OrtMemoryInfoDeviceType) (OrtDeviceMemoryType)
    (OrtLanguageProjection)
}

/// Functions of the table, which take [`Argument`]s and return `Result<(), Failure>`. To the caller an error, or a panic, is a
/// status.
macro_rules! calls {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $ty:ty),* $(,)?) $body:block)*) => { $(
        $(#[$attribute])*
        pub(crate) unsafe extern "system" fn $name(
            $($argument: <$ty as crate::arguments::Argument>::Raw),*
        ) -> ort_sys::OrtStatusPtr {
            use crate::arguments::Argument;
            crate::status::guard(move || {
                $(
                    // SAFETY: the arguments are as the API says for the time of the call, or null.
                    let $argument = unsafe { <$ty as Argument>::from_raw($argument, stringify!($argument)) }?;
                )*
                $body
            })
        }
    )* };
}
pub(crate) use calls;
