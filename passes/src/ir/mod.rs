//! The graph: values in SSA form, a closed set of ops, types with symbolic
//! dims, and constants that share the bytes they came from.

mod blocks;
mod broadcast;
mod constant;
mod dim;
mod dtype;
mod expr;
mod functions;
mod graph;
mod infer;
mod ops;
mod scalar;
mod small_float;
mod stored;
mod subgraph;
mod tensor;
mod text;

#[doc(hidden)]
pub use blocks::{Block, Lookup, f16_to_f32};
pub use blocks::{BlockError, BlockFormat, BlockRows, Blocks, MAX_BLOCK, Nbits};
pub use constant::Constant;
pub use dim::{Bindings, Dim};
pub use dtype::DType;
pub use expr::Expr;
pub use functions::{Binary, Unary};
pub use graph::{Def, Graph, GraphError, Node, NodeId, Output, Stages, ValueData, ValueId};
pub(crate) use graph::{Unbound, compatible};
pub(crate) use infer::MAX_INTS;
pub use infer::{InferError, Known, Operand, infer};
pub(crate) use infer::{broadcast, is_fresh};
pub use ops::{
    Activation, ArgReduce, Attention, Attr, Attrs, Cast, Cell, Control, Conv, Coordinates, Cumulative, Direction, Fold,
    FoldKind, Function, Generate, Index, IntArg, LoopParts, MaskKind, Movement, Nearest, Norm, Op, Opaque, Pad,
    PadMode, Padding, Pool, PoolKind, Precision, Product, Recurrent, Reduce, Resize, ResizeAxis, ResizeMode,
    ResizeTarget, RowOperand, RowPart, Scores, Slice, TopK, Where, Window, slice_bounds,
};
pub use scalar::{Float, Scalar};
pub use small_float::SmallFloat;
pub use stored::{Origin, Unavailable};
pub(crate) use subgraph::{Call, Splice, splice};
pub use subgraph::{MAX_NESTING, Subgraph};
pub use tensor::{MAX_LEN, Tensor};
#[cfg(test)]
pub(crate) use text::random_graph;
pub use text::{ExprError, ParseError, parse, parse_with, print};

/// Axes that a tensor may have. No real one has a tenth of them, and many things are done for every pair of axes.
pub const MAX_RANK: usize = 128;

/// A type: the element type and the extent of every axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// Element type.
    pub dtype: DType,
    /// One extent an axis, outermost first; empty for a scalar.
    pub shape: Vec<Dim>,
}

impl Type {
    /// A type of `dtype` with extents that may be numbers or [`Dim`]s.
    pub fn new<D: Into<Dim>>(dtype: DType, shape: impl IntoIterator<Item = D>) -> Self {
        Self { dtype, shape: shape.into_iter().map(Into::into).collect() }
    }

    /// The type of one number.
    pub fn scalar(dtype: DType) -> Self {
        Self { dtype, shape: Vec::new() }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The extents as numbers, or `None` if any is symbolic (or no size at all).
    pub fn known_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(Dim::as_usize).collect()
    }

    /// True if the shape has at most [`MAX_RANK`] axes, and the extents that are known leave a size that memory could hold.
    /// One of 0 does not excuse the others, nor is any below that.
    pub(crate) fn can_be_held(&self) -> bool {
        if self.rank() > MAX_RANK {
            return false;
        }
        let known = self.shape.iter().filter_map(Dim::as_int);
        let mut sizes = known.map(|d| usize::try_from(d).ok());
        let bytes = sizes.try_fold(self.dtype.size(), |n, d| n.checked_mul(d?.max(1)));
        bytes.is_some_and(|n| isize::try_from(n).is_ok())
    }

    /// The text, but of too many axes their number only.
    pub(crate) fn shown(&self) -> String {
        if self.rank() > MAX_RANK { format!("{} with {} axes", self.dtype, self.rank()) } else { self.to_string() }
    }

    /// Number of elements, or `None` if symbolic or beyond `usize`.
    pub fn known_len(&self) -> Option<usize> {
        self.known_shape()?.into_iter().try_fold(1usize, usize::checked_mul)
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}
