//! Recurrent layers; evaluated in `f64`, step by step.

use super::cost::{elements, product};
use super::{Attr, Evaluated, Family, Fields, Fresh, Inferred};
use crate::ir::broadcast::checked_len;
use crate::ir::infer::{Operand, fail, may_equal, need_float};
use crate::ir::tensor::Tensor;
use crate::ir::{Binary, DType, Dim, Expr, Float, Scalar, Type, Unary};
use std::borrow::Cow;

/// A layer that goes through a sequence, as the standard has it: `x [seq, batch, in], w [directions, gates * hidden, in],
/// r [directions, gates * hidden, hidden], [bias [directions, 2 * gates * hidden]], [lengths [batch]],
/// [initial state [directions, batch, hidden]] ...`. The results are the states of all steps,
/// `[seq, directions, batch, hidden]`, and the last ones, `[directions, batch, hidden]`.
///
/// A sequence ends at its length: states behind it are 0 among those of all steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recurrent {
    /// The computation of a step.
    pub cell: Cell,
    /// Which way it goes.
    pub direction: Direction,
    /// The functions of each direction in turn, as many as the cell has.
    pub activations: Vec<Activation>,
    /// The operands of functions of gates are held between minus this and this.
    pub clip: Option<Float>,
    /// True if the batch is the first axis: of `x`, of states of all steps (before the directions) and of single ones.
    pub batch_first: bool,
    /// True if there is a bias.
    pub bias: bool,
    /// True if there are lengths.
    pub lengths: bool,
    /// True if there is an initial state.
    pub initial: bool,
}

/// The result of a step of `x` and the state `h` before; `X` and `H` are their products with the weights of a gate, bias
/// included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// `f(X + H)`.
    Rnn,
    /// Gates `z = f(X + H)`, `r = f(X + H)` and `n = g(X + H)`, where `H` of the last is of `r h`; the state is
    /// `(1 - z) n + z h`.
    Gru {
        /// `n` is `g(X + r H)` instead.
        linear_before_reset: bool,
    },
    /// Gates `i = f(X + H + p c)`, `o`, `l` alike, and `n = g(X + H)`, in the order i, o, l, n; the second state is
    /// `c = l c + i n`, which `o` sees already, and the first one `o h(c)`. Its operands end with an initial `c` and the
    /// weights `p [directions, 3 * hidden]` of i, o and l.
    Lstm {
        /// `l` is `1 - i`.
        input_forget: bool,
        /// True if there is an initial `c`.
        initial_cell: bool,
        /// True if there are weights `p`.
        peepholes: bool,
    },
}

/// Which way a layer goes through a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the first step to the last.
    Forward,
    /// From the last to the first.
    Reverse,
    /// Both ways, each with weights of its own.
    Both,
}

/// A function of a gate, as the standard names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Activation {
    /// Which.
    pub function: Function,
    /// Its parameters; 0 where it has none.
    pub alpha: Float,
    /// See `alpha`.
    pub beta: Float,
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $parameters:literal, $default:expr;)*) => {
        /// The functions that gates may have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Function { $($(#[$doc])* $name,)* }

        impl Function {
            /// Every function.
            pub const ALL: &[Function] = &[$(Function::$name),*];

            /// The standard's name, in lower case.
            pub const fn name(self) -> &'static str {
                match self { $(Function::$name => $text,)* }
            }

            /// How many parameters it has, and their defaults.
            pub const fn parameters(self) -> (usize, [f32; 2]) {
                match self { $(Function::$name => ($parameters, $default),)* }
            }
        }
    };
}

functions! {
    /// `1 / (1 + exp(-x))`
    Sigmoid = "sigmoid", 0, [0.0, 0.0];
    /// Hyperbolic tangent
    Tanh = "tanh", 0, [0.0, 0.0];
    /// `max(x, 0)`
    Relu = "relu", 0, [0.0, 0.0];
    /// `x / (1 + |x|)`
    Softsign = "softsign", 0, [0.0, 0.0];
    /// `log(1 + exp(x))`
    Softplus = "softplus", 0, [0.0, 0.0];
    /// `alpha x + beta`
    Affine = "affine", 2, [1.0, 0.0];
    /// `x`, or `alpha x` below 0
    LeakyRelu = "leakyrelu", 1, [0.01, 0.0];
    /// `x`, or 0 below `alpha`
    ThresholdedRelu = "thresholdedrelu", 1, [1.0, 0.0];
    /// `alpha tanh(beta x)`
    ScaledTanh = "scaledtanh", 2, [1.0, 1.0];
    /// `alpha x + beta`, from 0 to 1
    HardSigmoid = "hardsigmoid", 2, [0.2, 0.5];
    /// `x`, or `alpha (exp(x) - 1)` below 0
    Elu = "elu", 1, [1.0, 0.0];
}

