//! Chains of elementwise ops become one `fused` op, which reads every operand
//! once and writes once. The last pass: it would hide what others recognise.
//!
//! From the last node of a chain upwards, a producer joins if all its users are
//! in the chain, it is no output, and it has as many elements as the result (a
//! smaller one would be computed again for every place it is broadcast to).
//! Constants of one repeated number become literals. A chain of one op stays
//! what it is.

use crate::ir::{Cast, Constant, DType, Dim, Expr, Graph, NodeId, Op, Operand, Type, ValueId, Where, infer};
use crate::rewrite::{Cx, Pass, PassError, Patch, backwards};
use std::collections::BTreeSet;

const NAME: &str = "fuse-elementwise";

/// Functions, literals and operands one expression may have.
const MAX_SIZE: usize = 64;

/// Integer tensors up to this length are indices or extents: not worth a kernel.
const SMALL: usize = 64;

/// Constants longer than this are not searched for one repeated number.
const MAX_SPLAT: usize = 1 << 16;

/// The pass.
pub fn pass() -> Box<dyn Pass> {
    Box::new(FuseElementwise)
}

struct FuseElementwise;

impl Pass for FuseElementwise {
    fn name(&self) -> &'static str {
        NAME
    }

    /// `mul(sigmoid(add(x, y)), z) => fused(x, y, z) {expr = "sigmoid(a + b) * c"}`
    fn run(&self, graph: &mut Graph, cx: &mut Cx) -> Result<usize, PassError> {
        Ok(backwards(graph, cx, |graph, cx, id| usize::from(fuse(graph, cx, id))))
    }
}

/// Makes one op of the chain that ends at a node; false if there is none.
fn fuse(graph: &mut Graph, cx: &mut Cx, last: NodeId) -> bool {
    if !fusable(graph, last) {
        return false;
    }
    let mut chain = Chain::new(graph, last);
    chain.grow(cx);
    if chain.nodes.len() == 1 {
        chain.explain(cx);
        return false;
    }
    match chain.patch() {
        Some(patch) => cx.apply(graph, NAME, patch),
        None => {
            cx.refuse(NAME, graph.name(graph.node(last).outputs[0]), "its type does not follow from the operands");
            false
        }
    }
}

/// True if a node is elementwise, and on more than an index or two.
fn fusable(g: &Graph, id: NodeId) -> bool {
    let node = g.node(id);
    let small = |v: &ValueId| !g.ty(*v).dtype.is_float() && g.ty(*v).known_len().is_some_and(|n| n <= SMALL);
    node.op.is_elementwise() && !node.outputs.iter().chain(&node.inputs).all(small)
}

/// Nodes that become one, with a single result.
struct Chain<'a> {
    graph: &'a Graph,
    root: NodeId,
    nodes: BTreeSet<NodeId>,
    /// Places in the order: the last candidate is asked first, when all its users were.
    positions: Vec<usize>,
    /// The expression, over `operands`.
    expr: Expr,
    operands: Vec<ValueId>,
}

impl<'a> Chain<'a> {
    fn new(graph: &'a Graph, root: NodeId) -> Self {
        let mut chain = Self {
            graph,
            root,
            nodes: BTreeSet::from([root]),
            positions: graph.positions(),
            expr: Expr::Input(0),
            operands: Vec::new(),
        };
        (chain.expr, chain.operands) = chain.expression(&chain.nodes, true);
        chain
    }

    fn result(&self) -> ValueId {
        self.graph.node(self.root).outputs[0]
    }

    /// Takes in producers until none fits, the nearest first.
    fn grow(&mut self, cx: &mut Cx) {
        let mut refused = BTreeSet::new();
        while let Some(id) = self.candidate(&refused) {
            match self.with(id) {
                Ok((expr, operands)) => {
                    self.nodes.insert(id);
                    (self.expr, self.operands) = (expr, operands);
                }
                Err(reason) => {
                    refused.insert(id);
                    cx.refuse(NAME, self.graph.name(self.graph.node(id).outputs[0]), reason);
                }
            }
        }
    }

    /// The last elementwise producer of an operand that was not refused.
    fn candidate(&self, refused: &BTreeSet<NodeId>) -> Option<NodeId> {
        let g = self.graph;
        let producers = self.operands.iter().filter_map(|&v| g.producer(v));
        producers.filter(|n| !refused.contains(n) && fusable(g, *n)).max_by_key(|n| self.positions[n.index()])
    }

