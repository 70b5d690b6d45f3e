//! Matrix products: constant weights packed ahead, everything else as it lies. Weights that the same rows meet, as those of
//! queries, keys and values do, are one product.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::packed::{Arrangement, PackedMatrix};
use super::super::step::Kernel;
use super::super::view::{View, row_major};
use super::super::work;
use super::Lowering;
use super::number::Same;
use crate::kernels::MatMul;
use arrayvec::ArrayVec;
use bgz_kernels::linear::{self, Branch, Float};
use bgz_passes::ir::{Constant, DType, Def, Graph, Node, NodeId, Op, Precision, Product, ValueId};
use bgz_passes::memory::obtainable;
use rayon::prelude::*;
use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::Matrix;
use smallvec::smallvec;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

thread_local! {
    /// One a thread: it detects the instruction set once and cannot be shared.
    static GEMM: GemmExecutor = GemmExecutor::new();
}

/// `a . b + bias`, row-major.
pub(super) fn gemm(out: &mut [f32], a: Matrix, b: GemmInputB<f32>, bias: Option<&[f32]>) -> Result<(), String> {
    let options = GemmOptions { bias: bias.map(BiasVector::Row), ..GemmOptions::default() };
    GEMM.with(|g| g.gemm(out, GemmInputA::Unpacked(a), b, options)).map_err(|e| e.to_string())
}

/// Weights that the same rows meet in one product, at the most.
const MOST: usize = 8;

/// `x [rows, k] . packed [k, n] + bias`, a result for each of the weights.
struct Linear {
    /// Packed alike, and whether there is a bias.
    weights: Vec<(Arc<PackedMatrix>, bool)>,
    k: usize,
}

impl Linear {
    /// All weights that `pick` knows, with their biases and results.
    fn branches<'a, W>(
        &'a self,
        reads: &'a Reads,
        writes: &'a mut Writes,
        pick: impl Fn(&PackedMatrix) -> Option<&W>,
    ) -> Result<ArrayVec<Branch<'a, W>, MOST>, String> {
        let mut branches = ArrayVec::new();
        let mut read = 1;
        for ((packed, bias), out) in self.weights.iter().zip(writes.each()) {
            let weights = pick(packed).ok_or("weights of one product are packed differently")?;
            let bias = bias.then(|| reads.slice::<f32>(read));
            read += usize::from(bias.is_some());
            branches.try_push(Branch::new(weights, bias, out)).map_err(|e| e.to_string())?;
        }
        Ok(branches)
    }
}

impl Kernel for Linear {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let x = reads.slice::<f32>(0);
        match self.weights.first().map(|(packed, _)| &**packed) {
            Some(PackedMatrix::Kernel(_)) => {
                let mut all = self.branches(reads, writes, PackedMatrix::kernel)?;
                linear::Packed::apply_all(x, &mut all).map_err(|e| e.to_string())
            }
            Some(PackedMatrix::Int8(_)) => {
                let mut all = self.branches(reads, writes, PackedMatrix::int8)?;
                linear::PackedInt8::apply_all(x, &mut all).map_err(|e| e.to_string())
            }
            Some(PackedMatrix::Library(_)) => {
                let rows = Matrix::from_data([x.len() / self.k.max(1), self.k], x);
                let mut all = self.branches(reads, writes, PackedMatrix::library)?;
                all.iter_mut().try_for_each(|b| {
                    let (weights, bias, out) = b.parts();
                    gemm(out, rows, GemmInputB::Packed(weights), bias)
                })
            }
            None => Ok(()),
        }
    }

    fn takes_fewer_rows(&self) -> bool {
        true
    }
}

/// A matrix of each batch: where it starts in its span, and its strides.
struct Operand {
    offsets: Vec<usize>,
    strides: [usize; 2],
    shape: [usize; 2],
}

impl Operand {
    /// The last two axes of `view` as matrices, one for every index of the others.
    fn new(view: &View) -> Result<Self, ExecError> {
        let n = view.shape.len();
        // A list of them, and the one that it is made of.
        let bytes = view.shape[..n - 2].iter().fold(2 * size_of::<usize>(), |n, &d| n.saturating_mul(d));
        if !obtainable(bytes) {
            return Err(ExecError::Memory { what: "places of matrices".into(), bytes });
        }
        let mut offsets = vec![0];
        for (&extent, &stride) in view.shape[..n - 2].iter().zip(&view.strides) {
            offsets = offsets.iter().flat_map(|&o| (0..extent).map(move |i| o + i * stride)).collect();
        }
        let (strides, shape) = ([view.strides[n - 2], view.strides[n - 1]], [view.shape[n - 2], view.shape[n - 1]]);
        Ok(Self { offsets, strides, shape })
    }

    fn matrix<'a>(&self, data: &'a [f32], batch: usize) -> Result<Matrix<'a>, String> {
        let data = data.get(self.offsets[batch]..).unwrap_or_default();
        Matrix::from_slice_with_strides(self.shape, data, self.strides).map_err(|e| format!("{e:?}"))
    }
}

/// `a [.., m, k] . b [.., k, n] (+ bias)`, one product a batch.
struct BatchMatMul {
    a: Operand,
    b: Operand,
    bias: bool,
}

