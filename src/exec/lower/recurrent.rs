//! Recurrent layers: one product for all steps with the weights of `x`, then for each step one with those of the state, and
//! the gates as one chain. All that is kept from step to step lies in a buffer of the plan.

use super::super::ExecError;
use super::super::arena::{Reads, Writes};
use super::super::packed::{Arrangement, PackedMatrix};
use super::super::step::Kernel;
use super::super::view::View;
use super::Lowering;
use super::linear::gemm;
use crate::kernels::chain::{Elementwise, Program};
use bgz_passes::ir::{
    Activation, Binary, Cell, Constant, DType, Expr, Float, Node, Precision, Recurrent, Scalar, ValueId,
};
use bytemuck::Pod;
use rten_gemm::GemmInputB;
use rten_tensor::Matrix;
use std::ops::Range;
use std::sync::Arc;

/// An operand of a chain: a matrix of a row for each sequence.
#[derive(Clone, Copy)]
enum Place {
    /// A gate's product with `x`.
    OfX(usize),
    /// A gate's product with a state.
    OfH(usize),
    /// A state before the step.
    Before(usize),
    /// The results of the step, states first.
    Made(usize),
    /// Weights of the second state in a gate, the same for all sequences.
    Peephole(usize),
}

/// The parts of a step, in order.
struct Plan {
    /// How many states there are.
    states: usize,
    parts: Vec<Part>,
}

enum Part {
    /// The product of something with the state's weights of some gates.
    Product(Place, Range<usize>),
    /// Something made by an expression of these.
    Chain(usize, Expr, Vec<Place>),
}

/// The expressions of a step.
struct Gates<'a> {
    functions: &'a [Activation],
    clip: Option<Float>,
    dtype: DType,
}

impl Gates<'_> {
    /// Function `i` of what is clipped.
    fn f(&self, i: usize, x: Expr) -> Expr {
        let number = |v: f32| Expr::Literal(Scalar::from_f64(self.dtype, v.into()));
        let clipped = match self.clip {
            None => x,
            Some(c) => binary(Binary::Min, binary(Binary::Max, x, number(-c.0)), number(c.0)),
        };
        self.functions[i].of(clipped, self.dtype)
    }

    fn plan(&self, cell: &Cell) -> Plan {
        let product = |gates: usize| Part::Product(Place::Before(0), 0..gates);
        match cell {
            Cell::Rnn => {
                let h = self.f(0, add(input(0), input(1)));
                Plan { states: 1, parts: vec![product(1), Part::Chain(0, h, vec![Place::OfX(0), Place::OfH(0)])] }
            }
            Cell::Gru { linear_before_reset } => {
                // Of z, n and the state before.
                let state = |z: &Expr, n: Expr, h: usize| {
                    let left = binary(Binary::Sub, Expr::Literal(Scalar::from_f64(self.dtype, 1.0)), z.clone());
                    add(binary(Binary::Mul, left, n), binary(Binary::Mul, z.clone(), input(h)))
                };
                let (z, r) = (self.f(0, add(input(0), input(1))), self.f(0, add(input(2), input(3))));
                let (z_of, r_of) = ([Place::OfX(0), Place::OfH(0)], [Place::OfX(1), Place::OfH(1)]);
                let (n_of, before) = ([Place::OfX(2), Place::OfH(2)], [Place::Before(0)]);
                let parts = if *linear_before_reset {
                    let n = self.f(1, add(input(4), binary(Binary::Mul, r, input(5))));
                    vec![product(3), Part::Chain(0, state(&z, n, 6), [&z_of[..], &r_of, &n_of, &before].concat())]
                } else {
                    let reset = binary(Binary::Mul, self.f(0, add(input(0), input(1))), input(2));
                    let n = self.f(1, add(input(2), input(3)));
                    vec![
                        product(2),
                        Part::Chain(1, reset, [&r_of[..], &before].concat()),
                        Part::Product(Place::Made(1), 2..3),
                        Part::Chain(0, state(&z, n, 4), [&z_of[..], &n_of, &before].concat()),
                    ]
                };
                Plan { states: 1, parts }
            }
            Cell::Lstm { input_forget, peepholes, .. } => {
                let mut c = Operands::default();
                let gate = |of: &mut Operands, gate: usize, seen: Place| {
                    let sum = add(of.take(Place::OfX(gate)), of.take(Place::OfH(gate)));
                    match (gate, peepholes) {
                        (0..3, true) => add(sum, binary(Binary::Mul, of.take(Place::Peephole(gate)), of.take(seen))),
                        _ => sum,
                    }
                };
                let i = self.f(0, gate(&mut c, 0, Place::Before(1)));
                let l = match input_forget {
                    true => binary(Binary::Sub, Expr::Literal(Scalar::from_f64(self.dtype, 1.0)), i.clone()),
                    false => self.f(0, gate(&mut c, 2, Place::Before(1))),
                };
                let n = self.f(1, gate(&mut c, 3, Place::Before(1)));
                let kept = binary(Binary::Mul, l, c.take(Place::Before(1)));
                let cell = add(kept, binary(Binary::Mul, i, n));
                let mut h = Operands::default();
                let o = self.f(0, gate(&mut h, 1, Place::Made(1)));
                let state = binary(Binary::Mul, o, self.functions[2].of(h.take(Place::Made(1)), self.dtype));
                Plan { states: 2, parts: vec![product(4), Part::Chain(1, cell, c.0), Part::Chain(0, state, h.0)] }
            }
        }
    }
}

