//! Ops that treat every row alike, done for a block of rows at a time.
//!
//! Between two attentions of a transformer nothing looks at more than one row: products with weights, their biases,
//! activations, residuals and norms. A run of such ops becomes one step. Each of its tasks takes a block of rows through all of
//! them, so that what a product makes is still in the cache for the ops behind it, only what others read is
//! written to memory as a whole, and threads meet once instead of after every op. Embeddings are looked up for the block
//! alone, and what is repeated for many rows, as positions are for all sequences of a batch, is read through its indices.
//!
//! A block is run by a plan of its own, made of the same ops for so many rows as a block has at the most. It serves every
//! block of any number of rows, and graphs of other extents whose rows are alike.

use super::ExecError;
use super::arena::{Reads, Share, Writes};
use super::plan::Plan;
use super::ports::Ports;
use super::step::Kernel;
use bgz_kernels::alone;
use bgz_passes::ir::{
    Constant, DType, Def, Graph, Index, Movement, Node, NodeId, Op, RowOperand, RowPart as Part, Type, ValueId,
};
use bgz_passes::memory::obtainable;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Nodes between those that are done before, for they need none of them.
    pub before: Vec<NodeId>,
    /// Operands from outside, other than those that are taken [whole](Part::Whole), in the order of the step's operands.
    inputs: Vec<(ValueId, Part)>,
    /// Results that others read.
    pub outputs: Vec<ValueId>,
    /// The extents before the last one.
    leading: Vec<usize>,
    rows: usize,
}

/// The leading extents, and the last one.
fn rows_and_width(graph: &Graph, v: ValueId) -> Option<(Vec<usize>, usize)> {
    let mut shape = graph.ty(v).known_shape()?;
    let width = shape.pop()?;
    (!shape.is_empty()).then_some((shape, width))
}

/// The row of those extents that each row meets, if there are so few that they have an index.
fn repeated_rows(extents: &[usize], leading: &[usize]) -> Option<Vec<i32>> {
    let missing = leading.len().checked_sub(extents.len())?;
    let all = extents.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    i32::try_from(all).ok()?;
    let mut rows = vec![0];
    for (i, &n) in leading.iter().enumerate() {
        let own = i.checked_sub(missing).map_or(1, |i| extents[i]);
        // At most `all`, which is an i32.
        let inner = move |row: i32| (0..n).map(move |k| row * own as i32 + k.min(own - 1) as i32);
        rows = rows.into_iter().flat_map(inner).collect();
    }
    Some(rows)
}

fn is_const(graph: &Graph, v: ValueId) -> bool {
    matches!(graph.value(v).def, Def::Const(_))
}

/// How the operands of a node take part, if it treats every row of its one result alike; floats are f32.
fn parts(graph: &Graph, node: &Node) -> Option<Vec<Part>> {
    let [out] = node.outputs[..] else { return None };
    let operand = |&v: &ValueId| Some(RowOperand { shape: graph.ty(v).known_shape()?, constant: is_const(graph, v) });
    let operands: Vec<_> = node.inputs.iter().map(operand).collect::<Option<_>>()?;
    rows_and_width(graph, out)?;
    let parts = node.op.rows(&operands, &graph.ty(out).known_shape()?)?;
    let is_f32 = |v: ValueId| graph.ty(v).dtype == DType::F32;
    let f32s = node.inputs.iter().zip(&parts).all(|(&v, &part)| part == Part::Indices || is_f32(v));
    (f32s && is_f32(out)).then_some(parts)
}

/// True if a node may be done earlier than where it is without much being kept for long.
fn is_light(op: &Op) -> bool {
    let views = matches!(
        op,
        Op::Movement(
            Movement::Reshape { .. } | Movement::Transpose { .. } | Movement::Expand { .. } | Movement::Slice(_)
        )
    );
    op.is_elementwise() || views || matches!(op, Op::Index(Index::Gather { .. }))
}

/// A region as it is found.
#[derive(Default)]
struct Run {
    nodes: Vec<NodeId>,
    before: Vec<NodeId>,
    /// Nodes behind the last that could be done before.
    passed: Vec<NodeId>,
    leading: Vec<usize>,
}

impl Run {
    /// True if it has nothing to do with the node.
    fn may_pass(&self, graph: &Graph, node: &Node) -> bool {
        let made = |v: &ValueId| self.nodes.iter().any(|&n| graph.node(n).outputs.contains(v));
        !self.nodes.is_empty() && is_light(&node.op) && !node.inputs.iter().any(made)
    }
}