    /// The expression of the chain with one more node, or the reason why it cannot join.
    fn with(&self, id: NodeId) -> Result<(Expr, Vec<ValueId>), String> {
        let g = self.graph;
        let value = g.node(id).outputs[0];
        if g.is_output(value) {
            return Err("it is an output of the graph".into());
        }
        if let Some(&user) = g.users(value).iter().find(|u| !self.nodes.contains(u)) {
            return Err(format!("it is used elsewhere, by %{}", g.name(g.node(user).outputs[0])));
        }
        let (inner, outer) = (g.ty(value), g.ty(self.result()));
        // It broadcasts to the result, which so has as many elements if it has the same extents, but for 1 in front.
        let extents = |t: &Type| t.shape.iter().skip_while(|d| d.is(1)).cloned().collect::<Vec<_>>();
        if extents(inner) != extents(outer) {
            return Err(format!("{inner} is broadcast to {outer}"));
        }
        let mut nodes = self.nodes.clone();
        nodes.insert(id);
        let (expr, operands) = self.expression(&nodes, true);
        if operands.len() > Expr::MAX_INPUTS {
            return Err(format!("more than {} operands", Expr::MAX_INPUTS));
        }
        if expr.size() > MAX_SIZE {
            return Err(format!("more than {MAX_SIZE} terms"));
        }
        Ok((expr, operands))
    }

    /// The expression of the nodes, and its operands; constants of one number as literals, if told to.
    fn expression(&self, nodes: &BTreeSet<NodeId>, splats: bool) -> (Expr, Vec<ValueId>) {
        let mut operands = Vec::new();
        let expr = self.term(self.result(), nodes, splats, &mut operands);
        (expr, operands)
    }

    fn term(&self, v: ValueId, nodes: &BTreeSet<NodeId>, splats: bool, operands: &mut Vec<ValueId>) -> Expr {
        let g = self.graph;
        let of_one_number = |c: &&Constant| c.shape().is_empty() || splats && c.len() <= MAX_SPLAT;
        if let Some(number) = g.constant(v).filter(of_one_number).and_then(Constant::as_splat) {
            return Expr::Literal(number);
        }
        let inside = g.producer(v).filter(|n| nodes.contains(n)).map(|n| g.node(n));
        let Some(node) = inside else {
            let at = operands.iter().position(|&o| o == v).unwrap_or_else(|| {
                operands.push(v);
                operands.len() - 1
            });
            return Expr::Input(at);
        };
        let mut x = node.inputs.iter().map(|&i| self.term(i, nodes, splats, operands));
        let mut next = || Box::new(x.next().unwrap_or(Expr::Input(usize::MAX)));
        match &node.op {
            Op::Unary(f) => Expr::Unary(*f, next()),
            Op::Binary(f) => Expr::Binary(*f, next(), next()),
            Op::Where(Where) => Expr::Where(next(), next(), next()),
            Op::Cast(Cast(to)) => Expr::Cast(*to, next()),
            Op::Fused(e) => {
                let terms: Vec<Expr> = x.collect();
                e.substitute(&mut |i| terms.get(i).cloned().unwrap_or(Expr::Input(usize::MAX)))
            }
            _ => Expr::Input(usize::MAX),
        }
    }

    /// True if the operands alone broadcast to the shape of the result.
    fn fits(&self, expr: &Expr, operands: &[ValueId]) -> bool {
        let g = self.graph;
        let types: Vec<_> = operands.iter().map(|&v| Operand { ty: g.ty(v), ints: None }).collect();
        let mut fresh = Dim::default;
        let known = infer(&Op::Fused(expr.clone()), &types, &mut fresh);
        matches!(known, Ok(Some(k)) if k.iter().any(|k| k.ty == *g.ty(self.result())))
    }

    fn patch(&self) -> Option<Patch> {
        // A constant of one number may have been what gave the result its shape.
        let (expr, operands) = [true, false]
            .map(|splats| self.expression(&self.nodes, splats))
            .into_iter()
            .find(|(e, o)| o.len() <= Expr::MAX_INPUTS && self.fits(e, o))?;
        let mut patch = Patch::new();
        let new = patch.add("", Op::Fused(expr), operands);
        patch.replace(self.result(), new);
        let inner = self.nodes.iter().filter(|&&n| n != self.root);
        patch.consume(inner.map(|&n| self.graph.node(n).outputs[0]));
        Some(patch)
    }

    /// Says what a single op would have had to be joined to.
    fn explain(&self, cx: &mut Cx) {
        let g = self.graph;
        let producer = self.operands.iter().find_map(|&v| g.op(v)).filter(|op| !op.is_elementwise());
        if let Some(op) = producer.filter(|_| g.ty(self.result()).dtype != DType::I64) {
            cx.refuse(NAME, g.name(self.result()), format!("producer is {}", op.mnemonic()));
        }
    }
}