/// The operands of an expression while it is built.
#[derive(Default)]
struct Operands(Vec<Place>);

impl Operands {
    fn take(&mut self, place: Place) -> Expr {
        self.0.push(place);
        input(self.0.len() - 1)
    }
}

fn input(i: usize) -> Expr {
    Expr::Input(i)
}

fn binary(f: Binary, x: Expr, y: Expr) -> Expr {
    Expr::Binary(f, x.into(), y.into())
}

fn add(x: Expr, y: Expr) -> Expr {
    binary(Binary::Add, x, y)
}

/// Weights `[width, depth]` of a product.
enum Weights {
    Packed(Arc<PackedMatrix>),
    /// Elements of an operand.
    Read(usize, Range<usize>),
}

/// An element type of layers.
trait Real: Pod + Default + std::ops::AddAssign {
    /// `x [rows, depth] . weights^T + bias`.
    fn product(
        weights: &Weights,
        reads: &Reads,
        x: (&[Self], usize),
        bias: Option<&[Self]>,
        out: &mut [Self],
    ) -> Result<(), String>;
}

impl Real for f32 {
    fn product(
        weights: &Weights,
        reads: &Reads,
        (x, depth): (&[f32], usize),
        bias: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), String> {
        let rows = x.len() / depth.max(1);
        match weights {
            Weights::Packed(packed) => match &**packed {
                PackedMatrix::Kernel(packed) => packed.apply(x, bias, out).map_err(|e| e.to_string()),
                PackedMatrix::Library(packed) => {
                    gemm(out, Matrix::from_data([rows, depth], x), GemmInputB::Packed(packed), bias)
                }
                PackedMatrix::Int8(_) => Err("weights that are packed in i8".into()),
            },
            Weights::Read(at, range) => {
                let weights = &reads.slice::<f32>(*at)[range.clone()];
                let width = weights.len() / depth.max(1);
                let weights = Matrix::from_slice_with_strides([depth, width], weights, [1, depth]);
                let weights = weights.map_err(|e| format!("{e:?}"))?;
                gemm(out, Matrix::from_data([rows, depth], x), GemmInputB::Unpacked(weights), bias)
            }
        }
    }
}

