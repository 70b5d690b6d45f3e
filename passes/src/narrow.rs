//! Narrow floats between ops: halves, and floats of a byte or less. What one op makes and another takes is kept as f32, and
//! rounded where the graph casts or where it leaves the graph: the square of a few hundred is beyond f16, what becomes of
//! it mostly is not. ONNX Runtime on a CPU does the same with halves, and so kernels are needed for f32 only.

use crate::ir::{
    Cast, Constant, DType, Expr, Generate, Graph, GraphError, Index, Movement, Op, Origin, Scalar, Type, Unavailable,
    ValueId,
};
use crate::memory::room;
use bytes::Bytes;
use half::{bf16, f16};
use std::collections::HashMap;
use std::io;
use thiserror::Error;

/// Bytes from which on the f32 of a constant can be given up, to be made again from its narrow floats.
const LARGE: usize = 64 << 10;

/// Why narrow floats cannot be kept as f32.
#[derive(Debug, Error)]
pub enum WidenError {
    /// The graph is not sound.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The values of a constant cannot be had.
    #[error("constant @{name}: {reason}")]
    Unavailable {
        /// Its name.
        name: String,
        /// Why.
        reason: Unavailable,
    },
    /// The f32 of a constant are more than memory holds.
    #[error("constant @{name}: {bytes} bytes are needed, which memory does not suffice for")]
    Memory {
        /// Its name.
        name: String,
        /// So much, at once.
        bytes: usize,
    },
}

/// True if the op puts elements elsewhere at most, and computes nothing of them.
fn only_moves(op: &Op) -> bool {
    matches!(
        op,
        Op::Generate(Generate::Shape { .. })
            | Op::Movement(
                Movement::Reshape { .. }
                    | Movement::Transpose { .. }
                    | Movement::Expand { .. }
                    | Movement::Slice(_)
                    | Movement::Concat { .. }
                    | Movement::Tile { .. }
            )
            | Op::Index(Index::Gather { .. } | Index::GatherElements { .. } | Index::GatherNd { .. })
    )
}

/// The graph with narrow floats kept as f32 between ops; `None` if no op has any. Its inputs and outputs are those of
/// `graph`.
///
/// # Errors
/// A constant whose values are not here, or not enough memory for its f32.
pub fn widened(graph: &Graph) -> Result<Option<Graph>, WidenError> {
    let narrow = |v: &ValueId| graph.ty(*v).dtype.is_narrow_float();
    let mut any = false;
    graph.each_graph(&mut |g| {
        let narrow = |v: &ValueId| g.ty(*v).dtype.is_narrow_float();
        any |= g.nodes().any(|(_, n)| n.inputs.iter().chain(&n.outputs).any(narrow));
    });
    if !any {
        return Ok(None);
    }
    let mut out = Widening { graph: Graph::new(graph.name.clone()), values: HashMap::new() };
    for &v in graph.inputs() {
        let made = out.graph.add_input(graph.name(v), graph.ty(v).clone())?;
        out.values.insert(v, Held::as_it_is(made));
    }
    for (_, node) in graph.nodes() {
        let names: Vec<&str> = node.outputs.iter().map(|&v| graph.name(v)).collect();
        // Values that are only moved stay as they are, a table of an embedding say, unless they are not narrow any more. What is
        // constant is f32, as whoever computes with it wants a constant.
        let varies = |v: &ValueId| graph.constant(*v).is_none();
        let moves = only_moves(&node.op)
            && node.inputs.iter().any(varies)
            && node.inputs.iter().filter(|v| narrow(v)).all(|&v| out.has_narrow(v));
        if let (Op::Cast(Cast(DType::F32)), &[v]) = (&node.op, &node.inputs[..])
            && narrow(&v)
        {
            let wide = out.wide(graph, v)?;
            out.values.insert(node.outputs[0], Held::as_it_is(wide));
            continue;
        }
        // Whoever recorded an opaque op runs it on its own dtype, graphs that an op carries keep their inputs and outputs, and
        // bits are those of the narrow float.
        let opaque = matches!(node.op, Op::Opaque(_) | Op::Control(_) | Op::Movement(Movement::Bits(_)));
        let moves = moves || opaque;
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &v in &node.inputs {
            inputs.push(match narrow(&v) {
                true if opaque => out.narrow(graph, v)?,
                true if !moves => out.wide(graph, v)?,
                _ => out.kept(graph, v)?,
            });
        }
        let held = |dtype: DType| if dtype.is_narrow_float() && !moves { DType::F32 } else { dtype };
        let ty = |&v: &ValueId| Type { dtype: held(graph.ty(v).dtype), shape: graph.ty(v).shape.clone() };
        let types: Vec<Type> = node.outputs.iter().map(ty).collect();
        let made = match &node.op {
            Op::Cast(Cast(to)) if to.is_narrow_float() => {
                let made = out.graph.add(names[0], node.op.clone(), &inputs)?;
                out.values.insert(node.outputs[0], Held::as_it_is(made));
                continue;
            }
            Op::Fused(e) => out.graph.add_node(Op::Fused(expression(e)), &inputs, &names, Some(&types))?,
            op => {
                let op = op.map_graphs(|_, g| Ok::<_, WidenError>(widened(g)?.unwrap_or_else(|| g.clone())))?;
                out.graph.add_node(op, &inputs, &names, Some(&types))?
            }
        };
        for (&v, made) in node.outputs.iter().zip(made) {
            let held = if narrow(&v) && !moves { Held { kept: None, wide: Some(made) } } else { Held::as_it_is(made) };
            out.values.insert(v, held);
        }
    }
    for o in graph.outputs() {
        let value = out.narrow(graph, o.value)?;
        out.graph.add_output(&o.name, value)?;
    }
    Ok(Some(out.graph))
}

