//! The closed set of ops. Their text form is in `op_text`.

use super::{Binary, DType, Dim, Expr, Float, Unary};
use std::collections::BTreeMap;

/// What a node computes. Operands are in the order given; those in brackets may be left out at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `x`: a function of every element.
    Unary(Unary),
    /// `a, b` broadcast: a function of two elements of one dtype.
    Binary(Binary),
    /// `cond, a, b` broadcast: `a` where `cond` (bool) is true, else `b`.
    Where,
    /// `x`: conversion to a dtype; float to int truncates and saturates.
    Cast(DType),
    /// `a, b, ...` broadcast: an [`Expr`] of their elements.
    Fused(Expr),

    /// `a [.., m, k], b [.., k, n]`: matrix product with broadcast batch axes; a vector is a row or a column.
    MatMul,
    /// `x [.., k], w [k, n] (or [n, k] if transposed), [bias [n]]`.
    Linear {
        /// Whether `w` is stored `[n, k]`.
        trans_w: bool,
        /// What the product may be computed in.
        precision: Precision,
    },
    /// `q, k, v, [mask]`: see [`Attention`].
    Attention(Attention),
    /// `x`: softmax over one axis (from 0).
    Softmax {
        /// The axis that sums to one.
        axis: usize,
    },
    /// `x`: logarithm of softmax over one axis.
    LogSoftmax {
        /// The axis whose exponentials sum to one.
        axis: usize,
    },
    /// `x, [scale, [bias]]`: zero mean and unit variance over the last axis; `scale` and `bias` are `[last]`.
    LayerNorm {
        /// Added to the variance.
        eps: Float,
    },
    /// `x, [scale]`: divided by the root of the mean square over the last axis.
    RmsNorm {
        /// Added to the mean square.
        eps: Float,
    },
    /// `x`: see [`Reduce`].
    Reduce(Reduce),
    /// `x`: index of an extreme along an axis (i64).
    ArgReduce(ArgReduce),
    /// `x`: running sum along an axis.
    Cumulative(Cumulative),
    /// `x, [k]`: values and indices (i64) of the extreme entries along an axis.
    TopK(TopK),

    /// `x, [shape i64]`: the same elements in another shape.
    Reshape {
        /// The new extents, all given (no -1 or 0 shorthand); as an operand, ONNX shorthand applies.
        shape: IntArg,
        /// As an operand: whether a 0 copies the extent of `x` (ONNX `allowzero = 0`).
        zero_copies: bool,
    },
    /// `x`: axes permuted; output axis `i` is input axis `perm[i]`.
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// `x, [shape i64]`: broadcast with a shape (both ways, as ONNX Expand).
    Expand {
        /// The extents to broadcast with.
        shape: IntArg,
    },
    /// `x, [starts, ends, steps]`: see [`Slice`].
    Slice(Slice),
    /// `a, b, ...`: joined along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// `x, [pads], [value]`: see [`Pad`].
    Pad(Pad),
    /// `x, [repeats i64]`: repeated along each axis.
    Tile {
        /// Times, one an axis.
        repeats: IntArg,
    },
    /// `x, indices`: slices of `x` along an axis; a negative index counts from the end.
    Gather {
        /// The axis of `x`.
        axis: usize,
    },
    /// `x, indices`: one element an index, along an axis.
    GatherElements {
        /// The axis.
        axis: usize,
    },
    /// `x, indices [.., n]`: slices addressed by their first `n` axes.
    GatherNd {
        /// Leading axes that `x` and `indices` share.
        batch_dims: usize,
    },
    /// `x, indices, updates`: `x` with slices replaced (ONNX ScatterND without reduction).
    ScatterNd,
    /// `x, indices, updates`: `x` with elements replaced along an axis.
    ScatterElements {
        /// The axis.
        axis: usize,
    },

    /// `x`: its extents from axis `start` to `end` (i64).
    Shape {
        /// First axis.
        start: usize,
        /// One past the last axis.
        end: usize,
    },
    /// No operand: integers computed from dims (i64, a vector; a scalar if `scalar`).
    Dims {
        /// The integers.
        values: Vec<Dim>,
        /// Whether the one value is a scalar instead of a vector.
        scalar: bool,
    },
    /// `value (one element), [shape i64]`: a tensor of one value.
    Full {
        /// The extents.
        shape: IntArg,
    },
    /// `start, limit, delta` (scalars): evenly spaced numbers.
    Range,
    /// `indices, depth (scalar), values [off, on]`: one-hot along a new axis.
    OneHot {
        /// The new axis.
        axis: usize,
    },
    /// `x, [k scalar i64]`: the upper or lower triangle of the last two axes, zero elsewhere.
    Trilu {
        /// Upper instead of lower.
        upper: bool,
    },
    /// `x`: indices of the non-zero elements, `[rank, count]` (i64); the count is only known when run.
    NonZero,

    /// Run by the inner backend: see [`Opaque`].
    Opaque(Opaque),
}