impl Activation {
    /// A function with its default parameters.
    pub fn new(function: Function) -> Self {
        let (_, [alpha, beta]) = function.parameters();
        Self { function, alpha: Float(alpha), beta: Float(beta) }
    }

    /// The function of an expression of floats of a dtype.
    pub fn of(&self, x: Expr, dtype: DType) -> Expr {
        let number = |v: f32| Expr::Literal(Scalar::from_f64(dtype, v.into()));
        let unary = |f, x: Expr| Expr::Unary(f, x.into());
        let binary = |f, x: Expr, y: Expr| Expr::Binary(f, x.into(), y.into());
        let below = |limit: f32, least: Expr| {
            Expr::Where(binary(Binary::Lt, x.clone(), number(limit)).into(), least.into(), x.clone().into())
        };
        let (alpha, beta) = (self.alpha.0, self.beta.0);
        let affine = |x: Expr| binary(Binary::Add, binary(Binary::Mul, x, number(alpha)), number(beta));
        match self.function {
            Function::Sigmoid => unary(Unary::Sigmoid, x),
            Function::Tanh => unary(Unary::Tanh, x),
            Function::Relu => unary(Unary::Relu, x),
            Function::Softsign => {
                let below = binary(Binary::Add, unary(Unary::Abs, x.clone()), number(1.0));
                binary(Binary::Div, x, below)
            }
            Function::Softplus => unary(Unary::Softplus, x),
            Function::Affine => affine(x),
            Function::LeakyRelu => below(0.0, binary(Binary::Mul, x.clone(), number(alpha))),
            Function::ThresholdedRelu => {
                let above = binary(Binary::Gt, x.clone(), number(alpha));
                Expr::Where(above.into(), x.into(), number(0.0).into())
            }
            Function::ScaledTanh => {
                let inner = unary(Unary::Tanh, binary(Binary::Mul, x, number(beta)));
                binary(Binary::Mul, inner, number(alpha))
            }
            Function::HardSigmoid => binary(Binary::Min, binary(Binary::Max, affine(x), number(0.0)), number(1.0)),
            Function::Elu => below(0.0, binary(Binary::Mul, unary(Unary::Expm1, x.clone()), number(alpha))),
        }
    }

    /// Of one number.
    fn eval(&self, x: f64) -> f64 {
        let (alpha, beta) = (f64::from(self.alpha.0), f64::from(self.beta.0));
        match self.function {
            Function::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
            Function::Tanh => libm::tanh(x),
            Function::Relu if x.is_nan() => x,
            Function::Relu => x.max(0.0),
            Function::Softsign => x / (1.0 + x.abs()),
            Function::Softplus => x.max(0.0) + libm::log1p(libm::exp(-x.abs())),
            Function::Affine => alpha * x + beta,
            Function::LeakyRelu => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Function::ThresholdedRelu => {
                if x > alpha {
                    x
                } else {
                    0.0
                }
            }
            Function::ScaledTanh => alpha * libm::tanh(beta * x),
            Function::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
            Function::Elu => {
                if x < 0.0 {
                    alpha * libm::expm1(x)
                } else {
                    x
                }
            }
        }
    }

    /// `sigmoid`, `affine 1.0 0.5`.
    fn text(&self) -> String {
        let (n, _) = self.function.parameters();
        let parameters = [self.alpha, self.beta].into_iter().take(n).map(|p| format!(" {p}")).collect::<String>();
        format!("{}{parameters}", self.function.name())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let name = words.next()?;
        let function = *Function::ALL.iter().find(|f| f.name() == name)?;
        let mut parameters = [Float(0.0); 2];
        for p in parameters.iter_mut().take(function.parameters().0) {
            *p = Float(words.next()?.parse().ok()?);
        }
        words.next().is_none().then_some(Self { function, alpha: parameters[0], beta: parameters[1] })
    }
}