impl Real for f64 {
    fn product(
        weights: &Weights,
        reads: &Reads,
        (x, depth): (&[f64], usize),
        bias: Option<&[f64]>,
        out: &mut [f64],
    ) -> Result<(), String> {
        let Weights::Read(at, range) = weights else { return Err("weights that are packed".into()) };
        let weights = &reads.slice::<f64>(*at)[range.clone()];
        let width = weights.len() / depth.max(1);
        for (x, out) in x.chunks_exact(depth).zip(out.chunks_exact_mut(width)) {
            for (i, (out, row)) in out.iter_mut().zip(weights.chunks_exact(depth)).enumerate() {
                *out = x.iter().zip(row).map(|(a, b)| a * b).sum::<f64>() + bias.map_or(0.0, |b| b[i]);
            }
        }
        Ok(())
    }
}

/// A part of a step, ready to run.
enum Ready {
    Product { from: Place, gates: Range<usize>, weights: Weights },
    Chain { to: usize, operands: Vec<Place>, run: Elementwise },
}

/// One direction.
struct Way {
    reverse: bool,
    of_x: Weights,
    parts: Vec<Ready>,
}

struct Layer {
    ways: Vec<Way>,
    seq: usize,
    batch: usize,
    /// Numbers of a row of `x`, and of a state.
    width: usize,
    hidden: usize,
    gates: usize,
    states: usize,
    /// The results of a step, states first.
    made: usize,
    batch_first: bool,
    bias: Option<usize>,
    lengths: Option<(usize, DType)>,
    initial: Vec<Option<usize>>,
    peepholes: Option<usize>,
}

/// The buffer of one direction in parts.
struct Scratch<'a, T> {
    /// Products of all steps with the weights of `x`.
    of_x: &'a mut [T],
    /// Those of one step where sequences are at different ones.
    gathered: &'a mut [T],
    of_h: &'a mut [T],
    before: &'a mut [T],
    made: &'a mut [T],
}

impl Layer {
    /// Elements of what [`Scratch`] has, in order.
    fn sizes(&self) -> Option<[usize; 5]> {
        let state = self.batch.checked_mul(self.hidden)?;
        let step = state.checked_mul(self.gates)?;
        Some([step.checked_mul(self.seq)?, step, step, state.checked_mul(self.states)?, state.checked_mul(self.made)?])
    }

    fn run<T: Real>(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        let sizes = self.sizes().ok_or("a layer that is too large")?;
        let mut outputs = writes.each::<T>();
        let all = outputs.next().ok_or("no result")?;
        let mut last: [&mut [T]; 2] = Default::default();
        for last in last.iter_mut().take(self.states) {
            *last = outputs.next().ok_or("no last state")?;
        }
        let mut rest = outputs.next().ok_or("no memory between steps")?;
        if let Some((at, dtype)) = self.lengths {
            for b in 0..self.batch {
                let length = length(reads, at, dtype, b);
                if usize::try_from(length).is_ok_and(|n| n <= self.seq) {
                    continue;
                }
                return Err(format!("the length {length} of a sequence of {}", self.seq));
            }
            // Entries behind the end of a sequence.
            all.fill(T::default());
        }
        for (d, way) in self.ways.iter().enumerate() {
            let mut take = |n: usize| {
                let (taken, left) = std::mem::take(&mut rest).split_at_mut(n);
                rest = left;
                taken
            };
            let [of_x, gathered, of_h, before, made] = sizes.map(&mut take);
            self.way(reads, (d, way), Scratch { of_x, gathered, of_h, before, made }, all, &mut last)?;
        }
        Ok(())
    }

