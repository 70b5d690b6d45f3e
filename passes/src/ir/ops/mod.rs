//! The closed set of ops. A family has a file: the ops, their text, how many operands they take, the types and small
//! integers of their results, and their values.

mod arg;
mod attention;
mod control;
mod conv;
mod cost;
mod elementwise;
mod fields;
mod generate;
mod index;
mod movement;
mod norm;
mod opaque;
mod pool;
mod product;
mod recurrent;
mod reduce;
mod resize;
mod window;

pub use arg::IntArg;
pub use attention::{Attention, MaskKind, Scores};
pub use control::{Control, LoopParts};
pub use conv::Conv;
pub use cost::{RowOperand, RowPart};
pub use elementwise::{Cast, Where};
pub use fields::{Attr, Attrs};
pub use generate::Generate;
pub use index::Index;
pub use movement::{Movement, Pad, PadMode, Slice, slice_bounds};
pub use norm::Norm;
pub(super) use opaque::OPAQUE;
pub use opaque::Opaque;
pub use pool::{Pool, PoolKind};
pub use product::{Precision, Product};
pub use recurrent::{Activation, Cell, Direction, Function, Recurrent};
pub use reduce::{ArgReduce, Cumulative, Fold, FoldKind, Reduce, TopK};
pub use resize::{Coordinates, Nearest, Resize, ResizeAxis, ResizeMode, ResizeTarget};
pub use window::{Padding, Window};

use super::infer::{InferError, Operand};
use super::tensor::Tensor;
use super::{Binary, Dim, Expr, Float, Graph, Subgraph, Type, Unary};
use fields::Fields;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The result of inference.
type Inferred<T> = Result<T, InferError>;

/// The result of evaluation.
type Evaluated<T> = Result<T, String>;

/// A new dim, for an extent that operands do not determine.
type Fresh<'a> = &'a mut dyn FnMut() -> Dim;

/// The properties of the ops of a family.
pub(super) trait Family {
    /// Every op of the family that has a name of its own, with placeholders for what attributes say.
    fn blanks() -> Vec<Self>
    where
        Self: Sized;

    /// The name in graph text.
    fn mnemonic(&self) -> Cow<'static, str>;

    /// Lists the attributes, in no order: text sorts them. What types and the number of operands already show is not
    /// among them.
    fn fields(&mut self, fields: &mut Fields<'_>);

    /// Fewest and most operands.
    fn arity(&self) -> (usize, usize);

    /// Number of results.
    fn outputs(&self) -> usize {
        1
    }

    /// Types of the results, for as many operands as [`Family::arity`] says.
    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>>;

    /// The integers of the one result, a vector or scalar of this type, where they follow from the operands'. As computed
    /// in `i64`, whatever the dtype.
    fn ints(&self, _x: &[Operand], _ty: &Type) -> Option<Vec<Dim>> {
        None
    }

    /// Operands, by their number, whose integers say extents of results.
    fn says_extents(&self) -> Vec<usize> {
        Vec::new()
    }

    /// How operands take part in a row of the one result, where it treats every row alike and needs no other. The result
    /// has these extents.
    fn rows(&self, _x: &[RowOperand], _out: &[usize]) -> Option<Vec<RowPart>> {
        None
    }

    /// Operations on floats, a multiply-add counting twice: those of products. What is done once an element is not
    /// counted, for it is the memory that it waits for. Extents are numbers.
    fn flops(&self, _x: &[&Type], _results: &[&Type]) -> u64 {
        0
    }

    /// The results, straight from the definition, for operands that inference has accepted. Extents in attributes are
    /// numbers.
    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>>;
}

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident($payload:ty),)*) => {
        /// The op of a node, or one of a family. Operands are in the order given; those in brackets may be left
        /// out at the end.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Op {
            $($(#[$doc])* $name($payload),)*
        }

        impl Op {
            fn family(&self) -> &dyn Family {
                match self { $(Op::$name(f) => f,)* }
            }

            fn family_mut(&mut self) -> &mut dyn Family {
                match self { $(Op::$name(f) => f,)* }
            }

            fn blanks() -> Vec<Op> {
                let mut all = Vec::new();
                $(all.extend(<$payload>::blanks().into_iter().map(Op::$name));)*
                all
            }
        }
    };
}

families! {
    /// `x`: a function of every element.
    Unary(Unary),
    /// `a, b` broadcast: a function of two elements of one dtype.
    Binary(Binary),
    /// `cond, a, b` broadcast: `a` where `cond` (bool) is true, else `b`.
    Where(Where),
    /// `x`: conversion to a dtype; float to int truncates and saturates.
    Cast(Cast),
    /// `a, b, ...` broadcast: an [`Expr`] of their elements.
    Fused(Expr),
    /// Products of matrices.
    Product(Product),
    /// `q, k, v, [mask]`: see [`Attention`].
    Attention(Attention),
    /// Convolutions.
    Conv(Conv),
    /// One number of each window.
    Pool(Pool),
    /// Other extents, by interpolation.
    Resize(Resize),
    /// Softmax and norms.
    Norm(Norm),
    /// Reductions, running sums and extremes.
    Reduce(Reduce),
    /// The same elements elsewhere.
    Movement(Movement),
    /// Gathering and scattering.
    Index(Index),
    /// Tensors made from shapes and numbers.
    Generate(Generate),
    /// Layers that go through a sequence step by step.
    Recurrent(Recurrent),
    /// Graphs of which values decide if, or how often, they are run.
    Control(Control),
    /// An op that only whoever recorded it can run.
    Opaque(Opaque),
}

/// Every op that has a name of its own.
static BLANKS: LazyLock<HashMap<String, Op>> =
    LazyLock::new(|| Op::blanks().into_iter().map(|op| (op.mnemonic(), op)).collect());

