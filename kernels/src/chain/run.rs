//! A program bound to shapes and strides.

use super::compile::Program;
use super::convert::Lane;
use super::{TILE, integer};
use crate::axes::merge_axes;
use crate::parallel;
use crate::scratch;
use crate::simd::Tile;
use bgz_passes::ir::Expr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shapes or strides that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A shape that does not broadcast.
    #[error("shape {from:?} does not broadcast to {to:?}")]
    Broadcast {
        /// The shape of the operand.
        from: Vec<usize>,
        /// The shape it was to become.
        to: Vec<usize>,
    },
    /// Not one stride list per operand.
    #[error("{got} operands where the expression has {want}")]
    Operands {
        /// Operands of the expression.
        want: usize,
        /// Stride lists given.
        got: usize,
    },
    /// A stride list of the wrong length.
    #[error("operand {operand} has {got} strides for an output of {want} axes")]
    Rank {
        /// Which operand.
        operand: usize,
        /// Axes of the output.
        want: usize,
        /// Strides given.
        got: usize,
    },
    /// More axes that cannot be merged than there is room for.
    #[error("{0} axes remain after merging; at most {MAX_AXES} are supported")]
    Axes(usize),
    /// More bytes than there are addresses.
    #[error("an output of shape {0:?} has too many elements")]
    TooLarge(Vec<usize>),
}

/// An integer was divided by zero; the output is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("division by zero")]
pub struct DivisionByZero;

const MAX_AXES: usize = 12;

/// The strides (in elements, row-major) with which an operand of `shape` is
/// read as `out_shape`: 0 where it broadcasts.
pub fn broadcast_strides(shape: &[usize], out_shape: &[usize]) -> Result<Vec<isize>, PlanError> {
    let fail = || PlanError::Broadcast { from: shape.to_vec(), to: out_shape.to_vec() };
    let missing = out_shape.len().checked_sub(shape.len()).ok_or_else(fail)?;
    let mut strides = vec![0; out_shape.len()];
    let mut stride = 1usize;
    for (i, &d) in shape.iter().enumerate().rev() {
        let out = out_shape[missing + i];
        if d != 1 {
            if d != out {
                return Err(fail());
            }
            strides[missing + i] = stride as isize;
        }
        stride = stride.checked_mul(d.max(1)).filter(|s| isize::try_from(*s).is_ok()).ok_or_else(fail)?;
    }
    Ok(strides)
}

/// How an input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// In the order of the output.
    Contiguous,
    /// One element for all.
    Constant,
    Strided,
}

/// A program for one output shape and one layout of each input.
#[derive(Clone, Debug)]
pub struct Elementwise {
    program: Program,
    /// Merged extents, outermost first; at least one.
    shape: Vec<usize>,
    /// Byte strides of each input, along `shape`.
    strides: Vec<Vec<isize>>,
    access: Vec<Access>,
    len: usize,
    /// True if tiles end at the ends of rows, so that rows can be read in place.
    by_rows: bool,
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Rows shorter than this are gathered into tiles that span several.
const SHORT_ROW: usize = 48;

impl Elementwise {
    /// Binds `program` to an output of `out_shape` (contiguous, row-major) and to
    /// inputs with `in_strides`, in elements along the axes of the output: 0 for
    /// a broadcast axis, negative and overlapping ones included.
    pub fn new(program: Program, out_shape: &[usize], in_strides: &[Vec<isize>]) -> Result<Self, PlanError> {
        if in_strides.len() != program.inputs.len() {
            return Err(PlanError::Operands { want: program.inputs.len(), got: in_strides.len() });
        }
        for (operand, s) in in_strides.iter().enumerate() {
            if s.len() != out_shape.len() {
                return Err(PlanError::Rank { operand, want: out_shape.len(), got: s.len() });
            }
        }
        let too_large = || PlanError::TooLarge(out_shape.to_vec());
        let len = out_shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(too_large)?;
        if len.checked_mul(8).is_none_or(|b| isize::try_from(b).is_err()) {
            return Err(too_large());
        }
        let (shape, strides) = merge_axes(out_shape, in_strides);
        if shape.len() > MAX_AXES {
            return Err(PlanError::Axes(shape.len()));
        }
        let access: Vec<_> = strides.iter().map(|s| access(&shape, s)).collect();
        let row = shape.last().copied().unwrap_or(1);
        let by_rows = row >= SHORT_ROW && access.contains(&Access::Strided);
        let strides = strides
            .into_iter()
            .zip(&program.inputs)
            .map(|(s, d)| s.into_iter().map(|s| s * d.size() as isize).collect())
            .collect();
        Ok(Self { program, shape, strides, access, len, by_rows })
    }