impl Cell {
    /// Gates: how many times as many rows as a state is wide the weights have.
    pub fn gates(&self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Gru { .. } => 3,
            Cell::Lstm { .. } => 4,
        }
    }

    /// The functions of one direction that the standard takes if no others are given.
    pub fn defaults(&self) -> Vec<Function> {
        match self {
            Cell::Rnn => vec![Function::Tanh],
            Cell::Gru { .. } => vec![Function::Sigmoid, Function::Tanh],
            Cell::Lstm { .. } => vec![Function::Sigmoid, Function::Tanh, Function::Tanh],
        }
    }

    /// The state behind a step, from the gates' rows of `X` and of the product with the state before, biases apart.
    fn step(&self, s: &Step, before: &State) -> State {
        let h = match self {
            Cell::Rnn => s.each(|j| s.f(0, s.gate(0, j, &before.h))),
            Cell::Gru { linear_before_reset } => {
                let (z, r) = (s.each(|j| s.f(0, s.gate(0, j, &before.h))), s.each(|j| s.f(0, s.gate(1, j, &before.h))));
                let reset = s.each(|j| r[j] * before.h[j]);
                let n = s.each(|j| match linear_before_reset {
                    true => s.f(1, s.of_x(2, j) + r[j] * s.of_h(2, j, &before.h)),
                    false => s.f(1, s.gate(2, j, &reset)),
                });
                s.each(|j| (1.0 - z[j]) * n[j] + z[j] * before.h[j])
            }
            Cell::Lstm { input_forget, .. } => {
                let seen = |gate: usize, j: usize, c: f64| s.peepholes.map_or(0.0, |p| p[gate * s.hidden + j] * c);
                let i = s.each(|j| s.f(0, s.gate(0, j, &before.h) + seen(0, j, before.c[j])));
                let l = s.each(|j| match input_forget {
                    true => 1.0 - i[j],
                    false => s.f(0, s.gate(2, j, &before.h) + seen(2, j, before.c[j])),
                });
                let c = s.each(|j| l[j] * before.c[j] + i[j] * s.f(1, s.gate(3, j, &before.h)));
                let o = s.each(|j| s.f(0, s.gate(1, j, &before.h) + seen(1, j, c[j])));
                // The operand of the last function is no sum of a gate, and not clipped.
                let h = s.each(|j| o[j] * s.functions[2].eval(c[j]));
                return State { h, c };
            }
        };
        State { h, c: Vec::new() }
    }
}

/// The state carried from one step to the next, of one sequence.
#[derive(Clone, Default)]
struct State {
    h: Vec<f64>,
    /// The second state of an LSTM.
    c: Vec<f64>,
}

/// The operands of a step, of one sequence in one direction.
struct Step<'a> {
    hidden: usize,
    x: &'a [f64],
    w: &'a [f64],
    r: &'a [f64],
    bias: Option<&'a [f64]>,
    peepholes: Option<&'a [f64]>,
    functions: &'a [Activation],
    clip: Option<f64>,
}

impl Step<'_> {
    fn each(&self, f: impl Fn(usize) -> f64) -> Vec<f64> {
        (0..self.hidden).map(f).collect()
    }

    /// Function `i`, of what is clipped.
    fn f(&self, i: usize, x: f64) -> f64 {
        self.functions[i].eval(self.clip.map_or(x, |c| x.max(-c).min(c)))
    }

    /// Entry `j` of a gate's product with `x`, bias included.
    fn of_x(&self, gate: usize, j: usize) -> f64 {
        let row = gate * self.hidden + j;
        dot(row, self.w, self.x) + self.bias.map_or(0.0, |b| b[row])
    }

    /// The same with a state.
    fn of_h(&self, gate: usize, j: usize, h: &[f64]) -> f64 {
        let row = gate * self.hidden + j;
        dot(row, self.r, h) + self.bias.map_or(0.0, |b| b[b.len() / 2 + row])
    }

    /// `X + H` of a gate.
    fn gate(&self, gate: usize, j: usize, h: &[f64]) -> f64 {
        self.of_x(gate, j) + self.of_h(gate, j, h)
    }
}

fn dot(row: usize, weights: &[f64], v: &[f64]) -> f64 {
    weights[row * v.len()..][..v.len()].iter().zip(v).map(|(a, b)| a * b).sum()
}

/// An operand and its place, of those that a layer has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    /// The bias.
    pub bias: Option<usize>,
    /// The lengths.
    pub lengths: Option<usize>,
    /// The initial state.
    pub initial: Option<usize>,
    /// The second one.
    pub initial_cell: Option<usize>,
    /// Weights of the second state in gates.
    pub peepholes: Option<usize>,
}

impl Recurrent {
    /// Ways through the sequence.
    pub fn directions(&self) -> usize {
        if self.direction == Direction::Both { 2 } else { 1 }
    }

    /// True if direction number `d` goes from the last step to the first.
    pub fn is_reverse(&self, d: usize) -> bool {
        self.direction == Direction::Reverse || d == 1
    }