/// The new graph while it is made, and what values of the old one are in it.
struct Widening {
    graph: Graph,
    values: HashMap<ValueId, Held>,
}

/// A value in the new graph.
#[derive(Clone, Copy, Default)]
struct Held {
    /// In its own dtype.
    kept: Option<ValueId>,
    /// A narrow float as f32.
    wide: Option<ValueId>,
}

impl Held {
    fn as_it_is(v: ValueId) -> Self {
        Self { kept: Some(v), wide: None }
    }
}

impl Widening {
    /// True if the narrow floats of a value are to be had without rounding.
    fn has_narrow(&self, v: ValueId) -> bool {
        // A constant is added when it is asked for.
        self.values.get(&v).is_none_or(|held| held.kept.is_some())
    }

    /// A value in its own dtype, which is not made by rounding.
    fn kept(&mut self, old: &Graph, v: ValueId) -> Result<ValueId, WidenError> {
        let held = self.values.entry(v).or_default();
        if let Some(kept) = held.kept {
            return Ok(kept);
        }
        let constant = old.constant(v).ok_or_else(|| lost(old, v))?;
        let made = self.graph.add_const(old.name(v), constant.clone());
        held.kept = Some(made);
        Ok(made)
    }

    /// A value in its own dtype, rounded to it if need be.
    fn narrow(&mut self, old: &Graph, v: ValueId) -> Result<ValueId, WidenError> {
        let ty = old.ty(v);
        if !ty.dtype.is_narrow_float() || self.has_narrow(v) {
            return self.kept(old, v);
        }
        let wide = self.wide(old, v)?;
        let rounded = self.graph.add(old.name(v), Op::Cast(Cast(ty.dtype)), &[wide])?;
        self.values.entry(v).or_default().kept = Some(rounded);
        Ok(rounded)
    }

    /// Narrow floats as f32.
    fn wide(&mut self, old: &Graph, v: ValueId) -> Result<ValueId, WidenError> {
        let held = self.values.entry(v).or_default();
        if let Some(wide) = held.wide {
            return Ok(wide);
        }
        let name = old.name(v);
        let made = match (old.constant(v), held.kept) {
            (Some(c), _) => self.graph.add_const(name, constant(name, c)?),
            (None, Some(kept)) => self.graph.add(&format!("{name}.f32"), Op::Cast(Cast(DType::F32)), &[kept])?,
            (None, None) => return Err(lost(old, v)),
        };
        held.wide = Some(made);
        Ok(made)
    }
}

fn lost(graph: &Graph, v: ValueId) -> WidenError {
    WidenError::Graph(GraphError::Invalid(format!("%{} is used before it is made", graph.name(v))))
}

