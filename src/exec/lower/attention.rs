//! Attention over strided heads: split or merged, no copies; scores exact, or as the graph says.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::step::Kernel;
use super::super::view::View;
use super::Lowering;
use crate::kernels::attention::{self, Codebook, Layout, Mask, Operands, Refine, Scoring};
use crate::kernels::{BookError, double};
use bgz_passes::ir::{Attention, DType, MaskKind, Node, Scores};
use bgz_passes::scores::ScoreTable;

/// The kernel, its shapes checked.
struct Heads {
    attention: attention::Attention,
    from: From,
}

/// Where a plan's scores come from.
enum From {
    Exact,
    Int8,
    Table(Codebook),
    Refined(Codebook, Refine),
}

impl From {
    fn table(table: &ScoreTable) -> Result<Self, BookError> {
        let book = Codebook::new(&table.codebook)?;
        Ok(match table.refine {
            Some(refine) => Self::Refined(book, refine),
            None => Self::Table(book),
        })
    }

    fn scoring(&self) -> Scoring<'_> {
        match self {
            Self::Exact => Scoring::Exact,
            Self::Int8 => Scoring::Int8,
            Self::Table(book) => Scoring::Table(book),
            Self::Refined(book, refine) => Scoring::Refined(book, *refine),
        }
    }
}

impl Kernel for Heads {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let [q, k, v] = [0, 1, 2].map(|i| reads.slice::<f32>(i).as_ptr());
        let mask = if reads.len() > 3 { reads.bytes(3).as_ptr() } else { std::ptr::null() };
        let out = writes.slice::<f32>(0).as_mut_ptr();
        // SAFETY: `Attention::check` passed when the plan was made, and a table was
        // found by its head dimension; each span runs
        // from the first element of its view to behind the last, the layouts
        // are the strides of those views, and the result is a buffer of the
        // output's size that overlaps no operand.
        unsafe { self.attention.run(self.from.scoring(), Operands { q, k, v, mask, out }) }.map_err(|e| e.to_string())
    }
}

/// A view as `[batch, heads, seq, width]`.
struct Operand {
    batch: usize,
    seq: usize,
    width: usize,
    layout: Layout,
}

impl Operand {
    fn new(view: &View, heads: usize) -> Option<Self> {
        let stride = |i: usize| view.strides[i] as isize;
        Some(match *view.shape.as_slice() {
            [batch, seq, merged] => {
                let width = merged.checked_div(heads)?;
                let inner = stride(2);
                let layout = Layout { batch: stride(0), head: inner * width as isize, seq: stride(1), inner };
                Self { batch, seq, width, layout }
            }
            [batch, _, seq, width] => {
                let layout = Layout { batch: stride(0), head: stride(1), seq: stride(2), inner: stride(3) };
                Self { batch, seq, width, layout }
            }
            _ => return None,
        })
    }

    /// The layout with a batch of 1 repeated for `batch`.
    fn spread(&self, batch: usize) -> Layout {
        Layout { batch: if self.batch == batch { self.layout.batch } else { 0 }, ..self.layout }
    }
}

impl Lowering<'_> {
    pub(super) fn attention(&mut self, node: &Node, a: &Attention) -> Result<(), ExecError> {
        if self.dtype(node.inputs[0]) == DType::F64 {
            return self.attention_of_f64(node, a);
        }
        if self.dtype(node.inputs[0]) != DType::F32 {
            return Err(self.fail(node, format!("not defined for {}", self.dtype(node.inputs[0]))));
        }
        let views = node.inputs.iter().map(|&v| self.view(v)).collect::<Result<Vec<_>, _>>()?;
        let attention = self.shapes(a, &views).ok_or_else(|| self.fail(node, "operands of other shapes"))?;
        attention.check().map_err(|e| self.fail(node, e.to_string()))?;
        let (name, from) = match &a.scores {
            Scores::Exact => ("attention", From::Exact),
            Scores::Int8 => ("attention by int8", From::Int8),
            Scores::Table(name) => {
                let table = self.table(node, a, name)?;
                ("attention by table", From::table(&table).map_err(|e| self.fail(node, e.to_string()))?)
            }
        };
        let out = self.output(node.outputs[0])?;
        self.step_of(&[node], name, Box::new(Heads { attention, from }), &views.iter().collect::<Vec<_>>(), &[&out]);
        Ok(())
    }

    fn attention_of_f64(&mut self, node: &Node, a: &Attention) -> Result<(), ExecError> {
        let views = node.inputs.iter().map(|&v| self.contiguous(v)).collect::<Result<Vec<View>, _>>()?;
        let shapes = [0, 1, 2].map(|i| &views[i].shape[..]);
        let kernel = double::Attention::new(a, shapes, views.get(3).map(|m| &m.shape[..]));
        let kernel = kernel.map_err(|e| self.fail(node, e.to_string()))?;
        let kind = a.mask;
        self.run(node, "attention", &views, move |r, w| {
            let mask = match kind {
                MaskKind::None => double::Mask::None,
                MaskKind::Additive => double::Mask::Additive(r.slice(3)),
                MaskKind::Keep { .. } | MaskKind::Drop { .. } => double::Mask::Bool(r.bytes(3)),
            };
            kernel.run([0, 1, 2].map(|i| r.slice(i)), mask, w.slice(0))
        })
    }

    /// The table that the graph names.
    fn table(&self, node: &Node, a: &Attention, name: &str) -> Result<ScoreTable, ExecError> {
        let found = self.scores.and_then(|s| s.table(a.d_head, name));
        found.ok_or_else(|| ExecError::NoTable {
            node: node.outputs.first().map_or("", |&v| self.graph.name(v)).into(),
            table: name.into(),
            d_head: a.d_head,
        })
    }

    fn shapes(&self, a: &Attention, views: &[View]) -> Option<attention::Attention> {
        let q = Operand::new(&views[0], a.heads)?;
        let k = Operand::new(&views[1], a.kv_heads)?;
        let v = Operand::new(&views[2], a.kv_heads)?;
        let batch = [&q, &k, &v].iter().map(|o| o.batch).find(|&b| b != 1).unwrap_or(1);
        let mask = match (views.get(3), a.mask) {
            (None, _) | (_, MaskKind::None) => Mask::None,
            (Some(view), kind) => {
                let spread = view.broadcast(&[batch, a.heads, q.seq, k.seq]);
                let strides = <[usize; 4]>::try_from(&*spread.strides).ok()?.map(|s| s as isize);
                match kind {
                    MaskKind::Keep { fill } => Mask::Bool { strides, hides: false, fill: fill.0 },
                    MaskKind::Drop { fill } => Mask::Bool { strides, hides: true, fill: fill.0 },
                    _ => Mask::Additive { strides },
                }
            }
        };
        let layout = if a.merged { Layout::merged } else { Layout::heads_first };
        Some(attention::Attention {
            batch,
            heads: a.heads,
            kv_heads: a.kv_heads,
            seq_q: q.seq,
            seq_k: k.seq,
            d: q.width,
            d_v: v.width,
            scale: a.scale.0,
            causal: a.causal,
            zero_hidden: a.zero_hidden,
            mask,
            q: q.spread(batch),
            k: k.spread(batch),
            v: v.spread(batch),
            out: layout(a.heads, q.seq, v.width),
        })
    }
}