    /// Elements of the output.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if the output has no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The program it runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// True if `out` may be the very memory of input `i`: it is read in the order
    /// of the output and has elements of its size.
    pub fn in_place(&self, i: usize) -> bool {
        self.access.get(i) == Some(&Access::Contiguous) && self.program.inputs[i].size() == self.program.output.size()
    }

    /// Computes the output, on the current rayon pool if it is large. Allocates
    /// nothing once each thread has run a program of this size.
    ///
    /// # Errors
    /// An integer is divided by zero.
    ///
    /// # Safety
    /// - `inputs` holds a pointer for each input of the program. It points to the
    ///   element of index 0; every element that the shape and strides given to
    ///   [`Elementwise::new`] reach from there is valid for reading, and bools
    ///   are bytes.
    /// - `out` is valid for writing [`Elementwise::len`] elements of the output's dtype.
    /// - `out` overlaps no input, except that it may be input `i` itself if
    ///   [`Elementwise::in_place`]`(i)`.
    /// - No other thread writes any of it meanwhile. No alignment is needed.
    pub unsafe fn run(&self, inputs: &[*const u8], out: *mut u8) -> Result<(), DivisionByZero> {
        // SAFETY: the caller's promise.
        unsafe { self.run_first(self.len, inputs, out) }
    }

    /// As [`Elementwise::run`], of the first `len` elements of the output only, or of all if there are not as many.
    ///
    /// # Errors
    /// As [`Elementwise::run`].
    ///
    /// # Safety
    /// As [`Elementwise::run`], of these elements and of those of the inputs that they are computed from.
    pub unsafe fn run_first(&self, len: usize, inputs: &[*const u8], out: *mut u8) -> Result<(), DivisionByZero> {
        debug_assert_eq!(inputs.len(), self.program.inputs.len());
        let len = len.min(self.len);
        let memory = Memory { inputs: inputs.as_ptr(), out };
        if !self.program.divides {
            parallel::ranges(len, TILE, self.program.cost, |start, end| {
                // SAFETY: ranges are disjoint and within the output; the rest is the caller's promise.
                unsafe { self.range(memory, start, end) }
            });
            return Ok(());
        }
        let by_zero = AtomicBool::new(false);
        parallel::ranges(len, TILE, self.program.cost, |start, end| {
            integer::divided_by_zero();
            // SAFETY: as above.
            unsafe { self.range(memory, start, end) }
            if integer::divided_by_zero() {
                by_zero.store(true, Ordering::Relaxed);
            }
        });
        if by_zero.into_inner() { Err(DivisionByZero) } else { Ok(()) }
    }

