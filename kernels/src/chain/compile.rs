//! From an expression to steps over tiles.

use super::convert::{self, Lane};
use super::light::{self, Light};
use super::{TILE, double, float, integer};
use crate::Isa;
use crate::simd::TileFn;
use bgz_passes::ir::{Binary, DType, Expr, Scalar, Unary};
use std::collections::HashMap;

/// Why an expression has no kernel: it has no type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kernel: {0}")]
pub struct Unsupported(pub String);

/// An expression as a list of steps over tiles.
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) isa: Isa,
    pub(super) inputs: Vec<DType>,
    pub(super) output: DType,
    pub(super) literals: Vec<Scalar>,
    pub(super) steps: Vec<Step>,
    /// Lists of functions for the steps that have one.
    pub(super) runs: Vec<light::Run>,
    /// Tiles for intermediate results.
    pub(super) temporaries: usize,
    /// Bytes of a tile's element, the widest of all.
    pub(super) slot: usize,
    /// Rough work per element, in vector instructions.
    pub(super) cost: usize,
    /// True if integers may be divided by zero.
    pub(super) divides: bool,
}

/// One function over a tile. Tiles are numbered: the inputs, the output, the
/// literals, the temporaries; the lists of functions go on from there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub f: TileFn,
    pub args: [usize; 3],
    pub out: usize,
}

/// Where a tile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Literal(usize),
    Input(usize),
    Temporary(usize),
    /// Not a tile but a list of functions.
    Run(usize),
    Out,
}

/// A step whose places have no numbers yet.
#[derive(Clone, Copy)]
struct Draft {
    f: TileFn,
    args: [Place; 3],
    out: Place,
    /// The light op that it is of its first operand, if that is all it reads beside a number.
    light: Option<(Place, Light)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Input(usize),
    Literal(Scalar),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    Where(usize, usize, usize),
    Cast(usize),
}

impl Kind {
    fn operands(self) -> impl Iterator<Item = usize> {
        let ids = match self {
            Kind::Input(_) | Kind::Literal(_) => [None; 3],
            Kind::Unary(_, a) | Kind::Cast(a) => [Some(a), None, None],
            Kind::Binary(_, a, b) => [Some(a), Some(b), None],
            Kind::Where(a, b, c) => [Some(a), Some(b), Some(c)],
        };
        ids.into_iter().flatten()
    }
}

#[derive(Default)]
struct Builder {
    nodes: Vec<(Kind, DType)>,
    ids: HashMap<(Kind, DType), usize>,
}

impl Builder {
    fn add(&mut self, kind: Kind, dtype: DType) -> usize {
        let next = self.nodes.len();
        let id = *self.ids.entry((kind, dtype)).or_insert(next);
        if id == next {
            self.nodes.push((kind, dtype));
        }
        id
    }

    fn literal(&self, id: usize) -> Option<Scalar> {
        match self.nodes[id].0 {
            Kind::Literal(s) => Some(s),
            _ => None,
        }
    }

    /// The node of `e`: the same one for equal expressions, a literal where all
    /// operands are.
    fn build(&mut self, e: &Expr, inputs: &[DType]) -> Result<usize, Unsupported> {
        let (kind, dtype, folded) = match e {
            Expr::Input(i) => (Kind::Input(*i), inputs[*i], None),
            Expr::Literal(s) => (Kind::Literal(*s), s.dtype(), None),
            Expr::Unary(f, x) => {
                let x = self.build(x, inputs)?;
                let d = self.nodes[x].1;
                let out = f.output(d).ok_or_else(|| Unsupported(format!("{} of {d}", f.name())))?;
                (Kind::Unary(*f, x), out, self.literal(x).and_then(|x| f.eval(x)))
            }
            Expr::Binary(f, x, y) => {
                let (x, y) = (self.build(x, inputs)?, self.build(y, inputs)?);
                let d = self.nodes[x].1;
                let out = f.output(d).ok_or_else(|| Unsupported(format!("{} of {d}", f.name())))?;
                let folded = self.literal(x).zip(self.literal(y)).and_then(|(x, y)| f.eval(x, y));
                (Kind::Binary(*f, x, y), out, folded)
            }
            Expr::Where(c, x, y) => {
                let c = self.build(c, inputs)?;
                let (x, y) = (self.build(x, inputs)?, self.build(y, inputs)?);
                (Kind::Where(c, x, y), self.nodes[x].1, None)
            }
            Expr::Cast(to, x) => {
                let mut x = self.build(x, inputs)?;
                let from = self.nodes[x].1;
                if from == *to {
                    return Ok(x);
                }
                let folded = self.literal(x).map(|x| x.cast(*to));
                // Floats of a byte or less are made of floats only.
                if to.small_float().is_some() && !from.is_float() && folded.is_none() {
                    x = self.add(Kind::Cast(x), DType::F64);
                }
                (Kind::Cast(x), *to, folded)
            }
        };
        Ok(match folded {
            Some(s) => self.add(Kind::Literal(s), s.dtype()),
            None => self.add(kind, dtype),
        })
    }

