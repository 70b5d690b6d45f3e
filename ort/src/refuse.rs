//! Functions of the API that are not supported: each returns a status that says so and names it.

use crate::arguments::fill;
use crate::status::Failure;
use ort_sys::{OrtHardwareDeviceType, OrtKeyValuePairs, OrtStatusPtr};
use std::ffi::c_char;
use std::ptr;

/// The name of a function.
pub(crate) trait Named {
    const NAME: &'static str;
}

/// A result that says that a function is not supported.
pub(crate) trait Refusal {
    fn refusal(name: &str) -> Self;
}

impl Refusal for OrtStatusPtr {
    fn refusal(name: &str) -> Self {
        Failure::unsupported(name).into_status()
    }
}

macro_rules! refusals {
    ($($(#[$attribute:meta])* $(for<$generic:ident>)? ($t:ty) = $value:expr;)*) => { $(
        $(#[$attribute])*
        impl $(<$generic>)? Refusal for $t {
            fn refusal(_: &str) -> Self {
                $value
            }
        }
    )* };
}

refusals! {
    /// Releases, and changes, of what this table never makes.
    (()) = ();
    /// For tables of further functions, null is what says that there are none. The others ask for a property of what this
    /// table never makes, as all below.
    for<T> (*const T) = ptr::null();
    for<T> (*mut T) = ptr::null_mut();
    (u32) = 0;
    (i64) = 0;
    (usize) = 0;
    (OrtHardwareDeviceType) = OrtHardwareDeviceType::OrtHardwareDeviceType_CPU;
}

/// A type of functions, of which there is one that refuses.
pub(crate) trait Refusing {
    /// The function that refuses in the name of `N`, whatever its arguments.
    fn refusing<N: Named>() -> Self;
}

macro_rules! refusing {
    ($($a:ident)*) => {
        impl<Z: Refusal, $($a),*> Refusing for unsafe extern "system" fn($($a),*) -> Z {
            fn refusing<N: Named>() -> Self {
                unsafe extern "system" fn refuse<N: Named, Z: Refusal, $($a),*>($(_: $a),*) -> Z {
                    Z::refusal(N::NAME)
                }
                refuse::<N, Z, $($a),*>
            }
        }
    };
}

refusing!();
refusing!(A);
refusing!(A B);
refusing!(A B C);
refusing!(A B C D);
refusing!(A B C D E);
refusing!(A B C D E F);
refusing!(A B C D E F G);
refusing!(A B C D E F G H);
refusing!(A B C D E F G H I);
refusing!(A B C D E F G H I J);
refusing!(A B C D E F G H I J K);
refusing!(A B C D E F G H I J K L);

/// Makes none, which it cannot say otherwise.
pub(crate) unsafe extern "system" fn CreateKeyValuePairs(out: *mut *mut OrtKeyValuePairs) {
    // SAFETY: the caller gives a place for the result, or null.
    let _ = unsafe { fill(out, 1, [ptr::null_mut()], "out") };
}

/// There are none.
pub(crate) unsafe extern "system" fn GetKeyValuePairs(
    _: *const OrtKeyValuePairs,
    keys: *mut *const *const c_char,
    values: *mut *const *const c_char,
    count: *mut usize,
) {
    // SAFETY: the caller gives places for the results, or null.
    let _ = unsafe { fill(keys, 1, [ptr::null()], "keys") };
    // SAFETY: the same.
    let _ = unsafe { fill(values, 1, [ptr::null()], "values") };
    // SAFETY: the same.
    let _ = unsafe { fill(count, 1, [0], "count") };
}
