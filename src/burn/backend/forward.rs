//! The macro behind the tables of signatures in this folder.

/// Writes methods that call the method of the same name of another backend.
///
/// `B as Trait<B>` names that backend and the trait; the signatures follow as they stand in the trait, with `Self` for
/// the backend. A result of a type that is generic over the backend goes through the function after `=>`.
macro_rules! forward {
    ($backend:ty as $trait:path;
     $(fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $result:ty $(=> $convert:path)?;)*) => {
        $(
            fn $name($($arg: $ty),*) -> $result {
                // Either `convert(call)` or, with nothing before it, `(call)`.
                $($convert)? (<$backend as $trait>::$name($($arg),*))
            }
        )*
    };
}

pub(super) use forward;
