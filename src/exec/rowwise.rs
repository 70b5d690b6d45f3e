//! Ops that treat every row alike, done for a block of rows at a time.
//!
//! Between two attentions of a transformer nothing looks at more than one row: products with weights, their biases,
//! activations, residuals and norms. A run of such ops becomes one step. Each of its tasks takes a block of rows through all of
//! them, so that what a product makes is still in the cache for the ops behind it, only what others read is
//! written to memory as a whole, and threads meet once instead of after every op.
//!
//! A block is run by a plan of its own, made of the same ops with fewer rows.

use super::ExecError;
use super::arena::{Reads, Writes};
use super::plan::{Kernel, Plan};
use super::ports::Ports;
use bgz_kernels::alone;
use bgz_passes::ir::{Constant, DType, Def, Graph, Node, NodeId, Op, Type, ValueId};
use rayon::prelude::*;
use std::collections::HashMap;

/// Rows of a block at the most: with 1536 numbers each, what the product takes through all its weights at once.
const BLOCK: usize = 84;

/// Rows below which a step is rather cut by columns: each block reads all weights. So many in all and for each thread.
const MIN_ROWS: usize = 96;
const MIN_ROWS_A_THREAD: usize = 48;

/// Results that others read, at the most: their addresses are kept on the stack.
const MAX_OUTPUTS: usize = 8;

/// A run of nodes that treat rows alike.
pub(super) struct Region {
    /// In order.
    pub nodes: Vec<NodeId>,
    /// What comes in from outside, other than constants, in the order of the block's inputs.
    pub inputs: Vec<ValueId>,
    /// What others read.
    pub outputs: Vec<ValueId>,
    rows: usize,
}

/// How an operand takes part.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// A row for each.
    Rows,
    /// All of it for each row.
    Whole,
}

/// The leading extents as one, and the last one.
fn rows_and_width(graph: &Graph, v: ValueId) -> Option<(Vec<usize>, usize)> {
    let mut shape = graph.ty(v).known_shape()?;
    let width = shape.pop()?;
    (!shape.is_empty()).then_some((shape, width))
}

/// How the operands of a node take part, if it treats every row of its one result alike.
fn parts(graph: &Graph, node: &Node) -> Option<Vec<Part>> {
    let [out] = node.outputs[..] else { return None };
    let f32s = node.inputs.iter().chain([&out]).all(|&v| graph.ty(v).dtype == DType::F32);
    if !f32s {
        return None;
    }
    let (leading, width) = rows_and_width(graph, out)?;
    let shape = |v: ValueId| graph.ty(v).known_shape();
    let is_rows = |v: ValueId| rows_and_width(graph, v).is_some_and(|(l, _)| l == leading);
    let is_const = |v: ValueId| matches!(graph.value(v).def, Def::Const(_));
    match &node.op {
        Op::MatMul | Op::Linear { .. } => {
            let (&x, rest) = node.inputs.split_first()?;
            let weights = rest.first().is_some_and(|&w| is_const(w) && shape(w).is_some_and(|s| s.len() == 2));
            let fits = weights && is_rows(x) && rest.iter().all(|&v| is_const(v));
            fits.then(|| [Part::Rows].into_iter().chain(rest.iter().map(|_| Part::Whole)).collect())
        }
        Op::LayerNorm { .. } | Op::RmsNorm { .. } => {
            let (&x, rest) = node.inputs.split_first()?;
            let fits = shape(x) == shape(out) && rest.iter().all(|&v| is_const(v));
            fits.then(|| [Part::Rows].into_iter().chain(rest.iter().map(|_| Part::Whole)).collect())
        }
        Op::Unary(_) | Op::Binary(_) | Op::Fused(_) => node
            .inputs
            .iter()
            .map(|&v| {
                let s = shape(v)?;
                if is_rows(v) && s.len() == leading.len() + 1 && !is_const(v) {
                    return [1, width].contains(s.last()?).then_some(Part::Rows);
                }
                let alike = s.iter().rev().skip(1).all(|&n| n == 1);
                (is_const(v) && alike).then_some(Part::Whole)
            })
            .collect(),
        _ => None,
    }
}