    /// True if integers may be divided by zero.
    fn divides(&self) -> bool {
        self.nodes.iter().any(|&(kind, dtype)| match kind {
            Kind::Binary(Binary::Div | Binary::Rem | Binary::Mod, _, divisor) if dtype.is_int() => {
                self.literal(divisor).is_none_or(|d| d.to_i64() == 0)
            }
            _ => false,
        })
    }
}

impl Program {
    /// The steps of `expr` over operands of `inputs`, for the instruction set in use.
    pub fn compile(expr: &Expr, inputs: &[DType]) -> Result<Self, Unsupported> {
        Self::compile_for(Isa::current(), expr, inputs)
    }

    /// [`Program::compile`] for a given instruction set (the baseline if the host lacks it).
    pub fn compile_for(isa: Isa, expr: &Expr, inputs: &[DType]) -> Result<Self, Unsupported> {
        expr.dtype(inputs).map_err(Unsupported)?;
        if inputs.len() > Expr::MAX_INPUTS {
            return Err(Unsupported(format!("{} operands; at most {}", inputs.len(), Expr::MAX_INPUTS)));
        }
        let mut b = Builder::default();
        let root = b.build(expr, inputs)?;
        let divides = b.divides();
        Ok(Self { divides, ..Emitter::new(isa, &b.nodes, root).finish(inputs)? })
    }

    /// The dtype of the output.
    pub fn output(&self) -> DType {
        self.output
    }

    /// The dtypes of the inputs.
    pub fn inputs(&self) -> &[DType] {
        &self.inputs
    }

    /// Number of steps a tile takes.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// The instruction set it runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

struct Emitter<'a> {
    isa: Isa,
    nodes: &'a [(Kind, DType)],
    root: usize,
    /// The last node that reads each node; `None` for the unreachable.
    last_use: Vec<Option<usize>>,
    place: Vec<Option<Place>>,
    literals: Vec<Scalar>,
    steps: Vec<Draft>,
    free: Vec<usize>,
    temporaries: usize,
    slot: usize,
    cost: usize,
}

impl<'a> Emitter<'a> {
    fn new(isa: Isa, nodes: &'a [(Kind, DType)], root: usize) -> Self {
        let mut last_use = vec![None; nodes.len()];
        last_use[root] = Some(usize::MAX);
        // Operands come before their users: one pass backwards reaches all.
        for id in (0..nodes.len()).rev() {
            if last_use[id].is_some() {
                for x in nodes[id].0.operands() {
                    last_use[x] = last_use[x].max(Some(id));
                }
            }
        }
        let place = vec![None; nodes.len()];
        Self {
            isa,
            nodes,
            root,
            last_use,
            place,
            literals: Vec::new(),
            steps: Vec::new(),
            free: Vec::new(),
            temporaries: 0,
            slot: 4,
            cost: 0,
        }
    }

