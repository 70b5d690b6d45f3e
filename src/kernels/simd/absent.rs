//! Tokens of instruction sets that this target can never have.

macro_rules! absent {
    ($($name:ident),*) => {$(
        /// Not on this target.
        #[derive(Clone, Copy, Debug)]
        pub struct $name(std::convert::Infallible);

        impl $name {
            /// `None`.
            pub fn new() -> Option<Self> {
                None
            }
        }
    )*};
}

absent!(Avx2, Avx512);
