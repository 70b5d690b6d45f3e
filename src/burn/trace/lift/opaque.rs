//! Ops that the graph has no word for.

use super::Lifting;
use crate::exec::FOREIGN;
use bgz_passes::ir::{Attr, Dim, Op, Opaque};
use burn_ir::OperationIr;
use std::fmt::{self, Write};

impl Lifting<'_> {
    /// An op that is done by the inner backend as recorded; `at` is its place among the recorded ops.
    pub(super) fn opaque(&mut self, at: usize, op: &OperationIr) -> Result<(), String> {
        let inputs = op.inputs().map(|t| self.value(t)).collect::<Result<Vec<_>, _>>()?;
        let outputs: Vec<_> = op.outputs().collect();
        let types = outputs.iter().map(|t| self.ty(t)).collect::<Result<Vec<_>, _>>()?;
        let name = name(op);
        let attrs = [(FOREIGN.to_owned(), Attr::Dim(Dim::int(at as i64)))].into();
        let names = vec![name.as_str(); types.len()];
        let node = Op::Opaque(Opaque { name: name.clone(), attrs });
        let values = self.graph.add_node(node, &inputs, &names, Some(&types)).map_err(|e| e.to_string())?;
        for (t, v) in outputs.into_iter().zip(values) {
            self.values.insert(t.id, v);
        }
        Ok(())
    }
}

/// Burn's name of an op, in snake case: the word before that of its fields in its debug form, as in
/// `BaseFloat(Slice(SliceOpIr { .. }))`.
fn name(op: &OperationIr) -> String {
    /// Takes the beginning and refuses the rest, which can be long.
    struct Head(String);
    impl Write for Head {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            self.0.push_str(s);
            if self.0.len() < 96 { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut head = Head(String::new());
    let _ = write!(head, "{op:?}");
    let mut words = head.0.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    let mut last = "op";
    let word = loop {
        match words.next() {
            Some(w) if w.ends_with("Ir") => break last,
            Some(w) => last = w,
            None => break last,
        }
    };
    let mut out = String::new();
    for (i, c) in word.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_backend::{DType, Shape};
    use burn_ir::{BaseOperationIr, DimOpIr, NumericOperationIr, SliceOpIr, TensorId, TensorIr};

    #[test]
    fn ops_are_called_what_burn_calls_them() {
        let t = TensorIr::uninit(TensorId::new(0), Shape::new([1]), DType::F32);
        let slice = SliceOpIr { tensor: t.clone(), ranges: Vec::new(), out: t.clone() };
        assert_eq!(name(&OperationIr::BaseInt(BaseOperationIr::Slice(slice))), "slice");
        let sum = DimOpIr { input: t.clone(), out: t, axis: 0 };
        assert_eq!(name(&OperationIr::NumericFloat(DType::F32, NumericOperationIr::CumSum(sum))), "cum_sum");
    }
}