    /// Elements `start..end` of the output, in row-major order.
    ///
    /// # Safety
    /// That of [`Elementwise::run`], `start < end <= len`.
    unsafe fn range(&self, memory: Memory, start: usize, end: usize) {
        let p = &self.program;
        let inputs = p.inputs.len();
        // Numbered as in the steps.
        let count = inputs + 1 + p.literals.len() + p.temporaries;
        let widest = p.inputs.iter().map(|d| d.size()).fold(p.slot, usize::max);
        // Not a multiple of 4096 bytes, at which loads are taken to depend on earlier stores.
        let slot = widest * TILE + 2 * LINE;
        let table = ((count + p.runs.len()) * size_of::<*mut u8>()).next_multiple_of(LINE);
        scratch::with(table + count * slot, |start_of_scratch| {
            let places: *mut *mut u8 = start_of_scratch.cast();
            // SAFETY: the table and the slots are what was reserved; the table is aligned to a line.
            let slots = unsafe { start_of_scratch.add(table) };
            for i in 0..count {
                // SAFETY: as above.
                unsafe { places.add(i).write(slots.add(i * slot)) };
            }
            for (i, run) in p.runs.iter().enumerate() {
                // SAFETY: the table has room for those too. They are only read.
                unsafe { places.add(count + i).write(std::ptr::from_ref(run).cast_mut().cast()) };
            }
            let mut cursor = Cursor { plan: self, memory, places, slots, slot, index: [0; MAX_AXES] };
            // SAFETY: the caller's promise, and the slots reserved above.
            unsafe {
                cursor.fill_literals(TILE.min(end - start));
                cursor.fill_constants(TILE.min(end - start));
                if self.by_rows { cursor.rows(start, end) } else { cursor.tiles(start, end) }
            }
        });
    }
}

fn access(shape: &[usize], strides: &[isize]) -> Access {
    if strides.iter().all(|s| *s == 0) {
        return Access::Constant;
    }
    let mut want = 1;
    for (&d, &s) in shape.iter().zip(strides).rev() {
        if s != want {
            return Access::Strided;
        }
        want = want.saturating_mul(d as isize);
    }
    Access::Contiguous
}

/// Where the operands are; shared by the threads of one run.
#[derive(Clone, Copy)]
struct Memory {
    inputs: *const *const u8,
    out: *mut u8,
}

// SAFETY: the caller of `run` promises that the inputs may be read and the
// output written from any thread; threads write disjoint ranges.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// # Safety
    /// The program has an input `i`.
    unsafe fn input(&self, i: usize) -> *const u8 {
        // SAFETY: `run` was given a pointer for each input.
        unsafe { *self.inputs.add(i) }
    }
}

struct Cursor<'a> {
    plan: &'a Elementwise,
    memory: Memory,
    /// Where each tile is, by its number.
    places: *mut *mut u8,
    /// Memory for a tile of each number.
    slots: *mut u8,
    /// Bytes of it.
    slot: usize,
    /// Index of the row at hand along each axis.
    index: [usize; MAX_AXES],
}

