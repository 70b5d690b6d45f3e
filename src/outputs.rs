//! The results of a run.

use crate::tensor::Tensor;
use std::ops::{Deref, Index};

/// The outputs of a run, by name and in the order of the model: a slice of pairs.
///
/// `outputs["logits"]` is the tensor of that name and panics if there is none, as for a map; [`Outputs::get`] does not.
#[derive(Clone, Debug, Default)]
pub struct Outputs(Vec<(String, Tensor)>);

impl Outputs {
    pub(crate) fn new(named: impl IntoIterator<Item = (String, Tensor)>) -> Self {
        Self(named.into_iter().collect())
    }

    /// The output of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|o| o.0 == name).map(|o| &o.1)
    }

    /// Takes the output of this name out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        let at = self.0.iter().position(|o| o.0 == name)?;
        Some(self.0.remove(at).1)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|o| &*o.0)
    }
}

impl Deref for Outputs {
    type Target = [(String, Tensor)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Index<&str> for Outputs {
    type Output = Tensor;

    fn index(&self, name: &str) -> &Tensor {
        self.get(name).unwrap_or_else(|| {
            panic!("there is no output {name:?}, only {}", self.names().collect::<Vec<_>>().join(", "))
        })
    }
}

impl Index<usize> for Outputs {
    type Output = (String, Tensor);

    fn index(&self, at: usize) -> &(String, Tensor) {
        &self.0[at]
    }
}

impl IntoIterator for Outputs {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Outputs {
    type Item = &'a (String, Tensor);
    type IntoIter = std::slice::Iter<'a, (String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl From<Outputs> for Vec<(String, Tensor)> {
    fn from(outputs: Outputs) -> Self {
        outputs.0
    }
}
