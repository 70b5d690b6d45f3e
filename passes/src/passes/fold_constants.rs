//! A value that follows from constants and from the shapes of the inputs is not computed
//! when the graph runs.
//!
//! First, in order: an op that carries graphs becomes the one that its operands decide for; an op on constants becomes its value; an argument that is an
//! operand of known integers (the shape of a reshape) becomes part of the op; a
//! type that has become known replaces an invented one. Shape arithmetic mostly
//! has no user after that. Where it has, last to first: a value whose integers
//! are known becomes a constant, or a `dims` if they are symbolic.

use crate::eval::{self, Tensor};
use crate::ir::{
    Cast, Constant, DType, Dim, Generate, Graph, GraphError, IntArg, Known, Movement, Node, Op, Product, Reduce,
    Scalar, Splice, Type, ValueId, is_fresh, splice,
};
use crate::rewrite::{Cx, Pass, PassError, Patch, Ref, backwards, forwards};

const NAME: &str = "fold-constants";

/// Elements an operand or a result may have to be evaluated here.
const MAX_ELEMENTS: usize = 1 << 20;

/// Products a matrix product or convolution may take to be evaluated here, or entries of windows a pooling.
const MAX_PRODUCTS: u64 = 1 << 22;

/// Bytes by which a result may be larger than its operands: a model must not
/// grow by its broadcasts.
const MAX_GROWTH: usize = 64 << 10;

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    Box::new(FoldConstants)
}

struct FoldConstants;

impl Pass for FoldConstants {
    fn name(&self) -> &'static str {
        NAME
    }

    fn run(&self, graph: &mut Graph, cx: &mut Cx) -> Result<usize, PassError> {
        let try_at = |graph: &mut Graph, cx: &mut Cx, id, (rule, fold): (&str, Fold)| {
            let patch = graph.try_node(id).and_then(|n| fold(graph, n));
            usize::from(patch.is_some_and(|patch| cx.apply(graph, rule, patch)))
        };
        let rules: [(&str, Fold); 4] =
            [("known-branch", taken), (NAME, evaluated), ("known-argument", with_arguments), ("known-type", refined)];
        let first = forwards(graph, cx, |graph, cx, id| rules.into_iter().map(|r| try_at(graph, cx, id, r)).sum());
        let last: (&str, Fold) = ("shape-arithmetic", shape_arithmetic);
        Ok(first + backwards(graph, cx, |graph, cx, id| try_at(graph, cx, id, last)))
    }
}

type Fold = fn(&Graph, &Node) -> Option<Patch>;

/// An op whose operands say which graph it stands for `=>` that graph
fn taken(g: &Graph, node: &Node) -> Option<Patch> {
    let graph = g.taken(node)?.graph();
    let operands: Vec<Ref> = node.inputs[1..].iter().map(|&v| v.into()).collect();
    let types: Vec<&Type> = node.inputs[1..].iter().map(|&v| g.ty(v)).collect();
    let mut patch = Patch::new();
    let results = splice(&mut patch, graph, (&operands, &types), &mut g.new_dims()).ok()?;
    for (&old, new) in node.outputs.iter().zip(results) {
        patch.replace(old, new);
    }
    Some(patch)
}

impl Splice for Patch {
    type Value = Ref;

    fn constant(&mut self, name: &str, constant: &Constant) -> Ref {
        Patch::constant(self, name, constant.clone())
    }

    fn node(&mut self, op: Op, inputs: Vec<Ref>, names: &[&str], types: Vec<Type>) -> Result<Vec<Ref>, GraphError> {
        let first = self.add_declared(names.first().copied().unwrap_or_default(), op, inputs, types);
        let Ref::New(n, _) = first else { return Ok(Vec::new()) };
        Ok((0..names.len()).map(|i| Ref::New(n, i)).collect())
    }
}