/// The regions of a bound graph that are worth a step of their own: a product and something behind it, or several
/// products, for enough rows.
pub(super) fn regions(graph: &Graph) -> Vec<Region> {
    let least = MIN_ROWS.max(MIN_ROWS_A_THREAD.saturating_mul(rayon::current_num_threads()));
    let region = |nodes| region(graph, nodes).filter(|r| r.rows >= least);
    let mut regions = Vec::new();
    let mut run: Vec<NodeId> = Vec::new();
    let mut leading: Option<Vec<usize>> = None;
    for (id, node) in graph.nodes() {
        let own = parts(graph, node).and_then(|_| rows_and_width(graph, node.outputs[0])).map(|(l, _)| l);
        if own.is_none() || own != leading {
            regions.extend(region(std::mem::take(&mut run)));
            leading = own;
        }
        if leading.is_some() {
            run.push(id);
        }
    }
    regions.extend(region(run));
    regions
}

fn region(graph: &Graph, nodes: Vec<NodeId>) -> Option<Region> {
    let products = nodes.iter().filter(|&&n| matches!(graph.node(n).op, Op::MatMul | Op::Linear { .. })).count();
    if products == 0 || nodes.len() < 2 {
        return None;
    }
    let (leading, _) = rows_and_width(graph, graph.node(nodes[0]).outputs[0])?;
    let rows = leading.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    let made: Vec<ValueId> = nodes.iter().map(|&n| graph.node(n).outputs[0]).collect();
    let mut inputs = Vec::new();
    for &v in nodes.iter().flat_map(|&n| &graph.node(n).inputs) {
        let constant = matches!(graph.value(v).def, Def::Const(_));
        if !constant && !made.contains(&v) && !inputs.contains(&v) {
            inputs.push(v);
        }
    }
    let read = |v: ValueId| graph.is_output(v) || graph.users(v).iter().any(|u| !nodes.contains(u));
    let outputs: Vec<ValueId> = made.into_iter().filter(|&v| read(v)).collect();
    let fits = (1..=MAX_OUTPUTS).contains(&outputs.len()) && !inputs.is_empty();
    fits.then_some(Region { nodes, inputs, outputs, rows })
}

impl Region {
    /// The ops for some rows: the rows of every operand as a matrix.
    fn graph(&self, graph: &Graph, rows: usize) -> Result<Graph, ExecError> {
        let lost = || ExecError::Internal("a region of rows has an operand without rows".into());
        let matrix = |v: ValueId| {
            let (_, width) = rows_and_width(graph, v).ok_or_else(lost)?;
            Ok::<_, ExecError>(Type::new(DType::F32, [rows, width]))
        };
        let mut block = Graph::new("rows");
        let mut values: HashMap<ValueId, ValueId> = HashMap::new();
        for &v in &self.inputs {
            values.insert(v, block.add_input(graph.name(v), matrix(v)?)?);
        }
        for &n in &self.nodes {
            let node = graph.node(n);
            let mut operands = Vec::new();
            for &v in &node.inputs {
                let operand = match (&graph.value(v).def, values.get(&v)) {
                    (_, Some(&known)) => known,
                    (Def::Const(c), None) => {
                        let constant = block.add_const(graph.name(v), flat(c).ok_or_else(lost)?);
                        values.insert(v, constant);
                        constant
                    }
                    _ => return Err(lost()),
                };
                operands.push(operand);
            }
            let made = block.add(graph.name(node.outputs[0]), node.op.clone(), &operands)?;
            values.insert(node.outputs[0], made);
        }
        for &v in &self.outputs {
            block.add_output(graph.name(v), values[&v])?;
        }
        Ok(block)
    }