/// Integers that are part of the op, or come as an operand when the graph is run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IntArg {
    /// Known, though perhaps symbolic.
    Known(Vec<Dim>),
    /// The next optional operand.
    Operand,
}

/// Scaled dot-product attention, `softmax(q . k^T * scale + mask) . v`, for
/// every head. An operand of rank 4 is `[batch, heads, seq, d_head]` (split);
/// of rank 3, `[batch, seq, heads * d_head]` (merged). With fewer key / value
/// heads than query heads, each serves `heads / kv_heads` consecutive ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of one head of q and k: the inner dim of `q . k^T`.
    pub d_head: usize,
    /// Factor of the scores.
    pub scale: Float,
    /// Whether the output is `[batch, seq, heads * d_v]` rather than `[batch, heads, seq, d_v]`.
    pub merged: bool,
    /// How the mask operand, broadcast to `[batch, heads, seq_q, seq_k]`, is applied.
    pub mask: MaskKind,
    /// Whether key `j` is hidden from query `i` where `j > i + seq_k - seq_q`.
    pub causal: bool,
    /// Whether a query that sees no key gives 0. Else it gives NaN, which is what the softmax of nothing but `-inf` is. A
    /// key is not seen where the mask is `-inf`, or where `causal` hides it; where all scores are `-inf`, none is.
    pub zero_hidden: bool,
    /// How scores are computed.
    pub scores: Scores,
}

/// What the mask operand of an attention is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaskKind {
    /// There is none.
    None,
    /// Float, added to the scaled scores.
    Additive,
    /// Bool; scores become `fill` where it is false.
    Keep {
        /// The score of a hidden key.
        fill: Float,
    },
    /// Bool; scores become `fill` where it is true.
    Drop {
        /// The score of a hidden key.
        fill: Float,
    },
}

/// What a product with weights may be computed in; whoever has no kernel for less computes in the dtype of its operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// In the dtype of its operands.
    #[default]
    Exact,
    /// Weights and rows of `x` rounded to bf16, which has 8 significant bits, and added in f32.
    Bf16,
    /// In i8, a scale for each column of the weights and for each row of `x`, which is coded as it comes.
    Int8,
}

/// How attention scores are computed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scores {
    /// In the dtype of q and k.
    Exact,
    /// Of rows of q and k rounded to 8-bit integers, one factor a row; approximate.
    Int8,
    /// By the registered table of this name; approximate.
    Table(String),
}

/// A reduction over some axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// What is computed.
    pub kind: ReduceKind,
    /// Sorted; empty means none (the identity).
    pub axes: Vec<usize>,
    /// Whether the axes stay with extent 1.
    pub keep_dims: bool,
}

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ReduceKind {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
}

/// The index of an extreme along an axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArgReduce {
    /// Maximum rather than minimum.
    pub max: bool,
    /// The axis.
    pub axis: usize,
    /// Whether the axis stays with extent 1.
    pub keep_dims: bool,
    /// The last of equal extremes instead of the first.
    pub last: bool,
}