/// The regions of a bound graph that are worth a step of their own: a product and something behind it, or several
/// products, for enough rows; without the nodes of `apart`.
pub(super) fn regions(graph: &Graph, apart: &HashSet<NodeId>) -> Vec<Region> {
    let least = MIN_ROWS.max(MIN_ROWS_A_THREAD.saturating_mul(rayon::current_num_threads()));
    let rows = |node: &Node| {
        rows_and_width(graph, *node.outputs.first()?)?.0.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    };
    let is_product = |node: &Node| matches!(node.op, Op::Product(_));
    if !graph.nodes().any(|(_, n)| is_product(n) && rows(n).is_some_and(|rows| rows >= least)) {
        return Vec::new();
    }
    let mut regions = Vec::new();
    let mut end = |run: &mut Run| {
        let region = region(graph, std::mem::take(run)).filter(|r| r.rows >= least);
        regions.extend(region);
    };
    let mut run = Run::default();
    for (id, node) in graph.nodes().filter(|(id, _)| !apart.contains(id)) {
        let own = parts(graph, node).and_then(|_| rows_and_width(graph, node.outputs[0])).map(|(l, _)| l);
        match own {
            Some(leading) if run.nodes.is_empty() || leading == run.leading => {
                run.leading = leading;
                run.before.append(&mut run.passed);
                run.nodes.push(id);
            }
            _ if run.may_pass(graph, node) => run.passed.push(id),
            _ => {
                end(&mut run);
                if let Some(leading) = own {
                    run = Run { nodes: vec![id], leading, ..Run::default() };
                }
            }
        }
    }
    end(&mut run);
    regions
}

fn region(graph: &Graph, run: Run) -> Option<Region> {
    let Run { nodes, before, leading, .. } = run;
    let products = nodes.iter().filter(|&&n| matches!(graph.node(n).op, Op::Product(_))).count();
    if products == 0 || nodes.len() < 2 {
        return None;
    }
    let rows = leading.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    let made: Vec<ValueId> = nodes.iter().map(|&n| graph.node(n).outputs[0]).collect();
    let mut inputs = Vec::new();
    for &n in &nodes {
        let node = graph.node(n);
        for input in node.inputs.iter().copied().zip(parts(graph, node)?) {
            if input.1 != Part::Whole && !made.contains(&input.0) && !inputs.contains(&input) {
                inputs.push(input);
            }
        }
    }
    let read = |v: ValueId| graph.is_output(v) || graph.users(v).iter().any(|u| !nodes.contains(u));
    let outputs: Vec<ValueId> = made.into_iter().filter(|&v| read(v)).collect();
    let fits = (1..=MAX_OUTPUTS).contains(&outputs.len()) && !inputs.is_empty();
    fits.then_some(Region { nodes, before, inputs, outputs, leading, rows })
}

impl Region {
    /// The operands of the step, in order.
    pub fn operands(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs.iter().map(|&(v, _)| v)
    }

    /// The ops for some rows: the rows of every operand as a matrix.
    fn graph(&self, graph: &Graph, rows: usize) -> Result<Graph, ExecError> {
        let lost = || ExecError::Internal("a region of rows has an operand without rows".into());
        let mut block = Graph::new("rows");
        let mut values: HashMap<(ValueId, Part), ValueId> = HashMap::new();
        for &(v, part) in &self.inputs {
            let (dtype, name) = (graph.ty(v).dtype, graph.name(v));
            let shape = graph.ty(v).known_shape().ok_or_else(lost)?;
            let (width, before) = shape.split_last().unwrap_or((&1, &[]));
            let value = match part {
                Part::Rows => block.add_input(name, Type::new(dtype, [rows, *width]))?,
                Part::Indices => block.add_input(name, Type::new(dtype, [rows]))?,
                Part::Repeated => {
                    let all = block.add_input(name, Type::new(dtype, [before.iter().product(), *width]))?;
                    let index = block.add_input(&format!("{name}.index"), Type::new(DType::I32, [rows]))?;
                    block.add(&format!("{name}.rows"), Op::Index(Index::Gather { axis: 0 }), &[all, index])?
                }
                Part::Whole => return Err(lost()),
            };
            values.insert((v, part), value);
        }
        for &n in &self.nodes {
            let node = graph.node(n);
            let mut operands = Vec::new();
            for (&v, part) in node.inputs.iter().zip(parts(graph, node).ok_or_else(lost)?) {
                let operand = match (values.get(&(v, part)), &graph.value(v).def) {
                    (Some(&known), _) => known,
                    (None, Def::Const(c)) => {
                        let constant = block.add_const(graph.name(v), flat(c).ok_or_else(lost)?);
                        values.insert((v, part), constant);
                        constant
                    }
                    _ => return Err(lost()),
                };
                operands.push(operand);
            }
            let made = block.add(graph.name(node.outputs[0]), node.op.clone(), &operands)?;
            values.insert((node.outputs[0], Part::Rows), made);
        }
        for &v in &self.outputs {
            block.add_output(graph.name(v), values[&(v, Part::Rows)])?;
        }
        Ok(block)
    }