impl Kernel for BatchMatMul {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let size = self.a.shape[0] * self.b.shape[1];
        if size == 0 {
            return Ok(());
        }
        let (a, b) = (reads.slice::<f32>(0), reads.slice::<f32>(1));
        let bias = self.bias.then(|| reads.slice::<f32>(2));
        let product = |(i, out): (usize, &mut [f32])| {
            gemm(out, self.a.matrix(a, i)?, GemmInputB::Unpacked(self.b.matrix(b, i)?), bias)
        };
        let out = writes.slice::<f32>(0);
        if self.a.offsets.len() == 1 || rayon::current_num_threads() == 1 {
            out.chunks_exact_mut(size).enumerate().try_for_each(product)
        } else {
            out.par_chunks_exact_mut(size).enumerate().try_for_each(product)
        }
    }
}

/// Rows times constant weights, which are packed.
struct PackedProduct<'a> {
    /// That of its result.
    name: Arc<str>,
    x: ValueId,
    weights: &'a Constant,
    arrangement: Arrangement,
    precision: Precision,
    bias: Option<ValueId>,
}

impl<'a> PackedProduct<'a> {
    fn of(graph: &'a Graph, node: &Node) -> Option<Self> {
        let (arrangement, precision) = match node.op {
            Op::Product(Product::MatMul) => (Arrangement::Plain, Precision::Exact),
            Op::Product(Product::Linear { trans_w: false, precision }) => (Arrangement::Plain, precision),
            Op::Product(Product::Linear { trans_w: true, precision }) => (Arrangement::Transposed, precision),
            _ => return None,
        };
        let (&[x, w], bias) = node.inputs.split_first_chunk()?;
        let Def::Const(weights) = &graph.value(w).def else { return None };
        let f32s = node.inputs.iter().chain(&node.outputs).all(|&v| graph.ty(v).dtype == DType::F32);
        let matrix = weights.shape().len() == 2 && !graph.ty(x).shape.is_empty();
        let name = node.outputs.first().map(|&v| graph.value(v).name.clone())?;
        (f32s && matrix).then_some(Self { name, x, weights, arrangement, precision, bias: bias.first().copied() })
    }

    /// True if it may be one product with another.
    fn goes_with(&self, other: &Self) -> bool {
        (self.x, self.arrangement, self.precision) == (other.x, other.arrangement, other.precision)
    }
}

/// The products of the same rows with several weights, each with those that follow before there is another product: what
/// they make need not be kept for long. A bias that is still to be made keeps a product by itself.
pub(super) fn together(graph: &Graph, apart: &HashSet<NodeId>) -> HashMap<NodeId, Vec<NodeId>> {
    let mut all = HashMap::new();
    let mut open: Vec<NodeId> = Vec::new();
    for (id, node) in graph.nodes() {
        let product = PackedProduct::of(graph, node).filter(|_| !apart.contains(&id));
        let first = open.first().and_then(|&first| PackedProduct::of(graph, graph.node(first)));
        match (&product, &first) {
            (Some(product), Some(first))
                if product.goes_with(first)
                    && product.bias.is_none_or(|b| graph.producer(b).is_none())
                    && open.len() < MOST =>
            {
                open.push(id);
            }
            _ if product.is_some() || work::flops(graph, node) > 0 => {
                let group = std::mem::replace(&mut open, product.map(|_| id).into_iter().collect());
                all.extend(group.first().copied().map(|first| (first, group)));
            }
            _ => {}
        }
    }
    all.extend(open.first().copied().map(|first| (first, open)));
    all
}