    /// Where operands behind the weights are.
    pub fn places(&self) -> Places {
        let mut next = 3;
        let mut place = |there: bool| {
            next += usize::from(there);
            there.then_some(next - 1)
        };
        let (bias, lengths, initial) = (place(self.bias), place(self.lengths), place(self.initial));
        let (initial_cell, peepholes) = match self.cell {
            Cell::Lstm { initial_cell, peepholes, .. } => (place(initial_cell), place(peepholes)),
            Cell::Rnn | Cell::Gru { .. } => (None, None),
        };
        Places { bias, lengths, initial, initial_cell, peepholes }
    }

    /// How many operands.
    fn operands(&self) -> usize {
        let Places { bias, lengths, initial, initial_cell, peepholes } = self.places();
        3 + [bias, lengths, initial, initial_cell, peepholes].into_iter().flatten().count()
    }

    /// How many operands there would be with all that may be left out.
    pub fn most_operands(&self) -> usize {
        if let Cell::Lstm { .. } = self.cell { 8 } else { 6 }
    }

    /// How many results.
    pub fn results(&self) -> usize {
        if let Cell::Lstm { .. } = self.cell { 3 } else { 2 }
    }

    /// The axis of the steps and of the batch of `x`.
    pub fn axes(&self) -> (usize, usize) {
        if self.batch_first { (1, 0) } else { (0, 1) }
    }
}

impl Family for Recurrent {
    fn blanks() -> Vec<Self> {
        let blank = |cell| Recurrent {
            cell,
            direction: Direction::Forward,
            activations: Vec::new(),
            clip: None,
            batch_first: false,
            bias: false,
            lengths: false,
            initial: false,
        };
        let lstm = Cell::Lstm { input_forget: false, initial_cell: false, peepholes: false };
        [Cell::Rnn, Cell::Gru { linear_before_reset: false }, lstm].map(blank).into()
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match self.cell {
            Cell::Rnn => "rnn",
            Cell::Gru { .. } => "gru",
            Cell::Lstm { .. } => "lstm",
        }
        .into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        let words = [(Direction::Forward, "forward"), (Direction::Reverse, "reverse"), (Direction::Both, "both")];
        fields.word("direction", &mut self.direction, &words);
        let write = |v: &Vec<Activation>| Attr::Str(v.iter().map(Activation::text).collect::<Vec<_>>().join(", "));
        fields.required("activations", &mut self.activations, "functions and their parameters", write, |a| match a {
            Attr::Str(s) => s.split(',').map(Activation::parse).collect(),
            _ => None,
        });
        fields.optional_float("clip", &mut self.clip);
        fields.optional_flag("batch_first", &mut self.batch_first, false);
        fields.optional_flag("bias", &mut self.bias, false);
        fields.optional_flag("lengths", &mut self.lengths, false);
        fields.optional_flag("initial", &mut self.initial, false);
        match &mut self.cell {
            Cell::Rnn => {}
            Cell::Gru { linear_before_reset } => {
                fields.optional_flag("linear_before_reset", linear_before_reset, false);
            }
            Cell::Lstm { input_forget, initial_cell, peepholes } => {
                fields.optional_flag("input_forget", input_forget, false);
                fields.optional_flag("initial_cell", initial_cell, false);
                fields.optional_flag("peepholes", peepholes, false);
            }
        }
    }

    fn arity(&self) -> (usize, usize) {
        (self.operands(), self.operands())
    }

    fn outputs(&self) -> usize {
        self.results()
    }