    /// The step, with the plan for blocks of those kept in `blocks`, or one that `plan` makes of a graph; `None` if there is
    /// an op that cannot be given fewer rows.
    pub fn kernel(
        &self,
        graph: &Graph,
        blocks: &Blocks,
        plan: impl FnOnce(Graph) -> Result<Plan, ExecError>,
    ) -> Result<Option<Rowwise>, ExecError> {
        let lost = || ExecError::Internal("a region of rows has an operand without rows".into());
        let row_bytes = |v: ValueId| rows_and_width(graph, v).map_or(0, |(_, width)| width * graph.ty(v).dtype.size());
        // Lists of rows, each made of another.
        let bytes = self.rows.saturating_mul(2 * size_of::<i32>());
        if !obtainable(bytes) {
            return Err(ExecError::Memory { what: "indices of repeated rows".into(), bytes });
        }
        let mut inputs = Vec::new();
        for (read, &(v, part)) in self.inputs.iter().enumerate() {
            match part {
                Part::Rows => inputs.push(Feed::Rows { read, bytes: row_bytes(v) }),
                Part::Indices => inputs.push(Feed::Rows { read, bytes: graph.ty(v).dtype.size() }),
                Part::Repeated => {
                    let shape = graph.ty(v).known_shape().ok_or_else(lost)?;
                    let before = shape.split_last().map_or(&[][..], |(_, before)| before);
                    let rows = repeated_rows(before, &self.leading).ok_or_else(lost)?;
                    inputs.extend([Feed::All { read }, Feed::Indices(rows)]);
                }
                Part::Whole => return Err(lost()),
            }
        }
        let key = self.key(graph);
        let plan = match blocks.kept(&key) {
            Some(plan) => plan,
            None => blocks.keep(key, plan(self.graph(graph, BLOCK)?)?),
        };
        let outputs = self.outputs.iter().copied().map(row_bytes).collect();
        let block = block_rows(self.rows, rayon::current_num_threads());
        Ok(plan.takes_fewer_rows().then_some(Rowwise { rows: self.rows, block, plan, inputs, outputs }))
    }

    /// All that the plan for a block depends on, within graphs of one structure.
    fn key(&self, graph: &Graph) -> Key {
        let of = |&(v, part): &(ValueId, Part)| {
            let (leading, width) = rows_and_width(graph, v).unwrap_or_default();
            let all = if part == Part::Repeated { leading.iter().product() } else { 0 };
            (v, part, all, width)
        };
        (self.nodes.clone(), self.inputs.iter().map(of).collect(), self.outputs.clone())
    }
}

/// Nodes; operands, with the rows of those that are repeated and the width; results.
type Key = (Vec<NodeId>, Vec<(ValueId, Part, usize, usize)>, Vec<ValueId>);

/// The plans for blocks of rows, of graphs that have the same values and nodes.
#[derive(Default)]
pub(super) struct Blocks {
    kept: Mutex<HashMap<Key, Arc<Plan>>>,
}

/// Plans kept at the most; those of other numbers of repeated rows are others.
const MAX_KEPT: usize = 256;

impl Blocks {
    fn kept(&self, key: &Key) -> Option<Arc<Plan>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keep(&self, key: Key, plan: Plan) -> Arc<Plan> {
        let plan = Arc::new(plan);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(key, plan.clone());
        plan
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
    /// For [`BLOCK`] rows or fewer.
    plan: Arc<Plan>,
    inputs: Vec<Feed>,
    /// Bytes of a row of each.
    outputs: Vec<usize>,
}

/// An input of a block.
enum Feed {
    /// The block's rows of an operand, of so many bytes.
    Rows { read: usize, bytes: usize },
    /// All of an operand.
    All { read: usize },
    /// The block's part of a number for each row.
    Indices(Vec<i32>),
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
            let mut ports = Block { step: self, reads, results: &results, from, to };
            // Blocks are enough for all threads.
            alone(|| self.plan.run_rows(&mut ports, Share { rows: to - from, of: BLOCK })).map_err(|e| e.to_string())
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
        match self.step.inputs.get(input)? {
            Feed::Rows { read, bytes } => self.reads.bytes(*read).get(self.from * bytes..self.to * bytes),
            Feed::All { read } => Some(self.reads.bytes(*read)),
            Feed::Indices(rows) => rows.get(self.from..self.to).map(bytemuck::cast_slice),
        }
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
