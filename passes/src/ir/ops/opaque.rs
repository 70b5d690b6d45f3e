//! Ops of which the graph knows nothing but their types.

use super::{Attrs, Evaluated, Family, Fields, Fresh, Inferred};
use crate::ir::Type;
use crate::ir::infer::{InferError, Operand};
use crate::ir::tensor::Tensor;
use std::borrow::Cow;

/// Before the name of an opaque op.
pub(crate) const OPAQUE: &str = "opaque.";

/// An op that whoever recorded it runs: attributes are kept, nothing is known about its arithmetic. Types of its results
/// are given where it is added.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Opaque {
    /// Its name in text, after `opaque.`.
    pub name: String,
    /// Its attributes.
    pub attrs: Attrs,
}

impl Opaque {
    /// The op of this mnemonic, without attributes.
    pub(super) fn named(mnemonic: &str) -> Option<Self> {
        let name = mnemonic.strip_prefix(OPAQUE)?;
        Some(Self { name: name.into(), attrs: Attrs::new() })
    }
}

impl Family for Opaque {
    /// None: any name may follow the prefix.
    fn blanks() -> Vec<Self> {
        Vec::new()
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        format!("{OPAQUE}{}", self.name).into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.all(&mut self.attrs);
    }

    fn arity(&self) -> (usize, usize) {
        (0, usize::MAX)
    }

    fn types(&self, _: &[Operand], _: Fresh) -> Inferred<Vec<Type>> {
        Err(InferError("its types must be given".into()))
    }

    fn eval(&self, _: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        Err("there is no definition of it to evaluate".into())
    }
}