/// `f(constant, constant) => constant`
fn evaluated(g: &Graph, node: &Node) -> Option<Patch> {
    if node.inputs.is_empty() || matches!(node.op, Op::Opaque(_)) || g.value(node.outputs[0]).ints.is_some() {
        return None;
    }
    let constants: Vec<&Constant> = node.inputs.iter().map(|&v| g.constant(v)).collect::<Option<_>>()?;
    let types: Vec<&Type> = node.outputs.iter().map(|&v| g.ty(v)).collect();
    if let Op::Movement(Movement::Reshape { .. }) = node.op {
        let shape = types[0].known_shape()?;
        return Some(replace_all(node, [constants[0].reshaped(shape)?]));
    }
    if !worthwhile(g, node, &constants, &types) {
        return None;
    }
    let operands: Vec<Tensor> = constants.iter().map(|c| Tensor::from_constant(c)).collect::<Option<_>>()?;
    let results = eval::node(&node.op, &operands).ok()?;
    Some(replace_all(node, results.iter().map(Tensor::to_constant)))
}

/// True if the value is small enough to compute and to keep.
fn worthwhile(g: &Graph, node: &Node, constants: &[&Constant], types: &[&Type]) -> bool {
    let Some(lens) = types.iter().map(|t| t.known_len()).collect::<Option<Vec<_>>>() else { return false };
    if lens.iter().copied().chain(constants.iter().map(|c| c.len())).any(|n| n > MAX_ELEMENTS) {
        return false;
    }
    let bytes = |dtype: DType, len| dtype.constant_bytes(len).unwrap_or(usize::MAX);
    let before: usize = constants.iter().map(|c| bytes(c.dtype(), c.len())).sum();
    let after: usize = types.iter().zip(&lens).map(|(t, &n)| bytes(t.dtype, n)).sum();
    match &node.op {
        // A weight stays the bytes of the file; `linear` takes it transposed.
        Op::Movement(Movement::Transpose { perm }) if perm[..] == [1, 0] => {
            !g.users(node.outputs[0]).iter().all(|&u| matches!(g.node(u).op, Op::Product(Product::MatMul)))
        }
        // A weight kept at half the width is needed at full width anyway.
        Op::Cast(_) => true,
        Op::Product(_) | Op::Conv(_) | Op::Recurrent(_) => {
            let operands: Vec<&Type> = node.inputs.iter().map(|&v| g.ty(v)).collect();
            node.op.flops(&operands, types) <= 2 * MAX_PRODUCTS && after <= before + MAX_GROWTH
        }
        Op::Pool(p) => {
            let taps = p.window.kernel.iter().try_fold(lens[0] as u64, |n, &k| n.checked_mul(k as u64));
            taps.is_some_and(|n| n <= MAX_PRODUCTS)
        }
        Op::Attention(_) | Op::Control(_) => false,
        _ => after <= before + MAX_GROWTH,
    }
}

fn replace_all(node: &Node, constants: impl IntoIterator<Item = Constant>) -> Patch {
    let mut patch = Patch::new();
    for (&old, c) in node.outputs.iter().zip(constants) {
        let new = patch.constant("", c);
        patch.replace(old, new);
    }
    patch
}

/// `reshape(x, s) => reshape(x) {shape = [..]}` where the integers of `s` are
/// known, and so for every op with such an argument
fn with_arguments(g: &Graph, node: &Node) -> Option<Patch> {
    let mut op = node.op.clone();
    let mut rest = node.inputs[node.inputs.len().min(1)..].iter().copied();
    let mut inputs: Vec<ValueId> = node.inputs.iter().copied().take(1).collect();
    let mut changed = false;
    let needs_type = matches!(
        op,
        Op::Movement(Movement::Reshape { shape: IntArg::Operand, .. } | Movement::Expand { shape: IntArg::Operand })
            | Op::Generate(Generate::Full { shape: IntArg::Operand })
    );
    {
        let mut settle = |arg: &mut IntArg, resolved: Option<&[Dim]>| {
            let IntArg::Operand = arg else { return };
            let Some(operand) = rest.next() else { return };
            match g.value(operand).ints.as_deref().and_then(|ints| lasting(resolved.unwrap_or(ints))) {
                Some(dims) => {
                    *arg = IntArg::Known(dims);
                    changed = true;
                }
                None => inputs.push(operand),
            }
        };
        // Inference resolves the shorthand of a shape into the type.
        let resolved = if needs_type { known_again(g, node) } else { None };
        let resolved = resolved.as_ref().and_then(|k| k.first()).map(|k| k.ty.shape.as_slice());
        match &mut op {
            Op::Movement(Movement::Reshape { shape, .. } | Movement::Expand { shape })
            | Op::Generate(Generate::Full { shape }) => {
                settle(shape, resolved);
            }
            Op::Movement(Movement::Tile { repeats }) => settle(repeats, None),
            Op::Movement(Movement::Slice(s)) => {
                for arg in [&mut s.starts, &mut s.ends, &mut s.steps] {
                    settle(arg, None);
                }
            }
            Op::Movement(Movement::Pad(p)) => settle(&mut p.pads, None),
            Op::Reduce(Reduce::TopK(t)) => settle(&mut t.k, None),
            _ => return None,
        }
    }
    if !changed {
        return None;
    }
    if let Op::Movement(Movement::Reshape { zero_copies, .. }) = &mut op {
        *zero_copies = true;
    }
    inputs.extend(rest);
    Some(same_results(node, op, inputs))
}