    fn way<T: Real>(
        &self,
        reads: &Reads,
        (d, way): (usize, &Way),
        s: Scratch<T>,
        all: &mut [T],
        last: &mut [&mut [T]; 2],
    ) -> Result<(), String> {
        let (batch, hidden, state) = (self.batch, self.hidden, self.batch * self.hidden);
        let directions = self.ways.len();
        let row = self.gates * hidden;
        for (k, initial) in self.initial.iter().enumerate().take(self.states) {
            let before = &mut s.before[k * state..][..state];
            match initial {
                Some(i) => before.copy_from_slice(&reads.slice::<T>(*i)[d * state..][..state]),
                None => before.fill(T::default()),
            }
        }
        let bias = self.bias.map(|i| &reads.slice::<T>(i)[d * 2 * row..][..2 * row]);
        if state > 0 && self.seq > 0 {
            let x = (reads.slice::<T>(0), self.width);
            multiply(&way.of_x, reads, x, bias.map(|b| &b[..row]), s.of_x)?;
        }
        for step in 0..if state > 0 { self.seq } else { 0 } {
            let length = |b: usize| self.lengths.map_or(self.seq, |(at, dtype)| length(reads, at, dtype, b) as usize);
            // Where a sequence is at this step, if it is that long.
            let time = |b: usize| {
                let n = length(b);
                (step < n).then(|| if way.reverse { n - 1 - step } else { step })
            };
            let gathers = way.reverse && self.lengths.is_some();
            if gathers {
                for (b, to) in s.gathered.chunks_exact_mut(row).enumerate() {
                    let from = (time(b).unwrap_or(0) * batch + b) * row;
                    to.copy_from_slice(&s.of_x[from..][..row]);
                }
            }
            let together = if way.reverse { self.seq - 1 - step } else { step };
            let of_x =
                if gathers { s.gathered.as_ptr() } else { s.of_x[together * batch * row..][..batch * row].as_ptr() };
            for part in &way.parts {
                match part {
                    Ready::Product { from, gates, weights } => {
                        let x = match *from {
                            Place::Made(k) => &s.made[k * state..][..state],
                            Place::Before(k) => &s.before[k * state..][..state],
                            Place::OfX(_) | Place::OfH(_) | Place::Peephole(_) => {
                                return Err("a product of what is no state".into());
                            }
                        };
                        let of_h = bias.map(|b| &b[row + gates.start * hidden..][..gates.len() * hidden]);
                        let out = &mut s.of_h[gates.start * state..][..gates.len() * state];
                        multiply(weights, reads, (x, hidden), of_h, out)?;
                    }
                    Ready::Chain { to, operands, run } => {
                        let mut inputs = [std::ptr::null(); Expr::MAX_INPUTS];
                        let made = s.made.as_mut_ptr();
                        for (input, place) in inputs.iter_mut().zip(operands) {
                            *input = match *place {
                                Place::OfX(g) => of_x.wrapping_add(g * hidden),
                                Place::OfH(g) => s.of_h.as_ptr().wrapping_add(way.place_of(g, state, hidden)),
                                Place::Before(k) => s.before.as_ptr().wrapping_add(k * state),
                                Place::Made(k) => made.wrapping_add(k * state).cast_const(),
                                Place::Peephole(g) => match self.peepholes {
                                    Some(i) => reads.slice::<T>(i)[(3 * d + g) * hidden..][..hidden].as_ptr(),
                                    None => return Err("no weights of the second state".into()),
                                },
                            }
                            .cast();
                        }
                        // SAFETY: each place is a matrix of `batch` rows of `hidden` elements with the strides that the chain
                        // was made for, within a part of the buffer that is so large; what is made is none of its operands.
                        unsafe { run.run(&inputs[..operands.len()], made.wrapping_add(to * state).cast()) }
                            .map_err(|e| e.to_string())?;
                    }
                }
            }
            for b in 0..batch {
                let Some(t) = time(b) else { continue };
                let place = match self.batch_first {
                    true => (b * self.seq + t) * directions + d,
                    false => (t * directions + d) * batch + b,
                };
                all[place * hidden..][..hidden].copy_from_slice(&s.made[b * hidden..][..hidden]);
                for k in 0..self.states {
                    let at = k * state + b * hidden;
                    s.before[at..][..hidden].copy_from_slice(&s.made[at..][..hidden]);
                }
            }
        }
        for (k, last) in last.iter_mut().enumerate().take(self.states) {
            for (b, from) in s.before[k * state..][..state].chunks_exact(hidden.max(1)).enumerate() {
                let place = if self.batch_first { b * directions + d } else { d * batch + b };
                last[place * hidden..][..hidden].copy_from_slice(from);
            }
        }
        Ok(())
    }
}