/// Writes `n` copies of an element of `size` bytes.
///
/// # Safety
/// `from` is valid for reading one element, `to` for writing `n`; they do not overlap.
unsafe fn fill(to: *mut u8, from: *const u8, size: usize, n: usize) {
    /// # Safety
    /// That of [`fill`] for elements of type `T`.
    unsafe fn typed<T: Copy>(to: *mut u8, from: *const u8, n: usize) {
        let to = to.cast::<T>();
        // SAFETY: the caller's promise.
        unsafe {
            let v = from.cast::<T>().read_unaligned();
            for i in 0..n {
                to.add(i).write_unaligned(v);
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => typed::<u8>(to, from, n),
            2 => typed::<u16>(to, from, n),
            4 => typed::<u32>(to, from, n),
            _ => typed::<u64>(to, from, n),
        }
    }
}

/// Reads `n` elements of `size` bytes, `stride` bytes apart.
///
/// # Safety
/// Each is valid for reading, `to` for writing `n` elements; they do not overlap.
unsafe fn gather(to: *mut u8, from: *const u8, size: usize, stride: isize, n: usize) {
    /// # Safety
    /// That of [`gather`] for elements of type `T`.
    unsafe fn typed<T: Copy>(to: *mut u8, from: *const u8, stride: isize, n: usize) {
        let to = to.cast::<T>();
        for i in 0..n {
            // SAFETY: i < n, as the caller promises.
            unsafe { to.add(i).write_unaligned(from.offset(stride * i as isize).cast::<T>().read_unaligned()) };
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        if stride == size as isize {
            std::ptr::copy_nonoverlapping(from, to, n * size);
        } else if stride == 0 {
            fill(to, from, size, n);
        } else {
            match size {
                1 => typed::<u8>(to, from, stride, n),
                2 => typed::<u16>(to, from, stride, n),
                4 => typed::<u32>(to, from, stride, n),
                _ => typed::<u64>(to, from, stride, n),
            }
        }
    }
}

impl Cursor<'_> {
    /// Our own memory for tile number `i`.
    ///
    /// # Safety
    /// The program has that many tiles.
    unsafe fn own(&self, i: usize) -> *mut u8 {
        // SAFETY: a slot for each was reserved.
        unsafe { self.slots.add(i * self.slot) }
    }

    /// Says where tile number `i` is.
    ///
    /// # Safety
    /// The program has that many tiles.
    unsafe fn set(&mut self, i: usize, to: *const u8) {
        // SAFETY: the table has an entry for each.
        unsafe { self.places.add(i).write(to.cast_mut()) };
    }

    /// # Safety
    /// The literal tiles have room for `n` elements.
    unsafe fn fill_literals(&mut self, n: usize) {
        for (i, l) in self.plan.program.literals.iter().enumerate() {
            let lane = Lane::of(l.dtype());
            let bytes = match lane {
                Lane::I64 | Lane::U64 | Lane::I32 | Lane::Truth => l.to_i64().to_ne_bytes(),
                Lane::F64 => l.to_f64().to_ne_bytes(),
                // Exact: a narrower float is held at its own precision.
                Lane::F32 => i64::from((l.to_f64() as f32).to_bits()).to_ne_bytes(),
            };
            let size = lane.size();
            let low = if cfg!(target_endian = "big") { 8 - size } else { 0 };
            // SAFETY: the slot is ours and holds TILE elements.
            unsafe { fill(self.own(self.plan.program.inputs.len() + 1 + i), bytes[low..].as_ptr(), size, n) };
        }
    }

    /// # Safety
    /// The input tiles have room for `n` elements; inputs are as `run` promises.
    unsafe fn fill_constants(&mut self, n: usize) {
        for (i, a) in self.plan.access.iter().enumerate() {
            if *a == Access::Constant {
                // SAFETY: the slot is ours; a constant input has its one element.
                unsafe {
                    fill(self.own(i), self.memory.input(i), self.plan.program.inputs[i].size(), n);
                }
            }
        }
    }

    /// Runs the steps on the tile of `n` elements that starts at `at` in the output.
    ///
    /// # Safety
    /// Every input is placed; `at + n <= len`; `n <= TILE` unless no step uses a tile of ours.
    unsafe fn steps(&mut self, at: usize, n: usize) {
        let p = &self.plan.program;
        // SAFETY: the output has the element `at`; the table has all numbers of the
        // steps; every tile holds n elements; the compiler of programs lets a result
        // take an operand's place only if it has its size.
        unsafe {
            self.set(p.inputs.len(), self.memory.out.add(at * p.output.size()));
            for step in &p.steps {
                let [a, b, c] = step.args.map(|i| (*self.places.add(i)).cast_const());
                (step.f)(&Tile { out: *self.places.add(step.out), a, b, c, n });
            }
        }
    }

    /// # Safety
    /// That of [`Elementwise::range`], after the fills.
    unsafe fn rows(&mut self, start: usize, end: usize) {
        let plan = self.plan;
        let last = plan.shape.len() - 1;
        let row = plan.shape[last];
        let (mut at, mut column) = (start, start % row);
        self.seek(start / row, last);
        let mut offsets = [0isize; Expr::MAX_INPUTS];
        // The element each tile of a constant row was filled from, and how far.
        let mut filled = [(std::ptr::null::<u8>(), 0usize); Expr::MAX_INPUTS];
        while at < end {
            for (o, s) in offsets.iter_mut().zip(&plan.strides) {
                *o = self.index[..last].iter().zip(s).map(|(i, s)| *i as isize * s).sum();
            }
            let stop = (at + row - column).min(end);
            while at < stop {
                let n = TILE.min(stop - at);
                for (i, s) in plan.strides.iter().enumerate() {
                    if plan.access[i] == Access::Constant {
                        continue;
                    }
                    let size = plan.program.inputs[i].size();
                    let step = s[last];
                    // SAFETY: the element at (row, column) is one the strides reach,
                    // and so are the n - 1 after it; the slot is ours.
                    unsafe {
                        let from = self.memory.input(i).offset(offsets[i] + step * column as isize);
                        if step == size as isize {
                            self.set(i, from);
                            continue;
                        }
                        let to = self.own(i);
                        if step != 0 {
                            gather(to, from, size, step, n);
                        } else if filled[i].0 != from || filled[i].1 < n {
                            fill(to, from, size, n);
                            filled[i] = (from, n);
                        }
                    }
                }
                // SAFETY: every input is placed for n elements, n <= TILE.
                unsafe { self.steps(at, n) };
                at += n;
                column += n;
            }
            column = 0;
            self.advance(last);
        }
    }

    /// # Safety
    /// That of [`Elementwise::range`], after the fills.
    unsafe fn tiles(&mut self, start: usize, end: usize) {
        let plan = self.plan;
        let strided = plan.access.contains(&Access::Strided);
        // Without a tile of our own among the operands there is no need to stop.
        let p = &plan.program;
        let free = p.literals.is_empty() && p.temporaries == 0 && plan.access.iter().all(|a| *a == Access::Contiguous);
        let most = if free { usize::MAX } else { TILE };
        // A short first tile, so that all others start at a cache line of the output.
        let size = p.output.size();
        // SAFETY: `start` is within the output.
        let offset = unsafe { self.memory.out.add(start * size) }.addr() % LINE;
        let lead = if offset == 0 || end - start < 4 * TILE { most } else { ((LINE - offset) / size).max(1) };
        let mut at = start;
        while at < end {
            let n = if at == start { lead } else { most }.min(end - at);
            for (i, a) in plan.access.iter().enumerate() {
                if *a == Access::Contiguous {
                    // SAFETY: a contiguous input has the element `at`.
                    unsafe { self.set(i, self.memory.input(i).add(at * p.inputs[i].size())) };
                }
            }
            if strided {
                // SAFETY: n <= TILE elements from `at` on, all within the output's shape.
                unsafe { self.gather_tile(at, n) };
            }
            // SAFETY: every input is placed for n elements, n <= TILE unless all are operands.
            unsafe { self.steps(at, n) };
            at += n;
        }
    }

    /// Gathers `n` elements of every strided input, across rows.
    ///
    /// # Safety
    /// `at + n <= len`, `n <= TILE`.
    unsafe fn gather_tile(&mut self, at: usize, n: usize) {
        let plan = self.plan;
        let last = plan.shape.len() - 1;
        let row = plan.shape[last];
        for (i, a) in plan.access.iter().enumerate() {
            if *a != Access::Strided {
                continue;
            }
            let (size, s) = (plan.program.inputs[i].size(), &plan.strides[i]);
            // SAFETY: the slot is ours.
            let to = unsafe { self.own(i) };
            self.seek(at / row, last);
            let (mut done, mut column) = (0, at % row);
            while done < n {
                let run = (row - column).min(n - done);
                let offset: isize = self.index[..last].iter().zip(s).map(|(i, s)| *i as isize * s).sum();
                // SAFETY: elements of the shape, reached by the strides; room for n in the slot.
                unsafe {
                    let from = self.memory.input(i).offset(offset + s[last] * column as isize);
                    gather(to.add(done * size), from, size, s[last], run);
                }
                done += run;
                column = 0;
                self.advance(last);
            }
        }
    }

    /// Sets the index of row number `row`, rows counted over the first `axes` axes.
    fn seek(&mut self, mut row: usize, axes: usize) {
        for (i, d) in self.index[..axes].iter_mut().zip(&self.plan.shape[..axes]).rev() {
            *i = row % d;
            row /= d;
        }
    }

    /// The next row.
    fn advance(&mut self, axes: usize) {
        for (i, d) in self.index[..axes].iter_mut().zip(&self.plan.shape[..axes]).rev() {
            *i += 1;
            if *i < *d {
                return;
            }
            *i = 0;
        }
    }
}