/// A running sum along an axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cumulative {
    /// The axis.
    pub axis: usize,
    /// Whether an entry leaves itself out.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
}

/// The `k` extreme entries along an axis, best first; outputs values and indices.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopK {
    /// The axis.
    pub axis: usize,
    /// Largest rather than smallest.
    pub largest: bool,
    /// How many, one value.
    pub k: IntArg,
}

/// A strided cut along some axes, with Python's rules for negative and overlong bounds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The axes cut, sorted, distinct.
    pub axes: Vec<usize>,
    /// First entries, one an axis; operand `starts`, or known.
    pub starts: IntArg,
    /// One past the last entries; `i64::MAX` and `i64::MIN` reach the respective end.
    pub ends: IntArg,
    /// Steps, not zero; negative runs backwards.
    pub steps: IntArg,
}

/// Padding of axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pad {
    /// Entries added before each axis, then after each axis; negative ones crop.
    pub pads: IntArg,
    /// What is put there.
    pub mode: PadMode,
}

/// What a padded entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// The operand `value`, or zero.
    Constant,
    /// Mirrored without the border.
    Reflect,
    /// The border.
    Edge,
}

/// An op the graph passes through to the inner backend by name, such as a
/// convolution: attributes are kept, nothing is known about its arithmetic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Opaque {
    /// What it is called in text, after `opaque.`.
    pub name: String,
    /// Its attributes.
    pub attrs: Attrs,
}

/// Attributes by name, sorted.
pub type Attrs = BTreeMap<String, Attr>;

/// The value of an attribute in graph text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attr {
    /// `true`, `false`
    Bool(bool),
    /// `3`, `batch`, `2*seq + 1`
    Dim(Dim),
    /// `[1, 2]`, `[batch, seq]`
    Dims(Vec<Dim>),
    /// `0.17677669`, `-inf`
    Float(Float),
    /// `[0.5, 1.0]`
    Floats(Vec<Float>),
    /// `"gelu_erf(a + b) + c"`
    Str(String),
    /// `table("layer0")`
    Call(String, String),
}

impl Op {
    /// LayerNorm with this epsilon.
    pub fn layer_norm(eps: f32) -> Op {
        Op::LayerNorm { eps: Float(eps) }
    }

    /// RMSNorm with this epsilon.
    pub fn rms_norm(eps: f32) -> Op {
        Op::RmsNorm { eps: Float(eps) }
    }

    /// A reshape to known extents.
    pub fn reshape<D: Into<Dim>>(shape: impl IntoIterator<Item = D>) -> Op {
        Op::Reshape { shape: IntArg::Known(shape.into_iter().map(Into::into).collect()), zero_copies: true }
    }

    /// Whether every output element depends on the operands' elements at the
    /// same (broadcast) place only.
    pub fn is_elementwise(&self) -> bool {
        matches!(self, Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast(_) | Op::Fused(_))
    }

    /// Whether the operands may be swapped.
    pub fn commutes(&self) -> bool {
        matches!(self, Op::Binary(b) if b.commutes())
    }

    /// Number of results.
    pub fn outputs(&self) -> usize {
        if matches!(self, Op::TopK(_)) { 2 } else { 1 }
    }

