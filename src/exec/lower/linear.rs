//! Matrix products: constant weights packed ahead, everything else as it lies.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::packed::{Arrangement, PackedMatrix};
use super::super::plan::Kernel;
use super::super::view::{View, row_major};
use super::Lowering;
use bgz_kernels::linear::Float;
use bgz_passes::ir::{Node, Op, Precision, ValueId};
use rayon::prelude::*;
use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::Matrix;
use std::sync::Arc;

thread_local! {
    /// One a thread: it detects the instruction set once and cannot be shared.
    static GEMM: GemmExecutor = GemmExecutor::new();
}

/// `a . b + bias`, row-major.
fn gemm(out: &mut [f32], a: Matrix, b: GemmInputB<f32>, bias: Option<&[f32]>) -> Result<(), String> {
    let options = GemmOptions { bias: bias.map(BiasVector::Row), ..GemmOptions::default() };
    GEMM.with(|g| g.gemm(out, GemmInputA::Unpacked(a), b, options)).map_err(|e| e.to_string())
}

/// `x [rows, k] . packed [k, n] + bias`.
struct Linear {
    packed: Arc<PackedMatrix>,
    rows: usize,
    k: usize,
    bias: bool,
}

impl Kernel for Linear {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let (x, bias) = (reads.slice::<f32>(0), self.bias.then(|| reads.slice::<f32>(1)));
        let out = writes.slice::<f32>(0);
        match &*self.packed {
            PackedMatrix::Kernel(packed) => packed.apply(x, bias, out).map_err(|e| e.to_string()),
            PackedMatrix::Int8(packed) => packed.apply(x, bias, out).map_err(|e| e.to_string()),
            PackedMatrix::Library(packed) => {
                gemm(out, Matrix::from_data([self.rows, self.k], x), GemmInputB::Packed(packed), bias)
            }
        }
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
    fn new(view: &View) -> Self {
        let n = view.shape.len();
        let mut offsets = vec![0];
        for (&extent, &stride) in view.shape[..n - 2].iter().zip(&view.strides) {
            offsets = offsets.iter().flat_map(|&o| (0..extent).map(move |i| o + i * stride)).collect();
        }
        Self {
            offsets,
            strides: [view.strides[n - 2], view.strides[n - 1]],
            shape: [view.shape[n - 2], view.shape[n - 1]],
        }
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

impl Lowering<'_> {
    pub(super) fn linear(&mut self, node: &Node) -> Result<bool, ExecError> {
        let (trans_w, precision) = match node.op {
            Op::MatMul => (false, Precision::Exact),
            Op::Linear { trans_w, precision } => (trans_w, precision),
            _ => return Ok(false),
        };
        if !self.all_f32(node) {
            return Ok(false);
        }
        let (x, w, bias) = (node.inputs[0], node.inputs[1], node.inputs.get(2).copied());
        match self.constant(w) {
            Some(c) if c.shape().len() == 2 && !self.graph.ty(x).shape.is_empty() => {
                self.packed_linear(node, x, c, (trans_w, precision), bias)?;
            }
            _ => self.batch_matmul(node, trans_w, bias)?,
        }
        Ok(true)
    }

    fn packed_linear(
        &mut self,
        node: &Node,
        x: ValueId,
        w: &bgz_passes::ir::Constant,
        (trans_w, precision): (bool, Precision),
        bias: Option<ValueId>,
    ) -> Result<(), ExecError> {
        let arrangement = if trans_w { Arrangement::Transposed } else { Arrangement::Plain };
        let packed = self.packed.get(w, arrangement, precision)?;
        let x = self.contiguous(x)?;
        let k = *x.shape.last().unwrap_or(&1);
        let rows = x.shape[..x.shape.len() - 1].iter().product();
        let bias = bias.map(|b| self.contiguous(b)).transpose()?;
        let out = self.output(node.outputs[0])?;
        let name = match &*packed {
            PackedMatrix::Int8(_) => "int8 packed",
            PackedMatrix::Kernel(p) if p.float() == Float::Bf16 => "bf16 packed",
            PackedMatrix::Kernel(_) | PackedMatrix::Library(_) => "gemm packed",
        };
        let kernel = Linear { packed, rows, k, bias: bias.is_some() };
        let reads: Vec<&View> = [&x].into_iter().chain(&bias).collect();
        self.step_of(node, name, Box::new(kernel), &reads, &[&out]);
        Ok(())
    }

    fn batch_matmul(&mut self, node: &Node, trans_w: bool, bias: Option<ValueId>) -> Result<(), ExecError> {
        let mut a = self.dense_matrix(node.inputs[0])?;
        if matches!(node.op, Op::Linear { .. }) && a.shape.len() > 2 {
            // All rows of all batches meet the same weights: one product.
            a = self.contiguous(node.inputs[0])?;
            let k = a.shape[a.shape.len() - 1];
            let rows = a.shape[..a.shape.len() - 1].iter().product();
            a = View { strides: row_major(&[rows, k]), shape: vec![rows, k], ..a };
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
            a = View { shape: vec![1, a.shape[0]], strides: vec![a.span().max(1), a.strides[0]], ..a };
        }
        if b.shape.len() == 1 {
            b = View { shape: vec![b.shape[0], 1], strides: vec![b.strides[0], 1], ..b };
        }
        let rank = a.shape.len().max(b.shape.len());
        let axis = |v: &View, i: usize| (i + v.shape.len()).checked_sub(rank).map_or(1, |j| v.shape[j]);
        let batch: Vec<usize> =
            (0..rank - 2).map(|i| if axis(&a, i) == 1 { axis(&b, i) } else { axis(&a, i) }).collect();
        let spread = |v: &View| v.broadcast(&[&batch[..], &v.shape[v.shape.len() - 2..]].concat());
        let (a, b) = (spread(&a), spread(&b));
        let bias = bias.map(|b| self.contiguous(b)).transpose()?;
        let out = self.output(node.outputs[0])?;
        let kernel = BatchMatMul { a: Operand::new(&a), b: Operand::new(&b), bias: bias.is_some() };
        let reads: Vec<&View> = [&a, &b].into_iter().chain(&bias).collect();
        self.step_of(node, "gemm", Box::new(kernel), &reads, &[&out]);
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