impl Lowering<'_> {
    pub(super) fn product(&mut self, id: NodeId, node: &Node, op: &Product) -> Result<(), ExecError> {
        let graph = self.graph;
        let trans_w = matches!(op, Product::Linear { trans_w: true, .. });
        if !self.all_f32(node) {
            return self.product_of_others(node, trans_w);
        }
        match PackedProduct::of(graph, node) {
            Some(_) => {
                let group = self.together.remove(&id).unwrap_or_else(|| vec![id]);
                self.packed_linear(&group)?;
            }
            None => self.batch_matmul(node, trans_w, node.inputs.get(2).copied())?,
        }
        Ok(())
    }

    /// Of f64 and of integers.
    fn product_of_others(&mut self, node: &Node, trans_w: bool) -> Result<(), ExecError> {
        let mut views = vec![self.contiguous(node.inputs[0])?];
        let b = self.view(node.inputs[1])?;
        let b = if trans_w { b.transposed(&[1, 0]) } else { b };
        views.push(self.row_major(node, b)?);
        if let Some(&bias) = node.inputs.get(2) {
            views.push(self.contiguous(bias)?);
        }
        let kernel = MatMul::new(&views[0].shape, &views[1].shape).map_err(|e| self.fail(node, e.to_string()))?;
        let (dtype, mut back) = (self.dtype(node.outputs[0]), None);
        for view in &mut views {
            let (number, its) = self.number(node, view, Same::Products)?;
            (*view, back) = (number, its.or(back));
        }
        let held = views[0].dtype;
        if held == DType::F32 || dtype.is_float() && held != dtype {
            return Err(self.fail(node, format!("not defined for {dtype}")));
        }
        self.run_number(node, "product", &views, (held, back), move |r, w| {
            let bias = (r.len() > 2).then(|| r.bytes(2));
            kernel.run(held, r.bytes(0), r.bytes(1), bias, w.bytes(0))
        })
    }

    /// The products of the same rows.
    fn packed_linear(&mut self, group: &[NodeId]) -> Result<(), ExecError> {
        let graph = self.graph;
        let products: Vec<PackedProduct> =
            group.iter().filter_map(|&id| PackedProduct::of(graph, graph.node(id))).collect();
        let packed: Vec<Arc<PackedMatrix>> = products
            .iter()
            .map(|p| self.packed.get(&p.name, p.weights, p.arrangement, p.precision))
            .collect::<Result<_, ExecError>>()?;
        let Some(first) = products.first() else { return Ok(()) };
        if packed.iter().any(|p| !p.goes_with(&packed[0])) {
            return group.iter().try_for_each(|&id| self.packed_linear(&[id]));
        }
        let mut reads = vec![self.contiguous(first.x)?];
        let (mut weights, mut writes) = (Vec::new(), Vec::new());
        let k = reads[0].shape.last().copied().unwrap_or(1);
        let name = match &*packed[0] {
            PackedMatrix::Int8(_) => "int8 packed",
            PackedMatrix::Kernel(p) if p.is_blocks() => "gemm blocks",
            PackedMatrix::Kernel(p) if p.float() == Float::Bf16 => "bf16 packed",
            PackedMatrix::Kernel(_) | PackedMatrix::Library(_) => "gemm packed",
        };
        for ((product, packed), &id) in products.iter().zip(packed).zip(group) {
            weights.push((packed, product.bias.is_some()));
            if let Some(bias) = product.bias {
                reads.push(self.contiguous(bias)?);
            }
            writes.push(self.output(graph.node(id).outputs[0])?);
            self.done.insert(id);
        }
        let kernel = Linear { weights, k };
        let nodes: Vec<&Node> = group.iter().map(|&id| graph.node(id)).collect();
        self.step_of(
            &nodes,
            name,
            Box::new(kernel),
            &reads.iter().collect::<Vec<_>>(),
            &writes.iter().collect::<Vec<_>>(),
        );
        Ok(())
    }

    fn batch_matmul(&mut self, node: &Node, trans_w: bool, bias: Option<ValueId>) -> Result<(), ExecError> {
        let mut a = self.dense_matrix(node.inputs[0])?;
        if matches!(node.op, Op::Product(Product::Linear { .. })) && a.shape.len() > 2 {
            // All rows of all batches meet the same weights: one product.
            a = self.contiguous(node.inputs[0])?;
            let k = a.shape[a.shape.len() - 1];
            let rows = a.shape[..a.shape.len() - 1].iter().product();
            a = View { strides: row_major(&[rows, k]), shape: smallvec![rows, k], ..a };
        }
        let mut b = self.dense_matrix(node.inputs[1])?;
        if a.shape.is_empty() || b.shape.is_empty() {
            return Err(self.fail(node, "matrix product of a scalar"));
        }
        if trans_w {
            b = b.transposed(&[1, 0]);
        }
        // A vector is a row on the left and a column on the right.
        if a.shape.len() == 1 {
            a = View { shape: smallvec![1, a.shape[0]], strides: smallvec![a.span().max(1), a.strides[0]], ..a };
        }
        if b.shape.len() == 1 {
            b = View { shape: smallvec![b.shape[0], 1], strides: smallvec![b.strides[0], 1], ..b };
        }
        let rank = a.shape.len().max(b.shape.len());
        let axis = |v: &View, i: usize| (i + v.shape.len()).checked_sub(rank).map_or(1, |j| v.shape[j]);
        let batch: Vec<usize> =
            (0..rank - 2).map(|i| if axis(&a, i) == 1 { axis(&b, i) } else { axis(&a, i) }).collect();
        let spread = |v: &View| v.broadcast(&[&batch[..], &v.shape[v.shape.len() - 2..]].concat());
        let (a, b) = (spread(&a), spread(&b));
        let bias = bias.map(|b| self.contiguous(b)).transpose()?;
        let out = self.output(node.outputs[0])?;
        let kernel = BatchMatMul { a: Operand::new(&a)?, b: Operand::new(&b)?, bias: bias.is_some() };
        let reads: Vec<&View> = [&a, &b].into_iter().chain(&bias).collect();
        self.step_of(&[node], "gemm", Box::new(kernel), &reads, &[&out]);
        Ok(())
    }

    /// A view whose matrices do not overlap themselves (no broadcast within the last two axes).
    fn dense_matrix(&mut self, v: ValueId) -> Result<View, ExecError> {
        let view = self.view(v)?;
        let n = view.shape.len();
        let overlaps = (n.saturating_sub(2)..n).any(|i| view.strides[i] == 0 && view.shape[i] > 1);
        if overlaps { self.contiguous(v) } else { Ok(view) }
    }
}