impl Way {
    /// Where a gate's product with a state begins.
    fn place_of(&self, gate: usize, state: usize, hidden: usize) -> usize {
        let product = self.parts.iter().find_map(|p| match p {
            Ready::Product { gates, .. } if gates.contains(&gate) => Some(gates.start),
            _ => None,
        });
        let start = product.unwrap_or(0);
        start * state + (gate - start) * hidden
    }
}

/// A product, of rows without elements as well.
fn multiply<T: Real>(
    weights: &Weights,
    reads: &Reads,
    (x, depth): (&[T], usize),
    bias: Option<&[T]>,
    out: &mut [T],
) -> Result<(), String> {
    if depth == 0 {
        out.fill(T::default());
        for (out, &b) in out.iter_mut().zip(bias.into_iter().flatten().cycle()) {
            *out += b;
        }
        return Ok(());
    }
    T::product(weights, reads, (x, depth), bias, out)
}

fn length(reads: &Reads, at: usize, dtype: DType, b: usize) -> i64 {
    if dtype == DType::I64 { reads.slice::<i64>(at)[b] } else { reads.slice::<i32>(at)[b].into() }
}

impl Lowering<'_> {
    pub(super) fn recurrent(&mut self, node: &Node, op: &Recurrent) -> Result<(), ExecError> {
        let (x, dtype) = (self.view(node.inputs[0])?, self.dtype(node.inputs[0]));
        let turned = |view: View| if op.batch_first { view.transposed(&[1, 0, 2]) } else { view };
        let mut reads = vec![self.row_major(node, turned(x))?];
        let (seq, batch, width) = (reads[0].shape[0], reads[0].shape[1], reads[0].shape[2]);
        let hidden = self.shape(node.inputs[2])?[2];
        let (gates, places) = (op.cell.gates(), op.places());
        let mut read = |this: &mut Self, i: Option<usize>, state: bool| {
            let Some(&v) = i.and_then(|i| node.inputs.get(i)) else { return Ok::<_, ExecError>(None) };
            let view = this.view(v)?;
            reads.push(this.row_major(node, if state { turned(view) } else { view })?);
            Ok(Some(reads.len() - 1))
        };
        let bias = read(self, places.bias, false)?;
        let lengths = read(self, places.lengths, false)?;
        let lengths = lengths.zip(places.lengths.map(|i| self.dtype(node.inputs[i])));
        let initial = vec![read(self, places.initial, true)?, read(self, places.initial_cell, true)?];
        let peepholes = read(self, places.peepholes, false)?;
        let mut ways = Vec::with_capacity(op.directions());
        let (mut states, mut made) = (0, 0);
        for d in 0..op.directions() {
            let count = op.activations.len() / op.directions();
            let functions = &op.activations[d * count..][..count];
            let plan = Gates { functions, clip: op.clip, dtype }.plan(&op.cell);
            states = plan.states;
            let rows = |gates: &Range<usize>| {
                (d * op.cell.gates() + gates.start) * hidden..(d * op.cell.gates() + gates.end) * hidden
            };
            let of_x = self.weights(node, node.inputs[1], rows(&(0..gates)), &mut reads)?;
            let products: Vec<Range<usize>> = plan
                .parts
                .iter()
                .filter_map(|p| match p {
                    Part::Product(_, gates) => Some(gates.clone()),
                    Part::Chain(..) => None,
                })
                .collect();
            let mut parts = Vec::with_capacity(plan.parts.len());
            for part in plan.parts {
                parts.push(match part {
                    Part::Product(from, gates) => {
                        let weights = self.weights(node, node.inputs[2], rows(&gates), &mut reads)?;
                        Ready::Product { from, gates, weights }
                    }
                    Part::Chain(to, expr, operands) => {
                        made = made.max(to + 1);
                        let stride = |place: &Place| {
                            let rows = match *place {
                                Place::OfX(_) => gates * hidden,
                                Place::OfH(g) => {
                                    products.iter().find(|p| p.contains(&g)).map_or(0, Range::len) * hidden
                                }
                                Place::Before(_) | Place::Made(_) => hidden,
                                Place::Peephole(_) => 0,
                            };
                            vec![rows as isize, 1]
                        };
                        let fail = |e: String| self.fail(node, e);
                        let program =
                            Program::compile(&expr, &vec![dtype; operands.len()]).map_err(|e| fail(e.to_string()))?;
                        let strides: Vec<Vec<isize>> = operands.iter().map(stride).collect();
                        let run =
                            Elementwise::new(program, &[batch, hidden], &strides).map_err(|e| fail(e.to_string()))?;
                        Ready::Chain { to, operands, run }
                    }
                });
            }
            ways.push(Way { reverse: op.is_reverse(d), of_x, parts });
        }
        let batch_first = op.batch_first;
        let layer = Layer {
            ways,
            seq,
            batch,
            width,
            hidden,
            gates,
            states,
            made,
            batch_first,
            bias,
            lengths,
            initial,
            peepholes,
        };
        let elements = layer.sizes().and_then(|all| all.iter().try_fold(0usize, |n, &d| n.checked_add(d)));
        let scratch = self.buffer(dtype, &[op.directions(), elements.ok_or(ExecError::TooLarge)?])?;
        let mut writes = node.outputs.iter().map(|&v| self.output(v)).collect::<Result<Vec<_>, _>>()?;
        writes.push(scratch);
        let kernel: Box<dyn Kernel> = match dtype {
            DType::F32 => Box::new(Of::<f32>(layer, std::marker::PhantomData)),
            DType::F64 => Box::new(Of::<f64>(layer, std::marker::PhantomData)),
            other => return Err(self.fail(node, format!("not defined for {other}"))),
        };
        self.step_of(
            &[node],
            "recurrent",
            kernel,
            &reads.iter().collect::<Vec<_>>(),
            &writes.iter().collect::<Vec<_>>(),
        );
        Ok(())
    }

    /// Some rows of weights: packed if they are constant and f32, else read when the layer is run.
    fn weights(
        &mut self,
        node: &Node,
        v: ValueId,
        rows: Range<usize>,
        reads: &mut Vec<View>,
    ) -> Result<Weights, ExecError> {
        let shape = self.shape(v)?;
        let name = node.outputs.first().map_or("", |&v| self.graph.name(v));
        let (all, depth) = (shape[0] * shape[1], shape[2]);
        if let Some(constant) = self.constant(v).filter(|c| c.dtype() == DType::F32 && !c.is_empty()) {
            let unfit = || ExecError::Internal(format!("%{name}: weights that do not fit their shape"));
            let part = if rows == (0..all) {
                constant.reshaped(vec![all, depth]).ok_or_else(unfit)?
            } else {
                let absent = |reason| ExecError::AbsentConstant { name: self.graph.name(v).into(), reason };
                let (bytes, row) = (constant.bytes().map_err(absent)?, depth * constant.dtype().size());
                let bytes = bytes.slice(rows.start * row..rows.end * row);
                Constant::new(constant.dtype(), vec![rows.len(), depth], bytes).ok_or_else(unfit)?
            };
            return Ok(Weights::Packed(self.packed.get(name, &part, Arrangement::Transposed, Precision::Exact)?));
        }
        let view = self.contiguous(v)?;
        let same = |r: &View| r.slot == view.slot && r.offset == view.offset && r.shape == view.shape;
        let at = reads.iter().position(same).unwrap_or_else(|| {
            reads.push(view);
            reads.len() - 1
        });
        Ok(Weights::Read(at, rows.start * depth..rows.end * depth))
    }
}

/// A layer of elements of a type.
struct Of<T>(Layer, std::marker::PhantomData<fn() -> T>);

impl<T: Real> Kernel for Of<T> {
    fn run(&self, reads: &Reads, writes: &mut Writes) -> Result<(), String> {
        self.0.run::<T>(reads, writes)
    }
}