    fn temporary(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.temporaries += 1;
            self.temporaries - 1
        })
    }

    fn release(&mut self, id: usize, user: usize) {
        if let (Some(Place::Temporary(t)), true) = (self.place[id], self.last_use[id] == Some(user)) {
            self.free.push(t);
        }
    }

    fn emit(&mut self, f: TileFn, args: [Place; 3], out: Place, cost: usize) {
        self.steps.push(Draft { f, args, out, light: None });
        self.cost += cost;
    }

    fn finish(mut self, inputs: &[DType]) -> Result<Program, Unsupported> {
        let output = self.nodes[self.root].1;
        // A result that leaves as it is held can be written by the last function itself.
        let store = convert::store(self.isa, output);
        for id in 0..self.nodes.len() {
            if self.last_use[id].is_some() {
                self.node(id, store.is_none() && id == self.root)?;
            }
        }
        let place = self.place[self.root].unwrap_or(Place::Out);
        if place != Place::Out {
            let f = store.unwrap_or_else(|| convert::copied(self.isa, Lane::of(output)));
            self.emit(f, [place; 3], Place::Out, 2);
        }
        let (steps, runs) = join_light(self.isa, &self.steps);
        // A number that went into a list needs no tile.
        let mut tiles: Vec<usize> = Vec::new();
        for place in steps.iter().flat_map(|s| s.args) {
            if let Place::Literal(i) = place
                && !tiles.contains(&i)
            {
                tiles.push(i);
            }
        }
        let (first, temporaries) = (inputs.len() + 1, self.temporaries);
        let number = |p| match p {
            Place::Input(i) => i,
            Place::Out => inputs.len(),
            Place::Literal(i) => first + tiles.iter().position(|t| *t == i).unwrap_or(0),
            Place::Temporary(i) => first + tiles.len() + i,
            Place::Run(i) => first + tiles.len() + temporaries + i,
        };
        let steps = steps.iter().map(|d| Step { f: d.f, args: d.args.map(number), out: number(d.out) }).collect();
        Ok(Program {
            isa: self.isa,
            inputs: inputs.to_vec(),
            output,
            literals: tiles.iter().map(|i| self.literals[*i]).collect(),
            steps,
            runs,
            temporaries,
            slot: self.slot,
            cost: self.cost,
            divides: false,
        })
    }

    /// Emits the step of a node, or finds the place it is in already.
    fn node(&mut self, id: usize, to_out: bool) -> Result<(), Unsupported> {
        let (kind, dtype) = self.nodes[id];
        let isa = self.isa;
        let lane_out = Lane::of(dtype);
        self.slot = self.slot.max(lane_out.size());
        let (f, cost) = match kind {
            Kind::Literal(s) => {
                self.place[id] = Some(Place::Literal(self.literals.len()));
                self.literals.push(s);
                return Ok(());
            }
            Kind::Input(i) => {
                let Some(load) = convert::load(isa, dtype) else {
                    self.place[id] = Some(Place::Input(i));
                    return Ok(());
                };
                let out = Place::Temporary(self.temporary());
                self.emit(load, [Place::Input(i); 3], out, 2);
                // The bits of a byte above those of its element do not count.
                if let Some(wrap) = convert::wrap(isa, dtype).filter(|_| dtype.is_packed()) {
                    self.emit(wrap, [out; 3], out, 1);
                }
                self.place[id] = Some(out);
                return Ok(());
            }
            Kind::Unary(f, x) => {
                let step = match Lane::of(self.nodes[x].1) {
                    Lane::F32 => float::unary(isa, f),
                    Lane::F64 => double::unary(isa, f),
                    Lane::I32 => integer::unary_i32(isa, f),
                    Lane::I64 => integer::unary_i64(isa, f),
                    Lane::U64 => integer::unary_u64(isa, f),
                    Lane::Truth => (f == Unary::Not).then(|| integer::not(isa)),
                };
                (step.ok_or_else(|| Unsupported(format!("{} of {}", f.name(), self.nodes[x].1)))?, unary_cost(f))
            }
            Kind::Binary(f, x, _) => {
                let step = match Lane::of(self.nodes[x].1) {
                    Lane::F32 => float::binary(isa, f),
                    Lane::F64 => double::binary(isa, f),
                    // 0 and 1 are ordered and combined as the truth values they stand for.
                    Lane::I32 | Lane::Truth => Some(integer::binary_i32(isa, f)),
                    Lane::I64 => Some(integer::binary_i64(isa, f)),
                    Lane::U64 => Some(integer::binary_u64(isa, f)),
                };
                (step.ok_or_else(|| Unsupported(format!("{} of {}", f.name(), self.nodes[x].1)))?, binary_cost(f))
            }
            Kind::Where(..) => (integer::choose(isa, lane_out.size() == 8), 2),
            Kind::Cast(x) => (convert::cast(isa, Lane::of(self.nodes[x].1), dtype), 2),
        };
        let mut args = [Place::Out; 3];
        let mut same_size = true;
        for (arg, x) in args.iter_mut().zip(kind.operands()) {
            *arg = self.place[x].ok_or_else(|| Unsupported("an operand without a value".into()))?;
            same_size &= Lane::of(self.nodes[x].1).size() == lane_out.size();
        }
        // A result may take the place of an operand only if it has its size.
        let early = (!to_out && !same_size).then(|| self.temporary());
        let mut released = [usize::MAX; 3];
        for (i, x) in kind.operands().enumerate() {
            if !released.contains(&x) {
                self.release(x, id);
            }
            released[i] = x;
        }
        let out = match early {
            _ if to_out => Place::Out,
            Some(t) => Place::Temporary(t),
            None => Place::Temporary(self.temporary()),
        };
        self.emit(f, args, out, cost);
        if let Some(last) = self.steps.last_mut() {
            last.light = light(self.nodes, kind, args);
        }
        if let (true, Some(wrap)) = (may_leave_range(kind), convert::wrap(isa, dtype)) {
            self.emit(wrap, [out; 3], out, 1);
        }
        self.place[id] = Some(out);
        Ok(())
    }
}

