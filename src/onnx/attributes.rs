//! The attributes of a node, which remember being read: one that nothing asked
//! for is an error, since it would change the result.

use super::error::{Res, fail};
use super::proto::{AttributeProto, AttributeType, GraphProto, SparseTensorProto, TensorProto};
use std::cell::Cell;
use std::collections::HashSet;

/// Attributes that do not change what an inference computes here.
const HARMLESS: &[(&str, &str)] = &[
    // Training only.
    ("BatchNormalization", "momentum"),
    ("Dropout", "ratio"),
    ("Dropout", "seed"),
    ("Dropout", "is_test"),
    // Read where they say something: of casts to floats of a byte, and of those to powers of two.
    ("Cast", "saturate"),
    ("CastLike", "saturate"),
    ("Cast", "round_mode"),
    ("CastLike", "round_mode"),
    // The precision of intermediate results; they are at least f32.
    ("LayerNormalization", "stash_type"),
    ("GroupNormalization", "stash_type"),
    ("RMSNormalization", "stash_type"),
    ("SimplifiedLayerNormalization", "stash_type"),
    // Any order is allowed then; ours is sorted.
    ("TopK", "sorted"),
    // Of the indices, which are refused where asked for.
    ("MaxPool", "storage_order"),
    // Types of what is not there.
    ("Optional", "type"),
    ("SequenceEmpty", "dtype"),
    // The precision of the softmax; it is at least that of its operand.
    ("Attention", "softmax_precision"),
];

/// Attributes by name.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    items: Vec<(AttributeProto, Cell<bool>)>,
}

impl Attributes {
    pub fn new(items: Vec<AttributeProto>) -> Res<Self> {
        let mut names = HashSet::new();
        if let Some(a) = items.iter().find(|a| !names.insert(a.name.as_str())) {
            fail!("attribute {} is given twice", a.name);
        }
        Ok(Self { items: items.into_iter().map(|a| (a, Cell::new(false))).collect() })
    }

    fn get(&self, name: &str, types: &[AttributeType]) -> Res<Option<&AttributeProto>> {
        let Some((a, read)) = self.items.iter().find(|(a, _)| a.name == name) else { return Ok(None) };
        read.set(true);
        match AttributeType::try_from(a.r#type) {
            Ok(t) if types.contains(&t) || t == AttributeType::Undefined => Ok(Some(a)),
            Ok(t) => fail!("attribute {name} is {t}, not {}", types[0]),
            Err(_) => fail!("attribute {name} is of unknown type {}", a.r#type),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.items.iter().any(|(a, _)| a.name == name)
    }

    pub fn int(&self, name: &str) -> Res<Option<i64>> {
        Ok(self.get(name, &[AttributeType::Int])?.map(|a| a.i))
    }

    pub fn int_or(&self, name: &str, default: i64) -> Res<i64> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    pub fn flag(&self, name: &str, default: bool) -> Res<bool> {
        Ok(self.int(name)?.map_or(default, |v| v != 0))
    }

    pub fn float(&self, name: &str) -> Res<Option<f32>> {
        Ok(self.get(name, &[AttributeType::Float])?.map(|a| a.f))
    }

    pub fn float_or(&self, name: &str, default: f32) -> Res<f32> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    pub fn ints(&self, name: &str) -> Res<Option<&[i64]>> {
        Ok(self.get(name, &[AttributeType::Ints])?.map(|a| a.ints.as_slice()))
    }

    pub fn floats(&self, name: &str) -> Res<Option<&[f32]>> {
        Ok(self.get(name, &[AttributeType::Floats])?.map(|a| a.floats.as_slice()))
    }

    pub fn string(&self, name: &str) -> Res<Option<&str>> {
        match self.get(name, &[AttributeType::String])? {
            None => Ok(None),
            Some(a) => match std::str::from_utf8(&a.s) {
                Ok(s) => Ok(Some(s)),
                Err(_) => fail!("attribute {name} is not text"),
            },
        }
    }

    pub fn strings(&self, name: &str) -> Res<Option<Vec<&str>>> {
        let Some(a) = self.get(name, &[AttributeType::Strings])? else { return Ok(None) };
        match a.strings.iter().map(|s| std::str::from_utf8(s)).collect() {
            Ok(strings) => Ok(Some(strings)),
            Err(_) => fail!("attribute {name} is not text"),
        }
    }

    pub fn string_or(&self, name: &str, default: &'static str) -> Res<&str> {
        Ok(self.string(name)?.unwrap_or(default))
    }

    pub fn tensor(&self, name: &str) -> Res<Option<&TensorProto>> {
        Ok(self.get(name, &[AttributeType::Tensor])?.and_then(|a| a.t.as_deref()))
    }

    pub fn graph(&self, name: &str) -> Res<Option<&GraphProto>> {
        Ok(self.get(name, &[AttributeType::Graph])?.and_then(|a| a.g.as_deref()))
    }

    pub fn sparse(&self, name: &str) -> Res<Option<&SparseTensorProto>> {
        Ok(self.get(name, &[AttributeType::SparseTensor])?.and_then(|a| a.sparse_tensor.as_deref()))
    }

    /// Takes an attribute out.
    pub fn take(&mut self, name: &str) -> Option<AttributeProto> {
        let at = self.items.iter().position(|(a, _)| a.name == name)?;
        Some(self.items.remove(at).0)
    }

    /// Every graph among the attributes.
    pub fn graphs(&self) -> impl Iterator<Item = &GraphProto> {
        self.items.iter().flat_map(|(a, _)| a.g.as_deref().into_iter().chain(&a.graphs))
    }

    /// The first attribute that was not read and is not harmless for `op`.
    pub fn unread(&self, op: &str) -> Option<&str> {
        self.items
            .iter()
            .filter(|(a, read)| !read.get() && !HARMLESS.contains(&(op, a.name.as_str())))
            .map(|(a, _)| a.name.as_str())
            .next()
    }
}