impl Op {
    /// LayerNorm with this epsilon.
    pub fn layer_norm(eps: f32) -> Op {
        Op::Norm(Norm::LayerNorm { eps: Float(eps) })
    }

    /// RMSNorm with this epsilon.
    pub fn rms_norm(eps: f32) -> Op {
        Op::Norm(Norm::RmsNorm { eps: Float(eps) })
    }

    /// A reshape to known extents.
    pub fn reshape<D: Into<Dim>>(shape: impl IntoIterator<Item = D>) -> Op {
        let shape = IntArg::Known(shape.into_iter().map(Into::into).collect());
        Op::Movement(Movement::Reshape { shape, zero_copies: true })
    }

    /// True if every output element depends on the operands' elements at the
    /// same (broadcast) place only.
    pub fn is_elementwise(&self) -> bool {
        matches!(self, Op::Unary(_) | Op::Binary(_) | Op::Where(_) | Op::Cast(_) | Op::Fused(_))
    }

    /// True if the operands may be swapped.
    pub fn commutes(&self) -> bool {
        matches!(self, Op::Binary(b) if b.commutes())
    }

    /// The name in graph text.
    pub fn mnemonic(&self) -> String {
        self.family().mnemonic().into_owned()
    }

    /// Number of results.
    pub fn outputs(&self) -> usize {
        self.family().outputs()
    }

    /// Fewest and most operands.
    pub fn arity(&self) -> (usize, usize) {
        self.family().arity()
    }

    /// The attributes as text shows them. What the types and the number of
    /// operands already show is left out, and so is a default.
    pub fn attrs(&self) -> Attrs {
        let mut fields = Fields::Write(Attrs::new());
        self.clone().family_mut().fields(&mut fields);
        match fields {
            Fields::Write(attrs) => attrs,
            _ => Attrs::new(),
        }
    }

    /// The op of a line of text: the inverse of [`Op::mnemonic`] and
    /// [`Op::attrs`]. `types` are those of the results. The message of an
    /// error names the op, and the attribute if it is one's fault.
    pub fn from_parts(mnemonic: &str, attrs: Attrs, types: &[Type], operands: usize) -> Result<Op, String> {
        let named = || BLANKS.get(mnemonic).cloned();
        let mut op = Opaque::named(mnemonic)
            .map(Op::Opaque)
            .or_else(named)
            .ok_or_else(|| format!("there is no op {mnemonic}"))?;
        let mut fields = Fields::Read { attrs, types, operands, error: None };
        op.family_mut().fields(&mut fields);
        if let Fields::Read { attrs, error, .. } = fields {
            if let Some(e) = error {
                return Err(format!("{mnemonic}: {e}"));
            }
            if let Some(name) = attrs.keys().next() {
                return Err(format!("{mnemonic}: there is no attribute {name}"));
            }
        }
        Ok(op)
    }

    /// Calls `f` with every extent in its attributes.
    pub(crate) fn each_dim(&self, f: &mut dyn FnMut(&Dim)) {
        self.clone().family_mut().fields(&mut Fields::Dims(&mut |d| f(d)));
    }

    /// True if an extent in its attributes is no number.
    pub(crate) fn names_dims(&self) -> bool {
        let mut names = false;
        // An expression, which has no extents, is not copied for nothing.
        if !self.is_elementwise() {
            self.each_dim(&mut |d| names |= d.as_int().is_none());
        }
        names
    }

    /// The same op with every extent in its attributes mapped.
    pub fn map_dims(&self, f: impl Fn(&Dim) -> Dim) -> Op {
        let mut op = self.clone();
        op.family_mut().fields(&mut Fields::Dims(&mut |d| *d = f(d)));
        op
    }

    /// The graphs that it carries, by the names of their attributes.
    pub fn graphs(&self) -> Vec<(String, Subgraph)> {
        let mut found = Vec::new();
        if let Op::Control(_) = self {
            let add = &mut |name: &str, g: &mut Subgraph| found.push((name.into(), g.clone()));
            self.clone().family_mut().fields(&mut Fields::Graphs(add));
        }
        found
    }

    /// The same op with every graph that it carries mapped, by the name of its attribute.
    ///
    /// # Errors
    /// The first of `f`.
    pub fn map_graphs<E>(&self, mut f: impl FnMut(&str, &Graph) -> Result<Graph, E>) -> Result<Op, E> {
        let mut op = self.clone();
        let mut failed = None;
        op.family_mut().fields(&mut Fields::Graphs(&mut |name, g| match f(name, g.graph()) {
            _ if failed.is_some() => {}
            Ok(graph) => *g = Subgraph::new(graph),
            Err(e) => failed = Some(e),
        }));
        failed.map_or(Ok(op), Err)
    }

    /// Operands, by their number, whose integers say extents of results.
    pub fn says_extents(&self) -> Vec<usize> {
        self.family().says_extents()
    }

    /// How operands take part in a row of the one result of these extents, if every row of it is treated alike and needs
    /// no other: what allows to do several such ops for a few rows at a time.
    pub fn rows(&self, x: &[RowOperand], out: &[usize]) -> Option<Vec<RowPart>> {
        self.family().rows(x, out)
    }

    /// Operations on floats of products, convolutions and attention, a multiply-add counting twice; 0 of other ops. Of
    /// types whose extents are numbers.
    pub fn flops(&self, x: &[&Type], results: &[&Type]) -> u64 {
        self.family().flops(x, results)
    }

    pub(super) fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        self.family().types(x, fresh)
    }

    pub(super) fn ints(&self, x: &[Operand], ty: &Type) -> Option<Vec<Dim>> {
        self.family().ints(x, ty)
    }

    pub(crate) fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        self.family().eval(x)
    }
}