/// A constant of narrow floats as f32.
fn constant(name: &str, narrow: &Constant) -> Result<Constant, WidenError> {
    let bytes = narrow.elements().map_err(|reason| WidenError::Unavailable { name: name.into(), reason })?;
    let wide = wide_bytes(narrow.dtype(), &bytes).map_err(|bytes| WidenError::Memory { name: name.into(), bytes })?;
    let (dtype, shape, large) = (DType::F32, narrow.shape().to_vec(), wide.len() >= LARGE);
    drop(bytes);
    let made = if large {
        narrow.release();
        Constant::stored(dtype, shape, wide, Box::new(Narrow(narrow.clone())))
    } else {
        Constant::new(dtype, shape, wide)
    };
    made.ok_or_else(|| WidenError::Graph(GraphError::Invalid(format!("@{name} is not of {}", narrow.ty()))))
}

/// The f32 of narrow floats, or how many bytes these are if there is no memory for them.
fn wide_bytes(dtype: DType, narrow: &[u8]) -> Result<Bytes, usize> {
    let mut out: Vec<u8> = room((narrow.len() / dtype.size()).saturating_mul(4))?;
    if let Some(format) = dtype.small_float() {
        let all: [[u8; 4]; 256] = std::array::from_fn(|code| format.decode(code as u8).to_le_bytes());
        out.extend(narrow.iter().flat_map(|&code| all[usize::from(code)]));
        return Ok(out.into());
    }
    let wide: fn([u8; 2]) -> f32 = match dtype {
        DType::F16 => |b| f16::from_le_bytes(b).to_f32(),
        _ => |b| bf16::from_le_bytes(b).to_f32(),
    };
    out.extend(narrow.as_chunks().0.iter().flat_map(|&b| wide(b).to_le_bytes()));
    Ok(out.into())
}

/// Where the f32 of a constant come from.
struct Narrow(Constant);

impl Origin for Narrow {
    fn read(&self) -> io::Result<Bytes> {
        let narrow = self.0.elements().map_err(io::Error::other)?;
        let wide = wide_bytes(self.0.dtype(), &narrow).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory));
        drop(narrow);
        self.0.release();
        wide
    }

    fn stays_readable(&self, _: &[u8]) -> bool {
        false
    }
}

