//! Tokens of instruction sets that this target can never have.

/// Not on this target.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(std::convert::Infallible);

impl Avx2 {
    /// `None`.
    pub fn new() -> Option<Self> {
        None
    }
}

/// Not on this target.
#[derive(Clone, Copy, Debug)]
pub struct Avx512<L = Base>(std::convert::Infallible, std::marker::PhantomData<L>);

impl<L> Avx512<L> {
    /// `None`.
    pub fn new() -> Option<Self> {
        None
    }
}

/// AVX-512 without an extension.
#[derive(Clone, Copy, Debug)]
pub struct Base;

/// VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Vnni;

/// VNNI and VBMI.
#[derive(Clone, Copy, Debug)]
pub struct Vbmi;

/// BF16.
#[derive(Clone, Copy, Debug)]
pub struct Bf16;