    fn types(&self, x: &[Operand], _: Fresh) -> Inferred<Vec<Type>> {
        let (ty, w, r) = (x[0].ty, x[1].ty, x[2].ty);
        need_float(ty)?;
        let functions = self.directions() * self.cell.defaults().len();
        if self.activations.len() != functions {
            fail!("{} functions of gates where {functions} are needed", self.activations.len());
        }
        if [ty, w, r].iter().any(|t| t.rank() != 3) {
            fail!("{ty} with weights {w} and {r}");
        }
        let (steps, batch) = self.axes();
        let (seq, batch, hidden) = (&ty.shape[steps], &ty.shape[batch], &r.shape[2]);
        let directions = Dim::from(self.directions());
        let rows = hidden * &Dim::from(self.cell.gates());
        let check = |t: &Type, shape: &[&Dim]| {
            let fits = t.rank() == shape.len() && t.shape.iter().zip(shape).all(|(a, b)| may_equal(a, b));
            if !fits || t.dtype != ty.dtype {
                fail!("an operand is {t} for {ty} with weights {w} and {r}");
            }
            Ok(())
        };
        check(w, &[&directions, &rows, &ty.shape[2]])?;
        check(r, &[&directions, &rows, hidden])?;
        let state = if self.batch_first { [batch, &directions, hidden] } else { [&directions, batch, hidden] };
        let places = self.places();
        if let Some(i) = places.bias {
            check(x[i].ty, &[&directions, &(&rows + &rows)])?;
        }
        if let Some(i) = places.lengths {
            let lengths = x[i].ty;
            if !matches!(lengths.dtype, DType::I32 | DType::I64)
                || lengths.rank() != 1
                || !may_equal(&lengths.shape[0], batch)
            {
                fail!("lengths {lengths} for {ty}");
            }
        }
        for i in [places.initial, places.initial_cell].into_iter().flatten() {
            check(x[i].ty, &state)?;
        }
        if let Some(i) = places.peepholes {
            check(x[i].ty, &[&directions, &(hidden * &Dim::from(3usize))])?;
        }
        let all = if self.batch_first { [batch, seq, &directions, hidden] } else { [seq, &directions, batch, hidden] };
        let of = |shape: &[&Dim]| Type::new(ty.dtype, shape.iter().map(|&d| d.clone()));
        let mut types = vec![of(&all)];
        types.resize(self.outputs(), of(&state));
        Ok(types)
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        let (steps, batch) = self.axes();
        let extent = |i: usize| x[0].shape.get(i).and_then(Dim::as_usize).unwrap_or(1) as u64;
        let weights = elements(x[1]).saturating_add(elements(x[2]));
        product([2, extent(steps), extent(batch), weights])
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let floats = |i: usize| x[i].floats().ok_or_else(|| format!("not defined for {}", x[i].dtype()));
        let (values, w, r, places) = (floats(0)?, floats(1)?, floats(2)?, self.places());
        let (steps, sequences) = self.axes();
        let (seq, batch, width, hidden) =
            (x[0].shape()[steps], x[0].shape()[sequences], x[0].shape()[2], x[2].shape()[2]);
        let (directions, gates) = (self.directions(), self.cell.gates());
        let bias = places.bias.map(floats).transpose()?;
        let peepholes = places.peepholes.map(floats).transpose()?;
        let lengths = match places.lengths {
            None => vec![seq; batch],
            Some(i) => {
                let given = x[i].ints().ok_or("lengths that are no integers")?;
                let length = |&n: &i64| usize::try_from(n).ok().filter(|&n| n <= seq);
                let lengths: Option<_> = given.iter().map(length).collect();
                lengths.ok_or_else(|| format!("a length is not from 0 to {seq}"))?
            }
        };
        let (all, one) = match self.batch_first {
            true => (vec![batch, seq, directions, hidden], vec![batch, directions, hidden]),
            false => (vec![seq, directions, batch, hidden], vec![directions, batch, hidden]),
        };
        let mut outputs = vec![vec![0.0; checked_len(&all)?]];
        outputs.resize(self.outputs(), vec![0.0; checked_len(&one)?]);
        for d in 0..directions {
            let of = |v: &'_ [f64]| (v.len() / directions * d)..(v.len() / directions * (d + 1));
            for (b, &length) in lengths.iter().enumerate() {
                let at = if self.batch_first { b * directions + d } else { d * batch + b };
                let initial = |place: Option<usize>| match place {
                    Some(i) => Ok::<_, String>(floats(i)?[at * hidden..][..hidden].to_vec()),
                    None => Ok(vec![0.0; hidden]),
                };
                let mut state = State { h: initial(places.initial)?, c: initial(places.initial_cell)? };
                for s in 0..length {
                    let t = if self.is_reverse(d) { length - 1 - s } else { s };
                    let row = if self.batch_first { b * seq + t } else { t * batch + b };
                    let step = Step {
                        hidden,
                        x: &values[row * width..][..width],
                        w: &w[of(w)],
                        r: &r[of(r)],
                        bias: bias.map(|b| &b[of(b)]),
                        peepholes: peepholes.map(|p| &p[of(p)]),
                        functions: &self.activations[d * self.activations.len() / directions..],
                        clip: self.clip.map(|c| c.0.into()),
                    };
                    state = self.cell.step(&step, &state);
                    let place = if self.batch_first { row * directions + d } else { (t * directions + d) * batch + b };
                    outputs[0][place * hidden..][..hidden].copy_from_slice(&state.h);
                }
                for (out, last) in outputs[1..].iter_mut().zip([&state.h, &state.c]) {
                    out[at * hidden..][..hidden].copy_from_slice(last);
                }
            }
        }
        debug_assert_eq!(w.len(), directions * gates * hidden * width);
        let shapes = std::iter::once(all).chain(std::iter::repeat(one));
        outputs.into_iter().zip(shapes).map(|(values, shape)| Tensor::rounded(x[0].dtype(), shape, values)).collect()
    }
}