/// The integers, if an attribute may hold them: an invented dim is bound by the
/// value it was invented for, which a rewrite may remove.
fn lasting(dims: &[Dim]) -> Option<Vec<Dim>> {
    (!dims.iter().any(is_fresh)).then(|| dims.to_vec())
}

fn same_results(node: &Node, op: Op, inputs: Vec<ValueId>) -> Patch {
    let mut patch = Patch::new();
    let new = patch.add("", op, inputs);
    let Ref::New(n, _) = new else { return patch };
    for (i, &old) in node.outputs.iter().enumerate() {
        patch.replace(old, Ref::New(n, i));
    }
    patch
}

/// The same op again, where its operands have since become known so well that
/// its type, or the integers in it, follow
fn refined(g: &Graph, node: &Node) -> Option<Patch> {
    let unknown = |v: &ValueId| g.ty(*v).shape.iter().any(|d| d.as_int().is_none()) || may_have_ints(g, *v);
    if matches!(node.op, Op::Opaque(_)) || !node.outputs.iter().any(unknown) {
        return None;
    }
    let known = known_again(g, node)?;
    let better = node.outputs.iter().zip(&known).any(|(&v, k)| {
        let old = g.value(v);
        let dims = old.ty.shape.iter().zip(&k.ty.shape);
        dims.into_iter().any(|(o, n)| is_fresh(o) && !is_fresh(n) || o.as_int().is_none() && n.as_int().is_some())
            || old.ints.is_none() && k.ints.is_some()
    });
    better.then(|| same_results(node, node.op.clone(), node.inputs.clone()))
}

/// The types and integers that inference finds for a node now.
fn known_again(g: &Graph, node: &Node) -> Option<Vec<Known>> {
    // Invented dims are compared with nothing: any name will do.
    let mut fresh = 0;
    g.infer_node(&node.op, &node.inputs, "", None, &mut fresh).ok()
}

/// True if inference could follow the integers of a value, but did not.
fn may_have_ints(g: &Graph, v: ValueId) -> bool {
    let data = g.value(v);
    !data.ty.dtype.is_float() && data.ty.rank() <= 1 && data.ints.is_none()
}

/// `f(shape(x)) => dims {values = [..]}`, or a constant if all are numbers
fn shape_arithmetic(g: &Graph, node: &Node) -> Option<Patch> {
    let &[root] = node.outputs.as_slice() else { return None };
    let data = g.value(root);
    let (ints, dtype) = (data.ints.as_deref()?, data.ty.dtype);
    let mut patch = Patch::new();
    if let Some(numbers) = ints.iter().map(Dim::as_int).collect::<Option<Vec<_>>>() {
        let shape = data.ty.known_shape()?;
        let values = numbers.into_iter().map(|v| Scalar::from_i64(dtype, v));
        let new = patch.constant("", Constant::from_scalars(dtype, shape, values)?);
        patch.replace(root, new);
        return Some(patch);
    }
    let is_dims = |op: &Op| matches!(op, Op::Generate(Generate::Dims { .. }));
    let source = node.inputs.first().and_then(|&v| g.op(v));
    if is_dims(&node.op) || matches!(node.op, Op::Cast(_)) && source.is_some_and(is_dims) {
        return None;
    }
    let dims = Op::Generate(Generate::Dims { values: lasting(ints)?, scalar: data.ty.rank() == 0 });
    let new = match dtype {
        DType::I64 => patch.add::<ValueId>("", dims, []),
        _ => {
            let dims = patch.add::<ValueId>("dims", dims, []);
            patch.add("", Op::Cast(Cast(dtype)), [dims])
        }
    };
    patch.replace(root, new);
    Some(patch)
}