/// With numbers and casts that fit operands which are kept as f32.
fn expression(e: &Expr) -> Expr {
    let inner = |x: &Expr| Box::new(expression(x));
    match e {
        Expr::Input(i) => Expr::Input(*i),
        Expr::Literal(s) => {
            Expr::Literal(if s.dtype().is_narrow_float() { Scalar::f32(s.to_f64() as f32) } else { *s })
        }
        Expr::Unary(f, x) => Expr::Unary(*f, inner(x)),
        Expr::Binary(f, x, y) => Expr::Binary(*f, inner(x), inner(y)),
        Expr::Where(c, x, y) => Expr::Where(inner(c), inner(x), inner(y)),
        Expr::Cast(to, x) if to.is_narrow_float() => Expr::Cast(DType::F32, Box::new(Expr::Cast(*to, inner(x)))),
        Expr::Cast(to, x) => Expr::Cast(*to, inner(x)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{Tensor, run};
    use crate::ir::{Binary, Dim, Product, Unary};

    const HALF: DType = DType::F16;

    fn results(g: &Graph, inputs: &[Tensor]) -> Vec<Vec<f64>> {
        let wide = widened(g).expect("it has all values").expect("it has halves");
        wide.verify().expect("a sound graph");
        assert_eq!(wide.outputs().len(), g.outputs().len());
        for (a, b) in wide.outputs().iter().zip(g.outputs()) {
            assert_eq!((&a.name, wide.ty(a.value)), (&b.name, g.ty(b.value)));
        }
        run(&wide, inputs).expect("results").iter().map(Tensor::to_f64s).collect()
    }

    #[test]
    fn halves_are_rounded_where_the_graph_casts_and_where_they_leave_it() {
        let mut g = Graph::new("halves");
        let x = g.add_input("x", Type::new(HALF, ["n"])).unwrap();
        let three = g.add_const("three", Constant::scalar(Scalar::from_f64(HALF, 3.0)));
        let square = g.add("square", Op::Binary(Binary::Mul), &[x, x]).unwrap();
        let root = g.add("root", Op::Unary(Unary::Sqrt), &[square]).unwrap();
        let quotient = g.add("quotient", Op::Fused("a / b * 1.0f16".parse().unwrap()), &[root, x]).unwrap();
        let third = g.add("third", Op::Binary(Binary::Div), &[quotient, three]).unwrap();
        let wide = g.add("wide", Op::Cast(Cast(DType::F32)), &[square]).unwrap();
        let rounded = g.add("rounded", Op::Cast(Cast(HALF)), &[wide]).unwrap();
        let seen = g.add("seen", Op::Cast(Cast(DType::F32)), &[rounded]).unwrap();
        let again = g.add("again", Op::Fused("cast_f32(cast_f16(a))".parse().unwrap()), &[wide]).unwrap();
        // Of what was computed, what is moved is f32 too.
        let turned = g.add("turned", Op::reshape([Dim::from(1), Dim::sym("n")]), &[square]).unwrap();
        let back = g.add("back", Op::Unary(Unary::Sqrt), &[turned]).unwrap();
        let all = [root, third, seen, again, back, x, three, square, square];
        for (i, v) in all.into_iter().enumerate() {
            g.add_output(&format!("y{i}"), v).unwrap();
        }
        let input = Tensor::f64s(HALF, [2], &[800.0, 1.0]).unwrap();
        let (inf, third) = (f64::INFINITY, 0.333_251_953_125);
        let square = vec![inf, 1.0];
        let want =
            [vec![800.0, 1.0], vec![third; 2], square.clone(), square.clone(), vec![800.0, 1.0], vec![800.0, 1.0]];
        let want: Vec<_> = want.into_iter().chain([vec![3.0], square.clone(), square]).collect();
        assert_eq!(results(&g, &[input]), want);
    }

    #[test]
    fn what_is_only_looked_up_stays_halves() {
        let mut g = Graph::new("table");
        let ids = g.add_input("ids", Type::new(DType::I64, ["n"])).unwrap();
        let table = Constant::from_scalars(HALF, vec![3, 1], [1.0, 800.0, 3.0].map(|v| Scalar::from_f64(HALF, v)));
        let table = g.add_const("table", table.unwrap());
        let rows = g.add("rows", Op::Index(Index::Gather { axis: 0 }), &[table, ids]).unwrap();
        let square = g.add("square", Op::Binary(Binary::Mul), &[rows, rows]).unwrap();
        let root = g.add("root", Op::Unary(Unary::Sqrt), &[square]).unwrap();
        g.add_output("root", root).unwrap();
        g.add_output("rows", rows).unwrap();
        let wide = widened(&g).unwrap().unwrap();
        assert!(wide.constants().all(|(_, c)| c.dtype() == HALF), "{wide}");
        let got = results(&g, &[Tensor::i64s([2], &[1, 2]).unwrap()]);
        assert_eq!(got, [[800.0, 3.0], [800.0, 3.0]]);
        // Transposed weights are weights.
        let mut g = Graph::new("weights");
        let x = g.add_input("x", Type::new(HALF, ["n", "k"])).unwrap();
        let w = g.add_const("w", Constant::from_scalars(HALF, vec![1, 2], [Scalar::from_f64(HALF, 2.0); 2]).unwrap());
        let turned = g.add("turned", Op::Movement(Movement::Transpose { perm: vec![1, 0] }), &[w]).unwrap();
        let y = g.add("y", Op::Product(Product::MatMul), &[x, turned]).unwrap();
        g.add_output("y", y).unwrap();
        let wide = widened(&g).unwrap().unwrap();
        assert!(wide.constants().all(|(_, c)| c.dtype() == DType::F32), "{wide}");
    }

    #[test]
    fn large_constants_are_made_again_from_their_halves() {
        let values = |n: u16| (0..n).map(|i| Scalar::from_f64(DType::BF16, f64::from(i % 256)));
        let halves = Constant::from_scalars(DType::BF16, vec![200, 100], values(20_000)).unwrap();
        let wide = constant("w", &halves).unwrap();
        let before = wide.to_f32s().unwrap();
        assert_eq!(before[1000], 232.0);
        wide.release();
        assert_eq!(wide.to_f32s().unwrap(), before);
    }

    #[test]
    fn a_graph_without_halves_is_left_alone_and_one_without_values_refused() {
        let mut g = Graph::new("g");
        let x = g.add_input("x", Type::new(DType::F32, [2])).unwrap();
        let c = g.add_const("c", Constant::absent(HALF, vec![2], 7));
        g.add_output("x", x).unwrap();
        assert!(widened(&g).unwrap().is_none());
        let y = g.add("y", Op::Cast(Cast(DType::F64)), &[c]).unwrap();
        g.add_output("y", y).unwrap();
        assert_eq!(widened(&g).unwrap_err().to_string(), "constant @c: graph text has their hash only");
    }
}
