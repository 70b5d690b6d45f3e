//! Ops that are recorded as one: embedding, linear, attention, and those of [`WholeOp`].

use super::super::whole::WholeOp;
use super::{Lift, Lifting, NotLifted};
use bgz_passes::ir::{Attention, DType, Float, Index, MaskKind, Norm, Op, Precision, Product, Scores, Unary};
use burn_ir::{AttentionOpIr, CustomOpIr, ModuleOperationIr};

impl Lifting<'_> {
    pub(super) fn module(&mut self, op: &ModuleOperationIr) -> Lift<()> {
        match op {
            ModuleOperationIr::Embedding(o) => {
                let (weights, indices) = (self.get(&o.weights)?, self.get(&o.indices)?);
                self.lifted(&o.out, Op::Index(Index::Gather { axis: 0 }), &[weights, indices])
            }
            ModuleOperationIr::Linear(o) => {
                let mut inputs = vec![self.get(&o.x)?, self.get(&o.weight)?];
                if let Some(bias) = &o.bias {
                    inputs.push(self.get(bias)?);
                }
                if inputs.iter().any(|&v| self.dtype(v) != DType::F32) {
                    return Err(NotLifted::Opaque);
                }
                let op = Op::Product(Product::Linear { trans_w: false, precision: Precision::Exact });
                self.lifted(&o.out, op, &inputs)
            }
            ModuleOperationIr::Attention(o) => self.attention(o),
            _ => Err(NotLifted::Opaque),
        }
    }

    /// One of [`WholeOp`]; a custom op of somebody else stays opaque.
    pub(super) fn whole(&mut self, op: &CustomOpIr) -> Lift<()> {
        let (Ok(whole), [out]) = (op.id.parse(), &op.outputs[..]) else { return Err(NotLifted::Opaque) };
        let inputs = op.inputs.iter().map(|t| self.get(t)).collect::<Lift<Vec<_>>>()?;
        if whole != WholeOp::Trunc && inputs.iter().any(|&v| self.dtype(v) != DType::F32) {
            return Err(NotLifted::Opaque);
        }
        let op = match whole {
            WholeOp::LayerNorm { epsilon } => Op::Norm(Norm::LayerNorm { eps: Float(epsilon as f32) }),
            WholeOp::Gelu => Op::Unary(Unary::GeluErf),
            WholeOp::Softmax { dim } => Op::Norm(Norm::Softmax { axis: dim }),
            WholeOp::LogSoftmax { dim } => Op::Norm(Norm::LogSoftmax { axis: dim }),
            WholeOp::Trunc => Op::Unary(Unary::Trunc),
        };
        self.lifted(out, op, &inputs)
    }

    /// `[batch, heads, seq, d]` each. A mask or a bias may hide every key from a query; Burn's result is then zero,
    /// the graph's is not defined, so that these are left to the backend.
    fn attention(&mut self, o: &AttentionOpIr) -> Lift<()> {
        let shapes = [&o.query, &o.key, &o.value].map(|t| self.shape(t));
        let [Ok(q), Ok(k), Ok(v)] = shapes else { return Err(NotLifted::Opaque) };
        let (&[_, heads, seq_q, d_head], &[_, kv_heads, seq_k, _]) = (&q[..], &k[..]) else {
            return Err(NotLifted::Opaque);
        };
        let hides_all = o.options.is_causal && seq_q > seq_k;
        if o.mask.is_some() || o.attn_bias.is_some() || o.options.softcap.is_some() || hides_all {
            return Err(NotLifted::Opaque);
        }
        if kv_heads != heads || v.get(1) != Some(&heads) || d_head == 0 {
            return Err(NotLifted::Opaque);
        }
        let scale = match o.options.scale {
            Some(s) => self.number(s)?,
            None => 1.0 / (d_head as f64).sqrt(),
        };
        let op = Op::Attention(Attention {
            heads,
            kv_heads,
            d_head,
            scale: Float(scale as f32),
            merged: false,
            mask: MaskKind::None,
            causal: o.options.is_causal,
            zero_hidden: false,
            scores: Scores::Exact,
        });
        let inputs = [self.get(&o.query)?, self.get(&o.key)?, self.get(&o.value)?];
        if inputs.iter().any(|&v| self.dtype(v) != DType::F32) {
            return Err(NotLifted::Opaque);
        }
        self.lifted(&o.out, op, &inputs)
    }
}