/// True if what is computed of integers that are held as wider ones may be beyond them.
fn may_leave_range(kind: Kind) -> bool {
    match kind {
        Kind::Unary(f, _) => matches!(f, Unary::Neg | Unary::Abs),
        Kind::Binary(f, ..) => matches!(f, Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Pow),
        Kind::Cast(_) => true,
        Kind::Input(_) | Kind::Literal(_) | Kind::Where(..) => false,
    }
}

/// The operand and the function of a node that is a [`Light`] one.
fn light(nodes: &[(Kind, DType)], kind: Kind, args: [Place; 3]) -> Option<(Place, Light)> {
    let number = |id: usize| match nodes[id].0 {
        Kind::Literal(s) => Some(s.to_f64() as f32),
        _ => None,
    };
    let f32_lanes = |id: usize| Lane::of(nodes[id].1) == Lane::F32;
    match kind {
        Kind::Unary(f, x) if f32_lanes(x) => Some((args[0], Light::unary(f)?)),
        Kind::Binary(f, x, y) if f32_lanes(x) => match (number(x), number(y)) {
            (None, Some(k)) => Some((args[0], Light::binary(f, k, false)?)),
            (Some(k), None) => Some((args[1], Light::binary(f, k, true)?)),
            _ => None,
        },
        _ => None,
    }
}

/// Makes one step of each run of light steps that hand on one tile, and of
/// each light step with a number.
fn join_light(isa: Isa, steps: &[Draft]) -> (Vec<Draft>, Vec<light::Run>) {
    let mut joined: Vec<Draft> = Vec::new();
    let mut runs: Vec<light::Run> = Vec::new();
    let mut i = 0;
    while i < steps.len() {
        let first = steps[i];
        let mut run = light::Run::new();
        let mut last = first;
        while let Some((from, f)) = steps.get(i).and_then(|s| s.light) {
            // The tile handed on is dead after this step only if this step
            // overwrites it, or is the last of all.
            let handed_on = run.is_empty() || from == last.out && (steps[i].out == from || i + 1 == steps.len());
            if !handed_on {
                break;
            }
            run.push(f);
            last = steps[i];
            i += 1;
        }
        let lone_unary = run.len() == 1 && !first.args.iter().any(|a| matches!(a, Place::Literal(_)));
        match first.light {
            Some((from, _)) if !lone_unary => {
                let list = Place::Run(runs.len());
                runs.push(run);
                joined.push(Draft { f: light::step(isa), args: [from, list, list], out: last.out, light: None });
            }
            _ => {
                joined.push(first);
                i += usize::from(run.is_empty());
            }
        }
    }
    (joined, runs)
}

/// Vector instructions of a function, roughly.
fn unary_cost(f: Unary) -> usize {
    use Unary::*;
    match f {
        Neg | Abs | Sign | Floor | Ceil | Round | Trunc | Relu | Not | IsNan | IsInf => 2,
        Sqrt | Recip | Rsqrt => 6,
        Exp | Log | Log1p | Expm1 | Atan | Asin | Acos | GeluErf => 25,
        _ => 40,
    }
}

fn binary_cost(f: Binary) -> usize {
    match f {
        Binary::Pow => 100,
        Binary::Rem | Binary::Mod => 300,
        Binary::Div => 6,
        _ => 2,
    }
}

const _: () = assert!(TILE.is_multiple_of(16), "whole vectors on every instruction set");