    /// Fewest and most operands.
    pub fn arity(&self) -> (usize, usize) {
        let known = |args: &[&IntArg]| args.iter().filter(|a| matches!(a, IntArg::Operand)).count();
        let exactly = |n| (n, n);
        match self {
            Op::Unary(_) | Op::Cast(_) | Op::Transpose { .. } | Op::Shape { .. } | Op::NonZero => exactly(1),
            Op::Softmax { .. } | Op::LogSoftmax { .. } | Op::Reduce(_) | Op::ArgReduce(_) | Op::Cumulative(_) => {
                exactly(1)
            }
            Op::Binary(_) | Op::MatMul => exactly(2),
            Op::Gather { .. } | Op::GatherElements { .. } | Op::GatherNd { .. } => exactly(2),
            Op::Where | Op::ScatterNd | Op::ScatterElements { .. } | Op::Range | Op::OneHot { .. } => exactly(3),
            Op::Fused(_) => (0, Expr::MAX_INPUTS),
            Op::Linear { .. } => (2, 3),
            Op::Attention(a) => exactly(3 + usize::from(a.mask != MaskKind::None)),
            Op::LayerNorm { .. } => (1, 3),
            Op::RmsNorm { .. } => (1, 2),
            Op::TopK(t) => exactly(1 + known(&[&t.k])),
            Op::Reshape { shape, .. } | Op::Expand { shape } | Op::Full { shape } => exactly(1 + known(&[shape])),
            Op::Slice(s) => exactly(1 + known(&[&s.starts, &s.ends, &s.steps])),
            Op::Concat { .. } => (1, usize::MAX),
            Op::Pad(p) => {
                let n = 1 + known(&[&p.pads]);
                (n, n + 1)
            }
            Op::Tile { repeats } => exactly(1 + known(&[repeats])),
            Op::Dims { .. } => exactly(0),
            Op::Trilu { .. } => (1, 2),
            Op::Opaque(_) => (0, usize::MAX),
        }
    }
}

impl ReduceKind {
    /// Every kind.
    pub const ALL: [ReduceKind; 5] =
        [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod];

    /// The name in graph text, after `reduce_`.
    pub const fn name(self) -> &'static str {
        match self {
            ReduceKind::Sum => "sum",
            ReduceKind::Mean => "mean",
            ReduceKind::Max => "max",
            ReduceKind::Min => "min",
            ReduceKind::Prod => "prod",
        }
    }
}

impl Op {
    /// Calls `f` with every extent in its attributes.
    pub(crate) fn each_dim<'a>(&'a self, f: &mut dyn FnMut(&'a Dim)) {
        let mut each = |arg: &'a IntArg| {
            if let IntArg::Known(v) = arg {
                v.iter().for_each(&mut *f);
            }
        };
        match self {
            Op::Reshape { shape, .. } | Op::Expand { shape } | Op::Full { shape } => each(shape),
            Op::Tile { repeats } => each(repeats),
            Op::Slice(s) => [&s.starts, &s.ends, &s.steps].into_iter().for_each(each),
            Op::Pad(p) => each(&p.pads),
            Op::TopK(t) => each(&t.k),
            Op::Dims { values, .. } => values.iter().for_each(f),
            Op::Opaque(o) => {
                for a in o.attrs.values() {
                    match a {
                        Attr::Dim(d) => f(d),
                        Attr::Dims(v) => v.iter().for_each(&mut *f),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// The same op with every extent in its attributes mapped.
    pub fn map_dims(&self, f: impl Fn(&Dim) -> Dim) -> Op {
        let mut op = self.clone();
        let map = |arg: &mut IntArg| {
            if let IntArg::Known(v) = arg {
                v.iter_mut().for_each(|d| *d = f(d));
            }
        };
        match &mut op {
            Op::Reshape { shape, .. } | Op::Expand { shape } | Op::Full { shape } => map(shape),
            Op::Tile { repeats } => map(repeats),
            Op::Slice(s) => [&mut s.starts, &mut s.ends, &mut s.steps].into_iter().for_each(map),
            Op::Pad(p) => map(&mut p.pads),
            Op::TopK(t) => map(&mut t.k),
            Op::Dims { values, .. } => values.iter_mut().for_each(|d| *d = f(d)),
            Op::Opaque(o) => {
                for a in o.attrs.values_mut() {
                    match a {
                        Attr::Dim(d) => *d = f(d),
                        Attr::Dims(v) => v.iter_mut().for_each(|d| *d = f(d)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        op
    }
}