    /// The step, with a plan for whole blocks and one for the rest; `plan` makes one of a graph.
    pub fn kernel(
        &self,
        graph: &Graph,
        plan: impl Fn(&Graph) -> Result<Plan, ExecError>,
    ) -> Result<Rowwise, ExecError> {
        let block = block_rows(self.rows, rayon::current_num_threads());
        let rest = self.rows % block;
        let row_bytes = |v: &ValueId| rows_and_width(graph, *v).map_or(0, |(_, width)| width * size_of::<f32>());
        Ok(Rowwise {
            rows: self.rows,
            block,
            whole: plan(&self.graph(graph, block)?)?,
            rest: if rest > 0 { Some(plan(&self.graph(graph, rest)?)?) } else { None },
            inputs: self.inputs.iter().map(row_bytes).collect(),
            outputs: self.outputs.iter().map(row_bytes).collect(),
        })
    }

    /// What the step is called: its ops in order.
    pub fn name(&self, graph: &Graph) -> String {
        self.nodes.iter().map(|&n| graph.node(n).op.mnemonic()).collect::<Vec<_>>().join(" + ")
    }
}

/// A constant without the leading axes of 1 that a matrix does not have.
fn flat(c: &Constant) -> Option<Constant> {
    match c.shape() {
        [leading @ .., _, _] if !leading.is_empty() => {
            let from = leading.len();
            c.reshaped(c.shape()[from..].to_vec())
        }
        _ => Some(c.clone()),
    }
}

/// Rows of a block: as many blocks as threads take in even turns.
fn block_rows(rows: usize, threads: usize) -> usize {
    let blocks = rows.div_ceil(BLOCK).next_multiple_of(threads.max(1));
    rows.div_ceil(blocks)
}

/// A region as a step.
pub(super) struct Rowwise {
    rows: usize,
    block: usize,
    whole: Plan,
    rest: Option<Plan>,
    /// Bytes of a row of each.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

/// Addresses of what a step writes.
#[derive(Clone, Copy)]
struct Results([*mut u8; MAX_OUTPUTS]);

// SAFETY: blocks write to rows of their own.
unsafe impl Sync for Results {}

impl Kernel for Rowwise {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let mut results = Results([std::ptr::null_mut(); MAX_OUTPUTS]);
        for (i, (to, &row)) in results.0.iter_mut().zip(&self.outputs).enumerate() {
            let bytes = writes.bytes(i);
            if bytes.len() != self.rows * row {
                return Err("a result has other rows".into());
            }
            *to = bytes.as_mut_ptr();
        }
        let block = |i: usize| {
            let from = i * self.block;
            let to = (from + self.block).min(self.rows);
            let plan = if to - from == self.block { Some(&self.whole) } else { self.rest.as_ref() };
            let plan = plan.ok_or("a block has other rows")?;
            let mut ports = Block { step: self, reads, results: &results, from, to };
            // Blocks are enough for all threads.
            alone(|| plan.run_block(&mut ports)).map_err(|e| e.to_string())
        };
        let blocks = self.rows.div_ceil(self.block);
        if rayon::current_num_threads() == 1 {
            return (0..blocks).try_for_each(block);
        }
        (0..blocks).into_par_iter().with_max_len(1).try_for_each(block)
    }
}

/// Some rows of the operands and results of a step.
struct Block<'a> {
    step: &'a Rowwise,
    reads: &'a Reads<'a>,
    results: &'a Results,
    from: usize,
    to: usize,
}

// SAFETY: reads are not written meanwhile, and the rows written are this block's alone.
unsafe impl Send for Block<'_> {}

impl Ports for Block<'_> {
    fn input(&self, input: usize) -> Option<&[u8]> {
        let row = *self.step.inputs.get(input)?;
        self.reads.bytes(input).get(self.from * row..self.to * row)
    }

    fn output(&mut self, output: usize) -> Option<&mut [u8]> {
        let row = *self.step.outputs.get(output)?;
        let start = *self.results.0.get(output)?;
        // SAFETY: `run` has seen that there are so many rows; no two blocks share one.
        Some(unsafe { std::slice::from_raw_parts_mut(start.add(self.from * row), (self.to - self.from) * row) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_even() {
        for (rows, threads, block) in
            [(1024, 2, 74), (128, 2, 64), (257, 2, 65), (512, 1, 74), (100, 2, 50), (800, 16, 50)]
        {
            assert_eq!(block_rows(rows, threads), block, "{rows} rows, {threads} threads");
        }
    }
}
